#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <new>
#include <thread>
#include <vector>

#include "dataplane/mem/worker_memory.h"

namespace sluice::mem {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

TEST(WorkerMemory, AccountsAndHoldsItsLimit) {
  auto made = WorkerMemory::create(8 * kMiB, false);
  ASSERT_TRUE(made) << made.error();
  WorkerMemory& memory = **made;
  // A heap belongs to its thread: the worker's.
  std::thread([&memory] {
    ASSERT_TRUE(memory.bind());
    std::vector<void*> blocks;
    for (int i = 0; i < 7; ++i) {
      blocks.push_back(memory.allocate(kMiB, 64));
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(blocks.back()) % 64, 0u);
    }
    EXPECT_EQ(memory.used(), 7 * kMiB);
    EXPECT_THROW(static_cast<void>(memory.allocate(kMiB + 1)), std::bad_alloc);
    EXPECT_THROW(static_cast<void>(memory.allocate(SIZE_MAX)), std::bad_alloc);
    EXPECT_EQ(memory.refused(), 2u);
    blocks.push_back(memory.allocate(kMiB, 64));  // exactly full
    EXPECT_EQ(memory.used(), memory.limit());
    for (void* block : blocks) memory.deallocate(block, kMiB, 64);
    EXPECT_EQ(memory.used(), 0u);
    EXPECT_EQ(memory.peak(), 8 * kMiB);
    // What was given back can be had again, in pieces of every size.
    for (int round = 0; round < 50; ++round) {
      std::pmr::vector<std::pmr::vector<char>> all(&memory);
      for (std::size_t size = 1; size < 60000; size = size * 3 / 2 + 1) all.emplace_back(size, 'x');
    }
    EXPECT_EQ(memory.used(), 0u);
    memory.release();
  }).join();
}

TEST(WorkerMemory, SeveralWorkersSideBySide) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      auto made = WorkerMemory::create(4 * kMiB, false);
      ASSERT_TRUE(made);
      ASSERT_TRUE((*made)->bind());
      void* block = (*made)->allocate(3 * kMiB);
      EXPECT_THROW(static_cast<void>((*made)->allocate(2 * kMiB)), std::bad_alloc);
      (*made)->deallocate(block, 3 * kMiB);
      (*made)->release();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

std::size_t resident_octets() {
  std::ifstream file("/proc/self/statm");
  std::size_t size = 0;
  std::size_t resident = 0;
  file >> size >> resident;
  return resident * 4096;
}

TEST(WorkerMemory, PrefaultedMemoryIsThereAndServes) {
  const std::size_t before = resident_octets();
  auto made = WorkerMemory::create(64 * kMiB, false, true);
  ASSERT_TRUE(made) << made.error();
  EXPECT_GE(resident_octets(), before + 64 * kMiB);
  ASSERT_TRUE((*made)->bind());
  const std::size_t filled = resident_octets();
  std::vector<void*> blocks;
  for (int i = 0; i < 500; ++i) {
    blocks.push_back((*made)->allocate(100'000, 8));
    std::memset(blocks.back(), 0x5a, 100'000);
  }
  // 50 MB were written to, and next to no new page was needed.
  EXPECT_LT(resident_octets(), filled + 8 * kMiB);
  for (void* block : blocks) (*made)->deallocate(block, 100'000, 8);
  (*made)->release();
}

TEST(WorkerMemory, TooLittleIsRefused) { EXPECT_FALSE(WorkerMemory::create(1000, false)); }

}  // namespace
}  // namespace sluice::mem
