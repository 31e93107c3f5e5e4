#include "dataplane/inspect/rulesets.h"

#include <algorithm>
#include <utility>

namespace sluice::inspect {

namespace {
// Epochs only grow; the comparison survives their wrap.
bool before(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) < 0; }
}  // namespace

Rulesets::Rulesets(LimitedResource* account) : account_(account) {
  for (Slot& slot : slots_) slot.owner = this;
}

Rulesets::~Rulesets() {
  current_ = nullptr;
  for (Slot& slot : slots_) free_if_unused(slot);
}

void Rulesets::adopt(std::shared_ptr<const scan::Ruleset> ruleset,
                     std::shared_ptr<const lists::Lists> lists,
                     std::shared_ptr<scan::Scratch> scratch, std::uint32_t epoch) {
  const auto same_rules = [&](const Slot& slot) {
    return slot.ruleset && slot.ruleset->identity() == ruleset->identity();
  };
  const auto same = [&](const Slot& slot) { return same_rules(slot) && slot.lists == lists; };
  Slot* const before = current_;
  const auto known = std::find_if(slots_.begin(), slots_.end(), same);
  if (known != slots_.end()) {
    current_ = &*known;
  } else {
    const auto rules = std::find_if(slots_.begin(), slots_.end(), same_rules);
    if (rules != slots_.end()) scratch = rules->scratch;
    current_ = &free_slot();
    current_->lists = std::move(lists);
    current_->ruleset = std::move(ruleset);
    current_->scratch = std::move(scratch);
    current_->scratch->charge_to(account_);
  }
  current_->last_epoch = epoch;
  if (before != nullptr) free_if_unused(*before);
}

// One that nobody uses any more, or the oldest after its users were told.
Rulesets::Slot& Rulesets::free_slot() {
  Slot* oldest = nullptr;
  for (Slot& slot : slots_) {
    if (!slot.ruleset) return slot;
    if (&slot != current_ && (oldest == nullptr || before(slot.last_epoch, oldest->last_epoch)))
      oldest = &slot;
  }
  while (oldest->oldest != nullptr) oldest->oldest->user_->withdraw_ruleset();
  return *oldest;
}

void Rulesets::pin(Pin& pin) {
  Slot& slot = *current_;
  pin.slot_ = &slot;
  pin.previous_ = slot.newest;
  pin.next_ = nullptr;
  (slot.newest != nullptr ? slot.newest->next_ : slot.oldest) = &pin;
  slot.newest = &pin;
}

void Rulesets::unlink(Pin& pin) {
  Slot& slot = *pin.slot_;
  (pin.previous_ != nullptr ? pin.previous_->next_ : slot.oldest) = pin.next_;
  (pin.next_ != nullptr ? pin.next_->previous_ : slot.newest) = pin.previous_;
  pin.slot_ = nullptr;
  free_if_unused(slot);
}

void Rulesets::free_if_unused(Slot& slot) {
  if (&slot == current_ || slot.oldest != nullptr || !slot.ruleset) return;
  const bool shared = std::any_of(slots_.begin(), slots_.end(), [&](const Slot& other) {
    return &other != &slot && other.scratch == slot.scratch;
  });
  if (!shared) slot.scratch->charge_to(nullptr);
  slot.scratch.reset();
  slot.lists.reset();
  slot.ruleset.reset();
}

bool Rulesets::withdraw_before(std::uint32_t epoch, std::size_t most) {
  for (Slot& slot : slots_) {
    if (&slot == current_ || !before(slot.last_epoch, epoch)) continue;
    while (slot.oldest != nullptr) {
      if (most == 0) return false;
      --most;
      slot.oldest->user_->withdraw_ruleset();
    }
  }
  return true;
}

std::size_t Rulesets::live() const {
  return static_cast<std::size_t>(std::count_if(
      slots_.begin(), slots_.end(), [](const Slot& s) { return s.ruleset != nullptr; }));
}

}  // namespace sluice::inspect
