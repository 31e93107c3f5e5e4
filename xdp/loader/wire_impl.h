// What a Wire is made of: descriptors and mappings of its pinned maps. Private to the loader.
#pragma once

#include <bpf/bpf.h>

#include <string>
#include <vector>

#include "xdp/contract/steer.h"
#include "xdp/loader/descriptor.h"
#include "xdp/loader/loader.h"

namespace sluice::xdp {

inline constexpr const char* kSideNames[STEER_SIDES] = {"inside", "outside"};

// Names of pins that are not maps of the object: the links, and the lists of each generation.
std::string link_pin(Side side);
std::string hosts_pin(std::uint32_t generation);
std::string prefixes_pin(std::uint32_t generation);

struct Wire::Impl {
  std::string name;
  std::string base;
  std::string folder;
  std::string interfaces[STEER_SIDES];
  std::uint32_t ifindexes[STEER_SIDES]{};
  // Where XDP and the sockets are: the ports, or in front mode the veths behind them.
  std::string xdp_interfaces[STEER_SIDES];
  std::uint32_t xdp_ifindexes[STEER_SIDES]{};
  std::vector<std::string> warnings;
  bool adopted = false;

  Descriptor config;
  Descriptor mail_ports;
  Descriptor heartbeats;
  Descriptor counters;
  Descriptor sockets[STEER_SIDES];
  Descriptor ports;
  Descriptor host_lists;
  Descriptor prefix_lists;
  Descriptor steered;
  Descriptor bypassed;
  Descriptor changed;
  Descriptor fronts;  // none: a wire of an older loader
  MappedArray<steer_runtime> runtime;
  MappedArray<steer_list_state> list_state;
  MappedArray<steer_limiter> limiters;

  // Opens every pinned map of `folder`.
  Status open_maps();
  Result<steer_config> read_config() const;
  Status write_config(const steer_config& value) const;
  steer_front read_front() const;  // zeros: not in front mode
  Status write_front(const steer_front& value) const;
  // Changes the flags of the config under the folder's lock.
  template <typename Change>
  Status change_config(Change change) const;
};

// Makes the inner maps of `generation` that are not there, and pins and inserts them. Locked.
Status ensure_lists(const std::string& folder, int host_lists, int prefix_lists);

}  // namespace sluice::xdp
