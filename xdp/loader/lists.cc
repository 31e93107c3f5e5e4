// Block and limit lists. Two generations of inner maps, each pinned, so that a later process gets
// at them without CAP_SYS_ADMIN; `list_state.live` names the one in force. All changes hold the
// folder's lock.
#include <bpf/bpf.h>

#include <algorithm>
#include <optional>

#include "xdp/loader/bpffs.h"
#include "xdp/loader/wire_impl.h"

namespace sluice::xdp {
namespace {

constexpr std::uint32_t kFewEntries = 65536;  // room in a list for single additions
constexpr std::size_t kBatch = 8192;
constexpr Nanoseconds kDay = 86400 * kSecond;

using Key = steer_list_key;

Key make_key(const Prefix& prefix) {
  Key key{};
  key.length = prefix.length;
  std::copy(prefix.address.octets.begin(), prefix.address.octets.end(), key.address);
  return key;
}

Prefix make_prefix(const Key& key) {
  Prefix prefix;
  prefix.length = static_cast<std::uint8_t>(key.length);
  std::copy(std::begin(key.address), std::end(key.address), prefix.address.octets.begin());
  return prefix;
}

// The host hash is keyed by the address alone.
const void* key_octets(const Key& key) {
  return key.length == 128 ? static_cast<const void*>(key.address) : &key;
}

Status check(const ListEntry& entry) {
  if (entry.prefix.length > 128) return Error{"prefix length over 128"};
  if (entry.action != ListAction::limit) return ok();
  if (entry.interval < kMicrosecond || entry.interval > kDay)
    return Error{"limit interval must be 1 us to 1 day"};
  if (entry.burst < 1 || entry.burst > 1'000'000)
    return Error{"limit burst must be 1 to 1,000,000"};
  return ok();
}

steer_list_entry make_value(const ListEntry& entry, std::uint32_t limiter) {
  steer_list_entry value{};
  value.action = static_cast<std::uint8_t>(entry.action);
  value.scope = static_cast<std::uint8_t>(entry.scope);
  value.expires_ns = entry.expires;
  if (entry.action == ListAction::limit) {
    value.flags = entry.limit_packets ? STEER_LIMIT_PACKETS : 0;
    value.limiter = limiter;
    value.interval_ns = entry.interval;
    value.tolerance_ns = (entry.burst - 1) * entry.interval;
  }
  return value;
}

ListEntry make_entry(const Key& key, const steer_list_entry& value) {
  ListEntry entry;
  entry.prefix = make_prefix(key);
  entry.action = static_cast<ListAction>(value.action);
  entry.scope = static_cast<ListScope>(value.scope);
  entry.expires = value.expires_ns;
  if (entry.action == ListAction::limit) {
    entry.limit_packets = (value.flags & STEER_LIMIT_PACKETS) != 0;
    entry.interval = value.interval_ns;
    entry.burst = static_cast<std::uint32_t>(value.tolerance_ns / value.interval_ns) + 1;
  }
  return entry;
}

Descriptor create_hosts(std::uint32_t size) {
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  options.map_flags = BPF_F_NO_PREALLOC;
  return Descriptor(
      bpf_map_create(BPF_MAP_TYPE_HASH, "host_list", 16, sizeof(steer_list_entry), size, &options));
}

Descriptor create_prefixes(std::uint32_t size) {
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  options.map_flags = BPF_F_NO_PREALLOC;
  return Descriptor(bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "prefix_list", sizeof(Key),
                                   sizeof(steer_list_entry), size, &options));
}

struct Generation {
  Descriptor hosts;
  Descriptor prefixes;
  int of(const Key& key) const { return key.length == 128 ? hosts.get() : prefixes.get(); }
};

Result<Generation> open_generation(const std::string& folder, std::uint32_t generation) {
  Generation lists;
  lists.hosts = Descriptor(bpf_obj_get((folder + "/" + hosts_pin(generation)).c_str()));
  lists.prefixes = Descriptor(bpf_obj_get((folder + "/" + prefixes_pin(generation)).c_str()));
  if (!lists.hosts || !lists.prefixes) return failure("cannot open the lists of " + folder);
  return lists;
}

// Pins the maps in place of those of `generation` and gives them to the program.
Status install(const std::string& folder, int host_lists, int prefix_lists,
               std::uint32_t generation, const Generation& lists) {
  const std::string hosts_path = folder + "/" + hosts_pin(generation);
  const std::string prefixes_path = folder + "/" + prefixes_pin(generation);
  unlink(hosts_path.c_str());
  unlink(prefixes_path.c_str());
  if (bpf_obj_pin(lists.hosts.get(), hosts_path.c_str()) != 0 ||
      bpf_obj_pin(lists.prefixes.get(), prefixes_path.c_str()) != 0)
    return failure("cannot pin the lists of " + folder);
  const int hosts = lists.hosts.get();
  const int prefixes = lists.prefixes.get();
  if (bpf_map_update_elem(host_lists, &generation, &hosts, BPF_ANY) != 0 ||
      bpf_map_update_elem(prefix_lists, &generation, &prefixes, BPF_ANY) != 0)
    return failure("cannot give the lists of " + folder + " to the program");
  return ok();
}

// Calls `visit(key, value)` for each entry of one list.
template <typename Visit>
Status walk(int map, bool hosts, Visit visit) {
  Key key{};
  Key next{};
  void* key_at = hosts ? static_cast<void*>(key.address) : &key;
  void* next_at = hosts ? static_cast<void*>(next.address) : &next;
  bool first = true;
  while (bpf_map_get_next_key(map, first ? nullptr : key_at, next_at) == 0) {
    first = false;
    key = next;
    if (hosts) key.length = 128;
    steer_list_entry value{};
    if (bpf_map_lookup_elem(map, key_at, &value) == 0) visit(key, value);
  }
  return errno == ENOENT ? ok() : Status(failure("cannot read a list"));
}

template <typename Visit>
Status walk(const Generation& lists, Visit visit) {
  if (Status done = walk(lists.hosts.get(), true, visit); !done) return done;
  return walk(lists.prefixes.get(), false, visit);
}

// ---- limiters ----
// An index belongs to a prefix as long as a limit entry of it is listed; ownership stands in the
// shared array itself. Found by probing from a hash of the prefix.

bool owns(const steer_limiter& limiter, const Key& key) {
  return limiter.used != 0 && limiter.owner.length == key.length &&
         std::equal(std::begin(key.address), std::end(key.address), limiter.owner.address);
}

std::uint32_t first_slot(const Key& key) {
  std::uint64_t hash = 0xcbf29ce484222325ull ^ key.length;  // FNV-1a
  for (const std::uint8_t octet : key.address) hash = (hash ^ octet) * 0x100000001b3ull;
  return static_cast<std::uint32_t>(hash >> 32) % STEER_MAX_LIMITERS;
}

// Probing ends at a slot never used (arrival 0 and unused says less: so the whole table when need
// be); a released slot may stand before the one that is looked for.
std::optional<std::uint32_t> find_limiter(const MappedArray<steer_limiter>& limiters,
                                          const Key& key) {
  const std::uint32_t first = first_slot(key);
  for (std::uint32_t i = 0; i < STEER_MAX_LIMITERS; i++) {
    const std::uint32_t slot = (first + i) % STEER_MAX_LIMITERS;
    if (owns(limiters[slot], key)) return slot;
    if (limiters[slot].used == 0 && limiters[slot].owner.length == 0) return std::nullopt;
  }
  return std::nullopt;
}

std::optional<std::uint32_t> give_limiter(const MappedArray<steer_limiter>& limiters,
                                          const Key& key) {
  if (const std::optional<std::uint32_t> known = find_limiter(limiters, key)) return known;
  const std::uint32_t first = first_slot(key);
  for (std::uint32_t i = 0; i < STEER_MAX_LIMITERS; i++) {
    const std::uint32_t slot = (first + i) % STEER_MAX_LIMITERS;
    steer_limiter& limiter = limiters[slot];
    if (limiter.used != 0) continue;
    std::atomic_ref(limiter.arrival_ns).store(0, std::memory_order_relaxed);
    limiter.conforming = 0;
    limiter.exceeding = 0;
    limiter.owner.length = key.length;
    std::copy(std::begin(key.address), std::end(key.address), limiter.owner.address);
    limiter.used = 1;
    return slot;
  }
  return std::nullopt;
}

// A length that is not zero stays as the mark that probing goes on past this slot.
void retire(steer_limiter& limiter) {
  limiter.used = 0;
  if (limiter.owner.length == 0) limiter.owner.length = 129;
}

void release_limiter(const MappedArray<steer_limiter>& limiters, const Key& key) {
  if (const std::optional<std::uint32_t> slot = find_limiter(limiters, key))
    retire(limiters[*slot]);
}

// Frees every limiter whose owner is not limited by `lists`: those of entries that a new list does
// not have, and those given for a list that then failed to load.
void sweep_limiters(const MappedArray<steer_limiter>& limiters, const Generation& lists) {
  for (std::uint32_t slot = 0; slot < STEER_MAX_LIMITERS; slot++) {
    steer_limiter& limiter = limiters[slot];
    if (limiter.used == 0) continue;
    Key key{};
    key.length = limiter.owner.length;
    std::copy(std::begin(limiter.owner.address), std::end(limiter.owner.address), key.address);
    steer_list_entry entry{};
    if (bpf_map_lookup_elem(lists.of(key), key_octets(key), &entry) == 0 &&
        entry.action == STEER_LIMIT && entry.limiter == slot)
      continue;
    retire(limiter);
  }
}

Result<steer_list_entry> prepare(const MappedArray<steer_limiter>& limiters, const Key& key,
                                 const ListEntry& entry) {
  std::uint32_t limiter = 0;
  if (entry.action == ListAction::limit) {
    const std::optional<std::uint32_t> given = give_limiter(limiters, key);
    if (!given)
      return Error{"all " + std::to_string(STEER_MAX_LIMITERS) + " limits of the wire are in use"};
    limiter = *given;
  }
  return make_value(entry, limiter);
}

// ---- building ----

struct Item {
  Key key;
  const ListEntry* entry;
  std::size_t order;
};

// Sorted by prefix, later duplicates in place of earlier ones.
std::vector<Item> sort_unique(std::span<const ListEntry> entries) {
  std::vector<Item> items;
  items.reserve(entries.size());
  for (const ListEntry& entry : entries)
    items.push_back({make_key(entry.prefix.masked()), &entry, items.size()});
  const auto same = [](const Key& a, const Key& b) {
    return a.length == b.length && std::memcmp(a.address, b.address, sizeof a.address) == 0;
  };
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    const int order = std::memcmp(a.key.address, b.key.address, sizeof a.key.address);
    if (order != 0) return order < 0;
    if (a.key.length != b.key.length) return a.key.length < b.key.length;
    return a.order > b.order;
  });
  items.erase(std::unique(items.begin(), items.end(),
                          [&](const Item& a, const Item& b) { return same(a.key, b.key); }),
              items.end());
  return items;
}

// Fills one list in batches: a system call for each of a million entries takes seconds more.
class BatchWriter {
 public:
  BatchWriter(int map, std::size_t key_size) : map_(map), key_size_(key_size) {}
  Status add(const void* key, const steer_list_entry& value) {
    const auto* octets = static_cast<const std::uint8_t*>(key);
    keys_.insert(keys_.end(), octets, octets + key_size_);
    values_.push_back(value);
    return values_.size() == kBatch ? flush() : ok();
  }
  Status flush() {
    if (values_.empty()) return ok();
    auto count = static_cast<__u32>(values_.size());
    bpf_map_batch_opts options{};
    options.sz = sizeof options;
    if (bpf_map_update_batch(map_, keys_.data(), values_.data(), &count, &options) != 0)
      return failure("cannot fill a list");
    keys_.clear();
    values_.clear();
    return ok();
  }

 private:
  int map_;
  std::size_t key_size_;
  std::vector<std::uint8_t> keys_;
  std::vector<steer_list_entry> values_;
};

std::uint32_t roomy(std::size_t entries) {
  return std::max(kFewEntries, static_cast<std::uint32_t>(
                                   std::min<std::size_t>(entries * 2, std::size_t{1} << 28)));
}

void add_to(std::uint32_t& word, int change) {
  std::atomic_ref(word).store(word + static_cast<std::uint32_t>(change), std::memory_order_release);
}

}  // namespace

Prefix Prefix::masked() const {
  Prefix result = *this;
  for (std::size_t i = 0; i < 16; i++) {
    const std::size_t first_bit = i * 8;
    if (first_bit >= length)
      result.address.octets[i] = 0;
    else if (length - first_bit < 8)
      result.address.octets[i] &= static_cast<std::uint8_t>(0xff00u >> (length - first_bit));
  }
  return result;
}

Status ensure_lists(const std::string& folder, int host_lists, int prefix_lists) {
  for (std::uint32_t generation = 0; generation < STEER_LIST_GENERATIONS; generation++) {
    if (open_generation(folder, generation)) continue;
    Generation lists{create_hosts(kFewEntries), create_prefixes(kFewEntries)};
    if (!lists.hosts || !lists.prefixes) return failure("cannot make a list");
    if (Status done = install(folder, host_lists, prefix_lists, generation, lists); !done)
      return done;
  }
  return ok();
}

Status Wire::put_entry(const ListEntry& entry) {
  if (Status checked = check(entry); !checked) return checked;
  {
    const Result<Descriptor> lock = lock_folder(impl_->folder);
    if (!lock) return Error{lock.error()};
    steer_list_state& state = impl_->list_state[0];
    const std::uint32_t live = state.live;
    const Result<Generation> lists = open_generation(impl_->folder, live);
    if (!lists) return Error{lists.error()};
    const Key key = make_key(entry.prefix.masked());
    steer_list_entry before{};
    const bool known = bpf_map_lookup_elem(lists->of(key), key_octets(key), &before) == 0;
    Result<steer_list_entry> value = prepare(impl_->limiters, key, entry);
    if (!value) {
      sweep_limiters(impl_->limiters, *lists);
      value = prepare(impl_->limiters, key, entry);
    }
    if (!value) return Error{value.error()};
    if (bpf_map_update_elem(lists->of(key), key_octets(key), &*value, BPF_ANY) == 0) {
      const bool was_all = known && before.scope == STEER_SCOPE_ALL;
      if (known && before.action == STEER_LIMIT && entry.action != ListAction::limit)
        release_limiter(impl_->limiters, key);
      add_to(state.all_scope[live],
             static_cast<int>(entry.scope == ListScope::all) - static_cast<int>(was_all));
      add_to(state.entries[live], known ? 0 : 1);
      return ok();
    }
    if (errno != E2BIG && errno != ENOSPC) return failure("cannot add an entry");
  }
  // Full: the lists are built anew with room to grow.
  Result<std::vector<ListEntry>> all = entries();
  if (!all) return Error{all.error()};
  all->push_back(entry);
  return replace_lists(*all);
}

Status Wire::remove_entry(const Prefix& prefix) {
  const Result<Descriptor> lock = lock_folder(impl_->folder);
  if (!lock) return Error{lock.error()};
  steer_list_state& state = impl_->list_state[0];
  const std::uint32_t live = state.live;
  const Result<Generation> lists = open_generation(impl_->folder, live);
  if (!lists) return Error{lists.error()};
  const Key key = make_key(prefix.masked());
  steer_list_entry before{};
  if (bpf_map_lookup_elem(lists->of(key), key_octets(key), &before) != 0)
    return errno == ENOENT ? ok() : Status(failure("cannot read an entry"));
  if (bpf_map_delete_elem(lists->of(key), key_octets(key)) != 0)
    return failure("cannot remove an entry");
  if (before.action == STEER_LIMIT) release_limiter(impl_->limiters, key);
  if (before.scope == STEER_SCOPE_ALL) add_to(state.all_scope[live], -1);
  add_to(state.entries[live], -1);
  return ok();
}

Status Wire::replace_lists(std::span<const ListEntry> entries) {
  for (const ListEntry& entry : entries)
    if (Status checked = check(entry); !checked) return checked;
  const std::vector<Item> items = sort_unique(entries);
  const auto hosts = static_cast<std::size_t>(
      std::count_if(items.begin(), items.end(), [](const Item& i) { return i.key.length == 128; }));

  const Result<Descriptor> lock = lock_folder(impl_->folder);
  if (!lock) return Error{lock.error()};
  steer_list_state& state = impl_->list_state[0];
  const std::uint32_t old = state.live;
  const std::uint32_t fresh = old ^ 1;
  Generation lists{create_hosts(roomy(hosts)), create_prefixes(roomy(items.size() - hosts))};
  if (!lists.hosts || !lists.prefixes) return failure("cannot make a list");

  BatchWriter host_writer(lists.hosts.get(), 16);
  BatchWriter prefix_writer(lists.prefixes.get(), sizeof(Key));
  std::uint32_t all_scope = 0;
  for (const Item& item : items) {
    const Result<steer_list_entry> value = prepare(impl_->limiters, item.key, *item.entry);
    if (!value) return Error{value.error()};
    if (item.entry->scope == ListScope::all) all_scope++;
    BatchWriter& writer = item.key.length == 128 ? host_writer : prefix_writer;
    if (Status added = writer.add(key_octets(item.key), *value); !added) return added;
  }
  if (Status done = host_writer.flush(); !done) return done;
  if (Status done = prefix_writer.flush(); !done) return done;

  if (Status done =
          install(impl_->folder, impl_->host_lists.get(), impl_->prefix_lists.get(), fresh, lists);
      !done)
    return done;
  std::atomic_ref(state.entries[fresh])
      .store(static_cast<std::uint32_t>(items.size()), std::memory_order_relaxed);
  std::atomic_ref(state.all_scope[fresh]).store(all_scope, std::memory_order_relaxed);
  std::atomic_ref(state.live).store(fresh, std::memory_order_release);

  // A frame that read the old generation may still be at its lookups. Updating a map of maps waits
  // for all of them; only then is the old list emptied.
  const int hosts_now = lists.hosts.get();
  bpf_map_update_elem(impl_->host_lists.get(), &fresh, &hosts_now, BPF_ANY);
  sweep_limiters(impl_->limiters, lists);
  Generation empty{create_hosts(1), create_prefixes(1)};
  if (!empty.hosts || !empty.prefixes) return ok();  // only memory is lost
  if (Status done =
          install(impl_->folder, impl_->host_lists.get(), impl_->prefix_lists.get(), old, empty);
      !done)
    return done;
  std::atomic_ref(state.entries[old]).store(0, std::memory_order_relaxed);
  std::atomic_ref(state.all_scope[old]).store(0, std::memory_order_relaxed);
  return ok();
}

Result<std::vector<ListEntry>> Wire::entries() const {
  const Result<Descriptor> lock = lock_folder(impl_->folder);
  if (!lock) return Error{lock.error()};
  const Result<Generation> lists = open_generation(impl_->folder, impl_->list_state[0].live);
  if (!lists) return Error{lists.error()};
  std::vector<ListEntry> found;
  Status walked = walk(*lists, [&](const Key& key, const steer_list_entry& value) {
    found.push_back(make_entry(key, value));
  });
  if (!walked) return Error{walked.error()};
  std::sort(found.begin(), found.end(),
            [](const ListEntry& a, const ListEntry& b) { return a.prefix < b.prefix; });
  return found;
}

Result<LimiterState> Wire::limiter(const Prefix& prefix) const {
  LimiterState state;
  if (const auto slot = find_limiter(impl_->limiters, make_key(prefix.masked()))) {
    state.conforming =
        std::atomic_ref(impl_->limiters[*slot].conforming).load(std::memory_order_relaxed);
    state.exceeding =
        std::atomic_ref(impl_->limiters[*slot].exceeding).load(std::memory_order_relaxed);
  }
  return state;
}

}  // namespace sluice::xdp
