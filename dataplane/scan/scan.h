// Scanning a message with the rules of a policy (Hyperscan runtime only; compiling is control's).
//
// Theory. Rules are sorted into buffers (what they look at); each buffer has one database. Large
// buffers are streams, small ones are scanned whole. A hit sets a condition of a rule; a rule is
// true when its conditions are; rules add to a score and may carry an action of their own. The
// result never depends on how the octets were cut.
//
// A Ruleset is immutable and shared by all workers; a Scratch belongs to one worker and one
// ruleset; a MessageScan belongs to one message, or to one flow and its transactions one after the
// other. It does not own its Scratch, which must outlive it, as the ruleset must.
//
// A transaction, as the engine drives it:
//   feed(), whole(), end_item() ...   as octets become known
//   settle()                          all octets of the transaction were given: before the verdict
//   hits(), score()                   the verdict's input
//   next_transaction()                forget, go on
// Between, hits() gives what is certain so far (for an early verdict); what depends on the end of
// an item (absent contents, `$`, confirmations) is not in it before end_item() or settle().
#pragma once

#include <cstdint>
#include <memory>
#include <memory_resource>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/base/limited_resource.h"
#include "dataplane/base/result.h"
#include "dataplane/contract/event_record.h"
#include "dataplane/scan/regex.h"

namespace sluice::scan {

// What a rule may look at. Wire format in the policy image: append, never renumber.
enum class Buffer : std::uint8_t {
  stream,   // the client's octets as sent, commands and message (Suricata's plain `content`)
  decoded,  // parts with the transfer encoding undone (file_data)
  text,     // UTF-8 text that a reader sees (body)
  raw,      // message octets with dot-stuffing undone (full, rawbody)
  header,   // raw header octets of the message
  helo,     // block buffers from here on
  mail_from,
  rcpt_to,
  from,
  to,
  subject,
  url,
  name,  // attachment names
  cc,    // header fields again
  date,
  message_id,
  x_mailer,
  received,
};
inline constexpr std::size_t kBufferCount = 18;
inline constexpr std::string_view kBufferNames[kBufferCount] = {
    "stream", "decoded", "text", "raw",  "header", "helo", "mail_from",  "rcpt_to",  "from",
    "to",     "subject", "url",  "name", "cc",     "date", "message_id", "x_mailer", "received"};
constexpr bool is_stream(Buffer b) { return b <= Buffer::header; }

// What a rule that hits does by itself; the score does the rest.
enum class RuleAction : std::uint8_t { alert, pass, tempfail, reject, drop };

struct RuleInfo {
  std::uint32_t gid = 1;
  std::uint32_t sid = 0;
  std::uint32_t revision = 1;
  std::uint8_t severity = 3;
  RuleAction action = RuleAction::alert;
  std::int32_t score = 0;  // hundredths
  std::string name;        // symbolic name, or the sid in decimal
  std::string message;
  std::string category;
};

class Ruleset;  // built by policy::Policy from an image; see ruleset.h

// What one worker needs to scan with one ruleset: Hyperscan's scratch, the working memory of
// confirmations, and streams. A scratch in use is never changed: another ruleset has another one.
class Scratch {
 public:
  // Off the loop, any thread: allocates, and opens streams ahead. `ruleset` must outlive it. Fails
  // when there is no memory.
  static Result<std::shared_ptr<Scratch>> make(const Ruleset& ruleset);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const Ruleset& ruleset() const;
  // The worker's thread, when it takes the scratch over: streams, which come from malloc, count in
  // `account` from now on, and its limit is theirs. nullptr: before it is given back.
  void charge_to(LimitedResource* account);
  RegexScratch& regex() { return regex_; }

 private:
  friend class MessageScan;
  friend class SpamScanner;
  RegexScratch regex_;
  struct Impl;
  explicit Scratch(const Ruleset& ruleset);
  std::unique_ptr<Impl> impl_;
};

struct Hit {
  const RuleInfo* rule;
  Buffer where;                  // what the rule looks at (Ruleset::where)
  std::int32_t thousandths = 0;  // of the score; of ordinary rules ten times RuleInfo::score
  bool spam = false;             // a rule of SpamAssassin's
};

class MessageScan {
 public:
  MessageScan(Scratch& scratch, std::pmr::memory_resource* memory);
  ~MessageScan();
  MessageScan(MessageScan&&) noexcept;
  MessageScan& operator=(MessageScan&&) = delete;

  // Octets that continue the current item of a stream buffer. Chunks below kCoalesce octets are
  // gathered first; nothing depends on how the octets are cut.
  void feed(Buffer buffer, Bytes octets);
  // The current item of a stream buffer ends (a part ends, a header ends): nothing matches across.
  void end_item(Buffer buffer);
  // One whole item of a block buffer. `another`: another reading of an item that was given; what is
  // not in it says nothing of that item, so that no rule with an absent content holds by it.
  void whole(Buffer buffer, Bytes item, bool another = false);
  // Ends the item of every stream buffer: everything that can be known is known.
  void settle();
  // Whether any rule looks at this buffer (else its octets need not be prepared).
  static bool wanted(const Ruleset& ruleset, Buffer buffer);

  // Rules that became true, in the order in which they did; grows as octets come. Each rule once in
  // a transaction. Scans gathered octets first, so it may change what it returns.
  const std::pmr::vector<Hit>& hits() const;
  std::int32_t score() const;  // hundredths, of hits()
  // Octets given to Hyperscan and to confirmations since construction: for scan budgets.
  std::uint64_t octets_scanned() const;
  // Some octets could not be scanned, for want of memory: the declared policy for that applies.
  // Stays until next_transaction().
  bool incomplete() const;
  // Forgets the hits, conditions and open items of the last transaction. Stream memory stays.
  void next_transaction();
  // When all that a new scan need be given to be as this one are octets of `stream` (none has been
  // scanned yet, nothing else is open) and the block items: these octets. Else nothing.
  std::optional<Bytes> unscanned() const;
  // Whether something of a rule was found, by what was scanned so far.
  bool found() const;
  // Packs the state of open streams of an idle flow (13 KB to some hundred octets) and gives their
  // memory back; the next feed unpacks. Returns the octets still held.
  std::size_t compress();
  // Octets held by this scan, streams included.
  std::size_t memory_used() const;
  const Ruleset& ruleset() const;

  static constexpr std::size_t kCoalesce = 512;

 private:
  struct Impl;
  Impl* impl_;
  std::pmr::memory_resource* memory_;
};

}  // namespace sluice::scan
