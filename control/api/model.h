// The configuration's model as editors, completion and documentation need it: the schema tree of
// control/model/sluice.yang with every description, type and default, and the check of one value.
// Whole configurations are checked by libyang itself (config.h).
//
// A Model is used by one thread at a time; its SchemaNodes live as long as it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"

struct ly_ctx;
struct lysc_node;

namespace sluice::control {

struct SchemaNode {
  enum class Kind : std::uint8_t { container, list, leaf, leaf_list };
  // How a value stands in JSON (RFC 7951 section 6).
  enum class Form : std::uint8_t { string, number, boolean };
  struct Choice {
    std::string name;
    std::string description;
  };

  Kind kind = Kind::container;
  Form form = Form::string;
  std::string name;
  std::string description;  // on one line
  std::string units;
  std::string type;   // name of the type: "uint32", "ip-prefix"
  std::string range;  // of numbers and lengths, as in the model: "10..86400"
  std::vector<std::string> patterns;
  std::vector<Choice> choices;  // of an enumeration or boolean
  std::vector<std::string> defaults;
  std::vector<std::string> rules;  // messages of `must`
  bool mandatory = false;
  bool user_ordered = false;  // the order of entries means something
  bool is_key = false;
  bool numeric = false;       // any number, also those that stand as strings in JSON
  std::string leafref;        // path of the leaf whose values are allowed; empty: any
  std::uint32_t maximum = 0;  // entries of a list or leaf-list; 0: no bound
  std::string key;            // name of a list's key: every list of the model has exactly one
  const SchemaNode* parent = nullptr;
  std::vector<std::unique_ptr<SchemaNode>> children;  // in the model's order
  const lysc_node* node = nullptr;

  bool is_term() const { return kind == Kind::leaf || kind == Kind::leaf_list; }
  bool is_many() const { return kind == Kind::list || kind == Kind::leaf_list; }
  const SchemaNode* child(std::string_view name) const;
  // "/sluice:sluice/wire/name"
  std::string path() const;
  // What a value looks like, for help: "10..86400 seconds", "open | closed", "<ip-prefix>".
  std::string value_text() const;
};

class Model {
 public:
  // Compiles the built-in model; a failure is a fault of ours.
  static Result<std::unique_ptr<Model>> create();
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // The container `sluice`.
  const SchemaNode& root() const { return root_; }
  // The canonical form of a leaf's value (RFC 7950 section 9.1), or why it is none: one line that
  // names the value and what is expected. Whether a leafref's target exists is not looked at.
  Result<std::string> canonical(const SchemaNode& leaf, std::string_view value) const;

 private:
  Model() = default;
  ly_ctx* context_ = nullptr;
  SchemaNode root_;
};

}  // namespace sluice::control
