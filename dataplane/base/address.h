// An IP address of either version: 16 octets, IPv4 in the IPv4-mapped form (RFC 4291 2.5.5.2), so
// that ::ffff:192.0.2.1 and 192.0.2.1 are the same host everywhere (wire case E06).
#pragma once

#include <compare>

#include "dataplane/base/bytes.h"

namespace sluice {

struct Address {
  std::array<std::uint8_t, 16> octets{};

  static Address from_v4(const std::uint8_t* p) {
    Address a;
    a.octets[10] = 0xff;
    a.octets[11] = 0xff;
    std::memcpy(&a.octets[12], p, 4);
    return a;
  }
  static Address from_v6(const std::uint8_t* p) {
    Address a;
    std::memcpy(a.octets.data(), p, 16);
    return a;
  }
  bool is_v4() const {
    std::uint64_t high;
    std::memcpy(&high, octets.data(), 8);
    return high == 0 && octets[8] == 0 && octets[9] == 0 && octets[10] == 0xff &&
           octets[11] == 0xff;
  }
  // The last four octets; only meaningful when is_v4().
  const std::uint8_t* v4_octets() const { return &octets[12]; }

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 misreads the defaulted comparison.
  friend auto operator<=>(const Address&, const Address&) = default;
};

}  // namespace sluice
