#include "control/api/migrate.h"

#include <nlohmann/json.hpp>

#include "control/api/json_text.h"

namespace sluice::control {
namespace {

using Json = nlohmann::ordered_json;
using Notes = std::vector<std::string>;

// Moves `from`/`leaf` to `to`/`new_leaf` when the one is there and the other is not.
void move_leaf(Json& root, const char* from, const char* leaf, const char* to, const char* new_leaf,
               Notes& notes) {
  const auto parent = root.find(from);
  if (parent == root.end() || !parent->is_object()) return;
  const auto found = parent->find(leaf);
  if (found == parent->end()) return;
  if (const auto target = root.find(to);
      target != root.end() && (!target->is_object() || target->contains(new_leaf))) {
    return;  // both: whoever checks it says that the old one is not known
  }
  Json value = std::move(*found);
  parent->erase(leaf);
  if (parent->empty()) root.erase(from);
  root[to][new_leaf] = std::move(value);
  notes.push_back(std::string(from) + "/" + leaf + " is now " + to + "/" + new_leaf);
}

// Version 2: how hosts are told apart is a matter of its own, and bounds stand together.
void to_version_2(Json& root, Notes& notes) {
  move_leaf(root, "detection", "ipv6-prefix-length", "identity", "ipv6-prefix-length", notes);
  move_leaf(root, "detection", "ipv6-single-host", "identity", "ipv6-single-host", notes);
  move_leaf(root, "scan", "budget", "limits", "scan-budget", notes);
}

constexpr void (*kSteps[])(Json&, Notes&) = {to_version_2};  // [0] leads to version 2
static_assert(std::size(kSteps) + 1 == kModelVersion);

}  // namespace

Result<Migrated> migrate(std::string_view text, std::string_view name) {
  Migrated result{std::string(text), {}};
  std::string_view body = text;
  if (body.starts_with("\xef\xbb\xbf")) body.remove_prefix(3);
  if (!parse_json(body)) return result;  // who reads it says why
  Json whole = Json::parse(body, nullptr, false);
  if (!whole.is_object()) return result;
  const auto root = whole.find("sluice:sluice");
  if (root == whole.end() || !root->is_object()) return result;
  std::uint64_t version = 1;
  if (const auto leaf = root->find("model-version"); leaf != root->end()) {
    if (!leaf->is_number_unsigned()) return result;
    version = leaf->get<std::uint64_t>();
  }
  if (version > kModelVersion) {
    return Error{std::string(name) +
                 ": /sluice:sluice/model-version: the configuration is of model version " +
                 std::to_string(version) + "; this program knows up to version " +
                 std::to_string(kModelVersion)};
  }
  if (version == 0 || version == kModelVersion) return result;
  for (std::uint64_t v = version; v < kModelVersion; ++v) kSteps[v - 1](*root, result.notes);
  if (result.notes.empty()) return result;
  if (root->contains("model-version")) (*root)["model-version"] = kModelVersion;
  result.text = whole.dump(2, ' ', false, Json::error_handler_t::replace);
  return result;
}

}  // namespace sluice::control
