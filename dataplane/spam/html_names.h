// The names of elements and attributes that mean something, each found by one look into a table.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "dataplane/spam/text.h"

namespace sluice::spam {

inline constexpr std::size_t kHtmlNameHead = 8;  // octets of a name that are looked up at once

// The first octets of a name as a number, lower case.
constexpr std::uint64_t html_name_key(std::string_view name) {
  std::uint64_t key = 0;
  if (!std::is_constant_evaluated() && name.size() >= kHtmlNameHead) {
    std::memcpy(&key, name.data(), kHtmlNameHead);
  } else {
    for (std::size_t i = std::min(name.size(), kHtmlNameHead); i-- > 0;)
      key = key << 8 | static_cast<unsigned char>(name[i]);
  }
  // Octets from 'A' to 'Z' have their bit 5 set.
  constexpr std::uint64_t kEach = 0x0101010101010101;
  const std::uint64_t low = key & (kEach * 0x7f);
  const std::uint64_t from_a = low + kEach * (0x80 - 'A');
  const std::uint64_t behind_z = low + kEach * (0x7f - 'Z');
  return key | ((~key & from_a & ~behind_z & (kEach * 0x80)) >> 2);
}

// Names in a table: `N` of them, each by its index; 0 is none.
template <std::size_t N>
class HtmlNames {
 public:
  constexpr explicit HtmlNames(const std::array<std::string_view, N>& names) : names_(names) {
    for (std::size_t i = 1; i < N; ++i) {
      keys_[i] = html_name_key(names[i]);
      std::size_t at = slot(keys_[i]);
      while (slots_[at] != 0) at = (at + 1) % kSlots;
      slots_[at] = static_cast<std::uint8_t>(i);
    }
  }
  // Of a name in any case; 0 when it is not among them.
  constexpr std::uint8_t find(std::string_view name) const {
    const std::uint64_t key = html_name_key(name);
    for (std::size_t at = slot(key); slots_[at] != 0; at = (at + 1) % kSlots) {
      const std::uint8_t i = slots_[at];
      if (keys_[i] != key || names_[i].size() != name.size()) continue;
      if (name.size() <= kHtmlNameHead ||
          equals_lower(name.substr(kHtmlNameHead), names_[i].substr(kHtmlNameHead)))
        return i;
    }
    return 0;
  }
  constexpr std::string_view name(std::uint8_t i) const { return names_[i]; }
  static constexpr std::size_t size() { return N; }

 private:
  static_assert(N < 256);
  static constexpr std::size_t kSlots = std::bit_ceil(N * 4);
  static constexpr std::size_t slot(std::uint64_t key) {
    return static_cast<std::size_t>(key * 0x9e3779b97f4a7c15 >> (64 - std::countr_zero(kSlots)));
  }

  std::array<std::string_view, N> names_;
  std::array<std::uint64_t, N> keys_{};
  std::array<std::uint8_t, kSlots> slots_{};
};

// What an element is.
inline constexpr std::uint16_t kHtmlElement =
    1;                                          // of HTML 4.01 or XHTML 1.0, nobr, x-sigsep, x-tab
inline constexpr std::uint16_t kHtmlTrick = 2;  // rendered beside them
inline constexpr std::uint16_t kHtmlStyled = 4;
inline constexpr std::uint16_t kHtmlBlank = 8;  // white space stands for its tags
inline constexpr std::uint16_t kHtmlLine = 16;
inline constexpr std::uint16_t kHtmlParagraph = 32;
inline constexpr std::uint16_t kHtmlSpaced = kHtmlBlank | kHtmlLine | kHtmlParagraph;
inline constexpr std::uint16_t kHtmlLiteral = 64;  // its text holds no tags
inline constexpr std::uint16_t kHtmlCdata = 128;   // nor references

struct HtmlElement {
  std::string_view name;
  std::uint16_t is;
};

inline constexpr HtmlElement kHtmlElements[] = {
    {"", 0},
    {"!doctype", 0},
    {"a", kHtmlElement | kHtmlStyled},
    {"abbr", kHtmlElement},
    {"acronym", kHtmlElement},
    {"address", kHtmlElement},
    {"applet", kHtmlElement},
    {"area", kHtmlElement},
    {"b", kHtmlElement},
    {"base", kHtmlElement},
    {"basefont", kHtmlElement | kHtmlStyled},
    {"bdo", kHtmlElement},
    {"bgsound", kHtmlTrick},
    {"big", kHtmlElement | kHtmlStyled},
    {"blockquote", kHtmlElement | kHtmlParagraph},
    {"body", kHtmlElement | kHtmlStyled},
    {"br", kHtmlElement | kHtmlLine},
    {"button", kHtmlElement},
    {"caption", kHtmlElement},
    {"center", kHtmlElement},
    {"cite", kHtmlElement},
    {"code", kHtmlElement},
    {"col", kHtmlElement},
    {"colgroup", kHtmlElement},
    {"dd", kHtmlElement | kHtmlBlank},
    {"del", kHtmlElement},
    {"dfn", kHtmlElement},
    {"dir", kHtmlElement},
    {"div", kHtmlElement | kHtmlStyled | kHtmlLine},
    {"dl", kHtmlElement},
    {"dt", kHtmlElement | kHtmlBlank},
    {"em", kHtmlElement},
    {"embed", kHtmlTrick | kHtmlBlank},
    {"fieldset", kHtmlElement},
    {"font", kHtmlElement | kHtmlStyled},
    {"form", kHtmlElement},
    {"frame", kHtmlElement},
    {"frameset", kHtmlElement},
    {"h1", kHtmlElement | kHtmlBlank},
    {"h2", kHtmlElement | kHtmlBlank},
    {"h3", kHtmlElement | kHtmlBlank},
    {"h4", kHtmlElement | kHtmlBlank},
    {"h5", kHtmlElement | kHtmlBlank},
    {"h6", kHtmlElement | kHtmlBlank},
    {"head", kHtmlElement},
    {"hr", kHtmlElement | kHtmlParagraph},
    {"html", kHtmlElement},
    {"i", kHtmlElement},
    {"iframe", kHtmlElement | kHtmlLiteral | kHtmlCdata},
    {"img", kHtmlElement},
    {"input", kHtmlElement},
    {"ins", kHtmlElement},
    {"isindex", kHtmlElement},
    {"kbd", kHtmlElement},
    {"label", kHtmlElement},
    {"legend", kHtmlElement},
    {"li", kHtmlElement | kHtmlBlank},
    {"link", kHtmlElement},
    {"listing", kHtmlTrick | kHtmlParagraph},
    {"map", kHtmlElement},
    {"menu", kHtmlElement},
    {"meta", kHtmlElement},
    {"nobr", kHtmlElement},
    {"noframes", kHtmlElement},
    {"noscript", kHtmlElement},
    {"object", kHtmlElement},
    {"ol", kHtmlElement},
    {"optgroup", kHtmlElement},
    {"option", kHtmlElement},
    {"p", kHtmlElement | kHtmlStyled | kHtmlParagraph},
    {"param", kHtmlElement},
    {"plaintext", kHtmlTrick | kHtmlParagraph | kHtmlLiteral | kHtmlCdata},
    {"pre", kHtmlElement | kHtmlParagraph},
    {"q", kHtmlElement},
    {"s", kHtmlElement},
    {"samp", kHtmlElement},
    {"script", kHtmlElement | kHtmlLiteral | kHtmlCdata},
    {"select", kHtmlElement},
    {"small", kHtmlElement | kHtmlStyled},
    {"span", kHtmlElement | kHtmlStyled},
    {"strike", kHtmlElement},
    {"strong", kHtmlElement},
    {"style", kHtmlElement | kHtmlLiteral | kHtmlCdata},
    {"sub", kHtmlElement},
    {"sup", kHtmlElement},
    {"table", kHtmlElement | kHtmlStyled},
    {"tbody", kHtmlElement},
    {"td", kHtmlElement | kHtmlStyled | kHtmlBlank},
    {"textarea", kHtmlElement | kHtmlLiteral},
    {"tfoot", kHtmlElement},
    {"th", kHtmlElement | kHtmlStyled | kHtmlBlank},
    {"thead", kHtmlElement},
    {"title", kHtmlElement | kHtmlParagraph | kHtmlLiteral},
    {"tr", kHtmlElement | kHtmlStyled},
    {"tt", kHtmlElement},
    {"u", kHtmlElement},
    {"ul", kHtmlElement},
    {"var", kHtmlElement},
    {"x-sigsep", kHtmlElement},
    {"x-tab", kHtmlElement},
    {"xmp", kHtmlTrick | kHtmlParagraph | kHtmlLiteral | kHtmlCdata},
};

inline constexpr HtmlNames kHtmlTags = [] {
  std::array<std::string_view, std::size(kHtmlElements)> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kHtmlElements[i].name;
  return HtmlNames(names);
}();
inline constexpr HtmlNames kHtmlAttributes(std::array<std::string_view, 19>{
    "", "action", "alink", "background", "bgcolor", "color", "content", "data-saferedirecturl",
    "face", "height", "href", "http-equiv", "link", "size", "src", "style", "text", "vlink",
    "width"});

// By name: of a name that is not in the table the program does not compile.
consteval std::uint8_t html_tag(std::string_view name) {
  const std::uint8_t number = kHtmlTags.find(name);
  return number != 0 ? number : throw name;
}
consteval std::uint8_t html_attribute(std::string_view name) {
  const std::uint8_t number = kHtmlAttributes.find(name);
  return number != 0 ? number : throw name;
}

}  // namespace sluice::spam
