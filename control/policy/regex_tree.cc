#include "control/policy/regex_tree.h"

#include <algorithm>
#include <cctype>

#include "control/policy/regex_node.h"
#include "dataplane/scan/confirmation.h"

namespace sluice::control {

namespace {

using regex::kNoBound;
using regex::make;
using regex::Node;
using regex::Pointer;
using regex::range;
using regex::Set;
constexpr std::uint64_t kMany = std::uint64_t{1} << 40;
// Repeats of one character up to this many stay counted when a regex is relaxed; of groups by their
// size.
constexpr std::uint32_t kMostCounted = 16;

bool is_empty(const Node& node) { return node.kind == NodeKind::sequence && node.children.empty(); }

void put_octet(std::string& out, unsigned octet) {
  static constexpr char kHex[] = "0123456789abcdef";
  if (std::isalnum(static_cast<int>(octet)) != 0 && octet < 128) {
    out += static_cast<char>(octet);
    return;
  }
  out += "\\x";
  out += kHex[octet >> 4];
  out += kHex[octet & 15];
}

void put_set(std::string& out, const Set& set) {
  if (set.count() == 1) {
    for (unsigned c = 0; c < 256; ++c) {
      if (set.test(c)) put_octet(out, c);
    }
    return;
  }
  if (set.all()) {
    out += "[\\x00-\\xff]";
    return;
  }
  const bool negated = set.count() > 128;
  const Set members = negated ? ~set : set;
  out += negated ? "[^" : "[";
  for (unsigned c = 0; c < 256; ++c) {
    if (!members.test(c)) continue;
    unsigned last = c;
    while (last < 255 && members.test(last + 1)) ++last;
    put_octet(out, c);
    if (last > c + 1) out += '-';
    if (last > c) put_octet(out, last);
    c = last;
  }
  out += ']';
}

void put(std::string& out, const Node& node) {
  switch (node.kind) {
    case NodeKind::set:
      put_set(out, node.set);
      return;
    case NodeKind::any:
      out += '.';
      return;
    case NodeKind::opaque:
    case NodeKind::zero_width:
    case NodeKind::reference:
      out += node.text;
      return;
    case NodeKind::sequence:
      for (const Pointer& child : node.children) {
        const bool wraps = child->kind == NodeKind::choice;
        if (wraps) out += "(?:";
        put(out, *child);
        if (wraps) out += ')';
      }
      return;
    case NodeKind::choice:
      for (std::size_t i = 0; i < node.children.size(); ++i) {
        if (i > 0) out += '|';
        put(out, *node.children[i]);
      }
      return;
    case NodeKind::group:
      out += node.text;
      put(out, *node.children.front());
      out += ')';
      return;
    case NodeKind::repeat: {
      const Node& child = *node.children.front();
      const bool wraps = child.kind == NodeKind::sequence || child.kind == NodeKind::choice ||
                         child.kind == NodeKind::repeat || child.kind == NodeKind::zero_width;
      if (wraps) out += "(?:";
      put(out, child);
      if (wraps) out += ')';
      if (node.least == 0 && node.most == kNoBound) {
        out += '*';
      } else if (node.least == 1 && node.most == kNoBound) {
        out += '+';
      } else if (node.least == 0 && node.most == 1) {
        out += '?';
      } else {
        out += '{' + std::to_string(node.least);
        if (node.most != node.least) {
          out += ',';
          if (node.most != kNoBound) out += std::to_string(node.most);
        }
        out += '}';
      }
      out += node.mode;
      return;
    }
  }
}

std::uint64_t count(const Node& node) {
  std::uint64_t sum = 0;
  switch (node.kind) {
    case NodeKind::set:
    case NodeKind::any:
    case NodeKind::reference:
      return 1;
    case NodeKind::opaque:
      return 0;
    case NodeKind::zero_width:
      return node.text.size() > 2 ? node.text.size() : 0;
    case NodeKind::repeat: {
      const std::uint64_t of_one = count(*node.children.front());
      const std::uint64_t times =
          node.most == kNoBound ? std::max(node.least, 1u) : std::max(node.most, 1u);
      // A counted single character has a counter.
      if (of_one == 1 && times > 4) return 4 + times / 16;
      return std::min(of_one * times, kMany);
    }
    default:
      for (const Pointer& child : node.children) sum = std::min(sum + count(*child), kMany);
      return sum;
  }
}

// nullptr: cannot match.
Pointer to_ascii(const Pointer& pointer) {
  const Node& node = *pointer;
  switch (node.kind) {
    case NodeKind::set: {
      Node out = node;
      out.set &= range(0, 127);
      if (out.set.none()) return nullptr;
      // What was a complement stays one, to be printed as written.
      if (node.set.count() > 128) out.set = node.set;
      return make(std::move(out));
    }
    case NodeKind::sequence:
    case NodeKind::group: {
      Node out = node;
      out.children.clear();
      for (const Pointer& child : node.children) {
        Pointer changed = to_ascii(child);
        if (!changed) return nullptr;
        out.children.push_back(std::move(changed));
      }
      return make(std::move(out));
    }
    case NodeKind::choice: {
      Node out = node;
      out.children.clear();
      for (const Pointer& child : node.children) {
        if (Pointer changed = to_ascii(child)) out.children.push_back(std::move(changed));
      }
      if (out.children.empty()) return nullptr;
      return out.children.size() == 1 ? out.children.front() : make(std::move(out));
    }
    case NodeKind::repeat: {
      Node out = node;
      Pointer changed = to_ascii(node.children.front());
      if (!changed) return node.least == 0 ? make({.kind = NodeKind::sequence}) : nullptr;
      out.children.front() = std::move(changed);
      return make(std::move(out));
    }
    default:
      return pointer;
  }
}

Pointer to_relaxed(const Pointer& pointer) {
  const Node& node = *pointer;
  switch (node.kind) {
    case NodeKind::zero_width:
      // \b and \B Hyperscan can.
      return node.text == "\\b" || node.text == "\\B" ? pointer
                                                      : make({.kind = NodeKind::sequence});
    case NodeKind::reference: {
      Node any{.kind = NodeKind::set};
      any.set.set();
      Node repeat{.kind = NodeKind::repeat,
                  .children = {make(std::move(any))},
                  .least = 0,
                  .most = kNoBound};
      return make(std::move(repeat));
    }
    case NodeKind::repeat: {
      Node out = node;
      out.children.front() = to_relaxed(node.children.front());
      out.mode.clear();
      const std::uint64_t of_one = std::max<std::uint64_t>(count(*out.children.front()), 1);
      const std::uint64_t bound = of_one == 1 ? kMostCounted : of_one <= 8 ? 2 : 1;
      if (out.most != kNoBound && out.most > bound) out.most = kNoBound;
      if (out.least > bound) out.least = static_cast<std::uint32_t>(bound);
      if (is_empty(*out.children.front())) return out.children.front();
      return make(std::move(out));
    }
    case NodeKind::sequence:
    case NodeKind::choice:
    case NodeKind::group: {
      Node out = node;
      for (Pointer& child : out.children) child = to_relaxed(child);
      if (out.kind == NodeKind::group && (out.text == "(?>" || out.text.starts_with("(?<") ||
                                          out.text.starts_with("(?P") || out.text == "(")) {
        out.text = "(?:";
      }
      return make(std::move(out));
    }
    default:
      return pointer;
  }
}

// The beginning of what `node` matches, as far as `left` positions go; `whole`: nothing was cut.
Pointer to_truncated(const Pointer& pointer, std::uint64_t& left, bool& whole) {
  const Node& node = *pointer;
  const std::uint64_t size = count(node);
  if (size <= left) {
    left -= size;
    return pointer;
  }
  switch (node.kind) {
    case NodeKind::sequence: {
      Node out = node;
      out.children.clear();
      for (const Pointer& child : node.children) {
        out.children.push_back(to_truncated(child, left, whole));
        if (!whole) break;
      }
      return make(std::move(out));
    }
    case NodeKind::choice: {
      Node out = node;
      const std::uint64_t of_each = std::max<std::uint64_t>(left / node.children.size(), 3);
      for (Pointer& child : out.children) {
        std::uint64_t left_of_child = of_each;
        bool whole_child = true;
        child = to_truncated(child, left_of_child, whole_child);
        if (!whole_child) whole = false;
      }
      left = 0;
      return make(std::move(out));
    }
    case NodeKind::group: {
      Node out = node;
      out.children.front() = to_truncated(node.children.front(), left, whole);
      return make(std::move(out));
    }
    case NodeKind::repeat:
      whole = false;
      if (node.least == 0) return make({.kind = NodeKind::sequence});
      return to_truncated(node.children.front(), left, whole);
    default:
      whole = false;
      return make({.kind = NodeKind::sequence});
  }
}

bool is_plain(const Node& node) {
  if (node.kind == NodeKind::repeat) return count(*node.children.front()) <= 1 || node.most <= 1;
  return std::ranges::all_of(node.children, [](const Pointer& c) { return is_plain(*c); });
}

// The octets of a choice of short strings that go on with octets above 127 only: their first ones.
bool multi_octet(const Node& node, Set& first, bool& longer) {
  switch (node.kind) {
    case NodeKind::set:
      first |= node.set;
      return node.text.empty();
    case NodeKind::group:
      return multi_octet(*node.children.front(), first, longer);
    case NodeKind::choice:
      return std::ranges::all_of(node.children,
                                 [&](const Pointer& c) { return multi_octet(*c, first, longer); });
    case NodeKind::sequence: {
      if (node.children.empty() || node.children.size() > 4) return false;
      if (!multi_octet(*node.children.front(), first, longer)) return false;
      for (std::size_t i = 1; i < node.children.size(); ++i) {
        Set rest;
        if (!multi_octet(*node.children[i], rest, longer)) return false;
        if ((rest & range(0, 127)).any()) return false;
        longer = true;
      }
      return true;
    }
    default:
      return false;
  }
}

// The most octets that a node matches; kMany: no bound.
std::uint64_t longest(const Node& node) {
  switch (node.kind) {
    case NodeKind::set:
    case NodeKind::any:
      return 1;
    case NodeKind::opaque:
    case NodeKind::zero_width:
      return 0;
    case NodeKind::reference:
      return kMany;
    case NodeKind::repeat:
      return node.most == kNoBound ? kMany
                                   : std::min(longest(*node.children.front()) * node.most, kMany);
    case NodeKind::choice: {
      std::uint64_t most = 0;
      for (const Pointer& child : node.children) most = std::max(most, longest(*child));
      return most;
    }
    default: {
      std::uint64_t sum = 0;
      for (const Pointer& child : node.children) sum = std::min(sum + longest(*child), kMany);
      return sum;
    }
  }
}

// A long way of a choice: how it begins and how long it may be.
Pointer shortened(const Pointer& pointer) {
  constexpr std::size_t kKept = 2;
  constexpr std::uint64_t kLong = 6;
  const Node& node = *pointer;
  if (node.kind != NodeKind::sequence || count(node) <= kLong || node.children.size() <= kKept)
    return pointer;
  for (std::size_t i = 0; i < kKept; ++i) {
    if (node.children[i]->kind != NodeKind::set) return pointer;
  }
  std::uint64_t rest = 0;
  for (std::size_t i = kKept; i < node.children.size(); ++i) {
    rest = std::min(rest + longest(*node.children[i]), kMany);
  }
  Node out = node;
  out.children.resize(kKept);
  Node any{.kind = NodeKind::set};
  any.set.set();
  Node tail{.kind = NodeKind::repeat, .children = {make(std::move(any))}, .least = 0};
  tail.most = rest > 64 ? kNoBound : static_cast<std::uint32_t>(rest);
  out.children.push_back(make(std::move(tail)));
  return make(std::move(out));
}

Pointer to_collapsed(const Pointer& pointer) {
  const Node& node = *pointer;
  if (node.kind == NodeKind::choice || node.kind == NodeKind::group) {
    Set first;
    bool longer = false;
    if (multi_octet(node, first, longer) && longer) {
      Node head{.kind = NodeKind::set};
      head.set = first;
      Node high{.kind = NodeKind::set};
      high.set = range(128, 255);
      Node tail{
          .kind = NodeKind::repeat, .children = {make(std::move(high))}, .least = 0, .most = 3};
      Node both{.kind = NodeKind::sequence,
                .children = {make(std::move(head)), make(std::move(tail))}};
      return make({.kind = NodeKind::group, .text = "(?:", .children = {make(std::move(both))}});
    }
  }
  Node out = node;
  for (Pointer& child : out.children) child = to_collapsed(child);
  if (out.kind == NodeKind::choice && count(out) > 12) {
    for (Pointer& child : out.children) child = shortened(child);
  }
  return make(std::move(out));
}

// --- without what need not be there ---

bool backtracks(const Node& node) { return node.mode.empty() || node.mode == "?"; }
// A group that only groups.
bool only_groups(const Node& node) { return node.text == "(?:" || node.text == "("; }

// `first`: at the beginning of the regex, else at its end.
Pointer to_core(const Pointer& pointer, bool first, bool& changed) {
  const Node& node = *pointer;
  switch (node.kind) {
    case NodeKind::sequence: {
      Node out = node;
      while (!out.children.empty()) {
        Pointer& edge = first ? out.children.front() : out.children.back();
        edge = to_core(edge, first, changed);
        if (!is_empty(*edge)) break;
        out.children.erase(first ? out.children.begin() : out.children.end() - 1);
      }
      return make(std::move(out));
    }
    case NodeKind::choice: {
      Node out = node;
      for (Pointer& child : out.children) child = to_core(child, first, changed);
      return make(std::move(out));
    }
    case NodeKind::group: {
      if (!only_groups(node)) return pointer;
      Node out = node;
      out.children.front() = to_core(node.children.front(), first, changed);
      if (is_empty(*out.children.front())) return out.children.front();
      return make(std::move(out));
    }
    case NodeKind::repeat: {
      if (!backtracks(node)) return pointer;
      const Pointer& child = node.children.front();
      if (node.least == 0) {
        changed = true;
        return make({.kind = NodeKind::sequence});
      }
      if (node.least != node.most) changed = true;
      if (node.least == 1) return to_core(child, first, changed);
      Node rest = node;
      rest.least = rest.most = node.least - 1;
      Node out{.kind = NodeKind::sequence};
      out.children.push_back(make(std::move(rest)));
      Node edge{.kind = NodeKind::group, .text = "(?:", .children = {child}};
      Pointer outer = to_core(make(std::move(edge)), first, changed);
      out.children.insert(first ? out.children.begin() : out.children.end(), std::move(outer));
      return make(std::move(out));
    }
    default:
      return pointer;
  }
}

}  // namespace

std::optional<RegexTree> RegexTree::read(std::string_view pattern, std::uint32_t options) {
  bool references = false;
  Pointer root = regex::read(pattern, (options & scan::kRegexExtended) != 0, references);
  if (!root) return std::nullopt;
  return RegexTree(std::move(root), references);
}

std::optional<RegexTree> RegexTree::ascii() const {
  if (references_) return *this;
  Pointer root = to_ascii(root_);
  if (!root) return std::nullopt;
  return RegexTree(std::move(root), references_);
}

RegexTree RegexTree::relaxed() const { return RegexTree(to_relaxed(root_), false); }
RegexTree RegexTree::collapsed() const { return RegexTree(to_collapsed(root_), references_); }

RegexTree RegexTree::truncated(std::uint64_t positions) const {
  bool whole = true;
  return RegexTree(to_truncated(root_, positions, whole), references_);
}
std::optional<RegexTree> RegexTree::core() const {
  if (references_) return std::nullopt;
  bool changed = false;
  Pointer root = to_core(to_core(root_, true, changed), false, changed);
  if (!changed || is_empty(*root)) return std::nullopt;
  return RegexTree(std::move(root), false);
}

std::optional<std::bitset<256>> RegexTree::single_set() const {
  const Node* node = root_.get();
  while ((node->kind == NodeKind::group && only_groups(*node)) ||
         (node->kind == NodeKind::sequence && node->children.size() == 1))
    node = node->children.front().get();
  if (node->kind != NodeKind::set) return std::nullopt;
  return node->set;
}

bool RegexTree::plain() const { return is_plain(*root_); }

std::string RegexTree::text() const {
  std::string out;
  put(out, *root_);
  return out;
}

std::uint64_t RegexTree::positions() const { return count(*root_); }

}  // namespace sluice::control
