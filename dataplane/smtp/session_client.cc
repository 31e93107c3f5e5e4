// The client's octets: beginnings, commands, AUTH responses, preambles.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "dataplane/smtp/session_impl.h"

namespace sluice::smtp {

using contract::Anomaly;
using Reason = SecondReading::Reason;

namespace {

constexpr std::uint8_t kTlsHandshake = 0x16;  // RFC 8446 5.1: content types 20 to 23
constexpr std::size_t kMidstreamLook = 1000;  // octets looked at to tell what a stream is
constexpr std::uint64_t kAuthLine = 12288;    // RFC 4954 4, "at least"
constexpr std::uint16_t kProxyHeader = 16;    // PROXY v2: octets in front of the addresses
constexpr std::uint8_t kProxySignature[12] = {'\r', '\n', '\r', '\n', 0,   '\r',
                                              '\n', 'Q',  'U',  'I',  'T', '\n'};

bool is_base64_word(std::string_view line) {
  line = trim_blanks(line);
  return std::all_of(line.begin(), line.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/' || c == '=' || c == '*';
  });
}

// A request of HTTP, or octets that no line protocol sends.
bool is_foreign(std::string_view line) {
  const std::size_t http = line.rfind(" HTTP/");
  if (http != std::string_view::npos && line.size() - http <= 9) return true;
  return std::any_of(line.begin(), line.end(), [](char c) {
    const auto octet = static_cast<unsigned char>(c);
    return (octet < 0x20 && c != '\t') || octet == 0x7f;
  });
}

// Verbs that exist but mean nothing to us; X... is private use (RFC 5321 4.1.5).
bool is_other_verb(std::string_view line) {
  const std::string_view verb = line.substr(0, line.find_first_of(" \t"));
  for (const std::string_view v : {"TURN", "ATRN", "BURL", "SEND", "SOML", "SAML", "VERB"})
    if (equal_ignoring_case(verb, v)) return true;
  return starts_ignoring_case(verb, "X");
}

// A path in brackets, which are added where the client left them out.
template <typename Use>
void with_brackets(const Path& path, Use use) {
  if (path.bracketed) {
    use(path.path);
    return;
  }
  std::array<char, 1026> text;
  const std::size_t size = std::min(path.path.size(), text.size() - 2);
  text[0] = '<';
  std::copy_n(path.path.begin(), size, text.begin() + 1);
  text[size + 1] = '>';
  use(std::string_view(text.data(), size + 2));
}

// Of a stopped message's end line no octet in hand is let through, though it was read in parts.
std::size_t before_end_line(Bytes octets, std::size_t end) {
  std::size_t at = end;
  if (at > 0 && octets[at - 1] == '\r') --at;
  return at > 0 && octets[at - 1] == '.' ? at - 1 : end;
}

}  // namespace

std::size_t Session::Impl::feed(Bytes octets) {
  std::size_t at = 0;
  while (at < octets.size() && !stopped) {
    if (between && between->closed) drop_between();
    SecondReading* const content = tolerated;
    SecondReading* const data = between;
    const Bytes rest = next_part(octets.subspan(at));
    position = rest.data();
    const std::size_t n = read(rest);
    if (stopped) return before_end_line(octets, at + n);
    if (data && data == between) {
      const Bytes part = rest.first(n);
      data->keep(part, limits.early_octets, memory);
      const AlternateReader::Step step = data->reader.read(
          part, sink, limits.bdat_chunk, !tolerated_tells() && outer_tx == 0, judge());
      if (step.stop) {
        stopped = true;
        return at + step.accepted;
      }
    }
    if (content && content == tolerated) {
      const Bytes part = rest.first(n);
      if (!content->closed) content->keep(part, limits.early_octets, memory);
      if (tolerated_tells()) {
        const AlternateReader::Step step =
            content->reader.read(part, sink, limits.bdat_chunk, true, judge());
        if (step.stop) {
          stopped = true;
          return at + step.accepted;
        }
      }
      if (!tolerated_tells()) drop_tolerated();
    }
    at += n;
  }
  return at;
}

Bytes Session::Impl::next_part(Bytes octets) const {
  if (!tolerated && !between && !ambiguous && !readings) [[likely]]
    return octets;
  // Of the first octet at which one may stop.
  std::uint64_t end = octets.size() + 1;
  bool in_line = false;
  const auto heed = [&](const SecondReading* other) {
    if (!other) return;
    in_line = in_line || other->reader.in_line();
    if (other->reader.in_chunk()) end = std::min(end, other->reader.chunk_left());
  };
  heed(tolerated);
  heed(between);
  heed(ambiguous);
  heed(open_reading());
  if (state == ClientState::chunk) end = std::min(end, chunk_left);
  if (state == ClientState::data && (left_out | doubtful) != 0) end = 1;
  // Others: a line end behind a dot, with or without NUL, the second octet of such a line
  // end, and the end of a line that may be BDAT, where it is not known yet how long its chunk is.
  const bool commands = state == ClientState::command || state == ClientState::auth_line;
  bool at_start = !in_line;
  bool bdat = in_line;
  for (std::size_t i = 0; i + 1 < end; ++i) {
    const auto c = static_cast<char>(octets[i]);
    if (c == '\r' || c == '\n') {
      if (commands || bdat || i == 0 || octets[i - 1] == '.' || octets[i - 1] == 0) end = i + 1;
      at_start = true;
      bdat = false;
    } else if (at_start && c != 0 && !is_blank(c)) {
      at_start = false;
      bdat = c == 'B' || c == 'b';
    }
  }
  return octets.first(std::max<std::size_t>(static_cast<std::size_t>(end) - 1, 1));
}

std::size_t Session::Impl::read(Bytes octets) {
  switch (state) {
    case ClientState::start:
      return read_start(octets);
    case ClientState::preamble:
      return read_preamble(octets);
    case ClientState::midstream:
      return read_midstream(octets);
    case ClientState::command:
    case ClientState::auth_line:
      return read_line(octets);
    case ClientState::data_wait:
      begin_early(Reason::early);
      begin_data(pending.empty() ? current_or_new() : pending.back().tx);
      state = ClientState::data_early;
      return 0;
    case ClientState::data_early:
    case ClientState::data:
      return read_data(octets);
    case ClientState::chunk:
      return read_chunk(octets);
    case ClientState::tls_wait:
      return read_tls_wait(octets);
    case ClientState::tls_first:
      return read_tls_first(octets);
    case ClientState::tls_probe:
      if (octets.front() == kTlsHandshake)
        begin_tls(true);
      else
        state = ClientState::command;
      return 0;
    case ClientState::tls:
      sink.on_opaque(Direction::to_server, octets);
      return octets.size();
  }
  return octets.size();
}

// --- beginnings ----------------------------------------------------------------------------------

std::size_t Session::Impl::read_start(Bytes octets) {
  const std::size_t before = client_line.kept().size();
  if (before == 0) {
    if (octets.front() == kTlsHandshake && !not_tls) {
      expect_tls();
      return 0;
    }
    if (octets.front() == '\r' && !preamble_seen) {
      state = ClientState::preamble;
      return 0;
    }
  }
  // A PROXY line is not the client's own talk.
  if (preamble_seen || !starts_ignoring_case("PROXY ", as_text(client_line.kept().first(
                                                           std::min<std::size_t>(before, 6))))) {
    client_spoke = true;
  } else if (before < 6) {
    const std::string_view wanted = std::string_view("PROXY ").substr(before);
    const std::size_t n = std::min(wanted.size(), octets.size());
    if (as_text(octets.first(n)) != wanted.substr(0, n)) client_spoke = true;
  }
  return read_line(octets);
}

std::size_t Session::Impl::read_preamble(Bytes octets) {
  std::size_t n = 0;
  while (n < octets.size()) {
    const std::uint8_t octet = octets[n];
    const std::uint16_t at = preamble_octets;
    if (at < sizeof kProxySignature) {
      if (octet != kProxySignature[at]) {
        // It was none: what was matched so far is what the signature has.
        preamble_seen = true;
        client_spoke = true;
        state = ClientState::command;
        feed(Bytes(kProxySignature).first(at));
        return n;
      }
    } else if (at == 12) {
      if (octet != 0x20 && octet != 0x21) raise(Anomaly::bad_proxy_preamble);
      // 0x20 is the balancer's own connection (LOCAL): whatever stands there is no client.
      if (octet == 0x21) preamble = ProxyPreamble::create(memory);
    } else if (at == 13) {
      if (preamble) preamble->family = octet;
    } else if (at == 14) {
      preamble_size = static_cast<std::uint16_t>(octet << 8);
    } else if (at == 15) {
      preamble_size = static_cast<std::uint16_t>(preamble_size | octet);
    }
    if (at >= kProxyHeader && preamble && preamble->size < sizeof preamble->octets)
      preamble->octets[preamble->size++] = octet;
    ++n;
    if (at < kProxyHeader) ++preamble_octets;
    if (preamble_octets == kProxyHeader) {
      if (at >= kProxyHeader) --preamble_size;
      if (preamble_size == 0) {
        preamble_seen = true;
        state = ClientState::start;
        if (preamble) {
          const ClaimedClient claimed =
              parse_proxy_block(preamble->family, Bytes(preamble->octets).first(preamble->size));
          ProxyPreamble::destroy(preamble, memory);
          preamble = nullptr;
          if (!claimed.empty()) sink.on_claimed_client(claimed, true);
        }
        return n;
      }
    }
  }
  return n;
}

std::size_t Session::Impl::read_midstream(Bytes octets) {
  const std::size_t before = client_line.kept().size();
  if (before == 0 && octets.front() >= 0x14 && octets.front() <= 0x17 && !not_tls) {
    expect_tls();
    return 0;
  }
  client_spoke = true;
  const auto* lf =
      static_cast<const std::uint8_t*>(std::memchr(octets.data(), '\n', octets.size()));
  const std::size_t size = lf ? static_cast<std::size_t>(lf - octets.data()) + 1 : octets.size();
  std::array<std::uint8_t, kMidstreamLook> first;
  std::copy_n(client_line.kept().data(), before, first.data());
  if (before + size <= kMidstreamLook) {
    const LineBuffer::Line line = client_line.take(octets, kMidstreamLook, memory);
    if (!line.complete) return line.consumed;
    if (parse_command(line.text).verb != Verb::unknown) {
      state = ClientState::command;
      const std::size_t n = command(line.text) ? line.consumed : line.consumed - 1;
      client_line.release(memory);
      return n;
    }
  }
  // Not a command: the middle of a message, until the server's replies say something else.
  client_line.release(memory);
  open_transaction();
  begin_message(current_tx, Via::data);
  reader.start();
  reader.skip();
  ambiguous = SecondReading::create(Reason::midstream, message_tx, memory);
  state = ClientState::data;
  feed(Bytes(first).first(before));
  return 0;
}

// The client begins as TLS does. Whether it is TLS to the server too, its next octets tell; until
// then the client's are kept, and scanned as the commands that they may be.
void Session::Impl::expect_tls() {
  if (one_sided) return begin_tls(midstream);
  readings = SecondReading::create(Reason::tls_wait, 0, memory);
  if (!readings) return begin_tls(midstream);
  state = ClientState::tls_first;
}

std::size_t Session::Impl::read_tls_first(Bytes octets) {
  const SecondReading* reading = open_reading();
  const std::size_t room = reading && !reading->lost
                               ? limits.early_octets - std::min(reading->size, limits.early_octets)
                               : 0;
  if (room == 0) {
    // No client says so much before it has heard anything of a handshake.
    decide_tls(false);
    return 0;
  }
  return feed_readings(octets.first(std::min(octets.size(), room)));
}

// What the server's next octets make of what the client has begun.
void Session::Impl::decide_tls(bool record) {
  SecondReading* reading = take_reading();
  if (record) {
    begin_tls(midstream);
    if (reading) sink.on_opaque(Direction::to_server, reading->kept());
    SecondReading::destroy(reading, memory);
    return;
  }
  not_tls = true;
  state = midstream ? ClientState::midstream : ClientState::start;
  if (!reading) return;
  const Bytes kept = reading->kept();
  if (kept.size() >= 3 && kept[1] == 3 && kept[2] <= 4) {
    // A client that speaks TLS to a server that does not (case A22): that says it all.
    raise(Anomaly::tls_on_smtp_port);
    sink.on_refused_hello(kept);
    not_smtp = true;
    commanded = true;
    surplus = true;
  }
  if (reading->lost) client_line.skip_line(memory);
  read_again(reading);
}

void Session::Impl::begin_tls(bool by_starttls) {
  state = ClientState::tls;
  starttls = by_starttls;
  forget_commands();
  retired = 0;
  // Also content that is being read: the server began TLS where we took the client to be in it.
  if (message_open) abort_message();
  end_transactions_up_to(last_tx);
  sink.on_tls(by_starttls);
  if (!by_starttls && greeting_seen && !midstream) raise(Anomaly::tls_on_smtp_port);
}

// --- lines ---------------------------------------------------------------------------------------

std::size_t Session::Impl::read_line(Bytes octets) {
  const LineBuffer::Line line = client_line.take(octets, limits.command_line, memory);
  const bool response = state == ClientState::auth_line;
  if (line.overlong && !client_line.skipping() && !client_line.in_doubt()) {
    const std::string_view text = line.complete ? line.text : as_text(client_line.kept());
    const bool auth = response || starts_ignoring_case(text, "AUTH ");
    if (!auth || client_line.pending() > kAuthLine) raise(Anomaly::long_command);
  }
  if (!line.complete) return line.consumed;
  // Behind a gap most lines are whole, as most segments are. The end of one is no command.
  const bool rest = client_line.in_doubt() && parse_command(line.text).verb == Verb::unknown;
  if (client_line.skipping() || rest) {
    client_line.release(memory);
    return line.consumed;
  }
  if (line.bare_lf) raise(Anomaly::bare_lf);
  if (line.text.find('\0') != std::string_view::npos) raise(Anomaly::nul);
  std::size_t n = line.consumed;
  if (response) {
    state = ClientState::command;
    if (auths && !auths->response(trim_blanks(line.text))) raise(Anomaly::bad_auth);
  } else if (!command(line.text)) {
    --n;  // BDAT 0 LAST was stopped: as for every cut, all but the octet that ends it
  }
  client_line.release(memory);
  return n;
}

// A line behind AUTH and before its reply: the response that the client knows will be asked for
// (RFC 4954 wants it to wait), unless it reads as a command.
bool Session::Impl::early_response(std::string_view line) {
  if (!one_sided && (pending.empty() || pending.back().slot != Slot::auth || !pending.back().kept))
    return false;
  AuthExchange* last = auths;
  while (last->next) last = last->next;
  if (!last->expects_response() || !is_base64_word(line)) return false;
  if (parse_command(line).verb != Verb::unknown) return false;
  if (!last->response(trim_blanks(line))) raise(Anomaly::bad_auth);
  if (last->early_responses < UINT8_MAX) ++last->early_responses;
  return true;
}

bool Session::Impl::command(std::string_view line) {
  if (auths && early_response(line)) return true;
  if (state == ClientState::start) {
    // Servers that want it wait for it before they greet.
    if (!preamble_seen && !greeting_seen && line.starts_with("PROXY ")) {
      preamble_seen = true;
      proxy_undecided = !one_sided;
      const auto claimed = parse_proxy_line(line);
      if (!claimed)
        raise(Anomaly::bad_proxy_preamble);
      else if (!claimed->empty())
        sink.on_claimed_client(*claimed, true);
      return true;
    }
    state = ClientState::command;
  }
  client_spoke = true;
  if (passed) passed->closed = true;
  if (one_sided)
    while (auths) finish_auth(0);

  const Command c = parse_command(line);
  if (c.verb != Verb::quit) commanded = true;
  if (c.verb != Verb::unknown) not_smtp = false;
  sink.on_command(c.verb);
  switch (c.verb) {
    case Verb::helo:
    case Verb::ehlo:
    case Verb::lhlo:
      sink.on_helo(c.argument);
      push(c.verb == Verb::helo   ? Slot::helo
           : c.verb == Verb::ehlo ? Slot::ehlo
                                  : Slot::lhlo,
           current_tx, last_tx);
      break;
    case Verb::mail:
      mail(c.argument);
      break;
    case Verb::rcpt:
      rcpt(c.argument);
      break;
    case Verb::data:
      data();
      break;
    case Verb::bdat:
      return bdat(line);
    case Verb::rset: {
      const TransactionId tx = current_tx;
      if (message_open) abort_message();
      current_tx = 0;
      push(Slot::rset, tx, last_tx);
      if (one_sided) end_transactions_up_to(last_tx);
      break;
    }
    case Verb::auth:
      auth(c.argument);
      break;
    case Verb::starttls:
    case Verb::x_anonymoustls:
      push(Slot::starttls);
      state = one_sided ? ClientState::tls_probe : ClientState::tls_wait;
      break;
    case Verb::quit:
      push(Slot::quit, current_tx, last_tx);
      break;
    case Verb::unknown:
      unknown_command(line);
      if (!may_be_data() || !begin_between(Slot::perhaps_data, current_tx)) push(Slot::other);
      break;
    case Verb::vrfy:
    case Verb::expn:
    case Verb::help:
    case Verb::noop:
    case Verb::etrn:
      push(Slot::other, current_tx, last_tx);
      break;
    case Verb::xclient:
      claim(ClaimedClient::Via::xclient, c.argument);
      push(Slot::xclient, current_tx, last_tx);
      break;
    case Verb::xforward:
      claim(ClaimedClient::Via::xforward, c.argument);
      push(Slot::xforward, current_tx, last_tx);
      break;
  }
  return true;
}

void Session::Impl::auth(std::string_view argument) {
  AuthExchange* exchange = push_auth();
  if (exchange && !exchange->begin(argument)) raise(Anomaly::bad_auth);
  push(Slot::auth);
  if (!pending.empty()) pending.back().kept = exchange != nullptr;
}

void Session::Impl::claim(ClaimedClient::Via via, std::string_view argument) {
  ClaimText text;
  const ClaimedClient claimed = parse_claim(via, argument, text);
  if (!claimed.empty()) sink.on_claimed_client(claimed, true);
}

void Session::Impl::unknown_command(std::string_view line) {
  if (not_smtp || raised.contains(Anomaly::not_smtp)) return;  // one event, not one per header line
  if (is_foreign(line)) {
    not_smtp = true;
    raise(Anomaly::not_smtp);
  } else if (!is_other_verb(line)) {
    raise(Anomaly::bad_command);
  }
}

void Session::Impl::mail(std::string_view argument) {
  const Path path = parse_path(argument, "FROM");
  if (!path.well_formed) raise(Anomaly::bad_path);
  const Transaction* open = find(current_tx);
  if (open && open->has_mail && open->refused == 0 && !commands_unseen())
    raise(Anomaly::command_sequence);
  const TransactionId tx = open_transaction();
  chunk_gap = false;
  if (Transaction* transaction = find(tx)) transaction->has_mail = true;
  with_brackets(
      path, [&](std::string_view text) { sink.on_mail(tx, text, path.mailbox, path.parameters); });
  push(Slot::mail, tx);
}

void Session::Impl::rcpt(std::string_view argument) {
  const Path path = parse_path(argument, "TO");
  if (!path.well_formed) raise(Anomaly::bad_path);
  const TransactionId tx = current_or_new();
  std::uint32_t number = 0;
  if (Transaction* transaction = find(tx)) {
    if (!transaction->has_mail && !commands_unseen()) raise(Anomaly::command_sequence);
    number = transaction->recipients;
    if (transaction->recipients < UINT32_MAX - 1) ++transaction->recipients;
  }
  if (number < limits.recipients) {
    with_brackets(path,
                  [&](std::string_view text) { sink.on_rcpt(tx, number, text, path.mailbox); });
  } else {
    raise(Anomaly::too_many);
  }
  push(Slot::rcpt, tx, number);
}

void Session::Impl::data() {
  const TransactionId tx = current_or_new();
  const Transaction* transaction = find(tx);
  if (transaction && transaction->recipients == 0 && !commands_unseen())
    raise(Anomaly::command_sequence);
  if (one_sided) {
    begin_data(tx);
    state = ClientState::data;
    return;
  }
  if (message_open && message_via == Via::bdat && capabilities.chunking) {
    // Refused between chunks (RFC 3030 2), and the message goes on; but they may have been refused
    // themselves, and content follows.
    if (!begin_between(Slot::data_between, tx)) push(Slot::other, current_tx, last_tx);
    return;
  }
  push(Slot::data, tx);
  state = ClientState::data_wait;
}

// A verb that we do not know may be DATA to the server (octets in it are urgent, or dropped there),
// where it would take one. The chunk that a malformed BDAT may have is no such place.
bool Session::Impl::may_be_data() {
  const Transaction* transaction = find(current_tx);
  return !tolerated && ((transaction && transaction->recipients > 0) || midstream);
}

// What follows is commands to us and content if the server says so. False: another such command is
// undecided.
bool Session::Impl::begin_between(Slot slot, TransactionId tx) {
  if (one_sided || (between && !between->closed)) return false;
  push(slot, tx);
  drop_between();
  between = create_reading(Reason::between, tx);
  if (between) between->reader.begin_content();
  return true;
}

// The message's content begins: 354 came, or octets did before it.
void Session::Impl::begin_data(TransactionId tx) {
  if (message_open && message_via == Via::data) return;
  begin_message(tx, Via::data);
  reader.start();
  doubtful = 0;
}

bool Session::Impl::bdat(std::string_view line) {
  const bool goes_on = message_open && message_via == Via::bdat;
  const TransactionId tx = goes_on ? message_tx : current_or_new();
  const Transaction* transaction = find(tx);
  if (transaction && (!transaction->has_mail || transaction->recipients == 0) && !commands_unseen())
    raise(Anomaly::command_sequence);
  ChunkSize size = parse_chunk_size(line, limits.bdat_chunk);
  // Longer than most servers take, and read here without most of its blanks.
  if (client_line.pending() > limits.command_line && size.form == ChunkSize::Form::valid)
    size.form = ChunkSize::Form::tolerated;
  const bool malformed = size.form != ChunkSize::Form::valid;
  if (malformed) raise(Anomaly::bad_bdat_arg);
  if (malformed && !(tolerant && size.form == ChunkSize::Form::tolerated)) {
    push(Slot::bad_bdat, tx);
    if (size.form != ChunkSize::Form::tolerated) return true;
    if (size.octets == 0) {
      // To a server that takes it, a message that is open ends with this line.
      stopped = size.last && goes_on && judge() != nullptr && stops_at_ambiguous_end(tx);
      if (stopped) return false;
    }
    begin_tolerated(tx, size);
    return true;
  }
  if (!goes_on) begin_message(tx, Via::bdat);
  push(size.last ? Slot::bdat_last : Slot::bdat, message_tx);
  chunk_left = size.octets;
  chunk_last = size.last;
  if (size.octets > 0) {
    state = ClientState::chunk;
    // A server that does not know BDAT answers 500 and reads the chunk as commands.
    if ((!capabilities.chunking || malformed) && !midstream && !one_sided)
      begin_early(Reason::chunk);
    return true;
  }
  return !size.last || end_of_chunks();
}

// Behind the line in hand stands a chunk, to servers that take its argument. Behind another that no
// reply has decided, that one's reading goes on.
void Session::Impl::begin_tolerated(TransactionId tx, const ChunkSize& size) {
  if (tolerated) return;
  tolerated = create_reading(Reason::tolerated, tx);
  if (!tolerated) return;
  tolerated->chunk = size;
  tolerated->reader.begin_chunk(size.octets, size.last);
  if (one_sided)
    tolerated->closed = true;
  else if (!pending.empty())
    pending.back().kept = true;
}

// The last octet of the last chunk was read. False: stop.
bool Session::Impl::end_of_chunks() {
  if (!message_open || message_via != Via::bdat) return true;  // refused meanwhile
  const TransactionId tx = message_tx;
  if (end_message(MessageEnd::complete) == MessageVerdict::stop) {
    stopped_in_queue = !pending.empty() && pending.back().slot == Slot::bdat_last;
    return false;
  }
  if (one_sided) end_transaction(tx, {});
  return true;
}

void Session::Impl::push(Slot slot, TransactionId tx, std::uint32_t detail) {
  if (one_sided) return;
  const Pending entry{.tx = tx, .detail = detail, .slot = slot};
  while (pending.size() >= limits.pending_commands || !pending.push(entry, memory)) {
    raise(Anomaly::too_many);
    if (pending.empty()) return;
    ++retired;
    answer(pending.pop(), {});
  }
}

}  // namespace sluice::smtp
