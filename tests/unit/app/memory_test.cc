#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <new>
#include <random>
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

TEST(WorkerMemory, BlocksThatAreKeptAreNobodysUntilHandedOut) {
  auto memory = WorkerMemory::create(8 * kMiB, false);
  ASSERT_TRUE(memory);
  ASSERT_TRUE((*memory)->bind());
  struct Block {
    std::uint8_t* octets;
    std::size_t size;
    std::size_t alignment;
    std::uint8_t mark;
  };
  std::vector<Block> blocks;
  std::minstd_rand random(3);
  std::size_t used = 0;
  for (int step = 0; step < 20000; ++step) {
    // Waves, so that more blocks of a size are given back than are kept.
    const bool takes = blocks.empty() || random() % 8 < (step / 2000 % 2 == 0 ? 6u : 2u);
    if (takes) {
      const std::size_t alignment = std::size_t{1} << random() % 7;
      const std::size_t size = random() % 8 == 0 ? random() % 5000 : random() % 80;
      const auto mark = static_cast<std::uint8_t>(random());
      auto* const octets = static_cast<std::uint8_t*>((*memory)->allocate(size, alignment));
      ASSERT_EQ(reinterpret_cast<std::uintptr_t>(octets) % alignment, 0u) << size;
      std::fill_n(octets, size, mark);
      blocks.push_back({octets, size, alignment, mark});
      used += size;
    } else {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      const Block b = blocks.back();
      blocks.pop_back();
      ASSERT_TRUE(std::all_of(b.octets, b.octets + b.size, [&](auto o) { return o == b.mark; }));
      (*memory)->deallocate(b.octets, b.size, b.alignment);
      used -= b.size;
    }
    ASSERT_EQ((*memory)->used(), used);
  }
  for (const Block& b : blocks) (*memory)->deallocate(b.octets, b.size, b.alignment);
  EXPECT_EQ((*memory)->used(), 0u);
  (*memory)->release();
}

TEST(WorkerMemory, TooLittleIsRefused) { EXPECT_FALSE(WorkerMemory::create(1000, false)); }

}  // namespace
}  // namespace sluice::mem
