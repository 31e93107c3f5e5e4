// A channel of rules as sa-update gets them: an archive with its signature, verified and unpacked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "dataplane/base/result.h"

namespace sluice::control {

struct ChannelArchive {
  std::filesystem::path archive;    // VERSION.tar.gz
  std::filesystem::path signature;  // beside it: .asc, .sig or .gpg; empty: there is none
  std::filesystem::path checksum;   // beside it: .sha512 or .sha256; empty: there is none
  std::string version;              // the file's name without its endings
};

// The archive that `path` names: itself, or the one with the highest version in a folder.
Result<ChannelArchive> find_archive(const std::filesystem::path& path);

// Verifies the signature with gpgv against `keyring` (binary, or ASCII armour as sa-update ships
// its key). The error names what gpgv said.
Status verify_signature(const ChannelArchive& archive, const std::filesystem::path& keyring);

// Compares the checksum beside the archive. It tells damage, not forgery.
Status verify_checksum(const ChannelArchive& archive);

// Limits of what is unpacked.
inline constexpr std::size_t kMaxArchiveFiles = 1000;
inline constexpr std::uint64_t kMaxArchiveFile = std::uint64_t{16} << 20;   // octets of one file
inline constexpr std::uint64_t kMaxArchiveSize = std::uint64_t{128} << 20;  // of all

// Unpacks the regular files of the archive into the existing folder `into`, all of them beside each
// other. Refuses links, devices, names that lead elsewhere and what is over the limits: then
// nothing of it is to be used. Returns the names.
Result<std::vector<std::string>> unpack_archive(const std::filesystem::path& archive,
                                                const std::filesystem::path& into);

}  // namespace sluice::control
