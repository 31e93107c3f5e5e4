// What passed, counted from events: by wire and visibility, by rule, and what would have been done.
// Bounded: minutes of the last day for each wire, a counter for each rule. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/store/state_store.h"
#include "dataplane/base/bytes.h"
#include "dataplane/contract/event_record.h"

namespace sluice::control {

struct WireMinute {
  std::uint64_t minute = 0;              // monotonic, from kMinuteBase on
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
  // The same in rows of `interval` (whole minutes), oldest first; `minute` is each row's first. At
  // most kMinutes rows.
  std::vector<WireMinute> intervals(const std::string& wire, Nanoseconds span, Nanoseconds interval,
                                    Nanoseconds now) const;

  // What changed since the last call, for a store; and putting it back. Minutes are told as those
  // of the wall clock, so that they outlive a boot; `body` is a JSON object.
  std::vector<StoredMinute> changed_minutes(Nanoseconds now, std::uint64_t wall);
  std::vector<StoredHits> changed_hits();
  void restore(const StoredMinute& stored, Nanoseconds now, std::uint64_t wall);
  void restore(const StoredHits& stored);
  std::uint64_t hits(std::uint32_t gid, std::uint32_t sid) const;

  static constexpr std::uint64_t kMinutes = 1440;
  // Minutes before this boot must not be negative.
  static constexpr std::uint64_t kMinuteBase = 10 * kMinutes;
  static std::uint64_t minute_of(Nanoseconds now) { return kMinuteBase + now / (60 * kSecond); }

 private:
  static constexpr std::size_t kMaxRules = 1'000'000;
  WireMinute& current(const std::string& wire, Nanoseconds now);
  std::map<std::string, std::deque<WireMinute>> wires_;
  std::deque<WireMinute>& minutes_of(const std::string& wire);
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> hits_;
  std::set<std::pair<std::uint32_t, std::uint32_t>> changed_hits_;
  std::map<std::string, std::uint64_t> stored_;  // of each wire, the minute last told
};

}  // namespace sluice::control
