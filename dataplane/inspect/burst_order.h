// The order in which the frames of a burst are dealt with.
//
// Theory. What a frame goes through is more code than a core's first cache holds, and each kind of
// frame goes through other code: in the order in which they come, each drives the next one's out.
// So frames of a kind go one after the other. Frames of one flow keep their order, both directions
// together: one that follows another of its flow is of the other's kind, or of a later one. So do
// those that have no flow.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "dataplane/flow/flow_table.h"

namespace sluice::inspect {

// In the order in which they go: what is brief does not wait for what is scanned.
enum class FrameKind : std::uint8_t { bare, reply, command, content, edge };

class BurstOrder {
 public:
  static constexpr std::size_t kMost = flow::FlowTable::kMaxBurst;

  // The next frame, at most kMost in all. `flow`: its flow's hash; flows of which the last octet is
  // the same are held to one order.
  void put(FrameKind kind, std::uint64_t flow) {
    std::uint8_t& last = last_[flow % last_.size()];
    last = std::max(last, static_cast<std::uint8_t>(kind));
    kinds_[size_++] = last;
    ++counts_[last];
  }
  // Where those that were put stood, in the order in which they are to go.
  std::span<const std::uint8_t> order() {
    std::array<std::uint8_t, kKinds> next{};
    for (std::size_t k = 1; k < kKinds; ++k)
      next[k] = static_cast<std::uint8_t>(next[k - 1] + counts_[k - 1]);
    for (std::size_t i = 0; i < size_; ++i)
      order_[next[kinds_[i]]++] = static_cast<std::uint8_t>(i);
    return std::span(order_).first(size_);
  }

 private:
  static constexpr std::size_t kKinds = static_cast<std::size_t>(FrameKind::edge) + 1;

  std::size_t size_ = 0;
  std::array<std::uint8_t, kKinds> counts_{};
  std::array<std::uint8_t, 256> last_{};  // kinds, by flow
  std::array<std::uint8_t, kMost> kinds_;
  std::array<std::uint8_t, kMost> order_;
};

}  // namespace sluice::inspect
