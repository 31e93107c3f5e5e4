// The classtypes of the field's rule sets, with what EVE calls the category and the severity.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::control {

struct Classification {
  std::string_view name;
  std::string_view category;  // EVE alert.category
  std::uint8_t severity;      // 1 is the gravest
};

// Nothing for a name that is not in the list. (The list is Suricata's classification.config.)
const Classification* find_classification(std::string_view name);

}  // namespace sluice::control
