// Compiling: what is written is what is compiled, the cache, and the rules that peers are measured
// with.
#include <gmock/gmock.h>

#include <cstdlib>

#include "control/policy/databases.h"
#include "tests/unit/scan/rules_on_octets.h"

namespace sluice::test {
namespace {

using scan::Buffer;

TEST(RuleCompiler, TheSameRulesMakeTheSameImage) {
  const std::string text = rule(1, "content:\"a b\";") + rule(2, "file_data; pcre:\"/x[0-9]+/\";");
  const auto one = compile_text(text);
  const auto two = compile_text(text);
  EXPECT_EQ(one->digest, two->digest);
  EXPECT_NE(one->digest, compile_text(rule(1, "content:\"a c\";"))->digest);
  EXPECT_EQ(one->platform, control::this_platform());
  EXPECT_TRUE(scan::Ruleset::runs(one->platform));
  EXPECT_EQ(compile_text("# nothing\n")->platform, 0u);
}

TEST(RuleCompiler, RulesWithTheSamePatternShareIt) {
  std::string text;
  for (int i = 1; i <= 50; ++i) text += rule(i, "content:\"same\"; content:\"other\";");
  const auto ruleset = ruleset_of(text);
  EXPECT_EQ(ruleset->database(Buffer::stream).first.size(), 3u);  // two patterns
  EXPECT_EQ(hits(*ruleset, "other same").size(), 50u);
}

class CompilerCache : public testing::Test {
 protected:
  std::vector<std::filesystem::path> files() const {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path() / "cache")) {
      found.push_back(entry.path());
    }
    return found;
  }
  std::shared_ptr<const control::CompiledRules> compile() const {
    return compile_text(rule(1, "content:\"needle\";"), "test.rules",
                        {.cache = folder_.path() / "cache"});
  }
  static Sids run(const control::CompiledRules& compiled) {
    auto ruleset = scan::Ruleset::open(compiled.image);
    EXPECT_TRUE(ruleset) << ruleset.error();
    return ruleset ? hits(**ruleset, "a needle") : Sids{};
  }
  TemporaryFolder folder_;
};

TEST_F(CompilerCache, E12_ADatabaseIsTakenFromTheCache) {
  const std::vector<control::Pattern> patterns{{.expression = "needle", .literal = true}};
  const auto cache = folder_.path() / "cache";
  const auto first = control::build_database(patterns, true, cache);
  const auto second = control::build_database(patterns, true, cache);
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(first->from_cache);
  EXPECT_TRUE(second->from_cache);
  EXPECT_EQ(first->serialized, second->serialized);
  // Another mode or other flags are another database.
  EXPECT_FALSE(control::build_database(patterns, false, cache)->from_cache);
  auto other = patterns;
  other[0].flags = 1;
  EXPECT_FALSE(control::build_database(other, true, cache)->from_cache);
}

TEST_F(CompilerCache, E12_ATruncatedDamagedOrForeignFileIsCompiledAnew) {
  const auto expected = compile();
  ASSERT_EQ(files().size(), 1u);
  const std::filesystem::path file = files()[0];
  std::ifstream in(file, std::ios::binary);
  const std::string good{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  std::vector<std::string> bad{"",
                               good.substr(0, 7),
                               good.substr(0, 40),
                               good.substr(0, 100),
                               good.substr(0, good.size() - 1),
                               "x" + good};
  for (const std::size_t at : {0u, 20u, 50u, static_cast<unsigned>(good.size() - 1)}) {
    bad.push_back(good);
    bad.back()[at] = static_cast<char>(bad.back()[at] ^ 4);
  }
  // A whole file of other patterns under this name.
  compile_text(rule(1, "content:\"other\";"), "test.rules", {.cache = folder_.path() / "cache"});
  for (const auto& other : files()) {
    if (other == file) continue;
    std::ifstream foreign(other, std::ios::binary);
    bad.emplace_back(std::istreambuf_iterator<char>(foreign), std::istreambuf_iterator<char>());
  }
  for (const std::string& octets : bad) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << octets;
    const auto compiled = compile();
    EXPECT_EQ(compiled->digest, expected->digest);
    EXPECT_EQ(run(*compiled), Sids{1});
  }
}

TEST_F(CompilerCache, ACacheThatCannotBeWrittenIsNoFault) {
  const auto compiled =
      compile_text(rule(1, "content:\"needle\";"), "test.rules", {.cache = "/proc/nowhere"});
  EXPECT_TRUE(compiled->faults.empty());
  EXPECT_EQ(run(*compiled), Sids{1});
}

// One rule of each kind that the project's rule generator (shared/perf/gen_rules.py) writes, with
// the octets that its capture generator puts into every hundredth message.
TEST(RuleCompiler, MarkerRulesOfTheGenerator) {
  const auto ruleset = ruleset_of(
      "alert smtp any any -> any any ( msg:\"t1\"; flow:to_server,established; "
      "content:\"PEER-BODY-MARKER\"; sid:1; rev:1; )\n"
      "alert smtp any any -> any any ( msg:\"t2\"; flow:to_server,established; file_data; "
      "content:\"PEER-ATTACH-MARKER\"; sid:2; rev:1; )\n"
      "alert smtp any any -> any any ( msg:\"t3\"; flow:to_server,established; "
      "content:\"PEER-PCRE-\"; pcre:\"/PEER-PCRE-[0-9]{4}-[a-z]+/\"; sid:3; rev:1; )\n"
      "alert smtp any any -> any any ( msg:\"t1056\"; flow:to_server,established; "
      "content:\"jodenin \"; nocase; pcre:\"/jodenin\\s+[a-z]{3,12}\\s+hemul[0-9]{2,6}/i\"; "
      "sid:1056; rev:1; )\n");
  EXPECT_EQ(hits(*ruleset, "..PEER-BODY-MARKER\r\nPEER-PCRE-0100-jodenin\r\n"), (Sids{1, 3}));
  EXPECT_EQ(hits(*ruleset, "PEER-PCRE-010-x PEER-ATTACH-MARKER"), Sids{});
  EXPECT_EQ(hits(*ruleset, "..PEER-ATTACH-MARKER..", Buffer::decoded), Sids{2});
  EXPECT_EQ(hits(*ruleset, "JODENIN abc Hemul77"), Sids{1056});
}

}  // namespace
}  // namespace sluice::test
