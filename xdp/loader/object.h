// The compiled programs, embedded in the library.
#pragma once

#include <span>

namespace sluice::xdp {

std::span<const unsigned char> steer_object();  // steer.bpf.c
std::span<const unsigned char> front_object();  // front.bpf.c

}  // namespace sluice::xdp
