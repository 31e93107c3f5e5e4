// A memory resource with a bound: std::bad_alloc at the bound, exact accounting. The engine catches
// it where a flow begins to be handled and applies the declared policy. One thread.
//
// One within another (a flow's within the worker's) counts for both in one call.
#pragma once

#include <cstddef>
#include <memory_resource>
#include <new>

namespace sluice {

class LimitedResource final : public std::pmr::memory_resource {
 public:
  LimitedResource(std::pmr::memory_resource* upstream, std::size_t limit)
      : upstream_(upstream), limit_(limit) {}
  // `whole` must outlive it, and be within no other.
  LimitedResource(LimitedResource& whole, std::size_t limit)
      : upstream_(whole.upstream_), whole_(&whole), limit_(limit) {}
  std::size_t used() const { return used_; }
  std::size_t limit() const { return limit_; }

  // Counts octets that are held for the same purpose but come from elsewhere (Hyperscan's streams).
  // False, and nothing is counted, when they would pass the limit.
  bool charge(std::size_t bytes) {
    if (!fits(bytes)) return false;
    add(bytes);
    return true;
  }
  void refund(std::size_t bytes) {
    used_ -= bytes;
    if (whole_ != nullptr) whole_->used_ -= bytes;
  }

 private:
  bool fits(std::size_t bytes) const {
    return bytes <= limit_ - used_ &&
           (whole_ == nullptr || bytes <= whole_->limit_ - whole_->used_);
  }
  void add(std::size_t bytes) {
    used_ += bytes;
    if (whole_ != nullptr) whole_->used_ += bytes;
  }
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    if (!fits(bytes)) throw std::bad_alloc();
    void* p = upstream_->allocate(bytes, alignment);
    add(bytes);
    return p;
  }
  void do_deallocate(void* p, std::size_t bytes, std::size_t alignment) override {
    upstream_->deallocate(p, bytes, alignment);
    refund(bytes);
  }
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    return this == &other;
  }

  std::pmr::memory_resource* upstream_;
  LimitedResource* whole_ = nullptr;
  std::size_t limit_;
  std::size_t used_ = 0;
};

}  // namespace sluice
