// The full pipeline on one core: frames of a capture from memory, in bursts, through the engine as
// the worker calls it (verdicts and events on), to an output that only counts. Prints one line of
// JSON: microseconds of CPU for each message and frame, and the alerts that show that the work was
// really done. Allocations (of the process, malloc and new, whoever calls them) are counted in the
// second half of each round, when as many sessions are open as ever: there must be none, unless
// hashes are made, whose contexts are OpenSSL's.
//
//   replay CAPTURE [--rules FILE] [--repeat N] [--hash none|attachments|all] [--events on|off]
#include <mimalloc.h>
#include <sys/resource.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <vector>

#include "control/cli/capture_file.h"
#include "control/policy/rules.h"
#include "control/publish/image.h"
#include "dataplane/contract/event_ring.h"
#include "dataplane/inspect/engine.h"
#include "dataplane/mem/worker_memory.h"

namespace {

std::uint64_t allocations = 0;  // of the process; the worker's own heap is not among them

}  // namespace

// In front of mimalloc's own, which free() is. Not inlined: the compiler would see malloc and free
// where it knows new and delete.
extern "C" {
[[gnu::noinline]] void* malloc(std::size_t size) {
  ++allocations;
  return mi_malloc(size);
}
[[gnu::noinline]] void* calloc(std::size_t count, std::size_t size) {
  ++allocations;
  return mi_calloc(count, size);
}
[[gnu::noinline]] void* realloc(void* p, std::size_t size) {
  ++allocations;
  return mi_realloc(p, size);
}
}
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (void* p = malloc(size)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { mi_free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { mi_free(p); }

namespace sluice {
namespace {

struct Stored {
  std::size_t offset;
  std::uint32_t size;
  Side side;
  std::uint64_t time;
};

class Counting final : public inspect::Output {
 public:
  void forward(inspect::Frame&, bool) override { ++forwarded; }
  void drop(inspect::Frame&, contract::DropReason) override { ++dropped; }
  void inject(std::uint16_t, Side, Bytes) override { ++injected; }
  void mark_flow(const flow::FlowKey&, inspect::FlowMark) override {}
  std::uint64_t forwarded = 0;
  std::uint64_t dropped = 0;
  std::uint64_t injected = 0;
};

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

struct Null final : contract::EventSink {
  bool write(Bytes) override { return true; }
};

int run(int argc, char** argv) {
  std::string capture;
  std::string rules_file;
  std::string hash = "none";
  std::string events = "on";
  unsigned repeat = 3;
  CLI::App app("Measures the inspection pipeline on a capture.");
  app.add_option("CAPTURE", capture)->required();
  app.add_option("--rules", rules_file);
  app.add_option("--repeat", repeat)->check(CLI::Range(1, 1000));
  app.add_option("--hash", hash)->check(CLI::IsMember({"none", "attachments", "all"}));
  app.add_option("--events", events)->check(CLI::IsMember({"on", "off"}));
  CLI11_PARSE(app, argc, argv);

  auto reader = control::CaptureReader::open(capture);
  if (!reader) {
    std::fprintf(stderr, "%s\n", reader.error().c_str());
    return 2;
  }
  std::vector<std::uint8_t> octets;
  std::vector<Stored> frames;
  while (auto frame = (*reader)->next()) {
    const auto packet = net::parse(frame->octets, {.verify_checksums = false});
    frames.push_back({octets.size(), static_cast<std::uint32_t>(frame->octets.size()),
                      packet.destination_port == 25 ? Side::inside : Side::outside, frame->time});
    octets.insert(octets.end(), frame->octets.begin(), frame->octets.end());
  }

  std::vector<std::filesystem::path> files;
  if (!rules_file.empty()) files.emplace_back(rules_file);
  auto rules = control::compile_rules(files);
  if (!rules) {
    std::fprintf(stderr, "%s\n", rules.error().c_str());
    return 2;
  }
  control::PolicySpec spec;
  spec.epoch = 1;
  spec.wires = {{.name = "w1", .mode = policy::Mode::enforce}};
  spec.groups.push_back({.group = {.name = "default"}, .members = {}});
  spec.hash_attachments = hash != "none";
  spec.hash_messages = hash == "all";
  auto image = control::build_image(spec, **rules, true);
  auto policy = image ? policy::Policy::open(*image, {}) : Error{image.error()};
  if (!policy) {
    std::fprintf(stderr, "%s\n", policy.error().c_str());
    return 2;
  }

  std::vector<double> seconds;
  std::uint64_t alerts = 0;
  std::uint64_t messages = 0;
  std::uint64_t allocated = 0;
  std::uint64_t allocated_messages = 0;
  std::uint64_t records = 0;
  // The memory of a worker, as in the dataplane with --prefault.
  auto worker_memory = mem::WorkerMemory::create(std::size_t{512} << 20, false, true);
  if (!worker_memory || !(*worker_memory)->bind()) {
    std::fprintf(stderr, "no memory for a worker\n");
    return 1;
  }
  constexpr std::size_t kRing = std::size_t{64} << 20;
  std::vector<std::uint8_t> memory(contract::event_ring_bytes(kRing) + 64);
  void* aligned = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  for (unsigned round = 0; round < repeat; ++round) {
    auto ring = contract::EventRingProducer::create(aligned, kRing);
    contract::EventRingConsumer consumer(aligned, contract::event_ring_bytes(kRing));
    Null null;
    contract::EventSink& sink = events == "on" ? static_cast<contract::EventSink&>(ring) : null;
    auto statistics = std::make_unique<contract::WorkerStatistics>();
    Counting output;
    inspect::Settings settings;
    settings.wires = {"w1"};
    settings.flow_id_seed = 1;
    inspect::Engine engine(settings, *statistics, sink, output, worker_memory->get());
    if (Status set = engine.set_policy(**policy); !set) {
      std::fprintf(stderr, "%s\n", set.error().c_str());
      return 1;
    }
    std::vector<std::uint8_t> work = octets;
    std::vector<inspect::Frame> burst(32);
    double idle = 0;                  // draining the ring is control's work, not the worker's
    std::uint64_t before = 0;         // allocations at the middle
    std::uint64_t messages_then = 0;  // and messages
    const double begin = cpu_seconds();
    std::uint64_t next_tick = 0;
    for (std::size_t at = 0; at < frames.size(); at += burst.size()) {
      const std::size_t n = std::min(burst.size(), frames.size() - at);
      for (std::size_t i = 0; i < n; ++i) {
        const Stored& f = frames[at + i];
        burst[i] = {.octets = MutableBytes(work).subspan(f.offset, f.size), .side = f.side};
      }
      if (before == 0 && at >= frames.size() / 2) {
        before = allocations;
        messages_then = statistics->read(contract::Counter::messages);
      }
      const std::uint64_t now = frames[at].time;
      engine.process(std::span(burst).first(n), {.monotonic = now, .wall = now});
      if (now >= next_tick) {
        engine.tick({.monotonic = now, .wall = now});
        next_tick = now + 10 * kMillisecond;
      }
      if (at % 8192 == 0 && events == "on") {
        const double pause = cpu_seconds();
        records += consumer.read(SIZE_MAX, [](Bytes) {});
        idle += cpu_seconds() - pause;
      }
    }
    seconds.push_back(cpu_seconds() - begin - idle);
    allocated = allocations - before;
    alerts = statistics->read(contract::Counter::alerts);
    messages = statistics->read(contract::Counter::messages);
    allocated_messages = messages - messages_then;
    engine.finish({.monotonic = frames.back().time, .wall = frames.back().time});
    if (output.forwarded != frames.size()) {
      std::fprintf(stderr, "%llu of %zu frames were forwarded\n",
                   static_cast<unsigned long long>(output.forwarded), frames.size());
      return 1;
    }
  }
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  const auto per = [&](std::uint64_t n) { return n ? median * 1e6 / static_cast<double>(n) : 0; };
  const nlohmann::ordered_json result{
      {"rules", (*rules)->rules.size()},
      {"messages", messages},
      {"frames", frames.size()},
      {"microseconds_per_message", per(messages)},
      {"microseconds_per_frame", per(frames.size())},
      {"messages_per_hour", median > 0 ? static_cast<double>(messages) / median * 3600 : 0},
      {"spread_percent", (seconds.back() - seconds.front()) / median * 100},
      {"allocations_per_message",
       allocated_messages ? static_cast<double>(allocated) / static_cast<double>(allocated_messages)
                          : 0},
      {"alerts", alerts},
      {"rounds", repeat}};
  std::printf("%s\n", result.dump().c_str());
  // One more stream may be opened whenever more flows are open than ever before.
  constexpr std::uint64_t kTolerated = 2;
  if (allocated > kTolerated && hash == "none") {
    std::fprintf(stderr, "%llu allocations where there should be none\n",
                 static_cast<unsigned long long>(allocated));
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) { return sluice::run(argc, argv); }
