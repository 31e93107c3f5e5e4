// What is known of a frame: a header cursor over Ethernet, VLAN tags (802.1Q, 802.1ad, 9100 to
// 9300), MPLS, PPPoE, IPv4, IPv6 with extension headers, GRE and IP-in-IP, down to a TCP segment.
// It never changes and never refuses a frame: what it cannot read is `other` and is forwarded as it
// came.
//
// A Packet holds offsets into the frame, not pointers, so that a frame that is copied keeps its
// Packet. Octets beyond the IP length (Ethernet padding) are not part of the payload (case C21).
//
// Theory. The walk goes layer by layer (link, tags, labels, PPPoE, IP, tunnel, IP, ...); each layer
// checks that its header lies before `end`, names the next layer, and may only bring `end` nearer.
// Every loop has a bound: 3 tags, 16 labels, 16 extension headers, 2 tunnels. See README.md.
#pragma once

#include <cstdint>
#include <string>

#include "dataplane/base/address.h"
#include "dataplane/base/bytes.h"
#include "dataplane/contract/anomalies.h"

namespace sluice::net {

enum class PacketKind : std::uint8_t {
  other,     // not IP, or IP that is not TCP, or unreadable: forward
  tcp,       // a whole TCP header is present at transport_offset
  fragment,  // an IP fragment (also the first one): give it to the Defragmenter
};

namespace tcp_flag {
inline constexpr std::uint8_t fin = 0x01, syn = 0x02, rst = 0x04, psh = 0x08, ack = 0x10,
                              urg = 0x20, ece = 0x40, cwr = 0x80;
}

// What is followed; beyond it the frame is `other` with an anomaly.
inline constexpr std::size_t kMaxTags = 3;
inline constexpr std::size_t kMaxLabels = 16;
inline constexpr std::size_t kMaxExtensionHeaders = 16;
inline constexpr std::size_t kMaxTunnels = 2;

struct Packet {
  PacketKind kind = PacketKind::other;
  // Abnormal conditions found while parsing; at most these few, in the order found.
  std::uint8_t anomaly_count = 0;
  contract::Anomaly anomalies[4]{};

  std::uint8_t vlan_count = 0;  // 0..3
  std::uint16_t vlan[3]{};      // VLAN identifiers (12 bits), outermost first
  std::uint16_t pppoe_session = 0;
  bool pppoe = false;
  bool mpls = false;
  bool tunnel = false;  // addresses are those of an inner packet (GRE, IP-in-IP)

  // For those who write frames like this one (segment_builder.h), not for inspection.
  std::uint8_t outer_count = 0;               // IP headers in front of the innermost one
  std::uint16_t outer_offset[kMaxTunnels]{};  // of these headers, outermost first
  std::uint16_t gre_offset[kMaxTunnels]{};    // of the GRE header behind each; 0: IP-in-IP
  std::uint16_t pppoe_offset = 0;             // of the PPPoE header; meaningful when pppoe

  std::uint16_t network_offset = 0;    // of the innermost IP header
  std::uint16_t transport_offset = 0;  // of the TCP header, or of the fragment's octets
  std::uint16_t payload_offset = 0;    // of the TCP payload, or of the fragment's octets
  std::uint16_t payload_size = 0;      // without padding
  // Of the ends: where an IPv6 Routing or Home Address option says that the header's own address is
  // not that of the end (RFC 8200 8.1, RFC 8754 4.3, RFC 6275 6.3), the end's.
  Address source;
  Address destination;
  std::uint8_t protocol = 0;  // IP protocol of the innermost packet

  // kind == tcp
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgement = 0;
  std::uint8_t flags = 0;
  std::uint16_t window = 0;  // unscaled
  std::uint16_t urgent = 0;
  // Only when ParseOptions::verify_checksums: a checksum is wrong, or the IP length reaches beyond
  // the frame; either way the receiver discards it. Also of fragments (then of their IP header).
  bool checksum_bad = false;
  bool has_timestamp = false;
  bool has_signature = false;  // TCP-MD5 (19) or TCP-AO (29) option
  bool sack_permitted = false;
  std::uint8_t window_scale = 0xff;  // 0xff: no option
  std::uint16_t mss = 0;             // 0: no option
  std::uint32_t timestamp_value = 0;
  std::uint32_t timestamp_echo = 0;

  // kind == fragment
  std::uint32_t fragment_id = 0;
  std::uint16_t fragment_offset = 0;  // octets
  bool more_fragments = false;

  void note(contract::Anomaly a) {
    if (anomaly_count < 4) anomalies[anomaly_count++] = a;
  }
};

// What the frame's first octets are.
enum class LinkType : std::uint8_t { ethernet, raw_ip };

struct ParseOptions {
  bool verify_checksums = true;  // IPv4 header and TCP
  LinkType link = LinkType::ethernet;
  // A capture holds less of the frame than there was: that it ends early is not its fault. Of a
  // segment there is the beginning, unverified; a fragment is not taken.
  bool cut = false;
};

// Parses `frame` (any size; headers lie within the first 64 KiB). Pure; any thread.
Packet parse(Bytes frame, const ParseOptions& options);

// Parses a reassembled datagram: `datagram` starts at its IP header. Encapsulation fields are
// copied from `fragment`, the packet that completed it; offsets are those in `datagram`. The result
// may be a fragment again (a fragmented packet in a fragmented tunnel).
Packet parse_datagram(Bytes datagram, const Packet& fragment, const ParseOptions& options);

}  // namespace sluice::net
