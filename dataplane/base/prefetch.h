// Memory that will be needed soon is asked for ahead. Nothing but time depends on it.
#pragma once

#include "dataplane/base/bytes.h"

namespace sluice {

inline constexpr std::size_t kCacheLine = 64;

// To a cache further away, since all of it comes long before the last of it is read.
inline void prefetch(Bytes octets) {
  for (std::size_t at = 0; at < octets.size(); at += kCacheLine)
    __builtin_prefetch(octets.data() + at, 0, 2);
}

// An object that is touched next, every line of it.
template <typename T>
void prefetch_object(const T& object) {
  const auto* const first = reinterpret_cast<const std::uint8_t*>(&object);
  for (std::size_t at = 0; at < sizeof object; at += kCacheLine)
    __builtin_prefetch(first + at, 0, 3);
  __builtin_prefetch(first + sizeof object - 1, 0, 3);
}

}  // namespace sluice
