// Rulesets that change while messages are in progress: a message is judged by the one that it began
// with, four are live at most, and beyond that the oldest messages take the declared policy.
#include "tests/unit/inspect/rig.h"

namespace sluice::test {
namespace {

using contract::Counter;

std::string rules_for(int word) {
  return "reject smtp any any -> any any (msg:\"m\"; content:\"word-" + std::to_string(word) +
         "\"; sid:" + std::to_string(word) + "; rev:1;)\n";
}

// A flow of its own that has begun a message with every word in it, under the rules of the time.
struct Talk {
  explicit Talk(Rig& rig, std::uint16_t port)
      : rig(rig), talk({.path = path(port), .start = rig.now() + kMillisecond}) {
    begin_message(talk);
    std::string words;
    for (int i = 1; i <= 9; ++i) words += "word-" + std::to_string(i) + " ";
    talk.client(body(words + std::string(1000, 'x')));
    rig.send(talk.take());
  }
  static Path path(std::uint16_t port) {
    Path p;
    p.client.port = port;
    return p;
  }
  // What the event of the message says when it has ended.
  Json end() {
    talk.wait(rig.now() + kMillisecond - std::min(talk.now(), rig.now() + kMillisecond));
    const std::size_t before = rig.events_of("smtp").size();
    talk.client(".\r\n");
    talk.server("250 ok\r\n");
    rig.send(talk.take());
    const auto events = rig.events_of("smtp");
    return events.size() > before ? events.back() : Json{};
  }
  Rig& rig;
  Conversation talk;
};

TEST(Rulesets, AMessageIsJudgedByTheRulesThatItBeganWith) {
  Rig rig({.rules = rules_for(1)});
  Talk one(rig, 40001);
  rig.set_rules(rules_for(2));
  Talk two(rig, 40002);
  rig.set_rules(rules_for(3));
  EXPECT_EQ(two.end()["sluice"]["rules"], Json({"2"}));
  EXPECT_EQ(one.end()["sluice"]["rules"], Json({"1"}));
  EXPECT_EQ(rig.statistics().read(Counter::rulesets_withdrawn), 0u);
}

TEST(Rulesets, TheFifthTakesTheOldestFromItsMessages) {
  for (const auto declared : {policy::Exception::fail_open, policy::Exception::fail_closed}) {
    RigOptions options{.rules = rules_for(1)};
    options.spec.exceptions.memory = declared;
    Rig rig(options);
    std::vector<std::unique_ptr<Talk>> talks;
    for (int i = 1; i <= 4; ++i) {
      if (i > 1) rig.set_rules(rules_for(i));
      talks.push_back(std::make_unique<Talk>(rig, static_cast<std::uint16_t>(40000 + i)));
    }
    EXPECT_EQ(rig.statistics().read(Counter::rulesets_withdrawn), 0u);
    rig.set_rules(rules_for(5));
    EXPECT_EQ(rig.statistics().read(Counter::rulesets_withdrawn), 1u);
    const Json oldest = talks[0]->end();
    EXPECT_FALSE(oldest["sluice"].contains("rules"));
    if (declared == policy::Exception::fail_open) {
      EXPECT_EQ(oldest["smtp"]["outcome"], "accepted");
    } else {
      EXPECT_EQ(oldest["sluice"]["verdict"], "tempfail");
      EXPECT_EQ(oldest["sluice"]["reason"], "scan-incomplete");
      EXPECT_EQ(oldest["smtp"]["outcome"], "blocked");
    }
    for (std::size_t i = 1; i < 4; ++i)
      EXPECT_EQ(talks[i]->end()["sluice"]["rules"], Json({std::to_string(i + 1)}));
    // Its next message is scanned again, by the rules in force.
    if (declared == policy::Exception::fail_open) {
      Conversation& talk = talks[0]->talk;
      talk.wait(kSecond);
      for (const char* say : {"MAIL FROM:<a@a.test>\r\n", "RCPT TO:<b@b.test>\r\n"}) {
        talk.client(say);
        talk.server("250 ok\r\n");
      }
      talk.client("DATA\r\n");
      talk.server("354 go\r\n");
      talk.client(body("word-5"));
      rig.send(talk.take());
      EXPECT_EQ(talks[0]->end()["sluice"]["rules"], Json({"5"}));
    }
  }
}

TEST(Rulesets, WithdrawingIsByEpochAndBounded) {
  Rig rig({.rules = rules_for(1)});  // epoch 1
  std::vector<std::unique_ptr<Talk>> talks;
  for (unsigned i = 0; i < 1500; ++i)
    talks.push_back(std::make_unique<Talk>(rig, static_cast<std::uint16_t>(10000 + i)));
  rig.set_rules(rules_for(2));  // epoch 2
  Talk later(rig, 40002);
  rig.set_rules(rules_for(3));
  EXPECT_TRUE(rig.engine().release_rulesets_before(1));
  EXPECT_EQ(rig.statistics().read(Counter::rulesets_withdrawn), 0u);
  EXPECT_FALSE(rig.engine().release_rulesets_before(2)) << "not all in one go";
  EXPECT_TRUE(rig.engine().release_rulesets_before(2));
  EXPECT_EQ(rig.statistics().read(Counter::rulesets_withdrawn), 1500u);
  EXPECT_EQ(talks[7]->end()["smtp"]["outcome"], "accepted");
  EXPECT_EQ(later.end()["sluice"]["rules"], Json({"2"}));
}

control::ListToCompile bad_urls(const std::string& name, std::string_view hosts) {
  control::ListToCompile one;
  one.list.rule.name = name;
  one.list.places = mask_of(lists::Place::url);
  one.entries = std::make_shared<const control::MatchList>(
      control::parse_match_list(hosts, control::MatchKind::url));
  EXPECT_EQ(one.entries->fault_count, 0u);
  return one;
}

// Every URL is looked up in the lists with which the message began: in those before the change, in
// those behind it, and in one that it cuts.
TEST(Rulesets, AMessageIsJudgedByTheListsThatItBeganWith) {
  Rig rig({.rules = rules_for(1)});
  rig.set_lists({bad_urls("first", "one.test\nboth.test\n"), bad_urls("gone", "none.test\n")});
  Talk talk(rig, 40001);
  Talk clean(rig, 40002);
  talk.talk.client("see http://one.test/ and http://two.test/ and http://bo");
  rig.send(talk.talk.take());
  rig.set_lists({bad_urls("second", "two.test\nboth.test\nclean.test\n")});
  talk.talk.client("th.test/ and http://two.test/x and http://none.test/ too\r\n");
  clean.talk.client("nothing but http://clean.test/ here\r\n");
  rig.send(talk.talk.take());
  rig.send(clean.talk.take());
  Talk later(rig, 40003);
  later.talk.client("http://one.test/ http://two.test/ http://none.test/\r\n");
  rig.send(later.talk.take());
  const Json of_later = later.end();
  EXPECT_EQ(of_later["sluice"]["rules"], Json({"1", "second"}));
  const Json of_talk = talk.end();
  EXPECT_EQ(of_talk["sluice"]["rules"], Json({"1", "first", "gone"}));
  EXPECT_EQ(clean.end()["sluice"]["rules"], Json({"1"})) << "it is on the new list only";
  EXPECT_EQ(rig.statistics().read(Counter::rulesets_withdrawn), 0u);
}

// Lists change more often than databases: five changes in one message, and the fifth set takes the
// oldest from its message, which is then judged as declared, never by the new one.
TEST(Rulesets, ListsCountAsRulesetsOfTheirOwn) {
  Rig rig({.rules = rules_for(1)});
  std::vector<std::unique_ptr<Talk>> talks;
  for (int i = 1; i <= 4; ++i) {
    rig.set_lists({bad_urls("list-" + std::to_string(i), "bad.test\n")});
    talks.push_back(std::make_unique<Talk>(rig, static_cast<std::uint16_t>(41000 + i)));
  }
  EXPECT_EQ(rig.statistics().read(Counter::rulesets_withdrawn), 0u);
  rig.set_lists({bad_urls("list-5", "bad.test\n")});
  EXPECT_EQ(rig.statistics().read(Counter::rulesets_withdrawn), 1u);
  for (std::size_t i = 0; i < talks.size(); ++i) {
    talks[i]->talk.client("http://bad.test/\r\n");
    rig.send(talks[i]->talk.take());
    const Json event = talks[i]->end();
    if (i == 0) {
      EXPECT_FALSE(event["sluice"].contains("rules")) << event;
      EXPECT_EQ(event["smtp"]["outcome"], "accepted");
    } else {
      EXPECT_EQ(event["sluice"]["rules"], Json({"1", "list-" + std::to_string(i + 1)}));
    }
  }
}

// One that is not in force and that no message uses is let go at once: the publisher may free it.
TEST(Rulesets, WhatNobodyUsesIsLetGo) {
  Rig rig({.rules = rules_for(1)});
  const std::weak_ptr<const scan::Ruleset> first = rig.policy().shared_ruleset();
  Talk talk(rig, 40001);
  rig.set_rules(rules_for(2));
  rig.forget_old_policies();
  EXPECT_FALSE(first.expired()) << "a message is judged by it";
  talk.end();
  EXPECT_TRUE(first.expired());
}

}  // namespace
}  // namespace sluice::test
