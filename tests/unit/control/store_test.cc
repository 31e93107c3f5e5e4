#include <fcntl.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "control/store/line_log.h"
#include "control/store/state_store.h"
#include "tests/unit/control/temporary_folder.h"

namespace sluice::control {
namespace {

using testing_support::TemporaryFolder;

Prefix prefix(const std::string& text) { return parse_prefix(text)->prefix; }

class Store : public testing::Test {
 protected:
  void open() {
    store.reset();
    auto opened = StateStore::open(folder.path());
    ASSERT_TRUE(opened) << opened.error();
    store = std::move(*opened);
  }
  TemporaryFolder folder;
  std::unique_ptr<StateStore> store;
  StoreClock clock{5000 * kSecond, 1'700'000'000 * kSecond, "boot-1"};
};

TEST_F(Store, OrdersSurviveARestart) {
  open();
  Order o;
  o.prefix = prefix("192.0.2.0/24");
  o.action = policy::HostAction::limit;
  o.rate_per_hour = 7;
  o.burst = 3;
  o.until = clock.monotonic + 3600 * kSecond;
  o.who = "root";
  o.comment = "AB-99 'quoted' \"too\"";
  ASSERT_TRUE(store->put_order(o, clock));
  Order forever;
  forever.prefix = prefix("2001:db8::/64");
  ASSERT_TRUE(store->put_order(forever, clock));
  open();
  auto orders = store->orders(clock);
  ASSERT_TRUE(orders) << orders.error();
  ASSERT_EQ(orders->size(), 2u);
  EXPECT_EQ((*orders)[0].comment, o.comment);
  EXPECT_EQ((*orders)[0].rate_per_hour, 7u);
  EXPECT_EQ((*orders)[0].until, o.until);
  EXPECT_EQ((*orders)[1].until, 0u);
  ASSERT_TRUE(store->remove_order(o.prefix));
  EXPECT_EQ(store->orders(clock)->size(), 1u);
}

TEST_F(Store, E11_EndsFollowTheMonotonicClock) {
  open();
  Order o;
  o.prefix = prefix("192.0.2.1");
  o.until = clock.monotonic + 3600 * kSecond;
  ASSERT_TRUE(store->put_order(o, clock));
  // The wall clock jumps a day ahead, an hour back: the order ends when it ends.
  StoreClock later = clock;
  later.monotonic += 3599 * kSecond;
  later.wall += 86'400 * kSecond;
  EXPECT_EQ(store->orders(later)->size(), 1u);
  later.wall = clock.wall - 3600 * kSecond;
  EXPECT_EQ(store->orders(later)->at(0).until, o.until);
  later.monotonic += 1 * kSecond;
  EXPECT_TRUE(store->orders(later)->empty());
  // Another boot: what is left by the wall clock.
  StoreClock rebooted{10 * kSecond, clock.wall + 600 * kSecond, "boot-2"};
  EXPECT_EQ(store->orders(rebooted)->at(0).until, 3010 * kSecond);
  rebooted.wall = clock.wall + 3600 * kSecond;
  EXPECT_TRUE(store->orders(rebooted)->empty());
}

TEST_F(Store, StandingsSurviveWithTheirEvidence) {
  open();
  Standing s;
  s.host = prefix("192.0.2.9");
  s.decided = s.enforced = Level::block;
  s.until = clock.monotonic + 100 * kSecond;
  s.condemned = 12;
  s.arithmetic = "12 in 60";
  s.hits.push_back({clock.monotonic - 5 * kSecond, 1, 2, 3, "w1", "bad \xff utf-8"});
  ASSERT_TRUE(store->put_standing(s, clock));
  open();
  auto all = store->standings(clock);
  ASSERT_TRUE(all) << all.error();
  ASSERT_EQ(all->size(), 1u);
  EXPECT_EQ(all->at(0).enforced, Level::block);
  EXPECT_EQ(all->at(0).condemned, 12u);
  ASSERT_EQ(all->at(0).hits.size(), 1u);
  EXPECT_EQ(all->at(0).hits[0].at, clock.monotonic - 5 * kSecond);
  EXPECT_EQ(all->at(0).hits[0].flow, 3u);
  // Ended while we were away: still given, so that the ladder steps down and tells.
  StoreClock later = clock;
  later.monotonic += 200 * kSecond;
  EXPECT_EQ(store->standings(later)->at(0).until, s.until);
  ASSERT_TRUE(store->remove_standing(s.host));
  EXPECT_TRUE(store->standings(clock)->empty());
}

TEST_F(Store, Values) {
  open();
  EXPECT_FALSE(store->value("epoch")->has_value());
  ASSERT_TRUE(store->put_value("epoch", "17"));
  open();
  EXPECT_EQ(store->value("epoch")->value(), "17");
}

TEST_F(Store, DamagedFileIsSetAside) {
  std::ofstream(folder.path() / "state.db") << std::string(8192, 'x');
  open();
  EXPECT_NE(store->warning().find("set aside"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "state.db.damaged"));
  EXPECT_TRUE(store->put_value("a", "b"));
}

TEST_F(Store, NewerSchemaIsRefusedByName) {
  open();
  store.reset();
  sqlite3* raw = nullptr;
  ASSERT_EQ(sqlite3_open((folder.path() / "state.db").c_str(), &raw), SQLITE_OK);
  sqlite3_exec(raw, "PRAGMA user_version=9", nullptr, nullptr, nullptr);
  sqlite3_close(raw);
  const auto refused = StateStore::open(folder.path());
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().find("schema 9"), std::string::npos);
}

std::vector<std::string> lines_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

LineLogOptions options_for(const std::filesystem::path& path) {
  LineLogOptions o;
  o.file = path;
  o.dropped_line = [](std::uint64_t n) { return "dropped " + std::to_string(n); };
  return o;
}

TEST(LineLogTest, WritesInOrder) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "deep" / "eve.json";
  {
    LineLog log(options_for(path));
    for (int i = 0; i < 1000; ++i) EXPECT_TRUE(log.push(std::to_string(i)));
    EXPECT_TRUE(log.flush(10));
    EXPECT_EQ(log.written(), 1000u);
  }
  const auto lines = lines_of(path);
  ASSERT_EQ(lines.size(), 1000u);
  EXPECT_EQ(lines[999], "999");
}

TEST(LineLogTest, E14_FullDiskNeverBlocksAndIsTold) {
  ASSERT_EQ(::access("/dev/full", W_OK), 0);
  const TemporaryFolder folder;
  const auto path = folder.path() / "eve.json";
  std::filesystem::create_symlink("/dev/full", path);
  auto options = options_for(path);
  options.queue = 100;
  LineLog log(options);
  // 100,000 events a second, say: push returns whatever the disk does.
  std::uint64_t refused = 0;
  for (int i = 0; i < 10'000; ++i) refused += log.push("x") ? 0u : 1u;
  EXPECT_GT(refused, 0u);
  EXPECT_EQ(log.dropped(), refused);
  EXPECT_FALSE(log.flush(0));
  // Room again: what waited is written, then how many were lost.
  std::filesystem::remove(path);
  ASSERT_TRUE(log.flush(10));
  const auto lines = lines_of(path);
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines.back(), "dropped " + std::to_string(refused));
  EXPECT_EQ(log.error(), "");
}

TEST(LineLogTest, E14_StalledReaderNeverBlocks) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const int reader = ::open(path.c_str(), O_RDONLY | O_NONBLOCK);
  auto options = options_for(path);
  options.queue = 64;
  {
    LineLog log(options);
    const std::string line(4096, 'y');
    std::uint64_t refused = 0;
    for (int i = 0; i < 5000; ++i) refused += log.push(line) ? 0u : 1u;
    EXPECT_GT(refused, 0u);
    // The reader wakes up: everything that was taken comes through, whole.
    std::string all;
    char buffer[65536];
    while (log.waiting() > 0 || !log.flush(0)) {
      const ssize_t n = ::read(reader, buffer, sizeof buffer);
      if (n > 0) all.append(buffer, static_cast<std::size_t>(n));
    }
    ssize_t n = 0;
    while ((n = ::read(reader, buffer, sizeof buffer)) > 0) {
      all.append(buffer, static_cast<std::size_t>(n));
    }
    std::istringstream stream(all);
    std::string got;
    std::string last;
    while (std::getline(stream, got)) {
      if (got != line) last = got;
    }
    EXPECT_EQ(last, "dropped " + std::to_string(refused));
  }
  ::close(reader);
}

TEST(LineLogTest, RotatesAndFollowsARename) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "eve.json";
  auto options = options_for(path);
  options.rotate_size = 100;
  options.rotate_keep = 2;
  LineLog log(options);
  for (int i = 0; i < 10; ++i) {
    log.push(std::string(99, static_cast<char>('0' + i)));
    ASSERT_TRUE(log.flush(10));
  }
  EXPECT_EQ(lines_of(path.string() + ".1").at(0)[0], '9');
  EXPECT_EQ(lines_of(path.string() + ".2").at(0)[0], '8');
  EXPECT_FALSE(std::filesystem::exists(path.string() + ".3"));
  log.set_rotation(0, 2);
  log.push("a");
  ASSERT_TRUE(log.flush(10));
  std::filesystem::rename(path, folder.path() / "moved");
  log.push("b");
  ASSERT_TRUE(log.flush(10));
  EXPECT_EQ(lines_of(path), std::vector<std::string>{"b"});
}

}  // namespace
}  // namespace sluice::control
