// A regex as a row of runs of one character each.
#include <algorithm>

#include "control/policy/regex_node.h"
#include "dataplane/scan/confirmation.h"

namespace sluice::control {

namespace regex {

bool group_flags(std::string_view text, Flags& flags) {
  if (text == "(") return true;
  if (!text.starts_with("(?") || !text.ends_with(':')) return false;
  bool on = true;
  for (const char c : text.substr(2, text.size() - 3)) {
    if (c == '-') {
      on = false;
    } else if (c == 'i') {
      flags.caseless = on;
    } else if (c == 's') {
      flags.dot_all = on;
    } else if (c == 'm') {
      flags.multiline = on;
    } else {
      return false;
    }
  }
  return true;
}

Set ignoring_case(const Node& node) {
  const bool negated = !node.text.empty();
  Set set = negated ? ~node.set : node.set;
  for (unsigned c = 'a'; c <= 'z'; ++c) {
    if (!set[c] && !set[c - 32]) continue;
    set.set(c);
    set.set(c - 32);
  }
  return negated ? ~set : set;
}

}  // namespace regex

namespace {

using regex::Flags;
using regex::Node;
using regex::Pointer;
using regex::Set;

bool add_runs(const Node& node, Flags flags, std::vector<RegexTree::Run>& runs) {
  switch (node.kind) {
    case NodeKind::set:
      runs.push_back({.octets = flags.caseless ? regex::ignoring_case(node) : node.set});
      return true;
    case NodeKind::any: {
      Set any;
      any.set();
      if (!flags.dot_all) any.reset('\n');
      runs.push_back({.octets = any});
      return true;
    }
    case NodeKind::sequence:
      return std::ranges::all_of(
          node.children, [&](const Pointer& child) { return add_runs(*child, flags, runs); });
    case NodeKind::group:
      return regex::group_flags(node.text, flags) && add_runs(*node.children.front(), flags, runs);
    case NodeKind::repeat: {
      const std::size_t before = runs.size();
      if (node.mode == "+" || !add_runs(*node.children.front(), flags, runs)) return false;
      // Of one character that stands there once; its repeats are the run's.
      if (runs.size() != before + 1 || runs.back().least != 1 || runs.back().most != 1)
        return false;
      runs.back().least = node.least;
      runs.back().most = node.most;
      return node.least <= node.most;
    }
    default:
      return false;
  }
}

}  // namespace

std::optional<std::vector<RegexTree::Run>> RegexTree::runs(std::uint32_t options) const {
  std::vector<Run> runs;
  const Flags flags{.caseless = (options & scan::kRegexCaseless) != 0,
                    .dot_all = (options & scan::kRegexDotAll) != 0};
  if (references_ || !add_runs(*root_, flags, runs)) return std::nullopt;
  return runs;
}

std::uint32_t RegexTree::line_octets(std::uint32_t options) const {
  if ((options & scan::kRegexMultiline) == 0 || root_->kind != NodeKind::sequence ||
      root_->children.size() != 2)
    return 0;
  const Node& begin = *root_->children[0];
  const Node& run = *root_->children[1];
  if (begin.kind != NodeKind::zero_width || begin.text != "^" || run.kind != NodeKind::repeat ||
      run.children.front()->kind != NodeKind::set)
    return 0;
  Set octets;
  octets.set().reset('\r').reset('\n');
  return run.children.front()->set == octets && run.least <= run.most ? run.least : 0;
}

}  // namespace sluice::control
