// RESTCONF (RFC 8040) as far as it is about data: paths, parts of a configuration, edits of it, and
// errors. Pure: JSON in, JSON out; who speaks HTTP is http_server.h.
//
// The configuration is one datastore, the running one (RFC 8040 section 1.4: without a candidate to
// be seen); an edit makes a whole new configuration, which is then committed as any other. Claimed:
// GET, HEAD, POST, PUT, PATCH (plain), DELETE, OPTIONS; query parameters content, depth, fields,
// with-defaults. Not claimed: insert, point, start-time, stop-time, filter (refused by name).
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/api/model.h"
#include "dataplane/base/result.h"

namespace sluice::control::restconf {

// An answer that is an error (section 7.1), with the HTTP status that belongs to it.
struct Fault {
  int status = 0;  // 0: none
  std::string type = "application";
  std::string tag;
  std::string message;
  std::string path;
  explicit operator bool() const { return status != 0; }
};
// {"ietf-restconf:errors":{"error":[...]}}
nlohmann::json errors_json(const Fault& fault);

// One step of an api-path (section 3.5.3), decoded: "sluice:wire=w1".
struct Step {
  std::string module;  // empty: as the step before
  std::string name;
  std::vector<std::string> keys;
};
// Of what follows "/data/" or "/operations/", percent-encoded; an error says where.
Result<std::vector<Step>> parse_path(std::string_view path);

// A data resource of the model.
struct Target {
  const SchemaNode* schema = nullptr;                            // nullptr: the datastore
  std::vector<std::pair<const SchemaNode*, std::string>> steps;  // and the canonical key or value
};
Fault resolve(const Model& model, const std::vector<Step>& path, Target& out);

// What of the configuration `whole` ({"sluice:sluice":{...}}) the target is, as a resource's JSON
// ({"sluice:wire":[{...}]}). 404 when it is not there.
Fault get(const nlohmann::json& whole, const Target& target, nlohmann::json& out);

enum class Method { post, put, patch, remove };
struct Edited {
  nlohmann::json whole;
  bool created = false;
  std::string location;  // of POST: path of what was made, below /data
};
// `body` is of an edit that has one.
Fault edit(const Model& model, const nlohmann::json& whole, const Target& target, Method method,
           const nlohmann::json& body, Edited& out);

// Query parameters (section 4.8) on a resource's JSON. `depth` counts from the resource, 1 being
// it.
nlohmann::json limit_depth(const nlohmann::json& resource, unsigned depth);
// "a;b(c;d);e/f" (section 4.8.3).
Fault select_fields(std::string_view fields, nlohmann::json& resource);

std::string percent_decoded(std::string_view text);
std::string percent_encoded(std::string_view text);

}  // namespace sluice::control::restconf
