// A wire in memory for tests of the engine: rules and policy are compiled as on the appliance,
// frames go in, and what leaves, in order, and the events come out.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/events/eve.h"
#include "control/policy/compiled_lists.h"
#include "control/policy/rules.h"
#include "control/publish/image.h"
#include "dataplane/inspect/engine.h"
#include "tests/unit/support/packet_factory.h"

namespace sluice::test {

using Json = nlohmann::json;

// --- what tests say ---

inline constexpr char kRejectRule[] =
    "reject smtp any any -> any any (msg:\"test spam\"; content:\"XJS-SPAM-XJS\"; sid:42; "
    "rev:3;)\n";
inline constexpr char kEhloReply[] =
    "250-mx.test\r\n250-PIPELINING\r\n250-SIZE\r\n250-CHUNKING\r\n250 ENHANCEDSTATUSCODES\r\n";

// A message around `text`.
inline std::string body(std::string_view text) {
  return "From: Alice <alice@a.test>\r\nTo: bob@b.test, \"C, D\" <c@c.test>\r\nSubject: hello\r\n"
         "Message-ID: <1@a.test>\r\n\r\n" +
         std::string(text) + "\r\n";
}

// Up to and with the answer to RCPT.
inline void begin_envelope(Conversation& talk) {
  talk.open();
  talk.server("220 mx.test ESMTP\r\n");
  talk.client("EHLO client.test\r\n");
  talk.server(kEhloReply);
  talk.client("MAIL FROM:<alice@a.test>\r\n");
  talk.server("250 2.1.0 Ok\r\n");
  talk.client("RCPT TO:<bob@b.test>\r\n");
  talk.server("250 2.1.5 Ok\r\n");
}

// Up to and with the server's 354.
inline void begin_message(Conversation& talk) {
  begin_envelope(talk);
  talk.client("DATA\r\n");
  talk.server("354 go\r\n");
}

// As events write the time of a frame that was sent at `time`.
inline std::string time_text(Nanoseconds time) {
  const std::uint64_t wall = 1'700'000'000 * kSecond + time;
  const auto seconds = static_cast<std::time_t>(wall / kSecond);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[64];
  const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text + size, sizeof text - size, ".%06u+0000",
                static_cast<unsigned>(wall % kSecond / kMicrosecond));
  return text;
}

// What left the wire, in order.
struct Left {
  enum class Kind { forwarded, changed, dropped, injected } kind;
  Side out;  // the port it left by (dropped: would have)
  Frame frame;
  contract::DropReason reason = contract::DropReason::none;
  std::size_t source = 0;  // index of the frame that went in (injected: of the last one)

  net::Packet packet() const { return net::parse(frame, {.verify_checksums = true}); }
  std::string payload() const {
    const net::Packet p = packet();
    return std::string(as_text(Bytes(frame).subspan(p.payload_offset, p.payload_size)));
  }
};

struct RigOptions {
  std::string rules;  // Suricata-style
  policy::Mode mode = policy::Mode::enforce;
  bool hash_messages = true;
  control::PolicySpec spec{};
  inspect::Settings settings{};
  std::pmr::memory_resource* memory = std::pmr::new_delete_resource();
};

class Rig final : public inspect::Output, public contract::EventSink {
 public:
  explicit Rig(RigOptions options = {}) : options_(std::move(options)) {
    options_.settings.wires = {"w1"};
    set_rules(options_.rules);
    engine_ = std::make_unique<inspect::Engine>(options_.settings, *statistics_, *this, *this,
                                                options_.memory);
    EXPECT_TRUE(engine_->set_policy(*policy_));
    memory_at_start_ = engine_->memory_use().flows;
  }
  ~Rig() { engine_.reset(); }

  // Compiles and adopts; messages in progress keep what they began with.
  void set_rules(const std::string& rules) {
    const auto path = std::filesystem::path(testing::TempDir()) /
                      ("rig-" + std::to_string(::getpid()) + ".rules");
    std::ofstream(path) << rules;
    auto compiled = control::compile_rules({path});
    std::filesystem::remove(path);
    ASSERT_TRUE(compiled) << compiled.error();
    for (const auto& fault : (*compiled)->faults) ADD_FAILURE() << fault.text;
    rules_ = *compiled;
    publish();
  }
  // Likewise.
  void set_lists(const std::vector<control::ListToCompile>& lists) {
    auto compiled = control::compile_lists(lists);
    ASSERT_TRUE(compiled) << compiled.error();
    lists_ = *compiled;
    publish();
  }
  void publish() {
    control::PolicySpec spec = options_.spec;
    spec.epoch = ++epoch_;
    spec.hash_messages = options_.hash_messages;
    spec.wires = {{.name = "w1", .mode = options_.mode}};
    if (spec.groups.empty()) spec.groups.push_back({.group = {.name = "default"}, .members = {}});
    auto image = control::build_image(spec, *rules_, true, *lists_);
    ASSERT_TRUE(image) << image.error();
    auto opened = policy::Policy::open(*image, {});
    ASSERT_TRUE(opened) << opened.error();
    old_.push_back(policy_);
    policy_ = *opened;
    if (engine_) {
      EXPECT_TRUE(engine_->set_policy(*policy_));
    }
  }
  control::PolicySpec& spec() { return options_.spec; }
  const policy::Policy& policy() const { return *policy_; }
  void forget_old_policies() { old_.clear(); }

  void send(Side side, Frame octets, Nanoseconds time) {
    now_ = std::max(now_, time);
    sent_.push_back(octets);
    inspect::Frame frame{.octets = sent_.back(), .side = side, .number = sent_.size()};
    const Frame before = octets;
    settled_ = 0;
    engine_->process({&frame, 1}, at(now_));
    EXPECT_EQ(settled_, 1) << "a frame leaves once";
    if (!left.empty() && left.back().kind == Left::Kind::forwarded) {
      EXPECT_EQ(left.back().frame, before) << "forwarded unchanged, but changed";
    }
  }
  void send(const SentFrame& s) { send(s.side, s.frame, s.time); }
  void send(const std::vector<SentFrame>& frames) {
    for (const SentFrame& s : frames) send(s);
  }
  // All at once, as a driver gives them, at the time of the last one.
  void send_burst(std::span<const SentFrame> frames) {
    std::vector<Frame> octets;
    std::vector<inspect::Frame> burst;
    for (const SentFrame& s : frames) octets.push_back(s.frame);
    for (std::size_t i = 0; i < frames.size(); ++i)
      burst.push_back({.octets = octets[i], .side = frames[i].side, .number = i + 1});
    now_ = std::max(now_, frames.back().time);
    settled_ = 0;
    engine_->process(burst, at(now_));
    EXPECT_EQ(settled_, static_cast<int>(frames.size())) << "each frame leaves once";
  }
  // Lets time pass, with ticks as on the wire.
  void pass(Nanoseconds time) {
    const Nanoseconds until = now_ + time;
    while (now_ < until) {
      now_ = std::min(now_ + 10 * kMillisecond, until);
      engine_->tick(at(now_));
    }
  }
  void finish() { engine_->finish(at(now_)); }
  // Records of all flows go to `records`.
  void snapshot() {
    std::size_t cursor = 0;
    do {
      cursor = engine_->snapshot(cursor, 16, at(now_));
    } while (cursor != 0);
  }
  // Octets that the engine held before the first frame.
  std::size_t memory_at_start() const { return memory_at_start_; }

  // Events of a type, in order.
  std::vector<Json> events_of(std::string_view type) const {
    std::vector<Json> list;
    for (const Json& e : events)
      if (e["event_type"] == type) list.push_back(e);
    return list;
  }
  std::vector<std::string> anomalies() const {
    std::vector<std::string> list;
    for (const Json& e : events_of("anomaly")) list.push_back(e["anomaly"]["event"]);
    return list;
  }
  std::vector<Left> injected(Side out) const {
    std::vector<Left> list;
    for (const Left& l : left)
      if (l.kind == Left::Kind::injected && l.out == out) list.push_back(l);
    return list;
  }
  std::size_t dropped() const {
    return static_cast<std::size_t>(std::count_if(
        left.begin(), left.end(), [](const Left& l) { return l.kind == Left::Kind::dropped; }));
  }
  Nanoseconds now() const { return now_; }
  inspect::Engine& engine() { return *engine_; }
  contract::WorkerStatistics& statistics() { return *statistics_; }

  std::vector<Left> left;
  std::vector<Json> events;
  std::vector<std::vector<std::uint8_t>> records;  // of flow_snapshot
  std::vector<inspect::FlowMark> marks;
  FlowTraffic by_kernel;
  bool passes_messages = false;  // pass_message() is done: what became of it is `passed`
  std::vector<std::uint32_t> message_edges;
  inspect::PassedMessage passed;

 private:
  static inspect::Time at(Nanoseconds now) {
    return {.monotonic = now, .wall = 1'700'000'000 * kSecond + now};
  }
  void leave(Left::Kind kind, Side out, Bytes octets,
             contract::DropReason reason = contract::DropReason::none) {
    left.push_back({kind, out, Frame(octets.begin(), octets.end()), reason, sent_.size()});
  }
  void forward(inspect::Frame& frame, bool changed) override {
    ++settled_;
    leave(changed ? Left::Kind::changed : Left::Kind::forwarded, opposite(frame.side),
          frame.octets);
  }
  void drop(inspect::Frame& frame, contract::DropReason reason) override {
    ++settled_;
    leave(Left::Kind::dropped, opposite(frame.side), frame.octets, reason);
  }
  void inject(std::uint16_t, Side side, Bytes octets) override {
    leave(Left::Kind::injected, side, octets);
  }
  void mark_flow(const flow::FlowKey&, inspect::FlowMark mark) override { marks.push_back(mark); }
  FlowTraffic bypassed_traffic(const flow::FlowKey&) override { return by_kernel; }
  bool pass_message(const flow::FlowKey&, Side client, std::uint32_t edge) override {
    if (!passes_messages) return false;
    EXPECT_EQ(client, Side::inside);
    message_edges.push_back(edge);
    marks.push_back(inspect::FlowMark::message);
    return true;
  }
  inspect::PassedMessage passed_message(const flow::FlowKey&) override { return passed; }
  bool write(Bytes record) override {
    const auto reader = contract::EventReader::open(record);
    if (reader && reader->header().type == contract::EventType::flow_snapshot) {
      // Behind the header, which numbers the records.
      records.emplace_back(record.begin() + sizeof(contract::EventHeader), record.end());
      return true;
    }
    const std::string line = control::eve_json(record, {.host = "test", .wires = {{"w1", "", ""}}});
    if (!line.empty()) events.push_back(Json::parse(line));
    return true;
  }

  RigOptions options_;
  std::unique_ptr<contract::WorkerStatistics> statistics_ =
      std::make_unique<contract::WorkerStatistics>();
  std::shared_ptr<const control::CompiledRules> rules_;
  std::shared_ptr<const control::CompiledLists> lists_ = control::no_lists();
  std::shared_ptr<const policy::Policy> policy_;
  std::vector<std::shared_ptr<const policy::Policy>> old_;
  std::unique_ptr<inspect::Engine> engine_;
  std::vector<Frame> sent_;
  Nanoseconds now_ = 0;
  std::uint32_t epoch_ = 0;
  std::size_t memory_at_start_ = 0;
  int settled_ = 0;
};

}  // namespace sluice::test
