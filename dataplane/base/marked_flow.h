// What the dataplane and the kernel's part tell each other of a flow that is left to the latter,
// each by the Side on which it came in.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace sluice {

// The sequence numbers up to which the dataplane has sent its octets; nothing where none are known.
using FlowEdges = std::array<std::optional<std::uint32_t>, 2>;

// What went from port to port since it was marked.
struct FlowTraffic {
  std::uint64_t frames[2]{};
  std::uint64_t octets[2]{};
};

}  // namespace sluice
