#include "dataplane/mime/content.h"

#include <algorithm>

#include "dataplane/mime/charset.h"
#include "dataplane/mime/encoded_word.h"
#include "dataplane/mime/text.h"

namespace sluice::mime {
namespace {

constexpr std::size_t kMaxParameters = 64;
constexpr std::size_t kMaxReadings = 4;

bool is_attribute_char(char c) {
  const auto octet = static_cast<std::uint8_t>(c);
  return octet > ' ' && octet != 0x7f && c != ';' && c != '=' && c != '"' && c != '(' && c != ')' &&
         c != '<' && c != '>' && c != ',' && c != '/';
}

struct Parameter {
  std::string_view name;     // without the asterisks of RFC 2231
  int segment = -1;          // of a continuation, else -1
  bool extended = false;     // percent-encoded, in segment 0 with charset and language
  std::pmr::string value;    // quotes undone
  std::pmr::string literal;  // another reading of it, empty when there is none
};

void add_reading(Strings& list, std::string_view text) {
  if (text.empty() || list.size() >= kMaxReadings) return;
  if (std::find(list.begin(), list.end(), text) == list.end()) list.emplace_back(text);
}

void assign_lower(std::pmr::string& out, std::string_view text, std::size_t limit = 128) {
  out.assign(text.substr(0, limit));
  for (char& c : out) c = lower(c);
}

// Reads the parameters of a field value after its first token.
class ParameterReader {
 public:
  explicit ParameterReader(std::string_view text) : text_(text) {}

  // The next parameter; false at the end.
  bool next(Parameter& p) {
    for (;;) {
      skip_filling();
      if (text_.empty()) return false;
      std::size_t size = 0;
      while (size < text_.size() && is_attribute_char(text_[size])) ++size;
      if (size == 0) {
        malformed_ = true;
        text_.remove_prefix(1);
        continue;
      }
      std::string_view name = text_.substr(0, size);
      text_.remove_prefix(size);
      while (!text_.empty() && is_space(text_.front())) text_.remove_prefix(1);
      if (text_.empty() || text_.front() != '=') {
        malformed_ = true;  // a word that is no parameter
        continue;
      }
      text_.remove_prefix(1);
      while (!text_.empty() && is_space(text_.front())) text_.remove_prefix(1);
      split_name(name, p);
      read_value(p);
      return true;
    }
  }
  bool malformed() const { return malformed_; }

 private:
  void skip_filling() {
    while (!text_.empty()) {
      if (is_space(text_.front()) || text_.front() == ';') {
        text_.remove_prefix(1);
      } else if (text_.front() == '(') {
        const std::size_t close = text_.find(')');
        text_.remove_prefix(close == std::string_view::npos ? text_.size() : close + 1);
      } else {
        return;
      }
    }
  }

  static void split_name(std::string_view name, Parameter& p) {
    p.segment = -1;
    p.extended = false;
    const std::size_t star = name.find('*');
    p.name = name.substr(0, star);
    if (star == std::string_view::npos) return;
    std::string_view rest = name.substr(star + 1);
    if (rest.ends_with('*') || rest.empty()) p.extended = true;
    if (rest.ends_with('*')) rest.remove_suffix(1);
    if (rest.empty() || rest.size() > 4) return;
    int number = 0;
    for (const char c : rest) {
      if (!is_digit(c)) return;
      number = number * 10 + (c - '0');
    }
    p.segment = number;
  }

  void read_value(Parameter& p) {
    p.value.clear();
    p.literal.clear();
    if (!text_.empty() && text_.front() == '"') {
      read_quoted(p);
      return;
    }
    std::size_t end = std::min(text_.find(';'), text_.size());
    std::string_view value = text_.substr(0, end);
    // A parameter that follows without its semicolon: a blank, a name, '='.
    for (std::size_t equals = value.find('='); equals != std::string_view::npos;
         equals = value.find('=', equals + 1)) {
      std::size_t begin = equals;
      while (begin > 0 && is_attribute_char(value[begin - 1])) --begin;
      if (begin > 0 && begin < equals && is_space(value[begin - 1])) {
        malformed_ = true;
        end = begin;
        value = value.substr(0, begin);
        break;
      }
    }
    text_.remove_prefix(end);
    value = trim(value);
    p.value.assign(value);
    // RFC 2045 ends the token at the blank.
    const std::size_t blank = value.find_first_of(" \t");
    if (blank != std::string_view::npos) p.literal.assign(value.substr(0, blank));
  }

  void read_quoted(Parameter& p) {
    text_.remove_prefix(1);
    bool escaped = false;
    std::size_t i = 0;
    for (; i < text_.size(); ++i) {
      if (text_[i] == '"') break;
      // Only what needs it is unescaped: a path with backslashes stays one.
      if (text_[i] == '\\' && i + 1 < text_.size() &&
          (text_[i + 1] == '"' || text_[i + 1] == '\\')) {
        escaped = true;
        ++i;
      }
      p.value.push_back(text_[i]);
    }
    const std::string_view inside = text_.substr(0, std::min(i, text_.size()));
    if (escaped) p.literal.assign(inside);
    if (i >= text_.size()) {
      // Never closed: what another reader takes ends at the semicolon.
      malformed_ = true;
      const std::size_t semicolon = inside.find(';');
      if (semicolon != std::string_view::npos) {
        p.literal = p.value;
        p.value.assign(trim(inside.substr(0, semicolon)));
        text_.remove_prefix(semicolon);
        return;
      }
    }
    text_.remove_prefix(std::min(i + 1, text_.size()));
  }

  std::string_view text_;
  bool malformed_ = false;
};

void append_percent_decoded(std::string_view text, std::pmr::string& out) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
        hex_digit(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
}

// All readings of the parameter `name` among `list`: plain ones in order, then the extended one
// joined from its segments (RFC 2231 3 and 4).
void readings_of(std::string_view name, const std::pmr::vector<Parameter>& list, bool words,
                 Strings& out) {
  std::pmr::memory_resource* const memory = out.get_allocator().resource();
  std::pmr::vector<const Parameter*> segments(memory);
  for (const Parameter& p : list) {
    if (!equals_ignoring_case(p.name, name)) continue;
    if (p.segment >= 0 || p.extended) {
      segments.push_back(&p);
      continue;
    }
    if (!words) {
      add_reading(out, p.value);
      add_reading(out, p.literal);
      continue;
    }
    std::pmr::string text(memory);
    decode_words(p.value, text);
    add_reading(out, text);
  }
  if (segments.empty()) return;
  std::stable_sort(segments.begin(), segments.end(),
                   [](const Parameter* a, const Parameter* b) { return a->segment < b->segment; });
  std::pmr::string bytes(memory);
  std::pmr::string charset(memory);
  bool first = true;
  int previous = -2;
  const auto end_one = [&] {
    if (bytes.empty()) return;
    std::pmr::string text(memory);
    append_utf8(charset, as_bytes(bytes), text);
    add_reading(out, text);
    bytes.clear();
  };
  for (const Parameter* p : segments) {
    // A parameter in one piece, or the same number twice: another reading.
    if (p->segment == -1 || p->segment <= previous) {
      end_one();
      first = true;
    }
    previous = p->segment;
    std::string_view value = p->value;
    if (p->extended && first) {
      const std::size_t quote = value.find('\'');
      const std::size_t second =
          quote == std::string_view::npos ? quote : value.find('\'', quote + 1);
      if (second != std::string_view::npos) {
        charset.assign(value.substr(0, quote));
        value.remove_prefix(second + 1);
      }
    }
    first = false;
    if (p->extended) {
      append_percent_decoded(value, bytes);
    } else {
      bytes.append(value);
    }
  }
  end_one();
}

std::pmr::vector<Parameter> read_parameters(std::string_view text, bool& malformed,
                                            std::pmr::memory_resource* memory) {
  std::pmr::vector<Parameter> list(memory);
  ParameterReader reader(text);
  Parameter p{{}, -1, false, std::pmr::string(memory), std::pmr::string(memory)};
  while (reader.next(p)) {
    if (list.size() == kMaxParameters) {
      malformed = true;
      break;
    }
    // Copies of pmr strings would take the default resource.
    list.push_back(Parameter{p.name, p.segment, p.extended, std::pmr::string(p.value, memory),
                             std::pmr::string(p.literal, memory)});
  }
  if (reader.malformed()) malformed = true;
  return list;
}

void add_boundaries(const std::pmr::vector<Parameter>& list, Strings& out) {
  std::pmr::memory_resource* const memory = out.get_allocator().resource();
  Strings all(memory);
  readings_of("boundary", list, false, all);
  for (const std::pmr::string& b : all) {
    std::string_view text = b;
    // Blanks at the end cannot be told from the delimiter line's own (RFC 2046 5.1.1).
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    add_reading(out, text.substr(0, kMaxBoundary));
  }
  for (const std::pmr::string& b : all) add_reading(out, trim(b).substr(0, kMaxBoundary));
}

// What follows the first token of a value.
std::string_view after_token(std::string_view value, std::string_view token) {
  return value.substr(static_cast<std::size_t>(token.data() + token.size() - value.data()));
}

void read_content_type(std::string_view value, ContentType& out) {
  std::pmr::memory_resource* const memory = out.names.get_allocator().resource();
  std::string_view token = first_token(value);
  std::string_view rest = after_token(value, token);
  if (token.find('=') != std::string_view::npos) {
    // No type at all, parameters only.
    rest = value;
    token = {};
  }
  const std::size_t slash = token.find('/');
  std::string_view subtype;
  if (slash != std::string_view::npos) {
    subtype = token.substr(slash + 1);
    if (subtype.empty()) {
      // "text / plain"
      subtype = first_token(rest);
      rest = after_token(rest, subtype);
    }
  } else if (const std::string_view next = trim(rest); next.starts_with('/')) {
    subtype = first_token(next.substr(1));
    rest = after_token(next, subtype);
  }
  token = token.substr(0, slash);
  while (!subtype.empty() && (subtype.back() == ',' || subtype.back() == '.')) {
    subtype.remove_suffix(1);
  }
  assign_lower(out.type, token);
  assign_lower(out.subtype, subtype.substr(0, subtype.find('/')));
  if (out.type.empty() || out.subtype.empty()) out.malformed = true;

  const std::pmr::vector<Parameter> list = read_parameters(rest, out.malformed, memory);
  Strings charsets(memory);
  readings_of("charset", list, false, charsets);
  if (!charsets.empty()) assign_lower(out.charset, first_token(charsets[0]), 64);
  readings_of("name", list, true, out.names);
  add_boundaries(list, out.boundaries);
}

constexpr std::string_view kRuns[] = {
    "ade",  "adp", "appx",    "application", "bat",        "chm",       "cmd",
    "com",  "cpl", "diagcab", "dll",         "exe",        "gadget",    "hlp",
    "hta",  "img", "inf",     "ins",         "iso",        "isp",       "jar",
    "jnlp", "js",  "jse",     "lib",         "library-ms", "lnk",       "mde",
    "msc",  "msi", "msix",    "msp",         "mst",        "one",       "pif",
    "ps1",  "reg", "scf",     "scr",         "sct",        "search-ms", "settingcontent-ms",
    "sh",   "shb", "shs",     "sys",         "url",        "vb",        "vbe",
    "vbs",  "vhd", "vhdx",    "vxd",         "wsc",        "wsf",       "wsh",
    "xll"};
constexpr std::string_view kCarries[] = {
    "7z",  "ace", "arj", "cab",  "doc",  "docm", "docx", "dotm", "eml", "gz",    "htm",   "html",
    "lzh", "mht", "msg", "pdf",  "ppam", "ppsm", "ppt",  "pptm", "rar", "rtf",   "shtml", "svg",
    "tar", "tgz", "uue", "xlam", "xls",  "xlsb", "xlsm", "xltm", "xht", "xhtml", "xz",    "zip"};

}  // namespace

int danger_of_name(std::string_view name) {
  // Windows drops dots and blanks at the end of a name.
  while (!name.empty() && (name.back() == '.' || static_cast<std::uint8_t>(name.back()) <= ' '))
    name.remove_suffix(1);
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return 0;
  const std::string_view extension = name.substr(dot + 1);
  const auto is_extension = [&](std::string_view e) { return equals_ignoring_case(e, extension); };
  if (std::any_of(std::begin(kRuns), std::end(kRuns), is_extension)) return 3;
  if (std::any_of(std::begin(kCarries), std::end(kCarries), is_extension)) return 2;
  return 1;
}

void ContentInfo::field(std::string_view name, std::string_view value) {
  if (!starts_with_ignoring_case(name, "content-")) return;
  name.remove_prefix(8);
  std::pmr::memory_resource* const memory = content_id.get_allocator().resource();
  if (equals_ignoring_case(name, "type")) {
    ContentType type{ContentType::allocator_type(memory)};
    read_content_type(value, type);
    if (type.malformed) malformed = true;
    if (types.empty()) {
      types.push_back(std::move(type));
      return;
    }
    repeated_type = true;
    const ContentType& first = types[0];
    const bool same = first.type == type.type && first.subtype == type.subtype &&
                      first.boundaries == type.boundaries && first.charset == type.charset;
    if (types.size() > 1) types.pop_back();
    if (!same) types.push_back(std::move(type));
  } else if (equals_ignoring_case(name, "transfer-encoding")) {
    bool known = false;
    const Encoding encoding = encoding_of(value, known);
    if (!known) unknown_encoding = true;
    if (encoding_count == 0) {
      assign_lower(transfer_encoding, first_token(value), 64);
    } else {
      repeated_encoding = true;
    }
    const Encoding* const begin = encodings;
    const Encoding* const end = begin + encoding_count;
    if (encoding_count < std::size(encodings) && std::find(begin, end, encoding) == end)
      encodings[encoding_count++] = encoding;
  } else if (equals_ignoring_case(name, "disposition")) {
    std::string_view token = first_token(value);
    std::string_view rest = after_token(value, token);
    if (token.find('=') != std::string_view::npos) {
      token = {};
      rest = value;
    }
    if (disposition.empty()) assign_lower(disposition, token, 64);
    const std::pmr::vector<Parameter> list = read_parameters(rest, malformed, memory);
    readings_of("filename", list, true, disposition_names);
    readings_of("name", list, true, disposition_names);
    add_boundaries(list, disposition_boundaries);
  } else if (equals_ignoring_case(name, "id")) {
    if (!content_id.empty()) return;
    value = trim(value);
    if (value.starts_with('<')) value.remove_prefix(1);
    if (value.ends_with('>')) value.remove_suffix(1);
    content_id.assign(value.substr(0, 256));
  }
}

}  // namespace sluice::mime
