// A dataplane of the channel's contract inside the test's own process and thread: it listens, says
// Hello with real shared objects, and answers what the test tells it to.
#pragma once

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "control/publish/channel.h"
#include "dataplane/contract/control_channel.h"
#include "dataplane/contract/event_ring.h"
#include "dataplane/contract/statistics.h"

namespace sluice::control::testing_support {

class SharedObject {
 public:
  explicit SharedObject(std::size_t size) : size_(size), fd_(::memfd_create("test", MFD_CLOEXEC)) {
    if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) std::abort();
    memory_ = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  }
  ~SharedObject() { ::munmap(memory_, size_); }
  SharedObject(const SharedObject&) = delete;
  SharedObject& operator=(const SharedObject&) = delete;
  void* memory() const { return memory_; }
  int fd() const { return fd_.get(); }
  std::size_t size() const { return size_; }

 private:
  std::size_t size_;
  UniqueFd fd_;
  void* memory_;
};

class FakeDataplane {
 public:
  static constexpr std::uint64_t kCapacity = 1 << 16;
  static constexpr std::size_t kStride =
      (contract::event_ring_bytes(kCapacity) + 4095) & ~std::size_t{4095};

  explicit FakeDataplane(std::string path, std::uint32_t workers = 2)
      : path_(std::move(path)),
        workers_(workers),
        statistics_(sizeof(contract::StatisticsHeader) +
                    workers * sizeof(contract::WorkerStatistics)),
        rings_(kStride * workers) {
    auto* header = new (statistics_.memory()) contract::StatisticsHeader;
    header->workers = workers;
    for (std::uint32_t i = 0; i < workers; ++i) {
      producers.push_back(contract::EventRingProducer::create(
          static_cast<std::uint8_t*>(rings_.memory()) + kStride * i, kCapacity));
    }
    ::unlink(path_.c_str());
    listener_ = UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    if (::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_.get(), 8) != 0) {
      std::abort();
    }
  }
  ~FakeDataplane() { ::unlink(path_.c_str()); }
  FakeDataplane(const FakeDataplane&) = delete;
  FakeDataplane& operator=(const FakeDataplane&) = delete;

  // True when control had connected.
  bool accept() {
    client = UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    return static_cast<bool>(client);
  }
  contract::ChannelHello hello() const {
    contract::ChannelHello h;
    h.workers = workers_;
    h.wires = 1;
    h.ring_capacity = kCapacity;
    h.statistics_size = statistics_.size();
    h.process = static_cast<std::uint32_t>(::getpid());
    return h;
  }
  void say_hello() { send(hello(), {statistics_.fd(), rings_.fd()}); }
  template <typename T>
  void send(const T& message, const std::vector<int>& fds = {}) {
    send_octets({reinterpret_cast<const std::uint8_t*>(&message), sizeof message}, fds);
  }
  void send_octets(Bytes octets, const std::vector<int>& fds = {}) {
    iovec vector{const_cast<std::uint8_t*>(octets.data()), octets.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 8)] = {};
    msghdr header{};
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    if (!fds.empty()) {
      header.msg_control = control;
      header.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
      cmsghdr* c = CMSG_FIRSTHDR(&header);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
      std::memcpy(CMSG_DATA(c), fds.data(), sizeof(int) * fds.size());
    }
    if (::sendmsg(client.get(), &header, MSG_NOSIGNAL) >= 0) return;
    if (errno != EPIPE && errno != ECONNRESET) std::abort();
    client = UniqueFd();  // control was killed
  }
  struct Received {
    std::vector<std::uint8_t> octets;
    UniqueFd fd;
  };
  // The next message of control's, empty when there is none.
  Received receive() {
    Received r;
    r.octets.resize(512);
    iovec vector{r.octets.data(), r.octets.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const ssize_t n = ::recvmsg(client.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    r.octets.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    if (cmsghdr* c = CMSG_FIRSTHDR(&header); n > 0 && c != nullptr) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
      r.fd = UniqueFd(fd);
    }
    return r;
  }
  contract::WorkerStatistics& worker(std::size_t i) {
    auto* first = reinterpret_cast<contract::WorkerStatistics*>(
        static_cast<std::uint8_t*>(statistics_.memory()) + sizeof(contract::StatisticsHeader));
    return first[i];
  }
  int statistics_fd() const { return statistics_.fd(); }
  int rings_fd() const { return rings_.fd(); }

  std::vector<contract::EventRingProducer> producers;
  UniqueFd client;

 private:
  std::string path_;
  std::uint32_t workers_;
  SharedObject statistics_;
  SharedObject rings_;
  UniqueFd listener_;
};

}  // namespace sluice::control::testing_support
