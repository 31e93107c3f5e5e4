// One SMTP conversation (RFC 5321 and PIPELINING 2920, CHUNKING/BINARYMIME 3030, 8BITMIME 6152,
// SMTPUTF8 6531, SIZE 1870, DSN 3461, STARTTLS 3207, AUTH 4954, ENHANCEDSTATUSCODES 2034, ETRN
// 1985, XCLIENT, XFORWARD, LMTP 2033, PROXY v1/v2 preambles): the octets of both directions go in,
// in stream order for each, and what they mean comes out through a SessionSink. Bounded memory,
// linear time, no allocation for a conversation within the common limits; secrets are never kept.
//
// The parser never stops a conversation: what it cannot read is an anomaly and it resynchronises.
// The strict reading (only CRLF.CRLF ends data) drives the state; text after a sequence that other
// servers take for end-of-data is given a second time to on_smuggled_*().
#pragma once

#include <cstdint>
#include <memory_resource>
#include <string_view>

#include "dataplane/base/bytes.h"
#include "dataplane/base/direction.h"
#include "dataplane/base/pack.h"
#include "dataplane/contract/anomalies.h"
#include "dataplane/smtp/claimed_client.h"

namespace sluice::smtp {

enum class Verb : std::uint8_t {
  unknown,
  helo,
  ehlo,
  lhlo,
  mail,
  rcpt,
  data,
  bdat,
  rset,
  vrfy,
  expn,
  help,
  noop,
  quit,
  auth,
  starttls,
  etrn,
  xclient,
  xforward,
  x_anonymoustls,
};

struct Reply {
  std::uint16_t code = 0;
  std::string_view text;  // of the last line, without code; bounded copy, valid during the call
};

// A transaction's identity is a number from 1, in order of MAIL commands (or of DATA without MAIL).
using TransactionId = std::uint32_t;

enum class MessageEnd : std::uint8_t {
  complete,
  aborted,
  unseen,  // octets are missing, and its end may be among them
};
enum class Via : std::uint8_t { data, bdat };

// What the sink decides about a message at its end.
enum class MessageVerdict : std::uint8_t { pass, stop };

class SessionSink {
 public:
  // The client named itself (HELO, EHLO, LHLO); the server has not answered yet.
  virtual void on_helo(std::string_view name) = 0;
  // And what the server says to it. Refused: the client is who it was.
  virtual void on_helo_reply(bool accepted) { static_cast<void>(accepted); }
  // MAIL: `path` with its angle brackets as on the wire (brackets added when they were missing),
  // `mailbox` without brackets and route, local part with its quoting; `parameters` what follows.
  virtual void on_mail(TransactionId tx, std::string_view path, std::string_view mailbox,
                       std::string_view parameters) = 0;
  virtual void on_rcpt(TransactionId tx, std::uint32_t index, std::string_view path,
                       std::string_view mailbox) = 0;
  // Replies to MAIL (index 0xffffffff), or to the recipient of that index.
  virtual void on_envelope_reply(TransactionId tx, std::uint32_t rcpt_index,
                                 const Reply& reply) = 0;
  // The message's octets begin (after the line that follows DATA; at the first BDAT's chunk).
  virtual void on_message_begin(TransactionId tx, Via via) = 0;
  // Right behind on_message_begin: chunks in front of the first that came may have been lost.
  virtual void on_message_gap(TransactionId tx) { static_cast<void>(tx); }
  // Message octets with dot-stuffing undone. Views into the segment: copy what must last.
  virtual void on_message_data(TransactionId tx, Bytes octets) = 0;
  // A stuffed dot stood here on the wire (it counts for size and SHA-256 of the octets as sent).
  virtual void on_stuffed_dot(TransactionId tx) = 0;
  // Called when the octet that completes the message has been read and before it is accepted by
  // the session: `stop` ends parsing there (see feed). Aborted: the answer is ignored.
  virtual MessageVerdict on_message_end(TransactionId tx, MessageEnd end) = 0;
  // As on_message_end, but for a sequence that only some servers take for end-of-data (CRLF.LF,
  // LF.CRLF, CR.CR, ...), or for the end of a message that only another reading of the octets has
  // (see README.md): the octet that completes it there was read and is not yet accepted. `stop` is
  // obeyed when Limits::stop_at_ambiguous_eod. The message goes on after `pass`; may come several
  // times for one message, also right before its true end, so it must not finish anything.
  virtual MessageVerdict on_ambiguous_end(TransactionId tx) {
    static_cast<void>(tx);
    return MessageVerdict::pass;
  }
  // The reply to DATA itself, or to a BDAT chunk that is not the last.
  virtual void on_data_reply(TransactionId tx, const Reply& reply) {
    static_cast<void>(tx);
    static_cast<void>(reply);
  }
  // A refusal while the message's content is read, to what the server has read of it so far.
  virtual void on_content_reply(TransactionId tx, const Reply& reply) {
    static_cast<void>(tx);
    static_cast<void>(reply);
  }
  // LMTP: the reply to the whole message for one of its accepted recipients, the `nth` of them
  // (RFC 2033 4.2). The last one's comes to on_transaction_end too.
  virtual void on_recipient_reply(TransactionId tx, std::uint32_t nth, const Reply& reply) {
    static_cast<void>(tx);
    static_cast<void>(nth);
    static_cast<void>(reply);
  }
  // The server's reply to the whole message. Or RSET, a new HELO, the connection's end: then code
  // 0, or without text the code with which MAIL, DATA or a chunk was refused. After it nothing more
  // comes of this transaction. Called also for a transaction that never had a message.
  virtual void on_transaction_end(TransactionId tx, const Reply& reply) = 0;

  // The server has taken the commands of transaction `by` into `from`, which was open: the envelope
  // of `by` is that of `from`, then its own recipients (whose indexes grow by as many as `from`
  // had). Nothing more comes of `from`.
  virtual void on_envelope_adopted(TransactionId from, TransactionId by) {
    static_cast<void>(from);
    static_cast<void>(by);
  }

  // Octets after an ambiguous end-of-data, read as a server with that reading would: an envelope
  // and a message that may be smuggled. Same form as the strict calls; never drives state.
  virtual void on_smuggled_envelope(TransactionId outer, std::string_view mail_mailbox,
                                    std::string_view first_rcpt) = 0;
  virtual void on_smuggled_data(TransactionId outer, Bytes octets) = 0;
  // A message begins in that reading; it is read to its end.
  virtual void on_smuggled_begin(TransactionId outer) { static_cast<void>(outer); }
  virtual void on_smuggled_end(TransactionId outer) { static_cast<void>(outer); }

  // AUTH ended: mechanism in upper case, user (decoded identity, empty if the mechanism hides it),
  // reply code (0: never answered).
  virtual void on_auth(std::string_view mechanism, std::string_view user, std::uint16_t code) = 0;
  // A relay says whom it speaks for. `accepted` false: the server refused what was said before by
  // the same means.
  virtual void on_claimed_client(const ClaimedClient& claim, bool accepted) {
    static_cast<void>(claim);
    static_cast<void>(accepted);
  }
  // A verb was read (every one, for counters and probes) and a reply was completed.
  virtual void on_command(Verb verb) = 0;
  virtual void on_reply(const Reply& reply) = 0;
  // The rest of the stream is TLS (starttls true), or was from its first octet.
  virtual void on_tls(bool starttls) = 0;
  // The client began as TLS does, with these octets, and the server went on in clear: commands
  // follow.
  virtual void on_refused_hello(Bytes octets) { static_cast<void>(octets); }
  // Octets of a TLS stream, both directions: for the ClientHello and the turns.
  virtual void on_opaque(Direction direction, Bytes octets) = 0;
  virtual void on_anomaly(contract::Anomaly anomaly) = 0;

 protected:
  ~SessionSink() = default;
};

struct Limits {
  std::uint32_t command_line = 4096;      // octets kept of a command line; RFC minimum is 512
  std::uint32_t reply_line = 4096;        // octets kept of a reply's text
  std::uint32_t pending_commands = 1024;  // awaiting replies
  std::uint32_t recipients = 1024;        // kept per transaction; later ones are counted only
  std::uint64_t bdat_chunk = std::uint64_t{1} << 40;  // larger is over the limit
  std::uint32_t transactions = 64;                    // open at the same time
  std::uint32_t early_octets = 65536;  // kept for a second reading while a reply decides
  bool stop_at_ambiguous_eod = true;   // obey on_ambiguous_end
};

// What the client's next octets are (README.md has the machine with all its states).
//
//   greeting ─► command ─DATA, 354─► data ─CRLF.CRLF─► command
//                  ├─BDAT n─► bdat ─n octets─► command
//                  ├─AUTH, 334─► auth ─a line─► command
//                  ├─STARTTLS─► tls_wait ─220─► tls,  other replies ─► command
//                  └─ClientHello first─► tls
enum class Phase : std::uint8_t {
  greeting,
  command,
  data,
  bdat,
  auth,
  tls_wait,
  tls,
  not_smtp,
};

class Session {
 public:
  Session(const Limits& limits, SessionSink& sink, std::pmr::memory_resource* memory);
  // As pack() left it.
  Session(const Limits& limits, SessionSink& sink, std::pmr::memory_resource* memory,
          Unpacker& packed);
  ~Session();
  Session(Session&&) = delete;

  // Octets in order. Returns how many were accepted; fewer than all only when on_message_end or
  // on_ambiguous_end said stop. The session then takes no more client octets (returns 0). Excluded
  // are, with all that follows them:
  //   DATA          the end-of-data line from its dot on, as far as it lies in `octets`: ".CRLF",
  //                 "CRLF" or "LF". The LF is always excluded, and it is the first LF of the
  //                 excluded octets: the message ends behind it.
  //   BDAT n LAST   exactly the chunk's last octet.
  //   BDAT 0 LAST   the command line, as far as it lies in `octets`; its LF always. The message
  //                 ends behind the first LF of the excluded octets.
  //   ambiguous     the sequence from its dot on, as far as it lies in `octets`; at least its last
  //                 octet (CR or LF). A BDAT chunk of another reading: its last octet.
  // Only when octets are read again after a reply (README.md, "Two readings") can a stop come from
  // within server(): those octets had been offered to on_ambiguous_end before.
  //
  // `left_out`: bit i is set when reading i (of at most kReadings) of the stream does not have
  // these octets: urgent data, which receivers keep in line or not. An end of DATA that not all
  // readings have is an ambiguous one.
  std::size_t client(Bytes octets, std::uint8_t left_out = 0);
  static constexpr std::size_t kReadings = 3;
  void server(Bytes octets);
  // Nothing more is read of either end: gives back what is kept of their octets. phase() and what
  // the server offered stay known. Not from within a sink's function.
  void drop_octets();
  // What the server says from here on is not read; may be called from within on_reply.
  void end_server();
  // Content of a message, without (a part of) a line that may end it, need not be read here:
  // whether all is in one reading that stands in DATA, and that such octets went by, the last two
  // being `last`.
  bool content_may_pass() const;
  void content_passed(const std::uint8_t (&last)[2]);
  // Octets that will never be seen.
  void client_gap(std::uint64_t size);
  void server_gap(std::uint64_t size);
  // The connection ended or is forgotten: open transactions end as aborted or unknown.
  void finish();
  // Tells whether only one direction is seen: replies are then not waited for. When the other one
  // appears after all, its replies are matched to commands from then on.
  void set_one_sided(bool one_sided);
  // The stream was picked up in the middle: the first octets may be anything.
  void set_midstream();

  // From within client(): the first octet of the line or of the content that is being read. All in
  // front of it is done with. (Of octets that are read again: not in what client() was given.)
  const std::uint8_t* position() const;

  Phase phase() const;
  bool starttls_offered() const;
  bool chunking_offered() const;
  bool pipelining_offered() const;
  bool enhanced_status_codes_offered() const;
  // Replies that the server still owes and that must reach the client before one of ours: to all
  // commands not yet answered (the greeting and LMTP's replies per recipient are counted too).
  // After a stop the reply to the stopped message itself is not among them: 0 when the client
  // waited for 354; a BDAT LAST that was stopped is not counted. Each is one call of on_reply,
  // except that AUTH's 334 come in addition.
  std::uint32_t replies_owed() const;
  std::size_t memory_used() const;
  // Octets come soon.
  void prefetch() const;
  // Whether the session is between commands, or in TLS, and no octets of it are kept.
  bool packable() const;
  // Puts the state of a packable session into few octets.
  void pack(Packer& packer) const;

 private:
  struct Impl;
  Impl* impl_;
  std::pmr::memory_resource* memory_;
};

// Whether the first octets of a flow on any port look like SMTP (a 220 greeting from the server, or
// HELO/EHLO/LHLO from the client): for steering of mail on other ports.
enum class Likeness : std::uint8_t { no, maybe, yes };
Likeness looks_like_smtp(Direction direction, Bytes first_octets);

}  // namespace sluice::smtp
