// Suricata-style mail rules: the keywords. What is not supported is refused by name, never ignored
// when it would change what the rule means.
#pragma once

#include <string>
#include <vector>

#include "control/policy/rule_source.h"
#include "control/policy/rule_text.h"
#include "dataplane/base/result.h"

namespace sluice::control {

// `notes` takes what the author should know about a rule that runs all the same.
Result<SourceRule> read_suricata_rule(const RuleText& text, std::vector<std::string>& notes);

}  // namespace sluice::control
