#include "control/detect/orders.h"

#include <algorithm>

namespace sluice::control {
namespace {

// The ladder's orders for a host that it acts on.
policy::HostAction action_of(Level level) {
  return level == Level::block ? policy::HostAction::block : policy::HostAction::limit;
}

}  // namespace

Orders::Orders() : standing_(std::make_shared<const StandingVoices>()) {}

std::shared_ptr<const StandingVoices> Orders::merge(const Configuration& configuration,
                                                    const Lists& lists) {
  auto merged = std::make_shared<StandingVoices>();
  merged->block_action = configuration.detection.block_action;
  std::size_t count = configuration.hosts.size();
  for (const auto& [name, prefixes] : lists) count += prefixes->size();
  merged->voices.reserve(count);
  for (const HostOverride& h : configuration.hosts) {
    merged->voices.insert(h.prefix, {h.action, h.rate_per_hour, h.burst, 0});
  }
  for (const PrefixListConfig& list : configuration.prefix_lists) {
    const auto contents = lists.find(list.name);
    if (contents == lists.end()) continue;
    merged->sources.push_back(list.name);
    const StandingVoices::Voice voice{list.action, list.rate_per_hour, list.burst,
                                      static_cast<std::uint16_t>(merged->sources.size())};
    for (const Prefix& p : *contents->second) {
      const StandingVoices::Voice* before = merged->voices.exact(p);
      if (before != nullptr && before->action == policy::HostAction::allow) continue;
      merged->voices.insert(p, voice);
    }
  }
  return merged;
}

void Orders::set_standing(std::shared_ptr<const StandingVoices> standing, Lists lists) {
  standing_ = std::move(standing);
  lists_ = std::move(lists);
}

std::size_t Orders::list_size(const std::string& name) const {
  const auto found = lists_.find(name);
  return found == lists_.end() ? 0 : found->second->size();
}

void Orders::put(const Order& order) { operators_.insert(order.prefix, order); }

bool Orders::remove(const Prefix& prefix) { return operators_.erase(prefix); }

std::vector<Order> Orders::operators() const {
  std::vector<Order> all;
  for (const auto& [prefix, order] : operators_) all.push_back(order);
  std::sort(all.begin(), all.end(), [](const Order& a, const Order& b) {
    return std::tie(a.prefix.address, a.prefix.length) <
           std::tie(b.prefix.address, b.prefix.length);
  });
  return all;
}

std::vector<Order> Orders::expire(Nanoseconds now) {
  std::vector<Order> ended;
  for (const auto& [prefix, order] : operators_) {
    if (order.until != 0 && order.until <= now) ended.push_back(order);
  }
  for (const Order& o : ended) operators_.erase(o.prefix);
  return ended;
}

Nanoseconds Orders::next_deadline() const {
  Nanoseconds next = UINT64_MAX;
  for (const auto& [prefix, order] : operators_) {
    if (order.until != 0) next = std::min(next, order.until);
  }
  return next;
}

bool Orders::allowed(const Prefix& host) const {
  const auto* order = operators_.longest(host);
  const auto* voice = standing_->voices.longest(host);
  if (order != nullptr && (voice == nullptr || order->first.length >= voice->first.length)) {
    return order->second.action == policy::HostAction::allow;
  }
  return voice != nullptr && voice->second.action == policy::HostAction::allow;
}

MergedOrders Orders::merged(const Ladder& ladder) const {
  MergedOrders m;
  m.standing_ = standing_;
  const std::vector<const Standing*> acted_on = ladder.acted_on();
  m.strong_.reserve(operators_.size() + acted_on.size());
  for (const auto& [prefix, order] : operators_) {
    m.strong_.push_back({prefix, order.action, order.rate_per_hour, order.burst, order.until});
  }
  for (const Standing* s : acted_on) {
    if (s->enforced == Level::clean || operators_.exact(s->host) != nullptr) continue;
    // A limit that steps up or down renews its time; only a block's end is known beforehand.
    m.strong_.push_back({s->host, action_of(s->enforced), ladder.config().limit_rate,
                         ladder.config().limit_burst,
                         s->enforced == Level::block ? s->until : Nanoseconds{0}});
  }
  return m;
}

// Calls use(prefix, action, rate, burst, until) once for each prefix about which something is said.
template <typename Use>
void MergedOrders::each(Use&& use) const {
  PrefixMap<bool> said;
  for (const Strong& s : strong_) {
    said.insert(s.prefix, true);
    use(s.prefix, s.action, s.rate_per_hour, s.burst, s.until);
  }
  if (!standing_) return;
  for (const auto& [prefix, voice] : standing_->voices) {
    if (said.exact(prefix) != nullptr) continue;
    use(prefix, voice.action, voice.rate_per_hour, voice.burst, Nanoseconds{0});
  }
}

std::vector<policy::HostRule> MergedOrders::host_rules() const {
  std::vector<policy::HostRule> rules;
  rules.reserve(strong_.size() + (standing_ ? standing_->voices.size() : 0));
  each([&](const Prefix& prefix, policy::HostAction action, std::uint32_t rate, std::uint32_t burst,
           Nanoseconds) {
    policy::HostRule r;
    r.prefix = prefix.address;
    r.length = prefix.length;
    r.action = action;
    if (action == policy::HostAction::limit) {
      r.rate_per_hour = rate;
      r.burst = burst;
    }
    rules.push_back(std::move(r));
  });
  return rules;
}

std::vector<KernelEntry> MergedOrders::kernel_entries() const {
  std::vector<KernelEntry> entries;
  const BlockAction block = standing_ ? standing_->block_action : BlockAction::reset;
  bool any_block = false;
  each([&](const Prefix& prefix, policy::HostAction action, std::uint32_t, std::uint32_t,
           Nanoseconds until) {
    // Any milder order of a longer prefix takes it out of a block around it: the kernel lets its
    // mail through to the dataplane, which knows the order.
    const bool allow = action != policy::HostAction::block;
    any_block = any_block || !allow;
    entries.push_back({prefix, allow, block, until});
  });
  if (!any_block) entries.clear();
  std::sort(entries.begin(), entries.end(), [](const KernelEntry& a, const KernelEntry& b) {
    return std::tie(a.prefix.address, a.prefix.length) <
           std::tie(b.prefix.address, b.prefix.length);
  });
  return entries;
}

Treatment Orders::treatment(const Address& host, const Ladder& ladder) const {
  Treatment best;
  for (Treatment& t : voices(host, ladder)) {
    if (!best.any || t.prefix.length >= best.prefix.length) best = std::move(t);
  }
  return best;
}

std::vector<Treatment> Orders::voices(const Address& host, const Ladder& ladder) const {
  std::vector<Treatment> all;
  if (const auto* s = standing_->voices.longest(host); s != nullptr) {
    Treatment t;
    t.any = true;
    t.prefix = s->first;
    t.action = s->second.action;
    t.rate_per_hour = s->second.rate_per_hour;
    t.burst = s->second.burst;
    t.source = s->second.source == 0
                   ? "configuration"
                   : "list " + standing_->sources[s->second.source - std::size_t{1}];
    all.push_back(std::move(t));
  }
  if (const Standing* s = ladder.find(host); s != nullptr && s->enforced != Level::clean) {
    Treatment t;
    t.any = true;
    t.prefix = s->host;
    t.action = action_of(s->enforced);
    t.rate_per_hour = ladder.config().limit_rate;
    t.burst = ladder.config().limit_burst;
    t.until = s->until;
    t.source = "detection";
    t.comment = s->arithmetic;
    all.push_back(std::move(t));
  }
  if (const auto* o = operators_.longest(host); o != nullptr) {
    Treatment t;
    t.any = true;
    t.prefix = o->first;
    t.action = o->second.action;
    t.rate_per_hour = o->second.rate_per_hour;
    t.burst = o->second.burst;
    t.until = o->second.until;
    t.source = "operator";
    t.comment = o->second.comment;
    t.who = o->second.who;
    t.ticket = o->second.ticket;
    all.push_back(std::move(t));
  }
  return all;
}

}  // namespace sluice::control
