#include "control/cli/pipes.h"

#include <algorithm>
#include <fstream>
#include <memory>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "control/cli/text.h"

namespace sluice::control {
namespace {

struct Name {
  std::string_view word;
  Pipe::Kind kind;
  std::string_view argument;  // placeholder; empty: none
  std::string_view help;
  bool configuration;  // only where a configuration is shown
};
constexpr Name kNames[] = {
    {"compare", Pipe::Kind::compare, "", "Only what differs from what runs, or from 'rollback N'",
     true},
    {"count", Pipe::Kind::count, "", "Count the lines", false},
    {"display", Pipe::Kind::display, "set | json", "Show the configuration in another form", true},
    {"except", Pipe::Kind::except, "<expression>", "Only lines that do not match", false},
    {"json", Pipe::Kind::json, "", "The answer as JSON", false},
    {"last", Pipe::Kind::last, "<lines>", "Only the last lines", false},
    {"match", Pipe::Kind::match, "<expression>", "Only lines that match", false},
    {"no-more", Pipe::Kind::no_more, "", "Without stopping at each page", false},
    {"save", Pipe::Kind::save, "<file>", "Write to a file", false},
};

struct CodeDeleter {
  void operator()(pcre2_code* c) const { pcre2_code_free(c); }
};
struct DataDeleter {
  void operator()(pcre2_match_data* d) const { pcre2_match_data_free(d); }
};
struct ContextDeleter {
  void operator()(pcre2_match_context* c) const { pcre2_match_context_free(c); }
};

class Expression {
 public:
  static Result<Expression> make(const std::string& text) {
    int error = 0;
    PCRE2_SIZE at = 0;
    Expression e;
    e.code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                PCRE2_CASELESS | PCRE2_UTF | PCRE2_MATCH_INVALID_UTF, &error, &at,
                                nullptr));
    if (!e.code_) {
      PCRE2_UCHAR message[128] = {};
      pcre2_get_error_message(error, message, sizeof message);
      return Error{"'" + for_terminal(text) + "' is no expression: " +
                   reinterpret_cast<const char*>(message) + " at " + std::to_string(at)};
    }
    e.data_.reset(pcre2_match_data_create(1, nullptr));
    e.context_.reset(pcre2_match_context_create(nullptr));
    pcre2_set_match_limit(e.context_.get(), 100'000);
    return e;
  }
  bool matches(std::string_view line) const {
    return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(line.data()), line.size(), 0, 0,
                       data_.get(), context_.get()) >= 0;
  }

 private:
  std::unique_ptr<pcre2_code, CodeDeleter> code_;
  std::unique_ptr<pcre2_match_data, DataDeleter> data_;
  std::unique_ptr<pcre2_match_context, ContextDeleter> context_;
};

template <typename Use>
void each_line(std::string_view text, Use&& use) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    use(text.substr(0, end));
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
  }
}

// The pipe that a word names or begins.
const Name* name_of(const std::string& word, std::string& error) {
  const Name* begun = nullptr;
  std::string names;
  for (const Name& n : kNames) {
    if (n.word == word) return &n;
    if (word.empty() || !n.word.starts_with(word)) continue;
    names += (names.empty() ? "" : ", ") + std::string(n.word);
    if (begun != nullptr) {
      error = "'" + for_terminal(word) + "' is ambiguous: " + names;
      begun = nullptr;
      return nullptr;
    }
    begun = &n;
  }
  if (begun == nullptr) {
    error = "'" + for_terminal(word) + "': no such command behind |";
  }
  return begun;
}

bool number_of(const std::string& text, std::uint64_t& number) {
  if (text.empty() || text.size() > 9 ||
      text.find_first_not_of("0123456789") != std::string::npos) {
    return false;
  }
  number = std::stoull(text);
  return true;
}

}  // namespace

PipedLine split_pipes(std::string_view line) {
  PipedLine out;
  const SplitLine split = split_line(line);
  const auto fail = [&](std::size_t column, std::string text) {
    if (out.error.empty()) {
      out.error = std::move(text);
      out.column = column;
    }
  };
  if (split.open_quote) fail(line.size(), "a quotation has no end");
  std::size_t i = 0;
  const auto& words = split.words;
  const auto is_bar = [](const SplitWord& w) { return w.text == "|" && !w.quoted; };
  for (; i < words.size() && !is_bar(words[i]); ++i) out.words.push_back(words[i]);
  while (i < words.size() && out.error.empty()) {
    ++i;  // the bar
    if (i >= words.size() || is_bar(words[i])) {
      fail(i < words.size() ? words[i].column : line.size(), "a command is expected behind |");
      break;
    }
    std::string error;
    const Name* name = name_of(words[i].text, error);
    if (name == nullptr) {
      fail(words[i].column, error);
      break;
    }
    Pipe pipe{name->kind, {}, 0};
    ++i;
    if (name->kind == Pipe::Kind::compare) {
      if (i < words.size() && std::string_view("rollback").starts_with(words[i].text)) {
        ++i;
        if (i >= words.size() || !number_of(words[i].text, pipe.number)) {
          fail(i < words.size() ? words[i].column : line.size(),
               "a number of a rollback is expected");
          break;
        }
        ++i;
      }
    } else if (!name->argument.empty()) {
      if (i >= words.size() || is_bar(words[i])) {
        fail(line.size(),
             std::string(name->argument) + " is expected behind " + std::string(name->word));
        break;
      }
      pipe.argument = words[i].text;
      if (name->kind == Pipe::Kind::last && !number_of(pipe.argument, pipe.number)) {
        fail(words[i].column, "'" + for_terminal(pipe.argument) + "' is no number of lines");
      }
      if (name->kind == Pipe::Kind::display && pipe.argument != "set" && pipe.argument != "json") {
        fail(words[i].column, "'" + for_terminal(pipe.argument) + "': expected set or json");
      }
      ++i;
    }
    out.pipes.push_back(std::move(pipe));
    if (i < words.size() && !is_bar(words[i])) {
      fail(words[i].column, "'" + for_terminal(words[i].text) + "' is not expected here");
    }
  }
  return out;
}

bool behind_pipe(std::string_view line, Choices& choices, bool configuration) {
  const SplitLine split = split_line(line);
  std::size_t bar = split.words.size();
  for (std::size_t i = 0; i < split.words.size(); ++i) {
    if (split.words[i].text == "|" && !split.words[i].quoted) bar = i;
  }
  if (bar == split.words.size()) return false;
  // The bar itself may be the open word: what follows it is asked for all the same.
  const std::size_t behind = split.words.size() - bar - 1;
  const bool in_word = split.open_word && behind > 0;
  choices.begin = in_word ? split.words.back().column : line.size();
  const std::size_t place = in_word ? behind - 1 : behind;
  if (place == 0) {
    for (const Name& n : kNames) {
      if (n.configuration && !configuration) continue;
      choices.choices.push_back({std::string(n.word), std::string(n.help), false});
    }
    return true;
  }
  std::string error;
  const Name* name = name_of(split.words[bar + 1].text, error);
  if (name == nullptr) {
    choices.error = error;
    choices.column = split.words[bar + 1].column;
    return true;
  }
  if (name->kind == Pipe::Kind::display && place == 1) {
    choices.choices = {{"json", "RFC 7951 JSON", false}, {"set", "Commands that make it", false}};
  } else if (name->kind == Pipe::Kind::compare && place == 1) {
    choices.choices = {{"rollback", "An earlier configuration", false}};
    choices.complete = true;
  } else if (name->kind == Pipe::Kind::compare && place == 2) {
    choices.choices = {{"<0..49>", "How many commits back", true}};
  } else if (!name->argument.empty() && place == 1) {
    choices.choices = {{std::string(name->argument), "", true}};
  } else {
    choices.complete = true;
  }
  return true;
}

Result<std::string> through(const std::vector<Pipe>& pipes, std::string text) {
  for (const Pipe& pipe : pipes) {
    std::string out;
    switch (pipe.kind) {
      case Pipe::Kind::match:
      case Pipe::Kind::except: {
        auto expression = Expression::make(pipe.argument);
        if (!expression) return Error{expression.error()};
        each_line(text, [&](std::string_view line) {
          if (expression->matches(line) == (pipe.kind == Pipe::Kind::match)) {
            out += line;
            out += '\n';
          }
        });
        break;
      }
      case Pipe::Kind::count:
        out = "Count: " + std::to_string(std::count(text.begin(), text.end(), '\n')) + " lines\n";
        break;
      case Pipe::Kind::last: {
        std::vector<std::string_view> lines;
        each_line(text, [&](std::string_view line) { lines.push_back(line); });
        const std::size_t from = lines.size() > pipe.number ? lines.size() - pipe.number : 0;
        for (std::size_t i = from; i < lines.size(); ++i) {
          out += lines[i];
          out += '\n';
        }
        break;
      }
      case Pipe::Kind::save: {
        std::ofstream file(pipe.argument, std::ios::binary | std::ios::trunc);
        file << text;
        file.flush();
        if (!file) return Error{for_terminal(pipe.argument) + ": cannot be written"};
        out = "Wrote " + std::to_string(std::count(text.begin(), text.end(), '\n')) + " lines to " +
              for_terminal(pipe.argument) + "\n";
        break;
      }
      default:
        continue;
    }
    text = std::move(out);
  }
  return text;
}

bool has(const std::vector<Pipe>& pipes, Pipe::Kind kind) {
  return std::any_of(pipes.begin(), pipes.end(), [kind](const Pipe& p) { return p.kind == kind; });
}

}  // namespace sluice::control
