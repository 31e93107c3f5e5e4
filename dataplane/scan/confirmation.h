// The second look at an item, for what Hyperscan cannot say exactly: contents at negative
// distances, absent contents at a distance, regexes with look-around or back references, and
// regexes relative to such contents.
//
// A chain is a list of steps. The first stands at an absolute place of the item; a relative one
// stands at a distance from the end of the last positive step's match. The chain holds if ends can
// be chosen for all steps. Instead of backtracking (exponential, and the attacker chooses the
// octets) the set of ends that each step can reach is computed from the set before it, as a bitmap
// over the window: linear in window times steps. Regexes run under PCRE2's match limits, from at
// most kRegexTries places of a window.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/base/result.h"

namespace sluice::scan {

// Item octets that are looked at together. A stream is cut into windows of two strides, each one
// stride after the last, so that every match that spans at most one stride lies wholly within a
// window wherever the cuts of the stream fall.
inline constexpr std::size_t kConfirmStride = 8192;
inline constexpr std::size_t kConfirmWindow = 2 * kConfirmStride;
// A block item is confirmed whole up to this; of a longer one the first octets.
inline constexpr std::size_t kConfirmBlock = 65536;
// Room for look-ahead: a regex match that ends nearer to the end of a window that is not the
// item's last waits for the next window.
inline constexpr std::size_t kLookAhead = 256;
inline constexpr int kRegexTries = 64;
inline constexpr std::uint32_t kMatchLimit = 200'000;  // PCRE2 steps of one try

// Options of a regex, as they stand in Step::options of the image.
inline constexpr std::uint32_t kRegexCaseless = 1;
inline constexpr std::uint32_t kRegexMultiline = 2;
inline constexpr std::uint32_t kRegexDotAll = 4;
inline constexpr std::uint32_t kRegexExtended = 8;
inline constexpr std::uint32_t kRegexAnchored = 16;
inline constexpr std::uint32_t kRegexDollarEndOnly = 32;

struct StepSpec {
  std::string literal;  // may hold NUL; lower case if nocase
  std::string regex;    // used when `is_regex`
  bool is_regex = false;
  std::uint32_t options = 0;
  bool nocase = false;
  bool negated = false;
  bool relative = false;
  bool at_end = false;
  std::int32_t offset = 0;   // least start: of the item, or from the end of the last match
  std::int32_t length = -1;  // the match ends within so many octets of `offset`; -1: anywhere
};

// Working memory of confirmations: one for each worker.
class ConfirmScratch {
 public:
  ConfirmScratch();
  ~ConfirmScratch();
  ConfirmScratch(const ConfirmScratch&) = delete;
  ConfirmScratch& operator=(const ConfirmScratch&) = delete;

 private:
  friend class Confirmation;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Confirmation {
 public:
  // Fails when a regex does not compile, with PCRE2's reason and the offset in it.
  // `compiled`: regexes become machine code, which is some KiB each and several times as fast.
  static Result<std::unique_ptr<const Confirmation>> make(std::vector<StepSpec> steps,
                                                          bool compiled = false);
  ~Confirmation();

  // Whether the chain holds in `window`, whose first octet is number `base` of the item. `final`:
  // the window reaches to the item's end. Without it only what later octets cannot change counts.
  bool holds(Bytes window, std::uint64_t base, bool final, ConfirmScratch& scratch) const;
  // Whether something of the chain must be absent.
  bool negates() const;

 private:
  struct Step;
  explicit Confirmation(std::vector<Step> steps);
  std::vector<Step> steps_;
};

}  // namespace sluice::scan
