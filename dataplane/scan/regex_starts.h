// Where in a text a match of a regex may begin: what may stand before it, and sets of octets of
// which its first octets are.
//
// Theory. The ways to match are put into eight buckets by their first octet; of each bucket it is
// known what octets may stand at each of the first places. A table a place says of an octet in
// which buckets it may stand there; all of them together, with a bit left, are a place where a
// match may begin. Where there is AVX2 tables by half octets say that of 32 places at once (as in
// Hyperscan's Teddy): they say yes a little more often, so that what they find is looked at again.
// Immutable.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace sluice::scan {

class RegexStarts {
 public:
  using Set = std::bitset<256>;
  static constexpr std::size_t kBuckets = 8;
  static constexpr std::size_t kMostOctets = 8;
  using Window = std::array<Set, kMostOctets>;  // by place

  // Each match begins with `octets` octets (1 to kMostOctets) of one of the windows, of which there
  // are kBuckets at most, behind an octet of `before` or, with `at_begin`, where the text begins.
  void build(std::span<const Window> windows, std::size_t octets, const Set& before, bool at_begin);

  // Whether that is rare in mail text.
  bool useful() const { return useful_; }
  // Some of the places where matches may begin.
  struct Places {
    std::array<std::uint32_t, 64> all;
    std::size_t count = 0;
    std::size_t next = 0;  // all before this have been looked at
  };
  // The next such places from `places.next` to `last`, in order; none: there are no more.
  void find(std::string_view text, std::size_t last, Places& places) const;

 private:
  using Table = std::array<std::uint8_t, 256>;

  bool begins(std::string_view text, std::size_t at) const;
  void find_of_64(std::string_view text, std::size_t last, Places& places) const;
  void find_of_32(std::string_view text, std::size_t last, Places& places) const;
  void note(std::string_view text, std::uint64_t bits, Places& places) const;
  void choose_halves(std::size_t buckets);

  std::size_t octets_ = 0;
  bool at_begin_ = false;
  bool useful_ = false;
  // By octet: all buckets, when it may stand before; then, by place, those in which it may stand
  // there.
  std::array<Table, 1 + kMostOctets> tables_{};
  // The same by the low half and the high half of an octet: a bit in both is what the table says,
  // or more. Those that are looked at, the most telling first.
  struct Halves {
    std::array<std::uint8_t, 16> low{};
    std::array<std::uint8_t, 16> high{};
    std::uint8_t table = 0;
    std::uint8_t whole = 0;  // 0xff: the bits are not buckets, each means all of them
  };
  Halves halves_of(std::size_t table, bool whole) const;
  std::array<Halves, 1 + kMostOctets> halves_{};
  std::size_t looked_at_ = 0;   // of them
  std::size_t of_buckets_ = 0;  // of these, the first: not whole
};

}  // namespace sluice::scan
