// Octets looked at 16 at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "dataplane/spam/text.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace sluice::spam {

// A bit for each of the 16 octets at `p` that is `c`, the first the lowest.
inline std::uint32_t equal16(const char* p, char c) {
#ifdef __SSE2__
  const __m128i octets = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(octets, _mm_set1_epi8(c))));
#else
  std::uint32_t bits = 0;
  for (unsigned i = 0; i < 16; ++i) bits |= std::uint32_t{p[i] == c} << i;
  return bits;
#endif
}

// The same for octets from `from` to `to` (of ASCII).
inline std::uint32_t between16(const char* p, char from, char to) {
#ifdef __SSE2__
  const __m128i octets = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return static_cast<std::uint32_t>(_mm_movemask_epi8(
      _mm_and_si128(_mm_cmpgt_epi8(octets, _mm_set1_epi8(static_cast<char>(from - 1))),
                    _mm_cmplt_epi8(octets, _mm_set1_epi8(static_cast<char>(to + 1))))));
#else
  std::uint32_t bits = 0;
  for (unsigned i = 0; i < 16; ++i) bits |= std::uint32_t{p[i] >= from && p[i] <= to} << i;
  return bits;
#endif
}

// Writes `in` to `out`, each run of white space as one blank; octets written. `out` has room for
// all of it, and may be `in`.
inline std::size_t squeeze(std::string_view in, char* out) {
  char* to = out;
  bool blank = false;  // the last one
  std::size_t i = 0;
  while (i < in.size()) {
    const std::size_t end = std::min<std::size_t>(in.size(), i + 16);
    if (end - i == 16) {
      const std::uint32_t blanks = equal16(in.data() + i, ' ');
      const std::uint32_t others = between16(in.data() + i, '\t', '\r');
      if (others == 0 && (blanks & (blanks << 1 | std::uint32_t{blank})) == 0) {
        std::memmove(to, in.data() + i, 16);
        to += 16;
        i = end;
        blank = (blanks >> 15 & 1) != 0;
        continue;
      }
    }
    for (; i < end; ++i) {
      const char c = in[i];
      if (!is_space(c)) {
        *to++ = c;
        blank = false;
      } else if (!blank) {
        *to++ = ' ';
        blank = true;
      }
    }
  }
  return static_cast<std::size_t>(to - out);
}
inline void squeeze(String& s) { s.resize(squeeze(s, s.data())); }

}  // namespace sluice::spam
