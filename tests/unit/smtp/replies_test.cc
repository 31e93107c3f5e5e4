// Matching of replies, addresses, AUTH, STARTTLS, bounds, one-sided flows and labels: A14, A15,
// A17, A18, A20, A21, A22 of the wire cases, LMTP, PROXY preambles.
#include "tests/unit/smtp/dialogue.h"

namespace sluice::smtp::test {
namespace {

TEST(SmtpCases, A14_StarttlsWithTrailingPlaintext) {
  const Recorder r = play(
      opened({C("STARTTLS\r\nMAIL FROM:<e@e.test>\r\n"), S("220 go\r\n"), C(kHello), S(kRecords)}));
  EXPECT_TRUE(r.has(Anomaly::starttls_injection));
  EXPECT_EQ(r.tls, 1);
  EXPECT_TRUE(r.transactions.empty());
  EXPECT_EQ(r.opaque[0], kHello);
  EXPECT_EQ(r.opaque[1], kRecords);
}

TEST(SmtpCases, A14_StarttlsRefused) {
  for (const std::string_view reply : {"454 later\r\n", "502 no\r\n"}) {
    const Recorder r = play(
        opened({C("STARTTLS\r\nMAIL FROM:<e@e.test>\r\n"), S(std::string(reply) + "250 ok\r\n"),
                C("RCPT TO:<b@b.test>\r\n"), S("250 ok\r\n"), C("DATA\r\n"), S("354 go\r\n"),
                C("SIGNATURE\r\n.\r\n"), S("250 ok\r\n")}));
    EXPECT_EQ(r.tls, -1);
    EXPECT_EQ(r.messages.at(0).text, "SIGNATURE\r\n");
    EXPECT_EQ(r.transactions.at(1).mailbox, "e@e.test");
    EXPECT_EQ(r.transactions.at(1).mail_code, 250);
    EXPECT_FALSE(r.has(Anomaly::starttls_injection));
  }
  const Recorder argument = play(opened({C("STARTTLS x\r\n"), S("501 no\r\n")}) +
                                 with_message("a@a.test", "b@b.test", "x\r\n.\r\n"));
  EXPECT_EQ(argument.messages.size(), 1u);
  EXPECT_EQ(argument.tls, -1);
}

TEST(SmtpCases, A14_InjectedReply) {
  const Recorder r = play(opened(
      {C("STARTTLS\r\n"), S("220 go\r\n250-AUTH PLAIN\r\n250 x\r\n"), C(kHello), S(kRecords)}));
  EXPECT_TRUE(r.has(Anomaly::starttls_reply_injection));
  EXPECT_EQ(r.opaque[0], kHello);
  const Recorder clean = play(opened({C("STARTTLS\r\n"), S("220 go\r\n"), C(kHello), S(kRecords)}));
  EXPECT_TRUE(clean.anomalies.empty());
  // A client that does not wait for the reply but begins TLS injects nothing (F03).
  const Recorder fast = play(opened({C("STARTTLS\r\n" + kHello), S("220 go\r\n"), S(kRecords)}));
  EXPECT_TRUE(fast.anomalies.empty());
  EXPECT_EQ(fast.opaque[0], kHello);
}

TEST(SmtpCases, A14_AnonymousTlsAndCapability) {
  const Recorder r = play(opened({C("X-ANONYMOUSTLS\r\n"), S("220 go\r\n"), C(kHello)}));
  EXPECT_EQ(r.tls, 1);
  EXPECT_EQ(r.opaque[0], kHello);
  for (const std::string_view reply : {"250 STARTTLS\r\n", "250-mx\r\n250 STARTTLS\r\n",
                                       "250-mx\r\n250-starttls\r\n250 HELP\r\n"}) {
    Recorder c;
    bool offered = false;
    run(c, {S("220 mx\r\n"), C("EHLO c\r\n"), S(reply)}, pieces(1), {},
        [&](const Session& s) { offered = s.starttls_offered(); });
    EXPECT_TRUE(offered) << reply;
  }
  Recorder none;
  run(none, {S("220 mx\r\n"), C("EHLO c\r\n"), S("250-starttls.test hi\r\n250 PIPELINING\r\n")},
      whole(), {}, [](const Session& s) {
        EXPECT_FALSE(s.starttls_offered());
        EXPECT_TRUE(s.pipelining_offered());
        EXPECT_FALSE(s.chunking_offered());
      });
}

TEST(SmtpCases, A17_RefusedInTheMiddleAndSilentAtTheEnd) {
  for (const bool quits : {true, false}) {
    Dialogue d = opened({C("MAIL FROM:<a@a.test>\r\n"), S("250 ok\r\n"),
                         C("RCPT TO:<b@b.test>\r\n"), S("250 ok\r\n"), C("DATA\r\n"),
                         S("354 go\r\n"), C("one\r\n"), S("552 too big\r\n"), C("two\r\n.\r\n")});
    if (quits)
      d = d + Dialogue{C("QUIT\r\n"), S("221 bye\r\n")};
    else
      d = d + with_message("x@x.test", "y@y.test", "three\r\n.\r\n");
    const Recorder r = play(d);
    EXPECT_EQ(r.messages.at(0).text, "one\r\ntwo\r\n");
    EXPECT_EQ(r.transactions.at(1).ends.at(0).first, 552);
    if (!quits) {
      EXPECT_EQ(r.transactions.at(2).ends.at(0).first, 250);
    }
  }
}

std::vector<Recorder::Auth> auths(std::initializer_list<Turn> turns) {
  const Recorder r = play(opened(turns));
  EXPECT_EQ(r.transcript().find("secret"), std::string::npos);
  return r.auths;
}
using Auths = std::vector<Recorder::Auth>;

// user: "user", password: "secret"
TEST(SmtpCases, A15_Exchanges) {
  EXPECT_EQ(auths({C("AUTH LOGIN\r\n"), S("334 VXNlcm5hbWU6\r\n"), C("dXNlcg==\r\n"),
                   S("334 UGFzc3dvcmQ6\r\n"), C("c2VjcmV0\r\n"), S("235 ok\r\n")}),
            (Auths{{"LOGIN", "user", 235}}));
  EXPECT_EQ(auths({C("auth login dXNlcg==\r\n"), S("334 UGFzc3dvcmQ6\r\n"), C("c2VjcmV0\r\n"),
                   S("535 no\r\n")}),
            (Auths{{"LOGIN", "user", 535}}));
  EXPECT_EQ(auths({C("AUTH PLAIN AHVzZXIAc2VjcmV0\r\n"), S("235 ok\r\n")}),
            (Auths{{"PLAIN", "user", 235}}));
  EXPECT_EQ(auths({C("AUTH PLAIN\r\n"), S("334 \r\n"), C("AHVzZXIAc2VjcmV0\r\n"), S("235 ok\r\n")}),
            (Auths{{"PLAIN", "user", 235}}));
  EXPECT_EQ(auths({C("AUTH CRAM-MD5\r\n"), S("334 PDE+\r\n"), C("dXNlciBzZWNyZXQ=\r\n"),
                   S("235 ok\r\n")}),
            (Auths{{"CRAM-MD5", "user", 235}}));
  // user=user ^A auth=Bearer secret ^A ^A
  EXPECT_EQ(
      auths({C("AUTH XOAUTH2 dXNlcj11c2VyAWF1dGg9QmVhcmVyIHNlY3JldAEB\r\n"), S("235 ok\r\n")}),
      (Auths{{"XOAUTH2", "user", 235}}));
  // n,,n=us=2Cer,r=nonce
  EXPECT_EQ(auths({C("AUTH SCRAM-SHA-256 biwsbj11cz0yQ2VyLHI9bm9uY2U=\r\n"), S("334 eA==\r\n"),
                   C("eHg=\r\n"), S("334 eA==\r\n"), C("\r\n"), S("235 ok\r\n")}),
            (Auths{{"SCRAM-SHA-256", "us,er", 235}}));
  // n,a=user@a.test,^Ahost=x^A
  EXPECT_EQ(auths({C("AUTH OAUTHBEARER bixhPXVzZXJAYS50ZXN0LAFob3N0PXgB\r\n"), S("235 ok\r\n")}),
            (Auths{{"OAUTHBEARER", "user@a.test", 235}}));
  EXPECT_EQ(auths({C("AUTH GSSAPI eHh4\r\n"), S("334 eA==\r\n"), C("eHh4\r\n"), S("535 no\r\n")}),
            (Auths{{"GSSAPI", "", 535}}));
}

TEST(SmtpCases, A15_EmptyInitialResponseAndCancel) {
  // RFC 4954 4: "=" is an empty one; the user stands in the line behind the 334.
  const std::string plain = "AHVzZXIAc2VjcmV0\r\n";
  EXPECT_EQ(auths({C("AUTH PLAIN =\r\n"), S("334 \r\n"), C(plain), S("235 ok\r\n")}),
            (Auths{{"PLAIN", "user", 235}}));
  EXPECT_EQ(auths({C("AUTH PLAIN =\r\n" + plain), S("334 \r\n235 ok\r\n")}),
            (Auths{{"PLAIN", "user", 235}}));
  EXPECT_EQ(auths({C("AUTH PLAIN\r\n"), S("334 \r\n"), C("\r\n"), S("334 \r\n"), C(plain),
                   S("235 ok\r\n")}),
            (Auths{{"PLAIN", "user", 235}}));
  EXPECT_EQ(auths({C("AUTH XOAUTH2 =\r\n"), S("334 \r\n"),
                   C("dXNlcj11c2VyAWF1dGg9QmVhcmVyIHNlY3JldAEB\r\n"), S("235 ok\r\n")}),
            (Auths{{"XOAUTH2", "user", 235}}));
  EXPECT_EQ(
      auths({C("AUTH SCRAM-SHA-256 =\r\n"), S("334 \r\n"), C("biwsbj11cz0yQ2VyLHI9bm9uY2U=\r\n"),
             S("334 eA==\r\n"), C("Yz1iaXdzLHI9bm9uY2UscD1wcm9vZg==\r\n"), S("235 ok\r\n")}),
      (Auths{{"SCRAM-SHA-256", "us,er", 235}}));
  // LOGIN's next line may be the password: it is not looked at.
  EXPECT_EQ(
      auths({C("AUTH LOGIN =\r\n"), S("334 UGFzc3dvcmQ6\r\n"), C("c2VjcmV0\r\n"), S("535 no\r\n")}),
      (Auths{{"LOGIN", "", 535}}));
  for (const std::string_view begin : {"AUTH LOGIN dXNlcg==\r\n", "auth\tlogin   dXNlcg==  \r\n"}) {
    EXPECT_EQ(auths({C(begin), S("334 UGFzc3dvcmQ6\r\n"), C("c2VjcmV0\r\n"), S("235 ok\r\n")}),
              (Auths{{"LOGIN", "user", 235}}));
    // Given up at the password: the user was named.
    EXPECT_EQ(auths({C(begin), S("334 UGFzc3dvcmQ6\r\n"), C("*\r\n"), S("501 cancelled\r\n"),
                     C("NOOP\r\n"), S("250 ok\r\n")}),
              (Auths{{"LOGIN", "user", 501}}));
  }
  for (const std::string_view begin :
       {"AUTH PLAIN\r\n", "AUTH PLAIN =\r\n", "AUTH LOGIN\r\n", "AUTH CRAM-MD5\r\n"}) {
    const Recorder r = play(opened({C(begin), S("334 \r\n"), C("*\r\n"), S("501 cancelled\r\n"),
                                    C("MAIL FROM:<a@a.test>\r\n"), S("250 ok\r\n")}));
    EXPECT_EQ(r.auths.at(0).user, "");
    EXPECT_EQ(r.auths.at(0).code, 501);
    EXPECT_EQ(r.transactions.at(1).mail_code, 250) << begin;
    EXPECT_FALSE(r.has(Anomaly::bad_auth));
  }
}

TEST(SmtpCases, A15_ContinuationLinesAreNoCommands) {
  for (const std::string_view line :
       {"DATA", "QUIT", "RSET", "STARTTLS", "", "*", "MAIL FROM:<x>", "not base64 !"}) {
    SCOPED_TRACE(line);
    const Recorder r = play(opened({C("AUTH LOGIN\r\n"), S("334 VXNlcm5hbWU6\r\n"),
                                    C(std::string(line) + "\r\n"), S("535 no\r\n")}) +
                            with_message("a@a.test", "b@b.test", "x\r\n.\r\n"));
    EXPECT_EQ(std::vector(r.verbs.begin(), r.verbs.begin() + 3),
              (std::vector{Verb::ehlo, Verb::auth, Verb::mail}));
    ASSERT_EQ(r.auths.size(), 1u);
    EXPECT_EQ(r.auths[0].code, 535);
    EXPECT_EQ(r.messages.size(), 1u);
    EXPECT_EQ(r.transactions.at(1).mail_code, 250);
  }
}

TEST(SmtpCases, A15_EndsAtTheFirstOtherReply) {
  const Recorder cancelled = play(opened({C("AUTH LOGIN\r\n"), S("454 later\r\n"), C("*\r\n"),
                                          S("500 what\r\n"), C("NOOP\r\n"), S("250 ok\r\n")}));
  EXPECT_EQ(cancelled.auths, (Auths{{"LOGIN", "", 454}}));
  EXPECT_EQ(cancelled.verbs, (std::vector{Verb::ehlo, Verb::auth, Verb::unknown, Verb::noop}));
  EXPECT_FALSE(cancelled.has(Anomaly::unsolicited_reply));

  EXPECT_EQ(auths({C("AUTH PLAIN AHVzZXIAc2VjcmV0\r\n"), S("235 ok\r\n"),
                   C("AUTH PLAIN AHVzZXIAc2VjcmV0\r\n"), S("503 already\r\n")}),
            (Auths{{"PLAIN", "user", 235}, {"PLAIN", "user", 503}}));
  // Two in one segment, complete both.
  EXPECT_EQ(auths({C("AUTH PLAIN AHVzZXIAc2VjcmV0\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\n"),
                   S("535 no\r\n535 no\r\n")}),
            (Auths{{"PLAIN", "user", 535}, {"PLAIN", "user", 535}}));
  // Two without initial response: the server takes the second for the response to its 334.
  const Recorder two =
      play(opened({C("AUTH PLAIN\r\nAUTH PLAIN\r\n"), S("334 \r\n501 bad\r\n"), C("NOOP\r\n"),
                   S("250 ok\r\n"), C("QUIT\r\n"), S("221 bye\r\n")}));
  EXPECT_EQ(two.auths, (Auths{{"PLAIN", "", 501}}));
  EXPECT_FALSE(two.has(Anomaly::unsolicited_reply));
  // Never answered.
  EXPECT_EQ(auths({C("AUTH LOGIN\r\n"), S("334 VXNlcm5hbWU6\r\n"), C("dXNlcg==\r\n")}),
            (Auths{{"LOGIN", "user", 0}}));
}

TEST(SmtpCases, A15_SecretsAreNotKept) {
  // All memory of the session is looked at after each turn.
  struct Watch final : std::pmr::memory_resource {
    std::map<void*, std::size_t> blocks;
    void* do_allocate(std::size_t size, std::size_t) override {
      void* p = ::operator new(size);
      std::memset(p, 0xa5, size);
      blocks[p] = size;
      return p;
    }
    void do_deallocate(void* p, std::size_t size, std::size_t) override {
      look(p, size);
      blocks.erase(p);
      ::operator delete(p);
    }
    bool do_is_equal(const memory_resource& other) const noexcept override {
      return this == &other;
    }
    void look(const void* p, std::size_t size) {
      const std::string_view text(static_cast<const char*>(p), size);
      found = found || text.find("secret") != std::string_view::npos ||
              text.find("c2VjcmV0") != std::string_view::npos;
    }
    bool found = false;
  } watch;
  Recorder r;
  {
    Session session(Limits{}, r, &watch);
    const auto say = [&](const Turn& t) {
      for (const char c : t.octets) {
        const auto octet = static_cast<std::uint8_t>(c);
        if (t.direction == Direction::to_server)
          session.client({&octet, 1});
        else
          session.server({&octet, 1});
      }
      for (const auto& [p, size] : watch.blocks) watch.look(p, size);
    };
    say(S("220 mx\r\n"));
    say(C("AUTH PLAIN AHVzZXIAc2VjcmV0\r\n"));
    say(S("535 no\r\n"));
    say(C("AUTH LOGIN\r\n"));
    say(S("334 x\r\n"));
    say(C("dXNlcg==\r\n"));
    say(S("334 x\r\n"));
    say(C("c2VjcmV0\r\n"));
    say(S("235 ok\r\n"));
  }
  EXPECT_EQ(r.auths.size(), 2u);
  EXPECT_FALSE(watch.found);
}

TEST(SmtpCases, A17_ReplyForms) {
  const Recorder r = play(Dialogue{S("220-a\r\n220-b\r\n220\r\n"),
                                   C("EHLO c\r\n"),
                                   S("250-a\r\n251 b\r\n"),
                                   C("MAIL FROM:<a@a.test>\r\n"),
                                   S("250\t\r\n"),
                                   C("RCPT TO:<a@a.test>\r\n"),
                                   S("550 #5.1.1\r\n"),
                                   C("RCPT TO:<b@b.test>\r\n"),
                                   S("4.7.0 TLS\r\n400 x\r\n"),
                                   C("RCPT TO:<c@b.test>\r\n"),
                                   S("472 x\r\n"),
                                   C("RCPT TO:<d@b.test>\r\n"),
                                   S("530 x\r\n"),
                                   C("RCPT TO:<e@b.test>\r\n"),
                                   S("556 x\r\n"),
                                   C("RCPT TO:<f@b.test>\r\n"),
                                   S("25"),
                                   S("0-x\r\n2"),
                                   S("50 y\r\n"),
                                   C("DATA\r\n"),
                                   S("354\r\n"),
                                   C("x\r\n.\r\n"),
                                   S("250 ok\r\n")});
  const auto& t = r.transactions.at(1);
  EXPECT_EQ(t.mail_code, 250);
  EXPECT_EQ(t.rcpt_codes, (std::map<std::uint32_t, int>{
                              {0, 550}, {1, 400}, {2, 472}, {3, 530}, {4, 556}, {5, 250}}));
  EXPECT_EQ(t.ends.at(0).first, 250);
  EXPECT_EQ(r.anomalies, (std::set<std::string>{"bad-reply"}));
}

TEST(SmtpCases, A17_ReplyTooMany) {
  // Nobody asked for the second 250: what follows is matched right.
  const Recorder r = play(opened({C("NOOP\r\n"), S("250 ok\r\n250 again\r\n")}) +
                          with_message("a@a.test", "b@b.test", "x\r\n.\r\n", "250 done\r\n"));
  EXPECT_TRUE(r.has(Anomaly::unsolicited_reply));
  EXPECT_EQ(r.transactions.at(1).ends.at(0).second, "done");
  // Too many while commands are on their way: DATA's 354 puts it right again.
  const Recorder shifted = play(
      opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n"),
              S("250 extra\r\n250 m\r\n250 r\r\n354 go\r\n"), C("x\r\n.\r\n"), S("250 done\r\n")}));
  EXPECT_TRUE(shifted.has(Anomaly::unsolicited_reply));
  EXPECT_EQ(shifted.messages.at(0).text, "x\r\n");
  EXPECT_EQ(shifted.transactions.at(1).ends.at(0).second, "done");
  // And one too few.
  const Recorder few =
      play(opened({C("NOOP\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n"),
                   S("250 m\r\n250 r\r\n354 go\r\n"), C("x\r\n.\r\n"), S("250 done\r\n")}));
  EXPECT_EQ(few.transactions.at(1).ends.at(0).second, "done");
  const Recorder idle = play(opened({C("NOOP\r\n"), S("250 ok\r\n"), S("421 bye\r\n")}));
  EXPECT_TRUE(idle.anomalies.empty());
  EXPECT_EQ(idle.replies.back(), 421);
}

TEST(SmtpCases, A18_Addresses) {
  struct Case {
    std::string_view argument, path, mailbox, parameters;
    bool bad = false;
  };
  for (const Case& c : std::initializer_list<Case>{
           {R"(<"a b"@x.test>)", R"(<"a b"@x.test>)", R"("a b"@x.test)", ""},
           {R"(<"a@b"@x.test>)", R"(<"a@b"@x.test>)", R"("a@b"@x.test)", ""},
           {R"(<"a>b"@x.test>)", R"(<"a>b"@x.test>)", R"("a>b"@x.test)", ""},
           {R"(<"a\">b"@x.test> SIZE=1)", R"(<"a\">b"@x.test>)", R"("a\">b"@x.test)", "SIZE=1"},
           {" <a@x.test>", "<a@x.test>", "a@x.test", ""},
           {"a@x.test", "<a@x.test>", "a@x.test", ""},
           {"a@x.test SIZE=7", "<a@x.test>", "a@x.test", "SIZE=7"},
           {"<>", "<>", "", ""},
           {"<> RET=HDRS ENVID=QQ314159", "<>", "", "RET=HDRS ENVID=QQ314159"},
           {"<@r1.test,@r2.test:u@x.test>", "<@r1.test,@r2.test:u@x.test>", "u@x.test", ""},
           {"<a@[IPv6:2001:db8::1]>", "<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", ""},
           {"<postmaster>", "<postmaster>", "postmaster", ""},
           {"<SRS0=AB=cd=y.test=u@x.test> BODY=8BITMIME SIZE=10", "<SRS0=AB=cd=y.test=u@x.test>",
            "SRS0=AB=cd=y.test=u@x.test", "BODY=8BITMIME SIZE=10"},
           {"<\xc3\xbc@x.test> SMTPUTF8", "<\xc3\xbc@x.test>", "\xc3\xbc@x.test", "SMTPUTF8"},
           {"<a@x.test", "<a@x.test>", "a@x.test", "", true},
           {R"(<"a@x.test>)", R"(<"a@x.test>)", R"("a@x.test)", "", true},
           {"<a@x.test>junk", "<a@x.test>", "a@x.test", "junk", true},
           {"<@r1.test>", "<@r1.test>", "@r1.test", "", true},
           {"<a@[192.0.2.1>", "<a@[192.0.2.1>", "a@[192.0.2.1", "", true},
           {"", "<>", "", "", true},
           {"<", "<>", "", "", true},
           {R"("a b"@x.test NOTIFY=NEVER)", R"(<"a b"@x.test>)", R"("a b"@x.test)", "NOTIFY=NEVER"},
       }) {
    SCOPED_TRACE(c.argument);
    const Recorder mail = play(opened({C("mAiL fRoM:" + std::string(c.argument) + "\r\n")}));
    const auto& t = mail.transactions.at(1);
    EXPECT_EQ(t.mail, c.path);
    EXPECT_EQ(t.mailbox, c.mailbox);
    EXPECT_EQ(t.parameters, c.parameters);
    EXPECT_EQ(mail.has(Anomaly::bad_path), c.bad);
    const Recorder rcpt = play(opened({C("MAIL FROM:<m@m.test>\r\n"), S("250 ok\r\n"),
                                       C("RCPT TO:" + std::string(c.argument) + "\r\n")}));
    EXPECT_EQ(rcpt.transactions.at(1).rcpt_paths.at(0), c.path);
    EXPECT_EQ(rcpt.transactions.at(1).rcpts.at(0), c.mailbox);
  }
  // Verbs that mean nothing to us keep a reply slot each.
  const Recorder r =
      play(opened({C("ETRN x.test\r\nVRFY u\r\nHELP\r\nXFOO\r\nMAIL FROM:<a@a.test>\r\n"),
                   S("250 1\r\n252 2\r\n214-3\r\n214 3\r\n500 4\r\n250 mail\r\n")}));
  EXPECT_EQ(r.transactions.at(1).mail_code, 250);
  EXPECT_TRUE(r.anomalies.empty());
}

TEST(SmtpCases, A20_Bounds) {
  const auto fed = [](const std::string& unit, std::size_t count, const std::string& first) {
    std::string octets = first;
    for (std::size_t i = 0; i < count; ++i) octets += unit;
    std::size_t used = 0;
    Recorder r;
    run(r, opened({C(octets + "MAIL FROM:<last@a.test>\r\n")}), pieces(1460), {.finish = false},
        [&](const Session& s) { used = s.memory_used(); });
    EXPECT_EQ(r.faults, "");
    EXPECT_LT(used, 30'000u);
    EXPECT_TRUE(r.has(Anomaly::too_many));
    EXPECT_EQ(r.transactions.rbegin()->second.mailbox, "last@a.test");
    return r;
  };
  EXPECT_EQ(fed("RSET\r\n", 200'000, "").verbs.size(), 200'002u);
  const Recorder recipients = fed("RCPT TO:<b@b.test>\r\n", 20'000, "MAIL FROM:<a@a.test>\r\n");
  EXPECT_EQ(recipients.transactions.at(1).rcpts.size(), 1024u);
  EXPECT_EQ(fed("MAIL FROM:<a@a.test>\r\nRSET\r\n", 50'000, "").transactions.size(), 50'001u);
}

TEST(SmtpCases, A20_RepliesAfterTheBoundStillMatch) {
  std::string commands, replies;
  for (int i = 0; i < 3000; ++i) {
    commands += "NOOP\r\n";
    replies += "250 noop\r\n";
  }
  const Recorder r =
      play(opened({C(commands + "MAIL FROM:<a@a.test>\r\n"), S(replies + "250 mail\r\n"),
                   C("RCPT TO:<b@b.test>\r\n"), S("550 no\r\n")}));
  EXPECT_EQ(r.transactions.at(1).mail_code, 250);
  EXPECT_EQ(r.transactions.at(1).rcpt_codes.at(0), 550);
  EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));
}

std::string three_messages() {
  std::string octets = "EHLO c\r\n";
  for (int i = 0; i < 3; ++i)
    octets += "MAIL FROM:<a" + std::to_string(i) +
              "@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nbody " + std::to_string(i) + "\r\n.\r\n";
  return octets + "QUIT\r\n";
}

TEST(SmtpCases, A21_OneSided) {
  for (const bool told : {true, false}) {
    const Recorder r = play({C(three_messages())}, {.one_sided = told});
    ASSERT_EQ(r.messages.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(r.messages[i].text, "body " + std::to_string(i) + "\r\n");
      EXPECT_EQ(r.messages[i].end, MessageEnd::complete);
      EXPECT_EQ(r.transactions.at(static_cast<TransactionId>(i + 1)).mailbox,
                "a" + std::to_string(i) + "@a.test");
      EXPECT_EQ(r.transactions.at(static_cast<TransactionId>(i + 1)).ends.at(0).first, 0);
    }
    EXPECT_TRUE(r.anomalies.empty());
  }
  const Recorder server = play({S("220 mx\r\n"), S("250-mx\r\n250 x\r\n"), S("250 ok\r\n"),
                                S("354 go\r\n"), S("250 queued\r\n"), S("221 bye\r\n")});
  EXPECT_FALSE(server.has(Anomaly::unsolicited_reply));
  EXPECT_EQ(server.replies.size(), 6u);
}

TEST(SmtpCases, A21_FoundOutLate) {
  LimitedResource memory(std::pmr::new_delete_resource(), 1 << 20);
  Recorder r;
  {
    Session session(Limits{}, r, &memory);
    const auto say = [&](std::string_view text) { session.client(as_bytes(text)); };
    say("EHLO c\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nhalf of ");
    session.set_one_sided(true);
    say("it\r\n.\r\nMAIL FROM:<c@c.test>\r\nRCPT TO:<d@d.test>\r\nDATA\r\ntwo\r\n.\r\n");
    say("STARTTLS\r\nNOOP\r\nSTARTTLS\r\n\x16\x03\x01");
    session.finish();
  }
  ASSERT_EQ(r.messages.size(), 2u);
  EXPECT_EQ(r.messages[0].text, "half of it\r\n");
  EXPECT_EQ(r.messages[1].text, "two\r\n");
  EXPECT_EQ(r.tls, 1);
  EXPECT_EQ(r.faults, "");
}

TEST(SmtpCases, A21_TheOtherSideAppearsAfterAll) {
  LimitedResource memory(std::pmr::new_delete_resource(), 1 << 20);
  Recorder r;
  {
    Session session(Limits{}, r, &memory);
    const auto say = [&](std::string_view text) { session.client(as_bytes(text)); };
    const auto hear = [&](std::string_view text) { session.server(as_bytes(text)); };
    session.set_one_sided(true);
    say("EHLO c\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nhalf of ");
    session.set_one_sided(false);
    hear("250 2.1.5 a late one\r\n354 go\r\n");
    say("it\r\n.\r\n");
    hear("250 queued\r\n");
    say("MAIL FROM:<c@c.test>\r\nRCPT TO:<d@d.test>\r\n");
    hear("250 ok\r\n550 no\r\n");
    session.finish();
  }
  ASSERT_EQ(r.messages.size(), 1u);
  EXPECT_EQ(r.messages[0].text, "half of it\r\n");
  EXPECT_EQ(r.transactions.at(1).ends.at(0).first, 250);
  EXPECT_EQ(r.transactions.at(2).rcpt_codes.at(0), 550);
  EXPECT_TRUE(r.anomalies.empty());
  EXPECT_EQ(r.faults, "");
}

TEST(SmtpCases, A22_Labels) {
  std::string errors = "220 mx.test\r\n";
  for (int i = 0; i < 50; ++i) errors += "500 what\r\n";
  const Recorder tls = play({C(kHello), S(errors)});
  EXPECT_EQ(tls.refused_hello, kHello);
  EXPECT_EQ(tls.anomalies, (std::set<std::string>{"tls-on-smtp-port"}));
  const Recorder after = play({S("220 mx.test\r\n"), C(kHello), S("500 what\r\n")});
  EXPECT_EQ(after.anomalies, (std::set<std::string>{"tls-on-smtp-port"}));
  const Recorder implicit = play({C(kHello), S(kRecords)});
  EXPECT_TRUE(implicit.anomalies.empty());
  EXPECT_EQ(implicit.opaque[1], kRecords);

  const Recorder early = play(Dialogue{C("EHLO c\r\n"), S("220 mx\r\n"), S("250 hi\r\n")} +
                              with_message("a@a.test", "b@b.test", "x\r\n.\r\n"));
  EXPECT_EQ(early.anomalies, (std::set<std::string>{"early-talker"}));
  EXPECT_EQ(early.transactions.at(1).ends.at(0).first, 250);

  EXPECT_EQ(play({S("220 mx\r\n"), C("QUIT\r\n"), S("221 bye\r\n")}).anomalies,
            (std::set<std::string>{"scan-probe"}));
  EXPECT_EQ(play({S("220 mx\r\n")}).anomalies, (std::set<std::string>{"scan-probe"}));
  EXPECT_TRUE(play(opened({C("QUIT\r\n"), S("221 bye\r\n")})).anomalies.empty());

  Recorder http;
  run(http,
      {S("220 mx\r\n"), C("GET / HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"),
       S("500 a\r\n500 b\r\n500 c\r\n500 d\r\n")},
      pieces(3), {.finish = false},
      [](const Session& s) { EXPECT_EQ(s.phase(), Phase::not_smtp); });
  EXPECT_EQ(http.anomalies, (std::set<std::string>{"not-smtp"}));
  const Recorder ssh = play({S("SSH-2.0-OpenSSH_9.2\r\n")});
  EXPECT_TRUE(ssh.has(Anomaly::not_smtp));
}

TEST(SmtpSession, LmtpAnswersForEachAcceptedRecipient) {
  const Recorder r =
      play({S("220 lmtp\r\n"), C("LHLO c\r\n"), S("250-x\r\n250 PIPELINING\r\n"),
            C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nRCPT TO:<c@b.test>\r\nRCPT "
              "TO:<d@b.test>\r\n"
              "DATA\r\n"),
            S("250 m\r\n250 b\r\n550 c\r\n250 d\r\n354 go\r\n"), C("x\r\n.\r\nNOOP\r\n"),
            S("250 for b\r\n452 for d\r\n250 noop\r\n"), C("QUIT\r\n"), S("221 bye\r\n")});
  EXPECT_EQ(r.deliveries, (std::vector<std::pair<std::uint32_t, int>>{{0, 250}, {1, 452}}));
  EXPECT_EQ(r.transactions.at(1).ends, (std::vector<std::pair<int, std::string>>{{452, "for d"}}));
  EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));
  EXPECT_TRUE(r.anomalies.empty());
}

TEST(SmtpSession, ProxyPreambles) {
  const Dialogue rest = {S("220 mx\r\n"), C("EHLO c\r\n"), S("250 hi\r\n")};
  const std::string v2 = "\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"s + std::string(12, 'A');
  for (const std::string& preamble :
       {"PROXY TCP4 192.0.2.1 198.51.100.1 4000 25\r\n"s, "PROXY UNKNOWN\r\n"s, v2,
        "\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"s}) {
    const Recorder r = play(Dialogue{C(preamble)} + rest);
    EXPECT_EQ(r.verbs, (std::vector{Verb::ehlo}));
    EXPECT_TRUE(r.anomalies.empty());
    EXPECT_EQ(r.helo, "c");
  }
  EXPECT_TRUE(play(Dialogue{C("PROXY nonsense\r\n")} + rest).has(Anomaly::bad_proxy_preamble));
  EXPECT_TRUE(play(Dialogue{C("\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x00"s)} + rest)
                  .has(Anomaly::bad_proxy_preamble));
  const Recorder none = play(Dialogue{S("220 mx\r\n"), C("\r\nNOOP\r\n"), S("500 x\r\n250 y\r\n")});
  EXPECT_EQ(none.verbs, (std::vector{Verb::unknown, Verb::noop}));
}

TEST(SmtpSession, ClaimedClients) {
  const Dialogue rest = {S("220 mx\r\n"), C("EHLO c\r\n"), S("250 hi\r\n")};
  const std::string v4 = "00000000000000000000ffffc0000201";
  const std::string v6 = "20010db8000000000000000000000001";
  const auto signature = "\r\n\r\n\0\r\nQUIT\n"s;
  const std::string v4_block = "\xc0\x00\x02\x01\xc6\x33\x64\x01\x0f\xa0\x00\x19"s;
  const std::string v6_block = "\x20\x01\x0d\xb8"s + std::string(11, '\0') + "\x01" +
                               std::string(16, '\0') + "\x0f\xa0\x00\x19"s;
  const std::pair<std::string, std::string> preambles[] = {
      {"PROXY TCP4 192.0.2.1 198.51.100.1 4000 25\r\n", "proxy " + v4 + " port 4000"},
      {"PROXY TCP6 2001:db8::1 2001:db8::2 4000 25\r\n", "proxy " + v6 + " port 4000"},
      {"PROXY UNKNOWN\r\n", ""},
      {"PROXY UNKNOWN 192.0.2.1 198.51.100.1 1 2\r\n", ""},
      {signature + "\x21\x11\x00\x0c"s + v4_block, "proxy " + v4 + " port 4000"},
      {signature + "\x21\x11\x00\x13"s + v4_block + "\x04\x00\x04"s + "tlv!",
       "proxy " + v4 + " port 4000"},
      {signature + "\x21\x21\x00\x24"s + v6_block, "proxy " + v6 + " port 4000"},
      {signature + "\x20\x11\x00\x0c"s + v4_block, ""},               // LOCAL
      {signature + "\x21\x11\x00\x04"s + v4_block.substr(0, 4), ""},  // too short for its family
      {signature + "\x21\x31\x00\x04unix"s, ""},
  };
  for (const auto& [preamble, claim] : preambles) {
    const Recorder r = play(Dialogue{C(preamble)} + rest);
    EXPECT_EQ(r.claims, claim.empty() ? std::vector<std::string>{} : std::vector{claim})
        << testing::PrintToString(preamble);
    EXPECT_TRUE(r.anomalies.empty()) << testing::PrintToString(preamble);
    EXPECT_EQ(r.helo, "c");
  }
  for (const std::string_view bad :
       {"PROXY TCP4 192.0.2.1 198.51.100.1 4000\r\n", "PROXY TCP4 2001:db8::1 ::1 4000 25\r\n",
        "PROXY TCP4 192.0.2.999 198.51.100.1 4000 25\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 70000 25\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 -1 25\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 25 6\r\n"}) {
    const Recorder r = play(Dialogue{C(bad)} + rest);
    EXPECT_TRUE(r.claims.empty()) << bad;
    EXPECT_TRUE(r.has(Anomaly::bad_proxy_preamble)) << bad;
  }

  const Recorder x =
      play(opened({C("XFORWARD NAME=spike.test ADDR=192.0.2.1 PORT=4000\r\n"), S("250 ok\r\n"),
                   C("XFORWARD PROTO=ESMTP HELO=he+2Blo+20x IDENT=1\r\n"), S("250 ok\r\n"),
                   C("xclient addr=ipv6:2001:db8::1 name=[unavailable] login=user+40a.test\r\n"),
                   S("220 mx\r\n"), C("EHLO d\r\n"), S("250 hi\r\n"),
                   C("XCLIENT ADDR=192.0.2.1 PORT=x HELO=z+4\r\n"), S("550 no\r\n")}));
  EXPECT_EQ(x.claims, (std::vector<std::string>{"xforward " + v4 + " port 4000 name spike.test",
                                                "xforward helo he+lo x",
                                                "xclient " + v6 + " login user@a.test",
                                                "xclient " + v4 + " helo z+4", "xclient refused"}));
  EXPECT_TRUE(x.anomalies.empty());
}

TEST(SmtpSession, Midstream) {
  const Recorder command =
      play({C("MAIL FROM:<a@a.test>\r\n"), S("250 ok\r\n")}, {.midstream = true});
  EXPECT_EQ(command.transactions.at(1).mail_code, 250);
  EXPECT_TRUE(command.anomalies.empty());

  const Recorder body =
      play(Dialogue{C("of the body SIGNATURE\r\nmore\r\n.\r\n"), S("250 ok\r\n")} +
               with_message("a@a.test", "b@b.test", "x\r\n.\r\n"),
           {.midstream = true});
  ASSERT_EQ(body.messages.size(), 2u);
  EXPECT_EQ(body.messages[0].text, "of the body SIGNATURE\r\nmore\r\n");
  EXPECT_EQ(body.transactions.at(1).ends.at(0).first, 250);
  EXPECT_TRUE(body.anomalies.empty());

  // The rest of a command, shown by the server's reply.
  const Recorder tail = play(
      Dialogue{C("OM:<a@a.test>\r\n"), S("250 ok\r\n"), C("RCPT TO:<b@b.test>\r\n"),
               S("250 ok\r\n"), C("DATA\r\n"), S("354 go\r\n"), C("x\r\n.\r\n"), S("250 ok\r\n")},
      {.midstream = true});
  EXPECT_EQ(tail.messages.back().text, "x\r\n");
  EXPECT_EQ(tail.messages.back().end, MessageEnd::complete);

  const Recorder tls =
      play({C("\x17\x03\x03\x00\x02xx"s), S("\x17\x03\x03\x00\x02yy"s)}, {.midstream = true});
  EXPECT_EQ(tls.tls, 1);
  const Recorder server =
      play({S("50 ok\r\n"), S("250 ok\r\n"), C("NOOP\r\n"), S("250 ok\r\n")}, {.midstream = true});
  EXPECT_FALSE(server.has(Anomaly::unsolicited_reply));
}

TEST(SmtpSession, RefusalInTheMiddleOfContentIsToldWithItsText) {
  const Recorder r = play(
      opened({C("DATA\r\n"), S("354 go\r\n"), C("Subject: x\r\n"), S("452 4.3.1 disk full\r\n")}));
  EXPECT_EQ(r.content_replies, (std::vector<std::string>{"1 452 4.3.1 disk full"}));
}

TEST(SmtpSession, ChunkForAServerWithoutChunking) {
  // 500: the server does not know BDAT and reads the chunk as commands.
  const std::string chunk = "MAIL FROM:<c@c.test>\r\nRCPT TO:<d@d.test>\r\nDATA\r\n";
  const Recorder r =
      play({S("220 mx\r\n"), C("EHLO c\r\n"), S("250-mx\r\n250 PIPELINING\r\n"),
            C("BDAT " + std::to_string(chunk.size()) + "\r\n" + chunk),
            S("500 what\r\n250 m\r\n250 r\r\n354 go\r\n"), C("x\r\n.\r\n"), S("250 done\r\n")});
  EXPECT_EQ(r.messages.back().text, "x\r\n");
  EXPECT_EQ(r.transactions.at(r.messages.back().tx).mailbox, "c@c.test");
  EXPECT_EQ(r.transactions.at(r.messages.back().tx).ends.at(0).second, "done");
}

TEST(SmtpSession, IdleSessionIsSmall) {
  Recorder r;
  LimitedResource memory(std::pmr::new_delete_resource(), 1 << 20);
  Session s(Limits{}, r, &memory);
  const std::size_t at_start = memory.used();
  std::size_t most = 0;
  const auto say = [&](const Turn& t) {
    if (t.direction == Direction::to_server)
      s.client(as_bytes(t.octets));
    else
      s.server(as_bytes(t.octets));
    most = std::max(most, memory.used());
  };
  for (const Turn& t : opened({}) + with_message("a@a.test", "b@b.test", "hello\r\n.\r\n")) say(t);
  EXPECT_EQ(most, at_start);  // no allocation in a usual conversation
  EXPECT_LE(at_start, 560u);
  RecordProperty("octets", static_cast<int>(at_start));
  std::printf("octets of a session: %zu\n", at_start);
}

TEST(SmtpSession, LooksLikeSmtp) {
  const auto server = [](std::string_view t) {
    return looks_like_smtp(Direction::to_client, as_bytes(t));
  };
  const auto client = [](std::string_view t) {
    return looks_like_smtp(Direction::to_server, as_bytes(t));
  };
  EXPECT_EQ(server("220 mx.test ESMTP\r\n"), Likeness::yes);
  EXPECT_EQ(server("220-mx.test hello\r\n"), Likeness::yes);
  EXPECT_EQ(server("22"), Likeness::maybe);
  EXPECT_EQ(server("220 ProFTPD Server\r\n"), Likeness::no);
  EXPECT_EQ(server("HTTP/1.1 200"), Likeness::no);
  EXPECT_EQ(server("221 x"), Likeness::no);
  EXPECT_EQ(client("EH"), Likeness::maybe);
  EXPECT_EQ(client("ehlo x\r\n"), Likeness::yes);
  EXPECT_EQ(client("HELO\r\n"), Likeness::yes);
  EXPECT_EQ(client("HELOX"), Likeness::no);
  EXPECT_EQ(client("GET / HTTP/1.1"), Likeness::no);
  EXPECT_EQ(client(""), Likeness::maybe);
}

}  // namespace
}  // namespace sluice::smtp::test
