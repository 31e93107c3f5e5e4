#include "dataplane/spam/decode.h"

#include "dataplane/base/bytes.h"
#include "dataplane/mime/charset.h"

namespace sluice::spam {
namespace {

int hex(char c) {
  if (is_digit(c)) return c - '0';
  c = to_lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Charsets whose ASCII octets mean themselves.
bool extends_ascii(std::string_view charset) {
  static constexpr std::string_view kPrefixes[] = {
      "iso8859", "iso-8859", "iso 8859", "windows-", "utf8",     "utf-8", "koi8-",    "euc-",
      "big5",    "gbk",      "gb18030",  "gb-18030", "us-ascii", "ascii", "ansi_x3.4"};
  for (const std::string_view prefix : kPrefixes) {
    if (charset.size() >= prefix.size() && equals_lower(charset.substr(0, prefix.size()), prefix)) {
      return true;
    }
  }
  return false;
}

bool is_ascii_name(std::string_view charset) {
  return charset.empty() || equals_lower(charset, "us-ascii") || equals_lower(charset, "ascii");
}

}  // namespace

bool is_valid_utf8(std::string_view s) {
  const auto* p = reinterpret_cast<const unsigned char*>(s.data());
  const auto* end = p + s.size();
  while (p < end) {
    const unsigned c = *p++;
    if (c < 0x80) continue;
    int more = 0;
    unsigned code = 0;
    unsigned least = 0;
    if ((c & 0xe0) == 0xc0) {
      more = 1;
      code = c & 0x1f;
      least = 0x80;
    } else if ((c & 0xf0) == 0xe0) {
      more = 2;
      code = c & 0x0f;
      least = 0x800;
    } else if ((c & 0xf8) == 0xf0) {
      more = 3;
      code = c & 0x07;
      least = 0x10000;
    } else {
      return false;
    }
    if (end - p < more) return false;
    for (; more > 0; --more) {
      if ((*p & 0xc0) != 0x80) return false;
      code = code << 6 | (*p++ & 0x3f);
    }
    if (code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
  }
  return true;
}

void normalize(std::string_view text, std::string_view charset, bool insist, String& out) {
  const bool high = has_high(text);
  if (!high && (charset.empty() || extends_ascii(charset))) {
    out += text;
    return;
  }
  if (high && !insist && is_valid_utf8(text)) {
    out += text;
    return;
  }
  const bool useless = is_ascii_name(charset) && !insist;
  const bool tried =
      high && !insist && (equals_lower(charset, "utf-8") || equals_lower(charset, "utf8"));
  if (!useless && !tried) {
    const std::size_t before = out.size();
    if (mime::append_utf8(charset, as_bytes(text), out)) return;
    out.resize(before);
  }
  if (!high) {
    out += text;
    return;
  }
  mime::append_utf8("windows-1252", as_bytes(text), out);
}

void decode_base64(std::string_view in, String& out) {
  unsigned bits = 0;
  int count = 0;
  for (const char c : in) {
    int value = 0;
    if (c >= 'A' && c <= 'Z') {
      value = c - 'A';
    } else if (c >= 'a' && c <= 'z') {
      value = c - 'a' + 26;
    } else if (is_digit(c)) {
      value = c - '0' + 52;
    } else if (c == '+') {
      value = 62;
    } else if (c == '/') {
      value = 63;
    } else {
      continue;  // white space, padding and junk
    }
    bits = bits << 6 | static_cast<unsigned>(value);
    if (++count == 4) {
      out += static_cast<char>(bits >> 16);
      out += static_cast<char>(bits >> 8);
      out += static_cast<char>(bits);
      bits = 0;
      count = 0;
    }
  }
  if (count >= 2) out += static_cast<char>(bits >> (count == 2 ? 4 : 10));
  if (count == 3) out += static_cast<char>(bits >> 2);
}

void decode_quoted_printable(std::string_view in, String& out) {
  std::size_t i = 0;
  while (i < in.size()) {
    const char c = in[i];
    if (c == ' ' || c == '\t') {  // blanks at the end of a line are not part of it
      std::size_t end = i;
      while (end < in.size() && (in[end] == ' ' || in[end] == '\t')) ++end;
      const bool line_end =
          end < in.size() &&
          (in[end] == '\n' || (in[end] == '\r' && end + 1 < in.size() && in[end + 1] == '\n'));
      if (!line_end) out += in.substr(i, end - i);
      i = end;
      continue;
    }
    if (c != '=') {
      std::size_t end = i + 1;
      while (end < in.size() && in[end] != '=' && in[end] != ' ' && in[end] != '\t') ++end;
      out += in.substr(i, end - i);
      i = end;
      continue;
    }
    std::size_t end = i + 1;
    std::size_t blanks = end;
    while (blanks < in.size() && (in[blanks] == ' ' || in[blanks] == '\t')) ++blanks;
    if (blanks < in.size() && in[blanks] == '\r' && blanks + 1 < in.size() &&
        in[blanks + 1] == '\n')
      ++blanks;
    if (blanks < in.size() && in[blanks] == '\n') {
      i = blanks + 1;
      continue;
    }
    if (end + 1 < in.size() && hex(in[end]) >= 0 && hex(in[end + 1]) >= 0) {
      out += static_cast<char>(hex(in[end]) * 16 + hex(in[end + 1]));
      i = end + 2;
      continue;
    }
    out += '=';
    i = end;
  }
}

void decode_transfer(std::string_view raw, std::string_view encoding, bool text, String& out) {
  const auto squash = [&](std::size_t from) {
    std::size_t to = from;
    for (std::size_t i = from; i < out.size(); ++i) {
      if (out[i] == '\r' && i + 1 < out.size() && out[i + 1] == '\n') continue;
      out[to++] = out[i];
    }
    out.resize(to);
  };
  const std::size_t from = out.size();
  if (encoding == "quoted-printable") {
    decode_quoted_printable(raw, out);
    squash(from);
  } else if (encoding == "base64") {
    decode_base64(raw, out);
    if (text) squash(from);
  } else {
    out += raw;
  }
}

namespace {

struct Word {
  std::string_view charset;
  char encoding;
  std::string_view text;
  std::size_t size;  // of the whole word
};

// =?charset?Q?text?= at the start of `s`.
bool read_word(std::string_view s, Word& word) {
  if (!s.starts_with("=?")) return false;
  std::size_t i = 2;
  while (i < s.size() && (is_alnum(s[i]) || s[i] == '*' || s[i] == '_' || s[i] == '-')) ++i;
  if (i == 2 || i + 3 >= s.size() || s[i] != '?' || s[i + 2] != '?') return false;
  word.encoding = to_lower(s[i + 1]);
  if (word.encoding != 'b' && word.encoding != 'q') return false;
  word.charset = s.substr(2, i - 2);
  const std::size_t begin = i + 3;
  const std::size_t end = s.find('?', begin);
  if (end == std::string_view::npos || end + 1 >= s.size() || s[end + 1] != '=') return false;
  word.text = s.substr(begin, end - begin);
  word.size = end + 2;
  return true;
}

bool keeps_words(std::string_view name) {
  if (name.starts_with("resent-")) {
    name.remove_prefix(7);
    return name == "message-id" || name == "date";
  }
  return name == "received" || name == "message-id" || name == "date" || name == "mime-version" ||
         name == "references" || name == "in-reply-to" || name.starts_with("list-");
}

}  // namespace

void decode_header(std::string_view value, std::string_view name, String& out) {
  String utf8(out.get_allocator());
  if (has_high(value)) {
    normalize(value, "UTF-8", false, utf8);
    value = utf8;
  }
  if (keeps_words(name) || !has(value, "=?")) {
    out += value;
    return;
  }
  // Neighbouring words of one charset are joined before it is undone: characters may be divided
  // between them.
  String section(out.get_allocator());
  std::string_view section_charset;
  bool in_section = false;
  const auto flush = [&] {
    if (!in_section) return;
    normalize(section, section_charset.substr(0, section_charset.find('*')), true, out);
    section.clear();
    in_section = false;
  };
  while (!value.empty()) {
    Word word{};
    if (!read_word(value, word)) {
      flush();
      const std::size_t next = value.find("=?", 1);
      out += value.substr(0, next);
      value.remove_prefix(next == std::string_view::npos ? value.size() : next);
      continue;
    }
    if (in_section && !equals_nocase(section_charset, word.charset)) flush();
    section_charset = word.charset;
    in_section = true;
    if (word.encoding == 'b') {
      decode_base64(word.text, section);
    } else {
      String text(word.text, out.get_allocator());
      for (std::size_t i = 0; (i = text.find('_', i)) != String::npos; i += 3)
        text.replace(i, 1, "=20");
      decode_quoted_printable(text, section);
    }
    value.remove_prefix(word.size);
    std::size_t blanks = 0;
    while (blanks < value.size() && is_space(value[blanks])) ++blanks;
    Word next{};
    if (blanks > 0 && read_word(value.substr(blanks), next)) value.remove_prefix(blanks);
  }
  flush();
}

}  // namespace sluice::spam
