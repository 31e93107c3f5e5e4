// Who is to be treated how, from all who have a say, merged into what crosses to the dataplane
// (host rules of the policy image) and to the kernel (block lists of XDP).
//
// For one prefix the strongest voice decides: an operator's order, then the ladder, then lists
// (allow before all else), then the configuration. Between prefixes the longest decides, in the
// dataplane and in the kernel alike. One thread; no I/O.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/api/config.h"
#include "control/detect/ladder.h"
#include "control/identity/prefix_list.h"
#include "control/identity/prefix_map.h"

namespace sluice::control {

// An operator's order for one prefix.
struct Order {
  Prefix prefix;
  policy::HostAction action = policy::HostAction::block;
  std::uint32_t rate_per_hour = 20;
  std::uint32_t burst = 1;
  Nanoseconds until = 0;         // monotonic; 0: until it is released
  std::uint64_t until_wall = 0;  // ns since the Unix epoch, for people; 0: none
  std::uint64_t created = 0;     // wall
  std::string who;
  std::string comment;
  std::string ticket;
};

// What the kernel's lists are told: blocks, and the allows that stand inside them.
struct KernelEntry {
  Prefix prefix;
  bool allow = false;
  BlockAction action = BlockAction::reset;  // of a block
  Nanoseconds expires = 0;                  // monotonic; 0: never
  friend bool operator==(const KernelEntry& a, const KernelEntry& b) {
    return a.prefix.address == b.prefix.address && a.prefix.length == b.prefix.length &&
           a.allow == b.allow && (a.allow || a.action == b.action) && a.expires == b.expires;
  }
};

// Why a host is treated as it is.
struct Treatment {
  policy::HostAction action = policy::HostAction::allow;
  bool any = false;    // false: nothing is said about the host
  std::string source;  // "operator", "detection", "list NAME", "configuration"
  Prefix prefix;
  std::uint32_t rate_per_hour = 0;
  std::uint32_t burst = 0;
  Nanoseconds until = 0;
  std::string comment;
  std::string who;     // an operator's
  std::string ticket;  // an operator's
};

// The standing voices, configuration and lists, merged: immutable once made, shared by all who
// read.
struct StandingVoices {
  struct Voice {
    policy::HostAction action = policy::HostAction::allow;
    std::uint32_t rate_per_hour = 0;
    std::uint32_t burst = 1;
    std::uint16_t source = 0;  // 0: configuration; n: list n - 1 of sources
  };
  PrefixMap<Voice> voices;
  std::vector<std::string> sources;  // names of the lists
  BlockAction block_action = BlockAction::reset;
};

// All voices at one moment. Small to make and to copy however long the lists are; what is made of
// it takes time with a million prefixes and so is made off the loop. Any thread.
class MergedOrders {
 public:
  std::vector<policy::HostRule> host_rules() const;
  std::vector<KernelEntry> kernel_entries() const;

 private:
  friend class Orders;
  struct Strong {
    Prefix prefix;
    policy::HostAction action{};
    std::uint32_t rate_per_hour = 0;
    std::uint32_t burst = 1;
    Nanoseconds until = 0;
  };
  template <typename Use>
  void each(Use&& use) const;

  std::shared_ptr<const StandingVoices> standing_;
  std::vector<Strong> strong_;  // operators and the ladder, each prefix once
};

class Orders {
 public:
  // The last good contents of each list, by name.
  using Lists = std::map<std::string, std::shared_ptr<const std::vector<Prefix>>>;

  Orders();
  // Merges the standing voices. Takes about a second for a million prefixes; any thread.
  static std::shared_ptr<const StandingVoices> merge(const Configuration& configuration,
                                                     const Lists& lists);
  void set_standing(std::shared_ptr<const StandingVoices> standing, Lists lists);
  const Lists& lists() const { return lists_; }
  // How many prefixes the list has; 0 when there is no such list.
  std::size_t list_size(const std::string& name) const;

  void put(const Order& order);
  // True when there was one.
  bool remove(const Prefix& prefix);
  const Order* find(const Prefix& prefix) const { return operators_.exact(prefix); }
  std::vector<Order> operators() const;
  // Orders whose time has come, removed.
  std::vector<Order> expire(Nanoseconds now);
  Nanoseconds next_deadline() const;  // UINT64_MAX: none

  // Whether operators, lists and configuration allow the host: of what they say the longest prefix
  // decides.
  bool allowed(const Prefix& host) const;
  MergedOrders merged(const Ladder& ladder) const;
  Treatment treatment(const Address& host, const Ladder& ladder) const;
  // Each voice that has a say about the host, weakest first. The longest prefix decides, of equal
  // ones the later.
  std::vector<Treatment> voices(const Address& host, const Ladder& ladder) const;

 private:
  std::shared_ptr<const StandingVoices> standing_;
  Lists lists_;
  PrefixMap<Order> operators_;
};

}  // namespace sluice::control
