#include "control/daemon/traffic_view.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sluice::control {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxWires = 256;

void add(WireMinute& to, const WireMinute& m) {
  for (std::size_t v = 0; v < 4; ++v) {
    to.flows[v] += m.flows[v];
    to.octets[v] += m.octets[v];
  }
  to.messages += m.messages;
  to.condemned += m.condemned;
  to.blocked += m.blocked;
  to.would_have += m.would_have;
}

std::uint64_t number(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

}  // namespace

std::deque<WireMinute>& TrafficView::minutes_of(const std::string& wire) {
  // Names come from the dataplane; a fault there must not grow us without bound.
  static const std::string kOthers = "(others)";
  const bool known = wires_.contains(wire) || wires_.size() < kMaxWires;
  return wires_[known ? wire : kOthers];
}

WireMinute& TrafficView::current(const std::string& wire, Nanoseconds now) {
  std::deque<WireMinute>& minutes = minutes_of(wire);
  const std::uint64_t minute = minute_of(now);
  if (minutes.empty() || minutes.back().minute != minute) {
    minutes.emplace_back().minute = minute;
    if (minutes.size() > kMinutes) minutes.pop_front();
  }
  return minutes.back();
}

void TrafficView::flow(const std::string& wire, contract::Visibility visibility,
                       std::uint64_t octets, Nanoseconds now) {
  const auto v = static_cast<std::size_t>(visibility);
  if (v >= 4) return;
  WireMinute& m = current(wire, now);
  ++m.flows[v];
  m.octets[v] += octets;
}

void TrafficView::message(const std::string& wire, bool condemned, bool enforced, Nanoseconds now) {
  WireMinute& m = current(wire, now);
  ++m.messages;
  if (!condemned) return;
  ++m.condemned;
  ++(enforced ? m.blocked : m.would_have);
}

void TrafficView::alert(std::uint32_t gid, std::uint32_t sid) {
  const auto key = std::pair(gid, sid);
  if (hits_.size() >= kMaxRules && !hits_.contains(key)) return;
  ++hits_[key];
  changed_hits_.insert(key);
}

WireMinute TrafficView::sum(const std::string& wire, Nanoseconds span, Nanoseconds now) const {
  WireMinute total;
  const auto found = wires_.find(wire);
  if (found == wires_.end()) return total;
  const std::uint64_t first = minute_of(now) - std::min(span / (60 * kSecond), kMinutes);
  for (const WireMinute& m : found->second) {
    if (m.minute >= first) add(total, m);
  }
  return total;
}

std::vector<WireMinute> TrafficView::intervals(const std::string& wire, Nanoseconds span,
                                               Nanoseconds interval, Nanoseconds now) const {
  const std::uint64_t step = std::clamp<std::uint64_t>(interval / (60 * kSecond), 1, kMinutes);
  const std::uint64_t minutes =
      std::clamp<std::uint64_t>((span + 60 * kSecond - 1) / (60 * kSecond), 1, kMinutes);
  const std::uint64_t rows = (minutes + step - 1) / step;
  // The last row ends with the minute that runs.
  const std::uint64_t first = minute_of(now) + 1 - rows * step;
  std::vector<WireMinute> all(rows);
  for (std::uint64_t i = 0; i < rows; ++i) all[i].minute = first + i * step;
  const auto found = wires_.find(wire);
  if (found == wires_.end()) return all;
  for (const WireMinute& m : found->second) {
    if (m.minute >= first && m.minute < first + rows * step) add(all[(m.minute - first) / step], m);
  }
  return all;
}

std::uint64_t TrafficView::hits(std::uint32_t gid, std::uint32_t sid) const {
  const auto found = hits_.find({gid, sid});
  return found == hits_.end() ? 0 : found->second;
}

std::vector<StoredMinute> TrafficView::changed_minutes(Nanoseconds now, std::uint64_t wall) {
  std::vector<StoredMinute> out;
  const std::uint64_t wall_minute = wall / (60 * kSecond);
  const std::uint64_t this_minute = minute_of(now);
  for (const auto& [wire, minutes] : wires_) {
    std::uint64_t& told = stored_[wire];
    for (const WireMinute& m : minutes) {
      // The minute told last may have grown since.
      if (m.minute < told || this_minute - m.minute > wall_minute) continue;
      const json body = {{"flows", m.flows},       {"octets", m.octets},
                         {"messages", m.messages}, {"condemned", m.condemned},
                         {"blocked", m.blocked},   {"would_have", m.would_have}};
      out.push_back({wire, wall_minute - (this_minute - m.minute), body.dump()});
    }
    if (!minutes.empty()) told = minutes.back().minute;
  }
  return out;
}

std::vector<StoredHits> TrafficView::changed_hits() {
  std::vector<StoredHits> out;
  for (const auto& key : changed_hits_) out.push_back({key.first, key.second, hits_[key]});
  changed_hits_.clear();
  return out;
}

void TrafficView::restore(const StoredMinute& stored, Nanoseconds now, std::uint64_t wall) {
  const std::uint64_t wall_minute = wall / (60 * kSecond);
  if (stored.minute > wall_minute || wall_minute - stored.minute >= kMinutes) return;
  const json body = json::parse(stored.body, nullptr, false);
  if (!body.is_object()) return;
  WireMinute m;
  m.minute = minute_of(now) - (wall_minute - stored.minute);
  const auto four = [&body](const char* key, std::array<std::uint64_t, 4>& out) {
    const auto found = body.find(key);
    if (found == body.end() || !found->is_array()) return;
    for (std::size_t i = 0; i < std::min<std::size_t>(found->size(), 4); ++i) {
      if ((*found)[i].is_number_unsigned()) out[i] = (*found)[i].get<std::uint64_t>();
    }
  };
  four("flows", m.flows);
  four("octets", m.octets);
  m.messages = number(body, "messages");
  m.condemned = number(body, "condemned");
  m.blocked = number(body, "blocked");
  m.would_have = number(body, "would_have");
  std::deque<WireMinute>& minutes = minutes_of(stored.wire);
  const auto at =
      std::lower_bound(minutes.begin(), minutes.end(), m.minute,
                       [](const WireMinute& a, std::uint64_t b) { return a.minute < b; });
  if (at != minutes.end() && at->minute == m.minute) {
    add(*at, m);
  } else {
    minutes.insert(at, m);
  }
}

void TrafficView::restore(const StoredHits& stored) {
  if (hits_.size() < kMaxRules) hits_[{stored.gid, stored.sid}] += stored.hits;
}

}  // namespace sluice::control
