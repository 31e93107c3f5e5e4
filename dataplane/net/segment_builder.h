// Writes TCP segments into a conversation: refusals, resets and acknowledgements in the name of one
// end. A Template is taken from a real frame of that direction (MAC addresses, tags, PPPoE, MPLS,
// outer and inner IP headers); what we write differs from what that end sends only in what TCP
// says. IPv4 and IPv6 (extension headers are left out), lengths and checksums are right (case E15).
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/net/packet.h"

namespace sluice::net {

// The octets in front of the TCP header for one direction of a flow. 128 octets cover three tags,
// MPLS, PPPoE, a tunnel and IPv6; a frame with more in front gives an empty template (no answer
// can be written; the flow then takes its declared policy).
class SegmentTemplate {
 public:
  SegmentTemplate() = default;
  // From a frame of the direction in which segments are to be written.
  static SegmentTemplate from_frame(Bytes frame, const Packet& packet, LinkType link);
  // From a frame of the other direction: MAC and IP addresses exchanged.
  static SegmentTemplate reversed(Bytes frame, const Packet& packet, LinkType link);
  bool empty() const { return size_ == 0; }

  struct Segment {
    std::uint16_t source_port = 0;
    std::uint16_t destination_port = 0;
    std::uint32_t sequence = 0;
    std::uint32_t acknowledgement = 0;
    std::uint8_t flags = 0;
    std::uint16_t window = 0;
    bool has_timestamp = false;
    std::uint32_t timestamp_value = 0;
    std::uint32_t timestamp_echo = 0;
    Bytes payload;
  };
  // Writes the whole frame into `out`, at least size() + 32 + payload octets; returns its length,
  // 0 when `out` is too small or the template is empty. Not padded to 60 octets.
  std::size_t build(const Segment& segment, MutableBytes out) const;
  std::size_t size() const { return size_; }

 private:
  std::uint8_t octets_[128]{};
  std::uint8_t size_ = 0;
  std::uint8_t network_offset_ = 0;  // of the innermost IP header
  std::uint8_t pppoe_offset_ = 0;    // of the PPPoE header's length field; 0: none
  std::uint8_t outer_offset_ = 0;    // of an outer IP header; 0: none
};

// Makes `frame` shorter so that its TCP payload ends after `keep` octets, or writes other payload
// octets over the same length: lengths and checksums (IPv4 header, TCP, PPPoE, outer IP) are
// put right. Returns the new frame length.
std::size_t trim_payload(MutableBytes frame, const Packet& packet, std::size_t keep);
void refresh_checksum(MutableBytes frame, const Packet& packet);

}  // namespace sluice::net
