#include <gtest/gtest.h>

#include "dataplane/net/segment_builder.h"
#include "tests/unit/net/expect.h"
#include "tests/unit/support/packet_factory.h"

namespace sluice::net {
namespace {

using test::Encapsulation;
using test::Frame;
using test::Path;
using test::path_v6;
using Tunnel = Encapsulation::Tunnel;

struct NamedPath {
  std::string name;
  Path path;
};

std::vector<NamedPath> all_paths() {
  std::vector<NamedPath> paths;
  for (const bool v6 : {false, true}) {
    const Path plain = v6 ? path_v6() : Path{};
    const auto add = [&](const char* name, auto change) {
      Path path = plain;
      change(path.encapsulation);
      paths.push_back({std::string(name) + (v6 ? " IPv6" : " IPv4"), path});
    };
    add("plain", [](Encapsulation&) {});
    add("VLAN", [](Encapsulation& e) { e.tags = {{100, 0x8100, 3}}; });
    add("QinQ", [](Encapsulation& e) { e.tags = {{7, 0x88a8}, {8}}; });
    add("PPPoE", [](Encapsulation& e) { e.pppoe = 12; });
    add("PPPoE in QinQ, compressed", [](Encapsulation& e) {
      e.tags = {{7, 0x88a8}, {8}};
      e.pppoe = 12;
      e.pppoe_compressed = true;
    });
    add("MPLS", [](Encapsulation& e) { e.mpls = {16, 17}; });
    for (const bool outer_v6 : {false, true}) {
      for (const Tunnel tunnel : {Tunnel::gre, Tunnel::gre_ethernet, Tunnel::ip_in_ip}) {
        add("tunnel", [&](Encapsulation& e) {
          e.tunnel = tunnel;
          e.tunnel_v6 = outer_v6;
          e.tags = {{9}};
          e.pppoe = 5;
        });
      }
    }
  }
  return paths;
}

Frame client_frame(const Path& path, std::string_view payload) {
  return test::tcp_frame(
      path, Direction::to_server,
      {.sequence = 1, .options = test::timestamp_option(1, 2), .payload = as_bytes(payload)});
}

// What the end itself would have sent, by the tests' own builder.
Frame expected_frame(const Path& path, Direction d, const SegmentTemplate::Segment& s) {
  test::TcpSegment segment;
  segment.sequence = s.sequence;
  segment.acknowledgement = s.acknowledgement;
  segment.flags = s.flags;
  segment.window = s.window;
  if (s.has_timestamp)
    segment.options = test::timestamp_option(s.timestamp_value, s.timestamp_echo);
  segment.payload = s.payload;
  return test::tcp_frame(path, d, segment);
}

TEST(WireCases, E15_SegmentsAreThoseThatTheEndWouldSend) {
  for (const auto& [name, path] : all_paths()) {
    SCOPED_TRACE(name);
    const Frame original = test::padded(client_frame(path, "MAIL"));
    const Packet packet = parse(original, {});
    ASSERT_EQ(packet.kind, PacketKind::tcp);
    for (const bool timestamp : {false, true}) {
      for (const std::string_view payload : {"", "x", "550 5.7.1 refused\r\n"}) {
        SegmentTemplate::Segment s;
        s.sequence = 0xfffffff0;
        s.acknowledgement = 77;
        s.flags = tcp_flag::ack | tcp_flag::psh;
        s.window = 4000;
        s.has_timestamp = timestamp;
        s.timestamp_value = 5;
        s.timestamp_echo = 6;
        s.payload = as_bytes(payload);
        s.source_port = path.client.port;
        s.destination_port = path.server.port;
        const auto forth = SegmentTemplate::from_frame(original, packet, LinkType::ethernet);
        ASSERT_FALSE(forth.empty());
        std::vector<std::uint8_t> out(forth.size() + 32 + payload.size());
        std::size_t size = forth.build(s, out);
        EXPECT_EQ(Frame(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(size)),
                  expected_frame(path, Direction::to_server, s));

        const auto back = SegmentTemplate::reversed(original, packet, LinkType::ethernet);
        if (packet.mpls) {
          EXPECT_TRUE(back.empty());
          continue;
        }
        std::swap(s.source_port, s.destination_port);
        size = back.build(s, out);
        EXPECT_EQ(Frame(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(size)),
                  expected_frame(path, Direction::to_client, s));
      }
    }
  }
}

TEST(SegmentTemplate, GreChecksumIsRefreshedAndSequenceNumbersAreRefused) {
  Path path;
  path.encapsulation.tunnel = Tunnel::gre_all_fields;
  Frame frame = client_frame(path, "MAIL");
  EXPECT_TRUE(SegmentTemplate::from_frame(frame, parse(frame, {}), LinkType::ethernet).empty());
  // The same without the sequence number.
  const std::size_t gre = 34;
  frame[gre] = 0xa0;
  frame.erase(frame.begin() + gre + 12, frame.begin() + gre + 16);
  const auto t = SegmentTemplate::from_frame(frame, parse(frame, {}), LinkType::ethernet);
  ASSERT_FALSE(t.empty());
  std::vector<std::uint8_t> out(500);
  out.resize(t.build({.flags = tcp_flag::rst}, out));
  EXPECT_EQ(test::plain_checksum(Bytes(out).subspan(gre)), 0);
  EXPECT_EQ(parse(out, {}).kind, PacketKind::tcp);
  EXPECT_EQ(parse(out, {}).anomaly_count, 0);
}

TEST(SegmentTemplate, ExtensionHeadersAreLeftOut) {
  Path path = path_v6();
  path.first_extension = 60;
  path.extension_headers = {6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const Frame frame = client_frame(path, "MAIL");
  const auto t = SegmentTemplate::from_frame(frame, parse(frame, {}), LinkType::ethernet);
  SegmentTemplate::Segment s;
  s.source_port = path.client.port;
  s.destination_port = path.server.port;
  s.payload = as_bytes("text");
  std::vector<std::uint8_t> out(500);
  out.resize(t.build(s, out));
  path.first_extension = 6;
  path.extension_headers.clear();
  EXPECT_EQ(out, expected_frame(path, Direction::to_server, s));
}

TEST(SegmentTemplate, FromAFragmentOfTheFlow) {
  for (const Path& path : {Path{}, path_v6()}) {
    const Frame tcp =
        test::tcp_octets(path, Direction::to_server, {.payload = as_bytes("0123456789")});
    for (const Frame& f : test::fragment_frames(path, Direction::to_server, 6, tcp, 16, 3)) {
      const auto t = SegmentTemplate::from_frame(f, parse(f, {}), LinkType::ethernet);
      std::vector<std::uint8_t> out(500);
      out.resize(t.build({.payload = as_bytes("text")}, out));
      const Packet p = parse(out, {});
      EXPECT_EQ(p.kind, PacketKind::tcp);
      EXPECT_EQ(p.anomaly_count, 0) << anomaly_names(p);
      EXPECT_EQ(payload_text(out, p), "text");
    }
  }
}

TEST(SegmentTemplate, RawIpLinksHaveNoMacAddressesToExchange) {
  Frame frame = client_frame(Path{}, "MAIL");
  frame.erase(frame.begin(), frame.begin() + 14);
  const auto t =
      SegmentTemplate::reversed(frame, parse(frame, {.link = LinkType::raw_ip}), LinkType::raw_ip);
  std::vector<std::uint8_t> out(100);
  out.resize(t.build({.source_port = 25}, out));
  const Packet p = parse(out, {.link = LinkType::raw_ip});
  EXPECT_EQ(p.kind, PacketKind::tcp);
  EXPECT_EQ(p.anomaly_count, 0);
  EXPECT_EQ(p.source, Path{}.server.address);
}

TEST(SegmentTemplate, NothingIsWrittenWhereItDoesNotFit) {
  EXPECT_EQ(SegmentTemplate().build({}, {}), 0u);
  const Frame frame = client_frame({}, "MAIL");
  const auto t = SegmentTemplate::from_frame(frame, parse(frame, {}), LinkType::ethernet);
  EXPECT_EQ(t.size(), 34u);
  std::vector<std::uint8_t> out(54);
  EXPECT_EQ(t.build({}, out), 54u);
  EXPECT_EQ(t.build({}, MutableBytes(out).first(53)), 0u);
  EXPECT_EQ(t.build({.has_timestamp = true}, out), 0u);
  EXPECT_EQ(t.build({.payload = as_bytes("x")}, out), 0u);
  const std::vector<std::uint8_t> large(65'535);
  std::vector<std::uint8_t> room(70'000);
  EXPECT_EQ(t.build({.payload = large}, room), 0u);
}

TEST(SegmentTemplate, NotFromFramesThatSayNothingOfAFlow) {
  const Frame arp(60, 1);
  EXPECT_TRUE(SegmentTemplate::from_frame(arp, parse(arp, {}), LinkType::ethernet).empty());
  const Frame frame = client_frame({}, "MAIL");
  EXPECT_TRUE(
      SegmentTemplate::from_frame(Bytes(frame).first(30), parse(frame, {}), LinkType::ethernet)
          .empty());
  // More in front of TCP than 128 octets.
  Path deep = path_v6();
  deep.encapsulation.tags = {{1}, {2}, {3}};
  deep.encapsulation.mpls.assign(16, 5);
  deep.encapsulation.tunnel_v6 = true;
  deep.encapsulation.tunnel = Tunnel::ip_in_ip;
  const Frame far = client_frame(deep, "MAIL");
  const Packet p = parse(far, {});
  ASSERT_EQ(p.kind, PacketKind::tcp);
  EXPECT_TRUE(SegmentTemplate::from_frame(far, p, LinkType::ethernet).empty());
}

TEST(TrimPayload, TheRestIsAWholeFrameOfItsOwn) {
  const std::string_view text = "the end of a message\r\n.\r\nQUIT\r\n";
  for (const auto& [name, path] : all_paths()) {
    SCOPED_TRACE(name);
    for (const std::size_t keep :
         {std::size_t{0}, std::size_t{1}, std::size_t{7}, text.size() - 1}) {
      Frame frame = test::padded(client_frame(path, text), 300);
      frame.resize(trim_payload(frame, parse(frame, {}), keep));
      EXPECT_EQ(frame, client_frame(path, text.substr(0, keep)));
    }
    Frame whole = test::padded(client_frame(path, text), 300);
    const Frame before = whole;
    EXPECT_EQ(trim_payload(whole, parse(whole, {}), text.size()), before.size());
    EXPECT_EQ(whole, before);
  }
}

TEST(TrimPayload, AFinGoesWithTheOctetsBeforeIt) {
  Frame frame =
      test::tcp_frame({}, Direction::to_server,
                      {.flags = tcp_flag::fin | tcp_flag::ack, .payload = as_bytes("abcdef")});
  frame.resize(trim_payload(frame, parse(frame, {}), 3));
  EXPECT_EQ(frame, test::tcp_frame({}, Direction::to_server,
                                   {.flags = tcp_flag::ack, .payload = as_bytes("abc")}));
}

TEST(RefreshChecksum, AfterPayloadWasOverwritten) {
  for (const auto& [name, path] : all_paths()) {
    SCOPED_TRACE(name);
    Frame frame = test::padded(client_frame(path, "EVIL text"), 300);
    const Packet packet = parse(frame, {});
    std::copy_n("GOOD", 4, frame.begin() + packet.payload_offset);
    EXPECT_TRUE(parse(frame, {}).checksum_bad);
    refresh_checksum(frame, packet);
    EXPECT_EQ(frame, test::padded(client_frame(path, "GOOD text"), 300));
  }
}

TEST(RefreshChecksum, FramesThatAreNotTcpStayAsTheyAre) {
  Frame frame(60, 7);
  const Frame before = frame;
  refresh_checksum(frame, parse(frame, {}));
  EXPECT_EQ(trim_payload(frame, parse(frame, {}), 0), 60u);
  EXPECT_EQ(frame, before);
}

}  // namespace
}  // namespace sluice::net
