#include "control/api/restconf.h"

#include <algorithm>
#include <cctype>

namespace sluice::control::restconf {
namespace {

using nlohmann::json;

constexpr const char* kModule = "sluice";
constexpr const char* kRoot = "sluice:sluice";

Fault fault(int status, const char* tag, std::string message, std::string path = {}) {
  return {status, "application", tag, std::move(message), std::move(path)};
}
Fault protocol_fault(int status, const char* tag, std::string message) {
  return {status, "protocol", tag, std::move(message), {}};
}

std::string text_of(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.dump();
}

// Names in JSON may carry their module (RFC 7951 section 4).
std::string bare(const std::string& name) {
  const std::size_t colon = name.find(':');
  return colon == std::string::npos ? name : name.substr(colon + 1);
}

std::string path_of(const Target& target) {
  std::string path = "/";
  bool first = true;
  for (const auto& [schema, value] : target.steps) {
    path += std::string(first ? "sluice:" : "") + schema->name;
    if (schema->kind == SchemaNode::Kind::list && !value.empty()) {
      path += "[" + schema->key + "='" + value + "']";
    }
    path += "/";
    first = false;
  }
  if (path.size() > 1) path.pop_back();
  return path;
}

// The entry of a list or leaf-list with that key or value; nullptr: none.
json* entry(json& list, const SchemaNode& schema, const std::string& value) {
  if (!list.is_array()) return nullptr;
  for (json& e : list) {
    if (schema.kind == SchemaNode::Kind::leaf_list) {
      if (text_of(e) == value) return &e;
    } else if (e.is_object() && e.contains(schema.key) && text_of(e[schema.key]) == value) {
      return &e;
    }
  }
  return nullptr;
}

// The value that stands for the target; of the datastore `whole` itself. nullptr: not there.
json* find(json& whole, const Target& target) {
  json* at = &whole;
  bool first = true;
  for (const auto& [schema, value] : target.steps) {
    if (!at->is_object()) return nullptr;
    const auto found = at->find(first ? std::string(kRoot) : schema->name);
    if (found == at->end()) return nullptr;
    at = &*found;
    first = false;
    if (schema->is_many() && !value.empty()) {
      at = entry(*at, *schema, value);
      if (at == nullptr) return nullptr;
    }
  }
  return at;
}

Target parent_of(const Target& target) {
  Target parent = target;
  parent.steps.pop_back();
  parent.schema = parent.steps.empty() ? nullptr : parent.steps.back().first;
  return parent;
}

// A member that holds nothing means nothing (RFC 7950 section 7.5.1).
void prune_empty(json& object, const std::string& name) {
  const auto found = object.find(name);
  if (found != object.end() && (found->is_object() || found->is_array()) && found->empty()) {
    object.erase(found);
  }
}

// The one member of a body that names `expected`, whatever it is prefixed with.
Fault body_member(const json& body, const std::string& expected, json& out) {
  if (!body.is_object() || body.size() != 1) {
    return protocol_fault(400, "malformed-message",
                          "the body is to be an object with one member, the resource");
  }
  const std::string name = body.begin().key();
  const std::size_t colon = name.find(':');
  if (colon == std::string::npos || name.substr(0, colon) != kModule) {
    return fault(400, "unknown-namespace", "'" + name + "' is to have the prefix sluice:");
  }
  if (bare(name) != expected) {
    return fault(400, "invalid-value",
                 "the body is of '" + name + "', the request of 'sluice:" + expected + "'");
  }
  out = body.begin().value();
  return {};
}

// The body of a resource as the value that stands in its parent: of a list entry the entry alone.
Fault body_value(const SchemaNode& schema, const json& body, json& out) {
  json value;
  if (Fault f = body_member(body, schema.name, value); f) return f;
  if (schema.is_many()) {
    if (!value.is_array() || value.size() != 1) {
      return fault(400, "invalid-value", "'" + schema.name + "' is to be an array of one entry");
    }
    out = value.front();
    if (schema.kind == SchemaNode::Kind::list && (!out.is_object() || !out.contains(schema.key))) {
      return fault(400, "missing-element", "the entry has no key '" + schema.key + "'");
    }
    return {};
  }
  out = std::move(value);
  return {};
}

// Merges as RFC 8040 section 4.6.1: leafs are replaced, containers and list entries merged.
void merge(const SchemaNode* schema, json& to, const json& from) {
  if (!to.is_object() || !from.is_object()) {
    to = from;
    return;
  }
  for (const auto& [raw, value] : from.items()) {
    const SchemaNode* child = schema == nullptr ? nullptr : schema->child(bare(raw));
    const std::string name = schema == nullptr ? raw : bare(raw);
    if (child == nullptr) {
      to[name] = value;  // the commit refuses it by name
      continue;
    }
    if (!to.contains(name)) {
      to[name] = value;
      continue;
    }
    json& old = to[name];
    if (child->kind == SchemaNode::Kind::container) {
      merge(child, old, value);
    } else if (child->kind == SchemaNode::Kind::leaf) {
      old = value;
    } else if (value.is_array()) {
      for (const json& e : value) {
        const std::string key = child->kind == SchemaNode::Kind::leaf_list ? text_of(e)
                                : e.is_object() && e.contains(child->key)  ? text_of(e[child->key])
                                                                           : std::string{};
        json* same = entry(old, *child, key);
        if (same == nullptr) {
          old.push_back(e);
        } else if (child->kind == SchemaNode::Kind::list) {
          merge(child, *same, e);
        }
      }
    } else {
      old = value;
    }
  }
}

// The object in which the target stands, made on the way there; list entries must be there.
json* make_parent(json& whole, const Target& target, Fault& f) {
  json* at = &whole;
  bool first = true;
  for (std::size_t i = 0; i + 1 < target.steps.size(); ++i) {
    const auto& [schema, value] = target.steps[i];
    json& next = (*at)[first ? std::string(kRoot) : schema->name];
    first = false;
    if (schema->kind == SchemaNode::Kind::list) {
      at = entry(next, *schema, value);
      if (at == nullptr) {
        f = fault(404, "invalid-value", "there is no parent resource", path_of(target));
        return nullptr;
      }
    } else {
      if (next.is_null()) next = json::object();
      at = &next;
    }
  }
  return at;
}

}  // namespace

json errors_json(const Fault& f) {
  json e = {{"error-type", f.type}, {"error-tag", f.tag}};
  if (!f.path.empty()) e["error-path"] = f.path;
  if (!f.message.empty()) e["error-message"] = f.message;
  return {{"ietf-restconf:errors", {{"error", json::array({e})}}}};
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  const auto digit = [](char c) {
    return std::isdigit(static_cast<unsigned char>(c)) != 0
               ? c - '0'
               : std::tolower(static_cast<unsigned char>(c)) - 'a' + 10;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() &&
        std::isxdigit(static_cast<unsigned char>(text[i + 1])) != 0 &&
        std::isxdigit(static_cast<unsigned char>(text[i + 2])) != 0) {
      out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  char escape[4];
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' || c == '_' ||
        c == '~') {
      out += c;
    } else {
      std::snprintf(escape, sizeof escape, "%%%02X", static_cast<unsigned char>(c));
      out += escape;
    }
  }
  return out;
}

Result<std::vector<Step>> parse_path(std::string_view path) {
  std::vector<Step> steps;
  while (path.starts_with('/')) path.remove_prefix(1);
  while (path.ends_with('/')) path.remove_suffix(1);
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    std::string_view segment = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
    Step step;
    if (const std::size_t equals = segment.find('='); equals != std::string_view::npos) {
      std::string_view keys = segment.substr(equals + 1);
      segment = segment.substr(0, equals);
      while (true) {
        const std::size_t comma = keys.find(',');
        step.keys.push_back(percent_decoded(keys.substr(0, comma)));
        if (comma == std::string_view::npos) break;
        keys = keys.substr(comma + 1);
      }
    }
    const std::string name = percent_decoded(segment);
    const std::size_t colon = name.find(':');
    step.module = colon == std::string::npos ? std::string{} : name.substr(0, colon);
    step.name = colon == std::string::npos ? name : name.substr(colon + 1);
    if (step.name.empty()) return Error{"an empty name stands in the path"};
    if (steps.size() >= 32) return Error{"the path is too long"};
    steps.push_back(std::move(step));
  }
  return steps;
}

Fault resolve(const Model& model, const std::vector<Step>& path, Target& out) {
  out = {};
  for (std::size_t i = 0; i < path.size(); ++i) {
    const Step& step = path[i];
    const SchemaNode* schema = nullptr;
    if (i == 0) {
      if (step.module != kModule) {
        return fault(404, "invalid-value",
                     "'" + step.name + "' is of no module that is known here");
      }
      if (step.name == model.root().name) schema = &model.root();
    } else if (step.module.empty() || step.module == kModule) {
      schema = out.schema->child(step.name);
    }
    if (schema == nullptr) {
      return fault(404, "invalid-value", "'" + step.name + "' is not in the model");
    }
    std::string value;
    if (schema->is_many()) {
      if (step.keys.size() > 1) {
        return fault(400, "invalid-value", "'" + step.name + "' has one key");
      }
      if (step.keys.empty()) {
        if (i + 1 < path.size() || schema->kind == SchemaNode::Kind::leaf_list) {
          // A list as a whole may be read, not walked through.
          if (i + 1 < path.size()) {
            return fault(400, "invalid-value",
                         "'" + step.name + "' needs its key: " + step.name + "=" + schema->key);
          }
        }
      } else {
        const SchemaNode* key =
            schema->kind == SchemaNode::Kind::list ? schema->child(schema->key) : schema;
        if (key == nullptr) key = schema;
        auto canonical = model.canonical(*key, step.keys.front());
        if (!canonical) return fault(400, "invalid-value", canonical.error());
        value = std::move(*canonical);
      }
    } else if (!step.keys.empty()) {
      return fault(400, "invalid-value", "'" + step.name + "' has no key");
    }
    out.schema = schema;
    out.steps.emplace_back(schema, std::move(value));
  }
  return {};
}

Fault get(const json& whole, const Target& target, json& out) {
  json copy = whole;
  if (target.steps.empty()) {
    out = {{"ietf-restconf:data", std::move(copy)}};
    return {};
  }
  json* found = find(copy, target);
  if (found == nullptr) {
    return fault(404, "invalid-value", "there is no such resource", path_of(target));
  }
  const auto& [schema, value] = target.steps.back();
  json shown = *found;
  if (schema->is_many() && !value.empty()) shown = json::array({std::move(shown)});
  out = {{std::string(kModule) + ":" + schema->name, std::move(shown)}};
  return {};
}

Fault edit(const Model& model, const json& whole, const Target& target, Method method,
           const json& body, Edited& out) {
  out = {};
  out.whole = whole.is_object() ? whole : json::object();
  const SchemaNode* schema = target.schema;
  const bool entry_needed =
      schema != nullptr && schema->is_many() && target.steps.back().second.empty();

  if (method == Method::post) {
    // The body is a child of the target.
    if (schema != nullptr && (schema->is_term() || entry_needed)) {
      return fault(405, "operation-not-supported", "nothing can be made below it", path_of(target));
    }
    if (!body.is_object() || body.size() != 1) {
      return protocol_fault(400, "malformed-message", "the body is to be one child resource");
    }
    const std::string name = bare(body.begin().key());
    Target child = target;
    child.schema = schema == nullptr ? (name == model.root().name ? &model.root() : nullptr)
                                     : schema->child(name);
    if (child.schema == nullptr) {
      return fault(400, "unknown-element", "'" + name + "' is not in the model", path_of(target));
    }
    json value;
    if (Fault f = body_value(*child.schema, body, value); f) return f;
    std::string key;
    if (child.schema->is_many()) {
      const SchemaNode* leaf = child.schema->kind == SchemaNode::Kind::list
                                   ? child.schema->child(child.schema->key)
                                   : child.schema;
      const std::string text =
          text_of(child.schema->kind == SchemaNode::Kind::list ? value[child.schema->key] : value);
      auto canonical = model.canonical(leaf == nullptr ? *child.schema : *leaf, text);
      if (!canonical) return fault(400, "invalid-value", canonical.error());
      key = std::move(*canonical);
    }
    child.steps.emplace_back(child.schema, key);
    if (!target.steps.empty() && find(out.whole, target) == nullptr && schema->is_many()) {
      return fault(404, "invalid-value", "there is no such resource", path_of(target));
    }
    if (find(out.whole, child) != nullptr) {
      return fault(409, "data-exists", "it is there already", path_of(child));
    }
    Fault f;
    json* parent = make_parent(out.whole, child, f);
    if (parent == nullptr) return f;
    json& place = (*parent)[child.steps.size() == 1 ? std::string(kRoot) : child.schema->name];
    if (child.schema->is_many()) {
      if (place.is_null()) place = json::array();
      place.push_back(std::move(value));
    } else {
      place = std::move(value);
    }
    out.created = true;
    out.location = "";
    bool first = true;
    for (const auto& [node, text] : child.steps) {
      out.location += std::string("/") + (first ? "sluice:" : "") + node->name;
      if (node->is_many()) out.location += "=" + percent_encoded(text);
      first = false;
    }
    return {};
  }

  if (schema == nullptr) {
    if (method == Method::remove) {
      return fault(405, "operation-not-supported", "the datastore itself cannot be removed");
    }
    // {"ietf-restconf:data": {"sluice:sluice": {...}}}
    const auto data = body.is_object() ? body.find("ietf-restconf:data") : body.end();
    if (!body.is_object() || data == body.end() || !data->is_object()) {
      return protocol_fault(400, "malformed-message",
                            "the body is to be an object with the member ietf-restconf:data");
    }
    if (method == Method::put) {
      out.whole = *data;
      return {};
    }
    for (const auto& [name, value] : data->items()) {
      if (name == kRoot && out.whole.contains(kRoot)) {
        merge(&model.root(), out.whole[kRoot], value);
      } else {
        out.whole[name] = value;
      }
    }
    return {};
  }
  if (entry_needed) {
    return fault(405, "operation-not-supported",
                 "name one entry: " + schema->name + "=" +
                     (schema->kind == SchemaNode::Kind::list ? schema->key : "value"),
                 path_of(target));
  }
  json* found = find(out.whole, target);
  const std::string& key = target.steps.back().second;
  if (method == Method::remove) {
    if (found == nullptr) {
      return fault(404, "invalid-value", "there is no such resource", path_of(target));
    }
    if (schema->is_key) {
      return fault(400, "invalid-value", "a key cannot be removed without its entry",
                   path_of(target));
    }
    const Target above = parent_of(target);
    json* parent = above.steps.empty() ? &out.whole : find(out.whole, above);
    const std::string name = target.steps.size() == 1 ? std::string(kRoot) : schema->name;
    if (schema->is_many()) {
      json& list = (*parent)[name];
      for (auto e = list.begin(); e != list.end(); ++e) {
        if (&*e == found) {
          list.erase(e);
          break;
        }
      }
      prune_empty(*parent, name);
    } else {
      parent->erase(name);
    }
    parent->erase("@" + name);
    return {};
  }

  json value;
  if (Fault f = body_value(*schema, body, value); f) return f;
  if (schema->is_key && (found == nullptr || *found != value)) {
    return fault(400, "invalid-value", "a key cannot be changed: make another entry",
                 path_of(target));
  }
  if (schema->is_many()) {
    const std::string text =
        text_of(schema->kind == SchemaNode::Kind::list ? value[schema->key] : value);
    const SchemaNode* leaf =
        schema->kind == SchemaNode::Kind::list ? schema->child(schema->key) : schema;
    const auto canonical = model.canonical(leaf == nullptr ? *schema : *leaf, text);
    if (!canonical) return fault(400, "invalid-value", canonical.error());
    if (*canonical != key) {
      return fault(400, "invalid-value",
                   "the key of the body is '" + text + "', that of the path '" + key + "'",
                   path_of(target));
    }
  }
  if (method == Method::patch) {
    if (found == nullptr) {
      return fault(404, "invalid-value", "there is no such resource", path_of(target));
    }
    merge(schema, *found, value);
    return {};
  }
  Fault f;
  json* parent = make_parent(out.whole, target, f);
  if (found != nullptr) {
    *found = std::move(value);
    // What is written takes part, though what stood there was inactive (RFC 7952 metadata beside
    // it).
    if (schema->kind == SchemaNode::Kind::leaf) parent->erase("@" + schema->name);
    return {};
  }
  if (parent == nullptr) return f;
  json& place = (*parent)[target.steps.size() == 1 ? std::string(kRoot) : schema->name];
  if (schema->is_many()) {
    if (place.is_null()) place = json::array();
    place.push_back(std::move(value));
  } else {
    place = std::move(value);
  }
  out.created = true;
  return {};
}

json limit_depth(const json& resource, unsigned depth) {
  if (resource.is_array()) {
    json out = json::array();
    for (const json& e : resource) out.push_back(limit_depth(e, depth));
    return out;
  }
  if (!resource.is_object()) return resource;
  if (depth == 0) return json::object();
  json out = json::object();
  for (const auto& [name, value] : resource.items()) {
    // A list's entries are as deep as the list.
    if (value.is_object() && depth == 1) {
      out[name] = json::object();
    } else {
      out[name] = limit_depth(value, depth - 1);
    }
  }
  return out;
}

namespace {

using Fields = std::map<std::string, json>;

// fields-expr = path "(" fields-expr ")" / path ";" fields-expr / path; as a tree of objects.
bool parse_fields(std::string_view& text, json& tree, int depth) {
  if (depth > 16) return false;
  while (true) {
    json* at = &tree;
    while (true) {  // one path
      std::size_t end = 0;
      while (end < text.size() &&
             std::string_view(";()/").find(text[end]) == std::string_view::npos)
        ++end;
      if (end == 0) return false;
      json& next = (*at)[bare(std::string(text.substr(0, end)))];
      if (next.is_null()) next = json::object();
      at = &next;
      text.remove_prefix(end);
      if (!text.starts_with('/')) break;
      text.remove_prefix(1);
    }
    if (text.starts_with('(')) {
      text.remove_prefix(1);
      if (!parse_fields(text, *at, depth + 1) || !text.starts_with(')')) return false;
      text.remove_prefix(1);
    }
    if (!text.starts_with(';')) return true;
    text.remove_prefix(1);
  }
}

json selected(const json& value, const json& tree) {
  if (tree.empty()) return value;  // the whole of it
  if (value.is_array()) {
    json out = json::array();
    for (const json& e : value) out.push_back(selected(e, tree));
    return out;
  }
  if (!value.is_object()) return value;
  json out = json::object();
  for (const auto& [name, v] : value.items()) {
    if (const auto wanted = tree.find(bare(name)); wanted != tree.end()) {
      out[name] = selected(v, *wanted);
    }
  }
  return out;
}

}  // namespace

Fault select_fields(std::string_view fields, json& resource) {
  json tree = json::object();
  std::string_view rest = fields;
  if (!parse_fields(rest, tree, 0) || !rest.empty()) {
    return protocol_fault(400, "invalid-value",
                          "the query parameter 'fields' cannot be read: " + std::string(fields));
  }
  for (auto& [name, value] : resource.items()) value = selected(value, tree);
  return {};
}

}  // namespace sluice::control::restconf
