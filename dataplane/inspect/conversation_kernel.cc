// What is left to the kernel's part: flows of which nothing more is read, and what it should know
// of those that are.
#include <utility>

#include "dataplane/inspect/conversation.h"

namespace sluice::inspect {

using contract::DropReason;

namespace {

// A marked flow's frames still come: those on their way, its ends, a look now and then. More of
// them mean that the mark was forgotten.
constexpr std::uint8_t kMarkForgotten = 64;

}  // namespace

tcp::State Conversation::tcp_state() const {
  if (phase_ != Phase::opaque) return connection_.state();
  constexpr std::uint8_t kBothFin = 3;
  if ((ends_seen_ & kReset) != 0 || ends_seen_ == kBothFin) return tcp::State::closed;
  return ends_seen_ != 0 ? tcp::State::closing : tcp::State::established;
}

// A flow that a bound took from inspection, or that is no mail.
Disposition Conversation::passed_unread() {
  if (unmarked_ < UINT8_MAX) ++unmarked_;
  const bool closed = context_.policy->exceptions().memory == policy::Exception::fail_closed;
  return {.drop = closed && !not_mail_ ? DropReason::failure_policy : DropReason::none};
}

// A session inside TLS: counted, and its end noted. Octets behind a RST take it back, as nobody but
// the ends closes a connection.
Disposition Conversation::pass_opaque(Direction direction, const Frame& frame,
                                      const net::Packet& packet, Bytes payload) {
  namespace flag = net::tcp_flag;
  if (unmarked_ < UINT8_MAX) ++unmarked_;
  if (packet.checksum_bad) return {};
  const std::uint8_t control = packet.flags & (flag::syn | flag::ack | flag::rst);
  if (control == flag::syn && direction == Direction::to_server) {
    restart_ = true;  // the ports are another connection's now
    return {};
  }
  if ((control & flag::rst) != 0) {
    ends_seen_ |= kReset;
  } else if (!payload.empty()) {
    ends_seen_ = static_cast<std::uint8_t>(ends_seen_ & ~kReset);
  }
  if ((packet.flags & flag::fin) != 0)
    ends_seen_ = static_cast<std::uint8_t>(ends_seen_ | 1u << index(direction));
  if (host_tarpit_ && direction == Direction::to_client && !payload.empty())
    return hold_reply(frame, packet);
  return {};
}

void Conversation::on_message_anomaly(contract::Anomaly anomaly) {
  if (anomaly == contract::Anomaly::scan_budget) exhausted_ = true;
  on_anomaly(anomaly);
}

void Conversation::tell_kernel(FlowMark mark) {
  mark_ = mark;
  unmarked_ = 0;
  context_.output.mark_flow(identity_.key, mark);
}

// After a frame has left, so that the mark does not overtake it.
void Conversation::tell_kernel() {
  if (not_mail_ && phase_ == Phase::inspecting && !context_.settings.all_ports)
    phase_ = Phase::passing;
  if (phase_ == Phase::opaque || phase_ == Phase::passing) {
    const FlowMark wanted = not_mail_ ? FlowMark::not_mail : FlowMark::bypass;
    if (mark_ == wanted && unmarked_ < kMarkForgotten) return;
    const bool closed = context_.policy->exceptions().memory == policy::Exception::fail_closed;
    if (host_tarpit_ || (phase_ == Phase::passing && closed && !not_mail_)) return;
    // The mark's counters begin anew with it.
    const FlowTraffic before = traffic_by_kernel();
    for (const Direction d : {Direction::to_server, Direction::to_client}) {
      traffic_.frames[index(d)] += before.frames[index(d)];
      traffic_.octets[index(d)] += before.octets[index(d)];
    }
    tell_kernel(wanted);
    return;
  }
  if (exhausted_ && mark_ != FlowMark::exhausted) tell_kernel(FlowMark::exhausted);
  if (!exhausted_ && mark_ == FlowMark::exhausted) tell_kernel(FlowMark::scanned);
}

// What went by in the kernel since the mark, by direction.
FlowTraffic Conversation::traffic_by_kernel() const {
  if (mark_ != FlowMark::bypass) return {};
  FlowTraffic traffic = context_.output.bypassed_traffic(identity_.key);
  if (identity_.client_side == Side::outside) {
    std::swap(traffic.frames[0], traffic.frames[1]);
    std::swap(traffic.octets[0], traffic.octets[1]);
  }
  return traffic;
}

Traffic Conversation::traffic() const {
  Traffic all = traffic_;
  const FlowTraffic by_kernel = traffic_by_kernel();
  for (std::size_t i = 0; i < 2; ++i) {
    all.frames[i] += by_kernel.frames[i];
    all.octets[i] += by_kernel.octets[i];
  }
  return all;
}

void Conversation::forget_marks() {
  if (mark_ || (session_ && !expect_mail_))
    context_.output.mark_flow(identity_.key, FlowMark::ended);
  mark_.reset();
}

}  // namespace sluice::inspect
