#include "dataplane/mime/header_block.h"

#include <algorithm>
#include <iterator>

#include "dataplane/mime/encoded_word.h"
#include "dataplane/mime/text.h"

namespace sluice::mime {
namespace {

// RFC 5322 3.6: these may stand once. (Content-* have readings of their own.)
constexpr std::string_view kOnce[] = {"from",    "sender", "reply-to",   "to",
                                      "cc",      "bcc",    "message-id", "references",
                                      "subject", "date",   "in-reply-to"};

bool is_field_octet(char c) { return c > ' ' && c < 0x7f; }

// The name of a field at the start of `line`, before blanks and a colon; empty when there is none.
std::string_view field_name(std::string_view line, std::size_t& colon) {
  line = line.substr(0, HeaderBlock::kNameOctets);
  std::size_t size = 0;
  while (size < line.size() && line[size] != ':' && is_field_octet(line[size])) ++size;
  colon = size;
  while (colon < line.size() && is_wsp(line[colon])) ++colon;
  return colon < line.size() && line[colon] == ':' ? line.substr(0, size) : std::string_view{};
}

bool is_mbox_line(std::string_view line) {
  return line.starts_with("From ") || line.starts_with(">From ");
}

}  // namespace

HeaderBlock::HeaderBlock(Context& context, PartNumber part)
    : context_(context),
      part_(part),
      info_(&context.memory),
      field_(&context.memory),
      value_(&context.memory) {}

HeaderBlock::HeaderBlock(const HeaderBlock& other, PartNumber part)
    : context_(other.context_),
      part_(part),
      info_(other.info_, &other.context_.memory),
      field_(other.field_, &other.context_.memory),
      value_(&other.context_.memory),
      name_size_(other.name_size_),
      colon_(other.colon_),
      octets_(other.octets_),
      fields_(other.fields_),
      lines_(other.lines_) {}

void HeaderBlock::raw(Bytes octets) {
  octets_ += octets.size();
  if (octets_ > context_.limits.header_octets) context_.raise(contract::Anomaly::header_limit);
  if (!octets.empty()) context_.sink.on_header_raw(part_, octets);
}

// A parameter that lost its indentation: `filename="x.exe"` on a line of its own after a field that
// takes parameters.
bool HeaderBlock::is_stray_parameter(std::string_view line) const {
  if (name_size_ == 0) return false;
  const std::string_view name = std::string_view(field_).substr(0, name_size_);
  if (!equals_ignoring_case(name, "content-type") &&
      !equals_ignoring_case(name, "content-disposition"))
    return false;
  const std::size_t equals = line.substr(0, kNameOctets).find('=');
  if (equals == std::string_view::npos || equals == 0) return false;
  return std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(equals),
                     [](char c) { return is_alnum(c) || c == '*' || c == '-' || c == '_'; });
}

HeaderBlock::Line HeaderBlock::classify(std::string_view line) {
  begun_ = {};
  if (line.empty()) return Line::blank;
  if (is_wsp(line[0])) {
    // A line longer than what decides is no blank line to anybody.
    if (line.size() <= kNameOctets && trim(line).empty())
      return empty() ? Line::blank : Line::all_white;
    return name_size_ > 0 ? Line::taken : Line::junk;
  }
  if (is_mbox_line(line)) return Line::taken;
  begun_.stray_parameter = is_stray_parameter(line);
  if (begun_.stray_parameter) return Line::taken;
  begun_.name = field_name(line, begun_.colon).size();
  return begun_.name == 0 ? Line::junk : Line::taken;
}

// Adds to the field in progress, as far as it is kept.
void HeaderBlock::append(std::string_view text) {
  if (name_size_ == 0) return;
  const std::size_t limit = std::max<std::size_t>(context_.limits.field_octets, kNameOctets);
  const std::size_t room = limit - std::min(field_.size(), limit);
  field_.append(text.substr(0, room));
  if (text.size() > room) context_.raise(contract::Anomaly::header_limit);
}

void HeaderBlock::take(std::string_view line) {
  ++lines_;
  if (is_wsp(line[0])) return append(line);
  if (begun_.stray_parameter) {
    context_.raise(contract::Anomaly::bad_header);
    append("; ");
    return append(line);
  }
  end_field();
  name_size_ = begun_.name;
  colon_ = begun_.colon;
  append(line);
}

void HeaderBlock::take_rest(std::string_view text) {
  // CRs are left out wherever they stand: which is the last one depends on the cuts.
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of("\r\n"), text.size());
    if (end > 0) append(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

void HeaderBlock::take_behind_junk(std::string_view line) {
  constexpr std::size_t kJunk = 16;
  std::size_t size = 0;
  while (size < std::min(line.size(), kJunk) && !is_field_octet(line[size])) ++size;
  line.remove_prefix(size);
  if (size > 0 && classify(line) == Line::taken) return take(line);
  // In the middle of a name too: readers that drop NULs or controls have the field.
  const std::size_t colon = line.substr(0, kNameOctets).find(':');
  if (colon != std::string_view::npos &&
      line.substr(0, colon).find_first_of(" \t") == std::string_view::npos) {
    std::pmr::string clean(&context_.memory);
    std::copy_if(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(colon),
                 std::back_inserter(clean), is_field_octet);
    clean.append(line.substr(colon));
    if (classify(clean) == Line::taken) return take(clean);
  }
  ++lines_;
  end_field();
}

void HeaderBlock::end_field() {
  if (name_size_ == 0) return;
  const std::string_view field = field_;
  const std::string_view name = field.substr(0, name_size_);
  const std::string_view raw_value = field.substr(std::min(colon_ + 1, field.size()));
  if (raw_value.find('\0') != std::string_view::npos) context_.raise(contract::Anomaly::nul);
  info_.field(name, raw_value);
  for (std::size_t i = 0; i < std::size(kOnce); ++i) {
    if (!equals_ignoring_case(name, kOnce[i])) continue;
    const std::uint32_t bit = 1u << i;
    if (seen_once_ & bit) context_.raise(contract::Anomaly::dup_header);
    seen_once_ |= bit;
  }
  // Beyond the bound fields still say what the part is, but are not reported.
  if (fields_ >= context_.limits.header_fields || octets_ > context_.limits.header_octets) {
    context_.raise(contract::Anomaly::header_limit);
  } else {
    ++fields_;
    const std::string_view value = decode_words(trim(raw_value), value_);
    context_.sink.on_header(part_, name, raw_value, value);
  }
  name_size_ = 0;
  field_.clear();
}

void HeaderBlock::finish() {
  end_field();
  if (info_.repeated_encoding) context_.raise(contract::Anomaly::dup_cte);
  if (info_.repeated_type) context_.raise(contract::Anomaly::dup_header);
  if (info_.malformed) context_.raise(contract::Anomaly::bad_parameter);
  context_.sink.on_header_end(part_);
}

}  // namespace sluice::mime
