// The first of a few octets in a stretch: sixteen octets at a time where the CPU can.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace sluice::mime {

// The first of `wanted` in [p, end), or `end`.
template <char... wanted>
inline const char* find_octet(const char* p, const char* end) {
#if defined(__SSE2__)
  for (; end - p >= 16; p += 16) {
    const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    __m128i hit = _mm_setzero_si128();
    ((hit = _mm_or_si128(hit, _mm_cmpeq_epi8(block, _mm_set1_epi8(wanted)))), ...);
    const int mask = _mm_movemask_epi8(hit);
    if (mask != 0) return p + __builtin_ctz(static_cast<unsigned>(mask));
  }
#endif
  while (p < end && ((*p != wanted) && ...)) ++p;
  return p;
}

// Where `first` and `second` follow one another in [p, end) for the first time, or `end`.
template <char first, char second>
inline const char* find_pair(const char* p, const char* end) {
#if defined(__SSE2__)
  const auto pairs = [](const char* at) {
    const __m128i here = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    const __m128i next = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 1));
    return _mm_and_si128(_mm_cmpeq_epi8(here, _mm_set1_epi8(first)),
                         _mm_cmpeq_epi8(next, _mm_set1_epi8(second)));
  };
  // Mostly there is none.
  for (; end - p >= 65; p += 64) {
    const __m128i any = _mm_or_si128(_mm_or_si128(pairs(p), pairs(p + 16)),
                                     _mm_or_si128(pairs(p + 32), pairs(p + 48)));
    if (_mm_movemask_epi8(any) != 0) break;
  }
  for (; end - p >= 17; p += 16) {
    const int mask = _mm_movemask_epi8(pairs(p));
    if (mask != 0) return p + __builtin_ctz(static_cast<unsigned>(mask));
  }
#endif
  while (end - p >= 2 && (p[0] != first || p[1] != second)) ++p;
  return end - p >= 2 ? p : end;
}

// The first octet above 0x7f in [p, end), or `end`.
inline const char* find_non_ascii(const char* p, const char* end) {
#if defined(__SSE2__)
  for (; end - p >= 16; p += 16) {
    const int mask = _mm_movemask_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    if (mask != 0) return p + __builtin_ctz(static_cast<unsigned>(mask));
  }
#endif
  while (p < end && static_cast<std::uint8_t>(*p) < 0x80) ++p;
  return p;
}

}  // namespace sluice::mime
