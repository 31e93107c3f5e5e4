// The loader's functions as commands, for namespace_test.py. One command a call:
//   wire_tool attach NAME INSIDE OUTSIDE [key=value]...
//       mode= failure= mtu= unequal= mirror= multi= queues=
//   wire_tool detach|state|counters|mirror|entries NAME
//   wire_tool put NAME ADDRESS ACTION [SCOPE]
//   wire_tool remove NAME ADDRESS
//   wire_tool fill NAME COUNT      (COUNT host entries, replacing all)
//   wire_tool steer NAME ADDRESS PORT ADDRESS PORT VLAN
// Pins go to $SLUICE_BPFFS. Exit status 1 with the reason on stderr.
#include <arpa/inet.h>

#include <cstdlib>
#include <iostream>
#include <string>

#include "xdp/loader/loader.h"

namespace {

using sluice::Address;
using sluice::Error;
using sluice::ok;
using sluice::Result;
using sluice::Side;
using sluice::Status;
using sluice::xdp::ListAction;
using sluice::xdp::ListEntry;
using sluice::xdp::ListScope;
using sluice::xdp::Wire;
using sluice::xdp::WireConfig;

Result<Address> parse_address(const std::string& text) {
  std::uint8_t octets[16];
  if (inet_pton(AF_INET, text.c_str(), octets) == 1) return Address::from_v4(octets);
  if (inet_pton(AF_INET6, text.c_str(), octets) == 1) return Address::from_v6(octets);
  return Error{"no address: " + text};
}

Status set_option(WireConfig& config, const std::string& key, const std::string& value) {
  if (key == "mode") {
    config.mode = value == "native"    ? sluice::xdp::AttachMode::native
                  : value == "generic" ? sluice::xdp::AttachMode::generic
                  : value == "front"   ? sluice::xdp::AttachMode::front
                                       : sluice::xdp::AttachMode::automatic;
  } else if (key == "failure") {
    config.failure =
        value == "closed" ? sluice::xdp::FailurePolicy::closed : sluice::xdp::FailurePolicy::open;
  } else if (key == "mtu") {
    config.mtu = static_cast<std::uint32_t>(std::stoul(value));
  } else if (key == "unequal") {
    config.unequal_mtu =
        value == "warn" ? sluice::xdp::UnequalMtu::warn : sluice::xdp::UnequalMtu::refuse;
  } else if (key == "mirror") {
    config.mirror_link = value == "1";
  } else if (key == "queues") {
    config.queues = static_cast<std::uint32_t>(std::stoul(value));
  } else if (key == "multi") {
    config.multi_buffer = value == "1";
  } else {
    return Error{"unknown option " + key};
  }
  return ok();
}

Status attach(int count, char** words) {
  if (count < 3) return Error{"attach NAME INSIDE OUTSIDE"};
  WireConfig config;
  config.name = words[0];
  config.inside = words[1];
  config.outside = words[2];
  for (int i = 3; i < count; i++) {
    const std::string option = words[i];
    const std::size_t equals = option.find('=');
    if (equals == std::string::npos) return Error{"key=value, not " + option};
    if (Status set = set_option(config, option.substr(0, equals), option.substr(equals + 1)); !set)
      return set;
  }
  const Result<Wire> wire = Wire::attach(config);
  if (!wire) return Error{wire.error()};
  std::cout << (wire->adopted() ? "adopted\n" : "attached\n");
  for (const std::string& warning : wire->warnings()) std::cout << "warning: " << warning << "\n";
  return ok();
}

Status show_counters(const Wire& wire) {
  const auto counters = wire.counters();
  if (!counters) return Error{counters.error()};
  for (const Side side : {Side::inside, Side::outside})
    for (std::uint32_t i = 0; i < STEER_COUNTER_COUNT; i++)
      std::cout << (side == Side::inside ? "inside " : "outside ") << sluice::xdp::kCounters[i].name
                << " " << counters->at(side, static_cast<steer_counter>(i)).frames << " "
                << counters->at(side, static_cast<steer_counter>(i)).octets << "\n";
  return ok();
}

Status show_state(const Wire& wire) {
  const auto state = wire.state();
  if (!state) return Error{state.error()};
  for (const auto& port : state->ports)
    std::cout << port.name << " attached=" << port.attached << " generic=" << port.generic
              << " front=" << port.front << " up=" << port.up << " carrier=" << port.carrier
              << " mirrored_down=" << port.mirrored_down << " mtu=" << port.mtu << "\n";
  return ok();
}

Status put(Wire& wire, int count, char** words) {
  if (count < 2) return Error{"put NAME ADDRESS ACTION [SCOPE]"};
  const Result<Address> address = parse_address(words[0]);
  if (!address) return Error{address.error()};
  const std::string action = words[1];
  ListEntry entry;
  entry.prefix.address = *address;
  entry.action = action == "reset"   ? ListAction::reset
                 : action == "allow" ? ListAction::allow
                                     : ListAction::drop;
  if (count > 2 && std::string(words[2]) == "all") entry.scope = ListScope::all;
  return wire.put_entry(entry);
}

Status fill(Wire& wire, std::uint32_t count) {
  std::vector<ListEntry> entries(count);
  for (std::uint32_t i = 0; i < count; i++) {
    const std::uint8_t octets[4] = {10, static_cast<std::uint8_t>(i >> 16),
                                    static_cast<std::uint8_t>(i >> 8),
                                    static_cast<std::uint8_t>(i)};
    entries[i].prefix.address = Address::from_v4(octets);
    if (i % 4 == 0) entries[i].prefix.length = 127;
  }
  return wire.replace_lists(entries);
}

Status steer(Wire& wire, int count, char** words) {
  if (count < 5) return Error{"steer NAME ADDRESS PORT ADDRESS PORT VLAN"};
  const Result<Address> a = parse_address(words[0]);
  const Result<Address> b = parse_address(words[2]);
  if (!a || !b) return Error{"two addresses"};
  const auto number = [&](int i) { return static_cast<std::uint16_t>(std::stoul(words[i])); };
  return wire.steer_flow({*a, *b, number(1), number(3), {number(4)}, 1});
}

Status on_wire(const std::string& command, Wire& wire, int count, char** words) {
  if (command == "counters") return show_counters(wire);
  if (command == "state") return show_state(wire);
  if (command == "put") return put(wire, count, words);
  if (command == "steer") return steer(wire, count, words);
  if (command == "fill" && count > 0)
    return fill(wire, static_cast<std::uint32_t>(std::stoul(words[0])));
  if (command == "remove" && count > 0) {
    const Result<Address> address = parse_address(words[0]);
    if (!address) return Error{address.error()};
    return wire.remove_entry({*address, 128});
  }
  if (command == "entries") {
    const auto entries = wire.entries();
    if (!entries) return Error{entries.error()};
    std::cout << entries->size() << "\n";
    return ok();
  }
  if (command == "mirror") {
    const Result<bool> changed = wire.mirror_links();
    if (!changed) return Error{changed.error()};
    std::cout << (*changed ? "changed\n" : "same\n");
    return ok();
  }
  return Error{"unknown command " + command};
}

Status run(int count, char** words) {
  if (count < 3) return Error{"wire_tool COMMAND NAME ..."};
  const std::string command = words[1];
  if (command == "attach") return attach(count - 2, words + 2);
  if (command == "detach") return Wire::detach(words[2]);
  Result<Wire> wire = Wire::open(words[2]);
  if (!wire) return Error{wire.error()};
  return on_wire(command, *wire, count - 3, words + 3);
}

}  // namespace

int main(int count, char** words) {
  const Status done = run(count, words);
  if (done) return 0;
  std::cerr << done.error() << "\n";
  return 1;
}
