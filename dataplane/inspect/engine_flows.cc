// Flows: from a segment to its conversation, and what becomes of a flow that has none yet, that is
// idle, and that ends.
#include "dataplane/inspect/dormant.h"
#include "dataplane/inspect/engine_impl.h"

namespace sluice::inspect {

using contract::Counter;
using contract::DropReason;

namespace {

// Flow events of handshakes that came to nothing, in a second: a flood of them must not fill the
// ring in which the events of mail stand.
constexpr std::uint32_t kHalfOpenEvents = 1000;

}  // namespace

Disposition Engine::Impl::segment(Frame& frame, const net::Packet& packet,
                                  const flow::KeyedPacket& keyed, std::uint64_t hash,
                                  flow::Entry* entry, MutableBytes payload, bool whole_frame) {
  Conversation* conversation = nullptr;
  Conversation::Beginning beginning;
  for (int attempt = 0; attempt < 2; ++attempt) {
    try {
      if (entry && !conversation) conversation = wake(*entry);
      if (!entry) {
        entry = table.insert(keyed.key, hash, context.now.monotonic,
                             [this](flow::Entry& victim, flow::Removal) { evict(victim); });
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
        conversation = open(frame, packet, keyed, beginning, payload);
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
          table.set_class(
              entry,
              conversation->may_go_on() ? flow::FlowClass::established : flow::FlowClass::closed,
              context.now.monotonic);
          break;
      }
      table.touch(entry, context.now.monotonic);
      if (conversation->needs_tick()) ticking.add(*conversation);
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
  // What came in on the other end's port is the Conversation's to judge.
  if (known && settings.verify_sides &&
      table.handshake(&entry, context.now.monotonic).client_side !=
          (from_client ? frame.side : opposite(frame.side)))
    return std::nullopt;
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
                                 const Conversation::Beginning& beginning, Bytes payload) {
  namespace flag = net::tcp_flag;
  using flow::Opening;
  bool source_is_client;
  if (!beginning.first) {
    source_is_client = beginning.opening.has(Opening::kLowIsClient) == keyed.low_is_source;
  } else if ((packet.flags & flag::syn) != 0) {
    source_is_client = (packet.flags & flag::ack) == 0;
  } else if (context.policy->mail_port(packet.destination_port) !=
             context.policy->mail_port(packet.source_port)) {
    source_is_client = context.policy->mail_port(packet.destination_port);
  } else {
    // Where no port says it, a greeting or a HELO does.
    source_is_client =
        speaks_mail(payload) ? !greets(payload) : packet.source_port >= packet.destination_port;
  }
  const FlowIdentity identity{.key = keyed.key,
                              .client_is_low = source_is_client == keyed.low_is_source,
                              .client_side = !beginning.first   ? beginning.seen.client_side
                                             : source_is_client ? frame.side
                                                                : opposite(frame.side),
                              .flow_id = next_flow_id()};
  return admit(make_pmr<Conversation>(&memory, identity, context, is_mail(packet), beginning));
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

// The table is full, or memory is short. One that is closed ends as it would have a little later.
void Engine::Impl::evict(flow::Entry& victim) {
  context.count(Counter::flows_evicted);
  close(victim, victim.flow_class() == flow::FlowClass::closed ? "closed" : "evicted");
}

// The entry's flow ends; the caller erases the entry.
void Engine::Impl::close(flow::Entry& entry, std::string_view reason) {
  try {
    if (Conversation* conversation = wake(entry)) {
      entry.set_state(nullptr);
      close(conversation, reason);
      return;
    }
    report_half_open(entry, "new", reason);
  } catch (const std::bad_alloc&) {
    // Its end is not told.
    context.count(Counter::memory_refused);
    destroy(entry);
  }
  context.count(Counter::flows_closed);
}

void Engine::Impl::close(Conversation* conversation, std::string_view reason) {
  if (in_hand == conversation) in_hand = nullptr;
  try {
    conversation->finish(reason);
  } catch (const std::bad_alloc&) {
    context.count(Counter::memory_refused);
  }
  context.count(Counter::flows_closed);
  discard(conversation);
}

// A new conversation; std::bad_alloc when there is no room for it in the list.
Conversation* Engine::Impl::admit(PmrPtr<Conversation> conversation) {
  conversations.add(*conversation);
  return conversation.release();
}

void Engine::Impl::discard(Conversation* conversation) {
  ticking.remove(*conversation);
  conversations.remove(*conversation);
  std::pmr::polymorphic_allocator<>(&memory).delete_object(conversation);
}

// --- idle flows ----------------------------------------------------------------------------------

Conversation* Engine::Impl::wake(flow::Entry& entry) {
  Dormant* sleeper = Dormant::in(entry);
  if (sleeper == nullptr) return awake(entry);
  Conversation* conversation =
      admit(PmrPtr<Conversation>(sleeper->wake(entry.key(), context), {&memory}));
  const bool forget = sleeper->forgets();
  entry.set_state(conversation);
  destroy(sleeper);
  if (forget) conversation->forget_stream();
  return conversation;
}

void Engine::Impl::rest(Nanoseconds idle, std::size_t most) {
  table.visit_idle(context.now.monotonic, idle, most, [this](flow::Entry& entry) {
    Conversation* conversation = awake(entry);
    if (!conversation || sleep(entry, *conversation)) return;
    try {
      conversation->rest();
    } catch (const std::bad_alloc&) {
      // It stays as large as it is.
      context.count(Counter::memory_refused);
    }
  });
}

// Makes the entry's conversation dormant; false: something of it cannot be packed.
bool Engine::Impl::sleep(flow::Entry& entry, Conversation& conversation) {
  if (conversation.needs_tick()) return false;
  conversation.drop_unread();
  Dormant* sleeper = Dormant::make(conversation, &memory);
  if (sleeper == nullptr) return false;
  entry.set_state(Dormant::state_of(sleeper));
  ++dormant;
  dormant_octets += sleeper->memory_used();
  discard(&conversation);
  return true;
}

void Engine::Impl::destroy(Dormant* sleeper) {
  --dormant;
  dormant_octets -= sleeper->memory_used();
  Dormant::destroy(sleeper, &memory);
}

// Frees what hangs on an entry, without a word.
void Engine::Impl::destroy(flow::Entry& entry) {
  if (Dormant* sleeper = Dormant::in(entry)) {
    destroy(sleeper);
  } else if (Conversation* conversation = awake(entry)) {
    discard(conversation);
  }
  entry.set_state(nullptr);
}

void Engine::Impl::snapshot(const flow::Entry& entry) {
  if (const Dormant* sleeper = Dormant::in(entry)) {
    // Woken for the moment alone.
    const PmrPtr<Conversation> conversation(sleeper->wake(entry.key(), context), {&memory});
    conversation->snapshot();
    return;
  }
  if (Conversation* conversation = awake(entry)) {
    conversation->snapshot();
    return;
  }
  const flow::Handshake seen = table.handshake(&entry, context.now.monotonic);
  snapshot_half_open(context, identity_of(entry, seen), seen);
}

}  // namespace sluice::inspect
