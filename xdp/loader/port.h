// A network interface as a port of a wire: what it is, and what must be off so that frames cross
// unchanged and the machine itself says nothing on it. All calls act in the caller's network
// namespace.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/base/result.h"

namespace sluice::xdp {

struct PortInfo {
  std::uint32_t ifindex = 0;
  std::uint32_t mtu = 0;
  std::uint32_t flags = 0;             // IFF_*
  std::uint32_t rx_queues = 1;         // in use
  std::uint32_t queue_pairs = 0;       // in use, of those that receive and send; 0: no such
  std::uint32_t most_queue_pairs = 0;  // of the device
  std::string driver;
  bool ethernet = false;
  bool carrier = false;  // as the driver knows it; IFF_RUNNING follows up to a second later
};

Result<PortInfo> read_port(const std::string& name);
// The name that an index has now, or empty.
std::string port_name(std::uint32_t ifindex);
Status set_port_mtu(const std::string& name, std::uint32_t mtu);
// Sets and clears IFF_* flags.
Status change_port_flags(const std::string& name, std::uint32_t set, std::uint32_t clear);
// Whether the port speaks IPv6 (router solicitations, neighbour discovery, MLD) by itself.
bool port_speaks_ipv6(const std::string& name);
Status set_port_ipv6(const std::string& name, bool on);
// IPv4 and IPv6 addresses configured on it, in words.
std::vector<std::string> port_addresses(const std::string& name);

// Why an XDP program must not be attached to the port in native mode with the queues that it has in
// use, and what to do; empty when it may. `cpus` as the kernel can ever have (nr_cpu_ids).
//
// virtio_net (Linux 5.13 to 6.12 at least, virtnet_xdp_set and virtnet_xdp_get_sq) takes one queue
// pair more for each of the CPUs to send XDP's frames on, where the device has as many. On them it
// receives too, as soon as the program is there, but AF_XDP cannot send there: the driver uses them
// without their locks. Where it gets none it shares those in use, under locks only while they are
// no more than CPUs: with more it writes behind its array of queues, and the kernel panics at the
// first redirect.
std::string native_trouble(const std::string& name, const PortInfo& port, std::uint32_t cpus);

// Turns off what merges frames or takes tags out of them before XDP sees them (LRO, hardware GRO,
// VLAN stripping; GRO as well when XDP runs behind it, in generic mode), and reads back that it is
// off (cases D04, D06). Fails when one of them stays on. What only concerns frames that the stack
// sends is turned off where possible.
Status turn_off_offloads(const std::string& name, const std::string& driver, bool generic);

// Turns off what merges frames so that they cannot be cut again as they were (LRO).
Status turn_off_merging(const std::string& name);
// Of the near end of an inner veth: what it sends is cut, has whole checksums and its tags in it,
// as XDP at the far end needs them; and it receives through NAPI, as XDP's redirect there needs it.
Status make_plain_sender(const std::string& name);

}  // namespace sluice::xdp
