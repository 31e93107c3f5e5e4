// Many literals in a stream, found faster than a general matcher can: the first stage of a buffer.
//
// Theory. An occurrence of a literal of at least stride + width - 1 octets contains, wherever it
// begins, a window of `width` octets that begins at a multiple of `stride`. So only every stride-th
// place of the text is looked at: the window there is folded to one case, hashed, and looked up in
// a bitmap; what is in it is compared exactly. For each literal and each of the `stride` ways that
// it can lie, the window that fewest other literals share is entered (Wu and Manber's idea of
// sampling, with the text sampled instead of shifted over; as in HS's and Snort's rare-window
// choice). Two classes: literals of 15 octets and more are sampled every 8 octets, those of 8 to 14
// every 4. Costs about 2 instructions an octet, whatever the number of literals, until the bitmap
// leaves the cache.
//
// Immutable, any thread. Octets are compared as given, or, `nocase`, with ASCII letters folded.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/base/bytes.h"

namespace sluice::scan {

class LiteralSet {
 public:
  static constexpr std::size_t kShortest = 8;
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

  // Whether this CPU can look at eight places at once; `use` off for tests of the other way.
  static bool has_vectors();
  void use_vectors(bool use) { vectors_ = use && has_vectors(); }

  // `end`: how many octets into the text the occurrence ends.
  using Found = void (*)(void* context, std::uint32_t pattern, std::size_t end);
  // Reports each occurrence that ends behind the first `known` octets, in no order; an occurrence
  // may be reported twice.
  void scan(Bytes octets, std::size_t known, Found found, void* context) const;

 private:
  struct Stored {
    std::uint32_t pattern;
    std::uint32_t first;  // in octets_
    std::uint8_t size;
    bool nocase;
  };
  // A way in which a literal can lie: its window is `offset` octets from its start.
  struct Place {
    std::uint32_t literal;
    std::uint32_t offset;
  };
  struct Slot {
    std::uint64_t window = 0;
    std::uint32_t first = 0;  // in places_
    std::uint32_t count = 0;  // 0: free
  };
  // One class of literals.
  struct Sampling {
    unsigned bitmap_shift = 0;
    unsigned slot_shift = 0;
    std::vector<std::uint32_t> bitmap;
    std::vector<Slot> slots;
    std::vector<Place> places;
  };
  // What is being scanned.
  struct Text {
    Bytes octets;
    std::size_t known;
    Found found;
    void* context;
  };

  template <std::size_t stride, std::size_t width>
  void build(Sampling& sampling, const std::vector<std::uint32_t>& members);
  template <std::size_t stride, std::size_t width>
  void sample(const Sampling& sampling, const Text& text, std::size_t at) const;
  template <std::size_t stride, std::size_t width>
  void sample_avx2(const Sampling& sampling, const Text& text) const;
  template <std::size_t width>
  void look(const Sampling& sampling, const Text& text, std::size_t at) const;
  bool stands_at(const Stored& literal, const std::uint8_t* text) const;

  std::vector<Stored> literals_;
  std::vector<std::uint8_t> octets_;  // nocase ones in lower case
  std::size_t longest_ = 0;
  Sampling long_;
  Sampling short_;
  bool vectors_ = has_vectors();
};

}  // namespace sluice::scan
