#include "dataplane/spam/header_list.h"

#include <algorithm>

#include "dataplane/spam/decode.h"

namespace sluice::spam {

namespace {
constexpr std::size_t kUsualFields = 32;
}

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
  Field& added = fields_.emplace_back();
  added.name = name.substr(0, kMaxFieldName);
  added.lower_name = added.name;
  lower(added.lower_name);
  added.raw = value.substr(0, kMaxFieldValue);
  // Folds become one blank.
  String unfolded(memory_);
  const std::string_view raw = added.raw;
  unfolded.reserve(raw.size());
  for (std::size_t i = 0; i < raw.size();) {
    const std::size_t end = std::min(raw.find('\n', i), raw.size());
    unfolded += raw.substr(i, end - i);
    if (end == raw.size()) break;
    i = end + 1;
    if (i < raw.size() && (raw[i] == ' ' || raw[i] == '\t')) {
      while (i < raw.size() && (raw[i] == ' ' || raw[i] == '\t')) ++i;
      unfolded += ' ';
    } else {
      unfolded += '\n';
    }
  }
  String decoded(memory_);
  std::string_view text = trim(unfolded);
  if (sluice::spam::has(text, "\n")) {
    String joined(memory_);
    for (const char c : text) {
      if (c != '\n') joined += c;
    }
    decode_header(joined, added.lower_name, decoded);
  } else {
    decode_header(text, added.lower_name, decoded);
  }
  added.value = std::move(decoded);
}

const Field* HeaderList::last(std::string_view lower_name) const {
  for (auto field = fields_.rbegin(); field != fields_.rend(); ++field) {
    if (field->lower_name == lower_name) return &*field;
  }
  return nullptr;
}

}  // namespace sluice::spam
