#include "dataplane/inspect/engine.h"

#include <algorithm>
#include <array>
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

// Whether octets on a port that is not mail's are a greeting of the form of SMTP's (FTP has it too:
// the kernel's part sends both here, and is told when it is not mail).
bool greets(Bytes payload) {
  const std::string_view text = as_text(payload.first(std::min<std::size_t>(payload.size(), 4)));
  return text == "220 " || text == "220-";
}
bool speaks_mail(Bytes payload) {
  return greets(payload) ||
         (!payload.empty() &&
          smtp::looks_like_smtp(Direction::to_server, payload) == smtp::Likeness::yes);
}

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
  Conversation* open(Frame& frame, const net::Packet& packet, const flow::KeyedPacket& keyed,
                     const flow::Opening& opening, Bytes payload);
  void close(Conversation* conversation, std::string_view reason);
  void report(const Frame& frame, const net::Packet& packet,
              std::span<const contract::Anomaly> anomalies);
  void settle(Frame& frame, const Disposition& disposition);
  void leave(Frame& frame, const Disposition& disposition);
  bool is_mail(const net::Packet& packet) const {
    return context.policy->mail_port(packet.source_port) ||
           context.policy->mail_port(packet.destination_port);
  }
  void follow(Conversation& conversation);

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
      const flow::KeyedPacket keyed = flow::key_of(whole, frame.wire);
      const std::uint64_t hash = flow::hash(keyed.key, table.secret());
      flow::Entry* entry = table.find(keyed.key, hash);
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

Disposition Engine::Impl::segment(Frame& frame, const net::Packet& packet,
                                  const flow::KeyedPacket& keyed, std::uint64_t hash,
                                  flow::Entry* entry, MutableBytes payload, bool whole_frame) {
  Conversation* conversation = entry ? entry->state_as<Conversation>() : nullptr;
  flow::Opening opening;
  for (int attempt = 0; attempt < 2; ++attempt) {
    try {
      if (!entry) {
        entry = table.insert(keyed.key, hash, context.now.monotonic,
                             [this](flow::Entry& victim, flow::Removal) {
                               context.count(Counter::flows_evicted);
                               close(victim.state_as<Conversation>(), "evicted");
                             });
        ++table_changes;
        if (!entry) {
          context.count(Counter::memory_refused);
          return {};
        }
      }
      if (!conversation) {
        conversation = open(frame, packet, keyed, opening, payload);
        entry->set_state(conversation);
      }
      const bool low_is_client =
          conversation->identity().key.low_port == conversation->identity().client_port &&
          conversation->identity().key.low == conversation->identity().client;
      const Direction direction =
          keyed.low_is_source == low_is_client ? Direction::to_server : Direction::to_client;
      in_hand = conversation;
      const Disposition disposition =
          conversation->segment(direction, frame, packet, payload, whole_frame);
      if (conversation->wants_restart() && attempt == 0) {
        opening = conversation->next_opening();
        entry->set_state(nullptr);
        close(conversation, "tuple-reuse");
        conversation = nullptr;
        continue;
      }
      if (disposition.drop != DropReason::none) conversation->count_drop(disposition.drop);
      switch (conversation->tcp_state()) {
        case tcp::State::opening:
          break;
        case tcp::State::established:
        case tcp::State::closing:
          table.set_class(entry, flow::FlowClass::established, context.now.monotonic);
          break;
        case tcp::State::closed:
          table.set_class(
              entry,
              conversation->may_go_on() ? flow::FlowClass::established : flow::FlowClass::closed,
              context.now.monotonic);
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

// Who is the client: the sender of a SYN, the receiver of a SYN/ACK, else the one who does not use
// a mail port.
Conversation* Engine::Impl::open(Frame& frame, const net::Packet& packet,
                                 const flow::KeyedPacket& keyed, const flow::Opening& opening,
                                 Bytes payload) {
  namespace flag = net::tcp_flag;
  const bool syn = (packet.flags & flag::syn) != 0;
  const bool ack = (packet.flags & flag::ack) != 0;
  bool source_is_client;
  if (syn) {
    source_is_client = !ack;
  } else if (context.policy->mail_port(packet.destination_port) !=
             context.policy->mail_port(packet.source_port)) {
    source_is_client = context.policy->mail_port(packet.destination_port);
  } else {
    // Where no port says it, a greeting or a HELO does.
    source_is_client =
        speaks_mail(payload) ? !greets(payload) : packet.source_port >= packet.destination_port;
  }
  Conversation::Identity identity;
  identity.key = keyed.key;
  identity.flow_id = ((settings.flow_id_seed & 0x1fffff) << 32 | (++flows_made & 0xffffffff));
  identity.client = source_is_client ? packet.source : packet.destination;
  identity.server = source_is_client ? packet.destination : packet.source;
  identity.client_port = source_is_client ? packet.source_port : packet.destination_port;
  identity.server_port = source_is_client ? packet.destination_port : packet.source_port;
  identity.wire = frame.wire;
  identity.client_side = source_is_client ? frame.side : opposite(frame.side);
  std::copy_n(packet.vlan, 3, identity.vlan);
  identity.vlan_count = packet.vlan_count;
  context.count(Counter::flows_opened);
  std::pmr::polymorphic_allocator<> allocator(&memory);
  return allocator.new_object<Conversation>(identity, context, is_mail(packet), opening);
}

void Engine::Impl::close(Conversation* conversation, std::string_view reason) {
  if (!conversation) return;
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
    e.close(entry.state_as<Conversation>(), closed ? "closed" : "timeout");
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
    if (entry && entry->state()) entry->state_as<Conversation>()->snapshot();
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
    auto* conversation = entry->state_as<Conversation>();
    if (!conversation) continue;
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
  Conversation::Identity identity;
  identity.key.protocol = 0;
  try {
    Conversation conversation(identity, e.context, true);
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
  std::sort(entries.begin(), entries.end(), [](const flow::Entry* a, const flow::Entry* b) {
    const auto id = [](const flow::Entry* entry) {
      const auto* c = entry->state_as<Conversation>();
      return c ? c->identity().flow_id : 0;
    };
    return id(a) < id(b);
  });
  for (flow::Entry* entry : entries) {
    const auto* c = entry->state_as<Conversation>();
    const bool closed = c && c->tcp_state() == tcp::State::closed;
    e.close(entry->state_as<Conversation>(), closed ? "closed" : "shutdown");
    entry->set_state(nullptr);
    e.table.erase(entry);
  }
  ++e.table_changes;
}

std::size_t Engine::flows() const { return impl_->table.size(); }
std::size_t Engine::memory_used() const {
  return impl_->memory.used() + impl_->table.memory_used();
}

}  // namespace sluice::inspect
