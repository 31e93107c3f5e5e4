// Text as obfuscated words are looked for in it: only letters are left, joined. Both sides use it:
// the compiler for what it looks for (control/policy/regex_joined.h), the scanner for the text.
//
// Theory. "V.i.@ G r4" is written to be read and not to be found. Rules against it allow a few
// other characters between the letters, and several for each letter. Here blanks and most
// punctuation go, digits become the letters that they are drawn for, what else may stand for a
// letter ('!', '@', octets above 127) becomes one mark, and repeats of the same are one: "vi!gra".
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace sluice::scan {

inline constexpr char kJoinedMark = '!';

// What an octet becomes; 0: it goes.
constexpr std::array<char, 256> joined_octets() {
  std::array<char, 256> table{};
  for (int c = 'a'; c <= 'z'; ++c) {
    table[static_cast<std::size_t>(c)] = static_cast<char>(c);
    table[static_cast<std::size_t>(c - 32)] = static_cast<char>(c);
  }
  for (int c = '0'; c <= '9'; ++c) table[static_cast<std::size_t>(c)] = static_cast<char>(c);
  constexpr std::string_view kDrawn = "0o1ili3e4a5s7tLi";
  for (std::size_t i = 0; i < kDrawn.size(); i += 2) {
    table[static_cast<unsigned char>(kDrawn[i])] = kDrawn[i + 1];
  }
  for (const char c : std::string_view("!?|@$\\&<")) {
    table[static_cast<unsigned char>(c)] = kJoinedMark;
  }
  for (std::size_t c = 128; c < 256; ++c) table[c] = kJoinedMark;
  return table;
}
inline constexpr std::array<char, 256> kJoinedOctets = joined_octets();

// The joined text, behind what is in `out`.
inline void join_text(std::string_view text, std::string& out) {
  const std::size_t begin = out.size();
  out.resize(begin + text.size());
  char* end = out.data() + begin;
  char last = 0;
  for (const char c : text) {
    const char becomes = kJoinedOctets[static_cast<unsigned char>(c)];
    *end = becomes;
    const bool kept = becomes != 0 && becomes != last;
    end += kept ? 1 : 0;
    last = becomes != 0 ? becomes : last;
  }
  out.resize(static_cast<std::size_t>(end - out.data()));
}

}  // namespace sluice::scan
