// Builds policy images (dataplane/contract/policy_image.fbs) from what the configuration says.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/policy/compiled_lists.h"
#include "control/policy/rules.h"
#include "dataplane/base/result.h"
#include "dataplane/policy/policy.h"

namespace sluice::control {

struct Prefix {
  Address address;            // masked
  std::uint8_t length = 128;  // of the 128-bit form: an IPv4 /24 is 120
};

struct GroupSpec {
  policy::Group group;
  std::vector<Prefix> members;  // empty: the default group (exactly one, the first)
};

// Everything that crosses in an image but the rules.
struct PolicySpec {
  std::uint32_t epoch = 0;
  std::vector<policy::Wire> wires;
  std::vector<GroupSpec> groups;
  std::vector<Prefix> inside;
  std::vector<std::uint16_t> mail_ports{25, 465, 587, 2525};
  std::vector<policy::HostRule> hosts;
  policy::Texts texts;
  policy::Exceptions exceptions;
  bool hash_messages = false;
  bool hash_attachments = true;
  bool hash_md5 = false;
  std::uint64_t scan_budget = 0;
};

// The octets of an image; `with_ruleset` or `with_lists` false leaves that section out (its digest
// stays): for a dataplane that already has it.
Result<std::vector<std::uint8_t>> build_image(const PolicySpec& spec, const CompiledRules& rules,
                                              bool with_ruleset,
                                              const CompiledLists& lists = *no_lists(),
                                              bool with_lists = true);

}  // namespace sluice::control
