// The ring between two threads, as between the two processes; run under TSan too.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "dataplane/contract/event_ring.h"

namespace sluice::contract {
namespace {

TEST(EventRingThreads, NothingIsTornAndLossesAreExact) {
  constexpr std::uint64_t kCapacity = 1 << 14;
  constexpr std::uint64_t kRecords = 200'000;
  std::vector<std::uint8_t> memory(event_ring_bytes(kCapacity) + 64);
  void* at = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64);
  auto producer = EventRingProducer::create(at, kCapacity);
  std::atomic<bool> done{false};
  std::thread writer([&] {
    std::vector<std::uint8_t> r;
    for (std::uint64_t i = 1; i <= kRecords; ++i) {
      r.assign(16 + i % 300, static_cast<std::uint8_t>(i));
      const auto size = static_cast<std::uint32_t>(r.size());
      std::memcpy(r.data(), &size, sizeof size);
      std::memcpy(r.data() + 8, &i, sizeof i);
      producer.write(r);
    }
    done.store(true, std::memory_order_release);
  });
  EventRingConsumer consumer(at, memory.size() - 64);
  std::uint64_t last = 0;
  std::uint64_t read = 0;
  for (;;) {
    const bool end = done.load(std::memory_order_acquire);
    const std::size_t n = consumer.read(64, [&](Bytes b) {
      std::uint64_t i;
      std::memcpy(&i, b.data() + 8, sizeof i);
      ASSERT_GT(i, last);
      ASSERT_EQ(b.size(), 16 + i % 300);
      if (b.size() > 16) {
        ASSERT_EQ(b.back(), static_cast<std::uint8_t>(i));
      }
      last = i;
      ++read;
    });
    if (n == 0 && end) break;
  }
  writer.join();
  EXPECT_EQ(read + consumer.lost(), kRecords);
  EXPECT_EQ(consumer.corrupt(), 0u);
}

}  // namespace
}  // namespace sluice::contract
