// Configurations as text for people, what differs between two, and the merge of two changes.
#include <algorithm>
#include <optional>
#include <set>

#include "control/api/config_tree.h"

namespace sluice::control {
namespace {

using Kind = SchemaNode::Kind;
using Group = ConfigNode::Group;

void indent(std::string& out, std::size_t depth) { out.append(depth * 4, ' '); }

std::string head_of(const ConfigNode& n) {
  std::string out = n.schema().name;
  if (n.schema().kind != Kind::container) out += " " + quoted_word(n.value());
  return out;
}

void braces_within(const ConfigNode& node, std::size_t depth, std::string& out);

void braces(const ConfigNode& n, std::size_t depth, std::string& out) {
  indent(out, depth);
  if (n.inactive()) out += "inactive: ";
  out += head_of(n);
  if (n.schema().is_term() || n.empty()) {
    out += ";\n";
    return;
  }
  out += " {\n";
  braces_within(n, depth + 1, out);
  indent(out, depth);
  out += "}\n";
}

void braces_within(const ConfigNode& node, std::size_t depth, std::string& out) {
  for (const Group& g : node.groups()) {
    const bool all_active = std::none_of(g.nodes().begin(), g.nodes().end(),
                                         [](const auto& n) { return n->inactive(); });
    if (g.schema()->kind == Kind::leaf_list && g.nodes().size() > 1 && all_active) {
      // On one line while it fits.
      std::string line = g.schema()->name + " [";
      for (const auto& n : g.nodes()) line += " " + quoted_word(n->value());
      line += " ];\n";
      if (line.size() + depth * 4 <= 80) {
        indent(out, depth);
        out += line;
        continue;
      }
    }
    for (const auto& n : g.nodes()) braces(*n, depth, out);
  }
}

std::string joined(const std::string& base, const std::string& words) {
  return base.empty() ? words : base + " " + words;
}

void set_lines(const ConfigNode& node, const std::string& base, std::string& out) {
  for (const Group& g : node.groups()) {
    for (const auto& n : g.nodes()) {
      const std::string path = joined(base, head_of(*n));
      if (n->schema().is_term() || n->empty()) {
        out += "set " + path + "\n";
      } else {
        set_lines(*n, path, out);
      }
      if (n->inactive()) out += "deactivate " + path + "\n";
    }
  }
}

// What stands below "[edit PATH]".
class Differences {
 public:
  void nodes(const ConfigNode& before, const ConfigNode& after, const std::string& path) {
    std::string lines;
    std::vector<std::pair<const ConfigNode*, const ConfigNode*>> deeper;
    for (const auto& schema : before.schema().children) {
      const Group* old = before.group(*schema);
      const Group* now = after.group(*schema);
      if (old == nullptr && now == nullptr) continue;
      if (schema->user_ordered && schema->is_term()) {
        ordered(old, now, lines);
      } else {
        groups(old, now, lines, deeper);
      }
    }
    if (!lines.empty()) out += (path.empty() ? "[edit]\n" : "[edit " + path + "]\n") + lines;
    for (const auto& [a, b] : deeper) nodes(*a, *b, joined(path, head_of(*b)));
  }

  std::string out;

 private:
  static void mark(const ConfigNode& n, char sign, std::string& lines) {
    std::string text;
    braces(n, 0, text);
    std::size_t begin = 0;
    while (begin < text.size()) {
      const std::size_t end = text.find('\n', begin);
      lines += sign;
      lines += "  ";
      lines.append(text, begin, end - begin + 1);
      begin = end + 1;
    }
  }

  static void groups(const Group* old, const Group* now, std::string& lines,
                     std::vector<std::pair<const ConfigNode*, const ConfigNode*>>& deeper) {
    if (old != nullptr) {
      for (const auto& n : old->nodes()) {
        const ConfigNode* other = now == nullptr ? nullptr : now->find(n->value());
        const bool changed_leaf =
            other != nullptr && n->schema().kind == Kind::leaf && other->value() != n->value();
        if (other == nullptr || changed_leaf) mark(*n, '-', lines);
      }
    }
    if (now == nullptr) return;
    for (const auto& n : now->nodes()) {
      const ConfigNode* other = old == nullptr ? nullptr : old->find(n->value());
      if (other == nullptr || (n->schema().kind == Kind::leaf && other->value() != n->value())) {
        mark(*n, '+', lines);
        continue;
      }
      if (other->inactive() != n->inactive()) {
        lines += std::string("!  ") + (n->inactive() ? "deactivated: " : "activated: ") +
                 head_of(*n) + "\n";
      }
      if (!n->schema().is_term()) deeper.emplace_back(other, n.get());
    }
  }

  // The order means something: a list that differs is shown whole.
  static void ordered(const Group* old, const Group* now, std::string& lines) {
    const auto same_entry = [](const auto& a, const auto& b) { return same(*a, *b); };
    if (old != nullptr && now != nullptr &&
        std::equal(old->nodes().begin(), old->nodes().end(), now->nodes().begin(),
                   now->nodes().end(), same_entry)) {
      return;
    }
    if (old != nullptr) {
      for (const auto& n : old->nodes()) mark(*n, '-', lines);
    }
    if (now != nullptr) {
      for (const auto& n : now->nodes()) mark(*n, '+', lines);
    }
  }
};

// ---- merging ----

class Merger {
 public:
  // `into` begins as a copy of theirs.
  void nodes(const ConfigNode* base, const ConfigNode& mine, const ConfigNode* theirs,
             ConfigNode& into, const std::string& path) {
    for (const auto& schema : mine.schema().children) {
      const Group* b = base == nullptr ? nullptr : base->group(*schema);
      const Group* m = mine.group(*schema);
      const Group* t = theirs == nullptr ? nullptr : theirs->group(*schema);
      if (b == nullptr && m == nullptr) continue;  // only theirs: stays
      if (schema->user_ordered && schema->is_term()) {
        ordered(*schema, b, m, t, into, path);
      } else {
        groups(*schema, b, m, t, into, path);
      }
    }
  }

  std::vector<std::string> conflicts;

 private:
  static const ConfigNode* entry(const Group* g, const std::string& value) {
    return g == nullptr ? nullptr : g->find(value);
  }

  void groups(const SchemaNode& schema, const Group* b, const Group* m, const Group* t,
              ConfigNode& into, const std::string& path) {
    // Mine that are gone.
    if (b != nullptr) {
      for (const auto& was : b->nodes()) {
        if (entry(m, was->value()) != nullptr) continue;
        const ConfigNode* other = entry(t, was->value());
        if (other == nullptr) continue;
        if (!same(*was, *other)) conflicts.push_back(joined(path, head_of(*was)));
        if (const ConfigNode* there = into.find(schema, was->value()); there != nullptr) {
          into.remove(*there);
        }
      }
    }
    if (m == nullptr) return;
    for (const auto& n : m->nodes()) {
      const ConfigNode* was = entry(b, n->value());
      const ConfigNode* other = entry(t, n->value());
      if (was != nullptr && same(*was, *n)) continue;  // not touched by me
      const std::string here = joined(path, head_of(*n));
      if (schema.is_term()) {
        const bool they_changed =
            (was == nullptr) != (other == nullptr) || (was != nullptr && !same(*was, *other));
        const bool agree = other != nullptr && same(*other, *n);
        if (they_changed && !agree) conflicts.push_back(here);
        into.set(schema, n->value()).set_inactive(n->inactive());
        continue;
      }
      if (was != nullptr && other == nullptr) conflicts.push_back(here);  // they deleted it
      ConfigNode& made = into.set(schema, n->value());
      if (was == nullptr || was->inactive() != n->inactive()) made.set_inactive(n->inactive());
      // Deleted by them: mine comes back whole.
      nodes(other == nullptr ? nullptr : was, *n, other, made, here);
    }
  }

  void ordered(const SchemaNode& schema, const Group* b, const Group* m, const Group* t,
               ConfigNode& into, const std::string& path) {
    const auto equal = [](const Group* x, const Group* y) {
      if (x == nullptr || y == nullptr) return x == y;
      return std::equal(x->nodes().begin(), x->nodes().end(), y->nodes().begin(), y->nodes().end(),
                        [](const auto& p, const auto& q) { return same(*p, *q); });
    };
    if (equal(b, m)) return;
    if (!equal(b, t) && !equal(m, t)) conflicts.push_back(joined(path, schema.name));
    into.remove(schema);
    if (m == nullptr) return;
    for (const auto& n : m->nodes()) into.set(schema, n->value()).set_inactive(n->inactive());
  }
};

}  // namespace

std::string quoted_word(std::string_view value) {
  const bool plain = !value.empty() && value.find_first_of(" \t\"\\|;[]{}#?") == value.npos &&
                     std::all_of(value.begin(), value.end(),
                                 [](char c) { return static_cast<unsigned char>(c) >= 0x20; });
  if (plain) return std::string(value);
  std::string out = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string brace_text(const ConfigNode& node, bool with_self) {
  std::string out;
  if (with_self) {
    braces(node, 0, out);
  } else {
    braces_within(node, 0, out);
  }
  return out;
}

std::string set_text(const ConfigNode& node, const std::string& base) {
  std::string out;
  if (node.schema().is_term()) {
    out = "set " + base + "\n";
    if (node.inactive()) out += "deactivate " + base + "\n";
    return out;
  }
  set_lines(node, base, out);
  return out;
}

std::string difference(const ConfigNode& before, const ConfigNode& after, const std::string& base) {
  Differences d;
  d.nodes(before, after, base);
  return std::move(d.out);
}

MergeResult merge_changes(const ConfigTree& base, const ConfigTree& mine,
                          const ConfigTree& theirs) {
  MergeResult result{theirs, {}};
  Merger merger;
  merger.nodes(&base.root(), mine.root(), &theirs.root(), result.tree.root(), {});
  result.tree.root().prune();
  result.conflicts = std::move(merger.conflicts);
  return result;
}

}  // namespace sluice::control
