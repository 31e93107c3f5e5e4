#include "dataplane/spam/html_text.h"

#include <charconv>
#include <cmath>
#include <iterator>

#include "dataplane/spam/css_color.h"
#include "dataplane/spam/html_tokens.h"
#include "dataplane/spam/uri_target.h"
#include "dataplane/spam/white_space.h"

namespace sluice::spam {
namespace {

constexpr std::uint32_t bits(std::initializer_list<std::string_view> attributes) {
  std::uint32_t all = 0;
  for (const std::string_view name : attributes) {
    all |= std::uint32_t{1} << kHtmlAttributes.find(name);
  }
  return all;
}

// Attributes that count for the style of an element.
constexpr auto kCounts = [] {
  std::array<std::uint32_t, kHtmlTags.size()> counts{};
  const auto set = [&](std::initializer_list<std::string_view> tags, std::uint32_t attributes) {
    for (const std::string_view tag : tags) counts[kHtmlTags.find(tag)] = attributes;
  };
  set({"basefont", "font"}, bits({"color", "face", "size"}));
  set({"body"}, bits({"text", "bgcolor", "link", "alink", "vlink", "background"}));
  set({"table", "td", "tr"}, bits({"bgcolor", "style"}));
  set({"span", "p", "div", "a"}, bits({"style"}));
  return counts;
}();

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

bool is_near(CssColor a, CssColor b) {
  if (!is_rgb(a) || !is_rgb(b)) return false;
  const auto difference = [&](int shift) {
    return static_cast<double>(a >> shift & 255) - static_cast<double>(b >> shift & 255);
  };
  const double r = 0.2126 * difference(16);
  const double g = 0.7152 * difference(8);
  const double blue = 0.0722 * difference(0);
  return std::sqrt(r * r + g * g + blue * blue) < 12;
}

struct Style {
  CssColor foreground = 0x000000;
  CssColor background = 0xffffff;
  int size = 3;
  std::uint8_t tag = 0;  // of kHtmlTags
  bool undisplayed = false;
  bool hidden = false;
};

constexpr std::size_t kMaxStyles = 200;  // open elements
constexpr std::size_t kMaxTags = 300;    // different ones
constexpr std::size_t kUsualTags = 32;

class Renderer final : public HtmlTokenSink {
 public:
  Renderer(TextBuffer& text, HtmlFacts& facts, std::pmr::memory_resource* memory)
      : text_(text),
        facts_(facts),
        memory_(memory),
        values_{String(memory), String(memory)},
        base_(memory) {
    known_.fill(kNoTag);
    styles_[0] = {};
    last_begin_ = text_.size();
  }

  void on_start(const HtmlTag& tag, HtmlAttributes attributes) override {
    if (!count_tag(tag, 1)) return;
    if ((tag.is() & kHtmlStyled) != 0) open_style(tag.number, attributes);
    if ((tag.is() & kHtmlSpaced) != 0) white_space(tag.is());
    element(tag.number, attributes);
  }
  void on_end(const HtmlTag& tag) override {
    if (!count_tag(tag, -1)) return;
    if ((tag.is() & kHtmlStyled) != 0 && tag.number != html_tag("body")) {
      close_style(tag.number == html_tag("th") ? html_tag("td") : tag.number);
    }
    if ((tag.is() & kHtmlSpaced) != 0) white_space(tag.is());
  }

  void on_text(std::string_view text) override {
    if (inside(html_tag("script"))) {
      add_text(facts_.scripts, text);
      return;
    }
    if (inside(html_tag("style"))) return;
    if (inside(html_tag("a"))) {
      if (anchor_link_ < facts_.links.size() && !facts_.links[anchor_link_].anchors.empty()) {
        append_bounded(facts_.links[anchor_link_].anchors.back(), text);
      }
      if (!facts_.anchors.empty()) append_bounded(facts_.anchors.back(), text);
    }
    if (inside(html_tag("title")) && !facts_.titles.empty())
      append_bounded(facts_.titles.back(), text);
    bool invisible = false;
    if (leading_white(text) < text.size()) invisible = is_invisible();
    if (has_chunk_) torn(text);
    display(text, invisible);
  }
  void on_comment(std::string_view text) override { add_text(facts_.comments, text); }
  void on_declaration(std::string_view text) override {
    if (text.size() < 9 || !equals_lower(text.substr(0, 9), "<!doctype")) return;
    ++facts_.elements;
    ++facts_.all_tags;
    place({.name = "!doctype", .number = html_tag("!doctype")});
  }

  void finish() { facts_.has_backhair = facts_.backhair != 0; }

 private:
  static void append_bounded(String& s, std::string_view text) {
    if (s.size() < kMaxUri) s += text.substr(0, kMaxUri - s.size());
  }
  void add_text(Strings& list, std::string_view text) {
    if (list.size() < kMaxHtmlTexts) list.emplace_back(text.substr(0, kMaxUri));
  }

  // Which of the facts' tags it is; kNoTag when they are too many.
  std::size_t place(const HtmlTag& tag) {
    std::uint16_t& known = known_[tag.number];
    if (tag.number != 0) {
      if (known != kNoTag) return known;
    } else {
      for (std::size_t i = 0; i < facts_.tags.size(); ++i) {
        if (facts_.tags[i].name == tag.name) return i;
      }
    }
    if (facts_.tags.size() >= kMaxTags) return kNoTag;
    if (facts_.tags.empty()) facts_.tags.reserve(kUsualTags);
    facts_.tags.emplace_back(memory_).name = tag.name;
    const std::size_t index = facts_.tags.size() - 1;
    if (tag.number != 0) known = static_cast<std::uint16_t>(index);
    return index;
  }
  bool inside(std::uint8_t tag) const {
    return known_[tag] != kNoTag && facts_.tags[known_[tag]].inside > 0;
  }

  // Whether the tag is one that is rendered.
  bool count_tag(const HtmlTag& tag, int change) {
    const std::size_t before = facts_.tags.size();
    const std::size_t index = place(tag);
    const bool seen = index < before;
    const bool element = (tag.is() & kHtmlElement) != 0;
    const bool spaced = tag.number == 0 && is_namespaced(tag.name);
    if (element || spaced) {
      ++facts_.elements;
      if (!seen) ++facts_.elements_seen;
    }
    ++facts_.all_tags;
    if (!seen) ++facts_.tags_seen;
    if (index != kNoTag) {
      std::int32_t& inside = facts_.tags[index].inside;
      inside += change;
      if (inside < 0) {
        inside = 0;
        ++facts_.closed_extra;
      }
    }
    return (tag.is() & (kHtmlElement | kHtmlTrick)) != 0;
  }

  // --- text ---

  void white_space(std::uint16_t is) {
    if (has_chunk_ && !last_is_space_ && !last_is_invisible_ && text_.size() > last_begin_ &&
        text_.back() == ' ') {
      text_.cut(text_.size() - 1);
    }
    last_begin_ = text_.size();
    text_.append((is & kHtmlLine) != 0 ? "\n" : (is & kHtmlParagraph) != 0 ? "\n\n" : " ");
    has_chunk_ = true;
    last_is_space_ = true;
    last_is_invisible_ = false;
  }

  void display(std::string_view text, bool invisible) {
    last_begin_ = text_.size();
    if (has_chunk_ && !invisible && last_is_space_) text.remove_prefix(leading_white(text));
    append_squeezed(text, text_);
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
    const std::string_view last = text_.view().substr(last_begin_);
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
    const Style& style = styles_[open_ - 1];
    const bool invalid = style.foreground == kInvalidColor || style.background == kInvalidColor;
    if (style.foreground == style.background ||
        (!invalid && is_near(style.foreground, style.background))) {
      facts_.font_low_contrast = true;
      return true;
    }
    if (invalid) {
      facts_.font_invalid_color = true;
      return true;
    }
    return style.size <= 1 || style.undisplayed || style.hidden;
  }

  // --- styles ---

  void push_style(const Style& style) {
    styles_[open_++] = style;
    ++with_style_[style.tag];
  }
  // The tag whose style it was.
  std::uint8_t pop_style() {
    const std::uint8_t tag = styles_[--open_].tag;
    --with_style_[tag];
    return tag;
  }

  void close_style(std::uint8_t tag) {
    if (with_style_[tag] == 0) return;
    while (open_ > 1 && pop_style() != tag) continue;
  }

  void open_style(std::uint8_t tag, HtmlAttributes attributes) {
    if (tag == html_tag("th")) tag = html_tag("td");
    bool number = false;
    if (tag == html_tag("basefont")) {
      if (const HtmlAttribute* size = find(attributes, html_attribute("size"))) {
        const int value = leading_number(trim(text_of(*size)), number);
        if (number && value >= 0) {
          base_size_ = value;
          return;
        }
      }
    }
    const bool row = tag == html_tag("tr");
    if ((row || tag == html_tag("td")) && with_style_[tag] != 0) {
      while (open_ > 1) {
        const std::uint8_t top = styles_[open_ - 1].tag;
        if (top != html_tag("font") && top != html_tag("td") && !(row && top == html_tag("tr")))
          break;
        pop_style();
      }
    }
    if (open_ >= kMaxStyles) return;
    Style style = styles_[open_ - 1];
    style.tag = tag;
    if (tag == html_tag("big") || tag == html_tag("small")) {
      style.size += tag == html_tag("big") ? 1 : -1;
      return push_style(style);
    }
    for (const HtmlAttribute& attribute : attributes) {
      if ((kCounts[tag] >> attribute.number & 1) == 0) continue;
      switch (attribute.number) {
        case html_attribute("text"):
        case html_attribute("color"):
          style.foreground = read_color(text_of(attribute));
          break;
        case html_attribute("size"): {
          std::string_view size = trim(text_of(attribute));
          const bool plus = size.starts_with('+');
          if (plus) size.remove_prefix(1);
          const int n = leading_number(size, number);
          if (number) style.size = plus || n < 0 ? base_size_ + n : n;
          break;
        }
        case html_attribute("style"):
          read_style(text_of(attribute), style);
          break;
        default:
          break;
      }
      // Of `bgcolor` SpamAssassin rewrites the attribute only; its rules are scored with that.
      facts_.max_size = std::max(facts_.max_size, style.size);
      if (style.size <= facts_.max_size) facts_.min_size = std::min(facts_.min_size, style.size);
    }
    push_style(style);
  }

  void read_style(std::string_view text, Style& style) {
    while (!text.empty()) {
      const std::size_t end = text.find(';');
      const std::string_view part = text.substr(0, end);
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
      const std::size_t colon = part.find(':');
      if (colon == std::string_view::npos) continue;
      const std::string_view name = trim(part.substr(0, colon));
      const std::string_view value = trim(part.substr(colon + 1));
      if (value.empty()) continue;
      if (equals_lower(name, "color")) {
        read_style_color(value, style.foreground);
      } else if (equals_lower(name, "background-color")) {
        read_style_color(value, style.background);
      } else if (equals_lower(name, "background")) {
        read_background(value, style.background);
      } else if (equals_lower(name, "display")) {
        style.undisplayed = equals_lower(value, "none");
      } else if (equals_lower(name, "visibility")) {
        style.hidden = equals_lower(value, "hidden");
      }
    }
    if (style.background == kTransparent) style.background = styles_[open_ - 1].background;
    if (style.foreground == kTransparent) style.foreground = style.background;
  }

  static void read_style_color(std::string_view value, CssColor& color) {
    if (const std::size_t important = value.rfind('!');
        important != std::string_view::npos &&
        equals_lower(trim(value.substr(important + 1)), "important")) {
      value = value.substr(0, important);
      while (!value.empty() && is_space(value.back())) value.remove_suffix(1);
    }
    if (contains_nocase(value, "rgb")) {
      color = read_rgb_list(value);
    } else if (equals_lower(value, "transparent")) {
      color = kTransparent;
    } else if (!equals_lower(value, "inherit")) {
      color = read_color(value);
    }
  }

  // The first colour among the words of the last layer.
  static void read_background(std::string_view value, CssColor& color) {
    const std::size_t comma = value.rfind(',');
    std::size_t i = comma != std::string_view::npos && value.find('(') == std::string_view::npos
                        ? comma + 1
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
      if (i == begin) return;
      const CssColor one = read_color(value.substr(begin, i - begin));
      if (one == kInvalidColor) continue;
      color = one;
      return;
    }
  }

  static CssColor read_rgb_list(std::string_view text) {
    unsigned rgb[3] = {};
    int n = 0;
    for (const char c : text) {
      if (is_digit(c) && n < 3) {
        rgb[n] = std::min(rgb[n] * 10 + static_cast<unsigned>(c - '0'), 100000u);
      } else if (c == ',') {
        ++n;
      }
    }
    CssColor color = 0;
    for (const unsigned value : rgb) color = color << 8 | std::min(value, 255u);
    return color;
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

  void push(std::uint8_t tag, std::string_view uri) {
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
    if (tag == html_tag("a")) found.in_a = true;
    if (tag == html_tag("iframe")) found.in_iframe = true;
  }

  // References undone. Valid until the second call after it.
  std::string_view text_of(const HtmlAttribute& attribute) {
    if (attribute.value.find('&') == std::string_view::npos) return attribute.value;
    std::swap(values_[0], values_[1]);
    values_[0].clear();
    decode_entities(attribute.value, values_[0]);
    return values_[0];
  }
  void push_attribute(std::uint8_t tag, const HtmlAttribute* attribute) {
    if (attribute != nullptr) push(tag, text_of(*attribute));
  }
  // Also in badly written HTML: <img border=0/src="...">.
  static const HtmlAttribute* find_odd(HtmlAttributes attributes, std::uint8_t number) {
    if (const HtmlAttribute* found = find(attributes, number)) return found;
    const std::string_view name = kHtmlAttributes.name(number);
    for (const HtmlAttribute& attribute : attributes) {
      const std::size_t slash = attribute.name.find('/');
      if (slash != std::string_view::npos && slash > 0 &&
          equals_lower(attribute.name.substr(slash + 1, name.size()), name))
        return &attribute;
    }
    return nullptr;
  }

  // What an element leads to, and what rules ask about it.
  void element(std::uint8_t tag, HtmlAttributes attributes) {
    const auto attribute = [&](std::uint8_t number) { return find(attributes, number); };
    switch (tag) {
      case html_tag("body"):
      case html_tag("table"):
      case html_tag("tr"):
      case html_tag("td"):
        return push_attribute(tag, attribute(html_attribute("background")));
      case html_tag("a"):
      case html_tag("area"):
      case html_tag("link"):
        push_attribute(tag, find_odd(attributes, html_attribute("href")));
        push_attribute(tag, attribute(html_attribute("data-saferedirecturl")));
        if (tag == html_tag("a")) begin_anchor(attribute(html_attribute("href")));
        return;
      case html_tag("img"):
        push_attribute(tag, find_odd(attributes, html_attribute("src")));
        return count_image(attribute(html_attribute("width")), attribute(html_attribute("height")));
      case html_tag("frame"):
      case html_tag("iframe"):
      case html_tag("script"):
      case html_tag("bgsound"):
        return push_attribute(tag, find_odd(attributes, html_attribute("src")));
      case html_tag("embed"):
        facts_.embeds = true;
        return push_attribute(tag, find_odd(attributes, html_attribute("src")));
      case html_tag("object"):
        facts_.embeds = true;
        return;
      case html_tag("form"):
        if (const HtmlAttribute* action = attribute(html_attribute("action"))) {
          const std::string_view target = text_of(*action);
          push(tag, target);
          if (contains_nocase(target, "mailto:")) facts_.form_action_mailto = true;
        }
        return;
      case html_tag("base"):
        if (const HtmlAttribute* href = attribute(html_attribute("href"));
            href != nullptr && !href->value.empty())
          set_base(text_of(*href));
        return;
      case html_tag("font"):
        if (const HtmlAttribute* face = attribute(html_attribute("face"));
            face != nullptr && !good_face(text_of(*face))) {
          facts_.font_face_bad = true;
        }
        return;
      case html_tag("title"):
        if (facts_.titles.size() < kMaxHtmlTexts) facts_.titles.emplace_back();
        return;
      case html_tag("meta"): {
        const HtmlAttribute* content = attribute(html_attribute("content"));
        const HtmlAttribute* equivalent = attribute(html_attribute("http-equiv"));
        if (content != nullptr && equivalent != nullptr)
          meta(text_of(*content), text_of(*equivalent));
        return;
      }
      default:
        return;
    }
  }

  void begin_anchor(const HtmlAttribute* href) {
    const std::string_view uri = href != nullptr ? canonical(text_of(*href)) : std::string_view();
    anchor_link_ = SIZE_MAX;
    if (facts_.links.size() < kMaxHtmlLinks) {
      HtmlLink& found = link(uri);
      anchor_link_ = static_cast<std::size_t>(&found - facts_.links.data());
      if (found.anchors.size() < kMaxHtmlTexts) found.anchors.emplace_back();
    }
    if (facts_.anchors.size() < kMaxHtmlTexts) facts_.anchors.emplace_back();
  }

  void count_image(const HtmlAttribute* wide, const HtmlAttribute* high) {
    if (inside(html_tag("a"))) {
      if (anchor_link_ < facts_.links.size() && !facts_.links[anchor_link_].anchors.empty()) {
        append_bounded(facts_.links[anchor_link_].anchors.back(), "<img>\n");
      }
      if (!facts_.anchors.empty()) append_bounded(facts_.anchors.back(), "<img>\n");
    }
    if (wide == nullptr || high == nullptr) return;
    const double width = extent(text_of(*wide), 8);
    const double height = extent(text_of(*high), 6);
    facts_.image_area += (width <= 0 ? 200 : width) * (height <= 0 ? 200 : height);
  }

  void meta(std::string_view content, std::string_view equivalent) {
    String lowered(content, memory_);
    lower(lowered);
    if (contains_nocase(equivalent, "refresh")) refresh(content, lowered);
    if (!contains_nocase(equivalent, "content-type")) return;
    const std::size_t at = lowered.find("charset");
    const std::size_t equals = at == String::npos ? at : lowered.find('=', at);
    if (equals == String::npos) return;
    std::string_view value = trim(content.substr(equals + 1));
    if (!value.empty() && (value.front() == '"' || value.front() == '\'')) value.remove_prefix(1);
    value = value.substr(0, value.find_first_of("\"'"));
    if (!facts_.charsets.empty()) facts_.charsets += ' ';
    append_bounded(facts_.charsets, value);
  }

  void refresh(std::string_view content, std::string_view lowered) {
    std::size_t at = lowered.rfind("url");
    if (at == std::string_view::npos) return;
    at += 3;
    while (at < content.size() && is_space(content[at])) ++at;
    if (at >= content.size() || content[at] != '=') return;
    ++at;
    while (at < content.size() && is_space(content[at])) ++at;
    const std::string_view uri = content.substr(at);
    push(html_tag("meta"), uri.substr(0, uri.find(';')));
  }

  void set_base(std::string_view value) {
    const std::string_view uri = canonical(value);
    push(html_tag("base"), uri);
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

  static double extent(std::string_view value, double percent) {
    std::size_t i = 0;
    double number = 0;
    while (i < value.size() && is_digit(value[i]))
      number = std::min(number * 10 + (value[i++] - '0'), 1e6);
    if (i == 0) return 0;
    if (i < value.size()) {
      if (i + 1 != value.size() || value[i] != '%') return 0;
      number *= percent;
    }
    return number;
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

  static constexpr std::uint16_t kNoTag = UINT16_MAX;

  TextBuffer& text_;
  HtmlFacts& facts_;
  std::pmr::memory_resource* memory_;
  std::array<std::uint16_t, kHtmlTags.size()> known_;  // which of the facts' tags it is
  std::array<Style, kMaxStyles> styles_;
  std::array<std::uint8_t, kHtmlTags.size()> with_style_{};  // styles by tag, without the first
  std::size_t open_ = 1;                                     // styles
  String values_[2];
  String base_;
  std::size_t last_begin_ = 0;  // of the last chunk of text
  std::size_t anchor_link_ = SIZE_MAX;
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

void render_html(std::string_view html, std::uint64_t source_octets, TextBuffer& text,
                 HtmlFacts& facts, std::pmr::memory_resource* memory) {
  facts.length = count_characters(html);
  const std::size_t begin = text.size();
  Renderer renderer(text, facts, memory);
  read_html(html, renderer, memory);
  renderer.finish();
  const std::string_view added = text.view().substr(begin);
  facts.html_length = count_characters(added);
  std::uint64_t space = count_white(added);
  if (added.size() != facts.html_length) {
    for (std::size_t at = 0; (at = added.find("\xc2\xa0", at)) != std::string_view::npos; ++at)
      ++space;
  }
  facts.non_space_len = facts.html_length - space;
  if (source_octets > 0) {
    facts.has_ratio = true;
    facts.ratio = (static_cast<double>(source_octets) - static_cast<double>(facts.html_length)) /
                  static_cast<double>(source_octets);
  }
}

}  // namespace sluice::spam
