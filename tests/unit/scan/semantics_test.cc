// What rules mean: each keyword on small octets, in a stream and in a block buffer.
#include "tests/unit/scan/rules_on_octets.h"

namespace sluice::test {
namespace {

using scan::Buffer;

TEST(RuleSemantics, LiteralIsFoundAnywhere) {
  const auto ruleset = ruleset_of(rule(1, "content:\"needle\";"));
  EXPECT_EQ(hits(*ruleset, "hay needle hay"), Sids{1});
  EXPECT_EQ(hits(*ruleset, "hay NEEDLE hay"), Sids{});
  EXPECT_EQ(hits(*ruleset, ""), Sids{});
}

TEST(RuleSemantics, RuleWithTwoContentsNeedsBoth) {
  const auto ruleset = ruleset_of(rule(1, "content:\"alpha\"; content:\"BETA\"; nocase;"));
  EXPECT_EQ(hits(*ruleset, "beta .. alpha"), Sids{1});
  EXPECT_EQ(hits(*ruleset, "beta .. ALPHA"), Sids{});
  EXPECT_EQ(hits(*ruleset, "alpha"), Sids{});
}

}  // namespace
}  // namespace sluice::test
