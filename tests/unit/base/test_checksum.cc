#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "dataplane/base/checksum.h"

namespace sluice {
namespace {

// RFC 1071, section 3's worked example.
TEST(Checksum, ExampleOfRfc1071) {
  const std::uint8_t octets[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  std::uint8_t field[2];
  store_checksum(field, checksum_finish(checksum_add(octets, sizeof octets, 0)));
  EXPECT_EQ(load_be16(field), 0x220d);  // the complement of ddf2
}

std::uint16_t pair_by_pair(const std::vector<std::uint8_t>& octets, std::size_t from,
                           std::size_t size) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < size; ++i)
    sum += static_cast<std::uint64_t>(octets[from + i]) << (i % 2 == 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

TEST(Checksum, AnySizeAndAlignmentAgreesWithPairByPair) {
  std::mt19937 random(7);
  std::vector<std::uint8_t> octets(2100);
  for (auto& o : octets) o = static_cast<std::uint8_t>(random() | (random() % 3 == 0 ? 0xff : 0));
  for (std::size_t size = 0; size < 2050; size += size < 300 ? 1 : 97) {
    for (const std::size_t from : {0u, 1u, 7u, 16u, 33u}) {
      const std::uint16_t sum = checksum_fold(checksum_add(octets.data() + from, size, 0));
      EXPECT_EQ(__builtin_bswap16(sum) % 0xffff, pair_by_pair(octets, from, size) % 0xffff)
          << size << " octets from " << from;
    }
  }
}

TEST(Checksum, NoCarryIsLostInSixtyFourKilobytesOfOnes) {
  const std::vector<std::uint8_t> octets(65'536, 0xff);
  EXPECT_EQ(checksum_fold(checksum_add(octets.data(), octets.size(), 0)), 0xffff);
  EXPECT_EQ(checksum_fold(checksum_add(octets.data(), octets.size() - 1, 1)), 0xff + 1);
}

TEST(Checksum, PartsAddUpToTheWhole) {
  std::vector<std::uint8_t> octets(777);
  for (std::size_t i = 0; i < octets.size(); ++i) octets[i] = static_cast<std::uint8_t>(i * 37);
  const std::uint64_t parts =
      checksum_add(octets.data() + 100, 677, checksum_add(octets.data(), 100, 0));
  EXPECT_EQ(checksum_fold(parts), checksum_fold(checksum_add(octets.data(), 777, 0)));
  EXPECT_EQ(checksum_fold(checksum_add_words(octets.data(), 10, 0)),
            checksum_fold(checksum_add(octets.data(), 40, 0)));
}

TEST(Checksum, ValuesOfThePseudoHeaderAreInNetworkOrder) {
  const std::uint8_t octets[] = {0x12, 0x34};
  EXPECT_EQ(checksum_add16(0x1234, 0), checksum_add(octets, 2, 0));
}

}  // namespace
}  // namespace sluice
