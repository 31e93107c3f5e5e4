#include "dataplane/policy/prefix_map.h"

#include <algorithm>
#include <bit>

namespace sluice::policy {

PrefixMap::Key PrefixMap::key(const Address& address) {
  return Key{load_be64(address.octets.data())} << 64 | load_be64(&address.octets[8]);
}

PrefixMap::PrefixMap(std::vector<Entry> entries) {
  struct Prefix {
    Key first;
    Key last;
    std::uint8_t length;
    std::uint32_t value;
  };
  std::vector<Prefix> prefixes;
  prefixes.reserve(entries.size());
  for (const Entry& entry : entries) {
    const Key host = entry.length == 0 ? ~Key{0} : (Key{1} << (128 - entry.length)) - 1;
    const Key first = key(entry.prefix) & ~host;
    prefixes.push_back({first, first | host, entry.length, entry.value});
  }
  entries = {};
  std::stable_sort(prefixes.begin(), prefixes.end(), [](const Prefix& a, const Prefix& b) {
    return a.first != b.first ? a.first < b.first : a.length < b.length;
  });

  const auto cut = [this](Key first, std::uint32_t value) {
    const Range range{static_cast<std::uint64_t>(first >> 64), static_cast<std::uint64_t>(first),
                      value};
    if (!ranges_.empty() && ranges_.back().first() == first) {
      ranges_.back() = range;
    } else if (ranges_.empty() || ranges_.back().value != value) {
      ranges_.push_back(range);
    }
  };
  cut(0, kNone);
  std::vector<const Prefix*> open;  // each within the one before
  const auto close_before = [&](Key next, bool all) {
    while (!open.empty() && (all || open.back()->last < next)) {
      const Key behind = open.back()->last + 1;  // 0 behind the last address
      open.pop_back();
      if (behind != 0) cut(behind, open.empty() ? kNone : open.back()->value);
    }
  };
  for (const Prefix& prefix : prefixes) {
    close_before(prefix.first, false);
    if (!open.empty() && open.back()->first == prefix.first &&
        open.back()->length == prefix.length) {
      open.back() = &prefix;  // the later one stays
    } else {
      open.push_back(&prefix);
    }
    cut(prefix.first, prefix.value);
  }
  close_before(0, true);
  ranges_.shrink_to_fit();
  build(0, static_cast<std::uint32_t>(ranges_.size()));
  nodes_.shrink_to_fit();
  slots_.shrink_to_fit();
}

std::uint32_t PrefixMap::build(std::uint32_t begin, std::uint32_t end) {
  const auto index = static_cast<std::uint32_t>(nodes_.size());
  nodes_.push_back({.first = ranges_[begin].first(),
                    .last = ranges_[end - 1].first(),
                    .begin = begin,
                    .end = end});
  const Key first = ranges_[begin].first();
  const Key different = first ^ ranges_[end - 1].first();
  if (different == 0) return index;  // one range: no table
  const auto high = static_cast<std::uint64_t>(different >> 64);
  const int skip = high != 0 ? std::countl_zero(high)
                             : 64 + std::countl_zero(static_cast<std::uint64_t>(different));
  const int wanted = std::bit_width(end - begin);
  const int bits = std::min({wanted, 24, 128 - skip});
  const auto table = static_cast<std::uint32_t>(slots_.size());
  const std::uint32_t size = 1u << bits;
  slots_.resize(slots_.size() + size + 1);
  nodes_[index].skip = static_cast<std::uint8_t>(skip);
  nodes_[index].bits = static_cast<std::uint8_t>(bits);
  nodes_[index].table = table;

  const auto bits_of = [&](std::uint32_t range) {
    return static_cast<std::uint32_t>((ranges_[range].first() << skip) >> (128 - bits));
  };
  std::uint32_t at = begin;
  for (std::uint32_t slot = 0; slot < size; ++slot) {
    const std::uint32_t from = at;
    while (at < end && bits_of(at) == slot) ++at;
    std::uint32_t entry = from;
    if (at - from > kScanned) entry = build(from, at) | kIsNode;
    slots_[table + slot] = entry;
  }
  slots_[table + size] = end;
  return index;
}

std::uint32_t PrefixMap::find(const Address& address) const {
  const Key wanted = key(address);
  const Node* node = nodes_.data();
  for (;;) {
    // Outside of what the node's ranges share, the answer is the range before or the last one.
    if (wanted < node->first) return ranges_[node->begin - 1].value;
    if (node->bits == 0 || wanted >= node->last) {
      return ranges_[node->end - 1].value;
    }
    const auto slot =
        static_cast<std::uint32_t>((wanted << node->skip) >> (128 - node->bits)) + node->table;
    const std::uint32_t entry = slots_[slot];
    if ((entry & kIsNode) != 0) {
      node = &nodes_[entry & ~kIsNode];
      continue;
    }
    std::uint32_t end = slots_[slot + 1];
    if ((end & kIsNode) != 0) end = nodes_[end & ~kIsNode].begin;
    std::uint32_t at = entry;
    while (at < end && ranges_[at].first() <= wanted) ++at;
    return ranges_[at - 1].value;
  }
}

std::size_t PrefixMap::memory_used() const {
  return ranges_.capacity() * sizeof(Range) + nodes_.capacity() * sizeof(Node) +
         slots_.capacity() * sizeof(std::uint32_t);
}

}  // namespace sluice::policy
