// Lines of so many octets (dataplane/spam/longest_line.h): beside what a regex says, however the
// text is cut; and that rules that ask for one are looked for so.
#include "dataplane/spam/longest_line.h"

#include <random>

#include "tests/unit/spam/spam_on_message.h"

namespace sluice::test {
namespace {

TEST(LongestLine, SaysWhatARegexSays) {
  std::mt19937 random(3);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  scan::RegexScratch scratch;
  std::size_t found = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (std::size_t n = below(40); n > 0; --n) text += "abcdefgh\r\n"[below(10)];
    const std::size_t least = 1 + below(8);
    spam::LongestLine line(least);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t size = 1 + below(12);
      line.feed(std::string_view(text).substr(at, size));
      at += size;
    }
    for (std::size_t octets = least; octets < least + 4; ++octets) {
      const auto regex =
          scan::Regex::make("^[^\\r\\n]{" + std::to_string(octets) + "}", scan::kRegexMultiline);
      ASSERT_TRUE(regex);
      const bool there = regex->find(text, scratch);
      EXPECT_EQ(line.octets() >= octets, there) << octets << " of '" << text << "'";
      found += there ? 1 : 0;
    }
  }
  EXPECT_GT(found, 1000u);
}

TEST(LongestLine, RulesThatAskForOne) {
  const SpamRuleset rules(
      "full F1 /^[^\\r\\n]{30}/m\nfull F2 /^[^\\r\\n]{31,}/m\n"
      "full F3 /^[^\\r\\n]{30}/\nfull F4 /^[^\\n]{30}/m\n");
  ASSERT_TRUE(rules.ruleset);
  EXPECT_EQ(rules.ruleset->spam()->lines().size(), 2u);
  const std::string header = "Subject: short\n\n";
  using Names = std::set<std::string>;
  EXPECT_EQ(rules.run(header + std::string(29, 'x') + "\nshort\n", 7).names, (Names{"F4"}));
  EXPECT_EQ(rules.run(header + std::string(30, 'x') + "\n", 7).names, (Names{"F1", "F4"}));
  EXPECT_EQ(rules.run(header + "a\n" + std::string(31, 'x'), 7).names, (Names{"F1", "F2", "F4"}));
}

}  // namespace
}  // namespace sluice::test
