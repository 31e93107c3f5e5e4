#include "dataplane/spam/uris.h"

#include <array>
#include <bit>
#include <charconv>
#include <functional>

#include "dataplane/spam/octets.h"
#include "dataplane/spam/relays.h"

namespace sluice::spam {
namespace {

// The regexes of SpamAssassin's _tbirdurire, without the list of top-level domains, which is looked
// up.
struct Tables {
  static constexpr std::uint32_t kFlags = scan::kRegexCaseless;
  scan::Regex known = constant_regex(
      R"re((?:(?:https?|ftp)://|(?:www\d{0,2}|ftp)\.)[^%U]{1,2048}(?=[%U]|\z))re", kFlags);
  scan::Regex mail = constant_regex(
      R"re((?:mailto:[^%U,('\x80-\xff]{1,2048}|[^%U,('\x80-\xff@]{1,251}@[^%U,('\x80-\xff]{1,251}))re"
      R"re((?=[%U,('\x80-\xff]|\z))re",
      kFlags);
  scan::Regex bare = constant_regex(
      R"re((?:^|(?<=[!"#$&'()*+,/:;<=>?@\[\\\]^`{|}~\s\x1b\xa0])))re"
      R"re(([a-z\d][a-z\d._-]{0,251}\.[a-z\d-]+)\.?(?::\d{1,5})?(?:/[^%U]{1,2048})?(?=[%U]|\z))re",
      kFlags);
  // The octets that end an address, which `mail` names twice.
  std::array<bool, 256> ends_mail{};

  Tables() {
    const scan::Regex end = constant_regex(R"re([%U,('\x80-\xff])re");
    scan::RegexScratch scratch;
    for (unsigned octet = 0; octet < ends_mail.size(); ++octet) {
      const char c = static_cast<char>(octet);
      scan::Regex::Match m;
      ends_mail[octet] = end.find({&c, 1}, scratch, &m);
    }
  }
};

const Tables& tables() {
  static const Tables tables;
  return tables;
}

bool starts(std::string_view s, std::string_view lower_prefix) {
  return s.size() >= lower_prefix.size() &&
         equals_lower(s.substr(0, lower_prefix.size()), lower_prefix);
}

// Where Tables::mail matches first from `from` on, or npos. The regex itself tries each place, and
// at each as many octets as an address may have: a line of "a@a@a@" cost 15 times what text does.
std::size_t find_mail(std::string_view s, std::size_t from) {
  constexpr std::string_view kScheme = "mailto:";
  constexpr std::size_t kMostOfAddress = 251, kMostBehindScheme = 2048;
  std::size_t end = from;  // of what `place` stands in
  const auto end_behind = [&](std::size_t place) {
    end = std::max(end, place);
    while (end < s.size() && !tables().ends_mail[static_cast<unsigned char>(s[end])]) ++end;
    return end;
  };
  std::size_t address = std::string_view::npos;
  for (std::size_t place = from; place < s.size();) {
    const std::size_t at = s.find('@', place);
    if (at == std::string_view::npos) break;
    if (at >= end_behind(place)) {
      place = end + 1;
    } else if (at == place || end - at - 1 > kMostOfAddress || end == at + 1) {
      place = at + 1;
    } else {
      address = std::max(place, at - std::min(at, kMostOfAddress));
      break;
    }
  }
  end = from;
  for (std::size_t colon = s.find(':', from); colon != std::string_view::npos;
       colon = s.find(':', colon + 1)) {
    const std::size_t behind = colon + 1;
    if (behind > kScheme.size() && behind - kScheme.size() > address) break;
    if (behind < from + kScheme.size() ||
        !equals_lower(s.substr(behind - kScheme.size(), kScheme.size()), kScheme))
      continue;
    const std::size_t size = end_behind(behind) - behind;
    if (size >= 1 && size <= kMostBehindScheme) return std::min(address, behind - kScheme.size());
  }
  return address;
}

bool has_www(std::string_view s) {
  if (!starts(s, "www")) return false;
  std::size_t i = 3;
  while (i < s.size() && i < 5 && is_digit(s[i])) ++i;
  return i < s.size() && s[i] == '.';
}

// Escapes of printable characters undone (Util::url_encode).
void undo_escapes(std::string_view in, String& out) {
  for (std::size_t i = 0; i < in.size(); ++i) {
    unsigned value = 0;
    if (in[i] == '%' && i + 2 < in.size() &&
        std::from_chars(in.data() + i + 1, in.data() + i + 3, value, 16).ptr == in.data() + i + 3) {
      if (value > 0x20 && value < 0x7f) {
        out += static_cast<char>(value);
      } else {
        out += in.substr(i, 3);
      }
      i += 2;
      continue;
    }
    const auto c = static_cast<unsigned char>(in[i]);
    if (c <= 0x20 || c >= 0x7f || c == '"' || c == '%' || c == '<' || c == '>') {
      static constexpr char kHex[] = "0123456789abcdef";
      out += '%';
      out += kHex[c >> 4];
      out += kHex[c & 15];
    } else {
      out += in[i];
    }
  }
}

bool has_escape(std::string_view s) {
  const auto hex = [](char c) { return is_digit(c) || (to_lower(c) >= 'a' && to_lower(c) <= 'f'); };
  for (std::size_t i = s.find('%'); i != std::string_view::npos && i + 2 < s.size();
       i = s.find('%', i + 1)) {
    if (hex(s[i + 1]) && hex(s[i + 2])) return true;
  }
  return false;
}

// Where a URL of the web stands first in `s`, with five octets behind its place at least; npos:
// nowhere.
std::size_t find_web(std::string_view s) {
  for (std::size_t colon = s.find(':'); colon != std::string_view::npos;
       colon = s.find(':', colon + 1)) {
    for (const std::string_view scheme : {"http", "https"}) {
      if (colon < scheme.size()) continue;
      const std::size_t begin = colon - scheme.size();
      if (begin + 5 < s.size() && equals_lower(s.substr(begin, scheme.size()), scheme))
        return begin;
    }
  }
  return std::string_view::npos;
}

// Where the first of `octets`, which are few, stands; npos: nowhere.
template <char... octets>
std::size_t find_one(std::string_view s, std::size_t from = 0) {
  while (from < s.size() && ((s[from] != octets) && ...)) ++from;
  return from < s.size() ? from : std::string_view::npos;
}

// A number of a host of numbers: 10, 0x7f, 0177.
bool read_octet(std::string_view text, std::uint64_t& value) {
  if (text.empty() || text.size() > 60) return false;
  value = 0;
  if (starts(text, "0x")) {
    text.remove_prefix(2);
    if (text.empty()) return false;
    for (const char c : text) {
      unsigned digit = 0;
      if (std::from_chars(&c, &c + 1, digit, 16).ec != std::errc()) return false;
      value = value * 16 + digit;
    }
    return true;
  }
  const bool octal = text.size() > 1 && text.front() == '0';
  for (const char c : text) {
    if (!is_digit(c)) return false;
    value = value * (octal ? 8 : 10) + static_cast<unsigned>(c - '0');
  }
  return true;
}

void put_number(String& out, std::uint64_t value) { out += std::to_string(value); }

// A URL as nearly all are: of a host of names and a path without escapes, of which there is no
// other form.
bool is_plain_url(std::string_view uri) {
  const std::size_t host = uri.starts_with("http://") ? 7 : uri.starts_with("https://") ? 8 : 0;
  if (host == 0) return false;
  std::size_t end = host;
  while (end < uri.size() && (is_alnum(uri[end]) || uri[end] == '-' || uri[end] == '.')) ++end;
  std::string_view name = uri.substr(host, end - host);
  const std::size_t dot = name.rfind('.');
  // A last label that begins with a letter makes no number.
  if (dot == std::string_view::npos || dot + 1 == name.size() || !is_alpha(name[dot + 1]) ||
      !is_alnum(name.back()))
    return false;
  if (starts(name, "www.")) name.remove_prefix(4);
  if (name.find('.') == std::string_view::npos) return false;
  if (end == uri.size()) return true;
  if (uri[end] != '/') return false;
  for (std::size_t i = end; i < uri.size(); ++i) {
    const char c = uri[i];
    if (static_cast<unsigned char>(c) <= 0x20 || c == '\\' || c == '%' || c == ':' ||
        (c == '#' && uri[i - 1] == '&'))
      return false;
  }
  return true;
}

}  // namespace

void prepare_uris() { tables(); }

// --- domains -------------------------------------------------------------------------------------

bool Domains::known_top(std::string_view label) const {
  char lowered[64];
  if (label.empty() || label.size() > sizeof lowered) return false;
  for (std::size_t i = 0; i < label.size(); ++i) lowered[i] = to_lower(label[i]);
  return top_.contains(std::string_view(lowered, label.size()));
}

bool Domains::valid(std::string_view domain) const {
  const std::size_t dot = domain.rfind('.');
  return dot != std::string_view::npos && known_top(domain.substr(dot + 1)) &&
         std::ranges::none_of(
             domain, [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; });
}

bool Domains::valid_host(std::string_view host) {
  while (host.ends_with('.')) host.remove_suffix(1);
  if (host.empty() || host.size() > 253) return false;
  std::size_t left = static_cast<std::size_t>(std::count(host.begin(), host.end(), '.')) + 1;
  if (left < 2) return false;
  for (;; --left) {
    const std::size_t dot = host.find('.');
    const std::string_view label = host.substr(0, dot);
    if (label.empty() || label.size() > 63) return false;
    if (label.front() == '-' || label.back() == '-') return false;
    for (const char c : label) {
      if (!is_word(c) && c != '-') return false;
      if (c == '_' && left <= 2) return false;
    }
    if (dot == std::string_view::npos) return true;
    host.remove_prefix(dot + 1);
  }
}

std::string_view Domains::registered(std::string_view host) const {
  while (host.starts_with('.')) host.remove_prefix(1);
  while (host.ends_with('.')) host.remove_suffix(1);
  // The rest of the labels, until they are a suffix under which names are registered.
  std::string_view rest = host;
  std::string_view before = host;
  for (auto labels = std::count(rest.begin(), rest.end(), '.') + 1; labels > 1; --labels) {
    if (labels == 2 && two_.contains(rest)) break;
    if (labels == 3) {
      if (rest.ends_with(".us")) {
        const std::size_t dot = rest.find('.');
        if (rest.substr(dot + 1).size() == 5) break;  // city.state.us
      } else if (three_.contains(rest)) {
        break;
      }
    }
    before = rest;
    rest.remove_prefix(rest.find('.') + 1);
  }
  return before;
}

bool Domains::of_uri(std::string_view uri, String& host, String& domain) const {
  std::string_view s = uri;
  if (starts(s, "javascript:") || starts(s, "cid:") || starts(s, "file:")) return false;
  if (starts(s, "mailto:")) {
    s.remove_prefix(7);
    s = s.substr(0, s.find('?'));
    const std::size_t at = s.find('@');
    if (at == std::string_view::npos || s.find('@', at + 1) != std::string_view::npos) return false;
    s.remove_prefix(at + 1);
  } else {
    std::size_t i = 0;
    while (i < s.size() && is_alpha(s[i])) ++i;
    if (i > 0 && i < s.size() && s[i] == ':') {
      s.remove_prefix(i + 1);
      for (int n = 0; n < 2 && s.starts_with('/'); ++n) s.remove_prefix(1);
    }
    std::size_t end = 0;
    while (end < s.size() && s[end] != '/' && s[end] != '?' && s[end] != '#') ++end;
    s = s.substr(0, end);
    const std::size_t at = s.rfind('@');
    if (at != std::string_view::npos) s.remove_prefix(at + 1);
    const std::size_t colon = s.rfind(':');
    if (colon != std::string_view::npos &&
        std::all_of(s.begin() + static_cast<std::ptrdiff_t>(colon) + 1, s.end(), is_digit)) {
      s = s.substr(0, colon);
    }
  }
  for (std::size_t i = 0; i + 2 < s.size(); ++i) {
    unsigned value = 0;
    if (s[i] == '%' &&
        std::from_chars(s.data() + i + 1, s.data() + i + 3, value, 16).ptr == s.data() + i + 3 &&
        value > 0x20 && value < 0x7f)
      return false;
  }
  host = s;
  lower(host);
  if (is_ipv4_address(host)) {
    domain = host;
    return true;
  }
  if (!valid_host(host) || !valid(host)) return false;
  domain = registered(host);
  return true;
}

// --- URLs ----------------------------------------------------------------------------------------

UriList::UriList(const scan::SpamRules& rules, scan::RegexScratch& scratch,
                 std::pmr::memory_resource* memory)
    : rules_(rules),
      scratch_(scratch),
      memory_(memory),
      domains_(rules),
      uris_(memory),
      forms_(memory),
      form_hashes_(memory),
      seen_hashes_(memory) {}

// The text is cut at white space, which ends a URL of every form; only pieces with an '@', a '.' in
// them or "://" may hold one.
void UriList::add_text(std::string_view paragraph) {
  const std::size_t size = paragraph.size();
  const auto marks = [&](std::size_t i) {
    const char c = paragraph[i];
    const char next = i + 1 < size ? paragraph[i + 1] : ' ';
    return c == '@' || (c == '.' && !is_space(next) && next != '.') ||
           (c == ':' && i + 2 < size && next == '/');
  };
  std::size_t i = 0;
  while (i < size) {
    if (i + 18 <= size) {
      const char* const p = paragraph.data() + i;
      const std::uint32_t dots = equal16(p, '.');
      std::uint32_t found = equal16(p, '@') | (equal16(p, ':') & equal16(p + 1, '/'));
      if (dots != 0)
        found |= dots & ~(equal16(p + 1, '.') | equal16(p + 1, ' ') | between16(p + 1, '\t', '\r'));
      if (found == 0) {
        i += 16;
        continue;
      }
      i += static_cast<std::size_t>(std::countr_zero(found));
    } else if (!marks(i)) {
      ++i;
      continue;
    }
    std::size_t begin = i;
    while (begin > 0 && !is_space(paragraph[begin - 1])) --begin;
    std::size_t end = i;
    while (end < size && !is_space(paragraph[end])) ++end;
    add_token(paragraph, begin, end);
    i = end;
  }
}

// Whether a label behind a dot in `piece` is a top-level domain.
bool UriList::has_top(std::string_view piece) const {
  for (std::size_t dot = piece.find('.'); dot != std::string_view::npos;
       dot = piece.find('.', dot + 1)) {
    std::size_t end = dot + 1;
    while (end < piece.size() && (is_alnum(piece[end]) || piece[end] == '-')) ++end;
    if (domains_.known_top(piece.substr(dot + 1, end - dot - 1))) return true;
  }
  return false;
}

void UriList::add_token(std::string_view paragraph, std::size_t begin, std::size_t end) {
  const Tables& t = tables();
  // What stands before the piece matters to it (one octet), what is behind it does not.
  const std::size_t before = begin > 0 ? 1 : 0;
  const std::string_view piece = paragraph.substr(begin - before, end - begin + before);
  std::size_t from = before;
  for (int n = 0; n < 64 && from < piece.size(); ++n) {
    // The leftmost of the three forms; of two at one place the first.
    scan::Regex::Match best;
    int form = 0;
    std::size_t at = std::string_view::npos;
    scan::Regex::Match m;
    const auto starts_there = [&](std::size_t place) {
      if (place == 0) return true;
      const char c = piece[place - 1];
      const bool delimiter =
          is_space(c) || std::string_view("><\"'`,{[(|\x1b\xa0").find(c) != std::string_view::npos;
      return delimiter || is_word(c) != is_word(piece[place]);
    };
    const auto try_form = [&](const scan::Regex& regex, int number) {
      std::size_t place = from;
      while (place < piece.size()) {
        if (&regex == &t.mail) place = find_mail(piece, place);
        if (place >= piece.size() || !regex.find(piece, scratch_, &m, place)) return;
        if (!starts_there(m.begin[0])) {
          place = m.begin[0] + 1;
          continue;
        }
        if (at == std::string_view::npos || m.begin[0] < at) {
          at = m.begin[0];
          best = m;
          form = number;
        }
        return;
      }
    };
    const std::string_view left = piece.substr(from);
    if (has(left, "://") || contains_nocase(left, "www") || contains_nocase(left, "ftp."))
      try_form(t.known, 1);
    if (at != from && (has(left, "@") || (has(left, ":") && contains_nocase(left, "mailto:"))))
      try_form(t.mail, 2);
    // A bare host must end in a top-level domain: the longest that does.
    if (at != from && has_top(left)) {
      std::size_t place = from;
      while (place < piece.size() && t.bare.find(piece, scratch_, &m, place)) {
        if (!starts_there(m.begin[0])) {
          place = m.begin[0] + 1;
          continue;
        }
        const std::string_view host = m.group(piece, 1);
        if (at != std::string_view::npos && m.begin[0] >= at) break;
        if (!domains_.known_top(host.substr(host.rfind('.') + 1))) {
          place = m.begin[0] + 1;
          continue;
        }
        at = m.begin[0];
        best = m;
        form = 3;
        break;
      }
    }
    if (form == 0) return;
    std::string_view raw = piece.substr(best.begin[0], best.end[0] - best.begin[0]);
    from = std::max(best.end[0], best.begin[0] + 1);
    // As Thunderbird: a ')' without '(' before it ends a URL, and so does punctuation at its end.
    if (const std::size_t close = raw.find(')');
        close != std::string_view::npos &&
        raw.substr(0, close).find('(') == std::string_view::npos) {
      raw = raw.substr(0, close);
    }
    while (!raw.empty() &&
           std::string_view("-~!@#^&*()_+=:;'?,.").find(raw.back()) != std::string_view::npos) {
      raw.remove_suffix(1);
    }
    const std::size_t hash = std::hash<std::string_view>()(raw);
    if (std::find(seen_hashes_.begin(), seen_hashes_.end(), hash) != seen_hashes_.end()) continue;
    if (seen_hashes_.size() < kMaxUriForms) seen_hashes_.push_back(hash);
    if (form == 2 && raw.find('@') == std::string_view::npos) continue;
    if (form == 3) {
      String host(best.group(piece, 1), memory_);
      lower(host);
      if (!Domains::valid_host(host)) continue;
    }
    add_parsed(raw, form == 2, form == 3);
  }
}

void UriList::add_parsed(std::string_view raw, bool, bool) {
  if (starts(raw, "cid:") || starts(raw, "mid:")) return;
  {
    std::size_t i = 0;
    while (i < raw.size() && is_word(raw[i])) ++i;
    if (i > 0 && i < raw.size() && raw[i] == ':' &&
        raw.substr(i + 1).find_first_not_of('/') == std::string_view::npos && raw.size() <= i + 3)
      return;
  }
  String uri(memory_);
  if (!starts(raw, "http:") && !starts(raw, "https:") && !starts(raw, "ftp:") &&
      !starts(raw, "mailto:")) {
    const std::size_t at = raw.find('@');
    const std::size_t slash = raw.find('/');
    if (starts(raw, "ftp.")) {
      uri = "ftp://";
    } else if (has_www(raw) || (at != std::string_view::npos && slash != std::string_view::npos &&
                                slash + 1 < raw.rfind('@'))) {
      uri = "http://";
    } else if (at != std::string_view::npos) {
      const std::size_t dot = raw.find('.', at + 2);
      if (dot == std::string_view::npos || has(raw, "&nbsp;")) return;
      while (raw.starts_with(':')) raw.remove_prefix(1);
      for (const std::string_view prefix : {"skype:", "email:", "e-mail:", "mail:"}) {
        if (starts(raw, prefix)) raw.remove_prefix(prefix.size());
      }
      uri = "mailto:";
    } else {
      if (raw.find('.') == std::string_view::npos) return;
      uri = "http://";
    }
  }
  uri += raw;
  if (starts(uri, "mailto:")) {
    if (has_escape(uri)) {
      String undone(memory_);
      undo_escapes(uri, undone);
      uri = undone;
    }
    const std::size_t at = uri.find('@');
    if (at == String::npos) return;
    String host(std::string_view(uri).substr(at + 1), memory_);
    host.resize(std::min(host.find_first_of("?&>"), host.size()));
    while (host.ends_with("%20")) host.resize(host.size() - 3);
    lower(host);
    if (!domains_.valid(host)) return;
  }
  Uri* added = nullptr;
  if (add(uri, true, &added)) added->parsed = true;
}

void UriList::add_html(const HtmlFacts& facts) {
  truncated_ = truncated_ || facts.uri_truncated;
  for (const HtmlLink& link : facts.links) {
    Uri* added = nullptr;
    if (!add(link.uri, false, &added)) continue;
    added->in_html = true;
    if (link.in_a) added->in_a = true;
  }
}

bool UriList::add(std::string_view uri, bool valid_domain, Uri** added) {
  if (uris_.size() >= kMaxUris) return false;
  for (Uri& known : uris_) {
    if (known.raw != uri) continue;
    if (valid_domain && known.hosts.empty()) return false;
    *added = &known;
    return true;
  }
  Strings forms(memory_);
  canonicalize(uri, forms);
  if (forms.empty()) return false;
  Uri entry(memory_);
  String host(memory_);
  String domain(memory_);
  for (String& form : forms) {
    if (form.size() > kMaxUri) {
      truncated_ = true;
      form.resize(kMaxUri);
    }
    if (domains_.of_uri(form, host, domain) &&
        std::find(entry.hosts.begin(), entry.hosts.end(), host) == entry.hosts.end()) {
      entry.hosts.push_back(host);
      entry.domains.push_back(domain);
    }
  }
  if (valid_domain && entry.hosts.empty()) return false;
  for (const String& form : forms) {
    const std::size_t hash = std::hash<std::string_view>()(form);
    if (forms_.size() >= kMaxUriForms ||
        std::find(form_hashes_.begin(), form_hashes_.end(), hash) != form_hashes_.end())
      continue;
    form_hashes_.push_back(hash);
    forms_.push_back(form);
  }
  entry.raw = uri;
  entry.forms = std::move(forms);
  uris_.push_back(std::move(entry));
  *added = &uris_.back();
  return true;
}

// Util::uri_list_canonicalize: the URL itself and every other form of it that counts.
void UriList::canonicalize(std::string_view given, Strings& forms) {
  if (is_plain_url(given)) {
    forms.emplace_back(given);
    return;
  }
  Strings queue(memory_);
  Strings found(memory_);
  queue.emplace_back(given);
  constexpr std::size_t kMaxForms = 32;
  for (std::size_t n = 0; n < queue.size() && n < kMaxForms && found.size() < kMaxForms; ++n) {
    String uri(memory_);
    for (const char c : queue[n]) {
      if (c != '\n' && c != '\r') uri += c;
    }
    uri = String(trim(uri), memory_);
    queue[n] = uri;
    if (uri.size() <= 1 || uri.front() == '#' || uri.front() == '?' || uri.front() == '&' ||
        (uri.front() == '/' && uri[1] != '/'))
      continue;
    const std::size_t at = uri.find('@');
    if (starts(uri, "mailto:") || (at != String::npos && uri.find(':') > at)) {
      if (at == String::npos) continue;
      const std::size_t question = uri.find('?', at);
      if (question != String::npos && question > at + 1)
        found.emplace_back(uri.substr(0, question));
      const std::size_t ampersand = uri.find_first_of("?&", at);
      if (ampersand != String::npos && uri[ampersand] == '&' && ampersand > at + 1) {
        found.emplace_back(uri.substr(0, ampersand));
      }
      if (const std::size_t blank = uri.find("%20"); blank != String::npos) {
        std::string_view rest = uri;
        if (starts(rest, "mailto:")) rest.remove_prefix(7);
        while (rest.starts_with("%20")) rest.remove_prefix(3);
        String trimmed("mailto:", memory_);
        trimmed += rest.substr(0, rest.find_first_of("?&%", rest.find('@')));
        found.push_back(std::move(trimmed));
      }
      if (const std::size_t open = uri.find('<'); open != String::npos && open < at) {
        const std::size_t close = uri.find('>', at);
        if (close != String::npos) {
          String inner("mailto:", memory_);
          inner += std::string_view(uri).substr(open + 1, close - open - 1);
          found.push_back(std::move(inner));
        }
      }
      continue;
    }
    String form(uri, memory_);
    std::replace(form.begin(), form.end(), '\\', '/');
    for (const std::string_view scheme : {"http:", "https:"}) {
      if (!starts(form, scheme)) continue;
      std::size_t slashes = scheme.size();
      while (slashes < form.size() && slashes < scheme.size() + 2 && form[slashes] == '/')
        ++slashes;
      form.replace(scheme.size(), slashes - scheme.size(), "//");
      break;
    }
    if (has_escape(form)) {
      String undone(memory_);
      undo_escapes(form, undone);
      form = undone;
    }
    std::size_t scheme = 0;
    while (scheme < form.size() && (is_word(form[scheme]) || form[scheme] == '-')) ++scheme;
    if (scheme == 0 || scheme >= form.size() || form[scheme] != ':') {
      form.insert(0, form.starts_with("ftp.") ? "ftp://" : "http://");
    }
    const bool web = starts(form, "http://") || starts(form, "https://");
    const std::size_t host_begin = starts(form, "https://") ? 8 : 7;
    if (web) {
      const std::size_t end = find_one<'/', '?', '#'>(form, host_begin);
      if (end != String::npos && end > host_begin && form[end] != '/') form.insert(end, 1, '/');
    }
    if (has(form, "&#")) {
      String undone(memory_);
      for (std::size_t i = 0; i < form.size(); ++i) {
        if (form[i] == '&' && i + 2 < form.size() && form[i + 1] == '#') {
          const bool hex = to_lower(form[i + 2]) == 'x';
          std::uint32_t code = 0;
          const char* first = form.data() + i + (hex ? 3 : 2);
          const auto [ptr, error] =
              std::from_chars(first, form.data() + form.size(), code, hex ? 16 : 10);
          if (error == std::errc() && ptr != form.data() + form.size() && *ptr == ';' &&
              ((code > 32 && code < 127) || code == 12290 || code == 65294 || code == 65377)) {
            undone += code < 127 ? static_cast<char>(code) : '.';
            i = static_cast<std::size_t>(ptr - form.data());
            continue;
          }
        }
        undone += form[i];
      }
      form = undone;
    }
    if (form != uri) found.push_back(form);
    if (!web || !(starts(form, "http://") || starts(form, "https://"))) continue;
    // The parts of the host.
    const std::string_view proto = std::string_view(form).substr(0, host_begin);
    std::string_view rest = std::string_view(form).substr(host_begin);
    const std::size_t auth_end = rest.substr(0, find_one<'/', '?', '#'>(rest)).find('@');
    const bool has_auth = auth_end != std::string_view::npos;
    if (has_auth) rest.remove_prefix(auth_end + 1);
    const std::size_t host_end = std::min(find_one<'/', '?', '#', ':'>(rest), rest.size());
    if (host_end == 0) continue;
    String host(rest.substr(0, host_end), memory_);
    rest.remove_prefix(host_end);
    std::string_view port;
    if (rest.starts_with(':')) {
      std::size_t digits = 1;
      while (digits < rest.size() && is_digit(rest[digits])) ++digits;
      port = rest.substr(1, digits - 1);
    }
    const auto push = [&](std::string_view new_host, std::string_view tail) {
      String made(proto, memory_);
      made += new_host;
      made += tail;
      found.push_back(std::move(made));
    };
    if ((proto.size() == 7 && port == "80") || (proto.size() == 8 && port == "443")) {
      push(host, rest.substr(port.size() + 1));
    }
    const String as_written(host, memory_);
    String lowered(host, memory_);
    lower(lowered);
    std::erase_if(host, [](char c) { return static_cast<unsigned char>(c) <= 0x20; });
    if (host.size() != as_written.size()) push(host, rest);
    // A URL inside of it, as redirectors have it.
    if (const std::size_t begin = find_web(rest); begin != std::string_view::npos) {
      std::string_view inner = rest.substr(begin);
      inner = inner.substr(0, find_one<'&', '#'>(inner));
      if (inner.find('.') != std::string_view::npos && queue.size() < kMaxForms)
        queue.emplace_back(inner);
    }
    if (!host.empty() && !is_alnum(host.back())) {
      while (!host.empty() && !is_alnum(host.back())) host.pop_back();
      push(host, rest);
    }
    // Hosts of numbers.
    std::uint64_t octets[4] = {};
    std::size_t count = 0;
    std::string_view numbers = host;
    bool numeric = !numbers.empty();
    while (numeric && !numbers.empty()) {
      const std::size_t dot = numbers.find('.');
      numeric = count < 4 && read_octet(numbers.substr(0, dot), octets[count]);
      ++count;
      if (dot == std::string_view::npos) break;
      numbers.remove_prefix(dot + 1);
      if (numbers.empty()) numeric = false;
    }
    String dotted(memory_);
    if (numeric && count == 4) {
      for (int i = 0; i < 4; ++i) {
        if (i > 0) dotted += '.';
        put_number(dotted, octets[i]);
      }
      push(dotted, rest);
    } else if (numeric && count == 1) {
      const auto address = static_cast<std::uint32_t>(octets[0]);
      for (int i = 3; i >= 0; --i) {
        put_number(dotted, address >> (i * 8) & 255);
        if (i > 0) dotted += '.';
      }
      push(dotted, rest);
    } else if (proto.size() == 7 && !has_auth && lowered != "localhost" &&
               (port.empty() || port == "80")) {
      std::string_view bare = lowered;
      if (bare.starts_with("www.")) bare.remove_prefix(4);
      if (!bare.empty() && bare.find('.') == std::string_view::npos && !domains_.valid(lowered)) {
        String made("www.", memory_);
        made += bare;
        made += ".com";
        push(made, rest);
      }
    }
  }
  for (Strings* list : {&queue, &found}) {
    for (String& form : *list) {
      if (std::find(forms.begin(), forms.end(), form) == forms.end())
        forms.push_back(std::move(form));
    }
  }
}

}  // namespace sluice::spam
