// The command line of sluice-dataplane. It never reads configuration text: what it needs to know at
// start is said here, everything else comes as a policy image from control.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/base/result.h"
#include "dataplane/io/port.h"
#include "xdp/loader/loader.h"

namespace sluice::app {

struct WireOptions {
  std::string name;
  io::PortSettings ports[2];  // by Side
  io::Driver driver = io::Driver::af_xdp;
  bool fail_closed = false;
  bool mirror_link = false;
  bool unequal_mtu = false;  // warn of unequal MTUs instead of refusing
  xdp::AttachMode xdp_mode = xdp::AttachMode::automatic;
  std::uint32_t mtu = 0;          // octets of IP; 0: as found
  std::uint32_t watermark = 750;  // permille of a ring; 0: none
};

enum class HugePages : std::uint8_t { automatic, on, off };

struct Options {
  std::vector<WireOptions> wires;
  unsigned workers = 1;
  std::vector<unsigned> cores;  // CPUs of the workers; empty: chosen
  std::string socket;
  std::vector<std::uint16_t> mail_ports{25, 465, 587, 2525};
  std::size_t memory_mib = 1024;  // for flows, streams and messages, of all workers
  HugePages huge_pages = HugePages::automatic;
  bool prefault = false;  // touch all of it at start
  Nanoseconds heartbeat_timeout = 60 * kMillisecond;
  bool no_bypass_ok = false;
  bool busy_poll = false;
  bool verify_checksums = true;
  std::size_t max_flows = std::size_t{1} << 20;  // of all workers
  std::string bpffs;
  bool detach = false;
  bool verbose = false;
};

struct ParsedCommand {
  // Set when the process is to end now, after `text` was shown: 0 help or version, 2 wrong usage.
  int exit_code = -1;
  std::string text;
  Options options;
};

// Reads the command line and checks everything that can be checked without touching the machine.
ParsedCommand parse_command_line(int argc, const char* const* argv);

// One --wire argument: key=value pairs by commas. Keys: name, inside, outside, driver, failure,
// mtu, watermark, mirror_link, unequal_mtu, xdp_mode, rx_pcap, tx_pcap (shorthands of the next
// four), inside_rx_pcap, inside_tx_pcap, outside_rx_pcap, outside_tx_pcap.
Result<WireOptions> parse_wire(const std::string& text);

// "1,3-5" to numbers.
Result<std::vector<unsigned>> parse_list(const std::string& text, unsigned most);

// The CPUs of the workers: `cores`, or the last of `allowed`, leaving the first one to the rest of
// the system as long as there are enough.
std::vector<unsigned> worker_cpus(const Options& options, const std::vector<unsigned>& allowed);

}  // namespace sluice::app
