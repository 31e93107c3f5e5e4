#include "dataplane/spam/header_list.h"

#include <algorithm>
#include <cstring>

#include "dataplane/scan/field_names.h"
#include "dataplane/spam/decode.h"

namespace sluice::spam {

namespace {

constexpr std::size_t kUsualFields = 32;

// Folds become one blank, other line ends go. The octets written, at most those of `raw`.
std::size_t unfold(std::string_view raw, char* out) {
  const char* const begin = out;
  while (!raw.empty()) {
    const std::size_t end = std::min(raw.find('\n'), raw.size());
    std::memcpy(out, raw.data(), end);
    out += end;
    raw.remove_prefix(std::min(end + 1, raw.size()));
    const std::size_t blanks = std::min(raw.find_first_not_of(" \t"), raw.size());
    if (blanks > 0) *out++ = ' ';
    raw.remove_prefix(blanks);
  }
  return static_cast<std::size_t>(out - begin);
}

}  // namespace

void HeaderList::add(std::string_view field, bool of_part) {
  if (fields_.size() >= kMaxFields) return;
  const std::size_t colon = field.find(':');
  if (colon == std::string_view::npos) return;
  std::string_view name = field.substr(0, colon);
  std::string_view value = field.substr(colon + 1);
  if (of_part) {
    while (!value.empty() && is_space(value.front())) value.remove_prefix(1);
  } else {
    while (!name.empty() && (name.back() == ' ' || name.back() == '\t')) name.remove_suffix(1);
  }
  if (fields_.empty()) fields_.reserve(kUsualFields);
  name = name.substr(0, kMaxFieldName);
  value = value.substr(0, kMaxFieldValue);
  // One piece of memory: the name in lower case, as written, what is behind the colon, and the
  // value with a line end unless it is a part of that.
  char* const texts =
      static_cast<char*>(memory_->allocate(2 * (name.size() + value.size()) + 1, 1));
  char* to = texts;
  const auto put = [&to](std::string_view text) {
    std::memcpy(to, text.data(), text.size());
    to += text.size();
    return std::string_view(to - text.size(), text.size());
  };
  Field& added = fields_.emplace_back();
  std::transform(name.begin(), name.end(), to, to_lower);
  added.lower_name = {to, name.size()};
  to += name.size();
  added.name = put(name);
  added.raw = put(value);
  added.hash = scan::FieldNames::hash(added.lower_name);
  // The value, and with its line end, are a copy at `own`.
  const auto set = [&added](std::string_view text, char* own) {
    if (own != text.data()) std::memmove(own, text.data(), text.size());
    own[text.size()] = '\n';
    added.value = {own, text.size()};
    added.line = {own, text.size() + 1};
  };
  std::string_view whole = trim(added.raw);
  const bool folded = sluice::spam::has(whole, "\n");
  if (folded) whole = trim({to, unfold(added.raw, to)});
  if (has_encoded(whole, added.lower_name)) {
    String decoded(memory_);
    decode_header(whole, added.lower_name, decoded);
    set(decoded, static_cast<char*>(memory_->allocate(decoded.size() + 1, 1)));
  } else if (folded || whole.end() == added.raw.end() || *whole.end() != '\n') {
    set(whole, to);
  } else {
    added.value = whole;
    added.line = {whole.data(), whole.size() + 1};
  }
}

const Field* HeaderList::last(std::string_view lower_name) const {
  for (auto field = fields_.rbegin(); field != fields_.rend(); ++field) {
    if (field->lower_name == lower_name) return &*field;
  }
  return nullptr;
}

}  // namespace sluice::spam
