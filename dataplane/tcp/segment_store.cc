#include "dataplane/tcp/segment_store.h"

#include <new>

namespace sluice::tcp {

namespace {
constexpr std::uint32_t kHeader = sizeof(SegmentStore::Block);
// Sizes of whole allocations: a command or reply, a few segments, a stretch of a message.
constexpr std::uint32_t kSmall = 256, kMiddle = 2048, kLarge = 8192;
constexpr std::uint32_t kIsland = 128;

std::uint32_t capacity_for(std::size_t octets, const SegmentStore::Block* neighbour) {
  std::uint32_t whole = kIsland;
  if (neighbour != nullptr) {
    // The stream goes on: grow, so that small segments share blocks.
    const std::uint32_t before = neighbour->capacity + kHeader;
    whole = before < kSmall ? kSmall : before < kMiddle ? kMiddle : kLarge;
  }
  for (const std::uint32_t larger : {kSmall, kMiddle, kLarge}) {
    if (octets + kHeader > whole && whole < larger) whole = larger;
  }
  return whole - kHeader;
}
}  // namespace

SegmentStore::Block* SegmentStore::make(std::uint64_t offset, std::uint32_t capacity, Block* after,
                                        std::pmr::memory_resource* memory) {
  if (blocks_ >= kMaxBlocks) return nullptr;
  void* place = nullptr;
  try {
    place = memory->allocate(kHeader + capacity, alignof(Block));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  Block* next = after == nullptr ? head_ : after->next;
  auto* block = new (place) Block{next, after, offset, 0, capacity};
  (after == nullptr ? head_ : after->next) = block;
  (next == nullptr ? tail_ : next->previous) = block;
  ++blocks_;
  memory_used_ += kHeader + capacity;
  return block;
}

void SegmentStore::remove(Block* block, std::pmr::memory_resource* memory) {
  (block->previous == nullptr ? head_ : block->previous->next) = block->next;
  (block->next == nullptr ? tail_ : block->next->previous) = block->previous;
  octets_ -= block->size;
  --blocks_;
  memory_used_ -= kHeader + block->capacity;
  memory->deallocate(block, kHeader + block->capacity, alignof(Block));
}

const SegmentStore::Block* SegmentStore::first_after(std::uint64_t offset) const {
  if (tail_ == nullptr || tail_->end() <= offset) return nullptr;
  // Retransmissions are near the front, segments ahead near the back.
  if (offset < head_->offset || offset - head_->offset < tail_->end() - offset) {
    const Block* b = head_;
    while (b->end() <= offset) b = b->next;
    return b;
  }
  const Block* b = tail_;
  while (b->previous != nullptr && b->previous->end() > offset) b = b->previous;
  return b;
}

bool SegmentStore::insert(std::uint64_t offset, Bytes octets, std::pmr::memory_resource* memory,
                          std::uint32_t& taken) {
  taken = 0;
  Block* next = nullptr;
  Block* previous = tail_;
  if (tail_ != nullptr && tail_->end() > offset) {
    next = const_cast<Block*>(first_after(offset));
    previous = next->previous;
  }
  while (!octets.empty()) {
    const bool joins = previous != nullptr && previous->end() == offset;
    if (joins && previous->size < previous->capacity) {
      const auto n = static_cast<std::uint32_t>(
          std::min<std::size_t>(octets.size(), previous->capacity - previous->size));
      std::memcpy(previous->data() + previous->size, octets.data(), n);
      previous->size += n;
      octets_ += n;
      taken += n;
      offset += n;
      octets = octets.subspan(n);
      continue;
    }
    // Segments that come in reverse order share a block too.
    if (next != nullptr && next->offset == offset + octets.size() &&
        octets.size() <= next->capacity - next->size) {
      const auto n = static_cast<std::uint32_t>(octets.size());
      std::memmove(next->data() + n, next->data(), next->size);
      std::memcpy(next->data(), octets.data(), n);
      next->offset = offset;
      next->size += n;
      octets_ += n;
      taken += n;
      return true;
    }
    Block* fresh =
        make(offset, capacity_for(octets.size(), joins ? previous : nullptr), previous, memory);
    if (fresh == nullptr) return false;
    previous = fresh;
    next = fresh->next;
    const auto n =
        static_cast<std::uint32_t>(std::min<std::size_t>(octets.size(), fresh->capacity));
    std::memcpy(fresh->data(), octets.data(), n);
    fresh->size = n;
    octets_ += n;
    taken += n;
    offset += n;
    octets = octets.subspan(n);
  }
  if (next != nullptr && previous != nullptr && previous->end() == next->offset &&
      next->size <= previous->capacity - previous->size) {
    // The hole between two small blocks is filled: one will do.
    std::memcpy(previous->data() + previous->size, next->data(), next->size);
    previous->size += next->size;
    octets_ += next->size;
    remove(next, memory);
  }
  return true;
}

void SegmentStore::drop_from(std::uint64_t offset, std::pmr::memory_resource* memory) {
  while (tail_ != nullptr && tail_->offset >= offset) remove(tail_, memory);
  if (tail_ != nullptr && tail_->end() > offset) {
    const auto keep = static_cast<std::uint32_t>(offset - tail_->offset);
    octets_ -= tail_->size - keep;
    tail_->size = keep;
  }
}

}  // namespace sluice::tcp
