#include "dataplane/app/capture_tap.h"

#include <algorithm>
#include <cstring>

#include "dataplane/net/packet.h"

namespace sluice::app {
namespace {

bool holds(const contract::ChannelCapture& order, const Address& address) {
  const unsigned bits = std::min<unsigned>(order.length, 128);
  const unsigned whole = bits / 8;
  if (std::memcmp(order.prefix, address.octets.data(), whole) != 0) return false;
  if (bits % 8 == 0) return true;
  const auto mask = static_cast<std::uint8_t>(0xff << (8 - bits % 8));
  return ((order.prefix[whole] ^ address.octets[whole]) & mask) == 0;
}

}  // namespace

void CaptureTap::order(const contract::ChannelCapture& order) {
  if (order.slot >= slots_.size()) return;
  slots_[order.slot] = order;
  used_ = static_cast<unsigned>(
      std::count_if(slots_.begin(), slots_.end(), [](const auto& s) { return s.identity != 0; }));
}

void CaptureTap::see(Bytes frame, std::uint16_t wire, Side side, const inspect::Time& now) {
  const net::Packet packet = net::parse(frame, {.verify_checksums = false});
  const bool tcp = packet.kind == net::PacketKind::tcp;
  if (!tcp && packet.kind != net::PacketKind::fragment) return;
  for (contract::ChannelCapture& slot : slots_) {
    if (slot.identity == 0) continue;
    if (slot.until <= now.monotonic) {
      const contract::ChannelCapture free{.slot = slot.slot};
      order(free);
      continue;
    }
    if (!holds(slot, packet.source) && !holds(slot, packet.destination)) continue;
    if (!sink_.roomy()) {
      ++left_out_;
      continue;
    }
    contract::EventHeader header;
    header.type = contract::kCapturedFrame;
    header.wall_time = now.wall;
    header.source = packet.source;
    header.destination = packet.destination;
    header.source_port = packet.source_port;
    header.destination_port = packet.destination_port;
    header.wire = wire;
    header.worker = worker_;
    header.side = static_cast<std::uint8_t>(side);
    writer_.begin(header);
    writer_.put_number(contract::kCaptureIdentity, slot.identity);
    writer_.put_number(contract::kFrameLength, static_cast<std::uint32_t>(frame.size()));
    // Behind a fragment's IP header stand octets that may be the conversation's.
    const std::size_t headers = tcp ? packet.payload_offset : packet.transport_offset;
    const std::size_t most = slot.full != 0 ? frame.size() : std::min(headers, frame.size());
    writer_.put(contract::kFrameOctets,
                frame.first(std::min(most, contract::EventWriter::kMaxFieldSize)));
    if (!sink_.write(writer_.finish())) ++left_out_;
  }
}

}  // namespace sluice::app
