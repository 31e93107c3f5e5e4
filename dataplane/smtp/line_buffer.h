// Finds lines in octets that come in pieces. A line that lies whole in the given octets is a view
// into them; of one that is cut, at most `limit` octets are copied. Of a longer line each run of
// blanks is kept as one, since servers with longer buffers skip them. The copy is overwritten
// before it is freed, because it may hold the secret of an AUTH exchange.
#pragma once

#include <cstdint>
#include <memory_resource>
#include <string_view>
#include <utility>

#include "dataplane/base/bytes.h"

namespace sluice::smtp {

class LineBuffer {
 public:
  struct Line {
    std::size_t consumed = 0;  // of the given octets, the line ending included
    bool complete = false;     // else all octets were consumed and wait for more
    bool overlong = false;     // more than `limit` octets, its line ending included
    bool bare_lf = false;      // ended by LF without CR
    // Without line ending, blanks squeezed and cut at `limit` when it is overlong; until release().
    std::string_view text;
  };

  LineBuffer() = default;
  LineBuffer(const LineBuffer&) = delete;
  LineBuffer& operator=(const LineBuffer&) = delete;

  Line take(Bytes octets, std::uint32_t limit, std::pmr::memory_resource* memory);
  // To be called when a complete line was dealt with, and before destruction.
  void release(std::pmr::memory_resource* memory);
  // Begins in the middle of a line: what is left of it is not kept.
  void skip_line(std::pmr::memory_resource* memory);
  // Octets are missing: what follows is a whole line or the end of one.
  void doubt_line(std::pmr::memory_resource* memory);
  void swap(LineBuffer& other) {
    std::swap(data_, other.data_);
    std::swap(total_, other.total_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    std::swap(last_, other.last_);
    std::swap(skipping_, other.skipping_);
    std::swap(in_doubt_, other.in_doubt_);
  }
  // Octets of the current line so far, also of those not kept.
  std::uint64_t pending() const { return total_; }
  bool skipping() const { return skipping_; }
  bool in_doubt() const { return in_doubt_; }
  Bytes kept() const { return {data_, size_}; }
  std::size_t memory_used() const { return capacity_; }

 private:
  void keep(Bytes octets, std::uint32_t limit, std::pmr::memory_resource* memory);
  void append(Bytes octets, std::uint32_t limit, std::pmr::memory_resource* memory);
  void append_squeezed(Bytes octets, std::uint32_t limit, std::pmr::memory_resource* memory);

  std::uint8_t* data_ = nullptr;
  std::uint64_t total_ = 0;
  std::uint32_t size_ = 0;
  std::uint32_t capacity_ = 0;
  std::uint8_t last_ = 0;  // last octet of the line so far
  bool skipping_ = false;
  bool in_doubt_ = false;
};

// Overwrites in a way that the compiler keeps.
void wipe(void* octets, std::size_t size);

// Memory or nullptr: a bound of the resource is no reason to end inspection.
void* try_allocate(std::pmr::memory_resource* memory, std::size_t size, std::size_t alignment);

}  // namespace sluice::smtp
