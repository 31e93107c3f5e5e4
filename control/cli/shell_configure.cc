// Configure mode.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <iostream>
#include <iterator>
#include <system_error>

#include "control/cli/render.h"
#include "control/cli/shell.h"
#include "control/cli/text.h"
#include "control/files/read_file.h"
#include "control/store/replace_file.h"

namespace sluice::control {
namespace {

constexpr ConfigureCommand kCommands[] = {
    {"activate", "Let a part that was deactivated count again"},
    {"commit", "Make the candidate run"},
    {"compare", "What the candidate changes, or changes since a rollback"},
    {"deactivate", "Keep a part but let it not count"},
    {"delete", "Delete a part"},
    {"edit", "Go to a part of the configuration"},
    {"exit", "One level up from 'edit', or leave configure mode"},
    {"help", "What can be done here"},
    {"load", "Read a file into the candidate"},
    {"quit", "Leave configure mode"},
    {"rollback", "Take an earlier configuration as candidate"},
    {"run", "A command of operational mode"},
    {"save", "Write the candidate to a file"},
    {"set", "Set values"},
    {"show", "Show the candidate"},
    {"status", "Who edits, and what waits to be confirmed"},
    {"top", "Go to the top, or run a command from there"},
    {"up", "Go up"},
    {"update", "Take over what others have committed meanwhile"},
};

constexpr std::size_t kMostFile = ApiServer::kMaxRequest / 2;  // octets; escaping may double them

bool number_of(const std::string& text, std::uint64_t most, std::uint64_t& number) {
  if (text.empty() || text.size() > 9 ||
      text.find_first_not_of("0123456789") != std::string::npos) {
    return false;
  }
  number = std::stoull(text);
  return number <= most;
}

std::string time_text(std::uint64_t wall) {
  const auto seconds = static_cast<std::time_t>(wall / 1'000'000'000);
  std::tm parts{};
  char text[64] = "";
  if (::gmtime_r(&seconds, &parts) != nullptr) {
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
  }
  return text;
}

}  // namespace

std::span<const ConfigureCommand> configure_commands() { return kCommands; }

const ConfigureCommand* configure_command(const std::string& word, std::string& error) {
  const ConfigureCommand* begun = nullptr;
  std::string names;
  std::size_t count = 0;
  for (const ConfigureCommand& c : kCommands) {
    if (c.name == word) return &c;
    if (word.empty() || !c.name.starts_with(word)) continue;
    begun = &c;
    names += (names.empty() ? "" : ", ") + std::string(c.name);
    ++count;
  }
  if (count == 1) return begun;
  error = "'" + for_terminal(word) + "'" +
          (count == 0 ? ": no such command in configure mode" : " is ambiguous: " + names);
  return nullptr;
}

std::vector<std::string> Shell::below(std::span<const std::string> words) const {
  std::vector<std::string> all = path_;
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

void Shell::lost(const std::string& reason) {
  std::cout << "error: " << reason
            << "\nThe connection to sluiced is lost and configure mode has ended";
  if (mode_ != "shared") std::cout << "; the " << mode_ << " candidate with it";
  std::cout << ".\nWhat was committed runs; 'configure' begins anew.\n";
  session_.reset();
  path_.clear();
  candidate_.tree.reset();
  if (status_ == 0) status_ = 1;
}

void Shell::tell_notices(const json& answer) {
  const auto found = answer.find("notices");
  if (found == answer.end() || !found->is_array()) return;
  for (const json& n : *found) {
    if (n.is_string()) std::cout << "-- " << for_terminal(n.get<std::string>()) << "\n";
  }
}

Result<Shell::json> Shell::ask_session(const std::string& command, json arguments) {
  if (!session_) return Error{"configure mode has ended"};
  if (auto s = session_->send({{"command", command}, {"arguments", std::move(arguments)}}); !s) {
    return Error{s.error()};
  }
  return session_->receive();
}

Shell::Fault Shell::ask_simple(const std::string& command, json arguments, std::string* text) {
  auto answer = ask_session(command, std::move(arguments));
  if (!answer) {
    lost(answer.error());
    return {{}, 0, false, true};
  }
  tell_notices(*answer);
  if (!answer->value("ok", false)) {
    return failed(for_terminal(answer->value("error", std::string("sluiced gave no reason"))));
  }
  if (text != nullptr) *text = answer->value("result", json::object()).value("text", std::string{});
  return {};
}

Shell::Fault Shell::enter(const Line& line) {
  std::string mode = "shared";
  if (line.words.size() > 1) {
    const std::string& word = line.words[1].text;
    mode.clear();
    for (const char* m : {"shared", "private", "exclusive"}) {
      if (!word.empty() && std::string_view(m).starts_with(word)) mode = m;
    }
    if (mode.empty()) return failed_at(line, 1, "expected shared, private or exclusive");
    if (line.words.size() > 2) return failed_at(line, 2, "nothing more is expected here");
  }
  constexpr unsigned kLongest = 600;  // seconds; rules may have to be compiled
  auto client = ApiClient::connect(socket_, kLongest);
  if (!client) return failed(client.error());
  session_ = std::make_unique<ApiClient>(std::move(*client));
  mode_ = mode;
  path_.clear();
  candidate_.tree.reset();
  auto answer = ask_session("config open", {{"mode", mode}});
  if (!answer || !answer->value("ok", false)) {
    session_.reset();
    return failed(!answer ? answer.error()
                          : for_terminal(answer->value("error", std::string("refused"))));
  }
  const json result = answer->value("result", json::object());
  std::cout << "Entering configuration mode" << (mode == "shared" ? "" : " (" + mode + ")") << "\n";
  for (const json& o : result.value("others", json::array())) {
    std::cout << "Also editing: "
              << for_terminal(o.value("user", std::string{}) + " (pid " +
                              std::to_string(o.value("pid", 0)) + ", " +
                              o.value("mode", std::string{}) + ", since " +
                              time_text(o.value("since", std::uint64_t{0})) + ")")
              << "\n";
  }
  if (result.value("changed", false)) {
    std::cout << "The shared candidate has changes that are not committed, last by "
              << for_terminal(result.value("changed_by", std::string{}))
              << ": 'compare' shows them\n";
  }
  if (const std::string text = result.value("confirm", std::string{}); !text.empty()) {
    std::cout << "Waiting: " << for_terminal(text) << "\n";
  }
  return {};
}

Shell::Fault Shell::leave(bool ask_first) {
  std::string changes;
  if (Fault f = ask_simple("config compare", json::object(), &changes);
      !f.error.empty() || f.told) {
    return f;
  }
  if (!changes.empty() && mode_ == "shared") {
    std::cout << "The configuration has been changed but not committed; the changes stay in the "
                 "shared candidate\n";
  } else if (!changes.empty() && ask_first && editor_->interactive() &&
             !ask("Discard the changes that are not committed?")) {
    return {};
  }
  [[maybe_unused]] const auto ignored = ask_session("config close", json::object());
  session_.reset();
  path_.clear();
  candidate_.tree.reset();
  if (editor_->interactive()) std::cout << "Exiting configuration mode\n";
  return {};
}

Shell::Fault Shell::configure(const Line& line) {
  std::string error;
  const ConfigureCommand* command = configure_command(line.words.front().text, error);
  if (command == nullptr) return failed_at(line, 0, error);
  const std::string_view name = command->name;
  const auto alone = [&](std::size_t most) { return line.words.size() <= most; };
  if (name == "set" || name == "delete" || name == "activate" || name == "deactivate") {
    return edit_lines(line, std::string(name));
  }
  if (name == "show") return show(line);
  if (name == "compare") {
    std::uint64_t number = 0;
    std::size_t at = 1;
    if (at < line.words.size() && std::string_view("rollback").starts_with(line.words[at].text))
      ++at;
    if (at < line.words.size() && !number_of(line.words[at].text, 49, number)) {
      return failed_at(line, at, "a number of a rollback, 0 to 49, is expected");
    }
    if (at + 1 < line.words.size()) return failed_at(line, at + 1, "nothing more is expected here");
    return compare(line, number, path_);
  }
  if (name == "edit") return go(line);
  if (name == "up") return up(line);
  if (name == "top") {
    if (alone(1)) {
      path_.clear();
      return {};
    }
    // The rest of the line from there; the place stays.
    Line rest = line;
    rest.words.erase(rest.words.begin());
    const std::vector<std::string> before = std::exchange(path_, {});
    Fault fault = configure(rest);
    const ConfigureCommand* inner = configure_command(rest.words.front().text, error);
    const bool moves = inner != nullptr && (inner->name == "edit" || inner->name == "top");
    if (session_ && (!moves || !fault.error.empty())) path_ = before;
    return fault;
  }
  if (name == "run")
    return line.words.size() < 2 ? failed_at(line, 1, "a command is expected")
                                 : operational(line, 1);
  if (name == "commit") return commit(line);
  if (name == "rollback") return rollback(line);
  if (name == "load") return load(line);
  if (name == "save") return save(line);
  if (name == "help") {
    std::string text;
    for (const ConfigureCommand& c : kCommands) {
      text += "  " + std::string(c.name) + std::string(12 - c.name.size(), ' ') +
              std::string(c.help) + "\n";
    }
    return put(line, text);
  }
  const bool to_the_end = line.words.size() == 2 && name == "exit" &&
                          std::string_view("configuration-mode").starts_with(line.words[1].text);
  if (!alone(1) && !to_the_end) return failed_at(line, 1, "nothing more is expected here");
  if (name == "update") return update();
  if (name == "status") return status();
  if (name == "exit" && !path_.empty() && !to_the_end) {
    path_.clear();
    return {};
  }
  return leave(true);
}

Shell::Fault Shell::edit_lines(const Line& line, const std::string& operation) {
  const auto words = below(line.texts(1));
  const bool set = operation == "set";
  const auto parsed = parse_config_words(*model_, words, set ? WordsUse::set : WordsUse::remove);
  const auto place = [&](std::size_t word) {
    return word < path_.size() ? 1 : word - path_.size() + 1;
  };
  if (!parsed.error.empty()) return failed_at(line, place(parsed.error_word), parsed.error);
  if (operation == "delete" && line.words.size() == 1 &&
      !ask("Delete everything under this level?")) {
    return {};
  }
  auto answer = ask_session(
      "config edit",
      {{"operations", json::array({{{"operation", operation}, {"words", parsed.full}}})}});
  candidate_.tree.reset();
  if (!answer) {
    lost(answer.error());
    return {{}, 0, false, true};
  }
  tell_notices(*answer);
  if (answer->value("ok", false)) return {};
  const std::string error = for_terminal(answer->value("error", std::string("refused")));
  if (!answer->contains("word")) return failed(error);
  return failed_at(line, place(answer->value("word", std::size_t{0})), error);
}

Shell::Fault Shell::show(const Line& line) {
  const auto words = below(line.texts(1));
  const auto parsed = parse_config_words(*model_, words, WordsUse::show);
  if (!parsed.error.empty()) {
    const std::size_t word = parsed.error_word;
    return failed_at(line, word < path_.size() ? 1 : word - path_.size() + 1, parsed.error);
  }
  std::string form = "text";
  for (const Pipe& p : line.pipes) {
    if (p.kind == Pipe::Kind::compare) return compare(line, p.number, parsed.full);
    if (p.kind == Pipe::Kind::json) form = "json";
    if (p.kind == Pipe::Kind::display) form = p.argument;
  }
  std::string text;
  Fault fault = ask_simple("config get", {{"words", parsed.full}, {"form", form}}, &text);
  if (!fault.error.empty() || fault.told) return fault;
  return put(line, std::move(text));
}

Shell::Fault Shell::compare(const Line& line, std::uint64_t number,
                            std::span<const std::string> words) {
  std::string text;
  Fault fault = ask_simple(
      "config compare",
      {{"number", number}, {"words", std::vector<std::string>(words.begin(), words.end())}}, &text);
  if (!fault.error.empty() || fault.told) return fault;
  return put(line, std::move(text));
}

Shell::Fault Shell::go(const Line& line) {
  const auto parsed = parse_config_words(*model_, below(line.texts(1)), WordsUse::edit);
  if (!parsed.error.empty()) {
    const std::size_t word = parsed.error_word;
    return failed_at(line, word < path_.size() ? 1 : word - path_.size() + 1, parsed.error);
  }
  if (line.words.size() < 2) return failed_at(line, 1, "a path is expected");
  path_ = parsed.full;
  return {};
}

Shell::Fault Shell::up(const Line& line) {
  std::uint64_t levels = 1;
  if (line.words.size() > 1 && !number_of(line.words[1].text, 100, levels)) {
    return failed_at(line, 1, "a number of levels is expected");
  }
  if (line.words.size() > 2) return failed_at(line, 2, "nothing more is expected here");
  for (; levels > 0 && !path_.empty(); --levels) {
    // A list's name and key are one level.
    const auto parsed = parse_config_words(*model_, path_, WordsUse::edit);
    const bool entry = !parsed.targets.empty() && !parsed.targets.front().empty() &&
                       parsed.targets.front().back().has_value;
    path_.resize(path_.size() - std::min<std::size_t>(path_.size(), entry ? 2 : 1));
  }
  return {};
}

Shell::Fault Shell::commit(const Line& line) {
  json arguments = json::object();
  bool and_quit = false;
  for (std::size_t i = 1; i < line.words.size(); ++i) {
    const std::string& word = line.words[i].text;
    const auto is = [&](std::string_view name, std::size_t least) {
      return word.size() >= least && name.starts_with(word);
    };
    if (is("check", 2)) {
      arguments["check"] = true;
    } else if (is("confirmed", 4)) {
      std::uint64_t minutes = 10;
      if (i + 1 < line.words.size() && !line.words[i + 1].text.empty() &&
          std::isdigit(static_cast<unsigned char>(line.words[i + 1].text.front())) != 0) {
        ++i;
        if (!number_of(line.words[i].text, 65'535, minutes) || minutes == 0) {
          return failed_at(line, i, "1 to 65535 minutes are expected");
        }
      }
      arguments["confirmed"] = minutes;
    } else if (is("comment", 4)) {
      if (++i >= line.words.size()) return failed_at(line, i, "a comment is expected");
      arguments["comment"] = line.words[i].text;
    } else if (is("and-quit", 1)) {
      and_quit = true;
    } else {
      return failed_at(line, i, "expected check, confirmed, comment or and-quit");
    }
  }
  auto answer = ask_session("config commit", std::move(arguments));
  candidate_.tree.reset();
  if (!answer) {
    lost(answer.error());
    return {{}, 0, false, true};
  }
  tell_notices(*answer);
  if (!answer->value("ok", false)) {
    return failed("commit failed: " +
                  for_terminal(answer->value("error", std::string("refused"))).substr(0, 100'000));
  }
  const json result = answer->value("result", json::object());
  std::cout << render_commit_answer(result, {.width = terminal_width()});
  if (answer->value("partial", false) && status_ == 0) status_ = 3;
  return and_quit ? leave(false) : Fault{};
}

Shell::Fault Shell::rollback(const Line& line) {
  std::uint64_t number = 0;
  if (line.words.size() > 1 && !number_of(line.words[1].text, 49, number)) {
    return failed_at(line, 1, "0 to 49 is expected");
  }
  if (line.words.size() > 2) return failed_at(line, 2, "nothing more is expected here");
  candidate_.tree.reset();
  Fault fault = ask_simple("config rollback", {{"number", number}});
  if (fault.error.empty() && !fault.told) std::cout << "load complete\n";
  return fault;
}

Shell::Fault Shell::load(const Line& line) {
  std::string mode;
  for (const char* m : {"merge", "replace", "set"}) {
    if (line.words.size() > 1 && !line.words[1].text.empty() &&
        std::string_view(m).starts_with(line.words[1].text)) {
      mode = m;
    }
  }
  if (mode.empty()) return failed_at(line, 1, "expected merge, replace or set");
  if (line.words.size() < 3) return failed_at(line, 2, "a file is expected");
  if (line.words.size() > 3) return failed_at(line, 3, "nothing more is expected here");
  const std::string& path = line.words[2].text;
  auto text = read_file(path, kMostFile);
  if (!text) return failed_at(line, 2, for_terminal(text.error()));
  candidate_.tree.reset();
  Fault fault = ask_simple("config load-candidate",
                           {{"mode", mode}, {"name", path}, {"text", std::move(*text)}});
  if (fault.error.empty() && !fault.told) std::cout << "load complete\n";
  return fault;
}

Shell::Fault Shell::save(const Line& line) {
  if (line.words.size() < 2) return failed_at(line, 1, "a file is expected");
  if (line.words.size() > 2) return failed_at(line, 2, "nothing more is expected here");
  std::string text;
  Fault fault = ask_simple("config get", {{"form", "json"}}, &text);
  if (!fault.error.empty() || fault.told) return fault;
  if (auto s = replace_file(line.words[1].text, text); !s) {
    return failed_at(line, 1, for_terminal(s.error()));
  }
  std::cout << "Wrote the candidate to " << for_terminal(line.words[1].text) << "\n";
  return {};
}

Shell::Fault Shell::update() {
  auto answer = ask_session("config update", json::object());
  candidate_.tree.reset();
  if (!answer) {
    lost(answer.error());
    return {{}, 0, false, true};
  }
  tell_notices(*answer);
  if (!answer->value("ok", false)) {
    return failed(for_terminal(answer->value("error", std::string("refused"))));
  }
  const json conflicts = answer->value("result", json::object()).value("conflicts", json::array());
  for (const json& c : conflicts) {
    if (c.is_string()) {
      std::cout << "kept as it is here: " << for_terminal(c.get<std::string>()) << "\n";
    }
  }
  std::cout << "update complete\n";
  return {};
}

Shell::Fault Shell::status() {
  auto answer = ask_session("config status", json::object());
  if (!answer) {
    lost(answer.error());
    return {{}, 0, false, true};
  }
  tell_notices(*answer);
  if (!answer->value("ok", false)) {
    return failed(for_terminal(answer->value("error", std::string("refused"))));
  }
  const json result = answer->value("result", json::object());
  for (const json& o : result.value("sessions", json::array())) {
    std::cout << for_terminal(o.value("user", std::string{}) + " (pid " +
                              std::to_string(o.value("pid", 0)) + "), " +
                              o.value("mode", std::string{}) + ", since " +
                              time_text(o.value("since", std::uint64_t{0})))
              << (o.value("own", false) ? " (this session)" : "") << "\n";
  }
  if (const std::string text = result.value("confirm", std::string{}); !text.empty()) {
    std::cout << for_terminal(text) << "\n";
  }
  return {};
}

}  // namespace sluice::control
