// Section C of the wire cases: how connections begin and end.
#include "tests/unit/tcp/tcp_cases.h"

namespace sluice::tcp::test {
namespace {

class TcpBeginnings : public TcpCases {};
INSTANTIATE_TEST_SUITE_P(Plain, TcpBeginnings, kPlain);
INSTANTIATE_TEST_SUITE_P(OverWrap, TcpBeginnings, kOverWrap);

TEST_P(TcpBeginnings, InOrderTalkIsDeliveredAndForwardedUnchanged) {
  talk.open();
  EXPECT_EQ(talk.send(kS, 0, "220 mx\r\n").action, Action::forward);
  talk.ack(kC, 0, 8);
  EXPECT_EQ(talk.send(kC, 0, "EHLO a\r\n").action, Action::forward);
  talk.ack(kS, 8, 8);
  talk.send(kS, 8, "250 mx\r\n");
  talk.ack(kC, 8, 16);
  EXPECT_EQ(sink.client(), "EHLO a\r\n");
  EXPECT_EQ(sink.server(), "220 mx\r\n250 mx\r\n");
  EXPECT_TRUE(quiet());
  EXPECT_EQ(talk.connection.state(), State::established);
  EXPECT_FALSE(talk.connection.midstream());
  EXPECT_EQ(talk.connection.next_sequence(kS), talk.isn[1] + 17);
  EXPECT_EQ(talk.connection.highest_acknowledged(kS), talk.isn[1] + 17);
}

TEST_P(TcpBeginnings, C02_TimestampsInTheHandshake) {
  // The first SYN (TSval 10) was lost before us; the answer echoes either.
  for (const std::uint32_t echo : {10u, 20u}) {
    Talk t(GetParam().first, GetParam().second);
    EXPECT_EQ(t.send(Say{.flags = flag::syn, .timestamp = 20}).action, Action::forward);
    EXPECT_EQ(
        t.send(Say{.direction = kS, .flags = flag::syn | flag::ack, .timestamp = 500, .echo = echo})
            .action,
        Action::forward);
    t.send(Say{.timestamp = 21, .echo = 500});
    t.send(Say{.direction = kS, .octets = "220\r\n", .timestamp = 501, .echo = 21});
    t.send(Say{.octets = "EHLO\r\n", .ack = 5, .timestamp = 22, .echo = 501});
    EXPECT_EQ(t.sink.client(), "EHLO\r\n");
    EXPECT_EQ(t.sink.server(), "220\r\n");
    EXPECT_TRUE(t.sink.anomalies.empty());
    EXPECT_TRUE(t.connection.timestamps());
    EXPECT_EQ(t.connection.latest_timestamp(kC), 22u);
  }
  // SYN without, SYN/ACK with.
  talk.send(Say{.flags = flag::syn});
  talk.send(Say{.direction = kS, .flags = flag::syn | flag::ack, .timestamp = 500});
  talk.send(Say{});
  talk.send(kC, 0, "EHLO\r\n");
  EXPECT_EQ(sink.client(), "EHLO\r\n");
  EXPECT_TRUE(quiet());
  EXPECT_FALSE(talk.connection.timestamps());
}

TEST_P(TcpBeginnings, C03_SynWithAcknowledgementFieldSet) {
  EXPECT_EQ(talk.send(Say{.flags = flag::syn, .raw_ack = 0x1234}).action, Action::forward);
  EXPECT_TRUE(sink.saw(Anomaly::ack_without_flag));
  talk.send(Say{.direction = kS, .flags = flag::syn | flag::ack});
  talk.send(Say{});
  talk.send(kC, 0, "EHLO a\r\n");
  EXPECT_EQ(sink.client(), "EHLO a\r\n");
}

TEST_P(TcpBeginnings, C03_DataThatAcknowledgesZero) {
  talk.open();
  talk.send(kS, 0, std::string(100, 's'));
  talk.ack(kC, 0, 100);
  talk.send(Say{.octets = "EHLO a\r\n", .raw_ack = 0});
  EXPECT_EQ(sink.client(), "EHLO a\r\n");
  talk.send(kC, 8, "MAIL\r\n");
  EXPECT_EQ(sink.client(), "EHLO a\r\nMAIL\r\n");
  // Where the numbers wrap, zero is one that was really sent.
  const bool real = -(talk.isn[1] + 1) <= 100u;
  EXPECT_EQ(sink.saw(Anomaly::ack_unseen_data), !real);
}

// What a receiver discards for its acknowledgement or its options is no part of the stream.
TEST_P(TcpBeginnings, C03_DataThatReceiversDiscard) {
  talk.open();
  talk.send(kS, 0, std::string(100, 's'));
  talk.ack(kC, 0, 100);
  const std::uint32_t next = talk.isn[1] + 101;
  for (const std::uint32_t ack : {next + 0x10000000, next - 0x10000000, talk.isn[1] - 5}) {
    if (ack == 0) continue;
    const SegmentResult decoy = talk.send(Say{.octets = "ZZZZ z\r\n", .raw_ack = ack});
    EXPECT_EQ(decoy.action, SegmentResult::Action::forward);
    EXPECT_EQ(sink.client(), "");
  }
  EXPECT_TRUE(sink.saw(Anomaly::ack_unseen_data));
  talk.send(Say{.octets = "ZZZZ z\r\n", .signature = true});
  EXPECT_TRUE(sink.saw(Anomaly::suspected_rst_inject));
  const SegmentResult real = talk.send(Say{.octets = "EHLO a\r\n"});
  EXPECT_EQ(real.action, SegmentResult::Action::forward);
  EXPECT_EQ(sink.client(), "EHLO a\r\n");
}

TEST_P(TcpBeginnings, C03_SynFinDoesNotRestartTheSession) {
  talk.open();
  talk.send(kC, 0, "EHLO a\r\n");
  talk.send(Say{.flags = flag::syn | flag::fin, .raw_sequence = talk.isn[0] + 9});
  EXPECT_TRUE(sink.saw(Anomaly::bad_flags));
  const SegmentResult syn = talk.send(Say{.flags = flag::syn, .raw_sequence = talk.isn[0] + 77777});
  EXPECT_FALSE(syn.new_session);
  EXPECT_TRUE(sink.saw(Anomaly::syn_in_connection));
  talk.send(kC, 8, kSignature);
  EXPECT_EQ(sink.client(), "EHLO a\r\nEVIL-SIGNATURE");
  EXPECT_EQ(talk.connection.state(), State::established);
}

TEST_P(TcpBeginnings, C04_ResetWithSignatureOptionIsNotBelieved) {
  talk.open();
  talk.send(kC, 0, "EHLO a\r\n");
  EXPECT_EQ(talk.send(Say{.at = 8, .flags = flag::rst, .signature = true}).action, Action::forward);
  EXPECT_TRUE(sink.saw(Anomaly::suspected_rst_inject));
  EXPECT_NE(talk.connection.state(), State::closed);
  talk.send(kC, 8, kSignature);
  EXPECT_EQ(sink.client(), "EHLO a\r\nEVIL-SIGNATURE");
}

TEST_P(TcpBeginnings, C04_TalkAfterAResetReopens) {
  talk.open();
  talk.send(kC, 0, "EHLO a\r\n");
  talk.send(kC, 8, "", flag::rst | flag::ack);
  EXPECT_EQ(talk.connection.state(), State::closed);
  EXPECT_EQ(talk.connection.close_reason(), CloseReason::rst);
  EXPECT_FALSE(sink.saw(Anomaly::suspected_rst_inject));
  talk.send(kC, 8, kSignature);
  EXPECT_EQ(talk.connection.state(), State::established);
  EXPECT_EQ(talk.connection.close_reason(), CloseReason::none);
  EXPECT_TRUE(sink.saw(Anomaly::suspected_rst_inject));
  EXPECT_EQ(sink.client(), "EHLO a\r\nEVIL-SIGNATURE");
}

TEST_P(TcpBeginnings, C05_ForgedResetBeforeTheSynAck) {
  // As in capture s17: RST+ACK and FIN+ACK with an echo that was never sent.
  talk.send(Say{.flags = flag::syn, .timestamp = 1'821'165'629});
  talk.send(Say{.direction = kS,
                .flags = flag::rst | flag::ack,
                .timestamp = 100,
                .echo = 100,
                .raw_sequence = 0});
  EXPECT_TRUE(sink.saw(Anomaly::suspected_rst_inject));
  EXPECT_EQ(talk.connection.state(), State::opening);
  talk.send(Say{.direction = kS,
                .flags = flag::fin | flag::ack,
                .timestamp = 100,
                .echo = 100,
                .raw_sequence = 0});
  talk.send(Say{.flags = flag::rst});  // the client's answer to it
  talk.send(
      Say{.direction = kS, .flags = flag::syn | flag::ack, .timestamp = 7, .echo = 1'821'165'629});
  talk.send(Say{.timestamp = 1'821'165'693, .echo = 7});
  talk.send(Say{.octets = "EHLO a\r\n", .timestamp = 1'821'165'693, .echo = 7});
  talk.send(
      Say{.direction = kS, .octets = "250 x\r\n", .ack = 8, .timestamp = 8, .echo = 1'821'165'693});
  EXPECT_EQ(sink.client(), "EHLO a\r\n");
  EXPECT_EQ(sink.server(), "250 x\r\n");
  EXPECT_EQ(talk.connection.state(), State::established);
}

TEST_P(TcpBeginnings, C05_ResetWithTimestampThoughNoneWasOffered) {
  talk.send(Say{.flags = flag::syn});
  talk.send(Say{.direction = kS, .flags = flag::rst | flag::ack, .timestamp = 5, .echo = 5});
  EXPECT_TRUE(sink.saw(Anomaly::suspected_rst_inject));
  EXPECT_NE(talk.connection.state(), State::closed);
}

TEST_P(TcpBeginnings, ARefusedConnectionIsClosedByItsReset) {
  talk.send(Say{.flags = flag::syn});
  talk.send(Say{.direction = kS, .flags = flag::rst | flag::ack, .raw_sequence = 0});
  EXPECT_EQ(talk.connection.state(), State::closed);
  EXPECT_TRUE(quiet());
}

TEST_P(TcpBeginnings, C05_FinWithoutAckFlagDoesNotClose) {
  talk.open();
  talk.send(kC, 0, "EHLO a\r\n");
  talk.send(Say{.at = 8, .flags = flag::fin, .raw_ack = 0x55});
  EXPECT_TRUE(sink.saw(Anomaly::ack_without_flag));
  EXPECT_EQ(talk.connection.state(), State::established);
  EXPECT_EQ(talk.send(kC, 8, kSignature).action, Action::forward);
  EXPECT_EQ(sink.client(), "EHLO a\r\nEVIL-SIGNATURE");
}

TEST_P(TcpBeginnings, C05_ForgedFinIsWithdrawnWhenTalkGoesOn) {
  talk.open();
  talk.send(kC, 0, "EHLO a\r\n");
  talk.send(kC, 8, "", flag::fin | flag::ack);
  EXPECT_EQ(talk.connection.state(), State::closing);
  talk.send(kC, 8, kSignature);
  EXPECT_EQ(sink.client(), "EHLO a\r\nEVIL-SIGNATURE");
  EXPECT_EQ(talk.connection.state(), State::established);
  EXPECT_TRUE(sink.saw(Anomaly::suspected_rst_inject));
}

TEST_P(TcpBeginnings, OctetsBeyondAFinThatWasAcknowledgedAreNotInTheStream) {
  talk.open();
  talk.send(kC, 0, "QUIT\r\n", flag::fin | flag::ack);
  talk.ack(kS, 0, 7);
  EXPECT_EQ(talk.send(kC, 6, kSignature).action, Action::forward);
  EXPECT_EQ(sink.client(), "QUIT\r\n");
  EXPECT_TRUE(sink.alternative(kSignature));
  EXPECT_TRUE(sink.saw(Anomaly::data_after_fin));
}

TEST_P(TcpBeginnings, C06_ResetFarOffIsNotBelieved) {
  talk.open();
  talk.send(kC, 0, "EHLO a\r\n");
  talk.send(Say{.at = 5'000'000, .flags = flag::rst});
  EXPECT_NE(talk.connection.state(), State::closed);
  talk.send(kC, 8, kSignature);
  EXPECT_EQ(sink.client(), "EHLO a\r\nEVIL-SIGNATURE");
}

TEST_P(TcpBeginnings, C06_ResetInTheWindowButNotAtTheEdgeWaitsForTheChallenge) {
  talk.open();
  talk.send(kC, 0, "EHLO a\r\n");
  talk.send(Say{.at = 100, .flags = flag::rst});  // RFC 5961 3.2: the server asks
  EXPECT_EQ(talk.connection.state(), State::established);
  EXPECT_TRUE(quiet());
  talk.send(Say{.at = 8, .flags = flag::rst});  // and is answered
  EXPECT_EQ(talk.connection.state(), State::closed);
  EXPECT_TRUE(quiet());
}

TEST_P(TcpBeginnings, C06_PeerKeepsSendingAfterAReset) {
  talk.open();
  talk.send(kC, 0, "EHLO a\r\n");
  talk.send(kS, 0, "", flag::rst | flag::ack);
  // What was in flight is no reason to doubt the RST.
  talk.send(kC, 8, "MAIL\r\n");
  EXPECT_EQ(talk.connection.state(), State::closed);
  EXPECT_FALSE(sink.saw(Anomaly::suspected_rst_inject));
  talk.wait(5 * kSecond);
  talk.send(kC, 14, kSignature);
  EXPECT_EQ(talk.connection.state(), State::established);
  EXPECT_TRUE(sink.saw(Anomaly::suspected_rst_inject));
  EXPECT_EQ(sink.client(), "EHLO a\r\nMAIL\r\nEVIL-SIGNATURE");
}

TEST_P(TcpBeginnings, C06_ResetPayloadIsNotInTheStream) {
  talk.open();
  talk.send(kC, 0, "EHLO a\r\n");
  EXPECT_EQ(talk.send(kC, 8, "BYE", flag::rst | flag::ack).action, Action::forward);
  EXPECT_EQ(sink.client(), "EHLO a\r\n");
  EXPECT_TRUE(sink.alternative("BYE"));
  EXPECT_TRUE(sink.saw(Anomaly::rst_with_payload));
  talk.send(kC, 8, "MAIL\r\n");
  EXPECT_EQ(sink.client(), "EHLO a\r\nMAIL\r\n");
}

TEST_P(TcpBeginnings, C06_ResetWithHolesOutstanding) {
  talk.open();
  talk.send(kC, 0, "one ");
  talk.send(kC, 8, "three");
  talk.send(kC, 13, "", flag::rst | flag::ack);
  talk.connection.finish(sink);
  EXPECT_EQ(sink.client(), "one ");
  EXPECT_TRUE(sink.gaps.empty());
  EXPECT_EQ(talk.connection.state(), State::closed);
}

TEST_P(TcpBeginnings, C07_HandshakeAckMissingAndEarlyServerData) {
  talk.send(Say{.flags = flag::syn});
  talk.send(Say{.direction = kS, .flags = flag::syn | flag::ack});
  EXPECT_EQ(talk.send(kS, 0, "220 mx\r\n").action, Action::forward);
  talk.acked[1] = 8;
  talk.send(kC, 0, "EHLO a\r\n");
  EXPECT_EQ(sink.client(), "EHLO a\r\n");
  EXPECT_EQ(sink.server(), "220 mx\r\n");
  EXPECT_TRUE(quiet());
}

TEST_P(TcpBeginnings, C07_ServerDataInTheSynAck) {
  for (const bool taken : {true, false}) {
    Talk t(GetParam().first, GetParam().second);
    t.send(Say{.flags = flag::syn});
    t.send(Say{.direction = kS, .octets = "220 mx\r\n", .flags = flag::syn | flag::ack});
    EXPECT_EQ(t.sink.server(), "");
    t.acked[1] = taken ? 8 : 0;
    t.send(Say{});
    if (!taken) t.send(kS, 0, "220 mx\r\n");
    EXPECT_EQ(t.sink.server(), "220 mx\r\n");
  }
}

TEST_P(TcpBeginnings, C08_FastOpenDataAccepted) {
  talk.send(Say{.octets = "EHLO a.tes", .flags = flag::syn});
  EXPECT_EQ(sink.client(), "");
  talk.send(Say{.direction = kS, .flags = flag::syn | flag::ack, .ack = 10});
  EXPECT_EQ(sink.client(), "EHLO a.tes");
  talk.send(kC, 10, "t\r\n");
  EXPECT_EQ(sink.client(), "EHLO a.test\r\n");
  EXPECT_TRUE(quiet());
}

TEST_P(TcpBeginnings, C08_FastOpenDataRejectedAndSentOtherwise) {
  talk.send(Say{.octets = "EVIL-SIGNATURE", .flags = flag::syn});
  talk.send(Say{.direction = kS, .flags = flag::syn | flag::ack});
  EXPECT_TRUE(sink.saw(Anomaly::syn_data_rejected));
  EXPECT_TRUE(sink.alternative(kSignature));
  talk.send(Say{});
  EXPECT_EQ(talk.send(kC, 0, "EHLO a.test\r\n").action, Action::forward);
  EXPECT_EQ(sink.client(), "EHLO a.test\r\n");
  EXPECT_FALSE(sink.saw(Anomaly::overlap_diff));
}

TEST_P(TcpBeginnings, C08_FastOpenSeenFromOneSide) {
  for (const bool taken : {true, false}) {
    Talk t(GetParam().first, GetParam().second);
    t.send(Say{.octets = "EHLO a.tes", .flags = flag::syn});
    t.send(kC, taken ? 10 : 0, taken ? "t\r\n" : "EHLO b.test\r\n");
    EXPECT_EQ(t.sink.client(), taken ? "EHLO a.test\r\n" : "EHLO b.test\r\n");
    EXPECT_EQ(t.sink.saw(Anomaly::syn_data_rejected), !taken);
  }
}

}  // namespace
}  // namespace sluice::tcp::test
