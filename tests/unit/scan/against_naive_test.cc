// Random rules on random octets against a matcher that tries everything: contents with all
// positional keywords, negated ones too, cut in all ways, in streams and whole items, and chains in
// streams that are longer than the window of confirmations.
#include <optional>
#include <random>

#include "tests/unit/scan/rules_on_octets.h"

namespace sluice::test {
namespace {

using scan::Buffer;

struct NaiveContent {
  std::string octets;
  bool nocase = false;
  bool negated = false;
  bool relative = false;
  bool at_start = false;
  bool at_end = false;
  std::optional<int> offset, depth, distance, within;
};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool equal_at(std::string_view text, std::size_t at, const NaiveContent& content) {
  for (std::size_t i = 0; i < content.octets.size(); ++i) {
    const char a = text[at + i];
    const char b = content.octets[i];
    if (content.nocase ? lower(a) != lower(b) : a != b) return false;
  }
  return true;
}

// Whether the contents from number `i` on hold, given the end of the last positive match.
bool naive(const std::vector<NaiveContent>& contents, std::size_t i, int last_end,
           std::string_view text) {
  if (i == contents.size()) return true;
  const NaiveContent& content = contents[i];
  const auto size = static_cast<int>(text.size());
  const auto length = static_cast<int>(content.octets.size());
  int low = content.offset.value_or(0);
  int high = content.depth ? low + *content.depth : size;
  if (content.at_start) high = length;
  if (content.relative) {
    low = last_end + content.distance.value_or(0);
    high = content.within ? low + *content.within : size;
  }
  bool found = false;
  for (int at = std::max(low, 0); at + length <= std::min(high, size); ++at) {
    if (content.at_end && at + length != size) continue;
    if (!equal_at(text, static_cast<std::size_t>(at), content)) continue;
    found = true;
    if (!content.negated && naive(contents, i + 1, at + length, text)) return true;
  }
  return content.negated && !found && naive(contents, i + 1, last_end, text);
}

std::string hex(std::string_view octets) {
  std::string out = "|";
  for (const char c : octets) {
    char two[4];
    std::snprintf(two, sizeof two, "%02x ", static_cast<unsigned>(static_cast<unsigned char>(c)));
    out += two;
  }
  return out + "|";
}

std::string as_option(const NaiveContent& content) {
  std::string out =
      std::string("content:") + (content.negated ? "!" : "") + "\"" + hex(content.octets) + "\";";
  if (content.nocase) out += " nocase;";
  if (content.at_start) out += " startswith;";
  if (content.at_end) out += " endswith;";
  const auto add = [&](const char* name, const std::optional<int>& value) {
    if (value) out += std::string(" ") + name + ":" + std::to_string(*value) + ";";
  };
  add("offset", content.offset);
  add("depth", content.depth);
  add("distance", content.distance);
  add("within", content.within);
  return out + " ";
}

using Random = std::mt19937;
int pick(Random& random, int least, int most) {
  return std::uniform_int_distribution<int>(least, most)(random);
}

std::string random_text(Random& random, int size) {
  static constexpr char kAlphabet[] = {'a', 'b', 'A', '\0', 'c'};
  std::string text;
  for (int i = 0; i < size; ++i) text += kAlphabet[pick(random, 0, 4)];
  return text;
}

NaiveContent random_content(Random& random, bool first) {
  NaiveContent content;
  content.octets = random_text(random, pick(random, 1, 3));
  const auto length = static_cast<int>(content.octets.size());
  content.nocase = pick(random, 0, 2) == 0;
  content.negated = pick(random, 0, 4) == 0;
  const int kind = pick(random, 0, first ? 3 : 9);
  if (kind == 1) {
    content.offset = pick(random, 0, 12);
    if (pick(random, 0, 1) == 0) content.depth = pick(random, length, length + 8);
  } else if (kind == 2) {
    content.depth = pick(random, length, length + 12);
  } else if (kind == 3) {
    content.at_start = true;
  } else if (kind >= 4) {
    content.relative = true;
    if (kind != 4) content.distance = pick(random, -5, 6);
    if (kind != 5) content.within = pick(random, length, length + 10);
    // On streams an absent content needs an end to the place where it is absent.
    if (content.negated && !content.within) content.within = length + 4;
  }
  if (!content.relative && pick(random, 0, 12) == 0) content.at_end = true;
  return content;
}

TEST(AgainstNaive, RandomRulesOnRandomOctets) {
  Random random(20261125);
  std::vector<std::vector<NaiveContent>> rules;
  std::string text;
  for (int sid = 1; sid <= 600; ++sid) {
    std::vector<NaiveContent> contents;
    const int count = pick(random, 1, 4);
    for (int i = 0; i < count; ++i) contents.push_back(random_content(random, i == 0));
    // A window that ends before its item begins can hold nothing; such rules are refused by name.
    std::string options;
    for (const NaiveContent& content : contents) options += as_option(content);
    rules.push_back(std::move(contents));
    text += rule(sid, options) + rule(10000 + sid, "email.subject; " + options);
  }
  const auto compiled = compile_text(text);
  ASSERT_TRUE(compiled);
  std::set<std::string> refused;
  for (const control::RuleFault& fault : compiled->faults) {
    if (!fault.fatal) continue;
    refused.insert(fault.rule);
    EXPECT_NE(fault.text.find("cannot fit"), std::string::npos) << fault.text;
  }
  EXPECT_LT(refused.size(), 60u);
  const auto ruleset = scan::Ruleset::open(compiled->image);
  ASSERT_TRUE(ruleset) << ruleset.error();

  std::size_t positive = 0;
  for (int round = 0; round < 150; ++round) {
    const std::string octets = random_text(random, pick(random, 1, 40));
    Sids stream;
    Sids block;
    for (std::size_t i = 0; i < rules.size(); ++i) {
      const auto sid = static_cast<std::uint32_t>(i + 1);
      if (refused.contains(std::to_string(sid))) continue;
      if (!naive(rules[i], 0, 0, octets)) continue;
      stream.insert(sid);
      block.insert(10000 + sid);
    }
    positive += stream.size();
    for (const std::size_t cut : {0u, 1u, 2u, 7u}) {
      const Sids found = hits(**ruleset, octets, Buffer::stream, cut);
      for (const std::uint32_t sid : found == stream ? Sids{} : [&] {
             Sids different;
             std::ranges::set_symmetric_difference(found, stream,
                                                   std::inserter(different, different.end()));
             return different;
           }()) {
        std::string options;
        for (const NaiveContent& content : rules[sid - 1]) options += as_option(content);
        FAIL() << (found.contains(sid) ? "wrong hit: " : "missed: ") << options << "\nin "
               << testing::PrintToString(octets) << " cut " << cut;
      }
    }
    ASSERT_EQ(hits(**ruleset, octets, Buffer::subject), block) << testing::PrintToString(octets);
  }
  EXPECT_GT(positive, 5000u);
}

// Chains that only a confirmation can decide, far into a stream and over its windows' borders.
TEST(AgainstNaive, ConfirmedChainsInLongStreams) {
  const std::vector<std::vector<NaiveContent>> rules{
      {{.octets = "needle"}, {.octets = "pin", .relative = true, .distance = -20, .within = 15}},
      {{.octets = "needle"},
       {.octets = "x", .negated = true, .relative = true, .within = 9},
       {.octets = "thread", .relative = true, .distance = 2, .within = 40}},
      {{.octets = "needle"}, {.octets = "end", .relative = true, .distance = 1000, .within = 5000}},
      {{.octets = "needle", .offset = 9000, .depth = 9000},
       {.octets = "pin", .relative = true, .distance = -9, .within = 4}},
  };
  std::string text;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    std::string options;
    for (const NaiveContent& content : rules[i]) options += as_option(content);
    text += rule(static_cast<int>(i + 1), options);
  }
  const auto ruleset = ruleset_of(text);
  Random random(7);
  std::size_t positive = 0;
  for (int round = 0; round < 150; ++round) {
    std::string octets(static_cast<std::size_t>(pick(random, 100, 60000)), '.');
    const int words = pick(random, 1, 12);
    int near = pick(random, 0, static_cast<int>(octets.size()) - 1);
    for (int i = 0; i < words; ++i) {
      static constexpr std::string_view kWords[] = {"needle", "pin", "x", "thread", "end"};
      const std::string_view word = kWords[pick(random, 0, 4)];
      if (pick(random, 0, 2) == 0) near = pick(random, 0, static_cast<int>(octets.size()) - 1);
      const int at = near + pick(random, -30, 30) + (pick(random, 0, 3) == 0 ? 1500 : 0);
      if (at < 0 || static_cast<std::size_t>(at) + word.size() > octets.size()) continue;
      octets.replace(static_cast<std::size_t>(at), word.size(), word);
    }
    Sids expected;
    for (std::size_t i = 0; i < rules.size(); ++i) {
      if (naive(rules[i], 0, 0, octets)) expected.insert(static_cast<std::uint32_t>(i + 1));
    }
    positive += expected.size();
    for (const std::size_t cut : {0u, 1460u, 333u, 8192u}) {
      ASSERT_EQ(hits(*ruleset, octets, Buffer::stream, cut), expected)
          << "round " << round << " size " << octets.size() << " cut " << cut;
    }
  }
  EXPECT_GT(positive, 30u);
}

// A regex that needs confirmation is found at every place of a long stream.
TEST(AgainstNaive, ConfirmedRegexAtEveryBorder) {
  const auto ruleset =
      ruleset_of(rule(1, "pcre:\"/(ab|cd)-\\1(?!x)/\";") + rule(2, "pcre:\"/^start.*(q)\\1$/s\";"));
  for (const std::size_t around : {0u, 8192u, 16384u, 24576u}) {
    for (std::size_t at = around < 10 ? 0 : around - 10; at < around + 10; ++at) {
      std::string octets(30000, '.');
      octets.replace(at, 5, "ab-ab");
      ASSERT_EQ(hits(*ruleset, octets, Buffer::stream, 1000), Sids{1}) << at;
      octets.replace(at, 6, "ab-abx");
      ASSERT_EQ(hits(*ruleset, octets, Buffer::stream, 1000), Sids{}) << at;
    }
  }
  // Anchors are those of the item, not of a window.
  std::string octets(30000, '.');
  octets.replace(8192, 8, "start.qq");
  octets.replace(16384 - 8, 8, "start.qq");
  EXPECT_EQ(hits(*ruleset, octets), Sids{});
  EXPECT_EQ(hits(*ruleset, "start.....qq"), Sids{2});
}

}  // namespace
}  // namespace sluice::test
