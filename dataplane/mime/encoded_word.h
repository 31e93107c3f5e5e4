// Encoded words of header fields (RFC 2047) to UTF-8, as tolerantly as mail readers do: words glued
// to text, words with blanks inside, characters divided between words, a language suffix (RFC 2231
// 5). Text outside of words is UTF-8 (RFC 6532) where valid, else Windows-1252.
#pragma once

#include <memory_resource>
#include <string>
#include <string_view>

namespace sluice::mime {

// The decoded `raw`, an unfolded field value: itself where there is nothing to decode, else in
// `buffer`, which is overwritten. Linear in its size.
std::string_view decode_words(std::string_view raw, std::pmr::string& buffer);

}  // namespace sluice::mime
