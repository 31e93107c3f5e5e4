// The lists that a configuration names: read, compiled together, and what went wrong.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "control/policy/compiled_lists.h"
#include "control/policy/match_list.h"
#include "dataplane/lists/lists.h"

namespace sluice::control {

struct MatchListConfig {
  MatchKind kind = MatchKind::url;
  std::filesystem::path file;
  lists::List list;  // as what a hit counts
  bool allow_empty = false;
  std::string comment;
  const std::string& name() const { return list.rule.name; }
};
inline constexpr std::uint32_t kMatchListGid = 200;

struct LoadedList {
  MatchListConfig configured;
  std::shared_ptr<const MatchList> list;  // the last good one; null: there has been none
  std::string error;                      // of the last reading
};

// Immutable in parts; cheap to copy.
struct LoadedLists {
  std::vector<LoadedList> lists;
  std::vector<ListToCompile> of_rules;  // lists that rules name (filesha256), behind the others
  std::shared_ptr<const CompiledLists> compiled = no_lists();
};

// Reads and compiles what `configured` names. Files that have not changed since `before` are not
// read again, the last good list stays where reading fails, and nothing is compiled when nothing is
// new. Fails only when no section can be made of the lists. Slow; any thread.
// `of_rules` are those of CompiledRules.
Result<LoadedLists> load_match_lists(const std::vector<MatchListConfig>& configured,
                                     const std::vector<ListToCompile>& of_rules,
                                     const LoadedLists& before);

}  // namespace sluice::control
