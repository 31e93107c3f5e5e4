#include "dataplane/inspect/engine.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "dataplane/base/limited_resource.h"
#include "dataplane/inspect/context.h"
#include "dataplane/inspect/conversation.h"
#include "dataplane/net/defragmenter.h"

namespace sluice::inspect {

using contract::Counter;
using contract::DropReason;

namespace {

constexpr std::size_t kBurst = flow::FlowTable::kMaxBurst;
constexpr Nanoseconds kTickPeriod = 10 * kMillisecond;  // while segments of ours are unanswered
constexpr std::size_t kExpiryWork = 256;                // flows forgotten in one tick
constexpr std::size_t kWithdrawals = 1024;              // users of a ruleset told at a time
// Flow events of handshakes that came to nothing, in a second: a flood of them must not fill the
// ring in which the events of mail stand.
constexpr std::uint32_t kHalfOpenEvents = 1000;

// The table's hash key: secret on the wire, so that nobody can aim at one bucket.
flow::HashKey hash_key(std::uint64_t seed) {
  return {seed * 0x9e3779b97f4a7c15 + 0x736c75696365,
          (seed ^ 0xa0761d6478bd642f) * 0xe7037ed1a0b428db};
}

}  // namespace

struct Engine::Impl {
  Impl(const Settings& s, contract::WorkerStatistics& statistics, contract::EventSink& events,
       Output& output, std::pmr::memory_resource* upstream)
      : settings(s),
        memory(upstream, s.max_memory),
        table({.max_flows = s.max_flows}, hash_key(s.flow_id_seed), upstream),
        fragments({}, &memory),
        datagram(&memory),
        context{.settings = settings,
                .statistics = statistics,
                .events = events,
                .output = output,
                .memory = &memory,
                .rulesets = Rulesets(&memory),
                .host_limits = HostLimits(&memory)},
        ticking(&memory) {}

  struct Parsed {
    net::Packet packet;
    flow::KeyedPacket keyed;
    std::uint64_t hash = 0;
    flow::Entry* entry = nullptr;
  };

  void process(std::span<Frame> burst);
  void handle(Frame& frame, Parsed& parsed, bool stale);
  void handle_fragment(Frame& frame, Parsed& parsed);
  Disposition segment(Frame& frame, const net::Packet& packet, const flow::KeyedPacket& keyed,
                      std::uint64_t hash, flow::Entry* entry, MutableBytes payload,
                      bool whole_frame);
  std::optional<Disposition> half_open(const Frame& frame, const net::Packet& packet,
                                       bool low_is_source, flow::Entry& entry);
  Conversation* open(Frame& frame, const net::Packet& packet, const flow::KeyedPacket& keyed,
                     const Conversation::Beginning& beginning);
  void close(flow::Entry& entry, std::string_view reason);
  void close(Conversation* conversation, std::string_view reason);
  FlowIdentity identity_of(const flow::Entry& entry, const flow::Handshake& seen);
  void report_half_open(const flow::Entry& entry, std::string_view state, std::string_view reason);
  std::uint64_t next_flow_id() {
    return (settings.flow_id_seed & 0x1fffff) << 32 | (++flows_made & 0xffffffff);
  }
  void report(const Frame& frame, const net::Packet& packet,
              std::span<const contract::Anomaly> anomalies);
  void settle(Frame& frame, const Disposition& disposition);
  void leave(Frame& frame, const Disposition& disposition);
  bool is_mail(const net::Packet& packet) const {
    return context.policy->mail_port(packet.source_port) ||
           context.policy->mail_port(packet.destination_port);
  }
  void follow(Conversation& conversation);
  void snapshot(const flow::Entry& entry);

  Settings settings;
  LimitedResource memory;
  flow::FlowTable table;
  net::Defragmenter fragments;
  std::pmr::vector<std::uint8_t> datagram;
  Context context;
  std::pmr::vector<Conversation*> ticking;  // with timers of their own
  Conversation* in_hand = nullptr;          // whose frame has not left yet
  std::array<Parsed, kBurst> parsed{};
  std::uint64_t flows_made = 0;
  std::uint64_t table_changes = 0;
  Nanoseconds last_tick = 0;
  contract::AnomalySet reported;  // of frames without a flow, since
  Nanoseconds reported_since = 0;
  std::uint32_t half_open_reported = 0;  // since
  Nanoseconds half_open_since = 0;
};

Engine::Engine(const Settings& settings, contract::WorkerStatistics& statistics,
               contract::EventSink& events, Output& output, std::pmr::memory_resource* memory)
    : impl_(std::make_unique<Impl>(settings, statistics, events, output, memory)) {}

Engine::~Engine() {
  std::size_t cursor = 0;
  while (flow::Entry* entry = impl_->table.next(cursor, SIZE_MAX)) {
    std::pmr::polymorphic_allocator<> allocator(&impl_->memory);
    if (auto* conversation = entry->state_as<Conversation>()) allocator.delete_object(conversation);
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

void Engine::Impl::process(std::span<Frame> burst) {
  std::array<flow::FlowKey, kBurst> keys;
  std::array<std::uint64_t, kBurst> hashes;
  std::array<flow::Entry*, kBurst> found;
  std::array<std::uint8_t, kBurst> index;
  std::size_t count = 0;
  std::uint64_t octets = 0;
  const net::ParseOptions options{.verify_checksums = settings.verify_checksums,
                                  .link = settings.link};
  for (std::size_t i = 0; i < burst.size(); ++i) {
    octets += burst[i].octets.size();
    Parsed& p = parsed[i];
    p.packet = net::parse(burst[i].octets, options);
    p.entry = nullptr;
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
  for (std::size_t i = 0; i < burst.size(); ++i)
    handle(burst[i], parsed[i], changes != table_changes);
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
  if (!p.entry && !settings.all_ports && !is_mail(p.packet)) {
    context.count(Counter::frames_not_mail);
    settle(frame, {});
    return;
  }
  const MutableBytes payload = frame.octets.subspan(p.packet.payload_offset, p.packet.payload_size);
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
      if (whole.kind != net::PacketKind::tcp || !(settings.all_ports || is_mail(whole))) continue;
      const flow::KeyedPacket keyed = flow::key_of(whole, frame.wire);
      const std::uint64_t hash = flow::hash(keyed.key, table.secret());
      const MutableBytes payload =
          MutableBytes(datagram).subspan(whole.payload_offset, whole.payload_size);
      const Disposition one =
          segment(frame, whole, keyed, hash, table.find(keyed.key, hash), payload, false);
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

Disposition Engine::Impl::segment(Frame& frame, const net::Packet& packet,
                                  const flow::KeyedPacket& keyed, std::uint64_t hash,
                                  flow::Entry* entry, MutableBytes payload, bool whole_frame) {
  Conversation* conversation = entry ? entry->state_as<Conversation>() : nullptr;
  Conversation::Beginning beginning;
  for (int attempt = 0; attempt < 2; ++attempt) {
    try {
      if (!entry) {
        entry = table.insert(keyed.key, hash, context.now.monotonic,
                             [this](flow::Entry& victim, flow::Removal) {
                               context.count(Counter::flows_evicted);
                               close(victim, "evicted");
                             });
        ++table_changes;
        if (!entry) {
          context.count(Counter::memory_refused);
          return {};
        }
        context.count(Counter::flows_opened);
      }
      if (!conversation) {
        if (attempt == 0) {
          if (const auto settled = half_open(frame, packet, keyed.low_is_source, *entry))
            return *settled;
          beginning.opening = entry->opening();
          beginning.seen = table.handshake(entry, context.now.monotonic);
          beginning.first = beginning.seen.frames[0] + beginning.seen.frames[1] == 0;
        }
        conversation = open(frame, packet, keyed, beginning);
        entry->set_state(conversation);
      }
      const Direction direction = keyed.low_is_source == conversation->identity().client_is_low
                                      ? Direction::to_server
                                      : Direction::to_client;
      in_hand = conversation;
      const Disposition disposition =
          conversation->segment(direction, frame, packet, payload, whole_frame);
      if (conversation->wants_restart() && attempt == 0) {
        beginning = {.opening = conversation->next_opening(), .seen = {}, .first = true};
        entry->set_state(nullptr);
        close(conversation, "tuple-reuse");
        conversation = nullptr;
        context.count(Counter::flows_opened);
        continue;
      }
      if (disposition.drop != DropReason::none) conversation->count_drop(disposition.drop);
      switch (conversation->tcp_state()) {
        case tcp::State::opening:
          break;
        case tcp::State::established:
        case tcp::State::closing:
          table.set_class(
              entry,
              conversation->two_way() ? flow::FlowClass::established : flow::FlowClass::one_way,
              context.now.monotonic);
          break;
        case tcp::State::closed:
          table.set_class(entry, flow::FlowClass::closed, context.now.monotonic);
          break;
      }
      table.touch(entry, context.now.monotonic);
      follow(*conversation);
      return disposition;
    } catch (const std::bad_alloc&) {
      context.count(Counter::memory_refused);
      if (conversation) conversation->give_up();
      const bool closed = context.policy->exceptions().memory == policy::Exception::fail_closed;
      return {.drop = closed ? DropReason::failure_policy : DropReason::none};
    }
  }
  return {};
}

// A flow without state: its entry notes what the frame says of the handshake. Nothing: the flow
// needs its Conversation, which is to be given this frame.
std::optional<Disposition> Engine::Impl::half_open(const Frame& frame, const net::Packet& packet,
                                                   bool low_is_source, flow::Entry& entry) {
  using flow::Opening;
  const Opening before = entry.opening();
  const bool known = before.has(Opening::kSyn | Opening::kSynAck);
  const bool syn = (packet.flags & net::tcp_flag::syn) != 0;
  // What is odd is told of the flow; what begins in the middle is followed from there.
  if (packet.anomaly_count > 0 || packet.checksum_bad || (!known && !syn)) return std::nullopt;
  Opening opening = before;
  const tcp::OpeningStep step = tcp::observe_opening(opening, low_is_source, packet);
  if (step == tcp::OpeningStep::begin || !opening.has(Opening::kSyn | Opening::kSynAck))
    return std::nullopt;
  const bool low_is_client = opening.has(Opening::kLowIsClient);
  const policy::HostRule* host =
      context.policy->host(low_is_client ? entry.key().low : entry.key().high);
  if (host && host->action == policy::HostAction::block && context.enforcing(frame.wire))
    return std::nullopt;
  const bool from_client = low_is_source == low_is_client;
  if (!flow::FlowTable::count(&entry, from_client, frame.side, frame.octets.size(),
                              from_client ? packet.mss : std::uint16_t{0}))
    return std::nullopt;
  entry.set_opening(opening);
  context.count(Counter::segments);
  const bool sent_before = before.client_sequence == opening.client_sequence &&
                           before.has(from_client ? Opening::kSyn : Opening::kSynAck);
  if (syn && sent_before) context.count(Counter::segments_retransmitted);
  if (step == tcp::OpeningStep::refused) {
    report_half_open(entry, "closed", "closed");
    context.count(Counter::flows_closed);
    table.erase(&entry);
    ++table_changes;
  }
  return Disposition{};
}

// Who is the client: the sender of the SYN, else the one who does not use a mail port.
Conversation* Engine::Impl::open(Frame& frame, const net::Packet& packet,
                                 const flow::KeyedPacket& keyed,
                                 const Conversation::Beginning& beginning) {
  namespace flag = net::tcp_flag;
  using flow::Opening;
  bool source_is_client;
  if (beginning.opening.has(Opening::kSyn | Opening::kSynAck) && !beginning.first) {
    source_is_client = beginning.opening.has(Opening::kLowIsClient) == keyed.low_is_source;
  } else if ((packet.flags & flag::syn) != 0) {
    source_is_client = (packet.flags & flag::ack) == 0;
  } else if (context.policy->mail_port(packet.destination_port) !=
             context.policy->mail_port(packet.source_port)) {
    source_is_client = context.policy->mail_port(packet.destination_port);
  } else {
    source_is_client = packet.source_port >= packet.destination_port;
  }
  const FlowIdentity identity{.key = keyed.key,
                              .client_is_low = source_is_client == keyed.low_is_source,
                              .client_side = source_is_client ? frame.side : opposite(frame.side),
                              .flow_id = next_flow_id()};
  std::pmr::polymorphic_allocator<> allocator(&memory);
  return allocator.new_object<Conversation>(identity, context, is_mail(packet), beginning);
}

FlowIdentity Engine::Impl::identity_of(const flow::Entry& entry, const flow::Handshake& seen) {
  return {.key = entry.key(),
          .client_is_low = entry.opening().has(flow::Opening::kLowIsClient),
          .client_side = seen.client_side,
          .flow_id = next_flow_id()};
}

void Engine::Impl::report_half_open(const flow::Entry& entry, std::string_view state,
                                    std::string_view reason) {
  const Nanoseconds now = context.now.monotonic;
  if (now >= half_open_since + kSecond) {
    half_open_since = now;
    half_open_reported = 0;
  }
  if (++half_open_reported > kHalfOpenEvents) {
    context.count(Counter::flows_unreported);
    return;
  }
  const flow::Handshake seen = table.handshake(&entry, now);
  if (seen.frames[0] + seen.frames[1] == 0) return;
  // One that was refused ends with the frame in hand; of others only the first one's time is known.
  emit_half_open(context, identity_of(entry, seen), seen, state == "closed" ? now : seen.first,
                 state, reason);
}

// The entry's flow ends; the caller erases the entry.
void Engine::Impl::close(flow::Entry& entry, std::string_view reason) {
  if (auto* conversation = entry.state_as<Conversation>()) {
    close(conversation, reason);
    return;
  }
  try {
    report_half_open(entry, "new", reason);
  } catch (const std::bad_alloc&) {
    context.count(Counter::memory_refused);
  }
  context.count(Counter::flows_closed);
}

void Engine::Impl::close(Conversation* conversation, std::string_view reason) {
  if (in_hand == conversation) in_hand = nullptr;
  std::erase(ticking, conversation);
  try {
    conversation->finish(reason);
  } catch (const std::bad_alloc&) {
    context.count(Counter::memory_refused);
  }
  context.count(Counter::flows_closed);
  std::pmr::polymorphic_allocator<> allocator(&memory);
  allocator.delete_object(conversation);
}

void Engine::Impl::follow(Conversation& conversation) {
  if (!conversation.needs_tick()) return;
  if (std::find(ticking.begin(), ticking.end(), &conversation) == ticking.end())
    ticking.push_back(&conversation);
}

void Engine::tick(const Time& now) {
  Impl& e = *impl_;
  e.context.now = now;
  e.context.frame_number = 0;
  e.last_tick = now.monotonic;
  std::erase_if(e.ticking, [&](Conversation* c) {
    try {
      c->tick();
    } catch (const std::bad_alloc&) {
      e.context.count(Counter::memory_refused);
      c->give_up();
    }
    return !c->needs_tick();
  });
  e.table.expire(now.monotonic, kExpiryWork, [&](flow::Entry& entry, flow::Removal) {
    const auto* conversation = entry.state_as<Conversation>();
    const bool closed = conversation && conversation->tcp_state() == tcp::State::closed;
    e.close(entry, closed ? "closed" : "timeout");
    ++e.table_changes;
  });
  e.fragments.expire(now.monotonic);
  e.context.statistics.set(contract::Gauge::flows_active, e.table.size());
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

void Engine::Impl::snapshot(const flow::Entry& entry) {
  if (auto* conversation = entry.state_as<Conversation>()) {
    conversation->snapshot();
    return;
  }
  const flow::Handshake seen = table.handshake(&entry, context.now.monotonic);
  snapshot_half_open(context, identity_of(entry, seen), seen);
}

void Engine::forget_streams() {
  impl_->context.frame_number = 0;
  std::size_t cursor = 0;
  while (flow::Entry* entry = impl_->table.next(cursor, SIZE_MAX)) {
    auto* conversation = entry->state_as<Conversation>();
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
      const auto* c = entry->state_as<Conversation>();
      return c ? c->identity().flow_id : UINT64_MAX;
    };
    return id(a) < id(b);
  });
  for (flow::Entry* entry : entries) {
    const auto* c = entry->state_as<Conversation>();
    const bool closed = c && c->tcp_state() == tcp::State::closed;
    e.close(*entry, closed ? "closed" : "shutdown");
    entry->set_state(nullptr);
    e.table.erase(entry);
  }
  ++e.table_changes;
}

std::size_t Engine::flows() const { return impl_->table.size(); }
MemoryUse Engine::memory_use() const {
  return {.table = impl_->table.memory_used(), .flows = impl_->memory.used()};
}

}  // namespace sluice::inspect
