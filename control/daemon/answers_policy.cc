// What is in force: policies, rules.
#include <algorithm>

#include "control/daemon/controller.h"
#include "control/daemon/request_values.h"
#include "control/identity/prefix.h"

namespace sluice::control {

using nlohmann::json;

json Controller::show_policies() const {
  json result = {
      {"epoch", publisher_->adopted_epoch()},
      {"adoptions", publisher_->adoptions()},
      {"refusals", publisher_->refusals()},
      {"last_refusal", publisher_->last_refusal()},
      {"adoption_seconds", static_cast<double>(publisher_->last_adoption_nanoseconds()) / 1e9},
      {"image_bytes", publisher_->last_image_size()},
      {"rules", rules_->rules.size()},
      {"groups", json::array()},
      {"detection", json::object()}};
  const auto score = [](std::int32_t hundredths) -> json {
    if (hundredths == INT32_MAX) return nullptr;
    return hundredths / 100.0;
  };
  for (const GroupSpec& g : config_->groups) {
    result["groups"].push_back(
        {{"name", g.group.name},
         {"members", g.members.size()},
         {"tag_score", score(g.group.tag_score)},
         {"tempfail_score", score(g.group.tempfail_score)},
         {"reject_score", score(g.group.reject_score)},
         {"rule_reject", contract::kVerdictNames[static_cast<std::size_t>(g.group.rule_reject)]},
         {"rule_drop", contract::kVerdictNames[static_cast<std::size_t>(g.group.rule_drop)]}});
  }
  const DetectionConfig& d = config_->detection;
  result["detection"] = {{"enabled", d.enabled},
                         {"window_seconds", d.window},
                         {"limit_threshold", d.limit_threshold},
                         {"block_threshold", d.block_threshold},
                         {"limit_rate", d.limit_rate},
                         {"limit_seconds", d.limit_duration},
                         {"block_seconds", d.block_duration},
                         {"acted_on", ladder_.acted_on_count()},
                         {"cap", ladder_.cap()}};
  return result;
}

json Controller::match_lists_json(const LoadedLists& loaded, std::size_t most_faults) {
  json all = json::array();
  std::size_t compiled = 0;
  for (const LoadedList& l : loaded.lists) {
    json j = {{"name", l.configured.name()},
              {"kind", kMatchKindNames[static_cast<std::size_t>(l.configured.kind)]},
              {"file", l.configured.file.string()},
              {"entries", l.list ? loaded.compiled->entries[compiled] : 0},
              {"lines", l.list ? l.list->lines : 0},
              {"bad_lines", l.list ? l.list->fault_count : 0},
              {"error", l.error},
              {"faults", json::array()}};
    if (l.list) {
      ++compiled;
      for (const MatchListFault& f : l.list->faults) {
        if (j["faults"].size() >= most_faults) break;
        j["faults"].push_back({{"line", f.line}, {"text", f.text}});
      }
    }
    all.push_back(std::move(j));
  }
  return all;
}

// Rules of files and those that lists are.
std::vector<const scan::RuleInfo*> Controller::all_rules() const {
  std::vector<const scan::RuleInfo*> all;
  for (const scan::RuleInfo& r : rules_->rules) all.push_back(&r);
  for (const lists::List& l : match_lists_.compiled->lists) all.push_back(&l.rule);
  return all;
}

json Controller::show_rules(const json& arguments) const {
  const std::size_t most = limit_of(arguments, 100);
  json result = {{"count", rules_->rules.size()},
                 {"refused", rules_->refused},
                 {"compile_seconds", rules_->compile_seconds},
                 {"files", json::array()},
                 {"rules", json::array()},
                 {"faults", json::array()}};
  for (const auto& f : config_->rule_files) result["files"].push_back(f.string());
  result["match_lists"] = match_lists_json(match_lists_, 20);
  constexpr const char* kActions[] = {"alert", "pass", "tempfail", "reject", "drop"};
  std::vector<std::pair<std::uint64_t, const scan::RuleInfo*>> ordered;
  for (const scan::RuleInfo* r : all_rules())
    ordered.emplace_back(traffic_.hits(r->gid, r->sid), r);
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  for (const auto& [hits, r] : ordered) {
    if (result["rules"].size() >= most) break;
    result["rules"].push_back({{"gid", r->gid},
                               {"sid", r->sid},
                               {"rev", r->revision},
                               {"name", r->name},
                               {"message", r->message},
                               {"category", r->category},
                               {"severity", r->severity},
                               {"action", kActions[static_cast<std::size_t>(r->action)]},
                               {"score", r->score / 100.0},
                               {"hits", hits}});
  }
  for (const RuleFault& f : rules_->faults) {
    if (result["faults"].size() >= most) break;
    result["faults"].push_back({{"file", f.file},
                                {"line", f.line},
                                {"rule", f.rule},
                                {"text", f.text},
                                {"fatal", f.fatal}});
  }
  return result;
}

}  // namespace sluice::control
