// The state of a Session; see session.h for what it does and README.md for why it does it so.
// session.cc has what both directions share, session_client.cc reads the client's commands,
// session_content.cc its content, session_server.cc matches replies to commands.
//
// The client machine (`x | y`: event, what the server answers):
//
//   start ─► command ◄──────────────────────────────────────────────────────────────┐
//     │        ├─ DATA ─► data_wait ─ 354 ─► data ── CRLF.CRLF ─────────────────────┤
//     │        │            │  └ refused ─────────────────────────────────────────── ┤
//     │        │            └ octets ─► data_early ─ 354 ─► data                     │
//     │        │                          ├ CRLF.CRLF (DATA not yet answered) ────── ┤
//     │        │                          └ refused: its octets are read again ───── ┤
//     │        ├─ BDAT n ─► chunk ── n octets ───────────────────────────────────────┤
//     │        ├─ AUTH | 334 ─► auth_line ── one line ───────────────────────────────┤
//     │        └─ STARTTLS ─► tls_wait ─ 220 ─► tls;  refused: octets are read again ┘
//     ├─ "PROXY " or the v2 signature ─► preamble ─► start
//     ├─ picked up in the middle: midstream ─► command, data or tls, by what the octets look like
//     └─ ClientHello ─► tls_first ─ a record of the server's ─► tls;  text: octets are read again
//   (one-sided: DATA ─► data; STARTTLS ─► tls_probe ─► tls or command, by the next octet)
#pragma once

#include <memory_resource>
#include <new>
#include <type_traits>
#include <vector>

#include "dataplane/smtp/auth.h"
#include "dataplane/smtp/command.h"
#include "dataplane/smtp/data_reader.h"
#include "dataplane/smtp/line_buffer.h"
#include "dataplane/smtp/pending_queue.h"
#include "dataplane/smtp/second_reading.h"
#include "dataplane/smtp/session.h"

namespace sluice::smtp {

enum class ClientState : std::uint8_t {
  start,
  preamble,
  midstream,
  command,
  auth_line,
  data_wait,
  data_early,
  data,
  chunk,
  tls_wait,
  tls_first,
  tls_probe,
  tls,
};

struct Transaction {
  TransactionId id = 0;
  std::uint32_t recipients = 0;  // RCPT commands
  std::uint32_t accepted = 0;    // of them
  std::uint16_t refused = 0;     // code with which MAIL or DATA was refused
  bool has_mail = false;
  bool mail_refused = false;
  bool sent = false;  // its message was read to the end
  bool met = false;   // the server has answered to the command that opened it
};

// The addresses of a PROXY v2 preamble, while it is read.
struct ProxyPreamble {
  std::uint8_t family = 0;
  std::uint8_t size = 0;
  std::uint8_t octets[kProxyAddresses]{};

  static ProxyPreamble* create(std::pmr::memory_resource* memory) {
    void* place = try_allocate(memory, sizeof(ProxyPreamble), alignof(ProxyPreamble));
    return place ? new (place) ProxyPreamble() : nullptr;
  }
  static void destroy(ProxyPreamble* preamble, std::pmr::memory_resource* memory) {
    if (preamble) memory->deallocate(preamble, sizeof *preamble, alignof(ProxyPreamble));
  }
};

struct Capabilities {
  bool starttls = false;
  bool chunking = false;
  bool pipelining = false;
  bool enhanced_status_codes = false;
};

// So many octets of a session are read again; then readings are for scanning alone. Who pipelines
// commands that will be refused would have each octet read once for each of them.
inline constexpr std::uint32_t kReadAgain = 1u << 20;

// What there is to be known of a session of which no octets are kept.
struct SessionState {
  std::uint64_t chunk_left = 0;
  contract::AnomalySet raised;
  TransactionId last_tx = 0;
  TransactionId current_tx = 0;  // that the client's next commands belong to
  TransactionId message_tx = 0;  // of the message in progress
  TransactionId server_tx = 0;   // that is open to the server, by its replies
  // Octets are read again while this transaction's message is open: messages among them are not
  // told, because the sink has one at a time (they were scanned as content and as second reading).
  TransactionId outer_tx = 0;
  std::uint32_t other_ends = 0;         // of the message in progress, that only some readings have
  std::uint32_t read_again_octets = 0;  // in all, up to kReadAgain
  std::uint32_t retired = 0;  // commands forgotten at the bound, whose replies will still come
  std::uint16_t preamble_octets = 0;  // of a PROXY v2 preamble: read so far
  std::uint16_t preamble_size = 0;    // and in all
  DataReader reader;
  // Where the readings of urgent data stand that differ from `reader` (bits of `doubtful`).
  DataReader::State doubt[Session::kReadings]{};
  std::uint8_t doubtful = 0;
  std::uint8_t left_out = 0;  // of the octets in hand, see client()
  ClientState state = ClientState::start;
  Via message_via = Via::data;
  Capabilities capabilities;
  Capabilities new_capabilities;  // of the EHLO reply in progress
  bool chunk_last = false;
  bool message_open = false;  // on_message_begin was called, on_message_end not
  bool message_gap = false;   // octets of it were never seen
  bool behind_gap = false;    // and none since
  bool chunk_gap = false;     // a chunk behind the last MAIL may never have been seen
  bool end_judged = false;    // the CRLF.CR that was read last was judged as a possible end
  bool in_reply = false;      // inside a multi-line reply
  bool greeting_seen = false;
  bool client_spoke = false;  // a command, or anything else but a preamble
  bool preamble_seen = false;
  bool commanded = false;  // a command other than QUIT
  bool capabilities_known = false;
  bool lmtp = false;
  bool one_sided = false;
  bool midstream = false;
  bool surplus = false;          // replies may come to commands that were not seen
  bool replies_lost = false;     // commands may have been answered unseen
  bool not_smtp = false;         // what the client says is another protocol, so far
  bool starttls = false;         // TLS began by STARTTLS
  bool server_tls_seen = false;  // the server's first octet in TLS
  bool stopped = false;
  bool stopped_in_queue = false;  // the stopped message's own command is in `pending`
  bool server_ended = false;      // nothing more of the server is read
  bool not_tls = false;           // what looked like a ClientHello was none to the server
  bool tolerant = false;          // the server has taken a malformed BDAT for a chunk
  bool proxy_undecided = false;   // a PROXY line may get a reply from a server that knows none
  // Octets were read again whose commands the server meets before others of `pending`, read
  // earlier.
  bool reordered = false;
};
static_assert(std::is_trivially_copyable_v<SessionState>, "packed as it is");

struct Session::Impl final : SessionState, AlternateReader::EndJudge {
  Impl(const Limits& l, SessionSink& s, std::pmr::memory_resource* m);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // --- session.cc
  void raise(contract::Anomaly anomaly) {
    if (raised.insert(anomaly)) sink.on_anomaly(anomaly);
  }
  Transaction* find(TransactionId tx);
  TransactionId open_transaction();
  TransactionId current_or_new();
  void end_transaction(TransactionId tx, const Reply& reply);
  void end_transactions_up_to(TransactionId last, TransactionId but = 0);
  void begin_message(TransactionId tx, Via via);
  MessageVerdict end_message(MessageEnd end);
  void abort_message();
  void drop_ambiguous();
  void drop_readings();
  void drop_tolerated();
  void drop_between();
  void drop_passed();
  // The message goes to a later end, whose last octets are `rest`.
  void pass_by_ambiguous(Bytes rest);
  // With several readings, as many of them as come before an octet at which one of them may stop;
  // that one alone. So what is known at a stop does not depend on the cuts.
  Bytes next_part(Bytes octets) const;
  void drop_auths();
  void drop_octets();
  AuthExchange* push_auth();
  void finish_auth(std::uint16_t code);
  void finish();
  void set_one_sided();
  void set_two_sided();
  void client_gap(std::uint64_t size);
  void server_gap();
  std::uint32_t replies_owed() const;
  std::size_t memory_used() const;

  // --- session_client.cc, session_content.cc: each read_* takes octets from the front and returns
  // how many.
  std::size_t feed(Bytes octets);
  std::size_t read(Bytes octets);
  std::size_t read_start(Bytes octets);
  std::size_t read_preamble(Bytes octets);
  std::size_t read_midstream(Bytes octets);
  std::size_t read_line(Bytes octets);
  std::size_t read_data(Bytes octets);
  DataReader::Event in_all_readings(std::uint8_t octet, DataReader::State before,
                                    DataReader::Event event);
  std::size_t read_chunk(Bytes octets);
  std::size_t read_tls_wait(Bytes octets);
  std::size_t read_tls_first(Bytes octets);
  // False when the command itself completed a message that was stopped.
  bool command(std::string_view line);
  void unknown_command(std::string_view line);
  void auth(std::string_view argument);
  void claim(ClaimedClient::Via via, std::string_view argument);
  // Commands before the one in hand may not have been seen.
  bool commands_unseen() const { return midstream || (surplus && !one_sided); }
  void mail(std::string_view argument);
  void rcpt(std::string_view argument);
  void data();
  bool bdat(std::string_view line);
  void begin_tolerated(TransactionId tx, const ChunkSize& size);
  // Whether what is read is told as what a malformed BDAT makes of it: until a reply decides, and
  // then to the end of its chunk.
  bool tolerated_tells() const {
    return tolerated && (!tolerated->closed || tolerated->reader.in_chunk());
  }
  bool may_be_data();
  bool begin_between(Slot slot, TransactionId tx);
  bool goes_on_beside(SecondReading* open);
  bool end_of_chunks();
  void push(Slot slot, TransactionId tx = 0, std::uint32_t detail = 0);
  bool early_response(std::string_view line);
  void begin_early(SecondReading::Reason reason);
  void begin_data(TransactionId tx);
  SecondReading* open_reading() const;
  SecondReading* create_reading(SecondReading::Reason reason, TransactionId tx);
  // Whether what was read so far is to be stopped, at an end that only some servers see.
  bool stops_at_ambiguous_end(TransactionId tx) override;
  EndJudge* judge() { return limits.stop_at_ambiguous_eod && outer_tx == 0 ? this : nullptr; }
  void begin_tls(bool starttls);
  void expect_tls();
  void decide_tls(bool record);
  std::size_t feed_readings(Bytes octets);

  // --- session_server.cc
  void server(Bytes octets);
  void end_cut_reply();
  void reply_line(std::string_view text);
  void capability(std::string_view text, bool first, bool last);
  void complete_reply(const Reply& reply);
  void doubt_unfinished_line();
  void match(const Reply& reply);
  void begin_unknown_data(const Reply& reply);
  void answer_data_between(const Pending& entry, const Reply& reply);
  void forget_commands();
  void answer(const Pending& entry, const Reply& reply);
  void answer_mail(const Pending& entry, const Reply& reply);
  void answer_data(const Pending& entry, const Reply& reply);
  void answer_chunk(const Pending& entry, const Reply& reply);
  void answer_tolerated(const Pending& entry, const Reply& reply);
  void refuse(TransactionId tx, std::uint16_t code);
  bool adopt_envelope(TransactionId from, TransactionId by);
  std::uint32_t taken_into_open(TransactionId tx);
  void answer_starttls(const Reply& reply);
  void challenge();
  void void_next_command();
  void unmatched(const Reply& reply);
  bool reply_inside_message(const Reply& reply);
  bool answers_passed(const Reply& reply) const;
  bool later(Slot slot) const;
  SecondReading* take_reading();
  Bytes kept_by(const SecondReading& reading);
  void read_again(SecondReading* reading);

  Limits limits;
  SessionSink& sink;
  std::pmr::memory_resource* memory;

  const std::uint8_t* position = nullptr;
  LineBuffer client_line;
  LineBuffer server_line;
  PendingQueue pending;
  std::pmr::vector<Transaction> transactions;  // open, by id
  AuthExchange* auths = nullptr;               // unanswered, oldest first
  SecondReading* readings = nullptr;           // that a reply will decide, oldest first
  SecondReading* ambiguous = nullptr;          // of the message in progress
  SecondReading* tolerated = nullptr;
  SecondReading* between = nullptr;
  SecondReading* passed = nullptr;  // behind an ambiguous end that the last message passed by
  ProxyPreamble* preamble = nullptr;
};

}  // namespace sluice::smtp
