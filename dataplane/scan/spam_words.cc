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

void SpamWordScratch::reserve(std::size_t most_words, std::size_t most_candidates) {
  seen.resize(std::max(seen.size(), (most_words + 63) / 64));
  places.resize(std::max(places.size(), most_words));
  words.reserve(std::max(words.capacity(), most_words));
  tried_in.resize(std::max(tried_in.size(), most_candidates));
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
  words.first_word_.assign(table.first_word()->begin(), table.first_word()->end());
  words.clause_words_.assign(table.clause_words()->begin(), table.clause_words()->end());
  words.least_.assign(table.least()->begin(), table.least()->end());
  words.reach_.assign(words.least_.size(), UINT32_MAX);
  if (table.reach() != nullptr) words.reach_.assign(table.reach()->begin(), table.reach()->end());
  if (words.first_word_.empty() || words.least_.size() != words.first_word_.size() - 1 ||
      words.reach_.size() != words.least_.size() ||
      !is_partition(words.first_word_, words.first_word_.size() - 1, words.clause_words_.size()) ||
      !is_partition(words.first_clause_, words.candidates_.size(), words.first_word_.size() - 1)) {
    return Error{"its table of words is broken"};
  }
  const std::uint32_t count = table.texts()->size();
  if (table.text_flags()->size() != count || table.anchors()->size() != count)
    return Error{"its words are broken"};
  for (const std::uint32_t word : words.clause_words_) {
    if (word >= count) return Error{"a word is out of range"};
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!words.finder_.add(table.texts()->Get(i)->string_view(), table.text_flags()->Get(i),
                           table.anchors()->Get(i)))
      return Error{"a word is broken"};
  }
  words.finder_.build();
  std::vector<std::vector<std::uint32_t>> of_word(count);
  for (std::uint32_t c = 0; c < words.candidates_.size(); ++c) {
    const std::uint32_t clause = words.first_clause_[c];
    if (clause == words.first_clause_[c + 1]) return Error{"a candidate has no clause"};
    for (std::uint32_t i = words.first_word_[clause]; i < words.first_word_[clause + 1]; ++i) {
      auto& of = of_word[words.clause_words_[i]];
      if (of.empty() || of.back() != c) of.push_back(c);
    }
  }
  words.first_of_word_.push_back(0);
  for (const auto& of : of_word) {
    words.of_word_.insert(words.of_word_.end(), of.begin(), of.end());
    words.first_of_word_.push_back(static_cast<std::uint32_t>(words.of_word_.size()));
  }
  return words;
}

// Whether each clause has its words, and where a match that has them there begins.
bool SpamWords::complete(std::uint32_t candidate, const SpamWordScratch& scratch,
                         SpamWordScratch::Found& found) const {
  found.from = 0;
  found.to = UINT32_MAX;
  for (std::uint32_t clause = first_clause_[candidate]; clause < first_clause_[candidate + 1];
       ++clause) {
    std::uint32_t count = 0;
    std::uint32_t first = UINT32_MAX;
    std::uint32_t last = 0;
    for (std::uint32_t i = first_word_[clause]; i < first_word_[clause + 1]; ++i) {
      const std::uint32_t word = clause_words_[i];
      if ((scratch.seen[word / 64] >> (word % 64) & 1) == 0) continue;
      const SpamWordScratch::Places& places = scratch.places[word];
      count += places.count;
      first = std::min(first, places.first);
      last = std::max(last, places.last);
    }
    if (count < least_[clause]) return false;
    if (first > reach_[clause]) found.from = std::max(found.from, first - reach_[clause]);
    found.to = std::min(found.to, last);
    if (found.from > found.to) return false;
  }
  return true;
}

// The words of the item are noted: which candidates they make.
void SpamWords::end_item(std::uint32_t number, std::uint32_t begin, const std::uint32_t* selector,
                         SpamWordScratch& scratch) const {
  if (++scratch.item == 0) {  // around: the notes of old items go
    std::fill(scratch.tried_in.begin(), scratch.tried_in.end(), 0);
    scratch.item = 1;
  }
  for (const std::uint32_t word : scratch.words) {
    for (std::uint32_t i = first_of_word_[word]; i < first_of_word_[word + 1]; ++i) {
      const std::uint32_t candidate = of_word_[i];
      if (selector != nullptr && selectors_[candidate] != *selector) continue;
      if (scratch.tried_in[candidate] == scratch.item) continue;
      scratch.tried_in[candidate] = scratch.item;
      SpamWordScratch::Found found{.item = number, .candidate = candidate, .from = 0, .to = 0};
      if (!complete(candidate, scratch, found)) continue;
      found.from -= std::min(found.from, begin);
      found.to -= std::min(found.to, begin);
      scratch.candidates.push_back(found);
    }
  }
  for (const std::uint32_t word : scratch.words) scratch.seen[word / 64] = 0;
  scratch.words.clear();
}

void SpamWords::find(std::string_view row, std::span<const std::uint32_t> ends,
                     std::span<const std::uint32_t> selectors, SpamWordScratch& scratch) const {
  scratch.candidates.clear();
  finder_.find(row, scratch.finder);
  const auto note = [&](const WordFinder::Hit& hit) {
    std::uint64_t& seen = scratch.seen[hit.word / 64];
    const std::uint64_t bit = std::uint64_t{1} << (hit.word % 64);
    SpamWordScratch::Places& places = scratch.places[hit.word];
    if ((seen & bit) == 0) {
      seen |= bit;
      places = {1, hit.end, hit.end};
      scratch.words.push_back(hit.word);
      return;
    }
    ++places.count;
    places.last = hit.end;  // places of a word come in order
  };
  std::array<std::span<const WordFinder::Hit>, WordFinder::kClasses> hits;
  for (std::size_t i = 0; i < hits.size(); ++i) hits[i] = scratch.finder.hits(i);
  std::uint32_t begin = 0;
  for (std::uint32_t item = 0; item < ends.size(); begin = ends[item++] + 1) {
    for (auto& of_class : hits) {
      while (!of_class.empty() && of_class.front().at < ends[item]) {
        const WordFinder::Hit& hit = of_class.front();
        if (hit.begin >= begin && hit.end <= ends[item]) note(hit);
        of_class = of_class.subspan(1);
      }
    }
    if (!scratch.words.empty())
      end_item(item, begin, selectors.empty() ? nullptr : &selectors[item], scratch);
  }
}

}  // namespace sluice::scan
