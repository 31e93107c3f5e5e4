// Longest-prefix match against a search through all prefixes.
#include "dataplane/policy/prefix_map.h"

#include <gtest/gtest.h>

#include <random>

namespace sluice::policy {
namespace {

bool holds(const PrefixMap::Entry& entry, const Address& address) {
  for (int bit = 0; bit < entry.length; ++bit) {
    const auto at = static_cast<std::size_t>(bit / 8);
    const int shift = 7 - bit % 8;
    if (((entry.prefix.octets[at] ^ address.octets[at]) >> shift & 1) != 0) return false;
  }
  return true;
}

std::uint32_t naive(const std::vector<PrefixMap::Entry>& entries, const Address& address) {
  std::uint32_t best = PrefixMap::kNone;
  int length = -1;
  for (const PrefixMap::Entry& entry : entries) {
    if (entry.length >= length && holds(entry, address)) {
      best = entry.value;
      length = entry.length;
    }
  }
  return best;
}

using Random = std::mt19937_64;
std::size_t below(Random& random, std::size_t end) {
  return std::uniform_int_distribution<std::size_t>(0, end - 1)(random);
}

// Addresses that are close to each other in places, as real lists are.
Address random_address(Random& random, int shape) {
  Address address;
  for (auto& octet : address.octets) octet = static_cast<std::uint8_t>(random());
  if (shape == 0 || shape == 1) {  // IPv4
    const std::uint8_t v4[4] = {
        shape == 0 ? static_cast<std::uint8_t>(random()) : std::uint8_t{10},
        shape == 0 ? static_cast<std::uint8_t>(random()) : static_cast<std::uint8_t>(random() & 1),
        static_cast<std::uint8_t>(random()), static_cast<std::uint8_t>(random())};
    return Address::from_v4(v4);
  }
  if (shape == 2) {  // one IPv6 allocation
    constexpr std::uint8_t kStart[] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0};
    std::copy(std::begin(kStart), std::end(kStart), address.octets.begin());
  }
  if (shape == 3) {  // few different bits anywhere
    address.octets = {};
    address.octets[below(random, 16)] = static_cast<std::uint8_t>(1u << (random() & 7));
  }
  return address;
}

TEST(PrefixMap, AgreesWithASearchThroughAll) {
  Random random(3);
  for (int round = 0; round < 300; ++round) {
    std::vector<PrefixMap::Entry> entries;
    const std::size_t count = below(random, round < 200 ? 20 : 800);
    const auto shapes = 1 + below(random, 5);
    for (std::uint32_t i = 0; i < count; ++i) {
      const Address address = random_address(random, static_cast<int>(below(random, shapes)));
      const std::uint8_t length = random() % 3 == 0
                                      ? static_cast<std::uint8_t>(below(random, 129))
                                      : static_cast<std::uint8_t>(128 - 8 * below(random, 5));
      entries.push_back({address, length, i});
      if (random() % 8 == 0) entries.push_back({address, length, i + 100000});  // the same again
    }
    const PrefixMap map(entries);
    for (int query = 0; query < 200; ++query) {
      Address address = random_address(random, static_cast<int>(below(random, 5)));
      if (!entries.empty() && query % 2 == 0) {
        address = entries[below(random, entries.size())].prefix;
        if (query % 4 == 0) address.octets[below(random, 16)] ^= 1;
      }
      ASSERT_EQ(map.find(address), naive(entries, address)) << "round " << round;
    }
    Address last;
    last.octets.fill(0xff);
    ASSERT_EQ(map.find(last), naive(entries, last));
    ASSERT_EQ(map.find(Address{}), naive(entries, Address{}));
  }
}

TEST(PrefixMap, EmptyAndWholeSpace) {
  EXPECT_EQ(PrefixMap().find(Address{}), PrefixMap::kNone);
  std::vector<PrefixMap::Entry> entries(1);
  entries[0].length = 0;
  entries[0].value = 5;
  const PrefixMap all(entries);
  Address last;
  last.octets.fill(0xff);
  EXPECT_EQ(all.find(last), 5u);
  EXPECT_EQ(all.find(Address{}), 5u);
}

TEST(PrefixMap, AMillionPrefixes) {
  Random random(9);
  std::vector<PrefixMap::Entry> entries;
  for (std::uint32_t i = 0; i < 1'000'000; ++i) {
    const bool v6 = i % 4 == 0;
    static constexpr std::uint8_t kV4[] = {120, 128, 128};
    static constexpr std::uint8_t kV6[] = {48, 64, 128};
    const Address address = random_address(random, v6 ? 2 + static_cast<int>(random() & 2) : 0);
    const std::uint8_t* lengths = v6 ? kV6 : kV4;
    entries.push_back({address, lengths[random() % 3], i});
  }
  const PrefixMap map(entries);
  EXPECT_LT(map.memory_used(), 100u << 20);
  // Both kinds of answers, each found in the list as it was given.
  std::size_t found = 0;
  for (int query = 0; query < 20000; ++query) {
    const std::uint32_t value = map.find(random_address(random, query % 3));
    if (value == PrefixMap::kNone) continue;
    ++found;
    ASSERT_LT(value, entries.size());
  }
  EXPECT_GT(found, 100u);
  for (int query = 0; query < 20000; ++query) {
    const PrefixMap::Entry& entry = entries[below(random, entries.size())];
    const std::uint32_t value = map.find(entry.prefix);
    ASSERT_NE(value, PrefixMap::kNone);
    ASSERT_TRUE(holds(entries[value], entry.prefix));
    ASSERT_GE(entries[value].length, entry.length);
  }
}

}  // namespace
}  // namespace sluice::policy
