#include "dataplane/smtp/line_buffer.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace sluice::smtp {

namespace {
constexpr std::uint32_t kFirstCapacity = 128;
}

void wipe(void* octets, std::size_t size) {
  std::memset(octets, 0, size);
  __asm__ __volatile__("" : : "r"(octets) : "memory");
}

void* try_allocate(std::pmr::memory_resource* memory, std::size_t size, std::size_t alignment) {
  try {
    return memory->allocate(size, alignment);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

LineBuffer::Line LineBuffer::take(Bytes octets, std::uint32_t limit,
                                  std::pmr::memory_resource* memory) {
  Line line;
  if (octets.empty()) return line;
  const auto* lf =
      static_cast<const std::uint8_t*>(std::memchr(octets.data(), '\n', octets.size()));
  if (!lf) {
    keep(octets, limit, memory);
    line.consumed = octets.size();
    line.overlong = total_ > limit;
    return line;
  }
  line.complete = true;
  line.consumed = static_cast<std::size_t>(lf - octets.data()) + 1;
  const Bytes part = octets.first(line.consumed);
  const std::uint8_t before_lf = part.size() > 1 ? part[part.size() - 2] : last_;
  line.bare_lf = (total_ > 0 || part.size() > 1) ? before_lf != '\r' : true;
  if (total_ == 0 && !skipping_) {
    total_ = part.size();
    line.text = as_text(part.first(std::min<std::size_t>(part.size(), limit)));
  } else {
    keep(part, limit, memory);
    line.text = as_text(kept());
  }
  line.overlong = total_ > limit;
  if (!line.text.empty() && line.text.back() == '\n') line.text.remove_suffix(1);
  if (!line.text.empty() && line.text.back() == '\r') line.text.remove_suffix(1);
  return line;
}

void LineBuffer::keep(Bytes octets, std::uint32_t limit, std::pmr::memory_resource* memory) {
  total_ += octets.size();
  last_ = octets.back();
  if (skipping_) return;
  const std::size_t wanted = std::min<std::size_t>(limit, size_ + octets.size());
  if (wanted > capacity_) {
    std::uint32_t capacity = std::max(capacity_, kFirstCapacity);
    while (capacity < wanted) capacity *= 2;
    capacity = std::max(std::min(capacity, limit), static_cast<std::uint32_t>(wanted));
    if (auto* grown = static_cast<std::uint8_t*>(try_allocate(memory, capacity, 1))) {
      if (size_ > 0) std::memcpy(grown, data_, size_);
      if (data_) {
        wipe(data_, size_);
        memory->deallocate(data_, capacity_, 1);
      }
      data_ = grown;
      capacity_ = capacity;
    }
  }
  const std::size_t room = std::min<std::size_t>(wanted, capacity_);
  if (room > size_) {
    std::memcpy(data_ + size_, octets.data(), room - size_);
    size_ = static_cast<std::uint32_t>(room);
  }
}

void LineBuffer::release(std::pmr::memory_resource* memory) {
  if (data_) {
    wipe(data_, size_);
    memory->deallocate(data_, capacity_, 1);
  }
  data_ = nullptr;
  total_ = 0;
  size_ = 0;
  capacity_ = 0;
  last_ = 0;
  skipping_ = false;
}

void LineBuffer::skip_line(std::pmr::memory_resource* memory) {
  release(memory);
  skipping_ = true;
}

}  // namespace sluice::smtp
