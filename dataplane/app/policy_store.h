// The policies that are alive: publishes a new one to the workers without a pause and frees the old
// ones when nobody can use them any more.
//
// Theory. Everything costly (verifying, deserialising databases, making each worker's scratch and
// opening its streams) happens on the caller's thread. Then one release store of a pointer makes it
// known; each worker loads the pointer once a loop and tells what it has adopted. An old policy has
// two kinds of user. A loop that loaded its pointer: covered by quiescence (rte_rcu_qsbr). A
// message in progress inside an engine: covered by the lowest epoch that each worker reports. Only
// when both have passed is it destroyed, on the caller's thread again. Messages in progress may
// also hold their ruleset itself: the store keeps a reference of its own to each and drops it when
// it is the last one.
//
// At most kMostRulesets different sets of scan databases are alive. When a fifth comes, workers
// take the oldest from the messages that pin it (which take the declared policy); only when a
// worker does not do so within a bound, because it hangs, is the new policy refused.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/base/result.h"
#include "dataplane/policy/policy.h"

struct rte_rcu_qsbr;

namespace sluice::app {

// What a worker shows of its use of policies; written by the worker, read by the store.
struct alignas(64) PolicyUse {
  std::atomic<std::uint32_t> adopted{0};  // epoch given to the engine
  std::atomic<std::uint32_t> oldest{0};   // lowest epoch that the engine still uses
  // Store to worker: take rulesets that were last in force before this epoch from their messages.
  std::atomic<std::uint32_t> give_up{0};
};

// A policy as it is handed to the workers.
struct Edition {
  std::shared_ptr<const policy::Policy> policy;
  std::vector<std::shared_ptr<scan::Scratch>> scratches;  // for its ruleset, by worker
};

class PolicyStore {
 public:
  static constexpr std::size_t kMostRulesets = 4;

  // `initial` is in force from the start. Main thread. Throws std::bad_alloc.
  PolicyStore(unsigned workers, std::shared_ptr<const policy::Policy> initial);
  ~PolicyStore();
  PolicyStore(const PolicyStore&) = delete;
  PolicyStore& operator=(const PolicyStore&) = delete;

  // ---- workers ----
  const Edition* current() const { return current_.load(std::memory_order_acquire); }
  PolicyUse& use(unsigned worker) { return uses_[worker]; }
  void online(unsigned worker);     // before the first load of current(), and after a sleep
  void offline(unsigned worker);    // before a sleep: the worker holds no pointer
  void quiescent(unsigned worker);  // once a loop: no pointer of before is held

  // ---- one publisher at a time ----
  struct Outcome {
    bool adopted = false;
    bool needs_ruleset = false;
    std::string reason;
    Nanoseconds nanoseconds = 0;  // from the call to the last worker's adoption
  };
  // Opens `image` and brings it into force. `wake` is called when the pointer is out, to wake
  // sleeping workers. Returns when every worker has adopted it, or after a bound (2 s), when it is
  // in force all the same and a worker that hangs takes it when it goes on.
  template <typename Wake>
  Outcome publish(Bytes image, std::uint32_t epoch, Wake&& wake) {
    const Nanoseconds begin = now();
    Outcome outcome = prepare(image, epoch);
    if (!outcome.reason.empty() || outcome.needs_ruleset) return outcome;
    wake();
    wait_adopted(epoch);
    reclaim();
    outcome.adopted = true;
    outcome.nanoseconds = now() - begin;
    return outcome;
  }
  // Destroys what nobody uses any more. Publisher's thread; also called now and then.
  void reclaim();
  // How many policies and how many different rulesets and sets of lists are alive.
  std::size_t policies() const { return live_count_.load(std::memory_order_relaxed); }
  std::size_t rulesets() const { return rulesets_.size(); }
  std::size_t lists() const { return lists_.size(); }
  const policy::Policy& latest() const { return *live_.back()->policy; }

 private:
  static Nanoseconds now();
  struct LiveRuleset {
    policy::Policy::Digest digest;
    std::shared_ptr<const scan::Ruleset> ruleset;
    std::vector<std::shared_ptr<scan::Scratch>> scratches;  // by worker
    std::uint32_t last_epoch;                               // of the policies that use it
  };
  static Result<LiveRuleset> load(const policy::Policy& policy, unsigned workers);
  static bool unused(const LiveRuleset& live);
  std::uint32_t latest_epoch() const { return latest().epoch(); }
  Outcome prepare(Bytes image, std::uint32_t epoch);
  bool make_room_for_ruleset();
  void wait_adopted(std::uint32_t epoch);

  unsigned workers_;
  std::unique_ptr<PolicyUse[]> uses_;
  rte_rcu_qsbr* quiescence_ = nullptr;
  std::atomic<const Edition*> current_{nullptr};
  std::vector<std::unique_ptr<const Edition>> live_;  // oldest first; back() is in force
  // Every set of databases and of lists that a policy or a message holds; ours is the last
  // reference, so that it is destroyed here and not in a loop. (Workers bound the sets of lists:
  // a message pins ruleset and lists together, inspect/rulesets.h.)
  std::vector<LiveRuleset> rulesets_;
  std::vector<std::pair<policy::Policy::Digest, std::shared_ptr<const lists::Lists>>> lists_;
  std::atomic<std::size_t> live_count_{1};
};

}  // namespace sluice::app
