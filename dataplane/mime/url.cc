#include "dataplane/mime/url.h"

#include <unicode/uidna.h>

#include <algorithm>
#include <array>
#include <optional>

#include "dataplane/mime/charset.h"
#include "dataplane/mime/find_octet.h"
#include "dataplane/mime/ignorable.h"
#include "dataplane/mime/text.h"

namespace sluice::mime {
namespace {

constexpr std::size_t kHeadKept = 1024;
constexpr std::size_t kTailKept = 4096;
constexpr int kInnerLevels = 4;
constexpr int kInnerUrls = 8;

// Octets that never end a URL, nor the host of one.
constexpr auto kPlain = [] {
  std::array<bool, 256> plain{};
  for (std::size_t c = 0; c < plain.size(); ++c)
    plain[c] = is_alnum(static_cast<char>(c)) || c == '.' || c == '-';
  return plain;
}();

bool is_slash(char c) { return c == '/' || c == '\\'; }

// Octets that do not end a URL behind its host, whatever opened before it.
constexpr auto kBehindHost = [] {
  std::array<bool, 256> plain{};
  for (std::size_t c = '!'; c < 0x7f; ++c)
    plain[c] = std::string_view("<>\"`)]'").find(static_cast<char>(c)) == std::string_view::npos;
  return plain;
}();

// Those that do not end the host of a URL with a scheme either.
constexpr auto kInHost = [] {
  std::array<bool, 256> plain = kBehindHost;
  for (const char c : {'/', '\\', '?', '#'}) plain[static_cast<std::uint8_t>(c)] = false;
  return plain;
}();

// Where the authority that begins at `start` ends.
std::size_t authority_end(std::string_view url, std::size_t start) {
  while (start < url.size() && url[start] != '/' && url[start] != '?' && url[start] != '#') ++start;
  return start;
}

// Octets before the colon of a scheme; 0 when there is none ("www.a.test:80" has none).
std::size_t scheme_size(std::string_view url) {
  std::size_t at = 0;
  while (at < url.size() && (is_alnum(url[at]) || url[at] == '+' || url[at] == '-')) ++at;
  return at < url.size() && url[at] == ':' ? at : 0;
}

// Where the authority begins: after the scheme's colon and its slashes.
std::size_t authority_start(std::string_view url) {
  std::size_t at = scheme_size(url);
  if (at > 0) ++at;
  while (at < url.size() && is_slash(url[at])) ++at;
  return at;
}

// "&#46;", "&#x2e;" and the few named references of host punctuation, where the text itself was not
// HTML. Returns the octets consumed, 0 for none.
std::size_t entity_at(std::string_view s, std::uint32_t& code) {
  if (s.size() < 4 || s[0] != '&' ||
      std::string_view("#pscqn").find(s[1]) == std::string_view::npos)
    return 0;
  struct Named {
    std::string_view name;
    char c;
  };
  for (const Named& n : {Named{"&period;", '.'},
                         {"&sol;", '/'},
                         {"&commat;", '@'},
                         {"&colon;", ':'},
                         {"&quest;", '?'},
                         {"&num;", '#'}}) {
    if (s.starts_with(n.name)) {
      code = static_cast<std::uint8_t>(n.c);
      return n.name.size();
    }
  }
  if (s[1] != '#') return 0;
  const bool hex = lower(s[2]) == 'x';
  std::size_t i = hex ? 3 : 2;
  const std::size_t first = i;
  code = 0;
  for (; i < s.size() && i < first + 7; ++i) {
    const int v = hex ? hex_digit(s[i]) : is_digit(s[i]) ? s[i] - '0' : -1;
    if (v < 0) break;
    code = code * (hex ? 16 : 10) + static_cast<std::uint32_t>(v);
  }
  if (i == first || code == 0) return 0;
  return i < s.size() && s[i] == ';' ? i + 1 : i;
}

// Undoes entities in place of `text`; false, and nothing is put, when there are none.
bool undo_entities(std::string_view text, std::pmr::string& out) {
  std::size_t copied = 0;
  for (std::size_t at = text.find('&'); at != std::string_view::npos; at = text.find('&', at)) {
    std::uint32_t code = 0;
    const std::size_t used = entity_at(text.substr(at), code);
    if (used != 0) {
      out.append(text.substr(copied, at - copied));
      append_code_point(code, out);
      copied = at + used;
    }
    at += std::max<std::size_t>(used, 1);
  }
  if (copied == 0) return false;
  out.append(text.substr(copied));
  return true;
}

const UIDNA* idna() {
  static const UIDNA* const instance = [] {
    UErrorCode error = U_ZERO_ERROR;
    return uidna_openUTS46(UIDNA_NONTRANSITIONAL_TO_ASCII, &error);
  }();
  return instance;
}

// International letters to A-labels, as a browser asks the resolver (UTS 46). What is not allowed
// stays as it is.
void to_ascii(std::pmr::string& host) {
  if (std::all_of(host.begin(), host.end(),
                  [](char c) { return static_cast<std::uint8_t>(c) < 0x80; }))
    return;
  if (idna() == nullptr) return;
  char out[512];
  UIDNAInfo info = UIDNA_INFO_INITIALIZER;
  UErrorCode error = U_ZERO_ERROR;
  const std::int32_t size =
      uidna_nameToASCII_UTF8(idna(), host.data(), static_cast<std::int32_t>(host.size()), out,
                             static_cast<std::int32_t>(sizeof out), &info, &error);
  if (U_SUCCESS(error) && size > 0 && size < static_cast<std::int32_t>(sizeof out))
    host.assign(out, static_cast<std::size_t>(size));
}

// An IPv4 address in any of the forms that inet_aton and the URL Standard take (decimal, octal,
// hexadecimal, one to four numbers) to four decimal numbers. True when it was written oddly.
bool undo_number(std::pmr::string& host) {
  std::uint64_t parts[4];
  std::size_t count = 0;
  bool odd = false;
  for (std::string_view rest = host;;) {
    const std::size_t dot = rest.find('.');
    std::string_view part = rest.substr(0, dot);
    if (part.empty() || count == 4) return false;
    int base = 10;
    if (part.size() > 1 && part[0] == '0') {
      odd = true;
      base = 8;
      part.remove_prefix(1);
      if (lower(part[0]) == 'x') {
        base = 16;
        part.remove_prefix(1);
      }
    }
    std::uint64_t value = 0;
    for (const char c : part) {
      const int v = hex_digit(c);
      if (v < 0 || v >= base) return false;
      value = value * static_cast<unsigned>(base) + static_cast<unsigned>(v);
      if (value > 0xffffffff) return false;
    }
    parts[count++] = value;
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  std::uint64_t address = parts[count - 1];
  if (count < 4) odd = true;
  if (address >> (8 * (5 - count))) return false;
  for (std::size_t i = 0; i + 1 < count; ++i) {
    if (parts[i] > 255) return false;
    address |= parts[i] << (8 * (3 - i));
  }
  host.clear();
  for (int shift = 24; shift >= 0; shift -= 8) {
    const auto octet = static_cast<unsigned>(address >> shift & 255);
    if (octet >= 100) host.push_back(static_cast<char>('0' + octet / 100));
    if (octet >= 10) host.push_back(static_cast<char>('0' + octet / 10 % 10));
    host.push_back(static_cast<char>('0' + octet % 10));
    if (shift != 0) host.push_back('.');
  }
  return odd;
}

// The host of an authority without user information.
void set_host(std::string_view hostport, std::pmr::string& name, Host& host) {
  name.clear();
  if (hostport.starts_with('[')) {
    const std::size_t close = hostport.find(']');
    if (close != std::string_view::npos) hostport = hostport.substr(0, close + 1);
    for (const char c : hostport.substr(0, 255)) name.push_back(lower(c));
    return;
  }
  hostport = hostport.substr(0, 1024);
  // The usual host: letters, digits, hyphens, dots.
  if (std::all_of(hostport.begin(), hostport.end(),
                  [](char c) { return kPlain[static_cast<std::uint8_t>(c)]; }) &&
      hostport.size() <= 255 && !hostport.empty() && !is_digit(hostport.front()) &&
      !hostport.ends_with('.')) {
    name.assign(hostport);
    for (char& c : name) c = lower(c);
    return;
  }
  if (undo_percent(hostport, name)) host.deceptive = true;
  // An escaped '@' or ':' divides as a plain one once it is undone.
  if (const std::size_t at = name.rfind('@'); at != std::pmr::string::npos) name.erase(0, at + 1);
  if (const std::size_t colon = name.find(':'); colon != std::pmr::string::npos) name.erase(colon);
  name.resize(authority_end(name, 0));
  to_ascii(name);
  for (char& c : name) c = lower(c);
  std::erase_if(name, [](char c) { return static_cast<std::uint8_t>(c) <= ' ' || c == 0x7f; });
  while (name.ends_with('.')) name.pop_back();
  if (name.size() > 255) name.erase(0, name.size() - 255);
  if (undo_number(name)) host.deceptive = true;
}

bool contains_ignoring_case(std::string_view s, std::string_view needle) {
  return std::search(s.begin(), s.end(), needle.begin(), needle.end(),
                     [](char a, char b) { return lower(a) == lower(b); }) != s.end();
}

// The last character of `text` when it is of two or three octets and whole; else 0.
std::uint32_t last_wide(std::string_view text, std::size_t& size) {
  for (size = 2; size <= 3 && size <= text.size(); ++size) {
    const auto* const p = text.data() + text.size() - size;
    const auto lead = static_cast<std::uint8_t>(*p);
    if ((lead & 0xc0) == 0x80) continue;
    return utf8_size(lead) == size ? utf8_code(p, size) : 0;
  }
  return 0;
}

// A browser takes these for a dot of the host (UTS 46).
bool is_wide_dot(std::uint32_t code) { return code == 0x3002 || code == 0xff0e || code == 0xff61; }

// Where programs that make links of running text end them, beyond ASCII: spaces, quotes, brackets,
// the punctuation of CJK.
bool ends_url(std::uint32_t code) {
  struct Range {
    std::uint16_t first;
    std::uint16_t last;
  };
  constexpr Range kRanges[] = {
      {0x80, 0xa0},     {0xab, 0xab},     {0xbb, 0xbb},     {0x1680, 0x1680}, {0x2000, 0x200b},
      {0x2018, 0x201f}, {0x2026, 0x2026}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x2039, 0x203a},
      {0x205f, 0x205f}, {0x3000, 0x3003}, {0x3008, 0x3011}, {0x3014, 0x301f}, {0xfeff, 0xfeff},
      {0xff01, 0xff02}, {0xff07, 0xff09}, {0xff0c, 0xff0c}, {0xff0e, 0xff0e}, {0xff1a, 0xff1c},
      {0xff1e, 0xff1f}, {0xff3b, 0xff3b}, {0xff3d, 0xff3d}, {0xff5b, 0xff5b}, {0xff5d, 0xff5d},
      {0xff5f, 0xff64},
  };
  const auto* const range =
      std::lower_bound(std::begin(kRanges), std::end(kRanges), code,
                       [](const Range& r, std::uint32_t c) { return r.last < c; });
  return range != std::end(kRanges) && code >= range->first;
}

}  // namespace

bool undo_percent(std::string_view text, std::pmr::string& out) {
  std::size_t copied = 0;
  for (std::size_t at = text.find('%'); at != std::string_view::npos && at + 2 < text.size();
       at = text.find('%', at)) {
    const int high = hex_digit(text[at + 1]);
    const int low = hex_digit(text[at + 2]);
    if (high < 0 || low < 0) {
      ++at;
      continue;
    }
    out.append(text.substr(copied, at - copied));
    out.push_back(static_cast<char>(high << 4 | low));
    copied = at += 3;
  }
  out.append(text.substr(copied));
  return copied > 0;
}

void UrlText::push_back_full(char c) {
  const std::size_t start = authority_start(text_);
  if (authority_end(text_, start) < text_.size()) return;
  text_.erase(kHeadKept, kCapacity - kHeadKept - kTailKept);
  text_.push_back(c);
}

Host host_of(std::string_view url, std::pmr::memory_resource* memory) {
  Host host{std::pmr::string(memory), std::pmr::string(memory), false, false};
  std::pmr::string undone(memory);
  // Only the authority matters, and an entity of it may hold the '#' that would end it.
  const std::size_t start = authority_start(url);
  std::size_t end = start;
  while (end < url.size() && kPlain[static_cast<std::uint8_t>(url[end])]) ++end;
  if (end == url.size() || url[end] == '/' || url[end] == '?') {
    set_host(url.substr(start, end - start), host.name, host);  // the usual one
    return host;
  }
  while (end < url.size() && url[end] != '/' && url[end] != '?') ++end;
  if (url.substr(0, end).find('&') != std::string_view::npos) {
    if (undo_entities(url.substr(0, end), undone)) {
      undone.append(url.substr(end));
      url = undone;
      host.deceptive = true;
    }
  }
  const std::string_view rest = url.substr(authority_start(url));
  const std::string_view general = rest.substr(0, authority_end(rest, 0));
  if (std::any_of(general.begin(), general.end(),
                  [](char c) { return c == '[' || c == '(' || c == '{'; })) {
    for (const std::string_view mark : {"[.]", "[dot]", "(dot)", "(.)", "{.}", "[:]"}) {
      if (contains_ignoring_case(general, mark)) host.defanged = true;
    }
  }
  // A browser takes a backslash for a slash: the authority ends there. Others read on.
  const std::size_t backslash = general.find('\\');
  const std::string_view browser = general.substr(0, backslash);
  const auto without_user = [&](std::string_view authority) {
    const std::size_t at = authority.rfind('@');
    if (at == std::string_view::npos) return authority;
    if (starts_with_ignoring_case(url, "http")) host.deceptive = true;
    return authority.substr(at + 1);
  };
  set_host(without_user(browser), host.name, host);
  if (backslash != std::string_view::npos) {
    host.deceptive = true;
    if (general.find('@', backslash) != std::string_view::npos) {
      set_host(without_user(general), host.other, host);
      if (host.other == host.name) host.other.clear();
    }
  }
  return host;
}

UrlFinder::UrlFinder(UrlSink& sink, std::pmr::memory_resource* memory)
    : sink_(sink), memory_(memory), url_(memory) {}

void UrlFinder::feed(Bytes text) {
  std::string_view in = as_text(text);
  while (!in.empty()) {
    if (state_ == State::idle) {
      idle(in);
    } else {
      if (state_ == State::url) plain(in);
      if (in.empty()) break;
      step(in[0]);
      // A URL that ended gives its last octet back: it may begin something.
      if (state_ != State::idle) in.remove_prefix(1);
      if (state_ == State::idle) tail_size_ = 0;
    }
  }
}

// Looks for the next octet at which a URL can be known to begin; keeps the last octets of the text.
void UrlFinder::idle(std::string_view& in) {
  const char* const begin = in.data();
  const char* const end = begin + in.size();
  for (const char* p = find_octet<':', '.'>(begin, end); p < end;
       p = find_octet<':', '.'>(p + 1, end)) {
    const char c = *p;
    const auto i = static_cast<std::size_t>(p - begin);
    // Most are the end of a sentence: what begins a URL stands behind "www", or a scheme's last
    // letter.
    if (i > 0 || tail_size_ > 0) {
      const char last = lower(i > 0 ? p[-1] : tail_[tail_size_ - 1u]);
      if (c == '.' ? last != 'w' : last != 'p' && last != 's') continue;
    }
    // What stands before, in this call's text or in the last one's.
    char before[12];
    std::size_t size = std::min<std::size_t>(i, sizeof before);
    std::size_t from_tail = std::min<std::size_t>(sizeof before - size, tail_size_);
    std::copy_n(tail_.data() + tail_size_ - from_tail, from_tail, before);
    std::copy_n(in.data() + i - size, size, before + from_tail);
    const std::string_view word(before, from_tail + size);
    bool begun = false;
    if (c == ':') {
      begun = begin_scheme(word);
    } else if (word.size() >= 3 && equals_ignoring_case(word.substr(word.size() - 3), "www")) {
      const char previous = word.size() > 3 ? word[word.size() - 4] : ' ';
      if (!is_alnum(previous) && previous != '.' && previous != '-' && previous != '@' &&
          previous != '/' && static_cast<std::uint8_t>(previous) < 0x80) {
        begin_www(word);
        begun = true;
      }
    }
    if (begun) {
      in.remove_prefix(i + 1);
      tail_size_ = 0;
      return;
    }
  }
  // Keep the end of it.
  if (in.size() >= tail_.size()) {
    std::copy_n(in.data() + in.size() - tail_.size(), tail_.size(), tail_.data());
    tail_size_ = static_cast<std::uint8_t>(tail_.size());
  } else {
    const std::size_t keep = std::min<std::size_t>(tail_size_, tail_.size() - in.size());
    std::copy_n(tail_.data() + tail_size_ - keep, keep, tail_.data());
    std::copy_n(in.data(), in.size(), tail_.data() + keep);
    tail_size_ = static_cast<std::uint8_t>(keep + in.size());
  }
  in = {};
}

// Takes octets that go on with a URL in any case.
void UrlFinder::plain(std::string_view& in) {
  const auto& goes_on = host_done_ ? kBehindHost : www_ ? kPlain : kInHost;
  std::size_t size = 0;
  while (size < in.size() && goes_on[static_cast<std::uint8_t>(in[size])]) ++size;
  url_.append(in.substr(0, size));
  in.remove_prefix(size);
}

bool UrlFinder::begin_scheme(std::string_view before) {
  struct Scheme {
    std::string_view name;
    bool defanged;
  };
  for (const Scheme& s : {Scheme{"https", false},
                          {"http", false},
                          {"ftp", false},
                          {"ftps", false},
                          {"hxxps", true},
                          {"hxxp", true},
                          {"h**ps", true},
                          {"h**p", true}}) {
    if (before.size() < s.name.size() ||
        !equals_ignoring_case(before.substr(before.size() - s.name.size()), s.name)) {
      continue;
    }
    const char previous =
        before.size() > s.name.size() ? before[before.size() - s.name.size() - 1] : ' ';
    // "url:http://..." and "x=http://..." are links, "xhttp://" is not.
    if (is_alnum(previous)) continue;
    defanged_scheme_ = s.defanged;
    www_ = false;
    host_done_ = false;
    divided_ = false;
    closer_ = previous == '(' ? ')' : previous == '[' ? ']' : previous == '\'' ? '\'' : '\0';
    url_.clear();
    for (const char c : before.substr(before.size() - s.name.size())) url_.push_back(c);
    url_.push_back(':');
    state_ = State::slashes;
    return true;
  }
  return false;
}

void UrlFinder::begin_www(std::string_view before) {
  const char previous = before.size() > 3 ? before[before.size() - 4] : ' ';
  closer_ = previous == '(' ? ')' : previous == '[' ? ']' : previous == '\'' ? '\'' : '\0';
  defanged_scheme_ = false;
  www_ = true;
  host_done_ = false;
  divided_ = false;
  url_.clear();
  for (const char c : before.substr(before.size() - 3)) url_.push_back(c);
  url_.push_back('.');
  state_ = State::url;
}

// A host, a run of blanks that moves what follows out of sight, and "@": some readers take all of
// it for one link, whose host stands behind the "@".
void UrlFinder::step_blanks(char c) {
  constexpr std::uint32_t kRun = 16;  // more than anybody puts between two words
  if (c == ' ' || c == '\t') {
    if (blanks_ < kRun) ++blanks_;
    return;
  }
  if (c != '@' || blanks_ < kRun) {
    state_ = State::idle;
    return;
  }
  url_.push_back(c);
  state_ = State::url;
}

// An octet of a character beyond ASCII was put: whether its character ends the URL. What a browser
// takes for a dot of the host, or for nothing, ends it to others: both are told.
bool UrlFinder::step_wide() {
  std::size_t size = 0;
  const std::uint32_t code = last_wide(url_.view(), size);
  if (code == 0) return false;
  const bool in_host = !host_done_ && (is_wide_dot(code) || is_ignorable(code));
  if (!in_host && !ends_url(code)) return false;
  if (in_host && divided_) return false;
  const std::pmr::string character(url_.view().substr(url_.view().size() - size), memory_);
  url_.take_back(size);
  const std::string_view text = url_.view();
  if (!in_host || text.find('.', authority_start(text)) != std::string_view::npos) finish_url();
  if (!in_host) return true;
  divided_ = true;
  url_.append(character);
  return false;
}

void UrlFinder::step(char c) {
  if (state_ == State::blanks) return step_blanks(c);
  if (state_ == State::slashes) {
    if (is_slash(c)) {
      url_.push_back(c);
      return;
    }
    const std::string_view text = url_.view();
    const std::size_t colon = text.find(':');
    if (text.size() - colon - 1 < 2) {
      state_ = State::idle;
      return;
    }
    state_ = State::url;
  }
  const auto octet = static_cast<std::uint8_t>(c);
  bool ends = octet <= ' ' || octet == 0x7f || c == '<' || c == '>' || c == '"' || c == '`' ||
              (closer_ != 0 && c == closer_);
  // An IPv6 literal or a defanged "[.]" has brackets of its own.
  if (c == ']' && closer_ == ']') {
    const std::string_view text = url_.view();
    const auto opened = std::count(text.begin(), text.end(), '[');
    const auto closed = std::count(text.begin(), text.end(), ']');
    if (opened > closed) ends = false;
  }
  if (!host_done_ && !ends) {
    if (is_slash(c) || c == '?' || c == '#' || (www_ && c == ':')) {
      host_done_ = true;
    } else if (www_ && !is_alnum(c) && c != '.' && c != '-' && c != '_' && octet < 0x80) {
      ends = true;
    }
  }
  if (ends) {
    finish_url();
    const std::string_view text = url_.view();
    const bool host_alone = c == ' ' && !www_ && text.find('@') == std::string_view::npos &&
                            authority_end(text, authority_start(text)) == text.size();
    state_ = host_alone ? State::blanks : State::idle;
    blanks_ = 0;
    return;
  }
  url_.push_back(c);
  if (octet >= 0x80 && step_wide()) state_ = State::idle;
}

void UrlFinder::end() {
  if (state_ == State::url) finish_url();
  state_ = State::idle;
  tail_size_ = 0;
}

// Trailing punctuation belongs to the sentence; a closing bracket only when it opens none here.
void UrlFinder::finish_url() {
  std::string_view url = url_.view();
  // How many more are opened than closed: counted once, and only when one stands at the end.
  const auto surplus = [&](char open, char close) {
    return std::count(url.begin(), url.end(), open) - std::count(url.begin(), url.end(), close);
  };
  std::optional<long> parentheses;
  std::optional<long> brackets;
  while (!url.empty()) {
    const char c = url.back();
    if (c == ')' && !parentheses) parentheses = surplus('(', ')');
    if (c == ']' && !brackets) brackets = surplus('[', ']');
    if (c == ')' && *parentheses < 0) {
      ++*parentheses;
    } else if (c == ']' && *brackets < 0) {
      ++*brackets;
    } else if (static_cast<std::uint8_t>(c) >= 0x80) {
      std::size_t size = 0;
      const std::uint32_t code = last_wide(url, size);
      if (code == 0 || (!ends_url(code) && !is_ignorable(code))) break;
      url.remove_suffix(size - 1);
    } else if (std::string_view(".,:;!?'*_~|}").find(c) == std::string_view::npos) {
      break;
    }
    url.remove_suffix(1);
  }
  report(url, defanged_scheme_);
}

void UrlFinder::report(std::string_view url, bool defanged_scheme) {
  const Host host = host_of(url, memory_);
  if (defanged_scheme || host.defanged) {
    if (!host.name.empty()) sink_.on_url_anomaly(contract::Anomaly::defanged_url);
    return;
  }
  if (host.name.empty()) return;
  if (host.deceptive) sink_.on_url_anomaly(contract::Anomaly::deceptive_url);
  sink_.on_found_url(url, host.name);
  if (!host.other.empty()) sink_.on_found_url(url, host.other);
  report_inner(url.substr(authority_start(url)), 0);
}

// URLs in the arguments of a URL: redirectors'.
void UrlFinder::report_inner(std::string_view url, int level) {
  int found = 0;
  const char* const end = url.data() + url.size();
  for (std::size_t at = 0;; ++at) {
    at = static_cast<std::size_t>(find_octet<'h', 'H'>(url.data() + at, end) - url.data());
    if (at + 7 >= url.size()) break;
    const std::string_view rest = url.substr(at);
    if (!starts_with_ignoring_case(rest, "http")) continue;
    std::size_t colon = 4;
    if (lower(rest[colon]) == 's') ++colon;
    if (at > 0 && is_alnum(url[at - 1]) &&
        !(at > 2 && url[at - 3] == '%' && hex_digit(url[at - 2]) >= 0 &&
          hex_digit(url[at - 1]) >= 0)) {
      continue;
    }
    const std::string_view mark = rest.substr(std::min(colon, rest.size()));
    if (mark.starts_with("://") || mark.starts_with(":\\\\")) {
      if (found++ == kInnerUrls) return sink_.on_url_anomaly(contract::Anomaly::url_limit);
      const Host host = host_of(rest, memory_);
      if (host.name.empty() || host.defanged) continue;
      if (host.deceptive) sink_.on_url_anomaly(contract::Anomaly::deceptive_url);
      sink_.on_found_url(rest, host.name);
      if (!host.other.empty()) sink_.on_found_url(rest, host.other);
    } else if (starts_with_ignoring_case(mark, "%3a") || starts_with_ignoring_case(mark, "%25")) {
      // Escaped as an argument, which ends at the next '&': undone, it is a URL of its own.
      if (found++ == kInnerUrls || level == kInnerLevels)
        return sink_.on_url_anomaly(contract::Anomaly::url_limit);
      std::pmr::string undone(memory_);
      const std::string_view argument = rest.substr(0, rest.find('&'));
      undo_percent(argument, undone);
      const std::string_view inner = undone;
      if (inner.substr(colon).starts_with("://")) {
        const Host host = host_of(inner, memory_);
        if (!host.name.empty() && !host.defanged) {
          if (host.deceptive) sink_.on_url_anomaly(contract::Anomaly::deceptive_url);
          sink_.on_found_url(inner, host.name);
        }
        report_inner(inner.substr(1), level + 1);
      } else {
        report_inner(inner, level + 1);
      }
      at += argument.size() - 1;
    }
  }
}

void UrlFinder::link(std::string_view value) {
  value = trim(value);
  if (value.empty() || value[0] == '#') return;
  if (const std::size_t scheme = scheme_size(value); scheme > 0) {
    const std::string_view name = value.substr(0, scheme);
    const std::string_view rest = value.substr(scheme + 1);
    if (equals_ignoring_case(name, "mailto")) {
      const std::string_view address = rest.substr(0, rest.find('?'));
      const std::size_t at = address.rfind('@');
      Host host{std::pmr::string(memory_), std::pmr::string(memory_), false, false};
      if (at != std::string_view::npos) set_host(address.substr(at + 1), host.name, host);
      if (!host.name.empty()) sink_.on_found_url(value, host.name);
      return;
    }
    const bool web = equals_ignoring_case(name, "http") || equals_ignoring_case(name, "https") ||
                     equals_ignoring_case(name, "ftp");
    if (web || rest.starts_with("//")) return report(value, false);
    if (starts_with_ignoring_case(name, "hxxp") && rest.starts_with("//"))
      return report(value, true);
    if (equals_ignoring_case(name, "cid") || equals_ignoring_case(name, "mid")) return;
    if (equals_ignoring_case(name, "javascript") || equals_ignoring_case(name, "vbscript") ||
        equals_ignoring_case(name, "data")) {
      // Text, once its escapes are undone, with quotes around what stands in it.
      std::pmr::string text(memory_);
      undo_percent(rest, text);
      UrlFinder inside(sink_, memory_);
      inside.feed(as_bytes(text));
      return inside.end();
    }
    return report_inner(value, 0);
  }
  if (value.size() > 2 && is_slash(value[0]) && is_slash(value[1])) return report(value, false);
  if (starts_with_ignoring_case(value, "www.")) return report(value, false);
  // An address where a link should be: a mail address, not a host with a user part.
  const std::size_t at = value.find('@');
  if (at != std::string_view::npos && at > 0 && value.find_first_of("/?#\\") > at) {
    Host host{std::pmr::string(memory_), std::pmr::string(memory_), false, false};
    const std::string_view domain = value.substr(at + 1, value.find_first_of("?#/", at) - at - 1);
    set_host(domain, host.name, host);
    if (host.name.find('.') == std::pmr::string::npos) return;
    std::pmr::string url("mailto:", memory_);
    url.append(value);
    return sink_.on_found_url(url, host.name);
  }
  report_inner(value, 0);
}

}  // namespace sluice::mime
