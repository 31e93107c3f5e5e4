// Random talk, checked against models that know nothing of the connection's ways.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/unit/tcp/tcp_talk.h"

namespace sluice::tcp::test {
namespace {

using contract::Anomaly;
using Action = SegmentResult::Action;

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::size_t below(std::size_t n) { return n == 0 ? 0 : engine_() % n; }
  bool one_in(std::size_t n) { return below(n) == 0; }
  std::string octets(std::size_t n) {
    std::string s(n, '\0');
    for (char& c : s) c = static_cast<char>(engine_());
    return s;
  }
  std::mt19937_64& engine() { return engine_; }

 private:
  std::mt19937_64 engine_;
};

struct Piece {
  std::size_t begin;
  std::size_t end;
};

// A receiver that takes what leaves the wire, keeping the first or the last copy of each octet that
// it has not handed to its user yet.
class Receiver {
 public:
  Receiver(std::size_t size, bool last) : octets_(size, '?'), has_(size, false), last_(last) {}
  void take(std::size_t at, std::string_view octets) {
    for (std::size_t i = 0; i < octets.size() && at + i < octets_.size(); ++i) {
      const std::size_t place = at + i;
      if (place < next_ || (has_[place] && !last_)) continue;
      octets_[place] = octets[i];
      has_[place] = true;
    }
    while (next_ < octets_.size() && has_[next_]) ++next_;
  }
  std::string_view stream() const { return std::string_view(octets_).substr(0, next_); }
  std::size_t next() const { return next_; }

 private:
  std::string octets_;
  std::vector<bool> has_;
  std::size_t next_ = 0;
  bool last_;
};

// Cut, reordered, sent again in other cuts: delivered once, in order, nothing changed.
TEST(TcpProperties, ConsistentRetransmissionsAreDeliveredExactlyOnce) {
  for (std::uint64_t seed = 0; seed < 2500; ++seed) {
    Random random(seed);
    const std::string stream = random.octets(1 + random.below(4000));
    Talk talk(static_cast<std::uint32_t>(random.engine()()),
              static_cast<std::uint32_t>(random.engine()()));
    talk.open();
    std::vector<Piece> pieces;
    const std::size_t largest = 1 + random.below(random.one_in(4) ? 3 : 700);
    for (std::size_t at = 0; at < stream.size();) {
      const std::size_t n = std::min(stream.size() - at, 1 + random.below(largest));
      pieces.push_back({at, at + n});
      at += n;
    }
    const std::size_t again = random.below(pieces.size() + 3);
    for (std::size_t i = 0; i < again; ++i) {
      const std::size_t begin = random.below(stream.size());
      pieces.push_back({begin, std::min(stream.size(), begin + 1 + random.below(largest * 2))});
    }
    // Displaced by no more than some places, or by any number.
    const std::size_t reach = random.one_in(3) ? pieces.size() : 1 + random.below(8);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      std::swap(pieces[i], pieces[i + random.below(std::min(reach, pieces.size() - i))]);
    }
    Receiver receiver(stream.size(), false);
    for (const Piece& p : pieces) {
      const auto r = talk.send(kC, static_cast<std::int64_t>(p.begin),
                               std::string_view(stream).substr(p.begin, p.end - p.begin));
      ASSERT_EQ(r.action, Action::forward) << seed;
      receiver.take(p.begin, talk.left);
      if (random.one_in(3)) {
        talk.ack(kS, 0, static_cast<std::int64_t>(receiver.next()));
      }
    }
    ASSERT_TRUE(talk.sink.client() == stream) << seed;
    ASSERT_TRUE(talk.sink.in_order) << seed;
    ASSERT_TRUE(talk.sink.anomalies.empty()) << seed;
    ASSERT_TRUE(talk.sink.alternatives.empty()) << seed;
    talk.ack(kS, 0, static_cast<std::int64_t>(stream.size()));
    ASSERT_LT(talk.connection.memory_used(), 600u) << seed;  // all is acknowledged and freed
  }
}

// Copies that differ: what leaves is what was inspected, whatever copy the receiver prefers and
// whichever segments are lost downstream; and it is the copy that was seen first.
void inconsistent(std::uint64_t seed, OverlapPolicy policy) {
  Random random(seed);
  constexpr std::size_t kSize = 600;
  Talk talk(static_cast<std::uint32_t>(random.engine()()),
            static_cast<std::uint32_t>(random.engine()()), {.overlap = policy});
  talk.open();
  std::string model(kSize, '\0');  // first copy wins
  std::vector<bool> seen(kSize, false);
  Receiver first(kSize, false);
  Receiver last(kSize, true);
  const bool lossy = random.one_in(2);
  std::size_t acked = 0;
  for (int i = 0; i < 400; ++i) {
    const std::size_t begin = std::min(kSize - 1, first.next() + random.below(80)) -
                              random.below(std::min<std::size_t>(first.next(), 40) + 1);
    const std::size_t end = std::min(kSize, begin + 1 + random.below(60));
    const std::string octets = random.octets(end - begin);
    bool differs = false;
    for (std::size_t p = std::max(begin, acked); p < end; ++p) {
      if (seen[p] && octets[p - begin] != model[p]) differs = true;
    }
    const auto r = talk.send(kC, static_cast<std::int64_t>(begin), octets);
    const bool keep_alive = octets.size() == 1 && r.changed && r.differing_octets == 0;
    if (policy == OverlapPolicy::drop && differs && !keep_alive) {
      ASSERT_EQ(r.action, Action::drop) << seed;
      continue;
    }
    ASSERT_EQ(r.action, differs ? Action::forward_changed : Action::forward) << seed;
    if (differs && !keep_alive) {
      ASSERT_TRUE(talk.sink.alternative(octets)) << seed;
    }
    for (std::size_t p = begin; p < end; ++p) {
      if (seen[p]) continue;
      seen[p] = true;
      model[p] = octets[p - begin];
    }
    // The receivers acknowledge alike, since the same octets reach both.
    if (!(lossy && random.one_in(3))) {
      first.take(begin, talk.left);
      last.take(begin, talk.left);
    }
    ASSERT_EQ(first.next(), last.next());
    if (random.one_in(4)) {
      acked = first.next();
      talk.ack(kS, 0, static_cast<std::int64_t>(acked));
    }
    const std::string& delivered = talk.sink.client();
    ASSERT_GE(delivered.size(), first.next()) << seed;
    ASSERT_TRUE(first.stream() == std::string_view(delivered).substr(0, first.next())) << seed;
    ASSERT_TRUE(last.stream() == std::string_view(delivered).substr(0, last.next())) << seed;
  }
  const std::string& delivered = talk.sink.client();
  ASSERT_TRUE(delivered == model.substr(0, delivered.size())) << seed;
  ASSERT_TRUE(talk.sink.in_order) << seed;
  ASSERT_TRUE(talk.sink.gaps.empty()) << seed;
}

TEST(TcpProperties, WhatLeavesIsWhatWasInspected_Replace) {
  for (std::uint64_t seed = 0; seed < 800; ++seed) {
    inconsistent(seed, OverlapPolicy::replace);
    if (HasFatalFailure()) return;
  }
}

TEST(TcpProperties, WhatLeavesIsWhatWasInspected_Drop) {
  for (std::uint64_t seed = 0; seed < 800; ++seed) {
    inconsistent(seed, OverlapPolicy::drop);
    if (HasFatalFailure()) return;
  }
}

// A stop: whatever the order and the copies, no receiver gets the stream to the stop's end, and
// what it gets stands before the stop.
TEST(TcpProperties, NothingFromAStopOnReachesTheReceiver) {
  for (std::uint64_t seed = 0; seed < 2500; ++seed) {
    Random random(seed);
    const std::string stream = random.octets(20 + random.below(600));
    Talk talk(static_cast<std::uint32_t>(random.engine()()),
              static_cast<std::uint32_t>(random.engine()()));
    talk.open();
    const std::size_t stop = random.below(stream.size());
    talk.sink.stop[0] = stop;
    Receiver first(stream.size(), false);
    Receiver last(stream.size(), true);
    for (int i = 0; i < 300; ++i) {
      const std::size_t begin = random.one_in(3) ? first.next() : random.below(stream.size());
      const std::size_t end = std::min(stream.size(), begin + 1 + random.below(100));
      std::string octets = stream.substr(begin, end - begin);
      if (random.one_in(5)) octets = random.octets(octets.size());
      const auto r = talk.send(kC, static_cast<std::int64_t>(begin), octets);
      std::string_view leaves = talk.left;
      if (r.action == Action::stopped) {
        ASSERT_LT(r.octets_before_stop, octets.size()) << seed;
        leaves = leaves.substr(0, r.octets_before_stop);
      }
      first.take(begin, leaves);
      last.take(begin, leaves);
      ASSERT_LE(first.next(), stop) << seed;
      ASSERT_LE(last.next(), stop) << seed;
      ASSERT_TRUE(first.stream() == std::string_view(talk.sink.client()).substr(0, first.next()))
          << seed;
      ASSERT_TRUE(last.stream() == std::string_view(talk.sink.client()).substr(0, last.next()))
          << seed;
      if (random.one_in(4)) talk.ack(kS, 0, static_cast<std::int64_t>(first.next()));
    }
    ASSERT_EQ(talk.sink.stops, 1) << seed;
    ASSERT_EQ(talk.sink.client().size(), stop) << seed;
  }
}

}  // namespace
}  // namespace sluice::tcp::test
