#include "dataplane/inspect/conversation.h"

#include <algorithm>
#include <cstring>

#include "dataplane/base/prefetch.h"

namespace sluice::inspect {

using contract::Anomaly;
using contract::Counter;
using contract::DropReason;

namespace {

constexpr std::size_t kProbeOctets = 512;             // looked at to recognise SMTP on another port
constexpr Nanoseconds kResetPatience = 10 * kSecond;  // after it a RST was most likely the end
constexpr std::size_t kMaxTransactions = 64;
constexpr std::size_t kMaxRecipients = 1024;

bool has_nul(Bytes octets) {
  // Of a few octets a call costs more than a look at each.
  constexpr std::size_t kFew = 16;
  if (octets.size() <= kFew) return std::ranges::find(octets, std::uint8_t{0}) != octets.end();
  return std::memchr(octets.data(), 0, octets.size()) != nullptr;
}

// The sequence number behind the segment: SYN and FIN take one each (RFC 9293 3.4).
std::uint32_t end_of(const net::Packet& packet, Bytes payload) {
  const unsigned flags = packet.flags;
  return packet.sequence + static_cast<std::uint32_t>(payload.size()) +
         ((flags & net::tcp_flag::syn) != 0) + ((flags & net::tcp_flag::fin) != 0);
}

}  // namespace

tcp::Limits tcp_limits(const Context& context) {
  tcp::Limits limits;
  // A window of a long fat path: a loss must not cost the place in the stream.
  limits.out_of_order_octets = 1u << 20;
  if (context.policy->exceptions().overlap == policy::Exception::fail_closed)
    limits.overlap = tcp::OverlapPolicy::drop;
  if (context.policy->exceptions().memory == policy::Exception::fail_closed)
    limits.at_bound = tcp::BoundPolicy::drop;
  return limits;
}

Conversation::Conversation(const FlowIdentity& identity, Context& context, bool expect_mail,
                           const Beginning& beginning)
    : Conversation(identity, context, [&](std::pmr::memory_resource* memory) {
        return tcp::Connection(tcp_limits(context), memory, beginning.opening, beginning.seen);
      }) {
  client_mss_ = beginning.seen.client_mss;
  expect_mail_ = expect_mail;
  traffic_.start = traffic_.end = context.now.wall;
  if (beginning.first) return;
  traffic_.start -= context.now.monotonic - beginning.seen.first;
  for (std::size_t i = 0; i < 2; ++i) {
    traffic_.frames[i] = beginning.seen.frames[i];
    traffic_.octets[i] = beginning.seen.octets[i];
    edges_[i] = connection_.next_sequence(static_cast<Direction>(i));
    if (beginning.seen.frames[i] > 0) right_seen_ |= static_cast<std::uint8_t>(1u << i);
  }
}

Conversation::~Conversation() = default;

Disposition Conversation::segment(Direction direction, Frame& frame, const net::Packet& packet,
                                  MutableBytes payload, bool whole_frame) {
  ++traffic_.frames[index(direction)];
  traffic_.octets[index(direction)] += frame.octets.size();
  traffic_.end = context_.now.wall;
  edges_[index(direction)] = end_of(packet, payload);
  note(packet);
  if (packet.mss && direction == Direction::to_server) client_mss_ = packet.mss;
  context_.count(Counter::segments);

  follow_policy();
  if (host_blocked_) return {.drop = DropReason::host_blocked};
  if (phase_ == Phase::passing) return passed_unread();
  if (!right_side(direction, frame, packet)) {
    if (!restart_) on_alternative(direction, 0, payload);
    return {};
  }
  if (phase_ == Phase::closing || phase_ == Phase::ended)
    return after_stop(direction, frame, packet, payload);
  if (phase_ == Phase::opaque) return pass_opaque(direction, frame, packet, payload);
  if (mark_ == FlowMark::message && passes_unread(direction, packet)) return {};

  const tcp::SegmentResult result =
      connection_.segment(direction, packet, payload, context_.now.monotonic, *this);
  if (mark_ == FlowMark::message) connection_.take_as_acknowledged(Direction::to_server);
  if (passed_) skip_passed();
  if (result.new_session) {
    restart_ = true;
    return {};
  }
  if (result.retransmission) context_.count(Counter::segments_retransmitted);
  if (result.out_of_order) context_.count(Counter::segments_out_of_order);
  if (connection_.one_sided()) {
    on_anomaly(Anomaly::one_sided);
    if (session_) session_->set_one_sided(true);
  } else if (session_) {
    session_->set_one_sided(false);
  }
  Disposition disposition;
  if (result.action == tcp::SegmentResult::Action::drop) {
    disposition.drop = result.drop_reason;
  } else if (result.changed) {
    // A fragment cannot carry the octets seen first: nothing of it may pass.
    disposition = whole_frame ? Disposition{.drop = DropReason::none, .changed = true}
                              : Disposition{.drop = DropReason::overlap_diff};
    if (whole_frame) net::refresh_checksum(frame.octets, packet);
  }
  if (result.action == tcp::SegmentResult::Action::stopped)
    disposition = stopped(direction, frame, packet, result, whole_frame);
  if (packet.mpls && direction == Direction::to_client && !server_template_)
    server_template_ = make_pmr<net::SegmentTemplate>(
        &memory_, net::SegmentTemplate::from_frame(frame.octets, packet, context_.settings.link));
  if (host_tarpit_ && direction == Direction::to_client && !payload.empty() &&
      disposition.drop == DropReason::none && !packet.checksum_bad && whole_frame)
    disposition = hold_reply(frame, packet);
  note_reset();
  if (scan_ && connection_.state() == tcp::State::closed) end_scan();
  return disposition;
}

// A connection that has closed is remembered for late segments, and most need no scan for them:
// streams that go back early are warm when the next flow takes them.
void Conversation::end_scan() {
  const bool reading = message_ || (smuggled_ && smuggled_->message);
  if (phase_ != Phase::inspecting || reading || !transactions_.empty() || may_go_on()) return;
  if (scan_->hits().empty() && scan_->list_hits().empty() && !scan_->incomplete()) drop_scan();
}

// With the message of another reading, which gives its octets to the scan.
void Conversation::drop_scan() {
  smuggled_.reset();
  scan_.reset();
}

void Conversation::note_reset() {
  const bool reset = connection_.close_reason() == tcp::CloseReason::rst;
  if (!reset) {
    if (reset_at_ == 0) return;
    // It goes on: what was told of it was not its end.
    reset_at_ = 0;
    told_ = false;
    for (const auto& t : transactions_) t->told = false;
  } else if (reset_at_ == 0 && phase_ == Phase::inspecting && !transactions_.empty()) {
    reset_at_ = context_.now.monotonic;
  }
}

// Most RSTs are the end. What is open is told as it stands, and kept.
void Conversation::tell_unfinished() {
  told_ = true;
  transacted_ = true;
  for (const auto& transaction : transactions_) {
    if (transaction.get() == current_ && message_) {
      judge(*transaction);
      transaction->summary.parsed = false;
    }
    transaction->told = true;
    emit_transaction(*transaction, {});
  }
}

// Whether the segment came in on the port of the end that it says it is from. What came in on the
// other one did not come from there: it goes on, and drives nothing. Which end is where is known
// for good when both were heard on ports of their own; before that, whoever spoke first may be the
// one who lies, and the conversation begins anew (restart_) when there is reason to think so.
bool Conversation::right_side(Direction direction, const Frame& frame, const net::Packet& packet) {
  if (!context_.settings.verify_sides) return true;
  const auto bit = static_cast<std::uint8_t>(1u << index(direction));
  const Side expected =
      direction == Direction::to_server ? identity_.client_side : opposite(identity_.client_side);
  if (frame.side == expected) {
    right_seen_ |= bit;
    return true;
  }
  on_anomaly(Anomaly::wrong_side);
  constexpr std::uint8_t kBoth = 3;
  if (right_seen_ == kBoth || packet.checksum_bad) return false;
  wrong_seen_ |= bit;
  const policy::Policy& policy = *context_.policy;
  const bool inside = policy.inside(packet.source);
  const bool known = inside != policy.inside(packet.destination);
  const bool credible = known ? inside == (frame.side == Side::inside)
                              : wrong_seen_ == kBoth || (packet.flags & net::tcp_flag::syn) != 0;
  restart_ = credible && phase_ == Phase::inspecting;
  return false;
}

void Conversation::prefetch_parts() const {
  connection_.prefetch();
  if (session_) session_->prefetch();
  if (scan_) prefetch_object(*scan_);
  if (message_) prefetch_object(*message_);
}

void Conversation::frame_left() {
  tell_kernel();
  if (phase_ != Phase::owing || stop_->replies_seen < stop_->replies_before) return;
  release_replies(true);
  begin_closing();
}

void Conversation::note(const net::Packet& packet) {
  for (std::size_t i = 0; i < packet.anomaly_count; ++i) on_anomaly(packet.anomalies[i]);
}

void Conversation::tick() {
  release_replies(false);
  if (closing_ && closing_->tick(context_.now.monotonic)) {
    closing_.reset();
    phase_ = Phase::ended;
  }
  if (phase_ == Phase::owing && context_.now.monotonic >= stop_->deadline) begin_closing();
  if (reset_at_ != 0 && !told_ && context_.now.monotonic - reset_at_ >= kResetPatience)
    tell_unfinished();
  frame_left();
}

void Conversation::finish(std::string_view reason) {
  release_replies(true);
  if (phase_ == Phase::owing) begin_closing();
  closing_.reset();
  if (phase_ == Phase::inspecting) connection_.finish(*this);
  if (session_ && phase_ != Phase::passing) session_->finish();
  if (hello_ && !(connection_.midstream() && hello_->client_progress() != tls::Progress::done))
    emit_tls();
  if (!transacted_ && !tls_ && (!helo_.empty() || login_ || claimed_)) emit_session();
  while (!transactions_.empty()) on_transaction_end(transactions_.front()->id, {});
  // Hits outside a transaction: commands before MAIL, smuggled text after the last one. Those of a
  // stopped message were told with it.
  if (!stop_)
    for (const scan::Hit& hit : gather_hits()) emit_alert(hit, 0, false);
  emit_drops();
  emit_flow(reason);
  forget_marks();
}

void Conversation::forget_stream() {
  // Where we spoke for the server the wire had to reset the flow; nothing inside TLS is stale.
  if (tls_ || phase_ == Phase::passing || phase_ == Phase::closing || phase_ == Phase::ended)
    return;
  // A segment that was held may have passed by when it was sent again.
  phase_ = Phase::inspecting;
  if (mark_ == FlowMark::message) tell_kernel(FlowMark::scanned);
  passed_.reset();
  exhausted_ = false;
  stop_.reset();
  while (!transactions_.empty()) on_transaction_end(transactions_.front()->id, {});
  message_.reset();
  current_ = nullptr;
  drop_scan();
  session_.reset();
  connection_ = tcp::Connection(tcp_limits(context_), &memory_);
  if (expect_mail_) {
    begin_mail();
    session_->set_midstream();
  }
}

void Conversation::give_up() {
  if (phase_ == Phase::passing) return;
  if (stop_) {
    phase_ = Phase::ended;  // a condemned message does not pass because we cannot say so
  } else {
    phase_ = Phase::passing;
    context_.count(Counter::flows_bypassed);
  }
  message_.reset();
  current_ = nullptr;
  closing_.reset();
  drop_scan();
  drop_unread();
}

void Conversation::inspect_message(Bytes octets) {
  constexpr smtp::TransactionId kOnly = 1;
  begin_mail();
  on_message_begin(kOnly, smtp::Via::data);
  on_message_data(kOnly, octets);
  on_message_end(kOnly, smtp::MessageEnd::complete);
  on_transaction_end(kOnly, {});
}

// --- streams -------------------------------------------------------------------------------------

// Whether the flow is known to be mail; `octets` are its next ones in `direction`.
bool Conversation::recognise(Direction direction, Bytes octets) {
  if (session_) return true;
  if (expect_mail_) {
    begin_mail();
    return true;
  }
  if (!probe_) probe_ = make_pmr<Probe>(&memory_, &memory_);
  auto& probe = probe_->first[index(direction)];
  if (probe.size() >= kProbeOctets) return false;
  const std::size_t room = kProbeOctets - probe.size();
  probe.insert(probe.end(), octets.begin(),
               octets.begin() + static_cast<std::ptrdiff_t>(std::min(room, octets.size())));
  switch (smtp::looks_like_smtp(direction, probe)) {
    case smtp::Likeness::no:
      // A client may say something in front (PROXY), a server does not.
      not_mail_ =
          direction == Direction::to_client || !probe_->first[index(Direction::to_client)].empty();
      probe.resize(kProbeOctets);
      break;
    case smtp::Likeness::maybe:
      break;
    case smtp::Likeness::yes: {
      not_mail_ = false;
      begin_mail();
      // Octets before this chunk go first; those of the other direction that were not yet known.
      const auto own = Bytes(probe);
      const auto& other = probe_->first[index(opposite(direction))];
      if (other.size() < kProbeOctets && !other.empty()) {
        if (direction == Direction::to_server)
          session_->server(other);
        else
          session_->client(other);
      }
      const std::size_t earlier = own.size() - std::min(room, octets.size());
      if (earlier > 0) {
        if (direction == Direction::to_server)
          session_->client(own.first(earlier));
        else
          session_->server(own.first(earlier));
      }
      probe_.reset();
      return true;
    }
  }
  return false;
}

void Conversation::begin_mail() {
  smtp::Limits limits;
  session_.emplace(limits, *this, &memory_);
  if (connection_.midstream()) session_->set_midstream();
  if (connection_.one_sided()) session_->set_one_sided(true);
}

std::size_t Conversation::on_data(Direction direction, std::uint64_t, Bytes octets) {
  context_.count(Counter::stream_bytes, octets.size());
  if (phase_ == Phase::silenced) return direction == Direction::to_server ? 0 : octets.size();
  if (!recognise(direction, octets)) return octets.size();
  if (direction == Direction::to_client) {
    session_->server(octets);
    return octets.size();
  }
  chunk_ = octets;
  chunk_scanned_ = octets.data();
  chunk_read_ = octets.data();
  const std::size_t accepted = session_->client(octets, left_out_);
  if (accepted == octets.size()) {
    scan_stream(octets.data() + octets.size());
  } else if (stop_) {
    // Behind the octets that complete the message (a line, or the last BDAT octet) stand further
    // commands.
    const Bytes rest = octets.subspan(accepted);
    stop_->held_octets = static_cast<std::uint32_t>(rest.size());
    const auto end = session_->phase() == smtp::Phase::bdat
                         ? rest.begin()
                         : std::find(rest.begin(), rest.end(), std::uint8_t{'\n'});
    if (end != rest.end()) stop_->early.assign(end + 1, rest.end());
  }
  chunk_ = {};
  return accepted;
}

std::size_t Conversation::on_urgent_data(Direction direction, std::uint64_t offset, Bytes octets,
                                         std::uint8_t left_out) {
  left_out_ = left_out;
  const std::size_t accepted = on_data(direction, offset, octets);
  left_out_ = 0;
  return accepted;
}

void Conversation::on_gap(Direction direction, std::uint64_t, std::uint64_t size) {
  if (!session_) return;
  direction == Direction::to_server ? client_gap(size) : session_->server_gap(size);
}

void Conversation::client_gap(std::uint64_t size) {
  if (message_) message_->gap();
  session_->client_gap(size);
  if (message_) message_->gap();  // or the one that begins in it
  // Or one has come and gone, for all we know.
  for (const PmrPtr<Transaction>& transaction : transactions_)
    if (!transaction->begun && size > 0) transaction->unseen = true;
}

void Conversation::on_alternative(Direction direction, std::uint64_t, Bytes octets) {
  if (direction != Direction::to_server || tls_ || phase_ != Phase::inspecting) return;
  if (!session_ && !expect_mail_) return;
  for (const scan::Buffer b :
       {scan::Buffer::stream, scan::Buffer::raw, scan::Buffer::decoded, scan::Buffer::text}) {
    if (!wanted(b)) continue;
    scan().feed_other(b, octets);
    scan().end_other(b);
  }
}

void Conversation::on_anomaly(Anomaly anomaly) {
  if (!anomalies_.insert(anomaly)) return;
  context_.statistics.add(anomaly);
  begin_event(contract::EventType::anomaly);
  context_.writer.put_number(contract::Field::anomaly_kind, static_cast<std::uint8_t>(anomaly));
  context_.emit();
}

// Gives the stream scan the client's octets up to `until`, so that hits belong to the message in
// whose octets they stand. What stands between the chunks of a message is scanned apart, so that
// the message is whole in the stream however it was divided.
void Conversation::scan_stream(const std::uint8_t* until, bool of_message) {
  if (tls_ || until <= chunk_scanned_) return;
  const Bytes octets(chunk_scanned_, static_cast<std::size_t>(until - chunk_scanned_));
  chunk_scanned_ = until;
  if (!wanted(scan::Buffer::stream)) return;
  if (message_ && message_->budget_left() == 0 && (of_message || !between_chunks_)) return;
  context_.count(Counter::scan_bytes, octets.size());
  if (between_chunks_ && !of_message)
    scan().feed_other(scan::Buffer::stream, octets);
  else
    scan().feed(scan::Buffer::stream, octets);
}

// At the end of a message: all in front of it, content or not.
void Conversation::scan_what_was_read() {
  if (chunk_.empty()) return;
  const std::uint8_t* position = session_->position();
  if (position > chunk_read_ && position <= chunk_.data() + chunk_.size()) chunk_read_ = position;
  scan_stream(chunk_read_);
}

bool Conversation::wanted(scan::Buffer buffer) const {
  return scan_ ? scan_->wanted(buffer)
               : scan::MessageScan::wanted(context_.policy->ruleset(), buffer);
}

FlowScan& Conversation::scan() {
  if (!scan_) scan_ = make_pmr<FlowScan>(&memory_, context_, &memory_);
  return *scan_;
}

void Conversation::look_up_address(lists::Place place, std::string_view mailbox) {
  if (scan_ ? scan_->wants(place) : context_.policy->lists().wants(place))
    scan().look_up_address(place, mailbox);
}

// What SpamAssassin's rules are told beside the message.
spam::SpamScan::Options Conversation::spam_options() {
  spam::SpamScan::Options options;
  options.now = context_.now.wall / kSecond;
  options.times = context_.settings.spam_times;
  if (!identity_.on_wire) return options;  // offline: the message alone
  if (!client_text_) {
    client_text_ = make_pmr<std::pmr::string>(&memory_);
    spam::put_address(identity_.client(), *client_text_);
  }
  options.flow.client = *client_text_;
  options.flow.helo = helo_;
  options.flow.authenticated = auth_code_ == 235;
  if (current_ != nullptr && !current_->mail_from.empty()) {
    std::string_view path = current_->mail_from;
    if (path.starts_with('<') && path.ends_with('>')) path = path.substr(1, path.size() - 2);
    options.flow.mail_from = path;
    options.flow.has_mail_from = true;
  }
  options.outbound =
      context_.policy->inside(identity_.client()) && !context_.policy->inside(identity_.server());
  options.flow.outbound = options.outbound;
  return options;
}

// --- the SMTP session ----------------------------------------------------------------------------

Conversation::Transaction* Conversation::find(smtp::TransactionId tx) {
  const auto it = std::find_if(transactions_.begin(), transactions_.end(),
                               [tx](const auto& t) { return t->id == tx; });
  return it == transactions_.end() ? nullptr : it->get();
}

Conversation::Transaction& Conversation::open_transaction(smtp::TransactionId tx) {
  if (Transaction* open = find(tx)) return *open;
  if (transactions_.size() >= kMaxTransactions) {
    on_anomaly(Anomaly::too_many);
    on_transaction_end(transactions_.front()->id, {});
  }
  transactions_.push_back(make_pmr<Transaction>(&memory_, tx, &memory_));
  last_tx_ = std::max(last_tx_, tx);
  // Another ruleset begins with a transaction: never half a message under each.
  if (!message_ && scan_) scan_->renew();
  return *transactions_.back();
}

void Conversation::on_helo(std::string_view name) {
  // Transactions that are open, and the session if this is refused, keep the name from before.
  if (!helo_.empty()) {
    for (const PmrPtr<Transaction>& t : transactions_)
      if (!t->helo) t->helo = make_pmr<std::pmr::string>(&memory_, helo_);
    if (!helo_before_) helo_before_ = make_pmr<std::pmr::string>(&memory_, helo_);
  }
  helo_ = name.substr(0, kMaxListedOctets);
  if (helos_scanned_ != UINT8_MAX) ++helos_scanned_;
  if (wanted(scan::Buffer::helo)) scan().whole(scan::Buffer::helo, as_bytes(name));
}

void Conversation::on_helo_reply(bool accepted) {
  if (helo_before_ && !accepted) helo_ = *helo_before_;
  helo_before_.reset();
}

void Conversation::on_mail(smtp::TransactionId tx, std::string_view path, std::string_view mailbox,
                           std::string_view parameters) {
  Transaction& transaction = open_transaction(tx);
  transaction.mail_from = path;
  transaction.parameters = parameters.substr(0, kMaxListedOctets);
  scan_sender(mailbox);
}

void Conversation::scan_sender(std::string_view mailbox) {
  if (wanted(scan::Buffer::mail_from)) scan().whole(scan::Buffer::mail_from, as_bytes(mailbox));
  look_up_address(lists::Place::sender, mailbox);
}

void Conversation::on_rcpt(smtp::TransactionId tx, std::uint32_t index, std::string_view path,
                           std::string_view mailbox) {
  Transaction& transaction = open_transaction(tx);
  if (index == transaction.recipients.size() && index < kMaxRecipients)
    transaction.recipients.push_back({std::pmr::string(path, &memory_), 0});
  scan_recipient(mailbox);
}

void Conversation::scan_recipient(std::string_view mailbox) {
  if (wanted(scan::Buffer::rcpt_to)) scan().whole(scan::Buffer::rcpt_to, as_bytes(mailbox));
  look_up_address(lists::Place::recipient, mailbox);
}

void Conversation::on_envelope_reply(smtp::TransactionId tx, std::uint32_t rcpt_index,
                                     const smtp::Reply& reply) {
  Transaction* transaction = find(tx);
  if (!transaction) return;
  if (rcpt_index < transaction->recipients.size())
    transaction->recipients[rcpt_index].code = reply.code;
  else if (rcpt_index == UINT32_MAX) {
    transaction->mail_code = reply.code;
    note_refusal(*transaction, reply);
  }
}

void Conversation::note_refusal(Transaction& transaction, const smtp::Reply& reply) {
  if (reply.code < 400) return;
  Transaction::Outcome& outcome = transaction.decided(&memory_);
  outcome.refusal = reply.code;
  outcome.refusal_text = reply.text.substr(0, kMaxListedOctets);
}

void Conversation::on_envelope_adopted(smtp::TransactionId from, smtp::TransactionId by) {
  Transaction* source = find(from);
  if (!source || source == current_) return;
  Transaction& target = open_transaction(by);
  target.mail_from = source->mail_from;
  target.parameters = source->parameters;
  target.mail_code = source->mail_code;
  target.recipients.insert(target.recipients.begin(), source->recipients.begin(),
                           source->recipients.end());
  std::erase_if(transactions_, [&](const auto& t) { return t->id == from; });
}

Message::Options Conversation::message_options() const {
  const policy::Policy& policy = *context_.policy;
  return {.hash_message = policy.hash_messages(),
          .hash_attachments = policy.hash_attachments(),
          .hash_md5 = policy.hash_md5(),
          .scan_budget = policy.scan_budget()};
}

void Conversation::on_message_begin(smtp::TransactionId tx, smtp::Via via) {
  Transaction& transaction = open_transaction(tx);
  // An earlier one of this transaction was refused (a chunk, say) or given up.
  if (transaction.begun) transaction.summary = MessageSummary(&memory_);
  transaction.begun = true;
  transaction.via = via;
  current_ = &transaction;
  if (scan().wants_spam()) scan().begin_spam(spam_options());
  message_ =
      make_pmr<Message>(&memory_, message_options(), scan(), *this, transaction.summary, &memory_);
}

void Conversation::on_message_data(smtp::TransactionId tx, Bytes octets) {
  if (!message_) return;
  if (const std::uint64_t left = message_->budget_left(); left > 0 && octets.size() >= left) {
    // The stream, too, is scanned to where the budget ends; that of a chunk is in any case.
    const Bytes last = octets.first(static_cast<std::size_t>(left));
    const bool in_hand = last.data() >= chunk_read_ && last.data() <= chunk_.data() + chunk_.size();
    if (in_hand && current_ && current_->via == smtp::Via::data)
      scan_stream(last.data() + last.size());
    if (octets.size() > left) {
      on_message_data(tx, last);
      octets = octets.subspan(last.size());
    }
  }
  if (octets.data() >= chunk_read_ && octets.data() <= chunk_.data() + chunk_.size()) {
    chunk_read_ = octets.data() + octets.size();
    if (current_ && current_->via == smtp::Via::bdat) {
      scan_stream(octets.data());
      if (between_chunks_ && scan_) scan_->end_other(scan::Buffer::stream);
      scan_stream(chunk_read_, true);
      between_chunks_ = true;
    }
  }
  context_.count(Counter::message_bytes, octets.size());
  // RFC 5322 4: none in a message, whatever its parts are; BDAT may carry BINARYMIME.
  if (current_ && current_->via == smtp::Via::data && !anomalies_.contains(Anomaly::nul) &&
      !message_->over_budget() && has_nul(octets))
    on_anomaly(Anomaly::nul);
  message_->data(octets);
}

void Conversation::on_stuffed_dot(smtp::TransactionId) {
  if (message_) message_->stuffed_dot();
}

void Conversation::on_data_reply(smtp::TransactionId tx, const smtp::Reply& reply) {
  Transaction* transaction = find(tx);
  if (!transaction) return;
  note_refusal(*transaction, reply);
  if (!transaction->complete) transaction->refused = reply.code >= 400;
}

void Conversation::on_content_reply(smtp::TransactionId tx, const smtp::Reply& reply) {
  if (Transaction* transaction = find(tx)) note_refusal(*transaction, reply);
}

void Conversation::on_message_gap(smtp::TransactionId) {
  if (message_) message_->gap();
}

smtp::MessageVerdict Conversation::on_message_end(smtp::TransactionId tx, smtp::MessageEnd end) {
  Transaction* transaction = find(tx);
  if (!transaction || !message_) return smtp::MessageVerdict::pass;
  scan_what_was_read();
  message_->finish(end == smtp::MessageEnd::complete);
  if (end != smtp::MessageEnd::complete) {
    // Behind a refused DATA there is no message; of one in chunks there is what was sent.
    if (transaction->refused && transaction->via == smtp::Via::data) transaction->begun = false;
    transaction->summary.parsed = false;
    transaction->unseen = end == smtp::MessageEnd::unseen;
    if (!transaction->refused && !transaction->unseen) {
      context_.count(Counter::messages_aborted);
      on_anomaly(Anomaly::aborted_message);
    }
  } else {
    transaction->complete = true;
    context_.count(Counter::messages);
  }
  if (!transaction->told) judge(*transaction);
  message_.reset();
  between_chunks_ = false;
  exhausted_ = false;
  if (mark_ == FlowMark::message) take_back_message(context_.output.passed_message(identity_.key));
  if (scan_) scan_->next_transaction();
  helos_scanned_ = 0;
  envelope_dropped_ = false;
  if (!transaction->enforced) {
    current_ = nullptr;
    return smtp::MessageVerdict::pass;
  }
  return smtp::MessageVerdict::stop;
}

// Some servers take what was just read for the end of the message: if it is condemned by what is
// known so far, it ends here.
smtp::MessageVerdict Conversation::on_ambiguous_end(smtp::TransactionId tx) {
  if (!enforcing()) return smtp::MessageVerdict::pass;
  scan_what_was_read();
  const auto hits = gather_hits(false);
  const bool smuggling =
      smuggling_forbidden() && acts(context_.policy->group_of(identity_.client()).rule_reject);
  if (!acts(verdict_of(hits)) && !smuggling) return smtp::MessageVerdict::pass;
  if (!message_) return stop_smuggled(tx);
  return on_message_end(tx, smtp::MessageEnd::complete);
}

// A message that only another reading has ends here, and it is condemned. It is told with the
// envelope of that reading.
smtp::MessageVerdict Conversation::stop_smuggled(smtp::TransactionId tx) {
  Transaction& transaction = open_transaction(tx ? tx : last_tx_ + 1);
  if (smuggled_ && transaction.mail_from.empty() && transaction.recipients.empty()) {
    const auto path = [&](const std::pmr::string& mailbox) {
      std::pmr::string text("<", &memory_);
      text += mailbox;
      text += '>';
      return text;
    };
    transaction.mail_from = path(smuggled_->mail_from);
    transaction.recipients.push_back({path(smuggled_->rcpt_to), 0});
  }
  transaction.complete = true;
  judge(transaction);
  if (!transaction.enforced) return smtp::MessageVerdict::pass;
  current_ = &transaction;
  return smtp::MessageVerdict::stop;
}

void Conversation::on_recipient_reply(smtp::TransactionId tx, std::uint32_t nth,
                                      const smtp::Reply& reply) {
  Transaction* transaction = find(tx);
  if (!transaction) return;
  if (transaction->delivery_code == 0 || (transaction->delivery_code >= 400 && reply.code < 400)) {
    transaction->decided(&memory_).delivery_text = reply.text;
    transaction->delivery_code = reply.code;
  }
  for (Recipient& r : transaction->recipients) {
    if (r.code < 200 || r.code >= 300 || nth-- != 0) continue;
    r.delivery = reply.code;
    return;
  }
}

void Conversation::on_transaction_end(smtp::TransactionId tx, const smtp::Reply& reply) {
  const auto it = std::find_if(transactions_.begin(), transactions_.end(),
                               [tx](const auto& t) { return t->id == tx; });
  if (it == transactions_.end()) return;
  if (current_ == it->get()) {
    if (message_) on_message_end(tx, smtp::MessageEnd::aborted);
    current_ = nullptr;
  }
  transacted_ = true;
  if (!(*it)->begun) envelope_dropped_ = true;
  // A transaction that came to no message: what its envelope hit is not the next one's.
  if (!(*it)->begun && !message_ && scan_) {
    for (const scan::Hit& hit : scan_->list_hits()) emit_alert(hit, tx, false);
    scan_->forget_list_hits();
  }
  const Transaction& transaction = **it;
  smtp::Reply last = reply;
  if (transaction.delivery_code != 0)
    last = {transaction.delivery_code, transaction.outcome->delivery_text};
  else if (last.text.empty() && transaction.outcome && transaction.outcome->refusal == last.code)
    last.text = transaction.outcome->refusal_text;
  if (!transaction.told) emit_transaction(**it, last);
  transactions_.erase(it);
}

void Conversation::on_smuggled_envelope(smtp::TransactionId, std::string_view mail_mailbox,
                                        std::string_view first_rcpt) {
  if (!smuggled_) smuggled_ = make_pmr<Smuggled>(&memory_, &memory_);
  smuggled_->mail_from = mail_mailbox;
  smuggled_->rcpt_to = first_rcpt;
  if (wanted(scan::Buffer::mail_from))
    scan().whole_other(scan::Buffer::mail_from, as_bytes(mail_mailbox));
  if (wanted(scan::Buffer::rcpt_to))
    scan().whole_other(scan::Buffer::rcpt_to, as_bytes(first_rcpt));
  look_up_address(lists::Place::sender, mail_mailbox);
  look_up_address(lists::Place::recipient, first_rcpt);
}

void Conversation::on_smuggled_begin(smtp::TransactionId) {
  if (!smuggled_) smuggled_ = make_pmr<Smuggled>(&memory_, &memory_);
  Smuggled& s = *smuggled_;
  s.message.reset();
  s.summary = MessageSummary(&memory_);
  Message::Options options = message_options();
  options.other_reading = true;
  s.message.emplace(options, scan(), s, s.summary, &memory_);
}

void Conversation::on_smuggled_data(smtp::TransactionId, Bytes octets) {
  if (octets.data() >= chunk_read_ && octets.data() <= chunk_.data() + chunk_.size())
    chunk_read_ = octets.data() + octets.size();
  if (smuggled_ && smuggled_->message) smuggled_->message->data(octets);
}

void Conversation::on_smuggled_end(smtp::TransactionId) {
  if (!smuggled_ || !smuggled_->message) return;
  smuggled_->message->finish(true);
  smuggled_->message.reset();
}

void Conversation::on_auth(std::string_view mechanism, std::string_view user, std::uint16_t code) {
  // RFC 4954 4: after a success another AUTH is refused, and the client stays who it is.
  constexpr std::uint16_t kAccepted = 235;
  if (auth_code_ == kAccepted && code != kAccepted) return;
  login_.reset();
  if (!mechanism.empty()) {
    login_ = make_pmr<Login>(&memory_, &memory_);
    login_->mechanism = mechanism.substr(0, 64);
    login_->user = user.substr(0, kMaxListedOctets);
  }
  auth_code_ = code;
}

void Conversation::on_claimed_client(const smtp::ClaimedClient& claim, bool accepted) {
  if (!accepted) {
    if (claimed_ && claimed_->via == claim.via) claimed_.reset();
    return;
  }
  // XFORWARD comes in several commands; what each says adds to the others.
  if (!claimed_ || claimed_->via != claim.via) claimed_ = make_pmr<Claimed>(&memory_, &memory_);
  claimed_->via = claim.via;
  if (claim.address) claimed_->address = claim.address;
  if (claim.port) claimed_->port = claim.port;
  const auto set = [](std::pmr::string& to, std::string_view from) {
    if (!from.empty()) to = from.substr(0, kMaxListedOctets);
  };
  set(claimed_->name, claim.name);
  set(claimed_->helo, claim.helo);
  set(claimed_->login, claim.login);
}

void Conversation::on_command(smtp::Verb verb) {
  context_.count(Counter::commands);
  if (verb == smtp::Verb::lhlo) lmtp_ = true;
}

void Conversation::on_reply(const smtp::Reply&) {
  context_.count(Counter::replies);
  // What stands behind the last of them answers nothing: the server has no more of the client.
  if (phase_ == Phase::owing && ++stop_->replies_seen >= stop_->replies_before)
    session_->end_server();
}

void Conversation::on_refused_hello(Bytes octets) {
  hello_ = make_pmr<tls::ClientHelloParser>(&memory_, &memory_);
  if (hello_->client(octets) == tls::Progress::done) emit_tls();
  hello_.reset();
}

void Conversation::on_tls(bool starttls) {
  tls_ = true;
  starttls_ = starttls;
  drop_scan();
  hello_ = make_pmr<tls::ClientHelloParser>(&memory_, &memory_);
}

void Conversation::on_attachment(const Attachment& attachment) {
  begin_event(contract::EventType::fileinfo);
  contract::EventWriter& writer = context_.writer;
  writer.put_number(contract::Field::tx_id, current_ ? current_->id - 1 : 0);
  writer.put(contract::Field::attachment, std::string_view(attachment.name));
  writer.put(contract::Field::attachment_type, std::string_view(attachment.type));
  writer.put_number(contract::Field::attachment_size, attachment.octets);
  put_cut(writer, attachment);
  if (attachment.has_md5) writer.put(contract::Field::attachment_md5, Bytes(attachment.md5));
  if (attachment.has_sha256)
    writer.put(contract::Field::attachment_sha256, Bytes(attachment.sha256));
  context_.emit();
}

}  // namespace sluice::inspect
