// The fixture of section C of the wire cases: each from a plain start and over the wrap of the
// sequence numbers.
#pragma once

#include <gtest/gtest.h>

#include <utility>

#include "tests/unit/tcp/tcp_talk.h"

namespace sluice::tcp::test {

using contract::Anomaly;
using Action = SegmentResult::Action;

inline constexpr std::string_view kSignature = "EVIL-SIGNATURE";

class TcpCases : public testing::TestWithParam<std::pair<std::uint32_t, std::uint32_t>> {
 protected:
  Talk talk{GetParam().first, GetParam().second};
  Recorder& sink = talk.sink;

  bool quiet() const { return sink.anomalies.empty(); }
};

// First sequence numbers of both sides.
inline const auto kPlain = testing::Values(std::pair{1000u, 900'000u});
inline const auto kOverWrap =
    testing::Values(std::pair{0xfffffff0u, 0xfffffffau}, std::pair{0xffffffffu, 0xfffffffeu},
                    std::pair{0x7ffffff8u, 0x7fffffffu});

}  // namespace sluice::tcp::test
