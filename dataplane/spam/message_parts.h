// A message in the parts that SpamAssassin sees (Mail::SpamAssassin::Message): header fields, MIME
// structure, and the text of each text part, whole and decoded. Fed with the message's octets as
// they come; a part is given to the sink when it ends. Bounded; the result never depends on how the
// octets are cut.
//
// It is a reading of its own beside mime/: rules written for SpamAssassin mean its reading, with
// its quirks (which lines are header fields, what closes a part, what a part without boundary is).
//
//   message_header ─ blank line ─► leaf | multipart: preamble ─ boundary ─► part_header ─► leaf |
//   ...
//                                                     ▲── boundary of this or an outer level ──┘
//                                             last boundary ─► epilogue
#pragma once

#include <cstdint>
#include <memory_resource>
#include <string_view>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/spam/header_list.h"
#include "dataplane/spam/text.h"
#include "dataplane/spam/text_buffer.h"

namespace sluice::spam {

inline constexpr std::size_t kMaxHeaderBlock = 65536;  // kept of a header
inline constexpr std::size_t kMaxTextPart = 262144;    // octets kept of one text part, as sent
inline constexpr std::size_t kMaxImageOctets = 65536;  // kept of an image, as sent
inline constexpr std::size_t kMaxMessageParts = 1000;
inline constexpr std::size_t kMaxPartDepth = 20;
inline constexpr std::size_t kMaxBodyLine = 2048;

struct ContentType {
  explicit ContentType(std::pmr::memory_resource* a) : type(a), boundary(a), charset(a), name(a) {}
  String type;  // lower case; "text/plain" for what says nothing
  String boundary;
  String charset;
  String name;
  bool has_boundary = false;
  bool has_charset = false;
  bool has_name = false;
  bool missing = false;
};
// `value`: the last Content-Type field, or nullptr.
ContentType read_content_type(const std::string_view* value, std::pmr::memory_resource* memory);

struct MessagePart {
  explicit MessagePart(std::pmr::monotonic_buffer_resource* a)
      : header(a), type(a), charset(a), name(a), encoding(a), disposition(a) {}
  MessagePart(MessagePart&&) = default;
  HeaderList header;
  String type;
  String charset;
  String name;
  String encoding;     // lower case
  String disposition;  // lower case, whole
  std::uint32_t parent = 0;
  bool has_charset = false;
  bool leaf = true;
  bool message = false;  // the root, or the message in a message/rfc822 part
  // Of a leaf: what checks of raw lines need.
  std::uint64_t raw_octets = 0;
  std::uint32_t longest_line = 0;
};

class PartsSink {
 public:
  // The header of the message itself is whole.
  virtual void on_message_header() = 0;
  // The header of a part (the message is part 0) is whole.
  virtual void on_part_header(std::uint32_t part) = 0;
  // Lines of a leaf's encoded body, line ends LF included; its last line may have none. All of
  // them, in order.
  virtual void on_raw_lines(std::uint32_t part, std::string_view lines) = 0;
  // A leaf ended. `raw`: its encoded body with line ends LF, when it is text or an image (cut at
  // the bound), else empty; it may be taken.
  virtual void on_leaf(std::uint32_t part, TextBuffer& raw) = 0;

 protected:
  ~PartsSink() = default;
};

class MessageParts {
 public:
  // `memory` gives back nothing before it ends.
  MessageParts(PartsSink& sink, std::pmr::monotonic_buffer_resource* memory);

  void feed(Bytes octets);
  void finish();

  const std::pmr::vector<MessagePart>& parts() const { return parts_; }
  const HeaderList& header() const { return parts_.front().header; }
  // The header as sent, its last blank line included.
  std::string_view pristine_header() const { return pristine_.view(); }
  std::uint64_t body_octets() const { return body_octets_; }

  // What SpamAssassin notes while parsing.
  bool missing_head_body_separator() const { return missing_head_body_separator_; }
  bool missing_mime_headers() const { return missing_mime_headers_; }
  bool missing_mime_head_body_separator() const { return missing_mime_head_body_separator_; }
  bool mime_epilogue_exists() const { return mime_epilogue_exists_; }
  bool truncated_header() const { return truncated_header_; }
  bool part_limit_exceeded() const { return part_limit_; }
  // A multipart was opened by its boundary and never closed.
  bool missing_boundary() const { return missing_boundary_; }

 private:
  enum class State : std::uint8_t { message_header, part_header, leaf, preamble, epilogue };
  struct Frame {
    explicit Frame(std::pmr::memory_resource* a) : boundary(a), field(a), text(a) {}
    Frame(Frame&&) = default;
    Frame& operator=(Frame&&) = default;
    State state = State::leaf;
    std::uint32_t part = 0;
    String boundary;   // of a multipart
    TextBuffer field;  // header field in progress
    // Of a leaf, or the preamble. The lines of a leaf behind `given` are not yet handed on; the
    // last one, behind `held`, may lose its line end.
    TextBuffer text;
    std::size_t kept = 0;  // octets of a leaf's text that are kept, at most
    std::size_t given = 0;
    std::size_t held = 0;
    bool multipart = false;
    bool has_field = false;
    bool opened = false;          // its boundary was seen
    bool expects_header = false;  // the next line should be a header field
    std::uint32_t invalid_fields = 0;
    std::size_t header_octets = 0;
  };

  std::size_t leaf_lines(std::string_view text);
  void line(std::string_view line);
  void body_line(std::string_view line);
  bool at_boundary(std::string_view line);
  void header_line(Frame& frame, std::string_view line);
  void add_field(Frame& frame);
  void end_header();
  void begin_content();
  void begin_part(std::uint32_t parent);
  void begin_message(std::uint32_t parent);
  void leaf_line(Frame& frame, std::string_view line);
  void take_leaf_line(Frame& frame, std::string_view line);
  void end_line(const Frame& frame);
  void give_lines(Frame& frame);
  void close_top(bool at_boundary);
  static std::size_t kept_octets(const MessagePart& part);

  PartsSink& sink_;
  std::pmr::monotonic_buffer_resource* memory_;
  std::pmr::vector<MessagePart> parts_;
  std::pmr::vector<Frame> frames_;
  TextBuffer pristine_;
  String pending_;  // an unfinished line
  std::uint64_t body_octets_ = 0;
  std::uint32_t blank_lines_ = 0;
  std::uint32_t without_boundary_ = 0;
  bool in_header_ = true;  // of the message itself
  bool crlf_ = false;
  bool first_line_ = true;
  bool finished_ = false;
  bool missing_head_body_separator_ = false;
  bool missing_mime_headers_ = false;
  bool missing_mime_head_body_separator_ = false;
  bool mime_epilogue_exists_ = false;
  bool truncated_header_ = false;
  bool missing_boundary_ = false;
  bool part_limit_ = false;
};

}  // namespace sluice::spam
