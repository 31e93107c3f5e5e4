// Only what decides is tried (scan/spam_judge.h), and what is reported is the same:
// SpamRuleset::run compares both for every message here.
#include "tests/unit/spam/spam_on_message.h"

namespace sluice::test {
namespace {

constexpr std::string_view kParts =
    "body __A /alpha/\nbody __B /beta/\nbody __C /gamma/\nbody __D /delta/\n"
    "body __N /n/\ntflags __N multiple\nbody __M /m/\ntflags __M multiple maxhits=3\n"
    "header __H Subject =~ /s/\nheader __X X-None !~ /x/\nbody __E eval:check_for_mime_html()\n";

// Every operation, with parts that hold and parts that do not.
TEST(SpamJudge, DecidesEveryExpression) {
  std::string rules(kParts);
  int number = 0;
  for (const std::string_view expression : {"__A && __B",
                                            "__A || __B",
                                            "!__A",
                                            "!__A && __B",
                                            "__A && !__B && __C",
                                            "__A + __B + __C > 1",
                                            "__A + __B + __C >= 3",
                                            "__A + __B == 2",
                                            "__A - __B",
                                            "__B - __A",
                                            "-__A",
                                            "__N * __M > 6",
                                            "__N > 2 && __A",
                                            "__N / 2 >= 2",
                                            "__N / __D",
                                            "__A ^ __B",
                                            "__A ? __B : __C",
                                            "__D ? __B : __M",
                                            "(__A || __B || __C) && __H",
                                            "__X && (__A + __E)",
                                            "__N - 2 > __M",
                                            "__N < __M",
                                            "__N <= __M",
                                            "3 < __N",
                                            "3 <= __N",
                                            "0 == __A",
                                            "__A != __B",
                                            "(__A && 5) + (__B && 7) > 11",
                                            "(__A || __B) + __C + __D > 2",
                                            "!(__A + __B) || __M > 2",
                                            "__N && 0",
                                            "1 - !__A",
                                            "__N >= 0",
                                            "__A > -1",
                                            "0.5 * __A + 0.5 * __B >= 1"}) {
    const std::string name = "M" + std::to_string(number++);
    rules += "meta " + name + " " + std::string(expression) + "\nscore " + name + " 0.25\n";
  }
  rules += "meta LAST M1 + M2 + M5 + M9 > 2\nmeta __P M0 || M3\nmeta OVER __P && !M4\n";
  const SpamRuleset ruleset(rules);
  ASSERT_TRUE(ruleset.ruleset);
  std::set<std::set<std::string>> different;
  for (const std::string_view words :
       {"", "alpha", "beta", "gamma delta", "alpha beta", "alpha beta gamma", "n n n n m",
        "n m m m", "alpha n n n", "alpha beta gamma delta n m", "mmmmm nnnnnnn",
        "beta delta n m m m"}) {
    for (const std::string_view subject : {"s", "t"}) {
      const std::string message =
          "Subject: " + std::string(subject) + "\n\n" + std::string(words) + "\n";
      different.insert(ruleset.run(message).reported);
    }
  }
  EXPECT_GT(different.size(), 12u);
}

// What cannot matter is not tried: an expression that is 0 by another part.
TEST(SpamJudge, TriesOnlyWhatDecides) {
  const SpamRuleset rules(
      "body __COSTLY /word (?:\\w+ )*word/\nbody __ABSENT /never there/\n"
      "meta BOTH __COSTLY && __ABSENT\nmeta EITHER __PRESENT || __COSTLY\nbody __PRESENT /word/\n"
      "meta SUM __COSTLY + __ABSENT > 1\n");
  ASSERT_TRUE(rules.ruleset);
  scan::SpamTimes times([] { return std::uint64_t{0}; });
  const auto tries = [&](bool everything) {
    spam::SpamScan::Options options;
    options.times = &times;
    options.everything = everything;
    spam::SpamScan scan(*rules.ruleset->spam(), *rules.scratch, options,
                        std::pmr::get_default_resource());
    scan.feed(as_bytes(std::string_view("Subject: s\r\n\r\nword word\r\n")));
    scan.finish();
    EXPECT_EQ(scan.hits().size(), 1u);
    std::uint64_t all = 0;
    const auto tests = rules.ruleset->spam()->tests();
    for (std::size_t i = 0; i < times.by_test().size(); ++i) {
      if (tests[i].info.name == "__COSTLY") all += times.by_test()[i].tries;
    }
    return all;
  };
  EXPECT_EQ(tries(false), 0u);
  EXPECT_GT(tries(true), 0u);
}

}  // namespace
}  // namespace sluice::test
