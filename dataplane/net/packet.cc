#include "dataplane/net/packet.h"

#include <algorithm>

#include "dataplane/base/checksum.h"
#include "dataplane/net/headers.h"

namespace sluice::net {
namespace {

using contract::Anomaly;

// The header cursor. `at_` is the first octet not yet read, `end_` the first that is not part of
// what the layers so far say to be theirs; always at_ <= end_ <= frame size.
class Parser {
 public:
  Parser(Bytes frame, const ParseOptions& options, Packet& packet)
      : octets_(frame.data()),
        end_(frame.size()),
        verify_(options.verify_checksums),
        cut_(options.cut),
        p_(packet) {}

  void from_ethernet() {
    // What nearly every frame is takes none of the turns.
    const bool usual = end_ >= kEthernetHeader + kIpv4Header &&
                       load_be16(octets_ + 12) == ether_type::ipv4 && octets_[14] == 0x45 &&
                       octets_[23] == ip_protocol::tcp;
    if (!usual) return walk(Layer::ethernet);
    at_ = kEthernetHeader;
    const Layer next = ipv4();
    next == Layer::tcp ? static_cast<void>(tcp()) : walk(next);
  }
  void from_ip() { walk(Layer::ip_by_version); }

 private:
  enum class Layer : std::uint8_t {
    ethernet,
    mpls,
    pppoe,
    ip_by_version,
    ipv4,
    ipv6,
    gre,
    tcp,
    done
  };

  // Each tunnel is counted and everything else moves towards TCP, so this ends.
  void walk(Layer layer) {
    while (layer != Layer::done) {
      switch (layer) {
        case Layer::ethernet:
          layer = ethernet();
          break;
        case Layer::mpls:
          layer = mpls();
          break;
        case Layer::pppoe:
          layer = pppoe();
          break;
        case Layer::ip_by_version:
          layer = ip_by_version();
          break;
        case Layer::ipv4:
          layer = ipv4();
          break;
        case Layer::ipv6:
          layer = ipv6();
          break;
        case Layer::gre:
          layer = gre();
          break;
        case Layer::tcp:
          layer = tcp();
          break;
        case Layer::done:
          break;
      }
    }
  }

  bool have(std::size_t octets) const { return end_ - at_ >= octets; }
  const std::uint8_t* here() const { return octets_ + at_; }
  static std::uint16_t narrow(std::size_t v) { return static_cast<std::uint16_t>(v); }
  // Header offsets are 16 bits wide; nothing genuine has headers that far into the frame.
  bool offset_fits() const { return at_ <= 0xffff; }

  Layer give_up() { return Layer::done; }
  Layer give_up(Anomaly why) {
    p_.note(why);
    return Layer::done;
  }
  // The frame ends within a header, which is its fault unless a capture has not all of it.
  Layer ends_early(Anomaly why) { return cut_ ? give_up() : give_up(why); }

  Layer ethernet() {
    if (!have(kEthernetHeader)) return ends_early(Anomaly::truncated_frame);
    std::uint16_t type = load_be16(here() + 12);
    at_ += kEthernetHeader;
    while (is_tag(type)) {
      if (!have(4)) return ends_early(Anomaly::truncated_frame);
      if (p_.vlan_count == kMaxTags) return give_up(Anomaly::encapsulation_depth);
      p_.vlan[p_.vlan_count++] = load_be16(here()) & 0x0fff;
      type = load_be16(here() + 2);
      at_ += 4;
    }
    return layer_of(type);
  }

  static Layer layer_of(std::uint16_t ether_type) {
    switch (ether_type) {
      case ether_type::ipv4:
        return Layer::ipv4;
      case ether_type::ipv6:
        return Layer::ipv6;
      case ether_type::mpls_unicast:
      case ether_type::mpls_multicast:
        return Layer::mpls;
      case ether_type::pppoe_session:
        return Layer::pppoe;
      // ARP, PPPoE discovery, MACsec, slow protocols, 802.3 lengths (below 0x600), ...
      default:
        return Layer::done;
    }
  }

  // RFC 3032. Behind the bottom of the stack nothing says what follows: the first nibble is 4 or 6
  // for IP (RFC 4928); 0 and 1 are control words of pseudo-wires, which are not followed.
  Layer mpls() {
    p_.mpls = true;
    for (std::size_t labels = 0; labels < kMaxLabels; ++labels) {
      if (!have(4)) return ends_early(Anomaly::truncated_frame);
      const bool bottom = (here()[2] & 1) != 0;
      at_ += 4;
      if (!bottom) continue;
      if (!have(1)) return ends_early(Anomaly::truncated_frame);
      // An Ethernet pseudo-wire without control word may begin with a MAC address that looks like
      // IP: the header checksum tells them apart.
      if (here()[0] >> 4 == 4 && verify_ && !ipv4_header_is_right()) return give_up();
      return ip_by_version();
    }
    return give_up(Anomaly::encapsulation_depth);
  }

  // RFC 2516; protocol numbers RFC 1661 and 1332, 5072, and 3032 for MPLS.
  Layer pppoe() {
    if (!have(6)) return ends_early(Anomaly::truncated_frame);
    if (p_.pppoe) return give_up(Anomaly::encapsulation_depth);
    if (here()[0] != 0x11 || here()[1] != 0) return give_up();
    p_.pppoe = true;
    p_.pppoe_offset = narrow(at_);
    p_.pppoe_session = load_be16(here() + 2);
    const std::size_t length = load_be16(here() + 4);
    at_ += 6;
    if (length > end_ - at_ || length == 0) {
      if (!cut_ || length == 0) p_.note(Anomaly::pppoe_length);
    } else {
      end_ = at_ + length;
    }
    if (!have(2)) return ends_early(Anomaly::truncated_frame);
    // Protocol field compression (RFC 1661 6.5): the last octet of a protocol number is odd, the
    // first one even.
    std::uint16_t protocol = here()[0];
    if ((protocol & 1) != 0) {
      at_ += 1;
    } else {
      protocol = load_be16(here());
      at_ += 2;
    }
    switch (protocol) {
      case 0x0021:
        return Layer::ipv4;
      case 0x0057:
        return Layer::ipv6;
      case 0x0281:
        return Layer::mpls;
      default:
        return give_up();  // LCP, PAP, CHAP, IPCP, compressed headers, ...
    }
  }

  Layer ip_by_version() {
    if (!have(1)) return ends_early(Anomaly::truncated_frame);
    switch (here()[0] >> 4) {
      case 4:
        return Layer::ipv4;
      case 6:
        return Layer::ipv6;
      default:
        return give_up();
    }
  }

  bool ipv4_header_is_right() const {
    if (!have(kIpv4Header)) return false;
    const std::size_t words = here()[0] & 0x0f;
    return words >= 5 && have(words * 4) &&
           checksum_fold(checksum_add_words(here(), words, 0)) == 0xffff;
  }

  // Brings `end_` to the end that an IP header's length field names. `length` counts from at_.
  void limit_to(std::size_t length, bool absent) {
    if (length <= end_ - at_ && !absent) {
      end_ = at_ + length;
      return;
    }
    if (cut_ && !absent) {
      incomplete_ = true;
      return;
    }
    // A length of zero is what a large-receive offload leaves (case C21): the octets are genuine. A
    // length beyond the frame is a packet that was cut: no receiver takes it.
    p_.note(Anomaly::bad_ip_length);
    if (!absent && verify_) p_.checksum_bad = true;
  }

  // RFC 791.
  Layer ipv4() {
    if (!have(kIpv4Header)) return ends_early(Anomaly::truncated_frame);
    const std::uint8_t* ip = here();
    const std::size_t words = ip[0] & 0x0f;
    const std::size_t header = words * 4;
    if (ip[0] >> 4 != 4 || words < 5) return give_up(Anomaly::truncated_frame);
    if (!have(header)) return ends_early(Anomaly::truncated_frame);
    const std::size_t length = load_be16(ip + 2);
    if (length != 0 && length < header) return give_up(Anomaly::truncated_frame);
    if (!offset_fits()) return give_up(Anomaly::encapsulation_depth);
    limit_to(length, length == 0);
    if (verify_ && checksum_fold(checksum_add_words(ip, words, 0)) != 0xffff) {
      p_.note(Anomaly::bad_ip_checksum);
      p_.checksum_bad = true;
    }
    p_.network_offset = narrow(at_);
    p_.source = Address::from_v4(ip + 12);
    p_.destination = Address::from_v4(ip + 16);
    p_.protocol = ip[9];
    at_ += header;
    const std::uint16_t fragment = load_be16(ip + 6);
    if ((fragment & 0x3fff) != 0) {
      return fragment_found(load_be16(ip + 4), static_cast<std::uint16_t>((fragment & 0x1fff) * 8),
                            (fragment & 0x2000) != 0, may_hold_tcp(ip[9]));
    }
    return upper_layer(ip[9], false);
  }

  // RFC 8200.
  Layer ipv6() {
    if (!have(kIpv6Header)) return ends_early(Anomaly::truncated_frame);
    const std::uint8_t* ip = here();
    if (ip[0] >> 4 != 6) return give_up(Anomaly::truncated_frame);
    if (!offset_fits()) return give_up(Anomaly::encapsulation_depth);
    const std::size_t length = load_be16(ip + 4);
    // A jumbogram (RFC 2675) has its length in a Hop-by-Hop option. Larger than any frame here.
    if (length == 0 && ip[6] == ip_protocol::hop_by_hop) return give_up();
    limit_to(kIpv6Header + length, length == 0);
    p_.network_offset = narrow(at_);
    p_.source = Address::from_v6(ip + 8);
    p_.destination = Address::from_v6(ip + 24);
    p_.protocol = ip[6];
    at_ += kIpv6Header;
    return upper_layer(ip[6], true);
  }

  // Follows extension headers (and AH in IPv4 also) to what the packet carries.
  Layer upper_layer(std::uint8_t next, bool v6) {
    for (std::size_t followed = 0;; ++followed) {
      p_.protocol = next;
      if (next == ip_protocol::tcp) return Layer::tcp;
      if (next == ip_protocol::ipv4 || next == ip_protocol::ipv6 || next == ip_protocol::gre)
        return tunnel(next);
      if (!is_followed(next, v6)) {
        if (v6 && !is_known_upper_layer(next)) p_.note(Anomaly::extension_chain);
        return give_up();
      }
      if (followed == kMaxExtensionHeaders) return give_up(Anomaly::extension_chain);
      if (!have(8)) return ends_early(Anomaly::truncated_frame);
      const std::uint8_t* header = here();
      if (next == ip_protocol::fragment) {
        const std::uint16_t field = load_be16(header + 2);
        at_ += 8;
        p_.protocol = header[0];
        // An atomic fragment (RFC 6946) is a whole packet.
        if ((field & 0xfff9) == 0) {
          next = header[0];
          continue;
        }
        // Only the first fragment's next header counts (RFC 8200 4.5); the others may lie.
        const bool wanted = (field & 0xfff8) != 0 || may_hold_tcp(header[0]);
        return fragment_found(load_be32(header + 4), field & 0xfff8, (field & 1) != 0, wanted);
      }
      const std::size_t size = next == ip_protocol::authentication
                                   ? (std::size_t{header[1]} + 2) * 4
                                   : (std::size_t{header[1]} + 1) * 8;
      if (!have(size)) return ends_early(Anomaly::truncated_frame);
      if (next == ip_protocol::routing) routing_header(header, size);
      if (next == ip_protocol::destination_options) destination_options(header, size);
      at_ += size;
      next = header[0];
    }
  }

  static bool is_followed(std::uint8_t next, bool v6) {
    if (next == ip_protocol::authentication) return true;
    return v6 && (next == ip_protocol::hop_by_hop || next == ip_protocol::routing ||
                  next == ip_protocol::fragment || next == ip_protocol::destination_options ||
                  next == ip_protocol::mobility || next == ip_protocol::host_identity ||
                  next == ip_protocol::shim6);
  }

  // Where segments are left to visit, the checksum and the connection are those of the last one.
  void routing_header(const std::uint8_t* header, std::size_t size) {
    if (header[3] == 0 || size < 24) return;
    switch (header[2]) {
      case 0:
        p_.destination = Address::from_v6(header + size - 16);
        break;  // RFC 2460 4.4
      case 2:   // RFC 6275 6.4
      case 4:
        p_.destination = Address::from_v6(header + 8);
        break;  // RFC 8754 2
      default:
        unverifiable_ = true;
        break;
    }
  }

  // Looks for a Home Address option (RFC 6275 6.3), with which the source is not in the IP header.
  void destination_options(const std::uint8_t* header, std::size_t size) {
    for (std::size_t at = 2; at < size;) {
      if (header[at] == 0) {  // Pad1
        ++at;
        continue;
      }
      if (at + 2 > size || at + 2 + header[at + 1] > size) return;
      if (header[at] == 0xc9 && header[at + 1] == 16) p_.source = Address::from_v6(header + at + 2);
      at += std::size_t{header[at + 1]} + 2;
    }
  }

  Layer fragment_found(std::uint32_t id, std::uint16_t offset, bool more, bool wanted) {
    if (!wanted || incomplete_ || !offset_fits()) return give_up();
    p_.kind = PacketKind::fragment;
    p_.fragment_id = id;
    p_.fragment_offset = offset;
    p_.more_fragments = more;
    p_.transport_offset = narrow(at_);
    p_.payload_offset = narrow(at_);
    p_.payload_size = narrow(std::min<std::size_t>(end_ - at_, 0xffff));
    return Layer::done;
  }

  Layer tunnel(std::uint8_t next) {
    if (p_.outer_count == kMaxTunnels) return give_up(Anomaly::encapsulation_depth);
    p_.outer_offset[p_.outer_count++] = p_.network_offset;
    p_.tunnel = true;
    unverifiable_ = incomplete_ = false;
    if (next == ip_protocol::gre) return Layer::gre;
    return next == ip_protocol::ipv4 ? Layer::ipv4 : Layer::ipv6;
  }

  // RFC 2784 and 2890. Version 1 (PPTP) and source routes (RFC 1701) are not followed.
  Layer gre() {
    if (!have(4)) return ends_early(Anomaly::truncated_frame);
    const std::uint16_t flags = load_be16(here());
    if ((flags & 0x4007) != 0) return give_up();
    const std::size_t size = gre_header_size(flags);
    if (!have(size)) return ends_early(Anomaly::truncated_frame);
    if (!offset_fits()) return give_up(Anomaly::encapsulation_depth);
    const std::uint16_t type = load_be16(here() + 2);
    p_.gre_offset[p_.outer_count - 1] = narrow(at_);
    at_ += size;
    if (type == ether_type::bridged_ethernet) return Layer::ethernet;
    return layer_of(type);
  }

  // RFC 9293 3.1.
  Layer tcp() {
    if (!have(kTcpHeader)) return ends_early(Anomaly::bad_tcp_header);
    const std::uint8_t* tcp = here();
    std::size_t header = static_cast<std::size_t>(tcp[12] >> 4) * 4;
    if (header < kTcpHeader || (!have(header) && !cut_)) return give_up(Anomaly::bad_tcp_header);
    // Of options that the capture has not whole, none is read.
    const std::size_t options_size = have(header) ? header - kTcpHeader : 0;
    header = std::min(header, end_ - at_);
    if (at_ + header > 0xffff) return give_up(Anomaly::encapsulation_depth);
    p_.kind = PacketKind::tcp;
    p_.transport_offset = narrow(at_);
    p_.payload_offset = narrow(at_ + header);
    p_.payload_size = narrow(std::min<std::size_t>(end_ - at_ - header, 0xffff));
    p_.source_port = load_be16(tcp);
    p_.destination_port = load_be16(tcp + 2);
    p_.sequence = load_be32(tcp + 4);
    p_.acknowledgement = load_be32(tcp + 8);
    p_.flags = tcp[13];
    // A FIN stands behind octets that are not there.
    if (incomplete_) p_.flags &= static_cast<std::uint8_t>(~tcp_flag::fin);
    p_.window = load_be16(tcp + 14);
    p_.urgent = load_be16(tcp + 18);
    if (options_size > 0) options(tcp + kTcpHeader, options_size);
    if (verify_ && !unverifiable_ && !incomplete_ && !p_.checksum_bad && !tcp_checksum_is_right()) {
      p_.note(Anomaly::bad_tcp_checksum);
      p_.checksum_bad = true;
    }
    return Layer::done;
  }

  bool tcp_checksum_is_right() const {
    const std::size_t size = end_ - at_;
    return checksum_fold(checksum_add(here(), size,
                                      tcp_pseudo_sum(p_.source, p_.destination, size))) == 0xffff;
  }

  void options(const std::uint8_t* o, std::size_t size) {
    // What nearly every segment with options has (RFC 7323 appendix A).
    if (size == 12 && load_be32(o) == 0x0101080a) {
      timestamp(o + 4);
      return;
    }
    for (std::size_t at = 0; at < size;) {
      const std::uint8_t kind = o[at];
      if (kind == 0) return;
      if (kind == 1) {
        ++at;
        continue;
      }
      if (at + 2 > size || o[at + 1] < 2 || at + o[at + 1] > size) {
        p_.note(Anomaly::bad_tcp_header);
        return;
      }
      option(kind, o + at + 2, static_cast<std::size_t>(o[at + 1]) - 2);
      at += o[at + 1];
    }
  }

  // An option of another than its own length is ignored, as receivers do.
  void option(std::uint8_t kind, const std::uint8_t* value, std::size_t size) {
    switch (kind) {
      case 2:
        if (size == 2) p_.mss = load_be16(value);
        break;
      case 3:
        if (size == 1) p_.window_scale = std::min<std::uint8_t>(value[0], 14);  // RFC 7323 2.3
        break;
      case 4:
        if (size == 0) p_.sack_permitted = true;
        break;
      case 8:
        if (size == 8) timestamp(value);
        break;
      case 19:  // RFC 2385
      case 29:  // RFC 5925
        p_.has_signature = true;
        break;
      default:
        break;
    }
  }

  void timestamp(const std::uint8_t* value) {
    p_.has_timestamp = true;
    p_.timestamp_value = load_be32(value);
    p_.timestamp_echo = load_be32(value + 4);
  }

  const std::uint8_t* octets_;
  std::size_t at_ = 0;
  std::size_t end_;
  bool verify_;
  bool cut_;
  bool incomplete_ = false;    // the packet goes on behind what the capture has of it
  bool unverifiable_ = false;  // the final address of a routing header is not known
  Packet& p_;
};

}  // namespace

Packet parse(Bytes frame, const ParseOptions& options) {
  Packet packet;
  Parser parser(frame, options, packet);
  if (options.link == LinkType::ethernet) {
    parser.from_ethernet();
  } else {
    parser.from_ip();
  }
  return packet;
}

Packet parse_datagram(Bytes datagram, const Packet& fragment, const ParseOptions& options) {
  Packet packet;
  std::copy(std::begin(fragment.vlan), std::end(fragment.vlan), std::begin(packet.vlan));
  packet.vlan_count = fragment.vlan_count;
  Parser(datagram, options, packet).from_ip();
  packet.tunnel = packet.tunnel || fragment.tunnel;
  packet.mpls = packet.mpls || fragment.mpls;
  if (fragment.pppoe) {
    packet.pppoe = true;
    packet.pppoe_session = fragment.pppoe_session;
  }
  return packet;
}

}  // namespace sluice::net
