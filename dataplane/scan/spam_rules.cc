#include "dataplane/scan/spam_rules.h"

#include <hs_runtime.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "dataplane/contract/policy_image_tables.h"
#include "dataplane/scan/spam_evals.h"

namespace sluice::scan {

namespace image = contract::image;

namespace {

std::string place(const char* table, std::size_t index, const char* what) {
  return std::string("ruleset section: spam ") + table + " " + std::to_string(index) + ": " + what;
}

constexpr std::uint32_t kAllFlags = kTestSub | kTestMultiple | kTestNegated | kTestNoSubject |
                                    kTestMatchesEmpty | kTestNotOutbound | kTestMatchesUnset;

static_assert(kAllFlags <= UINT8_MAX);  // SpamRules::flags()

SpamBuffer buffer_of(std::string_view selector) {
  if (selector == "ALL" || selector.starts_with("ALL:")) return SpamBuffer::all_headers;
  if (selector.starts_with("X-Spam-Relays-")) return SpamBuffer::relays;
  if (selector.starts_with("mime:")) return SpamBuffer::mime_header;
  return SpamBuffer::header;
}

}  // namespace

double perl_number(std::string_view text) {
  // Whole numbers, as most are.
  const bool negative = text.starts_with('-');
  const std::string_view digits = text.substr(negative ? 1 : 0);
  if (!digits.empty() && digits.size() < 10 &&
      std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; })) {
    std::int64_t whole = 0;
    for (const char c : digits) whole = whole * 10 + (c - '0');
    return static_cast<double>(negative ? -whole : whole);
  }
  double value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc())
    return value;
  const std::string copy(text);
  return std::strtod(copy.c_str(), nullptr);
}

class SpamRulesLoader {
 public:
  static Result<std::unique_ptr<const SpamRules>> load(const image::SpamRules& tables) {
    std::unique_ptr<SpamRules> rules(new SpamRules());
    SpamRulesLoader loader(*rules, tables);
    for (const auto part : {&SpamRulesLoader::small, &SpamRulesLoader::tests,
                            &SpamRulesLoader::databases, &SpamRulesLoader::formulas}) {
      if (Status status = (loader.*part)(); !status) return Error{status.error()};
    }
    return std::unique_ptr<const SpamRules>(std::move(rules));
  }

 private:
  SpamRulesLoader(SpamRules& rules, const image::SpamRules& tables)
      : rules_(rules), tables_(tables) {}

  // Selectors, regexes, constants, lists.
  Status small() {
    for (const auto* selector : *tables_.selectors()) {
      rules_.selectors_.push_back(selector->str());
      rules_.selector_buffer_.push_back(buffer_of(rules_.selectors_.back()));
    }
    for (const std::string& selector : rules_.selectors_) {
      SpamRules::OfSelector& of = rules_.of_selector_.emplace_back();
      of.field = FieldNames::of_selector(selector);
      of.hash = FieldNames::hash(selector);
    }
    std::uint32_t i = 0;
    for (const image::SpamRegex* regex : *tables_.regexes()) {
      auto made = Regex::make(regex->pattern()->string_view(), regex->options());
      if (!made) return Error{place("regex", i, made.error().c_str())};
      if (regex->set() != nullptr) made->set_octets({regex->set()->data(), regex->set()->size()});
      rules_.regexes_.push_back(std::move(*made));
      rules_.gate_of_regex_.push_back(0);
      if (regex->gate() != nullptr && regex->gate_sets() != nullptr) {
        auto gate = RegexGate::load({regex->gate()->data(), regex->gate()->size()},
                                    {regex->gate_sets()->data(), regex->gate_sets()->size()},
                                    static_cast<std::uint32_t>(rules_.gates_.size()));
        if (!gate) return Error{place("regex", i, gate.error().c_str())};
        rules_.gates_.push_back(std::move(*gate));
        rules_.gate_of_regex_.back() = static_cast<std::uint32_t>(rules_.gates_.size());
      }
      ++i;
    }
    rules_.numbers_.assign(tables_.numbers()->begin(), tables_.numbers()->end());
    for (const image::SpamList* list : *tables_.lists()) {
      auto& entries = rules_.entries_[list->name()->str()];
      entries.reserve(entries.size() + list->entries()->size());
      for (const auto* entry : *list->entries()) entries.push_back(entry->str());
    }
    for (const auto& [name, entries] : rules_.entries_) {
      if (name.starts_with("enlist_")) {
        for (const std::string& line : entries) enlist(name, line);
      }
      SpamList& list = rules_.lists_[name];
      list.reserve(entries.size());
      for (const std::string& entry : entries) list.insert(entry);
    }
    rules_.freemail_.domains = &rules_.list("freemail_domains");
    rules_.freemail_.others = {&rules_.list("freemail_welcomelist"),
                               &rules_.list("freemail_whitelist")};
    rules_.freemail_.wildcards = rules_.entries_["freemail_wildcards"];
    rules_.welcome_hosts_ = &names("enlist_uri_host", "WELCOME");
    rules_.blocked_hosts_ = &names("enlist_uri_host", "BLOCK");
    return ok();
  }

  // "(LIST) word word ..."
  void enlist(const std::string& setting, std::string_view line) {
    const std::size_t open = line.find('(');
    const std::size_t close = line.find(')');
    if (open == std::string_view::npos || close == std::string_view::npos || close < open) return;
    std::string key = setting + ' ';
    for (const char c : line.substr(open + 1, close - open - 1)) {
      if (c != ' ' && c != '\t') key += c;
    }
    SpamNameList& list = rules_.name_lists_[key];
    line.remove_prefix(close + 1);
    for (;;) {
      const std::size_t begin = line.find_first_not_of(" \t\r\n");
      if (begin == std::string_view::npos) return;
      line.remove_prefix(begin);
      const std::size_t end = std::min(line.find_first_of(" \t\r\n"), line.size());
      list.add(line.substr(0, end));
      line.remove_prefix(end);
    }
  }

  // List `list` of an enlist_* setting.
  const SpamNameList& names(const std::string& setting, const std::string& list) const {
    static const SpamNameList kNone;
    const auto at = rules_.name_lists_.find(setting + ' ' + list);
    return at == rules_.name_lists_.end() ? kNone : at->second;
  }

  Status take_call(std::uint32_t index, const image::SpamTest& table, SpamTest& test) {
    if (table.eval() >= kSpamEvalCount) return Error{place("test", index, "unknown eval")};
    const SpamEval& eval = kSpamEvals[table.eval()];
    const std::size_t given = table.arguments() == nullptr ? 0 : table.arguments()->size();
    if (given < eval.least || given > eval.most)
      return Error{place("test", index, "wrong number of arguments")};
    const std::size_t with_regex =
        eval.name == "check_freemail_from" ? 0
        : eval.name == "check_freemail_header" || eval.name.starts_with("html_text")
            ? 1
            : std::size_t{UINT8_MAX} + 1;
    SpamCall call{.eval = table.eval(), .arguments = std::vector<SpamArgument>(given)};
    for (std::uint32_t i = 0; i < given; ++i) {
      SpamArgument& argument = call.arguments[i];
      argument.text = (*table.arguments())[i]->str();
      argument.number = perl_number(argument.text);
      argument.addresses = &names("enlist_addrlist", argument.text);
      argument.hosts = &names("enlist_uri_host", argument.text);
      if (i != with_regex) continue;
      auto& known = rules_.argument_regexes_;
      auto at = known.find(argument.text);
      if (at == known.end()) {
        auto made = Regex::make(argument.text, 0);
        if (!made) continue;
        at = known.emplace(argument.text, std::move(*made)).first;
      }
      argument.regex = &at->second;
    }
    if (!eval.counts || call.arguments[1].number > 0) test.need = eval.need;
    rules_.evals_[static_cast<std::size_t>(test.need)].push_back(index);
    rules_.calls_.push_back(std::move(call));
    rules_.call_of_.back() = static_cast<std::uint32_t>(rules_.calls_.size());
    return ok();
  }

  Status tests() {
    const auto& tests = *tables_.tests();
    rules_.tests_.reserve(tests.size());
    for (std::uint32_t i = 0; i < tests.size(); ++i) {
      const image::SpamTest& table = *tests[i];
      if (table.kind() > static_cast<std::uint8_t>(TestKind::line)) {
        return Error{place("test", i, "unknown kind")};
      }
      if ((table.flags() & ~kAllFlags) != 0) return Error{place("test", i, "unknown flags")};
      SpamTest test;
      test.kind = static_cast<TestKind>(table.kind());
      test.flags = table.flags();
      test.selector = table.selector();
      test.max_hits = table.max_hits();
      test.score = table.score();
      test.info.gid = 0;
      test.info.score = (table.score() + (table.score() < 0 ? -5 : 5)) / 10;
      test.info.name = table.name()->str();
      test.info.message = table.message()->str();
      test.info.category = "spam";
      if (table.meta() != nullptr) test.meta.assign(table.meta()->begin(), table.meta()->end());
      if (Status status = check(i, test); !status) return status;
      rules_.call_of_.push_back(0);
      if (test.kind == TestKind::eval) {
        if (Status status = take_call(i, table, test); !status) return status;
      }
      rules_.flags_.push_back(static_cast<std::uint8_t>(test.flags));
      rules_.tests_.push_back(std::move(test));
    }
    return ok();
  }

  Status check(std::uint32_t index, const SpamTest& test) {
    const bool by_selector = test.kind == TestKind::exists || test.selector != UINT32_MAX;
    if (by_selector) {
      if (test.selector >= rules_.selectors_.size()) {
        return Error{place("test", index, "unknown selector")};
      }
      take_selector(index, test);
    }
    if (test.kind == TestKind::line) {
      if (test.max_hits == 0) return Error{place("test", index, "a line of no octets")};
      rules_.lines_.push_back(index);
    }
    if (test.kind != TestKind::meta) return ok();
    std::size_t depth = 0;
    for (const std::uint32_t word : test.meta) {
      const std::uint32_t code = word >> 24;
      const std::uint32_t operand = word & 0xffffff;
      if (code > static_cast<std::uint32_t>(MetaOperation::choose)) {
        return Error{place("test", index, "unknown operation")};
      }
      const auto operation = static_cast<MetaOperation>(code);
      if (operation == MetaOperation::test && operand >= index) {
        return Error{place("test", index, "computed from a test behind it")};
      }
      if (operation == MetaOperation::number && operand >= rules_.numbers_.size()) {
        return Error{place("test", index, "unknown constant")};
      }
      if (depth < meta_operands(operation)) return Error{place("test", index, "broken program")};
      depth = depth - meta_operands(operation) + 1;
      if (depth > kMetaStack) return Error{place("test", index, "program too deep")};
    }
    if (depth != 1) return Error{place("test", index, "broken program")};
    return ok();
  }

  void take_selector(std::uint32_t index, const SpamTest& test) {
    SpamRules::OfSelector& of = rules_.of_selector_[test.selector];
    if (test.kind == TestKind::exists) of.there.push_back(index);
    if (test.kind != TestKind::pattern) return;
    const bool negated = (test.flags & kTestNegated) != 0;
    const bool of_part = rules_.selector_buffer_[test.selector] == SpamBuffer::mime_header;
    of.looked_at = true;
    if (((test.flags & kTestMatchesUnset) != 0) != (negated && !of_part))
      of.missing.push_back(index);
    if (((test.flags & kTestMatchesEmpty) != 0) != negated) of.empty.push_back(index);
    if (negated) of.negated.push_back(index);
  }

  Status formulas() {
    rules_.formulas_ = SpamFormulas::make(rules_.tests_, rules_.numbers_,
                                          [this](std::uint32_t test) { return likely(test); });
    return ok();
  }

  Likely likely(std::uint32_t test) const {
    const SpamTest& of = rules_.tests_[test];
    const bool asked = (of.flags & kTestSub) == 0;  // before metas are looked at
    if ((of.flags & kTestNegated) != 0) return {0.8, 0.5};
    if (of.kind == TestKind::eval) return asked ? Likely{0.1, 0.1} : Likely{1, 0};
    if (of.kind != TestKind::pattern) return {0.3, 0.3};
    if (asked) return {0.02, 0.02};
    if (direct_.contains(test)) return {1, 0};
    return of.selector == UINT32_MAX ? Likely{0.05, 0} : Likely{0.1, 0};
  }

  Status databases() {
    const auto& databases = *tables_.databases();
    for (std::uint32_t i = 0; i < databases.size(); ++i) {
      if (Status status = database(i, *databases[i]); !status) return status;
    }
    return ok();
  }

  Status database(std::uint32_t index, const image::SpamDatabase& table) {
    if (table.kind() >= kSpamBufferCount) return Error{place("database", index, "unknown buffer")};
    SpamDatabase& database = rules_.databases_[table.kind()];
    if (database.compiled || !database.high.empty() || !database.words.empty() ||
        !database.joined.empty())
      return Error{place("database", index, "its buffer has one already")};
    const auto& first = *table.first();
    const auto& references = *table.references();
    if (table.patterns() == UINT32_MAX || first.size() != table.patterns() + 1 || first[0] != 0 ||
        first[first.size() - 1] != references.size() ||
        !std::is_sorted(first.begin(), first.end())) {
      return Error{place("database", index, "its pattern table is broken")};
    }
    database.first.assign(first.begin(), first.end());
    for (const image::SpamReference* reference : references) {
      if (reference->test() >= rules_.tests_.size() ||
          rules_.tests_[reference->test()].kind != TestKind::pattern ||
          reference->regex() > rules_.regexes_.size()) {
        return Error{place("database", index, "a reference is out of range")};
      }
      database.references.push_back({reference->test(), reference->regex()});
    }
    for (const image::SpamReference* reference : *table.high()) {
      if (reference->test() >= rules_.tests_.size() ||
          rules_.tests_[reference->test()].kind != TestKind::pattern || reference->regex() == 0 ||
          reference->regex() > rules_.regexes_.size()) {
        return Error{place("database", index, "a reference is out of range")};
      }
      database.high.push_back({reference->test(), reference->regex()});
      rules_.tests_[reference->test()].high = true;
    }
    if (Status status = words(index, table, database); !status) return status;
    if (table.serialized()->size() == 0 && table.patterns() == 0) return ok();
    hs_database_t* compiled = nullptr;
    if (hs_deserialize_database(reinterpret_cast<const char*>(table.serialized()->data()),
                                table.serialized()->size(), &compiled) != HS_SUCCESS) {
      return Error{place("database", index, "damaged, or for another CPU or Hyperscan")};
    }
    database.compiled.reset(compiled);
    std::size_t stream = 0;
    if (hs_stream_size(compiled, &stream) == HS_SUCCESS) {
      return Error{place("database", index, "of the wrong mode")};
    }
    hs_database_size(compiled, &database.size);
    return ok();
  }

  Status words(std::uint32_t index, const image::SpamDatabase& table, SpamDatabase& database) {
    const auto is_pattern = [&](const SpamReference& reference) {
      return reference.test < rules_.tests_.size() &&
             rules_.tests_[reference.test].kind == TestKind::pattern;
    };
    for (const auto& [from, to] :
         {std::pair(table.words(), &database.words), std::pair(table.joined(), &database.joined)}) {
      if (from == nullptr) continue;
      auto loaded = SpamWords::load(*from, rules_.tests_.size(), rules_.regexes_.size());
      if (!loaded) return Error{place("database", index, loaded.error().c_str())};
      *to = std::move(*loaded);
      if (!std::ranges::all_of(to->candidates(), is_pattern))
        return Error{place("database", index, "a candidate is no pattern")};
      std::vector<std::uint32_t> selectors;
      for (const SpamReference& reference : to->candidates())
        selectors.push_back(rules_.tests_[reference.test].selector);
      to->set_selectors(std::move(selectors));
    }
    if (table.direct() == nullptr) return ok();
    database.direct.resize(std::max<std::size_t>(rules_.selectors_.size(), 1));
    for (const image::SpamReference* from : *table.direct()) {
      const SpamReference reference{from->test(), from->regex()};
      if (!is_pattern(reference) || reference.regex == 0 ||
          reference.regex > rules_.regexes_.size())
        return Error{place("database", index, "a reference is out of range")};
      const std::uint32_t selector = rules_.tests_[reference.test].selector;
      direct_.insert(reference.test);
      database.direct[selector == UINT32_MAX ? 0 : selector].push_back(reference);
    }
    return ok();
  }

  SpamRules& rules_;
  const image::SpamRules& tables_;
  std::unordered_set<std::uint32_t> direct_;  // tests that are tried on each item
};

Result<std::unique_ptr<const SpamRules>> SpamRules::open(const image::SpamRules& tables) {
  return SpamRulesLoader::load(tables);
}

const SpamList& SpamRules::list(std::string_view name) const {
  static const SpamList kNone;
  const auto at = lists_.find(std::string(name));
  return at == lists_.end() ? kNone : at->second;
}

}  // namespace sluice::scan
