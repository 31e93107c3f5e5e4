#include "control/policy/regex_joined.h"

#include <algorithm>
#include <optional>
#include <set>

#include "control/policy/regex_node.h"
#include "dataplane/scan/joined_text.h"

namespace sluice::control {

namespace {

using regex::Node;
using regex::Pointer;
using Words = std::set<std::string>;

constexpr std::size_t kMostWords = 64;
constexpr std::size_t kShortest = 3;
constexpr double kMostRate = 1.0 / 250;

const std::string kMark(1, scan::kJoinedMark);

// What a node becomes in joined text: one of `letters`, or something that begins with one of
// `marked`, which end with the mark. At the beginning of a run the mark is as a letter.
struct Image {
  Words letters{""};
  Words marked;
};

void add(Words& words, std::string_view first, std::string_view second) {
  std::string all(first);
  for (const char c : second) {
    if (all.empty() || all.back() != c) all += c;
  }
  words.insert(std::move(all));
}

std::optional<Image> joined(const Image& first, const Image& second) {
  Image all{.letters = {}, .marked = first.marked};
  for (const std::string& a : first.letters) {
    for (const std::string& b : second.letters) add(all.letters, a, b);
    for (const std::string& b : second.marked)
      add(a == kMark && b == kMark ? all.letters : all.marked, a, b);
    if (all.letters.size() + all.marked.size() > kMostWords) return std::nullopt;
  }
  return all;
}

std::optional<Image> image_of(const Node& node);

std::optional<Image> of_set(const regex::Set& set) {
  Image image{.letters = {}, .marked = {}};
  for (std::size_t c = 0; c < 256; ++c) {
    if (!set.test(c)) continue;
    const char becomes = scan::kJoinedOctets[c];
    if (becomes == scan::kJoinedMark) {
      image.marked.insert(std::string(1, becomes));
    } else {
      image.letters.insert(becomes == 0 ? std::string() : std::string(1, becomes));
    }
    if (image.letters.size() > 6) return std::nullopt;
  }
  return image;
}

std::optional<Image> of_repeat(const Node& node) {
  auto one = image_of(*node.children.front());
  if (!one) return std::nullopt;
  // A gap may be as long as it likes.
  const bool gap = one->letters.size() == 1 && one->letters.begin()->empty();
  if (gap) return one;
  if (node.most > 3) return std::nullopt;
  std::optional<Image> run = Image{};
  Image all{.letters = {}, .marked = {}};
  for (std::uint32_t times = 0;; ++times) {
    if (times >= node.least) all.letters.insert(run->letters.begin(), run->letters.end());
    all.marked.insert(run->marked.begin(), run->marked.end());
    if (times == node.most) break;
    run = joined(*run, *one);
    if (!run) return std::nullopt;
  }
  return all;
}

std::optional<Image> image_of(const Node& node) {
  switch (node.kind) {
    case NodeKind::set:
      return of_set(node.set);
    case NodeKind::zero_width:
    case NodeKind::opaque:
      return Image{};
    case NodeKind::group:
      return image_of(*node.children.front());
    case NodeKind::choice: {
      Image all{.letters = {}, .marked = {}};
      for (const Pointer& child : node.children) {
        const auto way = image_of(*child);
        if (!way) return std::nullopt;
        all.letters.insert(way->letters.begin(), way->letters.end());
        all.marked.insert(way->marked.begin(), way->marked.end());
        if (all.letters.size() + all.marked.size() > kMostWords) return std::nullopt;
      }
      return all;
    }
    case NodeKind::sequence: {
      std::optional<Image> all = Image{};
      for (const Pointer& child : node.children) {
        const auto next = image_of(*child);
        // Behind a mark nothing has to be known.
        if (!next && all->letters.empty()) return all;
        all = next ? joined(*all, *next) : std::nullopt;
        if (!all) return std::nullopt;
        if (all->letters.empty()) return all;
      }
      return all;
    }
    case NodeKind::repeat:
      return of_repeat(node);
    default:
      return std::nullopt;
  }
}

std::optional<RegexClause> clause_of(const Image& image) {
  RegexClause clause;
  for (const Words* words : {&image.letters, &image.marked}) {
    for (const std::string& word : *words) clause.words.push_back({.octets = word});
  }
  // A mark in a word makes it rare.
  const bool long_enough = std::ranges::all_of(image.letters, [](const std::string& word) {
    return word.size() >= (word.starts_with(kMark) ? 2 : kShortest);
  });
  if (!long_enough || image.marked.contains(kMark)) return std::nullopt;
  finish_clause(clause);
  if (clause.words.empty() || clause.rate > kMostRate) return std::nullopt;
  return clause;
}

class JoinedClauses {
 public:
  void take(const Node& node) {
    switch (node.kind) {
      case NodeKind::group:
        take(*node.children.front());
        return;
      case NodeKind::sequence:
        for (const Pointer& child : node.children) take(*child);
        return;
      case NodeKind::repeat:
        if (node.least > 0 && !image_of(node)) {
          end_run();
          take(*node.children.front());
          end_run();
          return;
        }
        break;
      default:
        break;
    }
    auto image = image_of(node);
    if (!image) {
      end_run();
      if (node.kind == NodeKind::choice) take_choice(node);
      return;
    }
    if (const auto longer = joined(run_, *image); longer && !run_.letters.contains("")) {
      run_ = *longer;
      return;
    }
    end_run();
    if (image->letters.contains("")) return;  // a run begins with a letter or a mark
    run_ = *image;
    if (run_.marked.erase(kMark) != 0) run_.letters.insert(kMark);
  }
  void end_run() {
    if (auto clause = clause_of(run_)) clauses.push_back(std::move(*clause));
    run_ = Image{};
  }

  std::vector<RegexClause> clauses;

 private:
  // One clause: the rarest of each way.
  void take_choice(const Node& node) {
    RegexClause all;
    for (const Pointer& child : node.children) {
      JoinedClauses way;
      way.take(*child);
      way.end_run();
      if (way.clauses.empty()) return;
      const auto& best = *std::ranges::min_element(way.clauses, {}, &RegexClause::rate);
      all.words.insert(all.words.end(), best.words.begin(), best.words.end());
    }
    finish_clause(all);
    if (all.words.size() <= kMostWords * 4 && all.rate <= kMostRate)
      clauses.push_back(std::move(all));
  }

  Image run_;
};

}  // namespace

std::vector<RegexClause> joined_clauses(const RegexTree& tree, std::size_t most) {
  JoinedClauses found;
  found.take(*tree.root());
  found.end_run();
  std::ranges::stable_sort(found.clauses, {}, &RegexClause::rate);
  if (found.clauses.size() > most) found.clauses.resize(most);
  return std::move(found.clauses);
}

}  // namespace sluice::control
