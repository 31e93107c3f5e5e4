// Who a relay says that it speaks for: PROXY v1 and v2 preambles (HAProxy's proxy-protocol.txt),
// XCLIENT and XFORWARD (Postfix' XCLIENT_README, XFORWARD_README). Anybody can say so: it is
// parsed and told, and nothing is decided by it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "dataplane/base/address.h"

namespace sluice::smtp {

struct ClaimedClient {
  enum class Via : std::uint8_t { proxy, xclient, xforward };
  Via via = Via::proxy;
  std::optional<Address> address;
  std::uint16_t port = 0;  // 0: not said
  // Empty: not said. Views into the line, or into `text` where xtext was undone.
  std::string_view name;
  std::string_view helo;
  std::string_view login;

  bool empty() const {
    return !address && port == 0 && name.empty() && helo.empty() && login.empty();
  }
};
inline constexpr std::string_view kClaimNames[] = {"proxy", "xclient", "xforward"};

// An address in text: IPv4, IPv6, or with "IPV6:" in front (RFC 5321 4.1.3).
std::optional<Address> parse_address(std::string_view text);

// The line of a PROXY v1 preamble without its line ending. Nothing when it is malformed; a claim
// without an address for UNKNOWN.
std::optional<ClaimedClient> parse_proxy_line(std::string_view line);

// The address block of a PROXY v2 preamble: `family` is its 14th octet, `block` at least what
// that family needs (else nothing is claimed).
inline constexpr std::size_t kProxyAddresses = 36;  // octets of the largest that is read
ClaimedClient parse_proxy_block(std::uint8_t family, Bytes block);

// Attributes of XCLIENT or XFORWARD (`argument`: NAME=value ...; values are xtext, RFC 3461 4).
// `text` takes values that had to be decoded and must live as long as the result.
class ClaimText {
 public:
  std::string_view decode(std::string_view xtext);

 private:
  char octets_[768];
  std::size_t size_ = 0;
};
ClaimedClient parse_claim(ClaimedClient::Via via, std::string_view argument, ClaimText& text);

}  // namespace sluice::smtp
