// Longest-prefix match over 128-bit prefixes, built once, then immutable.
//
// Theory. N prefixes cut the address space into at most 2N + 1 ranges, each with one answer: the
// longest prefix that holds it. The ranges' first addresses are kept sorted, and a tree of tables
// finds the range: a node drops the bits that all its ranges share, reads as many of the next bits
// as make its table about as long as its ranges are many, and leads to the few ranges that begin
// with them, or to a further node when they are many (clustered prefixes). A lookup in a million
// prefixes touches two or three cache lines of tables and one of ranges. IPv4 has tables of its own
// with 32-bit keys, a third as large; a prefix that holds the IPv4-mapped range whole stands in
// both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "dataplane/base/address.h"

namespace sluice::policy {

// The ranges of one key width. Key: std::uint32_t or unsigned __int128.
template <typename Key>
class PrefixTable {
 public:
  static constexpr int kBits = sizeof(Key) * 8;
  static constexpr std::uint32_t kNone = UINT32_MAX;
  struct Prefix {
    Key first;
    Key last;
    std::uint8_t length;  // 0..kBits
    std::uint32_t value;
  };

  PrefixTable() : PrefixTable(std::vector<Prefix>{}) {}
  // Of two entries with the same prefix the later one stays.
  explicit PrefixTable(std::vector<Prefix> prefixes);
  std::uint32_t find(Key wanted) const;
  std::size_t memory_used() const;

 private:
  // Two words of a 128-bit key, so that a range is not padded to 32 octets.
  struct Wide {
    std::uint64_t high;
    std::uint64_t low;
    operator Key() const {
      return static_cast<Key>(static_cast<unsigned __int128>(high) << 64 | low);
    }
  };
  using Stored = std::conditional_t<kBits == 32, std::uint32_t, Wide>;
  static Stored stored(Key key);
  struct Range {
    Stored first;
    std::uint32_t value;
  };
  // A slot holds the index of the first range at or behind the slot's bits or, with kIsNode, a
  // node.
  struct Node {
    Key first = 0;  // of its first and last range
    Key last = 0;
    std::uint32_t begin = 0;  // ranges of this node: begin .. end
    std::uint32_t end = 0;
    std::uint32_t table = 0;  // first of 2^bits + 1 slots
    std::uint8_t skip = 0;    // leading bits that all ranges of the node share
    std::uint8_t bits = 0;
  };
  static constexpr std::uint32_t kIsNode = 1u << 31;
  static constexpr std::size_t kScanned = 8;  // so many ranges are searched without a node

  void cut(Key first, std::uint32_t value);
  std::uint32_t build(std::uint32_t begin, std::uint32_t end);

  std::vector<Range> ranges_;
  std::vector<Node> nodes_;
  std::vector<std::uint32_t> slots_;
};

class PrefixMap {
 public:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  struct Entry {
    Address prefix;             // bits beyond `length` do not count
    std::uint8_t length = 128;  // 0..128
    std::uint32_t value = 0;    // not kNone
  };

  PrefixMap() = default;
  // Of two entries with the same prefix the later one stays. n log n; allocates.
  explicit PrefixMap(std::vector<Entry> entries);

  // The value of the longest prefix that holds `address`, or kNone. Any thread.
  std::uint32_t find(const Address& address) const;
  std::size_t memory_used() const { return v4_.memory_used() + v6_.memory_used(); }

 private:
  PrefixTable<std::uint32_t> v4_;
  PrefixTable<unsigned __int128> v6_;
};

}  // namespace sluice::policy
