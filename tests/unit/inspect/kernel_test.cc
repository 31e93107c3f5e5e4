// What is left to the kernel's part, and what is told to it.
#include "tests/unit/inspect/rig.h"

namespace sluice::test {
namespace {

using inspect::FlowMark;
using Marks = std::vector<FlowMark>;

// A ClientHello of TLS 1.2 without extensions, and what a server of TLS 1.3 answers.
const std::string kHello = std::string("\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x03", 11) +
                           std::string(32, 'r') + std::string("\x00\x00\x02\x13\x01\x01\x00", 7);
const std::string kAnswer = std::string("\x16\x03\x03\x00\x2a\x02\x00\x00\x26\x03\x03", 11) +
                            std::string(32, 's') + std::string("\x00\x13\x01\x00", 4) +
                            std::string("\x14\x03\x03\x00\x01\x01", 6);
const std::string kRecord = std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'e');

void begin_tls(Conversation& talk) {
  talk.open();
  talk.server("220 mx.test ESMTP\r\n");
  talk.client("EHLO client.test\r\n");
  talk.server("250-mx.test\r\n250 STARTTLS\r\n");
  talk.client("STARTTLS\r\n");
  talk.server("220 go\r\n");
  talk.client(kHello);
  talk.server(kAnswer);
}

TEST(Kernel, TlsIsTakenOverWhenAllThatItShowsWasRead) {
  Rig rig;
  Conversation talk;
  begin_tls(talk);
  auto frames = talk.take();
  frames.pop_back();  // the acknowledgement of the server's answer
  for (std::size_t i = 0; i + 1 < frames.size(); ++i) rig.send(frames[i]);
  EXPECT_TRUE(rig.marks.empty());
  rig.send(frames.back());
  EXPECT_EQ(rig.marks, Marks{FlowMark::bypass});
  ASSERT_EQ(rig.events_of("tls").size(), 1u);
  // What was on its way still comes, and its end does.
  for (int i = 0; i < 20; ++i) talk.client(kRecord);
  talk.close();
  rig.send(talk.take());
  EXPECT_EQ(rig.dropped(), 0u);
  EXPECT_EQ(rig.marks, Marks{FlowMark::bypass});
  rig.by_kernel = {.frames = {100, 40}, .octets = {90'000, 4'000}};
  rig.finish();
  EXPECT_EQ(rig.marks, (Marks{FlowMark::bypass, FlowMark::ended}));
  const Json flow = rig.events_of("flow")[0];
  EXPECT_EQ(flow["flow"]["state"], "closed");
  EXPECT_EQ(flow["visibility"], "tls");
  std::size_t client = 100;
  for (const Left& l : rig.left) client += l.out == Side::outside;
  EXPECT_EQ(flow["flow"]["pkts_toserver"], client);
  EXPECT_GT(flow["flow"]["bytes_toserver"], 90'000);
}

TEST(Kernel, CountersAreTrueForAClientOutside) {
  Rig rig;
  Conversation talk({.client_inside = false});
  begin_tls(talk);
  rig.send(talk.take());
  rig.by_kernel = {.frames = {1000, 2000}, .octets = {1'000'000, 2'000'000}};
  rig.finish();
  const Json flow = rig.events_of("flow")[0]["flow"];
  EXPECT_GT(flow["pkts_toserver"], 2000);
  EXPECT_LT(flow["pkts_toclient"], 1100);
}

// It was forgotten, or the kernel waits for a frame that was on its way to the dataplane. A mark of
// the same kind goes on counting.
TEST(Kernel, MarkThatDoesNotHelpIsMadeAgain) {
  Rig rig;
  Conversation talk;
  begin_tls(talk);
  rig.send(talk.take());
  rig.by_kernel = {.frames = {500, 0}, .octets = {50'000, 0}};
  for (int i = 0; i < 50; ++i) talk.client(kRecord);
  const auto frames = talk.take();
  rig.send(frames);
  EXPECT_EQ(rig.marks, (Marks{FlowMark::bypass, FlowMark::bypass}));
  rig.by_kernel = {.frames = {507, 0}, .octets = {50'700, 0}};
  std::size_t client = 507;
  for (const Left& l : rig.left) client += l.out == Side::outside;
  rig.finish();
  EXPECT_EQ(rig.events_of("flow")[0]["flow"]["pkts_toserver"], client);
}

TEST(Kernel, EdgesOfAFlowAreWhatHasLeft) {
  for (const bool client_inside : {true, false}) {
    Rig rig;
    Conversation talk(
        {.client_isn = 1000, .server_isn = 0xFFFFFFF8, .client_inside = client_inside});
    begin_tls(talk);
    const auto frames = talk.take();
    const flow::FlowKey key = flow::key_of(net::parse(frames[0].frame, {}), 0).key;
    const auto edges = [&] { return rig.engine().edges(key); };
    const std::size_t client = client_inside ? 0 : 1;
    EXPECT_EQ(edges(), FlowEdges{}) << "nothing is known of it";
    std::size_t sent = 0;
    for (; sent < 4; ++sent) rig.send(frames[sent]);
    EXPECT_EQ(edges()[client], 1001u);
    EXPECT_EQ(edges()[1 - client], 0xFFFFFFF9 + std::string_view("220 mx.test ESMTP\r\n").size() -
                                       (std::uint64_t{1} << 32))
        << "numbers wrap";
    for (; sent < frames.size(); ++sent) rig.send(frames[sent]);
    EXPECT_EQ(rig.marks, Marks{FlowMark::bypass});
    const std::uint32_t before = edges()[client].value_or(0);
    talk.client(kRecord);
    talk.close();
    rig.send(talk.take());
    EXPECT_EQ(edges()[client], before + kRecord.size() + 1) << "inside TLS too, and a FIN is one";
  }
}

TEST(Kernel, SynOfAnotherConnectionEndsTheOpaqueOne) {
  Rig rig;
  Conversation talk;
  begin_tls(talk);
  rig.send(talk.take());
  Conversation next({.client_isn = 90'000'000, .start = rig.now() + kSecond});
  begin_message(next);
  next.client(body("x") + ".\r\n");
  next.server("250 ok\r\n");
  rig.send(next.take());
  EXPECT_EQ(rig.marks, (Marks{FlowMark::bypass, FlowMark::ended}));
  rig.finish();
  EXPECT_EQ(rig.events_of("flow").size(), 2u);
  EXPECT_EQ(rig.events_of("smtp").back()["smtp"]["outcome"], "accepted");
}

TEST(Kernel, TlsPickedUpInTheMiddleIsNoFault) {
  for (const bool client_first : {true, false}) {
    Rig rig;
    Conversation talk;
    talk.open_silently();
    for (int i = 0; i < 3; ++i) {
      if (client_first) talk.client(kRecord);
      talk.server(kRecord);
      if (!client_first) talk.client(kRecord);
    }
    rig.send(talk.take());
    rig.finish();
    EXPECT_EQ(rig.anomalies(), std::vector<std::string>{"midstream"});
    EXPECT_EQ(rig.marks, (Marks{FlowMark::bypass, FlowMark::ended}));
    EXPECT_TRUE(rig.events_of("tls").empty());
    EXPECT_EQ(rig.events_of("flow")[0]["visibility"], "tls");
  }
}

TEST(Kernel, TarpittedHostIsNotTakenOver) {
  RigOptions options;
  options.spec.hosts = {
      {.prefix = v4(192, 0, 2, 10), .length = 128, .action = policy::HostAction::tarpit}};
  Rig rig(options);
  Conversation talk;
  begin_tls(talk);
  rig.send(talk.take());
  EXPECT_TRUE(rig.marks.empty());
}

// A message past its budget of 1,000 octets, which the kernel is asked to pass.
struct Passing {
  explicit Passing(std::string rules = kRejectRule,
                   policy::Exception behind = policy::Exception::fail_open)
      : rig([&] {
          RigOptions options{.rules = std::move(rules)};
          options.hash_messages = false;
          options.spec.scan_budget = 1000;
          options.spec.exceptions.scan_budget = behind;
          return options;
        }()) {
    rig.passes_messages = true;
    begin_message(talk);
  }
  void begin(const std::string& first = std::string(1200, 'x')) {
    say(body(first));
    EXPECT_EQ(rig.marks, Marks{FlowMark::message});
  }
  void say(const std::string& text) {
    sent += text;
    talk.client(text);
    rig.send(talk.take());
  }
  // Goes from port to port in the kernel.
  void pass(const std::string& text) {
    if (!rig.passed.content) rig.passed.content.emplace().start = talk.next(Direction::to_server);
    sent += text;
    talk.client(text);
    const auto frames = talk.take();
    const auto from = [](Side side) {
      return [side](const SentFrame& f) { return f.side == side; };
    };
    rig.by_kernel.frames[0] +=
        static_cast<std::uint64_t>(std::ranges::count_if(frames, from(Side::inside)));
    rig.by_kernel.frames[1] +=
        static_cast<std::uint64_t>(std::ranges::count_if(frames, from(Side::outside)));
    rig.passed.content->next = talk.next(Direction::to_server);
    std::copy_n(text.end() - 2, 2, rig.passed.content->last);
  }
  void end(const std::string& text) {
    rig.passed.over = true;
    talk.client(text);
    talk.server("250 ok\r\n");
    rig.send(talk.take());
  }
  Json only(std::string_view type) {
    const auto events = rig.events_of(type);
    EXPECT_EQ(events.size(), 1u);
    return events.empty() ? Json() : events[0];
  }

  Rig rig;
  Conversation talk;
  std::string sent;
};

TEST(Kernel, MessagePastItsBudgetIsPassedUpToItsEnd) {
  // The last octets that passed, and how the rest begins.
  for (const auto& [last, rest] :
       std::vector<std::pair<std::string, std::string>>{{"xx", "xxx\r\n"},
                                                        {"\r\n", ""},
                                                        {"x\r", "\nxx\r\n"},
                                                        {"\r\n", "..x\r\n"},
                                                        {"\r\n", "x\r\n"}}) {
    Passing p;
    p.begin();
    for (int i = 0; i < 3; ++i) p.pass(std::string(5000, 'y') + "\r\n");
    p.pass(std::string(100, 'z') + last);
    p.end(rest + ".\r\n");
    EXPECT_EQ(p.rig.marks, (Marks{FlowMark::message, FlowMark::scanned}));
    // The next message of the connection is read.
    p.talk.client("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n");
    p.talk.server("250 ok\r\n250 ok\r\n354 go\r\n");
    p.talk.client(body("XJS-SPAM-XJS") + ".\r\n");
    p.rig.send(p.talk.take());
    p.rig.finish();
    const auto events = p.rig.events_of("smtp");
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[0]["smtp"]["size"], p.sent.size() + rest.size());
    EXPECT_EQ(events[0]["smtp"]["outcome"], "accepted");
    EXPECT_EQ(events[1]["sluice"]["verdict"], "reject");
    EXPECT_EQ(p.rig.anomalies(), std::vector<std::string>{"scan-budget"});
    const Json flow = p.only("flow")["flow"];
    std::size_t to_server = p.rig.by_kernel.frames[0];
    for (const Left& l : p.rig.left)
      to_server += l.out == Side::outside && l.kind != Left::Kind::injected;
    EXPECT_GE(flow["pkts_toserver"], to_server);
  }
}

TEST(Kernel, MessageIsPassedBehindTheFramesThatWaited) {
  Passing p;
  p.begin();
  const std::size_t asked = p.rig.message_edges.size();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(p.rig.message_edges.back(), p.talk.next(Direction::to_server));
    p.say("waited\r\n");
  }
  EXPECT_EQ(p.rig.message_edges.size(), asked + 3);
  EXPECT_EQ(p.rig.message_edges.back(), p.talk.next(Direction::to_server));
  // What went by once is the kernel's.
  p.pass(std::string(5000, 'y') + "\r\n");
  p.rig.marks.clear();
  p.end("last\r\n.\r\n");
  EXPECT_EQ(p.rig.marks, Marks{FlowMark::scanned});
  p.rig.finish();
  EXPECT_EQ(p.only("smtp")["smtp"]["outcome"], "accepted");
}

TEST(Kernel, FramesOfBeforeTheMarkMayComeAfterThoseThatEndIt) {
  Passing p;
  p.begin();
  p.sent += "late\r\n";
  p.talk.client("late\r\n");
  const auto late = p.talk.take();
  p.pass(std::string(5000, 'y') + "\r\n");
  p.rig.passed.over = true;
  p.talk.client("last\r\n.\r\n");
  p.rig.send(p.talk.take());
  p.rig.send(late);
  p.talk.server("250 ok\r\n");
  p.rig.send(p.talk.take());
  p.rig.finish();
  EXPECT_EQ(p.only("smtp")["smtp"]["size"], p.sent.size() + 6);
  EXPECT_EQ(p.only("smtp")["smtp"]["outcome"], "accepted");
  EXPECT_EQ(p.rig.anomalies(), std::vector<std::string>{"scan-budget"});
}

TEST(Kernel, WhatIsCondemnedIsStoppedAtItsEndAlsoWhenItPassed) {
  Passing p;
  p.begin("XJS-SPAM-XJS" + std::string(1200, 'x'));
  p.pass(std::string(5000, 'y') + "\r\n");
  p.end("last\r\n.\r\n");
  ASSERT_FALSE(p.rig.injected(Side::inside).empty());
  EXPECT_TRUE(p.rig.injected(Side::inside)[0].payload().starts_with("550 "));
  p.rig.finish();
  EXPECT_EQ(p.only("smtp")["smtp"]["outcome"], "blocked");
}

TEST(Kernel, WhereNothingUnreadIsToPassItsEndIsStopped) {
  Passing p("", policy::Exception::fail_closed);
  p.begin();
  p.pass(std::string(5000, 'y') + "\r\n");
  p.end("last\r\n.\r\n");
  ASSERT_FALSE(p.rig.injected(Side::inside).empty());
  EXPECT_TRUE(p.rig.injected(Side::inside)[0].payload().starts_with("4"));
  p.rig.finish();
  EXPECT_EQ(p.only("smtp")["sluice"]["reason"], "scan-budget");
}

TEST(Kernel, SignsOfLifeOfAMessageThatPassesAreNoGaps) {
  Passing p;
  p.begin();
  p.pass(std::string(5000, 'y') + "\r\n");
  p.talk.inject(Direction::to_client, p.talk.next(Direction::to_client), "");
  p.rig.send(p.talk.take());
  p.rig.pass(300 * kMillisecond);
  p.talk.inject(Direction::to_client, p.talk.next(Direction::to_client), "");
  p.rig.send(p.talk.take());
  p.end(".\r\n");
  p.rig.finish();
  EXPECT_EQ(p.only("smtp")["smtp"]["size"], p.sent.size());
  EXPECT_EQ(p.rig.anomalies(), std::vector<std::string>{"scan-budget"});
  EXPECT_EQ(p.rig.marks, (Marks{FlowMark::message, FlowMark::scanned, FlowMark::ended}));
}

TEST(Kernel, CommandsThatPassedBehindTheEndAreAGap) {
  Passing p;
  p.begin();
  p.say(std::string("on its way before the mark\r\n.\r\n"));
  EXPECT_EQ(p.rig.marks, (Marks{FlowMark::message, FlowMark::scanned}));
  p.talk.server("250 ok\r\n");
  p.rig.send(p.talk.take());
  p.rig.finish();
  EXPECT_EQ(p.only("smtp")["smtp"]["size"], p.sent.size() - 3);

  Passing q;
  q.begin();
  q.talk.client("on its way before the mark\r\n.\r\n");
  const auto end = q.talk.take();
  q.pass("MAIL FROM:<somebody@elsewhere.test>\r\n");
  q.rig.send(end);
  q.talk.server("250 ok\r\n250 ok\r\n");
  q.talk.client("RCPT TO:<b@b.test>\r\nDATA\r\n");
  q.talk.server("250 ok\r\n354 go\r\n");
  q.talk.client(body("XJS-SPAM-XJS") + ".\r\n");
  q.rig.send(q.talk.take());
  ASSERT_FALSE(q.rig.injected(Side::inside).empty());
  EXPECT_TRUE(q.rig.injected(Side::inside)[0].payload().starts_with("550 "));
}

TEST(Kernel, MessageWhoseMarkWasForgottenHasAGap) {
  Passing p;
  p.begin();
  p.pass(std::string(5000, 'y') + "\r\n");
  p.rig.passed = {.over = true, .content = {}};
  p.talk.client("x\r\n.\r\n");
  p.talk.server("250 ok\r\n");
  p.rig.send(p.talk.take());
  p.rig.finish();
  EXPECT_EQ(p.only("smtp")["smtp"]["outcome"], "accepted");
  EXPECT_EQ(p.rig.anomalies(), (std::vector<std::string>{"scan-budget", "stream-gap"}));
}

TEST(Kernel, MessageThatIsReadOnIsNotPassed) {
  for (const int why : {0, 1, 2, 3}) {
    RigOptions options;
    options.spec.scan_budget = 1000;
    options.hash_messages = why == 0;
    if (why == 1)
      options.spec.hosts = {
          {.prefix = v4(192, 0, 2, 10), .length = 128, .action = policy::HostAction::tarpit}};
    Rig rig(options);
    rig.passes_messages = why != 2;
    Conversation talk;
    begin_message(talk);
    // An end of data that only some servers see: what follows is read twice.
    talk.client(body(std::string(1200, 'x') + (why == 3 ? "\n.\nMAIL FROM:<s@s.test>" : "")));
    talk.client(body(std::string(1200, 'x')));
    rig.send(talk.take());
    EXPECT_TRUE(rig.marks.empty()) << why;
  }
}

TEST(Kernel, MessageThatCameBackIsPassedAgainAfterAWhile) {
  Passing p;
  p.begin();
  p.pass(std::string(5000, 'y') + "\r\n");
  p.rig.passed.over = true;
  p.say("..a dot\r\n");
  EXPECT_EQ(p.rig.marks.size(), 2u);
  p.rig.passed = {};
  int said = 0;
  for (; said < 40 && p.rig.marks.size() < 3; ++said) p.say("and so on\r\n");
  EXPECT_GT(said, 20) << "at once";
  EXPECT_EQ(p.rig.marks, (Marks{FlowMark::message, FlowMark::scanned, FlowMark::message}));
}

TEST(Kernel, ScanBudgetEndsAtTheSameOctetForEveryCut) {
  const std::string rules =
      "alert smtp any any -> any any (msg:\"a\"; content:\"fits in it\"; sid:1;)\n"
      "alert smtp any any -> any any (msg:\"b\"; content:\"fits in it|0d 0a|b\"; sid:2;)\n"
      "alert smtp any any -> any any (msg:\"c\"; content:\"behind it\"; sid:3;)\n"
      "alert smtp any any -> any any (msg:\"d\"; file_data; content:\"fits in it\"; sid:4;)\n"
      "alert smtp any any -> any any (msg:\"e\"; file_data; content:\"behind it\"; sid:5;)\n";
  const std::string fits = body("fits in it");
  const std::string mail = fits + "behind it\r\n" + std::string(3000, 'x') + "\r\n";
  for (const bool chunks : {false, true}) {
    for (const std::size_t cut : {std::size_t{1460}, std::size_t{1}, std::size_t{7}}) {
      SCOPED_TRACE(cut);
      RigOptions options{.rules = rules};
      options.spec.scan_budget = fits.size();
      Rig rig(options);
      Conversation talk({.segment_size = cut});
      begin_message(talk);
      talk.client(mail + ".\r\n");
      talk.server("250 ok\r\n");
      // The next message has a budget of its own.
      talk.client("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n");
      talk.server("250 ok\r\n250 ok\r\n");
      const std::string next = "\r\nbehind it\r\n" + mail;
      if (chunks) {
        talk.client("BDAT " + std::to_string(next.size()) + " LAST\r\n" + next);
        talk.server("250 ok\r\n");
      } else {
        talk.client("DATA\r\n");
        talk.server("354 go\r\n");
        talk.client(next + ".\r\n");
        talk.server("250 ok\r\n");
      }
      rig.send(talk.take());
      rig.finish();
      std::vector<std::pair<int, int>> told;
      for (const Json& e : rig.events_of("alert"))
        told.emplace_back(e["tx_id"], e["alert"]["signature_id"]);
      std::ranges::sort(told);
      EXPECT_EQ(told, (std::vector<std::pair<int, int>>{{0, 1}, {0, 4}, {1, 3}, {1, 5}}));
    }
  }
}

// What the edge cuts in two is not told as though it were whole: a host, a digest, a field.
TEST(Kernel, BehindTheScanBudgetAMessageIsCountedAndNotRead) {
  const std::string head =
      "From: a@a.test\r\nSubject: one\r\nMIME-Version: 1.0\r\n"
      "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
      "--b\r\n\r\nhttp://whole.test/ \r\n"
      "--b\r\nContent-Disposition: attachment; filename=first.bin\r\n\r\nfirst\r\n"
      "--b\r\nContent-Type: application/x-s; name=second.bin\r\n"
      "Content-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAAEAAAA\r\n";
  const std::string tail =
      "TVqQAAM*=\r\n--b\r\nContent-Disposition: attachment; filename=third.bin\r\n\r\n"
      "third\r\n--b--\r\n";
  struct Case {
    std::string mail;
    std::size_t budget;
    std::vector<std::string> names, digests, urls;
  };
  const std::string url = "Subject: u\r\n\r\nhttp://cut.test.example/ and more\r\n";
  const std::string field = "From: a@a.test\r\nSubject: of two words\r\n\r\ntext\r\n";
  for (const Case& c :
       {Case{head + tail,
             head.size(),
             {"first.bin", "second.bin"},
             {"first.bin"},
             {"http://whole.test/"}},
        Case{url, url.find(".example"), {}, {}, {}}, Case{field, field.find(" two"), {}, {}, {}}}) {
    Json first;
    for (const std::size_t cut : {1460u, 1u, 7u, 64u}) {
      RigOptions options;
      options.spec.scan_budget = c.budget;
      Rig rig(options);
      Conversation talk({.segment_size = cut});
      begin_message(talk);
      talk.client(c.mail + ".\r\n");
      talk.server("250 ok\r\n");
      rig.send(talk.take());
      rig.finish();
      ASSERT_EQ(rig.events_of("smtp").size(), 1u);
      const Json event = rig.events_of("smtp")[0];
      EXPECT_EQ(event["smtp"]["size"], c.mail.size());
      EXPECT_EQ(event["email"]["status"], "BODY_STARTED");
      EXPECT_EQ(rig.anomalies(), std::vector<std::string>{"scan-budget"});
      std::vector<std::string> names, digests;
      for (const Json& a : event["sluice"].value("attachments", Json::array())) {
        names.push_back(a["name"]);
        if (a.contains("sha256")) digests.push_back(a["name"]);
      }
      EXPECT_EQ(names, c.names);
      EXPECT_EQ(digests, c.digests);
      EXPECT_EQ(event["email"].value("url", std::vector<std::string>{}), c.urls);
      EXPECT_EQ(event["email"].contains("subject"), c.mail != field);
      if (first.is_null()) first = event;
      EXPECT_EQ(event["sluice"], first["sluice"]);
      EXPECT_EQ(event["email"], first["email"]);
    }
  }
}

TEST(Kernel, FlowThatMemoryTookFromInspectionFollowsThePolicy) {
  for (const auto policy : {policy::Exception::fail_open, policy::Exception::fail_closed}) {
    RigOptions options;
    options.settings.max_memory = 200 * 1024;
    options.spec.exceptions.memory = policy;
    Rig rig(options);
    // As many connections as there is room for; there is none for what they say then.
    std::vector<std::unique_ptr<Conversation>> talks;
    for (unsigned i = 0; i < 400; ++i) {
      Path path;
      path.client.port = static_cast<std::uint16_t>(20000 + i);
      talks.push_back(std::make_unique<Conversation>(
          ConversationOptions{.path = path, .start = rig.now() + kMillisecond}));
      talks.back()->open();
      rig.send(talks.back()->take());
    }
    for (const auto& talk : talks) {
      for (int i = 0; i < 3; ++i) talk->client("EHLO client.test\r\n");
      rig.send(talk->take());
    }
    const auto bypassed = std::count(rig.marks.begin(), rig.marks.end(), FlowMark::bypass);
    if (policy == policy::Exception::fail_open) {
      EXPECT_GT(bypassed, 0);
      EXPECT_EQ(rig.dropped(), 0u);
    } else {
      EXPECT_EQ(bypassed, 0);
      EXPECT_GT(rig.dropped(), 100u) << "not one frame alone";
    }
  }
}

TEST(Kernel, MailOnAnotherPortIsRecognisedByItsDialogue) {
  Path path;
  path.server.port = 8125;
  path.client.port = 1025;  // lower than the server's: no port tells who is who
  Rig rig({.rules = kRejectRule});
  Conversation talk({.path = path});
  begin_message(talk);
  talk.client(body("XJS-SPAM-XJS"));
  talk.client(".\r\n");
  rig.send(talk.take());
  ASSERT_FALSE(rig.injected(Side::inside).empty());
  EXPECT_TRUE(rig.injected(Side::inside)[0].payload().starts_with("550 "));
  ASSERT_EQ(rig.events_of("smtp").size(), 1u) << Json(rig.events);
  EXPECT_EQ(rig.events_of("smtp")[0]["dest_port"], 8125);

  // The client's word alone does it too.
  Rig quiet({.rules = kRejectRule});
  Conversation late({.path = path});
  late.open();
  late.server("220 hello there\r\n");
  late.client("EHLO client.test\r\n");
  late.server(kEhloReply);
  late.client("MAIL FROM:<a@a.test>\r\n");
  late.server("250 ok\r\n");
  quiet.send(late.take());
  quiet.finish();
  ASSERT_EQ(quiet.events_of("smtp").size(), 1u) << Json(quiet.events);
  EXPECT_EQ(quiet.events_of("smtp")[0]["smtp"]["mail_from"], "<a@a.test>");
  EXPECT_EQ(quiet.marks, Marks{FlowMark::ended}) << "the kernel sent it here";
}

TEST(Kernel, WhatGreetsLikeMailAndIsNoneIsGivenBack) {
  const std::pair<std::string_view, std::string_view> talks[] = {
      {"220 ftp.test FTP server ready\r\n", "USER anonymous\r\n"},
      {"220 hello there\r\n", "USER anonymous\r\n"},
      {"220 hello there\r\n", "GET / HTTP/1.1\r\n"}};
  for (const auto& [greeting, answer] : talks) {
    Path path;
    path.server.port = 21;
    Rig rig;
    Conversation talk({.path = path});
    talk.open();
    talk.server(greeting);
    talk.client(answer);
    for (int i = 0; i < 100; ++i) talk.server(std::string(1000, 'd'));
    rig.send(talk.take());
    EXPECT_EQ(rig.dropped(), 0u);
    EXPECT_FALSE(rig.marks.empty());
    for (const FlowMark m : rig.marks) EXPECT_EQ(m, FlowMark::not_mail);
    EXPECT_TRUE(rig.anomalies().empty() ||
                rig.anomalies() == std::vector<std::string>{"midstream"});
  }
  // Other traffic does not become a flow at all.
  Path path;
  path.server.port = 80;
  Rig rig;
  Conversation web({.path = path});
  web.open();
  web.client("GET / HTTP/1.1\r\n\r\n");
  web.server("HTTP/1.1 200 OK\r\n\r\n");
  rig.send(web.take());
  EXPECT_EQ(rig.engine().flows(), 0u);
}

}  // namespace
}  // namespace sluice::test
