#include "dataplane/mime/uu_filter.h"

#include <algorithm>

#include "dataplane/mime/find_octet.h"
#include "dataplane/mime/text.h"
#include "dataplane/mime/transfer.h"

namespace sluice::mime {
namespace {

constexpr std::string_view kBegin = "begin ";
constexpr std::size_t kMaxBeginLine = 320;
constexpr std::size_t kMaxCodedLine = 256;

std::string_view without_line_end(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace

std::string_view UuFilter::second_line() const {
  return std::string_view(held_).substr(first_size_);
}

// What is held is text after all.
void UuFilter::release() {
  if (!held_.empty()) sink_.on_uu_text(as_bytes(held_));
  held_.clear();
  first_size_ = 0;
}

void UuFilter::decode(std::string_view text) {
  std::uint8_t out[72];
  const std::size_t size = uudecode_line(text, out);
  if (size > 0) sink_.on_uu_data({out, size});
}

// The line that is held ends; `complete` with a line feed.
void UuFilter::line(bool complete) {
  if (state_ == State::begin_line) {
    if (complete && !uu_begin_name(without_line_end(second_line())).empty()) {
      first_size_ = static_cast<std::uint16_t>(held_.size());
      state_ = State::confirm;
    } else {
      state_ = State::line_start;
      release();
    }
    return;
  }
  const std::string_view text = without_line_end(second_line());
  if (state_ == State::confirm) {
    if (is_uuencoded_line(text, true)) {
      sink_.on_uu_begin(uu_begin_name(without_line_end({held_.data(), first_size_})));
      decode(text);
      held_.clear();
      first_size_ = 0;
      state_ = State::inside;
      return;
    }
    // The second line may be a begin line of its own.
    sink_.on_uu_text(as_bytes({held_.data(), first_size_}));
    held_.erase(0, first_size_);
    first_size_ = 0;
    state_ = State::begin_line;
    return line(complete);
  }
  // inside
  if (trim(text) == "end") {
    sink_.on_uu_end();
    held_.clear();
    state_ = State::line_start;
  } else if (is_uuencoded_line(text, false)) {
    decode(text);
    held_.clear();
  } else {
    sink_.on_uu_end();
    state_ = State::begin_line;
    line(complete);
  }
}

// Adds to the held line; false when it cannot be what it was held for.
bool UuFilter::push(char c) {
  held_.push_back(c);
  const std::size_t length = second_line().size();
  switch (state_) {
    case State::begin_line:
      return length > kBegin.size() ? length < kMaxBeginLine : c == kBegin[length - 1];
    case State::confirm:
      return length < kMaxCodedLine;
    default:
      return length < kMaxCodedLine;
  }
}

void UuFilter::feed(Bytes text) {
  const char* p = as_text(text).data();
  const char* const end = p + text.size();
  const char* run = p;
  const auto flush = [&](const char* to) {
    if (to > run) sink_.on_uu_text(as_bytes({run, static_cast<std::size_t>(to - run)}));
  };
  while (p < end) {
    if (state_ == State::line_start) {
      if (*p == 'b') {
        flush(p);
        state_ = State::begin_line;
      } else {
        state_ = State::in_line;
      }
      continue;
    }
    if (state_ == State::in_line) {
      // Lines that begin with another letter are nothing, and most do.
      p = find_pair<'\n', 'b'>(p, end);
      if (p == end) {
        if (end[-1] == '\n') state_ = State::line_start;
        break;
      }
      ++p;
      state_ = State::line_start;
      continue;
    }
    const char c = *p++;
    const bool fits = push(c);
    if (c == '\n') {
      line(true);
    } else if (!fits) {
      if (state_ == State::inside) sink_.on_uu_end();
      state_ = State::in_line;
      release();
    }
    run = p;
  }
  if (state_ == State::line_start || state_ == State::in_line) flush(end);
}

void UuFilter::finish() {
  if (state_ == State::confirm || (state_ == State::inside && !held_.empty())) line(false);
  if (state_ == State::inside) sink_.on_uu_end();
  state_ = State::line_start;
  release();
}

}  // namespace sluice::mime
