// Lists of domains, URLs, addresses, attachment hashes and file names in files, up to millions of
// lines: one entry a line; '#' at the beginning of a line or behind a blank begins a comment; CRLF,
// a BOM, blanks around, upper case and a missing last line end are fine. Good lines are loaded, bad
// ones reported by number. A file that cannot be read to its end, changes while it is read, or is
// empty without leave gives an error and no list, so that the caller keeps the last good one.
//
//   url        bad.example          the host of a URL, and every host below it (so does
//   .bad.example)
//              =www.bad.example     that host alone
//              192.0.2.1            that host alone
//              bad.example/a?b      that URL (http://bad.example/a?b too: schemes do not count)
//   address    user@bad.example     that address
//              @bad.example         addresses of that domain alone
//              bad.example          of the domain and every domain below it
//   hash       32 or 64 hexadecimal digits: MD5 or SHA-256; what follows a blank is not looked at
//   file-name  invoice.exe          that name, of any case
//              *.exe                names that end so (so does .exe)
//
// Pure but for reading the file; linear in its size; any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/lists/key.h"

namespace sluice::control {

enum class MatchKind : std::uint8_t { url, address, hash, file_name };
inline constexpr std::string_view kMatchKindNames[] = {"url", "address", "hash", "file-name"};

struct MatchListFault {
  std::size_t line = 0;  // from 1
  std::string text;      // what is wrong, with the beginning of the line as it stands
};

struct MatchList {
  // What stands in the file, packed: u16 size, u8 lists::Kind, text in the form that is compared.
  std::vector<std::uint8_t> octets;
  std::size_t entries = 0;
  std::size_t lines = 0;
  std::size_t fault_count = 0;         // bad lines
  std::vector<MatchListFault> faults;  // the first kMaxMatchListFaults of them
  // Of the file, to see whether it has changed: device, inode, size, times of change.
  std::array<std::uint64_t, 6> identity{};
};

inline constexpr std::size_t kMaxMatchListFaults = 1000;
inline constexpr std::size_t kMaxMatchListLine = 4096;                      // octets
inline constexpr std::uint64_t kMaxMatchListSize = std::uint64_t{1} << 30;  // octets

MatchList parse_match_list(std::string_view text, MatchKind kind);

// `before`, when it is of the file as it stands now, is given back and nothing is read.
Result<std::shared_ptr<const MatchList>> read_match_list(
    const std::filesystem::path& path, MatchKind kind, bool allow_empty,
    const std::shared_ptr<const MatchList>& before = {});

}  // namespace sluice::control
