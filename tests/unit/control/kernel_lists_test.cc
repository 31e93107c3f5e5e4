// The kernel's lists are made equal to what is wanted, whatever was there, whatever fails on the
// way.
#include "control/publish/kernel_lists.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include "control/identity/prefix.h"

namespace sluice::control {
namespace {

class Steps final : public Executor {
 public:
  void run(std::function<void()> work, std::function<void()> done) override {
    queue_.emplace_back(std::move(work), std::move(done));
  }
  void all() {
    while (!queue_.empty()) {
      auto [work, done] = std::move(queue_.front());
      queue_.pop_front();
      work();
      if (done) done();
    }
  }

 private:
  std::deque<std::pair<std::function<void()>, std::function<void()>>> queue_;
};

struct Table {
  std::map<std::string, KernelEntry> entries;
  std::vector<std::string> log;  // "put ...", "remove ...", "replace"
  std::vector<std::uint16_t> ports;
  policy::Exception failure = policy::Exception::fail_open;
  int settings = 0;
  int fail_after = -1;  // operations until one fails; -1: none
  bool attached = true;
  bool fails() {
    if (fail_after < 0) return false;
    return fail_after-- == 0;
  }
};

class FakeWire final : public KernelWire {
 public:
  explicit FakeWire(Table& t) : t_(t) {}
  Status put(const KernelEntry& e) override {
    if (t_.fails()) return Error{"put fails"};
    t_.log.push_back("put " + to_text(e.prefix) + (e.allow ? " allow" : ""));
    t_.entries[to_text(e.prefix)] = e;
    return ok();
  }
  Status remove(const Prefix& p) override {
    if (t_.fails()) return Error{"remove fails"};
    t_.log.push_back("remove " + to_text(p));
    t_.entries.erase(to_text(p));
    return ok();
  }
  Status replace(std::span<const KernelEntry> all) override {
    if (t_.fails()) return Error{"replace fails"};
    t_.log.emplace_back("replace");
    t_.entries.clear();
    for (const KernelEntry& e : all) t_.entries[to_text(e.prefix)] = e;
    return ok();
  }
  Result<std::vector<KernelEntry>> entries() override {
    std::vector<KernelEntry> all;
    for (const auto& [text, e] : t_.entries) all.push_back(e);
    return all;
  }
  Status set(std::span<const std::uint16_t> ports, policy::Exception failure) override {
    ++t_.settings;
    t_.ports.assign(ports.begin(), ports.end());
    t_.failure = failure;
    return ok();
  }
  void read_state(KernelState& s) override { s.alive = true; }
  std::vector<KernelProbe> probe(std::uint16_t port, std::uint32_t) override {
    return {{"inside", "mail segment", "", true, "mail-to-socket", port}};
  }

 private:
  Table& t_;
};

KernelEntry block(const std::string& prefix, Nanoseconds expires = 0) {
  return {parse_prefix(prefix)->prefix, false, BlockAction::reset, expires};
}
KernelEntry allow(const std::string& prefix) {
  return {parse_prefix(prefix)->prefix, true, BlockAction::reset, 0};
}

class KernelListsTest : public testing::Test {
 protected:
  KernelLists::Wanted wire(bool enforce = true) const {
    return {"w1", enforce, policy::Exception::fail_open};
  }
  void want(std::vector<KernelEntry> entries, bool enforce = true) {
    std::sort(entries.begin(), entries.end(), [](const KernelEntry& a, const KernelEntry& b) {
      return std::tie(a.prefix.address, a.prefix.length) <
             std::tie(b.prefix.address, b.prefix.length);
    });
    lists.want({wire(enforce)}, {25}, [entries] { return entries; });
    steps.all();
  }
  std::set<std::string> names() const {
    std::set<std::string> all;
    for (const auto& [text, e] : table.entries) all.insert(text);
    return all;
  }

  Table table;
  Steps steps;
  KernelLists lists{steps, [this](const std::string&) -> Result<std::unique_ptr<KernelWire>> {
                      if (!table.attached) return Error{"not attached"};
                      return std::unique_ptr<KernelWire>(std::make_unique<FakeWire>(table));
                    }};
};

using Names = std::set<std::string>;

TEST_F(KernelListsTest, ADifferenceIsAppliedEntryByEntryAllowsFirst) {
  want({block("192.0.2.0/24"), block("198.51.100.7")});
  EXPECT_EQ(names(), (Names{"192.0.2.0/24", "198.51.100.7"}));
  table.log.clear();
  want({block("192.0.2.0/24"), allow("192.0.2.9"), block("203.0.113.0/24")});
  EXPECT_EQ(table.log, (std::vector<std::string>{"put 192.0.2.9 allow", "put 203.0.113.0/24",
                                                 "remove 198.51.100.7"}));
  table.log.clear();
  want({block("192.0.2.0/24"), allow("192.0.2.9"), block("203.0.113.0/24")});
  EXPECT_TRUE(table.log.empty()) << "nothing changed";
}

TEST_F(KernelListsTest, AChangedEndOrActionIsAChange) {
  want({block("192.0.2.1", 100)});
  table.log.clear();
  want({block("192.0.2.1", 200)});
  EXPECT_EQ(table.log, std::vector<std::string>{"put 192.0.2.1"});
  table.log.clear();
  KernelEntry dropped = block("192.0.2.1", 200);
  dropped.action = BlockAction::drop;
  want({dropped});
  EXPECT_EQ(table.log.size(), 1u);
}

TEST_F(KernelListsTest, ALargeDifferenceIsSwappedWhole) {
  std::vector<KernelEntry> many;
  for (unsigned i = 0; i < KernelLists::kMostSingleChanges + 1; ++i) {
    many.push_back(block("10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256)));
  }
  want(many);
  EXPECT_EQ(table.log, std::vector<std::string>{"replace"});
  EXPECT_EQ(table.entries.size(), many.size());
}

TEST_F(KernelListsTest, MonitorModeKeepsTheListsEmptyButTheSettings) {
  want({block("192.0.2.1")});
  want({block("192.0.2.1")}, false);
  EXPECT_TRUE(table.entries.empty());
  EXPECT_EQ(table.ports, std::vector<std::uint16_t>{25});
  want({block("192.0.2.1")});
  EXPECT_EQ(names(), Names{"192.0.2.1"});
}

TEST_F(KernelListsTest, WhatIsInTheKernelIsReadBack) {
  table.entries["198.51.100.1"] = block("198.51.100.1");
  table.entries["198.51.100.2"] = block("198.51.100.2", 99);
  want({block("198.51.100.1")});
  EXPECT_EQ(names(), Names{"198.51.100.1"});
  EXPECT_EQ(table.log, std::vector<std::string>{"remove 198.51.100.2"});
}

TEST_F(KernelListsTest, AWireThatIsNotAttachedIsTriedAgain) {
  table.attached = false;
  want({block("192.0.2.1")});
  EXPECT_FALSE(lists.states().at("w1").open);
  EXPECT_EQ(lists.states().at("w1").error, "not attached");
  table.attached = true;
  lists.refresh();
  steps.all();
  EXPECT_TRUE(lists.states().at("w1").open);
  EXPECT_EQ(names(), Names{"192.0.2.1"});
}

TEST_F(KernelListsTest, NewMapsAreFilledAgain) {
  want({block("192.0.2.1")});
  table.entries.clear();  // the loader took the wire apart and put it together
  lists.reopen();
  steps.all();
  EXPECT_EQ(names(), Names{"192.0.2.1"});
}

// Whatever fails, the next step ends in what is wanted.
TEST_F(KernelListsTest, AfterAnyFailureTheWantedStateIsReached) {
  std::mt19937 random(7);
  std::vector<KernelEntry> wanted;
  for (int round = 0; round < 400; ++round) {
    wanted.clear();
    const auto count = static_cast<unsigned>(random() % 12);
    std::set<std::string> seen;
    for (unsigned i = 0; i < count; ++i) {
      const std::string host = "10.1.1." + std::to_string(random() % 16);
      if (!seen.insert(host).second) continue;
      wanted.push_back(random() % 4 == 0 ? allow(host) : block(host, random() % 3));
    }
    table.fail_after = random() % 3 == 0 ? static_cast<int>(random() % 6) : -1;
    want(wanted);
    table.fail_after = -1;
    lists.refresh();
    steps.all();
    Names expected;
    for (const KernelEntry& e : wanted) expected.insert(to_text(e.prefix));
    ASSERT_EQ(names(), expected) << "round " << round;
    for (const KernelEntry& e : wanted) {
      ASSERT_TRUE(table.entries.at(to_text(e.prefix)) == e) << "round " << round;
    }
  }
}

TEST_F(KernelListsTest, SettingsAreWrittenWhenTheyChange) {
  want({});
  const int before = table.settings;
  want({});
  EXPECT_EQ(table.settings, before);
  lists.want({{"w1", true, policy::Exception::fail_closed}}, {25, 587}, {});
  steps.all();
  EXPECT_EQ(table.settings, before + 1);
  EXPECT_EQ(table.failure, policy::Exception::fail_closed);
  EXPECT_EQ(table.ports, (std::vector<std::uint16_t>{25, 587}));
}

TEST_F(KernelListsTest, ProbesGoToTheWireThatIsOpen) {
  std::vector<KernelProbe> got{{}};
  lists.probe("w1", 25, 1, [&](const auto& p) { got = p; });
  steps.all();
  EXPECT_TRUE(got.empty()) << "nothing is open yet";
  want({});
  lists.probe("w1", 587, 1, [&](const auto& p) { got = p; });
  steps.all();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].nanoseconds, 587u);
}

}  // namespace
}  // namespace sluice::control
