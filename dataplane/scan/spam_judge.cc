#include "dataplane/scan/spam_judge.h"

#include <algorithm>
#include <bit>

#include "dataplane/scan/spam_rules.h"

namespace sluice::scan {

namespace {

constexpr double kUnbounded = 1e15;

}  // namespace

void SpamJudgeScratch::reserve(const SpamRules& rules) {
  const SpamFormulas& formulas = rules.formulas();
  known.assign(formulas.initial().begin(), formulas.initial().end());
  missing.assign(formulas.missing().begin(), formulas.missing().end());
  complete.assign(formulas.complete().begin(), formulas.complete().end());
  numbers.assign(formulas.counted().size(), {});
  values.assign(rules.tests().size(), 0);
  opened.reserve(rules.tests().size());
  hits.reserve(rules.tests().size());
  asking.reserve(formulas.metas());
}

SpamJudge::SpamJudge(const SpamRules& rules, SpamJudgeScratch& scratch, bool outbound,
                     bool everything)
    : rules_(rules),
      formulas_(rules.formulas()),
      scratch_(scratch),
      outbound_(outbound),
      everything_(everything) {
  scratch_.known.assign(formulas_.initial().begin(), formulas_.initial().end());
  scratch_.missing.assign(formulas_.missing().begin(), formulas_.missing().end());
  scratch_.complete.assign(formulas_.complete().begin(), formulas_.complete().end());
  scratch_.numbers.assign(scratch_.numbers.size(), {});
  scratch_.opened.clear();
  scratch_.hits.clear();
  for (std::size_t need = 0; need < kSpamNeedCount; ++need) {
    if (need > 0 && !everything) break;
    for (const std::uint32_t test : rules.evals(static_cast<SpamNeed>(need))) {
      if (off(test)) {
        put(test, kNo);
      } else if (everything || (formulas_.flags(test) & SpamFormulas::kReported) != 0) {
        scratch_.opened.push_back(test);
      }
    }
  }
}

// --- what is known -------------------------------------------------------------------------------

// A fact is no longer no.
inline void SpamJudge::count_down(std::uint32_t fact) {
  std::uint8_t* const missing = scratch_.missing.data();
  for (std::uint32_t count : formulas_.watches(fact)) {
    if (--missing[count] != 0) continue;
    if (count >= formulas_.metas()) {
      count = formulas_.meta_of_part(count);
      if (--missing[count] != 0) continue;
    }
    scratch_.complete[count / 64] |= std::uint64_t{1} << count % 64;
  }
}

inline void SpamJudge::put(std::uint32_t fact, Known known) {
  Known& place = scratch_.known[SpamFormulas::literal(fact)];
  if (place == kNo && known != kNo) count_down(fact);
  place = known;
  scratch_.known[SpamFormulas::literal(fact, true)] = opposite(known);
  if (known == kYes && (formulas_.flags(fact) & SpamFormulas::kReported) != 0)
    scratch_.hits.push_back(fact);
}

inline void SpamJudge::put_number(std::uint32_t test, double low, double high) {
  if ((formulas_.flags(test) & SpamFormulas::kCounted) != 0)
    scratch_.numbers[formulas_.number_of(test)] = {low, high};
}

void SpamJudge::set(std::uint32_t test, double value) {
  if (off(test)) return;
  put(test, value != 0 ? kYes : kNo);
  put_number(test, value, value);
  if (everything_) scratch_.values[test] = value;
}

void SpamJudge::open(std::uint32_t test, double least, double most) {
  if (off(test)) return;
  const bool asked = everything_ || (formulas_.flags(test) & SpamFormulas::kReported) != 0;
  if (asked) scratch_.opened.push_back(test);
  if (asked && least == 0) return;  // nobody looks at it before
  put(test, least > 0 ? kYes : kOpen);
  put_number(test, least, most);
}

void SpamJudge::open(SpamNeed need) {
  if (everything_) return;  // they are
  for (const std::uint32_t test : rules_.evals(need)) open(test, 0, 1);
}

// --- asking --------------------------------------------------------------------------------------

void SpamJudge::ask(std::uint32_t test) {
  const bool counted = (formulas_.flags(test) & SpamFormulas::kCounted) != 0;
  std::uint32_t enough = everything_ ? UINT32_MAX : 1;
  if (counted && !everything_) enough = formulas_.counted()[formulas_.number_of(test)].enough;
  const double value = witness_->answer(test, enough);
  put(test, value != 0 ? kYes : kNo);
  if (counted) scratch_.numbers[formulas_.number_of(test)] = {value, value};
  if (everything_) scratch_.values[test] = value;
}

void SpamJudge::decide(Witness& witness) {
  witness_ = &witness;
  for (const std::uint32_t test : scratch_.opened) ask(test);
  if (everything_) return decide_everything();
  look_at_metas();
  auto& hits = scratch_.hits;
  std::ranges::sort(hits);
  hits.erase(std::unique(hits.begin(), hits.end()), hits.end());
  std::erase_if(hits, [this](std::uint32_t test) {
    return scratch_.known[SpamFormulas::literal(test)] != kYes;
  });
}

// Expressions as they stand.
void SpamJudge::decide_everything() {
  scratch_.hits.clear();
  for (std::uint32_t test = 0; test < scratch_.values.size(); ++test) {
    double& value = scratch_.values[test];
    if (rules_.tests()[test].kind == TestKind::meta) {
      value = off(test) ? 0 : rules_.evaluate(test, scratch_.values);
    } else if (scratch_.known[SpamFormulas::literal(test)] == kNo) {
      value = 0;  // of another message
    }
    if (value != 0) scratch_.hits.push_back(test);
  }
}

void SpamJudge::look_at_metas() {
  for (std::size_t i = 0; i < scratch_.complete.size(); ++i) {
    // Looking at one may complete others behind it.
    while (scratch_.complete[i] != 0) {
      const auto bit = static_cast<std::uint32_t>(std::countr_zero(scratch_.complete[i]));
      scratch_.complete[i] &= scratch_.complete[i] - 1;
      const std::uint32_t meta = static_cast<std::uint32_t>(i) * 64 + bit;
      const std::uint32_t fact = *formulas_.words(meta);
      if (off(fact)) continue;
      if ((formulas_.flags(fact) & SpamFormulas::kReported) != 0) {
        decide(meta);
        continue;
      }
      const Known known = look<false>(meta).known;
      if (known != kNo) put(fact, known);
    }
  }
}

// Asks until a meta is decided. A part that is a meta is decided wholly, once it is begun.
void SpamJudge::decide(std::uint32_t meta) {
  auto& asking = scratch_.asking;
  asking.assign(1, meta);
  while (!asking.empty()) {
    const std::uint32_t top = asking.back();
    Found found = look<true>(top);
    if (found.known == kOpen) {
      const std::uint32_t fact = found.ask / 2;
      if ((formulas_.flags(fact) & SpamFormulas::kMeta) != 0) {
        asking.push_back(formulas_.meta_of(fact));
        continue;
      }
      ask(fact);
      if (!found.vital || scratch_.known[found.ask] != kNo) continue;
      found.known = kNo;
    }
    put(*formulas_.words(top), found.known);
    asking.pop_back();
  }
}

std::uint32_t SpamJudge::cost(std::uint32_t fact) const {
  constexpr std::uint32_t kMetaCost = 1000;  // whatever it asks
  if ((formulas_.flags(fact) & SpamFormulas::kMeta) != 0) return kMetaCost;
  return witness_->cost(fact);
}

// --- formulas ------------------------------------------------------------------------------------

// `found` depends on `other` too, when that is open.
template <bool kAsks>
[[gnu::always_inline]] inline void SpamJudge::depend(Found& found, const Found& other) const {
  if (!kAsks || other.known != kOpen) return;
  if (found.known != kOpen) {
    found.vital = other.vital;
    found.ask = other.ask;
    found.cost = other.cost;
    return;
  }
  if (found.cost == kUnknownCost) found.cost = cost(found.ask / 2);
  const std::uint32_t its = other.cost == kUnknownCost ? cost(other.ask / 2) : other.cost;
  if (its >= found.cost) return;
  found.vital = other.vital;
  found.ask = other.ask;
  found.cost = its;
}

template <bool kAsks>
SpamJudge::Found SpamJudge::look(std::uint32_t meta) {
  using Step = SpamFormulas::Step;
  const Known* const known = scratch_.known.data();
  Found whole = kFoundYes;
  const std::uint32_t* at = formulas_.words(meta) + SpamFormulas::kHeadWords;
  const std::uint32_t* const literals = at;
  for (const std::uint32_t* const end = at + at[-1]; at != end; ++at) {
    if (known[*at] == kNo) return kFoundNo;
    whole.known &= known[*at];
  }
  if (kAsks && whole.known == kOpen) {
    whole.known = kYes;
    for (const std::uint32_t* one = literals; one != at; ++one) {
      depend<kAsks>(whole, {known[*one], true, *one, kUnknownCost});
      whole.known &= known[*one];
    }
  }
  Found stack[kMetaStack];  // as deep as the logarithm of the formula, about
  Found* top = stack;
  // How many are open, when it is.
  const auto any = [&](Found& of, std::size_t count) {
    std::uint32_t open = 0;
    const std::uint32_t* const end = at + count;
    for (; at != end && of.known != kYes; ++at) {
      const Known one = known[*at];
      depend<kAsks>(of, {one, false, *at, kUnknownCost});
      of.known |= one;
      static_assert(kNo == 0 && kOpen == 1);
      open += one;
    }
    at = end;
    return open;
  };
  for (;;) {
    const std::uint32_t word = *at++;
    const std::size_t operand = word & 0xffffff;
    switch (static_cast<Step>(word >> 24)) {
      case Step::end:
        return whole;
      case Step::one_of: {
        Found one = kFoundNo;
        one.vital = any(one, operand) == 1;
        if (one.known == kNo) return one;
        depend<kAsks>(whole, one);
        whole.known &= one.known;
        break;
      }
      case Step::yes:
        (++top)->known = kYes;
        break;
      case Step::no:
        (++top)->known = kNo;
        break;
      case Step::all: {
        const std::uint32_t* const end = at + operand;
        for (; at != end && top->known != kNo; ++at) {
          const Known one = known[*at];
          depend<kAsks>(*top, {one, false, *at, kUnknownCost});
          top->known &= one;
        }
        at = end;
        break;
      }
      case Step::any:
        any(*top, operand);
        break;
      case Step::both: {
        const Found& upper = *top--;
        Found& lower = top == stack ? whole : *top;
        depend<kAsks>(lower, upper);
        lower.known &= upper.known;
        if (whole.known == kNo) return whole;
        break;
      }
      case Step::either: {
        const Found& upper = *top--;
        depend<kAsks>(*top, upper);
        top->known |= upper.known;
        break;
      }
      case Step::sum:
      case Step::not_sum:
        *++top = sum<kAsks>(at, operand);
        if (static_cast<Step>(word >> 24) == Step::not_sum) top->known = opposite(top->known);
        at += SpamFormulas::kSumWords + operand + *at;
        break;
      case Step::value:
      case Step::not_value: {
        const Operand value = number({at, operand});
        *++top = {value.known(), false, SpamFormulas::literal(value.ask), kUnknownCost};
        if (static_cast<Step>(word >> 24) == Step::not_value) top->known = opposite(top->known);
        at += operand;
        break;
      }
      case Step::store:
        return store(at, static_cast<std::uint32_t>(operand));
    }
  }
}

// Of a meta whose number others need: open until that is known.
SpamJudge::Found SpamJudge::store(const std::uint32_t* words, std::uint32_t at) {
  Operand found = number({words + 1, words[0] & 0xffffff});
  // What hits counts at least something.
  if (found.high < 0) {
    found = {1, 1, true, kNone};
  } else if (found.low < 0) {
    found.low = 0;
    found.high = std::max(found.high, 1.0);
  }
  scratch_.numbers[at] = {found.low, found.high};
  if (found.fixed() || found.ask == kNone) return {found.known(), false, kNone, kUnknownCost};
  return {kOpen, false, SpamFormulas::literal(found.ask), kUnknownCost};
}

template <bool kAsks>
SpamJudge::Found SpamJudge::sum(const std::uint32_t* words, std::size_t literals) const {
  const std::span of(words + SpamFormulas::kSumWords, literals);
  const std::span counted(of.data() + literals, words[0]);
  const std::uint32_t least = words[1];
  const std::uint32_t most = words[2];
  std::uint64_t sure = 0;
  std::uint64_t may = 0;
  for (const std::uint32_t literal : of) {
    const Known one = scratch_.known[literal];
    sure += one >> 1;
    may += one & 1;
  }
  auto low = static_cast<double>(sure);
  auto high = static_cast<double>(may);
  for (const std::uint32_t number : counted) {
    low += scratch_.numbers[number].low;
    high += scratch_.numbers[number].high;
  }
  const bool ended = most != SpamFormulas::kNoEnd;
  if (high < least || (ended && low > most)) return kFoundNo;
  if (low >= least && (!ended || high <= most)) return kFoundYes;
  if (!kAsks) return {kOpen, false, kNone, kUnknownCost};
  Found found = kFoundNo;
  const auto take = [&](std::uint32_t fact) {
    depend<kAsks>(found, {kOpen, false, SpamFormulas::literal(fact), kUnknownCost});
    found.known = kOpen;
  };
  for (const std::uint32_t literal : of) {
    if (scratch_.known[literal] == kOpen) take(literal / 2);
  }
  for (const std::uint32_t number : counted) {
    if (scratch_.numbers[number].low != scratch_.numbers[number].high)
      take(formulas_.counted()[number].fact);
  }
  return found;
}

// --- numbers -------------------------------------------------------------------------------------

std::uint32_t SpamJudge::cheaper(std::uint32_t a, std::uint32_t b) const {
  if (a == kNone || b == kNone) return a == kNone ? b : a;
  return cost(b) < cost(a) ? b : a;
}

SpamJudge::Operand SpamJudge::both(const Operand& a, const Operand& b) const {
  if (a.zero() || b.zero()) return {0, 0, false, kNone};
  if (a.sure) return b;
  return {std::min(0.0, b.low), std::max(0.0, b.high), false, cheaper(a.ask, b.ask)};
}

SpamJudge::Operand SpamJudge::either(const Operand& a, const Operand& b) const {
  if (a.zero()) return b;
  if (a.sure || b.zero()) return a;
  return {std::min(a.low, b.low), std::max(a.high, b.high), b.sure, cheaper(a.ask, b.ask)};
}

SpamJudge::Operand SpamJudge::negation(const Operand& a) {
  if (a.zero()) return {1, 1, true, kNone};
  if (a.sure) return {0, 0, false, kNone};
  return {0, 1, false, a.ask};
}

SpamJudge::Operand SpamJudge::arithmetic(MetaOperation operation, const Operand& a,
                                         const Operand& b) const {
  if (a.fixed() && b.fixed()) {
    const double value = apply_meta(operation, a.low, b.low);
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

SpamJudge::Operand SpamJudge::number(std::span<const std::uint32_t> program) const {
  Operand stack[kMetaStack + 1];
  std::size_t top = 0;  // the first place stays free
  for (const std::uint32_t word : program) {
    const std::uint32_t operand = meta_operand(word);
    switch (meta_operation(word)) {
      case MetaOperation::test: {  // 0 or 1
        const Known known = scratch_.known[operand];
        stack[++top] = {known == kYes ? 1.0 : 0.0, known == kNo ? 0.0 : 1.0, known == kYes,
                        known == kOpen ? operand / 2 : kNone};
        break;
      }
      case MetaOperation::counted: {
        const SpamJudgeScratch::Range& range = scratch_.numbers[operand];
        const std::uint32_t fact = formulas_.counted()[operand].fact;
        stack[++top] = {range.low, range.high, scratch_.known[SpamFormulas::literal(fact)] == kYes,
                        range.low != range.high ? fact : kNone};
        break;
      }
      case MetaOperation::number: {
        const double value = formulas_.constant(operand);
        stack[++top] = {value, value, value != 0, kNone};
        break;
      }
      case MetaOperation::negate:
        stack[top] = {-stack[top].high, -stack[top].low, stack[top].sure, stack[top].ask};
        break;
      case MetaOperation::logical_not:
        stack[top] = negation(stack[top]);
        break;
      case MetaOperation::choose: {
        top -= 2;
        const Operand condition = stack[top];
        const Operand& yes = stack[top + 1];
        const Operand& no = stack[top + 2];
        if (condition.sure || condition.zero()) {
          stack[top] = condition.sure ? yes : no;
        } else {
          stack[top] = {std::min(yes.low, no.low), std::max(yes.high, no.high), yes.sure && no.sure,
                        condition.ask};
        }
        break;
      }
      case MetaOperation::logical_and:
        --top;
        stack[top] = both(stack[top], stack[top + 1]);
        break;
      case MetaOperation::logical_or:
        --top;
        stack[top] = either(stack[top], stack[top + 1]);
        break;
      default:
        --top;
        stack[top] = arithmetic(meta_operation(word), stack[top], stack[top + 1]);
        break;
    }
  }
  return stack[top];
}

}  // namespace sluice::scan
