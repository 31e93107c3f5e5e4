#include "dataplane/spam/html_tokens.h"

#include "dataplane/mime/charset.h"
#include "dataplane/mime/html_entities.h"
#include "dataplane/spam/html_text.h"

namespace sluice::spam {

void decode_entities(std::string_view in, String& out) {
  std::size_t i = 0;
  while (i < in.size()) {
    const std::size_t next = in.find('&', i);
    out += in.substr(i, next == std::string_view::npos ? next : next - i);
    if (next == std::string_view::npos) return;
    i = next + 1;
    std::size_t end = i;
    std::uint32_t code = 0;
    bool found = false;
    if (end < in.size() && in[end] == '#') {
      ++end;
      const bool hex = end < in.size() && to_lower(in[end]) == 'x';
      if (hex) ++end;
      const std::size_t digits = end;
      while (end < in.size() && code <= 0x10ffff) {
        const char c = to_lower(in[end]);
        if (is_digit(c)) {
          code = code * (hex ? 16 : 10) + static_cast<std::uint32_t>(c - '0');
        } else if (hex && c >= 'a' && c <= 'f') {
          code = code * 16 + static_cast<std::uint32_t>(c - 'a' + 10);
        } else {
          break;
        }
        ++end;
      }
      found = end > digits && code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000);
    } else {
      while (end < in.size() && is_alnum(in[end])) ++end;
      const std::string_view name = in.substr(i, end - i);
      const auto* at = std::lower_bound(
          std::begin(mime::kHtmlEntities), std::end(mime::kHtmlEntities), name,
          [](const mime::HtmlEntity& entity, std::string_view text) { return entity.name < text; });
      found = at != std::end(mime::kHtmlEntities) && at->name == name;
      if (found) code = at->code;
    }
    if (!found) {
      out += '&';
      continue;
    }
    // SpamAssassin makes &nbsp; a plain blank before it parses.
    if (code == 0xa0 && in.substr(i, 5) == "nbsp;") code = ' ';
    mime::append_code_point(code, out);
    if (end < in.size() && in[end] == ';') ++end;
    i = end;
  }
}

namespace {

// Octets that end something in a tag.
constexpr std::uint8_t kSpace = 1;
constexpr std::uint8_t kEquals = 2;
constexpr std::uint8_t kClose = 4;
constexpr std::array<std::uint8_t, 256> kOctets = [] {
  std::array<std::uint8_t, 256> octets{};
  for (std::size_t c = 0; c < 256; ++c) octets[c] = is_space(static_cast<char>(c)) ? kSpace : 0;
  octets['='] = kEquals;
  octets['>'] = kClose;
  return octets;
}();
bool is(char c, unsigned what) { return (kOctets[static_cast<unsigned char>(c)] & what) != 0; }

class TokenReader {
 public:
  TokenReader(std::string_view html, HtmlTokenSink& sink, std::pmr::memory_resource* memory)
      : html_(html), sink_(sink), decoded_(memory) {}

  void run() {
    std::size_t text = 0;  // where text begins that was not given yet
    std::size_t i = 0;
    while (i < html_.size()) {
      if (!literal_.empty()) {
        const std::size_t end = find_end_tag(i);
        if (end == npos) {  // no end: the rest is its text
          give(i, html_.size());
          literal_ = {};
          return;
        }
        if (end > i) give(i, end);
        literal_ = {};
        text = i = end;
      }
      i = html_.find('<', i);
      if (i == npos) break;
      if (i > text) give(text, i);
      text = i;
      const std::size_t next = markup(i);
      if (next == npos) {  // markup that does not end
        if (html_.size() - i > 1) sink_.on_comment(html_.substr(i));
        return;
      }
      if (next == i) {
        ++i;  // a '<' that begins nothing is text
      } else {
        text = i = next;
      }
    }
    if (text < html_.size()) give(text, html_.size());
  }

 private:
  static constexpr std::size_t npos = std::string_view::npos;

  void give(std::size_t from, std::size_t to) {
    const std::string_view text = html_.substr(from, to - from);
    if (is_cdata_ || text.find('&') == npos) {
      sink_.on_text(text);
      return;
    }
    decoded_.clear();
    decode_entities(text, decoded_);
    sink_.on_text(decoded_);
  }

  // Where the literal element's end tag begins.
  std::size_t find_end_tag(std::size_t from) const {
    for (std::size_t i = html_.find("</", from); i != npos; i = html_.find("</", i + 2)) {
      const std::string_view name = html_.substr(i + 2, literal_.size());
      if (!equals_lower(name, literal_)) continue;
      std::size_t end = i + 2 + literal_.size();
      while (end < html_.size() && is_space(html_[end])) ++end;
      if (end < html_.size() && html_[end] == '>') return i;
    }
    return npos;
  }

  // The end of the markup at `at`, `at` when there is none, npos when its end is missing.
  std::size_t markup(std::size_t at) {
    if (html_.size() - at < 3) return at;
    const char c = html_[at + 1];
    if (is_alpha(c) || c == '_' || c == ':') return start(at);
    if (c == '/') return end_tag(at);
    if (c == '!') return declaration(at);
    if (c == '?') {
      const std::size_t end = html_.find('>', at);
      return end == npos ? npos : end + 1;
    }
    return at;
  }

  void set_tag(std::string_view name) {
    name = name.substr(0, kMaxTagName);
    tag_.number = kHtmlTags.find(name);
    if (tag_.number != 0) {
      tag_.name = kHtmlTags.name(tag_.number);
      return;
    }
    std::transform(name.begin(), name.end(), tag_text_.begin(), to_lower);
    tag_.name = {tag_text_.data(), name.size()};
  }
  bool is_word_tag() const { return std::all_of(tag_.name.begin(), tag_.name.end(), is_word); }

  std::size_t start(std::size_t at) {
    const std::string_view s = html_;
    std::size_t i = at + 1;
    while (i < s.size() && !is(s[i], kSpace | kClose)) ++i;
    std::string_view name = s.substr(at + 1, i - at - 1);
    // SpamAssassin reads <br/> as <br>.
    if (name.size() > 1 && name.ends_with('/') && i < s.size() && s[i] == '>') {
      const std::string_view bare = name.substr(0, name.size() - 1);
      if (std::all_of(bare.begin(), bare.end(), is_word)) name = bare;
    }
    set_tag(name);
    count_ = 0;
    seen_ = 0;
    while (i < s.size() && is(s[i], kSpace)) ++i;
    if (i + 1 < s.size() && s[i] == '/' && s[i + 1] == '>' && is_word_tag()) ++i;  // <br />
    while (i < s.size() && s[i] != '>') {
      const std::size_t begin = i++;
      while (i < s.size() && !is(s[i], kSpace | kEquals | kClose)) ++i;
      if (i >= s.size()) return npos;
      const std::string_view attribute = s.substr(begin, i - begin);
      while (i < s.size() && is(s[i], kSpace)) ++i;
      if (i >= s.size()) return npos;
      if (s[i] != '=') {
        add(attribute, attribute);
        continue;
      }
      ++i;
      while (i < s.size() && is(s[i], kSpace)) ++i;
      if (i >= s.size()) return npos;
      if (s[i] == '>') {
        add(attribute, {});
        break;
      }
      if (s[i] == '"' || s[i] == '\'') {
        const std::size_t close = s.find(s[i], i + 1);
        if (close == npos) return npos;
        add(attribute, s.substr(i + 1, close - i - 1));
        i = close + 1;
      } else {
        const std::size_t word = i;
        while (i < s.size() && !is(s[i], kSpace | kClose)) ++i;
        if (i >= s.size()) return npos;
        add(attribute, s.substr(word, i - word));
      }
      while (i < s.size() && is(s[i], kSpace)) ++i;
      if (i >= s.size()) return npos;
    }
    if (i >= s.size()) return npos;
    sink_.on_start(tag_, std::span(attributes_).first(count_));
    if ((tag_.is() & kHtmlLiteral) != 0) literal_ = kHtmlTags.name(tag_.number);
    is_cdata_ = (tag_.is() & kHtmlCdata) != 0;
    return i + 1;
  }

  void add(std::string_view name, std::string_view value) {
    if (count_ >= kMaxAttributes) return;
    name = name.substr(0, kMaxTagName);
    const std::uint8_t number = kHtmlAttributes.find(name);
    if (number != 0) {
      if ((seen_ >> number & 1) != 0) return;
      seen_ |= std::uint32_t{1} << number;
    } else {
      for (const HtmlAttribute& known : std::span(attributes_).first(count_)) {
        if (known.number == 0 && equals_nocase(known.name, name)) return;
      }
    }
    attributes_[count_++] = {.name = name, .value = value, .number = number};
  }

  std::size_t end_tag(std::size_t at) {
    is_cdata_ = false;
    std::size_t i = at + 2;
    if (i < html_.size() && !is_space(html_[i]) && html_[i] != '>') {
      const std::size_t begin = i;
      while (i < html_.size() && !is(html_[i], kSpace | kClose)) ++i;
      set_tag(html_.substr(begin, i - begin));
      i = html_.find('>', i);
      if (i == npos) return npos;
      sink_.on_end(tag_);
      return i + 1;
    }
    i = html_.find('>', i);
    if (i == npos) return npos;
    sink_.on_comment(html_.substr(at, i + 1 - at));
    return i + 1;
  }

  std::size_t declaration(std::size_t at) {
    const std::string_view s = html_;
    if (s.substr(at).starts_with("<!--")) {
      for (std::size_t i = s.find("--", at + 4); i != npos; i = s.find("--", i + 1)) {
        std::size_t end = i + 2;
        while (end < s.size() && is_space(s[end])) ++end;
        if (end < s.size() && s[end] == '>') {
          sink_.on_comment(s.substr(at, end + 1 - at));
          return end + 1;
        }
      }
      // Without its end it is a comment up to the first '>'.
      const std::size_t end = s.find('>', at + 4);
      if (end == npos) return npos;
      sink_.on_comment(s.substr(at, end + 1 - at));
      return end + 1;
    }
    const std::size_t end = s.find('>', at + 2);
    if (end == npos) return npos;
    if (is_alpha(s[at + 2])) {
      sink_.on_declaration(s.substr(at, end + 1 - at));
    } else {
      sink_.on_comment(s.substr(at, end + 1 - at));
    }
    return end + 1;
  }

  std::string_view html_;
  HtmlTokenSink& sink_;
  std::string_view literal_;  // name of the element whose text holds no tags
  bool is_cdata_ = false;
  String decoded_;
  HtmlTag tag_;
  std::array<char, kMaxTagName> tag_text_;
  static_assert(kHtmlAttributes.size() <= 32);
  std::uint32_t seen_ = 0;  // attributes of kHtmlAttributes
  std::size_t count_ = 0;
  std::array<HtmlAttribute, kMaxAttributes> attributes_;
};

}  // namespace

void read_html(std::string_view html, HtmlTokenSink& sink, std::pmr::memory_resource* memory) {
  TokenReader(html, sink, memory).run();
}

}  // namespace sluice::spam
