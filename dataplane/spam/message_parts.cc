#include "dataplane/spam/message_parts.h"

#include <cstring>

namespace sluice::spam {
namespace {

constexpr std::size_t kMaxLine = 65536;       // longer ones are cut
constexpr std::uint32_t kMaxBlankLines = 20;  // in a row
constexpr std::uint32_t kMaxInvalidFields = 3;
constexpr std::uint32_t kMaxWithoutBoundary = 4;  // multiparts read again as one part

// A field's name and its colon; `blanks`: white space may stand before the colon.
bool is_field(std::string_view line, bool blanks) {
  std::size_t i = 0;
  while (i < line.size() && line[i] > ' ' && line[i] <= '~' && line[i] != ':') ++i;
  if (i == 0) return false;
  while (blanks && i < line.size() && (line[i] == ' ' || line[i] == '\t')) ++i;
  return i < line.size() && line[i] == ':';
}

bool is_blank(std::string_view line) { return trim(line).empty(); }

// A parameter's value as SpamAssassin's expressions find it; empty when it is not there.
std::size_t find_parameter(std::string_view value, std::string_view lower_name) {
  for (std::size_t at = 0; at + lower_name.size() <= value.size(); ++at) {
    if (at > 0 && is_word(value[at - 1])) continue;
    if (!equals_lower(value.substr(at, lower_name.size()), lower_name)) continue;
    std::size_t i = at + lower_name.size();
    while (i < value.size() && is_space(value[i])) ++i;
    if (i >= value.size() || value[i] != '=') continue;
    ++i;
    while (i < value.size() && is_space(value[i])) ++i;
    return i;
  }
  return std::string_view::npos;
}

std::string_view quoted_value(std::string_view value, std::size_t at) {
  if (at < value.size() && (value[at] == '"' || value[at] == '\'')) ++at;
  std::size_t end = at;
  while (end < value.size() && value[end] != ';') {
    if ((value[end] == '"' || value[end] == '\'') &&
        (end + 1 == value.size() || value[end + 1] == ';'))
      break;
    ++end;
  }
  return value.substr(at, end - at);
}

}  // namespace

ContentType read_content_type(const std::string_view* given, std::pmr::memory_resource* memory) {
  ContentType type(memory);
  std::string_view value = given != nullptr ? *given : std::string_view();
  if (value.empty()) {
    type.missing = true;
    value = "text/plain; charset=us-ascii";
  }
  if (const std::size_t at = find_parameter(value, "boundary"); at != std::string_view::npos) {
    std::string_view boundary;
    if (value.substr(at).starts_with('"')) {
      const std::size_t end = value.find('"', at + 1);
      boundary = value.substr(at + 1, end == std::string_view::npos ? end : end - at - 1);
    } else {
      std::size_t end = at;
      while (end < value.size() && !is_space(value[end]) && value[end] != ';' && value[end] != '"')
        ++end;
      if (end == value.size() || value[end] != '"') boundary = value.substr(at, end - at);
    }
    type.has_boundary = !boundary.empty();
    type.boundary = boundary;
  }
  if (const std::size_t at = find_parameter(value, "charset"); at != std::string_view::npos) {
    type.has_charset = true;
    type.charset = quoted_value(value, at);
  }
  for (const std::string_view name : {"name", "filename"}) {
    const std::size_t at = find_parameter(value, name);
    if (at == std::string_view::npos) continue;
    type.has_name = true;
    type.name = quoted_value(value, at);
    break;
  }
  std::string_view media = value.substr(0, value.find(';'));
  while (!media.empty() && is_space(media.front())) media.remove_prefix(1);
  if (const std::size_t slash = media.find('/'); slash != std::string_view::npos && slash > 0) {
    std::size_t end = slash + 1;
    while (end < media.size() && media[end] != '/' && !is_space(media[end])) ++end;
    media = media.substr(0, end);
  }
  String& out = type.type;
  out = media;
  lower(out);
  if (out.empty()) type.missing = true;
  const bool text = out.starts_with("text") && (out.size() == 4 || !is_word(out[4]));
  if (out.empty() ||
      (text && out != "text/x-vcard" && out != "text/calendar" && out != "text/html")) {
    out = "text/plain";
  }
  static constexpr std::string_view kBad = "\"(),:;<=>?@[\\]";
  std::erase_if(out, [](char c) {
    return static_cast<unsigned char>(c) <= 32 || static_cast<unsigned char>(c) >= 127 ||
           kBad.find(c) != std::string_view::npos;
  });
  return type;
}

MessageParts::MessageParts(PartsSink& sink, std::pmr::monotonic_buffer_resource* memory)
    : sink_(sink),
      memory_(memory),
      parts_(memory),
      frames_(memory),
      pristine_(memory),
      pending_(memory) {
  begin_message(0);
}

std::size_t MessageParts::kept_octets(const MessagePart& part) {
  const std::string_view name = part.name;
  const auto ends = [&](std::string_view suffix) {
    return name.size() >= suffix.size() &&
           equals_lower(name.substr(name.size() - suffix.size()), suffix);
  };
  const bool text = part.type.starts_with("text/") || part.type.starts_with("message/") ||
                    ends(".html") || ends(".htm");
  return text ? kMaxTextPart : part.type.starts_with("image/") ? kMaxImageOctets : 0;
}

void MessageParts::feed(Bytes octets) {
  std::string_view text(reinterpret_cast<const char*>(octets.data()), octets.size());
  while (!text.empty()) {
    if (pending_.empty()) text.remove_prefix(leaf_lines(text));
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) {
      if (pending_.size() < kMaxLine) pending_ += text.substr(0, kMaxLine - pending_.size());
      return;
    }
    if (pending_.empty() && end < kMaxLine) {
      line(text.substr(0, end + 1));
    } else {
      if (pending_.size() < kMaxLine)
        pending_ += text.substr(0, std::min(end, kMaxLine - pending_.size()));
      pending_ += '\n';
      line(pending_);
      pending_.clear();
    }
    text.remove_prefix(end + 1);
  }
}

void MessageParts::finish() {
  if (finished_) return;
  finished_ = true;
  if (!pending_.empty()) line(pending_);
  if (in_header_) {
    missing_head_body_separator_ = true;
    in_header_ = false;
    end_header();
  }
  while (!frames_.empty()) close_top(false);
}

// The usual lines of a leaf, in a row. Says how many octets; what follows has to be looked at by
// line(), or is no whole line.
std::size_t MessageParts::leaf_lines(std::string_view text) {
  if (in_header_ || first_line_ || frames_.empty()) return 0;
  Frame& top = frames_.back();
  if (top.state != State::leaf || top.expects_header) return 0;
  MessagePart& part = parts_[top.part];
  char* const begin = top.text.room(text.size());
  char* to = begin;
  std::size_t last = top.text.size() - top.held;  // octets of the last line so far
  const char* p = text.data();
  const char* const end = p + text.size();
  while (end - p > 1 && (p[0] != '-' || p[1] != '-')) {
    const char* const line_end =
        static_cast<const char*>(std::memchr(p, '\n', static_cast<std::size_t>(end - p)));
    if (line_end == nullptr || line_end - p >= static_cast<std::ptrdiff_t>(kMaxBodyLine)) break;
    const char* const next = line_end + 1;
    if (is_space(*p) && is_blank({p, next})) {
      if (++blank_lines_ > kMaxBlankLines) {
        p = next;
        continue;
      }
    } else {
      blank_lines_ = 0;
    }
    part.raw_octets += last;
    part.longest_line = std::max(part.longest_line, static_cast<std::uint32_t>(last));
    last = static_cast<std::size_t>(line_end - p);
    if (crlf_ && last > 0 && line_end[-1] == '\r') --last;
    std::memcpy(to, p, last);
    to[last++] = '\n';
    to += last;
    p = next;
  }
  if (to != begin) {
    top.text.add(static_cast<std::size_t>(to - begin));
    top.held = top.text.size() - last;
    if (top.held > top.kept) give_lines(top);
  }
  const auto taken = static_cast<std::size_t>(p - text.data());
  body_octets_ += taken;
  return taken;
}

void MessageParts::line(std::string_view raw) {
  if (first_line_) {
    first_line_ = false;
    crlf_ = raw.ends_with("\r\n");
    if (raw.starts_with("From ") && raw.size() > 5 &&
        raw.find_first_not_of(" \t", 5) != std::string_view::npos &&
        raw[raw.find_first_not_of(" \t", 5)] != ':')
      return;  // an mbox line
  }
  if (in_header_ && pristine_.size() < kMaxHeaderBlock) pristine_.append(raw);
  if (!raw.ends_with("\r\n") || !crlf_) {
    if (in_header_) {
      header_line(frames_.back(), raw);
    } else {
      body_octets_ += raw.size();
      body_line(raw);
    }
    return;
  }
  char buffer[4096];
  String large(memory_);
  std::string_view text;
  if (raw.size() <= sizeof buffer) {
    std::memcpy(buffer, raw.data(), raw.size() - 2);
    buffer[raw.size() - 2] = '\n';
    text = {buffer, raw.size() - 1};
  } else {
    large = raw.substr(0, raw.size() - 2);
    large += '\n';
    text = large;
  }
  if (in_header_) {
    header_line(frames_.back(), text);
  } else {
    body_octets_ += raw.size();
    body_line(text);
  }
}

void MessageParts::body_line(std::string_view text) {
  if (is_blank(text)) {
    if (++blank_lines_ > kMaxBlankLines) return;
  } else {
    blank_lines_ = 0;
  }
  if (frames_.empty()) return;
  if (text.starts_with("--") && at_boundary(text)) return;
  Frame& top = frames_.back();
  if (top.expects_header) {
    top.expects_header = false;
    if (!is_field(text, false)) missing_mime_headers_ = true;
  }
  switch (top.state) {
    case State::message_header:
    case State::part_header:
      header_line(top, text);
      break;
    case State::preamble:
      if (top.text.size() < kMaxTextPart)
        top.text.append(text.substr(0, kMaxTextPart - top.text.size()));
      break;
    case State::epilogue:
      if (std::any_of(text.begin(), text.end(), [](char c) { return c != '.' && !is_space(c); })) {
        mime_epilogue_exists_ = true;
      }
      break;
    case State::leaf:
      leaf_line(top, text);
      break;
  }
}

// An outer boundary closes what is inside of it.
bool MessageParts::at_boundary(std::string_view text) {
  std::string_view rest = text.substr(2);
  while (!rest.empty() && is_space(rest.back())) rest.remove_suffix(1);
  for (std::size_t i = 0; i < frames_.size(); ++i) {
    Frame& frame = frames_[i];
    if (!frame.multipart || frame.boundary.empty() || !rest.starts_with(frame.boundary)) continue;
    const std::string_view tail = rest.substr(frame.boundary.size());
    const bool last = tail == "--";
    if (!last && !tail.empty()) continue;
    if (frame.state == State::epilogue) return false;
    if (!frame.opened) {
      if (last) return false;
      frame.opened = true;
      frame.text.cut(0);
    } else {
      while (frames_.size() > i + 1) close_top(true);
    }
    Frame& open = frames_[i];
    if (last) {
      open.state = State::epilogue;
      return true;
    }
    if (parts_.size() >= kMaxMessageParts || frames_.size() >= kMaxPartDepth * 2) {
      part_limit_ = true;
      open.state = State::epilogue;
      return true;
    }
    begin_part(open.part);
    frames_.back().expects_header = true;
    return true;
  }
  return false;
}

void MessageParts::begin_part(std::uint32_t parent) {
  Frame frame(memory_);
  frame.state = State::part_header;
  frame.part = static_cast<std::uint32_t>(parts_.size());
  MessagePart part(memory_);
  part.parent = parent;
  parts_.push_back(std::move(part));
  frames_.push_back(std::move(frame));
}

void MessageParts::begin_message(std::uint32_t parent) {
  begin_part(parent);
  frames_.back().state = State::message_header;
  parts_.back().message = true;
}

void MessageParts::add_field(Frame& frame) {
  if (!frame.has_field) return;
  parts_[frame.part].header.add(frame.field.view(), frame.state == State::part_header);
  frame.field.cut(0);
  frame.has_field = false;
}

void MessageParts::header_line(Frame& frame, std::string_view text) {
  const auto append = [&] {
    frame.header_octets += text.size();
    if (frame.header_octets > kMaxHeaderBlock) {
      truncated_header_ = true;
      return;
    }
    frame.field.append(text);
    frame.has_field = true;
  };
  const bool continues = text.starts_with(' ') || text.starts_with('\t');
  if (frame.state == State::part_header) {
    if (is_field(text, true)) {
      add_field(frame);
      return append();
    }
    if (continues && frame.has_field) return append();
    end_header();
    if (text != "\n" && text != "\r\n") {
      missing_mime_head_body_separator_ = true;
      if (!frames_.empty()) body_line(text);
    }
    return;
  }
  if (continues) return append();
  add_field(frame);
  const bool root = frame.part == 0;
  if (text == "\n") {
    if (root) in_header_ = false;
    return end_header();
  }
  const bool bad = !is_field(text, true);
  if (text.starts_with("--") || (bad && ++frame.invalid_fields > kMaxInvalidFields)) {
    if (root) {
      missing_head_body_separator_ = true;
      in_header_ = false;
      if (pristine_.size() >= text.size())
        pristine_.cut(pristine_.size() - text.size() - (crlf_ ? 1 : 0));
      body_octets_ += text.size();
    }
    end_header();
    if (!frames_.empty()) body_line(text);
    return;
  }
  append();
}

// The header of the top frame is whole: what its content is.
void MessageParts::end_header() {
  const std::size_t index = frames_.size() - 1;
  add_field(frames_[index]);
  MessagePart& part = parts_[frames_[index].part];
  const Field* field = part.header.last("content-type");
  const std::string_view value =
      field != nullptr ? std::string_view(field->value) : std::string_view();
  ContentType type = read_content_type(field != nullptr ? &value : nullptr, memory_);
  part.type = type.type;
  if (type.missing && !part.message && parts_[part.parent].type == "multipart/digest") {
    part.type = "message/rfc822";
  }
  part.has_charset = type.has_charset || type.missing;
  part.charset = type.missing ? std::string_view("us-ascii") : std::string_view(type.charset);
  if (const Field* encoding = part.header.last("content-transfer-encoding")) {
    part.encoding = encoding->value;
    lower(part.encoding);
  }
  if (const Field* disposition = part.header.last("content-disposition")) {
    part.disposition = disposition->value;
    const std::size_t at = [&] {
      for (std::size_t i = 0; i + 5 <= part.disposition.size(); ++i) {
        if (equals_lower(std::string_view(part.disposition).substr(i, 5), "name=")) return i;
      }
      return String::npos;
    }();
    if (at != String::npos) {
      std::size_t i = at + 5;
      while (i < part.disposition.size() && is_space(part.disposition[i])) ++i;
      if (i < part.disposition.size() && part.disposition[i] == '"') ++i;
      const std::size_t end = part.disposition.find_first_of("\";", i);
      part.name = part.disposition.substr(i, end == String::npos ? end : end - i);
    }
    lower(part.disposition);
  }
  if (part.name.empty() && type.has_name) part.name = type.name;
  Frame& frame = frames_[index];
  // A multipart without a boundary of its own has that of the one around it.
  String boundary(type.has_boundary ? std::string_view(type.boundary) : std::string_view(),
                  memory_);
  const bool multipart = part.type.starts_with("multipart/");
  bool has_boundary = type.has_boundary;
  if (!has_boundary && index > 0) {
    for (std::size_t i = index; i-- > 0;) {
      if (!frames_[i].multipart) continue;
      has_boundary = true;
      break;
    }
  }
  const std::uint32_t number = frame.part;
  if (multipart && has_boundary && frames_.size() < kMaxPartDepth * 2) {
    part.leaf = false;
    frame.multipart = true;
    frame.boundary = boundary;
    frame.state = State::preamble;
  } else {
    if (multipart) part.type = "text/plain";
    frame.state = State::leaf;
    frame.kept = kept_octets(part);
  }
  if (number == 0) sink_.on_message_header();
  sink_.on_part_header(number);
  begin_content();
}

// A message in a part that is not encoded is read as it comes.
void MessageParts::begin_content() {
  const Frame& frame = frames_.back();
  MessagePart& part = parts_[frame.part];
  if (frame.state != State::leaf ||
      (part.type != "message/rfc822" && part.type != "message/global"))
    return;
  if (part.encoding == "base64" || part.encoding == "quoted-printable") return;
  if (frames_.size() >= kMaxPartDepth * 2 || parts_.size() >= kMaxMessageParts) return;
  part.leaf = false;
  begin_message(frame.part);
}

void MessageParts::leaf_line(Frame& frame, std::string_view text) {
  if (frame.part == 0) return take_leaf_line(frame, text);
  while (text.size() > kMaxBodyLine) {
    String cut(text.substr(0, kMaxBodyLine), memory_);
    cut += '\n';
    take_leaf_line(frame, cut);
    text.remove_prefix(kMaxBodyLine);
  }
  take_leaf_line(frame, text);
}

// One line is held back: the line end before a boundary belongs to the boundary.
void MessageParts::take_leaf_line(Frame& frame, std::string_view text) {
  end_line(frame);
  frame.held = frame.text.size();
  frame.text.append(text);
  if (frame.held > frame.kept) give_lines(frame);
}

// The last line so far is as it stays.
void MessageParts::end_line(const Frame& frame) {
  const std::size_t octets = frame.text.size() - frame.held;
  MessagePart& part = parts_[frame.part];
  part.raw_octets += octets;
  part.longest_line = std::max(part.longest_line, static_cast<std::uint32_t>(octets));
}

// Hands on the lines before the last one; of those that are not kept when there are many.
void MessageParts::give_lines(Frame& frame) {
  constexpr std::size_t kMany = 4096;
  if (frame.held < frame.kept + kMany) return;
  sink_.on_raw_lines(frame.part, frame.text.view().substr(frame.given, frame.held - frame.given));
  frame.text.erase(frame.kept, frame.held);
  frame.given = frame.held = frame.kept;
}

void MessageParts::close_top(bool at_boundary) {
  Frame frame = std::move(frames_.back());
  if (frame.state == State::message_header || frame.state == State::part_header) {
    frames_.back() = std::move(frame);
    end_header();
    return close_top(at_boundary);
  }
  frames_.pop_back();
  MessagePart& part = parts_[frame.part];
  if (frame.multipart) {
    if (frame.opened && frame.state != State::epilogue) missing_boundary_ = true;
    if (frame.opened || frame.text.empty()) return;
    // Its boundary never came: all of it is one part.
    if (parts_.size() >= kMaxMessageParts || ++without_boundary_ > kMaxWithoutBoundary) return;
    begin_part(frame.part);
    std::string_view rest = frame.text.view();
    const std::size_t base = frames_.size();
    while (!rest.empty() && frames_.size() >= base) {
      const std::size_t end = rest.find('\n');
      const std::string_view one = rest.substr(0, end == std::string_view::npos ? end : end + 1);
      Frame& top = frames_.back();
      if (top.state == State::part_header || top.state == State::message_header) {
        header_line(top, one);
      } else if (top.state == State::leaf) {
        leaf_line(top, one);
      } else if (top.text.size() < kMaxTextPart) {
        top.text.append(one);
      }
      rest.remove_prefix(one.size());
    }
    while (frames_.size() >= base) close_top(false);
    return;
  }
  if (!part.leaf) return;  // its message was read as it came
  if (at_boundary && frame.text.view().ends_with('\n')) frame.text.cut(frame.text.size() - 1);
  end_line(frame);
  if (frame.given < frame.text.size())
    sink_.on_raw_lines(frame.part, frame.text.view().substr(frame.given));
  if (frame.text.size() > frame.kept) frame.text.cut(frame.kept);
  sink_.on_leaf(frame.part, frame.text);
}

}  // namespace sluice::spam
