#include "dataplane/mime/content.h"

#include <algorithm>
#include <array>

#include "dataplane/base/stack_memory.h"
#include "dataplane/mime/charset.h"
#include "dataplane/mime/encoded_word.h"
#include "dataplane/mime/find_octet.h"
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

// In the field's text, or in the memory of what was read from it.
struct Parameter {
  std::string_view name;     // without the asterisks of RFC 2231
  int segment = -1;          // of a continuation, else -1
  bool extended = false;     // percent-encoded, in segment 0 with charset and language
  std::string_view value;    // quotes undone
  std::string_view literal;  // another reading of it, empty when there is none
  std::string_view strict;   // every quoted pair undone, where that differs from `value`
};

void add_reading(Strings& list, std::string_view text) {
  if (text.empty() || list.size() >= kMaxReadings) return;
  if (std::find(list.begin(), list.end(), text) == list.end()) list.emplace_back(text);
}

void assign_lower(std::pmr::string& out, std::string_view text, std::size_t limit = 128) {
  out.assign(text.substr(0, limit));
  for (char& c : out) c = lower(c);
}

// Reads the parameters of a field value after its first token. What stands otherwise than in the
// text goes to `memory`, which gives it back as a whole.
class ParameterReader {
 public:
  ParameterReader(std::string_view text, std::pmr::memory_resource* memory)
      : text_(text), memory_(memory) {}

  // The next parameter; false at the end.
  bool next(Parameter& p) {
    for (;;) {
      skip_filling(true);
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
      skip_filling(false);
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
  // Blanks and comments, which may stand between any two tokens (RFC 822 3.1.4), and with
  // `semicolons` those too.
  void skip_filling(bool semicolons) {
    while (!text_.empty()) {
      if (is_space(text_.front()) || (semicolons && text_.front() == ';')) {
        text_.remove_prefix(1);
      } else if (text_.front() == '(') {
        skip_comment();
      } else {
        return;
      }
    }
  }

  // A comment that never ends is none: only its bracket is skipped. Then comments are not nested
  // any more, so that no octet is looked at more than twice.
  void skip_comment() {
    if (!unclosed_) {
      const std::size_t size = comment_size(text_);
      if (size > 0) return text_.remove_prefix(size);
      unclosed_ = malformed_ = true;
      last_close_ =
          text_.rfind(')') == std::string_view::npos ? nullptr : text_.data() + text_.rfind(')');
    }
    const bool closes = last_close_ != nullptr && last_close_ >= text_.data();
    text_.remove_prefix(closes ? text_.find(')') + 1 : 1);
  }

  // Octets of the comment that `text` begins with (RFC 5322 3.2.2: they nest); 0 if it has no end.
  static std::size_t comment_size(std::string_view text) {
    std::size_t depth = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\\') {
        ++i;
      } else if (text[i] == '(') {
        ++depth;
      } else if (text[i] == ')' && --depth == 0) {
        return i + 1;
      }
    }
    return 0;
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
    if (!text_.empty() && text_.front() == '(') {
      const std::string_view before = text_;
      skip_filling(false);
      if (text_.empty() || text_.front() != '"') {
        // Most mail programs know no comments and take "(1).pdf" for a value; the RFC's reading
        // is the other one.
        const std::size_t commented = before.size() - text_.size();
        text_ = before;
        return read_bare(p, commented);
      }
    }
    if (!text_.empty() && text_.front() == '"') {
      read_quoted(p);
      return;
    }
    read_bare(p, 0);
  }

  // A value without quotes; its first `commented` octets may be a comment.
  void read_bare(Parameter& p, std::size_t commented) {
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
    const std::string_view token = trim(value.substr(std::min(commented, value.size())));
    value = trim(value);
    p.value = value;
    // RFC 2045 ends the token at a blank, a comment or a comma.
    const std::size_t stop = token.find_first_of(" \t(,");
    if (stop != std::string_view::npos || commented > 0) p.literal = token.substr(0, stop);
  }

  void read_quoted(Parameter& p) {
    text_.remove_prefix(1);
    const char* const end = text_.data() + text_.size();
    const auto stop =
        static_cast<std::size_t>(find_octet<'"', '\\'>(text_.data(), end) - text_.data());
    std::size_t i = stop;
    for (; i < text_.size() && text_[i] != '"'; ++i) {
      if (text_[i] == '\\' && i + 1 < text_.size()) ++i;
    }
    const std::string_view inside = text_.substr(0, i);
    p.value = inside;
    if (stop < i) undo_pairs(inside, p);
    if (i >= text_.size()) {
      // Never closed: what another reader takes ends at the semicolon, or has the quote.
      malformed_ = true;
      const std::size_t semicolon = inside.find(';');
      const std::size_t size = inside.substr(0, semicolon).size();
      if (p.strict.empty()) p.strict = {inside.data() - 1, size + 1};
      if (semicolon != std::string_view::npos) {
        p.literal = p.value;
        p.value = trim(inside.substr(0, semicolon));
        text_.remove_prefix(semicolon);
        return;
      }
    }
    text_.remove_prefix(std::min(i + 1, text_.size()));
  }

  void undo_pairs(std::string_view inside, Parameter& p) {
    char* const value = static_cast<char*>(memory_->allocate(2 * inside.size(), 1));
    char* const strict = value + inside.size();
    std::size_t size = 0;
    std::size_t strict_size = 0;
    for (std::size_t i = 0; i < inside.size(); ++i) {
      if (inside[i] == '\\' && i + 1 < inside.size()) {
        ++i;
        // Only what needs it is unescaped: a path with backslashes stays one.
        if (inside[i] == '"' || inside[i] == '\\') {
          p.literal = inside;
        } else {
          value[size++] = '\\';
        }
      }
      value[size++] = inside[i];
      strict[strict_size++] = inside[i];
    }
    p.value = {value, size};
    if (strict_size < size) p.strict = {strict, strict_size};
  }

  std::string_view text_;
  std::pmr::memory_resource* memory_;
  const char* last_close_ = nullptr;  // the last ')' once a comment was not closed
  bool unclosed_ = false;
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

// A name: its encoded words undone (RFC 2047 5 forbids them here, most senders use them). `other`
// readings count only when it is more dangerous to open what has that name.
void add_name(Strings& out, std::string_view raw, bool other) {
  if (raw.empty()) return;
  std::pmr::string buffer(out.get_allocator());
  const std::string_view text = decode_words(raw, buffer);
  const auto worse = [&](std::string_view name) {
    return out.empty() || danger_of_name(name) > danger_of_name(out.back());
  };
  if (!other || worse(text)) add_reading(out, text);
  // To programs written in C a NUL ends it.
  const std::string_view first = std::string_view(text).substr(0, text.find('\0'));
  if (first.size() < text.size() && !first.empty() && worse(first)) add_reading(out, first);
}

// The value of a parameter in pieces, or percent-encoded (RFC 2231 3 and 4).
class Joiner {
 public:
  Joiner(Strings& out, bool words, bool other)
      : out_(out),
        words_(words),
        other_(other),
        bytes_(out.get_allocator()),
        charset_(out.get_allocator()) {}

  void add(const Parameter& p, std::string_view value) {
    // A parameter in one piece, or the same number twice: another reading.
    if (p.segment == -1 || p.segment <= previous_) finish();
    previous_ = p.segment;
    if (p.extended && first_) {
      const std::size_t quote = value.find('\'');
      const std::size_t second =
          quote == std::string_view::npos ? quote : value.find('\'', quote + 1);
      if (second != std::string_view::npos) {
        charset_.assign(value.substr(0, quote));
        value.remove_prefix(second + 1);
      }
    }
    first_ = false;
    if (p.extended) {
      extended_ = true;
      // An escape may be cut up by the pieces.
      const std::size_t cut = std::min(open_escape_, bytes_.size());
      std::pmr::string piece(std::string_view(bytes_).substr(bytes_.size() - cut),
                             bytes_.get_allocator());
      bytes_.resize(bytes_.size() - cut);
      piece += value;
      append_percent_decoded(piece, bytes_);
      const std::size_t escape = piece.rfind('%');
      open_escape_ =
          escape == std::pmr::string::npos || piece.size() - escape > 2 ? 0 : piece.size() - escape;
    } else {
      open_escape_ = 0;
      bytes_.append(value);
    }
  }

  // The value is whole.
  void finish() {
    if (!bytes_.empty()) {
      std::pmr::string text(out_.get_allocator());
      append_utf8(charset_, as_bytes(bytes_), text);
      if (!words_) {
        add_reading(out_, text);
      } else if (!extended_) {
        // Encoded words in the pieces, or one cut up by them: undone once they are joined.
        add_name(out_, bytes_, other_);
      } else {
        if (!other_) add_reading(out_, text);
        add_name(out_, text, true);
      }
    }
    bytes_.clear();
    open_escape_ = 0;
    first_ = true;
    extended_ = false;
  }

 private:
  Strings& out_;
  bool words_;
  bool other_;  // not the likeliest reading
  std::pmr::string bytes_;
  std::pmr::string charset_;
  std::size_t open_escape_ = 0;  // octets at the end of bytes_ that may begin an escape
  bool first_ = true;
  bool extended_ = false;
  int previous_ = -2;
};

// All readings of the parameter `name` among `list`: plain ones in order, then the extended one
// joined from its segments.
void readings_of(std::string_view name, const std::pmr::vector<Parameter>& list, bool words,
                 Strings& out) {
  std::pmr::vector<const Parameter*> segments(list.get_allocator());
  for (const Parameter& p : list) {
    if (!equals_ignoring_case(p.name, name)) continue;
    if (p.segment >= 0 || p.extended) {
      segments.push_back(&p);
      continue;
    }
    bool other = false;
    for (const std::string_view reading : {p.value, p.strict, p.literal}) {
      if (words) {
        add_name(out, reading, other);
      } else {
        add_reading(out, reading);
      }
      other = true;
    }
  }
  if (segments.empty()) return;
  std::stable_sort(segments.begin(), segments.end(),
                   [](const Parameter* a, const Parameter* b) { return a->segment < b->segment; });
  Joiner joiner(out, words, false);
  for (const Parameter* p : segments) joiner.add(*p, p->value);
  joiner.finish();
  if (std::all_of(segments.begin(), segments.end(),
                  [](const Parameter* p) { return p->strict.empty() && p->literal.empty(); }))
    return;
  Joiner other(out, words, true);
  for (const Parameter* p : segments)
    other.add(*p, !p->strict.empty() ? p->strict : !p->literal.empty() ? p->literal : p->value);
  other.finish();
}

using FieldMemory = StackMemory<2048>;

std::pmr::vector<Parameter> read_parameters(std::string_view text, bool& malformed,
                                            std::pmr::memory_resource* memory) {
  std::pmr::vector<Parameter> list(memory);
  list.reserve(4);
  ParameterReader reader(text, memory);
  for (Parameter parameter; reader.next(parameter); parameter = {}) {
    if (list.size() == kMaxParameters) {
      malformed = true;
      break;
    }
    list.push_back(parameter);
  }
  if (reader.malformed()) malformed = true;
  return list;
}

// Returns whether one is there that is empty.
bool add_boundaries(const std::pmr::vector<Parameter>& list, Strings& out) {
  Strings all(list.get_allocator());
  readings_of("boundary", list, false, all);
  for (const std::pmr::string& b : all) {
    std::string_view text = b;
    // Blanks at the end cannot be told from the delimiter line's own (RFC 2046 5.1.1).
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    add_reading(out, text.substr(0, kMaxBoundary));
  }
  for (const std::pmr::string& b : all) add_reading(out, trim(b).substr(0, kMaxBoundary));
  return std::any_of(list.begin(), list.end(), [](const Parameter& p) {
    return equals_ignoring_case(p.name, "boundary") && trim(p.value).empty();
  });
}

// A label in single quotes means what stands in them.
std::string_view charset_label(std::string_view value) {
  std::string_view label = first_token(value);
  if (label.size() > 2 && label.front() == '\'' && label.back() == '\'')
    label = label.substr(1, label.size() - 2);
  return label;
}

// What follows the first token of a value.
std::string_view after_token(std::string_view value, std::string_view token) {
  return value.substr(static_cast<std::size_t>(token.data() + token.size() - value.data()));
}

void read_content_type(std::string_view value, ContentType& out) {
  FieldMemory memory(out.names.get_allocator().resource());
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

  const std::pmr::vector<Parameter> list = read_parameters(rest, out.malformed, memory.get());
  Strings charsets(memory.get());
  readings_of("charset", list, false, charsets);
  if (!charsets.empty()) assign_lower(out.charset, charset_label(charsets.front()), 64);
  if (charsets.size() > 1) assign_lower(out.other_charset, charset_label(charsets.back()), 64);
  if (out.other_charset == out.charset) out.other_charset.clear();
  const auto says = [&](std::string_view name, std::string_view value) {
    return std::any_of(list.begin(), list.end(), [&](const Parameter& p) {
      return equals_ignoring_case(p.name, name) && equals_ignoring_case(trim(p.value), value);
    });
  };
  out.delsp = says("delsp", "yes") && says("format", "flowed");
  readings_of("name", list, true, out.names);
  out.empty_boundary = add_boundaries(list, out.boundaries);
  if (out.type == "message" && out.subtype == "partial") {
    Strings numbers(memory.get());
    readings_of("number", list, false, numbers);
    // The first one begins with the header of the message; so may one that does not say.
    out.later_fragment = !numbers.empty() &&
                         std::all_of(numbers.begin(), numbers.end(), [](std::string_view number) {
                           while (number.starts_with('0')) number.remove_prefix(1);
                           const std::size_t end = number.find_first_not_of("0123456789");
                           number = number.substr(0, end);
                           return !number.empty() && number != "1";
                         });
  }
}

constexpr std::string_view kRuns[] = {
    "ade",  "adp", "application", "appx", "bat",        "chm",       "cmd",
    "com",  "cpl", "diagcab",     "dll",  "exe",        "gadget",    "hlp",
    "hta",  "img", "inf",         "ins",  "iso",        "isp",       "jar",
    "jnlp", "js",  "jse",         "lib",  "library-ms", "lnk",       "mde",
    "msc",  "msi", "msix",        "msp",  "mst",        "one",       "pif",
    "ps1",  "reg", "scf",         "scr",  "sct",        "search-ms", "settingcontent-ms",
    "sh",   "shb", "shs",         "sys",  "url",        "vb",        "vbe",
    "vbs",  "vhd", "vhdx",        "vxd",  "wsc",        "wsf",       "wsh",
    "xll"};
constexpr std::string_view kCarries[] = {
    "7z",  "ace", "arj", "cab", "doc",   "docm", "docx", "dotm", "eml",  "gz",   "htm",   "html",
    "lzh", "mht", "msg", "pdf", "ppam",  "ppsm", "ppt",  "pptm", "rar",  "rtf",  "shtml", "svg",
    "tar", "tgz", "uue", "xht", "xhtml", "xlam", "xls",  "xlsb", "xlsm", "xltm", "xz",    "zip"};

// Its first eight octets, which tell most words apart.
constexpr std::uint64_t head_of(std::string_view word) {
  std::uint64_t head = 0;
  for (const char c : word.substr(0, sizeof head)) head = head << 8 | static_cast<std::uint8_t>(c);
  return head;
}

// What an extension says, by its head.
struct Extension {
  std::uint64_t head;
  std::string_view word;
  int danger;
};
constexpr auto kExtensions = [] {
  std::array<Extension, std::size(kRuns) + std::size(kCarries)> all{};
  std::size_t count = 0;
  for (const std::string_view word : kRuns) all[count++] = {head_of(word), word, 3};
  for (const std::string_view word : kCarries) all[count++] = {head_of(word), word, 2};
  std::ranges::sort(all, {}, &Extension::head);
  return all;
}();
static_assert(std::ranges::adjacent_find(kExtensions, {}, &Extension::head) == kExtensions.end());

}  // namespace

int danger_of_name(std::string_view name) {
  // Windows drops dots and blanks at the end of a name.
  while (!name.empty() && (name.back() == '.' || static_cast<std::uint8_t>(name.back()) <= ' '))
    name.remove_suffix(1);
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return 0;
  name.remove_prefix(dot + 1);
  std::array<char, 20> letters;  // more than the longest has
  if (name.size() > letters.size()) return 1;
  std::transform(name.begin(), name.end(), letters.begin(), lower);
  const std::string_view extension(letters.data(), name.size());
  const auto* const known =
      std::ranges::lower_bound(kExtensions, head_of(extension), {}, &Extension::head);
  if (known != kExtensions.end() && known->word == extension) return known->danger;
  return 1;
}

void ContentInfo::add_encoding(Encoding encoding) {
  const Encoding* const begin = encodings;
  const Encoding* const end = begin + encoding_count;
  if (encoding_count < std::size(encodings) && std::find(begin, end, encoding) == end)
    encodings[encoding_count++] = encoding;
}

void ContentInfo::field(std::string_view name, std::string_view value) {
  if (!starts_with_ignoring_case(name, "content-")) return;
  name.remove_prefix(8);
  const std::size_t nul = value.find('\0');
  // Names with a NUL have readings of their own, see add_name().
  if (nul == std::string_view::npos || equals_ignoring_case(name, "disposition"))
    return content_field(name, value);
  // Some readers drop NULs, to others the value ends at the first; that is no second field.
  const bool types_before = repeated_type;
  const bool encodings_before = repeated_encoding;
  FieldMemory temporary(content_id.get_allocator().resource());
  std::pmr::string without(value, temporary.get());
  std::erase(without, '\0');
  const bool first_type = types.empty();
  content_field(name, without);
  if (first_type && !types.empty()) {
    ContentType as_sent{types.get_allocator()};
    read_content_type(value, as_sent);
    types.front().names = std::move(as_sent.names);
  }
  const bool types_now = repeated_type;
  const bool encodings_now = repeated_encoding;
  const bool malformed_now = malformed;
  const std::string_view before = trim(value.substr(0, nul));
  content_field(name, before.empty() ? value : before);
  repeated_type = types_before || types_now;
  repeated_encoding = encodings_before || encodings_now;
  malformed = malformed_now;
}

void ContentInfo::content_field(std::string_view name, std::string_view value) {
  std::pmr::memory_resource* const memory = content_id.get_allocator().resource();
  if (equals_ignoring_case(name, "type")) {
    if (types.empty()) {
      ContentType& only = types.emplace_back();
      read_content_type(value, only);
      malformed |= only.malformed;
      return;
    }
    ContentType type{ContentType::allocator_type(memory)};
    read_content_type(value, type);
    malformed |= type.malformed;
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
    if (known && first_token(value) == trim(value)) return add_encoding(encoding);
    // "base64,7bit", "x-base64": readers differ about what it is.
    bool leads = false;
    const Encoding hinted = encoding_hinted(value, leads);
    if (!known && leads) add_encoding(hinted);
    add_encoding(encoding);
    if (hinted != Encoding::identity) add_encoding(hinted);
  } else if (equals_ignoring_case(name, "disposition")) {
    std::string_view token = first_token(value);
    std::string_view rest = after_token(value, token);
    if (token.find('=') != std::string_view::npos) {
      token = {};
      rest = value;
    }
    if (disposition.empty()) assign_lower(disposition, token, 64);
    FieldMemory temporary(memory);
    const std::pmr::vector<Parameter> list = read_parameters(rest, malformed, temporary.get());
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
