#include <cstring>
#include <tuple>

#include "dataplane/base/vectors.h"
#include "dataplane/flow/flow_table.h"

namespace sluice::flow {

KeyedPacket key_of(const net::Packet& packet, std::uint16_t wire) {
  KeyedPacket keyed;
  const auto ends = [](const Address& address, std::uint16_t port) {
    const std::uint8_t* const p = address.octets.data();
    return std::tuple(load_be64(p), load_be64(p + 8), port);
  };
  keyed.low_is_source =
      ends(packet.source, packet.source_port) <= ends(packet.destination, packet.destination_port);
  FlowKey& key = keyed.key;
  if (keyed.low_is_source) {
    key.low = packet.source;
    key.high = packet.destination;
    key.low_port = packet.source_port;
    key.high_port = packet.destination_port;
  } else {
    key.low = packet.destination;
    key.high = packet.source;
    key.low_port = packet.destination_port;
    key.high_port = packet.source_port;
  }
  key.set_tags(std::span(packet.vlan).first(packet.vlan_count),
               packet.pppoe ? packet.pppoe_session : std::uint16_t{0}, wire);
  return keyed;
}

namespace {

// Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), with one compression and three
// finalization rounds. Word: 64 bits, or the compiler's portable vector of such (GCC and clang).
template <typename Word>
struct SipState {
  Word v0{}, v1{}, v2{}, v3{};

  [[gnu::always_inline]] explicit SipState(const HashKey& key) {
    v0 += key.k0 ^ 0x736f6d6570736575;
    v1 += key.k1 ^ 0x646f72616e646f6d;
    v2 += key.k0 ^ 0x6c7967656e657261;
    v3 += key.k1 ^ 0x7465646279746573;
  }
  [[gnu::always_inline]] static void rotate(Word& v, int left) { v = v << left | v >> (64 - left); }
  [[gnu::always_inline]] void round() {
    v0 += v1;
    rotate(v1, 13);
    v1 ^= v0;
    rotate(v0, 32);
    v2 += v3;
    rotate(v3, 16);
    v3 ^= v2;
    v0 += v3;
    rotate(v3, 21);
    v3 ^= v0;
    v2 += v1;
    rotate(v1, 17);
    v1 ^= v2;
    rotate(v2, 32);
  }
  [[gnu::always_inline]] void word(const Word& m) {
    v3 ^= m;
    round();
    v0 ^= m;
  }
  [[gnu::always_inline]] void finish(Word& hash) {
    v2 ^= 0xff;
    round();
    round();
    round();
    hash = v0 ^ v1 ^ v2 ^ v3;
  }
};

static_assert(sizeof(FlowKey) % 8 == 4, "the length goes into the rest of the last word");
constexpr std::size_t kWords = sizeof(FlowKey) / 8;  // whole ones
constexpr std::uint64_t kLength = std::uint64_t{sizeof(FlowKey)} << 56;

// As many keys at once as a vector has lanes.
template <typename Words>
[[gnu::always_inline]] inline void hash_lanes(const FlowKey* keys, const HashKey& secret,
                                              std::uint64_t* hashes) {
  constexpr std::size_t lanes = sizeof(Words) / 8;
  const auto* const octets = reinterpret_cast<const std::uint8_t*>(keys);
  SipState<Words> sip(secret);
  for (std::size_t i = 0; i <= kWords; ++i) {
    std::uint64_t words[lanes];
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      words[lane] = i < kWords ? 0 : kLength;
      std::memcpy(&words[lane], octets + lane * sizeof(FlowKey) + 8 * i, i < kWords ? 8 : 4);
    }
    Words word;
    std::memcpy(&word, words, sizeof word);
    sip.word(word);
  }
  Words result;
  sip.finish(result);
  std::memcpy(hashes, &result, sizeof result);
}

#if defined(__x86_64__)
using Words4 = std::uint64_t __attribute__((vector_size(32)));
using Words8 = std::uint64_t __attribute__((vector_size(64)));

[[gnu::target("avx512f")]] void hash_eight(const FlowKey* keys, const HashKey& secret,
                                           std::uint64_t* hashes) {
  hash_lanes<Words8>(keys, secret, hashes);
}
[[gnu::target("avx2")]] void hash_four(const FlowKey* keys, const HashKey& secret,
                                       std::uint64_t* hashes) {
  hash_lanes<Words4>(keys, secret, hashes);
}
#endif

}  // namespace

std::uint64_t hash(const FlowKey& key, const HashKey& secret) {
  std::uint64_t words[kWords + 1]{};
  std::memcpy(words, &key, sizeof key);
  SipState<std::uint64_t> sip(secret);
  for (std::size_t i = 0; i < kWords; ++i) sip.word(words[i]);
  sip.word(words[kWords] | kLength);
  std::uint64_t result;
  sip.finish(result);
  return result;
}

void hash(std::span<const FlowKey> keys, const HashKey& secret, std::span<std::uint64_t> hashes) {
  std::size_t i = 0;
#if defined(__x86_64__)
  const bool eight = has(Vectors::avx512);
  const bool four = has(Vectors::avx2);
  for (; eight && i + 8 <= keys.size(); i += 8) hash_eight(&keys[i], secret, &hashes[i]);
  for (; four && i + 4 <= keys.size(); i += 4) hash_four(&keys[i], secret, &hashes[i]);
#endif
  for (; i < keys.size(); ++i) hashes[i] = hash(keys[i], secret);
}

}  // namespace sluice::flow
