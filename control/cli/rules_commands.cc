#include "control/cli/rules_commands.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <map>
#include <ostream>

#include "control/cli/commands.h"
#include "control/cli/message_files.h"
#include "control/cli/offline.h"
#include "control/cli/text.h"
#include "control/policy/rules.h"
#include "dataplane/inspect/engine.h"

namespace sluice::control {
namespace {

using nlohmann::json;

std::string dumped(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

void print_error(std::ostream& errors, const std::string& error) {
  errors << "sluicectl: " << for_terminal(error) << "\n";
}

std::vector<std::filesystem::path> paths_of(const json& arguments, const char* key) {
  std::vector<std::filesystem::path> paths;
  for (const json& one : arguments.value(key, json::array())) {
    paths.emplace_back(one.get<std::string>());
  }
  return paths;
}

std::string decimal(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

json check_report(const CompiledRules& rules) {
  json result = {{"rules", rules.rules.size() + rules.lists.size()},
                 {"refused", rules.refused},
                 {"compile_seconds", rules.compile_seconds},
                 {"image_octets", rules.image.size()},
                 {"names", json::array()},
                 {"files", json::array()},
                 {"databases", json::array()},
                 {"faults", json::array()}};
  for (const scan::RuleInfo& r : rules.rules) result["names"].push_back(r.name);
  for (const ListToCompile& l : rules.lists) result["names"].push_back(l.list.rule.name);
  for (const RuleFileReport& f : rules.files) {
    result["files"].push_back({{"file", f.file}, {"compiled", f.compiled}, {"refused", f.refused}});
  }
  for (const DatabaseReport& d : rules.databases) {
    result["databases"].push_back(
        {{"buffer", scan::kBufferNames[static_cast<std::size_t>(d.buffer)]},
         {"patterns", d.patterns},
         {"literals", d.literals},
         {"octets", d.octets},
         {"stream_octets", d.stream_octets},
         {"seconds", d.seconds},
         {"from_cache", d.from_cache}});
  }
  for (const RuleFault& f : rules.faults) {
    result["faults"].push_back({{"file", f.file},
                                {"line", f.line},
                                {"rule", f.rule},
                                {"text", f.text},
                                {"fatal", f.fatal}});
  }
  return result;
}

void print_check(const CompiledRules& rules, std::size_t width, std::ostream& out,
                 std::ostream& errors) {
  print_faults(rules, errors);
  Table files({{"FILE", false, true}, {"COMPILED", true}, {"REFUSED", true}});
  for (const RuleFileReport& f : rules.files) {
    files.add({f.file, count_text(f.compiled), count_text(f.refused)});
  }
  out << files.text(width);
  if (!rules.databases.empty()) {
    Table databases({{"BUFFER"},
                     {"PATTERNS", true},
                     {"LITERALS", true},
                     {"DATABASE", true},
                     {"STATE/MESSAGE", true},
                     {"COMPILED IN", true}});
    for (const DatabaseReport& d : rules.databases) {
      databases.add({std::string(scan::kBufferNames[static_cast<std::size_t>(d.buffer)]),
                     count_text(d.patterns), count_text(d.literals), octets_text(d.octets),
                     scan::is_stream(d.buffer) ? octets_text(d.stream_octets) : "-",
                     d.from_cache ? "cached" : decimal(d.seconds, 2) + " s"});
    }
    out << "\n" << databases.text(width);
  }
  out << "\n"
      << count_text(rules.rules.size() + rules.lists.size()) << " rules, "
      << count_text(rules.refused) << " refused, compiled in " << decimal(rules.compile_seconds, 2)
      << " s\n";
}

// What the events of one message say of it.
class Outcome final : public contract::EventSink {
 public:
  bool write(Bytes record) override {
    auto reader = contract::EventReader::open(record);
    if (!reader) return false;
    if (reader->header().type != contract::EventType::smtp) return true;
    while (const auto item = reader->next()) {
      switch (item->field) {
        case contract::Field::score:
          score = item->signed_number();
          break;
        case contract::Field::verdict:
          verdict = std::min<std::size_t>(item->number(), std::size(contract::kVerdictNames) - 1);
          break;
        case contract::Field::reason:
          reason = item->text();
          break;
        case contract::Field::rule:
          rules.emplace_back(item->text());
          break;
        default:
          break;
      }
    }
    return true;
  }
  void clear() {
    score = 0;
    verdict = 0;
    reason.clear();
    rules.clear();
  }

  std::int32_t score = 0;  // hundredths
  std::size_t verdict = 0;
  std::string reason;
  std::vector<std::string> rules;
};

class NoOutput final : public inspect::Output {
 public:
  void forward(inspect::Frame&, bool) override {}
  void drop(inspect::Frame&, contract::DropReason) override {}
  void inject(std::uint16_t, Side, Bytes) override {}
  void mark_flow(const flow::FlowKey&, inspect::FlowMark) override {}
};

std::uint64_t cpu_nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint64_t wall_nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

struct Totals {
  std::uint64_t messages = 0;
  std::uint64_t octets = 0;
  std::uint64_t nanoseconds = 0;
  std::map<std::string, std::uint64_t> hits;      // by rule
  std::map<std::string, std::uint64_t> verdicts;  // by name
};

// Microseconds of a message by group of SpamAssassin's rules, without those that took none. The
// clock is the wall's, for it costs the least; the shares are of the CPU time that was measured.
std::vector<std::pair<std::string, double>> times_of(const Totals& totals,
                                                     const scan::SpamTimes& times) {
  double all = 0;
  for (const std::uint64_t spent : times.by_group()) all += static_cast<double>(spent);
  std::vector<std::pair<std::string, double>> found;
  if (all == 0 || totals.messages == 0) return found;
  const double share =
      static_cast<double>(totals.nanoseconds) / all / 1e3 / static_cast<double>(totals.messages);
  bool any = false;
  for (std::size_t i = 0; i < scan::kSpamGroupCount; ++i) {
    if (times.by_group()[i] == 0) continue;
    any |= i != static_cast<std::size_t>(scan::SpamGroup::other);
    found.emplace_back(scan::kSpamGroupNames[i], static_cast<double>(times.by_group()[i]) * share);
  }
  if (!any) found.clear();  // no such rules
  return found;
}

json summary_of(const Totals& totals) {
  json summary = {{"messages", totals.messages},
                  {"octets", totals.octets},
                  {"cpu_seconds", static_cast<double>(totals.nanoseconds) / 1e9},
                  {"verdicts", totals.verdicts},
                  {"hits", totals.hits}};
  if (totals.messages > 0) {
    summary["microseconds_per_message"] =
        static_cast<double>(totals.nanoseconds) / 1e3 / static_cast<double>(totals.messages);
  }
  return summary;
}

void print_summary(const Totals& totals, const scan::SpamTimes& times, std::size_t width,
                   std::ostream& errors) {
  std::vector<std::pair<std::uint64_t, std::string>> order;
  for (const auto& [name, count] : totals.hits) order.emplace_back(count, name);
  std::ranges::sort(order, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  constexpr std::size_t kShown = 40;
  Table table({{"RULE", false, true}, {"MESSAGES", true}});
  order.resize(std::min(order.size(), kShown));
  for (const auto& [count, name] : order) table.add({name, count_text(count)});
  if (!table.empty()) errors << "\n" << table.text(width);
  Table groups({{"TIME BY GROUP", false, true}, {"US/MESSAGE", true}});
  for (const auto& [name, microseconds] : times_of(totals, times))
    groups.add({name, decimal(microseconds, 1)});
  if (!groups.empty()) errors << "\n" << groups.text(width);
  errors << "\n" << count_text(totals.messages) << " messages";
  for (const auto& [name, count] : totals.verdicts) {
    errors << ", " << count_text(count) << " " << name;
  }
  if (totals.messages > 0) {
    errors << "; "
           << decimal(static_cast<double>(totals.nanoseconds) / 1e3 /
                          static_cast<double>(totals.messages),
                      1)
           << " us of CPU a message of " << octets_text(totals.octets / totals.messages);
  }
  errors << "\n";
}

}  // namespace

int rules_check(const json& arguments, const RunOptions& run, std::ostream& out,
                std::ostream& errors) {
  const auto compiled = compile_rules(paths_of(arguments, "files"));
  if (!compiled) {
    print_error(errors, compiled.error());
    return kFailed;
  }
  const CompiledRules& rules = **compiled;
  if (run.as_json) {
    out << dumped(check_report(rules), 2) << "\n";
  } else {
    print_check(rules, run.width, out, errors);
  }
  if (rules.refused == 0) return kDone;
  return rules.rules.empty() && rules.lists.empty() ? kFailed : kPartial;
}

int rules_test(const json& arguments, const RunOptions& run, std::ostream& out,
               std::ostream& errors) {
  OfflineOptions options;
  options.policy = arguments.value("policy", std::string{});
  options.rules = paths_of(arguments, "rules");
  options.compile.cache = arguments.value("cache", std::string{});
  options.hash_messages = false;
  if (options.policy.empty() && options.rules.empty()) {
    print_error(errors,
                "rules test: give the rules (--rules PATH) or a configuration that names some "
                "(--policy FILE)");
    return kUsage;
  }
  const auto prepared = open_offline_policy(options);
  if (!prepared) {
    print_error(errors, prepared.error());
    return kFailed;
  }
  print_faults(*prepared, errors);

  inspect::Settings settings;
  settings.wires = {prepared->wire()};
  settings.max_flows = 16;
  scan::SpamTimes times(&wall_nanoseconds);
  // Asking the clock costs time: where the figures are for a machine, only when it asks.
  const bool by_group = arguments.value("times", false);
  if (!run.as_json || by_group) settings.spam_times = &times;
  auto statistics = std::make_unique<contract::WorkerStatistics>();
  Outcome outcome;
  NoOutput output;
  inspect::Engine engine(settings, *statistics, outcome, output, std::pmr::new_delete_resource());
  if (Status set = engine.set_policy(*prepared->policy); !set) {
    print_error(errors, set.error());
    return kFailed;
  }
  const auto wall = static_cast<std::uint64_t>(::time(nullptr)) * 1'000'000'000;
  Totals totals;
  const Status status =
      for_each_message(paths_of(arguments, "messages"), [&](const MessageFile& message) {
        outcome.clear();
        times.begin(scan::SpamGroup::other);
        const std::uint64_t begin = cpu_nanoseconds();
        engine.inspect_message(as_bytes(message.octets), {.monotonic = wall, .wall = wall});
        const std::uint64_t took = cpu_nanoseconds() - begin;
        times.end();
        ++totals.messages;
        totals.octets += message.octets.size();
        totals.nanoseconds += took;
        const std::string verdict(contract::kVerdictNames[outcome.verdict]);
        ++totals.verdicts[verdict];
        std::ranges::sort(outcome.rules);
        for (const std::string& rule : outcome.rules) ++totals.hits[rule];
        const double score = outcome.score / 100.0;
        if (run.as_json) {
          out << dumped({{"file", message.name},
                         {"score", score},
                         {"verdict", verdict},
                         {"reason", outcome.reason},
                         {"rules", outcome.rules},
                         {"octets", message.octets.size()},
                         {"microseconds", static_cast<double>(took) / 1e3}},
                        -1)
              << "\n";
        } else {
          std::string line = decimal(score, 2);
          line.insert(0, line.size() < 7 ? 7 - line.size() : 0, ' ');
          line += "  " + verdict + std::string(verdict.size() < 8 ? 8 - verdict.size() : 0, ' ') +
                  "  " + message.name;
          for (const std::string& rule : outcome.rules) line += " " + rule;
          out << for_terminal(line) << "\n";
        }
        return static_cast<bool>(out);  // the reader may have gone
      });
  out.flush();
  if (!status) {
    print_error(errors, status.error());
    return kFailed;
  }
  if (run.as_json && (by_group || arguments.value("summary", false))) {
    json summary = summary_of(totals);
    if (by_group) {
      summary["groups"] = json::object();
      for (const auto& [name, microseconds] : times_of(totals, times))
        summary["groups"][name] = microseconds;
    }
    out << dumped({{"summary", summary}}, -1) << "\n";
  } else if (!run.as_json) {
    print_summary(totals, times, run.width, errors);
  }
  return prepared->rules->refused == 0 ? kDone : kPartial;
}

}  // namespace sluice::control
