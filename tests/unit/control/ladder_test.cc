// The ladder with a clock of the test's own.
#include "control/detect/ladder.h"

#include <gtest/gtest.h>

namespace sluice::control {
namespace {

Address address(const std::string& text) { return *parse_address(text); }
Prefix prefix(const std::string& text) { return parse_prefix(text)->prefix; }

class LadderTest : public testing::Test {
 protected:
  LadderTest() : ladder(config()) {}
  static DetectionConfig config() {
    DetectionConfig c;
    c.window = 60;
    c.limit_threshold = 3;
    c.block_threshold = 5;
    c.limit_duration = 100;
    c.block_duration = 1000;
    c.minimum_acted_on = 2;
    return c;
  }
  std::vector<Change> hit(const std::string& host, bool enforcing = true) {
    MessageSeen m;
    m.client = address(host);
    m.condemned = true;
    m.enforcing = enforcing;
    m.wire = "w1";
    m.why = "SPAM_PHRASE";
    m.event = ++events;
    return ladder.message(m, now);
  }
  // The changes of `count` hits, together.
  std::vector<Change> hits(int count, const std::string& host, bool enforcing = true) {
    std::vector<Change> all;
    for (int i = 0; i < count; ++i) {
      for (Change& c : hit(host, enforcing)) all.push_back(std::move(c));
    }
    return all;
  }
  std::vector<Change> allow(const std::string& text) {
    return ladder.set_allowed(
        [p = prefix(text)](const Prefix& host) { return contains(p, host.address); });
  }
  void clean(const std::string& host) {
    MessageSeen m;
    m.client = address(host);
    ladder.message(m, now);
  }

  Ladder ladder;
  Nanoseconds now = 1000 * kSecond;
  std::uint64_t events = 0;
};

TEST_F(LadderTest, OneHitNeverActs) {
  for (int i = 1; i < 100; ++i) {
    EXPECT_TRUE(hit("192.0.2.1").empty());
    now += 60 * kSecond;  // just outside the window
  }
  EXPECT_EQ(ladder.find(address("192.0.2.1"))->condemned, 99u);
  EXPECT_EQ(ladder.acted_on_count(), 0u);
}

TEST_F(LadderTest, ClimbsByCountInTheWindow) {
  EXPECT_TRUE(hits(2, "192.0.2.1").empty());
  auto changes = hit("192.0.2.1");
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].from, Level::clean);
  EXPECT_EQ(changes[0].to, Level::limit);
  EXPECT_EQ(changes[0].held_back, HeldBack::no);
  EXPECT_EQ(changes[0].evidence.size(), 3u);
  EXPECT_EQ(changes[0].evidence[0].why, "SPAM_PHRASE");
  EXPECT_NE(changes[0].arithmetic.find("3 condemned messages within 60 s"), std::string::npos);
  EXPECT_TRUE(hit("192.0.2.1").empty()) << "fourth: still limited";
  changes = hit("192.0.2.1");
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].from, Level::limit);
  EXPECT_EQ(changes[0].to, Level::block);
  EXPECT_EQ(changes[0].until, now + 1000 * kSecond);
  EXPECT_EQ(ladder.find(address("192.0.2.1"))->enforced, Level::block);
  EXPECT_EQ(ladder.acted_on_count(), 1u);
}

TEST_F(LadderTest, E11_BlockEndsAfterExactlyItsTime) {
  hits(5, "192.0.2.1");
  const Nanoseconds until = now + 1000 * kSecond;
  EXPECT_EQ(ladder.next_deadline(), until);
  EXPECT_TRUE(ladder.tick(until - 1).empty());
  const auto changes = ladder.tick(until);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].from, Level::block);
  EXPECT_EQ(changes[0].to, Level::limit) << "steps down one step";
  EXPECT_EQ(changes[0].until, until + 100 * kSecond);
  const auto end = ladder.tick(until + 100 * kSecond);
  ASSERT_EQ(end.size(), 1u);
  EXPECT_EQ(end[0].to, Level::clean);
  EXPECT_EQ(ladder.next_deadline(), UINT64_MAX);
  EXPECT_EQ(ladder.acted_on_count(), 0u);
}

TEST_F(LadderTest, AStepDownForgetsTheEvidence) {
  hits(5, "192.0.2.1");
  now += 1000 * kSecond;
  ladder.tick(now);
  EXPECT_TRUE(hits(2, "192.0.2.1").empty());
  EXPECT_EQ(ladder.find(address("192.0.2.1"))->enforced, Level::limit);
  EXPECT_TRUE(hits(2, "192.0.2.1").empty());
  const auto changes = hit("192.0.2.1");
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].to, Level::block) << "five fresh ones";
}

// The window outlasts the block: without forgetting, the first new hit would block again.
TEST_F(LadderTest, AStepDownForgetsEvidenceThatIsStillInTheWindow) {
  auto c = config();
  c.window = 5000;
  ladder.configure(c, {});
  hits(5, "192.0.2.1");
  now += 1000 * kSecond;
  ladder.tick(now);
  EXPECT_TRUE(hits(4, "192.0.2.1").empty());
  EXPECT_EQ(ladder.find(address("192.0.2.1"))->enforced, Level::limit);
}

TEST_F(LadderTest, TheWindowIsOpenAtItsEnd) {
  hits(2, "192.0.2.1");
  now += 60 * kSecond;
  EXPECT_TRUE(hit("192.0.2.1").empty()) << "exactly a window later";
  hits(2, "192.0.2.2");
  now += 60 * kSecond - 1;
  EXPECT_FALSE(hit("192.0.2.2").empty()) << "a nanosecond before";
}

TEST_F(LadderTest, NoStepDownWhenConfigured) {
  auto c = config();
  c.step_down = false;
  ladder.configure(c, {});
  hits(5, "192.0.2.1");
  const auto changes = ladder.tick(now + 1000 * kSecond);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].to, Level::clean);
}

TEST_F(LadderTest, AHitRenewsTheLimit) {
  hits(3, "192.0.2.1");
  now += 59 * kSecond;
  hit("192.0.2.1");
  EXPECT_EQ(ladder.next_deadline(), now + 100 * kSecond);
}

TEST_F(LadderTest, CleanMessagesAreNoEvidence) {
  for (int i = 0; i < 1000; ++i) clean("192.0.2.1");
  EXPECT_EQ(ladder.find(address("192.0.2.1"))->messages, 1000u);
  EXPECT_TRUE(hits(2, "192.0.2.1").empty());
}

TEST_F(LadderTest, MonitorModeOnlySays) {
  const auto changes = hits(5, "192.0.2.1", false);
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[0].to, Level::limit);
  EXPECT_EQ(changes[1].to, Level::block);
  for (const Change& c : changes) {
    EXPECT_EQ(c.held_back, HeldBack::monitor);
    EXPECT_EQ(c.from, Level::clean);
  }
  EXPECT_TRUE(hits(50, "192.0.2.1", false).empty()) << "said once";
  EXPECT_EQ(ladder.acted_on_count(), 0u);
  // The operator commits enforcement: the next hit acts.
  const auto acted = hit("192.0.2.1", true);
  ASSERT_EQ(acted.size(), 1u);
  EXPECT_EQ(acted[0].to, Level::block);
  EXPECT_EQ(acted[0].held_back, HeldBack::no);
}

TEST_F(LadderTest, CapHoldsBackAndSaysSo) {
  EXPECT_EQ(hits(3, "192.0.2.1").at(0).held_back, HeldBack::no);
  EXPECT_EQ(hits(3, "192.0.2.2").at(0).held_back, HeldBack::no);
  const auto third = hits(3, "192.0.2.3");
  ASSERT_EQ(third.size(), 1u);
  EXPECT_EQ(third[0].held_back, HeldBack::cap);
  EXPECT_EQ(ladder.acted_on_count(), 2u);
  // One that is acted on already may climb: it is no further host.
  EXPECT_EQ(hits(2, "192.0.2.1").at(0).to, Level::block);
  // Room again, and fresh evidence: acted on.
  ladder.release(prefix("192.0.2.2"), 0);
  const auto now_acted = hit("192.0.2.3");
  ASSERT_EQ(now_acted.size(), 1u);
  EXPECT_EQ(now_acted[0].held_back, HeldBack::no);
}

TEST_F(LadderTest, CapGrowsWithTheHostsSeen) {
  auto c = config();
  c.maximum_share = 5.0;
  ladder.configure(c, {});
  for (int i = 0; i < 200; ++i) clean("10.0.0." + std::to_string(i));
  EXPECT_EQ(ladder.cap(), 10u);
}

TEST_F(LadderTest, AllowedAreNeverActedOn) {
  allow("192.0.2.0/28");
  EXPECT_TRUE(hits(100, "192.0.2.7").empty());
  EXPECT_FALSE(hits(5, "192.0.2.77").empty());
  // E02: an allow added afterwards lifts the block.
  const auto lifted = allow("192.0.2.77");
  ASSERT_EQ(lifted.size(), 1u);
  EXPECT_EQ(lifted[0].from, Level::block);
  EXPECT_EQ(lifted[0].to, Level::clean);
  EXPECT_EQ(ladder.acted_on_count(), 0u);
}

TEST_F(LadderTest, F06_SharedAddressesAreOnlyLimited) {
  ladder.configure(config(), {{prefix("192.0.2.0/24"), Role::shared_address, ""},
                              {prefix("192.0.2.128/25"), Role::infrastructure, ""}});
  const auto changes = hits(50, "192.0.2.1");
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[0].to, Level::limit);
  EXPECT_EQ(changes[0].held_back, HeldBack::no);
  EXPECT_EQ(changes[1].to, Level::block);
  EXPECT_EQ(changes[1].held_back, HeldBack::shared_address);
  EXPECT_EQ(ladder.find(address("192.0.2.1"))->enforced, Level::limit);
  EXPECT_TRUE(hits(50, "192.0.2.200").empty()) << "longest prefix: infrastructure";
}

TEST_F(LadderTest, E16_Ipv6IsCountedByPrefix) {
  std::vector<Change> changes;
  for (int i = 0; i < 5; ++i) {
    for (Change& c : hit("2001:db8:0:1::" + std::to_string(i + 1))) changes.push_back(c);
  }
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(to_text(changes[1].host), "2001:db8:0:1::/64");
  EXPECT_EQ(ladder.find(address("2001:db8:0:2::1")), nullptr);
  auto c = config();
  c.ipv6_single_host = {prefix("2001:db8:5::/48")};
  ladder.configure(c, {});
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(hit("2001:db8:5::" + std::to_string(i + 1)).empty());
  EXPECT_EQ(to_text(ladder.host_of(address("2001:db8:5::9"))), "2001:db8:5::9");
}

TEST_F(LadderTest, E16_TheTableIsBounded) {
  auto c = config();
  c.maximum_hosts = 100;
  ladder.configure(c, {});
  hits(5, "192.0.2.1");
  for (int i = 0; i < 5000; ++i) {
    clean("10." + std::to_string(i / 250) + ".0." + std::to_string(i % 250));
  }
  EXPECT_EQ(ladder.hosts(), 100u);
  ASSERT_NE(ladder.find(address("192.0.2.1")), nullptr) << "acted on: not forgotten";
  EXPECT_EQ(ladder.find(address("192.0.2.1"))->enforced, Level::block);
  EXPECT_GT(ladder.forgotten(), 4000u);
}

TEST_F(LadderTest, IdleHostsAreForgottenAfterADay) {
  clean("192.0.2.1");
  hits(3, "192.0.2.2");
  now += Ladder::kForgetAfter + kSecond;
  ladder.tick(now);  // the limit ends
  ladder.tick(now);
  ladder.tick(now);
  EXPECT_EQ(ladder.hosts(), 0u);
}

TEST_F(LadderTest, ReleaseForgives) {
  hits(5, "192.0.2.1");
  hits(5, "192.0.2.2");
  const auto changes = ladder.release(prefix("192.0.2.0/24"), 0);
  EXPECT_EQ(changes.size(), 2u);
  EXPECT_TRUE(changes[0].released);
  EXPECT_EQ(ladder.acted_on_count(), 0u);
  EXPECT_TRUE(hits(2, "192.0.2.1").empty()) << "from the beginning";
  EXPECT_TRUE(ladder.release(prefix("192.0.2.9"), 0).empty());
}

TEST_F(LadderTest, ReleaseForgivesWhatIsToldLater) {
  hits(3, "192.0.2.1");
  ladder.release(prefix("192.0.2.1"), 1000);
  const auto told = [&](std::uint64_t wall) {
    const MessageSeen seen{
        .client = address("192.0.2.1"), .condemned = true, .enforcing = true, .wall = wall};
    return ladder.message(seen, now);
  };
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(told(999).empty());
  EXPECT_EQ(ladder.find(address("192.0.2.1"))->condemned, 8u) << "they are counted";
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(told(1001).empty());
  EXPECT_EQ(told(1001).size(), 1u) << "fresh evidence";
}

TEST_F(LadderTest, RestoredStandingsRunOut) {
  Standing s;
  s.host = prefix("192.0.2.1");
  s.decided = s.enforced = Level::block;
  s.until = now + 30 * kSecond;
  ladder.restore(s, now);
  EXPECT_EQ(ladder.acted_on_count(), 1u);
  ladder.restore(s, now);
  EXPECT_EQ(ladder.acted_on_count(), 1u) << "once";
  EXPECT_EQ(ladder.tick(now + 30 * kSecond).size(), 1u);
}

TEST_F(LadderTest, TopPutsThoseActedOnFirst) {
  for (int i = 0; i < 50; ++i) clean("10.0.0.1");
  hit("10.0.0.2");
  hits(5, "10.0.0.3");
  const auto top = ladder.top(2);
  ASSERT_EQ(top.size(), 2u);
  EXPECT_EQ(to_text(top[0]->host), "10.0.0.3");
  EXPECT_EQ(to_text(top[1]->host), "10.0.0.2");
}

}  // namespace
}  // namespace sluice::control
