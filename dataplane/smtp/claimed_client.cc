#include "dataplane/smtp/claimed_client.h"

#include <arpa/inet.h>

#include <algorithm>

#include "dataplane/smtp/command.h"

namespace sluice::smtp {

namespace {

constexpr std::size_t kProxyLine = 105;  // 107 with CRLF
constexpr std::size_t kValue = 255;      // octets of a value that are kept

std::optional<std::uint16_t> parse_port(std::string_view text) {
  if (text.empty() || text.size() > 5) return std::nullopt;
  std::uint32_t port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    port = port * 10 + static_cast<std::uint32_t>(c - '0');
  }
  if (port > 65535) return std::nullopt;
  return static_cast<std::uint16_t>(port);
}

// The text up to the next blank, and takes it away together with the blank.
std::string_view take_word(std::string_view& text) {
  const std::size_t size = std::min(text.find(' '), text.size());
  const std::string_view word = text.substr(0, size);
  text.remove_prefix(std::min(size + 1, text.size()));
  return word;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::optional<Address> parse_address(std::string_view text) {
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']')
    text = text.substr(1, text.size() - 2);
  if (starts_ignoring_case(text, "IPV6:")) text.remove_prefix(5);
  char copy[INET6_ADDRSTRLEN];
  if (text.empty() || text.size() >= sizeof copy) return std::nullopt;
  std::copy(text.begin(), text.end(), copy);
  copy[text.size()] = 0;
  std::uint8_t octets[16];
  if (inet_pton(AF_INET, copy, octets) == 1) return Address::from_v4(octets);
  if (inet_pton(AF_INET6, copy, octets) == 1) return Address::from_v6(octets);
  return std::nullopt;
}

std::optional<ClaimedClient> parse_proxy_line(std::string_view line) {
  if (line.size() > kProxyLine || !line.starts_with("PROXY ")) return std::nullopt;
  std::string_view rest = line.substr(6);
  const std::string_view family = take_word(rest);
  if (family == "UNKNOWN") return ClaimedClient{};
  if (family != "TCP4" && family != "TCP6") return std::nullopt;
  ClaimedClient claim;
  claim.address = parse_address(take_word(rest));
  const auto destination = parse_address(take_word(rest));
  const auto port = parse_port(take_word(rest));
  const auto destination_port = parse_port(take_word(rest));
  if (!claim.address || !destination || !port || !destination_port || !rest.empty())
    return std::nullopt;
  if (claim.address->is_v4() != (family == "TCP4")) return std::nullopt;
  claim.port = *port;
  return claim;
}

ClaimedClient parse_proxy_block(std::uint8_t family, Bytes block) {
  ClaimedClient claim;
  const unsigned version = family >> 4;
  const std::size_t size = version == 1 ? 4 : version == 2 ? 16 : 0;
  if (size == 0 || block.size() < 2 * size + 4) return claim;
  claim.address = version == 1 ? Address::from_v4(block.data()) : Address::from_v6(block.data());
  claim.port = load_be16(block.data() + 2 * size);
  return claim;
}

std::string_view ClaimText::decode(std::string_view xtext) {
  if (xtext.find('+') == std::string_view::npos) return xtext.substr(0, kValue);
  const std::size_t begin = size_;
  for (std::size_t i = 0; i < xtext.size() && size_ < sizeof octets_ && size_ - begin < kValue;
       ++i) {
    char c = xtext[i];
    if (c == '+' && xtext.size() - i > 2) {
      const int high = hex_value(xtext[i + 1]);
      const int low = hex_value(xtext[i + 2]);
      if (high >= 0 && low >= 0) {
        c = static_cast<char>(high << 4 | low);
        i += 2;
      }
    }
    octets_[size_++] = c;
  }
  return {octets_ + begin, size_ - begin};
}

ClaimedClient parse_claim(ClaimedClient::Via via, std::string_view argument, ClaimText& text) {
  ClaimedClient claim{.via = via};
  while (!argument.empty()) {
    const std::string_view word = take_word(argument);
    const std::size_t equals = word.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view name = word.substr(0, equals);
    const std::string_view value = word.substr(equals + 1);
    if (equal_ignoring_case(value, "[UNAVAILABLE]") || equal_ignoring_case(value, "[TEMPUNAVAIL]"))
      continue;
    if (equal_ignoring_case(name, "ADDR"))
      claim.address = parse_address(text.decode(value));
    else if (equal_ignoring_case(name, "PORT"))
      claim.port = parse_port(value).value_or(0);
    else if (equal_ignoring_case(name, "NAME"))
      claim.name = text.decode(value);
    else if (equal_ignoring_case(name, "HELO"))
      claim.helo = text.decode(value);
    else if (equal_ignoring_case(name, "LOGIN"))
      claim.login = text.decode(value);
  }
  return claim;
}

}  // namespace sluice::smtp
