// Who may ask for what: roles from the Unix user and groups of who connected (the kernel's word,
// not the client's), and the least role of each request.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "control/api/access.h"
#include "control/api/config.h"
#include "control/api/server.h"

namespace sluice::control {

// Groups that give a role when the configuration names none.
inline constexpr std::pair<const char*, Access> kDefaultGroups[] = {
    {"sluice-viewer", Access::viewer},
    {"sluice-operator", Access::operate},
    {"sluice-admin", Access::admin}};

struct Granted {
  Access access = Access::none;
  std::string by;  // "root", "user alice", "group sluice-operator"; of none: what would be needed
};

// root and whoever sluiced runs as are admin; else what the configuration says of the user; else
// the highest role of the user's groups; else none.
Granted access_of(const Peer& peer, const AccessConfig& config);

// The least that a request needs. Requests that are not known need admin: that one was forgotten
// here must not open it.
Access needed_access(std::string_view command, const nlohmann::json& arguments);
// Requests that change something or take personal data out, and so stand in the audit log also when
// they were refused.
bool is_action(std::string_view command);

}  // namespace sluice::control
