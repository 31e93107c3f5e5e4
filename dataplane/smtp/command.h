// Client lines: the verb, and the path and parameters of MAIL and RCPT (RFC 5321 4.1.1, 4.1.2).
// Views into the given line throughout; nothing is allocated or kept. Any thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "dataplane/smtp/session.h"

namespace sluice::smtp {

struct Command {
  Verb verb = Verb::unknown;
  std::string_view argument;  // behind the verb, blanks around it removed
};

// `line` without its line ending. Verbs are matched without regard to case (RFC 5321 2.4).
Command parse_command(std::string_view line);
// Whether a line that begins with `text` can be a command that parse_command() knows.
bool may_begin_command(std::string_view text);

struct Path {
  std::string_view path;        // as on the wire, with its angle brackets where it had them
  std::string_view mailbox;     // without brackets and source route, local part with its quoting
  std::string_view parameters;  // behind the path
  bool bracketed = false;       // `path` stands in angle brackets
  bool well_formed = true;      // false: EV(bad-path); the views are the best reading there is
};

// The argument of MAIL (`keyword` "FROM") or of RCPT ("TO").
Path parse_path(std::string_view argument, std::string_view keyword);

// The argument of BDAT (RFC 3030 2): digits, and LAST.
struct ChunkSize {
  // `tolerated`: not by the grammar, but servers that split at blanks or use strtoul read it so.
  enum class Form : std::uint8_t { valid, tolerated, invalid };
  Form form = Form::invalid;
  bool last = false;
  std::uint64_t octets = 0;
};
// `line` is the whole command line, so that the blanks behind the verb can be told. Sizes over
// `limit` are invalid (64-bit overflow included).
ChunkSize parse_chunk_size(std::string_view line, std::uint64_t limit);

constexpr char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; }
constexpr bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](char x, char y) { return upper(x) == upper(y); });
}
bool starts_ignoring_case(std::string_view text, std::string_view prefix);
// What some server splits a command line at.
constexpr bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}
// The first blank, or the end.
constexpr std::size_t blank_in(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size() && !is_blank(text[at])) ++at;
  return at;
}
std::string_view trim_blanks(std::string_view text);

}  // namespace sluice::smtp
