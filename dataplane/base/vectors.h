// Which vector instructions a function may choose at run time.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice {

// Each has all of those before it.
enum class Vectors : std::uint8_t {
  none,  // what the whole program is compiled for
  avx2,
  avx512,      // F and BW
  avx512vbmi,  // VBMI and VBMI2
};

namespace detail {
// `none` until the program's start has found out.
extern Vectors vectors;
// For tests that go all ways: those of this CPU up to `most`. While no other thread runs.
void use_vectors(Vectors most);
std::optional<Vectors> vectors_named(std::string_view name);
}  // namespace detail

// Those of this CPU; fewer where the environment's SLUICE_VECTORS names a lesser one by its name
// here (another word is complained of and ignored): the other ways, to be tested and measured on
// any machine. Any thread.
inline bool has(Vectors wanted) { return detail::vectors >= wanted; }

}  // namespace sluice
