// Regexes that the dataplane can match without Hyperscan: a literal, then a row of characters that
// may repeat (scan/literal_tail.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/scan/literal_tail.h"

namespace sluice::control {

struct LinearRegex {
  // Any of these begins it: more than one when what follows the letters is a small set.
  std::vector<std::string> literals;  // each of scan::LiteralSet's sizes; lower case if nocase
  bool nocase = false;
  std::vector<scan::LiteralTail::Position> tail;  // empty: the literal is all of it
};

// Nothing for regexes that are not of this form. `options`: scan::kRegex*.
std::optional<LinearRegex> linear_regex(std::string_view regex, std::uint32_t options);

}  // namespace sluice::control
