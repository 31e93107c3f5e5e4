// What TCP says beside data: flags, handshake, acknowledgements, timestamps, RST and FIN.
#include <algorithm>

#include "dataplane/tcp/connection_impl.h"

namespace sluice::tcp {

using contract::Anomaly;
namespace flag = net::tcp_flag;

namespace {
constexpr std::uint8_t kUnknownScale = 14;  // the largest (RFC 7323 2.3)
// An acknowledgement this far ahead is taken for one when the receiver's window is not known.
constexpr std::uint64_t kUnknownWindow = 1u << 24;
constexpr std::uint64_t kFarBehind = 1u << 30;
// Timestamps this much older than TS.Recent are still taken: segments reordered within one
// another's retransmissions (RFC 7323 5.3 has the receiver's own acknowledgements to tell them; we
// see those later). Harmless, since octets seen first win.
constexpr std::int32_t kTimestampSlack = 500;
constexpr std::uint32_t kPawsIdle = 24 * 86400;  // seconds, RFC 7323 5.5
// An echo older than this is of another connection (4.6 hours at 1 kHz).
constexpr std::int32_t kOldestEcho = 1 << 24;
// What the other end had in flight when it got the RST has arrived by then.
constexpr std::uint32_t kResetSettled = 1000;  // ms
}  // namespace

void Connection::Impl::take(Segment& s) {
  Half& h = half(s.direction);
  Half& other = half(opposite(s.direction));
  if (odd_ack_) {
    odd_ack_ = false;
    s.sink.on_anomaly(Anomaly::ack_without_flag);
  }
  if (s.packet.checksum_bad) {
    // The receiver will not take it: neither the octets nor what the header says (case C24).
    // Where the parser found another reason, it has said so.
    if (s.packet.anomaly_count == 0) s.sink.on_anomaly(Anomaly::bad_tcp_checksum);
    if (h.has(Half::kStopped) && !s.payload.empty()) {
      s.result.action = SegmentResult::Action::stopped;
    }
    return;
  }
  if (!acceptable_flags(s)) {
    aside(s);
    return;
  }
  if (other.packets == 0) {
    // A window's worth of segments may come before the first acknowledgement is seen.
    if (first_ms_ == 0) first_ms_ = std::max(milliseconds(s.now), 1u);
    alone_ = h.packets >= 16 && h.next > 0 &&
             milliseconds(s.now) - first_ms_ >= kOneSidedGrace / kMillisecond;
  }
  for (Half& x : halves_) {
    if (x.ack_ahead > x.next && x.waiting_segments != UINT8_MAX) ++x.waiting_segments;
  }
  if (s.has(flag::syn)) {
    if (s.has(flag::ack)) {
      take_syn_ack(s);
    } else {
      take_syn(s);
    }
    if (s.result.new_session) return;
  } else if (s.has(flag::rst)) {
    take_reset(s);
  } else {
    if (!h.has(Half::kKnown)) {
      if (other.has(Half::kSyn) && !other.has(Half::kSentAck)) {
        // The other end waits for a SYN and takes nothing else (RFC 9293 3.10.7.3): cases C05, C19.
        if (s.has(flag::fin)) s.sink.on_anomaly(Anomaly::suspected_rst_inject);
        aside(s);
        return;
      }
      h.start_at(s.packet.sequence);
      h.set(Half::kKnown | Half::kTentative);
    }
    if (!established_) {
      established_ = true;
      if (!h.has(Half::kSyn) && !other.has(Half::kSyn)) {
        midstream_ = true;
        h.scale = other.scale = kUnknownScale;
        for (Half& x : halves_) x.gap_floor = static_cast<std::int64_t>(x.next);
        s.sink.on_anomaly(Anomaly::midstream);
      }
    }
    if ((!s.payload.empty() || s.has(flag::fin)) && old_timestamp(h, s.packet, s.now)) {
      s.sink.on_anomaly(Anomaly::paws);
      aside(s);
      return;
    }
    if ((!s.payload.empty() || s.has(flag::fin)) && !acceptable_receipt(s)) {
      aside(s);
      return;
    }
    acknowledge(s);
    // Who replies has what it acknowledges: a hole in that is not waited for.
    if (!s.payload.empty()) settle(opposite(s.direction), s.now, s.sink, Patience::behind);
    // Who goes on behind an answer has sent what is missing before it.
    const auto answered =
        static_cast<std::int32_t>(s.packet.acknowledgement - other.sequence_of(other.next));
    if (other.has(Half::kAnswers) && answered > 0 &&
        h.offset_of(s.packet.sequence) > static_cast<std::int64_t>(h.next))
      settle(s.direction, s.now, s.sink, Patience::none);
    note_timestamp(h, s.packet, h.offset_of(s.packet.sequence) <= static_cast<std::int64_t>(h.next),
                   s.now);
    take_data(s);
    give_answers(s.sink);
  }
  settle(Direction::to_server, s.now, s.sink, Patience::grace);
  settle(Direction::to_client, s.now, s.sink, Patience::grace);
  if (!one_sided_told_ && one_sided()) {
    one_sided_told_ = true;
    s.sink.on_anomaly(Anomaly::one_sided);
  }
}

// Segments that no receiver takes (RFC 9293 3.10.7.4: without ACK it is dropped), case C03.
bool Connection::Impl::acceptable_flags(Segment& s) {
  const bool syn = s.has(flag::syn);
  const bool fin = s.has(flag::fin);
  const bool rst = s.has(flag::rst);
  if ((syn && (fin || rst)) || (fin && rst)) {
    s.sink.on_anomaly(Anomaly::bad_flags);
    return false;
  }
  if (!syn && !rst && !s.has(flag::ack)) {
    s.sink.on_anomaly(s.packet.acknowledgement != 0 ? Anomaly::ack_without_flag
                                                    : Anomaly::bad_flags);
    return false;
  }
  return true;
}

// Whether the receiver takes what the segment carries by its acknowledgement and options: RFC 5961
// 5.2 has those discarded that acknowledge what was never sent, or what is older than the largest
// window; a signature that was not agreed upon is discarded too (RFC 2385 2.0, RFC 5925 7.3).
bool Connection::Impl::acceptable_receipt(Segment& s) {
  Half& from = half(s.direction);
  const Half& of = half(opposite(s.direction));
  if (s.packet.has_signature && from.has(Half::kSyn) && !from.has(Half::kSignature)) {
    s.sink.on_anomaly(Anomaly::suspected_rst_inject);
    return false;
  }
  // Zero is no number but a field left empty (case C03).
  if (!of.has(Half::kKnown) || of.packets == 0 || s.packet.acknowledgement == 0) return true;
  const std::int64_t at = of.offset_of(s.packet.acknowledgement);
  const std::uint64_t most =
      of.has(Half::kEdge) ? std::max(of.right_edge, of.next) : of.next + kUnknownWindow;
  const std::int64_t largest = std::int64_t{std::max<std::uint16_t>(from.max_window, 1)}
                               << from.scale;
  // The first octet behind a FIN is acknowledged as well.
  const bool ahead = at > static_cast<std::int64_t>(most) + 1;
  const bool behind =
      at < static_cast<std::int64_t>(of.acked) - largest || (at < 0 && of.has(Half::kSyn));
  if (!ahead && !behind) return true;
  s.sink.on_anomaly(Anomaly::ack_unseen_data);
  return false;
}

bool Connection::Impl::old_timestamp(const Half& h, const net::Packet& packet,
                                     Nanoseconds now) const {
  if (!packet.has_timestamp || !h.has(Half::kRecent)) return false;
  for (const Half& x : halves_) {
    if (!x.has(Half::kTimestamp) && x.packets > 0) return false;  // not agreed upon
  }
  return static_cast<std::int32_t>(packet.timestamp_value - h.ts_recent) < -kTimestampSlack &&
         seconds(now) - h.ts_seconds < kPawsIdle;
}

void Connection::Impl::note_timestamp(Half& h, const net::Packet& packet, bool in_order,
                                      Nanoseconds now) {
  if (!packet.has_timestamp) return;
  if (midstream_) h.set(Half::kTimestamp);
  const auto newer = static_cast<std::int32_t>(packet.timestamp_value - h.ts_recent) >= 0;
  if (!h.has(Half::kRecent) || (in_order && (newer || seconds(now) - h.ts_seconds >= kPawsIdle))) {
    h.ts_recent = h.ts_latest = packet.timestamp_value;
    h.ts_seconds = seconds(now);
    h.set(Half::kRecent);
  } else if (static_cast<std::int32_t>(packet.timestamp_value - h.ts_latest) > 0) {
    h.ts_latest = packet.timestamp_value;
  }
}

// What the acknowledgement says of the other direction's octets.
void Connection::Impl::acknowledge(Segment& s) {
  Half& from = half(s.direction);
  Half& of = half(opposite(s.direction));
  const std::uint32_t ack = s.packet.acknowledgement;
  const std::uint64_t room = std::uint64_t{s.packet.window} << (s.has(flag::syn) ? 0 : from.scale);
  from.set(Half::kSentAck);

  if (!of.has(Half::kKnown)) {
    of.start_at(ack);
    of.set(Half::kKnown | Half::kTentative | Half::kEdge);
    of.right_edge = of.next + room;
    from.window = s.packet.window;
    from.max_window = std::max(from.max_window, from.window);
    return;
  }
  std::int64_t at = of.offset_of(ack);
  const auto next = static_cast<std::int64_t>(of.next);
  if (of.packets == 0 && of.untouched()) {
    // A direction that is never seen (case C21) is followed by what is acknowledged of it.
    if (at > next && at - next <= static_cast<std::int64_t>(kUnknownWindow)) {
      const auto step = static_cast<std::uint32_t>(at - next);
      followed_octets_ = static_cast<std::uint32_t>(
          std::min<std::uint64_t>(UINT32_MAX, std::uint64_t{followed_octets_} + step));
      of.base_sequence += step;
      of.first_sequence += step;
    }
    of.set(Half::kEdge);
    of.right_edge = of.next + room;
    from.window = s.packet.window;
    from.max_window = std::max(from.max_window, from.window);
    return;
  }
  if (of.has(Half::kSynData) && at >= next) {
    decide_syn_data(opposite(s.direction), static_cast<std::uint64_t>(at - next), s.sink);
  }
  if (of.has(Half::kFin) && at == static_cast<std::int64_t>(of.fin) + 1) {
    if (of.next == of.fin) of.set(Half::kFinAcked);
    --at;
  }
  if (at < static_cast<std::int64_t>(of.acked)) {
    // Old; or of another life of the connection, or made up (case C03).
    const bool before_syn = of.has(Half::kSyn) && at < 0;
    if (before_syn || of.acked - static_cast<std::uint64_t>(at) > kFarBehind) {
      s.sink.on_anomaly(Anomaly::ack_unseen_data);
    }
    return;
  }
  const auto offset = static_cast<std::uint64_t>(at);
  if (offset <= of.next) {
    if (offset > of.acked) {
      of.acked = offset;
      release(of);
    }
  } else {
    // Octets that we have not seen. A receiver cannot have taken more than it offered room for.
    const std::uint64_t most =
        of.has(Half::kEdge) ? std::max(of.right_edge, of.next) : of.next + kUnknownWindow;
    if (offset > most) {
      s.sink.on_anomaly(Anomaly::ack_unseen_data);
      return;
    }
    if (of.ack_ahead == 0) {
      of.waiting_since = milliseconds(s.now);
      of.waiting_segments = 0;
    }
    of.ack_ahead = std::max(of.ack_ahead, offset);
  }
  // The right edge never moves back (RFC 9293 3.8.6: shrinking is for senders to bear, case C11).
  of.right_edge = of.has(Half::kEdge) ? std::max(of.right_edge, offset + room) : offset + room;
  of.set(Half::kEdge);
  from.window = s.packet.window;
  if (!s.has(flag::syn)) from.max_window = std::max(from.max_window, from.window);
}

// --- handshake -----------------------------------------------------------------------------------

void Connection::Impl::begin_half(Half& h, const Segment& s) {
  h.store.clear(memory_);
  h.ahead = 0;
  h.clear(Half::kTentative | Half::kSynData | Half::kScale | Half::kTimestamp | Half::kSignature |
          Half::kCandidate | Half::kRecent | Half::kAnswers);
  h.start_at(s.packet.sequence + 1);
  h.set(Half::kKnown | Half::kSyn);
  h.window = s.packet.window;
  h.max_window = s.packet.window;  // not scaled yet: more than it can be
  h.scale = 0;
  if (s.packet.window_scale != 0xff) {
    h.set(Half::kScale);
    h.scale = std::min(s.packet.window_scale, kUnknownScale);
  }
  if (s.packet.has_timestamp) {
    h.set(Half::kTimestamp | Half::kRecent);
    h.ts_recent = h.ts_latest = s.packet.timestamp_value;
    h.ts_seconds = seconds(s.now);
  }
  if (s.packet.has_signature) h.set(Half::kSignature);
  Half& other = half(opposite(s.direction));
  if (other.has(Half::kSyn)) {
    if (!h.has(Half::kScale) || !other.has(Half::kScale)) h.scale = other.scale = 0;
  } else {
    // Its SYN was not seen, or is still to come.
    other.scale = h.has(Half::kScale) ? kUnknownScale : std::uint8_t{0};
  }
  if (!s.payload.empty()) {
    // Whether the other end takes data in a SYN is known from its acknowledgement (RFC 7413).
    std::uint32_t taken = 0;
    h.store.insert(h.next, s.payload, memory_, taken);
    h.ahead = taken;
    if (taken > 0) h.set(Half::kSynData);
  }
}

void Connection::Impl::decide_syn_data(Direction d, std::uint64_t accepted, StreamSink& sink) {
  Half& h = half(d);
  h.clear(Half::kSynData);
  if (accepted < h.ahead) {
    sink.on_anomaly(Anomaly::syn_data_rejected);
    h.store.visit(
        h.next + accepted, h.next + h.ahead,
        [&](std::uint64_t at, Bytes octets) { sink.on_alternative(d, at, octets); },
        [](std::uint64_t, std::uint64_t) {});
    h.store.drop_from(h.next + accepted, memory_);
    h.ahead = static_cast<std::uint32_t>(accepted);
  }
  if (!drain(d, sink)) stop_at(h, h.next);
}

// No octet of the session known so far can still come, on the word of the end that did not send
// this SYN, or because nothing was ever seen of it.
bool Connection::Impl::surely_over(Direction opener) const {
  const Half& a = half(opener);
  const Half& b = half(opposite(opener));
  if (reset_ && b.has(Half::kReset)) return true;
  const bool both_finished =
      a.has(Half::kFin) && a.next == a.fin && b.has(Half::kFin) && b.next == b.fin;
  if (both_finished) return true;
  // Leftovers of a forgotten connection (case C17).
  return (reset_ || midstream_) && !a.has(Half::kSyn) && !b.has(Half::kSyn) && a.untouched() &&
         b.untouched();
}

// Data of a SYN that was sent before: the first copy holds, what is new waits for the answer.
void Connection::Impl::take_syn_again(Segment& s, Half& h) {
  if (s.payload.empty()) return;
  const std::int64_t at = h.offset_of(h.first_sequence);
  const std::uint64_t size = s.payload.size();
  if (h.has(Half::kStopped)) {
    aside(s);
    return;
  }
  if (!compare(s, at, at + static_cast<std::int64_t>(size))) return;
  if (h.has(Half::kTouched)) {
    if (size > h.next - static_cast<std::uint64_t>(at)) aside(s);
  } else if (size > h.ahead) {
    std::uint32_t taken = 0;
    h.store.insert(h.next + h.ahead, s.payload.subspan(h.ahead), memory_, taken);
    h.ahead += taken;
    if (taken > 0) h.set(Half::kSynData);
  }
}

void Connection::Impl::take_syn(Segment& s) {
  Half& h = half(s.direction);
  Half& other = half(opposite(s.direction));
  if (s.packet.acknowledgement != 0) s.sink.on_anomaly(Anomaly::ack_without_flag);
  const std::uint32_t first = s.packet.sequence + 1;

  const bool correctable = h.has(Half::kTentative) && h.untouched() && other.has(Half::kSyn);
  if ((!h.has(Half::kKnown) || correctable) && !surely_over(s.direction)) {
    if (other.has(Half::kSyn)) s.sink.on_anomaly(Anomaly::split_handshake);
    begin_half(h, s);
    return;
  }
  if (h.has(Half::kSyn) && first == h.first_sequence) {
    // Sent again, or late (case C17 iii, iv).
    s.result.retransmission = true;
    take_syn_again(s, h);
    return;
  }
  if (surely_over(s.direction)) {
    s.result.new_session = true;
    return;
  }
  // Believed when the other end answers it (take_syn_ack) or, unanswered before anything was said,
  // when its sender goes on from it (take_data).
  const bool gave_up = reset_ && h.has(Half::kReset);  // by its own word
  if ((established_ || other.has(Half::kSyn)) && !gave_up)
    s.sink.on_anomaly(Anomaly::syn_in_connection);
  h.candidate = first;
  h.set(Half::kCandidate);
  aside(s);
}

void Connection::Impl::take_syn_ack(Segment& s) {
  Half& h = half(s.direction);
  Half& other = half(opposite(s.direction));
  const std::uint32_t first = s.packet.sequence + 1;
  const std::uint32_t ack = s.packet.acknowledgement;
  const bool confirms = other.has(Half::kCandidate) && ack == other.candidate;
  const bool again = h.has(Half::kSyn) && first == h.first_sequence && !confirms;

  if (!again && surely_over(opposite(s.direction))) {
    s.result.new_session = true;  // its SYN was not seen
    return;
  }
  if (again) {
    s.result.retransmission = h.has(Half::kSentAck);
    acknowledge(s);
    take_syn_again(s, h);
    return;
  }
  // A SYN/ACK of which nothing was acknowledged may have been a forgery.
  const bool correctable = (h.has(Half::kTentative) || !other.has(Half::kSentAck)) &&
                           !h.has(Half::kTouched) && !other.has(Half::kTouched);
  if (h.has(Half::kKnown) && !correctable) {
    if (confirms) {
      s.result.new_session = true;
      return;
    }
    s.sink.on_anomaly(Anomaly::syn_in_connection);
    aside(s);
    return;
  }
  if (!other.has(Half::kKnown) || (other.has(Half::kTentative) && other.untouched())) {
    other.start_at(ack);  // its SYN was not seen (case C18)
    other.set(Half::kKnown);
    other.clear(Half::kTentative);
  } else if (confirms) {
    // The opener began again before anything was said.
    if (other.has(Half::kTouched)) {
      s.result.new_session = true;
      return;
    }
    other.store.clear(memory_);
    other.ahead = 0;
    other.start_at(ack);
    other.clear(Half::kCandidate | Half::kSynData);
  } else {
    const std::int64_t at = other.offset_of(ack);
    const std::uint64_t said = other.next + other.ahead;
    if (at < static_cast<std::int64_t>(other.acked) || at > static_cast<std::int64_t>(said)) {
      aside(s);  // answers no SYN that was sent: the opener will refuse it
      return;
    }
  }
  other.clear(Half::kCandidate);
  begin_half(h, s);
  acknowledge(s);
}

// --- the end -------------------------------------------------------------------------------------

void Connection::Impl::take_reset(Segment& s) {
  Half& h = half(s.direction);
  Half& other = half(opposite(s.direction));
  if (!s.payload.empty()) {
    // An explanation in words (RFC 9293 3.5.3); never part of the stream (case C06).
    s.sink.on_anomaly(Anomaly::rst_with_payload);
    aside(s);
  }
  bool genuine = true;
  if (s.packet.has_signature && !h.has(Half::kSignature)) genuine = false;  // case C04
  if (s.packet.has_timestamp && s.has(flag::ack)) {
    // It echoes what was never sent, or the option was not agreed upon (case C05).
    const auto age = static_cast<std::int32_t>(other.ts_latest - s.packet.timestamp_echo);
    if ((other.packets > 0 && !other.has(Half::kTimestamp)) ||
        (other.has(Half::kRecent) && (age < 0 || age > kOldestEcho))) {
      s.sink.on_anomaly(Anomaly::invalid_timestamp);
      genuine = false;
    }
  }
  if (other.has(Half::kSyn) && !h.has(Half::kKnown)) {
    // An answer to the SYN acknowledges it (RFC 9293 3.10.7.3).
    const std::int64_t at = other.offset_of(s.packet.acknowledgement);
    if (!s.has(flag::ack) || at < static_cast<std::int64_t>(other.next) ||
        at > static_cast<std::int64_t>(other.next + other.ahead)) {
      genuine = false;
    }
  } else if (h.has(Half::kKnown)) {
    // Where the receiver or the sender stands. Elsewhere in the window the receiver does not
    // believe it but asks (RFC 5961 3.2), and a true one comes again with the number that it
    // expects.
    const std::int64_t at = h.offset_of(s.packet.sequence);
    const std::uint64_t end = h.next + (h.has(Half::kFin) ? 1 : 0);
    const std::uint64_t ahead = h.ahead > 0 ? h.store.back()->end() : end;
    const std::uint64_t last = h.has(Half::kEdge) ? h.right_edge : end + kUnknownWindow;
    if (at + 1 < static_cast<std::int64_t>(h.acked) ||
        at > static_cast<std::int64_t>(std::max({end, ahead, last}))) {
      genuine = false;
    } else if (at > static_cast<std::int64_t>(end) && at != static_cast<std::int64_t>(ahead) &&
               !h.has(Half::kTentative)) {
      return;
    }
  }
  if (!genuine) {
    s.sink.on_anomaly(Anomaly::suspected_rst_inject);
    return;
  }
  h.set(Half::kReset);
  reset_ = true;
  reset_ms_ = milliseconds(s.now);
}

// New octets after a believed RST. From the end that sent it: it did not send it. From the other:
// only when they cannot have been on their way.
void Connection::Impl::reopen(Segment& s, const Half& h) {
  if (!reset_) return;
  if (!h.has(Half::kReset) && milliseconds(s.now) - reset_ms_ < kResetSettled) return;
  reset_ = false;
  for (Half& x : halves_) x.clear(Half::kReset);
  s.sink.on_anomaly(Anomaly::suspected_rst_inject);
}

void Connection::Impl::take_fin(Segment& s, std::uint64_t at) {
  Half& h = half(s.direction);
  if (h.has(Half::kFin) && h.fin == at) {
    s.result.retransmission = true;
    return;
  }
  // Not where the stream can end: octets after it, or another end, were seen.
  const bool impossible = at < h.next || (h.ahead > 0 && at < h.store.back()->end());
  if (impossible || h.has(Half::kFin)) s.sink.on_anomaly(Anomaly::suspected_rst_inject);
  if (impossible) return;
  h.fin = at;
  h.set(Half::kFin);
}

// --- before there is a Connection ----------------------------------------------------------------

OpeningStep observe_opening(flow::Opening& o, bool from_low, const net::Packet& p) {
  using flow::Opening;
  const bool from_client = o.has(Opening::kLowIsClient) == from_low;
  const bool known = o.has(Opening::kSyn) || o.has(Opening::kSynAck);
  const auto add = [&o](bool condition, std::uint8_t bit) {
    if (condition) o.flags = static_cast<std::uint8_t>(o.flags | bit);
  };
  if (p.checksum_bad) return OpeningStep::record;
  const std::uint8_t control = p.flags & (flag::fin | flag::syn | flag::rst | flag::ack);
  if (p.payload_size > 0) return OpeningStep::begin;
  const std::uint8_t scale =
      p.window_scale == 0xff ? std::uint8_t{0} : std::min<std::uint8_t>(p.window_scale, 14);
  switch (control) {
    case flag::syn:
      if (known && (!from_client || o.has(Opening::kSynAck))) {
        return from_client && p.sequence == o.client_sequence ? OpeningStep::record
                                                              : OpeningStep::begin;
      }
      if (p.has_signature) return OpeningStep::begin;
      o = Opening{};
      o.client_sequence = p.sequence;
      if (p.has_timestamp) o.server_sequence = p.timestamp_value;
      o.scales = scale;
      add(true, Opening::kSyn);
      add(from_low, Opening::kLowIsClient);
      add(p.window_scale != 0xff, Opening::kClientScale);
      add(p.has_timestamp, Opening::kClientTimestamp);
      add(p.acknowledgement != 0, Opening::kOddAck);
      return OpeningStep::record;
    case flag::syn | flag::ack:
      if (p.has_signature) return OpeningStep::begin;
      if (known && (from_client || p.acknowledgement != o.client_sequence + 1)) {
        return from_client ? OpeningStep::begin : OpeningStep::record;
      }
      if (o.has(Opening::kSynAck) && p.sequence != o.server_sequence) return OpeningStep::begin;
      if (!known) {
        o = Opening{};
        o.client_sequence = p.acknowledgement - 1;
        add(!from_low, Opening::kLowIsClient);
      }
      o.server_sequence = p.sequence;
      o.scales = static_cast<std::uint8_t>((o.scales & 0x0f) | scale << 4);
      add(true, Opening::kSyn | Opening::kSynAck);
      add(p.window_scale != 0xff, Opening::kServerScale);
      add(p.has_timestamp, Opening::kServerTimestamp);
      return OpeningStep::record;
    case flag::ack:
      if (known && from_client && o.has(Opening::kSynAck) && p.sequence == o.client_sequence + 1 &&
          p.acknowledgement == o.server_sequence + 1) {
        return OpeningStep::begin;
      }
      // The client had an answer that is not seen: one direction takes another way.
      if (known && from_client && !o.has(Opening::kSynAck)) return OpeningStep::begin;
      return OpeningStep::record;
    case flag::rst | flag::ack:
      // With timestamps there is more to look at: Connection does.
      if (known && p.has_timestamp) return OpeningStep::begin;
      if (known && !from_client && !o.has(Opening::kSynAck) && !p.has_signature &&
          p.acknowledgement == o.client_sequence + 1) {
        return OpeningStep::refused;
      }
      return OpeningStep::record;
    default:
      return known && control != flag::rst ? OpeningStep::begin : OpeningStep::record;
  }
}

}  // namespace sluice::tcp
