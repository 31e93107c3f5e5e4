// Where wires are pinned, and the lock that makes processes take turns on one.
#pragma once

#include <string>
#include <vector>

#include "dataplane/base/result.h"
#include "xdp/loader/descriptor.h"

namespace sluice::xdp {

// <base>/sluice/v<layout>, and the folder of a wire in it.
std::string layout_folder(const std::string& base);
std::string wire_folder(const std::string& base, const std::string& wire);

// Mounts bpffs at `base` when it is not one. Refuses to do so at the default place inside a private
// mount namespace (`ip netns exec`), where the pins would vanish with the shell.
Status ensure_bpffs(const std::string& base, bool explicit_base);

// Makes the folder and its parents.
Status make_folders(const std::string& folder);

// Waits for the exclusive lock of `folder` and holds it until destroyed. Fails when there is no
// such folder (also when its last holder removed it meanwhile).
Result<Descriptor> lock_folder(const std::string& folder);

std::vector<std::string> list_folder(const std::string& folder);

// A name that is safe as a path component and fits the contract.
bool is_wire_name(const std::string& name);

}  // namespace sluice::xdp
