// What can be asked of the appliance beside its configuration, in one table: from it come the YANG
// module `sluice-operations` (RPCs, and state that can be read), the resources of the HTTP API, and
// their OpenAPI description. Each is a request of the socket (server.h), so both ways answer alike.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "control/api/access.h"

namespace sluice::control {

struct OperationInput {
  std::string_view name;  // of the leaf
  std::string_view key;   // of the request's argument
  std::string_view type;  // YANG: "string", "uint64", "boolean"
  bool mandatory = false;
  std::string_view help;
};

struct Operation {
  std::string_view name;     // of the RPC
  std::string_view request;  // of the socket
  std::string_view help;
  std::span<const OperationInput> inputs;
};

// A part of the state that is read by GET.
struct StateView {
  std::string_view name;     // of the member of `state`
  std::string_view request;  // of the socket
  std::string_view help;
};

std::span<const Operation> operations();
std::span<const StateView> state_views();
const Operation* find_operation(std::string_view name);
// YANG 1.1 text of the module.
std::string operations_yang();

inline constexpr std::string_view kOperationsModule = "sluice-operations";
inline constexpr std::string_view kOperationsNamespace = "urn:sluice:operations";
inline constexpr std::string_view kOperationsRevision = "2026-11-26";

}  // namespace sluice::control
