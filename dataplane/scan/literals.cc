#include "dataplane/scan/literals.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <compare>
#include <cstring>
#include <numeric>
#include <unordered_map>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sluice::scan {
namespace {

constexpr std::size_t kStride = 4;
constexpr std::size_t kWidth = 5;
static_assert(LiteralSet::kSampled == kStride + kWidth - 1);
constexpr std::size_t kBriefStride = 1;
constexpr std::size_t kBriefWidth = 4;
constexpr std::size_t kMostInBuckets = 128;  // beyond, the bitmap is faster
constexpr std::size_t kFew = 32;  // which are looked for as brief ones are, whatever their size
constexpr std::size_t kBeginnings = 16;  // among which that of a literal is looked for
constexpr std::size_t kMostWithOne = 4;  // a rare window of their own is better than many of these
// Letters of both cases become one; that other octets fall together costs a comparison at most.
constexpr std::uint64_t kFold = 0x2020202020202020;
constexpr unsigned kBitsForEach = 16;  // of the bitmap, for each window: it stays in a near cache
constexpr unsigned kMinBitmap = 7;     // log2 of its words
constexpr unsigned kMaxBitmap = 19;

// The first of eight octets lowest.
inline std::uint64_t eight_at(const std::uint8_t* p) {
  std::uint64_t octets = 0;
  std::memcpy(&octets, p, sizeof octets);
  return std::endian::native == std::endian::big ? __builtin_bswap64(octets) : octets;
}

// The window of `width` octets at p, of which `size` may be read: folded, first octet lowest.
template <std::size_t width>
std::uint64_t window_at(const std::uint8_t* p, std::size_t size) {
  constexpr std::uint64_t kMask = ~std::uint64_t{0} >> 8 * (8 - width);
  std::uint64_t window = 0;
  if (size >= sizeof window) {
    window = eight_at(p);
  } else {
    for (std::size_t i = size; i-- > 0;) window = window << 8 | p[i];
  }
  return (window | kFold) & kMask;
}

// All octets go into the highest bits, which are used. The vectors below compute the same.
constexpr std::uint32_t kFactor = 0x9e3779b1;
template <std::size_t width>
constexpr std::uint32_t hash_of(std::uint64_t window) {
  static_assert(width == 4 || width == 5);
  const auto low = static_cast<std::uint32_t>(window);
  const auto high = static_cast<std::uint32_t>(window >> 32);
  return low * kFactor + (width == 5 ? high << 24 : 0);
}

// A window has two bits of a word of the bitmap (a blocked Bloom filter): what is not entered is
// rarely there, and one place of memory is looked at. `shift`: of the word's number in the hash.
constexpr std::uint32_t bits_of(std::uint32_t hash, unsigned shift) {
  return 1u << (hash >> (shift - 5)) % 32 | 1u << (hash >> (shift - 10)) % 32;
}

// How many bits of so many octets are compared first.
constexpr unsigned bits_compared(std::size_t size) {
  return static_cast<unsigned>(8 * std::min<std::size_t>(size, 8));
}

constexpr std::uint8_t lower(std::uint8_t c) {
  return c >= 'A' && c <= 'Z' ? static_cast<std::uint8_t>(c + 32) : c;
}

// Likewise, eight octets.
constexpr std::uint64_t lower_eight(std::uint64_t octets) {
  constexpr std::uint64_t kEach = 0x0101010101010101;
  const std::uint64_t low = octets & 0x7f * kEach;
  const std::uint64_t from_a = low + (0x80 - 'A') * kEach;    // the highest bit: 'A' or more
  const std::uint64_t beyond_z = low + (0x7f - 'Z') * kEach;  // more than 'Z'
  return octets | ((from_a ^ beyond_z) & ~octets & 0x80 * kEach) >> 2;
}

#if defined(__x86_64__)
// Whether both bits of each lane are in the bitmap, in the lane's sign. `shift`: of the word.
[[gnu::target("avx2")]] inline __m256i in_bitmap(const std::uint32_t* bitmap, __m256i hash,
                                                 __m128i shift) {
  // Single loads: a gather is slower than these on AMD's.
  const __m256i at = _mm256_srl_epi32(hash, shift);
  const auto four = [&](__m128i numbers) __attribute__((target("avx2"), always_inline)) {
    const auto first = static_cast<std::uint64_t>(_mm_cvtsi128_si64(numbers));
    const auto second = static_cast<std::uint64_t>(_mm_extract_epi64(numbers, 1));
    const auto word = [&](std::uint64_t number) { return static_cast<int>(bitmap[number]); };
    __m128i words = _mm_cvtsi32_si128(word(first & 0xffffffff));
    words = _mm_insert_epi32(words, word(first >> 32), 1);
    words = _mm_insert_epi32(words, word(second & 0xffffffff), 2);
    return _mm_insert_epi32(words, word(second >> 32), 3);
  };
  const __m256i words =
      _mm256_set_m128i(four(_mm256_extracti128_si256(at, 1)), four(_mm256_castsi256_si128(at)));
  // As bits_of(): the first bit from the hash as it is left of the shift, the other further right.
  const __m256i left = _mm256_srl_epi32(hash, _mm_sub_epi64(shift, _mm_cvtsi32_si128(5)));
  const __m256i right = _mm256_srl_epi32(hash, _mm_sub_epi64(shift, _mm_cvtsi32_si128(10)));
  const __m256i lowest = _mm256_set1_epi32(31);
  const __m256i both = _mm256_and_si256(_mm256_srlv_epi32(words, _mm256_and_si256(left, lowest)),
                                        _mm256_srlv_epi32(words, _mm256_and_si256(right, lowest)));
  return _mm256_slli_epi32(both, 31);
}

[[gnu::target("avx2")]] inline __m256i folded(const std::uint8_t* p) {
  return _mm256_or_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
                         _mm256_set1_epi64x(static_cast<long long>(kFold)));
}

// Mask of the eight windows that begin at p, p + kStride, ... and are in the bitmap. 36 octets are
// read.
[[gnu::target("avx2")]] inline unsigned probe_eight(const std::uint32_t* bitmap, __m128i shift,
                                                    const std::uint8_t* p) {
  const __m256i low = _mm256_mullo_epi32(folded(p), _mm256_set1_epi32(static_cast<int>(kFactor)));
  const __m256i high = _mm256_slli_epi32(folded(p + 4), 24);
  const __m256i bits = in_bitmap(bitmap, _mm256_add_epi32(low, high), shift);
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(bits)));
}

// Likewise, at p, p + 1, ...; 16 octets are read.
[[gnu::target("avx2")]] inline unsigned probe_eight_brief(const std::uint32_t* bitmap,
                                                          __m128i shift, const std::uint8_t* p) {
  const __m256i octets =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256i places = _mm256_setr_epi8(0, 1, 2, 3, 1, 2, 3, 4, 2, 3, 4, 5, 3, 4, 5, 6, 4, 5, 6,
                                          7, 5, 6, 7, 8, 6, 7, 8, 9, 7, 8, 9, 10);
  const __m256i windows = _mm256_or_si256(_mm256_shuffle_epi8(octets, places),
                                          _mm256_set1_epi64x(static_cast<long long>(kFold)));
  const __m256i hash = _mm256_mullo_epi32(windows, _mm256_set1_epi32(static_cast<int>(kFactor)));
  const __m256i bits = in_bitmap(bitmap, hash, shift);
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(bits)));
}
#endif

}  // namespace

LiteralSet::LiteralSet(const std::vector<Literal>& literals) {
  std::vector<std::uint32_t> sampled;
  std::vector<std::uint32_t> brief;
  for (const Literal& literal : literals) {
    const auto size = static_cast<std::uint8_t>(literal.octets.size());
    literals_.push_back({.pattern = literal.pattern,
                         .first = static_cast<std::uint32_t>(octets_.size()),
                         .size = size,
                         .nocase = literal.nocase,
                         .longest = size});
    for (const std::uint8_t octet : literal.octets)
      octets_.push_back(literal.nocase ? lower(octet) : octet);
    longest_ = std::max(longest_, literal.octets.size());
  }
  octets_.resize(octets_.size() + 8);  // eight are read of each
  const std::vector<std::uint32_t> alone = share();
  for (const std::uint32_t number : alone) {
    const bool few = vectors_ && alone.size() <= kFew;
    (literals_[number].size >= kSampled && !few ? sampled : brief).push_back(number);
  }
  build<kStride, kWidth>(sampled_, sampled);
  build<kBriefStride, kBriefWidth>(brief_, brief);
  if (brief.size() <= kMostInBuckets) build_buckets(std::move(brief));
}

// Links each literal that begins with another to that one; returns the rest, which are looked for
// by themselves.
std::vector<std::uint32_t> LiteralSet::share() {
  const auto octets_of = [&](const Stored& literal) {
    return Bytes(octets_).subspan(literal.first, literal.size);
  };
  // Each behind those that it begins with; of the same octets the one that stands in more texts.
  std::vector<std::uint32_t> order(literals_.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto before = [&](std::uint32_t a, std::uint32_t b) {
    const auto folded = [](std::uint8_t x, std::uint8_t y) { return lower(x) <=> lower(y); };
    const Bytes of_a = octets_of(literals_[a]);
    const Bytes of_b = octets_of(literals_[b]);
    const auto octets = std::lexicographical_compare_three_way(of_a.begin(), of_a.end(),
                                                               of_b.begin(), of_b.end(), folded);
    if (std::is_neq(octets)) return std::is_lt(octets);
    return literals_[a].nocase && !literals_[b].nocase;
  };
  std::ranges::stable_sort(order, before);
  struct Alone {
    std::uint32_t literal;
    std::size_t others = 0;
  };
  // Each begins the next one, but for the case of letters. As few as there may be: a set can have
  // the same octets in any number of ways.
  std::vector<Alone> beginnings;
  std::vector<std::uint32_t> alone;
  for (const std::uint32_t number : order) {
    Stored& literal = literals_[number];
    const auto is_beginning = [&](const Stored& briefer) {
      const Bytes octets = octets_of(briefer);
      return std::equal(octets.begin(), octets.end(), octets_.data() + literal.first,
                        octets_.data() + literal.first + std::min(briefer.size, literal.size),
                        [](std::uint8_t a, std::uint8_t b) { return lower(a) == lower(b); });
    };
    while (!beginnings.empty() && !is_beginning(literals_[beginnings.back().literal]))
      beginnings.pop_back();
    const auto with = std::ranges::find_if(beginnings, [&](const Alone& other) {
      const Stored& briefer = literals_[other.literal];
      return (briefer.nocase || !literal.nocase) &&
             stands_at(briefer, octets_.data() + literal.first);
    });
    if (with == beginnings.end()) {
      if (beginnings.size() == kBeginnings) beginnings.erase(beginnings.begin());
      beginnings.push_back({number});
      alone.push_back(number);
      continue;
    }
    Stored& briefer = literals_[with->literal];
    briefer.longest = std::max(briefer.longest, literal.size);
    literal.longer = std::exchange(briefer.longer, number);
    if (++with->others == kMostWithOne) beginnings.erase(with);
  }
  std::ranges::sort(alone);
  return alone;
}

LiteralSet::Place LiteralSet::place(std::uint32_t number, std::size_t offset) const {
  const Stored& literal = literals_[number];
  const unsigned bits = bits_compared(literal.size);
  const std::size_t from = offset < literal.size / 2u ? literal.size - bits / 8 : 0;
  const std::uint64_t octets = window_at<8>(&octets_[literal.first + from], bits / 8);
  return {.octets = octets & ~std::uint64_t{0} >> (64 - bits),
          .literal = number,
          .offset = static_cast<std::uint8_t>(offset),
          .from = static_cast<std::uint8_t>(from),
          .size = literal.size,
          .longest = literal.longest};
}

// Those that begin alike share a bucket, and those of few octets, which are nearly found more
// often.
void LiteralSet::build_buckets(std::vector<std::uint32_t> members) {
  std::sort(members.begin(), members.end(), [&](std::uint32_t a, std::uint32_t b) {
    const auto places = [](const Stored& literal) {
      return std::min<std::size_t>(literal.size, Buckets::kPlaces);
    };
    const Stored& of_a = literals_[a];
    const Stored& of_b = literals_[b];
    if (places(of_a) != places(of_b)) return places(of_a) < places(of_b);
    return std::memcmp(&octets_[of_a.first], &octets_[of_b.first], kShortest) < 0;
  });
  for (const std::uint32_t member : members) brief_places_.push_back(place(member, 0));
  const std::size_t count = brief_places_.size();
  buckets_.resize((count + 8 * kInBucket - 1) / (8 * kInBucket));
  std::size_t next = 0;
  for (std::size_t bucket = 0; bucket < 8 * buckets_.size(); ++bucket) {
    Buckets& b = buckets_[bucket / 8];
    b.first[bucket % 8] = static_cast<std::uint32_t>(next);
    b.octets[bucket % 8].fill(~std::uint64_t{0});  // nothing, with no bit of a mask
    for (; next < (bucket + 1) * count / (8 * buckets_.size()); ++next) {
      const Place& place = brief_places_[next];
      const std::size_t slot = next - b.first[bucket % 8];
      const Stored& literal = literals_[place.literal];
      const std::uint64_t mask = ~std::uint64_t{0} >> (64 - bits_compared(literal.size));
      b.octets[bucket % 8][slot] = window_at<8>(&octets_[literal.first], 8) & mask;
      b.masks[bucket % 8][slot] = mask;
      const auto bit = static_cast<std::uint8_t>(1u << bucket % 8);
      for (std::size_t i = 0; i < Buckets::kPlaces; ++i) {
        auto& entries = b.tables[i];
        if (i >= literal.size) {
          for (std::uint8_t& entry : entries) entry |= bit;
          for (std::uint8_t& entry : b.halves[i]) entry |= bit;
          continue;
        }
        const std::uint8_t octet = octets_[literal.first + i];
        brief_ascii_ &= octet < 0x80;
        entries[octet % 64] |= bit;
        b.halves[i][octet % 16] |= bit;  // a letter's of both cases
        if (literal.nocase && octet >= 'a' && octet <= 'z') entries[(octet - 32u) % 64] |= bit;
      }
    }
    b.first[bucket % 8 + 1] = static_cast<std::uint32_t>(next);
  }
}

template <std::size_t stride, std::size_t width>
void LiteralSet::build(Sampling& s, const std::vector<std::uint32_t>& members) {
  if (members.empty()) return;
  const auto window = [&](const Stored& literal, std::size_t at) {
    return window_at<width>(octets_.data() + literal.first + at, literal.size - at);
  };
  std::unordered_map<std::uint64_t, std::uint32_t> shared;  // window to the literals with it
  for (const std::uint32_t m : members) {
    const Stored& literal = literals_[m];
    for (std::size_t at = 0; at + width <= literal.size; ++at) ++shared[window(literal, at)];
  }
  // What a window costs: how likely it stands in a text, of which the literals are a sample (pairs
  // of its octets, in bits), and the literals that must be compared there.
  std::array<std::array<float, 64>, 64> pairs{};
  const auto pair = [&](const std::uint8_t* p) -> float& {
    return pairs[(p[0] | kFold) % 64][(p[1] | kFold) % 64];
  };
  for (const std::uint32_t m : members) {
    const Stored& literal = literals_[m];
    for (std::size_t at = 0; at + 1 < literal.size; ++at)
      ++pair(octets_.data() + literal.first + at);
  }
  for (auto& row : pairs)
    for (float& count : row) count = std::log2(1 + count);
  const auto cost = [&](const Stored& literal, std::size_t at) {
    const std::uint8_t* const p = octets_.data() + literal.first + at;
    float bits = std::log2(static_cast<float>(shared[window(literal, at)]));
    for (std::size_t i = 0; i + 1 < width; ++i) bits += pair(p + i);
    return bits;
  };
  struct Entry {
    std::uint32_t hash;
    Place place;
  };
  std::vector<Entry> entries;
  for (const std::uint32_t m : members) {
    const Stored& literal = literals_[m];
    for (std::size_t way = 0; way < stride; ++way) {
      std::size_t best = way;
      for (std::size_t at = way; at + width <= literal.size; at += stride) {
        if (cost(literal, at) < cost(literal, best)) best = at;
      }
      entries.push_back({hash_of<width>(window(literal, best)), place(m, best)});
    }
  }
  std::ranges::stable_sort(entries, {}, &Entry::hash);
  const auto log2 = [](std::size_t n) { return static_cast<unsigned>(std::bit_width(n - 1)); };
  const unsigned bitmap_bits =
      std::clamp(log2(entries.size() * kBitsForEach / 32), kMinBitmap, kMaxBitmap);
  const unsigned first_bits = std::max(1u, log2(entries.size()));
  s.bitmap_shift = 32 - bitmap_bits;
  s.places_shift = 32 - first_bits;
  s.bitmap.assign(std::size_t{1} << bitmap_bits, 0);
  s.first.assign((std::size_t{1} << first_bits) + 1, 0);
  for (const Entry& entry : entries) {
    s.bitmap[entry.hash >> s.bitmap_shift] |= bits_of(entry.hash, s.bitmap_shift);
    ++s.first[(entry.hash >> s.places_shift) + 1];
    s.places.push_back(entry.place);
  }
  std::partial_sum(s.first.begin(), s.first.end(), s.first.begin());
}

std::size_t LiteralSet::size() const {
  std::size_t size = literals_.size() * sizeof(Stored) + octets_.size();
  size += buckets_.size() * sizeof(Buckets) + brief_places_.size() * sizeof(Place);
  for (const Sampling* s : {&sampled_, &brief_})
    size += s->bitmap.size() * 4 + s->first.size() * 4 + s->places.size() * sizeof(Place);
  return size;
}

bool LiteralSet::stands_at(const Stored& literal, const std::uint8_t* text) const {
  const std::uint8_t* const wanted = octets_.data() + literal.first;
  for (std::size_t at = 0; at < literal.size; at += 8) {
    const std::uint64_t there = eight_at(text + at);
    const std::uint64_t differ =
        (literal.nocase ? lower_eight(there) : there) ^ eight_at(wanted + at);
    if (differ << (64 - bits_compared(literal.size - at)) != 0) return false;
  }
  return true;
}

// Reports the literal if it stands at `start`, where the text has room for it, and those that begin
// with it.
void LiteralSet::tell(std::uint32_t literal, const Text& text, std::size_t start) const {
  const std::uint8_t* const p = text.octets.data() + start;
  const Stored* stored = &literals_[literal];
  if (!stands_at(*stored, p)) return;
  for (;;) {
    const std::size_t end = start + stored->size;
    if (end > text.known) text.found(text.context, stored->pattern, end);
    do {
      if (stored->longer == kNone) return;
      stored = &literals_[stored->longer];
    } while (start + stored->size > text.octets.size() || !stands_at(*stored, p));
  }
}

// Reports the literals of the place if they stand at `start`.
inline void LiteralSet::compare(const Place& place, const Text& text, std::size_t start) const {
  if (start + place.size > text.octets.size() || start + place.longest <= text.known) return;
  const std::size_t from = start + place.from;
  const std::uint64_t there = window_at<8>(text.octets.data() + from, text.octets.size() - from);
  if ((there ^ place.octets) << (64 - bits_compared(place.size)) != 0) [[likely]]
    return;
  tell(place.literal, text, start);
}

// The window at `at` is in the bitmap: which literals stand there?
inline void LiteralSet::look(const Sampling& s, const Text& text, std::size_t at,
                             std::uint32_t hash) const {
  const std::uint32_t* const first = &s.first[hash >> s.places_shift];
  for (std::uint32_t k = first[0]; k != first[1]; ++k) {
    const Place& place = s.places[k];
    if (at >= place.offset) compare(place, text, at - place.offset);
  }
}

template <std::size_t stride, std::size_t width>
void LiteralSet::sample(const Sampling& s, const Text& text, std::size_t at) const {
  const std::uint8_t* const begin = text.octets.data();
  for (; at + width <= text.octets.size(); at += stride) {
    const std::uint32_t hash =
        hash_of<width>(window_at<width>(begin + at, text.octets.size() - at));
    const std::uint32_t bits = bits_of(hash, s.bitmap_shift);
    if ((s.bitmap[hash >> s.bitmap_shift] & bits) == bits) look(s, text, at, hash);
  }
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] void LiteralSet::sample_brief(const Text& text) const {
  const std::uint8_t* const begin = text.octets.data();
  const std::size_t size = text.octets.size();
  const std::uint32_t* const bitmap = brief_.bitmap.data();
  const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(brief_.bitmap_shift));
  std::size_t at = 0;
  for (; at + 16 <= size; at += 8) {
    unsigned mask = probe_eight_brief(bitmap, shift, begin + at);
    for (; mask != 0; mask &= mask - 1) {
      const std::size_t place = at + static_cast<unsigned>(std::countr_zero(mask));
      look(brief_, text, place,
           hash_of<kBriefWidth>(window_at<kBriefWidth>(begin + place, size - place)));
    }
  }
  sample<kBriefStride, kBriefWidth>(brief_, text, at);
}

// Vectors look at so many octets ahead of what looks closer: the branches of that, which are hard
// to foresee, wait for none of these.
constexpr std::size_t kAhead = 2048;

struct alignas(64) Octets64 {
  std::array<std::uint8_t, 64> octets;
};
constexpr Octets64 kEvery = [] {
  Octets64 every{};
  std::iota(every.octets.begin(), every.octets.end(), std::uint8_t{0});
  return every;
}();

[[gnu::target("avx512f,avx512bw,avx512vbmi")]] inline __m512i looked_up(__m512i octets,
                                                                        const std::uint8_t* table) {
  return _mm512_maskz_permutexvar_epi8(~__mmask64{0}, octets, _mm512_load_si512(table));
}

// Literals of the buckets `which` may begin at `at`.
[[gnu::target("avx2")]] inline void LiteralSet::look_in_buckets(const Buckets& buckets,
                                                                unsigned which, const Text& text,
                                                                std::size_t at) const {
  static_assert(kInBucket == 4);
  const std::uint64_t window = window_at<8>(text.octets.data() + at, kBehind);
  const __m256i there = _mm256_set1_epi64x(static_cast<long long>(window));
  for (; which != 0; which &= which - 1) {
    const auto bucket = static_cast<std::size_t>(std::countr_zero(which));
    const auto four = [](const auto& values) __attribute__((target("avx2"))) {
      return _mm256_load_si256(reinterpret_cast<const __m256i*>(values.data()));
    };
    const __m256i equal = _mm256_cmpeq_epi64(_mm256_and_si256(there, four(buckets.masks[bucket])),
                                             four(buckets.octets[bucket]));
    auto hits = static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(equal)));
    for (; hits != 0; hits &= hits - 1) {
      const auto slot = static_cast<std::uint32_t>(std::countr_zero(hits));
      compare(brief_places_[buckets.first[bucket] + slot], text, at);
    }
  }
}

// As find_wide(), 32 places at once, each octet looked up by its lower half. `ascii`: no literal's
// first octets are beyond 0x7f, for which the lookup itself then finds nothing.
template <bool ascii>
[[gnu::target("avx2")]] void LiteralSet::find_by_halves(const Text& text) const {
  constexpr std::size_t kLanes = 32;
  static_assert(kLanes + Buckets::kPlaces - 1 <= kBehind);
  std::uint16_t places[kAhead];
  alignas(32) std::uint8_t which[kAhead];
  const std::size_t size = text.octets.size();
  for (std::size_t begin = 0; begin < size; begin += kAhead) {
    const std::size_t end = std::min(size, begin + kAhead);
    for (const Buckets& buckets : buckets_) {
      const auto table = [&](std::size_t i) __attribute__((target("avx2"))) {
        return _mm256_broadcastsi128_si256(
            _mm_load_si128(reinterpret_cast<const __m128i*>(buckets.halves[i])));
      };
      const __m256i tables[] = {table(0), table(1), table(2), table(3), table(4), table(5)};
      std::size_t count = 0;
      for (std::size_t at = begin; at < end; at += kLanes) {
        const std::uint8_t* const octets = text.octets.data() + at;
        const auto placed = [&](std::size_t i) __attribute__((target("avx2"))) {
          const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(octets + i));
          // Behind the shortest stands any octet.
          const bool as_it_is = ascii && i < kShortest;
          return _mm256_shuffle_epi8(
              tables[i], as_it_is ? all : _mm256_and_si256(all, _mm256_set1_epi8(0x0f)));
        };
        static_assert(Buckets::kPlaces == 6);
        const __m256i in =
            _mm256_and_si256(_mm256_and_si256(_mm256_and_si256(placed(0), placed(1)),
                                              _mm256_and_si256(placed(2), placed(3))),
                             _mm256_and_si256(placed(4), placed(5)));
        _mm256_store_si256(reinterpret_cast<__m256i*>(which + (at - begin)), in);
        auto some = ~static_cast<std::uint32_t>(
            _mm256_movemask_epi8(_mm256_cmpeq_epi8(in, _mm256_setzero_si256())));
        for (; some != 0; some &= some - 1)
          places[count++] = static_cast<std::uint16_t>(
              at - begin + static_cast<unsigned>(std::countr_zero(some)));
      }
      for (std::size_t i = 0; i < count; ++i)
        look_in_buckets(buckets, which[places[i]], text, begin + places[i]);
    }
  }
}

// Of each mask of eight lanes: their places, those of its bits first.
constexpr std::array<std::array<std::uint8_t, 8>, 256> kPlacesOfMask = [] {
  std::array<std::array<std::uint8_t, 8>, 256> all{};
  for (unsigned mask = 0; mask < all.size(); ++mask) {
    std::size_t count = 0;
    for (unsigned lane = 0; lane < 8; ++lane) {
      if ((mask >> lane & 1) != 0) all[mask][count++] = static_cast<std::uint8_t>(lane * kStride);
    }
  }
  return all;
}();

// As sample_wide(), eight windows at once.
[[gnu::target("avx2")]] void LiteralSet::sample_eight(const Text& text) const {
  constexpr std::size_t kLanes = 8;
  static_assert(kLanes * kStride + 4 <= kBehind);
  std::uint32_t places[kAhead / kStride + kLanes];
  const std::size_t size = text.octets.size();
  const std::uint32_t* const bitmap = sampled_.bitmap.data();
  const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(sampled_.bitmap_shift));
  for (std::size_t begin = 0; begin < size; begin += kAhead) {
    const std::uint8_t* const octets = text.octets.data() + begin;
    const std::size_t ahead = std::min(size - begin, kAhead);
    std::size_t count = 0;
    for (std::size_t at = 0; at < ahead; at += kLanes * kStride) {
      const unsigned in = probe_eight(bitmap, shift, octets + at);
      const __m256i lanes = _mm256_cvtepu8_epi32(
          _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kPlacesOfMask[in].data())));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(places + count),
                          _mm256_add_epi32(lanes, _mm256_set1_epi32(static_cast<int>(at))));
      count += static_cast<unsigned>(std::popcount(in));
    }
    look_at_all(text, begin, {places, count});
  }
}

[[gnu::target("avx512f,avx512bw,avx512vbmi,avx512vbmi2")]] void LiteralSet::find_wide(
    const Text& text) const {
  constexpr std::size_t kRead = 64 + Buckets::kPlaces - 1;
  // Of each place where a literal may begin: which stretch of 64 octets, and where in it. Of all
  // places: the buckets.
  std::uint8_t stretches[kAhead + 64];
  std::uint8_t places[kAhead + 64];
  alignas(64) std::uint8_t which[kAhead];
  const std::size_t size = text.octets.size();
  const __m512i every = _mm512_load_si512(kEvery.octets.data());
  for (std::size_t begin = 0; begin < size; begin += kAhead) {
    const std::size_t end = std::min(size, begin + kAhead);
    for (const Buckets& buckets : buckets_) {
      const auto& tables = buckets.tables;
      std::size_t count = 0;
      for (std::size_t at = begin; at < end; at += 64) {
        const std::uint8_t* const p = text.octets.data() + at;
        const std::size_t left = size - at;
        const auto placed = [&](std::size_t i)
            __attribute__((target("avx512f,avx512bw,avx512vbmi"))) {
          if (left >= kRead) [[likely]]
            return looked_up(_mm512_loadu_si512(p + i), tables[i]);
          // Behind the end stand zeros.
          const std::size_t there = left > i ? std::min<std::size_t>(left - i, 64) : 0;
          const std::uint64_t mask = there == 0 ? 0 : ~std::uint64_t{0} >> (64 - there);
          return looked_up(_mm512_maskz_loadu_epi8(mask, p + i), tables[i]);
        };
        // The buckets of the literals that may begin at each of the 64 octets.
        static_assert(Buckets::kPlaces == 6);
        const __m512i in =
            _mm512_and_si512(_mm512_and_si512(_mm512_and_si512(placed(0), placed(1)),
                                              _mm512_and_si512(placed(2), placed(3))),
                             _mm512_and_si512(placed(4), placed(5)));
        __mmask64 some = _mm512_test_epi8_mask(in, in);
        if (left < 64) some &= (std::uint64_t{1} << left) - 1;  // a zero may be another octet's
        _mm512_store_si512(which + (at - begin), in);
        _mm512_storeu_si512(places + count, _mm512_maskz_compress_epi8(some, every));
        _mm512_storeu_si512(stretches + count,
                            _mm512_set1_epi8(static_cast<char>((at - begin) / 64)));
        count += static_cast<unsigned>(std::popcount(some));
      }
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t place = stretches[i] * 64u + places[i];
        look_in_buckets(buckets, which[place], text, begin + place);
      }
    }
  }
}

// Which of the sixteen windows that begin at every fourth of `size` octets at p are in the bitmap.
[[gnu::target("avx512f,avx512bw")]] inline __mmask16 probe_sixteen(const std::uint32_t* bitmap,
                                                                   __m128i shift,
                                                                   const std::uint8_t* p,
                                                                   std::size_t size) {
  __m512i first;
  __m512i fifth;
  __mmask16 whole = 0xffff;
  if (size >= 68) [[likely]] {
    first = _mm512_loadu_si512(p);
    fifth = _mm512_loadu_si512(p + 4);
  } else {
    if (size < kWidth) return 0;
    first = _mm512_maskz_loadu_epi8(~std::uint64_t{0} >> (64 - std::min<std::size_t>(size, 64)), p);
    fifth = _mm512_maskz_loadu_epi8(~std::uint64_t{0} >> (64 - (size - 4)), p + 4);
    whole = static_cast<__mmask16>(0xffff >> (16 - ((size - kWidth) / kStride + 1)));
  }
  // GCC 12 warns of what the forms without a mask leave undefined.
  constexpr __mmask16 kAll = 0xffff;
  const __m512i fold = _mm512_set1_epi64(static_cast<long long>(kFold));
  const __m512i low = _mm512_mullo_epi32(_mm512_or_si512(first, fold),
                                         _mm512_set1_epi32(static_cast<int>(kFactor)));
  const __m512i high = _mm512_maskz_slli_epi32(kAll, _mm512_or_si512(fifth, fold), 24);
  const __m512i hash = _mm512_add_epi32(low, high);
  const __m512i words = _mm512_mask_i32gather_epi32(
      _mm512_setzero_si512(), kAll, _mm512_maskz_srl_epi32(kAll, hash, shift), bitmap, 4);
  // As bits_of(); a rotation takes its count modulo 32.
  const auto rotated = [&](int left) __attribute__((target("avx512f,avx512bw"))) {
    const __m128i count = _mm_sub_epi64(shift, _mm_cvtsi32_si128(left));
    return _mm512_maskz_rorv_epi32(kAll, words, _mm512_maskz_srl_epi32(kAll, hash, count));
  };
  const __m512i both = _mm512_and_si512(rotated(5), rotated(10));
  return _mm512_mask_test_epi32_mask(whole, both, _mm512_set1_epi32(1));
}

[[gnu::target("avx512f,avx512bw")]] void LiteralSet::sample_wide(const Text& text) const {
  constexpr std::size_t kLanes = 16;
  std::uint32_t places[kAhead / kStride + kLanes];
  const std::size_t size = text.octets.size();
  const std::uint32_t* const bitmap = sampled_.bitmap.data();
  const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(sampled_.bitmap_shift));
  const __m512i lanes =
      _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60);
  for (std::size_t begin = 0; begin < size; begin += kAhead) {
    const std::uint8_t* const p = text.octets.data() + begin;
    const std::size_t left = size - begin;
    std::size_t count = 0;
    for (std::size_t at = 0; at < std::min(left, kAhead); at += kLanes * kStride) {
      const __mmask16 in = probe_sixteen(bitmap, shift, p + at, left - at);
      const __m512i place = _mm512_add_epi32(lanes, _mm512_set1_epi32(static_cast<int>(at)));
      _mm512_storeu_si512(places + count, _mm512_maskz_compress_epi32(in, place));
      count += static_cast<unsigned>(std::popcount(static_cast<unsigned>(in)));
    }
    look_at_all(text, begin, {places, count});
  }
}

// As look() for each of the windows `at` octets behind `begin`. What cannot be foreseen of a
// candidate (how many literals share the window, whether they fit, whether they stand there) is
// computed, not branched on, for all of them before any that is left is compared.
[[gnu::target("avx2")]] void LiteralSet::look_at_all(const Text& text, std::size_t begin,
                                                     std::span<const std::uint32_t> at) const {
  constexpr std::size_t kUsual = 4;  // literals that share a window
  constexpr std::size_t kTogether = 256;
  const std::size_t size = text.octets.size();
  if (size < kSampled) return;
  const std::uint32_t* const first = sampled_.first.data();
  const Place* const places = sampled_.places.data();
  // Places and, in the higher half, where their windows are.
  std::uint64_t pairs[kTogether + kUsual];
  std::size_t count = 0;
  const __m256i steps = _mm256_setr_epi64x(0, 1, 2, 3);
  for (std::size_t i = 0; i < at.size(); ++i) {
    const std::size_t place = begin + at[i];
    const std::uint32_t hash =
        hash_of<kWidth>(window_at<kWidth>(text.octets.data() + place, kBehind));
    const std::uint32_t* const shared = first + (hash >> sampled_.places_shift);
    const std::uint32_t sharing = shared[1] - shared[0];
    const std::uint64_t pair = std::uint64_t{at[i]} << 32 | shared[0];
    __builtin_prefetch(places + shared[0]);
    for (std::uint32_t k = 0; k == 0 || k < sharing; k += kUsual) {
      const std::uint64_t next = pair + k;
      const __m256i four =
          _mm256_add_epi64(_mm256_set1_epi64x(static_cast<long long>(next)), steps);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(pairs + count), four);
      count += std::min<std::size_t>(sharing - k, kUsual);
      if (count >= kTogether) [[unlikely]] {
        compare_all(text, begin, {pairs, count});
        count = 0;
      }
    }
  }
  compare_all(text, begin, {pairs, count});
}

// Reports the literals of the pairs of look_at_all() that stand there. The text has room for one.
void LiteralSet::compare_all(const Text& text, std::size_t begin,
                             std::span<std::uint64_t> pairs) const {
  const std::uint8_t* const octets = text.octets.data();
  const std::size_t size = text.octets.size();
  const Place* const places = sampled_.places.data();
  std::size_t left = 0;
  for (const std::uint64_t pair : pairs) {
    const Place& place = places[static_cast<std::uint32_t>(pair)];
    // Before the text's begin it wraps, and lies beyond its end.
    const std::size_t start = begin + (pair >> 32) - place.offset;
    const bool fits =
        (start <= size) & (start + place.size <= size) & (start + place.longest > text.known);
    // A literal of kSampled octets or more: all eight lie within.
    const std::uint64_t there = window_at<8>(octets + (fits ? start + place.from : 0), kSampled);
    pairs[left] = pair;
    left += static_cast<std::size_t>(fits & (there == place.octets));
  }
  for (const std::uint64_t pair : pairs.first(left)) {
    const Place& place = places[static_cast<std::uint32_t>(pair)];
    tell(place.literal, text, begin + (pair >> 32) - place.offset);
  }
}
#else
void LiteralSet::find_wide(const Text&) const {}
template <bool ascii>
void LiteralSet::find_by_halves(const Text&) const {}
void LiteralSet::sample_wide(const Text&) const {}
void LiteralSet::sample_eight(const Text&) const {}
void LiteralSet::sample_brief(const Text&) const {}
#endif

void LiteralSet::scan(Bytes octets, std::size_t known, Found found, void* context) const {
  const Text text{octets, known, found, context};
  if (!sampled_.places.empty()) {
    if (wide_) {
      sample_wide(text);
    } else if (vectors_) {
      sample_eight(text);
    } else {
      sample<kStride, kWidth>(sampled_, text, 0);
    }
  }
  if (brief_.places.empty()) return;
  if (vectors_ && !buckets_.empty()) {
    if (wide_) {
      find_wide(text);
    } else if (brief_ascii_) {
      find_by_halves<true>(text);
    } else {
      find_by_halves<false>(text);
    }
  } else if (vectors_) {
    sample_brief(text);
  } else {
    sample<kBriefStride, kBriefWidth>(brief_, text, 0);
  }
}

}  // namespace sluice::scan
