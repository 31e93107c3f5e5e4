#include "dataplane/tcp/connection.h"

#include <algorithm>
#include <new>
#include <utility>

#include "dataplane/base/prefetch.h"
#include "dataplane/tcp/connection_impl.h"

namespace sluice::tcp {

namespace flag = net::tcp_flag;

Connection::Impl::~Impl() {
  for (Half& h : halves_) {
    h.store.clear(memory_);
    if (h.urgent != nullptr) {
      std::pmr::polymorphic_allocator<>(memory_).delete_object(h.urgent);
    }
  }
}

SegmentResult Connection::Impl::segment(Direction d, const net::Packet& packet,
                                        MutableBytes payload, Nanoseconds now, StreamSink& sink) {
  Half& h = half(d);
  Half& other = half(opposite(d));
  Segment s{d, packet, payload, now, sink};
  if (h.packets != UINT32_MAX) ++h.packets;

  // The short path: next in order, nothing outstanding but octets without acknowledgement, nothing
  // special on either side.
  constexpr std::uint8_t kWanted = flag::ack;
  constexpr std::uint8_t kLooked = flag::fin | flag::syn | flag::rst | flag::ack | flag::urg;
  const auto ack_distance =
      static_cast<std::int32_t>(packet.acknowledgement - other.sequence_of(other.next));
  const bool plain =
      established_ && (packet.flags & kLooked) == kWanted && !packet.checksum_bad &&
      !packet.has_signature && (h.flags & Half::kSlow) == Half::kKnown &&
      (other.flags & Half::kSlow) == Half::kKnown && packet.sequence == h.sequence_of(h.next) &&
      (h.ahead | other.ahead) == 0 && (h.ack_ahead | other.ack_ahead) == 0 && ack_distance <= 0 &&
      other.next - other.acked >= static_cast<std::uint64_t>(-std::int64_t{ack_distance}) &&
      (!packet.has_timestamp ||
       static_cast<std::int32_t>(packet.timestamp_value - h.ts_recent) >= 0) &&
      packet.has_timestamp == h.has(Half::kTimestamp) && h.has(Half::kSentAck) && !reset_;
  if (!plain) {
    take(s);
    return s.result;
  }
  if (packet.has_timestamp) {
    h.ts_recent = h.ts_latest = packet.timestamp_value;
    h.ts_seconds = seconds(now);
    h.set(Half::kRecent);
  }
  const std::uint64_t acked = other.next - static_cast<std::uint64_t>(-std::int64_t{ack_distance});
  h.window = packet.window;
  h.max_window = std::max(h.max_window, h.window);
  other.right_edge = std::max(other.right_edge, acked + (std::uint64_t{packet.window} << h.scale));
  other.set(Half::kEdge);  // not known before when the SYN/ACK was seen by observe_opening() alone
  if (acked > other.acked) {
    other.acked = acked;
    release(other);
  }
  if (!payload.empty()) {
    const std::uint64_t offset = h.next;
    const std::size_t accepted = give(d, offset, payload, sink);
    keep(h, offset, payload.first(accepted), sink);
    h.next += accepted;
    if (accepted < payload.size()) {
      stop_at(h, h.next);
      s.result.action = SegmentResult::Action::stopped;
      s.result.octets_before_stop = static_cast<std::uint32_t>(accepted);
    }
  }
  return s.result;
}

void Connection::Impl::adopt(const flow::Opening& opening, const flow::Handshake& seen) {
  using flow::Opening;
  Half& client = half(Direction::to_server);
  Half& server = half(Direction::to_client);
  // The client's number is known from the SYN/ACK alone where the other direction is not seen.
  const bool unseen = opening.has(Opening::kSynAck) && seen.frames[0] == 0 && seen.frames[1] > 0;
  const auto begin = [&](Half& h, std::uint32_t isn, bool scale, unsigned shift, bool timestamp) {
    h.start_at(isn + 1);
    h.set(Half::kKnown | Half::kSyn);
    if (scale) {
      h.set(Half::kScale);
      h.scale = static_cast<std::uint8_t>(std::min(shift, 14u));
    }
    if (timestamp) h.set(Half::kTimestamp);
    h.packets = std::max(seen.frames[&h == &server], 1u);
  };
  if (unseen) {
    client.start_at(opening.client_sequence + 1);
    client.set(Half::kKnown);
  } else if (opening.has(Opening::kSyn)) {
    begin(client, opening.client_sequence, opening.has(Opening::kClientScale),
          opening.scales & 0x0fu, opening.has(Opening::kClientTimestamp));
    if (opening.has(Opening::kClientTimestamp) && !opening.has(Opening::kSynAck)) {
      client.ts_recent = client.ts_latest = opening.server_sequence;
      client.set(Half::kRecent);
    }
  }
  if (opening.has(Opening::kSynAck)) {
    begin(server, opening.server_sequence, opening.has(Opening::kServerScale),
          static_cast<unsigned>(opening.scales >> 4), opening.has(Opening::kServerTimestamp));
    server.set(Half::kSentAck);
    // The client's SYN may not have been seen: its scale is then unknown, as large as may be.
    if (server.has(Half::kScale) && !client.has(Half::kScale)) client.scale = 14;
    if (!client.has(Half::kScale) && !server.has(Half::kScale)) client.scale = server.scale = 0;
  }
  odd_ack_ = opening.has(Opening::kOddAck);
  if (client.packets == 0 || server.packets == 0)
    first_ms_ = seen.first == 0 ? 0 : std::max(milliseconds(seen.first), 1u);
}

State Connection::Impl::state() const {
  if (reset_) return State::closed;
  int finished = 0;
  for (const Half& h : halves_) finished += h.has(Half::kFin) && h.next == h.fin ? 1 : 0;
  if (finished == 2) return State::closed;
  if (finished == 1) return State::closing;
  return established_ ? State::established : State::opening;
}

bool Connection::Impl::one_sided() const {
  for (int i = 0; i < 2; ++i) {
    const Half& seen = halves_[i];
    const Half& unseen = halves_[1 - i];
    // The acknowledgements of the one move on, so the other one talks, elsewhere; or it has talked
    // on without ever being answered.
    if (unseen.packets == 0 && ((followed_octets_ > 0 && seen.packets >= 4) || alone_)) return true;
  }
  return false;
}

// --- the public face -----------------------------------------------------------------------------

Connection::Connection(const Limits& limits, std::pmr::memory_resource* memory)
    : impl_(std::pmr::polymorphic_allocator<>(memory).new_object<Impl>(limits, memory)),
      memory_(memory) {}

Connection::Connection(const Limits& limits, std::pmr::memory_resource* memory,
                       const flow::Opening& opening, const flow::Handshake& seen)
    : Connection(limits, memory) {
  impl_->adopt(opening, seen);
}

Connection::Connection(const Limits& limits, std::pmr::memory_resource* memory, Unpacker& packed)
    : Connection(limits, memory) {
  packed.get(static_cast<ConnectionState&>(*impl_));
}

Connection::~Connection() {
  if (impl_ != nullptr) std::pmr::polymorphic_allocator<>(memory_).delete_object(impl_);
}

Connection::Connection(Connection&& from) noexcept
    : impl_(std::exchange(from.impl_, nullptr)), memory_(from.memory_) {}

Connection& Connection::operator=(Connection&& from) noexcept {
  if (this != &from) {
    if (impl_ != nullptr) std::pmr::polymorphic_allocator<>(memory_).delete_object(impl_);
    impl_ = std::exchange(from.impl_, nullptr);
    memory_ = from.memory_;
  }
  return *this;
}

SegmentResult Connection::segment(Direction direction, const net::Packet& packet,
                                  MutableBytes payload, Nanoseconds now, StreamSink& sink) {
  return impl_->segment(direction, packet, payload, now, sink);
}

void Connection::settle(Nanoseconds now, StreamSink& sink) {
  impl_->settle(Direction::to_server, now, sink, Impl::Patience::grace);
  impl_->settle(Direction::to_client, now, sink, Impl::Patience::grace);
}

void Connection::finish(StreamSink& sink) {
  impl_->settle(Direction::to_server, 0, sink, Impl::Patience::none);
  impl_->settle(Direction::to_client, 0, sink, Impl::Patience::none);
}

State Connection::state() const { return impl_->state(); }

CloseReason Connection::close_reason() const {
  if (impl_->reset_) return CloseReason::rst;
  const State state = impl_->state();
  return state == State::closing || state == State::closed ? CloseReason::fin : CloseReason::none;
}

bool Connection::midstream() const { return impl_->midstream_; }
bool Connection::one_sided() const { return impl_->one_sided(); }

std::uint32_t Connection::next_sequence(Direction d) const {
  const Half& h = impl_->half(d);
  return h.sequence_of(h.next);
}

std::uint32_t Connection::highest_acknowledged(Direction d) const {
  const Half& h = impl_->half(d);
  return h.sequence_of(h.acked) + (h.has(Half::kFinAcked) ? 1 : 0);
}

std::uint32_t Connection::latest_timestamp(Direction d) const { return impl_->half(d).ts_latest; }

bool Connection::timestamps() const {
  return impl_->halves_[0].has(Half::kTimestamp) && impl_->halves_[1].has(Half::kTimestamp);
}

std::uint16_t Connection::latest_window(Direction d) const { return impl_->half(d).window; }

std::uint32_t Connection::copy_unacknowledged(Direction d,
                                              std::pmr::vector<std::uint8_t>& out) const {
  const Half& h = impl_->half(d);
  // After the last piece that is missing: what comes before it could not be joined.
  std::uint64_t first = h.acked;
  h.store.visit(
      h.acked, h.next, [](std::uint64_t, Bytes) {},
      [&](std::uint64_t, std::uint64_t end) { first = end; });
  h.store.visit(
      first, h.next,
      [&](std::uint64_t, Bytes octets) { out.insert(out.end(), octets.begin(), octets.end()); },
      [](std::uint64_t, std::uint64_t) {});
  return h.sequence_of(first);
}

std::size_t Connection::memory_used() const {
  std::size_t used = sizeof(Impl);
  for (const Half& h : impl_->halves_) {
    used += h.store.memory_used() + (h.urgent != nullptr ? sizeof(UrgentReadings) : 0);
  }
  return used;
}

void Connection::prefetch() const { prefetch_object(*impl_); }

bool Connection::packable() const {
  return std::all_of(std::begin(impl_->halves_), std::end(impl_->halves_),
                     [](const Half& h) { return h.store.empty() && h.urgent == nullptr; });
}

bool Connection::in_order(Direction d) const {
  const auto plain = [](const Half& h) { return (h.flags & Half::kSlow) == Half::kKnown; };
  return plain(impl_->half(d)) && plain(impl_->half(opposite(d))) && impl_->half(d).ahead == 0;
}

void Connection::take_as_acknowledged(Direction d) {
  Half& h = impl_->half(d);
  h.acked = h.next;
  impl_->release(h);
}

std::uint64_t Connection::skip(Direction d, std::uint32_t to, StreamSink& sink) {
  return impl_->skip(d, to, sink);
}

void Connection::drop_octets() {
  for (Half& h : impl_->halves_) {
    h.store.clear(memory_);
    h.ahead = 0;
    h.ack_ahead = 0;
    h.clear(Half::kSynData | Half::kUrgent | Half::kAnswers);
    if (h.urgent != nullptr) std::pmr::polymorphic_allocator<>(memory_).delete_object(h.urgent);
    h.urgent = nullptr;
  }
}

void Connection::pack(Packer& packer) const {
  packer.put(static_cast<const ConnectionState&>(*impl_));
}

flow::Opening Connection::next_opening() const {
  flow::Opening opening;
  const Half& client = impl_->half(Direction::to_server);
  if (client.has(Half::kCandidate)) {
    opening.client_sequence = client.candidate - 1;
    opening.flags = flow::Opening::kSyn;
    // Its options are not kept: a scale of 14 is tolerant of every window.
    opening.flags |= flow::Opening::kClientScale;
    opening.scales = 14;
  }
  return opening;
}

void Connection::preset_offset(Direction d, std::uint64_t offset) {
  Half& h = impl_->half(d);
  h.next = h.acked = h.right_edge = offset;
  h.gap_floor = static_cast<std::int64_t>(offset);
}

}  // namespace sluice::tcp
