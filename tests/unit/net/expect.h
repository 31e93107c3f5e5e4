// Small things that the tests of this folder read packets with.
#pragma once

#include <string>
#include <string_view>

#include "dataplane/net/packet.h"
#include "tests/unit/support/frame_builder.h"

namespace sluice::net {

// The names of a packet's anomalies, with spaces between them.
template <typename T>
std::string anomaly_names(const T& p) {
  std::string names;
  for (std::size_t i = 0; i < p.anomaly_count; ++i) {
    if (i != 0) names += ' ';
    names += contract::info(p.anomalies[i]).name;
  }
  return names;
}

inline std::string_view payload_text(Bytes frame, const Packet& p) {
  return as_text(frame.subspan(p.payload_offset, p.payload_size));
}

}  // namespace sluice::net
