// `rules update`: takes a channel of rules from disk, verified, into a folder of versions, and
// makes sluiced load it.
//
//   ROOT/NAME/versions/VERSION/   what was unpacked; never changed afterwards
//   ROOT/NAME/current             link to the version in use: what the configuration names
//
// A version counts once its rules compile; the link is switched by one rename; when sluiced does
// not take the new rules, the link goes back and so do the rules.
#pragma once

#include <iosfwd>
#include <nlohmann/json.hpp>

#include "control/cli/commands.h"

namespace sluice::control {

// Arguments: source, keyring, root, name, unsigned, no_load. Exit status: done; partial when some
// rules were refused or the configuration does not name the folder; failed when nothing was
// changed.
int rules_update(const nlohmann::json& arguments, const RunOptions& options, std::ostream& out,
                 std::ostream& errors);

}  // namespace sluice::control
