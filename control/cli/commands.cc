#include "control/cli/commands.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include "control/api/config.h"
#include "control/api/server.h"
#include "control/cli/text.h"
#include "control/identity/prefix.h"
#include "control/policy/rules.h"

namespace sluice::control {
namespace {

using nlohmann::json;
using Kind = ArgumentKind;

Argument positional(std::string_view name, std::string_view key, Kind kind, std::string_view help,
                    bool required = true) {
  return {name, key, kind, false, required, help};
}
Argument option(std::string_view name, Kind kind, std::string_view help) {
  return {name, name, kind, true, false, help};
}
Argument option(std::string_view name, std::string_view key, Kind kind, std::string_view help) {
  return {name, key, kind, true, false, help};
}

Command host_command(const char* words, const char* action, const char* help, bool rate) {
  Command c;
  c.words = words;
  c.help = help;
  c.request = "host order";
  c.fixed = {{"action", action}};
  c.render = render_order;
  c.arguments = {positional("ADDR", "prefix", Kind::prefix, "address or prefix"),
                 option("for", "seconds", Kind::duration, "how long (30s, 10m, 1h, 2d)"),
                 option("comment", Kind::text, "why, for the audit log"),
                 option("force", Kind::flag, "accept a prefix that holds every address")};
  if (rate) {
    c.arguments.push_back(option("rate", Kind::rate, "messages an hour (20/h)"));
    c.arguments.push_back(option("burst", Kind::count, "messages at once"));
  }
  return c;
}

std::vector<Command> make_commands() {
  const Argument limit = option("limit", Kind::count, "most rows");
  const Argument last = option("last", Kind::duration, "only the last 30s, 10m, 1h, 2d");
  const Argument comment = option("comment", Kind::text, "why, for the audit log");
  const Argument filter =
      option("filter", "filters", Kind::filter, "KEY=VALUE; KEY may be dotted, VALUE have * and ?");
  std::vector<Command> all = {
      {"show hosts", "hosts, their standing, and orders", "show hosts", {limit}, render_hosts},
      {"show flows", "live mail flows", "show flows", {limit}, render_flows},
      {"show messages",
       "messages, latest first",
       "show messages",
       {option("from", Kind::text, "pattern of the sender (*@cust.example)"),
        option("to", Kind::text, "pattern of a recipient"), last, limit},
       render_messages},
      {"show events",
       "events, latest first",
       "show events",
       {option("type", Kind::text, "event_type"), filter, last, limit},
       render_events},
      {"show policies",
       "groups, thresholds, what is in force",
       "show policies",
       {},
       render_policies},
      {"show rules", "rules by hits, and those refused", "show rules", {limit}, render_rules},
      {"show interfaces", "ports of the wires", "show interfaces", {}, render_interfaces},
      {"show stats",
       "counters of all parts",
       "show stats",
       {option("metrics", Kind::flag, "as Prometheus text")},
       render_stats},
      {"show config",
       "the running configuration",
       "show config",
       {option("defaults", Kind::flag, "with every default")},
       render_config},
      {"show version", "versions of the processes", "show version", {}, render_version},
      {"show would-have",
       "what monitor mode and guards held back",
       "show would-have",
       {last, limit},
       render_would_have},
      {"show wire",
       "one wire; with 'visibility' only the share of clear, TLS and one-sided",
       "show wire",
       {positional("WIRE", "wire", Kind::text, "name of the wire"),
        positional("visibility", "view", Kind::text, "only the visibility", false), last},
       render_wire},
      {"explain host",
       "why a host is treated as it is",
       "explain host",
       {positional("ADDR", "what", Kind::address, "address")},
       render_explain_host},
      {"explain flow",
       "all that is known of a flow",
       "explain flow",
       {positional("FLOW_ID", "what", Kind::text, "flow_id of its events")},
       render_explain_events},
      {"explain event",
       "an event, its rules and its host",
       "explain event",
       {positional("EVENT", "what", Kind::text, "its number in 'show events'")},
       render_explain_events},
      host_command("host block", "block", "stop a host's mail", false),
      host_command("host limit", "limit", "limit a host's messages", true),
      host_command("host tarpit", "tarpit", "slow a host down", false),
      host_command("host tempfail", "tempfail", "refuse a host's messages with 4xx", false),
      host_command("host reject", "reject", "refuse a host's messages with 5xx", false),
      host_command("host allow", "allow", "never act on a host", false),
      {"host release",
       "take back orders and decisions for a host or prefix",
       "host release",
       {positional("ADDR", "prefix", Kind::prefix, "address or prefix"), comment},
       render_release},
      {"rules check",
       "compile rule files here and report faults",
       "",
       {positional("FILE", "files", Kind::files, "rule files or folders")}},
      {"rules load",
       "use these rule files from now on; without: read those in use again",
       "rules load",
       {positional("FILE", "files", Kind::files, "rule files or folders", false), comment},
       render_commit},
      {"config validate",
       "check a configuration file here",
       "",
       {positional("FILE", "file", Kind::file, "configuration (RFC 7951 JSON)")}},
      {"config load",
       "replace the running configuration",
       "config load",
       {positional("FILE", "file", Kind::file, "configuration (RFC 7951 JSON)"), comment},
       render_commit},
      {"config show",
       "the running configuration",
       "show config",
       {option("defaults", Kind::flag, "with every default")},
       render_config},
      {"request self-test",
       "check that everything works",
       "request self-test",
       {},
       render_self_test},
      {"monitor",
       "events as they come",
       "monitor",
       {filter, option("count", Kind::count, "end after so many events")}},
  };
  // Compiling rules and reading lists can take a while.
  for (Command& c : all) {
    if (c.words == "config load" || c.words == "rules load") c.timeout_seconds = 600;
  }
  return all;
}

void print_error(const std::string& error) {
  std::size_t begin = 0;
  while (begin < error.size()) {
    const std::size_t end = std::min(error.find('\n', begin), error.size());
    std::cerr << "sluicectl: " << for_terminal(std::string_view(error).substr(begin, end - begin))
              << "\n";
    begin = end + 1;
  }
}

Result<std::string> read_file(const std::string& path, std::size_t most) {
  std::ifstream file(path, std::ios::binary);
  std::error_code code;
  if (!file || std::filesystem::is_directory(path, code)) {
    return Error{path + ": " + std::generic_category().message(file ? EISDIR : errno)};
  }
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (text.size() > most) return Error{path + ": too long"};
  return text;
}

int rules_check(const json& arguments, bool as_json) {
  std::vector<std::filesystem::path> paths;
  for (const json& f : arguments["files"]) paths.emplace_back(f.get<std::string>());
  const auto compiled = compile_rules(paths);
  if (!compiled) {
    print_error(compiled.error());
    return kFailed;
  }
  const CompiledRules& rules = **compiled;
  json result = {{"rules", rules.rules.size()},
                 {"refused", rules.refused},
                 {"compile_seconds", rules.compile_seconds},
                 {"faults", json::array()}};
  for (const RuleFault& f : rules.faults) {
    result["faults"].push_back({{"file", f.file},
                                {"line", f.line},
                                {"rule", f.rule},
                                {"text", f.text},
                                {"fatal", f.fatal}});
    if (!as_json) {
      std::cerr << for_terminal(f.file + ":" + std::to_string(f.line) + ": " +
                                (f.rule.empty() ? "" : f.rule + ": ") + f.text)
                << (f.fatal ? " (refused)\n" : " (runs)\n");
    }
  }
  if (as_json) {
    std::cout << result.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  } else {
    std::printf("%zu rules, %zu refused, compiled in %.2f s\n", rules.rules.size(), rules.refused,
                rules.compile_seconds);
  }
  if (rules.refused == 0) return kDone;
  return rules.rules.empty() ? kFailed : kPartial;
}

int config_validate(const json& arguments, bool as_json) {
  const auto configuration = load_configuration(arguments["file"].get<std::string>());
  if (as_json) {
    json result = {{"valid", static_cast<bool>(configuration)}};
    if (!configuration) result["error"] = configuration.error();
    std::cout << result.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  } else if (configuration) {
    std::cout << "valid\n";
  }
  if (configuration) return kDone;
  print_error(configuration.error());
  return kFailed;
}

int monitor(ApiClient& client, const json& arguments, bool as_json) {
  const std::uint64_t most = arguments.value("count", UINT64_MAX);
  for (std::uint64_t seen = 0; seen < most;) {
    const auto line = client.receive();
    if (!line) {
      print_error(line.error());
      return kFailed;
    }
    if (!line->contains("event")) continue;
    ++seen;
    const json& event = (*line)["event"];
    std::cout << (as_json ? event.dump(-1, ' ', false, json::error_handler_t::replace)
                          : event_line(event))
              << std::endl;        // NOLINT(performance-avoid-endl): each event is seen as it comes
    if (!std::cout) return kDone;  // the reader has gone
  }
  return kDone;
}

}  // namespace

const std::vector<Command>& commands() {
  static const std::vector<Command> all = make_commands();
  return all;
}

Result<json> argument_value(const Argument& argument, const std::vector<std::string>& words) {
  const std::string first = words.empty() ? std::string{} : words.front();
  const auto quoted = [&first] { return "'" + for_terminal(first.substr(0, 60)) + "'"; };
  switch (argument.kind) {
    case Kind::text:
      return json(first);
    case Kind::address: {
      const auto parsed = parse_address(first);
      if (!parsed) return Error{quoted() + " is no address: " + parsed.error()};
      return json(to_text(*parsed));
    }
    case Kind::prefix: {
      const auto parsed = parse_prefix(first);
      if (!parsed) return Error{quoted() + " is no address or prefix: " + parsed.error()};
      return json(first);
    }
    case Kind::duration: {
      const auto parsed = parse_duration(first);
      if (!parsed) return Error{parsed.error()};
      return json(*parsed);
    }
    case Kind::rate: {
      const auto parsed = parse_rate(first);
      if (!parsed) return Error{parsed.error()};
      return json(*parsed);
    }
    case Kind::count: {
      if (first.empty() || first.size() > 9 ||
          first.find_first_not_of("0123456789") != std::string::npos || first == "0") {
        return Error{quoted() + " is no number from 1"};
      }
      return json(std::strtoull(first.c_str(), nullptr, 10));
    }
    case Kind::flag:
      return json(true);
    case Kind::file:
      return json(std::filesystem::absolute(first).string());
    case Kind::files: {
      json all = json::array();
      for (const std::string& w : words) all.push_back(std::filesystem::absolute(w).string());
      return all;
    }
    case Kind::filter: {
      json all = json::object();
      for (const std::string& w : words) {
        const std::size_t equals = w.find('=');
        if (equals == 0 || equals == std::string::npos) {
          return Error{"'" + for_terminal(w.substr(0, 60)) + "' is no KEY=VALUE"};
        }
        all[w.substr(0, equals)] = w.substr(equals + 1);
      }
      return all;
    }
  }
  return Error{"unknown kind of argument"};
}

std::vector<std::string> words_to_options(const Command& command, std::vector<std::string> words) {
  std::size_t needed = 0;
  for (const Argument& a : command.arguments) needed += !a.option && a.required ? 1u : 0u;
  std::size_t seen = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string& word = words[i];
    if (word.starts_with("-")) {
      // What follows an option that takes a value is that value.
      for (const Argument& a : command.arguments) {
        if (a.option && a.kind != Kind::flag && word == "--" + std::string(a.name)) ++i;
      }
      continue;
    }
    if (seen >= needed) {
      bool is_option = false;
      for (const Argument& a : command.arguments) {
        if (!a.option || word != a.name) continue;
        if (a.kind != Kind::flag && i + 1 >= words.size()) continue;
        word.insert(0, "--");
        if (a.kind != Kind::flag) ++i;
        is_option = true;
        break;
      }
      if (is_option) continue;
    }
    ++seen;
  }
  return words;
}

int run_command(const Command& command, const json& given, const std::string& socket,
                bool as_json) {
  json arguments = given;
  arguments.update(command.fixed);
  if (command.words == "rules check") return rules_check(arguments, as_json);
  if (command.words == "config validate") return config_validate(arguments, as_json);
  if (command.words == "config load") {
    const std::string path = arguments["file"].get<std::string>();
    auto text = read_file(path, ApiServer::kMaxRequest / 2);
    if (!text) {
      print_error(text.error());
      return kFailed;
    }
    arguments.erase("file");
    arguments["name"] = path;
    arguments["text"] = std::move(*text);
  }
  Render render = command.render;
  if (const std::string view = arguments.value("view", std::string{}); !view.empty()) {
    if (view != "visibility") {
      print_error("'" + view + "': only 'visibility' may stand here");
      return kUsage;
    }
    render = render_visibility;
  }
  const bool listens = command.words == "monitor";
  auto client = ApiClient::connect(socket, listens ? 0 : command.timeout_seconds);
  if (!client) {
    print_error(client.error());
    return kFailed;
  }
  if (auto s = client->send({{"command", command.request}, {"arguments", arguments}}); !s) {
    print_error(s.error());
    return kFailed;
  }
  const auto answer = client->receive();
  if (!answer) {
    print_error(answer.error());
    return kFailed;
  }
  if (!answer->value("ok", false)) {
    print_error(answer->value("error", std::string("sluiced gave no reason")));
    return kFailed;
  }
  if (listens) return monitor(*client, arguments, as_json);
  const json result = answer->value("result", json::object());
  if (as_json) {
    std::cout << result.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  } else if (render != nullptr) {
    std::cout << render(result, {.width = terminal_width()});
  }
  if (command.words == "request self-test" && !result.value("good", false)) return kFailed;
  return answer->value("partial", false) ? kPartial : kDone;
}

}  // namespace sluice::control
