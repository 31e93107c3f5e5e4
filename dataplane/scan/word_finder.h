// Many words in whole, bounded texts: every place at which one of them stands.
//
// Theory. Of each word three octets in a row are its anchor (of a word of one or two octets its
// first): the compiler chooses it so that anchors are rare in mail text and made of few pairs
// (control/policy/word_anchors.h). Octets fall into 32 classes, mostly the letters; tables of 32 by
// 32 bits say which two of them begin an anchor and which two end one. Where there is AVX2 they are
// asked at 32 places at once, and one place of ten is left. What stands there is looked at in rows:
// all places, then the words whose anchors hash alike, four at once by eight octets, then which of
// them are there whole. So little is branched on that cannot be foreseen, and little is read: a
// message comes to cold tables. Letters are folded for all that, and a word that asks for its case
// is compared with the text as it is. Immutable; made once at load.
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
  static constexpr std::size_t kAnchor = 3;  // octets
  // Flags of a word. Wire format: append, never renumber.
  static constexpr std::uint8_t kCaseless = 1;    // it is written in lower case
  static constexpr std::uint8_t kBeginsWord = 2;  // stands at the beginning of a word (\b)
  static constexpr std::uint8_t kEndsWord = 4;

  // The class of an octet: letters have one each, upper and lower case the same.
  static constexpr std::size_t kOctetClasses = 32;
  static constexpr std::uint8_t octet_class(char c) {
    const auto octet = static_cast<unsigned char>(c);
    if (octet >= 128) return 30;
    return octet >= 64 ? octet % 32 : kOther[octet % 32];
  }

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
  static constexpr std::size_t kKinds = 2;  // words of less than kAnchor octets, and others
  // One worker's memory.
  class Work {
   public:
    // By kind, in the order of their anchors.
    std::span<const Hit> hits(std::size_t kind) const { return {hits_[kind].data(), found_[kind]}; }

   private:
    friend class WordFinder;
    struct Candidate {
      std::uint32_t entry;
      std::uint32_t at;
    };
    std::vector<char> folded_;
    std::vector<std::uint8_t> classes_;
    std::vector<std::uint32_t> marks_;   // a bit a place
    std::vector<std::uint32_t> places_;  // where anchors may be
    std::vector<Candidate> candidates_;
    std::array<std::vector<Hit>, kKinds> hits_;
    std::array<std::size_t, kKinds> found_{};
  };
  // All hits in `text`, of at most 4 GiB, go to `work`. `vectors`: false: as without AVX2.
  void find(std::string_view text, Work& work, bool vectors = true) const;

 private:
  // Of octets below 64, by the last five bits: blanks, digits, marks of text, of addresses, others.
  static constexpr std::array<std::uint8_t, 32> kOther = {
      0,  31, 31, 29, 31, 29, 29, 31, 31, 31, 31, 31, 28, 31, 28, 29,
      27, 27, 27, 27, 27, 27, 27, 27, 27, 27, 29, 29, 31, 29, 31, 29};
  static constexpr std::size_t kLanes = 4;   // words that are compared at once
  static constexpr std::size_t kBefore = 2;  // octets in front of the anchor that are compared
  struct Entry {
    std::uint32_t octets = 0;  // of its anchor
    std::uint32_t word = 0;
    std::uint32_t text = 0;  // where in texts_ it begins
    std::uint16_t size = 0;
    std::uint16_t anchor = 0;
    std::uint8_t flags = 0;
    bool whole = false;  // its lane does not say all of it
  };
  // Eight octets around the anchor of each of four words, those of the word.
  struct alignas(64) Lanes {
    std::array<std::uint64_t, kLanes> octets;
    std::array<std::uint64_t, kLanes> mask;
  };
  // Of words of one kind, by the hash of their anchors.
  struct Anchors {
    std::uint32_t mask = 0;   // of their octets, the first lowest
    std::uint32_t slots = 0;  // less one; a power of two
    std::vector<std::uint32_t> first{0, 0};
    std::vector<Lanes> lanes;
    std::vector<Entry> entries;  // by lane

    std::size_t slot(std::uint32_t octets) const {
      return (octets & mask) * 0x9e3779b1u >> 20 & slots;
    }
    void build(std::vector<Entry> words, std::string_view texts);
  };
  static constexpr std::size_t kRows = kOctetClasses / 8;
  // Which pairs of classes may stand at a place: of the second one bit % 8 of a row of its own.
  struct alignas(64) Pairs {
    std::array<std::array<std::uint8_t, kOctetClasses>, kRows> rows{};

    void set(std::size_t a, std::size_t b) {
      rows[b / 8][a] = static_cast<std::uint8_t>(rows[b / 8][a] | 1u << b % 8);
    }
    bool has(std::size_t a, std::size_t b) const { return (rows[b / 8][a] >> b % 8 & 1) != 0; }
  };
  // Where a word of one or two octets may stand: each is of one of eight groups, a bit each; which
  // groups have an octet at a place in them is said by its lower and by its upper half (Teddy).
  struct alignas(64) Shorts {
    std::array<std::array<std::uint8_t, 16>, 4> tables{};  // of the first octet two, of the second

    void set(std::size_t place, unsigned char octet, std::size_t group);
    bool has(unsigned char a, unsigned char b) const {
      return (tables[0][a % 16] & tables[1][a / 16] & tables[2][b % 16] & tables[3][b / 16]) != 0;
    }
  };
  // A text as it is looked at, with so much room around it.
  static constexpr std::size_t kFront = 16;
  static constexpr std::size_t kBehind = 64;
  struct Text {
    std::string_view octets;
    const char* folded;
    const std::uint8_t* classes;
  };

  static void read(std::string_view text, char* folded, std::uint8_t* classes);
  static void read_32(std::string_view text, char* folded, std::uint8_t* classes);
  static void mark_short(const Shorts& shorts, const char* folded, std::span<std::uint32_t> marks);
  static void mark_short_32(const Shorts& shorts, const char* folded,
                            std::span<std::uint32_t> marks);
  template <bool kAnd>
  static void mark(const Pairs& pairs, const std::uint8_t* classes, std::span<std::uint32_t> marks);
  template <bool kAnd>
  static void mark_32(const Pairs& pairs, const std::uint8_t* classes,
                      std::span<std::uint32_t> marks);
  static std::size_t list(std::span<const std::uint32_t> marks, std::uint32_t* places);
  template <typename Compare>
  static std::size_t gather(const Anchors& anchors, const char* folded, std::size_t places,
                            Work& work, Compare compare);
  static std::size_t gather_each(const Anchors& anchors, const char* folded, std::size_t places,
                                 Work& work);
  static std::size_t gather_four(const Anchors& anchors, const char* folded, std::size_t places,
                                 Work& work);
  void compare(std::size_t kind, std::size_t count, const Text& text, Work& work) const;

  Shorts shorts_;
  Pairs begins_;  // an anchor's first two octets
  Pairs ends_;    // its last two
  std::array<Anchors, kKinds> by_kind_;
  std::vector<Entry> words_;
  std::string texts_;
};

}  // namespace sluice::scan
