// Octets that the engine holds for a flow: half-open, idle between commands, in the middle of a
// message, and for a million idle ones; by the account of the worker's memory (exact) and by the
// process's resident set. Prints one line of JSON.
//
//   memory_bench [--rules FILE] [--flows N] [--only-idle] [--lookups]
//
// --only-idle: the N idle flows alone; --lookups: the time of finding one among N idle flows alone.
//
// The engine runs as in a worker: on a mem::WorkerMemory, ticked every 10 ms of the time that the
// frames carry. Rules are compiled by a child, as on the appliance, so that the compiler's memory
// is not counted. Checksums are off, because the frames of one flow are made into those of all
// others by writing other addresses and ports into them.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "control/policy/rules.h"
#include "control/publish/image.h"
#include "dataplane/inspect/engine.h"
#include "dataplane/mem/worker_memory.h"
#include "perf/support/many_flows.h"

namespace sluice {
namespace {

using test::Conversation;
using test::SentFrame;

[[noreturn]] void fail(const std::string& text) {
  std::fprintf(stderr, "memory_bench: %s\n", text.c_str());
  std::exit(1);
}

class Discard final : public inspect::Output, public contract::EventSink {
 public:
  void forward(inspect::Frame&, bool) override {}
  void drop(inspect::Frame&, contract::DropReason) override { fail("a frame was dropped"); }
  void inject(std::uint16_t, Side, Bytes) override { fail("a frame was injected"); }
  void mark_flow(const flow::FlowKey&, inspect::FlowMark) override {}
  bool write(Bytes) override { return true; }
};

// A policy image with the rules of `file`, compiled by a child process.
std::vector<std::uint8_t> compiled_elsewhere(const std::string& file, std::size_t& count) {
  const int shared = memfd_create("image", 0);
  const pid_t child = shared < 0 ? -1 : fork();
  if (child < 0) fail("cannot fork");
  if (child == 0) {
    std::vector<std::filesystem::path> files;
    if (!file.empty()) files.emplace_back(file);
    auto rules = control::compile_rules(files);
    if (!rules) fail(rules.error());
    control::PolicySpec spec;
    spec.epoch = 1;
    spec.wires = {{.name = "w1", .mode = policy::Mode::enforce}};
    spec.groups.push_back({.group = {.name = "default"}, .members = {}});
    auto image = control::build_image(spec, **rules, true);
    if (!image) fail(image.error());
    const std::uint64_t head = (*rules)->rules.size();
    if (write(shared, &head, sizeof head) != sizeof head) fail("cannot write");
    for (std::size_t at = 0; at < image->size();) {
      const ssize_t n = write(shared, image->data() + at, image->size() - at);
      if (n <= 0) fail("cannot write");
      at += static_cast<std::size_t>(n);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (status != 0) std::exit(1);
  const auto size = static_cast<std::size_t>(lseek(shared, 0, SEEK_END));
  std::uint64_t head = 0;
  std::vector<std::uint8_t> image(size - sizeof head);
  if (pread(shared, &head, sizeof head, 0) != sizeof head ||
      pread(shared, image.data(), image.size(), sizeof head) != static_cast<ssize_t>(image.size()))
    fail("cannot read the image");
  close(shared);
  count = head;
  return image;
}

std::size_t resident() {
  std::ifstream file("/proc/self/statm");
  std::size_t all = 0;
  std::size_t pages = 0;
  file >> all >> pages;
  return pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

// One worker with its engine, and the traffic of as many flows as wanted.
class Bench {
 public:
  Bench(const policy::Policy& policy, std::size_t flows) {
    auto memory = mem::WorkerMemory::create(std::size_t{6} << 30, false);
    if (!memory) fail(memory.error());
    memory_ = std::move(*memory);
    if (Status bound = memory_->bind(); !bound) fail(bound.error());
    inspect::Settings settings;
    settings.wires = {"w1"};
    settings.max_flows = flows;
    settings.max_memory = std::size_t{4} << 30;
    settings.verify_checksums = false;
    engine_ = std::make_unique<inspect::Engine>(settings, *statistics_, discard_, discard_,
                                                memory_.get());
    if (Status set = engine_->set_policy(policy); !set) fail(set.error());
    const inspect::MemoryUse use = engine_->memory_use();
    fixed_ = use.flows;
  }
  ~Bench() {
    engine_.reset();
    memory_->release();
  }

  // `count` flows, each of which says what `frames` say. A thousand take part at a time, as many as
  // connect in a tenth of a second at 10,000 a second; more when there are so many that the first
  // would time out before the last have come.
  void run(const std::vector<SentFrame>& frames, std::size_t count) {
    const std::size_t together = std::max<std::size_t>(1000, count / 2000);
    for (std::size_t first = 0; first < count; first += together) {
      const std::size_t last = std::min(first + together, count);
      for (const SentFrame& f : frames)
        for (std::size_t flow = first; flow < last; ++flow) send(f, flow);
      pass(100 * kMillisecond);
    }
  }
  void pass(Nanoseconds time) {
    for (Nanoseconds t = 0; t < time; t += 10 * kMillisecond) {
      now_ += 10 * kMillisecond;
      engine_->tick(at());
    }
  }
  std::size_t flows() const { return engine_->flows(); }
  inspect::MemoryUse use() const {
    inspect::MemoryUse use = engine_->memory_use();
    use.flows -= fixed_;
    return use;
  }
  double octets_each() const {
    const inspect::MemoryUse u = use();
    return static_cast<double>(u.table + u.flows) / static_cast<double>(flows());
  }
  std::size_t used() const { return memory_->used(); }
  std::uint64_t read(contract::Counter c) const { return statistics_->read(c); }

 private:
  inspect::Time at() const { return {.monotonic = now_, .wall = 1'700'000'000 * kSecond + now_}; }

  void send(const SentFrame& f, std::size_t flow) {
    test::Frame octets = f.frame;
    perf::readdress(octets, f.direction, flow);
    inspect::Frame frame{.octets = octets, .side = f.side};
    engine_->process({&frame, 1}, at());
  }

  Discard discard_;
  std::unique_ptr<contract::WorkerStatistics> statistics_ =
      std::make_unique<contract::WorkerStatistics>();
  std::unique_ptr<mem::WorkerMemory> memory_;
  std::unique_ptr<inspect::Engine> engine_;
  Nanoseconds now_ = kSecond;
  std::size_t fixed_ = 0;
};

void begin_message(Conversation& talk) {
  talk.client("MAIL FROM:<alice@customer.example> SIZE=20000\r\n");
  talk.server("250 2.1.0 Ok\r\n");
  talk.client("RCPT TO:<bob@elsewhere.example>\r\n");
  talk.server("250 2.1.5 Ok\r\n");
  talk.client("DATA\r\n");
  talk.server("354 End data with <CR><LF>.<CR><LF>\r\n");
}

// The first `lines` base64 lines of a message's attachment behind its text.
std::string message(std::size_t lines) {
  std::string text =
      "From: Alice <alice@customer.example>\r\nTo: bob@elsewhere.example\r\nSubject: The figures "
      "of "
      "this quarter\r\nMessage-ID: <20261125.1@customer.example>\r\nMIME-Version: 1.0\r\n"
      "Content-Type: multipart/mixed; boundary=\"frontier-4711\"\r\n\r\n--frontier-4711\r\n"
      "Content-Type: text/plain; charset=utf-8\r\n\r\nHere they are, see "
      "https://www.customer.example/q3 too.\r\n--frontier-4711\r\n"
      "Content-Type: application/pdf; name=\"figures.pdf\"\r\nContent-Transfer-Encoding: base64\r\n"
      "Content-Disposition: attachment; filename=\"figures.pdf\"\r\n\r\n";
  for (std::size_t i = 0; i < lines; ++i) {
    for (std::size_t k = 0; k < 76; ++k) {
      const std::size_t digit = (i * 31 + k * 7 + k * k * i) % 64;
      text += "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[digit];
    }
    text += "\r\n";
  }
  return text;
}

// A message of text alone, `lines` of it.
std::string text_message(std::string_view type, std::string_view encoding, std::string_view line,
                         std::size_t lines) {
  std::string text =
      "From: Alice <alice@customer.example>\r\nTo: bob@elsewhere.example\r\nSubject: The figures "
      "of "
      "this quarter\r\nMessage-ID: <20261125.1@customer.example>\r\nMIME-Version: 1.0\r\n";
  text.append("Content-Type: ").append(type).append("\r\nContent-Transfer-Encoding: ");
  text.append(encoding).append("\r\n\r\n");
  for (std::size_t i = 0; i < lines; ++i) text.append(line).append("\r\n");
  return text;
}

std::vector<SentFrame> half_open(bool answered) {
  Conversation talk;
  talk.open();
  auto frames = talk.take();
  frames.resize(answered ? 2 : 1);
  return frames;
}

std::vector<SentFrame> idle(bool after_message) {
  Conversation talk;
  perf::greet(talk);
  if (after_message) {
    begin_message(talk);
    talk.client(message(100) + "--frontier-4711--\r\n.\r\n");
    talk.server("250 2.0.0 Ok: queued as 4V2xYz1kq3z9\r\n");
  }
  return talk.take();
}

std::vector<SentFrame> in_data(const std::string& text) {
  Conversation talk;
  perf::greet(talk);
  begin_message(talk);
  talk.client(text);
  return talk.take();
}

// Nanoseconds to find one of `flows` in a table that is full of them: one key after the other, and
// as a burst does. Keys are drawn at random ahead; the middle and the range of several rounds.
nlohmann::ordered_json lookups(std::size_t flows, bool prefault) {
  constexpr flow::HashKey kSecret{0x0123456789abcdef, 0xfedcba9876543210};
  constexpr std::size_t kBurst = 32;
  constexpr std::size_t kKeys = kBurst << 15;
  constexpr int kRounds = 7;
  auto memory = mem::WorkerMemory::create(flows * 100 + (std::size_t{64} << 20), false, prefault);
  if (!memory) fail(memory.error());
  if (Status bound = (*memory)->bind(); !bound) fail(bound.error());
  flow::FlowTable table({.max_flows = flows}, kSecret, memory->get());
  const auto key_of_flow = [](std::size_t flow) {
    flow::FlowKey key;
    std::uint8_t client[4] = {10, 0, 0, 0};
    store_be32(client, static_cast<std::uint32_t>(0x0a000000 + flow / 4));
    const std::uint8_t server[4] = {192, 0, 2, 25};
    key.low = Address::from_v4(client);
    key.high = Address::from_v4(server);
    key.low_port = static_cast<std::uint16_t>(40'000 + flow % 4);
    key.high_port = 25;
    return key;
  };
  for (std::size_t n = 0; n < flows; ++n) {
    const flow::FlowKey key = key_of_flow(n);
    flow::Entry* entry =
        table.insert(key, flow::hash(key, kSecret), kSecond, [](flow::Entry&, flow::Removal) {});
    table.set_class(entry, flow::FlowClass::established, kSecond);
  }
  std::mt19937_64 random(1);
  std::vector<flow::FlowKey> keys(kKeys);
  std::vector<double> single;
  std::vector<double> bulk;
  std::size_t missed = 0;
  const auto timed = [](auto&& work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
    return took.count() / kKeys;
  };
  for (int round = 0; round < kRounds; ++round) {
    for (auto& key : keys) key = key_of_flow(random() % flows);
    single.push_back(timed([&] {
      for (const auto& key : keys) missed += table.find(key) == nullptr;
    }));
    for (auto& key : keys) key = key_of_flow(random() % flows);
    bulk.push_back(timed([&] {
      std::uint64_t hashes[kBurst];
      flow::Entry* found[kBurst];
      for (std::size_t at = 0; at < kKeys; at += kBurst) {
        table.lookup(std::span(keys).subspan(at, kBurst), hashes, found);
        for (const flow::Entry* entry : found) missed += entry == nullptr;
      }
    }));
  }
  if (missed > 0) fail("a flow was not found");
  std::sort(single.begin(), single.end());
  std::sort(bulk.begin(), bulk.end());
  return {{"flows", flows},
          {"one_by_one_ns", single[kRounds / 2]},
          {"one_by_one_ns_range", {single.front(), single.back()}},
          {"burst_of_32_ns", bulk[kRounds / 2]},
          {"burst_of_32_ns_range", {bulk.front(), bulk.back()}},
          {"table_octets", table.memory_used()}};
}

// Beyond the time after which idle flows are made small, and well below their time-out.
constexpr Nanoseconds kIdle = 60 * kSecond;

// Octets of one flow of each kind.
void measure_kinds(const policy::Policy& policy, nlohmann::ordered_json& result) {
  constexpr std::size_t kSome = 50'000;
  {
    // First, when nothing can be used again: what the account does not know (rounding, digests).
    const std::size_t before = resident();
    Bench bench(policy, kSome);
    bench.run(in_data(message(200)), kSome);
    result["in_data_resident_octets"] =
        static_cast<double>(resident() - before) / static_cast<double>(kSome);
  }
  const auto each = [&](const std::vector<SentFrame>& frames, std::size_t count, Nanoseconds wait) {
    Bench bench(policy, count);
    bench.run(frames, count);
    bench.pass(wait);
    if (bench.flows() != count) fail("flows were forgotten");
    return bench.octets_each();
  };
  result["half_open_octets"] = each(half_open(false), kSome, 0);
  result["half_open_answered_octets"] = each(half_open(true), kSome, 0);
  result["idle_after_ehlo_octets"] = each(idle(false), kSome, kIdle);
  result["idle_after_message_octets"] = each(idle(true), kSome, kIdle);
  const std::pair<const char*, std::string> messages[] = {
      {"in_data", message(200)},
      {"in_data_text",
       text_message("text/plain; charset=utf-8", "quoted-printable",
                    "Here they are, see https://www.customer.example/q3 t=\r\noo.", 200)},
      {"in_data_html", text_message("text/html; charset=iso-8859-2", "quoted-printable",
                                    "<p>Here <a href=3D\"https://www.customer.example/q3\">they "
                                    "are</a>, v=E1=BEen=FD.</p>",
                                    200)}};
  for (const auto& [name, text] : messages) {
    result[name + std::string("_octets")] = each(in_data(text), 10'000, kIdle);
    result[name + std::string("_not_yet_idle_octets")] = each(in_data(text), 10'000, 0);
  }
}

// So many flows that are idle, half of them after a message.
void measure_idle(const policy::Policy& policy, std::size_t flows, nlohmann::ordered_json& result) {
  const std::size_t before = resident();
  Bench bench(policy, flows);
  bench.run(idle(false), flows / 2);
  std::vector<SentFrame> others = idle(true);
  // Other flows: another first octet of the client's address.
  for (SentFrame& f : others) f.frame[f.direction == Direction::to_server ? 26 : 30] ^= 1;
  bench.run(others, flows - flows / 2);
  bench.pass(kIdle);
  if (bench.flows() != flows) fail("flows were forgotten");
  const inspect::MemoryUse use = bench.use();
  result["idle"] = {{"flows", flows},
                    {"table_octets", use.table},
                    {"flow_octets", use.flows},
                    {"worker_octets", bench.used()},
                    {"octets_per_flow", bench.octets_each()},
                    {"resident_before_octets", before},
                    {"resident_octets", resident()}};
  if (bench.read(contract::Counter::memory_refused) != 0) fail("memory was refused");
}

int run(int argc, char** argv) {
  std::string rules_file;
  std::size_t flows = 1'000'000;
  CLI::App app("Measures the memory that flows take.");
  app.add_option("--rules", rules_file)->check(CLI::ExistingFile);
  app.add_option("--flows", flows)->check(CLI::Range(1000, 20'000'000));
  bool only_idle = false;
  bool only_lookups = false;
  bool prefault = false;
  app.add_flag("--only-idle", only_idle);
  app.add_flag("--lookups", only_lookups);
  app.add_flag("--prefault", prefault,
               "with --lookups: memory as sluice-dataplane --prefault has it");
  CLI11_PARSE(app, argc, argv);
  if (only_lookups) {
    std::printf("%s\n",
                nlohmann::ordered_json{{"lookup", lookups(flows, prefault)}}.dump().c_str());
    return 0;
  }

  std::size_t rules = 0;
  const std::vector<std::uint8_t> image = compiled_elsewhere(rules_file, rules);
  auto policy = policy::Policy::open(image, {});
  if (!policy) fail(policy.error());

  nlohmann::ordered_json result{{"rules", rules}};
  if (!only_idle) measure_kinds(**policy, result);
  measure_idle(**policy, flows, result);
  std::printf("%s\n", result.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) { return sluice::run(argc, argv); }
