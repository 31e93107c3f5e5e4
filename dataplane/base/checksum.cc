#include "dataplane/base/checksum.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace sluice {

std::uint64_t checksum_add(const std::uint8_t* octets, std::size_t size, std::uint64_t sum) {
#if defined(__SSE2__)
  // Four sums of 32-bit words in 64-bit lanes: no carry can be lost for any size that fits memory.
  if (size >= 64) {
    const __m128i low_words = _mm_set1_epi64x(0xffffffff);
    __m128i a = _mm_setzero_si128();
    __m128i b = _mm_setzero_si128();
    do {
      const auto* p = reinterpret_cast<const __m128i*>(octets);
      const __m128i v0 = _mm_loadu_si128(p);
      const __m128i v1 = _mm_loadu_si128(p + 1);
      const __m128i v2 = _mm_loadu_si128(p + 2);
      const __m128i v3 = _mm_loadu_si128(p + 3);
      a = _mm_add_epi64(a, _mm_add_epi64(_mm_and_si128(v0, low_words), _mm_srli_epi64(v0, 32)));
      b = _mm_add_epi64(b, _mm_add_epi64(_mm_and_si128(v1, low_words), _mm_srli_epi64(v1, 32)));
      a = _mm_add_epi64(a, _mm_add_epi64(_mm_and_si128(v2, low_words), _mm_srli_epi64(v2, 32)));
      b = _mm_add_epi64(b, _mm_add_epi64(_mm_and_si128(v3, low_words), _mm_srli_epi64(v3, 32)));
      octets += 64;
      size -= 64;
    } while (size >= 64);
    alignas(16) std::uint64_t lanes[2];
    _mm_store_si128(reinterpret_cast<__m128i*>(lanes), _mm_add_epi64(a, b));
    sum += lanes[0] + lanes[1];
  }
#endif
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
