// One worker: a thread on a core of its own that takes frames from its queues of all wires, has the
// engine look at them, and sends them on, run to completion.
//
// A loop
//
//   for each of its receive queues ── burst ─► not ours? ─► ring of the owner ──► that worker
//                                      │ ours
//   ring of frames handed to us ───────┤
//                                light │ └─ others ─► backlog, by subscriber ─► a few in turn
//                                      └─► engine.process ─► transmit buffers ─► flush ◄┘
//   heartbeat (between bursts too) · policy pointer · timers · letters · quiescence
//   nothing for a while (patience.h) ─► sleep on the sockets, 5 ms at most
//
// Order. Frames of one flow and direction come in on one queue, pass one ring at most, stay in
// order in the backlog, and leave through one buffer.
//
// A hang. When the last round or beat is too old, XDP, or a worker that would hand over, has sent
// frames past us. The worker drains what is in its queues without a verdict, forgets its streams,
// tells the other workers (the wire was switched as a whole) to forget theirs, and only then beats
// again.
#pragma once

#include <poll.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/app/capture_tap.h"
#include "dataplane/app/guardian.h"
#include "dataplane/app/patience.h"
#include "dataplane/app/policy_store.h"
#include "dataplane/event/mailbox.h"
#include "dataplane/event/shared_objects.h"
#include "dataplane/inspect/engine.h"
#include "dataplane/io/backlog.h"
#include "dataplane/io/spread.h"
#include "dataplane/io/transmit.h"
#include "dataplane/mem/worker_memory.h"
#include "xdp/loader/loader.h"

struct rte_mbuf;
struct rte_mempool;
struct rte_ring;

namespace sluice::app {

// A wire as all workers see it. Made by the main thread, then unchanged.
struct WirePorts {
  std::string name;
  bool fail_closed = false;
  std::unique_ptr<io::Port> ports[2];                           // by Side
  std::vector<std::unique_ptr<io::TransmitQueue>> transmit[2];  // by Side, then queue
  std::unique_ptr<xdp::Wire> kernel;                            // af_xdp only
};

// What workers share.
struct Shared {
  std::vector<WirePorts> wires;
  rte_mempool* pool = nullptr;
  PolicyStore* policies = nullptr;
  Guardian* guardian = nullptr;  // or nothing
  io::SpreadKey spread;
  std::vector<std::vector<rte_ring*>> handover;  // [to][from]; empty with one worker
  std::vector<class Worker*> workers;
  std::atomic<std::uint32_t> hangs{0};  // grows when any worker found that it had hung
  std::atomic<bool> stop{false};        // orderly: drain, then return
  std::atomic<unsigned> running{0};     // workers whose loop runs
};

struct WorkerSettings {
  unsigned index = 0;
  unsigned workers = 1;
  bool busy_poll = false;
  std::size_t crowd = 0;  // frames of one subscriber that are too many; 0: none ever are
  bool own_cpu = true;    // nobody needs the CPU while the worker polls
  Nanoseconds hang = 60 * kMillisecond;  // not come round for so long: hung
  inspect::Settings engine;
};

class Worker final : private inspect::Output {
 public:
  Worker(const WorkerSettings& settings, Shared& shared, std::unique_ptr<mem::WorkerMemory> memory,
         contract::WorkerStatistics& statistics, void* ring, std::uint64_t ring_capacity);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // The worker's life, on its own thread: until Shared::stop. 0, or 1 when it could not begin.
  int run();
  // Why run() returned 1. After it has returned.
  const std::string& failure() const { return failure_; }

  event::Mailbox& mailbox() { return mailbox_; }
  // Ends a sleep. Any thread.
  void wake();
  // CLOCK_MONOTONIC at which the loop last came round. Any thread.
  Nanoseconds last_seen() const { return last_seen_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint16_t kBurst = 64;
  // Frames of the backlog between two looks into the rings, what a light one may have to wait for;
  // four times as many are sent together. Many are cheaper, which counts when there is no end of
  // them.
  static constexpr std::size_t kShortTurn = 1;
  static constexpr std::size_t kLongTurn = 8;
  // A flow is left to the kernel when the rings are empty, since it begins where no frame of it
  // waits any more (steer_flow::edge). Under a load that never ends it is not waited for that, nor
  // when there are many to wait. Told in frames, of which a ring and the backlog hold so many: time
  // passes also when the worker has no core.
  static constexpr std::uint64_t kMarkWaits = 2 * io::Backlog::kCapacity;
  static constexpr std::size_t kMarksWaiting = 256;
  // What came while it was told waits behind the edge that was said: for so long it is told again
  // when the rings are empty.
  static constexpr Nanoseconds kMarkSettles = 100 * kMillisecond;

  struct Receiver {
    std::uint16_t wire;
    Side side;
    std::uint16_t device;
    std::uint16_t queue;
    int descriptor;  // to sleep on, or -1
  };
  struct Beat {
    std::uint16_t wire;
    std::uint16_t queue;
    xdp::Heartbeat* page;
  };

  // inspect::Output
  void forward(inspect::Frame& frame, bool changed) override;
  void drop(inspect::Frame& frame, contract::DropReason reason) override;
  void inject(std::uint16_t wire, Side side, Bytes octets) override;
  void mark_flow(const flow::FlowKey& key, inspect::FlowMark mark) override;
  FlowTraffic bypassed_traffic(const flow::FlowKey& key) override;
  bool pass_message(const flow::FlowKey& key, Side client, std::uint32_t edge) override;
  inspect::PassedMessage passed_message(const flow::FlowKey& key) override;

  // A mark that waits for the frames that came before it, or was told and has to settle.
  struct Mark {
    flow::FlowKey key;
    inspect::FlowMark mark;
    std::uint64_t after;   // of frames_
    Nanoseconds told = 0;  // first
    FlowEdges edges{};     // with which it was told
  };
  void tell_marks();
  void tell_mark(const flow::FlowKey& key, inspect::FlowMark mark, const FlowEdges& edges = {});

  Status begin();
  void loop_once();
  std::size_t receive(const Receiver& receiver);
  std::size_t receive_handed_over();
  void sort_out(rte_mbuf** frames, std::uint16_t count);
  void flush_handovers();
  void admit(std::span<rte_mbuf* const> frames);
  std::size_t work_off();
  void inspect_frames(std::span<rte_mbuf* const> frames);
  void pass_unread(rte_mbuf* frame);
  void drop_unread(rte_mbuf* frame, contract::DropReason reason);
  void send(std::uint16_t wire, Side side, rte_mbuf* frame, io::Sent as);
  void flush();
  void flush_hurried();
  bool beat();
  void start_beats();
  void recover_from_hang();
  void pass_backlog_unread();
  void drain_unread();
  void adopt_policy();
  void read_letters();
  void step_snapshot();
  void wire_event(const event::Letter& letter);
  void sleep();
  void stop_orderly();
  std::uint32_t occupancy(const Beat& beat) const;
  std::size_t turn() const;
  void read_clock();

  WorkerSettings settings_;
  Shared& shared_;
  std::unique_ptr<mem::WorkerMemory> memory_;
  contract::WorkerStatistics& statistics_;
  event::RingSink sink_;
  std::unique_ptr<inspect::Engine> engine_;
  std::string failure_;

  std::vector<Receiver> receivers_;
  std::vector<Beat> beats_;
  std::vector<std::unique_ptr<xdp::Heartbeat>> pages_;         // by wire
  std::vector<std::unique_ptr<io::TransmitBuffer>> transmit_;  // wire * 2 + side
  std::vector<std::vector<rte_mbuf*>> outgoing_;               // by owner
  std::unique_ptr<io::Backlog> backlog_;                       // or nothing: as they come
  std::vector<Mark> marks_;
  std::uint64_t frames_ = 0;  // dealt with so far
  bool hurry_ = true;         // what is sent now is not to wait for what follows
  std::vector<std::unique_ptr<std::uint8_t[]>> joined_;  // frames of several buffers
  std::size_t joined_used_ = 0;

  inspect::Time now_;
  Nanoseconds last_tick_ = 0;
  Nanoseconds last_idle_ = 0;  // the last round without a frame
  Patience patience_;
  std::uint32_t hangs_seen_ = 0;
  const Edition* edition_ = nullptr;
  std::size_t snapshot_cursor_ = 0;
  bool snapshot_running_ = false;
  Nanoseconds snapshot_begin_ = 0;
  std::vector<std::uint32_t> snapshots_waiting_;
  event::Mailbox mailbox_;
  int wake_ = -1;
  std::vector<pollfd> waiting_;
  std::atomic<bool> sleeping_{false};
  std::atomic<Nanoseconds> last_seen_{0};
  contract::EventWriter writer_;
  CaptureTap captures_;
};

}  // namespace sluice::app
