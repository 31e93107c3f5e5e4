#include "control/daemon/config_edits.h"

#include "control/api/config.h"
#include "control/api/config_words.h"
#include "control/api/migrate.h"
#include "control/api/restconf.h"

namespace sluice::control {
namespace {

using nlohmann::json;

constexpr std::size_t kMostWords = 4096;

json fault_json(const restconf::Fault& fault) {
  return {{"status", fault.status},
          {"type", fault.type},
          {"tag", fault.tag},
          {"message", fault.message},
          {"path", fault.path}};
}

restconf::Method method_of(const std::string& name) {
  if (name == "POST") return restconf::Method::post;
  if (name == "PUT") return restconf::Method::put;
  return name == "PATCH" ? restconf::Method::patch : restconf::Method::remove;
}

ConfigEdits edit_resource(const Model& model, ConfigTree& tree, const json& operation) {
  ConfigEdits out;
  const auto refuse = [&out](const restconf::Fault& fault) {
    out.error = fault.message;
    out.fault = fault_json(fault);
    return out;
  };
  const auto path = restconf::parse_path(operation.value("path", std::string{}));
  if (!path) return refuse({400, "protocol", "invalid-value", path.error(), {}});
  restconf::Target target;
  if (const auto f = restconf::resolve(model, *path, target); f) return refuse(f);
  restconf::Edited edited;
  const json whole = json::parse(tree.json(), nullptr, false);
  const restconf::Method method = method_of(operation.value("method", std::string{}));
  const json body = operation.value("body", json());
  if (const auto f = restconf::edit(model, whole, target, method, body, edited); f) {
    return refuse(f);
  }
  auto after = tree_of(model, edited.whole.dump(), "request");
  if (!after) return refuse({400, "application", "invalid-value", after.error(), {}});
  tree = std::move(*after);
  out.report = {{"created", edited.created}, {"location", edited.location}};
  return out;
}

std::string edit_words(const Model& model, ConfigTree& tree, const std::string& operation,
                       const json& arguments) {
  const auto words = words_of(arguments);
  if (!words) return words.error();
  if (operation == "delete" && arguments.value("if_there", false)) {
    const auto parsed = parse_config_words(model, *words, WordsUse::remove);
    const bool there = !parsed.targets.empty() && node_at(tree, parsed.targets.front()) != nullptr;
    if (parsed.error.empty() && !there) return {};
  }
  return edit_tree(tree, operation, *words).error;
}

}  // namespace

Result<ConfigTree> tree_of(const Model& model, std::string_view text, std::string_view name) {
  auto migrated = migrate(text, name);
  if (!migrated) return Error{migrated.error()};
  auto tree = ConfigTree::parse(model, migrated->text, name);
  if (tree) mark_version(*tree);
  return tree;
}

Result<std::vector<std::string>> words_of(const json& arguments) {
  std::vector<std::string> words;
  const auto found = arguments.find("words");
  if (found == arguments.end()) return words;
  if (!found->is_array() || found->size() > kMostWords) return Error{"'words' is no list of words"};
  for (const json& w : *found) {
    if (!w.is_string()) return Error{"'words' is no list of words"};
    words.push_back(w.get<std::string>());
  }
  return words;
}

ConfigEdits apply_edits(const Model& model, ConfigTree& tree, const json& operations) try {
  ConfigEdits out;
  if (!operations.is_array() || operations.empty()) {
    out.error = "no edits";
    return out;
  }
  for (const json& o : operations) {
    const std::string operation = o.value("operation", std::string("set"));
    if (operation == "restconf") {
      out = edit_resource(model, tree, o);
    } else if (operation == "merge") {
      const auto given = tree_of(model, o.value("text", std::string{}), "edit");
      if (given) {
        tree.merge(*given);
      } else {
        out.error = given.error();
      }
    } else {
      out.error = edit_words(model, tree, operation, o);
    }
    if (!out.error.empty()) return out;
  }
  return out;
} catch (const json::exception& e) {
  ConfigEdits out;
  out.error = std::string("malformed request: ") + e.what();
  return out;
}

}  // namespace sluice::control
