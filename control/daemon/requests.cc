// Requests of sluicectl: which is answered by what.
#include "control/daemon/controller.h"
#include "control/daemon/request_values.h"
#include "control/identity/prefix.h"

namespace sluice::control {

void Controller::succeed(ClientId client, json result, bool partial) {
  json answer = {{"ok", true}, {"result", std::move(result)}};
  if (partial) answer["partial"] = true;
  respond(client, answer);
}

void Controller::fail(ClientId client, const std::string& error) {
  respond(client, {{"ok", false}, {"error", error}});
}

void Controller::api_client_gone(ClientId client) {
  listeners_.erase(client);
  config_jobs_->run([this, client] { candidates_->client_gone(client); }, {});
  if (snapshot_) {
    std::erase_if(snapshot_->clients, [client](const auto& c) { return c.first == client; });
  }
}

void Controller::api_request(ClientId client, const Peer& from, const json& request) try {
  const std::string command = request.value("command", std::string{});
  const json arguments = request.value("arguments", json::object());
  if (!arguments.is_object()) return fail(client, "the arguments are not an object");
  Peer peer = from;
  const Granted granted = access_of(from, config_->access);
  peer.access = granted.access;
  if (const Access needed = needed_access(command, arguments); granted.access < needed) {
    const std::string name = printable(command.substr(0, 80));
    if (is_action(command)) audit(peer, "refused: " + name, "");
    return fail(
        client,
        "refused: '" + name + "' needs the role " +
            std::string(kAccessNames[static_cast<std::size_t>(needed)]) + "; " + peer.user +
            (granted.access == Access::none
                 ? " has none: " + granted.by
                 : " is " + std::string(kAccessNames[static_cast<std::size_t>(granted.access)]) +
                       " by " + granted.by));
  }
  const auto answer = [&](json result) { succeed(client, std::move(result)); };
  const auto answer_or_fail = [&](Result<json> result) {
    if (result) {
      succeed(client, std::move(*result));
    } else {
      fail(client, result.error());
    }
  };
  if (command == "show version") return answer(show_version());
  if (command == "show hosts") return answer(show_hosts(arguments));
  if (command == "show flows") return show_flows(client, arguments);
  if (command == "show messages") return show_messages(client, arguments);
  if (command == "show audit") return show_audit(client, arguments);
  if (command == "test policy") return test_policy(client, arguments);
  if (command == "show events") return answer(show_events(arguments));
  if (command == "show policies") return answer(show_policies());
  if (command == "show rules") return answer(show_rules(arguments));
  if (command == "show interfaces") return answer(show_interfaces());
  if (command == "show captures") return answer(captures_->list());
  if (command == "show tech-support") return answer(tech_support());
  if (command == "request evidence") return evidence(client, peer, arguments);
  if (command == "request capture") return capture(client, peer, arguments);
  if (command == "request capture-stop") {
    const auto identity = arguments.value("id", std::uint64_t{0});
    auto stopped = captures_->stop(static_cast<std::uint32_t>(identity));
    if (stopped) audit(peer, "capture " + std::to_string(identity) + " stopped", "");
    return answer_or_fail(std::move(stopped));
  }
  if (command == "show stats") return answer(show_stats(arguments));
  if (command == "show config") return show_config(client, arguments);
  if (command == "show would-have") return answer(show_would_have(arguments));
  if (command == "show wire") {
    const auto wire = arguments.value("wire", std::string{});
    json result = show_wire(wire, arguments);
    if (result.is_null()) return fail(client, "'" + wire + "': no such wire");
    return answer(std::move(result));
  }
  const std::string what = arguments.value("what", std::string{});
  if (command == "explain host") return answer_or_fail(explain_host(what));
  if (command == "explain flow") return answer_or_fail(explain_flow(what));
  if (command == "explain event") return answer_or_fail(explain_event(what));
  if (command == "host order") return host_order(client, peer, arguments);
  if (command == "host release") return host_release(client, peer, arguments);
  if (Candidates::answers(command)) return candidate_request(client, peer, command, arguments);
  if (command == "config commit") return config_commit(client, peer, arguments);
  if (command == "config apply") return config_apply(client, peer, arguments);
  if (command == "config history") return config_history(client);
  if (command == "config load") return config_load(client, peer, arguments);
  if (command == "rules load") return rules_load(client, peer, arguments);
  if (command == "request self-test") {
    const std::string wire = arguments.value("wire", std::string{});
    if (!wire.empty()) return test_wire(client, wire, arguments);
    return answer(self_test());
  }
  if (command == "monitor" && from.origin.empty()) return monitor(client, arguments);
  fail(client, "'" + command.substr(0, 80) + "': no such command");
} catch (const nlohmann::json::exception& e) {
  // A member of another type than expected.
  fail(client, std::string("malformed request: ") + e.what());
}

void Controller::show_config(ClientId client, const json& arguments) {
  json config = json::parse(config_text_, nullptr, false);
  if (arguments.value("defaults", false)) {
    const auto whole = canonical_configuration(config_text_, "running configuration", true);
    if (!whole) return fail(client, whole.error());
    config = json::parse(*whole, nullptr, false);
  }
  if (!arguments.value("revision", false)) return succeed(client, std::move(config));
  succeed(client, {{"config", std::move(config)},
                   {"sha256", sha256_text(config_text_)},
                   {"changed", config_changed_ / kSecond}});
}

}  // namespace sluice::control
