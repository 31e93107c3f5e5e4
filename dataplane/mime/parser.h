// A message as a stream (RFC 5322, 2045-2047, 2231, 6532): header fields, parts, decoded octets and
// text go to a ParserSink as they become known, each octet once. Bounded in depth, parts, headers,
// URLs; linear time; nothing is kept but the edges that a cut may fall on. The result never depends
// on how the octets are cut. Where readers differ, the likeliest reading comes first and the others
// beside it, as alternative parts (see README.md).
#pragma once

#include <array>
#include <cstdint>
#include <memory_resource>
#include <string_view>

#include "dataplane/base/bytes.h"
#include "dataplane/contract/anomalies.h"

namespace sluice::mime {

inline constexpr std::uint32_t kArchiveDepth = 8;

struct Limits {
  std::uint32_t header_octets = 256 * 1024;  // of one header block
  std::uint32_t header_fields = 1000;
  std::uint32_t field_octets =
      16 * 1024;               // kept of one unfolded field; the rest goes on_header_raw only
  std::uint32_t parts = 1000;  // at most kAlternativeParts
  std::uint32_t depth = 16;
  std::uint32_t urls = 200;
  std::uint64_t decoded_octets = std::uint64_t{256} << 20;
  std::uint64_t archive_octets = std::uint64_t{16} << 20;  // inflated, at each depth
  // And no more than so many times the octets of the archives in the message, beside so many that
  // are always. What is scanned costs in proportion to what was sent.
  std::uint32_t archive_ratio = 10;
  std::uint32_t archive_free = 128 * 1024;
  std::uint32_t archive_member = 1024;  // what each counts beside its octets: its tables cost, too
  std::uint32_t archive_depth = 3;      // at most kArchiveDepth; 0: none is opened
  bool hash_md5 = false;
  bool hash_sha256 = false;  // of attachments
  bool urls_wanted = true;
  bool text_wanted = true;  // decode text to UTF-8 and HTML to its visible text
};

// Numbers a part within its message: 0 is the message itself, then in order of appearance. Parts of
// the n-th alternative reading have numbers from n * kAlternativeParts on, members of archives have
// kArchiveMember set: is_alternative() tells the parts of the first reading from all others.
using PartNumber = std::uint32_t;
inline constexpr PartNumber kAlternativeParts = 1u << 16;
inline constexpr PartNumber kArchiveMember = 1u << 31;
constexpr bool is_alternative(PartNumber n) { return n >= kAlternativeParts; }

struct Part {
  PartNumber number = 0;
  PartNumber parent = 0;
  std::uint32_t depth = 0;
  std::string_view type;     // "text", lower case
  std::string_view subtype;  // "plain"
  std::string_view charset;  // as declared, lower case
  std::string_view transfer_encoding;
  std::string_view disposition;  // "inline", "attachment" or empty
  std::string_view name;         // decoded UTF-8: the worse of two that differ
  std::string_view other_name;   // the second name when two differ
  std::string_view content_id;
  bool multipart = false;
  bool nested_message = false;
  bool attachment = false;  // a name, disposition attachment, or a leaf that is not text
  // is_alternative(number): of another reading of octets that a part of the first reading holds too
  // (a second boundary or transfer encoding, a header that some readers end elsewhere), or a member
  // of an archive.
  bool alternative = false;
};

struct PartEnd {
  PartNumber number = 0;
  std::uint64_t octets = 0;        // decoded
  std::string_view detected_type;  // media type by its first octets; empty if unknown
  bool has_md5 = false;
  bool has_sha256 = false;
  std::array<std::uint8_t, 16> md5{};
  std::array<std::uint8_t, 32> sha256{};
};

// `decoded` and `text` come of the first reading alone, where one part has data at a time: each is
// one stream with its parts as items. `alternative` comes of everything else, also of parts that
// run beside those of the first reading: how such calls interleave depends on the cuts, so that
// each part is a stream of its own there, and an alternative part's end ends no item of the first
// reading.
enum class DataKind : std::uint8_t {
  decoded,      // transfer decoding undone
  text,         // UTF-8: charset undone; for HTML the text a reader sees
  alternative,  // a preamble or epilogue, the rest beyond a limit, a member of an archive; a part
                // of another reading: decoded, or, where it is text and that differs, its text
};

// Order of calls for a part: on_header and on_header_raw (interleaved), on_header_end,
// on_part_begin, on_part_data, on_part_end; members of archives and uuencoded files have no header.
// Parts that contain others end after them.
class ParserSink {
 public:
  // A field of the header of `part`, unfolded; `raw_value` as sent without the line ends of folds,
  // `value` with RFC 2047 words decoded to UTF-8. Both bounded and valid during the call.
  virtual void on_header(PartNumber part, std::string_view name, std::string_view raw_value,
                         std::string_view value) = 0;
  // Header octets as they come, line ends included (for scanning raw headers).
  virtual void on_header_raw(PartNumber part, Bytes octets) = 0;
  virtual void on_header_end(PartNumber part) = 0;
  virtual void on_part_begin(const Part& part) = 0;
  virtual void on_part_data(PartNumber part, DataKind kind, Bytes octets) = 0;
  virtual void on_part_end(const PartEnd& end) = 0;
  // Once for each different URL of a part, in order: as written (in HTML with its character
  // references undone), and its host in lower case with entities and escapes undone, as A-labels.
  // Lists made of the parts of several readings are to be joined by number, not as they come.
  virtual void on_url(PartNumber part, std::string_view url, std::string_view host) = 0;
  // Each kind once, during Parser::finish().
  virtual void on_anomaly(contract::Anomaly anomaly) = 0;

 protected:
  ~ParserSink() = default;
};

class Parser {
 public:
  Parser(const Limits& limits, ParserSink& sink, std::pmr::memory_resource* memory);
  ~Parser();
  Parser(Parser&&) = delete;

  void feed(Bytes octets);  // the message with dot-stuffing undone
  void finish();            // its end: every open part ends
  // Instead of finish(): nothing more of the message is read. What is open ends, and of that
  // nothing is wrong that the rest might have put right.
  void cut_off();

 private:
  struct Impl;
  void end(bool cut_off);
  Impl* impl_;
  std::pmr::memory_resource* memory_;
};

}  // namespace sluice::mime
