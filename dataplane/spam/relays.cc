#include "dataplane/spam/relays.h"

#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <string>

#include "dataplane/spam/received_forms.h"

namespace sluice::spam {
namespace {

constexpr std::string_view kIpAddress =
    R"((?i:\b(?<!:)(?:1\d\d|2[0-4]\d|25[0-5]|[1-9]\d|\d)\.(?:1\d\d|2[0-4]\d|25[0-5]|[1-9]\d|\d)\.)"
    R"((?:1\d\d|2[0-4]\d|25[0-5]|[1-9]\d|\d)\.(?:1\d\d|2[0-4]\d|25[0-5]|[1-9]\d|\d)\b|)"
    R"((?:IPv6:|(?<![a-f0-9:]))(?:(?:(?:[a-f0-9]{1,4}:){6}|::(?:[a-f0-9]{1,4}:){0,5}|)"
    R"((?:[a-f0-9]{1,4}:){1,5}:|[a-f0-9]{1,4}::(?:[a-f0-9]{1,4}:){1,4}|)"
    R"((?:[a-f0-9]{1,4}:){2}:(?:[a-f0-9]{1,4}:){1,3}|(?:[a-f0-9]{1,4}:){3}:(?:[a-f0-9]{1,4}:){1,2}|)"
    R"((?:[a-f0-9]{1,4}:){4}:[a-f0-9]{1,4}:)(?:\d{1,3}\.){3}\d{1,3}|)"
    R"((?:[a-f0-9]{1,4}:){7}[a-f0-9]{1,4}|:(?::[a-f0-9]{1,4}){1,7}|(?:[a-f0-9]{1,4}:){1,7}:|)"
    R"([a-f0-9]{1,4}:(?::[a-f0-9]{1,4}){1,6}|(?:[a-f0-9]{1,4}:){2}(?::[a-f0-9]{1,4}){1,5}|)"
    R"((?:[a-f0-9]{1,4}:){3}(?::[a-f0-9]{1,4}){1,4}|(?:[a-f0-9]{1,4}:){4}(?::[a-f0-9]{1,4}){1,3}|)"
    R"((?:[a-f0-9]{1,4}:){5}(?::[a-f0-9]{1,4}){1,2}|(?:[a-f0-9]{1,4}:){6}:[a-f0-9]{1,4}|::))"
    R"((?![a-f0-9:])))";
constexpr std::string_view kLocalhost =
    R"((?i:localhost(?:\.localdomain)?|\b(?<!:)127\.0\.0\.1\b|(?:IPv6:|(?<![a-f0-9:])))"
    R"((?:(?:::(?:0{1,4}:){0,4}ffff:|(?:0{1,4}:){5}ffff:)127\.0\.0\.1|:(?::0{1,4}){0,6}:0{0,3}1|)"
    R"((?:0{1,4}:){7}0{0,3}1)(?![a-f0-9:])))";
constexpr std::string_view kPrivate =
    R"(^(?i:(?:10|127|169\.254|172\.(?:1[6-9]|2[0-9]|3[01])|192\.168|)"
    R"(100\.(?:6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7]))\..*|(?:IPv6:|(?<![a-f0-9:])))"
    R"((?:(?:::(?:0{1,4}:){0,4}ffff:|(?:0{1,4}:){5}ffff:))"
    R"((?:10|127|169\.254|172\.(?:1[6-9]|2[0-9]|3[01])|192\.168|)"
    R"(100\.(?:6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7]))\..*|fe[89ab][0-9a-f]:.*|)"
    R"(:(?::0{1,4}){0,6}:0{0,3}1|(?:0{1,4}:){7}0{0,3}1)(?![a-f0-9:])))";

// user@host, where the user may be quoted.
constexpr std::string_view kMailbox =
    R"re((?:"(?:|(?:[^"\\]++|\\.)*+)"|[^\@\s\<\>\(\)\[\]\,\:\;]+)\@)re"
    R"re((?:[^\"\s\<\>\(\)\[\]\,\:\;]+|\[[\d:.]+\]))re";
// What ends a URL in a text, inside of brackets.
constexpr std::string_view kUrlEnd = R"re(><"`}\]{[|\s\x1b\xa0)re";

// What a form's regex has at a certain place: most forms differ there, and comparing costs less
// than trying.
struct FormHead {
  explicit FormHead(std::string_view pattern) {
    if (!pattern.starts_with('^')) return;
    pattern.remove_prefix(1);
    for (const std::string_view word : {R"((\S+) )", R"(\S+ )"}) {
      if (!pattern.starts_with(word)) continue;
      second = true;
      pattern.remove_prefix(word.size());
      break;
    }
    int depth = 0;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
      if (pattern[i] == '\\')
        ++i;
      else if (pattern[i] == '(')
        ++depth;
      else if (pattern[i] == ')')
        --depth;
      else if (pattern[i] == '|' && depth == 0)
        return;  // another way may begin otherwise
    }
    for (std::size_t i = 0; i < pattern.size(); ++i) {
      char c = pattern[i];
      if (c == '\\' && i + 1 < pattern.size() && !is_alnum(pattern[i + 1])) {
        c = pattern[++i];
      } else if (std::string_view("\\.^$*+?()[]{}|%").find(c) != std::string_view::npos) {
        return;
      }
      const char next = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
      if (next == '?' || next == '*' || next == '{') return;
      literal += c;
    }
  }
  // `blank`: where the first one is, or npos.
  bool fits(std::string_view s, std::size_t blank) const {
    if (!second) return s.starts_with(literal);
    return blank != std::string_view::npos && s.substr(blank + 1).starts_with(literal);
  }

  bool second = false;  // behind the first blank, else at the beginning
  std::string literal;
};

struct Form {
  std::string_view guard;
  FormHead head;
  scan::Regex regex;
  std::string_view fields;
};

struct Tables {
  Tables() {
    for (const ReceivedForm& form : kReceivedForms) {
      forms.push_back(
          {form.guard, FormHead(form.pattern), constant_regex(form.pattern), form.fields});
    }
  }
  std::vector<Form> forms;
  scan::Regex address = constant_regex("%I");
  scan::Regex whole_address = constant_regex("^%I$");
  scan::Regex is_private = constant_regex(kPrivate);
  scan::Regex useless = constant_regex(R"(^from (\S+) by [^\s;]+ ?;)", scan::kRegexCaseless);
  scan::Regex bracket_ip = constant_regex(R"(^\[[\d.]+\]$)");
  scan::Regex date = constant_regex(
      R"([\s;]+(?:(?:Mon|T(?:ue|hu)|Wed|Fri|S(?:at|un)), )?\d+ (?:J(?:an|u[nl])|Feb|Ma[ry]|A(?:pr|ug)|Sep|Oct|Nov|Dec) \d+ \d+:\d+(?::\d+)? \S+$)");
  scan::Regex id = constant_regex(R"( id <?([^\s<>;]{3,}))");
  scan::Regex helo_equals = constant_regex(
      R"(\bhelo=([-A-Za-z0-9\.\^+_&:=?!@%*\$\\\/]+)(?:[^-A-Za-z0-9\.\^+_&:=?!@%*\$\\\/]|$))");
  scan::Regex helo_word = constant_regex(
      R"(\b(?:HELO|EHLO) ([-A-Za-z0-9\.\^+_&:=?!@%*\$\\\/]+)(?:[^-A-Za-z0-9\.\^+_&:=?!@%*\$\\\/]|$))");
  scan::Regex by = constant_regex(R"( by (\S+)(?:[^-A-Za-z0-9\;\.]|$))");
  scan::Regex with_auth = constant_regex(
      R"( with ((?:ES|L|UTF8S|UTF8L)MTPS?A|ASMTP|HTTP[SU]?)(?: |;|$))", scan::kRegexCaseless);
  scan::Regex sendmail_auth =
      constant_regex(R"(^from .*?(?:\](?: \([^)]*\))?\)|\)\]) .*?\(.*?authenticated.*?\).*? by)");
  scan::Regex auth_word = constant_regex(
      R"(^from .*?(?:\]\)|\)\]) \(AUTH: (LOGIN|PLAIN|DIGEST-MD5|CRAM-MD5) \S+(?:, .*?)?\) by )");
  scan::Regex postfix_auth =
      constant_regex(R"(\) \(Authenticated sender: \S+\) by \S+ \(([^\)]+)\) with )");
  scan::Regex via_http = constant_regex(R"( \(via (HTTP.?)\)(?: |;|$))", scan::kRegexCaseless);
  scan::Regex communigate =
      constant_regex(R"(CommuniGate Pro (HTTP|SMTP|XIMSS|IMAP).* \(account )");
  scan::Regex envelope = constant_regex(R"((?:return-path:? |envelope-(?:sender|from)[ =])(\S+)\b)",
                                        scan::kRegexCaseless);
  scan::Regex upper_from = constant_regex(
      R"(^(\S+) \((\S+) \[(%I)\]\) BY (\S+) (?:\([^\)]+\) WITH SMTP )?ID <?(\S+?)>?(?: FOR <[^>]+>)?$)");
  scan::Regex navgw = constant_regex(R"(^(\S*) \[(%I)\]\) by (\S+) \(NAVGW .*?\) with )");
  scan::Regex paren_skip = constant_regex(
      R"(^(?:\S+\@localhost\) by \S+ |[^\s\@]+\@[^)]+\) by \S+\(jqueuemail\) id [^\s;]+))");
  scan::Regex any_bracket_ip = constant_regex(R"(\[(%I)\])");
  scan::Regex first_word = constant_regex(R"(^(\S+)[^-A-Za-z0-9\.])");
  scan::Regex inner_helo = constant_regex(R"(helo=(\S+))");
  scan::Regex inner_ident = constant_regex(R"(ident=(\S*))");
  scan::Regex scope = constant_regex(R"(%[A-Z0-9._~-]*\z)", scan::kRegexCaseless);
  scan::Regex mapped =
      constant_regex(R"(^0*:0*:(?:0*:)*ffff:(\d+\.\d+\.\d+\.\d+)$)", scan::kRegexCaseless);
};

const Tables& tables() {
  static const Tables tables;
  return tables;
}

// Characters that would break the text form.
void strip(String& s) {
  for (char& c : s) {
    if (is_space(c) || c == '\0' || c == '#' || c == '[' || c == ']' || c == '(' || c == ')' ||
        c == '<' || c == '>' || c == '|')
      c = '!';
  }
}

enum class Outcome : std::uint8_t { relay, nothing, unknown, fetched };

class LineReader {
 public:
  LineReader(scan::RegexScratch& scratch, std::pmr::memory_resource* memory, Relay& relay)
      : scratch_(scratch), text_(memory), relay_(relay) {}

  Outcome read(std::string_view line) {
    const Tables& t = tables();
    text_ = line;
    squeeze(text_);
    std::string_view s = text_;
    if (s.starts_with(' ')) s.remove_prefix(1);
    if (s.ends_with(' ')) s.remove_suffix(1);
    while (s.ends_with(';')) {
      s.remove_suffix(1);
      if (s.ends_with(' ')) s.remove_suffix(1);
    }
    std::string_view head = s;
    if (head.starts_with('(')) head.remove_prefix(1);
    if (head.size() < 5 || !equals_lower(head.substr(0, 5), "from ")) return Outcome::nothing;
    if (sluice::spam::has(s, " with local for ")) return Outcome::nothing;
    scan::Regex::Match m;
    if (t.useless.find(s, scratch_, &m) && !t.bracket_ip.find(m.group(s, 1), scratch_)) {
      return Outcome::nothing;
    }
    if (t.date.find(s, scratch_, &m)) s = s.substr(0, m.begin[0]);
    String spaced(s, text_.get_allocator());
    if (const std::size_t at = spaced.find(")by "); at != String::npos) {
      spaced.insert(at + 1, 1, ' ');
      text_ = spaced;
      s = text_;
    }
    if (t.id.find(s, scratch_, &m)) relay_.id = m.group(s, 1);
    if (t.helo_equals.find(s, scratch_, &m) || t.helo_word.find(s, scratch_, &m)) {
      relay_.helo = m.group(s, 1);
    }
    if (t.by.find(s, scratch_, &m)) relay_.by = m.group(s, 1);
    find_auth(s);
    if (s.starts_with("from ")) return from(s.substr(5));
    if (s.starts_with("FROM ")) {
      s.remove_prefix(5);
      if (t.upper_from.find(s, scratch_, &m)) {
        looked_up_ = true;
        relay_.helo = m.group(s, 1);
        relay_.rdns = m.group(s, 2);
        relay_.ip = m.group(s, 3);
        relay_.by = m.group(s, 4);
        relay_.id = m.group(s, 5);
        if (relay_.rdns == "unverified") relay_.rdns.clear();
        return finish();
      }
    } else if (s.starts_with("(from ")) {
      s.remove_prefix(6);
      if (t.navgw.find(s, scratch_, &m)) {
        relay_.helo = m.group(s, 1);
        relay_.ip = m.group(s, 2);
        relay_.by = m.group(s, 3);
        return finish();
      }
      if (t.paren_skip.find(s, scratch_)) return Outcome::nothing;
    }
    return last_resort(s);
  }

 private:
  void find_auth(std::string_view s) {
    const Tables& t = tables();
    scan::Regex::Match m;
    if (sluice::spam::has(s, " by ") && t.with_auth.find(s, scratch_, &m)) {
      relay_.auth = m.group(s, 1);
    } else if (sluice::spam::has(s, "(AUTH: ") && t.auth_word.find(s, scratch_, &m)) {
      relay_.auth = m.group(s, 1);
    } else if (sluice::spam::has(s, "authenticated") && t.sendmail_auth.find(s, scratch_)) {
      relay_.auth = "Sendmail";
    } else if (sluice::spam::has(s, "(Authenticated sender: ") &&
               t.postfix_auth.find(s, scratch_, &m)) {
      if (m.group(s, 1) == "Postfix") {
        relay_.auth = "Postfix";
      } else {
        relay_.auth = "Postfix (";
        relay_.auth += m.group(s, 1);
        relay_.auth += ')';
      }
    } else if (sluice::spam::has(s, "CommuniGate Pro ") && t.communigate.find(s, scratch_)) {
      relay_.auth = "Communigate";
    } else if (sluice::spam::has(s, " with Microsoft Exchange Server HTTP-DAV")) {
      relay_.auth = "HTTP-DAV";
    } else if (sluice::spam::has(s, " (via ") && t.via_http.find(s, scratch_, &m)) {
      relay_.auth = m.group(s, 1);
    }
  }

  Outcome from(std::string_view s) {
    const Tables& t = tables();
    scan::Regex::Match m;
    if (t.envelope.find(s, scratch_, &m)) {
      relay_.envelope_from = m.group(s, 1);
      relay_.has_envelope_from = true;
    }
    // White space is blanks here.
    const std::size_t blank = s.find(' ');
    for (const Form& form : t.forms) {
      if (!form.head.fits(s, blank)) continue;
      if (!form.guard.empty() && !sluice::spam::has(s, form.guard)) continue;
      if (!form.regex.find(s, scratch_, &m)) continue;
      if (form.fields == "S") return Outcome::nothing;
      if (form.fields == "F") return Outcome::fetched;
      take(form.fields, s, m);
      return finish();
    }
    if (relay_.helo.empty() && t.first_word.find(s, scratch_, &m)) relay_.helo = m.group(s, 1);
    return last_resort(s);
  }

  void take(std::string_view fields, std::string_view s, const scan::Regex::Match& m) {
    const Tables& t = tables();
    bool query = false;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      const char c = fields[i];
      if (c == 'm') looked_up_ = true;
      if (c == 'X') relay_.id.clear();
      if (c == 'Q') query = true;
      if (c == 'm' || c == 'X' || c == 'Q' || c == 'U') continue;
      const int number = fields[++i] - '0';
      const std::string_view value = m.group(s, number);
      scan::Regex::Match inner;
      switch (c) {
        case 'r':
          relay_.rdns = value;
          break;
        case 'h':
          relay_.helo = value;
          break;
        case 'i':
          relay_.ip = value;
          break;
        case 'b':
          relay_.by = value;
          break;
        case 'd':
          relay_.ident = value;
          break;
        case 'u':
          if (value != "unknown") relay_.rdns = value;
          break;
        case 'I': {
          const std::size_t at = value.find('@');
          relay_.rdns = at == std::string_view::npos ? value : value.substr(at + 1);
          if (at != std::string_view::npos) {
            std::string_view ident = value.substr(0, at);
            if (ident.starts_with("IDENT:")) ident.remove_prefix(6);
            relay_.ident = ident;
          }
          break;
        }
        case 'D':
          if (value != "softdnserr") {
            looked_up_ = true;
            relay_.rdns = value;
          }
          break;
        case 's':
          if (t.inner_helo.find(value, scratch_, &inner)) relay_.helo = inner.group(value, 1);
          if (t.inner_ident.find(value, scratch_, &inner)) relay_.ident = inner.group(value, 1);
          break;
        default:
          break;
      }
    }
    if (fields.starts_with('U')) looked_up_ = relay_.rdns != "UNKNOWN";
    if (query) {
      if (relay_.rdns != "unknown") {
        looked_up_ = true;
      } else {
        relay_.rdns.clear();
      }
    }
  }

  Outcome last_resort(std::string_view s) {
    scan::Regex::Match m;
    if (relay_.ip.empty() && tables().any_bracket_ip.find(s, scratch_, &m)) {
      relay_.ip = m.group(s, 1);
    }
    if (!relay_.ip.empty() && !relay_.by.empty()) return finish();
    return Outcome::unknown;
  }

  Outcome finish() {
    const Tables& t = tables();
    String& rdns = relay_.rdns;
    while (rdns.ends_with('.')) rdns.pop_back();
    if (equals_lower(rdns, "unknown") || rdns.starts_with('[')) rdns.clear();
    String& ip = relay_.ip;
    if (ip.size() > 5 && equals_lower(std::string_view(ip).substr(0, 5), "ipv6:")) ip.erase(0, 5);
    if (ip.starts_with('[')) ip.erase(0, 1);
    if (ip.ends_with(']')) ip.pop_back();
    scan::Regex::Match m;
    if (sluice::spam::has(ip, "%") && t.scope.find(ip, scratch_, &m)) ip.resize(m.begin[0]);
    if (sluice::spam::has(ip, ":") && t.mapped.find(ip, scratch_, &m)) {
      ip = String(m.group(ip, 1), ip.get_allocator());
    }
    if (relay_.by.ends_with(';')) relay_.by.pop_back();
    for (String* s : {&ip, &rdns, &relay_.helo, &relay_.by, &relay_.ident}) strip(*s);
    if (relay_.has_envelope_from) {
      String& from = relay_.envelope_from;
      std::size_t begin = 0;
      while (begin < from.size() && from[begin] == '<') ++begin;
      from.erase(0, begin);
      while (from.ends_with('>')) from.pop_back();
      strip(from);
    }
    relay_.no_reverse_dns = rdns.empty() && looked_up_;
    relay_.ip_private = is_private_address(ip, scratch_);
    return Outcome::relay;
  }

  scan::RegexScratch& scratch_;
  String text_;
  Relay& relay_;
  bool looked_up_ = false;
};

void put_text(String& out, const Relay& relay) {
  if (!out.empty()) out += ' ';
  out += "[ ip=";
  out += relay.ip;
  out += " rdns=";
  out += relay.rdns;
  out += " helo=";
  out += relay.helo;
  out += " by=";
  out += relay.by;
  out += " ident=";
  out += relay.ident;
  out += " envfrom=";
  out += relay.envelope_from;
  out += relay.internal ? " intl=1 id=" : " intl=0 id=";
  out += relay.id;
  out += " auth=";
  out += relay.auth;
  out += " msa=0 ]";
}

}  // namespace

scan::Regex constant_regex(std::string_view pattern, std::uint32_t options) {
  std::string text;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char next = pattern[i] == '%' && i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    const std::string_view part = next == 'I'   ? kIpAddress
                                  : next == 'L' ? kLocalhost
                                  : next == 'M' ? kMailbox
                                  : next == 'U' ? kUrlEnd
                                                : std::string_view();
    if (part.empty()) {
      text += pattern[i];
    } else {
      text += part;
      ++i;
    }
  }
  auto made = scan::Regex::make(text, options);
  if (!made) {
    std::fprintf(stderr, "sluice: a regex of its own is broken: %s: %s\n", text.c_str(),
                 made.error().c_str());
    std::abort();
  }
  return std::move(*made);
}

bool is_private_address(std::string_view text, scan::RegexScratch& scratch) {
  return tables().is_private.find(text, scratch);
}

bool is_ip_address(std::string_view text, scan::RegexScratch& scratch) {
  return tables().whole_address.find(text, scratch);
}

bool is_ipv4_address(std::string_view text) {
  int dots = 0;
  std::size_t digits = 0;
  unsigned value = 0;
  for (const char c : text) {
    if (c == '.') {
      if (digits == 0) return false;
      ++dots;
      digits = 0;
      value = 0;
    } else if (is_digit(c)) {
      if (digits > 0 && value == 0) return false;
      value = value * 10 + static_cast<unsigned>(c - '0');
      if (++digits > 3 || value > 255) return false;
    } else {
      return false;
    }
  }
  return dots == 3 && digits > 0;
}

void put_address(const Address& address, String& out) {
  if (address.is_v4()) {
    for (int i = 0; i < 4; ++i) {
      if (i > 0) out += '.';
      out += std::to_string(address.v4_octets()[i]);
    }
    return;
  }
  static constexpr char kHex[] = "0123456789abcdef";
  for (std::size_t i = 0; i < 16; i += 2) {
    if (i > 0) out += ':';
    const unsigned group = address.octets[i] * 256u + address.octets[i + 1];
    bool digits = false;
    for (int shift = 12; shift >= 0; shift -= 4) {
      const unsigned digit = group >> shift & 15;
      digits = digits || digit != 0 || shift == 0;
      if (digits) out += kHex[digit];
    }
  }
}

void prepare_relays() { tables(); }

void read_relays(const std::vector<std::string_view>& received,
                 const std::vector<std::string_view>& originating, const FlowFacts& flow,
                 scan::RegexScratch& scratch, std::pmr::memory_resource* memory, Relays& out) {
  bool in_trusted = true;
  bool in_internal = true;
  bool markers = true;  // of fetched mail: what stood before them was the fetcher's
  const auto place = [&](Relay& relay, bool field) {
    if (in_trusted && !relay.ip_private && relay.auth.empty()) in_trusted = in_internal = false;
    relay.internal = in_internal;
    (in_trusted ? out.trusted : out.untrusted).push_back(relay);
    (in_internal ? out.internal : out.external).push_back(relay);
    if (!field) return;
    markers = in_trusted;
    if (in_trusted) ++out.last_trusted;
    if (in_internal) ++out.last_internal;
  };
  if (!flow.client.empty()) {
    Relay relay{Relay::allocator_type(memory)};
    relay.ip = flow.client;
    relay.helo = flow.helo;
    strip(relay.helo);
    // Nobody asks the DNS in the path. A sender from outside is taken at its word, so that rules
    // for hosts without a name do not judge everybody; those of our own are off for mail that
    // leaves.
    if (!flow.outbound && sluice::spam::has(relay.helo, ".")) relay.rdns = relay.helo;
    relay.by = "sluice";
    relay.envelope_from = flow.mail_from;
    strip(relay.envelope_from);
    relay.has_envelope_from = flow.has_mail_from;
    if (flow.authenticated) relay.auth = "ESMTPA";
    relay.ip_private = is_private_address(relay.ip, scratch);
    place(relay, false);
  }
  String text(memory);
  const auto read = [&](std::string_view line) {
    if (out.trusted.size() + out.untrusted.size() >= kMaxRelays) return;
    Relay relay{Relay::allocator_type(memory)};
    switch (LineReader(scratch, memory, relay).read(line)) {
      case Outcome::relay:
        place(relay, true);
        return;
      case Outcome::unknown:
        ++out.unparseable;
        break;
      case Outcome::fetched:
        if (markers) {
          out.trusted.clear();
          out.internal.clear();
          out.external.clear();
        }
        break;
      case Outcome::nothing:
        break;
    }
    if (in_trusted) ++out.last_trusted;
    if (in_internal) ++out.last_internal;
  };
  for (const std::string_view line : received) read(line);
  for (const std::string_view value : originating) {
    scan::Regex::Match m;
    if (!tables().address.find(value, scratch, &m)) continue;
    text = "from X-Originating-IP: ";
    text += m.group(value, 0);
    read(text);
  }
  for (const Relay& relay : out.trusted) put_text(out.trusted_text, relay);
  for (const Relay& relay : out.untrusted) put_text(out.untrusted_text, relay);
  for (const Relay& relay : out.internal) put_text(out.internal_text, relay);
  for (const Relay& relay : out.external) put_text(out.external_text, relay);
}

}  // namespace sluice::spam
