// Counters that the dataplane publishes: one block per worker in shared memory, written by that
// worker alone (relaxed stores), summed by the reader. The names are those of the metrics and of
// the `stats` event: `sluice_<name>_total` unless said otherwise.
//
// Layout of the shared object: StatisticsHeader, then `workers` WorkerStatistics, each on cache
// lines of its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

#include "dataplane/contract/anomalies.h"
#include "dataplane/contract/drop_reasons.h"

// clang-format off
#define SLUICE_COUNTERS(X) \
  X(frames_received,       "frames received from a port") \
  X(bytes_received,        "octets of those frames") \
  X(frames_forwarded,      "frames forwarded unchanged to the peer port") \
  X(bytes_forwarded,       "octets of those frames") \
  X(frames_changed,        "frames forwarded with octets of ours in them (first-wins overlap, trimmed segment)") \
  X(frames_injected,       "frames written by us: refusals, resets, acknowledgements") \
  X(frames_not_mail,       "frames received that are not of a mail flow") \
  X(segments,              "TCP segments of mail flows") \
  X(segments_out_of_order, "segments ahead of the stream's edge") \
  X(segments_retransmitted,"segments wholly behind the stream's edge") \
  X(stream_bytes,          "octets delivered in order to the SMTP layer") \
  X(fragments,             "IP fragments") \
  X(datagrams_reassembled, "IP datagrams rebuilt for inspection") \
  X(flows_opened,          "flows begun") \
  X(flows_closed,          "flows ended") \
  X(flows_evicted,         "flows forgotten early because the table was at its bound") \
  X(flows_unreported,      "half-open flows that ended without an event of their own (more than are told in a second)") \
  X(flows_bypassed,        "flows no longer inspected by declared policy") \
  X(flows_shed,            "of these, flows that held much when memory was short") \
  X(commands,              "SMTP commands") \
  X(replies,               "SMTP replies") \
  X(messages,              "messages that ended") \
  X(messages_accepted,     "messages that the server accepted") \
  X(messages_refused,      "messages that the server refused") \
  X(messages_aborted,      "messages that the connection's end cut") \
  X(messages_condemned,    "messages that a verdict condemned, enforced or not") \
  X(messages_blocked,      "messages that enforcement stopped") \
  X(message_bytes,         "octets of messages") \
  X(tls_sessions,          "TLS sessions in mail flows") \
  X(alerts,                "rule hits") \
  X(scan_bytes,            "octets given to the scanner") \
  X(events,                "events written to the ring") \
  X(events_lost,           "events lost because the ring was full") \
  X(memory_refused,        "allocations refused at a memory bound") \
  X(rulesets_withdrawn,    "flows whose rule set went before their message ended (more than four would have been live)") \
  X(policy_adoptions,      "policy images adopted") \
  X(loops,                 "worker loops") \
  X(sleeps,                "times the worker slept for want of traffic")
#define SLUICE_GAUGES(X) \
  X(flows_active,          "flows in the table") \
  X(flows_dormant,         "of these, idle ones whose state is packed") \
  X(memory_bytes,          "octets held for flows, streams and messages") \
  X(policy_epoch,          "epoch of the policy in force") \
  X(heartbeat_nanoseconds, "CLOCK_MONOTONIC of the last heartbeat")
// clang-format on

namespace sluice::contract {

enum class Counter : std::uint16_t {
#define X(id, text) id,
  SLUICE_COUNTERS(X)
#undef X
};
enum class Gauge : std::uint16_t {
#define X(id, text) id,
  SLUICE_GAUGES(X)
#undef X
};

struct CounterInfo {
  std::string_view name;
  std::string_view description;
};
inline constexpr CounterInfo kCounters[] = {
#define X(id, text) {#id, text},
    SLUICE_COUNTERS(X)
#undef X
};
inline constexpr CounterInfo kGauges[] = {
#define X(id, text) {#id, text},
    SLUICE_GAUGES(X)
#undef X
};

// A counter with one writer: a relaxed load and store, no locked instruction.
class SingleWriterCounter {
 public:
  void add(std::uint64_t n) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void set(std::uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  std::uint64_t read() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};
static_assert(sizeof(SingleWriterCounter) == 8);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

struct alignas(64) WorkerStatistics {
  SingleWriterCounter counters[std::size(kCounters)];
  SingleWriterCounter gauges[std::size(kGauges)];
  SingleWriterCounter drops[kDropReasonCount];
  SingleWriterCounter anomalies[kAnomalyCount];

  void add(Counter c, std::uint64_t n = 1) { counters[static_cast<std::size_t>(c)].add(n); }
  void set(Gauge g, std::uint64_t n) { gauges[static_cast<std::size_t>(g)].set(n); }
  void add(DropReason r, std::uint64_t n = 1) { drops[static_cast<std::size_t>(r)].add(n); }
  void add(Anomaly a, std::uint64_t n = 1) { anomalies[static_cast<std::size_t>(a)].add(n); }
  std::uint64_t read(Counter c) const { return counters[static_cast<std::size_t>(c)].read(); }
  std::uint64_t read(Gauge g) const { return gauges[static_cast<std::size_t>(g)].read(); }
  std::uint64_t read(DropReason r) const { return drops[static_cast<std::size_t>(r)].read(); }
  std::uint64_t read(Anomaly a) const { return anomalies[static_cast<std::size_t>(a)].read(); }
};

inline constexpr std::uint32_t kStatisticsMagic = 0x534c5354;  // "SLST"
inline constexpr std::uint32_t kStatisticsVersion = 2;

struct alignas(64) StatisticsHeader {
  std::uint32_t magic = kStatisticsMagic;
  std::uint32_t version = kStatisticsVersion;
  std::uint32_t workers = 0;
  std::uint32_t worker_size = sizeof(WorkerStatistics);
};
static_assert(sizeof(StatisticsHeader) == 64);

}  // namespace sluice::contract
