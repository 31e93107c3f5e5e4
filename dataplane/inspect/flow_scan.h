// What the rules see of one flow: the scan of its client's octets and of the message in progress in
// their first reading, and beside it a scan for each other reading, because how readings interleave
// depends on the cuts and hits must not. All with one ruleset, pinned: never half a message under
// each of two. The next transaction takes the one that is in force then.
//
// A ruleset that is withdrawn (rulesets.h) takes all scans with it; nothing is scanned any more
// until the next transaction, and the one in progress takes the declared policy (incomplete()).
#pragma once

#include <array>
#include <list>
#include <memory_resource>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "dataplane/base/pmr_ptr.h"
#include "dataplane/inspect/context.h"
#include "dataplane/mime/parser.h"
#include "dataplane/scan/scan.h"
#include "dataplane/spam/spam_scan.h"

namespace sluice::inspect {

class FlowScan final : private RulesetUser, private lists::Lists::Hits {
 public:
  // `memory`: for what it keeps, but the streams of Hyperscan (Rulesets).
  FlowScan(Context& context, std::pmr::memory_resource* memory);
  ~FlowScan();
  FlowScan(const FlowScan&) = delete;
  FlowScan& operator=(const FlowScan&) = delete;

  // Whether any rule looks at `buffer`: else its octets need not be prepared.
  bool wanted(scan::Buffer buffer) const;

  // The first reading (see scan::MessageScan). What is not wanted is not taken.
  void feed(scan::Buffer buffer, Bytes octets);
  void end_item(scan::Buffer buffer);
  void whole(scan::Buffer buffer, Bytes item, bool another = false);
  // A second reading of octets of the session: what a server with other habits would see.
  void feed_other(scan::Buffer buffer, Bytes octets);
  void end_other(scan::Buffer buffer);
  void whole_other(scan::Buffer buffer, Bytes item, bool another = false);
  // A part of the message that is not of its first reading; its hits count from its end on. False:
  // there are too many at the same time, and this one is not scanned.
  bool feed_part(mime::PartNumber part, Bytes octets);
  void end_part(mime::PartNumber part);
  void end_parts();

  // Lists, asked as the rules are: of every reading, and not when the ruleset was withdrawn.
  bool wants(lists::Place place) const { return pin_.held() && pin_.lists().wants(place); }
  void look_up_address(lists::Place place, std::string_view address);
  void look_up_url(std::string_view url, std::string_view host);
  void look_up_name(std::string_view name);
  void look_up_md5(const std::array<std::uint8_t, 16>& digest);
  void look_up_sha256(const std::array<std::uint8_t, 32>& digest);
  // Lists that hold something of this transaction, each once, in the order of the configuration.
  const std::pmr::vector<scan::Hit>& list_hits();
  void forget_list_hits() { list_hits_.clear(); }

  // SpamAssassin's rules on the next message: begin, its octets, its end. Nothing happens when the
  // ruleset has none.
  bool wants_spam() const;
  void begin_spam(const spam::SpamScan::Options& options);
  void feed_spam(Bytes octets);
  void finish_spam();

  // Hits of rules, of all readings, each rule once: the message has ended.
  std::pmr::vector<scan::Hit> hits();
  // Those that are certain whatever comes behind: the message goes on, and its scans with it.
  std::pmr::vector<scan::Hit> certain_hits();
  // Some octets could not be scanned since next_transaction(): the declared policy applies.
  bool incomplete() const;
  // When all that a new scan need be given to be as this one are octets of `stream` and the block
  // items that this one was given: these octets, and whether anything was found so far. Else
  // nothing.
  struct Unscanned {
    Bytes stream;
    bool found = false;
  };
  std::optional<Unscanned> unscanned() const;
  // Makes the state of an idle flow small.
  void compress();
  // Forgets the hits and open items.
  void next_transaction();
  // Before a transaction: takes the ruleset in force, when that is another one.
  void renew();

 private:
  struct Part {
    mime::PartNumber number;
    scan::MessageScan scan;
  };
  static constexpr std::size_t kMaxParts = 16;
  // What is scanned beside the first reading.
  struct Others {
    explicit Others(std::pmr::memory_resource* memory) : parts(memory), hits(memory) {}
    std::optional<scan::MessageScan> session;  // other readings of the session's octets
    std::pmr::list<Part> parts;                // not yet ended
    std::pmr::vector<scan::Hit> hits;          // of the parts that have
  };

  void withdraw_ruleset() override;
  void on_list(const lists::List& list) override;
  void drop();
  scan::MessageScan make();
  scan::MessageScan& main();
  Others& others();
  scan::MessageScan& other();
  void take_hits(const scan::MessageScan& from);

  Context& context_;
  std::pmr::memory_resource* memory_;
  Rulesets::Pin pin_;  // not held: withdrawn
  std::optional<scan::MessageScan> main_;
  PmrPtr<Others> others_;
  PmrPtr<spam::SpamScan> spam_;
  bool parts_incomplete_ = false;
  std::pmr::vector<scan::Hit> list_hits_;
  scan::Buffer list_place_{};  // of the question being asked
};

}  // namespace sluice::inspect
