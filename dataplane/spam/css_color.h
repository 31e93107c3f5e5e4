// Colours of HTML attributes and styles as SpamAssassin reads them.
#pragma once

#include <cstdint>
#include <string_view>

#include "dataplane/spam/text.h"

namespace sluice::spam {

// 0xrrggbb, or one of these.
using CssColor = std::uint32_t;
inline constexpr CssColor kInvalidColor = 0x1000000;
inline constexpr CssColor kEmptyColor = 0x1000001;  // "#" alone
inline constexpr CssColor kTransparent = 0x1000002;
constexpr bool is_rgb(CssColor color) { return color < kInvalidColor; }

// Never kTransparent.
CssColor read_color(std::string_view text);

}  // namespace sluice::spam
