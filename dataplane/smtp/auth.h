// The identity that an AUTH exchange (RFC 4954) names: mechanism and user, and nothing else. A
// response is decoded into a buffer on the stack that is overwritten before the call returns; of it
// only the identity is kept. Responses that hold a secret alone are not decoded at all.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::smtp {

class AuthExchange {
 public:
  // `argument` of the AUTH command: mechanism and, with some, the initial response (RFC 4954 4).
  // Returns false when it is malformed.
  bool begin(std::string_view argument);
  // A line of the client that answers a 334. Returns false when it is malformed.
  bool response(std::string_view line);
  // Whether the mechanism goes on after the responses so far: when not, the next line is a command
  // although no reply came yet.
  bool expects_response() const;

  std::string_view mechanism() const { return {mechanism_, mechanism_size_}; }
  std::string_view user() const { return {user_, user_size_}; }

  AuthExchange* next = nullptr;      // the exchange begun after this one and not answered either
  std::uint8_t early_responses = 0;  // responses read before the 334 that they answer was seen

 private:
  enum class Kind : std::uint8_t {
    hidden,  // no identity that could be read (GSSAPI, NTLM, ...)
    plain,
    login,
    cram_md5,
    digest_md5,
    xoauth2,
    oauthbearer,
    scram,
    external,
    anonymous,
  };

  // Whether any response may name the user: no response of these is a bare secret.
  bool looks_in_all() const;
  bool decode_identity(std::string_view encoded);
  void set_user(std::string_view user);

  Kind kind_ = Kind::hidden;
  std::uint8_t responses_ = 0;  // read so far, saturating
  bool cancelled_ = false;
  std::uint8_t mechanism_size_ = 0;
  std::uint16_t user_size_ = 0;
  char mechanism_[20];  // RFC 4422 3.1: at most 20
  char user_[256];
};

// Base64 (RFC 4648 4). Returns the octets written to `out` (at most `room`), or -1 when `text` is
// not base64; what does not fit is dropped after a whole group.
std::ptrdiff_t decode_base64(std::string_view text, char* out, std::size_t room);

}  // namespace sluice::smtp
