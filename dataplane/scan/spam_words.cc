#include "dataplane/scan/spam_words.h"

#include <algorithm>
#include <array>

#include "dataplane/contract/policy_image_tables.h"

namespace sluice::scan {

namespace {

// Offsets of parts of a list: from 0 to its size, never falling.
bool is_partition(std::span<const std::uint32_t> first, std::size_t parts, std::size_t size) {
  return first.size() == parts + 1 && first.front() == 0 && first.back() == size &&
         std::is_sorted(first.begin(), first.end());
}

}  // namespace

void SpamWordScratch::reserve(std::size_t most_clauses) {
  clauses.resize(std::max(clauses.size(), most_clauses));
}

Result<SpamWords> SpamWords::load(const contract::image::SpamWords& table, std::size_t tests,
                                  std::size_t regexes) {
  SpamWords words;
  for (const contract::image::SpamReference* reference : *table.candidates()) {
    if (reference->test() >= tests || reference->regex() == 0 || reference->regex() > regexes)
      return Error{"a candidate is out of range"};
    words.candidates_.push_back({reference->test(), reference->regex()});
  }
  words.first_clause_.assign(table.first_clause()->begin(), table.first_clause()->end());
  const std::vector<std::uint32_t> first_word(table.first_word()->begin(),
                                              table.first_word()->end());
  const std::vector<std::uint32_t> clause_words(table.clause_words()->begin(),
                                                table.clause_words()->end());
  words.least_.assign(table.least()->begin(), table.least()->end());
  words.reach_.assign(words.least_.size(), UINT32_MAX);
  if (table.reach() != nullptr) words.reach_.assign(table.reach()->begin(), table.reach()->end());
  if (first_word.empty() || words.least_.size() != first_word.size() - 1 ||
      words.reach_.size() != words.least_.size() ||
      !is_partition(first_word, first_word.size() - 1, clause_words.size()) ||
      !is_partition(words.first_clause_, words.candidates_.size(), first_word.size() - 1)) {
    return Error{"its table of words is broken"};
  }
  const std::uint32_t count = table.texts()->size();
  if (table.text_flags()->size() != count || table.anchors()->size() != count)
    return Error{"its words are broken"};
  for (const std::uint32_t word : clause_words) {
    if (word >= count) return Error{"a word is out of range"};
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!words.finder_.add(table.texts()->Get(i)->string_view(), table.text_flags()->Get(i),
                           table.anchors()->Get(i)))
      return Error{"a word is broken"};
  }
  words.finder_.build();
  std::vector<std::vector<OfWord>> of_word(count);
  for (std::uint32_t c = 0; c < words.candidates_.size(); ++c) {
    const std::uint32_t begin = words.first_clause_[c];
    const std::uint32_t end = words.first_clause_[c + 1];
    if (begin == end) return Error{"a candidate has no clause"};
    for (std::uint32_t clause = begin; clause < end; ++clause) {
      for (std::uint32_t i = first_word[clause]; i < first_word[clause + 1]; ++i) {
        auto& of = of_word[clause_words[i]];
        if (of.empty() || of.back().clause != clause)
          of.push_back({clause, clause == begin ? c : UINT32_MAX});
      }
    }
  }
  words.first_of_word_.push_back(0);
  for (const auto& of : of_word) {
    words.of_word_.insert(words.of_word_.end(), of.begin(), of.end());
    words.first_of_word_.push_back(static_cast<std::uint32_t>(words.of_word_.size()));
  }
  return words;
}

void SpamWords::note(const WordFinder::Hit& hit, SpamWordScratch& scratch) const {
  for (std::uint32_t i = first_of_word_[hit.word]; i < first_of_word_[hit.word + 1]; ++i) {
    SpamWordScratch::OfClause& of = scratch.clauses[of_word_[i].clause];
    if (of.item != scratch.item) {
      of = {scratch.item, 1, hit.end, hit.end};
      if (of_word_[i].candidate != UINT32_MAX) scratch.likely.push_back(of_word_[i].candidate);
      continue;
    }
    ++of.count;
    of.first = std::min(of.first, hit.end);
    of.last = std::max(of.last, hit.end);
  }
}

// Whether each clause has its words, and where a match that has them there begins.
bool SpamWords::complete(std::uint32_t candidate, const SpamWordScratch& scratch,
                         SpamWordScratch::Found& found) const {
  found.from = 0;
  found.to = UINT32_MAX;
  for (std::uint32_t clause = first_clause_[candidate]; clause < first_clause_[candidate + 1];
       ++clause) {
    const SpamWordScratch::OfClause& of = scratch.clauses[clause];
    if (of.item != scratch.item || of.count < least_[clause]) return false;
    if (of.first > reach_[clause]) found.from = std::max(found.from, of.first - reach_[clause]);
    found.to = std::min(found.to, of.last);
  }
  return found.from <= found.to;
}

// The words of the item are noted: which candidates they make.
void SpamWords::end_item(std::uint32_t number, std::uint32_t begin, const std::uint32_t* selector,
                         SpamWordScratch& scratch) const {
  for (const std::uint32_t candidate : scratch.likely) {
    if (selector != nullptr && selectors_[candidate] != *selector) continue;
    SpamWordScratch::Found found{.item = number, .candidate = candidate, .from = 0, .to = 0};
    if (!complete(candidate, scratch, found)) continue;
    found.from -= std::min(found.from, begin);
    found.to -= std::min(found.to, begin);
    scratch.candidates.push_back(found);
  }
  scratch.likely.clear();
  if (++scratch.item == 0) {  // around: the notes of old items go
    std::fill(scratch.clauses.begin(), scratch.clauses.end(), SpamWordScratch::OfClause{});
    scratch.item = 1;
  }
}

void SpamWords::find(std::string_view row, std::span<const std::uint32_t> ends,
                     std::span<const std::uint32_t> selectors, SpamWordScratch& scratch) const {
  scratch.candidates.clear();
  finder_.find(row, scratch.finder);
  std::array<std::span<const WordFinder::Hit>, WordFinder::kKinds> hits;
  for (std::size_t i = 0; i < hits.size(); ++i) hits[i] = scratch.finder.hits(i);
  std::uint32_t begin = 0;
  for (std::uint32_t item = 0; item < ends.size(); begin = ends[item++] + 1) {
    for (auto& of_kind : hits) {
      while (!of_kind.empty() && of_kind.front().at < ends[item]) {
        const WordFinder::Hit& hit = of_kind.front();
        if (hit.begin >= begin && hit.end <= ends[item]) note(hit, scratch);
        of_kind = of_kind.subspan(1);
      }
    }
    end_item(item, begin, selectors.empty() ? nullptr : &selectors[item], scratch);
  }
}

}  // namespace sluice::scan
