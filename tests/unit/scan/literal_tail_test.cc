// What follows literals: the automaton against following each way, and whole regexes against PCRE2.
#include "dataplane/scan/literal_tail.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>

#include "control/policy/linear_regex.h"
#include "dataplane/scan/regex.h"
#include "tests/unit/scan/rules_on_octets.h"

namespace sluice::test {
namespace {

using scan::LiteralTail;
using Position = LiteralTail::Position;

Position position(std::string_view octets, bool optional, bool repeats) {
  Position position{.optional = optional, .repeats = repeats};
  for (const char c : octets)
    position.octets[static_cast<unsigned char>(c) / 64] |= std::uint64_t{1} << (c % 64);
  return position;
}

bool has(const Position& position, char c) {
  return (position.octets[static_cast<unsigned char>(c) / 64] >> (c % 64) & 1) != 0;
}

// The numbers of positions that may be behind us, one by one.
std::set<std::size_t> reach(const std::vector<Position>& positions, std::set<std::size_t> from) {
  for (const std::size_t at : std::set<std::size_t>(from))
    for (std::size_t i = at; i < positions.size() && positions[i].optional; ++i) from.insert(i + 1);
  return from;
}

TEST(LiteralTail, LikeFollowingEachWay) {
  std::mt19937 random(5);
  const auto number = [&](std::size_t most) {
    return std::uniform_int_distribution<std::size_t>(0, most)(random);
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<Position> positions;
    const std::size_t size = number(3) == 0 ? LiteralTail::kMostPositions : number(9);
    while (positions.size() < size) {
      static constexpr std::string_view kSets[] = {"a", "b", "ab", "bc", "c", ""};
      positions.push_back(position(kSets[number(5)], number(2) == 0, number(2) == 0));
    }
    const LiteralTail tail(positions);
    std::set<std::size_t> expected = reach(positions, {0});
    LiteralTail::State state = tail.begin();
    for (int i = 0; i < 12; ++i) {
      LiteralTail::State bits = 0;
      for (const std::size_t at : expected) bits |= LiteralTail::State{1} << at;
      ASSERT_EQ(state, bits) << round << " after " << i;
      ASSERT_EQ(tail.matched(state), expected.contains(size));
      const char c = static_cast<char>('a' + number(2));
      std::set<std::size_t> next;
      for (const std::size_t at : expected) {
        if (at < size && has(positions[at], c)) next.insert(at + 1);
        if (at > 0 && positions[at - 1].repeats && has(positions[at - 1], c)) next.insert(at);
      }
      expected = reach(positions, std::move(next));
      state = tail.step(state, static_cast<std::uint8_t>(c));
    }
  }
}

TEST(LinearRegex, WhatItIsAndIsNot) {
  const auto linear = [](std::string_view regex, std::uint32_t options = 0) {
    return control::linear_regex(regex, options);
  };
  EXPECT_FALSE(linear("sho\\d"));
  ASSERT_TRUE(linear("short\\d"));
  EXPECT_EQ(linear("short\\d")->literals, std::vector<std::string>{"short"});
  EXPECT_FALSE(linear("one|twotwotwo"));
  EXPECT_FALSE(linear("^beginning"));
  EXPECT_FALSE(linear("endendend$"));
  EXPECT_FALSE(linear("borders\\b only"));
  EXPECT_FALSE(linear("(group of)+ many"));
  EXPECT_FALSE(linear("possessive a*+a"));
  EXPECT_FALSE(linear("far far away.{0,80}x"));
  EXPECT_FALSE(linear("look ahead(?=x)"));
  EXPECT_FALSE(linear("back (references) \\1"));
  EXPECT_FALSE(linear("anchored", scan::kRegexAnchored));
  ASSERT_TRUE(linear("eight888"));
  EXPECT_TRUE(linear("eight888")->tail.empty());
  ASSERT_TRUE(linear("EIGHT888x+", scan::kRegexCaseless));
  EXPECT_TRUE(linear("EIGHT888x+", scan::kRegexCaseless)->nocase);
  EXPECT_EQ(linear("EIGHT888x+", scan::kRegexCaseless)->literals,
            std::vector<std::string>{"eight888"});
  ASSERT_TRUE(linear("sevensx\\s+y"));
  EXPECT_EQ(linear("sevens7\\s+y")->literals.size(), 6u);
}

// Random regexes of the form in texts made of what they look for, cut anywhere.
TEST(LinearRegex, FindsWhatPcreFinds) {
  std::mt19937 random(7);
  const auto number = [&](std::size_t most) {
    return std::uniform_int_distribution<std::size_t>(0, most)(random);
  };
  static constexpr std::string_view kSets[] = {"a", "[ab]",     "\\s", ".",         "[^a]",
                                               "b", "(?:[bx])", "\\d", "(?i:[Bc])", "[^\\n]"};
  static constexpr std::string_view kRepeats[] = {"",    "",      "+",     "*",    "?",
                                                  "{2}", "{1,3}", "{0,4}", "{2,}", "*?"};
  scan::RegexScratch pcre_scratch;
  std::size_t found = 0;
  for (int round = 0; round < 150; ++round) {
    std::string regex = "abcabcab";
    for (std::size_t i = number(4) + 1; i > 0; --i) {
      regex += kSets[number(std::size(kSets) - 1)];
      regex += kRepeats[number(std::size(kRepeats) - 1)];
    }
    const bool caseless = number(1) == 1;
    const bool dot_all = number(1) == 1;
    const std::uint32_t options =
        (caseless ? scan::kRegexCaseless : 0u) | (dot_all ? scan::kRegexDotAll : 0u);
    ASSERT_TRUE(control::linear_regex(regex, options)) << regex;
    const auto pcre = scan::Regex::make(regex, options);
    ASSERT_TRUE(pcre) << regex;
    // Enough literals beside it for the sampling to be used.
    std::string rules = "alert smtp any any -> any any (msg:\"r\"; pcre:\"/" + regex + "/" +
                        (caseless ? "i" : "") + (dot_all ? "s" : "") + "\"; sid:1;)\n";
    for (int i = 2; i < 40; ++i)
      rules += rule(i, "content:\"unrelated literal " + std::to_string(i) + "\";");
    const auto ruleset = ruleset_of(rules);
    for (int t = 0; t < 12; ++t) {
      // A seam between two scans is at 512.
      std::string text(480 + number(40), 'z');
      for (std::size_t i = number(30); i > 0; --i) {
        static constexpr std::string_view kPieces[] = {
            "abcabcab", "ABCABCAB", "a", "b", " ", "\n", "1", "x", "abc", "C", "\xff"};
        text += kPieces[number(std::size(kPieces) - 1)];
      }
      const bool expected = pcre->find(text, pcre_scratch);
      found += expected ? 1 : 0;
      for (const std::size_t cut : {std::size_t{0}, std::size_t{1}, number(20) + 1}) {
        ASSERT_EQ(hits(*ruleset, text, scan::Buffer::stream, cut), expected ? Sids{1} : Sids{})
            << regex << (caseless ? " i" : "") << (dot_all ? " s" : "") << " in " << text << " cut "
            << cut;
      }
    }
  }
  EXPECT_GT(found, 200u);
}

}  // namespace
}  // namespace sluice::test
