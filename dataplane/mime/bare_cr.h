// A CR that no LF follows ends a line to most mail programs (Thunderbird, Python) and none to SMTP
// servers: the other reading's octets, in which it is a LF. CRs before a LF stay with it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "dataplane/base/bytes.h"

namespace sluice::mime {

class BareCr {
 public:
  // Gives `take` the octets in pieces; CRs at the end wait for what follows.
  template <typename Take>
  void feed(Bytes in, Take&& take) {
    if (in.empty()) return;
    const std::uint8_t* p = in.data();
    const std::uint8_t* const end = p + in.size();
    while (held_ > 0) {
      if (p == end) return;
      if (*p == '\r') {
        ++held_;
        ++p;
      } else {
        release(*p == '\n' ? '\r' : '\n', take);
      }
    }
    const std::uint8_t* run = p;
    while (p < end) {
      p = static_cast<const std::uint8_t*>(std::memchr(p, '\r', static_cast<std::size_t>(end - p)));
      if (p == nullptr) p = end;
      const std::uint8_t* const first = p;
      while (p < end && *p == '\r') ++p;
      if (p == first || (p < end && *p == '\n')) continue;
      if (first > run) take(Bytes{run, first});
      held_ = static_cast<std::uint64_t>(p - first);
      run = p;
      if (p < end) release('\n', take);
    }
    if (end > run) take(Bytes{run, end});
  }
  template <typename Take>
  void finish(Take&& take) {
    release('\n', take);
  }

 private:
  template <typename Take>
  void release(char c, Take&& take) {
    std::uint8_t octets[64];
    std::memset(octets, c, sizeof octets);
    while (held_ > 0) {
      const std::size_t size = std::min<std::uint64_t>(held_, sizeof octets);
      held_ -= size;
      take(Bytes{octets, size});
    }
  }

  std::uint64_t held_ = 0;
};

}  // namespace sluice::mime
