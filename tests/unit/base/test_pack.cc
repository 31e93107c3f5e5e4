// Packing of state: what comes out is what went in, whatever it is, and zeros cost next to nothing.
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>

#include "dataplane/base/pack.h"

namespace sluice {
namespace {

TEST(Pack, WhatWentInComesOut) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 2000; ++round) {
    // Of a size that is no multiple of anything, sparse to dense.
    std::array<std::uint8_t, 203> state{};
    const std::uint64_t density = random() % 256;
    for (auto& octet : state)
      if (random() % 256 < density) octet = static_cast<std::uint8_t>(random());
    const std::uint64_t number = round % 3 == 0 ? 0 : random() >> random() % 64;
    const std::string text(random() % 300, static_cast<char>('a' + round % 26));
    std::array<std::uint8_t, 1024> room;
    room.fill(0xee);
    Packer packer(room);
    packer.put(state);
    packer.put_text(text);
    packer.put(number);
    packer.put_text(std::string_view());
    ASSERT_TRUE(packer.fits());
    Unpacker unpacker(packer.result());
    std::array<std::uint8_t, 203> out;
    out.fill(0x55);
    unpacker.get(out);
    EXPECT_EQ(out, state);
    EXPECT_EQ(as_text(unpacker.get_text()), text);
    EXPECT_EQ(unpacker.get<std::uint64_t>(), number);
    EXPECT_TRUE(unpacker.get_text().empty());
    EXPECT_TRUE(unpacker.empty());
  }
}

TEST(Pack, ZerosCostAnEighthOfAnEighth) {
  std::array<std::uint8_t, 1024> room;
  Packer packer(room);
  packer.put(std::array<std::uint64_t, 64>{});
  EXPECT_EQ(packer.result().size(), 8u);
}

TEST(Pack, SaysWhenThereIsNoRoom) {
  std::array<std::uint8_t, 300> state;
  state.fill(1);
  for (std::size_t size = 0; size < 600; ++size) {
    std::vector<std::uint8_t> room(size);
    Packer packer(room);
    packer.put(state);
    packer.put_text("text");
    if (!packer.fits()) continue;
    EXPECT_GE(size, 300u + 38 + 5 + 6);
    Unpacker unpacker(packer.result());
    EXPECT_EQ(unpacker.get<decltype(state)>(), state);
    EXPECT_EQ(as_text(unpacker.get_text()), "text");
  }
}

}  // namespace
}  // namespace sluice
