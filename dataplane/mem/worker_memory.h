// The memory of one worker: a mimalloc heap in an arena that nobody else allocates from, with an
// account and a hard limit, as a std::pmr::memory_resource for the inspection engine.
//
// Theory. mimalloc is the allocator of the whole process; a mi_heap belongs to the thread that made
// it. Reserving an exclusive arena for each worker keeps its flows, streams and messages together
// (and on huge pages where there are any), lets nobody else's allocation take that memory, and
// makes the limit real: the arena cannot grow. Without prefault the arena is address space until it
// is used.
//
// Small blocks that are given back are kept, a few of each size, and handed out again without
// asking mimalloc: most live as long as a message or a segment that is not acknowledged.
//
// The limit is the last line: the engine has bounds of its own below it, and declared policies for
// reaching them. An allocation past the limit throws std::bad_alloc, as std::pmr expects.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>

#include "dataplane/base/result.h"

struct mi_heap_s;

namespace sluice::mem {

class WorkerMemory final : public std::pmr::memory_resource {
 public:
  // Reserves an arena for `limit` octets (1 MiB or more) of live allocations, plus what mimalloc
  // needs beside them. `prefault`: every page is there from the start, so that the packet path
  // never takes a fault. Any thread. An error when the address space, or with prefault the memory,
  // cannot be had.
  static Result<std::unique_ptr<WorkerMemory>> create(std::size_t limit, bool large_pages,
                                                      bool prefault = false);
  ~WorkerMemory() override;
  WorkerMemory(const WorkerMemory&) = delete;
  WorkerMemory& operator=(const WorkerMemory&) = delete;

  // Makes the heap, by the thread that will use it; the first call on that thread. From then on
  // every call is made by that thread.
  Status bind();
  // Gives the heap back; the same thread, after the last deallocate().
  void release();

  std::size_t used() const { return used_; }          // octets asked for and not yet given back
  std::size_t peak() const { return peak_; }          // the most that used() has been
  std::size_t limit() const { return limit_; }        // octets
  std::uint64_t refused() const { return refused_; }  // allocations that would have passed limit()

 private:
  WorkerMemory(std::size_t limit, int arena) : limit_(limit), arena_(arena) {}
  void* do_allocate(std::size_t bytes, std::size_t alignment) override;
  void do_deallocate(void* p, std::size_t bytes, std::size_t alignment) override;
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    return this == &other;
  }

  struct Free {
    Free* next;
  };
  static constexpr std::size_t kStep = 16;     // sizes of small blocks are multiples of it
  static constexpr std::size_t kSmall = 1024;  // the largest of them
  static constexpr std::uint32_t kKept = 64;   // of each size
  struct Kept {
    Free* first = nullptr;
    std::uint32_t count = 0;
  };

  std::size_t limit_;
  int arena_;
  mi_heap_s* heap_ = nullptr;
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
  std::uint64_t refused_ = 0;
  std::array<Kept, kSmall / kStep + 1> kept_{};
};

}  // namespace sluice::mem
