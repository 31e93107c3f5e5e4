#include "dataplane/io/port.h"

#include <rte_bus_vdev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <cstring>

#include "dataplane/io/af_xdp_sockets.h"
#include "dataplane/io/interface.h"
#include "dataplane/io/mbuf_pool.h"

namespace sluice::io {

namespace {

constexpr std::uint16_t kDescriptors = 2048;
constexpr std::uint32_t kLongestFrame = 65535;
constexpr std::uint32_t kPacketCapacity = 1960;  // of an AF_PACKET slot, behind its header

// Symmetric Toeplitz key: both directions of a flow fall on one queue (Woo and Park, 2012).
std::uint8_t symmetric_key[52];

void fill_symmetric_key() {
  for (std::size_t i = 0; i < sizeof symmetric_key; i += 2) {
    symmetric_key[i] = 0x6d;
    symmetric_key[i + 1] = 0x5a;
  }
}

struct VirtualDevice {
  std::string name;
  std::string arguments;
};

VirtualDevice virtual_device(const PortSettings& settings, unsigned index, unsigned queues) {
  const std::string number = std::to_string(index);
  switch (settings.driver) {
    case Driver::af_xdp: {
      // The driver's busy polling makes a system call for each empty receive: worth it on hardware
      // (and needed in zero copy, where the driver would otherwise wait a second in poll), not on
      // veth.
      const bool busy = settings.busy_poll || !interface_is_virtual(settings.bound());
      return {"net_af_xdp" + number, "iface=" + settings.bound() +
                                         ",start_queue=0,queue_count=" + std::to_string(queues) +
                                         ",busy_budget=" + (busy ? "64" : "0")};
    }
    case Driver::af_packet:
      return {"net_af_packet" + number,
              // Slots that fit our buffers, and blocks that they fill without a gap: the driver
              // takes slot i to stand at i times its size.
              "iface=" + settings.device + ",blocksz=65536,framesz=2048,framecnt=4096,qpairs=1"};
    case Driver::pcap: {
      std::string arguments;
      if (!settings.receive_pcap.empty()) arguments += "rx_pcap=" + settings.receive_pcap;
      if (!settings.transmit_pcap.empty()) {
        arguments += (arguments.empty() ? "" : ",") + ("tx_pcap=" + settings.transmit_pcap);
      }
      return {"net_pcap" + number, arguments};
    }
    case Driver::ring:
      return {"net_ring" + number, ""};
    case Driver::null:
      return {"net_null" + number, "size=64,copy=1"};
    case Driver::native:
      break;
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Port>> Port::open(const PortSettings& settings, unsigned index,
                                         unsigned workers, rte_mempool* pool) {
  std::unique_ptr<Port> port(new Port);
  port->settings_ = settings;
  if (has_interface(settings.driver)) {
    Result<InterfaceState> state = interface_state(settings.device);
    if (!state) return Error{state.error()};
    port->mtu_ = state->mtu;
    port->up_ = state->up;
    const std::size_t capacity =
        settings.driver == Driver::af_xdp ? kFrameCapacity : kPacketCapacity;
    if (state->mtu + 14 > capacity) {
      const std::string most = std::to_string(capacity - 14);
      return Error{"port " + settings.device + ": MTU " + std::to_string(state->mtu) +
                   " is more than its frames hold here (" + most + "): `ip link set " +
                   settings.device + " mtu " + most + "`"};
    }
  }
  if (settings.driver == Driver::native) {
    if (rte_eth_dev_get_port_by_name(settings.device.c_str(), &port->device_) != 0) {
      return Error{"port " + settings.device +
                   ": DPDK finds no such device; bind it with `dpdk-devbind.py -b vfio-pci " +
                   settings.device + "`"};
    }
    port->queues_ = static_cast<std::uint16_t>(workers);
  } else {
    if (settings.driver == Driver::af_xdp) {
      port->queues_ = static_cast<std::uint16_t>(interface_queues(settings.bound()));
    }
    const VirtualDevice device = virtual_device(settings, index, port->queues_);
    if (rte_vdev_init(device.name.c_str(), device.arguments.c_str()) != 0 ||
        rte_eth_dev_get_port_by_name(device.name.c_str(), &port->device_) != 0) {
      return Error{"port " + settings.device + ": the " +
                   std::string(sluice::io::name(settings.driver)) + " driver refused \"" +
                   device.arguments + "\" (its message stands above)"};
    }
  }
  Status started = port->start(pool);
  if (!started) return Error{started.error()};
  port->refresh();
  return port;
}

Result<std::unique_ptr<Port>> Port::adopt(std::uint16_t device, std::string name, std::uint32_t mtu,
                                          rte_mempool* pool) {
  std::unique_ptr<Port> port(new Port);
  port->settings_.driver = Driver::ring;
  port->settings_.device = std::move(name);
  port->device_ = device;
  port->adopted_ = true;
  Status started = port->start(pool);
  if (!started) return Error{started.error()};
  port->mtu_ = mtu;
  return port;
}

Status Port::start(rte_mempool* pool) {
  const auto fail = [this](const char* what, int code) {
    return Error{"port " + settings_.device + ": " + what + ": " + rte_strerror(std::abs(code))};
  };
  rte_eth_dev_info info{};
  int result = rte_eth_dev_info_get(device_, &info);
  if (result != 0) return fail("no device information", result);
  queues_ = std::min<std::uint16_t>({queues_, info.max_rx_queues, info.max_tx_queues});
  if (queues_ == 0) queues_ = 1;

  rte_eth_conf configuration{};
  if (settings_.driver == Driver::native) {
    std::uint16_t mtu = 0;
    if (rte_eth_dev_get_mtu(device_, &mtu) == 0) {
      mtu_ = mtu;
      configuration.rxmode.mtu = mtu;
    }
    if ((info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER) != 0) {
      configuration.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SCATTER;
    }
    segments_allowed_ = (info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0;
    if (segments_allowed_) configuration.txmode.offloads |= RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    if (queues_ > 1) {
      fill_symmetric_key();
      configuration.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
      configuration.rx_adv_conf.rss_conf.rss_key = symmetric_key;
      configuration.rx_adv_conf.rss_conf.rss_key_len = std::min<std::uint8_t>(
          info.hash_key_size == 0 ? 40 : info.hash_key_size, sizeof symmetric_key);
      configuration.rx_adv_conf.rss_conf.rss_hf =
          (RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_FRAG_IPV6) &
          info.flow_type_rss_offloads;
    }
  } else {
    // The AF_XDP and AF_PACKET drivers send the first buffer of a frame only.
    segments_allowed_ = settings_.driver == Driver::pcap || settings_.driver == Driver::ring ||
                        settings_.driver == Driver::null;
    if (has_interface(settings_.driver)) {
      most_octets_ = settings_.driver == Driver::af_xdp ? kFrameCapacity : kPacketCapacity;
    } else {
      mtu_ = kLongestFrame - 14;
      most_octets_ = kLongestFrame;
    }
  }
  result = rte_eth_dev_configure(device_, queues_, queues_, &configuration);
  if (result != 0) return fail("cannot configure it", result);
  std::uint16_t receive = kDescriptors;
  std::uint16_t transmit = kDescriptors;
  if (settings_.driver == Driver::native) {
    rte_eth_dev_adjust_nb_rx_tx_desc(device_, &receive, &transmit);
  }
  const int socket = rte_eth_dev_socket_id(device_);
  const auto numa = static_cast<unsigned>(socket < 0 ? 0 : socket);
  for (std::uint16_t queue = 0; queue < queues_; ++queue) {
    result = rte_eth_rx_queue_setup(device_, queue, receive, numa, nullptr, pool);
    if (result != 0) return fail("cannot set up a receive queue", result);
    result = rte_eth_tx_queue_setup(device_, queue, transmit, numa, nullptr);
    if (result != 0) return fail("cannot set up a transmit queue", result);
  }
  // A tag that the device strips would be lost: a wire keeps every octet (case D04).
  const int vlan = rte_eth_dev_get_vlan_offload(device_);
  if (vlan > 0 && (vlan & RTE_ETH_VLAN_STRIP_OFFLOAD) != 0 &&
      rte_eth_dev_set_vlan_offload(device_, vlan & ~RTE_ETH_VLAN_STRIP_OFFLOAD) != 0) {
    return Error{"port " + settings_.device +
                 ": the device strips VLAN tags and cannot be told not to"};
  }
  // Before the start, which would otherwise clear the flag that the loader has set.
  rte_eth_promiscuous_enable(device_);
  result = rte_eth_dev_start(device_);
  if (result != 0) return fail("cannot start it", result);
  started_ = true;
  return ok();
}

void Port::close() {
  if (!started_ || settings_.driver == Driver::af_xdp) return;
  started_ = false;
  rte_eth_dev_stop(device_);
  if (!adopted_) rte_eth_dev_close(device_);
}

bool Port::refresh() {
  bool up = true;
  if (has_interface(settings_.driver)) {
    Result<InterfaceState> state = interface_state(settings_.device);
    up = state && state->up;
    if (state && state->mtu != 0) mtu_.store(state->mtu, std::memory_order_relaxed);
  } else if (settings_.driver == Driver::native) {
    rte_eth_link link{};
    up = rte_eth_link_get_nowait(device_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
  }
  return set_link(up);
}

int Port::descriptor(std::uint16_t queue) const {
  return settings_.driver == Driver::af_xdp ? af_xdp_descriptor(settings_.bound(), queue) : -1;
}

std::uint64_t Port::receive_drops() const {
  std::uint64_t drops = 0;
  if (settings_.driver == Driver::af_xdp) {
    for (std::uint16_t queue = 0; queue < queues_; ++queue) {
      const AfXdpDrops kernel = af_xdp_drops(descriptor(queue));
      // fill_ring_empty counts failed attempts, each of which is counted in receive_dropped too.
      drops += kernel.receive_dropped + kernel.receive_ring_full;
    }
    return drops;
  }
  rte_eth_stats statistics{};
  if (rte_eth_stats_get(device_, &statistics) == 0) {
    drops = statistics.imissed + statistics.ierrors + statistics.rx_nombuf;
  }
  return drops;
}

}  // namespace sluice::io
