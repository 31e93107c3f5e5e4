#include "dataplane/scan/spam_judge.h"

#include <algorithm>

#include "dataplane/scan/spam_rules.h"

namespace sluice::scan {

namespace {

constexpr double kUnbounded = 1e15;

// Words from `at` on that are a test, or not that, in a conjunction with what is before; or 0.
std::size_t conjunct(std::span<const std::uint32_t> program, std::size_t at) {
  const auto is = [&](std::size_t word, MetaOperation operation) {
    return word < program.size() && program[word] >> 24 == static_cast<std::uint32_t>(operation);
  };
  if (!is(at, MetaOperation::test)) return 0;
  const std::size_t words = is(at + 1, MetaOperation::logical_not) ? 3 : 2;
  return is(at + words - 1, MetaOperation::logical_and) ? words : 0;
}

}  // namespace

void SpamJudgeScratch::reserve(const SpamRules& rules) {
  const std::span<const double> baseline = rules.baseline();
  tests.assign(baseline.size(), {});
  dirty.assign((baseline.size() + 63) / 64, 0);
  sure.assign(dirty.size(), 0);
  maybe.assign(dirty.size(), 0);
  for (std::uint32_t i = 0; i < baseline.size(); ++i) reset(i, baseline[i]);
  touched.clear();
  touched.reserve(baseline.size());
}

void SpamJudgeScratch::reset(std::uint32_t test, double baseline) {
  tests[test] = {.low = baseline, .high = baseline};
  set_bit(sure, test, baseline != 0);
  set_bit(maybe, test, baseline != 0);
}

SpamJudge::SpamJudge(const SpamRules& rules, SpamJudgeScratch& scratch, bool outbound)
    : rules_(rules), scratch_(scratch), outbound_(outbound) {
  const std::span<const double> baseline = rules.baseline();
  for (const std::uint32_t test : scratch_.touched) scratch_.reset(test, baseline[test]);
  scratch_.touched.clear();
  for (const std::uint32_t meta : rules.baseline_hits()) {
    if (off(meta)) scratch_.dirty[meta / 64] |= std::uint64_t{1} << (meta % 64);
  }
}

bool SpamJudge::rules_off(std::uint32_t test) const {
  return (rules_.tests()[test].flags & kTestNotOutbound) != 0;
}

inline void SpamJudge::put(std::uint32_t test, const Range& range, bool sure) {
  Range& of = scratch_.tests[test];
  if (!of.touched) scratch_.touched.push_back(test);
  of = range;
  of.touched = true;
  SpamJudgeScratch::set_bit(scratch_.sure, test, sure);
  SpamJudgeScratch::set_bit(scratch_.maybe, test, range.high != 0);
}

void SpamJudge::set(std::uint32_t test, double value) {
  if (!off(test)) put(test, {.low = value, .high = value}, value != 0);
}

void SpamJudge::open(std::uint32_t test, double least, double most, std::uint32_t cost) {
  if (!off(test))
    put(test, {.low = least, .high = most, .cost = cost, .open = least < most}, least > 0);
}

void SpamJudge::mark_dependents(std::uint32_t test) {
  for (const std::uint32_t meta : rules_.dependents(test))
    scratch_.dirty[meta / 64] |= std::uint64_t{1} << (meta % 64);
}

[[gnu::always_inline]] inline std::uint32_t SpamJudge::cheaper(std::uint32_t a,
                                                               std::uint32_t b) const {
  if (a == kNone) return b;
  if (b == kNone) return a;
  return scratch_.tests[b].cost < scratch_.tests[a].cost ? b : a;
}

[[gnu::always_inline]] inline SpamJudge::Operand SpamJudge::both(const Operand& a,
                                                                 const Operand& b) const {
  if (a.zero() || b.zero()) return {0, 0, false, kNone};
  if (a.sure) return b;
  return {std::min(0.0, b.low), std::max(0.0, b.high), false, cheaper(a.ask, b.ask)};
}

[[gnu::always_inline]] inline SpamJudge::Operand SpamJudge::either(const Operand& a,
                                                                   const Operand& b) const {
  if (a.zero()) return b;
  if (a.sure || b.zero()) return a;
  return {std::min(a.low, b.low), std::max(a.high, b.high), b.sure, cheaper(a.ask, b.ask)};
}

[[gnu::always_inline]] inline SpamJudge::Operand SpamJudge::negation(const Operand& a) {
  if (a.zero()) return {1, 1, true, kNone};
  if (a.sure) return {0, 0, false, kNone};
  return {0, 1, false, a.ask};
}

SpamJudge::Operand SpamJudge::arithmetic(std::uint32_t code, const Operand& a,
                                         const Operand& b) const {
  const auto operation = static_cast<MetaOperation>(code);
  if (a.known() && b.known()) {
    const double value = SpamRules::apply(operation, a.low, b.low);
    return {value, value, value != 0, kNone};
  }
  const std::uint32_t ask = cheaper(a.ask, b.ask);
  const auto compared = [&](bool always, bool never) -> Operand {
    if (always) return {1, 1, true, kNone};
    if (never) return {0, 0, false, kNone};
    return {0, 1, false, ask};
  };
  const bool apart = a.high < b.low || b.high < a.low;
  switch (operation) {
    case MetaOperation::add: {
      const bool counts = a.low >= 0 && b.low >= 0 && (a.sure || b.sure);
      const double low = a.low + b.low;
      const double high = a.high + b.high;
      return {low, high, counts || low > 0 || high < 0, ask};
    }
    case MetaOperation::subtract: {
      const double low = a.low - b.high;
      const double high = a.high - b.low;
      return {low, high, low > 0 || high < 0, ask};
    }
    case MetaOperation::multiply: {
      const auto [low, high] =
          std::minmax({a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high});
      return {low, high, low > 0 || high < 0, ask};
    }
    case MetaOperation::less:
      return compared(a.high < b.low, a.low >= b.high);
    case MetaOperation::less_equal:
      return compared(a.high <= b.low, a.low > b.high);
    case MetaOperation::greater:
      return compared(a.low > b.high, a.high <= b.low);
    case MetaOperation::greater_equal:
      return compared(a.low >= b.high, a.high < b.low);
    case MetaOperation::equal:
      return compared(false, apart);
    case MetaOperation::not_equal:
      return compared(apart, false);
    default:
      return {-kUnbounded, kUnbounded, false, ask};
  }
}

SpamJudge::Operand SpamJudge::compute(std::uint32_t meta) const {
  if (off(meta)) return {0, 0, false, kNone};
  Operand stack[kMetaStack];
  std::size_t depth = 0;
  const auto add = [this](Operand& sum, const Operand& more) {
    // Sums of many tests are sums of zeros.
    if (more.zero() && sum.low >= 0) return;
    if (sum.zero() && more.low >= 0) {
      sum = more;
    } else {
      sum = arithmetic(static_cast<std::uint32_t>(MetaOperation::add), sum, more);
    }
  };
  const auto value_of = [this](std::uint32_t test) -> Operand {
    const Range& range = scratch_.tests[test];
    return {range.low, range.high, scratch_.is_sure(test), range.open ? test : kNone};
  };
  constexpr auto kTest = static_cast<std::uint32_t>(MetaOperation::test);
  const std::span<const std::uint32_t> program = rules_.program(meta);  // checked at load
  for (std::size_t i = 0; i < program.size(); ++i) {
    const std::uint32_t word = program[i];
    const std::uint32_t operand = word & 0xffffff;
    switch (static_cast<MetaOperation>(word >> 24)) {
      case MetaOperation::test: {
        // What is done with it mostly follows at once: that needs no second jump. In sums and lists
        // of ways most are 0.
        const auto next = i + 1 < program.size() ? static_cast<MetaOperation>(program[i + 1] >> 24)
                                                 : MetaOperation::test;
        if (next == MetaOperation::logical_or || next == MetaOperation::add) {
          Operand& sum = stack[depth - 1];
          do {
            const std::uint32_t test = program[i] & 0xffffff;
            i += 2;
            if (!scratch_.may_be(test) && sum.low >= 0) continue;
            if (next == MetaOperation::add) {
              add(sum, value_of(test));
            } else {
              sum = either(sum, value_of(test));
            }
          } while (i + 1 < program.size() && program[i] >> 24 == kTest &&
                   program[i + 1] >> 24 == program[i - 1] >> 24);
          --i;
        } else if (conjunct(program, i) > 0) {
          Operand& all = stack[depth - 1];
          std::size_t words;
          while ((words = conjunct(program, i)) > 0) {
            const Operand one = value_of(program[i] & 0xffffff);
            all = both(all, words == 3 ? negation(one) : one);
            i += words;
          }
          --i;
        } else {
          stack[depth++] = value_of(operand);
        }
        break;
      }
      case MetaOperation::need:
        if (!scratch_.may_be(operand)) return {0, 0, false, kNone};
        break;
      case MetaOperation::unless:
        if (scratch_.is_sure(operand)) return {0, 0, false, kNone};
        break;
      case MetaOperation::number: {
        const double value = rules_.number(operand);
        stack[depth++] = {value, value, value != 0, kNone};
        break;
      }
      case MetaOperation::negate: {
        Operand& top = stack[depth - 1];
        top = {-top.high, -top.low, top.sure, top.ask};
        break;
      }
      case MetaOperation::logical_not: {
        stack[depth - 1] = negation(stack[depth - 1]);
        break;
      }
      case MetaOperation::choose: {
        depth -= 2;
        const Operand condition = stack[depth - 1];
        const Operand& yes = stack[depth];
        const Operand& no = stack[depth + 1];
        if (condition.sure || condition.zero()) {
          stack[depth - 1] = condition.sure ? yes : no;
        } else {
          stack[depth - 1] = {std::min(yes.low, no.low), std::max(yes.high, no.high),
                              yes.sure && no.sure, condition.ask};
        }
        break;
      }
      case MetaOperation::logical_and:
        --depth;
        stack[depth - 1] = both(stack[depth - 1], stack[depth]);
        break;
      case MetaOperation::logical_or:
        --depth;
        stack[depth - 1] = either(stack[depth - 1], stack[depth]);
        break;
      case MetaOperation::add:
        --depth;
        add(stack[depth - 1], stack[depth]);
        break;
      default:
        --depth;
        stack[depth - 1] = arithmetic(word >> 24, stack[depth - 1], stack[depth]);
        break;
    }
  }
  Operand result = stack[0];
  // What hits counts at least something.
  if (result.high < 0) return {1, 1, true, kNone};
  if (result.low < 0) {
    result.low = 0;
    result.high = std::max(result.high, 1.0);
  }
  return result;
}

void SpamJudge::note(std::uint32_t meta, const Operand& found) {
  put(meta,
      {.low = found.low,
       .high = found.high,
       .cost = found.ask == kNone ? 0 : scratch_.tests[found.ask].cost,
       .open = !found.known() && found.ask != kNone},
      found.sure);
}

// `exactly`: its value, else only whether it is 0.
void SpamJudge::ask(std::uint32_t test, Witness& witness, bool exactly) {
  auto& asking = scratch_.asking;
  asking.assign(1, test);
  while (!asking.empty()) {
    const std::uint32_t top = asking.back();
    if (rules_.tests()[top].kind != TestKind::meta) {
      if (scratch_.tests[top].open) set(top, witness.answer(top));
      asking.pop_back();
      continue;
    }
    const bool was_sure = scratch_.is_sure(top);
    const Operand found = compute(top);
    note(top, found);
    // A part that was known not to be 0 and is asked for all the same must be known exactly.
    const bool enough = asking.size() == 1 && !exactly && found.sure;
    const bool more = asking.size() > 1 && found.sure && !was_sure;
    if (!scratch_.tests[top].open || enough || more) {
      asking.pop_back();
      continue;
    }
    asking.push_back(found.ask);
  }
}

void SpamJudge::decide(Witness& witness, bool everything) {
  const auto tests = rules_.tests();
  const auto wanted = [&](std::uint32_t test) {
    return everything || (tests[test].flags & kTestSub) == 0;
  };
  for (std::size_t i = 0; i < scratch_.touched.size(); ++i) {
    const std::uint32_t test = scratch_.touched[i];
    if (scratch_.tests[test].open && wanted(test)) set(test, witness.answer(test));
    const Range& range = scratch_.tests[test];
    if (range.open || range.high != 0) mark_dependents(test);
  }
  // In order, so that what a meta is computed from is known before it, as far as it is.
  auto& dirty = scratch_.dirty;
  const std::span<const double> baseline = rules_.baseline();
  for (std::size_t word = 0; word < dirty.size(); ++word) {
    while (dirty[word] != 0) {
      const int bit = std::countr_zero(dirty[word]);
      dirty[word] &= dirty[word] - 1;
      const auto meta = static_cast<std::uint32_t>(word * 64 + static_cast<std::size_t>(bit));
      const Operand found = compute(meta);
      if (found.known() && found.low == baseline[meta]) continue;
      note(meta, found);
      mark_dependents(meta);
    }
  }
  for (std::size_t i = 0; i < scratch_.touched.size(); ++i) {
    const std::uint32_t test = scratch_.touched[i];
    if (scratch_.tests[test].open && wanted(test)) ask(test, witness, everything);
  }
}

}  // namespace sluice::scan
