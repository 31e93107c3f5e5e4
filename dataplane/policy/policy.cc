#include "dataplane/policy/policy.h"

#include <openssl/evp.h>

#include <algorithm>
#include <bitset>
#include <cstring>
#include <unordered_set>

#include "dataplane/contract/policy_image.h"
#include "dataplane/contract/policy_image_tables.h"
#include "dataplane/policy/prefix_map.h"
#include "dataplane/scan/ruleset.h"

namespace sluice::policy {

namespace image = contract::image;
using contract::PolicyImageHeader;

namespace {

constexpr std::uint16_t kDefaultMailPorts[] = {25, 465, 587, 2525};
constexpr std::size_t kMaxText = 400;  // a reply line is at most 512 octets (RFC 5321 4.5.3.1.5)
constexpr std::size_t kMaxName = 255;

class ImageLoader;

class Image final : public Policy {
 public:
  std::uint32_t epoch() const override { return epoch_; }
  const scan::Ruleset& ruleset() const override { return *ruleset_; }
  std::shared_ptr<const scan::Ruleset> shared_ruleset() const override { return ruleset_; }
  const Digest& ruleset_digest() const override { return ruleset_digest_; }
  const lists::Lists& lists() const override { return *lists_; }
  std::shared_ptr<const lists::Lists> shared_lists() const override { return lists_; }
  const Digest& lists_digest() const override { return lists_digest_; }
  const Wire* wire(std::string_view name) const override {
    for (const Wire& wire : wires_) {
      if (wire.name == name) return &wire;
    }
    return nullptr;
  }
  const Group& group_of(const Address& client) const override {
    const std::uint32_t found = members_.find(client);
    return groups_[found == PrefixMap::kNone ? 0 : found];
  }
  const HostRule* host(const Address& client) const override {
    const std::uint32_t found = host_map_.find(client);
    return found == PrefixMap::kNone ? nullptr : &hosts_[found];
  }
  bool inside(const Address& address) const override {
    return inside_.find(address) != PrefixMap::kNone;
  }
  bool mail_port(std::uint16_t port) const override { return mail_ports_[port]; }
  const Texts& texts() const override { return texts_; }
  const Exceptions& exceptions() const override { return exceptions_; }
  bool hash_messages() const override { return hash_messages_; }
  bool hash_attachments() const override { return hash_attachments_; }
  bool hash_md5() const override { return hash_md5_; }
  std::uint64_t scan_budget() const override { return scan_budget_; }

 private:
  friend class ImageLoader;

  std::uint32_t epoch_ = 0;
  std::shared_ptr<const scan::Ruleset> ruleset_ = scan::Ruleset::empty();
  Digest ruleset_digest_{};
  std::shared_ptr<const lists::Lists> lists_ = lists::Lists::empty();
  Digest lists_digest_{};
  std::vector<Wire> wires_;
  std::vector<Group> groups_{Group{.name = "default"}};
  PrefixMap members_;
  std::vector<HostRule> hosts_;
  PrefixMap host_map_;
  PrefixMap inside_;
  std::bitset<65536> mail_ports_;
  Texts texts_;
  Exceptions exceptions_;
  bool hash_messages_ = false;
  bool hash_attachments_ = true;
  bool hash_md5_ = false;
  std::uint64_t scan_budget_ = 0;
};

std::string at(const char* table, std::size_t index, const std::string& what) {
  return std::string("policy section: ") + table + " " + std::to_string(index) + ": " + what;
}

bool sha256(std::initializer_list<Bytes> pieces, Policy::Digest& digest) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) return false;
  for (const Bytes piece : pieces) {
    if (EVP_DigestUpdate(context.get(), piece.data(), piece.size()) != 1) return false;
  }
  return EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1;
}

// A reply text goes out on the wire as one line: printable UTF-8 without line ends.
Status check_text(const flatbuffers::String& text, const char* which) {
  if (text.size() > kMaxText) {
    return Error{std::string("policy section: text ") + which + ": longer than " +
                 std::to_string(kMaxText) + " octets"};
  }
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      return Error{std::string("policy section: text ") + which + ": holds a control character"};
    }
  }
  return ok();
}

template <typename Octets>
Address address_of(const Octets& octets) {
  Address address;
  for (std::uint32_t i = 0; i < 16; ++i) address.octets[i] = octets[i];
  return address;
}

Address masked(Address address, std::uint8_t length) {
  for (std::size_t i = 0; i < 16; ++i) {
    const std::size_t bit = i * 8;
    if (bit >= length) {
      address.octets[i] = 0;
    } else if (length - bit < 8) {
      address.octets[i] &= static_cast<std::uint8_t>(0xff00u >> (length - bit));
    }
  }
  return address;
}

// Turns a verified Policy table into an Image, checking every value on the way.
class ImageLoader {
 public:
  static Result<std::shared_ptr<Image>> load(const image::Policy& tables) {
    auto made = std::make_shared<Image>();
    ImageLoader loader(*made, tables);
    for (const auto part :
         {&ImageLoader::wires, &ImageLoader::groups, &ImageLoader::hosts, &ImageLoader::rest}) {
      if (Status status = (loader.*part)(); !status) return Error{status.error()};
    }
    return made;
  }
  static void set_ruleset(Image& made, std::shared_ptr<const scan::Ruleset> ruleset,
                          const Policy::Digest& digest) {
    made.ruleset_ = std::move(ruleset);
    made.ruleset_digest_ = digest;
  }
  static void set_lists(Image& made, std::shared_ptr<const lists::Lists> lists,
                        const Policy::Digest& digest) {
    made.lists_ = std::move(lists);
    made.lists_digest_ = digest;
    made.hash_attachments_ |= made.lists_->has(lists::Kind::sha256);
    made.hash_md5_ |= made.lists_->has(lists::Kind::md5);
  }
  static std::shared_ptr<const Policy> defaults() {
    auto made = std::make_shared<Image>();
    for (const std::uint16_t port : kDefaultMailPorts) made->mail_ports_.set(port);
    return made;
  }

 private:
  ImageLoader(Image& made, const image::Policy& tables) : made_(made), tables_(tables) {}

  Status wires() {
    std::unordered_set<std::string> names;
    for (std::uint32_t i = 0; i < tables_.wires()->size(); ++i) {
      const image::Wire* wire = (*tables_.wires())[i];
      if (wire->name()->size() == 0 || wire->name()->size() > kMaxName) {
        return Error{at("wire", i, "its name is empty or too long")};
      }
      if (wire->mode() > static_cast<std::uint8_t>(Mode::enforce)) {
        return Error{at("wire", i, "unknown mode")};
      }
      if (!names.insert(wire->name()->str()).second) {
        return Error{at("wire", i, "a second wire of the same name")};
      }
      made_.wires_.push_back({wire->name()->str(), static_cast<Mode>(wire->mode())});
    }
    return ok();
  }

  Status groups() {
    if (tables_.groups()->size() == 0) return ok();  // the built-in default group stays
    made_.groups_.clear();
    std::vector<PrefixMap::Entry> members;
    for (std::uint32_t i = 0; i < tables_.groups()->size(); ++i) {
      const image::Group* group = (*tables_.groups())[i];
      constexpr auto kLast = static_cast<std::uint8_t>(contract::Verdict::reset);
      if (group->rule_reject() > kLast || group->rule_drop() > kLast) {
        return Error{at("group", i, "unknown verdict")};
      }
      if (group->name()->size() > kMaxName) return Error{at("group", i, "its name is too long")};
      made_.groups_.push_back({.name = group->name()->str(),
                               .tag_score = group->tag_score(),
                               .tempfail_score = group->tempfail_score(),
                               .reject_score = group->reject_score(),
                               .rule_reject = static_cast<contract::Verdict>(group->rule_reject()),
                               .rule_drop = static_cast<contract::Verdict>(group->rule_drop())});
      if (group->members() == nullptr) continue;
      for (const image::Prefix* prefix : *group->members()) {
        if (prefix->length() > 128) return Error{at("group", i, "a prefix longer than 128 bits")};
        members.push_back({address_of(*prefix->octets()), prefix->length(), i});
      }
    }
    made_.members_ = PrefixMap(std::move(members));
    return ok();
  }

  Status hosts() {
    std::vector<std::string> texts;
    for (std::uint32_t i = 0; i < tables_.host_texts()->size(); ++i) {
      const flatbuffers::String* text = (*tables_.host_texts())[i];
      if (Status status = check_text(*text, ("of hosts " + std::to_string(i)).c_str()); !status) {
        return status;
      }
      texts.push_back(text->str());
    }
    std::vector<PrefixMap::Entry> entries;
    entries.reserve(tables_.hosts()->size());
    made_.hosts_.reserve(tables_.hosts()->size());
    for (std::uint32_t i = 0; i < tables_.hosts()->size(); ++i) {
      const image::HostRule* host = (*tables_.hosts())[i];
      if (host->length() > 128) return Error{at("host rule", i, "a prefix longer than 128 bits")};
      if (host->action() > static_cast<std::uint8_t>(HostAction::block)) {
        return Error{at("host rule", i, "unknown action")};
      }
      if (host->text() > texts.size()) return Error{at("host rule", i, "no such text")};
      const Address prefix = masked(address_of(*host->octets()), host->length());
      made_.hosts_.push_back({.prefix = prefix,
                              .length = host->length(),
                              .action = static_cast<HostAction>(host->action()),
                              .rate_per_hour = host->rate_per_hour(),
                              .burst = host->burst(),
                              .text = host->text() == 0 ? std::string() : texts[host->text() - 1]});
      entries.push_back({prefix, host->length(), i});
    }
    made_.host_map_ = PrefixMap(std::move(entries));
    return ok();
  }

  Status rest() {
    made_.epoch_ = tables_.epoch();
    std::vector<PrefixMap::Entry> inside;
    for (std::uint32_t i = 0; i < tables_.inside()->size(); ++i) {
      const image::Prefix* prefix = (*tables_.inside())[i];
      if (prefix->length() > 128) return Error{at("inside", i, "a prefix longer than 128 bits")};
      inside.push_back({address_of(*prefix->octets()), prefix->length(), 0});
    }
    made_.inside_ = PrefixMap(std::move(inside));
    for (const std::uint16_t port : *tables_.mail_ports()) made_.mail_ports_.set(port);

    const image::Texts& texts = *tables_.texts();
    const std::pair<const flatbuffers::String*, std::pair<const char*, std::string*>> fields[] = {
        {texts.rejected(), {"rejected", &made_.texts_.rejected}},
        {texts.tempfailed(), {"tempfailed", &made_.texts_.tempfailed}},
        {texts.limited(), {"limited", &made_.texts_.limited}},
        {texts.closing(), {"closing", &made_.texts_.closing}}};
    for (const auto& [text, target] : fields) {
      if (Status status = check_text(*text, target.first); !status) return status;
      *target.second = text->str();
    }

    const image::Exceptions& exceptions = *tables_.exceptions();
    const std::pair<std::uint8_t, Exception*> choices[] = {
        {exceptions.flow_table_full(), &made_.exceptions_.flow_table_full},
        {exceptions.memory(), &made_.exceptions_.memory},
        {exceptions.scan_budget(), &made_.exceptions_.scan_budget},
        {exceptions.smuggling(), &made_.exceptions_.smuggling},
        {exceptions.overlap(), &made_.exceptions_.overlap}};
    for (const auto& [choice, target] : choices) {
      if (choice > static_cast<std::uint8_t>(Exception::fail_closed)) {
        return Error{"policy section: exceptions: unknown policy"};
      }
      *target = static_cast<Exception>(choice);
    }
    made_.hash_messages_ = tables_.hash_messages();
    made_.hash_attachments_ = tables_.hash_attachments();
    made_.hash_md5_ = tables_.hash_md5();
    made_.scan_budget_ = tables_.scan_budget();
    return ok();
  }

  Image& made_;
  const image::Policy& tables_;
};

// Everything about the container but what is in the sections.
Result<PolicyImageHeader> check_container(Bytes octets) {
  PolicyImageHeader header;
  const std::string length = std::to_string(octets.size());
  if (octets.size() < sizeof header) {
    return Error{"header: the image has " + length + " octets, fewer than a header's " +
                 std::to_string(sizeof header)};
  }
  std::memcpy(&header, octets.data(), sizeof header);
  if (header.magic != contract::kPolicyImageMagic) return Error{"header: not a policy image"};
  if (header.version != contract::kPolicyImageVersion) {
    return Error{"header: format version " + std::to_string(header.version) +
                 ", this process reads version " + std::to_string(contract::kPolicyImageVersion)};
  }
  if (header.size != octets.size()) {
    return Error{"header: the image should have " + std::to_string(header.size) +
                 " octets and has " + length};
  }
  const auto section = [&](std::uint64_t offset, std::uint64_t size, std::uint64_t behind) {
    return offset % contract::kSectionAlignment == 0 && offset >= behind &&
           size <= contract::kMaxSectionSize && offset <= octets.size() &&
           size <= octets.size() - offset;
  };
  if (!section(header.policy_offset, header.policy_size, sizeof header)) {
    return Error{"header: the policy section is out of place"};
  }
  if (header.ruleset_size != 0 && !section(header.ruleset_offset, header.ruleset_size,
                                           header.policy_offset + header.policy_size)) {
    return Error{"header: the ruleset section is out of place"};
  }
  const std::uint64_t behind = header.ruleset_size != 0
                                   ? header.ruleset_offset + header.ruleset_size
                                   : header.policy_offset + header.policy_size;
  if (header.lists_size != 0 && !section(header.lists_offset, header.lists_size, behind)) {
    return Error{"header: the lists section is out of place"};
  }
  Policy::Digest digest;
  constexpr std::size_t kDigest = offsetof(PolicyImageHeader, digest);
  if (!sha256({octets.first(kDigest), octets.subspan(kDigest + digest.size())}, digest)) {
    return Error{"header: no SHA-256 in this libcrypto"};
  }
  if (digest != header.digest) return Error{"header: the digest is not that of the image"};
  return header;
}

struct ContentSection {
  const char* name;
  std::uint64_t offset;
  std::uint64_t size;  // 0: left out
  const Policy::Digest& digest;
};

// What a content-addressed section holds: the live one of that digest, or it is opened.
template <typename Content>
Result<std::shared_ptr<const Content>> by_digest(
    Bytes image, const ContentSection& section,
    const std::vector<std::pair<Policy::Digest, std::shared_ptr<const Content>>>& known) {
  for (const auto& [digest, live] : known) {
    if (digest == section.digest) return live;
  }
  if (section.size == 0) {
    if (section.digest != Policy::Digest{}) return Error{Policy::kNeedsRuleset};
    return Content::empty();
  }
  const Bytes octets = image.subspan(section.offset, section.size);
  Policy::Digest digest;
  if (!sha256({octets}, digest) || digest != section.digest) {
    return Error{std::string(section.name) + " section: its digest is not the one in the header"};
  }
  return Content::open(octets);
}

}  // namespace

Result<std::shared_ptr<const Policy>> Policy::open(Bytes octets, const Known& known) {
  auto header = check_container(octets);
  if (!header) return Error{header.error()};
  if (Status status = scan::Ruleset::runs(header->platform); !status) {
    return Error{"platform: " + status.error()};
  }
  const Bytes section = octets.subspan(header->policy_offset, header->policy_size);
  if (reinterpret_cast<std::uintptr_t>(section.data()) % 8 != 0) {
    return Error{"policy section: not aligned in memory"};
  }
  if (section.size() < 16 ||
      !flatbuffers::BufferHasIdentifier(section.data(), contract::kPolicySectionId)) {
    return Error{"policy section: its identifier is not " +
                 std::string(contract::kPolicySectionId)};
  }
  flatbuffers::Verifier verifier(section.data(), section.size(), contract::kPolicyImageDepth,
                                 contract::kPolicyImageTables);
  if (!verifier.VerifyBuffer<image::Policy>(contract::kPolicySectionId)) {
    return Error{"policy section: its tables reach out of bounds or lack required fields"};
  }

  auto ruleset = by_digest<scan::Ruleset>(
      octets, {"ruleset", header->ruleset_offset, header->ruleset_size, header->ruleset_digest},
      known.rulesets);
  if (!ruleset) return Error{ruleset.error()};
  auto lists = by_digest<lists::Lists>(
      octets, {"lists", header->lists_offset, header->lists_size, header->lists_digest},
      known.lists);
  if (!lists) return Error{lists.error()};

  auto loaded = ImageLoader::load(*flatbuffers::GetRoot<image::Policy>(section.data()));
  if (!loaded) return Error{loaded.error()};
  ImageLoader::set_ruleset(**loaded, std::move(*ruleset), header->ruleset_digest);
  ImageLoader::set_lists(**loaded, std::move(*lists), header->lists_digest);
  return std::shared_ptr<const Policy>(std::move(*loaded));
}

std::shared_ptr<const Policy> default_policy() { return ImageLoader::defaults(); }

}  // namespace sluice::policy
