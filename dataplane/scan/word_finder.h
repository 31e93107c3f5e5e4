// Many words in whole, bounded texts: every place at which one of them stands.
//
// Theory. Of each word four octets in a row are its anchor (of a shorter word all of them): those
// that are the rarest in mail text. Bitmaps by hash say at which places of the text the octets may
// be somebody's anchor, eight or sixteen places at a time where there is AVX2 or AVX-512. What
// stands there is looked at in rows: all places, then all words whose anchor is there, then which
// of them are there whole; so that nothing is branched on that cannot be foreseen. Letters are
// folded for that, and a word that asks for its case is compared with the text as it is. Immutable;
// made once at load.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::scan {

class WordFinder {
 public:
  static constexpr std::size_t kAnchor = 4;  // octets
  // Flags of a word. Wire format: append, never renumber.
  static constexpr std::uint8_t kCaseless = 1;    // it is written in lower case
  static constexpr std::uint8_t kBeginsWord = 2;  // stands at the beginning of a word (\b)
  static constexpr std::uint8_t kEndsWord = 4;

  // `anchor`: where in the word its anchor begins; of words shorter than kAnchor 0. False when that
  // is beyond its end, or the word is empty or longer than 65,535 octets.
  bool add(std::string_view word, std::uint8_t flags, std::size_t anchor);
  // Behind the last word.
  void build();

  bool empty() const { return words_.empty(); }
  std::size_t size() const { return words_.size(); }
  std::size_t memory_used() const;

  // A word stands in the text from `begin` to `end`, its anchor at `at`.
  struct Hit {
    std::uint32_t word;
    std::uint32_t at;
    std::uint32_t begin;
    std::uint32_t end;
  };
  static constexpr std::size_t kClasses = kAnchor;  // by octets of the anchor, less one
  // One worker's memory.
  class Work {
   public:
    // By class, in the order of their anchors.
    std::span<const Hit> hits(std::size_t of_class) const {
      return {hits_[of_class].data(), found_[of_class]};
    }

   private:
    friend class WordFinder;
    struct Candidate {
      std::uint32_t entry;
      std::uint32_t at;
    };
    std::string folded_;
    // Where anchors may be: of one or two octets, of three, of four.
    std::array<std::vector<std::uint32_t>, 3> places_;
    std::array<std::size_t, 3> near_{};  // how many of each
    std::vector<Candidate> candidates_;
    std::array<std::vector<Hit>, kClasses> hits_;
    std::array<std::size_t, kClasses> found_{};
  };
  // All hits in `text`, of at most 4 GiB, go to `work`.
  void find(std::string_view text, Work& work) const;

 private:
  static constexpr std::size_t kHead = 16;  // octets of a word that are compared at once
  struct Entry {
    std::uint32_t octets = 0;  // of its anchor
    std::uint32_t word = 0;
    std::uint16_t size = 0;
    std::uint16_t anchor = 0;
    std::uint8_t flags = 0;
  };
  // Of anchors of one size, by the hash of their octets.
  struct Anchors {
    std::uint32_t mask = 0;   // of their octets, the first lowest
    std::uint32_t slots = 0;  // less one; a power of two
    std::vector<std::uint32_t> first{0, 0};
    std::vector<Entry> entries;

    std::size_t slot(std::uint32_t octets) const { return hash(octets & mask) >> 16 & slots; }
    void build(std::vector<Entry> all);
  };
  // Bits of a hash that say which word of a bitmap, and which bit of it.
  static constexpr unsigned kFourWords = 12;
  static constexpr unsigned kThreeWords = 10;
  // Octets in front of the folded text and behind it that may be read.
  static constexpr std::size_t kFront = 16;
  static constexpr std::size_t kPadding = 32;

  static constexpr std::uint32_t hash(std::uint32_t octets) { return octets * 0x9e3779b1u; }
  static std::uint32_t load(const char* p) {
    std::uint32_t octets;
    std::memcpy(&octets, p, sizeof octets);
    if constexpr (std::endian::native == std::endian::big) octets = __builtin_bswap32(octets);
    return octets;
  }
  static void fold(std::string_view text, std::string& out);
  void look_at_each(const char* folded, std::size_t from, std::size_t size, Work& work) const;
  std::size_t look_at_eight(const char* folded, std::size_t from, std::size_t size,
                            Work& work) const;
  std::size_t look_at_sixteen(const char* folded, std::size_t size, Work& work) const;
  std::size_t gather(std::size_t of_class, const char* folded, Work& work) const;
  void compare(std::size_t of_class, std::size_t count, std::string_view text, const char* folded,
               Work& work) const;

  std::array<Anchors, kAnchor> by_size_;
  std::vector<std::uint32_t> pairs_;  // by the octets themselves
  std::vector<std::uint32_t> threes_;
  std::vector<std::uint32_t> fours_;
  std::vector<Entry> words_;
  std::vector<std::array<char, kHead>> heads_;  // by word: how it begins, folded
  std::vector<bool> whole_;                     // by word: that says not all of it
  std::vector<std::uint32_t> texts_begin_;      // by word
  std::string texts_;
};

}  // namespace sluice::scan
