// The real captures, frame by frame (tests/captures/README.md says what is known of them).
#include <gtest/gtest.h>

#include <filesystem>
#include <memory_resource>
#include <set>

#include "dataplane/net/defragmenter.h"
#include "dataplane/net/packet.h"
#include "tests/unit/net/expect.h"
#include "tests/unit/support/pcap_file.h"

namespace sluice::net {
namespace {

std::string path_of(const std::string& name) {
  return std::string(SLUICE_TEST_CAPTURES) + "/" + name;
}

// The octets from which a frame is parsed, and how, by the capture's link type.
Bytes parsed_part(const test::Capture& capture, const test::Frame& frame, ParseOptions& options) {
  if (capture.link_type != 0) return frame;
  options.link = LinkType::raw_ip;  // BSD null: four octets in front of IP
  return Bytes(frame).subspan(std::min<std::size_t>(4, frame.size()));
}

std::vector<Packet> parse_all(const test::Capture& capture, const ParseOptions& options) {
  std::vector<Packet> packets;
  packets.reserve(capture.frames.size());
  for (const auto& f : capture.frames) packets.push_back(parse(f.frame, options));
  return packets;
}

// tshark: 86 packets, 6 of them with a wrong TCP checksum, PPPoE session 3847.
TEST(Captures, S19_PppoeInQinq) {
  const auto capture = test::read_capture(path_of("s19-pppoe-in-qinq.pcap"));
  const auto packets = parse_all(capture, {});
  ASSERT_EQ(packets.size(), 86u);
  std::size_t wrong = 0;
  std::set<std::pair<std::uint16_t, std::uint16_t>> tags;
  for (const Packet& p : packets) {
    EXPECT_EQ(p.kind, PacketKind::tcp);
    EXPECT_EQ(p.vlan_count, 2);
    EXPECT_TRUE(p.pppoe);
    EXPECT_EQ(p.pppoe_session, 3847);
    tags.insert({p.vlan[0], p.vlan[1]});
    wrong += p.checksum_bad ? 1 : 0;
  }
  EXPECT_EQ(tags.size(), 1u);
  EXPECT_EQ(wrong, 6u);
}

TEST(Captures, S20_SynInFragmentsInAVlan) {
  const auto capture = test::read_capture(path_of("s20-syn-in-fragments-vlan.pcap"));
  ASSERT_EQ(capture.frames.size(), 3u);
  Defragmenter defragmenter({}, std::pmr::new_delete_resource());
  std::size_t datagrams = 0;
  for (const auto& f : capture.frames) {
    const Packet fragment = parse(f.frame, {});
    ASSERT_EQ(fragment.kind, PacketKind::fragment);
    EXPECT_EQ(fragment.vlan_count, 1);
    const auto result = defragmenter.add(f.frame, fragment, f.time);
    if (result.datagram.empty()) continue;
    ++datagrams;
    const Packet p = parse_datagram(result.datagram, fragment, {});
    EXPECT_EQ(p.kind, PacketKind::tcp);
    EXPECT_EQ(p.flags, tcp_flag::syn);
    EXPECT_EQ(p.vlan_count, 1);
    EXPECT_EQ(p.vlan[0], fragment.vlan[0]);
  }
  EXPECT_EQ(datagrams, 1u);
}

struct Known {
  const char* name;
  std::size_t packets;
  std::size_t wrong_tcp_checksums;
  std::size_t wrong_ip_checksums;
};

// Counts by tshark (expected.tsv), but for s01, where its four are of headers quoted in ICMP
// errors.
TEST(Captures, ChecksumsAgreeWithTshark) {
  const Known known[] = {
      {"s01-two-sessions.pcap", 125, 0, 0},   {"s02-bdat-last.pcap", 28, 0, 0},
      {"s03-bdat-27-chunks.pcap", 184, 0, 0}, {"s04-starttls.pcap", 37, 22, 22},
      {"s06-simple-session.pcap", 24, 0, 0},  {"s08-pipelining.pcap", 18, 18, 18},
      {"s09-bdat-then-data.pcap", 31, 0, 0},  {"s11-mime-fields.pcap", 16, 16, 16},
      {"s12-overlong-ehlo.pcap", 25, 13, 0},  {"s14-zip.pcap", 28, 11, 0},
  };
  for (const Known& k : known) {
    SCOPED_TRACE(k.name);
    const auto capture = test::read_capture(path_of(k.name));
    EXPECT_EQ(capture.frames.size(), k.packets);
    std::size_t wrong_ip = 0;
    std::size_t wrong = 0;
    for (const auto& f : capture.frames) {
      ParseOptions options;
      const Bytes frame = parsed_part(capture, f.frame, options);
      const Packet p = parse(frame, options);
      if (p.kind != PacketKind::tcp) continue;
      wrong_ip += anomaly_names(p).find("bad-ip-checksum") != std::string::npos ? 1u : 0u;
      wrong += p.checksum_bad ? 1u : 0u;
      options.verify_checksums = false;
      EXPECT_FALSE(parse(frame, options).checksum_bad);
    }
    EXPECT_EQ(wrong_ip, k.wrong_ip_checksums);
    EXPECT_EQ(wrong, k.wrong_tcp_checksums);
  }
}

TEST(Captures, EveryFrameOfEveryCaptureIsReadWithinItsBounds) {
  std::size_t captures = 0;
  for (const auto& entry : std::filesystem::directory_iterator(SLUICE_TEST_CAPTURES)) {
    if (entry.path().extension() != ".pcap") continue;
    ++captures;
    SCOPED_TRACE(entry.path().filename().string());
    const auto capture = test::read_capture(entry.path().string());
    for (const auto& f : capture.frames) {
      ParseOptions options;
      const Bytes frame = parsed_part(capture, f.frame, options);
      const Packet p = parse(frame, options);
      EXPECT_LE(std::size_t{p.payload_offset} + p.payload_size, frame.size());
    }
  }
  EXPECT_GE(captures, 18u);
}

}  // namespace
}  // namespace sluice::net
