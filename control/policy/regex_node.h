// The nodes of a RegexTree, for the files that read and change them.
#pragma once

#include <bitset>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/policy/regex_tree.h"

namespace sluice::control {

enum class NodeKind : std::uint8_t {
  set,
  any,
  opaque,
  zero_width,
  reference,
  sequence,
  choice,
  repeat,
  group
};

struct RegexTree::Node {
  NodeKind kind = NodeKind::sequence;
  std::bitset<256> set;
  std::string text;  // opaque and zero-width: as written; group: how it opens
  std::vector<NodePointer> children;
  std::uint32_t least = 1;
  std::uint32_t most = 1;  // kNoBound
  std::string mode;        // "", "?" or "+"
};

namespace regex {

using Node = RegexTree::Node;
using Pointer = RegexTree::NodePointer;
using Set = std::bitset<256>;
inline constexpr std::uint32_t kNoBound = UINT32_MAX;

inline Pointer make(Node node) { return std::make_shared<const Node>(std::move(node)); }

inline Set range(unsigned from, unsigned to) {
  std::bitset<256> set;
  for (unsigned c = from; c <= to; ++c) set.set(c);
  return set;
}

// What flags say at a place of a regex.
struct Flags {
  bool caseless = false;
  bool dot_all = false;
  bool multiline = false;
};
// Those of a group that opens with `text`: `(`, `(?:`, `(?i:`, ... False for other groups.
bool group_flags(std::string_view text, Flags& flags);
// The octets of a set node with both cases of its letters.
Set ignoring_case(const Node& node);

// The tree of a pattern, or nullptr. `references`: whether it refers to its groups.
Pointer read(std::string_view pattern, bool extended, bool& references);

}  // namespace regex
}  // namespace sluice::control
