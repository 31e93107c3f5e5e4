#include "control/policy/compiled_lists.h"

#include <openssl/evp.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "dataplane/contract/policy_image.h"
#include "dataplane/contract/policy_image_tables.h"

namespace sluice::control {

namespace image = contract::image;

namespace {

constexpr std::size_t kEntryHeader = 5;  // u16 list, u16 size, u8 kind
constexpr std::size_t kReadHeader = 3;   // u16 size, u8 kind

std::uint16_t u16(const std::uint8_t* at) {
  std::uint16_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// The table under construction.
class Table {
 public:
  explicit Table(const std::vector<ListToCompile>& lists) : lists_(lists) {
    std::size_t size = 0;
    for (const ListToCompile& list : lists) {
      size += list.entries->octets.size() + list.entries->entries * 2;
      expected_ += list.entries->entries;
    }
    octets_.reserve(size + size / 64);
  }

  // False: a run of used slots is too long under this key.
  bool fill(std::uint64_t key) {
    key_ = key;
    octets_.clear();
    counts_.assign(lists_.size(), 0);
    // At most half of the slots are used; entries of two forms (addresses) count once in expected_.
    slots_.assign(std::bit_ceil(std::max<std::size_t>(expected_ * 2 + 2, 16)), {0, 0});
    used_ = 0;
    for (std::size_t i = 0; i < lists_.size(); ++i) {
      const std::vector<std::uint8_t>& read = lists_[i].entries->octets;
      for (std::size_t at = 0; at < read.size(); at += kReadHeader + u16(&read[at])) {
        if (used_ * 4 > slots_.size() * 3) return false;
        add(static_cast<std::uint16_t>(i), &read[at]);
      }
    }
    return longest_run() <= lists::kMaxRun;
  }

  void write(flatbuffers::FlatBufferBuilder& out) const {
    std::vector<flatbuffers::Offset<image::List>> lists;
    for (const ListToCompile& one : lists_) {
      const scan::RuleInfo& rule = one.list.rule;
      lists.push_back(image::CreateList(out, rule.gid, rule.sid, rule.revision, rule.severity,
                                        static_cast<std::uint8_t>(rule.action), rule.score,
                                        one.list.places, out.CreateString(rule.name),
                                        out.CreateString(rule.message),
                                        out.CreateString(rule.category)));
    }
    out.Finish(image::CreateLists(out, out.CreateVector(lists), key_,
                                  out.CreateVectorOfStructs(slots_), out.CreateVector(octets_)),
               contract::kListsSectionId);
  }

  const std::vector<std::size_t>& counts() const { return counts_; }
  std::size_t size() const { return octets_.size() + slots_.size() * sizeof(image::Slot); }

 private:
  void add(std::uint16_t list, const std::uint8_t* read) {
    const std::uint16_t size = u16(read);
    const std::uint8_t kind = read[2];
    const std::string_view text(reinterpret_cast<const char*>(read + kReadHeader), size);
    const std::uint64_t hash = lists::Hash::of(key_, static_cast<lists::Kind>(kind), text);
    const auto mark = static_cast<std::uint32_t>(hash >> 32);
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hash & mask;
    for (; slots_[at].entry() != 0; at = (at + 1) & mask) {
      if (slots_[at].mark() != mark) continue;
      const std::uint8_t* there = &octets_[slots_[at].entry() - 1];
      if (u16(there) == list && u16(there + 2) == size && there[4] == kind &&
          std::memcmp(there + kEntryHeader, text.data(), size) == 0) {
        return;  // the same line twice
      }
    }
    const std::size_t entry = octets_.size();
    octets_.resize(entry + kEntryHeader + size);
    std::memcpy(&octets_[entry], &list, 2);
    std::memcpy(&octets_[entry + 2], &size, 2);
    octets_[entry + 4] = kind;
    std::memcpy(&octets_[entry + kEntryHeader], text.data(), size);
    slots_[at] = image::Slot(mark, static_cast<std::uint32_t>(entry + 1));
    ++counts_[list];
    ++used_;
  }

  std::size_t longest_run() const {
    std::size_t longest = 0;
    std::size_t run = 0;
    for (std::size_t i = 0; i < 2 * slots_.size(); ++i) {
      run = slots_[i & (slots_.size() - 1)].entry() == 0 ? 0 : run + 1;
      longest = std::max(longest, run);
    }
    return longest;
  }

  const std::vector<ListToCompile>& lists_;
  std::vector<std::uint8_t> octets_;
  std::vector<image::Slot> slots_;
  std::vector<std::size_t> counts_;
  std::uint64_t key_ = 0;
  std::size_t expected_ = 0;
  std::size_t used_ = 0;
};

}  // namespace

std::shared_ptr<const CompiledLists> no_lists() {
  static const auto kNone = std::make_shared<const CompiledLists>();
  return kNone;
}

Result<std::shared_ptr<const CompiledLists>> compile_lists(
    const std::vector<ListToCompile>& lists) {
  if (lists.empty()) return no_lists();
  if (lists.size() > lists::kMaxLists) {
    return Error{"at most " + std::to_string(lists::kMaxLists) + " lists"};
  }
  // The key follows from what all lists hold, so that who adds to one of them cannot choose where
  // its entries fall, and the same lists give the same octets.
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                  &EVP_MD_CTX_free);
  std::array<std::uint8_t, 32> seed{};
  bool good = context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
  std::size_t octets = 0;
  for (const ListToCompile& list : lists) {
    const std::vector<std::uint8_t>& read = list.entries->octets;
    octets += read.size() + list.entries->entries * 24;
    good = good && EVP_DigestUpdate(context.get(), read.data(), read.size()) == 1;
  }
  good = good && EVP_DigestFinal_ex(context.get(), seed.data(), nullptr) == 1;
  if (!good) return Error{"no SHA-256 in this libcrypto"};
  if (octets > contract::kMaxSectionSize) {
    return Error{"the lists hold too much: together they come to at most " +
                 std::to_string(contract::kMaxSectionSize) + " octets"};
  }
  std::uint64_t key = 0;
  std::memcpy(&key, seed.data(), sizeof key);
  Table table(lists);
  constexpr int kMostKeys = 8;
  for (int tries = 0; !table.fill(key); ++tries, key += 0x9E3779B97F4A7C15) {
    if (tries == kMostKeys) return Error{"no table can be made of these lists"};
  }
  auto made = std::make_shared<CompiledLists>();
  flatbuffers::FlatBufferBuilder out(table.size() + 4096 + lists.size() * 512);
  table.write(out);
  made->image.assign(out.GetBufferPointer(), out.GetBufferPointer() + out.GetSize());
  EVP_Digest(made->image.data(), made->image.size(), made->digest.data(), nullptr, EVP_sha256(),
             nullptr);
  made->entries = table.counts();
  for (const ListToCompile& list : lists) made->lists.push_back(list.list);
  return std::shared_ptr<const CompiledLists>(std::move(made));
}

}  // namespace sluice::control
