// Characters that nobody sees (Unicode 15, Default_Ignorable_Code_Point): removed from text, so
// that what cuts up a word for a scanner and not for a reader does not cut it up.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "dataplane/base/bytes.h"
#include "dataplane/mime/find_octet.h"

namespace sluice::mime {

// Whether a character whose UTF-8 begins with `lead` may be one of them.
constexpr bool may_be_ignorable(std::uint8_t lead) {
  return lead == 0xc2 || lead == 0xcd || lead == 0xd8 || (lead >= 0xe1 && lead <= 0xe3) ||
         lead == 0xef || lead == 0xf0 || lead == 0xf3;
}

constexpr bool is_ignorable(std::uint32_t code) {
  struct Range {
    std::uint32_t first;
    std::uint32_t last;
  };
  constexpr Range kRanges[] = {
      {0xad, 0xad},       {0x34f, 0x34f},   {0x61c, 0x61c},     {0x115f, 0x1160},
      {0x17b4, 0x17b5},   {0x180b, 0x180f}, {0x200b, 0x200f},   {0x202a, 0x202e},
      {0x2060, 0x206f},   {0x3164, 0x3164}, {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},
      {0xffa0, 0xffa0},   {0xfff0, 0xfff8}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a},
      {0xe0000, 0xe0fff},
  };
  const auto* const range =
      std::lower_bound(std::begin(kRanges), std::end(kRanges), code,
                       [](const Range& r, std::uint32_t c) { return r.last < c; });
  return range != std::end(kRanges) && code >= range->first;
}

// Octets of the UTF-8 sequence that begins with `lead`.
constexpr std::size_t utf8_size(std::uint8_t lead) {
  return lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

// The code point of a whole, valid sequence.
constexpr std::uint32_t utf8_code(const char* p, std::size_t size) {
  const auto lead = static_cast<std::uint8_t>(*p);
  std::uint32_t code = size == 1 ? lead : lead & (0x7fu >> size);
  for (std::size_t i = 1; i < size; ++i)
    code = code << 6 | (static_cast<std::uint8_t>(p[i]) & 0x3fu);
  return code;
}

// Gives `take` the pieces of `text` (whole characters of valid UTF-8) between ignorable ones.
template <typename Take>
void without_ignorable(Bytes text, Take&& take) {
  const char* run = as_text(text).data();
  const char* const end = run + text.size();
  for (const char* p = run;;) {
    p = find_non_ascii(p, end);
    if (p == end) break;
    const auto lead = static_cast<std::uint8_t>(*p);
    const std::size_t size = std::min(utf8_size(lead), static_cast<std::size_t>(end - p));
    if (may_be_ignorable(lead) && is_ignorable(utf8_code(p, size))) {
      if (p > run) take(as_bytes({run, static_cast<std::size_t>(p - run)}));
      run = p + size;
    }
    p += size;
  }
  if (end > run) take(as_bytes({run, static_cast<std::size_t>(end - run)}));
}

}  // namespace sluice::mime
