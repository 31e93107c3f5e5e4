#include <bit>
#include <cstring>
#include <tuple>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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
// finalization rounds.
struct SipState {
  std::uint64_t v0, v1, v2, v3;

  explicit SipState(const HashKey& key)
      : v0(key.k0 ^ 0x736f6d6570736575),
        v1(key.k1 ^ 0x646f72616e646f6d),
        v2(key.k0 ^ 0x6c7967656e657261),
        v3(key.k1 ^ 0x7465646279746573) {}
  void round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void word(std::uint64_t m) {
    v3 ^= m;
    round();
    v0 ^= m;
  }
};
}  // namespace

std::uint64_t hash(const FlowKey& key, const HashKey& secret) {
  std::uint64_t words[6]{};
  std::memcpy(words, &key, sizeof key);
  SipState sip(secret);
  static_assert(sizeof(FlowKey) % 8 == 4, "the length goes into the rest of the last word");
  for (std::size_t i = 0; i < 5; ++i) sip.word(words[i]);
  sip.word(words[5] | std::uint64_t{sizeof(FlowKey)} << 56);
  sip.v2 ^= 0xff;
  sip.round();
  sip.round();
  sip.round();
  return sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3;
}

#if defined(__x86_64__)
namespace {
// Eight at once, as above; AVX-512 rotates.
[[gnu::target("avx512f")]] void hash_eight(const FlowKey* keys, const HashKey& secret,
                                           std::uint64_t* hashes) {
  // GCC 12 warns of what the forms without a mask leave undefined.
  constexpr __mmask8 kAll = 0xff;
  const SipState first(secret);
  __m512i v0 = _mm512_set1_epi64(static_cast<long long>(first.v0));
  __m512i v1 = _mm512_set1_epi64(static_cast<long long>(first.v1));
  __m512i v2 = _mm512_set1_epi64(static_cast<long long>(first.v2));
  __m512i v3 = _mm512_set1_epi64(static_cast<long long>(first.v3));
  const auto round = [&]() __attribute__((target("avx512f"))) {
    v0 = _mm512_add_epi64(v0, v1);
    v1 = _mm512_xor_si512(_mm512_maskz_rol_epi64(kAll, v1, 13), v0);
    v0 = _mm512_maskz_rol_epi64(kAll, v0, 32);
    v2 = _mm512_add_epi64(v2, v3);
    v3 = _mm512_xor_si512(_mm512_maskz_rol_epi64(kAll, v3, 16), v2);
    v0 = _mm512_add_epi64(v0, v3);
    v3 = _mm512_xor_si512(_mm512_maskz_rol_epi64(kAll, v3, 21), v0);
    v2 = _mm512_add_epi64(v2, v1);
    v1 = _mm512_xor_si512(_mm512_maskz_rol_epi64(kAll, v1, 17), v2);
    v2 = _mm512_maskz_rol_epi64(kAll, v2, 32);
  };
  constexpr long long kStep = sizeof(FlowKey) / 4;
  const __m512i at =
      _mm512_setr_epi64(0, kStep, 2 * kStep, 3 * kStep, 4 * kStep, 5 * kStep, 6 * kStep, 7 * kStep);
  const auto* const octets = reinterpret_cast<const std::uint8_t*>(keys);
  for (std::size_t i = 0; i < 6; ++i) {
    __m512i word;
    if (i < 5) {
      word = _mm512_mask_i64gather_epi64(_mm512_setzero_si512(), kAll, at, octets + 8 * i, 4);
    } else {  // the last four octets, and the length
      const __m256i rest =
          _mm512_mask_i64gather_epi32(_mm256_setzero_si256(), kAll, at, octets + 8 * i, 4);
      word = _mm512_or_si512(_mm512_maskz_cvtepu32_epi64(kAll, rest),
                             _mm512_set1_epi64(static_cast<long long>(sizeof(FlowKey)) << 56));
    }
    v3 = _mm512_xor_si512(v3, word);
    round();
    v0 = _mm512_xor_si512(v0, word);
  }
  v2 = _mm512_xor_si512(v2, _mm512_set1_epi64(0xff));
  round();
  round();
  round();
  _mm512_storeu_si512(hashes, _mm512_xor_si512(_mm512_xor_si512(v0, v1), _mm512_xor_si512(v2, v3)));
}
}  // namespace
#endif

void hash(std::span<const FlowKey> keys, const HashKey& secret, std::span<std::uint64_t> hashes) {
  std::size_t i = 0;
#if defined(__x86_64__)
  static const bool wide = __builtin_cpu_supports("avx512f");
  for (; wide && i + 8 <= keys.size(); i += 8) hash_eight(&keys[i], secret, &hashes[i]);
#endif
  for (; i < keys.size(); ++i) hashes[i] = hash(keys[i], secret);
}

}  // namespace sluice::flow
