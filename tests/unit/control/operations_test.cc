// Roles, masking, captures, visibility: what operators may do and what they see.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <deque>
#include <fstream>

#include "control/daemon/access.h"
#include "control/daemon/captures.h"
#include "control/daemon/event_loop.h"
#include "control/daemon/masking.h"
#include "control/daemon/traffic_view.h"
#include "tests/unit/control/temporary_folder.h"

namespace sluice::control {
namespace {

using nlohmann::json;
using testing_support::TemporaryFolder;

// ---- roles ----

Peer somebody(const std::string& user, std::vector<gid_t> groups = {}) {
  Peer p;
  p.uid = 54'321;
  p.gid = 54'321;
  p.user = user;
  p.groups = std::move(groups);
  return p;
}

TEST(Roles, ComeFromTheKernelsWordAndTheConfiguration) {
  AccessConfig config;
  Peer root = somebody("root");
  root.uid = 0;
  EXPECT_EQ(access_of(root, config).access, Access::admin);
  EXPECT_EQ(access_of(somebody("alice"), config).access, Access::none);
  EXPECT_NE(access_of(somebody("alice"), config).by.find("sluice-viewer"), std::string::npos);
  config.users = {{"alice", Access::operate}};
  EXPECT_EQ(access_of(somebody("alice"), config).access, Access::operate);
  EXPECT_EQ(access_of(somebody("bob"), config).access, Access::none);
  // Groups that every machine has.
  config.groups = {{"daemon", Access::viewer}, {"bin", Access::admin}};
  EXPECT_EQ(access_of(somebody("bob", {1}), config).access, Access::viewer);
  const Granted both = access_of(somebody("bob", {1, 2}), config);
  EXPECT_EQ(both.access, Access::admin);
  EXPECT_EQ(both.by, "group bin");
  // What is said of the user goes before groups.
  config.users = {{"bob", Access::viewer}};
  EXPECT_EQ(access_of(somebody("bob", {2}), config).access, Access::viewer);
  Peer primary = somebody("carol");
  primary.gid = 2;
  EXPECT_EQ(access_of(primary, config).access, Access::admin);
}

TEST(Roles, EachRequestNeedsItsOwn) {
  for (const char* c : {"show hosts", "show messages", "explain host", "test policy", "monitor",
                        "config get", "config compare"}) {
    EXPECT_EQ(needed_access(c, json::object()), Access::viewer) << c;
  }
  for (const char* c : {"host order", "host release", "request self-test", "request evidence",
                        "request capture-stop"}) {
    EXPECT_EQ(needed_access(c, json::object()), Access::operate) << c;
  }
  EXPECT_EQ(needed_access("request capture", {{"full", true}}), Access::admin);
  EXPECT_EQ(needed_access("request capture", {{"full", false}}), Access::operate);
  EXPECT_EQ(needed_access("request capture", {{"full", "yes"}}), Access::operate);
  EXPECT_EQ(needed_access("rules load", json::object()), Access::operate);
  EXPECT_EQ(needed_access("rules load", {{"files", {"/etc/x.rules"}}}), Access::admin);
  for (const char* c : {"config load", "config commit", "config edit", "what is that", ""}) {
    EXPECT_EQ(needed_access(c, json::object()), Access::admin) << c;
  }
}

// ---- masking ----

TEST(MaskingText, AddressesAndMailboxesBecomeStandIns) {
  Masking m;
  EXPECT_EQ(m.text("host 192.0.2.1 sent to bob@example.org, then 192.0.2.1 again"),
            "host addr-1 sent to mailbox-1, then addr-1 again");
  EXPECT_EQ(m.text("192.0.2.0/24"), "addr-2/24");
  EXPECT_EQ(m.text("[2001:db8::1]:25 and 192.0.2.1:25"), "[addr-3]:25 and addr-1:25");
  EXPECT_EQ(m.text("capture-7-192.0.2.1.pcap").find("192.0.2.1"), std::string::npos);
  EXPECT_EQ(m.text("::ffff:192.0.2.1"), "addr-1");
  for (const char* plain : {"2026-11-25T18:41:34.123456+0000", "/etc/sluice/mail.rules:12: no",
                            "1.2.3", "version 0.1.0", "sluice@", ""}) {
    if (std::string_view(plain).find('@') != std::string_view::npos) continue;
    EXPECT_EQ(Masking().text(plain), plain);
  }
}

TEST(MaskingText, NothingPersonalIsLeftInAnything) {
  const std::vector<std::string> secrets = {"203.0.113.77",     "2001:db8:5::9",     "alice",
                                            "bob@cust.example", "Quarterly figures", "AB-99",
                                            "mx.cust.example"};
  const json report = {
      {"config",
       {{"sluice:sluice",
         {{"inside", {{"prefix", {{{"prefix", "203.0.113.77/32"}, {"comment", "alice's box"}}}}}},
          {"access", {{"user", {{{"name", "alice"}, {"role", "admin"}}}}}}}}}},
      {"list",
       {{{"src_ip", "203.0.113.77"},
         {"smtp", {{"mail_from", "<bob@cust.example>"}, {"helo", "mx.cust.example"}}},
         {"email", {{"subject", "Quarterly figures"}}}}}},
      {"203.0.113.77", {{"note", "2001:db8:5::9 is its other address"}}},
      {"ticket", "AB-99"},
      {"who", "alice"},
      {"text", "user=<bob@cust.example> from=[203.0.113.77]:4711, (2001:db8:5::9)"},
      {"numbers", {1, 2.5, true, nullptr}}};
  const std::string out = Masking().whole(report).dump();
  for (const std::string& s : secrets)
    EXPECT_EQ(out.find(s), std::string::npos) << s << " in " << out;
  EXPECT_NE(out.find("addr-1"), std::string::npos);
  EXPECT_NE(out.find("2.5"), std::string::npos);
}

// ---- captures ----

class Now final : public Executor {
 public:
  void run(std::function<void()> work, std::function<void()> done) override {
    work();
    if (done) done();
  }
};

class CapturesTest : public testing::Test {
 protected:
  CaptureRequest request(const std::string& host = "192.0.2.7") const {
    return {parse_prefix(host)->prefix, false, 60, "complaint", "root"};
  }
  void frame(std::uint32_t identity, const std::string& octets, std::uint32_t whole = 0) {
    contract::EventWriter w;
    contract::EventHeader h;
    h.type = contract::kCapturedFrame;
    h.wall_time = 1'700'000'000 * kSecond + 5;
    w.begin(h);
    w.put_number(contract::kCaptureIdentity, identity);
    w.put_number(contract::kFrameLength,
                 whole == 0 ? static_cast<std::uint32_t>(octets.size()) : whole);
    w.put(contract::kFrameOctets, as_bytes({octets.data(), octets.size()}));
    captures.frame(*contract::EventReader::open(w.finish()));
  }
  TemporaryFolder folder;
  Now executor;
  bool connected = true;
  std::vector<contract::ChannelCapture> told;
  std::vector<std::string> ended;
  Captures captures{folder.path() / "captures", executor,
                    [this](const contract::ChannelCapture& c) {
                      if (connected) told.push_back(c);
                      return connected;
                    },
                    [this](const std::string& what) { ended.push_back(what); }};
};

TEST_F(CapturesTest, AFileThatReadersUnderstand) {
  const auto started = captures.start(request());
  ASSERT_TRUE(started) << started.error();
  const auto id = (*started)["id"].get<std::uint32_t>();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].identity, id);
  EXPECT_EQ(told[0].full, 0);
  EXPECT_GT(told[0].until, monotonic_now());
  frame(id, std::string(54, 'h'), 1514);
  frame(id + 1, "not ours");
  captures.tick();
  std::ifstream file((*started)["file"].get<std::string>(), std::ios::binary);
  const std::string octets(std::istreambuf_iterator<char>(file), {});
  ASSERT_EQ(octets.size(), 24u + 16 + 54);
  std::uint32_t words[4];
  std::memcpy(words, octets.data(), 4);
  EXPECT_EQ(words[0], 0xa1b23c4du);
  std::memcpy(words, octets.data() + 24, 16);
  EXPECT_EQ(words[0], 1'700'000'000u);
  EXPECT_EQ(words[1], 5u);
  EXPECT_EQ(words[2], 54u);
  EXPECT_EQ(words[3], 1514u);
  struct stat found {};
  ASSERT_EQ(::stat((*started)["file"].get<std::string>().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
}

TEST_F(CapturesTest, AReasonAnEndAndABoundAreNeeded) {
  CaptureRequest r = request();
  r.reason = "";
  EXPECT_FALSE(captures.start(r));
  r = request();
  r.seconds = 0;
  EXPECT_FALSE(captures.start(r));
  r.seconds = 86'401;
  EXPECT_FALSE(captures.start(r));
  for (std::uint32_t i = 0; i < contract::kCaptureSlots; ++i)
    EXPECT_TRUE(captures.start(request()));
  EXPECT_FALSE(captures.start(request())) << "more than there are slots";
  connected = false;
  const auto first = captures.list()["captures"].back()["id"].get<std::uint32_t>();
  ASSERT_TRUE(captures.stop(first));
  EXPECT_FALSE(captures.start(request())) << "without a dataplane";
}

TEST_F(CapturesTest, EndsAtItsSizeByItselfAndByStop) {
  const auto id = (*captures.start(request()))["id"].get<std::uint32_t>();
  const std::string big(4096, 'x');
  for (int i = 0; i < 20'000 && ended.empty(); ++i) frame(id, big);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_NE(ended[0].find("full"), std::string::npos) << ended[0];
  EXPECT_EQ(told.back().identity, 0u) << "the dataplane is told to stop";
  const json row = captures.list()["captures"][0];
  EXPECT_EQ(row["state"], "ended");
  EXPECT_LE(std::filesystem::file_size(row["file"].get<std::string>()),
            Captures::kMostOctets + 8192);
  frame(id, big);  // on its way still
  EXPECT_FALSE(captures.stop(id)) << "it has ended";
}

TEST_F(CapturesTest, ADataplaneThatComesBackIsToldAgainAndOldOrdersEnd) {
  const auto id = (*captures.start(request()))["id"].get<std::uint32_t>();
  told.clear();
  captures.dataplane_connected();
  ASSERT_EQ(told.size(), contract::kCaptureSlots);
  EXPECT_EQ(told[0].identity, id);
  for (std::size_t i = 1; i < told.size(); ++i) EXPECT_EQ(told[i].identity, 0u);
}

// ---- visibility ----

TEST(Traffic, IntervalsEndWithTheMinuteThatRuns) {
  TrafficView view;
  const Nanoseconds minute = 60 * kSecond;
  const Nanoseconds now = 100 * minute + 5 * kSecond;
  for (int i = 0; i < 30; ++i) {
    view.flow("w1", contract::Visibility::tls, 1000,
              now - static_cast<Nanoseconds>(29 - i) * minute);
  }
  view.flow("w1", contract::Visibility::clear, 10, now);
  const auto rows = view.intervals("w1", 15 * minute, 5 * minute, now);
  ASSERT_EQ(rows.size(), 3u);
  for (const WireMinute& r : rows) EXPECT_EQ(r.flows[2], 5u);
  EXPECT_EQ(rows[2].flows[0], 1u);
  EXPECT_EQ(rows[0].flows[0], 0u);
  EXPECT_EQ(view.intervals("nowhere", 15 * minute, 5 * minute, now).size(), 3u);
  EXPECT_EQ(view.sum("w1", 15 * minute, now).flows[2], 16u);
}

TEST(Traffic, CountersOutliveABoot) {
  TrafficView before;
  const Nanoseconds minute = 60 * kSecond;
  const std::uint64_t wall = 1'700'000'040 * kSecond;
  const Nanoseconds then = 900 * minute;
  before.message("w1", true, true, then - 2 * minute);
  before.message("w1", false, false, then);
  before.alert(1, 7);
  const auto minutes = before.changed_minutes(then, wall);
  ASSERT_EQ(minutes.size(), 2u);
  const auto hits = before.changed_hits();
  EXPECT_TRUE(before.changed_hits().empty());
  // Another boot: the monotonic clock has begun anew, five minutes have passed.
  TrafficView after;
  const Nanoseconds now = minute;
  const std::uint64_t later = wall + 5 * minute;
  for (const auto& m : minutes) after.restore(m, now, later);
  for (const auto& h : hits) after.restore(h);
  EXPECT_EQ(after.sum("w1", 60 * minute, now).messages, 2u);
  EXPECT_EQ(after.sum("w1", 60 * minute, now).blocked, 1u);
  EXPECT_EQ(after.sum("w1", 6 * minute, now).messages, 1u);
  EXPECT_EQ(after.hits(1, 7), 1u);
  after.restore({"w1", later / minute + 9, "{}"}, now, later);  // of the future: left out
  after.restore({"w1", later / minute, "no json"}, now, later);
  EXPECT_EQ(after.sum("w1", 60 * minute, now).messages, 2u);
}

}  // namespace
}  // namespace sluice::control
