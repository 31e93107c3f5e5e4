// A rule as its author wrote it, after reading and before compiling: the same for every language.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/scan/scan.h"

namespace sluice::control {

// One thing that a rule looks for in a buffer.
struct Content {
  bool is_regex = false;
  std::string octets;         // the literal, or the regex
  std::uint32_t options = 0;  // of a regex: scan::kRegex*
  bool nocase = false;        // of a literal
  bool negated = false;
  bool relative = false;  // to the end of the last positive match (distance, within, pcre /R)
  bool at_start = false;
  bool at_end = false;
  std::optional<std::int32_t> offset;  // from the item's start
  std::optional<std::int32_t> depth;   // octets from `offset` in which it lies
  std::optional<std::int32_t> distance;
  std::optional<std::int32_t> within;
};

// What a rule looks for in one buffer, in the author's order.
struct BufferContents {
  scan::Buffer buffer = scan::Buffer::stream;
  std::vector<Content> contents;
};

struct SourceRule {
  scan::RuleInfo info;
  std::string
      hash_list;  // file of attachment hashes (filesha256, filemd5); then there are no buffers
  std::uint32_t line = 0;
  std::vector<BufferContents> buffers;  // each buffer once
};

}  // namespace sluice::control
