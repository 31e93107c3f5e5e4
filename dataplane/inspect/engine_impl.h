// The state behind Engine. engine.cc takes bursts apart, engine_flows.cc keeps the flows. Private
// to this folder.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "dataplane/base/limited_resource.h"
#include "dataplane/inspect/context.h"
#include "dataplane/inspect/conversation.h"
#include "dataplane/inspect/roster.h"
#include "dataplane/net/defragmenter.h"

namespace sluice::inspect {

inline constexpr std::size_t kBurst = flow::FlowTable::kMaxBurst;

// Whether octets on a port that is not mail's are a greeting of the form of SMTP's (FTP has it too:
// the kernel's part sends both here, and is told when it is not mail).
inline bool greets(Bytes payload) {
  const std::string_view text = as_text(payload.first(std::min<std::size_t>(payload.size(), 4)));
  return text == "220 " || text == "220-";
}
inline bool speaks_mail(Bytes payload) {
  return greets(payload) ||
         (!payload.empty() &&
          smtp::looks_like_smtp(Direction::to_server, payload) == smtp::Likeness::yes);
}

class Dormant;

struct Engine::Impl {
  Impl(const Settings& s, contract::WorkerStatistics& statistics, contract::EventSink& events,
       Output& output, std::pmr::memory_resource* upstream)
      : settings(s),
        memory(upstream, s.max_memory),
        table({.max_flows = s.max_flows}, s.hash_secret, upstream),
        fragments({}, &memory),
        datagram(&memory),
        context{.settings = settings,
                .statistics = statistics,
                .events = events,
                .output = output,
                .memory = &memory,
                .rulesets = Rulesets(&memory),
                .host_limits = HostLimits(&memory)},
        ticking(0, &memory),
        conversations(1, &memory) {
    settings.max_flow_memory = std::min(s.max_flow_memory, s.max_memory / 4);
  }

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
                     const Conversation::Beginning& beginning, Bytes payload);
  // The entry's conversation, awake; nullptr when there is none. std::bad_alloc.
  Conversation* wake(flow::Entry& entry);
  void close(flow::Entry& entry, std::string_view reason);
  void evict(flow::Entry& victim);
  void close(Conversation* conversation, std::string_view reason);
  // Makes flows small that have been idle for so long, at most so many.
  void rest(Nanoseconds idle, std::size_t most);
  bool sleep(flow::Entry& entry, Conversation& conversation);
  void destroy(flow::Entry& entry);
  void destroy(Dormant* sleeper);
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
  Conversation* admit(PmrPtr<Conversation> conversation);
  void discard(Conversation* conversation);
  void snapshot(const flow::Entry& entry);
  // An eighth is left.
  bool short_of_memory() const { return memory.used() > memory.limit() - memory.limit() / 8; }
  // Memory is short: makes room (engine_memory.cc). Between frames only.
  void relieve();
  bool shed();
  void forget_idle(std::size_t most);

  Settings settings;
  LimitedResource memory;
  flow::FlowTable table;
  net::Defragmenter fragments;
  std::pmr::vector<std::uint8_t> datagram;
  Context context;
  Roster ticking;                   // with timers of their own
  Roster conversations;             // all that are awake
  Conversation* in_hand = nullptr;  // whose frame has not left yet
  std::array<Parsed, kBurst> parsed{};
  std::uint64_t flows_made = 0;
  std::size_t dormant = 0;         // flows
  std::size_t dormant_octets = 0;  // of all of them
  std::uint64_t table_changes = 0;
  std::size_t shed_next = 0;  // of conversations: looked at next when memory is short
  Nanoseconds last_tick = 0;
  contract::AnomalySet reported;  // of frames without a flow, since
  Nanoseconds reported_since = 0;
  std::uint32_t half_open_reported = 0;  // since
  Nanoseconds half_open_since = 0;
};

}  // namespace sluice::inspect
