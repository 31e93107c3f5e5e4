// The dataplane's end of the control channel (contract/control_channel.h): a thread that listens,
// greets, takes policies and requests, and tells of wires. Controllers may come, go and die at any
// time; none of them can make the thread wait, and the thread cannot make a worker wait.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/base/result.h"
#include "dataplane/contract/control_channel.h"

namespace sluice::event {

// The listening socket, taken before anything else is touched: it also tells whether another
// dataplane is running.
class ControlSocket {
 public:
  // Makes the folder (0755) and the socket (0600, owner root). A socket file that nobody answers
  // on is replaced; one that is answered is an error that names it.
  static Result<ControlSocket> listen(const std::string& path);
  ~ControlSocket();  // removes the file when it is still ours
  ControlSocket(ControlSocket&& other) noexcept;
  ControlSocket& operator=(ControlSocket&&) = delete;
  int descriptor() const { return descriptor_; }
  const std::string& path() const { return path_; }

 private:
  ControlSocket() = default;
  int descriptor_ = -1;
  std::string path_;
  std::uint64_t inode_ = 0;
};

struct PolicyReply {
  contract::PolicyStatus status = contract::PolicyStatus::refused;
  std::uint64_t nanoseconds = 0;
  std::string reason;
};

// Called on the server's thread.
struct ControlHandlers {
  // Everything of the greeting that may change.
  std::function<void(contract::ChannelHello&)> greet;
  // `image` is mapped and sealed; it is unmapped when the call returns. May take seconds.
  std::function<PolicyReply(Bytes image, std::uint32_t epoch)> publish;
  std::function<void(std::uint32_t identity)> snapshot;
  std::function<void(const contract::ChannelCapture&)> capture;
  std::function<std::vector<contract::ChannelWireState>()> wires;
};

class ControlServer {
 public:
  // `statistics` and `rings`: descriptors given to every controller, borrowed. Starts the thread.
  ControlServer(ControlSocket socket, int statistics, int rings, ControlHandlers handlers);
  ~ControlServer();  // ends the thread
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  // Tells every controller the state of the wires. Any thread, does not wait.
  void wires_changed();
  // Messages of a kind that is not known.
  std::uint64_t unknown_messages() const { return unknown_.load(std::memory_order_relaxed); }

  static constexpr std::uint64_t kLargestImage = std::uint64_t{2} << 30;

 private:
  void run(const std::stop_token& stop);
  void accept_one();
  bool serve(int controller);
  bool publish(int controller, const contract::ChannelPublishPolicy& message, int image);
  bool send_wires(int controller);

  ControlSocket socket_;
  int statistics_;
  int rings_;
  ControlHandlers handlers_;
  int wake_ = -1;
  std::vector<int> controllers_;
  std::atomic<bool> wires_changed_{false};
  std::atomic<std::uint64_t> unknown_{0};
  std::jthread thread_;
};

}  // namespace sluice::event
