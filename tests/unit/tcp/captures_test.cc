// The captures about TCP itself (tests/captures): what two receivers of opposite tastes read from
// what leaves the wire is what was inspected, and the known oddities are named.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>

#include "tests/unit/tcp/tcp_talk.h"

namespace sluice::tcp::test {
namespace {

using contract::Anomaly;

struct CapturedFlow {
  CapturedFlow() : connection({}, std::pmr::new_delete_resource()) {}
  Connection connection;
  Recorder sink;
  std::vector<std::string> left;  // payloads of the client as they leave
};

// Classic pcap, either time resolution, little-endian, as these captures are.
std::vector<CapturedFlow> replay(const std::string& name) {
  std::ifstream file(std::string(SLUICE_CAPTURES) + "/" + name, std::ios::binary);
  std::vector<std::uint8_t> octets{std::istreambuf_iterator<char>(file), {}};
  EXPECT_GT(octets.size(), 24u) << name;
  const auto word = [&](std::size_t at) {
    std::uint32_t v;
    std::memcpy(&v, octets.data() + at, 4);
    return v;
  };
  const bool nanoseconds = word(0) == 0xa1b23c4d;
  net::ParseOptions options;
  if (word(20) != 1) options.link = net::LinkType::raw_ip;
  std::map<std::pair<Address, std::uint16_t>, std::size_t> by_client;
  std::vector<CapturedFlow> flows;
  for (std::size_t at = 24; at + 16 <= octets.size();) {
    const Nanoseconds now = word(at) * kSecond + word(at + 4) * (nanoseconds ? 1 : kMicrosecond);
    const std::size_t size = word(at + 8);
    const MutableBytes frame(octets.data() + at + 16, size);
    at += 16 + size;
    const net::Packet p = net::parse(frame, options);
    if (p.kind != net::PacketKind::tcp) continue;
    const Direction d = p.destination_port < p.source_port ? kC : kS;
    const auto client =
        d == kC ? std::pair{p.source, p.source_port} : std::pair{p.destination, p.destination_port};
    const auto [it, fresh] = by_client.try_emplace(client, flows.size());
    if (fresh) flows.emplace_back();
    CapturedFlow& flow = flows[it->second];
    const MutableBytes payload = frame.subspan(p.payload_offset, p.payload_size);
    flow.connection.segment(d, p, payload, now, flow.sink);
    if (d == kC && !payload.empty()) flow.left.emplace_back(as_text(payload));
  }
  for (CapturedFlow& flow : flows) flow.connection.finish(flow.sink);
  return flows;
}

TEST(TcpCaptures, S15_OnlyTheFirstOfTwoCopiesPasses) {
  const auto flows = replay("s15-exact-overlap-vlan.pcap");
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_EQ(flows[0].sink.client(), "GOOD");
  EXPECT_EQ(flows[0].left, (std::vector<std::string>{"GOOD", "GOOD"}));
  EXPECT_TRUE(flows[0].sink.alternative("EVIL"));
  EXPECT_TRUE(flows[0].sink.saw(Anomaly::overlap_diff));
}

TEST(TcpCaptures, S16_AHoleOfFourOctets) {
  const auto flows = replay("s16-four-byte-hole.pcap");
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_EQ(flows[0].sink.client(), "VERY????DATA");
  EXPECT_TRUE(flows[0].sink.saw(Anomaly::stream_gap));
}

TEST(TcpCaptures, S17_InjectedSegmentsDoNotEndTheTalk) {
  const auto flows = replay("s17-injected-segments.pcap");
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_EQ(flows[0].sink.client().substr(0, 14), "GET / HTTP/1.1");
  EXPECT_EQ(flows[0].sink.server().substr(0, 15), "HTTP/1.1 200 OK");
  EXPECT_EQ(flows[0].sink.client().size(), 338u);
  EXPECT_TRUE(flows[0].sink.saw(Anomaly::suspected_rst_inject));
  EXPECT_TRUE(flows[0].sink.gaps.empty());
  EXPECT_EQ(flows[0].connection.state(), State::established);
}

TEST(TcpCaptures, S18_DataInTheSyn) {
  const auto flows = replay("s18-fast-open.pcap");
  ASSERT_EQ(flows.size(), 2u);
  EXPECT_EQ(flows[0].sink.client().substr(0, 14), "GET /index.php");
  EXPECT_EQ(flows[1].sink.client().substr(0, 15), "GET //index.php");
  EXPECT_EQ(flows[1].sink.client().size(), 86u);
  for (const CapturedFlow& flow : flows) {
    EXPECT_TRUE(flow.sink.anomalies.empty());
    EXPECT_EQ(flow.connection.close_reason(), CloseReason::fin);
  }
}

}  // namespace
}  // namespace sluice::tcp::test
