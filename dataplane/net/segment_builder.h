// Writes TCP segments into a conversation: refusals, resets and acknowledgements in the name of one
// end. A Template is taken from a real frame of that direction (MAC addresses, tags, PPPoE, MPLS,
// outer and inner IP headers); what we write differs from what that end sends only in what TCP
// says. IPv4 and IPv6 (extension headers are left out), lengths and checksums are right (case E15).
//
// No template can be made, and the flow takes its declared policy, from a frame that is neither TCP
// nor a fragment of it, from a reassembled datagram (take a frame), from a tunnel with GRE sequence
// numbers (RFC 2890: a second packet of a number is discarded), and, for reversed(), from a frame
// with MPLS labels (they are those of one direction).
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
  // From a frame of the direction in which segments are to be written. `packet` is parse(frame).
  static SegmentTemplate from_frame(Bytes frame, const Packet& packet, LinkType link);
  // From a frame of the other direction: MAC and IP addresses exchanged; IPv4 options left out.
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
  // 0 when `out` is too small, the IP length would not hold it, or the template is empty. Not
  // padded to 60 octets. The IPv4 identification is that of the frame taken.
  std::size_t build(const Segment& segment, MutableBytes out) const;
  std::size_t size() const { return size_; }

 private:
  static SegmentTemplate make(Bytes frame, const Packet& packet, LinkType link, bool reversed);

  std::uint8_t octets_[128]{};
  std::uint8_t size_ = 0;
  // As in Packet, for what is in octets_: of the innermost IP header, of the PPPoE header, of outer
  // IP and GRE headers.
  std::uint8_t network_offset_ = 0;
  std::uint8_t pppoe_offset_ = 0;
  std::uint8_t outer_offset_[kMaxTunnels]{};
  std::uint8_t gre_offset_[kMaxTunnels]{};
  std::uint8_t outer_count_ = 0;
  bool pppoe_ = false;
  // One's complement sum of the pseudo-header without the length.
  std::uint16_t pseudo_sum_ = 0;
};

// The following change a frame of kind tcp, as it came, in place. `packet` is parse(frame). Of
// reassembled datagrams nothing can be changed: they were never one frame. IPv6 Authentication
// Headers are not made anew.

// Makes `frame` shorter so that its TCP payload ends after `keep` octets (and leaves the frame's
// length when it has no more than that): lengths and checksums (IPv4 header, TCP, PPPoE, GRE, outer
// IP) are put right, padding goes, and a FIN is cleared, since it stands after the octets that
// went. Returns the new frame length. `packet` no longer describes the frame.
std::size_t trim_payload(MutableBytes frame, const Packet& packet, std::size_t keep);

// After octets of the payload were overwritten: puts the same checksums right.
void refresh_checksum(MutableBytes frame, const Packet& packet);

}  // namespace sluice::net
