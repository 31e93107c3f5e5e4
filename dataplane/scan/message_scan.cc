#include <hs_runtime.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include "dataplane/base/pmr_ptr.h"
#include "dataplane/scan/scratch.h"
#include "dataplane/scan/sparse_map.h"

namespace sluice::scan {
namespace {

constexpr std::size_t kStreamBuffers = 5;
static_assert(is_stream(Buffer::header) && !is_stream(Buffer::helo) &&
              static_cast<std::size_t>(Buffer::header) + 1 == kStreamBuffers);
// In the mask of a rule: it has hit in this transaction.
constexpr std::uint32_t kHasHit = 1u << 31;

// A condition whose pattern hit and which a confirmation decides.
struct Candidate {
  std::uint32_t group;
  std::uint32_t condition;
  std::uint32_t confirmation;
};

// What few items have.
struct Unsettled {
  explicit Unsettled(std::pmr::memory_resource* memory)
      : candidates(memory), followed(memory), copy(memory) {}

  std::pmr::vector<Candidate> candidates;
  std::pmr::vector<FollowedTail> followed;  // by pattern; each once
  std::pmr::vector<std::uint8_t> copy;      // the window of confirmations
  std::uint64_t copy_base = 0;              // number of its first octet

  bool empty() const {
    return candidates.empty() && followed.empty() && copy.empty() && copy_base == 0;
  }
  void clear() {
    candidates.clear();
    followed.clear();
    copy.clear();
    copy_base = 0;
  }
  void shrink() {
    candidates.shrink_to_fit();
    followed.shrink_to_fit();
    copy.shrink_to_fit();
  }
  std::size_t memory_used() const {
    return sizeof *this + candidates.capacity() * sizeof(Candidate) +
           followed.capacity() * sizeof(FollowedTail) + copy.capacity();
  }
};

// insert() of a vector with such an allocator copies octet by octet.
void append(std::pmr::vector<std::uint8_t>& to, Bytes octets) {
  if (octets.empty()) return;
  to.resize(to.size() + octets.size());
  std::memcpy(to.data() + to.size() - octets.size(), octets.data(), octets.size());
}

// The state of the current item of one buffer.
struct Item {
  explicit Item(std::pmr::memory_resource* resource)
      : memory(resource),
        conditions(resource),
        gathered(resource),
        tail(resource),
        packed(resource) {}

  // Made when it is needed.
  Unsettled& unsettled() {
    if (more == nullptr) more = make_pmr<Unsettled>(memory, memory);
    return *more;
  }

  std::pmr::memory_resource* memory;
  hs_stream_t* stream = nullptr;
  bool open = false;                        // the item has octets
  bool scanned = false;                     // some of them are not in `gathered` any more
  SparseMap conditions;                     // group to mask of conditions that hit
  std::pmr::vector<std::uint8_t> gathered;  // not scanned yet
  std::pmr::vector<std::uint8_t> tail;      // scanned last: a literal may go on from there
  std::pmr::vector<char> packed;            // the stream of an idle flow, compressed
  PmrPtr<Unsettled> more;

  void shrink() {
    conditions.shrink();
    gathered.shrink_to_fit();
    tail.shrink_to_fit();
    packed.shrink_to_fit();
    if (more != nullptr && more->empty()) more.reset();
    if (more != nullptr) more->shrink();
  }
  std::size_t memory_used() const {
    return sizeof *this + conditions.memory_used() + gathered.capacity() + tail.capacity() +
           packed.capacity() + (more != nullptr ? more->memory_used() : 0);
  }
};

}  // namespace

struct MessageScan::Impl {
  Impl(Scratch& worker, std::pmr::memory_resource* resource)
      : ruleset(worker.impl_->ruleset),
        scratch(*worker.impl_),
        memory(resource),
        hits(resource),
        rule_masks(resource) {}
  ~Impl() {
    for (std::size_t i = 0; i < kStreamBuffers; ++i) {
      if (streams[i] == nullptr) continue;
      release(static_cast<Buffer>(i), *streams[i]);
      std::pmr::polymorphic_allocator<>(memory).delete_object(streams[i]);
    }
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Item& item(Buffer buffer) {
    Item*& slot = streams[static_cast<std::size_t>(buffer)];
    if (slot == nullptr) slot = std::pmr::polymorphic_allocator<>(memory).new_object<Item>(memory);
    return *slot;
  }

  // That of buffers that are scanned whole.
  Item& block_item() {
    if (block == nullptr) block = make_pmr<Item>(memory, memory);
    return *block;
  }

  void release(Buffer buffer, Item& item) const {
    if (item.stream != nullptr) scratch.pool.give(buffer, item.stream);
    item.stream = nullptr;
  }

  // What the callback of a pattern needs to know.
  struct Context {
    Impl& scan;
    Item& item;
    const Database& database;
    std::size_t before = 0;  // octets of the tail in front of those that are scanned for literals
  };
  static int on_match(unsigned int pattern, unsigned long long, unsigned long long, unsigned int,
                      void* pointer) {
    on_pattern(*static_cast<Context*>(pointer), pattern);
    return 0;
  }
  // `end`: of an occurrence, in the tail and the octets that are being scanned behind it.
  static void on_literal(void* pointer, std::uint32_t pattern, std::size_t end) {
    auto& context = *static_cast<Context*>(pointer);
    if (context.database.tail_of[pattern] == 0) return on_pattern(context, pattern);
    auto& begun = context.scan.scratch.begun;
    if (begun.size() < Scratch::Impl::kMostBegun)
      begun.push_back({pattern, end - context.before});
    else
      context.scan.failed = true;
  }
  static void on_pattern(const Context& context, std::uint32_t pattern) {
    const std::uint32_t* first = &context.database.first[pattern];
    for (std::uint32_t i = first[0]; i != first[1]; ++i) {
      const Reference& reference = context.database.references[i];
      if (reference.confirm != 0) {
        context.scan.add_candidate(context.item, reference);
      } else {
        context.scan.set(context.item, reference.group, reference.condition);
      }
    }
  }

  void add_candidate(Item& item, const Reference& reference) const {
    const Candidate candidate{reference.group, reference.condition, reference.confirm - 1};
    auto& candidates = item.unsettled().candidates;
    for (const Candidate& known : candidates) {
      if (known.group == candidate.group && known.condition == candidate.condition) return;
    }
    candidates.push_back(candidate);
  }

  void set(Item& item, std::uint32_t index, std::uint32_t condition) {
    const ConditionGroup& group = ruleset.group(index);
    if (group.positive == condition && group.negative == 0) {
      group_holds(group);
      return;
    }
    std::uint32_t& mask = item.conditions[index];
    mask |= condition;
    if (group.negative == 0 && (mask & group.positive) == group.positive) {
      group_holds(group);
    }
  }

  void group_holds(const ConditionGroup& group) {
    std::uint32_t& mask = rule_masks[group.rule];
    if ((mask & kHasHit) != 0) return;
    mask |= group.bit;
    if (mask != ruleset.group_mask(group.rule)) return;
    mask |= kHasHit;
    const RuleInfo& rule = ruleset.rules()[group.rule];
    hits.push_back({&rule, ruleset.where(group.rule), rule.score * 10});
    score += rule.score;
  }

  void feed(Buffer buffer, Bytes octets) {
    const Database& database = ruleset.database(buffer);
    if (!database.used() || octets.empty()) return;
    Item& current = item(buffer);
    current.open = true;
    if (!database.confirms) {
      gather(buffer, current, database, octets);
      return;
    }
    // Windows of confirmation end at multiples of the stride, not where the caller cuts.
    Unsettled& window = current.unsettled();
    while (!octets.empty()) {
      const std::size_t room = kConfirmWindow - window.copy.size();
      const Bytes piece = octets.first(std::min(room, octets.size()));
      octets = octets.subspan(piece.size());
      append(window.copy, piece);
      gather(buffer, current, database, piece);
      if (window.copy.size() == kConfirmWindow) {
        flush(buffer, current, database);
        confirm(window, window.copy, window.copy_base, false, current);
        window.copy.erase(window.copy.begin(),
                          window.copy.begin() + static_cast<std::ptrdiff_t>(kConfirmStride));
        window.copy_base += kConfirmStride;
      }
    }
  }

  void gather(Buffer buffer, Item& current, const Database& database, Bytes octets) {
    if (octets.size() + current.gathered.size() < kCoalesce) {
      if (current.gathered.capacity() < kCoalesce) current.gathered.reserve(kCoalesce);
      append(current.gathered, octets);
      return;
    }
    if (!current.gathered.empty() && octets.size() < kCoalesce) {
      const std::size_t rest = kCoalesce - current.gathered.size();
      append(current.gathered, octets.first(rest));
      octets = octets.subspan(rest);
    }
    flush(buffer, current, database);
    if (octets.size() < kCoalesce) {
      current.gathered.assign(octets.begin(), octets.end());
    } else {
      scan_stream(buffer, current, database, octets);
    }
  }

  void flush(Buffer buffer, Item& current, const Database& database) {
    if (current.gathered.empty()) return;
    scan_stream(buffer, current, database, current.gathered);
    current.gathered.clear();
  }

  // Brings the stream back from the pool or from its packed form.
  bool open_stream(Buffer buffer, Item& current) {
    if (current.stream != nullptr) return true;
    current.stream = scratch.pool.take(buffer);
    if (current.stream == nullptr) return false;
    if (current.packed.empty()) return true;
    const hs_error_t error = hs_reset_and_expand_stream(
        current.stream, current.packed.data(), current.packed.size(), nullptr, nullptr, nullptr);
    current.packed = std::pmr::vector<char>(memory);
    return error == HS_SUCCESS;
  }

  static bool pack_stream(Item& current) {
    std::size_t size = 0;
    if (hs_compress_stream(current.stream, nullptr, 0, &size) != HS_INSUFFICIENT_SPACE)
      return false;
    current.packed.resize(size);
    if (hs_compress_stream(current.stream, current.packed.data(), size, &size) == HS_SUCCESS)
      return true;
    current.packed.clear();
    return false;
  }

  // Literals that lie in `octets` (at most kPiece), or across their beginning.
  void scan_literals(Item& current, const LiteralSet& literals, Bytes octets, Context& context) {
    const std::size_t before = current.tail.size();
    std::uint8_t* const text = scratch.text.data();
    std::copy(current.tail.begin(), current.tail.end(), text);
    std::copy(octets.begin(), octets.end(), text + before);
    const Bytes all(text, before + octets.size());
    context.before = before;
    literals.scan(all, before, &Impl::on_literal, &context);
    if (!scratch.begun.empty() || (current.more != nullptr && !current.more->followed.empty()))
      follow_tails(octets, context);
    // An occurrence needs one octet more.
    const Bytes kept = all.last(std::min(all.size(), literals.longest() - 1));
    current.tail.assign(kept.begin(), kept.end());
  }

  // Goes on with the tails of literals that end in `octets`, or ended before.
  void follow_tails(Bytes octets, const Context& context) {
    auto& begun = scratch.begun;
    std::ranges::sort(begun, {}, [](const auto& b) { return std::pair(b.pattern, b.end); });
    auto& followed = context.item.unsettled().followed;
    auto& next = scratch.followed;
    std::size_t f = 0;
    for (std::size_t b = 0; f < followed.size() || b < begun.size();) {
      const bool before =
          f < followed.size() && (b == begun.size() || followed[f].pattern <= begun[b].pattern);
      const std::uint32_t pattern = before ? followed[f].pattern : begun[b].pattern;
      const LiteralTail& tail = context.database.tails[context.database.tail_of[pattern] - 1];
      LiteralTail::State state = before ? followed[f++].state : 0;
      std::size_t at = 0;
      for (; b < begun.size() && begun[b].pattern == pattern; ++b) {
        if (tail.matched(state)) continue;
        state = tail.run(state, octets.subspan(at, begun[b].end - at), scanned);
        at = begun[b].end;
        state |= tail.begin();
      }
      state = tail.run(state, octets.subspan(at), scanned);
      if (tail.matched(state)) {
        on_pattern(context, pattern);
      } else if (state != 0 && next.size() == Scratch::Impl::kMostFollowed) {
        failed = true;
      } else if (state != 0) {
        next.push_back({pattern, state});
      }
    }
    followed.assign(next.begin(), next.end());
    begun.clear();
    next.clear();
  }

  void scan_stream(Buffer buffer, Item& current, const Database& database, Bytes octets) {
    Context context{*this, current, database};
    current.scanned = true;
    scanned += octets.size();
    if (database.literals) {
      constexpr std::size_t kPiece = Scratch::Impl::kPiece;
      for (std::size_t at = 0; at < octets.size(); at += kPiece) {
        const Bytes piece = octets.subspan(at, std::min(kPiece, octets.size() - at));
        scan_literals(current, *database.literals, piece, context);
      }
    }
    if (!database.compiled) return;
    if (!open_stream(buffer, current)) {
      failed = true;
      return;
    }
    while (!octets.empty()) {  // Hyperscan takes 32-bit lengths
      const std::size_t size = std::min<std::size_t>(octets.size(), std::size_t{1} << 30);
      if (hs_scan_stream(current.stream, reinterpret_cast<const char*>(octets.data()),
                         static_cast<unsigned>(size), 0, scratch.hyperscan, &Impl::on_match,
                         &context) != HS_SUCCESS) {
        failed = true;
      }
      octets = octets.subspan(size);
    }
  }

  void end_item(Buffer buffer) {
    Item* current = streams[static_cast<std::size_t>(buffer)];
    if (current == nullptr || !current->open) return;
    const Database& database = ruleset.database(buffer);
    flush(buffer, *current, database);
    if (!database.compiled) {
      // Literals have nothing to say at an end.
    } else if (open_stream(buffer, *current)) {
      // Patterns that need the end of the data report now.
      Context context{*this, *current, database};
      if (hs_reset_stream(current->stream, 0, scratch.hyperscan, &Impl::on_match, &context) !=
          HS_SUCCESS) {
        failed = true;
      }
    } else {
      failed = true;
    }
    if (database.confirms) {
      Unsettled& window = current->unsettled();
      confirm(window, window.copy, window.copy_base, true, *current);
    }
    settle_absent(*current, database);
    forget(*current);
  }

  void whole(Buffer buffer, Bytes octets, bool another) {
    const Database& database = ruleset.database(buffer);
    if (!database.compiled) return;
    Item& item = block_item();
    Context context{*this, item, database};
    const char* data = octets.empty() ? "" : reinterpret_cast<const char*>(octets.data());
    const std::size_t size =
        std::min<std::size_t>(octets.size(), std::numeric_limits<std::int32_t>::max());
    scanned += size;
    if (hs_scan(database.compiled.get(), data, static_cast<unsigned>(size), 0, scratch.hyperscan,
                &Impl::on_match, &context) != HS_SUCCESS) {
      failed = true;
    }
    if (database.confirms) {
      confirm(item.unsettled(), octets.first(std::min(octets.size(), kConfirmBlock)), 0,
              octets.size() <= kConfirmBlock, item, !another);
    }
    if (!another) settle_absent(item, database);
    forget(item);
  }

  // `absent`: what is not there counts.
  void confirm(Unsettled& unsettled, Bytes window, std::uint64_t base, bool final, Item& current,
               bool absent = true) {
    std::erase_if(unsettled.candidates, [&](const Candidate& candidate) {
      const Confirmation& confirmation = ruleset.confirmation(candidate.confirmation);
      if (!absent && confirmation.negates()) return false;
      scanned += window.size();
      if (!confirmation.holds(window, base, final, scratch.confirm)) return false;
      set(current, candidate.group, candidate.condition);
      return true;
    });
  }

  // What only the end of an item can tell: absent contents.
  void settle_absent(Item& current, const Database& database) {
    current.conditions.for_each([&](std::uint32_t index, std::uint32_t mask) {
      const ConditionGroup& group = ruleset.group(index);
      if (group.negative != 0 && (mask & group.positive) == group.positive &&
          (mask & group.negative) == 0) {
        group_holds(group);
      }
    });
    for (const std::uint32_t index : database.negative_only) {
      if (!current.conditions.contains(index)) group_holds(ruleset.group(index));
    }
  }

  static void forget(Item& current) {
    current.open = false;
    current.scanned = false;
    current.conditions.clear();
    current.gathered.clear();
    current.tail.clear();
    current.packed.clear();
    if (current.more != nullptr) current.more->clear();
  }

  const Ruleset& ruleset;
  Scratch::Impl& scratch;
  std::pmr::memory_resource* memory;
  std::pmr::vector<Hit> hits;
  SparseMap rule_masks;  // rule to mask of groups that held in this transaction
  std::array<Item*, kStreamBuffers> streams{};
  PmrPtr<Item> block;
  std::int64_t score = 0;
  std::uint64_t scanned = 0;
  bool failed = false;
};

MessageScan::MessageScan(Scratch& scratch, std::pmr::memory_resource* memory)
    : impl_(std::pmr::polymorphic_allocator<>(memory).new_object<Impl>(scratch, memory)),
      memory_(memory) {}

MessageScan::~MessageScan() {
  if (impl_ != nullptr) std::pmr::polymorphic_allocator<>(memory_).delete_object(impl_);
}

MessageScan::MessageScan(MessageScan&& other) noexcept
    : impl_(std::exchange(other.impl_, nullptr)), memory_(other.memory_) {}

void MessageScan::feed(Buffer buffer, Bytes octets) {
  if (is_stream(buffer)) impl_->feed(buffer, octets);
}

void MessageScan::end_item(Buffer buffer) {
  if (is_stream(buffer)) impl_->end_item(buffer);
}

void MessageScan::whole(Buffer buffer, Bytes item, bool another) {
  if (!is_stream(buffer)) {
    impl_->whole(buffer, item, another);
    return;
  }
  impl_->end_item(buffer);
  impl_->feed(buffer, item);
  impl_->end_item(buffer);
}

void MessageScan::settle() {
  for (std::size_t i = 0; i < kStreamBuffers; ++i) impl_->end_item(static_cast<Buffer>(i));
}

bool MessageScan::wanted(const Ruleset& ruleset, Buffer buffer) { return ruleset.wants(buffer); }

const std::pmr::vector<Hit>& MessageScan::hits() const {
  for (std::size_t i = 0; i < kStreamBuffers; ++i) {
    const auto buffer = static_cast<Buffer>(i);
    Item* item = impl_->streams[i];
    if (item != nullptr) impl_->flush(buffer, *item, impl_->ruleset.database(buffer));
  }
  return impl_->hits;
}

std::int32_t MessageScan::score() const {
  hits();
  constexpr std::int64_t kLeast = std::numeric_limits<std::int32_t>::min();
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  return static_cast<std::int32_t>(std::clamp(impl_->score, kLeast, kMost));
}

std::uint64_t MessageScan::octets_scanned() const { return impl_->scanned; }
bool MessageScan::incomplete() const { return impl_->failed; }
const Ruleset& MessageScan::ruleset() const { return impl_->ruleset; }

void MessageScan::next_transaction() {
  for (std::size_t i = 0; i < kStreamBuffers; ++i) {
    Item* item = impl_->streams[i];
    if (item == nullptr) continue;
    // A pattern reports once in a stream, so the streams begin anew with the transaction.
    if (item->open) impl_->release(static_cast<Buffer>(i), *item);
    Impl::forget(*item);
  }
  impl_->hits.clear();
  impl_->rule_masks.clear();
  impl_->score = 0;
  impl_->failed = false;
}

bool MessageScan::found() const { return !impl_->hits.empty() || !impl_->rule_masks.empty(); }

std::optional<Bytes> MessageScan::unscanned() const {
  if (impl_->failed) return std::nullopt;
  Bytes octets;
  for (std::size_t i = 0; i < kStreamBuffers; ++i) {
    const Item* item = impl_->streams[i];
    if (item == nullptr || !item->open) continue;
    if (static_cast<Buffer>(i) != Buffer::stream || item->scanned) return std::nullopt;
    octets = item->gathered;
  }
  return octets;
}

std::size_t MessageScan::compress() {
  for (std::size_t i = 0; i < kStreamBuffers; ++i) {
    Item* item = impl_->streams[i];
    if (item == nullptr) continue;
    const auto buffer = static_cast<Buffer>(i);
    if (!item->open) {
      impl_->release(buffer, *item);
      std::pmr::polymorphic_allocator<>(impl_->memory).delete_object(item);
      impl_->streams[i] = nullptr;
      continue;
    }
    // What is gathered stays as it is: it is no larger than what a stream packs to.
    if (item->stream != nullptr && (!item->scanned || impl_->pack_stream(*item)))
      impl_->release(buffer, *item);
    item->shrink();
  }
  impl_->block.reset();  // nothing of it outlasts an item
  impl_->hits.shrink_to_fit();
  impl_->rule_masks.shrink();
  return memory_used();
}

std::size_t MessageScan::memory_used() const {
  std::size_t used = sizeof(Impl) + impl_->hits.capacity() * sizeof(Hit) +
                     impl_->rule_masks.memory_used() +
                     (impl_->block != nullptr ? impl_->block->memory_used() : 0);
  for (std::size_t i = 0; i < kStreamBuffers; ++i) {
    const Item* item = impl_->streams[i];
    if (item == nullptr) continue;
    used += item->memory_used();
    if (item->stream != nullptr) {
      used += impl_->ruleset.database(static_cast<Buffer>(i)).stream_size;
    }
  }
  return used;
}

}  // namespace sluice::scan
