// Small text tools as SpamAssassin's Perl has them: ASCII case, Perl's white space, trimming.
#pragma once

#include <algorithm>
#include <cctype>
#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::spam {

using String = std::pmr::string;
using Strings = std::pmr::vector<std::pmr::string>;

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
inline bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}
inline std::string_view trim(std::string_view s) {
  while (!s.empty() && is_space(s.front())) s.remove_prefix(1);
  while (!s.empty() && is_space(s.back())) s.remove_suffix(1);
  return s;
}
// Runs of white space become one blank.
inline void squeeze(String& s) {
  std::size_t out = 0;
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (is_space(s[i])) {
      if (out > 0 && s[out - 1] == ' ' && i > 0 && is_space(s[i - 1])) continue;
      s[out++] = ' ';
    } else {
      s[out++] = s[i];
    }
  }
  s.resize(out);
}
inline bool has_high(std::string_view s) {
  return std::any_of(s.begin(), s.end(), [](char c) { return (c & 0x80) != 0; });
}

}  // namespace sluice::spam
