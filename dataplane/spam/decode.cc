#include "dataplane/spam/decode.h"

#include <array>

#include "dataplane/base/bytes.h"
#include "dataplane/mime/charset.h"
#include "dataplane/mime/find_octet.h"

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

class TextSink final : public mime::OctetSink {
 public:
  explicit TextSink(TextBuffer& out) : out_(out) {}
  void take(Bytes octets) override { out_.append(as_text(octets)); }

 private:
  TextBuffer& out_;
};

// False when the charset is unknown.
bool append_utf8(std::string_view charset, std::string_view text, TextBuffer& out) {
  TextSink sink(out);
  mime::CharsetDecoder decoder(charset);
  decoder.feed(as_bytes(text), sink);
  decoder.finish(sink);
  return !decoder.unknown();
}

std::size_t leading_ascii(std::string_view s) {
  return static_cast<std::size_t>(mime::find_non_ascii(s.data(), s.data() + s.size()) - s.data());
}

}  // namespace

bool is_valid_utf8(std::string_view s) {
  const auto* p = reinterpret_cast<const unsigned char*>(s.data());
  const auto* end = p + s.size();
  while (p < end) {
    const unsigned c = *p++;
    if (c < 0x80) {
      p += leading_ascii({reinterpret_cast<const char*>(p), static_cast<std::size_t>(end - p)});
      continue;
    }
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

std::string_view normalize(std::string_view text, std::string_view charset, bool insist,
                           TextBuffer& out) {
  const bool high = leading_ascii(text) < text.size();
  if (!high && (charset.empty() || extends_ascii(charset))) return text;
  if (high && !insist && is_valid_utf8(text)) return text;
  const bool useless = is_ascii_name(charset) && !insist;
  const bool tried =
      high && !insist && (equals_lower(charset, "utf-8") || equals_lower(charset, "utf8"));
  const std::size_t before = out.size();
  if (!useless && !tried) {
    if (append_utf8(charset, text, out)) return out.view().substr(before);
    out.cut(before);
  }
  if (!high) return text;
  append_utf8("windows-1252", text, out);
  return out.view().substr(before);
}

namespace {

constexpr std::uint8_t kNoDigit = 0x80;
constexpr std::array<std::uint8_t, 256> kBase64 = [] {
  std::array<std::uint8_t, 256> values;
  values.fill(kNoDigit);
  std::uint8_t value = 0;
  for (const char c :
       std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
    values[static_cast<unsigned char>(c)] = value++;
  return values;
}();

}  // namespace

void decode_base64(std::string_view in, TextBuffer& out) {
  const auto digit = [](char c) { return kBase64[static_cast<unsigned char>(c)]; };
  char* const begin = out.room(in.size() / 4 * 3 + 4);
  char* to = begin;
  unsigned bits = 0;
  int count = 0;
  const char* const end = in.data() + in.size();
  for (const char* p = in.data(); p < end;) {
    if (count == 0 && end - p >= 4) {
      const unsigned a = digit(p[0]);
      const unsigned b = digit(p[1]);
      const unsigned c = digit(p[2]);
      const unsigned d = digit(p[3]);
      if (((a | b | c | d) & kNoDigit) == 0) {
        const unsigned three = a << 18 | b << 12 | c << 6 | d;
        *to++ = static_cast<char>(three >> 16);
        *to++ = static_cast<char>(three >> 8);
        *to++ = static_cast<char>(three);
        p += 4;
        continue;
      }
    }
    const unsigned value = digit(*p++);
    if (value == kNoDigit) continue;  // white space, padding and junk
    bits = bits << 6 | value;
    if (++count == 4) {
      *to++ = static_cast<char>(bits >> 16);
      *to++ = static_cast<char>(bits >> 8);
      *to++ = static_cast<char>(bits);
      bits = 0;
      count = 0;
    }
  }
  if (count >= 2) *to++ = static_cast<char>(bits >> (count == 2 ? 4 : 10));
  if (count == 3) *to++ = static_cast<char>(bits >> 2);
  out.add(static_cast<std::size_t>(to - begin));
}

void decode_quoted_printable(std::string_view in, TextBuffer& out) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  char* const begin = out.room(in.size());
  char* to = begin;
  const auto copy = [&to](const char* from, const char* end) {
    const auto size = static_cast<std::size_t>(end - from);
    std::memcpy(to, from, size);
    to += size;
  };
  const char* p = in.data();
  const char* const end = p + in.size();
  while (p < end) {
    const char* const stop = mime::find_octet<'=', '\n'>(p, end);
    if (stop == end) {
      copy(p, end);
      break;
    }
    if (*stop == '\n') {  // blanks at the end of a line are not part of it
      const char* const line_end = stop > p && stop[-1] == '\r' ? stop - 1 : stop;
      const char* text_end = line_end;
      while (text_end > p && is_blank(text_end[-1])) --text_end;
      copy(p, text_end);
      copy(line_end, stop + 1);
      p = stop + 1;
      continue;
    }
    copy(p, stop);
    p = stop + 1;
    if (end - p >= 2 && hex(p[0]) >= 0 && hex(p[1]) >= 0) {
      *to++ = static_cast<char>(hex(p[0]) * 16 + hex(p[1]));
      p += 2;
      continue;
    }
    const char* next = p;
    while (next < end && is_blank(*next)) ++next;
    if (end - next >= 2 && next[0] == '\r' && next[1] == '\n') ++next;
    if (next < end && *next == '\n') {
      p = next + 1;
    } else {
      *to++ = '=';
    }
  }
  out.add(static_cast<std::size_t>(to - begin));
}

std::string_view decode_transfer(std::string_view raw, std::string_view encoding, bool text,
                                 TextBuffer& out) {
  const std::size_t from = out.size();
  const bool quoted = encoding == "quoted-printable";
  if (quoted) {
    decode_quoted_printable(raw, out);
  } else if (encoding == "base64") {
    decode_base64(raw, out);
  } else {
    return raw;
  }
  const std::string_view decoded = out.view().substr(from);
  std::size_t at = quoted || text ? decoded.find('\r') : std::string_view::npos;
  if (at == std::string_view::npos) return decoded;
  // The CR of CR LF goes.
  char* const begin = out.data() + from;
  char* to = begin + at;
  for (; at < decoded.size(); ++at) {
    if (decoded[at] == '\r' && at + 1 < decoded.size() && decoded[at + 1] == '\n') continue;
    *to++ = decoded[at];
  }
  out.cut(from + static_cast<std::size_t>(to - begin));
  return out.view().substr(from);
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

bool has_encoded(std::string_view value, std::string_view name) {
  return leading_ascii(value) < value.size() || (has(value, "=?") && !keeps_words(name));
}

void decode_header(std::string_view value, std::string_view name, String& out) {
  TextBuffer utf8(out.get_allocator().resource());
  value = normalize(value, "UTF-8", false, utf8);
  if (keeps_words(name) || !has(value, "=?")) {
    out += value;
    return;
  }
  // Neighbouring words of one charset are joined before it is undone: characters may be divided
  // between them.
  TextBuffer section(out.get_allocator().resource());
  TextBuffer converted(out.get_allocator().resource());
  std::string_view section_charset;
  bool in_section = false;
  const auto flush = [&] {
    if (!in_section) return;
    out += normalize(section.view(), section_charset.substr(0, section_charset.find('*')), true,
                     converted);
    section.cut(0);
    converted.cut(0);
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
      String text(out.get_allocator());
      for (const char c : word.text)
        text += c == '_' ? std::string_view("=20") : std::string_view(&c, 1);
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
