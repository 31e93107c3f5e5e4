// Which of SpamAssassin's tests hold, asking only for what decides.
//
// Theory. Most tests are parts of metas, and most metas are decided by few of their parts: what has
// no words in the message is 0, and `A && B` is 0 with A. So a test that could hold is open until
// somebody must know it. What is reported itself is asked for first; then those metas are looked at
// once, in order, of which nothing is missing (scan/spam_formulas.h). One that is reported is
// decided at once: as long as it is open, the cheapest part that it depends on is asked for. What
// is never asked for is never tried. Nothing that is reported depends on the order of asking.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/scan/spam_evals.h"
#include "dataplane/scan/spam_formulas.h"

namespace sluice::scan {

class SpamRules;

// One worker's notes.
struct SpamJudgeScratch {
  // A number is from low to high.
  struct Range {
    double low = 0;
    double high = 0;
  };
  std::vector<Known> known;             // by literal
  std::vector<std::uint8_t> missing;    // as SpamFormulas::missing(), of this message
  std::vector<std::uint64_t> complete;  // metas of which nothing is missing, to be looked at
  std::vector<Range> numbers;           // by SpamFormulas::number_of
  std::vector<double> values;           // by test: when everything is decided
  std::vector<std::uint32_t> opened;    // to be asked for in any case
  std::vector<std::uint32_t> hits;      // what may be reported
  std::vector<std::uint32_t> asking;    // metas, each a part of that before it

  void reserve(const SpamRules& rules);
};

class SpamJudge {
 public:
  // Says how often a test hits that is no meta.
  class Witness {
   public:
    // Beyond `enough` it makes no difference how often.
    virtual double answer(std::uint32_t test, std::uint32_t enough) = 0;
    // What it costs to answer, in octets that a simple regex looks at.
    virtual std::uint32_t cost(std::uint32_t test) const = 0;

   protected:
    ~Witness() = default;
  };

  // `scratch` must be reserved for `rules`. One message at a time; `outbound`: rules that judge the
  // receiving side are 0; `everything`: parts of metas are decided too. Native functions that need
  // nothing are open.
  SpamJudge(const SpamRules& rules, SpamJudgeScratch& scratch, bool outbound, bool everything);

  void set(std::uint32_t test, double value);
  // It hits `least` to `most` times.
  void open(std::uint32_t test, double least, double most);
  // The message has what native functions need.
  void open(SpamNeed need);
  // Decides what is reported. Once.
  void decide(Witness& witness);

  // Behind decide(), in order: the tests that hold; without `everything` those that are reported.
  std::span<const std::uint32_t> hits() const { return scratch_.hits; }
  // With `everything`, of a test that holds.
  double value(std::uint32_t test) const { return scratch_.values[test]; }

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;
  // What is known of a meta or of a part of it; when it is open, the literal of the cheapest fact
  // that would tell more. Its cost is looked up when there are two. `vital`: the meta is no with
  // it.
  struct Found {
    Known known;
    bool vital;
    std::uint32_t ask;
    std::uint32_t cost;
  };
  static constexpr std::uint32_t kUnknownCost = UINT32_MAX;
  static constexpr Found kFoundNo{kNo, false, kNone, kUnknownCost};
  static constexpr Found kFoundYes{kYes, false, kNone, kUnknownCost};
  // A number on the stack of a meta, and the same.
  struct Operand {
    double low;
    double high;
    bool sure;  // it is not 0
    std::uint32_t ask;

    bool fixed() const { return low == high; }
    bool zero() const { return low == 0 && high == 0; }
    // What is no number (NaN) is not 0.
    Known known() const {
      if (zero()) return kNo;
      return sure || fixed() || ask == kNone ? kYes : kOpen;
    }
  };

  bool off(std::uint32_t fact) const {
    return outbound_ && (formulas_.flags(fact) & SpamFormulas::kNotOutbound) != 0;
  }
  void put(std::uint32_t fact, Known known);
  void count_down(std::uint32_t fact);
  void put_number(std::uint32_t test, double low, double high);
  void ask(std::uint32_t test);
  void decide_everything();
  void look_at_metas();
  void decide(std::uint32_t meta);
  Found store(const std::uint32_t* words, std::uint32_t number);
  template <bool kAsks>
  Found look(std::uint32_t meta);
  template <bool kAsks>
  Found sum(const std::uint32_t* words, std::size_t literals) const;
  template <bool kAsks>
  void depend(Found& found, const Found& other) const;
  Operand number(std::span<const std::uint32_t> program) const;
  std::uint32_t cost(std::uint32_t fact) const;

  Operand both(const Operand& a, const Operand& b) const;
  Operand either(const Operand& a, const Operand& b) const;
  static Operand negation(const Operand& a);
  Operand arithmetic(MetaOperation operation, const Operand& a, const Operand& b) const;
  std::uint32_t cheaper(std::uint32_t a, std::uint32_t b) const;

  const SpamRules& rules_;
  const SpamFormulas& formulas_;
  SpamJudgeScratch& scratch_;
  Witness* witness_ = nullptr;
  bool outbound_;
  bool everything_;
};

}  // namespace sluice::scan
