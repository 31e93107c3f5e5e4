// A configuration as a tree that can be edited, compared, merged and printed. What it holds is
// right as to names, types and ranges; what the model demands beyond (`must`, mandatory, leafref,
// counts) is checked when it is committed (config.h). Defaults that nobody wrote are not in it.
//
// A node may be inactive: it stays where it is and counts as absent (RFC 7952 metadata
// "sluice:inactive"). Lists and leaf-lists keep the order in which entries came.
//
// Values: copies are deep; the Model must outlive every tree. One thread at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/api/model.h"
#include "dataplane/base/result.h"

namespace sluice::control {

class ConfigNode {
 public:
  // The entries of one child of the model under one parent: one for a container or leaf.
  class Group {
   public:
    explicit Group(const SchemaNode* schema) : schema_(schema) {}
    Group(Group&&) = default;
    Group& operator=(Group&&) = default;
    const SchemaNode* schema() const { return schema_; }
    const std::vector<std::unique_ptr<ConfigNode>>& nodes() const { return nodes_; }
    ConfigNode* find(std::string_view value) const;

   private:
    friend class ConfigNode;
    ConfigNode& add(std::unique_ptr<ConfigNode> node);
    void remove(const ConfigNode* node);
    const SchemaNode* schema_;
    std::vector<std::unique_ptr<ConfigNode>> nodes_;
    // Built once there are many.
    std::unordered_map<std::string_view, ConfigNode*> index_;
  };

  explicit ConfigNode(const SchemaNode& schema, std::string value = {})
      : schema_(&schema), value_(std::move(value)) {}

  const SchemaNode& schema() const { return *schema_; }
  // Canonical: of a list entry its key, of a leaf or an entry of a leaf-list its value.
  const std::string& value() const { return value_; }
  bool inactive() const { return inactive_; }
  void set_inactive(bool inactive) { inactive_ = inactive; }
  // In the model's order. Keys are not among them.
  const std::vector<Group>& groups() const { return groups_; }

  const Group* group(const SchemaNode& schema) const;
  // The entry of `schema`, a child of this node's, with that value; of a container or leaf the only
  // one, whatever `value`. nullptr: none.
  ConfigNode* find(const SchemaNode& schema, std::string_view value = {}) const;
  // The same, made when it is not there. A leaf takes the value.
  ConfigNode& set(const SchemaNode& schema, std::string_view value = {});
  void remove(const SchemaNode& schema);  // all its entries
  void remove(const ConfigNode& child);   // one of them
  void clear() { groups_.clear(); }
  // Containers that hold nothing mean nothing (RFC 7950 section 7.5.1): they go.
  void prune();
  std::unique_ptr<ConfigNode> clone() const;
  bool empty() const { return groups_.empty(); }

 private:
  Group& group_for(const SchemaNode& schema);
  const SchemaNode* schema_;
  std::string value_;
  bool inactive_ = false;
  std::vector<Group> groups_;
};

// The same configuration, the order of lists that the system may order left aside.
bool same(const ConfigNode& a, const ConfigNode& b);

class ConfigTree {
 public:
  explicit ConfigTree(const Model& model)
      : model_(&model), root_(std::make_unique<ConfigNode>(model.root())) {}
  ConfigTree(const ConfigTree& other) : model_(other.model_), root_(other.root_->clone()) {}
  ConfigTree& operator=(const ConfigTree& other) {
    if (this != &other) *this = ConfigTree(other);
    return *this;
  }
  ConfigTree(ConfigTree&&) = default;
  ConfigTree& operator=(ConfigTree&&) = default;
  ~ConfigTree() = default;

  // From RFC 7951 JSON; "{}" is the empty one. An error is "NAME: /path: reason" of the first
  // fault.
  static Result<ConfigTree> parse(const Model& model, std::string_view json, std::string_view name);

  const Model& model() const { return *model_; }
  ConfigNode& root() { return *root_; }
  const ConfigNode& root() const { return *root_; }

  // RFC 7951 JSON with a line end. `active_only`: as if inactive nodes were not there.
  std::string json(bool active_only = false) const;
  // Adds what `other` has; where both have a leaf, its value is taken.
  void merge(const ConfigTree& other);

 private:
  const Model* model_;
  std::unique_ptr<ConfigNode> root_;
};

// A node as people read it, one statement a line, blocks in braces; a node of itself when
// `with_self`, else what is in it.
std::string brace_text(const ConfigNode& node, bool with_self = false);
// The same as commands: "set wire w1 mode monitor", "deactivate wire w1". `base`: words of the path
// to the node, which stand in each line.
std::string set_text(const ConfigNode& node, const std::string& base = {});
// What is one RFC 7951 object with the node's members.
std::string json_text(const ConfigNode& node);
// One object whose only member is the list.
std::string json_text(const ConfigNode::Group& group);

// The changes from `before` to `after`, as "show | compare" gives them: a line "[edit PATH]" where
// the changes are, then lines that begin with "-" (gone), "+" (new) or "!" (activated or
// deactivated). Empty: none. `base` are the words of the path to the nodes.
std::string difference(const ConfigNode& before, const ConfigNode& after,
                       const std::string& base = {});

// The changes from `base` to `mine`, made to `theirs`. Where both changed the same thing
// differently mine is taken and the path stands in `conflicts`.
struct MergeResult {
  ConfigTree tree;
  std::vector<std::string> conflicts;
};
MergeResult merge_changes(const ConfigTree& base, const ConfigTree& mine, const ConfigTree& theirs);

// A value as a word of a command: quoted when it holds blanks or signs that mean something.
std::string quoted_word(std::string_view value);

}  // namespace sluice::control
