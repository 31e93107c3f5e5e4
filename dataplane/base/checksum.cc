#include "dataplane/base/checksum.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace sluice {
namespace {

// The compiler's portable vectors (GCC and clang).
using Lanes = std::uint64_t __attribute__((vector_size(16)));
constexpr Lanes kLowWords = {0xffffffff, 0xffffffff};

#ifdef __x86_64__
const bool kWide = __builtin_cpu_supports("avx512bw");

// The same in 512 bits. Octets that are not there count as zero, also that of the last pair.
[[gnu::target("avx512f,avx512bw")]] std::uint64_t add_wide(const std::uint8_t* octets,
                                                           std::size_t size, std::uint64_t sum) {
  using Wide = std::uint64_t __attribute__((vector_size(64)));
  Wide low{};
  Wide high{};
  const auto add = [&](Wide v) __attribute__((always_inline, target("avx512f,avx512bw"))) {
    low += v & 0xffffffff;
    high += v >> 32;
  };
  for (; size >= 64; octets += 64, size -= 64) {
    Wide v;
    std::memcpy(&v, octets, sizeof v);
    add(v);
  }
  if (size != 0)
    add(reinterpret_cast<Wide>(_mm512_maskz_loadu_epi8((std::uint64_t{1} << size) - 1, octets)));
  low += high;
  for (std::size_t i = 0; i < 8; ++i) sum += low[i];
  return sum;
}
#endif

}  // namespace

std::uint64_t checksum_add(const std::uint8_t* octets, std::size_t size, std::uint64_t sum) {
#ifdef __x86_64__
  if (size >= 64 && kWide) return add_wide(octets, size, sum);
#endif
  // Two lanes of 64 bits that take 32-bit words: no carry is lost for any size that fits memory.
  if (size >= 64) {
    Lanes a{};
    Lanes b{};
    do {
      Lanes v[4];
      std::memcpy(v, octets, sizeof v);
      a += (v[0] & kLowWords) + (v[0] >> 32) + (v[2] & kLowWords) + (v[2] >> 32);
      b += (v[1] & kLowWords) + (v[1] >> 32) + (v[3] & kLowWords) + (v[3] >> 32);
      octets += 64;
      size -= 64;
    } while (size >= 64);
    a += b;
    sum += a[0] + a[1];
  }
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
