// What happens to mail when the dataplane is away, swamped, or has done with a flow.
#include "tests/bpf/steer_fixture.h"

namespace sluice::xdp::test {
namespace {

using namespace sluice::test;

Frame mail(std::uint8_t flags = tcp_flags::kAck, Direction direction = Direction::to_server) {
  return padded(tcp_frame(Path{}, direction, {.sequence = 1, .flags = flags}));
}
Frame at_sequence(std::uint32_t sequence) {
  return padded(tcp_frame(Path{}, Direction::to_server,
                          {.sequence = sequence, .payload = as_bytes(std::string(100, 'x'))}));
}
const FlowEnds kFlow{Path{}.client.address, Path{}.server.address, 40000, 25};

class LivenessTest : public SteerTest {
 protected:
  void SetUp() override {
    SteerTest::SetUp();
    ASSERT_TRUE(wire_->forget_flow(kFlow));
  }
  void beat_at(std::int64_t from_now, std::uint32_t occupancy = 0) {
    const Nanoseconds time = Heartbeat::now() + static_cast<Nanoseconds>(from_now);
    heartbeat_.start(0, time);
    if (occupancy != 0) {
      EXPECT_TRUE(heartbeat_.beat(0, occupancy, time));
    }
  }
  static constexpr std::int64_t kS = 1'000'000'000;
};

TEST_F(LivenessTest, HeartbeatFreshStaleNeverAndFuture) {
  beat_at(0);
  EXPECT_EQ(decision(Side::inside, mail()), "mail-to-socket");
  beat_at(kS * 5);  // written after the program read the clock
  EXPECT_EQ(decision(Side::inside, mail()), "mail-to-socket");
  beat_at(-kS * 11);
  EXPECT_EQ(decision(Side::inside, mail()), "open-heartbeat");
  EXPECT_EQ(decision(Side::outside, mail(tcp_flags::kAck, Direction::to_client)), "open-heartbeat");
  beat_at(3600 * kS);  // no beat of this machine
  EXPECT_EQ(decision(Side::inside, mail()), "open-heartbeat");
  heartbeat_.stop(0);
  EXPECT_EQ(decision(Side::inside, mail()), "open-heartbeat");
}

TEST_F(LivenessTest, FailOpenForwardsUnchangedFailClosedDrops) {
  heartbeat_.stop(0);
  Outcome outcome = run(Side::inside, mail());
  EXPECT_EQ(outcome.action, XDP_REDIRECT);
  EXPECT_EQ(outcome.frame, mail());
  ASSERT_TRUE(wire_->set_failure_policy(FailurePolicy::closed));
  outcome = run(Side::inside, mail());
  EXPECT_EQ(outcome.action, XDP_DROP);
  EXPECT_EQ(outcome.counted, std::set<std::string>{"closed-heartbeat"});
  Path path;
  path.server.port = 80;
  EXPECT_EQ(decision(Side::inside, tcp_frame(path, Direction::to_server, {})), "not-mail");
}

TEST_F(LivenessTest, MissingSocketOfEitherPortSwitchesBothDirections) {
  for (const Side missing : {Side::inside, Side::outside}) {
    ASSERT_TRUE(wire_->remove_socket(missing, 0));
    for (const Side side : {Side::inside, Side::outside}) {
      ASSERT_TRUE(wire_->set_failure_policy(FailurePolicy::open));
      EXPECT_EQ(decision(side, mail()), "open-socket");
      ASSERT_TRUE(wire_->set_failure_policy(FailurePolicy::closed));
      EXPECT_EQ(decision(side, mail()), "closed-socket");
    }
    put_sockets();
    EXPECT_EQ(decision(Side::inside, mail()), "mail-to-socket");
  }
  ASSERT_TRUE(wire_->remove_socket(Side::inside, 0));
  ASSERT_TRUE(wire_->remove_socket(Side::inside, 0)) << "not there: no error";
}

TEST_F(LivenessTest, FailClosedStopsNoOtherConnectionsFragments) {
  heartbeat_.stop(0);
  ASSERT_TRUE(wire_->set_failure_policy(FailurePolicy::closed));
  for (const bool v6 : {false, true})
    for (const bool is_mail : {true, false}) {
      Path path = v6 ? path_v6() : Path{};
      path.server.port = is_mail ? 25 : 80;
      const Frame segment = tcp_octets(path, Direction::to_server, {.payload = Frame(100, 'x')});
      const auto fragments = fragment_frames(path, Direction::to_server, 6, segment, 64, 7);
      EXPECT_EQ(decision(Side::inside, fragments[0]),
                is_mail ? "closed-heartbeat" : "open-heartbeat");
      EXPECT_EQ(decision(Side::inside, fragments[1]), "open-heartbeat")
          << "useless without the first";
    }
  // A first fragment that hides its ports behind another header.
  EXPECT_EQ(decision(Side::inside,
                     fragment_frame(path_v6(), Direction::to_server, 60, 0, Frame(16, 0), true, 1)),
            "closed-heartbeat");
}

TEST_F(LivenessTest, QueueThatNoWorkerServesTakesTheFailurePolicy) {
  EXPECT_EQ(run(Side::inside, mail(), 0).counted, std::set<std::string>{"mail-to-socket"});
  EXPECT_EQ(run(Side::inside, mail(), 1).counted, std::set<std::string>{"open-socket"});
}

TEST_F(LivenessTest, TheWireLivesOnlyWithAllItsQueues) {
  WireConfig two = config();
  two.queues = 2;
  two.heartbeat_timeout = 10 * kSecond;
  Result<Wire> second = Wire::attach(two, base_);
  ASSERT_TRUE(second) << second.error();
  EXPECT_TRUE(second->adopted());
  for (int& program : programs_) close(program);
  programs_[0] = program_of(Side::inside);
  programs_[1] = program_of(Side::outside);
  heartbeat_.start(0, Heartbeat::now());
  heartbeat_.start(1, Heartbeat::now());
  EXPECT_EQ(run(Side::inside, mail(), 0).counted, std::set<std::string>{"open-socket"})
      << "queue 1 has no sockets";
  ASSERT_TRUE(wire_->put_socket(Side::inside, 1, sockets_[2]->fd()));
  ASSERT_TRUE(wire_->put_socket(Side::outside, 1, sockets_[3]->fd()));
  for (const std::uint32_t queue : {0u, 1u})
    EXPECT_EQ(run(Side::outside, mail(), queue).counted, std::set<std::string>{"mail-to-socket"});
  heartbeat_.stop(1);
  EXPECT_EQ(run(Side::inside, mail(), 1).counted, std::set<std::string>{"open-heartbeat"});
  EXPECT_EQ(run(Side::inside, mail(), 0).counted, std::set<std::string>{"open-heartbeat"})
      << "at once, not only on the dead queue";
  heartbeat_.start(1, Heartbeat::now());
  EXPECT_EQ(run(Side::inside, mail(), 0).counted, std::set<std::string>{"mail-to-socket"});
  const auto state = wire_->state();
  ASSERT_TRUE(state);
  EXPECT_EQ(state->fresh_queues, 2u);
  EXPECT_TRUE(state->alive());

  Result<Wire> first = Wire::attach(config(), base_);
  ASSERT_TRUE(first) << first.error();
  for (int& program : programs_) close(program);
  programs_[0] = program_of(Side::inside);
  programs_[1] = program_of(Side::outside);
}

TEST_F(LivenessTest, BeatAfterAHangIsRefusedUntilStarted) {
  ASSERT_TRUE(wire_->set_heartbeat_timeout(60 * kMillisecond));
  Result<Heartbeat> heartbeat = wire_->map_heartbeat();
  ASSERT_TRUE(heartbeat);
  const Nanoseconds now = Heartbeat::now();
  heartbeat->start(0, now);
  EXPECT_TRUE(heartbeat->beat(0, 10, now + 50 * kMillisecond));
  EXPECT_FALSE(heartbeat->beat(0, 10, now + 120 * kMillisecond));
  EXPECT_EQ(heartbeat->last(0), now + 50 * kMillisecond) << "nothing written";
  heartbeat->start(0, now + 120 * kMillisecond);
  EXPECT_TRUE(heartbeat->beat(0, 10, now + 121 * kMillisecond));
  heartbeat->stop(0);
  EXPECT_FALSE(heartbeat->beat(0, 10, now + 122 * kMillisecond));
}

TEST_F(LivenessTest, AboveTheWatermarkNewFlowsGoByAltogether) {
  beat_at(0, 749);
  EXPECT_EQ(decision(Side::inside, mail(tcp_flags::kSyn)), "mail-to-socket");
  beat_at(0, 750);
  EXPECT_EQ(decision(Side::inside, mail()), "mail-to-socket") << "a running flow stays";
  EXPECT_EQ(decision(Side::inside, mail(tcp_flags::kSyn)), "overload-new");
  EXPECT_EQ(decision(Side::outside, mail(tcp_flags::kSyn | tcp_flags::kAck, Direction::to_client)),
            "flow-bypassed");
  beat_at(0);
  EXPECT_EQ(decision(Side::inside, mail()), "flow-bypassed") << "to its end";
  EXPECT_EQ(decision(Side::inside, mail(tcp_flags::kSyn)), "mail-to-socket") << "another begins";
  EXPECT_EQ(decision(Side::inside, mail()), "mail-to-socket");
  ASSERT_TRUE(wire_->set_failure_policy(FailurePolicy::closed));
  beat_at(0, 1000);
  EXPECT_EQ(decision(Side::inside, mail(tcp_flags::kSyn)), "closed-overload");
  ASSERT_TRUE(wire_->set_watermark(0));
  EXPECT_EQ(decision(Side::inside, mail(tcp_flags::kSyn)), "mail-to-socket");
}

TEST_F(LivenessTest, OfACrowdNewFlowsGoByWhateverTheRingsHold) {
  beat_at(0, 0);
  const std::uint64_t key = 0x1234567812345678;
  const auto tell = [&](const Address& host) {
    std::uint32_t words[4];
    std::memcpy(words, host.octets.data(), sizeof words);
    const std::uint32_t number = steer_host(key, words);
    std::array<std::uint64_t, STEER_HOSTS / 64> crowd{};
    crowd[number / 64] = std::uint64_t{1} << (number % 64);
    heartbeat_.tell_crowd(0, key, crowd);
  };
  Path path;
  tell(path.server.address);
  EXPECT_EQ(decision(Side::inside, mail(tcp_flags::kSyn)), "mail-to-socket");
  EXPECT_EQ(decision(Side::outside, mail(tcp_flags::kSyn)), "overload-new")
      << "who is inside follows from the port";
  tell(path.client.address);
  EXPECT_EQ(decision(Side::inside, mail()), "flow-bypassed");
  EXPECT_EQ(decision(Side::inside, mail(tcp_flags::kSyn)), "overload-new");
  ASSERT_TRUE(wire_->set_watermark(0));
  EXPECT_EQ(decision(Side::inside, mail(tcp_flags::kSyn)), "mail-to-socket");
  ASSERT_TRUE(wire_->set_watermark(750));
  ASSERT_TRUE(wire_->set_failure_policy(FailurePolicy::closed));
  EXPECT_EQ(decision(Side::inside, mail(tcp_flags::kSyn)), "closed-overload");
  heartbeat_.tell_crowd(0, key, std::array<std::uint64_t, 4>{});
  EXPECT_EQ(decision(Side::inside, mail(tcp_flags::kSyn)), "mail-to-socket");
}

TEST_F(LivenessTest, BypassedFlowGoesByBothWaysUntilItsNextSyn) {
  ASSERT_TRUE(wire_->bypass_flow(kFlow));
  EXPECT_EQ(decision(Side::inside, mail()), "flow-bypassed");
  EXPECT_EQ(decision(Side::outside, mail(tcp_flags::kAck, Direction::to_client)), "flow-bypassed");
  Path other;
  other.client.port = 40001;
  EXPECT_EQ(decision(Side::inside, padded(tcp_frame(other, Direction::to_server, {}))),
            "mail-to-socket");
  EXPECT_EQ(decision(Side::inside, mail(tcp_flags::kSyn)), "mail-to-socket")
      << "the tuple is another connection now";
  EXPECT_EQ(decision(Side::inside, mail()), "mail-to-socket");
}

TEST_F(LivenessTest, BypassedFlowIsCountedAndShowsItsEnd) {
  ASSERT_TRUE(wire_->forget_flow(kFlow));
  EXPECT_EQ(wire_->bypassed_traffic(kFlow)->frames[0], 0u) << "not marked";
  ASSERT_TRUE(wire_->bypass_flow(kFlow));
  const Frame up = mail();
  const Frame down = mail(tcp_flags::kAck, Direction::to_client);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(decision(Side::inside, up), "flow-bypassed");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(decision(Side::outside, down), "flow-bypassed");
  auto traffic = wire_->bypassed_traffic(kFlow);
  ASSERT_TRUE(traffic);
  EXPECT_EQ(traffic->frames[0], 3u);
  EXPECT_EQ(traffic->frames[1], 5u);
  EXPECT_EQ(traffic->octets[0], 3 * up.size());
  EXPECT_EQ(traffic->octets[1], 5 * down.size());
  // The dataplane hears of the end, and goes on counting by itself.
  EXPECT_EQ(decision(Side::inside, mail(tcp_flags::kFin | tcp_flags::kAck)), "mail-to-socket");
  EXPECT_EQ(decision(Side::outside, mail(tcp_flags::kRst, Direction::to_client)), "mail-to-socket");
  EXPECT_EQ(decision(Side::inside, up), "flow-bypassed");
  // The next connection's SYN ends the bypass; what was counted can still be read.
  EXPECT_EQ(decision(Side::inside, mail(tcp_flags::kSyn)), "mail-to-socket");
  EXPECT_EQ(decision(Side::inside, up), "mail-to-socket");
  EXPECT_EQ(wire_->bypassed_traffic(kFlow)->frames[0], 4u);
  ASSERT_TRUE(wire_->bypass_flow(kFlow));
  EXPECT_EQ(wire_->bypassed_traffic(kFlow)->frames[0], 0u) << "a mark counts from its beginning";
  EXPECT_EQ(decision(Side::inside, up), "flow-bypassed");
  ASSERT_TRUE(wire_->bypass_flow(kFlow));
  EXPECT_EQ(wire_->bypassed_traffic(kFlow)->frames[0], 1u) << "it is the same one still";
  ASSERT_TRUE(wire_->unmark_bypass(kFlow));
  EXPECT_EQ(decision(Side::inside, up), "mail-to-socket");
}

TEST_F(LivenessTest, BypassedFlowIsLookedAtNowAndThen) {
  ASSERT_TRUE(wire_->bypass_flow(kFlow));
  const Frame data = at_sequence(1);
  const Frame bare = mail(tcp_flags::kAck, Direction::to_client);
  age_mark(kFlow, STEER_BYPASS_LOOK_NS);
  EXPECT_EQ(decision(Side::inside, data), "flow-bypassed") << "others may not overtake it";
  EXPECT_EQ(decision(Side::outside, bare), "mail-to-socket");
  EXPECT_EQ(decision(Side::outside, bare), "flow-bypassed");
  age_mark(kFlow, 2 * STEER_BYPASS_LOOK_NS);
  EXPECT_EQ(decision(Side::inside, data), "mail-to-socket") << "no acknowledgements come";
  EXPECT_EQ(decision(Side::inside, data), "flow-bypassed");
}

// Frames of the flow wait at the dataplane while it says that it needs no more of them.
TEST_F(LivenessTest, BypassedFlowGoesByFromWhereTheDataplaneIs) {
  ASSERT_TRUE(wire_->bypass_flow(kFlow, {{1000, std::nullopt}}));
  EXPECT_EQ(decision(Side::outside, mail(tcp_flags::kAck, Direction::to_client)), "flow-bypassed")
      << "nothing is known of that side";
  EXPECT_EQ(decision(Side::inside, at_sequence(1100)), "mail-to-socket") << "1000 to 1100 wait";
  EXPECT_EQ(decision(Side::inside, at_sequence(900)), "mail-to-socket");
  ASSERT_TRUE(wire_->bypass_flow(kFlow, {{1200, 7}}));
  EXPECT_EQ(wire_->bypassed_traffic(kFlow)->frames[1], 1u);
  EXPECT_EQ(decision(Side::outside, mail(tcp_flags::kAck, Direction::to_client)), "flow-bypassed")
      << "goes by already";
  EXPECT_EQ(decision(Side::inside, at_sequence(1000)), "mail-to-socket");
  EXPECT_EQ(decision(Side::inside, at_sequence(1200)), "flow-bypassed");
  EXPECT_EQ(decision(Side::inside, at_sequence(1400)), "flow-bypassed") << "in any order, then";
  EXPECT_EQ(decision(Side::inside, at_sequence(1000)), "flow-bypassed");
  // Where something waits all the time, it is not waited for that for ever, however often it is
  // asked for.
  ASSERT_TRUE(wire_->unmark_bypass(kFlow));
  ASSERT_TRUE(wire_->bypass_flow(kFlow, {{1000, std::nullopt}}));
  age_mark(kFlow, STEER_EDGE_WAIT_NS);
  ASSERT_TRUE(wire_->bypass_flow(kFlow, {{1100, std::nullopt}}));
  EXPECT_EQ(decision(Side::inside, at_sequence(1300)), "flow-bypassed");
  EXPECT_EQ(decision(Side::inside, at_sequence(1500)), "flow-bypassed");
  // Sequence numbers wrap.
  ASSERT_TRUE(wire_->unmark_bypass(kFlow));
  ASSERT_TRUE(wire_->bypass_flow(kFlow, {{0, std::nullopt}}));
  EXPECT_EQ(decision(Side::inside, at_sequence(0xFFFFFFFF)), "mail-to-socket");
  EXPECT_EQ(decision(Side::inside, at_sequence(0)), "flow-bypassed");
}

TEST_F(LivenessTest, OperatorBypassSendsMailBy) {
  ASSERT_TRUE(wire_->set_operator_bypass(true));
  EXPECT_EQ(decision(Side::inside, mail()), "operator-bypass");
  ASSERT_TRUE(wire_->set_failure_policy(FailurePolicy::closed));
  heartbeat_.stop(0);
  EXPECT_EQ(decision(Side::inside, mail()), "operator-bypass");
}

TEST_F(LivenessTest, ChangedFlowIsResetOnlyWhenItWouldGoBy) {
  ASSERT_TRUE(wire_->mark_sequence_changed(kFlow));
  EXPECT_EQ(decision(Side::inside, mail()), "mail-to-socket");
  heartbeat_.stop(0);
  Outcome outcome = run(Side::inside, mail());
  EXPECT_EQ(outcome.action, XDP_REDIRECT);
  EXPECT_EQ(outcome.counted, std::set<std::string>{"changed-reset"});
  EXPECT_EQ(decision(Side::outside, mail(tcp_flags::kAck, Direction::to_client)), "changed-reset");
  EXPECT_EQ(decision(Side::inside, mail(tcp_flags::kRst)), "rst-unanswered");
  EXPECT_EQ(decision(Side::inside, mail(tcp_flags::kSyn)), "open-heartbeat")
      << "a new connection counts alike at both ends";
  EXPECT_EQ(decision(Side::inside, mail()), "open-heartbeat");
  live();
  ASSERT_TRUE(wire_->mark_sequence_changed(kFlow));
  ASSERT_TRUE(wire_->bypass_flow(kFlow));
  EXPECT_EQ(decision(Side::inside, mail()), "changed-reset") << "a mistake of the dataplane's";
}

}  // namespace
}  // namespace sluice::xdp::test
