// What passes: interfaces, wires, counters.
#include <algorithm>
#include <fstream>

#include "control/daemon/controller.h"
#include "control/daemon/request_values.h"
#include "control/identity/prefix.h"

namespace sluice::control {

using nlohmann::json;

namespace {

std::uint64_t interface_counter(const std::string& interface, const char* name) {
  std::uint64_t value = 0;
  std::ifstream("/sys/class/net/" + interface + "/statistics/" + name) >> value;
  return value;
}

// What was seen of flows that ended, and of messages.
json visibility_json(const WireMinute& sum) {
  json j = {{"kinds", json::array()}};
  std::uint64_t flows = 0;
  for (const std::uint64_t f : sum.flows) flows += f;
  for (std::size_t v = 0; v < 4; ++v) {
    j["kinds"].push_back(
        {{"visibility", contract::kVisibilityNames[v]},
         {"flows", sum.flows[v]},
         {"bytes", sum.octets[v]},
         {"share",
          flows == 0 ? 0.0 : static_cast<double>(sum.flows[v]) / static_cast<double>(flows)}});
  }
  j["flows"] = flows;
  j["messages"] = sum.messages;
  j["condemned"] = sum.condemned;
  j["blocked"] = sum.blocked;
  j["would_have"] = sum.would_have;
  return j;
}

}  // namespace

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
      j["xdp"] = kernel->second.open ? p.xdp() : "absent";
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
      kernel["xdp"] = {{"inside", k->second.ports[0].xdp()}, {"outside", k->second.ports[1].xdp()}};
      kernel["dataplane_alive"] = k->second.alive;
      kernel["operator_bypass"] = k->second.bypass;
      kernel["list_entries"] = k->second.entries;
      kernel["frames"] = json::object();
      for (const KernelCounter& c : k->second.counters) {
        if (c.frames > 0) kernel["frames"][c.side][c.name] = c.frames;
      }
    }
  }
  constexpr std::uint64_t kDay = 86'400;
  const std::uint64_t last =
      std::clamp<std::uint64_t>(arguments.value("last", std::uint64_t{3600}), 60, kDay);
  // Twelve rows or so, unless told otherwise; whole minutes.
  std::uint64_t interval = arguments.value("interval", (last / 12 + 59) / 60 * 60);
  interval = std::clamp<std::uint64_t>(interval / 60 * 60, 60, kDay);
  const Nanoseconds now = monotonic_now();
  json& visibility = result["visibility"];
  visibility = visibility_json(traffic_.sum(name, last * kSecond, now));
  visibility["last_seconds"] = last;
  visibility["interval_seconds"] = interval;
  visibility["intervals"] = json::array();
  const std::uint64_t wall_minute = wall_now() / (60 * kSecond);
  const auto rows = traffic_.intervals(name, last * kSecond, interval * kSecond, now);
  for (const WireMinute& row : rows) {
    json j = visibility_json(row);
    const std::uint64_t ago = TrafficView::minute_of(now) - row.minute;
    if (ago <= wall_minute) j["begin"] = eve_timestamp((wall_minute - ago) * 60 * kSecond);
    visibility["intervals"].push_back(std::move(j));
  }
  return result;
}

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

}  // namespace sluice::control
