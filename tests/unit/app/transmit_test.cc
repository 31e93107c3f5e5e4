// Transmit accounting against a device that does as it is told: a ring whose other end the test
// holds. Every frame given is sent or counted, and freed, exactly once (case D09).
#include "dataplane/io/transmit.h"

#include <gtest/gtest.h>
#include <rte_eth_ring.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/io/eal.h"
#include "dataplane/io/mbuf_pool.h"

namespace sluice::io {
namespace {

using contract::Counter;
using contract::DropReason;

constexpr unsigned kBuffers = 8192;
constexpr unsigned kRing = 128;

// One EAL a process.
class Eal : public testing::Environment {
 public:
  void SetUp() override {
    EalSettings settings;
    settings.memory_mib = 80;
    const Status started = start_eal(settings);
    ASSERT_TRUE(started) << started.error();
    Result<rte_mempool*> made = make_mbuf_pool(kBuffers);
    ASSERT_TRUE(made) << made.error();
    pool = *made;
  }
  static inline rte_mempool* pool = nullptr;
};
const auto* const environment = testing::AddGlobalTestEnvironment(new Eal);

class Transmit : public testing::Test {
 protected:
  Transmit() {
    static int number = 0;
    const std::string name = "fake" + std::to_string(number++);
    ring_ = rte_ring_create((name + "tx").c_str(), kRing, SOCKET_ID_ANY, RING_F_EXACT_SZ);
    receive_ = rte_ring_create((name + "rx").c_str(), kRing, SOCKET_ID_ANY, 0);
    const int device = rte_eth_from_rings(name.c_str(), &receive_, 1, &ring_, 1, 0);
    EXPECT_GE(device, 0);
    Result<std::unique_ptr<Port>> port =
        Port::adopt(static_cast<std::uint16_t>(device), name, 1500, Eal::pool);
    EXPECT_TRUE(port) << port.error();
    port_ = std::move(*port);
    free_at_start_ = rte_mempool_avail_count(Eal::pool);
  }
  ~Transmit() override { port_->close(); }

  static rte_mbuf* frame(std::uint16_t size = 64, std::uint32_t number = 0) {
    rte_mbuf* made = rte_pktmbuf_alloc(Eal::pool);
    if (made == nullptr) std::abort();
    char* octets = rte_pktmbuf_append(made, size);
    std::memset(octets, 0, size);
    std::memcpy(octets + 20, &number, sizeof number);
    return made;
  }
  // The device completes up to `most` frames; their numbers.
  std::vector<std::uint32_t> complete(unsigned most = UINT32_MAX) {
    std::vector<std::uint32_t> numbers;
    void* sent = nullptr;
    while (numbers.size() < most && rte_ring_dequeue(ring_, &sent) == 0) {
      auto* mbuf = static_cast<rte_mbuf*>(sent);
      std::uint32_t number;
      std::memcpy(&number, rte_pktmbuf_mtod(mbuf, char*) + 20, sizeof number);
      numbers.push_back(number);
      EXPECT_EQ(rte_mbuf_refcnt_read(mbuf), 1);
      rte_pktmbuf_free(mbuf);
    }
    return numbers;
  }
  void expect_all_free() const { EXPECT_EQ(rte_mempool_avail_count(Eal::pool), free_at_start_); }
  std::uint64_t drops(DropReason reason) const { return statistics_.read(reason); }

  rte_ring* ring_ = nullptr;
  rte_ring* receive_ = nullptr;
  std::unique_ptr<Port> port_;
  unsigned free_at_start_ = 0;
  contract::WorkerStatistics statistics_;
};

TEST_F(Transmit, D09_BatchesOf64WithALastOf51) {
  TransmitQueue queue(*port_, 0, false);
  TransmitBuffer buffer(queue, statistics_);
  std::uint32_t next = 0;
  std::uint32_t expected = 0;
  for (int round = 0; round < 10000; ++round) {
    const int batch = round == 9999 ? 51 : 64;
    for (int i = 0; i < batch; ++i) EXPECT_TRUE(buffer.push(frame(64, next++), Sent::forwarded));
    buffer.flush();
    for (const std::uint32_t number : complete()) ASSERT_EQ(number, expected++);
  }
  EXPECT_EQ(expected, 9999u * 64 + 51);
  EXPECT_EQ(buffer.sent(), expected);
  EXPECT_EQ(drops(DropReason::transmit_full), 0u);
  expect_all_free();
}

TEST_F(Transmit, D09_CompletionsStop) {
  TransmitQueue queue(*port_, 0, false);
  TransmitBuffer buffer(queue, statistics_);
  // Nothing is completed for far longer than any wait: the ring fills, then all else is dropped.
  constexpr std::uint32_t kFrames = 64 * 2000;
  for (std::uint32_t i = 0; i < kFrames; ++i) buffer.push(frame(64, i), Sent::forwarded);
  buffer.flush();
  EXPECT_EQ(buffer.sent(), kRing);
  EXPECT_EQ(drops(DropReason::transmit_full), kFrames - kRing);
  // What was dropped is not counted as forwarded too.
  EXPECT_EQ(statistics_.read(Counter::frames_forwarded), kRing);
  EXPECT_EQ(statistics_.read(Counter::bytes_forwarded), kRing * 64);
  // It goes on: the first frames are there, in order, and new ones follow.
  std::uint32_t expected = 0;
  for (const std::uint32_t number : complete()) EXPECT_EQ(number, expected++);
  EXPECT_EQ(expected, kRing);
  for (std::uint32_t i = 0; i < 32; ++i) buffer.push(frame(64, i), Sent::forwarded);
  buffer.flush();
  EXPECT_EQ(complete().size(), 32u);
  EXPECT_EQ(drops(DropReason::transmit_full), kFrames - kRing);
  expect_all_free();
}

TEST_F(Transmit, D09_ABurstIsTakenInPart) {
  TransmitQueue queue(*port_, 0, false);
  TransmitBuffer buffer(queue, statistics_);
  std::uint64_t given = 0;
  std::uint64_t completed = 0;
  // The device takes between 0 and all of each burst of 32.
  for (unsigned round = 0; round < 3000; ++round) {
    for (int i = 0; i < 32; ++i) buffer.push(frame(), Sent::forwarded);
    given += 32;
    buffer.flush();
    EXPECT_TRUE(buffer.empty());
    completed += complete(round % 34).size();
  }
  completed += complete().size();
  EXPECT_EQ(buffer.sent(), completed);
  EXPECT_EQ(completed + drops(DropReason::transmit_full), given);
  EXPECT_GT(drops(DropReason::transmit_full), 0u);
  expect_all_free();
}

TEST_F(Transmit, D14_APortThatIsDownDropsAndCounts) {
  TransmitQueue queue(*port_, 0, false);
  TransmitBuffer buffer(queue, statistics_);
  EXPECT_TRUE(port_->set_link(false));
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(buffer.push(frame(), Sent::forwarded));
  buffer.flush();
  EXPECT_TRUE(complete().empty());
  EXPECT_EQ(drops(DropReason::peer_down), 100u);
  EXPECT_EQ(statistics_.read(Counter::frames_forwarded), 0u);
  EXPECT_TRUE(port_->set_link(true));
  EXPECT_TRUE(buffer.push(frame(), Sent::forwarded));
  buffer.flush();
  EXPECT_EQ(complete().size(), 1u);
  expect_all_free();
}

TEST_F(Transmit, D07_TagsDoNotCountAgainstTheMtu) {
  TransmitQueue queue(*port_, 0, false);
  TransmitBuffer buffer(queue, statistics_);
  const auto tagged = [](std::uint16_t size, unsigned tags) {
    rte_mbuf* made = frame(size);
    auto* octets = rte_pktmbuf_mtod(made, std::uint8_t*);
    for (unsigned i = 0; i < tags; ++i) {
      octets[12 + 4 * i] = 0x81;
      octets[13 + 4 * i] = 0x00;
    }
    octets[12 + 4 * tags] = 0x08;
    return made;
  };
  EXPECT_TRUE(buffer.push(tagged(1514, 0), Sent::forwarded));
  EXPECT_FALSE(buffer.push(tagged(1515, 0), Sent::forwarded));
  EXPECT_TRUE(buffer.push(tagged(1518, 1), Sent::forwarded));
  EXPECT_FALSE(buffer.push(tagged(1519, 1), Sent::forwarded));
  EXPECT_TRUE(buffer.push(tagged(1522, 2), Sent::forwarded));
  EXPECT_TRUE(buffer.push(tagged(1526, 3), Sent::forwarded));
  EXPECT_FALSE(buffer.push(tagged(1527, 3), Sent::forwarded));
  buffer.flush();
  EXPECT_EQ(complete().size(), 4u);
  EXPECT_EQ(drops(DropReason::oversize), 3u);
  expect_all_free();
}

TEST_F(Transmit, EachFrameCountsAsWhatItIs) {
  TransmitQueue queue(*port_, 0, false);
  TransmitBuffer buffer(queue, statistics_);
  buffer.push(frame(100), Sent::forwarded);
  buffer.push(frame(200), Sent::changed);
  buffer.push(frame(300), Sent::injected);
  buffer.push(frame(400), Sent::forwarded);
  EXPECT_EQ(statistics_.read(Counter::frames_forwarded), 0u) << "not before the device has it";
  buffer.flush();
  EXPECT_EQ(statistics_.read(Counter::frames_forwarded), 2u);
  EXPECT_EQ(statistics_.read(Counter::bytes_forwarded), 500u);
  EXPECT_EQ(statistics_.read(Counter::frames_changed), 1u);
  EXPECT_EQ(statistics_.read(Counter::frames_injected), 1u);
  EXPECT_EQ(complete().size(), 4u);
  expect_all_free();
}

TEST_F(Transmit, WhatWasNotFlushedIsFreed) {
  TransmitQueue queue(*port_, 0, false);
  {
    TransmitBuffer buffer(queue, statistics_);
    for (int i = 0; i < 10; ++i) buffer.push(frame(), Sent::forwarded);
  }
  EXPECT_TRUE(complete().empty());
  expect_all_free();
}

TEST_F(Transmit, WorkersShareAQueueWithoutLoss) {
  TransmitQueue queue(*port_, 0, true);
  constexpr std::uint32_t kEach = 20000;
  std::atomic<int> running{2};
  contract::WorkerStatistics statistics[2];
  std::atomic<std::uint64_t> sent{0};
  std::vector<std::thread> workers;
  for (int w = 0; w < 2; ++w) {
    workers.emplace_back([&, w] {
      {
        TransmitBuffer buffer(queue, statistics[w]);
        for (std::uint32_t i = 0; i < kEach; ++i) buffer.push(frame(), Sent::forwarded);
        buffer.flush();
        sent += buffer.sent();
      }
      --running;
    });
  }
  std::uint64_t completed = 0;
  while (running > 0) completed += complete().size();
  for (std::thread& worker : workers) worker.join();
  completed += complete().size();
  EXPECT_EQ(completed, sent.load());
  EXPECT_EQ(completed + statistics[0].read(DropReason::transmit_full) +
                statistics[1].read(DropReason::transmit_full),
            2 * kEach);
  expect_all_free();
}

}  // namespace
}  // namespace sluice::io
