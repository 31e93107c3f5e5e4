#include "control/detect/orders.h"

#include <algorithm>
#include <set>

namespace sluice::control {
namespace {

// The ladder's orders for a host that it acts on.
policy::HostAction action_of(Level level) {
  return level == Level::block ? policy::HostAction::block : policy::HostAction::limit;
}

}  // namespace

void Orders::configure(const Configuration& configuration) {
  configured_ = configuration.hosts;
  block_action_ = configuration.detection.block_action;
  merge_standing();
}

void Orders::set_list(const PrefixListConfig& list, std::vector<Prefix> prefixes) {
  lists_[list.name] = {list, std::move(prefixes)};
  merge_standing();
}

void Orders::keep_lists(const std::vector<PrefixListConfig>& lists) {
  std::set<std::string> names;
  for (const PrefixListConfig& l : lists) {
    names.insert(l.name);
    // What the list does may have changed though its contents have not been read again.
    if (const auto found = lists_.find(l.name); found != lists_.end()) found->second.config = l;
  }
  std::erase_if(lists_, [&](const auto& l) { return !names.contains(l.first); });
  merge_standing();
}

std::size_t Orders::list_size(const std::string& name) const {
  const auto found = lists_.find(name);
  return found == lists_.end() ? 0 : found->second.prefixes.size();
}

void Orders::merge_standing() {
  standing_.clear();
  sources_.clear();
  std::size_t count = configured_.size();
  for (const auto& [name, list] : lists_) count += list.prefixes.size();
  standing_.reserve(count);
  for (const HostOverride& h : configured_) {
    standing_.insert(h.prefix, {h.action, h.rate_per_hour, h.burst, 0});
  }
  for (const auto& [name, list] : lists_) {
    sources_.push_back(name);
    const Voice voice{list.config.action, list.config.rate_per_hour, list.config.burst,
                      static_cast<std::uint16_t>(sources_.size())};
    for (const Prefix& p : list.prefixes) {
      const Voice* before = standing_.exact(p);
      if (before != nullptr && before->action == policy::HostAction::allow) continue;
      standing_.insert(p, voice);
    }
  }
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

// Calls use(prefix, action, rate, burst, until) once for each prefix about which something is said.
template <typename Use>
void Orders::each(const Ladder& ladder, Use&& use) const {
  PrefixMap<bool> said;  // by the strong voices
  for (const auto& [prefix, order] : operators_) {
    said.insert(prefix, true);
    use(prefix, order.action, order.rate_per_hour, order.burst, order.until);
  }
  for (const Standing* s : ladder.acted_on()) {
    if (s->enforced == Level::clean || said.exact(s->host) != nullptr) continue;
    said.insert(s->host, true);
    // A limit that steps up or down renews its time; only a block's end is known beforehand.
    use(s->host, action_of(s->enforced), ladder.config().limit_rate, ladder.config().limit_burst,
        s->enforced == Level::block ? s->until : Nanoseconds{0});
  }
  for (const auto& [prefix, voice] : standing_) {
    if (said.exact(prefix) != nullptr) continue;
    use(prefix, voice.action, voice.rate_per_hour, voice.burst, Nanoseconds{0});
  }
}

std::vector<Prefix> Orders::allowed() const {
  std::vector<Prefix> all;
  for (const auto& [prefix, voice] : standing_) {
    const Order* order = operators_.exact(prefix);
    if (order == nullptr && voice.action == policy::HostAction::allow) all.push_back(prefix);
  }
  for (const auto& [prefix, order] : operators_) {
    if (order.action == policy::HostAction::allow) all.push_back(prefix);
  }
  return all;
}

std::vector<policy::HostRule> Orders::host_rules(const Ladder& ladder) const {
  std::vector<policy::HostRule> rules;
  rules.reserve(operators_.size() + standing_.size() + ladder.acted_on_count());
  each(ladder, [&](const Prefix& prefix, policy::HostAction action, std::uint32_t rate,
                   std::uint32_t burst, Nanoseconds) {
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

std::vector<KernelEntry> Orders::kernel_entries(const Ladder& ladder) const {
  std::vector<KernelEntry> entries;
  bool any_block = false;
  each(ladder, [&](const Prefix& prefix, policy::HostAction action, std::uint32_t, std::uint32_t,
                   Nanoseconds until) {
    if (action == policy::HostAction::block) {
      any_block = true;
      entries.push_back({prefix, false, block_action_, until});
    } else {
      // Any milder order of a longer prefix takes it out of a block around it: the kernel lets its
      // mail through to the dataplane, which knows the order.
      entries.push_back({prefix, true, block_action_, until});
    }
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
  const auto consider = [&best](const Treatment& t) {
    if (!best.any || t.prefix.length >= best.prefix.length) best = t;
  };
  // Weakest voice first: of equal lengths the later one stays.
  if (const auto* s = standing_.longest(host); s != nullptr) {
    Treatment t;
    t.any = true;
    t.prefix = s->first;
    t.action = s->second.action;
    t.rate_per_hour = s->second.rate_per_hour;
    t.burst = s->second.burst;
    t.source = s->second.source == 0 ? "configuration"
                                     : "list " + sources_[s->second.source - std::size_t{1}];
    consider(t);
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
    consider(t);
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
    consider(t);
  }
  return best;
}

}  // namespace sluice::control
