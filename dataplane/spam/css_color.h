// Colours of HTML attributes and styles as SpamAssassin reads them: "#rrggbb", or "invalid".
#pragma once

#include <string_view>

#include "dataplane/spam/text.h"

namespace sluice::spam {

void read_color(std::string_view text, String& out);

}  // namespace sluice::spam
