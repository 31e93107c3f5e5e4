#include <bit>
#include <cstring>
#include <tuple>

#include "dataplane/flow/flow_table.h"

namespace sluice::flow {

KeyedPacket key_of(const net::Packet& packet, std::uint16_t wire) {
  KeyedPacket keyed;
  const auto ends = [](const Address& address, std::uint16_t port) {
    const std::uint8_t* const p = address.octets.data();
    return std::tuple(load_be64(p), load_be64(p + 8), port);
  };
  keyed.low_is_source =
      ends(packet.source, packet.source_port) <= ends(packet.destination, packet.destination_port);
  FlowKey& key = keyed.key;
  if (keyed.low_is_source) {
    key.low = packet.source;
    key.high = packet.destination;
    key.low_port = packet.source_port;
    key.high_port = packet.destination_port;
  } else {
    key.low = packet.destination;
    key.high = packet.source;
    key.low_port = packet.destination_port;
    key.high_port = packet.source_port;
  }
  key.set_tags(std::span(packet.vlan).first(packet.vlan_count),
               packet.pppoe ? packet.pppoe_session : std::uint16_t{0}, wire);
  return keyed;
}

namespace {
// Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), with one compression and three
// finalization rounds.
struct SipState {
  std::uint64_t v0, v1, v2, v3;

  explicit SipState(const HashKey& key)
      : v0(key.k0 ^ 0x736f6d6570736575),
        v1(key.k1 ^ 0x646f72616e646f6d),
        v2(key.k0 ^ 0x6c7967656e657261),
        v3(key.k1 ^ 0x7465646279746573) {}
  void round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void word(std::uint64_t m) {
    v3 ^= m;
    round();
    v0 ^= m;
  }
};
}  // namespace

std::uint64_t hash(const FlowKey& key, const HashKey& secret) {
  std::uint64_t words[6]{};
  std::memcpy(words, &key, sizeof key);
  SipState sip(secret);
  static_assert(sizeof(FlowKey) % 8 == 4, "the length goes into the rest of the last word");
  for (std::size_t i = 0; i < 5; ++i) sip.word(words[i]);
  sip.word(words[5] | std::uint64_t{sizeof(FlowKey)} << 56);
  sip.v2 ^= 0xff;
  sip.round();
  sip.round();
  sip.round();
  return sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3;
}

}  // namespace sluice::flow
