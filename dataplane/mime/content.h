// The fields that say what a part is (RFC 2045 5, 2183, 2231), read as tolerantly as mail readers
// read them. Where readers differ, every reading is kept: boundaries, encodings, names, types.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/mime/transfer.h"

namespace sluice::mime {

inline constexpr std::size_t kMaxBoundary = 1000;  // RFC 2046 5.1.1 allows 70

using Strings = std::pmr::vector<std::pmr::string>;

struct ContentType {
  using allocator_type = std::pmr::polymorphic_allocator<>;
  explicit ContentType(const allocator_type& a = {})
      : type(a), subtype(a), charset(a), other_charset(a), boundaries(a), names(a) {}
  ContentType(const ContentType& o, const allocator_type& a)
      : type(o.type, a),
        subtype(o.subtype, a),
        charset(o.charset, a),
        other_charset(o.other_charset, a),
        boundaries(o.boundaries, a),
        names(o.names, a),
        empty_boundary(o.empty_boundary),
        later_fragment(o.later_fragment),
        delsp(o.delsp),
        malformed(o.malformed) {}
  ContentType(const ContentType&) = default;
  ContentType(ContentType&&) = default;
  ContentType& operator=(const ContentType&) = default;
  ContentType& operator=(ContentType&&) = default;
  ~ContentType() = default;

  std::pmr::string type;  // lower case, as are subtype and charset
  std::pmr::string subtype;
  std::pmr::string charset;
  std::pmr::string other_charset;  // where a second parameter has another
  Strings boundaries;              // each reading, the likelier first
  Strings names;                   // decoded, the "name" parameter in each of its forms
  bool empty_boundary = false;     // one was declared that is empty
  bool later_fragment = false;     // of a message/partial (RFC 2046 5.2.2): not the first one
  bool delsp = false;              // format=flowed and delsp=yes (RFC 3676 3)
  bool malformed = false;
};

// What the header of one part said so far.
struct ContentInfo {
  explicit ContentInfo(std::pmr::memory_resource* memory)
      : types(memory),
        transfer_encoding(memory),
        disposition(memory),
        disposition_names(memory),
        disposition_boundaries(memory),
        content_id(memory) {}

  ContentInfo(const ContentInfo& o, std::pmr::memory_resource* memory)
      : types(o.types, memory),
        transfer_encoding(o.transfer_encoding, memory),
        encoding_count(o.encoding_count),
        repeated_encoding(o.repeated_encoding),
        unknown_encoding(o.unknown_encoding),
        disposition(o.disposition, memory),
        disposition_names(o.disposition_names, memory),
        disposition_boundaries(o.disposition_boundaries, memory),
        content_id(o.content_id, memory),
        repeated_type(o.repeated_type),
        malformed(o.malformed) {
    std::copy(std::begin(o.encodings), std::end(o.encodings), encodings);
  }
  ContentInfo(const ContentInfo&) = delete;
  ContentInfo& operator=(const ContentInfo&) = delete;

  // A field of the header; others than Content-* are ignored. `value`: unfolded.
  void field(std::string_view name, std::string_view value);
  // A Content-* field, of which `name` is the rest of the name, in one reading of its value.
  void content_field(std::string_view name, std::string_view value);

  void add_encoding(Encoding encoding);

  std::pmr::vector<ContentType> types;  // the first and, when it says something else, the last
  std::pmr::string transfer_encoding;   // the first, lower case
  Encoding encodings[3]{};              // those that differ
  std::uint8_t encoding_count = 0;
  bool repeated_encoding = false;
  bool unknown_encoding = false;
  std::pmr::string disposition;  // lower case
  Strings disposition_names;
  Strings disposition_boundaries;
  std::pmr::string content_id;  // without angle brackets
  bool repeated_type = false;
  bool malformed = false;
};

// How dangerous it is to open what has this name: higher is worse.
int danger_of_name(std::string_view name);

}  // namespace sluice::mime
