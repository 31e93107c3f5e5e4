// What each stage of the pipeline gets and gives for a capture, recorded once, so that every stage
// can be run alone on the same octets in the same order.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/net/packet.h"
#include "dataplane/scan/scan.h"
#include "dataplane/smtp/session.h"
#include "dataplane/tcp/connection.h"
#include "perf/support/recorded.h"

namespace sluice::perf {

// A session whose meaning nobody asks for.
class QuietSession : public smtp::SessionSink {
 public:
  void on_helo(std::string_view) override {}
  void on_mail(smtp::TransactionId, std::string_view, std::string_view, std::string_view) override {
  }
  void on_rcpt(smtp::TransactionId, std::uint32_t, std::string_view, std::string_view) override {}
  void on_envelope_reply(smtp::TransactionId, std::uint32_t, const smtp::Reply&) override {}
  void on_message_begin(smtp::TransactionId, smtp::Via) override {}
  void on_message_data(smtp::TransactionId, Bytes) override {}
  void on_stuffed_dot(smtp::TransactionId) override {}
  smtp::MessageVerdict on_message_end(smtp::TransactionId, smtp::MessageEnd) override {
    return smtp::MessageVerdict::pass;
  }
  void on_transaction_end(smtp::TransactionId, const smtp::Reply&) override {}
  void on_smuggled_envelope(smtp::TransactionId, std::string_view, std::string_view) override {}
  void on_smuggled_data(smtp::TransactionId, Bytes) override {}
  void on_auth(std::string_view, std::string_view, std::uint16_t) override {}
  void on_command(smtp::Verb) override {}
  void on_reply(const smtp::Reply&) override {}
  void on_tls(bool) override {}
  void on_opaque(Direction, Bytes) override {}
  void on_anomaly(contract::Anomaly) override {}
};

// A stream whose octets nobody reads.
struct QuietStream : tcp::StreamSink {
  std::size_t on_data(Direction, std::uint64_t, Bytes octets) override { return octets.size(); }
  void on_gap(Direction, std::uint64_t, std::uint64_t) override {}
  void on_alternative(Direction, std::uint64_t, Bytes) override {}
  void on_anomaly(contract::Anomaly) override {}
};

// Octets of a flow, in Material::octets.
struct Piece {
  std::uint32_t flow;
  std::uint32_t size;
  std::size_t offset;
  Direction direction = Direction::to_server;
  scan::Buffer buffer = scan::Buffer::stream;
  // What happens behind the octets.
  enum class Then : std::uint8_t { more, item_ends, message_ends } then = Then::more;
};

struct Material {
  std::vector<std::uint8_t> octets;
  std::vector<net::Packet> packets;  // of every frame
  std::vector<flow::KeyedPacket> keys;
  std::vector<std::uint8_t> to_server;  // by frame: 1
  std::vector<std::size_t> last_frame;  // by flow: index of its last frame
  std::vector<Piece> stream;            // what TCP delivers
  std::vector<Piece> message;           // what SMTP delivers
  std::vector<Piece> scanned;           // what the rules look at
  std::vector<std::vector<std::uint8_t>> events;
  std::size_t messages = 0;
  std::size_t alerts = 0;

  Bytes of(const Piece& piece) const { return Bytes(octets).subspan(piece.offset, piece.size); }
};

// Runs the capture through the stages. Ends the program when it is not mail from its first frames.
Material record(const Capture& capture, const policy::Policy& policy);

}  // namespace sluice::perf
