// Each action on the wire, each kind of order for a host, and second readings of a message.
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
  RigOptions options{.rules = rule("reject")};
  options.spec.groups.push_back(
      {.group = {.name = "default", .rule_reject = contract::Verdict::reset}, .members = {}});
  Rig rig(options);
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
  EXPECT_GT(rig.statistics().read(contract::Counter::memory_refused), 0u);
  rig.finish();
  EXPECT_EQ(rig.engine().flows(), 0u);
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
