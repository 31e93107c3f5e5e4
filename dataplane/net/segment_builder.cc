#include "dataplane/net/segment_builder.h"

#include <algorithm>
#include <utility>

#include "dataplane/base/checksum.h"
#include "dataplane/net/headers.h"

namespace sluice::net {
namespace {

std::size_t ipv4_header_size(const std::uint8_t* ip) {
  return static_cast<std::size_t>(ip[0] & 0x0f) * 4;
}

// Writes the length of the IP packet at `ip`, which ends `size` octets on, and its checksum.
void seal_ip(std::uint8_t* ip, std::size_t size) {
  if (ip[0] >> 4 == 4) {
    store_be16(ip + 2, static_cast<std::uint16_t>(size));
    store_be16(ip + 10, 0);
    store_checksum(ip + 10, checksum_finish(checksum_add(ip, ipv4_header_size(ip), 0)));
  } else {
    store_be16(ip + 4, static_cast<std::uint16_t>(size - kIpv6Header));
  }
}

// Writes the checksum of the GRE packet at `gre`, which ends `size` octets on, where it has one.
void seal_gre(std::uint8_t* gre, std::size_t size) {
  if ((gre[0] & 0x80) == 0) return;
  store_be16(gre + 4, 0);
  store_checksum(gre + 4, checksum_finish(checksum_add(gre, size, 0)));
}

void seal_tcp(std::uint8_t* tcp, std::size_t size, std::uint64_t pseudo_sum) {
  store_be16(tcp + 16, 0);
  store_checksum(tcp + 16, checksum_finish(checksum_add(tcp, size, pseudo_sum)));
}

// Seals all layers of a frame, innermost first, whose IP packets end at `end`. Layers is a Packet
// or a SegmentTemplate's own record of the same offsets.
struct Layers {
  std::size_t network_offset;
  std::size_t outer_count;
  std::size_t outer_offset[kMaxTunnels];
  std::size_t gre_offset[kMaxTunnels];
  bool pppoe;
  std::size_t pppoe_offset;
};

void seal_layers(std::uint8_t* frame, std::size_t end, const Layers& layers) {
  seal_ip(frame + layers.network_offset, end - layers.network_offset);
  for (std::size_t i = layers.outer_count; i-- > 0;) {
    if (layers.gre_offset[i] != 0)
      seal_gre(frame + layers.gre_offset[i], end - layers.gre_offset[i]);
    seal_ip(frame + layers.outer_offset[i], end - layers.outer_offset[i]);
  }
  if (layers.pppoe)
    store_be16(frame + layers.pppoe_offset + 4,
               static_cast<std::uint16_t>(end - layers.pppoe_offset - kPppoeHeader));
}

Layers layers_of(const Packet& packet) {
  Layers layers{packet.network_offset, packet.outer_count, {}, {},
                packet.pppoe,          packet.pppoe_offset};
  std::copy(std::begin(packet.outer_offset), std::end(packet.outer_offset), layers.outer_offset);
  std::copy(std::begin(packet.gre_offset), std::end(packet.gre_offset), layers.gre_offset);
  return layers;
}

// Whether `packet` can be a description of `frame` whose layers may be rewritten.
bool describes(Bytes frame, const Packet& packet) {
  const std::size_t end = std::size_t{packet.payload_offset} + packet.payload_size;
  return packet.kind == PacketKind::tcp && end <= frame.size() &&
         packet.payload_offset >= packet.transport_offset + kTcpHeader &&
         packet.transport_offset > packet.network_offset;
}

void seal_frame(MutableBytes frame, const Packet& packet, std::size_t end) {
  const std::size_t size = end - packet.transport_offset;
  seal_tcp(frame.data() + packet.transport_offset, size,
           tcp_pseudo_sum(packet.source, packet.destination, size));
  seal_layers(frame.data(), end, layers_of(packet));
}

void exchange(std::uint8_t* a, std::uint8_t* b, std::size_t size) {
  std::swap_ranges(a, a + size, b);
}

void exchange_ip(std::uint8_t* ip) {
  if (ip[0] >> 4 == 4) {
    exchange(ip + 12, ip + 16, 4);
  } else {
    exchange(ip + 8, ip + 24, 16);
  }
}

}  // namespace

SegmentTemplate SegmentTemplate::from_frame(Bytes frame, const Packet& packet, LinkType link) {
  return make(frame, packet, link, false);
}

SegmentTemplate SegmentTemplate::reversed(Bytes frame, const Packet& packet, LinkType link) {
  return make(frame, packet, link, true);
}

SegmentTemplate SegmentTemplate::make(Bytes frame, const Packet& packet, LinkType link,
                                      bool reversed) {
  SegmentTemplate t;
  const bool usable = packet.kind == PacketKind::tcp ||
                      (packet.kind == PacketKind::fragment && packet.protocol == ip_protocol::tcp);
  if (!usable || (reversed && packet.mpls)) return t;
  if (packet.transport_offset > frame.size() || packet.network_offset >= packet.transport_offset)
    return t;
  const std::uint8_t* ip = frame.data() + packet.network_offset;
  const bool v4 = ip[0] >> 4 == 4;
  std::size_t header = v4 ? ipv4_header_size(ip) : kIpv6Header;
  if (v4 && reversed) header = kIpv4Header;
  const std::size_t size = packet.network_offset + header;
  if (size > sizeof t.octets_ || header < kIpv4Header || size > packet.transport_offset) return t;
  for (std::size_t i = 0; i < packet.outer_count; ++i) {
    if (packet.gre_offset[i] != 0 && (frame[packet.gre_offset[i]] & 0x10) != 0) return t;
  }

  std::copy_n(frame.data(), size, t.octets_);
  std::uint8_t* inner = t.octets_ + packet.network_offset;
  if (v4) {
    if (packet.source.is_v4()) std::copy_n(packet.source.v4_octets(), 4, inner + 12);
    if (packet.destination.is_v4()) std::copy_n(packet.destination.v4_octets(), 4, inner + 16);
    inner[0] = static_cast<std::uint8_t>(0x40 | header / 4);
    inner[9] = ip_protocol::tcp;
    // Not a fragment; whether it may become one is as the end has it.
    store_be16(inner + 6, load_be16(inner + 6) & 0x4000);
  } else {
    std::copy_n(packet.source.octets.data(), 16, inner + 8);
    std::copy_n(packet.destination.octets.data(), 16, inner + 24);
    inner[6] = ip_protocol::tcp;
  }
  t.size_ = static_cast<std::uint8_t>(size);
  t.network_offset_ = static_cast<std::uint8_t>(packet.network_offset);
  t.pppoe_ = packet.pppoe;
  t.pppoe_offset_ = static_cast<std::uint8_t>(packet.pppoe_offset);
  t.outer_count_ = packet.outer_count;
  for (std::size_t i = 0; i < packet.outer_count; ++i) {
    t.outer_offset_[i] = static_cast<std::uint8_t>(packet.outer_offset[i]);
    t.gre_offset_[i] = static_cast<std::uint8_t>(packet.gre_offset[i]);
  }
  if (reversed) {
    if (link == LinkType::ethernet) exchange(t.octets_, t.octets_ + 6, 6);
    exchange_ip(inner);
    for (std::size_t i = 0; i < packet.outer_count; ++i) {
      exchange_ip(t.octets_ + t.outer_offset_[i]);
      std::uint8_t* gre = t.octets_ + t.gre_offset_[i];
      if (t.gre_offset_[i] != 0 && load_be16(gre + 2) == ether_type::bridged_ethernet) {
        std::uint8_t* bridged = gre + gre_header_size(load_be16(gre));
        exchange(bridged, bridged + 6, 6);
      }
    }
  }
  t.pseudo_sum_ = checksum_fold(tcp_pseudo_sum(packet.source, packet.destination, 0));
  return t;
}

std::size_t SegmentTemplate::build(const Segment& segment, MutableBytes out) const {
  if (empty()) return 0;
  const std::size_t header = kTcpHeader + (segment.has_timestamp ? 12 : 0);
  const std::size_t size = header + segment.payload.size();
  const std::size_t end = size_ + size;
  // The outermost length field counts the most.
  if (end < size || end > out.size() || end > 0xffff) return 0;

  std::copy_n(octets_, size_, out.data());
  std::uint8_t* tcp = out.data() + size_;
  store_be16(tcp, segment.source_port);
  store_be16(tcp + 2, segment.destination_port);
  store_be32(tcp + 4, segment.sequence);
  store_be32(tcp + 8, segment.acknowledgement);
  tcp[12] = static_cast<std::uint8_t>(header / 4 << 4);
  tcp[13] = segment.flags;
  store_be16(tcp + 14, segment.window);
  store_be16(tcp + 18, 0);
  if (segment.has_timestamp) {
    store_be32(tcp + 20, 0x0101080a);
    store_be32(tcp + 24, segment.timestamp_value);
    store_be32(tcp + 28, segment.timestamp_echo);
  }
  std::copy(segment.payload.begin(), segment.payload.end(), tcp + header);
  seal_tcp(tcp, size, checksum_add16(static_cast<std::uint16_t>(size), pseudo_sum_));
  Layers layers{network_offset_, outer_count_, {}, {}, pppoe_, pppoe_offset_};
  std::copy(std::begin(outer_offset_), std::end(outer_offset_), layers.outer_offset);
  std::copy(std::begin(gre_offset_), std::end(gre_offset_), layers.gre_offset);
  seal_layers(out.data(), end, layers);
  return end;
}

std::size_t trim_payload(MutableBytes frame, const Packet& packet, std::size_t keep) {
  if (!describes(frame, packet) || keep >= packet.payload_size) return frame.size();
  const std::size_t end = packet.payload_offset + keep;
  std::uint8_t& flags = frame[packet.transport_offset + std::size_t{13}];
  flags = static_cast<std::uint8_t>(flags & ~tcp_flag::fin);
  seal_frame(frame, packet, end);
  return end;
}

void refresh_checksum(MutableBytes frame, const Packet& packet) {
  if (!describes(frame, packet)) return;
  seal_frame(frame, packet, std::size_t{packet.payload_offset} + packet.payload_size);
}

}  // namespace sluice::net
