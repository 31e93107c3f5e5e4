// Frames for the parser, and what is done with parsed frames: rebuilding fragments, writing
// segments from them, trimming, refreshing. An input is one octet of options and then frames, each
// with its length before it in two octets; the last takes what is left.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory_resource>
#include <vector>

#include "dataplane/net/defragmenter.h"
#include "dataplane/net/packet.h"
#include "dataplane/net/segment_builder.h"

namespace {

using namespace sluice;

// Not assert(): the check is the point of this program.
void check(bool holds) {
  if (!holds) std::abort();
}

void check_bounds(Bytes frame, const net::Packet& p) {
  check(p.anomaly_count <= std::size(p.anomalies));
  check(p.vlan_count <= net::kMaxTags && p.outer_count <= net::kMaxTunnels);
  if (p.kind == net::PacketKind::other) return;
  check(p.network_offset < p.transport_offset && p.transport_offset <= p.payload_offset);
  check(std::size_t{p.payload_offset} + p.payload_size <= frame.size());
  if (p.kind == net::PacketKind::tcp) check(p.payload_offset >= p.transport_offset + 20);
}

// A frame that was put right must be read as it was, without a wrong checksum.
void check_same(Bytes frame, const net::Packet& before, net::ParseOptions options,
                std::size_t payload) {
  options.verify_checksums = true;
  const net::Packet after = net::parse(frame, options);
  check(after.kind == net::PacketKind::tcp && !after.checksum_bad);
  check(after.payload_offset == before.payload_offset && after.payload_size == payload);
  check(after.sequence == before.sequence && after.source == before.source);
}

void rewrite(Bytes frame, const net::Packet& p, const net::ParseOptions& options) {
  std::vector<std::uint8_t> copy(frame.begin(), frame.end());
  net::refresh_checksum(copy, p);
  if (p.kind == net::PacketKind::tcp && copy.size() <= 0xffff)
    check_same(copy, p, options, p.payload_size);
  const std::size_t keep = p.payload_size / 2;
  copy.resize(net::trim_payload(copy, p, keep));
  if (p.kind == net::PacketKind::tcp && p.payload_size > 1 && copy.size() <= 0xffff)
    check_same(copy, p, options, keep);

  const std::uint8_t text[] = {'5', '5', '0'};
  std::vector<std::uint8_t> out(256);
  for (const bool back : {false, true}) {
    const auto t = back ? net::SegmentTemplate::reversed(frame, p, options.link)
                        : net::SegmentTemplate::from_frame(frame, p, options.link);
    const std::size_t size = t.build({.has_timestamp = true, .payload = text}, out);
    check((size == 0) == t.empty());
    if (size == 0) continue;
    const net::Packet built = net::parse(Bytes(out).first(size), options);
    check(built.kind == net::PacketKind::tcp && built.payload_size == sizeof text);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  net::ParseOptions options;
  options.verify_checksums = (data[0] & 1) != 0;
  options.link = (data[0] & 2) != 0 ? net::LinkType::raw_ip : net::LinkType::ethernet;
  net::Defragmenter defragmenter({.datagrams = 4, .octets = 64 * 1024},
                                 std::pmr::new_delete_resource());
  Bytes rest(data + 1, size - 1);
  Nanoseconds now = 0;
  while (!rest.empty()) {
    std::size_t length = rest.size();
    if (rest.size() >= 2) {
      length = std::min<std::size_t>(load_be16(rest.data()), rest.size() - 2);
      rest = rest.subspan(2);
    }
    // A block of its own, so that a read beyond the frame is seen.
    const std::vector<std::uint8_t> frame(rest.begin(),
                                          rest.begin() + static_cast<std::ptrdiff_t>(length));
    rest = rest.subspan(length);
    now += 3 * kSecond;
    const net::Packet p = net::parse(frame, options);
    check_bounds(frame, p);
    rewrite(frame, p, options);
    if (p.kind != net::PacketKind::fragment) continue;
    const auto result = defragmenter.add(frame, p, now);
    check(defragmenter.datagrams() <= 4 && defragmenter.octets() <= 64 * 1024);
    for (const Bytes datagram : {result.datagram, result.alternative}) {
      if (datagram.empty()) continue;
      check(datagram.size() <= 65'535 + 40);
      check_bounds(datagram, net::parse_datagram(datagram, p, options));
    }
  }
  return 0;
}
