// The events that control itself makes, as EVE JSON lines: entity, audit, stats, wire. Text in them
// comes from operators and from the wire; whatever it holds, each is one valid line. Pure.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "control/detect/ladder.h"
#include "control/detect/orders.h"

namespace sluice::control {

struct EventStamp {
  std::uint64_t wall = 0;  // ns since the Unix epoch
  std::string host;        // the sensor's name
  Nanoseconds monotonic = 0;
};

// A step of the ladder, done or held back.
std::string entity_event(const Change& change, const EventStamp& stamp);
// An operator's order given, ended or taken back; `what` is the action or "release", "expired".
std::string order_event(const Order& order, const std::string& what, bool would_have,
                        const EventStamp& stamp);
std::string audit_event(const std::string& who, const std::string& from, const std::string& what,
                        const std::string& comment, const EventStamp& stamp);
std::string wire_event(const std::string& name, const std::string& state, const std::string& reason,
                       const EventStamp& stamp);
std::string stats_event(const nlohmann::json& stats, const EventStamp& stamp);

// One line, whatever octets are in its strings.
std::string json_line(const nlohmann::json& object);

}  // namespace sluice::control
