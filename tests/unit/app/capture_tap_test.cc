// What a capture copies: the ordered hosts' frames, no octet of a conversation unless told so, and
// nothing once its time is over or the ring has other things to carry.
#include "dataplane/app/capture_tap.h"

#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "dataplane/event/shared_objects.h"

namespace sluice::app {
namespace {

std::vector<std::uint8_t> segment(const std::string& payload, std::uint8_t last = 7,
                                  std::uint16_t port = 25) {
  constexpr std::size_t kHeaders = 14 + 20 + 20;
  std::vector<std::uint8_t> f(kHeaders + payload.size(), 0);
  f[12] = 8;
  std::uint8_t* ip = f.data() + 14;
  const auto total = static_cast<std::uint16_t>(40 + payload.size());
  ip[0] = 0x45;
  ip[2] = static_cast<std::uint8_t>(total >> 8);
  ip[3] = static_cast<std::uint8_t>(total & 0xff);
  ip[8] = 64;
  ip[9] = 6;
  const std::uint8_t ends[8] = {192, 0, 2, last, 198, 51, 100, 1};
  std::memcpy(ip + 12, ends, 8);
  ip[20] = 0x9c;
  ip[22] = static_cast<std::uint8_t>(port >> 8);
  ip[23] = static_cast<std::uint8_t>(port & 0xff);
  ip[32] = 0x50;
  ip[33] = 0x18;
  std::memcpy(f.data() + kHeaders, payload.data(), payload.size());
  return f;
}

class Tap : public testing::Test {
 protected:
  contract::ChannelCapture order(std::uint32_t identity, bool full = false,
                                 std::uint8_t length = 128) const {
    contract::ChannelCapture o;
    o.identity = identity;
    o.full = full ? 1 : 0;
    o.length = length;
    const std::uint8_t mapped[16] = {
        0, 0, 0,    0,    0,   0, 0, 0,
        0, 0, 0xff, 0xff, 192, 0, 2, static_cast<std::uint8_t>(length == 128 ? 7 : 0)};
    std::memcpy(o.prefix, mapped, 16);
    o.until = 100;
    return o;
  }
  struct Copy {
    std::uint64_t identity = 0;
    std::uint64_t length = 0;
    std::string octets;
  };
  std::vector<Copy> copies() {
    std::vector<Copy> all;
    contract::EventRingConsumer consumer(memory.data(), contract::event_ring_bytes(kCapacity));
    consumer.read(1000, [&](Bytes record) {
      auto reader = contract::EventReader::open(record);
      ASSERT_TRUE(reader);
      EXPECT_EQ(reader->header().type, contract::kCapturedFrame);
      Copy c;
      while (const auto item = reader->next()) {
        if (item->field == contract::kCaptureIdentity) c.identity = item->number();
        if (item->field == contract::kFrameLength) c.length = item->number();
        if (item->field == contract::kFrameOctets) c.octets = item->text();
      }
      all.push_back(c);
    });
    return all;
  }
  static constexpr std::uint64_t kCapacity = 1 << 16;
  struct alignas(64) Line {
    std::uint8_t octets[64];
  };
  std::vector<Line> lines{std::vector<Line>(contract::event_ring_bytes(kCapacity) / 64 + 1)};
  std::span<std::uint8_t> memory{lines[0].octets, lines.size() * 64};
  event::RingSink sink{memory.data(), kCapacity};
  CaptureTap tap{sink, 0};
  inspect::Time now{.monotonic = 50, .wall = 1};
};

TEST_F(Tap, CopiesHeadersOnlyOfTheOrderedHost) {
  EXPECT_FALSE(tap.active());
  tap.order(order(9));
  EXPECT_TRUE(tap.active());
  const auto frame = segment("MAIL FROM:<secret@cust.example>\r\n");
  tap.see(frame, 0, Side::inside, now);
  tap.see(segment("RSET\r\n", 8), 0, Side::inside, now);
  const auto all = copies();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].identity, 9u);
  EXPECT_EQ(all[0].length, frame.size());
  EXPECT_EQ(all[0].octets.size(), 54u);
  EXPECT_EQ(all[0].octets.find("secret"), std::string::npos);
}

TEST_F(Tap, FullCopiesWholeFramesAndPrefixesHoldManyHosts) {
  tap.order(order(9, true, 120));
  tap.see(segment("QUIT\r\n"), 0, Side::inside, now);
  tap.see(segment("RSET\r\n", 200), 0, Side::inside, now);
  const auto all = copies();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_NE(all[0].octets.find("QUIT"), std::string::npos);
}

TEST_F(Tap, EndsAtItsTimeAndWhenTheSlotIsFreed) {
  tap.order(order(9));
  now.monotonic = 100;
  tap.see(segment("x"), 0, Side::inside, now);
  EXPECT_FALSE(tap.active());
  now.monotonic = 50;
  tap.order(order(10));
  tap.order(contract::ChannelCapture{});
  EXPECT_FALSE(tap.active());
  contract::ChannelCapture nowhere = order(11);
  nowhere.slot = 77;
  tap.order(nowhere);
  EXPECT_FALSE(tap.active());
  EXPECT_TRUE(copies().empty());
}

TEST_F(Tap, LeavesHalfOfTheRingToEvents) {
  tap.order(order(9, true));
  const auto frame = segment(std::string(1400, 'x'));
  for (int i = 0; i < 200; ++i) tap.see(frame, 0, Side::inside, now);
  EXPECT_GT(tap.left_out(), 100u);
  const auto all = copies();
  EXPECT_LT(all.size() * 1600, kCapacity * 6 / 10);
  EXPECT_GT(all.size(), 10u);
}

TEST_F(Tap, OctetsOfFragmentsAreContent) {
  tap.order(order(9));
  auto frame = segment("RCPT TO:<hidden@cust.example>\r\n");
  frame[14 + 6] = 0x20;  // more fragments
  tap.see(frame, 0, Side::inside, now);
  const auto all = copies();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].octets.size(), 34u);
}

}  // namespace
}  // namespace sluice::app
