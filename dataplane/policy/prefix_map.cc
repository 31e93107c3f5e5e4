#include "dataplane/policy/prefix_map.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>

namespace sluice::policy {
namespace {

using Wide = unsigned __int128;

// Random lookups in large tables miss the TLB on every access without huge pages. Advice only.
template <typename T>
void want_huge_pages(const std::vector<T>& table) {
  constexpr std::uintptr_t kHuge = std::uintptr_t{2} << 20;
  const auto begin = reinterpret_cast<std::uintptr_t>(table.data());
  const std::uintptr_t first = (begin + kHuge - 1) & ~(kHuge - 1);
  const std::uintptr_t last = (begin + table.size() * sizeof(T)) & ~(kHuge - 1);
  if (first < last) {
    madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);  // NOLINT
  }
}

template <typename Key>
int leading_zeros(Key key) {
  if constexpr (sizeof(Key) == 16) {
    const auto high = static_cast<std::uint64_t>(key >> 64);
    return high != 0 ? std::countl_zero(high)
                     : 64 + std::countl_zero(static_cast<std::uint64_t>(key));
  } else {
    return std::countl_zero(key);
  }
}

Wide key_of(const Address& address) {
  return Wide{load_be64(address.octets.data())} << 64 | load_be64(&address.octets[8]);
}

}  // namespace

template <typename Key>
typename PrefixTable<Key>::Stored PrefixTable<Key>::stored(Key key) {
  if constexpr (kBits == 32) {
    return key;
  } else {
    return {static_cast<std::uint64_t>(key >> 64), static_cast<std::uint64_t>(key)};
  }
}

template <typename Key>
void PrefixTable<Key>::cut(Key first, std::uint32_t value) {
  if (!ranges_.empty() && Key{ranges_.back().first} == first) {
    ranges_.back().value = value;
  } else if (ranges_.empty() || ranges_.back().value != value) {
    ranges_.push_back({stored(first), value});
  }
}

template <typename Key>
PrefixTable<Key>::PrefixTable(std::vector<Prefix> prefixes) {
  std::stable_sort(prefixes.begin(), prefixes.end(), [](const Prefix& a, const Prefix& b) {
    return a.first != b.first ? a.first < b.first : a.length < b.length;
  });
  ranges_.reserve(prefixes.size() * 2 + 1);
  cut(0, kNone);
  std::vector<const Prefix*> open;  // each within the one before
  const auto close_before = [&](Key next, bool all) {
    while (!open.empty() && (all || open.back()->last < next)) {
      const auto behind = static_cast<Key>(open.back()->last + 1);  // 0 behind the last address
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
  prefixes = {};
  ranges_.shrink_to_fit();
  want_huge_pages(ranges_);
  build(0, static_cast<std::uint32_t>(ranges_.size()));
  nodes_.shrink_to_fit();
  slots_.shrink_to_fit();
  want_huge_pages(slots_);
}

template <typename Key>
std::uint32_t PrefixTable<Key>::build(std::uint32_t begin, std::uint32_t end) {
  const auto index = static_cast<std::uint32_t>(nodes_.size());
  const Key first = ranges_[begin].first;
  const Key last = ranges_[end - 1].first;
  nodes_.push_back({.first = first, .last = last, .begin = begin, .end = end});
  if (first == last) return index;  // one range: no table
  const int skip = leading_zeros(static_cast<Key>(first ^ last));
  const int bits = std::min({static_cast<int>(std::bit_width(end - begin)), 24, kBits - skip});
  const auto table = static_cast<std::uint32_t>(slots_.size());
  const std::uint32_t size = 1u << bits;
  slots_.resize(slots_.size() + size + 1);
  nodes_[index].skip = static_cast<std::uint8_t>(skip);
  nodes_[index].bits = static_cast<std::uint8_t>(bits);
  nodes_[index].table = table;

  const auto bits_of = [&](std::uint32_t range) {
    const auto shifted = static_cast<Key>(Key{ranges_[range].first} << skip);
    return static_cast<std::uint32_t>(shifted >> (kBits - bits));
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

template <typename Key>
std::uint32_t PrefixTable<Key>::find(Key wanted) const {
  const Node* node = nodes_.data();
  for (;;) {
    // Outside of what the node's ranges share, the answer is the range before or the last one.
    if (wanted < node->first) return ranges_[node->begin - 1].value;
    if (node->bits == 0 || wanted >= node->last) return ranges_[node->end - 1].value;
    const auto shifted = static_cast<Key>(wanted << node->skip);
    const std::uint32_t slot =
        static_cast<std::uint32_t>(shifted >> (kBits - node->bits)) + node->table;
    const std::uint32_t entry = slots_[slot];
    if ((entry & kIsNode) != 0) {
      node = &nodes_[entry & ~kIsNode];
      continue;
    }
    std::uint32_t end = slots_[slot + 1];
    if ((end & kIsNode) != 0) end = nodes_[end & ~kIsNode].begin;
    std::uint32_t at = entry;
    while (at < end && Key{ranges_[at].first} <= wanted) ++at;
    return ranges_[at - 1].value;
  }
}

template <typename Key>
std::size_t PrefixTable<Key>::memory_used() const {
  return ranges_.capacity() * sizeof(Range) + nodes_.capacity() * sizeof(Node) +
         slots_.capacity() * sizeof(std::uint32_t);
}

PrefixMap::PrefixMap(std::vector<Entry> entries) {
  constexpr Wide kMapped = Wide{0xffff} << 32;  // ::ffff:0:0/96, the IPv4 hosts
  std::vector<PrefixTable<std::uint32_t>::Prefix> v4;
  std::vector<PrefixTable<Wide>::Prefix> v6;
  for (const Entry& entry : entries) {
    const Wide hosts = entry.length == 0 ? ~Wide{0} : (Wide{1} << (128 - entry.length)) - 1;
    const Wide first = key_of(entry.prefix) & ~hosts;
    const Wide last = first | hosts;
    const bool mapped = entry.length >= 96 && first >> 32 == kMapped >> 32;
    if (mapped) {
      v4.push_back({static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(last),
                    static_cast<std::uint8_t>(entry.length - 96), entry.value});
      continue;
    }
    v6.push_back({first, last, entry.length, entry.value});
  }
  // What holds all of IPv4 is the answer where no IPv4 prefix is: the longest of these, the later
  // one of equals, and shorter than any IPv4 prefix.
  const PrefixTable<Wide>::Prefix* around = nullptr;
  for (const auto& prefix : v6) {
    if (prefix.first <= kMapped && kMapped <= prefix.last &&
        (around == nullptr || prefix.length >= around->length)) {
      around = &prefix;
    }
  }
  if (around != nullptr) v4.insert(v4.begin(), {0, UINT32_MAX, 0, around->value});
  entries = {};
  v4_ = PrefixTable<std::uint32_t>(std::move(v4));
  v6_ = PrefixTable<Wide>(std::move(v6));
}

std::uint32_t PrefixMap::find(const Address& address) const {
  if (address.is_v4()) return v4_.find(load_be32(address.v4_octets()));
  return v6_.find(key_of(address));
}

template class PrefixTable<std::uint32_t>;
template class PrefixTable<unsigned __int128>;

}  // namespace sluice::policy
