// Rulesets that come and go while other threads scan.
#include <atomic>
#include <mutex>
#include <thread>

#include "tests/unit/scan/rules_on_octets.h"

namespace sluice::test {
namespace {

using scan::Buffer;

TEST(ScanThreads, E12_ReloadsUnderScanningThreads) {
  // Two sections that agree in one rule and differ in another.
  const auto one =
      compile_text(rule(1, "content:\"needle\";") + rule(2, "pcre:\"/(a)\\1(?!b)/\";"));
  const auto two = compile_text(rule(1, "content:\"needle\";") + rule(3, "content:\"aac\";"));
  ASSERT_TRUE(one && two);
  std::mutex lock;
  std::shared_ptr<const scan::Ruleset> live = *scan::Ruleset::open(one->image);
  std::atomic<bool> stop{false};
  std::atomic<std::size_t> scanned{0};
  std::atomic<std::size_t> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        std::shared_ptr<const scan::Ruleset> mine;
        {
          const std::lock_guard guard(lock);
          mine = live;
        }
        const bool first = mine->rules()[1].sid == 2;
        const auto scratch = *scan::Scratch::make(*mine);
        for (int k = 0; k < 5; ++k) {
          scan::MessageScan scan(*scratch, std::pmr::get_default_resource());
          scan.feed(Buffer::stream, as_bytes("a nee"));
          scan.feed(Buffer::stream, as_bytes("dle aac"));
          scan.settle();
          Sids sids;
          for (const scan::Hit& hit : scan.hits()) sids.insert(hit.rule->sid);
          if (sids != (first ? Sids{1, 2} : Sids{1, 3})) ++wrong;
        }
        ++scanned;
      }
    });
  }
  for (int reload = 0; reload < 1000; ++reload) {
    auto next = scan::Ruleset::open(reload % 2 == 0 ? two->image : one->image);
    ASSERT_TRUE(next) << next.error();
    const std::lock_guard guard(lock);
    live = *next;
  }
  while (scanned < 100) std::this_thread::yield();
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace sluice::test
