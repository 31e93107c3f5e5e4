// Text in any charset to UTF-8, as a stream. ASCII, UTF-8, Latin-1/Windows-1252 and UTF-16 are done
// here; the rest by ICU, whose converter is opened only when an octet needs it. What cannot be read
// becomes U+FFFD and sets malformed(); text of no declared or of an unknown charset is read as
// UTF-8 where it is valid and octet by octet as Windows-1252 where it is not, as browsers show it.
#pragma once

#include <array>
#include <cstdint>
#include <memory_resource>
#include <string>
#include <string_view>

#include "dataplane/mime/octet_sink.h"

struct UConverter;

namespace sluice::mime {

class CharsetDecoder {
 public:
  // `charset`: the declared name in any case, may be empty. `opposite`: of UTF-16 whose byte order
  // nobody told, the reading that the other object does not take (nothing comes out when the order
  // is known); for scanning both.
  explicit CharsetDecoder(std::string_view charset, bool opposite = false);
  ~CharsetDecoder();
  CharsetDecoder(const CharsetDecoder&) = delete;
  CharsetDecoder& operator=(const CharsetDecoder&) = delete;

  void feed(Bytes in, OctetSink& out);
  void finish(OctetSink& out);

  // Octets that are UTF-8 come out as they are.
  bool is_utf8() const { return kind_ == Kind::utf8; }
  bool unknown() const { return unknown_; }
  // Some octets were not of the charset.
  bool malformed() const { return malformed_; }
  // Characters beyond ASCII may have come out so far.
  bool saw_wide() const {
    return wide_ || converter_ != nullptr || (kind_ >= Kind::utf16 && kind_ <= Kind::utf16_be);
  }
  // UTF-16 without a declared byte order: a decoder with `opposite` is worth its while.
  bool has_opposite() const { return kind_ == Kind::utf16; }

 private:
  static constexpr std::size_t kLongestName = 40;  // less than hold_ has

  enum class Kind : std::uint8_t { utf8, latin1, utf16, utf16_le, utf16_be, icu };

  void feed_utf8(Bytes in, OctetSink& out);
  void feed_latin1(Bytes in, OctetSink& out);
  void feed_utf16(Bytes in, OctetSink& out);
  void decide_order();
  void feed_icu(Bytes in, bool flush, OctetSink& out);
  void invalid(std::uint8_t octet, OctetSink& out);
  const char* name() const { return reinterpret_cast<const char*>(hold_.data()); }

  Kind kind_ = Kind::utf8;
  bool strict_ = false;  // declared UTF-8: what is not becomes U+FFFD
  bool unknown_ = false;
  bool malformed_ = false;
  bool opposite_ = false;
  bool mute_ = false;
  bool wide_ = false;
  bool started_ = false;    // the first unit of UTF-16 has been seen
  bool lazy_ = false;       // ASCII octets mean themselves: ICU only from the first other octet
  std::uint8_t held_ = 0;   // octets in hold_
  std::uint16_t high_ = 0;  // high surrogate that waits for its low one
  // Octets that a cut divided, or by which the order is told; of `icu` the name instead.
  std::array<std::uint8_t, 64> hold_{};
  UConverter* converter_ = nullptr;
};

// All of `in` as UTF-8 at the end of `out`; false when the charset is unknown.
bool append_utf8(std::string_view charset, Bytes in, std::pmr::string& out);
// Text of a header that is not encoded: UTF-8 where valid, else Windows-1252.
inline void append_raw_text(std::string_view in, std::pmr::string& out) {
  append_utf8({}, as_bytes(in), out);
}
// Appends one code point.
void append_code_point(std::uint32_t code, std::pmr::string& out);
// Encodes one code point into `out` (4 octets); the number of octets.
std::size_t encode_utf8(std::uint32_t code, std::uint8_t* out);

}  // namespace sluice::mime
