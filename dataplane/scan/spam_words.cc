#include "dataplane/scan/spam_words.h"

#include <hs_runtime.h>

#include <algorithm>
#include <limits>

#include "dataplane/contract/policy_image_tables.h"

namespace sluice::scan {

namespace {

// Offsets of parts of a list: from 0 to its size, never falling.
bool is_partition(std::span<const std::uint32_t> first, std::size_t parts, std::size_t size) {
  return first.size() == parts + 1 && first.front() == 0 && first.back() == size &&
         std::is_sorted(first.begin(), first.end());
}

// Where matches of a row belong.
struct Row {
  std::span<const std::uint32_t> ends;
  std::vector<std::uint64_t>& hits;
  std::uint32_t item;
  bool in_order;
};

int on_word(unsigned word, unsigned long long, unsigned long long to, unsigned, void* context) {
  Row& row = *static_cast<Row*>(context);
  while (row.item + 1 < row.ends.size() && to > row.ends[row.item]) ++row.item;
  // Hyperscan reports matches in the order of their ends; nothing here depends on it.
  if (row.item > 0 && to <= row.ends[row.item - 1]) {
    row.in_order = false;
    row.item =
        static_cast<std::uint32_t>(std::ranges::lower_bound(row.ends, to) - row.ends.begin());
  }
  row.hits.push_back(std::uint64_t{row.item} << 32 | word);
  return 0;
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
  if (words.first_word_.empty() || words.least_.size() != words.first_word_.size() - 1 ||
      !is_partition(words.first_word_, words.first_word_.size() - 1, words.clause_words_.size()) ||
      !is_partition(words.first_clause_, words.candidates_.size(), words.first_word_.size() - 1)) {
    return Error{"its table of words is broken"};
  }
  const std::uint32_t count = table.words();
  for (const std::uint32_t word : words.clause_words_) {
    if (word >= count) return Error{"a word is out of range"};
  }
  if (count > 0) {
    hs_database_t* compiled = nullptr;
    if (hs_deserialize_database(reinterpret_cast<const char*>(table.serialized()->data()),
                                table.serialized()->size(), &compiled) != HS_SUCCESS) {
      return Error{"damaged, or for another CPU or Hyperscan"};
    }
    words.compiled_.reset(compiled);
    std::size_t stream = 0;
    if (hs_stream_size(compiled, &stream) == HS_SUCCESS) return Error{"of the wrong mode"};
    hs_database_size(compiled, &words.size_);
  }
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

bool SpamWords::complete(std::uint32_t candidate, const SpamWordScratch& scratch) const {
  for (std::uint32_t clause = first_clause_[candidate]; clause < first_clause_[candidate + 1];
       ++clause) {
    const unsigned least = least_[clause];
    // A word of the first clause has led here.
    if (clause == first_clause_[candidate] && least == 1) continue;
    unsigned places = 0;
    for (std::uint32_t i = first_word_[clause]; i < first_word_[clause + 1] && places < least;
         ++i) {
      const std::uint32_t word = clause_words_[i];
      if ((scratch.seen[word / 64] >> (word % 64) & 1) != 0) places += scratch.places[word];
    }
    if (places < least) return false;
  }
  return true;
}

// The words of the item are noted: which candidates they make.
void SpamWords::end_item(std::uint32_t number, SpamWordScratch& scratch) const {
  if (++scratch.item == 0) {  // around: the notes of old items go
    std::fill(scratch.tried_in.begin(), scratch.tried_in.end(), 0);
    scratch.item = 1;
  }
  for (const std::uint32_t word : scratch.words) {
    for (std::uint32_t i = first_of_word_[word]; i < first_of_word_[word + 1]; ++i) {
      const std::uint32_t candidate = of_word_[i];
      if (scratch.tried_in[candidate] == scratch.item) continue;
      scratch.tried_in[candidate] = scratch.item;
      if (complete(candidate, scratch))
        scratch.candidates.push_back({.item = number, .candidate = candidate});
    }
  }
  for (const std::uint32_t word : scratch.words) scratch.seen[word / 64] = 0;
  scratch.words.clear();
}

bool SpamWords::find(std::string_view text, std::span<const std::uint32_t> ends,
                     SpamWordScratch& scratch, hs_scratch* hyperscan) const {
  scratch.candidates.clear();
  scratch.hits.clear();
  Row row{ends, scratch.hits, 0, true};
  const std::size_t size =
      std::min<std::size_t>(text.size(), std::numeric_limits<std::int32_t>::max());
  const bool scanned = hs_scan(compiled_.get(), text.data(), static_cast<unsigned>(size), 0,
                               hyperscan, &on_word, &row) == HS_SUCCESS;
  if (!row.in_order) std::ranges::sort(scratch.hits);
  for (std::size_t i = 0; i < scratch.hits.size(); ++i) {
    const auto item = static_cast<std::uint32_t>(scratch.hits[i] >> 32);
    const auto word = static_cast<std::uint32_t>(scratch.hits[i]);
    std::uint64_t& seen = scratch.seen[word / 64];
    const std::uint64_t bit = std::uint64_t{1} << (word % 64);
    if ((seen & bit) == 0) {
      seen |= bit;
      scratch.places[word] = 1;
      scratch.words.push_back(word);
    } else if (scratch.places[word] < UINT8_MAX) {
      ++scratch.places[word];
    }
    if (i + 1 == scratch.hits.size() || scratch.hits[i + 1] >> 32 != item) end_item(item, scratch);
  }
  return scanned;
}

}  // namespace sluice::scan
