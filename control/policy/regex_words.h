// What a regex cannot match without: clauses of words. In all that it matches there is at least one
// word of each of its clauses. Finding words costs a fraction of running regexes, so words decide
// which regexes look at an item at all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/policy/regex_tree.h"

namespace sluice::control {

struct RegexWord {
  std::string octets;  // letters in lower case when caseless
  bool caseless = false;
  bool begins_word = false;  // stands at the beginning of a word (\b), ends at the end of one
  bool ends_word = false;
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 misreads the defaulted comparison.
  auto operator<=>(const RegexWord&) const = default;
};
struct RegexClause {
  std::vector<RegexWord> words;
  std::uint32_t least = 1;  // at so many places at least
  double rate = 0;          // an estimate: how often one of them stands at a place of mail text
  // One of them ends so many octets behind the beginning of a match at most; UINT32_MAX: no bound.
  std::uint32_t reach = UINT32_MAX;
};

// The rate of its words and places.
void set_rate(RegexClause& clause);
// Leaves out words that have another in them, and sets the rate.
void finish_clause(RegexClause& clause);

struct WordOptions {
  bool caseless = false;
  // The items are paragraphs: blanks are white space's only form, and a line end their last octet.
  bool paragraphs = false;
};

// The rarest clauses, rarest first, `most` at most; none when every one is too common to help.
std::vector<RegexClause> regex_clauses(const RegexTree& tree, const WordOptions& options,
                                       std::size_t most);

}  // namespace sluice::control
