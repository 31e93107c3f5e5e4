#include "control/daemon/traffic_view.h"

namespace sluice::control {
namespace {
constexpr std::size_t kMaxWires = 256;
}

WireMinute& TrafficView::current(const std::string& wire, Nanoseconds now) {
  // Names come from the dataplane; a fault there must not grow us without bound.
  static const std::string kOthers = "(others)";
  const bool known = wires_.contains(wire) || wires_.size() < kMaxWires;
  std::deque<WireMinute>& minutes = wires_[known ? wire : kOthers];
  const std::uint64_t minute = now / (60 * kSecond);
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
  if (hits_.size() < kMaxRules || hits_.contains(key)) ++hits_[key];
}

WireMinute TrafficView::sum(const std::string& wire, Nanoseconds span, Nanoseconds now) const {
  WireMinute total;
  const auto found = wires_.find(wire);
  if (found == wires_.end()) return total;
  const std::uint64_t first = now > span ? (now - span) / (60 * kSecond) : 0;
  for (const WireMinute& m : found->second) {
    if (m.minute < first) continue;
    for (std::size_t v = 0; v < 4; ++v) {
      total.flows[v] += m.flows[v];
      total.octets[v] += m.octets[v];
    }
    total.messages += m.messages;
    total.condemned += m.condemned;
    total.blocked += m.blocked;
    total.would_have += m.would_have;
  }
  return total;
}

std::uint64_t TrafficView::hits(std::uint32_t gid, std::uint32_t sid) const {
  const auto found = hits_.find({gid, sid});
  return found == hits_.end() ? 0 : found->second;
}

}  // namespace sluice::control
