// The Internet checksum (RFC 1071). Sums are kept in the order of the CPU and not folded until the
// end; the checksum's independence of octet order (RFC 1071 2.B) makes that right. Each range that
// is added must begin at an even distance from the start of what is summed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dataplane/base/bytes.h"

namespace sluice {

// Adds `size` octets to `sum`. A sum that starts at 0 holds 64 KiB many times over. Any thread.
std::uint64_t checksum_add(const std::uint8_t* octets, std::size_t size, std::uint64_t sum);

// Adds a 16-bit value given in CPU order (a length or a protocol number of a pseudo-header).
inline std::uint64_t checksum_add16(std::uint16_t value, std::uint64_t sum) {
  return sum + __builtin_bswap16(value);
}

// Folds to 16 bits, in the order of memory, not complemented: 0xffff for octets whose checksum
// field is right.
inline std::uint16_t checksum_fold(std::uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

// The value for the checksum field, stored with store_checksum().
inline std::uint16_t checksum_finish(std::uint64_t sum) {
  return static_cast<std::uint16_t>(~checksum_fold(sum));
}
inline void store_checksum(std::uint8_t* field, std::uint16_t checksum) {
  std::memcpy(field, &checksum, sizeof checksum);
}

// A short range of 4-octet words (an IP header, addresses), in line.
inline std::uint64_t checksum_add_words(const std::uint8_t* octets, std::size_t words,
                                        std::uint64_t sum) {
  for (std::size_t i = 0; i < words; ++i) {
    std::uint32_t v;
    std::memcpy(&v, octets + i * 4, sizeof v);
    sum += v;
  }
  return sum;
}

}  // namespace sluice
