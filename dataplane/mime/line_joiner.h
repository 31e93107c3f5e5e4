// Lines that a reader shows as one: those of format=flowed with delsp=yes (RFC 3676 4.2: a blank
// before the line end goes with it), and folded ones of text/calendar and text/vcard (RFC 5545 3.1,
// RFC 6350 3.2: a line end goes with the blank behind it). Long URLs are cut up so.
//
//   delsp    text ──' '──► blank ──CR──► blank_cr ──LF──► (nothing)     other: what was held
//   folded   text ──CR──► cr ──LF──► line_end ──blank──► (nothing)     other: what was held
#pragma once

#include <cstddef>
#include <cstdint>

#include "dataplane/base/bytes.h"
#include "dataplane/mime/octet_sink.h"

namespace sluice::mime {

class LineJoiner {
 public:
  enum class Kind : std::uint8_t { none, delsp, folded };
  explicit LineJoiner(Kind kind) : kind_(kind) {}

  // Gives what is left of the octets, which are ASCII where it matters, to `out`. At most two are
  // held back.
  void feed(Bytes octets, OctetSink& out);
  void finish(OctetSink& out);

 private:
  enum class State : std::uint8_t { text, blank, blank_cr, cr, line_end };

  State after_text(std::uint8_t octet);
  void release(OctetSink& out);

  Kind kind_;
  State state_ = State::text;
  bool quoted_ = false;      // the line begins with '>': its quote marks stand on the next one too
  bool with_cr_ = false;     // of the line end that is held
  std::uint8_t dashes_ = 0;  // at the line's beginning; "-- " is never flowed (RFC 3676 4.3)
  std::uint8_t position_ = 0;  // in the line, as far as that matters
};

}  // namespace sluice::mime
