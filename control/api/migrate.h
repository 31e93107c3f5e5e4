// Configurations of older versions of the model, brought up to this one; newer ones are refused by
// name, before libyang trips over their first new leaf.
//
// A configuration says its version in the leaf `model-version`; one without it is known by its
// contents, so a step changes only what it finds. To add version N: raise kModelVersion, write the
// step, and put it last in kSteps.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"

namespace sluice::control {

inline constexpr std::uint64_t kModelVersion = 2;

struct Migrated {
  std::string text;                // RFC 7951 JSON of this version; as given when nothing changed
  std::vector<std::string> notes;  // what was changed, one line each
};

// `name` stands for the text in errors. A text that is no JSON object is given back as it is: what
// is wrong with it is said by whoever parses it.
Result<Migrated> migrate(std::string_view json, std::string_view name);

}  // namespace sluice::control
