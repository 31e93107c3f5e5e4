// IP and TCP headers: lengths, extension headers, fragments, checksums, options.
#include <gtest/gtest.h>

#include "dataplane/net/community_id.h"
#include "dataplane/net/packet.h"
#include "tests/unit/net/expect.h"
#include "tests/unit/support/packet_factory.h"

namespace sluice::net {
namespace {

using test::Frame;
using test::Path;
using test::path_v6;

constexpr std::size_t kIp = 14;  // where IP begins in an untagged frame

Frame frame_of(const Path& path, std::string_view payload, Frame options = {}) {
  test::TcpSegment s;
  s.sequence = 100;
  s.options = std::move(options);
  s.payload = as_bytes(payload);
  return test::tcp_frame(path, Direction::to_server, s);
}

Frame extension(std::uint8_t next, std::size_t size = 8) {
  Frame header(size, 0);
  header[0] = next;
  header[1] = static_cast<std::uint8_t>(size / 8 - 1);
  header[2] = 1;  // PadN
  header[3] = static_cast<std::uint8_t>(size - 4);
  return header;
}

Path behind(std::uint8_t first, const Frame& chain) {
  Path path = path_v6();
  path.first_extension = first;
  path.extension_headers = chain;
  return path;
}

TEST(WireCases, C21_PaddingIsNeverPayload) {
  Frame two = test::padded(frame_of({}, "hi"));
  ASSERT_EQ(two.size(), 60u);
  Packet p = parse(two, {});
  EXPECT_EQ(payload_text(two, p), "hi");
  EXPECT_EQ(p.anomaly_count, 0);
  const Frame ack = test::padded(frame_of({}, ""));
  p = parse(ack, {});
  EXPECT_EQ(p.payload_size, 0);
  EXPECT_FALSE(p.checksum_bad);
  const Frame v6 = test::padded(frame_of(path_v6(), "hi"), 100);
  EXPECT_EQ(payload_text(v6, parse(v6, {})), "hi");
}

TEST(WireCases, C21_LengthZeroTakesTheFrameLength) {
  const std::string text(3000, 'x');
  Frame frame = frame_of({}, text);
  test::store_be16_at(frame, kIp + 2, 0);
  Packet p = parse(frame, {});
  EXPECT_EQ(p.kind, PacketKind::tcp);
  EXPECT_EQ(payload_text(frame, p), text);
  EXPECT_EQ(anomaly_names(p), "bad-ip-length bad-ip-checksum");
  frame[kIp + 10] = frame[kIp + 11] = 0;
  store_be16(&frame[kIp + 10], test::plain_checksum(Bytes(frame).subspan(kIp, 20)));
  p = parse(frame, {});
  EXPECT_FALSE(p.checksum_bad);
  EXPECT_EQ(anomaly_names(p), "bad-ip-length");

  frame = frame_of(path_v6(), text);
  test::store_be16_at(frame, kIp + 4, 0);
  p = parse(frame, {});
  EXPECT_EQ(payload_text(frame, p), text);
  EXPECT_FALSE(p.checksum_bad);
  EXPECT_EQ(anomaly_names(p), "bad-ip-length");
}

// No receiver takes a packet that was cut, even where a checksum over what is there is right.
TEST(WireCases, C21_LengthBeyondTheFrameIsNotForTheStream) {
  for (const Path& path : {Path{}, path_v6()}) {
    const Frame whole = frame_of(path, "innocent octets, then more");
    Frame cut(whole.begin(), whole.end() - 5);
    Packet p = parse(cut, {});
    EXPECT_EQ(p.kind, PacketKind::tcp);
    EXPECT_TRUE(p.checksum_bad);
    EXPECT_EQ(anomaly_names(p), "bad-ip-length");
    // A capture with short frames is read with the check off: what is there is used.
    p = parse(cut, {.verify_checksums = false});
    EXPECT_FALSE(p.checksum_bad);
    EXPECT_EQ(payload_text(cut, p), "innocent octets, then");
  }
}

// Nor is it anybody's fault that a capture has only the beginning of a frame.
TEST(PacketIp, CapturedInPart) {
  for (const Path& path : {Path{}, path_v6()}) {
    const Frame whole = frame_of(path, "innocent octets, then more");
    const Packet all = parse(whole, {});
    for (std::size_t size = 0; size <= whole.size(); ++size) {
      const Frame cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      const Packet p = parse(cut, {.cut = size < whole.size()});
      EXPECT_EQ(anomaly_names(p), "") << size;
      EXPECT_FALSE(p.checksum_bad) << size;
      EXPECT_LE(std::size_t{p.payload_offset} + p.payload_size, size);
      if (size < std::size_t{all.transport_offset} + 20) {
        EXPECT_EQ(p.kind, PacketKind::other) << size;
        continue;
      }
      EXPECT_EQ(p.kind, PacketKind::tcp) << size;
      EXPECT_EQ(p.sequence, all.sequence);
      EXPECT_EQ(p.payload_size, size < all.payload_offset ? 0 : size - all.payload_offset);
    }
  }
  // Where its FIN stands is not seen, nor where a fragment ends.
  test::TcpSegment last;
  last.flags = tcp_flag::fin | tcp_flag::ack;
  last.payload = as_bytes("some octets");
  Frame fin = test::tcp_frame({}, Direction::to_server, last);
  EXPECT_EQ(parse(fin, {}).flags, last.flags);
  fin.pop_back();
  EXPECT_EQ(parse(fin, {.cut = true}).flags, tcp_flag::ack);
  // What is missing stands behind the packet in the tunnel, which is whole.
  const Path path;
  constexpr Direction kUp = Direction::to_server;
  Frame inner = test::ip_packet(path, kUp, 6, test::tcp_octets(path, kUp, last));
  inner.resize(inner.size() + 8);
  Frame tunnel = test::encapsulate(
      path, kUp, test::ipv4_packet(path.from(kUp).address, path.to(kUp).address, 4, inner));
  tunnel.resize(tunnel.size() - 8);
  EXPECT_EQ(parse(tunnel, {.cut = true}).flags, last.flags);
  Frame fragment = test::fragment_frame({}, Direction::to_server, 6, 0, Frame(32, 'x'), true, 7);
  EXPECT_EQ(parse(fragment, {}).kind, PacketKind::fragment);
  fragment.pop_back();
  EXPECT_EQ(parse(fragment, {.cut = true}).kind, PacketKind::other);
}

TEST(PacketIp, HeadersThatCannotBeRead) {
  Frame frame = frame_of({}, "x");
  frame[kIp] = 0x44;
  EXPECT_EQ(anomaly_names(parse(frame, {})), "truncated-frame");
  frame = frame_of({}, "x");
  frame[kIp] = 0x65;
  EXPECT_EQ(parse(frame, {}).kind, PacketKind::other);
  frame = frame_of({}, "x");
  test::store_be16_at(frame, kIp + 2, 19);
  EXPECT_EQ(anomaly_names(parse(frame, {})), "truncated-frame");
  frame = frame_of({}, "");
  frame[kIp] = 0x4f;  // 60 octets of header in 40
  EXPECT_EQ(anomaly_names(parse(frame, {})), "truncated-frame");
  EXPECT_EQ(parse({}, {}).kind, PacketKind::other);
  EXPECT_EQ(parse({}, {.link = LinkType::raw_ip}).kind, PacketKind::other);
}

TEST(PacketIp, Ipv4OptionsAreSteppedOver) {
  const Path path;
  const Frame tcp = test::tcp_octets(path, Direction::to_server, {.payload = as_bytes("opt")});
  Frame ip = test::ipv4_packet(path.client.address, path.server.address, 6, tcp);
  const Frame options = {0x94, 4, 0, 0};  // router alert
  ip.insert(ip.begin() + 20, options.begin(), options.end());
  ip[0] = 0x46;
  store_be16(&ip[2], static_cast<std::uint16_t>(ip.size()));
  ip[10] = ip[11] = 0;
  store_be16(&ip[10], test::plain_checksum(Bytes(ip).first(24)));
  const Frame frame = test::encapsulate(path, Direction::to_server, ip);
  const Packet p = parse(frame, {});
  EXPECT_EQ(payload_text(frame, p), "opt");
  EXPECT_FALSE(p.checksum_bad);
}

TEST(WireCases, C23_TcpBehindKnownExtensionHeaders) {
  Frame chain = extension(60, 16);
  for (int i = 0; i < 7; ++i) test::append(chain, extension(60));
  test::append(chain, extension(6, 24));
  Path path = behind(0, chain);
  Frame frame = frame_of(path, "found");
  Packet p = parse(frame, {});
  EXPECT_EQ(p.kind, PacketKind::tcp);
  EXPECT_EQ(payload_text(frame, p), "found");
  EXPECT_FALSE(p.checksum_bad);
  EXPECT_EQ(p.anomaly_count, 0) << anomaly_names(p);

  Frame authentication(24, 0x5a);  // AH counts 4-octet units, less 2
  authentication[0] = 6;
  authentication[1] = 4;
  path = behind(51, authentication);
  frame = frame_of(path, "found");
  p = parse(frame, {});
  EXPECT_EQ(payload_text(frame, p), "found");
  EXPECT_FALSE(p.checksum_bad);
}

TEST(WireCases, C23_AuthenticationHeaderInIpv4) {
  const Path path;
  Frame body(24, 0x5a);
  body[0] = 6;
  body[1] = 4;
  test::append(body, test::tcp_octets(path, Direction::to_server, {.payload = as_bytes("ah")}));
  const Frame frame =
      test::encapsulate(path, Direction::to_server,
                        test::ipv4_packet(path.client.address, path.server.address, 51, body));
  const Packet p = parse(frame, {});
  EXPECT_EQ(payload_text(frame, p), "ah");
  EXPECT_FALSE(p.checksum_bad);
}

// RFC 8754: with segments left, the IPv6 destination is the next stop; the connection's end, and
// the checksum's, is the first address of the list.
TEST(WireCases, C23_RoutingHeaderNamesTheFinalDestination) {
  for (const std::uint8_t type : {std::uint8_t{0}, std::uint8_t{2}, std::uint8_t{4}}) {
    for (const bool left : {false, true}) {
      Frame routing(24, 0);
      routing[0] = 6;
      routing[1] = 2;
      routing[2] = type;
      routing[3] = left ? 1 : 0;
      const Path path = behind(43, routing);
      Frame frame = frame_of(path, "routed");
      std::copy_n(path.server.address.octets.begin(), 16, frame.begin() + kIp + 48);
      if (left) std::copy_n(test::v6(0x77).octets.begin(), 16, frame.begin() + kIp + 24);
      const Packet p = parse(frame, {});
      EXPECT_EQ(payload_text(frame, p), "routed");
      EXPECT_FALSE(p.checksum_bad) << int{type} << left;
      EXPECT_EQ(p.destination, path.server.address);
    }
  }
}

TEST(PacketIp, HomeAddressOptionIsTheSource) {
  Frame options(24, 0);
  options[0] = 6;
  options[1] = 2;
  options[2] = 1;  // PadN of 2 + 2
  options[3] = 2;
  options[6] = 0xc9;
  options[7] = 16;
  const Path path = behind(60, options);
  Frame frame = frame_of(path, "mobile");
  std::copy_n(path.client.address.octets.begin(), 16, frame.begin() + kIp + 48);
  std::copy_n(test::v6(0x99).octets.begin(), 16, frame.begin() + kIp + 8);
  const Packet p = parse(frame, {});
  EXPECT_EQ(p.source, path.client.address);
  EXPECT_FALSE(p.checksum_bad);
}

TEST(WireCases, C23_ChainsAreCappedAndUnknownHeadersNoted) {
  Frame chain;
  for (int i = 0; i < 15; ++i) test::append(chain, extension(60));
  test::append(chain, extension(6));
  EXPECT_EQ(parse(frame_of(behind(60, chain), "x"), {}).kind, PacketKind::tcp);
  chain.clear();
  for (int i = 0; i < 16; ++i) test::append(chain, extension(60));
  test::append(chain, extension(6));
  Packet p = parse(frame_of(behind(60, chain), "x"), {});
  EXPECT_EQ(p.kind, PacketKind::other);
  EXPECT_EQ(anomaly_names(p), "extension-chain");

  p = parse(frame_of(behind(253, extension(6)), "x"), {});
  EXPECT_EQ(p.kind, PacketKind::other);
  EXPECT_EQ(anomaly_names(p), "extension-chain");

  p = parse(frame_of(behind(60, Frame{6, 200, 0, 0, 0, 0, 0, 0}), "x"), {});
  EXPECT_EQ(p.kind, PacketKind::other);
  EXPECT_EQ(anomaly_names(p), "truncated-frame");
}

TEST(PacketIp, OtherProtocolsAreOtherWithoutAnomaly) {
  for (const unsigned protocol : {17u, 58u, 59u, 50u, 132u, 89u}) {
    const Packet p =
        parse(frame_of(behind(static_cast<std::uint8_t>(protocol), extension(0)), "x"), {});
    EXPECT_EQ(p.kind, PacketKind::other);
    EXPECT_EQ(p.anomaly_count, 0) << protocol;
  }
  const Frame udp = test::encapsulate(
      Path{}, Direction::to_server,
      test::ipv4_packet(test::v4(1, 1, 1, 1), test::v4(2, 2, 2, 2), 17, Frame(20, 1)));
  EXPECT_EQ(parse(udp, {}).kind, PacketKind::other);
  EXPECT_EQ(parse(udp, {}).anomaly_count, 0);
}

TEST(PacketIp, JumbogramsAreOther) {
  Frame hop_by_hop = {6, 0, 0xc2, 4, 0, 1, 0, 0};
  Frame frame = frame_of(behind(0, hop_by_hop), "jumbo");
  test::store_be16_at(frame, kIp + 4, 0);
  EXPECT_EQ(parse(frame, {}).kind, PacketKind::other);
}

TEST(WireCases, C23_AtomicFragmentsAreParsedThrough) {
  Frame fragment = {6, 0, 0, 0, 1, 2, 3, 4};
  Frame frame = frame_of(behind(44, fragment), "atomic");
  Packet p = parse(frame, {});
  EXPECT_EQ(p.kind, PacketKind::tcp);
  EXPECT_EQ(payload_text(frame, p), "atomic");
  EXPECT_FALSE(p.checksum_bad);
  fragment[3] = 0x06;  // reserved bits do not matter
  EXPECT_EQ(parse(frame_of(behind(44, fragment), "atomic"), {}).kind, PacketKind::tcp);
}

TEST(WireCases, C22_FragmentsAreFragmentsTheFirstOneToo) {
  for (Path path : {Path{}, path_v6()}) {
    path.encapsulation.tags = {{8}};
    const Frame tcp =
        test::tcp_octets(path, Direction::to_server, {.payload = as_bytes("0123456789")});
    const auto frames = test::fragment_frames(path, Direction::to_server, 6, tcp, 24, 0xbeef);
    ASSERT_EQ(frames.size(), 2u);
    for (std::size_t i = 0; i < 2; ++i) {
      const Frame frame = test::padded(frames[i], 120);
      const Packet p = parse(frame, {});
      EXPECT_EQ(p.kind, PacketKind::fragment);
      EXPECT_EQ(p.fragment_id, 0xbeefu);
      EXPECT_EQ(p.fragment_offset, i * 24);
      EXPECT_EQ(p.more_fragments, i == 0);
      EXPECT_EQ(payload_text(frame, p), as_text(Bytes(tcp).subspan(i * 24, i == 0 ? 24 : 6)));
      EXPECT_EQ(p.protocol, 6);
      EXPECT_EQ(p.source, path.client.address);
      EXPECT_EQ(p.vlan_count, 1);
      EXPECT_EQ(p.anomaly_count, 0);
    }
  }
  // What can never turn out to be TCP is nothing for the defragmenter.
  const Frame udp =
      test::fragment_frame(Path{}, Direction::to_server, 17, 0, Frame(16, 1), true, 1);
  EXPECT_EQ(parse(udp, {}).kind, PacketKind::other);
}

TEST(WireCases, C24_WrongChecksums) {
  for (const Path& path : {Path{}, path_v6()}) {
    const Frame good = frame_of(path, "signature");
    EXPECT_FALSE(parse(good, {}).checksum_bad);
    for (std::size_t at = good.size() - 29; at < good.size(); ++at) {
      if (at == good.size() - 17 || at == good.size() - 29) continue;  // data offset; port
      Frame bad = good;
      bad[at] ^= 0x40;
      const Packet p = parse(bad, {});
      EXPECT_EQ(p.kind, PacketKind::tcp);
      EXPECT_TRUE(p.checksum_bad) << at;
      EXPECT_EQ(anomaly_names(p), "bad-tcp-checksum");
      EXPECT_FALSE(parse(bad, {.verify_checksums = false}).checksum_bad);
    }
  }
  Frame bad = frame_of({}, "signature");
  bad[kIp + 8] ^= 1;  // TTL, in the IPv4 checksum alone
  const Packet p = parse(bad, {});
  EXPECT_TRUE(p.checksum_bad);
  EXPECT_EQ(anomaly_names(p), "bad-ip-checksum");
  EXPECT_EQ(parse(bad, {.verify_checksums = false}).anomaly_count, 0);
}

TEST(PacketTcp, HeadersThatCannotBeRead) {
  const std::size_t offset = kIp + 20 + 12;
  for (const unsigned words : {0u, 4u, 6u, 15u}) {
    Frame frame = frame_of({}, "");
    frame[offset] = static_cast<std::uint8_t>(words << 4);
    const Packet p = parse(frame, {});
    EXPECT_EQ(p.kind, PacketKind::other) << words;
    EXPECT_EQ(anomaly_names(p), "bad-tcp-header");
  }
  // Shorter than 20 octets by the IP length, though the frame goes on.
  const Path path;
  const Frame frame = test::padded(test::encapsulate(
      path, Direction::to_server,
      test::ipv4_packet(path.client.address, path.server.address, 6, Frame(19, 0x55))));
  EXPECT_EQ(parse(frame, {}).kind, PacketKind::other);
  EXPECT_EQ(anomaly_names(parse(frame, {})), "bad-tcp-header");
}

TEST(PacketTcp, Options) {
  Frame options = test::mss_option(1440);
  test::append(options, Frame{1, 3, 3, 7, 4, 2});
  test::append(options, test::timestamp_option(0x11223344, 0x55667788));
  Packet p = parse(frame_of({}, "x", options), {});
  EXPECT_EQ(p.mss, 1440);
  EXPECT_EQ(p.window_scale, 7);
  EXPECT_TRUE(p.sack_permitted);
  EXPECT_TRUE(p.has_timestamp);
  EXPECT_EQ(p.timestamp_value, 0x11223344u);
  EXPECT_EQ(p.timestamp_echo, 0x55667788u);
  EXPECT_FALSE(p.has_signature);
  EXPECT_EQ(p.anomaly_count, 0);

  p = parse(frame_of({}, "x", test::timestamp_option(7, 9)), {});
  EXPECT_TRUE(p.has_timestamp);
  EXPECT_EQ(p.timestamp_value, 7u);
  EXPECT_EQ(p.timestamp_echo, 9u);

  p = parse(frame_of({}, "x"), {});
  EXPECT_FALSE(p.has_timestamp || p.sack_permitted || p.has_signature);
  EXPECT_EQ(p.window_scale, 0xff);
  EXPECT_EQ(p.mss, 0);

  p = parse(frame_of({}, "x", {3, 3, 200, 0}), {});
  EXPECT_EQ(p.window_scale, 14);  // RFC 7323 2.3
}

TEST(WireCases, C04_SignatureOptions) {
  for (const std::uint8_t kind : {std::uint8_t{19}, std::uint8_t{29}}) {
    Frame options(18, 0xab);
    options[0] = kind;
    options[1] = 18;
    EXPECT_TRUE(parse(frame_of({}, "x", options), {}).has_signature);
  }
}

TEST(PacketTcp, MalformedOptionsAreNotedAndTheSegmentKept) {
  const Frame malformed[] = {
      {8, 0, 0, 0}, {2, 1, 0, 0}, {8, 10, 0, 0}, {1, 1, 1, 8}, {2, 40, 1, 1}};
  for (const Frame& options : malformed) {
    const Frame frame = frame_of({}, "kept", options);
    const Packet p = parse(frame, {});
    EXPECT_EQ(p.kind, PacketKind::tcp);
    EXPECT_EQ(payload_text(frame, p), "kept");
    EXPECT_EQ(anomaly_names(p), "bad-tcp-header");
    EXPECT_FALSE(p.has_timestamp);
  }
  // Of the wrong length, or behind the end of the list: ignored.
  Packet p = parse(frame_of({}, "x", {8, 4, 0, 0, 0, 2, 4, 9}), {});
  EXPECT_FALSE(p.has_timestamp);
  EXPECT_EQ(p.mss, 0);
  EXPECT_EQ(p.anomaly_count, 0);
}

// Reference values of the specification's own baselines (github.com/corelight/community-id-spec).
TEST(CommunityId, Baselines) {
  const auto link_local = [](std::initializer_list<std::uint8_t> tail) {
    Address a;
    a.octets[0] = 0xfe;
    a.octets[1] = 0x80;
    std::copy(tail.begin(), tail.end(), a.octets.begin() + 8);
    return a;
  };
  const auto id_of = [](const Address& from, const Address& to, std::uint16_t from_port,
                        std::uint16_t to_port, std::uint8_t protocol) {
    return std::string(community_id(from, to, from_port, to_port, protocol).view());
  };
  const Address a = test::v4(128, 232, 110, 120);
  const Address b = test::v4(66, 35, 250, 204);
  EXPECT_EQ(id_of(a, b, 34855, 80, 6), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
  EXPECT_EQ(id_of(b, a, 80, 34855, 6), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
  // Of the Zeek project's tests.
  EXPECT_EQ(id_of(test::v4(1, 2, 3, 4), test::v4(5, 6, 7, 8), 1122, 3344, 6),
            "1:wCb3OG7yAFWelaUydu0D+125CLM=");
  const Address c = test::v4(192, 168, 1, 52);
  EXPECT_EQ(id_of(c, test::v4(8, 8, 8, 8), 54585, 53, 17), "1:d/FP5EW3wiY1vCndhwleRRKHowQ=");
  const Address e = test::v4(192, 168, 0, 89);
  const Address f = test::v4(192, 168, 0, 1);
  EXPECT_EQ(id_of(e, f, 8, 0, 1), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=");
  EXPECT_EQ(id_of(f, e, 0, 0, 1), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=");
  const Address g = link_local({0x02, 0x00, 0x86, 0xff, 0xfe, 0x05, 0x80, 0xda});
  const Address h = link_local({0x02, 0x60, 0x97, 0xff, 0xfe, 0x07, 0x69, 0xea});
  EXPECT_EQ(id_of(g, h, 135, 0, 58), "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=");
  EXPECT_EQ(id_of(h, g, 136, 0, 58), "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=");
}

}  // namespace
}  // namespace sluice::net
