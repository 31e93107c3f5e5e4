// The order in which a worker deals with frames: light ones first, equal shares of the rest by
// subscriber, the frames of a flow in their order, and the loss of who sends too much.
#include "dataplane/io/backlog.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <map>
#include <random>
#include <vector>

#include "tests/unit/support/frame_builder.h"
#include "xdp/contract/steer.h"

namespace sluice::io {
namespace {

using test::Frame;
constexpr SpreadKey kKey{0x0123456789abcdef, 0xfedcba9876543210};
const Frame kOctets(1400, 'x');

test::Path path_of(unsigned host, std::uint16_t port = 40000) {
  test::Path path;
  path.client = {test::v4(192, 0, 2, host), port};
  return path;
}
Frame segment(const test::Path& path, std::size_t payload,
              Direction direction = Direction::to_server) {
  return test::tcp_frame(path, direction, {.payload = Bytes(kOctets).first(payload)});
}

class BacklogTest : public ::testing::Test {
 protected:
  // The number of the frame is its handle.
  bool light(const Frame& frame, Side from = Side::inside) {
    return backlog_.is_light_or_put(reinterpret_cast<void*>(++number_), frame, from);
  }
  std::vector<std::uintptr_t> take(std::size_t most = 1000) {
    std::vector<void*> frames(most);
    frames.resize(backlog_.take(frames));
    std::vector<std::uintptr_t> numbers;
    for (void* frame : frames) numbers.push_back(reinterpret_cast<std::uintptr_t>(frame));
    return numbers;
  }
  using Numbers = std::vector<std::uintptr_t>;

  Backlog backlog_{300, kKey};
  std::uintptr_t number_ = 0;
};

TEST_F(BacklogTest, LightSegmentsGoAtOnceAndTheOthersWait) {
  EXPECT_TRUE(light(segment(path_of(1), 0)));
  EXPECT_TRUE(light(segment(path_of(1), Backlog::kLight)));
  EXPECT_FALSE(light(segment(path_of(1), Backlog::kLight + 1)));
  EXPECT_TRUE(light(segment(path_of(1, 40001), 10))) << "another flow of the same host";
  EXPECT_TRUE(light(segment(path_of(1), 10, Direction::to_client), Side::outside));
  EXPECT_EQ(take(), Numbers{3});
  EXPECT_TRUE(backlog_.empty());
}

TEST_F(BacklogTest, AFlowStaysInOrder) {
  EXPECT_FALSE(light(segment(path_of(1), 1000)));
  EXPECT_FALSE(light(segment(path_of(1), 10))) << "behind what waits of its flow";
  EXPECT_EQ(take(), (Numbers{1, 2}));
  EXPECT_TRUE(light(segment(path_of(1), 10)));
}

TEST_F(BacklogTest, NothingOfAHostGoesPastItsFragments) {
  const test::Path path = path_of(1);
  const Frame tcp = test::tcp_octets(path, Direction::to_server, {.payload = kOctets});
  for (const Frame& frame : test::fragment_frames(path, Direction::to_server, 6, tcp, 800, 7))
    EXPECT_FALSE(light(frame));
  EXPECT_FALSE(light(segment(path, 0)));
  EXPECT_FALSE(light(segment(path_of(1, 40001), 0)));
  EXPECT_EQ(take(), (Numbers{1, 2, 3, 4}));
}

TEST_F(BacklogTest, WhatIsNoPlainSegmentWaits) {
  test::Path tunnelled = path_of(1);
  tunnelled.encapsulation.tunnel = test::Encapsulation::Tunnel::gre;
  EXPECT_FALSE(light(segment(tunnelled, 0)));
  EXPECT_FALSE(light(Frame(60, 0)));
  EXPECT_FALSE(light({}));
  Frame cut = segment(path_of(2), 100);
  cut.resize(14 + 20 + 19);
  EXPECT_FALSE(light(cut));
  EXPECT_EQ(take().size(), 4u);
}

TEST_F(BacklogTest, EqualSharesOfOctetsForEverySubscriber) {
  for (int i = 0; i < 200; ++i) light(segment(path_of(1, static_cast<std::uint16_t>(i)), 1400));
  for (int i = 0; i < 20; ++i) light(segment(path_of(2), 1400));
  for (int i = 0; i < 40; ++i) light(segment(path_of(3), 700));
  std::map<unsigned, int> octets;
  for (const std::uintptr_t number : take(80)) {
    if (number <= 200) octets[1] += 1454;
    if (number > 200 && number <= 220) octets[2] += 1454;
    if (number > 220) octets[3] += 754;
  }
  for (unsigned host = 2; host <= 3; ++host) EXPECT_NEAR(octets[host], octets[1], 2 * 1514) << host;
}

TEST_F(BacklogTest, BothDirectionsAreTheInsideHosts) {
  for (int i = 0; i < 100; ++i) {
    light(segment(path_of(1), 1400));
    light(segment(path_of(1), 1400, Direction::to_client), Side::outside);
  }
  for (int i = 0; i < 10; ++i) light(segment(path_of(2), 1400));
  int of_second = 0;
  for (const std::uintptr_t number : take(20)) of_second += number > 200 ? 1 : 0;
  EXPECT_EQ(of_second, 10);
}

// The kernel reads the same slot for the same host (tests/bpf).
TEST_F(BacklogTest, AHostIsWhoTheKernelTakesItFor) {
  for (const test::Path& path : {path_of(9), test::path_v6()}) {
    std::uint32_t words[4];
    std::memcpy(words, path.client.address.octets.data(), sizeof words);
    const std::uint32_t host = steer_host(host_key(kKey), words);
    EXPECT_EQ(whose(segment(path, 9), Side::inside, kKey).host, host);
    EXPECT_EQ(whose(segment(path, 9, Direction::to_client), Side::outside, kKey).host, host);
  }
}

TEST_F(BacklogTest, AHostOfIPv6IsItsNetwork) {
  test::Path a = test::path_v6();
  test::Path b = test::path_v6();
  b.client.address = test::v6(77);
  EXPECT_EQ(whose(segment(a, 9), Side::inside, kKey).host,
            whose(segment(b, 9), Side::inside, kKey).host);
  EXPECT_NE(whose(segment(a, 9), Side::inside, kKey).flow,
            whose(segment(b, 9), Side::inside, kKey).flow);
  b.client.address.octets[7] = 1;
  EXPECT_NE(whose(segment(a, 9), Side::inside, kKey).host,
            whose(segment(b, 9), Side::inside, kKey).host);
  EXPECT_EQ(whose(segment(a, 9), Side::inside, kKey).payload, 9u);
}

TEST_F(BacklogTest, LightOnesOfOneHostHaveALimitInEachRound) {
  for (int i = 0; i < Backlog::kLightEach; ++i) EXPECT_TRUE(light(segment(path_of(1), 1)));
  EXPECT_FALSE(light(segment(path_of(1), 1)));
  EXPECT_TRUE(light(segment(path_of(2), 1)));
  take();
  EXPECT_FALSE(light(segment(path_of(1), 1)));
  take();
  backlog_.begin_round();
  EXPECT_TRUE(light(segment(path_of(1), 1)));
}

TEST_F(BacklogTest, WhoHasMostWaitingLosesHisLast) {
  for (int i = 0; i < 5; ++i) light(segment(path_of(2), 1400));
  while (!backlog_.full()) light(segment(path_of(1), 1400));
  EXPECT_EQ(backlog_.fill(), 1000u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(backlog_.evict()), 300u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(backlog_.evict()), 299u);
  EXPECT_FALSE(backlog_.full());
  const Numbers rest = take();
  EXPECT_EQ(rest.size(), 298u);
  EXPECT_TRUE(light(segment(path_of(1), 1))) << "what was dropped is not waited for";
}

TEST_F(BacklogTest, TheCrowdIsToldAndNotCounted) {
  Backlog backlog(1000, kKey, 100);
  const auto put = [&](unsigned host) {
    return backlog.is_light_or_put(&backlog, segment(path_of(host), 1400), Side::inside);
  };
  const std::uint8_t host = whose(segment(path_of(1), 0), Side::inside, kKey).host;
  const auto in_crowd = [&] { return (backlog.crowd()[host / 64] >> (host % 64) & 1) != 0; };
  for (int i = 0; i < 50; ++i) put(2);
  for (int i = 0; i < 99; ++i) put(1);
  EXPECT_FALSE(in_crowd());
  EXPECT_EQ(backlog.fill(), 149u);
  put(1);
  EXPECT_TRUE(in_crowd());
  put(1);
  EXPECT_EQ(backlog.fill(), 50u);
  void* frame = nullptr;
  while (backlog.size() > 51) EXPECT_EQ(backlog.take({&frame, 1}), 1u);
  EXPECT_TRUE(in_crowd()) << "of whom 51 are left";
  EXPECT_EQ(backlog.fill(), 0u);
  EXPECT_EQ(backlog.take({&frame, 1}), 1u);
  EXPECT_FALSE(in_crowd());
  EXPECT_EQ(backlog.fill(), 50u);
  EXPECT_EQ(backlog.crowd(), (std::array<std::uint64_t, 4>{}));
}

// Whatever comes, each frame is given back once, and those of a flow in their order.
TEST_F(BacklogTest, NothingIsLostOrDoubledOrOutOfOrder) {
  std::mt19937 random(7);
  std::map<std::uintptr_t, unsigned> flow_of;
  std::map<unsigned, std::deque<std::uintptr_t>> expected;
  std::size_t inside = 0;
  const auto leaves = [&](std::uintptr_t number) {
    std::deque<std::uintptr_t>& flow = expected[flow_of[number]];
    ASSERT_FALSE(flow.empty());
    EXPECT_EQ(flow.front(), number);
    flow.pop_front();
  };
  for (int i = 0; i < 50'000; ++i) {
    if (random() % 4 == 0) backlog_.begin_round();
    if (backlog_.full()) {
      const auto number = reinterpret_cast<std::uintptr_t>(backlog_.evict());
      std::erase(expected[flow_of[number]], number);
      --inside;
    }
    const auto host = static_cast<unsigned>(1 + random() % 20 * (random() % 2));
    const auto flow = static_cast<unsigned>(random() % 3);
    const auto path = path_of(host, static_cast<std::uint16_t>(1000 + flow));
    const std::uintptr_t number = number_ + 1;
    flow_of[number] = host * 3 + flow;
    expected[host * 3 + flow].push_back(number);
    if (light(segment(path, random() % 2 == 0 ? 0 : 1000))) {
      leaves(number);
    } else {
      ++inside;
    }
    if (random() % 16 != 0) continue;
    for (const std::uintptr_t out : take(random() % 30)) {
      leaves(out);
      --inside;
    }
    ASSERT_EQ(backlog_.size(), inside);
  }
  for (const std::uintptr_t out : take()) leaves(out);
  EXPECT_TRUE(backlog_.empty());
  for (const auto& [flow, numbers] : expected) EXPECT_TRUE(numbers.empty()) << flow;
}

}  // namespace
}  // namespace sluice::io
