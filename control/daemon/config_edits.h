// Edits of what runs, for whoever has no candidate: all of them or none. Operations are objects:
//
//   {"operation": "set" | "delete" | "activate" | "deactivate", "words": [...]}
//     a delete with "if_there": true also when there is nothing
//   {"operation": "merge", "text": RFC 7951 JSON}
//   {"operation": "restconf", "method": "POST" | "PUT" | "PATCH" | "DELETE", "path": ..., "body":
//   ...}
//     what RFC 8040 section 4 says of the resource at "path" (what follows "/restconf/data")
//
// Pure; one thread at a time for one Model.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "control/api/config_tree.h"

namespace sluice::control {

struct ConfigEdits {
  std::string error;      // not empty: none is made
  nlohmann::json fault;   // of "restconf": {"status","type","tag","message","path"}
  nlohmann::json report;  // of "restconf": {"created","location"}
};
// On an error the tree may hold a part: edit a copy.
ConfigEdits apply_edits(const Model& model, ConfigTree& tree, const nlohmann::json& operations);

// A configuration as text of any version of the model, as a tree of this one.
Result<ConfigTree> tree_of(const Model& model, std::string_view text, std::string_view name);

// The words of a request; an error when they are no list of texts.
Result<std::vector<std::string>> words_of(const nlohmann::json& arguments);

}  // namespace sluice::control
