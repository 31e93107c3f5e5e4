// What is known of one direction of a connection. Stream offsets are 64 bits (case C16): offset 0
// is the octet after the SYN, or the first seen; sequence numbers are the low 32 bits of
// base_sequence + offset.
//
//        acked          next                       first octet ahead
//   ───────┼──────────────┼──────────┈┈┈┈┈┈┈┈┈┈┈┈┼────────────┼───
//    freed │ kept         │   hole               │ kept, not yet delivered
#pragma once

#include <cstdint>

#include "dataplane/base/bytes.h"
#include "dataplane/tcp/segment_store.h"

namespace sluice::tcp {

class UrgentReadings;

struct Half {
  // `flags`. Those of kSlow take a direction off the short path of Connection::segment().
  static constexpr std::uint32_t kKnown = 0x0001;      // base_sequence is set
  static constexpr std::uint32_t kTentative = 0x0002;  // by an ACK or an empty segment: correctable
  static constexpr std::uint32_t kSyn = 0x0004;        // its SYN was seen
  static constexpr std::uint32_t kFin = 0x0008;        // `fin` is set
  static constexpr std::uint32_t kFinAcked = 0x0010;
  static constexpr std::uint32_t kReset = 0x0020;    // it sent a RST that could be genuine
  static constexpr std::uint32_t kStopped = 0x0040;  // `stop` is set
  static constexpr std::uint32_t kSynData = 0x0080;  // the store holds data of the SYN, undecided
  static constexpr std::uint32_t kUrgent = 0x0100;   // `urgent` is there
  static constexpr std::uint32_t kScale = 0x0200;    // window scale option in the SYN
  static constexpr std::uint32_t kTimestamp =
      0x0400;                                        // timestamp option in the SYN, or in the last
  static constexpr std::uint32_t kRecent = 0x0800;   // ts_recent is set
  static constexpr std::uint32_t kSentAck = 0x1000;  // it has sent a segment with ACK
  static constexpr std::uint32_t kSignature = 0x2000;  // it uses TCP-MD5 or TCP-AO
  static constexpr std::uint32_t kCandidate = 0x4000;  // `candidate` is set
  static constexpr std::uint32_t kEdge = 0x8000;       // right_edge is set
  static constexpr std::uint32_t kTouched = 0x10000;   // something was taken into the stream
  static constexpr std::uint32_t kAnswers = 0x20000;   // its octets ahead answer what was not seen
  static constexpr std::uint32_t kSlow =
      kKnown | kTentative | kFin | kReset | kStopped | kSynData | kUrgent | kCandidate;

  static constexpr std::size_t kContext = 32;

  bool has(std::uint32_t flag) const { return (flags & flag) != 0; }
  void set(std::uint32_t flag) { flags |= flag; }
  void clear(std::uint32_t flag) { flags &= ~flag; }

  std::uint32_t sequence_of(std::uint64_t offset) const {
    return base_sequence + static_cast<std::uint32_t>(offset);
  }
  // The offset nearest to `next` with that sequence number; negative: before the stream.
  std::int64_t offset_of(std::uint32_t sequence) const {
    return static_cast<std::int64_t>(next) +
           static_cast<std::int32_t>(sequence - sequence_of(next));
  }
  // Nothing has been taken into the stream yet, so that its beginning can still be corrected.
  bool untouched() const { return !has(kTouched) && store.empty(); }
  // Makes `first` the sequence number of the octet at `next`.
  void start_at(std::uint32_t first) {
    base_sequence = first - static_cast<std::uint32_t>(next);
    first_sequence = first;
  }

  std::uint64_t next = 0;        // first octet not delivered
  std::uint64_t acked = 0;       // acknowledged by the other end, never beyond next
  std::uint64_t ack_ahead = 0;   // acknowledged by the other end beyond next; 0: nothing
  std::uint64_t right_edge = 0;  // the other end has offered room up to here (never shrinks)
  std::uint64_t fin = 0;         // where the FIN stands
  std::uint64_t stop = 0;
  std::int64_t gap_floor = 0;  // octets before this may be unseen
  SegmentStore store;
  UrgentReadings* urgent = nullptr;
  std::uint32_t ahead = 0;  // of the store's octets, those at or after next
  std::uint32_t base_sequence = 0;
  std::uint32_t first_sequence = 0;  // with which the stream began
  std::uint32_t candidate = 0;  // first sequence number after a SYN that may begin another session
  std::uint32_t waiting_since = 0;  // ms: of the hole, or of ack_ahead
  std::uint32_t ts_recent = 0;      // RFC 7323 TS.Recent
  std::uint32_t ts_latest = 0;      // last TSval
  std::uint32_t ts_seconds = 0;     // when ts_recent was set
  std::uint32_t flags = 0;
  std::uint32_t context_end = 0;  // low bits of the offset after `context`
  std::uint32_t packets = 0;      // seen from this end, saturating
  std::uint16_t window = 0;       // as last advertised by this end, unscaled
  std::uint16_t max_window = 0;   // the largest that it advertised, likewise
  std::uint8_t scale = 0;         // shift for windows that this end advertises
  std::uint8_t waiting_segments = 0;
  std::uint8_t context_size = 0;  // of `context`
  std::uint8_t
      context[kContext]{};  // the octets before context_end, when the store has them no more
};

}  // namespace sluice::tcp
