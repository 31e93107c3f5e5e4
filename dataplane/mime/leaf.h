// A part that holds no other parts: its octets go through
//
//   encoded -> transfer decoding -> [uuencoded files taken out of plain text] -> decoded
//     decoded -> hashes, type by magic
//     decoded of text -> charset -> UTF-8 -> [HTML to visible text] -> text -> URLs
//
// and, where the header names several transfer encodings, once more for each other one (as
// alternative). An encoded message/rfc822 goes on to the sink given as `nested` instead.
#pragma once

#include <memory_resource>
#include <vector>

#include "dataplane/mime/content.h"
#include "dataplane/mime/context.h"
#include "dataplane/mime/octet_sink.h"
#include "dataplane/mime/url.h"

namespace sluice::mime {

// Reports each URL of a part once.
class UrlReporter final : public UrlSink {
 public:
  UrlReporter(Context& context, PartNumber part)
      : context_(context), part_(part), seen_(&context.memory) {}
  void on_found_url(std::string_view url, std::string_view host) override;
  void on_url_anomaly(contract::Anomaly anomaly) override { context_.raise(anomaly); }

 private:
  Context& context_;
  PartNumber part_;
  std::pmr::vector<std::uint64_t> seen_;  // hashes, sorted
};

class Leaf {
 public:
  struct Plan {
    PartNumber number = 0;
    std::uint32_t depth = 0;
    bool alternative = false;  // the part is of another reading
    bool text = false;         // charset undone, URLs looked for
    bool report_text = true;   // and given to the sink
    bool html = false;
    bool plain = false;  // uuencoded files are looked for
    bool hashed = false;
    DataKind kind = DataKind::decoded;
    OctetSink* nested = nullptr;
    std::string_view charset;
    const Encoding* encodings = nullptr;  // the first is the one of `kind`
    std::size_t encoding_count = 0;
  };
  Leaf(Context& context, const Plan& plan);
  ~Leaf();
  Leaf(const Leaf&) = delete;
  Leaf& operator=(const Leaf&) = delete;

  void feed(Bytes encoded);
  // Ends the stages; `end` gets what is known of the part.
  void finish(PartEnd& end);

 private:
  class Reading;
  Context& context_;
  PartNumber number_;
  bool spent_ = false;  // the budget of decoded octets is: the rest goes on as it is
  UrlReporter urls_;
  std::pmr::vector<Reading*> readings_;
};

}  // namespace sluice::mime
