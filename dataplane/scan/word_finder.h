// Many words in whole, bounded texts: every place at which one of them stands.
//
// Theory. Of each word four octets in a row are its anchor (of a shorter word all of them): those
// that are the rarest in mail text. Bitmaps by hash say at which places of the text the octets may
// be somebody's anchor, eight places at a time where there is AVX2; there the words of that anchor
// are compared. Letters are folded for that, and a word that asks for its case is compared with the
// text as it is. Immutable; made once at load.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
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

  // `text` with its letters in lower case, in `out`, which look() may read beyond its end.
  static void fold(std::string_view text, std::string& out);

  // Where anchors may stand, in order.
  struct Place {
    std::uint32_t at;
    std::uint32_t sizes;  // bit 0: of 1 or 2 octets, bit 1: of 3, bit 2: of kAnchor
  };
  // The places of the text of which `folded` was made.
  void look(const std::string& folded, std::vector<Place>& places) const;

  // Calls take(word, end) for each word whose anchor is at `place` and that stands in `text` from
  // `begin` to `end`, a text by itself.
  template <typename Take>
  void take_words(const Place& place, std::string_view text, const std::string& folded,
                  std::size_t begin, std::size_t end, Take take) const {
    const std::uint32_t octets = load(folded.data() + place.at);
    const auto of_size = [&](const Anchors& anchors) {
      const std::size_t slot = anchors.slot(octets);
      for (std::uint32_t i = anchors.first[slot]; i != anchors.first[slot + 1]; ++i) {
        const Entry& entry = anchors.entries[i];
        if (entry.octets == (octets & anchors.mask) &&
            stands(entry, text, folded.data(), place.at, begin, end))
          take(entry.word, place.at - entry.anchor + entry.size);
      }
    };
    if ((place.sizes & 4) != 0) of_size(by_size_[3]);
    if ((place.sizes & 2) != 0) of_size(by_size_[2]);
    if ((place.sizes & 1) == 0) return;
    of_size(by_size_[1]);
    of_size(by_size_[0]);
  }

 private:
  struct Entry {
    std::uint32_t octets = 0;  // of its anchor
    std::uint32_t word = 0;
    std::uint32_t text = 0;  // where it begins in texts_
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
  static constexpr std::size_t kPadding = 16;  // octets that look() reads beyond the text

  static constexpr std::uint32_t hash(std::uint32_t octets) { return octets * 0x9e3779b1u; }
  static std::uint32_t load(const char* p) {
    std::uint32_t octets;
    std::memcpy(&octets, p, sizeof octets);
    if constexpr (std::endian::native == std::endian::big) octets = __builtin_bswap32(octets);
    return octets;
  }
  bool stands(const Entry& entry, std::string_view text, const char* folded, std::size_t at,
              std::size_t begin, std::size_t end) const;

  std::uint32_t sizes_at(std::uint32_t octets) const;
  void look_at_each(const std::string& folded, std::size_t from, std::vector<Place>& places) const;
  std::size_t look_at_eight(const std::string& folded, std::vector<Place>& places) const;

  std::array<Anchors, kAnchor> by_size_;
  std::vector<std::uint32_t> pairs_;  // by the octets themselves
  std::vector<std::uint32_t> threes_;
  std::vector<std::uint32_t> fours_;
  std::vector<Entry> words_;
  std::string texts_;
};

}  // namespace sluice::scan
