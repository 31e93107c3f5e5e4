// Lists of domains, URLs, addresses, attachment hashes and file names, as the workers ask them: the
// lists section of a policy image, checked and copied once, off the loop; immutable from then on.
//
// Theory. All lists are one table of open addressing with linear probing: a slot holds 32 bits of
// the entry's hash and where its text stands. A text that is on no list costs one cache line for
// nearly all texts, whatever the number of lists; one that is there is compared octet by octet. The
// longest run of used slots is bounded by the builder and checked here, so no text costs more than
// that.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <span>
#include <string_view>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/base/result.h"
#include "dataplane/lists/key.h"
#include "dataplane/scan/scan.h"

namespace sluice::lists {

// A list: what a hit of it is as a rule.
struct List {
  scan::RuleInfo rule;
  std::uint32_t places = 0;  // mask of Place
};

inline constexpr std::size_t kMaxLists = 4096;
inline constexpr std::size_t kMaxRun = 1024;  // used slots in a row

class Lists {
 public:
  // Checks and copies a lists section. Fails with what is wrong and where. Off the loop; any
  // thread.
  static Result<std::shared_ptr<const Lists>> open(Bytes section);
  static std::shared_ptr<const Lists> empty();

  bool is_empty() const { return lists_.empty(); }
  bool has(Kind kind) const { return (kinds_ & (1u << static_cast<unsigned>(kind))) != 0; }
  // Whether some list is looked up there.
  bool wants(Place place) const { return (places_ & mask_of(place)) != 0; }
  std::span<const List> lists() const { return lists_; }
  std::size_t entries() const { return entries_; }
  std::size_t memory_used() const;

  // The questions. Each calls `hit` with every list that holds what is asked for; the same list may
  // come more than once. Linear in the text, which is cut at kMaxKey. Any thread; nothing is kept.
  struct Hits {
    virtual void on_list(const List& list) = 0;

   protected:
    ~Hits() = default;
  };
  // A URL as written, and its host in lower case as A-labels.
  void find_url(std::string_view url, std::string_view host, std::pmr::memory_resource* memory,
                Hits& hits) const;
  // "local@domain", of any case; without "@" only the domain lists are not asked.
  void find_address(Place place, std::string_view address, Hits& hits) const;
  void find_md5(const std::array<std::uint8_t, 16>& digest, Hits& hits) const;
  void find_sha256(const std::array<std::uint8_t, 32>& digest, Hits& hits) const;
  void find_name(std::string_view name, Hits& hits) const;

 private:
  friend class ListsLoader;
  Lists() = default;

  struct Slot {
    std::uint32_t mark = 0;   // upper half of the hash
    std::uint32_t entry = 0;  // 1 + offset of the entry; 0: free
  };
  void find(Kind kind, std::uint64_t hash, std::string_view text, Place place, Hits& hits) const;
  void find_whole(Kind kind, std::string_view text, Place place, Hits& hits) const;
  void find_domain(Kind whole, Kind tree, std::string_view domain, Place place, Hits& hits) const;

  std::vector<List> lists_;
  std::vector<Slot> slots_;           // a power of two, some free
  std::vector<std::uint8_t> octets_;  // entries: u16 list, u16 size, u8 kind, text
  std::uint64_t key_ = 0;
  std::size_t entries_ = 0;
  std::uint32_t kinds_ = 0;
  std::uint32_t places_ = 0;
  std::uint32_t most_labels_ = 0;  // of the entries that hold for domains below them
  std::uint32_t most_dots_ = 0;    // in an entry of kind suffix
};

}  // namespace sluice::lists
