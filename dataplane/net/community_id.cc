#include "dataplane/net/community_id.h"

// EVP allocates for each digest (OpenSSL 3.0), and this one is made for every flow.
#define OPENSSL_SUPPRESS_DEPRECATED

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>
#include <utility>

#include "dataplane/base/bytes.h"

namespace sluice::net {
namespace {

constexpr std::uint8_t kIcmp = 1, kTcp = 6, kUdp = 17, kIcmp6 = 58, kSctp = 132;

struct Counterpart {
  std::uint8_t type;
  std::uint8_t answer;
};
// Types of ICMP messages that belong together: their "ports" are the type and its counterpart.
constexpr Counterpart kIcmpPairs[] = {{8, 0},   {0, 8},   {13, 14}, {14, 13}, {15, 16},
                                      {16, 15}, {17, 18}, {18, 17}, {10, 9},  {9, 10}};
constexpr Counterpart kIcmp6Pairs[] = {{128, 129}, {129, 128}, {133, 134}, {134, 133},
                                       {135, 136}, {136, 135}, {130, 131}, {131, 130},
                                       {144, 145}, {145, 144}, {139, 140}, {140, 139}};

template <std::size_t N>
const Counterpart* find(const Counterpart (&pairs)[N], std::uint16_t type) {
  const auto* it = std::find_if(std::begin(pairs), std::end(pairs),
                                [&](const Counterpart& c) { return c.type == type; });
  return it == std::end(pairs) ? nullptr : it;
}

}  // namespace

CommunityId community_id(const Address& source, const Address& destination,
                         std::uint16_t source_port, std::uint16_t destination_port,
                         std::uint8_t protocol) {
  const bool icmp = protocol == kIcmp || protocol == kIcmp6;
  const bool ports = icmp || protocol == kTcp || protocol == kUdp || protocol == kSctp;
  bool one_way = false;
  if (icmp) {
    const Counterpart* pair =
        protocol == kIcmp ? find(kIcmpPairs, source_port) : find(kIcmp6Pairs, source_port);
    one_way = pair == nullptr;
    if (pair != nullptr) destination_port = pair->answer;
  }
  const Address* low = &source;
  const Address* high = &destination;
  std::uint16_t low_port = ports ? source_port : 0;
  std::uint16_t high_port = ports ? destination_port : 0;
  if (!one_way && std::pair(*high, high_port) < std::pair(*low, low_port)) {
    std::swap(low, high);
    std::swap(low_port, high_port);
  }
  std::array<std::uint8_t, 2 + 32 + 2 + 4> octets{};  // begins with the seed, 0
  std::size_t size = 2;
  const bool v4 = source.is_v4() && destination.is_v4();
  for (const Address* a : {low, high}) {
    const std::size_t from = v4 ? 12 : 0;
    std::memcpy(&octets[size], a->octets.data() + from, 16 - from);
    size += 16 - from;
  }
  octets[size++] = protocol;
  octets[size++] = 0;
  if (ports) {
    store_be16(&octets[size], low_port);
    store_be16(&octets[size + 2], high_port);
    size += 4;
  }
  std::array<std::uint8_t, SHA_DIGEST_LENGTH> digest;
  SHA_CTX sha1;
  SHA1_Init(&sha1);
  SHA1_Update(&sha1, octets.data(), size);
  SHA1_Final(digest.data(), &sha1);
  std::array<std::uint8_t, 32> encoded;  // 28 characters and a NUL
  EVP_EncodeBlock(encoded.data(), digest.data(), digest.size());
  CommunityId id{{'1', ':'}};
  std::copy_n(encoded.begin(), id.text.size() - 2, id.text.begin() + 2);
  return id;
}

}  // namespace sluice::net
