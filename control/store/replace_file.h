// Replaces a file so that after a crash at any step either the old or the new contents are there,
// never a mix: written beside, synchronised, renamed, the folder synchronised.
#pragma once

#include <filesystem>
#include <string_view>

#include "dataplane/base/result.h"

namespace sluice::control {

// The two halves of it: what is written beside changes nothing yet, and moving it into place cannot
// fail for want of room. discard_beside() takes back the first.
Status write_beside(const std::filesystem::path& path, std::string_view contents);
Status move_into_place(const std::filesystem::path& path);
void discard_beside(const std::filesystem::path& path);
// Makes renames and removals in a folder durable.
Status synchronise_folder(const std::filesystem::path& folder);

// Both. Blocks for the disk. The new file has the old one's permissions, or 0640.
Status replace_file(const std::filesystem::path& path, std::string_view contents);

}  // namespace sluice::control
