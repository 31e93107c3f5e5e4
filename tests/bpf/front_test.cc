// The front alone: which frames go straight, and how large sends are counted. That it never says
// what steer.bpf.c would not, all other tests see (steer_fixture.h).
#include "tests/bpf/steer_fixture.h"

namespace sluice::xdp::test {
namespace {

using namespace sluice::test;

class FrontTest : public SteerTest {
 protected:
  void SetUp() override {
    ASSERT_TRUE(kFront) << "needs SLUICE_TEST_FRONT in the environment";
    SteerTest::SetUp();
  }
  static bool straight(Side side, const Frame& frame, __u32 gso = 0) {
    Outcome outcome;
    return goes_straight(side, frame, outcome, gso);
  }
  static Path path_to(std::uint16_t port) {
    Path path;
    path.server.port = port;
    return path;
  }
  static Frame segment(const Path& path, std::size_t size = 100) {
    return padded(tcp_frame(path, Direction::to_server,
                            {.sequence = 1, .payload = as_bytes(std::string(size, 'x'))}));
  }
  static FlowEnds ends_of(const Path& path) {
    return {path.client.address, path.server.address, path.client.port, path.server.port};
  }
};

TEST_F(FrontTest, WhatIsNotMailGoesStraight) {
  EXPECT_TRUE(straight(Side::inside, segment(path_to(80))));
  EXPECT_TRUE(straight(Side::outside, segment(path_to(443))));
  EXPECT_TRUE(
      straight(Side::inside, padded(Frame{1, 2, 3, 4, 5, 6, 2, 0, 0, 0, 0, 1, 0x08, 0x06})));
  EXPECT_FALSE(straight(Side::inside, segment(path_to(25))));
}

TEST_F(FrontTest, OfAListOnlyWhatIsInItGoesOn) {
  const Path path = path_to(80);
  Path other = path;
  other.client.address = v4(192, 0, 2, 99);
  ASSERT_TRUE(wire_->put_entry(host_entry(path.client.address, ListAction::drop)));
  EXPECT_TRUE(straight(Side::inside, segment(path))) << "of mail alone";
  ASSERT_TRUE(wire_->put_entry(host_entry(path.client.address, ListAction::drop, ListScope::all)));
  EXPECT_FALSE(straight(Side::inside, segment(path)));
  EXPECT_TRUE(straight(Side::inside, segment(other)));
}

TEST_F(FrontTest, MarkedMailGoesStraight) {
  const Path path = path_to(25);
  ASSERT_TRUE(wire_->bypass_flow(ends_of(path)));
  EXPECT_TRUE(straight(Side::inside, segment(path)));
  ASSERT_TRUE(wire_->set_operator_bypass(true));
  EXPECT_FALSE(straight(Side::inside, segment(path))) << "is counted as that";
  ASSERT_TRUE(wire_->set_operator_bypass(false));
  ASSERT_TRUE(wire_->mark_sequence_changed(ends_of(path)));
  EXPECT_FALSE(straight(Side::inside, segment(path)));
  ASSERT_TRUE(wire_->forget_flow(ends_of(path)));
}

TEST_F(FrontTest, MarkedMailGoesStraightOnceNoneOfItWaits) {
  const Path path = path_to(25);
  ASSERT_TRUE(wire_->bypass_flow(ends_of(path), {{7, std::nullopt}}));
  EXPECT_FALSE(straight(Side::inside, segment(path))) << "the program behind it finds out";
  EXPECT_TRUE(straight(Side::outside, segment(path)));
  ASSERT_TRUE(wire_->forget_flow(ends_of(path)));
}

TEST_F(FrontTest, ALargeSendIsCountedAsTheFramesThatItIsOnTheLine) {
  const Path path = path_to(25);
  ASSERT_TRUE(wire_->bypass_flow(ends_of(path)));
  const Frame frame = segment(path, 2501);
  const std::uint64_t headers = frame.size() - 2501;
  const auto before = wire_->counters();
  EXPECT_TRUE(straight(Side::inside, frame, 500));
  const auto after = wire_->counters();
  ASSERT_TRUE(before && after);
  for (const steer_counter counter : {STEER_COUNT_received, STEER_COUNT_flow_bypassed}) {
    const CounterValue& old = before->at(Side::inside, counter);
    const CounterValue& now = after->at(Side::inside, counter);
    EXPECT_EQ(now.frames - old.frames, 6u);
    EXPECT_EQ(now.octets - old.octets, 6 * headers + 2501);
  }
  const auto marked = wire_->bypassed_traffic(ends_of(path));
  ASSERT_TRUE(marked);
  EXPECT_EQ(marked->frames[0], 6u);
  EXPECT_EQ(marked->octets[0], 6 * headers + 2501);
  ASSERT_TRUE(wire_->forget_flow(ends_of(path)));
}

TEST_F(FrontTest, WhatTheOtherPortMayNotTakeGoesOn) {
  const Path path = path_to(80);
  EXPECT_FALSE(straight(Side::inside, segment(path, 1600)));
  EXPECT_TRUE(straight(Side::inside, segment(path, 1600), 1000));
  EXPECT_FALSE(straight(Side::inside, segment(path, 3100), 1550));
}

}  // namespace
}  // namespace sluice::xdp::test
