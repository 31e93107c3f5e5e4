#include "dataplane/scan/spam_scanner.h"

#include <hs_runtime.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "dataplane/scan/joined_text.h"
#include "dataplane/scan/scratch.h"

namespace sluice::scan {

namespace {

bool has_high_octet(std::string_view item) {
  std::uint64_t seen = 0;
  std::size_t i = 0;
  for (; i + 8 <= item.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, item.data() + i, 8);
    seen |= word;
  }
  for (; i < item.size(); ++i) seen |= static_cast<unsigned char>(item[i]);
  return (seen & 0x8080808080808080u) != 0;
}

// Words of paragraphs know white space as blanks; a subject may have other.
bool has_other_space(std::string_view item) {
  return item.substr(0, item.size() - 1).find_first_of("\t\n\v\f\r") != std::string_view::npos;
}

bool by_selector(SpamBuffer buffer) {
  return buffer != SpamBuffer::body && buffer != SpamBuffer::raw_body && buffer != SpamBuffer::uri;
}

}  // namespace

void SpamWork::reserve(const SpamRules& rules) {
  tests.resize(rules.tests().size());
  gates.resize(rules.regexes());
  open.reserve(rules.tests().size());
}

void SpamWork::clear() {
  for (Row& row : rows) {
    row.text.clear();
    row.first.clear();
    row.items.clear();
  }
  for (const std::uint32_t test : open) tests[test] = {};
  open.clear();
  candidates.clear();
}

// A second look: its time, by buffer and by test.
struct SpamScanner::Look {
  Look(SpamTimes* all, SpamBuffer buffer, std::uint32_t of)
      : times(all),
        test(of),
        begin(all != nullptr ? all->now() : 0),
        timer(all, SpamGroup::confirm, static_cast<std::size_t>(buffer)) {}
  ~Look() {
    if (times != nullptr) times->charge_test(test, times->now() - begin);
  }
  Look(const Look&) = delete;
  Look& operator=(const Look&) = delete;

  SpamTimes* times;
  std::uint32_t test;
  std::uint64_t begin;
  SpamTimer timer;
};

SpamWork& SpamScanner::work() const { return scratch_.impl_->spam_work; }
SpamJudgeScratch& SpamScanner::judge_scratch() const { return scratch_.impl_->spam_judge; }

bool SpamScanner::takes_high(SpamBuffer buffer, std::string_view item) {
  std::uint64_t& spent = high_octets_[by_selector(buffer) ? 0 : 1];
  if (rules_.database(buffer).high.empty() || spent >= kMaxHighOctets || !has_high_octet(item))
    return false;
  spent += item.size();
  return true;
}

void SpamScanner::begin() { work().clear(); }

void SpamScanner::add(SpamBuffer buffer, const SpamItem& item) {
  if (item.text.empty()) return;
  SpamWork::Row& row = work().rows[static_cast<std::size_t>(buffer)];
  const std::size_t begin = row.text.size();
  row.text += item.text;
  if (item.first && row.items.empty() && has_other_space(item.text)) {
    row.first = item.text;
    for (std::size_t i = 0; i + 1 < row.text.size(); ++i) {
      if (row.text[i] >= '\t' && row.text[i] <= '\r') row.text[i] = ' ';
    }
  }
  row.items.push_back({.begin = static_cast<std::uint32_t>(begin),
                       .end = static_cast<std::uint32_t>(row.text.size()),
                       .selector = item.selector,
                       .first = item.first,
                       .high = item.high});
  row.text += '\n';
}

std::string_view SpamScanner::text_of(SpamBuffer buffer, std::uint32_t item) const {
  const SpamWork::Row& row = work().rows[static_cast<std::size_t>(buffer)];
  if (item == 0 && !row.first.empty()) return row.first;
  const SpamWork::Item& of = row.items[item];
  return std::string_view(row.text).substr(of.begin, of.end - of.begin);
}

// --- candidates ----------------------------------------------------------------------------------

void SpamScanner::push(std::uint32_t test, const SpamWork::Candidate& candidate,
                       std::size_t octets) {
  SpamWork& all = work();
  SpamWork::OfTest& of = all.tests[test];
  if (of.candidate == 0) all.open.push_back(test);
  all.candidates.push_back(candidate);
  all.candidates.back().next = of.candidate;
  of.candidate = static_cast<std::uint32_t>(all.candidates.size());
  if (candidate.regex == 0) return;
  const std::uint64_t cost = (octets + 64) * rules_.regex(candidate.regex - 1).weight();
  of.cost = static_cast<std::uint32_t>(std::min<std::uint64_t>(of.cost + cost, UINT32_MAX));
}

void SpamScanner::hit(std::uint32_t test) {
  push(test, {.item = SpamWork::kAll, .buffer = SpamBuffer::header}, 0);
}

void SpamScanner::take(const SpamReference& reference, SpamBuffer buffer, std::uint32_t number,
                       std::uint32_t from, std::uint32_t to) {
  const SpamWork::Item& item = work().rows[static_cast<std::size_t>(buffer)].items[number];
  if (item.first && (rules_.flags(reference.test) & kTestNoSubject) != 0) return;
  push(reference.test,
       {.regex = reference.regex, .item = number, .from = from, .to = to, .buffer = buffer},
       std::min(to, item.end - item.begin) - from);
}

void SpamScanner::take_selected(const SpamReference& reference, SpamBuffer buffer,
                                std::uint32_t number) {
  const SpamWork::Item& item = work().rows[static_cast<std::size_t>(buffer)].items[number];
  if (by_selector(buffer) && rules_.tests()[reference.test].selector != item.selector) return;
  take(reference, buffer, number);
}

void SpamScanner::find_words(SpamBuffer buffer, const SpamWords& words, std::string_view row,
                             bool positions) {
  SpamWordScratch& found = scratch_.impl_->spam_words;
  SpamWork& all = work();
  scanned_ += row.size();
  words.find(row, all.ends, all.selectors, found);
  const auto& items = all.rows[static_cast<std::size_t>(buffer)].items;
  for (const SpamWordScratch::Found& one : found.candidates) {
    const SpamReference& reference = words.candidates()[one.candidate];
    if (items[one.item].high && rules_.tests()[reference.test].high) continue;
    if (positions) {
      take(reference, buffer, one.item, one.from, one.to);
    } else {
      take(reference, buffer, one.item);
    }
  }
}

struct SpamScanner::Patterns {
  SpamScanner& scanner;
  const SpamDatabase& database;
  SpamBuffer buffer;
  std::uint32_t item;
  bool high;
};

int SpamScanner::on_match(unsigned pattern, unsigned long long, unsigned long long, unsigned,
                          void* pointer) {
  const auto& context = *static_cast<const Patterns*>(pointer);
  const SpamDatabase& database = context.database;
  for (std::uint32_t i = database.first[pattern]; i != database.first[pattern + 1]; ++i) {
    const SpamReference& reference = database.references[i];
    if (context.high && context.scanner.rules_.tests()[reference.test].high) continue;
    context.scanner.take_selected(reference, context.buffer, context.item);
  }
  return 0;
}

void SpamScanner::find_patterns(SpamBuffer buffer) {
  const SpamDatabase& database = rules_.database(buffer);
  const auto& items = work().rows[static_cast<std::size_t>(buffer)].items;
  for (std::uint32_t i = 0; i < items.size(); ++i) {
    const std::string_view text = text_of(buffer, i);
    Patterns context{*this, database, buffer, i, items[i].high};
    const std::size_t size =
        std::min<std::size_t>(text.size(), std::numeric_limits<std::int32_t>::max());
    scanned_ += size;
    if (hs_scan(database.compiled.get(), text.data(), static_cast<unsigned>(size), 0,
                scratch_.impl_->hyperscan, &SpamScanner::on_match, &context) != HS_SUCCESS)
      failed_ = true;
  }
}

// What is tried on each item, or on each of its selector.
void SpamScanner::take_direct(SpamBuffer buffer) {
  const SpamDatabase& database = rules_.database(buffer);
  if (database.direct.empty()) return;
  const auto& items = work().rows[static_cast<std::size_t>(buffer)].items;
  if (!by_selector(buffer)) {
    for (const SpamReference& reference : database.direct.front())
      push(reference.test, {.regex = reference.regex, .item = SpamWork::kAll, .buffer = buffer},
           items.back().end);
    return;
  }
  for (std::uint32_t i = 0; i < items.size(); ++i) {
    for (const SpamReference& reference : database.direct[items[i].selector])
      take(reference, buffer, i);
  }
}

void SpamScanner::look(SpamBuffer buffer) {
  SpamWork& all = work();
  SpamWork::Row& row = all.rows[static_cast<std::size_t>(buffer)];
  if (row.items.empty()) return;
  const SpamTimer timer(times_, SpamGroup::scan, static_cast<std::size_t>(buffer));
  const SpamDatabase& database = rules_.database(buffer);
  for (std::uint32_t i = 0; i < row.items.size() && !database.high.empty(); ++i) {
    if (!row.items[i].high) continue;
    for (const SpamReference& reference : database.high) take_selected(reference, buffer, i);
  }
  all.ends.clear();
  all.selectors.clear();
  if (by_selector(buffer)) {
    for (const SpamWork::Item& item : row.items) all.selectors.push_back(item.selector);
  }
  if (!database.words.empty()) {
    for (const SpamWork::Item& item : row.items) all.ends.push_back(item.end);
    find_words(buffer, database.words, row.text, true);
  }
  if (!database.joined.empty()) {
    all.joined.clear();
    all.ends.clear();
    for (std::uint32_t i = 0; i < row.items.size(); ++i) {
      join_text(text_of(buffer, i), all.joined);
      all.ends.push_back(static_cast<std::uint32_t>(all.joined.size()));
      all.joined += '\n';
    }
    find_words(buffer, database.joined, all.joined, false);
  }
  take_direct(buffer);
  if (database.compiled) find_patterns(buffer);
}

void SpamScanner::look() {
  for (std::size_t i = 0; i < kSpamBufferCount; ++i) look(static_cast<SpamBuffer>(i));
}

// --- answers -------------------------------------------------------------------------------------

std::span<const std::uint32_t> SpamScanner::open() const { return work().open; }
bool SpamScanner::is_open(std::uint32_t test) const { return work().tests[test].candidate != 0; }
std::uint32_t SpamScanner::cost(std::uint32_t test) const { return work().tests[test].cost; }

// Where a match may begin as its gate says, as long as that mostly says nowhere: then it costs more
// than it spares.
std::size_t SpamScanner::first_match(const SpamWork::Candidate& candidate, std::string_view text) {
  constexpr std::uint16_t kLearns = 32;     // asked before a gate is judged
  constexpr std::uint16_t kForgets = 4096;  // then it is judged anew
  const RegexGate* const gate = rules_.gate(candidate.regex - 1);
  if (gate == nullptr) return candidate.from;
  SpamWork::OfGate& of = work().gates[candidate.regex - 1];
  if (++of.asked > kForgets) of = {};
  if (of.asked > kLearns && of.passed > kLearns / 2) return candidate.from;
  const std::size_t place = gate->first(text, candidate.from, candidate.to, scratch_.impl_->gates);
  if (of.asked <= kLearns && place != RegexGate::npos) ++of.passed;
  return place;
}

std::uint32_t SpamScanner::try_item(std::uint32_t test, const SpamWork::Candidate& candidate,
                                    std::uint32_t item, std::uint32_t most) {
  const std::string_view text = text_of(candidate.buffer, item);
  const Regex& regex = rules_.regex(candidate.regex - 1);
  if (text.size() < candidate.from + std::size_t{regex.least()}) return 0;
  scanned_ += text.size();
  const Look look(times_, candidate.buffer, test);
  const std::size_t from = first_match(candidate, text);
  if (from == RegexGate::npos) return 0;
  if ((rules_.flags(test) & kTestMultiple) != 0)
    return regex.count(text, scratch_.regex(), most, from, candidate.to);
  return regex.find(text, scratch_.regex(), nullptr, from, candidate.to) ? 1 : 0;
}

std::uint32_t SpamScanner::count(std::uint32_t number, std::uint32_t before, std::uint32_t enough) {
  const std::uint32_t flags = rules_.flags(number);
  std::uint32_t most = 1;
  if ((flags & kTestMultiple) != 0) {
    const std::uint32_t max_hits = rules_.tests()[number].max_hits;
    most = std::min(
        max_hits == 0 ? std::uint32_t{std::numeric_limits<std::uint16_t>::max()} : max_hits,
        enough);
  }
  std::uint32_t found = before;
  const SpamWork& all = work();
  for (std::uint32_t at = all.tests[number].candidate; at != 0 && found < most;) {
    const SpamWork::Candidate& candidate = all.candidates[at - 1];
    at = candidate.next;
    if (candidate.regex == 0) {
      ++found;
      continue;
    }
    if (candidate.item != SpamWork::kAll) {
      found += try_item(number, candidate, candidate.item, most - found);
      continue;
    }
    const auto& items = all.rows[static_cast<std::size_t>(candidate.buffer)].items;
    for (std::uint32_t i = 0; i < items.size() && found < most; ++i) {
      if (items[i].first && (flags & kTestNoSubject) != 0) continue;
      found += try_item(number, candidate, i, most - found);
    }
  }
  return found;
}

void SpamScanner::scan(SpamBuffer buffer, const SpamItem& item, SpamHits& hits) {
  begin();
  add(buffer, item);
  look(buffer);
  for (const std::uint32_t test : open()) {
    const std::uint32_t before = hits.has(test) ? hits[test] : 0;
    if (const std::uint32_t found = count(test, before); found != before) hits[test] = found;
  }
}

}  // namespace sluice::scan
