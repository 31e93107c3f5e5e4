#include "control/identity/prefix_list.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "control/identity/prefix.h"
#include "control/identity/prefix_map.h"
#include "tests/unit/control/temporary_folder.h"

namespace sluice::control {
namespace {

std::vector<std::string> texts(const PrefixList& list) {
  std::vector<std::string> all;
  for (const Prefix& p : list.prefixes) all.push_back(to_text(p));
  return all;
}

TEST(PrefixListCases, E05_Format) {
  const std::string text =
      "\xef\xbb\xbf# comment\r\n"     // 1
      "192.0.2.0/24\r\n"              // 2
      "\r\n"                          // 3
      "  198.51.100.7\t# inline\r\n"  // 4
      "010.8.8.8\n"                   // 5 bad
      "1.2.3.4/33\n"                  // 6 bad
      "::1/129\n"                     // 7 bad
      "2001:DB8::/32\n"               // 8
      + std::string(10'000, 'x') +
      "\n"                       // 9 bad
      "; SBL style\n"            // 10
      "203.0.113.9/32 ; SBL1\n"  // 11
      "host.example\n"           // 12 bad
      "2001:db8::1";             // 13, no line end
  const PrefixList list = parse_prefix_list(text, {});
  EXPECT_EQ(texts(list), (std::vector<std::string>{"192.0.2.0/24", "198.51.100.7", "203.0.113.9",
                                                   "2001:db8::/32", "2001:db8::1"}));
  EXPECT_EQ(list.lines, 13u);
  EXPECT_EQ(list.fault_count, 5u);
  std::vector<std::size_t> numbers;
  for (const auto& f : list.faults) numbers.push_back(f.line);
  EXPECT_EQ(numbers, (std::vector<std::size_t>{5, 6, 7, 9, 12}));
  EXPECT_NE(list.faults[0].text.find("octal"), std::string::npos);
  EXPECT_LT(list.faults[3].text.size(), 100u) << "a long line is not repeated whole";
}

TEST(PrefixListCases, E03_OverlapsAndForce) {
  const std::string text =
      "198.51.100.0/22\n198.51.100.0/24\n198.51.100.0/24\n198.51.100.9/32\n0.0.0.0/0\n"
      "192.0.2.5/24\n::/0\n";
  const PrefixList list = parse_prefix_list(text, {});
  EXPECT_EQ(list.prefixes.size(), 4u);
  EXPECT_EQ(list.duplicates, 1u);
  EXPECT_EQ(list.masked, 1u);  // 192.0.2.5/24
  EXPECT_EQ(list.fault_count, 2u);
  EXPECT_EQ(parse_prefix_list(text, {.force = true}).prefixes.size(), 6u);
  // Without the /22 the /24 is still there.
  PrefixMap<int> map;
  int n = 0;
  for (const Prefix& p : list.prefixes) map.insert(p, n++);
  EXPECT_TRUE(map.erase(parse_prefix("198.51.100.0/22")->prefix));
  ASSERT_NE(map.longest(*parse_address("198.51.100.77")), nullptr);
  EXPECT_EQ(to_text(map.longest(*parse_address("198.51.100.77"))->first), "198.51.100.0/24");
  EXPECT_EQ(map.longest(*parse_address("198.51.101.1")), nullptr);
}

class PrefixListFile : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) {
    const auto path = folder.path() / "list.txt";
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
    return path;
  }
  testing_support::TemporaryFolder folder;
};

TEST_F(PrefixListFile, E07_NothingInsteadOfHalf) {
  const auto missing = read_prefix_list(folder.path() / "none.txt", {});
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().find("No such file"), std::string::npos);
  const auto directory = read_prefix_list(folder.path(), {});
  ASSERT_FALSE(directory);
  const auto empty = read_prefix_list(write(""), {});
  ASSERT_FALSE(empty);
  EXPECT_NE(empty.error().find("allow-empty"), std::string::npos);
  EXPECT_TRUE(read_prefix_list(write(""), {.allow_empty = true}));
  ASSERT_FALSE(read_prefix_list(write("all\nbad\n"), {}));
  // A file in /proc says it is empty and is not regular in its ways; a pipe would block.
  const auto pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_FALSE(read_prefix_list(pipe, {}));
  if (::geteuid() != 0) {  // root reads everything
    const auto path = write("192.0.2.1\n");
    ::chmod(path.c_str(), 0);
    EXPECT_FALSE(read_prefix_list(path, {}));
  }
}

TEST_F(PrefixListFile, E04_AMillionLines) {
  std::string text;
  text.reserve(20u << 20);
  for (unsigned i = 0; i < 1'000'000; ++i) {
    const unsigned a = i * 2654435761u;
    switch (i % 4) {
      case 0:
        text += std::to_string(1 + (a >> 24) % 223) + "." + std::to_string((a >> 16) & 255) + "." +
                std::to_string((a >> 8) & 255) + "." + std::to_string(i & 255) + "\n";
        break;
      case 1:
        text += std::to_string(1 + (a >> 24) % 223) + "." + std::to_string((a >> 16) & 255) + "." +
                std::to_string((a >> 8) & 255) + ".0/24\n";
        break;
      default: {
        char line[64];
        std::snprintf(line, sizeof line, i % 4 == 2 ? "2001:%x:%x::%x\n" : "2001:%x:%x::/48\n",
                      a >> 16, a & 0xffff, i & 0xffff);
        text += line;
      }
    }
  }
  const auto path = write(text);
  const auto list = read_prefix_list(path, {});
  ASSERT_TRUE(list) << list.error();
  EXPECT_EQ(list->lines, 1'000'000u);
  EXPECT_EQ(list->fault_count, 0u) << list->faults.at(0).text;
  EXPECT_EQ(list->prefixes.size() + list->duplicates, 1'000'000u);
  EXPECT_GT(list->prefixes.size(), 700'000u);
}

}  // namespace
}  // namespace sluice::control
