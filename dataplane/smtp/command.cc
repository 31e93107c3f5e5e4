#include "dataplane/smtp/command.h"

#include <algorithm>
#include <optional>

namespace sluice::smtp {

namespace {

struct VerbName {
  std::string_view name;
  Verb verb;
};

// The usual ones first.
constexpr VerbName kVerbs[] = {
    {"RCPT", Verb::rcpt},
    {"MAIL", Verb::mail},
    {"DATA", Verb::data},
    {"EHLO", Verb::ehlo},
    {"QUIT", Verb::quit},
    {"RSET", Verb::rset},
    {"BDAT", Verb::bdat},
    {"HELO", Verb::helo},
    {"STARTTLS", Verb::starttls},
    {"AUTH", Verb::auth},
    {"NOOP", Verb::noop},
    {"LHLO", Verb::lhlo},
    {"VRFY", Verb::vrfy},
    {"EXPN", Verb::expn},
    {"HELP", Verb::help},
    {"ETRN", Verb::etrn},
    {"XCLIENT", Verb::xclient},
    {"XFORWARD", Verb::xforward},
    {"X-ANONYMOUSTLS", Verb::x_anonymoustls},
};

constexpr std::size_t kShortestVerb = 4;
static_assert(std::ranges::all_of(kVerbs, [](const VerbName& verb) {
  return verb.name.size() >= kShortestVerb;
}));

// What servers split commands at: the grammar has spaces, Postfix and sendmail take all of these.
constexpr std::string_view kBlanks = " \t\r\v\f";

struct Outside {
  std::size_t at;  // the text's size when there is none
  bool quoted;     // the text ends within quotes
};
// The first place from `from` on, outside of quotes, whose octet is `wanted`.
template <typename Wanted>
Outside find_outside_quotes(std::string_view text, std::size_t from, Wanted wanted) {
  bool quoted = false;
  for (std::size_t i = from; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\')
      ++i;
    else if (c == '"')
      quoted = !quoted;
    else if (!quoted && wanted(c))
      return {i, false};
  }
  return {text.size(), quoted};
}

// Where the path that begins with '<' ends: the position of the '>' that stands outside quotes.
std::optional<std::size_t> find_close(std::string_view text) {
  const Outside close = find_outside_quotes(text, 1, [](char c) { return c == '>'; });
  return close.at < text.size() ? std::optional(close.at) : std::nullopt;
}

// The end of a path without brackets: the first blank outside quotes.
std::size_t find_blank(std::string_view text) {
  const Outside blank = find_outside_quotes(text, 0, is_blank);
  return blank.quoted ? blank_in(text) : blank.at;
}

// Where the '<' stands behind words that are no address (RFC 5322 3.4, name-addr); 0: nowhere.
std::size_t phrase_end(std::string_view text) {
  const std::size_t i =
      find_outside_quotes(text, 0, [](char c) { return c == '@' || c == '=' || c == '<'; }).at;
  const bool behind_words =
      i > 0 && i < text.size() && text[i] == '<' && (is_blank(text[i - 1]) || text[i - 1] == '"');
  return behind_words ? i : 0;
}

// Whether a mailbox has a local part (or is none at all: the null path) and, where its domain is an
// address literal, the literal's end.
bool mailbox_closes(std::string_view mailbox) {
  if (mailbox.empty()) return true;
  if (mailbox.front() == '@') return false;
  const std::size_t literal = mailbox.rfind("@[");
  return literal == std::string_view::npos ||
         mailbox.find('"', literal) != std::string_view::npos || mailbox.back() == ']';
}

// RFC 5321 4.1.2: A-d-l ":" in front of the mailbox is obsolete and ignored.
std::string_view without_route(std::string_view address) {
  if (address.empty() || address.front() != '@') return address;
  bool literal = false;  // an IPv6 address has colons of its own
  for (std::size_t i = 0; i < address.size(); ++i) {
    if (address[i] == '[') literal = true;
    if (address[i] == ']') literal = false;
    if (address[i] == ':' && !literal) return address.substr(i + 1);
  }
  return address;
}

}  // namespace

bool starts_ignoring_case(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && equal_ignoring_case(text.substr(0, prefix.size()), prefix);
}

std::string_view trim_blanks(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

Command parse_command(std::string_view line) {
  // Servers skip blanks in front of the verb, and a NUL ends the strings of those written in C.
  line = line.substr(0, line.find('\0'));
  while (!line.empty() && is_blank(line.front())) line.remove_prefix(1);
  const std::size_t size = blank_in(line);
  const std::string_view name = line.substr(0, size);
  Command command{.verb = Verb::unknown, .argument = trim_blanks(line.substr(size))};
  if (size < kShortestVerb) return command;
  for (const VerbName& v : kVerbs) {
    if (!equal_ignoring_case(name, v.name)) continue;
    command.verb = v.verb;
    break;
  }
  return command;
}

bool may_begin_command(std::string_view text) {
  if (parse_command(text).verb != Verb::unknown) return true;
  return std::ranges::any_of(
      kVerbs, [text](const VerbName& verb) { return starts_ignoring_case(verb.name, text); });
}

Path parse_path(std::string_view argument, std::string_view keyword) {
  Path result;
  std::string_view text = argument;
  if (starts_ignoring_case(text, keyword)) {
    text = trim_blanks(text.substr(keyword.size()));
    if (!text.empty() && text.front() == ':')
      text.remove_prefix(1);
    else
      result.well_formed = false;
  } else {
    result.well_formed = false;
  }
  text = trim_blanks(text);
  if (text.empty()) {
    result.well_formed = false;
    return result;
  }

  // Words in front of a path in brackets: Exim and sendmail take the form of a header field.
  if (const std::size_t bracket = phrase_end(text); bracket > 0) {
    result.well_formed = false;
    text.remove_prefix(bracket);
  }

  std::size_t end = 0;
  if (text.front() == '<') {
    std::optional<std::size_t> close = find_close(text);
    if (!close) {
      // An unbalanced quote, or no bracket at all.
      result.well_formed = false;
      if (const std::size_t at = text.find('>'); at != std::string_view::npos) close = at;
    }
    if (close) {
      end = *close + 1;
      result.bracketed = true;
      result.path = text.substr(0, end);
      result.mailbox = without_route(trim_blanks(text.substr(1, *close - 1)));
    } else {
      end = find_blank(text);
      result.path = text.substr(1, end - 1);
      result.mailbox = without_route(result.path);
    }
  } else {
    end = find_blank(text);
    result.path = text.substr(0, end);
    result.mailbox = without_route(result.path);
  }
  const std::string_view rest = text.substr(end);
  if (!rest.empty() && !is_blank(rest.front())) result.well_formed = false;
  if (!mailbox_closes(result.mailbox)) result.well_formed = false;
  result.parameters = trim_blanks(rest);
  return result;
}

ChunkSize parse_chunk_size(std::string_view line, std::uint64_t limit) {
  using Form = ChunkSize::Form;
  ChunkSize size;
  bool tolerated = false;
  std::string_view text = line;
  const std::size_t nul = text.find('\0');
  if (nul != std::string_view::npos) {
    text = text.substr(0, nul);
    tolerated = true;
  }
  // Behind the four letters of the verb the grammar has one space, and one before LAST.
  const std::size_t verb = text.find_first_not_of(kBlanks);
  if (verb == std::string_view::npos || text.size() - verb < 4) return size;
  if (verb > 0) tolerated = true;
  text.remove_prefix(verb + 4);
  if (text.empty() || !is_blank(text.front())) return size;
  if (text.front() != ' ') tolerated = true;
  text.remove_prefix(1);
  while (!text.empty() && is_blank(text.front())) {
    text.remove_prefix(1);
    tolerated = true;
  }
  if (!text.empty() && text.front() == '+') {
    text.remove_prefix(1);
    tolerated = true;
  }
  std::size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
    const auto digit = static_cast<std::uint64_t>(text[digits] - '0');
    if (size.octets > (limit - std::min(digit, limit)) / 10) return size;
    size.octets = size.octets * 10 + digit;
    ++digits;
  }
  if (digits == 0 || size.octets > limit) return size;
  text.remove_prefix(digits);
  // RFC 5321 4.1.1: blanks at the end are tolerated. Exim takes anything behind the number, and the
  // chunk for the last one when it is LAST, wherever that begins.
  if (text.find_first_not_of(" \t") != std::string_view::npos) {
    size.last = equal_ignoring_case(trim_blanks(text), "LAST");
    // " LAST" and blanks.
    if (!size.last || text.front() != ' ' || is_blank(text[1]) ||
        text.find_first_not_of(" \t", 5) != std::string_view::npos)
      tolerated = true;
  }
  size.form = tolerated ? Form::tolerated : Form::valid;
  return size;
}

}  // namespace sluice::smtp
