// Metas as a message decides them: what they give is mostly asked for as "does it hit".
//
// Theory. Of a test is known that it does not hit, that it does, or nothing yet: two bits, and
// beside them those of its opposite, so that a negated part costs what another does. A meta is a
// formula of "all", "any" and "so many" over such bits. What only one meta is computed from is a
// part of it. Few metas need numbers; of those that they count ranges are known (`counted`).
//
// Before a message nothing hits, and mostly that decides a meta: of the parts that must all hold
// some are no then. How many of them are is counted down by each fact that is no longer no (its
// watches), and the meta is looked at only when none is left. So what a message costs depends on
// what its tests found, not on how many metas there are.
//
// The formulas say the same as the expressions (evaluate_meta()), which tests compare.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "dataplane/scan/spam_meta.h"

namespace sluice::scan {

struct SpamTest;

// What is known, in bits: it may be more than 0; it certainly is.
using Known = std::uint8_t;
inline constexpr Known kNo = 0;
inline constexpr Known kOpen = 1;
inline constexpr Known kYes = 3;
constexpr Known opposite(Known known) {
  return known == kOpen ? kOpen : static_cast<Known>(kYes - known);
}

// How often, of messages: it may hit before anything was asked; it certainly does. For an order
// only.
struct Likely {
  double open = 0;
  double yes = 0;
};

class SpamFormulas {
 public:
  // `tests`: checked (scan/spam_rules.h). `likely`: of a test that is no meta.
  static SpamFormulas make(std::span<const SpamTest> tests, std::span<const double> numbers,
                           const std::function<Likely(std::uint32_t)>& likely);

  // A fact is a test or, behind all tests, a part that has no name. Its place in the row of what
  // is known, two octets each: itself and its opposite.
  static constexpr std::uint32_t literal(std::uint32_t fact, bool opposite = false) {
    return 2 * fact + (opposite ? 1 : 0);
  }
  std::size_t facts() const { return flags_.size(); }

  static constexpr std::uint8_t kReported = 1;
  static constexpr std::uint8_t kMeta = 2;
  static constexpr std::uint8_t kCounted = 4;      // counted(fact) is its number
  static constexpr std::uint8_t kNotOutbound = 8;  // off for mail that leaves
  static constexpr std::uint8_t kUsed = 16;        // by metas
  std::uint8_t flags(std::uint32_t fact) const { return flags_[fact]; }

  // What is known before a message: nothing hits; native functions that need nothing may, when they
  // are parts only. By literal.
  std::span<const Known> initial() const { return initial_; }

  // In order: what a meta is decided by stands in front of it. Metas that nobody needs are not
  // there.
  std::size_t metas() const { return metas_.size(); }
  // Of a meta kHeadWords (its fact; how many literals), literals that must all hold, then steps.
  const std::uint32_t* words(std::uint32_t meta) const { return words_.data() + metas_[meta]; }
  static constexpr std::size_t kHeadWords = 2;
  // Index, below metas(), of a fact that is a meta there.
  std::uint32_t meta_of(std::uint32_t fact) const { return meta_of_[fact]; }

  // What is no of each meta, and behind these of parts of metas, before a message: of a part so
  // many watches must have counted it down until it no longer is.
  std::span<const std::uint8_t> missing() const { return missing_; }
  // The counts that a fact, which is no before a message, counts down when it no longer is.
  std::span<const std::uint32_t> watches(std::uint32_t fact) const {
    return {watches_.data() + first_watch_[fact], watches_.data() + first_watch_[fact + 1]};
  }
  // The meta that a part is of; `count`: from metas() on.
  std::uint32_t meta_of_part(std::uint32_t count) const {
    return meta_of_part_[count - metas_.size()];
  }
  // A bit for each meta of which nothing is missing from the beginning.
  std::span<const std::uint64_t> complete() const { return complete_; }

  // Words of `step << 24 | operand`, on a stack of kMetaStack. At its bottom stands the whole.
  enum class Step : std::uint8_t {
    end,
    one_of,   // whole = whole and any of `operand` literals, which follow
    yes,      // push
    no,       // push
    all,      // top = top and all of them
    any,      // top = top or any of them
    both,     // pop into the one below
    either,   // pop
    sum,      // push whether `least` to `most` of what follows hit: kSumWords, literals, counted
    not_sum,  // whether not
    value,    // push whether a program is not 0; `operand` words of it follow
    not_value,
    store,  // `operand`: the number that the program, which follows, gives, is that of this meta
  };
  static constexpr std::size_t kSumWords = 3;  // how many are counted; least; most (kNoEnd: any)
  static constexpr std::uint32_t kNoEnd = UINT32_MAX;
  static constexpr std::uint32_t word(Step step, std::size_t operand = 0) {
    return static_cast<std::uint32_t>(step) << 24 | static_cast<std::uint32_t>(operand);
  }

  // Numbers: which fact has one, and from where on more hits make no difference.
  struct Counted {
    std::uint32_t fact;
    std::uint32_t enough;
  };
  std::span<const Counted> counted() const { return counted_; }
  std::uint32_t number_of(std::uint32_t fact) const { return number_of_[fact]; }
  double constant(std::uint32_t index) const { return constants_[index]; }

 private:
  friend class SpamFormulasMaker;

  std::vector<std::uint8_t> flags_;
  std::vector<Known> initial_;
  std::vector<std::uint32_t> metas_;  // where their words begin
  std::vector<std::uint32_t> words_;
  std::vector<std::uint32_t> meta_of_;
  std::vector<std::uint8_t> missing_;
  std::vector<std::uint32_t> meta_of_part_;
  std::vector<std::uint32_t> first_watch_;
  std::vector<std::uint32_t> watches_;
  std::vector<std::uint64_t> complete_;
  std::vector<Counted> counted_;
  std::vector<std::uint32_t> number_of_;
  std::vector<double> constants_;
};

}  // namespace sluice::scan
