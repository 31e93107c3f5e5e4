// Each action on the wire, each kind of order for a host, and second readings of a message.
#include <map>

#include "tests/unit/inspect/rig.h"

namespace sluice::test {
namespace {

// One message that holds XJS-SPAM-XJS; the server never answers it.
void say_spam(Conversation& talk, std::string_view more = {}) {
  begin_message(talk);
  talk.client(body("XJS-SPAM-XJS" + std::string(more)) + ".\r\n");
}

std::string rule(std::string_view action) {
  return std::string(action) +
         " smtp any any -> any any (msg:\"m\"; content:\"XJS-SPAM-XJS\"; sid:42; rev:1;)\n";
}

policy::HostRule order(policy::HostAction action) {
  return {.prefix = v4(192, 0, 2, 10), .length = 128, .action = action};
}

// What would be rejected is reset.
RigOptions resetting() {
  RigOptions options{.rules = rule("reject")};
  options.spec.groups.push_back(
      {.group = {.name = "default", .rule_reject = contract::Verdict::reset}, .members = {}});
  return options;
}

bool end_of_data_left(const Rig& rig) {
  return std::any_of(rig.left.begin(), rig.left.end(), [](const Left& l) {
    return l.out == Side::outside && l.kind != Left::Kind::dropped &&
           l.payload().find("\r\n.\r\n") != std::string::npos;
  });
}

TEST(Enforce, TempfailSaysFourHundred) {
  Rig rig({.rules = rule("tempfail")});
  Conversation talk;
  say_spam(talk);
  rig.send(talk.take());
  EXPECT_FALSE(end_of_data_left(rig));
  EXPECT_TRUE(rig.injected(Side::inside)[0].payload().starts_with("451 4.7.1 "));
  EXPECT_EQ(rig.events_of("smtp")[0]["sluice"]["verdict"], "tempfail");
}

TEST(Enforce, DropIsSilentForGood) {
  Rig rig({.rules = rule("drop")});
  Conversation talk;
  say_spam(talk);
  rig.send(talk.take());
  EXPECT_FALSE(end_of_data_left(rig));
  EXPECT_TRUE(rig.injected(Side::inside).empty());
  EXPECT_TRUE(rig.injected(Side::outside).empty());
  talk.client("RSET\r\n");
  talk.server("250 ok\r\n");
  rig.send(talk.take());
  const auto& l = rig.left;
  EXPECT_EQ(l[l.size() - 4].kind, Left::Kind::dropped) << "what the client says from then on";
  EXPECT_EQ(l[l.size() - 2].kind, Left::Kind::forwarded) << "the server's octets pass";
}

TEST(Enforce, ResetResetsBothEndsWithoutAWord) {
  Rig rig(resetting());
  Conversation talk;
  say_spam(talk);
  rig.send(talk.take());
  EXPECT_FALSE(end_of_data_left(rig));
  const auto in = rig.injected(Side::inside);
  const auto out = rig.injected(Side::outside);
  ASSERT_EQ(in.size(), 1u);
  ASSERT_GE(out.size(), 1u) << "and one for each acknowledgement that still comes";
  EXPECT_TRUE(in[0].packet().flags & net::tcp_flag::rst);
  EXPECT_TRUE(out[0].packet().flags & net::tcp_flag::rst);
  EXPECT_EQ(in[0].packet().sequence, talk.next(Direction::to_client));
}

// Nobody acknowledges a RST: one that is lost must not leave the server in the middle of a message
// until its own patience ends.
TEST(Enforce, AResetThatIsLostIsSentAgain) {
  for (const bool reset : {false, true}) {
    Rig rig(reset ? resetting() : RigOptions{.rules = rule("reject")});
    Conversation talk;
    say_spam(talk);
    rig.send(talk.take());
    const auto resets = [&](Side side) {
      std::vector<std::uint32_t> sequences;
      for (const Left& l : rig.injected(side))
        if (l.packet().flags & net::tcp_flag::rst) sequences.push_back(l.packet().sequence);
      return sequences;
    };
    const auto first = resets(Side::outside);
    ASSERT_FALSE(first.empty());
    rig.pass(4 * kSecond);
    const auto all = resets(Side::outside);
    ASSERT_EQ(all.size(), first.size() + 3);
    EXPECT_EQ(all.back(), first.back());
    EXPECT_EQ(resets(Side::inside).size(), reset ? 4u : 0u);
    rig.pass(20 * kSecond);
    EXPECT_EQ(resets(Side::outside).size(), all.size()) << "bounded";
  }
}

TEST(Enforce, ScoreReachesAThreshold) {
  RigOptions options{.rules =
                         "alert smtp any any -> any any (msg:\"a\"; content:\"XJS-SPAM\"; sid:1; "
                         "metadata: sluice_score 3.0;)\n"
                         "alert smtp any any -> any any (msg:\"b\"; content:\"SPAM-XJS\"; sid:2; "
                         "metadata: sluice_score 2.5;)\n"};
  options.spec.groups.push_back({.group = {.name = "default", .reject_score = 500}, .members = {}});
  Rig rig(options);
  Conversation talk;
  say_spam(talk);
  rig.send(talk.take());
  const Json event = rig.events_of("smtp")[0];
  EXPECT_EQ(event["smtp"]["outcome"], "blocked");
  EXPECT_DOUBLE_EQ(event["sluice"]["score"], 5.5);
  EXPECT_EQ(event["sluice"]["reason"], "score");
}

TEST(Enforce, PassRuleLetsTheMessageThrough) {
  Rig rig({.rules = rule("reject") +
                    "pass smtp any any -> any any (msg:\"p\"; content:\"Alice\"; sid:9;)\n"});
  Conversation talk;
  say_spam(talk);
  talk.server("250 ok\r\n");
  rig.send(talk.take());
  EXPECT_EQ(rig.dropped(), 0u);
  EXPECT_EQ(rig.events_of("smtp")[0]["smtp"]["outcome"], "accepted");
}

TEST(Enforce, AllowedHostIsNeverActedOn) {
  RigOptions options{.rules = rule("reject")};
  options.spec.hosts = {order(policy::HostAction::allow)};
  Rig rig(options);
  Conversation talk;
  say_spam(talk);
  talk.server("250 ok\r\n");
  rig.send(talk.take());
  EXPECT_EQ(rig.dropped(), 0u);
  EXPECT_EQ(rig.events_of("smtp")[0]["sluice"]["verdict"], "tag");
}

TEST(Enforce, BlockedHostsMailIsDroppedAndItsOtherTrafficIsNot) {
  RigOptions options;
  options.spec.hosts = {order(policy::HostAction::block)};
  Rig rig(options);
  Conversation talk;
  talk.open();
  rig.send(talk.take());
  EXPECT_EQ(rig.dropped(), 3u);
  Path web;
  web.server.port = 443;
  Conversation other({.path = web});
  other.open();
  rig.send(other.take());
  EXPECT_EQ(rig.dropped(), 3u);
  // Taken back: the next segment passes.
  rig.spec().hosts.clear();
  rig.publish();
  Path again;
  again.client.port = 40001;
  Conversation next({.path = again});
  next.open();
  rig.send(next.take());
  EXPECT_EQ(rig.dropped(), 3u);
}

TEST(Enforce, OrdersForHostsDoNothingInMonitorMode) {
  for (const auto action : {policy::HostAction::block, policy::HostAction::tarpit,
                            policy::HostAction::reject, policy::HostAction::tempfail}) {
    RigOptions options{.mode = policy::Mode::monitor};
    options.spec.hosts = {order(action)};
    Rig rig(options);
    Conversation talk;
    begin_message(talk);
    talk.client(body("honest") + ".\r\n");
    talk.server("250 ok\r\n");
    const auto frames = talk.take();
    rig.send(frames);
    EXPECT_EQ(rig.left.size(), frames.size());
    EXPECT_EQ(rig.dropped(), 0u);
  }
}

TEST(Enforce, TarpitHoldsTheServersRepliesAndLosesNone) {
  RigOptions options;
  options.spec.hosts = {order(policy::HostAction::tarpit)};
  Rig rig(options);
  Conversation talk;
  talk.open();
  talk.server("220 mx.test ESMTP\r\n");
  rig.send(talk.take());
  EXPECT_TRUE(rig.injected(Side::inside).empty());
  // The server sends it again; it is not held twice.
  talk.inject(Direction::to_client, talk.next(Direction::to_client) - 19, "220 mx.test ESMTP\r\n");
  rig.send(talk.take());
  rig.pass(7 * kSecond);
  EXPECT_TRUE(rig.injected(Side::inside).empty());
  rig.pass(2 * kSecond);
  const auto released = rig.injected(Side::inside);
  ASSERT_EQ(released.size(), 1u);
  EXPECT_EQ(released[0].payload(), "220 mx.test ESMTP\r\n");
}

TEST(Enforce, RefusalOnMplsUsesTheServersOwnLabels) {
  Path path;
  path.encapsulation.mpls = {100, 200};
  Rig rig({.rules = rule("reject")});
  Conversation talk({.path = path});
  say_spam(talk);
  rig.send(talk.take());
  EXPECT_FALSE(end_of_data_left(rig));
  ASSERT_FALSE(rig.injected(Side::inside).empty());
  EXPECT_TRUE(rig.injected(Side::inside)[0].payload().starts_with("550 "));
  EXPECT_TRUE(rig.injected(Side::inside)[0].packet().mpls);
}

TEST(Enforce, LmtpGetsARefusalForEachAcceptedRecipient) {  // RFC 2033 4.2
  Rig rig({.rules = rule("reject")});
  Conversation talk;
  talk.open();
  talk.server("220 store LMTP\r\n");
  talk.client("LHLO mx\r\n");
  talk.server("250-store\r\n250 PIPELINING\r\n");
  talk.client(
      "MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nRCPT TO:<c@b.test>\r\nRCPT "
      "TO:<d@b.test>\r\nDATA\r\n");
  talk.server("250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n");
  talk.client(body("XJS-SPAM-XJS") + ".\r\n");
  rig.send(talk.take());
  const std::string reply = rig.injected(Side::inside)[0].payload();
  EXPECT_EQ(std::count(reply.begin(), reply.end(), '\n'), 2) << reply;
}

TEST(Enforce, MessageIsStoppedAtAnEndThatOnlySomeServersSee) {  // case A12
  Rig rig({.rules = rule("reject")});
  Conversation talk;
  begin_message(talk);
  rig.send(talk.take());
  talk.client(body("XJS-SPAM-XJS"));
  rig.send(talk.take());
  talk.client("\n.\n");
  rig.send(talk.take());
  const bool left = std::any_of(rig.left.begin(), rig.left.end(), [](const Left& l) {
    return l.out == Side::outside && l.kind == Left::Kind::forwarded && l.payload() == "\n.\n";
  });
  EXPECT_FALSE(left);
  EXPECT_TRUE(rig.injected(Side::inside)[0].payload().starts_with("550 "));
}

TEST(Enforce, LmtpIsReportedForEachRecipient) {  // RFC 2033 4.2
  struct Case {
    std::string_view replies;
    std::string_view outcome;
    Json accepted, refused;
    int code;
  };
  const auto refusal = [](std::string_view to, int code) {
    return Json{{"to", to}, {"code", code}};
  };
  const Json c = refusal("<c@b.test>", 550);
  for (const Case& t :
       {Case{"250 b\r\n250 d\r\n", "accepted", {"<b@b.test>", "<d@b.test>"}, Json::array({c}), 250},
        Case{"250 b\r\n552 full\r\n",
             "accepted",
             {"<b@b.test>"},
             {c, refusal("<d@b.test>", 552)},
             250},
        Case{"452 full\r\n250 d\r\n",
             "accepted",
             {"<d@b.test>"},
             {refusal("<b@b.test>", 452), c},
             250},
        Case{"452 full\r\n550 no\r\n",
             "refused",
             nullptr,
             {refusal("<b@b.test>", 452), c, refusal("<d@b.test>", 550)},
             452}}) {
    for (const bool chunks : {false, true}) {
      Rig rig;
      Conversation talk;
      talk.open();
      talk.server("220 store LMTP\r\n");
      talk.client("LHLO mx\r\n");
      talk.server("250-store\r\n250-CHUNKING\r\n250 PIPELINING\r\n");
      talk.client(
          "MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nRCPT TO:<c@b.test>\r\nRCPT "
          "TO:<d@b.test>\r\n");
      talk.server("250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n");
      if (chunks) {
        talk.client("BDAT 4 LAST\r\nxyz\n");
      } else {
        talk.client("DATA\r\n");
        talk.server("354 go\r\n");
        talk.client("xyz\r\n.\r\n");
      }
      talk.server(t.replies);
      talk.client("MAIL FROM:<x@a.test>\r\n");
      talk.server("250 ok\r\n");
      rig.send(talk.take());
      rig.finish();
      const auto events = rig.events_of("smtp");
      ASSERT_EQ(events.size(), 2u);
      const Json& smtp = events[0]["smtp"];
      EXPECT_EQ(smtp["outcome"], t.outcome) << t.replies;
      EXPECT_EQ(smtp.contains("rcpt_to") ? smtp["rcpt_to"] : Json(nullptr), t.accepted)
          << t.replies;
      EXPECT_EQ(smtp["rcpt_refused"], t.refused) << t.replies;
      EXPECT_EQ(smtp["reply"]["code"], t.code);
      EXPECT_TRUE(rig.anomalies().empty() ||
                  rig.anomalies() == std::vector<std::string>{"bad-header"});
    }
  }
}

TEST(Enforce, ClaimedClientIsToldAndDecidesNothing) {
  RigOptions options;
  options.spec.hosts = {order(policy::HostAction::block)};  // 192.0.2.10, who does not speak here
  Rig rig(options);
  Path path;
  path.client.address = v4(192, 0, 2, 11);
  Conversation talk({.path = path});
  talk.open();
  talk.client("PROXY TCP4 192.0.2.10 198.51.100.1 4000 25\r\n");
  talk.server("220 mx.test ESMTP\r\n");
  talk.client("EHLO client.test\r\n");
  talk.server("250 hi\r\n");
  talk.client("XCLIENT NAME=evil.test ADDR=192.0.2.10 HELO=h LOGIN=u@a.test\r\n");
  talk.server("220 mx.test ESMTP\r\n");
  talk.client("MAIL FROM:<a@a.test>\r\n");
  talk.server("250 ok\r\n");
  rig.send(talk.take());
  rig.finish();
  EXPECT_EQ(rig.dropped(), 0u);
  const auto events = rig.events_of("smtp");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0]["src_ip"], "192.0.2.11");
  EXPECT_EQ(events[0]["sluice"]["client"], Json({{"via", "xclient"},
                                                 {"addr", "192.0.2.10"},
                                                 {"name", "evil.test"},
                                                 {"helo", "h"},
                                                 {"login", "u@a.test"}}));
}

// Nothing that completes the message with `sign` has left to the server, and the client was told.
void expect_stopped(const Rig& rig, std::string_view sign, std::string_view what) {
  std::string left;
  for (const Left& l : rig.left)
    if (l.out == Side::outside && l.kind != Left::Kind::dropped) left += l.payload();
  const std::size_t at = left.find(sign);
  EXPECT_TRUE(at == std::string::npos || left.size() <= at + sign.size() + 4)
      << what << ": " << left;
  const auto events = rig.events_of("smtp");
  ASSERT_FALSE(events.empty()) << what;
  EXPECT_EQ(events.back()["smtp"]["outcome"], "blocked") << what;
}

TEST(Enforce, UrgentOctetInTheEndOfDataIsAnAmbiguousEnd) {  // cases A12, C09
  // The urgent octet is the one that one receiver leaves out, or the one that it needs.
  struct Ending {
    std::string_view before, urgent, after;
  };
  for (const Ending e :
       {Ending{"\r\n", "X", ".\r\n"}, Ending{"\r\n.", "X", "\r\n"}, Ending{"\r\n.\r", "X", "\n"},
        Ending{"\r\n", ".", "\r\n"}, Ending{"\r\n.", "\r", "\n"}, Ending{"\r\n.\r", "\n", ""}}) {
    for (const bool smuggled : {false, true}) {
      SCOPED_TRACE(std::string(e.before) + e.urgent.data() + (smuggled ? " smuggled" : ""));
      Rig rig({.rules = rule("reject")});
      Conversation talk;
      begin_message(talk);
      talk.client(body(smuggled ? "fine" : "XJS-SPAM-XJS") + std::string(e.before));
      TcpSegment urgent = talk.segment_at(Direction::to_server, talk.next(Direction::to_server),
                                          e.urgent, tcp_flags::kAck | tcp_flags::kUrg);
      urgent.urgent = 1;
      talk.inject(Direction::to_server, urgent);
      talk.set_next(Direction::to_server, talk.next(Direction::to_server) + 1);
      talk.client(std::string(e.after) +
                  (smuggled ? "MAIL FROM:<e@e.test>\r\nRCPT TO:<v@v.test>\r\nDATA\r\n"
                              "XJS-SPAM-XJS\r\n.\r\n"
                            : ""));
      rig.send(talk.take());
      const auto anomalies = rig.anomalies();
      if (smuggled) {  // else it may have been stopped at CRLF.CR already
        EXPECT_TRUE(std::count(anomalies.begin(), anomalies.end(), "urg"));
        EXPECT_TRUE(std::count(anomalies.begin(), anomalies.end(), "ambiguous-eod"));
      }
      expect_stopped(rig, smuggled ? "SPAM-XJS\r\n.\r\n" : "\r\n.\r\n", "");
    }
  }
}

// The message goes on behind an end that only some servers see, and so do its scans: contents on
// both sides of it, and one across it, are found as without it.
TEST(Enforce, AmbiguousEndInsideWhatARuleLooksFor) {
  for (const std::string_view end : {"\n.\r\n", "\n.\n", "\r.\r", "\r\n.\r", "\r\n.\n"}) {
    for (const std::size_t cut : {1u, 3u, 1000u}) {
      SCOPED_TRACE(Json(end).dump() + std::to_string(cut));
      Rig rig({.rules =
                   "reject smtp any any -> any any (msg:\"r\"; content:\"first\"; "
                   "content:\"second\"; distance:0; sid:1;)\n"
                   "alert smtp any any -> any any (msg:\"s\"; content:\"x|0a|.\"; "
                   "content:\"last\"; sid:2;)\n"
                   "alert smtp any any -> any any (msg:\"t\"; content:\"x|0a|.|0a|y\"; sid:3;)\n"
                   "alert smtp any any -> any any (msg:\"u\"; content:!\"last\"; sid:4;)\n"});
      Conversation talk({.segment_size = cut});
      begin_message(talk);
      talk.client("first x" + std::string(end) + "y second last\r\n.\r\n");
      rig.send(talk.take());
      std::set<int> found;
      for (const Json& alert : rig.events_of("alert"))
        found.insert(alert["alert"]["signature_id"].get<int>());
      std::set<int> expected = {1};
      if (end.starts_with("\n.")) expected.insert(2);
      if (end == "\n.\n") expected.insert(3);
      EXPECT_EQ(found, expected);
      expect_stopped(rig, "second last\r\n.\r\n", "");
    }
  }
}

// What stands in front of a message without content is looked at before it ends, however it is cut.
TEST(Enforce, CommandsInFrontOfAnEmptyMessage) {
  for (const std::size_t cut : {1u, 4u, 1000u}) {
    Rig rig({.rules = rule("reject")});
    Conversation talk({.segment_size = cut});
    talk.open();
    talk.server("220 mx\r\n");
    talk.client("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA XJS-SPAM-XJS\r\n.\r\n");
    rig.send(talk.take());
    expect_stopped(rig, ".\r\n", std::to_string(cut));
  }
}

// A client that pipelines: the end of an innocent message stands in front of the condemned one, in
// the segment that is cut. Lost behind us and sent again, or come after what follows it, its front
// reaches the server all the same.
TEST(Enforce, TheFrontOfAHeldSegmentReachesTheServer) {
  const std::string innocent = "BDAT 7 LAST\r\nfine...";
  const std::string envelope = "MAIL FROM:<c@c.test>\r\nRCPT TO:<d@d.test>\r\n";
  const std::string condemned = "BDAT 14 LAST\r\nXJS-SPAM-XJS\r\n";
  for (const bool reordered : {false, true}) {
    for (const std::string_view action : {"reject", "drop"}) {
      SCOPED_TRACE(std::string(action) + (reordered ? " reordered" : " sent again"));
      Rig rig({.rules = rule(action)});
      Conversation talk({.segment_size = reordered ? 40u : 1000u});
      talk.open();
      talk.server("220 mx.test ESMTP\r\n");
      talk.client("EHLO client.test\r\n");
      talk.server(kEhloReply);
      talk.client("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n");
      talk.server("250 ok\r\n250 ok\r\n");
      rig.send(talk.take());
      const std::size_t begin = rig.left.size();
      talk.client(innocent + envelope + condemned);
      std::vector<SentFrame> flight = talk.take();
      std::erase_if(flight, [](const SentFrame& f) { return f.side == Side::outside; });
      if (reordered) std::reverse(flight.begin(), flight.end());
      rig.send(flight);
      rig.send(flight);
      // As the server's TCP puts it together from what came, the first time and the second.
      for (const std::size_t from : {begin, begin + flight.size()}) {
        std::map<std::uint32_t, std::string> segments;
        for (std::size_t i = from; i < from + flight.size(); ++i) {
          if (rig.left[i].kind == Left::Kind::dropped) continue;
          segments[rig.left[i].packet().sequence] = rig.left[i].payload();
        }
        std::string stream;
        const std::uint32_t first = segments.begin()->first;
        for (const auto& [sequence, octets] : segments)
          if (sequence - first <= stream.size())
            stream = stream.substr(0, sequence - first) + octets;
        EXPECT_TRUE(stream.starts_with(reordered ? innocent : innocent + envelope)) << stream;
        EXPECT_FALSE(stream.ends_with("XJS\r\n")) << stream;
      }
    }
  }
}

// What another reading takes for a message is read as one: its parts are decoded and looked at, and
// nothing that completes it leaves.
TEST(Enforce, MessageOfAnotherReadingIsDecoded) {
  // "aaXJS-SPAM-XJSaa"
  const std::string mail =
      "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n"
      "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n"
      "YWFYSlMtU1BBTS1YSlNhYQ==\r\n--q--\r\n";
  const std::string envelope = "MAIL FROM:<e@e.test>\r\nRCPT TO:<v@v.test>\r\n";
  const std::string chunk = std::to_string(mail.size());
  struct Case {
    std::string said, sign;
  };
  for (const Case& c :
       {Case{"fine\n.\r\n" + envelope + "DATA\r\n" + mail + ".\r\n", "--q--\r\n.\r\n"},
        Case{"fine\n.\n" + envelope + "BDAT " + chunk + " LAST\r\n" + mail, "--q--\r\n"},
        Case{"fine\r\n.\r\n" + envelope + "BDAT " + chunk + " ;LAST\r\n" + mail + "BDAT 0 LAST\r\n",
             "--q--\r\nBDAT 0 LAST\r\n"},
        Case{"fine\r\n.\r\n" + envelope + "BDAT 1\r\nNDATA\r\n" + mail + ".\r\n",
             "--q--\r\n.\r\n"}}) {
    for (const std::size_t cut : {1u, 100u, 1460u}) {
      SCOPED_TRACE(c.said.substr(0, 90) + std::to_string(cut));
      Rig rig({.rules = "reject smtp any any -> any any (msg:\"m\"; sluice.text; "
                        "content:\"XJS-SPAM-XJS\"; sid:42;)\n"});
      Conversation talk({.segment_size = cut});
      talk.open();
      talk.server("220 mx\r\n");
      talk.client("EHLO c\r\n");
      talk.server("250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
      talk.client(envelope + "DATA\r\n");
      talk.server("250 ok\r\n250 ok\r\n354 go\r\n");
      talk.client("S: s\r\n\r\n" + c.said);
      rig.send(talk.take());
      expect_stopped(rig, c.sign, "");
    }
  }
}

// A RST that nobody minds, in the middle of a message that only another reading has: it goes on,
// and so does its scan.
TEST(Enforce, ResetInAMessageOfAnotherReading) {
  Rig rig({.rules = "reject smtp any any -> any any (msg:\"m\"; sluice.text; "
                    "content:\"XJS-SPAM-XJS\"; sid:42;)\n"});
  Conversation talk;
  talk.open();
  talk.server("220 mx\r\n");
  talk.client("EHLO c\r\n");
  talk.server("250-mx\r\n250 CHUNKING\r\n");
  talk.client("BDAT 400 ;\r\nSubject: x\r\n\r\nXJS-SP");
  talk.reset(Direction::to_server);
  talk.client("AM-XJS" + std::string(400, ' '));
  talk.client("\r\n");
  rig.send(talk.take());
  rig.finish();
  const auto alerts = rig.events_of("alert");
  ASSERT_EQ(alerts.size(), 1u);
  EXPECT_EQ(alerts[0]["alert"]["signature_id"], 42);
}

TEST(Enforce, ServerTellsWhichReadingOfUrgentDataItHas) {
  for (const bool ends : {true, false}) {
    Rig rig({.rules = rule("reject")});
    Conversation talk;
    begin_message(talk);
    talk.client(body("fine"));
    TcpSegment urgent = talk.segment_at(Direction::to_server, talk.next(Direction::to_server), "X",
                                        tcp_flags::kAck | tcp_flags::kUrg);
    urgent.urgent = 1;
    talk.inject(Direction::to_server, urgent);
    talk.set_next(Direction::to_server, talk.next(Direction::to_server) + 1);
    talk.client(".\r\n");
    if (ends) {
      talk.server("250 2.0.0 taken\r\n");
      talk.client("MAIL FROM:<c@c.test>\r\n");
      talk.server("250 ok\r\n");
    } else {
      talk.client("and on\r\n.\r\n");
      talk.server("250 2.0.0 taken\r\n");
    }
    rig.send(talk.take());
    rig.finish();
    EXPECT_EQ(rig.dropped(), 0u);
    const auto events = rig.events_of("smtp");
    ASSERT_EQ(events.size(), ends ? 2u : 1u);
    EXPECT_EQ(events[0]["smtp"]["outcome"], "accepted");
    EXPECT_EQ(events[0]["smtp"]["reply"]["text"], "2.0.0 taken");
    EXPECT_EQ(events[0]["smtp"]["size"], body("fine").size() + (ends ? 4 : 4 + 8));
  }
}

TEST(Enforce, MessageIsStoppedThatOnlyASecondReadingHas) {  // cases A14, A04
  const std::string message =
      "MAIL FROM:<e@e.test>\r\nRCPT TO:<v@v.test>\r\nDATA\r\nXJS-SPAM-XJS\r\n.\r\n";
  const std::string chunk = "XJS-SPAM-XJS\r\n";
  const std::pair<std::string, std::string> tries[] = {
      {"STARTTLS\r\n" + message, "SPAM-XJS\r\n.\r\n"},
      {"STARTTLS\r\nRSET\r\n" + message, "SPAM-XJS\r\n.\r\n"},
      {"X-ANONYMOUSTLS\r\n" + message, "SPAM-XJS\r\n.\r\n"},
      {"MAIL FROM:<e@e.test>\r\nRCPT TO:<v@v.test>\r\nBDAT  14 LAST\r\n" + chunk, chunk},
      {"MAIL FROM:<e@e.test>\r\nRCPT TO:<v@v.test>\r\nBDAT\t14 LAST\r\n" + chunk, chunk},
      {"MAIL FROM:<e@e.test>\r\nRCPT TO:<v@v.test>\r\nBDAT +14 LAST\r\n" + chunk, chunk},
      {"MAIL FROM:<e@e.test>\r\nRCPT TO:<v@v.test>\r\nBDAT 14  LAST\r\n" + chunk, chunk},
      {"MAIL FROM:<e@e.test>\r\nRCPT TO:<v@v.test>\r\nBDAT 014 LAST\r\n" + chunk, chunk},
      {"MAIL FROM:<e@e.test>\r\nRCPT TO:<v@v.test>\r\nBDAT 14\r\n" + chunk + "BDAT  0 LAST\r\n",
       "0 LAST\r\n"},
  };
  for (const auto& [text, sign] : tries) {
    for (const std::size_t size : {std::size_t{1460}, std::size_t{1}}) {
      Rig rig({.rules = rule("reject")});
      Conversation talk({.segment_size = size});
      talk.open();
      talk.server("220 mx.test ESMTP\r\n");
      talk.client("EHLO client.test\r\n");
      talk.server("250-mx.test\r\n250-CHUNKING\r\n250 STARTTLS\r\n");
      talk.client(text);
      talk.client("QUIT\r\n");
      rig.send(talk.take());
      std::string left;
      for (const Left& l : rig.left)
        if (l.out == Side::outside && l.kind != Left::Kind::dropped) left += l.payload();
      EXPECT_EQ(left.find(sign), std::string::npos) << text;
      const auto events = rig.events_of("smtp");
      ASSERT_EQ(events.size(), 1u) << text;
      EXPECT_EQ(events[0]["smtp"]["outcome"], "blocked") << text;
      EXPECT_EQ(events[0]["smtp"]["mail_from"], "<e@e.test>") << text;
      EXPECT_EQ(events[0]["smtp"]["rcpt_to"], Json({"<v@v.test>"})) << text;
      EXPECT_EQ(events[0]["sluice"]["verdict"], "reject");
    }
  }
}

TEST(Enforce, SmugglingIsStoppedAsThePolicySays) {
  for (const auto policy : {policy::Exception::fail_open, policy::Exception::fail_closed}) {
    RigOptions options;
    options.spec.exceptions.smuggling = policy;
    Rig rig(options);
    Conversation talk;
    begin_message(talk);
    talk.client(body("fine") + "\n.\nMAIL FROM:<e@e.test>\r\nRCPT TO:<v@v.test>\r\nDATA\r\nx\n.\n");
    talk.client("NOOP\r\n");
    rig.send(talk.take());
    EXPECT_EQ(rig.dropped() > 0, policy == policy::Exception::fail_closed);
    if (policy == policy::Exception::fail_closed) {
      EXPECT_EQ(rig.events_of("smtp")[0]["sluice"]["reason"], "smuggling");
    }
  }
}

TEST(Enforce, EitherTransferEncodingIsScanned) {  // case B02
  for (const std::string_view headers :
       {"Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n",
        "Content-Transfer-Encoding: base64\r\nContent-Transfer-Encoding: 7bit\r\n"}) {
    Rig rig({.rules = "reject smtp any any -> any any (msg:\"m\"; file_data; "
                      "content:\"HIDDEN-SIGNATURE\"; sid:1;)\n"});
    Conversation talk;
    begin_message(talk);
    talk.client("From: a@a.test\r\n" + std::string(headers) +
                "\r\nSElEREVOLVNJR05BVFVSRQ==\r\n.\r\n");  // HIDDEN-SIGNATURE
    rig.send(talk.take());
    EXPECT_EQ(rig.events_of("smtp").size(), 1u) << headers;
    EXPECT_EQ(rig.events_of("smtp")[0]["smtp"]["outcome"], "blocked") << headers;
  }
}

TEST(Enforce, MemoryAtItsBoundLetsFlowsPassAndIsCounted) {
  RigOptions options{.rules = rule("reject")};
  options.settings.max_memory = 300 * 1024;
  Rig rig(options);
  std::size_t sent = 0;
  for (unsigned i = 0; i < 400; ++i) {
    Path path;
    path.client.port = static_cast<std::uint16_t>(20000 + i);
    Conversation talk({.path = path, .start = rig.now() + kMillisecond});
    begin_message(talk);
    talk.client(body(std::string(3000, 'x')));
    const auto frames = talk.take();
    sent += frames.size();
    rig.send(frames);
  }
  EXPECT_EQ(rig.dropped(), 0u);
  EXPECT_EQ(rig.left.size(), sent);
  EXPECT_GT(rig.statistics().read(contract::Counter::flows_shed), 0u);
  EXPECT_GT(rig.statistics().read(contract::Counter::memory_refused), 0u);
  EXPECT_GE(rig.statistics().read(contract::Counter::flows_bypassed),
            rig.statistics().read(contract::Counter::flows_shed));
  rig.finish();
  EXPECT_EQ(rig.engine().flows(), 0u);
}

TEST(Enforce, AFlowAtItsOwnBoundHarmsNoOther) {
  RigOptions options{.rules = rule("reject")};
  options.settings.max_flow_memory = 100'000;
  Rig rig(options);
  Conversation honest;
  begin_message(honest);
  rig.send(honest.take());
  Path path;
  path.client.port = 20000;
  Conversation large({.path = path, .start = rig.now()});
  large.open();
  large.server("220 mx.test ESMTP\r\n");
  std::string commands = "EHLO x\r\nMAIL FROM:<a@a.test>\r\n";
  for (int i = 0; i < 1000; ++i) commands += "RCPT TO:<" + std::string(200, 'r') + "@b.test>\r\n";
  large.client(commands);
  large.client(std::string(3000, 'x'));
  rig.send(large.take());
  EXPECT_EQ(rig.statistics().read(contract::Counter::memory_refused), 1u);
  EXPECT_EQ(rig.statistics().read(contract::Counter::flows_bypassed), 1u);
  EXPECT_EQ(rig.dropped(), 0u);
  EXPECT_LT(rig.engine().memory_use().flows, 100'000u) << "and gives it back";
  honest.client(body("XJS-SPAM-XJS") + ".\r\n");
  rig.send(honest.take());
  EXPECT_GT(rig.dropped(), 0u) << "the other one is inspected as before";
}

TEST(Enforce, FlowTableAtItsBoundForgetsAndForwards) {
  RigOptions options;
  options.settings.max_flows = 100;
  Rig rig(options);
  std::size_t sent = 0;
  for (unsigned i = 0; i < 3000; ++i) {
    Path path;
    path.client.port = static_cast<std::uint16_t>(10000 + i);
    Conversation talk({.path = path, .start = rig.now() + kMillisecond});
    talk.open();
    const auto frames = talk.take();
    rig.send(frames[0]);
    ++sent;
  }
  EXPECT_EQ(rig.left.size(), sent);
  EXPECT_EQ(rig.dropped(), 0u);
  EXPECT_LE(rig.engine().flows(), 100u);
  EXPECT_EQ(rig.statistics().read(contract::Counter::flows_evicted), 2900u);
}

TEST(Enforce, HungWorkerForgetsItsStreamsAndGoesOn) {
  Rig rig({.rules = rule("reject")});
  Conversation talk;
  begin_message(talk);
  talk.client(body("XJS-SPAM-XJS"));
  rig.send(talk.take());
  rig.engine().forget_streams();
  auto events = rig.events_of("smtp");
  ASSERT_EQ(events.size(), 1u) << "the message in progress is told";
  EXPECT_EQ(events[0]["smtp"]["outcome"], "aborted");
  EXPECT_EQ(events[0]["smtp"]["mail_from"], "<alice@a.test>");
  talk.client(".\r\n");
  talk.server("250 ok\r\n");
  talk.client("MAIL FROM:<a@a.test>\r\n");
  talk.server("250 ok\r\n");
  talk.client("RCPT TO:<b@b.test>\r\n");
  talk.server("250 ok\r\n");
  talk.client("DATA\r\n");
  talk.server("354 go\r\n");
  rig.send(talk.take());
  EXPECT_EQ(rig.dropped(), 0u) << "no verdict on state from before";
  talk.client(body("XJS-SPAM-XJS") + ".\r\n");
  rig.send(talk.take());
  EXPECT_GT(rig.dropped(), 0u) << "the next message is judged again";
}

TEST(Enforce, HungWorkerLeavesTlsSessionsAlone) {
  Rig rig;
  Conversation talk;
  talk.open();
  talk.server("220 mx.test ESMTP\r\n");
  talk.client("EHLO client.test\r\n");
  talk.server("250-mx.test\r\n250 STARTTLS\r\n");
  talk.client("STARTTLS\r\n");
  talk.server("220 go\r\n");
  talk.client(std::string("\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9));
  rig.send(talk.take());
  rig.engine().forget_streams();
  talk.server(std::string("\x17\x03\x03\x00\x10", 5) + std::string(16, 'z'));
  talk.client(std::string("\x17\x03\x03\x00\x10", 5) + "MAIL FROM:<a@a.>");
  rig.send(talk.take());
  rig.finish();
  EXPECT_EQ(rig.events_of("flow")[0]["visibility"], "tls");
  EXPECT_TRUE(rig.events_of("smtp").empty() ||
              !rig.events_of("smtp")[0]["smtp"].contains("mail_from"));
  EXPECT_EQ(rig.anomalies(), std::vector<std::string>{"bad-client-hello"});
}

TEST(Enforce, HungWorkerForgetsAVerdictThatTheWireDidNotKeep) {
  // While the worker hung the wire was a cable: the held segment was sent again and has passed.
  Rig rig({.rules = rule("drop")});
  Conversation talk;
  say_spam(talk);
  rig.send(talk.take());
  const std::size_t dropped = rig.dropped();
  EXPECT_GT(dropped, 0u);
  rig.engine().forget_streams();
  talk.server("250 ok\r\n");
  talk.client("QUIT\r\n");
  talk.server("221 bye\r\n");
  rig.send(talk.take());
  EXPECT_EQ(rig.dropped(), dropped);
}

}  // namespace
}  // namespace sluice::test
