#include "control/api/http_server.h"
#include "control/api/operations.h"

namespace sluice::control {
namespace {

using nlohmann::json;

json value_schema(const SchemaNode& leaf) {
  json s = {{"description", leaf.description}};
  if (leaf.form == SchemaNode::Form::boolean) {
    s["type"] = "boolean";
  } else if (leaf.form == SchemaNode::Form::number) {
    s["type"] = "integer";
  } else {
    s["type"] = "string";
  }
  if (!leaf.choices.empty() && leaf.form == SchemaNode::Form::string) {
    s["enum"] = json::array();
    for (const auto& c : leaf.choices) s["enum"].push_back(c.name);
  }
  if (!leaf.range.empty()) {
    const std::size_t dots = leaf.range.find("..");
    if (leaf.form == SchemaNode::Form::number && dots != std::string::npos &&
        leaf.range.find('|') == std::string::npos) {
      const std::string low = leaf.range.substr(0, dots);
      const std::string high = leaf.range.substr(dots + 2);
      if (low.find_first_not_of("-0123456789 ") == std::string::npos)
        s["minimum"] = std::strtoll(low.c_str(), nullptr, 10);
      if (high.find_first_not_of("-0123456789 ") == std::string::npos)
        s["maximum"] = std::strtoll(high.c_str(), nullptr, 10);
    } else {
      s["x-range"] = leaf.range;
    }
  }
  if (!leaf.units.empty()) s["x-units"] = leaf.units;
  if (!leaf.defaults.empty() && leaf.kind == SchemaNode::Kind::leaf) {
    const std::string& d = leaf.defaults.front();
    s["default"] = leaf.form == SchemaNode::Form::boolean ? json(d == "true")
                   : leaf.form == SchemaNode::Form::number
                       ? json(std::strtoll(d.c_str(), nullptr, 10))
                       : json(d);
  }
  return s;
}

json node_schema(const SchemaNode& node) {
  if (node.kind == SchemaNode::Kind::leaf) return value_schema(node);
  if (node.kind == SchemaNode::Kind::leaf_list) {
    return {{"type", "array"}, {"items", value_schema(node)}, {"description", node.description}};
  }
  json object = {{"type", "object"},
                 {"description", node.description},
                 {"properties", json::object()},
                 {"additionalProperties", false}};
  for (const auto& child : node.children) {
    object["properties"][child->name] = node_schema(*child);
    if (child->mandatory || child->is_key) object["required"].push_back(child->name);
  }
  if (node.kind == SchemaNode::Kind::list && !node.key.empty()) {
    if (!object["properties"].contains(node.key)) {
      object["properties"][node.key] = {{"type", "string"}};
      object["required"].push_back(node.key);
    }
    return {{"type", "array"}, {"items", std::move(object)}};
  }
  return object;
}

json answer(const char* text) { return {{"description", text}}; }

json body(json schema) {
  return {{"required", true},
          {"content", {{"application/yang-data+json", {{"schema", std::move(schema)}}}}}};
}

json with_member(const std::string& name, json schema) {
  return {{"type", "object"}, {"properties", {{name, std::move(schema)}}}, {"required", {name}}};
}

json errors() {
  return {{"400", answer("the request cannot be understood or the configuration not be valid")},
          {"401", answer("a token is needed")},
          {"403", answer("the role of the token does not suffice")},
          {"404", answer("there is no such resource")},
          {"409", answer("it is there already, or others are changing it")},
          {"412", answer("a condition does not hold")},
          {"429", answer("too many requests")}};
}

json responses(std::initializer_list<std::pair<const char*, const char*>> good) {
  json r = errors();
  for (const auto& [status, text] : good) r[status] = answer(text);
  return r;
}

void add_paths(const SchemaNode& node, const std::string& above, const json& parameters_above,
               json& paths) {
  std::string path = above + "/" + (above.ends_with("/data") ? "sluice:" : "") + node.name;
  json parameters = parameters_above;
  if (node.is_many()) {
    const std::string name =
        node.name + "-" + (node.kind == SchemaNode::Kind::list ? node.key : "value");
    path += "={" + name + "}";
    const SchemaNode* key = node.kind == SchemaNode::Kind::list ? node.child(node.key) : &node;
    parameters.push_back(
        {{"name", name},
         {"in", "path"},
         {"required", true},
         {"schema", key == nullptr ? json{{"type", "string"}} : value_schema(*key)}});
  }
  const json whole = with_member("sluice:" + node.name, node_schema(node));
  json& item = paths[path];
  if (!parameters.empty()) item["parameters"] = parameters;
  const std::string what = node.description.substr(0, 120);
  item["get"] = {{"summary", what},
                 {"responses", responses({{"200", "the resource"}, {"304", "not modified"}})}};
  item["put"] = {{"summary", "Creates or replaces it"},
                 {"requestBody", body(whole)},
                 {"responses", responses({{"201", "created"}, {"204", "replaced"}})}};
  item["patch"] = {{"summary", "Merges into it"},
                   {"requestBody", body(whole)},
                   {"responses", responses({{"204", "merged"}})}};
  if (!node.is_key) {
    item["delete"] = {{"summary", "Removes it"}, {"responses", responses({{"204", "removed"}})}};
  }
  if (node.is_term()) return;
  item["post"] = {{"summary", "Creates a child of it"},
                  {"requestBody", body({{"type", "object"}})},
                  {"responses", responses({{"201", "created"}})}};
  for (const auto& child : node.children) {
    if (!child->is_key) add_paths(*child, path, parameters, paths);
  }
}

}  // namespace

json openapi(const Model& model, const std::string& version) {
  json doc = {
      {"openapi", "3.0.3"},
      {"info",
       {{"title", "Sluice"},
        {"version", version},
        {"description",
         "RESTCONF (RFC 8040) over the model of the appliance, its operations, "
         "events and metrics."}}},
      {"components", {{"securitySchemes", {{"token", {{"type", "http"}, {"scheme", "bearer"}}}}}}},
      {"security", {{{"token", json::array()}}}},
      {"paths", json::object()}};
  json& paths = doc["paths"];
  paths["/.well-known/host-meta"]["get"] = {{"summary", "Where RESTCONF begins"},
                                            {"security", json::array()},
                                            {"responses", {{"200", answer("XRD")}}}};
  paths["/restconf"]["get"] = {{"summary", "The API resource"},
                               {"responses", responses({{"200", "the resource"}})}};
  paths["/restconf/data"]["get"] = {{"summary", "The whole datastore and state"},
                                    {"responses", responses({{"200", "the resource"}})}};
  add_paths(model.root(), "/restconf/data", json::array(), paths);
  for (const StateView& v : state_views()) {
    paths["/restconf/data/" + std::string(kOperationsModule) + ":state/" + std::string(v.name)]
         ["get"] = {{"summary", v.help}, {"responses", responses({{"200", "the state"}})}};
  }
  for (const Operation& o : operations()) {
    json input = {
        {"type", "object"}, {"properties", json::object()}, {"additionalProperties", false}};
    for (const OperationInput& i : o.inputs) {
      input["properties"][std::string(i.name)] = {
          {"type", i.type == "uint64" ? "integer" : std::string(i.type)}, {"description", i.help}};
      if (i.mandatory) input["required"].push_back(i.name);
    }
    json request = body(with_member(std::string(kOperationsModule) + ":input", std::move(input)));
    request["required"] = false;
    paths["/restconf/operations/" + std::string(kOperationsModule) + ":" + std::string(o.name)]
         ["post"] = {{"summary", o.help},
                     {"requestBody", std::move(request)},
                     {"responses", responses({{"200", "what was done or found"}})}};
  }
  paths["/streams/events"]["get"] = {
      {"summary", "Events as they come, as server-sent events"},
      {"parameters", {{{"name", "type"}, {"in", "query"}, {"schema", {{"type", "string"}}}}}},
      {"responses",
       {{"200",
         {{"description", "the stream"}, {"content", {{"text/event-stream", json::object()}}}}}}}};
  paths["/metrics"]["get"] = {{"summary", "Prometheus text"},
                              {"responses", responses({{"200", "the metrics"}})}};
  for (const char* name : {"sluice", "sluice-operations"}) {
    paths["/yang/" + std::string(name) + ".yang"]["get"] = {
        {"summary", "Source of a YANG module"}, {"responses", {{"200", answer("YANG 1.1")}}}};
  }
  return doc;
}

}  // namespace sluice::control
