// Keeps the block lists that XDP holds for each wire equal to what control wants, and the wire's
// settings with them.
//
// Theory. What is wanted is a whole list; the difference to what the kernel has is applied, entry
// by entry when it is small, as a whole list swapped at one instant when it is not. What the kernel
// has is read back whenever a wire is opened, so a restart of sluiced, or of the dataplane with new
// maps, ends in the wanted state (entries live on in the kernel while sluiced is dead, and end
// there by themselves). A wire that is not attached yet is tried again. All of it happens in an
// executor. One thread (that of the loop) but for what runs in the executor.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "control/detect/orders.h"
#include "control/publish/executor.h"
#include "dataplane/base/result.h"

namespace sluice::control {

struct KernelCounter {
  std::string side;  // inside, outside
  std::string name;
  std::string kind;  // total, peer, socket, answer, drop, note
  std::uint64_t frames = 0;
  std::uint64_t octets = 0;
};
struct KernelPort {
  std::string name;
  std::string driver;
  bool attached = false;
  bool generic = false;
  bool front = false;  // XDP is on a veth behind the port
  bool up = false;
  bool carrier = false;
  std::uint32_t mtu = 0;

  // How the program is attached, as operators read it.
  const char* xdp() const {
    return !attached ? "detached" : front ? "front" : generic ? "generic" : "native";
  }
};
struct KernelState {
  bool open = false;                // the wire's maps are there
  std::string error;                // why not
  bool alive = false;               // the dataplane's heartbeats are fresh
  bool bypass = false;              // by an operator
  std::array<KernelPort, 2> ports;  // inside, outside
  std::size_t entries = 0;
  std::vector<KernelCounter> counters;
};

// What the kernel decided about a frame of ours that went through the attached program on paper.
struct KernelProbe {
  std::string side;   // inside, outside
  std::string what;   // the frame
  std::string error;  // it could not be tried
  bool good = false;
  std::string decision;
  std::uint32_t nanoseconds = 0;
};

// One wire in the kernel: xdp::Wire, or a test's.
class KernelWire {
 public:
  virtual ~KernelWire() = default;
  virtual Status put(const KernelEntry& entry) = 0;
  virtual Status remove(const Prefix& prefix) = 0;
  virtual Status replace(std::span<const KernelEntry> entries) = 0;
  virtual Result<std::vector<KernelEntry>> entries() = 0;
  virtual Status set(std::span<const std::uint16_t> mail_ports, policy::Exception failure) = 0;
  virtual void read_state(KernelState& state) = 0;
  // A mail segment and a frame that is no mail, on each side, `count` times. `mail_port`: one of
  // the wire's.
  virtual std::vector<KernelProbe> probe(std::uint16_t mail_port, std::uint32_t count) = 0;
};
using OpenKernelWire = std::function<Result<std::unique_ptr<KernelWire>>(const std::string& name)>;
// Opens wires that the loader pinned below `bpffs` (empty: the loader's own default).
OpenKernelWire kernel_wires_of_loader(const std::string& bpffs);

class KernelLists {
 public:
  KernelLists(Executor& executor, OpenKernelWire open);

  struct Wanted {
    std::string wire;
    bool enforce = false;  // false: the lists of this wire are kept empty
    policy::Exception failure = policy::Exception::fail_open;
  };
  // Applies; calls faster than the kernel takes them are merged. `entries` is called in the
  // executor and gives them ordered by prefix.
  using Entries = std::function<std::vector<KernelEntry>()>;
  void want(std::vector<Wanted> wires, std::vector<std::uint16_t> mail_ports, Entries entries);
  // Opens all wires anew at the next step: their maps may be others now.
  void reopen();
  // Reads counters and states, tries again what failed. Call every second or so.
  void refresh();

  // Probes a wire in the executor; `done` in the loop. Empty: the wire is not open.
  void probe(const std::string& wire, std::uint16_t mail_port, std::uint32_t count,
             std::function<void(const std::vector<KernelProbe>&)> done);

  const std::map<std::string, KernelState>& states() const { return states_; }
  bool idle() const { return !running_ && !dirty_; }

  // More changed entries than this are applied as a whole list.
  static constexpr std::size_t kMostSingleChanges = 256;

 private:
  struct Shared;  // what the executor works on
  void start();

  Executor& executor_;
  std::shared_ptr<Shared> shared_;
  std::vector<Wanted> wires_;
  std::vector<std::uint16_t> mail_ports_;
  Entries new_entries_;  // not yet taken up
  std::map<std::string, KernelState> states_;
  bool dirty_ = false;
  bool running_ = false;
  bool reopen_ = false;
};

}  // namespace sluice::control
