#include "dataplane/io/interface.h"

#include <linux/ethtool.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace sluice::io {

namespace {

class ControlSocket {
 public:
  ControlSocket() : descriptor_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {}
  ~ControlSocket() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  ControlSocket(const ControlSocket&) = delete;
  ControlSocket& operator=(const ControlSocket&) = delete;
  bool ask(unsigned long request, const std::string& name, ifreq& reply) const {
    if (descriptor_ < 0 || name.size() >= IFNAMSIZ) return false;
    std::memcpy(reply.ifr_name, name.c_str(), name.size() + 1);
    return ioctl(descriptor_, request, &reply) == 0;
  }

 private:
  int descriptor_;
};

}  // namespace

Result<InterfaceState> interface_state(const std::string& name) {
  const ControlSocket control;
  ifreq reply{};
  InterfaceState state;
  if (!control.ask(SIOCGIFINDEX, name, reply)) {
    return Error{"no network interface \"" + name + "\" here (`ip link` lists them)"};
  }
  state.index = reply.ifr_ifindex;
  if (control.ask(SIOCGIFFLAGS, name, reply)) {
    state.up = (reply.ifr_flags & IFF_UP) != 0 && (reply.ifr_flags & IFF_RUNNING) != 0;
  }
  if (control.ask(SIOCGIFMTU, name, reply)) state.mtu = static_cast<std::uint32_t>(reply.ifr_mtu);
  return state;
}

namespace {

ethtool_channels interface_channels(const std::string& name) {
  const ControlSocket control;
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  ifreq reply{};
  reply.ifr_data = reinterpret_cast<char*>(&channels);
  if (!control.ask(SIOCETHTOOL, name, reply)) return {};
  return channels;
}

}  // namespace

unsigned interface_queues(const std::string& name) {
  const ethtool_channels channels = interface_channels(name);
  return channels.max_combined == 0 || channels.combined_count == 0 ? 1 : channels.combined_count;
}

unsigned interface_receive_queues(const std::string& name) {
  const ethtool_channels channels = interface_channels(name);
  const unsigned queues = channels.combined_count + channels.rx_count;
  return queues == 0 ? 1 : queues;
}

bool interface_is_virtual(const std::string& name) {
  return access(("/sys/class/net/" + name + "/device").c_str(), F_OK) != 0;
}

Result<LinkWatch> LinkWatch::open() {
  const int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
  if (descriptor < 0) return Error{std::string("no rtnetlink socket: ") + std::strerror(errno)};
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK;
  if (bind(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    Error error{std::string("cannot hear of link changes: ") + std::strerror(errno)};
    close(descriptor);
    return error;
  }
  return LinkWatch(descriptor);
}

LinkWatch::~LinkWatch() {
  if (descriptor_ >= 0) close(descriptor_);
}

bool LinkWatch::changed() {
  bool any = false;
  alignas(nlmsghdr) char buffer[16384];
  for (;;) {
    const ssize_t size = recv(descriptor_, buffer, sizeof buffer, MSG_DONTWAIT);
    if (size < 0) return any || errno == ENOBUFS;
    any = true;
    if (size == 0) return any;
  }
}

}  // namespace sluice::io
