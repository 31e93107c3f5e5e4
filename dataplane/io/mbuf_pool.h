// The packet buffers of the process.
//
// One pool serves all ports and queues, so that a frame received on one AF_XDP port is sent on the
// other without a copy in the driver (it compares pools). Each object is exactly one page: the
// AF_XDP driver of DPDK 22.11 computes the size of its memory from the object size, which is right
// only when the objects lie without gaps, and refuses more than a page. It gives frames of up to
// kFrameCapacity octets; the driver has no multi-buffer for more.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dataplane/base/result.h"

struct rte_mempool;

namespace sluice::io {

// Octets of a frame that fit into one buffer, behind DPDK's and XDP's headrooms.
inline constexpr std::size_t kFrameCapacity = 3520;

// Buffers that one AF_XDP queue can hold at worst: fill and receive ring, transmit and completion.
inline constexpr std::size_t kBuffersPerQueue = 3 * 2048;

// Makes the pool with `count` buffers. After start_eal(), the main thread. Never freed.
Result<rte_mempool*> make_mbuf_pool(std::size_t count);

}  // namespace sluice::io
