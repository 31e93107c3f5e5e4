#include "dataplane/scan/word_finder.h"

#include <algorithm>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sluice::scan {

namespace {

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// By octet in lower case: a part of a word.
constexpr std::array<std::uint8_t, 256> kWord = [] {
  std::array<std::uint8_t, 256> word{};
  for (unsigned c = 0; c < 256; ++c)
    word[c] = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  return word;
}();
std::uint8_t of_word(char c) { return kWord[static_cast<unsigned char>(c)]; }

// The first octets of sixteen, by how many: what is compared of a word.
constexpr std::array<std::array<std::uint8_t, 16>, 17> kFirst = [] {
  std::array<std::array<std::uint8_t, 16>, 17> first{};
  for (std::size_t size = 0; size <= 16; ++size) std::fill_n(first[size].begin(), size, 0xff);
  return first;
}();

// By a bit for each of eight lanes: those that are set, in order.
constexpr std::array<std::array<std::uint8_t, 8>, 256> kLanes = [] {
  std::array<std::array<std::uint8_t, 8>, 256> lanes{};
  for (unsigned bits = 0; bits < 256; ++bits) {
    std::size_t count = 0;
    for (std::uint8_t lane = 0; lane < 8; ++lane) {
      if ((bits >> lane & 1) != 0) lanes[bits][count++] = lane;
    }
  }
  return lanes;
}();

// Room for so many; what is there stays.
template <typename T>
T* room(std::vector<T>& all, std::size_t count) {
  if (all.size() < count) all.resize(std::max(count, 2 * all.size()));
  return all.data();
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
  texts_begin_.push_back(static_cast<std::uint32_t>(texts_.size()));
  entry.size = static_cast<std::uint16_t>(word.size());
  entry.anchor = static_cast<std::uint16_t>(anchor);
  entry.flags = flags;
  texts_ += word;
  std::ranges::transform(word.substr(0, kHead), heads_.emplace_back().begin(), lower);
  whole_.push_back(word.size() > kHead || (flags & kCaseless) == 0);
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
  std::size_t all = texts_.size() +
                    words_.size() * (sizeof(Entry) + kHead + sizeof(std::uint32_t)) +
                    (pairs_.size() + threes_.size() + fours_.size()) * sizeof(std::uint32_t);
  for (const Anchors& of : by_size_)
    all += of.first.size() * sizeof(std::uint32_t) + of.entries.size() * sizeof(Entry);
  return all;
}

void WordFinder::look_at_each(const char* folded, std::size_t from, std::size_t size,
                              Work& work) const {
  const auto has = [](const std::vector<std::uint32_t>& bitmap, std::uint32_t word,
                      std::uint32_t bit) { return (bitmap[word] >> (bit % 32) & 1) != 0; };
  const auto note = [&](std::size_t i, std::size_t at, bool found) {
    work.places_[i][work.near_[i]] = static_cast<std::uint32_t>(at);
    work.near_[i] += found ? 1 : 0;
  };
  for (std::size_t at = from; at < size; ++at) {
    const std::uint32_t octets = load(folded + at);
    const std::uint32_t pair = octets & 0xffff;
    const std::uint32_t three = hash(octets << 8);
    const std::uint32_t four = hash(octets);
    note(0, at, has(pairs_, pair / 32, pair));
    note(1, at, has(threes_, three >> (32 - kThreeWords), three >> (27 - kThreeWords)));
    note(2, at, has(fours_, four >> (32 - kFourWords), four >> (27 - kFourWords)));
  }
}

#if defined(__x86_64__)
// As look_at_each(), of eight places at once. Says how far it came.
[[gnu::target("avx2")]] std::size_t WordFinder::look_at_eight(const char* folded, std::size_t from,
                                                              std::size_t size, Work& work) const {
  const auto bits_in = [](const std::vector<std::uint32_t>& bitmap, __m256i word, __m256i bit)
      __attribute__((target("avx2"))) {
    const __m256i words =
        _mm256_i32gather_epi32(reinterpret_cast<const int*>(bitmap.data()), word, 4);
    const __m256i moved = _mm256_srlv_epi32(words, _mm256_and_si256(bit, _mm256_set1_epi32(31)));
    return static_cast<std::uint32_t>(
        _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_slli_epi32(moved, 31))));
  };
  const auto note = [&work](std::size_t i, __m256i at, std::uint32_t found)
      __attribute__((target("avx2"))) {
    const __m256i lanes = _mm256_cvtepu8_epi32(
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kLanes[found].data())));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(work.places_[i].data() + work.near_[i]),
                        _mm256_add_epi32(at, lanes));
    work.near_[i] += static_cast<std::size_t>(std::popcount(found));
  };
  const __m256i fours = _mm256_setr_epi8(0, 1, 2, 3, 1, 2, 3, 4, 2, 3, 4, 5, 3, 4, 5, 6, 4, 5, 6, 7,
                                         5, 6, 7, 8, 6, 7, 8, 9, 7, 8, 9, 10);
  const __m256i factor = _mm256_set1_epi32(static_cast<int>(hash(1)));
  std::size_t at = from;
  for (; at + 8 <= size; at += 8) {
    const __m128i near = _mm_loadu_si128(reinterpret_cast<const __m128i*>(folded + at));
    const __m256i octets = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(near), fours);
    const __m256i pair = _mm256_and_si256(octets, _mm256_set1_epi32(0xffff));
    const __m256i three = _mm256_mullo_epi32(_mm256_slli_epi32(octets, 8), factor);
    const __m256i four = _mm256_mullo_epi32(octets, factor);
    const __m256i place = _mm256_set1_epi32(static_cast<int>(at));
    note(0, place, bits_in(pairs_, _mm256_srli_epi32(pair, 5), pair));
    note(1, place,
         bits_in(threes_, _mm256_srli_epi32(three, 32 - kThreeWords),
                 _mm256_srli_epi32(three, 27 - kThreeWords)));
    note(2, place,
         bits_in(fours_, _mm256_srli_epi32(four, 32 - kFourWords),
                 _mm256_srli_epi32(four, 27 - kFourWords)));
  }
  return at;
}

// Of sixteen.
[[gnu::target("avx512f,avx512bw")]] std::size_t WordFinder::look_at_sixteen(const char* folded,
                                                                            std::size_t size,
                                                                            Work& work) const {
  constexpr __mmask16 kAll =
      0xffff;  // GCC 12 warns of what the forms without a mask leave undefined
  const auto note = [&](std::size_t i, const std::vector<std::uint32_t>& bitmap, __m512i word,
                        __m512i bit, __m512i at) __attribute__((target("avx512f,avx512bw"))) {
    const __m512i words =
        _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), kAll, word, bitmap.data(), 4);
    const __mmask16 found =  // a rotation takes its count modulo 32
        _mm512_test_epi32_mask(_mm512_maskz_rorv_epi32(kAll, words, bit), _mm512_set1_epi32(1));
    _mm512_storeu_si512(work.places_[i].data() + work.near_[i],
                        _mm512_maskz_compress_epi32(found, at));
    work.near_[i] += static_cast<std::size_t>(std::popcount(static_cast<unsigned>(found)));
  };
  const __m512i spread = _mm512_setr_epi32(0, 1, 2, 3, 1, 2, 3, 4, 2, 3, 4, 5, 3, 4, 5, 6);
  const __m512i fours = _mm512_maskz_broadcast_i32x4(
      kAll, _mm_setr_epi8(0, 1, 2, 3, 1, 2, 3, 4, 2, 3, 4, 5, 3, 4, 5, 6));
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i factor = _mm512_set1_epi32(static_cast<int>(hash(1)));
  const auto behind = [&](__m512i octets, unsigned bits)
      __attribute__((target("avx512f,avx512bw"))) {
    return _mm512_maskz_srl_epi32(kAll, octets, _mm_cvtsi32_si128(static_cast<int>(bits)));
  };
  std::size_t at = 0;
  for (; at + 16 <= size; at += 16) {
    const __m256i near = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(folded + at));
    const __m512i octets = _mm512_shuffle_epi8(
        _mm512_maskz_permutexvar_epi32(kAll, spread, _mm512_castsi256_si512(near)), fours);
    const __m512i pair = _mm512_and_si512(octets, _mm512_set1_epi32(0xffff));
    const __m512i three = _mm512_mullo_epi32(_mm512_maskz_slli_epi32(kAll, octets, 8), factor);
    const __m512i four = _mm512_mullo_epi32(octets, factor);
    const __m512i place = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(at)), lanes);
    note(0, pairs_, behind(pair, 5), pair, place);
    note(1, threes_, behind(three, 32 - kThreeWords), behind(three, 27 - kThreeWords), place);
    note(2, fours_, behind(four, 32 - kFourWords), behind(four, 27 - kFourWords), place);
  }
  return at;
}
#endif

// The words that have their anchors at the places of a class. Says how many.
std::size_t WordFinder::gather(std::size_t of_class, const char* folded, Work& work) const {
  const Anchors& anchors = by_size_[of_class];
  if (anchors.entries.empty()) return 0;
  const std::size_t i = of_class == 0 ? 0 : of_class - 1;
  const std::uint32_t* const places = work.places_[i].data();
  std::size_t count = 0;
  for (std::size_t n = 0; n < work.near_[i]; ++n) {
    const std::uint32_t octets = load(folded + places[n]) & anchors.mask;
    const std::size_t slot = anchors.slot(octets);
    const std::uint32_t last = anchors.first[slot + 1];
    std::uint32_t entry = anchors.first[slot];
    Work::Candidate* const all = room(work.candidates_, count + (last - entry) + 1);
    for (; entry != last; ++entry) {
      all[count] = {entry, places[n]};
      count += anchors.entries[entry].octets == octets ? 1 : 0;
    }
  }
  return count;
}

// Which of them are there.
void WordFinder::compare(std::size_t of_class, std::size_t count, std::string_view text,
                         const char* folded, Work& work) const {
  const Entry* const entries = by_size_[of_class].entries.data();
  Hit* const hits = room(work.hits_[of_class], count + 1);
  const auto two = [](const void* octets) {
    std::array<std::uint64_t, 2> words;
    std::memcpy(&words, octets, sizeof words);
    return words;
  };
  std::size_t likely = 0;
  for (std::size_t n = 0; n < count; ++n) {
    const auto [number, at] = work.candidates_[n];
    const Entry& entry = entries[number];
    const std::uint32_t begin = at >= entry.anchor ? at - entry.anchor : 0;
    const std::uint32_t end = begin + entry.size;
    const auto there = two(folded + begin);
    const auto wanted = two(heads_[entry.word].data());
    const auto first = two(kFirst[std::min<std::size_t>(entry.size, kHead)].data());
    const bool differs =
        (((there[0] ^ wanted[0]) & first[0]) | ((there[1] ^ wanted[1]) & first[1])) != 0;
    const bool inside = at >= entry.anchor && end <= text.size();
    const char* const before = folded + begin - 1;
    const char* const behind = folded + (inside ? end : 0);
    const bool inside_word = (((entry.flags / kBeginsWord) & of_word(*before)) |
                              ((entry.flags / kEndsWord) & of_word(*behind))) != 0;
    hits[likely] = {entry.word, at, begin, end};
    likely += static_cast<std::size_t>(!differs) & static_cast<std::size_t>(inside) &
              static_cast<std::size_t>(!inside_word);
  }
  std::size_t found = 0;
  for (std::size_t n = 0; n < likely; ++n) {
    const Hit hit = hits[n];
    if (whole_[hit.word]) {
      const bool caseless = (words_[hit.word].flags & kCaseless) != 0;
      const char* const where = (caseless ? folded : text.data()) + hit.begin;
      if (std::memcmp(where, texts_.data() + texts_begin_[hit.word], hit.end - hit.begin) != 0)
        continue;
    }
    hits[found++] = hit;
  }
  work.found_[of_class] = found;
}

void WordFinder::find(std::string_view text, Work& work) const {
  fold(text, work.folded_);
  const char* const folded = work.folded_.data() + kFront;
  work.near_ = {};
  work.found_ = {};
  for (auto& places : work.places_) room(places, text.size() + 16);
  std::size_t at = 0;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bw")) at = look_at_sixteen(folded, text.size(), work);
  if (__builtin_cpu_supports("avx2")) at = look_at_eight(folded, at, text.size(), work);
#endif
  look_at_each(folded, at, text.size(), work);
  for (std::size_t of_class = 0; of_class < kClasses; ++of_class) {
    if (const std::size_t count = gather(of_class, folded, work); count > 0)
      compare(of_class, count, text, folded, work);
  }
}

void WordFinder::fold(std::string_view text, std::string& out) {
  using Block = std::uint8_t __attribute__((vector_size(16)));
  if (out.size() < text.size() + kFront + kPadding) out.resize(text.size() + kFront + kPadding);
  std::memset(out.data(), 0, kFront);
  char* to = out.data() + kFront;
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

}  // namespace sluice::scan
