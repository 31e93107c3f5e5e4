// The inspection engine of one worker: frames in, frames and events out. It composes parse, flow,
// in-order delivery, SMTP, MIME, scanning, verdict and enforcement, and knows neither DPDK nor
// threads nor clocks. The same code serves the wire, `sluicectl analyze` and the tests.
//
// Every frame given to process() leaves through Output exactly once, as forward() or drop(), in
// the order of the burst; inject() calls stand where the injected frame belongs in that order.
#pragma once

#include <cstdint>
#include <memory>
#include <memory_resource>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/direction.h"
#include "dataplane/base/marked_flow.h"
#include "dataplane/base/result.h"
#include "dataplane/contract/event_record.h"
#include "dataplane/contract/statistics.h"
#include "dataplane/flow/flow_table.h"
#include "dataplane/net/packet.h"
#include "dataplane/policy/policy.h"
#include "dataplane/scan/spam_times.h"

namespace sluice::inspect {

struct Frame {
  MutableBytes octets;  // may be overwritten or made shorter by the engine before forward()
  std::uint16_t wire = 0;
  Side side = Side::inside;
  std::uint64_t number = 0;  // offline: of the frame in the capture, from 1
  void* handle = nullptr;    // the caller's (an mbuf)
  bool cut = false;          // offline: the capture has only its beginning
};

// What the kernel's part should know of a flow (the maps of xdp/contract).
enum class FlowMark : std::uint8_t {
  sequence_changed,  // octets of ours are in its sequence space: reset it on bypass
  bypass,            // nothing more is to be read of it: its frames, but for ends and beginnings,
                     // may go from port to port, counted
  message,           // pass_message() was called
  scanned,           // is read again: neither of the two
  not_mail,          // of a port that is not mail's: nor is it mail by what it says
  ended,             // forget what was said of it
};

// The sequence numbers [start, next) of a client's content that went from port to port, in order.
struct PassedContent {
  std::uint32_t start = 0;
  std::uint32_t next = 0;
  std::uint8_t last[2]{};  // the octets before `next`
};
struct PassedMessage {
  bool over = false;  // the kernel gives the flow back
  std::optional<PassedContent> content;
};

class Output {
 public:
  // Send `frame` out of the other port. `changed`: its octets or length were changed by us. What
  // the wire then takes or refuses only the callee knows: it counts both, and injected frames too.
  virtual void forward(Frame& frame, bool changed) = 0;
  virtual void drop(Frame& frame, contract::DropReason reason) = 0;
  // Send a frame of ours out of the port on `side` of `wire`. The octets are copied by the callee.
  virtual void inject(std::uint16_t wire, Side side, Bytes octets) = 0;
  virtual void mark_flow(const flow::FlowKey& key, FlowMark mark) = 0;
  // Since it was marked. May cost a system call.
  virtual FlowTraffic bypassed_traffic(const flow::FlowKey& key) {
    static_cast<void>(key);
    return {};
  }
  // The content of a message is not read any more: what the client, on that side, says may go from
  // port to port in order, from the sequence number `edge` on, up to the first segment that may
  // hold the message's end; and pure acknowledgements. Called again as long as frames of before
  // come. False: that cannot be. Then, while it is marked so, what became of it. May cost a system
  // call.
  virtual bool pass_message(const flow::FlowKey& key, Side client, std::uint32_t edge) {
    static_cast<void>(key);
    static_cast<void>(client);
    static_cast<void>(edge);
    return false;
  }
  virtual PassedMessage passed_message(const flow::FlowKey& key) {
    static_cast<void>(key);
    return {.over = true, .content = {}};
  }

 protected:
  ~Output() = default;
};

struct Time {
  Nanoseconds monotonic = 0;
  std::uint64_t wall = 0;  // ns since the Unix epoch, for events only
};

struct Settings {
  std::vector<std::string> wires;  // names, by wire index
  std::size_t max_flows = 1u << 20;
  std::size_t max_memory = std::size_t{1} << 30;  // octets, for streams and messages
  // Of one flow; never more than a quarter of max_memory. Beyond it the flow takes the declared
  // policy (exceptions.memory).
  std::size_t max_flow_memory = std::size_t{64} << 20;
  bool verify_checksums = true;
  // Whether Frame::side is where the frame came in; else it was guessed from the packet itself.
  bool verify_sides = true;
  net::LinkType link = net::LinkType::ethernet;
  bool all_ports = false;  // offline: SMTP is recognised on every port
  std::uint16_t worker = 0;
  std::uint64_t flow_id_seed = 0;
  flow::HashKey hash_secret{0x736c75696365, 0x666c6f7773};  // of the flow table: random on the wire
  // Frames of a burst may change places, but for those of one flow (burst_order.h).
  bool regroup = false;
  // After so long without a segment a flow's state is made small.
  Nanoseconds idle_after = 5 * kSecond;
  // Where to add what SpamAssassin's rules take, or nullptr: for `rules test`.
  scan::SpamTimes* spam_times = nullptr;
};

// Octets, exact.
struct MemoryUse {
  std::size_t table = 0;  // the flow table: index and entries
  std::size_t flows = 0;  // streams, sessions, messages, scans: what Settings::max_memory bounds
};

class Engine {
 public:
  Engine(const Settings& settings, contract::WorkerStatistics& statistics,
         contract::EventSink& events, Output& output, std::pmr::memory_resource* memory);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // From now on new messages use `policy`, which must live until oldest_epoch_in_use() has passed
  // its epoch, and for its ruleset `scratch`, which was made for this worker off the loop. Called
  // between bursts; allocates nothing.
  void set_policy(const policy::Policy& policy, std::shared_ptr<scan::Scratch> scratch);
  // The same where nothing waits (offline, tests): makes the scratch itself.
  Status set_policy(const policy::Policy& policy);
  // Messages that still use a ruleset which was last in force before `epoch` do without from now on
  // and take the declared policy (exceptions.memory); so many at a time, until it returns true.
  bool release_rulesets_before(std::uint32_t epoch);
  // The lowest epoch that a message in progress, or the engine itself, still uses.
  std::uint32_t oldest_epoch_in_use() const;

  void process(std::span<Frame> burst, const Time& now);
  // Timers: retransmissions of our own segments, flow time-outs, fragments. At least every 20 ms.
  void tick(const Time& now);
  // When the next tick is needed for a timer, or UINT64_MAX.
  Nanoseconds next_timer() const;
  // Emits up to `count` flow_snapshot records from `cursor`; the new cursor, or 0 at the end (after
  // snapshot_end was emitted).
  std::size_t snapshot(std::size_t cursor, std::size_t count, const Time& now);
  // The worker hung: no verdict may rest on streams from before. Flows go on as mid-stream.
  void forget_streams();
  // The MIME and rule part on one message (offline): events as of a flow without addresses.
  void inspect_message(Bytes octets, const Time& now);
  // Ends every flow (offline at the end of a capture).
  void finish(const Time& now);

  FlowEdges edges(const flow::FlowKey& key) const;
  std::size_t flows() const;
  MemoryUse memory_use() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::inspect
