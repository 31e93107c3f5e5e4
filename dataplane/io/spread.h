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

}  // namespace sluice::io
