// A single-producer, single-consumer ring of event records in shared memory: one per worker. The
// producer never waits: what does not fit is counted as lost. The consumer may die and come back;
// positions live in the ring. Positions only grow; index is position modulo capacity (a power of
// two). A record that would cross the end is preceded by a skip mark, so records are contiguous.
//
// Memory order: the producer publishes octets with a release store of `head`, the consumer frees
// them with a release store of `tail`. The consumer checks every size: the producer may have died
// in the middle of nothing (head is stored last), but memory is not trusted.
#pragma once

#include <atomic>
#include <cstring>

#include "dataplane/base/bytes.h"
#include "dataplane/contract/event_record.h"

namespace sluice::contract {

inline constexpr std::uint32_t kEventRingMagic = 0x534c4552;  // "SLER"
inline constexpr std::uint32_t kEventRingVersion = 1;

struct EventRingHeader {
  std::uint32_t magic = kEventRingMagic;
  std::uint32_t version = kEventRingVersion;
  std::uint64_t capacity = 0;  // octets, a power of two
  alignas(64) std::atomic<std::uint64_t> head{0};
  std::atomic<std::uint64_t> lost{0};
  alignas(64) std::atomic<std::uint64_t> tail{0};
};
static_assert(sizeof(EventRingHeader) == 192);

constexpr std::size_t event_ring_bytes(std::size_t capacity) {
  return sizeof(EventRingHeader) + capacity;
}

class EventRingProducer final : public EventSink {
 public:
  // `memory` holds event_ring_bytes(capacity) octets, 64-aligned, zeroed.
  static EventRingProducer create(void* memory, std::uint64_t capacity) {
    auto* header = new (memory) EventRingHeader;
    header->capacity = capacity;
    return EventRingProducer(header);
  }
  bool write(Bytes record) override {
    const std::uint64_t size = (record.size() + 7) & ~std::uint64_t{7};
    const std::uint64_t capacity = header_->capacity;
    std::uint64_t head = header_->head.load(std::memory_order_relaxed);
    const std::uint64_t tail = header_->tail.load(std::memory_order_acquire);
    const std::uint64_t to_end = capacity - (head & (capacity - 1));
    const std::uint64_t need = size <= to_end ? size : size + to_end;
    if (head + need - tail > capacity) {
      header_->lost.store(header_->lost.load(std::memory_order_relaxed) + 1,
                          std::memory_order_relaxed);
      return false;
    }
    if (size > to_end) {
      const std::uint32_t skip = 0;
      std::memcpy(data() + (head & (capacity - 1)), &skip, sizeof skip);
      head += to_end;
    }
    std::memcpy(data() + (head & (capacity - 1)), record.data(), record.size());
    header_->head.store(head + size, std::memory_order_release);
    return true;
  }
  std::uint64_t lost() const { return header_->lost.load(std::memory_order_relaxed); }

 private:
  explicit EventRingProducer(EventRingHeader* header) : header_(header) {}
  std::uint8_t* data() { return reinterpret_cast<std::uint8_t*>(header_ + 1); }
  EventRingHeader* header_;
};

class EventRingConsumer {
 public:
  // Checks the header of `memory`, `size` octets; an unusable ring gives a consumer with ok()
  // false.
  EventRingConsumer(void* memory, std::size_t size)
      : header_(static_cast<EventRingHeader*>(memory)) {
    ok_ = size >= sizeof(EventRingHeader) && header_->magic == kEventRingMagic &&
          header_->version == kEventRingVersion && std::has_single_bit(header_->capacity) &&
          event_ring_bytes(header_->capacity) <= size;
    capacity_ = ok_ ? header_->capacity : 0;
  }
  bool ok() const { return ok_; }
  // Calls `use(Bytes)` for up to `most` records; how many were read. A ring whose sizes make no
  // sense is emptied and counted in corrupt().
  template <typename Use>
  std::size_t read(std::size_t most, Use&& use) {
    if (!ok_) return 0;
    std::uint64_t tail = header_->tail.load(std::memory_order_relaxed);
    const std::uint64_t head = header_->head.load(std::memory_order_acquire);
    std::size_t count = 0;
    while (tail != head && count < most) {
      const std::uint64_t available = head - tail;
      const std::uint64_t index = tail & (capacity_ - 1);
      const std::uint64_t to_end = capacity_ - index;
      std::uint32_t size;
      if (available > capacity_ || available < 8) return discard(head, count);
      std::memcpy(&size, data() + index, sizeof size);
      if (size == 0) {
        if (to_end > available) return discard(head, count);
        tail += to_end;
        continue;
      }
      const std::uint64_t padded = (std::uint64_t{size} + 7) & ~std::uint64_t{7};
      if (padded > available || padded > to_end) return discard(head, count);
      use(Bytes(data() + index, size));
      tail += padded;
      ++count;
    }
    header_->tail.store(tail, std::memory_order_release);
    return count;
  }
  std::uint64_t lost() const { return ok_ ? header_->lost.load(std::memory_order_relaxed) : 0; }
  std::uint64_t corrupt() const { return corrupt_; }

 private:
  std::size_t discard(std::uint64_t head, std::size_t count) {
    ++corrupt_;
    header_->tail.store(head, std::memory_order_release);
    return count;
  }
  const std::uint8_t* data() const { return reinterpret_cast<const std::uint8_t*>(header_ + 1); }
  EventRingHeader* header_;
  std::uint64_t capacity_ = 0;
  std::uint64_t corrupt_ = 0;
  bool ok_ = false;
};

}  // namespace sluice::contract
