// The table of mail flows: key to flow, keyed and non-linear hash (SipHash-1-3 with a key made at
// start), bounded, evicting the least worth first (closed, but not just now, then half-open, and in
// a flood of SYNs before the closed; then idle longest). Eviction forgets, it never affects
// forwarding. Time-outs outlast RFC 5321 4.5.3.2.
//
// Theory. Entries of one cache line (64 octets) live in slabs and never move: an Entry* stays valid
// until that entry is removed. An index of groups, each one cache line of 12 one-octet tags and 12
// slot numbers, leads from hash to entry: a miss costs one cache line, a hit two. The index is
// sized for the bound when the table is made, so that it never grows (no rehash on the packet
// path); slabs are taken as flows come. A group counts the entries that had to go on to a later
// group, so that a probe ends early and nothing is left behind by erasing.
//
// A flow whose handshake is not finished costs its Entry alone: what must be known of it fits into
// the Entry (Opening, Handshake). The caller allocates its state object when the conversation
// begins and hangs it on the Entry; a SYN flood touches nothing else.
//
// Each class (half-open, one-way, established, closed) is a list in the order of last activity, so
// that the next to time out and the next to be evicted are at its head: both cost O(1). Touching an
// established or one-way flow moves it at most once a second.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <type_traits>
#include <vector>

#include "dataplane/base/address.h"
#include "dataplane/base/direction.h"
#include "dataplane/net/packet.h"

namespace sluice::flow {

// Order-free: both directions of a connection give the same key. `low_is_source` tells which of the
// packet's ends came first. The input port is not part of it (case D13); the ordered list of tags
// and the PPPoE session are (D02); MPLS labels differ by direction and are not.
struct FlowKey {
  static constexpr std::uint16_t kWires = 1024;  // wires that can be told apart

  Address low;
  Address high;
  std::uint16_t low_port = 0;
  std::uint16_t high_port = 0;

  std::uint8_t vlan_count() const { return static_cast<std::uint8_t>(tags_[0] >> 24 & 3); }
  // Outermost first; 0 beyond vlan_count().
  std::uint16_t vlan(std::size_t i) const {
    return static_cast<std::uint16_t>((i < 2 ? tags_[0] >> (12 * i) : tags_[1]) & 0xfff);
  }
  std::uint16_t pppoe_session() const {
    return static_cast<std::uint16_t>(tags_[1] >> 12 & 0xffff);
  }
  std::uint16_t wire() const {
    return static_cast<std::uint16_t>(tags_[0] >> 26 | (tags_[1] >> 28) << 6);
  }
  // `vlans`: at most three identifiers of 12 bits.
  void set_tags(std::span<const std::uint16_t> vlans, std::uint16_t pppoe_session,
                std::uint16_t wire) {
    tags_[0] = static_cast<std::uint32_t>(vlans.size()) << 24 | (wire & 0x3fu) << 26;
    tags_[1] = std::uint32_t{pppoe_session} << 12 | (wire >> 6 & 0xfu) << 28;
    for (std::size_t i = 0; i < vlans.size(); ++i)
      tags_[i / 2] |= (vlans[i] & 0xfffu) << (i < 2 ? 12 * i : 0);
  }

  friend bool operator==(const FlowKey& a, const FlowKey& b) {
    // Without padding, as is asserted below.
    const auto word = [](const FlowKey& key, std::size_t at) {
      std::uint64_t word;
      std::memcpy(&word, reinterpret_cast<const std::uint8_t*>(&key) + at, sizeof word);
      return word;
    };
    std::uint64_t differing = word(a, sizeof a - 8) ^ word(b, sizeof b - 8);
    for (std::size_t at = 0; at + 8 < sizeof a; at += 8) differing |= word(a, at) ^ word(b, at);
    return differing == 0;
  }

 private:
  std::uint32_t tags_[2]{};  // two identifiers, their number, wire; one, session, wire
};
static_assert(sizeof(FlowKey) == 44);
static_assert(std::has_unique_object_representations_v<FlowKey>, "compared and hashed as octets");

struct KeyedPacket {
  FlowKey key;
  bool low_is_source;
};
KeyedPacket key_of(const net::Packet& packet, std::uint16_t wire);

struct HashKey {
  std::uint64_t k0;
  std::uint64_t k1;
};
// SipHash-1-3 of the key. For flow tables and for spreading flows over workers.
std::uint64_t hash(const FlowKey& key, const HashKey& secret);
// Of each; `hashes` has room for them.
void hash(std::span<const FlowKey> keys, const HashKey& secret, std::span<std::uint64_t> hashes);

enum class FlowClass : std::uint8_t {
  half_open,    // the handshake is not finished
  established,  // both ends take part
  closed,
  one_way,  // picked up in the middle, and only one end was heard since
};
inline constexpr std::size_t kFlowClasses = 4;

// What is known of a connection before its state object exists. Filled by tcp::observe_opening().
struct Opening {
  std::uint32_t client_sequence = 0;  // ISN of the SYN
  // ISN of the SYN/ACK; until there is one, the timestamp of the SYN (kClientTimestamp).
  std::uint32_t server_sequence = 0;
  std::uint8_t scales = 0;  // window scales: client in the low nibble, server in the high
  std::uint8_t flags = 0;   // below
  static constexpr std::uint8_t kSyn = 0x01;     // client_sequence is known
  static constexpr std::uint8_t kSynAck = 0x02;  // server_sequence is known
  static constexpr std::uint8_t kLowIsClient = 0x04;
  static constexpr std::uint8_t kClientScale = 0x08;  // the option was there
  static constexpr std::uint8_t kServerScale = 0x10;
  static constexpr std::uint8_t kClientTimestamp = 0x20;
  static constexpr std::uint8_t kServerTimestamp = 0x40;
  static constexpr std::uint8_t kOddAck = 0x80;  // acknowledgement field set without the flag
  bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
};

// What was seen of a flow before its state object exists.
struct Handshake {
  std::uint32_t frames[2]{};  // from the client, from the server
  std::uint32_t octets[2]{};
  std::uint16_t client_mss = 0;  // at least; 0: not said, or less than 88
  Side client_side = Side::inside;
  Nanoseconds first = 0;  // when its first frame came
};

class FlowTable;

// One flow. Owned by the table; the caller reads it, and writes through the functions.
class alignas(64) Entry {
 public:
  const FlowKey& key() const { return key_; }
  FlowClass flow_class() const { return static_cast<FlowClass>(class_); }
  // The caller's state object, or null.
  void* state() const { return has_state_ ? word_.state : nullptr; }
  template <typename T>
  T* state_as() const {
    return static_cast<T*>(state());
  }
  // Not owned: freed by the caller when the entry is removed. Null takes it away. Opening numbers
  // and counts are overwritten: read opening() and FlowTable::handshake() first.
  void set_state(void* state) {
    counts_ = {};
    word_.state = state;
    has_state_ = state != nullptr;
  }
  // The numbers of the handshake. Only while state() is null; zeros after it was taken away.
  Opening opening() const {
    Opening o;
    if (has_state_) return o;
    o.client_sequence = word_.sequences[0];
    o.server_sequence = word_.sequences[1];
    o.scales = scales_;
    o.flags = opening_flags_;
    return o;
  }
  void set_opening(const Opening& o) {
    if (has_state_) return;
    word_.sequences[0] = o.client_sequence;
    word_.sequences[1] = o.server_sequence;
    scales_ = o.scales;
    opening_flags_ = o.flags;
  }

 private:
  friend class FlowTable;
  // Enough for an honest handshake whose segments are sent again and again; what has more needs a
  // state object.
  struct Counts {
    std::uint32_t client_frames : 4;
    std::uint32_t server_frames : 4;
    std::uint32_t client_octets : 10;
    std::uint32_t server_octets : 10;
    std::uint32_t mss : 3;  // index of kMss
    std::uint32_t client_outside : 1;
  };
  static constexpr std::uint16_t kMss[8] = {0, 88, 256, 512, 536, 960, 1160, 1200};

  union {
    void* state;
    std::uint32_t sequences[2];
  } word_;
  FlowKey key_;
  Counts counts_;            // while there is no state
  std::uint32_t last_seen_;  // ticks of its class
  std::uint16_t class_ : 2;
  std::uint16_t live_ : 1;
  std::uint16_t has_state_ : 1;
  std::uint16_t slab_ : 12;
  std::uint8_t scales_;
  std::uint8_t opening_flags_;
};
static_assert(sizeof(Entry) == 64);

enum class Removal : std::uint8_t { timed_out, evicted };

class FlowTable {
 public:
  struct Config {
    std::size_t max_flows = 1u << 20;  // 1 to 2^31
    // Idle time after which a flow is forgotten; to the second. At most 100 days.
    Nanoseconds half_open = 30 * kSecond;  // since its first segment; at most 8 minutes
    // RFC 5321 4.5.3.2.6: the client waits ten minutes for the reply to end-of-data.
    Nanoseconds established = 15 * 60 * kSecond;
    Nanoseconds closed = 10 * kSecond;  // late segments still find their flow
  };
  static constexpr std::size_t kMaxBurst = 64;

  // The index is allocated here (std::bad_alloc passes: there is no table without it).
  FlowTable(const Config& config, const HashKey& secret, std::pmr::memory_resource* memory);
  ~FlowTable();
  FlowTable(const FlowTable&) = delete;
  FlowTable& operator=(const FlowTable&) = delete;

  // Finds up to kMaxBurst keys at once (all hashes, then all index lines, then all entries are
  // fetched, so that the misses overlap). `found[i]` is null when there is no such flow. `hashes`
  // receives the hashes for insert(). Spans of the same length.
  void lookup(std::span<const FlowKey> keys, std::span<std::uint64_t> hashes,
              std::span<Entry*> found) const;
  Entry* find(const FlowKey& key) const { return find(key, hash(key, secret_)); }
  Entry* find(const FlowKey& key, std::uint64_t hash) const;

  // Adds a flow, half-open, without state; the flow when it is there already. At the bound (or when
  // memory is refused) another one is forgotten first, `on_remove(Entry&, Removal::evicted)` having
  // been called for it. Null only when memory is refused and the table is empty.
  template <typename F>
  Entry* insert(const FlowKey& key, std::uint64_t hash, Nanoseconds now, F&& on_remove) {
    if (Entry* there = find(key, hash)) return there;
    if (!has_room()) {
      Entry* victim = worst(now);
      if (victim == nullptr) return nullptr;
      ++evicted_[victim->class_];
      on_remove(*victim, Removal::evicted);
      erase(victim);
    }
    return place(key, hash, now);
  }

  // Forgets the flow of class `c` that is least worth keeping, after `on_remove(Entry&)`; false:
  // there is none.
  template <typename F>
  bool evict(FlowClass c, F&& on_remove) {
    const std::uint32_t slot = lists_[static_cast<std::size_t>(c)].head;
    if (slot == kNone) return false;
    Entry& victim = entry(slot);
    ++evicted_[static_cast<std::size_t>(c)];
    on_remove(victim);
    erase(&victim);
    return true;
  }
  // Notes activity of a flow. Cheap: established flows move at most once a second, others stay in
  // the order in which they came to their class.
  void touch(Entry* entry, Nanoseconds now) {
    const FlowClass c = entry->flow_class();
    if ((c == FlowClass::established || c == FlowClass::one_way) &&
        tick_of(now, c) - entry->last_seen_ >= kTouchTicks) {
      move(entry, c, now);
    }
  }
  void set_class(Entry* entry, FlowClass to, Nanoseconds now) {
    if (entry->flow_class() != to) move(entry, to, now);
  }
  // Counts a frame of a flow without state. False, and nothing is counted, when that is more than
  // the entry can hold: the flow needs a state object. `side`: on which it came in. `mss`: of a
  // client's SYN, else 0.
  static bool count(Entry* entry, bool from_client, Side side, std::size_t octets,
                    std::uint16_t mss);
  // What count() gathered. Of a half-open flow without state.
  Handshake handshake(const Entry* entry, Nanoseconds now) const;
  // Forgets a flow; the caller has freed its state.
  void erase(Entry* entry);

  // Removes up to `max_work` flows that are past their time-out, after `on_remove(Entry&,
  // Removal::timed_out)`. Returns how many; fewer than max_work: there are no more.
  template <typename F>
  std::size_t expire(Nanoseconds now, std::size_t max_work, F&& on_remove) {
    std::size_t n = 0;
    while (n < max_work) {
      Entry* entry = overdue(now);
      if (entry == nullptr) break;
      on_remove(*entry, Removal::timed_out);
      erase(entry);
      ++n;
    }
    return n;
  }
  // Gives flows in which both ends, or one, take part and that have been idle for `idle` (seconds
  // or more) to visit(Entry&), the longest idle first, each once until it is touched again; at most
  // `max_work` at a time. `visit` may change their state, not their place.
  template <typename F>
  void visit_idle(Nanoseconds now, Nanoseconds idle, std::size_t max_work, F&& visit) {
    for (const FlowClass c : {FlowClass::one_way, FlowClass::established}) {
      List& list = lists_[static_cast<std::size_t>(c)];
      const auto ticks = static_cast<std::int32_t>(tick_of(idle, c));
      for (; max_work > 0; --max_work) {
        const std::uint32_t slot = list.visited == kNone ? list.head : link(list.visited).next;
        if (slot == kNone) break;
        Entry& e = entry(slot);
        if (static_cast<std::int32_t>(tick_of(now, c) - e.last_seen_) < ticks) break;
        list.visited = slot;
        visit(e);
      }
    }
  }
  // Lower bound of when expire() has work again; UINT64_MAX when the table is empty.
  Nanoseconds next_expiry(Nanoseconds now) const;

  // Iteration that survives changes: starts with cursor 0; sets `cursor` for the next call and
  // returns an entry, null at the end (cursor 0 again). No entry that stays is missed or given
  // twice. Looks at no more than `max_steps` slots: null with cursor not 0 means: call again.
  Entry* next(std::size_t& cursor, std::size_t max_steps = 4096) const;

  std::size_t size() const { return size_; }
  std::size_t size(FlowClass c) const { return lists_[static_cast<std::size_t>(c)].size; }
  std::size_t max_size() const { return config_.max_flows; }
  // Flows forgotten early, by the class that they had.
  std::uint64_t evicted(FlowClass c) const { return evicted_[static_cast<std::size_t>(c)]; }
  // Octets of index and slabs.
  std::size_t memory_used() const;
  const HashKey& secret() const { return secret_; }
  // The longest way of a key now in the table, in groups (1: the first). For tests and statistics;
  // walks everything.
  std::size_t longest_probe() const;

 private:
  static constexpr std::size_t kSlots = 12;
  static constexpr std::size_t kGroupLoad = 9;    // entries per group at the bound: 3/4
  static constexpr std::size_t kMaxSlabs = 4096;  // Entry::slab_
  // 16.8 ms, of which 32 bits are 2.2 years; of half-open flows 512 ns, of which they are 36
  // minutes, so that it is known to the microsecond when they began.
  static constexpr unsigned kTickShift = 24;
  static constexpr unsigned kHalfOpenShift = 9;
  static constexpr std::uint32_t kTouchTicks = 60;  // 1 s
  static constexpr std::size_t kSparedShare = 8;    // of the table, for flows that closed just now
  static constexpr std::uint32_t kNone = 0xffffffff;

  struct alignas(64) Group {
    std::uint8_t tags[kSlots];  // 0: free, else 0x80 and seven bits of the hash
    std::uint32_t passed;       // entries that belong here or before and stand in a later group
    std::uint32_t slots[kSlots];
  };
  static_assert(sizeof(Group) == 64);
  struct Link {
    std::uint32_t previous;
    std::uint32_t next;  // also chains free slots
  };
  struct Slab {
    Entry* entries;
    Link* links;  // apart: only list operations touch them
  };
  struct List {
    std::uint32_t head = kNone;
    std::uint32_t tail = kNone;
    std::uint32_t visited = kNone;  // up to here visit_idle() has come
    std::size_t size = 0;
    std::uint32_t timeout = 0;  // ticks
  };

  static unsigned shift_of(FlowClass c) {
    return c == FlowClass::half_open ? kHalfOpenShift : kTickShift;
  }
  static std::uint32_t tick_of(Nanoseconds t, FlowClass c) {
    return static_cast<std::uint32_t>(t >> shift_of(c));
  }
  static std::uint8_t tag_of(std::uint64_t h) {
    return static_cast<std::uint8_t>(0x80 | (h & 0x7f));
  }
  std::size_t group_of(std::uint64_t h) const {
    // Fixed-point range reduction by the high bits; the tag uses the low ones.
    return static_cast<std::size_t>((static_cast<unsigned __int128>(h) * groups_.size()) >> 64);
  }
  Entry& entry(std::uint32_t slot) const {
    return slabs_[slot >> slab_shift_].entries[slot & slab_mask_];
  }
  Link& link(std::uint32_t slot) const {
    return slabs_[slot >> slab_shift_].links[slot & slab_mask_];
  }
  std::uint32_t slot_of(const Entry* entry) const {
    const std::uint32_t slab = entry->slab_;
    return (slab << slab_shift_) + static_cast<std::uint32_t>(entry - slabs_[slab].entries);
  }
  static std::uint32_t matches(const Group& group, std::uint8_t tag);
  Entry* find_from(std::size_t group, const FlowKey& key, std::uint8_t tag) const;
  bool has_room();  // a free slot, taking a new slab where needed
  bool add_slab();
  Entry* worst(Nanoseconds now) const;
  Entry* overdue(Nanoseconds now) const;
  Entry* place(const FlowKey& key, std::uint64_t hash, Nanoseconds now);
  void append(std::uint32_t slot, FlowClass c);
  void unlink(std::uint32_t slot, FlowClass c);
  void move(Entry* entry, FlowClass to, Nanoseconds now);

  Config config_;
  HashKey secret_;
  std::pmr::memory_resource* memory_;
  std::pmr::vector<Group> groups_;
  std::pmr::vector<Slab> slabs_;
  unsigned slab_shift_ = 10;
  std::uint32_t slab_mask_ = 0;
  List lists_[kFlowClasses];
  std::uint64_t evicted_[kFlowClasses]{};
  std::size_t size_ = 0;
  std::uint32_t used_slots_ = 0;  // slots ever used
  std::uint32_t free_slot_ = kNone;
  std::uint32_t refused_ = 0;  // inserts to go before memory is asked for again
};

}  // namespace sluice::flow
