#include "dataplane/net/defragmenter.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <compare>
#include <cstring>
#include <list>
#include <map>
#include <new>
#include <span>
#include <vector>

#include "dataplane/base/checksum.h"
#include "dataplane/net/headers.h"

namespace sluice::net {
namespace {

using contract::Anomaly;

constexpr std::size_t kLargest = 65'535;  // octets of an IP datagram (RFC 791, RFC 8200 4.5)
constexpr std::size_t kBlock = 8;         // unit of fragment offsets
constexpr std::size_t kBlocks = 8192;
constexpr std::size_t kPage = 2048;
constexpr std::size_t kPages = 32;
static_assert(kPage * kPages >= kLargest && kPage % kBlock == 0);
constexpr std::size_t kMaxIpHeader = 60;

// Ordered and compared as a whole: a tree cannot be degraded by chosen keys, as a hash could.
struct Key {
  Address source;
  Address destination;
  std::uint32_t id = 0;
  std::uint16_t pppoe_session = 0;
  std::uint8_t protocol = 0;
  bool v6 = false;
  bool mixed = false;  // the reading in which tags mean nothing, none are in the key
  std::uint16_t vlan[kMaxTags]{};
  std::uint8_t vlan_count = 0;
  bool newer = false;  // the second reading of a contradicted datagram

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 misreads the defaulted comparison.
  friend auto operator<=>(const Key&, const Key&) = default;
};

struct Datagram {
  Nanoseconds started = 0;
  std::size_t total = 0;  // octets of IP payload; 0: the last fragment has not come
  std::size_t reach = 0;  // end of the furthest octet held
  std::size_t blocks_held = 0;
  std::bitset<kBlocks> held;
  std::array<std::uint8_t*, kPages> pages{};
  std::uint8_t header[kMaxIpHeader]{};  // of the fragment at offset 0
  std::uint8_t header_size = 0;
  std::uint8_t protocol = 0;  // by the fragment at offset 0
  bool discarded = false;     // IPv6 overlap: later fragments of it are discarded too (RFC 5722)
  bool contradicted = false;  // there is, or was, another reading
  bool used = false;          // a packet was made of its octets without regard to tags

  bool complete() const { return total != 0 && blocks_held == (total + kBlock - 1) / kBlock; }
};

struct Piece {
  std::size_t offset;
  Bytes octets;
  bool last;
  std::size_t end() const { return offset + octets.size(); }
};

// How a fragment stands to what is held of its datagram.
enum class Fit : std::uint8_t {
  fresh,          // nothing of it is held
  duplicate,      // all of it is held, with the same octets
  overlap,        // some of it is held, with the same octets
  contradiction,  // some of it is held, with other octets
  other_end       // says otherwise where the datagram ends
};

}  // namespace

struct Defragmenter::Impl {
  // By arrival of the first fragment, oldest first. Erased together with its datagram.
  using Order = std::pmr::list<Key>;
  struct Entry {
    Datagram datagram;
    Order::iterator place;
  };

  Impl(const Limits& l, std::pmr::memory_resource* m)
      : limits(l), memory(m), entries(m), order(m), whole(m), other_whole(m) {}
  ~Impl() { clear(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  using Entries = std::pmr::map<Key, Entry>;

  // What an entry costs beside its pages.
  static constexpr std::size_t kEntryOctets = sizeof(Entries::value_type) + sizeof(Key) + 64;

  Limits limits;
  std::pmr::memory_resource* memory;
  Entries entries;
  Order order;
  std::size_t page_count = 0;
  std::pmr::vector<std::uint8_t> whole;
  std::pmr::vector<std::uint8_t> other_whole;

  std::size_t octets() const { return entries.size() * kEntryOctets + page_count * kPage; }

  void free_pages(Datagram& d) {
    for (std::uint8_t*& page : d.pages) {
      if (page == nullptr) continue;
      memory->deallocate(page, kPage, kBlock);
      page = nullptr;
      --page_count;
    }
  }

  void erase(Entries::iterator it) {
    free_pages(it->second.datagram);
    order.erase(it->second.place);
    entries.erase(it);
  }

  void clear() {
    for (auto& [key, entry] : entries) free_pages(entry.datagram);
    entries.clear();
    order.clear();
  }

  bool timed_out(const Datagram& d, Nanoseconds now) const {
    return now > d.started && now - d.started >= limits.timeout;
  }

  // `asked` is set when a datagram with key `mine` (either reading) was among them.
  std::size_t expire(Nanoseconds now, const Key* mine, bool* asked) {
    std::size_t count = 0;
    while (!order.empty()) {
      const auto it = entries.find(order.front());
      if (!timed_out(it->second.datagram, now)) break;
      if (mine != nullptr && !it->second.datagram.discarded && !it->second.datagram.used) {
        Key first = it->first;
        first.newer = false;
        if (first == *mine) *asked = true;
      }
      erase(it);
      ++count;
    }
    return count;
  }

  // Makes room for `octets_needed` by dropping the oldest, but not `keep`. False when it cannot.
  bool make_room(std::size_t octets_needed, std::size_t entries_needed, const Key& keep,
                 bool* dropped) {
    auto oldest = order.begin();
    while (entries.size() + entries_needed > limits.datagrams ||
           octets() + octets_needed > limits.octets) {
      if (oldest != order.end() && *oldest == keep) ++oldest;
      if (oldest == order.end()) return false;
      const auto it = entries.find(*oldest);
      ++oldest;
      erase(it);
      *dropped = true;
    }
    return true;
  }

  Entries::iterator begin_datagram(const Key& key, Nanoseconds now, bool* dropped) {
    if (!make_room(kEntryOctets, 1, key, dropped)) return entries.end();
    const auto place = order.insert(order.end(), key);
    const auto it = entries.try_emplace(key).first;
    it->second.place = place;
    it->second.datagram.started = now;
    return it;
  }

  static const std::uint8_t* block_of(const Datagram& d, std::size_t block) {
    return d.pages[block * kBlock / kPage] + block * kBlock % kPage;
  }

  static Fit compare(const Datagram& d, const Piece& piece) {
    if (piece.last ? (d.total != 0 ? d.total != piece.end() : d.reach > piece.end())
                   : (d.total != 0 && piece.end() > d.total))
      return Fit::other_end;
    const std::size_t first = piece.offset / kBlock;
    const std::size_t count = (piece.octets.size() + kBlock - 1) / kBlock;
    std::size_t found = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (!d.held[first + i]) continue;
      ++found;
      const std::size_t size = std::min(kBlock, piece.octets.size() - i * kBlock);
      if (std::memcmp(block_of(d, first + i), &piece.octets[i * kBlock], size) != 0)
        return Fit::contradiction;
    }
    if (found == 0) return Fit::fresh;
    return found == count ? Fit::duplicate : Fit::overlap;
  }

  // Copies what is not held yet. The piece does not contradict the datagram's end. False when the
  // bound on octets does not allow it.
  bool store(Datagram& d, const Key& key, const Piece& piece, bool* dropped) {
    const std::size_t first_page = piece.offset / kPage;
    const std::size_t last_page = (piece.end() - 1) / kPage;
    for (std::size_t page = first_page; page <= last_page; ++page) {
      if (d.pages[page] != nullptr) continue;
      if (!make_room(kPage, 0, key, dropped)) return false;
      d.pages[page] = static_cast<std::uint8_t*>(memory->allocate(kPage, kBlock));
      ++page_count;
    }
    const std::size_t first = piece.offset / kBlock;
    for (std::size_t at = 0; at < piece.octets.size(); at += kBlock) {
      const std::size_t block = first + at / kBlock;
      if (d.held[block]) continue;
      d.held.set(block);
      ++d.blocks_held;
      std::memcpy(d.pages[block * kBlock / kPage] + block * kBlock % kPage, &piece.octets[at],
                  std::min(kBlock, piece.octets.size() - at));
    }
    d.reach = std::max(d.reach, piece.end());
    if (piece.last) d.total = piece.end();
    return true;
  }

  // The datagram from its IP header. False when it is longer than a datagram can be.
  static bool assemble(const Datagram& d, const Packet& packet,
                       std::pmr::vector<std::uint8_t>& out) {
    const bool v4 = d.header[0] >> 4 == 4;
    if ((v4 ? d.header_size : 0) + d.total > kLargest) return false;
    out.resize(d.header_size + d.total);
    std::copy_n(d.header, d.header_size, out.begin());
    for (std::size_t at = 0; at < d.total; at += kPage)
      std::memcpy(&out[d.header_size + at], d.pages[at / kPage], std::min(kPage, d.total - at));
    std::uint8_t* ip = out.data();
    if (v4) {
      store_be16(ip + 2, static_cast<std::uint16_t>(out.size()));
      store_be16(ip + 6, 0);
      store_be16(ip + 10, 0);
      store_checksum(ip + 10, checksum_finish(checksum_add(ip, d.header_size, 0)));
    } else {
      store_be16(ip + 4, static_cast<std::uint16_t>(d.total));
      ip[6] = d.protocol;
      std::copy_n(packet.source.octets.data(), 16, ip + 8);
      std::copy_n(packet.destination.octets.data(), 16, ip + 24);
    }
    return true;
  }

  // Whether a whole TCP datagram is one that its receiver takes; true for other protocols.
  static bool is_plausible(const Datagram& d, const Packet& packet,
                           const std::pmr::vector<std::uint8_t>& whole) {
    if (d.protocol != ip_protocol::tcp) return true;
    return checksum_fold(
               checksum_add(whole.data() + d.header_size, d.total,
                            tcp_pseudo_sum(packet.source, packet.destination, d.total))) == 0xffff;
  }

  Result add(Bytes frame, const Packet& packet, Nanoseconds now);

 private:
  struct Step {
    bool contradiction = false;
    bool completed = false;  // and put into `out`
  };
  void add_to_newer(Key key, Bytes frame, const Packet& packet, const Piece& piece, Nanoseconds now,
                    const Step& first, Result& result);
  bool begin_mixed(const Key& mixed, const Key& mine, Nanoseconds now);
  void add_to_mixed(const Key& mine, Bytes frame, const Packet& packet, const Piece& piece,
                    Nanoseconds now, Result& result);
  Step add_to(const Key& key, Bytes frame, const Packet& packet, const Piece& piece,
              Nanoseconds now, std::pmr::vector<std::uint8_t>& out, Result& result);
};

namespace {

void note(Defragmenter::Result& result, Anomaly anomaly) {
  const std::span<Anomaly> noted(result.anomalies, result.anomaly_count);
  if (noted.size() < std::size(result.anomalies) &&
      std::find(noted.begin(), noted.end(), anomaly) == noted.end())
    result.anomalies[result.anomaly_count++] = anomaly;
}

// The key of the reading without tags.
Key without_tags(const Key& key) {
  Key mixed;
  mixed.source = key.source;
  mixed.destination = key.destination;
  mixed.id = key.id;
  mixed.pppoe_session = key.pppoe_session;
  mixed.protocol = key.protocol;
  mixed.v6 = key.v6;
  mixed.mixed = true;
  return mixed;
}

bool same_but_tags(const Key& a, const Key& b) { return without_tags(a) == without_tags(b); }

Key key_of(const Packet& packet, bool v6) {
  Key key;
  key.source = packet.source;
  key.destination = packet.destination;
  key.id = packet.fragment_id;
  std::copy(std::begin(packet.vlan), std::end(packet.vlan), std::begin(key.vlan));
  key.vlan_count = packet.vlan_count;
  key.pppoe_session = packet.pppoe ? packet.pppoe_session : 0;
  // Not part of the key in IPv6, where only the first fragment tells it (RFC 8200 4.5).
  key.protocol = v6 ? 0 : packet.protocol;
  key.v6 = v6;
  return key;
}

}  // namespace

// Adds the fragment to one reading of its datagram, which is begun when there is none.
Defragmenter::Impl::Step Defragmenter::Impl::add_to(const Key& key, Bytes frame,
                                                    const Packet& packet, const Piece& piece,
                                                    Nanoseconds now,
                                                    std::pmr::vector<std::uint8_t>& out,
                                                    Result& result) {
  Step step;
  bool dropped = false;
  auto it = entries.find(key);
  if (it == entries.end()) it = begin_datagram(key, now, &dropped);
  if (it == entries.end()) {
    note(result, Anomaly::fragment_limit);
    return step;
  }
  Datagram& d = it->second.datagram;
  if (d.discarded) return step;

  const Fit fit = compare(d, piece);
  // Octets that are known can still tell that they are the last.
  const bool ends_it = piece.last && d.total == 0;
  if (fit == Fit::duplicate && !ends_it) return step;
  const bool contradicts = fit == Fit::contradiction || fit == Fit::other_end;
  if (contradicts || fit == Fit::overlap) {
    note(result, Anomaly::fragment_overlap);
    if (key.v6) {
      free_pages(d);
      d.discarded = true;
      return step;
    }
  }
  if (contradicts) step.contradiction = d.contradicted = true;
  if (fit == Fit::other_end) return step;
  if (piece.offset == 0 && d.header_size == 0) {
    const std::uint8_t* ip = frame.data() + packet.network_offset;
    d.header_size = key.v6 ? kIpv6Header : static_cast<std::uint8_t>((ip[0] & 0x0f) * 4);
    std::copy_n(ip, d.header_size, d.header);
    d.protocol = packet.protocol;
  }
  if (!store(d, key, piece, &dropped)) {
    erase(it);
    note(result, Anomaly::fragment_limit);
    return step;
  }
  if (dropped) note(result, Anomaly::fragment_limit);
  if (!d.complete()) return step;

  if (!assemble(d, packet, out)) {
    note(result, Anomaly::fragment_limit);
  } else if (is_plausible(d, packet, out)) {
    step.completed = true;
  } else {
    // A mixture of two datagrams of one identification, or a wrong checksum of the sender's. Where
    // another reading is under way, that one decides; else this is what the receiver sees.
    step.completed = !d.contradicted;
    // Its last piece may belong to a datagram whose other fragments are still to come.
    step.contradiction = true;
  }
  erase(it);
  return step;
}

// Begins the reading without tags with what came under other tags than those of `mine`. False when
// nothing did.
bool Defragmenter::Impl::begin_mixed(const Key& mixed, const Key& mine, Nanoseconds now) {
  Key first = mixed;
  first.mixed = false;
  bool begun = false;
  bool dropped = false;
  for (auto it = entries.lower_bound(first); it != entries.end(); ++it) {
    const Key key = it->first;
    if (key.mixed || !same_but_tags(key, mixed)) break;
    Key same = key;
    same.newer = false;
    const Datagram& from = it->second.datagram;
    if (same == mine || key.newer || from.discarded) continue;
    auto to = entries.find(mixed);
    if (to == entries.end()) to = begin_datagram(mixed, now, &dropped);
    it = entries.find(key);  // room may have been made by dropping it
    if (to == entries.end() || it == entries.end()) return begun;
    Datagram& d = to->second.datagram;
    if (from.header_size > 0 && d.header_size == 0) {
      std::copy_n(from.header, from.header_size, d.header);
      d.header_size = from.header_size;
      d.protocol = from.protocol;
    }
    for (std::size_t at = 0; at < from.reach; at += kBlock) {
      if (!from.held[at / kBlock]) continue;
      const std::size_t size = std::min(kBlock, from.reach - at);
      const Piece piece{at, {block_of(from, at / kBlock), size}, at + size == from.total};
      if (compare(d, piece) != Fit::fresh) continue;
      store(d, mixed, piece, &dropped);
      if (!entries.contains(key)) return true;
    }
    d.contradicted = true;  // only what its receiver takes is a packet
    begun = true;
  }
  return begun;
}

// Hosts with several tags on a link put fragments together whatever their tags are (Linux), and a
// capture may have lost some (case C22).
void Defragmenter::Impl::add_to_mixed(const Key& mine, Bytes frame, const Packet& packet,
                                      const Piece& piece, Nanoseconds now, Result& result) {
  const Key mixed = without_tags(mine);
  if (!entries.contains(mixed) && !begin_mixed(mixed, mine, now)) return;
  Result aside;  // what it contradicts is no fault of its own
  const Step step = add_to(mixed, frame, packet, piece, now, other_whole, aside);
  if (!step.completed) return;
  result.datagram = other_whole;
  Key first = mixed;
  first.mixed = false;
  // Under tags of their own they may yet come to more.
  for (auto it = entries.lower_bound(first);
       it != entries.end() && !it->first.mixed && same_but_tags(it->first, mixed); ++it) {
    it->second.datagram.used = true;
    const Key& same = it->first;
    if (same.newer || same == mine || result.other_tags_count == std::size(result.other_tags))
      continue;
    Result::Tags& tags = result.other_tags[result.other_tags_count++];
    std::copy(std::begin(same.vlan), std::end(same.vlan), tags.vlan);
    tags.count = same.vlan_count;
  }
}

Defragmenter::Result Defragmenter::Impl::add(Bytes frame, const Packet& packet, Nanoseconds now) {
  Result result;
  const std::size_t begin = packet.payload_offset;
  if (packet.kind != PacketKind::fragment || begin + packet.payload_size > frame.size() ||
      packet.network_offset + kIpv4Header > begin)
    return result;
  const bool v6 = frame[packet.network_offset] >> 4 == 6;
  Key key = key_of(packet, v6);
  bool mine_timed_out = false;
  expire(now, &key, &mine_timed_out);
  if (mine_timed_out) note(result, Anomaly::fragment_timeout);
  if (packet.checksum_bad) return result;

  std::size_t size = packet.payload_size;
  if (packet.more_fragments && size % kBlock != 0) {
    if (v6) return result;
    size -= size % kBlock;  // as receivers do
  }
  if (size == 0) return result;
  const Piece piece{packet.fragment_offset, frame.subspan(begin, size), !packet.more_fragments};
  if (piece.end() > kLargest) {
    note(result, Anomaly::fragment_limit);
    return result;
  }

  const Step first = add_to(key, frame, packet, piece, now, whole, result);
  if (first.completed) result.datagram = whole;
  if (!v6) add_to_newer(key, frame, packet, piece, now, first, result);
  if (result.datagram.empty())
    add_to_mixed(key, frame, packet, piece, now, result);
  else if (const auto it = entries.find(without_tags(key)); it != entries.end())
    erase(it);
  return result;
}

// To the reading that is begun when a fragment contradicts what is held.
void Defragmenter::Impl::add_to_newer(Key key, Bytes frame, const Packet& packet,
                                      const Piece& piece, Nanoseconds now, const Step& first,
                                      Result& result) {
  key.newer = true;
  const bool second_exists = entries.contains(key);
  if (!second_exists && !first.contradiction) return;
  Step second = add_to(key, frame, packet, piece, now, other_whole, result);
  if (second.contradiction && second_exists) {
    // A third datagram of this identification: the newer reading begins again with it.
    const auto it = entries.find(key);
    if (it != entries.end()) erase(it);
    second = add_to(key, frame, packet, piece, now, other_whole, result);
  }
  if (second.completed) (first.completed ? result.alternative : result.datagram) = other_whole;
}

Defragmenter::Defragmenter(const Limits& limits, std::pmr::memory_resource* memory)
    : impl_(std::make_unique<Impl>(limits, memory)) {}

Defragmenter::~Defragmenter() = default;

Defragmenter::Result Defragmenter::add(Bytes frame, const Packet& packet, Nanoseconds now) {
  try {
    return impl_->add(frame, packet, now);
  } catch (const std::bad_alloc&) {
    // The memory resource is at its bound, which should be beyond ours. Nothing held is worth more
    // than going on.
    impl_->clear();
    Result result;
    note(result, Anomaly::fragment_limit);
    return result;
  }
}

std::size_t Defragmenter::expire(Nanoseconds now) { return impl_->expire(now, nullptr, nullptr); }

std::size_t Defragmenter::datagrams() const { return impl_->entries.size(); }

std::size_t Defragmenter::octets() const { return impl_->octets(); }

}  // namespace sluice::net
