#include "control/daemon/access.h"

#include <grp.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace sluice::control {
namespace {

std::optional<gid_t> group_id(const std::string& name) {
  group entry{};
  group* found = nullptr;
  std::vector<char> buffer(65536);
  if (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
      found == nullptr) {
    return std::nullopt;
  }
  return found->gr_gid;
}

bool begins(std::string_view text, std::string_view with) { return text.starts_with(with); }

}  // namespace

Granted access_of(const Peer& peer, const AccessConfig& config) {
  if (peer.access != Access::none) return {peer.access, "token " + peer.user};  // of the HTTP API
  if (peer.uid == 0) return {Access::admin, "root"};
  if (peer.uid == ::geteuid()) return {Access::admin, "the user of sluiced"};
  for (const auto& [user, role] : config.users) {
    if (user == peer.user) return {role, "user " + user};
  }
  std::vector<std::pair<std::string, Access>> groups = config.groups;
  if (groups.empty()) groups.assign(std::begin(kDefaultGroups), std::end(kDefaultGroups));
  Granted best;
  std::string names;
  for (const auto& [name, access] : groups) {
    names += (names.empty() ? "" : ", ") + name;
    if (access <= best.access) continue;
    const auto gid = group_id(name);
    if (!gid) continue;
    if (*gid == peer.gid ||
        std::find(peer.groups.begin(), peer.groups.end(), *gid) != peer.groups.end()) {
      best = {access, "group " + name};
    }
  }
  if (best.access == Access::none) best.by = "in none of the groups " + names;
  return best;
}

Access needed_access(std::string_view command, const nlohmann::json& arguments) {
  if (begins(command, "show ") || begins(command, "explain ") || command == "test policy" ||
      command == "monitor") {
    return Access::viewer;
  }
  // What only looks at the configuration, or tries one without taking it.
  for (const std::string_view seen :
       {"config get", "config show", "config diff", "config compare", "config validate",
        "config check", "config history", "config status"}) {
    if (command == seen) return Access::viewer;
  }
  if (command == "host order" || command == "host release") return Access::operate;
  if (command == "request capture") {
    const auto full = arguments.find("full");
    const bool payload = full != arguments.end() && full->is_boolean() && full->get<bool>();
    return payload ? Access::admin : Access::operate;
  }
  if (begins(command, "request ")) return Access::operate;
  if (command == "rules load") {
    // The same files again, or others, which is a change of the configuration.
    const auto files = arguments.find("files");
    return files == arguments.end() || files->empty() ? Access::operate : Access::admin;
  }
  return Access::admin;
}

bool is_action(std::string_view command) {
  return !begins(command, "show ") && !begins(command, "explain ") && command != "monitor" &&
         command != "test policy" && needed_access(command, {}) > Access::viewer;
}

}  // namespace sluice::control
