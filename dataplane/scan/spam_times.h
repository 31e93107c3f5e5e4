// Where the time of a message goes, for benches and `rules test`. The core has no clock: who wants
// times brings one, and without one a scan asks for none.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::scan {

// `scan_*` and `confirm_*` stand in the order of SpamBuffer.
enum class SpamGroup : std::uint8_t {
  parts,               // header fields, MIME parts, transfer encodings, character sets
  html,                // what a reader sees of HTML
  values,              // header values by selector
  relays,              // Received fields
  urls,                // found in the text and in HTML
  text,                // paragraphs
  eval,                // native functions
  meta,                // metas and the score
  full,                // the message as a stream
  other,               // what is not SpamAssassin's
  scan,                // Hyperscan: first of kSpamBufferCount
  confirm = scan + 7,  // PCRE2's second looks: first of kSpamBufferCount
  count = confirm + 7,
};
inline constexpr std::size_t kSpamGroupCount = static_cast<std::size_t>(SpamGroup::count);
inline constexpr std::array<std::string_view, kSpamGroupCount> kSpamGroupNames = {
    "parts",
    "HTML",
    "header values",
    "relays",
    "URLs",
    "paragraphs",
    "evals",
    "metas",
    "full",
    "everything else",
    "scan body",
    "scan rawbody",
    "scan uri",
    "scan header",
    "scan ALL",
    "scan relays",
    "scan mimeheader",
    "confirm body",
    "confirm rawbody",
    "confirm uri",
    "confirm header",
    "confirm ALL",
    "confirm relays",
    "confirm mimeheader"};

class SpamTimes {
 public:
  using Clock = std::uint64_t (*)();
  struct OfTest {
    std::uint64_t spent = 0;
    std::uint64_t tries = 0;
  };
  // The unit of all times is the clock's.
  explicit SpamTimes(Clock clock) : clock_(clock) {}

  // A message begins: until a group is entered the time is that of `group`.
  void begin(SpamGroup group) {
    group_ = group;
    since_ = clock_();
  }
  // It has ended.
  void end() { enter(group_); }
  // From now on the time is that of `group`; gives the group until now.
  SpamGroup enter(SpamGroup group) {
    const std::uint64_t now = clock_();
    by_group_[static_cast<std::size_t>(group_)] += now - since_;
    since_ = now;
    return std::exchange(group_, group);
  }
  std::uint64_t now() const { return clock_(); }
  void charge_test(std::uint32_t test, std::uint64_t spent) {
    if (test >= by_test_.size()) by_test_.resize(test + 1);
    by_test_[test].spent += spent;
    ++by_test_[test].tries;
  }

  const std::array<std::uint64_t, kSpamGroupCount>& by_group() const { return by_group_; }
  // Second looks and native functions, by test; as far as there were some.
  const std::vector<OfTest>& by_test() const { return by_test_; }

 private:
  Clock clock_;
  std::uint64_t since_ = 0;
  SpamGroup group_ = SpamGroup::other;
  std::array<std::uint64_t, kSpamGroupCount> by_group_{};
  std::vector<OfTest> by_test_;
};

// The time of a scope, without that of scopes inside it. `times` may be nullptr.
class SpamTimer {
 public:
  SpamTimer(SpamTimes* times, SpamGroup group, std::size_t buffer = 0) : times_(times) {
    if (times_ == nullptr) return;
    outer_ = times_->enter(static_cast<SpamGroup>(static_cast<std::size_t>(group) + buffer));
  }
  ~SpamTimer() {
    if (times_ != nullptr) times_->enter(outer_);
  }
  SpamTimer(const SpamTimer&) = delete;
  SpamTimer& operator=(const SpamTimer&) = delete;

 private:
  SpamTimes* times_;
  SpamGroup outer_ = SpamGroup::other;
};

}  // namespace sluice::scan
