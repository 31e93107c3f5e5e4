#include "control/cli/offline.h"

#include <ostream>

#include "control/api/config.h"
#include "control/cli/text.h"
#include "control/identity/prefix.h"

namespace sluice::control {

const std::string& OfflinePolicy::wire() const {
  static const std::string kDefault = "w1";
  return spec.wires.empty() ? kDefault : spec.wires.front().name;
}

Result<OfflinePolicy> open_offline_policy(const OfflineOptions& options) {
  auto configuration = options.policy.empty() ? parse_configuration("{}", "defaults")
                                              : load_configuration(options.policy);
  if (!configuration) return Error{configuration.error()};
  OfflinePolicy made;
  made.spec = policy_spec(*configuration, 1, configured_host_rules(*configuration));
  for (const std::string& text : options.inside) {
    const auto prefix = parse_prefix(text);
    if (!prefix) return Error{"--inside " + text + ": " + prefix.error()};
    made.spec.inside.push_back(prefix->prefix);
  }
  made.spec.hash_messages = options.hash_messages;
  std::vector<std::filesystem::path> files = configuration->rule_files;
  files.insert(files.end(), options.rules.begin(), options.rules.end());
  auto rules = compile_rules(files, options.compile);
  if (!rules) return Error{rules.error()};
  made.rules = std::move(*rules);
  auto lists = load_match_lists(configuration->match_lists, made.rules->lists, {});
  if (!lists) return Error{lists.error()};
  for (const LoadedList& list : lists->lists) {
    if (!list.error.empty()) {
      return Error{"match list " + list.configured.name() + ": " + list.error};
    }
  }
  made.lists = std::move(*lists);
  auto image = build_image(made.spec, *made.rules, true, *made.lists.compiled);
  if (!image) return Error{image.error()};
  auto opened = policy::Policy::open(*image, {});
  if (!opened) return Error{opened.error()};
  made.policy = std::move(*opened);
  return made;
}

void print_faults(const CompiledRules& rules, std::ostream& out) {
  for (const RuleFault& f : rules.faults) {
    const std::string line = f.file + ":" + std::to_string(f.line) + ": " + f.rule +
                             (f.rule.empty() ? "" : ": ") + f.text +
                             (f.fatal ? " (refused)" : " (runs)");
    out << for_terminal(line) << "\n";
  }
}

void print_faults(const OfflinePolicy& policy, std::ostream& out) {
  print_faults(*policy.rules, out);
  for (const LoadedList& list : policy.lists.lists) {
    if (!list.list) continue;
    const std::string file = list.configured.file.string();
    for (const MatchListFault& f : list.list->faults) {
      out << for_terminal(file + ":" + std::to_string(f.line) + ": " + f.text) << " (left out)\n";
    }
  }
}

}  // namespace sluice::control
