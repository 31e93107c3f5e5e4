// The AF_XDP sockets that DPDK's driver has made, with their descriptors.
//
// Theory. DPDK 22.11's driver wants to load an XDP program of its own (or refuses ours) and keeps
// the sockets to itself. Linking with -rdynamic, this executable defines xsk_socket__create(),
// which the driver then calls instead of libxdp's: it sets XSK_LIBBPF_FLAGS__INHIBIT_PROG_LOAD,
// calls the real one and notes the socket. The loader puts the descriptor into the port's XSKMAP,
// and workers sleep on it. send() is defined too, because the driver kicks transmission in a loop
// that has no end while the device pushes back: on these descriptors the loop is ended after a
// bounded number of tries, and the frames stay in the ring for the next kick. setsockopt()
// likewise, for one thing: the AF_PACKET driver has the kernel put IP fragments together, which a
// wire must not.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::io {

struct AfXdpSocket {
  std::string interface;
  std::uint32_t queue = 0;
  int descriptor = -1;  // owned by the driver
};

// The sockets made so far. The main thread, after the ports were opened.
const std::vector<AfXdpSocket>& af_xdp_sockets();
// The descriptor, or -1.
int af_xdp_descriptor(std::string_view interface, std::uint32_t queue);

// XDP_STATISTICS of a socket: frames that the kernel dropped before they reached the ring.
struct AfXdpDrops {
  std::uint64_t receive_dropped = 0;  // for other reasons
  std::uint64_t receive_ring_full = 0;
  std::uint64_t fill_ring_empty = 0;
  std::uint64_t transmit_invalid = 0;
};
AfXdpDrops af_xdp_drops(int descriptor);

// How full the receive ring of a socket is, permille. Any thread; no system call.
std::uint32_t af_xdp_receive_fill(int descriptor);
// Frames that the kernel has not yet taken from the transmit ring of a socket, after a kick.
std::uint32_t af_xdp_transmit_pending(int descriptor);

}  // namespace sluice::io
