// Only what decides is tried (scan/spam_judge.h), and what is reported is the same:
// SpamRuleset::run compares both for every message here.
#include <functional>
#include <random>

#include "tests/unit/spam/spam_on_message.h"

namespace sluice::test {
namespace {

constexpr std::string_view kParts =
    "body __A /alpha/\nbody __B /beta/\nbody __C /gamma/\nbody __D /delta/\n"
    "body __N /n/\ntflags __N multiple\nbody __M /m/\ntflags __M multiple maxhits=3\n"
    "header __H Subject =~ /s/\nheader __X X-None !~ /x/\nbody __E eval:check_for_mime_html()\n";

// How often an item is tried for a test.
std::uint64_t tries_of(const SpamRuleset& rules, std::string_view test, std::string_view message,
                       bool everything) {
  scan::SpamTimes times([] { return std::uint64_t{0}; });
  spam::SpamScan::Options options;
  options.times = &times;
  options.everything = everything;
  spam::SpamScan scan(*rules.ruleset->spam(), *rules.scratch, options,
                      std::pmr::get_default_resource());
  scan.feed(as_bytes(message));
  scan.finish();
  EXPECT_EQ(scan.hits().size(), 1u);
  std::uint64_t all = 0;
  const auto tests = rules.ruleset->spam()->tests();
  for (std::size_t i = 0; i < times.by_test().size(); ++i) {
    if (tests[i].info.name == test) all += times.by_test()[i].tries;
  }
  return all;
}

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
                                            "0.5 * __A + 0.5 * __B >= 1",
                                            "__A == 0",
                                            "__N == 4",
                                            "__N != 4",
                                            "2.5 < __N",
                                            "__N + __M - 1 > 3",
                                            "(__N && 1) + (__A || __B) + !__C > 2",
                                            "!((__A && __B) || (__C && !__D)) && (__N || __H)",
                                            "__A && (__B || (__C && (__D || (__N && __M))))",
                                            "__A * __B || __C / __D"}) {
    const std::string name = "M" + std::to_string(number++);
    rules += "meta " + name + " " + std::string(expression) + "\nscore " + name + " 0.25\n";
  }
  rules +=
      "meta LAST M1 + M2 + M5 + M9 > 2\nmeta __P M0 || M3\nmeta OVER __P && !M4\n"
      // Numbers of metas, constants, and what is used by one other only.
      "meta __V __N * 2 - __M\nmeta VALUE __V + __A > 4\nmeta SELF __V\n"
      "meta __NEVER 0\nmeta NOT_NEVER !__NEVER && __A\nmeta __ONE __A && !__B\n"
      "meta OF_ONE __ONE || __C\nmeta __TWO __A || __C\nmeta SUM_OF __TWO + __B + __D > 1\n";
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

// Each alone, so that nothing is known before; the words of the parts are there more often than
// they match.
TEST(SpamJudge, GoesOnWhenAPartDoesNotHit) {
  for (const std::string_view expression :
       {"__I || __J", "(__I || __J) && __K", "__I && __J", "!__I && __K", "(__J && __K) || __I",
        "__I && ((__J && __A) || (__K && __B))", "__I && (__J + __K + __A) > 1"}) {
    const SpamRuleset rules(
        "body __A /alpha/\nbody __B /beta/\nbody __I /alpha \\w*t/\nbody __J /beta \\w*mm/\n"
        "body __K /gamma \\w*m/\nmeta M " +
        std::string(expression) + "\n");
    ASSERT_TRUE(rules.ruleset);
    for (const std::string_view text :
         {"alpha gamma beta gamma", "alpha beta m gamma mm", "alpha gamma m", "gamma beta alpha m",
          "alpha gamma m\n\nalpha beta m gamma mm"}) {
      rules.run("Subject: s\n\n" + std::string(text) + "\n");
    }
  }
}

// Random expressions, of each other too, and of what is reported itself.
TEST(SpamJudge, DecidesAnyExpression) {
  std::mt19937 random(20261127);  // NOLINT(cert-msc51-cpp): the same each time
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  std::set<std::set<std::string>> different;
  for (int round = 0; round < 4; ++round) {
    std::vector<std::string> known = {"__A", "__B", "__C", "__D", "__N", "__M",
                                      "__H", "__X", "__E", "E",   "R"};
    std::string rules(kParts);
    rules += "body E eval:check_for_mime_html_only()\nbody R /[ab]e?lp?/\n";
    const std::function<std::string(int)> expression = [&](int depth) -> std::string {
      if (depth == 0 || below(5) == 0) {
        if (below(8) == 0) return std::to_string(below(4));
        return known[below(known.size())];
      }
      static constexpr std::string_view kOperators[] = {"&&", "&&", "&&", "||", "||", "+", "+",
                                                        ">",  ">=", "<",  "==", "!=", "-", "*"};
      const std::string a = expression(depth - 1);
      if (below(6) == 0) return "!(" + a + ")";
      if (below(12) == 0) return "(" + a + ") ? 1 : (" + expression(depth - 1) + ")";
      return "(" + a + ") " + std::string(kOperators[below(std::size(kOperators))]) + " (" +
             expression(depth - 1) + ")";
    };
    for (int i = 0; i < 60; ++i) {
      const std::string name = (below(2) == 0 ? "__M" : "M") + std::to_string(i);
      rules += "meta " + name + " " + expression(static_cast<int>(below(5))) + "\n";
      known.push_back(name);
    }
    const SpamRuleset ruleset(rules);
    ASSERT_TRUE(ruleset.ruleset);
    for (std::uint32_t words = 0; words < 128; ++words) {
      std::string text = (words & 1) != 0 ? "Subject: s\n" : "Subject: t\n";
      text += (words & 64) != 0 ? "Content-Type: text/html\n\n" : "\n";
      for (std::size_t i = 1; i < 6; ++i) {
        static constexpr std::string_view kWords[] = {"",       "alpha ",   "beta ",
                                                      "gamma ", "n n n n ", "m m "};
        if ((words >> i & 1) != 0) text += kWords[i];
      }
      different.insert(ruleset.run(text + "\n").reported);
    }
  }
  EXPECT_GT(different.size(), 60u);
}

// Longer than what is made a tree of.
TEST(SpamJudge, DecidesALongExpression) {
  std::string sum = "__A";
  for (int i = 0; i < 3000; ++i) sum += i % 2 == 0 ? " + __B" : " + __N";
  const SpamRuleset rules(std::string(kParts) + "meta LONG " + sum +
                          " > 3001\nmeta OF LONG && __C\n");
  ASSERT_TRUE(rules.ruleset);
  EXPECT_FALSE(rules.run("Subject: t\n\nalpha beta\n").reported.contains("LONG"));
  EXPECT_TRUE(rules.run("Subject: t\n\nalpha beta n n gamma\n").reported.contains("OF"));
}

// What judges the receiving side holds nowhere in mail that leaves: its opposite does.
TEST(SpamJudge, LeavesOutWhatIsOffForMailThatLeaves) {
  const SpamRuleset rules(std::string(kParts) +
                          "meta RDNS_NONE __A\nmeta __OF RDNS_NONE && __B\nmeta WITH __OF\n"
                          "meta WITHOUT !RDNS_NONE && __B\n");
  ASSERT_TRUE(rules.ruleset);
  const std::string_view message = "Subject: t\n\nalpha beta\n";
  EXPECT_TRUE(rules.run(message).reported.contains("WITH"));
  spam::SpamScan::Options options;
  options.outbound = true;
  const auto reported = rules.run(message, 0, options).reported;
  EXPECT_FALSE(reported.contains("RDNS_NONE"));
  EXPECT_FALSE(reported.contains("WITH"));
  EXPECT_TRUE(reported.contains("WITHOUT"));
}

// What cannot matter is not tried: an expression that is 0 by another part.
TEST(SpamJudge, TriesOnlyWhatDecides) {
  const SpamRuleset rules(
      "body __COSTLY /word (?:\\w+ )*word/\nbody __ABSENT /never there/\n"
      "meta BOTH __COSTLY && __ABSENT\nmeta EITHER __PRESENT || __COSTLY\nbody __PRESENT /word/\n"
      "meta SUM __COSTLY + __ABSENT > 1\n");
  ASSERT_TRUE(rules.ruleset);
  const auto tries = [&](bool everything) {
    return tries_of(rules, "__COSTLY", "Subject: s\r\n\r\nword word\r\n", everything);
  };
  EXPECT_EQ(tries(false), 0u);
  EXPECT_GT(tries(true), 0u);
}

// Functions of HTML and images are called when there are some.
TEST(SpamJudge, CallsWhatTheMessageHas) {
  const SpamRuleset rules(
      "body __TAG eval:html_tag_exists('b')\nmeta TAG __TAG\nmeta NO_TAG !__TAG\n"
      "body LONG eval:html_range('length', '0', '1000')\n"
      "body NO_IMAGE eval:image_count('all', '0', '0')\n"
      "body IMAGE eval:image_count('all', '1')\n");
  ASSERT_TRUE(rules.ruleset);
  using Names = std::set<std::string>;
  EXPECT_EQ(rules.run("Subject: s\n\n<b>text</b>\n").reported, (Names{"NO_TAG", "NO_IMAGE"}));
  EXPECT_EQ(rules.run("Content-Type: text/html\n\n<b>text</b>\n").reported,
            (Names{"TAG", "LONG", "NO_IMAGE"}));
  EXPECT_EQ(rules
                .run("Content-Type: image/gif\nContent-Transfer-Encoding: base64\n\n"
                     "R0lGODlhEAEQAQAA\n")
                .reported,
            (Names{"NO_TAG", "IMAGE"}));
  const SpamRuleset one("body __TAG eval:html_tag_exists('b')\nmeta NO_TAG !__TAG\n");
  EXPECT_EQ(tries_of(one, "__TAG", "Subject: s\n\ntext\n", false), 0u);
  EXPECT_EQ(tries_of(one, "__TAG", "Subject: s\n\ntext\n", true), 1u);
  EXPECT_EQ(tries_of(one, "__TAG", "Content-Type: text/html\n\ntext\n", false), 1u);
}

// More hits than decide are not counted.
TEST(SpamJudge, CountsOnlyWhatDecides) {
  const SpamRuleset rules(
      "body __WORD /word/\ntflags __WORD multiple\nmeta MANY __WORD > 2\n"
      "body __MORE /word/\ntflags __MORE multiple\nmeta FEW __MORE && __NEVER\nbody __NEVER "
      "/n\\dn/\n");
  ASSERT_TRUE(rules.ruleset);
  std::string message = "Subject: s\r\n\r\n";
  for (int i = 0; i < 20; ++i) message += "word\r\n\r\n";
  EXPECT_EQ(tries_of(rules, "__WORD", message, false), 3u);
  EXPECT_EQ(tries_of(rules, "__WORD", message, true), 20u);
}

}  // namespace
}  // namespace sluice::test
