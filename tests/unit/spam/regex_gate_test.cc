// A gate (scan/regex_gate.h) may keep a regex from a text only when the regex has no match there:
// each is put beside what PCRE2 says, on regexes and texts that chance makes and on the forms of
// real rules.
#include "dataplane/scan/regex_gate.h"

#include <gtest/gtest.h>

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
      const std::string text = random_text(random, "aabbcBA _\n", 24);
      const std::size_t from = below(random, 4) == 0 ? below(random, text.size() + 1) : 0;
      const std::uint32_t to = below(random, 4) == 0
                                   ? static_cast<std::uint32_t>(from + below(random, 6))
                                   : scan::Regex::kNoLimit;
      const bool found = exact->find(text, pcre2, nullptr, from, to);
      const bool may = gate->may_match(text, from, to, scratch);
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

}  // namespace
}  // namespace sluice::test
