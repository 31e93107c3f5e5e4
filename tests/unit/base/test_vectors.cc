#include <gtest/gtest.h>

#include <cstdlib>
#include <string_view>

#include "dataplane/base/vectors.h"

namespace sluice {
namespace {

// Without this, tests that ask for the ways of lesser CPUs could all go the same.
TEST(Vectors, AsManyAsTheCpuHasAndTheEnvironmentAllows) {
  const char* const text = std::getenv("SLUICE_VECTORS");
  const std::string_view most = text == nullptr ? "" : text;
  EXPECT_TRUE(has(Vectors::none));
#if defined(__x86_64__)
  EXPECT_EQ(has(Vectors::avx2), __builtin_cpu_supports("avx2") && most != "none");
  EXPECT_EQ(has(Vectors::avx512),
            __builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512f") &&
                __builtin_cpu_supports("avx512bw") && most != "none" && most != "avx2");
#else
  EXPECT_FALSE(has(Vectors::avx2));
#endif
}

TEST(Vectors, AreNamedAsTheyAreSpelt) {
  EXPECT_EQ(detail::vectors_named("none"), Vectors::none);
  EXPECT_EQ(detail::vectors_named("avx2"), Vectors::avx2);
  EXPECT_EQ(detail::vectors_named("avx512"), Vectors::avx512);
  EXPECT_EQ(detail::vectors_named("avx512vbmi"), Vectors::avx512vbmi);
  for (const char* const other : {"", "AVX2", "avx", "avx22", "0"})
    EXPECT_EQ(detail::vectors_named(other), std::nullopt) << other;
}

}  // namespace
}  // namespace sluice
