// Block and limit lists: what they say, how they change, and the limiter.
#include <poll.h>

#include "tests/bpf/steer_fixture.h"

namespace sluice::xdp::test {
namespace {

using namespace sluice::test;

const Address kHost = v4(192, 0, 2, 10);
const Address kServer = v4(198, 51, 100, 25);

Path path_of(const Address& client, std::uint16_t port = 25) {
  Path path = client.is_v4() ? Path{} : path_v6();
  path.client.address = client;
  path.server.port = port;
  return path;
}

Frame up(const Path& path, std::uint8_t flags = tcp_flags::kAck) {
  return padded(tcp_frame(path, Direction::to_server, {.sequence = 1, .flags = flags}));
}
Frame down(const Path& path, std::uint8_t flags = tcp_flags::kAck) {
  return padded(tcp_frame(path, Direction::to_client, {.sequence = 1, .flags = flags}));
}
Frame syn(const Path& path) { return up(path, tcp_flags::kSyn); }

class ListTest : public SteerTest {
 protected:
  void put(const ListEntry& entry) {
    const Status done = wire_->put_entry(entry);
    ASSERT_TRUE(done) << done.error();
  }
  void replace(const std::vector<ListEntry>& entries) {
    const Status done = wire_->replace_lists(entries);
    ASSERT_TRUE(done) << done.error();
  }
  void remove(const Prefix& prefix) {
    const Status done = wire_->remove_entry(prefix);
    ASSERT_TRUE(done) << done.error();
  }
  // Opens connections until one is stopped; returns how many passed, at most 10,000.
  int use_up(const Path& path) {
    int passed = 0;
    while (passed < 10'000 && run(Side::inside, syn(path)).action == XDP_REDIRECT) passed++;
    EXPECT_LT(passed, 10'000);
    return passed;
  }
  std::string judge(const Address& client) {
    const std::set<std::string> counted = run(Side::inside, up(path_of(client))).counted;
    std::string text;
    for (const std::string& name : counted) text += (text.empty() ? "" : "+") + name;
    return text;
  }
};

TEST_F(ListTest, BlockedHostsMailIsDroppedBothWaysAndNothingElse) {
  for (const Address& client : {kHost, v6(10)}) {
    put(host_entry(client, ListAction::drop));
    const Path mail = path_of(client);
    const Outcome outcome = run(Side::inside, up(mail));
    EXPECT_EQ(outcome.action, XDP_DROP);
    EXPECT_EQ(outcome.counted, std::set<std::string>{"listed-drop"});
    EXPECT_EQ(decision(Side::outside, down(mail)), "listed-drop") << "the server's half";
    EXPECT_EQ(decision(Side::inside, up(path_of(client, 80))), "not-mail");
    EXPECT_EQ(decision(Side::outside, down(path_of(client, 80))), "not-mail");
    remove({client, 128});
    EXPECT_EQ(decision(Side::inside, up(mail)), "mail-to-socket");
  }
}

TEST_F(ListTest, TheClientIsJudgedNotTheServer) {
  put(host_entry(kServer, ListAction::drop));
  EXPECT_EQ(decision(Side::inside, up(path_of(kHost))), "mail-to-socket")
      << "mail to a host that may not send mail itself";
}

TEST_F(ListTest, BlockHoldsWhateverTheDataplaneDoes) {
  put(host_entry(kHost, ListAction::drop));
  heartbeat_.stop(0);
  EXPECT_EQ(judge(kHost), "listed-drop");
  ASSERT_TRUE(wire_->set_operator_bypass(true));
  EXPECT_EQ(judge(kHost), "listed-drop");
  EXPECT_EQ(judge(v4(192, 0, 2, 11)), "operator-bypass");
}

TEST_F(ListTest, FirstFragmentOfABlockedHostsMailIsDropped) {
  put(host_entry(kHost, ListAction::drop));
  const Path path = path_of(kHost);
  const Frame segment = tcp_octets(path, Direction::to_server, {.payload = Frame(100, 'x')});
  const std::vector<Frame> fragments =
      fragment_frames(path, Direction::to_server, 6, segment, 64, 7);
  EXPECT_EQ(decision(Side::inside, fragments[0]), "listed-drop");
  EXPECT_EQ(decision(Side::inside, fragments[1]), "fragment-to-socket") << "its port is unknown";
}

TEST_F(ListTest, ScopeAllStopsEveryIpPacketFromAndTo) {
  put(host_entry(kHost, ListAction::drop, ListScope::all));
  EXPECT_EQ(decision(Side::inside, up(path_of(kHost, 80))), "listed-drop");
  EXPECT_EQ(decision(Side::outside, down(path_of(kHost, 80))), "listed-drop");
  EXPECT_EQ(decision(Side::inside, up(path_of(kHost))), "listed-drop");
  const Path path = path_of(kHost);
  const Frame ping{8, 0, 0xf7, 0xff, 0, 0, 0, 0};
  EXPECT_EQ(decision(Side::inside, encapsulate(path, Direction::to_server,
                                               ip_packet(path, Direction::to_server, 1, ping))),
            "listed-drop");
  EXPECT_EQ(decision(Side::inside, up(path_of(v4(192, 0, 2, 11), 80))), "not-mail");
  // With an entry of scope all in the lists, those of scope mail still stop mail alone.
  put(host_entry(v4(192, 0, 2, 12), ListAction::drop));
  EXPECT_EQ(decision(Side::inside, up(path_of(v4(192, 0, 2, 12), 80))), "not-mail");
  EXPECT_EQ(decision(Side::inside, up(path_of(v4(192, 0, 2, 12)))), "listed-drop");
  // As a mail server too: others' mail to it.
  put(host_entry(kServer, ListAction::drop, ListScope::all));
  EXPECT_EQ(decision(Side::inside, up(path_of(v4(192, 0, 2, 11)))), "listed-drop");
}

TEST_F(ListTest, E02_AllowInsideABlockedPrefixWinsInEitherOrder) {
  const Address seven = v4(192, 0, 2, 7);
  const Address eight = v4(192, 0, 2, 8);
  const ListEntry block = prefix_entry(seven, 24, ListAction::drop);
  const ListEntry allow = host_entry(seven, ListAction::allow);
  const std::vector<std::vector<ListEntry>> orders{{block, allow}, {allow, block}};
  for (const std::vector<ListEntry>& order : orders) {
    replace(order);
    EXPECT_EQ(judge(seven), "listed-allow+mail-to-socket");
    EXPECT_EQ(judge(eight), "listed-drop");
    replace({});
    for (const ListEntry& entry : order) put(entry);
    EXPECT_EQ(judge(seven), "listed-allow+mail-to-socket");
    EXPECT_EQ(judge(eight), "listed-drop");
    remove(allow.prefix);
    EXPECT_EQ(judge(seven), "listed-drop");
  }
  // Prefix inside prefix.
  replace(
      {prefix_entry(v6(0), 32, ListAction::drop), prefix_entry(v6(0x700), 120, ListAction::allow)});
  EXPECT_EQ(judge(v6(0x701)), "listed-allow+mail-to-socket");
  EXPECT_EQ(judge(v6(0x801)), "listed-drop");
}

TEST_F(ListTest, E03_OverlappingPrefixesDuplicatesAndHostBits) {
  const Address base = v4(198, 51, 100, 0);
  ListEntry host_bits = prefix_entry(v4(192, 0, 2, 5), 24, ListAction::drop);
  host_bits.prefix.address = v4(192, 0, 2, 5);
  replace({prefix_entry(base, 22, ListAction::drop), prefix_entry(base, 24, ListAction::drop),
           prefix_entry(base, 24, ListAction::drop),
           host_entry(v4(198, 51, 100, 9), ListAction::drop),
           prefix_entry(v4(0, 0, 0, 0), 0, ListAction::drop), host_bits});
  auto entries = wire_->entries();
  ASSERT_TRUE(entries);
  EXPECT_EQ(entries->size(), 5u);
  remove(prefix(v4(0, 0, 0, 0), 0));
  remove(prefix(base, 22));
  EXPECT_EQ(judge(v4(198, 51, 100, 1)), "listed-drop");
  EXPECT_EQ(judge(v4(198, 51, 101, 1)), "mail-to-socket");
  EXPECT_EQ(judge(v4(192, 0, 2, 200)), "listed-drop") << "host bits masked";
  EXPECT_EQ(judge(v6(1)), "mail-to-socket");
  remove(prefix(base, 22));  // not there: no error
}

TEST_F(ListTest, E06_MappedAddressIsTheIpv4Host) {
  put(host_entry(v4(192, 0, 2, 1), ListAction::drop));
  Address mapped;
  mapped.octets[10] = mapped.octets[11] = 0xff;
  mapped.octets[12] = 192;
  mapped.octets[14] = 2;
  mapped.octets[15] = 1;
  Path path = path_v6();
  path.client.address = v6(1);
  Frame frame = up(path);
  std::copy(mapped.octets.begin(), mapped.octets.end(), &frame[22]);
  EXPECT_EQ(decision(Side::inside, frame), "listed-drop");
  Address nat64;  // 64:ff9b::192.0.2.1
  nat64.octets[1] = 0x64;
  nat64.octets[2] = 0xff;
  nat64.octets[3] = 0x9b;
  std::copy_n(mapped.octets.begin() + 12, 4, nat64.octets.begin() + 12);
  std::copy(nat64.octets.begin(), nat64.octets.end(), &frame[22]);
  EXPECT_EQ(decision(Side::inside, frame), "mail-to-socket");
}

TEST_F(ListTest, ReplaceSwapsEverythingAndReadsBack) {
  std::vector<ListEntry> first;
  std::vector<ListEntry> second;
  for (unsigned i = 0; i < 3000; i++) {
    first.push_back(host_entry(v4(10, 1, i >> 8, i & 255), ListAction::drop));
    second.push_back(prefix_entry(v4(10, 2 + (i >> 8), i & 255, 0), 24, ListAction::reset));
    second.push_back(host_entry(v6(i), ListAction::drop, ListScope::all));
  }
  ListEntry limit = prefix_entry(v4(10, 99, 0, 0), 16, ListAction::limit);
  limit.interval = 250 * kMillisecond;
  limit.burst = 7;
  limit.limit_packets = true;
  limit.expires = Heartbeat::now() + 3600 * kSecond;
  second.push_back(limit);
  replace(first);
  EXPECT_EQ(judge(v4(10, 1, 4, 4)), "listed-drop");
  auto entries = wire_->entries();
  ASSERT_TRUE(entries);
  EXPECT_EQ(*entries, first) << "sorted as given";
  replace(second);
  EXPECT_EQ(judge(v4(10, 1, 4, 4)), "mail-to-socket");
  EXPECT_EQ(judge(v4(10, 2, 4, 4)), "listed-reset");
  std::sort(second.begin(), second.end(),
            [](const ListEntry& a, const ListEntry& b) { return a.prefix < b.prefix; });
  entries = wire_->entries();
  ASSERT_TRUE(entries);
  EXPECT_EQ(*entries, second);
}

TEST_F(ListTest, ListsGrowPastTheirRoom) {
  // An emptied wire has room for one entry of each kind; single additions must not notice.
  for (unsigned i = 0; i < 20; i++) {
    put(prefix_entry(v4(10, i, 0, 0), 16, ListAction::drop));
    put(host_entry(v4(11, i, 0, 1), ListAction::drop));
  }
  auto entries = wire_->entries();
  ASSERT_TRUE(entries);
  EXPECT_EQ(entries->size(), 40u);
  EXPECT_EQ(judge(v4(10, 19, 1, 1)), "listed-drop");
  EXPECT_EQ(judge(v4(11, 19, 0, 1)), "listed-drop");
}

TEST_F(ListTest, ExpiredEntryIsVoid) {
  ListEntry entry = host_entry(kHost, ListAction::drop);
  entry.expires = Heartbeat::now() + 3600 * kSecond;
  put(entry);
  EXPECT_EQ(judge(kHost), "listed-drop");
  entry.expires = Heartbeat::now() - 1;
  put(entry);
  EXPECT_EQ(judge(kHost), "mail-to-socket");
}

TEST_F(ListTest, RefusesWhatCannotBe) {
  ListEntry entry = host_entry(kHost, ListAction::limit);
  entry.interval = 0;
  EXPECT_FALSE(wire_->put_entry(entry));
  entry.interval = kSecond;
  entry.burst = 0;
  EXPECT_FALSE(wire_->put_entry(entry));
  entry = host_entry(kHost, ListAction::drop);
  entry.prefix.length = 129;
  EXPECT_FALSE(wire_->put_entry(entry));
  const std::vector<ListEntry> bad{entry};
  put(host_entry(v4(192, 0, 2, 1), ListAction::drop));
  EXPECT_FALSE(wire_->replace_lists(bad));
  EXPECT_EQ(judge(v4(192, 0, 2, 1)), "listed-drop") << "the old list stays live (E07)";
}

// ---- limits ----

ListEntry limit_entry(const Prefix& prefix, Nanoseconds interval, std::uint32_t burst,
                      bool packets = false) {
  ListEntry entry;
  entry.prefix = prefix;
  entry.action = ListAction::limit;
  entry.interval = interval;
  entry.burst = burst;
  entry.limit_packets = packets;
  return entry;
}

TEST_F(ListTest, E10_BurstOfConnectionsPassesThenStops) {
  put(limit_entry({kHost, 128}, 3600 * kSecond, 20));
  const Path path = path_of(kHost);
  for (int i = 0; i < 20; i++)
    EXPECT_EQ(run(Side::inside, syn(path)).counted,
              (std::set<std::string>{"limit-conforming", "mail-to-socket"}));
  for (int i = 0; i < 280; i++) {
    const Outcome outcome = run(Side::inside, syn(path));
    ASSERT_EQ(outcome.action, XDP_DROP);
    ASSERT_EQ(outcome.counted, std::set<std::string>{"limited"});
  }
  EXPECT_EQ(decision(Side::inside, up(path)), "mail-to-socket") << "only new connections count";
  EXPECT_EQ(decision(Side::outside, down(path, tcp_flags::kSyn | tcp_flags::kAck)),
            "mail-to-socket");
  EXPECT_EQ(decision(Side::inside, syn(path_of(kHost, 80))), "not-mail");
  EXPECT_EQ(decision(Side::inside, syn(path_of(v4(192, 0, 2, 11)))), "mail-to-socket");
  const auto state = wire_->limiter({kHost, 128});
  ASSERT_TRUE(state);
  EXPECT_EQ(state->conforming, 20u);
  EXPECT_EQ(state->exceeding, 280u);
}

TEST_F(ListTest, E10_LimitRecovers) {
  // 2 at once, one each 30 ms. Awaits the event instead of a fixed time.
  put(limit_entry({kHost, 128}, 30 * kMillisecond, 2));
  const Path path = path_of(kHost);
  int passed = use_up(path);
  EXPECT_GE(passed, 2);
  const Nanoseconds start = Heartbeat::now();
  passed = 0;
  while (passed < 5 && Heartbeat::now() - start < 20 * kSecond) {
    if (run(Side::inside, syn(path)).action == XDP_REDIRECT) passed++;
    poll(nullptr, 0, 1);
  }
  EXPECT_EQ(passed, 5);
  EXPECT_GE(Heartbeat::now() - start, 4 * 30 * kMillisecond) << "not faster than the rate";
}

TEST_F(ListTest, LimitOfPacketsCountsWhatTheHostSends) {
  put(limit_entry({kHost, 128}, 3600 * kSecond, 3, true));
  const Path path = path_of(kHost);
  for (int i = 0; i < 5; i++) EXPECT_EQ(decision(Side::outside, down(path)), "mail-to-socket");
  for (int i = 0; i < 3; i++)
    EXPECT_EQ(run(Side::inside, up(path)).counted,
              (std::set<std::string>{"limit-conforming", "mail-to-socket"}));
  EXPECT_EQ(decision(Side::inside, up(path)), "limited");
}

TEST_F(ListTest, LimitOfAPrefixIsShared) {
  put(limit_entry(prefix(kHost, 24), 3600 * kSecond, 2));
  EXPECT_EQ(run(Side::inside, syn(path_of(v4(192, 0, 2, 1)))).action, XDP_REDIRECT);
  EXPECT_EQ(run(Side::inside, syn(path_of(v4(192, 0, 2, 2)))).action, XDP_REDIRECT);
  EXPECT_EQ(decision(Side::inside, syn(path_of(v4(192, 0, 2, 3)))), "limited");
}

TEST_F(ListTest, LimiterStateOutlivesListUpdatesAndStartsAfresh) {
  const ListEntry limit = limit_entry({kHost, 128}, 3600 * kSecond, 2);
  const Path path = path_of(kHost);
  put(limit);
  EXPECT_EQ(use_up(path), 2);
  put(limit);
  EXPECT_EQ(decision(Side::inside, syn(path)), "limited") << "the same entry again";
  replace({limit, host_entry(v4(192, 0, 2, 77), ListAction::drop)});
  EXPECT_EQ(decision(Side::inside, syn(path)), "limited") << "a new list with the entry";
  replace({});
  put(limit);
  EXPECT_EQ(run(Side::inside, syn(path)).action, XDP_REDIRECT) << "a limit that is new again";
}

TEST_F(ListTest, E08_SlowOldRateDoesNotLockOut) {
  const Path path = path_of(kHost);
  put(limit_entry({kHost, 128}, 3600 * kSecond, 100));
  for (int i = 0; i < 100; i++) run(Side::inside, syn(path));  // theoretical arrival: in 100 hours
  put(limit_entry({kHost, 128}, kMillisecond, 1));
  const Nanoseconds start = Heartbeat::now();
  while (run(Side::inside, syn(path)).action != XDP_REDIRECT &&
         Heartbeat::now() - start < 10 * kSecond) {
  }
  EXPECT_LT(Heartbeat::now() - start, 10 * kSecond);
}

TEST_F(ListTest, ManyLimitsHaveStatesOfTheirOwn) {
  std::vector<ListEntry> entries;
  for (unsigned i = 0; i < 5000; i++)
    entries.push_back(limit_entry({v4(10, 5, i >> 8, i & 255), 128}, 3600 * kSecond, 1));
  replace(entries);
  for (unsigned i = 0; i < 5000; i += 7)
    ASSERT_EQ(run(Side::inside, syn(path_of(v4(10, 5, i >> 8, i & 255)))).action, XDP_REDIRECT);
  for (unsigned i = 0; i < 5000; i += 7)
    ASSERT_EQ(decision(Side::inside, syn(path_of(v4(10, 5, i >> 8, i & 255)))), "limited");
  // Lists that come and go must not use the indices up.
  for (unsigned round = 0; round < 15; round++) {
    for (ListEntry& entry : entries)
      entry.prefix.address.octets[13] = static_cast<std::uint8_t>(round);
    replace(entries);
  }
}

}  // namespace
}  // namespace sluice::xdp::test
