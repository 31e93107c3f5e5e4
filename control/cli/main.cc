// sluicectl: asks sluiced, or does by itself what needs no sluiced.
#include <signal.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "control/cli/analyze.h"
#include "control/cli/command_parser.h"
#include "control/cli/shell.h"
#include "control/cli/text.h"

#ifndef SLUICE_VERSION
#define SLUICE_VERSION "unknown"
#endif

namespace {

using namespace sluice::control;

constexpr const char* kAnalyze = "analyze";

int usage_error(const std::string& error) {
  std::cerr << "sluicectl: " << error << "\n";
  return kUsage;
}

int analyze(const std::vector<std::string>& words) {
  std::vector<std::string> own = words;
  std::vector<char*> arguments;
  arguments.reserve(own.size());
  for (std::string& word : own) arguments.push_back(word.data());
  return analyze_main(static_cast<int>(arguments.size()), arguments.data());
}

int help(const std::vector<std::string>& words) {
  if (!words.empty() && words[0] == kAnalyze) return analyze({kAnalyze, "--help"});
  if (const ParsedLine line = parse_line(words, {.apart = kAnalyze});
      !words.empty() && line.command == nullptr && line.error_word < words.size())
    return usage_error(line.error);
  if (words.empty()) {
    std::cout << "Asks and directs Sluice.\n"
                 "usage: sluicectl [--socket PATH] [--json] COMMAND [ARGUMENTS]\n"
                 "Options may be written as words: show messages from *@cust.example last 2h\n"
                 "Exit status: 0 done, 1 failed, 2 wrong usage, 3 partial.\n\n"
              << kAnalyze
              << " CAPTURE                     inspect a capture or a message file here\n";
  }
  std::cout << help_text(words);
  return kDone;
}

int run(std::vector<std::string> words) {
  RunOptions options;
  options.width = terminal_width();
  const char* environment = std::getenv("SLUICE_SOCKET");
  options.socket = environment != nullptr ? environment : "/run/sluice/control.sock";
  // --socket may stand anywhere, as a program's own option does.
  for (std::size_t i = 0; i < words.size();) {
    const auto at = words.begin() + static_cast<std::ptrdiff_t>(i);
    if (words[i] == "--") break;
    if (words[i] == "--socket") {
      if (i + 1 >= words.size()) return usage_error("--socket needs a path");
      options.socket = words[i + 1];
      words.erase(at, at + 2);
    } else if (words[i].starts_with("--socket=")) {
      options.socket = words[i].substr(9);
      words.erase(at);
    } else {
      ++i;
    }
  }
  if (words.size() == 1 && words[0] == "--version") {
    std::cout << "sluicectl " << SLUICE_VERSION << "\n";
    return kDone;
  }
  if (words.size() == 2 && words[0] == "complete") return Shell(options.socket).complete(words[1]);
  if (words.empty()) return Shell(options.socket).run();
  if (words[0] == kAnalyze) return analyze(words);
  const ParsedLine line = parse_line(words, {.apart = kAnalyze});
  if (line.help || (!words.empty() && words[0] == "help")) {
    std::erase_if(words, [](const std::string& w) {
      return w == "--help" || w == "-h" || w == "--json" || w == "help";
    });
    return help(words);
  }
  if (line.command == nullptr) return usage_error(line.error);
  options.as_json = line.as_json;
  return run_command(*line.command, line.arguments, options, std::cout, std::cerr);
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  if (argc > 1 && std::string_view(argv[1]) == kAnalyze) return analyze_main(argc - 1, argv + 1);
  return run(std::vector<std::string>(argv + 1, argv + argc));
}
