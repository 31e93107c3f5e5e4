// The commands on rule files that need no sluiced: `rules check` and `rules test`.
#pragma once

#include <iosfwd>
#include <nlohmann/json.hpp>

#include "control/cli/commands.h"

namespace sluice::control {

// Compiles the rule files and folders of arguments["files"]; reports by file what compiled, what
// was refused and why, and what the databases cost. Exit status: done, partial when some rules were
// refused, failed when no rule is left.
int rules_check(const nlohmann::json& arguments, const RunOptions& options, std::ostream& out,
                std::ostream& errors);

// Runs messages (arguments["messages"]) against rules (arguments["rules"]) and the thresholds of a
// configuration (arguments["policy"]), as the wire would, in one process. One line a message; as
// JSON {"file", "score", "verdict", "reason", "rules", "octets", "microseconds"}. A summary of
// rules and times goes to `errors` as text, or with arguments["summary"] as a last JSON line.
int rules_test(const nlohmann::json& arguments, const RunOptions& options, std::ostream& out,
               std::ostream& errors);

}  // namespace sluice::control
