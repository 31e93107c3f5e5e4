// Prints the documentation of all settings, made from the model: control/model/settings.md.
// `./dev settings` writes it; a lint test holds the two together. With "operations" it prints the
// YANG module of the operations instead, which yanglint is to find clean as well.
#include <iostream>
#include <string_view>

#include "control/api/model.h"
#include "control/api/operations.h"

namespace {

using sluice::control::Model;
using sluice::control::SchemaNode;

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|' || c == '<' || c == '*' || c == '_') out += '\\';
    out += c;
  }
  return out;
}

std::string path_of(const SchemaNode& node) {
  if (node.parent == nullptr) return {};
  const std::string above = path_of(*node.parent);
  std::string own = node.name;
  if (node.kind == SchemaNode::Kind::list) own += " " + ('<' + node.key + '>');
  return above.empty() ? own : above + " " + own;
}

std::string defaults_of(const SchemaNode& leaf) {
  if (leaf.mandatory) return "must be given";
  std::string out;
  for (const std::string& d : leaf.defaults) {
    out += (out.empty() ? "" : ", ") + (d.empty() ? std::string("empty") : "`" + d + "`");
  }
  return out.empty() ? "none" : out;
}

std::string values_of(const SchemaNode& leaf) {
  std::string out;
  if (!leaf.choices.empty()) {
    for (const auto& c : leaf.choices) out += (out.empty() ? "" : ", ") + ("`" + c.name + "`");
  } else {
    out = escaped(leaf.type);
    if (!leaf.range.empty()) {
      out += leaf.numeric ? " " + escaped(leaf.range) : ", " + escaped(leaf.range) + " characters";
    }
    if (!leaf.units.empty()) out += " " + leaf.units;
  }
  if (leaf.kind == SchemaNode::Kind::leaf_list) {
    out += "; several";
    if (leaf.maximum != 0) out += ", at most " + std::to_string(leaf.maximum);
  }
  if (!leaf.leafref.empty()) out += "; one of `" + leaf.leafref + "`";
  return out;
}

void section(const SchemaNode& node) {
  const std::string path = path_of(node);
  std::cout << "\n## " << (path.empty() ? "At the top" : "`" + path + "`") << "\n\n"
            << escaped(node.description) << "\n";
  if (node.kind == SchemaNode::Kind::list) {
    std::cout << "\nA list, by `" << node.key << "`";
    if (node.maximum != 0) std::cout << "; at most " << node.maximum << " entries";
    std::cout << ".\n";
  }
  for (const std::string& rule : node.rules)
    std::cout << "\n- Must hold: " << escaped(rule) << "\n";
  bool head = false;
  for (const auto& leaf : node.children) {
    if (!leaf->is_term()) continue;
    if (!head) {
      std::cout << "\n| setting | values | default | |\n|---|---|---|---|\n";
      head = true;
    }
    std::string description = escaped(leaf->description);
    for (const std::string& rule : leaf->rules) description += " Must hold: " + escaped(rule) + ".";
    std::cout << "| `" << leaf->name << "` | " << values_of(*leaf) << " | " << defaults_of(*leaf)
              << " | " << description << " |\n";
  }
  for (const auto& leaf : node.children) {
    bool any = false;
    for (const auto& c : leaf->choices) any = any || !c.description.empty();
    if (!any) continue;
    std::cout << "\n`" << leaf->name << "`:\n\n";
    for (const auto& c : leaf->choices) {
      std::cout << "- `" << c.name << "`: " << escaped(c.description) << "\n";
    }
  }
  for (const auto& child : node.children) {
    if (!child->is_term()) section(*child);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "operations") {
    std::cout << sluice::control::operations_yang();
    return 0;
  }
  const auto model = Model::create();
  if (!model) {
    std::cerr << model.error() << "\n";
    return 1;
  }
  std::cout
      << "# All settings\n\n"
         "Made from `control/model/sluice.yang` by `./dev settings`; do not edit. Paths are as "
         "`set` takes\nthem in the shell; in JSON (RFC 7951) everything stands in "
         "`sluice:sluice`.\n";
  section((*model)->root());
  return 0;
}
