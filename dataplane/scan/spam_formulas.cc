#include "dataplane/scan/spam_formulas.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <unordered_set>
#include <utility>

#include "dataplane/scan/spam_rules.h"

namespace sluice::scan {

namespace {

// Longer programs are computed as they are: trees are as deep as they are long.
constexpr std::size_t kMostWords = 4096;
// Of metas that become parts of others.
constexpr std::size_t kMostInside = 256;
// Counts beyond are computed as numbers.
constexpr double kMostCount = 1e9;

// An expression.
struct Node {
  MetaOperation operation = MetaOperation::number;
  std::uint32_t test = 0;
  double number = 0;
  std::vector<Node> children;

  bool constant() const { return operation == MetaOperation::number; }
  bool is(double value) const { return constant() && number == value; }
};

Node number_node(double value) {
  Node node;
  node.number = value;
  return node;
}

// One step of folding; the children are folded.
Node folded(Node node) {
  auto& of = node.children;
  const auto take = [&](std::size_t child) {
    Node chosen = std::move(of[child]);
    return chosen;
  };
  switch (node.operation) {
    case MetaOperation::logical_and:
      if (of[0].is(0) || of[1].is(0)) return number_node(0);
      if (of[0].constant()) return take(1);
      return node;
    case MetaOperation::logical_or:
      if (of[0].is(0)) return take(1);
      if (of[0].constant() || of[1].is(0)) return take(0);
      return node;
    case MetaOperation::logical_not:
      return of[0].constant() ? number_node(of[0].number == 0) : node;
    case MetaOperation::negate:
      return of[0].constant() ? number_node(-of[0].number) : node;
    case MetaOperation::choose:
      if (of[0].constant()) return take(of[0].number != 0 ? 1 : 2);
      return node;
    case MetaOperation::test:
    case MetaOperation::number:
      return node;
    default:
      break;
  }
  if (of[0].constant() && of[1].constant())
    return number_node(apply_meta(node.operation, of[0].number, of[1].number));
  if (node.operation == MetaOperation::add) {
    if (of[0].is(0)) return take(1);
    if (of[1].is(0)) return take(0);
  }
  return node;
}

bool compares(MetaOperation operation) {
  return operation >= MetaOperation::less && operation <= MetaOperation::not_equal;
}

// Never below 0; tests are not.
bool is_positive(const Node& node) {
  const auto& of = node.children;
  switch (node.operation) {
    case MetaOperation::number:
      return node.number >= 0;
    case MetaOperation::negate:
    case MetaOperation::subtract:
    case MetaOperation::exclusive_or:
      return false;
    case MetaOperation::logical_and:
      return is_positive(of[1]);
    case MetaOperation::logical_or:
    case MetaOperation::add:
    case MetaOperation::multiply:
    case MetaOperation::divide:
      return is_positive(of[0]) && is_positive(of[1]);
    case MetaOperation::choose:
      return is_positive(of[1]) && is_positive(of[2]);
    default:
      return true;
  }
}

struct Formula {
  enum class Kind : std::uint8_t { literal, all, any, sum, value };
  Kind kind = Kind::all;
  bool opposite = false;  // of a sum or value
  std::uint32_t literal = 0;
  std::vector<Formula> parts;           // of all and any
  std::vector<std::uint32_t> literals;  // of a sum
  std::vector<std::uint32_t> counted;
  std::uint32_t least = 0;
  std::uint32_t most = 0;
  std::vector<std::uint32_t> program;  // of a value
  Likely likely;
  std::size_t depth = 1;  // on the stack

  bool is_yes() const { return kind == Kind::all && parts.empty(); }
  bool is_no() const { return kind == Kind::any && parts.empty(); }
};

Formula constant(bool yes) {
  Formula formula;
  formula.kind = yes ? Formula::Kind::all : Formula::Kind::any;
  formula.likely = {yes ? 1.0 : 0.0, yes ? 1.0 : 0.0};
  return formula;
}

// All or any of `parts`, without what makes no difference.
Formula group(Formula::Kind kind, std::vector<Formula> parts) {
  Formula whole;
  whole.kind = kind;
  for (Formula& part : parts) {
    if (part.kind == kind) {
      std::ranges::move(part.parts, std::back_inserter(whole.parts));
    } else if (part.is_yes() || part.is_no()) {
      return part;
    } else {
      whole.parts.push_back(std::move(part));
    }
  }
  auto& of = whole.parts;
  std::unordered_set<std::uint32_t> literals;
  std::erase_if(of, [&](const Formula& part) {
    return part.kind == Formula::Kind::literal && !literals.insert(part.literal).second;
  });
  if (of.size() == 1) {
    Formula only = std::move(of.front());
    return only;
  }
  // The deepest first, so that the stack stays small.
  std::ranges::stable_sort(of, std::greater<>(), &Formula::depth);
  whole.depth = 1;
  Likely likely{1, 1};
  for (std::size_t i = 0; i < of.size(); ++i) {
    const bool nested = of[i].kind != Formula::Kind::literal;
    if (nested) whole.depth = std::max(whole.depth, of[i].depth + (i == 0 ? 0 : 1));
    const bool all = kind == Formula::Kind::all;
    likely.open *= all ? of[i].likely.open : 1 - of[i].likely.open;
    likely.yes *= all ? of[i].likely.yes : 1 - of[i].likely.yes;
  }
  whole.likely = kind == Formula::Kind::all ? likely : Likely{1 - likely.open, 1 - likely.yes};
  return whole;
}

}  // namespace

class SpamFormulasMaker {
 public:
  SpamFormulasMaker(std::span<const SpamTest> tests, std::span<const double> numbers,
                    const std::function<Likely(std::uint32_t)>& likely)
      : tests_(tests), likely_of_test_(likely) {
    out_.constants_.assign(numbers.begin(), numbers.end());
  }

  SpamFormulas make() && {
    const auto count = static_cast<std::uint32_t>(tests_.size());
    of_.resize(count);
    likely_.resize(count + 1);
    watches_.resize(count + 1);
    out_.number_of_.assign(count, 0);
    out_.meta_of_.assign(count + 1, 0);
    for (std::uint32_t i = 0; i < count; ++i) {
      out_.flags_.push_back(flags_of(tests_[i]));
      read(i);
    }
    out_.flags_.push_back(0);  // kAlways
    for (std::uint32_t i = count; i-- > 0;) use(i);
    for (std::uint32_t i = 0; i < count; ++i) choose_inside(i);
    for (std::uint32_t i = 0; i < count; ++i) {
      if (tests_[i].kind != TestKind::meta) {
        likely_[i] = likely_of_test_(i);
      } else if (of_[i].needed && !of_[i].inside) {
        meta(i);
      }
    }
    finish();
    return std::move(out_);
  }

 private:
  // A test.
  struct Of {
    Node tree;
    bool whole = false;   // no tree: too long
    bool binary = true;   // 0 or 1
    bool needed = false;  // of a meta
    bool valued = false;  // of a meta: its number is
    bool inside = false;  // it is a part of the only meta that it is used by
    std::size_t conditions = 0;
    std::size_t numbers = 0;
    std::size_t size = 0;
  };

  static std::uint8_t flags_of(const SpamTest& test) {
    return static_cast<std::uint8_t>(
        ((test.flags & kTestSub) == 0 ? SpamFormulas::kReported : 0) |
        (test.kind == TestKind::meta ? SpamFormulas::kMeta : 0) |
        ((test.flags & kTestNotOutbound) != 0 ? SpamFormulas::kNotOutbound : 0));
  }
  // The fact that is always a yes.
  std::uint32_t always() const { return static_cast<std::uint32_t>(tests_.size()); }

  void read(std::uint32_t test) {
    Of& of = of_[test];
    if (tests_[test].kind != TestKind::meta) {
      of.binary = (tests_[test].flags & kTestMultiple) == 0;
      return;
    }
    const std::span<const std::uint32_t> program = tests_[test].meta;
    of.needed = (tests_[test].flags & kTestSub) == 0;
    of.size = program.size();
    of.whole = program.size() > kMostWords;
    if (!of.whole) of.tree = read(program);
    of.binary = !of.whole && is_binary(of.tree);
  }

  Node read(std::span<const std::uint32_t> program) const {
    std::vector<Node> stack;
    for (const std::uint32_t word : program) {
      Node node;
      node.operation = meta_operation(word);
      if (node.operation == MetaOperation::test) {
        node.test = meta_operand(word);
        const Of& of = of_[node.test];
        if (tests_[node.test].kind == TestKind::meta && !of.whole && of.tree.is(0))
          node = number_node(0);
      } else if (node.operation == MetaOperation::number) {
        node.number = out_.constants_[meta_operand(word)];
      }
      const auto from = stack.end() - static_cast<std::ptrdiff_t>(meta_operands(node.operation));
      node.children.assign(std::make_move_iterator(from), std::make_move_iterator(stack.end()));
      stack.erase(from, stack.end());
      stack.push_back(folded(std::move(node)));
    }
    return std::move(stack.back());
  }

  bool is_binary(const Node& node) const {
    const auto& of = node.children;
    switch (node.operation) {
      case MetaOperation::test:
        return of_[node.test].binary;
      case MetaOperation::number:
        return node.number == 0 || node.number == 1;
      case MetaOperation::logical_and:
        return is_binary(of[1]);
      case MetaOperation::logical_or:
        return is_binary(of[0]) && is_binary(of[1]);
      case MetaOperation::logical_not:
        return true;
      default:
        return compares(node.operation);
    }
  }

  // Marks what a meta needs, behind all that needs it.
  void use(std::uint32_t test) {
    Of& of = of_[test];
    if (!of.needed) return;
    if (!of.whole) {
      use(of.tree, of.valued);
      return;
    }
    for (const std::uint32_t word : tests_[test].meta) {
      if (meta_operation(word) == MetaOperation::test) use_test(meta_operand(word), true);
    }
  }
  void use_test(std::uint32_t test, bool number) {
    Of& of = of_[test];
    ++(number ? of.numbers : of.conditions);
    out_.flags_[test] |= SpamFormulas::kUsed;
    if (tests_[test].kind != TestKind::meta) return;
    of.needed = true;
    of.valued |= number && !of.binary;
  }
  // `number`: its number is needed, else only whether it is 0.
  void use(const Node& node, bool number) {
    const auto& of = node.children;
    switch (node.operation) {
      case MetaOperation::test:
        return use_test(node.test, number);
      case MetaOperation::number:
        return;
      case MetaOperation::logical_not:
        return use(of[0], false);
      case MetaOperation::logical_and:
        use(of[0], false);
        return use(of[1], number);
      case MetaOperation::logical_or:
      case MetaOperation::multiply:
      case MetaOperation::divide:
      case MetaOperation::negate:
        break;
      case MetaOperation::add:
        number |= !is_positive(node);
        break;
      default:
        number = true;
        break;
    }
    for (const Node& child : of) use(child, number);
  }

  void choose_inside(std::uint32_t test) {
    Of& of = of_[test];
    if (tests_[test].kind != TestKind::meta || of.whole) return;
    add_inside(of.tree, of.size);
    of.inside = of.conditions == 1 && of.numbers == 0 && of.size <= kMostInside &&
                tests_[test].flags == kTestSub;
  }
  void add_inside(const Node& node, std::size_t& size) const {
    if (node.operation == MetaOperation::test && of_[node.test].inside) size += of_[node.test].size;
    for (const Node& child : node.children) add_inside(child, size);
  }

  // --- formulas ----------------------------------------------------------------------------------

  Formula literal(std::uint32_t test, bool opposite) {
    Formula formula;
    formula.kind = Formula::Kind::literal;
    formula.literal = SpamFormulas::literal(test, opposite);
    formula.likely = likely_[test];
    if (opposite) formula.likely = {1 - likely_[test].yes, 1 - likely_[test].open};
    return formula;
  }

  // Whether `node` is 0 or, with `opposite`, is not.
  Formula condition(const Node& node, bool opposite) {
    const auto& of = node.children;
    const auto all = opposite ? Formula::Kind::any : Formula::Kind::all;
    const auto any = opposite ? Formula::Kind::all : Formula::Kind::any;
    const auto both = [&](Formula::Kind kind) {
      std::vector<Formula> parts;
      parts.push_back(condition(of[0], opposite));
      parts.push_back(condition(of[1], opposite));
      return group(kind, std::move(parts));
    };
    switch (node.operation) {
      case MetaOperation::test:
        if (of_[node.test].inside) return condition(of_[node.test].tree, opposite);
        return literal(node.test, opposite);
      case MetaOperation::number:
        return constant((node.number != 0) != opposite);
      case MetaOperation::logical_not:
        return condition(of[0], !opposite);
      case MetaOperation::negate:
        return condition(of[0], opposite);
      case MetaOperation::logical_and:
      case MetaOperation::multiply:
      case MetaOperation::divide:
        return both(all);
      case MetaOperation::logical_or:
        return both(any);
      case MetaOperation::add:
        if (is_positive(node)) return both(any);
        break;
      default:
        if (auto compared = comparison(node, opposite)) return std::move(*compared);
        break;
    }
    Formula value;
    value.kind = Formula::Kind::value;
    value.opposite = opposite;
    value.likely = {0.5, 0.1};
    program(node, value.program);
    return value;
  }

  // A sum of what is 0 or 1 and of counts, and a constant.
  struct Sum {
    std::vector<std::uint32_t> literals;
    std::vector<std::uint32_t> counted;  // tests
    double constant = 0;
  };
  bool add_to(const Node& node, Sum& sum) {
    if (node.constant()) {
      sum.constant += node.number;
    } else if (node.operation == MetaOperation::add) {
      return add_to(node.children[0], sum) && add_to(node.children[1], sum);
    } else if (is_binary(node)) {
      sum.literals.push_back(literal_of(node));
    } else if (node.operation == MetaOperation::test && tests_[node.test].kind != TestKind::meta) {
      sum.counted.push_back(node.test);
    } else {
      return false;
    }
    return true;
  }

  // What is 0 or 1 as a literal: without a name it becomes a fact of its own.
  std::uint32_t literal_of(const Node& node) {
    Formula formula = condition(node, false);
    if (formula.kind == Formula::Kind::literal) return formula.literal;
    const auto fact = static_cast<std::uint32_t>(out_.flags_.size());
    out_.flags_.push_back(SpamFormulas::kMeta | SpamFormulas::kUsed);
    out_.meta_of_.push_back(0);
    likely_.emplace_back();
    watches_.emplace_back();
    write_meta(fact, formula);
    return SpamFormulas::literal(fact);
  }

  std::optional<Formula> comparison(const Node& node, bool opposite) {
    if (!compares(node.operation)) return std::nullopt;
    const auto& of = node.children;
    const bool mirrored = of[0].constant();
    if (!mirrored && !of[1].constant()) return std::nullopt;
    MetaOperation operation = node.operation;
    if (mirrored) {
      if (operation == MetaOperation::less) {
        operation = MetaOperation::greater;
      } else if (operation == MetaOperation::less_equal) {
        operation = MetaOperation::greater_equal;
      } else if (operation == MetaOperation::greater) {
        operation = MetaOperation::less;
      } else if (operation == MetaOperation::greater_equal) {
        operation = MetaOperation::less_equal;
      }
    }
    Sum sum;
    if (!add_to(of[mirrored ? 1 : 0], sum)) return std::nullopt;
    const double limit = of[mirrored ? 0 : 1].number - sum.constant;
    if (!(std::abs(limit) < kMostCount)) return std::nullopt;
    // Sums are whole: as a range of them, or what is not in one.
    double least = std::ceil(limit);
    double most = SpamFormulas::kNoEnd;
    switch (operation) {
      case MetaOperation::greater:
      case MetaOperation::less_equal:
        least = std::floor(limit) + 1;
        break;
      case MetaOperation::equal:
      case MetaOperation::not_equal:
        most = std::floor(limit);
        break;
      default:
        break;
    }
    if (operation == MetaOperation::less || operation == MetaOperation::less_equal ||
        operation == MetaOperation::not_equal)
      opposite = !opposite;
    if (most < least || most < 0) return constant(opposite);
    if (least <= 0) {  // from 0 on: not beyond
      if (most == SpamFormulas::kNoEnd) return constant(!opposite);
      least = most + 1;
      most = SpamFormulas::kNoEnd;
      opposite = !opposite;
    }
    return counting(sum, static_cast<std::uint32_t>(least), static_cast<std::uint32_t>(most),
                    opposite);
  }

  // Whether `sum` is `least` to `most`.
  Formula counting(const Sum& sum, std::uint32_t least, std::uint32_t most, bool opposite) {
    const bool open_ended = most == SpamFormulas::kNoEnd;
    const std::size_t parts = sum.literals.size() + sum.counted.size();
    const bool any = open_ended && least == 1;
    const bool all = open_ended && sum.counted.empty() && least == parts;
    if (any || all) {
      std::vector<Formula> of;
      for (const std::uint32_t one : sum.literals)
        of.push_back(literal(one / 2, ((one & 1) != 0) != opposite));
      for (const std::uint32_t test : sum.counted) of.push_back(literal(test, opposite));
      return group(any != opposite ? Formula::Kind::any : Formula::Kind::all, std::move(of));
    }
    Formula formula;
    formula.kind = Formula::Kind::sum;
    formula.opposite = opposite;
    formula.literals = sum.literals;
    for (const std::uint32_t test : sum.counted)
      formula.counted.push_back(number(test, open_ended ? least : most + 1));
    formula.least = least;
    formula.most = most;
    double open = 0;
    for (const std::uint32_t one : sum.literals)
      open += literal(one / 2, (one & 1) != 0).likely.open;
    for (const std::uint32_t test : sum.counted) open += likely_[test].open;
    formula.likely = {std::min(1.0, open / std::max(least, 1u)), 0.05};
    if (opposite) formula.likely = {1 - formula.likely.yes, 1 - formula.likely.open};
    return formula;
  }

  // The number of a fact, of which more than `enough` makes no difference here.
  std::uint32_t number(std::uint32_t test, std::uint32_t enough) {
    auto& counted = out_.counted_;
    if ((out_.flags_[test] & SpamFormulas::kCounted) == 0) {
      out_.flags_[test] |= SpamFormulas::kCounted;
      out_.number_of_[test] = static_cast<std::uint32_t>(counted.size());
      counted.push_back({test, enough});
    }
    SpamFormulas::Counted& of = counted[out_.number_of_[test]];
    of.enough = std::max(of.enough, enough);
    return out_.number_of_[test];
  }

  void program(const Node& node, std::vector<std::uint32_t>& out) {
    for (const Node& child : node.children) program(child, out);
    if (node.operation == MetaOperation::test) {
      out.push_back(leaf(node.test));
    } else {
      out.push_back(meta_word(node.operation, node.constant() ? constant_at(node.number) : 0));
    }
  }
  std::uint32_t leaf(std::uint32_t test) {
    const Of& of = of_[test];
    if (!of.binary && (tests_[test].kind != TestKind::meta || of.valued))
      return meta_word(MetaOperation::counted, number(test, UINT32_MAX));
    if (!of.inside) return meta_word(MetaOperation::test, SpamFormulas::literal(test));
    Node node;
    node.operation = MetaOperation::test;
    node.test = test;
    return meta_word(MetaOperation::test, literal_of(node));
  }
  std::uint32_t constant_at(double value) {
    auto& of = out_.constants_;
    const auto at = std::ranges::find(of, value);
    if (at != of.end()) return static_cast<std::uint32_t>(at - of.begin());
    of.push_back(value);
    return static_cast<std::uint32_t>(of.size() - 1);
  }

  // --- words -------------------------------------------------------------------------------------

  void meta(std::uint32_t test) {
    const Of& of = of_[test];
    if (!of.whole && !of.valued) return write_meta(test, condition(of.tree, false));
    Formula value;
    value.kind = Formula::Kind::value;
    value.likely = {0.5, 0.1};
    if (of.whole) {
      for (const std::uint32_t word : tests_[test].meta) {
        value.program.push_back(
            meta_operation(word) == MetaOperation::test ? leaf(meta_operand(word)) : word);
      }
    } else {
      program(of.tree, value.program);
    }
    write_meta(test, value);
  }

  void write_meta(std::uint32_t fact, const Formula& formula) {
    const auto index = static_cast<std::uint32_t>(out_.metas_.size());
    likely_[fact] = formula.likely;
    if (formula.is_no()) return;  // as it is before a message
    out_.meta_of_[fact] = index;
    using Step = SpamFormulas::Step;
    std::vector<const Formula*> parts;
    if (formula.kind == Formula::Kind::all) {
      for (const Formula& part : formula.parts) parts.push_back(&part);
    } else {
      parts.push_back(&formula);
    }
    // What is no most often first; of what is no test those that cost little to look at.
    std::ranges::stable_sort(parts, std::less<>(),
                             [](const Formula* part) { return part->likely.open; });
    std::ranges::stable_sort(parts, std::less<>(), [](const Formula* part) {
      return part->kind == Formula::Kind::literal ? 0 : is_one_of(*part) ? 1 : 2;
    });
    count_missing(index, parts);
    std::vector<std::uint32_t> literals;
    std::vector<std::uint32_t> steps;
    if (fact < tests_.size() && of_[fact].valued)
      steps.push_back(SpamFormulas::word(Step::store, number(fact, UINT32_MAX)));
    for (const Formula* part : parts) {
      if (part->kind == Formula::Kind::literal) {
        literals.push_back(part->literal);
      } else if (is_one_of(*part)) {
        std::vector<std::uint32_t> of;
        for (const Formula& one : part->parts) of.push_back(one.literal);
        write_literals(Step::one_of, of, steps);
      } else {
        write(*part, steps);
        steps.push_back(SpamFormulas::word(Step::both));
      }
    }
    steps.push_back(SpamFormulas::word(Step::end));
    auto& words = out_.words_;
    out_.metas_.push_back(static_cast<std::uint32_t>(words.size()));
    words.push_back(fact);
    words.push_back(static_cast<std::uint32_t>(literals.size()));
    words.insert(words.end(), literals.begin(), literals.end());
    words.insert(words.end(), steps.begin(), steps.end());
  }

  static bool is_one_of(const Formula& formula) {
    return formula.kind == Formula::Kind::any &&
           std::ranges::all_of(formula.parts, [](const Formula& part) {
             return part.kind == Formula::Kind::literal;
           });
  }

  static void write_literals(SpamFormulas::Step step, const std::vector<std::uint32_t>& literals,
                             std::vector<std::uint32_t>& words) {
    if (literals.empty()) return;
    words.push_back(SpamFormulas::word(step, literals.size()));
    words.insert(words.end(), literals.begin(), literals.end());
  }

  // Pushes what `formula` gives.
  static void write(const Formula& formula, std::vector<std::uint32_t>& words) {
    using Step = SpamFormulas::Step;
    switch (formula.kind) {
      case Formula::Kind::sum:
        words.push_back(SpamFormulas::word(formula.opposite ? Step::not_sum : Step::sum,
                                           formula.literals.size()));
        words.push_back(static_cast<std::uint32_t>(formula.counted.size()));
        words.push_back(formula.least);
        words.push_back(formula.most);
        words.insert(words.end(), formula.literals.begin(), formula.literals.end());
        words.insert(words.end(), formula.counted.begin(), formula.counted.end());
        return;
      case Formula::Kind::value:
        words.push_back(SpamFormulas::word(formula.opposite ? Step::not_value : Step::value,
                                           formula.program.size()));
        words.insert(words.end(), formula.program.begin(), formula.program.end());
        return;
      default:
        break;
    }
    const bool any = formula.kind == Formula::Kind::any;
    bool begun = false;
    std::vector<std::uint32_t> literals;
    if (formula.kind == Formula::Kind::literal) literals.push_back(formula.literal);
    for (const Formula& part : formula.parts) {
      if (part.kind == Formula::Kind::literal) {
        literals.push_back(part.literal);
        continue;
      }
      write(part, words);
      if (begun) words.push_back(SpamFormulas::word(any ? Step::either : Step::both));
      begun = true;
    }
    if (!begun) words.push_back(SpamFormulas::word(any ? Step::no : Step::yes));
    write_literals(any ? Step::any : Step::all, literals, words);
  }

  // --- what is missing ---------------------------------------------------------------------------

  Known initial(std::uint32_t literal) const {
    const std::uint32_t fact = literal / 2;
    Known known = kNo;
    if (fact == always()) {
      known = kYes;
    } else if (fact < tests_.size() && tests_[fact].kind == TestKind::eval) {
      // What is reported is asked for before metas are looked at, what needs something is opened.
      const bool part = (tests_[fact].flags & kTestSub) != 0;
      known = part && tests_[fact].need == SpamNeed::nothing ? kOpen : kNo;
    }
    return (literal & 1) != 0 ? opposite(known) : known;
  }

  // Whether it may hold before a message, as far as that is known without computing numbers.
  bool may_hold(const Formula& formula) const {
    const auto may = [this](const Formula& part) { return may_hold(part); };
    switch (formula.kind) {
      case Formula::Kind::literal:
        return initial(formula.literal) != kNo;
      case Formula::Kind::all:
        return std::ranges::all_of(formula.parts, may);
      case Formula::Kind::any:
        return std::ranges::any_of(formula.parts, may);
      case Formula::Kind::sum:
        return formula.opposite || least_missing(formula) == 0;
      default:
        return true;
    }
  }

  // Of a sum: how many facts that are no before a message must no longer be.
  std::size_t least_missing(const Formula& sum) const {
    std::size_t may = 0;
    for (const std::uint32_t literal : sum.literals) may += initial(literal) != kNo ? 1u : 0u;
    bool counted_may = false;
    for (const std::uint32_t number : sum.counted)
      counted_may |= initial(SpamFormulas::literal(out_.counted_[number].fact)) != kNo;
    if (may >= sum.least || counted_may) return 0;
    return sum.counted.empty() ? sum.least - may : 1;
  }

  // Facts that are no before a message and of which one must no longer be, for `formula` to hold.
  void take_missing(const Formula& formula, std::vector<std::uint32_t>& facts) const {
    const auto take = [&](std::uint32_t literal) {
      if ((literal & 1) == 0 && initial(literal) == kNo) facts.push_back(literal / 2);
    };
    if (formula.kind == Formula::Kind::literal) take(formula.literal);
    for (const std::uint32_t literal : formula.literals) take(literal);
    for (const std::uint32_t number : formula.counted)
      take(SpamFormulas::literal(out_.counted_[number].fact));
    for (const Formula& part : formula.parts) take_missing(part, facts);
  }

  void count_missing(std::uint32_t meta, const std::vector<const Formula*>& parts) {
    std::uint8_t missing = 0;
    for (const Formula* part : parts) {
      if (may_hold(*part) || missing == UINT8_MAX) continue;
      ++missing;
      std::uint32_t count = meta;
      if (part->kind != Formula::Kind::literal) {
        const std::size_t least = part->kind == Formula::Kind::sum ? least_missing(*part) : 1;
        count = kPart | static_cast<std::uint32_t>(missing_of_part_.size());
        missing_of_part_.push_back(
            static_cast<std::uint8_t>(std::min<std::size_t>(least, UINT8_MAX)));
        out_.meta_of_part_.push_back(meta);
      }
      std::vector<std::uint32_t> facts;
      take_missing(*part, facts);
      std::ranges::sort(facts);
      for (const std::uint32_t fact : facts) watches_[fact].push_back(count);
    }
    out_.missing_.push_back(missing);
  }

  void finish() {
    const std::size_t facts = out_.flags_.size();
    const std::size_t metas = out_.metas_.size();
    for (std::uint32_t literal = 0; literal < 2 * facts; ++literal)
      out_.initial_.push_back(initial(literal));
    out_.complete_.assign((metas + 63) / 64, 0);
    for (std::uint32_t meta = 0; meta < metas; ++meta)
      out_.complete_[meta / 64] |= std::uint64_t{out_.missing_[meta] == 0} << meta % 64;
    out_.missing_.insert(out_.missing_.end(), missing_of_part_.begin(), missing_of_part_.end());
    for (const std::vector<std::uint32_t>& of_fact : watches_) {
      out_.first_watch_.push_back(static_cast<std::uint32_t>(out_.watches_.size()));
      for (const std::uint32_t count : of_fact)
        out_.watches_.push_back(
            (count & kPart) == 0 ? count : static_cast<std::uint32_t>(metas) + (count & ~kPart));
    }
    out_.first_watch_.push_back(static_cast<std::uint32_t>(out_.watches_.size()));
  }

  std::span<const SpamTest> tests_;
  const std::function<Likely(std::uint32_t)>& likely_of_test_;
  SpamFormulas out_;
  std::vector<Of> of_;          // by test
  std::vector<Likely> likely_;  // by fact
  // By fact: metas, or with kPart the index of a part.
  static constexpr std::uint32_t kPart = 1u << 31;
  std::vector<std::vector<std::uint32_t>> watches_;
  std::vector<std::uint8_t> missing_of_part_;
};

SpamFormulas SpamFormulas::make(std::span<const SpamTest> tests, std::span<const double> numbers,
                                const std::function<Likely(std::uint32_t)>& likely) {
  return SpamFormulasMaker(tests, numbers, likely).make();
}

}  // namespace sluice::scan
