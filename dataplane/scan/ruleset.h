// A ruleset as the workers use it: the tables and databases of the ruleset section of a policy
// image, checked and deserialized once, off the loop; immutable from then on and shared by all.
//
// Theory. A rule is a set of condition groups, one for each buffer that it looks at; a group is a
// set of up to 32 conditions that must hold (or, negated, must not) within one item of its buffer.
// Each condition is a pattern of the buffer's Hyperscan database, or, of many plain literals, of
// its LiteralSet. Most patterns are exact: their hit sets the condition. Where Hyperscan cannot
// express what the rule says, the pattern finds a superset and a Confirmation decides on a bounded
// copy of the item (confirmation.h). Rules that share a pattern share its number.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/base/result.h"
#include "dataplane/contract/policy_image.h"
#include "dataplane/scan/confirmation.h"
#include "dataplane/scan/literals.h"
#include "dataplane/scan/scan.h"

struct hs_database;  // hs_runtime.h is for the .cc files of this folder

namespace sluice::scan {

class SpamRules;  // spam_rules.h

// The conditions of one rule in one buffer.
struct ConditionGroup {
  std::uint32_t rule = 0;
  std::uint32_t positive = 0;  // conditions that must hit in an item
  std::uint32_t negative = 0;  // conditions that must not
  std::uint32_t bit = 0;       // this group's mask in Ruleset::group_mask(rule)
};

// What a pattern's hit says.
struct Reference {
  std::uint32_t group = 0;
  std::uint32_t confirm = 0;    // 1 + index of a Confirmation, or 0
  std::uint32_t condition = 0;  // mask within the group
};

struct DatabaseDeleter {
  void operator()(hs_database* database) const;
};

// The patterns of one buffer.
struct Database {
  std::unique_ptr<hs_database, DatabaseDeleter> compiled;  // null: no pattern needs Hyperscan
  std::unique_ptr<const LiteralSet> literals;              // null: there are none
  std::vector<std::uint32_t> first;                        // by pattern, one more than patterns
  std::vector<Reference> references;
  std::vector<std::uint32_t> negative_only;  // groups that hold in an item without any hit
  bool confirms = false;                     // some pattern needs a copy of the item
  std::size_t size = 0;                      // octets of the database
  std::size_t stream_size = 0;               // octets of one stream's state

  bool used() const { return compiled || literals; }  // some rule looks at the buffer
};

class Ruleset : public std::enable_shared_from_this<Ruleset> {
 public:
  // Checks and loads a ruleset section. Fails with what is wrong and where. Off the loop; any
  // thread. `section` is not needed afterwards.
  static Result<std::shared_ptr<const Ruleset>> open(Bytes section);
  // A ruleset without rules.
  static std::shared_ptr<const Ruleset> empty();
  // Whether this CPU and library can run databases of `platform`; the reason if not.
  static Status runs(contract::Platform platform);

  std::span<const RuleInfo> rules() const { return rules_; }
  // Mask of the groups that make the rule true.
  std::uint32_t group_mask(std::uint32_t rule) const { return group_masks_[rule]; }
  // What the rule looks at; of several buffers the most particular (the last in the list).
  Buffer where(std::uint32_t rule) const { return wheres_[rule]; }
  const ConditionGroup& group(std::uint32_t index) const { return groups_[index]; }
  const Database& database(Buffer buffer) const {
    return databases_[static_cast<std::size_t>(buffer)];
  }
  const Confirmation& confirmation(std::uint32_t index) const { return *confirmations_[index]; }
  bool wants(Buffer buffer) const { return database(buffer).used(); }
  // SpamAssassin's rules, or nullptr.
  const SpamRules* spam() const { return spam_.get(); }
  // Of a rule that stands for a test of these: 1 + its index; else 0.
  std::uint32_t spam_test(std::uint32_t rule) const { return spam_tests_[rule]; }
  // Differs from that of every other ruleset of this process, dead ones included.
  std::uint64_t identity() const { return identity_; }

 private:
  friend class RulesetLoader;
  Ruleset();

 public:
  ~Ruleset();

 private:
  std::vector<RuleInfo> rules_;
  std::vector<std::uint32_t> group_masks_;
  std::vector<Buffer> wheres_;
  std::vector<ConditionGroup> groups_;
  std::array<Database, kBufferCount> databases_;
  std::vector<std::unique_ptr<const Confirmation>> confirmations_;
  std::vector<std::uint32_t> spam_tests_;
  std::unique_ptr<const SpamRules> spam_;
  std::uint64_t identity_;
};

}  // namespace sluice::scan
