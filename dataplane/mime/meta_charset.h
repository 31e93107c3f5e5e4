// The charset that an HTML document names itself, for documents whose transport names none (HTML
// 13.2.3.2: the prescan): a byte order mark, <meta charset>, or <meta http-equiv=content-type
// content="...charset=...">.
#pragma once

#include <cstddef>
#include <string_view>

namespace sluice::mime {

// Octets at the beginning that are looked at.
inline constexpr std::size_t kMetaOctets = 1024;

// The name as written, or empty. A <meta> that names UTF-16 means UTF-8, because it could be read.
std::string_view find_meta_charset(std::string_view html);

}  // namespace sluice::mime
