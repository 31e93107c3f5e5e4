// Numbers of the protocols below TCP (IEEE and IANA registries) and the few rules about them that
// the parser, the segment builder and the defragmenter share. Internal to this folder.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dataplane/base/address.h"
#include "dataplane/base/bytes.h"
#include "dataplane/base/checksum.h"

namespace sluice::net {

inline constexpr std::size_t kEthernetHeader = 14;
inline constexpr std::size_t kIpv4Header = 20;  // without options
inline constexpr std::size_t kIpv6Header = 40;
inline constexpr std::size_t kTcpHeader = 20;  // without options
inline constexpr std::size_t kPppoeHeader = 6;

namespace ether_type {
inline constexpr std::uint16_t ipv4 = 0x0800, bridged_ethernet = 0x6558, vlan = 0x8100,
                               ipv6 = 0x86dd, mpls_unicast = 0x8847, mpls_multicast = 0x8848,
                               pppoe_session = 0x8864, service_vlan = 0x88a8;
// Outer tags of before 802.1ad.
inline constexpr std::uint16_t qinq1 = 0x9100, qinq2 = 0x9200, qinq3 = 0x9300;
}  // namespace ether_type

namespace ip_protocol {
inline constexpr std::uint8_t hop_by_hop = 0, ipv4 = 4, tcp = 6, ipv6 = 41, routing = 43,
                              fragment = 44, gre = 47, authentication = 51,
                              destination_options = 60, mobility = 135, host_identity = 139,
                              shim6 = 140;
}

constexpr bool is_tag(std::uint16_t type) {
  return type == ether_type::vlan || type == ether_type::service_vlan ||
         type == ether_type::qinq1 || type == ether_type::qinq2 || type == ether_type::qinq3;
}

// Whether a fragmented packet of this protocol can turn out to be TCP when it is whole.
constexpr bool may_hold_tcp(std::uint8_t protocol) {
  switch (protocol) {
    case ip_protocol::tcp:
    case ip_protocol::ipv4:
    case ip_protocol::ipv6:
    case ip_protocol::gre:
    case ip_protocol::authentication:
    case ip_protocol::hop_by_hop:
    case ip_protocol::routing:
    case ip_protocol::fragment:
    case ip_protocol::destination_options:
    case ip_protocol::mobility:
    case ip_protocol::host_identity:
    case ip_protocol::shim6:
      return true;
    default:
      return false;
  }
}

// Upper-layer protocols that are seen in IPv6 and end the walk without surprise; what is in neither
// list may be an extension header that hides TCP.
constexpr bool is_known_upper_layer(std::uint8_t protocol) {
  switch (protocol) {
    case 1:    // ICMP
    case 2:    // IGMP
    case 17:   // UDP
    case 27:   // RDP
    case 33:   // DCCP
    case 46:   // RSVP
    case 50:   // ESP
    case 58:   // ICMPv6
    case 59:   // no next header
    case 88:   // EIGRP
    case 89:   // OSPF
    case 97:   // EtherIP
    case 103:  // PIM
    case 108:  // IPComp
    case 112:  // VRRP
    case 113:  // PGM
    case 115:  // L2TP
    case 124:  // IS-IS over IPv4
    case 132:  // SCTP
    case 136:  // UDP-Lite
    case 137:  // MPLS in IP
    case 142:  // ROHC
    case 143:  // Ethernet (RFC 8986)
      return true;
    default:
      return false;
  }
}

// Size of a GRE header with these flags (RFC 2784, 2890): checksum, key, sequence number.
constexpr std::size_t gre_header_size(std::uint16_t flags) {
  return 4 + ((flags & 0x8000) != 0 ? 4u : 0u) + ((flags & 0x2000) != 0 ? 4u : 0u) +
         ((flags & 0x1000) != 0 ? 4u : 0u);
}

// Sum over the pseudo-header of a TCP segment of `size` octets, header included (RFC 9293 3.1,
// RFC 8200 8.1). The IPv4-mapped prefix is left out.
inline std::uint64_t tcp_pseudo_sum(const Address& source, const Address& destination,
                                    std::size_t size) {
  std::uint64_t sum = checksum_add16(static_cast<std::uint16_t>(size), ip_protocol::tcp << 8);
  // IPv6 counts the length as 32 bits.
  sum = checksum_add16(static_cast<std::uint16_t>(size >> 16), sum);
  if (source.is_v4() && destination.is_v4())
    return checksum_add_words(destination.v4_octets(), 1,
                              checksum_add_words(source.v4_octets(), 1, sum));
  return checksum_add_words(destination.octets.data(), 4,
                            checksum_add_words(source.octets.data(), 4, sum));
}

}  // namespace sluice::net
