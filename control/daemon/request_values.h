// What requests and answers have in common.
#pragma once

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "control/api/digest.h"
#include "control/daemon/event_loop.h"

namespace sluice::control {

// Seconds from `now` to `until`, 0 when it has passed or there is none.
inline std::uint64_t seconds_left(Nanoseconds until, Nanoseconds now) {
  return until > now ? (until - now + kSecond - 1) / kSecond : 0;
}

// "<a@b.test>" to "a@b.test".
inline std::string address_only(std::string text) {
  if (text.size() >= 2 && text.front() == '<' && text.back() == '>') {
    text = text.substr(1, text.size() - 2);
  }
  return text;
}

inline std::size_t limit_of(const nlohmann::json& arguments, std::size_t otherwise) {
  return std::min<std::size_t>(arguments.value("limit", otherwise), 100'000);
}

// Wall clock from which on events are wanted; 0: all.
inline std::uint64_t since_of(const nlohmann::json& arguments) {
  const std::uint64_t last = arguments.value("last", std::uint64_t{0});
  const std::uint64_t now = wall_now();
  return last == 0 || last > now / kSecond ? 0 : now - last * kSecond;
}

}  // namespace sluice::control
