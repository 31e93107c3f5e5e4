#include "control/policy/regex_words.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <map>
#include <optional>

#include "control/policy/regex_node.h"

namespace sluice::control {

namespace {

using regex::kNoBound;
using regex::Node;
using regex::Pointer;
using Words = std::vector<std::string>;

// In words: a word begins or ends here.
constexpr char kBoundary = '\x01';
constexpr std::size_t kMostMembers = 6;    // of a set that is written out
constexpr std::size_t kMostWords = 48;     // of a run that is written out
constexpr std::uint32_t kMostCounted = 4;  // places of a clause
constexpr std::size_t kMostInClause = 256;
constexpr std::size_t kMostOctets = 4096;  // of a word
constexpr double kMostRate = 1.0 / 250;
// What is looked for beside the rarest clause must exclude more than its finding costs.
constexpr double kMostRateBeside = 1.0 / 3000;
constexpr std::size_t kLeastBeside = 3;  // octets

bool is_word_octet(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// Bits of information of an octet in mail text; a rough count of a mixed corpus.
double bits(char c, bool caseless) {
  static constexpr std::array<double, 26> kLetters = {3.9, 6.3, 5.2, 5.0, 3.3, 5.8, 5.8, 5.0, 4.0,
                                                      9.5, 7.1, 4.9, 5.3, 4.0, 3.9, 5.7, 10., 4.2,
                                                      4.2, 3.6, 5.2, 6.9, 6.1, 8.7, 5.9, 9.5};
  static constexpr std::string_view kOften = " .,-/:_'\"()!=><*\n";
  const auto octet = static_cast<unsigned char>(c);
  if (c == ' ') return 2.8;
  if (std::isdigit(octet) != 0) return 6.5;
  if (octet >= 128) return 13;
  if (std::isalpha(octet) == 0) return kOften.find(c) != std::string_view::npos ? 6.5 : 10;
  const double letter = kLetters[static_cast<std::size_t>(std::tolower(octet) - 'a')];
  if (caseless) return letter;
  return std::isupper(octet) != 0 ? letter + 3 : letter + 0.2;
}

// What stands in most letters, whatever its letters say.
bool is_common(std::string_view word) {
  static constexpr std::string_view kCommon[] = {
      "the", "you", "your", "and", "for", "ing", "ion", "that", "this", "with", "have", "are",
      "not", "will", "from", "all", "can", "but", "was", "our", "has", "one", "out", "what", "get",
      "any", "more", "http", "www", "com", "mail", "http:", "http:/", "http://", "here", "ent",
      "her", "ter", "res", "ate", "now", "new", "use", "time", "they", "there", "per", "pro", "con",
      "ess", "ers", "ted", "nam", "age", "ver", "hat", "ome", "our ",
      // Names in X-Spam-Relays-*.
      "rdns=", "helo=", "ip=", "[ ip=", "by=", "auth=", "envfrom=", "rdns= helo="};
  while (word.starts_with(' ')) word.remove_prefix(1);
  while (word.ends_with(' ')) word.remove_suffix(1);
  return std::ranges::any_of(kCommon, [&](std::string_view common) {
    return common.size() == word.size() && std::ranges::equal(common, word, {}, {}, [](char c) {
             return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
           });
  });
}

double rate_of(const RegexWord& word) {
  if (is_common(word.octets)) return 1.0 / 200;
  double sum = word.begins_word ? 1.5 : 0;
  if (word.ends_word) sum += 1.5;
  for (std::size_t i = 0; i < word.octets.size(); ++i) {
    // Letters behind others are half known.
    const double of_one = bits(word.octets[i], word.caseless);
    sum += i == 0 ? of_one : i == 1 ? of_one * 0.9 : of_one * 0.7;
  }
  return std::exp2(-sum);
}

// Whether `part` stands wherever `word` does.
bool stands_in(const RegexWord& part, const RegexWord& word) {
  if (part.caseless != word.caseless || part.octets.size() > word.octets.size()) return false;
  for (std::size_t at = 0; (at = word.octets.find(part.octets, at)) != std::string::npos; ++at) {
    const std::size_t end = at + part.octets.size();
    const bool begins = !part.begins_word || (at == 0 ? word.begins_word : false);
    const bool ends = !part.ends_word || (end == word.octets.size() ? word.ends_word : false);
    if (begins && ends) return true;
  }
  return false;
}

// (?i:...)
bool makes_caseless(const Node& node) {
  std::string_view flags = node.text;
  if (!flags.starts_with("(?") || !flags.ends_with(':')) return false;
  flags = flags.substr(0, flags.find('-'));
  return flags.find('i') != std::string_view::npos;
}

// Octets of the longest match of a node, added to `before`.
std::uint32_t longest(const Node& node, std::uint32_t before);

std::uint32_t longest_of_one(const Node& node) {
  std::uint32_t most = 0;
  switch (node.kind) {
    case NodeKind::set:
    case NodeKind::any:
      return 1;
    case NodeKind::reference:
      return kNoBound;
    case NodeKind::sequence:
      for (const Pointer& child : node.children) most = longest(*child, most);
      return most;
    case NodeKind::choice:
    case NodeKind::group:
      for (const Pointer& child : node.children) most = std::max(most, longest_of_one(*child));
      return most;
    case NodeKind::repeat: {
      const std::uint64_t one = longest_of_one(*node.children.front());
      if (one == 0) return 0;
      if (one == kNoBound || node.most == kNoBound) return kNoBound;
      return static_cast<std::uint32_t>(std::min<std::uint64_t>(one * node.most, kNoBound));
    }
    default:
      return 0;
  }
}

std::uint32_t longest(const Node& node, std::uint32_t before) {
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(std::uint64_t{before} + longest_of_one(node), kNoBound));
}

class Clauses {
 public:
  explicit Clauses(const WordOptions& options) : options_(options) {}

  std::vector<RegexClause> of(const Node& node) const;
  bool sensitive() const { return !options_.caseless; }

 private:
  std::optional<Words> exactly(const Node& node) const;
  std::optional<Words> of_set(const regex::Set& set) const;
  std::optional<Words> joined(const Words& first, const Words& second) const;
  std::vector<RegexClause> of_sequence(const Node& node) const;
  std::vector<RegexClause> of_repeat(const Node& node) const;
  std::vector<RegexClause> of_choice(const Node& node) const;
  std::optional<RegexClause> clause(const Words& words) const;

  const WordOptions options_;
};

std::optional<Words> Clauses::of_set(const regex::Set& set) const {
  Words words;
  for (unsigned c = 0; c < 256; ++c) {
    if (!set.test(c)) continue;
    if (options_.paragraphs && c != '\n' && c != ' ' && std::isspace(static_cast<int>(c)) != 0)
      continue;
    std::string word(
        1, static_cast<char>(c < 128 && options_.caseless ? std::tolower(static_cast<int>(c))
                                                          : static_cast<int>(c)));
    if (std::ranges::find(words, word) != words.end()) continue;
    words.push_back(std::move(word));
    if (words.size() > kMostMembers) return std::nullopt;
  }
  return words;
}

// Each of the first with each of the second behind it.
std::optional<Words> Clauses::joined(const Words& first, const Words& second) const {
  Words all;
  for (const std::string& a : first) {
    for (const std::string& b : second) {
      // A line end has nothing behind it.
      if (options_.paragraphs && a.find('\n') != std::string::npos &&
          b.find_first_not_of(kBoundary) != std::string::npos)
        continue;
      all.push_back(a + b);
      if (all.size() > kMostWords) return std::nullopt;
    }
  }
  return all;
}

// All that a node matches, when that is little.
std::optional<Words> Clauses::exactly(const Node& node) const {
  switch (node.kind) {
    case NodeKind::set:
      return of_set(node.set);
    case NodeKind::zero_width:
      return Words{node.text == "\\b" ? std::string(1, kBoundary) : std::string()};
    case NodeKind::opaque:
      return Words{""};
    case NodeKind::group:
      if (!options_.caseless && makes_caseless(node)) return std::nullopt;
      return exactly(*node.children.front());
    case NodeKind::choice: {
      Words words;
      for (const Pointer& child : node.children) {
        const auto ways = exactly(*child);
        if (!ways) return std::nullopt;
        words.insert(words.end(), ways->begin(), ways->end());
        if (words.size() > kMostWords) return std::nullopt;
      }
      return words;
    }
    case NodeKind::sequence: {
      std::optional<Words> words = Words{""};
      for (const Pointer& child : node.children) {
        const auto ways = exactly(*child);
        if (!ways) return std::nullopt;
        words = joined(*words, *ways);
        if (!words) return std::nullopt;
      }
      return words;
    }
    case NodeKind::repeat: {
      if (node.most > 3) return std::nullopt;
      const auto ways = exactly(*node.children.front());
      if (!ways) return std::nullopt;
      std::optional<Words> run = Words{""};
      Words all;
      for (std::uint32_t times = 0;; ++times) {
        if (times >= node.least) all.insert(all.end(), run->begin(), run->end());
        if (times == node.most) break;
        run = joined(*run, *ways);
        if (!run || all.size() > kMostWords) return std::nullopt;
      }
      return all;
    }
    default:
      return std::nullopt;
  }
}

std::optional<RegexClause> Clauses::clause(const Words& words) const {
  RegexClause clause;
  for (const std::string& text : words) {
    RegexWord word;
    word.caseless = options_.caseless;
    for (const char c : text) {
      if (c != kBoundary) word.octets += c;
    }
    if (word.octets.empty() || word.octets.size() > kMostOctets) return std::nullopt;
    word.begins_word = text.front() == kBoundary && is_word_octet(word.octets.front());
    word.ends_word = text.back() == kBoundary && is_word_octet(word.octets.back());
    if (std::ranges::find(clause.words, word) == clause.words.end())
      clause.words.push_back(std::move(word));
  }
  finish_clause(clause);
  if (clause.words.empty() || clause.words.size() > kMostInClause) return std::nullopt;
  return clause;
}

std::vector<RegexClause> Clauses::of_sequence(const Node& node) const {
  std::vector<RegexClause> all;
  Words run{""};
  std::uint32_t before = 0;  // octets of what was read, at most
  const auto end_run = [&](std::uint32_t reach) {
    if (auto made = clause(run)) {
      made->reach = reach;
      all.push_back(std::move(*made));
    }
    run = {""};
  };
  for (const Pointer& child : node.children) {
    const std::uint32_t begin = before;
    before = longest(*child, before);
    if (const auto ways = exactly(*child)) {
      if (auto longer = joined(run, *ways)) {
        run = std::move(*longer);
        continue;
      }
      end_run(begin);
      run = *ways;
      continue;
    }
    // One of a repeated character is certain before it and behind it.
    if (child->kind == NodeKind::repeat && child->least > 0) {
      if (const auto ways = exactly(*child->children.front())) {
        if (auto longer = joined(run, *ways)) run = std::move(*longer);
        end_run(longest(*child->children.front(), begin));
        run = *ways;
        continue;
      }
    }
    end_run(begin);
    for (RegexClause& inner : of(*child)) {
      inner.reach = static_cast<std::uint32_t>(
          std::min<std::uint64_t>(std::uint64_t{begin} + inner.reach, kNoBound));
      all.push_back(std::move(inner));
    }
  }
  end_run(before);
  return all;
}

// One clause: the rarest of each way.
std::vector<RegexClause> Clauses::of_choice(const Node& node) const {
  RegexClause all;
  all.reach = 0;
  std::uint32_t least = kMostCounted;
  for (const Pointer& child : node.children) {
    auto clauses = of(*child);
    if (clauses.empty()) return {};
    RegexClause& best = *std::ranges::min_element(clauses, {}, &RegexClause::rate);
    least = std::min(least, best.least);
    all.reach = std::max(all.reach, best.reach);
    for (RegexWord& word : best.words) {
      if (std::ranges::find(all.words, word) == all.words.end())
        all.words.push_back(std::move(word));
    }
  }
  all.least = least;
  finish_clause(all);
  if (all.words.size() > kMostInClause) return {};
  return {std::move(all)};
}

std::vector<RegexClause> Clauses::of_repeat(const Node& node) const {
  if (node.least == 0) return {};
  auto clauses = of(*node.children.front());
  for (RegexClause& clause : clauses) {
    if (node.least == 1 || clause.least > 1) continue;
    RegexClause counted = clause;
    counted.least = std::min(node.least, kMostCounted);
    set_rate(counted);
    if (counted.rate < clause.rate) clause = std::move(counted);
  }
  return clauses;
}

std::vector<RegexClause> Clauses::of(const Node& node) const {
  switch (node.kind) {
    case NodeKind::group:
      if (!options_.caseless && makes_caseless(node)) {
        WordOptions inside = options_;
        inside.caseless = true;
        return Clauses(inside).of(*node.children.front());
      }
      return of(*node.children.front());
    case NodeKind::repeat:
      return of_repeat(node);
    case NodeKind::choice:
      return of_choice(node);
    case NodeKind::sequence:
      return of_sequence(node);
    default:
      return {};
  }
}

// Flags that stand by themselves: from there on case means something else.
bool changes_case(const Node& node) {
  return node.kind == NodeKind::opaque ||
         std::ranges::any_of(node.children, [](const Pointer& c) { return changes_case(*c); });
}

}  // namespace

void set_rate(RegexClause& clause) {
  constexpr double kItem = 250;  // octets, about
  clause.rate = 0;
  for (const RegexWord& word : clause.words) clause.rate += rate_of(word);
  const double once = clause.rate * kItem;
  double all = once;
  for (std::uint32_t n = 2; n <= clause.least; ++n) all *= once / n;
  // However common its words are, items with many of them are few; short ones are everywhere.
  const bool words = std::ranges::all_of(
      clause.words, [](const RegexWord& word) { return word.octets.size() >= 3; });
  if (clause.least > 1 && words) clause.rate = std::min({clause.rate, all / kItem, kMostRate});
}

namespace {

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  return text;
}

// Words that are there in every case become one that asks for none.
void join_cases(RegexClause& clause) {
  std::map<RegexWord, std::uint32_t> ways;  // by what they become
  const auto caseless = [](const RegexWord& word) {
    RegexWord made = word;
    made.octets = lower(word.octets);
    made.caseless = true;
    return made;
  };
  for (const RegexWord& word : clause.words) ++ways[caseless(word)];
  std::vector<RegexWord> kept;
  for (const RegexWord& word : clause.words) {
    RegexWord made = caseless(word);
    const auto letters = std::ranges::count_if(
        word.octets, [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; });
    if (letters == 0 || letters > 8 || ways[made] != 1u << letters) made = word;
    if (std::ranges::find(kept, made) == kept.end()) kept.push_back(std::move(made));
  }
  clause.words = std::move(kept);
}

}  // namespace

void finish_clause(RegexClause& clause) {
  join_cases(clause);
  std::vector<RegexWord> kept;
  std::ranges::stable_sort(clause.words, {},
                           [](const RegexWord& word) { return word.octets.size(); });
  for (RegexWord& word : clause.words) {
    const bool known =
        std::ranges::any_of(kept, [&](const RegexWord& part) { return stands_in(part, word); });
    if (!known) kept.push_back(std::move(word));
  }
  clause.words = std::move(kept);
  set_rate(clause);
}

std::vector<RegexClause> regex_clauses(const RegexTree& tree, const WordOptions& options,
                                       std::size_t most) {
  const Node whole{.kind = NodeKind::sequence, .children = {tree.root()}};
  std::vector<RegexClause> clauses;
  const auto take = [&](bool caseless) {
    WordOptions as = options;
    as.caseless = caseless;
    clauses = Clauses(as).of(whole);
    std::erase_if(clauses, [](const RegexClause& c) { return c.rate > kMostRate; });
  };
  if (!options.caseless && !changes_case(whole)) take(false);
  if (clauses.empty()) take(true);
  std::ranges::stable_sort(clauses, {}, &RegexClause::rate);
  std::vector<RegexClause> kept;
  for (RegexClause& clause : clauses) {
    const bool known =
        std::ranges::any_of(kept, [&](const RegexClause& k) { return k.words == clause.words; });
    const bool beside = clause.rate <= kMostRateBeside &&
                        std::ranges::all_of(clause.words, [](const RegexWord& word) {
                          return word.octets.size() >= kLeastBeside;
                        });
    if (!known && kept.size() < most && (kept.empty() || beside)) kept.push_back(std::move(clause));
  }
  return kept;
}

}  // namespace sluice::control
