// What is shown and explained. Text from the wire is given as it is in the events (valid UTF-8,
// control characters and all): who prints it to a terminal escapes it.
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "control/daemon/controller.h"
#include "control/identity/prefix.h"

#ifndef SLUICE_VERSION
#define SLUICE_VERSION "unknown"
#endif

namespace sluice::control {
namespace {

using nlohmann::json;

// Seconds from `now` to `until`, 0 when it has passed or there is none.
std::uint64_t seconds_left(Nanoseconds until, Nanoseconds now) {
  return until > now ? (until - now + kSecond - 1) / kSecond : 0;
}

std::uint64_t interface_counter(const std::string& interface, const char* name) {
  std::uint64_t value = 0;
  std::ifstream("/sys/class/net/" + interface + "/statistics/" + name) >> value;
  return value;
}

std::string address_only(std::string text) {
  if (text.size() >= 2 && text.front() == '<' && text.back() == '>') {
    text = text.substr(1, text.size() - 2);
  }
  return text;
}

std::size_t limit_of(const json& arguments, std::size_t otherwise) {
  return std::min<std::size_t>(arguments.value("limit", otherwise), 100'000);
}

// Wall clock from which on events are wanted; 0: all.
std::uint64_t since_of(const json& arguments) {
  const std::uint64_t last = arguments.value("last", std::uint64_t{0});
  const std::uint64_t now = wall_now();
  return last == 0 || last > now / kSecond ? 0 : now - last * kSecond;
}

}  // namespace

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

json Controller::show_messages(const json& arguments) const {
  const std::string from = arguments.value("from", std::string{});
  const std::string to = arguments.value("to", std::string{});
  const std::uint64_t since = since_of(arguments);
  const std::size_t most = limit_of(arguments, 50);
  json result = {{"messages", json::array()}};
  const auto& all = recent_.all();
  for (auto e = all.rbegin(); e != all.rend() && result["messages"].size() < most; ++e) {
    if (e->wall < since) break;
    if (e->type != "smtp") continue;
    const json event = json::parse(e->line, nullptr, false);
    if (!event.is_object()) continue;
    const json smtp = event.value("smtp", json::object());
    const json sluice = event.value("sluice", json::object());
    const std::string sender = smtp.value("mail_from", std::string{});
    if (!from.empty() && !glob(from, address_only(sender))) continue;
    const json recipients = smtp.value("rcpt_to", json::array());
    bool wanted = to.empty();
    for (const json& r : recipients) {
      wanted = wanted || (r.is_string() && glob(to, address_only(r.get<std::string>())));
    }
    if (!wanted) continue;
    json row = {{"event", e->id},
                {"timestamp", event.value("timestamp", "")},
                {"src_ip", event.value("src_ip", "")},
                {"dest_ip", event.value("dest_ip", "")},
                {"flow_id", event.value("flow_id", std::uint64_t{0})},
                {"mail_from", sender},
                {"rcpt_to", recipients},
                {"size", smtp.value("size", std::uint64_t{0})},
                {"outcome", smtp.value("outcome", "")},
                {"verdict", sluice.value("verdict", "")},
                {"score", sluice.value("score", 0.0)},
                {"rules", sluice.value("rules", json::array())}};
    if (sluice.contains("would_have")) row["would_have"] = sluice["would_have"];
    if (smtp.contains("reply")) row["reply"] = smtp["reply"];
    if (const json email = event.value("email", json::object()); email.contains("subject")) {
      row["subject"] = email["subject"];
    }
    result["messages"].push_back(std::move(row));
  }
  return result;
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

json Controller::show_policies() const {
  json result = {
      {"epoch", publisher_->adopted_epoch()},
      {"adoptions", publisher_->adoptions()},
      {"refusals", publisher_->refusals()},
      {"last_refusal", publisher_->last_refusal()},
      {"adoption_seconds", static_cast<double>(publisher_->last_adoption_nanoseconds()) / 1e9},
      {"image_bytes", publisher_->last_image_size()},
      {"rules", rules_->rules.size()},
      {"groups", json::array()},
      {"detection", json::object()}};
  const auto score = [](std::int32_t hundredths) -> json {
    if (hundredths == INT32_MAX) return nullptr;
    return hundredths / 100.0;
  };
  for (const GroupSpec& g : config_->groups) {
    result["groups"].push_back(
        {{"name", g.group.name},
         {"members", g.members.size()},
         {"tag_score", score(g.group.tag_score)},
         {"tempfail_score", score(g.group.tempfail_score)},
         {"reject_score", score(g.group.reject_score)},
         {"rule_reject", contract::kVerdictNames[static_cast<std::size_t>(g.group.rule_reject)]},
         {"rule_drop", contract::kVerdictNames[static_cast<std::size_t>(g.group.rule_drop)]}});
  }
  const DetectionConfig& d = config_->detection;
  result["detection"] = {{"enabled", d.enabled},
                         {"window_seconds", d.window},
                         {"limit_threshold", d.limit_threshold},
                         {"block_threshold", d.block_threshold},
                         {"limit_rate", d.limit_rate},
                         {"limit_seconds", d.limit_duration},
                         {"block_seconds", d.block_duration},
                         {"acted_on", ladder_.acted_on_count()},
                         {"cap", ladder_.cap()}};
  return result;
}

json Controller::match_lists_json(const LoadedLists& loaded, std::size_t most_faults) {
  json all = json::array();
  std::size_t compiled = 0;
  for (const LoadedList& l : loaded.lists) {
    json j = {{"name", l.configured.name()},
              {"kind", kMatchKindNames[static_cast<std::size_t>(l.configured.kind)]},
              {"file", l.configured.file.string()},
              {"entries", l.list ? loaded.compiled->entries[compiled] : 0},
              {"lines", l.list ? l.list->lines : 0},
              {"bad_lines", l.list ? l.list->fault_count : 0},
              {"error", l.error},
              {"faults", json::array()}};
    if (l.list) {
      ++compiled;
      for (const MatchListFault& f : l.list->faults) {
        if (j["faults"].size() >= most_faults) break;
        j["faults"].push_back({{"line", f.line}, {"text", f.text}});
      }
    }
    all.push_back(std::move(j));
  }
  return all;
}

// Rules of files and those that lists are.
std::vector<const scan::RuleInfo*> Controller::all_rules() const {
  std::vector<const scan::RuleInfo*> all;
  for (const scan::RuleInfo& r : rules_->rules) all.push_back(&r);
  for (const lists::List& l : match_lists_.compiled->lists) all.push_back(&l.rule);
  return all;
}

json Controller::show_rules(const json& arguments) const {
  const std::size_t most = limit_of(arguments, 100);
  json result = {{"count", rules_->rules.size()},
                 {"refused", rules_->refused},
                 {"compile_seconds", rules_->compile_seconds},
                 {"files", json::array()},
                 {"rules", json::array()},
                 {"faults", json::array()}};
  for (const auto& f : config_->rule_files) result["files"].push_back(f.string());
  result["match_lists"] = match_lists_json(match_lists_, 20);
  constexpr const char* kActions[] = {"alert", "pass", "tempfail", "reject", "drop"};
  std::vector<std::pair<std::uint64_t, const scan::RuleInfo*>> ordered;
  for (const scan::RuleInfo* r : all_rules())
    ordered.emplace_back(traffic_.hits(r->gid, r->sid), r);
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  for (const auto& [hits, r] : ordered) {
    if (result["rules"].size() >= most) break;
    result["rules"].push_back({{"gid", r->gid},
                               {"sid", r->sid},
                               {"rev", r->revision},
                               {"name", r->name},
                               {"message", r->message},
                               {"category", r->category},
                               {"severity", r->severity},
                               {"action", kActions[static_cast<std::size_t>(r->action)]},
                               {"score", r->score / 100.0},
                               {"hits", hits}});
  }
  for (const RuleFault& f : rules_->faults) {
    if (result["faults"].size() >= most) break;
    result["faults"].push_back({{"file", f.file},
                                {"line", f.line},
                                {"rule", f.rule},
                                {"text", f.text},
                                {"fatal", f.fatal}});
  }
  return result;
}

json Controller::show_interfaces() const {
  json result = {{"interfaces", json::array()}};
  const auto add = [&](const std::string& wire, const char* side, const std::string& name) {
    if (name.empty()) return;
    json j = {{"wire", wire}, {"side", side}, {"name", name}};
    for (const auto& [index, state] : wires_) {
      if (wire != state.name) continue;
      j["link"] = (std::string_view(side) == "inside" ? state.inside_up : state.outside_up) != 0;
      j["driver"] = state.driver;
    }
    if (const auto kernel = kernel_->states().find(wire); kernel != kernel_->states().end()) {
      const KernelPort& p = kernel->second.ports[std::string_view(side) == "inside" ? 0 : 1];
      j["xdp"] = !kernel->second.open ? "absent"
                 : !p.attached        ? "detached"
                 : p.generic          ? "generic"
                                      : "native";
      if (kernel->second.open) {
        j["link"] = p.up && p.carrier;
        j["mtu"] = p.mtu;
        if (!p.driver.empty()) j["kernel_driver"] = p.driver;
      }
    }
    for (const char* counter :
         {"rx_packets", "rx_bytes", "rx_dropped", "tx_packets", "tx_bytes", "tx_dropped"}) {
      j[counter] = interface_counter(name, counter);
    }
    result["interfaces"].push_back(std::move(j));
  };
  for (std::size_t i = 0; i < eve_.wires.size(); ++i) {
    std::string inside = eve_.wires[i].inside;
    std::string outside = eve_.wires[i].outside;
    if (const auto k = kernel_->states().find(eve_.wires[i].name);
        k != kernel_->states().end() && k->second.open) {
      if (inside.empty()) inside = k->second.ports[0].name;
      if (outside.empty()) outside = k->second.ports[1].name;
    }
    add(eve_.wires[i].name, "inside", inside);
    add(eve_.wires[i].name, "outside", outside);
  }
  return result;
}

json Controller::show_wire(const std::string& name, const json& arguments) const {
  json result;
  for (const WireConfig& w : config_->wires) {
    if (w.name != name) continue;
    result["name"] = name;
    result["mode"] = w.mode == policy::Mode::enforce ? "enforce" : "monitor";
    result["failure"] = w.failure == policy::Exception::fail_closed ? "closed" : "open";
    result["inside"] = w.inside;
    result["outside"] = w.outside;
    result["description"] = w.description;
  }
  for (const auto& [index, state] : wires_) {
    if (name != state.name) continue;
    result["name"] = name;
    result["inside"] = state.inside;
    result["outside"] = state.outside;
    result["driver"] = state.driver;
    result["inside_up"] = state.inside_up != 0;
    result["outside_up"] = state.outside_up != 0;
    result["inspecting"] = state.inspecting != 0 && channel_->connected();
  }
  if (result.is_null()) return result;
  if (const auto k = kernel_->states().find(name); k != kernel_->states().end()) {
    json& kernel = result["kernel"];
    kernel["attached"] = k->second.open;
    if (!k->second.error.empty()) kernel["error"] = k->second.error;
    if (k->second.open) {
      kernel["dataplane_alive"] = k->second.alive;
      kernel["operator_bypass"] = k->second.bypass;
      kernel["list_entries"] = k->second.entries;
      kernel["frames"] = json::object();
      for (const KernelCounter& c : k->second.counters) {
        if (c.frames > 0) kernel["frames"][c.side][c.name] = c.frames;
      }
    }
  }
  const std::uint64_t last = arguments.value("last", std::uint64_t{3600});
  const WireMinute sum =
      traffic_.sum(name, std::min<std::uint64_t>(last, 86'400) * kSecond, monotonic_now());
  json& visibility = result["visibility"];
  visibility["last_seconds"] = std::min<std::uint64_t>(last, 86'400);
  std::uint64_t flows = 0;
  for (const std::uint64_t f : sum.flows) flows += f;
  for (std::size_t v = 0; v < 4; ++v) {
    visibility["kinds"].push_back(
        {{"visibility", contract::kVisibilityNames[v]},
         {"flows", sum.flows[v]},
         {"bytes", sum.octets[v]},
         {"share",
          flows == 0 ? 0.0 : static_cast<double>(sum.flows[v]) / static_cast<double>(flows)}});
  }
  visibility["messages"] = sum.messages;
  visibility["condemned"] = sum.condemned;
  visibility["blocked"] = sum.blocked;
  visibility["would_have"] = sum.would_have;
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

Result<json> Controller::explain_host(const std::string& text) const {
  const auto address = parse_address(text);
  if (!address) return Error{"'" + text + "': " + address.error()};
  json result = {{"host", to_text(ladder_.host_of(*address))}, {"address", to_text(*address)}};
  result["treatment"] = treatment_json(orders_.treatment(*address, ladder_));
  const InsidePrefix* inside = nullptr;
  for (const InsidePrefix& p : config_->inside) {
    if (contains(p.prefix, *address) &&
        (inside == nullptr || p.prefix.length > inside->prefix.length)) {
      inside = &p;
    }
  }
  if (inside != nullptr) {
    result["inside"] = {{"prefix", to_text(inside->prefix)},
                        {"role", kRoleNames[static_cast<std::size_t>(inside->role)]}};
  }
  const GroupSpec* group = &config_->groups.front();
  int longest = -1;
  for (const GroupSpec& g : config_->groups) {
    for (const Prefix& p : g.members) {
      if (p.length > longest && contains(p, *address)) {
        longest = p.length;
        group = &g;
      }
    }
  }
  result["group"] = group->group.name;
  if (const Standing* s = ladder_.find(*address); s != nullptr) {
    const Nanoseconds now = monotonic_now();
    json j = standing_json(*s);
    const Nanoseconds window = config_->detection.window * kSecond;
    std::size_t counted = 0;
    j["evidence"] = json::array();
    for (const Hit& h : s->hits) {
      const bool inside_window = now - h.at < window;
      counted += inside_window ? 1 : 0;
      if (h.why.empty()) continue;
      json hit = {{"timestamp", eve_timestamp(h.wall)},
                  {"flow_id", h.flow},
                  {"wire", h.wire},
                  {"why", h.why},
                  {"in_window", inside_window}};
      if (h.event != 0) hit["event"] = h.event;
      j["evidence"].push_back(std::move(hit));
    }
    j["condemned_in_window"] = counted;
    if (!s->arithmetic.empty()) j["last_change"] = s->arithmetic;
    const DetectionConfig& d = config_->detection;
    j["arithmetic"] = std::to_string(counted) + " condemned messages in the last " +
                      std::to_string(d.window) + " s; limit from " +
                      std::to_string(d.limit_threshold) + ", block from " +
                      std::to_string(d.block_threshold);
    result["standing"] = std::move(j);
  }
  result["events"] = json::array();
  const std::string needle = "\"src_ip\":\"" + to_text(*address) + "\"";
  const auto& all = recent_.all();
  for (auto e = all.rbegin(); e != all.rend() && result["events"].size() < 20; ++e) {
    if (e->line.find(needle) == std::string::npos) continue;
    if (e->type == "flow" || e->type == "fileinfo") continue;
    result["events"].push_back({{"id", e->id}, {"event", json::parse(e->line, nullptr, false)}});
  }
  return result;
}

Result<json> Controller::explain_flow(const std::string& text) const {
  if (text.empty() || text.size() > 20 || text.find_first_not_of("0123456789") != text.npos) {
    return Error{"'" + text.substr(0, 40) + "': a flow is named by its flow_id, a number"};
  }
  const std::uint64_t flow = std::strtoull(text.c_str(), nullptr, 10);
  json result = {{"flow_id", flow}, {"events", json::array()}};
  for (const RecentEvent& e : recent_.all()) {
    if (e.flow != flow || flow == 0) continue;
    if (result["events"].size() >= 500) break;
    result["events"].push_back({{"id", e.id}, {"event", json::parse(e.line, nullptr, false)}});
  }
  if (result["events"].empty()) {
    return Error{"no event of flow " + text + " among the last " +
                 std::to_string(recent_.all().size()) + " events"};
  }
  return result;
}

Result<json> Controller::explain_event(const std::string& text) const {
  if (text.empty() || text.size() > 20 || text.find_first_not_of("0123456789") != text.npos) {
    return Error{"'" + text.substr(0, 40) + "': an event is named by its number in 'show events'"};
  }
  const RecentEvent* e = recent_.find(std::strtoull(text.c_str(), nullptr, 10));
  if (e == nullptr) return Error{"event " + text + " is not among those kept"};
  json result = {{"id", e->id}, {"event", json::parse(e->line, nullptr, false)}};
  const json& event = result["event"];
  json& rules = result["rules"] = json::array();
  if (event.is_object() && event.contains("alert") && event["alert"].is_object()) {
    const auto gid = event["alert"].value("gid", std::uint64_t{1});
    const auto sid = event["alert"].value("signature_id", std::uint64_t{0});
    for (const scan::RuleInfo* r : all_rules()) {
      if (r->gid == gid && r->sid == sid) {
        rules.push_back({{"name", r->name}, {"message", r->message}, {"score", r->score / 100.0}});
      }
    }
  }
  if (event.is_object() && event.contains("sluice") && event["sluice"].is_object()) {
    for (const json& name : event["sluice"].value("rules", json::array())) {
      for (const scan::RuleInfo* r : all_rules()) {
        if (name.is_string() && r->name == name.get<std::string>()) {
          rules.push_back(
              {{"name", r->name}, {"message", r->message}, {"score", r->score / 100.0}});
        }
      }
    }
  }
  if (const std::string source = event.is_object() ? event.value("src_ip", "") : "";
      !source.empty()) {
    if (const auto address = parse_address(source); address) {
      result["treatment_now"] = treatment_json(orders_.treatment(*address, ladder_));
    }
  }
  return result;
}

// ---- statistics and the self-test ----

std::vector<Metric> Controller::metrics() const {
  std::vector<Metric> all = dataplane_metrics(channel_->statistics(), monotonic_now());
  for (const auto& [wire, state] : kernel_->states()) {
    if (!state.open) continue;
    for (const KernelCounter& c : state.counters) {
      if (c.kind == "drop") continue;
      all.push_back({"sluice_kernel_frames_total",
                     "frames in the kernel, by decision",
                     true,
                     {{"wire", wire}, {"side", c.side}, {"kind", c.kind}, {"decision", c.name}},
                     static_cast<double>(c.frames)});
    }
  }
  for (const auto& [wire, state] : kernel_->states()) {
    if (!state.open) continue;
    for (const KernelCounter& c : state.counters) {
      if (c.kind != "drop") continue;
      all.push_back({"sluice_kernel_frames_dropped_total",
                     "frames that the kernel did not forward",
                     true,
                     {{"wire", wire}, {"side", c.side}, {"reason", c.name}},
                     static_cast<double>(c.frames)});
    }
  }
  const auto gauge = [&all](const char* name, const char* help, double value) {
    all.push_back({name, help, false, {}, value});
  };
  const auto counter = [&all](const char* name, const char* help, std::uint64_t value) {
    all.push_back({name, help, true, {}, static_cast<double>(value)});
  };
  for (const auto& [wire, state] : kernel_->states()) {
    all.push_back({"sluice_kernel_list_entries",
                   "entries of the block lists in the kernel",
                   false,
                   {{"wire", wire}},
                   static_cast<double>(state.entries)});
  }
  for (const auto& [type, count] : events_by_type_) {
    all.push_back({"sluice_events_written_total",
                   "events by type",
                   true,
                   {{"event_type", type}},
                   static_cast<double>(count)});
  }
  gauge("sluice_dataplane_connected", "1: the dataplane is connected",
        channel_->connected() ? 1 : 0);
  counter("sluice_rings_lost_total", "events lost in the dataplane's rings, seen by control",
          channel_->events_lost());
  counter("sluice_rings_corrupt_total", "event rings found corrupt", channel_->rings_corrupt());
  counter("sluice_event_lines_dropped_total", "event lines dropped because the disk did not follow",
          log_ ? log_->dropped() : 0);
  counter("sluice_event_lines_written_total", "event lines written", log_ ? log_->written() : 0);
  gauge("sluice_event_lines_waiting", "event lines that wait for the disk",
        log_ ? static_cast<double>(log_->waiting()) : 0);
  counter("sluice_events_unpushed_total", "events not sent to a slow listener", slow_listeners_);
  counter("sluice_store_errors_total", "writes of the state that failed", store_errors_);
  counter("sluice_host_changes_total", "changes of hosts' standings and orders", host_changes_);
  gauge("sluice_hosts", "hosts remembered", static_cast<double>(ladder_.hosts()));
  gauge("sluice_hosts_acted_on", "hosts that detection acts on",
        static_cast<double>(ladder_.acted_on_count()));
  gauge("sluice_hosts_acted_on_cap", "hosts that detection may act on at once",
        static_cast<double>(ladder_.cap()));
  counter("sluice_hosts_forgotten_total", "hosts forgotten because the table was full",
          ladder_.forgotten());
  counter("sluice_policies_adopted_total", "policy images adopted", publisher_->adoptions());
  counter("sluice_policies_refused_total", "policy images refused", publisher_->refusals());
  gauge("sluice_policy_adoption_seconds", "time of the last adoption in the dataplane",
        static_cast<double>(publisher_->last_adoption_nanoseconds()) / 1e9);
  gauge("sluice_rules", "rules in force", static_cast<double>(rules_->rules.size()));
  gauge("sluice_rules_refused", "rules refused", static_cast<double>(rules_->refused));
  return all;
}

json Controller::show_stats(const json& arguments) const {
  const std::vector<Metric> all = metrics();
  if (arguments.value("metrics", false)) return {{"text", prometheus_text(all)}};
  return {{"stats", stats_object(all)}};
}

void Controller::emit_stats() {
  if (rules_ && log_) record("stats", stats_event(stats_object(metrics()), stamp()));
  loop_.at(monotonic_now() + config_->events.statistics_interval * kSecond,
           [this] { emit_stats(); });
}

json Controller::self_test() const {
  json checks = json::array();
  bool good = true;
  const auto check = [&](const std::string& name, bool pass, const std::string& detail) {
    good = good && pass;
    checks.push_back({{"check", name}, {"pass", pass}, {"detail", detail}});
  };
  const Nanoseconds now = monotonic_now();
  check("dataplane connected", channel_->connected(),
        channel_->connected() ? "process " + std::to_string(channel_->hello().process)
                              : channel_->last_reason());
  if (channel_->connected()) {
    std::uint64_t oldest = UINT64_MAX;
    for (const auto* w : channel_->statistics()) {
      oldest = std::min(oldest, w->read(contract::Gauge::heartbeat_nanoseconds));
    }
    const double age = oldest > now ? 0 : static_cast<double>(now - oldest) / 1e9;
    char text[64];
    std::snprintf(text, sizeof text, "oldest heartbeat %.3f s ago", age);
    check("workers alive", age < 1.0, text);
    check("policy in force",
          publisher_->idle() && publisher_->adopted_epoch() != 0 &&
              publisher_->last_refusal().empty(),
          publisher_->last_refusal().empty()
              ? "epoch " + std::to_string(publisher_->adopted_epoch())
              : publisher_->last_refusal());
  }
  for (const WireConfig& w : config_->wires) {
    const auto kernel = kernel_->states().find(w.name);
    const bool open = kernel != kernel_->states().end() && kernel->second.open;
    check("wire " + w.name + " in the kernel", open,
          open ? std::to_string(kernel->second.entries) + " list entries"
          : kernel != kernel_->states().end() ? kernel->second.error
                                              : "not looked at yet");
    if (open) {
      const KernelState& k = kernel->second;
      const bool ports = k.ports[0].attached && k.ports[1].attached && k.ports[0].up &&
                         k.ports[1].up && k.ports[0].carrier && k.ports[1].carrier;
      check("wire " + w.name + " ports", ports,
            k.ports[0].name + (k.ports[0].carrier ? " up, " : " down, ") + k.ports[1].name +
                (k.ports[1].carrier ? " up" : " down"));
      check("wire " + w.name + " inspected", k.alive && !k.bypass,
            k.bypass  ? "operator bypass"
            : k.alive ? "heartbeats fresh"
                      : "heartbeats stale");
    }
  }
  check("events not lost", channel_->events_lost() == 0 && (!log_ || log_->dropped() == 0),
        std::to_string(channel_->events_lost()) + " in rings, " +
            std::to_string(log_ ? log_->dropped() : 0) + " at the disk");
  const std::string log_error = log_ ? log_->error() : std::string{};
  check("event log writable", log_error.empty(), log_error.empty() ? "ok" : log_error);
  check("state writable", store_errors_ == 0, store_error_.empty() ? "ok" : store_error_);
  check("rules", rules_->refused == 0,
        std::to_string(rules_->rules.size()) + " in force, " + std::to_string(rules_->refused) +
            " refused");
  for (const auto& [name, state] : list_states_) {
    check("prefix list " + name, state.error.empty() && state.fault_count == 0,
          state.error.empty() ? std::to_string(state.prefixes) + " prefixes, " +
                                    std::to_string(state.fault_count) + " bad lines"
                              : state.error);
  }
  for (const LoadedList& l : match_lists_.lists) {
    const std::size_t bad = l.list ? l.list->fault_count : 0;
    check("match list " + l.configured.name(), l.error.empty() && bad == 0,
          l.error.empty() ? std::to_string(l.list ? l.list->entries : 0) + " entries, " +
                                std::to_string(bad) + " bad lines"
                          : l.error);
  }
  return {{"good", good}, {"checks", std::move(checks)}};
}

}  // namespace sluice::control
