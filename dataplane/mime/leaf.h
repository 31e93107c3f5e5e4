// A part that holds no other parts: its octets go through
//
//   encoded -> transfer decoding -> [uuencoded files taken out of plain text] -> decoded
//     decoded -> hashes, type by magic
//     decoded of text -> charset -> UTF-8 -> [HTML to visible text] -> text -> URLs
//
// The decoded octets of an encoded message/rfc822 go on to the sink given as `nested` instead.
#pragma once

#include <memory_resource>

#include "dataplane/mime/context.h"
#include "dataplane/mime/line_joiner.h"
#include "dataplane/mime/octet_sink.h"
#include "dataplane/mime/transfer.h"

namespace sluice::mime {

class Leaf {
 public:
  struct Plan {
    PartNumber number = 0;
    std::uint32_t depth = 0;
    bool alternative = false;  // the part is of another reading
    bool text = false;         // charset undone, URLs looked for
    bool report_text = true;   // and given to the sink
    bool html = false;
    bool sniffed = false;  // HTML that may name its charset itself; `charset` if it does not
    bool plain = false;    // uuencoded files are looked for
    LineJoiner::Kind joined = LineJoiner::Kind::none;
    bool hashed = false;
    DataKind kind = DataKind::decoded;
    OctetSink* nested = nullptr;
    std::string_view charset;
    bool opposite = false;  // of UTF-16 in an order that nobody told: the unlikely one
    Encoding encoding = Encoding::identity;
  };
  Leaf(Context& context, const Plan& plan);
  ~Leaf();
  Leaf(const Leaf&) = delete;
  Leaf& operator=(const Leaf&) = delete;

  void feed(Bytes encoded);
  // Ends the stages; `end` gets what is known of the part.
  void finish(PartEnd& end);

 private:
  class Path;
  Context& context_;
  PartNumber number_;
  bool nested_;
  Path* path_;
};

}  // namespace sluice::mime
