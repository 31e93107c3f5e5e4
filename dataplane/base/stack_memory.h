// Memory for what is needed while one thing is read: on the stack, as far as it goes, then from
// another resource. Given back all at once.
#pragma once

#include <array>
#include <cstddef>
#include <memory_resource>

namespace sluice {

template <std::size_t octets>
class StackMemory {
 public:
  explicit StackMemory(std::pmr::memory_resource* memory)
      : resource_(octets_.data(), octets_.size(), memory) {}
  std::pmr::memory_resource* get() { return &resource_; }

 private:
  std::array<std::byte, octets> octets_;
  std::pmr::monotonic_buffer_resource resource_;
};

}  // namespace sluice
