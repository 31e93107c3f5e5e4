#include "control/cli/command_parser.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <string_view>

#include "control/cli/text.h"

namespace sluice::control {
namespace {

using nlohmann::json;
using Kind = ArgumentKind;
using Words = std::span<const std::string>;

std::vector<std::string_view> pattern_of(const Command& c) {
  std::vector<std::string_view> out;
  std::string_view rest = c.words;
  while (!rest.empty()) {
    const std::size_t space = rest.find(' ');
    out.push_back(rest.substr(0, space));
    rest = space == std::string_view::npos ? std::string_view{} : rest.substr(space + 1);
  }
  return out;
}

bool is_placeholder(std::string_view word) {
  return !word.empty() && std::isupper(static_cast<unsigned char>(word.front())) != 0;
}

bool takes_many(const Argument& a) { return a.kind == Kind::files || a.kind == Kind::words; }

bool takes_value(const Argument& a) { return a.kind != Kind::flag; }

std::string in_quotes(std::string_view word) {
  return "'" + for_terminal(word.substr(0, 60)) + "'";
}

const Argument* argument_named(const Command& c, std::string_view name, bool option) {
  for (const Argument& a : c.arguments) {
    if (a.option == option && a.name == name) return &a;
  }
  return nullptr;
}

// Where the walk through the commands' words has come to.
struct Walk {
  struct Candidate {
    const Command* command;
    std::vector<std::string_view> pattern;
  };
  std::vector<Candidate> open;        // may still go on with further words
  const Command* complete = nullptr;  // all of whose words were there
  std::size_t used = 0;               // words of `complete`
  std::size_t at = 0;                 // words of `open`
  std::string error;
  std::size_t error_word = 0;
};

std::string expected(const std::vector<Walk::Candidate>& open, std::size_t at) {
  std::vector<std::string> names;
  for (const auto& c : open) {
    if (c.pattern.size() <= at) continue;
    std::string name(c.pattern[at]);
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  std::string all;
  for (const std::string& n : names) all += (all.empty() ? "" : ", ") + n;
  return all;
}

Walk walk(Words words, const ParseOptions& options) {
  Walk w;
  for (const Command& c : commands()) w.open.push_back({&c, pattern_of(c)});
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    std::vector<Walk::Candidate> exact;
    std::vector<Walk::Candidate> begun;
    std::vector<Walk::Candidate> values;
    std::set<std::string_view> begun_words;
    for (const auto& c : w.open) {
      if (c.pattern.size() <= i) continue;
      const std::string_view token = c.pattern[i];
      if (is_placeholder(token)) {
        if (!word.starts_with("-")) values.push_back(c);
      } else if (token == word) {
        exact.push_back(c);
      } else if (options.abbreviations && !word.empty() && token.starts_with(word)) {
        begun.push_back(c);
        begun_words.insert(token);
      }
    }
    std::vector<Walk::Candidate> next;
    if (!exact.empty()) {
      next = std::move(exact);
    } else if (begun_words.size() == 1) {
      next = std::move(begun);
    } else if (begun_words.size() > 1) {
      w.error_word = i;
      w.error = in_quotes(word) + " is ambiguous: " + expected(begun, i);
      w.open.clear();
      return w;
    } else {
      next = std::move(values);
    }
    if (next.empty()) {
      if (w.complete == nullptr) {
        w.error_word = i;
        w.error = in_quotes(word) + ": no such command; expected " + expected(w.open, i);
        if (i == 0 && !options.apart.empty()) w.error += ", " + std::string(options.apart);
      }
      w.open.clear();
      return w;
    }
    w.open = std::move(next);
    w.at = i + 1;
    w.complete = nullptr;
    for (const auto& c : w.open) {
      if (c.pattern.size() == i + 1) {
        w.complete = c.command;
        w.used = i + 1;
      }
    }
  }
  return w;
}

// The arguments behind a command's words.
struct Filling {
  std::vector<std::pair<const Argument*, std::vector<std::pair<std::string, std::size_t>>>> given;
  const Argument* waiting = nullptr;  // an option whose value is due
  std::vector<const Argument*> missing;
  std::string error;
  std::size_t error_word = 0;

  std::vector<std::pair<std::string, std::size_t>>& values(const Argument* a) {
    for (auto& [argument, list] : given) {
      if (argument == a) return list;
    }
    return given.emplace_back(a, std::vector<std::pair<std::string, std::size_t>>{}).second;
  }
  bool has(const Argument* a) const {
    return std::any_of(given.begin(), given.end(), [a](const auto& g) { return g.first == a; });
  }
};

Filling fill(const Command& command, Words words, std::size_t first) {
  Filling f;
  const auto pattern = pattern_of(command);
  std::vector<const Argument*> positional;
  for (const Argument& a : command.arguments) {
    if (a.option) continue;
    const auto inside = std::find(pattern.begin(), pattern.end(), a.name);
    if (inside != pattern.end()) {
      const auto at = static_cast<std::size_t>(inside - pattern.begin());
      if (at < words.size()) f.values(&a).emplace_back(words[at], at);
    } else {
      positional.push_back(&a);
    }
  }
  std::size_t next = 0;
  bool options_end = false;
  const auto fail = [&f](std::size_t word, std::string text) {
    f.error = std::move(text);
    f.error_word = word;
  };
  for (std::size_t i = first; i < words.size() && f.error.empty(); ++i) {
    std::string_view word = words[i];
    if (f.waiting != nullptr) {
      f.values(f.waiting).emplace_back(words[i], i);
      f.waiting = nullptr;
      continue;
    }
    if (!options_end && word == "--") {
      options_end = true;
      continue;
    }
    const bool dashed = !options_end && word.size() > 2 && word.starts_with("--");
    std::optional<std::string> inline_value;
    if (dashed) {
      word.remove_prefix(2);
      if (const std::size_t equals = word.find('='); equals != std::string_view::npos) {
        inline_value = std::string(word.substr(equals + 1));
        word = word.substr(0, equals);
      }
    }
    const bool required_seen =
        next >= positional.size() || !positional[next]->required || f.has(positional[next]);
    if (!options_end && (dashed || required_seen)) {
      if (const Argument* a = argument_named(command, word, true); a != nullptr) {
        if (f.has(a) && a->kind != Kind::filter && a->kind != Kind::paths) {
          fail(i, in_quotes(word) + " stands twice");
        } else if (!takes_value(*a)) {
          if (inline_value) fail(i, in_quotes(word) + " takes no value");
          f.values(a).emplace_back("", i);
        } else if (inline_value) {
          f.values(a).emplace_back(*inline_value, i);
        } else {
          f.waiting = a;
        }
        continue;
      }
    }
    if (dashed) {
      fail(i, in_quotes(words[i]) + ": no such option of '" + std::string(command.words) + "'");
      continue;
    }
    if (next < positional.size()) {
      f.values(positional[next]).emplace_back(words[i], i);
      if (!takes_many(*positional[next])) ++next;
      continue;
    }
    std::string names;
    for (const Argument& a : command.arguments) {
      if (a.option && !f.has(&a)) names += (names.empty() ? "" : ", ") + std::string(a.name);
    }
    fail(i, in_quotes(words[i]) + " is not understood here; expected " +
                (names.empty() ? "nothing more" : names));
  }
  for (const Argument& a : command.arguments) {
    if (a.required && !f.has(&a) && f.waiting != &a) f.missing.push_back(&a);
  }
  return f;
}

std::string placeholder_of(const Argument& a) {
  switch (a.kind) {
    case Kind::duration:
      return "DURATION";
    case Kind::rate:
      return "RATE";
    case Kind::count:
    case Kind::number:
      return "NUMBER";
    case Kind::filter:
      return "KEY=VALUE";
    case Kind::address:
    case Kind::prefix:
      return "ADDR";
    case Kind::file:
    case Kind::files:
    case Kind::paths:
      return "FILE";
    case Kind::pattern:
      return "PATTERN";
    case Kind::wire:
      return "WIRE";
    case Kind::words:
      return "PATH";
    case Kind::text:
    case Kind::flag:
      break;
  }
  return "TEXT";
}

constexpr std::pair<std::string_view, std::string_view> kGroupHelp[] = {
    {"show", "show what is and what was"},
    {"explain", "explain a decision"},
    {"host", "order how a host is treated"},
    {"rules", "check and load content rules"},
    {"config", "check, show and load the configuration"},
    {"request", "ask for something to be done"},
    {"test", "try what a policy would do"},
    {"monitor", "watch live"},
    {"request host", "order how a host is treated"},
    {"request wire", "something for one wire"},
    {"request capture", "frames of one host's mail flows to a file"},
    {"show wire", "one wire"},
    {"test policy", "which policy would apply, and why"},
};

std::string group_help(const std::string& words) {
  for (const auto& [group, help] : kGroupHelp) {
    if (group == words) return std::string(help);
  }
  return {};
}

}  // namespace

ParsedLine parse_line(Words given, const ParseOptions& options) {
  ParsedLine line;
  // --json and --help may stand anywhere; what they leave keeps its place for errors.
  std::vector<std::string> words;
  std::vector<std::size_t> places;
  bool options_end = false;
  for (std::size_t i = 0; i < given.size(); ++i) {
    if (given[i] == "--") options_end = true;
    if (!options_end && given[i] == "--json") {
      line.as_json = true;
    } else if (!options_end && (given[i] == "--help" || given[i] == "-h")) {
      line.help = true;
    } else {
      words.push_back(given[i]);
      places.push_back(i);
    }
  }
  places.push_back(given.size());
  const auto fail = [&](std::size_t word, std::string error) {
    line.command = nullptr;
    line.error = std::move(error);
    line.error_word = places[std::min(word, places.size() - 1)];
    return line;
  };
  if (line.help) return line;
  const Walk w = walk(words, options);
  if (!w.error.empty()) return fail(w.error_word, w.error);
  if (w.complete == nullptr) {
    return fail(words.size(), "more is needed; expected " + expected(w.open, w.at));
  }
  Filling f = fill(*w.complete, words, w.used);
  if (!f.error.empty()) return fail(f.error_word, f.error);
  if (f.waiting != nullptr) {
    return fail(words.size(), "'" + std::string(f.waiting->name) +
                                  "' needs a value: " + std::string(f.waiting->help));
  }
  if (!f.missing.empty()) {
    return fail(words.size(), std::string(f.missing.front()->name) +
                                  " is missing: " + std::string(f.missing.front()->help));
  }
  for (const auto& [argument, values] : f.given) {
    std::vector<std::string> texts;
    for (const auto& [text, place] : values) texts.push_back(text);
    auto value = argument_value(*argument, texts);
    if (!value) return fail(values.front().second, value.error());
    line.arguments[std::string(argument->key)] = std::move(*value);
  }
  line.command = w.complete;
  return line;
}

NextWords next_words(Words words, const ParseOptions& options) {
  NextWords out;
  const Walk w = walk(words, options);
  if (!w.error.empty()) {
    out.error = w.error;
    out.error_word = w.error_word;
    return out;
  }
  const auto add = [&out](NextWord word) {
    const bool known = std::any_of(out.words.begin(), out.words.end(),
                                   [&](const NextWord& o) { return o.text == word.text; });
    if (!known) out.words.push_back(std::move(word));
  };
  std::string so_far;
  if (!w.open.empty()) {
    for (std::size_t i = 0; i < w.at; ++i) {
      const std::string_view token = w.open.front().pattern[i];
      if (is_placeholder(token)) continue;
      so_far += (so_far.empty() ? "" : " ") + std::string(token);
    }
  }
  // A value that is still to be typed as one of the command's words.
  for (const auto& c : w.open) {
    if (c.pattern.size() <= w.at) continue;
    const std::string token(c.pattern[w.at]);
    if (is_placeholder(token)) {
      const Argument* a = argument_named(*c.command, token, false);
      add({token, a == nullptr ? std::string{} : std::string(a->help), true,
           a == nullptr ? Kind::text : a->kind});
      continue;
    }
    std::string help =
        c.pattern.size() == w.at + 1
            ? std::string(c.command->help)
            : group_help(so_far.empty() ? token : std::string(so_far).append(" ").append(token));
    if (help.empty()) help = c.command->help;
    add({token, std::move(help), false, Kind::text});
  }
  if (w.complete == nullptr) return out;
  const Filling f = fill(*w.complete, words, w.used);
  if (!f.error.empty()) {
    out.error = f.error;
    out.error_word = f.error_word;
    return out;
  }
  if (f.waiting != nullptr) {
    out.words.clear();
    add({placeholder_of(*f.waiting), std::string(f.waiting->help), true, f.waiting->kind});
    return out;
  }
  const auto pattern = pattern_of(*w.complete);
  for (const Argument& a : w.complete->arguments) {
    if (a.option) continue;
    if (std::find(pattern.begin(), pattern.end(), a.name) != pattern.end()) continue;
    if (f.has(&a) && !takes_many(a)) continue;
    add({std::string(a.name), std::string(a.help), true, a.kind});
    if (a.required && !f.has(&a)) return out;  // options come behind
  }
  for (const Argument& a : w.complete->arguments) {
    if (!a.option || (f.has(&a) && a.kind != Kind::filter && a.kind != Kind::paths)) continue;
    add({std::string(a.name), std::string(a.help), false, Kind::text});
  }
  out.complete = f.missing.empty();
  return out;
}

std::string help_text(Words words) {
  const Walk w = walk(words, {});
  if (!w.error.empty() || (w.open.empty() && w.complete == nullptr)) return w.error + "\n";
  std::string out;
  std::vector<const Command*> all;
  for (const auto& c : w.open) all.push_back(c.command);
  if (all.empty()) all.push_back(w.complete);
  std::size_t widest = 0;
  for (const Command* c : all) widest = std::max(widest, c->words.size());
  widest = std::min<std::size_t>(widest, 34);
  for (const Command* c : all) {
    out += padded(c->words, widest, false) + "  " + std::string(c->help) + "\n";
  }
  if (all.size() != 1) return out;
  for (const Argument& a : all.front()->arguments) {
    std::string name(a.name);
    if (a.option && takes_value(a)) name.append(" ").append(placeholder_of(a));
    if (a.option || !a.required) name.insert(0, "[").append("]");
    out += "  " + padded(name, 24, false) + " " + std::string(a.help) + "\n";
  }
  return out;
}

}  // namespace sluice::control
