// What stands in front of IP: tags, labels, PPPoE, tunnels, and frames that are none of our
// business.
#include <gtest/gtest.h>

#include "dataplane/net/packet.h"
#include "tests/unit/net/expect.h"
#include "tests/unit/support/packet_factory.h"

namespace sluice::net {
namespace {

using test::Encapsulation;
using test::Frame;
using test::Path;
using test::VlanTag;

constexpr std::string_view kText = "MAIL FROM:<a@x.test>\r\n";

Frame frame_of(const Path& path, std::string_view payload = kText) {
  test::TcpSegment s;
  s.sequence = 0x01020304;
  s.acknowledgement = 0x0a0b0c0d;
  s.flags = tcp_flag::ack | tcp_flag::psh;
  s.window = 501;
  s.payload = as_bytes(payload);
  return test::tcp_frame(path, Direction::to_server, s);
}

void expect_the_segment(const Frame& frame, const Packet& p, const Path& path) {
  ASSERT_EQ(p.kind, PacketKind::tcp);
  EXPECT_EQ(p.source, path.client.address);
  EXPECT_EQ(p.destination, path.server.address);
  EXPECT_EQ(p.source_port, path.client.port);
  EXPECT_EQ(p.destination_port, path.server.port);
  EXPECT_EQ(p.sequence, 0x01020304u);
  EXPECT_EQ(p.acknowledgement, 0x0a0b0c0du);
  EXPECT_EQ(p.flags, tcp_flag::ack | tcp_flag::psh);
  EXPECT_EQ(p.window, 501);
  EXPECT_EQ(p.protocol, 6);
  EXPECT_FALSE(p.checksum_bad);
  EXPECT_EQ(p.anomaly_count, 0) << anomaly_names(p);
  EXPECT_EQ(payload_text(frame, p), kText);
}

TEST(PacketLink, PlainIpv4AndIpv6) {
  for (const Path& path : {Path{}, test::path_v6()}) {
    const Frame frame = frame_of(path);
    const Packet p = parse(frame, {});
    expect_the_segment(frame, p, path);
    EXPECT_EQ(p.network_offset, 14);
    EXPECT_EQ(p.vlan_count, 0);
    EXPECT_FALSE(p.pppoe || p.mpls || p.tunnel);
  }
}

TEST(PacketLink, RawIpLinks) {
  for (const Path& path : {Path{}, test::path_v6()}) {
    Frame frame = frame_of(path);
    frame.erase(frame.begin(), frame.begin() + 14);
    const Packet p = parse(frame, {.link = LinkType::raw_ip});
    expect_the_segment(frame, p, path);
    EXPECT_EQ(p.network_offset, 0);
  }
}

TEST(WireCases, D02_TagsAreAnOrderedList) {
  const std::vector<std::vector<VlanTag>> stacks = {
      {{5, 0x8100}},
      {{7, 0x88a8}, {7, 0x8100}},
      {{10, 0x88a8}, {20, 0x8100}},
      {{20, 0x88a8}, {10, 0x8100}},
      {{1, 0x88a8}, {2, 0x8100}, {3, 0x8100}},
      {{100, 0x9100}, {4094, 0x8100, 7}},
      {{100, 0x9200}, {4094, 0x8100}},
      {{100, 0x9300}, {4094, 0x8100}},
      {{0, 0x8100, 5}},
      {{0, 0x8100, 5}, {9, 0x8100}},
  };
  for (const auto& tags : stacks) {
    for (Path path : {Path{}, test::path_v6()}) {
      path.encapsulation.tags = tags;
      const Frame frame = frame_of(path);
      const Packet p = parse(frame, {});
      expect_the_segment(frame, p, path);
      ASSERT_EQ(p.vlan_count, tags.size());
      for (std::size_t i = 0; i < tags.size(); ++i) EXPECT_EQ(p.vlan[i], tags[i].vid);
    }
  }
}

TEST(WireCases, D02_MoreTagsThanAreFollowedIsOtherAndNoted) {
  Path path;
  path.encapsulation.tags = {{1}, {2}, {3}, {4}};
  const Packet p = parse(frame_of(path), {});
  EXPECT_EQ(p.kind, PacketKind::other);
  EXPECT_EQ(anomaly_names(p), "encapsulation-depth");
}

TEST(WireCases, D03_PppoeInAnyStackOfTagsAndBothProtocolFieldForms) {
  for (const bool compressed : {false, true}) {
    for (std::size_t tags = 0; tags <= 2; ++tags) {
      for (Path path : {Path{}, test::path_v6()}) {
        path.encapsulation.tags.resize(tags, VlanTag{77, 0x88a8});
        path.encapsulation.pppoe = 0x0f07;
        path.encapsulation.pppoe_compressed = compressed;
        const Frame frame = frame_of(path);
        const Packet p = parse(frame, {});
        expect_the_segment(frame, p, path);
        EXPECT_TRUE(p.pppoe);
        EXPECT_EQ(p.pppoe_session, 0x0f07);
        EXPECT_EQ(p.vlan_count, tags);
      }
    }
  }
}

TEST(WireCases, D03_PppoePaddingIsNotPayload) {
  Path path;
  path.encapsulation.pppoe = 1;
  // IPv6 with the length absent shows that the PPPoE length bounds it.
  const Frame frame = test::padded(frame_of(path), 200);
  expect_the_segment(frame, parse(frame, {}), path);
  Frame without_length = frame;
  test::store_be16_at(without_length, 14 + 6 + 2 + 2, 0);
  const Packet p = parse(without_length, {.verify_checksums = false});
  EXPECT_EQ(payload_text(without_length, p), kText);
  EXPECT_EQ(anomaly_names(p), "bad-ip-length");
}

TEST(WireCases, D03_PppoeLengthBeyondTheFrameIsNotedAndFollowed) {
  Path path;
  path.encapsulation.pppoe = 1;
  Frame frame = frame_of(path);
  test::store_be16_at(frame, 14 + 4, 1400);
  const Packet p = parse(frame, {});
  EXPECT_EQ(p.kind, PacketKind::tcp);
  EXPECT_EQ(payload_text(frame, p), kText);
  EXPECT_EQ(anomaly_names(p), "pppoe-length");
}

TEST(WireCases, D03_PppoeControlAndDiscoveryAreOther) {
  for (const unsigned protocol : {0xc021u, 0x8021u, 0xc023u, 0xc223u, 0x8057u}) {
    Path path;
    path.encapsulation.pppoe = 1;
    Frame frame = frame_of(path);
    test::store_be16_at(frame, 20, static_cast<std::uint16_t>(protocol));
    const Packet p = parse(frame, {});
    EXPECT_EQ(p.kind, PacketKind::other) << protocol;
    EXPECT_EQ(p.anomaly_count, 0);
  }
  Path path;
  path.encapsulation.pppoe = 1;
  Frame discovery = frame_of(path);
  test::store_be16_at(discovery, 12, 0x8863);
  EXPECT_EQ(parse(discovery, {}).kind, PacketKind::other);
  Frame with_code = frame_of(path);
  with_code[15] = 0x09;
  EXPECT_EQ(parse(with_code, {}).kind, PacketKind::other);
}

TEST(PacketLink, MplsStacks) {
  for (std::size_t labels = 1; labels <= kMaxLabels + 1; ++labels) {
    for (Path path : {Path{}, test::path_v6()}) {
      path.encapsulation.tags = {{3}};
      for (std::size_t i = 0; i < labels; ++i)
        path.encapsulation.mpls.push_back(static_cast<std::uint32_t>(16 + i));
      const Frame frame = frame_of(path);
      const Packet p = parse(frame, {});
      if (labels > kMaxLabels) {
        EXPECT_EQ(p.kind, PacketKind::other);
        EXPECT_EQ(anomaly_names(p), "encapsulation-depth");
        continue;
      }
      expect_the_segment(frame, p, path);
      EXPECT_TRUE(p.mpls);
    }
  }
}

TEST(PacketLink, MplsPseudoWiresAreOther) {
  Path path;
  path.encapsulation.mpls = {16};
  const Frame ip = frame_of(path);
  const Frame label(ip.begin() + 14, ip.begin() + 18);
  Frame frame(ip.begin(), ip.begin() + 14);
  test::append(frame, label);
  Frame control_word = frame;
  test::append32(control_word, 0);  // RFC 4448: control word, then an Ethernet frame
  test::append(control_word, frame_of(Path{}));
  EXPECT_EQ(parse(control_word, {}).kind, PacketKind::other);
  // Without one, and a MAC address that begins like an IPv4 header.
  Frame inner = frame_of(Path{});
  inner[0] = 0x45;
  test::append(frame, inner);
  const Packet p = parse(frame, {});
  EXPECT_EQ(p.kind, PacketKind::other);
  EXPECT_EQ(p.anomaly_count, 0) << anomaly_names(p);
}

TEST(PacketLink, TunnelsGiveTheInnerAddresses) {
  using Tunnel = Encapsulation::Tunnel;
  for (const Tunnel tunnel :
       {Tunnel::gre, Tunnel::gre_all_fields, Tunnel::gre_ethernet, Tunnel::ip_in_ip}) {
    for (const bool outer_v6 : {false, true}) {
      for (Path path : {Path{}, test::path_v6()}) {
        path.encapsulation.tunnel = tunnel;
        path.encapsulation.tunnel_v6 = outer_v6;
        path.encapsulation.tags = {{12}};
        const Frame frame = test::padded(frame_of(path), 400);
        const Packet p = parse(frame, {});
        expect_the_segment(frame, p, path);
        EXPECT_TRUE(p.tunnel);
        EXPECT_EQ(p.outer_count, 1);
        EXPECT_EQ(p.outer_offset[0], 18);
      }
    }
  }
}

TEST(PacketLink, TunnelsBeyondTheCapAreOtherAndNoted) {
  for (std::size_t depth = 1; depth <= 6; ++depth) {
    const Frame plain = frame_of(Path{});
    Frame ip(plain.begin() + 14, plain.end());
    for (std::size_t i = 0; i < depth; ++i)
      ip = test::ipv4_packet(test::v4(10, 0, 0, 1), test::v4(10, 0, 0, 2), 4, ip);
    const Packet p = parse(test::encapsulate(Path{}, Direction::to_server, ip), {});
    if (depth <= kMaxTunnels) {
      EXPECT_EQ(p.kind, PacketKind::tcp);
      EXPECT_EQ(p.outer_count, depth);
    } else {
      EXPECT_EQ(p.kind, PacketKind::other);
      EXPECT_EQ(anomaly_names(p), "encapsulation-depth");
    }
  }
}

TEST(PacketLink, GreOfOtherKindsIsOther) {
  Path path;
  path.encapsulation.tunnel = Encapsulation::Tunnel::gre;
  const Frame good = frame_of(path);
  const std::size_t gre = 14 + 20;
  for (const unsigned flags : {0x0001u, 0x3081u, 0x4000u, 0xc000u}) {
    Frame frame = good;
    test::store_be16_at(frame, gre, static_cast<std::uint16_t>(flags));
    EXPECT_EQ(parse(frame, {}).kind, PacketKind::other) << flags;
  }
  Frame frame = good;
  test::store_be16_at(frame, gre + 2, 0x880b);
  EXPECT_EQ(parse(frame, {}).kind, PacketKind::other);
}

TEST(WireCases, D11_LinkLayerControlIsOtherWithoutAnomaly) {
  const std::uint16_t types[] = {0x0806, 0x88cc, 0x8809, 0x888e, 0x8902, 0x88e5, 0x8863, 0x88e7,
                                 0x9000, 0x22f0, 0x8808, 0x0600, 0x05dc, 0x0026, 0};
  for (const std::uint16_t type : types) {
    for (const unsigned tags : {0u, 2u}) {
      Path path;
      path.encapsulation.tags.resize(tags);
      Frame frame = frame_of(path);
      test::store_be16_at(frame, 12 + tags * 4, type);
      const Packet p = parse(frame, {});
      EXPECT_EQ(p.kind, PacketKind::other) << type;
      EXPECT_EQ(p.anomaly_count, 0) << type;
    }
  }
  // SNAP with an IPv4 type is still an 802.3 frame.
  const Frame plain = frame_of(Path{});
  Frame snap(plain.begin(), plain.begin() + 12);
  test::append16(snap, 200);
  test::append(snap, Frame{0xaa, 0xaa, 3, 0, 0, 0, 8, 0});
  test::append(snap, Bytes(plain).subspan(14));
  EXPECT_EQ(parse(snap, {}).kind, PacketKind::other);
}

// Every prefix of every kind of frame: nothing is read beyond it (under ASan: each is a heap block
// of its own size), and no segment is found that is not whole.
TEST(PacketLink, EveryPrefixOfEveryKindIsReadWithinItsBounds) {
  std::vector<Path> paths = {Path{}, test::path_v6()};
  Path everything;
  everything.encapsulation.tags = {{1}, {2}, {3}};
  everything.encapsulation.pppoe = 9;
  everything.encapsulation.tunnel = Encapsulation::Tunnel::gre_ethernet;
  paths.push_back(everything);
  everything.encapsulation.mpls = {17, 18};
  everything.encapsulation.tunnel_v6 = true;
  everything.encapsulation.tunnel = Encapsulation::Tunnel::gre_all_fields;
  paths.push_back(everything);
  for (const Path& path : paths) {
    const Frame whole = frame_of(path);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const std::vector<std::uint8_t> prefix(whole.begin(),
                                             whole.begin() + static_cast<std::ptrdiff_t>(size));
      const Packet p = parse(prefix, {});
      EXPECT_LE(std::size_t{p.payload_offset} + p.payload_size, size);
      if (p.kind == PacketKind::tcp) {
        EXPECT_TRUE(p.checksum_bad) << size;
      }
    }
  }
}

}  // namespace
}  // namespace sluice::net
