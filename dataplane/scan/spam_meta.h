// The expressions of metas: SpamAssassin's metas compute a number from how often other tests hit.
//
// A program is for a stack machine: words of `operation << 24 | operand`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::scan {

// Wire format: append, never renumber.
enum class MetaOperation : std::uint8_t {
  test,    // push the value of test `operand`
  number,  // push constant `operand`
  add,
  subtract,
  multiply,
  divide,
  negate,
  logical_not,
  logical_and,  // as Perl's: one of the operands
  logical_or,
  exclusive_or,
  less,
  less_equal,
  greater,
  greater_equal,
  equal,
  not_equal,
  choose,  // a ? b : c
  // Made at load, never in an image: push what is known of number `operand` (scan/spam_formulas.h).
  counted,
};
// Values that a program has on its stack at most.
inline constexpr std::size_t kMetaStack = 64;

constexpr std::uint32_t meta_word(MetaOperation operation, std::uint32_t operand = 0) {
  return static_cast<std::uint32_t>(operation) << 24 | operand;
}
constexpr MetaOperation meta_operation(std::uint32_t word) {
  return static_cast<MetaOperation>(word >> 24);
}
constexpr std::uint32_t meta_operand(std::uint32_t word) { return word & 0xffffff; }

// How many values an operation takes (0 to 3); it gives one.
std::size_t meta_operands(MetaOperation operation);

// An operation with two values, as Perl has it.
double apply_meta(MetaOperation operation, double a, double b);

// What a program gives. It must be checked: of one value at its end, of kMetaStack at most, with
// operands inside `numbers` and `values` (of tests, 0 or more). A meta that hits counts at least
// something: below 0 it is 1.
double evaluate_meta(std::span<const std::uint32_t> program, std::span<const double> numbers,
                     std::span<const double> values);

}  // namespace sluice::scan
