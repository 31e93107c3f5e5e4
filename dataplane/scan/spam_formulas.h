// Metas as a message decides them: what they give is mostly asked for as "does it hit".
//
// Theory. Of a test is known that it does not hit, that it does, or nothing yet: two bits, and
// beside them those of its opposite, so that a negated part costs what another does. A meta is a
// formula of "all", "any" and "so many" over such bits. At its beginning stands its gate, the part
// that is there most rarely: mostly the meta is decided by that alone. What only one meta is
// computed from is a part of it. Few metas need numbers; of those that they count ranges are
// known (`counted`).
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

  // What is known before a message: nothing hits, native functions may. By literal.
  std::span<const Known> initial() const { return initial_; }

  // In order: what a meta is decided by stands in front of it. Metas that nobody needs are not
  // there.
  struct Meta {
    std::uint32_t gate;   // a literal: no without it
    std::uint32_t begin;  // in words()
  };
  std::span<const Meta> metas() const { return metas_; }
  // Of a meta kHeadWords (its fact; how many literals), literals of which each decides as the gate
  // does, then steps.
  const std::uint32_t* words(const Meta& meta) const { return words_.data() + meta.begin; }
  static constexpr std::size_t kHeadWords = 2;
  // Index in metas() of a fact that is a meta there.
  std::uint32_t meta_of(std::uint32_t fact) const { return meta_of_[fact]; }

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
  std::vector<Meta> metas_;
  std::vector<std::uint32_t> words_;
  std::vector<std::uint32_t> meta_of_;
  std::vector<Counted> counted_;
  std::vector<std::uint32_t> number_of_;
  std::vector<double> constants_;
};

}  // namespace sluice::scan
