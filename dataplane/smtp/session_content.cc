// The client's octets: message content, chunks, and the other readings of both.
#include <algorithm>
#include <utility>

#include "dataplane/smtp/session_impl.h"

namespace sluice::smtp {

using contract::Anomaly;
using Reason = SecondReading::Reason;

namespace {

constexpr std::size_t kReadingsKept = 8;
constexpr std::uint32_t kEndsJudged = 128;

// Where content goes that is not told.
struct Untold final : SessionSink {
  void on_helo(std::string_view) override {}
  void on_mail(TransactionId, std::string_view, std::string_view, std::string_view) override {}
  void on_rcpt(TransactionId, std::uint32_t, std::string_view, std::string_view) override {}
  void on_envelope_reply(TransactionId, std::uint32_t, const Reply&) override {}
  void on_message_begin(TransactionId, Via) override {}
  void on_message_data(TransactionId, Bytes) override {}
  void on_stuffed_dot(TransactionId) override {}
  MessageVerdict on_message_end(TransactionId, MessageEnd) override { return MessageVerdict::pass; }
  void on_transaction_end(TransactionId, const Reply&) override {}
  void on_smuggled_envelope(TransactionId, std::string_view, std::string_view) override {}
  void on_smuggled_data(TransactionId, Bytes) override {}
  void on_auth(std::string_view, std::string_view, std::uint16_t) override {}
  void on_command(Verb) override {}
  void on_reply(const Reply&) override {}
  void on_tls(bool) override {}
  void on_opaque(Direction, Bytes) override {}
  void on_anomaly(Anomaly) override {}
};

}  // namespace

SecondReading* Session::Impl::open_reading() const {
  SecondReading* last = readings;
  while (last && last->next) last = last->next;
  return last && !last->closed ? last : nullptr;
}

void Session::Impl::begin_early(Reason reason) {
  SecondReading** last = &readings;
  std::size_t count = 0;
  while (*last) {
    last = &(*last)->next;
    ++count;
  }
  if (count >= kReadingsKept || pending.empty()) return;
  *last = create_reading(reason, pending.back().tx);
  if (*last) pending.back().kept = true;
}

// Gives content to the other readings of it. Returns how much may be accepted; less than all with
// `stopped`.
std::size_t Session::Impl::feed_readings(Bytes octets) {
  SecondReading* open = open_reading();
  if (!open && !ambiguous) return octets.size();
  std::size_t accepted = octets.size();
  const auto run = [&](SecondReading& reading, bool tell) {
    // What fits is a matter of the octets alone, not of which of two open readings keeps first.
    std::uint32_t others = 0;
    for (const SecondReading* r = readings; r && &reading != ambiguous; r = r->next)
      if (r != &reading) others += r->size;
    Bytes part = octets;
    // Servers that strip CRs take any number of them for one line end.
    while (reading.after_cr && !part.empty()) {
      reading.after_cr = part.front() == '\r';
      if (part.front() == '\r' || part.front() == '\n') part = part.subspan(1);
    }
    reading.keep(part, limits.early_octets - std::min(others, limits.early_octets), memory);
    const AlternateReader::Step step =
        reading.reader.read(part, sink, limits.bdat_chunk, tell, judge());
    if (!step.stop) return;
    stopped = true;
    accepted = octets.size() - part.size() + step.accepted;
  };
  // One at a time tells, the oldest: two streams mixed would be none.
  const bool free = !tolerated_tells() && !between && outer_tx == 0;
  if (open) run(*open, free);
  if (ambiguous && !stopped) {
    run(*ambiguous, !open && free);
    if (ambiguous->reason == Reason::ambiguous && ambiguous->reader.found_envelope())
      raise(Anomaly::smuggled_commands);
  }
  return accepted;
}

bool Session::Impl::stops_at_ambiguous_end(TransactionId tx) {
  if (ambiguous && ambiguous->reason == Reason::ambiguous && ambiguous->reader.found_envelope())
    raise(Anomaly::smuggled_commands);
  // Each costs a look at what was scanned: a message that is made of them gets few beyond so many.
  if (++other_ends > kEndsJudged && other_ends % kEndsJudged != 0) return false;
  return sink.on_ambiguous_end(tx) == MessageVerdict::stop;
}

// The octet in hand in the readings of the stream that have it: an end is one when all agree, else
// ambiguous. `before`, `event`: of the main reading, which has every octet.
DataReader::Event Session::Impl::in_all_readings(std::uint8_t octet, DataReader::State before,
                                                 DataReader::Event event) {
  bool all = event == DataReader::Event::end;
  bool any = event != DataReader::Event::none;
  for (std::size_t i = 0; i < kReadings; ++i) {
    const auto bit = static_cast<std::uint8_t>(1u << i);
    const bool leaves_out = (left_out & bit) != 0;
    if ((doubtful & bit) == 0) {
      if (!leaves_out) continue;
      doubt[i] = before;
      doubtful |= bit;
    }
    const auto alone = leaves_out ? DataReader::Event::none : DataReader::advance(doubt[i], octet);
    any = any || alone != DataReader::Event::none;
    all = all && alone == DataReader::Event::end;
    // In a reading that has come to its end commands follow: the second reading of them does that.
    if (alone == DataReader::Event::end) doubtful = static_cast<std::uint8_t>(doubtful & ~bit);
  }
  // Without replies nothing would ever end it.
  if (all || (one_sided && event == DataReader::Event::end)) {
    doubtful = 0;
    return DataReader::Event::end;
  }
  const DataReader::State now =
      event == DataReader::Event::end ? DataReader::State::line_start : reader.state();
  for (std::size_t i = 0; i < kReadings; ++i)
    if (doubt[i] == now) doubtful = static_cast<std::uint8_t>(doubtful & ~(1u << i));
  return any ? DataReader::Event::ambiguous : DataReader::Event::none;
}

// Octets behind DATA and before its reply, where the end of the message stands in the middle of a
// chunk if they are commands: what follows differs in the two readings until that reply.
bool Session::Impl::goes_on_beside(SecondReading* open) {
  if (!open->reader.in_chunk() || open->reason != Reason::early || (between && !between->closed))
    return false;
  for (std::uint32_t i = 0; i < pending.size(); ++i)
    if (pending.at(i).slot == Slot::data && pending.at(i).tx == open->tx)
      pending.at(i).kept = false;
  SecondReading** link = &readings;
  while (*link != open) link = &(*link)->next;
  *link = nullptr;
  drop_between();
  between = open;
  return true;
}

std::size_t Session::Impl::read_data(Bytes octets) {
  // Its transaction was ended under it (a bound, a reply out of order): content stays content.
  if (!message_open) begin_message(current_or_new(), Via::data);
  const TransactionId tx = message_tx;
  behind_gap = false;
  Untold nobody;
  SessionSink& told = outer_tx != 0 ? nobody : sink;
  const bool in_doubt = (left_out | doubtful) != 0;
  const DataReader::State before = reader.state();
  DataReader::Step step = reader.read(in_doubt ? octets.first(1) : octets, tx, told);
  if (in_doubt) [[unlikely]] {
    // It told of what came before and has not taken the octet yet.
    if (step.consumed == 0) reader.read(octets.first(1), tx, told);
    const DataReader::Event event = in_all_readings(octets.front(), before, step.event);
    if (step.event == DataReader::Event::end && event != step.event) reader.not_the_end(tx, told);
    step = {.consumed = 1, .event = event, .tail = 1};
  }
  if (reader.bare_lf()) raise(Anomaly::bare_lf);
  if (reader.bare_cr()) raise(Anomaly::bare_cr);
  const bool ended = step.event == DataReader::Event::end;
  // All but the LF that ends it: how much of the end line was held back depends on the cuts.
  const Bytes content = octets.first(ended ? step.consumed - 1 : step.consumed);
  const std::size_t accepted = feed_readings(content);
  if (stopped) return accepted;
  const auto server_may_end = [&] {
    stopped = judge() != nullptr && stops_at_ambiguous_end(tx);
    return stopped;
  };
  switch (step.event) {
    case DataReader::Event::none:
      if (!reader.at_possible_end()) break;
      end_judged = true;
      if (server_may_end()) return step.consumed - reader.held_tail();
      break;
    case DataReader::Event::ambiguous:
      if (!reader.at_possible_end()) raise(Anomaly::ambiguous_eod);
      if (!std::exchange(end_judged, false) && server_may_end()) return step.consumed - step.tail;
      raise(Anomaly::ambiguous_eod);
      // Of several such ends the one counts behind which commands were found.
      if (!ambiguous) {
        ambiguous = create_reading(Reason::ambiguous, tx);
      } else if (ambiguous->reason == Reason::ambiguous) {
        ambiguous->later_end = ambiguous->size;
        if (ambiguous->reader.found_envelope()) break;
        ambiguous->begin_again(tx);
        if (read_again_octets >= kReadAgain) ambiguous->lose(memory);
      } else {
        break;
      }
      if (ambiguous) ambiguous->after_cr = reader.after_cr() || reader.at_possible_end();
      break;
    case DataReader::Event::end:
      pass_by_ambiguous(octets.subspan(content.size(), 1));
      if (end_message(MessageEnd::complete) == MessageVerdict::stop)
        return step.consumed - step.tail;
      if (SecondReading* open = open_reading()) {
        const Bytes last = octets.subspan(content.size(), 1);
        open->keep(last, limits.early_octets, memory);
        if (!goes_on_beside(open))
          open->closed = true;
        else if (open->reader.read(last, sink, limits.bdat_chunk, false, judge()).stop) {
          stopped = true;
          return step.consumed - 1;
        }
      }
      state = ClientState::command;
      push(Slot::end_of_data, tx);
      if (one_sided) end_transaction(tx, {});
      break;
  }
  return step.consumed;
}

std::size_t Session::Impl::read_chunk(Bytes octets) {
  const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(octets.size(), chunk_left));
  const Bytes part = octets.first(n);
  const std::size_t accepted = feed_readings(part);
  if (stopped) return accepted;
  if (message_open && message_via == Via::bdat && outer_tx == 0)
    sink.on_message_data(message_tx, part);
  chunk_left -= n;
  if (chunk_left > 0) return n;
  state = ClientState::command;
  if (SecondReading* open = open_reading()) open->closed = true;
  return !chunk_last || end_of_chunks() ? n : n - 1;
}

// Octets between STARTTLS and its reply are commands if it is refused, a ClientHello or an
// injection if not.
std::size_t Session::Impl::read_tls_wait(Bytes octets) {
  if (!open_reading()) begin_early(Reason::tls_wait);
  return feed_readings(octets);
}

}  // namespace sluice::smtp
