// A line of input with editing, history, completion and `?` (libedit). Where standard input is no
// terminal, lines are read as they come.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct editline;
struct history;

namespace sluice::control {

// What may be typed at one place of a line.
struct Choices {
  struct Choice {
    std::string text;
    std::string help;
    bool placeholder = false;  // stands for a value: shown, never inserted
  };
  std::vector<Choice> choices;
  bool complete = false;   // the line may end here
  std::size_t begin = 0;   // column at which the word that is completed begins
  std::string error;       // the line is wrong before that; empty: good
  std::size_t column = 0;  // where it is wrong
};

// The choices that begin with what stands at `begin` of `line`.
std::vector<Choices::Choice> fitting(const Choices& choices, std::string_view line);
// The longest beginning that all have that are no placeholders.
std::string common_beginning(const std::vector<Choices::Choice>& choices);
// As `?` shows them: a line each, texts in a column, at most `width` wide.
std::string choices_text(const std::vector<Choices::Choice>& choices, bool complete,
                         std::size_t width);

class LineEditor {
 public:
  // `choices` is asked with the line up to the cursor.
  using Complete = std::function<Choices(std::string_view line)>;
  // `history_file` empty: none is kept beyond the process.
  LineEditor(Complete choices, std::string history_file);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  bool interactive() const { return editor_ != nullptr; }
  enum class End { line, interrupted, end };
  // The next line without its end. `head` is printed once above the prompt.
  End read(const std::string& head, const std::string& prompt, std::string& line);
  std::vector<std::string> earlier(std::size_t most) const;

 private:
  static unsigned char on_tab(editline* editor, int);
  static unsigned char on_help(editline* editor, int);
  static char* on_prompt(editline* editor);
  std::string before_cursor() const;
  unsigned char show(const Choices& choices, std::string_view line);

  Complete complete_;
  std::string history_file_;
  std::string head_;
  std::string prompt_;
  editline* editor_ = nullptr;
  struct history* history_ = nullptr;
};

}  // namespace sluice::control
