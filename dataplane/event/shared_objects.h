// The two objects that this process shares with control: the statistics and the event rings. Each
// is a memfd, sealed against resizing, whose descriptor goes out with every Hello. They live as
// long as somebody maps them: control can read the last words of a dataplane that has died.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "dataplane/base/result.h"
#include "dataplane/contract/event_ring.h"
#include "dataplane/contract/statistics.h"

namespace sluice::event {

// An anonymous, zeroed, mapped memfd of fixed size.
class SharedMemory {
 public:
  static Result<SharedMemory> create(const char* name, std::size_t size);
  ~SharedMemory();
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&&) = delete;
  std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }
  int descriptor() const { return descriptor_; }

 private:
  SharedMemory() = default;
  int descriptor_ = -1;
  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

class StatisticsObject {
 public:
  static Result<StatisticsObject> create(unsigned workers);
  // Written by that worker alone.
  contract::WorkerStatistics& worker(unsigned index) const;
  int descriptor() const { return memory_.descriptor(); }
  std::size_t size() const { return memory_.size(); }

 private:
  explicit StatisticsObject(SharedMemory memory) : memory_(std::move(memory)) {}
  SharedMemory memory_;
};

// A worker's end of its ring. Numbers the records: `sequence` of the header is set here, so that
// records of the engine and of the process itself share one count, and a lost one leaves a gap. A
// snapshot_end gets the identity of the request that it answers. Does not count: the writer does.
// The worker's thread only.
class RingSink final : public contract::EventSink {
 public:
  // `memory`: of one ring, freshly made (EventRings::memory()).
  RingSink(void* memory, std::uint64_t capacity)
      : header_(static_cast<const contract::EventRingHeader*>(memory)),
        ring_(contract::EventRingProducer::create(memory, capacity)) {}
  bool write(Bytes record) override;
  // Given back in the next snapshot_end.
  void set_snapshot_identity(std::uint32_t identity) { snapshot_identity_ = identity; }
  // True when less than half of the ring waits to be read.
  bool roomy() const {
    return (header_->head.load(std::memory_order_relaxed) -
            header_->tail.load(std::memory_order_relaxed)) *
               2 <
           header_->capacity;
  }

 private:
  const contract::EventRingHeader* header_;
  contract::EventRingProducer ring_;
  std::uint64_t sequence_ = 0;
  std::uint32_t snapshot_identity_ = 0;
  alignas(8) std::uint8_t copy_[contract::kMaxEventSize];
};

class EventRings {
 public:
  // `capacity`: octets of each ring, a power of two, at least 64 KiB.
  static Result<EventRings> create(unsigned workers, std::uint64_t capacity);
  // Where the ring of a worker stands; its RingSink makes the ring.
  void* memory(unsigned index) const { return memory_.data() + index * stride(capacity_); }
  std::uint64_t capacity() const { return capacity_; }
  int descriptor() const { return memory_.descriptor(); }

 private:
  EventRings(SharedMemory memory, std::uint64_t capacity)
      : memory_(std::move(memory)), capacity_(capacity) {}
  static std::size_t stride(std::uint64_t capacity) {
    return (contract::event_ring_bytes(capacity) + 4095) & ~std::size_t{4095};
  }
  SharedMemory memory_;
  std::uint64_t capacity_;
};

}  // namespace sluice::event
