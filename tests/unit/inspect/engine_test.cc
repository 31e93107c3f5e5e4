// The whole path in memory: what is inspected, what is said of it, and what leaves the wire.
#include <openssl/sha.h>

#include <random>
#include <set>
#include <utility>

#include "tests/unit/inspect/rig.h"

namespace sluice::test {
namespace {

std::string sha256(std::string_view s) {
  std::uint8_t digest[32];
  SHA256(reinterpret_cast<const std::uint8_t*>(s.data()), s.size(), digest);
  std::string hex;
  for (const std::uint8_t b : digest) {
    hex += "0123456789abcdef"[b >> 4];
    hex += "0123456789abcdef"[b & 15];
  }
  return hex;
}

TEST(Engine, HonestMailCrossesUnchangedAndIsReported) {
  Rig rig({.rules = kRejectRule});
  Conversation talk;
  begin_message(talk);
  const std::string message = body("a line\r\n..stuffed");
  talk.client(message + ".\r\n");
  talk.server("250 2.0.0 Ok: queued as 1\r\n");
  talk.client("QUIT\r\n");
  talk.server("221 2.0.0 Bye\r\n");
  talk.close();
  const auto frames = talk.take();
  rig.send(frames);
  rig.finish();

  ASSERT_EQ(rig.left.size(), frames.size());
  for (std::size_t i = 0; i < frames.size(); ++i) {
    EXPECT_EQ(rig.left[i].kind, Left::Kind::forwarded) << i;
    EXPECT_EQ(rig.left[i].frame, frames[i].frame) << i;
    EXPECT_EQ(rig.left[i].out, opposite(frames[i].side)) << i;
  }
  const auto smtp = rig.events_of("smtp");
  ASSERT_EQ(smtp.size(), 1u);
  const Json& s = smtp[0]["smtp"];
  EXPECT_EQ(s["helo"], "client.test");
  EXPECT_EQ(s["mail_from"], "<alice@a.test>");
  EXPECT_EQ(s["rcpt_to"], Json({"<bob@b.test>"}));
  EXPECT_EQ(s["via"], "data");
  EXPECT_EQ(s["size"], message.size());
  EXPECT_EQ(s["sha256"], sha256(message));
  EXPECT_EQ(s["outcome"], "accepted");
  EXPECT_EQ(s["reply"]["code"], 250);
  EXPECT_EQ(s["reply"]["text"], "2.0.0 Ok: queued as 1");
  const Json& email = smtp[0]["email"];
  EXPECT_EQ(email["from"], "Alice <alice@a.test>");
  EXPECT_EQ(email["to"], Json({"bob@b.test", "\"C, D\" <c@c.test>"}));
  EXPECT_EQ(email["subject"], "hello");
  EXPECT_EQ(email["message_id"], "<1@a.test>");
  EXPECT_EQ(smtp[0]["sluice"]["verdict"], "pass");
  EXPECT_TRUE(rig.anomalies().empty()) << Json(rig.anomalies());
  const auto flows = rig.events_of("flow");
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_EQ(flows[0]["app_proto"], "smtp");
  EXPECT_EQ(flows[0]["flow"]["state"], "closed");
}

// Sessions of twelve hosts, frames of each in turn: some fragmented, some of which the message is
// stopped.
std::vector<SentFrame> busy_wire() {
  constexpr std::size_t kHosts = 12;
  std::vector<std::vector<SentFrame>> sessions;
  for (std::size_t i = 0; i < kHosts; ++i) {
    ConversationOptions options;
    options.path.client.address.octets[15] = static_cast<std::uint8_t>(i + 1);
    options.segment_size = i % 3 == 0 ? 200 : 1460;
    options.reorder = i % 4 == 1;
    if (i == 5) options.fragment_size = 40;
    Conversation talk(options);
    begin_message(talk);
    const std::string text(2000 + 300 * i, static_cast<char>('a' + i));
    talk.client(body(text + (i % 5 == 2 ? "\r\nXJS-SPAM-XJS\r\n" : "\r\n") + text) + ".\r\n");
    talk.server("250 2.0.0 Ok: queued\r\n");
    talk.client("QUIT\r\n");
    talk.server("221 2.0.0 Bye\r\n");
    talk.close();
    sessions.push_back(talk.take());
  }
  std::vector<SentFrame> all;
  for (std::size_t at = 0, before = SIZE_MAX; all.size() != before; ++at) {
    before = all.size();
    for (const auto& session : sessions)
      if (at < session.size()) all.push_back(session[at]);
  }
  for (std::size_t i = 0; i < all.size(); ++i) all[i].time = kSecond + i * 10 * kMicrosecond;
  return all;
}

// What left, in order: of all hosts, or each one's in its turn.
std::vector<std::string> departures(const Rig& rig, bool by_host) {
  std::vector<std::pair<std::uint8_t, std::string>> all;
  for (const Left& l : rig.left) {
    const net::Packet packet = l.packet();
    const Address& host = l.out == Side::outside ? packet.source : packet.destination;
    all.emplace_back(host.octets[15], std::to_string(static_cast<int>(l.kind)) + '/' +
                                          std::to_string(static_cast<int>(l.out)) + '/' +
                                          std::string(as_text(l.frame)));
  }
  if (by_host) std::ranges::stable_sort(all, {}, [](const auto& one) { return one.first; });
  std::vector<std::string> frames;
  for (auto& [host, frame] : all) frames.push_back(std::move(frame));
  return frames;
}

// Of each message or session, what is told but times and numbers; empty what is not.
std::multiset<std::string> told(const Rig& rig) {
  std::multiset<std::string> messages;
  for (const Json& e : rig.events_of("smtp")) {
    std::string all = e["src_ip"];
    for (const char* field : {"/smtp/outcome", "/smtp/sha256", "/sluice/verdict"})
      all += ' ' + e.value(Json::json_pointer(field), "");
    messages.insert(all);
  }
  return messages;
}

TEST(Engine, BurstsAreInspectedAsFramesOneByOne) {
  const std::vector<SentFrame> frames = busy_wire();
  Rig one({.rules = kRejectRule});
  one.send(frames);
  one.finish();
  ASSERT_EQ(one.events_of("smtp").size(), 12u);
  ASSERT_FALSE(one.injected(Side::inside).empty());
  std::mt19937 random(7);
  for (const bool regroup : {false, true}) {
    bool moved = false;
    for (const std::size_t most : {2u, 7u, 32u, 64u, 200u}) {
      RigOptions options{.rules = kRejectRule};
      options.settings.regroup = regroup;
      Rig rig(options);
      for (std::size_t at = 0; at < frames.size();) {
        const std::size_t n = std::min(frames.size() - at, 1 + random() % most);
        rig.send_burst(std::span(frames).subspan(at, n));
        at += n;
      }
      rig.finish();
      EXPECT_EQ(departures(rig, true), departures(one, true)) << most;
      moved |= departures(rig, false) != departures(one, false);
      EXPECT_EQ(told(rig), told(one)) << most;
    }
    EXPECT_EQ(moved, regroup);
  }
}

// Flows of a burst give way to others of the same burst, and come again behind them.
TEST(Engine, BurstsInWhichFlowsAreEvictedAreInspectedAsFramesOneByOne) {
  const std::vector<SentFrame> frames = busy_wire();
  RigOptions options{.rules = kRejectRule};
  options.settings.max_flows = 4;  // of twelve
  Rig one(options);
  one.send(frames);
  one.finish();
  const std::uint64_t evicted = one.statistics().read(contract::Counter::flows_evicted);
  ASSERT_GT(evicted, 100u);
  for (const std::size_t most : {3u, 16u, 64u}) {
    Rig rig(options);
    for (std::size_t at = 0; at < frames.size(); at += most)
      rig.send_burst(std::span(frames).subspan(at, std::min(frames.size() - at, most)));
    rig.finish();
    EXPECT_EQ(departures(rig, false), departures(one, false)) << most;
    EXPECT_EQ(told(rig), told(one)) << most;
    EXPECT_EQ(rig.statistics().read(contract::Counter::flows_evicted), evicted) << most;
  }
}

// The condemned message in several segments; returns what the engine did.
struct Stopped {
  Stopped(RigOptions rig_options, const ConversationOptions& options)
      : rig(std::move(rig_options)), talk(options) {}
  Rig rig;
  Conversation talk;
};

std::unique_ptr<Stopped> stop_message(const ConversationOptions& options, RigOptions rig_options,
                                      std::string_view after = {}) {
  rig_options.rules = kRejectRule;
  auto s = std::make_unique<Stopped>(std::move(rig_options), options);
  begin_message(s->talk);
  s->talk.client(body(std::string(3000, 'a') + "\r\nXJS-SPAM-XJS\r\n" + std::string(2000, 'b')));
  s->rig.send(s->talk.take());
  s->talk.client(".\r\n" + std::string(after));
  s->rig.send(s->talk.take());
  return s;
}

void expect_refused(Stopped& s) {
  // Nothing that completes the message has left to the server, but a reset has.
  bool reset = false;
  for (const Left& l : s.rig.left) {
    if (l.out != Side::outside || l.kind == Left::Kind::dropped) continue;
    EXPECT_FALSE(l.payload().find("\r\n.\r\n") != std::string::npos || l.payload() == ".\r\n");
    reset |= l.kind == Left::Kind::injected && (l.packet().flags & net::tcp_flag::rst);
  }
  EXPECT_TRUE(reset);
  const auto replies = s.rig.injected(Side::inside);
  ASSERT_FALSE(replies.empty());
  EXPECT_EQ(replies[0].payload(), "550 5.7.1 Message refused by network policy\r\n");
  EXPECT_FALSE(replies[0].packet().checksum_bad);
  EXPECT_EQ(replies[0].packet().sequence, s.talk.next(Direction::to_client));
  EXPECT_EQ(replies[0].packet().acknowledgement, s.talk.next(Direction::to_server));
  EXPECT_EQ(replies[0].packet().source, s.talk.path().server.address);
  EXPECT_EQ(replies[0].packet().source_port, 25);
}

TEST(Engine, CondemnedMessageIsStoppedAndRefusedInTheServersVoice) {
  auto s = stop_message({}, {});
  expect_refused(*s);
  const auto smtp = s->rig.events_of("smtp");
  ASSERT_EQ(smtp.size(), 1u);
  EXPECT_EQ(smtp[0]["smtp"]["outcome"], "blocked");
  EXPECT_EQ(smtp[0]["smtp"]["reply"]["code"], 550);
  EXPECT_EQ(smtp[0]["sluice"]["verdict"], "reject");
  EXPECT_EQ(smtp[0]["sluice"]["rules"], Json({"42"}));
  const auto alerts = s->rig.events_of("alert");
  ASSERT_EQ(alerts.size(), 1u);
  EXPECT_EQ(alerts[0]["alert"]["action"], "blocked");
  EXPECT_EQ(alerts[0]["alert"]["signature_id"], 42);

  // QUIT is answered, then both ends close in order.
  const std::uint32_t reply_end =
      s->talk.next(Direction::to_client) +
      static_cast<std::uint32_t>(s->rig.injected(Side::inside)[0].payload().size());
  s->talk.set_next(Direction::to_client, reply_end);
  s->talk.client("QUIT\r\n");
  s->rig.send(s->talk.take());
  auto replies = s->rig.injected(Side::inside);
  const auto bye = std::find_if(replies.begin(), replies.end(),
                                [](const Left& l) { return l.payload() == "221 2.0.0 Bye\r\n"; });
  ASSERT_NE(bye, replies.end());
  EXPECT_TRUE(bye->packet().flags & net::tcp_flag::fin);
  EXPECT_EQ(bye->packet().sequence, reply_end);
  s->talk.set_next(Direction::to_client, reply_end + 15 + 1);
  s->talk.acknowledge(Direction::to_server);
  s->talk.close();
  const auto closing = s->talk.take();
  s->rig.send(closing[0]);
  s->rig.send(closing[1]);
  s->rig.finish();
  const auto drops = s->rig.events_of("drop");
  ASSERT_FALSE(drops.empty());
  EXPECT_EQ(drops[0]["drop"]["reason"], "message-rejected");
  EXPECT_EQ(s->rig.events_of("flow")[0]["flow"]["reason"], "verdict");
}

TEST(Engine, RefusalHasTheFormOfTheFlowsEncapsulation) {  // case E15
  std::vector<Path> paths(6);
  paths[1] = path_v6();
  paths[2].encapsulation.tags = {{.vid = 7}};
  paths[3].encapsulation.tags = {{.vid = 10, .tpid = 0x88a8}, {.vid = 20}};
  paths[4].encapsulation.pppoe = 77;
  paths[5] = path_v6();
  paths[5].encapsulation.tags = {{.vid = 7}};
  paths[5].extension_headers = {6, 0, 1, 4, 0, 0, 0, 0};
  paths[5].first_extension = 0;
  for (const Path& path : paths) {
    auto s = stop_message({.path = path}, {});
    SCOPED_TRACE(path.encapsulation.tags.size());
    expect_refused(*s);
    const net::Packet reply = s->rig.injected(Side::inside)[0].packet();
    EXPECT_EQ(reply.vlan_count, path.encapsulation.tags.size());
    EXPECT_EQ(reply.pppoe, path.encapsulation.pppoe.has_value());
    EXPECT_EQ(reply.destination, path.client.address);
  }
}

TEST(Engine, RefusalIsRepeatedUntilAcknowledgedAndEndsWithinABound) {
  auto s = stop_message({}, {});
  s->rig.pass(2 * kSecond);
  std::size_t copies = 0;
  for (const Left& l : s->rig.injected(Side::inside)) copies += l.payload().starts_with("550 ");
  EXPECT_GE(copies, 3u);
  s->rig.pass(60 * kSecond);
  const auto replies = s->rig.injected(Side::inside);
  EXPECT_TRUE(replies.back().packet().flags & net::tcp_flag::rst);
  const std::size_t before = s->rig.left.size();
  s->rig.pass(60 * kSecond);
  EXPECT_EQ(s->rig.left.size(), before) << "the closing state has ended";
}

TEST(Engine, SilentClientGetsTheFarewell) {
  auto s = stop_message({}, {});
  s->talk.set_next(Direction::to_client, s->talk.next(Direction::to_client) + 45);
  s->talk.acknowledge(Direction::to_server);
  s->rig.send(s->talk.take());
  s->rig.pass(6 * kSecond);
  const auto replies = s->rig.injected(Side::inside);
  EXPECT_EQ(replies.back().payload().substr(0, 10), "421 4.3.2 ");
  EXPECT_TRUE(replies.back().packet().flags & net::tcp_flag::fin);
}

TEST(Engine, CommandBehindTheMessageInTheSameSegmentIsAnswered) {
  auto s = stop_message({}, {}, "QUIT\r\n");
  expect_refused(*s);
  EXPECT_EQ(s->rig.injected(Side::inside)[1].payload(), "221 2.0.0 Bye\r\n");
}

TEST(Engine, RetransmissionsOfTheHeldSegmentNeverPass) {
  auto s = stop_message({}, {});
  const std::uint32_t at = s->talk.next(Direction::to_server) - 3;
  for (int i = 0; i < 5; ++i) {
    s->talk.inject(Direction::to_server, at, ".\r\n");
    s->rig.send(s->talk.take());
    EXPECT_EQ(s->rig.left.back().kind == Left::Kind::forwarded, false);
    s->rig.pass(200 * kMillisecond);
  }
  // Re-cut: together with octets that went before.
  s->talk.inject(Direction::to_server, at - 2, "\r\n.\r\n");
  s->rig.send(s->talk.take());
  for (const Left& l : s->rig.left)
    if (l.out == Side::outside && l.kind != Left::Kind::dropped &&
        (l.packet().flags & net::tcp_flag::rst) == 0) {
      EXPECT_EQ(l.payload().find(".\r\n"), std::string::npos) << l.payload();
    }
}

TEST(Engine, HoleThatCompletesTheMessageIsHeld) {
  // The end-of-data goes by out of order; the hole before it comes last and is held.
  Rig rig({.rules = kRejectRule});
  Conversation talk;
  begin_message(talk);
  rig.send(talk.take());
  const std::uint32_t base = talk.next(Direction::to_server);
  const std::string first = body("XJS-SPAM-XJS");
  const std::string second = body("more");
  const auto second_at = base + static_cast<std::uint32_t>(first.size());
  talk.inject(Direction::to_server, second_at, second);
  talk.inject(Direction::to_server, second_at + static_cast<std::uint32_t>(second.size()), ".\r\n");
  rig.send(talk.take());
  EXPECT_EQ(rig.left[rig.left.size() - 1].kind, Left::Kind::forwarded);
  EXPECT_EQ(rig.left[rig.left.size() - 2].kind, Left::Kind::forwarded);
  talk.inject(Direction::to_server, base, first);
  rig.send(talk.take());
  bool passed = false;
  for (const Left& l : rig.left)
    passed |= l.out == Side::outside && l.kind == Left::Kind::forwarded && l.payload() == first;
  EXPECT_FALSE(passed);
  const auto replies = rig.injected(Side::inside);
  ASSERT_FALSE(replies.empty());
  EXPECT_TRUE(replies[0].payload().starts_with("550 "));
  // Everything that the client sent is acknowledged: it must not send the message again.
  EXPECT_EQ(replies[0].packet().acknowledgement,
            second_at + static_cast<std::uint32_t>(second.size()) + 3);
}

TEST(Engine, MonitorModeSaysWhatItWouldHaveDone) {
  auto s = stop_message({}, {.mode = policy::Mode::monitor});
  s->talk.server("250 2.0.0 Ok\r\n");
  s->rig.send(s->talk.take());
  EXPECT_EQ(s->rig.dropped(), 0u);
  const auto smtp = s->rig.events_of("smtp");
  ASSERT_EQ(smtp.size(), 1u);
  EXPECT_EQ(smtp[0]["smtp"]["outcome"], "accepted");
  EXPECT_EQ(smtp[0]["sluice"]["verdict"], "pass");
  EXPECT_EQ(smtp[0]["sluice"]["would_have"], "reject");
  EXPECT_EQ(s->rig.events_of("alert")[0]["alert"]["action"], "allowed");
}

TEST(Engine, ReplyOwedToAnEarlierCommandGoesFirst) {
  // BDAT without waiting: the refusal comes after the server's replies to all before it.
  Rig rig({.rules = kRejectRule});
  Conversation talk;
  talk.open();
  talk.server("220 mx.test ESMTP\r\n");
  talk.client("EHLO client.test\r\n");
  talk.server(kEhloReply);
  rig.send(talk.take());
  const std::string message = body("XJS-SPAM-XJS");
  talk.client("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nBDAT " +
              std::to_string(message.size()) + " LAST\r\n" + message);
  rig.send(talk.take());
  EXPECT_TRUE(rig.injected(Side::inside).empty()) << "the server owes two replies";
  // The server saw MAIL and RCPT, but never the last octet.
  std::string seen;
  for (const Left& l : rig.left)
    if (l.out == Side::outside &&
        (l.kind == Left::Kind::forwarded || l.kind == Left::Kind::changed))
      seen += l.payload();
  EXPECT_NE(seen.find("RCPT TO:<b@b.test>\r\n"), std::string::npos);
  EXPECT_LT(seen.size(), std::string("EHLO client.test\r\n").size() + 80 + message.size());
  talk.server("250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n");
  rig.send(talk.take());
  const auto replies = rig.injected(Side::inside);
  ASSERT_FALSE(replies.empty());
  EXPECT_TRUE(replies[0].payload().starts_with("550 5.7.1 ")) << replies[0].payload();
  EXPECT_EQ(replies[0].packet().sequence, talk.next(Direction::to_client));
  // On the wire: the server's replies, then ours, which stands behind them in the stream.
  std::string heard;
  for (const Left& l : rig.left)
    if (l.out == Side::inside && l.kind != Left::Kind::dropped) heard += l.payload();
  const auto owed = heard.find("250 2.1.5 Ok\r\n");
  ASSERT_NE(owed, std::string::npos);
  EXPECT_EQ(heard.find("550 5.7.1 "), owed + 14) << heard;
}

TEST(Engine, WhatIsInjectedLeavesAfterTheFrameInHand) {
  // The front of the segment goes on, the rest is cut off; the server's reset must not overtake it.
  Rig rig({.rules = kRejectRule});
  Conversation talk;
  talk.open();
  talk.server("220 mx.test ESMTP\r\n");
  talk.client("EHLO client.test\r\n");
  talk.server(kEhloReply);
  talk.client("MAIL FROM:<a@a.test>\r\n");
  talk.server("250 2.1.0 Ok\r\n");
  talk.client("RCPT TO:<b@b.test>\r\n");
  rig.send(talk.take());
  const std::string message = body("XJS-SPAM-XJS");
  talk.client("BDAT " + std::to_string(message.size()) + " LAST\r\n" + message);
  talk.server("250 2.1.5 Ok\r\n");
  const std::size_t before = rig.left.size();
  for (const SentFrame& s : talk.take()) rig.send(s);
  std::size_t settled = 0;
  for (std::size_t i = before; i < rig.left.size(); ++i) {
    const Left& l = rig.left[i];
    if (l.kind != Left::Kind::injected) {
      settled = l.source;
      continue;
    }
    EXPECT_EQ(settled, l.source) << "frame " << l.source << " was still in hand at " << i;
  }
  EXPECT_FALSE(rig.injected(Side::outside).empty());
}

TEST(Engine, BareContentIsFoundHoweverTheMessageIsChunked) {
  const std::string message = body("a needle in a message, and a second one");
  const std::string rules =
      "alert smtp any any -> any any (msg:\"m\"; content:\"needle in a mess\"; sid:7;)\n"
      "alert smtp any any -> any any (msg:\"o\"; content:\"message, and a\"; offset:10; sid:8;)\n"
      "alert smtp any any -> any any (msg:\"line\"; content:\"BDAT 5|0d 0a|\"; sid:9;)\n"
      "alert smtp any any -> any any (msg:\"noop\"; content:\"NOOP between\"; sid:10;)\n";
  for (const std::size_t size : {std::size_t{5}, std::size_t{1}, std::size_t{50}}) {
    for (const std::size_t segment : {std::size_t{1460}, std::size_t{1}, std::size_t{7}}) {
      Rig rig({.rules = rules});
      Conversation talk({.segment_size = segment});
      talk.open();
      talk.server("220 mx.test ESMTP\r\n");
      talk.client("EHLO client.test\r\n");
      talk.server(kEhloReply);
      talk.client("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n");
      talk.server("250 ok\r\n250 ok\r\n");
      std::string text;
      std::string replies;
      for (std::size_t at = 0; at < message.size(); at += size) {
        const bool last = at + size >= message.size();
        const std::string part = message.substr(at, size);
        if (last) {
          text += "NOOP between\r\n";
          replies += "250 ok\r\n";
        }
        text += "BDAT " + std::to_string(part.size()) + (last ? " LAST" : "") + "\r\n" + part;
        replies += "250 ok\r\n";
      }
      talk.client(text);
      talk.server(replies);
      talk.client("QUIT\r\n");
      talk.server("221 bye\r\n");
      talk.close();
      rig.send(talk.take());
      rig.finish();
      std::set<int> hits;
      for (const Json& e : rig.events_of("alert")) {
        hits.insert(e["alert"]["signature_id"].get<int>());
        EXPECT_EQ(e["tx_id"], 0);
      }
      EXPECT_EQ(hits, (size == 5 ? std::set<int>{7, 8, 9, 10} : std::set<int>{7, 8, 10}))
          << size << ' ' << segment;
      EXPECT_EQ(rig.events_of("smtp")[0]["smtp"]["size"], message.size());
    }
  }
}

TEST(Engine, OtherHostsAndOtherTrafficGoOn) {
  auto s = stop_message({}, {});
  Path other;
  other.client.address = v4(192, 0, 2, 11);
  Conversation talk({.path = other, .start = s->rig.now()});
  begin_message(talk);
  talk.client(body("honest") + ".\r\n");
  talk.server("250 ok\r\n");
  talk.client("QUIT\r\n");
  Path web;
  web.server.port = 80;
  Conversation browse({.path = web, .start = s->rig.now()});
  browse.open();
  browse.client("GET / XJS-SPAM-XJS\r\n.\r\n");
  const std::size_t before = s->rig.left.size();
  const auto mail = talk.take();
  const auto http = browse.take();
  s->rig.send(mail);
  s->rig.send(http);
  std::size_t forwarded = 0;
  for (std::size_t i = before; i < s->rig.left.size(); ++i)
    forwarded += s->rig.left[i].kind == Left::Kind::forwarded;
  EXPECT_EQ(forwarded, mail.size() + http.size());
}

TEST(Engine, LimitedHostIsTempfailedPastItsRate) {
  RigOptions options;
  options.spec.hosts = {{.prefix = v4(192, 0, 2, 10),
                         .length = 128,
                         .action = policy::HostAction::limit,
                         .rate_per_hour = 10,
                         .burst = 2}};
  Rig rig(options);
  std::vector<std::string> outcomes;
  for (unsigned i = 0; i < 3; ++i) {
    Path path;
    path.client.port = static_cast<std::uint16_t>(41000 + i);
    Conversation talk({.path = path, .start = rig.now() + kSecond});
    begin_message(talk);
    talk.client(body("honest") + ".\r\n");
    rig.send(talk.take());
    if (rig.events_of("smtp").size() == i) {
      talk.server("250 ok\r\n");
      rig.send(talk.take());
    }
    outcomes.push_back(rig.events_of("smtp").back()["smtp"]["outcome"]);
  }
  EXPECT_EQ(outcomes, (std::vector<std::string>{"accepted", "accepted", "blocked"}));
  EXPECT_TRUE(rig.injected(Side::inside).back().payload().starts_with("451 4.7.1 "));
}

// A segment of `talk` that comes in on the port of the other end.
void send_reflected(Rig& rig, Conversation& talk) {
  for (SentFrame s : talk.take()) {
    s.side = opposite(s.side);
    rig.send(s);
  }
}

TEST(Engine, SegmentsOfTheWrongSideDriveNothing) {
  Rig rig({.rules = kRejectRule});
  Conversation talk;
  begin_message(talk);
  rig.send(talk.take());
  // From outside, in the client's name: an end of data, decoys for what is still to come, a RST.
  const std::uint32_t at = talk.next(Direction::to_server);
  talk.inject(Direction::to_server, at, "decoy\r\n.\r\nQUIT\r\n");
  talk.inject(Direction::to_server, at, body(std::string(3000, 'z')));
  talk.inject(Direction::to_server, at, "", tcp_flags::kRst | tcp_flags::kAck);
  talk.inject(Direction::to_client, talk.next(Direction::to_client), "421 go away\r\n");
  send_reflected(rig, talk);
  talk.client(body("XJS-SPAM-XJS"));
  talk.client(".\r\n");
  rig.send(talk.take());
  EXPECT_EQ(rig.anomalies(), std::vector<std::string>{"wrong-side"});
  ASSERT_FALSE(rig.injected(Side::inside).empty());
  EXPECT_TRUE(rig.injected(Side::inside)[0].payload().starts_with("550 "));
  EXPECT_EQ(rig.events_of("smtp")[0]["smtp"]["size"], body("XJS-SPAM-XJS").size());
}

TEST(Engine, WhoSpokeFirstOnTheWrongSideIsNotBelieved) {
  // A SYN, or octets, in the client's name from outside, before the true connection.
  for (const int kind : {0, 1, 2, 3}) {
    Rig rig({.rules = kRejectRule});
    Conversation false_talk({.client_isn = 77'000, .server_isn = 5});
    if (kind == 0) {
      false_talk.open();
    } else if (kind == 1) {
      false_talk.open_silently();
      false_talk.client("DATA\r\nz\r\n");
    } else if (kind == 2) {
      false_talk.open_silently();
      false_talk.server("220 false ESMTP\r\n");
    } else {
      false_talk.inject(Direction::to_server, 3, "", tcp_flags::kSyn);
    }
    auto frames = false_talk.take();
    frames.resize(1);
    frames[0].side = opposite(frames[0].side);
    rig.send(frames);
    Conversation talk;
    begin_message(talk);
    talk.client(body("XJS-SPAM-XJS"));
    talk.client(".\r\n");
    rig.send(talk.take());
    ASSERT_FALSE(rig.injected(Side::inside).empty()) << kind;
    EXPECT_TRUE(rig.injected(Side::inside)[0].payload().starts_with("550 "));
    EXPECT_EQ(rig.injected(Side::inside)[0].packet().destination, talk.path().client.address);
  }
}

TEST(Engine, ResetInTheMiddleIsToldSoonAndKeptLong) {  // cases C04, C06
  for (const bool goes_on : {false, true}) {
    Rig rig({.rules = "alert smtp any any -> any any (msg:\"m\"; content:\"needle\"; sid:7;)\n"});
    Conversation talk;
    begin_message(talk);
    talk.client(body("a needle"));
    talk.reset(Direction::to_server);
    rig.send(talk.take());
    rig.pass(5 * kSecond);
    EXPECT_TRUE(rig.events_of("smtp").empty());
    rig.pass(10 * kSecond);
    auto events = rig.events_of("smtp");
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0]["smtp"]["outcome"], "aborted");
    EXPECT_EQ(events[0]["sluice"]["rules"], Json({"7"}));
    EXPECT_EQ(rig.events_of("alert").size(), 1u);
    rig.pass(200 * kSecond);
    EXPECT_EQ(rig.engine().flows(), 1u);
    if (goes_on) {
      talk.wait(rig.now() - talk.now() + kSecond);
      talk.client("more\r\n.\r\n");
      talk.server("250 2.0.0 ok\r\n");
      rig.send(talk.take());
      events = rig.events_of("smtp");
      ASSERT_EQ(events.size(), 2u);
      EXPECT_EQ(events[1]["smtp"]["outcome"], "accepted");
      EXPECT_EQ(events[1]["smtp"]["mail_from"], "<alice@a.test>");
      EXPECT_EQ(events[1]["smtp"]["size"], body("a needle").size() + 6);
      EXPECT_EQ(events[1]["tx_id"], events[0]["tx_id"]);
    }
    rig.finish();
    EXPECT_EQ(rig.events_of("smtp").size(), goes_on ? 2u : 1u);
    EXPECT_EQ(rig.events_of("flow").size(), 1u);
  }
  // Between transactions there is nothing to lose.
  Rig rig;
  Conversation talk;
  begin_message(talk);
  talk.client(body("x") + ".\r\n");
  talk.server("250 ok\r\n");
  talk.reset(Direction::to_server);
  rig.send(talk.take());
  rig.pass(15 * kSecond);
  EXPECT_EQ(rig.engine().flows(), 0u);
}

TEST(Engine, NoListOfAnEventLeavesNoRoomForTheRest) {
  Rig rig;
  Conversation talk;
  talk.open();
  talk.server("220 mx.test ESMTP\r\n");
  talk.client("EHLO client.test\r\n");
  talk.server(kEhloReply);
  talk.client("MAIL FROM:<a@a.test>\r\n");
  talk.server("250 ok\r\n");
  for (int i = 0; i < 1000; ++i) {
    talk.client("RCPT TO:<recipient" + std::to_string(i) + "@b.test>\r\n");
    talk.server(i % 2 ? "250 ok\r\n" : "550 no\r\n");
  }
  talk.client("DATA\r\n");
  talk.server("354 go\r\n");
  std::string text = "Subject: s\r\nTo: ";
  for (int i = 0; i < 300; ++i) text += "user" + std::to_string(i) + "@b.test, ";
  text += "z@b.test\r\n\r\n";
  for (int i = 0; i < 150; ++i)
    text += "http://a.test/" + std::string(100, 'p') + std::to_string(i) + "\r\n";
  talk.client(text + ".\r\n");
  talk.server("250 ok\r\n");
  rig.send(talk.take());
  const Json event = rig.events_of("smtp").at(0);
  EXPECT_EQ(event["smtp"]["outcome"], "accepted");
  EXPECT_EQ(event["smtp"]["size"], text.size());
  EXPECT_EQ(event["email"]["subject"], "s");
  EXPECT_GT(event["smtp"]["rcpt_to"].size(), 50u);
  EXPECT_GT(event["smtp"]["rcpt_refused"].size(), 20u);
  EXPECT_GT(event["email"]["url"].size(), 10u);
  EXPECT_GT(event["email"]["to"].size(), 20u);
  EXPECT_TRUE(event["sluice"]["truncated"]);
  const auto anomalies = rig.anomalies();
  EXPECT_EQ(std::count(anomalies.begin(), anomalies.end(), "event-truncated"), 1);
}

TEST(Engine, NewRulesTakeEffectWithTheNextMessage) {
  Rig rig({.rules = ""});
  Conversation talk;
  begin_message(talk);
  talk.client(body("one"));
  rig.send(talk.take());
  rig.set_rules(kRejectRule);
  talk.client("XJS-SPAM-XJS\r\n.\r\n");
  talk.server("250 ok\r\n");
  rig.send(talk.take());
  EXPECT_EQ(rig.dropped(), 0u) << "never half a message under each set";
  talk.client("MAIL FROM:<a@a.test>\r\n");
  talk.server("250 ok\r\n");
  talk.client("RCPT TO:<b@b.test>\r\n");
  talk.server("250 ok\r\n");
  talk.client("DATA\r\n");
  talk.server("354 go\r\n");
  talk.client(body("XJS-SPAM-XJS") + ".\r\n");
  rig.send(talk.take());
  EXPECT_TRUE(rig.injected(Side::inside).front().payload().starts_with("550 "));
}

TEST(Engine, ConnectionReusingThePortsOfAStoppedOneIsANewConversation) {  // case C17
  auto s = stop_message({}, {});
  s->rig.pass(60 * kSecond);
  Conversation again({.client_isn = 77'000'000, .start = s->rig.now() + kSecond});
  begin_message(again);
  again.client(body("honest now") + ".\r\n");
  again.server("250 ok\r\n");
  const auto frames = again.take();
  const std::size_t before = s->rig.left.size();
  s->rig.send(frames);
  for (std::size_t i = before; i < s->rig.left.size(); ++i)
    EXPECT_EQ(s->rig.left[i].kind, Left::Kind::forwarded) << i;
  EXPECT_EQ(s->rig.events_of("smtp").back()["smtp"]["outcome"], "accepted");
}

// The same conversation on every road and in every cut gives the same events.
// What is odd about frames without a flow is an event too, but no flood of them (C22, C23).
TEST(Engine, AnomaliesWithoutAFlow) {
  Rig rig;
  // IPv6, next header 253, which says nothing of what follows.
  Frame frame(14 + 40 + 20, 0);
  frame[12] = 0x86;
  frame[13] = 0xdd;
  frame[14] = 0x60;
  frame[19] = 20;
  frame[20] = 253;
  for (Nanoseconds time = kSecond; time <= 3 * kSecond; time += kSecond / 100)
    rig.send(Side::inside, frame, time);
  const auto events = rig.events_of("anomaly");
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0]["anomaly"]["event"], "extension-chain");
  EXPECT_EQ(events[0]["src_ip"], "::");
  EXPECT_FALSE(events[0].contains("src_port"));
}

TEST(Engine, EventsDoNotDependOnSegmentationOrEncapsulation) {
  const auto transcript = [](const ConversationOptions& options) {
    Rig rig({.rules = "alert smtp any any -> any any (msg:\"m\"; content:\"needle\"; sid:7;)\n"});
    Conversation talk(options);
    begin_message(talk);
    talk.client(body("xx needle xx " + std::string(4000, 'y') + " http://a.test/p") + ".\r\n");
    talk.server("250 ok\r\n");
    talk.client("QUIT\r\n");
    talk.server("221 bye\r\n");
    talk.close();
    rig.send(talk.take());
    rig.finish();
    Json all = Json::array();
    for (const char* type : {"smtp", "alert", "anomaly"})
      for (Json e : rig.events_of(type)) {
        for (const char* varies :
             {"timestamp", "src_ip", "dest_ip", "community_id", "vlan", "pcap_cnt", "flow_id"})
          e.erase(varies);
        all.push_back(std::move(e));
      }
    EXPECT_EQ(rig.dropped(), 0u);
    return all;
  };
  const Json plain = transcript({});
  ASSERT_EQ(plain.size(), 2u) << plain.dump(1);
  std::vector<ConversationOptions> variants;
  for (const std::size_t size : {std::size_t{1}, std::size_t{536}})
    variants.push_back({.segment_size = size});
  variants.push_back({.segment_size = 100, .reorder = true});
  variants.push_back({.segment_size = 100, .duplicate = true});
  variants.push_back({.segment_size = 200, .reorder = true, .duplicate = true, .seed = 9});
  variants.push_back({.timestamps = true});
  variants.push_back({.acknowledge = false});
  variants.push_back({.client_isn = 0xfffffff0, .server_isn = 0xffffff00});
  variants.push_back({.fragment_size = 256});
  Path path;
  path = path_v6();
  variants.push_back({.path = path});
  variants.push_back({.path = path, .fragment_size = 256});
  path = {};
  path.encapsulation.tags = {{.vid = 5}};
  variants.push_back({.path = path});
  path.encapsulation.tags = {{.vid = 5, .tpid = 0x88a8}, {.vid = 6}};
  variants.push_back({.path = path});
  path.encapsulation.pppoe = 9;
  variants.push_back({.path = path});
  path = {};
  path.encapsulation.mpls = {100, 200};
  variants.push_back({.path = path});
  path = {};
  path.encapsulation.tunnel = Encapsulation::Tunnel::gre;
  variants.push_back({.path = path});
  for (std::size_t i = 0; i < variants.size(); ++i) EXPECT_EQ(transcript(variants[i]), plain) << i;
}

// Who the client said it was when a transaction began; a new name that the server refuses changes
// nothing (case A10).
TEST(Engine, HeloOfATransaction) {
  Rig rig;
  Conversation talk;
  talk.open();
  talk.server("220 mx.test ESMTP\r\n");
  const auto say = [&](std::string_view client, std::string_view server) {
    talk.client(client);
    talk.server(server);
  };
  say("EHLO first.test\r\n", kEhloReply);
  say("MAIL FROM:<a@a.test>\r\n", "250 ok\r\n");
  say("EHLO second.test\r\n", kEhloReply);
  say("MAIL FROM:<b@b.test>\r\n", "250 ok\r\n");
  say("EHLO\r\n", "501 what?\r\n");
  say("RCPT TO:<c@c.test>\r\n", "250 ok\r\n");
  say("DATA\r\n", "354 go\r\n");
  say("x\r\n.\r\n", "250 ok\r\n");
  say("HELO third.test\r\n", "421 later\r\n");
  say("MAIL FROM:<d@d.test>\r\n", "250 ok\r\n");
  talk.close();
  rig.send(talk.take());
  rig.finish();
  const auto events = rig.events_of("smtp");
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0]["smtp"]["helo"], "first.test");
  EXPECT_EQ(events[1]["smtp"]["helo"], "second.test");
  EXPECT_EQ(events[2]["smtp"]["helo"], "second.test");
}

// What is said of an envelope whose message nobody saw: it was given up only where nothing is
// missing.
TEST(Engine, EnvelopeBehindWhichOctetsAreMissing) {
  for (const bool idle : {false, true}) {
    for (const bool missing : {false, true}) {
      Rig rig({.settings = {.idle_after = idle ? kSecond : 60 * kSecond}});
      Conversation talk;
      begin_envelope(talk);
      if (missing) {
        for (const Direction d : {Direction::to_server, Direction::to_client})
          talk.set_next(d, talk.next(d) + 3000);
      }
      for (int i = 0; i < 2; ++i) {  // with the second one they are no longer waited for
        talk.client("NOOP\r\n");
        talk.server("250 ok\r\n");
        rig.send(talk.take());
        rig.pass(10 * kSecond);
        talk.wait(10 * kSecond);
      }
      talk.client("QUIT\r\n");
      talk.server("221 bye\r\n");
      talk.close();
      rig.send(talk.take());
      rig.finish();
      ASSERT_EQ(rig.events_of("smtp").size(), 1u);
      EXPECT_EQ(rig.events_of("smtp")[0]["smtp"]["outcome"], missing ? "unknown" : "aborted")
          << idle;
    }
  }
}

// The server's words, also those with which it refused MAIL or DATA.
TEST(Engine, WordsOfARefusal) {
  Rig rig;
  Conversation talk;
  talk.open();
  talk.server("220 mx.test ESMTP\r\n");
  const auto say = [&](std::string_view client, std::string_view server) {
    talk.client(client);
    talk.server(server);
  };
  say("EHLO first.test\r\n", kEhloReply);
  say("MAIL FROM:<a@a.test>\r\n", "550 5.7.1 you are listed\r\n");
  say("RSET\r\n", "250 ok\r\n");
  say("MAIL FROM:<b@b.test>\r\nRCPT TO:<c@c.test>\r\nDATA\r\n",
      "250 ok\r\n550 no such user\r\n554 no valid recipients\r\n");
  say("RSET\r\n", "250 ok\r\n");
  talk.close();
  rig.send(talk.take());
  rig.finish();
  const auto events = rig.events_of("smtp");
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0]["smtp"]["reply"]["code"], 550);
  EXPECT_EQ(events[0]["smtp"]["reply"]["text"], "5.7.1 you are listed");
  EXPECT_EQ(events[1]["smtp"]["reply"]["text"], "no valid recipients");
}

}  // namespace
}  // namespace sluice::test
