#include "xdp/loader/port.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <sstream>

#include "xdp/loader/descriptor.h"

namespace sluice::xdp {
namespace {

Descriptor control_socket() { return Descriptor(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)); }

bool name_request(ifreq& request, const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ) return false;
  std::memset(&request, 0, sizeof request);
  std::memcpy(request.ifr_name, name.data(), name.size());
  return true;
}

// One ethtool command, `data` its structure. Returns 0 or errno.
int ethtool(const std::string& name, void* data) {
  ifreq request{};
  const Descriptor socket = control_socket();
  if (!socket || !name_request(request, name)) return ENODEV;
  request.ifr_data = static_cast<char*>(data);
  return ioctl(socket.get(), SIOCETHTOOL, &request) == 0 ? 0 : errno;
}

void read_queues(const std::string& name, PortInfo& port) {
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  if (ethtool(name, &channels) != 0) return;
  port.rx_queues = std::max(1u, channels.combined_count + channels.rx_count);
  port.queue_pairs = channels.combined_count;
  port.most_queue_pairs = channels.max_combined;
}

// The structures of ethtool end in arrays of the length that the kernel told before.
template <typename T>
class Variable {
 public:
  explicit Variable(std::size_t tail) : octets_(sizeof(T) + tail) {}
  T* get() { return reinterpret_cast<T*>(octets_.data()); }

 private:
  std::vector<char> octets_;
};

// Names of the features of the interface, by bit.
std::vector<std::string> feature_names(const std::string& name) {
  Variable<ethtool_sset_info> info(sizeof(std::uint32_t));
  info.get()->cmd = ETHTOOL_GSSET_INFO;
  info.get()->sset_mask = 1ull << ETH_SS_FEATURES;
  if (ethtool(name, info.get()) != 0 || info.get()->sset_mask == 0) return {};
  std::uint32_t count = 0;
  std::memcpy(&count, info.get()->data, sizeof count);
  Variable<ethtool_gstrings> strings(std::size_t{count} * ETH_GSTRING_LEN);
  strings.get()->cmd = ETHTOOL_GSTRINGS;
  strings.get()->string_set = ETH_SS_FEATURES;
  strings.get()->len = count;
  if (ethtool(name, strings.get()) != 0) return {};
  std::vector<std::string> names;
  for (std::uint32_t i = 0; i < count; i++) {
    const char* text = reinterpret_cast<char*>(strings.get()->data) + i * ETH_GSTRING_LEN;
    names.emplace_back(text, strnlen(text, ETH_GSTRING_LEN));
  }
  return names;
}

// Which of the features are on now, by bit; empty when the driver does not say.
std::vector<bool> active_features(const std::string& name, std::size_t count) {
  const std::size_t blocks = (count + 31) / 32;
  Variable<ethtool_gfeatures> features(blocks * sizeof(ethtool_get_features_block));
  features.get()->cmd = ETHTOOL_GFEATURES;
  features.get()->size = static_cast<std::uint32_t>(blocks);
  if (ethtool(name, features.get()) != 0) return {};
  std::vector<bool> active(count);
  for (std::size_t i = 0; i < count; i++)
    active[i] = (features.get()->features[i / 32].active >> (i % 32) & 1) != 0;
  return active;
}

void set_features(const std::string& name, std::size_t count, const std::vector<std::size_t>& bits,
                  bool on) {
  const std::size_t blocks = (count + 31) / 32;
  Variable<ethtool_sfeatures> features(blocks * sizeof(ethtool_set_features_block));
  features.get()->cmd = ETHTOOL_SFEATURES;
  features.get()->size = static_cast<std::uint32_t>(blocks);
  for (const std::size_t bit : bits) {
    ethtool_set_features_block& block = features.get()->features[bit / 32];
    block.valid |= 1u << (bit % 32);
    if (on) block.requested |= 1u << (bit % 32);
  }
  ethtool(name, features.get());  // what it refused shows when the state is read back
}

using Names = std::vector<std::string>;

bool contains(const Names& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Turns both off; fails when one of `harmful` stays on.
Status turn_off(const std::string& interface, const Names& harmful, const Names& harmless) {
  const Names names = feature_names(interface);
  if (names.empty()) return ok();  // a driver without features has none of these
  std::vector<std::size_t> bits;
  for (std::size_t i = 0; i < names.size(); i++)
    if (contains(harmful, names[i]) || contains(harmless, names[i])) bits.push_back(i);
  set_features(interface, names.size(), bits, false);
  const std::vector<bool> active = active_features(interface, names.size());
  if (active.empty()) return Error{"cannot read the offloads of " + interface};
  for (std::size_t i = 0; i < names.size(); i++)
    if (active[i] && contains(harmful, names[i]))
      return Error{interface + ": offload " + names[i] +
                   " stays on; it would change frames before they are seen" +
                   (names[i] == "rx-checksum"
                        ? " (the host can turn it off, guest_csum=off; xdp_mode=front needs it not)"
                        : "")};
  return ok();
}

std::string ipv6_switch(const std::string& name) {
  return "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6";
}

}  // namespace

Result<PortInfo> read_port(const std::string& name) {
  ifreq request{};
  const Descriptor socket = control_socket();
  if (!socket) return failure("cannot open a socket");
  PortInfo port;
  const auto ask = [&](unsigned long what) {
    return name_request(request, name) && ioctl(socket.get(), what, &request) == 0;
  };
  if (!ask(SIOCGIFINDEX)) return Error{"no interface " + name + " in this network namespace"};
  port.ifindex = static_cast<std::uint32_t>(request.ifr_ifindex);
  if (!ask(SIOCGIFMTU)) return failure("cannot read the MTU of " + name);
  port.mtu = static_cast<std::uint32_t>(request.ifr_mtu);
  if (!ask(SIOCGIFFLAGS)) return failure("cannot read the flags of " + name);
  port.flags = static_cast<std::uint16_t>(request.ifr_flags);
  if (ask(SIOCGIFHWADDR)) port.ethernet = request.ifr_hwaddr.sa_family == ARPHRD_ETHER;
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  if (ethtool(name, &driver) == 0)
    port.driver.assign(driver.driver, strnlen(driver.driver, sizeof driver.driver));
  read_queues(name, port);
  ethtool_value link{};
  link.cmd = ETHTOOL_GLINK;
  port.carrier = ethtool(name, &link) == 0 ? link.data != 0 : (port.flags & IFF_RUNNING) != 0;
  return port;
}

std::string port_name(std::uint32_t ifindex) {
  char name[IF_NAMESIZE];
  return ifindex != 0 && if_indextoname(ifindex, name) != nullptr ? name : "";
}

Status set_port_mtu(const std::string& name, std::uint32_t mtu) {
  ifreq request{};
  const Descriptor socket = control_socket();
  if (!name_request(request, name)) return Error{"no interface " + name};
  request.ifr_mtu = static_cast<int>(mtu);
  if (ioctl(socket.get(), SIOCSIFMTU, &request) != 0)
    return failure("cannot set the MTU of " + name + " to " + std::to_string(mtu));
  return ok();
}

Status change_port_flags(const std::string& name, std::uint32_t set, std::uint32_t clear) {
  ifreq request{};
  const Descriptor socket = control_socket();
  if (!name_request(request, name)) return Error{"no interface " + name};
  if (ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0)
    return failure("cannot read the flags of " + name);
  const std::uint32_t now = static_cast<std::uint16_t>(request.ifr_flags);
  const std::uint32_t wanted = (now | set) & ~clear;
  if (wanted == now) return ok();
  request.ifr_flags = static_cast<short>(wanted);
  if (ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0)
    return failure("cannot change the flags of " + name);
  return ok();
}

bool port_speaks_ipv6(const std::string& name) {
  const Descriptor file(open(ipv6_switch(name).c_str(), O_RDONLY | O_CLOEXEC));
  char value = '1';
  return file && read(file.get(), &value, 1) == 1 && value == '0';
}

Status set_port_ipv6(const std::string& name, bool on) {
  const Descriptor file(open(ipv6_switch(name).c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return errno == ENOENT ? ok() : Status(failure("cannot open " + ipv6_switch(name)));
  if (write(file.get(), on ? "0" : "1", 1) != 1)
    return failure("cannot write " + ipv6_switch(name));
  return ok();
}

std::vector<std::string> port_addresses(const std::string& name) {
  std::vector<std::string> found;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return found;
  for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr || name != at->ifa_name) continue;
    char text[INET6_ADDRSTRLEN] = "";
    if (at->ifa_addr->sa_family == AF_INET)
      inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr, text,
                sizeof text);
    else if (at->ifa_addr->sa_family == AF_INET6)
      inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(at->ifa_addr)->sin6_addr, text,
                sizeof text);
    if (*text != 0) found.emplace_back(text);
  }
  freeifaddrs(list);
  return found;
}

std::string native_trouble(const std::string& name, const PortInfo& port, std::uint32_t cpus) {
  if (port.driver != "virtio_net") return {};
  const bool takes_more = port.queue_pairs + cpus <= port.most_queue_pairs;
  if (!takes_more && port.queue_pairs <= cpus) return {};
  std::ostringstream text;
  text << name << ": with " << port.queue_pairs << " of " << port.most_queue_pairs
       << " queues in use and " << cpus << " CPUs the driver virtio_net ";
  if (takes_more)
    text << "takes queues of its own for XDP, and mail that comes in on them cannot be inspected";
  else
    text << "brings the kernel down when XDP redirects";
  if (port.most_queue_pairs < 2 * cpus)
    text << ": `ethtool -L " << name << " combined " << std::min(cpus, port.most_queue_pairs)
         << "`";
  else
    text << ": give the virtual machine's network device as many queues as CPUs, " << cpus
         << ", and fewer than twice as many in any case";
  text << "; or attach with xdp_mode=front";
  return text.str();
}

Status turn_off_offloads(const std::string& name, const std::string& driver, bool generic) {
  // Must be off, and what may stay.
  Names harmful{"rx-lro", "rx-gro-hw", "rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"};
  Names harmless{"tx-vlan-hw-insert", "tx-vlan-stag-hw-insert", "rx-gro-list",
                 "rx-udp-gro-forwarding"};
  // Behind a native program GRO sees only what the program passed on, which is nothing; and veth
  // turns it on itself with the program, for the sake of its NAPI.
  (generic ? harmful : harmless).emplace_back("rx-gro");
  // What its host sends has half a checksum, which only the stack completes. In native mode it asks
  // the host for whole ones.
  if (generic && driver == "virtio_net") harmful.emplace_back("rx-checksum");
  return turn_off(name, harmful, harmless);
}

Status turn_off_merging(const std::string& name) { return turn_off(name, {"rx-lro"}, {}); }

Status make_plain_sender(const std::string& name) {
  const Names names = feature_names(name);
  for (std::size_t i = 0; i < names.size(); i++)
    if (names[i] == "rx-gro") set_features(name, names.size(), {i}, true);
  return turn_off(
      name,
      {"tx-checksum-ip-generic", "tx-checksum-sctp", "tx-tcp-segmentation", "tx-tcp6-segmentation",
       "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation", "tx-udp-segmentation",
       "tx-sctp-segmentation", "tx-gso-list", "tx-vlan-hw-insert", "tx-vlan-stag-hw-insert"},
      {});
}

}  // namespace sluice::xdp
