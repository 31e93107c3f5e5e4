// One mail flow: its TCP connection, its SMTP session, its message in progress, and what is done
// about it. The engine gives it segments and carries out the Disposition of each.
//
//   inspecting ── a message is stopped ──► owing replies ── all forwarded ──► closing ──► ended
//       │                                                                       (Closing)
//       ├── verdict drop ──► silenced (client octets from the stop on never pass)
//       ├── all that TLS shows was read ──► opaque (counted, its end noted)
//       └── a bound was reached, policy fail-open ──► passing (forwarded unseen)
#pragma once

#include <memory>
#include <memory_resource>
#include <optional>
#include <vector>

#include "dataplane/base/limited_resource.h"
#include "dataplane/base/pack.h"
#include "dataplane/base/pmr_ptr.h"
#include "dataplane/contract/anomalies.h"
#include "dataplane/flow/flow_table.h"
#include "dataplane/inspect/closing.h"
#include "dataplane/inspect/context.h"
#include "dataplane/inspect/flow_event.h"
#include "dataplane/inspect/flow_scan.h"
#include "dataplane/inspect/message.h"
#include "dataplane/smtp/session.h"
#include "dataplane/tcp/connection.h"
#include "dataplane/tls/client_hello.h"

namespace sluice::inspect {

// What a packed conversation begins with.
struct PackedFlow {
  std::uint64_t flow_id = 0;
  bool client_is_low = true;
  Side client_side = Side::inside;
};

// How connections are to be followed, by the policy in force.
tcp::Limits tcp_limits(const Context& context);

// Whether a verdict stops the message (tag and pass do not).
bool acts(contract::Verdict verdict);

struct Disposition {
  contract::DropReason drop = contract::DropReason::none;
  bool changed = false;
};

enum class ConversationPhase : std::uint8_t {
  inspecting,
  owing,
  closing,
  silenced,
  opaque,
  passing,
  ended,
};

// The part of a conversation that is plain numbers and flags.
struct ConversationState {
  contract::AnomalySet anomalies_;
  Traffic traffic_;
  Nanoseconds reset_at_ = 0;  // a RST came in the middle of a transaction
  std::uint32_t dropped_[contract::kDropReasonCount]{};
  smtp::TransactionId last_tx_ = 0;
  std::uint16_t client_mss_ = 0;
  std::uint16_t auth_code_ = 0;
  ConversationPhase phase_ = ConversationPhase::inspecting;
  // Directions (bits) of which a segment came in on the port of its end, and on the other one.
  std::uint8_t right_seen_ = 0;
  std::uint8_t wrong_seen_ = 0;
  // Of an opaque flow: FINs by direction, and kReset.
  static constexpr std::uint8_t kReset = 4;
  std::uint8_t ends_seen_ = 0;
  std::uint8_t unmarked_ = 0;  // frames that came although the flow was marked
  // By direction of which frames were counted: where the last one's octets end.
  std::uint32_t edges_[2]{};
  bool exhausted_ = false;    // the message in progress is past its scan budget
  bool ask_again_ = false;    // the kernel passes it, but frames of before still come
  std::uint8_t unasked_ = 0;  // frames before the kernel is asked to pass it
  // What it passed, to be skipped once all in front of it was read.
  std::optional<PassedContent> passed_;
  bool not_mail_ = false;         // of another port, and not mail
  std::optional<FlowMark> mark_;  // last told of the flow
  std::uint8_t left_out_ = 0;     // of the client octets in hand, see smtp::Session::client
  bool expect_mail_ = false;
  bool told_ = false;            // after that RST, what was open
  bool between_chunks_ = false;  // of a BDAT message that has octets
  bool restart_ = false;
  bool starttls_ = false;
  bool tls_ = false;
  bool lmtp_ = false;
  bool transacted_ = false;  // a transaction was reported
  // Since the last message: how often HELO was scanned, and that something else was that pack()
  // could not give to a new scan (the envelope of a transaction that came to nothing).
  std::uint8_t helos_scanned_ = 0;
  bool envelope_dropped_ = false;
};
static_assert(std::is_trivially_copyable_v<ConversationState>, "packed as it is");

class Conversation final : private ConversationState,
                           public tcp::StreamSink,
                           public smtp::SessionSink,
                           public MessageObserver {
 public:
  // What was seen before: the handshake, or what is left of a connection that took over another's
  // ports.
  struct Beginning {
    flow::Opening opening{};
    flow::Handshake seen{};
    bool first = true;  // nothing was seen before
  };

  Conversation(const FlowIdentity& identity, Context& context, bool expect_mail,
               const Beginning& beginning);
  // As pack() left it.
  Conversation(const flow::FlowKey& key, Context& context, Unpacker& packed);
  ~Conversation();
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  // One segment of the flow. `payload` are its TCP octets inside `frame`, or inside a reassembled
  // datagram (`whole_frame` false: it cannot be changed or made shorter, only forwarded or
  // dropped).
  Disposition segment(Direction direction, Frame& frame, const net::Packet& packet,
                      MutableBytes payload, bool whole_frame);
  // The frame given to segment() was forwarded or dropped: what we say ourselves may follow it.
  void frame_left();
  // A SYN that begins another connection with the same key was seen by the last segment().
  bool wants_restart() const { return restart_; }
  flow::Opening next_opening() const {
    return stop_ ? flow::Opening{} : connection_.next_opening();
  }
  // Whether tick() is to be called.
  bool needs_tick() const {
    return closing_ || phase_ == Phase::owing || !held_.empty() || (reset_at_ != 0 && !told_);
  }
  void tick();
  // The flow ends: open transactions and the flow itself become events.
  void finish(std::string_view reason);
  // The stream's state is stale (the worker hung): what was open is told as it stands, and nothing
  // from before counts any more. A session in TLS has nothing to forget.
  void forget_stream();
  void snapshot();
  // Nothing of the flow is inspected any more (memory was refused in the middle of it).
  void give_up();
  // One message without a session around it; then its events.
  void inspect_message(Bytes octets);
  void note(const net::Packet& packet);  // its decode anomalies
  void count_drop(contract::DropReason reason);

  // Of a flow that has been idle for a while (conversation_idle.cc). pack() puts all that is to be
  // known of it into few octets, of which the first are PackedFlow; false: it cannot, for a message
  // is in progress, or octets are kept. Then rest() takes back what is not needed while it is idle.
  bool pack(Packer& packer) const;
  void rest();
  // Before either: takes back what is kept of a stream of which nothing more is read.
  void drop_unread();

  const FlowIdentity& identity() const { return identity_; }
  // Once the frame given to segment() was forwarded.
  FlowEdges edges() const;
  tcp::State tcp_state() const;
  // Both ends were heard.
  bool two_way() const { return traffic_.frames[0] > 0 && traffic_.frames[1] > 0; }
  // A RST ended it in the middle of something: one end may not have taken it (cases C04, C06), and
  // then it goes on as long as a server waits.
  bool may_go_on() const { return reset_at_ != 0; }
  bool ended() const { return phase_ == Phase::ended; }

  // Octets that it holds, but streams of Hyperscan, and since when nothing was heard.
  std::size_t memory_used() const { return memory_.used(); }
  Nanoseconds idle() const { return context_.now.wall - traffic_.end; }
  // Whether shed() gives back most of it.
  bool sheds() const {
    return phase_ == Phase::inspecting || phase_ == Phase::opaque || phase_ == Phase::passing;
  }
  // Memory is short: gives back what it can. True: the flow was inspected and is no more.
  bool shed();

  // A segment comes soon, and the object itself is near by now.
  void prefetch_parts() const;

  // Where it stands in the engine's lists (roster.h).
  static constexpr std::size_t kPlaces = 2;
  static constexpr std::uint32_t kNowhere = UINT32_MAX;
  std::uint32_t& place(std::size_t list) { return places_[list]; }

 private:
  using Phase = ConversationPhase;

  struct Recipient {
    std::pmr::string path;
    std::uint16_t code = 0;      // of the reply to RCPT; 0: not answered
    std::uint16_t delivery = 0;  // LMTP: of the reply to the message for this recipient

    // The code with which it was refused, or less than 400.
    std::uint16_t refusal() const { return delivery >= 400 ? delivery : code; }
  };
  struct Transaction {
    Transaction(smtp::TransactionId identity, std::pmr::memory_resource* memory)
        : id(identity),
          mail_from(memory),
          parameters(memory),
          recipients(memory),
          summary(memory) {}
    smtp::TransactionId id;
    std::pmr::string mail_from;
    std::pmr::string parameters;
    std::pmr::vector<Recipient> recipients;
    MessageSummary summary;
    // What became of it, once that is known.
    struct Outcome {
      explicit Outcome(std::pmr::memory_resource* memory)
          : rules(memory), reason(memory), delivery_text(memory), refusal_text(memory) {}
      std::pmr::vector<std::pmr::string> rules;
      std::pmr::string reason;
      // LMTP: the first reply that accepted the message for a recipient, else the first.
      std::pmr::string delivery_text;
      // What the server said when it refused MAIL, DATA or a chunk.
      std::pmr::string refusal_text;
      std::uint16_t refusal = 0;
    };
    PmrPtr<Outcome> outcome;
    PmrPtr<std::pmr::string> helo;  // when the client has named itself anew since
    Outcome& decided(std::pmr::memory_resource* memory) {
      if (!outcome) outcome = make_pmr<Outcome>(memory, memory);
      return *outcome;
    }
    std::string_view reason() const { return outcome ? outcome->reason : std::string_view(); }
    std::uint16_t delivery_code = 0;
    std::int32_t score = 0;
    smtp::Via via = smtp::Via::data;
    contract::Verdict verdict = contract::Verdict::pass;
    std::uint16_t mail_code = 0;
    bool begun = false;     // message octets
    bool complete = false;  // its end
    bool unseen = false;    // which may have gone by, or the message in all
    bool refused = false;   // DATA was, or the last chunk
    bool enforced = false;  // the verdict was carried out
    bool told = false;      // as it stood after a RST
  };

  // What is to be said to the client when its message was stopped.
  struct Stop {
    explicit Stop(std::pmr::memory_resource* memory) : reply(memory), early(memory) {}
    contract::Verdict verdict = contract::Verdict::reject;
    contract::DropReason drop = contract::DropReason::message_rejected;
    std::pmr::string reply;                // whole lines
    std::pmr::vector<std::uint8_t> early;  // client octets that follow the message
    std::uint32_t replies_before = 0;      // of the server, still to be forwarded before ours
    std::uint32_t replies_seen = 0;        // of those, forwarded
    std::uint32_t server_expects = 0;      // first client octet that was not forwarded
    std::uint32_t held_octets = 0;         // client octets from the stop on that were seen
    Nanoseconds deadline = 0;
    net::SegmentTemplate to_client;
    net::SegmentTemplate to_server;
  };

  // tcp::StreamSink
  std::size_t on_data(Direction direction, std::uint64_t offset, Bytes octets) override;
  std::size_t on_urgent_data(Direction direction, std::uint64_t offset, Bytes octets,
                             std::uint8_t left_out) override;
  void on_gap(Direction direction, std::uint64_t offset, std::uint64_t size) override;
  void on_alternative(Direction direction, std::uint64_t offset, Bytes octets) override;
  void on_anomaly(contract::Anomaly anomaly) override;  // of smtp::SessionSink too

  // smtp::SessionSink
  void on_helo(std::string_view name) override;
  void on_helo_reply(bool accepted) override;
  void on_mail(smtp::TransactionId tx, std::string_view path, std::string_view mailbox,
               std::string_view parameters) override;
  void on_rcpt(smtp::TransactionId tx, std::uint32_t index, std::string_view path,
               std::string_view mailbox) override;
  void on_envelope_reply(smtp::TransactionId tx, std::uint32_t rcpt_index,
                         const smtp::Reply& reply) override;
  void on_envelope_adopted(smtp::TransactionId from, smtp::TransactionId by) override;
  void on_message_begin(smtp::TransactionId tx, smtp::Via via) override;
  void on_message_data(smtp::TransactionId tx, Bytes octets) override;
  void on_stuffed_dot(smtp::TransactionId tx) override;
  void on_data_reply(smtp::TransactionId tx, const smtp::Reply& reply) override;
  void on_content_reply(smtp::TransactionId tx, const smtp::Reply& reply) override;
  void on_message_gap(smtp::TransactionId tx) override;
  smtp::MessageVerdict on_message_end(smtp::TransactionId tx, smtp::MessageEnd end) override;
  smtp::MessageVerdict on_ambiguous_end(smtp::TransactionId tx) override;
  void on_recipient_reply(smtp::TransactionId tx, std::uint32_t nth,
                          const smtp::Reply& reply) override;
  void on_transaction_end(smtp::TransactionId tx, const smtp::Reply& reply) override;
  void on_smuggled_envelope(smtp::TransactionId outer, std::string_view mail_mailbox,
                            std::string_view first_rcpt) override;
  void on_smuggled_data(smtp::TransactionId outer, Bytes octets) override;
  void on_smuggled_begin(smtp::TransactionId outer) override;
  void on_smuggled_end(smtp::TransactionId outer) override;
  void on_auth(std::string_view mechanism, std::string_view user, std::uint16_t code) override;
  void on_claimed_client(const smtp::ClaimedClient& claim, bool accepted) override;
  void on_command(smtp::Verb verb) override;
  void on_reply(const smtp::Reply& reply) override;
  void on_refused_hello(Bytes octets) override;
  void on_tls(bool starttls) override;
  void on_opaque(Direction direction, Bytes octets) override;

  // MessageObserver
  void on_attachment(const Attachment& attachment) override;
  void on_message_anomaly(contract::Anomaly anomaly) override;
  spam::SpamScan::Options spam_options();

  // verdict (conversation_verdict.cc)
  void judge(Transaction& transaction);
  bool limited(const policy::HostRule& rule);
  bool enforcing() const;
  // The verdict that these hits give by themselves; a pass rule among them lets the message pass.
  contract::Verdict verdict_of(std::span<const scan::Hit> hits) const;
  std::pmr::vector<scan::Hit> gather_hits(bool ended = true);
  void end_scan();
  void drop_scan();
  std::pmr::string reply_text(const Transaction& transaction) const;

  bool smuggling_forbidden() const;
  smtp::MessageVerdict stop_smuggled(smtp::TransactionId tx);

  // enforcement (conversation_enforce.cc)
  Disposition stopped(Direction direction, Frame& frame, const net::Packet& packet,
                      const tcp::SegmentResult& result, bool whole_frame);
  void begin_closing();
  void follow_policy();
  Disposition hold_reply(const Frame& frame, const net::Packet& packet);
  void release_replies(bool all);
  Disposition after_stop(Direction direction, Frame& frame, const net::Packet& packet,
                         MutableBytes payload);

  // what the kernel's part takes over (conversation_kernel.cc)
  Disposition pass_opaque(Direction direction, const Frame& frame, const net::Packet& packet,
                          Bytes payload);
  Disposition passed_unread();
  FlowTraffic traffic_by_kernel() const;
  Traffic traffic() const;
  void tell_kernel();
  void tell_kernel(FlowMark mark);
  void pass_message();
  bool passes_unread(Direction direction, const net::Packet& packet);
  void take_back_message(const PassedMessage& passed);
  void skip_passed();
  void forget_marks();

  // events (conversation_events.cc)
  void begin_event(contract::EventType type);
  static bool nobody_receives(const Transaction& transaction);
  void emit_transaction(Transaction& transaction, const smtp::Reply& reply);
  void emit_alert(const scan::Hit& hit, smtp::TransactionId tx, bool blocked);
  void emit_session();
  void put_session(contract::EventWriter& writer, std::string_view helo) const;
  void emit_tls();
  void emit_flow(std::string_view reason);
  void emit_drops();
  contract::Visibility visibility() const;

  void client_gap(std::uint64_t size);
  void note_reset();
  void tell_unfinished();
  bool right_side(Direction direction, const Frame& frame, const net::Packet& packet);
  // `connect(memory)` makes the Connection.
  template <typename Connect>
  Conversation(const FlowIdentity& identity, Context& context, Connect&& connect);
  bool recognise(Direction direction, Bytes octets);
  void begin_mail();
  Message::Options message_options() const;
  void scan_stream(const std::uint8_t* until, bool of_message = false);
  void scan_what_was_read();
  Transaction* find(smtp::TransactionId tx);
  Transaction& open_transaction(smtp::TransactionId tx);
  bool wanted(scan::Buffer buffer) const;
  FlowScan& scan();
  bool packable() const;
  void pack(const Transaction& transaction, Packer& packer) const;
  void unpack_transaction(Unpacker& packed);
  void scan_again(Bytes stream);
  void note_refusal(Transaction& transaction, const smtp::Reply& reply);
  void scan_sender(std::string_view mailbox);
  void scan_recipient(std::string_view mailbox);
  void look_up_address(lists::Place place, std::string_view mailbox);

  FlowIdentity identity_;
  Context& context_;
  LimitedResource memory_;  // of all below
  tcp::Connection connection_;
  std::optional<smtp::Session> session_;                // once the flow is known to be mail
  std::pmr::vector<PmrPtr<Transaction>> transactions_;  // open, in order
  PmrPtr<FlowScan> scan_;                               // once something is scanned
  // A frame of the server's direction, where it cannot be made from the client's (MPLS).
  PmrPtr<net::SegmentTemplate> server_template_;
  PmrPtr<Message> message_;
  Transaction* current_ = nullptr;  // whose message is in progress
  // The envelope last found in a second reading of the octets.
  struct Smuggled final : MessageObserver {
    explicit Smuggled(std::pmr::memory_resource* memory)
        : mail_from(memory), rcpt_to(memory), summary(memory) {}
    // What it has is scanned; events are of the first reading.
    void on_attachment(const Attachment&) override {}
    void on_message_anomaly(contract::Anomaly) override {}
    std::pmr::string mail_from;
    std::pmr::string rcpt_to;
    MessageSummary summary;
    std::optional<Message> message;
  };
  PmrPtr<Smuggled> smuggled_;
  // For whom the client says that it speaks.
  struct Claimed {
    explicit Claimed(std::pmr::memory_resource* memory)
        : name(memory), helo(memory), login(memory) {}
    smtp::ClaimedClient::Via via{};
    std::uint16_t port = 0;
    std::optional<Address> address;
    std::pmr::string name;
    std::pmr::string helo;
    std::pmr::string login;
  };
  PmrPtr<Claimed> claimed_;
  PmrPtr<Closing> closing_;
  PmrPtr<tls::ClientHelloParser> hello_;
  PmrPtr<Stop> stop_;

  // A server's segment that a tarpit holds back.
  struct HeldReply {
    Nanoseconds due;
    std::uint32_t sequence;
    std::pmr::vector<std::uint8_t> frame;
  };
  std::pmr::vector<HeldReply> held_;

  std::pmr::string community_id_;  // made for the first event
  std::pmr::string helo_;
  PmrPtr<std::pmr::string> helo_before_;  // while the server has not answered to the last one
  PmrPtr<std::pmr::string> client_text_;  // the client's address, for SpamAssassin's rules
  struct Login {
    explicit Login(std::pmr::memory_resource* memory) : mechanism(memory), user(memory) {}
    std::pmr::string mechanism;
    std::pmr::string user;
  };
  PmrPtr<Login> login_;

  Bytes chunk_;                                  // client octets being parsed
  const std::uint8_t* chunk_scanned_ = nullptr;  // up to here given to the stream scan
  const std::uint8_t* chunk_read_ = nullptr;     // up to here known to be of the message
  struct Probe {
    explicit Probe(std::pmr::memory_resource* memory) : first{Octets(memory), Octets(memory)} {}
    using Octets = std::pmr::vector<std::uint8_t>;
    Octets first[2];  // by direction
  };
  PmrPtr<Probe> probe_;  // until the flow is known to be mail

  std::uint32_t places_[kPlaces] = {kNowhere, kNowhere};
  // What the policy in force says of the client, found once for each policy.
  const policy::Policy* policy_seen_ = nullptr;
  bool host_blocked_ = false;
  bool host_tarpit_ = false;
};

template <typename Connect>
Conversation::Conversation(const FlowIdentity& identity, Context& context, Connect&& connect)
    : identity_(identity),
      context_(context),
      memory_(*context.memory, context.settings.max_flow_memory),
      connection_(connect(&memory_)),
      transactions_(&memory_),
      held_(&memory_),
      community_id_(&memory_),
      helo_(&memory_) {}

}  // namespace sluice::inspect
