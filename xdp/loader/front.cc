#include "xdp/loader/front.h"

#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sys/socket.h>

#include <cstring>
#include <vector>

#include "xdp/loader/descriptor.h"
#include "xdp/loader/port.h"

namespace sluice::xdp {
namespace {

// Told from others' filters by these: ours alone are replaced and removed.
constexpr std::uint32_t kHandle = 0x51;
constexpr std::uint32_t kPriority = 0x51;

// A request to the kernel's rtnetlink (rtnetlink(7)), its attributes nested as they are opened.
class LinkRequest {
 public:
  LinkRequest(std::uint16_t type, std::uint16_t flags) {
    nlmsghdr header{};
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
    append(&header, sizeof header);
    interface();
  }
  void interface() {
    const ifinfomsg any{};
    append(&any, sizeof any);
  }
  std::size_t open(std::uint16_t type) {
    const std::size_t at = octets_.size();
    rtattr attribute{};
    attribute.rta_type = type;
    append(&attribute, sizeof attribute);
    return at;
  }
  void close(std::size_t at) {
    const auto length = static_cast<std::uint16_t>(octets_.size() - at);
    std::memcpy(octets_.data() + at + offsetof(rtattr, rta_len), &length, sizeof length);
    octets_.resize(NLMSG_ALIGN(octets_.size()));
  }
  void text(std::uint16_t type, const std::string& value) {
    const std::size_t at = open(type);
    append(value.c_str(), value.size() + 1);
    close(at);
  }
  void number(std::uint16_t type, std::uint32_t value) {
    const std::size_t at = open(type);
    append(&value, sizeof value);
    close(at);
  }
  // 0, or the errno with which the kernel answers.
  int send() {
    const auto length = static_cast<std::uint32_t>(octets_.size());
    std::memcpy(octets_.data(), &length, sizeof length);
    const Descriptor socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (!socket) return errno;
    if (::send(socket.get(), octets_.data(), octets_.size(), 0) < 0) return errno;
    struct {
      nlmsghdr header;
      nlmsgerr error;
      char rest[1024];
    } answer{};
    if (recv(socket.get(), &answer, sizeof answer, 0) < 0) return errno;
    return answer.header.nlmsg_type == NLMSG_ERROR ? -answer.error.error : EPROTO;
  }

 private:
  void append(const void* from, std::size_t size) {
    const auto* octets = static_cast<const char*>(from);
    octets_.insert(octets_.end(), octets, octets + size);
  }
  std::vector<char> octets_;
};

bpf_tc_hook ingress_of(std::uint32_t ifindex) {
  bpf_tc_hook hook{};
  hook.sz = sizeof hook;
  hook.ifindex = static_cast<int>(ifindex);
  hook.attach_point = BPF_TC_INGRESS;
  return hook;
}

bpf_tc_opts our_filter() {
  bpf_tc_opts options{};
  options.sz = sizeof options;
  options.handle = kHandle;
  options.priority = kPriority;
  return options;
}

}  // namespace

std::string inner_name(std::uint32_t port) { return "slo" + std::to_string(port); }
std::string xdp_name(std::uint32_t port) { return "slx" + std::to_string(port); }

Status make_inner_pair(std::uint32_t port, std::uint32_t queues) {
  const std::string names[] = {inner_name(port), xdp_name(port)};
  const Result<PortInfo> near = read_port(names[0]);
  const Result<PortInfo> far = read_port(names[1]);
  if (near && far && near->rx_queues == queues && far->rx_queues == queues) return ok();
  remove_inner_pair(port);
  LinkRequest request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  const auto describe = [&](const std::string& name) {
    request.text(IFLA_IFNAME, name);
    request.number(IFLA_NUM_TX_QUEUES, queues);
    request.number(IFLA_NUM_RX_QUEUES, queues);
  };
  describe(names[0]);
  const std::size_t link = request.open(IFLA_LINKINFO);
  request.text(IFLA_INFO_KIND, "veth");
  const std::size_t data = request.open(IFLA_INFO_DATA);
  const std::size_t peer = request.open(VETH_INFO_PEER);
  request.interface();
  describe(names[1]);
  request.close(peer);
  request.close(data);
  request.close(link);
  if (const int error = request.send(); error != 0)
    return failure("cannot make the veth pair " + names[0] + ", " + names[1], error);
  return ok();
}

void remove_inner_pair(std::uint32_t port) {
  // Either end takes the other along.
  for (const std::string& name : {inner_name(port), xdp_name(port)}) {
    LinkRequest request(RTM_DELLINK, 0);
    request.text(IFLA_IFNAME, name);
    request.send();
  }
}

Result<bool> put_filter(std::uint32_t ifindex, int program) {
  bpf_tc_hook hook = ingress_of(ifindex);
  const int made = bpf_tc_hook_create(&hook);
  if (made != 0 && made != -EEXIST)
    return failure("cannot make a clsact on " + port_name(ifindex), made);
  bpf_tc_opts options = our_filter();
  options.prog_fd = program;
  options.flags = BPF_TC_F_REPLACE;
  if (const int error = bpf_tc_attach(&hook, &options); error != 0)
    return failure("cannot put a TC program on " + port_name(ifindex), error);
  return made == 0;
}

bool has_filter(std::uint32_t ifindex) {
  const bpf_tc_hook hook = ingress_of(ifindex);
  bpf_tc_opts options = our_filter();
  return ifindex != 0 && bpf_tc_query(&hook, &options) == 0;
}

void remove_filter(std::uint32_t ifindex, bool own_hook) {
  if (ifindex == 0) return;
  bpf_tc_hook hook = ingress_of(ifindex);
  const bpf_tc_opts options = our_filter();
  bpf_tc_detach(&hook, &options);
  if (!own_hook) return;
  // Both ways: the whole clsact.
  hook.attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS);
  bpf_tc_hook_destroy(&hook);
}

}  // namespace sluice::xdp
