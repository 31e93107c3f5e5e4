// Small text tools as SpamAssassin's Perl has them: ASCII case, Perl's white space, trimming.
#pragma once

#include <algorithm>
#include <bit>
#include <cctype>
#include <cstring>
#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace sluice::spam {

using String = std::pmr::string;
using Strings = std::pmr::vector<std::pmr::string>;
using Texts = std::pmr::vector<std::string_view>;

constexpr bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr bool is_alnum(char c) { return is_digit(c) || is_alpha(c); }
constexpr bool is_word(char c) { return is_alnum(c) || c == '_'; }
constexpr char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

inline void lower(String& s) {
  for (char& c : s) c = to_lower(c);
}
constexpr bool equals_lower(std::string_view a, std::string_view lower_case) {
  return a.size() == lower_case.size() &&
         std::equal(a.begin(), a.end(), lower_case.begin(),
                    [](char x, char y) { return to_lower(x) == y; });
}
inline bool equals_nocase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return to_lower(x) == to_lower(y);
         });
}
inline bool contains_nocase(std::string_view text, std::string_view lower_case) {
  return std::search(text.begin(), text.end(), lower_case.begin(), lower_case.end(),
                     [](char x, char y) { return to_lower(x) == y; }) != text.end();
}
// Whether `part`, which is not empty, is in `text`: where its first and last octets stand is looked
// for 16 places at a time.
inline bool has(std::string_view text, std::string_view part) {
  std::size_t i = 0;
#ifdef __SSE2__
  if (part.size() > 1 && text.size() >= part.size() + 15) {
    const __m128i first = _mm_set1_epi8(part.front());
    const __m128i last = _mm_set1_epi8(part.back());
    for (; i + part.size() + 15 <= text.size(); i += 16) {
      const auto* p = reinterpret_cast<const __m128i*>(text.data() + i);
      const auto* q = reinterpret_cast<const __m128i*>(text.data() + i + part.size() - 1);
      auto places = static_cast<unsigned>(_mm_movemask_epi8(_mm_and_si128(
          _mm_cmpeq_epi8(_mm_loadu_si128(p), first), _mm_cmpeq_epi8(_mm_loadu_si128(q), last))));
      for (; places != 0; places &= places - 1) {
        const std::size_t at = i + static_cast<std::size_t>(std::countr_zero(places));
        if (std::memcmp(text.data() + at, part.data(), part.size()) == 0) return true;
      }
    }
  }
#endif
  return text.find(part, i) != std::string_view::npos;
}
inline std::string_view trim(std::string_view s) {
  while (!s.empty() && is_space(s.front())) s.remove_prefix(1);
  while (!s.empty() && is_space(s.back())) s.remove_suffix(1);
  return s;
}
inline bool has_high(std::string_view s) {
  return std::any_of(s.begin(), s.end(), [](char c) { return (c & 0x80) != 0; });
}

}  // namespace sluice::spam
