// Live screens: what passes, hosts, events. On a terminal they redraw in place (plain ANSI, 80 by
// 24 or whatever there is) and end with q or Ctrl-C; elsewhere each screen is printed below the
// other, so that a script can read them. sluiced is asked anew for each; a lost connection ends
// them.
#pragma once

#include <iosfwd>
#include <nlohmann/json.hpp>

#include "control/api/server.h"
#include "control/cli/commands.h"

namespace sluice::control {

bool is_screen(const Command& command);
int run_screen(const Command& command, const nlohmann::json& arguments, const RunOptions& options,
               std::ostream& out, std::ostream& errors);
// Events that sluiced pushes on `client`, one line each.
int watch_events(ApiClient& client, const nlohmann::json& arguments, const RunOptions& options,
                 std::ostream& out, std::ostream& errors);

// What one screen shows, `before` and `now` being answers `seconds` apart. Pure.
std::string traffic_screen(const nlohmann::json& before, const nlohmann::json& now, double seconds,
                           std::size_t width);
std::string hosts_screen(const nlohmann::json& before, const nlohmann::json& now, double seconds,
                         std::size_t width, std::size_t rows);

}  // namespace sluice::control
