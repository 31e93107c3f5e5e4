// What becomes of a conversation that says nothing for a while. Between commands all that is to be
// known of it goes into some hundred octets (pack); in the middle of a message its scans are made
// small (rest).
//
// A scan is not packed but begun anew with what it was given: the client's octets that stand
// gathered in it, HELO, and the envelope. So a packed flow holds no ruleset, and is judged by the
// one that is in force when it goes on, as though it had begun with it.
#include <algorithm>

#include "dataplane/inspect/conversation.h"
#include "dataplane/smtp/command.h"

namespace sluice::inspect {

namespace {

// What a transaction is known by before its message.
struct PackedTransaction {
  smtp::TransactionId id = 0;
  std::uint16_t mail_code = 0;
  std::uint16_t recipients = 0;
  std::uint16_t refusal = 0;
  bool told = false;
  bool unseen = false;
};
struct PackedCodes {
  std::uint16_t code = 0;
  std::uint16_t delivery = 0;
};
struct PackedClaim {
  smtp::ClaimedClient::Via via{};
  bool has_address = false;
  std::uint16_t port = 0;
  Address address;
};

}  // namespace

bool Conversation::packable() const {
  const auto only_envelope = [](const PmrPtr<Transaction>& t) {
    return !t->helo && !t->begun && !t->complete && !t->refused && !t->enforced &&
           t->delivery_code == 0 &&
           (!t->outcome || (t->outcome->rules.empty() && t->outcome->reason.empty()));
  };
  const bool lasts =
      phase_ == Phase::inspecting || phase_ == Phase::opaque || phase_ == Phase::passing;
  return lasts && !restart_ && !between_chunks_ && !message_ && !current_ && !smuggled_ &&
         !hello_ && !stop_ && !closing_ && held_.empty() && !probe_ && connection_.packable() &&
         (!session_ || session_->packable()) && !helo_before_ && helo_.size() < kMaxListedOctets &&
         std::all_of(transactions_.begin(), transactions_.end(), only_envelope);
}

void Conversation::drop_unread() {
  if (phase_ != Phase::opaque && phase_ != Phase::passing) return;
  drop_scan();
  connection_.drop_octets();
  if (session_) session_->drop_octets();
}

bool Conversation::shed() {
  const bool inspected = phase_ == Phase::inspecting;
  if (inspected) give_up();
  drop_unread();
  return inspected;
}

bool Conversation::pack(Packer& packer) const {
  if (!packable()) return false;
  std::optional<FlowScan::Unscanned> unscanned;
  if (scan_) {
    unscanned = scan_->unscanned();
    if (!unscanned) return false;
    if ((envelope_dropped_ || helos_scanned_ > 1) && unscanned->found) return false;
  }
  packer.put(PackedFlow{identity_.flow_id, identity_.client_is_low, identity_.client_side});
  connection_.pack(packer);
  packer.put(static_cast<const ConversationState&>(*this));
  packer.put(session_.has_value());
  if (session_) session_->pack(packer);
  packer.put_text(helo_);
  packer.put_text(login_ ? std::string_view(login_->mechanism) : std::string_view());
  packer.put_text(login_ ? std::string_view(login_->user) : std::string_view());
  packer.put(claimed_ != nullptr);
  if (claimed_) {
    packer.put(PackedClaim{claimed_->via, claimed_->address.has_value(), claimed_->port,
                           claimed_->address.value_or(Address{})});
    packer.put_text(claimed_->name);
    packer.put_text(claimed_->helo);
    packer.put_text(claimed_->login);
  }
  packer.put(server_template_ != nullptr);
  if (server_template_) packer.put(*server_template_);
  packer.put(static_cast<std::uint32_t>(transactions_.size()));
  for (const PmrPtr<Transaction>& transaction : transactions_) pack(*transaction, packer);
  packer.put_text(unscanned ? unscanned->stream : Bytes{});
  return packer.fits();
}

void Conversation::pack(const Transaction& transaction, Packer& packer) const {
  packer.put(
      PackedTransaction{transaction.id, transaction.mail_code,
                        static_cast<std::uint16_t>(transaction.recipients.size()),
                        transaction.outcome ? transaction.outcome->refusal : std::uint16_t{0},
                        transaction.told, transaction.unseen});
  packer.put_text(transaction.mail_from);
  packer.put_text(transaction.parameters);
  if (transaction.outcome && transaction.outcome->refusal != 0)
    packer.put_text(transaction.outcome->refusal_text);
  for (const Recipient& r : transaction.recipients) {
    packer.put(PackedCodes{r.code, r.delivery});
    packer.put_text(r.path);
  }
}

void Conversation::unpack_transaction(Unpacker& packed) {
  const auto head = packed.get<PackedTransaction>();
  transactions_.push_back(make_pmr<Transaction>(&memory_, head.id, &memory_));
  Transaction& transaction = *transactions_.back();
  transaction.mail_code = head.mail_code;
  transaction.told = head.told;
  transaction.unseen = head.unseen;
  transaction.mail_from = as_text(packed.get_text());
  transaction.parameters = as_text(packed.get_text());
  if (head.refusal != 0) {
    Transaction::Outcome& outcome = transaction.decided(&memory_);
    outcome.refusal = head.refusal;
    outcome.refusal_text = as_text(packed.get_text());
  }
  for (std::size_t i = 0; i < head.recipients; ++i) {
    const auto codes = packed.get<PackedCodes>();
    transaction.recipients.push_back(
        {std::pmr::string(as_text(packed.get_text()), &memory_), codes.code, codes.delivery});
  }
}

// What is packed first is needed first: braces keep the order.
Conversation::Conversation(const flow::FlowKey& key, Context& context, Unpacker& packed)
    : Conversation{[&] {
                     const auto head = packed.get<PackedFlow>();
                     return FlowIdentity{.key = key,
                                         .client_is_low = head.client_is_low,
                                         .client_side = head.client_side,
                                         .flow_id = head.flow_id};
                   }(),
                   context,
                   [&](std::pmr::memory_resource* memory) {
                     return tcp::Connection(tcp_limits(context), memory, packed);
                   }} {
  packed.get(static_cast<ConversationState&>(*this));
  if (packed.get<bool>()) session_.emplace(smtp::Limits{}, *this, &memory_, packed);
  helo_ = as_text(packed.get_text());
  const std::string_view mechanism = as_text(packed.get_text());
  const std::string_view user = as_text(packed.get_text());
  if (!mechanism.empty()) {
    login_ = make_pmr<Login>(&memory_, &memory_);
    login_->mechanism = mechanism;
    login_->user = user;
  }
  if (packed.get<bool>()) {
    claimed_ = make_pmr<Claimed>(&memory_, &memory_);
    const auto claim = packed.get<PackedClaim>();
    claimed_->via = claim.via;
    claimed_->port = claim.port;
    if (claim.has_address) claimed_->address = claim.address;
    claimed_->name = as_text(packed.get_text());
    claimed_->helo = as_text(packed.get_text());
    claimed_->login = as_text(packed.get_text());
  }
  if (packed.get<bool>())
    server_template_ = make_pmr<net::SegmentTemplate>(&memory_, packed.get<net::SegmentTemplate>());
  for (auto n = packed.get<std::uint32_t>(); n > 0; --n) unpack_transaction(packed);
  if (!tls_ && phase_ == Phase::inspecting) scan_again(packed.get_text());
}

// A new scan with what the old one was given.
void Conversation::scan_again(Bytes stream) {
  const auto mailbox_of = [](std::string_view argument) {
    return smtp::parse_path(argument, "TO").mailbox;
  };
  std::pmr::string argument(&memory_);
  if (helos_scanned_ > 0 && wanted(scan::Buffer::helo))
    scan().whole(scan::Buffer::helo, as_bytes(helo_));
  for (const PmrPtr<Transaction>& t : transactions_) {
    if (!t->mail_from.empty()) {
      argument = "TO:";
      argument += t->mail_from;
      scan_sender(mailbox_of(argument));
    }
    for (const Recipient& r : t->recipients) {
      argument = "TO:";
      argument += r.path;
      scan_recipient(mailbox_of(argument));
    }
  }
  if (wanted(scan::Buffer::stream)) scan().feed(scan::Buffer::stream, stream);
}

void Conversation::rest() {
  if (scan_) scan_->compress();
  community_id_.clear();
  community_id_.shrink_to_fit();
}

}  // namespace sluice::inspect
