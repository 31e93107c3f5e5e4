#include "control/detect/ladder.h"

#include <algorithm>
#include <cstdio>

namespace sluice::control {
namespace {

Nanoseconds seconds(std::uint32_t n) { return n * kSecond; }

std::string words(const char* format, auto... arguments) {
  char buffer[256];
  std::snprintf(buffer, sizeof buffer, format, arguments...);
  return buffer;
}

}  // namespace

Ladder::Ladder(const DetectionConfig& config, const std::vector<InsidePrefix>& inside) {
  configure(config, inside);
}

void Ladder::configure(const DetectionConfig& config, const std::vector<InsidePrefix>& inside) {
  config_ = config;
  roles_.clear();
  for (const InsidePrefix& p : inside) roles_.insert(p.prefix, p.role);
  single_hosts_.clear();
  for (const Prefix& p : config.ipv6_single_host) single_hosts_.insert(p, true);
}

Prefix Ladder::host_of(const Address& client) const {
  if (client.is_v4() || single_hosts_.longest(client) != nullptr) return {client, 128};
  return {mask(client, config_.ipv6_prefix_length), config_.ipv6_prefix_length};
}

Role Ladder::role_of(const Prefix& host) const {
  const auto* found = roles_.longest(host);
  return found == nullptr ? Role::subscriber : found->second;
}

bool Ladder::never_acted_on(const Prefix& host) const {
  return (allowed_ && allowed_(host)) || role_of(host) == Role::infrastructure;
}

std::size_t Ladder::cap() const {
  const auto share =
      static_cast<std::size_t>(static_cast<double>(table_.size()) * config_.maximum_share / 100.0);
  return std::max<std::size_t>(share, config_.minimum_acted_on);
}

Ladder::Entry& Ladder::entry_of(const Prefix& host) {
  const auto found = table_.find(host);
  if (found != table_.end()) return found->second;
  make_room();
  Entry& entry = table_[host];
  entry.standing.host = host;
  recency_.push_back(host);
  entry.recency = std::prev(recency_.end());
  return entry;
}

void Ladder::touch(Entry& entry) { recency_.splice(recency_.end(), recency_, entry.recency); }

void Ladder::make_room() {
  // Those acted on are few (the cap) and go to the back, so that each is met once a round.
  std::size_t skipped = 0;
  while (table_.size() >= config_.maximum_hosts && skipped < recency_.size()) {
    const Prefix oldest = recency_.front();
    Entry& entry = table_.find(oldest)->second;
    if (entry.standing.decided != Level::clean) {
      touch(entry);
      ++skipped;
      continue;
    }
    forget(oldest);
    ++forgotten_;
  }
}

void Ladder::forget(const Prefix& host) {
  const auto found = table_.find(host);
  set_enforced(found->second.standing, Level::clean);
  set_deadline(found->second, 0);
  recency_.erase(found->second.recency);
  table_.erase(found);
}

void Ladder::set_enforced(Standing& standing, Level level) {
  if (standing.enforced == Level::clean && level != Level::clean) ++acted_on_;
  if (standing.enforced != Level::clean && level == Level::clean) --acted_on_;
  standing.enforced = level;
}

void Ladder::set_deadline(Entry& entry, Nanoseconds until) {
  if (entry.deadline) deadlines_.erase(*entry.deadline);
  entry.deadline.reset();
  entry.standing.until = until;
  if (until != 0) entry.deadline = deadlines_.emplace(until, entry.standing.host);
}

void Ladder::age(Standing& standing, Nanoseconds now) const {
  const Nanoseconds window = seconds(config_.window);
  while (!standing.hits.empty() && now - standing.hits.front().at >= window) {
    standing.hits.pop_front();
  }
}

std::vector<Change> Ladder::message(const MessageSeen& message, Nanoseconds now) {
  std::vector<Change> changes;
  Entry& entry = entry_of(host_of(message.client));
  Standing& s = entry.standing;
  touch(entry);
  if (s.messages == 0) s.first_seen = message.wall;
  s.last_seen = message.wall;
  s.active = now;
  s.wire = message.wire;
  ++s.messages;
  s.recipients += message.recipients;
  s.octets += message.octets;
  if (!message.condemned) return changes;
  ++s.condemned;
  if (message.wall >= s.forgiven && !never_acted_on(s.host)) climb(entry, message, now, changes);
  return changes;
}

void Ladder::climb(Entry& entry, const MessageSeen& message, Nanoseconds now,
                   std::vector<Change>& out) {
  Standing& s = entry.standing;
  age(s, now);
  s.hits.push_back({now, message.wall, message.event, message.flow, message.wire, message.why});
  if (s.hits.size() > kMaxEvidence) {  // older hits count, but need not be told
    Hit& old = s.hits[s.hits.size() - 1 - kMaxEvidence];
    old.why = std::string();
    old.wire = std::string();
  }
  if (s.hits.size() > config_.block_threshold) s.hits.pop_front();

  const std::size_t count = s.hits.size();
  Level target = Level::clean;
  if (count >= config_.limit_threshold) target = Level::limit;
  if (count >= config_.block_threshold) target = Level::block;
  const Role role = role_of(s.host);
  const bool shared = role == Role::shared_address || role == Role::shared_web;
  const bool shared_holds = shared && target == Level::block;
  if (shared_holds) target = Level::limit;

  HeldBack held = HeldBack::no;
  if (!config_.enabled) {
    held = HeldBack::disabled;
  } else if (!message.enforcing) {
    held = HeldBack::monitor;
  } else if (s.enforced == Level::clean && acted_on_ >= cap()) {
    held = HeldBack::cap;
  }

  const bool step_enforced = held == HeldBack::no && target > s.enforced;
  const bool step_decided = held != HeldBack::no && target > s.decided;
  const bool tell_shared = shared_holds && s.held_back != HeldBack::shared_address;
  // A hit while limited makes the limit last from now on; a block's time is fixed when it begins.
  if (s.decided == Level::limit && target == Level::limit) {
    set_deadline(entry, now + seconds(config_.limit_duration));
  }
  if (!step_enforced && !step_decided && !tell_shared) return;

  Change change;
  change.host = s.host;
  change.from = s.enforced;
  change.to = tell_shared && !step_enforced && !step_decided ? Level::block : target;
  change.held_back = held != HeldBack::no ? held
                     : change.to > target ? HeldBack::shared_address
                                          : HeldBack::no;
  s.held_back = shared_holds ? HeldBack::shared_address : held;
  s.arithmetic = words(
      "%zu condemned messages within %u s; limit from %u, block from %u; "
      "%zu of %zu hosts acted on, cap %zu (%.2f %%, at least %u)",
      count, config_.window, config_.limit_threshold, config_.block_threshold, acted_on_,
      table_.size(), cap(), config_.maximum_share, config_.minimum_acted_on);
  if (step_enforced || step_decided) {
    s.decided = std::max(s.decided, target);
    if (step_enforced) {
      s.decided = target;
      set_enforced(s, target);
    }
    s.step_began = now;
    set_deadline(entry, now + seconds(target == Level::block ? config_.block_duration
                                                             : config_.limit_duration));
  }
  change.until = s.until;
  change.arithmetic = s.arithmetic;
  change.wire = message.wire;
  const std::size_t told = std::min(count, kMaxEvidence);
  change.evidence.assign(s.hits.end() - static_cast<std::ptrdiff_t>(told), s.hits.end());
  out.push_back(std::move(change));
}

Change Ladder::step_down(Entry& entry, Nanoseconds now) {
  Standing& s = entry.standing;
  Change change;
  change.host = s.host;
  change.held_back = s.enforced == Level::clean ? s.held_back : HeldBack::no;
  change.from = s.enforced == Level::clean ? s.decided : s.enforced;
  change.wire = s.wire;
  const bool to_limit = s.decided == Level::block && config_.step_down;
  change.to = to_limit ? Level::limit : Level::clean;
  s.arithmetic = to_limit ? words("block of %u s ended; limited for %u s more",
                                  config_.block_duration, config_.limit_duration)
                 : s.decided == Level::block
                     ? words("block of %u s ended", config_.block_duration)
                     : words("no condemned message for %u s", config_.limit_duration);
  s.decided = change.to;
  set_enforced(s, std::min(s.enforced, change.to));
  s.hits.clear();  // each step up needs fresh evidence
  s.step_began = now;
  set_deadline(entry, to_limit ? now + seconds(config_.limit_duration) : 0);
  if (s.decided == Level::clean) s.held_back = HeldBack::no;
  change.until = s.until;
  change.arithmetic = s.arithmetic;
  return change;
}

std::vector<Change> Ladder::tick(Nanoseconds now) {
  std::vector<Change> changes;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    changes.push_back(step_down(table_.find(deadlines_.begin()->second)->second, now));
  }
  // A few of the idle a time: this runs often.
  for (int i = 0; i < 64 && !recency_.empty(); ++i) {
    Entry& entry = table_.find(recency_.front())->second;
    if (now - entry.standing.active < kForgetAfter) break;
    if (entry.standing.decided != Level::clean) {
      touch(entry);
    } else {
      forget(recency_.front());
    }
  }
  return changes;
}

Nanoseconds Ladder::next_deadline() const {
  return deadlines_.empty() ? UINT64_MAX : deadlines_.begin()->first;
}

Change Ladder::release_entry(Entry& entry) {
  Standing& s = entry.standing;
  Change change;
  change.host = s.host;
  change.held_back = s.enforced == Level::clean ? s.held_back : HeldBack::no;
  change.from = s.enforced == Level::clean ? s.decided : s.enforced;
  change.to = Level::clean;
  change.wire = s.wire;
  change.released = true;
  change.arithmetic = s.arithmetic = "released";
  s.decided = Level::clean;
  set_enforced(s, Level::clean);
  s.hits.clear();
  s.held_back = HeldBack::no;
  set_deadline(entry, 0);
  return change;
}

std::vector<Change> Ladder::release(const Prefix& prefix, std::uint64_t wall) {
  std::vector<Change> changes;
  const auto release_one = [&](Entry& entry) {
    entry.standing.forgiven = wall;
    if (entry.standing.decided != Level::clean) {
      changes.push_back(release_entry(entry));
    } else {
      entry.standing.hits.clear();
    }
  };
  // A single address means the host that it belongs to.
  if (prefix.length == 128) {
    const auto found = table_.find(host_of(prefix.address));
    if (found != table_.end()) release_one(found->second);
    return changes;
  }
  for (auto& [host, entry] : table_) {
    if (host.length >= prefix.length && contains(prefix, host.address)) release_one(entry);
  }
  return changes;
}

std::vector<Change> Ladder::set_allowed(Allowed allowed) {
  allowed_ = std::move(allowed);
  std::vector<Change> changes;
  std::vector<Prefix> lifted;
  for (const auto& [until, host] : deadlines_) {
    if (never_acted_on(host)) lifted.push_back(host);
  }
  changes.reserve(lifted.size());
  for (const Prefix& host : lifted) changes.push_back(release_entry(table_.find(host)->second));
  return changes;
}

void Ladder::restore(const Standing& standing, Nanoseconds now) {
  Entry& entry = entry_of(standing.host);
  set_enforced(entry.standing, standing.enforced);
  entry.standing = standing;
  entry.standing.active = now;
  set_deadline(entry, standing.until);
}

const Standing* Ladder::find(const Address& client) const {
  const auto found = table_.find(host_of(client));
  return found == table_.end() ? nullptr : &found->second.standing;
}

std::vector<const Standing*> Ladder::acted_on() const {
  std::vector<const Standing*> result;
  result.reserve(deadlines_.size());
  for (const auto& [until, host] : deadlines_) {
    result.push_back(&table_.find(host)->second.standing);
  }
  return result;
}

std::vector<const Standing*> Ladder::top(std::size_t most) const {
  std::vector<const Standing*> all;
  all.reserve(table_.size());
  for (const auto& [host, entry] : table_) all.push_back(&entry.standing);
  const auto before = [](const Standing* a, const Standing* b) {
    return std::tuple(b->enforced, b->decided, b->condemned, b->messages, a->host.address) <
           std::tuple(a->enforced, a->decided, a->condemned, a->messages, b->host.address);
  };
  const std::size_t count = std::min(most, all.size());
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count), all.end(),
                    before);
  all.resize(count);
  return all;
}

}  // namespace sluice::control
