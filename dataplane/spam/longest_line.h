// How long the lines of a message are: `full` tests for a line of so many octets
// (SpamAssassin's __LONGLINE) need no automaton that counts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::spam {

// Octets without CR and LF in a row, behind a LF or at the beginning.
class LongestLine {
 public:
  // Lines shorter than `least` octets do not count; 0: none does.
  explicit LongestLine(std::uint64_t least) : least_(least) {}

  void feed(std::string_view text) {
    if (least_ == 0) return;
    while (!text.empty()) {
      if (octets_ < least_) {
        // Where a line would be long enough: mostly it ends a little before that.
        const std::size_t size = std::min<std::uint64_t>(least_ - octets_, text.size());
        std::size_t at = size;
        while (at > 0 && !ends_line(text[at - 1])) --at;
        if (at > 0) begins_ = text[at - 1] == '\n';
        octets_ = at > 0 ? size - at : octets_ + size;
        text.remove_prefix(size);
        note();
      } else {
        std::size_t size = 0;
        while (size < text.size() && !ends_line(text[size])) ++size;
        octets_ += size;
        text.remove_prefix(size);
        note();
        if (!text.empty()) octets_ = 0;  // what ends it is looked at above
      }
    }
  }
  // Of the longest one that counts, or 0.
  std::uint64_t octets() const { return longest_; }

 private:
  static bool ends_line(char c) { return c == '\r' || c == '\n'; }
  void note() {
    if (begins_ && octets_ >= least_) longest_ = std::max(longest_, octets_);
  }

  std::uint64_t least_;
  std::uint64_t octets_ = 0;  // of the line in progress
  std::uint64_t longest_ = 0;
  bool begins_ = true;  // it stands behind a LF
};

}  // namespace sluice::spam
