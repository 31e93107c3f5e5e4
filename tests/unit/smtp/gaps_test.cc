// Octets that were never seen: of commands, content, chunks and replies.
#include "tests/unit/smtp/dialogue.h"

namespace sluice::smtp::test {
namespace {

// A session with an envelope that was accepted.
struct Begun {
  explicit Begun(std::pmr::memory_resource* memory) : s(Limits{}, r, memory) {
    s.server(as_bytes("220 mx\r\n"));
    s.client(as_bytes("EHLO c\r\n"));
    s.server(as_bytes(kEhloReply));
    s.client(as_bytes("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n"));
    s.server(as_bytes("250 ok\r\n250 ok\r\n"));
  }
  Recorder r;
  Session s;
};

void begin_content(Session& s) {
  s.client(as_bytes("DATA\r\n"));
  s.server(as_bytes("354 go\r\n"));
}

TEST(SmtpSession, Gaps) {
  LimitedResource memory(std::pmr::new_delete_resource(), 1 << 20);
  {  // in the first line that is seen of a connection, which goes on in no other
    Recorder r;
    Session s(Limits{}, r, &memory);
    s.set_midstream();
    s.client(as_bytes("HELO c"));
    s.client_gap(20);
    s.client(as_bytes("MAIL FROM:<a@a.test>\r\n"));
    s.server(as_bytes("250 ok\r\n"));
    EXPECT_EQ(r.transactions.at(1).mailbox, "a@a.test");
  }
  {  // content is missing
    Begun begun(&memory);
    auto& [r, s] = begun;
    begin_content(s);
    s.client(as_bytes("one\r\n"));
    s.client_gap(100);
    s.client(as_bytes("SIGNATURE\r\n.\r\n"));
    s.server(as_bytes("250 done\r\n"));
    EXPECT_EQ(r.messages.at(0).text, "one\r\nSIGNATURE\r\n");
    EXPECT_EQ(r.transactions.at(1).ends.at(0).second, "done");
  }
  {  // the end was in the gap
    Begun begun(&memory);
    auto& [r, s] = begun;
    begin_content(s);
    s.client(as_bytes("one\r\n"));
    s.client_gap(3);
    s.server(as_bytes("250 done\r\n"));
    s.client(as_bytes("half a line\r\nMAIL FROM:<c@c.test>\r\n"));
    s.server(as_bytes("250 ok\r\n"));
    EXPECT_EQ(r.transactions.at(1).ends.at(0).second, "done");
    EXPECT_EQ(r.transactions.at(2).mail_code, 250);
  }
  for (const bool refused : {true, false}) {  // and the server refused it there, or in its middle
    Begun begun(&memory);
    auto& [r, s] = begun;
    begin_content(s);
    s.client(as_bytes("one\r\n"));
    s.client_gap(3);
    if (!refused) s.client(as_bytes("more\r\n"));
    s.server(as_bytes("550 spam\r\n"));
    if (!refused) {
      EXPECT_FALSE(r.messages.at(0).ended);
      continue;
    }
    s.client(as_bytes("MAIL FROM:<c@c.test>\r\n"));
    s.server(as_bytes("250 ok\r\n"));
    EXPECT_EQ(r.transactions.at(1).ends.at(0).second, "spam");
    EXPECT_EQ(r.transactions.at(2).mail_code, 250);
  }
  {  // DATA was in the gap
    Begun begun(&memory);
    auto& [r, s] = begun;
    s.client_gap(6);
    s.server(as_bytes("354 go\r\n"));
    s.client(as_bytes("one\r\n.\r\n"));
    s.server(as_bytes("250 done\r\n"));
    EXPECT_EQ(r.transactions.at(1).ends.at(0).second, "done");
    EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));
  }
  {  // a hole in a chunk
    Begun begun(&memory);
    auto& [r, s] = begun;
    s.client(as_bytes("BDAT 10 LAST\r\nabc"));
    s.client_gap(4);
    s.client(as_bytes("xyzNOOP\r\n"));
    s.server(as_bytes("250 done\r\n250 noop\r\n"));
    EXPECT_EQ(r.messages.at(0).text, "abcxyz");
    EXPECT_EQ(r.messages.at(0).end, MessageEnd::complete);
    EXPECT_EQ(r.verbs.back(), Verb::noop);
  }
  {  // whole commands were in the gap, of one segment or of several
    for (const std::string& rest : {""s, " LAST\r\n"s, "ello\r\n"s, "\r\n"s}) {
      Begun begun(&memory);
      auto& [r, s] = begun;
      s.client_gap(30);
      s.client(as_bytes(rest));
      s.server(as_bytes("250 of the gap\r\n"));
      s.client(as_bytes("MAIL FROM:<c@c.test>\r\nRCPT TO:<d@d.test>\r\n"));
      s.server(as_bytes("250 m\r\n250 r\r\n"));
      EXPECT_EQ(r.transactions.at(2).mailbox, "c@c.test");
      EXPECT_EQ(r.transactions.at(2).rcpt_codes.at(0), 250);
      EXPECT_FALSE(r.has(Anomaly::bad_command));
    }
  }
  {  // MAIL was
    Recorder r;
    Session s(Limits{}, r, &memory);
    s.server(as_bytes("220 mx\r\n"));
    s.client(as_bytes("EHLO c\r\n"));
    s.server(as_bytes(kEhloReply));
    s.client_gap(30);
    s.server(as_bytes("250 of the gap\r\n"));
    s.client(as_bytes("RCPT TO:<b@b.test>\r\n"));
    s.server(as_bytes("250 ok\r\n"));
    s.client(as_bytes("DATA\r\n"));
    s.server(as_bytes("354 go\r\n"));
    s.client(as_bytes(".\r\n"));
    s.server(as_bytes("250 ok\r\n"));
    EXPECT_TRUE(r.anomalies.empty());
    s.client(as_bytes("RCPT TO:<b@b.test>\r\n"));  // of this one none is missing
    EXPECT_TRUE(r.has(Anomaly::command_sequence));
  }
  {  // a whole message and its end were, and the next command follows at once
    Begun begun(&memory);
    auto& [r, s] = begun;
    begin_content(s);
    s.client_gap(300);
    s.server(as_bytes("250 done\r\n"));
    s.client(as_bytes("MAIL FROM:<c@c.test>\r\n"));
    s.server(as_bytes("250 ok\r\n"));
    EXPECT_EQ(r.transactions.at(2).mailbox, "c@c.test");
  }
  {  // whole replies were
    Begun begun(&memory);
    auto& [r, s] = begun;
    s.server_gap(8);
    s.client(as_bytes("BDAT 3 LAST\r\nabc"));
    s.server(as_bytes("250 done\r\n"));
    EXPECT_EQ(r.transactions.at(1).ends.at(0).second, "done");
  }
  {  // 354 was missed: the content is content, the reply to it its own
    Begun begun(&memory);
    auto& [r, s] = begun;
    s.client(as_bytes("DATA\r\n"));
    s.server_gap(8);
    s.client(as_bytes("one\r\n.\r\n"));
    s.server(as_bytes("\r\n250 done\r\n"));
    EXPECT_EQ(r.messages.at(0).end, MessageEnd::complete);
    EXPECT_EQ(r.transactions.at(1).ends.at(0).second, "done");
  }
  {  // the end of a line was missed: its code had come
    Begun begun(&memory);
    auto& [r, s] = begun;
    s.client(as_bytes("DATA\r\n"));
    s.server(as_bytes("354 End data wi"));
    s.server_gap(8);
    s.client(as_bytes("one\r\n.\r\n"));
    s.server(as_bytes("250 don"));
    s.server_gap(3);
    EXPECT_EQ(r.messages.at(0).end, MessageEnd::complete);
    EXPECT_EQ(r.transactions.at(1).ends.at(0).second, "don");
  }
  {  // of a line end, too; and what it says counts for TLS as well
    Begun begun(&memory);
    auto& [r, s] = begun;
    s.client(as_bytes("BDAT 3 LAST\r\nabc"));
    s.server(as_bytes("250 done\r"));
    s.server_gap(1);
    EXPECT_EQ(r.transactions.at(1).ends.at(0).second, "done");
    s.client(as_bytes("STARTTLS\r\n"));
    s.server(as_bytes("220 go a"));
    s.server_gap(7);
    s.client(as_bytes(kHello));
    s.server(as_bytes(kRecords));
    EXPECT_EQ(s.phase(), Phase::tls);
  }
  {  // which it had not; and more lines were to follow
    for (const std::string_view cut : {"25", "550", "550-no"}) {
      Begun begun(&memory);
      auto& [r, s] = begun;
      s.client(as_bytes("DATA\r\n"));
      s.server(as_bytes(cut));
      s.server_gap(8);
      s.client(as_bytes("one\r\n.\r\n"));
      s.server(as_bytes("250 done\r\n"));
      EXPECT_EQ(r.transactions.at(1).ends.at(0).second, "done") << cut;
    }
  }
  {  // so it is when the message is refused
    Begun begun(&memory);
    auto& [r, s] = begun;
    s.client(as_bytes("DATA\r\n"));
    s.client(as_bytes("one\r\n.\r\n"));
    s.server_gap(8);
    s.server(as_bytes("550 spam\r\n"));
    s.client(as_bytes("MAIL FROM:<c@c.test>\r\n"));
    s.server(as_bytes("250 ok\r\n"));
    EXPECT_EQ(r.messages.size(), 1u);
    EXPECT_EQ(r.transactions.at(1).ends.at(0).second, "spam");
    EXPECT_EQ(r.transactions.at(2).mail_code, 250);
    EXPECT_TRUE(r.anomalies.empty());
  }
  {  // what may have ended in the gap is not said to be given up
    for (const bool chunks : {false, true}) {
      Begun begun(&memory);
      auto& [r, s] = begun;
      s.client(as_bytes(chunks ? "BDAT 3\r\nabc" : "DATA\r\n"));
      s.server(as_bytes(chunks ? "250 ok\r\n" : "354 go\r\n"));
      s.client_gap(30);
      if (chunks) s.client(as_bytes("MAIL FROM:<c@c.test>\r\n"));
      if (chunks) s.server(as_bytes("250 of the gap\r\n250 ok\r\n"));
      s.finish();
      EXPECT_EQ(r.messages.at(0).end, MessageEnd::unseen);
    }
  }
  {  // BDAT LAST was, and the rest of its chunk is the beginning of no command
    for (const std::string& rest : {"no line end"s, "a: b\r\n\r\nno line end"s}) {
      Begun begun(&memory);
      auto& [r, s] = begun;
      s.client_gap(30);
      s.client(as_bytes(rest));
      s.server(as_bytes("250 of the chunk\r\n"));
      s.client(as_bytes("MAIL FROM:<c@c.test>\r\nRCPT TO:<d@d.test>\r\nDATA\r\n"));
      s.server(as_bytes("250 m\r\n250 r\r\n354 go\r\n"));
      EXPECT_EQ(r.transactions.at(2).rcpts, std::vector<std::string>{"d@d.test"}) << rest;
    }
  }
  {  // a command in two parts stays one, though a reply of the gap comes between them
    Begun begun(&memory);
    auto& [r, s] = begun;
    s.client_gap(30);
    s.client(as_bytes("RCPT TO:<c@"));
    s.server(as_bytes("250 of the gap\r\n"));
    s.client(as_bytes("c.test>\r\n"));
    EXPECT_EQ(r.transactions.at(1).rcpts.back(), "c@c.test");
    s.client_gap(30);
    s.client(as_bytes("startt"));
    s.server(as_bytes("250 ok\r\n250 of the gap\r\n"));
    s.client(as_bytes("ls\r\n"));
    EXPECT_EQ(r.verbs.back(), Verb::starttls);
  }
  {  // a chunk in front of those that came may have been
    for (const bool before_mail : {false, true}) {
      Begun begun(&memory);
      auto& [r, s] = begun;
      s.client_gap(30);
      s.server(as_bytes("250 of the gap\r\n"));
      if (before_mail) s.client(as_bytes("MAIL FROM:<c@c.test>\r\nRCPT TO:<d@d.test>\r\n"));
      s.client(as_bytes("BDAT 3 LAST\r\nabc"));
      s.client(as_bytes("BDAT 3 LAST\r\nabc"));
      EXPECT_EQ(r.messages.size(), 2u);
      EXPECT_EQ(r.messages.at(0).lost_in_front, !before_mail);
      EXPECT_FALSE(r.messages.at(1).lost_in_front);
    }
  }
  {  // or stood in front of where the stream was picked up
    Recorder r;
    Session s(Limits{}, r, &memory);
    s.set_midstream();
    s.client(as_bytes("BDAT 3 LAST\r\nabc"));
    EXPECT_TRUE(r.messages.at(0).lost_in_front);
  }
  {  // 554 was missed: the next commands are commands
    Begun begun(&memory);
    auto& [r, s] = begun;
    s.client(as_bytes("DATA\r\n"));
    s.server_gap(8);
    s.client(as_bytes("RSET\r\n"));
    s.server(as_bytes("x\r\n250 reset\r\n"));
    s.client(as_bytes("MAIL FROM:<c@c.test>\r\n"));
    s.server(as_bytes("250 ok\r\n"));
    EXPECT_EQ(r.transactions.at(2).mail_code, 250);
    EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));
  }
  EXPECT_EQ(memory.used(), 0u);
}

}  // namespace
}  // namespace sluice::smtp::test
