#include "dataplane/app/policy_store.h"

#include <rte_rcu_qsbr.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <new>
#include <thread>

#include "dataplane/spam/spam_scan.h"

namespace sluice::app {

namespace {

using policy::Policy;

constexpr Nanoseconds kLongestAdoption = 2 * kSecond;
constexpr Nanoseconds kLongestRoom = 3 * kSecond;
constexpr std::chrono::microseconds kLook{50};

// Epochs only grow; the comparison survives their wrap.
bool before(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) < 0; }

}  // namespace

Nanoseconds PolicyStore::now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<Nanoseconds>(t.tv_sec) * kSecond + static_cast<Nanoseconds>(t.tv_nsec);
}

PolicyStore::PolicyStore(unsigned workers, std::shared_ptr<const Policy> initial)
    : workers_(workers), uses_(std::make_unique<PolicyUse[]>(workers)) {
  const std::size_t size = rte_rcu_qsbr_get_memsize(workers);
  quiescence_ = static_cast<rte_rcu_qsbr*>(
      std::aligned_alloc(RTE_CACHE_LINE_SIZE, (size + 63) & ~std::size_t{63}));
  if (quiescence_ == nullptr) throw std::bad_alloc();
  rte_rcu_qsbr_init(quiescence_, workers);
  for (unsigned i = 0; i < workers; ++i) {
    rte_rcu_qsbr_thread_register(quiescence_, i);
    uses_[i].adopted = initial->epoch();
    uses_[i].oldest = initial->epoch();
    uses_[i].give_up = initial->epoch();
  }
  Result<LiveRuleset> loaded = load(*initial, workers);
  if (!loaded) throw std::bad_alloc();
  rulesets_.push_back(std::move(*loaded));
  lists_.emplace_back(initial->lists_digest(), initial->shared_lists());
  live_.push_back(
      std::make_unique<const Edition>(Edition{std::move(initial), rulesets_.back().scratches}));
  current_.store(live_.back().get(), std::memory_order_release);
}

PolicyStore::~PolicyStore() { std::free(quiescence_); }

void PolicyStore::online(unsigned worker) { rte_rcu_qsbr_thread_online(quiescence_, worker); }
void PolicyStore::offline(unsigned worker) { rte_rcu_qsbr_thread_offline(quiescence_, worker); }
void PolicyStore::quiescent(unsigned worker) { rte_rcu_qsbr_quiescent(quiescence_, worker); }

PolicyStore::Outcome PolicyStore::prepare(Bytes image, std::uint32_t epoch) {
  Outcome outcome;
  reclaim();
  if (!before(latest_epoch(), epoch)) {
    outcome.reason = "epoch " + std::to_string(epoch) + " is not after the one in force, " +
                     std::to_string(latest_epoch());
    return outcome;
  }
  Policy::Known known{.rulesets = {}, .lists = lists_};
  for (const LiveRuleset& live : rulesets_) known.rulesets.emplace_back(live.digest, live.ruleset);
  Result<std::shared_ptr<const Policy>> opened = Policy::open(image, known);
  if (!opened) {
    outcome.reason = opened.error();
    outcome.needs_ruleset = outcome.reason == Policy::kNeedsRuleset;
    return outcome;
  }
  if ((*opened)->epoch() != epoch) {
    outcome.reason = "the message says epoch " + std::to_string(epoch) + ", the image " +
                     std::to_string((*opened)->epoch());
    return outcome;
  }
  known = {};
  const Policy::Digest& digest = (*opened)->ruleset_digest();
  const auto same = [&digest](const LiveRuleset& live) { return live.digest == digest; };
  auto ruleset = std::find_if(rulesets_.begin(), rulesets_.end(), same);
  if (ruleset == rulesets_.end()) {
    if (!make_room_for_ruleset()) {
      outcome.reason = "four rule sets are in use and a worker does not let go of one";
      return outcome;
    }
    // The first message to be judged should not wait for tables that never change.
    if ((*opened)->ruleset().spam() != nullptr) spam::prepare();
    Result<LiveRuleset> loaded = load(**opened, workers_);
    if (!loaded) {
      outcome.reason = loaded.error();
      return outcome;
    }
    rulesets_.push_back(std::move(*loaded));
    ruleset = rulesets_.end() - 1;
  }
  ruleset->last_epoch = epoch;
  const Policy::Digest& lists = (*opened)->lists_digest();
  if (std::none_of(lists_.begin(), lists_.end(),
                   [&lists](const auto& live) { return live.first == lists; })) {
    lists_.emplace_back(lists, (*opened)->shared_lists());
  }
  live_.push_back(std::make_unique<const Edition>(Edition{std::move(*opened), ruleset->scratches}));
  live_count_.store(live_.size(), std::memory_order_relaxed);
  current_.store(live_.back().get(), std::memory_order_release);
  return outcome;
}

Result<PolicyStore::LiveRuleset> PolicyStore::load(const policy::Policy& policy, unsigned workers) {
  LiveRuleset live{policy.ruleset_digest(), policy.shared_ruleset(), {}, policy.epoch()};
  for (unsigned i = 0; i < workers; ++i) {
    Result<std::shared_ptr<scan::Scratch>> scratch = scan::Scratch::make(*live.ruleset);
    if (!scratch) return Error{scratch.error()};
    live.scratches.push_back(std::move(*scratch));
  }
  return live;
}

// A count of one is ours alone: new references are only made from others.
bool PolicyStore::unused(const LiveRuleset& live) {
  return live.ruleset.use_count() == 1 &&
         std::all_of(live.scratches.begin(), live.scratches.end(),
                     [](const auto& scratch) { return scratch.use_count() == 1; });
}

// True when one more set of databases may live. What is in force stays; the oldest other one goes.
bool PolicyStore::make_room_for_ruleset() {
  const Nanoseconds end = now() + kLongestRoom;
  while (rulesets_.size() >= kMostRulesets) {
    if (now() > end) return false;
    const auto oldest = std::min_element(
        rulesets_.begin(), rulesets_.end(),
        [](const auto& a, const auto& b) { return before(a.last_epoch, b.last_epoch); });
    for (unsigned i = 0; i < workers_; ++i) {
      uses_[i].give_up.store(oldest->last_epoch + 1, std::memory_order_relaxed);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    reclaim();
  }
  return true;
}

void PolicyStore::wait_adopted(std::uint32_t epoch) {
  const Nanoseconds end = now() + kLongestAdoption;
  for (;;) {
    const bool all =
        std::all_of(uses_.get(), uses_.get() + workers_, [epoch](const PolicyUse& use) {
          return !before(use.adopted.load(std::memory_order_acquire), epoch);
        });
    if (all || now() > end) return;
    std::this_thread::sleep_for(kLook);
  }
}

void PolicyStore::reclaim() {
  std::uint32_t oldest = latest_epoch();
  for (unsigned i = 0; i < workers_; ++i) {
    for (const std::uint32_t epoch : {uses_[i].adopted.load(std::memory_order_acquire),
                                      uses_[i].oldest.load(std::memory_order_acquire)}) {
      if (before(epoch, oldest)) oldest = epoch;
    }
  }
  const auto keep = std::find_if(live_.begin(), live_.end() - 1, [oldest](const auto& edition) {
    return !before(edition->policy->epoch(), oldest);
  });
  if (keep != live_.begin()) {
    // Nobody can load these pointers any more; wait for the loops that may have done so before.
    const std::uint64_t token = rte_rcu_qsbr_start(quiescence_);
    if (rte_rcu_qsbr_check(quiescence_, token, false) == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (rte_rcu_qsbr_check(quiescence_, token, false) == 0) return;
    }
    live_.erase(live_.begin(), keep);
    live_count_.store(live_.size(), std::memory_order_relaxed);
  }
  std::erase_if(rulesets_, unused);
  std::erase_if(lists_, [](const auto& live) { return live.second.use_count() == 1; });
}

}  // namespace sluice::app
