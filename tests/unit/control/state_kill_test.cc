// The stores when the process or the power goes at any moment: what was answered is there, nothing
// is half, files of older schemas are taken over, files that are damaged are got over.
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <random>
#include <set>

#include "control/store/message_journal.h"
#include "control/store/pattern.h"
#include "control/store/state_store.h"
#include "tests/unit/control/temporary_folder.h"

namespace sluice::control {
namespace {

using testing_support::TemporaryFolder;

Prefix prefix(const std::string& text) { return parse_prefix(text)->prefix; }
std::string host(unsigned i) {
  return "10." + std::to_string(i >> 16 & 255) + "." + std::to_string(i >> 8 & 255) + "." +
         std::to_string(i & 255);
}

// A process that gives orders, takes back every third, and says through a pipe what is done.
pid_t writer(const std::filesystem::path& folder, int pipe, unsigned first) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  auto store = StateStore::open(folder);
  if (!store) ::_exit(1);
  for (unsigned i = first;; ++i) {
    Order o;
    o.prefix = prefix(host(i));
    o.comment = "order " + std::to_string(i);
    o.ticket = "T-" + std::to_string(i);
    if (!(*store)->put_order(o, store_clock())) ::_exit(2);
    if (i % 3 == 0 && !(*store)->remove_order(o.prefix)) ::_exit(3);
    if (::write(pipe, &i, sizeof i) != sizeof i) ::_exit(4);
  }
}

TEST(StateKilled, WhatWasSaidToBeDoneIsThereAfterAnyKill) {
  TemporaryFolder folder;
  std::mt19937 random(std::random_device{}());
  unsigned next = 1;
  unsigned done = 0;
  for (int round = 0; round < 12; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t pid = writer(folder.path(), ends[1], next);
    ASSERT_GT(pid, 0);
    ::close(ends[1]);
    // Killed in the middle of whatever it does after a number of answers.
    const auto answers = static_cast<unsigned>(1 + random() % 40);
    unsigned said = 0;
    for (unsigned i = 0; i < answers && ::read(ends[0], &said, sizeof said) == sizeof said; ++i) {
      done = said;
    }
    if (random() % 2 == 0) ::usleep(static_cast<useconds_t>(random() % 3000));
    ::kill(pid, SIGKILL);
    while (::read(ends[0], &said, sizeof said) == sizeof said) done = said;
    ::close(ends[0]);
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it ended by itself: " << WEXITSTATUS(status);

    auto store = StateStore::open(folder.path());
    ASSERT_TRUE(store) << store.error();
    EXPECT_EQ((*store)->warning(), "");
    const auto orders = (*store)->orders(store_clock());
    ASSERT_TRUE(orders) << orders.error();
    std::map<std::string, Order> by_prefix;
    for (const Order& o : *orders) by_prefix[to_text(o.prefix)] = o;
    for (unsigned i = 1; i <= done; ++i) {
      const auto found = by_prefix.find(host(i));
      if (i % 3 == 0) {
        EXPECT_EQ(found, by_prefix.end()) << i;
      } else {
        ASSERT_NE(found, by_prefix.end()) << i << " of " << done;
        EXPECT_EQ(found->second.comment, "order " + std::to_string(i));
        EXPECT_EQ(found->second.ticket, "T-" + std::to_string(i));
      }
    }
    // At most the one that was being done when it died.
    EXPECT_LE(by_prefix.size(), done - done / 3 + 1);
    next = done + 1;
  }
  EXPECT_GT(done, 12u);
}

// What a disk holds after a power cut: the database as it was, the log cut anywhere.
TEST(StateKilled, ALogThatIsCutAnywhereGivesAStateThatWas) {
  TemporaryFolder folder;
  {
    auto store = StateStore::open(folder.path());
    ASSERT_TRUE(store);
    for (unsigned i = 1; i <= 20; ++i) {
      Order o;
      o.prefix = prefix(host(i));
      ASSERT_TRUE((*store)->put_order(o, store_clock()));
    }
    // Copied while it is open: the log has not been taken into the database.
    std::filesystem::copy(folder.path() / "state.db", folder.path() / "copy.db");
    std::filesystem::copy(folder.path() / "state.db-wal", folder.path() / "copy.db-wal");
  }
  std::ifstream file(folder.path() / "copy.db-wal", std::ios::binary);
  const std::string log(std::istreambuf_iterator<char>(file), {});
  ASSERT_GT(log.size(), 4096u);
  std::mt19937 random(3);
  std::size_t least = SIZE_MAX;
  std::size_t most = 0;
  for (int round = 0; round < 60; ++round) {
    TemporaryFolder cut;
    std::filesystem::copy(folder.path() / "copy.db", cut.path() / "state.db");
    std::string part = log.substr(0, round == 0 ? log.size() : random() % log.size());
    // Sometimes the last block holds what was on the disk before.
    if (round % 4 == 3 && part.size() > 64) {
      for (std::size_t i = part.size() - 48; i < part.size(); ++i)
        part[i] = static_cast<char>(random());
    }
    std::ofstream(cut.path() / "state.db-wal", std::ios::binary) << part;
    auto store = StateStore::open(cut.path());
    ASSERT_TRUE(store) << store.error();
    EXPECT_EQ((*store)->warning(), "") << part.size();
    const auto orders = (*store)->orders(store_clock());
    ASSERT_TRUE(orders);
    // The first so many, in the order in which they were given: never one without those before it.
    std::set<std::string> names;
    for (const Order& o : *orders) names.insert(to_text(o.prefix));
    for (unsigned i = 1; i <= names.size(); ++i)
      EXPECT_TRUE(names.contains(host(i))) << part.size();
    least = std::min(least, names.size());
    most = std::max(most, names.size());
    Order another;
    another.prefix = prefix("192.0.2.1");
    EXPECT_TRUE((*store)->put_order(another, store_clock())) << "it can be written to";
  }
  EXPECT_LT(least, 20u);
  EXPECT_EQ(most, 20u);
}

TEST(StateSchema, AFileOfTheFirstVersionIsTakenOver) {
  TemporaryFolder folder;
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((folder.path() / "state.db").c_str(), &db), SQLITE_OK);
  // As version 1 made it.
  ASSERT_EQ(sqlite3_exec(db, R"sql(
CREATE TABLE value (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE host_order (
  prefix TEXT PRIMARY KEY, action INTEGER NOT NULL, rate INTEGER NOT NULL, burst INTEGER NOT NULL,
  until_monotonic INTEGER NOT NULL, until_wall INTEGER NOT NULL, boot TEXT NOT NULL,
  created INTEGER NOT NULL, who TEXT NOT NULL, comment TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE standing (
  host TEXT PRIMARY KEY, decided INTEGER NOT NULL, enforced INTEGER NOT NULL,
  held_back INTEGER NOT NULL, until_monotonic INTEGER NOT NULL, until_wall INTEGER NOT NULL,
  boot TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO host_order VALUES ('192.0.2.9', 5, 20, 1, 0, 0, 'b', 1, 'root', 'CHG-1');
INSERT INTO value VALUES ('epoch', '12');
PRAGMA user_version=1;)sql",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(db);
  for (int opened = 0; opened < 2; ++opened) {
    auto store = StateStore::open(folder.path());
    ASSERT_TRUE(store) << store.error();
    EXPECT_EQ((*store)->warning(), "");
    const auto orders = (*store)->orders(store_clock());
    ASSERT_TRUE(orders && orders->size() == 1);
    EXPECT_EQ(orders->front().comment, "CHG-1");
    EXPECT_EQ(orders->front().ticket, "");
    EXPECT_EQ(**(*store)->value("epoch"), "12");
    EXPECT_TRUE((*store)->put_audit({0, 5, "root", "admin", "here", "something", ""}));
  }
}

TEST(StateAudit, LatestFirstAndOnlyOfTheTimeAskedFor) {
  TemporaryFolder folder;
  auto store = StateStore::open(folder.path());
  ASSERT_TRUE(store);
  for (std::uint64_t i = 1; i <= 5; ++i) {
    ASSERT_TRUE((*store)->put_audit({0, i * 100, "u" + std::to_string(i), "operator", "local uid 7",
                                     "host block 192.0.2.1", "'; DROP TABLE audit; --"}));
  }
  const auto all = (*store)->audit(0, 3);
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 3u);
  EXPECT_EQ(all->front().who, "u5");
  EXPECT_EQ(all->front().comment, "'; DROP TABLE audit; --");
  EXPECT_EQ((*store)->audit(400, 10)->size(), 2u);
}

TEST(StateCounters, AreReplacedAndForgottenWhenTheyAreOld) {
  TemporaryFolder folder;
  {
    auto store = StateStore::open(folder.path());
    ASSERT_TRUE(store);
    ASSERT_TRUE((*store)->put_counters({{"w1", 10, "a"}, {"w1", 11, "b"}}, {{1, 2, 3}}, 0));
    ASSERT_TRUE((*store)->put_counters({{"w1", 11, "c"}, {"w2", 11, "d"}}, {{1, 2, 9}}, 11));
  }
  auto store = StateStore::open(folder.path());
  ASSERT_TRUE(store);
  const auto minutes = (*store)->minutes();
  ASSERT_EQ(minutes->size(), 2u);
  EXPECT_EQ((*minutes)[0].body, "c");
  EXPECT_EQ((*minutes)[1].wire, "w2");
  const auto hits = (*store)->hits();
  ASSERT_EQ(hits->size(), 1u);
  EXPECT_EQ(hits->front().hits, 9u);
}

JournalRow message(std::uint64_t wall, const std::string& source, const std::string& from,
                   std::vector<std::string> to, const std::string& outcome = "accepted") {
  return {wall,    *parse_address(source),
          from,    std::move(to),
          outcome, "{\"n\":" + std::to_string(wall) + "}"};
}

class Journal : public testing::Test {
 protected:
  void open(std::uint64_t most = 1000) {
    journal.reset();
    auto opened = MessageJournal::open(folder.path(), most);
    ASSERT_TRUE(opened) << opened.error();
    journal = std::move(*opened);
  }
  std::vector<std::string> find(const JournalQuery& query) {
    const auto answer = journal->find(query);
    EXPECT_TRUE(answer) << (answer ? "" : answer.error());
    return answer ? answer->bodies : std::vector<std::string>{};
  }
  TemporaryFolder folder;
  std::unique_ptr<MessageJournal> journal;
};

using Bodies = std::vector<std::string>;

TEST_F(Journal, FindsByPatternsHostTimeAndOutcome) {
  open();
  constexpr std::uint64_t kHour = 3600 * kSecond;
  ASSERT_TRUE(journal->add({message(1 * kHour, "10.0.0.1", "a@cust.example", {"x@gmail.com"}),
                            message(2 * kHour, "10.0.0.2", "b@cust.example", {"y@web.example"}),
                            message(3 * kHour, "10.0.0.2", "c@other.example",
                                    {"z@web.example", "X@GMAIL.com"}, "refused")}));
  EXPECT_EQ(find({.from = "*@cust.example"}).size(), 2u);
  EXPECT_EQ(find({.from = "*@CUST.example", .to = "*@gmail.com"}),
            (Bodies{"{\"n\":3600000000000}"}));
  EXPECT_EQ(find({.to = "*@gmail.com"}).size(), 2u);
  EXPECT_EQ(find({.outcome = "refused"}).size(), 1u);
  EXPECT_EQ(find({.host = prefix("10.0.0.2")}).size(), 2u);
  EXPECT_EQ(find({.host = prefix("10.0.0.0/24")}).size(), 3u);
  EXPECT_EQ(find({.since = 2 * kHour}).size(), 2u);
  EXPECT_EQ(find({.most = 1}), (Bodies{"{\"n\":" + std::to_string(3 * kHour) + "}"}));
  EXPECT_TRUE(find({.from = "' OR 1=1 --"}).empty());
}

TEST_F(Journal, SurvivesARestartAndKeepsTheLatest) {
  open(10);
  std::vector<JournalRow> rows;
  for (std::uint64_t i = 1; i <= 25; ++i) {
    rows.push_back(message(i, "10.0.0.1", "a@b.test", {"c@d.test"}));
  }
  ASSERT_TRUE(journal->add(rows));
  open(10);
  const Bodies kept = find({.most = 100});
  ASSERT_EQ(kept.size(), 10u);
  EXPECT_EQ(kept.front(), "{\"n\":25}");
  EXPECT_EQ(kept.back(), "{\"n\":16}");
}

TEST_F(Journal, ADamagedFileIsSetAsideAndANewOneBegun) {
  open();
  ASSERT_TRUE(journal->add({message(1, "10.0.0.1", "a@b.test", {})}));
  journal.reset();
  std::filesystem::remove(folder.path() / "messages.db-wal");
  std::ofstream(folder.path() / "messages.db", std::ios::binary) << std::string(9000, 'x');
  open();
  EXPECT_NE(journal->warning().find("messages.db.damaged"), std::string::npos)
      << journal->warning();
  ASSERT_TRUE(journal->add({message(2, "10.0.0.1", "a@b.test", {})}));
  EXPECT_EQ(find({}).size(), 1u);
}

TEST(Pattern, StarsAndQuestionMarks) {
  EXPECT_TRUE(glob("*@cust.example", "A@CUST.EXAMPLE"));
  EXPECT_TRUE(glob("a?c*", "abcdef"));
  EXPECT_TRUE(glob("*", ""));
  EXPECT_FALSE(glob("", "a"));
  EXPECT_FALSE(glob("a*b", "acbd"));
  // Linear: this would never end in a naive matcher.
  EXPECT_FALSE(glob(std::string(60, '*') + "b", std::string(100'000, 'a')));
}

}  // namespace
}  // namespace sluice::control
