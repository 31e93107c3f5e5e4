// Runs the XDP program on built packets (BPF_PROG_TEST_RUN), attached by the real loader to the
// ports of test_wire.h. Needs root; without it the tests fail, they are not skipped.
//
// With $SLUICE_TEST_FRONT the wire is in front mode, and each frame goes through front.bpf.c first:
// all tests must find the same.
#pragma once

#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <sys/mount.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/bpf/test_wire.h"
#include "tests/unit/support/frame_builder.h"
#include "xdp/loader/loader.h"

namespace sluice::xdp::test {

using sluice::test::Frame;
using sluice::test::Path;

// What the program did with one frame: the action, every counter that moved but `received`, and the
// frame as it left.
struct Outcome {
  std::uint32_t action = 0;
  std::set<std::string> counted;
  Frame frame;
};

class SteerTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    base_ = make_test_ports();
    ASSERT_FALSE(base_.empty()) << "needs root";
    Result<Wire> wire = Wire::attach(config(), base_);
    ASSERT_TRUE(wire) << wire.error();
    wire_ = new Wire(std::move(*wire));
    for (const Side side : {Side::inside, Side::outside}) {
      programs_[static_cast<std::size_t>(side)] = program_of(side);
      if (kFront) fronts_[static_cast<std::size_t>(side)] = test_front(wire_->ifindex(side));
    }
    for (auto& socket : sockets_) socket = new IdleSocket;
  }
  static void TearDownTestSuite() {
    for (auto& socket : sockets_) {
      delete socket;
      socket = nullptr;
    }
    for (const int program : programs_) close(program);
    for (const int program : fronts_) close(program);
    delete wire_;
    wire_ = nullptr;
    const Status detached = Wire::detach("t", base_);
    EXPECT_TRUE(detached) << detached.error();
    umount(base_.c_str());
    rmdir(base_.c_str());
  }

  static WireConfig config() {
    WireConfig config = test_config();
    if (kFront) config.mode = AttachMode::front;
    return config;
  }
  static int program_of(Side side) { return test_program(base_, side); }

  // Every test begins with a wire that is alive on queue 0, without lists or marks. The timeout is
  // long, and the beat ahead of the clock, so that no slow machine makes a test see a stale one.
  void SetUp() override {
    ASSERT_NE(wire_, nullptr);
    ASSERT_GE(programs_[0], 0);
    ASSERT_GE(programs_[1], 0);
    ASSERT_TRUE(sockets_[0]->good());
    const std::uint16_t ports[] = {25, 465, 587, 2525};
    ASSERT_TRUE(wire_->set_mail_ports(ports));
    ASSERT_TRUE(wire_->set_failure_policy(FailurePolicy::open));
    ASSERT_TRUE(wire_->set_operator_bypass(false));
    ASSERT_TRUE(wire_->set_watermark(750));
    ASSERT_TRUE(wire_->set_heartbeat_timeout(10 * kSecond));
    ASSERT_TRUE(wire_->replace_lists({}));
    Result<Heartbeat> heartbeat = wire_->map_heartbeat();
    ASSERT_TRUE(heartbeat) << heartbeat.error();
    heartbeat_ = std::move(*heartbeat);
    put_sockets();
    live();
  }

  void put_sockets() {
    ASSERT_TRUE(wire_->put_socket(Side::inside, 0, sockets_[0]->fd()));
    ASSERT_TRUE(wire_->put_socket(Side::outside, 0, sockets_[1]->fd()));
  }
  void live() { heartbeat_.start(0, Heartbeat::now() + 9 * kSecond); }

  Outcome run(Side side, const Frame& frame, std::optional<std::uint32_t> queue = std::nullopt) {
    const Result<Counters> before = wire_->counters();
    Outcome outcome;
    if (!goes_straight(side, frame, outcome)) steer(side, frame, queue, outcome);
    const Result<Counters> after = wire_->counters();
    EXPECT_TRUE(before && after);
    if (!before || !after) return outcome;
    int decisions = 0;
    for (std::uint32_t i = 0; i < STEER_COUNTER_COUNT; i++) {
      const auto counter = static_cast<steer_counter>(i);
      const std::uint64_t frames =
          after->at(side, counter).frames - before->at(side, counter).frames;
      const std::uint64_t octets =
          after->at(side, counter).octets - before->at(side, counter).octets;
      EXPECT_EQ(after->at(opposite(side), counter).frames,
                before->at(opposite(side), counter).frames);
      if (frames == 0) continue;
      EXPECT_EQ(frames, 1u) << kCounters[i].name;
      EXPECT_EQ(octets, frame.size()) << kCounters[i].name;
      if (kCounters[i].kind != CounterClass::total) outcome.counted.emplace(kCounters[i].name);
      if (kCounters[i].kind != CounterClass::total && kCounters[i].kind != CounterClass::note)
        decisions++;
    }
    EXPECT_EQ(decisions, 1) << "each frame is decided once";
    EXPECT_EQ(after->at(side, STEER_COUNT_received).frames,
              before->at(side, STEER_COUNT_received).frames + 1);
    return outcome;
  }

  // A run of a program on `frame`, which writes what becomes of it to `outcome`.
  static bpf_test_run_opts one_run(const Frame& frame, Outcome& outcome) {
    outcome.frame.resize(frame.size() + 64);
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.data_out = outcome.frame.data();
    options.data_size_out = static_cast<__u32>(outcome.frame.size());
    options.repeat = 1;
    return options;
  }

  // Whether the front sends it to the other port; else it is steer.bpf.c's. `gso`: octets of
  // payload of each frame that it is to be cut into; 0: it is one.
  static bool goes_straight(Side side, const Frame& frame, Outcome& outcome, __u32 gso = 0) {
    if (!kFront) return false;
    const Result<Counters> before = wire_->counters();
    bpf_test_run_opts options = one_run(frame, outcome);
    __sk_buff context{};
    context.gso_size = gso;
    options.ctx_in = &context;
    options.ctx_size_in = sizeof context;
    const int error = bpf_prog_test_run_opts(fronts_[static_cast<std::size_t>(side)], &options);
    if (error == -EINVAL) return false;  // no whole IP header, or too long to be tried
    EXPECT_EQ(error, 0);
    EXPECT_EQ(options.retval, static_cast<__u32>(TC_ACT_REDIRECT));
    outcome.action = XDP_REDIRECT;
    outcome.frame.resize(options.data_size_out);
    EXPECT_EQ(outcome.frame, frame);
    const Result<Counters> after = wire_->counters();
    EXPECT_TRUE(before && after);
    return before && after &&
           after->at(side, STEER_COUNT_received).frames !=
               before->at(side, STEER_COUNT_received).frames;
  }

  static void steer(Side side, const Frame& frame, std::optional<std::uint32_t> queue,
                    Outcome& outcome) {
    bpf_test_run_opts options = one_run(frame, outcome);
    xdp_md context{};
    if (queue) {
      context.data_end = static_cast<__u32>(frame.size());
      context.ingress_ifindex = if_nametoindex(wire_->socket_interface(side).c_str());
      context.rx_queue_index = *queue;
      options.ctx_in = &context;
      options.ctx_size_in = sizeof context;
    }
    const int error = bpf_prog_test_run_opts(programs_[static_cast<std::size_t>(side)], &options);
    EXPECT_EQ(error, 0);
    outcome.action = options.retval;
    outcome.frame.resize(options.data_size_out);
  }

  // The flow has been marked, and not been looked at, for so long already.
  void age_mark(const FlowEnds& ends, std::uint64_t nanoseconds) {
    const std::string path = base_ + "/sluice/v" + std::to_string(STEER_LAYOUT) + "/t/bypassed";
    const int map = bpf_obj_get(path.c_str());
    ASSERT_GE(map, 0);
    const steer_flow_key key = flow_key(ends);
    steer_flow flow{};
    ASSERT_EQ(bpf_map_lookup_elem(map, &key, &flow), 0);
    flow.since_ns -= nanoseconds;
    ASSERT_EQ(bpf_map_update_elem(map, &key, &flow, BPF_ANY), 0);
    close(map);
  }

  // The one counter that moved; fails when there were more.
  std::string decision(Side side, const Frame& frame) {
    const Outcome outcome = run(side, frame);
    EXPECT_EQ(outcome.counted.size(), 1u);
    return outcome.counted.empty() ? "" : *outcome.counted.begin();
  }

  static inline std::string base_;
  static inline Wire* wire_ = nullptr;
  static inline int programs_[STEER_SIDES] = {-1, -1};
  static inline int fronts_[STEER_SIDES] = {-1, -1};
  static inline const bool kFront = std::getenv("SLUICE_TEST_FRONT") != nullptr;
  static inline IdleSocket* sockets_[8] = {};
  Heartbeat heartbeat_;
};

inline ListEntry host_entry(const Address& address, ListAction action,
                            ListScope scope = ListScope::mail) {
  ListEntry entry;
  entry.prefix = {address, 128};
  entry.action = action;
  entry.scope = scope;
  return entry;
}

// `length` of the address's own family.
inline Prefix prefix(const Address& address, unsigned length) {
  return Prefix{address, static_cast<std::uint8_t>(address.is_v4() ? length + 96 : length)}
      .masked();
}

inline ListEntry prefix_entry(const Address& address, unsigned length, ListAction action,
                              ListScope scope = ListScope::mail) {
  ListEntry entry = host_entry(address, action, scope);
  entry.prefix = prefix(address, length);
  return entry;
}

}  // namespace sluice::xdp::test
