#include "control/daemon/control_events.h"

#include "control/events/eve.h"
#include "control/identity/prefix.h"

namespace sluice::control {
namespace {

using nlohmann::json;

json begin(const char* type, const EventStamp& stamp) {
  json root = {{"timestamp", eve_timestamp(stamp.wall)}, {"event_type", type}};
  if (!stamp.host.empty()) root["host"] = stamp.host;
  return root;
}

std::string end_text(Nanoseconds until, const EventStamp& stamp) {
  if (until == 0) return {};
  return eve_timestamp(until > stamp.monotonic ? stamp.wall + (until - stamp.monotonic)
                                               : stamp.wall);
}

const char* action_name(Level level) {
  switch (level) {
    case Level::limit:
      return "limit";
    case Level::block:
      return "block";
    case Level::clean:
      break;
  }
  return "release";
}

}  // namespace

std::string json_line(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string entity_event(const Change& change, const EventStamp& stamp) {
  json root = begin("entity", stamp);
  if (change.host.length == 128) root["src_ip"] = to_text(change.host.address);
  json& e = root["entity"];
  e["id"] = to_text(change.host);
  e["kind"] = "host";
  e["from"] = kLevelNames[static_cast<std::size_t>(change.from)];
  e["to"] = change.held_back == HeldBack::no ? kLevelNames[static_cast<std::size_t>(change.to)]
                                             : kLevelNames[static_cast<std::size_t>(change.from)];
  e["action"] = change.held_back == HeldBack::no ? action_name(change.to) : "none";
  if (change.held_back != HeldBack::no) {
    e["would_have"] = action_name(change.to);
    e["reason"] = kHeldBackNames[static_cast<std::size_t>(change.held_back)];
  }
  if (const std::string until = end_text(change.until, stamp); !until.empty()) e["until"] = until;
  e["arithmetic"] = change.arithmetic;
  e["evidence"] = json::array();
  for (const Hit& h : change.evidence) {
    json hit = {
        {"timestamp", eve_timestamp(h.wall)}, {"flow_id", h.flow}, {"why", printable(h.why)}};
    if (h.event != 0) hit["event"] = h.event;
    e["evidence"].push_back(std::move(hit));
  }
  if (!change.wire.empty()) root["sluice"]["wire"] = printable(change.wire);
  return json_line(root);
}

std::string order_event(const Order& order, const std::string& what, bool would_have,
                        const EventStamp& stamp) {
  json root = begin("entity", stamp);
  if (order.prefix.length == 128) root["src_ip"] = to_text(order.prefix.address);
  json& e = root["entity"];
  const std::string action(kHostActionNames[static_cast<std::size_t>(order.action)]);
  const bool ends = what == "release" || what == "expired";
  e["id"] = to_text(order.prefix);
  e["kind"] = order.prefix.length == 128 ? "host" : "prefix";
  e["from"] = ends ? action : "none";
  e["to"] = ends ? "none" : action;
  e["action"] = would_have ? "none" : ends ? "release" : action;
  if (would_have) {
    e["would_have"] = ends ? "release" : action;
    e["reason"] = "monitor mode";
  }
  if (!ends) {
    if (const std::string until = end_text(order.until, stamp); !until.empty()) e["until"] = until;
  }
  e["evidence"] = json::array();
  e["operator"] = printable(order.who);
  // One text in the event, as the ticket system and people look for it.
  if (const std::string& ticket = order.ticket.empty() ? order.comment : order.ticket;
      !ticket.empty()) {
    e["ticket"] = printable(ticket);
  }
  if (!order.comment.empty()) e["comment"] = printable(order.comment);
  return json_line(root);
}

std::string audit_event(const std::string& who, const std::string& from, const std::string& what,
                        const std::string& comment, const EventStamp& stamp) {
  json root = begin("audit", stamp);
  root["audit"] = {{"who", printable(who)},
                   {"from", printable(from)},
                   {"what", printable(what)},
                   {"comment", printable(comment)}};
  return json_line(root);
}

std::string wire_event(const std::string& name, const std::string& state, const std::string& reason,
                       const EventStamp& stamp) {
  json root = begin("wire", stamp);
  root["wire"] = {{"name", printable(name)}, {"state", state}, {"reason", printable(reason)}};
  return json_line(root);
}

std::string stats_event(const json& stats, const EventStamp& stamp) {
  json root = begin("stats", stamp);
  root["stats"] = stats;
  return json_line(root);
}

}  // namespace sluice::control
