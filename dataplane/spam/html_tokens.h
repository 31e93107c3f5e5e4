// The tokens of HTML as HTML::Parser finds them: tolerant of everything, one pass, nothing copied
// but text with references.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "dataplane/spam/html_names.h"
#include "dataplane/spam/text.h"

namespace sluice::spam {

inline constexpr std::size_t kMaxAttributes = 64;  // of one tag
inline constexpr std::size_t kMaxTagName = 64;     // longer ones are cut

struct HtmlTag {
  std::string_view name;    // lower case
  std::uint8_t number = 0;  // of kHtmlTags
  std::uint16_t is() const { return kHtmlElements[number].is; }
};

struct HtmlAttribute {
  std::string_view name;    // as written
  std::string_view value;   // as written; of an attribute without value: its name
  std::uint8_t number = 0;  // of kHtmlAttributes
};

// Of one tag, in order, each name once: the first one counts.
using HtmlAttributes = std::span<const HtmlAttribute>;

inline const HtmlAttribute* find(HtmlAttributes attributes, std::uint8_t number) {
  for (const HtmlAttribute& attribute : attributes) {
    if (attribute.number == number) return &attribute;
  }
  return nullptr;
}

class HtmlTokenSink {
 public:
  virtual void on_start(const HtmlTag& tag, HtmlAttributes attributes) = 0;
  virtual void on_end(const HtmlTag& tag) = 0;
  virtual void on_text(std::string_view text) = 0;  // references undone
  virtual void on_comment(std::string_view text) = 0;
  virtual void on_declaration(std::string_view text) = 0;

 protected:
  ~HtmlTokenSink() = default;
};

// Views of tokens are valid during the call.
void read_html(std::string_view html, HtmlTokenSink& sink, std::pmr::memory_resource* memory);

}  // namespace sluice::spam
