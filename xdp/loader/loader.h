// Puts a wire into the kernel and keeps it there: loads xdp/steer.bpf.c, attaches it to the two
// ports with pinned links, pins its maps, and gives typed access to them. Used by sluice-dataplane
// (sockets, heartbeat, flows) and sluiced (lists, counters, state).
//
// Theory. Everything that must outlive a process is pinned under
// <bpffs>/sluice/v<STEER_LAYOUT>/<wire>/: the program goes on forwarding when both processes are
// dead. attach() builds what is missing and adopts what is there (the running program is replaced
// by bpf_link_update, no frame is lost, maps and so lists, limits and counters are kept). A program
// on a port that is not ours is never replaced or removed: attach() fails and names it. A lock on
// the wire's folder makes two processes that start at once take turns.
//
// Threads: a Wire may be used by several threads at once except where a function says otherwise;
// list changes of several processes are serialised by the folder's lock.
#pragma once

#include <time.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/address.h"
#include "dataplane/base/bytes.h"
#include "dataplane/base/direction.h"
#include "dataplane/base/marked_flow.h"
#include "dataplane/base/result.h"
#include "xdp/contract/steer.h"

namespace sluice::xdp {

enum class FailurePolicy : std::uint8_t { open, closed };
enum class AttachMode : std::uint8_t {
  automatic,  // native, or generic with a warning when the driver cannot
  native,
  generic,
  // TC programs on the ports, and XDP, native, on veths behind them (xdp/front.bpf.c): for drivers
  // that work with socket buffers. WireConfig::queues is then free.
  front,
};
enum class UnequalMtu : std::uint8_t { refuse, warn };

struct WireConfig {
  std::string name;    // 1..31 of [A-Za-z0-9_-]
  std::string inside;  // interface names, in the caller's network namespace
  std::string outside;
  std::vector<std::uint16_t> mail_ports{25, 465, 587, 2525};
  FailurePolicy failure = FailurePolicy::open;
  Nanoseconds heartbeat_timeout = 60 * kMillisecond;  // 1 ms..10 s
  std::uint32_t queues = 1;                           // queue pairs that workers serve, from 0
  std::uint32_t watermark = 750;                      // permille of a ring; 0: none
  AttachMode mode = AttachMode::automatic;
  UnequalMtu unequal_mtu = UnequalMtu::refuse;
  // Octets of IP that cross the wire; tags do not count against it, so the ports get a little more.
  // 0: what the ports have when they are first attached.
  std::uint32_t mtu = 0;
  // Frames longer than a page cross natively; mail in them is not inspected. Kernel 6.3 and later.
  bool multi_buffer = false;
  bool mirror_link = false;  // see Wire::mirror_links()
};

// A block of addresses. Host bits are zero (masked() makes them so).
struct Prefix {
  Address address;
  std::uint8_t length = 128;  // of the 128-bit form: an IPv4 /24 is 120

  Prefix masked() const;
  // NOLINTNEXTLINE(modernize-use-nullptr): a false find of clang-tidy 14 in defaulted <=>
  friend auto operator<=>(const Prefix&, const Prefix&) = default;
};

enum class ListAction : std::uint8_t { allow = 0, drop = 1, reset = 2, limit = 3 };
enum class ListScope : std::uint8_t { mail = 0, all = 1 };

struct ListEntry {
  Prefix prefix;
  ListAction action = ListAction::drop;
  ListScope scope = ListScope::mail;
  // limit: `burst` at once, then one each `interval`. All hosts of a prefix share its limit.
  Nanoseconds interval = kSecond;  // 1 us..1 day
  std::uint32_t burst = 1;         // 1..1,000,000
  bool limit_packets = false;      // count packets from the host; false: its new connections (SYN)
  // CLOCK_MONOTONIC at which the entry becomes void by itself, even when nobody is there to remove
  // it; 0: never. Remove it all the same: a void entry still hides the shorter prefixes below it.
  Nanoseconds expires = 0;

  friend bool operator==(const ListEntry&, const ListEntry&) = default;
};

// One connection, either way round.
struct FlowEnds {
  Address a;
  Address b;
  std::uint16_t a_port = 0;
  std::uint16_t b_port = 0;
  std::uint16_t vlan[3]{};  // identifiers (12 bits), outermost first
  std::uint8_t vlan_count = 0;
  std::uint16_t pppoe_session = 0;
};
steer_flow_key flow_key(const FlowEnds& ends);

// What of the client's octets did, see Wire::pass_message().
struct PassedMessage {
  bool over = false;   // what comes now goes to the dataplane
  bool begun = false;  // the rest is set
  std::uint32_t start = 0;
  std::uint32_t next = 0;
  std::uint8_t last[2]{};  // the octets before `next`
};

enum class CounterClass : std::uint8_t { total, peer, socket, answer, drop, note };
struct CounterInfo {
  std::string_view name;
  CounterClass kind;
  std::string_view description;
};
inline constexpr CounterInfo kCounters[STEER_COUNTER_COUNT] = {
#define X(id, name, class_, text) {name, CounterClass::class_, text},
    STEER_COUNTERS(X)
#undef X
};

struct CounterValue {
  std::uint64_t frames = 0;
  std::uint64_t octets = 0;
};
// Summed over CPUs; index by Side and steer_counter.
struct Counters {
  CounterValue values[STEER_SIDES][STEER_COUNTER_COUNT]{};
  const CounterValue& at(Side side, steer_counter counter) const {
    return values[static_cast<std::size_t>(side)][counter];
  }
};

struct PortState {
  std::string name;
  std::uint32_t ifindex = 0;  // 0: the interface is gone
  bool attached = false;      // our program is on it
  bool generic = false;       // in generic mode
  bool front = false;         // in front mode
  bool up = false;            // administratively
  bool carrier = false;
  bool mirrored_down = false;  // taken down by mirror_links()
  std::uint32_t mtu = 0;
  std::string driver;
};
struct WireState {
  std::string name;
  PortState ports[STEER_SIDES];
  FailurePolicy failure = FailurePolicy::open;
  bool operator_bypass = false;
  std::uint32_t queues = 0;
  std::uint32_t fresh_queues = 0;   // with a heartbeat within the timeout, now
  Nanoseconds oldest_beat_age = 0;  // of the `queues` slots; UINT64_MAX: one never beat
  bool alive() const { return queues > 0 && fresh_queues == queues; }
};

// What the attached program decided about a frame of ours.
struct ProbeAnswer {
  bool forwarded = false;     // to the peer port or to the dataplane
  bool to_dataplane = false;  // of those
  std::string decision;       // name of the counter; empty: lost among the counts of live traffic
  std::uint32_t nanoseconds = 0;  // of one run
};

struct LimiterState {
  std::uint64_t conforming = 0;
  std::uint64_t exceeding = 0;
};

// The heartbeat page of a wire, mapped. Slot `queue` is written by the worker that serves that
// queue of both ports and by nobody else. Unmapped when destroyed; the last beats then grow stale.
class Heartbeat {
 public:
  Heartbeat() = default;
  ~Heartbeat();
  Heartbeat(Heartbeat&& other) noexcept;
  Heartbeat& operator=(Heartbeat&& other) noexcept;

  static Nanoseconds now() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<Nanoseconds>(t.tv_sec) * kSecond + static_cast<Nanoseconds>(t.tv_nsec);
  }

  // "I am here, at `time`, and my fullest ring is `occupancy` permille full." From inside the
  // burst, so that one slow scan does not look like death. Returns false, and writes no beat, when
  // the last beat is older than the timeout: XDP has already sent frames past us, so the caller
  // must drain its rings, hold every flow for mid-stream, and then call start(). No system call.
  bool beat(std::uint32_t queue, std::uint32_t occupancy, Nanoseconds time) {
    steer_heartbeat& slot = slots_[queue];
    const std::uint64_t last = load(slot.beat_ns);
    if (static_cast<std::int64_t>(time - last) > static_cast<std::int64_t>(timeout_)) return false;
    std::atomic_ref(slot.occupancy).store(occupancy, std::memory_order_relaxed);
    std::atomic_ref(slot.beat_ns).store(time, std::memory_order_release);
    return true;
  }
  bool beat(std::uint32_t queue, std::uint32_t occupancy) { return beat(queue, occupancy, now()); }
  // The subscribers of whom much waits (STEER_HOSTS bits by steer_host() with `key`): their new
  // flows are sent past the worker whatever its rings hold.
  void tell_crowd(std::uint32_t queue, std::uint64_t key, std::span<const std::uint64_t, 4> bits) {
    steer_heartbeat& slot = slots_[queue];
    std::atomic_ref(slot.crowd_key).store(key, std::memory_order_relaxed);
    for (std::size_t i = 0; i < bits.size(); ++i)
      std::atomic_ref(slot.crowd[i]).store(bits[i], std::memory_order_relaxed);
  }
  // First beat of a worker that is ready, or of one that has drained after a hang.
  void start(std::uint32_t queue, Nanoseconds time) {
    std::atomic_ref(slots_[queue].occupancy).store(0, std::memory_order_relaxed);
    std::atomic_ref(slots_[queue].beat_ns).store(time, std::memory_order_release);
  }
  // Orderly stop: XDP takes the failure policy from the next frame on. Then drain the rings
  // (forward what is in them), then close the sockets: no accepted frame is lost.
  void stop(std::uint32_t queue) {
    std::atomic_ref(slots_[queue].beat_ns).store(0, std::memory_order_release);
  }
  Nanoseconds last(std::uint32_t queue) const { return load(slots_[queue].beat_ns); }
  Nanoseconds timeout() const { return timeout_; }
  explicit operator bool() const { return slots_ != nullptr; }

 private:
  friend class Wire;
  static std::uint64_t load(__u64& word) {
    return std::atomic_ref(word).load(std::memory_order_relaxed);
  }
  steer_heartbeat* slots_ = nullptr;  // STEER_MAX_QUEUES
  std::size_t mapped_ = 0;
  Nanoseconds timeout_ = 0;
};

// Where wires are pinned: `base` if not empty, else $SLUICE_BPFFS, else /sys/fs/bpf. The folder is
// mounted as bpffs when it is not one.
std::string bpffs_base(const std::string& base = {});

class Wire {
 public:
  // Attaches or adopts. On failure nothing that was not there before is left behind, and what was
  // there is as before. Needs CAP_NET_ADMIN, CAP_BPF (and CAP_SYS_ADMIN only to mount bpffs). May
  // block for tens of milliseconds.
  static Result<Wire> attach(const WireConfig& config, const std::string& base = {});
  // Opens the maps of a wire that is attached, without loading or changing anything.
  static Result<Wire> open(const std::string& name, const std::string& base = {});
  // Takes the wire out of the kernel: our links and pins only, and gives the ports back as they
  // were found (MTU, promiscuity, ARP, IPv6). Success when there is no such wire.
  static Status detach(const std::string& name, const std::string& base = {});
  // Names of the wires that are pinned.
  static Result<std::vector<std::string>> names(const std::string& base = {});

  ~Wire();
  Wire(Wire&&) noexcept;
  Wire& operator=(Wire&&) noexcept;

  const std::string& name() const;
  const std::string& interface(Side side) const;
  // What the port's sockets are to be bound to: the port but in front mode.
  const std::string& socket_interface(Side side) const;
  std::uint32_t ifindex(Side side) const;
  // What attach() did or could not do and somebody should read, in words.
  const std::vector<std::string>& warnings() const;
  // True when attach() took over a wire that was running.
  bool adopted() const;

  // ---- dataplane ----
  // Descriptor of the port's XSKMAP, owned by the Wire.
  int socket_map(Side side) const;
  // The kernel takes the socket out again by itself when it is closed.
  Status put_socket(Side side, std::uint32_t queue, int socket);
  Status remove_socket(Side side, std::uint32_t queue);
  Result<Heartbeat> map_heartbeat() const;
  // Flow marks. Each is one system call; an LRU map forgets the least used when it is full.
  Status steer_flow(const FlowEnds& ends);  // this flow, on any port, to the dataplane
  Status unsteer_flow(const FlowEnds& ends);
  // Past the dataplane, counted, but for its FINs and RSTs, a frame each minute, and its next SYN;
  // on a side with an edge from the segment that begins there, or after STEER_EDGE_WAIT_NS. One
  // that is marked already goes on where it does so, and its time and counts too.
  Status bypass_flow(const FlowEnds& ends, const FlowEdges& edges = {});
  Result<FlowTraffic> bypassed_traffic(const FlowEnds& ends) const;  // zero: not marked
  // What the client, on that side, says goes past the dataplane, in order, up to the first segment
  // that may hold the end of a message, or that is not the next; so do pure acknowledgements. With
  // an edge it begins there, or after STEER_EDGE_WAIT_NS: told again, the edge moves as long as
  // nothing went by and half of that time has not passed.
  Status pass_message(const FlowEnds& ends, Side client, std::optional<std::uint32_t> edge = {});
  // Sequence numbers [start, next) did. Nothing: there is no such mark (any more).
  std::optional<PassedMessage> passed_message(const FlowEnds& ends) const;
  Status unmark_bypass(const FlowEnds& ends);          // neither of the two any more
  Status mark_sequence_changed(const FlowEnds& ends);  // XDP resets it rather than let it hang
  // Removes every mark of the flow: call when a marked connection ends.
  Status forget_flow(const FlowEnds& ends);
  // Spares the program the lookup of flows on other ports when there are none. Now and then.
  Status settle_hints();

  // ---- settings, live at the next frame ----
  Status set_mail_ports(std::span<const std::uint16_t> ports);
  Result<std::vector<std::uint16_t>> mail_ports() const;
  Status set_failure_policy(FailurePolicy policy);
  Status set_heartbeat_timeout(Nanoseconds timeout);  // map_heartbeat() again afterwards
  Status set_watermark(std::uint32_t permille);
  Status set_operator_bypass(bool on);

  // ---- lists ----
  // Adds or changes one entry of the live lists, in microseconds. A limit keeps its state when the
  // entry was one already. E02: an allow inside a blocked prefix wins, whichever came first.
  Status put_entry(const ListEntry& entry);
  // Removes one; success when it is not there.
  Status remove_entry(const Prefix& prefix);
  // Replaces all lists by `entries` at one instant: no frame is judged by a half. Later duplicates
  // win. 1,000,000 entries take seconds; frames go on being judged by the old lists meanwhile.
  Status replace_lists(std::span<const ListEntry> entries);
  // All live entries, ordered by prefix.
  Result<std::vector<ListEntry>> entries() const;
  // What the limit of `prefix` has let pass and stopped; zeros when it has none.
  Result<LimiterState> limiter(const Prefix& prefix) const;

  // ---- state ----
  Result<Counters> counters() const;
  Result<WireState> state() const;
  // Runs the program that is attached to the port on `frame`, `repeat` times (1..1000). The frame
  // goes nowhere; it is counted as if it had come in. From the ports' network namespace.
  Result<ProbeAnswer> probe(Side side, Bytes frame, std::uint32_t repeat) const;
  // One step of mirroring: a port that lost its carrier takes the other down, and brings it up when
  // it has carrier again; a port just brought up gets 5 s to find its own. Does nothing unless
  // WireConfig::mirror_link. Call on each link event, or every second. Returns whether a port was
  // changed.
  Result<bool> mirror_links();

  struct Impl;  // the loader's own

 private:
  explicit Wire(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::xdp
