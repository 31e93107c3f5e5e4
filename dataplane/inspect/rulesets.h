// The rulesets that one worker uses: the one in force, and those of messages that began under an
// earlier one. Each has the worker's scratch for it, made off the loop, and the lists that were in
// force with it: another set of lists is another ruleset here, with the same databases and scratch.
//
// A user (a conversation) holds a Pin from its first scan to its last, so that what it scans with
// stays. At most kMost are live: beyond, the users of the oldest are told to do without, and take
// the declared policy (exceptions.memory). Owned by the engine; one thread. Databases and scratches
// are freed by whoever holds the last reference (on the wire app::PolicyStore, off the loop).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "dataplane/base/limited_resource.h"
#include "dataplane/lists/lists.h"
#include "dataplane/scan/ruleset.h"
#include "dataplane/scan/scan.h"

namespace sluice::inspect {

class RulesetUser {
 public:
  // The ruleset goes: releases its pin, and with it every scan.
  virtual void withdraw_ruleset() = 0;

 protected:
  ~RulesetUser() = default;
};

class Rulesets {
  struct Slot;

 public:
  static constexpr std::size_t kMost = 4;

  class Pin {
   public:
    explicit Pin(RulesetUser& user) : user_(&user) {}
    ~Pin() { release(); }
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;

    bool held() const { return slot_ != nullptr; }
    // While held.
    scan::Scratch& scratch() const { return *slot_->scratch; }
    const scan::Ruleset& ruleset() const { return *slot_->ruleset; }
    const lists::Lists& lists() const { return *slot_->lists; }
    void release() {
      if (slot_ != nullptr) slot_->owner->unlink(*this);
    }

   private:
    friend class Rulesets;
    RulesetUser* user_;
    Slot* slot_ = nullptr;
    Pin* previous_ = nullptr;
    Pin* next_ = nullptr;
  };

  // `account`: of the worker's memory, for streams.
  explicit Rulesets(LimitedResource* account);
  ~Rulesets();
  Rulesets(const Rulesets&) = delete;
  Rulesets& operator=(const Rulesets&) = delete;

  // `ruleset` and `lists` are in force from now on, under the policy of `epoch`. `scratch` was made
  // for the ruleset; it is not taken when the worker has one already.
  void adopt(std::shared_ptr<const scan::Ruleset> ruleset,
             std::shared_ptr<const lists::Lists> lists, std::shared_ptr<scan::Scratch> scratch,
             std::uint32_t epoch);
  // Pins the ruleset in force. `pin` is not held.
  void pin(Pin& pin);
  bool in_force(const Pin& pin) const { return pin.slot_ == current_; }
  // Takes rulesets that were last in force before `epoch` from up to `most` users; false: there are
  // more.
  bool withdraw_before(std::uint32_t epoch, std::size_t most);
  std::size_t live() const;

 private:
  struct Slot {
    Rulesets* owner = nullptr;
    std::shared_ptr<const scan::Ruleset> ruleset;  // null: free
    std::shared_ptr<const lists::Lists> lists;
    std::shared_ptr<scan::Scratch> scratch;
    std::uint32_t last_epoch = 0;  // of the policies that used it
    Pin* oldest = nullptr;
    Pin* newest = nullptr;
  };

  void unlink(Pin& pin);
  Slot& free_slot();
  void free_if_unused(Slot& slot);

  LimitedResource* account_;
  std::array<Slot, kMost> slots_;
  Slot* current_ = nullptr;
};

}  // namespace sluice::inspect
