// Compiling the patterns of one buffer to a serialized Hyperscan database, with a cache on disk and
// the culprits found when it does not compile.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "control/policy/lowering.h"
#include "dataplane/base/result.h"
#include "dataplane/contract/policy_image.h"

namespace sluice::control {

// What databases are compiled for: this machine's CPU and the Hyperscan in this process.
contract::Platform this_platform();

struct BadPattern {
  std::size_t index = 0;  // into the patterns that were given
  std::string reason;
};

struct BuiltDatabase {
  std::vector<std::uint8_t> serialized;
  std::size_t octets = 0;         // of the database in memory
  std::size_t stream_octets = 0;  // of one stream's state, when streaming
  double seconds = 0;
  bool from_cache = false;
  std::vector<BadPattern> bad;  // not empty: nothing was built, try without these
};

// The number of a pattern is its index. `cache` may be empty: no cache. An unreadable, truncated or
// foreign cache file is as if it were not there. Slow; any thread.
Result<BuiltDatabase> build_database(std::span<const Pattern> patterns, bool streaming,
                                     const std::filesystem::path& cache);

// Why `pattern` alone is too expensive to run in the path (with its cost), or empty. Slow for
// regexes with counted repeats, which are compiled to find out.
std::string too_expensive(const Pattern& pattern, bool streaming);

}  // namespace sluice::control
