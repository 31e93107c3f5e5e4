// Which form a Received field has (received_forms.h).
//
// Theory. Of a hundred forms one fits, so most must be left out without trying them: each needs
// some groups of three octets, the rarest of which among the forms have a bit; one pass over the
// field says which of them it has. What is left is tried in order: forms of literals, words and
// addresses by a small matcher that backtracks as PCRE2 does, the others by PCRE2.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/scan/regex.h"

namespace sluice::spam {

// Groups of three octets that a text has, of those that somebody asks for; in any case.
class Trigrams {
 public:
  static constexpr std::size_t kMost = 192;
  using Bits = std::array<std::uint64_t, kMost / 64>;

  // Asks for one, whose bit is added, unless there are too many. Only before the first text.
  void ask(std::string_view three, Bits& bits);
  // Which of them `text` has, and perhaps some that it has not.
  Bits of(std::string_view text) const;
  static bool has_all(const Bits& have, const Bits& needed) {
    return ((needed[0] & ~have[0]) | (needed[1] & ~have[1]) | (needed[2] & ~have[2])) == 0;
  }

 private:
  static std::uint32_t slot(std::uint32_t three) {
    return (three | 0x202020) * 0x3779b100u >> 20;  // a fourth octet falls out at the top
  }
  std::array<std::uint8_t, 4096> number_{};  // by slot; 0: nobody asks
  std::uint8_t count_ = 0;
};

class ReceivedMatcher {
 public:
  ReceivedMatcher();

  static constexpr std::size_t kGroups = 6;
  using Groups = std::array<std::string_view, kGroups>;
  // The fields of the first form (ReceivedForm::fields) that `text`, what stands behind "from ",
  // has, and its groups; nullptr when it has none. `have`: of the text or a longer one.
  const std::string_view* find(std::string_view text, const Trigrams::Bits& have,
                               scan::RegexScratch& scratch, Groups& groups) const;
  Trigrams& trigrams() { return trigrams_; }
  const Trigrams& trigrams() const { return trigrams_; }

  // A pattern of literals, \S+, \S*, .*, .*?, %I, $, octets that may be missing and (?!...), from
  // the beginning of the text; white space in the text is single blanks.
  class Simple {
   public:
    enum class Answer : std::uint8_t { no, yes, unknown };
    static std::optional<Simple> read(std::string_view pattern);
    // `unknown`: something may be an IPv6 address, or so much must be tried that it is left to
    // PCRE2 and its limits: two words of thousands of octets would be quadratic.
    Answer match(std::string_view text, Groups& groups) const;

   private:
    enum class Kind : std::uint8_t { literal, maybe, word, any, any_lazy, address, end, not_here };
    struct Step {
      Kind kind = Kind::literal;
      std::uint8_t group = 0;
      std::uint16_t least = 0;  // of a word; of not_here: its steps
      std::string literal;
    };
    struct State;
    bool parse(std::string_view pattern);
    bool run(std::size_t step, std::size_t end, std::size_t at, State& state) const;
    std::vector<Step> steps_;
  };

 private:
  // What a form's regex has at its beginning, or behind the first blank: most forms differ there.
  struct Head {
    explicit Head(std::string_view pattern);
    bool fits(std::string_view text, std::size_t blank) const;
    bool second = false;
    std::string literal;
  };
  struct Form {
    std::string_view guard;
    Head head;
    std::optional<Simple> simple;
    scan::Regex regex;
    std::string_view fields;
  };
  std::vector<Form> forms_;
  std::vector<Trigrams::Bits> needed_;  // by form
  Trigrams trigrams_;
};

}  // namespace sluice::spam
