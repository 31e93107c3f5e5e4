// Undoes the backslashes of strings in scripts and style sheets, as far as they hide URLs: `\/`
// (JSON), `\x68` and `\u0068` (ECMAScript), `\68 ` (CSS Syntax 4.3.7). Others stay as they are.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "dataplane/base/bytes.h"

namespace sluice::mime {

class StringEscapes {
 public:
  // Gives what `text` reads to `use(Bytes)`, in pieces; an escape in progress is kept.
  template <typename Use>
  void feed(Bytes text, Use use) {
    while (!text.empty()) {
      if (size_ == 0) {
        const void* const found = std::memchr(text.data(), '\\', text.size());
        const auto* const at = static_cast<const std::uint8_t*>(found);
        const std::size_t plain =
            at != nullptr ? static_cast<std::size_t>(at - text.data()) : text.size();
        if (plain > 0) use(text.first(plain));
        text = text.subspan(plain);
        if (text.empty()) return;
        held_[size_++] = '\\';
        text = text.subspan(1);
        continue;
      }
      const bool taken = step(static_cast<char>(text.front()));
      if (taken) text = text.subspan(1);
      if (ready_) give(use);
    }
  }
  // What is kept is whole.
  template <typename Use>
  void finish(Use use) {
    if (size_ == 0) return;
    end_escape();
    give(use);
  }

 private:
  // The next octet of an escape; false: it is not of it. Sets ready_ at the escape's end.
  bool step(char c);
  void end_escape();
  template <typename Use>
  void give(Use use) {
    use(Bytes(reinterpret_cast<const std::uint8_t*>(held_.data()), size_));
    size_ = 0;
    ready_ = false;
  }

  std::array<char, 8> held_{};  // the longest is a backslash and six digits
  std::uint8_t size_ = 0;
  bool ready_ = false;  // held_ is what it reads
};

}  // namespace sluice::mime
