// The flow table: keys, hash, bulk lookup, order of eviction, time-outs, iteration, bounds.
#include "dataplane/flow/flow_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <new>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace sluice::flow {
namespace {

constexpr HashKey kSecret{0x0123456789abcdef, 0xfedcba9876543210};

FlowKey numbered_key(std::uint32_t n) {
  FlowKey key;
  const std::uint8_t low[4] = {10, static_cast<std::uint8_t>(n >> 16),
                               static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n)};
  const std::uint8_t high[4] = {192, 0, 2, 25};
  key.low = Address::from_v4(low);
  key.high = Address::from_v4(high);
  key.low_port = static_cast<std::uint16_t>(1024 + (n >> 24));
  key.high_port = 25;
  return key;
}

struct Removals {
  std::vector<FlowKey> keys;
  std::vector<Removal> reasons;
  auto callback() {
    return [this](Entry& e, Removal r) {
      keys.push_back(e.key());
      reasons.push_back(r);
    };
  }
};

Entry* add(FlowTable& table, std::uint32_t n, Nanoseconds now, Removals& removals) {
  const FlowKey key = numbered_key(n);
  return table.insert(key, hash(key, table.secret()), now, removals.callback());
}

net::Packet packet_between(const char* a, std::uint16_t a_port, const char* b,
                           std::uint16_t b_port) {
  net::Packet p;
  p.kind = net::PacketKind::tcp;
  p.protocol = 6;
  p.source = Address::from_v4(reinterpret_cast<const std::uint8_t*>(a));
  p.destination = Address::from_v4(reinterpret_cast<const std::uint8_t*>(b));
  p.source_port = a_port;
  p.destination_port = b_port;
  return p;
}

TEST(FlowKey, BothDirectionsGiveOneKey) {
  const auto there = key_of(packet_between("aaaa", 5000, "bbbb", 25), 3);
  const auto back = key_of(packet_between("bbbb", 25, "aaaa", 5000), 3);
  EXPECT_EQ(there.key, back.key);
  EXPECT_TRUE(there.low_is_source);
  EXPECT_FALSE(back.low_is_source);
}

TEST(FlowKey, SameAddressOnBothEndsIsOrderedByPort) {
  const auto there = key_of(packet_between("aaaa", 5000, "aaaa", 25), 0);
  const auto back = key_of(packet_between("aaaa", 25, "aaaa", 5000), 0);
  EXPECT_EQ(there.key, back.key);
  EXPECT_NE(there.low_is_source, back.low_is_source);
}

TEST(FlowKey, D02_OrderedTagsSessionAndWireTellFlowsApart) {
  net::Packet p = packet_between("aaaa", 5000, "bbbb", 25);
  std::vector<FlowKey> keys{key_of(p, 0).key, key_of(p, 1).key};
  p.vlan_count = 2;
  p.vlan[0] = 10;
  p.vlan[1] = 20;
  keys.push_back(key_of(p, 0).key);
  std::swap(p.vlan[0], p.vlan[1]);
  keys.push_back(key_of(p, 0).key);
  p.vlan_count = 1;
  p.vlan[0] = 0;  // a priority tag is not the same as no tag
  keys.push_back(key_of(p, 0).key);
  p.vlan_count = 0;
  p.pppoe = true;
  p.pppoe_session = 7;
  keys.push_back(key_of(p, 0).key);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_FALSE(keys[i] == keys[j]) << i << ' ' << j;
  }
}

TEST(FlowKey, HashIsSipHash13) {
  FlowKey key;
  auto* octets = reinterpret_cast<std::uint8_t*>(&key);
  for (std::size_t i = 0; i < sizeof key; ++i) octets[i] = static_cast<std::uint8_t>(i);
  // CPython 3.11, whose bytes hash is SipHash-1-3: PYTHONHASHSEED=0 hash(bytes(range(44))).
  EXPECT_EQ(hash(key, HashKey{0, 0}), 0xd857641079efd1fdu);
  EXPECT_NE(hash(key, HashKey{0, 1}), hash(key, HashKey{0, 0}));
}

TEST(FlowKey, ManyAreHashedAsEach) {
  std::mt19937_64 random(5);
  for (std::size_t count = 0; count < 40; ++count) {
    std::vector<FlowKey> keys(count);
    const std::span octets(reinterpret_cast<std::uint8_t*>(keys.data()), count * sizeof(FlowKey));
    for (std::uint8_t& octet : octets) octet = static_cast<std::uint8_t>(random());
    const HashKey secret{random(), random()};
    std::vector<std::uint64_t> hashes(count);
    hash(keys, secret, hashes);
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(hashes[i], hash(keys[i], secret)) << i;
  }
}

TEST(FlowTable, BulkLookupFindsWhatSingleLookupFinds) {
  FlowTable table({.max_flows = 5000}, kSecret, std::pmr::new_delete_resource());
  Removals removals;
  for (std::uint32_t n = 0; n < 5000; ++n) ASSERT_NE(add(table, n * 2, kSecond, removals), nullptr);
  EXPECT_TRUE(removals.keys.empty());
  std::vector<FlowKey> keys;
  for (std::uint32_t n = 0; n < 10000; ++n) keys.push_back(numbered_key(n));
  std::vector<std::uint64_t> hashes(keys.size());
  std::vector<Entry*> found(keys.size());
  table.lookup(keys, hashes, found);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(hashes[i], hash(keys[i], kSecret));
    EXPECT_EQ(found[i] != nullptr, i % 2 == 0) << i;
    EXPECT_EQ(found[i], table.find(keys[i]));
    if (found[i] != nullptr) {
      EXPECT_EQ(found[i]->key(), keys[i]);
    }
  }
}

TEST(FlowTable, InsertOfAKeyThatIsThereGivesThatFlow) {
  FlowTable table({.max_flows = 10}, kSecret, std::pmr::new_delete_resource());
  Removals removals;
  Entry* first = add(table, 1, kSecond, removals);
  int state = 5;
  first->set_state(&state);
  EXPECT_EQ(add(table, 1, kSecond, removals), first);
  EXPECT_EQ(first->state(), &state);
  EXPECT_EQ(table.size(), 1u);
}

TEST(FlowTable, OpeningNumbersLiveInTheEntryUntilStateComes) {
  FlowTable table({.max_flows = 10}, kSecret, std::pmr::new_delete_resource());
  Removals removals;
  Entry* e = add(table, 1, kSecond, removals);
  EXPECT_EQ(e->state(), nullptr);
  EXPECT_EQ(e->opening().flags, 0);
  Opening o;
  o.client_sequence = 0xfffffff0;
  o.server_sequence = 77;
  o.scales = 0x7e;
  o.flags = Opening::kSyn | Opening::kSynAck | Opening::kClientScale;
  e->set_opening(o);
  EXPECT_EQ(e->opening().client_sequence, 0xfffffff0u);
  EXPECT_EQ(e->opening().server_sequence, 77u);
  EXPECT_EQ(e->opening().scales, 0x7e);
  EXPECT_TRUE(e->opening().has(Opening::kSyn));
  EXPECT_TRUE(e->opening().has(Opening::kSynAck));
  int state = 0;
  e->set_state(&state);
  EXPECT_EQ(e->state_as<int>(), &state);
}

TEST(FlowKey, TagsSessionAndWireAreWhatWasPutIn) {
  for (const std::uint16_t wire : std::initializer_list<std::uint16_t>{0, 1, 63, 64, 1023}) {
    FlowKey key;
    const std::uint16_t vlans[3] = {0xfff, 0xabc, 0x123};
    for (std::size_t n = 0; n <= 3; ++n) {
      key.set_tags(std::span(vlans).first(n), 0xbeef, wire);
      EXPECT_EQ(key.vlan_count(), n);
      for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(key.vlan(i), i < n ? vlans[i] : 0);
      EXPECT_EQ(key.pppoe_session(), 0xbeef);
      EXPECT_EQ(key.wire(), wire);
    }
  }
}

// What stands in the entry is what was seen, to the microsecond; what does not fit is not taken.
TEST(FlowTable, CountsAHandshakeInTheEntry) {
  FlowTable table({.max_flows = 10}, kSecret, std::pmr::new_delete_resource());
  Removals removals;
  const Nanoseconds start = 123'456'789'123'000;
  Entry* e = add(table, 1, start, removals);
  EXPECT_TRUE(FlowTable::count(e, true, Side::outside, 74, 1460));
  EXPECT_TRUE(FlowTable::count(e, true, Side::outside, 74, 536));
  EXPECT_TRUE(FlowTable::count(e, false, Side::inside, 66, 0));
  for (const Nanoseconds age : {Nanoseconds{0}, kMicrosecond, 29 * kSecond, 17 * 60 * kSecond})
    EXPECT_EQ(table.handshake(e, start + age).first, start) << age;
  const Handshake h = table.handshake(e, start + kSecond);
  EXPECT_EQ(h.frames[0], 2u);
  EXPECT_EQ(h.octets[0], 148u);
  EXPECT_EQ(h.frames[1], 1u);
  EXPECT_EQ(h.octets[1], 66u);
  EXPECT_EQ(h.client_mss, 536);
  EXPECT_EQ(h.client_side, Side::outside);
  // Too many, too large.
  for (int i = 0; i < 13; ++i) EXPECT_TRUE(FlowTable::count(e, true, Side::outside, 60, 0));
  EXPECT_FALSE(FlowTable::count(e, true, Side::outside, 0, 0));
  EXPECT_FALSE(FlowTable::count(e, false, Side::inside, 958, 0));
  EXPECT_TRUE(FlowTable::count(e, false, Side::inside, 957, 0));
  EXPECT_EQ(table.handshake(e, start).frames[0], 15u);
  int state = 0;
  e->set_state(&state);
  e->set_state(nullptr);
  EXPECT_EQ(table.handshake(e, start).frames[0], 0u);
}

// A flow that only one end was ever heard of goes before those that both take part in.
TEST(FlowTable, OneWayFlowsGoBeforeEstablishedOnes) {
  FlowTable table({.max_flows = 3}, kSecret, std::pmr::new_delete_resource());
  Removals removals;
  table.set_class(add(table, 1, kSecond, removals), FlowClass::established, kSecond);
  table.set_class(add(table, 2, kSecond, removals), FlowClass::one_way, 50 * kSecond);
  table.set_class(add(table, 3, kSecond, removals), FlowClass::one_way, 2 * kSecond);
  table.touch(table.find(numbered_key(3)), 60 * kSecond);
  for (const std::uint32_t expected : {2u, 3u}) {
    table.set_class(add(table, 100 + expected, kSecond, removals), FlowClass::established, kSecond);
    EXPECT_EQ(removals.keys.back(), numbered_key(expected));
  }
  EXPECT_NE(table.find(numbered_key(1)), nullptr);
  EXPECT_EQ(table.evicted(FlowClass::one_way), 2u);
}

TEST(FlowTable, VisitsIdleFlowsOnceUntilTheyAreTouched) {
  FlowTable table({.max_flows = 100}, kSecret, std::pmr::new_delete_resource());
  Removals removals;
  for (std::uint32_t n = 0; n < 10; ++n) {
    Entry* e = add(table, n, (100 + n) * kSecond, removals);
    if (n % 5 != 4) table.set_class(e, FlowClass::established, (100 + n) * kSecond);
  }
  const auto visit = [&](Nanoseconds now, std::size_t work) {
    std::vector<FlowKey> visited;
    table.visit_idle(now, 5 * kSecond, work, [&](Entry& e) { visited.push_back(e.key()); });
    return visited;
  };
  const auto keys = [](std::initializer_list<std::uint32_t> numbers) {
    std::vector<FlowKey> list;
    for (const std::uint32_t n : numbers) list.push_back(numbered_key(n));
    return list;
  };
  EXPECT_EQ(visit(104 * kSecond, 100), keys({}));
  EXPECT_EQ(visit(108 * kSecond, 2), keys({0, 1}));
  EXPECT_EQ(visit(108 * kSecond, 100), keys({2, 3})) << "not 4: it is half-open";
  EXPECT_EQ(visit(108 * kSecond, 100), keys({}));
  // One that was visited talks, and others go: from the visited ones, the last of them, the others.
  table.touch(table.find(numbered_key(1)), 109 * kSecond);
  table.erase(table.find(numbered_key(0)));
  table.erase(table.find(numbered_key(3)));
  table.erase(table.find(numbered_key(5)));
  EXPECT_EQ(visit(113 * kSecond, 100), keys({6, 7, 8}));
  EXPECT_EQ(visit(120 * kSecond, 100), keys({1}));
  table.set_class(table.find(numbered_key(2)), FlowClass::closed, 121 * kSecond);
  EXPECT_EQ(visit(200 * kSecond, 100), keys({}));
  table.set_class(table.find(numbered_key(2)), FlowClass::one_way, 201 * kSecond);
  EXPECT_EQ(visit(300 * kSecond, 100), keys({2}));
}

// What closed just now gets its late segments, whatever comes; a flood of SYNs has its own evicted.
TEST(FlowTable, SparesWhatClosedJustNow) {
  FlowTable table({.max_flows = 80}, kSecret, std::pmr::new_delete_resource());
  Removals removals;
  for (std::uint32_t n = 0; n < 80; ++n)
    table.set_class(add(table, n, kSecond, removals), FlowClass::established, kSecond + n);
  for (std::uint32_t n = 70; n < 75; ++n)
    table.set_class(table.find(numbered_key(n)), FlowClass::closed, 10 * kSecond);
  table.set_class(add(table, 100, 10 * kSecond + 1, removals), FlowClass::established,
                  11 * kSecond);
  EXPECT_EQ(removals.keys.back(), numbered_key(0)) << "idle longest";
  Entry* fresh = add(table, 101, 10 * kSecond + 2, removals);
  EXPECT_EQ(removals.keys.back(), numbered_key(1));
  add(table, 102, 10 * kSecond + 3, removals);
  EXPECT_EQ(removals.keys.back(), numbered_key(101)) << "half-open";
  table.set_class(table.find(numbered_key(102)), FlowClass::established, 10 * kSecond);
  fresh = add(table, 103, 12 * kSecond, removals);
  EXPECT_EQ(removals.keys.back(), numbered_key(70)) << "closed two seconds ago";
  table.set_class(fresh, FlowClass::established, 12 * kSecond);
  // More than a few: those go first, however late.
  for (std::uint32_t n = 10; n < 40; ++n)
    table.set_class(table.find(numbered_key(n)), FlowClass::closed, 12 * kSecond);
  for (std::uint32_t n = 71; n < 75; ++n) add(table, 130 + n, 12 * kSecond, removals);
  add(table, 210, 12 * kSecond + 1, removals);
  EXPECT_EQ(removals.keys.back(), numbered_key(10));
}

TEST(FlowTable, EvictsClosedThenOldestHalfOpenThenLongestIdle) {
  FlowTable table({.max_flows = 6}, kSecret, std::pmr::new_delete_resource());
  Removals removals;
  Entry* e[6];
  for (std::uint32_t n = 0; n < 6; ++n) e[n] = add(table, n, (1 + n) * kSecond, removals);
  table.set_class(e[0], FlowClass::established, 10 * kSecond);
  table.set_class(e[1], FlowClass::established, 11 * kSecond);
  table.set_class(e[4], FlowClass::closed, 12 * kSecond);
  table.set_class(e[2], FlowClass::closed, 13 * kSecond);
  table.touch(e[0], 20 * kSecond);  // now 1 is idle longest
  table.touch(e[3], 21 * kSecond);  // a half-open flow keeps its age
  const std::vector<std::uint32_t> order{4, 2, 3, 5};
  for (std::uint32_t i = 0; i < 4; ++i) {
    Entry* fresh = add(table, 100 + i, (30 + i) * kSecond, removals);
    ASSERT_NE(fresh, nullptr);
    table.set_class(fresh, FlowClass::established, (30 + i) * kSecond);
    ASSERT_EQ(removals.keys.size(), i + 1);
    EXPECT_EQ(removals.keys.back(), numbered_key(order[i]));
    EXPECT_EQ(removals.reasons.back(), Removal::evicted);
  }
  Entry* last = add(table, 200, 40 * kSecond, removals);
  EXPECT_EQ(removals.keys.back(), numbered_key(1));
  table.set_class(last, FlowClass::established, 40 * kSecond);
  add(table, 201, 41 * kSecond, removals);
  EXPECT_EQ(removals.keys.back(), numbered_key(0));
  EXPECT_EQ(table.evicted(FlowClass::closed), 2u);
  EXPECT_EQ(table.evicted(FlowClass::half_open), 2u);
  EXPECT_EQ(table.evicted(FlowClass::established), 2u);
  EXPECT_EQ(table.size(), 6u);
  for (const FlowKey& key : removals.keys) EXPECT_EQ(table.find(key), nullptr);
}

TEST(FlowTable, SynFloodNeverEvictsEstablishedFlows) {
  FlowTable table({.max_flows = 1000}, kSecret, std::pmr::new_delete_resource());
  Removals removals;
  for (std::uint32_t n = 0; n < 900; ++n) {
    table.set_class(add(table, n, kSecond, removals), FlowClass::established, kSecond);
  }
  for (std::uint32_t n = 0; n < 50'000; ++n) {
    ASSERT_NE(add(table, 1'000'000 + n, 2 * kSecond, removals), nullptr);
  }
  for (std::uint32_t n = 0; n < 900; ++n) EXPECT_NE(table.find(numbered_key(n)), nullptr);
  EXPECT_EQ(table.size(FlowClass::established), 900u);
  EXPECT_EQ(table.size(FlowClass::half_open), 100u);
}

TEST(FlowTable, TimesOutByClassWithBoundedWork) {
  FlowTable table({.max_flows = 1000}, kSecret, std::pmr::new_delete_resource());
  Removals removals;
  const Nanoseconds start = 1000 * kSecond;
  for (std::uint32_t n = 0; n < 30; ++n) {
    Entry* e = add(table, n, start, removals);
    if (n % 3 == 1) table.set_class(e, FlowClass::established, start);
    if (n % 3 == 2) table.set_class(e, FlowClass::closed, start);
  }
  const auto expire = [&](Nanoseconds at, std::size_t work) {
    return table.expire(at, work, removals.callback());
  };
  EXPECT_EQ(expire(start + 9 * kSecond, 100), 0u);
  EXPECT_EQ(expire(start + 11 * kSecond, 4), 4u);
  EXPECT_EQ(expire(start + 11 * kSecond, 100), 6u);
  EXPECT_EQ(expire(start + 29 * kSecond, 100), 0u);
  EXPECT_EQ(expire(start + 31 * kSecond, 100), 10u);
  table.touch(table.find(numbered_key(1)), start + 300 * kSecond);
  // RFC 5321 4.5.3.2.6: ten minutes of silence after end-of-data are normal.
  EXPECT_EQ(expire(start + 11 * 60 * kSecond, 100), 0u);
  EXPECT_EQ(expire(start + (15 * 60 + 1) * kSecond, 100), 9u);
  EXPECT_NE(table.find(numbered_key(1)), nullptr);
  EXPECT_LE(table.next_expiry(start + (15 * 60 + 1) * kSecond), start + (1200 + 1) * kSecond);
  EXPECT_EQ(expire(start + (1200 + 2) * kSecond, 100), 1u);
  EXPECT_EQ(table.size(), 0u);
  EXPECT_EQ(table.next_expiry(start), std::numeric_limits<Nanoseconds>::max());
  EXPECT_EQ(std::count(removals.reasons.begin(), removals.reasons.end(), Removal::timed_out), 30);
}

TEST(FlowTable, IterationSurvivesChanges) {
  FlowTable table({.max_flows = 3000}, kSecret, std::pmr::new_delete_resource());
  Removals removals;
  for (std::uint32_t n = 0; n < 2000; ++n) add(table, n, kSecond, removals);
  std::multiset<std::string> seen;
  const auto name = [](const FlowKey& k) {
    return std::string(reinterpret_cast<const char*>(&k), sizeof k);
  };
  std::size_t cursor = 0;
  std::uint32_t step = 0;
  for (;;) {
    Entry* e = table.next(cursor, 7);
    if (e != nullptr) {
      seen.insert(name(e->key()));
      // Odd ones go while we walk; new ones come.
      if (Entry* gone = table.find(numbered_key(2 * step + 1)); gone != nullptr && step < 500) {
        table.erase(gone);
        add(table, 10'000 + step, kSecond, removals);
      }
      ++step;
    } else if (cursor == 0) {
      break;
    }
  }
  for (std::uint32_t n = 0; n < 2000; ++n) {
    const std::size_t times = seen.count(name(numbered_key(n)));
    EXPECT_LE(times, 1u);
    if (table.find(numbered_key(n)) != nullptr) {
      EXPECT_EQ(times, 1u) << n;
    }
  }
}

TEST(FlowTable, AgreesWithAModelUnderRandomWork) {
  FlowTable table({.max_flows = 500}, kSecret, std::pmr::new_delete_resource());
  std::unordered_map<std::uint32_t, Entry*> model;
  std::mt19937 random(42);
  const auto forget = [&](Entry& e, Removal) {
    const auto n = static_cast<std::uint32_t>(e.key().low.octets[14] << 8 | e.key().low.octets[15]);
    model.erase(n);
  };
  for (int i = 0; i < 200'000; ++i) {
    const auto n = static_cast<std::uint32_t>(random() % 1000);
    const FlowKey key = numbered_key(n);
    const Nanoseconds now = kSecond + static_cast<Nanoseconds>(i) * kMillisecond;
    switch (random() % 8) {
      case 0:
      case 1:
      case 2:
        model[n] = table.insert(key, hash(key, kSecret), now, forget);
        break;
      case 3:
        if (Entry* e = table.find(key)) {
          table.erase(e);
          model.erase(n);
        }
        break;
      case 4:
        if (Entry* e = table.find(key)) {
          table.set_class(e, static_cast<FlowClass>(random() % kFlowClasses), now);
        }
        break;
      case 5:
        if (Entry* e = table.find(key)) table.touch(e, now);
        break;
      case 6:
        table.expire(now, random() % 4, forget);
        break;
      default: {
        const auto it = model.find(n);
        ASSERT_EQ(table.find(key), it == model.end() ? nullptr : it->second);
      }
    }
    ASSERT_EQ(table.size(), model.size());
  }
  EXPECT_LE(table.longest_probe(), 8u);
}

TEST(FlowTable, ALastPlaceInEveryGroupIsNeverNeeded) {
  // One flow, and bounds that are no multiple of anything.
  for (const std::size_t bound : {1u, 2u, 9u, 10u, 13u, 1025u}) {
    FlowTable table({.max_flows = bound}, kSecret, std::pmr::new_delete_resource());
    Removals removals;
    for (std::uint32_t n = 0; n < 3 * bound; ++n)
      ASSERT_NE(add(table, n, kSecond, removals), nullptr);
    EXPECT_EQ(table.size(), bound);
    EXPECT_EQ(removals.keys.size(), 2 * bound);
  }
}

// Refuses after a number of octets.
class BoundedMemory : public std::pmr::memory_resource {
 public:
  explicit BoundedMemory(std::size_t bound) : left_(bound) {}

 private:
  void* do_allocate(std::size_t size, std::size_t alignment) override {
    if (size > left_) throw std::bad_alloc();
    left_ -= size;
    return std::pmr::new_delete_resource()->allocate(size, alignment);
  }
  void do_deallocate(void* p, std::size_t size, std::size_t alignment) override {
    left_ += size;
    std::pmr::new_delete_resource()->deallocate(p, size, alignment);
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
  std::size_t left_;
};

TEST(FlowTable, RefusedMemoryIsABoundLikeAnother) {
  BoundedMemory memory(1u << 20);
  FlowTable table({.max_flows = 50'000}, kSecret, &memory);
  Removals removals;
  for (std::uint32_t n = 0; n < 50'000; ++n) ASSERT_NE(add(table, n, kSecond, removals), nullptr);
  EXPECT_GE(table.size(), 1024u);
  EXPECT_LT(table.size(), 15'000u);
  EXPECT_EQ(table.evicted(FlowClass::half_open), 50'000u - table.size());
}

TEST(FlowTable, AMillionHalfOpenFlowsCostAboutEightyOctetsEach) {
  constexpr std::uint32_t kFlows = 1'000'000;
  FlowTable table({.max_flows = kFlows}, kSecret, std::pmr::new_delete_resource());
  Removals removals;
  for (std::uint32_t n = 0; n < kFlows; ++n) add(table, n, kSecond, removals);
  EXPECT_EQ(table.size(), kFlows);
  EXPECT_TRUE(removals.keys.empty());
  const double each = static_cast<double>(table.memory_used()) / kFlows;
  RecordProperty("octets_per_flow_x10", static_cast<int>(each * 10));
  EXPECT_LT(each, 82);
  EXPECT_LE(table.longest_probe(), 24u);
}

}  // namespace
}  // namespace sluice::flow
