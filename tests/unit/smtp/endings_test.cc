// Ends of data: A12, A13, A19, A23, F12 of the wire cases, and what is excluded by a stop.
#include "dataplane/smtp/data_reader.h"
#include "tests/unit/smtp/dialogue.h"

namespace sluice::smtp::test {
namespace {

Dialogue in_data(std::string_view content, std::string_view reply = "250 ok\r\n") {
  return opened({}) + with_message("a@a.test", "b@b.test", content, reply);
}

const std::string kSmuggled =
    "MAIL FROM:<evil@e.test>\r\nRCPT TO:<victim@v.test>\r\nDATA\r\nSubject: fake\r\n\r\n"
    "smuggled SIGNATURE\r\n.\r\n";

TEST(SmtpCases, A12_AmbiguousEnds) {
  const std::string nul(1, '\0');
  for (const std::string& end : {"\n.\n"s, "\n.\r\n"s, "\r\n.\n"s, "\n.\r"s, "\r.\r"s, "\r\n.\r"s,
                                 "\r\r\n.\r\r\n"s, "\r\n" + nul + ".\r\n", "\r\n." + nul + "\r\n",
                                 "\r.\n"s, "\n" + nul + "." + nul + "\n", "\r.\r\n"s}) {
    SCOPED_TRACE(testing::PrintToString(end));
    const std::string content = "x" + end + kSmuggled;
    const Recorder r = play(in_data(content) + Dialogue{C("QUIT\r\n"), S("221 bye\r\n")});
    // Strictly one message.
    ASSERT_EQ(r.messages.size(), 1u);
    EXPECT_EQ(r.messages[0].wire, content.substr(0, content.size() - 3));
    EXPECT_TRUE(r.has(Anomaly::ambiguous_eod));
    EXPECT_TRUE(r.has(Anomaly::smuggled_commands));
    ASSERT_EQ(r.smuggled_envelopes.size(), 1u);
    EXPECT_EQ(r.smuggled_envelopes[0], "1 evil@e.test victim@v.test");
    EXPECT_EQ(r.smuggled, "Subject: fake\r\n\r\nsmuggled SIGNATURE\r\n");
    EXPECT_EQ(r.transactions.size(), 1u);
    EXPECT_EQ(r.verbs.back(), Verb::quit);
  }
}

TEST(SmtpCases, A12_EveryCutOfEveryVariant) {
  for (const std::string& end : {"\n.\n"s, "\n.\r\n"s, "\r\n.\n"s, "\n.\r"s, "\r.\r"s, "\r\n.\r"s,
                                 "\r\r\n.\r\r\n"s, "\r\n\0.\r\n"s}) {
    const Dialogue dialogue = in_data("x" + end + kSmuggled);
    Recorder uncut;
    run(uncut, dialogue, whole());
    for (std::size_t at = 1; at < 20; ++at) {
      Dialogue cut = dialogue;
      const Turn content = cut[9];
      ASSERT_EQ(content.direction, Direction::to_server);
      cut[9].octets = content.octets.substr(0, at);
      cut.insert(cut.begin() + 10, C(content.octets.substr(at)));
      Recorder other;
      run(other, cut, whole());
      EXPECT_EQ(other.faults, "");
      EXPECT_EQ(uncut.transcript(), other.transcript()) << at;
    }
  }
}

TEST(SmtpCases, A12_SmuggledByBdat) {
  const Recorder r =
      play(in_data("x\n.\nMAIL FROM:<e@e.test>\nRCPT TO:<v@v.test>\n"
                   "BDAT 9 LAST\nSIGNATUREand more\r\n.\r\n"));
  EXPECT_EQ(r.smuggled_envelopes.size(), 1u);
  EXPECT_EQ(r.smuggled, "SIGNATURE");
}

TEST(SmtpCases, A12_SmuggledWithoutEnvelopeIsOnlyAmbiguous) {
  const Recorder r = play(in_data("x\n.\nsome more text\nQUIT\n\r\n.\r\n"));
  EXPECT_TRUE(r.has(Anomaly::ambiguous_eod));
  EXPECT_FALSE(r.has(Anomaly::smuggled_commands));
  EXPECT_EQ(r.messages.at(0).text, "x\n.\nsome more text\nQUIT\n\r\n");
}

// A dot line that is no end under any reading.
TEST(SmtpCases, A12_NoFalseAlarm) {
  const Recorder r =
      play(in_data("a\r\n..\r\nb.\r\n.c\r\n ..\r\nd \n.e\n..\r\n. \r\nx.\r.y\r\n\r\n.\r\n"));
  EXPECT_FALSE(r.has(Anomaly::ambiguous_eod));
  EXPECT_TRUE(r.has(Anomaly::bare_lf));
  EXPECT_TRUE(r.has(Anomaly::bare_cr));
  EXPECT_EQ(r.messages.at(0).wire,
            "a\r\n..\r\nb.\r\n.c\r\n ..\r\nd \n.e\n..\r\n. \r\nx.\r.y\r\n\r\n");
}

TEST(SmtpCases, A13_StuffingAndEndsOverBorders) {
  struct Case {
    std::string wire, text;
  };
  for (const Case& c :
       {Case{"a\r\n..\r\nb\r\n", "a\r\n.\r\nb\r\n"}, Case{"..hello\r\n", ".hello\r\n"},
        Case{"..\r\n", ".\r\n"}, Case{".x\r\n", "x\r\n"}, Case{"", ""}, Case{"...\r\n", "..\r\n"},
        Case{"a\r\n.b\r\n..c\r\n", "a\r\nb\r\n.c\r\n"}, Case{"\r\n", "\r\n"},
        Case{"a\r\n\r\n", "a\r\n\r\n"},
        Case{std::string(700, 'q') + "\r\n..\r\n", std::string(700, 'q') + "\r\n.\r\n"}}) {
    SCOPED_TRACE(c.wire);
    const Dialogue dialogue = in_data(c.wire + ".\r\n");
    const Recorder r = play(dialogue);
    ASSERT_EQ(r.messages.size(), 1u);
    EXPECT_EQ(r.messages[0].text, c.text);
    EXPECT_EQ(r.messages[0].wire, c.wire);
    EXPECT_EQ(r.messages[0].end, MessageEnd::complete);
    EXPECT_FALSE(r.has(Anomaly::ambiguous_eod));
  }
  // CRLF.CRLF cut in all 16 ways.
  for (unsigned mask = 0; mask < 16; ++mask) {
    Dialogue d = opened({}) + with_message("a@a.test", "b@b.test", "x");
    const Turn reply = d.back();
    d.pop_back();
    std::string part;
    for (unsigned i = 0; i < 5; ++i) {
      part += "\r\n.\r\n"[i];
      if (i == 4 || (mask >> i & 1)) {
        d.push_back(C(part));
        part.clear();
      }
    }
    d.push_back(reply);
    Recorder r;
    run(r, d, whole());
    ASSERT_EQ(r.messages.size(), 1u);
    EXPECT_EQ(r.messages[0].text, "x\r\n");
    EXPECT_EQ(r.transactions.at(1).ends.at(0).first, 250);
  }
}

TEST(SmtpSession, LargeSpansAreViews) {
  std::string body;
  for (int i = 0; i < 500; ++i) body += std::string(70, 'a') + "\r\n";
  Recorder r;
  run(r, in_data(body + ".\r\n"), whole());
  EXPECT_EQ(r.data_calls, 1);
  EXPECT_EQ(r.messages.at(0).text, body);
}

TEST(SmtpCases, A19_NulIsContent) {
  const std::string body = "safe\0SIGNATURE\r\n"s + std::string(1 << 16, '\0') + "\r\n";
  const Recorder r = play(in_data(body + ".\r\n"));
  EXPECT_EQ(r.messages.at(0).text, body);
  const Recorder command = play(opened({C("NOOP a\0b\r\n"s), S("250 ok\r\n")}));
  EXPECT_TRUE(command.has(Anomaly::nul));
}

TEST(SmtpCases, A23_RsetBehindDataIsContent) {
  const Recorder one = play(opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n"),
                                    S("250 a\r\n250 b\r\n354 go\r\n"), C("RSET\r\n")}));
  ASSERT_EQ(one.messages.size(), 1u);
  EXPECT_EQ(one.messages[0].text, "RSET\r\n");
  EXPECT_EQ(one.messages[0].end, MessageEnd::aborted);
  EXPECT_EQ(one.transactions.at(1).ends.at(0).first, 0);

  const Recorder two =
      play(opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nRSET\r\n"),
                   S("250 a\r\n250 b\r\n354 go\r\n")}));
  ASSERT_EQ(two.messages.size(), 1u);
  EXPECT_EQ(two.messages[0].text, "RSET\r\n");
  EXPECT_EQ(two.messages[0].end, MessageEnd::aborted);

  const Recorder three = play(opened({C("QUIT\r\nQUIT\r\n"), S("221 bye\r\n")}));
  EXPECT_EQ(three.messages.size(), 0u);
  const Recorder none = play(opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n"),
                                     S("250 a\r\n250 b\r\n354 go\r\n")}));
  EXPECT_EQ(none.messages.at(0).end, MessageEnd::aborted);
}

TEST(SmtpCases, F12_BareLfDialogue) {
  const Recorder r = play(
      Dialogue{S("220 mx\n"), C("EHLO c\n"), S("250 mx\n"), C("MAIL FROM:<a@a.test>\n"),
               S("250 ok\n"), C("RCPT TO:<b@b.test>\n"), S("250 ok\n"), C("DATA\n"), S("354 go\n"),
               C("alarm\nzone 3\n\r\n.\r\n"), S("250 ok\n"), C("QUIT\n"), S("221 bye\n")});
  EXPECT_EQ(r.anomalies, (std::set<std::string>{"bare-lf"}));
  EXPECT_EQ(r.messages.at(0).text, "alarm\nzone 3\n\r\n");
  EXPECT_EQ(r.transactions.at(1).ends.at(0).first, 250);
  EXPECT_EQ(r.verbs.back(), Verb::quit);
}

TEST(SmtpCases, F12_EndsInLfDotLfAndWaits) {
  for (const std::string& end : {"\n.\n"s, "\n.\r\n"s, "\r\n.\n"s, "\r\n.\r"s, "\r.\r"s}) {
    SCOPED_TRACE(testing::PrintToString(end));
    const Recorder r =
        play(in_data("alarm" + end, "250 accepted\r\n") +
             Dialogue{C("MAIL FROM:<c@c.test>\n"), S("250 ok\r\n"), C("QUIT\n"), S("221 bye\r\n")});
    ASSERT_EQ(r.messages.size(), 1u);
    EXPECT_EQ(r.messages[0].end, MessageEnd::complete);
    EXPECT_EQ(r.transactions.at(1).ends.at(0).second, "accepted");
    EXPECT_EQ(r.transactions.at(2).mailbox, "c@c.test");
    EXPECT_EQ(r.transactions.at(2).mail_code, 250);
    EXPECT_FALSE(r.has(Anomaly::smuggled_commands));
    EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));
  }
}

// The server shows that it ended the message at the false end while commands are on the way.
TEST(SmtpCases, F12_StateFollowsTheServer) {
  const Recorder r =
      play(in_data("x\n.\nMAIL FROM:<c@c.test>\r\nRCPT TO:<d@d.test>\r\n",
                   "250 accepted\r\n250 m\r\n250 r\r\n") +
           Dialogue{C("DATA\r\n"), S("354 go\r\n"), C("inner\r\n.\r\n"), S("250 inner\r\n")});
  EXPECT_TRUE(r.has(Anomaly::smuggled_commands));
  ASSERT_EQ(r.messages.size(), 2u);
  EXPECT_EQ(r.messages[1].text, "inner\r\n");
  EXPECT_EQ(r.transactions.at(1).ends.at(0).second, "accepted");
  EXPECT_EQ(r.transactions.at(2).mailbox, "c@c.test");
  EXPECT_EQ(r.transactions.at(2).ends.at(0).second, "inner");
}

TEST(SmtpCases, A17_ReplyInTheMiddleOfData) {
  const Recorder r = play(
      opened({}) +
      Dialogue{C("MAIL FROM:<a@a.test>\r\n"), S("250 ok\r\n"), C("RCPT TO:<b@b.test>\r\n"),
               S("250 ok\r\n"), C("DATA\r\n"), S("354 go\r\n"), C("one\r\n"), S("552 too big\r\n"),
               C("SIGNATURE\r\n.\r\n"), S("552 too big\r\n"), C("QUIT\r\n"), S("221 bye\r\n")});
  EXPECT_TRUE(r.has(Anomaly::unsolicited_reply));
  EXPECT_EQ(r.messages.at(0).text, "one\r\nSIGNATURE\r\n");
  EXPECT_EQ(r.messages.at(0).end, MessageEnd::complete);
  EXPECT_EQ(r.transactions.at(1).ends.at(0).first, 552);
}

// --- stop ----------------------------------------------------------------------------------------

struct Stopped {
  std::size_t excluded;
  std::uint32_t owed;
  Recorder recorder;
};
Stopped stop(const Dialogue& dialogue, const Cut& cut, bool ambiguous = false, bool obey = true) {
  Stopped s{0, 0, {}};
  (ambiguous ? s.recorder.at_ambiguous : s.recorder.at_end) = [](TransactionId) {
    return MessageVerdict::stop;
  };
  std::size_t sent = 0;
  for (const Turn& t : dialogue)
    if (t.direction == Direction::to_server) sent += t.octets.size();
  Options options{.finish = false};
  options.limits.stop_at_ambiguous_eod = obey;
  const std::size_t accepted =
      run(s.recorder, dialogue, cut, options, [&](const Session& x) { s.owed = x.replies_owed(); });
  EXPECT_EQ(s.recorder.faults, "");
  s.excluded = sent - accepted;
  return s;
}

TEST(SmtpStop, DataExcludesTheEndLine) {
  Dialogue d = in_data("bad\r\n.\r\n");
  d.pop_back();
  EXPECT_EQ(stop(d, whole()).excluded, 3u);
  EXPECT_EQ(stop(d, whole()).owed, 0u);
  EXPECT_EQ(stop(d, pieces(1)).excluded, 1u);  // the LF alone
  d.back().octets += "MAIL FROM:<c@c.test>\r\n";
  EXPECT_EQ(stop(d, whole()).excluded, 3u + 22u);
  EXPECT_EQ(stop(d, pieces(1)).excluded, 1u + 22u);
  EXPECT_EQ(stop(d, whole()).recorder.transactions.size(), 1u);
}

TEST(SmtpStop, EarlyDataOwesTheRepliesBefore) {
  Dialogue d = opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nbad\r\n.\r\n")});
  Stopped s = stop(d, whole());
  EXPECT_EQ(s.owed, 3u);
  EXPECT_EQ(s.excluded, 3u);
  d.push_back(S("250 ok\r\n250 ok\r\n354 go\r\n"));
  s = stop(d, whole());
  EXPECT_EQ(s.owed, 0u);
}

TEST(SmtpStop, BdatExcludesTheLastOctet) {
  Dialogue d = opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n"),
                       S("250 ok\r\n250 ok\r\n"), C("BDAT 3\r\nbadBDAT 4 LAST\r\n5678NOOP\r\n")});
  for (const Cut& cut : {whole(), pieces(1), random_pieces(3)}) {
    const Stopped s = stop(d, cut);
    EXPECT_EQ(s.excluded, 1u + 6u);
    EXPECT_EQ(s.owed, 1u);  // of the first chunk
    EXPECT_EQ(s.recorder.messages.at(0).text, "bad5678");
  }
  d.push_back(S("250 3\r\n"));
  EXPECT_EQ(stop(d, whole()).owed, 0u);
}

TEST(SmtpStop, BdatZeroLastExcludesTheEndOfItsLine) {
  const Dialogue d =
      opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n"), S("250 ok\r\n250 ok\r\n"),
              C("BDAT 3\r\nbad"), S("250 3\r\n"), C("BDAT 0 LAST\r\n")});
  for (const Cut& cut : {whole(), pieces(1), random_pieces(3)}) {
    EXPECT_EQ(stop(d, cut).excluded, 1u);
    EXPECT_EQ(stop(d, cut).owed, 0u);
  }
}

// What another reading was told of the line does not depend on the cuts.
TEST(SmtpStop, BdatZeroLastBehindDataBetweenChunks) {
  const Dialogue d =
      opened({C("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n"), S("250 ok\r\n250 ok\r\n"),
              C("BDAT 3\r\nbad"), S("250 3\r\n"), C("DATA\r\ntext\r\nBDAT 0 LAST\r\n")});
  const std::string told = stop(d, whole()).recorder.transcript();
  EXPECT_NE(told.find("BDAT 0 LAST\r"), std::string::npos) << told;
  for (const Cut& cut : {pieces(1), random_pieces(3)})
    EXPECT_EQ(stop(d, cut).recorder.transcript(), told);
}

TEST(SmtpStop, AmbiguousEnd) {
  for (const auto& [end, excluded, at_octets] : {std::tuple{"\n.\n"s, 2u, 1u},
                                                 {"\r\n.\n"s, 2u, 1u},
                                                 {"\n.\r\n"s, 3u, 2u},
                                                 {"\r.\r"s, 2u, 1u},
                                                 {"\r\n.\r"s, 2u, 1u},
                                                 {"\r\n\0.\0\n"s, 3u, 1u}}) {
    SCOPED_TRACE(testing::PrintToString(end));
    Dialogue d = in_data("bad" + end);
    d.pop_back();
    EXPECT_EQ(stop(d, whole(), true).excluded, excluded);
    EXPECT_EQ(stop(d, pieces(1), true).excluded, at_octets);
    EXPECT_EQ(stop(d, whole(), true, false).excluded, 0u);
  }
  // A message that only ends as it should is asked about once, in one segment.
  Dialogue d = in_data("good\r\n.\r\n");
  Recorder r;
  run(r, d, whole());
  EXPECT_EQ(r.ambiguous_asked, 0);
}

// A DATA that will be refused, with a message behind it that the server will read as such.
TEST(SmtpStop, MessageOfTheOtherReading) {
  const std::string inner =
      "MAIL FROM:<c@c.test>\r\nRCPT TO:<d@d.test>\r\nBDAT 9 LAST\r\nSIGNATURE";
  const Dialogue d = opened({C("DATA\r\n" + inner)});
  const Stopped s = stop(d, whole(), true);
  EXPECT_EQ(s.excluded, 1u);
  EXPECT_EQ(s.recorder.smuggled, "SIGNATUR");
  EXPECT_EQ(s.recorder.smuggled_envelopes.at(0), "1 c@c.test d@d.test");
  const Stopped tls = stop(opened({C("STARTTLS\r\n" + inner)}), whole(), true);
  EXPECT_EQ(tls.excluded, 1u);
  const Stopped tolerated = stop(
      opened(
          {C("MAIL FROM:<c@c.test>\r\nRCPT TO:<d@d.test>\r\nBDAT  9 LAST\r\nSIGNATURENOOP\r\n")}),
      pieces(1), true);
  EXPECT_EQ(tolerated.excluded, 7u);
}

// --- urgent data --------------------------------------------------------------------------------

// `marked`: an octet in brackets is left out by the readings of `mask`.
Recorder play_marked(std::string_view marked, std::uint8_t mask, std::string_view reply = {}) {
  LimitedResource memory(std::pmr::new_delete_resource(), 1 << 20);
  Recorder r;
  {
    Session session(Limits{}, r, &memory);
    for (const Turn& t : opened({}) + Dialogue{C("MAIL FROM:<a@a.test>\r\n"), S("250 ok\r\n"),
                                               C("RCPT TO:<b@b.test>\r\n"), S("250 ok\r\n"),
                                               C("DATA\r\n"), S("354 go\r\n")}) {
      if (t.direction == Direction::to_server)
        session.client(as_bytes(t.octets));
      else
        session.server(as_bytes(t.octets));
    }
    for (std::size_t at = 0; at < marked.size();) {
      const bool urgent = marked[at] == '[';
      if (urgent) ++at;
      std::size_t end = urgent ? at + 1 : std::min(marked.find('[', at), marked.size());
      session.client(as_bytes(marked.substr(at, end - at)), urgent ? mask : std::uint8_t{0});
      at = urgent ? end + 1 : end;
    }
    session.server(as_bytes(reply));
    session.finish();
  }
  EXPECT_EQ(r.faults, "");
  return r;
}

TEST(SmtpUrgent, EndThatOneReadingHasIsAmbiguous) {
  const std::string next = "MAIL FROM:<c@c.test>\r\nRCPT TO:<d@d.test>\r\nDATA\r\ny\r\n";
  for (const std::string_view end :
       {"\r\n[X].\r\n"sv, "\r\n.[X]\r\n"sv, "\r\n.\r[X]\n"sv, "\r[X]\n.\r\n"sv, "\r\n[.]\r\n"sv,
        "\r\n.[\r]\n"sv, "[\r]\n.\r\n"sv, "\r[\n].\r\n"sv, "\r\n[.].\r\n"sv, "\r\n[X][Y].\r\n"sv}) {
    for (const std::uint8_t mask : {std::uint8_t{1}, std::uint8_t{4}, std::uint8_t{7}}) {
      SCOPED_TRACE(std::string(end) + " " + std::to_string(mask));
      const std::string text = "x" + std::string(end) + next;
      // The server says nothing: content goes on, and what follows was also read as commands.
      const Recorder open = play_marked(text + ".\r\n", mask);
      ASSERT_EQ(open.messages.size(), 1u);
      EXPECT_EQ(open.messages[0].end, MessageEnd::complete);
      EXPECT_TRUE(open.has(Anomaly::ambiguous_eod));
      EXPECT_TRUE(open.has(Anomaly::smuggled_commands));
      EXPECT_EQ(open.smuggled_envelopes, (std::vector<std::string>{"1 c@c.test d@d.test"}));
      EXPECT_GE(open.ambiguous_asked, 1);
      // It accepts the message: then that was its end.
      const Recorder ended = play_marked("x" + std::string(end), mask, "250 taken\r\n");
      ASSERT_EQ(ended.messages.size(), 1u);
      EXPECT_EQ(ended.messages[0].end, MessageEnd::complete);
      EXPECT_EQ(ended.transactions.at(1).ends.at(0), (std::pair<int, std::string>{250, "taken"}));
    }
  }
}

TEST(SmtpUrgent, EndThatAllReadingsHaveIsTheEnd) {
  for (const std::string_view text : {"x[Y]z\r\n.\r\n"sv, "[x]\r\n.\r\n"sv, "x\r\n[y]\r\n.\r\n"sv,
                                      "x\r\n..[y]\r\nz\r\n.\r\n"sv}) {
    for (const std::uint8_t mask : {std::uint8_t{1}, std::uint8_t{7}}) {
      const Recorder r = play_marked(text, mask, "250 taken\r\n");
      ASSERT_EQ(r.messages.size(), 1u) << text;
      EXPECT_EQ(r.messages[0].end, MessageEnd::complete) << text;
      EXPECT_FALSE(r.has(Anomaly::ambiguous_eod)) << text;
    }
  }
}

TEST(SmtpUrgent, TheMachineAloneIsTheReaders) {
  // Every text over the octets that matter, in the reader and in the machine.
  constexpr std::string_view kOctets("\r\n.\0x", 5);
  for (std::size_t number = 0; number < 5 * 5 * 5 * 5 * 5 * 5; ++number) {
    Recorder sink;
    sink.messages.push_back({.tx = 1});
    DataReader reader;
    reader.start();
    DataReader::State state = reader.state();
    std::size_t rest = number;
    for (int i = 0; i < 6; ++i, rest /= 5) {
      const auto octet = static_cast<std::uint8_t>(kOctets[rest % 5]);
      const DataReader::Event event = DataReader::advance(state, octet);
      DataReader::Event seen = DataReader::Event::none;
      // After CRLF.CR the reader tells before it takes the octet that is no LF.
      for (std::size_t taken = 0; taken == 0;) {
        const DataReader::Step step = reader.read(Bytes(&octet, 1), 1, sink);
        taken = step.consumed;
        if (step.event != DataReader::Event::none) seen = step.event;
      }
      ASSERT_EQ(seen, event) << number << ' ' << i;
      if (event == DataReader::Event::end) break;
      // The reader may not have left a state yet, when its octet was looked at but not used.
      ASSERT_EQ(reader.state(), state) << number << ' ' << i;
    }
  }
}

// What a DataReader makes of `text` when it is given `piece` octets at a time.
std::string read_in_pieces(std::string_view text, std::size_t piece) {
  Recorder sink;
  sink.messages.push_back({.tx = 1});
  DataReader reader;
  reader.start();
  std::string events;
  for (std::size_t at = 0; at < text.size();) {
    const DataReader::Step step = reader.read(as_bytes(text.substr(at, piece)), 1, sink);
    at += step.consumed;
    if (step.event == DataReader::Event::ambiguous) events += " ?" + std::to_string(at);
    if (step.event != DataReader::Event::end) continue;
    events += " end " + std::to_string(at);
    break;
  }
  events += reader.bare_lf() ? " LF" : "";
  events += reader.bare_cr() ? " CR" : "";
  return sink.messages[0].text + '|' + sink.messages[0].wire + events;
}

TEST(SmtpData, StretchesOfUsualLinesLikeOctets) {
  // What matters at each place of the stretches that are looked at together, and across two.
  constexpr std::string_view kOctets("\r\n.\0x", 5);
  for (std::size_t number = 0; number < 5 * 5 * 5 * 5; ++number) {
    std::string some;
    for (std::size_t rest = number, i = 0; i < 4; ++i, rest /= 5) some += kOctets[rest % 5];
    for (std::size_t at = 58; at < 134; ++at) {
      std::string text;
      while (text.size() < at)
        text += text.size() % 30 < 28 ? 'x' : text.size() % 30 == 28 ? '\r' : '\n';
      text += some + std::string(150, 'y') + "\r\n.\r\n";
      const std::string expected = read_in_pieces(text, 1);
      ASSERT_EQ(read_in_pieces(text, text.size()), expected) << number << " at " << at;
      ASSERT_EQ(read_in_pieces(text, 100), expected) << number << " at " << at;
    }
  }
}

TEST(SmtpCases, ContentAfterA354IsAMessageWhateverTheCommandWas) {
  const Recorder r = play(opened({C("MAIL FROM:<a@a.test>\r\n"), S("250 ok\r\n"),
                                  C("RCPT TO:<b@b.test>\r\n"), S("250 ok\r\n"), C("DA\bTA\r\n"),
                                  S("354 go\r\n"), C("text\r\n.\r\n"), S("250 taken\r\n")}));
  ASSERT_EQ(r.messages.size(), 1u);
  EXPECT_EQ(r.messages[0].text, "text\r\n");
  EXPECT_EQ(r.transactions.at(1).ends.at(0).first, 250);
}

// The whole flight of a smuggler, its strict end too, comes before the first reply: how many
// replies come tells whether the server took the second message.
TEST(SmtpEndings, A12_SmuggledInOneFlight) {
  const std::string second =
      "MAIL FROM:<s@s.test>\r\nRCPT TO:<t@t.test>\r\nDATA\r\nSubject: y\r\n\r\nsecond\r\n.\r\n";
  const std::string taken = "250 one\r\n250 ok\r\n250 ok\r\n354 go\r\n250 two\r\n";
  for (const std::string& end : {"\n.\n"s, "\n.\r\n"s, "\r\n.\n"s, "\r.\r"s, "\r\n.\r"s,
                                 "\r\n.\r\r\n"s, "\n.\r\r\r\n"s, "\r\n\0.\r\n"s}) {
    SCOPED_TRACE(end);
    const Dialogue flight = {C("MAIL FROM:<a@a.test>\r\n"),
                             S("250 ok\r\n"),
                             C("RCPT TO:<b@b.test>\r\n"),
                             S("250 ok\r\n"),
                             C("DATA\r\n"),
                             S("354 go\r\n"),
                             C("first" + end + second)};
    const Recorder strict = play(opened({}) + flight + Dialogue{S("250 one\r\n")} +
                                 with_message("c@c.test", "d@d.test", "third\r\n.\r\n"));
    ASSERT_EQ(strict.messages.size(), 2u);
    EXPECT_EQ(strict.messages[1].text, "third\r\n");
    EXPECT_EQ(strict.transactions.at(2).mailbox, "c@c.test");
    EXPECT_FALSE(strict.has(Anomaly::unsolicited_reply));

    for (const std::string& quit : {""s, "QUIT\r\n"s}) {
      Dialogue smuggled = opened({}) + flight;
      smuggled.back().octets += quit;
      smuggled.push_back(S(taken));
      smuggled.push_back(quit.empty() ? S("") : S("221 bye\r\n"));
      if (quit.empty())
        smuggled = smuggled + with_message("c@c.test", "d@d.test", "third\r\n.\r\n");
      const Recorder r = play(smuggled);
      ASSERT_EQ(r.messages.size(), quit.empty() ? 3u : 2u);
      EXPECT_EQ(r.messages[1].text, "Subject: y\r\n\r\nsecond\r\n");
      EXPECT_EQ(r.transactions.at(1).ends.at(0).second, "one");
      EXPECT_EQ(r.transactions.at(2).mailbox, "s@s.test");
      EXPECT_EQ(r.transactions.at(2).rcpts.at(0), "t@t.test");
      EXPECT_EQ(r.transactions.at(2).ends.at(0).second, "two");
      EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));
    }
  }
}

// A server that reads a bare LF as a line end has one message whose text speaks of commands and of
// a lone dot, and answers at the last of them: it did not take the first.
TEST(SmtpEndings, A12_TheEndAtWhichTheServerAnswers) {
  const std::string text = "x\r.\r\nMAIL FROM:<m@m.test>\nRCPT TO:<n@n.test>\nDATA\ny\n.\n";
  const Recorder r = play(opened({}) + with_message("a@a.test", "b@b.test", text) +
                          with_message("c@c.test", "d@d.test", "third\r\n.\r\n"));
  ASSERT_EQ(r.messages.size(), 2u);
  EXPECT_EQ(r.transactions.at(2).mailbox, "c@c.test");
  EXPECT_FALSE(r.has(Anomaly::unsolicited_reply));

  // And if it did, the number of its replies says so.
  const Recorder both = play(opened({}) +
                             with_message("a@a.test", "b@b.test", text,
                                          "250 one\r\n250 ok\r\n250 ok\r\n354 go\r\n250 two\r\n") +
                             with_message("c@c.test", "d@d.test", "third\r\n.\r\n"));
  ASSERT_EQ(both.messages.size(), 3u);
  EXPECT_EQ(both.transactions.at(2).mailbox, "m@m.test");
  EXPECT_EQ(both.transactions.at(2).ends.at(0).second, "two");
  EXPECT_EQ(both.transactions.at(3).mailbox, "c@c.test");
  EXPECT_FALSE(both.has(Anomaly::unsolicited_reply));
}

// Postfix strips every CR at a line's end: what stands behind the first of them is no empty line,
// which would ask for a reply.
TEST(SmtpEndings, A12_CarriageReturnsBehindTheDot) {
  for (const std::string& end : {"\r\n.\r\r\n"s, "\n.\r\r\n"s, "\r\n.\r\r\r\n"s}) {
    SCOPED_TRACE(end);
    const Recorder r = play(opened({}) + with_message("a@a.test", "b@b.test", "x" + end) +
                            with_message("c@c.test", "d@d.test", "y\r\n.\r\n", "250 second\r\n"));
    ASSERT_EQ(r.messages.size(), 2u);
    EXPECT_EQ(r.transactions.at(2).ends.at(0).second, "second");
    EXPECT_EQ(r.transactions.at(2).mail_code, 250);
  }
}

}  // namespace
}  // namespace sluice::smtp::test
