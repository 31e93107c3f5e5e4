#include "dataplane/io/spread.h"

#include <sys/random.h>

#include <algorithm>

#include "dataplane/net/headers.h"
#include "xdp/contract/steer.h"

namespace sluice::io {

namespace {

std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t load64(const std::uint8_t* p) {
  std::uint64_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// Keyed and non-linear (a folded multiply), of one address. The pair's hash is the sum: it does not
// depend on the order, and unlike exclusive or it does not vanish for equal addresses.
std::uint64_t address_hash(const std::uint8_t* p, std::size_t size, const SpreadKey& key) {
  if (size == 4) {
    std::uint32_t v;
    std::memcpy(&v, p, sizeof v);
    return fold(v ^ key.k0, key.k1 ^ 0x9e3779b97f4a7c15u);
  }
  const std::uint64_t high = fold(load64(p) ^ key.k0, key.k1 ^ 0xe7037ed1a0b428dbu);
  return fold(load64(p + 8) ^ key.k1, high ^ key.k0);
}

// Offset of the outermost IP header, behind up to three tags, MPLS labels and PPPoE.
std::optional<std::size_t> ip_offset(Bytes frame, unsigned& version) {
  if (frame.size() < 14) return std::nullopt;
  std::size_t at = 12;
  std::uint16_t type = load_be16(frame.data() + at);
  at += 2;
  for (int tags = 0; tags < 3 && net::is_tag(type); ++tags) {
    if (frame.size() < at + 4) return std::nullopt;
    type = load_be16(frame.data() + at + 2);
    at += 4;
  }
  if (type == 0x8847 || type == 0x8848) {
    for (int labels = 0;; ++labels) {
      if (labels == 8 || frame.size() < at + 4) return std::nullopt;
      const bool bottom = (frame[at + 2] & 1) != 0;
      at += 4;
      if (bottom) break;
    }
    if (frame.size() <= at) return std::nullopt;
    version = frame[at] >> 4;
    return at;
  }
  if (type == 0x8864) {
    at += 6;
    if (frame.size() < at + 2) return std::nullopt;
    // The protocol field may be compressed to one octet (RFC 1661 6.5).
    std::uint16_t protocol = frame[at];
    std::size_t field = 1;
    if ((protocol & 1) == 0) {
      protocol = load_be16(frame.data() + at);
      field = 2;
    }
    at += field;
    type = protocol == 0x21 ? 0x0800 : protocol == 0x57 ? 0x86dd : 0;
  }
  if (type == 0x0800) {
    version = 4;
  } else if (type == 0x86dd) {
    version = 6;
  } else {
    return std::nullopt;
  }
  return at;
}

}  // namespace

SpreadKey random_spread_key() {
  SpreadKey key;
  if (getrandom(&key, sizeof key, 0) != static_cast<ssize_t>(sizeof key)) {
    key = {0x243f6a8885a308d3u, 0x13198a2e03707344u};
  }
  return key;
}

std::optional<std::uint8_t> owner_of(Bytes frame, unsigned workers, const SpreadKey& key) {
  unsigned version = 0;
  const std::optional<std::size_t> at = ip_offset(frame, version);
  if (!at) return std::nullopt;
  const std::uint8_t* header = frame.data() + *at;
  std::uint64_t sum = 0;
  if (version == 4 && frame.size() >= *at + 20 && header[0] >> 4 == 4) {
    sum = address_hash(header + 12, 4, key) + address_hash(header + 16, 4, key);
  } else if (version == 6 && frame.size() >= *at + 40 && header[0] >> 4 == 6) {
    sum = address_hash(header + 8, 16, key) + address_hash(header + 24, 16, key);
  } else {
    return std::nullopt;
  }
  const std::uint64_t mixed = fold(sum ^ key.k1, 0xa0761d6478bd642fu);
  return static_cast<std::uint8_t>(static_cast<unsigned __int128>(mixed) * workers >> 64);
}

namespace {

// Ports and payload of a TCP segment whose header begins at `at`; `end` is that of the datagram.
void read_segment(Bytes frame, std::size_t at, std::size_t end, const SpreadKey& key,
                  Whose& found) {
  if (end > frame.size() || at + 20 > end) return;
  const std::size_t header = std::size_t{frame[at + 12]} >> 4 << 2;
  if (header < 20 || at + header > end) return;
  std::uint32_t ports;
  std::memcpy(&ports, frame.data() + at, sizeof ports);
  found.flow = fold(found.flow ^ ports, key.k1 ^ 0x9e3779b97f4a7c15u);
  found.payload = static_cast<std::uint32_t>(end - at - header);
  found.segment = true;
}

std::uint8_t host_of(const std::uint8_t* address, std::size_t size, const SpreadKey& key) {
  std::uint32_t words[4]{};
  std::memcpy(size == 4 ? words + 3 : words, address, size);
  return static_cast<std::uint8_t>(steer_host(host_key(key), words));
}

}  // namespace

Whose whose(Bytes frame, Side from, const SpreadKey& key) {
  Whose found;
  unsigned version = 0;
  const std::optional<std::size_t> at = ip_offset(frame, version);
  if (!at) return found;
  const std::uint8_t* ip = frame.data() + *at;
  const std::size_t inside = from == Side::inside ? 0 : 1;  // the source, or the destination
  constexpr std::uint8_t kTcp = 6;
  if (version == 4 && frame.size() >= *at + 20 && ip[0] >> 4 == 4) {
    const std::uint64_t ends[2] = {address_hash(ip + 12, 4, key), address_hash(ip + 16, 4, key)};
    found.host = host_of(ip + 12 + inside * 4, 4, key);
    found.flow = fold(ends[0] ^ key.k0, ends[1] ^ key.k1);
    const bool fragment = (load_be16(ip + 6) & 0x3fff) != 0;
    const std::size_t header = std::size_t{ip[0] & 0x0fu} * 4;
    if (ip[9] == kTcp && !fragment && header >= 20)
      read_segment(frame, *at + header, *at + load_be16(ip + 2), key, found);
  } else if (version == 6 && frame.size() >= *at + 40 && ip[0] >> 4 == 6) {
    const std::uint64_t ends[2] = {address_hash(ip + 8, 16, key), address_hash(ip + 24, 16, key)};
    found.host = host_of(ip + 8 + inside * 16, 16, key);
    found.flow = fold(ends[0] ^ key.k0, ends[1] ^ key.k1);
    if (ip[6] == kTcp) read_segment(frame, *at + 40, *at + 40 + load_be16(ip + 4), key, found);
  }
  return found;
}

}  // namespace sluice::io
