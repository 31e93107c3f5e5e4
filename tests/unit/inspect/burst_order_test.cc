// The order in which the frames of a burst are dealt with.
#include "dataplane/inspect/burst_order.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <utility>
#include <vector>

namespace sluice::inspect {
namespace {

using enum FrameKind;
using Burst = std::vector<std::pair<FrameKind, std::uint64_t>>;  // with the flow

std::vector<unsigned> order_of(const Burst& burst) {
  BurstOrder turns;
  for (const auto& [kind, flow] : burst) turns.put(kind, flow);
  const auto order = turns.order();
  return {order.begin(), order.end()};
}

TEST(BurstOrder, FramesOfAKindGoTogether) {
  EXPECT_EQ(order_of({}), std::vector<unsigned>{});
  EXPECT_EQ(order_of({{edge, 1}, {content, 2}, {command, 3}, {reply, 4}, {bare, 5}}),
            (std::vector<unsigned>{4, 3, 2, 1, 0}));
  EXPECT_EQ(order_of({{content, 1}, {bare, 2}, {content, 3}, {bare, 4}, {reply, 5}, {content, 6}}),
            (std::vector<unsigned>{1, 3, 4, 0, 2, 5}));
}

TEST(BurstOrder, FramesOfAFlowStayInOrder) {
  // The ACK of flow 1 follows its content, the one of flow 2 does not.
  EXPECT_EQ(order_of({{content, 1}, {bare, 1}, {bare, 2}, {content, 2}, {reply, 1}}),
            (std::vector<unsigned>{2, 0, 1, 3, 4}));
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    Burst burst(random() % (BurstOrder::kMost + 1));
    for (auto& [kind, flow] : burst) {
      kind = static_cast<FrameKind>(random() % 5);
      flow = (random() % 9) * 0x9e3779b97f4a7c15u;
    }
    const std::vector<unsigned> order = order_of(burst);
    ASSERT_EQ(order.size(), burst.size());
    std::vector<bool> seen(burst.size());
    std::map<std::uint64_t, unsigned> last;  // of each flow
    for (const unsigned i : order) {
      ASSERT_LT(i, burst.size());
      ASSERT_FALSE(seen[i]);
      seen[i] = true;
      const auto [at, first] = last.emplace(burst[i].second, i);
      ASSERT_TRUE(first || at->second < i) << "round " << round;
      at->second = i;
    }
  }
}

}  // namespace
}  // namespace sluice::inspect
