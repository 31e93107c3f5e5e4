// Message rates of limited hosts, kept by the worker that owns the host: one GCRA (ITU-T I.371
// virtual scheduling) state a host, 8 octets. Bounded; a host that is forgotten starts with a full
// burst. Time is the caller's monotonic clock, so a step of the wall clock changes nothing (E08).
#pragma once

#include <algorithm>
#include <memory_resource>
#include <unordered_map>

#include "dataplane/base/address.h"
#include "dataplane/base/bytes.h"

namespace sluice::inspect {

class HostLimits {
 public:
  explicit HostLimits(std::pmr::memory_resource* memory, std::size_t bound = 65536)
      : arrivals_(memory), bound_(bound) {}

  // Takes one token of `host` (a whole address, or its masked prefix). `rate_per_hour` 0 lets
  // nothing pass; `burst` at least 1.
  bool take(const Address& host, std::uint32_t rate_per_hour, std::uint32_t burst,
            Nanoseconds now) {
    if (rate_per_hour == 0) return false;
    const Nanoseconds interval = 3600 * kSecond / rate_per_hour;
    const Nanoseconds tolerance = interval * (std::max<std::uint32_t>(burst, 1) - 1);
    if (arrivals_.size() >= bound_ && !arrivals_.contains(host)) forget_past(now);
    Nanoseconds& arrival = arrivals_.try_emplace(host, now).first->second;
    const Nanoseconds due = std::max(arrival, now);
    if (due - now > tolerance) return false;
    arrival = due + interval;
    return true;
  }
  std::size_t size() const { return arrivals_.size(); }

 private:
  struct HashOf {
    std::size_t operator()(const Address& a) const {
      std::uint64_t low;
      std::uint64_t high;
      std::memcpy(&high, a.octets.data(), 8);
      std::memcpy(&low, a.octets.data() + 8, 8);
      return (low ^ (high * 0x9e3779b97f4a7c15)) * 0xd6e8feb86659fd93;
    }
  };
  // Hosts whose bucket is full again are the same as unknown ones; when there are none, all go.
  void forget_past(Nanoseconds now) {
    std::erase_if(arrivals_, [now](const auto& entry) { return entry.second <= now; });
    if (arrivals_.size() >= bound_) arrivals_.clear();
  }

  std::pmr::unordered_map<Address, Nanoseconds, HashOf> arrivals_;  // theoretical arrival times
  std::size_t bound_;
};

}  // namespace sluice::inspect
