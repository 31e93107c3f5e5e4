// The full pipeline on one core: frames of a capture from memory, in bursts, through the engine as
// the worker calls it (verdicts and events on), to an output that only counts. Prints one line of
// JSON: microseconds of CPU for each message and frame, and the alerts that show that the work was
// really done. Allocations (of the process, malloc and new, whoever calls them) are counted in the
// second half of each round, when as many sessions are open as ever: there must be none, unless
// hashes are made, whose contexts are OpenSSL's (of messages, and JA4's of TLS sessions). On a
// machine that others use too, `quiet_microseconds_per_message` is what it is without them: the
// time of kSlice frames that a tenth of all such slices do not exceed (0: too few frames).
//
//   replay CAPTURE [--rules FILE] [--repeat N] [--hash none|attachments|all] [--events on|off]
//                  [--kernel on|off] [--idle-flows N] [--hosts N]
//
// --kernel on: frames of flows that the engine marked for it (in TLS) are the kernel's, as on the
// wire, but for those that begin or end a connection; off: the worker gets them all.
// --idle-flows: so many flows are open beside, quiet since their EHLO. --hosts: so many entries of
// hosts in the policy. --each FILE: what each session took, least of the rounds, as JSON; the
// sessions of the capture come one after the other and may be such as are stopped.
#include <mimalloc.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

#include "dataplane/contract/event_ring.h"
#include "dataplane/flow/flow_table.h"
#include "dataplane/inspect/engine.h"
#include "dataplane/mem/worker_memory.h"
#include "perf/support/many_flows.h"
#include "perf/support/measure.h"
#include "perf/support/recorded.h"

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

using perf::cpu_seconds;

struct Options {
  std::string capture;
  std::string rules;
  std::string hash = "none";
  std::string events = "on";
  std::string kernel = "on";
  unsigned repeat = 3;
  std::size_t idle_flows = 0;
  std::size_t hosts = 0;
  std::uint64_t scan_budget = 0;
  std::string each;  // where to write what each session took; empty: nowhere
};

[[noreturn]] void fail(const std::string& text, int status = 1) {
  std::fprintf(stderr, "replay: %s\n", text.c_str());
  std::exit(status);
}

struct KeyHash {
  std::size_t operator()(const flow::FlowKey& key) const { return flow::hash(key, {1, 2}); }
};

// Counts what leaves, and stands for the kernel's part: flows marked `bypass` are its own.
class Kernel final : public inspect::Output {
 public:
  Kernel(const perf::Capture& capture, bool takes, bool any)
      : takes_(takes), any_(any), marks_(capture.flows.size()) {
    for (std::uint32_t i = 0; i < capture.flows.size(); ++i) numbers_.emplace(capture.flows[i], i);
  }

  void forward(inspect::Frame&, bool) override { ++forwarded; }
  // Ordinary mail is never stopped; what a sender can think of is (--each).
  void drop(inspect::Frame&, contract::DropReason) override {
    if (!any_) fail("a frame was dropped");
    ++forwarded;
  }
  void inject(std::uint16_t, Side, Bytes) override {
    if (!any_) fail("a frame was injected");
  }
  void mark_flow(const flow::FlowKey& key, inspect::FlowMark mark) override {
    if (mark != inspect::FlowMark::bypass && mark != inspect::FlowMark::ended) return;
    if (const auto at = numbers_.find(key); at != numbers_.end()) {
      marks_[at->second] = {.bypassed = takes_ && mark == inspect::FlowMark::bypass};
      any_bypassed_ |= marks_[at->second].bypassed;
      ++marked;
    }
  }
  FlowTraffic bypassed_traffic(const flow::FlowKey& key) override {
    const auto at = numbers_.find(key);
    return at == numbers_.end() ? FlowTraffic{} : marks_[at->second].traffic;
  }

  // Whether the kernel has sent the frame on its way itself.
  bool takes(const perf::Recorded& frame) {
    if (!any_bypassed_) return false;
    Mark& mark = marks_[frame.flow];
    if (!mark.bypassed || frame.begins_or_ends) return false;
    ++mark.traffic.frames[static_cast<std::size_t>(frame.side)];
    mark.traffic.octets[static_cast<std::size_t>(frame.side)] += frame.size;
    ++taken;
    return true;
  }

  std::uint64_t forwarded = 0;
  std::uint64_t taken = 0;
  std::uint64_t marked = 0;  // system calls that the worker would make for it

 private:
  bool any_bypassed_ = false;  // as the program's hint: else nothing is looked up
  struct Mark {
    bool bypassed = false;
    FlowTraffic traffic;
  };
  bool takes_;
  bool any_;
  std::vector<Mark> marks_;
  std::unordered_map<flow::FlowKey, std::uint32_t, KeyHash> numbers_;
};

struct Null final : contract::EventSink {
  bool write(Bytes) override { return true; }
};

// Shared memory of the events, and control's end of it.
class EventMemory {
 public:
  void* get() {
    return memory_.data() + (64 - reinterpret_cast<std::uintptr_t>(memory_.data()) % 64) % 64;
  }
  static constexpr std::size_t kRing = std::size_t{64} << 20;

 private:
  std::vector<std::uint8_t> memory_ =
      std::vector<std::uint8_t>(contract::event_ring_bytes(kRing) + 64);
};

// The capture's frames where a driver would have put them: in large pages, if the kernel gives
// them.
class FrameMemory {
 public:
  explicit FrameMemory(std::size_t size)
      : octets_(static_cast<std::uint8_t*>(std::aligned_alloc(kPage, (size / kPage + 1) * kPage))),
        size_(size) {
    if (!octets_) throw std::bad_alloc();
    ::madvise(octets_.get(), (size / kPage + 1) * kPage, MADV_HUGEPAGE);
  }
  MutableBytes get() { return {octets_.get(), size_}; }

 private:
  static constexpr std::size_t kPage = std::size_t{2} << 20;
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<std::uint8_t, Free> octets_;
  std::size_t size_;
};

constexpr Nanoseconds kTick = 10 * kMillisecond;

// Opens `count` flows that say EHLO and are then quiet, and lets so much time pass that the engine
// has made them small; all before `end`.
void open_idle_flows(inspect::Engine& engine, std::size_t count, Nanoseconds end) {
  constexpr std::size_t kTogether = 1000;
  constexpr Nanoseconds kBatch = 100 * kMillisecond;
  constexpr Nanoseconds kQuiet = 20 * kSecond;
  test::Conversation talk;
  perf::greet(talk);
  const std::vector<test::SentFrame> frames = talk.take();
  Nanoseconds now = end - kQuiet - (count / kTogether + 1) * kBatch;
  const auto pass_until = [&](Nanoseconds until) {
    for (; now < until; now += kTick) engine.tick({.monotonic = now, .wall = now});
  };
  for (std::size_t first = 0; first < count; first += kTogether) {
    for (const test::SentFrame& f : frames) {
      for (std::size_t flow = first; flow < std::min(first + kTogether, count); ++flow) {
        test::Frame octets = f.frame;
        perf::readdress(octets, f.direction, flow);
        perf::mend_checksums(octets);
        inspect::Frame frame{.octets = octets, .side = f.side};
        engine.process({&frame, 1}, {.monotonic = now, .wall = now});
      }
    }
    pass_until(now + kBatch);
  }
  pass_until(end);
  if (engine.flows() != count) fail("idle flows were forgotten");
}

// What a session took: the least of all rounds.
struct Session {
  double seconds = 1e9;
  double this_round = 0;
  std::uint64_t frames = 0;
  std::uint64_t octets = 0;
};

constexpr std::size_t kSlice = 8192;  // frames

// What one pass over the capture did.
struct Pass {
  double seconds = 0;          // of CPU
  std::vector<double> slices;  // seconds of each kSlice frames
  std::uint64_t alerts = 0;
  std::uint64_t messages = 0;
  std::uint64_t tls_sessions = 0;
  std::uint64_t events = 0;
  std::uint64_t taken = 0;
  std::uint64_t marked = 0;
  std::uint64_t allocated = 0;  // in the second half
};

Pass replay(const Options& options, const perf::Capture& capture, const policy::Policy& policy,
            mem::WorkerMemory& memory, FrameMemory& frame_memory, EventMemory& event_memory,
            perf::EventCounters& counters, std::vector<Session>& sessions) {
  auto ring = contract::EventRingProducer::create(event_memory.get(), EventMemory::kRing);
  contract::EventRingConsumer consumer(event_memory.get(),
                                       contract::event_ring_bytes(EventMemory::kRing));
  Null null;
  const bool events = options.events == "on";
  contract::EventSink& sink = events ? static_cast<contract::EventSink&>(ring) : null;
  auto statistics = std::make_unique<contract::WorkerStatistics>();
  const auto count = [&](contract::Counter c) { return statistics->read(c); };
  const bool each = !options.each.empty();
  Kernel kernel(capture, options.kernel == "on", each);
  inspect::Settings settings;
  settings.wires = {"w1"};
  settings.flow_id_seed = 1;
  settings.regroup = true;  // as on a wire
  settings.max_flows += options.idle_flows;
  settings.max_memory += options.idle_flows * 1024;
  inspect::Engine engine(settings, *statistics, sink, kernel, &memory);
  if (Status set = engine.set_policy(policy); !set) fail(set.error());
  const std::vector<perf::Recorded>& frames = capture.frames;
  if (options.idle_flows > 0) open_idle_flows(engine, options.idle_flows, frames.front().time);
  const std::uint64_t forwarded_before = kernel.forwarded;

  Pass pass;
  const MutableBytes work = frame_memory.get();
  std::ranges::copy(capture.octets, work.begin());
  std::vector<inspect::Frame> burst(flow::FlowTable::kMaxBurst);  // as the worker's
  double idle = 0;  // draining the ring is control's work, not the worker's
  std::uint64_t before = 0;
  Nanoseconds next_tick = 0;
  std::size_t next_pause = kSlice;
  pass.slices.reserve(frames.size() / kSlice);
  counters.start();
  const double begin = cpu_seconds();
  double slice = begin;
  for (std::size_t at = 0; at < frames.size();) {
    const Nanoseconds now = frames[at].time;
    std::size_t n = 0;
    const std::uint32_t flow = frames[at].flow;
    for (; n < burst.size() && at < frames.size(); ++at) {
      const perf::Recorded& f = frames[at];
      if (each && f.flow != flow) break;
      if (kernel.takes(f)) continue;
      burst[n++] = {.octets = work.subspan(f.offset, f.size), .side = f.side};
    }
    if (before == 0 && at >= frames.size() / 2) before = allocations;
    const double from = each ? perf::seconds_of(CLOCK_MONOTONIC) : 0;
    engine.process(std::span(burst).first(n), {.monotonic = now, .wall = now});
    if (each) sessions[flow].this_round += perf::seconds_of(CLOCK_MONOTONIC) - from;
    if (now >= next_tick) {
      engine.tick({.monotonic = now, .wall = now});
      next_tick = now + kTick;
    }
    if (at >= next_pause) {
      const double pause = cpu_seconds();
      pass.slices.push_back(pause - slice);
      if (events) pass.events += consumer.read(SIZE_MAX, [](Bytes) {});
      slice = cpu_seconds();
      idle += slice - pause;
      next_pause = at + kSlice;
    }
  }
  pass.seconds = cpu_seconds() - begin - idle;
  if (events) pass.events += consumer.read(SIZE_MAX, [](Bytes) {});
  for (Session& session : sessions) {
    session.seconds = std::min(session.seconds, std::exchange(session.this_round, 0));
  }
  counters.stop();
  pass.allocated = allocations - before;
  pass.alerts = count(contract::Counter::alerts);
  pass.messages = count(contract::Counter::messages);
  pass.tls_sessions = count(contract::Counter::tls_sessions);
  pass.taken = kernel.taken;
  pass.marked = kernel.marked;
  if (kernel.forwarded - forwarded_before + kernel.taken != frames.size())
    fail("not every frame was forwarded once");
  if (ring.lost() > 0) fail("events were lost");
  engine.finish({.monotonic = frames.back().time, .wall = frames.back().time});
  return pass;
}

void write_sessions(const std::string& path, const perf::Capture& capture,
                    std::vector<Session>& sessions) {
  for (const perf::Recorded& f : capture.frames) {
    ++sessions[f.flow].frames;
    sessions[f.flow].octets += f.size;
  }
  std::ofstream file(path);
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const Session& session : sessions) {
    all.push_back({{"microseconds", session.seconds * 1e6},
                   {"frames", session.frames},
                   {"octets", session.octets}});
  }
  file << all << '\n';
  if (!file.flush()) fail(path + ": cannot write", 2);
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Measures the inspection pipeline on a capture.");
  const auto on_off = CLI::IsMember({"on", "off"});
  app.add_option("CAPTURE", options.capture)->required();
  app.add_option("--rules", options.rules);
  app.add_option("--repeat", options.repeat)->check(CLI::Range(1, 1000));
  app.add_option("--hash", options.hash)->check(CLI::IsMember({"none", "attachments", "all"}));
  app.add_option("--events", options.events)->check(on_off);
  app.add_option("--kernel", options.kernel)->check(on_off);
  app.add_option("--idle-flows", options.idle_flows)->check(CLI::Range(0, 10'000'000));
  app.add_option("--hosts", options.hosts)->check(CLI::Range(0, 2'000'000));
  app.add_option("--scan-budget", options.scan_budget, "octets of a message; 0: no bound");
  app.add_option("--each", options.each,
                 "file for what each session took (sessions one after the other)");
  CLI11_PARSE(app, argc, argv);

  const auto capture = perf::load_capture(options.capture);
  if (!capture) fail(capture.error(), 2);
  const auto compiled =
      perf::compile_policy(options.rules, options.hash, options.hosts, options.scan_budget);
  if (!compiled) fail(compiled.error(), 2);
  // The memory of a worker, as in the dataplane with --prefault.
  auto memory =
      mem::WorkerMemory::create((std::size_t{512} << 20) + options.idle_flows * 1024, false, true);
  if (!memory || !(*memory)->bind()) fail("no memory for a worker");

  FrameMemory frame_memory(capture->octets.size());
  EventMemory event_memory;
  perf::EventCounters counters;
  perf::Rounds rounds;
  perf::Rounds slices;
  Pass last;
  std::vector<Session> each(options.each.empty() ? 0 : capture->flows.size());
  for (unsigned round = 0; round < options.repeat; ++round) {
    last = replay(options, *capture, *compiled->policy, **memory, frame_memory, event_memory,
                  counters, each);
    rounds.add(last.seconds);
    for (const double slice : last.slices) slices.add(slice);
  }
  if (!each.empty()) write_sessions(options.each, *capture, each);
  const double median = rounds.median();
  const auto ratio = [](double a, std::uint64_t b) {
    return b > 0 ? a / static_cast<double>(b) : 0.0;
  };
  const std::size_t sessions = capture->flows.size();
  const std::size_t frames = capture->frames.size();
  const double quiet =
      slices.seconds.empty() ? 0 : slices.seconds[slices.seconds.size() / 10] / kSlice;
  const nlohmann::ordered_json result{
      {"rules", compiled->rules->rules.size()},
      {"sessions", sessions},
      {"messages", last.messages},
      {"tls_sessions", last.tls_sessions},
      {"idle_flows", options.idle_flows},
      {"hosts", options.hosts},
      {"frames", frames},
      {"frames_of_kernel", last.taken},
      {"marks", last.marked},
      {"octets", capture->octets.size()},
      {"microseconds_per_message", ratio(median * 1e6, last.messages)},
      {"microseconds_per_session", ratio(median * 1e6, sessions)},
      {"microseconds_per_frame", ratio(median * 1e6, frames - last.taken)},
      {"tsc_cycles_per_message", ratio(median * perf::tsc_hertz(), last.messages)},
      {"counted_per_session",
       counters.per(static_cast<double>(options.repeat) * static_cast<double>(sessions))},
      {"messages_per_hour", median > 0 ? static_cast<double>(last.messages) / median * 3600 : 0},
      {"octets_per_second", median > 0 ? static_cast<double>(capture->octets.size()) / median : 0},
      {"spread_percent", rounds.spread_percent()},
      {"seconds", rounds.seconds},
      {"quiet_microseconds_per_message",
       ratio(quiet * static_cast<double>(frames) * 1e6, last.messages)},
      {"allocations_per_session", ratio(2 * static_cast<double>(last.allocated), sessions)},
      {"alerts", last.alerts},
      {"events", last.events},
      {"rounds", options.repeat}};
  std::printf("%s\n", result.dump().c_str());
  // One more stream may be opened whenever more flows are open than ever before.
  constexpr std::uint64_t kTolerated = 2;
  if (each.empty() && last.allocated > kTolerated && options.hash == "none") {
    std::fprintf(stderr, "%llu allocations where there should be none\n",
                 static_cast<unsigned long long>(last.allocated));
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) { return sluice::run(argc, argv); }
