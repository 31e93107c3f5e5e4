#include "control/cli/commands.h"

#include <filesystem>

#include "control/cli/text.h"
#include "control/identity/prefix.h"

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

const Argument kLimit = option("limit", Kind::count, "most rows");
const Argument kLast = option("last", Kind::duration, "only the last 30s, 10m, 1h, 2d");
const Argument kComment = option("comment", Kind::text, "why, for the audit log");
const Argument kTicket = option("ticket", Kind::text, "number of the ticket, for the audit log");
const Argument kFilter =
    option("filter", "filters", Kind::filter, "KEY=VALUE; KEY may be dotted, VALUE have * and ?");

// One action on a host, in two forms: "host block ADDR" and "request host ADDR block".
struct HostAction {
  const char* name;
  const char* help;
};
constexpr HostAction kHostActions[] = {
    {"block", "stop a host's mail"},
    {"limit", "limit a host's messages"},
    {"tarpit", "slow a host down"},
    {"tempfail", "refuse a host's messages with 4xx"},
    {"reject", "refuse a host's messages with 5xx"},
    {"allow", "never act on a host"},
};
// Words of both forms; they live as long as the table.
constexpr std::string_view kHostWords[][2] = {
    {"host block", "request host ADDR block"},   {"host limit", "request host ADDR limit"},
    {"host tarpit", "request host ADDR tarpit"}, {"host tempfail", "request host ADDR tempfail"},
    {"host reject", "request host ADDR reject"}, {"host allow", "request host ADDR allow"},
};

void add_host_commands(std::vector<Command>& all) {
  for (std::size_t i = 0; i < std::size(kHostActions); ++i) {
    for (const std::string_view words : kHostWords[i]) {
      Command c;
      c.words = words;
      c.help = kHostActions[i].help;
      c.request = "host order";
      c.fixed = {{"action", kHostActions[i].name}};
      c.render = render_order;
      c.access = Access::operate;
      c.arguments = {positional("ADDR", "prefix", Kind::prefix, "address or prefix"),
                     option("for", "seconds", Kind::duration, "how long (30s, 10m, 1h, 2d)"),
                     kTicket, kComment,
                     option("force", Kind::flag, "accept a prefix that holds every address")};
      if (std::string_view(kHostActions[i].name) == "limit") {
        c.arguments.insert(c.arguments.begin() + 1,
                           {option("messages", "rate", Kind::rate, "messages an hour (20/h)"),
                            option("rate", Kind::rate, "the same"),
                            option("burst", Kind::count, "messages at once")});
      }
      all.push_back(std::move(c));
    }
  }
  for (const std::string_view words : {"host release", "request host ADDR release"}) {
    Command c;
    c.words = words;
    c.help = "take back orders and decisions for a host or prefix";
    c.request = "host release";
    c.arguments = {positional("ADDR", "prefix", Kind::prefix, "address or prefix"), kTicket,
                   kComment};
    c.render = render_release;
    c.access = Access::operate;
    all.push_back(std::move(c));
  }
}

// What is shown and explained.
void add_views(std::vector<Command>& all) {
  const Argument wire = positional("WIRE", "wire", Kind::wire, "name of the wire");
  const Argument screens = option("count", Kind::count, "end after so many screens");
  const Argument every = option("every", Kind::duration, "time between screens (default 1s)");
  const Command views[] = {
      {"show hosts", "hosts, their standing, and orders", "show hosts", {kLimit}, render_hosts},
      {"show flows", "live mail flows", "show flows", {kLimit}, render_flows},
      {"show messages",
       "where is my customer's mail: messages, latest first",
       "show messages",
       {option("from", Kind::pattern, "pattern of the sender (*@cust.example)"),
        option("to", Kind::pattern, "pattern of a recipient (*@gmail.com)"),
        option("host", Kind::prefix, "only of this address or prefix"),
        option("outcome", Kind::pattern, "accepted, refused, aborted, blocked, unknown"), kLast,
        kLimit},
       render_messages},
      {"show events",
       "events, latest first",
       "show events",
       {option("type", Kind::text, "event_type"), kFilter, kLast, kLimit},
       render_events},
      {"show policies",
       "groups, thresholds, what is in force",
       "show policies",
       {},
       render_policies},
      {"show rules", "rules by hits, and those refused", "show rules", {kLimit}, render_rules},
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
      {"show config running",
       "what runs, or a part of it, in braces; --json: RFC 7951",
       "config get",
       {positional("PATH", "words", Kind::words, "only this part", false)},
       render_text,
       {{"source", "running"}}},
      {"show config candidate",
       "the shared candidate, or a part of it",
       "config get",
       {positional("PATH", "words", Kind::words, "only this part", false)},
       render_text,
       {{"source", "candidate"}}},
      {"show audit",
       "who did what, from where, latest first",
       "show audit",
       {kLast, kLimit},
       render_audit},
      {"show captures",
       "captures of frames, running and ended",
       "show captures",
       {},
       render_captures},
      {"show tech-support",
       "all that helps to find a fault, without personal data",
       "show tech-support",
       {},
       render_tech_support},
      {"test policy host ADDR",
       "which policy would apply to a host, and which entry decides",
       "test policy",
       {positional("ADDR", "host", Kind::address, "address"),
        option("account", "user", Kind::text, "user of AUTH"),
        option("message", "message_file", Kind::file,
               "RFC 5322 message, judged by the rules in force")},
       render_test_policy,
       json::object(),
       120},
      {"show version", "versions of the processes", "show version", {}, render_version},
      {"show would-have",
       "what monitor mode and guards held back",
       "show would-have",
       {kLast, kLimit},
       render_would_have},
      {"show wire WIRE",
       "one wire: ports, kernel, what passed",
       "show wire",
       {wire, kLast},
       render_wire},
      {"show wire WIRE visibility",
       "share of clear, TLS, before STARTTLS and one-sided mail, by interval",
       "show wire",
       {wire, kLast, option("interval", Kind::duration, "length of one row; whole minutes")},
       render_visibility},
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
      {"monitor traffic", "live: what passes, by wire; q ends it", "show stats", {screens, every}},
      {"monitor hosts", "live: hosts by what they send; q ends it", "show hosts", {screens, every}},
      {"monitor events",
       "events as they come",
       "monitor",
       {kFilter, option("count", Kind::count, "end after so many events")}},
      {"monitor",
       "events as they come",
       "monitor",
       {kFilter, option("count", Kind::count, "end after so many events")}},
  };
  all.insert(all.end(), std::begin(views), std::end(views));
}

Command config_edit(const char* words, const char* operation, const char* help) {
  Command c;
  c.words = words;
  c.help = help;
  c.request = "config edit";
  c.fixed = {{"operation", operation}};
  c.render = render_nothing;
  c.access = Access::admin;
  c.arguments = {positional("PATH", "words", Kind::words, "as 'set' takes it in configure mode")};
  return c;
}

std::vector<Command> make_commands() {
  std::vector<Command> all;
  add_views(all);
  add_host_commands(all);
  const Command rest[] = {
      {"rules check",
       "compile rule files here and report faults",
       "",
       {positional("FILE", "files", Kind::files, "rule files or folders")}},
      {"rules test",
       "run messages against rules here: which hit, scores, times",
       "",
       {positional("MESSAGE", "messages", Kind::files, "message files, mboxes or folders"),
        option("rules", Kind::paths, "rule file or folder; repeatable"),
        option("policy", Kind::file, "configuration with thresholds (RFC 7951 JSON)"),
        option("cache", Kind::file, "folder that keeps compiled databases"),
        option("summary", Kind::flag, "with --json: a last line with totals"),
        option(
            "times", Kind::flag,
            "with --json: the last line, with the time by rule group, which costs some itself")}},
      {"rules update",
       "verify, unpack and load a channel of rules from disk, as sa-update gets it",
       "",
       {positional("ARCHIVE", "source", Kind::file, "VERSION.tar.gz, or a folder with some"),
        option("keyring", Kind::file, "keys that may sign (/etc/sluice/rules-keyring.gpg)"),
        option("root", Kind::file, "where versions are kept (/var/lib/sluice/rules)"),
        option("name", Kind::text, "name of the channel there (updates)"),
        option("unsigned", Kind::flag, "accept an archive without a signature"),
        option("no-load", "no_load", Kind::flag, "do not ask sluiced to load it")}},
      {"rules load",
       "use these rule files from now on; without: read those in use again",
       "rules load",
       {positional("FILE", "files", Kind::files, "rule files or folders", false), kComment},
       render_commit,
       json::object(),
       600,
       Access::admin},
      config_edit("config set", "set", "set values in the shared candidate"),
      config_edit("config delete", "delete", "delete a part of the shared candidate"),
      config_edit("config activate", "activate", "let a part count again"),
      config_edit("config deactivate", "deactivate", "keep a part but let it not count"),
      {"config diff",
       "what the shared candidate changes",
       "config compare",
       {positional("NUMBER", "number", Kind::number, "against this rollback", false)},
       render_text},
      {"config candidate",
       "the shared candidate, as commands that make it",
       "config get",
       {positional("PATH", "words", Kind::words, "only this part", false)},
       render_text,
       {{"form", "set"}}},
      {"config commit",
       "make the shared candidate run; without changes: confirm",
       "config commit",
       {option("confirmed", Kind::count, "minutes after which it is taken back unless confirmed"),
        option("check", Kind::flag, "only check whether it could be"), kComment},
       render_commit_answer,
       json::object(),
       600,
       Access::admin},
      {"config rollback",
       "an earlier configuration becomes the shared candidate",
       "config rollback",
       {positional("NUMBER", "number", Kind::number, "how many commits back, 0 to 49", false)},
       render_nothing,
       json::object(),
       30,
       Access::admin},
      {"config history", "commits, latest first", "config history", {}, render_history},
      {"config validate",
       "check a configuration file here; without: the shared candidate, by sluiced",
       "",
       {positional("FILE", "file", Kind::file, "configuration (RFC 7951 JSON)", false)},
       render_commit_answer,
       json::object(),
       600},
      {"config load",
       "replace the running configuration",
       "config load",
       {positional("FILE", "file", Kind::file, "configuration (RFC 7951 JSON)"), kComment},
       render_commit,
       json::object(),
       600,
       Access::admin},
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
      {"request capture host ADDR",
       "frames of one host's mail flows to a file: headers only, unless full",
       "request capture",
       {positional("ADDR", "host", Kind::prefix, "address, or prefix up to /24 or /48"),
        Argument{"reason", "reason", Kind::text, true, true, "why, for the audit log"},
        option("for", "seconds", Kind::duration, "how long (default 10m)"),
        option("full", Kind::flag, "payloads too: needs the role admin")},
       render_capture,
       json::object(),
       30,
       Access::operate},
      {"request capture stop ID",
       "end a capture early",
       "request capture-stop",
       {positional("ID", "id", Kind::number, "its number in 'show captures'")},
       render_capture,
       json::object(),
       30,
       Access::operate},
      {"request evidence host ADDR",
       "all that is held against a host, in one piece that can be handed on",
       "request evidence",
       {positional("ADDR", "host", Kind::address, "address"),
        Argument{"reason", "reason", Kind::text, true, true, "why, for the audit log"}, kLast,
        kLimit, option("to", "to_file", Kind::file, "file to write it to")},
       render_evidence,
       json::object(),
       60,
       Access::operate},
      {"request wire WIRE self-test",
       "check one wire: attached, links, heartbeat, lists, counters, a probe",
       "request self-test",
       {positional("WIRE", "wire", Kind::wire, "name of the wire"),
        option("probes", Kind::count, "how many probes (default 3)")},
       render_self_test,
       json::object(),
       60,
       Access::operate},
  };
  all.insert(all.end(), std::begin(rest), std::end(rest));
  return all;
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
    case Kind::pattern:
    case Kind::wire:
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
    case Kind::number: {
      if (first.empty() || first.size() > 10 ||
          first.find_first_not_of("0123456789") != std::string::npos) {
        return Error{quoted() + " is no number"};
      }
      return json(std::strtoull(first.c_str(), nullptr, 10));
    }
    case Kind::flag:
      return json(true);
    case Kind::file:
      return json(std::filesystem::absolute(first).string());
    case Kind::words:
      return json(words);
    case Kind::files:
    case Kind::paths: {
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

}  // namespace sluice::control
