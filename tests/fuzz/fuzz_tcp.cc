// A TCP connection under an attacker who chooses every segment of one side.
//
// The input is a small program: its first octet chooses the limits and whether the receiver is
// honest, each further step is a segment or an event. Checked in every run: delivery is in order
// and without a break, memory stays at its bound, a stop is final. With an honest receiver also:
// two receivers, one keeping the first copy of each octet and one the last, read what was
// delivered, up to where they have read, and never past the stop.
#include <cstdint>
#include <cstdlib>
#include <memory_resource>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/tcp/connection.h"

namespace {

using namespace sluice;
using tcp::Connection;
using Action = tcp::SegmentResult::Action;
namespace flag = net::tcp_flag;

void require(bool condition) {
  if (!condition) std::abort();
}

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}
  bool more() const { return at_ != end_; }
  std::uint8_t octet() { return at_ == end_ ? std::uint8_t{0} : *at_++; }
  std::uint16_t pair() {
    const unsigned high = octet();
    return static_cast<std::uint16_t>(high << 8 | octet());
  }

 private:
  const std::uint8_t* at_;
  const std::uint8_t* end_;
};

struct Sink : tcp::StreamSink {
  std::size_t on_data(Direction d, std::uint64_t offset, Bytes octets) override {
    const std::size_t i = index(d);
    require(offset == end[i] && !octets.empty());
    require(!stopped[i]);
    std::size_t n = octets.size();
    if (i == 0 && stop && offset + n > *stop) {
      n = *stop - offset;
      stopped[i] = true;
    }
    if (i == 0 && written_down) {
      stream.append(as_text(octets.first(n)));
      seen.resize(stream.size(), true);
    }
    end[i] += n;
    return n;
  }
  void on_gap(Direction d, std::uint64_t offset, std::uint64_t size) override {
    const std::size_t i = index(d);
    require(offset == end[i] && size > 0 && size < 1u << 30 && !stopped[i]);
    end[i] += size;
    // With a receiver that lies the holes are as large as windows can be.
    if (size > 1u << 16) written_down = false;
    if (i == 0 && written_down) {
      stream.resize(end[0]);
      seen.resize(end[0], false);
    }
    if (i == 0 && stop && *stop < end[0]) stop.reset();
  }
  void on_alternative(Direction, std::uint64_t, Bytes octets) override {
    require(!octets.empty());
    // Every octet is looked at, so that a stale view is found.
    for (const std::uint8_t c : octets) looked = static_cast<std::uint8_t>(looked + c);
  }
  void on_anomaly(contract::Anomaly a) override {
    require(static_cast<std::size_t>(a) < contract::kAnomalyCount);
  }

  std::string stream;
  std::vector<bool> seen;
  std::uint64_t end[2]{};
  bool stopped[2]{};
  bool written_down = true;
  std::optional<std::uint64_t> stop;
  std::uint8_t looked = 0;
};

constexpr std::uint64_t kWindow = 20'000;

struct Receiver {
  explicit Receiver(bool last) : last_(last) {}
  void take(std::int64_t at, Bytes octets, std::uint64_t edge) {
    for (std::size_t i = 0; i < octets.size(); ++i) {
      const std::int64_t place = at + static_cast<std::int64_t>(i);
      if (place < static_cast<std::int64_t>(next)) continue;
      const auto p = static_cast<std::uint64_t>(place);
      if (p >= edge) break;
      if (octets_.size() <= p) {
        octets_.resize(p + 1);
        has_.resize(p + 1);
      }
      if (has_[p] && !last_) continue;
      octets_[p] = octets[i];
      has_[p] = true;
    }
    while (next < has_.size() && has_[next]) ++next;
  }
  void check(const Sink& sink) const {
    require(next <= sink.stream.size());
    for (std::uint64_t p = checked; p < next; ++p) {
      require(!sink.seen[p] || static_cast<std::uint8_t>(sink.stream[p]) == octets_[p]);
    }
    checked = next;
  }
  std::uint64_t next = 0;

 private:
  std::vector<std::uint8_t> octets_;
  std::vector<bool> has_;
  bool last_;
  mutable std::uint64_t checked = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4096) return 0;
  Input in(data, size);
  const std::uint8_t mode = in.octet();
  const bool honest = (mode & 1) != 0;
  tcp::Limits limits;
  if ((mode & 2) != 0) limits.out_of_order_octets = 600;
  if ((mode & 4) != 0 && !honest) limits.unacknowledged_octets = 900;
  if ((mode & 8) != 0) limits.overlap = tcp::OverlapPolicy::drop;
  if ((mode & 16) != 0) limits.at_bound = tcp::BoundPolicy::drop;
  const std::uint32_t isn[2] = {(mode & 32) != 0 ? 0xffffff00u + in.octet() : 1000u, 900'000u};
  Sink sink;
  if ((mode & 64) != 0) sink.stop = in.pair();

  Connection connection(limits, std::pmr::new_delete_resource());
  Nanoseconds now = 1000 * kSecond;
  std::uint64_t spread = 0x9e3779b97f4a7c15;
  std::vector<std::uint8_t> payload;

  const auto give = [&](Direction d, const net::Packet& p) {
    const auto r = connection.segment(d, p, payload, now, sink);
    require(r.octets_before_stop <= payload.size());
    require(r.action != Action::stopped || sink.stopped[index(d)] || !honest);
    require(r.differing_octets <= payload.size());
    const std::size_t bound =
        4096 + 3 * (limits.out_of_order_octets + limits.unacknowledged_octets);
    require(connection.memory_used() < 2 * bound);
    return r;
  };
  const auto packet = [&](Direction d, std::int64_t at, std::uint8_t flags, std::uint64_t ack) {
    net::Packet p;
    p.kind = net::PacketKind::tcp;
    p.flags = flags;
    p.sequence = isn[index(d)] + 1 + static_cast<std::uint32_t>(at);
    p.acknowledgement = isn[index(opposite(d))] + 1 + static_cast<std::uint32_t>(ack);
    p.window = kWindow;
    return p;
  };

  Receiver first(false);
  Receiver last(true);
  std::uint64_t edge = kWindow;
  std::uint64_t last_ack = 0;
  if (honest || (mode & 128) != 0) {
    auto syn = packet(Direction::to_server, -1, flag::syn, 0);
    syn.acknowledgement = 0;
    give(Direction::to_server, syn);
    give(Direction::to_client, packet(Direction::to_client, -1, flag::syn | flag::ack, 0));
    give(Direction::to_server, packet(Direction::to_server, 0, flag::ack, 0));
  }

  while (in.more()) {
    const std::uint8_t op = in.octet();
    payload.clear();
    switch (op & 7) {
      default: {  // a segment of the client near its edge
        const std::int64_t at = static_cast<std::int64_t>(first.next) +
                                static_cast<std::int8_t>(in.octet()) * ((op & 8) != 0 ? 7 : 1);
        const std::size_t octets = 1u + (in.octet() & ((op & 16) != 0 ? 0xffu : 0x0fu));
        for (std::size_t i = 0; i < octets; ++i) {
          const auto place = static_cast<std::uint64_t>(at + static_cast<std::int64_t>(i));
          spread = spread * 6364136223846793005u + 1442695040888963407u;
          // The same octet whenever it is said, or another each time.
          payload.push_back((op & 32) != 0 ? static_cast<std::uint8_t>(spread >> 56)
                                           : static_cast<std::uint8_t>(place * 31 + 7));
        }
        auto p = packet(Direction::to_server, at, flag::ack | ((op & 64) != 0 ? flag::psh : 0), 0);
        if (!honest && (op & 128) != 0) {
          p.flags |= flag::urg;
          p.urgent = in.octet();
        }
        const auto r = give(Direction::to_server, p);
        require(!r.new_session);
        if (!honest) break;
        Bytes leaves = payload;
        if (r.action == Action::drop) break;
        if (r.action == Action::stopped) leaves = leaves.first(r.octets_before_stop);
        if ((op & 7) == 3) break;  // lost behind us
        first.take(at, leaves, edge);
        last.take(at, leaves, edge);
        require(first.next == last.next);
        if (sink.stopped[0]) require(first.next <= sink.end[0]);
        first.check(sink);
        last.check(sink);
        break;
      }
      case 4: {  // the server acknowledges, truly or not
        std::uint64_t ack = honest ? first.next : first.next + in.pair();
        auto p = packet(Direction::to_client, 0, flag::ack, ack);
        give(Direction::to_client, p);
        last_ack = ack;
        if (honest) edge = std::max(edge, last_ack + kWindow);
        break;
      }
      case 5:
        now += std::uint64_t{in.octet()} * 50 * kMillisecond;
        connection.settle(now, sink);
        break;
      case 6: {  // anything at all; an honest receiver takes none of these
        static constexpr std::uint8_t kNotTaken[] = {flag::syn | flag::fin | flag::ack,
                                                     0,
                                                     flag::fin,
                                                     flag::psh,
                                                     flag::urg,
                                                     flag::fin | flag::rst,
                                                     flag::rst | flag::syn,
                                                     flag::psh | flag::urg};
        const std::uint8_t chosen = in.octet();
        auto p = packet((op & 8) != 0 ? Direction::to_client : Direction::to_server,
                        static_cast<std::int16_t>(in.pair()),
                        honest ? kNotTaken[chosen & 7] : chosen, in.pair());
        if ((op & 16) != 0) payload.assign(in.octet(), 0x58);
        if (!honest) {
          if ((op & 32) != 0) {
            p.has_timestamp = true;
            p.timestamp_value = in.pair();
            p.timestamp_echo = in.octet();
          }
          if ((op & 64) != 0) p.sequence = std::uint32_t{in.pair()} << 16 | in.pair();
          if ((op & 128) != 0) p.acknowledgement = std::uint32_t{in.pair()} << 16 | in.pair();
          p.checksum_bad = in.octet() == 1;
          p.has_signature = in.octet() == 1;
          p.window = in.pair();
          p.window_scale = in.octet();
        }
        if (give((op & 8) != 0 ? Direction::to_client : Direction::to_server, p).new_session) {
          (void)connection.next_opening();
        }
        break;
      }
      case 7: {  // a bare segment, or the FIN of the server
        payload.assign(in.octet() & 15, 'r');
        give(Direction::to_client,
             packet(Direction::to_client, static_cast<std::int8_t>(in.octet()),
                    (op & 8) != 0 ? flag::fin | flag::ack : flag::ack, honest ? last_ack : 0));
        break;
      }
    }
    std::pmr::vector<std::uint8_t> copy;
    const std::uint32_t begin = connection.copy_unacknowledged(Direction::to_server, copy);
    require(begin + static_cast<std::uint32_t>(copy.size()) ==
            connection.next_sequence(Direction::to_server));
  }
  connection.finish(sink);
  return 0;
}
