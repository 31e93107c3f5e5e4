// Memory that will be needed soon is asked for ahead. Nothing but time depends on it.
#pragma once

#include "dataplane/base/bytes.h"

namespace sluice {

// Each cache line (64 octets) of `octets`. `locality`, as of __builtin_prefetch: 3 to the nearest
// cache, 2 to the next, for what is much and read only after a while.
template <int locality>
void prefetch(Bytes octets) {
  if (octets.empty()) return;
  for (std::size_t at = 0; at < octets.size(); at += 64)
    __builtin_prefetch(octets.data() + at, 0, locality);
  __builtin_prefetch(&octets.back(), 0, locality);
}

// An object that is touched next.
template <typename T>
void prefetch_object(const T& object) {
  prefetch<3>({reinterpret_cast<const std::uint8_t*>(&object), sizeof object});
}

}  // namespace sluice
