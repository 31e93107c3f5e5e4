// Words of a command line to a command and its arguments, by the table in commands.h. One parser
// for the one-shot command line, the interactive shell, completion and `?`: what one accepts, all
// do.
//
// Grammar. A command's words come first; a word of the table in capitals stands for the positional
// argument of that name ("request host ADDR limit"). Behind them, in any order: positional
// arguments, and options as words (`last 2h`) or with dashes (`--last 2h`, `--last=2h`). An
// option's name is an option only once the required positional arguments have been seen; `--` ends
// options. Pure.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "control/cli/commands.h"

namespace sluice::control {

struct ParseOptions {
  bool abbreviations = false;  // fixed words may be cut short while they are unambiguous
  std::string_view apart;      // a command that the caller does without this table; named in errors
};

struct ParsedLine {
  const Command* command = nullptr;  // nullptr: `error` says why
  nlohmann::json arguments = nlohmann::json::object();
  bool as_json = false;        // --json was among the words
  bool help = false;           // --help was: nothing else was checked
  std::string error;           // one line; empty: good
  std::size_t error_word = 0;  // index of the word at fault; words.size(): something is missing
};

ParsedLine parse_line(std::span<const std::string> words, const ParseOptions& options = {});

// What may stand behind `words`.
struct NextWord {
  std::string text;  // the word, or the placeholder of a value (ADDR, DURATION)
  std::string help;
  bool value = false;  // the text stands for a value of `kind`
  ArgumentKind kind = ArgumentKind::text;
};
struct NextWords {
  std::vector<NextWord> words;
  bool complete = false;  // the line may end here
  std::string error;      // the words so far make no sense
  std::size_t error_word = 0;
};
NextWords next_words(std::span<const std::string> words, const ParseOptions& options = {});

// Help for all commands that begin with `words`: one line each, or the arguments of the only one.
std::string help_text(std::span<const std::string> words);

}  // namespace sluice::control
