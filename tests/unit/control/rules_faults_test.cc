// Rule files with faults: each is named with file, line, rule and what to do, and the rest loads.
#include <gmock/gmock.h>

#include "tests/unit/scan/rules_on_octets.h"

namespace sluice::test {
namespace {

using testing::HasSubstr;

struct Fault {
  std::string_view line;
  std::string_view message;  // a part of what is said
  std::string_view rule = "9";
};

constexpr Fault kFaults[] = {
    {"alarm smtp any any -> any any (content:\"a\"; sid:9;)", "action `alarm` is not one of"},
    {"rejectboth smtp any any -> any any (content:\"a\"; sid:9;)", "write reject"},
    {"alert http any any -> any any (content:\"a\"; sid:9;)", "protocol `http` is not mail"},
    {"alert smtp 192.0.2.0/24 any -> any any (content:\"a\"; sid:9;)", "address `192.0.2.0/24`"},
    {"alert smtp any any -> any banana (content:\"a\"; sid:9;)", "port `banana`"},
    {"alert smtp any 1025 -> any any (content:\"a\"; sid:9;)", "source port `1025`"},
    {"alert smtp any any <> any any (content:\"a\"; sid:9;)", "direction `<>`"},
    {"alert smtp any any -> any (content:\"a\"; sid:9;)", "the header has 6 words"},
    {"alert smtp any any -> any any content:\"a\"; sid:9;", "in round brackets"},
    {"alert smtp any any -> any any (content:\"a\"; sid:9;", "closing bracket of the options is "},
    {"alert smtp any any -> any any (content:\"a\"; sid:9;) x", "behind the closing bracket"},
    {"alert smtp any any -> any any (content:\"a; sid:9;)", "a double quote is not closed"},
    {"alert smtp any any -> any any (content:\"a\"; sid:9)", "a `;` is missing behind: sid:9"},
    {"alert smtp any any -> any any (content:\"a\";)", "sid: missing", ""},
    {"alert smtp any any -> any any (content:\"a\"; sid:x9;)", "`x9` is not a whole number", ""},
    {"alert smtp any any -> any any (content:\"a\"; sid:9; sid:10;)", "sid: given twice"},
    {"alert smtp any any -> any any (contemt:\"a\"; sid:9;)", "contemt: unknown keyword"},
    {"alert smtp any any -> any any (content:\"\"; sid:9;)", "content: is empty"},
    {"alert smtp any any -> any any (content:a; sid:9;)", "must stand in double quotes"},
    {"alert smtp any any -> any any (content:\"|0g|\"; sid:9;)", "not a hexadecimal digit"},
    {"alert smtp any any -> any any (content:\"|0|\"; sid:9;)", "has one digit"},
    {"alert smtp any any -> any any (content:\"|0d\"; sid:9;)", "second bar"},
    {"alert smtp any any -> any any (content:\"a\\n\"; sid:9;)", "a backslash inside a content"},
    {"alert smtp any any -> any any (nocase; content:\"a\"; sid:9;)", "no content before it"},
    {"alert smtp any any -> any any (file_data; depth:3; content:\"a\"; sid:9;)",
     "no content before it"},
    {"alert smtp any any -> any any (content:\"abc\"; depth:2; sid:9;)",
     "shorter than the content"},
    {"alert smtp any any -> any any (content:\"a\"; content:\"abc\"; within:2; sid:9;)",
     "within: 2 is shorter"},
    {"alert smtp any any -> any any (content:\"a\"; depth:2; depth:3; sid:9;)", "given twice"},
    {"alert smtp any any -> any any (content:\"a\"; depth:70000; sid:9;)", "from 1 to 65535"},
    {"alert smtp any any -> any any (content:\"a\"; content:\"b\"; distance:1; depth:4; sid:9;)",
     "cannot stand beside depth"},
    {"alert smtp any any -> any any (content:\"a\"; startswith; depth:4; sid:9;)",
     "startswith: cannot stand beside depth"},
    {"alert smtp any any -> any any (content:\"a\"; content:!\"b\"; distance:1; sid:9;)",
     "needs a `within`"},
    {"alert smtp any any -> any any (pcre:\"a+\"; sid:9;)", "between slashes"},
    {"alert smtp any any -> any any (pcre:\"/(a/\"; sid:9;)", "missing closing parenthesis"},
    {"alert smtp any any -> any any (pcre:\"/a/U\"; sid:9;)", "flag `U` is not supported"},
    {"alert smtp any any -> any any (pcre:\"/a*/\"; sid:9;)", "matches the empty string"},
    {"alert smtp any any -> any any (pcre:\"//\"; sid:9;)", "the regex is empty"},
    {"alert smtp any any -> any any (pcre:\"/(?=a)/\"; sid:9;)", "no octets are certain"},
    {"alert smtp any any -> any any (pcre:\"/((ab?c|de?f)[x-z]){800}/\"; sid:9;)",
     "too expensive: with its repeated groups written out the regex has 5600"},
    {"alert smtp any any -> any any (pcre:\"/(.*a[^b]{10}){60}/\"; sid:9;)",
     "Pattern is too large"},
    {"alert smtp any any -> any any (flow:to_client; content:\"a\"; sid:9;)", "write to_server"},
    {"alert smtp any any -> any any (flow:sideways; content:\"a\"; sid:9;)", "`sideways`"},
    {"alert smtp any any -> any any (flow:to_server; sid:9;)", "looks for nothing"},
    {"alert smtp any any -> any any (filesha256:/none/list.txt; sid:9;)",
     "/none/list.txt: No such file"},
    {"alert smtp any any -> any any (content:\"a\"; isdataat:10; sid:9;)",
     "isdataat: not supported"},
    {"alert smtp any any -> any any (content:\"a\"; threshold:type limit; sid:9;)",
     "threshold: not supported"},
    {"alert smtp any any -> any any (email.subject:\"a\"; content:\"a\"; sid:9;)",
     "takes no value"},
    {"alert smtp any any -> any any (content:\"a\"; metadata:sluice_score much; sid:9;)",
     "sluice_score `much`"},
    {"alert smtp any any -> any any (content:\"a\"; priority:0; sid:9;)", "priority: `0`"},
};

TEST(RuleFaults, EachKindIsNamedWithLineAndWhatToDoAndTheRestLoads) {
  std::string text = "# a remark\r\n\r\n" + rule(1, "content:\"first\";");
  for (const Fault& fault : kFaults) text += std::string(fault.line) + "\n";
  text += rule(2, "content:\"last\";");
  const auto compiled = compile_text(text);
  ASSERT_TRUE(compiled);
  EXPECT_EQ(compiled->refused, std::size(kFaults));
  ASSERT_EQ(compiled->faults.size(), std::size(kFaults));
  for (std::size_t i = 0; i < std::size(kFaults); ++i) {
    const control::RuleFault& fault = compiled->faults[i];
    SCOPED_TRACE(kFaults[i].line);
    EXPECT_EQ(fault.line, 4 + i);
    EXPECT_EQ(fault.rule, kFaults[i].rule);
    EXPECT_THAT(fault.file, HasSubstr("test.rules"));
    EXPECT_THAT(fault.text, HasSubstr(kFaults[i].message));
    EXPECT_TRUE(fault.fatal);
  }
  auto ruleset = scan::Ruleset::open(compiled->image);
  ASSERT_TRUE(ruleset) << ruleset.error();
  EXPECT_EQ(hits(**ruleset, "first and last"), (Sids{1, 2}));
}

TEST(RuleFaults, ThirtyThreeContentsAreOneTooMany) {
  std::string options;
  for (int i = 0; i < 32; ++i) options += "content:\"word" + std::to_string(i) + "\"; ";
  std::string all;
  for (int i = 0; i < 32; ++i) all += " word" + std::to_string(i);
  const auto ruleset = ruleset_of(rule(1, options));
  EXPECT_EQ(hits(*ruleset, all), Sids{1});
  EXPECT_EQ(hits(*ruleset, all.substr(0, all.size() - 1)), Sids{});
  const auto compiled = compile_text(rule(1, options + "content:\"more\";"));
  ASSERT_EQ(compiled->faults.size(), 1u);
  EXPECT_THAT(compiled->faults[0].text, HasSubstr("32 contents"));
}

TEST(RuleFaults, NotesDoNotStopARule) {
  const auto compiled = compile_text(
      "alert tcp $HOME_NET any -> $EXTERNAL_NET [25,587] (msg:\"x\"; content:\"aa\"; sid:1; "
      "classtype:homemade; reference:url,example.org; flow:established,to_server;)\n");
  EXPECT_EQ(compiled->refused, 0u);
  ASSERT_EQ(compiled->faults.size(), 4u);
  for (const auto& fault : compiled->faults) EXPECT_FALSE(fault.fatal) << fault.text;
  ASSERT_EQ(compiled->rules.size(), 1u);
  EXPECT_EQ(compiled->rules[0].category, "homemade");
  EXPECT_EQ(compiled->rules[0].severity, 3);
}

TEST(RuleFaults, OfTheSameSidTheLaterRevisionStays) {
  const auto compiled =
      compile_text(rule(1, "content:\"one\"; rev:2;") + rule(1, "content:\"two\"; rev:3;") +
                   rule(1, "content:\"three\"; rev:1;") + rule(1, "gid:5; content:\"four\";"));
  EXPECT_EQ(compiled->refused, 0u);
  ASSERT_EQ(compiled->faults.size(), 2u);
  EXPECT_EQ(compiled->faults[0].line, 1u);
  EXPECT_THAT(compiled->faults[0].text, HasSubstr("replaced by rev 3"));
  EXPECT_EQ(compiled->faults[1].line, 3u);
  EXPECT_THAT(compiled->faults[1].text, HasSubstr("higher rev"));
  auto ruleset = scan::Ruleset::open(compiled->image);
  ASSERT_TRUE(ruleset);
  EXPECT_EQ((*ruleset)->rules().size(), 2u);
  EXPECT_EQ(hits(**ruleset, "one three"), Sids{});
  EXPECT_EQ(hits(**ruleset, "two"), Sids{1});
}

TEST(RuleFaults, LinesAreJoinedAndCountedAsWritten) {
  const auto compiled = compile_text(
      "\xef\xbb\xbf"
      "alert smtp any any -> any any (content:\"one\"; \\\r\n   sid:1;)\r\n"
      "  # a remark that ends in a backslash \\\n" +
      rule(2, "content:\"two\";") + "alert nonsense\n");
  ASSERT_EQ(compiled->faults.size(), 1u);
  EXPECT_EQ(compiled->faults[0].line, 5u);
  EXPECT_EQ(compiled->rules.size(), 2u);
}

TEST(RuleFaults, OtherKindsOfFilesAreNamed) {
  EXPECT_THAT(compile_text("x", "rules.txt")->faults.at(0).text, HasSubstr("*.rules"));
}

TEST(RuleFaults, AMissingFileIsAnErrorAndAFolderIsReadInOrder) {
  EXPECT_FALSE(control::compile_rules({"/nonexistent/x.rules"}));
  const TemporaryFolder folder;
  folder.write("b.rules", rule(2, "content:\"b\";"));
  folder.write("a.rules", rule(1, "content:\"a\";"));
  folder.write("readme.txt", "no rules");
  const auto compiled = control::compile_rules({folder.path()});
  ASSERT_TRUE(compiled) << compiled.error();
  ASSERT_EQ((*compiled)->rules.size(), 2u);
  EXPECT_EQ((*compiled)->rules[0].sid, 1u);
  EXPECT_TRUE((*compiled)->faults.empty());
}

TEST(RuleFaults, E12_BadPatternsAmongAThousandAreNamedAndTheRestStays) {
  std::string text;
  for (int i = 0; i < 1000; ++i) {
    const std::string number = std::to_string(i);
    text += rule(1 + i, i == 500   ? "pcre:\"/a*/\";"
                        : i == 501 ? "content:\"\";"
                        : i == 502 ? "pcre:\"/[z-a]/\";"
                                   : "content:\"word" + number + ".\";");
  }
  const auto compiled = compile_text(text);
  ASSERT_TRUE(compiled);
  EXPECT_EQ(compiled->refused, 3u);
  EXPECT_EQ(compiled->rules.size(), 997u);
  auto ruleset = scan::Ruleset::open(compiled->image);
  ASSERT_TRUE(ruleset);
  EXPECT_EQ(hits(**ruleset, "word7. word999. word500."), (Sids{8, 1000}));
}

}  // namespace
}  // namespace sluice::test
