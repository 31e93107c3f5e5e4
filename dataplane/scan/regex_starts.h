// Where in a text a match of a regex may begin: what may stand before it, and sets of octets of
// which its first octets are.
//
// Theory. The ways to match are put into eight buckets by their first octet; of each bucket it is
// known what octets may stand at each of the first places. Of each class of octets that the regex
// does not tell apart a word says, a byte a place, in which buckets it may stand there; all of them
// together, with a bit left, are a place where a match may begin. Where there is AVX2 tables by
// half octets say that of 32 places at once (as in Hyperscan's Teddy): they say yes a little more
// often, so that what they find is looked at again. What is looked at stands in a row of few cache
// lines, since a message comes to cold ones. Immutable.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sluice::scan {

class RegexStarts {
 public:
  using Set = std::bitset<256>;
  static constexpr std::size_t kBuckets = 8;
  static constexpr std::size_t kMostOctets = 8;
  using Window = std::array<Set, kMostOctets>;  // by place

  // The class of each octet.
  using Classes = std::array<std::uint8_t, 256>;

  // Each match begins with `octets` octets (1 to kMostOctets) of one of the windows, of which there
  // are kBuckets at most, behind an octet of `before` or, with `at_begin`, where the text begins.
  // No set has a part of a class; the same `classes` go to find().
  void build(std::span<const Window> windows, std::size_t octets, const Set& before, bool at_begin,
             const Classes& classes);

  // How often that is so, of places of mail text, about: 0 to kBuckets, what buckets have in common
  // counted in each.
  static double rate(std::span<const Window> windows, std::size_t octets, const Set& before);
  double rate() const { return rate_; }
  // Whether it is rare.
  bool useful() const { return useful_; }
  // Some of the places where matches may begin.
  struct Places {
    std::array<std::uint32_t, 64> all;
    std::size_t count = 0;
    std::size_t next = 0;  // all before this have been looked at
  };
  // The next such places from `places.next` to `last`, in order; none: there are no more.
  void find(std::string_view text, std::size_t last, const Classes& classes, Places& places) const;

 private:
  // Which tables of windows there are: what may stand before, then one by place.
  static constexpr std::size_t kTables = 1 + kMostOctets;
  // By octet the buckets in which it may stand there, or all of them.
  using Table = std::array<std::uint8_t, 256>;
  // The same by the low half and the high half of an octet: a bit in both is what the table says,
  // or more.
  struct Halves {
    std::array<std::uint8_t, 16> low{};
    std::array<std::uint8_t, 16> high{};
  };
  struct Choice;

  bool begins(std::string_view text, std::size_t at, const Classes& classes) const;
  void find_of_64(std::string_view text, std::size_t last, const Classes& classes,
                  Places& places) const;
  void find_of_32(std::string_view text, std::size_t last, const Classes& classes,
                  Places& places) const;
  void note(std::string_view text, std::uint64_t bits, const Classes& classes,
            Places& places) const;
  void choose_halves(std::span<const Table> tables, std::size_t buckets);
  static Halves halves_of(const Table& table, bool whole);

  std::uint8_t octets_ = 0;
  bool at_begin_ = false;
  bool elsewhere_ = false;  // than where the text begins
  bool useful_ = false;
  std::uint8_t looked_at_ = 0;                    // of the halves
  std::uint8_t of_buckets_ = 0;                   // of these, the first: their bits are buckets
  std::array<std::uint8_t, kTables> table_of_{};  // of each half
  std::array<std::uint64_t, 4> before_{};         // a bit an octet
  // Those that are looked at, the most telling first; behind the first few any bit means all
  // buckets.
  std::array<Halves, kTables> halves_{};
  std::vector<std::uint64_t> ways_;  // by class
  double rate_ = 0;
};

}  // namespace sluice::scan
