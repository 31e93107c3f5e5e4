// What stands behind "|" on a line of the shell: the output of a command goes through it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/api/config_words.h"
#include "control/cli/line_editor.h"
#include "dataplane/base/result.h"

namespace sluice::control {

struct Pipe {
  enum class Kind { match, except, count, last, save, no_more, json, display, compare } kind;
  std::string argument;
  std::uint64_t number = 0;
};

struct PipedLine {
  std::vector<SplitWord> words;  // of the command
  std::vector<Pipe> pipes;
  std::string error;
  std::size_t column = 0;  // of the error
};

// Splits a line at its pipes. A "|" within quotes is none.
PipedLine split_pipes(std::string_view line);

// Whether the line up to the cursor stands behind a pipe, and then what may stand there.
bool behind_pipe(std::string_view line, Choices& choices, bool configuration);

// `text` through the pipes that work on lines; `no_more`, `json`, `display` and `compare` are for
// whoever makes the text. Expressions are PCRE2, their cost bounded.
Result<std::string> through(const std::vector<Pipe>& pipes, std::string text);

bool has(const std::vector<Pipe>& pipes, Pipe::Kind kind);

}  // namespace sluice::control
