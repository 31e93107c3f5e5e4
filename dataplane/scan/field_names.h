// Which header fields a message certainly does not have, without comparing names.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace sluice::scan {

// A set of names, of which is said what is not in it (a Bloom filter with one hash). Names in any
// case.
class FieldNames {
 public:
  static constexpr std::uint64_t kNoField = 0;  // of selectors that stand for more than a field

  static constexpr std::uint64_t hash(std::string_view name) {
    std::uint64_t h = 0xcbf29ce484222325u;
    for (const char c : name) {
      const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
      h = (h ^ static_cast<unsigned char>(lower)) * 0x100000001b3u;
    }
    return h | 1;
  }
  // Of the field that a selector ("From:addr") asks for, or kNoField.
  static constexpr std::uint64_t of_selector(std::string_view selector) {
    const std::string_view name = selector.substr(0, selector.find(':'));
    const bool special = name == "ALL" || name.starts_with("ALL-") || name == "MESSAGEID" ||
                         name == "mime" || is(name, "tocc") || is(name, "envelopefrom") ||
                         (name.size() > 14 && is(name.substr(0, 14), "x-spam-relays-"));
    return special ? kNoField : hash(name);
  }

  // `field`: of hash().
  void add(std::uint64_t field) { bits_[field >> 62] |= std::uint64_t{1} << (field >> 56 & 63); }
  bool lacks(std::uint64_t field) const {
    return field != kNoField && (bits_[field >> 62] >> (field >> 56 & 63) & 1) == 0;
  }

 private:
  static constexpr bool is(std::string_view name, std::string_view lower) {
    if (name.size() != lower.size()) return false;
    for (std::size_t i = 0; i < name.size(); ++i) {
      const char c = name[i];
      if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c) != lower[i]) return false;
    }
    return true;
  }
  std::array<std::uint64_t, 4> bits_{};
};

}  // namespace sluice::scan
