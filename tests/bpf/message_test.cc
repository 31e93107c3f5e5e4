// The content of a message that is not read any more: what of it may go by.
#include "tests/bpf/steer_fixture.h"

namespace sluice::xdp::test {
namespace {

using namespace sluice::test;

const std::string kPassed = "message-passed";
const std::string kToUs = "mail-to-socket";
const FlowEnds kFlow{Path{}.client.address, Path{}.server.address, 40000, 25};

// Of the least length that is looked at.
std::string line(std::string_view text) {
  return std::string(64 - text.size(), 'x') + std::string(text);
}

class MessageTest : public SteerTest {
 protected:
  void SetUp() override {
    SteerTest::SetUp();
    mark();
  }
  void mark(Side client = Side::inside) {
    ASSERT_TRUE(wire_->forget_flow(kFlow));
    ASSERT_TRUE(wire_->pass_message(kFlow, client));
  }
  static Frame segment(std::uint32_t sequence, std::string_view payload,
                       std::uint8_t flags = tcp_flags::kAck,
                       Direction direction = Direction::to_server, Path path = {}) {
    return padded(tcp_frame(path, direction,
                            {.sequence = sequence, .flags = flags, .payload = as_bytes(payload)}));
  }
  std::string client(std::uint32_t sequence, std::string_view payload,
                     std::uint8_t flags = tcp_flags::kAck) {
    return decision(Side::inside, segment(sequence, payload, flags));
  }
  std::string server(std::string_view payload, std::uint8_t flags = tcp_flags::kAck) {
    return decision(Side::outside, segment(1, payload, flags, Direction::to_client));
  }
  PassedMessage passed() {
    const auto found = wire_->passed_message(kFlow);
    EXPECT_TRUE(found);
    return found.value_or(PassedMessage{});
  }
};

TEST_F(MessageTest, ContentGoesByInOrderAndIsCounted) {
  EXPECT_FALSE(passed().begun);
  const std::string first = line("half a line of some length\r\nand. so. on\r");
  const std::string second = "\nwww.example.test" + line("\r\n");
  EXPECT_EQ(client(0xfffffff0, first), kPassed);
  EXPECT_EQ(server(""), kPassed);
  EXPECT_EQ(client(0xfffffff0 + static_cast<std::uint32_t>(first.size()), second), kPassed);
  EXPECT_EQ(client(9999, ""), kPassed) << "an acknowledgement";
  const PassedMessage m = passed();
  EXPECT_TRUE(m.begun);
  EXPECT_FALSE(m.over);
  EXPECT_EQ(m.start, 0xfffffff0);
  EXPECT_EQ(m.next, static_cast<std::uint32_t>(0xfffffff0 + first.size() + second.size()));
  EXPECT_EQ(std::string(std::begin(m.last), std::end(m.last)), "\r\n");
  const auto traffic = wire_->bypassed_traffic(kFlow);
  ASSERT_TRUE(traffic);
  EXPECT_EQ(traffic->frames[0], 3u);
  EXPECT_EQ(traffic->frames[1], 1u);
  EXPECT_EQ(traffic->octets[1], segment(1, "", tcp_flags::kAck, Direction::to_client).size());
  Path other;
  other.client.port = 40001;
  EXPECT_EQ(decision(Side::inside, segment(1, first, tcp_flags::kAck, Direction::to_server, other)),
            kToUs);
}

// At every place of a word and at every end of the segment.
TEST_F(MessageTest, WhatMayEndTheMessageDoesNotPass) {
  using std::string_view_literals::operator""sv;
  for (const std::string_view end :
       {"\r\n.\r\n"sv, "\n.\n"sv, "\r.\r"sv, "\n.x"sv, "\0"sv, "\r\n\0.\r\n"sv}) {
    for (const std::size_t size : {64u, 65u, 127u, 128u, 200u}) {
      for (std::size_t before = 0; before + end.size() <= size; ++before) {
        mark();
        std::string text(size, 'a');
        text.replace(before, end.size(), end);
        EXPECT_EQ(client(100, text), kToUs) << before << " of " << size;
        EXPECT_TRUE(passed().over);
        EXPECT_FALSE(passed().begun);
      }
    }
  }
  EXPECT_EQ(client(100, line("nothing of that kind")), kToUs) << "it is over";
}

TEST_F(MessageTest, ADotAtTheFrontMayBelongToTheLastSegmentsLineEnd) {
  EXPECT_EQ(client(100, line("a line\r\n")), kPassed);
  EXPECT_EQ(client(164, ".\r\nQUIT\r\n" + line("")), kToUs);
  EXPECT_TRUE(passed().over);
  EXPECT_EQ(passed().next, 164u);
}

TEST_F(MessageTest, DotsThatBeginNoLinePass) {
  for (const std::string_view text : {"a.b.c.d.e.f.g.h", "abcdefg.\r\nabcdefg.\n",
                                      "x.........................", "x.\r\n\r\nx..\r\n"}) {
    mark();
    EXPECT_EQ(client(100, line(text)), kPassed) << text;
    mark();
    EXPECT_EQ(client(100, std::string(text) + line("")), kPassed) << text;
  }
}

TEST_F(MessageTest, OnlyWhatIsNextPasses) {
  const std::string text = line("of the message\r\n");
  EXPECT_EQ(client(1000, text), kPassed);
  EXPECT_EQ(client(900, text), kToUs);
  EXPECT_FALSE(passed().over) << "the dataplane may wait for it";
  EXPECT_EQ(client(1000, text), kPassed) << "sent again";
  EXPECT_EQ(client(1010, text), kPassed) << "and more";
  EXPECT_EQ(passed().next, 1074u);
  EXPECT_EQ(client(1075, text), kToUs) << "behind a hole";
  EXPECT_TRUE(passed().over);
  EXPECT_EQ(passed().start, 1000u);
  EXPECT_EQ(passed().next, 1074u);
  EXPECT_EQ(client(1074, text), kToUs) << "the hole is filled";
}

TEST_F(MessageTest, NothingPassesBeforeWhatWaits) {
  const std::string text = line("of the message\r\n");
  const auto told = [&](std::uint32_t edge) {
    ASSERT_TRUE(wire_->pass_message(kFlow, Side::inside, edge));
  };
  ASSERT_TRUE(wire_->forget_flow(kFlow));
  told(0xffffffc0);
  EXPECT_EQ(client(0, text), kToUs) << "behind one that waits";
  EXPECT_EQ(client(64, "\r\n.\r\n"), kToUs) << "the dataplane will have read it by then";
  EXPECT_EQ(client(64, ""), kPassed) << "an acknowledgement";
  EXPECT_FALSE(passed().over);
  EXPECT_FALSE(passed().begun);
  told(0);
  EXPECT_EQ(client(64, text), kToUs);
  told(64);
  EXPECT_EQ(wire_->bypassed_traffic(kFlow)->frames[0], 1u) << "goes on counting";
  EXPECT_EQ(client(64, text), kPassed);
  EXPECT_EQ(passed().start, 64u);
  EXPECT_EQ(client(128, text), kPassed);
  EXPECT_EQ(passed().next, 192u);
  told(128);
  EXPECT_EQ(client(192, text), kPassed);
  EXPECT_EQ(passed().start, 64u) << "told too late";
  // What waits all the time is not waited for: the edge neither moves nor stays.
  ASSERT_TRUE(wire_->forget_flow(kFlow));
  told(128);
  age_mark(kFlow, STEER_EDGE_WAIT_NS / 2 + 1);
  told(192);
  EXPECT_EQ(client(192, text), kToUs) << "the edge is still 128";
  age_mark(kFlow, STEER_EDGE_WAIT_NS / 2);
  EXPECT_EQ(client(256, text), kPassed);
  EXPECT_EQ(passed().start, 256u);
}

TEST_F(MessageTest, AnEndThatIsSentAgainInAnotherCutDoesNotPass) {
  EXPECT_EQ(client(1000, line("the first of them")), kPassed);
  EXPECT_EQ(client(1000, line("the first\r\n.\r\nhem")), kToUs);
  EXPECT_TRUE(passed().over);
}

TEST_F(MessageTest, WhateverElseTheDataplaneHasToSeeDoesNotPass) {
  const std::string text = line("of the message\r\n");
  const auto over = [&](const std::string& decided) {
    EXPECT_EQ(decided, kToUs);
    EXPECT_TRUE(passed().over);
    EXPECT_EQ(client(500, text), kToUs);
    EXPECT_EQ(server(""), kToUs);
    mark();
  };
  over(server("421 going down\r\n"));
  over(server("", tcp_flags::kAck | tcp_flags::kFin));
  over(server("", tcp_flags::kRst));
  over(client(500, "", tcp_flags::kAck | tcp_flags::kFin));
  over(client(500, text, tcp_flags::kAck | tcp_flags::kFin));
  over(client(500, text, tcp_flags::kAck | tcp_flags::kUrg));
  over(client(500, "", tcp_flags::kRst));
  over(client(500, text.substr(1)));
  over(decision(Side::outside, segment(500, text)));  // in the client's name from the other side
  EXPECT_EQ(client(500, std::string(1460, 'x')), kPassed);
  // Of a frame in several buffers not all can be looked at.
  EXPECT_TRUE(
      run(Side::inside, segment(1960, std::string(4000, 'x'))).counted.contains("multi-buffer"));
  EXPECT_TRUE(passed().over);
}

TEST_F(MessageTest, TheNextConnectionIsNotTheMessages) {
  EXPECT_EQ(client(500, line("of the message\r\n")), kPassed);
  EXPECT_EQ(client(900, "", tcp_flags::kSyn), kToUs);
  EXPECT_FALSE(wire_->passed_message(kFlow));
  EXPECT_EQ(client(901, "EHLO client.test\r\n"), kToUs);
  EXPECT_EQ(wire_->bypassed_traffic(kFlow)->frames[0], 1u) << "stays to be read";
}

TEST_F(MessageTest, AClientOutsideAndIpv6) {
  mark(Side::outside);
  EXPECT_EQ(decision(Side::outside, segment(500, line("of the message\r\n"))), kPassed);
  EXPECT_EQ(
      decision(Side::inside, segment(500, "250 ok\r\n", tcp_flags::kAck, Direction::to_client)),
      kToUs);
  const Path path = path_v6();
  const FlowEnds flow{path.client.address, path.server.address, 40000, 25};
  ASSERT_TRUE(wire_->pass_message(flow, Side::inside));
  EXPECT_EQ(decision(Side::inside, segment(500, line("of the message\r\n"), tcp_flags::kAck,
                                           Direction::to_server, path)),
            kPassed);
  EXPECT_EQ(decision(Side::inside, segment(564, line("line\r\n.\r\n"), tcp_flags::kAck,
                                           Direction::to_server, path)),
            kToUs);
  ASSERT_TRUE(wire_->forget_flow(flow));
}

TEST_F(MessageTest, TheDataplaneLooksAtTheFlowNowAndThen) {
  age_mark(kFlow, 2 * STEER_BYPASS_LOOK_NS);
  EXPECT_EQ(client(500, line("of the message\r\n")), kPassed);
  EXPECT_EQ(server(""), kToUs);
  EXPECT_FALSE(passed().over);
  EXPECT_EQ(server(""), kPassed);
}

}  // namespace
}  // namespace sluice::xdp::test
