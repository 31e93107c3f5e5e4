// A regex as a program that says where it certainly does not match (scan/regex_gate.h).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "control/policy/regex_tree.h"
#include "control/policy/regex_words.h"
#include "dataplane/scan/spam_rules.h"

namespace sluice::control {

struct RegexProgram {
  std::vector<std::uint32_t> words;  // two an instruction
  std::vector<std::uint8_t> sets;    // scan::kGateSetOctets each
};

// A superset: look-around is left out, a reference is anything, high counts are open. Nothing for
// regexes with flags inside that are not read here, those that match the empty text, and those that
// are larger than a gate may be. `options`: scan::kRegex*.
std::optional<RegexProgram> regex_program(const RegexTree& tree, std::uint32_t options);

// What a backtracking matcher does with it, in steps for a hundred octets of mail text (of
// `buffer`) among which words of `clauses` stand: when that is much, a gate pays.
std::uint32_t backtracking_cost(const RegexProgram& program, scan::SpamBuffer buffer,
                                const std::vector<RegexClause>& clauses);

}  // namespace sluice::control
