// IPv4 and IPv6 reassembly for inspection. The fragments themselves are forwarded by the caller as
// they come; here only copies are joined. Bounded in datagrams, octets and time (cases C22, C23):
// IPv6 overlaps discard the datagram (RFC 5722); IPv4 overlaps keep the octets seen first and note
// the anomaly. Keyed by addresses, identification, protocol (IPv4) and the ordered list of tags;
// where fragments under other tags come, a reading without tags goes on beside.
//
// Theory. A datagram is a bitmap of the 8-octet blocks that have come and pages for their octets,
// so that each fragment costs the same in whatever order they come and an attacker pays for what he
// makes us keep. Identifications are used again: when an IPv4 fragment contradicts what is held, a
// second reading of the same key is begun with it and both go on; the receiver's own TCP checksum
// then tells which of them is a packet. Datagrams time out from their first fragment and the oldest
// gives way when a bound is reached.
#pragma once

#include <cstdint>
#include <memory>
#include <memory_resource>

#include "dataplane/net/packet.h"

namespace sluice::net {

class Defragmenter {
 public:
  struct Limits {
    std::size_t datagrams = 1024;
    std::size_t octets = 16u << 20;  // what is held, with the tables that describe it
    Nanoseconds timeout = 30 * kSecond;
  };
  Defragmenter(const Limits& limits, std::pmr::memory_resource* memory);
  ~Defragmenter();
  Defragmenter(const Defragmenter&) = delete;
  Defragmenter& operator=(const Defragmenter&) = delete;

  struct Result {
    // The whole datagram from its IP header (a rebuilt header without fragmentation), or empty.
    // Valid until the next call.
    Bytes datagram;
    // When the same fragment also completed another, contradicting reading: to be given to the flow
    // after `datagram`, as though it had come next. Else empty. Valid as long.
    Bytes alternative;
    // Where fragments came under several lists of tags: those of the others (of up to three).
    struct Tags {
      std::uint16_t vlan[kMaxTags]{};
      std::uint8_t count = 0;
    };
    std::uint8_t other_tags_count = 0;
    Tags other_tags[3]{};
    std::uint8_t anomaly_count = 0;
    contract::Anomaly anomalies[2]{};
  };
  // `packet` is of kind fragment; `frame` the octets it describes. Fragments that no receiver takes
  // (checksum_bad, MF with a length that is no multiple of 8 in IPv6) are ignored. One thread.
  Result add(Bytes frame, const Packet& packet, Nanoseconds now);
  // Forgets what has timed out. Returns how many datagrams.
  std::size_t expire(Nanoseconds now);
  std::size_t datagrams() const;
  std::size_t octets() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::net
