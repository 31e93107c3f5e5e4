// Which of SpamAssassin's tests hold, asking only for what decides.
//
// Theory. Most tests are parts of metas, and most metas are decided by few of their parts: what has
// no words in the message is 0, and `A && B` is 0 with A. So a test that could hold is open, a
// range of values, until somebody must know it. Metas are computed over ranges; while one that
// counts is not decided, the cheapest part that its value depends on is asked for. What is never
// asked for is never tried. Nothing that is reported depends on the order of asking.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace sluice::scan {

class SpamRules;

// One worker's notes.
struct SpamJudgeScratch {
  // What is known of a test: its value is from low to high.
  struct Range {
    double low = 0;
    double high = 0;
    std::uint32_t cost = 0;  // of asking; octets, about
    bool open = false;       // low to high is all that is known
    bool touched = false;
  };
  std::vector<Range> tests;
  std::vector<std::uint32_t> touched;  // what is not as when nothing hits
  std::vector<std::uint64_t> dirty;    // a bit a test: metas to compute
  std::vector<std::uint64_t> sure;     // a bit a test: it is not 0
  std::vector<std::uint64_t> maybe;    // a bit a test: it may be more than 0
  std::vector<std::uint32_t> asking;

  void reserve(const SpamRules& rules);
  void reset(std::uint32_t test, double baseline);
  bool may_be(std::uint32_t test) const { return (maybe[test / 64] >> (test % 64) & 1) != 0; }
  bool is_sure(std::uint32_t test) const { return (sure[test / 64] >> (test % 64) & 1) != 0; }
  static void set_bit(std::vector<std::uint64_t>& bits, std::uint32_t at, bool value) {
    const std::uint64_t bit = std::uint64_t{1} << (at % 64);
    bits[at / 64] = (bits[at / 64] & ~bit) | (value ? bit : 0);
  }
};

class SpamJudge {
 public:
  // Says how often a test hit that is no meta.
  class Witness {
   public:
    virtual double answer(std::uint32_t test) = 0;

   protected:
    ~Witness() = default;
  };

  // `scratch` must be reserved for `rules`. One message at a time; `outbound`: rules that judge the
  // receiving side are 0.
  SpamJudge(const SpamRules& rules, SpamJudgeScratch& scratch, bool outbound);

  void set(std::uint32_t test, double value);
  // It hits `least` to `most` times.
  void open(std::uint32_t test, double least, double most, std::uint32_t cost);
  // Decides what is reported, or with `everything` parts of metas too.
  void decide(Witness& witness, bool everything);

  // Behind decide(), in order: the tests that hold; parts of metas as far as they are decided.
  template <typename Visit>
  void for_each(Visit visit) const {
    for (std::size_t word = 0; word < scratch_.sure.size(); ++word) {
      for (std::uint64_t bits = scratch_.sure[word]; bits != 0; bits &= bits - 1)
        visit(static_cast<std::uint32_t>(word * 64 +
                                         static_cast<std::size_t>(std::countr_zero(bits))));
    }
  }
  double value(std::uint32_t test) const {
    return scratch_.tests[test].open ? 0 : scratch_.tests[test].high;
  }

 private:
  using Range = SpamJudgeScratch::Range;
  static constexpr std::uint32_t kNone = UINT32_MAX;
  // A value on the stack of a meta, and the cheapest test that would tell more of it.
  struct Operand {
    double low;
    double high;
    bool sure;
    std::uint32_t ask;

    bool known() const { return low == high; }
    bool zero() const { return low == 0 && high == 0; }
  };
  bool off(std::uint32_t test) const { return outbound_ && rules_off(test); }
  bool rules_off(std::uint32_t test) const;
  // Its range is another from now on.
  void put(std::uint32_t test, const Range& range, bool sure);
  void note(std::uint32_t meta, const Operand& found);
  Operand compute(std::uint32_t meta) const;
  Operand both(const Operand& a, const Operand& b) const;
  Operand either(const Operand& a, const Operand& b) const;
  static Operand negation(const Operand& a);
  Operand arithmetic(std::uint32_t operation, const Operand& a, const Operand& b) const;
  std::uint32_t cheaper(std::uint32_t a, std::uint32_t b) const;
  void mark_dependents(std::uint32_t test);
  void ask(std::uint32_t test, Witness& witness, bool exactly);

  const SpamRules& rules_;
  SpamJudgeScratch& scratch_;
  bool outbound_;
};

}  // namespace sluice::scan
