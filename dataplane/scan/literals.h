// Many literals in a stream, found faster than a general matcher can: the first stage of a buffer.
//
// Theory. An occurrence of a literal of at least stride + width - 1 octets contains, wherever it
// begins, a window of `width` octets that begins at a multiple of `stride`. So only every stride-th
// place of the text is looked at: the window there is folded to one case, hashed, and looked up in
// a bitmap (two bits of a word for each: a blocked Bloom filter); what is in it is compared, first
// eight octets far from the window, which words seldom share, then all. For each literal and each
// of the `stride` ways that it can lie, the window that fewest other literals share is entered (Wu
// and Manber's idea of sampling, with the text sampled instead of shifted over; as in HS's and
// Snort's rare-window choice). Literals of 8 octets and more are sampled every 4. Costs about an
// instruction an octet, whatever the number of literals, until the bitmap leaves the cache.
//
// Brief ones, of 4 to 7 octets, leave no choice but every place: by the same bitmap, or, where they
// are few, 32 or 64 places at once, each of their first six octets looked up in a table (Teddy, of
// Hyperscan, with more octets of a literal, so that few texts nearly match): by four of its bits,
// or, with AVX-512 VBMI, by six.
//
// Where literals are few all of them are looked for like brief ones. A few that begin with another
// literal are not looked for by themselves, but where that one stands: a regex is often looked for
// by the beginning of what its rule looks for, too.
//
// Immutable, any thread. Octets are compared as given, or, `nocase`, with ASCII letters folded.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/base/vectors.h"

namespace sluice::scan {

class LiteralSet {
 public:
  static constexpr std::size_t kShortest = 4;
  static constexpr std::size_t kSampled = 8;  // from here on not every place is looked at
  static constexpr std::size_t kLongest = 128;

  struct Literal {
    std::uint32_t pattern = 0;  // what is reported; several literals may share it
    Bytes octets;               // kShortest..kLongest; copied
    bool nocase = false;
  };
  // Precondition: every literal's size is in range.
  explicit LiteralSet(const std::vector<Literal>& literals);

  bool empty() const { return literals_.empty(); }
  std::size_t longest() const { return longest_; }  // octets
  // Octets of its tables.
  std::size_t size() const;

  // Off for tests of the other ways: eight windows at once where the CPU can,
  void use_vectors(bool use) { vectors_ = use && has(Vectors::avx2); }
  // and 16, with 64 places for brief ones.
  void use_wide(bool use) { wide_ = use && has(Vectors::avx512vbmi); }

  // `end`: how many octets into the text the occurrence ends.
  using Found = void (*)(void* context, std::uint32_t pattern, std::size_t end);
  // Octets behind a text that are read too, whatever they are.
  static constexpr std::size_t kBehind = 40;
  // Reports each occurrence that ends behind the first `known` octets, in no order; an occurrence
  // may be reported twice. Precondition: kBehind octets behind `octets` may be read.
  void scan(Bytes octets, std::size_t known, Found found, void* context) const;

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  struct Stored {
    std::uint32_t pattern;
    std::uint32_t first;  // in octets_
    std::uint8_t size;
    bool nocase;
    std::uint8_t longest;          // of it and those that are looked for with it
    std::uint32_t longer = kNone;  // of those the next
  };
  // A way in which a literal can lie: its window is `offset` octets from its start.
  struct Place {
    std::uint64_t octets;  // some of it, folded
    std::uint32_t literal;
    std::uint8_t offset;
    std::uint8_t from;  // where `octets` are
    std::uint8_t size;  // of the literal
    std::uint8_t longest;
  };
  // One class of literals.
  struct Sampling {
    unsigned bitmap_shift = 0;
    unsigned places_shift = 0;
    std::vector<std::uint32_t> bitmap;
    std::vector<Place> places;         // in the order of their windows' hashes
    std::vector<std::uint32_t> first;  // of them, by the highest bits of the hash; one more
  };
  static constexpr std::size_t kInBucket = 4;  // more would nearly be found often
  // Brief literals in eight buckets, and which of these may have an octet at each of their first
  // places. What is no letter shares an entry with another: octets are told apart by six bits.
  struct Buckets {
    static constexpr std::size_t kPlaces = 6;
    alignas(64) std::uint8_t tables[kPlaces][64]{};
    alignas(16) std::uint8_t halves[kPlaces][16]{};  // by four bits
    // Of each bucket's literals: the first octets, folded, and which of a text's to compare with
    // them.
    alignas(32) std::array<std::array<std::uint64_t, kInBucket>, 8> octets{};
    alignas(32) std::array<std::array<std::uint64_t, kInBucket>, 8> masks{};
    std::array<std::uint32_t, 9> first{};  // of each bucket, in brief_places_
  };
  // What is being scanned.
  struct Text {
    Bytes octets;
    std::size_t known;
    Found found;
    void* context;
  };

  std::vector<std::uint32_t> share();
  template <std::size_t stride, std::size_t width>
  void build(Sampling& sampling, const std::vector<std::uint32_t>& members);
  template <std::size_t stride, std::size_t width>
  void sample(const Sampling& sampling, const Text& text, std::size_t at) const;
  void sample_eight(const Text& text) const;
  void sample_wide(const Text& text) const;
  void sample_brief(const Text& text) const;
  void look(const Sampling& sampling, const Text& text, std::size_t at, std::uint32_t hash) const;
  void look_at_all(const Text& text, std::size_t begin, std::span<const std::uint32_t> at) const;
  void compare_all(const Text& text, std::size_t begin, std::span<std::uint64_t> pairs) const;
  Place place(std::uint32_t literal, std::size_t offset) const;
  void compare(const Place& place, const Text& text, std::size_t start) const;
  void build_buckets(std::vector<std::uint32_t> members);
  void find_wide(const Text& text) const;
  template <bool ascii>
  void find_by_halves(const Text& text) const;
  void look_in_buckets(const Buckets& buckets, unsigned which, const Text& text,
                       std::size_t at) const;
  bool stands_at(const Stored& literal, const std::uint8_t* text) const;
  void tell(std::uint32_t literal, const Text& text, std::size_t start) const;

  std::vector<Stored> literals_;
  std::vector<std::uint8_t> octets_;  // nocase ones in lower case
  std::size_t longest_ = 0;
  Sampling sampled_;
  Sampling brief_;
  std::vector<Buckets> buckets_;  // none when there are too many
  std::vector<Place> brief_places_;
  bool brief_ascii_ = true;  // none of their first octets is beyond 0x7f
  bool vectors_ = has(Vectors::avx2);
  bool wide_ = has(Vectors::avx512vbmi);
};

}  // namespace sluice::scan
