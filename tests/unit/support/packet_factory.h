// What tests build frames and whole TCP conversations with. frame_builder.h makes single frames;
// here a Conversation keeps the sequence numbers of both ends and turns what is said into frames,
// with segmentation, reordering, duplication and encapsulation as wanted:
//
//   Conversation talk({.segment_size = 536, .reorder = true});
//   talk.open();
//   talk.server("220 mx.test\r\n");
//   talk.client("EHLO a.test\r\n");
//   talk.close();
//   for (const SentFrame& s : talk.frames()) engine.on_frame(s.side, s.frame, s.time);
//
// or in one call: conversation({{Direction::to_client, "220 ..."}, ...}, options).
#pragma once

#include <algorithm>
#include <array>
#include <random>
#include <utility>

#include "tests/unit/support/frame_builder.h"

namespace sluice::test {

struct SentFrame {
  Direction direction;
  Side side;  // the port of the wire on which it comes in
  Frame frame;
  Nanoseconds time;
};

struct ConversationOptions {
  Path path{};
  std::size_t segment_size = 1460;  // largest payload
  // Segments are shuffled (seeded) and acknowledged within blocks of this many.
  std::size_t block = 16;
  bool reorder = false;
  bool duplicate = false;  // each segment is sent twice
  bool timestamps = false;
  bool acknowledge = true;  // the receiver sends a bare ACK after each block
  bool pad = true;          // frames shorter than 60 octets are padded as by a switch
  // IP fragments of this many octets of IP payload (a multiple of 8); 0: none.
  std::size_t fragment_size = 0;
  std::uint32_t client_isn = 1000;
  std::uint32_t server_isn = 900'000;
  std::uint64_t seed = 1;
  Nanoseconds start = kSecond;
  Nanoseconds step = kMillisecond;  // between frames
  bool client_inside = true;        // the client's frames come in on the inside port
};

class Conversation {
 public:
  explicit Conversation(ConversationOptions options = {})
      : options_(std::move(options)), random_(options_.seed), now_(options_.start) {
    end_[0].isn = end_[0].next = options_.client_isn;
    end_[1].isn = end_[1].next = options_.server_isn;
  }

  // SYN, SYN+ACK, ACK. Without it the conversation starts in the middle.
  void open() {
    control(Direction::to_server, tcp_flags::kSyn, false);
    control(Direction::to_client, tcp_flags::kSyn, true);
    acknowledge(Direction::to_server);
  }
  // As though open() had been called, but nothing is sent.
  void open_silently() {
    ++end_[0].next;
    ++end_[1].next;
    end_[0].opened = end_[1].opened = true;
  }

  void client(std::string_view octets) { say(Direction::to_server, octets); }
  void server(std::string_view octets) { say(Direction::to_client, octets); }

  // Says `octets` in segments, each block shuffled and doubled as the options tell.
  void say(Direction d, std::string_view octets) {
    std::vector<std::size_t> starts;
    for (std::size_t at = 0; at < octets.size(); at += options_.segment_size) starts.push_back(at);
    const std::uint32_t base = next(d);
    for (std::size_t first = 0; first < starts.size(); first += options_.block) {
      const std::size_t last = std::min(first + options_.block, starts.size());
      const auto begin = starts.begin() + static_cast<std::ptrdiff_t>(first);
      const auto end = starts.begin() + static_cast<std::ptrdiff_t>(last);
      const std::size_t block_end =
          std::min(starts[last - 1] + options_.segment_size, octets.size());
      if (options_.reorder) std::shuffle(begin, end, random_);
      for (auto it = begin; it != end; ++it) {
        const std::string_view part = octets.substr(*it, options_.segment_size);
        const auto sequence = base + static_cast<std::uint32_t>(*it);
        const std::uint8_t push = *it + part.size() == octets.size() ? tcp_flags::kPsh : 0;
        for (int copy = 0; copy < (options_.duplicate ? 2 : 1); ++copy)
          emit(d, segment_at(d, sequence, part, tcp_flags::kAck | push));
      }
      end_[index(d)].next = base + static_cast<std::uint32_t>(block_end);
      if (options_.acknowledge) acknowledge(opposite(d));
    }
  }

  void acknowledge(Direction d) { emit(d, segment_at(d, next(d), {}, tcp_flags::kAck)); }
  // `d` first sends FIN, then the other end, then the last ACK.
  void close(Direction d = Direction::to_server) {
    control(d, tcp_flags::kFin, true);
    control(opposite(d), tcp_flags::kFin, true);
    acknowledge(d);
  }
  void reset(Direction d) {
    emit(d, segment_at(d, next(d), {}, tcp_flags::kRst | tcp_flags::kAck));
  }

  // A frame of one's own; `sequence` absolute. Nothing in the state of the ends is changed.
  void inject(Direction d, std::uint32_t sequence, std::string_view octets,
              std::uint8_t flags = tcp_flags::kAck) {
    emit(d, segment_at(d, sequence, octets, flags));
  }
  void inject(Direction d, const TcpSegment& segment) { emit(d, segment); }
  void inject_frame(Direction d, Frame frame) { push(d, std::move(frame)); }

  // The segment that inject() would send, to be altered first.
  TcpSegment segment_at(Direction d, std::uint32_t sequence, std::string_view octets,
                        unsigned flags = tcp_flags::kAck) const {
    TcpSegment s;
    s.sequence = sequence;
    s.flags = static_cast<std::uint8_t>(flags);
    if ((flags & tcp_flags::kAck) != 0) s.acknowledgement = next(opposite(d));
    if (options_.timestamps) s.options = timestamp_option(clock(), clock());
    s.payload = as_bytes(octets);
    return s;
  }

  // Sequence number of the next octet that `d` will say.
  std::uint32_t next(Direction d) const { return end_[index(d)].next; }
  // Moves it, as though octets had been said that nobody saw (or to take octets back).
  void set_next(Direction d, std::uint32_t sequence) { end_[index(d)].next = sequence; }
  // Sequence number of octet `offset` of the stream of `d` (0: first after the SYN).
  std::uint32_t sequence_of(Direction d, std::uint64_t offset) const {
    return end_[index(d)].isn + 1 + static_cast<std::uint32_t>(offset);
  }
  void wait(Nanoseconds time) { now_ += time; }
  Nanoseconds now() const { return now_; }
  const Path& path() const { return options_.path; }
  const std::vector<SentFrame>& frames() const { return frames_; }
  std::vector<SentFrame> take() { return std::exchange(frames_, {}); }

 private:
  struct End {
    std::uint32_t isn = 0;
    std::uint32_t next = 0;
    bool opened = false;
  };

  // Milliseconds, as most TCPs count their timestamps.
  std::uint32_t clock() const { return static_cast<std::uint32_t>(now_ / kMillisecond); }

  void control(Direction d, unsigned flag, bool with_ack) {
    TcpSegment s = segment_at(d, next(d), {}, flag | (with_ack ? tcp_flags::kAck : 0u));
    if (flag == tcp_flags::kSyn) {
      Frame options = mss_option(1460);
      append(options, s.options);
      s.options = options;
      end_[index(d)].opened = true;
    }
    ++end_[index(d)].next;
    emit(d, s);
  }

  void emit(Direction d, const TcpSegment& segment) {
    const Frame tcp = tcp_octets(options_.path, d, segment);
    if (options_.fragment_size != 0 && tcp.size() > options_.fragment_size) {
      for (Frame& f : fragment_frames(options_.path, d, 6, tcp, options_.fragment_size, ++ip_id_))
        push(d, std::move(f));
      return;
    }
    push(d, encapsulate(options_.path, d, ip_packet(options_.path, d, 6, tcp, ++ip_id_)));
  }

  void push(Direction d, Frame frame) {
    const bool inside = (d == Direction::to_server) == options_.client_inside;
    if (options_.pad) frame = padded(std::move(frame));
    frames_.push_back({d, inside ? Side::inside : Side::outside, std::move(frame), now_});
    now_ += options_.step;
  }

  ConversationOptions options_;
  std::mt19937_64 random_;
  Nanoseconds now_;
  std::array<End, 2> end_{};
  std::uint16_t ip_id_ = 0;
  std::vector<SentFrame> frames_;
};

struct Turn {
  Direction direction;
  std::string octets;
};

// Handshake, the turns in order, orderly close.
inline std::vector<SentFrame> conversation(const std::vector<Turn>& turns,
                                           ConversationOptions options = {}) {
  Conversation talk(std::move(options));
  talk.open();
  for (const Turn& turn : turns) talk.say(turn.direction, turn.octets);
  talk.close();
  return talk.take();
}

}  // namespace sluice::test
