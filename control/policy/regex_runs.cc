// A regex as a row of runs of one character each.
#include <algorithm>

#include "control/policy/regex_node.h"
#include "dataplane/scan/confirmation.h"

namespace sluice::control {

namespace {

using regex::Node;
using regex::Pointer;
using regex::Set;

// Flags of a group that opens with `text`: `(`, `(?:`, `(?i:`, ... False for other groups.
bool group_flags(std::string_view text, bool& caseless, bool& dot_all) {
  if (text == "(") return true;
  if (!text.starts_with("(?") || !text.ends_with(':')) return false;
  bool on = true;
  for (const char c : text.substr(2, text.size() - 3)) {
    if (c == '-') {
      on = false;
    } else if (c == 'i') {
      caseless = on;
    } else if (c == 's') {
      dot_all = on;
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

bool add_runs(const Node& node, bool caseless, bool dot_all, std::vector<RegexTree::Run>& runs) {
  switch (node.kind) {
    case NodeKind::set:
      runs.push_back({.octets = caseless ? ignoring_case(node) : node.set});
      return true;
    case NodeKind::any: {
      Set any;
      any.set();
      if (!dot_all) any.reset('\n');
      runs.push_back({.octets = any});
      return true;
    }
    case NodeKind::sequence:
      return std::ranges::all_of(node.children, [&](const Pointer& child) {
        return add_runs(*child, caseless, dot_all, runs);
      });
    case NodeKind::group:
      return group_flags(node.text, caseless, dot_all) &&
             add_runs(*node.children.front(), caseless, dot_all, runs);
    case NodeKind::repeat: {
      const std::size_t before = runs.size();
      if (node.mode == "+" || !add_runs(*node.children.front(), caseless, dot_all, runs))
        return false;
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
  if (references_ || !add_runs(*root_, (options & scan::kRegexCaseless) != 0,
                               (options & scan::kRegexDotAll) != 0, runs))
    return std::nullopt;
  return runs;
}

}  // namespace sluice::control
