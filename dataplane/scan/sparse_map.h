// A small map of 32-bit keys to 32-bit masks for what few of many rules touch: memory in proportion
// to what was touched, cleared in one step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <vector>

namespace sluice::scan {

class SparseMap {
 public:
  explicit SparseMap(std::pmr::memory_resource* memory) : slots_(memory) {}

  // The mask of `key`, made 0 if it was not there. Valid until the next call.
  std::uint32_t& operator[](std::uint32_t key) {
    if ((used_ + 1) * 4 > slots_.size() * 3) grow();
    Slot& slot = find(key);
    if (slot.key == kFree) {
      slot = {key + 1, 0};
      ++used_;
    }
    return slot.mask;
  }
  bool empty() const { return used_ == 0; }
  bool contains(std::uint32_t key) { return used_ != 0 && find(key).key != kFree; }
  template <typename Visit>
  void for_each(Visit visit) const {
    if (used_ == 0) return;
    for (const Slot& slot : slots_) {
      if (slot.key != kFree) visit(slot.key - 1, slot.mask);
    }
  }
  void clear() {
    if (used_ == 0) return;
    slots_.assign(slots_.size(), Slot{});
    used_ = 0;
  }
  // Gives back what an empty map holds.
  void shrink() {
    if (used_ == 0) slots_ = std::pmr::vector<Slot>(slots_.get_allocator());
  }
  std::size_t memory_used() const { return slots_.capacity() * sizeof(Slot); }

 private:
  static constexpr std::uint32_t kFree = 0;
  struct Slot {
    std::uint32_t key = kFree;  // plus 1
    std::uint32_t mask = 0;
  };

  Slot& find(std::uint32_t key) {
    // The keys are indexes of a table that an attacker cannot choose; multiplying spreads runs.
    const std::size_t mask = slots_.size() - 1;
    std::size_t i = (key * std::size_t{0x9E3779B1u} >> 8) & mask;
    while (slots_[i].key != kFree && slots_[i].key != key + 1) i = (i + 1) & mask;
    return slots_[i];
  }
  void grow() {
    std::pmr::vector<Slot> old(slots_.get_allocator());
    old.swap(slots_);
    slots_.assign(old.empty() ? 8 : old.size() * 2, Slot{});
    for (const Slot& slot : old) {
      if (slot.key != kFree) find(slot.key - 1) = slot;
    }
  }

  std::pmr::vector<Slot> slots_;
  std::size_t used_ = 0;
};

}  // namespace sluice::scan
