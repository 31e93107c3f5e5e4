#include "dataplane/base/vectors.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

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
  const std::string_view name = text == nullptr ? "" : text;
  if (name == "none") return Vectors::none;
  if (name == "avx2") return Vectors::avx2;
  if (name == "avx512") return Vectors::avx512;
  return Vectors::avx512vbmi;
}

}  // namespace

const Vectors detail::kVectors = std::min(of_cpu(), allowed());

}  // namespace sluice
