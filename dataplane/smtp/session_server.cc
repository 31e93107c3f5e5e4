// The server's replies, and to which commands they belong.
#include <algorithm>
#include <utility>

#include "dataplane/smtp/session_impl.h"

namespace sluice::smtp {

using contract::Anomaly;
using Reason = SecondReading::Reason;

namespace {

constexpr std::uint32_t kNoRecipient = UINT32_MAX;

constexpr bool is_tls_record(std::uint8_t first) { return first >= 0x14 && first <= 0x17; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_positive(std::uint16_t code) { return code >= 200 && code < 300; }
constexpr bool is_negative(std::uint16_t code) { return code >= 400; }
constexpr bool is_transient(std::uint16_t code) { return code >= 400 && code < 500 && code != 421; }
// Of the message, not of the command's syntax (RFC 5321 4.2.3).
constexpr bool is_of_mail(std::uint16_t code) { return code >= 550 && code <= 554; }
// Of the command (RFC 5321 4.2.2), not of what it carries: a transaction that is open stays so.
constexpr bool is_out_of_place(std::uint16_t code) { return code >= 500 && code <= 503; }

bool is_coded(std::string_view text) {
  return text.size() >= 3 && text[0] >= '1' && text[0] <= '5' && is_digit(text[1]) &&
         is_digit(text[2]) &&
         (text.size() == 3 || text[3] == '-' || text[3] == ' ' || text[3] == '\t');
}

}  // namespace

void Session::Impl::server(Bytes octets) {
  while (!octets.empty() && !server_ended) {
    if (state == ClientState::tls_first) decide_tls(is_tls_record(octets.front()));
    if (!greeting_seen && server_line.pending() == 0 && is_tls_record(octets.front()) &&
        state != ClientState::tls) {
      begin_tls(false);  // the client's octets are not seen
    }
    if (state == ClientState::tls) {
      if (!server_tls_seen) {
        server_tls_seen = true;
        if (!is_tls_record(octets.front()))
          raise(starttls ? Anomaly::starttls_reply_injection : Anomaly::tls_on_smtp_port);
      }
      sink.on_opaque(Direction::to_client, octets);
      return;
    }
    const LineBuffer::Line line = server_line.take(octets, limits.reply_line, memory);
    const bool skipped = server_line.skipping() || (server_line.in_doubt() && !is_coded(line.text));
    if (line.overlong && !skipped) raise(Anomaly::long_reply);
    if (line.complete) {
      if (!skipped) reply_line(line.text);
      server_line.release(memory);
    }
    octets = octets.subspan(line.consumed);
  }
  if (between && between->closed) drop_between();
}

// A line whose end is missing has said what it answers, unless more lines follow.
void Session::Impl::end_cut_reply() {
  std::string_view line = as_text(server_line.kept());
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (server_line.skipping() || line.size() < 4 || line[3] == '-' || !is_coded(line)) return;
  reply_line(line);
}

// RFC 5321 4.2: three digits, then "-" when more lines follow, else a blank and text or nothing.
void Session::Impl::reply_line(std::string_view text) {
  if (!is_coded(text)) {
    // In the middle of a reply it is a line that lost its code; alone it is no reply at all.
    raise(greeting_seen || in_reply ? Anomaly::bad_reply : Anomaly::not_smtp);
    return;
  }
  const auto code =
      static_cast<std::uint16_t>((text[0] - '0') * 100 + (text[1] - '0') * 10 + (text[2] - '0'));
  const bool last = text.size() == 3 || text[3] != '-';
  const bool first = !in_reply;
  in_reply = !last;
  const std::string_view words = text.substr(std::min<std::size_t>(text.size(), 4));
  const bool greeted = greeting_seen && retired == 0 && !pending.empty() &&
                       (pending.front().slot == Slot::ehlo || pending.front().slot == Slot::lhlo);
  if (greeted && code == 250) capability(words, first, last);
  if (last) complete_reply({.code = code, .text = words});
}

// One line of the reply to EHLO (RFC 5321 4.1.1.1); the first names the server.
void Session::Impl::capability(std::string_view text, bool first, bool last) {
  if (first) new_capabilities = {};
  const std::string_view line = trim_blanks(text);
  const std::string_view word = line.substr(0, blank_in(line));
  // A greeting line that is a keyword and nothing else: a server that leaves its name out.
  if (first && !(last && word == line)) return;
  if (equal_ignoring_case(word, "STARTTLS")) new_capabilities.starttls = true;
  if (equal_ignoring_case(word, "CHUNKING")) new_capabilities.chunking = true;
  if (equal_ignoring_case(word, "PIPELINING")) new_capabilities.pipelining = true;
  if (equal_ignoring_case(word, "ENHANCEDSTATUSCODES"))
    new_capabilities.enhanced_status_codes = true;
}

// Behind a gap, what the server accepts may be a chunk whose BDAT was lost. What stands there of a
// line and is the beginning of no command was the end of that chunk.
void Session::Impl::doubt_unfinished_line() {
  if (!surplus || state != ClientState::command || client_line.pending() == 0) return;
  if (!may_begin_command(as_text(client_line.kept()))) client_line.doubt_line(memory);
}

void Session::Impl::complete_reply(const Reply& reply) {
  sink.on_reply(reply);
  if (is_positive(reply.code)) doubt_unfinished_line();
  if (!greeting_seen) {
    greeting_seen = true;
    if (one_sided) return;
    if (client_spoke && !not_tls) raise(Anomaly::early_talker);
    return;
  }
  if (proxy_undecided) {
    proxy_undecided = false;
    // A server that knows no PROXY: this is its word on that line.
    if (reply.code >= 500 && reply.code <= 503) {
      sink.on_claimed_client({.via = ClaimedClient::Via::proxy}, false);
      return;
    }
  }
  if (retired > 0) {  // the oldest commands' entries are gone, but their replies come first
    --retired;
    return;
  }
  match(reply);
}

bool Session::Impl::later(Slot slot) const {
  for (std::uint32_t i = 0; i < pending.size(); ++i)
    if (pending.at(i).slot == slot) return true;
  return false;
}

// Gives the reply to the oldest command that it can belong to. 354 answers DATA alone, 334 AUTH
// alone and 221 QUIT; with them the matching finds its step again after a reply too many or too
// few.
void Session::Impl::match(const Reply& reply) {
  if (answers_passed(reply)) read_again(std::exchange(passed, nullptr));
  while (!pending.empty()) {
    const Pending front = pending.front();
    if (reply.code == 221 && front.slot != Slot::quit && later(Slot::quit)) {
      answer(pending.pop(), {});
      continue;
    }
    if (reply.code == 354 && front.slot != Slot::data && front.slot != Slot::data_between &&
        (front.slot != Slot::perhaps_data || later(Slot::data))) {
      if (!later(Slot::data) && !later(Slot::data_between) && !later(Slot::perhaps_data)) break;
      answer(pending.pop(), {});
      continue;
    }
    if (reply.code == 334) {
      if (front.slot == Slot::auth) {
        challenge();
        return;
      }
      if (!later(Slot::auth)) break;
      answer(pending.pop(), {});
      continue;
    }
    // What refuses a message whose content came is no word on DATA when that was missed.
    if (front.slot == Slot::data && reply.code != 354 &&
        (!is_negative(reply.code) || replies_lost)) {
      if (pending.size() > 1 && pending.at(1).slot == Slot::end_of_data &&
          pending.at(1).tx == front.tx) {
        answer(pending.pop(), {});  // its 354 was missed
        continue;
      }
    }
    if (front.slot == Slot::data && !is_negative(reply.code) && reply.code != 354) {
      if (!replies_lost) {
        raise(Anomaly::unsolicited_reply);
        return;
      }
      // Its refusal was missed: the server answers the next command already.
      pending.pop();
      answer_data(front, {.code = 503, .text = {}});
      continue;
    }
    if (front.slot == Slot::end_of_data && is_positive(reply.code) && pending.size() > 1) {
      // Refused in its middle and not accepted at its end: that was its reply.
      const Transaction* transaction = find(front.tx);
      if (transaction && transaction->refused != 0) {
        answer(pending.pop(), {});
        continue;
      }
    }
    if (front.slot == Slot::end_of_data || front.slot == Slot::bdat_last) {
      // RFC 2033 4.2: LMTP answers for each accepted recipient.
      const Transaction* transaction = find(front.tx);
      if (lmtp && transaction && front.detail + 1 < transaction->accepted) {
        sink.on_recipient_reply(front.tx, pending.front().detail++, reply);
        return;
      }
      if (lmtp && transaction && transaction->accepted > 0)
        sink.on_recipient_reply(front.tx, front.detail, reply);
    }
    pending.pop();
    if (passed && passed->answered)
      drop_passed();
    else if (passed && front.slot == Slot::end_of_data && front.tx == passed->tx)
      passed->answered = true;
    if (pending.empty()) {
      reordered = false;
      if (pending.memory_used() > 0) pending.release(memory);
    }
    if (front.slot == Slot::data) replies_lost = false;
    answer(front, reply);
    return;
  }
  unmatched(reply);
}

// The server has answered to the last message and says more than it was asked for: it took the
// commands behind an earlier end of it (SMTP smuggling).
bool Session::Impl::answers_passed(const Reply& reply) const {
  if (!passed || !passed->answered || passed->lost || message_open || stopped) return false;
  if (!is_positive(reply.code) && reply.code != 354) return false;
  if (pending.empty()) return state == ClientState::command && client_line.pending() == 0;
  return pending.size() == 1 && pending.at(0).slot == Slot::quit && reply.code != 221;
}

// Something was DATA to the server that was none to us, and content comes now, whatever we thought.
// What came behind it in the same flight was content too (behind a verb that we do not know a
// second reading has scanned it), and is lost to the main one.
void Session::Impl::begin_unknown_data(const Reply& reply) {
  const bool other = !pending.empty() && pending.front().slot == Slot::other;
  const bool missed = pending.size() > (other ? 1 : 0) || client_line.pending() > 0;
  if (!other && !surplus) raise(Anomaly::unsolicited_reply);
  const TransactionId tx = current_or_new();
  forget_commands();
  begin_data(tx);
  if (missed) {
    message_gap = true;
    reader.skip();
  }
  state = ClientState::data;
  sink.on_data_reply(message_tx, reply);
  surplus = false;
}

// What was read as commands was none: what their replies would have decided is decided by none.
void Session::Impl::forget_commands() {
  drop_passed();
  drop_tolerated();
  drop_between();
  drop_readings();
  while (auths) finish_auth(0);
  pending.release(memory);
  reordered = false;
  client_line.release(memory);
}

// DATA was sent while chunks were. A server that takes it has refused them: what came behind it was
// content.
void Session::Impl::answer_data_between(const Pending& entry, const Reply& reply) {
  if (reply.code != 354) {
    // At a bound it is given up while a line is read: with that line, however it was cut.
    if (between) between->closed = true;
    return;
  }
  SecondReading* reading = std::exchange(between, nullptr);
  taken_into_open(entry.tx);
  forget_commands();
  if (message_open) abort_message();
  begin_data(entry.tx);
  state = ClientState::data;
  sink.on_data_reply(message_tx, reply);
  surplus = false;
  if (reading && !reading->lost && !reading->closed) {
    feed(kept_by(*reading));
  } else {
    message_gap = true;
    reader.skip();
  }
  SecondReading::destroy(reading, memory);
}

// Code 0: not known, taken for the usual.
void Session::Impl::answer(const Pending& entry, const Reply& reply) {
  const bool good = !is_negative(reply.code);
  if (concerns_transaction(entry.slot))
    if (Transaction* transaction = find(entry.tx)) transaction->met = true;
  switch (entry.slot) {
    case Slot::helo:
    case Slot::ehlo:
    case Slot::lhlo:
      // RFC 5321 4.1.4: accepted in mid-session it acts as RSET; refused it changes nothing.
      if (reply.code == 0) break;
      sink.on_helo_reply(good);
      if (!good) break;
      end_transactions_up_to(entry.detail);
      server_tx = 0;
      capabilities = entry.slot == Slot::helo ? Capabilities{} : new_capabilities;
      capabilities_known = true;
      lmtp = entry.slot == Slot::lhlo;
      break;
    case Slot::xclient:
    case Slot::xforward:
      if (!good)
        sink.on_claimed_client({.via = entry.slot == Slot::xclient ? ClaimedClient::Via::xclient
                                                                   : ClaimedClient::Via::xforward},
                               false);
      if (entry.slot == Slot::xforward) break;
      [[fallthrough]];
    case Slot::rset:
    case Slot::quit:
      if (good) {
        end_transactions_up_to(entry.detail);
        server_tx = 0;
      } else if (entry.slot == Slot::rset && current_tx == 0 && find(entry.tx)) {
        current_tx = entry.tx;
      }
      break;
    case Slot::mail:
      answer_mail(entry, reply);
      break;
    case Slot::rcpt:
      if (reply.code == 0) break;
      if (Transaction* transaction = find(entry.tx)) {
        const bool taken = is_positive(reply.code);
        const std::uint32_t index = entry.detail + (taken ? taken_into_open(entry.tx) : 0);
        transaction = find(entry.tx);
        if (taken) ++transaction->accepted;
        if (index < limits.recipients) sink.on_envelope_reply(entry.tx, index, reply);
      }
      break;
    case Slot::data:
      answer_data(entry, reply);
      break;
    case Slot::data_between:
    case Slot::perhaps_data:
      answer_data_between(entry, reply);
      break;
    case Slot::bdat:
    case Slot::bdat_last:
      answer_chunk(entry, reply);
      break;
    case Slot::end_of_data:
      end_transaction(entry.tx, reply);
      server_tx = 0;
      break;
    case Slot::bad_bdat:
      answer_tolerated(entry, reply);
      break;
    case Slot::other:
      break;
    case Slot::auth:
      if (entry.kept && auths && is_negative(reply.code)) {
        // Refused before it asked for them: the lines behind it were commands.
        for (; auths->early_responses > 0; --auths->early_responses)
          if (!pending.push_front({}, memory)) break;
      }
      if (entry.kept) finish_auth(reply.code);
      if (state == ClientState::auth_line) state = ClientState::command;
      break;
    case Slot::starttls:
      answer_starttls(reply);
      break;
  }
}

void Session::Impl::answer_mail(const Pending& entry, const Reply& reply) {
  if (!is_negative(reply.code)) server_tx = entry.tx;
  if (reply.code == 0 || !find(entry.tx)) return;
  sink.on_envelope_reply(entry.tx, kNoRecipient, reply);
  if (!is_negative(reply.code)) {
    // A server that takes a second MAIL begins anew.
    end_transactions_up_to(entry.tx - 1, entry.tx);
    return;
  }
  Transaction* refused = find(entry.tx);
  refused->refused = reply.code;
  refused->mail_refused = true;
  // Refused because another transaction is open: that one goes on.
  if (!find(server_tx)) return;
  if (refused->recipients > 0 || refused->sent || (message_open && message_tx == entry.tx))
    taken_into_open(entry.tx);  // with what the client has said meanwhile
  else if (current_tx == entry.tx)
    current_tx = server_tx;
}

// The server has taken a command of `tx` into the transaction that is open to it, which is another:
// its sender and recipients are those of `tx`. Returns how many recipients that puts in front.
std::uint32_t Session::Impl::taken_into_open(TransactionId tx) {
  const Transaction* open = find(server_tx);
  if (!open || server_tx == tx || open->sent) return 0;
  const std::uint32_t recipients = open->recipients;
  if (!adopt_envelope(server_tx, tx)) return 0;
  server_tx = tx;
  return recipients;
}

bool Session::Impl::adopt_envelope(TransactionId from, TransactionId by) {
  const Transaction* source = find(from);
  Transaction* target = find(by);
  if (!source || !target || from == outer_tx || (message_open && message_tx == from)) return false;
  const std::uint32_t recipients = source->recipients;
  target->recipients += recipients;
  target->accepted += source->accepted;
  target->has_mail = true;
  if (target->mail_refused) target->refused = 0;
  target->mail_refused = false;
  for (std::uint32_t i = 0; i < pending.size(); ++i) {
    Pending& entry = pending.at(i);
    if (entry.slot == Slot::rcpt && entry.tx == by) entry.detail += recipients;
    if (entry.tx == from) entry.tx = by;
  }
  if (current_tx == from) current_tx = by;
  transactions.erase(transactions.begin() + (source - transactions.data()));
  sink.on_envelope_adopted(from, by);
  return true;
}

void Session::Impl::answer_data(const Pending& entry, const Reply& reply) {
  const bool waiting =
      pending.empty() && (state == ClientState::data_wait || state == ClientState::data_early);
  SecondReading* reading = entry.kept ? take_reading() : nullptr;
  const bool beside = between && between->reason == Reason::early && between->tx == entry.tx;
  if (beside) reading = std::exchange(between, nullptr);
  if (reply.code != 0) sink.on_data_reply(entry.tx, reply);
  if (!is_negative(reply.code)) {
    SecondReading::destroy(reading, memory);
    if (reply.code == 354) {
      surplus = false;
      taken_into_open(entry.tx);
      // An earlier refusal (of a DATA before its RCPT, say) is not this message's.
      if (Transaction* transaction = find(entry.tx)) transaction->refused = 0;
    }
    if (!waiting) return;
    begin_data(entry.tx);
    state = ClientState::data;
    return;
  }
  refuse(entry.tx, reply.code);
  if (beside) {
    if (message_open) abort_message();
    forget_commands();
    state = ClientState::command;
    current_tx = find(entry.tx) ? entry.tx : 0;
    if (reading->lost) client_line.skip_line(memory);
    feed(kept_by(*reading));
    SecondReading::destroy(reading, memory);
    return;
  }
  if (waiting) {
    const bool early = state == ClientState::data_early;
    if (early && message_open && message_via == Via::data) abort_message();
    state = ClientState::command;
    if (find(entry.tx)) current_tx = entry.tx;
    if (early && (!reading || reading->lost)) client_line.skip_line(memory);
  }
  if (reading) read_again(reading);
}

void Session::Impl::answer_chunk(const Pending& entry, const Reply& reply) {
  SecondReading* reading = entry.kept ? take_reading() : nullptr;
  // The reading is kept where CHUNKING was not offered: a server that refuses the command there
  // takes the chunk for commands. Where it was, it swallows it (RFC 3030 2).
  const bool commands =
      reading && is_negative(reply.code) && (!capabilities.chunking || is_out_of_place(reply.code));
  if (is_positive(reply.code)) taken_into_open(entry.tx);
  if (entry.slot == Slot::bdat_last && !commands && !is_out_of_place(reply.code)) {
    SecondReading::destroy(reading, memory);
    end_transaction(entry.tx, reply);
    server_tx = 0;
    return;
  }
  if (reply.code != 0) sink.on_data_reply(entry.tx, reply);
  if (is_negative(reply.code)) refuse(entry.tx, reply.code);
  // The server has begun nothing with it.
  const bool over = commands || (is_out_of_place(reply.code) && state != ClientState::chunk);
  if (over && message_open && message_tx == entry.tx && message_via == Via::bdat) abort_message();
  if (!commands) {
    SecondReading::destroy(reading, memory);
    return;
  }
  if (!reading->closed) state = ClientState::command;
  if (current_tx == 0 && find(entry.tx)) current_tx = entry.tx;
  read_again(reading);
}

// A BDAT whose argument some servers take. One that has answered to the chunk itself has read it:
// what we took for commands was content.
void Session::Impl::answer_tolerated(const Pending& entry, const Reply& reply) {
  if (!entry.kept || !tolerated) return;
  const bool taken = is_positive(reply.code) || is_transient(reply.code) || is_of_mail(reply.code);
  const bool whole =
      tolerated->lost ? !tolerated->reader.in_chunk() : tolerated->size >= tolerated->chunk.octets;
  if (!taken || !whole) {
    tolerated->closed = true;
    if (!tolerated_tells()) drop_tolerated();
    return;
  }
  SecondReading* reading = std::exchange(tolerated, nullptr);
  tolerant = true;
  forget_commands();
  taken_into_open(entry.tx);
  state = ClientState::command;
  current_tx = find(entry.tx) ? entry.tx : 0;
  if (!message_open || message_via != Via::bdat || message_tx != entry.tx)
    begin_message(entry.tx, Via::bdat);
  message_gap = message_gap || reading->lost;
  const Bytes kept = kept_by(*reading);
  const Bytes chunk = kept.first(std::min<std::size_t>(kept.size(), reading->chunk.octets));
  chunk_left = chunk.size();
  chunk_last = reading->chunk.last;
  push(chunk_last ? Slot::bdat_last : Slot::bdat, message_tx);
  if (!chunk.empty()) {
    state = ClientState::chunk;
    feed(chunk);
  } else if (chunk_last) {
    end_of_chunks();
  }
  if (!stopped) {
    answer(pending.pop(), reply);
    feed(kept.subspan(chunk.size()));
  }
  SecondReading::destroy(reading, memory);
}

// DATA or a chunk was refused.
void Session::Impl::refuse(TransactionId tx, std::uint16_t code) {
  Transaction* transaction = find(tx);
  if (!transaction) return;
  transaction->refused = code;
  transaction->sent = false;
}

void Session::Impl::answer_starttls(const Reply& reply) {
  if (state != ClientState::tls_wait) return;
  SecondReading* reading = take_reading();
  if (reply.code != 220 && reply.code != 0) {  // RFC 3207 4
    state = ClientState::command;
    if (reading) {
      if (reading->lost) client_line.skip_line(memory);
      read_again(reading);
    }
    return;
  }
  begin_tls(true);
  if (!reading) return;
  // Octets in clear behind STARTTLS. A client that did not wait begins with its ClientHello.
  const Bytes kept = reading->kept();
  const auto hello = std::find(kept.begin(), kept.end(), std::uint8_t{0x16});
  if (hello != kept.begin() || reading->lost) raise(Anomaly::starttls_injection);
  if (hello != kept.end())
    sink.on_opaque(Direction::to_server,
                   kept.subspan(static_cast<std::size_t>(hello - kept.begin())));
  SecondReading::destroy(reading, memory);
}

// 334: the next line is a response to it, whatever it looks like (RFC 4954 4).
void Session::Impl::challenge() {
  if (auths && pending.front().kept && auths->early_responses > 0) {
    --auths->early_responses;
  } else if (pending.size() > 1) {
    void_next_command();
  } else if (state == ClientState::command) {
    state = ClientState::auth_line;
  }
}

// The server took the line behind AUTH for the response to its 334: it was no command.
void Session::Impl::void_next_command() {
  const Pending entry = pending.at(1);
  pending.erase(1);
  switch (entry.slot) {
    case Slot::auth:
      if (entry.kept && auths && auths->next) {
        AuthExchange* exchange = auths->next;
        auths->next = exchange->next;
        wipe(exchange, sizeof *exchange);
        memory->deallocate(exchange, sizeof *exchange, alignof(AuthExchange));
      }
      break;
    case Slot::mail:
      end_transaction(entry.tx, {});
      break;
    case Slot::data:
      if (pending.size() == 1) answer_data(entry, {.code = 503, .text = {}});
      break;
    case Slot::starttls:
      answer_starttls({.code = 503, .text = {}});
      break;
    default:
      break;
  }
}

void Session::Impl::unmatched(const Reply& reply) {
  if (one_sided || stopped) return;
  if (reply.code == 354 && (state == ClientState::command || state == ClientState::auth_line)) {
    begin_unknown_data(reply);
    return;
  }
  if (message_open && state == ClientState::data) {
    if (reply_inside_message(reply)) return;
    // Some servers refuse what they have read so far and say nothing more at its end.
    if (Transaction* transaction = find(message_tx); transaction && is_negative(reply.code)) {
      transaction->refused = reply.code;
      if (outer_tx == 0) sink.on_content_reply(message_tx, reply);
    }
  }
  // RFC 5321 3.8: 421 may come at any time. Without any word of the client's it is the capture
  // that has one side only.
  if (reply.code == 421 || surplus || !client_spoke) return;
  raise(Anomaly::unsolicited_reply);
}

// A reply while content is read. The server's reading of the message's end is the one that counts:
// true when it has another than ours and was followed.
bool Session::Impl::reply_inside_message(const Reply& reply) {
  if (reply.code == 354 || reply.code == 334) return false;
  const TransactionId tx = message_tx;
  if (ambiguous && ambiguous->reason == Reason::midstream) {
    SecondReading* reading = ambiguous;
    ambiguous = nullptr;
    abort_message();
    end_transaction(tx, {});
    state = ClientState::command;
    if (reading->lost) client_line.skip_line(memory);
    read_again(reading);
    return true;
  }
  const bool waits = ambiguous && ambiguous->size == 0 && !ambiguous->lost;
  const bool at_end = reader.at_possible_end() || (ambiguous && ambiguous->at_later_end());
  if (at_end ||
      (ambiguous && (is_positive(reply.code) || waits || ambiguous->reader.only_commands()))) {
    // Of two such ends the one at which we stand is the likelier; the other may show yet.
    if (at_end) pass_by_ambiguous({});
    SecondReading* reading = at_end ? nullptr : std::exchange(ambiguous, nullptr);
    raise(Anomaly::ambiguous_eod);
    if (end_message(MessageEnd::complete) == MessageVerdict::stop) {
      // The server has it already; no more comes through.
      SecondReading::destroy(reading, memory);
      return true;
    }
    state = ClientState::command;
    if (reading && reading->lost) client_line.skip_line(memory);
    push(Slot::end_of_data, tx);
    match(reply);
    if (reading) read_again(reading);
    return true;
  }
  if (message_gap && (!is_negative(reply.code) || (behind_gap && reply.code != 421))) {
    // The end was among the octets that were never seen.
    if (end_message(MessageEnd::complete) == MessageVerdict::stop) return true;
    state = ClientState::command;
    client_line.doubt_line(memory);
    push(Slot::end_of_data, tx);
    match(reply);
    return true;
  }
  return false;
}

SecondReading* Session::Impl::take_reading() {
  SecondReading* reading = readings;
  if (reading) readings = reading->next;
  if (reading) reading->next = nullptr;
  return reading;
}

// Reads kept octets as commands, after the reply that says that they are. When the expected reading
// had come to its end meanwhile (`closed`), what was read behind that end stands: only the entries
// of the octets between are put into their place in the queue.
void Session::Impl::read_again(SecondReading* reading) {
  if (stopped) {
    SecondReading::destroy(reading, memory);
    return;
  }
  const bool last_words = reading->reason == Reason::chunk && pending.empty() &&
                          state == ClientState::command && client_line.pending() == 0;
  if (!reading->closed || last_words) {
    feed(kept_by(*reading));
    SecondReading::destroy(reading, memory);
    return;
  }
  struct Saved {
    ClientState state;
    TransactionId current_tx, message_tx;
    Via via;
    bool open, gap, chunk_last;
    std::uint64_t chunk_left;
    DataReader reader;
  };
  const Saved saved{state,       current_tx, message_tx, message_via, message_open,
                    message_gap, chunk_last, chunk_left, reader};
  SecondReading* const later_ambiguous = std::exchange(ambiguous, nullptr);
  SecondReading* const later_between = std::exchange(between, nullptr);
  SecondReading* const later_readings = readings;
  readings = nullptr;
  LineBuffer line;
  line.swap(client_line);
  PendingQueue rest;
  // The end of the message that was none asked for no reply.
  if (!pending.empty() && pending.front().tx == reading->tx &&
      pending.front().slot == Slot::end_of_data)
    pending.pop();
  rest.swap(pending);

  message_open = false;
  outer_tx = saved.open ? saved.message_tx : 0;
  state = ClientState::command;
  if (find(reading->tx)) current_tx = reading->tx;
  feed(kept_by(*reading));
  SecondReading::destroy(reading, memory);

  // A message begun in there ended with them, or never.
  if (message_open) abort_message();
  outer_tx = 0;
  client_line.release(memory);
  client_line.swap(line);
  SecondReading** last = &readings;
  while (*last) {
    (*last)->closed = true;
    last = &(*last)->next;
  }
  *last = later_readings;
  SecondReading::destroy(ambiguous, memory);
  ambiguous = later_ambiguous;
  drop_between();
  between = later_between;
  state = saved.state;
  if (saved.current_tx != 0) current_tx = saved.current_tx;
  message_tx = saved.message_tx;
  message_via = saved.via;
  message_open = saved.open;
  message_gap = saved.gap;
  chunk_last = saved.chunk_last;
  chunk_left = saved.chunk_left;
  reader = saved.reader;
  if (!rest.empty()) reordered = true;
  while (!rest.empty()) {
    if (pending.size() >= limits.pending_commands || !pending.push(rest.front(), memory)) break;
    rest.pop();
  }
  rest.release(memory);
}

}  // namespace sluice::smtp
