// Shell-like patterns with * and ?, without regard to the case of ASCII letters. Linear in
// practice: one backtrack point. Pure.
#pragma once

#include <string_view>

namespace sluice::control {

bool glob(std::string_view pattern, std::string_view text);

}  // namespace sluice::control
