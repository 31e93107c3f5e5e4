#include "control/policy/loaded_lists.h"

#include <algorithm>
#include <tuple>

namespace sluice::control {
namespace {

bool same(const lists::List& a, const lists::List& b) {
  const auto key = [](const lists::List& l) {
    const scan::RuleInfo& r = l.rule;
    return std::tie(l.places, r.gid, r.sid, r.revision, r.severity, r.action, r.score, r.name,
                    r.message, r.category);
  };
  return key(a) == key(b);
}

}  // namespace

Result<LoadedLists> load_match_lists(const std::vector<MatchListConfig>& configured,
                                     const std::vector<ListToCompile>& of_rules,
                                     const LoadedLists& before) {
  LoadedLists loaded;
  loaded.of_rules = of_rules;
  for (const MatchListConfig& config : configured) {
    LoadedList one{.configured = config};
    const auto old = std::ranges::find_if(before.lists, [&](const LoadedList& l) {
      return l.configured.name() == config.name() && l.configured.kind == config.kind;
    });
    const auto last = old == before.lists.end() ? nullptr : old->list;
    auto read = read_match_list(config.file, config.kind, config.allow_empty, last);
    if (read) {
      one.list = std::move(*read);
    } else {
      one.error = read.error();
      one.list = last;
    }
    loaded.lists.push_back(std::move(one));
  }
  const bool unchanged =
      std::ranges::equal(loaded.lists, before.lists,
                         [](const LoadedList& a, const LoadedList& b) {
                           return a.list == b.list && same(a.configured.list, b.configured.list);
                         }) &&
      std::ranges::equal(loaded.of_rules, before.of_rules,
                         [](const ListToCompile& a, const ListToCompile& b) {
                           return a.entries == b.entries && same(a.list, b.list);
                         });
  if (unchanged) {
    loaded.compiled = before.compiled;
    return loaded;
  }
  std::vector<ListToCompile> parts;
  for (const LoadedList& one : loaded.lists) {
    if (one.list) parts.push_back({one.configured.list, one.list});
  }
  parts.insert(parts.end(), of_rules.begin(), of_rules.end());
  auto compiled = compile_lists(parts);
  if (!compiled) return Error{compiled.error()};
  loaded.compiled = std::move(*compiled);
  return loaded;
}

}  // namespace sluice::control
