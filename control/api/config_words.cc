#include "control/api/config_words.h"

#include <algorithm>
#include <optional>

namespace sluice::control {
namespace {

using Kind = SchemaNode::Kind;
using Words = std::span<const std::string>;

std::string quoted(std::string_view word) { return "'" + std::string(word.substr(0, 60)) + "'"; }

bool settable(const SchemaNode& node) { return !node.is_key; }

// A value in canonical form; abbreviations and addresses for prefixes are accepted.
Result<std::string> value_of(const Model& model, const SchemaNode& leaf, const std::string& word) {
  if (!leaf.choices.empty() && !word.empty()) {
    const SchemaNode::Choice* begun = nullptr;
    std::size_t count = 0;
    for (const auto& c : leaf.choices) {
      if (c.name == word) return word;
      if (!c.name.starts_with(word)) continue;
      begun = &c;
      ++count;
    }
    if (count == 1) return begun->name;
    if (count > 1) {
      std::string names;
      for (const auto& c : leaf.choices) {
        if (c.name.starts_with(word)) names += (names.empty() ? "" : ", ") + c.name;
      }
      return Error{quoted(word) + " is ambiguous: " + names};
    }
  }
  auto canonical = model.canonical(leaf, word);
  if (canonical || word.find('/') != std::string::npos || !leaf.type.ends_with("prefix")) {
    return canonical;
  }
  const bool v6 = word.find(':') != std::string::npos;
  auto host = model.canonical(leaf, word + (v6 ? "/128" : "/32"));
  return host ? host : canonical;
}

// The walk along the words: where it stands at their end.
struct Walk {
  const SchemaNode* node = nullptr;  // container, list entry, or the term whose value is due
  ConfigPath path;                   // to `node`, when it is no term
  enum class Due : std::uint8_t { name, key, value, more_values, nothing } due = Due::name;
  const SchemaNode* waiting = nullptr;      // the list or term of `due`
  std::vector<const SchemaNode*> set_here;  // leafs of `node` that the line has set
  bool bracket = false;                     // within [ ]
  std::size_t values = 0;                   // values of `waiting` so far, when more may follow
  std::vector<ConfigPath> targets;
  std::vector<std::string> full;
  std::string error;
  std::size_t error_word = 0;
};

const SchemaNode* match_child(const SchemaNode& parent, const std::string& word,
                              std::string& error) {
  if (word.empty()) {
    error = "an empty word is no name";
    return nullptr;
  }
  const SchemaNode* begun = nullptr;
  std::string names;
  std::size_t count = 0;
  for (const auto& c : parent.children) {
    if (!settable(*c)) continue;
    if (c->name == word) return c.get();
    if (!c->name.starts_with(word)) continue;
    begun = c.get();
    names += (names.empty() ? "" : ", ") + c->name;
    ++count;
  }
  if (count == 1) return begun;
  error =
      count == 0 ? quoted(word) + " is not known here" : quoted(word) + " is ambiguous: " + names;
  return nullptr;
}

class Walker {
 public:
  Walker(const Model& model, Words words, WordsUse use) : model_(model), words_(words), use_(use) {
    w_.node = &model.root();
  }

  Walk walk() {
    for (std::size_t i = 0; i < words_.size() && w_.error.empty(); ++i) step(i);
    return std::move(w_);
  }

 private:
  void fail(std::size_t word, std::string text) {
    w_.error = std::move(text);
    w_.error_word = word;
  }
  ConfigPath with(ConfigStep last) const {
    ConfigPath path = w_.path;
    path.push_back(std::move(last));
    return path;
  }

  void step(std::size_t i) {
    const std::string& word = words_[i];
    switch (w_.due) {
      case Walk::Due::nothing:
        return fail(i, quoted(word) + ": nothing more is expected here");
      case Walk::Due::key:
        return key(i, word);
      case Walk::Due::value:
        return value(i, word);
      case Walk::Due::more_values:
        // A further value of the leaf-list, when it is none of a name.
        if (w_.bracket) return value(i, word);
        w_.due = Walk::Due::name;
        [[fallthrough]];
      case Walk::Due::name:
        return name(i, word);
    }
  }

  void name(std::size_t i, const std::string& word) {
    std::string error;
    const SchemaNode* child = match_child(*w_.node, word, error);
    if (child == nullptr) return fail(i, std::move(error));
    if (!w_.set_here.empty() && !child->is_term()) {
      return fail(i, quoted(child->name) + " cannot follow a value; give it in a line of its own");
    }
    w_.full.push_back(child->name);
    w_.waiting = child;
    w_.values = 0;
    if (child->is_term()) {
      const bool twice =
          std::find(w_.set_here.begin(), w_.set_here.end(), child) != w_.set_here.end();
      if (twice && child->kind == Kind::leaf) return fail(i, quoted(child->name) + " stands twice");
      if (use_ == WordsUse::edit)
        return fail(i, quoted(child->name) + " has nothing to edit in it");
      w_.due = Walk::Due::value;
      return;
    }
    if (child->kind == Kind::list) {
      w_.due = Walk::Due::key;
      return;
    }
    w_.path.push_back({child, {}, false});
    w_.node = child;
  }

  void key(std::size_t i, const std::string& word) {
    const SchemaNode* list = w_.waiting;
    auto text = value_of(model_, *list->child(list->key), word);
    if (!text) return fail(i, text.error());
    w_.full.push_back(*text);
    w_.path.push_back({list, std::move(*text), true});
    w_.node = list;
    w_.due = Walk::Due::name;
    w_.waiting = nullptr;
  }

  void value(std::size_t i, const std::string& word) {
    const SchemaNode* term = w_.waiting;
    if (term->kind == Kind::leaf_list && !w_.bracket && word == "[") {
      w_.bracket = true;
      w_.full.push_back(word);
      return;
    }
    if (w_.bracket && word == "]") {
      if (w_.values == 0) return fail(i, "a value is expected before ']'");
      w_.bracket = false;
      w_.full.push_back(word);
      return value_done(term);
    }
    auto text = value_of(model_, *term, word);
    if (!text) return fail(i, text.error());
    w_.full.push_back(*text);
    w_.targets.push_back(with({term, std::move(*text), true}));
    ++w_.values;
    if (w_.bracket) {
      w_.due = Walk::Due::more_values;
      return;
    }
    value_done(term);
  }

  void value_done(const SchemaNode* term) {
    w_.set_here.push_back(term);
    w_.due = use_ == WordsUse::set ? Walk::Due::more_values : Walk::Due::nothing;
  }

  const Model& model_;
  Words words_;
  WordsUse use_;
  Walk w_;
};

std::string needed(const SchemaNode& term) {
  const std::string text = term.value_text();
  return term.name + " needs a value: " + text;
}

// Ends a walk: what is missing, or the last target.
void finish(Walk& w, WordsUse use, std::size_t words) {
  if (!w.error.empty()) return;
  const auto fail = [&](std::string text) {
    w.error = std::move(text);
    w.error_word = words;
  };
  if (w.bracket) return fail("']' is missing");
  switch (w.due) {
    case Walk::Due::key:
      if (use == WordsUse::set || use == WordsUse::edit) {
        return fail(w.waiting->name + " needs a " + w.waiting->key + ": " +
                    w.waiting->child(w.waiting->key)->value_text());
      }
      w.targets.push_back(w.path);
      w.targets.back().push_back({w.waiting, {}, false});
      return;
    case Walk::Due::value:
      if (use == WordsUse::set) return fail(needed(*w.waiting));
      w.targets.push_back(w.path);
      w.targets.back().push_back({w.waiting, {}, false});
      return;
    case Walk::Due::name:
    case Walk::Due::more_values:
      if (!w.set_here.empty()) return;
      if (use == WordsUse::set && w.node->kind != Kind::list) {
        return fail(w.path.empty() ? "a path is expected"
                                   : "more is needed behind " + quoted(w.node->name));
      }
      w.targets.push_back(w.path);
      return;
    case Walk::Due::nothing:
      return;
  }
}

// The leaf that a leafref's path leads to.
const SchemaNode* leafref_target(const SchemaNode& leaf) {
  const SchemaNode* at = &leaf;
  std::string_view rest = leaf.leafref;
  if (rest.starts_with("/")) {
    while (at->parent != nullptr) at = at->parent;
    rest.remove_prefix(1);
    rest = rest.find('/') == rest.npos ? std::string_view{} : rest.substr(rest.find('/') + 1);
  }
  while (!rest.empty() && at != nullptr) {
    const std::size_t slash = rest.find('/');
    std::string_view part = rest.substr(0, slash);
    rest = slash == rest.npos ? std::string_view{} : rest.substr(slash + 1);
    if (const std::size_t colon = part.find(':'); colon != part.npos) part.remove_prefix(colon + 1);
    if (part == "..") {
      at = at->parent;
    } else if (part != "." && part != "current()") {
      at = at->child(part.substr(0, part.find('[')));
    }
  }
  return at;
}

void collect(const ConfigNode& node, const SchemaNode& target, std::vector<std::string>& out) {
  for (const auto& g : node.groups()) {
    for (const auto& n : g.nodes()) {
      const bool key = target.is_key && g.schema() == target.parent;
      if (key || g.schema() == &target) out.push_back(n->value());
      if (!n->schema().is_term()) collect(*n, target, out);
    }
  }
}

std::string help_of(const SchemaNode& node) {
  const std::size_t end = node.description.find(". ");
  return end == std::string::npos ? node.description : node.description.substr(0, end + 1);
}

void offer_values(const SchemaNode& term, const ConfigTree* tree, const ConfigPath& path,
                  WordsUse use, NextConfigWords& out) {
  for (const auto& c : term.choices) {
    const bool standard =
        std::find(term.defaults.begin(), term.defaults.end(), c.name) != term.defaults.end();
    out.words.push_back({c.name, c.description + (standard ? " (default)" : ""), false});
  }
  const ConfigNode* parent = tree == nullptr ? nullptr : node_at(*tree, path);
  if (parent != nullptr && (term.kind == Kind::leaf_list || use != WordsUse::set)) {
    if (const auto* g = parent->group(term); g != nullptr && g->nodes().size() <= 1000) {
      for (const auto& n : g->nodes()) out.words.push_back({quoted_word(n->value()), "", false});
    }
  }
  if (!term.leafref.empty() && tree != nullptr) {
    if (const SchemaNode* target = leafref_target(term); target != nullptr) {
      std::vector<std::string> values;
      collect(tree->root(), *target, values);
      for (const auto& v : values) out.words.push_back({quoted_word(v), "", false});
    }
  }
  if (!term.choices.empty()) return;
  std::string help = help_of(term);
  for (std::size_t i = 0; i < term.defaults.size(); ++i) {
    help += (i == 0 ? " Default: " : ", ") +
            (term.defaults[i].empty() ? std::string("empty") : term.defaults[i]);
  }
  const std::string text = term.value_text();
  out.words.push_back({text.starts_with("<") ? text : "<" + text + ">", std::move(help), true});
  if (term.kind == Kind::leaf_list) out.words.push_back({"[", "Several values, ended by ]", false});
}

}  // namespace

WordsResult parse_config_words(const Model& model, Words words, WordsUse use) {
  Walk w = Walker(model, words, use).walk();
  finish(w, use, words.size());
  WordsResult result;
  result.targets = std::move(w.targets);
  result.full = std::move(w.full);
  result.error = std::move(w.error);
  result.error_word = w.error_word;
  return result;
}

NextConfigWords next_config_words(const Model& model, const ConfigTree* tree, Words words,
                                  WordsUse use) {
  NextConfigWords out;
  Walk w = Walker(model, words, use).walk();
  if (!w.error.empty()) {
    out.error = std::move(w.error);
    out.error_word = w.error_word;
    return out;
  }
  if (w.bracket) {
    offer_values(*w.waiting, tree, w.path, use, out);
    std::erase_if(out.words, [](const auto& n) { return n.text == "["; });
    if (w.values > 0) out.words.push_back({"]", "End of the values", false});
    return out;
  }
  switch (w.due) {
    case Walk::Due::key: {
      const ConfigNode* parent = tree == nullptr ? nullptr : node_at(*tree, w.path);
      if (parent != nullptr) {
        if (const auto* g = parent->group(*w.waiting); g != nullptr && g->nodes().size() <= 1000) {
          for (const auto& n : g->nodes()) {
            out.words.push_back({quoted_word(n->value()), n->inactive() ? "inactive" : "", false});
          }
        }
      }
      const SchemaNode& key = *w.waiting->child(w.waiting->key);
      const std::string text = key.value_text();
      out.words.push_back({text.starts_with("<") ? text : "<" + text + ">", help_of(key), true});
      out.complete = use == WordsUse::remove || use == WordsUse::show;
      return out;
    }
    case Walk::Due::value:
      offer_values(*w.waiting, tree, w.path, use, out);
      out.complete = use != WordsUse::set;
      return out;
    case Walk::Due::nothing:
      out.complete = true;
      return out;
    case Walk::Due::name:
    case Walk::Due::more_values:
      break;
  }
  for (const auto& c : w.node->children) {
    if (!settable(*c)) continue;
    if (use == WordsUse::edit && c->is_term()) continue;
    if (!w.set_here.empty() && !c->is_term()) continue;
    const bool done = c->kind == Kind::leaf &&
                      std::find(w.set_here.begin(), w.set_here.end(), c.get()) != w.set_here.end();
    if (done) continue;
    out.words.push_back({c->name, help_of(*c), false});
  }
  out.complete = use == WordsUse::show || (use == WordsUse::remove && !w.path.empty()) ||
                 (use == WordsUse::edit && !w.path.empty()) ||
                 (use == WordsUse::set && (!w.set_here.empty() || w.node->kind == Kind::list));
  return out;
}

const ConfigNode* node_at(const ConfigTree& tree, const ConfigPath& path) {
  const ConfigNode* at = &tree.root();
  for (const ConfigStep& s : path) {
    if (s.schema->is_many() && !s.has_value) return at;
    at = at->find(*s.schema, s.value);
    if (at == nullptr) return nullptr;
    if (s.has_value && s.schema->kind == Kind::leaf && at->value() != s.value) return nullptr;
  }
  return at;
}

EditFault edit_tree(ConfigTree& tree, std::string_view operation, Words words) {
  const bool set = operation == "set";
  if (!set && operation != "delete" && operation != "activate" && operation != "deactivate") {
    return {quoted(operation) + " is no edit; expected set, delete, activate or deactivate", 0};
  }
  const WordsResult parsed =
      parse_config_words(tree.model(), words, set ? WordsUse::set : WordsUse::remove);
  if (!parsed.error.empty()) return {parsed.error, parsed.error_word};
  for (const ConfigPath& path : parsed.targets) {
    if (path.empty()) {
      if (operation != "delete") return {"a path is expected", words.size()};
      tree.root().clear();
      continue;
    }
    ConfigNode* at = &tree.root();
    for (const ConfigStep& s : std::span(path).first(path.size() - 1)) {
      at = set ? &at->set(*s.schema, s.value) : at->find(*s.schema, s.value);
      if (at == nullptr) return {"there is nothing at this path", words.size()};
    }
    const ConfigStep& last = path.back();
    if (set) {
      const auto* g = at->group(*last.schema);
      const bool full = g != nullptr && last.schema->maximum != 0 && last.schema->is_many() &&
                        g->nodes().size() >= last.schema->maximum && g->find(last.value) == nullptr;
      if (full) {
        return {last.schema->name + " holds " + std::to_string(last.schema->maximum) +
                    " entries already, the most there may be",
                words.size()};
      }
      at->set(*last.schema, last.value);
      continue;
    }
    const bool all = last.schema->is_many() && !last.has_value;
    if (all && at->group(*last.schema) != nullptr) {
      if (operation == "delete") {
        at->remove(*last.schema);
      } else {
        for (const auto& n : at->group(*last.schema)->nodes()) {
          n->set_inactive(operation == "deactivate");
        }
      }
      continue;
    }
    ConfigNode* found = all ? nullptr : at->find(*last.schema, last.value);
    if (found != nullptr && last.has_value && last.schema->kind == Kind::leaf &&
        found->value() != last.value) {
      found = nullptr;
    }
    if (found == nullptr) return {"there is nothing at this path", words.size()};
    if (operation == "delete") {
      at->remove(*found);
    } else {
      found->set_inactive(operation == "deactivate");
    }
  }
  tree.root().prune();
  return {};
}

Result<std::string> tree_text(const ConfigTree& tree, Words words, std::string_view form) {
  const WordsResult parsed = parse_config_words(tree.model(), words, WordsUse::show);
  if (!parsed.error.empty()) return Error{parsed.error};
  const ConfigPath& path = parsed.targets.front();
  if (path.empty() && form == "json") return tree.json();
  const ConfigNode* node = node_at(tree, path);
  if (node == nullptr) return std::string{};
  std::string base;
  for (const ConfigStep& s : path) {
    base += (base.empty() ? "" : " ") + s.schema->name;
    if (s.has_value) base += " " + quoted_word(s.value);
  }
  const bool many = !path.empty() && path.back().schema->is_many() && !path.back().has_value;
  if (many) {
    const auto* g = node->group(*path.back().schema);
    if (g == nullptr) return std::string{};
    if (form == "json") return json_text(*g);
    std::string out;
    for (const auto& n : g->nodes()) {
      const std::string here = base + " " + quoted_word(n->value());
      if (form == "set") {
        out += set_text(*n, here);
        if (n->empty() && !n->schema().is_term()) out += "set " + here + "\n";
        if (n->inactive() && !n->schema().is_term()) out += "deactivate " + here + "\n";
      } else {
        out += brace_text(*n, true);
      }
    }
    return out;
  }
  if (form == "set") {
    if (node->schema().kind == Kind::leaf)
      base += path.back().has_value ? "" : " " + quoted_word(node->value());
    std::string out = set_text(*node, base);
    if (out.empty() && node->schema().kind == Kind::list) out = "set " + base + "\n";
    if (node->inactive() && !node->schema().is_term()) out += "deactivate " + base + "\n";
    return out;
  }
  if (form == "json") return json_text(*node);
  return brace_text(*node, node->schema().is_term());
}

Status apply_commands(ConfigTree& tree, std::string_view text, std::string_view name) {
  std::size_t number = 0;
  while (!text.empty()) {
    ++number;
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    if (line.ends_with("\r")) line.remove_suffix(1);
    const std::size_t begin = line.find_first_not_of(" \t");
    if (begin == line.npos || line[begin] == '#') continue;
    const auto fail = [&](const std::string& reason) {
      return Error{std::string(name) + ":" + std::to_string(number) + ": " + reason};
    };
    const SplitLine split = split_line(line);
    if (split.open_quote) return fail("a quotation has no end");
    std::vector<std::string> words;
    for (const auto& w : split.words) words.push_back(w.text);
    const EditFault fault = edit_tree(tree, words.front(), std::span(words).subspan(1));
    if (!fault.error.empty()) return fail(fault.error);
  }
  return ok();
}

SplitLine split_line(std::string_view line) {
  SplitLine out;
  bool in_word = false;
  bool in_quotes = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    const bool blank = c == ' ' || c == '\t';
    if (!in_quotes && blank) {
      in_word = false;
      continue;
    }
    if (!in_word) {
      out.words.push_back({{}, i, false});
      in_word = true;
    }
    SplitWord& word = out.words.back();
    if (c == '"') {
      in_quotes = !in_quotes;
      word.quoted = true;
    } else if (c == '\\' && i + 1 < line.size() &&
               std::string_view("\"\\ \t").find(line[i + 1]) != std::string_view::npos) {
      word.text += line[++i];
      word.quoted = true;
    } else {
      word.text += c;
    }
  }
  out.open_word = in_word;
  out.open_quote = in_quotes;
  return out;
}

}  // namespace sluice::control
