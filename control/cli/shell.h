// The interactive shell: operational mode and configure mode, as network engineers know them.
//
// Operational mode takes the commands of the one-shot form (command_parser.h), whose answers go
// through pipes and the pager. Configure mode edits a candidate that sluiced keeps; words are
// checked here against the model before they are sent, and sluiced checks them again. A session of
// configure mode is one connection: when it breaks, the mode ends and says so.
//
// Standard input that is no terminal is read as a script: no prompts, no pager; the exit status is
// that of the first line that failed, and reading goes on.
#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/api/config_tree.h"
#include "control/api/config_words.h"
#include "control/api/server.h"
#include "control/cli/line_editor.h"
#include "control/cli/pipes.h"

namespace sluice::control {

class Shell {
 public:
  explicit Shell(std::string socket);
  // Until the end of input or `exit`; the exit status of the process.
  int run();
  // What may stand at the end of a one-shot command line, for completion in other shells: a word a
  // line. `line` begins with the program's name.
  int complete(std::string_view line);

 private:
  using json = nlohmann::json;

  // What a line came to. An error points at a column of the line.
  struct Fault {
    std::string error;  // empty: good
    std::size_t column = 0;
    bool placed = false;  // the column means something
    bool told = false;    // the user knows already
  };
  struct Line {
    std::string text;
    std::vector<SplitWord> words;
    std::vector<Pipe> pipes;
    std::vector<std::string> texts(std::size_t from = 0) const;
    std::size_t column(std::size_t word) const;  // where that word begins; behind the line: its end
  };
  static Fault failed(std::string error) { return {std::move(error), 0, false, false}; }
  static Fault failed_at(const Line& line, std::size_t word, std::string error) {
    return {std::move(error), line.column(word), true, false};
  }

  // ---- shell.cc ----
  void execute(const std::string& line);
  void report(const Fault& fault, const std::string& line);
  Fault dispatch(const Line& line);
  Fault operational(const Line& line, std::size_t from);
  // Text of a command, through its pipes and the pager.
  Fault put(const Line& line, std::string text);
  void page(const std::string& text);
  bool ask(const std::string& question);
  std::string prompt() const;

  // ---- shell_configure.cc ----
  Fault enter(const Line& line);
  Fault leave(bool ask_first);
  Fault configure(const Line& line);
  Fault edit_lines(const Line& line, const std::string& operation);
  Fault show(const Line& line);
  Fault compare(const Line& line, std::uint64_t number, std::span<const std::string> words);
  Fault go(const Line& line);
  Fault up(const Line& line);
  Fault commit(const Line& line);
  Fault rollback(const Line& line);
  Fault load(const Line& line);
  Fault save(const Line& line);
  Fault update();
  Fault status();
  std::vector<std::string> below(std::span<const std::string> words) const;
  // Asks sluiced within the session; a broken connection ends configure mode.
  Result<json> ask_session(const std::string& command, json arguments);
  Fault ask_simple(const std::string& command, json arguments, std::string* text = nullptr);
  void tell_notices(const json& answer);
  void lost(const std::string& reason);

  // ---- shell_complete.cc ----
  Choices choices(std::string_view line);
  void operational_choices(std::span<const std::string> words, const SplitLine& split,
                           std::size_t from, Choices& out);
  void configure_choices(std::span<const std::string> words, const SplitLine& split, Choices& out);
  void configuration_choices(std::span<const std::string> words, const SplitLine& split,
                             std::size_t from, Choices& out);
  void model_choices(std::span<const std::string> words, const SplitLine& split, std::size_t from,
                     WordsUse use, Choices& out);
  const ConfigTree* candidate();
  const ConfigTree* running();

  std::string socket_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<LineEditor> editor_;
  std::unique_ptr<ApiClient> session_;  // in configure mode
  std::string mode_;                    // shared, private, exclusive
  std::vector<std::string> path_;       // of `edit`
  struct Cached {
    std::optional<ConfigTree> tree;
    std::chrono::steady_clock::time_point read;
  };
  Cached candidate_;
  Cached running_;
  bool done_ = false;
  int status_ = 0;
};

// A command of configure mode, for the table and for completion.
struct ConfigureCommand {
  std::string_view name;
  std::string_view help;
};
std::span<const ConfigureCommand> configure_commands();
// The one that the word names or begins; nullptr with `error` when there is none.
const ConfigureCommand* configure_command(const std::string& word, std::string& error);

}  // namespace sluice::control
