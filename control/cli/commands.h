// The commands of sluicectl in one table, from which the one-shot command line is made here, and
// from which completion, help and the interactive shell can be.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "control/cli/render.h"
#include "dataplane/base/result.h"

namespace sluice::control {

enum class ArgumentKind {
  text,
  address,   // an IP address
  prefix,    // an address or prefix
  duration,  // to seconds
  rate,      // to messages an hour
  count,     // a number from 1
  flag,      // no value
  file,      // path, made absolute
  files,     // one or more paths, made absolute
  filter,    // repeated KEY=VALUE
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
  std::string_view words;  // "show hosts"
  std::string_view help;
  std::string_view request;  // what sluiced is asked; empty: answered here
  std::vector<Argument> arguments;
  Render render = nullptr;
  nlohmann::json fixed = nlohmann::json::object();  // arguments that the words imply
  unsigned timeout_seconds = 30;
};

const std::vector<Command>& commands();

// The value of an argument as the request has it, or what is wrong with it.
Result<nlohmann::json> argument_value(const Argument& argument,
                                      const std::vector<std::string>& words);

// "from *@a.test last 2h" to "--from *@a.test --last 2h": words for the options of `command`, where
// they stand behind its positional arguments.
std::vector<std::string> words_to_options(const Command& command, std::vector<std::string> words);

// Exit statuses (interfaces.md).
inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;
inline constexpr int kPartial = 3;

// Runs one command; output to standard output, errors to standard error.
int run_command(const Command& command, const nlohmann::json& arguments, const std::string& socket,
                bool as_json);

}  // namespace sluice::control
