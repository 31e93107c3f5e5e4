// What chooses its instructions by the CPU (dataplane/base/vectors.h): each way gives what the way
// without vectors gives, and what a search at each place finds of literals. The first octet says
// how the rest is cut; literals, words and sets of octets are cut from it too, so that what is
// looked for is there.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/vectors.h"
#include "dataplane/flow/flow_table.h"
#include "dataplane/mime/transfer.h"
#include "dataplane/scan/literals.h"
#include "dataplane/scan/regex_starts.h"
#include "dataplane/scan/word_finder.h"
#include "dataplane/smtp/data_reader.h"
#include "tests/unit/smtp/recorder.h"

namespace {

using namespace sluice;

// Reads octets that say what to do.
class Choices {
 public:
  explicit Choices(Bytes octets) : octets_(octets) {}
  std::size_t below(std::size_t count) {
    if (octets_.empty()) return 0;
    const std::size_t value = octets_[next_++ % octets_.size()];
    return value % count;
  }
  std::string_view piece(std::size_t least, std::size_t most) {
    const std::size_t size = std::min(octets_.size(), least + below(most - least + 1));
    const std::size_t at = (below(256) << 8 | below(256)) % (octets_.size() - size + 1);
    return as_text(octets_.subspan(at, size));
  }

 private:
  Bytes octets_;
  std::size_t next_ = 0;
};

// A copy with `behind` octets more, and nothing beyond them: who reads further is seen.
class Copy {
 public:
  explicit Copy(Bytes octets, std::size_t behind = 0)
      : size_(octets.size()), octets_(new std::uint8_t[octets.size() + behind]()) {
    std::copy(octets.begin(), octets.end(), octets_.get());
  }
  Bytes get() const { return {octets_.get(), size_}; }

 private:
  std::size_t size_;
  std::unique_ptr<std::uint8_t[]> octets_;
};

// What all ways give.
auto check(const char* what, auto&& way) {
  constexpr std::pair<Vectors, const char*> kWays[] = {
      {Vectors::avx2, "avx2"}, {Vectors::avx512, "avx512"}, {Vectors::avx512vbmi, "avx512vbmi"}};
  detail::use_vectors(Vectors::none);
  auto expected = way();
  for (const auto& [vectors, name] : kWays) {
    detail::use_vectors(vectors);
    if (!has(vectors) || way() == expected) continue;
    std::fprintf(stderr, "%s differs with %s\n", what, name);
    std::abort();
  }
  return expected;
}

std::uint16_t checksum(Bytes octets) {
  return checksum_fold(checksum_add(octets.data(), octets.size(), 0));
}

std::vector<std::uint64_t> hashes(Bytes octets) {
  std::vector<flow::FlowKey> keys(octets.size() / sizeof(flow::FlowKey) % 20);
  if (!keys.empty())
    std::memcpy(static_cast<void*>(keys.data()), octets.data(), keys.size() * sizeof keys[0]);
  std::vector<std::uint64_t> result(keys.size());
  flow::hash(keys, {1, 2}, result);
  return result;
}

// What a reader of DATA says, in order, and how the message came and is.
std::vector<std::string> data_read(Bytes octets, std::size_t cut) {
  smtp::DataReader reader;
  smtp::test::Recorder told;
  told.on_message_begin(0, smtp::Via::data);
  reader.start();
  std::vector<std::string> steps;
  while (!octets.empty()) {
    const Copy piece(octets.first(std::min(octets.size(), cut)));
    const smtp::DataReader::Step step = reader.read(piece.get(), 0, told);
    octets = octets.subspan(step.consumed);
    steps.push_back(std::to_string(static_cast<int>(step.event)) + ' ' +
                    std::to_string(step.consumed) + ' ' + std::to_string(step.tail) + ' ' +
                    std::to_string(static_cast<int>(reader.state())));
    if (step.event == smtp::DataReader::Event::end) reader.not_the_end(0, told);
  }
  steps.push_back(told.messages.front().text);
  steps.push_back(told.messages.front().wire);
  steps.push_back(std::to_string(reader.bare_cr()) + std::to_string(reader.bare_lf()));
  return steps;
}

std::string base64_decoded(Bytes octets, std::size_t cut) {
  mime::Base64Decoder decoder;
  std::string text;
  std::vector<std::uint8_t> out(cut + mime::Base64Decoder::kSlack);
  while (!octets.empty()) {
    const Copy piece(octets.first(std::min(octets.size(), cut)));
    octets = octets.subspan(piece.get().size());
    text.append(as_text({out.data(), decoder.decode(piece.get(), out.data())}));
  }
  text.append(as_text({out.data(), decoder.finish(out.data())}));
  return text += decoder.malformed() ? '!' : '.';
}

struct Literals {
  explicit Literals(Bytes octets) {
    Choices choices(octets);
    all.resize(1 + choices.below(80));
    for (auto& literal : all) {
      literal.pattern = static_cast<std::uint32_t>(&literal - all.data());
      literal.octets = as_bytes(choices.piece(scan::LiteralSet::kShortest, 30));
      literal.nocase = choices.below(2) == 0;
    }
    known = choices.below(100) % octets.size();
  }
  std::vector<scan::LiteralSet::Literal> all;
  std::size_t known;
};
using LiteralsFound = std::set<std::pair<std::uint32_t, std::size_t>>;

LiteralsFound literals_found(Bytes octets) {
  const Literals literals(octets);
  const scan::LiteralSet set(literals.all);
  const Copy text(octets, scan::LiteralSet::kBehind);
  LiteralsFound found;
  set.scan(
      text.get(), literals.known,
      [](void* context, std::uint32_t pattern, std::size_t end) {
        static_cast<LiteralsFound*>(context)->emplace(pattern, end);
      },
      &found);
  return found;
}

LiteralsFound literals_there(Bytes octets) {
  const Literals literals(octets);
  LiteralsFound there;
  for (const auto& literal : literals.all) {
    const auto same = [&](std::uint8_t a, std::uint8_t b) {
      const auto lower = [](std::uint8_t c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; };
      return literal.nocase ? lower(a) == lower(b) : a == b;
    };
    const auto begin = octets.begin();
    for (auto at = begin;; ++at) {
      at = std::search(at, octets.end(), literal.octets.begin(), literal.octets.end(), same);
      if (at == octets.end()) break;
      const auto end = static_cast<std::size_t>(at - begin) + literal.octets.size();
      if (end > literals.known) there.emplace(literal.pattern, end);
    }
  }
  return there;
}

std::set<std::array<std::uint32_t, 4>> words_found(Bytes octets) {
  using scan::WordFinder;
  Choices choices(octets);
  WordFinder finder;
  for (std::size_t left = 1 + choices.below(60); left > 0; --left) {
    std::string word(choices.piece(1, 12));
    const auto flags = static_cast<std::uint8_t>(choices.below(8));
    if ((flags & WordFinder::kCaseless) != 0) {
      for (char& c : word)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    }
    const std::size_t anchors = word.size() - std::min(word.size(), WordFinder::kAnchor) + 1;
    static_cast<void>(finder.add(word, flags, choices.below(anchors)));
  }
  finder.build();
  WordFinder::Work work;
  finder.find(as_text(octets), work);
  std::set<std::array<std::uint32_t, 4>> found;
  for (std::size_t kind = 0; kind < WordFinder::kKinds; ++kind)
    for (const WordFinder::Hit& hit : work.hits(kind))
      found.insert({hit.word, hit.at, hit.begin, hit.end});
  return found;
}

std::vector<std::uint32_t> starts_found(Bytes octets) {
  using scan::RegexStarts;
  Choices choices(octets);
  RegexStarts::Classes classes;
  for (std::size_t i = 0; i < classes.size(); ++i) classes[i] = static_cast<std::uint8_t>(i);
  const auto add_some = [&](RegexStarts::Set& set) {
    for (const char c : choices.piece(1, 6)) set.set(static_cast<std::uint8_t>(c));
  };
  std::vector<RegexStarts::Window> windows(1 + choices.below(RegexStarts::kBuckets));
  for (RegexStarts::Window& window : windows)
    for (RegexStarts::Set& set : window) add_some(set);
  RegexStarts::Set before;
  add_some(before);
  if (choices.below(2) == 0) before.set();
  RegexStarts starts;
  starts.build(windows, 1 + choices.below(RegexStarts::kMostOctets), before, choices.below(2) == 0,
               classes);
  std::vector<std::uint32_t> found;
  RegexStarts::Places places;
  do {
    starts.find(as_text(octets), octets.size(), classes, places);
    found.insert(found.end(), places.all.begin(),
                 places.all.begin() + static_cast<std::ptrdiff_t>(places.count));
  } while (places.count > 0);
  return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 32 || size > 4'500) return 0;  // more than all that is looked at in one go
  const Bytes octets(data + 1, size - 1);
  const std::size_t cut = 1 + data[0] * std::size_t{16};
  check("a checksum", [&] { return checksum(octets); });
  check("hashes of flows", [&] { return hashes(octets); });
  check("DATA", [&] { return data_read(octets, cut); });
  check("base64", [&] { return base64_decoded(octets, cut); });
  if (check("literals", [&] { return literals_found(octets); }) != literals_there(octets)) {
    std::fprintf(stderr, "other literals are found than are there\n");
    std::abort();
  }
  check("words", [&] { return words_found(octets); });
  check("starts of a regex", [&] { return starts_found(octets); });
  return 0;
}
