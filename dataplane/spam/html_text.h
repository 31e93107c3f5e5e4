// HTML as SpamAssassin renders it (Mail::SpamAssassin::HTML over HTML::Parser): the text with its
// white space, the links, and the facts that html_* rules ask for. On one whole, bounded part;
// linear.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "dataplane/spam/text.h"
#include "dataplane/spam/text_buffer.h"

namespace sluice::spam {

inline constexpr std::size_t kMaxUri = 8192;
inline constexpr std::size_t kMaxHtmlLinks = 500;
inline constexpr std::size_t kMaxHtmlTexts = 1000;

struct HtmlLink {
  explicit HtmlLink(std::pmr::memory_resource* a) : uri(a), anchors(a) {}
  HtmlLink(HtmlLink&&) = default;
  String uri;       // the place it leads to, made absolute
  Strings anchors;  // texts of the anchors that lead there
  bool in_a = false;
  bool in_iframe = false;
  bool has_type = false;  // some element named it; else only its anchor is known
};

struct HtmlFacts {
  explicit HtmlFacts(std::pmr::memory_resource* memory)
      : titles(memory),
        anchors(memory),
        scripts(memory),
        comments(memory),
        charsets(memory),
        links(memory),
        tags(memory) {}
  HtmlFacts(HtmlFacts&&) = default;

  struct Tag {
    explicit Tag(std::pmr::memory_resource* a) : name(a) {}
    Tag(Tag&&) = default;
    String name;
    std::int32_t inside = 0;  // opened and not closed
  };
  const Tag* tag(std::string_view name) const;

  Strings titles;
  Strings anchors;
  Strings scripts;
  Strings comments;
  String charsets;
  std::pmr::vector<HtmlLink> links;
  std::pmr::vector<Tag> tags;
  double image_area = 0;
  std::uint64_t length = 0;       // characters of the source
  std::uint64_t html_length = 0;  // characters of the text
  std::uint64_t non_space_len = 0;
  double ratio = 0;
  bool has_ratio = false;
  int min_size = 3;
  int max_size = 3;
  std::uint32_t all_tags = 0;
  std::uint32_t tags_seen = 0;
  std::uint32_t elements = 0;
  std::uint32_t elements_seen = 0;
  std::uint32_t closed_extra = 0;
  std::uint32_t obfuscation = 0;
  std::uint32_t backhair = 0;
  bool has_backhair = false;
  bool uri_truncated = false;
  bool font_low_contrast = false;
  bool font_invalid_color = false;
  bool font_face_bad = false;
  bool embeds = false;
  bool form_action_mailto = false;
};

// `html` is UTF-8; `source_octets` the size of the part before its charset was undone. The text is
// appended to `text`.
void render_html(std::string_view html, std::uint64_t source_octets, TextBuffer& text,
                 HtmlFacts& facts, std::pmr::memory_resource* memory);

// Character references undone, as HTML::Parser does.
void decode_entities(std::string_view in, String& out);

}  // namespace sluice::spam
