#include "dataplane/mime/string_escapes.h"

#include <algorithm>
#include <string_view>

#include "dataplane/mime/charset.h"
#include "dataplane/mime/text.h"

namespace sluice::mime {

bool StringEscapes::step(char c) {
  if (size_ == 1) {
    if (c == '/') {
      held_[0] = c;
      ready_ = true;
      return true;
    }
    if (c == '\\') {  // of two the first means the second
      held_[size_++] = c;
      ready_ = true;
      return true;
    }
    if (c != 'x' && c != 'u' && hex_digit(c) < 0) {
      ready_ = true;
      return false;
    }
    held_[size_++] = c;
    return true;
  }
  const char kind = held_[1];
  const std::size_t most = kind == 'x' ? 4 : kind == 'u' ? 6 : 7;
  if (hex_digit(c) >= 0 && size_ < most) {
    held_[size_++] = c;
    if (size_ == most && most < 7) end_escape();
    return true;
  }
  const bool css = most == 7;
  end_escape();
  return css && is_space(c);  // which ends it
}

void StringEscapes::end_escape() {
  ready_ = true;
  if (size_ < 2) return;
  const bool css = hex_digit(held_[1]) >= 0;
  if (!css && size_ != (held_[1] == 'x' ? 4 : 6)) return;
  std::uint32_t code = 0;
  for (std::size_t i = css ? 1 : 2; i < size_; ++i)
    code = code << 4 | static_cast<std::uint32_t>(hex_digit(held_[i]));
  if (code < 0x20 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return;
  std::uint8_t utf8[4];
  size_ = static_cast<std::uint8_t>(encode_utf8(code, utf8));
  std::copy_n(utf8, size_, held_.data());
}

}  // namespace sluice::mime
