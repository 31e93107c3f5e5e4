// What passed, counted from events: by wire and visibility, by rule, and what would have been done.
// Bounded: minutes of the last day for each wire, a counter for each rule. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "dataplane/base/bytes.h"
#include "dataplane/contract/event_record.h"

namespace sluice::control {

struct WireMinute {
  std::uint64_t minute = 0;              // monotonic
  std::array<std::uint64_t, 4> flows{};  // by contract::Visibility
  std::array<std::uint64_t, 4> octets{};
  std::uint64_t messages = 0;
  std::uint64_t condemned = 0;
  std::uint64_t blocked = 0;
  std::uint64_t would_have = 0;
};

class TrafficView {
 public:
  void flow(const std::string& wire, contract::Visibility visibility, std::uint64_t octets,
            Nanoseconds now);
  void message(const std::string& wire, bool condemned, bool enforced, Nanoseconds now);
  void alert(std::uint32_t gid, std::uint32_t sid);
  // Counts of the last `span` for one wire.
  WireMinute sum(const std::string& wire, Nanoseconds span, Nanoseconds now) const;
  std::uint64_t hits(std::uint32_t gid, std::uint32_t sid) const;

 private:
  static constexpr std::size_t kMinutes = 1440;
  static constexpr std::size_t kMaxRules = 1'000'000;
  WireMinute& current(const std::string& wire, Nanoseconds now);
  std::map<std::string, std::deque<WireMinute>> wires_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> hits_;
};

}  // namespace sluice::control
