// Rule files to compiled rules: parse, sort into scan buffers, compile with Hyperscan. Broken,
// empty or too expensive rules are refused by name, file and line, and the rest is compiled.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "control/policy/compiled_lists.h"
#include "dataplane/base/result.h"
#include "dataplane/contract/policy_image.h"
#include "dataplane/scan/scan.h"

namespace sluice::control {

struct RuleFault {
  std::string file;
  std::uint32_t line = 0;
  std::string rule;   // sid or name, when known
  std::string text;   // what is wrong
  bool fatal = true;  // false: the rule runs all the same
};

// What became of one file.
struct RuleFileReport {
  std::string file;
  std::size_t compiled = 0;
  std::size_t refused = 0;
};

// What the patterns of one buffer cost.
struct DatabaseReport {
  scan::Buffer buffer = scan::Buffer::stream;
  std::size_t patterns = 0;       // in the Hyperscan database
  std::size_t literals = 0;       // found beside it (scan/literals.h)
  std::size_t octets = 0;         // of the database in memory
  std::size_t stream_octets = 0;  // of state for each message; 0: the buffer is scanned whole
  double seconds = 0;             // of compiling; near 0 from the cache
  bool from_cache = false;
};

// The compiled form: what goes into a policy image. Immutable; shared by images.
struct CompiledRules {
  std::vector<ListToCompile> lists;       // rules that are lists of hashes; not in `rules`
  std::vector<scan::RuleInfo> rules;      // for reports; the image has them too
  std::vector<std::uint8_t> image;        // the ruleset section of a policy image (rule tables and
                                          // serialized databases)
  std::array<std::uint8_t, 32> digest{};  // SHA-256 of `image`
  contract::Platform platform = 0;        // what the databases run on; 0: there are none
  std::vector<RuleFault> faults;          // in the order of files and lines
  std::size_t refused = 0;
  double compile_seconds = 0;
  std::vector<RuleFileReport> files;      // in the order in which they were read
  std::vector<DatabaseReport> databases;  // by buffer
};

struct CompileOptions {
  // Where compiled databases are kept, by content, platform and library version; empty: nowhere.
  std::filesystem::path cache;
};

// Reads `paths` (files, or folders of *.rules and *.cf) in order. Fails only when a path cannot be
// read; faults of rules are in the result. Slow (0.5 s for 1,000 rules); any thread.
Result<std::shared_ptr<const CompiledRules>> compile_rules(
    const std::vector<std::filesystem::path>& paths, const CompileOptions& options = {});

}  // namespace sluice::control
