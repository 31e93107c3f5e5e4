// Addresses and names of a header field (From, To, ...), as tolerantly as SpamAssassin's own parser
// reads them (Mail::SpamAssassin::Util::_parse_header_addresses).
#pragma once

#include <string_view>

#include "dataplane/scan/regex.h"
#include "dataplane/spam/text.h"

namespace sluice::spam {

struct NamedAddress {
  std::string_view name;  // words not decoded
  std::string_view address;
  bool has_name = false;
  bool has_address = false;
};

inline constexpr std::size_t kMaxAddresses = 256;

// `raw`: the field's raw value. What is found stands in `raw` or in memory of `out`'s resource,
// which frees nothing before both are gone.
void read_addresses(std::string_view raw, scan::RegexScratch& scratch,
                    std::pmr::vector<NamedAddress>& out);
void prepare_addresses();

}  // namespace sluice::spam
