#include "dataplane/inspect/closing.h"

#include <algorithm>
#include <cctype>

namespace sluice::inspect {
namespace {

namespace flag = net::tcp_flag;

// Sequence numbers are compared modulo 2^32 (RFC 9293 3.4).
bool before(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) < 0; }

constexpr std::size_t kLineBound = 512;

bool is_quit(std::string_view line) {
  if (line.size() < 4) return false;
  for (std::size_t i = 0; i < 4; ++i)
    if (std::toupper(static_cast<unsigned char>(line[i])) != "QUIT"[i]) return false;
  return line.size() == 4 || line[4] == '\r' || line[4] == '\n' || line[4] == ' ';
}

}  // namespace

Closing::Closing(const Start& start, Bytes unacknowledged, std::string_view reply, Bytes early,
                 Output& output, std::pmr::memory_resource* memory, Nanoseconds now)
    : to_client_(start.to_client),
      to_server_(start.to_server),
      output_(output),
      octets_(unacknowledged.begin(), unacknowledged.end(), memory),
      line_(memory),
      farewell_(start.farewell, memory),
      first_(start.server_first),
      client_next_(start.client_next),
      server_expects_(start.server_expects),
      client_timestamp_(start.client_timestamp),
      server_timestamp_(start.server_timestamp),
      begun_(now),
      heard_(now),
      resend_at_(now + kFirstTimeout),
      reset_at_(now + kFirstTimeout),
      wire_(start.wire),
      client_port_(start.client_port),
      server_port_(start.server_port),
      // A window of nothing would keep the client from saying QUIT; ours takes one line.
      window_(std::max<std::uint16_t>(start.window, 1)),
      mss_(std::clamp<std::uint16_t>(start.mss, 88, 1200)),
      client_side_(start.client_side),
      timestamps_(start.timestamps),
      enhanced_(start.enhanced_status_codes) {
  reset_server(server_expects_);
  if (reply.empty()) {
    reset_client();
    state_ = State::resetting;
    return;
  }
  const std::uint32_t reply_at = end();
  octets_.insert(octets_.end(), reply.begin(), reply.end());
  send_from(reply_at);
  hear(early);
}

std::uint32_t Closing::end() const { return first_ + static_cast<std::uint32_t>(octets_.size()); }

void Closing::send_segment(std::uint8_t flags, std::uint32_t sequence, Bytes payload) {
  std::uint8_t frame[1600];
  net::SegmentTemplate::Segment segment{
      .source_port = server_port_,
      .destination_port = client_port_,
      .sequence = sequence,
      .acknowledgement = client_next_,
      .flags = flags,
      .window = window_,
      .has_timestamp = timestamps_,
      .timestamp_value = server_timestamp_,
      .timestamp_echo = client_timestamp_,
      .payload = payload,
  };
  const std::size_t size = to_client_.build(segment, frame);
  if (size) output_.inject(wire_, client_side_, Bytes(frame, size));
}

void Closing::send_from(std::uint32_t sequence) {
  std::size_t at = std::min<std::size_t>(sequence - first_, octets_.size());
  do {
    const std::size_t size = std::min<std::size_t>(mss_, octets_.size() - at);
    const bool last = at + size == octets_.size();
    std::uint8_t flags = flag::ack;
    if (size) flags |= flag::psh;
    if (last && fin_ && !fin_acknowledged_) flags |= flag::fin;
    send_segment(flags, first_ + static_cast<std::uint32_t>(at), Bytes(octets_).subspan(at, size));
    at += size;
  } while (at < octets_.size());
}

void Closing::reset_server(std::uint32_t sequence) {
  std::uint8_t frame[256];
  // RST without ACK: the receiver looks at the sequence number alone (RFC 9293 3.10.7.4).
  const std::size_t size = to_server_.build({.source_port = client_port_,
                                             .destination_port = server_port_,
                                             .sequence = sequence,
                                             .flags = flag::rst},
                                            frame);
  if (size) output_.inject(wire_, opposite(client_side_), Bytes(frame, size));
}

void Closing::reset_client() { send_segment(flag::rst | flag::ack, fin_ ? end() + 1 : end(), {}); }

void Closing::reset_again(Nanoseconds now) {
  if (resets_left_ == 0 || now < reset_at_) return;
  --resets_left_;
  reset_timeout_ *= 2;
  reset_at_ = now + reset_timeout_;
  reset_server(server_expects_);
  if (state_ != State::resetting) return;
  reset_client();
  if (resets_left_ == 0) state_ = State::ended;
}

void Closing::say_farewell(std::string_view line) {
  if (state_ != State::replied) return;
  const std::uint32_t at = end();
  octets_.insert(octets_.end(), line.begin(), line.end());
  fin_ = true;
  state_ = State::farewell;
  send_from(at);
}

void Closing::say_closing() {
  std::pmr::string line(enhanced_ ? "421 4.3.2 " : "421 ", line_.get_allocator());
  line += farewell_;
  line += "\r\n";
  say_farewell(line);
}

// Further client octets in order: the first whole line is answered, the rest is only acknowledged.
void Closing::hear(Bytes octets) {
  if (octets.empty() || state_ != State::replied) return;
  const std::string_view text = as_text(octets);
  line_.append(text.substr(0, kLineBound - std::min(line_.size(), kLineBound)));
  if (text.find('\n') == std::string_view::npos) return;
  if (is_quit(line_)) {
    say_farewell(enhanced_ ? "221 2.0.0 Bye\r\n" : "221 Bye\r\n");
    return;
  }
  say_closing();
}

void Closing::client_segment(const net::Packet& packet, Bytes payload, Nanoseconds now) {
  if (state_ == State::ended || packet.checksum_bad) return;
  if (packet.flags & flag::rst) {
    state_ = State::ended;
    return;
  }
  if (state_ == State::resetting) return reset_client();
  if (packet.has_timestamp &&
      static_cast<std::int32_t>(packet.timestamp_value - client_timestamp_) > 0)
    client_timestamp_ = packet.timestamp_value;

  if (packet.flags & flag::ack) {
    const std::uint32_t acknowledged = packet.acknowledgement - first_;
    const std::uint32_t sent = static_cast<std::uint32_t>(octets_.size()) + (fin_ ? 1 : 0);
    if (acknowledged > 0 && acknowledged <= sent) {
      if (fin_ && acknowledged == sent) fin_acknowledged_ = true;
      const auto octets = std::min<std::size_t>(acknowledged, octets_.size());
      octets_.erase(octets_.begin(), octets_.begin() + static_cast<std::ptrdiff_t>(octets));
      first_ += static_cast<std::uint32_t>(octets);
      heard_ = now;
      timeout_ = kFirstTimeout;
      resend_at_ = now + timeout_;
    }
  }

  const bool has_fin = (packet.flags & flag::fin) != 0;
  const std::uint32_t behind = client_next_ - packet.sequence;
  const bool in_order = !before(client_next_, packet.sequence);
  if (in_order && behind < payload.size()) {
    const Bytes fresh = payload.subspan(behind);
    client_next_ += static_cast<std::uint32_t>(fresh.size());
    heard_ = now;
    hear(fresh);
  }
  if (has_fin && !client_fin_ &&
      packet.sequence + static_cast<std::uint32_t>(payload.size()) == client_next_) {
    client_fin_ = true;
    ++client_next_;
    say_farewell({});
  }
  if (!payload.empty() || has_fin)
    send_segment(flag::ack, fin_ && fin_acknowledged_ ? end() + 1 : end(), {});
  if (fin_acknowledged_ && client_fin_) state_ = State::ended;
}

void Closing::server_segment(const net::Packet& packet) {
  if (packet.checksum_bad || (packet.flags & flag::rst) || !(packet.flags & flag::ack)) return;
  server_expects_ = packet.acknowledgement;
  reset_server(server_expects_);
}

bool Closing::tick(Nanoseconds now) {
  if (state_ == State::ended) return true;
  if (now - begun_ >= kBound) {
    reset_client();
    return true;
  }
  reset_again(now);
  if (state_ == State::resetting) return false;
  if (state_ == State::replied && now - heard_ >= kSilence) say_closing();
  const bool owed = !octets_.empty() || (fin_ && !fin_acknowledged_);
  if (owed && now >= resend_at_) {
    send_from(first_);
    timeout_ = std::min(timeout_ * 2, 10 * kSecond);
    resend_at_ = now + timeout_;
  }
  return false;
}

}  // namespace sluice::inspect
