// Which worker owns a frame. No DPDK here.
//
// Both directions of a flow, and the fragments of its datagrams, must meet at one worker, whatever
// queue the device put them on (case D13). A fragment has no ports, so the owner follows from the
// unordered pair of addresses alone: those of the outermost IP header, which are the same for a
// whole datagram and for its fragments, whether the tunnel's or the inner packet was fragmented.
// The hash is keyed, so that nobody outside can choose addresses that all fall on one worker.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/base/bytes.h"
#include "dataplane/base/direction.h"

namespace sluice::io {

struct SpreadKey {
  std::uint64_t k0 = 0;
  std::uint64_t k1 = 0;
};

// From the kernel's random source.
SpreadKey random_spread_key();

// The owner of `frame` (Ethernet) among `workers` (1 to 255), or nothing when it holds no IP header
// that can be read: then it belongs to whoever received it. Pure; any thread.
std::optional<std::uint8_t> owner_of(Bytes frame, unsigned workers, const SpreadKey& key);

// Whose a frame is, for the order in which frames are dealt with (backlog.h). Keyed hashes.
struct Whose {
  // Of the address inside, as the kernel has it (steer_host()): the subscriber. 0 as well where no
  // IP header can be read.
  std::uint8_t host = 0;
  // Of both addresses and ports, each in its place: one direction of a connection.
  std::uint64_t flow = 0;
  std::uint32_t payload = 0;  // octets of TCP payload
  bool segment = false;       // a whole TCP segment of no tunnel; else flow and payload say nothing
};
// Of steer_host(). It stands in a map that root alone can read.
inline std::uint64_t host_key(const SpreadKey& key) { return key.k0 * 0x9e3779b97f4a7c15u; }
// `from`: the port on which it came in. Pure; any thread.
Whose whose(Bytes frame, Side from, const SpreadKey& key);

}  // namespace sluice::io
