// The ladder: which hosts are acted on because messages of theirs were condemned.
//
//            >= limit-threshold            >= block-threshold
//    clean ---------------------> limit ---------------------> block
//      ^   <-- limit-duration ----  ^                            |
//      |       without a hit        '-- step-down -- block-duration, exactly
//      '-------------------------------------------------------- '  (no step-down)
//
// Theory. Hits (condemned messages) of a host are kept for the length of a sliding window; the step
// is decided by how many there are. One is never enough (the thresholds' ranges begin at 2). A step
// down forgets the hits, so that each step up needs fresh evidence. Three things hold the ladder
// back, and then it says what it would have done instead: the wire is in monitor mode, the address
// is shared by many (limit is the most), or as many hosts as the cap allows are acted on already.
// Hosts that are allowed, and infrastructure, are never acted on.
//
// A host is an IPv4 address or an IPv6 prefix of configured length (E16). The table is bounded; the
// host idle longest that is not acted on is forgotten first.
//
// Time is CLOCK_MONOTONIC, given by the caller: wall clock steps do not exist here (E11). One
// thread. No I/O.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/api/config.h"
#include "control/identity/prefix_map.h"
#include "dataplane/base/address.h"
#include "dataplane/base/bytes.h"

namespace sluice::control {

enum class Level : std::uint8_t { clean, limit, block };
inline constexpr std::string_view kLevelNames[] = {"clean", "limit", "block"};

// One condemned message.
struct Hit {
  Nanoseconds at = 0;       // monotonic
  std::uint64_t wall = 0;   // ns since the Unix epoch
  std::uint64_t event = 0;  // identity of the event in this process
  std::uint64_t flow = 0;
  std::string wire;
  std::string why;  // rules and score
};

enum class HeldBack : std::uint8_t { no, monitor, shared_address, cap, disabled };
inline constexpr std::string_view kHeldBackNames[] = {
    "", "monitor mode", "shared address", "cap on hosts acted on at once", "detection disabled"};

struct Standing {
  Prefix host;
  Level decided = Level::clean;   // what the evidence says
  Level enforced = Level::clean;  // what is done; never above `decided`
  Nanoseconds until = 0;          // end of the step; monotonic; 0: none
  HeldBack held_back = HeldBack::no;
  std::deque<Hit> hits;  // inside the window, oldest first; bounded by block-threshold
  std::uint64_t messages = 0;
  std::uint64_t condemned = 0;
  std::uint64_t recipients = 0;
  std::uint64_t octets = 0;
  std::uint64_t first_seen = 0;  // wall
  std::uint64_t last_seen = 0;   // wall
  std::uint64_t forgiven = 0;    // wall; condemned messages before it are no evidence
  Nanoseconds active = 0;        // monotonic, of the last message
  Nanoseconds step_began = 0;
  std::string wire;        // of the last message
  std::string arithmetic;  // of the last change, for explain
};

struct Change {
  Prefix host;
  Level from = Level::clean;  // enforced before
  Level to = Level::clean;    // enforced after; or, held back, what it would have been
  HeldBack held_back = HeldBack::no;
  Nanoseconds until = 0;  // monotonic; 0: none
  std::string arithmetic;
  std::vector<Hit> evidence;  // of a step up; at most kMaxEvidence, the latest
  std::string wire;
  bool released = false;  // by an operator
};

struct MessageSeen {
  Address client;
  bool condemned = false;
  bool enforcing = false;  // the wire enforces
  std::uint64_t wall = 0;
  std::uint64_t event = 0;
  std::uint64_t flow = 0;
  std::uint32_t recipients = 0;
  std::uint64_t octets = 0;
  std::string wire;
  std::string why;
};

class Ladder {
 public:
  explicit Ladder(const DetectionConfig& config, const std::vector<InsidePrefix>& inside = {});

  // Takes effect at once; standings are kept.
  void configure(const DetectionConfig& config, const std::vector<InsidePrefix>& inside);
  // Says of a host whether it is allowed: never acted on, whatever it does. Hosts that were acted
  // on and are allowed now are released. Called for each condemned message: a lookup, no search.
  using Allowed = std::function<bool(const Prefix& host)>;
  std::vector<Change> set_allowed(Allowed allowed);

  std::vector<Change> message(const MessageSeen& message, Nanoseconds now);
  // Steps that end. Call at next_deadline() or later.
  std::vector<Change> tick(Nanoseconds now);
  // Monotonic; UINT64_MAX: none.
  Nanoseconds next_deadline() const;
  // An operator forgives every host inside `prefix`, at `wall`: evidence and step are gone, and
  // messages from before count no more, whenever they are told.
  std::vector<Change> release(const Prefix& prefix, std::uint64_t wall);
  // Puts back what a store remembers. Not checked against the cap. A later one of a host replaces.
  void restore(const Standing& standing, Nanoseconds now);

  // The host that `client` belongs to.
  Prefix host_of(const Address& client) const;
  const Standing* find(const Address& client) const;
  // All that are acted on.
  std::vector<const Standing*> acted_on() const;
  // Up to `most`, those acted on first, then by condemned messages, then by messages.
  std::vector<const Standing*> top(std::size_t most) const;
  std::size_t hosts() const { return table_.size(); }
  std::size_t acted_on_count() const { return acted_on_; }
  // How many hosts may be acted on at once, now.
  std::size_t cap() const;
  std::uint64_t forgotten() const { return forgotten_; }
  const DetectionConfig& config() const { return config_; }

  static constexpr std::size_t kMaxEvidence = 10;
  static constexpr Nanoseconds kForgetAfter = 86'400 * kSecond;

 private:
  using Deadlines = std::multimap<Nanoseconds, Prefix>;
  struct Entry {
    Standing standing;
    std::list<Prefix>::iterator recency;
    std::optional<Deadlines::iterator> deadline;
  };

  Entry& entry_of(const Prefix& host);
  void touch(Entry& entry);
  void make_room();
  void forget(const Prefix& host);
  void set_enforced(Standing& standing, Level level);
  void set_deadline(Entry& entry, Nanoseconds until);
  bool never_acted_on(const Prefix& host) const;
  Role role_of(const Prefix& host) const;
  void age(Standing& standing, Nanoseconds now) const;
  void climb(Entry& entry, const MessageSeen& message, Nanoseconds now, std::vector<Change>& out);
  Change step_down(Entry& entry, Nanoseconds now);
  Change release_entry(Entry& entry);

  DetectionConfig config_;
  PrefixMap<Role> roles_;
  PrefixMap<bool> single_hosts_;  // IPv6 prefixes in which each address is a host
  Allowed allowed_;
  std::unordered_map<Prefix, Entry, PrefixHash, PrefixEqual> table_;
  std::list<Prefix> recency_;  // front: idle longest
  Deadlines deadlines_;
  std::size_t acted_on_ = 0;
  std::uint64_t forgotten_ = 0;
};

}  // namespace sluice::control
