// Finds which tests of SpamAssassin's rules may hold in a message, and how often they do when
// asked.
//
// Theory. The items of a buffer (paragraphs, header values, URLs) stand in a row, a line end behind
// each, so that one pass finds the words of all (scan/spam_words.h); what has its words
// in an item is a candidate there. Regexes run when somebody asks how often a test hits
// (scan/spam_judge.h), on the items where it is a candidate, each item as a text of its own.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/scan/scan.h"
#include "dataplane/scan/spam_judge.h"
#include "dataplane/scan/spam_rules.h"
#include "dataplane/scan/spam_times.h"

namespace sluice::scan {

struct SpamItem {
  std::string_view text;
  bool first = false;  // the subject in front of the body
  bool high = false;   // takes_high() said so
  std::uint32_t selector = 0;
};

// One worker's items and candidates, of the message in progress.
struct SpamWork {
  static constexpr std::uint32_t kAll = UINT32_MAX;
  struct Item {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    std::uint32_t selector = 0;
    bool first = false;
    bool high = false;
  };
  struct Row {
    std::string text;   // as words are looked for in it
    std::string first;  // the first item as it is, when that is different
    std::vector<Item> items;
  };
  struct Candidate {
    std::uint32_t regex = 0;        // 1 + index; 0: it hits
    std::uint32_t item = 0;         // kAll: all of its selector
    std::uint32_t from = 0;         // a match begins from here
    std::uint32_t to = UINT32_MAX;  // to here, in the item
    std::uint32_t next = 0;         // of the same test: 1 + index
    SpamBuffer buffer = SpamBuffer::body;
  };
  struct OfTest {
    std::uint32_t candidate = 0;  // 1 + index of the last one
    std::uint32_t cost = 0;       // octets that its regexes would look at, times their weights
  };

  // How often a gate was asked, and let its regex look.
  struct OfGate {
    std::uint16_t asked = 0;
    std::uint16_t passed = 0;
  };

  std::array<Row, kSpamBufferCount> rows;
  std::string joined;
  std::vector<std::uint32_t> ends;  // of the items of a row
  std::vector<std::uint32_t> selectors;
  std::vector<Candidate> candidates;
  std::vector<OfTest> tests;
  std::vector<std::uint32_t> open;  // tests with candidates
  std::vector<OfGate> gates;        // by regex; they stay from message to message

  void reserve(const SpamRules& rules);
  void clear();
};

// Scans items with one worker's memory.
class SpamScanner {
 public:
  // Of a message's text, and of its header, looked at for what regexes are beyond ASCII.
  static constexpr std::uint64_t kMaxHighOctets = 16384;

  // `times`: where to add what the scanning takes, or nullptr.
  SpamScanner(const SpamRules& rules, Scratch& scratch, SpamTimes* times = nullptr)
      : rules_(rules), scratch_(scratch), times_(times) {}

  // Whether an item is looked at for what regexes are beyond ASCII: asked once an item, in the
  // order of the message, because so many octets of it are.
  bool takes_high(SpamBuffer buffer, std::string_view item);

  // Forgets all items; then items are added, then look(), then the rest is valid until the next
  // begin() of any scanner of this worker.
  void begin();
  void add(SpamBuffer buffer, const SpamItem& item);
  // A test of which it is known that it hits.
  void hit(std::uint32_t test);
  void look();
  // Tests that may hit, each once.
  std::span<const std::uint32_t> open() const;
  bool is_open(std::uint32_t test) const;
  // What it costs to know, in octets of a simple regex.
  std::uint32_t cost(std::uint32_t test) const;
  // How often it hits, with the `before` hits that were counted elsewhere; `enough` or more when
  // there are so many.
  std::uint32_t count(std::uint32_t test, std::uint32_t before, std::uint32_t enough = UINT32_MAX);

  // One item alone, at once: hits are added to `hits`.
  void scan(SpamBuffer buffer, const SpamItem& item, SpamHits& hits);

  SpamJudgeScratch& judge_scratch() const;
  std::uint64_t octets_scanned() const { return scanned_; }
  bool failed() const { return failed_; }

 private:
  struct Look;
  struct Patterns;
  static int on_match(unsigned pattern, unsigned long long, unsigned long long, unsigned,
                      void* context);
  SpamWork& work() const;
  void look(SpamBuffer buffer);
  void find_words(SpamBuffer buffer, const SpamWords& words, std::string_view row, bool positions);
  void find_patterns(SpamBuffer buffer);
  void take_direct(SpamBuffer buffer);
  // Of an item of the test's selector; the other one looks whether it is.
  void take(const SpamReference& reference, SpamBuffer buffer, std::uint32_t item,
            std::uint32_t from = 0, std::uint32_t to = UINT32_MAX);
  void take_selected(const SpamReference& reference, SpamBuffer buffer, std::uint32_t item);
  void push(std::uint32_t test, const SpamWork::Candidate& candidate, std::size_t octets);
  std::uint32_t try_item(std::uint32_t test, const SpamWork::Candidate& candidate,
                         std::uint32_t item, std::uint32_t most);
  std::string_view text_of(SpamBuffer buffer, std::uint32_t item) const;
  std::size_t first_match(const SpamWork::Candidate& candidate, std::string_view text);

  const SpamRules& rules_;
  Scratch& scratch_;
  SpamTimes* times_;
  std::uint64_t scanned_ = 0;
  std::uint64_t high_octets_[2] = {};  // of header fields, of text
  bool failed_ = false;
};

}  // namespace sluice::scan
