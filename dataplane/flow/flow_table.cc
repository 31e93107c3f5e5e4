#include "dataplane/flow/flow_table.h"

#include <emmintrin.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <new>

namespace sluice::flow {

namespace {
std::size_t at_least_one(std::size_t n) { return std::max<std::size_t>(n, 1); }
}  // namespace

FlowTable::FlowTable(const Config& config, const HashKey& secret, std::pmr::memory_resource* memory)
    : config_(config), secret_(secret), memory_(memory), groups_(memory), slabs_(memory) {
  config_.max_flows = std::clamp<std::size_t>(config_.max_flows, 1, std::size_t{1} << 31);
  const std::size_t per_slab =
      std::bit_ceil(std::max<std::size_t>((config_.max_flows + kMaxSlabs - 1) / kMaxSlabs,
                                          std::min<std::size_t>(config_.max_flows, 1024)));
  slab_shift_ = static_cast<unsigned>(std::countr_zero(per_slab));
  slab_mask_ = static_cast<std::uint32_t>(per_slab - 1);
  groups_.resize(at_least_one((config_.max_flows + kGroupLoad - 1) / kGroupLoad) + 1);
  slabs_.reserve((config_.max_flows + per_slab - 1) / per_slab);
  // A quarter of what 32 bits of ticks hold.
  config_.half_open = std::min(config_.half_open, (Nanoseconds{1} << 30) << kHalfOpenShift);
  const Nanoseconds timeouts[kFlowClasses] = {config_.half_open, config_.established,
                                              config_.closed, config_.established};
  for (std::size_t i = 0; i < kFlowClasses; ++i) {
    constexpr Nanoseconds kLongest = 100 * 86400 * kSecond;
    lists_[i].timeout = tick_of(std::min(timeouts[i], kLongest), static_cast<FlowClass>(i));
  }
}

FlowTable::~FlowTable() {
  const std::size_t per_slab = std::size_t{slab_mask_} + 1;
  for (const Slab& slab : slabs_) {
    memory_->deallocate(slab.entries, per_slab * sizeof(Entry), alignof(Entry));
    memory_->deallocate(slab.links, per_slab * sizeof(Link), alignof(Link));
  }
}

std::uint32_t FlowTable::matches(const Group& group, std::uint8_t tag) {
  // The 16 octets from the tags on: 12 tags and the count behind them, which is masked off.
  const __m128i tags = _mm_load_si128(reinterpret_cast<const __m128i*>(&group));
  const int equal = _mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8(static_cast<char>(tag))));
  return static_cast<std::uint32_t>(equal) & ((1u << kSlots) - 1);
}

Entry* FlowTable::find_from(std::size_t group, const FlowKey& key, std::uint8_t tag) const {
  for (std::size_t probes = 0; probes < groups_.size(); ++probes) {
    const Group& g = groups_[group];
    for (std::uint32_t hits = matches(g, tag); hits != 0; hits &= hits - 1) {
      Entry& candidate = entry(g.slots[std::countr_zero(hits)]);
      if (candidate.key_ == key) return &candidate;
    }
    if (g.passed == 0) return nullptr;
    if (++group == groups_.size()) group = 0;
  }
  return nullptr;
}

Entry* FlowTable::find(const FlowKey& key, std::uint64_t hash) const {
  return find_from(group_of(hash), key, tag_of(hash));
}

void FlowTable::lookup(std::span<const FlowKey> keys, std::span<std::uint64_t> hashes,
                       std::span<Entry*> found) const {
  const std::size_t n = std::min({keys.size(), hashes.size(), found.size()});
  for (std::size_t begin = 0; begin < n; begin += kMaxBurst) {
    const std::size_t end = std::min(n, begin + kMaxBurst);
    flow::hash(keys.subspan(begin, end - begin), secret_, hashes.subspan(begin));
    for (std::size_t i = begin; i < end; ++i) __builtin_prefetch(&groups_[group_of(hashes[i])]);
    // found[i] holds the likely entry for the moment.
    for (std::size_t i = begin; i < end; ++i) {
      const Group& g = groups_[group_of(hashes[i])];
      const std::uint32_t hits = matches(g, tag_of(hashes[i]));
      found[i] = hits == 0 ? nullptr : &entry(g.slots[std::countr_zero(hits)]);
      __builtin_prefetch(found[i], 1);
    }
    for (std::size_t i = begin; i < end; ++i) {
      if (found[i] != nullptr && found[i]->key_ == keys[i]) continue;
      found[i] = find_from(group_of(hashes[i]), keys[i], tag_of(hashes[i]));
    }
  }
}

bool FlowTable::add_slab() {
  const std::size_t per_slab = std::size_t{slab_mask_} + 1;
  Slab slab{};
  try {
    slab.entries = static_cast<Entry*>(memory_->allocate(per_slab * sizeof(Entry), alignof(Entry)));
    slab.links = static_cast<Link*>(memory_->allocate(per_slab * sizeof(Link), alignof(Link)));
  } catch (const std::bad_alloc&) {
    if (slab.entries != nullptr) {
      memory_->deallocate(slab.entries, per_slab * sizeof(Entry), alignof(Entry));
    }
    return false;
  }
  slabs_.push_back(slab);  // reserved
  return true;
}

bool FlowTable::has_room() {
  if (size_ >= config_.max_flows) return false;
  if (free_slot_ != kNone) return true;
  if ((used_slots_ >> slab_shift_) < slabs_.size()) return true;
  // A refusal is an exception: not one for each insert of a flood.
  if (refused_ > 0 && size_ > 0) {
    --refused_;
    return false;
  }
  if (add_slab()) return true;
  refused_ = 256;
  return false;
}

Entry* FlowTable::worst(Nanoseconds now) const {
  const auto oldest = [this](FlowClass c) {
    const std::uint32_t head = lists_[static_cast<std::size_t>(c)].head;
    return head == kNone ? nullptr : &entry(head);
  };
  // Closed ones first, of which late segments alone may still come: those of the last second are
  // spared, as long as they are few. In a flood of SYNs the half-open ones first.
  Entry* const closed = oldest(FlowClass::closed);
  const bool spared = closed != nullptr &&
                      size(FlowClass::closed) <= config_.max_flows / kSparedShare &&
                      tick_of(now, FlowClass::closed) - closed->last_seen_ < kTouchTicks;
  const bool flood = size(FlowClass::half_open) > 2 * size(FlowClass::closed);
  for (Entry* const victim :
       {flood || spared ? nullptr : closed, oldest(FlowClass::half_open), spared ? nullptr : closed,
        oldest(FlowClass::one_way), oldest(FlowClass::established), closed}) {
    if (victim != nullptr) return victim;
  }
  return nullptr;
}

Entry* FlowTable::overdue(Nanoseconds now) const {
  for (std::size_t i = 0; i < kFlowClasses; ++i) {
    const List& list = lists_[i];
    if (list.head == kNone) continue;
    Entry& head = entry(list.head);
    // Signed: another caller's clock may be a little behind.
    const auto idle =
        static_cast<std::int32_t>(tick_of(now, static_cast<FlowClass>(i)) - head.last_seen_);
    if (idle > 0 && static_cast<std::uint32_t>(idle) > list.timeout) return &head;
  }
  return nullptr;
}

Nanoseconds FlowTable::next_expiry(Nanoseconds now) const {
  Nanoseconds soonest = std::numeric_limits<Nanoseconds>::max();
  for (std::size_t i = 0; i < kFlowClasses; ++i) {
    const List& list = lists_[i];
    if (list.head == kNone) continue;
    const auto c = static_cast<FlowClass>(i);
    const auto idle = static_cast<std::int32_t>(tick_of(now, c) - entry(list.head).last_seen_);
    const std::int64_t left = std::int64_t{list.timeout} + 1 - idle;
    const Nanoseconds at = left <= 0 ? now : now + (static_cast<Nanoseconds>(left) << shift_of(c));
    soonest = std::min(soonest, at);
  }
  return soonest;
}

Entry* FlowTable::place(const FlowKey& key, std::uint64_t hash, Nanoseconds now) {
  std::uint32_t slot = free_slot_;
  if (slot != kNone) {
    free_slot_ = link(slot).next;
  } else {
    slot = used_slots_++;
  }
  Entry& e = *new (&entry(slot)) Entry;
  e.key_ = key;
  e.word_.sequences[0] = 0;
  e.word_.sequences[1] = 0;
  e.counts_ = {};
  e.last_seen_ = tick_of(now, FlowClass::half_open);
  e.class_ = static_cast<std::uint16_t>(FlowClass::half_open) & 3;
  e.live_ = 1;
  e.has_state_ = 0;
  e.slab_ = static_cast<std::uint16_t>(slot >> slab_shift_) & 0xfff;
  e.scales_ = 0;
  e.opening_flags_ = 0;
  append(slot, FlowClass::half_open);

  // There are more index places than entries: a free one is met.
  std::size_t group = group_of(hash);
  for (;;) {
    Group& g = groups_[group];
    const std::uint32_t free = matches(g, 0);
    if (free != 0) {
      const int at = std::countr_zero(free);
      g.tags[at] = tag_of(hash);
      g.slots[at] = slot;
      break;
    }
    ++g.passed;
    if (++group == groups_.size()) group = 0;
  }
  ++size_;
  return &e;
}

void FlowTable::erase(Entry* e) {
  const std::uint32_t slot = slot_of(e);
  const std::uint64_t h = hash(e->key_, secret_);
  const std::uint8_t tag = tag_of(h);
  std::size_t group = group_of(h);
  for (bool gone = false; !gone;) {
    Group& g = groups_[group];
    for (std::uint32_t hits = matches(g, tag); hits != 0; hits &= hits - 1) {
      const int at = std::countr_zero(hits);
      if (g.slots[at] == slot) {
        g.tags[at] = 0;
        gone = true;
        break;
      }
    }
    if (!gone) {
      --g.passed;  // as place() went
      if (++group == groups_.size()) group = 0;
    }
  }
  unlink(slot, e->flow_class());
  e->live_ = 0;
  link(slot).next = free_slot_;
  free_slot_ = slot;
  --size_;
}

void FlowTable::append(std::uint32_t slot, FlowClass c) {
  List& list = lists_[static_cast<std::size_t>(c)];
  link(slot) = {list.tail, kNone};
  if (list.tail == kNone) {
    list.head = slot;
  } else {
    link(list.tail).next = slot;
  }
  list.tail = slot;
  ++list.size;
}

void FlowTable::unlink(std::uint32_t slot, FlowClass c) {
  List& list = lists_[static_cast<std::size_t>(c)];
  const Link l = link(slot);
  if (list.visited == slot) list.visited = l.previous;
  (l.previous == kNone ? list.head : link(l.previous).next) = l.next;
  (l.next == kNone ? list.tail : link(l.next).previous) = l.previous;
  --list.size;
}

void FlowTable::move(Entry* e, FlowClass to, Nanoseconds now) {
  const std::uint32_t slot = slot_of(e);
  unlink(slot, e->flow_class());
  e->class_ = static_cast<std::uint16_t>(to) & 3;
  e->last_seen_ = tick_of(now, to);
  append(slot, to);
}

bool FlowTable::count(Entry* e, bool from_client, Side side, std::size_t octets,
                      std::uint16_t mss) {
  Entry::Counts c = e->counts_;
  const std::size_t total = octets + (from_client ? c.client_octets : c.server_octets);
  if (total > 1023) return false;
  if (from_client) {
    if (c.client_frames == 15) return false;
    c.client_frames = (c.client_frames + 1u) & 15;
    c.client_octets = total & 1023;
  } else {
    if (c.server_frames == 15) return false;
    c.server_frames = (c.server_frames + 1u) & 15;
    c.server_octets = total & 1023;
  }
  c.client_outside = (side == Side::outside) == from_client;
  if (mss != 0) {
    const auto* above = std::upper_bound(std::begin(Entry::kMss), std::end(Entry::kMss), mss);
    c.mss = static_cast<std::uint32_t>(above - std::begin(Entry::kMss) - 1) & 7;
  }
  e->counts_ = c;
  return true;
}

Handshake FlowTable::handshake(const Entry* e, Nanoseconds now) const {
  Handshake h;
  h.frames[0] = e->counts_.client_frames;
  h.frames[1] = e->counts_.server_frames;
  h.octets[0] = e->counts_.client_octets;
  h.octets[1] = e->counts_.server_octets;
  h.client_mss = Entry::kMss[e->counts_.mss];
  h.client_side = e->counts_.client_outside ? Side::outside : Side::inside;
  // A tick is the time cut off: most clocks count whole microseconds, so the next one is meant.
  const std::uint32_t age = tick_of(now, FlowClass::half_open) - e->last_seen_;
  const Nanoseconds first = ((now >> kHalfOpenShift) - age) << kHalfOpenShift;
  h.first = std::min(now, (first + kMicrosecond - 1) / kMicrosecond * kMicrosecond);
  return h;
}

Entry* FlowTable::next(std::size_t& cursor, std::size_t max_steps) const {
  for (; max_steps > 0 && cursor < used_slots_; --max_steps) {
    Entry& e = entry(static_cast<std::uint32_t>(cursor++));
    if (e.live_) return &e;
  }
  if (cursor >= used_slots_) cursor = 0;
  return nullptr;
}

std::size_t FlowTable::memory_used() const {
  return groups_.capacity() * sizeof(Group) + slabs_.capacity() * sizeof(Slab) +
         slabs_.size() * (std::size_t{slab_mask_} + 1) * (sizeof(Entry) + sizeof(Link));
}

std::size_t FlowTable::longest_probe() const {
  std::size_t longest = 0;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    for (std::size_t s = 0; s < kSlots; ++s) {
      if (groups_[i].tags[s] == 0) continue;
      const std::size_t home = group_of(hash(entry(groups_[i].slots[s]).key_, secret_));
      longest = std::max(longest, (i + groups_.size() - home) % groups_.size() + 1);
    }
  }
  return longest;
}

}  // namespace sluice::flow
