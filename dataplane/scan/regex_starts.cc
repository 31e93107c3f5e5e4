#include "dataplane/scan/regex_starts.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <vector>

#include "dataplane/base/vectors.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sluice::scan {

namespace {

// Of places of mail text: more often it is no use to look for them.
constexpr double kMostOften = 0.08;
// A table that is looked at with vectors must spare so many places that are looked at again: it
// costs a few cycles for 32 places, and each of those about 30.
constexpr double kSpared = 0.005;

constexpr std::string_view kText =
    "Hello John, thank you for your message of last week. I have read the report that you sent and "
    "would like to talk about it: please call (555) 123-4567 or write to me at the address below.\n"
    "The meeting is on Monday, 12 August 2002 at 10:30 AM. On 8/5/02, Mary wrote: >> We'll be "
    "there!\n"
    "Get the details free at http://www.example.com/news/today.html?id=1234.\n"
    "<td align=\"center\"><font size=\"2\"><a "
    "href=\"http://www.example.com/\">Click</a></font><br>\n"
    "from mail.example.com (mail.example.com [192.0.2.25]) by mx.example.org with ESMTP id "
    "1A2B3C4D\n";

// How often an octet stands in mail text.
double share_of(std::size_t octet) {
  static const std::array<double, 256> shares = [] {
    std::array<double, 256> of{};
    constexpr double kUnseen = 0.2;
    const double all = static_cast<double>(kText.size()) + 256 * kUnseen;
    of.fill(kUnseen / all);
    for (const char c : kText) of[static_cast<unsigned char>(c)] += 1 / all;
    return of;
  }();
  return shares[octet];
}
double share_of(const RegexStarts::Set& set) {
  double sum = 0;
  for (std::size_t c = 0; c < 256; ++c) sum += set.test(c) ? share_of(c) : 0;
  return sum;
}

}  // namespace

// A table as it may be looked at.
struct RegexStarts::Choice {
  Halves halves;
  std::uint8_t table = 0;
  bool whole = false;
  std::array<double, kBuckets> share{};
};

double RegexStarts::rate(std::span<const Window> windows, std::size_t octets, const Set& before) {
  double sum = 0;
  for (const Window& window : windows) {
    double of_window = share_of(before);
    for (std::size_t i = 0; i < octets; ++i) of_window *= share_of(window[i]);
    sum += of_window;
  }
  return sum;
}

void RegexStarts::build(std::span<const Window> windows, std::size_t octets, const Set& before,
                        bool at_begin, const Classes& classes) {
  static_assert(kMostOctets <= 8 && kBuckets <= 8, "a word has an octet a place, a bit a bucket");
  octets_ = static_cast<std::uint8_t>(octets);
  at_begin_ = at_begin;
  elsewhere_ = before.any();
  ways_.assign(std::size_t{1} + *std::ranges::max_element(classes), 0);
  std::vector<Table> tables(1 + octets, Table{});
  for (std::size_t c = 0; c < 256; ++c) {
    before_[c / 64] |= std::uint64_t{before.test(c)} << c % 64;
    tables[0][c] = before.test(c) ? 0xff : 0;
    for (std::size_t i = 0; i < octets; ++i) {
      for (std::size_t bucket = 0; bucket < windows.size(); ++bucket)
        tables[1 + i][c] |= static_cast<std::uint8_t>(windows[bucket][i].test(c) << bucket);
      ways_[classes[c]] |= std::uint64_t{tables[1 + i][c]} << 8 * i;
    }
  }
  rate_ = rate(windows, octets, before);
  useful_ = rate_ <= kMostOften;
  if (useful_) choose_halves(tables, windows.size());
}

// `whole`: of all buckets together, mostly exact. Else of each, with the octets that have a half of
// one and a half of another that may stand there.
RegexStarts::Halves RegexStarts::halves_of(const Table& table, bool whole) {
  Halves halves;
  std::array<std::uint32_t, 8> rows{};  // low halves of octets that are alike, by bit
  std::size_t known = 0;
  for (std::size_t high = 0; high < 16; ++high) {
    std::uint32_t row = 0;
    for (std::size_t low = 0; low < 16; ++low) {
      const std::uint8_t of = table[high * 16 + low];
      if (of != 0) row |= 1u << low;
      if (whole) continue;
      halves.low[low] |= of;
      halves.high[high] |= of;
    }
    if (!whole || row == 0) continue;
    std::size_t bit = 0;
    while (bit < known && rows[bit] != row && bit + 1 < rows.size()) ++bit;
    known = std::max(known, bit + 1);
    rows[bit] |= row;
    halves.high[high] = static_cast<std::uint8_t>(1u << bit);
  }
  for (std::size_t low = 0; low < 16; ++low) {
    for (std::size_t bit = 0; bit < known; ++bit)
      halves.low[low] |= static_cast<std::uint8_t>((rows[bit] >> low & 1) << bit);
  }
  return halves;
}

// Which tables are looked at with vectors, and how: those that say the most, until it is rare.
void RegexStarts::choose_halves(std::span<const Table> tables, std::size_t buckets) {
  std::vector<Choice> choices;
  for (std::size_t table = 0; table < tables.size(); ++table) {
    for (const bool whole : {false, true}) {
      Choice& choice = choices.emplace_back();
      choice.halves = halves_of(tables[table], whole);
      choice.table = static_cast<std::uint8_t>(table);
      choice.whole = whole;
      for (std::size_t c = 0; c < 256; ++c) {
        unsigned both = choice.halves.low[c % 16] & choice.halves.high[c / 16];
        if (whole && both != 0) both = 0xff;
        for (std::size_t bucket = 0; bucket < buckets; ++bucket)
          choice.share[bucket] += (both >> bucket & 1) != 0 ? share_of(c) : 0;
      }
    }
  }
  std::array<double, kBuckets> often{};
  std::fill_n(often.begin(), buckets, 1.0);
  const auto with = [&](const Choice& choice) {
    return std::inner_product(often.begin(), often.end(), choice.share.begin(), 0.0);
  };
  std::vector<Choice> chosen;
  for (double all = static_cast<double>(buckets); chosen.size() < tables.size();) {
    const Choice best = *std::ranges::min_element(choices, {}, with);
    const double left = with(best);
    if (all - left < kSpared) break;
    for (std::size_t bucket = 0; bucket < buckets; ++bucket) often[bucket] *= best.share[bucket];
    chosen.push_back(best);
    std::erase_if(choices, [&](const Choice& choice) { return choice.table == best.table; });
    all = left;
  }
  std::ranges::stable_sort(chosen, {}, &Choice::whole);
  for (const Choice& choice : chosen) {
    table_of_[looked_at_] = choice.table;
    halves_[looked_at_++] = choice.halves;
    if (!choice.whole) of_buckets_ = looked_at_;
  }
}

bool RegexStarts::begins(std::string_view text, std::size_t at, const Classes& classes) const {
  const auto* const octets = reinterpret_cast<const unsigned char*>(text.data()) + at;
  const bool may = at > 0 ? (before_[octets[-1] / 64] >> octets[-1] % 64 & 1) != 0 : at_begin_;
  std::uint64_t of = may ? 0xff : 0;
  for (std::size_t i = 0; i < octets_ && of != 0; ++i) of &= ways_[classes[octets[i]]] >> 8 * i;
  return of != 0;
}

// Those of the next places that have a bit.
inline void RegexStarts::note(std::string_view text, std::uint64_t bits, const Classes& classes,
                              Places& places) const {
  for (; bits != 0; bits &= bits - 1) {
    const std::size_t at = places.next + static_cast<std::size_t>(std::countr_zero(bits));
    places.all[places.count] = static_cast<std::uint32_t>(at);
    places.count += begins(text, at, classes) ? 1u : 0u;
  }
}

#if defined(__x86_64__)
[[gnu::target("avx512f,avx512bw")]] void RegexStarts::find_of_64(std::string_view text,
                                                                 std::size_t last,
                                                                 const Classes& classes,
                                                                 Places& places) const {
  constexpr std::size_t kAtOnce = 64;
  constexpr __mmask16 kAll = 0xffff;  // as in WordFinder
  const __m512i half = _mm512_set1_epi8(0x0f);
  for (; places.next <= last && places.count == 0; places.next += kAtOnce) {
    const auto first = [](std::size_t count) {
      return count >= kAtOnce ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
    };
    const char* const before = text.data() + places.next - 1;
    const std::size_t there = text.size() - (places.next - 1);
    __m512i found = _mm512_set1_epi8(-1);
    std::uint64_t bits = first(last - places.next + 1);
    for (std::size_t i = 0; i < looked_at_; ++i) {
      const Halves* const of = &halves_[i];
      const std::size_t table = table_of_[i];
      const __m512i octets = _mm512_maskz_loadu_epi8(first(there - table), before + table);
      const __m512i low = _mm512_maskz_broadcast_i32x4(
          kAll, _mm_loadu_si128(reinterpret_cast<const __m128i*>(of->low.data())));
      const __m512i high = _mm512_maskz_broadcast_i32x4(
          kAll, _mm_loadu_si128(reinterpret_cast<const __m128i*>(of->high.data())));
      const __m512i both = _mm512_and_si512(
          _mm512_shuffle_epi8(low, _mm512_and_si512(octets, half)),
          _mm512_shuffle_epi8(high, _mm512_and_si512(_mm512_srli_epi16(octets, 4), half)));
      if (i >= of_buckets_) {
        bits &= _mm512_test_epi8_mask(both, both);
      } else {
        found = _mm512_and_si512(found, both);
      }
    }
    note(text, bits & _mm512_test_epi8_mask(found, found), classes, places);
  }
}

// Of 32 octets, what their lower halves and their upper ones have in common.
template <typename Halves>
[[gnu::target("avx2"), gnu::always_inline]] inline __m256i in_both_halves(const Halves& of,
                                                                          const char* text) {
  const __m256i half = _mm256_set1_epi8(0x0f);
  const __m256i octets = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(text));
  const __m256i low =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(of.low.data())));
  const __m256i high = _mm256_broadcastsi128_si256(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(of.high.data())));
  return _mm256_and_si256(
      _mm256_shuffle_epi8(low, _mm256_and_si256(octets, half)),
      _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16(octets, 4), half)));
}

[[gnu::target("avx2")]] void RegexStarts::find_of_32(std::string_view text, std::size_t last,
                                                     const Classes& classes, Places& places) const {
  constexpr std::size_t kAtOnce = 32;
  constexpr std::size_t kRead = kAtOnce + kMostOctets;  // from the octet before on
  const __m256i zero = _mm256_setzero_si256();
  std::array<char, kRead> end;
  while (places.next <= last && places.count + kAtOnce <= places.all.size()) {
    const char* before = text.data() + places.next - 1;
    if (const std::size_t there = text.size() - (places.next - 1); there < kRead) {
      end.fill(0);
      std::memcpy(end.data(), before, there);
      before = end.data();
    }
    // By bucket what all of the first tables have; of the others whether one has nothing.
    __m256i found = _mm256_set1_epi8(-1);
    __m256i none = zero;
    std::size_t i = 0;
    for (; i < of_buckets_; ++i)
      found = _mm256_and_si256(found, in_both_halves(halves_[i], before + table_of_[i]));
    for (; i < looked_at_; ++i)
      none = _mm256_or_si256(
          none, _mm256_cmpeq_epi8(in_both_halves(halves_[i], before + table_of_[i]), zero));
    none = _mm256_or_si256(none, _mm256_cmpeq_epi8(found, zero));
    auto bits = ~static_cast<std::uint32_t>(_mm256_movemask_epi8(none));
    if (last - places.next < kAtOnce - 1) bits &= (2u << (last - places.next)) - 1;
    note(text, bits, classes, places);
    places.next += kAtOnce;
  }
}
#endif

void RegexStarts::find(std::string_view text, std::size_t last, const Classes& classes,
                       Places& places) const {
  places.count = 0;
  if (text.size() < octets_) return;
  last = std::min(last, text.size() - octets_);
  if (places.next == 0) {
    places.next = 1;
    if (begins(text, 0, classes)) {
      places.all[places.count++] = 0;
      return;
    }
  }
  if (!elsewhere_) return;
#if defined(__x86_64__)
  if (has(Vectors::avx512)) return find_of_64(text, last, classes, places);
  if (has(Vectors::avx2)) {
    while (places.count == 0 && places.next <= last) find_of_32(text, last, classes, places);
    return;
  }
#endif
  for (; places.next <= last && places.count < places.all.size(); ++places.next) {
    if (begins(text, places.next, classes))
      places.all[places.count++] = static_cast<std::uint32_t>(places.next);
  }
}

}  // namespace sluice::scan
