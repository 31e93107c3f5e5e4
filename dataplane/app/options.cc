#include "dataplane/app/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "dataplane/contract/control_channel.h"

#ifndef SLUICE_VERSION
#error "SLUICE_VERSION is given by the build"
#endif

namespace sluice::app {

namespace {

constexpr unsigned kMostWorkers = 64;  // STEER_MAX_QUEUES
constexpr unsigned kMostCpus = 1024;
constexpr std::size_t kMostWires = 64;
constexpr std::size_t kLongestName = 31;
constexpr std::size_t kLongestInterface = 15;  // IFNAMSIZ - 1

bool parse_number(std::string_view text, std::uint64_t& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool good_name(std::string_view name) {
  return !name.empty() && name.size() <= kLongestName &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '-';
         });
}

std::optional<bool> on_or_off(std::string_view text) {
  if (text == "on") return true;
  if (text == "off") return false;
  return std::nullopt;
}

// One key of a --wire argument; the reason when the value is wrong.
std::optional<std::string> set_key(WireOptions& wire, std::string_view key,
                                   const std::string& value) {
  io::PortSettings& inside = wire.ports[0];
  io::PortSettings& outside = wire.ports[1];
  std::uint64_t number = 0;
  if (key == "name") {
    if (!good_name(value)) return "a name is 1 to 31 of A-Z, a-z, 0-9, _ and -";
    wire.name = value;
  } else if (key == "inside") {
    inside.device = value;
  } else if (key == "outside") {
    outside.device = value;
  } else if (key == "driver") {
    const auto* found = std::find(std::begin(io::kDriverNames), std::end(io::kDriverNames), value);
    if (found == std::end(io::kDriverNames)) {
      return "drivers are af_xdp, af_packet, pcap, ring, null and native";
    }
    wire.driver = static_cast<io::Driver>(found - std::begin(io::kDriverNames));
  } else if (key == "failure") {
    if (value != "open" && value != "closed") return "open or closed";
    wire.fail_closed = value == "closed";
  } else if (key == "mtu") {
    if (!parse_number(value, number) || number < 68 || number > 65535) return "68 to 65535 octets";
    wire.mtu = static_cast<std::uint32_t>(number);
  } else if (key == "watermark") {
    if (!parse_number(value, number) || number > 1000) return "permille of a ring, 0 to 1000";
    wire.watermark = static_cast<std::uint32_t>(number);
  } else if (key == "mirror_link") {
    const std::optional<bool> on = on_or_off(value);
    if (!on) return "on or off";
    wire.mirror_link = *on;
  } else if (key == "unequal_mtu") {
    if (value != "refuse" && value != "warn") return "refuse or warn";
    wire.unequal_mtu = value == "warn";
  } else if (key == "xdp_mode") {
    if (value != "auto" && value != "generic" && value != "front") return "auto, generic or front";
    wire.xdp_mode = value == "auto"      ? xdp::AttachMode::automatic
                    : value == "generic" ? xdp::AttachMode::generic
                                         : xdp::AttachMode::front;
  } else if (key == "rx_pcap" || key == "inside_rx_pcap") {
    inside.receive_pcap = value;
  } else if (key == "tx_pcap" || key == "outside_tx_pcap") {
    outside.transmit_pcap = value;
  } else if (key == "inside_tx_pcap") {
    inside.transmit_pcap = value;
  } else if (key == "outside_rx_pcap") {
    outside.receive_pcap = value;
  } else {
    return "no such key; keys are name, inside, outside, driver, failure, mtu, watermark, "
           "mirror_link, unequal_mtu, xdp_mode, [inside_|outside_](rx_pcap|tx_pcap)";
  }
  return std::nullopt;
}

Status check(const Options& options) {
  std::set<std::string> names;
  std::set<std::string> devices;
  for (const WireOptions& wire : options.wires) {
    if (!names.insert(wire.name).second) return Error{"two wires are named " + wire.name};
    for (const io::PortSettings& port : wire.ports) {
      if (!devices.insert(port.device).second) {
        return Error{"port " + port.device +
                     " is used twice; a port belongs to one end of one wire"};
      }
    }
    if (wire.driver == io::Driver::native && !options.no_bypass_ok && !options.detach) {
      return Error{"wire " + wire.name +
                   ": a native driver takes the ports from the kernel, so nothing forwards when "
                   "this process is dead, and no bypass NIC was found; use driver=af_xdp, or "
                   "--no-bypass-ok if an outage is acceptable"};
    }
  }
  if (!options.cores.empty() && options.cores.size() < options.workers) {
    return Error{"--cores names " + std::to_string(options.cores.size()) + " CPUs for " +
                 std::to_string(options.workers) + " workers; name one for each"};
  }
  return ok();
}

}  // namespace

Result<WireOptions> parse_wire(const std::string& text) {
  WireOptions wire;
  const auto refused = [&](std::initializer_list<std::string_view> reason) {
    std::string said = "--wire " + text + ": ";
    for (const std::string_view part : reason) said += part;
    return Error{std::move(said)};
  };
  std::set<std::string, std::less<>> seen;
  std::size_t at = 0;
  while (at <= text.size()) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string pair = text.substr(at, end - at);
    at = end + 1;
    const std::size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == pair.size()) {
      return refused({"\"", pair, "\" is not key=value"});
    }
    const std::string key = pair.substr(0, equals);
    if (!seen.insert(key).second) return refused({key, " stands twice"});
    const std::optional<std::string> wrong = set_key(wire, key, pair.substr(equals + 1));
    if (wrong) return refused({pair, ": ", *wrong});
  }
  if (wire.name.empty()) {
    return refused({"name= is missing, as in name=w1,inside=eth0,outside=eth1"});
  }
  const bool files = wire.driver == io::Driver::pcap;
  for (io::PortSettings& port : wire.ports) {
    const char* side = &port == &wire.ports[0] ? "inside" : "outside";
    port.driver = wire.driver;
    const bool named = io::has_interface(wire.driver) || wire.driver == io::Driver::native;
    if (port.device.empty()) {
      if (named) return refused({side, "= is missing"});
      port.device = wire.name + "-" + side;
    }
    if (io::has_interface(wire.driver) && port.device.size() > kLongestInterface) {
      return refused({side, "=", port.device, ": an interface name has at most 15 characters"});
    }
    if (!files && !(port.receive_pcap.empty() && port.transmit_pcap.empty())) {
      return refused({"pcap files need driver=pcap"});
    }
  }
  if (files && wire.ports[0].receive_pcap.empty() && wire.ports[1].receive_pcap.empty()) {
    return refused({"driver=pcap needs rx_pcap=FILE for a side"});
  }
  return wire;
}

Result<std::vector<unsigned>> parse_list(const std::string& text, unsigned most) {
  std::vector<unsigned> numbers;
  std::size_t at = 0;
  while (at <= text.size()) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string_view item(text.data() + at, end - at);
    at = end + 1;
    const std::size_t dash = item.find('-');
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    const bool good = parse_number(item.substr(0, dash), first) &&
                      (dash == std::string_view::npos ? (last = first, true)
                                                      : parse_number(item.substr(dash + 1), last));
    if (!good || first > last || last > most) {
      return Error{"\"" + text + "\" is not a list of numbers up to " + std::to_string(most) +
                   ", as in 1,3-5"};
    }
    for (std::uint64_t n = first; n <= last; ++n) numbers.push_back(static_cast<unsigned>(n));
  }
  return numbers;
}

ParsedCommand parse_command_line(int argc, const char* const* argv) {
  ParsedCommand parsed;
  Options& options = parsed.options;
  options.socket = contract::kDefaultDataplaneSocket;
  CLI::App app{"Inspects the mail that crosses one or more wires (see the README)."};
  app.set_version_flag("--version", "sluice-dataplane " SLUICE_VERSION);
  std::vector<std::string> wires;
  std::string cores;
  std::string ports;
  std::string huge_pages = "auto";
  std::uint32_t timeout = 60;
  app.add_option("--wire", wires,
                 "name=w1,inside=eth0,outside=eth1[,driver=af_xdp|af_packet|pcap|ring|null|native]"
                 "[,failure=open|closed][,mtu=N][,watermark=PERMILLE][,mirror_link=on|off]"
                 "[,unequal_mtu=refuse|warn][,xdp_mode=auto|generic|front][,rx_pcap=FILE]...")
      ->required()
      ->allow_extra_args(false);
  app.add_option("--workers", options.workers, "worker threads, one to a core")
      ->check(CLI::Range(1u, kMostWorkers))
      ->capture_default_str();
  app.add_option("--cores", cores, "CPUs of the workers, as in 1,3-5");
  app.add_option("--socket", options.socket, "control channel")->capture_default_str();
  app.add_option("--mail-ports", ports, "TCP ports of mail, as in 25,465,587,2525");
  app.add_option("--memory", options.memory_mib,
                 "MiB for flows, streams and messages, of all workers together")
      ->check(CLI::Range(std::size_t{16}, std::size_t{1} << 20))
      ->capture_default_str();
  app.add_option("--hugepages", huge_pages, "for packet buffers: on, off or auto (if free)")
      ->check(CLI::IsMember({"on", "off", "auto"}))
      ->capture_default_str();
  app.add_flag("--prefault", options.prefault,
               "touch all of --memory at start, so that no packet waits for a page");
  app.add_option("--heartbeat-timeout", timeout,
                 "ms after which the kernel takes the dataplane for dead")
      ->check(CLI::Range(10u, 10000u))
      ->capture_default_str();
  app.add_flag("--no-bypass-ok", options.no_bypass_ok,
               "start native ports although nothing forwards when this process is dead");
  app.add_flag("--busy-poll", options.busy_poll, "never sleep, poll the devices always");
  app.add_flag("!--no-checksums", options.verify_checksums,
               "do not verify checksums (virtual ports with transmit offload)");
  app.add_option("--max-flows", options.max_flows, "mail flows remembered, of all workers together")
      ->check(CLI::Range(std::size_t{1024}, std::size_t{1} << 28))
      ->capture_default_str();
  app.add_option("--bpffs", options.bpffs, "where the wires are pinned (default /sys/fs/bpf)");
  app.add_flag("--detach", options.detach, "take the named wires out of the kernel, and exit");
  app.add_flag("--verbose", options.verbose, "say more on standard error");

  const auto refuse = [&parsed](const std::string& text) {
    parsed.exit_code = 2;
    parsed.text = text;
    return parsed;
  };
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    parsed.exit_code = 0;
    parsed.text = app.help();
    return parsed;
  } catch (const CLI::CallForVersion& version) {
    parsed.exit_code = 0;
    parsed.text = version.what() + std::string("\n");
    return parsed;
  } catch (const CLI::ParseError& error) {
    return refuse(std::string(error.what()) + " (sluice-dataplane --help lists the options)");
  }
  if (wires.size() > kMostWires) return refuse("more than 64 wires");
  for (const std::string& text : wires) {
    Result<WireOptions> wire = parse_wire(text);
    if (!wire) return refuse(wire.error());
    options.wires.push_back(std::move(*wire));
  }
  if (!cores.empty()) {
    Result<std::vector<unsigned>> list = parse_list(cores, kMostCpus - 1);
    if (!list) return refuse("--cores: " + list.error());
    options.cores = std::move(*list);
  }
  if (!ports.empty()) {
    Result<std::vector<unsigned>> list = parse_list(ports, 65535);
    if (!list) return refuse("--mail-ports: " + list.error());
    options.mail_ports.clear();
    for (const unsigned port : *list) {
      if (port == 0) return refuse("--mail-ports: there is no port 0");
      options.mail_ports.push_back(static_cast<std::uint16_t>(port));
    }
  }
  options.huge_pages = huge_pages == "on"    ? HugePages::on
                       : huge_pages == "off" ? HugePages::off
                                             : HugePages::automatic;
  options.heartbeat_timeout = timeout * kMillisecond;
  for (WireOptions& wire : options.wires) {
    for (io::PortSettings& port : wire.ports) port.busy_poll = options.busy_poll;
  }
  if (const Status good = check(options); !good) return refuse(good.error());
  return parsed;
}

std::vector<unsigned> worker_cpus(const Options& options, const std::vector<unsigned>& allowed) {
  std::vector<unsigned> cpus = options.cores;
  const std::size_t spare = allowed.size() > options.workers ? 1 : 0;
  for (std::size_t i = cpus.size(); i < options.workers; ++i) {
    cpus.push_back(allowed[(spare + i) % allowed.size()]);
  }
  cpus.resize(options.workers);
  return cpus;
}

}  // namespace sluice::app
