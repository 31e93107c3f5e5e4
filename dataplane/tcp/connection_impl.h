// The state behind Connection and the steps of taking a segment. Private to this folder.
//
// segment() has a short path for the segment that is next in order on a connection where nothing
// unusual is going on, and take() for all others:
//
//   take ─┬─ flags no TCP sends, bad checksum, PAWS ─► aside (scanned alone)
//         ├─ SYN ─► take_syn       (connection_control.cc)
//         ├─ RST ─► take_reset
//         └─ ACK ─► acknowledge (frees the other direction, finds its gaps)
//                   take_data ─► compare ─► keep or deliver ─► FIN   (connection_stream.cc)
#pragma once

#include <memory_resource>
#include <type_traits>

#include "dataplane/tcp/connection.h"
#include "dataplane/tcp/half.h"
#include "dataplane/tcp/urgent.h"

namespace sluice::tcp {

// All that is to be known of a connection of which no octets are kept.
struct ConnectionState {
  Half halves_[2];
  std::uint32_t first_ms_ = 0;         // when the first segment came; 0: never yet
  std::uint32_t reset_ms_ = 0;         // when the last believed RST came
  std::uint32_t followed_octets_ = 0;  // acknowledged of a direction that is never seen, saturating
  bool midstream_ = false;
  bool established_ = false;
  bool reset_ = false;  // a RST was believed and nothing has gone on since
  bool one_sided_told_ = false;
  bool alone_ = false;    // one direction talked for long, and the other was never seen
  bool odd_ack_ = false;  // to be told with the next segment
};
static_assert(std::is_trivially_copyable_v<ConnectionState>, "packed as it is");

struct Connection::Impl : ConnectionState {
  Impl(const Limits& limits, std::pmr::memory_resource* memory)
      : limits_(limits), memory_(memory) {}
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // One segment in hand and what is found out about it.
  struct Segment {
    Direction direction;
    const net::Packet& packet;
    MutableBytes payload;
    Nanoseconds now;
    StreamSink& sink;
    SegmentResult result{};

    bool has(std::uint8_t flag) const { return (packet.flags & flag) != 0; }
  };

  // connection.cc
  SegmentResult segment(Direction d, const net::Packet& packet, MutableBytes payload,
                        Nanoseconds now, StreamSink& sink);
  void adopt(const flow::Opening& opening, const flow::Handshake& seen);
  State state() const;
  bool one_sided() const;

  // connection_control.cc
  void take(Segment& s);
  bool acceptable_flags(Segment& s);
  bool acceptable_receipt(Segment& s);
  void take_syn(Segment& s);
  void take_syn_ack(Segment& s);
  void take_syn_again(Segment& s, Half& h);
  void take_reset(Segment& s);
  void take_fin(Segment& s, std::uint64_t at);
  bool old_timestamp(const Half& h, const net::Packet& packet, Nanoseconds now) const;
  void note_timestamp(Half& h, const net::Packet& packet, bool in_order, Nanoseconds now);
  void acknowledge(Segment& s);
  void begin_half(Half& h, const Segment& s);
  void decide_syn_data(Direction d, std::uint64_t accepted, StreamSink& sink);
  bool surely_over(Direction opener) const;
  void reopen(Segment& s, const Half& h);

  // connection_stream.cc. `offset` is where the segment's payload stands, negative when it begins
  // before the stream.
  void take_data(Segment& s);
  void find_beginning(Segment& s, Half& h);
  // The segment is not taken into the stream; its octets are scanned alone. Held when the stream
  // has been stopped.
  void aside(Segment& s);
  bool compare(Segment& s, std::int64_t offset, std::int64_t end);
  void keep_behind(Segment& s, Half& h, std::int64_t offset, std::uint64_t begin,
                   std::uint64_t end);
  bool make_room(Segment& s, Half& h, std::uint64_t begin, std::uint64_t end);
  void keep_ahead(Segment& s, Half& h, std::int64_t offset, std::uint64_t begin, std::uint64_t end);
  // What the server says waits for the octets that it answers (case C13): until they come, are
  // given up, or the bound on octets ahead is reached.
  bool answers_unseen(const Segment& s) const;
  bool keep_answer(Segment& s, Half& h, std::int64_t offset, std::uint64_t end);
  void give_answers(StreamSink& sink);
  void deliver_from(Segment& s, Half& h, std::int64_t offset, std::uint64_t end);
  // Delivers what is ready in the store; false: the sink stopped, at `next`.
  bool drain(Direction d, StreamSink& sink);
  void keep(Half& h, std::uint64_t offset, Bytes octets, StreamSink& sink);
  std::size_t give(Direction d, std::uint64_t offset, Bytes octets, StreamSink& sink);
  void release(Half& h);
  void offer(Direction d, std::int64_t offset, Bytes octets, StreamSink& sink);
  std::size_t context_before(const Half& h, std::uint64_t offset,
                             std::uint8_t (&context)[Half::kContext]) const;
  void take_urgent(Segment& s, Half& h, std::int64_t offset);
  void skip_hole(Direction d, std::uint64_t to, StreamSink& sink);
  std::uint64_t skip(Direction d, std::uint32_t to, StreamSink& sink);
  // How long a hole that the receiver has acknowledged past is waited for.
  enum class Patience : std::uint8_t {
    grace,   // kGapGrace
    behind,  // not at all where octets behind it were seen
    none
  };
  void settle(Direction d, Nanoseconds now, StreamSink& sink, Patience patience);
  void stop_at(Half& h, std::uint64_t at);

  // Beyond most retransmission time-outs.
  static constexpr Nanoseconds kOneSidedGrace = 3 * kSecond;

  Half& half(Direction d) { return halves_[index(d)]; }
  const Half& half(Direction d) const { return halves_[index(d)]; }

  static std::uint32_t milliseconds(Nanoseconds t) {
    return static_cast<std::uint32_t>(t / kMillisecond);
  }
  static std::uint32_t seconds(Nanoseconds t) { return static_cast<std::uint32_t>(t / kSecond); }

  Limits limits_;
  std::pmr::memory_resource* memory_;
};

}  // namespace sluice::tcp
