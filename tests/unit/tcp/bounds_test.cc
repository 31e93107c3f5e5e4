// Stops, bounds, memory, and the record of a handshake that has no connection yet.
#include <gtest/gtest.h>

#include <algorithm>
#include <new>
#include <random>

#include "tests/unit/tcp/tcp_talk.h"

namespace sluice::tcp::test {
namespace {

using contract::Anomaly;
using Action = SegmentResult::Action;

TEST(TcpStop, InsideASegment) {
  Talk talk;
  talk.open();
  talk.sink.stop[0] = 6;
  const auto r = talk.send(kC, 0, "body\r\n.\r\nMAIL");
  EXPECT_EQ(r.action, Action::stopped);
  EXPECT_EQ(r.octets_before_stop, 6u);
  EXPECT_EQ(talk.connection.next_sequence(kC), talk.isn[0] + 7);
  // Sent again, and what follows: held.
  EXPECT_EQ(talk.send(kC, 0, "body\r\n.\r\nMAIL").octets_before_stop, 6u);
  EXPECT_EQ(talk.last.action, Action::stopped);
  EXPECT_EQ(talk.send(kC, 13, "more").action, Action::stopped);
  EXPECT_EQ(talk.last.octets_before_stop, 0u);
  EXPECT_EQ(talk.send(kC, 0, "body").action, Action::forward);
  EXPECT_EQ(talk.send(kC, 6, "", flag::fin | flag::ack).action, Action::stopped);
  EXPECT_EQ(talk.send(kC, 6, "").action, Action::forward);
  EXPECT_EQ(talk.sink.stops, 1);
}

TEST(TcpStop, NothingPassesAroundIt) {
  Talk talk;
  talk.open();
  talk.sink.stop[0] = 4;
  talk.send(kC, 0, "bodyEND");
  for (const std::uint8_t flags : {flag::rst, flag::fin, std::uint8_t{0}, flag::urg}) {
    EXPECT_EQ(talk.send(kC, 4, "END", flags).action, Action::stopped) << int{flags};
    EXPECT_EQ(talk.last.octets_before_stop, 0u);
  }
  EXPECT_EQ(talk.send(Say{.at = 4, .octets = "END", .checksum_bad = true}).action, Action::stopped);
  EXPECT_EQ(talk.send(Say{.octets = "bodyEND", .flags = flag::syn}).action, Action::stopped);
}

TEST(TcpStop, ACopyWithOtherOctetsBeforeItIsPutRight) {
  Talk talk;
  talk.open();
  talk.sink.stop[0] = 4;
  talk.send(kC, 0, "bodyEND");
  const auto r = talk.send(kC, 0, "BODYEND");
  EXPECT_EQ(r.action, Action::stopped);
  EXPECT_EQ(r.octets_before_stop, 4u);
  EXPECT_TRUE(r.changed);
  EXPECT_EQ(talk.left.substr(0, 4), "body");
}

TEST(TcpStop, InASegmentThatWasForwardedAheadOfAHole) {
  // The end of the message came first; the segment that fills the hole is the one to be held.
  Talk talk;
  talk.open();
  talk.send(kC, 0, "DATA");
  EXPECT_EQ(talk.send(kC, 8, "end\r\n.\r\n").action, Action::forward);
  talk.sink.stop[0] = 13;
  const auto r = talk.send(kC, 2, "TAbody");
  EXPECT_EQ(r.action, Action::stopped);
  // "TA" has been there before; commands may stand in the hole, of which one octet is held.
  EXPECT_EQ(r.octets_before_stop, 5u);
  EXPECT_EQ(talk.sink.client(), "DATAbodyend\r\n");
  EXPECT_EQ(talk.send(kC, 4, "body").action, Action::stopped);
  EXPECT_EQ(talk.last.octets_before_stop, 3u);
  EXPECT_EQ(talk.send(kC, 4, "b").action, Action::forward);
  EXPECT_EQ(talk.send(kC, 7, "y").action, Action::stopped);
  EXPECT_EQ(talk.last.octets_before_stop, 0u);
}

TEST(TcpStop, AtTheVeryBorderOfAForwardedSegment) {
  Talk talk;
  talk.open();
  talk.send(kC, 4, "END");
  talk.sink.stop[0] = 4;
  EXPECT_EQ(talk.send(kC, 0, "body").action, Action::stopped);
  EXPECT_EQ(talk.last.octets_before_stop, 3u);
  EXPECT_EQ(talk.sink.client(), "body");
}

TEST(TcpStop, BehindTheHoleInTheSameSegment) {
  Talk talk;
  talk.open();
  talk.send(kC, 4, "efgh");
  talk.sink.stop[0] = 10;
  const auto r = talk.send(kC, 0, "abcdefghijkl");
  EXPECT_EQ(r.action, Action::stopped);
  EXPECT_EQ(r.octets_before_stop, 10u);
}

TEST(TcpStop, OnlyItsDirectionIsStopped) {
  Talk talk;
  talk.open();
  talk.sink.stop[0] = 0;
  talk.send(kC, 0, "x");
  EXPECT_EQ(talk.send(kS, 0, "250 ok\r\n").action, Action::forward);
  EXPECT_EQ(talk.sink.server(), "250 ok\r\n");
}

TEST(TcpBounds, OutOfOrderOctetsAtTheirBoundGiveTheHoleUp) {
  Talk talk(1, 2, {.out_of_order_octets = 1000});
  talk.open();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(talk.send(kC, 10 + 100 * i, std::string(100, 'a')).action, Action::forward);
  }
  EXPECT_TRUE(talk.sink.saw(Anomaly::reassembly_limit));
  ASSERT_EQ(talk.sink.gaps.size(), 1u);
  EXPECT_EQ(talk.sink.client().size(), 2010u);
  // The octets of the hole are scanned when they come, and are then the first seen.
  EXPECT_EQ(talk.send(kC, 0, "0123456789").action, Action::forward);
  EXPECT_TRUE(talk.sink.scanned("0123456789"));
  talk.send(kC, 0, "##########");
  EXPECT_EQ(talk.left, "0123456789");
}

TEST(TcpBounds, OutOfOrderOctetsAtTheirBoundAreDroppedByPolicy) {
  Talk talk(1, 2, {.out_of_order_octets = 1000, .at_bound = BoundPolicy::drop});
  talk.open();
  for (int i = 0; i < 20; ++i) {
    const auto r = talk.send(kC, 10 + 100 * i, std::string(100, 'a'));
    EXPECT_EQ(r.action, i < 10 ? Action::forward : Action::drop);
    if (i >= 10) {
      EXPECT_EQ(r.drop_reason, contract::DropReason::failure_policy);
    }
  }
  EXPECT_TRUE(talk.sink.gaps.empty());
  talk.send(kC, 0, std::string(10, 'b'));
  EXPECT_EQ(talk.sink.client().size(), 1010u);
  EXPECT_EQ(talk.send(kC, 1010, std::string(100, 'a')).action, Action::forward);
}

TEST(TcpBounds, UnacknowledgedOctetsAreBounded) {
  Talk talk(1, 2, {.unacknowledged_octets = 20'000});
  talk.open();
  for (int i = 0; i < 100; ++i) talk.send(kC, 1000 * i, std::string(1000, 'a'));
  EXPECT_LT(talk.connection.memory_used(), 40'000u);
  EXPECT_TRUE(talk.sink.saw(Anomaly::reassembly_limit));
  // Copies of the latest octets are still compared.
  talk.send(kC, 99'000, std::string(1000, 'b'));
  EXPECT_EQ(talk.left, std::string(1000, 'a'));
  // One that cannot be compared is scanned.
  EXPECT_EQ(talk.send(kC, 0, "EVIL").action, Action::forward);
  EXPECT_TRUE(talk.sink.alternative("EVIL"));
  std::pmr::vector<std::uint8_t> copy;
  const std::uint32_t first = talk.connection.copy_unacknowledged(kC, copy);
  EXPECT_EQ(first + copy.size(), talk.connection.next_sequence(kC));
  EXPECT_GE(copy.size(), 10'000u);
}

TEST(TcpBounds, UnacknowledgedOctetsOfOneSidedTalkAreBoundedWithoutAnEvent) {
  Talk talk(1, 2, {.unacknowledged_octets = 40'000});
  talk.send(Say{.flags = flag::syn});
  for (int i = 0; i < 1000; ++i) {
    talk.acked[1] = i;
    talk.send(kC, 100 * i, std::string(100, 'a'));
  }
  EXPECT_LT(talk.connection.memory_used(), 25'000u);
  EXPECT_FALSE(talk.sink.saw(Anomaly::reassembly_limit));
}

TEST(TcpBounds, ScatteredOctetsAreBoundedInBlocks) {
  for (const bool up : {true, false}) {
    Talk talk;
    talk.open();
    for (int i = 1; i < 20'000; ++i) talk.send(kC, 2 * (up ? i : 20'000 - i), "x");
    EXPECT_LT(talk.connection.memory_used(), 300'000u);
    EXPECT_TRUE(talk.sink.saw(Anomaly::reassembly_limit));
    EXPECT_TRUE(talk.sink.in_order);
  }
}

TEST(TcpBounds, SegmentsOfOneOctetShareMemory) {
  for (const bool forward : {true, false}) {
    Talk talk;
    talk.open();
    for (int i = 1; i < 500; ++i) talk.send(kC, forward ? i : 500 - i, "x");
    EXPECT_LT(talk.connection.memory_used(), 3000u);
    talk.send(kC, 0, "x");
    EXPECT_EQ(talk.sink.client(), std::string(500, 'x'));
  }
}

TEST(TcpBounds, AnIdleConnectionIsSmall) {
  Talk talk;
  talk.open();
  talk.send(kS, 0, "220 mx\r\n");
  talk.ack(kC, 0, 8);
  talk.send(kC, 0, "EHLO\r\n");
  talk.ack(kS, 8, 6);
  RecordProperty("octets", static_cast<int>(talk.connection.memory_used()));
  EXPECT_LE(talk.connection.memory_used(), 512u);
}

// Refuses at random.
class StingyMemory : public std::pmr::memory_resource {
 public:
  std::mt19937 random{7};
  bool stingy = false;
  std::size_t held = 0;

 private:
  void* do_allocate(std::size_t size, std::size_t alignment) override {
    if (stingy && random() % 2 == 0) throw std::bad_alloc();
    held += size;
    return std::pmr::new_delete_resource()->allocate(size, alignment);
  }
  void do_deallocate(void* p, std::size_t size, std::size_t alignment) override {
    held -= size;
    std::pmr::new_delete_resource()->deallocate(p, size, alignment);
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
};

TEST(TcpBounds, RefusedMemoryNeverLetsOctetsPassUnseen) {
  StingyMemory memory;
  for (int round = 0; round < 300; ++round) {
    Talk talk(1, 2, {.at_bound = BoundPolicy::drop}, &memory);
    memory.stingy = true;
    talk.open();
    std::string sent(2000, '\0');
    std::vector<bool> forwarded(2000, false);
    for (int i = 0; i < 300; ++i) {
      const std::size_t at = memory.random() % 1950;
      std::string octets(1 + memory.random() % 50, '\0');
      for (std::size_t k = 0; k < octets.size(); ++k)
        octets[k] = static_cast<char>('a' + (at + k) % 26);
      const auto r = talk.send(kC, static_cast<std::int64_t>(at), octets);
      if (r.action != Action::forward) continue;
      for (std::size_t k = 0; k < octets.size(); ++k) forwarded[at + k] = true;
    }
    std::size_t contiguous = 0;
    while (contiguous < 2000 && forwarded[contiguous]) ++contiguous;
    EXPECT_GE(talk.sink.client().size(), contiguous);
    EXPECT_TRUE(talk.sink.in_order);
    EXPECT_TRUE(talk.sink.gaps.empty());
    memory.stingy = false;
  }
  EXPECT_EQ(memory.held, 0u);
}

// Fail-open: what cannot be kept ahead of a hole goes on, and is a gap once it was acknowledged.
TEST(TcpBounds, RefusedMemoryDelaysNobodyWhereGapsAreTaken) {
  StingyMemory memory;
  Talk talk(1, 2, {}, &memory);
  talk.open();
  talk.send(kC, 0, "one ");
  memory.stingy = true;
  int unseen = 0;
  for (int i = 0; i < 20; ++i) {
    const std::size_t before = memory.held;
    EXPECT_EQ(talk.send(kC, 100 + 200 * i, std::string(100, 'x')).action, Action::forward);
    unseen += memory.held == before ? 1 : 0;
  }
  EXPECT_GT(unseen, 0);
  memory.stingy = false;
  talk.send(kC, 4, std::string(96, 'y'));
  for (int i = 0; i < 20; ++i) talk.send(kC, 200 + 200 * i, std::string(100, 'z'));
  talk.ack(kS, 0, 4100);
  talk.connection.finish(talk.sink);
  EXPECT_TRUE(talk.sink.in_order);
  EXPECT_EQ(talk.sink.gaps.size(), static_cast<std::size_t>(unseen));
  const std::string client(talk.sink.client());
  EXPECT_EQ(std::count(client.begin(), client.end(), 'x'), 100 * (20 - unseen));
  EXPECT_EQ(std::count(client.begin(), client.end(), 'z'), 2000);
}

TEST(TcpConnection, CopyOfUnacknowledgedOctets) {
  Talk talk(0xfffffff0, 2);
  talk.open();
  talk.send(kC, 0, "0123456789");
  talk.send(kC, 10, "abcdefghij");
  talk.ack(kS, 0, 4);
  std::pmr::vector<std::uint8_t> copy;
  EXPECT_EQ(talk.connection.copy_unacknowledged(kC, copy), talk.isn[0] + 5);
  EXPECT_EQ(as_text(copy), "456789abcdefghij");
  talk.ack(kS, 0, 20);
  copy.clear();
  EXPECT_EQ(talk.connection.copy_unacknowledged(kC, copy), talk.isn[0] + 21);
  EXPECT_TRUE(copy.empty());
}

TEST(TcpConnection, MovesWithItsState) {
  Talk talk;
  talk.open();
  talk.send(kC, 0, "one ");
  Connection moved = std::move(talk.connection);
  talk.connection = std::move(moved);
  talk.send(kC, 4, "two");
  EXPECT_EQ(talk.sink.client(), "one two");
}

// --- the record of a handshake -------------------------------------------------------------------

struct Opener {
  Talk talk;
  flow::Opening opening;
  OpeningStep observe(const Say& say, bool client_is_low = true) {
    return observe_opening(opening, (say.direction == kC) == client_is_low, talk.packet(say));
  }
};

TEST(TcpOpening, AHandshakeNeedsNoConnectionUntilItsEnd) {
  for (const bool low : {true, false}) {
    Opener o;
    const Say syn{.flags = flag::syn, .timestamp = 5, .window_scale = 7};
    const Say syn_ack{.direction = kS,
                      .flags = flag::syn | flag::ack,
                      .timestamp = 9,
                      .echo = 5,
                      .window_scale = 3};
    const Say ack{.timestamp = 6, .echo = 9};
    EXPECT_EQ(o.observe(syn, low), OpeningStep::record);
    EXPECT_EQ(o.observe(syn, low), OpeningStep::record);  // again
    EXPECT_EQ(o.observe(syn_ack, low), OpeningStep::record);
    EXPECT_EQ(o.observe(syn, low), OpeningStep::record);  // late
    EXPECT_EQ(o.opening.has(flow::Opening::kLowIsClient), low);
    EXPECT_EQ(o.observe(ack, low), OpeningStep::begin);
    Connection c({}, std::pmr::new_delete_resource(), o.opening);
    o.talk.connection = std::move(c);
    o.talk.send(ack);
    o.talk.send(Say{.octets = "EHLO\r\n", .timestamp = 7, .echo = 9});
    o.talk.send(Say{.direction = kS, .octets = "250\r\n", .ack = 6, .timestamp = 10, .echo = 7});
    EXPECT_EQ(o.talk.sink.client(), "EHLO\r\n");
    EXPECT_EQ(o.talk.sink.server(), "250\r\n");
    EXPECT_TRUE(o.talk.connection.timestamps());
    EXPECT_FALSE(o.talk.connection.midstream());
    EXPECT_TRUE(o.talk.sink.anomalies.empty());
  }
}

TEST(TcpOpening, EarlyServerDataBegins) {
  Opener o;
  o.observe(Say{.flags = flag::syn});
  o.observe(Say{.direction = kS, .flags = flag::syn | flag::ack});
  // The second segment of the greeting overtakes the first.
  const Say late{.direction = kS, .at = 4, .octets = "mx\r\n"};
  EXPECT_EQ(o.observe(late), OpeningStep::begin);
  o.talk.connection = Connection({}, std::pmr::new_delete_resource(), o.opening);
  o.talk.send(late);
  o.talk.send(kS, 0, "220 ");
  EXPECT_EQ(o.talk.sink.server(), "220 mx\r\n");
}

TEST(TcpOpening, FloodsCostNothing) {
  Opener o;
  std::mt19937 random(1);
  for (int i = 0; i < 1000; ++i) {
    Say syn{.flags = flag::syn};
    syn.raw_sequence = static_cast<std::uint32_t>(random());
    syn.raw_ack = static_cast<std::uint32_t>(random());
    EXPECT_EQ(o.observe(syn), OpeningStep::record);
  }
  Opener acks;
  EXPECT_EQ(acks.observe(Say{}), OpeningStep::record);
  EXPECT_EQ(acks.observe(Say{.flags = flag::rst}), OpeningStep::record);
  EXPECT_EQ(acks.observe(Say{.flags = flag::fin | flag::ack}), OpeningStep::record);
  EXPECT_EQ(acks.observe(Say{.octets = "x"}), OpeningStep::begin);
}

TEST(TcpOpening, RefusalAndOddForms) {
  Opener o;
  EXPECT_EQ(o.observe(Say{.flags = flag::syn, .raw_ack = 5}), OpeningStep::record);
  EXPECT_EQ(o.observe(Say{.direction = kS, .flags = flag::rst | flag::ack, .raw_ack = 99}),
            OpeningStep::record);
  EXPECT_EQ(o.observe(Say{.direction = kS, .flags = flag::rst | flag::ack, .raw_sequence = 0}),
            OpeningStep::refused);
  EXPECT_EQ(o.observe(Say{.octets = "data", .flags = flag::syn}), OpeningStep::begin);
  EXPECT_EQ(o.observe(Say{.direction = kS, .flags = flag::syn}), OpeningStep::begin);
  o.talk.connection = Connection({}, std::pmr::new_delete_resource(), o.opening);
  o.talk.send(Say{.direction = kS, .flags = flag::syn});
  EXPECT_TRUE(o.talk.sink.saw(Anomaly::ack_without_flag));
  EXPECT_TRUE(o.talk.sink.saw(Anomaly::split_handshake));
}

// Octets that reached the receiver another way, far beyond the windows that were seen.
TEST(TcpSkip, TheStreamGoesOnBehindIt) {
  for (const std::uint32_t isn : {1000u, 0xffff'ff00u}) {
    Talk talk(isn);
    talk.open();
    talk.send(kC, 0, "first");
    EXPECT_TRUE(talk.connection.in_order(kC));
    constexpr std::int64_t kTo = 5'000'000;
    const auto to = static_cast<std::uint32_t>(talk.isn[0] + 1 + kTo);
    EXPECT_EQ(talk.connection.skip(kC, to, talk.sink), static_cast<std::uint64_t>(kTo - 5));
    EXPECT_EQ(talk.connection.skip(kC, to - 10, talk.sink), 0u) << "behind the edge";
    EXPECT_EQ(talk.connection.next_sequence(kC), to);
    talk.sink.end[0] = kTo;  // the caller knows
    talk.send(kC, kTo + 3, "ond");
    talk.send(kC, kTo, "sec");
    talk.ack(kS, 0, kTo + 6);
    EXPECT_EQ(talk.sink.client(), "firstsecond");
    // Sent again: forwarded as it comes, and looked at.
    EXPECT_EQ(talk.send(kC, kTo - 100, "something that was skipped").action, Action::forward);
    EXPECT_TRUE(talk.sink.gaps.empty());
    EXPECT_TRUE(talk.sink.anomalies.empty());
    EXPECT_TRUE(talk.sink.in_order);
    EXPECT_TRUE(talk.connection.in_order(kC));
  }
}

TEST(TcpSkip, WhatWasAheadIsDeliveredOrForgotten) {
  for (const std::int64_t to : {10, 12}) {
    Talk talk;
    talk.open();
    talk.send(kC, 0, "first");
    talk.send(kC, 10, "ahead");
    EXPECT_FALSE(talk.connection.in_order(kC));
    talk.sink.end[0] = static_cast<std::uint64_t>(to);
    talk.connection.skip(kC, talk.isn[0] + 1 + static_cast<std::uint32_t>(to), talk.sink);
    EXPECT_EQ(talk.sink.client(), to == 10 ? "firstahead" : "first");
    talk.send(kC, to == 10 ? 15 : 12, "next");
    EXPECT_EQ(talk.sink.client(), to == 10 ? "firstaheadnext" : "firstnext");
    EXPECT_TRUE(talk.sink.anomalies.empty());
  }
}

TEST(TcpSkip, AStopBehindItHolds) {
  Talk talk;
  talk.open();
  talk.send(kC, 0, "first");
  talk.send(kC, 10, "ahead");
  talk.sink.stop[0] = 12;
  talk.sink.end[0] = 10;
  talk.connection.skip(kC, talk.isn[0] + 11, talk.sink);
  EXPECT_EQ(talk.send(kC, 15, "next").action, Action::stopped);
  EXPECT_EQ(talk.sink.client(), "firstah");
}

TEST(TcpSkip, WithoutAcknowledgementsNothingIsKept) {
  Talk talk;
  talk.open();
  const std::string segment(1000, 'x');
  for (std::int64_t at = 0; at < 2'000'000; at += 1000) {
    talk.send(Say{.at = at, .octets = segment, .window = 65000});
    talk.connection.take_as_acknowledged(kC);
  }
  EXPECT_TRUE(talk.connection.packable());
  EXPECT_FALSE(talk.sink.saw(Anomaly::reassembly_limit));
}

}  // namespace
}  // namespace sluice::tcp::test
