// What the XDP program takes for a frame, by the way that the frame goes: BPF_PROG_TEST_RUN of the
// attached program, in namespaces of its own (root). One line of JSON for each way and size of
// lists:
//
//   random_ns  each frame of another flow and host, one run a system call: maps, and the program
//              itself, are as cold as the system call leaves them
//   hot_ns     one frame again and again (null where the program changes frame or state)
//
// Both with the clock's own cost: `nothing` is a program that only returns. The decisions are
// counted: a line whose frames went another way is an error. Lists hold half hosts, half prefixes
// of IPv4.
//
//   xdp_bench [--entries N]... [--frames N]
#include <linux/bpf.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <unordered_set>

#include "tests/bpf/test_wire.h"
#include "tests/unit/support/packet_factory.h"

namespace sluice::xdp {
namespace {

using sluice::test::Frame;
using sluice::test::Path;
using sluice::test::v4;

// Caught in main(), so that what was made is removed.
[[noreturn]] void fail(const std::string& text) { throw std::runtime_error(text); }
void check(const Status& status) {
  if (!status) fail(status.error());
}

std::uint32_t run_program(int program, const Frame& frame, int repeat) {
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  options.data_in = frame.data();
  options.data_size_in = static_cast<__u32>(frame.size());
  options.repeat = repeat;
  if (bpf_prog_test_run_opts(program, &options) != 0) fail("the program cannot be run");
  return options.duration;
}

int trivial_program() {
  const bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = XDP_PASS},
                           {.code = BPF_JMP | BPF_EXIT}};
  const int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "nothing", "GPL", code, std::size(code), nullptr);
  if (fd < 0) fail("a trivial program cannot be loaded");
  return fd;
}

// Hosts and prefixes of a list, and those of them that are not just dropped.
struct Lists {
  std::vector<ListEntry> entries;
  std::vector<Address> dropped_hosts, in_dropped_prefixes, reset, allowed, conforming, limited;
};

class Random {
 public:
  std::uint32_t number() { return static_cast<std::uint32_t>(engine_()); }
  // An address of `first`.0.0.0/8.
  Address of(unsigned first) {
    const std::uint32_t n = number();
    return v4(first, n >> 16 & 0xff, n >> 8 & 0xff, n & 0xff);
  }

 private:
  std::mt19937_64 engine_{1};
};

Lists make_lists(std::size_t count, Random& random) {
  Lists lists;
  std::unordered_set<std::uint32_t> used;
  const auto fresh = [&](unsigned first, unsigned bits) {
    for (;;) {
      const std::uint32_t n = random.number() & 0xffffff & ~0u << bits;
      if (used.insert(first << 24 | n).second)
        return v4(first, n >> 16 & 0xff, n >> 8 & 0xff, n & 0xff);
    }
  };
  const auto add = [&](const Address& address, ListAction action) -> ListEntry& {
    ListEntry entry;
    entry.prefix = {address, 128};
    entry.action = action;
    lists.entries.push_back(entry);
    return lists.entries.back();
  };
  if (count == 0) return lists;
  // So many of each that is not dropped; limits have states, of which there are not a million.
  const std::size_t few = std::min<std::size_t>(count / 10, 5000);
  for (std::size_t i = 0; i < few; ++i) {
    lists.allowed.push_back(add(fresh(100, 0), ListAction::allow).prefix.address);
    lists.reset.push_back(add(fresh(100, 0), ListAction::reset).prefix.address);
    ListEntry& wide = add(fresh(100, 0), ListAction::limit);
    wide.interval = kMicrosecond;
    wide.burst = 1'000'000;
    lists.conforming.push_back(wide.prefix.address);
    ListEntry& narrow = add(fresh(100, 0), ListAction::limit);
    narrow.interval = 24 * 3600 * kSecond;
    lists.limited.push_back(narrow.prefix.address);
  }
  while (lists.entries.size() < count / 2)
    lists.dropped_hosts.push_back(add(fresh(100, 0), ListAction::drop).prefix.address);
  while (lists.entries.size() < count) {
    // Of /24 to /28, a /8 has room for some hundred thousand.
    const unsigned length = 24 + random.number() % 5;
    Address address = fresh(101 + random.number() % 8, 32 - length);
    ListEntry entry;
    entry.prefix = {address, static_cast<std::uint8_t>(96 + length)};
    entry.action = ListAction::drop;
    lists.entries.push_back(entry);
    address.octets[15] |= 1;
    lists.in_dropped_prefixes.push_back(address);
  }
  return lists;
}

class Bench {
 public:
  explicit Bench(std::size_t frames) : frames_(frames), base_(test::make_test_ports()) {
    if (base_.empty()) fail("no test ports (root?)");
    auto wire = Wire::attach(test::test_config(), base_);
    if (!wire) fail(wire.error());
    wire_.emplace(std::move(*wire));
    for (const Side side : {Side::inside, Side::outside}) {
      programs_[static_cast<std::size_t>(side)] = test::test_program(base_, side);
      test::IdleSocket& socket = sockets_[static_cast<std::size_t>(side)];
      check(wire_->put_socket(side, 0, socket.fd()));
    }
    // Nothing here depends on how fast the machine is.
    check(wire_->set_heartbeat_timeout(10 * kSecond));
    auto heartbeat = wire_->map_heartbeat();
    if (!heartbeat) fail(heartbeat.error());
    heartbeat_ = std::move(*heartbeat);
  }
  ~Bench() {
    wire_.reset();
    static_cast<void>(Wire::detach("t", base_));
    umount(base_.c_str());
    rmdir(base_.c_str());
  }

  void run(std::size_t entries);

 private:
  enum class Worker { alive, busy, dead };
  struct Way {
    const char* name;
    const char* counter;  // of the decision
    std::function<Frame()> frame;
    bool hot = true;
    Worker worker = Worker::alive;
    Side side = Side::inside;
    bool again = false;  // only the second frame of a host goes this way
  };
  void measure(const Way& way);
  std::uint64_t counted(const Way& way) const;
  std::vector<Way> ways();
  // No mail port.
  std::uint16_t client_port() {
    return static_cast<std::uint16_t>(10'000 + random_.number() % 50'000);
  }
  void be(Worker worker) {
    heartbeat_.start(0, Heartbeat::now() + 9 * kSecond);
    if (worker == Worker::dead) heartbeat_.stop(0);
    if (worker == Worker::busy && !heartbeat_.beat(0, 900, Heartbeat::now() + 9 * kSecond))
      fail("no heartbeat");
  }

  std::size_t frames_;
  std::string base_;
  std::optional<Wire> wire_;
  int programs_[2]{};
  test::IdleSocket sockets_[2];
  Heartbeat heartbeat_;
  Random random_;
  std::size_t entries_ = 0;
  std::size_t marks_ = 0;
  Lists lists_;
  std::vector<FlowEnds> bypassed_, messages_, steered_, changed_;
};

FlowEnds ends_of(const Path& path) {
  return {path.client.address, path.server.address, path.client.port, path.server.port};
}
Path path_of(const FlowEnds& ends) {
  Path path;
  path.client = {ends.a, ends.a_port};
  path.server = {ends.b, ends.b_port};
  return path;
}

std::vector<Bench::Way> Bench::ways() {
  namespace flag = sluice::test::tcp_flags;
  using sluice::test::Encapsulation;
  const auto segment = [](const Path& path, std::uint8_t flags = flag::kAck,
                          std::string_view payload = {}) {
    return sluice::test::padded(sluice::test::tcp_frame(
        path, Direction::to_server, {.sequence = 1, .flags = flags, .payload = as_bytes(payload)}));
  };
  const auto fresh = [this](std::uint16_t port) {
    Path path;
    path.client = {random_.of(10), client_port()};
    path.server.port = port;
    return path;
  };
  const auto wrapped = [=](std::function<void(Encapsulation&)> wrap) {
    return [=] {
      Path path = fresh(25);
      wrap(path.encapsulation);
      return segment(path);
    };
  };
  const auto one_of = [this](const auto& all) { return all[random_.number() % all.size()]; };
  const auto from = [=](const std::vector<Address>& hosts) {
    return [=, &hosts] {
      Path path = fresh(25);
      path.client.address = one_of(hosts);
      return segment(path);
    };
  };
  const auto of_flow = [=](const std::vector<FlowEnds>& flows) {
    return [=, &flows] { return segment(path_of(one_of(flows))); };
  };
  std::vector<Way> ways{
      {"other TCP to the peer", "not-mail", [=] { return segment(fresh(443)); }},
      {"not IP to the peer", "not-mail",
       [] {
         Frame frame(60, 0);
         store_be16(&frame[12], 0x0806);
         return frame;
       }},
      {"mail to the socket", "mail-to-socket", [=] { return segment(fresh(25)); }},
      {"mail, IPv6", "mail-to-socket",
       [=, this] {
         Path path = sluice::test::path_v6();
         path.client.port = client_port();
         path.client.address.octets[8] = static_cast<std::uint8_t>(random_.number());
         path.client.address.octets[9] = static_cast<std::uint8_t>(random_.number());
         return segment(path);
       }},
      {"mail in a VLAN", "mail-to-socket",
       wrapped([](Encapsulation& e) { e.tags = {{.vid = 100}}; })},
      {"mail in two VLANs and PPPoE", "mail-to-socket", wrapped([](Encapsulation& e) {
         e.tags = {{.vid = 100, .tpid = 0x88a8}, {.vid = 7}};
         e.pppoe = 4711;
       })},
      {"mail in two MPLS labels", "mail-to-socket", wrapped([](Encapsulation& e) {
         e.mpls = {1000, 2000};
       })},
      {"mail in GRE", "mail-to-socket",
       wrapped([](Encapsulation& e) { e.tunnel = Encapsulation::Tunnel::gre; })},
      {"mail in IP-in-IP", "mail-to-socket",
       wrapped([](Encapsulation& e) { e.tunnel = Encapsulation::Tunnel::ip_in_ip; })},
      {"TCP fragment to the socket", "fragment-to-socket",
       [=] {
         return sluice::test::fragment_frame(fresh(25), Direction::to_server, 6, 64, Frame(64, 0),
                                             false, 7);
       }},
      {"dataplane away, mail to the peer", "open-heartbeat", [=] { return segment(fresh(25)); },
       true, Worker::dead},
  };
  // Last, because it marks flows itself.
  const Way new_flow{"new flow, full rings", "overload-new",
                     [=] { return segment(fresh(25), flag::kSyn); }, false, Worker::busy};
  if (entries_ == 0) {
    ways.push_back(new_flow);
    return ways;
  }
  const std::vector<Way> marked{
      {"in TLS or given up, past the dataplane", "flow-bypassed", of_flow(bypassed_)},
      {"past its scan limit, 1,460 octets", "message-passed",
       [=, this] {
         return segment(path_of(one_of(messages_)), flag::kAck, std::string(1460, 'x'));
       }},
      {"mail on another port to the socket", "steered-to-socket", of_flow(steered_)},
      {"dataplane away, changed flow reset", "changed-reset", of_flow(changed_), false,
       Worker::dead},
  };
  ways.insert(ways.end(), marked.begin(), marked.end());
  ways.push_back({"dropped by a host entry", "listed-drop", from(lists_.dropped_hosts)});
  ways.push_back({"dropped by a prefix", "listed-drop", from(lists_.in_dropped_prefixes)});
  ways.push_back({"reset", "listed-reset", from(lists_.reset), false});
  ways.push_back({"allowed in a list, to the socket", "mail-to-socket", from(lists_.allowed)});
  const auto opening = [=](const std::vector<Address>& hosts) {
    return [=, &hosts] {
      Path path = fresh(25);
      path.client.address = one_of(hosts);
      return segment(path, flag::kSyn);
    };
  };
  ways.push_back({"within its limit", "mail-to-socket", opening(lists_.conforming), false});
  ways.push_back({"past its limit", "limited", opening(lists_.limited), false, Worker::alive,
                  Side::inside, true});
  ways.push_back(new_flow);
  return ways;
}

std::uint64_t Bench::counted(const Way& way) const {
  const auto counters = wire_->counters();
  if (!counters) fail(counters.error());
  for (std::uint32_t i = 0; i < STEER_COUNTER_COUNT; ++i)
    if (kCounters[i].name == way.counter)
      return counters->at(way.side, static_cast<steer_counter>(i)).frames;
  fail(std::string("no counter ") + way.counter);
}

void Bench::measure(const Way& way) {
  constexpr std::size_t kBlocks = 5;
  constexpr int kHot = 10'000;
  const int program = programs_[static_cast<std::size_t>(way.side)];
  std::vector<Frame> frames(frames_);
  for (Frame& frame : frames) frame = way.frame();
  be(way.worker);
  if (way.again)
    for (const Frame& frame : frames) run_program(program, frame, 1);
  const std::uint64_t before = counted(way);
  std::vector<double> random;
  for (std::size_t block = 0; block < kBlocks; ++block) {
    be(way.worker);
    std::uint64_t sum = 0;
    const std::size_t each = frames.size() / kBlocks;
    for (std::size_t i = 0; i < each; ++i) sum += run_program(program, frames[block * each + i], 1);
    random.push_back(static_cast<double>(sum) / static_cast<double>(each));
  }
  const std::uint64_t went = counted(way) - before;
  if (went != frames.size() / kBlocks * kBlocks)
    fail(std::string(way.name) + ": only " + std::to_string(went) + " frames were " + way.counter);
  std::ranges::sort(random);
  nlohmann::ordered_json line{{"way", way.name},
                              {"entries", entries_},
                              {"flows_marked", marks_},
                              {"decision", way.counter},
                              {"random_ns", random[kBlocks / 2]},
                              {"random_ns_range", {random.front(), random.back()}},
                              {"hot_ns", nullptr}};
  if (way.hot) {
    std::vector<std::uint32_t> hot;
    for (std::size_t block = 0; block < kBlocks; ++block) {
      be(way.worker);
      hot.push_back(run_program(program, frames[0], kHot));
    }
    std::ranges::sort(hot);
    line["hot_ns"] = hot[kBlocks / 2];
    line["hot_ns_range"] = {hot.front(), hot.back()};
  }
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

void Bench::run(std::size_t entries) {
  entries_ = entries;
  lists_ = make_lists(entries, random_);
  check(wire_->replace_lists(lists_.entries));
  // The maps of flows hold 32,768 to 131,072 and forget the oldest.
  marks_ = std::min<std::size_t>(entries, 20'000);
  for (auto* flows : {&bypassed_, &messages_, &steered_, &changed_}) {
    for (const FlowEnds& ends : *flows) check(wire_->forget_flow(ends));
    flows->clear();
    for (std::size_t i = 0; i < marks_; ++i) {
      Path path;
      path.client = {random_.of(10), client_port()};
      if (flows == &steered_) path.server.port = 10025;
      flows->push_back(ends_of(path));
      const FlowEnds& ends = flows->back();
      check(flows == &bypassed_   ? wire_->bypass_flow(ends)
            : flows == &messages_ ? wire_->pass_message(ends, Side::inside)
            : flows == &steered_  ? wire_->steer_flow(ends)
                                  : wire_->mark_sequence_changed(ends));
    }
  }
  const int trivial = trivial_program();
  const Frame frame(60, 0);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < frames_; ++i) sum += run_program(trivial, frame, 1);
  const nlohmann::ordered_json line{
      {"way", "nothing"},
      {"entries", entries},
      {"random_ns", static_cast<double>(sum) / static_cast<double>(frames_)},
      {"hot_ns", run_program(trivial, frame, 100'000)}};
  close(trivial);
  std::printf("%s\n", line.dump().c_str());
  for (const Way& way : ways()) measure(way);
}

int run(int argc, char** argv) {
  std::vector<std::size_t> entries{0, 1000, 1'000'000};
  std::size_t frames = 20'000;
  CLI::App app("Measures the XDP program by the way of a frame.");
  app.add_option("--entries", entries)->check(CLI::Range(0, 4'000'000));
  app.add_option("--frames", frames)->check(CLI::Range(100, 1'000'000));
  CLI11_PARSE(app, argc, argv);
  Bench bench(frames);
  for (const std::size_t n : entries) bench.run(n);
  return 0;
}

}  // namespace
}  // namespace sluice::xdp

int main(int argc, char** argv) {
  try {
    return sluice::xdp::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "xdp_bench: %s\n", error.what());
    return 1;
  }
}
