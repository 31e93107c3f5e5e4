// Builds frames for tests, octet by octet and independently of the parser under test: Ethernet,
// VLAN stacks, MPLS, PPPoE, IPv4, IPv6 with extension headers, GRE and IP-in-IP, TCP; with right
// checksums and lengths unless a test breaks them afterwards. Include packet_factory.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/address.h"
#include "dataplane/base/bytes.h"
#include "dataplane/base/direction.h"

namespace sluice::test {

using Frame = std::vector<std::uint8_t>;

// Not insert(), of which GCC 12 warns in error (array-bounds).
inline void append(Frame& to, Bytes octets) {
  const std::size_t at = to.size();
  to.resize(at + octets.size());
  std::copy(octets.begin(), octets.end(), to.data() + at);
}
inline void append8(Frame& to, unsigned v) { to.push_back(static_cast<std::uint8_t>(v)); }
inline void append16(Frame& to, unsigned v) {
  append8(to, (v >> 8) & 0xff);
  append8(to, v & 0xff);
}
inline void append32(Frame& to, std::uint32_t v) {
  append16(to, v >> 16);
  append16(to, v & 0xffff);
}

// Overwrites 16 bits of a frame, in network order.
inline void store_be16_at(Frame& frame, std::size_t at, std::uint16_t v) {
  store_be16(&frame.at(at + 1) - 1, v);
}

inline Address v4(unsigned a, unsigned b, unsigned c, unsigned d) {
  const std::uint8_t octets[4] = {static_cast<std::uint8_t>(a), static_cast<std::uint8_t>(b),
                                  static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(d)};
  return Address::from_v4(octets);
}
// 2001:db8::host (RFC 3849).
inline Address v6(unsigned host) {
  Address a;
  a.octets[0] = 0x20;
  a.octets[1] = 0x01;
  a.octets[2] = 0x0d;
  a.octets[3] = 0xb8;
  a.octets[14] = static_cast<std::uint8_t>(host >> 8);
  a.octets[15] = static_cast<std::uint8_t>(host & 0xff);
  return a;
}

// The Internet checksum, one octet pair at a time as RFC 1071 states it: slow, obviously right.
inline std::uint16_t plain_checksum(Bytes octets, std::uint32_t start = 0) {
  std::uint64_t sum = start;
  for (std::size_t i = 0; i < octets.size(); ++i)
    sum += static_cast<std::uint64_t>(octets[i]) << (i % 2 == 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum & 0xffff);
}

struct VlanTag {
  std::uint16_t vid = 1;
  std::uint16_t tpid = 0x8100;
  std::uint8_t priority = 0;  // PCP, 0..7
};

// What stands around the IP packet, outermost first in this order.
struct Encapsulation {
  enum class Tunnel : std::uint8_t { none, gre, gre_all_fields, gre_ethernet, ip_in_ip };
  std::vector<VlanTag> tags;
  std::vector<std::uint32_t> mpls;     // labels
  std::optional<std::uint16_t> pppoe;  // session
  bool pppoe_compressed = false;       // one-octet PPP protocol field (RFC 1661 6.5, PFC)
  Tunnel tunnel = Tunnel::none;
  bool tunnel_v6 = false;  // outer IP version of the tunnel
};

struct Endpoint {
  Address address;
  std::uint16_t port = 0;
};

// The two ends of a connection, and the road between them. Client frames go from MAC 02:..:01 to
// 02:..:02, server frames back.
struct Path {
  Endpoint client{v4(192, 0, 2, 10), 40000};
  Endpoint server{v4(198, 51, 100, 25), 25};
  Encapsulation encapsulation{};
  // Octets after the IPv6 header in front of TCP, a well-formed chain, and the type of its first
  // header; the chain's last next-header octet must be 6.
  Frame extension_headers{};
  std::uint8_t first_extension = 6;
  std::uint8_t ttl = 64;

  const Endpoint& from(Direction d) const { return d == Direction::to_server ? client : server; }
  const Endpoint& to(Direction d) const { return d == Direction::to_server ? server : client; }
  bool is_v4() const { return client.address.is_v4(); }
};

// A path over IPv6 with the same ports.
inline Path path_v6() {
  Path path;
  path.client.address = v6(10);
  path.server.address = v6(25);
  return path;
}

namespace tcp_flags {
inline constexpr std::uint8_t kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16, kUrg = 32;
}

struct TcpSegment {
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgement = 0;
  std::uint8_t flags = tcp_flags::kAck;
  std::uint16_t window = 0xffff;
  std::uint16_t urgent = 0;
  Frame options{};  // padded with end-of-list octets to a multiple of four
  Bytes payload{};
};

inline Frame timestamp_option(std::uint32_t value, std::uint32_t echo) {
  Frame o{1, 1, 8, 10};
  append32(o, value);
  append32(o, echo);
  return o;
}
inline Frame mss_option(std::uint16_t mss) {
  Frame o{2, 4};
  append16(o, mss);
  return o;
}

// Sum of the pseudo-header (RFC 9293 3.1, RFC 8200 8.1), not folded.
inline std::uint32_t pseudo_sum(const Address& source, const Address& destination,
                                unsigned protocol, std::size_t length) {
  const std::size_t from = source.is_v4() ? 12 : 0;
  std::uint32_t sum = protocol + static_cast<std::uint32_t>(length);
  for (const Address* a : {&source, &destination})
    for (std::size_t i = from; i < 16; i += 2)
      sum += static_cast<std::uint32_t>(a->octets[i] << 8 | a->octets[i + 1]);
  return sum;
}

// The TCP header, options and payload with the right checksum.
inline Frame tcp_octets(const Path& path, Direction direction, const TcpSegment& segment) {
  Frame options = segment.options;
  while (options.size() % 4 != 0) options.push_back(0);
  Frame tcp;
  append16(tcp, path.from(direction).port);
  append16(tcp, path.to(direction).port);
  append32(tcp, segment.sequence);
  append32(tcp, segment.acknowledgement);
  append8(tcp, static_cast<unsigned>((20 + options.size()) / 4 << 4));
  append8(tcp, segment.flags);
  append16(tcp, segment.window);
  append16(tcp, 0);
  append16(tcp, segment.urgent);
  append(tcp, options);
  append(tcp, segment.payload);
  const std::uint32_t pseudo =
      pseudo_sum(path.from(direction).address, path.to(direction).address, 6, tcp.size());
  store_be16(&tcp[16], plain_checksum(tcp, pseudo));
  return tcp;
}

// IPv4 `fragment_field` is flags and offset as on the wire (0x4000: don't fragment).
inline Frame ipv4_packet(const Address& source, const Address& destination, unsigned protocol,
                         Bytes payload, std::uint16_t id = 1, unsigned fragment_field = 0x4000,
                         std::uint8_t ttl = 64) {
  Frame ip{0x45, 0};
  append16(ip, static_cast<unsigned>(20 + payload.size()));
  append16(ip, id);
  append16(ip, fragment_field);
  append8(ip, ttl);
  append8(ip, protocol);
  append16(ip, 0);
  append(ip, {source.v4_octets(), 4});
  append(ip, {destination.v4_octets(), 4});
  store_be16(&ip[10], plain_checksum(ip));
  append(ip, payload);
  return ip;
}

inline Frame ipv6_packet(const Address& source, const Address& destination, unsigned next_header,
                         Bytes payload, std::uint8_t hop_limit = 64) {
  Frame ip{0x60, 0, 0, 0};
  append16(ip, static_cast<unsigned>(payload.size()));
  append8(ip, next_header);
  append8(ip, hop_limit);
  append(ip, source.octets);
  append(ip, destination.octets);
  append(ip, payload);
  return ip;
}

// An IP packet of the path's version, without its encapsulation.
inline Frame ip_packet(const Path& path, Direction direction, unsigned protocol, Bytes payload,
                       std::uint16_t id = 1) {
  const Address& source = path.from(direction).address;
  const Address& destination = path.to(direction).address;
  if (path.is_v4())
    return ipv4_packet(source, destination, protocol, payload, id, 0x4000, path.ttl);
  if (path.extension_headers.empty())
    return ipv6_packet(source, destination, protocol, payload, path.ttl);
  Frame chain = path.extension_headers;
  append(chain, payload);
  return ipv6_packet(source, destination, path.first_extension, chain, path.ttl);
}

// Ethernet, tags, labels, PPPoE and tunnel around an IP packet. Not padded to 60 octets.
inline Frame encapsulate(const Path& path, Direction direction, Bytes ip) {
  const Encapsulation& e = path.encapsulation;
  const bool inner_v4 = !ip.empty() && ip[0] >> 4 == 4;
  const bool up = direction == Direction::to_server;
  const auto mac = [](Frame& to, unsigned last) {
    append(to, Frame{2, 0, 0, 0, 0, static_cast<std::uint8_t>(last)});
  };
  Frame inner(ip.begin(), ip.end());
  bool is_v4 = inner_v4;
  if (e.tunnel != Encapsulation::Tunnel::none) {
    Frame body;
    unsigned protocol = 47;
    if (e.tunnel == Encapsulation::Tunnel::ip_in_ip) {
      protocol = inner_v4 ? 4 : 41;
    } else if (e.tunnel == Encapsulation::Tunnel::gre_all_fields) {
      append16(body, 0xb000);  // checksum, key, sequence number present (RFC 2784, 2890)
      append16(body, inner_v4 ? 0x0800 : 0x86dd);
      append32(body, 0);  // checksum and reserved, filled below
      append32(body, 0x11223344);
      append32(body, 7);
    } else if (e.tunnel == Encapsulation::Tunnel::gre_ethernet) {
      append16(body, 0);
      append16(body, 0x6558);
      mac(body, up ? 0x12 : 0x11);
      mac(body, up ? 0x11 : 0x12);
      append16(body, inner_v4 ? 0x0800 : 0x86dd);
    } else {
      append16(body, 0);
      append16(body, inner_v4 ? 0x0800 : 0x86dd);
    }
    append(body, inner);
    if (e.tunnel == Encapsulation::Tunnel::gre_all_fields)
      store_be16(&body[4], plain_checksum(body));
    const Address near = e.tunnel_v6 ? v6(0x101) : v4(203, 0, 113, 1);
    const Address far = e.tunnel_v6 ? v6(0x102) : v4(203, 0, 113, 2);
    const Address& source = up ? near : far;
    const Address& destination = up ? far : near;
    inner = e.tunnel_v6 ? ipv6_packet(source, destination, protocol, body)
                        : ipv4_packet(source, destination, protocol, body);
    is_v4 = !e.tunnel_v6;
  }
  Frame frame;
  mac(frame, up ? 2 : 1);
  mac(frame, up ? 1 : 2);
  for (const VlanTag& tag : e.tags) {
    append16(frame, tag.tpid);
    append16(frame, static_cast<unsigned>(tag.priority << 13 | (tag.vid & 0xfff)));
  }
  unsigned type = is_v4 ? 0x0800 : 0x86dd;
  if (!e.mpls.empty()) {
    type = 0x8847;
  } else if (e.pppoe) {
    type = 0x8864;
  }
  append16(frame, type);
  for (std::size_t i = 0; i < e.mpls.size(); ++i)
    append32(frame, e.mpls[i] << 12 | (i + 1 == e.mpls.size() ? 0x100u : 0u) | 64u);
  if (e.pppoe && e.mpls.empty()) {
    const unsigned ppp = is_v4 ? 0x21 : 0x57;
    append16(frame, 0x1100);
    append16(frame, *e.pppoe);
    append16(frame, static_cast<unsigned>(inner.size() + (e.pppoe_compressed ? 1 : 2)));
    if (e.pppoe_compressed)
      append8(frame, ppp);
    else
      append16(frame, ppp);
  }
  append(frame, inner);
  return frame;
}

inline Frame tcp_frame(const Path& path, Direction direction, const TcpSegment& segment) {
  return encapsulate(path, direction,
                     ip_packet(path, direction, 6, tcp_octets(path, direction, segment)));
}

// Octets added after the IP packet, as a switch pads a short frame; `filler` is not zero, so that
// a parser that takes padding for payload is found out.
inline Frame padded(Frame frame, std::size_t size = 60, std::uint8_t filler = 0xee) {
  if (frame.size() < size) frame.resize(size, filler);
  return frame;
}

// One fragment of an IP payload: octets [offset, offset + octets.size()), offset a multiple of 8.
inline Frame fragment_frame(const Path& path, Direction direction, unsigned protocol,
                            std::size_t offset, Bytes octets, bool more, std::uint32_t id) {
  const Address& source = path.from(direction).address;
  const Address& destination = path.to(direction).address;
  if (path.is_v4()) {
    const auto field = static_cast<unsigned>((more ? 0x2000u : 0u) | (offset / 8 & 0x1fff));
    return encapsulate(path, direction,
                       ipv4_packet(source, destination, protocol, octets,
                                   static_cast<std::uint16_t>(id), field, path.ttl));
  }
  Frame body;
  append8(body, protocol);
  append8(body, 0);
  append16(body, static_cast<unsigned>((offset & 0xfff8) | (more ? 1 : 0)));
  append32(body, id);
  append(body, octets);
  return encapsulate(path, direction, ipv6_packet(source, destination, 44, body, path.ttl));
}

// An IP payload in fragments of `size` octets (a multiple of 8), in order.
inline std::vector<Frame> fragment_frames(const Path& path, Direction direction, unsigned protocol,
                                          Bytes payload, std::size_t size, std::uint32_t id) {
  std::vector<Frame> frames;
  for (std::size_t at = 0; at < payload.size(); at += size) {
    const std::size_t n = std::min(size, payload.size() - at);
    frames.push_back(fragment_frame(path, direction, protocol, at, payload.subspan(at, n),
                                    at + n < payload.size(), id));
  }
  return frames;
}

}  // namespace sluice::test
