#include "dataplane/mime/meta_charset.h"

#include <algorithm>

#include "dataplane/mime/text.h"

namespace sluice::mime {
namespace {

struct Attribute {
  std::string_view name;
  std::string_view value;
};

bool is_tag_blank(char c) { return is_space(c) || c == '/'; }

// Takes the next attribute of a tag from the front of `text`; false at the tag's end.
bool take_attribute(std::string_view& text, Attribute& attribute) {
  while (!text.empty() && is_tag_blank(text.front())) text.remove_prefix(1);
  if (text.empty() || text.front() == '>') return false;
  attribute = {};
  std::size_t n = 1;  // HTML lets a name begin with '='
  while (n < text.size() && text[n] != '=' && text[n] != '>' && !is_tag_blank(text[n])) ++n;
  attribute.name = text.substr(0, n);
  text.remove_prefix(n);
  std::string_view rest = text;
  while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
  if (rest.empty() || rest.front() != '=') return true;
  rest.remove_prefix(1);
  while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
  if (!rest.empty() && (rest.front() == '"' || rest.front() == '\'')) {
    const char quote = rest.front();
    rest.remove_prefix(1);
    const std::size_t end = std::min(rest.find(quote), rest.size());
    attribute.value = rest.substr(0, end);
    text = rest.substr(std::min(end + 1, rest.size()));
    return true;
  }
  n = 0;
  while (n < rest.size() && rest[n] != '>' && !is_space(rest[n])) ++n;
  attribute.value = rest.substr(0, n);
  text = rest.substr(n);
  return true;
}

// HTML 2.4.6: extracting a character encoding from a meta element.
std::string_view charset_of_content(std::string_view content) {
  constexpr std::string_view kWord = "charset";
  for (std::size_t at = 0; at + kWord.size() < content.size(); ++at) {
    if (!equals_ignoring_case(content.substr(at, kWord.size()), kWord)) continue;
    std::string_view rest = trim(content.substr(at + kWord.size()));
    if (rest.empty() || rest.front() != '=') continue;
    rest = trim(rest.substr(1));
    if (!rest.empty() && (rest.front() == '"' || rest.front() == '\'')) {
      const std::size_t end = rest.find(rest.front(), 1);
      return end == std::string_view::npos ? std::string_view{} : rest.substr(1, end - 1);
    }
    return rest.substr(0, rest.find_first_of("; \t\r\n\f"));
  }
  return {};
}

// What a <meta> says; takes its attributes from the front of `text`.
std::string_view read_meta(std::string_view& text) {
  std::string_view charset;
  std::string_view content;
  bool is_type = false;
  for (Attribute a; take_attribute(text, a);) {
    if (equals_ignoring_case(a.name, "charset") && charset.empty()) charset = trim(a.value);
    if (equals_ignoring_case(a.name, "content") && content.empty()) content = a.value;
    if (equals_ignoring_case(a.name, "http-equiv"))
      is_type = is_type || equals_ignoring_case(trim(a.value), "content-type");
  }
  return charset.empty() && is_type ? trim(charset_of_content(content)) : charset;
}

}  // namespace

std::string_view find_meta_charset(std::string_view html) {
  using namespace std::string_view_literals;
  if (html.starts_with("\xef\xbb\xbf"sv)) return "utf-8";
  if (html.starts_with("\xff\xfe"sv)) return "utf-16le";
  if (html.starts_with("\xfe\xff"sv)) return "utf-16be";
  std::string_view text = html.substr(0, kMetaOctets);
  for (;;) {
    const std::size_t open = text.find('<');
    if (open == std::string_view::npos) return {};
    text.remove_prefix(open + 1);
    if (text.starts_with("!--")) {
      // "<!-->" is a whole comment.
      const std::size_t end = text.find("-->", 1);
      if (end == std::string_view::npos) return {};
      text.remove_prefix(end + 3);
      continue;
    }
    const bool is_end = text.starts_with('/');
    const std::string_view name = text.substr(is_end ? 1 : 0);
    if (name.empty() || !is_alpha(name.front())) {
      if (text.starts_with('!') || text.starts_with('/') || text.starts_with('?'))
        text.remove_prefix(std::min(text.find('>'), text.size()));
      continue;
    }
    std::size_t n = 0;
    while (n < name.size() && name[n] != '>' && !is_tag_blank(name[n])) ++n;
    text = name.substr(n);
    if (!is_end && equals_ignoring_case(name.substr(0, n), "meta")) {
      const std::string_view charset = read_meta(text);
      if (starts_with_ignoring_case(charset, "utf-16")) return "utf-8";
      if (!charset.empty()) return charset;
      continue;
    }
    for (Attribute a; take_attribute(text, a);) {
    }
  }
}

}  // namespace sluice::mime
