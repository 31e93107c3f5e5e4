// `test policy`: which policy would apply to a host, an account, a message, and which entry
// decided. Nothing is changed, and nothing of it is seen on the wire.
#include <memory_resource>

#include "control/daemon/controller.h"
#include "control/daemon/request_values.h"
#include "control/publish/image.h"
#include "dataplane/inspect/engine.h"

namespace sluice::control {

using nlohmann::json;

namespace {

class KeptEvents final : public contract::EventSink {
 public:
  bool write(Bytes record) override {
    const std::string line = eve_json(record, context_);
    if (json event = json::parse(line, nullptr, false); event.is_object()) {
      events.push_back(std::move(event));
    }
    return true;
  }
  std::vector<json> events;

 private:
  EveContext context_{.host = "", .wires = {{"test", "", ""}}};
};

class NoOutput final : public inspect::Output {
 public:
  void forward(inspect::Frame&, bool) override {}
  void drop(inspect::Frame&, contract::DropReason) override {}
  void inject(std::uint16_t, Side, Bytes) override {}
  void mark_flow(const flow::FlowKey&, inspect::FlowMark) override {}
};

// What the rules in force say of one RFC 5322 message that a host of `group` sends: the wire's own
// code, with the group's thresholds.
Result<json> judge(const std::string& message, const Configuration& configuration,
                   const GroupSpec& group, const CompiledRules& rules, const CompiledLists& lists) {
  PolicySpec spec = policy_spec(configuration, 1);
  spec.hosts.clear();
  spec.wires = {{"test", policy::Mode::enforce}};
  GroupSpec only = group;
  only.members.clear();
  spec.groups = {only};
  auto image = build_image(spec, rules, true, lists);
  if (!image) return Error{image.error()};
  auto opened = policy::Policy::open(*image, {});
  if (!opened) return Error{opened.error()};
  inspect::Settings settings;
  settings.wires = {"test"};
  settings.all_ports = true;
  KeptEvents events;
  NoOutput output;
  auto statistics = std::make_unique<contract::WorkerStatistics>();
  inspect::Engine engine(settings, *statistics, events, output, std::pmr::new_delete_resource());
  if (Status s = engine.set_policy(**opened); !s) return Error{s.error()};
  const std::uint64_t wall = wall_now();
  engine.inspect_message(as_bytes({message.data(), message.size()}),
                         {.monotonic = wall, .wall = wall});
  json result = {{"rules", json::array()}};
  for (const json& e : events.events) {
    const std::string type = e.value("event_type", "");
    if (type == "alert") {
      const json alert = e.value("alert", json::object());
      const json sluice = e.value("sluice", json::object());
      result["rules"].push_back({{"sid", alert.value("signature_id", std::uint64_t{0})},
                                 {"message", alert.value("signature", "")},
                                 {"score", sluice.value("score", 0.0)},
                                 {"where", sluice.value("where", "")}});
    } else if (type == "smtp") {
      const json sluice = e.value("sluice", json::object());
      result["score"] = sluice.value("score", 0.0);
      // A message by itself is never stopped, so what it earns stands in would_have.
      result["verdict"] = sluice.value("would_have", sluice.value("verdict", "pass"));
      result["reason"] = sluice.value("reason", "");
      const json email = e.value("email", json::object());
      result["subject"] = email.value("subject", "");
    }
  }
  return result;
}

// The octets that sluicectl wrote as characters of their numbers. Anything else stays as it is.
std::string octets_of(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto a = static_cast<std::uint8_t>(text[i]);
    if ((a == 0xc2 || a == 0xc3) && i + 1 < text.size()) {
      out += static_cast<char>(((a & 3) << 6) | (static_cast<std::uint8_t>(text[++i]) & 0x3f));
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string threshold_text(std::int32_t hundredths) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", hundredths / 100.0);
  return text;
}

std::string thresholds_text(const policy::Group& g) {
  std::string out;
  const auto say = [&out](const char* what, std::int32_t score) {
    if (score == INT32_MAX) return;
    out += (out.empty() ? "" : ", ") + std::string(what) + " from " + threshold_text(score);
  };
  say("tag", g.tag_score);
  say("tempfail", g.tempfail_score);
  say("reject", g.reject_score);
  return out.empty() ? "no score acts; only rules that reject or drop do" : out;
}

}  // namespace

void Controller::test_policy(ClientId client, const json& arguments) {
  const std::string text = arguments.value("host", std::string{});
  const auto address = parse_address(text);
  if (!address) return fail(client, "'" + text + "': " + address.error());

  json result = {{"address", to_text(*address)}, {"host", to_text(ladder_.host_of(*address))}};
  std::vector<std::string> why;

  const InsidePrefix* inside = inside_of(*address);
  if (inside != nullptr) {
    result["inside"] = {{"prefix", to_text(inside->prefix)},
                        {"role", kRoleNames[static_cast<std::size_t>(inside->role)]}};
  } else if (config_->inside.empty()) {
    why.emplace_back("no inside prefix is configured: what comes in on the inside port is inside");
  } else {
    why.emplace_back("the host is in no inside prefix: detection never acts on it");
  }

  // Who has a say about the host, and who decides.
  result["entries"] = json::array();
  const Treatment best = orders_.treatment(*address, ladder_);
  for (const Treatment& t : orders_.voices(*address, ladder_)) {
    json entry = treatment_json(t);
    entry["decides"] = best.any && t.source == best.source &&
                       t.prefix.length == best.prefix.length && t.action == best.action;
    result["entries"].push_back(std::move(entry));
  }
  result["treatment"] = treatment_json(best);
  if (result["entries"].size() > 1) {
    why.push_back("of " + std::to_string(result["entries"].size()) +
                  " entries the longest prefix decides; of equal ones operator before detection "
                  "before lists before configuration");
  }

  const auto [group, member] = group_of(*address);
  result["group"] = {
      {"name", group->group.name},
      {"by", member.length == 255 ? "no other group names the host" : to_text(member)},
      {"thresholds", thresholds_text(group->group)},
      {"rule_reject", contract::kVerdictNames[static_cast<std::size_t>(group->group.rule_reject)]},
      {"rule_drop", contract::kVerdictNames[static_cast<std::size_t>(group->group.rule_drop)]}};

  std::string detection = "limit from " + std::to_string(config_->detection.limit_threshold) +
                          " and block from " + std::to_string(config_->detection.block_threshold) +
                          " condemned messages in " + std::to_string(config_->detection.window) +
                          " s";
  if (!config_->detection.enabled) detection = "disabled";
  if (inside != nullptr) {
    if (inside->role == Role::infrastructure) detection = "never acts: infrastructure";
    if (inside->role == Role::shared_address || inside->role == Role::shared_web) {
      detection +=
          "; limits at most: " + std::string(kRoleNames[static_cast<std::size_t>(inside->role)]);
    }
  } else if (!config_->inside.empty()) {
    detection = "never acts: not inside";
  }
  if (orders_.allowed(ladder_.host_of(*address))) detection = "never acts: the host is allowed";
  result["detection"] = detection;

  result["wires"] = json::array();
  for (const WireConfig& w : config_->wires) {
    result["wires"].push_back(
        {{"name", w.name}, {"mode", w.mode == policy::Mode::enforce ? "enforce" : "monitor"}});
  }
  if (!any_wire_enforces()) {
    why.emplace_back("every wire is in monitor mode: events say what would have been done");
  }
  if (const std::string user = arguments.value("user", std::string{}); !user.empty()) {
    result["account"] = {{"user", user}};
    why.emplace_back("no policy tells accounts apart: the host decides for '" + user + "' too");
  }

  std::string conclusion;
  const std::string entry = "by " + best.source + " for " + to_text(best.prefix);
  if (!best.any) {
    conclusion = "each message by its rules and score: " + thresholds_text(group->group);
  } else {
    switch (best.action) {
      case policy::HostAction::allow:
        conclusion = "never acted on as a host, " + entry + "; its messages by rules and score";
        break;
      case policy::HostAction::limit:
        conclusion = "at most " + std::to_string(best.rate_per_hour) + " messages an hour, " +
                     entry + "; those by rules and score";
        break;
      case policy::HostAction::tempfail:
        conclusion = "every message is refused with 4xx, " + entry;
        break;
      case policy::HostAction::reject:
        conclusion = "every message is refused with 5xx, " + entry;
        break;
      case policy::HostAction::tarpit:
        conclusion = "slowed down, " + entry + "; its messages by rules and score";
        break;
      case policy::HostAction::block:
        conclusion = "its mail is stopped, " + entry;
        break;
    }
  }
  result["conclusion"] = conclusion;
  result["why"] = why;

  const std::string message = octets_of(arguments.value("message", std::string{}));
  if (message.empty()) return succeed(client, std::move(result));
  auto judged = std::make_shared<Result<json>>(Error{"not judged"});
  compile_->run(
      [judged, message, configuration = config_, rules = rules_, lists = match_lists_.compiled,
       g = *group] { *judged = judge(message, *configuration, g, *rules, *lists); },
      [this, client, judged, result]() mutable {
        if (!*judged) return fail(client, "the message cannot be judged: " + judged->error());
        result["message"] = std::move(**judged);
        succeed(client, std::move(result));
      });
}

}  // namespace sluice::control
