// The process: starts everything in the order that keeps the wire whole, watches links and the
// kernel's part, and stops in the order that loses no accepted frame.
//
// Start   control socket (is another one running?) ► loader attaches or adopts ► guardian ► EAL ►
// ports and
//         sockets ► sockets into the XSKMAPs ► workers ► the first heartbeat, by the workers ►
//         control channel ► ready
// Stop    heartbeats to zero, by the workers (XDP takes the failure policy) ► rings drained and
//         sent ► sockets closed ► the XDP program stays
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "dataplane/app/guardian.h"
#include "dataplane/app/options.h"
#include "dataplane/app/worker.h"
#include "dataplane/event/control_server.h"
#include "dataplane/io/interface.h"

namespace sluice::app {

class Process {
 public:
  explicit Process(const Options& options);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Blocks SIGTERM and SIGINT for all threads, starts, runs until one of them comes, stops. The
  // main thread. An error tells why the process could not start or run.
  Status run();
  // Takes the wires out of the kernel instead of running.
  Status detach();

 private:
  Status start();
  Status attach_wires();
  std::size_t crowd_frames() const;
  void start_guardian();
  Status open_ports();
  Status start_workers();
  void start_control();
  Status watch(int signals);
  void say_ready();
  void check_links();
  void check_kernel();
  void stop();

  void greet(contract::ChannelHello& hello);
  event::PolicyReply publish(Bytes image, std::uint32_t epoch);
  std::vector<contract::ChannelWireState> wire_states();
  bool inspecting(std::size_t wire) const;
  void tell(std::size_t wire, std::string_view state, const std::string& reason);

  struct Watched {  // by wire
    std::atomic<bool> inspecting{false};
    std::uint64_t overload = 0;
    std::uint64_t ring_drops = 0;
    bool overloaded = false;
  };

  Options options_;
  std::unique_ptr<event::ControlSocket> control_socket_;
  Shared shared_;
  std::unique_ptr<PolicyStore> policies_;
  std::unique_ptr<event::StatisticsObject> statistics_;
  std::unique_ptr<event::EventRings> rings_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Guardian> guardian_;
  std::vector<Watched> watched_;  // by wire
  std::unique_ptr<event::ControlServer> server_;
  std::unique_ptr<io::LinkWatch> links_;
  std::mutex publishing_;  // publish() and the main thread's reclaim()
  std::atomic<std::uint32_t> epoch_{0};
  policy::Policy::Digest ruleset_digest_{};  // under publishing_
  std::uint64_t start_time_ = 0;
  bool launched_ = false;
  bool own_cpus_ = false;
  bool ready_ = false;
  const io::Port* awaited_ = nullptr;  // its link keeps us from being ready
};

}  // namespace sluice::app
