// What all stages of one message share: the sink, the limits, and what has been used of them.
#pragma once

#include <memory_resource>

#include "dataplane/mime/parser.h"

namespace sluice::mime {

// Counts what is in use of another resource.
class CountingResource final : public std::pmr::memory_resource {
 public:
  explicit CountingResource(std::pmr::memory_resource* upstream) : upstream_(upstream) {}
  std::size_t in_use() const { return in_use_; }

 private:
  void* do_allocate(std::size_t size, std::size_t alignment) override {
    void* const p = upstream_->allocate(size, alignment);
    in_use_ += size;
    return p;
  }
  void do_deallocate(void* p, std::size_t size, std::size_t alignment) override {
    in_use_ -= size;
    upstream_->deallocate(p, size, alignment);
  }
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    return this == &other;
  }
  std::pmr::memory_resource* upstream_;
  std::size_t in_use_ = 0;
};

struct Context {
  Context(const Limits& l, ParserSink& s, std::pmr::memory_resource* m)
      : limits(l), sink(s), memory(m) {}

  void raise(contract::Anomaly anomaly) {
    if (raised.insert(anomaly)) sink.on_anomaly(anomaly);
  }
  // Takes `size` octets from the budget of decoded octets; false when it is used up.
  bool spend(std::size_t size) {
    if (size > limits.decoded_octets - decoded) {
      decoded = limits.decoded_octets;
      raise(contract::Anomaly::limit);
      return false;
    }
    decoded += size;
    return true;
  }

  const Limits limits;
  ParserSink& sink;
  CountingResource memory;
  contract::AnomalySet raised;
  std::uint64_t decoded = 0;
  PartNumber parts = 0;            // numbers given
  std::uint32_t urls = 0;          // reported
  std::uint32_t alternatives = 0;  // other readings begun
  std::uint32_t alternatives_open = 0;
};

}  // namespace sluice::mime
