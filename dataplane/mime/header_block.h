// The header of one part, line by line: fields are unfolded, decoded and given to the sink, and
// what they say of the part is gathered. Tolerance follows what mail servers do with broken
// headers; the readings that others take are the caller's to try (see layer.h).
#pragma once

#include <cstdint>
#include <memory_resource>
#include <string>
#include <string_view>

#include "dataplane/mime/content.h"
#include "dataplane/mime/context.h"

namespace sluice::mime {

class HeaderBlock {
 public:
  // How much of a line decides what it is: a field's name and colon stand within it.
  static constexpr std::size_t kNameOctets = 1000;

  HeaderBlock(Context& context, PartNumber part);
  // Goes on from what `other` had read, for another part number.
  HeaderBlock(const HeaderBlock& other, PartNumber part);

  enum class Line : std::uint8_t {
    taken,
    blank,      // the end of the header
    all_white,  // blanks only: a continuation to most readers, the end to some
    junk,       // no field: the body begins here to most, to others the line is nothing
  };
  // What a line (its first octets suffice, without line end) would be.
  Line classify(std::string_view line);
  // Takes a line that is `taken` or `all_white`: the one that was classified last.
  void take(std::string_view line);
  // More of a line that was longer than one call takes.
  void take_rest(std::string_view text);
  // A line that is nothing, but for a field behind octets that no name holds (a byte order mark).
  void take_behind_junk(std::string_view line);
  void raw(Bytes octets);  // octets of the header, for scanning
  // The header ends.
  void finish();

  PartNumber part() const { return part_; }
  bool empty() const { return lines_ == 0; }
  const ContentInfo& info() const { return info_; }
  ContentInfo& info() { return info_; }

 private:
  void append(std::string_view text);
  bool is_stray_parameter(std::string_view line) const;
  // What the line that was classified last begins.
  struct Begun {
    std::size_t name = 0;  // octets of a field's name; 0: no field
    std::size_t colon = 0;
    bool stray_parameter = false;
  };
  void end_field();

  Context& context_;
  PartNumber part_;
  ContentInfo info_;
  std::pmr::string field_;  // name, colon, value so far
  std::pmr::string value_;
  Begun begun_;
  std::size_t name_size_ = 0;  // 0: no field in progress
  std::size_t colon_ = 0;
  std::uint64_t octets_ = 0;
  std::uint32_t fields_ = 0;
  std::uint64_t lines_ = 0;
  std::uint32_t seen_once_ = 0;  // bit per field that may stand once
};

}  // namespace sluice::mime
