// Policies come into force without a pause and are freed when, and only when, nobody uses them.
#include "dataplane/app/policy_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "control/publish/image.h"

namespace sluice::app {
namespace {

using control::CompiledRules;

class PolicyStoreTest : public testing::Test {
 protected:
  PolicyStoreTest() {
    char name[] = "/tmp/sluice-policy-XXXXXX";
    folder_ = mkdtemp(name);
  }
  ~PolicyStoreTest() override { std::filesystem::remove_all(folder_); }

  // A ruleset that no other number gives.
  std::shared_ptr<const CompiledRules> rules(int number) {
    const std::filesystem::path path = folder_ / (std::to_string(number) + ".rules");
    std::ofstream(path) << "alert smtp any any -> any any (msg:\"m\"; content:\"word-" << number
                        << "\"; sid:" << 1000 + number << ";)\n";
    auto compiled = control::compile_rules({path});
    EXPECT_TRUE(compiled) << compiled.error();
    EXPECT_EQ((*compiled)->refused, 0u);
    return *compiled;
  }
  static std::vector<std::uint8_t> image(std::uint32_t epoch, const CompiledRules& rules,
                                         bool with_ruleset = true) {
    control::PolicySpec spec;
    spec.epoch = epoch;
    spec.wires = {{"w1", policy::Mode::monitor}};
    spec.groups.resize(1);
    spec.groups[0].group.name = "default";
    auto made = control::build_image(spec, rules, with_ruleset);
    EXPECT_TRUE(made) << made.error();
    return *made;
  }
  std::filesystem::path folder_;
};

// A worker that does nothing but adopt, as the loop does.
class FakeWorker {
 public:
  FakeWorker(PolicyStore& store, unsigned index)
      : store_(store), index_(index), thread_([this](const std::stop_token& stop) { run(stop); }) {}
  // Messages of `epoch` and later hold on to their databases from now on.
  void pin(std::shared_ptr<const scan::Ruleset> ruleset) {
    const std::lock_guard hold(mutex_);
    pinned_.push_back(std::move(ruleset));
  }
  void unpin_oldest() {
    const std::lock_guard hold(mutex_);
    pinned_.erase(pinned_.begin());
  }
  std::uint64_t loops() const { return loops_; }

 private:
  void run(const std::stop_token& stop) {
    store_.online(index_);
    const Edition* mine = nullptr;
    while (!stop.stop_requested()) {
      const Edition* edition = store_.current();
      if (edition != mine) {
        mine = edition;
        store_.use(index_).oldest = edition->policy->epoch();
        store_.use(index_).adopted = edition->policy->epoch();
      }
      // Reads what it holds: freed too early is found by a sanitizer, or by garbage.
      if (mine->policy->texts().rejected.empty() || !mine->policy->mail_port(25) ||
          &mine->scratches[index_]->ruleset() != &mine->policy->ruleset()) {
        std::abort();
      }
      store_.quiescent(index_);
      if (++loops_ % 64 == 0) {
        store_.offline(index_);
        std::this_thread::yield();
        store_.online(index_);
      }
    }
    store_.offline(index_);
  }
  PolicyStore& store_;
  unsigned index_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<const scan::Ruleset>> pinned_;
  std::atomic<std::uint64_t> loops_{0};
  std::jthread thread_;
};

const auto no_wake = [] {};

TEST_F(PolicyStoreTest, ManyPoliciesUnderRunningWorkersAndBoundedMemory) {
  PolicyStore store(3, policy::default_policy());
  std::vector<std::unique_ptr<FakeWorker>> workers;
  for (unsigned i = 0; i < 3; ++i) workers.push_back(std::make_unique<FakeWorker>(store, i));
  std::shared_ptr<const CompiledRules> current = rules(0);
  for (std::uint32_t epoch = 1; epoch <= 200; ++epoch) {
    const bool changes = epoch % 10 == 1;
    if (changes) current = rules(static_cast<int>(epoch));
    const auto octets = image(epoch, *current, changes);
    const PolicyStore::Outcome outcome = store.publish(octets, epoch, no_wake);
    ASSERT_TRUE(outcome.adopted) << epoch << ": " << outcome.reason;
    EXPECT_EQ(store.current()->policy->epoch(), epoch);
    EXPECT_LE(store.rulesets(), PolicyStore::kMostRulesets);
    EXPECT_LE(store.policies(), 3u);
  }
  for (unsigned i = 0; i < 3; ++i) EXPECT_EQ(store.use(i).adopted, 200u);
}

TEST_F(PolicyStoreTest, RefusesWhatCannotBeUsedAndKeepsTheOld) {
  PolicyStore store(1, policy::default_policy());
  FakeWorker worker(store, 0);
  const auto first = rules(1);
  ASSERT_TRUE(store.publish(image(5, *first), 5, no_wake).adopted);
  const auto expect_refused = [&store](const std::vector<std::uint8_t>& octets, std::uint32_t epoch,
                                       const char* reason) {
    const PolicyStore::Outcome outcome = store.publish(octets, epoch, no_wake);
    EXPECT_FALSE(outcome.adopted);
    EXPECT_NE(outcome.reason.find(reason), std::string::npos) << outcome.reason;
    EXPECT_EQ(store.current()->policy->epoch(), 5u);
  };
  expect_refused(image(5, *first), 5, "not after");
  expect_refused(image(4, *first), 4, "not after");
  expect_refused(image(7, *first), 6, "the image");
  expect_refused(std::vector<std::uint8_t>(4096, 7), 6, "");
  std::vector<std::uint8_t> cut = image(6, *first);
  cut.resize(cut.size() / 2);
  expect_refused(cut, 6, "");
}

TEST_F(PolicyStoreTest, ARulesetThatIsAliveNeedNotCome) {
  PolicyStore store(1, policy::default_policy());
  FakeWorker worker(store, 0);
  const auto first = rules(1);
  const auto second = rules(2);
  ASSERT_TRUE(store.publish(image(1, *first), 1, no_wake).adopted);
  const scan::Ruleset* before = &store.latest().ruleset();
  ASSERT_TRUE(store.publish(image(2, *first, false), 2, no_wake).adopted);
  EXPECT_EQ(&store.latest().ruleset(), before);  // not built again
  const PolicyStore::Outcome outcome = store.publish(image(3, *second, false), 3, no_wake);
  EXPECT_TRUE(outcome.needs_ruleset);
  EXPECT_FALSE(outcome.adopted);
  EXPECT_TRUE(store.publish(image(3, *second), 3, no_wake).adopted);
}

// Messages in progress keep their databases. For a fifth set the workers are asked to take the
// oldest from them; one that does not is waited for, and the set then refused.
TEST_F(PolicyStoreTest, AtMostFourRulesetsLive) {
  PolicyStore store(1, policy::default_policy());
  FakeWorker worker(store, 0);
  std::uint32_t epoch = 0;
  for (int i = 1; i <= 4; ++i) {
    ++epoch;
    ASSERT_TRUE(store.publish(image(epoch, *rules(i)), epoch, no_wake).adopted) << i;
    worker.pin(store.latest().shared_ruleset());
  }
  EXPECT_EQ(store.rulesets(), 4u);
  const auto fifth = rules(5);
  const PolicyStore::Outcome refused = store.publish(image(5, *fifth), 5, no_wake);
  EXPECT_FALSE(refused.adopted);
  EXPECT_NE(refused.reason.find("four rule sets"), std::string::npos) << refused.reason;
  EXPECT_EQ(store.current()->policy->epoch(), 4u);
  EXPECT_EQ(store.use(0).give_up, 2u) << "the oldest, that of epoch 1, and no other";
  worker.unpin_oldest();
  EXPECT_TRUE(store.publish(image(5, *fifth), 5, no_wake).adopted);
  EXPECT_EQ(store.rulesets(), 4u);
}

// A policy whose loop pointer or epoch is still in use is not destroyed.
TEST_F(PolicyStoreTest, AnOldPolicyLivesAsLongAsAnEngineUsesIt) {
  PolicyStore store(1, policy::default_policy());
  store.online(0);
  const auto first = rules(1);
  const auto adopt = [&store](std::uint32_t oldest) {
    store.use(0).oldest = oldest;
    store.use(0).adopted = store.current()->policy->epoch();
    store.quiescent(0);
  };
  const auto publish = [&](std::uint32_t epoch, std::uint32_t oldest) {
    const auto octets = image(epoch, *first);
    std::jthread adopter([&, epoch, oldest] {
      while (store.current()->policy->epoch() != epoch) std::this_thread::yield();
      adopt(oldest);
    });
    return store.publish(octets, epoch, no_wake).adopted;
  };
  ASSERT_TRUE(publish(1, 1));
  ASSERT_TRUE(publish(2, 1));  // a message of epoch 1 is in progress
  ASSERT_TRUE(publish(3, 1));
  store.offline(0);  // holds no pointer of before, but the message goes on
  store.reclaim();
  EXPECT_EQ(store.policies(), 3u);
  store.use(0).oldest = 3;
  store.reclaim();
  EXPECT_EQ(store.policies(), 1u);
}

}  // namespace
}  // namespace sluice::app
