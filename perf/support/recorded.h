// A capture of generated SMTP sessions in memory, and the policy with which benches run it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "control/policy/rules.h"
#include "control/publish/image.h"
#include "dataplane/base/direction.h"
#include "dataplane/base/result.h"
#include "dataplane/flow/flow_table.h"
#include "dataplane/policy/policy.h"

namespace sluice::perf {

// One frame of the capture.
struct Recorded {
  std::size_t offset;   // in Capture::octets
  std::uint32_t size;   // octets
  std::uint32_t flow;   // numbered from 0
  std::uint64_t time;   // ns since the Unix epoch
  Side side;            // on which it comes in: what goes to port 25 on the inside
  bool begins_or_ends;  // SYN, FIN or RST: what XDP gives to the dataplane of a bypassed flow
};

struct Capture {
  std::vector<std::uint8_t> octets;
  std::vector<Recorded> frames;
  std::vector<flow::FlowKey> flows;  // keys as of wire 0
};

// All TCP frames of the file. Fails with what cannot be read.
Result<Capture> load_capture(const std::string& path);

struct CompiledPolicy {
  std::shared_ptr<const control::CompiledRules> rules;
  std::shared_ptr<const policy::Policy> policy;
};

// One wire that enforces, one group, and the rules of `rules_file` ("": none). hash: "none",
// "attachments" or "all". `hosts`: so many addresses of 10.0.0.0/8 and 172.16.0.0/12 have an entry
// that allows their mail. scan_budget: octets of a message, 0: no bound.
Result<CompiledPolicy> compile_policy(const std::string& rules_file, const std::string& hash,
                                      std::size_t hosts = 0, std::uint64_t scan_budget = 0);

}  // namespace sluice::perf
