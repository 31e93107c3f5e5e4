#include "dataplane/mem/worker_memory.h"

#include <mimalloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <utility>

namespace sluice::mem {

namespace {

// mimalloc's segments are 32 MiB; a heap holds a few that are not full, and large blocks round up.
constexpr std::size_t kSegment = std::size_t{32} << 20;
constexpr std::size_t kSlackSegments = 4;
constexpr std::size_t kLeast = std::size_t{1} << 20;

// As mi_reserve_os_memory_ex() with every page touched. Never given back: an arena lives as long as
// the process.
Result<mi_arena_id_t> touched_arena(std::size_t size) {
  // mimalloc looks its segments up by address: the arena begins at a multiple of their alignment.
  constexpr std::size_t kAlignment = std::size_t{64} << 20;
  void* mapped = ::mmap(nullptr, size + kAlignment, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return Error{std::strerror(errno)};
  const auto at = reinterpret_cast<std::uintptr_t>(mapped);
  const std::uintptr_t start = (at + kAlignment - 1) & ~(kAlignment - 1);
  void* memory = static_cast<std::uint8_t*>(mapped) + (start - at);
  mi_arena_id_t arena = 0;
  // All of it will be there: in large pages where the kernel gives them, since what a worker waits
  // for among many flows is the page tables. A kernel without them says so, and nothing is lost.
  if (::madvise(memory, size, MADV_HUGEPAGE) != 0) errno = 0;
  if (::madvise(memory, size, MADV_POPULATE_WRITE) != 0 ||
      !mi_manage_os_memory_ex(memory, size, true, false, true, -1, true, &arena)) {
    const Error error{errno != 0 ? std::strerror(errno) : "mimalloc does not take it"};
    ::munmap(mapped, size + kAlignment);
    return error;
  }
  return arena;
}

}  // namespace

Result<std::unique_ptr<WorkerMemory>> WorkerMemory::create(std::size_t limit, bool large_pages,
                                                           bool prefault) {
  if (limit < kLeast) {
    return Error{"worker memory of " + std::to_string(limit) + " octets is too little: give 1 MiB"};
  }
  const std::size_t with_overhead = limit + limit / 4;
  const std::size_t arena_size =
      ((with_overhead + kSegment - 1) / kSegment + kSlackSegments) * kSegment;
  if (prefault && !large_pages) {
    const auto touched = touched_arena(arena_size);
    if (!touched)
      return Error{"cannot touch " + std::to_string(arena_size >> 20) +
                   " MiB for a worker (--prefault): " + touched.error()};
    return std::unique_ptr<WorkerMemory>(new WorkerMemory(limit, *touched));
  }
  mi_arena_id_t arena = 0;
  const int failed = mi_reserve_os_memory_ex(arena_size, false, large_pages, true, &arena);
  if (failed != 0) {
    return Error{"cannot reserve " + std::to_string(arena_size >> 20) +
                 " MiB of address space for a worker (is `ulimit -v` set?)"};
  }
  return std::unique_ptr<WorkerMemory>(new WorkerMemory(limit, arena));
}

WorkerMemory::~WorkerMemory() = default;

Status WorkerMemory::bind() {
  heap_ = mi_heap_new_in_arena(arena_);
  if (heap_ == nullptr) return Error{"mimalloc gave no heap for a worker"};
  return ok();
}

void WorkerMemory::release() {
  for (Kept& kept : kept_) {
    while (kept.first != nullptr) mi_free(std::exchange(kept.first, kept.first->next));
    kept.count = 0;
  }
  if (heap_ != nullptr) mi_heap_delete(heap_);
  heap_ = nullptr;
}

void* WorkerMemory::do_allocate(std::size_t bytes, std::size_t alignment) {
  if (heap_ == nullptr || bytes > limit_ - std::min(limit_, used_)) {
    ++refused_;
    throw std::bad_alloc();
  }
  void* p = nullptr;
  if (bytes <= kSmall && alignment <= kStep) [[likely]] {
    Kept& kept = kept_[(bytes + kStep - 1) / kStep];
    if (kept.first != nullptr) {
      p = std::exchange(kept.first, kept.first->next);
      --kept.count;
    } else {
      p = mi_heap_malloc(heap_, std::max((bytes + kStep - 1) / kStep, std::size_t{1}) * kStep);
    }
  } else {
    p = mi_heap_malloc_aligned(heap_, bytes, alignment);
  }
  if (p == nullptr) {
    ++refused_;
    throw std::bad_alloc();
  }
  used_ += bytes;
  peak_ = std::max(peak_, used_);
  return p;
}

void WorkerMemory::do_deallocate(void* p, std::size_t bytes, std::size_t alignment) {
  used_ -= bytes;
  if (bytes > kSmall || alignment > kStep) return mi_free(p);
  Kept& kept = kept_[(bytes + kStep - 1) / kStep];
  if (kept.count == kKept) return mi_free(p);
  kept.first = new (p) Free{kept.first};
  ++kept.count;
}

}  // namespace sluice::mem
