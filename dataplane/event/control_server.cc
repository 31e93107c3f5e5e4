#include "dataplane/event/control_server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace sluice::event {

using contract::ChannelKind;

namespace {

constexpr std::size_t kMostControllers = 64;
constexpr int kNeededSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;

Error system_error(const std::string& what) { return Error{what + ": " + std::strerror(errno)}; }

// Whether somebody accepts connections at `address`.
bool answered(const sockaddr_un& address) {
  const int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return false;
  const bool connected =
      connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
      errno == EAGAIN;  // a full backlog is an answer
  close(probe);
  return connected;
}

bool send_message(int controller, const void* message, std::size_t size,
                  std::initializer_list<int> descriptors = {}) {
  iovec part{const_cast<void*>(message), size};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 2)> control{};
  if (descriptors.size() > 0) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors.size());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * descriptors.size());
    std::memcpy(CMSG_DATA(rights), descriptors.begin(), sizeof(int) * descriptors.size());
  }
  // A controller that does not read is dropped rather than waited for.
  return sendmsg(controller, &header, MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(size);
}

struct Received {
  ssize_t size = -1;
  alignas(8) std::array<std::uint8_t, 512> octets{};
  std::vector<int> descriptors;

  Received() = default;
  Received(const Received&) = delete;
  Received& operator=(const Received&) = delete;
  ~Received() {
    for (const int descriptor : descriptors) close(descriptor);
  }
};

void receive_message(int controller, Received& received) {
  iovec part{received.octets.data(), received.octets.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 8)> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  received.size = recvmsg(controller, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (received.size < 0) return;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int descriptor;
      std::memcpy(&descriptor, CMSG_DATA(c) + i * sizeof(int), sizeof descriptor);
      received.descriptors.push_back(descriptor);
    }
  }
  if ((header.msg_flags & MSG_TRUNC) != 0) {
    received.size = -1;
    errno = EMSGSIZE;
  }
}

}  // namespace

Result<ControlSocket> ControlSocket::listen(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Error{"control socket path \"" + path + "\" is empty or longer than " +
                 std::to_string(sizeof address.sun_path - 1) + " octets"};
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code code;
  if (!folder.empty()) std::filesystem::create_directories(folder, code);
  if (code) return Error{"cannot make " + folder.string() + ": " + code.message()};

  ControlSocket made;
  made.descriptor_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (made.descriptor_ < 0) return system_error("no control socket");
  const auto bind_it = [&] {
    const mode_t mask = umask(0177);
    const int result =
        bind(made.descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    umask(mask);
    return result == 0;
  };
  if (!bind_it()) {
    struct stat there {};
    if (errno != EADDRINUSE || lstat(path.c_str(), &there) != 0) {
      return system_error("cannot bind control socket " + path);
    }
    if (!S_ISSOCK(there.st_mode)) {
      return Error{"control socket path " + path + " is a file that is not a socket; remove it"};
    }
    if (answered(address)) {
      return Error{"another sluice-dataplane answers at " + path +
                   "; stop it, or give --socket another path"};
    }
    unlink(path.c_str());
    if (!bind_it()) return system_error("cannot bind control socket " + path);
  }
  struct stat mine {};
  if (::listen(made.descriptor_, 16) != 0 || lstat(path.c_str(), &mine) != 0) {
    return system_error("cannot listen on control socket " + path);
  }
  made.path_ = path;
  made.inode_ = mine.st_ino;
  return made;
}

ControlSocket::ControlSocket(ControlSocket&& other) noexcept
    : descriptor_(other.descriptor_), path_(std::move(other.path_)), inode_(other.inode_) {
  other.descriptor_ = -1;
}

ControlSocket::~ControlSocket() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  struct stat there {};
  if (!path_.empty() && lstat(path_.c_str(), &there) == 0 && there.st_ino == inode_) {
    unlink(path_.c_str());
  }
}

ControlServer::ControlServer(ControlSocket socket, int statistics, int rings,
                             ControlHandlers handlers)
    : socket_(std::move(socket)),
      statistics_(statistics),
      rings_(rings),
      handlers_(std::move(handlers)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

ControlServer::~ControlServer() {
  thread_.request_stop();
  wires_changed();
  thread_.join();
  for (const int controller : controllers_) close(controller);
  close(wake_);
}

void ControlServer::wires_changed() {
  wires_changed_.store(true, std::memory_order_release);
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof one);
}

void ControlServer::run(const std::stop_token& stop) {
  std::vector<pollfd> waiting;
  while (!stop.stop_requested()) {
    waiting.clear();
    waiting.push_back({wake_, POLLIN, 0});
    waiting.push_back({socket_.descriptor(), POLLIN, 0});
    for (const int controller : controllers_) waiting.push_back({controller, POLLIN, 0});
    if (poll(waiting.data(), waiting.size(), -1) < 0) continue;
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t drained = read(wake_, &count, sizeof count);
    std::vector<int> gone;
    for (std::size_t i = 2; i < waiting.size(); ++i) {
      if (waiting[i].revents != 0 && !serve(waiting[i].fd)) gone.push_back(waiting[i].fd);
    }
    if (wires_changed_.exchange(false, std::memory_order_acquire)) {
      for (const int controller : controllers_) {
        if (std::find(gone.begin(), gone.end(), controller) == gone.end() &&
            !send_wires(controller)) {
          gone.push_back(controller);
        }
      }
    }
    for (const int controller : gone) {
      std::erase(controllers_, controller);
      close(controller);
    }
    if ((waiting[1].revents & POLLIN) != 0) accept_one();
  }
}

void ControlServer::accept_one() {
  const int controller =
      accept4(socket_.descriptor(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (controller < 0) return;
  contract::ChannelHello hello;
  handlers_.greet(hello);
  if (controllers_.size() >= kMostControllers ||
      !send_message(controller, &hello, sizeof hello, {statistics_, rings_}) ||
      !send_wires(controller)) {
    close(controller);
    return;
  }
  controllers_.push_back(controller);
}

bool ControlServer::send_wires(int controller) {
  for (const contract::ChannelWireState& wire : handlers_.wires()) {
    if (!send_message(controller, &wire, sizeof wire)) return false;
  }
  return true;
}

// One message; false when the connection is to be ended.
bool ControlServer::serve(int controller) {
  Received received;
  receive_message(controller, received);
  if (received.size < 0) return errno == EAGAIN || errno == EINTR;
  const auto size = static_cast<std::size_t>(received.size);
  if (size < sizeof(ChannelKind)) return false;
  ChannelKind kind;
  std::memcpy(&kind, received.octets.data(), sizeof kind);
  switch (kind) {
    case ChannelKind::publish_policy: {
      contract::ChannelPublishPolicy message;
      if (size != sizeof message) return false;
      std::memcpy(&message, received.octets.data(), sizeof message);
      return publish(controller, message,
                     received.descriptors.empty() ? -1 : received.descriptors.front());
    }
    case ChannelKind::flow_snapshot: {
      contract::ChannelFlowSnapshot message;
      if (size != sizeof message) return false;
      std::memcpy(&message, received.octets.data(), sizeof message);
      handlers_.snapshot(message.identity);
      return true;
    }
    case ChannelKind::capture: {
      contract::ChannelCapture message;
      if (size != sizeof message) return false;
      std::memcpy(&message, received.octets.data(), sizeof message);
      if (handlers_.capture) handlers_.capture(message);
      return true;
    }
    case ChannelKind::hello:
    case ChannelKind::policy_answer:
    case ChannelKind::wire_state:
      break;  // ours to send, not to receive
  }
  unknown_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

bool ControlServer::publish(int controller, const contract::ChannelPublishPolicy& message,
                            int image) {
  PolicyReply reply;
  const int seals = image < 0 ? -1 : fcntl(image, F_GET_SEALS);
  struct stat file {};
  if (image < 0) {
    reply.reason = "no descriptor came with the policy";
  } else if (seals < 0 || (seals & kNeededSeals) != kNeededSeals) {
    reply.reason = "the policy image is not sealed against writing, shrinking and growing";
  } else if (fstat(image, &file) != 0 || static_cast<std::uint64_t>(file.st_size) != message.size ||
             message.size == 0 || message.size > kLargestImage) {
    reply.reason = "the policy image is " + std::to_string(file.st_size) + " octets, " +
                   std::to_string(message.size) + " were said (1 to " +
                   std::to_string(kLargestImage) + " are possible)";
  } else {
    void* octets = mmap(nullptr, message.size, PROT_READ, MAP_PRIVATE, image, 0);
    if (octets == MAP_FAILED) {
      reply.reason = std::string("cannot map the policy image: ") + std::strerror(errno);
    } else {
      reply = handlers_.publish({static_cast<const std::uint8_t*>(octets), message.size},
                                message.epoch);
      munmap(octets, message.size);
    }
  }
  contract::ChannelPolicyAnswer answer;
  answer.kind = ChannelKind::policy_answer;
  answer.epoch = message.epoch;
  answer.status = reply.status;
  answer.nanoseconds = reply.nanoseconds;
  reply.reason.copy(answer.reason, sizeof answer.reason - 1);
  return send_message(controller, &answer, sizeof answer);
}

}  // namespace sluice::event
