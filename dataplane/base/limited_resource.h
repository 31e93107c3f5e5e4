// A memory resource with a bound: std::bad_alloc at the bound, exact accounting. The engine catches
// it where a flow begins to be handled and applies the declared policy. One thread.
#pragma once

#include <cstddef>
#include <memory_resource>
#include <new>

namespace sluice {

class LimitedResource final : public std::pmr::memory_resource {
 public:
  LimitedResource(std::pmr::memory_resource* upstream, std::size_t limit)
      : upstream_(upstream), limit_(limit) {}
  std::size_t used() const { return used_; }
  std::size_t limit() const { return limit_; }

  // Counts octets that are held for the same purpose but come from elsewhere (Hyperscan's streams).
  // False, and nothing is counted, when they would pass the limit.
  bool charge(std::size_t bytes) {
    if (bytes > limit_ - used_) return false;
    used_ += bytes;
    return true;
  }
  void refund(std::size_t bytes) { used_ -= bytes; }

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    if (bytes > limit_ - used_) throw std::bad_alloc();
    void* p = upstream_->allocate(bytes, alignment);
    used_ += bytes;
    return p;
  }
  void do_deallocate(void* p, std::size_t bytes, std::size_t alignment) override {
    upstream_->deallocate(p, bytes, alignment);
    used_ -= bytes;
  }
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    return this == &other;
  }

  std::pmr::memory_resource* upstream_;
  std::size_t limit_;
  std::size_t used_ = 0;
};

}  // namespace sluice
