// Why a frame was not forwarded by the dataplane. Each is a counter (`sluice_frames_dropped_total`
// with this as its `reason` label) and the `drop.reason` of EVE events. The kernel's own reasons
// stand in xdp/contract/steer.h.
//
//   X(identifier, "reason", "description")
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

// clang-format off
#define SLUICE_DROP_REASONS(X) \
  X(none,              "none",              "forwarded") \
  X(message_rejected,  "message-rejected",  "completes a message that a verdict refused with 5xx") \
  X(message_tempfailed,"message-tempfailed","completes a message that a verdict refused with 4xx") \
  X(message_dropped,   "message-dropped",   "completes a message whose verdict is drop") \
  X(flow_reset,        "flow-reset",        "of a flow that a verdict reset") \
  X(flow_closing,      "flow-closing",      "of a flow whose refusal is being delivered") \
  X(host_limited,      "host-limited",      "of a host past its message limit") \
  X(host_blocked,      "host-blocked",      "of a host whose mail is blocked") \
  X(tarpit,            "tarpit",            "held back by a tarpit") \
  X(overlap_diff,      "overlap-diff",      "repeats a sequence range with other octets, policy drop") \
  X(smuggling,         "smuggling",         "follows an ambiguous end-of-data, policy drop") \
  X(transmit_full,     "transmit-full",     "the peer port's ring stayed full for the bounded wait") \
  X(peer_down,         "peer-down",         "the peer port's link is down") \
  X(oversize,          "oversize",          "longer than the peer port can send") \
  X(failure_policy,    "failure-policy",    "no verdict in time and the declared policy is fail-closed") \
  X(no_buffer,         "no-buffer",         "no packet buffer free") \
  X(overload,          "overload",          "of the host with most frames waiting, when no more can wait")
// clang-format on

namespace sluice::contract {

enum class DropReason : std::uint8_t {
#define X(id, name, text) id,
  SLUICE_DROP_REASONS(X)
#undef X
};

struct DropReasonInfo {
  std::string_view name;
  std::string_view description;
};

inline constexpr DropReasonInfo kDropReasons[] = {
#define X(id, name, text) {name, text},
    SLUICE_DROP_REASONS(X)
#undef X
};
inline constexpr std::size_t kDropReasonCount = std::size(kDropReasons);

constexpr const DropReasonInfo& info(DropReason r) {
  return kDropReasons[static_cast<std::size_t>(r)];
}

}  // namespace sluice::contract
