// The compiled XDP program, embedded in the library.
#pragma once

#include <span>

namespace sluice::xdp {

std::span<const unsigned char> steer_object();

}  // namespace sluice::xdp
