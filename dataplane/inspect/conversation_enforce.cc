// Carrying out a verdict on the wire. The segment that would complete the condemned message is not
// forwarded; the server's replies to earlier commands are; then Closing ends the connection.
#include "dataplane/inspect/conversation.h"

namespace sluice::inspect {

using contract::DropReason;
using contract::Verdict;

namespace {

constexpr Nanoseconds kReplyPatience = 10 * kSecond;  // for replies that the server still owes
// A tarpit holds each of the server's replies this long: well below the 30 s after which large
// providers try another address (case F07).
constexpr Nanoseconds kTarpitDelay = 8 * kSecond;
constexpr std::size_t kMaxHeld = 16;  // segments of one flow

}  // namespace

void Conversation::follow_policy() {
  if (policy_seen_ == context_.policy) return;
  policy_seen_ = context_.policy;
  const policy::HostRule* host = context_.policy->host(identity_.client());
  const bool acted_on = host && enforcing();
  host_blocked_ = acted_on && host->action == policy::HostAction::block;
  host_tarpit_ = acted_on && host->action == policy::HostAction::tarpit;
}

// Keeps a copy of the server's segment for later; a retransmission of one that is held is not kept
// twice. Past the bound segments pass.
Disposition Conversation::hold_reply(const Frame& frame, const net::Packet& packet) {
  for (const HeldReply& h : held_)
    if (h.sequence == packet.sequence) return {.drop = DropReason::tarpit};
  if (held_.size() >= kMaxHeld) return {};
  held_.push_back({.due = context_.now.monotonic + kTarpitDelay,
                   .sequence = packet.sequence,
                   .frame = {frame.octets.begin(), frame.octets.end(), &memory_}});
  return {.drop = DropReason::tarpit};
}

void Conversation::release_replies(bool all) {
  std::size_t n = 0;
  for (; n < held_.size() && (all || held_[n].due <= context_.now.monotonic); ++n)
    context_.output.inject(identity_.key.wire(), identity_.client_side, held_[n].frame);
  held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(n));
}

Disposition Conversation::stopped(Direction direction, Frame& frame, const net::Packet& packet,
                                  const tcp::SegmentResult& result, bool whole_frame) {
  if (!stop_ || direction != Direction::to_server) return {};
  Disposition disposition{.drop = stop_->drop};
  const auto pass_front = [&] {
    frame.octets =
        frame.octets.first(net::trim_payload(frame.octets, packet, result.octets_before_stop));
    disposition = {.drop = DropReason::none, .changed = true};
  };
  const bool has_front = result.octets_before_stop > 0 && whole_frame;
  if (phase_ != Phase::inspecting) {
    // A copy of what is already held: its front may not have reached the server.
    if (stop_->replies_before > 0 && has_front) pass_front();
    return disposition;
  }

  // None when the message was sent after 354; with BDAT, and for clients that do not wait, the
  // server may still owe some.
  stop_->replies_before = session_->replies_owed();
  stop_->server_expects = packet.sequence;
  if (stop_->replies_before > 0 && has_front) {
    // Commands that stand before the message in this very segment must reach the server.
    stop_->server_expects += result.octets_before_stop;
    pass_front();
  }
  if (static_cast<std::int32_t>(connection_.highest_acknowledged(Direction::to_server) -
                                stop_->server_expects) > 0)
    stop_->server_expects = connection_.highest_acknowledged(Direction::to_server);

  if (current_) {
    Transaction& transaction = *current_;
    current_ = nullptr;
    on_transaction_end(transaction.id, {});
  }
  if (stop_->verdict == Verdict::drop) {
    phase_ = Phase::silenced;
    return disposition;
  }
  stop_->to_server = net::SegmentTemplate::from_frame(frame.octets, packet, context_.settings.link);
  stop_->to_client = server_template_ ? *server_template_
                                      : net::SegmentTemplate::reversed(frame.octets, packet,
                                                                       context_.settings.link);
  stop_->deadline = context_.now.monotonic + kReplyPatience;
  phase_ = Phase::owing;
  return disposition;
}

void Conversation::begin_closing() {
  std::pmr::vector<std::uint8_t> unacknowledged(&memory_);
  const std::uint32_t first = connection_.copy_unacknowledged(Direction::to_client, unacknowledged);
  const Closing::Start start{
      .to_client = stop_->to_client,
      .to_server = stop_->to_server,
      .wire = identity_.key.wire(),
      .client_side = identity_.client_side,
      .client_port = identity_.client_port(),
      .server_port = identity_.server_port(),
      .client_next = connection_.next_sequence(Direction::to_server) + stop_->held_octets,
      .server_first = first,
      .server_expects = stop_->server_expects,
      .window = connection_.latest_window(Direction::to_client),
      .mss = client_mss_ ? client_mss_ : std::uint16_t{536},
      .timestamps = connection_.timestamps(),
      .server_timestamp = connection_.latest_timestamp(Direction::to_client),
      .client_timestamp = connection_.latest_timestamp(Direction::to_server),
      .enhanced_status_codes = session_->enhanced_status_codes_offered(),
      .farewell = context_.policy->texts().closing,
  };
  tell_kernel(FlowMark::sequence_changed);
  closing_ = make_pmr<Closing>(&memory_, start, unacknowledged, stop_->reply, stop_->early,
                               context_.output, &memory_, context_.now.monotonic);
  phase_ = Phase::closing;
}

Disposition Conversation::after_stop(Direction direction, Frame&, const net::Packet& packet,
                                     MutableBytes payload) {
  // A new connection with the same ports begins afresh.
  if ((packet.flags & (net::tcp_flag::syn | net::tcp_flag::ack | net::tcp_flag::rst)) ==
          net::tcp_flag::syn &&
      direction == Direction::to_server &&
      (phase_ == Phase::ended || (closing_ && closing_->only_resets()))) {
    restart_ = true;
    return {};
  }
  if (closing_) {
    if (direction == Direction::to_server)
      closing_->client_segment(packet, payload, context_.now.monotonic);
    else
      closing_->server_segment(packet);
    if (closing_->ended()) {
      closing_.reset();
      phase_ = Phase::ended;
    }
  }
  return {.drop = DropReason::flow_closing};
}

}  // namespace sluice::inspect
