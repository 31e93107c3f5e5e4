// What a conversation reports.
#include <algorithm>

#include "dataplane/inspect/conversation.h"

namespace sluice::inspect {

using contract::Counter;
using contract::EventType;
using contract::Field;
using contract::Outcome;

contract::Visibility Conversation::visibility() const {
  if (tls_) return contract::Visibility::tls;
  if (connection_.one_sided()) return contract::Visibility::one_sided;
  if (session_ && session_->starttls_offered()) return contract::Visibility::before_tls;
  return contract::Visibility::clear;
}

void Conversation::begin_event(EventType type) {
  begin_flow_event(context_, identity_, type, visibility(), community_id_);
}

// Every recipient was refused: whatever the server says of the message, it delivers it to nobody.
bool Conversation::nobody_receives(const Transaction& transaction) {
  return !transaction.recipients.empty() &&
         std::all_of(transaction.recipients.begin(), transaction.recipients.end(),
                     [](const Recipient& r) { return r.refusal() >= 400; });
}

void Conversation::emit_transaction(Transaction& transaction, const smtp::Reply& reply) {
  Outcome outcome = Outcome::unknown;
  if (transaction.enforced)
    outcome = Outcome::blocked;
  else if (transaction.begun && !transaction.complete)
    outcome = transaction.refused  ? Outcome::refused
              : transaction.unseen ? Outcome::unknown
                                   : Outcome::aborted;
  else if (transaction.complete && reply.code)
    outcome =
        reply.code < 400 && !nobody_receives(transaction) ? Outcome::accepted : Outcome::refused;
  else if (!transaction.begun)
    outcome = [&] {
      bool accepted = false;
      bool refused = transaction.mail_code >= 400;
      for (const Recipient& r : transaction.recipients) {
        accepted |= r.code >= 200 && r.code < 300;
        refused |= r.code >= 400;
      }
      refused |= reply.code >= 400;
      if (refused && (!accepted || reply.code >= 400)) return Outcome::refused;
      return (transaction.mail_code || accepted) && !transaction.unseen ? Outcome::aborted
                                                                        : Outcome::unknown;
    }();
  if (transaction.complete) {
    if (outcome == Outcome::accepted) context_.count(Counter::messages_accepted);
    if (outcome == Outcome::refused) context_.count(Counter::messages_refused);
  }

  begin_event(EventType::smtp);
  contract::EventWriter& writer = context_.writer;
  writer.put_number(Field::tx_id, transaction.id - 1);
  // What was decided comes first: a record is bounded, and senders choose how much follows.
  writer.put_number(Field::score, transaction.score);
  writer.put_number(Field::verdict, static_cast<std::uint8_t>(transaction.verdict));
  if (!transaction.reason().empty()) writer.put(Field::reason, transaction.reason());
  writer.put(Field::policy_group,
             std::string_view(context_.policy->group_of(identity_.client()).name));
  if (transaction.outcome)
    for (const auto& rule : transaction.outcome->rules)
      writer.put(Field::rule, std::string_view(rule));
  put_session(writer, transaction.helo ? *transaction.helo : helo_);
  if (!transaction.mail_from.empty())
    writer.put(Field::mail_from, std::string_view(transaction.mail_from));
  if (!transaction.parameters.empty())
    writer.put(Field::mail_parameters, std::string_view(transaction.parameters));
  if (transaction.begun) {
    writer.put(Field::via, transaction.via == smtp::Via::bdat ? std::string_view("bdat") : "data");
    writer.put_number(Field::size, transaction.summary.size);
    if (transaction.summary.has_sha256)
      writer.put(Field::sha256, Bytes(transaction.summary.sha256));
  }
  if (transaction.enforced && stop_ && !stop_->reply.empty()) {
    std::string_view line(stop_->reply);
    line = line.substr(0, line.find("\r\n"));
    writer.put_number(Field::reply_code,
                      static_cast<std::uint16_t>(line.starts_with('4') ? 451 : 550));
    writer.put(Field::reply_text, line.substr(4));
  } else if (reply.code) {
    writer.put_number(Field::reply_code, reply.code);
    writer.put(Field::reply_text, reply.text);
  }
  writer.put_number(Field::outcome, static_cast<std::uint8_t>(outcome));
  // Then lists, each within a share of the record, so that none leaves no room for the next.
  constexpr std::size_t kAccepted = 4000;
  constexpr std::size_t kRefused = 2000;
  std::size_t room = kAccepted;
  for (const Recipient& r : transaction.recipients) {
    if (r.refusal() >= 400) continue;
    if (!writer.put_within(room, Field::rcpt_to, std::string_view(r.path))) break;
  }
  room = kRefused;
  for (const Recipient& r : transaction.recipients) {
    if (r.refusal() < 400) continue;
    if (!writer.put_within(room, Field::rcpt_refused, std::string_view(r.path))) break;
    writer.put_number(Field::rcpt_code, r.refusal());
  }
  if (transaction.begun) transaction.summary.put(writer);
  if (transaction.enforced) writer.set_flags(contract::kEventEnforced);
  const bool truncated = writer.truncated();
  context_.emit();
  if (truncated) on_anomaly(contract::Anomaly::event_truncated);
}

// A conversation that never came to a transaction, as EVE reports it: who said HELO, who tried
// AUTH.
void Conversation::emit_session() {
  begin_event(EventType::smtp);
  contract::EventWriter& writer = context_.writer;
  writer.put_number(Field::tx_id, std::uint32_t{0});
  put_session(writer, helo_);
  context_.emit();
}

void Conversation::put_session(contract::EventWriter& writer, std::string_view helo) const {
  if (!helo.empty()) writer.put(Field::helo, helo);
  if (login_) {
    writer.put(Field::auth_mechanism, std::string_view(login_->mechanism));
    if (!login_->user.empty()) writer.put(Field::auth_user, std::string_view(login_->user));
    if (auth_code_) writer.put_number(Field::auth_result, auth_code_);
  }
  writer.put_number(Field::starttls, static_cast<std::uint8_t>(starttls_));
  if (!claimed_) return;
  writer.put(Field::client_via, smtp::kClaimNames[static_cast<std::size_t>(claimed_->via)]);
  const auto put = [&](Field field, const std::pmr::string& value) {
    if (!value.empty()) writer.put(field, std::string_view(value));
  };
  if (claimed_->address) writer.put(Field::client_address, Bytes(claimed_->address->octets));
  if (claimed_->port) writer.put_number(Field::client_port, claimed_->port);
  put(Field::client_name, claimed_->name);
  put(Field::client_helo, claimed_->helo);
  put(Field::client_login, claimed_->login);
}

void Conversation::emit_alert(const scan::Hit& hit, smtp::TransactionId tx, bool blocked) {
  context_.count(Counter::alerts);
  begin_event(EventType::alert);
  contract::EventWriter& writer = context_.writer;
  if (tx) writer.put_number(Field::tx_id, tx - 1);
  writer.put_number(Field::alert_action, static_cast<std::uint8_t>(blocked));
  writer.put_number(Field::alert_gid, hit.rule->gid);
  writer.put_number(Field::alert_sid, hit.rule->sid);
  writer.put_number(Field::alert_rev, hit.rule->revision);
  writer.put(Field::alert_signature, std::string_view(hit.rule->message));
  writer.put(Field::alert_category, std::string_view(hit.rule->category));
  writer.put_number(Field::alert_severity, hit.rule->severity);
  writer.put_number(Field::score, hit.rule->score);
  writer.put(Field::alert_where, scan::kBufferNames[static_cast<std::size_t>(hit.where)]);
  context_.emit();
}

// Once what is visible of the TLS session's beginning has been seen.
void Conversation::emit_tls() {
  context_.count(Counter::tls_sessions);
  begin_event(EventType::tls);
  contract::EventWriter& writer = context_.writer;
  const tls::ClientHello& hello = hello_->hello();
  if (!hello.server_name.empty()) writer.put(Field::tls_sni, std::string_view(hello.server_name));
  const std::uint16_t version = hello_->negotiated_version();
  writer.put_number(Field::tls_version, version ? version : hello.version);
  for (const auto& protocol : hello.protocols)
    writer.put(Field::tls_alpn, std::string_view(protocol));
  if (!hello.ja4.empty()) writer.put(Field::tls_ja4, std::string_view(hello.ja4));
  for (const auto& name : hello_->server_names())
    writer.put(Field::tls_certificate_name, std::string_view(name));
  writer.put(Field::tls_via, starttls_ ? std::string_view("starttls") : "implicit");
  context_.emit();
}

void Conversation::on_opaque(Direction direction, Bytes octets) {
  const bool from_client = direction == Direction::to_server;
  if (!hello_) {
    // What the server says in TLS, or instead of it, has been looked at.
    if (!from_client && phase_ == Phase::inspecting) phase_ = Phase::opaque;
    return;
  }
  if (from_client ? hello_->client_progress() == tls::Progress::done
                  : hello_->server_progress() == tls::Progress::done)
    octets = {};
  const tls::Progress progress = from_client ? hello_->client(octets) : hello_->server(octets);
  if (progress == tls::Progress::need_more) return;
  // Picked up in the middle of a session there is no hello to be seen.
  const bool no_hello = connection_.midstream() && hello_->client_progress() != tls::Progress::done;
  if (from_client && progress == tls::Progress::failed && !no_hello)
    on_anomaly(contract::Anomaly::bad_client_hello);
  // What the server answers tells whether it is TLS at all.
  if (from_client && !connection_.one_sided()) return;
  if (!no_hello) emit_tls();
  hello_.reset();
  const bool server_spoke = !from_client || connection_.one_sided();
  if (server_spoke && phase_ == Phase::inspecting) phase_ = Phase::opaque;
}

void Conversation::emit_flow(std::string_view reason) {
  begin_event(EventType::flow);
  contract::EventWriter& writer = context_.writer;
  if (session_ && session_->phase() != smtp::Phase::not_smtp)
    writer.put(Field::app_proto, tls_ && !starttls_ ? std::string_view("tls") : "smtp");
  put_traffic(writer, traffic());
  std::string_view state = "new";
  switch (tcp_state()) {
    case tcp::State::opening:
      break;
    case tcp::State::established:
      state = "established";
      break;
    case tcp::State::closing:
    case tcp::State::closed:
      state = "closed";
      break;
  }
  if (stop_) state = "closed";
  writer.put(Field::flow_state, state);
  writer.put(Field::flow_reason, stop_ ? std::string_view("verdict") : reason);
  if (session_)
    writer.put_number(Field::starttls_offered,
                      static_cast<std::uint8_t>(session_->starttls_offered()));
  context_.emit();
}

void Conversation::count_drop(contract::DropReason reason) {
  ++dropped_[static_cast<std::size_t>(reason)];
}

void Conversation::emit_drops() {
  for (std::size_t i = 1; i < contract::kDropReasonCount; ++i) {
    if (!dropped_[i]) continue;
    begin_event(EventType::drop);
    context_.writer.put_number(Field::drop_reason, static_cast<std::uint8_t>(i));
    context_.writer.put_number(Field::drop_frames, std::uint64_t{dropped_[i]});
    context_.writer.put(Field::drop_action,
                        stop_ ? contract::kVerdictNames[static_cast<std::size_t>(stop_->verdict)]
                              : std::string_view("drop"));
    context_.emit();
    dropped_[i] = 0;
  }
}

void Conversation::snapshot() {
  begin_event(EventType::flow_snapshot);
  contract::EventWriter& writer = context_.writer;
  put_traffic(writer, traffic());
  static constexpr std::string_view kStates[] = {"opening", "established", "closing", "closed"};
  writer.put(Field::flow_state, kStates[static_cast<std::size_t>(tcp_state())]);
  if (session_) {
    static constexpr std::string_view kPhases[] = {"greeting", "command", "data", "bdat",
                                                   "auth",     "tls",     "tls",  "not-smtp"};
    std::string_view phase = kPhases[static_cast<std::size_t>(session_->phase())];
    if (phase_ == Phase::closing || phase_ == Phase::owing || phase_ == Phase::ended)
      phase = "stopped";
    writer.put(Field::smtp_state, phase);
  }
  if (!helo_.empty()) writer.put(Field::helo, std::string_view(helo_));
  context_.emit();
}

}  // namespace sluice::inspect
