// A regex as a tree, to make cheaper ones of it that match at least the same (supersets), for
// patterns that Hyperscan cannot express or that would cost too much, and the one that is left of
// it in text without octets above 127.
#pragma once

#include <bitset>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::control {

class RegexTree {
 public:
  // Nothing for what is not understood. `options`: scan::kRegex*; extended white space and comments
  // are gone from the tree.
  static std::optional<RegexTree> read(std::string_view pattern, std::uint32_t options);

  // What can still match in items of octets 0 to 127: exactly the same there. Nothing when no such
  // item can match. Unchanged for regexes with references to groups.
  std::optional<RegexTree> ascii() const;
  // A superset without anchors inside, look-around, references to groups, and counted repeats with
  // a high bound.
  RegexTree relaxed() const;
  // A superset in which a choice of multi-octet characters is its first octets and up to three
  // octets above 127, and of long ways of a choice only the beginning is looked at.
  RegexTree collapsed() const;

  // A superset: what the first `positions` characters of each way to match need.
  RegexTree truncated(std::uint64_t positions) const;

  // What matches in the same items, though not the same octets of them: without what may be there
  // at the beginning or at the end and need not. Nothing when that changes nothing, or for regexes
  // with references to groups.
  std::optional<RegexTree> core() const;

  // The octets of a regex that is one set of octets.
  std::optional<std::bitset<256>> single_set() const;

  // Whether it refers to its groups.
  bool references() const { return references_; }

  std::string text() const;
  // Characters when repeated parts are written out: compiling and matching cost grow with it.
  std::uint64_t positions() const;
  // Nothing but strings and single characters that repeat.
  bool plain() const;

  // One character and how often it stands there.
  struct Run {
    std::bitset<256> octets;  // both cases of letters when case is ignored
    std::uint32_t least = 1;
    std::uint32_t most = 1;  // UINT32_MAX: no bound
  };
  // The regex as a row of runs; nothing when it is more than that (choices, anchors, groups that
  // repeat, possessive repeats). `options`: scan::kRegex*, as in read().
  std::optional<std::vector<Run>> runs(std::uint32_t options) const;

  // Of a regex that matches a line of so many octets and looks for nothing else, how many; else 0.
  std::uint32_t line_octets(std::uint32_t options) const;

  struct Node;  // regex_node.h
  using NodePointer = std::shared_ptr<const Node>;
  const NodePointer& root() const { return root_; }

 private:
  explicit RegexTree(NodePointer root, bool references)
      : root_(std::move(root)), references_(references) {}
  NodePointer root_;
  bool references_ = false;
};

}  // namespace sluice::control
