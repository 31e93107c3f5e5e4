#include "dataplane/app/options.h"

#include <gtest/gtest.h>

namespace sluice::app {
namespace {

template <typename... Words>
ParsedCommand parse(Words... words) {
  const char* argv[] = {"sluice-dataplane", words...};
  return parse_command_line(static_cast<int>(std::size(argv)), argv);
}

TEST(Options, AWireWithItsDefaults) {
  const ParsedCommand parsed = parse("--wire", "name=w1,inside=eth0,outside=eth1");
  ASSERT_EQ(parsed.exit_code, -1) << parsed.text;
  ASSERT_EQ(parsed.options.wires.size(), 1u);
  const WireOptions& wire = parsed.options.wires[0];
  EXPECT_EQ(wire.name, "w1");
  EXPECT_EQ(wire.ports[0].device, "eth0");
  EXPECT_EQ(wire.ports[1].device, "eth1");
  EXPECT_EQ(wire.driver, io::Driver::af_xdp);
  EXPECT_FALSE(wire.fail_closed);
  EXPECT_EQ(parsed.options.workers, 1u);
  EXPECT_EQ(parsed.options.socket, "/run/sluice/dataplane.sock");
  EXPECT_EQ(parsed.options.mail_ports, (std::vector<std::uint16_t>{25, 465, 587, 2525}));
  EXPECT_EQ(parsed.options.heartbeat_timeout, 60 * kMillisecond);
}

TEST(Options, EveryOption) {
  const ParsedCommand parsed = parse(
      "--wire",
      "name=a,inside=e0,outside=e1,failure=closed,watermark=500,mirror_link=on,mtu=1500,"
      "xdp_mode=front",
      "--wire", "name=b,driver=pcap,rx_pcap=/i,tx_pcap=/o,outside_rx_pcap=/x,inside_tx_pcap=/y",
      "--workers", "2", "--cores", "1,3-4", "--socket", "/tmp/s", "--mail-ports", "25,2000-2002",
      "--memory", "128", "--hugepages", "off", "--heartbeat-timeout", "20", "--busy-poll",
      "--max-flows", "4096", "--bpffs", "/b");
  ASSERT_EQ(parsed.exit_code, -1) << parsed.text;
  const Options& options = parsed.options;
  EXPECT_TRUE(options.wires[0].fail_closed);
  EXPECT_TRUE(options.wires[0].mirror_link);
  EXPECT_EQ(options.wires[0].watermark, 500u);
  EXPECT_EQ(options.wires[0].mtu, 1500u);
  EXPECT_EQ(options.wires[0].xdp_mode, xdp::AttachMode::front);
  EXPECT_EQ(options.wires[1].xdp_mode, xdp::AttachMode::automatic);
  EXPECT_EQ(options.wires[1].ports[0].receive_pcap, "/i");
  EXPECT_EQ(options.wires[1].ports[1].transmit_pcap, "/o");
  EXPECT_EQ(options.wires[1].ports[1].receive_pcap, "/x");
  EXPECT_EQ(options.wires[1].ports[0].transmit_pcap, "/y");
  EXPECT_EQ(options.cores, (std::vector<unsigned>{1, 3, 4}));
  EXPECT_EQ(options.mail_ports, (std::vector<std::uint16_t>{25, 2000, 2001, 2002}));
  EXPECT_EQ(options.huge_pages, HugePages::off);
  EXPECT_EQ(options.heartbeat_timeout, 20 * kMillisecond);
  EXPECT_TRUE(options.wires[0].ports[0].busy_poll);
  EXPECT_EQ(options.max_flows, 4096u);
  EXPECT_EQ(options.bpffs, "/b");
}

TEST(Options, VersionAndHelpEndWellWrongUsageEndsWithTwo) {
  EXPECT_EQ(parse("--version").exit_code, 0);
  EXPECT_NE(parse("--version").text.find("sluice-dataplane "), std::string::npos);
  EXPECT_EQ(parse("--help").exit_code, 0);
  EXPECT_EQ(parse().exit_code, 2);
  EXPECT_EQ(parse("--nonsense").exit_code, 2);
}

struct Wrong {
  const char* wire;
  const char* said;
};

TEST(Options, AWrongWireIsRefusedWithTheReason) {
  for (const Wrong& wrong : {
           Wrong{"inside=e0,outside=e1", "name= is missing"},
           Wrong{"name=w,outside=e1", "inside= is missing"},
           Wrong{"name=w,inside=e0", "outside= is missing"},
           Wrong{"name=w,inside=e0,outside=e1,driver=x", "drivers are"},
           Wrong{"name=w,inside=e0,outside=e1,failure=ajar", "open or closed"},
           Wrong{"name=w,inside=e0,outside=e1,colour=red", "no such key"},
           Wrong{"name=w,inside=e0,outside=e1,", "is not key=value"},
           Wrong{"name=w,inside=e0,inside=e2,outside=e1", "stands twice"},
           Wrong{"name=w,inside=e0,outside=e0", "used twice"},
           Wrong{"name=w/1,inside=e0,outside=e1", "a name is"},
           Wrong{"name=w,inside=e0123456789abcdef,outside=e1", "at most 15"},
           Wrong{"name=w,inside=e0,outside=e1,rx_pcap=/x", "driver=pcap"},
           Wrong{"name=w,driver=pcap", "rx_pcap"},
           Wrong{"name=w,inside=e0,outside=e1,mtu=12", "68 to"},
           Wrong{"name=w,inside=e0,outside=e1,watermark=1001", "permille"},
           Wrong{"name=w,inside=e0,outside=e1,xdp_mode=back", "generic or front"},
           Wrong{"", "is not key=value"},
       }) {
    const ParsedCommand parsed = parse("--wire", wrong.wire);
    EXPECT_EQ(parsed.exit_code, 2) << wrong.wire;
    EXPECT_NE(parsed.text.find(wrong.said), std::string::npos) << wrong.wire << ": " << parsed.text;
  }
}

TEST(Options, WrongListsAndTwinWires) {
  const char* wire = "name=w,inside=e0,outside=e1";
  EXPECT_EQ(parse("--wire", wire, "--mail-ports", "25,0").exit_code, 2);
  EXPECT_EQ(parse("--wire", wire, "--mail-ports", "70000").exit_code, 2);
  EXPECT_EQ(parse("--wire", wire, "--mail-ports", "25,").exit_code, 2);
  EXPECT_EQ(parse("--wire", wire, "--cores", "3-1").exit_code, 2);
  EXPECT_EQ(parse("--wire", wire, "--workers", "3", "--cores", "1,2").exit_code, 2);
  EXPECT_EQ(parse("--wire", wire, "--workers", "0").exit_code, 2);
  EXPECT_EQ(parse("--wire", wire, "--wire", "name=w,inside=e2,outside=e3").exit_code, 2);
  EXPECT_EQ(parse("--wire", wire, "--wire", "name=v,inside=e2,outside=e1").exit_code, 2);
}

// Fail-open is claimed for AF_XDP only: a native port needs a bypass NIC or an explicit word.
TEST(Options, NativePortsNeedABypassNic) {
  const char* wire = "name=w,driver=native,inside=0000:01:00.0,outside=0000:01:00.1";
  const ParsedCommand refused = parse("--wire", wire);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.text.find("--no-bypass-ok"), std::string::npos);
  EXPECT_EQ(parse("--wire", wire, "--no-bypass-ok").exit_code, -1);
}

TEST(Options, WorkersLeaveTheFirstCpuWhenTheyCan) {
  Options options;
  options.workers = 2;
  EXPECT_EQ(worker_cpus(options, {0, 1, 2, 3}), (std::vector<unsigned>{1, 2}));
  EXPECT_EQ(worker_cpus(options, {0, 1}), (std::vector<unsigned>{0, 1}));
  options.workers = 3;
  EXPECT_EQ(worker_cpus(options, {4, 5}), (std::vector<unsigned>{4, 5, 4}));
  options.cores = {7, 8, 9, 10};
  EXPECT_EQ(worker_cpus(options, {0, 1}), (std::vector<unsigned>{7, 8, 9}));
}

}  // namespace
}  // namespace sluice::app
