#include "dataplane/scan/regex_gate.h"

#include <algorithm>
#include <map>
#include <string>

namespace sluice::scan {

namespace {

// Instructions looked at in one call to make states.
constexpr std::size_t kBudget = 32768;
constexpr std::size_t kCostOfState = 16;
// So many octets, of all matches that might have begun, are looked at before the text is gone
// through for all of them at once.
constexpr std::size_t kTurns = 2;
constexpr std::size_t kFewOctets = 256;

bool is_word(unsigned char octet) {
  return (octet >= '0' && octet <= '9') || (octet >= 'A' && octet <= 'Z') || octet == '_' ||
         (octet >= 'a' && octet <= 'z');
}

}  // namespace

// --- the scratch ---------------------------------------------------------------------------------

void GateScratch::reserve(std::size_t gates) {
  starts_.assign(gates, {});
  if (gates == 0) return;
  arena_.reset(new std::uint32_t[kArena]);  // not cleared: what is not used stays untouched
  buckets_.assign(kBuckets, 0);
  visited_.where.assign(kMostGateInstructions, 0);
  for (auto* of : {&visited_.dense, &kept_, &next_, &mine_, &stack_})
    of->reserve(2 * kMostGateInstructions);
  used_ = 16;
}

bool GateScratch::Sparse::insert(std::uint32_t instruction) {
  const std::uint32_t at = where[instruction];
  if (at < dense.size() && dense[at] == instruction) return false;
  where[instruction] = static_cast<std::uint32_t>(dense.size());
  dense.push_back(instruction);
  return true;
}

void GateScratch::flush() {
  ++flushes_;
  used_ = 16;
  std::ranges::fill(buckets_, 0);
  std::ranges::fill(starts_, std::array<std::uint32_t, 8>{});
}

// --- the program ---------------------------------------------------------------------------------

Result<RegexGate> RegexGate::load(std::span<const std::uint32_t> program,
                                  std::span<const std::uint8_t> sets, std::uint32_t number) {
  RegexGate gate;
  gate.number_ = number;
  const std::size_t size = program.size() / 2;
  if (program.size() % 2 != 0 || size == 0 || size > kMostGateInstructions ||
      sets.size() % kGateSetOctets != 0)
    return Error{"its gate has no program"};
  for (std::size_t i = 0; i < sets.size(); i += kGateSetOctets) {
    std::bitset<256>& set = gate.sets_.emplace_back();
    for (std::size_t c = 0; c < 256; ++c) {
      if ((sets[i + c / 8] >> (c % 8) & 1) != 0) set.set(c);
    }
  }
  for (std::size_t i = 0; i < size; ++i) {
    const std::uint32_t word = program[2 * i];
    const Instruction one{static_cast<GateOperation>(word >> 24), word & 0xffffff,
                          program[2 * i + 1]};
    const bool in_range =
        one.operation <= GateOperation::accept && one.next < size &&
        (one.operation != GateOperation::octets || one.operand < gate.sets_.size()) &&
        (one.operation != GateOperation::split || one.operand < size);
    if (!in_range) return Error{"its gate leaves its program"};
    gate.program_.push_back(one);
    gate.lines_ |= one.operation == GateOperation::line_begins ||
                   one.operation == GateOperation::text_begins ||
                   one.operation == GateOperation::ends;
    gate.words_ |=
        one.operation == GateOperation::word_edge || one.operation == GateOperation::no_word_edge;
  }
  // Octets that no set tells apart are one symbol.
  std::map<std::string, std::uint8_t> classes;
  for (unsigned c = 0; c < 256; ++c) {
    std::string membership;
    for (const auto& set : gate.sets_) membership += set.test(c) ? '1' : '0';
    membership += gate.words_ && is_word(static_cast<unsigned char>(c)) ? '1' : '0';
    membership += gate.lines_ && c == '\n' ? '1' : '0';
    const auto [at, added] =
        classes.try_emplace(membership, static_cast<std::uint8_t>(classes.size()));
    if (added) gate.sample_.push_back(static_cast<unsigned char>(c));
    gate.class_of_[c] = at->second;
  }
  gate.end_ = static_cast<std::uint16_t>(gate.sample_.size());
  gate.find_idle_octets();
  gate.find_starts();
  gate.find_inside();
  return gate;
}

void RegexGate::find_idle_octets() {
  constexpr std::string_view kText =
      "Hello John, thank you for your message of last week. I have read the report that you sent.";
  std::vector<std::uint32_t> stack{0};
  std::vector<bool> visited(program_.size());
  std::bitset<256> first;
  while (!stack.empty()) {
    const std::uint32_t at = stack.back();
    stack.pop_back();
    if (visited[at]) continue;
    visited[at] = true;
    const Instruction& one = program_[at];
    if (one.operation == GateOperation::accept) return;  // needs no octet
    if (one.operation == GateOperation::octets) {
      first |= sets_[one.operand];
      continue;
    }
    stack.push_back(one.next);
    if (one.operation == GateOperation::split) stack.push_back(one.operand);
  }
  for (std::size_t c = 0; c < 256; ++c) idle_[c] = !first.test(c);
  const auto idle =
      std::ranges::count_if(kText, [&](char c) { return idle_[static_cast<unsigned char>(c)]; });
  skips_ = static_cast<std::size_t>(idle) * 10 >= kText.size() * 7;
}

void RegexGate::find_starts() {
  constexpr std::size_t kMostWork = 2'000'000;
  constexpr std::array<Kind, 4> kKinds{begin, newline, word, other};
  if (program_.size() * sample_.size() > kMostWork) return;
  GateScratch scratch;
  scratch.visited_.where.assign(program_.size(), 0);
  std::vector<RegexStarts::Set> octets_of(sample_.size());
  for (unsigned c = 0; c < 256; ++c) octets_of[class_of_[c]].set(c);
  // Ways to match that begin with the same octet, by what is before their next one.
  struct Ways {
    RegexStarts::Set octets;
    std::array<std::vector<std::uint32_t>, 4> by_kind;
  };
  const auto add = [](std::vector<std::uint32_t>& all, const std::vector<std::uint32_t>& more) {
    all.insert(all.end(), more.begin(), more.end());
  };
  const auto sort_once = [](std::vector<std::uint32_t>& all) {
    std::ranges::sort(all);
    all.erase(std::unique(all.begin(), all.end()), all.end());
  };
  std::map<std::vector<std::uint32_t>, Ways> all;
  std::array<bool, 4> may_be_before{};
  std::size_t octets = RegexStarts::kMostOctets;
  std::vector<std::vector<std::uint32_t>> after(sample_.size());
  RegexStarts::Set first;
  for (const Kind kind : kKinds) {
    std::vector<std::uint32_t> begun;
    scratch.visited_.clear();
    if (close(0, kind, scratch, begun)) return;
    for (unsigned symbol = 0; symbol <= end_; ++symbol) {
      std::vector<std::uint32_t> kept = begun;
      std::vector<std::uint32_t> next;
      const bool ends = advance(kept, kind, symbol, next, scratch);
      if (symbol == end_) {
        if (ends) return;
        continue;
      }
      if (!ends && next.empty()) continue;
      if (ends) octets = 1;
      may_be_before[kind] = true;
      first |= octets_of[symbol];
      add(after[symbol], next);
    }
  }
  for (unsigned symbol = 0; symbol < end_; ++symbol) {
    sort_once(after[symbol]);
    if ((first & octets_of[symbol]).none()) continue;
    Ways& ways = all[after[symbol]];
    ways.octets |= octets_of[symbol];
    ways.by_kind[kind_of(sample_[symbol])] = after[symbol];
  }
  std::vector<RegexStarts::Window> windows(std::min(all.size(), RegexStarts::kBuckets));
  std::vector<Ways> buckets(windows.size());
  std::size_t number = 0;
  for (const auto& [_, ways] : all) {
    const std::size_t bucket = number++ * windows.size() / all.size();
    windows[bucket][0] |= ways.octets;
    for (const Kind kind : kKinds) add(buckets[bucket].by_kind[kind], ways.by_kind[kind]);
  }
  for (std::size_t i = 1; i < octets; ++i) {
    for (std::size_t bucket = 0; bucket < buckets.size(); ++bucket) {
      Ways next_ways;
      for (const Kind kind : kKinds) {
        auto& before = buckets[bucket].by_kind[kind];
        sort_once(before);
        for (unsigned symbol = 0; symbol <= end_ && !before.empty(); ++symbol) {
          std::vector<std::uint32_t> kept = before;
          std::vector<std::uint32_t> next;
          const bool ends = advance(kept, kind, symbol, next, scratch);
          if (ends) octets = std::min(octets, symbol == end_ ? i : i + 1);
          if (symbol == end_ || (!ends && next.empty())) continue;
          windows[bucket][i] |= octets_of[symbol];
          add(next_ways.by_kind[kind_of(sample_[symbol])], next);
        }
      }
      buckets[bucket] = std::move(next_ways);
    }
  }
  RegexStarts::Set before;
  for (unsigned c = 0; c < 256; ++c) {
    if (may_be_before[kind_of(static_cast<unsigned char>(c))]) before.set(c);
  }
  starts_.build(windows, octets, before, may_be_before[lines_ ? begin : other], class_of_);
}

// The way to match that is shortest in instructions, without one of them; none: there is none.
std::vector<std::uint32_t> RegexGate::without(std::uint32_t instruction) const {
  constexpr std::uint32_t kNew = UINT32_MAX;
  std::vector<std::uint32_t> from(program_.size(), kNew);
  std::vector<std::uint32_t> queue;
  const auto reach = [&](std::uint32_t at, std::uint32_t before) {
    if (at == instruction || from[at] != kNew) return;
    from[at] = before;
    queue.push_back(at);
  };
  reach(0, 0);
  for (std::size_t i = 0; i < queue.size(); ++i) {
    std::uint32_t at = queue[i];
    const Instruction& one = program_[at];
    if (one.operation == GateOperation::accept) {
      std::vector<std::uint32_t> way{at};
      for (; at != 0; way.push_back(at)) at = from[at];
      return way;
    }
    reach(one.next, at);
    if (one.operation == GateOperation::split) reach(one.operand, at);
  }
  return {};
}

// Of each octet's instruction those of the octets that may follow, and accept; last those of the
// first. Assertions hold.
std::vector<std::vector<std::uint32_t>> RegexGate::octets_behind() const {
  std::vector<std::vector<std::uint32_t>> behind(program_.size() + 1);
  std::vector<std::uint32_t> seen(program_.size(), UINT32_MAX);
  std::vector<std::uint32_t> stack;
  for (std::uint32_t of = 0; of < behind.size(); ++of) {
    const bool first = of == program_.size();
    if (!first && program_[of].operation != GateOperation::octets) continue;
    stack.assign(1, first ? 0 : program_[of].next);
    while (!stack.empty()) {
      const std::uint32_t at = stack.back();
      stack.pop_back();
      if (seen[at] == of) continue;
      seen[at] = of;
      const Instruction& one = program_[at];
      if (one.operation == GateOperation::octets || one.operation == GateOperation::accept) {
        behind[of].push_back(at);
        continue;
      }
      stack.push_back(one.next);
      if (one.operation == GateOperation::split) stack.push_back(one.operand);
    }
  }
  return behind;
}

// Octets that all matches have inside: around an instruction that no way to match leaves out.
void RegexGate::find_inside() {
  constexpr std::size_t kMostInstructions = 512;
  constexpr double kLeastRate = 0.002;  // where matches begin more rarely, there is little to spare
  constexpr double kRarer = 0.1;
  using Instructions = std::vector<std::uint32_t>;
  const double begins = starts_.useful() ? starts_.rate() : kRarer;
  if (program_.size() > kMostInstructions || begins < kLeastRate) return;
  std::vector<Instructions> behind = octets_behind();
  std::vector<Instructions> before(program_.size());
  for (std::uint32_t of = 0; of < behind.size(); ++of) {
    for (const std::uint32_t at : behind[of]) before[at].push_back(of);
  }
  // The octets of all, and what stands at the place beside. False: there may be none.
  const auto move = [&](Instructions& all, const std::vector<Instructions>& beside) {
    Instructions next;
    for (const std::uint32_t at : all)
      next.insert(next.end(), beside[at].begin(), beside[at].end());
    std::ranges::sort(next);
    next.erase(std::unique(next.begin(), next.end()), next.end());
    all = std::move(next);
    return !all.empty() && std::ranges::all_of(all, [&](std::uint32_t at) {
      return at < program_.size() && program_[at].operation == GateOperation::octets;
    });
  };
  const auto octets_of = [&](const Instructions& all) {
    RegexStarts::Set set;
    for (const std::uint32_t at : all) set |= sets_[program_[at].operand];
    return set;
  };
  const RegexStarts::Set anything = RegexStarts::Set().set();
  RegexStarts::Window best;
  std::size_t octets = 0;
  double rate = begins * kRarer;
  for (const std::uint32_t at : without(UINT32_MAX)) {
    if (program_[at].operation != GateOperation::octets || !without(at).empty()) continue;
    std::vector<RegexStarts::Set> sets;
    for (const auto* beside : {&behind, &before}) {
      Instructions all{at};
      if (sets.empty()) sets.push_back(octets_of(all));
      while (sets.size() < RegexStarts::kMostOctets && move(all, *beside))
        sets.insert(beside == &behind ? sets.end() : sets.begin(), octets_of(all));
    }
    RegexStarts::Window window;
    std::ranges::copy(sets, window.begin());
    const double its = RegexStarts::rate({&window, 1}, sets.size(), anything);
    if (its >= rate) continue;
    rate = its;
    best = window;
    octets = sets.size();
  }
  if (octets == 0) return;
  auto made = std::make_unique<RegexStarts>();
  made->build({&best, 1}, octets, anything, true, class_of_);
  inside_ = std::move(made);
}

RegexGate::Kind RegexGate::kind_of(unsigned char octet) const {
  if (lines_ && octet == '\n') return newline;
  return words_ && is_word(octet) ? word : other;
}

// --- states --------------------------------------------------------------------------------------

bool RegexGate::close(std::uint32_t from, Kind kind, GateScratch& scratch,
                      std::vector<std::uint32_t>& kept) const {
  bool accepted = false;
  auto& stack = scratch.stack_;
  stack.push_back(from);
  while (!stack.empty()) {
    const std::uint32_t at = stack.back();
    stack.pop_back();
    if (!scratch.visited_.insert(at)) continue;
    const Instruction& one = program_[at];
    switch (one.operation) {
      case GateOperation::split:
        stack.push_back(one.next);
        stack.push_back(one.operand);
        break;
      case GateOperation::text_begins:
        if (kind == begin) stack.push_back(one.next);
        break;
      case GateOperation::line_begins:
        if (kind == begin || kind == newline) stack.push_back(one.next);
        break;
      case GateOperation::accept:
        accepted = true;
        break;
      default:
        kept.push_back(at);
        break;
    }
  }
  return accepted;
}

bool RegexGate::holds(GateOperation operation, Kind before, unsigned symbol) const {
  const bool at_end = symbol == end_;
  const unsigned char octet = at_end ? 0 : sample_[symbol];
  const bool edge = (before == word) != (!at_end && is_word(octet));
  switch (operation) {
    case GateOperation::ends:
      return at_end || octet == '\n';
    case GateOperation::text_ends:
      return at_end;
    case GateOperation::word_edge:
      return edge;
    case GateOperation::no_word_edge:
      return !edge;
    default:
      return false;
  }
}

std::uint32_t RegexGate::intern(std::vector<std::uint32_t>& set, std::uint32_t state_flags,
                                GateScratch& scratch) const {
  if (set.empty() && (state_flags & kBegins) == 0) return kDead;
  std::ranges::sort(set);
  std::uint32_t key = number_ * 0x9e3779b1u + state_flags;
  for (const std::uint32_t one : set) key = (key ^ one) * 0x01000193u;
  key ^= key >> 15;
  std::uint32_t& bucket = scratch.buckets_[key % GateScratch::kBuckets];
  std::uint32_t* const arena = scratch.arena_.get();
  const std::uint32_t row = end_ + 1;
  for (std::uint32_t at = bucket; at != 0; at = arena[at - chain]) {
    if (arena[at - hash] == key && arena[at - gate] == number_ &&
        arena[at - flags] == state_flags && arena[at - count] == set.size() &&
        std::equal(set.begin(), set.end(), arena + at + row))
      return at;
  }
  const std::size_t needed = GateScratch::kHeader + row + set.size();
  if (scratch.used_ + needed > GateScratch::kArena) scratch.flush();
  const auto at = static_cast<std::uint32_t>(scratch.used_ + GateScratch::kHeader);
  scratch.used_ += needed;
  arena[at - chain] = bucket;
  arena[at - gate] = number_;
  arena[at - flags] = state_flags;
  arena[at - count] = static_cast<std::uint32_t>(set.size());
  arena[at - twin] = kUnknown;
  arena[at - hash] = key;
  std::fill_n(arena + at, row, kUnknown);
  std::ranges::copy(set, arena + at + row);
  bucket = at;
  return at;
}

// Nothing began before.
std::uint32_t RegexGate::start(Kind kind, GateScratch& scratch) const {
  std::uint32_t& known = scratch.starts_[number_][kind];
  if (known != kUnknown) return known;
  scratch.next_.clear();
  const std::uint32_t state = intern(scratch.next_, kind | kBegins, scratch);
  return scratch.starts_[number_][kind] = state;
}

// Nothing began before, and nothing does behind the next octet.
std::uint32_t RegexGate::start_here(Kind kind, GateScratch& scratch) const {
  std::uint32_t& known = scratch.starts_[number_][4 + kind];
  if (known == kUnknown) known = without_begins(start(kind, scratch), scratch);
  return known;
}

// The same without matches that begin behind the next octet.
std::uint32_t RegexGate::without_begins(std::uint32_t state, GateScratch& scratch) const {
  std::uint32_t* const arena = scratch.arena_.get();
  if (arena[state - twin] != kUnknown) return arena[state - twin];
  const std::uint32_t state_flags = arena[state - flags];
  scratch.kept_.assign(set_of(state, scratch).begin(), set_of(state, scratch).end());
  scratch.visited_.clear();
  for (const std::uint32_t at : scratch.kept_) scratch.visited_.insert(at);
  if (close(0, static_cast<Kind>(state_flags & 3), scratch, scratch.kept_))
    return arena[state - twin] = kMatch;
  const std::uint32_t flushes = scratch.flushes_;
  const std::uint32_t found = intern(scratch.kept_, state_flags & ~kBegins, scratch);
  if (scratch.flushes_ == flushes) arena[state - twin] = found;
  return found;
}

std::span<const std::uint32_t> RegexGate::set_of(std::uint32_t state,
                                                 const GateScratch& scratch) const {
  const std::uint32_t* const arena = scratch.arena_.get();
  return {arena + state + end_ + 1, arena[state - count]};
}

// What `kept` becomes by a symbol, in addition to what is in `next`. True: a match ends.
bool RegexGate::advance(std::vector<std::uint32_t>& kept, Kind before, unsigned symbol,
                        std::vector<std::uint32_t>& next, GateScratch& scratch) const {
  scratch.visited_.clear();
  for (const std::uint32_t at : kept) scratch.visited_.insert(at);
  // Assertions about this octet; what they lead to may have others.
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const Instruction one = program_[kept[i]];
    if (one.operation != GateOperation::octets && holds(one.operation, before, symbol) &&
        close(one.next, before, scratch, kept))
      return true;
  }
  if (symbol == end_) return false;
  const unsigned char octet = sample_[symbol];
  const Kind kind = kind_of(octet);
  scratch.visited_.clear();
  for (const std::uint32_t at : next) scratch.visited_.insert(at);
  for (const std::uint32_t at : kept) {
    const Instruction& one = program_[at];
    if (one.operation == GateOperation::octets && sets_[one.operand].test(octet) &&
        close(one.next, kind, scratch, next))
      return true;
  }
  return false;
}

std::uint32_t RegexGate::step(std::uint32_t state, unsigned symbol, GateScratch& scratch) const {
  std::uint32_t* const arena = scratch.arena_.get();
  const std::uint32_t state_flags = arena[state - flags];
  const Kind before = static_cast<Kind>(state_flags & 3);
  const bool begins = (state_flags & kBegins) != 0;
  const std::uint32_t flushes = scratch.flushes_;
  const auto note = [&](std::uint32_t found) {
    if (scratch.flushes_ == flushes) arena[state + symbol] = found;
    return found;
  };
  auto& kept = scratch.kept_;
  auto& next = scratch.next_;
  const bool at_start = begins && arena[state - count] == 0;
  std::span<const std::uint32_t> of_start;
  if (begins && !at_start) {
    // Where matches lead that begin here is known by the state of which they are all.
    scratch.mine_.assign(set_of(state, scratch).begin(), set_of(state, scratch).end());
    const std::uint32_t first = start(before, scratch);
    std::uint32_t begun = arena[first + symbol];
    if (begun == kUnknown) begun = step(first, symbol, scratch);
    begun &= ~kIdle;
    if (begun < kLeastState && begun != kDead) return begun == kMatch ? note(begun) : begun;
    kept = scratch.mine_;
    if (begun != kDead) of_start = set_of(begun, scratch);
  } else {
    kept.assign(set_of(state, scratch).begin(), set_of(state, scratch).end());
  }
  if (at_start) {
    scratch.visited_.clear();
    if (close(0, before, scratch, kept)) return note(kMatch);
  }
  next.assign(of_start.begin(), of_start.end());
  if (advance(kept, before, symbol, next, scratch)) return note(kMatch);
  if (symbol == end_) return note(kDead);
  const Kind kind = kind_of(sample_[symbol]);
  scratch.budget_ -=
      std::min(scratch.budget_, kept.size() + scratch.visited_.dense.size() + kCostOfState);
  const bool idle = skips_ && begins && next.empty();
  std::uint32_t found = intern(next, kind | (begins ? kBegins : 0), scratch);
  found = note(idle ? found | kIdle : found);
  return scratch.budget_ == 0 ? kGiveUp : found;
}

RegexGate::Kind RegexGate::kind_before(std::string_view text, std::size_t at) const {
  if (at == 0) return lines_ ? begin : other;
  return kind_of(static_cast<unsigned char>(text[at - 1]));
}

// Whether a match may begin from `from` to `to`, in one turn of the text.
bool RegexGate::begins_between(std::string_view text, std::size_t from, std::uint32_t to,
                               GateScratch& scratch) const {
  if (from > text.size() || from > to) return false;
  const std::uint32_t* const arena = scratch.arena_.get();
  std::uint32_t state = start(kind_before(text, from), scratch);
  const auto run = [&](std::size_t at, std::size_t end) {
    while (at < end) {
      const std::uint8_t symbol = class_of_[static_cast<unsigned char>(text[at])];
      std::uint32_t next = arena[state + symbol];
      ++at;
      if (next >= kLeastState && next < kIdle) {
        state = next;
        continue;
      }
      if (next == kUnknown) next = step(state, symbol, scratch);
      state = next & ~kIdle;
      if (state < kLeastState) return;
      if ((next & kIdle) == 0) continue;
      const std::size_t before = at;
      while (at < end && idle_[static_cast<unsigned char>(text[at])]) ++at;
      if (at > before) state = start(kind_of(static_cast<unsigned char>(text[at - 1])), scratch);
    }
  };
  const std::size_t last = std::min<std::size_t>(to, text.size());
  if (state >= kLeastState) run(from, last);
  if (state >= kLeastState && last < text.size()) {
    state = without_begins(state, scratch);
    if (state >= kLeastState) run(last, text.size());
  }
  if (state >= kLeastState) {
    const std::uint32_t next = arena[state + end_];
    state = next != kUnknown ? next : step(state, end_, scratch);
  }
  return state != kDead;
}

std::size_t RegexGate::first(std::string_view text, std::size_t from, std::uint32_t to,
                             GateScratch& scratch) const {
  if (from > text.size() || from > to) return npos;
  if (scratch.arena_ == nullptr) return from;
  scratch.budget_ = kBudget;
  RegexStarts::Places places;
  if (inside_) {
    places.next = from;
    inside_->find(text, text.size(), class_of_, places);
    if (places.count == 0) return npos;
  }
  if (!starts_.useful()) return begins_between(text, from, to, scratch) ? from : npos;
  const std::uint32_t* const arena = scratch.arena_.get();
  const std::size_t last = std::min<std::size_t>(to, text.size());
  std::size_t octets = kTurns * (text.size() - from) + kFewOctets;
  for (places.next = from;;) {
    starts_.find(text, last, class_of_, places);
    if (places.count == 0) return npos;
    for (std::size_t i = 0; i < places.count; ++i) {
      const std::size_t place = places.all[i];
      std::uint32_t state = start_here(kind_before(text, place), scratch);
      std::size_t at = place;
      while (state >= kLeastState && at < text.size()) {
        const std::uint8_t symbol = class_of_[static_cast<unsigned char>(text[at++])];
        const std::uint32_t next = arena[state + symbol];
        state = next != kUnknown ? next : step(state, symbol, scratch);
      }
      if (state >= kLeastState) {
        const std::uint32_t next = arena[state + end_];
        state = next != kUnknown ? next : step(state, end_, scratch);
      }
      if (state != kDead) return place;
      if (at - place >= octets)
        return begins_between(text, place + 1, to, scratch) ? place + 1 : npos;
      octets -= at - place;
    }
  }
}

}  // namespace sluice::scan
