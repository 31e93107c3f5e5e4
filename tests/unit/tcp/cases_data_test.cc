// Section C of the wire cases: urgent data, holes, overlaps, wrap, tuples used again.
#include "tests/unit/tcp/tcp_cases.h"

namespace sluice::tcp::test {
namespace {

class TcpStreams : public TcpCases {};
INSTANTIATE_TEST_SUITE_P(Plain, TcpStreams, kPlain);
INSTANTIATE_TEST_SUITE_P(OverWrap, TcpStreams, kOverWrap);

TEST_P(TcpStreams, C09_UrgentOctetCutsTheSignature) {
  talk.open();
  talk.send(kC, 0, "xx EVIL-SI");
  talk.send(Say{.at = 10, .octets = "Q", .flags = flag::ack | flag::urg, .urgent = 1});
  talk.send(kC, 11, "GNATURE yy");
  EXPECT_EQ(sink.client(), "xx EVIL-SIQGNATURE yy");  // in line
  EXPECT_TRUE(sink.alternative(kSignature));          // out of band
  EXPECT_TRUE(sink.saw(Anomaly::urg));
  EXPECT_EQ(talk.last.action, Action::forward);
}

TEST_P(TcpStreams, C09_UrgentReadingsForEveryCutAndForm) {
  struct Form {
    std::string_view urgent;  // octets between the halves of the signature
    std::uint16_t pointer;
  };
  for (const Form form : {Form{"Q", 1}, Form{"Q", 0}, Form{"QR", 2}}) {
    for (std::size_t cut = 1; cut < kSignature.size(); ++cut) {
      // In segments of their own, octet by octet afterwards.
      Talk t(GetParam().first, GetParam().second);
      t.open();
      std::int64_t at = 0;
      const auto say = [&](std::string_view octets, bool urgent) {
        t.send(Say{.at = at,
                   .octets = std::string(octets),
                   .flags = static_cast<std::uint8_t>(flag::ack | (urgent ? flag::urg : 0)),
                   .urgent = urgent ? form.pointer : std::uint16_t{0}});
        at += static_cast<std::int64_t>(octets.size());
      };
      say(kSignature.substr(0, cut), false);
      say(form.urgent, true);
      for (const char c : kSignature.substr(cut)) say(std::string(1, c), false);
      EXPECT_TRUE(t.sink.alternative(kSignature)) << form.urgent << ' ' << cut;
    }
  }
  // The whole signature inline in one segment, the urgent octet within; and the pointer beyond.
  Talk one(GetParam().first, GetParam().second);
  one.open();
  one.send(Say{.octets = "EVIL-QSIGNATURE", .flags = flag::ack | flag::urg, .urgent = 6});
  EXPECT_TRUE(one.sink.alternative(kSignature));
  Talk beyond(GetParam().first, GetParam().second);
  beyond.open();
  beyond.send(Say{.octets = "EVIL-", .flags = flag::ack | flag::urg, .urgent = 6});
  beyond.send(kC, 5, "QSIGNATURE");
  EXPECT_TRUE(beyond.sink.alternative(kSignature));
  // In line it is found as ever.
  Talk inline_(GetParam().first, GetParam().second);
  inline_.open();
  inline_.send(Say{.octets = "EVIL-SIG", .flags = flag::ack | flag::urg, .urgent = 6});
  inline_.send(kC, 8, "NATURE");
  EXPECT_EQ(inline_.sink.client(), kSignature);
}

TEST_P(TcpStreams, C09_UrgentInTheEndOfData) {
  talk.open();
  talk.send(kC, 0, "body\r\n.");
  talk.send(Say{.at = 7, .octets = "Q\r\n", .flags = flag::ack | flag::urg, .urgent = 1});
  EXPECT_EQ(sink.client(), "body\r\n.Q\r\n");
  EXPECT_TRUE(sink.alternative("\r\n.\r\n"));
}

TEST_P(TcpStreams, C11_KeepAliveDoesNotReplaceTheOctet) {
  talk.open();
  talk.send(kC, 0, "EHLO a\r\n");
  talk.ack(kS, 0, 8);
  EXPECT_EQ(talk.send(kC, 7, "X").action, Action::forward);
  talk.send(kC, 8, "MAIL\r\n");
  EXPECT_EQ(sink.client(), "EHLO a\r\nMAIL\r\n");
  EXPECT_TRUE(quiet());
  // Before the acknowledgement has been seen the first octet leaves instead.
  talk.send(kC, 13, "X");
  EXPECT_EQ(talk.left, "\n");
  EXPECT_TRUE(quiet());
  // Right after the handshake it stands before the stream.
  Talk fresh(GetParam().first, GetParam().second);
  fresh.open();
  fresh.send(kC, -1, "X");
  fresh.send(kC, 0, "EHLO\r\n");
  EXPECT_EQ(fresh.sink.client(), "EHLO\r\n");
  EXPECT_TRUE(fresh.sink.anomalies.empty());
}

TEST_P(TcpStreams, C11_ZeroWindowProbeIsCountedOnce) {
  talk.open();
  talk.send(kC, 0, "EHLO a\r\n");
  talk.ack(kS, 0, 8, 0);
  EXPECT_EQ(talk.send(kC, 8, "M").action, Action::forward);
  talk.ack(kS, 0, 8, 0);
  talk.send(kC, 8, "M");
  talk.ack(kS, 0, 8, 1000);
  EXPECT_EQ(talk.send(kC, 8, "MAIL\r\n").action, Action::forward);
  EXPECT_EQ(sink.client(), "EHLO a\r\nMAIL\r\n");
  EXPECT_TRUE(quiet());
}

TEST_P(TcpStreams, C11_WindowUpdateThatAcknowledgesUnseenOctets) {
  talk.open();
  talk.send(kC, 0, "EHLO a\r\n");
  talk.send(Say{.direction = kS, .ack = 300, .window = 1});
  talk.send(kC, 8, "MAIL\r\n");
  EXPECT_EQ(sink.client(), "EHLO a\r\nMAIL\r\n");
}

TEST_P(TcpStreams, C13_AcknowledgementSeenBeforeTheOctets) {
  talk.open();
  talk.ack(kS, 0, 200);
  talk.wait(5 * kMillisecond);
  EXPECT_EQ(talk.send(kC, 0, std::string(200, 'd')).action, Action::forward);
  EXPECT_EQ(sink.client(), std::string(200, 'd'));
  EXPECT_TRUE(quiet());
  EXPECT_EQ(talk.connection.highest_acknowledged(kC), talk.isn[0] + 201);
  // Also when later octets come first.
  talk.send(kC, 300, std::string(100, 'f'));
  talk.ack(kS, 0, 400);
  talk.wait(5 * kMillisecond);
  talk.send(kC, 200, std::string(100, 'e'));
  EXPECT_EQ(sink.client(), std::string(200, 'd') + std::string(100, 'e') + std::string(100, 'f'));
  EXPECT_TRUE(sink.gaps.empty());
}

TEST_P(TcpStreams, C13_ARealGapIsGivenUpAndTheStreamGoesOn) {
  talk.open();
  talk.send(kC, 0, "VERY");
  talk.send(kC, 8, "DATA");
  talk.ack(kS, 0, 12);
  EXPECT_TRUE(sink.gaps.empty());
  talk.wait(Connection::kGapGrace);
  talk.send(kC, 12, "MORE");
  ASSERT_EQ(sink.gaps.size(), 1u);
  EXPECT_EQ(sink.gaps[0].offset, 4u);
  EXPECT_EQ(sink.gaps[0].size, 4u);
  EXPECT_EQ(sink.client(), "VERY????DATAMORE");
  EXPECT_TRUE(sink.saw(Anomaly::stream_gap));
  // What comes late is scanned, and does not disturb the stream.
  EXPECT_EQ(talk.send(kC, 4, "LATE").action, Action::forward);
  EXPECT_TRUE(sink.scanned("LATE"));
  EXPECT_EQ(sink.client(), "VERY????DATAMORE");
  EXPECT_TRUE(sink.in_order);
}

TEST_P(TcpStreams, C13_OnlyWhatIsAcknowledgedIsGivenUp) {
  talk.open();
  talk.send(kC, 0, "VERY");
  talk.send(kC, 12, "DATA");
  talk.ack(kS, 0, 8);
  talk.wait(Connection::kGapGrace);
  talk.ack(kS, 0, 8);
  EXPECT_EQ(sink.client(), "VERY????");
  talk.wait(kSecond);
  talk.send(kC, 8, "real");
  EXPECT_EQ(sink.client(), "VERY????realDATA");
}

TEST_P(TcpStreams, C13_AGapIsAlsoGivenUpAfterSegmentsAndAtTheEnd) {
  talk.open();
  talk.send(kC, 4, "DATA");
  talk.ack(kS, 0, 8);
  for (int i = 0; i < Connection::kGapSegments; ++i) talk.ack(kS, 0, 8);
  EXPECT_EQ(sink.client(), "????DATA");
  talk.send(kC, 12, "MORE");
  talk.ack(kS, 0, 16);
  EXPECT_EQ(sink.client(), "????DATA");
  talk.connection.finish(sink);  // capture s16 ends within the grace
  EXPECT_EQ(sink.client(), "????DATA????MORE");
}

// A reply came before the octets that it answers were given up: it went to the command before, and
// the commands behind it were taken for content.
TEST_P(TcpStreams, C13_WhatAnswersUnseenOctetsWaitsForThem) {
  talk.open();
  talk.send(kC, 0, "DATA ");
  talk.send(Say{.direction = kS, .at = 0, .octets = "250 ", .ack = 9});
  talk.acked[0] = 9;
  talk.send(kS, 4, "more ");  // no later octet of the server's overtakes it
  EXPECT_EQ(sink.both, "DATA ");
  // The client has the answer and goes on: what was not seen will not come.
  talk.acked[1] = 9;
  talk.send(kC, 9, "");
  EXPECT_EQ(sink.both, "DATA ?250 more ");
  talk.send(kC, 9, "QUIT");
  EXPECT_EQ(sink.both, "DATA ?250 more QUIT");
  EXPECT_TRUE(sink.in_order);
  ASSERT_EQ(sink.gaps.size(), 1u);
  EXPECT_EQ(sink.gaps[0].size, 4u);
  // Nothing is owed any more.
  talk.ack(kS, 9, 13);
  talk.send(kS, 9, "221 ");
  EXPECT_EQ(sink.both, "DATA ?250 more QUIT221 ");
}

TEST_P(TcpStreams, C13_WhatAnswersOctetsThatComeLateFollowsThem) {
  talk.open();
  talk.send(Say{.direction = kS, .at = 0, .octets = "250 ", .ack = 5});
  talk.acked[0] = 5;
  talk.wait(5 * kMillisecond);
  talk.send(kS, 0, "250 ");  // sent again meanwhile
  EXPECT_EQ(sink.both, "");
  EXPECT_EQ(talk.send(kC, 0, "MAIL ").action, Action::forward);
  EXPECT_EQ(sink.both, "MAIL 250 ");
  EXPECT_TRUE(sink.gaps.empty());
  EXPECT_TRUE(quiet());
  talk.acked[1] = 4;
  talk.ack(kC, 5, 4);
  EXPECT_EQ(talk.connection.highest_acknowledged(kS), talk.isn[1] + 5);
}

TEST_P(TcpStreams, C13_WhatAnswersUnseenOctetsWaitsForAGraceAlone) {
  for (const bool ends : {false, true}) {
    talk = Talk(talk.isn[0], talk.isn[1]);
    talk.open();
    talk.send(kC, 0, "DATA ");
    talk.send(Say{.direction = kS, .at = 0, .octets = "250 ", .ack = 9});
    if (ends) {
      talk.connection.finish(talk.sink);
    } else {
      talk.wait(Connection::kGapGrace);
      talk.send(Say{.direction = kS, .at = 4, .ack = 9});
    }
    EXPECT_EQ(talk.sink.both, "DATA ?250 ");
  }
}

TEST_P(TcpStreams, C13_AnswersDoNotWaitForAFinOrForAClientThatIsNotSeen) {
  talk.open();
  talk.send(kC, 0, "QUIT ");
  // One number beyond is a FIN that was missed.
  talk.send(Say{.direction = kS, .at = 0, .octets = "221 ", .ack = 6});
  EXPECT_EQ(sink.both, "QUIT 221 ");

  Talk server(talk.isn[0], talk.isn[1]);
  for (int i = 0; i < 40; ++i)
    server.send(Say{.direction = kS, .at = i * 4, .octets = "250 ", .ack = i * 30});
  EXPECT_EQ(server.sink.server().size(), 160u);
}

TEST_P(TcpStreams, C13_OctetsThatWaitAreBounded) {
  talk = Talk(talk.isn[0], talk.isn[1], {.out_of_order_octets = 4000});
  talk.open();
  talk.send(kC, 0, "DATA ");
  talk.acked[0] = 9;
  for (int i = 0; i < 10; ++i) talk.send(kS, i * 1000, std::string(1000, 's'));
  EXPECT_GE(talk.sink.server().size(), 6000u);
  EXPECT_EQ(talk.sink.gaps.size(), 1u);
  talk.connection.finish(talk.sink);
  EXPECT_EQ(talk.sink.server(), std::string(10000, 's'));
}

TEST_P(TcpStreams, AHoleThatIsNotAcknowledgedIsNeverGivenUp) {
  talk.open();
  talk.send(kC, 4, "DATA");
  for (int i = 0; i < 1000; ++i) {
    talk.ack(kS, 0, 0);
    talk.wait(kSecond);
  }
  EXPECT_TRUE(sink.gaps.empty());
  talk.send(kC, 0, "VERY");
  EXPECT_EQ(sink.client(), "VERYDATA");
}

TEST_P(TcpStreams, C14_OverlapsWithDifferentOctets) {
  // "AAAA" at 10, then B's earlier, at, within and later; shorter, exact and longer.
  for (const std::int64_t shift : {-4, -2, 0, 1, 2, 4}) {
    for (const std::size_t size : {1u, 2u, 4u, 6u, 10u}) {
      for (const bool in_order : {true, false}) {
        Talk t(GetParam().first, GetParam().second);
        t.open();
        if (in_order) t.send(kC, 0, std::string(10, 'x'));
        t.send(kC, 10, "AAAA");
        const std::int64_t at = 10 + shift;
        std::int64_t common = 0;
        std::string expected(10 + 4, in_order ? 'x' : ' ');
        expected.replace(10, 4, "AAAA");
        std::string leaves(size, 'B');
        for (std::size_t i = 0; i < size; ++i) {
          const std::int64_t place = at + static_cast<std::int64_t>(i);
          const bool there = (place >= 10 && place < 14) || (in_order && place < 10);
          if (there) {
            ++common;
            leaves[i] = place < 10 ? 'x' : 'A';
          } else {
            if (static_cast<std::int64_t>(expected.size()) <= place)
              expected.resize(static_cast<std::size_t>(place) + 1, ' ');
            expected[static_cast<std::size_t>(place)] = 'B';
          }
        }
        const bool keep_alive = size == 1 && in_order && at + 1 == 14;
        const SegmentResult r = t.send(kC, at, std::string(size, 'B'));
        EXPECT_EQ(t.left, leaves) << shift << ' ' << size << ' ' << in_order;
        EXPECT_EQ(r.action, common > 0 ? Action::forward_changed : Action::forward);
        if (!keep_alive) {
          EXPECT_EQ(r.differing_octets, common);
          EXPECT_EQ(t.sink.anomalies.count(Anomaly::overlap_diff), common > 0 ? 1u : 0u);
          if (common > 0) {
            EXPECT_TRUE(t.sink.alternative(std::string(size, 'B')));
          }
        }
        if (!in_order) {
          t.send(kC, 0, std::string(10, 'x'));
          for (char& c : expected) {
            if (c == ' ') c = 'x';
          }
        }
        if (expected.find(' ') == std::string::npos) {
          EXPECT_EQ(t.sink.client(), expected);
        }
      }
    }
  }
}

TEST_P(TcpStreams, C14_IdenticalOverlapIsNoEvent) {
  talk.open();
  talk.send(kC, 0, "ABCDEFGH");
  EXPECT_EQ(talk.send(kC, 0, "ABCDEFGH").action, Action::forward);
  EXPECT_TRUE(talk.last.retransmission);
  EXPECT_EQ(talk.send(kC, 2, "CDEF").action, Action::forward);
  EXPECT_EQ(talk.send(kC, 4, "EFGHIJ").action, Action::forward);
  EXPECT_EQ(sink.client(), "ABCDEFGHIJ");
  EXPECT_TRUE(quiet());
  EXPECT_TRUE(sink.alternatives.empty());
}

TEST_P(TcpStreams, C14_SignatureInEitherCopyIsSeenAndOnlyTheFirstLeaves) {
  talk.open();
  talk.send(kC, 0, "GOOD-SIGNATURE");
  talk.send(kC, 0, "EVIL-SIGNATURE");
  EXPECT_EQ(talk.left, "GOOD-SIGNATURE");
  EXPECT_TRUE(sink.alternative(kSignature));
  EXPECT_EQ(sink.client(), "GOOD-SIGNATURE");
  EXPECT_EQ(talk.last.differing_octets, 4u);
  // Spread over the edge of the copy: the octets around it are offered with it.
  Talk spread(GetParam().first, GetParam().second);
  spread.open();
  spread.send(kC, 0, "EVIL-");
  spread.ack(kS, 0, 5);  // acknowledged and freed
  spread.send(kC, 5, "NOTHING!!");
  spread.send(kC, 5, "SIGNA");
  spread.send(kC, 14, "x");
  EXPECT_TRUE(spread.sink.alternative("EVIL-SIGNA"));
  Talk after(GetParam().first, GetParam().second);
  after.open();
  after.send(kC, 0, "GOOD-SIGNATURE");
  after.send(kC, 0, "EVIL");
  EXPECT_TRUE(after.sink.alternative(kSignature));
}

TEST_P(TcpStreams, C14_DropPolicyForwardsAndDeliversNothingOfTheCopy) {
  Talk t(GetParam().first, GetParam().second, {.overlap = OverlapPolicy::drop});
  t.open();
  t.send(kC, 0, "GOOD");
  const SegmentResult r = t.send(kC, 2, "XXmore");
  EXPECT_EQ(r.action, Action::drop);
  EXPECT_EQ(r.drop_reason, contract::DropReason::overlap_diff);
  EXPECT_EQ(t.sink.client(), "GOOD");
  EXPECT_EQ(t.send(kC, 2, "ODmore").action, Action::forward);
  EXPECT_EQ(t.sink.client(), "GOODmore");
}

TEST_P(TcpStreams, C15_SpuriousRetransmissionsPass) {
  talk.open();
  talk.send(kC, 0, "MAIL FROM:<a>\r\n");
  talk.ack(kS, 0, 15);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(talk.send(kC, 0, "MAIL FROM:<a>\r\n").action, Action::forward);
    EXPECT_TRUE(talk.last.retransmission);
  }
  talk.send(kC, 15, "QUIT\r\n", flag::fin | flag::ack);
  talk.ack(kS, 0, 22);
  talk.send(kS, 0, "", flag::fin | flag::ack);
  talk.ack(kC, 22, 1);
  EXPECT_EQ(talk.connection.state(), State::closed);
  EXPECT_EQ(talk.connection.close_reason(), CloseReason::fin);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(talk.send(kC, 15, "QUIT\r\n", flag::fin | flag::ack).action, Action::forward);
  }
  EXPECT_EQ(sink.client(), "MAIL FROM:<a>\r\nQUIT\r\n");
  EXPECT_TRUE(quiet());
  EXPECT_TRUE(sink.alternatives.empty());
}

TEST_P(TcpStreams, C16_OffsetsBeyondThirtyTwoBits) {
  for (const std::uint64_t start : {(1ull << 31) - 20, (1ull << 32) - 20, (1ull << 40) + 5}) {
    Talk t(GetParam().first, GetParam().second);
    t.connection.preset_offset(kC, start);
    t.sink.end[0] = start;
    t.open();
    t.send(kC, 0, "0123456789");
    t.send(kC, 20, "abcdefghij");
    t.send(kC, 10, "ABCDEFGHIJ");
    t.send(kC, 15, "FGHIJabcdefghijKL");
    EXPECT_EQ(t.sink.client(), "0123456789ABCDEFGHIJabcdefghijKL");
    EXPECT_EQ(t.sink.end[0], start + 32);
    EXPECT_TRUE(t.sink.in_order);
    EXPECT_TRUE(t.sink.anomalies.empty());
    EXPECT_EQ(t.connection.next_sequence(kC), t.isn[0] + 33);
  }
}

TEST_P(TcpStreams, C16_AcknowledgementJumps) {
  talk.open();
  talk.send(kC, 0, "EHLO a\r\n");
  for (const std::uint32_t jump : {0x7fffffffu, 0x80000000u, 0x80000001u, 0x40000000u}) {
    talk.send(Say{.direction = kS, .raw_ack = talk.isn[0] + 9 + jump});
  }
  talk.send(kC, 8, "MAIL\r\n");
  talk.send(kC, 20, "later");
  talk.wait(kSecond);
  talk.send(kC, 14, "filled");
  EXPECT_EQ(sink.client(), "EHLO a\r\nMAIL\r\nfilledlater");
  EXPECT_TRUE(sink.gaps.empty());
  EXPECT_LT(talk.connection.memory_used(), 4096u);
  EXPECT_TRUE(sink.saw(Anomaly::ack_unseen_data));
}

TEST_P(TcpStreams, C17_SynAfterAForgottenConnection) {
  talk.send(kC, 0, "", flag::fin | flag::ack);
  talk.send(kS, 0, "", flag::fin | flag::ack);
  EXPECT_TRUE(talk.send(Say{.flags = flag::syn, .raw_sequence = 0x12345678}).new_session);
  for (const Direction d : {kC, kS}) {
    for (const std::uint8_t flags : {flag::rst, static_cast<std::uint8_t>(flag::rst | flag::ack)}) {
      Talk reset(GetParam().first, GetParam().second);
      reset.send(d, 0, "", flags);
      EXPECT_EQ(reset.connection.state(), State::closed);
      EXPECT_TRUE(reset.send(Say{.flags = flag::syn, .raw_sequence = 0x12345678}).new_session);
    }
    Talk reset(GetParam().first, GetParam().second);
    reset.send(d, 0, "", flag::rst);
    EXPECT_TRUE(reset.send(Say{.direction = kS, .flags = flag::syn | flag::ack}).new_session);
  }
}

TEST_P(TcpStreams, C17_SynAfterARefusalIsANewSession) {
  talk.send(Say{.flags = flag::syn});
  talk.send(Say{.direction = kS, .flags = flag::rst | flag::ack, .raw_sequence = 0});
  EXPECT_EQ(talk.connection.state(), State::closed);
  EXPECT_TRUE(talk.send(Say{.flags = flag::syn, .raw_sequence = talk.isn[0] + 999}).new_session);
}

TEST_P(TcpStreams, C17_SynInTimeWait) {
  talk.open();
  talk.send(kC, 0, "QUIT\r\n", flag::fin | flag::ack);
  talk.ack(kS, 0, 7);
  talk.send(kS, 0, "", flag::fin | flag::ack);
  talk.ack(kC, 7, 1);
  const SegmentResult r = talk.send(Say{.flags = flag::syn, .raw_sequence = talk.isn[0] + 70'000});
  EXPECT_TRUE(r.new_session);
  // The caller starts afresh with the same segment.
  Talk next(talk.isn[0] + 70'000, talk.isn[1] + 50'000);
  next.open();
  next.send(kC, 0, "EHLO\r\n");
  EXPECT_EQ(next.sink.client(), "EHLO\r\n");
}

TEST_P(TcpStreams, C17_SynResentIsTheSameSession) {
  talk.send(Say{.flags = flag::syn});
  talk.wait(kSecond);
  EXPECT_FALSE(talk.send(Say{.flags = flag::syn}).new_session);
  EXPECT_TRUE(talk.last.retransmission);
  talk.send(Say{.direction = kS, .flags = flag::syn | flag::ack});
  talk.send(Say{});
  talk.send(kC, 0, "EHLO\r\n");
  EXPECT_FALSE(talk.send(Say{.flags = flag::syn}).new_session);  // the first one, late
  talk.send(kC, 6, "MAIL\r\n");
  EXPECT_EQ(sink.client(), "EHLO\r\nMAIL\r\n");
  EXPECT_TRUE(quiet());
}

TEST_P(TcpStreams, C17_AnsweredSynInAnOpenConnectionIsANewSession) {
  talk.open();
  talk.send(kC, 0, "EHLO\r\n");
  const std::uint32_t fresh = talk.isn[0] + 400'000;
  EXPECT_FALSE(talk.send(Say{.flags = flag::syn, .raw_sequence = fresh}).new_session);
  const SegmentResult answer = talk.send(Say{.direction = kS,
                                             .flags = flag::syn | flag::ack,
                                             .raw_sequence = talk.isn[1] + 99'999,
                                             .raw_ack = fresh + 1});
  EXPECT_TRUE(answer.new_session);
  EXPECT_EQ(talk.connection.next_opening().client_sequence, fresh);
}

TEST_P(TcpStreams, C18_FirstSeenIsTheSynAck) {
  talk.send(Say{.direction = kS, .flags = flag::syn | flag::ack});
  talk.send(kS, 0, "220 mx\r\n");
  talk.acked[1] = 8;
  talk.send(kC, 0, "EHLO\r\n");
  EXPECT_EQ(sink.client(), "EHLO\r\n");
  EXPECT_EQ(sink.server(), "220 mx\r\n");
  EXPECT_FALSE(talk.connection.midstream());
}

TEST_P(TcpStreams, C18_FirstSeenIsAReply) {
  talk.acked[0] = 5000;
  talk.send(kS, 7000, "250 ok\r\n");
  talk.acked[1] = 7008;
  talk.send(kC, 5000, "MAIL\r\n");
  EXPECT_EQ(sink.client(), "MAIL\r\n");
  EXPECT_EQ(sink.server(), "250 ok\r\n");
  EXPECT_TRUE(talk.connection.midstream());
  EXPECT_EQ(sink.anomalies.count(Anomaly::midstream), 1u);
  EXPECT_EQ(talk.connection.state(), State::established);
}

TEST_P(TcpStreams, C18_FirstSeenIsBodyOrFin) {
  talk.send(kC, 40'000, "id line\r\nsecond line\r\n");
  talk.send(kC, 40'022, "third\r\n");
  EXPECT_EQ(sink.client(), "id line\r\nsecond line\r\nthird\r\n");
  Talk fin(GetParam().first, GetParam().second);
  fin.send(kC, 5, "last\r\n", flag::fin | flag::ack);
  EXPECT_EQ(fin.sink.client(), "last\r\n");
  EXPECT_EQ(fin.connection.state(), State::closing);
  EXPECT_TRUE(fin.sink.saw(Anomaly::midstream));
}

TEST_P(TcpStreams, C18_AcknowledgementTellsWhereTheStreamStands) {
  // Restart: the server's ACK is seen, then the client's segments, the first two swapped.
  talk.acked[0] = 1000;
  talk.send(kS, 0, "");
  talk.send(kC, 1010, "klmnopqrst");
  talk.send(kC, 1000, "abcdefghij");
  EXPECT_EQ(sink.client(), "abcdefghijklmnopqrst");
  // The acknowledgement of the very octets may come first.
  Talk early(GetParam().first, GetParam().second);
  early.acked[0] = 1010;
  early.send(kS, 0, "");
  early.send(kC, 1000, "abcdefghij");
  early.send(kC, 1010, "klmnopqrst");
  EXPECT_EQ(early.sink.client(), "abcdefghijklmnopqrst");
}

TEST_P(TcpStreams, C19_SplitHandshake) {
  talk.send(Say{.flags = flag::syn});
  talk.send(Say{.direction = kS, .flags = flag::syn});
  talk.send(Say{.flags = flag::syn | flag::ack});
  talk.send(Say{.direction = kS});
  talk.send(kS, 0, "220\r\n");
  talk.send(kC, 0, "EHLO\r\n");
  EXPECT_EQ(sink.client(), "EHLO\r\n");
  EXPECT_EQ(sink.server(), "220\r\n");
  EXPECT_TRUE(sink.saw(Anomaly::split_handshake));
  // In five steps, an ACK first.
  Talk five(GetParam().first, GetParam().second);
  five.send(Say{.flags = flag::syn});
  five.send(Say{.direction = kS, .raw_sequence = 0x777});
  five.send(Say{.direction = kS, .flags = flag::syn});
  five.send(Say{.flags = flag::syn | flag::ack});
  five.send(Say{.direction = kS});
  five.send(kS, 0, "220\r\n");
  five.send(kC, 0, "EHLO\r\n");
  EXPECT_EQ(five.sink.client(), "EHLO\r\n");
  EXPECT_EQ(five.sink.server(), "220\r\n");
  EXPECT_FALSE(five.connection.midstream());
}

TEST_P(TcpStreams, C19_SimultaneousOpenAndClose) {
  talk.send(Say{.flags = flag::syn});
  talk.send(Say{.direction = kS, .flags = flag::syn});
  talk.send(Say{.direction = kS, .flags = flag::syn | flag::ack});
  talk.send(Say{.flags = flag::syn | flag::ack});
  talk.send(kC, 0, "EHLO\r\n");
  talk.send(kC, 6, "QUIT\r\n", flag::fin | flag::ack);
  talk.send(kS, 0, "221\r\n", flag::fin | flag::ack);
  talk.ack(kC, 13, 4);  // old, in FIN_WAIT1
  talk.ack(kC, 13, 6);
  talk.ack(kS, 6, 13);
  EXPECT_EQ(sink.client(), "EHLO\r\nQUIT\r\n");
  EXPECT_EQ(sink.server(), "221\r\n");
  EXPECT_EQ(talk.connection.state(), State::closed);
  EXPECT_EQ(talk.connection.close_reason(), CloseReason::fin);
}

TEST_P(TcpStreams, C20_OldTimestampIsNotInTheStream) {
  talk.send(Say{.flags = flag::syn, .timestamp = 1'999'990});
  talk.send(
      Say{.direction = kS, .flags = flag::syn | flag::ack, .timestamp = 5, .echo = 1'999'990});
  talk.send(Say{.timestamp = 2'000'000, .echo = 5});
  talk.send(Say{.octets = "EHLO\r\n", .timestamp = 2'000'000, .echo = 5});
  talk.send(Say{.direction = kS, .ack = 6, .timestamp = 6, .echo = 2'000'000});
  EXPECT_EQ(talk.send(Say{.at = 6, .octets = std::string(kSignature), .timestamp = 100, .echo = 5})
                .action,
            Action::forward);
  EXPECT_TRUE(sink.saw(Anomaly::paws));
  EXPECT_TRUE(sink.alternative(kSignature));
  talk.send(Say{.at = 6, .octets = "MAIL\r\n", .timestamp = 2'000'001, .echo = 6});
  EXPECT_EQ(sink.client(), "EHLO\r\nMAIL\r\n");
  // After 24 days of silence the clock may have come round.
  talk.wait(24ull * 86400 * kSecond + kSecond);
  talk.send(Say{.at = 12, .octets = "RSET\r\n", .timestamp = 100, .echo = 6});
  EXPECT_EQ(sink.client(), "EHLO\r\nMAIL\r\nRSET\r\n");
  talk.send(Say{.at = 18, .octets = "QUIT\r\n", .timestamp = 101, .echo = 6});
  EXPECT_EQ(sink.client(), "EHLO\r\nMAIL\r\nRSET\r\nQUIT\r\n");
}

TEST_P(TcpStreams, C21_OneDirectionIsFoundOut) {
  talk.send(Say{.flags = flag::syn});
  std::int64_t at = 0;
  for (int i = 0; i < 100; ++i) {
    talk.acked[1] = 8 * i;
    talk.send(kC, at, "MAIL FROM:<a@a.test>\r\n");
    at += 22;
  }
  EXPECT_TRUE(talk.connection.one_sided());
  EXPECT_EQ(sink.anomalies.count(Anomaly::one_sided), 1u);
  EXPECT_EQ(sink.client().size(), 2200u);
  EXPECT_TRUE(sink.gaps.empty());
  EXPECT_EQ(sink.anomalies.size(), 1u);
  // The other direction appears after all.
  talk.send(kS, 8 * 99, "250 ok\r\n");
  EXPECT_FALSE(talk.connection.one_sided());
  EXPECT_EQ(sink.server(), "250 ok\r\n");
}

TEST_P(TcpStreams, C21_OnlyTheServerIsSeen) {
  talk.send(Say{.direction = kS, .flags = flag::syn | flag::ack});
  for (int i = 0; i < 20; ++i) {
    talk.acked[0] = 10 * i;
    talk.send(kS, 8 * i, "250 ok\r\n");
  }
  EXPECT_TRUE(talk.connection.one_sided());
  EXPECT_EQ(sink.server().size(), 160u);
}

TEST_P(TcpStreams, AWindowWithoutAnAnswerIsNotOneSided) {
  // Picked up in the middle of a bulk transfer: the acknowledgements come a round trip later.
  for (int i = 0; i < 60; ++i) talk.send(kC, 10 * i, "0123456789");
  EXPECT_FALSE(talk.connection.one_sided());
  talk.wait(4 * kSecond);
  talk.send(kC, 600, "0123456789");
  EXPECT_TRUE(talk.connection.one_sided());
  talk.send(kS, 0, "250 ok\r\n");
  EXPECT_FALSE(talk.connection.one_sided());
}

TEST_P(TcpStreams, OneSidedHolesAreGivenUpAfterAWhile) {
  talk.send(Say{.flags = flag::syn});
  for (int i = 0; i < 10; ++i) {
    talk.acked[1] = 8 * i;
    talk.send(kC, 4 * i, "DATA");
  }
  talk.send(kC, 44, "next");
  talk.wait(kSecond);
  talk.send(kC, 48, "then");
  EXPECT_TRUE(sink.gaps.empty());
  talk.wait(3 * kSecond);
  talk.send(kC, 52, "last");
  EXPECT_EQ(sink.client().substr(36), "DATA????nextthenlast");
}

TEST_P(TcpStreams, C24_BadChecksumIsNotInTheStream) {
  talk.open();
  EXPECT_EQ(talk.send(Say{.octets = "GOOD-SIGNATURE", .checksum_bad = true}).action,
            Action::forward);
  EXPECT_TRUE(sink.saw(Anomaly::bad_tcp_checksum));
  EXPECT_EQ(talk.send(kC, 0, kSignature).action, Action::forward);
  EXPECT_EQ(sink.client(), kSignature);
  talk.send(Say{.at = 14, .flags = flag::rst, .checksum_bad = true});
  EXPECT_EQ(talk.connection.state(), State::established);
}

TEST_P(TcpStreams, OctetsOutsideTheWindowAreNotInTheStream) {
  talk.open(1000);
  talk.send(kC, 0, "EHLO\r\n");
  EXPECT_EQ(talk.send(kC, 100'000, kSignature).action, Action::forward);
  EXPECT_TRUE(sink.saw(Anomaly::out_of_window));
  EXPECT_TRUE(sink.alternative(kSignature));
  EXPECT_EQ(talk.send(kC, -5000, "before the beginning").action, Action::forward);
  talk.ack(kS, 0, 6, 1000);
  talk.send(kC, 6, "MAIL\r\n");
  EXPECT_EQ(sink.client(), "EHLO\r\nMAIL\r\n");
}

TEST_P(TcpStreams, WindowScalingIsAppliedWhenBothOfferIt) {
  for (const bool both : {true, false}) {
    Talk t(GetParam().first, GetParam().second);
    t.send(Say{.flags = flag::syn, .window_scale = 7});
    t.send(Say{.direction = kS,
               .flags = flag::syn | flag::ack,
               .window_scale = both ? std::uint8_t{7} : std::uint8_t{0xff}});
    t.send(Say{});
    t.send(kC, 0, "EHLO\r\n");
    t.ack(kS, 0, 6, 1000);
    t.send(kC, 100'000, "ahead");
    EXPECT_EQ(t.sink.saw(Anomaly::out_of_window), !both);
    EXPECT_EQ(t.last.out_of_order, both);
  }
}

}  // namespace
}  // namespace sluice::tcp::test
