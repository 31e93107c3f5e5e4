// The inspection of the wire in this process, for `analyze` and `rules test`: configuration and
// rule files to a policy, without sluiced.
#pragma once

#include <filesystem>
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

#include "control/policy/loaded_lists.h"
#include "control/policy/rules.h"
#include "control/publish/image.h"
#include "dataplane/base/result.h"
#include "dataplane/policy/policy.h"

namespace sluice::control {

struct OfflineOptions {
  std::string policy;                        // configuration file; empty: the defaults
  std::vector<std::filesystem::path> rules;  // besides those of the configuration
  std::vector<std::string> inside;           // prefixes, besides those of the configuration
  bool hash_messages = true;
  CompileOptions compile;
};

struct OfflinePolicy {
  PolicySpec spec;
  std::shared_ptr<const CompiledRules> rules;
  LoadedLists lists;
  std::shared_ptr<const policy::Policy> policy;
  const std::string& wire() const;  // the name of the only wire that there is
};

// The error names the file, and in it the place.
Result<OfflinePolicy> open_offline_policy(const OfflineOptions& options);

// One line for each fault.
void print_faults(const CompiledRules& rules, std::ostream& out);
void print_faults(const OfflinePolicy& policy, std::ostream& out);  // and for those of lists

}  // namespace sluice::control
