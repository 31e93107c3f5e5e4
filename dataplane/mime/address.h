// Address lists of header fields (RFC 5322 3.4), read tolerantly: display names with encoded words,
// comments as names, groups, routes, missing brackets and commas. For events; the envelope is
// SMTP's.
#pragma once

#include <memory_resource>
#include <string>
#include <string_view>

#include "dataplane/base/bytes.h"

namespace sluice::mime {

struct Mailbox {
  std::string_view name;     // UTF-8, decoded, quotes undone; may be empty
  std::string_view address;  // as written, without brackets, blanks and route
  std::string_view group;    // name of the group it stands in, if any
};

class MailboxSink {
 public:
  // Views are valid during the call. An element that holds no address is given with its name only.
  virtual void on_mailbox(const Mailbox& mailbox) = 0;

 protected:
  ~MailboxSink() = default;
};

// Reads `raw`, the unfolded field value (not the decoded one: encoded words may hold commas), and
// gives at most `limit` mailboxes to `sink`. Linear time; scratch memory from `memory`. Returns
// whether all of them were given.
bool parse_addresses(std::string_view raw, std::size_t limit, MailboxSink& sink,
                     std::pmr::memory_resource* memory);

// Appends the mailbox as EVE shows it: `Name <address>`, or the address alone. A name that needs
// quotes gets them.
void append_mailbox(const Mailbox& mailbox, std::pmr::string& out);

}  // namespace sluice::mime
