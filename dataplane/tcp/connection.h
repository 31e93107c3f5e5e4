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
#include "dataplane/contract/anomalies.h"
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

enum class OverlapPolicy : std::uint8_t {
  replace,
  drop
};  // what leaves the wire: first octets, or nothing

struct Limits {
  std::uint32_t out_of_order_octets = 256 * 1024;    // per direction
  std::uint32_t unacknowledged_octets = 256 * 1024;  // per direction
  OverlapPolicy overlap = OverlapPolicy::replace;
};

enum class State : std::uint8_t { opening, established, closing, closed };
enum class CloseReason : std::uint8_t { none, fin, rst };

struct SegmentResult {
  enum class Action : std::uint8_t {
    forward,          // as it came
    forward_changed,  // payload octets were replaced in place by those seen first: refresh
                      // checksums
    drop,             // Limits::overlap says drop (DropReason overlap_diff)
    stopped,          // the sink stopped the stream inside or before this segment
  };
  Action action = Action::forward;
  // stopped: how many of this segment's payload octets stand before the stop (may be forwarded).
  std::uint32_t octets_before_stop = 0;
  bool retransmission = false;
  bool out_of_order = false;
  bool new_session = false;  // a SYN that begins another connection with the same key (case C17):
                             // nothing was done; the caller ends this one and starts afresh
};

class Connection {
 public:
  Connection(const Limits& limits, std::pmr::memory_resource* memory);
  ~Connection();
  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;

  // Takes one segment. `payload` is the frame's TCP payload, which may be overwritten
  // (forward_changed). `packet.checksum_bad` segments are noted and not used. One thread.
  SegmentResult segment(Direction direction, const net::Packet& packet, MutableBytes payload,
                        Nanoseconds now, StreamSink& sink);

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

 private:
  struct Impl;
  Impl* impl_;
  std::pmr::memory_resource* memory_;
};

}  // namespace sluice::tcp
