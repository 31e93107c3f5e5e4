// Lists of prefixes in files, up to millions of lines: one prefix a line; '#' or ';' begins a
// comment; CRLF, LF, a BOM, blanks and tabs around, upper case and a missing last line end are fine
// (wire case E05). Good lines are loaded, bad ones reported by number. A file that cannot be read
// to its end, changes while it is read, or is empty without leave gives an error and no list, so
// that the caller keeps the last good one (E07).
//
// Pure but for reading the file; linear in its size; any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "control/publish/image.h"
#include "dataplane/base/result.h"

namespace sluice::control {

struct PrefixListFault {
  std::size_t line = 0;  // from 1
  std::string text;      // what is wrong, with the beginning of the line as it stands
};

struct PrefixList {
  std::vector<Prefix> prefixes;  // ordered, each once, masked
  std::size_t lines = 0;
  std::size_t duplicates = 0;
  std::size_t masked = 0;               // had host bits set
  std::size_t fault_count = 0;          // bad lines
  std::vector<PrefixListFault> faults;  // the first kMaxFaults of them
};

struct PrefixListOptions {
  bool force = false;        // accept a prefix that holds every address (E03)
  bool allow_empty = false;  // accept a list without a prefix
};

inline constexpr std::size_t kMaxPrefixListFaults = 1000;
inline constexpr std::size_t kMaxPrefixListLine = 1024;                      // octets
inline constexpr std::uint64_t kMaxPrefixListSize = std::uint64_t{1} << 30;  // octets

PrefixList parse_prefix_list(std::string_view text, const PrefixListOptions& options);
Result<PrefixList> read_prefix_list(const std::filesystem::path& path,
                                    const PrefixListOptions& options);

}  // namespace sluice::control
