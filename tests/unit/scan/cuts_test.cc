// Results never depend on cuts, on other rules, on packing, or on what was scanned before.
#include <random>

#include "tests/unit/scan/rules_on_octets.h"

namespace sluice::test {
namespace {

using scan::Buffer;

// Rules of the kinds that real files hold, in numbers: literals, literals in parts, regexes behind
// a literal, two contents.
std::string many_rules(int count, std::vector<std::string>& triggers) {
  std::mt19937 random(77);
  const auto word = [&] {
    std::string out;
    const int size = std::uniform_int_distribution<int>(4, 10)(random);
    for (int i = 0; i < size; ++i) {
      out += static_cast<char>('a' + std::uniform_int_distribution<int>(0, 25)(random));
    }
    return out;
  };
  std::string text;
  for (int i = 0; i < count; ++i) {
    const std::string a = word();
    const std::string b = word();
    const int sid = 1000 + i;
    switch (i % 10) {
      case 7:
        text += rule(sid, "content:\"" + a + " \"; nocase; pcre:\"/" + a + "\\s+[a-z]{3,12}\\s+" +
                              b + "[0-9]{2,6}/i\";");
        triggers.push_back(a + " between " + b + "123");
        break;
      case 8:
        text += rule(sid, "content:\"" + a + "\"; fast_pattern; content:\"" + b + "\"; nocase;");
        triggers.push_back(b + " before " + a);
        break;
      case 6:  // for Hyperscan
        text += rule(sid, "pcre:\"/" + a + "(x|yz)+ " + b + "/\";");
        triggers.push_back(a + "xyz " + b);
        break;
      case 9:
        text += rule(sid, "content:\"" + a + "\"; content:\"" + b + "\"; distance:-30; within:60;");
        triggers.push_back(b + "." + a);
        break;
      default:
        text += rule(sid, "content:\"" + a + " " + b + "\";" + (i % 3 == 0 ? " nocase;" : ""));
        triggers.push_back(a + " " + b);
    }
  }
  return text;
}

class Cuts : public testing::Test {
 protected:
  Cuts() {
    ruleset_ = ruleset_of(many_rules(300, triggers_));
    std::mt19937 random(5);
    for (int i = 0; i < 60; ++i) {
      const auto at = std::uniform_int_distribution<std::size_t>(0, triggers_.size() - 1)(random);
      message_ += "Some text that hits nothing, then " + triggers_[at] + ".\r\n";
    }
    expected_ = hits(*ruleset_, message_);
  }
  std::vector<std::string> triggers_;
  std::shared_ptr<const scan::Ruleset> ruleset_;
  std::string message_;
  Sids expected_;
};

TEST_F(Cuts, InTwoAtEveryOctet) {
  ASSERT_GT(expected_.size(), 40u);
  const auto scratch = *scan::Scratch::make(*ruleset_);
  scan::MessageScan scan(*scratch, std::pmr::get_default_resource());
  const std::string_view message = message_;
  for (std::size_t cut = 0; cut <= message.size(); ++cut) {
    scan.feed(Buffer::stream, as_bytes(message.substr(0, cut)));
    scan.feed(Buffer::stream, as_bytes(message.substr(cut)));
    scan.settle();
    ASSERT_EQ(sids_of(scan), expected_) << cut;
    scan.next_transaction();
  }
}

TEST_F(Cuts, InPiecesOfOneSize) {
  for (const std::size_t cut : {1u, 2u, 3u, 57u, 76u, 255u, 511u, 512u, 513u, 536u, 1023u, 1460u}) {
    ASSERT_EQ(hits(*ruleset_, message_, Buffer::stream, cut), expected_) << cut;
  }
}

TEST_F(Cuts, InRandomPiecesWithHitsAskedBetween) {
  std::mt19937 random(11);
  const auto scratch = *scan::Scratch::make(*ruleset_);
  for (int round = 0; round < 200; ++round) {
    scan::MessageScan scan(*scratch, std::pmr::get_default_resource());
    std::string_view rest = message_;
    Sids before;
    while (!rest.empty()) {
      const auto size = std::min<std::size_t>(
          std::uniform_int_distribution<std::size_t>(1, round % 2 == 0 ? 40 : 900)(random),
          rest.size());
      scan.feed(Buffer::stream, as_bytes(rest.substr(0, size)));
      rest.remove_prefix(size);
      if (round % 3 == 0) {
        const Sids now = sids_of(scan);
        ASSERT_TRUE(std::ranges::includes(now, before));  // what was certain stays
        before = now;
      }
      if (round % 5 == 0) scan.compress();
    }
    scan.settle();
    ASSERT_EQ(sids_of(scan), expected_);
  }
}

TEST_F(Cuts, E12_ARuleThatHitsAloneHitsInTheSet) {
  std::vector<std::string> triggers;
  const std::string text = many_rules(60, triggers);
  const auto all = ruleset_of(text);
  std::size_t begin = 0;
  for (int i = 0; i < 60; ++i) {
    const std::size_t end = text.find('\n', begin) + 1;
    const auto alone = ruleset_of(text.substr(begin, end - begin));
    begin = end;
    const auto sid = static_cast<std::uint32_t>(1000 + i);
    const std::string& octets = triggers[static_cast<std::size_t>(i)];
    EXPECT_EQ(hits(*alone, octets), Sids{sid});
    EXPECT_TRUE(hits(*all, octets).contains(sid)) << sid;
    EXPECT_EQ(hits(*alone, message_).contains(sid), hits(*all, message_).contains(sid)) << sid;
  }
}

TEST_F(Cuts, PackingAnIdleFlowSavesItsStreams) {
  const auto scratch = *scan::Scratch::make(*ruleset_);
  scan::MessageScan scan(*scratch, std::pmr::get_default_resource());
  const std::string_view message = message_;
  scan.feed(Buffer::stream, as_bytes(message.substr(0, 1500)));
  const std::size_t before = scan.memory_used();
  const std::size_t after = scan.compress();
  EXPECT_LT(after, before);
  EXPECT_EQ(after, scan.memory_used());
  scan.feed(Buffer::stream, as_bytes(message.substr(1500)));
  scan.settle();
  EXPECT_EQ(sids_of(scan), expected_);
}

TEST_F(Cuts, ManyScansShareAScratch) {
  const auto other = ruleset_of(rule(1, "content:\"text\";"));
  const auto first = *scan::Scratch::make(*ruleset_);
  const auto second = *scan::Scratch::make(*other);
  std::vector<std::unique_ptr<scan::MessageScan>> scans;
  for (int i = 0; i < 20; ++i) {
    scan::Scratch& scratch = i % 2 == 0 ? *first : *second;
    scans.push_back(std::make_unique<scan::MessageScan>(scratch, std::pmr::get_default_resource()));
  }
  for (std::size_t at = 0; at < message_.size(); at += 700) {
    for (auto& scan : scans) {
      scan->feed(Buffer::stream, as_bytes(std::string_view(message_).substr(at, 700)));
    }
  }
  for (std::size_t i = 0; i < scans.size(); ++i) {
    scans[i]->settle();
    EXPECT_EQ(sids_of(*scans[i]), i % 2 == 0 ? expected_ : Sids{1});
  }
}

// Streams come from malloc: the account of the worker's memory counts them all the same.
TEST_F(Cuts, StreamsAreCountedAndBounded) {
  LimitedResource account(std::pmr::get_default_resource(), std::size_t{64} << 20);
  const auto scratch = *scan::Scratch::make(*ruleset_);
  scratch->charge_to(&account);
  const std::size_t ahead = account.used();
  const std::size_t one = ruleset_->database(Buffer::stream).stream_size;
  EXPECT_GE(ahead, one);
  {
    std::vector<scan::MessageScan> scans;
    for (int i = 0; i < 500; ++i) {
      scans.emplace_back(*scratch, std::pmr::get_default_resource());
      scans.back().feed(Buffer::stream, as_bytes(std::string_view(message_).substr(0, 1000)));
    }
    EXPECT_GE(account.used(), 500 * one);
    EXPECT_LE(account.used(), ahead + 500 * one);
  }
  EXPECT_LT(account.used(), ahead + 300 * one) << "those that wait are bounded";
  scratch->charge_to(nullptr);
  EXPECT_EQ(account.used(), 0u);

  // At the limit a scan says that it could not look.
  LimitedResource full(std::pmr::get_default_resource(), one - 1);
  scratch->charge_to(&full);
  EXPECT_EQ(full.used(), 0u) << "those opened ahead that do not fit are closed";
  scan::MessageScan scan(*scratch, std::pmr::get_default_resource());
  scan.feed(Buffer::stream, as_bytes(message_));
  scan.settle();
  EXPECT_TRUE(scan.incomplete());
}

}  // namespace
}  // namespace sluice::test
