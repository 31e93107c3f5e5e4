// How long a worker that has nothing to do polls before it sleeps.
//
// Theory. A sleep ends with an interrupt to another core, 10 to 20 us that a frame waits. So the
// worker learns from each gap between frames: one that is not longer than kMost would better have
// been polled through, and the window grows to cover it; a longer one halves the window. Traffic of
// more than 500 frames a second is polled for, an idle wire costs kLeast a frame. (As the kernel's
// halt polling of virtual machines does.) Where others need the CPU the window does not grow.
#pragma once

#include <algorithm>

#include "dataplane/base/bytes.h"

namespace sluice::app {

class Patience {
 public:
  static constexpr Nanoseconds kLeast = 200 * kMicrosecond;
  static constexpr Nanoseconds kMost = 2 * kMillisecond;

  // `most`: the longest window, kLeast to kMost.
  explicit Patience(Nanoseconds most = kMost) : most_(most) {}

  // A round that found work, at `now`.
  void worked(Nanoseconds now) {
    if (slept_) {
      const Nanoseconds gap = now - idle_since_;
      window_ =
          gap <= most_ ? std::clamp(gap + gap / 2, window_, most_) : std::max(window_ / 2, kLeast);
    }
    idle_since_ = 0;
    slept_ = false;
  }
  // A round that found none. True when it is time to sleep.
  bool idle(Nanoseconds now) {
    if (idle_since_ == 0) idle_since_ = now;
    if (now - idle_since_ <= window_) return false;
    slept_ = true;
    return true;
  }
  Nanoseconds window() const { return window_; }

 private:
  Nanoseconds most_;
  Nanoseconds window_ = kLeast;
  Nanoseconds idle_since_ = 0;
  bool slept_ = false;
};

}  // namespace sluice::app
