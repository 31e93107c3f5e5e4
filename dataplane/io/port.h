// One port of a wire: a DPDK device of any of the drivers, with what the kernel knows of its link.
//
// Theory. The same workers run over every driver, so everything that differs between drivers is
// here: how the device is made, how many queues it has, how long a frame it can send, whether
// frames of several buffers pass, what descriptor a worker can sleep on. Offloads that change
// frames (VLAN strip, LRO) are off everywhere.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "dataplane/base/result.h"

struct rte_mempool;

namespace sluice::io {

enum class Driver : std::uint8_t { af_xdp, af_packet, pcap, ring, null, native };
inline constexpr std::string_view kDriverNames[] = {"af_xdp", "af_packet", "pcap",
                                                    "ring",   "null",      "native"};
constexpr std::string_view name(Driver driver) {
  return kDriverNames[static_cast<std::size_t>(driver)];
}
// Drivers whose device is a network interface of the kernel.
constexpr bool has_interface(Driver driver) {
  return driver == Driver::af_xdp || driver == Driver::af_packet;
}

struct PortSettings {
  Driver driver = Driver::af_xdp;
  std::string device;         // interface; PCI address for native; a name for the others
  std::string receive_pcap;   // pcap: file to read; empty: nothing comes in
  std::string transmit_pcap;  // pcap: file to write; empty: what goes out is thrown away
  // af_xdp: what the sockets are bound to where it is not the device itself.
  std::string socket_interface;
  bool busy_poll = false;  // af_xdp: the kernel polls the device in our calls
  const std::string& bound() const { return socket_interface.empty() ? device : socket_interface; }
};

class Port {
 public:
  // Makes and starts the device. `index` is unique in the process; `workers` bounds the queues of
  // native devices. Main thread, after start_eal(). Errors name the port and what to do.
  static Result<std::unique_ptr<Port>> open(const PortSettings& settings, unsigned index,
                                            unsigned workers, rte_mempool* pool);
  // A device that exists already (tests of ring devices): it is configured and started, and not
  // removed at the end.
  static Result<std::unique_ptr<Port>> adopt(std::uint16_t device, std::string name,
                                             std::uint32_t mtu, rte_mempool* pool);
  // Stops the device and flushes files. AF_XDP devices are left to the end of the process: the
  // driver would try to detach the XDP program, which is to stay.
  void close();

  std::uint16_t device() const { return device_; }  // DPDK port identifier
  std::uint16_t queues() const { return queues_; }  // receive and transmit alike
  const std::string& name() const { return settings_.device; }
  Driver driver() const { return settings_.driver; }

  // Link and MTU, kept by the main thread (refresh()), read by workers.
  bool up() const { return up_.load(std::memory_order_relaxed); }
  std::uint32_t mtu() const { return mtu_.load(std::memory_order_relaxed); }
  // Asks the kernel or the device again; true when the link's state changed. Main thread.
  bool refresh();
  // What refresh() does with the answer.
  bool set_link(bool up) { return up_.exchange(up, std::memory_order_relaxed) != up; }

  // Whether a frame of `size` octets in `segments` buffers with `tags` VLAN tags can be sent: tags
  // do not count against the MTU (case D07).
  bool fits(std::uint32_t size, unsigned segments, unsigned tags) const {
    if (segments > 1 && !segments_allowed_) return false;
    return size <= mtu() + 14 + 4 * tags && size <= most_octets_;
  }

  // Descriptor to sleep on for `queue`, or -1 where the driver has none.
  int descriptor(std::uint16_t queue) const;

  // Frames that the device or the kernel dropped on receive so far (imissed, ring full, no buffer).
  std::uint64_t receive_drops() const;

 private:
  Port() = default;
  Status start(rte_mempool* pool);

  PortSettings settings_;
  std::uint16_t device_ = 0;
  std::uint16_t queues_ = 1;
  bool adopted_ = false;
  bool segments_allowed_ = true;
  bool started_ = false;
  std::uint32_t most_octets_ = 65535;
  std::atomic<bool> up_{true};
  std::atomic<std::uint32_t> mtu_{1500};
};

}  // namespace sluice::io
