#include "control/cli/line_editor.h"

#include <fcntl.h>
#include <histedit.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iostream>

#include "control/cli/text.h"

namespace sluice::control {
namespace {

constexpr int kHistoryLines = 1000;

LineEditor* self_of(EditLine* editor) {
  void* data = nullptr;
  el_get(editor, EL_CLIENTDATA, &data);
  return static_cast<LineEditor*>(data);
}

}  // namespace

std::vector<Choices::Choice> fitting(const Choices& choices, std::string_view line) {
  const std::string_view begun = line.substr(std::min(choices.begin, line.size()));
  std::vector<Choices::Choice> out;
  for (const auto& c : choices.choices) {
    if (c.placeholder || std::string_view(c.text).starts_with(begun)) out.push_back(c);
  }
  return out;
}

std::string common_beginning(const std::vector<Choices::Choice>& choices) {
  std::optional<std::string> common;
  for (const auto& c : choices) {
    if (c.placeholder) continue;
    if (!common) {
      common = c.text;
      continue;
    }
    const auto end = std::mismatch(common->begin(), common->end(), c.text.begin(), c.text.end());
    common->erase(end.first, common->end());
  }
  return common.value_or(std::string{});
}

std::string choices_text(const std::vector<Choices::Choice>& choices, bool complete,
                         std::size_t width) {
  std::size_t widest = 7;
  for (const auto& c : choices) widest = std::max(widest, display_width(for_terminal(c.text)));
  widest = std::min<std::size_t>(widest, 28);
  std::string out;
  // Of few all is told: the range and the default stand at the end.
  const std::size_t most_lines = choices.size() <= 3 ? 6 : 1;
  const auto line = [&](const std::string& text, const std::string& help) {
    const std::string shown = for_terminal(text);
    std::string row = "  " + shown;
    const std::size_t has = display_width(shown);
    row.append(has < widest ? widest - has : 0, ' ');
    const std::size_t column = display_width(row) + 2;
    const std::size_t room = width > column + 20 ? width - 1 - column : 20;
    bool first = true;
    for (const std::string& part : wrapped(for_terminal(help), room, most_lines)) {
      if (first)
        out.append(row).append(part.empty() ? "" : "  ");
      else
        out.append(column, ' ');
      out.append(part).append("\n");
      first = false;
    }
  };
  for (const auto& c : choices) line(c.text, c.help);
  if (complete) line("<Enter>", "Execute this command");
  if (complete) line("|", "Pass the output through a command");
  return out;
}

LineEditor::LineEditor(Complete choices, std::string history_file)
    : complete_(std::move(choices)), history_file_(std::move(history_file)) {
  if (::isatty(STDIN_FILENO) == 0) return;
  editor_ = el_init("sluicectl", stdin, stdout, stderr);
  if (editor_ == nullptr) return;
  history_ = history_init();
  HistEvent event;
  ::history(history_, &event, H_SETSIZE, kHistoryLines);
  ::history(history_, &event, H_SETUNIQUE, 1);
  if (!history_file_.empty()) ::history(history_, &event, H_LOAD, history_file_.c_str());
  el_set(editor_, EL_CLIENTDATA, this);
  el_set(editor_, EL_EDITOR, "emacs");
  el_set(editor_, EL_SIGNAL, 0);
  el_set(editor_, EL_PROMPT, &LineEditor::on_prompt);
  el_set(editor_, EL_HIST, ::history, history_);
  el_set(editor_, EL_ADDFN, "sluice-complete", "Complete the word", &LineEditor::on_tab);
  el_set(editor_, EL_ADDFN, "sluice-help", "What may stand here", &LineEditor::on_help);
  el_set(editor_, EL_BIND, "^I", "sluice-complete", nullptr);
  el_set(editor_, EL_BIND, "?", "sluice-help", nullptr);
  el_set(editor_, EL_BIND, "^R", "em-inc-search-prev", nullptr);
}

LineEditor::~LineEditor() {
  if (editor_ == nullptr) return;
  if (!history_file_.empty()) {
    HistEvent event;
    ::history(history_, &event, H_SAVE, history_file_.c_str());
    ::chmod(history_file_.c_str(), 0600);
  }
  history_end(history_);
  el_end(editor_);
}

char* LineEditor::on_prompt(EditLine* editor) { return self_of(editor)->prompt_.data(); }

std::string LineEditor::before_cursor() const {
  const LineInfo* info = el_line(editor_);
  return {info->buffer, static_cast<std::size_t>(info->cursor - info->buffer)};
}

// Prints below the line; the line is drawn anew afterwards.
unsigned char LineEditor::show(const Choices& choices, std::string_view line) {
  std::string out = "\n";
  if (!choices.error.empty()) {
    out.append(display_width(prompt_) + display_width(line.substr(0, choices.column)), ' ');
    out += "^\n" + for_terminal(choices.error) + "\n";
  } else {
    out += "Possible completions:\n" +
           choices_text(fitting(choices, line), choices.complete && choices.begin == line.size(),
                        terminal_width());
  }
  std::fputs(out.c_str(), stdout);
  if (!head_.empty()) std::fputs((head_ + "\n").c_str(), stdout);
  std::fflush(stdout);
  return CC_REDISPLAY;
}

unsigned char LineEditor::on_tab(EditLine* editor, int) {
  LineEditor& self = *self_of(editor);
  const std::string line = self.before_cursor();
  const Choices choices = self.complete_(line);
  if (!choices.error.empty()) return self.show(choices, line);
  const auto fit = fitting(choices, line);
  const std::string begun = line.substr(std::min(choices.begin, line.size()));
  const std::string common = common_beginning(fit);
  const auto words = std::count_if(fit.begin(), fit.end(), [](auto& c) { return !c.placeholder; });
  const bool values = static_cast<std::size_t>(words) != fit.size();
  std::string insert;
  if (common.size() > begun.size()) insert = common.substr(begun.size());
  if (words == 1 && (!values || !begun.empty())) insert += ' ';
  if (insert.empty() || (values && begun.empty())) return self.show(choices, line);
  return el_insertstr(editor, insert.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
}

unsigned char LineEditor::on_help(EditLine* editor, int) {
  LineEditor& self = *self_of(editor);
  const std::string line = self.before_cursor();
  // Within a quotation it is a sign like any other.
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\') {
      ++i;
    } else if (line[i] == '"') {
      quoted = !quoted;
    }
  }
  if (quoted) return el_insertstr(editor, "?") == 0 ? CC_REFRESH : CC_ERROR;
  return self.show(self.complete_(line), line);
}

LineEditor::End LineEditor::read(const std::string& head, const std::string& prompt,
                                 std::string& line) {
  if (editor_ == nullptr) {
    return std::getline(std::cin, line) ? End::line : End::end;
  }
  head_ = head;
  prompt_ = prompt;
  // Before the prompt is there: keys that come right behind it are to be echoed once, by the
  // editor.
  el_set(editor_, EL_PREP_TERM, 1);
  if (!head_.empty()) std::cout << head_ << "\n";
  std::cout.flush();
  int count = 0;
  errno = 0;
  const char* got = el_gets(editor_, &count);
  if (got == nullptr || count <= 0) {
    if (errno == EINTR) {
      el_reset(editor_);
      return End::interrupted;
    }
    return End::end;
  }
  line.assign(got, static_cast<std::size_t>(count));
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  if (line.find_first_not_of(" \t") != std::string::npos) {
    HistEvent event;
    ::history(history_, &event, H_ENTER, line.c_str());
  }
  return End::line;
}

std::vector<std::string> LineEditor::earlier(std::size_t most) const {
  std::vector<std::string> out;
  if (history_ == nullptr) return out;
  HistEvent event;
  for (int found = ::history(history_, &event, H_FIRST); found != -1 && out.size() < most;
       found = ::history(history_, &event, H_NEXT)) {
    out.insert(out.begin(), event.str);
    while (out.front().ends_with("\n")) out.front().pop_back();
  }
  return out;
}

}  // namespace sluice::control
