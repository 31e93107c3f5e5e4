#include "dataplane/io/spread.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace sluice::io {
namespace {

using Octets = std::vector<std::uint8_t>;
constexpr SpreadKey kKey{0x0123456789abcdef, 0xfedcba9876543210};
constexpr unsigned kWorkers = 7;

void add16(Octets& to, unsigned v) {
  to.push_back(static_cast<std::uint8_t>(v >> 8));
  to.push_back(static_cast<std::uint8_t>(v));
}

// Everything before the IP header.
Octets ethernet(unsigned type, const Octets& between = {}) {
  Octets frame(12, 0x02);
  frame.insert(frame.end(), between.begin(), between.end());
  add16(frame, type);
  return frame;
}

Octets ip4(unsigned source, unsigned destination, unsigned fragment_field, unsigned protocol = 6) {
  Octets ip{0x45, 0, 0, 40, 0, 1};
  add16(ip, fragment_field);
  ip.push_back(64);
  ip.push_back(static_cast<std::uint8_t>(protocol));
  add16(ip, 0);
  for (const unsigned a : {source, destination}) {
    add16(ip, 0xc000);
    add16(ip, a);
  }
  ip.resize(40, 0x55);
  return ip;
}

Octets ip6(unsigned source, unsigned destination, unsigned next) {
  Octets ip{0x60, 0, 0, 0, 0, 20, static_cast<std::uint8_t>(next), 64};
  for (const unsigned a : {source, destination}) {
    Octets address(16, 0x20);
    address[14] = static_cast<std::uint8_t>(a >> 8);
    address[15] = static_cast<std::uint8_t>(a);
    ip.insert(ip.end(), address.begin(), address.end());
  }
  ip.resize(60, 0x55);
  return ip;
}

Octets join(Octets a, const Octets& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::optional<std::uint8_t> owner(const Octets& frame) { return owner_of(frame, kWorkers, kKey); }

TEST(SpreadCases, D13_BothDirectionsMeet) {
  for (unsigned i = 1; i < 200; ++i) {
    EXPECT_EQ(owner(join(ethernet(0x0800), ip4(i, 9000, 0x4000))),
              owner(join(ethernet(0x0800), ip4(9000, i, 0x4000))));
    EXPECT_EQ(owner(join(ethernet(0x86dd), ip6(i, 9000, 6))),
              owner(join(ethernet(0x86dd), ip6(9000, i, 6))));
  }
}

TEST(SpreadCases, D13_FragmentsMeetTheirFlow) {
  for (unsigned i = 1; i < 50; ++i) {
    const auto whole = owner(join(ethernet(0x0800), ip4(i, 7, 0x4000)));
    EXPECT_EQ(owner(join(ethernet(0x0800), ip4(i, 7, 0x2000))), whole);  // first
    EXPECT_EQ(owner(join(ethernet(0x0800), ip4(i, 7, 0x00b9))), whole);  // last
    EXPECT_EQ(owner(join(ethernet(0x86dd), ip6(i, 7, 44))),
              owner(join(ethernet(0x86dd), ip6(i, 7, 6))));
  }
}

// What the device's own hash cannot see through: the owner is that of the packet inside.
TEST(SpreadCases, D13_TagsLabelsAndSessionsAreSeenThrough) {
  const Octets packet = ip4(1, 2, 0x4000);
  const auto plain = owner(join(ethernet(0x0800), packet));
  ASSERT_TRUE(plain);
  const Octets vlan{0x81, 0x00, 0x00, 0x05};
  const Octets qinq{0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x05};
  const Octets three{0x91, 0x00, 0, 1, 0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x05};
  EXPECT_EQ(owner(join(ethernet(0x0800, vlan), packet)), plain);
  EXPECT_EQ(owner(join(ethernet(0x0800, qinq), packet)), plain);
  EXPECT_EQ(owner(join(ethernet(0x0800, three), packet)), plain);
  const Octets labels{0, 0, 0x10, 64, 0, 0, 0x21, 64};
  EXPECT_EQ(owner(join(join(ethernet(0x8847), labels), packet)), plain);
  const Octets pppoe{0x11, 0, 0, 5, 0, 42, 0x00, 0x21};
  EXPECT_EQ(owner(join(join(ethernet(0x8864), pppoe), packet)), plain);
  EXPECT_EQ(owner(join(join(ethernet(0x8864, vlan), pppoe), packet)), plain);
  const Octets compressed{0x11, 0, 0, 5, 0, 41, 0x21};
  EXPECT_EQ(owner(join(join(ethernet(0x8864), compressed), packet)), plain);
}

TEST(Spread, WhatIsNotIpBelongsToWhoeverReceivedIt) {
  EXPECT_FALSE(owner(ethernet(0x0806)));
  EXPECT_FALSE(owner(join(ethernet(0x88cc), Octets(60, 1))));
  EXPECT_FALSE(owner(join(ethernet(0x8864), {0x11, 0, 0, 5, 0, 4, 0xc0, 0x21, 1, 1})));
  EXPECT_FALSE(owner(join(ethernet(0x0800), Octets(20, 0x60))));  // says version 6
  EXPECT_FALSE(owner({}));
}

// Every frame cut at every octet, in memory of exactly that size: nothing is read beyond it.
TEST(Spread, CutFramesAreNotReadPastTheirEnd) {
  const Octets vlan{0x81, 0x00, 0x00, 0x05};
  for (const Octets& frame :
       {join(ethernet(0x0800, vlan), ip4(1, 2, 0)), join(ethernet(0x86dd), ip6(1, 2, 6)),
        join(join(ethernet(0x8847), {0, 0, 0x10, 64, 0, 0, 0x21, 64}), ip6(1, 2, 6)),
        join(join(ethernet(0x8864), {0x11, 0, 0, 5, 0, 42, 0, 0x57}), ip6(1, 2, 6))}) {
    const auto whole = owner(frame);
    ASSERT_TRUE(whole);
    for (std::size_t size = 0; size < frame.size(); ++size) {
      const auto copy = std::make_unique<std::uint8_t[]>(size + 1);
      std::copy_n(frame.begin(), size, copy.get());
      const auto cut = owner_of({copy.get(), size}, kWorkers, kKey);
      EXPECT_TRUE(!cut || cut == whole) << size;
    }
  }
}

TEST(Spread, WorkersGetEqualShares) {
  std::vector<unsigned> share(4);
  for (unsigned i = 0; i < 40000; ++i) {
    ++share[*owner_of(join(ethernet(0x0800), ip4(i, 65535 - i / 3, 0)), 4, kKey)];
  }
  for (const unsigned frames : share) {
    EXPECT_GT(frames, 9000u);
    EXPECT_LT(frames, 11000u);
  }
  // Another key deals them otherwise.
  unsigned moved = 0;
  for (unsigned i = 0; i < 1000; ++i) {
    const Octets frame = join(ethernet(0x0800), ip4(i, 1, 0));
    moved += owner_of(frame, 4, kKey) != owner_of(frame, 4, {1, 2});
  }
  EXPECT_GT(moved, 600u);
}

}  // namespace
}  // namespace sluice::io
