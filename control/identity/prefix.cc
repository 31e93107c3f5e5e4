#include "control/identity/prefix.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace sluice::control {
namespace {

// The number in `text`, all of it decimal digits without a leading zero, at most `most`.
std::optional<unsigned> strict_number(std::string_view text, unsigned most) {
  if (text.empty() || text.size() > 3 || (text.size() > 1 && text.front() == '0')) {
    return std::nullopt;
  }
  unsigned value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  if (value > most) return std::nullopt;
  return value;
}

Result<Address> parse_v4(std::string_view text) {
  std::uint8_t octets[4];
  for (int i = 0; i < 4; ++i) {
    const std::size_t dot = text.find('.');
    if ((dot == std::string_view::npos) != (i == 3)) {
      return Error{"an IPv4 address has four octets"};
    }
    const std::string_view part = text.substr(0, dot);
    if (part.size() > 1 && part.front() == '0') {
      return Error{"an octet has a leading zero, which some programs read as octal"};
    }
    const auto octet = strict_number(part, 255);
    if (!octet) return Error{"an octet is not a number from 0 to 255"};
    octets[i] = static_cast<std::uint8_t>(*octet);
    if (i < 3) text.remove_prefix(dot + 1);
  }
  return Address::from_v4(octets);
}

// inet_pton reads the dotted tail of an IPv6 address; glibc accepts a leading zero in none of its
// octets, so it is strict enough.
Result<Address> parse_v6(std::string_view text) {
  char buffer[INET6_ADDRSTRLEN];
  if (text.size() >= sizeof buffer) return Error{"too long for an IPv6 address"};
  if (text.find('%') != std::string_view::npos) {
    return Error{"an address with a zone is of one link only"};
  }
  std::copy(text.begin(), text.end(), buffer);
  buffer[text.size()] = '\0';
  std::uint8_t octets[16];
  if (text.find('\0') != std::string_view::npos || inet_pton(AF_INET6, buffer, octets) != 1) {
    return Error{"not an IPv6 address"};
  }
  return Address::from_v6(octets);
}

}  // namespace

Result<Address> parse_address(std::string_view text) {
  if (text.empty()) return Error{"empty"};
  if (text.find(':') != std::string_view::npos) return parse_v6(text);
  if (text.find_first_not_of("0123456789.") != std::string_view::npos) {
    return Error{"neither an IPv4 nor an IPv6 address"};
  }
  return parse_v4(text);
}

Result<ParsedPrefix> parse_prefix(std::string_view text) {
  const std::size_t slash = text.find('/');
  const std::string_view address_text = text.substr(0, slash);
  auto address = parse_address(address_text);
  if (!address) return Error{address.error()};
  const bool v4_form = address_text.find(':') == std::string_view::npos;
  unsigned length = 128;
  if (slash != std::string_view::npos) {
    const unsigned most = v4_form ? 32 : 128;
    const auto parsed = strict_number(text.substr(slash + 1), most);
    if (!parsed) {
      return Error{v4_form ? "the prefix length is not a number from 0 to 32"
                           : "the prefix length is not a number from 0 to 128"};
    }
    length = v4_form ? *parsed + 96 : *parsed;
  }
  ParsedPrefix result;
  result.prefix.length = static_cast<std::uint8_t>(length);
  result.prefix.address = mask(*address, result.prefix.length);
  result.had_host_bits = result.prefix.address != *address;
  return result;
}

std::string to_text(const Address& address) {
  char buffer[INET6_ADDRSTRLEN] = "";
  if (address.is_v4()) {
    inet_ntop(AF_INET, address.v4_octets(), buffer, sizeof buffer);
  } else {
    inet_ntop(AF_INET6, address.octets.data(), buffer, sizeof buffer);
  }
  return buffer;
}

std::string to_text(const Prefix& prefix) {
  if (prefix.length == 128) return to_text(prefix.address);
  const unsigned length = is_v4(prefix) ? prefix.length - 96u : prefix.length;
  return to_text(prefix.address) + "/" + std::to_string(length);
}

Address mask(const Address& address, std::uint8_t length) {
  Address result = address;
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned first_bit = i * 8;
    if (first_bit >= length) {
      result.octets[i] = 0;
    } else if (length - first_bit < 8) {
      result.octets[i] =
          static_cast<std::uint8_t>(result.octets[i] & (0xff00u >> (length - first_bit)));
    }
  }
  return result;
}

bool contains(const Prefix& prefix, const Address& address) {
  return mask(address, prefix.length) == prefix.address;
}

bool is_v4(const Prefix& prefix) { return prefix.length >= 96 && prefix.address.is_v4(); }

}  // namespace sluice::control
