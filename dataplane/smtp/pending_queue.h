// Commands that wait for their replies, in order. The usual few stand in the object itself; a
// pipelining client's are in one block that grows to the limit.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <utility>

#include "dataplane/smtp/line_buffer.h"
#include "dataplane/smtp/session.h"

namespace sluice::smtp {

enum class Slot : std::uint8_t {
  other,  // one reply, no state hangs on it
  helo,
  ehlo,
  lhlo,
  mail,
  rcpt,
  rset,
  quit,
  data,
  data_between,  // DATA while a message in chunks is open
  perhaps_data,  // a verb that we do not know, whose server may
  end_of_data,
  bdat,
  bdat_last,
  bad_bdat,
  auth,
  starttls,
  xclient,
  xforward,
};

// Commands that belong to a transaction or open one.
constexpr bool concerns_transaction(Slot slot) {
  return slot == Slot::mail || slot == Slot::rcpt || slot == Slot::data ||
         slot == Slot::data_between || slot == Slot::bdat || slot == Slot::bdat_last ||
         slot == Slot::bad_bdat;
}

struct Pending {
  TransactionId tx = 0;      // it belongs to; 0: none
  std::uint32_t detail = 0;  // rcpt: index; end_of_data, bdat_last: replies had (LMTP)
  Slot slot = Slot::other;
  // data, bdat, bad_bdat: the octets that follow were kept for a second reading; auth: its exchange
  bool kept = false;
};

class PendingQueue {
 public:
  PendingQueue() = default;
  PendingQueue(const PendingQueue&) = delete;
  PendingQueue& operator=(const PendingQueue&) = delete;

  bool empty() const { return size_ == 0; }
  std::uint32_t size() const { return size_; }
  Pending& front() { return at(0); }
  Pending& back() { return at(size_ - 1); }
  Pending& at(std::uint32_t i) { return entries()[(first_ + i) & (capacity_ - 1)]; }
  const Pending& at(std::uint32_t i) const {
    return const_cast<PendingQueue*>(this)->at(i);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  }

  // False when there is no room and no memory: the caller retires the oldest first.
  bool push(const Pending& entry, std::pmr::memory_resource* memory) {
    if (size_ == capacity_ && !grow(memory)) return false;
    ++size_;
    back() = entry;
    return true;
  }
  // In front of the others.
  bool push_front(const Pending& entry, std::pmr::memory_resource* memory) {
    if (size_ == capacity_ && !grow(memory)) return false;
    first_ = (first_ - 1) & (capacity_ - 1);
    ++size_;
    front() = entry;
    return true;
  }
  Pending pop() {
    const Pending entry = front();
    first_ = (first_ + 1) & (capacity_ - 1);
    --size_;
    return entry;
  }
  void erase(std::uint32_t i) {
    for (; i + 1 < size_; ++i) at(i) = at(i + 1);
    --size_;
  }
  void swap(PendingQueue& other) {
    std::swap(block_, other.block_);
    std::swap(capacity_, other.capacity_);
    std::swap(first_, other.first_);
    std::swap(size_, other.size_);
    std::swap(inline_, other.inline_);
  }
  void release(std::pmr::memory_resource* memory) {
    if (block_) memory->deallocate(block_, capacity_ * sizeof(Pending), alignof(Pending));
    block_ = nullptr;
    capacity_ = kInline;
    first_ = 0;
    size_ = 0;
  }
  std::size_t memory_used() const { return block_ ? capacity_ * sizeof(Pending) : 0; }

 private:
  static constexpr std::uint32_t kInline = 8;

  Pending* entries() { return block_ ? block_ : inline_; }
  bool grow(std::pmr::memory_resource* memory) {
    const std::uint32_t capacity = capacity_ * 2;
    auto* block =
        static_cast<Pending*>(try_allocate(memory, capacity * sizeof(Pending), alignof(Pending)));
    if (!block) return false;
    for (std::uint32_t i = 0; i < size_; ++i) block[i] = at(i);
    if (block_) memory->deallocate(block_, capacity_ * sizeof(Pending), alignof(Pending));
    block_ = block;
    capacity_ = capacity;
    first_ = 0;
    return true;
  }

  Pending* block_ = nullptr;
  std::uint32_t capacity_ = kInline;  // a power of two
  std::uint32_t first_ = 0;
  std::uint32_t size_ = 0;
  Pending inline_[kInline];
};

}  // namespace sluice::smtp
