// What of the XDP part needs no kernel: keys, prefixes, names.
#include <gtest/gtest.h>

#include <cctype>
#include <set>

#include "tests/unit/support/frame_builder.h"
#include "xdp/loader/loader.h"

namespace sluice::xdp {
namespace {

using test::v4;
using test::v6;

TEST(FlowKey, BothDirectionsAreOneFlow) {
  FlowEnds ends{v4(192, 0, 2, 1), v4(192, 0, 2, 2), 40000, 25, {7, 8}, 2, 9};
  const steer_flow_key key = flow_key(ends);
  EXPECT_EQ(key.low_port, 40000);
  EXPECT_EQ(key.high_port, 25);
  EXPECT_EQ(key.low[15], 1);
  EXPECT_EQ(key.vlan_count, 2);
  EXPECT_EQ(key.vlan[1], 8);
  EXPECT_EQ(key.pppoe_session, 9);
  EXPECT_EQ(key.protocol, 6);
  std::swap(ends.a, ends.b);
  std::swap(ends.a_port, ends.b_port);
  const steer_flow_key reversed = flow_key(ends);
  EXPECT_EQ(std::memcmp(&key, &reversed, sizeof key), 0);
}

TEST(FlowKey, OrderIsByOctetsThenPort) {
  // 0x0a... against 0x7f..: octets, not a host-order number.
  EXPECT_EQ(flow_key({v4(127, 0, 0, 1), v4(10, 255, 255, 255), 1, 2}).low[12], 10);
  const steer_flow_key same = flow_key({v6(1), v6(1), 587, 25});
  EXPECT_EQ(same.low_port, 25);
  EXPECT_EQ(same.high_port, 587);
}

TEST(Prefix, HostBitsAreMasked) {
  EXPECT_EQ((Prefix{v4(192, 0, 2, 5), 120}.masked().address), v4(192, 0, 2, 0));
  EXPECT_EQ((Prefix{v4(192, 0, 2, 255), 121}.masked().address), v4(192, 0, 2, 128));
  EXPECT_EQ((Prefix{v4(192, 0, 2, 5), 128}.masked().address), v4(192, 0, 2, 5));
  EXPECT_EQ((Prefix{v4(192, 0, 2, 5), 96}.masked().address), v4(0, 0, 0, 0));
  EXPECT_EQ((Prefix{v6(5), 0}.masked().address), Address{});
}

TEST(Counters, NamesAreUniqueLabels) {
  std::set<std::string_view> names;
  for (const CounterInfo& counter : kCounters) {
    EXPECT_TRUE(names.insert(counter.name).second) << counter.name;
    EXPECT_FALSE(counter.description.empty());
    for (const char c : counter.name) EXPECT_TRUE(std::islower(c) != 0 || c == '-') << counter.name;
  }
  EXPECT_EQ(kCounters[STEER_COUNT_listed_drop].name, "listed-drop");
  EXPECT_EQ(kCounters[STEER_COUNT_listed_drop].kind, CounterClass::drop);
}

TEST(Wire, RefusesSettingsThatCannotBe) {
  WireConfig config;
  config.inside = "slxa";
  config.outside = "slxb";
  for (const char* name : {"", "a/b", "..", "a b", "0123456789012345678901234567890123456789"}) {
    config.name = name;
    EXPECT_FALSE(Wire::attach(config, "/nonexistent")) << name;
    EXPECT_FALSE(Wire::open(name, "/nonexistent")) << name;
    EXPECT_FALSE(Wire::detach(name, "/nonexistent")) << name;
  }
  config.name = "w";
  config.outside = config.inside;
  EXPECT_FALSE(Wire::attach(config, "/nonexistent"));
  config.outside = "slxb";
  config.queues = 0;
  EXPECT_FALSE(Wire::attach(config, "/nonexistent"));
  config.queues = STEER_MAX_QUEUES + 1;
  EXPECT_FALSE(Wire::attach(config, "/nonexistent"));
  config.queues = 1;
  config.heartbeat_timeout = 0;
  EXPECT_FALSE(Wire::attach(config, "/nonexistent"));
  EXPECT_TRUE(Wire::detach("w", "/nonexistent")) << "no such wire: nothing to do";
  const auto names = Wire::names("/nonexistent");
  ASSERT_TRUE(names);
  EXPECT_TRUE(names->empty());
}

}  // namespace
}  // namespace sluice::xdp
