// What SpamScan counts of parts and raw lines for the MIME checks (Mail::SpamAssassin::Plugin::
// MIMEEval and ImageInfo).
#include <charconv>

#include "dataplane/mime/find_octet.h"
#include "dataplane/spam/decode.h"
#include "dataplane/spam/spam_scan.h"

namespace sluice::spam {
namespace {

constexpr std::size_t kMaxImages = 200;

bool is_ascii_charset(std::string_view charset) {
  static constexpr std::string_view kNames[] = {
      "us-ascii", "ansi_x3.4", "iso-ir-6", "iso_646.irv:1991", "ascii", "iso646-us",
      "us",       "ibm367",    "cp367"};
  for (const std::string_view name : kNames) {
    if (has(charset, name)) return true;
  }
  return false;
}

std::uint32_t big_endian(std::string_view s, std::size_t at, int octets) {
  std::uint32_t value = 0;
  for (int i = 0; i < octets; ++i)
    value = value << 8 | static_cast<unsigned char>(s[at + static_cast<std::size_t>(i)]);
  return value;
}

// The next line of `rest`, its line end included.
std::string_view take_line(std::string_view& rest) {
  const std::size_t end = std::min(rest.find('\n'), rest.size() - 1);
  const std::string_view line = rest.substr(0, end + 1);
  rest.remove_prefix(end + 1);
  return line;
}

void count_quoted(std::string_view lines, MimeFacts& mime) {
  while (!lines.empty()) {
    const std::string_view line = take_line(lines);
    if (line.starts_with("SPAM: ")) continue;
    if (line.size() > 78 + 1) mime.qp_long_line = true;
    mime.qp_octets += line.size();
    for (std::size_t i = line.find('='); i != std::string_view::npos && i + 2 < line.size();
         i = line.find('=', i + 1)) {
      const char a = line[i + 1];
      const char b = line[i + 2];
      const bool hex = is_digit(b) || (b >= 'A' && b <= 'F');
      const bool needless =
          (a == '0' && b == '9') ||
          (a == '3' && (is_digit(b) || (b >= 'A' && b <= 'C') || b == 'E' || b == 'F')) ||
          ((a == '2' || a == '4' || a == '5' || a == '6') && hex) ||
          (a == '7' && (is_digit(b) || (b >= 'A' && b <= 'E')));
      if (needless) ++mime.qp_escapes;
    }
    // Blanks at the end of a line must be encoded.
    std::string_view rest = line;
    while (!rest.empty() && is_space(rest.back())) rest.remove_suffix(1);
    for (; rest.ends_with("=20") || rest.ends_with("=09"); rest.remove_suffix(3)) --mime.qp_escapes;
  }
}

// Lines with octets that text of ASCII must not have.
std::uint64_t count_illegal(std::string_view lines) {
  const auto illegal = [](std::string_view text) {
    const char* const begin = text.data();
    const char* const end = begin + text.size();
    return mime::find_octet<'\0', '\r'>(begin, end) != end ||
           mime::find_non_ascii(begin, end) != end;
  };
  if (!illegal(lines)) return 0;
  std::uint64_t count = 0;
  while (!lines.empty()) count += illegal(take_line(lines)) ? 1u : 0u;
  return count;
}

// Characters as "&#xFFFF;".
std::uint64_t count_unicode(std::string_view lines) {
  std::uint64_t count = 0;
  const char* const end = lines.data() + lines.size();
  for (const char* p = lines.data(); (p = mime::find_pair<'&', '#'>(p, end)) != end; ++p) {
    if (end - p < 8 || p[2] != 'x' || p[7] != ';') continue;
    count += std::all_of(p + 3, p + 7, [](char c) { return is_digit(c) || (c >= 'A' && c <= 'F'); })
                 ? 1u
                 : 0u;
  }
  return count;
}

}  // namespace

void SpamScan::on_part_header(std::uint32_t number, const ContentType& type) {
  const MessagePart& part = parts_.parts()[number];
  MimeFacts& mime = view_.mime;
  String charset(type.charset, &arena_);
  lower(charset);
  if (type.missing) charset = "us-ascii";
  if (type.type == "multipart/alternative") mime.multipart_alternative = true;
  if (type.type == "text/html") {
    ++mime.html_count;
  } else if (type.type.starts_with("text")) {
    ++mime.text_count;
  }
  const bool base64 = has(part.encoding, "base64");
  if (base64) {
    ++mime.base64_count;
  } else if (has(part.encoding, "quoted-printable")) {
    ++mime.qp_count;
  }
  if (has(part.disposition, "attachment")) ++mime.attachments;
  if (type.type.starts_with("text") && base64 && (charset.empty() || is_ascii_charset(charset)) &&
      !part.disposition.starts_with("attachment") && !part.disposition.starts_with("inline")) {
    mime.base64_encoded_text = true;
  }
  if (const std::size_t iso = charset.find("iso-"); iso != String::npos) {
    const std::string_view rest = std::string_view(charset).substr(iso + 4);
    const std::size_t dash = rest.find('-');
    const bool known =
        rest.starts_with("8859-") || rest.starts_with("2022-jp") || rest.starts_with("2022-kr");
    if (dash != std::string_view::npos && dash > 0 && dash + 1 < rest.size() && !known)
      mime.bad_iso_charset = true;
  }
}

void SpamScan::on_raw_lines(std::uint32_t number, std::string_view lines) {
  const MessagePart& part = parts_.parts()[number];
  MimeFacts& mime = view_.mime;
  if (part.encoding == "quoted-printable") count_quoted(lines, mime);
  if (part.type != "text/plain") return;
  if (!part.has_charset || equals_lower(part.charset, "us-ascii"))
    mime.ascii_text_illegal += count_illegal(lines);
  if (part.encoding.empty() || part.encoding == "7bit" || part.encoding == "8bit") {
    const std::uint64_t found = count_unicode(lines);
    mime.unicode_characters += found;
    mime.normal_characters += lines.size() - found * 8;
  }
}

void SpamScan::image(const MessagePart& part, std::string_view raw) {
  if (part.encoding != "base64" || view_.images.size() >= kMaxImages) return;
  Image image(&arena_);
  if (part.type == "image/gif") {
    image.type = Image::Type::gif;
  } else if (part.type == "image/png") {
    image.type = Image::Type::png;
  } else if (part.type == "image/jpeg" || part.type == "image/jpg") {
    image.type = Image::Type::jpeg;
  } else {
    return;
  }
  TextBuffer data(&arena_);
  decode_base64(raw, data);
  const std::string_view s = data.view();
  image.name = part.name;
  if (image.type == Image::Type::gif && s.size() >= 13 && s.starts_with("GIF8")) {
    image.width = static_cast<unsigned char>(s[6]) |
                  static_cast<std::uint32_t>(static_cast<unsigned char>(s[7])) << 8;
    image.height = static_cast<unsigned char>(s[8]) |
                   static_cast<std::uint32_t>(static_cast<unsigned char>(s[9])) << 8;
  } else if (image.type == Image::Type::png && s.size() >= 24 &&
             s.starts_with("\x89PNG\r\n\x1a\n") && s.substr(12, 4) == "IHDR") {
    image.width = big_endian(s, 16, 4);
    image.height = big_endian(s, 20, 4);
  } else if (image.type == Image::Type::jpeg && s.starts_with("\xff\xd8")) {
    std::size_t at = 2;
    while (at + 9 < s.size() && s[at] == '\xff') {
      const auto mark = static_cast<unsigned char>(s[at + 1]);
      const std::uint32_t size = big_endian(s, at + 2, 2);
      if (mark == 0xda || mark == 0xd9 || size < 2) break;
      if (mark >= 0xc0 && mark <= 0xcf && mark != 0xc4 && mark != 0xc8 && mark != 0xcc) {
        image.height = big_endian(s, at + 5, 2);
        image.width = big_endian(s, at + 7, 2);
        break;
      }
      at += 2 + size;
    }
  }
  view_.images.push_back(std::move(image));
}

}  // namespace sluice::spam
