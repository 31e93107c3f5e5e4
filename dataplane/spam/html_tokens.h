// The tokens of HTML as HTML::Parser finds them: tolerant of everything, one pass.
#pragma once

#include <string_view>
#include <vector>

#include "dataplane/spam/text.h"

namespace sluice::spam {

inline constexpr std::size_t kMaxAttributes = 64;  // of one tag
inline constexpr std::size_t kMaxTagName = 64;     // longer ones are cut

struct HtmlAttribute {
  using allocator_type = std::pmr::polymorphic_allocator<>;
  explicit HtmlAttribute(const allocator_type& a = {}) : name(a), value(a) {}
  HtmlAttribute(const HtmlAttribute& o, const allocator_type& a)
      : name(o.name, a), value(o.value, a) {}
  HtmlAttribute(HtmlAttribute&& o, const allocator_type& a)
      : name(std::move(o.name), a), value(std::move(o.value), a) {}
  String name;   // lower case
  String value;  // references undone; of an attribute without value: its name
};

using HtmlAttributes = std::pmr::vector<HtmlAttribute>;

inline const String* find(const HtmlAttributes& attributes, std::string_view name) {
  for (const HtmlAttribute& attribute : attributes) {
    if (attribute.name == name) return &attribute.value;
  }
  return nullptr;
}

class HtmlTokenSink {
 public:
  virtual void on_start(std::string_view tag, HtmlAttributes& attributes) = 0;
  virtual void on_end(std::string_view tag) = 0;
  virtual void on_text(std::string_view text) = 0;  // references undone
  virtual void on_comment(std::string_view text) = 0;
  virtual void on_declaration(std::string_view text) = 0;

 protected:
  ~HtmlTokenSink() = default;
};

void read_html(std::string_view html, HtmlTokenSink& sink, std::pmr::memory_resource* memory);

}  // namespace sluice::spam
