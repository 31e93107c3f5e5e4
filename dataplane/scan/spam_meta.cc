#include "dataplane/scan/spam_meta.h"

namespace sluice::scan {

namespace {

std::int64_t whole(double value) {
  constexpr double kMost = 9e18;
  if (!(value > -kMost && value < kMost)) return 0;
  return static_cast<std::int64_t>(value);
}

}  // namespace

std::size_t meta_operands(MetaOperation operation) {
  switch (operation) {
    case MetaOperation::test:
    case MetaOperation::number:
      return 0;
    case MetaOperation::negate:
    case MetaOperation::logical_not:
      return 1;
    case MetaOperation::choose:
      return 3;
    default:
      return 2;
  }
}

double apply_meta(MetaOperation operation, double a, double b) {
  switch (operation) {
    case MetaOperation::add:
      return a + b;
    case MetaOperation::subtract:
      return a - b;
    case MetaOperation::multiply:
      return a * b;
    case MetaOperation::divide:
      return b == 0 ? 0 : a / b;  // SpamAssassin's rule dies, which counts as no hit
    case MetaOperation::logical_and:
      return a != 0 ? b : a;
    case MetaOperation::logical_or:
      return a != 0 ? a : b;
    case MetaOperation::exclusive_or:
      return static_cast<double>(whole(a) ^ whole(b));
    case MetaOperation::less:
      return a < b;
    case MetaOperation::less_equal:
      return a <= b;
    case MetaOperation::greater:
      return a > b;
    case MetaOperation::greater_equal:
      return a >= b;
    case MetaOperation::equal:
      return a == b;
    case MetaOperation::not_equal:
      return a != b;
    default:
      return 0;
  }
}

double evaluate_meta(std::span<const std::uint32_t> program, std::span<const double> numbers,
                     std::span<const double> values) {
  double stack[kMetaStack]{};
  std::size_t depth = 0;
  for (const std::uint32_t word : program) {
    const MetaOperation operation = meta_operation(word);
    switch (operation) {
      case MetaOperation::test:
        stack[depth++] = values[meta_operand(word)];
        break;
      case MetaOperation::number:
        stack[depth++] = numbers[meta_operand(word)];
        break;
      case MetaOperation::negate:
        stack[depth - 1] = -stack[depth - 1];
        break;
      case MetaOperation::logical_not:
        stack[depth - 1] = stack[depth - 1] == 0;
        break;
      case MetaOperation::choose:
        depth -= 2;
        stack[depth - 1] = stack[depth - 1] != 0 ? stack[depth] : stack[depth + 1];
        break;
      default:
        --depth;
        stack[depth - 1] = apply_meta(operation, stack[depth - 1], stack[depth]);
        break;
    }
  }
  return stack[0] < 0 ? 1 : stack[0];
}

}  // namespace sluice::scan
