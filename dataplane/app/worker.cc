#include "dataplane/app/worker.h"

#include <poll.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "dataplane/app/scheduling.h"
#include "dataplane/io/af_xdp_sockets.h"
#include "dataplane/io/mbuf_pool.h"
#include "dataplane/io/write_back.h"

namespace sluice::app {

using contract::Counter;
using contract::DropReason;
using contract::Gauge;

namespace {

constexpr Nanoseconds kLongestSleep = 5 * kMillisecond;
constexpr Nanoseconds kSleepWithoutDescriptor = 250 * kMicrosecond;
constexpr Nanoseconds kTick = 10 * kMillisecond;
constexpr Nanoseconds kSnapshotPatience = 5 * kSecond;
constexpr std::size_t kSnapshotStep = 32;
constexpr std::size_t kSnapshotsWaiting = 16;
constexpr Nanoseconds kSaturated = kMillisecond;  // without a pause for so long
// So few that come when nothing waits are not worth an order.
constexpr std::size_t kFew = 2;

std::uint16_t tag_of(std::uint16_t wire, Side side) {
  return static_cast<std::uint16_t>(wire * 2 + static_cast<unsigned>(side));
}
std::uint16_t wire_of(const rte_mbuf* frame) { return static_cast<std::uint16_t>(frame->port / 2); }
Side side_of(const rte_mbuf* frame) { return static_cast<Side>(frame->port % 2); }

Nanoseconds read(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<Nanoseconds>(t.tv_sec) * kSecond + static_cast<Nanoseconds>(t.tv_nsec);
}

}  // namespace

Worker::Worker(const WorkerSettings& settings, Shared& shared,
               std::unique_ptr<mem::WorkerMemory> memory, contract::WorkerStatistics& statistics,
               void* ring, std::uint64_t ring_capacity)
    : settings_(settings),
      shared_(shared),
      memory_(std::move(memory)),
      statistics_(statistics),
      sink_(ring, ring_capacity),
      patience_(settings.own_cpu ? Patience::kMost : Patience::kLeast),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      captures_(sink_, static_cast<std::uint16_t>(settings.index)) {
  outgoing_.resize(settings_.workers);
  bool live = true;
  const auto wires = static_cast<std::uint16_t>(shared_.wires.size());  // 64 at most
  for (std::uint16_t wire = 0; wire < wires; ++wire) {
    WirePorts& ports = shared_.wires[wire];
    for (const Side side : {Side::inside, Side::outside}) {
      const auto s = static_cast<std::size_t>(side);
      auto& queues = ports.transmit[s];
      transmit_.push_back(std::make_unique<io::TransmitBuffer>(
          *queues[settings_.index % queues.size()], statistics_));
      const io::Port& port = *ports.ports[s];
      live = live && (io::has_interface(port.driver()) || port.driver() == io::Driver::native);
      for (std::uint16_t queue = 0; queue < port.queues(); ++queue) {
        if (queue % settings_.workers != settings_.index) continue;
        receivers_.push_back({wire, side, port.device(), queue, port.descriptor(queue)});
      }
    }
  }
  // What comes from a file goes out as it came in.
  settings_.engine.regroup = live;
  if (live)
    backlog_ =
        std::make_unique<io::Backlog>(io::Backlog::kCapacity, shared_.spread, settings_.crowd);
}

Worker::~Worker() {
  void* frame = nullptr;
  while (backlog_ && backlog_->take({&frame, 1}) == 1)
    rte_pktmbuf_free(static_cast<rte_mbuf*>(frame));
  close(wake_);
}

void Worker::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof one);
}

void Worker::read_clock() {
  now_.monotonic = read(CLOCK_MONOTONIC);
  now_.wall = read(CLOCK_REALTIME);
}

// ---- beginning and end ----

Status Worker::begin() {
  favour_worker();
  if (Status bound = memory_->bind(); !bound) return bound;
  try {
    engine_ = std::make_unique<inspect::Engine>(
        settings_.engine, statistics_, sink_, static_cast<inspect::Output&>(*this), memory_.get());
  } catch (const std::bad_alloc&) {
    return Error{"worker " + std::to_string(settings_.index) +
                 ": the memory does not suffice for its tables; give more --memory or less "
                 "--max-flows"};
  }
  const auto wires = static_cast<std::uint16_t>(shared_.wires.size());  // 64 at most
  for (std::uint16_t wire = 0; wire < wires; ++wire) {
    pages_.emplace_back();
    WirePorts& ports = shared_.wires[wire];
    if (!ports.kernel) continue;
    Result<xdp::Heartbeat> page = ports.kernel->map_heartbeat();
    if (!page) return Error{page.error()};
    pages_.back() = std::make_unique<xdp::Heartbeat>(std::move(*page));
    const std::uint16_t queues = std::max(ports.ports[0]->queues(), ports.ports[1]->queues());
    for (std::uint16_t queue = 0; queue < queues; ++queue) {
      if (queue % settings_.workers == settings_.index) {
        beats_.push_back({wire, queue, pages_.back().get()});
      }
    }
  }
  return ok();
}

int Worker::run() {
  if (Status begun = begin(); !begun) {
    failure_ = begun.error();
    return 1;
  }
  read_clock();
  shared_.policies->online(settings_.index);
  adopt_policy();
  if (shared_.guardian != nullptr) shared_.guardian->enter(settings_.index);
  start_beats();
  shared_.running.fetch_add(1, std::memory_order_release);
  while (!shared_.stop.load(std::memory_order_relaxed)) loop_once();
  stop_orderly();
  if (shared_.guardian != nullptr) shared_.guardian->leave(settings_.index);
  shared_.policies->offline(settings_.index);
  engine_.reset();
  memory_->release();
  return 0;
}

// XDP takes over first; then what it had given us is dealt with and sent.
void Worker::stop_orderly() {
  for (const Beat& beat : beats_) beat.page->stop(beat.queue);
  read_clock();
  const Nanoseconds begin = now_.monotonic;
  Nanoseconds last_frame = begin;
  bool counted = false;
  for (;;) {
    read_clock();
    std::size_t frames = receive_handed_over();
    for (const Receiver& receiver : receivers_) frames += receive(receiver);
    frames += work_off();
    flush();
    if (frames > 0) last_frame = now_.monotonic;
    // Frames that the kernel was redirecting when the beat stopped come within microseconds.
    const bool quiet = now_.monotonic - last_frame > 5 * kMillisecond;
    const bool late = now_.monotonic - begin > 500 * kMillisecond;
    if ((quiet || late) && !counted) {
      counted = true;
      shared_.running.fetch_sub(1, std::memory_order_acq_rel);
    }
    // Another worker may still hand over.
    if (late || (quiet && shared_.running.load(std::memory_order_acquire) == 0)) break;
  }
  pass_backlog_unread();  // when it was late
  flush();
  for (const Receiver& receiver : receivers_) {
    while (receiver.descriptor >= 0 && io::af_xdp_transmit_pending(receiver.descriptor) > 0) {
      read_clock();
      if (now_.monotonic - begin > kSecond) break;
    }
  }
  engine_->finish(now_);
  flush();
}

// ---- the loop ----

void Worker::loop_once() {
  read_clock();
  if (!beat()) recover_from_hang();
  const std::uint32_t hangs = shared_.hangs.load(std::memory_order_relaxed);
  if (hangs != hangs_seen_) {
    hangs_seen_ = hangs;
    engine_->forget_streams();
  }
  adopt_policy();
  if (backlog_) backlog_->begin_round();
  std::size_t frames = 0;
  for (const Receiver& receiver : receivers_) {
    frames += receive(receiver);
    flush_hurried();
    read_clock();
    beat();
  }
  frames += receive_handed_over();
  frames += work_off();
  flush_hurried();
  frames_ += frames;
  if (!marks_.empty() &&
      (frames == 0 || marks_.size() > kMarksWaiting || frames_ - marks_.front().after > kMarkWaits))
    tell_marks();
  statistics_.add(Counter::loops);
  if (now_.monotonic - last_tick_ >= kTick || engine_->next_timer() <= now_.monotonic) {
    last_tick_ = now_.monotonic;
    engine_->tick(now_);
    flush();
    PolicyUse& use = shared_.policies->use(settings_.index);
    engine_->release_rulesets_before(use.give_up.load(std::memory_order_relaxed));
    use.oldest.store(engine_->oldest_epoch_in_use(), std::memory_order_release);
  }
  if (!mailbox_.empty()) read_letters();
  if (snapshot_running_) step_snapshot();
  shared_.policies->quiescent(settings_.index);

  if (frames == 0) last_idle_ = now_.monotonic;
  if (frames > 0) {
    patience_.worked(now_.monotonic);
  } else if (!snapshot_running_ && !settings_.busy_poll && patience_.idle(now_.monotonic)) {
    sleep();
  }
}

std::size_t Worker::receive(const Receiver& receiver) {
  rte_mbuf* frames[kBurst];
  const std::uint16_t count = rte_eth_rx_burst(receiver.device, receiver.queue, frames, kBurst);
  if (count == 0) return 0;
  const std::uint16_t tag = tag_of(receiver.wire, receiver.side);
  for (std::uint16_t i = 0; i < count; ++i) frames[i]->port = tag;
  if (settings_.workers == 1) {
    admit({frames, count});
  } else {
    sort_out(frames, count);
  }
  return count;
}

// Ours stay, the others' go to their rings.
void Worker::sort_out(rte_mbuf** frames, std::uint16_t count) {
  std::uint16_t mine = 0;
  for (std::uint16_t i = 0; i < count; ++i) {
    const Bytes octets(rte_pktmbuf_mtod(frames[i], const std::uint8_t*), frames[i]->data_len);
    const unsigned owner = io::owner_of(octets, settings_.workers, shared_.spread)
                               .value_or(static_cast<std::uint8_t>(settings_.index));
    if (owner == settings_.index) {
      frames[mine++] = frames[i];
    } else {
      outgoing_[owner].push_back(frames[i]);
    }
  }
  if (mine > 0) admit({frames, mine});
  flush_handovers();
}

void Worker::flush_handovers() {
  for (unsigned owner = 0; owner < settings_.workers; ++owner) {
    std::vector<rte_mbuf*>& frames = outgoing_[owner];
    if (frames.empty()) continue;
    Worker& target = *shared_.workers[owner];
    // An owner that hangs, or whose ring is full: no verdict, the declared policy.
    const Nanoseconds seen = target.last_seen();
    const bool hangs = now_.monotonic > seen && now_.monotonic - seen > settings_.hang;
    const unsigned taken =
        hangs ? 0
              : rte_ring_sp_enqueue_burst(shared_.handover[owner][settings_.index],
                                          reinterpret_cast<void* const*>(frames.data()),
                                          static_cast<unsigned>(frames.size()), nullptr);
    for (std::size_t i = taken; i < frames.size(); ++i) pass_unread(frames[i]);
    frames.clear();
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (target.sleeping_.load(std::memory_order_relaxed)) target.wake();
  }
}

std::size_t Worker::receive_handed_over() {
  if (settings_.workers == 1) return 0;
  std::size_t total = 0;
  rte_mbuf* frames[kBurst];
  for (rte_ring* ring : shared_.handover[settings_.index]) {
    if (ring == nullptr) continue;
    const unsigned count =
        rte_ring_sc_dequeue_burst(ring, reinterpret_cast<void**>(frames), kBurst, nullptr);
    if (count > 0) admit({frames, count});
    total += count;
  }
  return total;
}

// Light ones at once, the others to the backlog.
void Worker::admit(std::span<rte_mbuf* const> frames) {
  if (!backlog_ || (backlog_->empty() && frames.size() <= kFew)) {
    inspect_frames(frames);
    return;
  }
  rte_mbuf* light[kBurst];
  std::size_t count = 0;
  for (rte_mbuf* frame : frames) {
    if (backlog_->full())
      drop_unread(static_cast<rte_mbuf*>(backlog_->evict()), DropReason::overload);
    const Bytes octets(rte_pktmbuf_mtod(frame, const std::uint8_t*), frame->data_len);
    if (backlog_->is_light_or_put(frame, octets, side_of(frame))) light[count++] = frame;
  }
  if (count > 0) inspect_frames({light, count});
}

std::size_t Worker::turn() const {
  return now_.monotonic - last_idle_ > kSaturated ? kLongTurn : kShortTurn;
}

// A few of the backlog. How many.
std::size_t Worker::work_off() {
  if (!backlog_ || backlog_->empty()) return 0;
  void* waiting[kLongTurn];
  rte_mbuf* frames[kLongTurn];
  const std::size_t count = backlog_->take(std::span(waiting).first(turn()));
  for (std::size_t i = 0; i < count; ++i) frames[i] = static_cast<rte_mbuf*>(waiting[i]);
  hurry_ = false;
  inspect_frames({frames, count});
  hurry_ = true;
  return count;
}

void Worker::inspect_frames(std::span<rte_mbuf* const> frames) {
  inspect::Frame burst[kBurst];
  joined_used_ = 0;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    rte_mbuf* frame = frames[i];
    burst[i] = {.wire = wire_of(frame), .side = side_of(frame), .handle = frame};
    if (frame->nb_segs == 1) {
      burst[i].octets = {rte_pktmbuf_mtod(frame, std::uint8_t*), frame->data_len};
      continue;
    }
    // A frame of several buffers is read in one piece, and sent as it came (case D06).
    if (joined_used_ == joined_.size()) {
      joined_.push_back(std::make_unique<std::uint8_t[]>(65536));
    }
    std::uint8_t* copy = joined_[joined_used_++].get();
    const std::uint32_t size = std::min<std::uint32_t>(frame->pkt_len, 65535);
    const void* read = rte_pktmbuf_read(frame, 0, size, copy);
    if (read != copy && read != nullptr) std::memcpy(copy, read, size);
    burst[i].octets = {copy, read == nullptr ? 0 : size};
  }
  if (captures_.active()) [[unlikely]] {
    for (std::size_t i = 0; i < frames.size(); ++i) {
      captures_.see(burst[i].octets, burst[i].wire, burst[i].side, now_);
    }
  }
  try {
    engine_->process({burst, frames.size()}, now_);
  } catch (const std::bad_alloc&) {
    statistics_.add(Counter::memory_refused);
    for (std::size_t i = 0; i < frames.size(); ++i) {
      if (burst[i].handle != nullptr) pass_unread(frames[i]);
    }
  }
}

// ---- what the engine decides ----

void Worker::forward(inspect::Frame& frame, bool changed) {
  auto* buffer = static_cast<rte_mbuf*>(frame.handle);
  frame.handle = nullptr;
  if (changed) io::write_back(buffer, frame.octets);
  send(frame.wire, opposite(frame.side), buffer, changed ? io::Sent::changed : io::Sent::forwarded);
}

void Worker::drop(inspect::Frame& frame, DropReason) {
  rte_pktmbuf_free(static_cast<rte_mbuf*>(frame.handle));
  frame.handle = nullptr;
}

void Worker::inject(std::uint16_t wire, Side side, Bytes octets) {
  // What we write ourselves stands in a capture as what came in from the other side would.
  if (captures_.active()) [[unlikely]]
    captures_.see(octets, wire, opposite(side), now_);
  rte_mbuf* frame = octets.size() <= io::kFrameCapacity ? rte_pktmbuf_alloc(shared_.pool) : nullptr;
  if (frame == nullptr) {
    statistics_.add(DropReason::no_buffer);
    return;
  }
  std::memcpy(rte_pktmbuf_append(frame, static_cast<std::uint16_t>(octets.size())), octets.data(),
              octets.size());
  send(wire, side, frame, io::Sent::injected);
}

namespace {

xdp::FlowEnds ends_of(const flow::FlowKey& key) {
  xdp::FlowEnds ends{.a = key.low,
                     .b = key.high,
                     .a_port = key.low_port,
                     .b_port = key.high_port,
                     .vlan_count = key.vlan_count(),
                     .pppoe_session = key.pppoe_session()};
  for (std::size_t i = 0; i < 3; ++i) ends.vlan[i] = key.vlan(i);
  return ends;
}

}  // namespace

FlowTraffic Worker::bypassed_traffic(const flow::FlowKey& key) {
  if (key.wire() >= shared_.wires.size() || !shared_.wires[key.wire()].kernel) return {};
  const Result<FlowTraffic> read = shared_.wires[key.wire()].kernel->bypassed_traffic(ends_of(key));
  return read ? *read : FlowTraffic{};
}

bool Worker::pass_message(const flow::FlowKey& key, Side client, std::uint32_t edge) {
  if (key.wire() >= shared_.wires.size() || !shared_.wires[key.wire()].kernel) return false;
  flush();  // what was read leaves before what the kernel passes
  xdp::Wire& wire = *shared_.wires[key.wire()].kernel;
  return static_cast<bool>(wire.pass_message(ends_of(key), client, edge));
}

inspect::PassedMessage Worker::passed_message(const flow::FlowKey& key) {
  // A mark that is not there any more was forgotten.
  const std::optional<xdp::PassedMessage> read =
      shared_.wires[key.wire()].kernel->passed_message(ends_of(key));
  inspect::PassedMessage passed{.over = !read || read->over, .content = {}};
  if (read && read->begun)
    passed.content = {
        .start = read->start, .next = read->next, .last = {read->last[0], read->last[1]}};
  return passed;
}

// A flow that the kernel is to pass: told once no earlier frame of it waits.
void Worker::mark_flow(const flow::FlowKey& key, inspect::FlowMark mark) {
  if (key.wire() >= shared_.wires.size() || !shared_.wires[key.wire()].kernel) return;
  const auto waiting = std::ranges::find(marks_, key, &Mark::key);
  if (mark == inspect::FlowMark::bypass || mark == inspect::FlowMark::not_mail) {
    if (waiting == marks_.end()) marks_.push_back({key, mark, frames_});
    return;
  }
  if (waiting != marks_.end() && mark != inspect::FlowMark::sequence_changed) marks_.erase(waiting);
  tell_mark(key, mark);
}

void Worker::tell_marks() {
  flush();
  for (Mark& mark : marks_) {
    mark.after = frames_;
    const FlowEdges edges = engine_->edges(mark.key);
    if (mark.told != 0 && edges == mark.edges) continue;
    tell_mark(mark.key, mark.mark, edges);
    if (mark.told == 0) mark.told = now_.monotonic;
    mark.edges = edges;
  }
  const bool many = marks_.size() > kMarksWaiting;
  std::erase_if(marks_, [&](const Mark& mark) {
    return many || mark.mark != inspect::FlowMark::bypass ||
           now_.monotonic - mark.told > kMarkSettles;
  });
}

void Worker::tell_mark(const flow::FlowKey& key, inspect::FlowMark mark, const FlowEdges& edges) {
  xdp::Wire& wire = *shared_.wires[key.wire()].kernel;
  const xdp::FlowEnds ends = ends_of(key);
  // An LRU map takes every key; there is nothing to do about a system call that fails.
  switch (mark) {
    case inspect::FlowMark::sequence_changed:
      static_cast<void>(wire.mark_sequence_changed(ends));
      break;
    case inspect::FlowMark::bypass:
      static_cast<void>(wire.bypass_flow(ends, edges));
      break;
    case inspect::FlowMark::message:
      break;
    case inspect::FlowMark::scanned:
      static_cast<void>(wire.unmark_bypass(ends));
      break;
    case inspect::FlowMark::not_mail:
      static_cast<void>(wire.unsteer_flow(ends));
      break;
    case inspect::FlowMark::ended:
      static_cast<void>(wire.forget_flow(ends));
      break;
  }
}

void Worker::drop_unread(rte_mbuf* frame, DropReason reason) {
  statistics_.add(Counter::frames_received);
  statistics_.add(Counter::bytes_received, frame->pkt_len);
  statistics_.add(reason);
  rte_pktmbuf_free(frame);
}

void Worker::pass_unread(rte_mbuf* frame) {
  const std::uint16_t wire = wire_of(frame);
  if (shared_.wires[wire].fail_closed) {
    drop_unread(frame, DropReason::failure_policy);
    return;
  }
  statistics_.add(Counter::frames_received);
  statistics_.add(Counter::bytes_received, frame->pkt_len);
  send(wire, opposite(side_of(frame)), frame, io::Sent::forwarded);
}

void Worker::send(std::uint16_t wire, Side side, rte_mbuf* frame, io::Sent as) {
  io::TransmitBuffer& buffer = *transmit_[tag_of(wire, side)];
  buffer.push(frame, as);
  if (hurry_) buffer.hurry();
}

void Worker::flush() {
  for (const auto& buffer : transmit_) buffer->flush();
}

// Of the backlog's frames so many are sent together as pays, unless none is left.
void Worker::flush_hurried() {
  const bool last = !backlog_ || backlog_->empty();
  const std::size_t together = 4 * turn();
  for (const auto& buffer : transmit_) {
    if (last || buffer->hurried() || buffer->waiting() >= together) buffer->flush();
  }
}

// ---- heartbeat ----

std::uint32_t Worker::occupancy(const Beat& beat) const {
  std::uint32_t most = backlog_ ? backlog_->fill() : 0;
  for (const Receiver& receiver : receivers_) {
    if (receiver.wire == beat.wire && receiver.queue == beat.queue) {
      most = std::max(most, io::af_xdp_receive_fill(receiver.descriptor));
    }
  }
  if (settings_.workers > 1) {
    for (const rte_ring* ring : shared_.handover[settings_.index]) {
      if (ring != nullptr) {
        most = std::max(most, rte_ring_count(ring) * 1000 / rte_ring_get_capacity(ring));
      }
    }
  }
  return most;
}

bool Worker::beat() {
  bool alive = true;
  for (const Beat& beat : beats_) {
    if (backlog_) {
      beat.page->tell_crowd(beat.queue, io::host_key(shared_.spread), backlog_->crowd());
    }
    if (!beat.page->beat(beat.queue, occupancy(beat), now_.monotonic)) alive = false;
  }
  if (now_.monotonic - last_seen() > settings_.hang) alive = false;
  if (alive) {
    last_seen_.store(now_.monotonic, std::memory_order_relaxed);
    statistics_.set(Gauge::heartbeat_nanoseconds, now_.monotonic);
  }
  return alive;
}

void Worker::start_beats() {
  read_clock();
  for (const Beat& beat : beats_) beat.page->start(beat.queue, now_.monotonic);
  last_seen_.store(now_.monotonic, std::memory_order_relaxed);
  statistics_.set(Gauge::heartbeat_nanoseconds, now_.monotonic);
}

void Worker::recover_from_hang() {
  Nanoseconds oldest = last_seen();
  std::uint16_t wire = 0;
  for (const Beat& beat : beats_) {
    const Nanoseconds last = beat.page->last(beat.queue);
    if (last < oldest) {
      // The guardian writes zero when it saw us stopped.
      if (last != 0) oldest = last;
      wire = beat.wire;
    }
  }
  hangs_seen_ = shared_.hangs.fetch_add(1, std::memory_order_relaxed) + 1;
  drain_unread();
  engine_->forget_streams();
  start_beats();
  wire_event(event::Letter::wire_event(
      wire, "heartbeat-resumed",
      "worker " + std::to_string(settings_.index) + " did not come round for " +
          std::to_string((now_.monotonic - oldest) / kMillisecond) +
          " ms; its streams were forgotten"));
}

void Worker::pass_backlog_unread() {
  void* waiting = nullptr;
  while (backlog_ && backlog_->take({&waiting, 1}) == 1)
    pass_unread(static_cast<rte_mbuf*>(waiting));
}

void Worker::drain_unread() {
  pass_backlog_unread();
  rte_mbuf* frames[kBurst];
  for (const Receiver& receiver : receivers_) {
    // Two rings' worth at most: what comes after is fresh.
    for (int bursts = 0; bursts < 4096 / kBurst; ++bursts) {
      const std::uint16_t count = rte_eth_rx_burst(receiver.device, receiver.queue, frames, kBurst);
      for (std::uint16_t i = 0; i < count; ++i) {
        frames[i]->port = tag_of(receiver.wire, receiver.side);
        pass_unread(frames[i]);
      }
      if (count == 0) break;
    }
  }
  if (settings_.workers > 1) {
    for (rte_ring* ring : shared_.handover[settings_.index]) {
      void* frame = nullptr;
      while (ring != nullptr && rte_ring_sc_dequeue(ring, &frame) == 0) {
        pass_unread(static_cast<rte_mbuf*>(frame));
      }
    }
  }
  flush();
}

// ---- policy, letters, events ----

void Worker::adopt_policy() {
  const Edition* edition = shared_.policies->current();
  if (edition == edition_) return;
  engine_->set_policy(*edition->policy, edition->scratches[settings_.index]);
  edition_ = edition;
  PolicyUse& use = shared_.policies->use(settings_.index);
  use.oldest.store(engine_->oldest_epoch_in_use(), std::memory_order_release);
  use.adopted.store(edition->policy->epoch(), std::memory_order_release);
  statistics_.set(Gauge::policy_epoch, edition->policy->epoch());
}

void Worker::read_letters() {
  event::Letter letter;
  while (mailbox_.receive(letter)) {
    if (letter.kind == event::Letter::Kind::wire) {
      wire_event(letter);
    } else if (letter.kind == event::Letter::Kind::capture) {
      captures_.order(letter.capture);
    } else if (snapshots_waiting_.size() < kSnapshotsWaiting) {
      snapshots_waiting_.push_back(letter.identity);
    }
  }
  if (!snapshot_running_ && !snapshots_waiting_.empty()) {
    snapshot_running_ = true;
    snapshot_cursor_ = 0;
    snapshot_begin_ = now_.monotonic;
    sink_.set_snapshot_identity(snapshots_waiting_.front());
    snapshots_waiting_.erase(snapshots_waiting_.begin());
  }
}

// A few flows a loop, no faster than they are read as long as somebody reads.
void Worker::step_snapshot() {
  if (!sink_.roomy() && now_.monotonic - snapshot_begin_ < kSnapshotPatience) return;
  snapshot_cursor_ = engine_->snapshot(snapshot_cursor_, kSnapshotStep, now_);
  if (snapshot_cursor_ != 0) return;
  snapshot_running_ = false;
  if (!snapshots_waiting_.empty()) read_letters();
}

void Worker::wire_event(const event::Letter& letter) {
  contract::EventHeader header;
  header.type = contract::EventType::wire;
  header.wall_time = now_.wall;
  header.protocol = 0;
  header.wire = letter.wire;
  header.worker = static_cast<std::uint16_t>(settings_.index);
  header.side = letter.side;
  header.policy_epoch = edition_ == nullptr ? 0 : edition_->policy->epoch();
  writer_.begin(header);
  writer_.put(contract::Field::wire_state, std::string_view(letter.state.data()));
  writer_.put(contract::Field::wire_reason, std::string_view(letter.reason.data()));
  statistics_.add(sink_.write(writer_.finish()) ? Counter::events : Counter::events_lost);
}

// ---- sleep ----

void Worker::sleep() {
  sleeping_.store(true, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  bool work = !mailbox_.empty() || shared_.stop.load(std::memory_order_relaxed) ||
              shared_.policies->current() != edition_;
  if (settings_.workers > 1) {
    for (const rte_ring* ring : shared_.handover[settings_.index]) {
      work = work || (ring != nullptr && rte_ring_empty(ring) == 0);
    }
  }
  if (!work) {
    Nanoseconds longest = kLongestSleep;
    waiting_.clear();
    waiting_.push_back({wake_, POLLIN, 0});
    for (const Receiver& receiver : receivers_) {
      if (receiver.descriptor >= 0) {
        waiting_.push_back({receiver.descriptor, POLLIN, 0});
      } else {
        longest = kSleepWithoutDescriptor;
      }
    }
    const Nanoseconds timer = engine_->next_timer();
    if (timer <= now_.monotonic) {
      longest = 0;
    } else {
      longest = std::min(longest, timer - now_.monotonic);
    }
    const timespec limit{0, static_cast<long>(longest)};
    statistics_.add(Counter::sleeps);
    shared_.policies->offline(settings_.index);
    ppoll(waiting_.data(), waiting_.size(), &limit, nullptr);
    shared_.policies->online(settings_.index);
    if ((waiting_[0].revents & POLLIN) != 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t drained = ::read(wake_, &count, sizeof count);
    }
  }
  sleeping_.store(false, std::memory_order_relaxed);
}

}  // namespace sluice::app
