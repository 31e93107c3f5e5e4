// Octets of one direction's stream as they were first seen: those delivered but not acknowledged
// (retransmissions are compared with them) and those ahead of a hole. Ranges never overlap: what is
// there stays as it is. A list of blocks sorted by offset; in-order octets are appended to the last
// block, acknowledged blocks are freed from the front, neither walks the list.
//
// Bounded by the caller in octets and here in blocks (kMaxBlocks), so that scattered octets cannot
// make a walk long. The memory resource is passed to each call: an idle store is two pointers and
// three counts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory_resource>

#include "dataplane/base/bytes.h"

namespace sluice::tcp {

class SegmentStore {
 public:
  static constexpr std::uint32_t kMaxBlocks = 2048;

  struct Block {
    Block* next;
    Block* previous;
    std::uint64_t offset;
    std::uint32_t size;
    std::uint32_t capacity;

    std::uint64_t end() const { return offset + size; }
    std::uint8_t* data() { return reinterpret_cast<std::uint8_t*>(this + 1); }
    const std::uint8_t* data() const { return reinterpret_cast<const std::uint8_t*>(this + 1); }
    // From stream offset `from`, which must lie in the block, to its end.
    Bytes from(std::uint64_t from) const { return {data() + (from - offset), end() - from}; }
  };
  static_assert(sizeof(Block) == 32);

  bool empty() const { return head_ == nullptr; }
  std::uint32_t octets() const { return octets_; }
  std::uint32_t blocks() const { return blocks_; }
  std::size_t memory_used() const { return memory_used_; }
  const Block* front() const { return head_; }
  const Block* back() const { return tail_; }

  // Adds octets where there are none yet (the caller has looked). False when memory is refused or
  // kMaxBlocks is reached: some octets from the front may have been taken; `taken` says how many.
  bool insert(std::uint64_t offset, Bytes octets, std::pmr::memory_resource* memory,
              std::uint32_t& taken);
  // Frees whole blocks that end at or before `offset`.
  void free_before(std::uint64_t offset, std::pmr::memory_resource* memory) {
    while (head_ != nullptr && head_->end() <= offset) remove(head_, memory);
  }
  // Forgets everything from `offset` on.
  void drop_from(std::uint64_t offset, std::pmr::memory_resource* memory);
  void clear(std::pmr::memory_resource* memory) {
    while (head_ != nullptr) remove(head_, memory);
  }
  void free_front(std::pmr::memory_resource* memory) { remove(head_, memory); }

  // The first block that ends after `offset`; null: none.
  const Block* first_after(std::uint64_t offset) const;

  // Calls stored(at, Bytes) for each stored piece and missing(begin, end) for each hole of
  // [begin, end), in order. Neither may change the store.
  template <typename Stored, typename Missing>
  void visit(std::uint64_t begin, std::uint64_t end, Stored&& stored, Missing&& missing) const {
    const Block* b = begin < end ? first_after(begin) : nullptr;
    while (begin < end) {
      if (b == nullptr || b->offset >= end) {
        missing(begin, end);
        return;
      }
      if (b->offset > begin) {
        missing(begin, b->offset);
        begin = b->offset;
      }
      const std::uint64_t piece_end = std::min(end, b->end());
      stored(begin, b->from(begin).first(piece_end - begin));
      begin = piece_end;
      b = b->next;
    }
  }

 private:
  Block* make(std::uint64_t offset, std::uint32_t capacity, Block* after,
              std::pmr::memory_resource* memory);
  void remove(Block* block, std::pmr::memory_resource* memory);

  Block* head_ = nullptr;
  Block* tail_ = nullptr;
  std::uint32_t octets_ = 0;
  std::uint32_t blocks_ = 0;
  std::uint32_t memory_used_ = 0;
};

}  // namespace sluice::tcp
