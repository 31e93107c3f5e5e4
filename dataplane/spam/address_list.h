// Addresses and names of a header field (From, To, ...), as tolerantly as SpamAssassin's own parser
// reads them (Mail::SpamAssassin::Util::_parse_header_addresses).
#pragma once

#include <string_view>

#include "dataplane/scan/regex.h"
#include "dataplane/spam/text.h"

namespace sluice::spam {

struct NamedAddress {
  using allocator_type = std::pmr::polymorphic_allocator<>;
  explicit NamedAddress(const allocator_type& a = {}) : name(a), address(a) {}
  NamedAddress(const NamedAddress& o, const allocator_type& a)
      : name(o.name, a), address(o.address, a), has_name(o.has_name), has_address(o.has_address) {}
  NamedAddress(NamedAddress&& o, const allocator_type& a)
      : NamedAddress(static_cast<const NamedAddress&>(o), a) {}
  String name;  // words not decoded
  String address;
  bool has_name = false;
  bool has_address = false;
};

inline constexpr std::size_t kMaxAddresses = 256;

// `raw`: the field's raw value.
void read_addresses(std::string_view raw, scan::RegexScratch& scratch,
                    std::pmr::vector<NamedAddress>& out);
void prepare_addresses();

}  // namespace sluice::spam
