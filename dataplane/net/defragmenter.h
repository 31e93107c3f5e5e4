// IPv4 and IPv6 reassembly for inspection. The fragments themselves are forwarded by the caller as
// they come; here only copies are joined. Bounded in datagrams, octets and time (cases C22, C23):
// IPv6 overlaps discard the datagram (RFC 5722); IPv4 overlaps keep the octets seen first and note
// the anomaly. Keyed by addresses, identification, protocol and the ordered list of tags.
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
    std::size_t octets = 16u << 20;
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
    std::uint8_t anomaly_count = 0;
    contract::Anomaly anomalies[2]{};
  };
  // `packet` is of kind fragment; `frame` the octets it describes. One thread.
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
