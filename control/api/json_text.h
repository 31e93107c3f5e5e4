// JSON that people and other programs wrote. Pure; any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "dataplane/base/result.h"

namespace sluice::control {

// The error, to be put behind the name of the text (":3: ..."), names the line of what is no JSON,
// or the path of a number that no double holds, or of a member that its object has twice: which one
// counts RFC 8259 section 4 leaves open, and neither may be lost without a word.
Result<nlohmann::json> parse_json(std::string_view text);

}  // namespace sluice::control
