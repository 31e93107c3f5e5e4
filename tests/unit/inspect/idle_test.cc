// Idle flows are made small, and nobody can tell: whatever is said, with pauses in which the flow
// sleeps, gives the events and the frames that it gives when it never does.
#include "tests/unit/inspect/rig.h"

namespace sluice::test {
namespace {

using contract::Counter;
using contract::Gauge;
using Script = void (*)(Conversation&);

constexpr Nanoseconds kNever = 1000 * 3600 * kSecond;
constexpr Nanoseconds kPause = 2 * kSecond + 100 * kMillisecond;

// Rules that look at each thing that a scan is given between commands, alone and together.
constexpr char kRules[] =
    "alert smtp any any -> any any (msg:\"ehlo\"; content:\"EHLO client\"; sid:1;)\n"
    "alert smtp any any -> any any (msg:\"helo\"; smtp.helo; content:\"client.test\"; sid:2;)\n"
    "alert smtp any any -> any any (msg:\"from\"; smtp.mail_from; content:\"alice\"; sid:3;)\n"
    "alert smtp any any -> any any (msg:\"to\"; smtp.rcpt_to; content:\"bob\"; sid:4;)\n"
    "alert smtp any any -> any any (msg:\"both\"; smtp.mail_from; content:\"alice\"; file_data; "
    "content:\"needle\"; sid:5;)\n"
    "alert smtp any any -> any any (msg:\"span\"; content:\"RCPT\"; content:\"Subject\"; "
    "distance:0; within:400; sid:6;)\n"
    "reject smtp any any -> any any (msg:\"spam\"; content:\"XJS-SPAM-XJS\"; sid:7;)\n";

void greet(Conversation& t) {
  t.open();
  t.server("220 mx.test ESMTP\r\n");
  t.client("EHLO client.test\r\n");
  t.server(kEhloReply);
}

void message(Conversation& t, std::string_view text, std::string_view answer = "250 ok\r\n") {
  t.client("MAIL FROM:<alice@a.test>\r\n");
  t.server("250 ok\r\n");
  t.client("RCPT TO:<bob@b.test>\r\n");
  t.server("250 ok\r\n");
  t.client("RCPT TO:<nobody@b.test>\r\n");
  t.server("550 no\r\n");
  t.client("DATA\r\n");
  t.server("354 go\r\n");
  t.client(body(text) + ".\r\n");
  t.server(answer);
}

void bye(Conversation& t) {
  t.client("QUIT\r\n");
  t.server("221 bye\r\n");
  t.close();
}

const std::vector<std::pair<const char*, Script>> kScripts = {
    {"two messages",
     [](Conversation& t) {
       greet(t);
       message(t, "a needle");
       message(t, "no more", "451 later\r\n");
       bye(t);
     }},
    {"stopped",
     [](Conversation& t) {
       greet(t);
       message(t, "harmless");
       message(t, "XJS-SPAM-XJS", "");
     }},
    {"refused and reset",
     [](Conversation& t) {
       greet(t);
       t.client("MAIL FROM:<alice@a.test>\r\n");
       t.server("250 ok\r\n");
       t.client("RCPT TO:<x@b.test>\r\n");
       t.server("550 no\r\n");
       t.client("RSET\r\n");
       t.server("250 ok\r\n");
       t.client("MAIL FROM:<other@a.test> SIZE=100\r\n");
       t.server("250 ok\r\n");
       t.client("RCPT TO:<y@b.test>\r\n");
       t.server("250 ok\r\n");
       t.client("HELO again.test\r\n");
       t.server("250 mx.test\r\n");
       message(t, "a needle");
       bye(t);
     }},
    {"pipelined",
     [](Conversation& t) {
       greet(t);
       t.client(
           "MAIL FROM:<alice@a.test>\r\nRCPT TO:<bob@b.test>\r\nRCPT TO:<c@b.test>\r\nDATA\r\n");
       t.server("250 ok\r\n250 ok\r\n");
       t.server("450 later\r\n354 go\r\n");
       t.client(body("a needle") + ".\r\nMAIL FROM:<alice@a.test>\r\n");
       t.server("250 ok\r\n");
       t.server("250 ok\r\n");
       bye(t);
     }},
    {"chunks",
     [](Conversation& t) {
       greet(t);
       t.client("MAIL FROM:<alice@a.test>\r\nRCPT TO:<bob@b.test>\r\n");
       t.server("250 ok\r\n250 ok\r\n");
       const std::string text = body("a needle");
       t.client("BDAT 10\r\n" + text.substr(0, 10));
       t.server("250 ok\r\n");
       t.client("BDAT " + std::to_string(text.size() - 10) + " LAST\r\n" + text.substr(10));
       t.server("250 ok\r\n");
       bye(t);
     }},
    {"authenticated",
     [](Conversation& t) {
       greet(t);
       t.client("AUTH LOGIN\r\n");
       t.server("334 VXNlcm5hbWU6\r\n");
       t.client("dXNlcg==\r\n");
       t.server("334 UGFzc3dvcmQ6\r\n");
       t.client("c2VjcmV0\r\n");
       t.server("235 ok\r\n");
       message(t, "a needle");
       bye(t);
     }},
    {"TLS",
     [](Conversation& t) {
       greet(t);
       t.client("STARTTLS\r\n");
       t.server("220 go\r\n");
       t.client(std::string("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10));
       t.server("not a hello at all");
       t.client("and so on");
       bye(t);
     }},
    {"LMTP",
     [](Conversation& t) {
       t.open();
       t.server("220 store LMTP\r\n");
       t.client("LHLO client.test\r\n");
       t.server("250-store\r\n250 PIPELINING\r\n");
       t.client(
           "MAIL FROM:<alice@a.test>\r\nRCPT TO:<bob@b.test>\r\nRCPT TO:<c@b.test>\r\nDATA\r\n");
       t.server("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
       t.client(body("a needle") + ".\r\n");
       t.server("250 first\r\n");
       t.server("550 second\r\n");
       bye(t);
     }},
    {"behind a proxy",
     [](Conversation& t) {
       t.open();
       t.client("PROXY TCP4 198.51.100.7 203.0.113.9 4711 25\r\n");
       t.server("220 mx.test ESMTP\r\n");
       t.client("EHLO client.test\r\n");
       t.server(kEhloReply);
       t.client("XCLIENT NAME=spike.example ADDR=198.51.100.8\r\n");
       t.server("220 mx.test ESMTP\r\n");
       t.client("EHLO client.test\r\n");
       t.server(kEhloReply);
       message(t, "a needle");
       bye(t);
     }},
    {"no mail",
     [](Conversation& t) {
       t.open();
       t.client("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
       t.server("HTTP/1.1 200 OK\r\n\r\n");
       t.client("GET /b HTTP/1.1\r\n\r\n");
       t.close();
     }},
    {"picked up in the middle",
     [](Conversation& t) {
       t.open_silently();
       t.client("NOOP\r\n");
       t.server("250 ok\r\n");
       message(t, "a needle");
       bye(t);
     }},
    {"one copy differs",
     [](Conversation& t) {
       greet(t);
       t.client("NOOP one\r\n");
       t.server("250 ok\r\n");
       t.inject(Direction::to_server, t.next(Direction::to_server) - 10, "NOOP two\r\n");
       message(t, "a needle");
       t.reset(Direction::to_server);
     }},
    {"no end",
     [](Conversation& t) {
       greet(t);
       t.client("MAIL FROM:<alice@a.test>\r\n");
       t.server("250 ok\r\n");
     }},
};

struct Outcome {
  std::vector<Json> events;
  std::vector<Left> left;
  std::size_t slept = 0;  // times that the flow was dormant after a pause
  std::vector<std::uint64_t> counters;
};

Outcome play(Script script, ConversationOptions options, Nanoseconds idle_after) {
  RigOptions rig_options{.rules = kRules};
  rig_options.settings.idle_after = idle_after;
  Rig rig(rig_options);
  options.step = kPause;
  Conversation talk(options);
  script(talk);
  Outcome outcome;
  for (const SentFrame& frame : talk.take()) {
    rig.pass(frame.time - std::min(rig.now(), frame.time));
    outcome.slept += rig.statistics().read(Gauge::flows_dormant);
    rig.send(frame);
  }
  rig.pass(kPause);
  rig.finish();
  EXPECT_EQ(rig.engine().flows(), 0u);
  // All is given back, but for the lists of flows that are awake and of those with timers.
  EXPECT_LE(rig.engine().memory_use().flows, rig.memory_at_start() + 16);
  outcome.events = rig.events;
  outcome.left = rig.left;
  for (const Counter c :
       {Counter::segments, Counter::stream_bytes, Counter::messages, Counter::commands,
        Counter::replies, Counter::alerts, Counter::flows_closed, Counter::segments_retransmitted,
        Counter::segments_out_of_order})
    outcome.counters.push_back(rig.statistics().read(c));
  return outcome;
}

void expect_same(const Outcome& with, const Outcome& without) {
  EXPECT_EQ(with.events.size(), without.events.size());
  for (std::size_t i = 0; i < std::min(with.events.size(), without.events.size()); ++i)
    EXPECT_EQ(with.events[i], without.events[i]);
  ASSERT_EQ(with.left.size(), without.left.size());
  for (std::size_t i = 0; i < with.left.size(); ++i) {
    EXPECT_EQ(with.left[i].kind, without.left[i].kind) << i;
    EXPECT_EQ(with.left[i].frame, without.left[i].frame) << i;
  }
  EXPECT_EQ(with.counters, without.counters);
}

TEST(Idle, NobodyCanTellThatAFlowSlept) {
  for (const auto& [name, script] : kScripts) {
    SCOPED_TRACE(name);
    const Outcome without = play(script, {}, kNever);
    const Outcome with = play(script, {}, kSecond);
    EXPECT_EQ(without.slept, 0u);
    EXPECT_GT(with.slept, 3u);
    expect_same(with, without);
  }
}

TEST(Idle, WhateverTheSegmentsAndTheEncapsulation) {
  std::vector<std::pair<const char*, ConversationOptions>> ways = {
      {"small segments", {.segment_size = 40}},
      {"shuffled", {.segment_size = 40, .block = 4, .reorder = true, .duplicate = true}},
      {"timestamps", {.timestamps = true}},
      {"no acknowledgements of their own", {.acknowledge = false}},
      {"server inside", {.client_inside = false}},
  };
  const Path six = path_v6();
  ways.push_back({"IPv6", {.path = six}});
  Path tagged;
  tagged.encapsulation.tags = {{7}, {8}};
  ways.push_back({"VLANs", {.path = tagged}});
  Path labelled;
  labelled.encapsulation.mpls = {100, 200};
  ways.push_back({"MPLS", {.path = labelled}});
  for (const auto& [way, options] : ways) {
    for (const auto& [name, script] : kScripts) {
      SCOPED_TRACE(std::string(way) + ": " + name);
      expect_same(play(script, options, kSecond), play(script, options, kNever));
    }
  }
}

TEST(Idle, OneDirectionAlone) {
  for (const Direction unseen : {Direction::to_server, Direction::to_client}) {
    for (const Nanoseconds idle_after : {kSecond}) {
      const auto half = [&](Nanoseconds idle) {
        RigOptions options{.rules = kRules};
        options.settings.idle_after = idle;
        Rig rig(options);
        Conversation talk({.step = kPause});
        greet(talk);
        message(talk, "a needle");
        message(talk, "another");
        bye(talk);
        for (const SentFrame& frame : talk.take()) {
          if (frame.direction == unseen) continue;
          rig.pass(frame.time - std::min(rig.now(), frame.time));
          rig.send(frame);
        }
        rig.finish();
        return rig.events;
      };
      EXPECT_EQ(Json(half(idle_after)), Json(half(kNever)));
    }
  }
}

// The rules change while it sleeps: what follows is judged by those in force, HELO and envelope
// too.
TEST(Idle, WakesUnderTheRulesInForce) {
  RigOptions options{.rules = ""};
  options.settings.idle_after = kSecond;
  Rig rig(options);
  Conversation talk;
  greet(talk);
  talk.client("MAIL FROM:<alice@a.test>\r\n");
  talk.server("250 ok\r\n");
  talk.client("RCPT TO:<bob@b.test>\r\n");
  talk.server("250 ok\r\n");
  rig.send(talk.take());
  rig.pass(3 * kSecond);
  ASSERT_EQ(rig.statistics().read(Gauge::flows_dormant), 1u);
  rig.set_rules(kRules);
  talk.wait(5 * kSecond);
  talk.client("DATA\r\n");
  talk.server("354 go\r\n");
  talk.client(body("a needle") + ".\r\n");
  talk.server("250 ok\r\n");
  rig.send(talk.take());
  Json rules = rig.events_of("smtp").at(0)["sluice"]["rules"];
  std::sort(rules.begin(), rules.end());
  // Not those of the bare stream: its octets were not kept, for no rule looked at them.
  EXPECT_EQ(rules, Json({"2", "3", "4", "5"}));
}

TEST(Idle, ASleepersStreamIsForgottenWithTheOthers) {
  for (const bool sleeps : {false, true}) {
    RigOptions options{.rules = kRules};
    options.settings.idle_after = sleeps ? kSecond : kNever;
    Rig rig(options);
    Conversation talk;
    greet(talk);
    message(talk, "a needle");
    rig.send(talk.take());
    rig.pass(3 * kSecond);
    EXPECT_EQ(rig.statistics().read(Gauge::flows_dormant), sleeps ? 1u : 0u);
    rig.engine().forget_streams();
    talk.wait(5 * kSecond);
    talk.client("NOOP\r\n");
    talk.take();  // passes unseen
    message(talk, "XJS-SPAM-XJS", "");
    rig.send(talk.take());
    EXPECT_GT(rig.dropped(), 0u);
    EXPECT_EQ(rig.anomalies(), std::vector<std::string>{"midstream"}) << sleeps;
  }
}

TEST(Idle, SnapshotsShowSleepersAsTheyAre) {
  std::vector<std::vector<std::uint8_t>> rows;
  for (const bool sleeps : {false, true}) {
    RigOptions options{.rules = kRules};
    options.settings.idle_after = sleeps ? kSecond : kNever;
    Rig rig(options);
    Conversation talk;
    greet(talk);
    rig.send(talk.take());
    rig.pass(3 * kSecond);
    rig.snapshot();
    ASSERT_EQ(rig.records.size(), 1u);
    rows.push_back(rig.records[0]);
    EXPECT_EQ(rig.statistics().read(Gauge::flows_dormant), sleeps ? 1u : 0u) << "and sleeps on";
  }
  EXPECT_EQ(rows[0], rows[1]);
}

TEST(Idle, TimesOutAndIsEvictedWithItsEvents) {
  RigOptions options{.rules = kRules};
  options.settings.max_flows = 2;
  Rig rig(options);
  for (const std::uint16_t port : std::initializer_list<std::uint16_t>{1001, 1002, 1003}) {
    Path path;
    path.client.port = port;
    Conversation talk({.path = path, .start = rig.now() + kSecond});
    greet(talk);
    rig.send(talk.take());
    rig.pass(10 * kSecond);
  }
  EXPECT_EQ(rig.statistics().read(Counter::flows_evicted), 1u);
  ASSERT_EQ(rig.events_of("flow").size(), 1u);
  EXPECT_EQ(rig.events_of("flow")[0]["flow"]["reason"], "evicted");
  EXPECT_EQ(rig.events_of("flow")[0]["src_port"], 1001);
  EXPECT_EQ(rig.events_of("smtp")[0]["smtp"]["helo"], "client.test");
  rig.pass(901 * kSecond);
  EXPECT_EQ(rig.engine().flows(), 0u);
  ASSERT_EQ(rig.events_of("flow").size(), 3u);
  EXPECT_EQ(rig.events_of("flow")[2]["flow"]["reason"], "timeout");
  EXPECT_EQ(rig.statistics().read(Gauge::flows_dormant), 0u);
}

// The aims: 512 octets for an idle flow, table included; 4 KiB of parser and scan state in DATA.
TEST(Idle, IsSmall) {
  RigOptions options{.rules = kRules};
  options.settings.max_flows = 1000;
  Rig rig(options);
  const std::size_t fixed = rig.memory_at_start();
  const auto flows = [&](unsigned from, unsigned to, bool after_message) {
    for (unsigned i = from; i < to; ++i) {
      Path path;
      path.client.port = static_cast<std::uint16_t>(1000 + i);
      Conversation talk({.path = path, .start = rig.now()});
      greet(talk);
      if (after_message) message(talk, std::string(3000, 'x'));
      rig.send(talk.take());
    }
    rig.pass(10 * kSecond);
  };
  flows(0, 500, false);
  const inspect::MemoryUse greeted = rig.engine().memory_use();
  EXPECT_EQ(rig.statistics().read(Gauge::flows_dormant), 500u);
  EXPECT_LE((greeted.flows - fixed) / 500 + greeted.table / 1000, 512u);
  flows(500, 1000, true);
  const inspect::MemoryUse all = rig.engine().memory_use();
  EXPECT_EQ(rig.statistics().read(Gauge::flows_dormant), 1000u);
  EXPECT_LE((all.flows - greeted.flows) / 500 + all.table / 1000, 512u);
}

}  // namespace
}  // namespace sluice::test
