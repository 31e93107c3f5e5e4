// Section A of the wire cases. Each dialogue is run whole, cut into single octets, into 536 octets
// and at random, and must give the same transcript (play()).
#include <gtest/gtest.h>

#include "tests/unit/smtp/dialogue.h"

namespace sluice::smtp::test {
namespace {

TEST(SmtpSession, PlainMessage) {
  const Recorder r = play(opened({}) +
                          with_message("a@a.test", "b@b.test", "Subject: x\r\n\r\nhello\r\n.\r\n",
                                       "250 2.0.0 queued as 77\r\n") +
                          Dialogue{C("QUIT\r\n"), S("221 bye\r\n")});
  ASSERT_EQ(r.messages.size(), 1u);
  EXPECT_EQ(r.messages[0].text, "Subject: x\r\n\r\nhello\r\n");
  EXPECT_EQ(r.messages[0].end, MessageEnd::complete);
  const auto& t = r.transactions.at(1);
  EXPECT_EQ(t.mail, "<a@a.test>");
  EXPECT_EQ(t.mailbox, "a@a.test");
  EXPECT_EQ(t.mail_code, 250);
  EXPECT_EQ(t.rcpts, (std::vector<std::string>{"b@b.test"}));
  EXPECT_EQ(t.rcpt_codes.at(0), 250);
  EXPECT_EQ(t.ends, (std::vector<std::pair<int, std::string>>{{250, "2.0.0 queued as 77"}}));
  EXPECT_EQ(r.helo, "c.test");
  EXPECT_TRUE(r.anomalies.empty());
}

TEST(SmtpCases, A01_LastChunkEndsTheTransaction) {
  const Recorder r =
      play(opened({C("MAIL FROM:<a@a.test>\r\n"), S("250 ok\r\n"), C("RCPT TO:<b@b.test>\r\n"),
                   S("250 ok\r\n"), C("BDAT 20 LAST\r\n12345678901234567890"), S("250 one\r\n")}) +
           with_message("c@c.test", "d@d.test", "body\r\n.\r\n", "250 two\r\n") +
           Dialogue{C("QUIT\r\n"), S("221 bye\r\n")});
  ASSERT_EQ(r.messages.size(), 2u);
  EXPECT_EQ(r.messages[0].via, Via::bdat);
  EXPECT_EQ(r.messages[0].text, "12345678901234567890");
  EXPECT_EQ(r.messages[1].text, "body\r\n");
  EXPECT_EQ(r.transactions.at(1).mailbox, "a@a.test");
  EXPECT_EQ(r.transactions.at(1).rcpts, (std::vector<std::string>{"b@b.test"}));
  EXPECT_EQ(r.transactions.at(1).ends[0].second, "one");
  EXPECT_EQ(r.transactions.at(2).mailbox, "c@c.test");
  EXPECT_EQ(r.transactions.at(2).rcpts, (std::vector<std::string>{"d@d.test"}));
  EXPECT_TRUE(r.anomalies.empty());
}

TEST(SmtpCases, A02_ZeroLengthLast) {
  const Recorder r =
      play(opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n"), S("250 ok\r\n250 ok\r\n"),
                   C("BDAT 0 LAST\r\nMAIL FROM:<x@a.test>\r\n"), S("250 queued\r\n250 ok\r\n")}));
  ASSERT_EQ(r.messages.size(), 1u);
  EXPECT_EQ(r.messages[0].text, "");
  EXPECT_EQ(r.messages[0].end, MessageEnd::complete);
  EXPECT_EQ(r.transactions.at(1).ends[0].second, "queued");
  EXPECT_EQ(r.transactions.at(2).mailbox, "x@a.test");
  EXPECT_TRUE(r.anomalies.empty());
}

TEST(SmtpCases, A02_ChunksAndCommandsCoalesced) {
  const Recorder r =
      play(opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n"), S("250 ok\r\n250 ok\r\n"),
                   C("BDAT 4\r\nwxyzBDAT 3 LAST\r\ntuvMAIL FROM:<x@a.test>\r\n"),
                   S("250 4 octets\r\n250 queued\r\n250 ok\r\n")}));
  ASSERT_EQ(r.messages.size(), 1u);
  EXPECT_EQ(r.messages[0].text, "wxyztuv");
  EXPECT_EQ(r.transactions.at(1).ends[0].second, "queued");
  EXPECT_EQ(r.transactions.at(2).mailbox, "x@a.test");
  EXPECT_EQ(r.transactions.at(2).mail_code, 250);
  EXPECT_TRUE(r.anomalies.empty());
}

TEST(SmtpCases, A03_MalformedBdatKeepsItsReplySlot) {
  const Recorder r = play(opened({C("BDAT 5 X\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n"
                                    "DATA\r\n"),
                                  S("501 bad\r\n"), S("250 m\r\n"), S("250 r\r\n"), S("354 go\r\n"),
                                  C("the SIGNATURE\r\n.\r\n"), S("250 done\r\n")}));
  EXPECT_TRUE(r.has(Anomaly::bad_bdat_arg));
  ASSERT_EQ(r.messages.size(), 1u);
  EXPECT_EQ(r.messages[0].text, "the SIGNATURE\r\n");
  const auto& t = r.transactions.at(r.messages[0].tx);
  EXPECT_EQ(t.mailbox, "a@a.test");
  EXPECT_EQ(t.mail_code, 250);
  EXPECT_EQ(t.rcpt_codes.at(0), 250);
  EXPECT_EQ(t.data_codes, (std::vector<int>{354}));
  EXPECT_EQ(t.ends[0].second, "done");
}

TEST(SmtpCases, A04_BdatSizesAtTheLimits) {
  for (const std::string_view argument :
       {"9223372036854775807", "9223372036854775808", "18446744073709551615",
        "18446744073709551616 LAST", "99999999999999999999999999999999", "-1", "+5", " 5", "5LAST",
        "0x10", "", "5 LASTX", "5 6", "LAST", "1099511627777"}) {
    SCOPED_TRACE(argument);
    const Recorder r =
        play(opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n"), S("250 ok\r\n250 ok\r\n"),
                     C("BDAT " + std::string(argument) + "\r\n"), S("501 no\r\n"), C("NOOP\r\n"),
                     S("250 noop\r\n"), C("RSET\r\n"), S("250 rset\r\n")}) +
             with_message("c@c.test", "d@d.test", "x\r\n.\r\n"));
    EXPECT_TRUE(r.has(Anomaly::bad_bdat_arg));
    EXPECT_EQ(std::count(r.verbs.begin(), r.verbs.end(), Verb::noop), 1);
    ASSERT_EQ(r.messages.size(), 1u);
    EXPECT_EQ(r.messages[0].text, "x\r\n");
    EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));
  }
}

TEST(SmtpCases, A04_HugeLegalChunkIsStreamed) {
  const std::string content(100'000, 'x');
  Options options;
  std::size_t used = 0;
  Recorder r;
  run(r,
      opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nBDAT 1099511627776\r\n" + content)}),
      pieces(536), options, [&](const Session& s) { used = s.memory_used(); });
  ASSERT_EQ(r.messages.size(), 1u);
  EXPECT_EQ(r.messages[0].text, content);
  EXPECT_EQ(r.messages[0].end, MessageEnd::aborted);
  EXPECT_LT(used, 2000u);
}

TEST(SmtpCases, A06_RepliesOfPipelinedRsetDataDot) {
  const Recorder one =
      play(opened({C("RSET\r\nDATA\r\n.\r\n"), S("250 ok\r\n"), S("354 go\r\n"), S("250 ok\r\n")}));
  ASSERT_EQ(one.messages.size(), 1u);
  EXPECT_EQ(one.messages[0].text, "");

  const Recorder two =
      play(opened({}) + Dialogue{C("MAIL FROM:<a@a.test>\r\n"), S("250 ok\r\n"),
                                 C("RCPT TO:<b@b.test>\r\n"), S("250 ok\r\n"), C("DATA\r\n"),
                                 S("354 go\r\n"), C("one\r\n.\r\n"),
                                 C("RSET\r\nMAIL FROM:<c@c.test>\r\nRCPT TO:<d@d.test>\r\n"
                                   "DATA\r\n"),
                                 S("250 first\r\n"), S("250 r\r\n250 m\r\n250 t\r\n354 go\r\n"),
                                 C("two\r\n.\r\n"), S("250 second\r\n")});
  ASSERT_EQ(two.messages.size(), 2u);
  EXPECT_EQ(two.transactions.at(1).ends[0].second, "first");
  EXPECT_EQ(two.transactions.at(2).mailbox, "c@c.test");
  EXPECT_EQ(two.transactions.at(2).rcpts, (std::vector<std::string>{"d@d.test"}));
  EXPECT_EQ(two.transactions.at(2).ends[0].second, "second");
}

TEST(SmtpCases, A07_DataRefusedAfterPipelining) {
  const Recorder r = play(opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n"),
                                  S("250 ok\r\n550 no\r\n554 no valid recipients\r\n"),
                                  C("RSET\r\n"), S("250 ok\r\n")}) +
                          with_message("c@c.test", "d@d.test", "second\r\n.\r\n"));
  ASSERT_EQ(r.messages.size(), 1u);
  EXPECT_EQ(r.messages[0].text, "second\r\n");
  EXPECT_EQ(r.transactions.at(1).rcpt_codes.at(0), 550);
  EXPECT_EQ(r.transactions.at(1).data_codes, (std::vector<int>{554}));
  EXPECT_EQ(r.transactions.at(1).ends[0].first, 554);
  EXPECT_EQ(r.transactions.at(2).mailbox, "c@c.test");
}

// Refused once for want of a recipient, then accepted: the refusal is not the message's reply.
TEST(SmtpCases, A07_DataRefusedThenAccepted) {
  const Recorder r = play(opened(
      {C("MAIL FROM:<a@a.test>\r\n"), S("250 ok\r\n"), C("DATA\r\n"), S("503 no recipient\r\n"),
       C("RCPT TO:<b@b.test>\r\n"), S("250 ok\r\n"), C("DATA\r\n"), S("354 go\r\n"),
       C("x\r\n.\r\nNOOP\r\nQUIT\r\n"), S("250 queued\r\n250 noop\r\n221 bye\r\n")}));
  EXPECT_EQ(r.transactions.at(1).ends, (std::vector<std::pair<int, std::string>>{{250, "queued"}}));
  EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));
}

TEST(SmtpCases, A07_EarlyOctetsAreReadAgainAsCommands) {
  // The client did not wait: what follows DATA in the same segment is commands for this server.
  const Recorder r = play(opened(
      {C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nRSET\r\nMAIL FROM:<c@c.test>\r\n"
         "RCPT TO:<d@d.test>\r\nDATA\r\n"),
       S("250 ok\r\n550 no\r\n554 no\r\n250 rset\r\n250 m\r\n250 r\r\n354 go\r\n"),
       C("..stuffed\r\n.\r\nQUIT\r\n"), S("250 queued\r\n221 bye\r\n")}));
  ASSERT_GE(r.messages.size(), 1u);
  const auto& m = r.messages.back();
  EXPECT_EQ(m.text, ".stuffed\r\n");
  EXPECT_EQ(m.end, MessageEnd::complete);
  EXPECT_EQ(r.transactions.at(m.tx).mailbox, "c@c.test");
  EXPECT_EQ(r.transactions.at(m.tx).rcpt_codes.at(0), 250);
  EXPECT_EQ(r.transactions.at(m.tx).ends[0].second, "queued");
  EXPECT_EQ(r.verbs.back(), Verb::quit);
  EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));
}

TEST(SmtpCases, A07_EarlyMessageWholeAndRefused) {
  // A whole message behind a DATA that is refused: its lines were commands, four of them.
  const Recorder r = play(opened(
      {C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nSubject: x\r\n\r\nhello\r\n.\r\n"
         "NOOP\r\n"),
       S("250 ok\r\n550 no\r\n554 no\r\n500 1\r\n500 2\r\n500 3\r\n500 4\r\n250 noop\r\n"),
       C("RSET\r\n"), S("250 rset\r\n")}));
  EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));
  EXPECT_EQ(r.transactions.at(1).ends, (std::vector<std::pair<int, std::string>>{{554, ""}}));
}

TEST(SmtpCases, A07_BodyPipelinedWithData) {
  const Recorder r = play(
      opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nThis is a test\r\n.\r\n"),
              S("250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n")}));
  ASSERT_EQ(r.messages.size(), 1u);
  EXPECT_EQ(r.messages[0].text, "This is a test\r\n");
  EXPECT_EQ(r.transactions.at(1).ends[0].second, "queued");
}

TEST(SmtpCases, A07_EmptyMessageAfter354WithoutRecipients) {
  const Recorder r = play(
      opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n"),
              S("250 ok\r\n550 no\r\n354 go\r\n"), C(".\r\n"), S("554 no valid recipients\r\n")}));
  ASSERT_EQ(r.messages.size(), 1u);
  EXPECT_EQ(r.messages[0].text, "");
  EXPECT_EQ(r.messages[0].end, MessageEnd::complete);
  EXPECT_EQ(r.transactions.at(1).ends[0].first, 554);
}

TEST(SmtpCases, A09_LongLines) {
  const Recorder one =
      play(opened({C("NOOP " + std::string(5000, 'A') + "\r\nMAIL FROM:<a@a.test>\r\n"),
                   S("250 ok\r\n250 ok\r\n")}));
  EXPECT_TRUE(one.has(Anomaly::long_command));
  EXPECT_EQ(one.transactions.at(1).mail_code, 250);
  EXPECT_EQ(one.verbs[1], Verb::noop);

  Recorder two;
  std::size_t used = 0;
  run(two, opened({C(std::string(1 << 20, 'A'))}), pieces(1000), {.finish = false},
      [&](const Session& s) { used = s.memory_used(); });
  EXPECT_LT(used, 6000u);
  const Recorder three = play(opened({C(std::string(100'000, 'A') + "\r\nMAIL FROM:<a@a.test>\r\n"),
                                      S("500 long\r\n250 ok\r\n")}));
  EXPECT_EQ(three.transactions.at(1).mail_code, 250);

  const std::string line = std::string(6400, 'x') + "SIGNATURE" + std::string(103, 'y');
  const Recorder four =
      play(opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n"), S("250 ok\r\n250 ok\r\n"),
                   C("DATA\r\n" + line + "\r\n.\r\n"), S("354 go\r\n250 ok\r\n")}));
  ASSERT_EQ(four.messages.size(), 1u);
  EXPECT_EQ(four.messages[0].text, line + "\r\n");
  EXPECT_FALSE(four.has(Anomaly::long_command));
}

TEST(SmtpCases, A10_AcceptedEhloActsAsRset) {
  const Recorder r = play(Dialogue{S(kGreeting), C("HELO c\r\n"), S("250 hi\r\n"),
                                   C("MAIL FROM:<alice@a.test>\r\n"), S("250 ok\r\n"),
                                   C("RCPT TO:<bob@b.test>\r\n"), S("250 ok\r\n"), C("EHLO c\r\n"),
                                   S("250-mx.test\r\n"), S("250-SIZE 1000\r\n250 HELP\r\n")} +
                          with_message("bob@b.test", "alice@a.test", "x\r\n.\r\n"));
  ASSERT_EQ(r.messages.size(), 1u);
  const auto& t = r.transactions.at(r.messages[0].tx);
  EXPECT_EQ(t.mailbox, "bob@b.test");
  EXPECT_EQ(t.rcpts, (std::vector<std::string>{"alice@a.test"}));
  EXPECT_FALSE(r.has(Anomaly::command_sequence));
  EXPECT_EQ(r.transactions.at(1).ends.size(), 1u);

  const Recorder refused =
      play(opened({C("MAIL FROM:<a@a.test>\r\n"), S("250 ok\r\n"), C("EHLO\r\n"),
                   S("501-no\r\n501 name\r\n"), C("RCPT TO:<b@b.test>\r\n"), S("250 ok\r\n"),
                   C("DATA\r\n"), S("354 go\r\n"), C("x\r\n.\r\n"), S("250 ok\r\n")}));
  EXPECT_EQ(refused.messages.at(0).tx, 1u);
  EXPECT_EQ(refused.transactions.at(1).rcpts.size(), 1u);
}

}  // namespace
}  // namespace sluice::smtp::test
