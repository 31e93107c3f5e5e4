#include "control/publish/channel.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace sluice::control {

namespace {

std::string reason_of(const char* what, int error) {
  return std::string(what) + ": " + std::generic_category().message(error);
}

std::size_t round_to_page(std::size_t n) { return (n + 4095) & ~std::size_t{4095}; }

// Bounds on what a Hello may claim: far above any machine, far below an address space.
constexpr std::uint32_t kMaxWorkers = 1024;
constexpr std::uint64_t kMaxRing = std::uint64_t{1} << 30;

template <std::size_t N>
bool terminated(const char (&text)[N]) {
  return std::memchr(text, '\0', N) != nullptr;
}

}  // namespace

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}
int UniqueFd::release() { return std::exchange(fd_, -1); }
void UniqueFd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<UniqueFd> sealed_memfd(Bytes octets) {
  UniqueFd fd(::memfd_create("sluice-policy", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return Error{reason_of("memfd_create", errno)};
  for (std::size_t done = 0; done < octets.size();) {
    const ssize_t n = ::write(fd.get(), octets.data() + done, octets.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error{reason_of("writing the policy image", errno)};
    done += static_cast<std::size_t>(n);
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) !=
      0) {
    return Error{reason_of("sealing the policy image", errno)};
  }
  return fd;
}

// The two shared objects of one dataplane.
struct DataplaneChannel::Mapping {
  void* statistics = MAP_FAILED;
  std::size_t statistics_size = 0;
  void* rings = MAP_FAILED;
  std::size_t rings_size = 0;
  std::uint32_t workers = 0;
  std::vector<contract::EventRingConsumer> consumers;
  std::vector<std::uint64_t> lost_at_start;  // lost before we came; not ours to report

  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (statistics != MAP_FAILED) ::munmap(statistics, statistics_size);
    if (rings != MAP_FAILED) ::munmap(rings, rings_size);
  }
  std::uint64_t lost() const {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < consumers.size(); ++i) {
      const std::uint64_t now = consumers[i].lost();
      sum += now >= lost_at_start[i] ? now - lost_at_start[i] : 0;
    }
    return sum;
  }
  std::uint64_t corrupt() const {
    std::uint64_t sum = 0;
    for (const auto& c : consumers) sum += c.corrupt();
    return sum;
  }
};

struct DataplaneChannel::Message {
  alignas(8) std::uint8_t octets[512];
  std::size_t size = 0;
  UniqueFd fds[2];
  std::size_t fd_count = 0;

  template <typename T>
  bool read(T& into) const {
    if (size != sizeof(T)) return false;
    std::memcpy(&into, octets, sizeof(T));
    return true;
  }
};

DataplaneChannel::DataplaneChannel(std::string path, Handler& handler)
    : path_(std::move(path)), handler_(handler), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

DataplaneChannel::~DataplaneChannel() = default;

void DataplaneChannel::tick(Nanoseconds now) {
  switch (state_) {
    case State::idle:
      if (now >= next_attempt_) try_connect(now);
      break;
    case State::greeting:
      if (now >= greeting_deadline_) {
        next_attempt_ = now + kReconnectInterval;
        disconnect("the dataplane did not say Hello");
      }
      break;
    case State::connected:
      if (publish_epoch_ && now >= answer_deadline_) {
        next_attempt_ = now + kReconnectInterval;
        disconnect("the dataplane did not answer a policy");
      }
      break;
  }
}

void DataplaneChannel::try_connect(Nanoseconds now) {
  next_attempt_ = now + kReconnectInterval;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof address.sun_path) {
    last_reason_ = "the path of the dataplane's socket is too long";
    return;
  }
  std::memcpy(address.sun_path, path_.data(), path_.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) {
    last_reason_ = reason_of("socket", errno);
    return;
  }
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    last_reason_ = reason_of(path_.c_str(), errno);
    return;
  }
  epoll_event event{};
  event.events = EPOLLIN;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0) {
    last_reason_ = reason_of("epoll_ctl", errno);
    return;
  }
  socket_ = std::move(fd);
  state_ = State::greeting;
  greeting_deadline_ = now + kGreetingTimeout;
}

void DataplaneChannel::disconnect(const std::string& reason) {
  const bool was_connected = state_ == State::connected;
  socket_.reset();  // leaves the epoll set by being closed
  state_ = State::idle;
  publish_epoch_.reset();
  pending_image_.reset();
  last_reason_ = reason;
  if (mapping_) {
    drain();
    lost_before_ += mapping_->lost();
    corrupt_before_ += mapping_->corrupt();
    mapping_.reset();
  }
  if (was_connected) handler_.dataplane_disconnected(reason);
}

void DataplaneChannel::drain() {
  // Bounded: a peer that is alive and writes as fast as we read must not hold us here.
  constexpr std::size_t kMostRounds = 4096;
  for (std::size_t round = 0; round < kMostRounds && read_events(256) > 0; ++round) {
  }
}

void DataplaneChannel::ready(Nanoseconds now) {
  if (!socket_) return;
  if (pending_image_) flush_publish();
  while (socket_ && receive()) {
  }
  if (!socket_) next_attempt_ = std::max(next_attempt_, now + kReconnectInterval);
}

bool DataplaneChannel::receive() {
  Message message;
  iovec vector{message.octets, sizeof message.octets};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 8)];
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (n < 0) {
    if (errno == EAGAIN || errno == EINTR) return false;
    disconnect(reason_of("reading from the dataplane", errno));
    return false;
  }
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int raw;
      std::memcpy(&raw, CMSG_DATA(c) + i * sizeof(int), sizeof raw);
      UniqueFd fd(raw);  // closed when it is one too many
      if (message.fd_count < 2) message.fds[message.fd_count++] = std::move(fd);
    }
  }
  if (n == 0) {
    disconnect("the dataplane closed the connection");
    return false;
  }
  message.size = static_cast<std::size_t>(n);
  if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
      message.size < sizeof(contract::ChannelKind)) {
    disconnect("the dataplane sent a message of a wrong size");
    return false;
  }
  handle(message);
  return static_cast<bool>(socket_);
}

void DataplaneChannel::handle(const Message& message) {
  contract::ChannelKind kind;
  std::memcpy(&kind, message.octets, sizeof kind);
  if (state_ == State::greeting && kind != contract::ChannelKind::hello) {
    disconnect("the dataplane spoke before its Hello");
    return;
  }
  switch (kind) {
    case contract::ChannelKind::hello:
      handle_hello(message);
      return;
    case contract::ChannelKind::policy_answer: {
      contract::ChannelPolicyAnswer answer;
      if (!message.read(answer) || !terminated(answer.reason)) {
        disconnect("the dataplane sent a malformed policy answer");
        return;
      }
      if (!publish_epoch_ || answer.epoch != *publish_epoch_) {
        ++unknown_messages_;  // an answer to nothing that we asked
        return;
      }
      publish_epoch_.reset();
      handler_.policy_answered(answer);
      return;
    }
    case contract::ChannelKind::wire_state: {
      contract::ChannelWireState state;
      if (!message.read(state) || !terminated(state.name) || !terminated(state.inside) ||
          !terminated(state.outside) || !terminated(state.driver)) {
        disconnect("the dataplane sent a malformed wire state");
        return;
      }
      handler_.wire_changed(state);
      return;
    }
    case contract::ChannelKind::publish_policy:
    case contract::ChannelKind::capture:
    case contract::ChannelKind::flow_snapshot:
      break;
  }
  ++unknown_messages_;
}

void DataplaneChannel::handle_hello(const Message& message) {
  contract::ChannelHello hello;
  if (state_ != State::greeting || !message.read(hello)) {
    disconnect("the dataplane sent a malformed Hello");
    return;
  }
  if (hello.version != contract::kChannelVersion) {
    disconnect("the dataplane speaks version " + std::to_string(hello.version) +
               " of the channel, this program " + std::to_string(contract::kChannelVersion));
    return;
  }
  if (message.fd_count != 2) {
    disconnect("the Hello came without its two descriptors");
    return;
  }
  if (hello.workers == 0 || hello.workers > kMaxWorkers || hello.ring_capacity > kMaxRing ||
      !std::has_single_bit(hello.ring_capacity)) {
    disconnect("the Hello claims sizes that make no sense");
    return;
  }
  auto mapping = std::make_unique<Mapping>();
  const std::size_t stride = round_to_page(contract::event_ring_bytes(hello.ring_capacity));
  mapping->rings_size = stride * hello.workers;
  mapping->statistics_size = static_cast<std::size_t>(hello.statistics_size);
  mapping->workers = hello.workers;
  // What is mapped must be there: touching pages beyond the end of the object kills us.
  struct stat statistics_stat {};
  struct stat rings_stat {};
  if (::fstat(message.fds[0].get(), &statistics_stat) != 0 ||
      ::fstat(message.fds[1].get(), &rings_stat) != 0 || statistics_stat.st_size < 0 ||
      static_cast<std::uint64_t>(statistics_stat.st_size) < hello.statistics_size ||
      static_cast<std::uint64_t>(rings_stat.st_size) < mapping->rings_size ||
      hello.statistics_size <
          sizeof(contract::StatisticsHeader) +
              std::uint64_t{hello.workers} * sizeof(contract::WorkerStatistics)) {
    disconnect("the shared objects are smaller than the Hello claims");
    return;
  }
  mapping->statistics =
      ::mmap(nullptr, mapping->statistics_size, PROT_READ, MAP_SHARED, message.fds[0].get(), 0);
  mapping->rings = ::mmap(nullptr, mapping->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED,
                          message.fds[1].get(), 0);
  if (mapping->statistics == MAP_FAILED || mapping->rings == MAP_FAILED) {
    disconnect(reason_of("mapping the shared objects", errno));
    return;
  }
  const auto* header = static_cast<const contract::StatisticsHeader*>(mapping->statistics);
  if (header->magic != contract::kStatisticsMagic ||
      header->version != contract::kStatisticsVersion || header->workers != hello.workers ||
      header->worker_size != sizeof(contract::WorkerStatistics)) {
    disconnect("the statistics object is of another version");
    return;
  }
  for (std::uint32_t i = 0; i < hello.workers; ++i) {
    mapping->consumers.emplace_back(static_cast<std::uint8_t*>(mapping->rings) + stride * i,
                                    stride);
    if (!mapping->consumers.back().ok()) {
      disconnect("the event rings are of another version");
      return;
    }
    mapping->lost_at_start.push_back(mapping->consumers.back().lost());
  }
  mapping_ = std::move(mapping);
  hello_ = hello;
  state_ = State::connected;
  last_reason_.clear();
  handler_.dataplane_connected(hello_);
}

bool DataplaneChannel::publish(std::uint32_t epoch, UniqueFd image, std::uint64_t size,
                               Nanoseconds now) {
  if (state_ != State::connected || publish_epoch_) return false;
  publish_epoch_ = epoch;
  answer_deadline_ = now + kAnswerTimeout;
  pending_image_ = std::move(image);
  pending_size_ = size;
  flush_publish();
  return true;
}

void DataplaneChannel::flush_publish() {
  if (!publish_epoch_) {
    pending_image_.reset();
    return;
  }
  contract::ChannelPublishPolicy publish;
  publish.epoch = *publish_epoch_;
  publish.size = pending_size_;
  iovec vector{&publish, sizeof publish};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = pending_image_.get();
  std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  if (::sendmsg(socket_.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) {
    pending_image_.reset();
    watch_writable(false);
  } else {
    // EAGAIN: the socket's queue is full. Any other error: its end shows in ready() soon.
    watch_writable(true);
  }
}

void DataplaneChannel::watch_writable(bool on) {
  epoll_event event{};
  event.events = on ? EPOLLIN | EPOLLOUT : EPOLLIN;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, socket_.get(), &event);
}

bool DataplaneChannel::request_snapshot(std::uint32_t identity) {
  if (state_ != State::connected) return false;
  contract::ChannelFlowSnapshot request;
  request.identity = identity;
  return ::send(socket_.get(), &request, sizeof request, MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(sizeof request);
}

bool DataplaneChannel::request_capture(const contract::ChannelCapture& order) {
  if (state_ != State::connected) return false;
  return ::send(socket_.get(), &order, sizeof order, MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(sizeof order);
}

std::size_t DataplaneChannel::read_events(std::size_t most) {
  if (!mapping_) return 0;
  std::size_t count = 0;
  for (auto& consumer : mapping_->consumers) {
    count += consumer.read(most, [this](Bytes record) { handler_.dataplane_event(record); });
  }
  return count;
}

std::uint64_t DataplaneChannel::events_lost() const {
  return lost_before_ + (mapping_ ? mapping_->lost() : 0);
}
std::uint64_t DataplaneChannel::rings_corrupt() const {
  return corrupt_before_ + (mapping_ ? mapping_->corrupt() : 0);
}

std::vector<const contract::WorkerStatistics*> DataplaneChannel::statistics() const {
  std::vector<const contract::WorkerStatistics*> workers;
  if (!mapping_) return workers;
  const auto* first = reinterpret_cast<const contract::WorkerStatistics*>(
      static_cast<const std::uint8_t*>(mapping_->statistics) + sizeof(contract::StatisticsHeader));
  for (std::uint32_t i = 0; i < mapping_->workers; ++i) workers.push_back(first + i);
  return workers;
}

}  // namespace sluice::control
