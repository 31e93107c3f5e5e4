#include "control/api/model.h"

#include <libyang/libyang.h>

#include <algorithm>
#include <cctype>

#include "control/api/config.h"

namespace sluice::control {
namespace {

// Descriptions are broken into lines in the model; what shows them breaks them anew.
std::string on_one_line(const char* text) {
  std::string out;
  if (text == nullptr) return out;
  bool blank = false;
  for (const char* c = text; *c != '\0'; ++c) {
    if (std::isspace(static_cast<unsigned char>(*c)) != 0) {
      blank = !out.empty();
      continue;
    }
    if (blank) out += ' ';
    blank = false;
    out += *c;
  }
  return out;
}

std::string text_of(const char* text) { return text == nullptr ? std::string{} : text; }

std::string decimal_text(std::int64_t value, unsigned digits) {
  std::string text = std::to_string(value < 0 ? -value : value);
  if (text.size() <= digits) text.insert(0, digits + 1 - text.size(), '0');
  text.insert(text.size() - digits, ".");
  return value < 0 ? "-" + text : text;
}

std::string range_text(const lysc_range* range, LY_DATA_TYPE base, unsigned digits) {
  std::string out;
  if (range == nullptr) return out;
  // A bound that is the type's own is "max": nobody wants to read 18446744073709551615.
  const auto bound = [&](std::int64_t wide, std::uint64_t natural) -> std::string {
    if (base == LY_TYPE_DEC64) return decimal_text(wide, digits);
    if (base > LY_TYPE_DEC64) return std::to_string(wide);
    return natural == UINT64_MAX ? "max" : std::to_string(natural);
  };
  LY_ARRAY_COUNT_TYPE i = 0;
  LY_ARRAY_FOR(range->parts, i) {
    const auto& part = range->parts[i];
    if (!out.empty()) out += " | ";
    const std::string low = bound(part.min_64, part.min_u64);
    const std::string high = bound(part.max_64, part.max_u64);
    out += low;
    if (high != low) out.append("..").append(high);
  }
  return out;
}

const char* base_name(LY_DATA_TYPE base) {
  switch (base) {
    case LY_TYPE_UINT8:
      return "uint8";
    case LY_TYPE_UINT16:
      return "uint16";
    case LY_TYPE_UINT32:
      return "uint32";
    case LY_TYPE_UINT64:
      return "uint64";
    case LY_TYPE_INT8:
      return "int8";
    case LY_TYPE_INT16:
      return "int16";
    case LY_TYPE_INT32:
      return "int32";
    case LY_TYPE_INT64:
      return "int64";
    case LY_TYPE_DEC64:
      return "decimal64";
    case LY_TYPE_BOOL:
      return "boolean";
    case LY_TYPE_ENUM:
      return "enumeration";
    case LY_TYPE_LEAFREF:
      return "leafref";
    default:
      return "string";
  }
}

void read_type(const lysc_type* type, SchemaNode& out) {
  if (type->basetype == LY_TYPE_LEAFREF) {
    const auto* reference = reinterpret_cast<const lysc_type_leafref*>(type);
    out.leafref = text_of(lyxp_get_expr(reference->path));
    read_type(reference->realtype, out);
    return;
  }
  switch (type->basetype) {
    case LY_TYPE_UINT8:
    case LY_TYPE_UINT16:
    case LY_TYPE_UINT32:
    case LY_TYPE_INT8:
    case LY_TYPE_INT16:
    case LY_TYPE_INT32:
      out.form = SchemaNode::Form::number;
      [[fallthrough]];
    case LY_TYPE_UINT64:
    case LY_TYPE_INT64:
      out.numeric = true;
      out.range =
          range_text(reinterpret_cast<const lysc_type_num*>(type)->range, type->basetype, 0);
      break;
    case LY_TYPE_DEC64: {
      const auto* decimal = reinterpret_cast<const lysc_type_dec*>(type);
      out.numeric = true;
      out.range = range_text(decimal->range, type->basetype, decimal->fraction_digits);
      break;
    }
    case LY_TYPE_BOOL:
      out.form = SchemaNode::Form::boolean;
      out.choices = {{"true", ""}, {"false", ""}};
      break;
    case LY_TYPE_ENUM: {
      const auto* enumeration = reinterpret_cast<const lysc_type_enum*>(type);
      LY_ARRAY_COUNT_TYPE i = 0;
      LY_ARRAY_FOR(enumeration->enums, i) {
        out.choices.push_back(
            {text_of(enumeration->enums[i].name), on_one_line(enumeration->enums[i].dsc)});
      }
      break;
    }
    case LY_TYPE_STRING: {
      const auto* string = reinterpret_cast<const lysc_type_str*>(type);
      out.range = range_text(string->length, LY_TYPE_STRING, 0);
      LY_ARRAY_COUNT_TYPE i = 0;
      LY_ARRAY_FOR(string->patterns, i) {
        out.patterns.emplace_back(text_of(string->patterns[i]->expr));
      }
      break;
    }
    default:
      break;
  }
}

// The name that the model gives to the type; "inet:ip-prefix" is "ip-prefix".
std::string type_name(const lysc_node* node, LY_DATA_TYPE base) {
  const auto* parsed = static_cast<const lysp_node*>(node->priv);
  const lysp_type* type = nullptr;
  if (parsed != nullptr && parsed->nodetype == LYS_LEAF) {
    type = &reinterpret_cast<const lysp_node_leaf*>(parsed)->type;
  } else if (parsed != nullptr && parsed->nodetype == LYS_LEAFLIST) {
    type = &reinterpret_cast<const lysp_node_leaflist*>(parsed)->type;
  }
  if (type == nullptr || type->name == nullptr) return base_name(base);
  const std::string name = type->name;
  const std::size_t colon = name.find(':');
  return colon == std::string::npos ? name : name.substr(colon + 1);
}

void read_rules(const lysc_must* rules, SchemaNode& out) {
  LY_ARRAY_COUNT_TYPE i = 0;
  LY_ARRAY_FOR(rules, i) {
    if (rules[i].emsg != nullptr) out.rules.push_back(on_one_line(rules[i].emsg));
  }
}

void read_node(const lysc_node* node, SchemaNode& out);

void read_children(const lysc_node* first, SchemaNode& out) {
  for (const lysc_node* n = first; n != nullptr; n = n->next) {
    if ((n->nodetype & (LYS_CONTAINER | LYS_LIST | LYS_LEAF | LYS_LEAFLIST)) == 0) continue;
    auto child = std::make_unique<SchemaNode>();
    child->parent = &out;
    read_node(n, *child);
    out.children.push_back(std::move(child));
  }
}

void read_node(const lysc_node* node, SchemaNode& out) {
  out.node = node;
  out.name = text_of(node->name);
  out.description = on_one_line(node->dsc);
  out.mandatory = (node->flags & LYS_MAND_TRUE) != 0;
  out.is_key = (node->flags & LYS_KEY) != 0;
  if (node->nodetype == LYS_CONTAINER) {
    const auto* c = reinterpret_cast<const lysc_node_container*>(node);
    read_rules(c->musts, out);
    read_children(c->child, out);
  } else if (node->nodetype == LYS_LIST) {
    const auto* l = reinterpret_cast<const lysc_node_list*>(node);
    out.kind = SchemaNode::Kind::list;
    out.user_ordered = (node->flags & LYS_ORDBY_USER) != 0;
    out.maximum = l->max == UINT32_MAX ? 0 : l->max;
    read_rules(l->musts, out);
    read_children(l->child, out);
    for (const auto& c : out.children) {
      if (c->is_key) out.key = c->name;
    }
  } else if (node->nodetype == LYS_LEAF) {
    const auto* l = reinterpret_cast<const lysc_node_leaf*>(node);
    out.kind = SchemaNode::Kind::leaf;
    out.units = text_of(l->units);
    out.type = type_name(node, l->type->basetype);
    if (l->dflt != nullptr) {
      out.defaults.emplace_back(lyd_value_get_canonical(node->module->ctx, l->dflt));
    }
    read_type(l->type, out);
    read_rules(l->musts, out);
  } else {
    const auto* l = reinterpret_cast<const lysc_node_leaflist*>(node);
    out.kind = SchemaNode::Kind::leaf_list;
    out.user_ordered = (node->flags & LYS_ORDBY_USER) != 0;
    out.maximum = l->max == UINT32_MAX ? 0 : l->max;
    out.units = text_of(l->units);
    out.type = type_name(node, l->type->basetype);
    LY_ARRAY_COUNT_TYPE i = 0;
    LY_ARRAY_FOR(l->dflts, i) {
      out.defaults.emplace_back(lyd_value_get_canonical(node->module->ctx, l->dflts[i]));
    }
    read_type(l->type, out);
    read_rules(l->musts, out);
  }
}

// The first list that has not exactly one key; nullptr when all have.
const SchemaNode* odd_list(const SchemaNode& node) {
  if (node.kind == SchemaNode::Kind::list &&
      std::count_if(node.children.begin(), node.children.end(),
                    [](const auto& c) { return c->is_key; }) != 1) {
    return &node;
  }
  for (const auto& c : node.children) {
    if (const SchemaNode* found = odd_list(*c); found != nullptr) return found;
  }
  return nullptr;
}

}  // namespace

const SchemaNode* SchemaNode::child(std::string_view wanted) const {
  for (const auto& c : children) {
    if (c->name == wanted) return c.get();
  }
  return nullptr;
}

std::string SchemaNode::path() const {
  return parent == nullptr ? "/sluice:" + name : parent->path() + "/" + name;
}

std::string SchemaNode::value_text() const {
  if (!choices.empty()) {
    std::string out;
    for (const Choice& c : choices) out += (out.empty() ? "" : " | ") + c.name;
    return out;
  }
  std::string out = numeric && !range.empty() ? range : "<" + (type.empty() ? name : type) + ">";
  if (!units.empty()) out += " " + units;
  return out;
}

Result<std::unique_ptr<Model>> Model::create() {
  std::unique_ptr<Model> model(new Model);
  ly_log_options(LY_LOSTORE);
  const auto failure = [](const ly_ctx* context) {
    const ly_err_item* e = context == nullptr ? nullptr : ly_err_first(context);
    return Error{std::string("the built-in model is broken: ") +
                 (e != nullptr && e->msg != nullptr ? e->msg : "unknown")};
  };
  // The parsed schema keeps the names of types.
  if (ly_ctx_new(nullptr,
                 LY_CTX_NO_YANGLIBRARY | LY_CTX_DISABLE_SEARCHDIRS | LY_CTX_SET_PRIV_PARSED,
                 &model->context_) != LY_SUCCESS) {
    return failure(nullptr);
  }
  lys_module* module = nullptr;
  const std::string source(model_source());
  if (lys_parse_mem(model->context_, source.c_str(), LYS_IN_YANG, &module) != LY_SUCCESS ||
      module->compiled == nullptr || module->compiled->data == nullptr) {
    return failure(model->context_);
  }
  read_node(module->compiled->data, model->root_);
  if (const SchemaNode* odd = odd_list(model->root_); odd != nullptr) {
    return Error{"the built-in model is broken: " + odd->path() + " has not exactly one key"};
  }
  return model;
}

Model::~Model() { ly_ctx_destroy(context_); }

Result<std::string> Model::canonical(const SchemaNode& leaf, std::string_view value) const {
  const char* text = nullptr;
  const LY_ERR result =
      lyd_value_validate(context_, leaf.node, value.data(), value.size(), nullptr, nullptr, &text);
  if (result == LY_SUCCESS || result == LY_EINCOMPLETE) {
    std::string out = text == nullptr ? std::string(value) : std::string(text);
    lydict_remove(context_, text);
    return out;
  }
  ly_err_clean(context_, nullptr);
  std::string error = "'" + std::string(value.substr(0, 60)) + "' is no " + leaf.name;
  if (!leaf.choices.empty()) {
    error += "; expected ";
    for (std::size_t i = 0; i < leaf.choices.size(); ++i) {
      error += (i == 0 ? "" : ", ") + leaf.choices[i].name;
    }
  } else if (leaf.numeric && !leaf.range.empty()) {
    error += "; expected " + leaf.range + (leaf.units.empty() ? "" : " " + leaf.units);
  } else {
    error += "; expected <" + leaf.type + ">";
    if (!leaf.range.empty()) error += " of " + leaf.range + " characters";
    if (!leaf.patterns.empty()) error += " like " + leaf.patterns.front();
  }
  return Error{error};
}

}  // namespace sluice::control
