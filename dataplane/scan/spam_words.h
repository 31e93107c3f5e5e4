// Which regexes are worth trying on an item: those of which all clauses have a word in it.
//
// Theory. A regex with usual text in it cannot match without certain words (the compiler finds
// them, control/policy/regex_words.h). One Hyperscan pass over items in a row finds all words; a
// candidate, that is a test and its regex, is worth trying on an item when each of its clauses has
// at least one of its words there. Its first clause is its rarest: only words of first clauses lead
// to candidates, the others are looked up. Immutable; what a scan notes is in its worker's
// SpamWordScratch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/scan/ruleset.h"

struct hs_scratch;

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
  };
  std::vector<std::uint64_t> hits;      // the item in the upper half, the word in the lower
  std::vector<std::uint64_t> seen;      // a bit a word
  std::vector<std::uint8_t> places;     // by word: how many, of those that are set
  std::vector<std::uint32_t> words;     // those that are set
  std::vector<std::uint32_t> tried_in;  // by candidate: the item that it was looked at in last
  std::vector<Found> candidates;        // of the row
  std::uint32_t item = 0;

  void reserve(std::size_t words, std::size_t candidates);
};

class SpamWords {
 public:
  // Checks the table; `tests` and `regexes`: how many there are.
  static Result<SpamWords> load(const contract::image::SpamWords& table, std::size_t tests,
                                std::size_t regexes);

  bool empty() const { return compiled_ == nullptr; }
  const hs_database* database() const { return compiled_.get(); }
  std::size_t words() const { return first_of_word_.empty() ? 0 : first_of_word_.size() - 1; }
  std::size_t size() const { return size_; }
  std::span<const SpamReference> candidates() const { return candidates_; }

  // The candidates of the items that stand in `row` with a line end between them and end at `ends`.
  // Each once an item, in scratch.candidates. False when Hyperscan failed.
  bool find(std::string_view row, std::span<const std::uint32_t> ends, SpamWordScratch& scratch,
            hs_scratch* hyperscan) const;

 private:
  void end_item(std::uint32_t item, SpamWordScratch& scratch) const;
  bool complete(std::uint32_t candidate, const SpamWordScratch& scratch) const;

  std::unique_ptr<hs_database, DatabaseDeleter> compiled_;
  std::vector<SpamReference> candidates_;
  std::vector<std::uint32_t> first_clause_;  // by candidate
  std::vector<std::uint32_t> first_word_;    // by clause
  std::vector<std::uint32_t> clause_words_;
  std::vector<std::uint8_t> least_;           // by clause
  std::vector<std::uint32_t> first_of_word_;  // by word: candidates that it leads to
  std::vector<std::uint32_t> of_word_;
  std::size_t size_ = 0;
};

}  // namespace sluice::scan
