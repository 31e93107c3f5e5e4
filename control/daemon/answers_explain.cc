// Why something is as it is.
#include "control/daemon/controller.h"
#include "control/daemon/request_values.h"
#include "control/identity/prefix.h"

namespace sluice::control {

using nlohmann::json;

const InsidePrefix* Controller::inside_of(const Address& address) const {
  const InsidePrefix* inside = nullptr;
  for (const InsidePrefix& p : config_->inside) {
    if (contains(p.prefix, address) &&
        (inside == nullptr || p.prefix.length > inside->prefix.length)) {
      inside = &p;
    }
  }
  return inside;
}

std::pair<const GroupSpec*, Prefix> Controller::group_of(const Address& address) const {
  std::pair<const GroupSpec*, Prefix> found{&config_->groups.front(), {{}, 255}};
  int longest = -1;
  for (const GroupSpec& g : config_->groups) {
    for (const Prefix& p : g.members) {
      if (p.length > longest && contains(p, address)) {
        longest = p.length;
        found = {&g, p};
      }
    }
  }
  return found;
}

Result<json> Controller::explain_host(const std::string& text) const {
  const auto address = parse_address(text);
  if (!address) return Error{"'" + text + "': " + address.error()};
  json result = {{"host", to_text(ladder_.host_of(*address))}, {"address", to_text(*address)}};
  result["treatment"] = treatment_json(orders_.treatment(*address, ladder_));
  const InsidePrefix* inside = inside_of(*address);
  if (inside != nullptr) {
    result["inside"] = {{"prefix", to_text(inside->prefix)},
                        {"role", kRoleNames[static_cast<std::size_t>(inside->role)]}};
  }
  result["group"] = group_of(*address).first->group.name;
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

}  // namespace sluice::control
