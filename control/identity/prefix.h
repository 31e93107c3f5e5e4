// Addresses and prefixes as people write them.
//
// Reading is strict, because a list of a million lines is acted on: no leading zeros (010.8.8.8 is
// octal to some programs and decimal to others), no missing octets, no zone, no trailing text.
// An IPv4-mapped IPv6 address is its IPv4 address (case E06); NAT64 and 6to4 forms are not.
// Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "control/publish/image.h"
#include "dataplane/base/address.h"
#include "dataplane/base/result.h"

namespace sluice::control {

// The error says what is wrong with the text, in a few words, without repeating it.
Result<Address> parse_address(std::string_view text);

struct ParsedPrefix {
  Prefix prefix;               // host bits masked
  bool had_host_bits = false;  // the text had some set
};
// An address, or an address with a slash and a length: 0..32 for IPv4, 0..128 for IPv6.
Result<ParsedPrefix> parse_prefix(std::string_view text);

// RFC 5952 text of an address; IPv4 in dotted form.
std::string to_text(const Address& address);
// With the length of the address's own version; a single host without a slash.
std::string to_text(const Prefix& prefix);

// `address` with all bits from `length` (0..128, of the 128-bit form) on cleared.
Address mask(const Address& address, std::uint8_t length);
bool contains(const Prefix& prefix, const Address& address);
// True when every address of the prefix is IPv4 (its length is at least 96 of the mapped form).
bool is_v4(const Prefix& prefix);

}  // namespace sluice::control
