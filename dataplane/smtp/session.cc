#include "dataplane/smtp/session.h"

#include <algorithm>
#include <new>
#include <utility>

#include "dataplane/base/prefetch.h"
#include "dataplane/smtp/session_impl.h"

namespace sluice::smtp {

using contract::Anomaly;

namespace {
constexpr std::size_t kUsualTransactions = 4;
constexpr std::uint32_t kPackedCommands = 8;
constexpr std::size_t kAuthsKept = 8;
}  // namespace

Session::Impl::Impl(const Limits& l, SessionSink& s, std::pmr::memory_resource* m)
    : limits(l), sink(s), memory(m), transactions(m) {
  limits.command_line = std::max(limits.command_line, 512u);  // RFC 5321 4.5.3.1.4
  limits.reply_line = std::max(limits.reply_line, 512u);
  limits.pending_commands = std::max(limits.pending_commands, 8u);
  limits.transactions = std::max(limits.transactions, 4u);
  limits.bdat_chunk = std::min(limits.bdat_chunk, std::uint64_t{INT64_MAX});
  transactions.reserve(kUsualTransactions);
}

Session::Impl::~Impl() { drop_octets(); }

void Session::Impl::drop_octets() {
  client_line.release(memory);
  server_line.release(memory);
  pending.release(memory);
  drop_ambiguous();
  drop_readings();
  drop_auths();
  drop_tolerated();
  drop_between();
  drop_passed();
  ProxyPreamble::destroy(std::exchange(preamble, nullptr), memory);
  transactions.clear();
  message_open = false;
}

// --- transactions --------------------------------------------------------------------------------

Transaction* Session::Impl::find(TransactionId tx) {
  if (tx == 0) return nullptr;
  const auto it =
      std::find_if(transactions.begin(), transactions.end(), [tx](auto& t) { return t.id == tx; });
  return it == transactions.end() ? nullptr : &*it;
}

TransactionId Session::Impl::open_transaction() {
  if (one_sided) {
    // No reply will end the ones before.
    end_transactions_up_to(last_tx);
  } else if (transactions.size() >= limits.transactions) {
    raise(Anomaly::too_many);
    // The oldest, of those that the server has refused if there are any.
    const auto refused = std::find_if(transactions.begin(), transactions.end(),
                                      [](const Transaction& t) { return t.mail_refused; });
    end_transaction(refused != transactions.end() ? refused->id : transactions.front().id, {});
  }
  const TransactionId tx = ++last_tx;
  try {
    transactions.push_back({.id = tx});
  } catch (const std::bad_alloc&) {
    // At the memory's bound the oldest makes room, as at the limit.
    raise(Anomaly::too_many);
    if (!transactions.empty()) {
      end_transaction(transactions.front().id, {});
      transactions.push_back({.id = tx});
    }
  }
  current_tx = tx;
  return tx;
}

TransactionId Session::Impl::current_or_new() {
  return current_tx != 0 ? current_tx : open_transaction();
}

void Session::Impl::end_transaction(TransactionId tx, const Reply& reply) {
  Transaction* transaction = find(tx);
  if (!transaction || tx == outer_tx) return;
  if (message_open && message_tx == tx) abort_message();
  Reply last = reply;
  if (last.code == 0) last.code = transaction->refused;
  transactions.erase(transactions.begin() + (transaction - transactions.data()));
  if (current_tx == tx) current_tx = 0;
  sink.on_transaction_end(tx, last);
}

// Those of a number up to `last`: the ones that the server met before the command in hand.
void Session::Impl::end_transactions_up_to(TransactionId last, TransactionId but) {
  for (std::size_t i = 0; i < transactions.size();) {
    const Transaction& t = transactions[i];
    const bool later = reordered ? !t.met : t.id > last;
    // Content that is being read belongs to a DATA sent after the command that ends the others.
    const bool read = message_open && message_via == Via::data && t.id == message_tx;
    if (later || read || t.id == outer_tx || t.id == but)
      ++i;
    else
      end_transaction(t.id, {});
  }
}

void Session::Impl::begin_message(TransactionId tx, Via via) {
  if (stopped) return;
  if (message_open) abort_message();
  drop_passed();
  // The transaction that the client meant may have been reset meanwhile.
  if (!find(tx)) tx = open_transaction();
  message_open = true;
  message_gap = std::exchange(chunk_gap, false) && via == Via::bdat;
  behind_gap = false;
  other_ends = 0;
  end_judged = false;
  message_tx = tx;
  message_via = via;
  if (outer_tx != 0) return;
  sink.on_message_begin(tx, via);
  if (message_gap) sink.on_message_gap(tx);
}

// Asks the sink; the message is over unless it says stop.
MessageVerdict Session::Impl::end_message(MessageEnd end) {
  const MessageVerdict verdict =
      outer_tx != 0 ? MessageVerdict::pass : sink.on_message_end(message_tx, end);
  if (end == MessageEnd::complete && verdict == MessageVerdict::stop) {
    stopped = true;
    message_open = false;  // its end was told; what the server still answers changes nothing
    return verdict;
  }
  message_open = false;
  drop_ambiguous();
  if (Transaction* transaction = find(message_tx)) transaction->sent = end == MessageEnd::complete;
  if (current_tx == message_tx) current_tx = 0;
  return MessageVerdict::pass;
}

void Session::Impl::abort_message() {
  const TransactionId current = current_tx;
  const bool unseen = message_gap || (message_via == Via::bdat && surplus && !one_sided);
  end_message(unseen ? MessageEnd::unseen : MessageEnd::aborted);
  current_tx = current;
}

// --- other readings, AUTH ------------------------------------------------------------------------

void Session::Impl::drop_ambiguous() {
  SecondReading::destroy(ambiguous, memory);
  ambiguous = nullptr;
}

void Session::Impl::drop_tolerated() {
  SecondReading::destroy(tolerated, memory);
  tolerated = nullptr;
}

void Session::Impl::drop_between() {
  SecondReading::destroy(between, memory);
  between = nullptr;
}

void Session::Impl::drop_passed() {
  SecondReading::destroy(passed, memory);
  passed = nullptr;
}

// Commands were found behind an ambiguous end, and the server has said nothing yet: whether it took
// them, its replies will tell by their number.
void Session::Impl::pass_by_ambiguous(Bytes rest) {
  drop_passed();
  if (!ambiguous || ambiguous->reason != SecondReading::Reason::ambiguous || ambiguous->lost ||
      !ambiguous->reader.found_envelope() || one_sided || outer_tx != 0)
    return;
  passed = std::exchange(ambiguous, nullptr);
  passed->keep(rest, limits.early_octets, memory);
}

SecondReading* Session::Impl::create_reading(SecondReading::Reason reason, TransactionId tx) {
  SecondReading* const reading = SecondReading::create(reason, tx, memory);
  if (reading && read_again_octets >= kReadAgain) reading->lose(memory);
  return reading;
}

// What is to be read again.
Bytes Session::Impl::kept_by(const SecondReading& reading) {
  read_again_octets = std::min(read_again_octets + reading.size, kReadAgain);
  return reading.kept();
}

void Session::Impl::drop_readings() {
  while (readings) {
    SecondReading* next = readings->next;
    SecondReading::destroy(readings, memory);
    readings = next;
  }
}

void Session::Impl::drop_auths() {
  while (auths) {
    AuthExchange* next = auths->next;
    wipe(auths, sizeof *auths);
    memory->deallocate(auths, sizeof *auths, alignof(AuthExchange));
    auths = next;
  }
}

// The newest exchange, or nullptr when there are too many.
AuthExchange* Session::Impl::push_auth() {
  std::size_t count = 0;
  AuthExchange** last = &auths;
  while (*last) {
    last = &(*last)->next;
    ++count;
  }
  if (count >= kAuthsKept) return nullptr;
  void* place = try_allocate(memory, sizeof(AuthExchange), alignof(AuthExchange));
  if (place) *last = new (place) AuthExchange();
  return *last;
}

void Session::Impl::finish_auth(std::uint16_t code) {
  AuthExchange* exchange = auths;
  if (!exchange) return;
  auths = exchange->next;
  sink.on_auth(exchange->mechanism(), exchange->user(), code);
  wipe(exchange, sizeof *exchange);
  memory->deallocate(exchange, sizeof *exchange, alignof(AuthExchange));
}

// --- ends, gaps, modes ---------------------------------------------------------------------------

void Session::Impl::finish() {
  if (state == ClientState::tls_first) decide_tls(true);
  while (auths) finish_auth(0);
  while (!transactions.empty()) end_transaction(transactions.front().id, {});
  if (message_open) abort_message();
  if (greeting_seen && !commanded && !midstream && !one_sided && state != ClientState::tls)
    raise(Anomaly::scan_probe);
  pending.release(memory);
}

void Session::Impl::set_one_sided() {
  if (one_sided) return;
  if (state == ClientState::tls_first) decide_tls(true);
  drop_passed();
  one_sided = true;
  surplus = true;
  retired = 0;
  // Nothing will be decided by replies: what was expected is taken to be so.
  while (!pending.empty()) {
    const Pending entry = pending.pop();
    if (entry.slot == Slot::starttls) continue;
    answer(entry, {});
  }
  pending.release(memory);
  SecondReading* undecided =
      readings && readings->reason == SecondReading::Reason::tls_wait ? take_reading() : nullptr;
  drop_readings();
  if (state == ClientState::tls_wait) {
    state = ClientState::tls_probe;
    if (undecided) feed(undecided->kept());
  }
  SecondReading::destroy(undecided, memory);
}

void Session::Impl::set_two_sided() {
  if (!one_sided) return;
  one_sided = false;
  // Replies may come to commands from before; the greeting has long gone by.
  surplus = true;
  replies_lost = true;
  greeting_seen = true;
  if (state == ClientState::tls_probe) state = ClientState::command;
}

void Session::Impl::client_gap(std::uint64_t size) {
  if (size == 0) return;
  surplus = true;
  client_spoke = true;
  drop_tolerated();
  if (between) between->lose(memory);
  if (state == ClientState::tls_first) decide_tls(true);
  for (SecondReading* r = readings; r; r = r->next)
    if (!r->closed) r->lose(memory);
  switch (state) {
    case ClientState::start:
    case ClientState::preamble:
    case ClientState::command:
    case ClientState::auth_line:
    case ClientState::tls_probe:
      client_line.doubt_line(memory);
      chunk_gap = !message_open;
      message_gap = message_open;
      state = ClientState::command;
      break;
    case ClientState::data_wait:
      begin_early(SecondReading::Reason::early);
      begin_data(pending.empty() ? current_or_new() : pending.back().tx);
      state = ClientState::data_early;
      if (SecondReading* open = open_reading()) open->lose(memory);
      [[fallthrough]];
    case ClientState::data_early:
    case ClientState::data:
      message_gap = behind_gap = true;
      end_judged = false;
      drop_ambiguous();
      reader.skip();
      break;
    case ClientState::chunk: {
      message_gap = true;
      const std::uint64_t inside = std::min(size, chunk_left);
      chunk_left -= inside;
      if (chunk_left > 0) break;
      state = ClientState::command;
      if (chunk_last) end_of_chunks();
      if (size > inside) client_line.doubt_line(memory);
      break;
    }
    case ClientState::midstream:
      client_line.release(memory);  // what comes is judged by itself
      break;
    case ClientState::tls_wait:
    case ClientState::tls_first:
    case ClientState::tls:
      break;
  }
}

void Session::Impl::server_gap() {
  end_cut_reply();
  if (state == ClientState::tls) return;
  server_line.doubt_line(memory);
  drop_passed();
  in_reply = false;
  surplus = true;
  replies_lost = true;
  greeting_seen = true;
  retired = 0;
  // Which commands were answered in the gap is not known. All but an undecided DATA are given up;
  // a reply that still comes to one of them is ignored (`surplus`).
  std::uint32_t kept = 0;
  while (pending.size() > kept) {
    const Pending entry = pending.at(kept);
    if (entry.slot == Slot::data) break;
    pending.pop();
    if (entry.slot == Slot::starttls) {
      if (state != ClientState::tls_wait) continue;
      SecondReading* reading = take_reading();
      state = ClientState::tls_probe;
      if (reading) feed(reading->kept());
      SecondReading::destroy(reading, memory);
      break;
    }
    answer(entry, {});
  }
}

std::uint32_t Session::Impl::replies_owed() const {
  std::uint32_t owed = pending.size() + retired;
  if (lmtp) {
    for (std::uint32_t i = 0; i < pending.size(); ++i) {
      const Pending& entry = pending.at(i);
      if (entry.slot != Slot::end_of_data && entry.slot != Slot::bdat_last) continue;
      for (const Transaction& t : transactions)
        if (t.id == entry.tx && t.accepted > entry.detail + 1)
          owed += t.accepted - entry.detail - 1;
    }
  }
  if (stopped_in_queue && !pending.empty()) --owed;  // the last entry
  if (!greeting_seen && !one_sided) ++owed;
  return owed;
}

std::size_t Session::Impl::memory_used() const {
  std::size_t used = sizeof(Impl) + client_line.memory_used() + server_line.memory_used() +
                     pending.memory_used() + transactions.capacity() * sizeof(Transaction);
  for (const AuthExchange* a = auths; a; a = a->next) used += sizeof *a;
  const auto size = [](const SecondReading& r) { return sizeof r + r.capacity; };
  for (const SecondReading* r = readings; r; r = r->next) used += size(*r);
  if (ambiguous) used += size(*ambiguous);
  if (tolerated) used += size(*tolerated);
  if (between) used += size(*between);
  if (passed) used += size(*passed);
  if (preamble) used += sizeof *preamble;
  return used;
}

// --- Session -------------------------------------------------------------------------------------

Session::Session(const Limits& limits, SessionSink& sink, std::pmr::memory_resource* memory)
    : impl_(nullptr), memory_(memory) {
  void* place = memory->allocate(sizeof(Impl), alignof(Impl));
  try {
    impl_ = new (place) Impl(limits, sink, memory);
  } catch (...) {
    memory->deallocate(place, sizeof(Impl), alignof(Impl));
    throw;
  }
}

Session::Session(const Limits& limits, SessionSink& sink, std::pmr::memory_resource* memory,
                 Unpacker& packed)
    : Session(limits, sink, memory) {
  packed.get(static_cast<SessionState&>(*impl_));
  for (auto n = packed.get<std::uint32_t>(); n > 0; --n)
    impl_->pending.push(packed.get<Pending>(), memory);
  for (auto n = packed.get<std::uint32_t>(); n > 0; --n)
    impl_->transactions.push_back(packed.get<Transaction>());
}

bool Session::packable() const {
  const Impl& s = *impl_;
  const auto idle = [](const LineBuffer& line) {
    return line.pending() == 0 && !line.skipping() && !line.in_doubt();
  };
  return idle(s.client_line) && idle(s.server_line) && !s.auths && !s.readings && !s.ambiguous &&
         !s.tolerated && !s.between && !s.preamble && !s.message_open && !s.stopped &&
         s.pending.size() <= kPackedCommands && s.transactions.size() <= kUsualTransactions;
}

void Session::pack(Packer& packer) const {
  const Impl& s = *impl_;
  packer.put(static_cast<const SessionState&>(s));
  packer.put(s.pending.size());
  for (std::uint32_t i = 0; i < s.pending.size(); ++i) packer.put(s.pending.at(i));
  packer.put(static_cast<std::uint32_t>(s.transactions.size()));
  for (const Transaction& transaction : s.transactions) packer.put(transaction);
}

Session::~Session() {
  impl_->~Impl();
  memory_->deallocate(impl_, sizeof(Impl), alignof(Impl));
}

std::size_t Session::client(Bytes octets, std::uint8_t left_out) {
  if (impl_->stopped) return 0;
  impl_->left_out = left_out;
  const std::size_t accepted = impl_->feed(octets);
  impl_->left_out = 0;
  return accepted;
}
void Session::server(Bytes octets) { impl_->server(octets); }
void Session::drop_octets() { impl_->drop_octets(); }
void Session::end_server() { impl_->server_ended = true; }
bool Session::content_may_pass() const {
  const Impl& s = *impl_;
  const bool one_reading =
      !s.readings && !s.ambiguous && !s.tolerated && !s.between && s.doubtful == 0;
  return s.state == ClientState::data && one_reading && s.reader.between_ends();
}
void Session::content_passed(const std::uint8_t (&last)[2]) {
  impl_->end_judged = false;
  impl_->reader.go_on_behind(last);
}
void Session::client_gap(std::uint64_t size) { impl_->client_gap(size); }
void Session::server_gap(std::uint64_t size) {
  if (size > 0 && impl_->state != ClientState::tls) impl_->server_gap();
}
void Session::finish() { impl_->finish(); }
void Session::set_one_sided(bool one_sided) {
  if (one_sided)
    impl_->set_one_sided();
  else
    impl_->set_two_sided();
}
void Session::set_midstream() {
  impl_->midstream = impl_->chunk_gap = true;
  impl_->greeting_seen = true;
  impl_->surplus = true;
  if (impl_->state == ClientState::start) impl_->state = ClientState::midstream;
}

Phase Session::phase() const {
  if (impl_->not_smtp) return Phase::not_smtp;
  switch (impl_->state) {
    case ClientState::start:
    case ClientState::preamble:
      return impl_->greeting_seen ? Phase::command : Phase::greeting;
    case ClientState::midstream:
    case ClientState::command:
    case ClientState::data_wait:
      return Phase::command;
    case ClientState::auth_line:
      return Phase::auth;
    case ClientState::data_early:
    case ClientState::data:
      return Phase::data;
    case ClientState::chunk:
      return Phase::bdat;
    case ClientState::tls_wait:
    case ClientState::tls_first:
    case ClientState::tls_probe:
      return Phase::tls_wait;
    case ClientState::tls:
      return Phase::tls;
  }
  return Phase::not_smtp;
}

bool Session::starttls_offered() const { return impl_->capabilities.starttls; }
bool Session::chunking_offered() const { return impl_->capabilities.chunking; }
bool Session::pipelining_offered() const { return impl_->capabilities.pipelining; }
bool Session::enhanced_status_codes_offered() const {
  return impl_->capabilities.enhanced_status_codes;
}
const std::uint8_t* Session::position() const { return impl_->position; }
std::uint32_t Session::replies_owed() const { return impl_->replies_owed(); }
std::size_t Session::memory_used() const { return sizeof *this + impl_->memory_used(); }

void Session::prefetch() const { prefetch_object(*impl_); }

}  // namespace sluice::smtp
