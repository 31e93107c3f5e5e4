// Cost of finding the flow and of taking a segment. Time is per packet (items_per_second inverted).
//
//   flow_tcp --benchmark_repetitions=5 --benchmark_report_aggregates_only=true
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory_resource>
#include <random>
#include <vector>

#include "dataplane/flow/flow_table.h"
#include "dataplane/tcp/connection.h"

namespace {

using namespace sluice;
namespace flag = net::tcp_flag;

constexpr flow::HashKey kSecret{0x0123456789abcdef, 0xfedcba9876543210};

flow::FlowKey numbered_key(std::uint32_t n) {
  flow::FlowKey key;
  const std::uint8_t low[4] = {10, static_cast<std::uint8_t>(n >> 16),
                               static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n)};
  const std::uint8_t high[4] = {192, 0, 2, 25};
  key.low = Address::from_v4(low);
  key.high = Address::from_v4(high);
  key.low_port = static_cast<std::uint16_t>(1024 + (n >> 24));
  key.high_port = 25;
  return key;
}

// Random flows of a table of state.range(0), in bursts of 32: every lookup misses the caches.
void lookup_burst(benchmark::State& state) {
  const auto flows = static_cast<std::uint32_t>(state.range(0));
  flow::FlowTable table({.max_flows = flows}, kSecret, std::pmr::new_delete_resource());
  for (std::uint32_t n = 0; n < flows; ++n) {
    const flow::FlowKey key = numbered_key(n);
    flow::Entry* e =
        table.insert(key, flow::hash(key, kSecret), kSecond, [](flow::Entry&, flow::Removal) {});
    table.set_class(e, flow::FlowClass::established, kSecond);
  }
  constexpr std::size_t kBurst = 32;
  std::mt19937 random(1);
  std::vector<flow::FlowKey> keys(kBurst * 16384);
  for (auto& key : keys) key = numbered_key(static_cast<std::uint32_t>(random() % flows));
  std::uint64_t hashes[kBurst];
  flow::Entry* found[kBurst];
  std::size_t at = 0;
  std::uint64_t misses = 0;
  for (auto _ : state) {
    table.lookup(std::span(keys).subspan(at, kBurst), hashes, found);
    for (flow::Entry* e : found) {
      if (e == nullptr) {
        ++misses;
      } else {
        table.touch(e, kSecond);
      }
    }
    at = (at + kBurst) % keys.size();
  }
  if (misses > 0) state.SkipWithError("a flow was not found");
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBurst));
  state.counters["octets_per_flow"] =
      static_cast<double>(table.memory_used()) / static_cast<double>(flows);
}
BENCHMARK(lookup_burst)->Arg(1000)->Arg(1'000'000)->Arg(10'000'000);

// A SYN flood on a full table: each insert forgets the oldest half-open flow.
void insert_flood(benchmark::State& state) {
  flow::FlowTable table({.max_flows = 1'000'000}, kSecret, std::pmr::new_delete_resource());
  std::uint32_t n = 0;
  for (auto _ : state) {
    const flow::FlowKey key = numbered_key(n++);
    benchmark::DoNotOptimize(
        table.insert(key, flow::hash(key, kSecret), kSecond, [](flow::Entry&, flow::Removal) {}));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(insert_flood)->Iterations(3'000'000);

void hash_key(benchmark::State& state) {
  flow::FlowKey key = numbered_key(1);
  for (auto _ : state) {
    key.low_port = static_cast<std::uint16_t>(flow::hash(key, kSecret));
    benchmark::DoNotOptimize(key);
  }
}
BENCHMARK(hash_key);

struct Swallow : tcp::StreamSink {
  std::size_t on_data(Direction, std::uint64_t, Bytes octets) override {
    octets_taken += octets.size();
    return octets.size();
  }
  void on_gap(Direction, std::uint64_t, std::uint64_t) override {}
  void on_alternative(Direction, std::uint64_t, Bytes) override {}
  void on_anomaly(contract::Anomaly) override { ++anomalies; }
  std::uint64_t octets_taken = 0;
  std::uint64_t anomalies = 0;
};

net::Packet segment_of(std::uint8_t flags, std::uint32_t sequence, std::uint32_t ack) {
  net::Packet p;
  p.kind = net::PacketKind::tcp;
  p.flags = flags;
  p.sequence = sequence;
  p.acknowledgement = ack;
  p.window = 65000;
  return p;
}

void open(tcp::Connection& c, Swallow& sink) {
  c.segment(Direction::to_server, segment_of(flag::syn, 999, 0), {}, kSecond, sink);
  c.segment(Direction::to_client, segment_of(flag::syn | flag::ack, 4999, 1000), {}, kSecond, sink);
  c.segment(Direction::to_server, segment_of(flag::ack, 1000, 5000), {}, kSecond, sink);
}

// A bulk sender: ten segments of state.range(0) octets, then an acknowledgement; over
// state.range(1) connections in turn.
void in_order(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  std::pmr::unsynchronized_pool_resource pool;
  Swallow sink;
  struct Flow {
    tcp::Connection connection;
    std::uint32_t next = 1000;
  };
  std::vector<Flow> flows;
  for (std::int64_t i = 0; i < state.range(1); ++i) {
    flows.push_back({tcp::Connection({}, &pool)});
    open(flows.back().connection, sink);
  }
  std::vector<std::uint8_t> payload(size, 'a');
  std::size_t at = 0;
  for (auto _ : state) {
    Flow& f = flows[at];
    at = at + 1 == flows.size() ? 0 : at + 1;
    for (int i = 0; i < 10; ++i) {
      const auto r = f.connection.segment(Direction::to_server, segment_of(flag::ack, f.next, 5000),
                                          payload, kSecond, sink);
      benchmark::DoNotOptimize(r);
      f.next += static_cast<std::uint32_t>(size);
    }
    f.connection.segment(Direction::to_client, segment_of(flag::ack, 5000, f.next), {}, kSecond,
                         sink);
  }
  if (sink.anomalies > 0) state.SkipWithError("anomalies");
  state.SetItemsProcessed(state.iterations() * 11);
}
BENCHMARK(in_order)->Args({1460, 1})->Args({100, 1})->Args({1460, 10'000});

// Each second segment is overtaken by the next: what loss and reordering cost.
void reordered(benchmark::State& state) {
  std::pmr::unsynchronized_pool_resource pool;
  Swallow sink;
  tcp::Connection c({}, &pool);
  open(c, sink);
  std::vector<std::uint8_t> payload(1460, 'a');
  std::uint32_t next = 1000;
  for (auto _ : state) {
    for (const std::uint32_t ahead : {1u, 0u, 3u, 2u}) {
      c.segment(Direction::to_server, segment_of(flag::ack, next + ahead * 1460, 5000), payload,
                kSecond, sink);
    }
    next += 4 * 1460;
    c.segment(Direction::to_client, segment_of(flag::ack, 5000, next), {}, kSecond, sink);
  }
  state.SetItemsProcessed(state.iterations() * 5);
}
BENCHMARK(reordered);

// Octets scattered so that no two join: the longest walks that a sender can cause.
void scattered(benchmark::State& state) {
  std::pmr::unsynchronized_pool_resource pool;
  Swallow sink;
  tcp::Connection c({}, &pool);
  open(c, sink);
  std::uint8_t octet = 'x';
  std::mt19937 random(1);
  for (auto _ : state) {
    const std::uint32_t next = c.next_sequence(Direction::to_server);
    c.segment(Direction::to_server,
              segment_of(flag::ack, next + 1 + static_cast<std::uint32_t>(random() % 60'000), 5000),
              MutableBytes(&octet, 1), kSecond, sink);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(scattered);

}  // namespace

BENCHMARK_MAIN();
