#include "dataplane/io/af_xdp_sockets.h"

#include <dlfcn.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xdp/xsk.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

namespace sluice::io {

namespace {

std::vector<AfXdpSocket>& sockets() {
  static std::vector<AfXdpSocket> all;
  return all;
}

// The rings of the AF_XDP sockets by descriptor, readable by every thread without a lock. The
// structures are the driver's and live as long as its device.
constexpr int kMostDescriptors = 4096;
std::array<std::atomic<const xsk_ring_cons*>, kMostDescriptors> receive_rings{};
std::array<std::atomic<const xsk_ring_prod*>, kMostDescriptors> transmit_rings{};

template <typename Ring>
const Ring* ring_of(const std::array<std::atomic<const Ring*>, kMostDescriptors>& rings,
                    int descriptor) {
  if (descriptor < 0 || descriptor >= kMostDescriptors) return nullptr;
  return rings[static_cast<std::size_t>(descriptor)].load(std::memory_order_relaxed);
}

// The positions are written by the kernel and by the driver's thread.
template <typename Ring>
std::uint32_t waiting(const Ring& ring) {
  return __atomic_load_n(ring.producer, __ATOMIC_RELAXED) -
         __atomic_load_n(ring.consumer, __ATOMIC_RELAXED);
}

// The kernel sends 32 frames a call in copy mode and answers EAGAIN while there are more: a full
// ring of 2,048 takes 64 calls. Beyond that the device is pushing back.
constexpr int kMostTries = 80;
thread_local int tries_descriptor = -1;
thread_local int tries = 0;

}  // namespace

const std::vector<AfXdpSocket>& af_xdp_sockets() { return sockets(); }

int af_xdp_descriptor(std::string_view interface, std::uint32_t queue) {
  for (const AfXdpSocket& socket : sockets()) {
    if (socket.interface == interface && socket.queue == queue) return socket.descriptor;
  }
  return -1;
}

AfXdpDrops af_xdp_drops(int descriptor) {
  xdp_statistics raw{};
  socklen_t size = sizeof raw;
  AfXdpDrops drops;
  if (getsockopt(descriptor, SOL_XDP, XDP_STATISTICS, &raw, &size) != 0) return drops;
  drops.receive_dropped = raw.rx_dropped;
  drops.receive_ring_full = raw.rx_ring_full;
  drops.fill_ring_empty = raw.rx_fill_ring_empty_descs;
  drops.transmit_invalid = raw.tx_invalid_descs;
  return drops;
}

std::uint32_t af_xdp_receive_fill(int descriptor) {
  const xsk_ring_cons* ring = ring_of(receive_rings, descriptor);
  if (ring == nullptr || ring->size == 0) return 0;
  return std::min(waiting(*ring), ring->size) * 1000 / ring->size;
}

std::uint32_t af_xdp_transmit_pending(int descriptor) {
  const xsk_ring_prod* ring = ring_of(transmit_rings, descriptor);
  if (ring == nullptr || waiting(*ring) == 0) return 0;
  sendto(descriptor, nullptr, 0, MSG_DONTWAIT, nullptr, 0);
  return waiting(*ring);
}

}  // namespace sluice::io

extern "C" int xsk_socket__create(xsk_socket** out, const char* interface, __u32 queue,
                                  xsk_umem* umem, xsk_ring_cons* rx, xsk_ring_prod* tx,
                                  const xsk_socket_config* wanted) {
  using Create = decltype(&xsk_socket__create);
  // The driver is a plug-in: libxdp is in its scope, not in ours, until RTLD_NEXT finds it global.
  static const Create real = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "xsk_socket__create"));
  if (real == nullptr) return -ENOSYS;
  xsk_socket_config config{};
  if (wanted != nullptr) config = *wanted;
  config.libbpf_flags = XSK_LIBBPF_FLAGS__INHIBIT_PROG_LOAD;
  const int result = real(out, interface, queue, umem, rx, tx, &config);
  if (result == 0) {
    const int descriptor = xsk_socket__fd(*out);
    sluice::io::sockets().push_back({interface, queue, descriptor});
    if (descriptor >= 0 && descriptor < sluice::io::kMostDescriptors) {
      const auto index = static_cast<std::size_t>(descriptor);
      sluice::io::receive_rings[index].store(rx, std::memory_order_relaxed);
      sluice::io::transmit_rings[index].store(tx, std::memory_order_relaxed);
    }
  }
  return result;
}

extern "C" ssize_t send(int descriptor, const void* octets, size_t size, int flags) {
  const ssize_t sent = sendto(descriptor, octets, size, flags, nullptr, 0);
  if (sluice::io::ring_of(sluice::io::transmit_rings, descriptor) == nullptr) return sent;
  using sluice::io::tries;
  using sluice::io::tries_descriptor;
  if (sent >= 0 || descriptor != tries_descriptor) {
    tries_descriptor = descriptor;
    tries = 0;
  }
  if (sent < 0 && ++tries > sluice::io::kMostTries) {
    tries = 0;
    errno = ENOBUFS;
  }
  return sent;
}

// DPDK's AF_PACKET driver asks for fragments to be put together: they would be lost to the wire.
extern "C" int setsockopt(int descriptor, int level, int name, const void* value, socklen_t size) {
  int cleared = 0;
  if (level == SOL_PACKET && name == PACKET_FANOUT && size == sizeof cleared) {
    std::memcpy(&cleared, value, sizeof cleared);
    cleared &= ~(PACKET_FANOUT_FLAG_DEFRAG << 16);
    value = &cleared;
  }
  return static_cast<int>(syscall(SYS_setsockopt, descriptor, level, name, value, size));
}
