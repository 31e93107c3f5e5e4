// The end of a connection whose message was stopped: we speak to the client in the server's voice
// and reset the server.
//
//            begin()                      a further command, or silence
//   replying ────────► reply sent ──────────────────────────────────────► farewell + FIN sent
//      │                   │ client FIN: FIN sent                              │ FIN acknowledged,
//      │                   ▼                                                   ▼ client FIN seen
//      └── RST, or the bound in time ──────────────────────────────────────► ended
//   resetting (no reply) ── the last RST was sent again ──────────────────────┘
//
// Kept are the server's octets that the client has not acknowledged, our replies, and nothing else;
// all are sent again by timer (RFC 6298: doubling) until acknowledged. The server gets a RST with
// the sequence number that it expects; each segment that still comes from it (a challenge ACK,
// RFC 5961 3.2, tells the number) is answered by another, and a few are sent again by timer,
// because nobody acknowledges a RST that was lost. The whole state ends within kBound.
#pragma once

#include <memory_resource>
#include <string>
#include <vector>

#include "dataplane/base/direction.h"
#include "dataplane/inspect/engine.h"
#include "dataplane/net/segment_builder.h"

namespace sluice::inspect {

class Closing {
 public:
  static constexpr Nanoseconds kBound = 30 * kSecond;
  static constexpr Nanoseconds kSilence = 5 * kSecond;  // then the farewell is said unasked
  static constexpr Nanoseconds kFirstTimeout = 300 * kMillisecond;
  static constexpr std::uint8_t kResetsAgain = 3;

  struct Start {
    net::SegmentTemplate to_client;
    net::SegmentTemplate to_server;
    std::uint16_t wire = 0;
    Side client_side = Side::inside;
    std::uint16_t client_port = 0;
    std::uint16_t server_port = 0;
    std::uint32_t client_next = 0;   // all client octets before this are acknowledged to the client
    std::uint32_t server_first = 0;  // sequence number of the first octet of `unacknowledged`
    std::uint32_t server_expects = 0;  // first client octet that was not forwarded
    std::uint16_t window = 0;          // as the server last advertised it
    std::uint16_t mss = 536;           // of the client
    bool timestamps = false;
    std::uint32_t server_timestamp = 0;
    std::uint32_t client_timestamp = 0;
    bool enhanced_status_codes = false;
    std::string_view farewell;  // text of the 421, without codes
  };

  // `unacknowledged` are the server's octets that the client may not have; `reply` whole lines with
  // their CRLF, empty for a reset without a word; `early` client octets that follow the message.
  Closing(const Start& start, Bytes unacknowledged, std::string_view reply, Bytes early,
          Output& output, std::pmr::memory_resource* memory, Nanoseconds now);

  // Segments of the connection that come in from now on; the caller drops the frames.
  void client_segment(const net::Packet& packet, Bytes payload, Nanoseconds now);
  void server_segment(const net::Packet& packet);
  // Timers. True when there is nothing more to do.
  bool tick(Nanoseconds now);
  bool ended() const { return state_ == State::ended; }
  // Both ends were reset and nothing else will be said: a SYN is a new connection's.
  bool only_resets() const { return state_ == State::resetting; }

 private:
  enum class State : std::uint8_t { replied, farewell, resetting, ended };

  void hear(Bytes octets);
  void say_farewell(std::string_view line);
  void say_closing();  // 421, in the operator's words
  void send_from(std::uint32_t sequence);
  void send_segment(std::uint8_t flags, std::uint32_t sequence, Bytes payload);
  void reset_server(std::uint32_t sequence);
  void reset_client();
  void reset_again(Nanoseconds now);
  std::uint32_t end() const;  // sequence number after the last octet to send, FIN not counted

  net::SegmentTemplate to_client_;
  net::SegmentTemplate to_server_;
  Output& output_;
  std::pmr::vector<std::uint8_t> octets_;  // from first_ on: not yet acknowledged by the client
  std::pmr::string line_;                  // of the client's further command, bounded
  std::pmr::string farewell_;
  std::uint32_t first_;
  std::uint32_t client_next_;
  std::uint32_t server_expects_;
  std::uint32_t client_timestamp_;
  std::uint32_t server_timestamp_;
  Nanoseconds begun_;
  Nanoseconds heard_;  // last new octet or acknowledgement of the client
  Nanoseconds resend_at_;
  Nanoseconds timeout_ = kFirstTimeout;
  Nanoseconds reset_at_;  // the next RST that nobody asked for
  Nanoseconds reset_timeout_ = kFirstTimeout;
  std::uint16_t wire_;
  std::uint16_t client_port_;
  std::uint16_t server_port_;
  std::uint16_t window_;
  std::uint16_t mss_;
  Side client_side_;
  State state_ = State::replied;
  std::uint8_t resets_left_ = kResetsAgain;
  bool timestamps_;
  bool enhanced_;
  bool fin_ = false;  // ours stands after the octets
  bool fin_acknowledged_ = false;
  bool client_fin_ = false;
};

}  // namespace sluice::inspect
