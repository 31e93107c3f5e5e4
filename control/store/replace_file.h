// Replaces a file so that after a crash at any step either the old or the new contents are there,
// never a mix: written beside, synchronised, renamed, the folder synchronised.
#pragma once

#include <filesystem>
#include <string_view>

#include "dataplane/base/result.h"

namespace sluice::control {

// Blocks for the disk. The new file has the old one's permissions, or 0640.
Status replace_file(const std::filesystem::path& path, std::string_view contents);

}  // namespace sluice::control
