#include "dataplane/smtp/line_buffer.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "dataplane/smtp/command.h"

namespace sluice::smtp {

namespace {
constexpr std::uint32_t kFirstCapacity = 128;

bool blank_at(Bytes octets, std::size_t i) { return is_blank(static_cast<char>(octets[i])); }
}  // namespace

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
  if (total_ == 0 && !skipping_ && part.size() <= limit) {
    total_ = part.size();
    line.text = as_text(part);
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
  const bool squeezed = total_ > limit;
  total_ += octets.size();
  last_ = octets.back();
  if (skipping_) return;
  if (total_ <= limit) return append(octets, limit, memory);
  if (!squeezed) {
    const std::uint32_t size = std::exchange(size_, 0);
    append_squeezed({data_, size}, limit, memory);
    if (size_ < size) wipe(data_ + size_, size - size_);
  }
  append_squeezed(octets, limit, memory);
}

// `octets` may be the kept ones themselves: what is written is never in front of what is read.
void LineBuffer::append_squeezed(Bytes octets, std::uint32_t limit,
                                 std::pmr::memory_resource* memory) {
  for (std::size_t at = 0; at < octets.size() && size_ < limit;) {
    const bool blank = blank_at(octets, at);
    std::size_t end = at + 1;
    while (end < octets.size() && blank_at(octets, end) == blank) ++end;
    const bool goes_on = blank && size_ > 0 && blank_at({data_, size_}, size_ - 1);
    if (!goes_on) append(octets.subspan(at, blank ? 1 : end - at), limit, memory);
    at = end;
  }
}

void LineBuffer::append(Bytes octets, std::uint32_t limit, std::pmr::memory_resource* memory) {
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
    std::memmove(data_ + size_, octets.data(), room - size_);
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
  skipping_ = in_doubt_ = false;
}

void LineBuffer::skip_line(std::pmr::memory_resource* memory) {
  release(memory);
  skipping_ = true;
}

void LineBuffer::doubt_line(std::pmr::memory_resource* memory) {
  release(memory);
  in_doubt_ = true;
}

}  // namespace sluice::smtp
