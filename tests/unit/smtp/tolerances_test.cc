// What servers take for commands though the grammar does not have it: read as they read it.
#include "dataplane/smtp/command.h"
#include "tests/unit/smtp/dialogue.h"

namespace sluice::smtp::test {
namespace {

const std::string kEnvelope = "MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n";
const std::string kBody = "Subject: x\r\n\r\nhello\r\n.\r\n";

// Postfix strips all CRs at the end and ends lines at NUL, sendmail and Exim split at white space.
TEST(SmtpTolerances, A07_OddBlanksRoundData) {
  for (const std::string& line : {"DATA\r\r\n"s, "DATA\0x\r\n"s, "DATA\v\r\n"s, "DATA\f\r\n"s,
                                  "\rDATA\r\n"s, "\v DATA \r\r\n"s, "dAtA\t\r\n"s}) {
    SCOPED_TRACE(line);
    const Recorder r = play(
        opened({C(kEnvelope + line + kBody), S("250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n")}));
    ASSERT_EQ(r.messages.size(), 1u);
    EXPECT_EQ(r.messages[0].text, "Subject: x\r\n\r\nhello\r\n");
    EXPECT_EQ(r.transactions.at(1).mailbox, "a@a.test");
    EXPECT_EQ(r.transactions.at(1).ends[0].second, "queued");
    EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));
  }
}

// A verb that we do not know and the server does: content in the same flight is scanned, and the
// message can be stopped at its end.
TEST(SmtpTolerances, A07_UnknownVerbThatIsData) {
  Dialogue dialogue = opened(
      {C(kEnvelope + "XDATA now\r\n" + kBody), S("250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n")});
  const Recorder r = play(dialogue);
  EXPECT_EQ(r.smuggled, "Subject: x\r\n\r\nhello\r\n");
  ASSERT_EQ(r.transactions.at(1).ends.size(), 1u);
  EXPECT_EQ(r.transactions.at(1).ends[0].second, "queued");
  EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));

  Recorder stopped;
  stopped.at_ambiguous = [](TransactionId) { return MessageVerdict::stop; };
  run(stopped, dialogue, whole(), {});
  EXPECT_EQ(stopped.ambiguous_asked, 1);

  // Refused, as by most servers: commands follow.
  const Recorder refused =
      play(opened({C(kEnvelope + "XDATA now\r\n"), S("250 ok\r\n250 ok\r\n500 what?\r\n"),
                   C("DATA\r\n"), S("354 go\r\n"), C(kBody), S("250 queued\r\n")}));
  ASSERT_EQ(refused.messages.size(), 1u);
  EXPECT_EQ(refused.messages[0].text, "Subject: x\r\n\r\nhello\r\n");
  EXPECT_EQ(refused.smuggled, "");
}

TEST(SmtpTolerances, A04_OddBlanksRoundBdat) {
  using Form = ChunkSize::Form;
  const auto parsed = [](const std::string& line) { return parse_chunk_size(line, 1u << 30); };
  for (const std::string& line :
       {"BDAT 27 LAST\r"s, "BDAT 27\r LAST"s, "BDAT 27 LAST\0x"s, "BDAT\v27 LAST"s,
        "\rBDAT 27 LAST"s, "BDAT 27LAST"s, "BDAT +27 last"s, "BDAT 27  LAST"s}) {
    EXPECT_EQ(parsed(line).form, Form::tolerated) << line;
    EXPECT_EQ(parsed(line).octets, 27u) << line;
    EXPECT_TRUE(parsed(line).last) << line;
  }
  // Exim reads the number and takes what follows for nothing.
  for (const std::string& line : {"BDAT 27;"s, "BDAT 27x"s, "BDAT 27 LASTx"s, "BDAT 27 1"s}) {
    EXPECT_EQ(parsed(line).form, Form::tolerated) << line;
    EXPECT_EQ(parsed(line).octets, 27u) << line;
    EXPECT_FALSE(parsed(line).last) << line;
  }
  for (const std::string& line : {"BDAT 27"s, "BDAT 27 "s, "BDAT 27 LAST"s, "bdat 27 Last"s})
    EXPECT_EQ(parsed(line).form, Form::valid) << line;
  for (const std::string& line : {"BDAT"s, "BDAT "s, "BDAT LAST"s, "BDAT x27"s, "BDAT27 LAST"s})
    EXPECT_EQ(parsed(line).form, Form::invalid) << line;

  const Recorder r = play(opened(
      {C(kEnvelope), S("250 ok\r\n250 ok\r\n"), C("BDAT 5 LAST\r\r\nhello"), S("250 queued\r\n")}));
  EXPECT_EQ(r.smuggled, "hello");
}

TEST(SmtpTolerances, A10_OddBlanksRoundOtherVerbs) {
  const Recorder tls =
      play(opened({C("STARTTLS\r\r\n"), S("220 go\r\n"), C("\x16\x03\x01 hello")}));
  EXPECT_EQ(tls.tls, 1);
  EXPECT_FALSE(tls.has(Anomaly::not_smtp));

  const Recorder auth = play(opened({C("AUTH PLAIN AHVzZXIAcGFzcw==\r\r\n"), S("235 ok\r\n"),
                                     C("RCPT\rTO:<x@x.test>\r\r\n"), S("503 no\r\n")}));
  EXPECT_EQ(auth.auths, (std::vector<Recorder::Auth>{{"PLAIN", "user", 235}}));
  EXPECT_EQ(auth.transactions.at(1).rcpts, std::vector<std::string>{"x@x.test"});
  EXPECT_FALSE(auth.has(Anomaly::bad_path));

  const Recorder login =
      play(opened({C("AUTH LOGIN\r\r\n"), S("334 VXNlcm5hbWU6\r\n"), C("dXNlcg==\r\r\n"),
                   S("334 UGFzc3dvcmQ6\r\n"), C("cGFzcw==\r\n"), S("235 ok\r\n")}));
  EXPECT_EQ(login.auths, (std::vector<Recorder::Auth>{{"LOGIN", "user", 235}}));
}

// `RSET now`: Postfix answers 501, and the transaction goes on.
TEST(SmtpTolerances, A06_RefusedRsetChangesNothing) {
  for (const bool pipelined : {false, true}) {
    SCOPED_TRACE(pipelined);
    const Dialogue rest = pipelined ? Dialogue{C(kEnvelope + "RSET now\r\nDATA\r\n"),
                                               S("250 ok\r\n250 ok\r\n501 syntax\r\n354 go\r\n")}
                                    : Dialogue{C(kEnvelope),      S("250 ok\r\n250 ok\r\n"),
                                               C("RSET now\r\n"), S("501 syntax\r\n"),
                                               C("DATA\r\n"),     S("354 go\r\n")};
    const Recorder r = play(opened({}) + rest + Dialogue{C(kBody), S("250 queued\r\n")});
    ASSERT_EQ(r.messages.size(), 1u);
    EXPECT_EQ(r.transactions.at(r.messages[0].tx).mailbox, "a@a.test");
    EXPECT_EQ(r.transactions.at(r.messages[0].tx).rcpts, std::vector<std::string>{"b@b.test"});
    EXPECT_EQ(r.transactions.at(1).ends,
              (std::vector<std::pair<int, std::string>>{{250, "queued"}}));
  }
}

}  // namespace
}  // namespace sluice::smtp::test
