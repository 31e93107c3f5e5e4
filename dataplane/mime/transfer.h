// Content-Transfer-Encodings undone as a stream (RFC 2045 6, and uuencode as of POSIX): every
// octet comes out once, whatever the cuts. Tolerant as mail readers are: junk in base64 is skipped,
// data after padding is read on, malformed quoted-printable stays as it is.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <string_view>
#include <utility>
#include <variant>

#include "dataplane/base/bytes.h"
#include "dataplane/base/pmr_ptr.h"
#include "dataplane/base/vectors.h"

namespace sluice::mime {

enum class Encoding : std::uint8_t { identity, base64, quoted_printable, uuencode };

// The encoding of that name (any case, surrounding blanks and comments ignored); `known` is false
// for a token that is none of RFC 2045's or uuencode's, which is then read as identity.
Encoding encoding_of(std::string_view token, bool& known);
// The encoding that the value of the field names in some way, when it is not one of those as it
// should be written; `leads`: before anything else.
Encoding encoding_hinted(std::string_view value, bool& leads);

class Base64Decoder {
 public:
  // Decodes all of `in`; `out` holds at least in.size() + kSlack octets. Returns octets written.
  static constexpr std::size_t kSlack = 16;
  std::size_t decode(Bytes in, std::uint8_t* out);
  // Octets of an unfinished last group (0 to 2).
  std::size_t finish(std::uint8_t* out);
  bool malformed() const { return malformed_; }

  // Off for tests of the other ways: 32 characters at once where the CPU can, and 64.
  void use_vectors(bool use) { vectors_ = use && has(Vectors::avx2); }
  void use_wide(bool use) { wide_ = use && has(Vectors::avx512vbmi); }

 private:
  std::uint32_t bits_ = 0;  // of the group in progress
  std::uint8_t count_ = 0;  // characters of the group in progress, 0 to 3
  std::uint8_t pads_ = 0;
  std::uint8_t line_ = 0;  // characters of a whole line before, as the next most likely has
  bool ended_ = false;     // padding closed a group: what follows should have been the end
  bool malformed_ = false;
  bool vectors_ = has(Vectors::avx2);
  bool wide_ = has(Vectors::avx512vbmi);
};

class QuotedPrintableDecoder {
 public:
  static constexpr std::size_t kHold = 256;  // blanks held until it is known what follows them
  static constexpr std::size_t kSlack = kHold + 8;
  std::size_t decode(Bytes in, std::uint8_t* out);
  std::size_t finish(std::uint8_t* out);
  bool malformed() const { return malformed_; }

 private:
  //  text -- blank --> blanks -- CR --> blanks_cr        (both fall back to text)
  //  text -- '=' ----> equals -- hex -> hex -- hex -> text
  //                    equals -- blank -> equals_blanks -- CR -> equals_cr -- LF -> text (soft)
  enum class State : std::uint8_t {
    text,
    blanks,
    blanks_cr,
    equals,
    equals_hex,
    equals_blanks,
    equals_cr,
  };
  std::uint8_t* flush(std::uint8_t* out);
  std::uint8_t* step(std::uint8_t c, std::uint8_t* out);

  void hold(std::uint8_t blank) { tabs_[held_++] = blank == '\t'; }

  std::bitset<kHold> tabs_;  // which of the blanks held are
  std::uint16_t held_ = 0;
  std::uint8_t digit_ = 0;  // the first character after '='
  State state_ = State::text;
  bool malformed_ = false;
};

// One line of uuencoded data, without its line end. Returns the octets written to `out` (at most
// 63, which has room for 66), 0 for the closing line.
std::size_t uudecode_line(std::string_view line, std::uint8_t* out);
// Whether a line can be one of uuencoded data: its length fits its count (shortened by stripped
// trailing blanks at most by 4 when `strict`), all its characters are of the alphabet.
bool is_uuencoded_line(std::string_view line, bool strict);
// "begin MODE NAME": the name, or empty when the line is none.
std::string_view uu_begin_name(std::string_view line);

// uuencode as transfer encoding: from the begin line to "end".
class UuDecoder {
 public:
  // At most 63 octets for each line end in `in`, and 66 more.
  std::size_t decode(Bytes in, std::uint8_t* out);
  // Of the file that began last in what was given since; until the next call.
  std::string_view take_name() {
    return {name_.data(), std::exchange(name_size_, std::uint16_t{0})};
  }
  std::size_t finish(std::uint8_t* out);
  bool malformed() const { return malformed_; }

 private:
  std::size_t line(std::string_view text, std::uint8_t* out);
  std::array<char, 256> line_{};
  std::array<char, 256> name_{};
  std::uint16_t length_ = 0;
  std::uint16_t name_size_ = 0;
  bool inside_ = false;
  bool malformed_ = false;
};

class TransferDecoder {
 public:
  // decode() takes a piece() at a time and writes at most kOutput. (A uuencoded line of two
  // characters may stand for 63 octets: mailers strip blanks, which are zeros.)
  static constexpr std::size_t kOutput = 4096 + QuotedPrintableDecoder::kSlack;
  // What to give of `in` next; of uuencoded octets at most one line.
  Bytes piece(Bytes in) const;
  TransferDecoder(Encoding encoding, std::pmr::memory_resource* memory);
  Encoding encoding() const { return encoding_; }
  // Not for identity, whose octets need no copy.
  std::size_t decode(Bytes in, std::uint8_t* out);
  std::size_t finish(std::uint8_t* out);
  // Of a uuencoded file whose begin line was in the last piece, else empty; until the next call.
  std::string_view take_file_name();
  bool malformed() const;

 private:
  Encoding encoding_;
  // Base64's of identity too, which needs none.
  std::variant<Base64Decoder, QuotedPrintableDecoder, PmrPtr<UuDecoder>> decoder_;
};

}  // namespace sluice::mime
