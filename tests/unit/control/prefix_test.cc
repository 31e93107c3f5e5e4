#include "control/identity/prefix.h"

#include <gtest/gtest.h>

namespace sluice::control {
namespace {

std::string read(std::string_view text) {
  const auto p = parse_prefix(text);
  return p ? to_text(p->prefix) : "refused: " + p.error();
}

TEST(PrefixCases, E06_MappedIsItsV4Address) {
  EXPECT_EQ(read("::ffff:192.0.2.1"), "192.0.2.1");
  EXPECT_EQ(read("::ffff:c000:201"), "192.0.2.1");
  EXPECT_EQ(read("0:0:0:0:0:ffff:192.0.2.1"), "192.0.2.1");
  EXPECT_EQ(read("::ffff:192.0.2.0/120"), "192.0.2.0/24");
  EXPECT_NE(read("64:ff9b::192.0.2.1"), "192.0.2.1");
  EXPECT_NE(read("2002:c000:201::"), "192.0.2.1");
}

TEST(PrefixCases, E05_Forms) {
  EXPECT_EQ(read("192.0.2.5/24"), "192.0.2.0/24");
  EXPECT_EQ(read("0.0.0.0/0"), "0.0.0.0/0");
  EXPECT_EQ(read("2001:DB8::/32"), "2001:db8::/32");
  EXPECT_EQ(read("::/0"), "::/0");
  for (const char* bad :
       {"",           "/",          "1.2.3",    "1.2.3.4.5",    "010.8.8.8",  "1.2.3.04",
        "1.2.3.256",  "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/024",  "1.2.3.4/-1", "1.2.3.4/+1",
        "1.2.3.4/1 ", " 1.2.3.4",   "::1/129",  "fe80::1%eth0", ":::",        "1.2.3.4:25",
        "host.test",  "0x7f.1.1.1", "1..2.3",   "1.2.3.4/24/3"}) {
    EXPECT_EQ(read(bad).substr(0, 8), "refused:") << bad << " gave " << read(bad);
  }
  EXPECT_EQ(read(std::string("1.2.3.4\0", 8)).substr(0, 8), "refused:");
  EXPECT_EQ(read(std::string("::1\0", 4)).substr(0, 8), "refused:");
}

TEST(Prefix, MaskAndContain) {
  const Prefix p = parse_prefix("192.0.2.128/25")->prefix;
  EXPECT_TRUE(contains(p, *parse_address("192.0.2.200")));
  EXPECT_FALSE(contains(p, *parse_address("192.0.2.127")));
  EXPECT_TRUE(is_v4(p));
  EXPECT_FALSE(is_v4(parse_prefix("::/0")->prefix));
  EXPECT_TRUE(parse_prefix("192.0.2.5/24")->had_host_bits);
}

}  // namespace
}  // namespace sluice::control
