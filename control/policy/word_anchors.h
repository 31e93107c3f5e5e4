// The anchors of words by which they are looked for (dataplane/scan/word_finder.h): chosen
// together, so that in mail text few places look like one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::control {

// By word: where its anchor begins; 0 of words that are no longer than one.
std::vector<std::uint16_t> word_anchors(const std::vector<std::string>& words);

}  // namespace sluice::control
