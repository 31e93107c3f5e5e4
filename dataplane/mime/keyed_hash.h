// SipHash-1-3 under a key of this process: tells strings that were seen from new ones. Keyed,
// because whoever could make two URLs collide could hide one behind the other.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>

namespace sluice::mime {

class KeyedHash {
 public:
  KeyedHash() {
    struct Key {
      std::uint64_t k0, k1;
    };
    static const Key key = [] {
      std::random_device random;
      const auto next = [&] { return std::uint64_t{random()} << 32 | random(); };
      return Key{next(), next()};
    }();
    v0_ = key.k0 ^ 0x736f6d6570736575;
    v1_ = key.k1 ^ 0x646f72616e646f6d;
    v2_ = key.k0 ^ 0x6c7967656e657261;
    v3_ = key.k1 ^ 0x7465646279746573;
  }

  // Adds a string; its length is part of it.
  KeyedHash& add(std::string_view s) {
    block(s.size());
    while (!s.empty()) {
      std::uint64_t m = 0;
      const std::size_t size = s.size() < 8 ? s.size() : 8;
      std::memcpy(&m, s.data(), size);
      block(m);
      s.remove_prefix(size);
    }
    return *this;
  }

  std::uint64_t value() {
    v2_ ^= 0xff;
    for (int i = 0; i < 3; ++i) round();
    return v0_ ^ v1_ ^ v2_ ^ v3_;
  }

 private:
  void block(std::uint64_t m) {
    v3_ ^= m;
    round();
    v0_ ^= m;
  }
  void round() {
    v0_ += v1_;
    v1_ = std::rotl(v1_, 13) ^ v0_;
    v0_ = std::rotl(v0_, 32);
    v2_ += v3_;
    v3_ = std::rotl(v3_, 16) ^ v2_;
    v0_ += v3_;
    v3_ = std::rotl(v3_, 21) ^ v0_;
    v2_ += v1_;
    v1_ = std::rotl(v1_, 17) ^ v2_;
    v2_ = std::rotl(v2_, 32);
  }
  std::uint64_t v0_, v1_, v2_, v3_;
};

}  // namespace sluice::mime
