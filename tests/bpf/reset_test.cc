// The octets of a RST that XDP answers with, read back by a checker that shares nothing with it.
#include "tests/bpf/steer_fixture.h"

namespace sluice::xdp::test {
namespace {

using namespace sluice::test;
using Tunnel = Encapsulation::Tunnel;

struct Segment {
  std::uint32_t sequence;
  std::uint32_t acknowledgement;
  std::uint8_t flags;
};

class ResetTest : public SteerTest {
 protected:
  void SetUp() override {
    SteerTest::SetUp();
    for (const Address& client : {v4(192, 0, 2, 10), v6(10)})
      ASSERT_TRUE(wire_->put_entry(host_entry(client, ListAction::reset)));
  }

  // Checks every octet of the answer to `sent` but what is returned.
  Segment check_answer(const Path& path, Direction direction, const TcpSegment& segment,
                       bool pad = true) {
    Frame sent = tcp_frame(path, direction, segment);
    if (pad) sent = padded(sent);
    const Side side = direction == Direction::to_server ? Side::inside : Side::outside;
    const Outcome outcome = run(side, sent);
    EXPECT_EQ(outcome.action, XDP_REDIRECT);
    EXPECT_EQ(outcome.counted, std::set<std::string>{"listed-reset"});
    const Frame& answer = outcome.frame;
    const std::size_t ip_size = path.is_v4() ? 20 : 40;
    const std::size_t link = link_size(path);
    if (answer.size() < link + ip_size + 20) {
      ADD_FAILURE() << "short answer";
      return {};
    }
    Segment found{};
    const std::uint8_t* tcp = &answer[link + ip_size];
    found.sequence = load_be32(tcp + 4);
    found.acknowledgement = load_be32(tcp + 8);
    found.flags = tcp[13];
    // What an independent builder makes of the same answer, its own checksums and lengths.
    Path plain = path;
    plain.extension_headers.clear();
    plain.ttl = 64;
    Frame expected = tcp_frame(plain, opposite(direction),
                               {.sequence = found.sequence,
                                .acknowledgement = found.acknowledgement,
                                .flags = found.flags,
                                .window = 0});
    if (path.is_v4()) {  // identification 0
      store_be16_at(expected, link + 4, 0);
      store_be16_at(expected, link + 10, 0);
      store_be16_at(expected, link + 10, plain_checksum({&expected[link], 20}));
    }
    if (sent.size() >= 60) expected = padded(expected, 60, 0);
    EXPECT_EQ(answer, expected);
    return found;
  }

  static std::size_t link_size(const Path& path) {
    const Encapsulation& e = path.encapsulation;
    return 14 + 4 * e.tags.size() + (e.pppoe ? (e.pppoe_compressed ? 7 : 8) : 0);
  }
};

std::vector<Path> paths() {
  std::vector<Encapsulation> kinds{{},
                                   {.tags = {{7, 0x8100, 5}}},
                                   {.tags = {{10, 0x88a8}, {20}}},
                                   {.tags = {{10, 0x9100}, {20}, {30}}},
                                   {.pppoe = 9},
                                   {.pppoe = 9, .pppoe_compressed = true},
                                   {.tags = {{10}, {20}}, .pppoe = 9}};
  std::vector<Path> all;
  for (const Encapsulation& kind : kinds)
    for (const bool v6 : {false, true}) {
      Path path = v6 ? path_v6() : Path{};
      path.encapsulation = kind;
      all.push_back(path);
    }
  return all;
}

TEST_F(ResetTest, E15_BothEndsGetAResetWithTheSequenceTheyExpect) {
  for (const Path& path : paths())
    for (const Direction direction : {Direction::to_server, Direction::to_client}) {
      const Segment answer = check_answer(
          path, direction,
          {.sequence = 1000, .acknowledgement = 0xfffffff0, .payload = Frame(50, 'x')});
      EXPECT_EQ(answer.sequence, 0xfffffff0);
      EXPECT_EQ(answer.acknowledgement, 0u);
      EXPECT_EQ(answer.flags, tcp_flags::kRst);
    }
}

TEST_F(ResetTest, WithoutAckTheAnswerAcknowledgesTheWholeSegment) {
  for (const Path& path : paths()) {
    const Segment syn = check_answer(path, Direction::to_server,
                                     {.sequence = 0xffffffff, .flags = tcp_flags::kSyn});
    EXPECT_EQ(syn.flags, tcp_flags::kRst | tcp_flags::kAck);
    EXPECT_EQ(syn.sequence, 0u);
    EXPECT_EQ(syn.acknowledgement, 0u) << "wraps";
    const Frame early(10, 'x');
    EXPECT_EQ(check_answer(path, Direction::to_server,
                           {.sequence = 100, .flags = tcp_flags::kSyn, .payload = early})
                  .acknowledgement,
              111u)
        << "Fast Open data";
    EXPECT_EQ(check_answer(path, Direction::to_server,
                           {.sequence = 100, .flags = tcp_flags::kFin, .payload = early})
                  .acknowledgement,
              111u);
    EXPECT_EQ(
        check_answer(path, Direction::to_server, {.sequence = 100, .flags = 0, .payload = early})
            .acknowledgement,
        110u);
  }
}

TEST_F(ResetTest, OptionsPaddingAndExtensionHeadersAreLeftOut) {
  for (const bool v6 : {false, true}) {
    Path path = v6 ? path_v6() : Path{};
    EXPECT_EQ(check_answer(path, Direction::to_server,
                           {.sequence = 5,
                            .acknowledgement = 77,
                            .options = timestamp_option(1, 2),
                            .payload = Frame(1400, 'x')})
                  .sequence,
              77u);
    check_answer(path, Direction::to_server, {.acknowledgement = 1}, false);
  }
  Path path = path_v6();
  path.first_extension = 0;
  path.extension_headers = Frame{60, 0, 1, 4, 0, 0, 0, 0, 6, 1, 1, 12, 0, 0, 0, 0};
  append(path.extension_headers, Frame(8, 0));
  EXPECT_EQ(check_answer(path, Direction::to_server,
                         {.sequence = 1, .flags = tcp_flags::kSyn, .payload = Frame(4, 'x')})
                .acknowledgement,
            6u);
}

TEST_F(ResetTest, NeverAnswersAReset) {
  for (const Path& path : paths())
    for (const std::uint8_t flags : {std::uint8_t{4}, std::uint8_t{0x14}}) {
      const Outcome outcome =
          run(Side::inside, padded(tcp_frame(path, Direction::to_server, {.flags = flags})));
      EXPECT_EQ(outcome.action, XDP_DROP);
      EXPECT_EQ(outcome.counted, std::set<std::string>{"rst-unanswered"});
    }
}

TEST_F(ResetTest, WhereNoAnswerCanBeBuiltTheFrameIsDropped) {
  for (const Encapsulation& kind :
       {Encapsulation{.mpls = {100}}, Encapsulation{.tunnel = Tunnel::gre},
        Encapsulation{.tunnel = Tunnel::ip_in_ip, .tunnel_v6 = true}}) {
    Path path;
    path.encapsulation = kind;
    EXPECT_EQ(decision(Side::inside, tcp_frame(path, Direction::to_server, {})),
              "reset-impossible");
  }
  const Frame segment = tcp_octets(Path{}, Direction::to_server, {.payload = Frame(100, 'x')});
  EXPECT_EQ(
      decision(Side::inside, fragment_frames(Path{}, Direction::to_server, 6, segment, 64, 7)[0]),
      "reset-impossible");
}

TEST_F(ResetTest, OtherTrafficOfAResetHostGoesOn) {
  Path path;
  path.server.port = 80;
  EXPECT_EQ(decision(Side::inside, tcp_frame(path, Direction::to_server, {})), "not-mail");
}

}  // namespace
}  // namespace sluice::xdp::test
