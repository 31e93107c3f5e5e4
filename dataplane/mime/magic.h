// What a file is by its first octets: the types that mail carries and that matter. A small table of
// our own instead of libmagic, which is no stream, allocates, and has had faults of its own.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "dataplane/base/bytes.h"

namespace sluice::mime {

// Media type by the first octets (64 are enough), or empty.
std::string_view detect_type(Bytes first);

class TypeDetector {
 public:
  // All octets of the file, in order.
  void feed(Bytes octets);
  std::string_view type() const;

 private:
  static constexpr std::uint64_t kIsoMark = 0x8001;  // ISO 9660: "CD001" in the sector 16
  std::uint64_t seen_ = 0;
  std::uint8_t iso_matched_ = 0;
  std::array<std::uint8_t, 64> first_{};
};

}  // namespace sluice::mime
