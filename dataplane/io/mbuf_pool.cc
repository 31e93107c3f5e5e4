#include "dataplane/io/mbuf_pool.h"

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>

namespace sluice::io {

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kXdpHeadroom = 256;
constexpr unsigned kCache = 256;

static_assert(sizeof(rte_mempool_objhdr) <= 64 && sizeof(rte_mbuf) == 128);
static_assert(kPage - 64 - sizeof(rte_mbuf) - RTE_PKTMBUF_HEADROOM - kXdpHeadroom ==
              kFrameCapacity);

}  // namespace

Result<rte_mempool*> make_mbuf_pool(std::size_t count) {
  // The header is padded to a cache line.
  constexpr std::size_t element = kPage - 64;
  constexpr std::size_t data_room = element - sizeof(rte_mbuf);
  rte_mempool* pool = rte_mempool_create_empty(
      "sluice_mbufs", static_cast<unsigned>(count), element, kCache,
      sizeof(rte_pktmbuf_pool_private), static_cast<int>(rte_socket_id()), RTE_MEMPOOL_F_NO_SPREAD);
  if (pool == nullptr) {
    return Error{"no packet buffer pool of " + std::to_string(count) + ": " +
                 rte_strerror(rte_errno)};
  }
  rte_pktmbuf_pool_private settings{};
  settings.mbuf_data_room_size = static_cast<std::uint16_t>(data_room);
  rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), nullptr);
  rte_pktmbuf_pool_init(pool, &settings);
  const int populated = rte_mempool_populate_default(pool);
  if (populated < 0 || static_cast<std::size_t>(populated) < count) {
    return Error{"memory for " + std::to_string(count) + " packet buffers of 4 KiB is not there: " +
                 rte_strerror(populated < 0 ? -populated : ENOMEM)};
  }
  if (pool->nb_mem_chunks != 1) {
    return Error{"the packet buffers are not in one piece of memory (" +
                 std::to_string(pool->nb_mem_chunks) +
                 " pieces); AF_XDP needs one: reserve huge pages at boot, or --hugepages off"};
  }
  rte_mempool_obj_iter(pool, rte_pktmbuf_init, nullptr);
  return pool;
}

}  // namespace sluice::io
