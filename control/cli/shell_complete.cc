// What may stand at the cursor, in both modes.
#include <algorithm>
#include <iostream>

#include "control/cli/command_parser.h"
#include "control/cli/shell.h"

namespace sluice::control {
namespace {

constexpr std::chrono::seconds kFresh{1};

void add(Choices& out, std::string_view text, std::string_view help, bool placeholder = false) {
  out.choices.push_back({std::string(text), std::string(help), placeholder});
}

// Text of the configuration that sluiced has, as JSON; empty on any trouble.
Result<std::string> text_in(const Result<nlohmann::json>& answer) {
  if (!answer) return Error{answer.error()};
  if (!answer->value("ok", false)) return Error{answer->value("error", std::string{})};
  return answer->value("result", nlohmann::json::object()).value("text", std::string{});
}

}  // namespace

const ConfigTree* Shell::candidate() {
  const auto now = std::chrono::steady_clock::now();
  if (candidate_.tree && now - candidate_.read < kFresh) return &*candidate_.tree;
  const auto text = text_in(ask_session("config get", {{"form", "json"}}));
  if (!text) return nullptr;
  auto tree = ConfigTree::parse(*model_, *text, "candidate");
  if (!tree) return nullptr;
  candidate_ = {std::move(*tree), now};
  return &*candidate_.tree;
}

const ConfigTree* Shell::running() {
  const auto now = std::chrono::steady_clock::now();
  if (running_.tree && now - running_.read < kFresh) return &*running_.tree;
  constexpr unsigned kLongest = 5;  // seconds
  auto client = ApiClient::connect(socket_, kLongest);
  if (!client) return nullptr;
  if (!client->send(
          {{"command", "config get"}, {"arguments", {{"form", "json"}, {"source", "running"}}}})) {
    return nullptr;
  }
  const auto text = text_in(client->receive());
  if (!text) return nullptr;
  auto tree = ConfigTree::parse(*model_, *text, "running");
  if (!tree) return nullptr;
  running_ = {std::move(*tree), now};
  return &*running_.tree;
}

int Shell::complete(std::string_view line) {
  auto model = Model::create();
  if (!model) return 1;
  model_ = std::move(*model);
  const SplitLine split = split_line(line);
  std::vector<std::string> words;
  for (const auto& w : split.words) words.push_back(w.text);
  std::string begun;
  if (split.open_word && !words.empty()) {
    begun = words.back();
    words.pop_back();
  }
  if (words.empty()) return 0;
  words.erase(words.begin());
  Choices out;
  operational_choices(words, split, 1, out);
  for (const auto& c : out.choices) {
    if (!c.placeholder && c.text.starts_with(begun)) std::cout << c.text << "\n";
  }
  return 0;
}

Choices Shell::choices(std::string_view line) {
  Choices out;
  if (behind_pipe(line, out, session_ != nullptr)) return out;
  const SplitLine split = split_line(line);
  std::vector<std::string> words;
  for (const auto& w : split.words) words.push_back(w.text);
  out.begin = line.size();
  if (split.open_word) {
    out.begin = split.words.back().column;
    words.pop_back();
  }
  if (session_) {
    configure_choices(words, split, out);
  } else {
    operational_choices(words, split, 0, out);
  }
  return out;
}

void Shell::operational_choices(std::span<const std::string> words, const SplitLine& split,
                                std::size_t from, Choices& out) {
  if (words.empty() && from == 0) {
    add(out, "configure", "Edit the configuration");
    add(out, "exit", "Leave");
    add(out, "help", "What can be done");
    add(out, "history", "Lines typed before");
  } else if (!words.empty() && from == 0 && words[0].size() >= 2 && words[0] != "config" &&
             std::string_view("configure").starts_with(words[0])) {
    if (words.size() == 1) {
      add(out, "exclusive", "Alone: nobody else can change or commit");
      add(out, "private", "With a candidate of one's own");
      add(out, "shared", "With the candidate that all share (default)");
    }
    out.complete = true;
    return;
  }
  const NextWords next = next_words(words, {.abbreviations = true});
  if (!next.error.empty()) {
    out.error = next.error;
    const std::size_t at = from + next.error_word;
    out.column = at < split.words.size() ? split.words[at].column : out.begin;
    return;
  }
  for (const NextWord& n : next.words) {
    if (n.value && n.kind == ArgumentKind::wire) {
      if (const ConfigTree* tree = running(); tree != nullptr) {
        if (const auto* g = tree->root().group(*model_->root().child("wire")); g != nullptr) {
          for (const auto& w : g->nodes()) add(out, w->value(), "");
        }
      }
    }
    if (n.value && n.kind == ArgumentKind::words) {
      configuration_choices(words, split, from, out);
      continue;
    }
    add(out, n.value ? "<" + n.text + ">" : n.text, n.help, n.value);
  }
  out.complete = next.complete;
}

// A path of the configuration behind a command of the one-shot form ("config set PATH").
void Shell::configuration_choices(std::span<const std::string> words, const SplitLine& split,
                                  std::size_t from, Choices& out) {
  constexpr std::size_t kCommand = 2;  // "config set"
  if (words.size() < kCommand) return;
  const WordsUse use = words[1] == "set"         ? WordsUse::set
                       : words[1] == "candidate" ? WordsUse::show
                                                 : WordsUse::remove;
  const NextConfigWords next = next_config_words(*model_, running(), words.subspan(kCommand), use);
  if (!next.error.empty()) {
    out.error = next.error;
    const std::size_t at = from + kCommand + next.error_word;
    out.column = at < split.words.size() ? split.words[at].column : out.begin;
    return;
  }
  for (const NextConfigWord& n : next.words) add(out, n.text, n.help, n.placeholder);
}

void Shell::model_choices(std::span<const std::string> words, const SplitLine& split,
                          std::size_t from, WordsUse use, Choices& out) {
  const auto all = below(words);
  const NextConfigWords next = next_config_words(*model_, candidate(), all, use);
  if (!next.error.empty()) {
    out.error = next.error;
    const std::size_t at =
        from + (next.error_word < path_.size() ? 0 : next.error_word - path_.size());
    out.column = at < split.words.size() ? split.words[at].column : out.begin;
    return;
  }
  for (const NextConfigWord& n : next.words) add(out, n.text, n.help, n.placeholder);
  out.complete = next.complete || (use == WordsUse::remove && words.empty() && !path_.empty());
}

void Shell::configure_choices(std::span<const std::string> words, const SplitLine& split,
                              Choices& out) {
  if (words.empty()) {
    for (const ConfigureCommand& c : configure_commands()) add(out, c.name, c.help);
    return;
  }
  std::string error;
  const ConfigureCommand* command = configure_command(words[0], error);
  if (command == nullptr) {
    out.error = error;
    out.column = split.words.front().column;
    return;
  }
  const std::string_view name = command->name;
  const auto rest = words.subspan(1);
  if (name == "set") return model_choices(rest, split, 1, WordsUse::set, out);
  if (name == "show") return model_choices(rest, split, 1, WordsUse::show, out);
  if (name == "edit") return model_choices(rest, split, 1, WordsUse::edit, out);
  if (name == "delete" || name == "activate" || name == "deactivate") {
    return model_choices(rest, split, 1, WordsUse::remove, out);
  }
  if (name == "run") return operational_choices(rest, split, 1, out);
  if (name == "commit") {
    const std::string last = rest.empty() ? std::string{} : rest.back();
    if (last.size() >= 4 && std::string_view("comment").starts_with(last)) {
      add(out, "<text>", "Why, for the history and the audit log", true);
      return;
    }
    if (last.size() >= 4 && std::string_view("confirmed").starts_with(last)) {
      add(out, "<1..65535 minutes>", "Until it is taken back. Default: 10", true);
    }
    add(out, "and-quit", "Leave configure mode afterwards");
    add(out, "check", "Only check whether it could be committed");
    add(out, "comment", "Why, for the history and the audit log");
    add(out, "confirmed", "Take it back unless it is confirmed in time");
    out.complete = true;
    return;
  }
  if (name == "rollback" || name == "compare") {
    if (rest.empty()) {
      const auto answer = ask_session("config history", nlohmann::json::object());
      if (answer && answer->value("ok", false)) {
        const auto result = answer->value("result", nlohmann::json::object());
        for (const auto& r : result.value("revisions", nlohmann::json::array())) {
          std::string help = r.value("user", std::string{}) + ": " + r.value("what", std::string{});
          if (const std::string c = r.value("comment", std::string{}); !c.empty())
            help += " (" + c + ")";
          add(out, std::to_string(r.value("number", 0)), help);
        }
      }
    }
    out.complete = true;
    return;
  }
  if (name == "load") {
    if (rest.empty()) {
      add(out, "merge", "Add what the file has (RFC 7951 JSON)");
      add(out, "replace", "The candidate becomes what the file says (RFC 7951 JSON)");
      add(out, "set", "Run the commands in the file");
    } else if (rest.size() == 1) {
      add(out, "<file>", "Path of the file", true);
    } else {
      out.complete = true;
    }
    return;
  }
  if (name == "save" && rest.empty()) return add(out, "<file>", "Path of the file", true);
  if (name == "top" && rest.empty()) {
    for (const ConfigureCommand& c : configure_commands()) add(out, c.name, c.help);
  } else if (name == "top") {
    const std::vector<std::string> before = std::exchange(path_, {});
    SplitLine shifted = split;
    shifted.words.erase(shifted.words.begin());
    configure_choices(rest, shifted, out);
    path_ = before;
    return;
  } else if (name == "up" && rest.empty()) {
    add(out, "<levels>", "How many", true);
  } else if (name == "exit" && rest.empty()) {
    add(out, "configuration-mode", "Leave configure mode at once");
  }
  out.complete = true;
}

}  // namespace sluice::control
