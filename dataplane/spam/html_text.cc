#include "dataplane/spam/html_text.h"

#include <charconv>
#include <cmath>
#include <iterator>

#include "dataplane/spam/css_color.h"
#include "dataplane/spam/html_tokens.h"
#include "dataplane/spam/uri_target.h"

namespace sluice::spam {
namespace {

template <std::size_t N>
bool among(const std::string_view (&sorted)[N], std::string_view name) {
  return std::binary_search(std::begin(sorted), std::end(sorted), name);
}

// Elements of HTML 4.01 and XHTML 1.0, and nobr, x-sigsep, x-tab.
constexpr std::string_view kElements[] = {
    "a",        "abbr",     "acronym",  "address",    "applet",   "area",     "b",        "base",
    "basefont", "bdo",      "big",      "blockquote", "body",     "br",       "button",   "caption",
    "center",   "cite",     "code",     "col",        "colgroup", "dd",       "del",      "dfn",
    "dir",      "div",      "dl",       "dt",         "em",       "fieldset", "font",     "form",
    "frame",    "frameset", "h1",       "h2",         "h3",       "h4",       "h5",       "h6",
    "head",     "hr",       "html",     "i",          "iframe",   "img",      "input",    "ins",
    "isindex",  "kbd",      "label",    "legend",     "li",       "link",     "map",      "menu",
    "meta",     "nobr",     "noframes", "noscript",   "object",   "ol",       "optgroup", "option",
    "p",        "param",    "pre",      "q",          "s",        "samp",     "script",   "select",
    "small",    "span",     "strike",   "strong",     "style",    "sub",      "sup",      "table",
    "tbody",    "td",       "textarea", "tfoot",      "th",       "thead",    "title",    "tr",
    "tt",       "u",        "ul",       "var",        "x-sigsep", "x-tab"};
constexpr std::string_view kTricks[] = {"bgsound", "embed", "listing", "plaintext", "xmp"};
constexpr std::string_view kStyled[] = {"a", "basefont", "big",  "body",  "div", "font", "marquee",
                                        "p", "small",    "span", "table", "td",  "th",   "tr"};
constexpr std::string_view kSpaced[] = {
    "blockquote", "br", "dd", "div",     "dt", "embed",     "h1",  "h2", "h3", "h4",    "h5",
    "h6",         "hr", "li", "listing", "p",  "plaintext", "pre", "td", "th", "title", "xmp"};

// Attributes that count for the style of an element.
bool counts(std::string_view tag, std::string_view attribute) {
  if (tag == "basefont" || tag == "font") {
    return attribute == "color" || attribute == "face" || attribute == "size";
  }
  if (tag == "body") {
    return attribute == "text" || attribute == "bgcolor" || attribute == "link" ||
           attribute == "alink" || attribute == "vlink" || attribute == "background";
  }
  if (tag == "marquee") return attribute == "bgcolor" || attribute == "background";
  if (tag == "table" || tag == "td" || tag == "tr")
    return attribute == "bgcolor" || attribute == "style";
  if (tag == "span" || tag == "p" || tag == "div" || tag == "a") return attribute == "style";
  return false;
}

bool is_namespaced(std::string_view tag) {
  std::size_t i = 0;
  if (tag.starts_with("o:")) {
    i = 2;
  } else if (tag.size() > 4 && tag.starts_with("st") && is_digit(tag[2]) && tag[3] == ':') {
    i = 4;
  } else {
    return false;
  }
  if (tag.ends_with('/')) tag.remove_suffix(1);
  return tag.size() > i && std::all_of(tag.begin() + static_cast<std::ptrdiff_t>(i), tag.end(),
                                       [](char c) { return is_word(c) || c == '-'; });
}

int leading_number(std::string_view s, bool& found) {
  int value = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
  found = error == std::errc();
  return std::clamp(value, -1000, 100000);
}

bool is_near(std::string_view a, std::string_view b) {
  const auto channel = [](std::string_view color, int n) {
    int value = 0;
    const char* at = color.data() + 1 + n * 2;
    std::from_chars(at, at + 2, value, 16);
    return static_cast<double>(value);
  };
  if (a.size() != 7 || b.size() != 7) return false;
  const double r = 0.2126 * (channel(a, 0) - channel(b, 0));
  const double g = 0.7152 * (channel(a, 1) - channel(b, 1));
  const double blue = 0.0722 * (channel(a, 2) - channel(b, 2));
  return std::sqrt(r * r + g * g + blue * blue) < 12;
}

struct Style {
  using allocator_type = std::pmr::polymorphic_allocator<>;
  explicit Style(const allocator_type& a)
      : tag(a), foreground(a), background(a), display(a), visibility(a) {}
  Style(const Style& o, const allocator_type& a)
      : tag(o.tag, a),
        foreground(o.foreground, a),
        background(o.background, a),
        display(o.display, a),
        visibility(o.visibility, a),
        size(o.size) {}
  Style(Style&& o, const allocator_type& a) : Style(static_cast<const Style&>(o), a) {}
  String tag;
  String foreground;
  String background;
  String display;
  String visibility;
  int size = 3;
};

constexpr std::size_t kMaxStyles = 200;  // open elements
constexpr std::size_t kMaxTags = 300;    // different ones

class Renderer final : public HtmlTokenSink {
 public:
  Renderer(String& text, HtmlFacts& facts, std::pmr::memory_resource* memory)
      : text_(text),
        facts_(facts),
        memory_(memory),
        styles_(memory),
        base_(memory),
        anchor_(memory) {
    Style first{Style::allocator_type(memory)};
    first.tag = "default";
    first.foreground = "#000000";
    first.background = "#ffffff";
    styles_.push_back(std::move(first));
    start_ = text_.size();
    last_begin_ = start_;
  }

  void on_start(std::string_view tag, HtmlAttributes& attributes) override {
    if (!count_tag(tag, 1)) return;
    if (among(kStyled, tag)) open_style(tag, attributes);
    if (among(kSpaced, tag)) white_space(tag);
    links(tag, attributes);
    facts(tag, attributes);
  }
  void on_end(std::string_view tag) override {
    if (!count_tag(tag, -1)) return;
    if (among(kStyled, tag) && tag != "body") close_style(tag == "th" ? "td" : tag);
    if (among(kSpaced, tag)) white_space(tag);
  }

  void on_text(std::string_view text) override {
    if (inside(script_)) {
      add_text(facts_.scripts, text);
      return;
    }
    if (inside(style_)) return;
    if (inside(a_)) {
      if (anchor_link_ < facts_.links.size() && !facts_.links[anchor_link_].anchors.empty()) {
        append_bounded(facts_.links[anchor_link_].anchors.back(), text);
      }
      if (!facts_.anchors.empty()) append_bounded(facts_.anchors.back(), text);
    }
    if (inside(title_) && !facts_.titles.empty()) append_bounded(facts_.titles.back(), text);
    bool invisible = false;
    if (!only_space(text)) invisible = is_invisible();
    if (has_chunk_) torn(text);
    display(text, invisible);
  }
  void on_comment(std::string_view text) override { add_text(facts_.comments, text); }
  void on_declaration(std::string_view text) override {
    if (text.size() < 9 || !equals_lower(text.substr(0, 9), "<!doctype")) return;
    ++facts_.elements;
    ++facts_.all_tags;
    tag("!doctype");
  }

  void finish() { facts_.has_backhair = facts_.backhair != 0; }

 private:
  static void append_bounded(String& s, std::string_view text) {
    if (s.size() < kMaxUri) s += text.substr(0, kMaxUri - s.size());
  }
  void add_text(Strings& list, std::string_view text) {
    if (list.size() < kMaxHtmlTexts) list.emplace_back(text.substr(0, kMaxUri));
  }

  static bool only_space(std::string_view text) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (!is_space(text[i])) return false;
    }
    return true;
  }

  std::size_t tag(std::string_view name) {
    for (std::size_t i = 0; i < facts_.tags.size(); ++i) {
      if (facts_.tags[i].name == name) return i;
    }
    if (facts_.tags.size() >= kMaxTags) return SIZE_MAX;
    HtmlFacts::Tag& added = facts_.tags.emplace_back(memory_);
    added.name = name;
    const std::size_t index = facts_.tags.size() - 1;
    if (name == "script") script_ = index;
    if (name == "style") style_ = index;
    if (name == "a") a_ = index;
    if (name == "title") title_ = index;
    return index;
  }
  bool inside(std::size_t index) const {
    return index != SIZE_MAX && facts_.tags[index].inside > 0;
  }

  // Whether the tag is one that is rendered.
  bool count_tag(std::string_view name, int change) {
    const std::size_t known = facts_.tags.size();
    const std::size_t index = tag(name);
    const bool seen = index < known;
    const bool element = among(kElements, name);
    const bool spaced = is_namespaced(name);
    if (element || spaced) {
      ++facts_.elements;
      if (!seen) ++facts_.elements_seen;
    }
    ++facts_.all_tags;
    if (!seen) ++facts_.tags_seen;
    if (index != SIZE_MAX) {
      std::int32_t& inside = facts_.tags[index].inside;
      inside += change;
      if (inside < 0) {
        inside = 0;
        ++facts_.closed_extra;
      }
    }
    return !spaced && (element || among(kTricks, name));
  }

  // --- text ---

  void white_space(std::string_view tag) {
    const std::string_view space = tag == "br" || tag == "div" ? "\n"
                                   : tag == "p" || tag == "hr" || tag == "blockquote" ||
                                           tag == "pre" || tag == "listing" || tag == "plaintext" ||
                                           tag == "xmp" || tag == "title"
                                       ? "\n\n"
                                       : " ";
    if (has_chunk_ && !last_is_space_ && !last_is_invisible_ && text_.size() > last_begin_ &&
        text_.back() == ' ') {
      text_.pop_back();
    }
    last_begin_ = text_.size();
    text_ += space;
    has_chunk_ = true;
    last_is_space_ = true;
    last_is_invisible_ = false;
  }

  void display(std::string_view text, bool invisible) {
    const std::size_t begin = text_.size();
    bool blank = false;
    bool first = true;
    const bool drop = has_chunk_ && !invisible && last_is_space_;
    for (const char c : text) {
      if (is_space(c)) {
        blank = true;
        continue;
      }
      if (blank && !(first && drop)) text_ += ' ';
      blank = false;
      first = false;
      text_ += c;
    }
    if (blank && !(first && drop)) text_ += ' ';
    last_begin_ = begin;
    has_chunk_ = true;
    last_is_space_ = false;
    last_is_invisible_ = invisible;
  }

  static bool is_letter(char c) {  // neither white space nor ASCII punctuation
    return is_alnum(c) || (c & 0x80) != 0 || (static_cast<unsigned char>(c) < 32 && !is_space(c)) ||
           c == 127;
  }

  // Words that are torn apart by tags.
  void torn(std::string_view text) {
    const std::string_view last = std::string_view(text_).substr(last_begin_);
    if (text.empty() || last.empty() || !is_letter(text.front()) || !is_letter(last.back())) return;
    ++facts_.obfuscation;
    std::size_t before = 0;
    while (before < last.size() && is_letter(last[last.size() - 1 - before])) ++before;
    std::size_t after = 0;
    while (after < text.size() && is_letter(text[after])) ++after;
    if (before > 7 || after > 7) return;
    const auto bit = static_cast<std::uint64_t>(before * 8 + after);
    if ((backhair_seen_ >> bit & 1) != 0) return;
    backhair_seen_ |= std::uint64_t{1} << bit;
    ++facts_.backhair;
  }

  bool is_invisible() {
    const Style& style = styles_.back();
    if (style.foreground == style.background ||
        (style.foreground != "invalid" && style.background != "invalid" &&
         is_near(style.foreground, style.background))) {
      facts_.font_low_contrast = true;
      return true;
    }
    if (style.foreground == "invalid" || style.background == "invalid") {
      facts_.font_invalid_color = true;
      return true;
    }
    return style.size <= 1 || equals_lower(style.display, "none") ||
           equals_lower(style.visibility, "hidden");
  }

  // --- styles ---

  bool has_style(std::string_view tag) const {
    return std::any_of(styles_.begin(), styles_.end(),
                       [&](const Style& s) { return s.tag == tag; });
  }

  void close_style(std::string_view tag) {
    if (!has_style(tag)) return;
    while (styles_.size() > 1) {
      const bool last = styles_.back().tag == tag;
      styles_.pop_back();
      if (last) return;
    }
  }

  void open_style(std::string_view tag, HtmlAttributes& attributes) {
    if (tag == "th") tag = "td";
    bool number = false;
    if (tag == "basefont") {
      if (const String* size = find(attributes, "size")) {
        const int value = leading_number(trim(*size), number);
        if (number && value >= 0) {
          base_size_ = value;
          return;
        }
      }
    }
    if ((tag == "td" || tag == "tr") && has_style(tag)) {
      while (styles_.size() > 1) {
        const std::string_view top = styles_.back().tag;
        if (top != "font" && top != "td" && !(tag == "tr" && top == "tr")) break;
        styles_.pop_back();
      }
    }
    if (styles_.size() >= kMaxStyles) return;
    Style style(styles_.back(), Style::allocator_type(memory_));
    style.tag = tag;
    if (tag == "big" || tag == "small") {
      style.size += tag == "big" ? 1 : -1;
      styles_.push_back(std::move(style));
      return;
    }
    for (HtmlAttribute& attribute : attributes) {
      if (!counts(tag, attribute.name)) continue;
      const std::string_view value = attribute.value;
      if (attribute.name == "text" || attribute.name == "color") {
        read_color(value, style.foreground);
      } else if (attribute.name == "size") {
        std::string_view size = trim(value);
        const bool plus = size.starts_with('+');
        if (plus) size.remove_prefix(1);
        const int n = leading_number(size, number);
        if (number) style.size = plus || n < 0 ? base_size_ + n : n;
      } else if (attribute.name == "style") {
        read_style(value, style);
      }
      // Of `bgcolor` SpamAssassin rewrites the attribute only; its rules are scored with that.
      facts_.max_size = std::max(facts_.max_size, style.size);
      if (style.size <= facts_.max_size) facts_.min_size = std::min(facts_.min_size, style.size);
    }
    styles_.push_back(std::move(style));
  }

  void read_style(std::string_view text, Style& style) {
    while (!text.empty()) {
      const std::size_t end = text.find(';');
      std::string_view part = trim(text.substr(0, end));
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
      const std::size_t colon = part.find(':');
      if (colon == std::string_view::npos) continue;
      String name(trim(part.substr(0, colon)), memory_);
      lower(name);
      String value(trim(part.substr(colon + 1)), memory_);
      if (value.empty()) continue;
      if (name == "color" || name == "background-color") {
        String& color = name == "color" ? style.foreground : style.background;
        lower(value);
        if (const std::size_t important = value.rfind('!');
            important != String::npos &&
            trim(std::string_view(value).substr(important + 1)) == "important") {
          value.resize(important);
          while (!value.empty() && is_space(value.back())) value.pop_back();
        }
        if (value.find("rgb") != String::npos) {
          read_rgb_list(value, color);
        } else if (value == "transparent") {
          color = value;
        } else if (value != "inherit") {
          read_color(value, color);
        }
      } else if (name == "background") {
        String one(memory_);
        std::size_t i = value.rfind(',') != String::npos && value.find('(') == String::npos
                            ? value.rfind(',') + 1
                            : 0;
        while (i < value.size()) {
          while (i < value.size() && value[i] == ' ') ++i;
          std::size_t depth = 0;
          const std::size_t begin = i;
          while (i < value.size() && (value[i] != ' ' || depth > 0)) {
            if (value[i] == '(') ++depth;
            if (value[i] == ')' && depth > 0) --depth;
            ++i;
          }
          if (i == begin) break;
          read_color(std::string_view(value).substr(begin, i - begin), one);
          if (one != "invalid") {
            style.background = one;
            break;
          }
        }
      } else if (name == "display") {
        style.display = value;
      } else if (name == "visibility") {
        style.visibility = value;
      }
    }
    if (style.background == "transparent") style.background = styles_.back().background;
    if (style.foreground == "transparent") style.foreground = style.background;
  }

  static void read_rgb_list(std::string_view text, String& out) {
    unsigned rgb[3] = {};
    int n = 0;
    for (const char c : text) {
      if (is_digit(c) && n < 3) {
        rgb[n] = std::min(rgb[n] * 10 + static_cast<unsigned>(c - '0'), 100000u);
      } else if (c == ',') {
        ++n;
      }
    }
    static constexpr char kHex[] = "0123456789abcdef";
    out = "#";
    for (const unsigned value : rgb) {
      const unsigned v = std::min(value, 255u);
      out += kHex[v >> 4];
      out += kHex[v & 15];
    }
  }

  // --- links and facts ---

  HtmlLink& link(std::string_view uri) {
    for (HtmlLink& known : facts_.links) {
      if (known.uri == uri) return known;
    }
    HtmlLink& added = facts_.links.emplace_back(memory_);
    added.uri = uri;
    return added;
  }

  std::string_view canonical(std::string_view uri) {
    const auto space = [&](std::string_view s, bool front) -> std::size_t {
      if (s.empty()) return 0;
      if (is_space(front ? s.front() : s.back())) return 1;
      return (front ? s.starts_with("\xc2\xa0") : s.ends_with("\xc2\xa0")) ? 2 : 0;
    };
    while (const std::size_t n = space(uri, true)) uri.remove_prefix(n);
    while (const std::size_t n = space(uri, false)) uri.remove_suffix(n);
    if (uri.size() > kMaxUri) {
      facts_.uri_truncated = true;
      uri = uri.substr(0, kMaxUri);
    }
    return uri;
  }

  void push(std::string_view tag, std::string_view uri) {
    uri = canonical(uri);
    if (uri.empty() || facts_.links.size() >= kMaxHtmlLinks) return;
    static constexpr std::string_view kPlain[] = {"data:", "mailto:", "file:", "cid:", "tel:"};
    const bool plain =
        std::any_of(std::begin(kPlain), std::end(kPlain), [&](std::string_view scheme) {
          return uri.size() >= scheme.size() && equals_lower(uri.substr(0, scheme.size()), scheme);
        });
    String target(memory_);
    if (plain) {
      target = uri;
    } else {
      target_uri(base_, uri, target);
    }
    if (target.empty()) return;
    HtmlLink& found = link(target);
    found.has_type = true;
    if (tag == "a") found.in_a = true;
    if (tag == "iframe") found.in_iframe = true;
  }

  void links(std::string_view tag, HtmlAttributes& attributes) {
    const auto attribute = [&](std::string_view name, bool odd) -> const String* {
      if (const String* value = find(attributes, name)) return value;
      if (!odd) return nullptr;
      // Badly written HTML: <img border=0/src="...">.
      for (const HtmlAttribute& a : attributes) {
        const std::size_t slash = a.name.find('/');
        if (slash != String::npos && slash > 0 &&
            std::string_view(a.name).substr(slash + 1).starts_with(name))
          return &a.value;
      }
      return nullptr;
    };
    if (tag == "body" || tag == "table" || tag == "tr" || tag == "td") {
      if (const String* value = attribute("background", false)) push(tag, *value);
    } else if (tag == "a" || tag == "area" || tag == "link") {
      if (const String* value = attribute("href", true)) push(tag, *value);
      if (const String* value = attribute("data-saferedirecturl", false)) push(tag, *value);
    } else if (tag == "img" || tag == "frame" || tag == "iframe" || tag == "embed" ||
               tag == "script" || tag == "bgsound") {
      if (const String* value = attribute("src", true)) push(tag, *value);
    } else if (tag == "form") {
      if (const String* value = attribute("action", false)) push(tag, *value);
    } else if (tag == "base") {
      if (const String* value = attribute("href", false); value != nullptr && !value->empty())
        set_base(*value);
    } else if (tag == "meta") {
      const String* content = attribute("content", false);
      const String* equivalent = attribute("http-equiv", false);
      if (content == nullptr || equivalent == nullptr || !contains_nocase(*equivalent, "refresh"))
        return;
      String lowered(*content, memory_);
      lower(lowered);
      std::size_t at = lowered.rfind("url");
      if (at == String::npos) return;
      at += 3;
      while (at < content->size() && is_space((*content)[at])) ++at;
      if (at >= content->size() || (*content)[at] != '=') return;
      ++at;
      while (at < content->size() && is_space((*content)[at])) ++at;
      std::string_view uri = std::string_view(*content).substr(at);
      push(tag, uri.substr(0, uri.find(';')));
    }
  }

  void set_base(std::string_view value) {
    const std::string_view uri = canonical(value);
    push("base", uri);
    if (uri.size() < 5) return;
    String lowered(uri.substr(0, 6), memory_);
    lower(lowered);
    if (!lowered.starts_with("http:") && !lowered.starts_with("https:") &&
        !lowered.starts_with("ftp:"))
      return;
    base_ = uri;
    const std::size_t slash = base_.rfind('/');
    const std::size_t host = base_.find("//");
    if (slash != String::npos && (host == String::npos || slash > host + 1) &&
        base_.find('.', slash) != String::npos) {
      base_.resize(slash + 1);
    }
    if (!base_.ends_with('/')) base_ += '/';
  }

  static double extent(const String* value, double percent, bool& given) {
    given = value != nullptr;
    if (value == nullptr) return 0;
    std::size_t i = 0;
    double number = 0;
    while (i < value->size() && is_digit((*value)[i]))
      number = std::min(number * 10 + ((*value)[i++] - '0'), 1e6);
    if (i == 0) return 0;
    if (i < value->size()) {
      if (i + 1 != value->size() || (*value)[i] != '%') return 0;
      number *= percent;
    }
    return number;
  }

  void facts(std::string_view tag, HtmlAttributes& attributes) {
    if (tag == "font") {
      if (const String* face = find(attributes, "face"); face != nullptr && !good_face(*face)) {
        facts_.font_face_bad = true;
      }
    } else if (tag == "img") {
      if (inside(a_)) {
        if (anchor_link_ < facts_.links.size() && !facts_.links[anchor_link_].anchors.empty()) {
          append_bounded(facts_.links[anchor_link_].anchors.back(), "<img>\n");
        }
        if (!facts_.anchors.empty()) append_bounded(facts_.anchors.back(), "<img>\n");
      }
      bool wide = false;
      bool high = false;
      double width = extent(find(attributes, "width"), 8, wide);
      double height = extent(find(attributes, "height"), 6, high);
      if (wide && high) {
        if (width <= 0) width = 200;
        if (height <= 0) height = 200;
        facts_.image_area += width * height;
      }
    } else if (tag == "form") {
      if (const String* action = find(attributes, "action");
          action != nullptr && contains_nocase(*action, "mailto:")) {
        facts_.form_action_mailto = true;
      }
    } else if (tag == "object" || tag == "embed") {
      facts_.embeds = true;
    } else if (tag == "a") {
      const String* href = find(attributes, "href");
      const std::string_view uri = href != nullptr ? canonical(*href) : std::string_view();
      anchor_link_ = SIZE_MAX;
      if (facts_.links.size() < kMaxHtmlLinks) {
        HtmlLink& found = link(uri);
        anchor_link_ = static_cast<std::size_t>(&found - facts_.links.data());
        if (found.anchors.size() < kMaxHtmlTexts) found.anchors.emplace_back();
      }
      if (facts_.anchors.size() < kMaxHtmlTexts) facts_.anchors.emplace_back();
    } else if (tag == "title") {
      if (facts_.titles.size() < kMaxHtmlTexts) facts_.titles.emplace_back();
    } else if (tag == "meta") {
      const String* content = find(attributes, "content");
      const String* equivalent = find(attributes, "http-equiv");
      if (content == nullptr || equivalent == nullptr ||
          !contains_nocase(*equivalent, "content-type"))
        return;
      String lowered(*content, memory_);
      lower(lowered);
      const std::size_t at = lowered.find("charset");
      const std::size_t equals = at == String::npos ? at : lowered.find('=', at);
      if (equals == String::npos) return;
      std::string_view value = trim(std::string_view(*content).substr(equals + 1));
      if (!value.empty() && (value.front() == '"' || value.front() == '\'')) value.remove_prefix(1);
      value = value.substr(0, value.find_first_of("\"'"));
      if (!facts_.charsets.empty()) facts_.charsets += ' ';
      append_bounded(facts_.charsets, value);
    }
  }

  // A list of font names: ["'.]letters, blanks and hyphens, one digit at the end.
  static bool good_face(std::string_view face) {
    while (!face.empty() && is_space(face.front())) face.remove_prefix(1);
    bool first = true;
    std::size_t i = 0;
    const auto quote = [&] {
      if (i < face.size() && (face[i] == '"' || face[i] == '\'')) ++i;
    };
    for (;;) {
      if (first && i < face.size() && face[i] == '.') {
        ++i;
      } else {
        quote();
      }
      const std::size_t begin = i;
      while (i < face.size() && (is_alpha(face[i]) || face[i] == ' ' || face[i] == '-')) ++i;
      if (i - begin < 2 || !(is_alpha(face[begin]) || (first && face[begin] == ' ')) ||
          !is_alpha(face[i - 1]))
        return false;
      if (first && i < face.size() && is_digit(face[i])) ++i;
      quote();
      if (i < face.size() && face[i] == ';') ++i;
      if (i == face.size() || (i + 1 == face.size() && face[i] == '\n')) return true;
      if (face[i] != ',') return false;
      ++i;
      while (i < face.size() && is_space(face[i])) ++i;
      first = false;
    }
  }

  String& text_;
  HtmlFacts& facts_;
  std::pmr::memory_resource* memory_;
  std::pmr::vector<Style> styles_;
  String base_;
  String anchor_;
  std::size_t start_ = 0;
  std::size_t last_begin_ = 0;  // of the last chunk of text
  std::size_t anchor_link_ = SIZE_MAX;
  std::size_t script_ = SIZE_MAX;
  std::size_t style_ = SIZE_MAX;
  std::size_t a_ = SIZE_MAX;
  std::size_t title_ = SIZE_MAX;
  std::uint64_t backhair_seen_ = 0;
  int base_size_ = 3;
  bool has_chunk_ = false;
  bool last_is_space_ = false;
  bool last_is_invisible_ = false;
};

}  // namespace

const HtmlFacts::Tag* HtmlFacts::tag(std::string_view name) const {
  for (const Tag& tag : tags) {
    if (tag.name == name) return &tag;
  }
  return nullptr;
}

std::uint64_t count_characters(std::string_view utf8) {
  return static_cast<std::uint64_t>(
      std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

void render_html(std::string_view html, std::uint64_t source_octets, String& text, HtmlFacts& facts,
                 std::pmr::memory_resource* memory) {
  facts.length = count_characters(html);
  const std::size_t begin = text.size();
  Renderer renderer(text, facts, memory);
  read_html(html, renderer, memory);
  renderer.finish();
  const std::string_view added = std::string_view(text).substr(begin);
  facts.html_length = count_characters(added);
  std::uint64_t space = 0;
  for (std::size_t i = 0; i < added.size(); ++i) {
    if (is_space(added[i]) || added.substr(i).starts_with("\xc2\xa0")) ++space;
  }
  facts.non_space_len = facts.html_length - space;
  if (source_octets > 0) {
    facts.has_ratio = true;
    facts.ratio = (static_cast<double>(source_octets) - static_cast<double>(facts.html_length)) /
                  static_cast<double>(source_octets);
  }
}

}  // namespace sluice::spam
