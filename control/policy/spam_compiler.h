// SpamAssassin's rule files to the `spam` table of a ruleset section: rules to tests, metas to
// programs, regexes to Hyperscan patterns with a second look where Hyperscan is not exact.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "control/policy/cf_rules.h"
#include "control/policy/cf_text.h"
#include "control/policy/lowering.h"
#include "control/policy/regex_program.h"
#include "control/policy/regex_tree.h"
#include "control/policy/regex_words.h"
#include "control/policy/rule_source.h"
#include "dataplane/scan/spam_rules.h"

namespace flatbuffers {
class FlatBufferBuilder;
template <typename T>
struct Offset;
}  // namespace flatbuffers

namespace sluice::control {

// Rules that judge the receiving side and are off for mail that leaves (outbound_off.list).
std::string_view outbound_off_list();

class SpamCompiler {
 public:
  void read_file(const std::filesystem::path& path, std::string_view octets);
  bool empty() const { return text_.files.empty(); }

  // Everything but the databases. Once, when all files are read.
  void prepare();

  // A `full` test: it looks at the message as a stream, as ordinary rules do. Its rule counts for
  // test `test`.
  struct FullTest {
    std::uint32_t test = 0;
    std::string file;
    SourceRule source;
  };
  const std::vector<FullTest>& full_tests() const { return full_tests_; }
  // Its regex cannot be compiled for a stream.
  void refuse(std::uint32_t test, const std::string& reason);

  // Compiles the databases; patterns that do not compile are refused by name. The error is for what
  // concerns no pattern. Slow.
  Status build(const std::filesystem::path& cache);

  struct Fault {
    std::string file;
    std::uint32_t line = 0;
    std::string rule;
    std::string text;
    bool fatal = true;
  };
  std::vector<Fault> faults() const;
  // For reports, in the order of the image.
  std::vector<scan::RuleInfo> infos() const;
  std::size_t running() const;
  bool has_database() const;

  // Writes the table into `out`; the offset's value (flatbuffers' types stay out of headers).
  std::uint32_t write(flatbuffers::FlatBufferBuilder& out) const;

 private:
  struct Test {
    CfRule rule;
    scan::TestKind kind = scan::TestKind::pattern;
    std::uint32_t flags = 0;
    std::uint32_t selector = UINT32_MAX;
    std::uint32_t eval = 0;
    std::vector<std::uint32_t> meta;
    bool refused = false;
  };
  // What is tried on items with certain words (scan/spam_words.h).
  struct WordTable {
    std::vector<RegexWord> words;
    std::map<RegexWord, std::uint32_t> numbers;
    std::vector<scan::SpamReference> candidates;
    std::vector<std::uint32_t> first_clause{0};
    std::vector<std::uint32_t> first_word{0};
    std::vector<std::uint32_t> clause_words;
    std::vector<std::uint8_t> least;
    std::vector<std::uint32_t> reach;

    void add(scan::SpamReference reference, const std::vector<RegexClause>& clauses);
    // Gives the offset's value.
    std::uint32_t write(flatbuffers::FlatBufferBuilder& out) const;
  };
  struct Table {
    std::vector<Pattern> patterns;
    std::map<std::pair<std::string, unsigned>, std::uint32_t> numbers;
    std::vector<std::vector<scan::SpamReference>> references;
    std::vector<scan::SpamReference> high;  // tried on items with octets above 127
    std::vector<std::uint8_t> serialized;
    WordTable words;
    WordTable joined;                         // of joined text
    std::vector<scan::SpamReference> direct;  // tried on each item

    bool empty() const {
      return serialized.empty() && high.empty() && words.candidates.empty() &&
             joined.candidates.empty() && direct.empty();
    }
  };

  void fault(const CfRule& rule, const std::string& text, bool fatal = true);
  Status plan(Test& test, std::uint32_t number);
  Status plan_regex(Test& test, std::uint32_t number);
  Status plan_pattern(const Test& test, std::uint32_t number);
  std::uint32_t regex(const CfRule& rule);
  void plan_gate(std::uint32_t number, scan::SpamBuffer buffer,
                 const std::vector<RegexClause>& clauses);
  bool plan_words(const CfRule& rule, const RegexTree& tree, std::uint32_t number);
  static WordOptions word_options(const CfRule& rule);
  void take_tests(CfRules& rules);
  void take_metas(std::vector<CfRule>& metas);
  std::uint32_t selector(const std::string& text);
  std::uint32_t number(double value);

  CfText text_;
  CfRules rules_;
  std::vector<CfFault> own_faults_;
  std::vector<Test> tests_;
  std::map<std::string, std::uint32_t> by_name_;
  std::vector<std::string> selectors_;
  std::vector<PerlRegex> regexes_;
  std::map<std::pair<std::string, std::uint32_t>, std::uint32_t> regex_numbers_;
  std::map<std::uint32_t, RegexProgram> gates_;  // by index of a regex
  std::vector<double> numbers_;
  std::array<Table, scan::kSpamBufferCount> tables_;
  std::vector<FullTest> full_tests_;
};

}  // namespace sluice::control
