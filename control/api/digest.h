#pragma once

#include <string>
#include <string_view>

namespace sluice::control {

// SHA-256 in lower-case hexadecimal digits.
std::string sha256_text(std::string_view octets);

}  // namespace sluice::control
