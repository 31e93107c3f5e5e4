// A gate (scan/regex_gate.h) may keep a regex from a text only when the regex has no match there:
// each is put beside what PCRE2 says, on regexes and texts that chance makes and on the forms of
// real rules.
#include "dataplane/scan/regex_gate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "control/policy/regex_program.h"
#include "control/policy/regex_tree.h"
#include "dataplane/scan/confirmation.h"
#include "dataplane/scan/regex.h"

namespace sluice::test {
namespace {

using Random = std::mt19937;

std::size_t below(Random& random, std::size_t end) { return random() % end; }

std::optional<scan::RegexGate> gate_of(const std::string& regex, std::uint32_t options,
                                       std::uint32_t number = 0) {
  const auto tree = control::RegexTree::read(regex, options);
  if (!tree) return std::nullopt;
  const auto program = control::regex_program(*tree, options);
  if (!program) return std::nullopt;
  auto gate = scan::RegexGate::load(program->words, program->sets, number);
  EXPECT_TRUE(gate) << regex << ": " << gate.error();
  if (!gate) return std::nullopt;
  return std::move(*gate);
}

std::string random_regex(Random& random, int depth) {
  static constexpr std::string_view kAtoms[] = {"a",   "b",   "c",   "B",     "_",
                                                " ",   "\\n", ".",   "[ab]",  "[^a]",
                                                "\\w", "\\W", "\\s", "[a-c]", "\\S"};
  static constexpr std::string_view kEdges[] = {"\\b", "\\B",   "^",     "$",      "\\A",   "\\z",
                                                "\\Z", "(?=b)", "(?!c)", "(?<=a)", "(?<!b)"};
  static constexpr std::string_view kCounts[] = {
      "", "", "", "?", "*", "+", "{2}", "{2,}", "{1,3}", "{0,2}", "{3,20}", "*?", "{1,2}?", "++"};
  std::string out;
  const std::size_t length = 1 + below(random, 4);
  for (std::size_t i = 0; i < length; ++i) {
    const std::size_t kind = below(random, 10);
    if (kind == 0) {
      out += kEdges[below(random, std::size(kEdges))];
      continue;
    }
    if (kind <= 3 && depth > 0) {
      static constexpr std::string_view kGroups[] = {
          "(?:", "(", "(?i:", "(?-i:", "(?s:", "(?>", "(?m:"};
      out += kGroups[below(random, std::size(kGroups))];
      out += random_regex(random, depth - 1);
      if (below(random, 2) == 0) out += '|' + random_regex(random, depth - 1);
      out += ')';
    } else {
      out += kAtoms[below(random, std::size(kAtoms))];
    }
    out += kCounts[below(random, std::size(kCounts))];
  }
  return out;
}

std::string random_text(Random& random, std::string_view alphabet, std::size_t most) {
  std::string text(below(random, most + 1), ' ');
  for (char& c : text) c = alphabet[below(random, alphabet.size())];
  return text;
}

TEST(RegexGate, LosesNoMatchOfRandomRegexes) {
  Random random(4711);
  scan::RegexScratch pcre2;
  std::size_t kept_out = 0;
  std::size_t matched = 0;
  for (int round = 0; round < 1500; ++round) {
    const std::string regex = random_regex(random, 2);
    const auto options = static_cast<std::uint32_t>(below(random, 8));  // caseless, /m, /s
    const auto exact = scan::Regex::make(regex, options);
    const auto gate = gate_of(regex, options);
    if (!exact || !gate) continue;
    scan::GateScratch scratch;
    scratch.reserve(1);
    for (int i = 0; i < 30; ++i) {
      const std::string text = random_text(random, "aabbcBA _\n", i % 8 == 0 ? 200 : 24);
      const std::size_t from = below(random, 4) == 0 ? below(random, text.size() + 1) : 0;
      const std::uint32_t to = below(random, 4) == 0
                                   ? static_cast<std::uint32_t>(from + below(random, 6))
                                   : scan::Regex::kNoLimit;
      scan::Regex::Match match;
      const bool found = exact->find(text, pcre2, &match, from, to);
      const std::size_t first = gate->first(text, from, to, scratch);
      const bool may = first != scan::RegexGate::npos;
      if (found && may) {
        ASSERT_GE(match.begin[0], first) << regex << " on '" << text << "' from " << from;
        ASSERT_TRUE(exact->find(text, pcre2, nullptr, first, to));
      }
      ASSERT_TRUE(may || !found) << regex << " options " << options << " on '" << text << "' from "
                                 << from << " to " << to;
      matched += found ? 1 : 0;
      kept_out += may ? 0 : 1;
    }
  }
  EXPECT_GT(matched, 5000u);
  EXPECT_GT(kept_out, 5000u);
}

TEST(RegexGate, IsExactForWhatItCanSay) {
  static constexpr std::string_view kExact[] = {
      "\\b(?:[a-z]{3,}[\\s\\.]+){4}",
      "\\b[A-Za-z][a-z]{0,9}[,;)]?\\s[A-Z]{6,}[a-z]?\\s[A-Za-z][a-z]{1,15}\\b",
      "^\\s*(?:[a-z]+\\s+){3}\\.$",
      "(?:(?:name|age|sex)[ :_.]+){3}",
      "\\bb\\Ba|^c{2,4}b",
      "(?i:ab)c\\b"};
  Random random(42);
  scan::RegexScratch pcre2;
  for (const std::string_view regex : kExact) {
    const std::uint32_t options = scan::kRegexMultiline;
    const auto exact = scan::Regex::make(regex, options);
    const auto gate = gate_of(std::string(regex), options);
    ASSERT_TRUE(exact && gate) << regex;
    scan::GateScratch scratch;
    scratch.reserve(1);
    for (int i = 0; i < 3000; ++i) {
      std::string text;
      while (text.size() < 40) {
        static constexpr std::string_view kPieces[] = {
            "abc ", "name: ", "age. ", "sex ", "ABCDEFG ", ".\n", "c", "b", "A", " ", "ccb"};
        text += kPieces[below(random, std::size(kPieces))];
      }
      EXPECT_EQ(gate->may_match(text, 0, scan::Regex::kNoLimit, scratch), exact->find(text, pcre2))
          << regex << " on '" << text << "'";
    }
  }
}

// What all matches have inside is looked for first, whatever stands around it. Half of the texts
// have one match that was put there: chance makes few.
TEST(RegexGate, LooksForRareOctetsInside) {
  struct Case {
    std::string_view regex;
    std::string_view match;
    bool inside;
  };
  static constexpr Case kCases[] = {{"\\b[a-z]{1,9} [A-Z]{6,}[a-z]?", " ab ABCDEF", true},
                                    {"\\b[a-z]+ (?:X|Y)Z{3}\\b", " c YZZZ.", true},
                                    {"\\b[a-z]{2,}[0-9]{3,12}!", ".ab567!", true},
                                    {"\\b[a-z]{2,}[0-9]{3,}(?:!|\\?x{3})", " abc123?xxx", true},
                                    {"^[a-z]+(?: [a-z]+){2} \\.$", "\nab c d .\n", false},
                                    {"\\b[a-z]+ (?:QQ|(?:[0-9]{2})?) ?[a-z]", "ab QQ c", false}};
  Random random(17);
  scan::RegexScratch pcre2;
  for (const auto& [regex, match, inside] : kCases) {
    const std::uint32_t options = scan::kRegexMultiline;
    const auto exact = scan::Regex::make(regex, options);
    const auto gate = gate_of(std::string(regex), options);
    ASSERT_TRUE(exact && gate) << regex;
    EXPECT_EQ(gate->looks_inside(), inside) << regex;
    scan::GateScratch scratch;
    scratch.reserve(1);
    std::size_t matched = 0;
    std::size_t limited = 0;
    for (int i = 0; i < 3000; ++i) {
      const std::size_t pieces = below(random, 30);
      const std::size_t place = below(random, 2 * (pieces + 1));  // of the match, if any
      std::string text;
      for (std::size_t piece = 0; piece <= pieces; ++piece) {
        static constexpr std::string_view kPieces[] = {
            "ab", " ", "ABCDEFG", "XZZZ", "YZZ", "\n", " .\n", "123", "45!", "c", ".", "d e f ."};
        if (piece == place) text += match;
        text += kPieces[below(random, std::size(kPieces))];
      }
      const std::size_t from = below(random, 3) == 0 ? below(random, text.size() + 1) : 0;
      const auto to = below(random, 3) == 0 ? static_cast<std::uint32_t>(below(random, text.size()))
                                            : scan::Regex::kNoLimit;
      const bool found = exact->find(text, pcre2, nullptr, from, to);
      EXPECT_TRUE(gate->may_match(text, from, to, scratch) || !found)
          << regex << " on '" << text << "' from " << from << " to " << to;
      if (!found) continue;
      ++matched;
      limited += to < text.size() ? 1u : 0u;
    }
    EXPECT_GT(matched, 1000u) << regex;
    EXPECT_GT(limited, 200u) << regex;
  }
}

// Every octet makes a new state: answers stay right when states are given up.
TEST(RegexGate, EmptiesItsStatesAndGivesUp) {
  const std::string regex = "a[ab]{16}c";
  const auto exact = scan::Regex::make(regex, 0);
  const auto gate = gate_of(regex, 0);
  ASSERT_TRUE(exact && gate);
  Random random(7);
  scan::RegexScratch pcre2;
  scan::GateScratch scratch;
  scratch.reserve(1);
  for (int i = 0; i < 400; ++i) {
    const std::string text = random_text(random, "aaaabbbbabababababc", 2000);
    const bool may = gate->may_match(text, 0, scan::Regex::kNoLimit, scratch);
    ASSERT_TRUE(may || !exact->find(text, pcre2));
  }
  const std::string text = "bbbbbbbb abab";
  EXPECT_FALSE(gate->may_match(text, 0, scan::Regex::kNoLimit, scratch));
}

TEST(RegexGate, GatesShareAScratch) {
  const auto one = gate_of("ab+c", 0, 0);
  const auto two = gate_of("ba+c", 0, 1);
  ASSERT_TRUE(one && two);
  scan::GateScratch scratch;
  scratch.reserve(2);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(one->may_match("xabbc", 0, scan::Regex::kNoLimit, scratch));
    EXPECT_FALSE(two->may_match("xabbc", 0, scan::Regex::kNoLimit, scratch));
    EXPECT_FALSE(one->may_match("baac", 0, scan::Regex::kNoLimit, scratch));
    EXPECT_TRUE(two->may_match("baac", 0, scan::Regex::kNoLimit, scratch));
  }
}

// Each place is found, and none beside: with vectors and without, at the ends of what they look at.
TEST(RegexStarts, FindsEachPlaceWhereAMatchMayBegin) {
  Random random(99);
  std::size_t found = 0;
  for (int round = 0; round < 400; ++round) {
    const std::size_t octets = 1 + below(random, scan::RegexStarts::kMostOctets);
    std::vector<scan::RegexStarts::Window> windows(1 + below(random, scan::RegexStarts::kBuckets));
    const auto random_set = [&] {
      scan::RegexStarts::Set set;
      const std::size_t members = 1 + below(random, 40);
      for (std::size_t i = 0; i < members; ++i)
        set.set(below(random, 2) == 0 ? 'a' + below(random, 6) : below(random, 256));
      return set;
    };
    for (auto& window : windows) {
      for (auto& set : window) set = random_set();
    }
    const scan::RegexStarts::Set before = round % 8 == 0          ? scan::RegexStarts::Set()
                                          : below(random, 2) == 0 ? random_set()
                                                                  : scan::RegexStarts::Set().set();
    const bool at_begin = below(random, 2) == 0;
    scan::RegexStarts starts;
    // Octets of the same sets are of a class.
    scan::RegexStarts::Classes classes{};
    std::map<std::vector<bool>, std::uint8_t> numbers;
    for (std::size_t c = 0; c < 256; ++c) {
      std::vector<bool> in;
      for (const auto& window : windows) {
        for (const auto& set : window) in.push_back(set.test(c));
      }
      classes[c] = numbers.try_emplace(in, static_cast<std::uint8_t>(numbers.size())).first->second;
    }
    starts.build(windows, octets, before, at_begin, classes);
    for (int i = 0; i < 20; ++i) {
      const std::string text = random_text(random, "aabcdef\x80\xff @", 300);
      const std::size_t from = below(random, text.size() + 1);
      const std::size_t last = from + below(random, 300);
      std::vector<std::size_t> expected;
      for (std::size_t at = from; at <= last && at + octets <= text.size(); ++at) {
        const auto octet = [&](std::size_t place) {
          return static_cast<unsigned char>(text[place]);
        };
        if (at == 0 ? !at_begin : !before.test(octet(at - 1))) continue;
        const bool begins = std::ranges::any_of(windows, [&](const auto& window) {
          for (std::size_t k = 0; k < octets; ++k) {
            if (!window[k].test(octet(at + k))) return false;
          }
          return true;
        });
        if (begins) expected.push_back(at);
      }
      std::vector<std::size_t> places;
      scan::RegexStarts::Places some;
      for (some.next = from; starts.find(text, last, classes, some), some.count > 0;)
        places.insert(places.end(), some.all.begin(),
                      some.all.begin() + static_cast<std::ptrdiff_t>(some.count));
      ASSERT_EQ(places, expected) << "round " << round;
      found += places.size();
    }
  }
  EXPECT_GT(found, 2000u);
}

// A text in which matches begin everywhere and go on for long is gone through but once.
TEST(RegexGate, LongBeginningsEverywhere) {
  const auto gate = gate_of("xyzw[a-z]*[0-9]q", 0);
  ASSERT_TRUE(gate && gate->passes());
  scan::GateScratch scratch;
  scratch.reserve(1);
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += "xyzw";
  EXPECT_FALSE(gate->may_match(text, 0, scan::Regex::kNoLimit, scratch));
  text += "1q";
  EXPECT_TRUE(gate->may_match(text, 0, scan::Regex::kNoLimit, scratch));
}

TEST(RegexGate, RefusesBrokenPrograms) {
  const auto tree = control::RegexTree::read("a(?:b|c)d", 0);
  const auto program = control::regex_program(*tree, 0);
  ASSERT_TRUE(program);
  EXPECT_TRUE(scan::RegexGate::load(program->words, program->sets, 0));
  for (std::size_t i = 0; i < program->words.size(); ++i) {
    auto words = program->words;
    words[i] = 0xffffffff;
    EXPECT_FALSE(scan::RegexGate::load(words, program->sets, 0)) << i;
  }
  auto odd = program->words;
  odd.pop_back();
  EXPECT_FALSE(scan::RegexGate::load(odd, program->sets, 0));
  EXPECT_FALSE(scan::RegexGate::load({}, program->sets, 0));
  auto sets = program->sets;
  sets.pop_back();
  EXPECT_FALSE(scan::RegexGate::load(program->words, sets, 0));
  EXPECT_FALSE(scan::RegexGate::load(program->words, {}, 0));
}

// Octets of a set are counted without PCRE2, which says the same.
TEST(Regex, CountsOctetsOfASet) {
  struct Case {
    std::string_view regex;
    std::vector<std::uint8_t> octets;
  };
  const Case cases[] = {{"[a\\x80-\\xff]", {'a'}}, {"[ab\\xe1]", {'a', 'b'}}};
  static constexpr std::size_t kSizes[] = {0, 1, 239, 240, 241, 255, 256, 300, 481, 1000};
  Random random(23);
  scan::RegexScratch scratch;
  for (const auto& [regex, octets] : cases) {
    const auto exact = scan::Regex::make(regex, 0);
    auto quick = scan::Regex::make(regex, 0);
    ASSERT_TRUE(exact && quick) << regex;
    quick->set_octets(octets);
    for (const std::size_t size : kSizes) {
      std::vector<std::string> texts{std::string(size, 'a')};
      for (int i = 0; i < 8; ++i) texts.push_back(random_text(random, "aabc d", size));
      for (std::string text : texts) {
        for (const std::string_view high : {"", "\xe1"}) {
          text.insert(below(random, text.size() + 1), high);
          for (const std::uint32_t most : {1u, 7u, UINT32_MAX})
            ASSERT_EQ(quick->count(text, scratch, most), exact->count(text, scratch, most))
                << regex << " in '" << text << "', at most " << most;
        }
      }
    }
  }
}

}  // namespace
}  // namespace sluice::test
