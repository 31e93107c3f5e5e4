// Small views of ASCII text, shared by the parsers of this folder. No locale, no allocation.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace sluice::mime {

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
constexpr bool is_wsp(char c) { return c == ' ' || c == '\t'; }
constexpr bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr bool is_alnum(char c) { return is_digit(c) || is_alpha(c); }
constexpr int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

constexpr std::string_view trim(std::string_view s) {
  while (!s.empty() && is_space(s.front())) s.remove_prefix(1);
  while (!s.empty() && is_space(s.back())) s.remove_suffix(1);
  return s;
}

constexpr bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](char x, char y) { return lower(x) == lower(y); });
}
constexpr bool starts_with_ignoring_case(std::string_view s, std::string_view prefix) {
  return s.size() >= prefix.size() && equals_ignoring_case(s.substr(0, prefix.size()), prefix);
}
constexpr bool ends_with_ignoring_case(std::string_view s, std::string_view suffix) {
  return s.size() >= suffix.size() &&
         equals_ignoring_case(s.substr(s.size() - suffix.size()), suffix);
}

// The first word of a field value: leading blanks and comments skipped, quotes removed, ended by a
// blank, ';' or '('. Tolerates an unclosed comment or quote.
constexpr std::string_view first_token(std::string_view s) {
  int depth = 0;
  std::size_t i = 0;
  for (; i < s.size(); ++i) {
    if (s[i] == '(') {
      ++depth;
    } else if (s[i] == ')' && depth > 0) {
      --depth;
    } else if (depth == 0 && !is_space(s[i]) && s[i] != '"') {
      break;
    }
  }
  s.remove_prefix(i);
  std::size_t end = 0;
  while (end < s.size() && !is_space(s[end]) && s[end] != ';' && s[end] != '(' && s[end] != '"') {
    ++end;
  }
  return s.substr(0, end);
}

}  // namespace sluice::mime
