#include "perf/stages/material.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>

#include "dataplane/inspect/engine.h"
#include "dataplane/mime/parser.h"

namespace sluice::perf {
namespace {

// Forwards everything, keeps every event.
class Keeper final : public inspect::Output, public contract::EventSink {
 public:
  explicit Keeper(std::vector<std::vector<std::uint8_t>>& events) : events_(events) {}
  void forward(inspect::Frame&, bool) override {}
  void drop(inspect::Frame&, contract::DropReason) override {}
  void inject(std::uint16_t, Side, Bytes) override {}
  void mark_flow(const flow::FlowKey&, inspect::FlowMark) override {}
  bool write(Bytes record) override {
    events_.emplace_back(record.begin(), record.end());
    return true;
  }

 private:
  std::vector<std::vector<std::uint8_t>>& events_;
};

class Recorder;

// One flow: what its TCP delivers goes to SMTP, what that delivers to MIME, what that delivers to
// the scanner; each hand-over is recorded.
class Flow final : public QuietSession, public mime::ParserSink {
 public:
  Flow(Recorder& recorder, std::uint32_t number);

  void on_message_begin(smtp::TransactionId, smtp::Via) override;
  void on_message_data(smtp::TransactionId, Bytes octets) override;
  smtp::MessageVerdict on_message_end(smtp::TransactionId, smtp::MessageEnd) override;

  void on_header(mime::PartNumber, std::string_view, std::string_view, std::string_view) override {}
  void on_header_raw(mime::PartNumber part, Bytes octets) override;
  void on_header_end(mime::PartNumber part) override;
  void on_part_begin(const mime::Part&) override {}
  void on_part_data(mime::PartNumber part, mime::DataKind kind, Bytes octets) override;
  void on_part_end(const mime::PartEnd& end) override;
  void on_url(mime::PartNumber, std::string_view, std::string_view) override {}
  void on_anomaly(contract::Anomaly) override {}

  tcp::Connection connection;
  smtp::Session session;

 private:
  void scanned(scan::Buffer buffer, Bytes octets, Piece::Then then = Piece::Then::more);

  Recorder& recorder_;
  std::uint32_t number_;
  std::optional<mime::Parser> parser_;
};

class Recorder final : public tcp::StreamSink {
 public:
  Recorder(Material& material, const scan::Ruleset& ruleset) : out(material), rules(ruleset) {}

  Piece keep(std::uint32_t flow, Bytes octets) {
    const Piece piece{.flow = flow,
                      .size = static_cast<std::uint32_t>(octets.size()),
                      .offset = out.octets.size()};
    out.octets.insert(out.octets.end(), octets.begin(), octets.end());
    return piece;
  }
  std::size_t on_data(Direction direction, std::uint64_t, Bytes octets) override {
    Piece piece = keep(number, octets);
    piece.direction = direction;
    out.stream.push_back(piece);
    if (direction == Direction::to_server) {
      if (scan::MessageScan::wanted(rules, scan::Buffer::stream)) out.scanned.push_back(piece);
      flow->session.client(octets);
    } else {
      flow->session.server(octets);
    }
    return octets.size();
  }
  void on_gap(Direction, std::uint64_t, std::uint64_t) override {}
  void on_alternative(Direction, std::uint64_t, Bytes) override {}
  void on_anomaly(contract::Anomaly) override {}

  Material& out;
  const scan::Ruleset& rules;
  Flow* flow = nullptr;  // whose segment it is
  std::uint32_t number = 0;
};

Flow::Flow(Recorder& recorder, std::uint32_t number)
    : connection({}, std::pmr::get_default_resource()),
      session({}, *this, std::pmr::get_default_resource()),
      recorder_(recorder),
      number_(number) {}

void Flow::on_message_begin(smtp::TransactionId, smtp::Via) {
  mime::Limits limits;
  limits.hash_sha256 = false;
  parser_.emplace(limits, *this, std::pmr::get_default_resource());
}

void Flow::on_message_data(smtp::TransactionId, Bytes octets) {
  recorder_.out.message.push_back(recorder_.keep(number_, octets));
  parser_->feed(octets);
}

smtp::MessageVerdict Flow::on_message_end(smtp::TransactionId, smtp::MessageEnd) {
  Piece end = recorder_.keep(number_, {});
  end.then = Piece::Then::message_ends;
  recorder_.out.message.push_back(end);
  ++recorder_.out.messages;
  parser_->finish();
  parser_.reset();
  recorder_.out.scanned.push_back(end);
  return smtp::MessageVerdict::pass;
}

void Flow::scanned(scan::Buffer buffer, Bytes octets, Piece::Then then) {
  if (!scan::MessageScan::wanted(recorder_.rules, buffer)) return;
  Piece piece = recorder_.keep(number_, octets);
  piece.buffer = buffer;
  piece.then = then;
  recorder_.out.scanned.push_back(piece);
}

void Flow::on_header_raw(mime::PartNumber part, Bytes octets) {
  if (part == 0) scanned(scan::Buffer::header, octets);
}

void Flow::on_header_end(mime::PartNumber part) {
  if (part == 0) scanned(scan::Buffer::header, {}, Piece::Then::item_ends);
}

void Flow::on_part_data(mime::PartNumber, mime::DataKind kind, Bytes octets) {
  if (kind == mime::DataKind::decoded) scanned(scan::Buffer::decoded, octets);
  if (kind == mime::DataKind::text) scanned(scan::Buffer::text, octets);
}

void Flow::on_part_end(const mime::PartEnd& end) {
  if (mime::is_alternative(end.number)) return;
  scanned(scan::Buffer::decoded, {}, Piece::Then::item_ends);
  scanned(scan::Buffer::text, {}, Piece::Then::item_ends);
}

}  // namespace

Material record(const Capture& capture, const policy::Policy& policy) {
  Material out;
  std::vector<std::uint8_t> work = capture.octets;
  const std::size_t frames = capture.frames.size();
  out.last_frame.resize(capture.flows.size());
  {
    Recorder recorder(out, policy.ruleset());
    std::vector<std::unique_ptr<Flow>> flows(capture.flows.size());
    for (std::size_t i = 0; i < frames; ++i) {
      const Recorded& f = capture.frames[i];
      const MutableBytes octets = MutableBytes(work).subspan(f.offset, f.size);
      const net::Packet packet = net::parse(octets, {});
      out.packets.push_back(packet);
      out.keys.push_back(flow::key_of(packet, 0));
      out.to_server.push_back(f.side == Side::inside);
      out.last_frame[f.flow] = i;
      auto& flow = flows[f.flow];
      if (!flow) flow = std::make_unique<Flow>(recorder, f.flow);
      recorder.flow = flow.get();
      recorder.number = f.flow;
      flow->connection.segment(f.side == Side::inside ? Direction::to_server : Direction::to_client,
                               packet, octets.subspan(packet.payload_offset, packet.payload_size),
                               f.time, recorder);
    }
  }
  Keeper keeper(out.events);
  const auto statistics = std::make_unique<contract::WorkerStatistics>();
  inspect::Settings settings;
  settings.wires = {"w1"};
  inspect::Engine engine(settings, *statistics, keeper, keeper, std::pmr::get_default_resource());
  if (Status set = engine.set_policy(policy); !set) {
    std::fprintf(stderr, "%s\n", set.error().c_str());
    std::exit(1);
  }
  for (const Recorded& f : capture.frames) {
    inspect::Frame frame{.octets = MutableBytes(work).subspan(f.offset, f.size), .side = f.side};
    engine.process({&frame, 1}, {.monotonic = f.time, .wall = f.time});
  }
  out.alerts = statistics->read(contract::Counter::alerts);
  if (out.messages == 0 || out.messages != statistics->read(contract::Counter::messages)) {
    std::fprintf(stderr, "the stages saw %zu messages, the pipeline %llu\n", out.messages,
                 static_cast<unsigned long long>(statistics->read(contract::Counter::messages)));
    std::exit(1);
  }
  return out;
}

}  // namespace sluice::perf
