// The outer form of SpamAssassin's .cf files: lines to settings, with `include`, `if`, `ifplugin`,
// `else`, `endif`, `lang` and `require_version` decided. Knows no rule.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::control {

// One line that is in force.
struct CfLine {
  std::uint32_t file = 0;    // index into CfText::files
  std::uint32_t number = 0;  // from 1
  std::string key;           // lower case, '-' read as '_'
  std::string value;         // without blanks at its ends
};

struct CfFault {
  std::uint32_t file = 0;
  std::uint32_t line = 0;
  std::string rule;  // when known
  std::string text;
  bool fatal = true;
};

// A rule in a block whose condition does not hold.
struct CfSkipped {
  std::uint32_t file = 0;
  std::uint32_t line = 0;
  std::string rule;
  std::string condition;
};

struct CfText {
  std::vector<std::string> files;
  std::vector<CfLine> lines;
  std::vector<CfSkipped> skipped;
  std::vector<CfFault> faults;
};

inline constexpr std::size_t kMaxCfLine = 65536;
inline constexpr unsigned kMaxCfIncludes = 16;  // nested
// What `version` and `perl_version` are in conditions: the language that we read.
inline constexpr double kCfVersion = 4.000001;
inline constexpr double kCfPerlVersion = 5.036000;

// Adds the lines of `octets`, which stands for the file `path` (includes are relative to it).
// Faults of lines go to `text.faults`; reading goes on behind them.
void read_cf(const std::filesystem::path& path, std::string_view octets, CfText& text);

// Whether a word is a setting that defines a rule (header, body, meta, ...).
bool is_cf_rule_type(std::string_view key);

}  // namespace sluice::control
