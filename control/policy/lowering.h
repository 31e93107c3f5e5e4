// From what a rule looks for in a buffer to Hyperscan patterns and, where they are not exact,
// confirmations.
//
// Contents without places relative to each other are conditions of their own. A chain of contents
// at distances becomes one regex when it can (`one.{0,20}two`): Hyperscan then decides exactly and
// wherever the stream is cut, without keeping octets. A chain that a regex cannot say (negative
// distance, absent content at a distance) or that would be costly (wide counted gaps) is found by
// its longest literal and decided by a scan::Confirmation on a bounded copy, as are regexes with
// look-around, back references and the like, for which Hyperscan compiles a superset.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/policy/rule_source.h"
#include "dataplane/base/result.h"
#include "dataplane/scan/confirmation.h"
#include "dataplane/scan/literal_tail.h"

namespace sluice::control {

// A Hyperscan pattern. Equal patterns of a buffer are compiled once.
struct Pattern {
  std::string expression;
  unsigned flags = 0;
  std::uint64_t min_end = 0;           // least offset at which a match may end
  std::uint64_t max_end = UINT64_MAX;  // the greatest
  bool literal = false;                // cheap by construction
  std::vector<std::string> literals;   // not empty: the pattern is any of these, anywhere,
  bool nocase = false;                 // in any case
  std::vector<scan::LiteralTail::Position> tail;  // and then this

  friend bool operator==(const Pattern&, const Pattern&) = default;
};

struct LoweredCondition {
  bool negated = false;
  Pattern pattern;
  std::vector<scan::StepSpec> confirmation;  // empty: the pattern is exact
};

// The error says what cannot be compiled and what to do. `notes` as in read_suricata_rule().
Result<std::vector<LoweredCondition>> lower(const BufferContents& buffer,
                                            std::vector<std::string>& notes);

}  // namespace sluice::control
