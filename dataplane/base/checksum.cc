#include "dataplane/base/checksum.h"

#include "dataplane/base/vectors.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace sluice {
namespace {

// The compiler's portable vectors (GCC and clang). Lanes of 64 bits take 32-bit words: no carry is
// lost for any size that fits memory.
using Lanes2 = std::uint64_t __attribute__((vector_size(16)));
using Lanes4 = std::uint64_t __attribute__((vector_size(32)));
using Lanes8 = std::uint64_t __attribute__((vector_size(64)));

// All whole vectors.
template <typename Lanes>
[[gnu::always_inline]] inline std::uint64_t add_whole(const std::uint8_t*& octets,
                                                      std::size_t& size) {
  Lanes low{};
  Lanes high{};
  for (; size >= sizeof(Lanes); octets += sizeof(Lanes), size -= sizeof(Lanes)) {
    Lanes v;
    std::memcpy(&v, octets, sizeof v);
    low += v & 0xffffffff;
    high += v >> 32;
  }
  low += high;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < sizeof(Lanes) / 8; ++i) sum += low[i];
  return sum;
}

#ifdef __x86_64__
// Octets that are not there count as zero, also that of the last pair.
[[gnu::target("avx512f,avx512bw")]] std::uint64_t add_wide(const std::uint8_t* octets,
                                                           std::size_t size) {
  std::uint64_t sum = add_whole<Lanes8>(octets, size);
  if (size == 0) return sum;
  alignas(64) std::uint8_t rest[64];
  _mm512_store_si512(rest, _mm512_maskz_loadu_epi8((std::uint64_t{1} << size) - 1, octets));
  const std::uint8_t* at = rest;
  std::size_t left = sizeof rest;
  return sum + add_whole<Lanes8>(at, left);
}

[[gnu::target("avx2")]] std::uint64_t add_vectors(const std::uint8_t*& octets, std::size_t& size) {
  return add_whole<Lanes4>(octets, size);
}
#endif

}  // namespace

std::uint64_t checksum_add(const std::uint8_t* octets, std::size_t size, std::uint64_t sum) {
#ifdef __x86_64__
  if (size >= 64 && has(Vectors::avx512)) return sum + add_wide(octets, size);
  if (size >= 64 && has(Vectors::avx2)) sum += add_vectors(octets, size);
#endif
  if (size >= 32) sum += add_whole<Lanes2>(octets, size);
  while (size >= 8) {
    std::uint64_t v;
    std::memcpy(&v, octets, sizeof v);
    sum += (v & 0xffffffff) + (v >> 32);
    octets += 8;
    size -= 8;
  }
  if (size >= 4) {
    std::uint32_t v;
    std::memcpy(&v, octets, sizeof v);
    sum += v;
    octets += 4;
    size -= 4;
  }
  if (size >= 2) {
    std::uint16_t v;
    std::memcpy(&v, octets, sizeof v);
    sum += v;
    octets += 2;
    size -= 2;
  }
  // A last odd octet is the first one of its pair; the other counts as zero.
  if (size != 0) sum += *octets;
  return sum;
}

}  // namespace sluice
