// Twenty kinds of fault: each named with its line, each costs its rule only.
#include <map>

#include "tests/unit/spam/spam_on_message.h"

namespace sluice::test {
namespace {

TEST(SpamFaults, EachNamesItsLineAndCostsItsRuleOnly) {
  struct Case {
    std::string_view line;
    std::string_view says;
    bool fatal = true;
  };
  const Case cases[] = {
      {"body", "without the name of a rule"},
      {"body 1BAD /x/", "a rule's name"},
      {"body NOTHING", "says nothing"},
      {"body DELIMITER x", "between delimiters"},
      {"body UNCLOSED /x", "is missing"},
      {"body FLAG /x/q", "is no flag"},
      {"body EMPTY //", "is empty"},
      {"body BROKEN /(x/", "parenthesis"},
      {"body SLASH /a/b/", "delimiter"},
      {"body CODE /(?{1})/", "program code"},
      {"header NOFIELD =~ /x/", "name of a header field"},
      {"header NOOP Subject /x/", "=~ or !~"},
      {"header MODIFIER Subject:loud =~ /x/", "no modifier"},
      {"header EVAL eval:no_such_function()", "not built in"},
      {"body NET eval:check_rbl('x','y')", "asks the network"},
      {"body ARGUMENTS eval:check_for_uppercase('1')", "arguments"},
      {"meta EXPRESSION (A &&", "ends too early"},
      {"meta TOKEN A $ B", "not expected"},
      {"meta SELF SELF && A", "computed from itself"},
      {"score GOOD one", "is no number"},
      {"score GOOD 1 2", "one value or four"},
      {"no_such_setting 1", "is not known"},
      {"replace_tag X", "what it stands for"},
      {"if (version >", "cannot be read"},
      {"endif x", "stands alone"},
      {"else", "second 'else'", false},
      {"include /nonexistent/file.cf", "cannot be read"},
      {"include /", "cannot be read"},
      {"include /proc/self/mem", "cannot be read"},
      {"body CAPTURE /%{NAME}/", "captured"},
  };
  std::string text;
  std::map<std::uint32_t, std::string_view> expected;
  std::uint32_t line = 0;
  for (const Case& c : cases) {
    text += std::string(c.line) + "\n";
    ++line;
    if (c.line.starts_with("else")) continue;
    expected[line] = c.says;
    if (c.line.starts_with("if ")) {
      text += "endif\n";
      ++line;
    }
  }
  // A block's own faults, and what stands behind all of it.
  text = "";
  line = 0;
  expected.clear();
  for (const Case& c : cases) {
    if (c.line == "else") continue;
    text += std::string(c.line) + "\n";
    expected[++line] = c.says;
    if (c.line.starts_with("if ")) {
      text += "endif\n";
      ++line;
    }
  }
  text += "body GOOD /fine/\n";
  const SpamRuleset rules(text, true);
  ASSERT_TRUE(rules.ruleset);
  std::map<std::uint32_t, std::string> said;
  for (const control::RuleFault& fault : rules.compiled->faults)
    said[fault.line] += fault.text + "\n";
  for (const auto& [number, text_expected] : expected) {
    EXPECT_NE(said[number].find(text_expected), std::string::npos)
        << "line " << number << " wants '" << text_expected << "', got: " << said[number];
  }
  EXPECT_EQ(rules.run("Subject: y\n\nfine\n").names, (std::set<std::string>{"GOOD"}));
}

TEST(SpamFaults, OpenBlocksAreNamed) {
  const SpamRuleset rules("if (version > 1)\nbody A /x/\n", true);
  ASSERT_EQ(rules.compiled->faults.size(), 1u);
  EXPECT_EQ(rules.compiled->faults[0].line, 1u);
  EXPECT_NE(rules.compiled->faults[0].text.find("no endif"), std::string::npos);
  EXPECT_EQ(rules.run("Subject: y\n\nx\n").names, (std::set<std::string>{"A"}));
}

TEST(SpamFaults, SkippedAndUselessRulesAreNamed) {
  const SpamRuleset rules(
      "ifplugin Mail::SpamAssassin::Plugin::NoSuch\nbody A /x/\nendif\nbody B /x/\nscore B 0\n",
      true);
  ASSERT_EQ(rules.compiled->faults.size(), 2u);
  EXPECT_EQ(rules.compiled->faults[0].rule, "A");
  EXPECT_FALSE(rules.compiled->faults[0].fatal);
  EXPECT_EQ(rules.compiled->faults[1].rule, "B");
  EXPECT_FALSE(rules.compiled->faults[1].fatal);
}

}  // namespace
}  // namespace sluice::test
