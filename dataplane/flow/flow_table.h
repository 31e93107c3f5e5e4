// The table of mail flows: key to flow, keyed and non-linear hash (SipHash-1-3 with a key made at
// start), bounded, evicting the least worth first (closed, then half-open, then idle longest).
// Eviction forgets, it never affects forwarding. Time-outs outlast RFC 5321 4.5.3.2.
#pragma once

#include <cstdint>
#include <memory_resource>
#include <vector>

#include "dataplane/base/address.h"
#include "dataplane/base/direction.h"
#include "dataplane/net/packet.h"

namespace sluice::flow {

// Order-free: both directions of a connection give the same key. `low_is_source` tells which of the
// packet's ends came first. The input port is not part of it (case D13); the ordered list of tags
// and the PPPoE session are (D02); MPLS labels differ by direction and are not.
struct FlowKey {
  Address low;
  Address high;
  std::uint16_t low_port = 0;
  std::uint16_t high_port = 0;
  std::uint16_t vlan[3]{};
  std::uint16_t pppoe_session = 0;
  std::uint16_t wire = 0;
  std::uint8_t vlan_count = 0;
  std::uint8_t protocol = 6;

  friend bool operator==(const FlowKey&, const FlowKey&) = default;
};
static_assert(sizeof(FlowKey) == 48);

struct KeyedPacket {
  FlowKey key;
  bool low_is_source;
};
KeyedPacket key_of(const net::Packet& packet, std::uint16_t wire);

struct HashKey {
  std::uint64_t k0;
  std::uint64_t k1;
};
// SipHash-1-3 of the key. For flow tables and for spreading flows over workers.
std::uint64_t hash(const FlowKey& key, const HashKey& secret);

}  // namespace sluice::flow
