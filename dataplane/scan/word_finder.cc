#include "dataplane/scan/word_finder.h"

#include <algorithm>
#include <limits>

#include "dataplane/base/vectors.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sluice::scan {

namespace {

constexpr std::size_t kBlock = 32;  // places of a word of marks

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// By octet in lower case: a part of a word.
constexpr std::array<std::uint8_t, 256> kWord = [] {
  std::array<std::uint8_t, 256> word{};
  for (unsigned c = 0; c < 256; ++c)
    word[c] = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  return word;
}();
std::uint8_t of_word(char c) { return kWord[static_cast<unsigned char>(c)]; }

// The first lowest.
std::uint32_t load_four(const char* p) {
  std::uint32_t octets;
  std::memcpy(&octets, p, sizeof octets);
  if constexpr (std::endian::native == std::endian::big) octets = __builtin_bswap32(octets);
  return octets;
}
std::uint64_t load_eight(const char* p) {
  std::uint64_t octets;
  std::memcpy(&octets, p, sizeof octets);
  return octets;
}

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
  for (std::size_t i = size; i-- > 0;)
    entry.octets = entry.octets << 8 | static_cast<unsigned char>(lower(word[anchor + i]));
  entry.word = static_cast<std::uint32_t>(words_.size() - 1);
  entry.text = static_cast<std::uint32_t>(texts_.size());
  entry.size = static_cast<std::uint16_t>(word.size());
  entry.anchor = static_cast<std::uint16_t>(anchor);
  entry.flags = flags;
  texts_ += word;
  return true;
}

void WordFinder::Anchors::build(std::vector<Entry> words, std::string_view texts) {
  constexpr std::size_t kMostSlots = 4096;
  std::vector<std::uint32_t> anchors;
  anchors.reserve(words.size());
  for (const Entry& entry : words) anchors.push_back(entry.octets & mask);
  std::ranges::sort(anchors);
  anchors.erase(std::unique(anchors.begin(), anchors.end()), anchors.end());
  slots = static_cast<std::uint32_t>(
      std::bit_ceil(std::clamp(2 * anchors.size(), std::size_t{1}, kMostSlots)) - 1);
  std::ranges::stable_sort(words, {}, [&](const Entry& entry) { return slot(entry.octets); });
  first.assign(slots + 2, 0);
  auto next = words.begin();
  for (std::size_t s = 0; s <= slots; ++s) {
    for (std::size_t lane = 0; next != words.end() && slot(next->octets) == s; ++next, ++lane) {
      if (lane % kLanes == 0) {
        lanes.emplace_back().octets.fill(1);  // nothing is this without its mask
        lanes.back().mask.fill(0);
        entries.resize(entries.size() + kLanes);
      }
      const std::string_view word = texts.substr(next->text, next->size);
      std::array<char, sizeof(std::uint64_t)> octets{};
      std::array<char, sizeof(std::uint64_t)> all{};
      for (std::size_t i = 0; i < octets.size(); ++i) {
        const std::size_t at = next->anchor + i;
        if (at < kBefore || at - kBefore >= word.size()) continue;
        octets[i] = lower(word[at - kBefore]);
        all[i] = static_cast<char>(0xff);
      }
      lanes.back().octets[lane % kLanes] = load_eight(octets.data());
      lanes.back().mask[lane % kLanes] = load_eight(all.data());
      next->whole = (next->flags & kCaseless) == 0 || next->anchor > kBefore ||
                    word.size() - next->anchor > octets.size() - kBefore;
      entries[(lanes.size() - 1) * kLanes + lane % kLanes] = *next;
    }
    first[s + 1] = static_cast<std::uint32_t>(lanes.size());
  }
}

void WordFinder::Shorts::set(std::size_t place, unsigned char octet, std::size_t group) {
  for (auto* row : {&tables[2 * place][octet % 16], &tables[2 * place + 1][octet / 16]})
    *row = static_cast<std::uint8_t>(*row | 1u << group);
}

void WordFinder::build() {
  std::array<std::vector<Entry>, kKinds> words;
  for (const Entry& word : words_) {
    words[word.size < kAnchor ? 0 : 1].push_back(word);
    if (word.size < kAnchor) continue;
    const auto of = [&](std::size_t i) { return octet_class(texts_[word.text + word.anchor + i]); };
    begins_.set(of(0), of(1));
    ends_.set(of(1), of(2));
  }
  // Those that begin alike are of a group.
  std::ranges::stable_sort(words[0], {}, [](const Entry& word) { return word.octets & 0xff; });
  for (std::size_t i = 0; i < words[0].size(); ++i) {
    const Entry& word = words[0][i];
    const std::size_t group = i * 8 / words[0].size();
    shorts_.set(0, static_cast<unsigned char>(word.octets), group);
    for (unsigned c = 0; c < 256; ++c) {
      if (word.size == 1 || c == word.octets >> 8)
        shorts_.set(1, static_cast<unsigned char>(c), group);
    }
  }
  for (std::size_t kind = 0; kind < kKinds; ++kind) {
    by_kind_[kind].mask = kind == 0 ? 0xff : 0xffffff;
    by_kind_[kind].build(std::move(words[kind]), texts_);
  }
}

std::size_t WordFinder::memory_used() const {
  std::size_t all = sizeof *this + texts_.size() + words_.size() * sizeof(Entry);
  for (const Anchors& of : by_kind_) {
    all += of.first.size() * sizeof(std::uint32_t) + of.entries.size() * sizeof(Entry) +
           of.lanes.size() * sizeof(Lanes);
  }
  return all;
}

// --- as any machine can --------------------------------------------------------------------------

// The text in lower case, and the classes of its octets; to the end of its last block.
void WordFinder::read(std::string_view text, char* folded, std::uint8_t* classes) {
  for (const char c : text) {
    *folded++ = lower(c);
    *classes++ = octet_class(c);
  }
}

void WordFinder::mark_short(const Shorts& shorts, const char* folded,
                            std::span<std::uint32_t> marks) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(folded[i]); };
  for (std::uint32_t& word : marks) {
    word = 0;
    for (std::size_t i = 0; i < kBlock; ++i)
      word |= static_cast<std::uint32_t>(shorts.has(at(i), at(i + 1))) << i;
    folded += kBlock;
  }
}

// At which places a pair of them stands, or (kAnd) stands too.
template <bool kAnd>
void WordFinder::mark(const Pairs& pairs, const std::uint8_t* classes,
                      std::span<std::uint32_t> marks) {
  for (std::uint32_t& word : marks) {
    std::uint32_t found = 0;
    for (std::size_t i = 0; i < kBlock; ++i)
      found |= static_cast<std::uint32_t>(pairs.has(classes[i], classes[i + 1])) << i;
    word = kAnd ? word & found : found;
    classes += kBlock;
  }
}

// The numbers of the bits that are set. Says how many.
std::size_t WordFinder::list(std::span<const std::uint32_t> marks, std::uint32_t* places) {
  std::size_t count = 0;
  std::uint32_t at = 0;
  for (std::uint32_t word : marks) {
    const auto found = static_cast<std::size_t>(std::popcount(word));
    std::uint32_t* to = places + count;
    const auto one = [&] {
      *to++ = at + static_cast<std::uint32_t>(std::countr_zero(word));
      word &= word - 1;
    };
    for (int i = 0; i < 4; ++i) one();  // mostly enough, and nothing to foresee
    while (word != 0) one();
    count += found;
    at += kBlock;
  }
  return count;
}

// The words that may stand at the places. `compare`: which of four do, a bit each.
template <typename Compare>
[[gnu::always_inline]] inline std::size_t WordFinder::gather(const Anchors& anchors,
                                                             const char* folded, std::size_t places,
                                                             Work& work, Compare compare) {
  // Most places have no word or one row of them: the first go without a branch, the rows of the
  // others come to the cache while more are looked for.
  struct Near {
    std::uint32_t at;
    std::uint32_t lanes;
    std::uint32_t end;
  };
  std::array<Near, 64> all_near;
  std::size_t count = 0;
  for (std::size_t n = 0; n < places;) {
    std::size_t near = 0;
    for (const std::size_t end = std::min(n + all_near.size(), places); n != end; ++n) {
      const std::uint32_t at = work.places_[n];
      const std::size_t slot = anchors.slot(load_four(folded + at));
      const std::uint32_t first = anchors.first[slot];
      all_near[near] = {at, first, anchors.first[slot + 1]};
      __builtin_prefetch(anchors.lanes.data() + first);
      near += first != anchors.first[slot + 1] ? 1u : 0u;
    }
    for (std::size_t i = 0; i < near; ++i) {
      const auto [at, first, last] = all_near[i];
      const std::uint64_t octets = load_eight(folded + at - kBefore);
      Work::Candidate* const all = room(work.candidates_, count + (last - first) * kLanes + 1);
      std::uint32_t lanes = first;
      do {
        const auto entry = static_cast<std::uint32_t>(lanes * kLanes);
        std::uint32_t found = compare(anchors.lanes[lanes], octets);
        all[count] = {entry + static_cast<std::uint32_t>(std::countr_zero(found)), at};
        count += found != 0 ? 1 : 0;
        for (found &= found - 1; found != 0; found &= found - 1)
          all[count++] = {entry + static_cast<std::uint32_t>(std::countr_zero(found)), at};
      } while (++lanes != last);
    }
  }
  return count;
}

std::size_t WordFinder::gather_each(const Anchors& anchors, const char* folded, std::size_t places,
                                    Work& work) {
  return gather(anchors, folded, places, work, [](const Lanes& lanes, std::uint64_t octets) {
    std::uint32_t found = 0;
    for (unsigned i = 0; i < kLanes; ++i)
      found |= static_cast<std::uint32_t>((octets & lanes.mask[i]) == lanes.octets[i]) << i;
    return found;
  });
}

// --- with AVX2 -----------------------------------------------------------------------------------

#if defined(__x86_64__)
namespace {

// Sixteen octets in each half.
[[gnu::target("avx2")]] inline __m256i both(const std::uint8_t* octets) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(octets)));
}

}  // namespace

[[gnu::target("avx2")]] void WordFinder::read_32(std::string_view text, char* folded,
                                                 std::uint8_t* classes) {
  const __m256i low = both(kOther.data());
  const __m256i high = both(kOther.data() + 16);
  alignas(kBlock) std::array<char, kBlock> rest{};
  for (std::size_t at = 0; at < text.size(); at += kBlock) {
    const char* from = text.data() + at;
    if (text.size() - at < kBlock) {
      std::memcpy(rest.data(), from, text.size() - at);
      from = rest.data();
    }
    const __m256i octets = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    const __m256i upper = _mm256_and_si256(_mm256_cmpgt_epi8(octets, _mm256_set1_epi8('A' - 1)),
                                           _mm256_cmpgt_epi8(_mm256_set1_epi8('Z' + 1), octets));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(folded + at),
                        _mm256_or_si256(octets, _mm256_and_si256(upper, _mm256_set1_epi8(0x20))));
    // The sign of an octet chooses; a shift moves bit 4 or 6 there.
    const __m256i other =
        _mm256_blendv_epi8(_mm256_shuffle_epi8(low, octets), _mm256_shuffle_epi8(high, octets),
                           _mm256_slli_epi16(octets, 3));
    const __m256i below = _mm256_blendv_epi8(other, _mm256_and_si256(octets, _mm256_set1_epi8(31)),
                                             _mm256_slli_epi16(octets, 1));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(classes + at),
                        _mm256_blendv_epi8(below, _mm256_set1_epi8(30), octets));
  }
}

[[gnu::target("avx2")]] void WordFinder::mark_short_32(const Shorts& shorts, const char* folded,
                                                       std::span<std::uint32_t> marks) {
  const __m256i tables[] = {both(shorts.tables[0].data()), both(shorts.tables[1].data()),
                            both(shorts.tables[2].data()), both(shorts.tables[3].data())};
  const __m256i half = _mm256_set1_epi8(15);
  for (std::uint32_t& word : marks) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(folded));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(folded + 1));
    const __m256i of_a = _mm256_and_si256(
        _mm256_shuffle_epi8(tables[0], _mm256_and_si256(a, half)),
        _mm256_shuffle_epi8(tables[1], _mm256_and_si256(_mm256_srli_epi16(a, 4), half)));
    const __m256i of_b = _mm256_and_si256(
        _mm256_shuffle_epi8(tables[2], _mm256_and_si256(b, half)),
        _mm256_shuffle_epi8(tables[3], _mm256_and_si256(_mm256_srli_epi16(b, 4), half)));
    const __m256i none = _mm256_cmpeq_epi8(_mm256_and_si256(of_a, of_b), _mm256_setzero_si256());
    word = ~static_cast<std::uint32_t>(_mm256_movemask_epi8(none));
    folded += kBlock;
  }
}

template <bool kAnd>
[[gnu::target("avx2")]] void WordFinder::mark_32(const Pairs& pairs, const std::uint8_t* classes,
                                                 std::span<std::uint32_t> marks) {
  __m256i low[kRows];
  __m256i high[kRows];
  for (std::size_t i = 0; i < kRows; ++i) {
    low[i] = both(pairs.rows[i].data());
    high[i] = both(pairs.rows[i].data() + 16);
  }
  const __m256i bits = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201u));
  for (std::uint32_t& word : marks) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(classes));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(classes + 1));
    // Of classes of the other half the sign is set, for which a shuffle gives 0.
    const __m256i a_low = _mm256_add_epi8(a, _mm256_set1_epi8(0x70));
    const __m256i a_high = _mm256_sub_epi8(a, _mm256_set1_epi8(16));
    __m256i row[kRows];
    for (std::size_t i = 0; i < kRows; ++i) {
      row[i] =
          _mm256_or_si256(_mm256_shuffle_epi8(low[i], a_low), _mm256_shuffle_epi8(high[i], a_high));
    }
    const __m256i bit_3 = _mm256_slli_epi16(b, 4);
    const __m256i bit_4 = _mm256_slli_epi16(b, 3);
    const __m256i rows = _mm256_blendv_epi8(_mm256_blendv_epi8(row[0], row[1], bit_3),
                                            _mm256_blendv_epi8(row[2], row[3], bit_3), bit_4);
    const __m256i bit = _mm256_shuffle_epi8(bits, b);
    const __m256i found = _mm256_cmpeq_epi8(_mm256_and_si256(rows, bit), bit);
    const auto mask = static_cast<std::uint32_t>(_mm256_movemask_epi8(found));
    word = kAnd ? word & mask : mask;
    classes += kBlock;
  }
}

[[gnu::target("avx2")]] std::size_t WordFinder::gather_four(const Anchors& anchors,
                                                            const char* folded, std::size_t places,
                                                            Work& work) {
  return gather(
      anchors, folded, places, work,
      [](const Lanes& lanes, std::uint64_t octets) __attribute__((target("avx2"))) {
        const __m256i mask = _mm256_load_si256(reinterpret_cast<const __m256i*>(lanes.mask.data()));
        const __m256i there =
            _mm256_and_si256(mask, _mm256_set1_epi64x(static_cast<long long>(octets)));
        const __m256i same = _mm256_cmpeq_epi64(
            there, _mm256_load_si256(reinterpret_cast<const __m256i*>(lanes.octets.data())));
        return static_cast<std::uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(same)));
      });
}
#endif

// -------------------------------------------------------------------------------------------------

// Which of them are there.
void WordFinder::compare(std::size_t kind, std::size_t count, const Text& text, Work& work) const {
  const Entry* const entries = by_kind_[kind].entries.data();
  Hit* const hits = room(work.hits_[kind], count + 1);
  std::size_t found = 0;
  for (std::size_t n = 0; n < count; ++n) {
    const auto [number, at] = work.candidates_[n];
    const Entry& entry = entries[number];
    const std::uint32_t begin = at - entry.anchor;
    const std::uint32_t end = begin + entry.size;
    if (at < entry.anchor || end > text.octets.size()) continue;
    const bool inside_word = (((entry.flags / kBeginsWord) & of_word(*(text.folded + begin - 1))) |
                              ((entry.flags / kEndsWord) & of_word(text.folded[end]))) != 0;
    if (inside_word) continue;
    if (entry.whole) {
      const bool caseless = (entry.flags & kCaseless) != 0;
      const char* const where = (caseless ? text.folded : text.octets.data()) + begin;
      if (std::memcmp(where, texts_.data() + entry.text, entry.size) != 0) continue;
    }
    hits[found++] = {entry.word, at, begin, end};
  }
  work.found_[kind] = found;
}

void WordFinder::find(std::string_view text, Work& work, bool vectors) const {
  work.found_ = {};
  if (text.empty()) return;
  const std::size_t blocks = (text.size() + kBlock - 1) / kBlock;
  char* const folded = room(work.folded_, text.size() + kFront + kBehind) + kFront;
  std::uint8_t* const classes = room(work.classes_, text.size() + kBehind);
  std::memset(folded - kFront, 0, kFront);
  std::memset(folded + text.size(), 0, kBehind);
  std::memset(classes + text.size(), 0, kBehind);
  const std::span<std::uint32_t> marks(room(work.marks_, blocks), blocks);
  std::uint32_t* const places = room(work.places_, blocks * kBlock + 4);
  const auto look = [&](auto read_text, auto mark_shorts, auto mark_pairs, auto mark_more,
                        auto gather_words) {
    read_text(text, folded, classes);
    const auto look_for = [&](std::size_t kind) {
      const std::size_t near = list(marks, places);
      const std::size_t count = gather_words(by_kind_[kind], folded, near, work);
      compare(kind, count, {text, folded, classes}, work);
    };
    if (!by_kind_[0].entries.empty()) {
      mark_shorts(shorts_, folded, marks);
      look_for(0);
    }
    if (by_kind_[1].entries.empty()) return;
    mark_pairs(begins_, classes, marks);
    mark_more(ends_, classes + 1, marks);
    look_for(1);
  };
#if defined(__x86_64__)
  if (vectors && has(Vectors::avx2)) {
    look(read_32, mark_short_32, mark_32<false>, mark_32<true>, gather_four);
    return;
  }
#else
  static_cast<void>(vectors);
#endif
  look(read, mark_short, mark<false>, mark<true>, gather_each);
}

}  // namespace sluice::scan
