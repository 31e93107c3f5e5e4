// Connections whose handshake is not finished: what is known of them stands in the flow table's
// entry, and what is told of them is what was seen.
#include "tests/unit/inspect/rig.h"

namespace sluice::test {
namespace {

using contract::Counter;

Path from_port(std::uint16_t port) {
  Path path;
  path.client.port = port;
  return path;
}

// The first `count` frames of a handshake (SYN, SYN/ACK, ACK).
std::vector<SentFrame> handshake(const ConversationOptions& options, std::size_t count) {
  Conversation talk(options);
  talk.open();
  auto frames = talk.take();
  frames.resize(count);
  return frames;
}

std::uint64_t octets_of(const std::vector<SentFrame>& frames, Direction d) {
  std::uint64_t octets = 0;
  for (const SentFrame& f : frames)
    if (f.direction == d) octets += f.frame.size();
  return octets;
}

TEST(HalfOpen, AFloodCostsEntriesAlone) {
  RigOptions options{.rules = kRejectRule};
  options.settings.max_flows = 20'000;
  Rig rig(options);
  // Half of them are answered.
  const auto flood = [&rig](unsigned from, unsigned to) {
    for (unsigned i = from; i < to; ++i) {
      Path path = from_port(static_cast<std::uint16_t>(1024 + i % 50'000));
      path.client.address.octets[15] = static_cast<std::uint8_t>(i / 50'000 + 1);
      rig.send(handshake({.path = path, .start = rig.now() + kMicrosecond}, 1 + i % 2));
      rig.left.clear();
    }
  };
  flood(0, 100);
  const inspect::MemoryUse before = rig.engine().memory_use();
  flood(100, 20'000);
  const inspect::MemoryUse after = rig.engine().memory_use();
  EXPECT_EQ(after.flows, before.flows) << "nothing but the table";
  EXPECT_LT(after.table, 20'000u * 84);
  EXPECT_EQ(rig.engine().flows(), 20'000u);
  EXPECT_EQ(rig.statistics().read(Counter::memory_refused), 0u);
}

TEST(HalfOpen, AFinishedHandshakeCountsFromItsFirstFrame) {
  for (const bool again : {false, true}) {
    Rig rig;
    Conversation talk;
    talk.open();
    auto frames = talk.take();
    if (again) {
      // The SYN twice, the SYN/ACK three times.
      frames.insert(frames.begin() + 1, frames[0]);
      frames.insert(frames.begin() + 2, 2, frames[2]);
    }
    talk.server("220 mx.test ESMTP\r\n");
    talk.client("QUIT\r\n");
    talk.server("221 bye\r\n");
    talk.close();
    for (const SentFrame& f : talk.take()) frames.push_back(f);
    rig.send(frames);
    rig.finish();
    EXPECT_EQ(rig.left.size(), frames.size());
    EXPECT_EQ(rig.dropped(), 0u);
    EXPECT_EQ(rig.anomalies(), std::vector<std::string>{"scan-probe"})
        << "it says no more than QUIT";
    const auto flows = rig.events_of("flow");
    ASSERT_EQ(flows.size(), 1u);
    const Json& flow = flows[0]["flow"];
    EXPECT_EQ(flow["pkts_toserver"].get<std::size_t>() + flow["pkts_toclient"].get<std::size_t>(),
              frames.size());
    EXPECT_EQ(flow["bytes_toserver"], octets_of(frames, Direction::to_server));
    EXPECT_EQ(flow["bytes_toclient"], octets_of(frames, Direction::to_client));
    EXPECT_EQ(flow["state"], "closed");
    EXPECT_NE(flow["start"], flow["end"]);
    EXPECT_EQ(flow["start"], time_text(frames.front().time));
    EXPECT_EQ(flow["end"], time_text(frames.back().time));
    EXPECT_EQ(rig.statistics().read(Counter::segments), frames.size());
    EXPECT_EQ(rig.statistics().read(Counter::segments_retransmitted), again ? 3u : 0u);
    EXPECT_EQ(rig.statistics().read(Counter::flows_opened), 1u);
    EXPECT_EQ(rig.statistics().read(Counter::flows_closed), 1u);
  }
}

TEST(HalfOpen, AnUnansweredSynIsReportedWhenItsTimeIsOver) {
  Rig rig;
  const auto frames = handshake({.start = 7 * kSecond + 123 * kMicrosecond}, 1);
  rig.send(frames);
  rig.pass(29 * kSecond);
  EXPECT_TRUE(rig.events_of("flow").empty());
  rig.pass(2 * kSecond);
  const auto flows = rig.events_of("flow");
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_EQ(flows[0]["flow"]["state"], "new");
  EXPECT_EQ(flows[0]["flow"]["reason"], "timeout");
  EXPECT_EQ(flows[0]["flow"]["pkts_toserver"], 1);
  EXPECT_EQ(flows[0]["flow"]["pkts_toclient"], 0);
  EXPECT_EQ(flows[0]["flow"]["bytes_toserver"], frames[0].frame.size());
  EXPECT_EQ(flows[0]["flow"]["start"], time_text(frames[0].time));
  EXPECT_EQ(flows[0]["flow"]["end"], time_text(frames[0].time));
  EXPECT_EQ(flows[0]["src_port"], 40000);
  EXPECT_EQ(flows[0]["dest_port"], 25);
  EXPECT_EQ(rig.engine().flows(), 0u);
}

TEST(HalfOpen, ARefusedConnectionEndsAtOnce) {
  Rig rig;
  Conversation talk;
  talk.open();
  auto frames = talk.take();
  frames.resize(1);
  rig.send(frames);
  Conversation server;
  server.open_silently();
  const TcpSegment refusal = {.sequence = 0,
                              .acknowledgement = server.next(Direction::to_server),
                              .flags = tcp_flags::kRst | tcp_flags::kAck};
  server.inject(Direction::to_client, refusal);
  rig.send(server.take());
  EXPECT_EQ(rig.dropped(), 0u);
  const auto flows = rig.events_of("flow");
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_EQ(flows[0]["flow"]["state"], "closed");
  EXPECT_EQ(flows[0]["flow"]["pkts_toserver"], 1);
  EXPECT_EQ(flows[0]["flow"]["pkts_toclient"], 1);
  EXPECT_EQ(rig.engine().flows(), 0u);
}

TEST(HalfOpen, MoreThanTheEntryHoldsIsCountedAllTheSame) {
  Rig rig;
  auto frames = handshake({}, 1);
  for (int i = 0; i < 40; ++i) frames.push_back(frames[0]);
  rig.send(frames);
  rig.finish();
  const auto flows = rig.events_of("flow");
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_EQ(flows[0]["flow"]["pkts_toserver"], frames.size());
  EXPECT_EQ(flows[0]["flow"]["bytes_toserver"], octets_of(frames, Direction::to_server));
}

TEST(HalfOpen, AFloodLeavesRoomInTheRingForTheEventsOfMail) {
  Rig rig;
  for (unsigned i = 0; i < 3000; ++i)
    rig.send(handshake({.path = from_port(static_cast<std::uint16_t>(1024 + i)),
                        .start = rig.now() + kMicrosecond},
                       1));
  rig.pass(31 * kSecond);
  EXPECT_EQ(rig.engine().flows(), 0u);
  const std::size_t told = rig.events_of("flow").size();
  EXPECT_GE(told, 1000u);
  EXPECT_LE(told, 2000u) << "of those that end within a second or two";
  EXPECT_EQ(rig.statistics().read(Counter::flows_unreported), 3000u - told);
  EXPECT_EQ(rig.statistics().read(Counter::flows_closed), 3000u);
}

// The worker hung in the middle of a handshake: what followed it may have passed unseen.
TEST(HalfOpen, AHangForgetsTheHandshake) {
  Rig rig({.rules = kRejectRule});
  Conversation talk;
  talk.open();
  auto frames = talk.take();
  rig.send(frames[0]);
  rig.send(frames[1]);
  rig.engine().forget_streams();
  // The rest of the handshake and the greeting passed unseen.
  talk.server("220 mx.test ESMTP\r\n");
  talk.take();
  talk.client("EHLO client.test\r\n");
  talk.server(kEhloReply);
  talk.client("MAIL FROM:<a@a.test>\r\n");
  talk.server("250 ok\r\n");
  talk.client("RCPT TO:<b@b.test>\r\n");
  talk.server("250 ok\r\n");
  talk.client("DATA\r\n");
  talk.server("354 go\r\n");
  talk.client(body("XJS-SPAM-XJS") + ".\r\n");
  rig.send(talk.take());
  EXPECT_EQ(rig.anomalies(), std::vector<std::string>{"midstream"});
  EXPECT_GT(rig.dropped(), 0u) << "judged";
}

}  // namespace
}  // namespace sluice::test
