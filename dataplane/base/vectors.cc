#include "dataplane/base/vectors.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace sluice {

namespace {

Vectors of_cpu() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2")) return Vectors::none;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw"))
    return Vectors::avx2;
  if (!__builtin_cpu_supports("avx512vbmi") || !__builtin_cpu_supports("avx512vbmi2"))
    return Vectors::avx512;
  return Vectors::avx512vbmi;
#else
  return Vectors::none;
#endif
}

Vectors allowed() {
  const char* const text = std::getenv("SLUICE_VECTORS");
  if (text == nullptr) return Vectors::avx512vbmi;
  const std::optional<Vectors> named = detail::vectors_named(text);
  if (!named)
    std::fprintf(stderr, "SLUICE_VECTORS=%s: not none, avx2, avx512 or avx512vbmi; ignored\n",
                 text);
  return named.value_or(Vectors::avx512vbmi);
}

}  // namespace

std::optional<Vectors> detail::vectors_named(std::string_view name) {
  if (name == "none") return Vectors::none;
  if (name == "avx2") return Vectors::avx2;
  if (name == "avx512") return Vectors::avx512;
  if (name == "avx512vbmi") return Vectors::avx512vbmi;
  return std::nullopt;
}

Vectors detail::vectors = std::min(of_cpu(), allowed());

void detail::use_vectors(Vectors most) { vectors = std::min(of_cpu(), most); }

}  // namespace sluice
