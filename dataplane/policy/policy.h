// The policy in force, as workers read it: built once off the loop from a verified policy image
// (dataplane/contract/policy_image.*), then immutable. Nothing here allocates or locks when read.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/address.h"
#include "dataplane/base/result.h"
#include "dataplane/contract/event_record.h"
#include "dataplane/lists/lists.h"
#include "dataplane/scan/scan.h"

namespace sluice::policy {

enum class Mode : std::uint8_t { monitor, enforce };  // of a wire; monitor says what it would do
enum class Exception : std::uint8_t { fail_open, fail_closed };  // declared policy at a bound

struct Wire {
  std::string name;
  Mode mode = Mode::monitor;
};

// Thresholds and actions for messages of a group of hosts.
struct Group {
  std::string name;
  // Scores in hundredths; a message at or over the threshold gets the verdict.
  std::int32_t tag_score = INT32_MAX;
  std::int32_t tempfail_score = INT32_MAX;
  std::int32_t reject_score = INT32_MAX;
  contract::Verdict rule_reject = contract::Verdict::reject;  // what a `reject` rule does here
  contract::Verdict rule_drop = contract::Verdict::drop;      // what a `drop` rule does here
};

// What an operator or the ladder ordered for a host or prefix (longest prefix wins).
enum class HostAction : std::uint8_t {
  allow,     // never acted on, whatever else says so
  limit,     // messages over the rate are refused with 4xx
  tempfail,  // every message is refused with 4xx
  reject,    // every message is refused with 5xx
  tarpit,    // the server's replies are paced
  block,     // every mail segment is dropped (XDP does it first)
};
struct HostRule {
  Address prefix;             // masked
  std::uint8_t length = 128;  // of the 128-bit form: an IPv4 /24 is 120
  HostAction action = HostAction::allow;
  std::uint32_t rate_per_hour = 0;  // limit: messages an hour
  std::uint32_t burst = 1;          // limit: messages at once
  std::string text;                 // the reply's text, without code; empty: the default
};

struct Texts {  // reply texts, one line each, without codes
  std::string rejected = "Message refused by network policy";
  std::string tempfailed = "Message deferred by network policy, try again later";
  std::string limited = "Too many messages from your host, try again later";
  std::string closing = "Service not available, closing transmission channel";
};

struct Exceptions {
  Exception flow_table_full = Exception::fail_open;
  Exception memory = Exception::fail_open;
  Exception scan_budget = Exception::fail_open;
  Exception smuggling = Exception::fail_open;
  Exception overlap = Exception::fail_open;  // fail_open: first octets replace; fail_closed: drop
};

class Policy {
 public:
  // Verifies and opens a sealed image. `known` finds rulesets and lists that are already live by
  // digest, so that a change of the one ships and builds none of the other. Off the loop; any
  // thread. `image` must stand at a multiple of 8 octets in memory and is not needed afterwards.
  // The error says which part is wrong and why; it is kNeedsRuleset when a section was left out and
  // is not among `known`.
  static constexpr char kNeedsRuleset[] = "needs ruleset";
  using Digest = std::array<std::uint8_t, 32>;
  struct Known {
    std::vector<std::pair<Digest, std::shared_ptr<const scan::Ruleset>>> rulesets;
    std::vector<std::pair<Digest, std::shared_ptr<const lists::Lists>>> lists;
  };
  static Result<std::shared_ptr<const Policy>> open(Bytes image, const Known& known);

  virtual ~Policy() = default;
  virtual std::uint32_t epoch() const = 0;
  virtual const scan::Ruleset& ruleset() const = 0;
  virtual std::shared_ptr<const scan::Ruleset> shared_ruleset() const = 0;
  virtual const Digest& ruleset_digest() const = 0;
  virtual const lists::Lists& lists() const = 0;
  virtual std::shared_ptr<const lists::Lists> shared_lists() const = 0;
  virtual const Digest& lists_digest() const = 0;
  virtual const Wire* wire(std::string_view name) const = 0;
  virtual const Group& group_of(const Address& client) const = 0;
  // The rule of the longest prefix that holds `client`, or nullptr. Of two rules for the same
  // prefix the later one in the image counts.
  virtual const HostRule* host(const Address& client) const = 0;
  virtual bool inside(const Address& address) const = 0;
  virtual bool mail_port(std::uint16_t port) const = 0;
  virtual const Texts& texts() const = 0;
  virtual const Exceptions& exceptions() const = 0;
  virtual bool hash_messages() const = 0;  // smtp.sha256
  // Of attachments; also on when a list of such hashes is loaded.
  virtual bool hash_attachments() const = 0;  // sha256
  virtual bool hash_md5() const = 0;
  virtual std::uint64_t scan_budget()
      const = 0;  // octets of a message that are scanned; 0: no bound
};

// A policy with no rules, all ports of the default list, every wire in monitor mode: what a worker
// has before the first image.
std::shared_ptr<const Policy> default_policy();

}  // namespace sluice::policy
