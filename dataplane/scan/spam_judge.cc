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
  numbers.assign(formulas.counted().size(), {});
  values.assign(rules.tests().size(), 0);
  costs.assign(formulas.facts(), 0);
  opened.reserve(rules.tests().size());
  open.reserve(formulas.metas().size());
  hits.reserve(rules.tests().size());
  changed.assign((formulas.metas().size() + 63) / 64, 0);
}

SpamJudge::SpamJudge(const SpamRules& rules, SpamJudgeScratch& scratch, bool outbound,
                     bool everything)
    : rules_(rules),
      formulas_(rules.formulas()),
      scratch_(scratch),
      outbound_(outbound),
      everything_(everything) {
  scratch_.known.assign(formulas_.initial().begin(), formulas_.initial().end());
  scratch_.numbers.assign(scratch_.numbers.size(), {});
  scratch_.opened.clear();
  scratch_.open.clear();
  scratch_.hits.clear();
  for (const std::uint32_t test : rules.evals()) {
    if (off(test)) {
      put(test, kNo);
    } else if (everything || (formulas_.flags(test) & SpamFormulas::kReported) != 0) {
      scratch_.opened.push_back(test);
    }
  }
}

// --- what is known -------------------------------------------------------------------------------

inline void SpamJudge::put(std::uint32_t fact, Known known) {
  scratch_.known[SpamFormulas::literal(fact)] = known;
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
  put(test, least > 0 ? kYes : kOpen);
  put_number(test, least, most);
  if (everything_ || (formulas_.flags(test) & SpamFormulas::kReported) != 0)
    scratch_.opened.push_back(test);
}

// --- asking --------------------------------------------------------------------------------------

void SpamJudge::ask(std::uint32_t test) {
  std::uint32_t enough = everything_ ? UINT32_MAX : 1;
  if ((formulas_.flags(test) & SpamFormulas::kCounted) != 0 && !everything_)
    enough = formulas_.counted()[formulas_.number_of(test)].enough;
  set(test, witness_->answer(test, enough));
}

void SpamJudge::decide(Witness& witness) {
  witness_ = &witness;
  for (const std::uint32_t test : scratch_.opened) {
    if (everything_ || scratch_.known[SpamFormulas::literal(test)] == kOpen) ask(test);
  }
  if (everything_) return decide_everything();
  look_at_metas();
  for (const std::uint32_t index : scratch_.open) {
    const SpamFormulas::Meta& meta = formulas_.metas()[index];
    while (is_open(meta)) {
      std::uint32_t fact = look<true>(meta).ask;
      while (fact != kNone && (formulas_.flags(fact) & SpamFormulas::kMeta) != 0)
        fact = look<true>(formulas_.metas()[formulas_.meta_of(fact)]).ask;
      if (fact == kNone) break;  // never: what is known wholly is decided
      ask(fact);
      compute_users(fact);
    }
  }
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
  for (std::uint32_t i = 0; i < formulas_.metas().size(); ++i) {
    const SpamFormulas::Meta& meta = formulas_.metas()[i];
    if (scratch_.known[meta.gate] == kNo || off(meta.fact)) continue;
    compute(meta);
    if (!is_open(meta)) continue;
    const std::uint8_t flags = formulas_.flags(meta.fact);
    if ((flags & SpamFormulas::kReported) != 0) scratch_.open.push_back(i);
    if ((flags & SpamFormulas::kUsed) != 0) scratch_.costs[meta.fact] = look<true>(meta).cost;
  }
}

inline bool SpamJudge::is_open(const SpamFormulas::Meta& meta) const {
  if (scratch_.known[SpamFormulas::literal(meta.fact)] == kOpen) return true;
  if ((formulas_.flags(meta.fact) & SpamFormulas::kCounted) == 0) return false;
  const SpamJudgeScratch::Range& range = scratch_.numbers[formulas_.number_of(meta.fact)];
  return range.low != range.high;
}

// Gives whether it is another than before.
bool SpamJudge::compute(const SpamFormulas::Meta& meta) {
  const Known was = scratch_.known[SpamFormulas::literal(meta.fact)];
  bool changed = false;
  Known known;
  const std::uint32_t* const words = formulas_.words(meta);
  if (words[0] >> 24 == static_cast<std::uint32_t>(SpamFormulas::Step::store)) {
    Operand found = number({words + 2, words[1] & 0xffffff});
    known = found.known();
    // What hits counts at least something.
    if (found.high < 0) {
      found.low = found.high = 1;
    } else if (found.low < 0) {
      found.low = 0;
      found.high = std::max(found.high, 1.0);
    }
    SpamJudgeScratch::Range& range = scratch_.numbers[words[0] & 0xffffff];
    changed = range.low != found.low || range.high != found.high;
    range = {found.low, found.high};
  } else {
    known = look<false>(meta).known;
  }
  if (known == was) return changed;
  put(meta.fact, known);
  return true;
}

// Computes again what is open and computed from `fact`.
void SpamJudge::compute_users(std::uint32_t fact) {
  auto& changed = scratch_.changed;
  const auto metas = formulas_.metas();
  const auto mark = [&](std::uint32_t of) {
    for (const std::uint32_t user : formulas_.users(of)) {
      if (is_open(metas[user])) changed[user / 64] |= std::uint64_t{1} << (user % 64);
    }
  };
  mark(fact);
  for (std::size_t word = 0; word < changed.size(); ++word) {
    while (changed[word] != 0) {
      const std::size_t index =
          word * 64 + static_cast<std::size_t>(std::countr_zero(changed[word]));
      changed[word] &= changed[word] - 1;
      if (compute(metas[index])) mark(metas[index].fact);
    }
  }
}

std::uint32_t SpamJudge::cost(std::uint32_t fact) const {
  return (formulas_.flags(fact) & SpamFormulas::kMeta) != 0 ? scratch_.costs[fact]
                                                            : witness_->cost(fact);
}

// --- formulas ------------------------------------------------------------------------------------

// `fact` is open and decides about `found`, which was `was` without it.
template <bool kAsks>
void SpamJudge::depend(Found& found, Known was, std::uint32_t fact) const {
  if constexpr (kAsks) {
    const std::uint32_t its = cost(fact);
    if (was == kOpen && found.cost <= its) return;
    found.ask = fact;
    found.cost = its;
  }
}

template <bool kAsks>
SpamJudge::Found SpamJudge::look(const SpamFormulas::Meta& meta) const {
  using Step = SpamFormulas::Step;
  const Known* const known = scratch_.known.data();
  Found stack[kMetaStack];  // as deep as the logarithm of the formula, about
  Found* top = stack;
  top->known = known[meta.gate];
  top->ask = kNone;
  if (top->known == kOpen) depend<kAsks>(*top, kYes, meta.gate / 2);
  for (const std::uint32_t* at = formulas_.words(meta);;) {
    const std::uint32_t word = *at++;
    const std::size_t operand = word & 0xffffff;
    switch (static_cast<Step>(word >> 24)) {
      case Step::end:
        return *top;
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
          if (one == kOpen) depend<kAsks>(*top, top->known, *at / 2);
          top->known &= one;
        }
        at = end;
        if (top == stack && top->known == kNo) return *top;
        break;
      }
      case Step::any: {
        const std::uint32_t* const end = at + operand;
        for (; at != end && top->known != kYes; ++at) {
          const Known one = known[*at];
          if (one == kOpen) depend<kAsks>(*top, top->known, *at / 2);
          top->known |= one;
        }
        at = end;
        break;
      }
      case Step::both:
      case Step::either: {
        const Found& upper = *top--;
        const Known was = top->known;
        if (static_cast<Step>(word >> 24) == Step::both) {
          top->known &= upper.known;
        } else {
          top->known |= upper.known;
        }
        if (kAsks && upper.known == kOpen && (was != kOpen || upper.cost < top->cost)) {
          top->ask = upper.ask;
          top->cost = upper.cost;
        }
        if (top == stack && top->known == kNo) return *top;
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
        (++top)->known = value.known();
        top->ask = value.ask;
        if (static_cast<Step>(word >> 24) == Step::not_value) top->known = opposite(top->known);
        if (kAsks && top->known == kOpen) top->cost = cost(top->ask);
        at += operand;
        break;
      }
      case Step::store:  // its range is asked for too
        if constexpr (kAsks) {
          const Operand value = number({at + 1, *at & 0xffffff});
          return {value.known(), value.ask, value.ask == kNone ? 0 : cost(value.ask)};
        }
        break;
    }
  }
}

template <bool kAsks>
SpamJudge::Found SpamJudge::sum(const std::uint32_t* words, std::size_t literals) const {
  const std::span counted(words + SpamFormulas::kSumWords + literals, words[0]);
  const std::uint32_t least = words[1];
  const std::uint32_t most = words[2];
  const std::span of(words + SpamFormulas::kSumWords, literals);
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
  Found found{kOpen, kNone, 0};
  const bool ended = most != SpamFormulas::kNoEnd;
  if (high < least || (ended && low > most)) {
    found.known = kNo;
  } else if (low >= least && (!ended || high <= most)) {
    found.known = kYes;
  } else if (kAsks) {
    Known was = kNo;
    const auto take = [&](std::uint32_t fact) {
      depend<kAsks>(found, was, fact);
      was = kOpen;
    };
    for (const std::uint32_t literal : of) {
      if (scratch_.known[literal] == kOpen) take(literal / 2);
    }
    for (const std::uint32_t number : counted) {
      if (scratch_.numbers[number].low != scratch_.numbers[number].high)
        take(formulas_.counted()[number].fact);
    }
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
  Operand* top = stack;  // above a place that stays free
  for (const std::uint32_t word : program) {
    const std::uint32_t operand = meta_operand(word);
    switch (meta_operation(word)) {
      case MetaOperation::test: {  // 0 or 1
        const Known known = scratch_.known[operand];
        *++top = {known == kYes ? 1.0 : 0.0, known == kNo ? 0.0 : 1.0, known == kYes,
                  known == kOpen ? operand / 2 : kNone};
        break;
      }
      case MetaOperation::counted: {
        const SpamJudgeScratch::Range& range = scratch_.numbers[operand];
        const std::uint32_t fact = formulas_.counted()[operand].fact;
        *++top = {range.low, range.high, scratch_.known[SpamFormulas::literal(fact)] == kYes,
                  range.low != range.high ? fact : kNone};
        break;
      }
      case MetaOperation::number: {
        const double value = formulas_.constant(operand);
        *++top = {value, value, value != 0, kNone};
        break;
      }
      case MetaOperation::negate:
        *top = {-top->high, -top->low, top->sure, top->ask};
        break;
      case MetaOperation::logical_not:
        *top = negation(*top);
        break;
      case MetaOperation::choose: {
        top -= 2;
        const Operand condition = top[0];
        const Operand& yes = top[1];
        const Operand& no = top[2];
        if (condition.sure || condition.zero()) {
          *top = condition.sure ? yes : no;
        } else {
          *top = {std::min(yes.low, no.low), std::max(yes.high, no.high), yes.sure && no.sure,
                  condition.ask};
        }
        break;
      }
      case MetaOperation::logical_and:
        --top;
        *top = both(top[0], top[1]);
        break;
      case MetaOperation::logical_or:
        --top;
        *top = either(top[0], top[1]);
        break;
      default:
        --top;
        *top = arithmetic(meta_operation(word), top[0], top[1]);
        break;
    }
  }
  return *top;
}

}  // namespace sluice::scan
