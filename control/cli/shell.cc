#include "control/cli/shell.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <sstream>

#include "control/cli/command_parser.h"
#include "control/cli/text.h"

namespace sluice::control {
namespace {

// Ends a wait for sluiced or a live screen, not the shell.
void on_interrupt(int) {}

std::string history_file() {
  const char* home = std::getenv("HOME");
  return home == nullptr || *home == '\0' ? std::string{}
                                          : std::string(home) + "/.sluicectl_history";
}

std::string user_name() {
  const char* user = std::getenv("USER");
  return user != nullptr && *user != '\0' ? user : std::to_string(::getuid());
}

std::string host_name() {
  char name[256] = "";
  if (::gethostname(name, sizeof name - 1) != 0) return "sluice";
  const std::string whole = name;
  return whole.substr(0, whole.find('.'));
}

std::size_t terminal_rows() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row >= 4) return size.ws_row;
  return 24;
}

// Asks for one key and gives it as it is pressed; 0 when there is none. The question is shown when
// no answer would be echoed any more.
char read_key(const std::string& question) {
  termios before{};
  if (::tcgetattr(STDIN_FILENO, &before) != 0) return 0;
  termios raw = before;
  raw.c_lflag &= static_cast<tcflag_t>(~(ICANON | ECHO | ISIG));
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  std::cout << question << std::flush;
  char key = 0;
  const ssize_t n = ::read(STDIN_FILENO, &key, 1);
  ::tcsetattr(STDIN_FILENO, TCSANOW, &before);
  return n == 1 ? key : '\0';
}

bool begins(std::string_view word, const std::string& typed, std::size_t least) {
  return typed.size() >= least && word.starts_with(typed);
}

}  // namespace

std::vector<std::string> Shell::Line::texts(std::size_t from) const {
  std::vector<std::string> out;
  for (std::size_t i = from; i < words.size(); ++i) out.push_back(words[i].text);
  return out;
}

std::size_t Shell::Line::column(std::size_t word) const {
  if (word < words.size()) return words[word].column;
  if (words.empty()) return 0;
  // Behind the last word of the command, where the next would begin.
  std::size_t end = words.back().column;
  bool quoted = false;
  while (end < text.size() && (quoted || (text[end] != ' ' && text[end] != '\t'))) {
    if (text[end] == '"') quoted = !quoted;
    ++end;
  }
  return end + 1;
}

Shell::Shell(std::string socket) : socket_(std::move(socket)) {}

int Shell::run() {
  auto model = Model::create();
  if (!model) {
    std::cerr << "sluicectl: " << model.error() << "\n";
    return 1;
  }
  model_ = std::move(*model);
  struct sigaction action {};
  action.sa_handler = on_interrupt;  // without SA_RESTART: what waits ends
  ::sigaction(SIGINT, &action, nullptr);
  editor_ = std::make_unique<LineEditor>([this](std::string_view line) { return choices(line); },
                                         history_file());
  while (!done_) {
    std::string head;
    if (session_) {
      if (mode_ != "shared") head.append(mode_).append(" ");
      head += "[edit";
      for (const std::string& w : path_) head.append(" ").append(quoted_word(w));
      head += "]";
    }
    std::string line;
    const LineEditor::End end =
        editor_->read(editor_->interactive() ? head : std::string{}, prompt(), line);
    if (end == LineEditor::End::interrupted) {
      std::cout << "\n";
      continue;
    }
    if (end == LineEditor::End::end) {
      if (editor_->interactive()) std::cout << "\n";
      if (session_ && editor_->interactive()) {
        report(leave(true), {});
        continue;
      }
      break;
    }
    execute(line);
  }
  return status_;
}

std::string Shell::prompt() const {
  return user_name() + "@" + host_name() + (session_ ? "# " : "> ");
}

void Shell::execute(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos || text[begin] == '#') return;
  PipedLine piped = split_pipes(text);
  if (!piped.error.empty()) return report({piped.error, piped.column, true, false}, text);
  Line line{text, std::move(piped.words), std::move(piped.pipes)};
  if (line.words.empty()) return report({"a command is expected", 0, true, false}, text);
  report(session_ ? configure(line) : dispatch(line), text);
  std::cout.flush();
}

// Errors go where the eye is: below the word.
void Shell::report(const Fault& fault, const std::string& line) {
  if (fault.error.empty() && !fault.told) return;
  if (status_ == 0) status_ = 1;
  if (fault.told) return;
  std::cout.flush();
  if (editor_->interactive()) {
    if (fault.placed) {
      const std::size_t column = std::min(fault.column, line.size() + 1);
      std::cout << std::string(display_width(prompt()) +
                                   display_width(std::string_view(line).substr(
                                       0, std::min(column, line.size()))) +
                                   (column > line.size() ? 1 : 0),
                               ' ')
                << "^\n";
    }
    std::cout << "error: " << fault.error << "\n";
    return;
  }
  std::cerr << "sluicectl: " << for_terminal(line) << ": " << fault.error << "\n";
}

Shell::Fault Shell::dispatch(const Line& line) {
  const std::string& word = line.words.front().text;
  if (begins("configure", word, 2) && word != "config") return enter(line);
  if (begins("exit", word, 3) || begins("quit", word, 1)) {
    if (line.words.size() > 1) return failed_at(line, 1, "nothing more is expected here");
    done_ = true;
    return {};
  }
  if (begins("help", word, 2)) {
    const auto rest = line.texts(1);
    std::string text = rest.empty() ? "Press ? at any place for what may stand there, Tab to "
                                      "complete a word.\n'configure' begins to edit the "
                                      "configuration, 'exit' ends.\n\n"
                                    : "";
    return put(line, text + help_text(rest));
  }
  if (begins("history", word, 2)) {
    std::string text;
    for (const std::string& h : editor_->earlier(1000)) text += for_terminal(h) + "\n";
    return put(line, text);
  }
  return operational(line, 0);
}

Shell::Fault Shell::operational(const Line& line, std::size_t from) {
  const std::vector<std::string> words = line.texts(from);
  if (words.empty()) return failed_at(line, from, "a command is expected");
  const ParsedLine parsed = parse_line(words, {.abbreviations = true});
  if (parsed.help) return put(line, help_text(words));
  if (parsed.command == nullptr) return failed_at(line, from + parsed.error_word, parsed.error);
  RunOptions options;
  options.socket = socket_;
  options.width = terminal_width();
  options.as_json = parsed.as_json || has(line.pipes, Pipe::Kind::json);
  std::ostringstream errors;
  int status = kDone;
  Fault fault;
  json arguments = parsed.arguments;
  for (const Pipe& p : line.pipes) {
    if (p.kind != Pipe::Kind::display && p.kind != Pipe::Kind::compare) continue;
    if (p.kind == Pipe::Kind::compare || parsed.command->request != "config get") {
      return failed_at(line, from, "'display' is for 'show config running' and '... candidate'");
    }
    arguments["form"] = p.argument;
  }
  const bool live = parsed.command->words.starts_with("monitor ");
  if (live && !line.pipes.empty() && !parsed.arguments.contains("count")) {
    return failed_at(line, from, "it has no end: give a 'count', or leave the pipe out");
  }
  if (live && line.pipes.empty()) {
    status = run_command(*parsed.command, parsed.arguments, options, std::cout, errors);
    std::cout.clear();
  } else {
    std::ostringstream out;
    status = run_command(*parsed.command, arguments, options, out, errors);
    fault = put(line, out.str());
  }
  std::string text = errors.str();
  if (!text.empty()) {
    constexpr std::string_view kSelf = "sluicectl: ";
    for (std::size_t at = text.find(kSelf); at != std::string::npos; at = text.find(kSelf, at)) {
      text.replace(at, kSelf.size(), "error: ");
    }
    (editor_->interactive() ? std::cout : std::cerr) << text;
  }
  if (fault.error.empty() && status != kDone) {
    if (status_ == 0) status_ = status;
    fault.told = true;
  }
  return fault;
}

Shell::Fault Shell::put(const Line& line, std::string text) {
  auto out = through(line.pipes, std::move(text));
  if (!out) return failed(out.error());
  if (!editor_->interactive()) {
    std::cout << *out;
    return {};
  }
  // Comments of a configuration are whatever somebody wrote.
  std::string safe;
  for (std::size_t begin = 0; begin < out->size();) {
    const std::size_t end = std::min(out->find('\n', begin), out->size());
    safe += for_terminal(std::string_view(*out).substr(begin, end - begin)) + "\n";
    begin = end + 1;
  }
  if (has(line.pipes, Pipe::Kind::no_more)) {
    std::cout << safe;
  } else {
    page(safe);
  }
  return {};
}

// A screenful at a time. Space: the next; Enter: a line; q: enough.
void Shell::page(const std::string& text) {
  const std::size_t rows = terminal_rows() - 1;
  const std::size_t width = terminal_width();
  const auto total = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  std::size_t left = rows;
  std::size_t shown = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    const std::size_t needs = std::max<std::size_t>(1, (display_width(line) + width - 1) / width);
    if (left < needs) {
      const std::string more =
          "---(more " + std::to_string(shown * 100 / std::max<std::size_t>(total, 1)) + "%)---";
      const char key = read_key(more);
      std::cout << "\r" << std::string(more.size(), ' ') << "\r" << std::flush;
      if (key == 'q' || key == 'Q' || key == '\x03' || key == '\0') return;
      left = key == '\n' || key == '\r' ? needs : rows;
    }
    std::cout << line << "\n";
    ++shown;
    left -= std::min(left, needs);
    at = end + 1;
  }
}

// "yes" or "no"; a script says yes by asking.
bool Shell::ask(const std::string& question) {
  if (!editor_->interactive()) return true;
  std::string line;
  while (editor_->read({}, question + " [yes,no] (no) ", line) == LineEditor::End::line) {
    if (line == "yes" || line == "y") return true;
    if (line.empty() || line == "no" || line == "n") return false;
  }
  return false;
}

}  // namespace sluice::control
