#include "control/policy/spam_compiler.h"

#include <hs_compile.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <future>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "control/policy/cf_meta.h"
#include "control/policy/databases.h"
#include "control/policy/regex_joined.h"
#include "control/policy/word_anchors.h"
#include "dataplane/contract/policy_image_tables.h"
#include "dataplane/scan/regex.h"
#include "dataplane/scan/regex_gate.h"
#include "dataplane/scan/spam_evals.h"

extern const char sluice_outbound_off_list[];  // generated from outbound_off.list

namespace sluice::control {

namespace image = contract::image;

namespace {

// Why an eval that we do not have is not there.
std::string no_eval(const std::string& name) {
  static constexpr std::string_view kNetwork[] = {
      "check_rbl",  "check_uridnsbl", "check_dns_sender", "check_for_spf",      "check_for_def_spf",
      "check_dkim", "check_arc",      "check_dmarc",      "check_pyzor",        "check_razor2",
      "check_dcc",  "check_hashbl",   "check_for_dkim",   "check_for_def_dkim", "askdns",
      "short_url",  "check_asn"};
  static constexpr std::string_view kLearned[] = {
      "check_bayes",    "check_from_in_auto", "check_senders_reputation",
      "check_language", "check_shortcircuit", "check_access_database"};
  const auto one_of = [&](const auto& list) {
    return std::ranges::any_of(list, [&](std::string_view s) { return name.starts_with(s); });
  };
  if (one_of(kNetwork)) {
    return "eval:" + name + "() asks the network, which a verdict in the path does not wait for";
  }
  if (one_of(kLearned)) {
    return "eval:" + name +
           "() asks what a mail server has learned or configured, which is not here";
  }
  return "eval:" + name + "() is not built in";
}

scan::SpamBuffer buffer_of(const CfRule& rule, const std::string& selector) {
  switch (rule.kind) {
    case CfKind::body:
      return scan::SpamBuffer::body;
    case CfKind::rawbody:
      return scan::SpamBuffer::raw_body;
    case CfKind::uri:
      return scan::SpamBuffer::uri;
    case CfKind::mime_header:
      return scan::SpamBuffer::mime_header;
    default:
      break;
  }
  if (selector == "ALL" || selector.starts_with("ALL:")) return scan::SpamBuffer::all_headers;
  if (selector.starts_with("X-Spam-Relays-")) return scan::SpamBuffer::relays;
  return scan::SpamBuffer::header;
}

bool glob_matches(std::string_view glob, std::string_view text) {
  if (glob.empty()) return text.empty();
  if (glob.front() == '*') {
    for (std::size_t i = 0; i <= text.size(); ++i) {
      if (glob_matches(glob.substr(1), text.substr(i))) return true;
    }
    return false;
  }
  return !text.empty() && (glob.front() == '?' || glob.front() == text.front()) &&
         glob_matches(glob.substr(1), text.substr(1));
}

// Larger regexes are looked for by a smaller superset.
constexpr std::uint64_t kMostPositions = 200;
constexpr std::uint64_t kMostPlainPositions = 600;

constexpr std::size_t kMostClauses = 4;

// Without words, of a buffer with long items: so many are tried on each item when they are asked
// for, what is beyond that Hyperscan looks for.
constexpr std::size_t kMostDirect = 64;

// Whose items are short: a regex costs less there than its share of a database.
bool is_short(scan::SpamBuffer buffer) {
  return buffer != scan::SpamBuffer::body && buffer != scan::SpamBuffer::raw_body &&
         buffer != scan::SpamBuffer::all_headers;
}

std::int32_t thousandths(double score) {
  return static_cast<std::int32_t>(std::lround(score * 1000));
}

// The octets below 128 of a set.
std::vector<std::uint8_t> members(const std::bitset<256>& set, std::uint32_t options) {
  std::vector<std::uint8_t> all;
  for (unsigned c = 0; c < 128; ++c) {
    bool member = set.test(c);
    const bool letter = (c | 32) >= 'a' && (c | 32) <= 'z';
    if ((options & scan::kRegexCaseless) != 0 && letter) member |= set.test(c ^ 32);
    if (member) all.push_back(static_cast<std::uint8_t>(c));
  }
  return all;
}

}  // namespace

std::string_view outbound_off_list() { return sluice_outbound_off_list; }

void SpamCompiler::read_file(const std::filesystem::path& path, std::string_view octets) {
  read_cf(path, octets, text_);
}

void SpamCompiler::fault(const CfRule& rule, const std::string& text, bool fatal) {
  own_faults_.push_back({rule.file, rule.line, rule.name, text, fatal});
}

std::uint32_t SpamCompiler::selector(const std::string& text) {
  const auto at = std::ranges::find(selectors_, text);
  if (at != selectors_.end()) return static_cast<std::uint32_t>(at - selectors_.begin());
  selectors_.push_back(text);
  return static_cast<std::uint32_t>(selectors_.size() - 1);
}

std::uint32_t SpamCompiler::number(double value) {
  const auto at = std::ranges::find(numbers_, value);
  if (at != numbers_.end()) return static_cast<std::uint32_t>(at - numbers_.begin());
  numbers_.push_back(value);
  return static_cast<std::uint32_t>(numbers_.size() - 1);
}

void SpamCompiler::prepare() {
  rules_ = read_cf_rules(text_);
  for (std::string_view name : {"util_rb_tld", "util_rb_2tld", "util_rb_3tld"}) {
    rules_.lists.try_emplace(std::string(name));
  }
  // Free mail domains with wildcards are a list of their own.
  auto& domains = rules_.lists["freemail_domains"];
  auto& wildcards = rules_.lists["freemail_wildcards"];
  for (const std::string& domain : domains) {
    if (domain.find_first_of("*?") != std::string::npos) wildcards.push_back(domain);
  }
  std::erase_if(domains,
                [](const std::string& d) { return d.find_first_of("*?") != std::string::npos; });
  take_tests(rules_);
}

void SpamCompiler::take_tests(CfRules& rules) {
  std::vector<CfRule> metas;
  for (CfRule& rule : rules.rules) {
    if (rule.score == 0 && !rule.sub) {
      fault(rule, "its score is 0: it does not run", false);
      continue;
    }
    if (rule.kind == CfKind::meta) {
      metas.push_back(std::move(rule));
      continue;
    }
    Test test;
    test.rule = std::move(rule);
    const auto number = static_cast<std::uint32_t>(tests_.size());
    if (Status status = plan(test, number); !status) {
      fault(test.rule, status.error());
      continue;
    }
    by_name_[test.rule.name] = number;
    tests_.push_back(std::move(test));
  }
  take_metas(metas);
  std::unordered_set<std::string_view> off;
  std::string_view list = outbound_off_list();
  while (!list.empty()) {
    const std::size_t end = list.find('\n');
    std::string_view line = list.substr(0, end);
    list.remove_prefix(end == std::string_view::npos ? list.size() : end + 1);
    line = line.substr(0, line.find('#'));
    while (line.ends_with(' ')) line.remove_suffix(1);
    if (!line.empty()) off.insert(line);
  }
  for (Test& test : tests_) {
    if (test.rule.sub) test.flags |= scan::kTestSub;
    if (off.contains(test.rule.name)) test.flags |= scan::kTestNotOutbound;
  }
}

Status SpamCompiler::plan(Test& test, std::uint32_t number) {
  CfRule& rule = test.rule;
  if (rule.kind == CfKind::eval) {
    test.kind = scan::TestKind::eval;
    test.eval = scan::find_spam_eval(rule.function);
    if (test.eval == scan::kSpamEvalCount) return Error{no_eval(rule.function)};
    if (rule.net)
      return Error{"it asks the network, which a verdict in the path does not wait for"};
    const scan::SpamEval& eval = scan::kSpamEvals[test.eval];
    if (rule.arguments.size() < eval.least || rule.arguments.size() > eval.most) {
      return Error{"eval:" + rule.function + "() takes " + std::to_string(eval.least) +
                   (eval.most != eval.least ? " to " + std::to_string(eval.most) : "") +
                   " arguments, not " + std::to_string(rule.arguments.size())};
    }
    if (rule.function.starts_with("html_text_")) {
      const auto made = scan::Regex::make(rule.arguments[1], 0);
      if (!made) return Error{"regex: " + made.error()};
    }
    return ok();
  }
  if (rule.kind == CfKind::exists) {
    test.kind = scan::TestKind::exists;
    test.selector = selector(rule.selector);
    return ok();
  }
  return plan_regex(test, number);
}

// How a regex is looked for: exactly by Hyperscan, or as a superset with a second look.
Status SpamCompiler::plan_regex(Test& test, std::uint32_t test_number) {
  CfRule& rule = test.rule;
  if (rule.pattern.find("%{") != std::string::npos ||
      rule.pattern.find("%\\{") != std::string::npos) {
    return Error{"it looks for what another rule captured (%{...}), which is not supported"};
  }
  scan::RegexScratch scratch;
  auto made = scan::Regex::make(rule.pattern, rule.options);
  if (!made) {
    // Too large to compile it may be small without the characters that are not ASCII.
    const auto tree = RegexTree::read(rule.pattern, rule.options);
    const auto ascii = tree ? tree->ascii() : std::nullopt;
    auto smaller = ascii ? scan::Regex::make(ascii->text(), rule.options & ~scan::kRegexExtended)
                         : Result<scan::Regex>(Error{made.error()});
    if (!smaller) return Error{"regex: " + made.error()};
    rule.pattern = ascii->text();
    rule.options &= ~scan::kRegexExtended;
    fault(rule,
          "the regex is too large to be compiled whole: it is looked for in its ASCII form only",
          false);
    made = std::move(smaller);
  }
  if (made->find("", scratch)) test.flags |= scan::kTestMatchesEmpty;
  if (rule.if_unset ? made->find(*rule.if_unset, scratch)
                    : (test.flags & scan::kTestMatchesEmpty) != 0) {
    test.flags |= scan::kTestMatchesUnset;
  }
  if (rule.negated) test.flags |= scan::kTestNegated;
  if (rule.no_subject) test.flags |= scan::kTestNoSubject;
  if (rule.kind == CfKind::full) {
    const auto tree = RegexTree::read(rule.pattern, rule.options);
    rule.max_hits = tree ? tree->line_octets(rule.options) : 0;
    if (rule.max_hits > 0) {
      test.kind = scan::TestKind::line;
      return ok();
    }
    test.kind = scan::TestKind::full;
    FullTest full{.test = test_number, .file = text_.files[rule.file], .source = {}};
    full.source.line = rule.line;
    full.source.info.name = rule.name;
    full.source.info.gid = 0;
    Content content;
    content.is_regex = true;
    content.octets = rule.pattern;
    content.options = rule.options;
    full.source.buffers.push_back({scan::Buffer::raw, {content}});
    full_tests_.push_back(std::move(full));
    return ok();
  }
  if (rule.multiple) test.flags |= scan::kTestMultiple;
  if (rule.kind == CfKind::header) test.selector = selector(rule.selector);
  if (rule.kind == CfKind::mime_header) test.selector = selector("mime:" + rule.selector);
  return plan_pattern(test, test_number);
}

std::uint32_t SpamCompiler::regex(const CfRule& rule) {
  PerlRegex wanted{rule.pattern, rule.options};
  // Where no more is asked than whether it matches, its core says it faster.
  if (!rule.multiple) {
    const auto tree = RegexTree::read(rule.pattern, rule.options);
    const auto core = tree ? tree->core() : std::nullopt;
    if (core) {
      const unsigned options = rule.options & ~scan::kRegexExtended;
      if (const auto made = scan::Regex::make(core->text(), options); made)
        wanted = {core->text(), options};
    }
  }
  const auto [at, added] = regex_numbers_.try_emplace({wanted.pattern, wanted.options},
                                                      static_cast<std::uint32_t>(regexes_.size()));
  if (added) regexes_.push_back(std::move(wanted));
  return at->second + 1;
}

WordOptions SpamCompiler::word_options(const CfRule& rule) {
  return {.caseless = (rule.options & scan::kRegexCaseless) != 0,
          .paragraphs = buffer_of(rule, rule.selector) == scan::SpamBuffer::body};
}

void SpamCompiler::WordTable::add(scan::SpamReference reference,
                                  const std::vector<RegexClause>& clauses) {
  candidates.push_back(reference);
  for (const RegexClause& clause : clauses) {
    for (RegexWord word : clause.words) {
      // Without letters it has no case.
      word.caseless &= std::ranges::any_of(
          word.octets, [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; });
      const auto [at, added] = numbers.try_emplace(word, static_cast<std::uint32_t>(words.size()));
      if (added) words.push_back(word);
      clause_words.push_back(at->second);
    }
    least.push_back(static_cast<std::uint8_t>(clause.least));
    reach.push_back(clause.reach);
    first_word.push_back(static_cast<std::uint32_t>(clause_words.size()));
  }
  first_clause.push_back(static_cast<std::uint32_t>(first_word.size() - 1));
}

// A regex that takes long to find no match, or of which matches begin at few places, is asked only
// where its gate lets it.
void SpamCompiler::plan_gate(std::uint32_t number, scan::SpamBuffer buffer,
                             const std::vector<RegexClause>& clauses) {
  constexpr std::uint32_t kMuch = 80;
  if (gates_.contains(number - 1)) return;
  const PerlRegex& regex = regexes_[number - 1];
  const auto tree = RegexTree::read(regex.pattern, regex.options);
  auto program = tree ? regex_program(*tree, regex.options) : std::nullopt;
  if (!program) return;
  const auto gate = scan::RegexGate::load(program->words, program->sets, 0);
  if ((gate && gate->passes()) ||
      (!tree->references() && backtracking_cost(*program, buffer, clauses) >= kMuch))
    gates_.emplace(number - 1, std::move(*program));
}

// Whether it is tried where certain words of `tree` stand.
bool SpamCompiler::plan_words(const CfRule& rule, const RegexTree& tree,
                              std::uint32_t test_number) {
  const scan::SpamBuffer buffer = buffer_of(rule, rule.selector);
  Table& table = tables_[static_cast<std::size_t>(buffer)];
  auto clauses = regex_clauses(tree, word_options(rule), kMostClauses);
  WordTable* words = &table.words;
  // Of a short item words of an octet or two say less than they cost.
  if (is_short(buffer) && !clauses.empty() &&
      std::ranges::any_of(clauses.front().words,
                          [](const RegexWord& word) { return word.octets.size() < 3; }))
    clauses.clear();
  if (clauses.empty() && buffer == scan::SpamBuffer::body) {
    clauses = joined_clauses(tree, kMostClauses);
    words = &table.joined;
  }
  if (clauses.empty()) return false;
  const std::uint32_t number = regex(rule);
  plan_gate(number, buffer, clauses);
  words->add({test_number, number}, clauses);
  return true;
}

// The pattern of what the regex is in ASCII; what it is beyond that is tried on items that have
// octets above 127.
Status SpamCompiler::plan_pattern(const Test& test, std::uint32_t test_number) {
  const CfRule& rule = test.rule;
  const bool extended = (rule.options & scan::kRegexExtended) != 0;
  const scan::SpamBuffer buffer = buffer_of(rule, rule.selector);
  Table& table = tables_[static_cast<std::size_t>(buffer)];
  const std::optional<RegexTree> whole = RegexTree::read(rule.pattern, rule.options);
  if (whole && plan_words(rule, *whole, test_number)) return ok();
  plan_gate(regex(rule), buffer, {});
  if (is_short(buffer)) {
    table.direct.push_back({test_number, regex(rule)});
    return ok();
  }
  const std::optional<RegexTree> tree = whole ? whole->ascii() : std::nullopt;
  const bool beyond = whole && (!tree || tree->text() != whole->text());
  if (beyond && (!tree || plan_words(rule, *tree, test_number))) {
    table.high.push_back({test_number, regex(rule)});
    return ok();
  }
  if (table.direct.size() < kMostDirect) {
    table.direct.push_back({test_number, regex(rule)});
    return ok();
  }
  if (beyond) table.high.push_back({test_number, regex(rule)});
  const std::string exact = beyond     ? tree->text()
                            : extended ? "(?x)" + rule.pattern + "\n"
                                       : rule.pattern;
  Pattern pattern;
  pattern.flags = HS_FLAG_SINGLEMATCH | HS_FLAG_ALLOWEMPTY;
  if (rule.options & scan::kRegexCaseless) pattern.flags |= HS_FLAG_CASELESS;
  if (rule.options & scan::kRegexMultiline) pattern.flags |= HS_FLAG_MULTILINE;
  if (rule.options & scan::kRegexDotAll) pattern.flags |= HS_FLAG_DOTALL;
  std::string reason;
  const auto takes = [&](const std::string& expression, unsigned flags, std::uint64_t positions) {
    if (positions > kMostPositions) {
      reason = "too expensive: with its repeated parts written out it has " +
               std::to_string(positions) + " characters, and at most " +
               std::to_string(kMostPositions) + " are compiled";
      return false;
    }
    hs_expr_info_t* info = nullptr;
    hs_compile_error_t* error = nullptr;
    if (hs_expression_info(expression.c_str(), flags, &info, &error) != HS_SUCCESS) {
      reason = error != nullptr ? error->message : "out of memory";
      hs_free_compile_error(error);
      return false;
    }
    std::free(info);  // NOLINT(cppcoreguidelines-no-malloc): allocated by Hyperscan's malloc
    pattern.expression = expression;
    pattern.flags = flags;
    return true;
  };
  std::uint64_t positions = tree ? tree->positions() : exact.size();
  // Lists of strings cost little.
  if (tree && tree->plain() && positions <= kMostPlainPositions) positions = 1;
  bool confirmed = rule.multiple;
  if (!takes(exact, pattern.flags, positions)) {
    confirmed = true;
    const unsigned flags = pattern.flags;
    const std::string first_reason = std::exchange(reason, {});
    bool found = takes(exact, flags | HS_FLAG_PREFILTER, positions);
    if (!found && tree) {
      RegexTree cheaper = tree->collapsed().relaxed();
      if (cheaper.positions() > kMostPositions) cheaper = cheaper.truncated(kMostPositions / 2);
      found = takes(cheaper.text(), flags, cheaper.positions()) ||
              takes(cheaper.text(), flags | HS_FLAG_PREFILTER, cheaper.positions());
    }
    if (!found) return Error{"Hyperscan cannot look for it: " + first_reason};
  }
  scan::SpamReference reference{test_number, 0};
  if (confirmed) reference.regex = regex(rule);
  const auto [at, added] = table.numbers.try_emplace(
      {pattern.expression, pattern.flags}, static_cast<std::uint32_t>(table.patterns.size()));
  if (added) {
    table.patterns.push_back(pattern);
    table.references.emplace_back();
  }
  table.references[at->second].push_back(reference);
  return ok();
}

// Metas stand behind what they are computed from.
void SpamCompiler::take_metas(std::vector<CfRule>& metas) {
  struct Waiting {
    CfRule* rule;
    MetaProgram program;
  };
  std::vector<Waiting> waiting;
  std::unordered_set<std::string> pending;
  const auto matching = [&](std::string_view glob) {
    std::set<std::string> names;
    for (const auto& [name, index] : by_name_) {
      if (glob_matches(glob, name)) names.insert(name);
    }
    for (const CfRule& rule : metas) {
      if (glob_matches(glob, rule.name)) names.insert(rule.name);
    }
    return std::vector<std::string>(names.begin(), names.end());
  };
  for (CfRule& rule : metas) {
    auto program = read_meta(rule.expression, matching);
    if (!program) {
      fault(rule, program.error());
      continue;
    }
    std::erase_if(program->words, [](const MetaProgram::Word&) { return false; });
    pending.insert(rule.name);
    waiting.push_back({&rule, std::move(*program)});
  }
  for (bool progress = true; progress && !waiting.empty();) {
    progress = false;
    std::vector<Waiting> later;
    for (Waiting& meta : waiting) {
      const bool ready =
          std::ranges::none_of(meta.program.words,
                               [&](const MetaProgram::Word& word) {
                                 return !word.test.empty() && pending.contains(word.test) &&
                                        !by_name_.contains(word.test) &&
                                        word.test != meta.rule->name;
                               }) &&
          std::ranges::none_of(meta.program.words, [&](const MetaProgram::Word& word) {
            return word.test == meta.rule->name;
          });
      if (!ready) {
        later.push_back(std::move(meta));
        continue;
      }
      progress = true;
      Test test;
      test.kind = scan::TestKind::meta;
      test.rule = std::move(*meta.rule);
      for (const MetaProgram::Word& word : meta.program.words) {
        const auto operation = static_cast<scan::MetaOperation>(word.operation);
        std::uint32_t operand = 0;
        auto stored = operation;
        if (operation == scan::MetaOperation::test) {
          const auto at = by_name_.find(word.test);
          if (at != by_name_.end()) {
            operand = at->second;
          } else {  // a rule that does not run is 0 to a meta
            stored = scan::MetaOperation::number;
            operand = number(0);
          }
        } else if (operation == scan::MetaOperation::number) {
          operand = number(word.number);
        }
        test.meta.push_back(scan::meta_word(stored, operand));
      }
      // The depth of the program's stack.
      std::size_t depth = 0;
      std::size_t most = 0;
      for (const std::uint32_t word : test.meta) {
        const auto operation = static_cast<scan::MetaOperation>(word >> 24);
        if (operation == scan::MetaOperation::test || operation == scan::MetaOperation::number) {
          most = std::max(most, ++depth);
        } else if (operation == scan::MetaOperation::choose) {
          depth -= 2;
        } else if (operation != scan::MetaOperation::negate &&
                   operation != scan::MetaOperation::logical_not) {
          --depth;
        }
      }
      pending.erase(test.rule.name);
      if (most > scan::kMetaStack) {
        fault(test.rule, "the expression is too deep");
        continue;
      }
      by_name_[test.rule.name] = static_cast<std::uint32_t>(tests_.size());
      tests_.push_back(std::move(test));
    }
    waiting = std::move(later);
  }
  for (const Waiting& meta : waiting) {
    fault(*meta.rule, "the meta is computed from itself, directly or by way of others");
  }
}

void SpamCompiler::refuse(std::uint32_t test, const std::string& reason) {
  if (tests_[test].refused) return;
  tests_[test].refused = true;
  tests_[test].flags &= ~(scan::kTestNegated | scan::kTestMatchesEmpty | scan::kTestMatchesUnset);
  fault(tests_[test].rule, reason);
}

Status SpamCompiler::build(const std::filesystem::path& cache) {
  for (;;) {
    std::vector<std::pair<Table*, std::future<Result<BuiltDatabase>>>> building;
    for (Table& table : tables_) {
      if (table.patterns.empty() || !table.serialized.empty()) continue;
      building.emplace_back(&table, std::async(std::launch::async, [&table, &cache] {
        return build_database(table.patterns, false, cache);
      }));
    }
    bool complete = true;
    std::string failure;
    for (auto& [table, future] : building) {
      auto built = future.get();
      if (!built) {
        failure = built.error();
        continue;
      }
      if (built->bad.empty()) {
        table->serialized = std::move(built->serialized);
        continue;
      }
      complete = false;
      std::vector<std::size_t> gone;
      for (const BadPattern& bad : built->bad) {
        for (const scan::SpamReference& reference : table->references[bad.index]) {
          refuse(reference.test, "Hyperscan refuses it: " + bad.reason);
        }
        gone.push_back(bad.index);
      }
      std::ranges::sort(gone, std::greater<>());
      for (const std::size_t index : gone) {
        table->patterns.erase(table->patterns.begin() + static_cast<std::ptrdiff_t>(index));
        table->references.erase(table->references.begin() + static_cast<std::ptrdiff_t>(index));
      }
    }
    if (!failure.empty()) return Error{failure};
    if (complete) return ok();
  }
}

std::vector<SpamCompiler::Fault> SpamCompiler::faults() const {
  std::vector<Fault> all;
  const auto take = [&](const std::vector<CfFault>& faults) {
    for (const CfFault& fault : faults) {
      all.push_back({text_.files[fault.file], fault.line, fault.rule, fault.text, fault.fatal});
    }
  };
  take(text_.faults);
  take(rules_.faults);
  take(own_faults_);
  std::set<std::string> named;
  for (const Fault& fault : all) named.insert(fault.rule);
  for (const CfSkipped& skipped : text_.skipped) {
    if (by_name_.contains(skipped.rule) || !named.insert(skipped.rule).second) continue;
    all.push_back({text_.files[skipped.file], skipped.line, skipped.rule,
                   "it stands in a block that is not in force: " + skipped.condition, false});
  }
  return all;
}

std::vector<scan::RuleInfo> SpamCompiler::infos() const {
  std::vector<scan::RuleInfo> infos;
  for (const Test& test : tests_) {
    if (test.refused || test.rule.sub) continue;
    scan::RuleInfo info;
    info.gid = 0;
    info.name = test.rule.name;
    info.message = test.rule.description;
    info.score = static_cast<std::int32_t>(std::lround(test.rule.score * 100));
    infos.push_back(std::move(info));
  }
  return infos;
}

std::size_t SpamCompiler::running() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(tests_, [](const Test& t) { return !t.refused; }));
}

bool SpamCompiler::has_database() const {
  return std::ranges::any_of(tables_, [](const Table& t) { return !t.empty(); });
}

std::uint32_t SpamCompiler::WordTable::write(flatbuffers::FlatBufferBuilder& out) const {
  std::vector<image::SpamReference> of_words;
  for (const scan::SpamReference& reference : candidates) {
    of_words.emplace_back(reference.test, reference.regex);
  }
  std::vector<flatbuffers::Offset<flatbuffers::String>> texts;
  std::vector<std::uint8_t> flags;
  std::vector<std::string> octets;
  for (const RegexWord& word : words) {
    octets.push_back(word.octets);
    texts.push_back(out.CreateString(word.octets));
    flags.push_back(
        static_cast<std::uint8_t>((word.caseless ? scan::WordFinder::kCaseless : 0) |
                                  (word.begins_word ? scan::WordFinder::kBeginsWord : 0) |
                                  (word.ends_word ? scan::WordFinder::kEndsWord : 0)));
  }
  const auto texts_offset = out.CreateVector(texts);
  const auto flags_offset = out.CreateVector(flags);
  const auto anchors_offset = out.CreateVector(word_anchors(octets));
  const auto candidates_offset = out.CreateVectorOfStructs(of_words);
  const auto clause_offset = out.CreateVector(first_clause);
  const auto first_offset = out.CreateVector(first_word);
  const auto words_offset = out.CreateVector(clause_words);
  const auto least_offset = out.CreateVector(least);
  const auto reach_offset = out.CreateVector(reach);
  return image::CreateSpamWords(out, candidates_offset, clause_offset, first_offset, words_offset,
                                least_offset, reach_offset, texts_offset, flags_offset,
                                anchors_offset)
      .o;
}

std::uint32_t SpamCompiler::write(flatbuffers::FlatBufferBuilder& out) const {
  std::vector<flatbuffers::Offset<image::SpamTest>> tests;
  for (const Test& test : tests_) {
    const auto name = out.CreateString(test.rule.name);
    const auto message = out.CreateSharedString(test.rule.description);
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>> arguments;
    if (!test.rule.arguments.empty()) arguments = out.CreateVectorOfStrings(test.rule.arguments);
    flatbuffers::Offset<flatbuffers::Vector<std::uint32_t>> meta;
    if (!test.meta.empty()) meta = out.CreateVector(test.meta);
    tests.push_back(image::CreateSpamTest(
        out, name, message, static_cast<std::uint8_t>(test.kind), test.flags, test.selector,
        test.rule.max_hits, thousandths(test.rule.score), test.eval, arguments, meta));
  }
  std::vector<flatbuffers::Offset<image::SpamDatabase>> databases;
  for (std::size_t i = 0; i < tables_.size(); ++i) {
    const Table& table = tables_[i];
    if (table.empty()) continue;
    std::vector<std::uint32_t> first{0};
    std::vector<image::SpamReference> references;
    for (const auto& of_pattern : table.references) {
      for (const scan::SpamReference& reference : of_pattern) {
        references.emplace_back(reference.test, reference.regex);
      }
      first.push_back(static_cast<std::uint32_t>(references.size()));
    }
    out.ForceVectorAlignment(table.serialized.size(), 1, 8);
    const auto serialized = out.CreateVector(table.serialized);
    const auto first_offset = out.CreateVector(first);
    const auto references_offset = out.CreateVectorOfStructs(references);
    std::vector<image::SpamReference> high;
    for (const scan::SpamReference& reference : table.high) {
      high.emplace_back(reference.test, reference.regex);
    }
    std::vector<image::SpamReference> direct;
    for (const scan::SpamReference& reference : table.direct) {
      direct.emplace_back(reference.test, reference.regex);
    }
    const auto high_offset = out.CreateVectorOfStructs(high);
    const auto words = flatbuffers::Offset<image::SpamWords>(table.words.write(out));
    const auto joined = flatbuffers::Offset<image::SpamWords>(table.joined.write(out));
    databases.push_back(image::CreateSpamDatabase(
        out, static_cast<std::uint8_t>(i), static_cast<std::uint32_t>(table.patterns.size()),
        first_offset, references_offset, serialized, high_offset, words, joined,
        out.CreateVectorOfStructs(direct)));
  }
  std::vector<flatbuffers::Offset<image::SpamRegex>> regexes;
  for (const PerlRegex& regex : regexes_) {
    const auto pattern = out.CreateSharedString(regex.pattern);
    // One set of octets is counted without a regex; where items are ASCII, when it is one there.
    flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> set;
    if (const auto tree = RegexTree::read(regex.pattern, regex.options)) {
      const auto ascii = tree->ascii();
      if (const auto octets = ascii ? ascii->single_set() : std::nullopt)
        set = out.CreateVector(members(*octets, regex.options));
    }
    flatbuffers::Offset<flatbuffers::Vector<std::uint32_t>> program;
    flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> sets;
    if (const auto gate = gates_.find(static_cast<std::uint32_t>(regexes.size()));
        gate != gates_.end()) {
      program = out.CreateVector(gate->second.words);
      sets = out.CreateVector(gate->second.sets);
    }
    regexes.push_back(image::CreateSpamRegex(out, pattern, regex.options, set, program, sets));
  }
  std::vector<flatbuffers::Offset<image::SpamList>> lists;
  for (const auto& [name, entries] : rules_.lists) {
    lists.push_back(
        image::CreateSpamList(out, out.CreateString(name), out.CreateVectorOfStrings(entries)));
  }
  const auto tests_offset = out.CreateVector(tests);
  const auto selectors = out.CreateVectorOfStrings(selectors_);
  const auto databases_offset = out.CreateVector(databases);
  const auto regexes_offset = out.CreateVector(regexes);
  const auto numbers = out.CreateVector(numbers_);
  return image::CreateSpamRules(out, tests_offset, selectors, databases_offset, regexes_offset,
                                numbers, out.CreateVector(lists))
      .o;
}

}  // namespace sluice::control
