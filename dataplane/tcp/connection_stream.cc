// From segments to the stream: comparing with what was seen first, keeping, delivering, gaps,
// stops.
#include <algorithm>
#include <limits>
#include <new>
#include <vector>

#include "dataplane/tcp/connection_impl.h"

namespace sluice::tcp {

using contract::Anomaly;
using contract::DropReason;
using Action = SegmentResult::Action;
namespace flag = net::tcp_flag;

namespace {
// Ahead of the edge by more than the largest window (RFC 7323 2.3) is no octet of this stream.
constexpr std::uint64_t kLargestWindow = 1u << 30;
constexpr std::int64_t kOldDuplicate = 1 << 24;
constexpr std::int64_t kMidstreamBehind = 1 << 20;
constexpr std::uint32_t kReservedBlocks = 8;
constexpr std::uint32_t kContextSize = Half::kContext;
}  // namespace

void Connection::Impl::aside(Segment& s) {
  const Half& h = half(s.direction);
  if (s.payload.empty()) return;
  if (h.has(Half::kStopped)) {
    s.result.action = Action::stopped;
    s.result.octets_before_stop = 0;
    return;
  }
  offer(s.direction, h.has(Half::kKnown) ? h.offset_of(s.packet.sequence) : 0, s.payload, s.sink);
}

void Connection::Impl::take_data(Segment& s) {
  Half& h = half(s.direction);
  const auto size = static_cast<std::int64_t>(s.payload.size());
  const bool fin = s.has(flag::fin);
  if (size == 0 && !fin) {
    if (h.has(Half::kSynData)) {
      // The acknowledgement of its SYN was not seen; where it goes on tells.
      const bool taken =
          h.offset_of(s.packet.sequence) >= static_cast<std::int64_t>(h.next + h.ahead);
      decide_syn_data(s.direction, taken ? h.ahead : 0, s.sink);
    }
    return;
  }
  find_beginning(s, h);
  const std::int64_t offset = h.offset_of(s.packet.sequence);
  const std::int64_t end = offset + size;
  if (h.has(Half::kSynData)) {
    const bool taken = offset >= static_cast<std::int64_t>(h.next + h.ahead);
    decide_syn_data(s.direction, taken ? h.ahead : 0, s.sink);
  }

  if (h.has(Half::kStopped) && end + (fin ? 1 : 0) > static_cast<std::int64_t>(h.stop)) {
    const std::int64_t before =
        std::clamp<std::int64_t>(static_cast<std::int64_t>(h.stop) - offset, 0, size);
    if (before > 0 && !compare(s, offset, offset + before)) return;
    s.result.action = Action::stopped;
    s.result.octets_before_stop = static_cast<std::uint32_t>(before);
    return;
  }
  const auto acked = static_cast<std::int64_t>(h.acked);
  if (end <= acked && size > 0) {
    // The receiver has them; it may have them because another path brought them (gap_floor).
    s.result.retransmission = true;
    if (acked - end > kOldDuplicate || (h.has(Half::kSyn) && end <= 0 && size > 1)) {
      s.sink.on_anomaly(Anomaly::out_of_window);
      aside(s);
    } else if (offset < h.gap_floor) {
      offer(s.direction, offset, s.payload, s.sink);
    }
    if (fin && end == acked) take_fin(s, static_cast<std::uint64_t>(end));
    return;
  }
  if (end < acked) return;  // a bare FIN, old
  if (offset > static_cast<std::int64_t>(h.next)) {
    const std::uint64_t last =
        h.has(Half::kEdge) ? std::max(h.right_edge, h.next) : h.next + kLargestWindow;
    if (static_cast<std::uint64_t>(offset) > last) {
      s.sink.on_anomaly(Anomaly::out_of_window);
      aside(s);
      return;
    }
  }
  if (h.has(Half::kFin) && end > static_cast<std::int64_t>(h.fin)) {
    s.sink.on_anomaly(Anomaly::data_after_fin);
    if (h.has(Half::kFinAcked)) {
      aside(s);
      return;
    }
    // The receiver has not said that it took the FIN: it may not have been one (case C05).
    s.sink.on_anomaly(Anomaly::suspected_rst_inject);
    h.clear(Half::kFin);
  }
  if (size > 0 && !compare(s, offset, end)) return;

  if (s.has(flag::urg)) take_urgent(s, h, offset);
  const auto stream_end = static_cast<std::uint64_t>(end);
  if (end > static_cast<std::int64_t>(h.next)) {
    reopen(s, h);
    const auto begin = static_cast<std::uint64_t>(
        std::max<std::int64_t>(offset, static_cast<std::int64_t>(h.next)));
    h.clear(Half::kTentative);
    if (answers_unseen(s) && keep_answer(s, h, offset, stream_end)) {
      if (fin) take_fin(s, stream_end);
      return;
    }
    if (begin > h.next && !make_room(s, h, begin, stream_end)) return;
    if (begin > h.next) {
      keep_ahead(s, h, offset, begin, stream_end);
    } else {
      deliver_from(s, h, offset, stream_end);
      if (h.has(Half::kStopped)) return;
    }
  } else if (size > 0) {
    s.result.retransmission = true;
  }
  if (fin) take_fin(s, stream_end);
}

// A stream picked up in the middle begins with the first octet seen, unless an acknowledgement told
// already where it stands.
void Connection::Impl::find_beginning(Segment& s, Half& h) {
  if (h.has(Half::kCandidate)) {
    const auto beyond = static_cast<std::int32_t>(s.packet.sequence - h.candidate);
    if (beyond == 0 && h.untouched() && !half(opposite(s.direction)).has(Half::kSyn)) {
      h.start_at(h.candidate);  // the opener began again, and only it is seen
      h.clear(Half::kCandidate);
    }
  }
  if (!h.has(Half::kTentative) || !h.untouched()) return;
  const std::int64_t distance = h.offset_of(s.packet.sequence) - static_cast<std::int64_t>(h.next);
  const bool keep_alive = distance == -1 && s.payload.size() <= 1;
  const bool behind = distance < 0 && distance > -kMidstreamBehind && !keep_alive;
  const bool beyond =
      distance == 1 ||
      (distance > 0 && h.ack_ahead >= h.next + static_cast<std::uint64_t>(distance));
  if (!behind && !beyond) return;
  h.start_at(s.packet.sequence);
  h.ack_ahead = 0;
  h.clear(Half::kEdge);  // was counted from the other beginning
}

// --- octets seen first win -----------------------------------------------------------------------

// Compares [offset, end) with what is kept, and puts the first octets into the payload where they
// differ. False: the segment is dropped by policy.
bool Connection::Impl::compare(Segment& s, std::int64_t offset, std::int64_t end) {
  Half& h = half(s.direction);
  const std::int64_t from = std::max(offset, static_cast<std::int64_t>(h.acked));
  if (from >= end || (h.store.empty() && from >= static_cast<std::int64_t>(h.next))) return true;
  std::uint32_t differing = 0;
  bool unseen = false;  // behind the edge, but not kept: of a gap, or given up at a bound
  const auto place = [&](std::uint64_t at) {
    return s.payload.data() + (static_cast<std::int64_t>(at) - offset);
  };
  h.store.visit(
      static_cast<std::uint64_t>(from), static_cast<std::uint64_t>(end),
      [&](std::uint64_t at, Bytes first) {
        const std::uint8_t* now = place(at);
        if (std::memcmp(now, first.data(), first.size()) == 0) return;
        for (std::size_t i = 0; i < first.size(); ++i) differing += now[i] != first[i] ? 1u : 0u;
      },
      [&](std::uint64_t begin, std::uint64_t) { unseen = unseen || begin < h.next; });

  bool offered = false;
  if (differing > 0) {
    // One octet before the edge is a keep-alive (RFC 9293 3.8.4), whatever octet it carries.
    const bool keep_alive =
        s.payload.size() == 1 && offset + 1 == static_cast<std::int64_t>(h.next);
    if (!keep_alive) {
      s.result.differing_octets = differing;
      s.sink.on_anomaly(Anomaly::overlap_diff);
      offer(s.direction, offset, s.payload, s.sink);
      offered = true;
      if (limits_.overlap == OverlapPolicy::drop) {
        s.result.action = Action::drop;
        s.result.drop_reason = DropReason::overlap_diff;
        return false;
      }
    }
    h.store.visit(
        static_cast<std::uint64_t>(from), static_cast<std::uint64_t>(end),
        [&](std::uint64_t at, Bytes first) { std::memcpy(place(at), first.data(), first.size()); },
        [](std::uint64_t, std::uint64_t) {});
    s.result.changed = true;
    s.result.action = Action::forward_changed;
  }
  if (unseen) {
    if (!offered) offer(s.direction, offset, s.payload, s.sink);
    keep_behind(s, h, offset, static_cast<std::uint64_t>(from),
                static_cast<std::uint64_t>(std::min(end, static_cast<std::int64_t>(h.next))));
  }
  return true;
}

// Late octets of a gap become the first seen.
void Connection::Impl::keep_behind(Segment& s, Half& h, std::int64_t offset, std::uint64_t begin,
                                   std::uint64_t end) {
  while (begin < end) {
    std::uint64_t hole_begin = end;
    std::uint64_t hole_end = end;
    h.store.visit(
        begin, end, [](std::uint64_t, Bytes) {},
        [&](std::uint64_t b, std::uint64_t e) {
          if (hole_begin == end) {
            hole_begin = b;
            hole_end = e;
          }
        });
    if (hole_begin >= end) return;
    const std::uint64_t kept = h.store.octets() - h.ahead + (hole_end - hole_begin);
    if (kept > limits_.unacknowledged_octets ||
        h.store.blocks() + kReservedBlocks >= SegmentStore::kMaxBlocks) {
      s.sink.on_anomaly(Anomaly::reassembly_limit);
      return;
    }
    std::uint32_t taken = 0;
    const Bytes octets =
        s.payload.subspan(static_cast<std::size_t>(static_cast<std::int64_t>(hole_begin) - offset),
                          hole_end - hole_begin);
    if (!h.store.insert(hole_begin, octets, memory_, taken)) {
      s.sink.on_anomaly(Anomaly::reassembly_limit);
      return;
    }
    begin = hole_end;
  }
}

// --- ahead of a hole -----------------------------------------------------------------------------

// Makes sure that [begin, end), ahead of the edge, can be kept, or that the edge reaches it. False:
// the segment goes no further (dropped by policy, or the stream was stopped on the way).
bool Connection::Impl::make_room(Segment& s, Half& h, std::uint64_t begin, std::uint64_t end) {
  while (h.ahead + (end - begin) > limits_.out_of_order_octets ||
         h.store.blocks() + kReservedBlocks >= SegmentStore::kMaxBlocks) {
    s.sink.on_anomaly(Anomaly::reassembly_limit);
    if (limits_.at_bound == BoundPolicy::drop) {
      s.result.action = Action::drop;
      s.result.drop_reason = DropReason::failure_policy;
      return false;
    }
    const std::uint64_t hole = h.next;
    const SegmentStore::Block* ready = h.ahead > 0 ? h.store.first_after(h.next) : nullptr;
    skip_hole(s.direction, ready == nullptr ? begin : std::min(begin, ready->offset), s.sink);
    if (!drain(s.direction, s.sink)) {
      // What follows the hole has been forwarded: nothing of the hole may pass any more.
      stop_at(h, hole);
      s.result.action = Action::stopped;
      s.result.octets_before_stop = 0;
      return false;
    }
    if (h.next >= begin) {
      // The edge has come to this segment.
      break;
    }
  }
  return true;
}

void Connection::Impl::keep_ahead(Segment& s, Half& h, std::int64_t offset, std::uint64_t begin,
                                  std::uint64_t end) {
  s.result.out_of_order = true;
  if (h.ahead == 0 && h.ack_ahead == 0) h.waiting_since = milliseconds(s.now);
  h.set(Half::kTouched);
  while (begin < end) {
    std::uint64_t hole_begin = end;
    std::uint64_t hole_end = end;
    h.store.visit(
        begin, end, [](std::uint64_t, Bytes) {},
        [&](std::uint64_t b, std::uint64_t e) {
          if (hole_begin == end) {
            hole_begin = b;
            hole_end = e;
          }
        });
    if (hole_begin >= end) break;
    std::uint32_t taken = 0;
    const Bytes octets =
        s.payload.subspan(static_cast<std::size_t>(static_cast<std::int64_t>(hole_begin) - offset),
                          hole_end - hole_begin);
    const bool kept = h.store.insert(hole_begin, octets, memory_, taken);
    h.ahead += taken;
    if (!kept) {
      // Memory is refused. What is forwarded and not kept passes unseen, a gap once the receiver
      // has acknowledged it; what is dropped is sent again.
      s.sink.on_anomaly(Anomaly::reassembly_limit);
      if (limits_.at_bound == BoundPolicy::gap) return;
      s.result.action = Action::drop;
      s.result.drop_reason = DropReason::failure_policy;
      return;
    }
    begin = hole_end;
  }
  if (begin >= end && s.result.action == Action::forward) s.result.retransmission = false;
}

// --- answers -------------------------------------------------------------------------------------

bool Connection::Impl::answers_unseen(const Segment& s) const {
  if (s.direction != Direction::to_client) return false;
  if (half(Direction::to_client).has(Half::kAnswers)) return true;
  const Half& client = half(Direction::to_server);
  // One number beyond may be a FIN.
  return client.ack_ahead > client.next + 1 && !client.has(Half::kSynData | Half::kStopped) &&
         !half(Direction::to_client).has(Half::kSynData);
}

// False: there is no room, and nothing waits any more.
bool Connection::Impl::keep_answer(Segment& s, Half& h, std::int64_t offset, std::uint64_t end) {
  const auto begin =
      static_cast<std::uint64_t>(std::max<std::int64_t>(offset, static_cast<std::int64_t>(h.next)));
  if (h.ahead + (end - begin) <= limits_.out_of_order_octets &&
      h.store.blocks() + kReservedBlocks < SegmentStore::kMaxBlocks) {
    h.set(Half::kAnswers);
    const bool hole = begin > h.next + h.ahead;
    keep_ahead(s, h, offset, begin, end);
    s.result.out_of_order = hole;
    return true;
  }
  settle(Direction::to_server, s.now, s.sink, Patience::none);
  return false;
}

void Connection::Impl::give_answers(StreamSink& sink) {
  Half& h = half(Direction::to_client);
  const Half& client = half(Direction::to_server);
  if (!h.has(Half::kAnswers) || client.ack_ahead > client.next) return;
  h.clear(Half::kAnswers);
  drain(Direction::to_client, sink);
}

// --- delivery ------------------------------------------------------------------------------------

std::size_t Connection::Impl::give(Direction d, std::uint64_t offset, Bytes octets,
                                   StreamSink& sink) {
  Half& h = half(d);
  h.set(Half::kTouched);
  if (h.urgent == nullptr) [[likely]]
    return std::min(sink.on_data(d, offset, octets), octets.size());
  std::size_t accepted = 0;
  while (accepted < octets.size()) {
    const std::uint64_t at = offset + accepted;
    std::uint64_t end = offset + octets.size();
    const std::uint8_t left_out = h.urgent->left_out(at, end);
    const Bytes piece = octets.subspan(accepted, end - at);
    // The other readings first: what is found in them counts when the main one ends a message.
    h.urgent->read(d, at, piece, sink, memory_);
    const std::size_t taken = std::min(
        left_out == 0 ? sink.on_data(d, at, piece) : sink.on_urgent_data(d, at, piece, left_out),
        piece.size());
    accepted += taken;
    if (taken < piece.size()) break;
  }
  return accepted;
}

// Keeps delivered octets until they are acknowledged, the latest of them at the bound.
void Connection::Impl::keep(Half& h, std::uint64_t offset, Bytes octets, StreamSink& sink) {
  std::uint32_t taken = 0;
  if (!h.store.insert(offset, octets, memory_, taken)) {
    sink.on_anomaly(Anomaly::reassembly_limit);
  }
  std::uint32_t kept = h.store.octets() - h.ahead;
  if (kept <= limits_.unacknowledged_octets / 4) return;
  // Without the other direction nothing is ever acknowledged, which is no anomaly.
  const bool alone = one_sided();
  const std::uint32_t bound =
      alone ? limits_.unacknowledged_octets / 4 : limits_.unacknowledged_octets;
  while (kept > bound && h.store.front()->end() <= offset) {
    if (!alone) sink.on_anomaly(Anomaly::reassembly_limit);
    h.store.free_front(memory_);
    kept = h.store.octets() - h.ahead;
  }
}

bool Connection::Impl::drain(Direction d, StreamSink& sink) {
  Half& h = half(d);
  while (h.ahead > 0 && !h.has(Half::kSynData)) {
    const SegmentStore::Block* ready = h.store.first_after(h.next);
    if (ready == nullptr || ready->offset > h.next) return true;
    const Bytes octets = ready->from(h.next);
    const std::size_t accepted = give(d, h.next, octets, sink);
    h.next += accepted;
    h.ahead -= static_cast<std::uint32_t>(accepted);
    if (accepted < octets.size()) return false;
  }
  return true;
}

// The segment reaches the edge: its new octets, then what was waiting for them, and so on.
void Connection::Impl::deliver_from(Segment& s, Half& h, std::int64_t offset, std::uint64_t end) {
  std::uint64_t hole = h.next;  // what must not pass if the stop lies behind it
  const auto stopped = [&](std::uint64_t at) {
    stop_at(h, at);
    s.result.action = Action::stopped;
    s.result.octets_before_stop = static_cast<std::uint32_t>(
        std::max<std::int64_t>(static_cast<std::int64_t>(at) - offset, 0));
  };
  for (;;) {
    const SegmentStore::Block* ready = h.ahead > 0 ? h.store.first_after(h.next) : nullptr;
    if (ready != nullptr && ready->offset <= h.next) {
      if (!drain(s.direction, s.sink)) {
        // The octets around the stop have been forwarded; a hole must stay.
        stopped(hole);
        return;
      }
      continue;
    }
    if (h.next >= end) return;
    const std::uint64_t piece_end = ready == nullptr ? end : std::min(end, ready->offset);
    const Bytes piece = s.payload.subspan(
        static_cast<std::size_t>(static_cast<std::int64_t>(h.next) - offset), piece_end - h.next);
    const std::size_t accepted = give(s.direction, h.next, piece, s.sink);
    keep(h, h.next, piece.first(accepted), s.sink);
    h.next += accepted;
    if (accepted < piece.size()) {
      stopped(h.next);
      return;
    }
    hole = h.next - 1;  // one octet is enough: commands may stand in front of it
  }
}

void Connection::Impl::stop_at(Half& h, std::uint64_t at) {
  h.stop = at;
  h.set(Half::kStopped);
  h.store.drop_from(h.next, memory_);
  h.ahead = 0;
  h.ack_ahead = 0;
}

// Frees what is acknowledged, all but a little to read other copies in their context.
void Connection::Impl::release(Half& h) {
  if (h.acked == h.next && h.ahead == 0) {
    if (h.store.empty()) return;
    std::uint8_t context[Half::kContext];
    const std::size_t size = context_before(h, h.next, context);
    std::memcpy(h.context, context + (kContextSize - size), size);
    h.context_size = static_cast<std::uint8_t>(size);
    h.context_end = static_cast<std::uint32_t>(h.next);
    h.store.clear(memory_);
  } else if (h.acked > kContextSize) {
    h.store.free_before(h.acked - kContextSize, memory_);
  }
}

// The stream's last octets before `offset`, as many as are known without a break, at the end of
// `context`.
std::size_t Connection::Impl::context_before(const Half& h, std::uint64_t offset,
                                             std::uint8_t (&context)[Half::kContext]) const {
  std::size_t size = 0;
  std::uint64_t at = offset;
  const SegmentStore::Block* b = nullptr;
  if (at > 0) b = h.store.first_after(at - 1);
  while (size < kContextSize && b != nullptr && b->offset < at && b->end() >= at) {
    const std::size_t n = std::min<std::size_t>(kContextSize - size, at - b->offset);
    std::memcpy(context + (kContextSize - size - n), b->data() + (at - b->offset - n), n);
    size += n;
    at -= n;
    b = b->previous;
  }
  if (size < kContextSize && h.context_size > 0 &&
      h.context_end == static_cast<std::uint32_t>(at)) {
    const std::size_t n = std::min<std::size_t>(kContextSize - size, h.context_size);
    std::memcpy(context + (kContextSize - size - n), h.context + (h.context_size - n), n);
    size += n;
  }
  return size;
}

// Octets to be scanned apart from the stream, between those that stand around their place.
void Connection::Impl::offer(Direction d, std::int64_t offset, Bytes octets, StreamSink& sink) {
  const Half& h = half(d);
  const std::uint64_t at = offset < 0 ? 0 : static_cast<std::uint64_t>(offset);
  try {
    std::pmr::vector<std::uint8_t> text(memory_);
    std::uint8_t context[Half::kContext];
    const std::size_t before = offset < 0 ? 0 : context_before(h, at, context);
    text.reserve(before + octets.size() + kContextSize);
    text.insert(text.end(), context + (kContextSize - before), context + kContextSize);
    text.insert(text.end(), octets.begin(), octets.end());
    const std::int64_t end = offset + static_cast<std::int64_t>(octets.size());
    if (end >= 0) {
      std::uint64_t from = static_cast<std::uint64_t>(end);
      h.store.visit(
          from, from + kContextSize,
          [&](std::uint64_t piece, Bytes stored) {
            if (piece != from) return;
            text.insert(text.end(), stored.begin(), stored.end());
            from += stored.size();
          },
          [](std::uint64_t, std::uint64_t) {});
    }
    sink.on_alternative(d, at - before, text);
  } catch (const std::bad_alloc&) {
    sink.on_alternative(d, at, octets);
  }
}

void Connection::Impl::take_urgent(Segment& s, Half& h, std::int64_t offset) {
  s.sink.on_anomaly(Anomaly::urg);
  if (offset < 0) return;
  const auto at = static_cast<std::uint64_t>(offset);
  std::uint8_t context[Half::kContext];
  if (at + s.payload.size() <= h.next) {
    // Read before; now with another meaning.
    const std::size_t before = context_before(h, at, context);
    UrgentReadings again(Bytes(context).last(before));
    again.mark(at, s.packet.urgent);
    again.read(s.direction, at, s.payload, s.sink, memory_);
    return;
  }
  if (h.urgent == nullptr) {
    const std::size_t before = context_before(h, h.next, context);
    try {
      h.urgent = std::pmr::polymorphic_allocator<>(memory_).new_object<UrgentReadings>(
          Bytes(context).last(before));
    } catch (const std::bad_alloc&) {
      s.sink.on_anomaly(Anomaly::reassembly_limit);
      return;
    }
    h.set(Half::kUrgent);
  }
  h.urgent->mark(at, s.packet.urgent);
}

// --- gaps ----------------------------------------------------------------------------------------

void Connection::Impl::skip_hole(Direction d, std::uint64_t to, StreamSink& sink) {
  Half& h = half(d);
  sink.on_anomaly(Anomaly::stream_gap);
  sink.on_gap(d, h.next, to - h.next);
  h.next = to;
  h.gap_floor = static_cast<std::int64_t>(to);
  h.set(Half::kTouched);
}

// What the other end acknowledged and offered meanwhile is not known either.
std::uint64_t Connection::Impl::skip(Direction d, std::uint32_t to, StreamSink& sink) {
  Half& h = half(d);
  const std::int64_t end = h.offset_of(to);
  if (end <= static_cast<std::int64_t>(h.next)) return 0;
  const auto edge = static_cast<std::uint64_t>(end);
  const std::uint64_t size = edge - h.next;
  const SegmentStore::Block* ahead = h.ahead > 0 ? h.store.first_after(h.next) : nullptr;
  if (ahead == nullptr || ahead->offset < edge) {
    h.store.clear(memory_);
    h.ahead = 0;
  }
  h.context_size = 0;
  h.next = h.acked = edge;
  if (h.ack_ahead <= edge) h.ack_ahead = 0;
  h.gap_floor = end;
  h.set(Half::kTouched);
  h.clear(Half::kEdge);
  if (!drain(d, sink)) stop_at(h, h.next);
  give_answers(sink);
  return size;
}

// Gives up holes that will not be filled, and takes up acknowledgements that came early.
void Connection::Impl::settle(Direction d, Nanoseconds now, StreamSink& sink, Patience patience) {
  Half& h = half(d);
  const Half& other = half(opposite(d));
  if ((h.ahead == 0 && h.ack_ahead == 0) || h.has(Half::kSynData | Half::kStopped | Half::kAnswers))
    return;
  const std::uint32_t waited = milliseconds(now) - h.waiting_since;
  while (h.ahead > 0 || (other.has(Half::kAnswers) && h.ack_ahead > h.next)) {
    const std::uint64_t ready = h.ahead > 0 ? h.store.first_after(h.next)->offset
                                            : std::numeric_limits<std::uint64_t>::max();
    std::uint64_t to = ready;
    if (h.ack_ahead > h.next) {
      const bool wait =
          patience == Patience::grace || (patience == Patience::behind && h.ahead == 0);
      if (wait && waited < kGapGrace / kMillisecond && h.waiting_segments < kGapSegments) break;
      to = std::min(ready, h.ack_ahead);
    } else if (patience != Patience::grace || waited < kOneSidedGrace / kMillisecond ||
               !one_sided()) {
      break;
    }
    skip_hole(d, to, sink);
    if (h.ack_ahead <= h.next) give_answers(sink);
    if (!drain(d, sink)) {
      stop_at(h, h.next);
      break;
    }
  }
  give_answers(sink);
  if (h.has(Half::kStopped)) return;
  if (h.ack_ahead == 0) return;
  const std::uint64_t acked = std::min(h.ack_ahead, h.next);
  if (h.ack_ahead <= h.next) h.ack_ahead = 0;
  if (acked > h.acked) {
    h.acked = acked;
    release(h);
  }
}

}  // namespace sluice::tcp
