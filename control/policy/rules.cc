#include "control/policy/rules.h"

#include <openssl/evp.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <iterator>
#include <map>
#include <numeric>
#include <span>
#include <unordered_map>

#include "control/files/read_file.h"
#include "control/policy/databases.h"
#include "control/policy/lowering.h"
#include "control/policy/rule_text.h"
#include "control/policy/spam_compiler.h"
#include "control/policy/suricata.h"
#include "dataplane/contract/policy_image_tables.h"
#include "dataplane/scan/literals.h"

namespace sluice::control {

namespace image = contract::image;

namespace {

// A rule that was read, with the patterns that its contents became.
struct ReadRule {
  std::string file;
  SourceRule source;
  std::vector<std::vector<LoweredCondition>> conditions;  // by source.buffers
  bool refused = false;
  std::uint32_t spam_test = 0;  // 1 + the test of SpamAssassin's that it stands for
};

struct PatternHash {
  std::size_t operator()(const Pattern& pattern) const {
    return std::hash<std::string>()(pattern.expression) ^
           (pattern.flags * std::size_t{0x9E3779B9}) ^ (pattern.min_end << 7) ^
           (pattern.max_end << 13);
  }
};

// Fewer literals than this cost less within the Hyperscan database that the buffer has anyway.
constexpr std::size_t kManyLiterals = 32;

// More brief ones than this stand in any text, and Hyperscan reports each once.
constexpr std::size_t kMostBrief = 256;

bool can_be_literal(const Pattern& pattern, std::size_t shortest) {
  return !pattern.literals.empty() &&
         std::ranges::all_of(pattern.literals, [&](const std::string& literal) {
           return literal.size() >= shortest && literal.size() <= scan::LiteralSet::kLongest;
         });
}

// The patterns of one buffer, each once, with the rules that use it.
struct PatternTable {
  std::vector<Pattern> patterns;
  std::size_t compiled = 0;  // the first so many are Hyperscan's, the rest literals
  std::unordered_map<Pattern, std::uint32_t, PatternHash> numbers;
  std::vector<std::vector<std::size_t>> users;  // by pattern: index of rule
  std::vector<std::vector<image::Reference>> references;
  std::vector<std::uint8_t> serialized;
  DatabaseReport report;

  std::uint32_t number(const Pattern& pattern) {
    const auto [at, added] =
        numbers.try_emplace(pattern, static_cast<std::uint32_t>(patterns.size()));
    if (added) {
      patterns.push_back(pattern);
      users.emplace_back();
      references.emplace_back();
    }
    return at->second;
  }

  // Puts the literals last, if it pays to find them apart.
  void divide(bool stream) {
    compiled = patterns.size();
    const auto count = [&](std::size_t shortest) {
      return static_cast<std::size_t>(std::ranges::count_if(
          patterns, [&](const Pattern& p) { return can_be_literal(p, shortest); }));
    };
    std::size_t shortest = scan::LiteralSet::kSampled;
    std::size_t literals = count(shortest);
    if (!stream || (literals < kManyLiterals && literals < patterns.size())) return;
    // Brief ones, if they are all that Hyperscan would be needed for.
    if (compiled - literals <= kMostBrief && count(scan::LiteralSet::kShortest) == compiled) {
      shortest = scan::LiteralSet::kShortest;
      literals = compiled;
    }
    compiled -= literals;
    std::vector<std::size_t> order(patterns.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_partition(order.begin(), order.end(),
                          [&](std::size_t i) { return !can_be_literal(patterns[i], shortest); });
    PatternTable divided{.compiled = compiled};
    for (const std::size_t i : order) {
      divided.users[divided.number(patterns[i])] = std::move(users[i]);
    }
    *this = std::move(divided);
  }
};

class Compiler {
 public:
  explicit Compiler(const CompileOptions& options) : options_(options) {}

  void read_file(const std::filesystem::path& path, const std::string& octets) {
    const std::string name = path.string();
    result_->files.push_back({.file = name});
    if (path.extension() == ".cf") {
      spam_.read_file(path, octets);
      return;
    }
    if (path.extension() != ".rules") {
      fault(name, 0, "",
            "what kind of rules this is does not show from the file name: name it *.rules "
            "(Suricata's form) or *.cf (SpamAssassin's)");
      return;
    }
    for (const RuleLine& line : rule_lines(octets)) read_rule(name, line);
  }

  Result<std::shared_ptr<const CompiledRules>> compile() {
    const auto begin = std::chrono::steady_clock::now();
    if (!spam_.empty()) {
      spam_.prepare();
      for (const SpamCompiler::FullTest& full : spam_.full_tests()) take_full_test(full);
    }
    // Each round builds the databases without what the round before found not to compile.
    for (;;) {
      collect();
      auto complete = build();
      if (!complete) return Error{complete.error()};
      if (*complete) break;
    }
    if (Status built = spam_.build(options_.cache); !built) return Error{built.error()};
    for (const SpamCompiler::Fault& f : spam_.faults()) {
      fault(f.file, f.line, f.rule, f.text, f.fatal);
    }
    write();
    count_by_file();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    result_->compile_seconds = seconds.count();
    std::stable_sort(result_->faults.begin(), result_->faults.end(),
                     [](const RuleFault& a, const RuleFault& b) {
                       return a.file != b.file ? a.file < b.file : a.line < b.line;
                     });
    return std::shared_ptr<const CompiledRules>(std::move(result_));
  }

 private:
  void count_by_file() {
    std::unordered_map<std::string_view, RuleFileReport*> reports;
    for (RuleFileReport& report : result_->files) reports[report.file] = &report;
    for (const ReadRule& rule : rules_) {
      if (!rule.refused) ++reports[rule.file]->compiled;
    }
    for (const RuleFault& one : result_->faults) {
      if (one.fatal) ++reports[one.file]->refused;
    }
  }

  void fault(const std::string& file, std::uint32_t line, const std::string& rule,
             const std::string& text, bool fatal = true) {
    result_->faults.push_back({file, line, rule, text, fatal});
    if (fatal) ++result_->refused;
  }

  void read_rule(const std::string& file, const RuleLine& line) {
    auto text = parse_rule_text(line.text);
    if (!text) {
      fault(file, line.number, guess_sid(line.text), text.error());
      return;
    }
    std::vector<std::string> notes;
    auto source = read_suricata_rule(*text, notes);
    if (!source) {
      fault(file, line.number, guess_sid(line.text), source.error());
      return;
    }
    if (!source->hash_list.empty()) {
      for (const std::string& note : notes)
        fault(file, line.number, source->info.name, note, false);
      read_hash_list(file, line.number, *source);
      return;
    }
    ReadRule rule{.file = file, .source = std::move(*source)};
    rule.source.line = line.number;
    const std::string& name = rule.source.info.name;
    for (const BufferContents& buffer : rule.source.buffers) {
      auto conditions = lower(buffer, notes);
      if (!conditions) {
        fault(file, line.number, name, conditions.error());
        return;
      }
      for (const LoweredCondition& condition : *conditions) {
        const std::string reason = too_expensive(condition.pattern, scan::is_stream(buffer.buffer));
        if (!reason.empty()) {
          fault(file, line.number, name, reason);
          return;
        }
      }
      rule.conditions.push_back(std::move(*conditions));
    }
    if (!replaces_older(file, line.number, rule)) return;
    for (const std::string& note : notes) fault(file, line.number, name, note, false);
    rules_.push_back(std::move(rule));
  }

  // A rule that is a list: hashes in a file whose path is relative to that of the rules.
  void read_hash_list(const std::string& file, std::uint32_t line, const SourceRule& source) {
    const std::filesystem::path path = std::filesystem::path(file).parent_path() / source.hash_list;
    auto list = read_match_list(path, MatchKind::hash, false);
    if (!list) {
      fault(file, line, source.info.name, list.error());
      return;
    }
    for (const MatchListFault& bad : (*list)->faults) {
      fault(file, line, source.info.name,
            path.string() + ":" + std::to_string(bad.line) + ": " + bad.text, false);
    }
    result_->lists.push_back(
        {.list = {.rule = source.info, .places = mask_of(lists::Place::attachment)},
         .entries = std::move(*list)});
    ++result_->files.back().compiled;
  }

  // A test of SpamAssassin's that looks at the message as a stream.
  void take_full_test(const SpamCompiler::FullTest& full) {
    ReadRule rule{.file = full.file, .source = full.source};
    rule.spam_test = full.test + 1;
    std::vector<std::string> notes;
    auto conditions = lower(full.source.buffers.front(), notes);
    if (!conditions) return spam_.refuse(full.test, conditions.error());
    for (const LoweredCondition& condition : *conditions) {
      const std::string reason = too_expensive(condition.pattern, true);
      if (!reason.empty()) return spam_.refuse(full.test, reason);
    }
    rule.conditions.push_back(std::move(*conditions));
    rules_.push_back(std::move(rule));
  }

  // Of rules with the same gid and sid the one with the highest revision stays, the later one if
  // these are equal.
  bool replaces_older(const std::string& file, std::uint32_t line, const ReadRule& rule) {
    const scan::RuleInfo& info = rule.source.info;
    const auto [at, added] = by_number_.try_emplace({info.gid, info.sid}, rules_.size());
    if (added) return true;
    ReadRule& older = rules_[at->second];
    const std::string where = older.file + " line " + std::to_string(older.source.line);
    if (info.revision < older.source.info.revision) {
      fault(file, line, info.name,
            "the same sid stands with a higher rev in " + where + ": this one is not used", false);
      return false;
    }
    older.refused = true;
    fault(older.file, older.source.line, info.name,
          "replaced by rev " + std::to_string(info.revision) + " of the same sid in " + file +
              " line " + std::to_string(line),
          false);
    at->second = rules_.size();
    return true;
  }

  void collect() {
    for (PatternTable& table : tables_) table = {};
    for (std::size_t i = 0; i < rules_.size(); ++i) {
      const ReadRule& rule = rules_[i];
      if (rule.refused) continue;
      for (std::size_t b = 0; b < rule.conditions.size(); ++b) {
        PatternTable& table = tables_[static_cast<std::size_t>(rule.source.buffers[b].buffer)];
        for (const LoweredCondition& condition : rule.conditions[b]) {
          table.users[table.number(condition.pattern)].push_back(i);
        }
      }
    }
    for (std::size_t b = 0; b < tables_.size(); ++b)
      tables_[b].divide(scan::is_stream(static_cast<scan::Buffer>(b)));
  }

  // False: some rules were refused and the tables must be made again.
  Result<bool> build() {
    std::vector<std::pair<std::size_t, std::future<Result<BuiltDatabase>>>> building;
    for (std::size_t b = 0; b < tables_.size(); ++b) {
      if (tables_[b].compiled == 0) continue;
      building.emplace_back(b, std::async(std::launch::async, [this, b] {
                              return build_database(
                                  std::span(tables_[b].patterns).first(tables_[b].compiled),
                                  scan::is_stream(static_cast<scan::Buffer>(b)), options_.cache);
                            }));
    }
    bool complete = true;
    std::string failure;
    for (auto& [b, future] : building) {
      auto built = future.get();
      if (!built) {
        failure = "buffer " + std::string(scan::kBufferNames[b]) + ": " + built.error();
        continue;
      }
      for (const BadPattern& bad : built->bad) {
        complete = false;
        for (const std::size_t user : tables_[b].users[bad.index]) {
          ReadRule& rule = rules_[user];
          if (rule.refused) continue;
          rule.refused = true;
          const std::string reason = "Hyperscan refuses one of its patterns: " + bad.reason;
          if (rule.spam_test != 0) {
            spam_.refuse(rule.spam_test - 1, reason);
          } else {
            fault(rule.file, rule.source.line, rule.source.info.name, reason);
          }
        }
      }
      tables_[b].serialized = std::move(built->serialized);
      tables_[b].report = {.buffer = static_cast<scan::Buffer>(b),
                           .patterns = tables_[b].patterns.size(),
                           .octets = built->octets,
                           .stream_octets = built->stream_octets,
                           .seconds = built->seconds,
                           .from_cache = built->from_cache};
    }
    if (!failure.empty()) return Error{failure};
    return complete;
  }

  void write() {
    flatbuffers::FlatBufferBuilder out(1 << 20);
    std::vector<flatbuffers::Offset<image::Rule>> rules;
    std::vector<image::ConditionGroup> groups;
    std::vector<flatbuffers::Offset<image::Confirmation>> confirmations;
    for (const ReadRule& rule : rules_) {
      if (rule.refused) continue;
      const auto number = static_cast<std::uint32_t>(rules.size());
      for (std::size_t b = 0; b < rule.conditions.size(); ++b) {
        const scan::Buffer buffer = rule.source.buffers[b].buffer;
        const auto group = static_cast<std::uint32_t>(groups.size());
        std::uint32_t masks[2] = {0, 0};
        for (std::size_t c = 0; c < rule.conditions[b].size(); ++c) {
          const LoweredCondition& condition = rule.conditions[b][c];
          masks[condition.negated ? 1 : 0] |= 1u << c;
          std::uint32_t confirm = 0;
          if (!condition.confirmation.empty()) {
            confirmations.push_back(confirmation(out, condition.confirmation));
            confirm = static_cast<std::uint32_t>(confirmations.size());
          }
          PatternTable& table = tables_[static_cast<std::size_t>(buffer)];
          table.references[table.number(condition.pattern)].emplace_back(
              group, confirm, static_cast<std::uint8_t>(c));
        }
        groups.emplace_back(number, masks[0], masks[1], static_cast<std::uint8_t>(b),
                            static_cast<std::uint8_t>(buffer));
      }
      const scan::RuleInfo& info = rule.source.info;
      const auto mask =
          static_cast<std::uint32_t>((std::uint64_t{1} << rule.conditions.size()) - 1);
      rules.push_back(
          image::CreateRule(out, info.gid, info.sid, info.revision, info.severity,
                            static_cast<std::uint8_t>(info.action), info.score,
                            out.CreateSharedString(info.name), out.CreateSharedString(info.message),
                            out.CreateSharedString(info.category), mask, rule.spam_test));
      if (rule.spam_test == 0) result_->rules.push_back(info);
    }
    std::vector<flatbuffers::Offset<image::Database>> databases;
    for (std::size_t b = 0; b < tables_.size(); ++b) {
      if (tables_[b].patterns.empty()) continue;
      databases.push_back(database(out, b, tables_[b]));
      DatabaseReport report = tables_[b].report;
      report.buffer = static_cast<scan::Buffer>(b);  // there may be literals alone
      report.literals = tables_[b].patterns.size() - tables_[b].compiled;
      report.patterns = tables_[b].compiled;
      result_->databases.push_back(report);
    }
    flatbuffers::Offset<image::SpamRules> spam;
    if (!spam_.empty()) {
      spam = flatbuffers::Offset<image::SpamRules>(spam_.write(out));
      const auto infos = spam_.infos();
      result_->rules.insert(result_->rules.end(), infos.begin(), infos.end());
    }
    out.Finish(
        image::CreateRuleset(out, out.CreateVector(rules), out.CreateVectorOfStructs(groups),
                             out.CreateVector(databases), out.CreateVector(confirmations), spam),
        contract::kRulesetSectionId);
    result_->image.assign(out.GetBufferPointer(), out.GetBufferPointer() + out.GetSize());
    EVP_Digest(result_->image.data(), result_->image.size(), result_->digest.data(), nullptr,
               EVP_sha256(), nullptr);
    result_->platform = databases.empty() && !spam_.has_database() ? 0 : this_platform();
  }

  static flatbuffers::Offset<image::Confirmation> confirmation(
      flatbuffers::FlatBufferBuilder& out, const std::vector<scan::StepSpec>& specs) {
    std::vector<flatbuffers::Offset<image::Step>> steps;
    for (const scan::StepSpec& spec : specs) {
      flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> literal;
      flatbuffers::Offset<flatbuffers::String> regex;
      if (spec.is_regex) {
        regex = out.CreateString(spec.regex);
      } else {
        literal = out.CreateVector(reinterpret_cast<const std::uint8_t*>(spec.literal.data()),
                                   spec.literal.size());
      }
      steps.push_back(image::CreateStep(out, literal, regex, spec.options, spec.nocase,
                                        spec.negated, spec.relative, spec.at_end, spec.offset,
                                        spec.length));
    }
    return image::CreateConfirmation(out, out.CreateVector(steps));
  }

  static flatbuffers::Offset<image::Database> database(flatbuffers::FlatBufferBuilder& out,
                                                       std::size_t buffer,
                                                       const PatternTable& table) {
    std::vector<std::uint32_t> first{0};
    std::vector<image::Reference> references;
    for (const auto& of_pattern : table.references) {
      references.insert(references.end(), of_pattern.begin(), of_pattern.end());
      first.push_back(static_cast<std::uint32_t>(references.size()));
    }
    std::vector<image::Literal> literals;
    std::vector<std::uint8_t> literal_octets;
    std::vector<flatbuffers::Offset<image::LiteralTail>> tails;
    for (std::size_t i = table.compiled; i < table.patterns.size(); ++i) {
      const Pattern& pattern = table.patterns[i];
      const auto number = static_cast<std::uint32_t>(i);
      for (const std::string& literal : pattern.literals) {
        literals.emplace_back(number, static_cast<std::uint32_t>(literal_octets.size()),
                              static_cast<std::uint8_t>(literal.size()), pattern.nocase);
        literal_octets.insert(literal_octets.end(), literal.begin(), literal.end());
      }
      if (pattern.tail.empty()) continue;
      std::vector<image::TailPosition> positions;
      for (const auto& p : pattern.tail)
        positions.emplace_back(flatbuffers::make_span(p.octets), p.optional, p.repeats);
      tails.push_back(image::CreateLiteralTail(out, number, out.CreateVectorOfStructs(positions)));
    }
    const auto patterns_offset = out.CreateVector(first);
    const auto references_offset = out.CreateVectorOfStructs(references);
    const auto literals_offset = out.CreateVectorOfStructs(literals);
    const auto octets_offset = out.CreateVector(literal_octets);
    const auto tails_offset = out.CreateVector(tails);
    out.ForceVectorAlignment(table.serialized.size(), 1, 8);
    return image::CreateDatabase(out, static_cast<std::uint8_t>(buffer),
                                 static_cast<std::uint32_t>(table.patterns.size()), patterns_offset,
                                 references_offset, out.CreateVector(table.serialized),
                                 literals_offset, octets_offset, tails_offset);
  }

  const CompileOptions& options_;
  SpamCompiler spam_;
  std::shared_ptr<CompiledRules> result_ = std::make_shared<CompiledRules>();
  std::vector<ReadRule> rules_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::size_t> by_number_;
  std::array<PatternTable, scan::kBufferCount> tables_;
};

// The files that a path stands for, folders in the order of names.
Result<std::vector<std::filesystem::path>> files_of(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return std::vector{path};
  std::vector<std::filesystem::path> files;
  for (std::filesystem::directory_iterator at(path, error), end; !error && at != end;
       at.increment(error)) {
    const auto extension = at->path().extension();
    if ((extension == ".rules" || extension == ".cf") && at->is_regular_file()) {
      files.push_back(at->path());
    }
  }
  if (error) return Error{path.string() + ": " + error.message()};
  std::ranges::sort(files);
  return files;
}

}  // namespace

Result<std::shared_ptr<const CompiledRules>> compile_rules(
    const std::vector<std::filesystem::path>& paths, const CompileOptions& options) {
  Compiler compiler(options);
  for (const std::filesystem::path& path : paths) {
    auto files = files_of(path);
    if (!files) return Error{files.error()};
    for (const std::filesystem::path& file : *files) {
      const auto octets = read_file(file);
      if (!octets) return Error{octets.error()};
      compiler.read_file(file, *octets);
    }
  }
  return compiler.compile();
}

}  // namespace sluice::control
