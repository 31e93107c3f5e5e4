// Relative references made absolute as SpamAssassin does it (RFC 3986 5.2, loosely).
#pragma once

#include <string_view>

#include "dataplane/spam/text.h"

namespace sluice::spam {

// `base` may be empty.
void target_uri(std::string_view base, std::string_view reference, String& out);

}  // namespace sluice::spam
