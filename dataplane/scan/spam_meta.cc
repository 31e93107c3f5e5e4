#include "dataplane/scan/spam_meta.h"

#include <algorithm>
#include <utility>

namespace sluice::scan {

namespace {

// Longer programs stay as they are: trees are as deep as they are long.
constexpr std::size_t kMostWords = 4096;

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
    return number_node(SpamRules::apply(node.operation, of[0].number, of[1].number));
  if (node.operation == MetaOperation::add) {
    if (of[0].is(0)) return take(1);
    if (of[1].is(0)) return take(0);
  }
  return node;
}

Node read(std::span<const std::uint32_t> meta, std::span<const double> numbers) {
  std::vector<Node> stack;
  for (const std::uint32_t word : meta) {
    Node node;
    node.operation = static_cast<MetaOperation>(word >> 24);
    const std::uint32_t operand = word & 0xffffff;
    std::size_t children = 2;
    if (node.operation == MetaOperation::test) {
      node.test = operand;
      children = 0;
    } else if (node.operation == MetaOperation::number) {
      node.number = numbers[operand];
      children = 0;
    } else if (node.operation == MetaOperation::negate ||
               node.operation == MetaOperation::logical_not) {
      children = 1;
    } else if (node.operation == MetaOperation::choose) {
      children = 3;
    }
    const auto from = stack.end() - static_cast<std::ptrdiff_t>(children);
    node.children.assign(std::make_move_iterator(from), std::make_move_iterator(stack.end()));
    stack.erase(from, stack.end());
    stack.push_back(folded(std::move(node)));
  }
  return std::move(stack.back());
}

// An expression is 0 unless one of `tests` is not; without `some` it may be more than 0 anyway.
struct Needs {
  bool some = false;
  std::vector<std::uint32_t> tests;
};

class Planner {
 public:
  explicit Planner(const MetaFacts& facts) : facts_(facts) {}

  // Values of tests are never below 0.
  Needs needs_of(const Node& node) const {
    const auto& of = node.children;
    switch (node.operation) {
      case MetaOperation::test:
        return {.some = facts_.baseline[node.test] == 0, .tests = {node.test}};
      case MetaOperation::number:
        return {.some = node.number == 0, .tests = {}};
      case MetaOperation::negate:
      case MetaOperation::divide:
        return needs_of(of[0]);
      case MetaOperation::logical_and:
      case MetaOperation::multiply: {
        Needs a = needs_of(of[0]);
        Needs b = needs_of(of[1]);
        if (!a.some || !b.some) return a.some ? a : b;
        return rate(a) <= rate(b) ? a : b;
      }
      case MetaOperation::logical_or:
      case MetaOperation::add:
      case MetaOperation::subtract: {
        Needs all = needs_of(of[0]);
        const Needs b = needs_of(of[1]);
        if (!all.some || !b.some) return {};
        all.tests.insert(all.tests.end(), b.tests.begin(), b.tests.end());
        return all;
      }
      case MetaOperation::greater:
        return of[1].constant() && of[1].number >= 0 ? needs_of(of[0]) : Needs{};
      case MetaOperation::greater_equal:
      case MetaOperation::equal:
        return of[1].constant() && of[1].number > 0 ? needs_of(of[0]) : Needs{};
      case MetaOperation::less:
        return of[0].constant() && of[0].number >= 0 ? needs_of(of[1]) : Needs{};
      case MetaOperation::less_equal:
        return of[0].constant() && of[0].number > 0 ? needs_of(of[1]) : Needs{};
      default:
        return {};
    }
  }

  // Parts of a conjunction that are tests or their opposites.
  void checks_of(const Node& node, std::vector<std::pair<double, std::uint32_t>>& checks) const {
    if (node.operation == MetaOperation::logical_and) {
      for (const Node& child : node.children) checks_of(child, checks);
    } else if (node.operation == MetaOperation::test) {
      checks.emplace_back(facts_.rate(node.test), meta_word(MetaOperation::need, node.test));
    } else if (node.operation == MetaOperation::logical_not &&
               node.children[0].operation == MetaOperation::test) {
      const std::uint32_t test = node.children[0].test;
      checks.emplace_back(2 - facts_.rate(test), meta_word(MetaOperation::unless, test));
    }
  }

  void write(const Node& node, std::vector<std::uint32_t>& out) const {
    for (const Node& child : node.children) write(child, out);
    std::uint32_t operand = 0;
    if (node.operation == MetaOperation::test) operand = node.test;
    if (node.constant()) operand = number(node.number);
    out.push_back(meta_word(node.operation, operand));
  }

 private:
  double rate(const Needs& needs) const {
    double sum = 0;
    for (const std::uint32_t test : needs.tests) sum += facts_.rate(test);
    return sum;
  }
  std::uint32_t number(double value) const {
    auto& numbers = facts_.numbers;
    const auto at = std::find(numbers.begin(), numbers.end(), value);
    if (at != numbers.end()) return static_cast<std::uint32_t>(at - numbers.begin());
    numbers.push_back(value);
    return static_cast<std::uint32_t>(numbers.size() - 1);
  }

  const MetaFacts& facts_;
};

void sort_once(std::vector<std::uint32_t>& tests) {
  std::sort(tests.begin(), tests.end());
  tests.erase(std::unique(tests.begin(), tests.end()), tests.end());
}

void inputs_of(const Node& node, std::vector<std::uint32_t>& tests) {
  if (node.operation == MetaOperation::test) tests.push_back(node.test);
  for (const Node& child : node.children) inputs_of(child, tests);
}

}  // namespace

MetaPlan plan_meta(std::span<const std::uint32_t> meta, const MetaFacts& facts) {
  MetaPlan plan;
  if (meta.size() > kMostWords) {
    plan.program.assign(meta.begin(), meta.end());
    for (const std::uint32_t word : meta) {
      if (static_cast<MetaOperation>(word >> 24) == MetaOperation::test)
        plan.watched.push_back(word & 0xffffff);
    }
    sort_once(plan.watched);
    return plan;
  }
  const Node root = read(meta, facts.numbers);
  const Planner planner(facts);
  std::vector<std::pair<double, std::uint32_t>> checks;
  if (root.operation == MetaOperation::logical_and) planner.checks_of(root, checks);
  std::stable_sort(checks.begin(), checks.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [rate, word] : checks) plan.program.push_back(word);
  planner.write(root, plan.program);
  Needs needs = planner.needs_of(root);
  if (needs.some) {
    plan.watched = std::move(needs.tests);
  } else {
    inputs_of(root, plan.watched);
  }
  sort_once(plan.watched);
  return plan;
}

}  // namespace sluice::scan
