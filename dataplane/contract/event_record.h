// Event records: what the dataplane tells control, and `analyze` its own writer. A record is a
// fixed header and then fields, each a tag, a length and octets, padded to four. Lists are repeated
// tags; a field that opens a group (attachment, recipient refused) is followed by the fields of
// that group. Records are bounded: what does not fit is left out and the header says so.
//
// The writer is the dataplane and is trusted no further than the reader's bounds checks: a reader
// skips tags that it does not know, so that fields can be added without a version of both sides.
#pragma once

#include <cstring>
#include <optional>
#include <string_view>

#include "dataplane/base/address.h"
#include "dataplane/base/bytes.h"
#include "dataplane/contract/anomalies.h"
#include "dataplane/contract/drop_reasons.h"

namespace sluice::contract {

enum class EventType : std::uint16_t {
  smtp = 1,       // a mail transaction ended
  alert,          // a rule hit
  fileinfo,       // an attachment ended
  anomaly,        // first of its kind in a flow
  tls,            // a TLS session began
  flow,           // a connection ended
  drop,           // first frame of a flow dropped for a reason; closing totals in the flow event
  wire,           // link, bypass, heartbeat, overload, policy adoption
  flow_snapshot,  // answer to a request for the live flows; not shown as an event
  snapshot_end,   // last record of a snapshot
};

enum class Visibility : std::uint8_t { clear, before_tls, tls, one_sided };
enum class TrafficDirection : std::uint8_t { outbound, inbound, transit };
enum class Outcome : std::uint8_t { accepted, refused, aborted, blocked, unknown };
enum class Verdict : std::uint8_t { pass, tag, tempfail, reject, drop, reset };
// What of an attachment was not seen.
enum class AttachmentCut : std::uint8_t { none, end, gap };

inline constexpr std::string_view kVisibilityNames[] = {"clear", "before_tls", "tls", "one_sided"};
inline constexpr std::string_view kTrafficDirectionNames[] = {"outbound", "inbound", "transit"};
inline constexpr std::string_view kOutcomeNames[] = {"accepted", "refused", "aborted", "blocked",
                                                     "unknown"};
inline constexpr std::string_view kVerdictNames[] = {"pass",   "tag",  "tempfail",
                                                     "reject", "drop", "reset"};

enum EventFlags : std::uint16_t {
  kEventTruncated = 1,  // a field or list was cut to fit
  kEventEnforced = 2,   // the verdict was carried out; clear: monitor mode, would have
};

// Numbers are little-endian of the field's own size (1, 2, 4 or 8 octets); text is as on the wire,
// not yet escaped; hashes are raw octets. Values are wire format: append, never renumber.
enum class Field : std::uint16_t {
  // smtp
  tx_id = 1,        // u32: of the flow, from 0
  helo,             // text
  mail_from,        // text, with angle brackets
  rcpt_to,          // text, repeated: accepted or unanswered recipients
  rcpt_refused,     // group: text of the recipient, then rcpt_code
  rcpt_code,        // u16
  auth_mechanism,   // text
  auth_user,        // text
  auth_result,      // u16: reply code that ended the exchange
  starttls,         // u8
  via,              // text: "data", "bdat"
  size,             // u64
  reply_code,       // u16
  reply_text,       // text
  outcome,          // u8 Outcome
  sha256,           // 32 octets: of the message octets as sent
  mail_parameters,  // text
  // email
  email_status,       // text: PARSE_DONE, PARSE_ERROR, BODY_STARTED...
  email_from,         // text
  email_to,           // text, repeated
  email_cc,           // text, repeated
  email_subject,      // text, decoded to UTF-8; repeated if the header is
  email_date,         // text
  email_message_id,   // text
  email_x_mailer,     // text
  email_url,          // text, repeated
  attachment,         // group: text of the name; then attachment_*
  attachment_type,    // text: media type by content
  attachment_size,    // u64: decoded octets
  attachment_md5,     // 16 octets
  attachment_sha256,  // 32 octets
  // sluice
  score,         // i32, hundredths
  rule,          // text, repeated: name or sid of a rule that hit
  verdict,       // u8 Verdict
  reason,        // text
  entity,        // text
  policy_group,  // text
  // alert
  alert_action,     // u8: 0 allowed, 1 blocked
  alert_gid,        // u32
  alert_sid,        // u32
  alert_rev,        // u32
  alert_signature,  // text
  alert_category,   // text
  alert_severity,   // u8
  alert_where,      // text: the scan buffer
  // anomaly
  anomaly_kind,  // u8 Anomaly
  // tls
  tls_sni,      // text
  tls_version,  // u16 as on the wire
  tls_alpn,     // text, repeated
  tls_ja4,      // text
  tls_via,      // text: "starttls", "implicit"
  // flow
  packets_to_server,  // u64
  packets_to_client,  // u64
  bytes_to_server,    // u64
  bytes_to_client,    // u64
  flow_start,         // u64 wall clock ns
  flow_end,           // u64 wall clock ns
  flow_state,         // text: new, established, closed
  flow_reason,        // text: timeout, fin, rst, evicted, shutdown, verdict
  app_proto,          // text
  // drop
  drop_reason,  // u8 DropReason
  drop_frames,  // u64
  drop_action,  // text
  // wire
  wire_state,   // text
  wire_reason,  // text
  // more
  community_id,           // text
  smtp_state,             // text, for snapshots
  starttls_offered,       // u8
  tls_certificate_name,   // text, repeated: subject and alternative names, where visible
  attachment_other_name,  // text: of the attachment's group, where two names differ
  // whom the client says that it speaks for (PROXY, XCLIENT, XFORWARD)
  client_via,      // text: "proxy", "xclient", "xforward"
  client_address,  // 16 octets
  client_port,     // u16
  client_name,     // text
  client_helo,     // text
  client_login,    // text
  attachment_cut,  // u8 AttachmentCut: of the attachment's group, where it is not whole
};

// Version 1. The header's octets are the record's first; `size` counts header and fields.
struct EventHeader {
  std::uint32_t size = 0;
  EventType type{};
  std::uint16_t flags = 0;
  std::uint64_t sequence = 0;      // of this worker, from 1: gaps are lost events
  std::uint64_t wall_time = 0;     // ns since the Unix epoch, UTC
  std::uint64_t flow_id = 0;       // 0: none
  std::uint64_t frame_number = 0;  // offline only: from 1
  Address source;                  // the client
  Address destination;             // the server
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint16_t vlan[3]{};
  std::uint8_t vlan_count = 0;
  std::uint8_t protocol = 6;  // IP protocol number; 0: no flow in this event
  std::uint16_t wire = 0;     // index in the wires of the process
  std::uint16_t worker = 0;
  std::uint8_t side = 0;  // Side on which the frame came in
  TrafficDirection direction{};
  Visibility visibility{};
  std::uint8_t reserved = 0;
  std::uint32_t policy_epoch = 0;
  std::uint32_t reserved2 = 0;
};
static_assert(sizeof(EventHeader) == 104 && alignof(EventHeader) == 8);

inline constexpr std::size_t kMaxEventSize = 16384;
inline constexpr std::size_t kFieldHeaderSize = 4;

// Builds one record in a buffer of its own. One thread; reused for record after record.
class EventWriter {
 public:
  // Starts a record; what was in the buffer is gone.
  void begin(const EventHeader& header) {
    std::memcpy(buffer_, &header, sizeof header);
    size_ = sizeof header;
    truncated_ = false;
  }
  // Appends a field. Text longer than 4,096 octets is cut; a field that does not fit is left out.
  // Either marks the record as truncated. Returns false when the field was left out.
  bool put(Field field, Bytes value) {
    if (value.size() > kMaxFieldSize) {
      value = value.first(kMaxFieldSize);
      truncated_ = true;
    }
    const std::size_t padded = (value.size() + 3) & ~std::size_t{3};
    if (size_ + kFieldHeaderSize + padded > kMaxEventSize) {
      truncated_ = true;
      return false;
    }
    const auto tag = static_cast<std::uint16_t>(field);
    const auto length = static_cast<std::uint16_t>(value.size());
    std::memcpy(buffer_ + size_, &tag, 2);
    std::memcpy(buffer_ + size_ + 2, &length, 2);
    if (!value.empty()) std::memcpy(buffer_ + size_ + 4, value.data(), value.size());
    std::memset(buffer_ + size_ + 4 + value.size(), 0, padded - value.size());
    size_ += kFieldHeaderSize + padded;
    return true;
  }
  bool put(Field field, std::string_view text) { return put(field, as_bytes(text)); }
  template <typename Integer>
  bool put_number(Field field, Integer value) {
    std::uint8_t raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    return put(field, Bytes(raw));
  }
  // One item of a list that has `room` octets left, which are taken from it; false, and the record
  // is marked, when it has not so many.
  bool put_within(std::size_t& room, Field field, std::string_view text) {
    const std::size_t needed = text.size() + 2 * kFieldHeaderSize;
    if (needed > room) {
      truncated_ = true;
      return false;
    }
    room -= needed;
    return put(field, text);
  }
  // Something was left out or cut.
  bool truncated() const { return truncated_; }
  void set_flags(std::uint16_t more) {
    std::uint16_t flags;
    std::memcpy(&flags, buffer_ + offsetof(EventHeader, flags), sizeof flags);
    flags = static_cast<std::uint16_t>(flags | more);
    std::memcpy(buffer_ + offsetof(EventHeader, flags), &flags, sizeof flags);
  }
  // Completes the header and returns the record, valid until the next begin().
  Bytes finish() {
    const auto size = static_cast<std::uint32_t>(size_);
    std::memcpy(buffer_ + offsetof(EventHeader, size), &size, sizeof size);
    if (truncated_) set_flags(kEventTruncated);
    return {buffer_, size_};
  }

  static constexpr std::size_t kMaxFieldSize = 4096;

 private:
  alignas(8) std::uint8_t buffer_[kMaxEventSize];
  std::size_t size_ = 0;
  bool truncated_ = false;
};

// Reads one record. Non-owning; every access is bounds-checked.
class EventReader {
 public:
  struct Item {
    Field field;
    Bytes value;

    std::string_view text() const { return as_text(value); }
    // The value as an unsigned number of 1, 2, 4 or 8 octets; other lengths read as 0.
    std::uint64_t number() const {
      std::uint64_t v = 0;
      if (value.size() <= 8) std::memcpy(&v, value.data(), value.size());
      return v;
    }
    std::int32_t signed_number() const { return static_cast<std::int32_t>(number()); }
  };

  // Nothing when the record is shorter than a header or its size field disagrees with the span.
  static std::optional<EventReader> open(Bytes record) {
    if (record.size() < sizeof(EventHeader)) return std::nullopt;
    EventReader r;
    std::memcpy(&r.header_, record.data(), sizeof(EventHeader));
    if (r.header_.size != record.size()) return std::nullopt;
    r.rest_ = record.subspan(sizeof(EventHeader));
    return r;
  }
  const EventHeader& header() const { return header_; }
  // The next field, or nothing at the end or at a field that reaches beyond the record.
  std::optional<Item> next() {
    if (rest_.size() < kFieldHeaderSize) return std::nullopt;
    std::uint16_t tag;
    std::uint16_t length;
    std::memcpy(&tag, rest_.data(), 2);
    std::memcpy(&length, rest_.data() + 2, 2);
    const std::size_t padded = (std::size_t{length} + 3) & ~std::size_t{3};
    if (kFieldHeaderSize + padded > rest_.size()) return std::nullopt;
    Item item{static_cast<Field>(tag), rest_.subspan(kFieldHeaderSize, length)};
    rest_ = rest_.subspan(kFieldHeaderSize + padded);
    return item;
  }

 private:
  EventHeader header_;
  Bytes rest_;
};

// Where finished records go: a worker's ring, or the writer of `analyze`. Never blocks; false when
// the record was lost (and counted by the sink).
class EventSink {
 public:
  virtual bool write(Bytes record) = 0;

 protected:
  ~EventSink() = default;
};

}  // namespace sluice::contract
