// What the TCP tests talk with: a Connection, a sink that writes everything down, and segments made
// from stream offsets. Nothing here knows how the connection works.
#pragma once

#include <cstdint>
#include <map>
#include <memory_resource>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/tcp/connection.h"

namespace sluice::tcp::test {

inline constexpr Direction kC = Direction::to_server;  // the client speaks
inline constexpr Direction kS = Direction::to_client;  // the server speaks
namespace flag = net::tcp_flag;

struct Recorder : StreamSink {
  struct Gap {
    Direction direction;
    std::uint64_t offset;
    std::uint64_t size;
  };
  struct Alternative {
    Direction direction;
    std::uint64_t offset;
    std::string octets;
  };

  std::size_t on_data(Direction d, std::uint64_t offset, Bytes octets) override {
    if (offset != end[index(d)]) in_order = false;
    std::size_t n = octets.size();
    if (stop[index(d)] && offset + n > *stop[index(d)]) {
      n = *stop[index(d)] > offset ? *stop[index(d)] - offset : 0;
      ++stops;
    }
    stream[index(d)] += as_text(octets.first(n));
    both += as_text(octets.first(n));
    end[index(d)] = offset + n;
    return n;
  }
  void on_gap(Direction d, std::uint64_t offset, std::uint64_t size) override {
    if (offset != end[index(d)]) in_order = false;
    gaps.push_back({d, offset, size});
    if (size < 1u << 16) stream[index(d)] += std::string(size, '?');
    both += '?';
    end[index(d)] = offset + size;
  }
  void on_alternative(Direction d, std::uint64_t offset, Bytes octets) override {
    alternatives.push_back({d, offset, std::string(as_text(octets))});
  }
  void on_anomaly(contract::Anomaly a) override { anomalies.insert(a); }

  bool saw(contract::Anomaly a) const { return anomalies.count(a) > 0; }
  const std::string& client() const { return stream[0]; }
  const std::string& server() const { return stream[1]; }
  // In the stream or in another reading of it.
  bool scanned(std::string_view text) const {
    for (const std::string& s : stream) {
      if (s.find(text) != std::string::npos) return true;
    }
    for (const Alternative& a : alternatives) {
      if (a.octets.find(text) != std::string::npos) return true;
    }
    return false;
  }
  bool alternative(std::string_view text) const {
    for (const Alternative& a : alternatives) {
      if (a.octets.find(text) != std::string::npos) return true;
    }
    return false;
  }

  std::string stream[2];
  std::string both;  // octets of either direction as they came; '?': a gap
  std::uint64_t end[2]{};
  std::optional<std::uint64_t> stop[2];
  int stops = 0;
  std::vector<Gap> gaps;
  std::vector<Alternative> alternatives;
  std::multiset<contract::Anomaly> anomalies;
  bool in_order = true;
};

// A segment to be sent; offsets count from the octet after the SYN.
struct Say {
  Direction direction = kC;
  std::int64_t at = 0;
  std::string octets;
  std::uint8_t flags = flag::ack;
  std::optional<std::int64_t> ack;  // offset in the other stream; default: what Talk::acked says
  std::uint16_t window = 65000;
  std::uint16_t urgent = 0;
  std::optional<std::uint32_t> timestamp;
  std::uint32_t echo = 0;
  bool checksum_bad = false;
  bool signature = false;
  std::uint8_t window_scale = 0xff;
  std::optional<std::uint32_t> raw_sequence;
  std::optional<std::uint32_t> raw_ack;
};

class Talk {
 public:
  using Action = SegmentResult::Action;

  explicit Talk(std::uint32_t client_isn = 1000, std::uint32_t server_isn = 900'000,
                const Limits& limits = {},
                std::pmr::memory_resource* memory = std::pmr::new_delete_resource())
      : isn{client_isn, server_isn}, connection(limits, memory) {}

  net::Packet packet(const Say& say) const {
    net::Packet p;
    p.kind = net::PacketKind::tcp;
    p.protocol = 6;
    p.flags = say.flags;
    p.sequence = isn[index(say.direction)] + 1 + static_cast<std::uint32_t>(say.at);
    if ((say.flags & flag::syn) != 0) --p.sequence;
    if (say.raw_sequence) p.sequence = *say.raw_sequence;
    if ((say.flags & flag::ack) != 0) {
      const auto other = opposite(say.direction);
      p.acknowledgement =
          isn[index(other)] + 1 + static_cast<std::uint32_t>(say.ack.value_or(acked[index(other)]));
    }
    if (say.raw_ack) p.acknowledgement = *say.raw_ack;
    p.window = say.window;
    p.urgent = say.urgent;
    p.checksum_bad = say.checksum_bad;
    p.has_signature = say.signature;
    p.window_scale = say.window_scale;
    if (say.timestamp) {
      p.has_timestamp = true;
      p.timestamp_value = *say.timestamp;
      p.timestamp_echo = say.echo;
    }
    p.payload_size = static_cast<std::uint16_t>(say.octets.size());
    return p;
  }

  SegmentResult send(const Say& say) {
    left = say.octets;
    const MutableBytes payload(reinterpret_cast<std::uint8_t*>(left.data()), left.size());
    last = connection.segment(say.direction, packet(say), payload, now, sink);
    return last;
  }
  // In short: in order, with the usual acknowledgement.
  SegmentResult send(Direction d, std::int64_t at, std::string_view octets,
                     std::uint8_t flags = flag::ack) {
    return send(Say{.direction = d, .at = at, .octets = std::string(octets), .flags = flags});
  }
  // `d` acknowledges the other stream up to `to`.
  SegmentResult ack(Direction d, std::int64_t at, std::int64_t to, std::uint16_t window = 65000) {
    acked[index(opposite(d))] = to;
    return send(Say{.direction = d, .at = at, .window = window});
  }
  void open(std::uint16_t window = 65000) {
    send(Say{.flags = flag::syn, .window = window});
    send(Say{.direction = kS, .flags = flag::syn | flag::ack, .window = window});
    send(Say{.window = window});
  }
  void wait(Nanoseconds time) { now += time; }

  std::uint32_t isn[2];
  std::int64_t acked[2]{};  // what the other end acknowledges of each stream
  Connection connection;
  Recorder sink;
  Nanoseconds now = 1000 * kSecond;
  SegmentResult last;
  std::string left;  // the last payload as it would leave the wire
};

}  // namespace sluice::tcp::test
