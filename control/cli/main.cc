// sluicectl: asks sluiced, or does by itself what needs no sluiced.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <deque>
#include <iostream>
#include <map>

#include "control/cli/analyze.h"
#include "control/cli/commands.h"
#include "control/cli/text.h"

#ifndef SLUICE_VERSION
#define SLUICE_VERSION "unknown"
#endif

namespace {

using namespace sluice::control;

// The options and arguments of one command as CLI11 fills them.
struct Bound {
  const Command* command = nullptr;
  CLI::App* app = nullptr;
  std::deque<std::pair<const Argument*, std::vector<std::string>>> values;  // addresses are stable
  std::deque<std::pair<const Argument*, bool>> flags;
};

void bind(Bound& bound) {
  for (const Argument& a : bound.command->arguments) {
    const std::string name = a.option ? "--" + std::string(a.name) : std::string(a.name);
    const std::string help(a.help);
    if (a.kind == ArgumentKind::flag) {
      auto& flag = bound.flags.emplace_back(&a, false);
      bound.app->add_flag(name, flag.second, help);
      continue;
    }
    auto& value = bound.values.emplace_back(&a, std::vector<std::string>{});
    CLI::Option* o = bound.app->add_option(name, value.second, help);
    const bool many = a.kind == ArgumentKind::files;
    if (a.kind == ArgumentKind::filter) {
      o->allow_extra_args(false)->type_size(1)->expected(1, 16);
      o->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    } else if (!many) {
      o->expected(1)->allow_extra_args(false);
    }
    if (a.required) o->required();
  }
}

int usage_error(const std::string& error) {
  std::cerr << "sluicectl: " << error << "\n";
  return kUsage;
}

// The command whose words begin `words`, the longest; nullptr when there is none.
const Command* find_command(const std::vector<std::string>& words, std::size_t& used) {
  const Command* best = nullptr;
  used = 0;
  for (const Command& c : commands()) {
    std::size_t count = 0;
    std::string_view rest = c.words;
    bool same = true;
    while (!rest.empty() && same) {
      const std::size_t space = rest.find(' ');
      same = count < words.size() && words[count] == rest.substr(0, space);
      ++count;
      rest = space == std::string_view::npos ? std::string_view{} : rest.substr(space + 1);
    }
    if (same && count > used) {
      best = &c;
      used = count;
    }
  }
  return best;
}

int run(int argc, char** argv) {
  CLI::App app{"Asks and directs Sluice. Exit status: 0 done, 1 failed, 2 wrong usage, 3 partial."};
  app.name("sluicectl");
  app.set_version_flag("--version", std::string("sluicectl ") + SLUICE_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  std::string socket = "/run/sluice/control.sock";
  bool as_json = false;
  app.add_option("--socket", socket, "socket of sluiced")
      ->envname("SLUICE_SOCKET")
      ->capture_default_str();
  app.add_flag("--json", as_json, "answers as JSON");
  app.add_subcommand("analyze", "inspect a capture or a message file here, without sluiced");

  std::map<std::string, CLI::App*> groups;
  const std::map<std::string, std::string> group_help = {
      {"show", "show what is and what was"},          {"explain", "explain a decision"},
      {"host", "order how a host is treated"},        {"rules", "check and load content rules"},
      {"config", "check and load the configuration"}, {"request", "ask for something to be done"}};
  std::deque<Bound> bounds;
  for (const Command& c : commands()) {
    const std::string words(c.words);
    const std::size_t space = words.find(' ');
    CLI::App* parent = &app;
    std::string last = words;
    if (space != std::string::npos) {
      const std::string group = words.substr(0, space);
      last = words.substr(space + 1);
      if (!groups.contains(group)) {
        groups[group] = app.add_subcommand(group, group_help.at(group));
        groups[group]->require_subcommand(1);
        groups[group]->fallthrough();
      }
      parent = groups[group];
    }
    Bound& bound = bounds.emplace_back();
    bound.command = &c;
    bound.app = parent->add_subcommand(last, std::string(c.help));
    bound.app->fallthrough();
    bind(bound);
  }

  std::vector<std::string> words(argv + 1, argv + argc);
  // Options that stand before the command's words.
  std::size_t first = 0;
  while (first < words.size() && words[first].starts_with("-")) {
    first += words[first] == "--socket" ? 2 : 1;
  }
  first = std::min(first, words.size());
  const auto at = [&words](std::size_t i) {
    return words.begin() + static_cast<std::ptrdiff_t>(i);
  };
  std::size_t used = 0;
  if (const Command* c = find_command({at(first), words.end()}, used); c != nullptr) {
    const std::vector<std::string> rest = words_to_options(*c, {at(first + used), words.end()});
    words.resize(first + used);
    words.insert(words.end(), rest.begin(), rest.end());
  } else if (first < words.size() && !groups.contains(words[first]) && words[first] != "analyze") {
    return usage_error("'" + for_terminal(words[first].substr(0, 60)) +
                       "': no such command; --help names them");
  }
  std::reverse(words.begin(), words.end());  // as CLI11 wants them
  try {
    app.parse(words);
  } catch (const CLI::CallForHelp& e) {
    return app.exit(e);
  } catch (const CLI::CallForVersion& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    app.exit(e);
    return kUsage;
  }
  for (Bound& b : bounds) {
    if (!b.app->parsed()) continue;
    nlohmann::json arguments = nlohmann::json::object();
    for (const auto& [argument, flag] : b.flags) {
      if (flag) arguments[std::string(argument->key)] = true;
    }
    for (const auto& [argument, given] : b.values) {
      if (given.empty()) continue;
      auto value = argument_value(*argument, given);
      if (!value) return usage_error(value.error());
      arguments[std::string(argument->key)] = std::move(*value);
    }
    return run_command(*b.command, arguments, socket, as_json);
  }
  return usage_error("no command");
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  if (argc > 1 && std::string_view(argv[1]) == "analyze") return analyze_main(argc - 1, argv + 1);
  return run(argc, argv);
}
