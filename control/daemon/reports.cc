// What leaves the appliance: a report for those who help with it, without personal data; and what
// is held against one host, with all of it, for those who must answer for that.
#include <algorithm>

#include "control/daemon/controller.h"
#include "control/daemon/masking.h"
#include "control/daemon/request_values.h"

namespace sluice::control {

using nlohmann::json;

// Of events only their kinds and times are told, of hosts only how many: what is masked cannot leak
// where it never was.
json Controller::tech_support() const {
  json r;
  r["version"] = show_version();
  r["config"] = json::parse(config_text_, nullptr, false);
  r["interfaces"] = show_interfaces();
  r["wires"] = json::array();
  for (const WireConfig& w : config_->wires) {
    r["wires"].push_back(show_wire(w.name, {{"last", 86'400}}));
  }
  r["policies"] = show_policies();
  json rules = show_rules({{"limit", 20}});
  r["rules"] = {{"count", rules["count"]},
                {"refused", rules["refused"]},
                {"compile_seconds", rules["compile_seconds"]},
                {"files", rules["files"]},
                {"faults", rules["faults"]}};
  const json hosts = show_hosts({{"limit", 1}});
  r["hosts"] = {{"known", hosts["known"]},
                {"acted_on", hosts["acted_on"]},
                {"cap", hosts["cap"]},
                {"orders", orders_.operators().size()},
                {"lists", hosts["lists"]}};
  r["stats"] = show_stats(json::object())["stats"];
  r["self_test"] = self_test();
  r["captures"] = captures_->list()["captures"].size();
  json& last = r["events"] = json::array();
  const auto& all = recent_.all();
  for (auto e = all.rbegin(); e != all.rend() && last.size() < 200; ++e) {
    if (e->type == "wire" || e->type == "anomaly" || e->type == "drop") {
      const json event = json::parse(e->line, nullptr, false);
      if (!event.is_object()) continue;
      const json body = event.value(e->type, json::object());
      json row = {{"timestamp", event.value("timestamp", "")}, {"event_type", e->type}};
      for (const char* key : {"event", "type", "state", "reason", "action", "name"}) {
        if (body.contains(key)) row[key] = body[key];
      }
      last.push_back(std::move(row));
    }
  }
  Masking masking;
  return masking.whole(r);
}

void Controller::evidence(ClientId client, const Peer& peer, const json& arguments) {
  const std::string text = arguments.value("host", std::string{});
  auto explained = explain_host(text);
  if (!explained) return fail(client, explained.error());
  const std::string reason = arguments.value("reason", std::string{}).substr(0, 1000);
  if (reason.empty()) return fail(client, "evidence needs a reason, for the audit log");
  json bundle = {{"made", eve_timestamp(wall_now())},
                 {"by", peer.user},
                 {"reason", reason},
                 {"sensor", eve_.host},
                 {"host", std::move(*explained)},
                 {"rules", {{"count", rules_->rules.size()}}},
                 {"configuration_sha256", sha256_text(config_text_)}};
  audit(peer, "evidence " + bundle["host"].value("host", text), reason);
  JournalQuery query;
  const auto parsed = parse_prefix(bundle["host"].value("host", text));
  if (parsed) query.host = parsed->prefix;
  query.since = since_of({{"last", arguments.value("last", std::uint64_t{86'400})}});
  query.most = limit_of(arguments, 1000);
  const auto finish = [this, client](json b) {
    // Of all that stands before it, as it is written here: whoever gets it can check it.
    const std::string body = b.dump(-1, ' ', false, json::error_handler_t::replace);
    json result = {{"evidence", std::move(b)}, {"sha256", sha256_text(body)}};
    succeed(client, std::move(result));
  };
  if (!journal_ || !parsed) {
    bundle["messages"] = json::array();
    return finish(std::move(bundle));
  }
  flush_messages();
  auto found = std::make_shared<Result<JournalAnswer>>(Error{"not asked"});
  journal_jobs_->run([this, found, query] { *found = journal_->find(query); },
                     [found, bundle, finish]() mutable {
                       bundle["messages"] = json::array();
                       if (*found) {
                         for (const std::string& body : (*found)->bodies) {
                           bundle["messages"].push_back(json::parse(body, nullptr, false));
                         }
                         bundle["messages_whole"] = (*found)->whole;
                       }
                       finish(std::move(bundle));
                     });
}

void Controller::capture(ClientId client, const Peer& peer, const json& arguments) {
  CaptureRequest request;
  const std::string text = arguments.value("host", std::string{});
  const auto parsed = parse_prefix(text);
  if (!parsed) return fail(client, "'" + text + "': " + parsed.error());
  request.host = parsed->prefix;
  // One host's flows, or a customer's block: not everybody's.
  const unsigned least = is_v4(request.host) ? 96 + 24 : 48;
  if (request.host.length < least) {
    return fail(client, to_text(request.host) + ": a capture is of a host, at most a /24 or a /48");
  }
  request.full = arguments.value("full", false);
  request.seconds = arguments.value("seconds", std::uint64_t{600});
  request.reason = arguments.value("reason", std::string{}).substr(0, 1000);
  request.who = peer.user;
  auto started = captures_->start(request);
  if (!started) return fail(client, started.error());
  audit(peer,
        "capture " + std::to_string(started->value("id", std::uint32_t{0})) + " of " +
            to_text(request.host) + (request.full ? ", payloads too" : ", headers only") + " for " +
            std::to_string(request.seconds) + " s",
        request.reason);
  succeed(client, std::move(*started));
}

}  // namespace sluice::control
