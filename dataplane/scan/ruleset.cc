#include "dataplane/scan/ruleset.h"

#include <hs_runtime.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>

#include "dataplane/contract/policy_image_tables.h"
#include "dataplane/scan/spam_rules.h"

namespace sluice::scan {

namespace image = contract::image;

void DatabaseDeleter::operator()(hs_database* database) const { hs_free_database(database); }

namespace {

constexpr std::uint32_t kMostCompiled = 1024;  // confirmations with machine code

std::string place(const char* table, std::size_t index, const char* what) {
  return std::string("ruleset section: ") + table + " " + std::to_string(index) + ": " + what;
}

}  // namespace

Ruleset::Ruleset() {
  static std::atomic<std::uint64_t> last{0};
  identity_ = last.fetch_add(1, std::memory_order_relaxed) + 1;
}

Ruleset::~Ruleset() = default;

std::shared_ptr<const Ruleset> Ruleset::empty() {
  return std::shared_ptr<const Ruleset>(new Ruleset());
}

Status Ruleset::runs(contract::Platform platform) {
  if (platform == 0) return ok();
  if (hs_valid_platform() != HS_SUCCESS) {
    return Error{"this CPU lacks the instructions that Hyperscan needs (SSSE3 at least)"};
  }
  unsigned major = 0;
  unsigned minor = 0;
  if (const char* version = hs_version()) {
    char* rest = nullptr;
    major = static_cast<unsigned>(std::strtoul(version, &rest, 10));
    if (rest != nullptr && *rest == '.') {
      minor = static_cast<unsigned>(std::strtoul(rest + 1, nullptr, 10));
    }
  }
  const unsigned theirs_major = platform >> 24;
  const unsigned theirs_minor = (platform >> 16) & 0xff;
  if (major != theirs_major || minor != theirs_minor) {
    return Error{"its databases were compiled by Hyperscan " + std::to_string(theirs_major) + "." +
                 std::to_string(theirs_minor) + " and this process runs " + std::to_string(major) +
                 "." + std::to_string(minor)};
  }
  std::string missing;
#if defined(__x86_64__)
  if ((platform & contract::kPlatformAvx2) && !__builtin_cpu_supports("avx2")) missing += " AVX2";
  if ((platform & contract::kPlatformAvx512) && !__builtin_cpu_supports("avx512bw")) {
    missing += " AVX512BW";
  }
  if ((platform & contract::kPlatformAvx512Vbmi) && !__builtin_cpu_supports("avx512vbmi")) {
    missing += " AVX512VBMI";
  }
#endif
  if (!missing.empty()) {
    return Error{"its databases need CPU features that are missing here:" + missing};
  }
  constexpr contract::Platform kKnown =
      contract::kPlatformAvx2 | contract::kPlatformAvx512 | contract::kPlatformAvx512Vbmi;
  if ((platform & 0xff & ~kKnown) != 0) {
    return Error{"its databases need CPU features that this version does not know"};
  }
  return ok();
}

// Turns the verified tables into a Ruleset, checking every index and value on the way.
class RulesetLoader {
 public:
  static Result<std::shared_ptr<const Ruleset>> load(const image::Ruleset& tables) {
    std::shared_ptr<Ruleset> ruleset(new Ruleset());
    RulesetLoader loader(*ruleset, tables);
    for (const auto part :
         {&RulesetLoader::rules, &RulesetLoader::groups, &RulesetLoader::confirmations,
          &RulesetLoader::databases, &RulesetLoader::spam}) {
      if (Status status = (loader.*part)(); !status) return Error{status.error()};
    }
    return std::shared_ptr<const Ruleset>(std::move(ruleset));
  }

 private:
  RulesetLoader(Ruleset& ruleset, const image::Ruleset& tables)
      : ruleset_(ruleset), tables_(tables) {}

  Status rules() {
    const auto& rules = *tables_.rules();
    ruleset_.rules_.reserve(rules.size());
    for (std::uint32_t i = 0; i < rules.size(); ++i) {
      const image::Rule* rule = rules[i];
      if (rule->action() > static_cast<std::uint8_t>(RuleAction::drop)) {
        return Error{place("rule", i, "unknown action")};
      }
      if (rule->groups() == 0) return Error{place("rule", i, "no conditions")};
      ruleset_.rules_.push_back({.gid = rule->gid(),
                                 .sid = rule->sid(),
                                 .revision = rule->revision(),
                                 .severity = rule->severity(),
                                 .action = static_cast<RuleAction>(rule->action()),
                                 .score = rule->score(),
                                 .name = rule->name()->str(),
                                 .message = rule->message()->str(),
                                 .category = rule->category()->str()});
      ruleset_.group_masks_.push_back(rule->groups());
      ruleset_.wheres_.push_back(Buffer::stream);
      ruleset_.spam_tests_.push_back(rule->spam_test());
    }
    return ok();
  }

  Status spam() {
    std::size_t tests = 0;
    if (tables_.spam() != nullptr) {
      auto opened = SpamRules::open(*tables_.spam());
      if (!opened) return Error{opened.error()};
      ruleset_.spam_ = std::move(*opened);
      tests = ruleset_.spam_->tests().size();
    }
    for (std::uint32_t i = 0; i < ruleset_.spam_tests_.size(); ++i) {
      const std::uint32_t test = ruleset_.spam_tests_[i];
      if (test > tests || (test != 0 && ruleset_.spam_->tests()[test - 1].kind != TestKind::full)) {
        return Error{place("rule", i, "it stands for a test that is not there")};
      }
    }
    return ok();
  }

  Status groups() {
    const auto& groups = *tables_.groups();
    std::vector<std::uint32_t> seen(ruleset_.rules_.size(), 0);
    ruleset_.groups_.reserve(groups.size());
    for (std::uint32_t i = 0; i < groups.size(); ++i) {
      const image::ConditionGroup& group = *groups[i];
      if (group.rule() >= seen.size()) return Error{place("group", i, "no such rule")};
      // Bit 31 is kept free: it marks rules that have hit (message_scan.cc).
      if (group.bit() >= 31) return Error{place("group", i, "bit out of range")};
      const std::uint32_t bit = 1u << group.bit();
      if ((group.positive() | group.negative()) == 0 ||
          (group.positive() & group.negative()) != 0) {
        return Error{place("group", i, "contradictory conditions")};
      }
      if ((seen[group.rule()] & bit) != 0) return Error{place("group", i, "bit used twice")};
      if (group.buffer() >= kBufferCount) return Error{place("group", i, "unknown buffer")};
      seen[group.rule()] |= bit;
      Buffer& where = ruleset_.wheres_[group.rule()];
      where = std::max(where, static_cast<Buffer>(group.buffer()));
      ruleset_.groups_.push_back({group.rule(), group.positive(), group.negative(), bit});
      if (group.positive() == 0) {
        ruleset_.databases_[group.buffer()].negative_only.push_back(i);
      }
    }
    for (std::size_t i = 0; i < seen.size(); ++i) {
      if (seen[i] != ruleset_.group_masks_[i]) {
        return Error{place("rule", i, "its groups are not all there")};
      }
    }
    return ok();
  }

  Status confirmations() {
    const auto& confirmations = *tables_.confirmations();
    for (std::uint32_t i = 0; i < confirmations.size(); ++i) {
      std::vector<StepSpec> steps;
      for (const image::Step* step : *confirmations[i]->steps()) {
        StepSpec spec;
        if ((step->literal() == nullptr) == (step->regex() == nullptr)) {
          return Error{place("confirmation", i, "a step is not either a literal or a regex")};
        }
        if (step->literal() != nullptr) {
          spec.literal.assign(step->literal()->begin(), step->literal()->end());
        } else {
          spec.is_regex = true;
          spec.regex = step->regex()->str();
        }
        spec.options = step->options();
        spec.nocase = step->nocase();
        spec.negated = step->negated();
        spec.relative = step->relative();
        spec.at_end = step->at_end();
        spec.offset = step->offset();
        spec.length = step->length();
        steps.push_back(std::move(spec));
      }
      auto made = Confirmation::make(std::move(steps), i < kMostCompiled);
      if (!made) return Error{place("confirmation", i, made.error().c_str())};
      ruleset_.confirmations_.push_back(std::move(*made));
    }
    return ok();
  }

  Status databases() {
    const auto& databases = *tables_.databases();
    for (std::uint32_t i = 0; i < databases.size(); ++i) {
      if (Status status = database(i, *databases[i]); !status) return status;
    }
    for (std::uint32_t i = 0; i < ruleset_.groups_.size(); ++i) {
      const std::uint8_t buffer = (*tables_.groups())[i]->buffer();
      if (!ruleset_.databases_[buffer].used()) {
        return Error{place("group", i, "its buffer has no database")};
      }
    }
    return ok();
  }

  Status database(std::uint32_t index, const image::Database& table) {
    if (table.buffer() >= kBufferCount) return Error{place("database", index, "unknown buffer")};
    Database& database = ruleset_.databases_[table.buffer()];
    if (database.used()) return Error{place("database", index, "its buffer has one already")};
    const auto& first = *table.first();
    const auto& references = *table.references();
    if (table.patterns() == UINT32_MAX || first.size() != table.patterns() + 1 || first[0] != 0 ||
        first[first.size() - 1] != references.size()) {
      return Error{place("database", index, "its pattern table has the wrong length")};
    }
    for (std::uint32_t i = 1; i < first.size(); ++i) {
      if (first[i] < first[i - 1]) {
        return Error{place("database", index, "its pattern table is not in order")};
      }
    }
    database.first.assign(first.begin(), first.end());
    database.references.reserve(references.size());
    for (const image::Reference* reference : references) {
      if (reference->group() >= ruleset_.groups_.size() ||
          reference->confirm() > ruleset_.confirmations_.size() || reference->bit() >= 32) {
        return Error{place("database", index, "a reference is out of range")};
      }
      const std::uint32_t condition = 1u << reference->bit();
      const ConditionGroup& group = ruleset_.groups_[reference->group()];
      if (((group.positive | group.negative) & condition) == 0 ||
          (*tables_.groups())[reference->group()]->buffer() != table.buffer()) {
        return Error{place("database", index, "a reference is to a condition that is not there")};
      }
      database.confirms |= reference->confirm() != 0;
      database.references.push_back({reference->group(), reference->confirm(), condition});
    }
    if (Status status = literals(index, table, database); !status) return status;
    if (Status status = tails(index, table, database); !status) return status;
    if (table.serialized()->size() == 0 && database.literals) return ok();
    return deserialize(index, table, database);
  }

  static Status literals(std::uint32_t index, const image::Database& table, Database& database) {
    if (table.literals() == nullptr || table.literals()->size() == 0) return ok();
    if (!is_stream(static_cast<Buffer>(table.buffer())) || table.literal_octets() == nullptr) {
      return Error{place("database", index, "literals where there can be none")};
    }
    const Bytes octets(table.literal_octets()->data(), table.literal_octets()->size());
    std::vector<LiteralSet::Literal> list;
    list.reserve(table.literals()->size());
    for (const image::Literal* literal : *table.literals()) {
      if (literal->pattern() >= table.patterns() || literal->size() < LiteralSet::kShortest ||
          literal->size() > LiteralSet::kLongest || literal->first() > octets.size() ||
          literal->size() > octets.size() - literal->first()) {
        return Error{place("database", index, "a literal is out of range")};
      }
      list.push_back({literal->pattern(), octets.subspan(literal->first(), literal->size()),
                      literal->nocase()});
    }
    database.literals = std::make_unique<const LiteralSet>(list);
    database.size = database.literals->size();
    return ok();
  }

  static Status tails(std::uint32_t index, const image::Database& table, Database& database) {
    if (!database.literals) return ok();
    database.tail_of.resize(table.patterns());
    if (table.tails() == nullptr) return ok();
    for (const image::LiteralTail* tail : *table.tails()) {
      if (tail->pattern() >= table.patterns() || database.tail_of[tail->pattern()] != 0 ||
          tail->positions()->size() > LiteralTail::kMostPositions) {
        return Error{place("database", index, "the tail of a literal is out of range")};
      }
      std::vector<LiteralTail::Position> positions;
      for (const image::TailPosition* position : *tail->positions()) {
        LiteralTail::Position& p = positions.emplace_back();
        std::copy(position->octets()->begin(), position->octets()->end(), p.octets.begin());
        p.optional = position->optional();
        p.repeats = position->repeats();
      }
      database.tails.emplace_back(positions);
      database.size += database.tails.back().size();
      database.tail_of[tail->pattern()] = static_cast<std::uint32_t>(database.tails.size());
    }
    return ok();
  }

  static Status deserialize(std::uint32_t index, const image::Database& table, Database& database) {
    const auto* octets = reinterpret_cast<const char*>(table.serialized()->data());
    hs_database_t* compiled = nullptr;
    const hs_error_t error = hs_deserialize_database(octets, table.serialized()->size(), &compiled);
    if (error != HS_SUCCESS) {
      const char* what = error == HS_DB_VERSION_ERROR    ? "of another Hyperscan version"
                         : error == HS_DB_PLATFORM_ERROR ? "for another CPU"
                                                         : "damaged, or there is no memory for it";
      return Error{place("database", index, what)};
    }
    database.compiled.reset(compiled);
    std::size_t size = 0;
    hs_database_size(compiled, &size);
    database.size += size;
    const bool streaming = hs_stream_size(compiled, &database.stream_size) == HS_SUCCESS;
    if (streaming != is_stream(static_cast<Buffer>(table.buffer()))) {
      return Error{place("database", index, "of the wrong mode for its buffer")};
    }
    return ok();
  }

  Ruleset& ruleset_;
  const image::Ruleset& tables_;
};

Result<std::shared_ptr<const Ruleset>> Ruleset::open(Bytes section) {
  if (section.size() < 16 || section.size() > contract::kMaxSectionSize) {
    return Error{"ruleset section: " + std::to_string(section.size()) +
                 " octets cannot be a ruleset"};
  }
  if (reinterpret_cast<std::uintptr_t>(section.data()) % 8 != 0) {
    return Error{"ruleset section: not aligned in memory"};
  }
  if (!flatbuffers::BufferHasIdentifier(section.data(), contract::kRulesetSectionId)) {
    return Error{"ruleset section: its identifier is not " +
                 std::string(contract::kRulesetSectionId)};
  }
  flatbuffers::Verifier verifier(section.data(), section.size(), contract::kPolicyImageDepth,
                                 contract::kPolicyImageTables);
  if (!verifier.VerifyBuffer<image::Ruleset>(contract::kRulesetSectionId)) {
    return Error{"ruleset section: its tables reach out of bounds or lack required fields"};
  }
  return RulesetLoader::load(*flatbuffers::GetRoot<image::Ruleset>(section.data()));
}

}  // namespace sluice::scan
