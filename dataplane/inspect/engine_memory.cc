// What is done when a worker's memory runs short, before it would be refused to whoever asks next.
//
// First, what costs nothing: flows are made small after a second without a segment. Where sleeping
// flows hold most of the memory, those are forgotten that were idle longest; when they say
// something they are picked up again. Else those go that hold much for long without a word: octets
// held, times the time since the last segment. So of an attack, whose flows must hold much, or be
// many and idle, there is always one before a flow that is talked on and holds what honest mail
// holds. What can be packed is; the others take the declared policy (exceptions.memory), as a flow
// does to which memory was refused.
#include <algorithm>
#include <array>

#include "dataplane/inspect/engine_impl.h"

namespace sluice::inspect {

using contract::Counter;

namespace {

constexpr Nanoseconds kRestless = kSecond;          // what is idle for less is not made small
constexpr std::size_t kRested = 1024;               // flows made small, each time
constexpr std::size_t kForgotten = 64;              // sleeping flows, each time
constexpr std::size_t kLookedAt = 1024;             // conversations, each time
constexpr std::size_t kTaken = 64;                  // of these, at most
constexpr std::size_t kWorthwhile = 512;            // octets
constexpr Nanoseconds kPause = 100 * kMillisecond;  // less says nothing: a round trip or two

}  // namespace

void Engine::Impl::relieve() {
  rest(kRestless, kRested);
  if (!short_of_memory()) return;
  if (dormant_octets > memory.used() / 2 || !shed()) forget_idle(kForgotten);
}

void Engine::Impl::forget_idle(std::size_t most) {
  for (const flow::FlowClass c :
       {flow::FlowClass::closed, flow::FlowClass::one_way, flow::FlowClass::established}) {
    for (; most > 0 && short_of_memory(); --most) {
      if (!table.evict(c, [this](flow::Entry& victim) { evict(victim); })) break;
      ++table_changes;
    }
  }
}

// False: there was none that it is worth while to take.
bool Engine::Impl::shed() {
  struct Candidate {
    std::uint64_t weight;
    Conversation* conversation;
  };
  std::array<Candidate, kLookedAt> candidates;
  std::size_t found = 0;
  for (std::size_t i = std::min(kLookedAt, conversations.size()); i > 0; --i) {
    shed_next = shed_next + 1 < conversations.size() ? shed_next + 1 : 0;
    Conversation& c = conversations[shed_next];
    if (!c.sheds() || c.memory_used() < kWorthwhile) continue;
    candidates[found++] = {c.memory_used() * ((c.idle() + kPause) / kMillisecond), &c};
  }
  const auto end = candidates.begin() + static_cast<std::ptrdiff_t>(found);
  const auto most = candidates.begin() + static_cast<std::ptrdiff_t>(std::min(found, kTaken));
  std::partial_sort(candidates.begin(), most, end,
                    [](const Candidate& a, const Candidate& b) { return a.weight > b.weight; });
  for (auto one = candidates.begin(); one != most && short_of_memory(); ++one) {
    Conversation& c = *one->conversation;
    flow::Entry* entry = table.find(c.identity().key);
    if (entry != nullptr && sleep(*entry, c)) continue;
    if (c.shed()) context.count(Counter::flows_shed);
  }
  return found > 0;
}

}  // namespace sluice::inspect
