// The commands of sluicectl in one table, from which the one-shot command line, completion, help
// and the interactive shell are made (command_parser.h), and what runs them.
#pragma once

#include <iosfwd>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "control/api/access.h"
#include "control/cli/render.h"
#include "dataplane/base/result.h"

namespace sluice::control {

enum class ArgumentKind {
  text,
  pattern,   // text with * and ?
  wire,      // name of a wire
  address,   // an IP address
  prefix,    // an address or prefix
  duration,  // to seconds
  rate,      // to messages an hour
  count,     // a number from 1
  number,    // a number from 0
  flag,      // no value
  file,      // path, made absolute
  files,     // one or more paths, made absolute
  filter,    // repeated KEY=VALUE
  paths,     // an option, repeated, of one path each, made absolute
  words,     // all that is left of the line: a path of the configuration
};

struct Argument {
  std::string_view name;  // in help; of an option also its long name without dashes
  std::string_view key;   // in the request
  ArgumentKind kind = ArgumentKind::text;
  bool option = false;
  bool required = false;
  std::string_view help;
};

struct Command {
  // "show hosts"; a word in capitals is the positional argument of that name ("show wire WIRE").
  std::string_view words;
  std::string_view help;
  std::string_view request;  // what sluiced is asked; empty: answered here
  std::vector<Argument> arguments;
  Render render = nullptr;
  nlohmann::json fixed = nlohmann::json::object();  // arguments that the words imply
  unsigned timeout_seconds = 30;
  Access access = Access::viewer;  // the least that sluiced asks for; `none`: done here
};

const std::vector<Command>& commands();

// The value of an argument as the request has it, or what is wrong with it.
Result<nlohmann::json> argument_value(const Argument& argument,
                                      const std::vector<std::string>& words);

// Exit statuses (interfaces.md).
inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;
inline constexpr int kPartial = 3;

struct RunOptions {
  std::string socket;
  bool as_json = false;
  std::size_t width = 80;
};

// Runs one command: what it says to `out`, errors to `errors`. Live screens (monitor) take the
// terminal itself. Returns the exit status.
int run_command(const Command& command, const nlohmann::json& arguments, const RunOptions& options,
                std::ostream& out, std::ostream& errors);

}  // namespace sluice::control
