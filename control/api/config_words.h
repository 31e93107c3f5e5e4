// Words of configuration commands ("wire w1 mode monitor") against the model: what they name, what
// may come next, and edits of a tree by them. The shell uses it at every key, sluiced on what
// arrives; both say the same.
//
// Grammar. Names of the model lead downwards; a list's name is followed by a key, a leaf's by a
// value. Behind a leaf further leafs of the same node may follow, so that one line sets several:
// "wire w1 inside ens1f0 outside ens1f1". Values of a leaf-list follow its name, several in
// brackets: "mail port [ 25 587 ]". Names and choices may be cut short while they are unambiguous.
// An address stands for its /32 or /128 where a prefix is expected.
//
// Pure; one thread at a time for one Model.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "control/api/config_tree.h"
#include "control/api/model.h"
#include "dataplane/base/result.h"

namespace sluice::control {

enum class WordsUse : std::uint8_t {
  set,     // leafs with values, or entries
  remove,  // whatever is there: a container, list, entry, leaf or value
  show,    // the same, for looking; the empty path is the whole
  edit,    // a container or entry
};

struct ConfigStep {
  const SchemaNode* schema = nullptr;
  std::string value;       // key or value, canonical
  bool has_value = false;  // false: all entries of a list, a leaf whatever its value
};
using ConfigPath = std::vector<ConfigStep>;

struct WordsResult {
  std::vector<ConfigPath> targets;
  std::vector<std::string> full;  // the words, names and choices written out
  std::string error;              // one line; empty: good
  std::size_t error_word = 0;     // which word is at fault; words.size(): something is missing
};

WordsResult parse_config_words(const Model& model, std::span<const std::string> words,
                               WordsUse use);

struct NextConfigWord {
  std::string text;  // the word, or a placeholder like "<ip-prefix>"
  std::string help;
  bool placeholder = false;
};
struct NextConfigWords {
  std::vector<NextConfigWord> words;
  bool complete = false;  // the command may end here
  std::string error;
  std::size_t error_word = 0;
};
// What may stand behind `words`. Keys and values that exist are offered from `tree` (may be null).
NextConfigWords next_config_words(const Model& model, const ConfigTree* tree,
                                  std::span<const std::string> words, WordsUse use);

// One edit: "set", "delete", "activate", "deactivate" and a path. On an error the tree may hold a
// part of it: edit a copy.
struct EditFault {
  std::string error;  // empty: done
  std::size_t word = 0;
};
EditFault edit_tree(ConfigTree& tree, std::string_view operation,
                    std::span<const std::string> words);

// The node at a path, nullptr when the tree has none. Of a list without key or a leaf-list without
// value: the parent.
const ConfigNode* node_at(const ConfigTree& tree, const ConfigPath& path);

// The part of `tree` that `words` name as text; form "text", "set" or "json". Empty: nothing there.
Result<std::string> tree_text(const ConfigTree& tree, std::span<const std::string> words,
                              std::string_view form);

// The commands of a text, one a line ("set ...", "delete ...", ...; '#' begins a comment), made to
// `tree`. The first fault is "NAME:LINE: reason".
Status apply_commands(ConfigTree& tree, std::string_view text, std::string_view name);

// Splits a line at blanks; "..." holds blanks; \ before a quote, a blank or itself stands for that.
struct SplitWord {
  std::string text;
  std::size_t column = 0;  // where it begins in the line
  bool quoted = false;     // some of it was: it cannot be a pipe or "?"
};
struct SplitLine {
  std::vector<SplitWord> words;
  bool open_word = false;   // the line ends within or right behind a word: it may be completed
  bool open_quote = false;  // a quotation has no end
};
SplitLine split_line(std::string_view line);

}  // namespace sluice::control
