// A wire for running the XDP program on built packets: two veth ports in network and mount
// namespaces of the process's own, which end with it, and sockets to put into the maps. Needs root.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_xdp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "xdp/loader/loader.h"

namespace sluice::xdp::test {

// An AF_XDP socket with rings, which an XSKMAP takes; it is bound to nothing and receives nothing.
class IdleSocket {
 public:
  IdleSocket() : fd_(socket(AF_XDP, SOCK_RAW, 0)) {
    memory_ = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    xdp_umem_reg reg{};
    reg.addr = reinterpret_cast<std::uint64_t>(memory_);
    reg.len = kSize;
    reg.chunk_size = 4096;
    const int entries = 16;
    good_ = fd_ >= 0 && setsockopt(fd_, SOL_XDP, XDP_UMEM_REG, &reg, sizeof reg) == 0 &&
            setsockopt(fd_, SOL_XDP, XDP_UMEM_FILL_RING, &entries, sizeof entries) == 0 &&
            setsockopt(fd_, SOL_XDP, XDP_UMEM_COMPLETION_RING, &entries, sizeof entries) == 0 &&
            setsockopt(fd_, SOL_XDP, XDP_RX_RING, &entries, sizeof entries) == 0;
  }
  ~IdleSocket() {
    close(fd_);
    munmap(memory_, kSize);
  }
  IdleSocket(const IdleSocket&) = delete;
  IdleSocket& operator=(const IdleSocket&) = delete;
  int fd() const { return fd_; }
  bool good() const { return good_; }

 private:
  static constexpr std::size_t kSize = 65536;
  int fd_;
  void* memory_;
  bool good_;
};

inline int shell(const std::string& command) { return std::system(command.c_str()); }

// Goes into new namespaces and makes the ports there. The folder under which maps are pinned, or
// nothing on a failure.
inline std::string make_test_ports() {
  if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) return {};
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return {};
  char folder[] = "/tmp/slx-bpffs-XXXXXX";
  if (mkdtemp(folder) == nullptr) return {};
  // The far ends keep silent too, or their neighbour discovery would be counted.
  const int made = shell(
      "ip link set lo up;"
      "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6;"
      "ip link add slxin0 numrxqueues 4 numtxqueues 4 type veth peer name slxin1 "
      "numrxqueues 4 numtxqueues 4 && "
      "ip link add slxout0 numrxqueues 4 numtxqueues 4 type veth peer name slxout1 "
      "numrxqueues 4 numtxqueues 4 && ip link set slxin1 up && "
      "ip link set slxout1 up");
  return made == 0 ? folder : std::string();
}

inline WireConfig test_config() {
  WireConfig config;
  config.name = "t";
  config.inside = "slxin0";
  config.outside = "slxout0";
  config.mode = AttachMode::native;
  return config;
}

// A program's descriptor, by the link that holds it. `base`: where the wire is pinned.
inline int test_program(const std::string& base, Side side) {
  const std::string link = base + "/sluice/v" + std::to_string(STEER_LAYOUT) + "/t/link_" +
                           (side == Side::inside ? "inside" : "outside");
  const int fd = bpf_obj_get(link.c_str());
  bpf_link_info info{};
  __u32 size = sizeof info;
  if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) != 0) return -1;
  close(fd);
  return bpf_prog_get_fd_by_id(info.prog_id);
}

// The descriptor of the front on a port.
inline int test_front(std::uint32_t ifindex) {
  bpf_tc_hook hook{};
  hook.sz = sizeof hook;
  hook.ifindex = static_cast<int>(ifindex);
  hook.attach_point = BPF_TC_INGRESS;
  bpf_tc_opts filter{};
  filter.sz = sizeof filter;
  filter.handle = filter.priority = 0x51;
  return bpf_tc_query(&hook, &filter) == 0 ? bpf_prog_get_fd_by_id(filter.prog_id) : -1;
}

}  // namespace sluice::xdp::test
