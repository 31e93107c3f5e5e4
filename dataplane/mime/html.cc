#include "dataplane/mime/html.h"

#include <algorithm>

#include "dataplane/mime/charset.h"
#include "dataplane/mime/find_octet.h"
#include "dataplane/mime/html_entities.h"
#include "dataplane/mime/ignorable.h"
#include "dataplane/mime/text.h"

namespace sluice::mime {
namespace {

// Elements that begin a new line where a reader sees them, sorted.
constexpr std::string_view kBlocks[] = {
    "address", "article", "aside",    "blockquote", "body", "br",      "center", "dd",    "div",
    "dl",      "dt",      "fieldset", "footer",     "form", "h1",      "h2",     "h3",    "h4",
    "h5",      "h6",      "head",     "header",     "hr",   "html",    "legend", "li",    "main",
    "nav",     "ol",      "option",   "p",          "pre",  "section", "select", "table", "tbody",
    "tfoot",   "thead",   "title",    "tr",         "ul"};
// Attributes whose value is a place, and those that may hold one, sorted.
constexpr std::string_view kLinks[] = {"action",     "background", "cite",      "data",
                                       "formaction", "href",       "longdesc",  "ping",
                                       "poster",     "src",        "xlink:href"};
constexpr std::string_view kMixed[] = {"content", "srcset", "style"};

// A sorted list of names that rules most others out by their first letter and length.
template <std::size_t N>
class NameSet {
 public:
  explicit constexpr NameSet(const std::string_view (&sorted)[N]) : sorted_(sorted) {
    for (const std::string_view name : sorted) lengths_[name[0] & 31] |= 1u << name.size();
  }
  bool contains(std::string_view name) const {
    if (name.empty() || (lengths_[name[0] & 31] >> name.size() & 1) == 0) return false;
    return std::binary_search(std::begin(sorted_), std::end(sorted_), name);
  }

 private:
  const std::string_view (&sorted_)[N];
  std::uint32_t lengths_[32]{};  // by first letter: a bit for each length
};
constexpr NameSet kBlockNames(kBlocks);
constexpr NameSet kLinkNames(kLinks);
constexpr NameSet kMixedNames(kMixed);

// The C1 range of a numeric reference means Windows-1252 (HTML 13.2.5.80).
constexpr std::uint16_t kC1[32] = {0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021,
                                   0x2c6,  0x2030, 0x160,  0x2039, 0x152,  0x8d,   0x17d,  0x8f,
                                   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                   0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};

const HtmlEntity* find_entity(std::string_view name) {
  const auto found =
      std::lower_bound(std::begin(kHtmlEntities), std::end(kHtmlEntities), name,
                       [](const HtmlEntity& e, std::string_view n) { return e.name < n; });
  return found != std::end(kHtmlEntities) && found->name == name ? found : nullptr;
}

// Elements without an end tag (HTML 13.1.2), sorted.
constexpr std::string_view kVoid[] = {"area",  "base", "br",   "col",   "embed",  "hr",    "img",
                                      "input", "link", "meta", "param", "source", "track", "wbr"};
constexpr NameSet kVoidNames(kVoid);

// Whether a style attribute hides its element: the usual declarations, written in any of the usual
// ways. Later declarations that show it again are left out of account.
bool style_hides(std::string_view style) {
  const auto next = [&](char until) {
    const std::size_t at = std::min(style.find(until), style.size());
    const std::string_view part = trim(style.substr(0, at));
    style.remove_prefix(std::min(at + 1, style.size()));
    return part;
  };
  while (!style.empty()) {
    const std::size_t end = std::min(style.find(';'), style.size());
    const std::size_t colon = style.find(':');
    if (colon >= end) {
      style.remove_prefix(std::min(end + 1, style.size()));
      continue;
    }
    const std::string_view name = next(':');
    std::string_view value = next(';');
    value = trim(value.substr(0, value.find('!')));
    if (equals_ignoring_case(name, "display") && equals_ignoring_case(value, "none")) return true;
    if (equals_ignoring_case(name, "visibility") && equals_ignoring_case(value, "hidden"))
      return true;
    if (equals_ignoring_case(name, "mso-hide") && equals_ignoring_case(value, "all")) return true;
    if (equals_ignoring_case(name, "font-size") || equals_ignoring_case(name, "opacity")) {
      const std::size_t number = std::min(value.find_first_not_of("0."), value.size());
      if (number > 0 && (number == value.size() || !is_digit(value[number]))) return true;
    }
  }
  return false;
}

// Octets of an attribute's document that are given on at once.
constexpr std::size_t kDocumentPiece = 1024;

}  // namespace

HtmlTokenizer::HtmlTokenizer(HtmlSink& sink, std::pmr::memory_resource* memory)
    : sink_(sink), value_(memory) {}

void HtmlTokenizer::flush() {
  if (out_size_ == 0) return;
  const Bytes text = as_bytes({out_, out_size_});
  out_size_ = 0;
  if (hidden_) {
    sink_.on_html_hidden(text);
  } else {
    sink_.on_html_text(text);
    if (unseen_ == 0) note_seen(text);
  }
}

// The reader sees this.
void HtmlTokenizer::note_seen(Bytes text) {
  if (seen_left_ > 0) {
    const Bytes again = text.first(std::min<std::size_t>(text.size(), seen_left_));
    seen_left_ = static_cast<std::uint8_t>(seen_left_ - again.size());
    sink_.on_html_seen(again);
    if (seen_left_ == 0) sink_.on_html_seen(as_bytes("\n"));
  }
  const std::size_t kept = std::min<std::size_t>(text.size(), kSeen);
  const std::size_t old = std::min<std::size_t>(tail_size_, kSeen - kept);
  std::copy_n(tail_.data() + tail_size_ - old, old, tail_.data());
  std::copy_n(text.data() + text.size() - kept, kept, tail_.data() + old);
  tail_size_ = static_cast<std::uint8_t>(old + kept);
}

// What follows is in an element that hides itself.
void HtmlTokenizer::begin_unseen() {
  flush();
  if (seen_left_ == 0 && tail_size_ > 0) sink_.on_html_seen(Bytes(tail_).first(tail_size_));
  seen_left_ = kSeen;
  unseen_ = 1;
  unseen_name_ = name_;
  unseen_size_ = name_size_;
  space_before_ = pending_space_;
}

void HtmlTokenizer::end_unseen() {
  if (pending_space_ && !space_before_) {  // it is hidden too
    emit(' ');
    pending_space_ = false;
  }
  flush();
  unseen_ = 0;
  if (space_before_ && !pending_space_) note_seen(as_bytes(" "));
}

void HtmlTokenizer::emit(char c) {
  if (out_size_ == kOut) flush();
  out_[out_size_++] = c;
}

void HtmlTokenizer::append(std::string_view text) {
  while (!text.empty()) {
    if (out_size_ == kOut) flush();
    const std::size_t size = std::min(text.size(), kOut - out_size_);
    std::copy_n(text.data(), size, out_ + out_size_);
    out_size_ = static_cast<std::uint16_t>(out_size_ + size);
    text.remove_prefix(size);
  }
}

void HtmlTokenizer::put_visible(char c) {
  if (is_space(c)) {
    pending_space_ = !line_start_;
    return;
  }
  if (pending_space_) emit(' ');
  pending_space_ = false;
  line_start_ = false;
  emit(c);
}

// What nobody sees, and a no-break space, needs up to four octets to tell.
void HtmlTokenizer::put(char c) {
  const auto octet = static_cast<std::uint8_t>(c);
  if (held_size_ == 0) {
    if (octet < 0x80) [[likely]] {
      if (c != '\0') put_visible(c);
      return;
    }
    if (!may_be_ignorable(octet)) return put_visible(c);
    held_[held_size_++] = c;
    return;
  }
  const bool goes_on = (octet & 0xc0) == 0x80;
  if (goes_on) {
    held_[held_size_++] = c;
    if (held_size_ < utf8_size(static_cast<std::uint8_t>(held_[0]))) return;
  }
  const std::uint8_t size = held_size_;
  held_size_ = 0;
  if (goes_on) {
    const std::uint32_t code = utf8_code(held_.data(), size);
    if (code == 0xa0) return put_visible(' ');
    if (is_ignorable(code)) return;
  }
  for (std::uint8_t i = 0; i < size; ++i) put_visible(held_[i]);
  if (!goes_on) put(c);
}

void HtmlTokenizer::new_line() {
  if (!line_start_) emit('\n');
  line_start_ = true;
  pending_space_ = false;
}

void HtmlTokenizer::put_code(std::uint32_t code) {
  std::uint8_t utf8[4];
  const std::size_t size = encode_utf8(code, utf8);
  if (in_value()) {
    for (std::size_t i = 0; i < size; ++i) value_char(static_cast<char>(utf8[i]));
    return;
  }
  for (std::size_t i = 0; i < size; ++i) put(static_cast<char>(utf8[i]));
}

void HtmlTokenizer::value_char(char c) {
  if (attribute_ == Attribute::other) return;
  if (attribute_ == Attribute::document) {
    value_.push_back(c);
    if (value_.view().size() >= kDocumentPiece) document_piece();
    return;
  }
  if (c == '\r' || c == '\n' || c == '\t') return;
  if (value_.empty() && static_cast<std::uint8_t>(c) <= ' ') return;
  value_.push_back(c);
}

void HtmlTokenizer::document_piece() {
  flush();
  sink_.on_html_document(as_bytes(value_.view()));
  value_.clear();
}

// A name that may stand without its semicolon: those of Latin-1 (HTML 13.5).
bool HtmlTokenizer::old_reference(std::string_view name) {
  const HtmlEntity* const found = find_entity(name);
  if (found == nullptr || found->code > 0xff || found->code < 0xa0) return false;
  put_code(found->code);
  return true;
}

bool HtmlTokenizer::named_reference(std::string_view name) {
  const HtmlEntity* const found = find_entity(name);
  if (found == nullptr) return false;
  put_code(found->code);
  return true;
}

void HtmlTokenizer::reference_char(char c) {
  if (in_value()) {
    value_char(c);
  } else {
    put(c);
  }
}

// One character of a reference; true when it belonged to it.
bool HtmlTokenizer::reference(char c) {
  const bool first = reference_size_ == 0;
  const bool goes_on = is_alnum(c) || (first && c == '#');
  if (goes_on && reference_size_ < reference_.size()) {
    reference_[reference_size_++] = c;
    return true;
  }
  in_reference_ = false;
  const std::string_view text(reference_.data(), reference_size_);
  const bool closed = c == ';';
  if (text.size() > 1 && text[0] == '#') {
    const bool hex = lower(text[1]) == 'x';
    std::uint32_t code = 0;
    std::size_t i = hex ? 2 : 1;
    const std::size_t digits = i;
    for (; i < text.size(); ++i) {
      const int v = hex ? hex_digit(text[i]) : is_digit(text[i]) ? text[i] - '0' : -1;
      if (v < 0) break;
      if (code < 0x200000) code = code * (hex ? 16 : 10) + static_cast<std::uint32_t>(v);
    }
    if (i > digits) {
      if (code >= 0x80 && code < 0xa0) code = kC1[code - 0x80];
      put_code(code);
      for (; i < text.size(); ++i) reference_char(text[i]);
      return closed;
    }
  } else if (closed) {
    if (named_reference(text)) return true;
  } else if (!in_value() || c != '=') {
    // The old names need no semicolon; in text they may run into the next word.
    if (!in_value() && old_reference(text)) return false;
    for (const std::string_view old : {"amp", "lt", "gt", "quot", "nbsp"}) {
      if (in_value() ? text != old : !text.starts_with(old)) continue;
      named_reference(old);
      for (const char rest : text.substr(old.size())) reference_char(rest);
      return false;
    }
  }
  reference_char('&');
  for (const char rest : text) reference_char(rest);
  return false;
}

void HtmlTokenizer::begin_tag_name(char c, bool end) {
  is_end_tag_ = end;
  hides_ = false;
  name_[0] = lower(c);
  name_size_ = 1;
  state_ = State::tag_name;
}

void HtmlTokenizer::end_attribute_name() {
  if (std::string_view(attribute_name_.data(), attribute_size_) == "hidden") hides_ = true;
}

void HtmlTokenizer::begin_attribute(char c) {
  attribute_size_ = 0;
  attribute_ = Attribute::other;
  value_.clear();
  attribute_name_[attribute_size_++] = lower(c);
  state_ = State::attribute_name;
}

void HtmlTokenizer::end_attribute() {
  if (attribute_ != Attribute::other && !value_.empty()) {
    flush();  // what stands before comes first
    if (attribute_ == Attribute::link) sink_.on_html_link(value_.view());
    if (attribute_ == Attribute::mixed) {
      const std::string_view name(attribute_name_.data(), attribute_size_);
      if (name == "style" && style_hides(value_.view())) hides_ = true;
      sink_.on_html_attribute(value_.view());
    }
    if (attribute_ == Attribute::document) document_piece();
  }
  if (attribute_ == Attribute::document) sink_.on_html_document_end();
  attribute_ = Attribute::other;
  value_.clear();
}

void HtmlTokenizer::begin_hidden() {
  flush();
  hidden_ = true;
}

void HtmlTokenizer::end_tag() {
  const std::string_view name(name_.data(), name_size_);
  state_ = State::text;
  bool ends_unseen = false;
  if (unseen_ > 0) {
    if (name == std::string_view(unseen_name_.data(), unseen_size_)) {
      ends_unseen = is_end_tag_ && unseen_ == 1;
      if (!ends_unseen)
        unseen_ = static_cast<std::uint8_t>(unseen_ + (is_end_tag_ ? -1 : unseen_ < 255));
    }
  } else if (hides_ && !is_end_tag_ && !kVoidNames.contains(name)) {
    begin_unseen();
  }
  if (name == "a" || name == "area") {
    flush();
    sink_.on_html_boundary();
  } else if (name == "td" || name == "th") {
    put_visible(' ');
  } else if (kBlockNames.contains(name)) {
    new_line();
  }
  if (ends_unseen) end_unseen();
  if (!is_end_tag_ && (name == "script" || name == "style")) {
    begin_hidden();
    raw_name_ = name_;
    raw_size_ = name_size_;
    state_ = State::raw_text;
  }
}

void HtmlTokenizer::step(char c) {
  switch (state_) {
    case State::text:
      if (c == '<') {
        state_ = State::tag_open;
      } else {
        put(c);
      }
      break;
    case State::tag_open:
      if (is_alpha(c)) {
        begin_tag_name(c, false);
      } else if (c == '/') {
        state_ = State::end_tag_open;
      } else if (c == '!') {
        state_ = State::declaration;
        dashes_ = 0;
      } else if (c == '?') {
        state_ = State::bogus_comment;
      } else {
        state_ = State::text;
        put('<');
        step(c);
      }
      break;
    case State::end_tag_open:
      if (is_alpha(c)) {
        begin_tag_name(c, true);
      } else {
        state_ = c == '>' ? State::text : State::bogus_comment;
      }
      break;
    case State::tag_name:
      if (c == '>') {
        end_tag();
      } else if (is_space(c) || c == '/') {
        state_ = State::before_attribute;
      } else if (name_size_ < name_.size()) {
        name_[name_size_++] = lower(c);
      }
      break;
    case State::before_attribute:
      if (c == '>') {
        end_tag();
      } else if (!is_space(c) && c != '/') {
        begin_attribute(c);
      }
      break;
    case State::attribute_name:
    case State::after_attribute_name:
      if (c == '=' || c == '>' || c == '/' || is_space(c)) end_attribute_name();
      if (c == '=') {
        const std::string_view name(attribute_name_.data(), attribute_size_);
        attribute_ = kLinkNames.contains(name)                              ? Attribute::link
                     : kMixedNames.contains(name) || name.starts_with("on") ? Attribute::mixed
                     : name == "srcdoc"                                     ? Attribute::document
                                                                            : Attribute::other;
        state_ = State::before_value;
      } else if (c == '>') {
        end_tag();
      } else if (c == '/') {
        state_ = State::before_attribute;
      } else if (is_space(c)) {
        state_ = State::after_attribute_name;
      } else if (state_ == State::after_attribute_name) {
        begin_attribute(c);
      } else if (attribute_size_ < attribute_name_.size()) {
        attribute_name_[attribute_size_++] = lower(c);
      }
      break;
    case State::before_value:
      if (c == '"') {
        state_ = State::value_double;
      } else if (c == '\'') {
        state_ = State::value_single;
      } else if (c == '>') {
        end_attribute();
        end_tag();
      } else if (!is_space(c)) {
        state_ = State::value_bare;
        if (c == '&') {
          in_reference_ = true;
          reference_size_ = 0;
        } else {
          value_char(c);
        }
      }
      break;
    case State::value_double:
    case State::value_single:
      if (c == (state_ == State::value_double ? '"' : '\'')) {
        end_attribute();
        state_ = State::before_attribute;
      } else {
        value_char(c);
      }
      break;
    case State::value_bare:
      if (c == '>') {
        end_attribute();
        end_tag();
      } else if (is_space(c)) {
        end_attribute();
        state_ = State::before_attribute;
      } else {
        value_char(c);
      }
      break;
    case State::declaration:
      if (c == '-') {
        if (++dashes_ == 2) {
          begin_hidden();
          state_ = State::comment;
        }
      } else {
        state_ = c == '>' ? State::text : State::bogus_comment;
      }
      break;
    case State::bogus_comment:
      if (c == '>') state_ = State::text;
      break;
    case State::comment:
      if (c == '-') {
        dashes_ = static_cast<std::uint8_t>(std::min(2, dashes_ + 1));
      } else if (c == '>' && dashes_ == 2) {
        emit(' ');
        flush();
        hidden_ = false;
        state_ = State::text;
      } else if (c != '!' || dashes_ != 2) {
        dashes_ = 0;
      }
      if (state_ == State::comment) emit(c);
      break;
    case State::raw_text:
      emit(c);
      if (c == '<') {
        state_ = State::raw_name;
        raw_matched_ = 0;
      }
      break;
    case State::raw_name:
      // "/name" and then a blank, a slash or '>'.
      if (raw_matched_ <= raw_size_ &&
          lower(c) == (raw_matched_ == 0 ? '/' : raw_name_[raw_matched_ - 1u])) {
        ++raw_matched_;
        emit(c);
      } else if (raw_matched_ == raw_size_ + 1 && (c == '>' || c == '/' || is_space(c))) {
        emit(' ');
        flush();
        hidden_ = false;
        is_end_tag_ = true;
        name_size_ = raw_size_;
        name_ = raw_name_;
        if (c == '>') {
          end_tag();
        } else {
          state_ = State::before_attribute;
        }
      } else {
        state_ = State::raw_text;
        step(c);
      }
      break;
  }
}

// Stretches in which every octet is treated alike: words of text, values and comments nobody wants.
const char* HtmlTokenizer::stretch(const char* p, const char* end) {
  switch (state_) {
    case State::text: {
      if (held_size_ != 0) return p;
      const char* const from = p;
      while (p<end&& * p> ' ' && *p != '<' && *p != '&' && *p != 0x7f) ++p;
      if (p == from) return p;
      if (pending_space_) emit(' ');
      pending_space_ = false;
      line_start_ = false;
      append({from, static_cast<std::size_t>(p - from)});
      return p;
    }
    case State::value_double:
      return attribute_ == Attribute::other ? find_octet<'"', '&'>(p, end) : p;
    case State::value_single:
      return attribute_ == Attribute::other ? find_octet<'\'', '&'>(p, end) : p;
    case State::bogus_comment:
      return find_octet<'>'>(p, end);
    case State::raw_text: {
      const char* const stop = find_octet<'<'>(p, end);
      append({p, static_cast<std::size_t>(stop - p)});
      return stop;
    }
    default:
      return p;
  }
}

void HtmlTokenizer::feed(Bytes utf8) {
  char out[kOut];
  out_ = out;
  const char* p = as_text(utf8).data();
  const char* const end = p + utf8.size();
  while (p < end) {
    if (in_reference_) {
      if (reference(*p)) {
        ++p;
        continue;
      }
    }
    p = stretch(p, end);
    if (p == end) break;
    const char c = *p++;
    if (c == '&' && (state_ == State::text || state_ == State::value_double ||
                     state_ == State::value_single || state_ == State::value_bare)) {
      in_reference_ = true;
      reference_size_ = 0;
      continue;
    }
    step(c);
  }
  flush();
}

void HtmlTokenizer::finish() {
  char out[kOut];
  out_ = out;
  if (in_reference_) reference('\0');
  // What was begun and never closed is not lost to the search for URLs.
  switch (state_) {
    case State::value_double:
    case State::value_single:
    case State::value_bare:
      end_attribute();
      break;
    case State::tag_open:
      state_ = State::text;
      put('<');
      break;
    default:
      break;
  }
  const std::uint8_t size = held_size_;
  held_size_ = 0;
  for (std::uint8_t i = 0; i < size; ++i) put_visible(held_[i]);
  flush();
  hidden_ = false;
  state_ = State::text;
}

}  // namespace sluice::mime
