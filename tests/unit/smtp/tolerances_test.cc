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

// A verb that we do not know and the server does: what stands behind it is content, in the same
// flight too, and the message has its envelope and its reply.
TEST(SmtpTolerances, A07_UnknownVerbThatIsData) {
  const Recorder r = play(
      opened({C(kEnvelope + "XDATA now\r\nSubject: x\r\n"), S("250 ok\r\n250 ok\r\n354 go\r\n"),
              C("\r\nhello\r\n.\r\n"), S("250 queued\r\n")}));
  ASSERT_EQ(r.messages.size(), 1u);
  EXPECT_EQ(r.messages[0].text, "Subject: x\r\n\r\nhello\r\n");
  ASSERT_EQ(r.transactions.at(1).ends.size(), 1u);
  EXPECT_EQ(r.transactions.at(1).ends[0].second, "queued");
  EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));

  // Refused, as by most servers: commands follow.
  const Recorder refused =
      play(opened({C(kEnvelope + "XDATA now\r\n"), S("250 ok\r\n250 ok\r\n500 what?\r\n"),
                   C("DATA\r\n"), S("354 go\r\n"), C(kBody), S("250 queued\r\n")}));
  ASSERT_EQ(refused.messages.size(), 1u);
  EXPECT_EQ(refused.messages[0].text, "Subject: x\r\n\r\nhello\r\n");
  EXPECT_EQ(refused.smuggled, "");

  // Pipelined to its end, with another message behind it.
  const Recorder whole = play(opened({C(kEnvelope +
                                        "D\x01"
                                        "ATA\r\n" +
                                        kBody + "MAIL FROM:<c@c.test>\r\n"),
                                      S("250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n250 ok\r\n"),
                                      C("RCPT TO:<d@d.test>\r\nDATA\r\n"),
                                      S("250 ok\r\n354 go\r\n"), C("x\r\n.\r\n"), S("250 2\r\n")}));
  ASSERT_EQ(whole.messages.size(), 2u);
  EXPECT_EQ(whole.messages[0].text, "Subject: x\r\n\r\nhello\r\n");
  EXPECT_EQ(whole.smuggled, "Subject: x\r\n\r\nhello\r\n");  // scanned before the reply
  EXPECT_EQ(whole.transactions.at(whole.messages[1].tx).mailbox, "c@c.test");

  // A server that says nothing to a line it does not know.
  const Recorder silent = play(opened({C(kEnvelope), S("250 ok\r\n250 ok\r\n"), C("\r\nDATA\r\n"),
                                       S("354 go\r\n"), C(kBody), S("250 queued\r\n")}));
  ASSERT_EQ(silent.messages.size(), 1u);
  EXPECT_EQ(silent.messages[0].text, "Subject: x\r\n\r\nhello\r\n");
}

// A server that takes a BDAT whose argument is none by the grammar says so by its reply, and the
// chunk is content with an envelope.
TEST(SmtpTolerances, A04_AcceptedThoughMalformed) {
  const std::string next = "MAIL FROM:<c@c.test>\r\nRCPT TO:<d@d.test>\r\nBDAT 1 LAST\r\nx";
  const std::string accepted = "250 ok\r\n250 ok\r\n250 next\r\n";
  for (const std::string& line :
       {"BDAT 7 LAST\r\r\n"s, "BDAT  7 LAST\r\n"s, "BDAT +7 LAST\r\n"s, "BDAT\t7\tLAST\r\n"s,
        "BDAT" + std::string(5000, ' ') + "7 LAST\r\n"}) {
    for (const bool waits : {false, true}) {
      SCOPED_TRACE(line + (waits ? "waits" : "pipelines"));
      const std::string chunk = line + "hello\r\n";
      const Recorder r = waits ? play(opened({C(kEnvelope), S("250 ok\r\n250 ok\r\n"), C(chunk),
                                              S("250 queued\r\n"), C(next), S(accepted)}))
                               : play(opened({C(kEnvelope + chunk + next),
                                              S("250 ok\r\n250 ok\r\n250 queued\r\n" + accepted)}));
      // Read once before the reply, behind the chunk taken for commands, when it was pipelined.
      ASSERT_EQ(r.messages.size(), waits ? 2u : 3u);
      const auto& first = r.messages[waits ? 0 : 1];
      const auto& last = r.messages.back();
      EXPECT_EQ(first.text, "hello\r\n");
      EXPECT_EQ(first.via, Via::bdat);
      EXPECT_EQ(first.end, MessageEnd::complete);
      EXPECT_EQ(r.transactions.at(first.tx).mailbox, "a@a.test");
      ASSERT_EQ(r.transactions.at(first.tx).ends.size(), 1u);
      EXPECT_EQ(r.transactions.at(first.tx).ends[0].second, "queued");
      EXPECT_EQ(last.text, "x");
      EXPECT_EQ(r.transactions.at(last.tx).mailbox, "c@c.test");
      EXPECT_EQ(r.transactions.at(last.tx).ends[0].second, "next");
      EXPECT_TRUE(r.smuggled.starts_with("hello\r\n")) << r.smuggled;
      EXPECT_TRUE(r.has(Anomaly::bad_bdat_arg));
      EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));
    }
  }
  // Refused, but read; one of several chunks; one of nothing.
  const Recorder refused = play(opened({C(kEnvelope + "BDAT +6 LAST\r\nRSET\r\n" + next),
                                        S("250 ok\r\n250 ok\r\n552 too big\r\n" + accepted)}));
  ASSERT_EQ(refused.messages.size(), 3u);
  EXPECT_EQ(refused.transactions.at(refused.messages[1].tx).ends[0].first, 552);
  EXPECT_EQ(refused.transactions.at(refused.messages[2].tx).mailbox, "c@c.test");
  const Recorder several =
      play(opened({C(kEnvelope + "BDAT 3\r\nabcBDAT +3\r\ndef"),
                   S("250 ok\r\n250 ok\r\n250 1\r\n250 2\r\n"), C("BDAT +3\r\nghi"), S("250 3\r\n"),
                   C("BDAT +0 LAST\r\n"), S("250 queued\r\n"), C(next), S(accepted)}));
  ASSERT_EQ(several.messages.size(), 2u);
  EXPECT_EQ(several.messages[0].text, "abcdefghi");
  EXPECT_EQ(several.transactions.at(several.messages[0].tx).ends[0].second, "queued");
  EXPECT_EQ(several.messages[1].text, "x");
  // A server that has taken one takes the next; one that it refuses it has read as commands.
  for (const auto& [reply, sender] : {std::pair{"552 too big\r\n", "c@c.test"},
                                      std::pair{"501 bad\r\n250 reset\r\n", "c@c.test"}}) {
    const Recorder then =
        play(opened({C(kEnvelope + "BDAT +3\r\nabc"), S("250 ok\r\n250 ok\r\n250 1\r\n"),
                     C("BDAT +6 LAST\r\nRSET\r\n" + next), S(reply + accepted)}));
    EXPECT_EQ(then.messages.back().text, "x");
    EXPECT_EQ(then.transactions.at(then.messages.back().tx).mailbox, sender);
    EXPECT_EQ(then.transactions.at(then.messages.back().tx).ends[0].second, "next");
    EXPECT_FALSE(then.has(Anomaly::unsolicited_reply));
  }
  // Refused as what it is: the octets are commands.
  const Recorder commands =
      play(opened({C(kEnvelope + "BDAT +6 LAST\r\nRSET\r\n" + next),
                   S("250 ok\r\n250 ok\r\n501 bad\r\n250 reset\r\n" + accepted)}));
  ASSERT_EQ(commands.messages.size(), 1u);
  EXPECT_EQ(commands.transactions.at(commands.messages[0].tx).mailbox, "c@c.test");
}

// DATA was refused and what follows are commands, with a chunk that holds what would have been the
// end of the message.
TEST(SmtpTolerances, A07_AChunkOverTheEndOfARefusedMessage) {
  const std::string chunk = "Subject: x\r\n\r\n.\r\nhello\r\n";
  const std::string flight = "DATA\r\nRCPT TO:<b@b.test>\r\nBDAT " + std::to_string(chunk.size()) +
                             " LAST\r\n" + chunk + "MAIL FROM:<c@c.test>\r\n";
  const Recorder r = play(opened({C("MAIL FROM:<a@a.test>\r\n" + flight),
                                  S("250 ok\r\n503 no rcpt\r\n250 ok\r\n250 queued\r\n250 ok\r\n"),
                                  C("RCPT TO:<d@d.test>\r\nDATA\r\n"), S("250 ok\r\n354 go\r\n"),
                                  C("x\r\n.\r\n"), S("250 2\r\n")}));
  ASSERT_GE(r.messages.size(), 2u);
  const auto& first = r.messages[r.messages.size() - 2];
  EXPECT_EQ(first.text, chunk);
  EXPECT_EQ(first.via, Via::bdat);
  EXPECT_EQ(r.transactions.at(first.tx).mailbox, "a@a.test");
  EXPECT_EQ(r.transactions.at(first.tx).ends[0].second, "queued");
  EXPECT_EQ(r.messages.back().text, "x\r\n");
  EXPECT_EQ(r.transactions.at(r.messages.back().tx).mailbox, "c@c.test");
  EXPECT_NE(r.smuggled.find("hello"), std::string::npos);  // before the reply
  EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));
}

// Who pipelines DATA again and again to a server that refuses it has what stands behind each read
// again, but not without end; what comes later is read as ever.
TEST(SmtpTolerances, A20_ReadingAgainIsBounded) {
  std::string flight;
  std::string replies;
  for (int i = 0; i < 100; ++i) {
    flight += "DATA\r\nNOOP " + std::string(400, 'x') + "\r\n";
    replies += "503 no\r\n250 ok\r\n";
  }
  Dialogue dialogue = opened({});
  for (int i = 0; i < 30; ++i) {
    dialogue.push_back(C(flight));
    dialogue.push_back(S(replies));
  }
  dialogue.push_back(C("\r\n.\r\n"));
  dialogue.push_back(S("500 what\r\n500 what\r\n"));
  dialogue = dialogue + with_message("c@c.test", "d@d.test", "x\r\n.\r\n", "250 queued\r\n");
  Recorder r;
  run(r, dialogue, whole());
  std::size_t content = 0;
  for (const Recorder::Message& message : r.messages) content += message.wire.size();
  EXPECT_LT(content, 30 * flight.size() + (2u << 20));
  EXPECT_EQ(r.messages.back().text, "x\r\n");
  EXPECT_EQ(r.transactions.at(r.messages.back().tx).mailbox, "c@c.test");
  EXPECT_EQ(r.transactions.at(r.messages.back().tx).ends[0].second, "queued");
}

// Exim and sendmail take an address in the form of a header field.
TEST(SmtpTolerances, A18_WordsInFrontOfThePath) {
  struct Case {
    std::string argument, path, parameters;
  };
  for (const Case& c : {Case{"John Doe <a@x.test>", "<a@x.test>", ""},
                        Case{"\"Doe, John <j>\" <a@x.test> SIZE=10", "<a@x.test>", "SIZE=10"},
                        Case{"\"J\"<a@x.test>", "<a@x.test>", ""}}) {
    const std::string argument = "FROM:" + c.argument;
    const Path path = parse_path(argument, "FROM");
    EXPECT_EQ(path.path, c.path);
    EXPECT_EQ(path.mailbox, "a@x.test");
    EXPECT_EQ(path.parameters, c.parameters);
    EXPECT_FALSE(path.well_formed);
  }
  const Path bare = parse_path("FROM:a@x.test AUTH=<>", "FROM");
  EXPECT_EQ(bare.path, "a@x.test");
  EXPECT_EQ(bare.parameters, "AUTH=<>");
  EXPECT_EQ(parse_path("FROM:postmaster AUTH=<>", "FROM").path, "postmaster");
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
  for (const std::string& line :
       {"BDAT 27"s, "BDAT 27 "s, "BDAT 27 LAST"s, "bdat 27 Last"s, "BDAT 27 LAST \t "s})
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
    // Behind a RSET that is not yet answered they are another transaction's, until the 354.
    const TransactionId tx = r.messages[0].tx;
    if (pipelined)
      EXPECT_EQ(r.adopted, (std::vector<std::pair<TransactionId, TransactionId>>{{1, tx}}));
    else
      EXPECT_EQ(tx, 1u);
    EXPECT_EQ(r.transactions.at(1).rcpts, std::vector<std::string>{"b@b.test"});
    EXPECT_EQ(r.transactions.at(tx).ends,
              (std::vector<std::pair<int, std::string>>{{250, "queued"}}));
  }
}

const Dialogue kMessageBehind =
    with_message("c@c.test", "d@d.test", "behind\r\n.\r\n", "250 queued\r\n");

void expect_message_behind(const Recorder& r) {
  ASSERT_FALSE(r.messages.empty());
  const auto& message = r.messages.back();
  EXPECT_EQ(message.text, "behind\r\n");
  EXPECT_EQ(message.end, MessageEnd::complete);
  EXPECT_EQ(r.transactions.at(message.tx).mailbox, "c@c.test");
  EXPECT_EQ(r.transactions.at(message.tx).ends.back().second, "queued");
}

// What begins as TLS does is TLS when the server goes on so.
TEST(SmtpTolerances, A22_AnOctetOfTlsDoesNotHideCommands) {
  for (const std::string& junk : {"\x16NOOP\r\n"s, "\x16\x03\x01\r\n"s, "\x16\r\n"s}) {
    SCOPED_TRACE(junk);
    const Recorder r = play(Dialogue{S(kGreeting), C(junk), S("500 what?\r\n")} + kMessageBehind);
    EXPECT_EQ(r.tls, -1);
    expect_message_behind(r);
    // All of it before the server has said anything.
    const Recorder early = play({C(junk + kEnvelope + "DATA\r\n" + kBody),
                                 S(kGreeting + "500 what?\r\n250 a\r\n250 b\r\n354 go\r\n"
                                               "250 queued\r\n")});
    ASSERT_EQ(early.transactions.at(1).ends.size(), 1u);
    EXPECT_EQ(early.transactions.at(1).ends[0].second, "queued");
    EXPECT_NE(early.smuggled.find("hello"), std::string::npos);  // scanned while undecided
  }
  const Recorder tls = play({C("\x16\x03\x01\x00\x05hello"s), S("\x16\x03\x03\x00\x02ok"s)});
  EXPECT_EQ(tls.tls, 0);
  EXPECT_EQ(tls.opaque[0], "\x16\x03\x01\x00\x05hello"s);
}

TEST(SmtpTolerances, A10_StarttlsBeginsAt220Alone) {
  for (const std::string_view reply : {"250 ok\r\n", "200 ok\r\n", "334 \r\n", "501 no\r\n"}) {
    const Recorder r = play(opened({C("STARTTLS x\r\n"), S(reply)}) + kMessageBehind);
    EXPECT_EQ(r.tls, -1) << reply;
    expect_message_behind(r);
  }
}

// 354 says that content comes, whatever the replies before it were taken for.
TEST(SmtpTolerances, A07_A354ThatFitsNothing) {
  const Recorder proxy = play(Dialogue{C("PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n"), S(kGreeting),
                                       S("502 what?\r\n"), C("EHLO c\r\n"), S(kEhloReply)} +
                              kMessageBehind);
  expect_message_behind(proxy);
  EXPECT_FALSE(proxy.has(Anomaly::unsolicited_reply));

  const Recorder greeted = play(
      opened({C("PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n"), S("502 what?\r\n")}) + kMessageBehind);
  expect_message_behind(greeted);
  EXPECT_TRUE(greeted.claims.empty());

  for (const std::string_view word : {"AAAA", "*"}) {
    const Recorder auth = play(
        opened({C("AUTH LOGIN\r\n" + std::string(word) + "\r\n"), S("503 no\r\n500 what?\r\n")}) +
        kMessageBehind);
    expect_message_behind(auth);
    EXPECT_FALSE(auth.has(Anomaly::unsolicited_reply)) << word;
  }

  // More than is kept behind a DATA that was refused: the commands in it are lost.
  std::string much;
  while (much.size() < 70'000) much += "NOOP\r\n";
  std::string replies = "250 a\r\n550 b\r\n554 no\r\n";
  for (std::size_t i = 0; i < much.size() / 6; ++i) replies += "250 ok\r\n";
  const Recorder lost = play(opened({C(kEnvelope + "DATA\r\n" + much +
                                       "MAIL FROM:<c@c.test>\r\n"
                                       "RCPT TO:<d@d.test>\r\nDATA\r\n"),
                                     S(replies + "250 a\r\n250 b\r\n354 go\r\n"),
                                     C("behind\r\n.\r\n"), S("250 queued\r\n")}));
  ASSERT_FALSE(lost.messages.empty());
  EXPECT_EQ(lost.messages.back().text, "behind\r\n");
  EXPECT_EQ(lost.messages.back().end, MessageEnd::complete);
}

// ... and what the commands before it waited for is not taken for what later ones wait for.
TEST(SmtpTolerances, A07_A354GivesUpWhatWaited) {
  const std::string ehlo = "250-mx.test\r\n250 PIPELINING\r\n";
  const Recorder r =
      play(Dialogue{S(kGreeting), C("EHLO c\r\n"), S(ehlo), C(kEnvelope + "BDAT 5\r\nhello"),
                    S("250 a\r\n250 b\r\n354 go\r\n"), C(kBody), S("250 queued\r\n"), C(kEnvelope),
                    S("250 a\r\n250 b\r\n"), C("BDAT 6\r\nNOOP\r\n"),
                    S("502 what?\r\n250 noop\r\n"), C("RSET\r\n"), S("250 ok\r\n")} +
           kMessageBehind);
  EXPECT_EQ(std::count(r.verbs.begin(), r.verbs.end(), Verb::noop), 1);
  expect_message_behind(r);
}

// Where CHUNKING was not offered a refused BDAT was no command, whatever the code.
TEST(SmtpTolerances, A03_BdatRefusedWithoutChunking) {
  const std::string ehlo = "250-mx.test\r\n250 PIPELINING\r\n";
  for (const std::string_view code : {"500", "502", "503", "554", "451"}) {
    for (const bool greeted : {true, false}) {
      SCOPED_TRACE(std::string(code) + (greeted ? " EHLO" : " no EHLO"));
      Dialogue dialogue{S(kGreeting)};
      if (greeted) dialogue = dialogue + Dialogue{C("EHLO c\r\n"), S(ehlo)};
      dialogue = dialogue + Dialogue{C(kEnvelope),
                                     S("250 a\r\n250 b\r\n"),
                                     C("BDAT 100000 LAST\r\n"),
                                     S(std::string(code) + " no\r\n"),
                                     C("RSET\r\n"),
                                     S("250 ok\r\n")};
      expect_message_behind(play(dialogue + kMessageBehind));
    }
  }
}

// A second MAIL is refused (RFC 5321 4.1.4): what follows belongs to the first.
TEST(SmtpTolerances, A06_RefusedSecondMail) {
  const std::string second = "MAIL FROM:<forged@x.test>\r\nRCPT TO:<r2@b.test>\r\nDATA\r\n";
  const Recorder r =
      play(opened({C(kEnvelope + second), S("250 a\r\n250 b\r\n503 nested\r\n250 c\r\n354 go\r\n"),
                   C(kBody), S("250 queued\r\n")}));
  ASSERT_EQ(r.messages.size(), 1u);
  EXPECT_EQ(r.adopted, (std::vector<std::pair<TransactionId, TransactionId>>{{1, 2}}));
  EXPECT_EQ(r.transactions.at(2).ends[0].second, "queued");
  EXPECT_EQ(r.transactions.at(2).rcpt_codes.at(1), 250);  // behind the first one's

  // With replies awaited, and a DATA refused before.
  const Recorder waited = play(
      opened({C("MAIL FROM:<a@a.test>\r\n"), S("250 a\r\n"), C("DATA\r\n"), S("503 no rcpt\r\n"),
              C("RCPT TO:<b@b.test>\r\n"), S("250 b\r\n"), C("MAIL FROM:<forged@x.test>\r\n"),
              S("503 nested\r\n"), C("DATA\r\n"), S("354 go\r\n"), C(kBody), S("250 queued\r\n")}));
  ASSERT_EQ(waited.messages.size(), 1u);
  EXPECT_EQ(waited.transactions.at(waited.messages[0].tx).mailbox, "a@a.test");

  Dialogue many = opened({C(kEnvelope), S("250 a\r\n250 b\r\n")});
  for (int i = 0; i < 70; ++i)
    many = many + Dialogue{C("MAIL FROM:<forged@x.test>\r\n"), S("503 nested\r\n")};
  const Recorder pushed =
      play(many + Dialogue{C("DATA\r\n"), S("354 go\r\n"), C(kBody), S("250 queued\r\n")});
  ASSERT_EQ(pushed.messages.size(), 1u);
  EXPECT_EQ(pushed.transactions.at(pushed.messages[0].tx).mailbox, "a@a.test");
}

// Content behind a refused DATA was commands: a RSET or MAIL among them ends nothing that the
// server meets only behind them, though it was read before.
TEST(SmtpTolerances, A06_CommandsReadAgainEndNothingBehindThem) {
  const std::string again = "DATA\r\nSubject: x\r\nMAIL FROM:<m@x.test>\r\nRCPT TO:<n@x.test>\r\n";
  const std::string behind = "MAIL FROM:<q@a.test>\r\nRCPT TO:<z@b.test>\r\nBDAT 1 LAST\r\nx";
  const std::string sent = "503 no\r\n500 what\r\n250 m\r\n250 n\r\n";
  const std::string taken = "250 q\r\n250 z\r\n250 queued\r\n";
  const Recorder reset = play(opened({C(again + "RSET\r\n.\r\nRSET\r\n" + behind),
                                      S(sent + "250 reset\r\n500 what\r\n250 reset\r\n" + taken)}));
  const Recorder mail =
      play(opened({C(again + ".\r\n" + behind), S(sent + "500 what\r\n" + taken)}));
  for (const Recorder* r : {&reset, &mail}) {
    ASSERT_FALSE(r->messages.empty());
    EXPECT_EQ(r->messages.back().text, "x");
    EXPECT_EQ(r->messages.back().end, MessageEnd::complete);
    const auto& transaction = r->transactions.at(r->messages.back().tx);
    EXPECT_EQ(transaction.mailbox, "q@a.test");
    ASSERT_EQ(transaction.ends.size(), 1u);
    EXPECT_EQ(transaction.ends[0].second, "queued");
  }
  // One chunk of a message that goes on.
  const Recorder chunks = play(
      opened({C(again + "RSET\r\n.\r\nMAIL FROM:<q@a.test>\r\nRCPT TO:<z@b.test>\r\nBDAT 3\r\nabc"),
              S(sent + "250 reset\r\n500 what\r\n250 q\r\n250 z\r\n250 more\r\n"),
              C("BDAT 3 LAST\r\ndef"), S("250 queued\r\n")}));
  ASSERT_FALSE(chunks.messages.empty());
  EXPECT_EQ(chunks.messages.back().text, "abcdef");
}

// Exim's buffer has 16 KiB and it skips white space.
TEST(SmtpTolerances, A09_BlanksDoNotHideWhatStandsBehindThem) {
  for (const std::size_t blanks : {600u, 5000u, 15000u}) {
    const std::string gap = std::string(blanks - 2, ' ') + "\t ";
    const Recorder data =
        play(opened({C("MAIL" + gap + "FROM:" + gap + "<a@a.test>\r\nRCPT TO:" + gap +
                       "<b@b.test>\r\n" + gap + "DATA" + gap + "\r\n" + kBody),
                     S("250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n")}));
    ASSERT_EQ(data.messages.size(), 1u) << blanks;
    EXPECT_EQ(data.messages[0].text, "Subject: x\r\n\r\nhello\r\n");
    EXPECT_EQ(data.transactions.at(1).mailbox, "a@a.test");
    const Recorder bdat =
        play(opened({C(kEnvelope), S("250 ok\r\n250 ok\r\n"),
                     C("BDAT" + gap + "5" + gap + "LAST\r\nhello"), S("250 queued\r\n")}));
    EXPECT_EQ(bdat.smuggled, "hello") << blanks;
  }
}

// Whom a message is from is decided by the server's replies, whatever the client puts in between.
TEST(SmtpTolerances, A06_TheOpenTransactionIsTheServers) {
  struct Case {
    std::string flight, replies;
    TransactionId message;  // that takes the envelope of transaction 1
  };
  const std::string mail = "MAIL FROM:<a@a.test>\r\n";
  const std::string rcpt = "RCPT TO:<b@b.test>\r\n";
  for (const Case& c : {Case{mail + rcpt + "MAIL FROM:<forged@x.test>\r\nDATA\r\n",
                             "250 a\r\n250 b\r\n503 nested\r\n354 go\r\n", 2},
                        Case{mail + "BDAT 1\r\nNMAIL FROM:<forged@x.test>\r\n" + rcpt + "DATA\r\n",
                             "250 a\r\n503 no rcpt\r\n503 nested\r\n250 b\r\n354 go\r\n", 2},
                        Case{mail + "BDAT 1 LAST\r\nN" + rcpt + "DATA\r\n",
                             "250 a\r\n503 no rcpt\r\n250 b\r\n354 go\r\n", 2},
                        Case{mail + "DATA\r\n.\r\n" + rcpt + "DATA\r\n",
                             "250 a\r\n503 no rcpt\r\n500 what\r\n250 b\r\n354 go\r\n", 2}}) {
    SCOPED_TRACE(c.flight);
    const Recorder r = play(opened({C(c.flight), S(c.replies), C(kBody), S("250 queued\r\n")}));
    ASSERT_FALSE(r.messages.empty());
    EXPECT_EQ(r.messages.back().text, "Subject: x\r\n\r\nhello\r\n");
    EXPECT_EQ(r.messages.back().tx, c.message);
    EXPECT_EQ(r.adopted, (std::vector<std::pair<TransactionId, TransactionId>>{{1, c.message}}));
    EXPECT_EQ(r.transactions.at(c.message).ends.back().second, "queued");
  }
  // DATA between chunks is refused (Postfix: 503), and the message goes on over it.
  const Recorder between =
      play(opened({C(kEnvelope + "BDAT 3\r\nabcDATA\r\n.\r\nBDAT 3 LAST\r\ndef"),
                   S("250 a\r\n250 b\r\n250 more\r\n503 in BDAT\r\n500 what\r\n250 queued\r\n")}));
  ASSERT_EQ(between.messages.size(), 1u);
  EXPECT_EQ(between.messages[0].text, "abcdef");
  // More content behind a DATA between refused chunks than is kept until its 354: what the server
  // accepts has its envelope and its reply all the same.
  const Recorder big =
      play(opened({C("MAIL FROM:<a@a.test>\r\nBDAT 1\r\nN" + rcpt + "DATA\r\n" +
                     std::string(70'000, 'x') + "\r\n.\r\n"),
                   S("250 a\r\n503 no rcpt\r\n250 b\r\n354 go\r\n250 queued\r\n")}));
  ASSERT_FALSE(big.messages.empty());
  EXPECT_EQ(big.transactions.at(big.messages.back().tx).ends.back().second, "queued");
  EXPECT_EQ(big.transactions.at(big.messages.back().tx).mailbox, "a@a.test");
  // A chunk without a transaction begins nothing that a later one goes on with.
  const Recorder r =
      play(opened({C("BDAT 1\r\nN"), S("503 no mail\r\n"), C(kEnvelope + "BDAT 5 LAST\r\nhello"),
                   S("250 a\r\n250 b\r\n250 queued\r\n")}));
  ASSERT_EQ(r.messages.size(), 2u);
  EXPECT_EQ(r.messages[1].text, "hello");
  EXPECT_EQ(r.transactions.at(r.messages[1].tx).mailbox, "a@a.test");
}

// The transaction of a chunk that was refused is still open.
TEST(SmtpTolerances, A03_RefusedChunkKeepsTheEnvelope) {
  const std::string ehlo = "250-mx.test\r\n250 PIPELINING\r\n";
  const Dialogue begin{S(kGreeting), C("EHLO c\r\n"), S(ehlo)};
  const Recorder waited =
      play(begin + Dialogue{C(kEnvelope), S("250 a\r\n250 b\r\n"), C("BDAT 7 LAST\r\n"),
                            S("502 what?\r\n"), C("DATA\r\n"), S("354 go\r\n"), C(kBody),
                            S("250 queued\r\n")});
  ASSERT_FALSE(waited.messages.empty());
  EXPECT_EQ(waited.transactions.at(waited.messages.back().tx).mailbox, "a@a.test");
}

TEST(SmtpTolerances, A14_SecretsAreNoMechanism) {
  for (const std::string_view argument :
       {"AHVzZXIAU2VjcjN0V29yZA==", "dXNlcjpwYXNz", "PLAIN=AHVzZXIAcGFzcw==", "PLAIN:x"}) {
    const Recorder r = play(opened({C("AUTH " + std::string(argument) + "\r\n"), S("501 no\r\n")}));
    ASSERT_EQ(r.auths.size(), 1u);
    EXPECT_EQ(r.auths[0].mechanism, "") << argument;
    EXPECT_TRUE(r.has(Anomaly::bad_auth));
  }
  const Recorder mixed =
      play(opened({C("AUTH LOGIN AHVzZXIAU2VjcjN0V29yZA==\r\n"), S("501 no\r\n")}));
  EXPECT_EQ(mixed.auths, (std::vector<Recorder::Auth>{{"LOGIN", "", 501}}));
  const Recorder known = play(opened({C("AUTH ntlm\r\n"), S("504 no\r\n")}));
  EXPECT_EQ(known.auths[0].mechanism, "NTLM");
}

}  // namespace
}  // namespace sluice::smtp::test
