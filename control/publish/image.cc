#include "control/publish/image.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "dataplane/contract/policy_image.h"
#include "dataplane/contract/policy_image_tables.h"

namespace sluice::control {

namespace image = contract::image;
using contract::PolicyImageHeader;

namespace {

image::Prefix prefix_of(const Address& address, std::uint8_t length) {
  return image::Prefix(flatbuffers::span<const std::uint8_t, 16>(address.octets), length);
}

std::vector<image::Prefix> prefixes_of(const std::vector<Prefix>& prefixes) {
  std::vector<image::Prefix> out;
  out.reserve(prefixes.size());
  for (const Prefix& prefix : prefixes) out.push_back(prefix_of(prefix.address, prefix.length));
  return out;
}

// A reply text must be one line that fits a reply (RFC 5321 4.5.3.1.5); the dataplane refuses
// others, so that the fault is found here, where it can be named.
Status check_text(const std::string& text, const std::string& which) {
  if (text.size() > 400) return Error{which + ": a reply text has at most 400 octets"};
  const bool control = std::ranges::any_of(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (control) return Error{which + ": a reply text is one line without control characters"};
  return ok();
}

Status check(const PolicySpec& spec) {
  for (std::size_t i = 0; i < spec.wires.size(); ++i) {
    const std::string& name = spec.wires[i].name;
    if (name.empty() || name.size() > 255) {
      return Error{"wire " + std::to_string(i) + ": its name must have 1 to 255 octets"};
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (spec.wires[j].name == name) return Error{"wire " + name + " is there twice"};
    }
  }
  const auto too_long = [](const Prefix& prefix) { return prefix.length > 128; };
  for (const GroupSpec& group : spec.groups) {
    if (std::ranges::any_of(group.members, too_long)) {
      return Error{"group " + group.group.name + ": a prefix is longer than 128 bits"};
    }
  }
  if (!spec.groups.empty() && !spec.groups.front().members.empty()) {
    return Error{"the first group is that of all hosts in no other group: it has no members"};
  }
  if (std::ranges::any_of(spec.inside, too_long)) {
    return Error{"inside: a prefix is longer than 128 bits"};
  }
  for (std::size_t i = 0; i < spec.hosts.size(); ++i) {
    if (spec.hosts[i].length > 128) {
      return Error{"host rule " + std::to_string(i) + ": its prefix is longer than 128 bits"};
    }
    if (Status status = check_text(spec.hosts[i].text, "host rule " + std::to_string(i)); !status) {
      return status;
    }
  }
  const std::pair<const char*, const std::string*> texts[] = {
      {"text rejected", &spec.texts.rejected},
      {"text tempfailed", &spec.texts.tempfailed},
      {"text limited", &spec.texts.limited},
      {"text closing", &spec.texts.closing}};
  for (const auto& [name, text] : texts) {
    if (Status status = check_text(*text, name); !status) return status;
  }
  return ok();
}

flatbuffers::Offset<image::Policy> write_policy(flatbuffers::FlatBufferBuilder& out,
                                                const PolicySpec& spec) {
  std::vector<flatbuffers::Offset<image::Wire>> wires;
  for (const policy::Wire& wire : spec.wires) {
    wires.push_back(
        image::CreateWire(out, out.CreateString(wire.name), static_cast<std::uint8_t>(wire.mode)));
  }
  std::vector<flatbuffers::Offset<image::Group>> groups;
  for (const GroupSpec& one : spec.groups) {
    const policy::Group& group = one.group;
    groups.push_back(image::CreateGroup(out, out.CreateString(group.name), group.tag_score,
                                        group.tempfail_score, group.reject_score,
                                        static_cast<std::uint8_t>(group.rule_reject),
                                        static_cast<std::uint8_t>(group.rule_drop),
                                        out.CreateVectorOfStructs(prefixes_of(one.members))));
  }
  std::unordered_map<std::string, std::uint32_t> text_numbers;
  std::vector<std::string> texts;
  std::vector<image::HostRule> hosts;
  hosts.reserve(spec.hosts.size());
  for (const policy::HostRule& host : spec.hosts) {
    std::uint32_t text = 0;
    if (!host.text.empty()) {
      const auto [at, added] = text_numbers.try_emplace(host.text, texts.size() + 1);
      if (added) texts.push_back(host.text);
      text = at->second;
    }
    hosts.emplace_back(flatbuffers::span<const std::uint8_t, 16>(host.prefix.octets),
                       host.rate_per_hour, host.burst, text, host.length,
                       static_cast<std::uint8_t>(host.action));
  }
  const auto reply_texts = image::CreateTexts(
      out, out.CreateString(spec.texts.rejected), out.CreateString(spec.texts.tempfailed),
      out.CreateString(spec.texts.limited), out.CreateString(spec.texts.closing));
  const auto choice = [](policy::Exception one) { return static_cast<std::uint8_t>(one); };
  const auto exceptions =
      image::CreateExceptions(out, choice(spec.exceptions.flow_table_full),
                              choice(spec.exceptions.memory), choice(spec.exceptions.scan_budget),
                              choice(spec.exceptions.smuggling), choice(spec.exceptions.overlap));
  return image::CreatePolicy(
      out, spec.epoch, out.CreateVector(wires), out.CreateVector(groups),
      out.CreateVectorOfStructs(prefixes_of(spec.inside)), out.CreateVector(spec.mail_ports),
      out.CreateVectorOfStructs(hosts), out.CreateVectorOfStrings(texts), reply_texts, exceptions,
      spec.hash_messages, spec.hash_attachments, spec.hash_md5, spec.scan_budget);
}

std::size_t aligned(std::size_t size) {
  return (size + contract::kSectionAlignment - 1) / contract::kSectionAlignment *
         contract::kSectionAlignment;
}

}  // namespace

Result<std::vector<std::uint8_t>> build_image(const PolicySpec& spec, const CompiledRules& rules,
                                              bool with_ruleset, const CompiledLists& lists,
                                              bool with_lists) {
  if (Status status = check(spec); !status) return Error{status.error()};
  flatbuffers::FlatBufferBuilder out(65536 + spec.hosts.size() * sizeof(image::HostRule));
  out.Finish(write_policy(out, spec), contract::kPolicySectionId);

  PolicyImageHeader header;
  header.platform = rules.platform;
  header.policy_offset = aligned(sizeof header);
  header.policy_size = out.GetSize();
  header.ruleset_digest = rules.digest;
  std::size_t size = header.policy_offset + header.policy_size;
  if (with_ruleset) {
    header.ruleset_offset = aligned(size);
    header.ruleset_size = rules.image.size();
    size = header.ruleset_offset + header.ruleset_size;
  }
  header.lists_digest = lists.digest;
  if (with_lists && !lists.image.empty()) {
    header.lists_offset = aligned(size);
    header.lists_size = lists.image.size();
    size = header.lists_offset + header.lists_size;
  }
  if (header.policy_size > contract::kMaxSectionSize ||
      header.ruleset_size > contract::kMaxSectionSize ||
      header.lists_size > contract::kMaxSectionSize) {
    return Error{"the policy is too large: a section has at most " +
                 std::to_string(contract::kMaxSectionSize) + " octets"};
  }
  header.size = size;

  std::vector<std::uint8_t> octets(size, 0);
  std::memcpy(&octets[header.policy_offset], out.GetBufferPointer(), header.policy_size);
  if (header.ruleset_size != 0) {
    std::memcpy(&octets[header.ruleset_offset], rules.image.data(), rules.image.size());
  }
  if (header.lists_size != 0) {
    std::memcpy(&octets[header.lists_offset], lists.image.data(), lists.image.size());
  }
  constexpr std::size_t kDigest = offsetof(PolicyImageHeader, digest);
  std::memcpy(octets.data(), &header, sizeof header);
  // The digest is of all but itself.
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                  &EVP_MD_CTX_free);
  constexpr std::size_t kBehind = kDigest + sizeof header.digest;
  if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1 ||
      EVP_DigestUpdate(context.get(), octets.data(), kDigest) != 1 ||
      EVP_DigestUpdate(context.get(), &octets[kBehind], size - kBehind) != 1 ||
      EVP_DigestFinal_ex(context.get(), &octets[kDigest], nullptr) != 1) {
    return Error{"no SHA-256 in this libcrypto"};
  }
  return octets;
}

}  // namespace sluice::control
