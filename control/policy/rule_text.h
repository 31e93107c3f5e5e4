// The outer form of a Suricata rule: lines to header words and options. Knows no keyword.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"

namespace sluice::control {

struct RuleOption {
  std::string name;
  std::string value;  // as written, quotes included, without blanks around it
  bool has_value = false;
};

struct RuleText {
  std::string action;
  std::string protocol;
  std::string source;
  std::string source_port;
  std::string direction;
  std::string destination;
  std::string destination_port;
  std::vector<RuleOption> options;
};

// A logical line of a rule file: comments, blank lines and line ends are gone, lines that end with
// a backslash are joined with the next.
struct RuleLine {
  std::uint32_t number = 0;  // of its first line, from 1
  std::string text;
};

inline constexpr std::size_t kMaxRuleLine = 65536;

std::vector<RuleLine> rule_lines(std::string_view file);

// The error says what is wrong and what to do.
Result<RuleText> parse_rule_text(std::string_view line);

// The first `sid` of a line that does not parse, for reports; empty if there is none.
std::string guess_sid(std::string_view line);

// A quoted value without its quotes; `\"`, `\\`, `\;` and `\:` stand for the second character.
Result<std::string> unquote(std::string_view value);
// A content: as unquote(), and |0d 0a| stands for octets in hexadecimal.
Result<std::string> unquote_content(std::string_view value);

}  // namespace sluice::control
