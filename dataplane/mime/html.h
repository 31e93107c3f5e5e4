// HTML as a stream: the text that a reader sees, and the places that lead out of it. A tokenizer
// after the HTML standard's (13.2.5) as far as mail needs it: tags, attributes in three quotings,
// character references, comments, the raw text of script and style. State is a few bounded buffers;
// every octet is looked at once.
//
//   text --'<'--> tag_open --letter--> tag_name --blank--> attributes --'>'--> text | raw_text
//                     |--'!'--> declaration --"--"--> comment --"-->"--> text
//   Character references are undone in text and in attribute values.
//
// White space is collapsed and block elements end a line, so that text cut up by inline tags is
// whole again ("vi<b></b>agra"), and characters that nobody sees are left out. Hidden text is kept,
// because what hides it is a matter of style sheets and programs. Around an element that hides
// itself beyond doubt (its style, or `hidden`) what a reader sees is given once more without it.
#pragma once

#include <array>
#include <cstdint>
#include <memory_resource>
#include <string>
#include <string_view>

#include "dataplane/base/bytes.h"
#include "dataplane/mime/url.h"

namespace sluice::mime {

class HtmlSink {
 public:
  virtual void on_html_text(Bytes utf8) = 0;
  // Again, without what stands in hidden elements: some octets before and behind each.
  virtual void on_html_seen(Bytes utf8) { static_cast<void>(utf8); }
  // Octets a reader does not see and that may hold URLs: scripts and styles.
  virtual void on_html_hidden(Bytes utf8) = 0;
  // What follows is not of the same word or link: an anchor begins or ends.
  virtual void on_html_boundary() = 0;
  // The value of an attribute that names a place (href, src, action, ...), references undone, white
  // space at its ends and line ends inside removed.
  virtual void on_html_link(std::string_view value) = 0;
  // The value of an attribute that may hold URLs among other things (style, content, srcset, on*).
  virtual void on_html_attribute(std::string_view value) = 0;
  // The value of an attribute that is a document itself (srcdoc), in pieces, and its end.
  virtual void on_html_document(Bytes utf8) = 0;
  virtual void on_html_document_end() = 0;

 protected:
  ~HtmlSink() = default;
};

class HtmlTokenizer {
 public:
  HtmlTokenizer(HtmlSink& sink, std::pmr::memory_resource* memory);
  void feed(Bytes utf8);
  void finish();

 private:
  static constexpr std::size_t kOut = 512;
  static constexpr std::uint8_t kSeen = 64;  // octets given again on each side of a hidden element

  enum class State : std::uint8_t {
    text,
    tag_open,
    end_tag_open,
    tag_name,
    before_attribute,
    attribute_name,
    after_attribute_name,
    before_value,
    value_double,
    value_single,
    value_bare,
    declaration,
    bogus_comment,
    comment,
    raw_text,
    raw_name,
  };
  enum class Attribute : std::uint8_t { other, link, mixed, document };

  void step(char c);
  void put(char c);  // visible text, before white space is collapsed
  void put_visible(char c);
  void put_code(std::uint32_t code);
  void emit(char c);
  void append(std::string_view text);
  const char* stretch(const char* p, const char* end);
  void new_line();
  void flush();
  void begin_hidden();
  void begin_unseen();
  void end_unseen();
  void note_seen(Bytes text);
  void begin_tag_name(char c, bool end);
  void begin_attribute(char c);
  void end_attribute_name();
  bool reference(char c);
  void reference_char(char c);
  bool named_reference(std::string_view name);
  bool old_reference(std::string_view name);
  void value_char(char c);
  void document_piece();
  void end_attribute();
  void end_tag();
  bool in_value() const { return state_ != State::text; }

  HtmlSink& sink_;
  State state_ = State::text;
  bool in_reference_ = false;
  bool is_end_tag_ = false;
  bool hidden_ = false;  // out_ holds hidden text
  bool pending_space_ = false;
  bool line_start_ = true;
  bool hides_ = false;         // the tag in progress hides its element
  bool space_before_ = false;  // a blank stands before the hidden element
  std::uint8_t unseen_ = 0;    // elements of that name that are open, 0: nothing is hidden
  std::uint8_t unseen_size_ = 0;
  std::uint8_t seen_left_ = 0;  // octets still to be given again
  std::uint8_t tail_size_ = 0;
  std::uint8_t dashes_ = 0;
  Attribute attribute_ = Attribute::other;
  std::uint8_t name_size_ = 0;
  std::uint8_t attribute_size_ = 0;
  std::uint8_t reference_size_ = 0;
  std::uint8_t raw_size_ = 0;  // of the name of the raw text element
  std::uint8_t raw_matched_ = 0;
  std::uint8_t held_size_ = 0;  // octets of held_: the start of what may be an invisible character
  std::array<char, 16> name_{};
  std::array<char, 16> raw_name_{};
  std::array<char, 16> attribute_name_{};
  std::array<char, 16> unseen_name_{};
  std::array<std::uint8_t, kSeen> tail_{};  // the last that a reader saw
  std::array<char, 24> reference_{};        // the longest name has 21 letters
  std::array<char, 4> held_{};
  // Of feed() and finish(): nothing is kept from one call to the next.
  std::uint16_t out_size_ = 0;
  char* out_ = nullptr;  // kOut octets
  UrlText value_;
};

}  // namespace sluice::mime
