#include <algorithm>

#include "dataplane/smtp/command.h"
#include "dataplane/smtp/session.h"

namespace sluice::smtp {

namespace {

// The first octets decide; a longer prefix without an answer is no SMTP.
constexpr std::size_t kGreetingLook = 512;

bool is_host_character(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
         c == '-' || c == '_' || c == '[' || c == ']' || c == ':';
}

bool contains_ignoring_case(std::string_view text, std::string_view word) {
  for (std::size_t i = 0; i + word.size() <= text.size(); ++i)
    if (equal_ignoring_case(text.substr(i, word.size()), word)) return true;
  return false;
}

// RFC 5321 4.2: "220" SP or "-", a name, text. FTP (RFC 959) greets with 220 too: what says so is
// not SMTP, and without "SMTP" or a host's name with a dot the client's word is awaited.
Likeness server_likeness(std::string_view text) {
  constexpr std::string_view kCode = "220";
  const std::size_t n = std::min(text.size(), kCode.size());
  if (text.substr(0, n) != kCode.substr(0, n)) return Likeness::no;
  if (text.size() < 4) return Likeness::maybe;
  if (text[3] != ' ' && text[3] != '-') return Likeness::no;
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos && text.size() < kGreetingLook) return Likeness::maybe;
  const std::string_view line = text.substr(4, end == std::string_view::npos ? end : end - 4);
  if (contains_ignoring_case(line, "SMTP")) return Likeness::yes;
  if (contains_ignoring_case(line, "FTP")) return Likeness::no;
  const std::string_view name = line.substr(0, line.find_first_of(" \r"));
  const bool host = name.size() >= 4 && name.find('.') != std::string_view::npos &&
                    std::all_of(name.begin(), name.end(), is_host_character);
  return host ? Likeness::yes : Likeness::maybe;
}

Likeness client_likeness(std::string_view text) {
  for (const std::string_view verb : {"EHLO", "HELO", "LHLO"}) {
    const std::size_t n = std::min(text.size(), verb.size());
    if (!equal_ignoring_case(text.substr(0, n), verb.substr(0, n))) continue;
    if (text.size() <= verb.size()) return Likeness::maybe;
    const char next = text[verb.size()];
    return next == ' ' || next == '\t' || next == '\r' || next == '\n' ? Likeness::yes
                                                                       : Likeness::no;
  }
  return Likeness::no;
}

}  // namespace

Likeness looks_like_smtp(Direction direction, Bytes first_octets) {
  if (first_octets.empty()) return Likeness::maybe;
  const std::string_view text = as_text(first_octets);
  return direction == Direction::to_client ? server_likeness(text) : client_likeness(text);
}

}  // namespace sluice::smtp
