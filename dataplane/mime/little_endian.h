// Numbers of file formats, lowest octet first.
#pragma once

#include <cstdint>

namespace sluice::mime {

inline std::uint16_t le16(const std::uint8_t* p) {
  return static_cast<std::uint16_t>(p[0] | p[1] << 8);
}
inline std::uint32_t le32(const std::uint8_t* p) {
  return std::uint32_t{le16(p)} | std::uint32_t{le16(p + 2)} << 16;
}

}  // namespace sluice::mime
