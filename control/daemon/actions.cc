// What operators order for hosts, and listening to events.
#include <spdlog/spdlog.h>

#include "control/daemon/controller.h"
#include "control/identity/prefix.h"

namespace sluice::control {

void Controller::host_order(ClientId client, const Peer& peer, const json& arguments) {
  const std::string text = arguments.value("prefix", std::string{});
  const auto parsed = parse_prefix(text);
  if (!parsed) return fail(client, "'" + text + "': " + parsed.error());
  const std::string action = arguments.value("action", std::string{});
  const auto* found = std::find(std::begin(kHostActionNames), std::end(kHostActionNames), action);
  if (found == std::end(kHostActionNames)) return fail(client, "'" + action + "': no such action");
  Order o;
  o.prefix = parsed->prefix;
  o.action = static_cast<policy::HostAction>(found - std::begin(kHostActionNames));
  const bool everything = o.prefix.length == 0 || (is_v4(o.prefix) && o.prefix.length == 96);
  if (everything && !arguments.value("force", false)) {
    return fail(client, to_text(o.prefix) + " holds every address; --force if that is meant");
  }
  constexpr std::uint64_t kMostSeconds = 10ull * 366 * 86'400;
  const std::uint64_t seconds = arguments.value("seconds", std::uint64_t{0});
  if (seconds > kMostSeconds) return fail(client, "longer than ten years");
  const std::uint64_t rate = arguments.value("rate", std::uint64_t{config_->detection.limit_rate});
  const std::uint64_t burst =
      arguments.value("burst", std::uint64_t{config_->detection.limit_burst});
  if (rate < 1 || rate > 1'000'000)
    return fail(client, "the rate is not from 1 to 1000000 an hour");
  if (burst < 1 || burst > 100'000) return fail(client, "the burst is not from 1 to 100000");
  o.rate_per_hour = static_cast<std::uint32_t>(rate);
  o.burst = static_cast<std::uint32_t>(burst);
  const StoreClock clock = store_clock();
  o.created = clock.wall;
  if (seconds != 0) {
    o.until = clock.monotonic + seconds * kSecond;
    o.until_wall = clock.wall + seconds * kSecond;
  }
  o.who = peer.user;
  o.comment = arguments.value("comment", std::string{}).substr(0, 1000);
  o.ticket = arguments.value("ticket", std::string{}).substr(0, 200);

  orders_.put(o);
  next_order_end_ = orders_.next_deadline();
  ++host_changes_;
  allowed_changed();
  schedule_publish();
  std::string what = "host " + action + " " + to_text(o.prefix);
  if (o.action == policy::HostAction::limit) what += " " + std::to_string(rate) + "/h";
  if (seconds != 0) what += " for " + std::to_string(seconds) + " s";
  if (!o.ticket.empty()) what += " ticket " + o.ticket;
  audit(peer, what, o.comment);
  record("entity", order_event(o, action, !any_wire_enforces(), stamp()));

  json result = order_json(o);
  result["monitor_wires"] = json::array();
  for (const WireConfig& w : config_->wires) {
    if (w.mode == policy::Mode::monitor) result["monitor_wires"].push_back(w.name);
  }
  result["enforced"] = any_wire_enforces();
  if (parsed->had_host_bits) result["masked"] = true;
  // Answered when it is on the disk: what an operator was told outlives a power cut.
  auto error = std::make_shared<std::string>();
  disk_->run(
      [this, o, clock, error] {
        if (const Status s = store_->put_order(o, clock); !s) *error = s.error();
      },
      [this, client, error, result]() mutable {
        if (!error->empty()) result["not_written"] = *error;
        succeed(client, std::move(result), !error->empty());
      });
}

void Controller::host_release(ClientId client, const Peer& peer, const json& arguments) {
  const std::string text = arguments.value("prefix", std::string{});
  const auto parsed = parse_prefix(text);
  if (!parsed) return fail(client, "'" + text + "': " + parsed.error());
  const Prefix prefix = parsed->prefix;
  json result = {{"prefix", to_text(prefix)}, {"released", json::array()}};
  const std::string comment = arguments.value("comment", std::string{}).substr(0, 1000);
  const std::string ticket = arguments.value("ticket", std::string{}).substr(0, 200);
  if (const Order* found = orders_.find(prefix); found != nullptr) {
    Order o = *found;
    orders_.remove(prefix);
    result["released"].push_back("order " +
                                 std::string(kHostActionNames[static_cast<std::size_t>(o.action)]));
    o.who = peer.user;
    o.comment = comment;
    o.ticket = ticket;
    record("entity", order_event(o, "release", !any_wire_enforces(), stamp()));
  }
  const std::vector<Change> changes = ladder_.release(prefix, stamp().wall);
  for (const Change& c : changes) {
    result["released"].push_back("detection " + to_text(c.host) + " " +
                                 std::string(kLevelNames[static_cast<std::size_t>(c.from)]));
  }
  take(changes);
  next_order_end_ = orders_.next_deadline();
  allowed_changed();
  schedule_publish();
  ++host_changes_;
  audit(peer,
        "host release " + to_text(prefix) + (ticket.empty() ? std::string{} : " ticket " + ticket),
        comment);
  const Treatment left = orders_.treatment(prefix.address, ladder_);
  if (left.any) result["still"] = treatment_json(left);
  auto error = std::make_shared<std::string>();
  disk_->run(
      [this, prefix, error] {
        if (const Status s = store_->remove_order(prefix); !s) *error = s.error();
      },
      [this, client, error, result]() mutable {
        if (!error->empty()) result["not_written"] = *error;
        succeed(client, std::move(result), !error->empty());
      });
}

void Controller::monitor(ClientId client, const json& arguments) {
  Listener listener;
  if (const auto filters = arguments.find("filters");
      filters != arguments.end() && filters->is_object()) {
    for (const auto& [path, text] : filters->items()) {
      if (!text.is_string() || listener.filters.size() >= 16) {
        return fail(client, "a filter is not a text, or there are more than 16");
      }
      listener.filters.emplace_back(path, text.get<std::string>());
    }
  }
  api_->keep_open(client);
  api_->push(client, "{\"ok\":true}");
  listeners_[client] = std::move(listener);
}

namespace {

bool value_matches(const nlohmann::json& value, const std::string& pattern, int depth) {
  if (depth > 8) return false;
  if (value.is_array()) {
    return std::any_of(value.begin(), value.end(), [&](const nlohmann::json& v) {
      return value_matches(v, pattern, depth + 1);
    });
  }
  if (value.is_object()) return false;
  return glob(pattern, value.is_string() ? value.get<std::string>() : value.dump());
}

}  // namespace

bool matches(const nlohmann::json& event,
             const std::vector<std::pair<std::string, std::string>>& filters) {
  return std::all_of(filters.begin(), filters.end(), [&event](const auto& filter) {
    const auto& [path, pattern] = filter;
    const nlohmann::json* at = &event;
    std::string_view rest = path;
    while (!rest.empty()) {
      const std::size_t dot = rest.find('.');
      const std::string key(rest.substr(0, dot));
      rest = dot == std::string_view::npos ? std::string_view{} : rest.substr(dot + 1);
      if (!at->is_object()) return false;
      const auto found = at->find(key);
      if (found == at->end()) return false;
      at = &*found;
    }
    return value_matches(*at, pattern, 0);
  });
}

}  // namespace sluice::control
