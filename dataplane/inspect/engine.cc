#include "dataplane/inspect/engine.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "dataplane/base/prefetch.h"
#include "dataplane/inspect/burst_order.h"
#include "dataplane/inspect/dormant.h"
#include "dataplane/inspect/engine_impl.h"
#include "dataplane/net/headers.h"

namespace sluice::inspect {

using contract::Counter;
using contract::DropReason;

namespace {

constexpr Nanoseconds kTickPeriod = 10 * kMillisecond;  // while segments of ours are unanswered
constexpr std::size_t kExpiryWork = 256;                // flows forgotten in one tick
constexpr std::size_t kRestWork = 256;                  // idle flows made small in one tick
constexpr std::size_t kWithdrawals = 1024;              // users of a ruleset told at a time
constexpr std::size_t kBrief = 256;                     // octets of a command or a reply

}  // namespace

Engine::Engine(const Settings& settings, contract::WorkerStatistics& statistics,
               contract::EventSink& events, Output& output, std::pmr::memory_resource* memory)
    : impl_(std::make_unique<Impl>(settings, statistics, events, output, memory)) {}

Engine::~Engine() {
  std::size_t cursor = 0;
  while (flow::Entry* entry = impl_->table.next(cursor, SIZE_MAX)) {
    impl_->destroy(*entry);
    if (cursor == 0) break;
  }
}

void Engine::set_policy(const policy::Policy& policy, std::shared_ptr<scan::Scratch> scratch) {
  impl_->context.policy = &policy;
  impl_->context.rulesets.adopt(policy.shared_ruleset(), policy.shared_lists(), std::move(scratch),
                                policy.epoch());
  impl_->context.count(Counter::policy_adoptions);
  impl_->context.statistics.set(contract::Gauge::policy_epoch, policy.epoch());
}

Status Engine::set_policy(const policy::Policy& policy) {
  Result<std::shared_ptr<scan::Scratch>> scratch = scan::Scratch::make(policy.ruleset());
  if (!scratch) return Error{scratch.error()};
  set_policy(policy, std::move(*scratch));
  return ok();
}

bool Engine::release_rulesets_before(std::uint32_t epoch) {
  return impl_->context.rulesets.withdraw_before(epoch, kWithdrawals);
}

std::uint32_t Engine::oldest_epoch_in_use() const {
  // Messages share their ruleset, not the policy: only the policy in force is read.
  return impl_->context.policy ? impl_->context.policy->epoch() : 0;
}

void Engine::process(std::span<Frame> burst, const Time& now) {
  impl_->context.now = now;
  while (!burst.empty()) {
    const std::size_t n = std::min(burst.size(), kBurst);
    impl_->process(burst.first(n));
    burst = burst.subspan(n);
  }
}

namespace {

FrameKind kind_of(const net::Packet& segment, Side side) {
  namespace flag = net::tcp_flag;
  if ((segment.flags & (flag::syn | flag::fin | flag::rst)) != 0) return FrameKind::edge;
  if (segment.payload_size == 0) return FrameKind::bare;
  if (segment.payload_size > kBrief) return FrameKind::content;
  return side == Side::outside ? FrameKind::reply : FrameKind::command;
}

// Whether nobody can tell of which flow it is, though it is of one.
bool is_of_any_flow(const net::Packet& packet) {
  return packet.kind == net::PacketKind::fragment ||
         (packet.kind == net::PacketKind::other && packet.protocol == net::ip_protocol::tcp);
}

}  // namespace

void Engine::Impl::process(std::span<Frame> burst) {
  std::array<flow::FlowKey, kBurst> keys;
  std::array<std::uint64_t, kBurst> hashes;
  std::array<flow::Entry*, kBurst> found;
  std::array<std::uint8_t, kBurst> index;
  std::size_t count = 0;
  std::uint64_t octets = 0;
  bool regroup = settings.regroup;  // else as they came
  net::ParseOptions options{.verify_checksums = settings.verify_checksums, .link = settings.link};
  for (std::size_t i = 0; i < burst.size(); ++i) {
    octets += burst[i].octets.size();
    // All of it is read soon; the driver's memory is cold.
    if (i + 2 < burst.size()) prefetch<2>(burst[i + 2].octets);
    options.cut = burst[i].cut;
    Parsed& p = parsed[i];
    new (&p.packet) net::Packet(net::parse(burst[i].octets, options));  // in its place
    p.entry = nullptr;
    regroup &= !is_of_any_flow(p.packet);
    if (p.packet.kind != net::PacketKind::tcp) continue;
    p.keyed = flow::key_of(p.packet, burst[i].wire);
    keys[count] = p.keyed.key;
    index[count++] = static_cast<std::uint8_t>(i);
  }
  context.count(Counter::frames_received, burst.size());
  context.count(Counter::bytes_received, octets);
  const std::uint64_t changes = table_changes;
  table.lookup(std::span(keys).first(count), std::span(hashes).first(count),
               std::span(found).first(count));
  for (std::size_t k = 0; k < count; ++k) {
    parsed[index[k]].hash = hashes[k];
    parsed[index[k]].entry = found[k];
  }
  BurstOrder turns;
  for (std::size_t i = 0; i < burst.size(); ++i) {
    const Parsed& p = parsed[i];
    const bool has_flow = p.packet.kind == net::PacketKind::tcp;
    turns.put(regroup && has_flow ? kind_of(p.packet, burst[i].side) : FrameKind::bare,
              has_flow ? p.hash : 0);
  }
  const std::span<const std::uint8_t> order = turns.order();
  // What a segment touches of its flow lies far away. It is asked for some turns before: the
  // conversation, and when that is there what it points to.
  const auto flow_of = [&](std::size_t turn) -> const Conversation* {
    const bool there = turn < order.size() && changes == table_changes;
    const flow::Entry* entry = there ? parsed[order[turn]].entry : nullptr;
    return entry ? awake(*entry) : nullptr;
  };
  constexpr std::size_t kAhead = 4;
  constexpr std::size_t kPartsAhead = 2;
  for (std::size_t turn = 0; turn < order.size() + kAhead; ++turn) {
    if (const Conversation* c = flow_of(turn)) prefetch_object(*c);
    // Before the first turn the number wraps: nothing is there.
    if (const Conversation* c = flow_of(turn - (kAhead - kPartsAhead))) c->prefetch_parts();
    if (turn < kAhead) continue;
    const std::uint8_t i = order[turn - kAhead];
    handle(burst[i], parsed[i], changes != table_changes);
  }
  if (short_of_memory()) relieve();
}

void Engine::Impl::handle(Frame& frame, Parsed& p, bool stale) {
  context.frame_number = frame.number;
  context.side = frame.side;
  switch (p.packet.kind) {
    case net::PacketKind::other:
      context.count(Counter::frames_not_mail);
      report(frame, p.packet, std::span(p.packet.anomalies).first(p.packet.anomaly_count));
      settle(frame, {});
      return;
    case net::PacketKind::fragment:
      handle_fragment(frame, p);
      return;
    case net::PacketKind::tcp:
      break;
  }
  if (stale) p.entry = table.find(p.keyed.key, p.hash);
  const MutableBytes payload = frame.octets.subspan(p.packet.payload_offset, p.packet.payload_size);
  if (!p.entry && !settings.all_ports && !is_mail(p.packet) && !speaks_mail(payload)) {
    context.count(Counter::frames_not_mail);
    settle(frame, {});
    return;
  }
  settle(frame, segment(frame, p.packet, p.keyed, p.hash, p.entry, payload, true));
}

void Engine::Impl::handle_fragment(Frame& frame, Parsed& p) {
  context.count(Counter::fragments);
  Disposition disposition;
  try {
    const net::Defragmenter::Result result =
        fragments.add(frame.octets, p.packet, context.now.monotonic);
    report(frame, p.packet, std::span(p.packet.anomalies).first(p.packet.anomaly_count));
    report(frame, p.packet, std::span(result.anomalies).first(result.anomaly_count));
    // A contradicting reading of the same fragments comes as though it had been sent next.
    for (const Bytes reading : {result.datagram, result.alternative}) {
      if (reading.empty()) continue;
      context.count(Counter::datagrams_reassembled);
      datagram.assign(reading.begin(), reading.end());
      net::Packet whole = net::parse_datagram(
          datagram, p.packet,
          {.verify_checksums = settings.verify_checksums, .link = settings.link});
      for (std::size_t i = 0; i < result.anomaly_count; ++i) whole.note(result.anomalies[i]);
      if (whole.kind != net::PacketKind::tcp) continue;
      flow::KeyedPacket keyed = flow::key_of(whole, frame.wire);
      std::uint64_t hash = flow::hash(keyed.key, table.secret());
      flow::Entry* entry = table.find(keyed.key, hash);
      for (const auto& tags : std::span(result.other_tags).first(result.other_tags_count)) {
        // Its flow is that under whose tags there is one.
        if (entry) break;
        net::Packet other = whole;
        std::copy(std::begin(tags.vlan), std::end(tags.vlan), other.vlan);
        other.vlan_count = tags.count;
        const flow::KeyedPacket theirs = flow::key_of(other, frame.wire);
        entry = table.find(theirs.key, flow::hash(theirs.key, table.secret()));
        if (!entry) continue;
        whole = other;
        keyed = theirs;
        hash = flow::hash(keyed.key, table.secret());
      }
      const MutableBytes payload =
          MutableBytes(datagram).subspan(whole.payload_offset, whole.payload_size);
      if (!entry && !settings.all_ports && !is_mail(whole) && !speaks_mail(payload)) continue;
      const Disposition one = segment(frame, whole, keyed, hash, entry, payload, false);
      if (one.drop != DropReason::none) disposition = one;
    }
  } catch (const std::bad_alloc&) {
    context.count(Counter::memory_refused);
  }
  settle(frame, disposition);
}

// What is odd about a frame that belongs to no flow: counted each time, an event once a second and
// kind, since anybody can send any number of them.
void Engine::Impl::report(const Frame& frame, const net::Packet& packet,
                          std::span<const contract::Anomaly> anomalies) {
  for (const contract::Anomaly anomaly : anomalies) {
    context.statistics.add(anomaly);
    if (context.now.monotonic >= reported_since + kSecond) {
      reported_since = context.now.monotonic;
      reported = {};
    }
    if (!context.policy || !reported.insert(anomaly)) continue;
    contract::EventHeader header;
    header.type = contract::EventType::anomaly;
    header.sequence = ++context.sequence;
    header.wall_time = context.now.wall;
    header.frame_number = frame.number;
    header.source = packet.source;
    header.destination = packet.destination;
    std::copy_n(packet.vlan, 3, header.vlan);
    header.vlan_count = packet.vlan_count;
    header.protocol = packet.protocol;
    header.wire = frame.wire;
    header.worker = settings.worker;
    header.side = static_cast<std::uint8_t>(frame.side);
    header.direction =
        context.policy->inside(packet.source) == context.policy->inside(packet.destination)
            ? contract::TrafficDirection::transit
        : context.policy->inside(packet.source) ? contract::TrafficDirection::outbound
                                                : contract::TrafficDirection::inbound;
    header.policy_epoch = context.policy->epoch();
    context.writer.begin(header);
    context.writer.put_number(contract::Field::anomaly_kind, static_cast<std::uint8_t>(anomaly));
    context.emit();
  }
}

// The frame leaves, and then what its conversation has to say.
void Engine::Impl::settle(Frame& frame, const Disposition& disposition) {
  leave(frame, disposition);
  if (!in_hand) return;
  Conversation& conversation = *std::exchange(in_hand, nullptr);
  try {
    conversation.frame_left();
  } catch (const std::bad_alloc&) {
    context.count(Counter::memory_refused);
    conversation.give_up();
  }
}

// Sends the frame on, or counts why not.
void Engine::Impl::leave(Frame& frame, const Disposition& disposition) {
  if (disposition.drop != DropReason::none) {
    context.statistics.add(disposition.drop);
    context.output.drop(frame, disposition.drop);
    return;
  }
  context.output.forward(frame, disposition.changed);
}

void Engine::tick(const Time& now) {
  Impl& e = *impl_;
  e.context.now = now;
  e.context.frame_number = 0;
  e.last_tick = now.monotonic;
  for (std::size_t i = 0; i < e.ticking.size();) {
    Conversation& c = e.ticking[i];
    try {
      c.tick();
    } catch (const std::bad_alloc&) {
      e.context.count(Counter::memory_refused);
      c.give_up();
    }
    if (c.needs_tick()) {
      ++i;
    } else {
      e.ticking.remove(c);  // the last one takes its place
    }
  }
  e.table.expire(now.monotonic, kExpiryWork, [&](flow::Entry& entry, flow::Removal) {
    const bool closed = entry.flow_class() == flow::FlowClass::closed;
    e.close(entry, closed ? "closed" : "timeout");
    ++e.table_changes;
  });
  e.rest(e.settings.idle_after, kRestWork);
  if (e.short_of_memory()) e.relieve();
  e.fragments.expire(now.monotonic);
  e.context.statistics.set(contract::Gauge::flows_active, e.table.size());
  e.context.statistics.set(contract::Gauge::flows_dormant, e.dormant);
  e.context.statistics.set(contract::Gauge::memory_bytes, e.memory.used() + e.table.memory_used());
}

Nanoseconds Engine::next_timer() const {
  const Impl& e = *impl_;
  if (!e.ticking.empty()) return e.last_tick + kTickPeriod;
  return e.table.next_expiry(e.context.now.monotonic);
}

std::size_t Engine::snapshot(std::size_t cursor, std::size_t count, const Time& now) {
  Impl& e = *impl_;
  e.context.now = now;
  e.context.frame_number = 0;
  while (count > 0) {
    --count;
    flow::Entry* entry = e.table.next(cursor);
    if (entry) e.snapshot(*entry);
    if (cursor == 0 && !entry) {
      contract::EventHeader header;
      header.type = contract::EventType::snapshot_end;
      header.sequence = ++e.context.sequence;
      header.wall_time = now.wall;
      header.protocol = 0;
      header.worker = e.settings.worker;
      e.context.writer.begin(header);
      e.context.emit();
      return 0;
    }
  }
  return cursor;
}

void Engine::forget_streams() {
  impl_->context.frame_number = 0;
  std::size_t cursor = 0;
  while (flow::Entry* entry = impl_->table.next(cursor, SIZE_MAX)) {
    if (Dormant* dormant = Dormant::in(*entry)) {
      dormant->forget_stream();
      continue;
    }
    Conversation* conversation = awake(*entry);
    if (!conversation) {
      // What followed the handshake may have passed unseen.
      flow::Opening opening;
      opening.flags = entry->opening().flags & flow::Opening::kLowIsClient;
      entry->set_opening(opening);
      continue;
    }
    try {
      conversation->forget_stream();
    } catch (const std::bad_alloc&) {
      impl_->context.count(Counter::memory_refused);
      conversation->give_up();
    }
  }
}

void Engine::inspect_message(Bytes octets, const Time& now) {
  Impl& e = *impl_;
  e.context.now = now;
  FlowIdentity identity;
  identity.on_wire = false;
  try {
    Conversation conversation(identity, e.context, true, {});
    conversation.inspect_message(octets);
  } catch (const std::bad_alloc&) {
    e.context.count(contract::Counter::memory_refused);
  }
}

void Engine::finish(const Time& now) {
  Impl& e = *impl_;
  e.context.now = now;
  e.context.frame_number = 0;
  std::vector<flow::Entry*> entries;
  std::size_t cursor = 0;
  while (flow::Entry* entry = e.table.next(cursor, SIZE_MAX)) entries.push_back(entry);
  std::stable_sort(entries.begin(), entries.end(), [](const flow::Entry* a, const flow::Entry* b) {
    const auto id = [](const flow::Entry* entry) {
      if (const Dormant* dormant = Dormant::in(*entry)) return dormant->flow_id();
      const Conversation* c = awake(*entry);
      return c ? c->identity().flow_id : UINT64_MAX;
    };
    return id(a) < id(b);
  });
  for (flow::Entry* entry : entries) {
    const bool closed = entry->flow_class() == flow::FlowClass::closed;
    e.close(*entry, closed ? "closed" : "shutdown");
    entry->set_state(nullptr);
    e.table.erase(entry);
  }
  ++e.table_changes;
}

FlowEdges Engine::edges(const flow::FlowKey& key) const {
  const flow::Entry* entry = impl_->table.find(key);
  const Conversation* conversation = entry ? awake(*entry) : nullptr;
  return conversation ? conversation->edges() : FlowEdges{};
}

std::size_t Engine::flows() const { return impl_->table.size(); }
MemoryUse Engine::memory_use() const {
  return {.table = impl_->table.memory_used(), .flows = impl_->memory.used()};
}

}  // namespace sluice::inspect
