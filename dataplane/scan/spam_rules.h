// SpamAssassin's rules as the workers use them: tables and databases of the `spam` table of a
// ruleset section, checked and loaded once; immutable.
//
// Theory. A test is a rule: a regex over the items of one buffer (a paragraph of the text, a header
// value, a URL), a native function (eval), or a meta, computed from the values of other tests. The
// items are whole and bounded, so each buffer's database is in block mode and a test that Hyperscan
// cannot express has its second look, a Regex, on the item itself. The databases hold what
// each regex is in ASCII: rules that list each letter's look-alikes are ten times smaller there. On
// items with other octets these are tried one by one, as far as kMaxHighOctets of a message. The
// value of a test is how often
// it hit (of a meta: what its expression gave).
//
// Metas stand behind what they are computed from (scan/spam_meta.h, scan/spam_formulas.h).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/base/result.h"
#include "dataplane/scan/field_names.h"
#include "dataplane/scan/regex.h"
#include "dataplane/scan/regex_gate.h"
#include "dataplane/scan/ruleset.h"
#include "dataplane/scan/scan.h"
#include "dataplane/scan/spam_evals.h"
#include "dataplane/scan/spam_formulas.h"
#include "dataplane/scan/spam_lists.h"
#include "dataplane/scan/spam_times.h"
#include "dataplane/scan/spam_words.h"
#include "dataplane/scan/sparse_map.h"

namespace sluice::contract::image {
struct SpamRules;
}

namespace sluice::scan {

// Wire formats: append, never renumber.
enum class TestKind : std::uint8_t {
  pattern,
  exists,
  full,
  eval,
  meta,
  line,  // the message has a line of `max_hits` octets
};
enum class SpamBuffer : std::uint8_t {
  body,
  raw_body,
  uri,
  header,
  all_headers,
  relays,
  mime_header
};
inline constexpr std::size_t kSpamBufferCount = 7;
inline constexpr std::string_view kSpamBufferNames[kSpamBufferCount] = {
    "body", "rawbody", "uri", "header", "header ALL", "relays", "mimeheader"};

inline constexpr std::uint32_t kTestSub = 1;            // a part of metas only: never reported
inline constexpr std::uint32_t kTestMultiple = 2;       // counts every match
inline constexpr std::uint32_t kTestNegated = 4;        // !~: hits when there is no match
inline constexpr std::uint32_t kTestNoSubject = 8;      // not on the first item of the body
inline constexpr std::uint32_t kTestMatchesEmpty = 16;  // its regex matches an empty item
inline constexpr std::uint32_t kTestNotOutbound = 32;   // off for mail that leaves
inline constexpr std::uint32_t kTestMatchesUnset = 64;  // matches what stands for a missing field

// An argument of a native function, and what it stands for: made once, at load.
struct SpamArgument {
  std::string text;
  double number = 0;                        // as Perl reads it; 0 for what is none
  const Regex* regex = nullptr;             // of functions that take one
  const SpamNameList* addresses = nullptr;  // that enlist_addrlist calls so; never nullptr
  const SpamNameList* hosts = nullptr;      // that enlist_uri_host calls so
};

// A number as Perl reads it; 0 for what is none.
double perl_number(std::string_view text);

// A native function with its arguments.
struct SpamCall {
  std::uint32_t eval = 0;  // in kSpamEvals
  std::vector<SpamArgument> arguments;
};

struct SpamTest {
  RuleInfo info;  // score in hundredths, rounded
  TestKind kind = TestKind::pattern;
  std::uint32_t flags = 0;
  std::uint32_t selector = 0;
  std::uint32_t max_hits = 0;
  std::int32_t score = 0;  // thousandths
  std::vector<std::uint32_t> meta;
  bool high = false;                  // its whole regex is tried on items with octets above 127
  SpamNeed need = SpamNeed::nothing;  // of a native function
};

struct SpamDatabase {
  std::unique_ptr<hs_database, DatabaseDeleter> compiled;
  std::vector<std::uint32_t> first;
  std::vector<SpamReference> references;
  std::vector<SpamReference> high;
  SpamWords words;
  SpamWords joined;  // of joined text
  // Tried on each item when asked for: by selector, in buffers without selectors the first.
  std::vector<std::vector<SpamReference>> direct;
  std::size_t size = 0;
};

// Words that are looked up whole, in lower case.
using SpamList = std::unordered_set<std::string_view>;

class SpamRules {
 public:
  static Result<std::unique_ptr<const SpamRules>> open(const contract::image::SpamRules& tables);

  std::span<const SpamTest> tests() const { return tests_; }
  // tests()[test].flags, side by side.
  std::uint32_t flags(std::uint32_t test) const { return flags_[test]; }
  std::span<const std::string> selectors() const { return selectors_; }
  const SpamDatabase& database(SpamBuffer buffer) const {
    return databases_[static_cast<std::size_t>(buffer)];
  }
  const Regex& regex(std::uint32_t index) const { return regexes_[index]; }
  std::size_t regexes() const { return regexes_.size(); }
  // What says cheaply where it does not match; nullptr: nothing.
  const RegexGate* gate(std::uint32_t regex) const {
    const std::uint32_t gate = gate_of_regex_[regex];
    return gate == 0 ? nullptr : &gates_[gate - 1];
  }
  std::size_t gates() const { return gates_.size(); }
  // Tests of one selector, by what they say without trying their regexes.
  struct OfSelector {
    bool looked_at = false;              // some of them have a regex
    std::uint64_t field = 0;             // FieldNames::of_selector()
    std::uint64_t hash = 0;              // FieldNames::hash()
    std::vector<std::uint32_t> there;    // hit when there is such a field (exists)
    std::vector<std::uint32_t> missing;  // when there is none (of a part: whose regexes match that)
    std::vector<std::uint32_t> empty;    // when it is empty
    std::vector<std::uint32_t> negated;  // when it is not empty and their regexes do not match
  };
  const OfSelector& of_selector(std::uint32_t selector) const { return of_selector_[selector]; }
  SpamBuffer buffer_of_selector(std::uint32_t selector) const { return selector_buffer_[selector]; }
  // Native functions with this need.
  std::span<const std::uint32_t> evals(SpamNeed need) const {
    return evals_[static_cast<std::size_t>(need)];
  }
  // What a test calls; nullptr when it is no eval.
  const SpamCall* call(std::uint32_t test) const {
    const std::uint32_t call = call_of_[test];
    return call == 0 ? nullptr : &calls_[call - 1];
  }
  std::span<const std::uint32_t> lines() const { return lines_; }
  // What a message decides metas by.
  const SpamFormulas& formulas() const { return formulas_; }
  // What the expression of a meta gives. `values`: by test.
  double evaluate(std::uint32_t meta, std::span<const double> values) const {
    return evaluate_meta(tests_[meta].meta, numbers_, values);
  }
  // What stands in a list, or one without entries. Looking for it costs as much as what it has.
  const SpamList& list(std::string_view name) const;
  // Domains whose mail is free of charge, and others that are not though a wildcard says so.
  struct Freemail {
    const SpamList* domains = nullptr;
    std::span<const std::string> wildcards;
    std::array<const SpamList*, 2> others{};
  };
  const Freemail& freemail() const { return freemail_; }
  // Lists of hosts that are always welcome, or never.
  const SpamNameList& welcome_hosts() const { return *welcome_hosts_; }
  const SpamNameList& blocked_hosts() const { return *blocked_hosts_; }

 private:
  friend class SpamRulesLoader;
  SpamRules() = default;

  std::vector<SpamTest> tests_;
  std::vector<std::uint8_t> flags_;
  std::vector<std::string> selectors_;
  std::vector<SpamBuffer> selector_buffer_;
  std::array<SpamDatabase, kSpamBufferCount> databases_;
  std::vector<Regex> regexes_;
  std::vector<RegexGate> gates_;
  std::vector<std::uint32_t> gate_of_regex_;  // 1 + index, or 0
  std::vector<double> numbers_;
  std::vector<OfSelector> of_selector_;
  std::array<std::vector<std::uint32_t>, kSpamNeedCount> evals_;
  std::vector<SpamCall> calls_;
  std::vector<std::uint32_t> call_of_;  // by test: 1 + index, or 0
  Freemail freemail_;
  const SpamNameList* welcome_hosts_ = nullptr;
  const SpamNameList* blocked_hosts_ = nullptr;
  std::vector<std::uint32_t> lines_;
  SpamFormulas formulas_;
  std::unordered_map<std::string, std::vector<std::string>> entries_;
  std::unordered_map<std::string, SpamList> lists_;
  std::unordered_map<std::string, SpamNameList> name_lists_;  // by "setting list"
  std::unordered_map<std::string, Regex> argument_regexes_;
};

// How often each test hit in one message.
class SpamHits {
 public:
  explicit SpamHits(std::pmr::memory_resource* memory) : counts_(memory) {}
  std::uint32_t& operator[](std::uint32_t test) { return counts_[test]; }
  bool has(std::uint32_t test) { return counts_.contains(test); }
  template <typename Visit>
  void for_each(Visit visit) const {
    counts_.for_each(visit);
  }
  std::size_t memory_used() const { return counts_.memory_used(); }

 private:
  SparseMap counts_;
};

}  // namespace sluice::scan
