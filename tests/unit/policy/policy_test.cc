// Images from control to the dataplane: everything comes across, and nothing that is damaged does.
#include "dataplane/policy/policy.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <random>

#include "control/publish/image.h"
#include "dataplane/contract/policy_image.h"
#include "dataplane/scan/ruleset.h"
#include "tests/unit/scan/rules_on_octets.h"

namespace sluice::policy {
namespace {

using contract::PolicyImageHeader;
using control::PolicySpec;

Address v4(int a, int b, int c, int d) {
  const std::uint8_t octets[4] = {static_cast<std::uint8_t>(a), static_cast<std::uint8_t>(b),
                                  static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(d)};
  return Address::from_v4(octets);
}

// Images stand at multiples of 8 octets, as mappings do; vectors of octets do too.
std::vector<std::uint8_t> image_of(const PolicySpec& spec, const control::CompiledRules& rules = {},
                                   bool with_ruleset = true) {
  auto image = control::build_image(spec, rules, with_ruleset);
  EXPECT_TRUE(image) << image.error();
  return image ? *image : std::vector<std::uint8_t>{};
}

std::shared_ptr<const Policy> policy_of(const PolicySpec& spec) {
  auto policy = Policy::open(image_of(spec), {});
  EXPECT_TRUE(policy) << policy.error();
  return policy ? *policy : default_policy();
}

void sign(std::vector<std::uint8_t>& image) {
  constexpr std::size_t kDigest = offsetof(PolicyImageHeader, digest);
  std::vector<std::uint8_t> rest(image.begin(), image.begin() + kDigest);
  rest.insert(rest.end(), image.begin() + kDigest + 32, image.end());
  EVP_Digest(rest.data(), rest.size(), &image[kDigest], nullptr, EVP_sha256(), nullptr);
}

std::string refusal(const std::vector<std::uint8_t>& image, const Policy::Known& known = {}) {
  const auto policy = Policy::open(image, known);
  return policy ? "" : policy.error();
}

PolicySpec full_spec() {
  PolicySpec spec;
  spec.epoch = 42;
  spec.wires = {{"core", Mode::enforce}, {"lab", Mode::monitor}};
  spec.groups = {{.group = {.name = "all", .reject_score = 1000}, .members = {}},
                 {.group = {.name = "servers",
                            .tag_score = 100,
                            .tempfail_score = 200,
                            .reject_score = 300,
                            .rule_reject = contract::Verdict::tempfail,
                            .rule_drop = contract::Verdict::reset},
                  .members = {{v4(10, 9, 0, 0), 112}}}};
  spec.inside = {{v4(10, 0, 0, 0), 104}};
  spec.mail_ports = {25, 26};
  spec.hosts = {{.prefix = v4(192, 0, 2, 0), .length = 120, .action = HostAction::block},
                {.prefix = v4(192, 0, 2, 9),
                 .length = 128,
                 .action = HostAction::limit,
                 .rate_per_hour = 60,
                 .burst = 5,
                 .text = "Slow down"}};
  spec.texts.rejected = "No";
  spec.exceptions.overlap = Exception::fail_closed;
  spec.hash_messages = true;
  spec.hash_attachments = false;
  spec.hash_md5 = true;
  spec.scan_budget = 1 << 20;
  return spec;
}

TEST(PolicyImage, EverythingComesAcross) {
  const auto policy = policy_of(full_spec());
  EXPECT_EQ(policy->epoch(), 42u);
  ASSERT_NE(policy->wire("core"), nullptr);
  EXPECT_EQ(policy->wire("core")->mode, Mode::enforce);
  EXPECT_EQ(policy->wire("lab")->mode, Mode::monitor);
  EXPECT_EQ(policy->wire("none"), nullptr);
  EXPECT_EQ(policy->group_of(v4(10, 8, 0, 1)).name, "all");
  EXPECT_EQ(policy->group_of(v4(10, 8, 0, 1)).reject_score, 1000);
  const Group& servers = policy->group_of(v4(10, 9, 3, 1));
  EXPECT_EQ(servers.name, "servers");
  EXPECT_EQ(servers.tag_score, 100);
  EXPECT_EQ(servers.tempfail_score, 200);
  EXPECT_EQ(servers.rule_reject, contract::Verdict::tempfail);
  EXPECT_EQ(servers.rule_drop, contract::Verdict::reset);
  EXPECT_TRUE(policy->inside(v4(10, 255, 255, 255)));
  EXPECT_FALSE(policy->inside(v4(11, 0, 0, 0)));
  EXPECT_TRUE(policy->mail_port(26));
  EXPECT_FALSE(policy->mail_port(587));
  const HostRule* limited = policy->host(v4(192, 0, 2, 9));
  ASSERT_NE(limited, nullptr);
  EXPECT_EQ(limited->action, HostAction::limit);
  EXPECT_EQ(limited->rate_per_hour, 60u);
  EXPECT_EQ(limited->burst, 5u);
  EXPECT_EQ(limited->text, "Slow down");
  EXPECT_EQ(policy->host(v4(192, 0, 3, 0)), nullptr);
  EXPECT_EQ(policy->texts().rejected, "No");
  EXPECT_EQ(policy->texts().limited, Texts{}.limited);
  EXPECT_EQ(policy->exceptions().overlap, Exception::fail_closed);
  EXPECT_EQ(policy->exceptions().memory, Exception::fail_open);
  EXPECT_TRUE(policy->hash_messages());
  EXPECT_FALSE(policy->hash_attachments());
  EXPECT_TRUE(policy->hash_md5());
  EXPECT_EQ(policy->scan_budget(), 1u << 20);
  EXPECT_TRUE(policy->ruleset().rules().empty());
}

TEST(PolicyImage, DefaultPolicyHasTheDefaultPortsAndNoRules) {
  const auto policy = default_policy();
  for (const int port : {25, 465, 587, 2525}) {
    EXPECT_TRUE(policy->mail_port(static_cast<std::uint16_t>(port)));
  }
  EXPECT_FALSE(policy->mail_port(80));
  EXPECT_EQ(policy->wire("any"), nullptr);
  EXPECT_EQ(policy->host(v4(1, 2, 3, 4)), nullptr);
  EXPECT_EQ(policy->group_of(v4(1, 2, 3, 4)).reject_score, INT32_MAX);
  EXPECT_TRUE(policy->ruleset().rules().empty());
}

TEST(PolicyCases, E02_AllowedHostInsideABlockedRange) {
  const HostRule block{.prefix = v4(192, 0, 2, 0), .length = 120, .action = HostAction::block};
  const HostRule allow{.prefix = v4(192, 0, 2, 7), .length = 128, .action = HostAction::allow};
  for (const auto& hosts : {std::vector{block, allow}, std::vector{allow, block}}) {
    PolicySpec spec;
    spec.hosts = hosts;
    const auto policy = policy_of(spec);
    EXPECT_EQ(policy->host(v4(192, 0, 2, 7))->action, HostAction::allow);
    EXPECT_EQ(policy->host(v4(192, 0, 2, 8))->action, HostAction::block);
    spec.hosts = {block};
    EXPECT_EQ(policy_of(spec)->host(v4(192, 0, 2, 7))->action, HostAction::block);
  }
}

TEST(PolicyCases, E03_OverlappingPrefixes) {
  const auto host = [](Address prefix, int length, HostAction action) {
    return HostRule{
        .prefix = prefix, .length = static_cast<std::uint8_t>(96 + length), .action = action};
  };
  PolicySpec spec;
  spec.hosts = {host(v4(0, 0, 0, 0), 0, HostAction::allow),
                host(v4(198, 51, 100, 0), 22, HostAction::block),
                host(v4(198, 51, 101, 0), 24, HostAction::tempfail),
                host(v4(198, 51, 101, 0), 24, HostAction::reject),  // the same again: this counts
                host(v4(198, 51, 101, 9), 32, HostAction::tarpit),
                host(v4(192, 0, 2, 5), 24, HostAction::limit)};  // host bits are masked
  const auto policy = policy_of(spec);
  EXPECT_EQ(policy->host(v4(8, 8, 8, 8))->action, HostAction::allow);
  EXPECT_EQ(policy->host(v4(198, 51, 103, 255))->action, HostAction::block);
  EXPECT_EQ(policy->host(v4(198, 51, 101, 1))->action, HostAction::reject);
  EXPECT_EQ(policy->host(v4(198, 51, 101, 9))->action, HostAction::tarpit);
  EXPECT_EQ(policy->host(v4(192, 0, 2, 200))->action, HostAction::limit);
  EXPECT_EQ(policy->host(v4(192, 0, 2, 200))->prefix, v4(192, 0, 2, 0));
  spec.hosts.erase(spec.hosts.begin() + 1);  // without the /22 the /24 stays
  const auto without = policy_of(spec);
  EXPECT_EQ(without->host(v4(198, 51, 103, 255))->action, HostAction::allow);
  EXPECT_EQ(without->host(v4(198, 51, 101, 1))->action, HostAction::reject);
}

TEST(PolicyCases, E06_MappedAddressesAreTheirIpv4Hosts) {
  PolicySpec spec;
  spec.hosts = {{.prefix = v4(192, 0, 2, 1), .length = 128, .action = HostAction::block}};
  const auto policy = policy_of(spec);
  const std::uint8_t mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xc0, 0, 2, 1};
  const std::uint8_t nat64[16] = {0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 2, 1};
  const std::uint8_t six_to_four[16] = {0x20, 0x02, 0xc0, 0, 2, 1};
  EXPECT_NE(policy->host(Address::from_v6(mapped)), nullptr);
  EXPECT_EQ(policy->host(Address::from_v6(nat64)), nullptr);
  EXPECT_EQ(policy->host(Address::from_v6(six_to_four)), nullptr);
}

TEST(PolicyImage, RulesetIsFoundByItsDigestWhenLeftOut) {
  const auto rules = test::compile_text(test::rule(5, "content:\"needle\";"));
  ASSERT_TRUE(rules);
  PolicySpec spec;
  const auto with = Policy::open(image_of(spec, *rules, true), {});
  ASSERT_TRUE(with) << with.error();
  EXPECT_EQ((*with)->ruleset_digest(), rules->digest);
  EXPECT_EQ(test::hits((*with)->ruleset(), "a needle"), test::Sids{5});

  spec.epoch = 2;
  const auto without = image_of(spec, *rules, false);
  EXPECT_LT(without.size(), 2000u);
  EXPECT_EQ(refusal(without), Policy::kNeedsRuleset);
  const Policy::Known known{.rulesets = {{(*with)->ruleset_digest(), (*with)->shared_ruleset()}}};
  const auto again = Policy::open(without, known);
  ASSERT_TRUE(again) << again.error();
  EXPECT_EQ((*again)->shared_ruleset(), (*with)->shared_ruleset());
  EXPECT_EQ((*again)->epoch(), 2u);
}

class DamagedImage : public testing::Test {
 protected:
  DamagedImage() {
    const auto rules = test::compile_text(test::rule(5, "content:\"needle\";") +
                                          test::rule(6, "pcre:\"/(a)\\1(?!x)/\";"));
    image_ = image_of(full_spec(), *rules);
    EXPECT_EQ(refusal(image_), "");
  }
  std::vector<std::uint8_t> image_;
};

TEST_F(DamagedImage, TruncatedAnywhere) {
  for (std::size_t size = 0; size < image_.size(); ++size) {
    // A copy of its own, so that a sanitizer sees a read past the end.
    const std::vector<std::uint8_t> cut(image_.begin(),
                                        image_.begin() + static_cast<std::ptrdiff_t>(size));
    ASSERT_NE(refusal(cut), "") << size;
  }
}

TEST_F(DamagedImage, BitsFlippedAnywhere) {
  std::mt19937 random(1);
  for (int round = 0; round < 5000; ++round) {
    auto damaged = image_;
    const std::size_t at = static_cast<std::size_t>(random()) % damaged.size();
    damaged[at] ^= static_cast<std::uint8_t>(1u << (random() & 7));
    ASSERT_NE(refusal(damaged), "") << at;
  }
}

// As from a control process that is broken rather than a damaged file: the digest is right. The
// databases themselves are Hyperscan's to check, so their octets are left alone.
TEST_F(DamagedImage, TablesDamagedBehindARightDigestNeverCrash) {
  PolicyImageHeader header;
  std::memcpy(&header, image_.data(), sizeof header);
  std::mt19937 random(2);
  std::size_t refused = 0;
  for (int round = 0; round < 20000; ++round) {
    auto damaged = image_;
    for (auto count = 1 + random() % 4; count > 0; --count) {
      const std::size_t at = random() % 8 == 0
                                 ? static_cast<std::size_t>(random()) % sizeof header
                                 : header.policy_offset + random() % header.policy_size;
      damaged[at] = static_cast<std::uint8_t>(random());
    }
    sign(damaged);
    const auto policy = Policy::open(damaged, {});
    if (!policy) {
      ++refused;
      EXPECT_NE(policy.error(), "");
      continue;
    }
    // What was taken can be used.
    (*policy)->host(v4(192, 0, 2, 9));
    (*policy)->group_of(v4(10, 9, 0, 1));
  }
  EXPECT_GT(refused, 5000u);
}

TEST_F(DamagedImage, RefusalsSayWhatAndWhere) {
  const auto changed = [&](auto change) {
    auto image = image_;
    PolicyImageHeader header;
    std::memcpy(&header, image.data(), sizeof header);
    change(header);
    std::memcpy(image.data(), &header, sizeof header);
    sign(image);
    return refusal(image);
  };
  const auto expect = [](const std::string& reason, const std::string& part) {
    EXPECT_NE(reason.find(part), std::string::npos) << reason;
  };
  expect(refusal({}), "header: the image has 0 octets");
  expect(changed([](auto& h) { h.magic[0] = 'X'; }), "not a policy image");
  expect(changed([](auto& h) { h.version = 9; }), "format version 9");
  expect(changed([](auto& h) { h.platform = 0x63010000; }),
         "platform: its databases were compiled "
         "by Hyperscan 99.1");
  expect(changed([](auto& h) { h.platform |= 0x80; }), "CPU features");
  expect(changed([](auto& h) { h.policy_offset = ~std::uint64_t{63}; }), "policy section is out");
  expect(changed([](auto& h) { h.policy_size = ~std::uint64_t{0}; }), "policy section is out");
  expect(changed([](auto& h) { h.ruleset_offset += 8; }), "ruleset section is out");
  expect(changed([](auto& h) { h.ruleset_digest[0] ^= 1; }), "ruleset section: its digest");
  expect(changed([](auto& h) { h.policy_offset = h.ruleset_offset; }), "out of place");
  auto flipped = image_;
  flipped.back() ^= 1;
  expect(refusal(flipped), "digest is not that of the image");
}

TEST(PolicyImage, SpecsThatCannotBeAreRefusedWithTheReason) {
  const auto refused = [](auto change) {
    PolicySpec spec = full_spec();
    change(spec);
    const auto image = control::build_image(spec, {}, true);
    return image ? std::string() : image.error();
  };
  EXPECT_NE(refused([](auto& s) { s.wires[1].name = "core"; }).find("twice"), std::string::npos);
  EXPECT_NE(refused([](auto& s) { s.hosts[0].length = 129; }).find("host rule 0"),
            std::string::npos);
  EXPECT_NE(refused([](auto& s) { s.texts.closing = "a\r\n250 ok"; }).find("text closing"),
            std::string::npos);
  EXPECT_NE(refused([](auto& s) { s.texts.closing = std::string(600, 'x'); }).find("400"),
            std::string::npos);
  EXPECT_NE(refused([](auto& s) { s.groups[0].members.push_back({}); }).find("first group"),
            std::string::npos);
}

}  // namespace
}  // namespace sluice::policy
