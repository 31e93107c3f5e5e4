// White space of ASCII in text, sixteen octets at a time where the CPU can.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "dataplane/spam/text.h"
#include "dataplane/spam/text_buffer.h"

#if defined(__SSE4_1__)
#include <smmintrin.h>
#endif

namespace sluice::spam {

inline constexpr std::size_t kTextBlock = 16;

#if defined(__SSE4_1__)
// 0xff for white space.
inline __m128i white_octets(__m128i block) {
  const __m128i from_tab = _mm_sub_epi8(block, _mm_set1_epi8('\t'));
  const __m128i lines =
      _mm_cmpeq_epi8(_mm_min_epu8(from_tab, _mm_set1_epi8('\r' - '\t')), from_tab);
  return _mm_or_si128(lines, _mm_cmpeq_epi8(block, _mm_set1_epi8(' ')));
}
#endif

// With which white space may begin: of ASCII, or Perl's \s in Unicode text.
constexpr bool begins_white(char c) {
  const auto octet = static_cast<unsigned char>(c);
  return is_space(c) || octet == 0xc2 || (octet >= 0xe1 && octet <= 0xe3);
}

// A block of text up to where white space follows white space: what is before is written to `out`
// with blanks for white space. Says how many octets: all of a block that has no such place, but not
// white space at its end. Reads and writes kTextBlock octets. `beyond_ascii`: it also ends before
// octets beyond ASCII with which white space may begin, and before white space in front of them.
template <bool beyond_ascii>
inline std::size_t take_block(const char* p, char* out) {
#if defined(__SSE4_1__)
  const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i white = white_octets(block);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm_blendv_epi8(block, _mm_set1_epi8(' '), white));
  const auto whites = static_cast<unsigned>(_mm_movemask_epi8(white));
  unsigned others = 0;
  if constexpr (beyond_ascii) {
    const __m128i from = _mm_sub_epi8(block, _mm_set1_epi8('\xe1'));
    const __m128i three = _mm_cmpeq_epi8(_mm_min_epu8(from, _mm_set1_epi8(2)), from);
    others = static_cast<unsigned>(
        _mm_movemask_epi8(_mm_or_si128(three, _mm_cmpeq_epi8(block, _mm_set1_epi8('\xc2')))));
  }
  return static_cast<std::size_t>(
      std::countr_zero((whites & ((whites | others) >> 1 | 0x8000)) | others | 0x10000));
#else
  const auto begins = [](char c) { return beyond_ascii ? begins_white(c) : is_space(c); };
  std::size_t i = 0;
  for (; i < kTextBlock; ++i) {
    const bool white = is_space(p[i]);
    if (begins(p[i]) && (!white || i + 1 == kTextBlock || begins(p[i + 1]))) break;
    out[i] = white ? ' ' : p[i];
  }
  return i;
#endif
}

inline std::size_t count_white(std::string_view text) {
  std::size_t count = 0;
#if defined(__SSE4_1__)
  for (; text.size() >= kTextBlock; text.remove_prefix(kTextBlock)) {
    const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data()));
    count += static_cast<std::size_t>(
        std::popcount(static_cast<unsigned>(_mm_movemask_epi8(white_octets(block)))));
  }
#endif
  for (const char c : text) count += is_space(c) ? 1u : 0u;
  return count;
}

struct LineCount {
  std::size_t lines = 0;  // what stands behind the last line end is one too
  std::size_t blank = 0;  // of nothing but white space
};

inline LineCount count_lines(std::string_view text) {
  LineCount count;
  if (text.empty()) return count;
  bool black = false;  // in the line in progress
#if defined(__SSE4_1__)
  // Bits for 64 octets. In the octets that are no line end, all ones, the addition of one that is
  // black carries up to the line end.
  const auto look = [&](const char* p) {
    std::uint64_t whites = 0;
    std::uint64_t ends = 0;
    for (unsigned i = 0; i < 64; i += kTextBlock) {
      const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i));
      const auto bits = [i](__m128i octets) {
        return std::uint64_t{static_cast<std::uint32_t>(_mm_movemask_epi8(octets))} << i;
      };
      whites |= bits(white_octets(block));
      ends |= bits(_mm_cmpeq_epi8(block, _mm_set1_epi8('\n')));
    }
    unsigned long long sum = 0;
    const bool first = __builtin_uaddll_overflow(~ends, ~whites, &sum);
    const bool second = __builtin_uaddll_overflow(sum, black ? 1 : 0, &sum);
    black = first || second;
    count.lines += static_cast<std::size_t>(std::popcount(ends));
    count.blank += static_cast<std::size_t>(std::popcount(ends & ~sum));
  };
  std::string_view rest = text;
  for (; rest.size() >= 64; rest.remove_prefix(64)) look(rest.data());
  char tail[64];
  std::memset(tail, ' ', sizeof tail);
  std::memcpy(tail, rest.data(), rest.size());
  look(tail);
#else
  for (const char c : text) {
    if (c == '\n') {
      ++count.lines;
      count.blank += black ? 0 : 1;
      black = false;
    } else if (!is_space(c)) {
      black = true;
    }
  }
#endif
  if (text.back() != '\n') {
    ++count.lines;
    count.blank += black ? 0 : 1;
  }
  return count;
}

// Characters of UTF-8 text.
inline std::size_t count_characters(std::string_view utf8) {
  std::size_t behind = 0;  // the first octet of a character
  std::string_view rest = utf8;
#if defined(__SSE4_1__)
  for (; rest.size() >= kTextBlock; rest.remove_prefix(kTextBlock)) {
    const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rest.data()));
    behind += static_cast<std::size_t>(std::popcount(static_cast<unsigned>(
        _mm_movemask_epi8(_mm_cmplt_epi8(block, _mm_set1_epi8(static_cast<char>(0xc0)))))));
  }
#endif
  for (const char c : rest) behind += (c & 0xc0) == 0x80 ? 1 : 0;
  return utf8.size() - behind;
}

// Octets of white space at the beginning of `text`.
inline std::size_t leading_white(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size() && is_space(text[i])) ++i;
  return i;
}

// Appends `text` with one blank for each run of white space.
inline void append_squeezed(std::string_view text, TextBuffer& to) {
  char* const begin = to.room(text.size() + kTextBlock);
  char* out = begin;
  while (text.size() >= kTextBlock) {
    const std::size_t size = take_block<false>(text.data(), out);
    text.remove_prefix(size);
    out += size;
    if (size + 1 >= kTextBlock) continue;
    text.remove_prefix(leading_white(text));
    *out++ = ' ';
  }
  while (!text.empty()) {
    char rest[kTextBlock] = {};
    std::memcpy(rest, text.data(), text.size());
    const std::size_t size = std::min(take_block<false>(rest, out), text.size());
    text.remove_prefix(size);
    out += size;
    if (text.empty()) break;
    text.remove_prefix(leading_white(text));
    *out++ = ' ';
  }
  to.add(static_cast<std::size_t>(out - begin));
}

}  // namespace sluice::spam
