#include "dataplane/smtp/auth.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "dataplane/smtp/command.h"
#include "dataplane/smtp/line_buffer.h"

namespace sluice::smtp {

namespace {

int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

// The value of `name=` in a list with `separator`, or empty.
std::string_view attribute(std::string_view text, std::string_view name, char separator) {
  while (!text.empty()) {
    const std::size_t size = std::min(text.find(separator), text.size());
    const std::string_view item = trim_blanks(text.substr(0, size));
    if (starts_ignoring_case(item, name)) return item.substr(name.size());
    text.remove_prefix(std::min(size + 1, text.size()));
  }
  return {};
}

// RFC 5801 4: saslname, '=2C' and '=3D' stand for ',' and '='.
std::string_view unescape_saslname(std::string_view name, char* out, std::size_t room) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < name.size() && n < room; ++i) {
    if (name[i] == '=' && name.size() - i >= 3) {
      const std::string_view code = name.substr(i + 1, 2);
      const bool comma = equal_ignoring_case(code, "2C");
      if (comma || equal_ignoring_case(code, "3D")) {
        out[n++] = comma ? ',' : '=';
        i += 2;
        continue;
      }
    }
    out[n++] = name[i];
  }
  return {out, n};
}

}  // namespace

std::ptrdiff_t decode_base64(std::string_view text, char* out, std::size_t room) {
  std::size_t padding = 0;
  while (padding < 2 && !text.empty() && text.back() == '=') {
    text.remove_suffix(1);
    ++padding;
  }
  if (text.size() % 4 == 1 || (padding > 0 && (text.size() + padding) % 4 != 0)) return -1;
  std::size_t n = 0;
  std::uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : text) {
    const int v = base64_value(c);
    if (v < 0) return -1;
    bits = bits << 6 | static_cast<std::uint32_t>(v);
    count += 6;
    if (count >= 8) {
      count -= 8;
      if (n < room) out[n++] = static_cast<char>(bits >> count & 0xff);
    }
  }
  return static_cast<std::ptrdiff_t>(n);
}

bool AuthExchange::begin(std::string_view argument) {
  const std::size_t size = std::min(argument.find_first_of(" \t\r\v\f"), argument.size());
  std::string_view name = argument.substr(0, size);
  // RFC 4422 3.1. What has other characters may be a secret in the wrong place.
  const bool is_name = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  });
  if (!is_name || name.size() > sizeof mechanism_) name = {};
  mechanism_size_ = static_cast<std::uint8_t>(std::min(name.size(), sizeof mechanism_));
  std::transform(name.begin(), name.begin() + mechanism_size_, mechanism_,
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  const std::string_view m = mechanism();
  if (m == "PLAIN")
    kind_ = Kind::plain;
  else if (m == "LOGIN")
    kind_ = Kind::login;
  else if (m == "CRAM-MD5")
    kind_ = Kind::cram_md5;
  else if (m == "DIGEST-MD5")
    kind_ = Kind::digest_md5;
  else if (m == "XOAUTH2")
    kind_ = Kind::xoauth2;
  else if (m == "OAUTHBEARER")
    kind_ = Kind::oauthbearer;
  else if (m.starts_with("SCRAM-"))
    kind_ = Kind::scram;
  else if (m == "EXTERNAL")
    kind_ = Kind::external;
  else if (m == "ANONYMOUS")
    kind_ = Kind::anonymous;
  else
    kind_ = Kind::hidden;
  // A name that we do not know is told when it can be one: words of base64 have both cases.
  const auto any = [&](char first, char last) {
    return std::any_of(name.begin(), name.end(), [&](char c) { return c >= first && c <= last; });
  };
  if (kind_ == Kind::hidden && any('a', 'z') && any('A', 'Z')) {
    name = {};
    mechanism_size_ = 0;
  }
  bool good = !name.empty() && name.size() <= sizeof mechanism_;
  const std::string_view initial = trim_blanks(argument.substr(size));
  if (!initial.empty()) {
    if (initial == "=")  // RFC 4954 4: an empty initial response
      responses_ = looks_in_all() ? 0 : 1;
    else
      good = response(initial) && good;
  }
  return good;
}

bool AuthExchange::response(std::string_view line) {
  if (line == "*") {  // RFC 4954 4: the client cancels
    cancelled_ = true;
    return true;
  }
  const bool first = responses_ == 0;
  if (responses_ < UINT8_MAX) ++responses_;
  // With LOGIN and EXTERNAL only the first response names the user; LOGIN's second is the password.
  if (!first && (!looks_in_all() || user_size_ > 0)) return true;
  return decode_identity(line);
}

bool AuthExchange::looks_in_all() const {
  switch (kind_) {
    case Kind::plain:
    case Kind::cram_md5:
    case Kind::digest_md5:
    case Kind::xoauth2:
    case Kind::oauthbearer:
    case Kind::scram:
      return true;
    case Kind::hidden:
    case Kind::login:
    case Kind::external:
    case Kind::anonymous:
      break;
  }
  return false;
}

bool AuthExchange::expects_response() const {
  if (cancelled_) return false;
  switch (kind_) {
    case Kind::plain:
    case Kind::cram_md5:
    case Kind::xoauth2:
    case Kind::oauthbearer:
    case Kind::external:
    case Kind::anonymous:
      return responses_ < 1;
    case Kind::login:
    case Kind::digest_md5:
      return responses_ < 2;
    case Kind::scram:
      return responses_ < 3;
    case Kind::hidden:
      return responses_ < 3;
  }
  return false;
}

bool AuthExchange::decode_identity(std::string_view encoded) {
  if (kind_ == Kind::hidden || kind_ == Kind::anonymous) return true;
  // The identity stands in front of the secret in all of them but DIGEST-MD5, which has room for
  // both here; XOAUTH2's token is cut.
  std::array<char, 1024> decoded;
  const std::ptrdiff_t size = decode_base64(encoded, decoded.data(), decoded.size());
  if (size < 0) {
    wipe(decoded.data(), decoded.size());
    return false;
  }
  const std::string_view text(decoded.data(), static_cast<std::size_t>(size));
  std::array<char, sizeof user_> name;
  bool good = true;
  switch (kind_) {
    case Kind::plain: {  // RFC 4616: [authzid] NUL authcid NUL passwd
      const std::size_t first = text.find('\0');
      if (first == std::string_view::npos) {
        good = text.empty();
        break;
      }
      const std::size_t second = std::min(text.find('\0', first + 1), text.size());
      good = second < text.size();
      // Without the second NUL what follows the first may be a secret.
      if (!good) break;
      const std::string_view authcid = text.substr(first + 1, second - first - 1);
      set_user(authcid.empty() ? text.substr(0, first) : authcid);
      break;
    }
    case Kind::login:
    case Kind::external:
      // With NULs it is PLAIN's, and a password in it.
      good = text.find('\0') == std::string_view::npos;
      if (good) set_user(text);
      break;
    case Kind::cram_md5: {  // RFC 2195: user SP digest
      const std::size_t space = text.rfind(' ');
      good = space != std::string_view::npos;
      if (good) set_user(text.substr(0, space));
      break;
    }
    case Kind::digest_md5: {  // RFC 2831 2.1.2
      std::string_view user = attribute(text, "username=", ',');
      if (user.size() >= 2 && user.front() == '"') {
        user.remove_prefix(1);
        user = user.substr(0, user.find('"'));
      }
      set_user(user);
      break;
    }
    case Kind::xoauth2:
      set_user(attribute(text, "user=", '\1'));
      break;
    case Kind::oauthbearer:  // RFC 7628 3.1: the GS2 header's authzid
      set_user(unescape_saslname(attribute(text.substr(0, text.find('\1')), "a=", ','), name.data(),
                                 name.size()));
      break;
    case Kind::scram:  // RFC 5802 7
      set_user(unescape_saslname(attribute(text, "n=", ','), name.data(), name.size()));
      break;
    case Kind::hidden:
    case Kind::anonymous:
      break;
  }
  wipe(decoded.data(), decoded.size());
  return good;
}

void AuthExchange::set_user(std::string_view user) {
  user_size_ = static_cast<std::uint16_t>(std::min(user.size(), sizeof user_));
  std::copy_n(user.begin(), user_size_, user_);
}

}  // namespace sluice::smtp
