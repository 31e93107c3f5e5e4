// The frames that a worker has received and not yet looked at. No DPDK here.
//
// Theory. What a frame costs differs a thousandfold: an ACK a quarter of a microsecond, a segment
// of a message twenty. A worker that takes them as they come makes everybody wait for whoever sends
// most. So light segments (little payload, a few for each host in a round) go at once, and all
// others wait here in a queue for each subscriber (the host inside, by hash), from which deficit
// round robin takes equal shares of octets (Shreedhar and Varghese, 1995), as fq_codel does
// (RFC 8290). When there are too many, the subscriber who has most waiting loses the one that he
// sent last; others lose nothing to him. Of whom more than his share waits is of the crowd: the
// kernel is told and sends his new flows past us; the fill, at which it does so with everybody's,
// is without him.
//
// Order. Frames of one flow and direction stay in order: a segment is light only while none of its
// flow waits, and none of its host that is not a plain segment (a fragment may be of any flow).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/io/spread.h"

namespace sluice::io {

class Backlog {
 public:
  static constexpr std::size_t kCapacity = 2048;  // as much as a ring
  static constexpr std::size_t kHosts = 256;
  // A command, a reply, the end of a message; of a message in transfer only its last segment is so
  // short.
  static constexpr std::uint32_t kLight = 256;
  static constexpr std::uint8_t kLightEach = 8;  // of a host, in a round

  // Holds `capacity` frames at most (1 to 65,535). Of whom `crowd` frames wait is of the crowd
  // until half of them are gone; 0: nobody ever is.
  Backlog(std::size_t capacity, const SpreadKey& key, std::size_t crowd = 0);

  // The worker looks into its rings anew: every host may send a few light ones again.
  void begin_round() { ++round_; }
  // True when the frame may be dealt with at once; else it was put in, and is the backlog's until
  // take() or evict() gives it back. full() must be false. `octets` are read only now.
  bool is_light_or_put(void* frame, Bytes octets, Side from);
  // Up to frames.size(), in the order in which they are to be dealt with: how many.
  std::size_t take(std::span<void*> frames);
  // Makes room: the last frame of the subscriber who has most. Not when empty.
  void* evict();

  std::size_t size() const { return used_; }
  bool empty() const { return used_ == 0; }
  bool full() const { return used_ == nodes_.size(); }
  std::uint32_t fill() const {  // permille, without the crowd's
    return static_cast<std::uint32_t>((used_ - crowd_frames_) * 1000 / nodes_.size());
  }
  // A bit for each host.
  const std::array<std::uint64_t, kHosts / 64>& crowd() const { return crowd_; }

 private:
  static constexpr std::uint16_t kNone = 0xffff;
  static constexpr std::size_t kFlows = 4096;
  static constexpr std::int32_t kQuantum = 1514;

  struct Node {
    void* frame;
    std::uint32_t octets;
    std::uint16_t flow;  // a place in waiting_, or kNone
    std::uint16_t before;
    std::uint16_t next;
  };
  struct Queue {
    std::uint16_t first = kNone;
    std::uint16_t last = kNone;
    std::uint16_t frames = 0;
    std::uint16_t odd = 0;  // of these, what is not a plain segment
    std::int32_t deficit = 0;
    bool in_turn = false;
    bool crowd = false;
    std::uint8_t light = 0;  // sent past it in that round
    std::uint32_t round = 0;
  };

  std::uint16_t remove(Queue& queue, std::uint16_t node);
  void set_crowd(Queue& queue, bool crowd);

  SpreadKey key_;
  std::vector<Node> nodes_;
  std::vector<std::uint16_t> free_;
  std::size_t used_ = 0;
  std::uint32_t round_ = 1;
  std::size_t crowd_from_;
  std::size_t crowd_frames_ = 0;
  std::array<std::uint64_t, kHosts / 64> crowd_{};
  std::array<Queue, kHosts> queues_;
  std::array<std::uint16_t, kFlows> waiting_{};  // frames, by flow
  // Queues that hold something, in turn; a ring.
  std::array<std::uint8_t, kHosts> turn_{};
  std::size_t turn_first_ = 0;
  std::size_t turns_ = 0;
};

}  // namespace sluice::io
