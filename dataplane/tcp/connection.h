// One TCP connection as the receivers see it (RFC 9293, 7323, 5961, 7413): both directions put in
// order and handed to a StreamSink, octets seen first winning over later copies of the same range.
// The wire forwards segments as they come; this class only says what to do with the one in hand.
//
// Theory. Per direction: `next`, the edge up to which octets were delivered; a bounded list of
// segments ahead of it (copies: the originals have been forwarded); and the octets between the
// other side's acknowledgement and `next` (bounded), kept so that retransmissions, re-segmented or
// not, can be compared with what was inspected. No octet that the receiver would discard is
// delivered (bad checksum, PAWS, outside the window, after a genuine RST).
//
// A connection is closed by nobody but its ends: RST and FIN are noted and believed only for
// freeing state; talk that goes on re-opens it (cases C04 to C06).
#pragma once

#include <cstdint>
#include <memory_resource>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/base/direction.h"
#include "dataplane/base/pack.h"
#include "dataplane/contract/anomalies.h"
#include "dataplane/contract/drop_reasons.h"
#include "dataplane/flow/flow_table.h"
#include "dataplane/net/packet.h"

namespace sluice::tcp {

// What a receiver of in-order octets tells the connection. All calls are made from inside
// Connection::segment(), in stream order for each direction.
class StreamSink {
 public:
  // Octets [offset, offset + octets.size()) of the direction's stream; offset 0 is the first octet
  // after the SYN (or the first seen, mid-stream). Returns how many octets are accepted: fewer than
  // all means that the stream is stopped before the first octet not accepted (a verdict): nothing
  // from there on may reach the receiver.
  virtual std::size_t on_data(Direction direction, std::uint64_t offset, Bytes octets) = 0;
  // As on_data, for octets that urgent data (RFC 6093) takes out of the stream for some receivers:
  // bit i of `left_out` is set when reading i does not have them.
  virtual std::size_t on_urgent_data(Direction direction, std::uint64_t offset, Bytes octets,
                                     std::uint8_t left_out) {
    static_cast<void>(left_out);
    return on_data(direction, offset, octets);
  }
  // `size` octets that will never be seen (the receiver acknowledged past them, or a bound was
  // reached). The stream goes on after them.
  virtual void on_gap(Direction direction, std::uint64_t offset, std::uint64_t size) = 0;
  // A second reading of octets already delivered, or of octets outside the stream that a receiver
  // may take (overlapped copies, urgent data in the other reading, PAWS and RST payloads): to be
  // scanned, never to drive the SMTP state. `offset` tells where in the stream they would stand.
  virtual void on_alternative(Direction direction, std::uint64_t offset, Bytes octets) = 0;
  virtual void on_anomaly(contract::Anomaly anomaly) = 0;

 protected:
  ~StreamSink() = default;
};

// What leaves the wire of a later copy with other octets.
enum class OverlapPolicy : std::uint8_t {
  replace,  // the octets seen first
  drop      // nothing
};

// What is done with a segment ahead of a hole when no more copies can be kept.
enum class BoundPolicy : std::uint8_t {
  gap,  // the hole is given up: on_gap, and the stream goes on after it (fail-open)
  drop  // the segment is dropped and will be sent again (fail-closed; costs the sender throughput)
};

struct Limits {
  std::uint32_t out_of_order_octets = 256 * 1024;    // per direction
  std::uint32_t unacknowledged_octets = 256 * 1024;  // per direction; a quarter when one-sided
  OverlapPolicy overlap = OverlapPolicy::replace;
  BoundPolicy at_bound = BoundPolicy::gap;
};

enum class State : std::uint8_t { opening, established, closing, closed };
enum class CloseReason : std::uint8_t { none, fin, rst };

struct SegmentResult {
  enum class Action : std::uint8_t {
    forward,          // as it came
    forward_changed,  // payload octets were replaced in place by those seen first: refresh
                      // checksums
    drop,             // by `drop_reason`: overlap_diff (Limits::overlap), failure_policy (at_bound)
    stopped,          // the sink stopped the stream inside or before this segment
  };
  Action action = Action::forward;
  contract::DropReason drop_reason = contract::DropReason::none;
  // stopped: how many of this segment's payload octets stand before the stop (may be forwarded,
  // without the segment's FIN). When the segment fills a hole and the stop lies in a later one that
  // has been forwarded already, the last octet of the hole must stay.
  std::uint32_t octets_before_stop = 0;
  // Payload octets that differed from those seen first (all of them were replaced).
  std::uint32_t differing_octets = 0;
  bool changed = false;  // payload was written to, whatever the action
  bool retransmission = false;
  bool out_of_order = false;
  // The segment (a SYN, or the SYN/ACK that confirms one) begins another connection with the same
  // key (case C17): nothing was done; the caller ends this one and gives the segment to a new one,
  // made with next_opening().
  bool new_session = false;
};

// Keeps the numbers of a handshake in `opening` (the few octets of a table entry) as long as they
// are all there is to know. `from_low`: the packet's source is FlowKey::low.
enum class OpeningStep : std::uint8_t {
  record,   // noted, or nothing to note: no Connection is needed yet; forward the frame
  refused,  // a RST that answers the SYN: the flow may be set to closed
  begin,    // make a Connection from `opening` and give it this segment
};
OpeningStep observe_opening(flow::Opening& opening, bool from_low, const net::Packet& packet);

class Connection {
 public:
  // Throws std::bad_alloc when `memory` refuses; nothing else here does: what cannot be kept later
  // takes the way of the bounds.
  Connection(const Limits& limits, std::pmr::memory_resource* memory);
  // As pack() left it.
  Connection(const Limits& limits, std::pmr::memory_resource* memory, Unpacker& packed);
  // With what observe_opening() has gathered, and the table counted meanwhile.
  Connection(const Limits& limits, std::pmr::memory_resource* memory, const flow::Opening& opening,
             const flow::Handshake& seen = {});
  ~Connection();
  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;

  // Takes one segment. `payload` is the frame's TCP payload, which may be overwritten
  // (forward_changed). `packet.checksum_bad` segments are noted and not used. One thread.
  SegmentResult segment(Direction direction, const net::Packet& packet, MutableBytes payload,
                        Nanoseconds now, StreamSink& sink);

  // Holes that the receiver has acknowledged past are given up after a grace (the acknowledgement
  // may be seen before the octets, case C13), looked at with each segment. settle() looks without a
  // segment; finish(), at the end of the flow, does not wait for the grace.
  void settle(Nanoseconds now, StreamSink& sink);
  void finish(StreamSink& sink);
  static constexpr Nanoseconds kGapGrace = 200 * kMillisecond;
  static constexpr std::uint8_t kGapSegments = 64;  // or so many further segments

  State state() const;
  CloseReason close_reason() const;
  bool midstream() const;
  // True when many octets have been seen and acknowledged in one direction with none of the other.
  bool one_sided() const;

  // For answers in the name of an end (both in that direction's own sequence space).
  std::uint32_t next_sequence(Direction d) const;         // first octet not yet delivered
  std::uint32_t highest_acknowledged(Direction d) const;  // of d's octets, by the other end
  std::uint32_t latest_timestamp(Direction d) const;  // TSval last seen from d; 0 without option
  bool timestamps() const;                            // both ends use the option
  std::uint16_t latest_window(Direction d) const;     // unscaled, as last advertised by d
  // Octets of `d` delivered but not acknowledged, from highest_acknowledged(d), as one copy
  // appended to `out`; returns the sequence number of the first. Fewer when the bound was reached.
  std::uint32_t copy_unacknowledged(Direction d, std::pmr::vector<std::uint8_t>& out) const;
  std::size_t memory_used() const;
  // A segment comes soon.
  void prefetch() const;
  // Whether no octets are kept: all is acknowledged, and there is no hole.
  bool packable() const;
  // Whether all that was seen of `d` was delivered, and nothing unusual is going on in either
  // direction.
  bool in_order(Direction d) const;
  // The other end's acknowledgements are not seen for now: what was delivered of `d` is not kept
  // for them.
  void take_as_acknowledged(Direction d);
  // The octets of `d` up to the sequence number `to` reached the receiver another way: the stream
  // goes on there. Returns how many were not delivered.
  std::uint64_t skip(Direction d, std::uint32_t to, StreamSink& sink);
  // Forgets what is kept: nothing of the stream will be read any more.
  void drop_octets();
  // Puts the state of a packable connection into few octets.
  void pack(Packer& packer) const;
  // After new_session: what is known of the connection that begins.
  flow::Opening next_opening() const;
  // The stream offset of the next octet of `d`, when it does not start at 0 (a stream taken over).
  // Before the first segment only.
  void preset_offset(Direction d, std::uint64_t offset);

 private:
  struct Impl;
  Impl* impl_;
  std::pmr::memory_resource* memory_;
};

}  // namespace sluice::tcp
