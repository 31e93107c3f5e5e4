#include "dataplane/scan/word_finder.h"

#include <algorithm>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sluice::scan {

namespace {

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool is_word(char c) {
  const char letter = lower(c);
  return (letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

}  // namespace

bool WordFinder::add(std::string_view word, std::uint8_t flags, std::size_t anchor) {
  const std::size_t size = std::min(word.size(), kAnchor);
  if (word.empty() || word.size() > std::numeric_limits<std::uint16_t>::max() ||
      anchor + size > word.size())
    return false;
  Entry& entry = words_.emplace_back();
  for (std::size_t i = size; i-- > 0;) {
    entry.octets = entry.octets << 8 | static_cast<unsigned char>(lower(word[anchor + i]));
  }
  entry.word = static_cast<std::uint32_t>(words_.size() - 1);
  entry.text = static_cast<std::uint32_t>(texts_.size());
  entry.size = static_cast<std::uint16_t>(word.size());
  entry.anchor = static_cast<std::uint16_t>(anchor);
  entry.flags = flags;
  texts_ += word;
  return true;
}

void WordFinder::Anchors::build(std::vector<Entry> all) {
  constexpr std::size_t kSlotsForEach = 2;
  constexpr std::size_t kMostSlots = 32768;
  entries = std::move(all);
  slots = static_cast<std::uint32_t>(
      std::bit_ceil(std::clamp(entries.size() * kSlotsForEach, std::size_t{1}, kMostSlots)) - 1);
  first.assign(slots + 2, 0);
  std::ranges::stable_sort(entries, {}, [&](const Entry& entry) { return slot(entry.octets); });
  for (const Entry& entry : entries) ++first[slot(entry.octets) + 1];
  for (std::size_t i = 1; i < first.size(); ++i) first[i] += first[i - 1];
}

void WordFinder::build() {
  const auto set = [](std::vector<std::uint32_t>& bitmap, std::uint32_t word, std::uint32_t bit) {
    bitmap[word] |= 1u << (bit % 32);
  };
  pairs_.assign(65536 / 32, 0);
  threes_.assign(1u << kThreeWords, 0);
  fours_.assign(1u << kFourWords, 0);
  std::array<std::vector<Entry>, kAnchor> entries;
  for (const Entry& word : words_) {
    const std::size_t size = std::min<std::size_t>(word.size, kAnchor);
    entries[size - 1].push_back(word);
    const std::uint32_t hashed = hash(size == 3 ? word.octets << 8 : word.octets);
    if (size == 4) {
      set(fours_, hashed >> (32 - kFourWords), hashed >> (27 - kFourWords));
    } else if (size == 3) {
      set(threes_, hashed >> (32 - kThreeWords), hashed >> (27 - kThreeWords));
    } else {
      for (std::uint32_t behind = 0; behind < (size == 1 ? 256 : 1); ++behind) {
        const std::uint32_t pair = word.octets | behind << 8;
        set(pairs_, pair / 32, pair);
      }
    }
  }
  for (std::size_t size = 1; size <= kAnchor; ++size) {
    by_size_[size - 1].mask = ~std::uint32_t{0} >> 8 * (kAnchor - size);
    by_size_[size - 1].build(std::move(entries[size - 1]));
  }
}

std::size_t WordFinder::memory_used() const {
  std::size_t all = texts_.size() + words_.size() * sizeof(Entry) +
                    (pairs_.size() + threes_.size() + fours_.size()) * sizeof(std::uint32_t);
  for (const Anchors& of : by_size_)
    all += of.first.size() * sizeof(std::uint32_t) + of.entries.size() * sizeof(Entry);
  return all;
}

std::uint32_t WordFinder::sizes_at(std::uint32_t octets) const {
  const auto has = [](const std::vector<std::uint32_t>& bitmap, std::uint32_t word,
                      std::uint32_t bit) { return bitmap[word] >> (bit % 32) & 1; };
  const std::uint32_t pair = octets & 0xffff;
  const std::uint32_t three = hash(octets << 8);
  const std::uint32_t four = hash(octets);
  return has(pairs_, pair / 32, pair) |
         has(threes_, three >> (32 - kThreeWords), three >> (27 - kThreeWords)) << 1 |
         has(fours_, four >> (32 - kFourWords), four >> (27 - kFourWords)) << 2;
}

void WordFinder::look_at_each(const std::string& folded, std::size_t from,
                              std::vector<Place>& places) const {
  for (std::size_t at = from; at + kPadding < folded.size(); ++at) {
    if (const std::uint32_t sizes = sizes_at(load(folded.data() + at)); sizes != 0)
      places.push_back({static_cast<std::uint32_t>(at), sizes});
  }
}

#if defined(__x86_64__)
// As sizes_at(), of eight places at once. Says how far it came.
[[gnu::target("avx2")]] std::size_t WordFinder::look_at_eight(const std::string& folded,
                                                              std::vector<Place>& places) const {
  const auto bits_in = [](const std::vector<std::uint32_t>& bitmap, __m256i word, __m256i bit)
      __attribute__((target("avx2"))) {
    const __m256i words =
        _mm256_i32gather_epi32(reinterpret_cast<const int*>(bitmap.data()), word, 4);
    const __m256i moved = _mm256_srlv_epi32(words, _mm256_and_si256(bit, _mm256_set1_epi32(31)));
    return static_cast<std::uint32_t>(
        _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_slli_epi32(moved, 31))));
  };
  const __m256i fours = _mm256_setr_epi8(0, 1, 2, 3, 1, 2, 3, 4, 2, 3, 4, 5, 3, 4, 5, 6, 4, 5, 6, 7,
                                         5, 6, 7, 8, 6, 7, 8, 9, 7, 8, 9, 10);
  const __m256i factor = _mm256_set1_epi32(static_cast<int>(hash(1)));
  std::size_t at = 0;
  for (; at + 8 + kPadding <= folded.size(); at += 8) {
    const __m128i near = _mm_loadu_si128(reinterpret_cast<const __m128i*>(folded.data() + at));
    const __m256i octets = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(near), fours);
    const __m256i pair = _mm256_and_si256(octets, _mm256_set1_epi32(0xffff));
    const __m256i three = _mm256_mullo_epi32(_mm256_slli_epi32(octets, 8), factor);
    const __m256i four = _mm256_mullo_epi32(octets, factor);
    const std::uint32_t of_pairs = bits_in(pairs_, _mm256_srli_epi32(pair, 5), pair);
    const std::uint32_t of_threes = bits_in(threes_, _mm256_srli_epi32(three, 32 - kThreeWords),
                                            _mm256_srli_epi32(three, 27 - kThreeWords));
    const std::uint32_t of_fours = bits_in(fours_, _mm256_srli_epi32(four, 32 - kFourWords),
                                           _mm256_srli_epi32(four, 27 - kFourWords));
    for (std::uint32_t any = of_pairs | of_threes | of_fours; any != 0; any &= any - 1) {
      const auto lane = static_cast<std::uint32_t>(std::countr_zero(any));
      places.push_back({static_cast<std::uint32_t>(at) + lane, (of_pairs >> lane & 1) |
                                                                   (of_threes >> lane & 1) << 1 |
                                                                   (of_fours >> lane & 1) << 2});
    }
  }
  return at;
}
#endif

void WordFinder::look(const std::string& folded, std::vector<Place>& places) const {
  places.clear();
  std::size_t at = 0;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) at = look_at_eight(folded, places);
#endif
  look_at_each(folded, at, places);
}

void WordFinder::fold(std::string_view text, std::string& out) {
  using Block = std::uint8_t __attribute__((vector_size(16)));
  out.resize(text.size() + kPadding);
  char* to = out.data();
  std::size_t at = 0;
  for (; at + sizeof(Block) <= text.size(); at += sizeof(Block)) {
    Block block;
    std::memcpy(&block, text.data() + at, sizeof block);
    block |= reinterpret_cast<Block>(block - 'A' < 26) & 0x20;
    std::memcpy(to + at, &block, sizeof block);
  }
  for (; at < text.size(); ++at) to[at] = lower(text[at]);
  std::memset(to + at, 0, kPadding);
}

bool WordFinder::stands(const Entry& entry, std::string_view text, const char* folded,
                        std::size_t at, std::size_t begin, std::size_t end) const {
  if (at - begin < entry.anchor) return false;
  const std::size_t from = at - entry.anchor;
  if (end - from < entry.size) return false;
  const bool caseless = (entry.flags & kCaseless) != 0;
  // Of a short word the anchor is all.
  if (!caseless || entry.size > kAnchor) {
    const char* const where = (caseless ? folded : text.data()) + from;
    const char* const word = texts_.data() + entry.text;
    const std::size_t last = entry.size - std::size_t{1};
    if (where[0] != word[0] || where[last] != word[last] ||
        std::memcmp(where, word, entry.size) != 0)
      return false;
  }
  if ((entry.flags & kBeginsWord) != 0 && from > begin && is_word(text[from - 1])) return false;
  return (entry.flags & kEndsWord) == 0 || from + entry.size == end ||
         !is_word(text[from + entry.size]);
}

}  // namespace sluice::scan
