// SpamAssassin's rules as their author wrote them: settings to rules with scores, flags and tags.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/policy/cf_text.h"
#include "dataplane/base/result.h"

namespace sluice::control {

enum class CfKind : std::uint8_t {
  header,
  exists,
  body,
  rawbody,
  full,
  uri,
  mime_header,
  meta,
  eval
};

struct CfRule {
  CfKind kind = CfKind::body;
  std::string name;
  std::uint32_t file = 0;
  std::uint32_t line = 0;
  std::string selector;  // of header tests: "Subject:raw"
  bool negated = false;
  std::optional<std::string> if_unset;
  std::string pattern;        // without delimiters, tags replaced
  std::uint32_t options = 0;  // scan::kRegex*
  std::string expression;     // of a meta
  std::string function;       // of an eval
  std::vector<std::string> arguments;
  std::string description;
  double score = 1;
  bool sub = false;  // its name begins with __: a part of metas
  bool multiple = false;
  bool no_subject = false;
  bool net = false;    // asks the network: never runs here
  bool learn = false;  // asks a learned database: never runs here
  std::uint32_t max_hits = 0;
};

struct CfRules {
  std::vector<CfRule> rules;  // in the order of their names' first appearance
  std::map<std::string, std::vector<std::string>> lists;  // settings that evals look up
  std::optional<double> required_score;
  std::vector<CfFault> faults;
};

CfRules read_cf_rules(const CfText& text);

struct PerlRegex {
  std::string pattern;
  std::uint32_t options = 0;
};
// `/.../i`, `m{...}x`, `qr!...!`: pattern and flags. The error says what is wrong.
Result<PerlRegex> read_perl_regex(std::string_view text);

}  // namespace sluice::control
