// What tests of scanning share: rules written as text, compiled, put into an image, opened as the
// dataplane does it, and asked about octets.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <memory_resource>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/policy/rules.h"
#include "dataplane/scan/ruleset.h"
#include "dataplane/scan/scan.h"

namespace sluice::test {

// A folder of the test's own, gone with it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sluice-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, std::string_view octets) const {
    std::ofstream(path_ / name, std::ios::binary) << octets;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

inline std::shared_ptr<const control::CompiledRules> compile_text(
    std::string_view text, const std::string& name = "test.rules",
    const control::CompileOptions& options = {}) {
  const TemporaryFolder folder;
  auto compiled = control::compile_rules({folder.write(name, text)}, options);
  EXPECT_TRUE(compiled) << compiled.error();
  return compiled ? *compiled : nullptr;
}

// Rules of which none may be refused.
inline std::shared_ptr<const scan::Ruleset> ruleset_of(std::string_view text) {
  const auto compiled = compile_text(text);
  if (!compiled) return scan::Ruleset::empty();
  for (const control::RuleFault& fault : compiled->faults) {
    EXPECT_FALSE(fault.fatal) << "line " << fault.line << ": " << fault.text;
  }
  auto ruleset = scan::Ruleset::open(compiled->image);
  EXPECT_TRUE(ruleset) << ruleset.error();
  return ruleset ? *ruleset : scan::Ruleset::empty();
}

inline std::string rule(int sid, std::string_view options) {
  return "alert smtp any any -> any any (msg:\"t\"; " + std::string(options) +
         " sid:" + std::to_string(sid) + ";)\n";
}

using Sids = std::set<std::uint32_t>;

inline Sids sids_of(const scan::MessageScan& scan) {
  Sids sids;
  for (const scan::Hit& hit : scan.hits()) {
    EXPECT_TRUE(sids.insert(hit.rule->sid).second) << "rule " << hit.rule->sid << " hit twice";
  }
  return sids;
}

// The rules that hit when `octets` are one item of `buffer`, given in pieces of `cut` octets (0:
// whole).
inline Sids hits(const scan::Ruleset& ruleset, std::string_view octets,
                 scan::Buffer buffer = scan::Buffer::stream, std::size_t cut = 0) {
  const auto scratch = *scan::Scratch::make(ruleset);
  scan::MessageScan scan(*scratch, std::pmr::get_default_resource());
  if (scan::is_stream(buffer)) {
    const std::size_t step = cut == 0 ? std::max<std::size_t>(octets.size(), 1) : cut;
    for (std::size_t at = 0; at < octets.size(); at += step) {
      scan.feed(buffer, as_bytes(octets.substr(at, step)));
    }
  } else {
    scan.whole(buffer, as_bytes(octets));
  }
  scan.settle();
  EXPECT_FALSE(scan.incomplete());
  return sids_of(scan);
}

}  // namespace sluice::test
