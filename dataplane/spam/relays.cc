#include "dataplane/spam/relays.h"

#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "dataplane/spam/octets.h"
#include "dataplane/spam/received_matcher.h"

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

// What relays are asked for beyond the form of a field; most only where a few octets of them are.
struct Tables {
  Trigrams::Bits ask(std::string_view three) {
    Trigrams::Bits bits{};
    forms.trigrams().ask(three, bits);
    return bits;
  }
  ReceivedMatcher forms;
  Trigrams::Bits has_local_for = ask("l f");
  Trigrams::Bits has_helo = ask("elo");
  Trigrams::Bits has_ehlo = ask("hlo");
  Trigrams::Bits has_auth = ask("uth");
  Trigrams::Bits has_communigate = ask("nig");
  Trigrams::Bits has_dav = ask("-da");
  Trigrams::Bits has_via = ask("(vi");
  Trigrams::Bits has_return_path = ask("n-p");
  Trigrams::Bits has_envelope = ask("pe-");
  scan::Regex address = constant_regex("%I");
  scan::Regex whole_address = constant_regex("^%I$");
  scan::Regex is_private = constant_regex(kPrivate);
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
constexpr std::array<bool, 256> kBreaking = [] {
  std::array<bool, 256> breaking{};
  for (const char c : std::string_view("\0\t\n\v\f\r #[]()<>|", 15))
    breaking[static_cast<unsigned char>(c)] = true;
  return breaking;
}();
// What may stand in the name that a client gives.
constexpr std::array<bool, 256> kOfHelo = [] {
  std::array<bool, 256> of{};
  for (unsigned c = 0; c < 128; ++c) of[c] = is_alnum(static_cast<char>(c));
  for (const char c : std::string_view("-.^+_&:=?!@%*$\\/"))
    of[static_cast<unsigned char>(c)] = true;
  return of;
}();

// `s` without them: itself, or a copy of `memory`.
std::string_view stripped(std::string_view s, std::pmr::memory_resource* memory) {
  const auto breaking = [](char c) { return kBreaking[static_cast<unsigned char>(c)]; };
  if (std::none_of(s.begin(), s.end(), breaking)) return s;
  char* copy = static_cast<char*>(memory->allocate(s.size(), 1));
  std::replace_copy_if(s.begin(), s.end(), copy, breaking, '!');
  return {copy, s.size()};
}

bool one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool all_digits(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), is_digit);
}

// Where the date at the end of a field begins, with what stands between it and the rest:
// [\s;]+(Mon, )?\d+ Jan \d+ \d+:\d+(:\d+)? \S+$. npos: there is none.
std::size_t date_begin(std::string_view s) {
  constexpr std::size_t kNone = std::string_view::npos;
  std::string_view left = s;
  const auto last_word = [&]() -> std::string_view {
    const std::size_t blank = left.rfind(' ');
    if (blank == kNone) return {};
    const std::string_view word = left.substr(blank + 1);
    left = left.substr(0, blank);
    return word;
  };
  if (last_word().empty()) return kNone;
  const std::string_view time = last_word();
  const std::size_t colon = time.find(':');
  if (colon == kNone || !all_digits(time.substr(0, colon))) return kNone;
  const std::size_t second = time.find(':', colon + 1);
  if (!all_digits(time.substr(colon + 1, second == kNone ? kNone : second - colon - 1)) ||
      (second != kNone && !all_digits(time.substr(second + 1))))
    return kNone;
  if (!all_digits(last_word())) return kNone;
  if (!one_of(last_word(),
              {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}))
    return kNone;
  const auto between = [&](std::size_t at) {
    return at > 0 && (s[at - 1] == ' ' || s[at - 1] == ';');
  };
  std::size_t begin = left.size();
  while (begin > 0 && is_digit(s[begin - 1])) --begin;
  if (begin == left.size() || !between(begin)) return kNone;
  if (begin > 5 && s[begin - 1] == ' ' && s[begin - 2] == ',' && between(begin - 5) &&
      one_of(s.substr(begin - 5, 3), {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}))
    begin -= 5;
  while (between(begin)) --begin;
  return begin;
}

// "from X by Y;" says nothing, unless X is an address.
bool is_useless(std::string_view s) {
  if (s.size() < 5 || !equals_lower(s.substr(0, 5), "from ")) return false;
  s.remove_prefix(5);
  const std::size_t blank = s.find(' ');
  if (blank == 0 || blank == std::string_view::npos) return false;
  const std::string_view word = s.substr(0, blank);
  s.remove_prefix(blank);
  if (s.size() < 4 || !equals_lower(s.substr(0, 4), " by ")) return false;
  s.remove_prefix(4);
  const std::size_t end = s.find_first_of(" ;");
  if (end == 0 || end == std::string_view::npos) return false;
  s.remove_prefix(end);
  if (s.front() == ' ') s.remove_prefix(1);
  if (!s.starts_with(';')) return false;
  const bool address =
      word.size() > 2 && word.starts_with('[') && word.ends_with(']') &&
      std::all_of(word.begin() + 1, word.end() - 1, [](char c) { return is_digit(c) || c == '.'; });
  return !address;
}

enum class Outcome : std::uint8_t { relay, nothing, unknown, fetched };

class LineReader {
 public:
  LineReader(scan::RegexScratch& scratch, std::pmr::memory_resource* memory, Relay& relay)
      : scratch_(scratch), memory_(memory), relay_(relay) {}

  Outcome read(std::string_view line) {
    const Tables& t = tables();
    constexpr std::size_t kBehind = 16;  // read, and one for a blank
    char* const text = static_cast<char*>(memory_->allocate(line.size() + kBehind, 1));
    std::string_view s(text, squeeze(line, text));
    std::memset(text + s.size(), 0, line.size() + kBehind - s.size());
    if (s.starts_with(' ')) s.remove_prefix(1);
    if (s.ends_with(' ')) s.remove_suffix(1);
    while (s.ends_with(';')) {
      s.remove_suffix(1);
      if (s.ends_with(' ')) s.remove_suffix(1);
    }
    std::string_view head = s;
    if (head.starts_with('(')) head.remove_prefix(1);
    if (head.size() < 5 || !equals_lower(head.substr(0, 5), "from ")) return Outcome::nothing;
    if (is_useless(s)) return Outcome::nothing;
    const std::string_view whole = s;
    s = s.substr(0, date_begin(s));
    have_ = t.forms.trigrams().of(s);
    if (may_have(t.has_local_for) && sluice::spam::has(whole, " with local for "))
      return Outcome::nothing;
    if (const std::size_t at = s.find(")by "); at != std::string_view::npos) {
      char* const by = text + (s.data() - text) + at + 1;
      std::memmove(by + 1, by, s.size() - at - 1);
      *by = ' ';
      s = {s.data(), s.size() + 1};
      have_ = t.forms.trigrams().of(s);
    }
    find_words(s);
    if (s.starts_with("from ")) return from(s.substr(5));
    scan::Regex::Match m;
    if (s.starts_with("FROM ")) {
      s.remove_prefix(5);
      if (t.upper_from.find(s, scratch_, &m)) {
        looked_up_ = true;
        relay_.helo = m.group(s, 1);
        relay_.rdns = m.group(s, 2);
        relay_.ip = m.group(s, 3);
        relay_.by = m.group(s, 4);
        relay_.id = m.group(s, 5);
        if (relay_.rdns == "unverified") relay_.rdns = {};
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
  // Of the field in hand, what `bits` asks for is there, perhaps.
  bool may_have(const Trigrams::Bits& bits) const { return Trigrams::has_all(have_, bits); }

  // " by ", " id " and " with ", and the name that the client gives.
  void find_words(std::string_view s) {
    bool by = false;
    // kBehind octets may be read behind the text.
    const auto is = [](const char* p, std::string_view word) {
      return std::memcmp(p, word.data(), word.size()) == 0;
    };
    const auto blank = [&](std::size_t at) {
      const char* const p = s.data() + at + 1;
      const std::string_view rest = s.substr(at + 1);
      if (p[0] == 'b' && is(p, "by ") && rest.size() >= 3) {
        by = true;
        const std::string_view host = rest.substr(3, rest.substr(3).find(' '));
        if (relay_.by.empty()) relay_.by = host;
      } else if (p[0] == 'i' && is(p, "id ") && rest.size() >= 3 && relay_.id.empty()) {
        std::string_view id = rest.substr(3);
        if (id.starts_with('<')) id.remove_prefix(1);
        id = id.substr(0, id.find_first_of(" <>;"));
        if (id.size() >= 3) relay_.id = id;
      } else if ((p[0] | 0x20) == 'w' && rest.size() >= 5 &&
                 equals_lower(rest.substr(0, 5), "with ") && relay_.auth.empty()) {
        const std::string_view protocol = rest.substr(5, rest.substr(5).find_first_of(" ;"));
        if (is_authenticating(protocol)) relay_.auth = protocol;
      }
    };
    for (std::size_t i = 0; i < s.size(); i += 16) {
      std::uint32_t blanks = equal16(s.data() + i, ' ');
      if (s.size() - i < 16) blanks &= (1u << (s.size() - i)) - 1;
      for (; blanks != 0; blanks &= blanks - 1)
        blank(i + static_cast<std::size_t>(std::countr_zero(blanks)));
    }
    find_helo(s);
    if (!by) relay_.auth = {};
    if (relay_.auth.empty()) find_other_auth(s);
  }

  // Of "with ESMTPA" and the like.
  static bool is_authenticating(std::string_view protocol) {
    if (protocol.size() < 4 || protocol.size() > 10) return false;
    char upper[10];
    for (std::size_t i = 0; i < protocol.size(); ++i)
      upper[i] = static_cast<char>(protocol[i] >= 'a' && protocol[i] <= 'z' ? protocol[i] - 32
                                                                            : protocol[i]);
    return one_of({upper, protocol.size()},
                  {"ESMTPA", "ESMTPSA", "LMTPA", "LMTPSA", "UTF8SMTPA", "UTF8SMTPSA", "UTF8LMTPA",
                   "UTF8LMTPSA", "ASMTP", "HTTP", "HTTPS", "HTTPU"});
  }

  // helo=NAME, or else HELO NAME or EHLO NAME.
  void find_helo(std::string_view s) {
    const Tables& t = tables();
    const bool helo = may_have(t.has_helo);
    if (!helo && !may_have(t.has_ehlo)) return;
    const auto take = [&](std::string_view word) {
      const std::size_t size = word.size();
      for (std::size_t at = s.find(word); at != std::string_view::npos; at = s.find(word, at + 1)) {
        if (at > 0 && is_word(s[at - 1])) continue;
        std::size_t end = at + size;
        while (end < s.size() && kOfHelo[static_cast<unsigned char>(s[end])]) ++end;
        if (end == at + size) continue;
        relay_.helo = s.substr(at + size, end - at - size);
        return at;
      }
      return std::string_view::npos;
    };
    if (helo && take("helo=") != std::string_view::npos) return;
    const std::size_t first = take("HELO ");
    const std::string_view name = relay_.helo;
    if (take("EHLO ") > first) relay_.helo = name;
  }

  void find_other_auth(std::string_view s) {
    const Tables& t = tables();
    scan::Regex::Match m;
    const bool auth = may_have(t.has_auth);
    if (auth && sluice::spam::has(s, "(AUTH: ") && t.auth_word.find(s, scratch_, &m)) {
      relay_.auth = m.group(s, 1);
    } else if (auth && sluice::spam::has(s, "authenticated") && t.sendmail_auth.find(s, scratch_)) {
      relay_.auth = "Sendmail";
    } else if (auth && sluice::spam::has(s, "(Authenticated sender: ") &&
               t.postfix_auth.find(s, scratch_, &m)) {
      relay_.auth = "Postfix";
      if (m.group(s, 1) != "Postfix") {
        String name("Postfix (", memory_);
        name += m.group(s, 1);
        name += ')';
        relay_.auth = kept(name);
      }
    } else if (may_have(t.has_communigate) && sluice::spam::has(s, "CommuniGate Pro ") &&
               t.communigate.find(s, scratch_)) {
      relay_.auth = "Communigate";
    } else if (may_have(t.has_dav) &&
               sluice::spam::has(s, " with Microsoft Exchange Server HTTP-DAV")) {
      relay_.auth = "HTTP-DAV";
    } else if (may_have(t.has_via) && t.via_http.find(s, scratch_, &m)) {
      relay_.auth = m.group(s, 1);
    }
  }

  std::string_view kept(std::string_view s) {
    char* copy = static_cast<char*>(memory_->allocate(s.size(), 1));
    std::memcpy(copy, s.data(), s.size());
    return {copy, s.size()};
  }

  Outcome from(std::string_view s) {
    const Tables& t = tables();
    scan::Regex::Match m;
    if ((may_have(t.has_return_path) || may_have(t.has_envelope)) &&
        t.envelope.find(s, scratch_, &m)) {
      relay_.envelope_from = m.group(s, 1);
      relay_.has_envelope_from = true;
    }
    ReceivedMatcher::Groups groups;
    if (const std::string_view* fields = t.forms.find(s, have_, scratch_, groups)) {
      if (*fields == "S") return Outcome::nothing;
      if (*fields == "F") return Outcome::fetched;
      take(*fields, groups);
      return finish();
    }
    if (relay_.helo.empty() && t.first_word.find(s, scratch_, &m)) relay_.helo = m.group(s, 1);
    return last_resort(s);
  }

  void take(std::string_view fields, const ReceivedMatcher::Groups& groups) {
    const Tables& t = tables();
    bool query = false;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      const char c = fields[i];
      if (c == 'm') looked_up_ = true;
      if (c == 'X') relay_.id = {};
      if (c == 'Q') query = true;
      if (c == 'm' || c == 'X' || c == 'Q' || c == 'U') continue;
      const std::string_view value = groups[static_cast<std::size_t>(fields[++i] - '0')];
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
        relay_.rdns = {};
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
    std::string_view& rdns = relay_.rdns;
    while (rdns.ends_with('.')) rdns.remove_suffix(1);
    if (equals_lower(rdns, "unknown") || rdns.starts_with('[')) rdns = {};
    std::string_view& ip = relay_.ip;
    if (ip.size() > 5 && equals_lower(ip.substr(0, 5), "ipv6:")) ip.remove_prefix(5);
    if (ip.starts_with('[')) ip.remove_prefix(1);
    if (ip.ends_with(']')) ip.remove_suffix(1);
    scan::Regex::Match m;
    if (ip.find('%') != std::string_view::npos && t.scope.find(ip, scratch_, &m))
      ip = ip.substr(0, m.begin[0]);
    if (ip.find(':') != std::string_view::npos && t.mapped.find(ip, scratch_, &m))
      ip = m.group(ip, 1);
    if (relay_.by.ends_with(';')) relay_.by.remove_suffix(1);
    for (std::string_view* s : {&ip, &rdns, &relay_.helo, &relay_.by, &relay_.ident})
      *s = stripped(*s, memory_);
    if (relay_.has_envelope_from) {
      std::string_view& from = relay_.envelope_from;
      while (from.starts_with('<')) from.remove_prefix(1);
      while (from.ends_with('>')) from.remove_suffix(1);
      from = stripped(from, memory_);
    }
    relay_.no_reverse_dns = rdns.empty() && looked_up_;
    relay_.ip_private = is_private_address(ip, scratch_);
    return Outcome::relay;
  }

  scan::RegexScratch& scratch_;
  std::pmr::memory_resource* memory_;
  Relay& relay_;
  Trigrams::Bits have_{};
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
  if (text.find(':') != std::string_view::npos) return tables().is_private.find(text, scratch);
  for (const std::string_view net : {"10.", "127.", "169.254.", "192.168."}) {
    if (text.starts_with(net)) return true;
  }
  // 172.16.0.0/12, 100.64.0.0/10
  const auto second = [&](unsigned from, unsigned to) {
    unsigned value = 0;
    std::size_t at = 4;
    while (at < text.size() && is_digit(text[at]) && at < 7)
      value = value * 10 + static_cast<unsigned>(text[at++] - '0');
    return at > 4 && text[4] != '0' && at < text.size() && text[at] == '.' && value >= from &&
           value <= to;
  };
  return (text.starts_with("172.") && second(16, 31)) ||
         (text.starts_with("100.") && second(64, 127));
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
    String& text = in_trusted ? out.trusted_text : out.untrusted_text;
    const std::size_t begin = text.size();
    put_text(text, relay);
    String& other = in_internal ? out.internal_text : out.external_text;
    std::string_view put = std::string_view(text).substr(begin);
    if (begin == 0 && !other.empty()) other += ' ';
    if (begin != 0 && other.empty()) put.remove_prefix(1);
    other += put;
    if (!field) return;
    markers = in_trusted;
    if (in_trusted) ++out.last_trusted;
    if (in_internal) ++out.last_internal;
  };
  if (!flow.client.empty()) {
    Relay relay;
    relay.ip = flow.client;
    relay.helo = stripped(flow.helo, memory);
    // Nobody asks the DNS in the path. A sender from outside is taken at its word, so that rules
    // for hosts without a name do not judge everybody; those of our own are off for mail that
    // leaves.
    if (!flow.outbound && relay.helo.find('.') != std::string_view::npos) relay.rdns = relay.helo;
    relay.by = "sluice";
    relay.envelope_from = stripped(flow.mail_from, memory);
    relay.has_envelope_from = flow.has_mail_from;
    if (flow.authenticated) relay.auth = "ESMTPA";
    relay.ip_private = is_private_address(relay.ip, scratch);
    place(relay, false);
  }
  const auto read = [&](std::string_view line) {
    if (out.trusted.size() + out.untrusted.size() >= kMaxRelays) return;
    Relay relay;
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
          out.trusted_text.clear();
          out.internal_text.clear();
          out.external_text.clear();
        }
        break;
      case Outcome::nothing:
        break;
    }
    if (in_trusted) ++out.last_trusted;
    if (in_internal) ++out.last_internal;
  };
  constexpr std::size_t kUsualRelays = 8;
  constexpr std::size_t kUsualText = 1024;
  out.untrusted.reserve(kUsualRelays);
  out.untrusted_text.reserve(kUsualText);
  out.external_text.reserve(kUsualText);
  for (const std::string_view line : received) read(line);
  String text(memory);
  for (const std::string_view value : originating) {
    scan::Regex::Match m;
    if (!tables().address.find(value, scratch, &m)) continue;
    text = "from X-Originating-IP: ";
    text += m.group(value, 0);
    read(text);
  }
}

}  // namespace sluice::spam
