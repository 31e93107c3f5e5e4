// What is left to the kernel's part: flows of which nothing more is read, and what it should know
// of those that are.
#include <utility>

#include "dataplane/inspect/conversation.h"

namespace sluice::inspect {

using contract::Counter;
using contract::DropReason;

namespace {

// A marked flow's frames still come: those on their way, its ends, a look now and then. More of
// them mean that the mark was forgotten.
constexpr std::uint8_t kMarkForgotten = 64;
// A message that the kernel gave back is its own again after so many frames: each time costs a few
// system calls.
constexpr std::uint8_t kMessageAgain = 64;

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
  if (anomaly == contract::Anomaly::scan_budget) {
    exhausted_ = true;
    unasked_ = 0;
  }
  on_anomaly(anomaly);
}

void Conversation::tell_kernel(FlowMark mark) {
  // Another mark's counters begin anew.
  if (mark_ != mark) {
    const FlowTraffic before = traffic_by_kernel();
    for (const Direction d : {Direction::to_server, Direction::to_client}) {
      traffic_.frames[index(d)] += before.frames[index(d)];
      traffic_.octets[index(d)] += before.octets[index(d)];
    }
  }
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
    tell_kernel(wanted);
    return;
  }
  const bool again = std::exchange(ask_again_, false);
  if (again) unasked_ = 0;
  if (exhausted_ && (again || mark_ != FlowMark::message)) pass_message();
}

// Asks the kernel to pass what is only counted.
void Conversation::pass_message() {
  if (unasked_ > 0) {
    --unasked_;
    return;
  }
  unasked_ = kMessageAgain;
  if (phase_ != Phase::inspecting || passed_ || host_tarpit_ || context_.policy->hash_messages() ||
      !session_->content_may_pass() || !connection_.in_order(Direction::to_server) ||
      connection_.one_sided())
    return;
  if (context_.output.pass_message(identity_.key, identity_.client_side,
                                   connection_.next_sequence(Direction::to_server)))
    mark_ = FlowMark::message;
}

// A frame of a flow whose message the kernel passes: whether it is only a sign of life.
bool Conversation::passes_unread(Direction direction, const net::Packet& packet) {
  const PassedMessage passed = context_.output.passed_message(identity_.key);
  if (!passed.over) {
    ask_again_ = direction == Direction::to_server && !passed.content;
    // Of what the client said, and was read here, nothing beyond is acknowledged.
    return direction == Direction::to_client &&
           static_cast<std::int32_t>(packet.acknowledgement -
                                     connection_.next_sequence(Direction::to_server)) > 0;
  }
  take_back_message(passed);
  skip_passed();
  return false;
}

void Conversation::take_back_message(const PassedMessage& passed) {
  passed_ = passed.content;
  tell_kernel(FlowMark::scanned);
  unasked_ = kMessageAgain;
}

// Frames of before the mark may still be on their way.
void Conversation::skip_passed() {
  if (!passed_) return;
  const PassedContent passed = *passed_;
  const std::uint32_t edge = connection_.next_sequence(Direction::to_server);
  if (static_cast<std::int32_t>(passed.next - edge) > 0 &&
      static_cast<std::int32_t>(edge - passed.start) < 0)
    return;
  passed_.reset();
  if (static_cast<std::int32_t>(passed.next - edge) <= 0) return;
  const std::uint64_t size = passed.next - edge;
  context_.count(Counter::stream_bytes, size);
  if (message_ && session_->content_may_pass()) {
    context_.count(Counter::message_bytes, size);
    message_->passed(size);
    session_->content_passed(passed.last);
  } else if (session_) {
    client_gap(size);
  }
  connection_.skip(Direction::to_server, passed.next, *this);
}

// What went by in the kernel since the mark, by direction.
FlowTraffic Conversation::traffic_by_kernel() const {
  if (mark_ != FlowMark::bypass && mark_ != FlowMark::message) return {};
  FlowTraffic traffic = context_.output.bypassed_traffic(identity_.key);
  if (identity_.client_side == Side::outside) {
    std::swap(traffic.frames[0], traffic.frames[1]);
    std::swap(traffic.octets[0], traffic.octets[1]);
  }
  return traffic;
}

FlowEdges Conversation::edges() const {
  FlowEdges edges;
  for (const Direction d : {Direction::to_server, Direction::to_client}) {
    const Side side =
        d == Direction::to_server ? identity_.client_side : opposite(identity_.client_side);
    if (traffic_.frames[index(d)] > 0) edges[static_cast<std::size_t>(side)] = edges_[index(d)];
  }
  return edges;
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
