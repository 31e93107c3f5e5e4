// Who may do what: four levels, each with all that the ones before it have.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::control {

enum class Access : std::uint8_t {
  none,
  viewer,   // sees
  operate,  // and acts on hosts, wires and captures ("operator" is no identifier in C++)
  admin,    // and changes the configuration
};
inline constexpr std::string_view kAccessNames[] = {"none", "viewer", "operator", "admin"};

}  // namespace sluice::control
