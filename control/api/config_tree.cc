#include "control/api/config_tree.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "control/api/json_text.h"

namespace sluice::control {
namespace {

using nlohmann::json;

constexpr std::size_t kIndexFrom = 16;  // entries
constexpr std::string_view kInactive = "sluice:inactive";

bool is_inactive(const json* metadata) {
  if (metadata == nullptr || !metadata->is_object()) return false;
  const auto found = metadata->find(kInactive);
  return found != metadata->end() && found->is_boolean() && found->get<bool>();
}

// Reads RFC 7951 JSON into a tree; stops at the first fault.
class JsonReader {
 public:
  JsonReader(const Model& model, std::string_view name) : model_(model), name_(name) {}

  void members(const json& object, ConfigNode& into, const std::string& path) {
    if (!object.is_object()) return fail(path, "is not an object");
    for (const auto& [member, value] : object.items()) {
      if (!error.empty()) return;
      std::string_view name = member;
      if (name.starts_with("@")) {
        metadata(name.substr(1), value, object, into, path);
        continue;
      }
      if (name.starts_with("sluice:")) name.remove_prefix(7);
      const SchemaNode* schema = into.schema().child(name);
      if (schema == nullptr) return fail(path, "'" + std::string(name) + "' is not known here");
      node(*schema, value, object, into, path + "/" + std::string(name));
    }
  }

  std::string error;

 private:
  void fail(const std::string& path, const std::string& reason) {
    if (error.empty()) error = std::string(name_) + ": " + path + ": " + reason;
  }

  // "@" is of the object itself, "@leaf" of a leaf or leaf-list beside.
  void metadata(std::string_view of, const json& value, const json& object, ConfigNode& into,
                const std::string& path) {
    if (of.empty()) {
      into.set_inactive(is_inactive(&value));
      return;
    }
    if (of.starts_with("sluice:")) of.remove_prefix(7);
    const SchemaNode* schema = into.schema().child(of);
    if (schema == nullptr || !schema->is_term()) {
      return fail(path, "'@" + std::string(of) + "' belongs to nothing");
    }
    if (object.find(std::string(of)) == object.end() &&
        object.find("sluice:" + std::string(of)) == object.end()) {
      return fail(path, "'@" + std::string(of) + "' belongs to nothing");
    }
  }

  static const json* metadata_of(const SchemaNode& schema, const json& object) {
    for (const std::string& name : {"@" + schema.name, "@sluice:" + schema.name}) {
      if (const auto found = object.find(name); found != object.end()) return &*found;
    }
    return nullptr;
  }

  void node(const SchemaNode& schema, const json& value, const json& object, ConfigNode& into,
            const std::string& path) {
    switch (schema.kind) {
      case SchemaNode::Kind::container: {
        members(value, into.set(schema), path);
        return;
      }
      case SchemaNode::Kind::list: {
        if (!value.is_array()) return fail(path, "is a list: an array is expected");
        for (const json& entry : value) {
          if (!error.empty()) return;
          if (!entry.is_object()) return fail(path, "an entry is not an object");
          auto key = entry.find(schema.key);
          if (key == entry.end()) key = entry.find("sluice:" + schema.key);
          if (key == entry.end()) return fail(path, "an entry without '" + schema.key + "'");
          const auto text = term(*schema.child(schema.key), *key, path + "/" + schema.key);
          if (!text) return;
          if (into.find(schema, *text) != nullptr) {
            return fail(path, "'" + *text + "' stands twice");
          }
          ConfigNode& made = into.set(schema, *text);
          members(entry, made, path + "[" + schema.key + "='" + *text + "']");
        }
        return;
      }
      case SchemaNode::Kind::leaf: {
        if (schema.is_key) return;
        const auto text = term(schema, value, path);
        if (!text) return;
        into.set(schema, *text).set_inactive(is_inactive(metadata_of(schema, object)));
        return;
      }
      case SchemaNode::Kind::leaf_list: {
        if (!value.is_array()) return fail(path, "is a list of values: an array is expected");
        const json* metadata = metadata_of(schema, object);
        std::size_t i = 0;
        for (const json& entry : value) {
          const auto text = term(schema, entry, path);
          if (!text) return;
          if (into.find(schema, *text) != nullptr) {
            return fail(path, "'" + *text + "' stands twice");
          }
          const json* own = metadata != nullptr && metadata->is_array() && i < metadata->size()
                                ? &(*metadata)[i]
                                : nullptr;
          into.set(schema, *text).set_inactive(is_inactive(own));
          ++i;
        }
        return;
      }
    }
  }

  std::optional<std::string> term(const SchemaNode& schema, const json& value,
                                  const std::string& path) {
    std::string text;
    if (schema.form == SchemaNode::Form::string && value.is_string()) {
      text = value.get<std::string>();
    } else if (schema.form == SchemaNode::Form::number && value.is_number_integer()) {
      text = value.dump();
    } else if (schema.form == SchemaNode::Form::boolean && value.is_boolean()) {
      text = value.get<bool>() ? "true" : "false";
    } else {
      const char* wanted = schema.form == SchemaNode::Form::number ? "a number without quotes"
                           : schema.form == SchemaNode::Form::boolean
                               ? "true or false without quotes"
                               : "a text in quotes";
      fail(path, std::string("has the wrong JSON type: ") + wanted + " is expected");
      return std::nullopt;
    }
    auto canonical = model_.canonical(schema, text);
    if (canonical) return std::move(*canonical);
    fail(path, canonical.error());
    return std::nullopt;
  }

  const Model& model_;
  std::string_view name_;
};

std::string json_string(const std::string& text) {
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string json_value(const SchemaNode& schema, const std::string& value) {
  return schema.form == SchemaNode::Form::string ? json_string(value) : value;
}

// Writes RFC 7951 JSON by hand: members keep the model's order, and a million entries need no
// second tree.
class JsonWriter {
 public:
  explicit JsonWriter(bool active_only) : active_only_(active_only) {}

  // True when the node or something in it would be written.
  bool written(const ConfigNode& n) const {
    if (active_only_ && n.inactive()) return false;
    if (n.schema().kind != SchemaNode::Kind::container) return true;
    return std::any_of(n.groups().begin(), n.groups().end(),
                       [this](const auto& g) { return written(g); });
  }
  bool written(const ConfigNode::Group& g) const {
    return std::any_of(g.nodes().begin(), g.nodes().end(),
                       [this](const auto& n) { return written(*n); });
  }

  // The object of a container or list entry, beginning behind what stands on its line already.
  void object(const ConfigNode& n, std::size_t depth) {
    out += '{';
    bool first = true;
    const auto next = [&] {
      out += first ? "\n" : ",\n";
      out.append(depth + 2, ' ');
      first = false;
    };
    if (n.inactive()) {
      next();
      out += "\"@\": {\"sluice:inactive\": true}";
    }
    if (n.schema().kind == SchemaNode::Kind::list) {
      next();
      const SchemaNode& key = *n.schema().child(n.schema().key);
      out += json_string(key.name) + ": " + json_value(key, n.value());
    }
    for (const auto& g : n.groups()) {
      if (!written(g)) continue;
      next();
      member(g, depth + 2);
      if (g.schema()->is_term() && !active_only_) metadata(g, next);
    }
    if (!first) {
      out += '\n';
      out.append(depth, ' ');
    }
    out += '}';
  }

  // The name and what stands under it.
  void member(const ConfigNode::Group& g, std::size_t depth) {
    out += json_string(g.schema()->name) + ": ";
    switch (g.schema()->kind) {
      case SchemaNode::Kind::container:
        object(*g.nodes().front(), depth);
        return;
      case SchemaNode::Kind::leaf:
        out += json_value(*g.schema(), g.nodes().front()->value());
        return;
      case SchemaNode::Kind::list:
      case SchemaNode::Kind::leaf_list: {
        out += '[';
        bool first = true;
        for (const auto& n : g.nodes()) {
          if (!written(*n)) continue;
          out += first ? "\n" : ",\n";
          out.append(depth + 2, ' ');
          first = false;
          if (g.schema()->is_term()) {
            out += json_value(*g.schema(), n->value());
          } else {
            object(*n, depth + 2);
          }
        }
        out += '\n';
        out.append(depth, ' ');
        out += ']';
        return;
      }
    }
  }

  std::string out;

 private:
  template <typename Next>
  void metadata(const ConfigNode::Group& g, const Next& next) {
    const bool any = std::any_of(g.nodes().begin(), g.nodes().end(),
                                 [](const auto& n) { return n->inactive(); });
    if (!any) return;
    next();
    out += json_string("@" + g.schema()->name) + ": ";
    constexpr const char* kMark = "{\"sluice:inactive\": true}";
    if (g.schema()->kind == SchemaNode::Kind::leaf) {
      out += kMark;
      return;
    }
    out += '[';
    bool first = true;
    for (const auto& n : g.nodes()) {
      out += first ? "" : ", ";
      out += n->inactive() ? kMark : "null";
      first = false;
    }
    out += ']';
  }

  bool active_only_;
};

bool same_groups(const ConfigNode::Group& a, const ConfigNode::Group& b) {
  if (a.nodes().size() != b.nodes().size()) return false;
  for (std::size_t i = 0; i < a.nodes().size(); ++i) {
    const ConfigNode& mine = *a.nodes()[i];
    const ConfigNode* other = a.schema()->is_many() && !a.schema()->user_ordered
                                  ? b.find(mine.value())
                                  : b.nodes()[i].get();
    if (other == nullptr || !same(mine, *other)) return false;
  }
  return true;
}

}  // namespace

// ---- nodes ----

ConfigNode* ConfigNode::Group::find(std::string_view value) const {
  if (!schema_->is_many()) return nodes_.empty() ? nullptr : nodes_.front().get();
  if (!index_.empty()) {
    const auto found = index_.find(value);
    return found == index_.end() ? nullptr : found->second;
  }
  for (const auto& n : nodes_) {
    if (n->value() == value) return n.get();
  }
  return nullptr;
}

ConfigNode& ConfigNode::Group::add(std::unique_ptr<ConfigNode> node) {
  nodes_.push_back(std::move(node));
  ConfigNode& added = *nodes_.back();
  if (!schema_->is_many()) return added;
  if (!index_.empty()) {
    index_.emplace(added.value(), &added);
  } else if (nodes_.size() >= kIndexFrom) {
    for (const auto& n : nodes_) index_.emplace(n->value(), n.get());
  }
  return added;
}

void ConfigNode::Group::remove(const ConfigNode* node) {
  if (!index_.empty()) index_.erase(node->value());
  std::erase_if(nodes_, [node](const auto& n) { return n.get() == node; });
}

const ConfigNode::Group* ConfigNode::group(const SchemaNode& schema) const {
  for (const Group& g : groups_) {
    if (g.schema() == &schema) return &g;
  }
  return nullptr;
}

ConfigNode* ConfigNode::find(const SchemaNode& schema, std::string_view value) const {
  const Group* g = group(schema);
  return g == nullptr ? nullptr : g->find(value);
}

ConfigNode::Group& ConfigNode::group_for(const SchemaNode& schema) {
  const auto place = [this](const SchemaNode* wanted) {
    for (std::size_t i = 0; i < schema_->children.size(); ++i) {
      if (schema_->children[i].get() == wanted) return i;
    }
    return schema_->children.size();
  };
  const std::size_t own = place(&schema);
  auto at = groups_.begin();
  for (; at != groups_.end(); ++at) {
    if (at->schema() == &schema) return *at;
    if (place(at->schema()) > own) break;
  }
  return *groups_.insert(at, Group(&schema));
}

ConfigNode& ConfigNode::set(const SchemaNode& schema, std::string_view value) {
  Group& g = group_for(schema);
  ConfigNode* found = g.find(value);
  if (found == nullptr) return g.add(std::make_unique<ConfigNode>(schema, std::string(value)));
  if (schema.kind == SchemaNode::Kind::leaf) found->value_ = value;
  return *found;
}

void ConfigNode::remove(const SchemaNode& schema) {
  std::erase_if(groups_, [&schema](const Group& g) { return g.schema() == &schema; });
}

void ConfigNode::remove(const ConfigNode& child) {
  const SchemaNode* schema = child.schema_;
  for (Group& g : groups_) {
    if (g.schema() == schema) g.remove(&child);
  }
  std::erase_if(groups_, [](const Group& g) { return g.nodes().empty(); });
}

void ConfigNode::prune() {
  for (Group& g : groups_) {
    if (g.schema()->is_term()) continue;
    for (const auto& n : g.nodes_) n->prune();
    if (g.schema()->kind != SchemaNode::Kind::container) continue;
    std::erase_if(g.nodes_, [](const auto& n) { return n->empty(); });
  }
  std::erase_if(groups_, [](const Group& g) { return g.nodes().empty(); });
}

std::unique_ptr<ConfigNode> ConfigNode::clone() const {
  auto copy = std::make_unique<ConfigNode>(*schema_, value_);
  copy->inactive_ = inactive_;
  copy->groups_.reserve(groups_.size());
  for (const Group& g : groups_) {
    Group& made = copy->groups_.emplace_back(g.schema());
    for (const auto& n : g.nodes()) made.add(n->clone());
  }
  return copy;
}

bool same(const ConfigNode& a, const ConfigNode& b) {
  if (&a.schema() != &b.schema() || a.value() != b.value() || a.inactive() != b.inactive()) {
    return false;
  }
  const auto& x = a.groups();
  const auto& y = b.groups();
  return x.size() == y.size() && std::equal(x.begin(), x.end(), y.begin(), [](auto& g, auto& h) {
           return g.schema() == h.schema() && same_groups(g, h);
         });
}

// ---- trees ----

Result<ConfigTree> ConfigTree::parse(const Model& model, std::string_view text,
                                     std::string_view name) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  const auto whole = parse_json(text);
  if (!whole) return Error{std::string(name) + whole.error()};
  if (!whole->is_object()) return Error{std::string(name) + ": not a JSON object"};
  ConfigTree tree(model);
  JsonReader reader(model, name);
  for (const auto& [member, value] : whole->items()) {
    if (member != "sluice:sluice") {
      return Error{std::string(name) + ": /" + member + ": is not known; expected sluice:sluice"};
    }
    reader.members(value, tree.root(), "/sluice:sluice");
  }
  if (!reader.error.empty()) return Error{reader.error};
  tree.root().prune();
  return tree;
}

std::string ConfigTree::json(bool active_only) const {
  JsonWriter writer(active_only);
  if (!writer.written(*root_)) return "{}\n";
  writer.out = "{\n  \"sluice:sluice\": ";
  writer.object(*root_, 2);
  writer.out += "\n}\n";
  return std::move(writer.out);
}

std::string json_text(const ConfigNode& node) {
  JsonWriter writer(false);
  if (node.schema().is_term()) {
    writer.out = "{\n  " + json_string(node.schema().name) + ": " +
                 json_value(node.schema(), node.value()) + "\n}";
  } else {
    writer.object(node, 0);
  }
  writer.out += '\n';
  return std::move(writer.out);
}

std::string json_text(const ConfigNode::Group& group) {
  JsonWriter writer(false);
  writer.out = "{\n  ";
  writer.member(group, 2);
  writer.out += "\n}\n";
  return std::move(writer.out);
}

namespace {
void merge_into(ConfigNode& into, const ConfigNode& from) {
  into.set_inactive(from.inactive());
  for (const auto& g : from.groups()) {
    for (const auto& n : g.nodes()) merge_into(into.set(*g.schema(), n->value()), *n);
  }
}
}  // namespace

void ConfigTree::merge(const ConfigTree& other) { merge_into(*root_, *other.root_); }

}  // namespace sluice::control
