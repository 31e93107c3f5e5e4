// Packs the state of something that will not be used for a while into few octets, and unpacks it.
//
// Theory. The state is plain structs of counters, sequence numbers and flags, most of whose octets
// are zero. A struct is cut into words of eight octets. What is written is a bitmap of the words
// that are not zero, and of each of those a bitmap of its octets that are not zero, and these
// octets. So a new member of a struct is packed without further ado, and costs nothing while it is
// zero.
//
// One process, one version: nothing of it is ever stored or sent.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "dataplane/base/bytes.h"

namespace sluice {

class Packer {
 public:
  // `room` must outlive it.
  explicit Packer(MutableBytes room) : room_(room) {}

  // Padding must be zero (value-initialised objects), else it costs its octets.
  template <typename T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    put_octets({reinterpret_cast<const std::uint8_t*>(&value), sizeof value});
  }
  // Up to 65,535 octets.
  void put_text(Bytes octets) {
    if (octets.size() > 0xffff || room_.size() - size_ < octets.size() + 2) {
      fits_ = false;
      return;
    }
    room_[size_++] = static_cast<std::uint8_t>(octets.size());
    room_[size_++] = static_cast<std::uint8_t>(octets.size() >> 8);
    if (!octets.empty()) std::memcpy(room_.data() + size_, octets.data(), octets.size());
    size_ += octets.size();
  }
  void put_text(std::string_view text) { put_text(as_bytes(text)); }

  // Whether there was room for everything; if not, the result is of no use.
  bool fits() const { return fits_; }
  Bytes result() const { return room_.first(size_); }

 private:
  void put_octets(Bytes octets) {
    for (std::size_t at = 0; at < octets.size(); at += 64) {
      const Bytes block = octets.subspan(at, std::min<std::size_t>(64, octets.size() - at));
      // A bitmap of eight words, eight bitmaps, 64 octets.
      if (!fits_ || room_.size() - size_ < 1 + 8 + 64) {
        fits_ = false;
        return;
      }
      std::uint8_t& words = room_[size_++];
      words = 0;
      for (std::size_t i = 0; i * 8 < block.size(); ++i) {
        const Bytes word = block.subspan(i * 8, std::min<std::size_t>(8, block.size() - i * 8));
        std::uint64_t value = 0;
        std::memcpy(&value, word.data(), word.size());
        if (value == 0) continue;
        words = static_cast<std::uint8_t>(words | 1u << i);
        std::uint8_t& set = room_[size_++];
        set = 0;
        for (std::size_t k = 0; k < word.size(); ++k) {
          if (word[k] == 0) continue;
          set = static_cast<std::uint8_t>(set | 1u << k);
          room_[size_++] = word[k];
        }
      }
    }
  }

  MutableBytes room_;
  std::size_t size_ = 0;
  bool fits_ = true;
};

// Reads what a Packer wrote, in the same order.
class Unpacker {
 public:
  explicit Unpacker(Bytes packed) : packed_(packed) {}

  template <typename T>
  void get(T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    get_octets({reinterpret_cast<std::uint8_t*>(&value), sizeof value});
  }
  template <typename T>
  T get() {
    T value{};
    get(value);
    return value;
  }
  // A view into what was packed.
  Bytes get_text() {
    const std::size_t size = packed_[0] | std::size_t{packed_[1]} << 8;
    const Bytes text = packed_.subspan(2, size);
    packed_ = packed_.subspan(2 + size);
    return text;
  }
  bool empty() const { return packed_.empty(); }

 private:
  void get_octets(MutableBytes octets) {
    for (std::size_t at = 0; at < octets.size(); at += 64) {
      const MutableBytes block = octets.subspan(at, std::min<std::size_t>(64, octets.size() - at));
      std::size_t next = 0;
      const std::uint8_t words = packed_[next++];
      std::memset(block.data(), 0, block.size());
      for (unsigned left = words; left != 0; left &= left - 1) {
        const auto i = static_cast<std::size_t>(std::countr_zero(left));
        for (unsigned set = packed_[next++]; set != 0; set &= set - 1)
          block[i * 8 + static_cast<std::size_t>(std::countr_zero(set))] = packed_[next++];
      }
      packed_ = packed_.subspan(next);
    }
  }

  Bytes packed_;
};

}  // namespace sluice
