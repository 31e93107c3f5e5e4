// Where the time of a message goes: the same octets through each stage of the pipeline alone, in
// the order in which they come, then through the whole of it, and what could not be done for less:
// the octets scanned by bare Hyperscan and copied once (the floor). Prints one line of JSON a
// stage.
//
//   stages CAPTURE [--rules FILE] [--repeat N] [--instructions]
//
// CPU time of the process; `rest` is what the whole takes beyond the sum of its stages: putting
// them together, the verdict, what an event says. --instructions: for `valgrind --tool=callgrind
// --instr-atstart=no`, which dumps one count for each stage; one round, no times.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "dataplane/contract/event_ring.h"
#include "dataplane/inspect/engine.h"
#include "dataplane/mem/worker_memory.h"
#include "dataplane/mime/parser.h"
#include "perf/stages/material.h"
#include "perf/stages/raw_scan.h"
#include "perf/support/measure.h"

#ifdef SLUICE_HAVE_CALLGRIND
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION
#define CALLGRIND_STOP_INSTRUMENTATION
#define CALLGRIND_DUMP_STATS_AT(name)
#endif

namespace sluice::perf {
namespace {

[[noreturn]] void fail(const std::string& text) {
  std::fprintf(stderr, "stages: %s\n", text.c_str());
  std::exit(1);
}

class Bench {
 public:
  Bench(Capture capture, const CompiledPolicy& compiled, mem::WorkerMemory& memory, unsigned rounds)
      : capture_(std::move(capture)),
        policy_(*compiled.policy),
        material_(record(capture_, policy_)),
        memory_(memory),
        rounds_(rounds) {}

  const Material& material() const { return material_; }
  void copies();
  void parses();
  void finds_flows();
  void follows_tcp();
  void reads_smtp();
  void decodes_mime();
  void scans();
  void scans_raw(const std::string& rules_file);
  void writes_events();
  void whole();
  void report(bool with_rules) const;

 private:
  // Runs `work` as often as wanted. It returns what it has done, to be checked or at least kept.
  void stage(const char* name, const std::function<std::size_t()>& work);
  double of(const std::string& name) const {
    for (const auto& [n, rounds] : results_)
      if (n == name) return rounds.median();
    return 0;
  }

  Capture capture_;
  const policy::Policy& policy_;
  Material material_;
  mem::WorkerMemory& memory_;
  unsigned rounds_;
  std::vector<std::pair<std::string, Rounds>> results_;
  std::size_t kept_ = 0;
};

void Bench::stage(const char* name, const std::function<std::size_t()>& work) {
  Rounds rounds;
  for (unsigned i = 0; i < rounds_; ++i) {
    CALLGRIND_START_INSTRUMENTATION;
    const double begin = cpu_seconds();
    kept_ += work();
    rounds.add(cpu_seconds() - begin);
    CALLGRIND_STOP_INSTRUMENTATION;
    CALLGRIND_DUMP_STATS_AT(name);
  }
  results_.emplace_back(name, rounds);
}

// To where an mbuf would be: 4,096 of them, 8 MB.
void Bench::copies() {
  constexpr std::size_t kRoom = 2048;
  constexpr std::size_t kBuffers = 4096;
  std::vector<std::uint8_t> to(kRoom * kBuffers);
  stage("memcpy", [&] {
    std::size_t n = 0;
    for (const Recorded& f : capture_.frames) {
      std::memcpy(&to[n++ % kBuffers * kRoom], &capture_.octets[f.offset],
                  std::min<std::size_t>(f.size, kRoom));
    }
    return std::size_t{to[n % to.size()]};
  });
}

void Bench::parses() {
  stage("parse", [&] {
    std::size_t payload = 0;
    for (const Recorded& f : capture_.frames)
      payload += net::parse(Bytes(capture_.octets).subspan(f.offset, f.size), {}).payload_size;
    return payload;
  });
}

// Keys, hashes, look-ups in bursts, new flows, ends.
void Bench::finds_flows() {
  constexpr std::size_t kBurst = 32;
  const auto forget = [](flow::Entry&, flow::Removal) {};
  flow::FlowTable table({.max_flows = 1u << 20}, {1, 2}, &memory_);
  stage("flow", [&] {
    flow::FlowKey keys[kBurst];
    std::uint64_t hashes[kBurst];
    flow::Entry* found[kBurst];
    const std::size_t count = capture_.frames.size();
    for (std::size_t first = 0; first < count; first += kBurst) {
      const std::size_t n = std::min(kBurst, count - first);
      for (std::size_t i = 0; i < n; ++i)
        keys[i] = flow::key_of(material_.packets[first + i], 0).key;
      table.lookup(std::span(keys).first(n), std::span(hashes).first(n), std::span(found).first(n));
      for (std::size_t i = 0; i < n; ++i) {
        const Nanoseconds now = capture_.frames[first + i].time;
        flow::Entry* entry = found[i] ? found[i] : table.insert(keys[i], hashes[i], now, forget);
        const bool opening = (material_.packets[first + i].flags & net::tcp_flag::syn) != 0;
        if (!opening) table.set_class(entry, flow::FlowClass::established, now);
        table.touch(entry, now);
      }
    }
    const std::size_t flows = table.size();
    while (table.expire(UINT64_MAX / 2, 1024, forget) == 1024) {
    }
    if (flows != capture_.flows.size()) fail("the flow table lost flows");
    return flows;
  });
}

void Bench::follows_tcp() {
  std::vector<std::uint8_t> work = capture_.octets;
  std::vector<std::optional<tcp::Connection>> connections(capture_.flows.size());
  QuietStream sink;
  stage("tcp", [&] {
    std::size_t out_of_order = 0;
    for (std::size_t i = 0; i < capture_.frames.size(); ++i) {
      const Recorded& f = capture_.frames[i];
      const net::Packet& packet = material_.packets[i];
      auto& connection = connections[f.flow];
      if (!connection) connection.emplace(tcp::Limits{}, &memory_);
      out_of_order +=
          connection
              ->segment(
                  material_.to_server[i] ? Direction::to_server : Direction::to_client, packet,
                  MutableBytes(work).subspan(f.offset + packet.payload_offset, packet.payload_size),
                  f.time, sink)
              .out_of_order;
      if (material_.last_frame[f.flow] == i) connection.reset();
    }
    return out_of_order;
  });
}

void Bench::reads_smtp() {
  std::vector<std::optional<smtp::Session>> sessions(capture_.flows.size());
  QuietSession sink;
  stage("smtp", [&] {
    for (const Piece& piece : material_.stream) {
      auto& session = sessions[piece.flow];
      if (!session) session.emplace(smtp::Limits{}, sink, &memory_);
      if (piece.direction == Direction::to_server) {
        session->client(material_.of(piece));
      } else {
        session->server(material_.of(piece));
      }
    }
    for (auto& session : sessions) session.reset();
    return sessions.size();
  });
}

class QuietMessage final : public mime::ParserSink {
 public:
  void on_header(mime::PartNumber, std::string_view, std::string_view, std::string_view) override {}
  void on_header_raw(mime::PartNumber, Bytes) override {}
  void on_header_end(mime::PartNumber) override {}
  void on_part_begin(const mime::Part&) override {}
  void on_part_data(mime::PartNumber, mime::DataKind, Bytes) override {}
  void on_part_end(const mime::PartEnd& end) override { decoded += end.octets; }
  void on_url(mime::PartNumber, std::string_view, std::string_view) override {}
  void on_anomaly(contract::Anomaly) override {}
  std::size_t decoded = 0;
};

void Bench::decodes_mime() {
  std::vector<std::optional<mime::Parser>> parsers(capture_.flows.size());
  mime::Limits limits;
  limits.hash_sha256 = false;
  stage("mime", [&] {
    QuietMessage sink;
    for (const Piece& piece : material_.message) {
      auto& parser = parsers[piece.flow];
      if (!parser) parser.emplace(limits, sink, &memory_);
      parser->feed(material_.of(piece));
      if (piece.then == Piece::Then::message_ends) {
        parser->finish();
        parser.reset();
      }
    }
    return sink.decoded;
  });
}

void Bench::scans() {
  auto scratch = scan::Scratch::make(policy_.ruleset());
  if (!scratch) fail(scratch.error());
  std::vector<std::optional<scan::MessageScan>> flows(capture_.flows.size());
  stage("scan", [&] {
    std::size_t hits = 0;
    for (const Piece& piece : material_.scanned) {
      auto& scan = flows[piece.flow];
      if (!scan) scan.emplace(**scratch, &memory_);
      if (piece.size > 0) scan->feed(piece.buffer, material_.of(piece));
      if (piece.then == Piece::Then::item_ends) scan->end_item(piece.buffer);
      if (piece.then != Piece::Then::message_ends) continue;
      scan->settle();
      hits += scan->hits().size();
      scan->next_transaction();
    }
    for (auto& scan : flows) scan.reset();
    if (hits != material_.alerts)
      fail(std::to_string(hits) + " hits, not " + std::to_string(material_.alerts));
    return hits;
  });
}

void Bench::scans_raw(const std::string& rules_file) {
  if (rules_file.empty()) return;
  auto raw = RawScan::compile(rules_file);
  if (!raw) fail(raw.error());
  // The octets of each flow and buffer in one piece.
  std::vector<std::vector<std::uint8_t>> texts(capture_.flows.size() * RawScan::kBuffers);
  for (const Piece& piece : material_.scanned) {
    const std::size_t buffer =
        piece.buffer == scan::Buffer::decoded ? RawScan::kDecoded : RawScan::kStream;
    const Bytes octets = material_.of(piece);
    auto& text = texts[piece.flow * RawScan::kBuffers + buffer];
    text.insert(text.end(), octets.begin(), octets.end());
  }
  stage("raw hs_scan_stream", [&] {
    std::size_t found = 0;
    for (std::size_t i = 0; i < texts.size(); ++i)
      found += (*raw)->scan(i % RawScan::kBuffers, texts[i]);
    return found;
  });
}

constexpr std::size_t kRing = std::size_t{64} << 20;

struct Ring {
  std::vector<std::uint8_t> memory =
      std::vector<std::uint8_t>(contract::event_ring_bytes(kRing) + 64);
  void* at() {
    return memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  }
};

void Bench::writes_events() {
  Ring memory;
  stage("events", [&] {
    auto ring = contract::EventRingProducer::create(memory.at(), kRing);
    for (const auto& record : material_.events) ring.write(record);
    return ring.lost();
  });
}

class Forwarding final : public inspect::Output {
 public:
  void forward(inspect::Frame&, bool) override { ++forwarded; }
  void drop(inspect::Frame&, contract::DropReason) override {}
  void inject(std::uint16_t, Side, Bytes) override {}
  void mark_flow(const flow::FlowKey&, inspect::FlowMark) override {}
  std::size_t forwarded = 0;
};

void Bench::whole() {
  constexpr std::size_t kBurst = 32;
  Ring memory;
  Forwarding output;
  std::vector<std::uint8_t> work = capture_.octets;
  const auto statistics = std::make_unique<contract::WorkerStatistics>();
  auto ring = contract::EventRingProducer::create(memory.at(), kRing);
  inspect::Settings settings;
  settings.wires = {"w1"};
  inspect::Engine engine(settings, *statistics, ring, output, &memory_);
  if (Status set = engine.set_policy(policy_); !set) fail(set.error());
  std::uint64_t round = 0;
  const std::uint64_t lasts = capture_.frames.back().time - capture_.frames.front().time;
  stage("whole", [&] {
    // Another round is later, when the flows of the last are forgotten.
    const std::uint64_t later = round++ * (lasts + 3600 * kSecond);
    std::vector<inspect::Frame> burst(kBurst);
    const std::size_t count = capture_.frames.size();
    Nanoseconds next_tick = 0;
    for (std::size_t first = 0; first < count; first += kBurst) {
      const std::size_t n = std::min(kBurst, count - first);
      const Nanoseconds now = capture_.frames[first].time + later;
      for (std::size_t i = 0; i < n; ++i) {
        const Recorded& f = capture_.frames[first + i];
        burst[i] = {.octets = MutableBytes(work).subspan(f.offset, f.size), .side = f.side};
      }
      engine.process(std::span(burst).first(n), {.monotonic = now, .wall = now});
      if (now < next_tick) continue;
      engine.tick({.monotonic = now, .wall = now});
      next_tick = now + 10 * kMillisecond;
    }
    return output.forwarded;
  });
  if (output.forwarded != rounds_ * capture_.frames.size() ||
      statistics->read(contract::Counter::alerts) != rounds_ * material_.alerts)
    fail("the whole pipeline did something else than once");
}

void Bench::report(bool with_rules) const {
  const auto messages = static_cast<double>(material_.messages);
  const double whole = of("whole");
  double sum = 0;
  const auto print = [&](const std::string& name, double seconds, double spread) {
    const nlohmann::ordered_json line{
        {"stage", name},
        {"ns_per_message", seconds * 1e9 / messages},
        {"ns_per_frame", seconds * 1e9 / static_cast<double>(capture_.frames.size())},
        {"percent_of_whole", whole > 0 ? seconds / whole * 100 : 0},
        {"spread_percent", spread}};
    std::printf("%s\n", line.dump().c_str());
  };
  for (const auto& [name, rounds] : results_) {
    print(name, rounds.median(), rounds.spread_percent());
    if (name != "whole" && name != "memcpy" && !name.starts_with("raw")) sum += rounds.median();
  }
  print("rest", whole - sum, 0);
  const double floor = of("memcpy") + of("raw hs_scan_stream");
  print("floor", floor, 0);
  if (!with_rules) return;
  const nlohmann::ordered_json line{{"stage", "distance"},
                                    {"whole_to_floor", whole / floor},
                                    {"scan_to_raw_scan", of("scan") / of("raw hs_scan_stream")},
                                    {"messages", material_.messages},
                                    {"alerts", material_.alerts},
                                    {"rounds", rounds_}};
  std::printf("%s\n", line.dump().c_str());
}

int run(int argc, char** argv) {
  std::string path;
  std::string rules_file;
  unsigned rounds = 5;
  bool instructions = false;
  CLI::App app("Measures the stages of the pipeline alone.");
  app.add_option("CAPTURE", path)->required();
  app.add_option("--rules", rules_file);
  app.add_option("--repeat", rounds)->check(CLI::Range(1, 1000));
  app.add_flag("--instructions", instructions);
  CLI11_PARSE(app, argc, argv);
  auto capture = load_capture(path);
  if (!capture) fail(capture.error());
  const auto compiled = compile_policy(rules_file, "none");
  if (!compiled) fail(compiled.error());
  auto memory = mem::WorkerMemory::create(std::size_t{1} << 30, false, !instructions);
  if (!memory || !(*memory)->bind()) fail("no memory for a worker");
  Bench bench(std::move(*capture), *compiled, **memory, instructions ? 1 : rounds);
  bench.copies();
  bench.parses();
  bench.finds_flows();
  bench.follows_tcp();
  bench.reads_smtp();
  bench.decodes_mime();
  bench.scans();
  bench.writes_events();
  bench.whole();
  bench.scans_raw(rules_file);
  if (instructions) {
    std::printf("{\"messages\": %zu}\n", bench.material().messages);
  } else {
    bench.report(!rules_file.empty());
  }
  return 0;
}

}  // namespace
}  // namespace sluice::perf

int main(int argc, char** argv) { return sluice::perf::run(argc, argv); }
