// What is shown of hosts, messages and events. Text from the wire is given as it is in the events
// (valid UTF-8, control characters and all): who prints it to a terminal escapes it.
#include <unistd.h>

#include "control/daemon/controller.h"
#include "control/daemon/message_row.h"
#include "control/daemon/request_values.h"
#include "control/identity/prefix.h"

#ifndef SLUICE_VERSION
#define SLUICE_VERSION "unknown"
#endif

namespace sluice::control {

using nlohmann::json;

json Controller::show_version() const {
  json result = {{"version", SLUICE_VERSION},
                 {"process", ::getpid()},
                 {"started", eve_timestamp(started_wall_)},
                 {"model", "sluice@" + model_revision()}};
  json& dataplane = result["dataplane"];
  dataplane["connected"] = channel_->connected();
  if (channel_->connected()) {
    const contract::ChannelHello& h = channel_->hello();
    dataplane["process"] = h.process;
    dataplane["workers"] = h.workers;
    dataplane["wires"] = h.wires;
    dataplane["started"] = eve_timestamp(h.start_time);
  } else {
    dataplane["reason"] = channel_->last_reason();
  }
  return result;
}

json Controller::standing_json(const Standing& s) const {
  const Nanoseconds now = monotonic_now();
  json j = {{"host", to_text(s.host)},
            {"standing", kLevelNames[static_cast<std::size_t>(s.enforced)]},
            {"messages", s.messages},
            {"condemned", s.condemned},
            {"recipients", s.recipients},
            {"bytes", s.octets},
            {"wire", s.wire}};
  if (s.decided != s.enforced) {
    j["would_have"] = kLevelNames[static_cast<std::size_t>(s.decided)];
    j["held_back"] = kHeldBackNames[static_cast<std::size_t>(s.held_back)];
  }
  if (s.until != 0) j["seconds_left"] = seconds_left(s.until, now);
  if (s.first_seen != 0) j["first_seen"] = eve_timestamp(s.first_seen);
  if (s.last_seen != 0) j["last_seen"] = eve_timestamp(s.last_seen);
  return j;
}

json Controller::order_json(const Order& o) const {
  json j = {{"prefix", to_text(o.prefix)},
            {"action", kHostActionNames[static_cast<std::size_t>(o.action)]},
            {"who", o.who},
            {"comment", o.comment},
            {"ticket", o.ticket},
            {"created", eve_timestamp(o.created)}};
  if (o.action == policy::HostAction::limit) {
    j["rate"] = o.rate_per_hour;
    j["burst"] = o.burst;
  }
  if (o.until != 0) {
    j["seconds_left"] = seconds_left(o.until, monotonic_now());
    j["until"] = eve_timestamp(o.until_wall);
  }
  return j;
}

json Controller::treatment_json(const Treatment& t) const {
  if (!t.any) return {{"action", "none"}, {"source", "nothing is said about this host"}};
  json j = {{"action", kHostActionNames[static_cast<std::size_t>(t.action)]},
            {"source", t.source},
            {"prefix", to_text(t.prefix)}};
  if (t.action == policy::HostAction::limit) {
    j["rate"] = t.rate_per_hour;
    j["burst"] = t.burst;
  }
  if (t.until != 0) j["seconds_left"] = seconds_left(t.until, monotonic_now());
  if (!t.comment.empty()) j["comment"] = t.comment;
  if (!t.who.empty()) j["who"] = t.who;
  if (!t.ticket.empty()) j["ticket"] = t.ticket;
  return j;
}

json Controller::show_hosts(const json& arguments) const {
  json result = {{"hosts", json::array()}, {"orders", json::array()}, {"lists", json::array()}};
  for (const Standing* s : ladder_.top(limit_of(arguments, 50))) {
    json j = standing_json(*s);
    const Treatment t = orders_.treatment(s->host.address, ladder_);
    j["action"] = t.any ? kHostActionNames[static_cast<std::size_t>(t.action)] : "none";
    if (t.any) j["source"] = t.source;
    result["hosts"].push_back(std::move(j));
  }
  for (const Order& o : orders_.operators()) result["orders"].push_back(order_json(o));
  for (const HostOverride& h : config_->hosts) {
    result["orders"].push_back({{"prefix", to_text(h.prefix)},
                                {"action", kHostActionNames[static_cast<std::size_t>(h.action)]},
                                {"who", "configuration"},
                                {"comment", h.comment}});
  }
  for (const PrefixListConfig& l : config_->prefix_lists) {
    const auto state = list_states_.find(l.name);
    json j = {{"name", l.name},
              {"action", kHostActionNames[static_cast<std::size_t>(l.action)]},
              {"prefixes", orders_.list_size(l.name)}};
    if (state != list_states_.end()) {
      j["bad_lines"] = state->second.fault_count;
      j["error"] = state->second.error;
      if (state->second.read != 0) j["read"] = eve_timestamp(state->second.read);
    }
    result["lists"].push_back(std::move(j));
  }
  result["known"] = ladder_.hosts();
  result["acted_on"] = ladder_.acted_on_count();
  result["cap"] = ladder_.cap();
  return result;
}

// From the journal on disk, which knows more than memory; what has not been written yet is written
// first. Without a journal, from the events in memory.
void Controller::show_messages(ClientId client, const json& arguments) {
  JournalQuery query;
  query.from = arguments.value("from", std::string{});
  query.to = arguments.value("to", std::string{});
  query.outcome = arguments.value("outcome", std::string{});
  query.since = since_of(arguments);
  query.most = limit_of(arguments, 50);
  if (const std::string host = arguments.value("host", std::string{}); !host.empty()) {
    const auto parsed = parse_prefix(host);
    if (!parsed) return fail(client, "'" + host + "': " + parsed.error());
    query.host = parsed->prefix;
  }
  if (!journal_) {
    json result = messages_in_memory(arguments);
    result["journal"] = journal_error_;
    return succeed(client, std::move(result), true);
  }
  flush_messages();
  auto found = std::make_shared<Result<JournalAnswer>>(Error{"not asked"});
  journal_jobs_->run([this, found, query] { *found = journal_->find(query); },
                     [this, found, client, arguments] {
                       if (!*found) {
                         json result = messages_in_memory(arguments);
                         result["journal"] = found->error();
                         return succeed(client, std::move(result), true);
                       }
                       json result = {{"messages", json::array()}, {"whole", (*found)->whole}};
                       for (const std::string& body : (*found)->bodies) {
                         json row = json::parse(body, nullptr, false);
                         if (!row.is_object()) continue;
                         // Events are numbered anew at each start: a number of an earlier run
                         // would explain another event.
                         if (row.value("run", std::uint64_t{0}) != started_wall_)
                           row.erase("event");
                         row.erase("run");
                         result["messages"].push_back(std::move(row));
                       }
                       const bool whole = (*found)->whole;
                       succeed(client, std::move(result), !whole);
                     });
}

json Controller::messages_in_memory(const json& arguments) const {
  const std::string from = arguments.value("from", std::string{});
  const std::string to = arguments.value("to", std::string{});
  const std::string outcome = arguments.value("outcome", std::string{});
  const std::string host = arguments.value("host", std::string{});
  const auto prefix = host.empty() ? Result<ParsedPrefix>(Error{""}) : parse_prefix(host);
  const std::uint64_t since = since_of(arguments);
  const std::size_t most = limit_of(arguments, 50);
  json result = {{"messages", json::array()}};
  const auto& all = recent_.all();
  for (auto e = all.rbegin(); e != all.rend() && result["messages"].size() < most; ++e) {
    if (e->wall < since) break;
    if (e->type != "smtp") continue;
    const json event = json::parse(e->line, nullptr, false);
    if (!event.is_object()) continue;
    const JournalRow row = journal_row(event, e->id, started_wall_, {}, e->wall);
    if (!from.empty() && !glob(from, row.sender)) continue;
    if (!to.empty() && std::none_of(row.recipients.begin(), row.recipients.end(),
                                    [&](const std::string& r) { return glob(to, r); })) {
      continue;
    }
    if (!outcome.empty() && !glob(outcome, row.outcome)) continue;
    if (prefix) {
      const auto source = parse_address(event.value("src_ip", ""));
      if (!source || !contains(prefix->prefix, *source)) continue;
    }
    json shown = message_row(event, e->id, started_wall_);
    shown.erase("run");
    result["messages"].push_back(std::move(shown));
  }
  return result;
}

void Controller::show_audit(ClientId client, const json& arguments) {
  auto found = std::make_shared<Result<std::vector<AuditEntry>>>(Error{"not asked"});
  disk_->run([this, found, since = since_of(arguments),
              most = limit_of(arguments, 50)] { *found = store_->audit(since, most); },
             [this, found, client] {
               if (!*found) return fail(client, found->error());
               json result = {{"audit", json::array()}};
               for (const AuditEntry& e : **found) {
                 result["audit"].push_back({{"id", e.id},
                                            {"timestamp", eve_timestamp(e.wall)},
                                            {"who", e.who},
                                            {"role", e.access},
                                            {"from", e.from},
                                            {"what", e.what},
                                            {"comment", e.comment}});
               }
               succeed(client, std::move(result));
             });
}

json Controller::show_events(const json& arguments) const {
  const std::string type = arguments.value("type", std::string{});
  const std::uint64_t since = since_of(arguments);
  const std::size_t most = limit_of(arguments, 50);
  std::vector<std::pair<std::string, std::string>> filters;
  // Named: a range-for does not keep the object that items() looks into.
  const json wanted = arguments.value("filters", json::object());
  for (const auto& [path, text] : wanted.items()) {
    filters.emplace_back(path, text.get<std::string>());
  }
  json result = {{"events", json::array()}};
  const auto& all = recent_.all();
  for (auto e = all.rbegin(); e != all.rend() && result["events"].size() < most; ++e) {
    if (e->wall < since) break;
    if (!type.empty() && e->type != type) continue;
    json event = json::parse(e->line, nullptr, false);
    if (!event.is_object() || !matches(event, filters)) continue;
    result["events"].push_back({{"id", e->id}, {"event", std::move(event)}});
  }
  return result;
}

json Controller::show_would_have(const json& arguments) const {
  const std::uint64_t since = since_of(arguments);
  const std::size_t most = limit_of(arguments, 50);
  json result = {{"wires", json::array()}, {"hosts", json::array()}, {"messages", json::array()}};
  for (const WireConfig& w : config_->wires) {
    const WireMinute sum = traffic_.sum(w.name, 86'400 * kSecond, monotonic_now());
    result["wires"].push_back({{"name", w.name},
                               {"mode", w.mode == policy::Mode::enforce ? "enforce" : "monitor"},
                               {"messages", sum.messages},
                               {"would_have", sum.would_have},
                               {"blocked", sum.blocked}});
  }
  for (const Standing* s : ladder_.acted_on()) {
    if (s->decided != s->enforced && result["hosts"].size() < most) {
      result["hosts"].push_back(standing_json(*s));
    }
  }
  const auto& all = recent_.all();
  for (auto e = all.rbegin(); e != all.rend() && result["messages"].size() < most; ++e) {
    if (e->wall < since) break;
    if (e->type != "smtp" || e->line.find("\"would_have\"") == std::string::npos) continue;
    const json event = json::parse(e->line, nullptr, false);
    if (!event.is_object()) continue;
    const json sluice = event.value("sluice", json::object());
    if (!sluice.contains("would_have")) continue;
    const json smtp = event.value("smtp", json::object());
    result["messages"].push_back({{"event", e->id},
                                  {"timestamp", event.value("timestamp", "")},
                                  {"src_ip", event.value("src_ip", "")},
                                  {"mail_from", smtp.value("mail_from", "")},
                                  {"would_have", sluice["would_have"]},
                                  {"reason", sluice.value("reason", "")},
                                  {"score", sluice.value("score", 0.0)}});
  }
  return result;
}

}  // namespace sluice::control
