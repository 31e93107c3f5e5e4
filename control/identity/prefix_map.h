// Longest-prefix lookup for tables that change now and then and are read once a message: a hash
// table, and one probe for each prefix length that is present. One thread writes; readers may share
// it while nobody does.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <random>
#include <unordered_map>

#include "control/identity/prefix.h"

namespace sluice::control {

// Keyed and non-linear: clients choose their addresses.
struct PrefixHash {
  std::size_t operator()(const Prefix& p) const {
    static const std::uint64_t secret = [] {
      std::random_device device;
      return (std::uint64_t{device()} << 32 | device()) | 1;
    }();
    std::uint64_t high;
    std::uint64_t low;
    std::memcpy(&high, p.address.octets.data(), 8);
    std::memcpy(&low, p.address.octets.data() + 8, 8);
    return mix(mix(mix(secret ^ high) ^ low) ^ p.length);
  }
  static std::uint64_t mix(std::uint64_t x) {  // the finaliser of SplitMix64
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
};
struct PrefixEqual {
  bool operator()(const Prefix& a, const Prefix& b) const {
    return a.length == b.length && a.address == b.address;
  }
};

template <typename Value>
class PrefixMap {
 public:
  void insert(const Prefix& prefix, Value value) {
    const auto [where, fresh] = values_.insert_or_assign(prefix, std::move(value));
    if (fresh) ++lengths_[where->first.length];
  }
  bool erase(const Prefix& prefix) {
    if (values_.erase(prefix) == 0) return false;
    --lengths_[prefix.length];
    return true;
  }
  void clear() {
    values_.clear();
    lengths_.fill(0);
  }
  void reserve(std::size_t n) { values_.reserve(n); }
  std::size_t size() const { return values_.size(); }
  bool empty() const { return values_.empty(); }
  const Value* exact(const Prefix& prefix) const {
    const auto found = values_.find(prefix);
    return found == values_.end() ? nullptr : &found->second;
  }
  // The longest prefix that holds all of `prefix`, or nullptr.
  const std::pair<const Prefix, Value>* longest(const Prefix& prefix) const {
    if (values_.empty()) return nullptr;
    for (int length = prefix.length; length >= 0; --length) {
      const auto l = static_cast<std::uint8_t>(length);
      if (lengths_[l] == 0) continue;
      const auto found = values_.find(Prefix{mask(prefix.address, l), l});
      if (found != values_.end()) return &*found;
    }
    return nullptr;
  }
  const std::pair<const Prefix, Value>* longest(const Address& address) const {
    return longest(Prefix{address, 128});
  }
  auto begin() const { return values_.begin(); }
  auto end() const { return values_.end(); }

 private:
  std::unordered_map<Prefix, Value, PrefixHash, PrefixEqual> values_;
  std::array<std::size_t, 129> lengths_{};
};

}  // namespace sluice::control
