// Which regexes are worth trying on an item: those of which all clauses have a word in it.
//
// Theory. A regex with usual text in it cannot match without certain words (the compiler finds
// them, control/policy/regex_words.h). One pass over items in a row finds all words; a
// candidate, that is a test and its regex, is worth trying on an item when each of its clauses has
// at least one of its words there, and a match can begin only so far in front of them. Its first
// clause is its rarest: only words of first clauses lead to candidates, the others are looked up.
// Immutable; what a scan notes is in its worker's SpamWordScratch.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/scan/word_finder.h"

namespace sluice::contract::image {
struct SpamWords;
}

namespace sluice::scan {

struct SpamReference {
  std::uint32_t test = 0;
  std::uint32_t regex = 0;  // 1 + index, or 0: Hyperscan's hit is exact
};

// One worker's notes, for the largest of its databases.
struct SpamWordScratch {
  struct Found {
    std::uint32_t item;
    std::uint32_t candidate;
    // A match begins in the item's octets from `from` to `to`.
    std::uint32_t from;
    std::uint32_t to;
  };
  // Words of a clause in an item.
  struct OfClause {
    std::uint32_t item;   // by SpamWordScratch::item; of others nothing stands there
    std::uint32_t count;  // places
    std::uint32_t first;  // where a word ends in the row
    std::uint32_t last;
  };
  WordFinder::Work finder;
  std::vector<OfClause> clauses;
  std::vector<std::uint32_t> likely;  // candidates with a word of their first clause in the item
  std::vector<Found> candidates;      // of the row
  std::uint32_t item = 1;             // a number of its own

  void reserve(std::size_t most_clauses);
};

class SpamWords {
 public:
  // Checks the table; `tests` and `regexes`: how many there are.
  static Result<SpamWords> load(const contract::image::SpamWords& table, std::size_t tests,
                                std::size_t regexes);

  bool empty() const { return finder_.empty(); }
  std::size_t words() const { return finder_.size(); }
  std::size_t clauses() const { return least_.size(); }
  std::size_t size() const { return finder_.memory_used(); }
  std::span<const SpamReference> candidates() const { return candidates_; }
  // Of each candidate's test: it is looked at in items of that selector only.
  void set_selectors(std::vector<std::uint32_t> selectors) { selectors_ = std::move(selectors); }

  // The candidates of the items that stand in `row` with a line end between them and end at `ends`.
  // Each once an item, in scratch.candidates. `selectors`: of the items, or none.
  void find(std::string_view row, std::span<const std::uint32_t> ends,
            std::span<const std::uint32_t> selectors, SpamWordScratch& scratch) const;

 private:
  void note(const WordFinder::Hit& hit, SpamWordScratch& scratch) const;
  void end_item(std::uint32_t item, std::uint32_t begin, const std::uint32_t* selector,
                SpamWordScratch& scratch) const;
  bool complete(std::uint32_t candidate, const SpamWordScratch& scratch,
                SpamWordScratch::Found& found) const;

  // A clause that a word is in.
  struct OfWord {
    std::uint32_t clause;
    std::uint32_t candidate;  // of which it is the first; UINT32_MAX: another one
  };
  WordFinder finder_;
  std::vector<SpamReference> candidates_;
  std::vector<std::uint32_t> selectors_;      // by candidate
  std::vector<std::uint32_t> first_clause_;   // by candidate
  std::vector<std::uint8_t> least_;           // by clause
  std::vector<std::uint32_t> reach_;          // by clause
  std::vector<std::uint32_t> first_of_word_;  // by word
  std::vector<OfWord> of_word_;
};

}  // namespace sluice::scan
