// A regex in Perl's language over whole, bounded items (PCRE2, just-in-time compiled). Runs under
// limits, because who sends the octets may choose them to make it backtrack.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "dataplane/base/result.h"
#include "dataplane/scan/confirmation.h"

namespace sluice::scan {

// Working memory of matches: one for each worker.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

 private:
  friend class Regex;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Regex {
 public:
  // `options`: kRegex*. Fails with PCRE2's reason and the offset in the pattern.
  static Result<Regex> make(std::string_view pattern, std::uint32_t options);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  static constexpr int kMaxGroups = 8;
  struct Match {
    std::size_t begin[kMaxGroups];
    std::size_t end[kMaxGroups];  // npos: the group took no part
    std::string_view group(std::string_view subject, int n) const {
      if (end[n] == std::string_view::npos || begin[n] > end[n]) return {};
      return subject.substr(begin[n], end[n] - begin[n]);
    }
    bool has(int n) const { return end[n] != std::string_view::npos; }
  };

  // Octets of the shortest text that it matches, at least.
  std::uint32_t least() const { return least_; }
  // What an octet costs, about, in units of a simple regex.
  std::uint32_t weight() const { return weight_; }

  // It matches one octet of `octets` (below 128) and nothing else, in subjects of octets below 128.
  void set_octets(std::span<const std::uint8_t> octets);

  static constexpr std::uint32_t kNoLimit = UINT32_MAX;
  // Whether a match in `subject` begins somewhere from `from` to `to`. Over a limit none does.
  bool find(std::string_view subject, RegexScratch& scratch, Match* match = nullptr,
            std::size_t from = 0, std::uint32_t to = kNoLimit) const;
  // Matches that do not overlap, as Perl's /g finds them; stops at `most`. No match begins before
  // `from` or behind `to`.
  std::uint32_t count(std::string_view subject, RegexScratch& scratch, std::uint32_t most,
                      std::size_t from = 0, std::uint32_t to = kNoLimit) const;

 private:
  struct Impl;
  explicit Regex(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
  // Asked for more often than the rest, which is elsewhere in memory.
  std::uint32_t least_ = 0;
  std::uint32_t weight_ = 1;
};

}  // namespace sluice::scan
