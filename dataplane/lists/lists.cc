#include "dataplane/lists/lists.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "dataplane/contract/policy_image.h"
#include "dataplane/contract/policy_image_tables.h"

namespace sluice::lists {

namespace image = contract::image;

namespace {

constexpr std::size_t kEntryHeader = 5;

std::uint16_t u16(const std::uint8_t* at) {
  std::uint16_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}

bool same_text(const std::uint8_t* lower_text, std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (lower_text[i] != static_cast<unsigned char>(lower(text[i]))) return false;
  }
  return true;
}

std::string_view as_view(Bytes octets) {
  return {reinterpret_cast<const char*>(octets.data()), octets.size()};
}

// Hashes and URLs are compared with case.
bool has_case(Kind kind) { return kind == Kind::md5 || kind == Kind::sha256 || kind == Kind::url; }

std::string place(const char* table, std::size_t index, const char* what) {
  return std::string("lists section: ") + table + " " + std::to_string(index) + ": " + what;
}

}  // namespace

std::shared_ptr<const Lists> Lists::empty() {
  static const std::shared_ptr<const Lists> kNone(new Lists());
  return kNone;
}

std::size_t Lists::memory_used() const {
  return sizeof *this + lists_.capacity() * sizeof(List) + slots_.capacity() * sizeof(Slot) +
         octets_.capacity();
}

void Lists::find(Kind kind, std::uint64_t hash, std::string_view text, Place place,
                 Hits& hits) const {
  const auto mark = static_cast<std::uint32_t>(hash >> 32);
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t at = hash & mask; slots_[at].entry != 0; at = (at + 1) & mask) {
    if (slots_[at].mark != mark) continue;
    const std::uint8_t* entry = &octets_[slots_[at].entry - 1];
    if (u16(entry + 2) != text.size() || entry[4] != static_cast<std::uint8_t>(kind)) continue;
    const std::uint8_t* stored = entry + kEntryHeader;
    const bool same = has_case(kind) ? std::memcmp(stored, text.data(), text.size()) == 0
                                     : same_text(stored, text);
    if (!same) continue;
    const List& list = lists_[u16(entry)];
    if ((list.places & mask_of(place)) != 0) hits.on_list(list);
  }
}

void Lists::find_whole(Kind kind, std::string_view text, Place place, Hits& hits) const {
  if (!has(kind) || text.empty() || text.size() > kMaxKey) return;
  find(kind, Hash::of(key_, kind, text), text, place, hits);
}

// The domain itself, and each parent of as many labels as some entry has.
void Lists::find_domain(Kind whole, Kind tree, std::string_view domain, Place place,
                        Hits& hits) const {
  while (domain.ends_with('.')) domain.remove_suffix(1);
  if (domain.empty() || domain.size() > kMaxKey) return;
  if (!has(tree)) return find_whole(whole, domain, place, hits);
  Hash hash(key_);
  std::uint32_t labels = 0;
  for (std::size_t i = domain.size(); i > 0; --i) {
    hash.prepend(domain[i - 1]);
    if (i > 1 && domain[i - 2] != '.') continue;
    if (++labels > most_labels_) {
      if (!has(whole)) return;
    } else {
      find(tree, hash.of(tree), domain.substr(i - 1), place, hits);
    }
  }
  if (has(whole)) find(whole, hash.of(whole), domain, place, hits);
}

void Lists::find_url(std::string_view url, std::string_view host, std::pmr::memory_resource* memory,
                     Hits& hits) const {
  if (!wants(Place::url)) return;
  while (host.ends_with('.')) host.remove_suffix(1);
  if (host.empty()) return;
  find_domain(Kind::host, Kind::host_tree, host, Place::url, hits);
  if (!has(Kind::url)) return;
  std::pmr::string normal(memory);
  normal_url(url, host, normal);
  find_whole(Kind::url, normal, Place::url, hits);
}

void Lists::find_address(Place place, std::string_view address, Hits& hits) const {
  if (!wants(place)) return;
  // The last "@": quoted local parts may hold others.
  const std::size_t at = address.rfind('@');
  find_whole(Kind::address, address, place, hits);
  if (at != std::string_view::npos) {
    find_domain(Kind::domain, Kind::domain_tree, address.substr(at + 1), place, hits);
  }
}

void Lists::find_md5(const std::array<std::uint8_t, 16>& digest, Hits& hits) const {
  if (wants(Place::attachment)) {
    find_whole(Kind::md5, as_view(Bytes(digest)), Place::attachment, hits);
  }
}

void Lists::find_sha256(const std::array<std::uint8_t, 32>& digest, Hits& hits) const {
  if (wants(Place::attachment)) {
    find_whole(Kind::sha256, as_view(Bytes(digest)), Place::attachment, hits);
  }
}

void Lists::find_name(std::string_view name, Hits& hits) const {
  if (!wants(Place::attachment)) return;
  // Windows drops blanks and dots from the end of a name: "a.exe . ." is run as a.exe.
  while (!name.empty() && (name.back() == '.' || name.back() == ' ')) name.remove_suffix(1);
  find_whole(Kind::name, name, Place::attachment, hits);
  if (!has(Kind::suffix)) return;
  Hash hash(key_);
  std::uint32_t dots = 0;
  const std::size_t least = name.size() > kMaxKey ? name.size() - kMaxKey : 0;
  for (std::size_t i = name.size(); i > least; --i) {
    if (name[i - 1] == '.') {
      find(Kind::suffix, hash.of(Kind::suffix), name.substr(i), Place::attachment, hits);
      if (++dots > most_dots_) return;
    }
    hash.prepend(name[i - 1]);
  }
}

// Turns verified tables into Lists, checking every index and value on the way.
class ListsLoader {
 public:
  static Result<std::shared_ptr<const Lists>> load(const image::Lists& tables) {
    std::shared_ptr<Lists> made(new Lists());
    const auto& lists = *tables.lists();
    if (lists.size() > kMaxLists) return Error{"lists section: too many lists"};
    for (std::uint32_t i = 0; i < lists.size(); ++i) {
      const image::List* list = lists[i];
      if (list->action() > static_cast<std::uint8_t>(scan::RuleAction::drop)) {
        return Error{place("list", i, "unknown action")};
      }
      if (list->places() == 0 || list->places() >= 1u << kPlaceCount) {
        return Error{place("list", i, "unknown place")};
      }
      made->places_ |= list->places();
      made->lists_.push_back({.rule = {.gid = list->gid(),
                                       .sid = list->sid(),
                                       .revision = list->revision(),
                                       .severity = list->severity(),
                                       .action = static_cast<scan::RuleAction>(list->action()),
                                       .score = list->score(),
                                       .name = list->name()->str(),
                                       .message = list->message()->str(),
                                       .category = list->category()->str()},
                              .places = list->places()});
    }
    made->key_ = tables.key();
    const auto& octets = *tables.octets();
    made->octets_.assign(octets.begin(), octets.end());
    const auto& slots = *tables.slots();
    if (!std::has_single_bit(slots.size())) {
      return Error{"lists section: the number of slots is no power of two"};
    }
    made->slots_.reserve(slots.size());
    for (const image::Slot* slot : slots) made->slots_.push_back({slot->mark(), slot->entry()});
    if (Status status = check(*made); !status) return Error{status.error()};
    return std::shared_ptr<const Lists>(std::move(made));
  }

 private:
  static Status check(Lists& made) {
    std::size_t run = 0;
    // Twice around, so that a run across the end is seen whole.
    for (std::size_t i = 0; i < 2 * made.slots_.size(); ++i) {
      const Lists::Slot& slot = made.slots_[i & (made.slots_.size() - 1)];
      run = slot.entry == 0 ? 0 : run + 1;
      if (run > kMaxRun) return Error{place("slot", i, "too many used slots in a row")};
      if (slot.entry == 0 || i >= made.slots_.size()) continue;
      if (Status status = check_entry(made, slot.entry - 1); !status) return status;
      ++made.entries_;
    }
    // One free slot ends every search.
    if (made.entries_ >= made.slots_.size()) return Error{"lists section: no slot is free"};
    return ok();
  }

  static Status check_entry(Lists& made, std::size_t offset) {
    const std::vector<std::uint8_t>& octets = made.octets_;
    if (octets.size() < kEntryHeader || offset > octets.size() - kEntryHeader) {
      return Error{place("entry at", offset, "out of bounds")};
    }
    const std::uint8_t* entry = &octets[offset];
    const std::size_t size = u16(entry + 2);
    if (size > octets.size() - offset - kEntryHeader || size == 0 || size > kMaxKey) {
      return Error{place("entry at", offset, "its text is out of bounds")};
    }
    if (u16(entry) >= made.lists_.size()) return Error{place("entry at", offset, "no such list")};
    if (entry[4] >= kKindCount) return Error{place("entry at", offset, "unknown kind")};
    const auto kind = static_cast<Kind>(entry[4]);
    made.kinds_ |= 1u << entry[4];
    const auto dots = static_cast<std::uint32_t>(
        std::count(entry + kEntryHeader, entry + kEntryHeader + size, std::uint8_t{'.'}));
    if (kind == Kind::host_tree || kind == Kind::domain_tree) {
      made.most_labels_ = std::max(made.most_labels_, dots + 1);
    }
    if (kind == Kind::suffix) made.most_dots_ = std::max(made.most_dots_, dots);
    return ok();
  }
};

Result<std::shared_ptr<const Lists>> Lists::open(Bytes section) {
  if (reinterpret_cast<std::uintptr_t>(section.data()) % 8 != 0) {
    return Error{"lists section: not aligned in memory"};
  }
  if (section.size() < 16 ||
      !flatbuffers::BufferHasIdentifier(section.data(), contract::kListsSectionId)) {
    return Error{"lists section: its identifier is not " + std::string(contract::kListsSectionId)};
  }
  flatbuffers::Verifier verifier(section.data(), section.size(), contract::kPolicyImageDepth,
                                 contract::kPolicyImageTables);
  if (!verifier.VerifyBuffer<image::Lists>(contract::kListsSectionId)) {
    return Error{"lists section: its tables reach out of bounds or lack required fields"};
  }
  return ListsLoader::load(*flatbuffers::GetRoot<image::Lists>(section.data()));
}

}  // namespace sluice::lists
