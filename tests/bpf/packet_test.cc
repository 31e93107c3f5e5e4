// Which way a frame goes, by what is in it: ports, encapsulations, fragments, malformed headers.
#include "tests/bpf/steer_fixture.h"

namespace sluice::xdp::test {
namespace {

using namespace sluice::test;
using Tunnel = Encapsulation::Tunnel;

Frame mail_frame(const Path& path, Direction direction = Direction::to_server) {
  return padded(tcp_frame(path, direction, {.sequence = 1, .payload = as_bytes("NOOP\r\n")}));
}

Frame frame_of_type(unsigned type, std::size_t size = 60) {
  Frame frame{0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 1};
  append16(frame, type);
  return padded(frame, size, 0x55);
}

struct Named {
  std::string name;
  Path path;
};

// Every encapsulation of section D, over both IP versions.
std::vector<Named> all_encapsulations() {
  std::vector<std::pair<std::string, Encapsulation>> kinds = {
      {"plain", {}},
      {"vlan", {.tags = {{7}}}},
      {"priority tag", {.tags = {{0, 0x8100, 5}}}},
      {"QinQ", {.tags = {{10, 0x88a8}, {20}}}},
      {"QinQ 9100", {.tags = {{10, 0x9100}, {20}}}},
      {"QinQ 9200", {.tags = {{10, 0x9200}, {20}}}},
      {"QinQ 9300", {.tags = {{10, 0x9300}, {20}}}},
      {"three tags", {.tags = {{1, 0x88a8}, {2}, {3}}}},
      {"MPLS", {.mpls = {100}}},
      {"MPLS stack", {.mpls = {100, 200, 300, 400}}},
      {"VLAN and MPLS", {.tags = {{7}}, .mpls = {100}}},
      {"PPPoE", {.pppoe = 9}},
      {"PPPoE compressed", {.pppoe = 9, .pppoe_compressed = true}},
      {"VLAN and PPPoE", {.tags = {{7}}, .pppoe = 9}},
      {"QinQ and PPPoE", {.tags = {{10, 0x88a8}, {20}}, .pppoe = 9}},
      {"QinQ and PPPoE compressed",
       {.tags = {{10, 0x88a8}, {20}}, .pppoe = 9, .pppoe_compressed = true}},
      {"GRE", {.tunnel = Tunnel::gre}},
      {"GRE with all fields", {.tunnel = Tunnel::gre_all_fields}},
      {"GRE with Ethernet", {.tunnel = Tunnel::gre_ethernet}},
      {"IP in IP", {.tunnel = Tunnel::ip_in_ip}},
      {"GRE over IPv6", {.tunnel = Tunnel::gre, .tunnel_v6 = true}},
      {"IP in IPv6", {.tunnel = Tunnel::ip_in_ip, .tunnel_v6 = true}},
      {"QinQ, PPPoE and GRE", {.tags = {{10}, {20}}, .pppoe = 9, .tunnel = Tunnel::gre}},
  };
  std::vector<Named> all;
  for (const auto& [name, encapsulation] : kinds)
    for (const bool v6 : {false, true}) {
      Path path = v6 ? path_v6() : Path{};
      path.encapsulation = encapsulation;
      all.push_back({name + (v6 ? ", IPv6" : ", IPv4"), path});
    }
  return all;
}

TEST_F(SteerTest, MailOfEveryEncapsulationGoesToTheSocket) {
  for (const Named& kind : all_encapsulations()) {
    SCOPED_TRACE(kind.name);
    for (const Side side : {Side::inside, Side::outside})
      for (const Direction direction : {Direction::to_server, Direction::to_client}) {
        const Frame frame = mail_frame(kind.path, direction);
        const Outcome outcome = run(side, frame);
        EXPECT_EQ(outcome.action, XDP_REDIRECT);
        EXPECT_EQ(outcome.counted, std::set<std::string>{"mail-to-socket"});
        EXPECT_EQ(outcome.frame, frame) << "unchanged";
      }
  }
}

TEST_F(SteerTest, OtherTcpOfEveryEncapsulationGoesToThePeer) {
  for (Named kind : all_encapsulations()) {
    SCOPED_TRACE(kind.name);
    kind.path.server.port = 80;
    const Frame frame = mail_frame(kind.path);
    const Outcome outcome = run(Side::inside, frame);
    EXPECT_EQ(outcome.action, XDP_REDIRECT);
    EXPECT_EQ(outcome.counted, std::set<std::string>{"not-mail"});
    EXPECT_EQ(outcome.frame, frame) << "unchanged";
  }
}

TEST_F(SteerTest, MailPortsAreThoseOfTheMap) {
  for (const unsigned port : {25u, 465u, 587u, 2525u}) {
    Path path;
    path.server.port = static_cast<std::uint16_t>(port);
    EXPECT_EQ(decision(Side::inside, mail_frame(path)), "mail-to-socket") << port;
    EXPECT_EQ(decision(Side::outside, mail_frame(path, Direction::to_client)), "mail-to-socket");
  }
  for (const unsigned port : {24u, 26u, 80u, 443u, 464u, 2524u, 65535u, 0u, 25u + 64, 25u << 8}) {
    Path path;
    path.server.port = static_cast<std::uint16_t>(port);
    EXPECT_EQ(decision(Side::inside, mail_frame(path)), "not-mail") << port;
  }
  const std::uint16_t others[] = {26, 65535};
  ASSERT_TRUE(wire_->set_mail_ports(others));
  const auto read_back = wire_->mail_ports();
  ASSERT_TRUE(read_back);
  EXPECT_EQ(*read_back, std::vector<std::uint16_t>(std::begin(others), std::end(others)));
  Path path;
  EXPECT_EQ(decision(Side::inside, mail_frame(path)), "not-mail");
  path.server.port = 65535;
  EXPECT_EQ(decision(Side::inside, mail_frame(path)), "mail-to-socket");
}

TEST_F(SteerTest, UdpOnAMailPortIsNotMail) {
  Frame udp;
  append16(udp, 40000);
  append16(udp, 25);
  append16(udp, 28);
  append16(udp, 0);
  append(udp, Frame(20, 0));
  const Path path;
  EXPECT_EQ(decision(Side::inside, encapsulate(path, Direction::to_server,
                                               ip_packet(path, Direction::to_server, 17, udp))),
            "not-mail");
}

TEST_F(SteerTest, D11_LinkLayerFramesGoToThePeer) {
  for (const unsigned type : {0x0806u, 0x88ccu, 0x8809u, 0x888eu, 0x8902u, 0x88e5u, 0x8863u,
                              0x0026u, 0x05dcu, 0x0000u, 0xffffu}) {
    for (const std::size_t size : {std::size_t{14}, std::size_t{60}, std::size_t{1514}}) {
      const Frame frame = frame_of_type(type, size);
      const Outcome outcome = run(Side::outside, frame);
      EXPECT_EQ(outcome.action, XDP_REDIRECT);
      EXPECT_EQ(outcome.counted, std::set<std::string>{"not-mail"}) << std::hex << type;
      EXPECT_EQ(outcome.frame, frame);
    }
  }
}

TEST_F(SteerTest, D03_PppControlGoesToThePeer) {
  for (const unsigned protocol : {0xc021u, 0x8021u, 0x8057u, 0xc023u}) {
    Frame frame = frame_of_type(0x8864, 14);
    append16(frame, 0x1100);
    append16(frame, 9);
    append16(frame, 10);
    append16(frame, protocol);
    EXPECT_EQ(decision(Side::inside, padded(frame)), "not-mail") << std::hex << protocol;
  }
  // A PPPoE code that is no session data.
  Path path;
  path.encapsulation.pppoe = 9;
  Frame frame = mail_frame(path);
  frame[15] = 0xa7;
  EXPECT_EQ(decision(Side::inside, frame), "not-mail");
}

TEST_F(SteerTest, CutAnywhereIsForwardedNeverDropped) {
  std::vector<Named> kinds = all_encapsulations();
  for (const Named& kind : kinds) {
    SCOPED_TRACE(kind.name);
    const Frame whole = tcp_frame(kind.path, Direction::to_server, {.sequence = 1});
    for (std::size_t size = 14; size < whole.size(); size++) {
      const Frame cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      const Outcome outcome = run(Side::inside, cut);
      EXPECT_EQ(outcome.action, XDP_REDIRECT) << size;
      EXPECT_EQ(outcome.frame, cut) << size;
      EXPECT_FALSE(outcome.counted.contains("mail-to-socket")) << size;
    }
  }
}

TEST_F(SteerTest, MalformedHeadersAreForwardedAndCounted) {
  const Path path;
  const Frame good = mail_frame(path);
  const auto altered = [&](std::size_t at, unsigned value) {
    Frame frame = good;
    frame[at] = static_cast<std::uint8_t>(value);
    return frame;
  };
  EXPECT_EQ(decision(Side::inside, altered(14, 0x44)), "malformed") << "IHL under 5";
  EXPECT_EQ(decision(Side::inside, altered(14, 0x65)), "malformed") << "version 6 in 0800";
  EXPECT_EQ(decision(Side::inside, altered(17, 19)), "malformed")
      << "total length under the header";
  EXPECT_EQ(decision(Side::inside, altered(17, 39)), "malformed") << "TCP header beyond the length";
  EXPECT_EQ(decision(Side::inside, altered(46, 0x40)), "malformed") << "data offset under 5";
  EXPECT_EQ(decision(Side::inside, altered(46, 0xf0)), "malformed") << "data offset beyond the end";
  EXPECT_EQ(decision(Side::inside, altered(14, 0x4f)), "malformed") << "options beyond the frame";
}

TEST_F(SteerTest, C21_LengthZeroOrBeyondTheFrameMeansTheFrame) {
  Frame frame = mail_frame(Path{});
  store_be16_at(frame, 16, 0);
  EXPECT_EQ(decision(Side::inside, frame), "mail-to-socket");
  store_be16_at(frame, 16, 9000);
  EXPECT_EQ(decision(Side::inside, frame), "mail-to-socket");
  Frame six = mail_frame(path_v6());
  store_be16_at(six, 18, 0);
  EXPECT_EQ(decision(Side::inside, six), "mail-to-socket");
  store_be16_at(six, 18, 0xffff);
  EXPECT_EQ(decision(Side::inside, six), "mail-to-socket");
}

TEST_F(SteerTest, DeeperThanFollowedIsForwarded) {
  Path path;
  path.encapsulation.tags = {{1}, {2}, {3}, {4}};
  EXPECT_EQ(decision(Side::inside, mail_frame(path)), "too-deep");
  path.encapsulation.tags.clear();
  path.encapsulation.mpls.assign(8, 100);
  EXPECT_EQ(decision(Side::inside, mail_frame(path)), "mail-to-socket");
  path.encapsulation.mpls.assign(9, 100);
  EXPECT_EQ(decision(Side::inside, mail_frame(path)), "too-deep");
  // Tunnel in tunnel in tunnel in tunnel.
  Frame ip = ip_packet(Path{}, Direction::to_server, 6,
                       tcp_octets(Path{}, Direction::to_server, {.sequence = 1}));
  for (int depth = 1; depth <= 4; depth++) {
    ip = ipv4_packet(v4(203, 0, 113, 1), v4(203, 0, 113, 2), 4, ip);
    EXPECT_EQ(decision(Side::inside, encapsulate(Path{}, Direction::to_server, ip)),
              depth <= 3 ? "mail-to-socket" : "too-deep")
        << depth;
  }
}

// `count` destination options headers, then `last`.
Frame options_chain(int count, unsigned last) {
  Frame chain;
  for (int i = 0; i < count; i++) {
    append8(chain, i + 1 == count ? last : 60);
    append(chain, Frame{0, 1, 4, 0, 0, 0, 0});
  }
  return chain;
}

TEST_F(SteerTest, C23_ExtensionHeaders) {
  Path path = path_v6();
  path.first_extension = 0;  // hop-by-hop, then eight destination options
  path.extension_headers = Frame{60, 0, 1, 4, 0, 0, 0, 0};
  append(path.extension_headers, options_chain(8, 6));
  EXPECT_EQ(decision(Side::inside, mail_frame(path)), "mail-to-socket");

  path.first_extension = 44;  // atomic fragment
  path.extension_headers = Frame{6, 0, 0, 0, 1, 2, 3, 4};
  EXPECT_EQ(decision(Side::inside, mail_frame(path)), "mail-to-socket");

  path.first_extension = 51;  // AH: length in 4-octet units less 2
  path.extension_headers = Frame{6, 4, 0, 0};
  append(path.extension_headers, Frame(20, 0x11));
  EXPECT_EQ(decision(Side::inside, mail_frame(path)), "mail-to-socket");

  path.first_extension = 43;  // routing type 4 with one segment
  path.extension_headers = Frame{6, 2, 4, 0, 0, 0, 0, 0};
  append(path.extension_headers, Frame(16, 0x20));
  EXPECT_EQ(decision(Side::inside, mail_frame(path)), "mail-to-socket");

  path.first_extension = 253;
  EXPECT_EQ(decision(Side::inside, mail_frame(path)), "not-mail") << "unknown: forwarded";

  path.first_extension = 60;
  path.extension_headers = options_chain(16, 6);
  EXPECT_EQ(decision(Side::inside, mail_frame(path)), "mail-to-socket");
  path.extension_headers = options_chain(17, 6);
  EXPECT_EQ(decision(Side::inside, mail_frame(path)), "too-deep");
}

TEST_F(SteerTest, C22_FragmentsOfTcpGoToTheSocket) {
  for (const bool v6 : {false, true})
    for (const std::uint16_t port : {std::uint16_t{25}, std::uint16_t{80}}) {
      Path path = v6 ? path_v6() : Path{};
      path.server.port = port;
      path.encapsulation.tags = {{7}};
      const Frame segment =
          tcp_octets(path, Direction::to_server, {.sequence = 1, .payload = Frame(100, 'x')});
      for (const Frame& fragment :
           fragment_frames(path, Direction::to_server, 6, segment, 8, 0x1234))
        EXPECT_EQ(decision(Side::inside, padded(fragment)), "fragment-to-socket");
      for (const Frame& fragment :
           fragment_frames(path, Direction::to_server, 17, segment, 8, 0x1234))
        EXPECT_EQ(decision(Side::inside, padded(fragment)), "not-mail") << "of UDP";
    }
  // Behind its fragment header the chain goes on out of sight: it may be TCP.
  const Path path = path_v6();
  EXPECT_EQ(decision(Side::inside,
                     fragment_frame(path, Direction::to_server, 60, 8, Frame(16, 0), true, 1)),
            "fragment-to-socket");
}

TEST_F(SteerTest, D07_LongerThanThePeerIsToldNotDropped) {
  Path path;
  path.server.port = 80;
  const Frame fits = tcp_frame(path, Direction::to_server, {.payload = Frame(1460, 'x')});
  EXPECT_EQ(run(Side::inside, fits).counted, std::set<std::string>{"not-mail"});
  // Three tags and PPPoE around a full packet: 1514 + 12 + 8.
  path.encapsulation.tags = {{1}, {2}, {3}};
  path.encapsulation.pppoe = 1;
  const Frame tagged = tcp_frame(path, Direction::to_server, {.payload = Frame(1460, 'x')});
  EXPECT_EQ(run(Side::inside, tagged).counted, std::set<std::string>{"not-mail"});
  path.encapsulation = {};
  const Frame merged = tcp_frame(path, Direction::to_server, {.payload = Frame(2900, 'x')});
  const Outcome outcome = run(Side::inside, merged);
  EXPECT_EQ(outcome.action, XDP_REDIRECT);
  EXPECT_EQ(outcome.counted, (std::set<std::string>{"not-mail", "oversize"}));
}

TEST_F(SteerTest, SteeredFlowGoesToTheSocketBothWays) {
  for (const Named& kind : all_encapsulations()) {
    if (kind.path.encapsulation.tunnel == Tunnel::gre_ethernet) continue;
    SCOPED_TRACE(kind.name);
    Path path = kind.path;
    path.server.port = 8025;
    FlowEnds ends{path.client.address, path.server.address, path.client.port, 8025};
    for (const VlanTag& tag : path.encapsulation.tags) ends.vlan[ends.vlan_count++] = tag.vid;
    ends.pppoe_session = path.encapsulation.pppoe.value_or(0);
    EXPECT_EQ(decision(Side::inside, mail_frame(path)), "not-mail");
    ASSERT_TRUE(wire_->steer_flow(ends));
    EXPECT_EQ(decision(Side::inside, mail_frame(path)), "steered-to-socket");
    EXPECT_EQ(decision(Side::outside, mail_frame(path, Direction::to_client)), "steered-to-socket");
    Path other = path;
    other.client.port++;
    EXPECT_EQ(decision(Side::inside, mail_frame(other)), "not-mail");
    std::swap(ends.a, ends.b);
    std::swap(ends.a_port, ends.b_port);
    ASSERT_TRUE(wire_->unsteer_flow(ends)) << "the same flow, named the other way round";
    EXPECT_EQ(decision(Side::inside, mail_frame(path)), "not-mail");
  }
}

TEST_F(SteerTest, GreetingOfAMailServerOnAnotherPortSteersItsFlow) {
  const auto says = [](const Path& path, std::string_view text,
                       Direction d = Direction::to_client) {
    return padded(tcp_frame(
        path, d, {.flags = tcp_flags::kAck | tcp_flags::kPsh, .payload = as_bytes(text)}));
  };
  for (const Named& kind : all_encapsulations()) {
    if (kind.path.encapsulation.tunnel == Tunnel::gre_ethernet) continue;
    SCOPED_TRACE(kind.name);
    Path path = kind.path;
    path.server.port = 8026;
    FlowEnds ends{path.client.address, path.server.address, path.client.port, 8026};
    for (const VlanTag& tag : path.encapsulation.tags) ends.vlan[ends.vlan_count++] = tag.vid;
    ends.pppoe_session = path.encapsulation.pppoe.value_or(0);
    EXPECT_EQ(decision(Side::outside, says(path, "HTTP/1.1 200 OK\r\n")), "not-mail");
    EXPECT_EQ(decision(Side::outside, says(path, "220")), "not-mail");
    EXPECT_EQ(decision(Side::outside, says(path, "2200 x")), "not-mail");
    EXPECT_EQ(decision(Side::outside, says(path, "220 mx.test ESMTP\r\n")), "greeting-to-socket");
    EXPECT_EQ(decision(Side::inside, says(path, "EHLO a\r\n", Direction::to_server)),
              "steered-to-socket");
    EXPECT_EQ(decision(Side::outside, says(path, "250 hi\r\n")), "steered-to-socket");
    ASSERT_TRUE(wire_->unsteer_flow(ends));
    EXPECT_EQ(decision(Side::outside, says(path, "250 hi\r\n")), "not-mail");
    // Without a dataplane it is a flow as any other, whatever the failure policy.
    ASSERT_TRUE(wire_->set_failure_policy(FailurePolicy::closed));
    heartbeat_.stop(0);
    EXPECT_EQ(decision(Side::outside, says(path, "220-mx.test ESMTP\r\n")), "not-mail");
    EXPECT_EQ(decision(Side::outside, says(path, "250 hi\r\n")), "not-mail");
    ASSERT_TRUE(wire_->set_failure_policy(FailurePolicy::open));
    live();
    // Hints: what is steered is looked for as long as there is something.
    ASSERT_TRUE(wire_->settle_hints());
    EXPECT_EQ(decision(Side::outside, says(path, "220-mx.test ESMTP\r\n")), "greeting-to-socket");
    ASSERT_TRUE(wire_->settle_hints());
    EXPECT_EQ(decision(Side::outside, says(path, "250 hi\r\n")), "steered-to-socket");
    ASSERT_TRUE(wire_->forget_flow(ends));
  }
}

TEST_F(SteerTest, D02_FlowsDifferByTheirOrderedTags) {
  Path path;
  path.server.port = 8025;
  path.encapsulation.tags = {{10}, {20}};
  FlowEnds ends{path.client.address, path.server.address, path.client.port, 8025, {10, 20}, 2};
  ASSERT_TRUE(wire_->steer_flow(ends));
  EXPECT_EQ(decision(Side::inside, mail_frame(path)), "steered-to-socket");
  path.encapsulation.tags = {{20}, {10}};
  EXPECT_EQ(decision(Side::inside, mail_frame(path)), "not-mail");
  path.encapsulation.tags = {};
  EXPECT_EQ(decision(Side::inside, mail_frame(path)), "not-mail");
  ASSERT_TRUE(wire_->forget_flow(ends));
}

}  // namespace
}  // namespace sluice::xdp::test
