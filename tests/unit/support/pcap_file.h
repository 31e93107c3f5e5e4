// Reads the frames of a classic pcap file (either octet order, micro- or nanoseconds) for tests.
// Captures are read by libpcap in the product; here a few lines that share no code with it.
#pragma once

#include <cstdint>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/unit/support/frame_builder.h"

namespace sluice::test {

struct CapturedFrame {
  Nanoseconds time = 0;
  Frame frame;
};

struct Capture {
  std::uint32_t link_type = 0;  // 1: Ethernet
  std::vector<CapturedFrame> frames;
};

// Throws std::runtime_error when the file is not there or is cut short.
inline Capture read_capture(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> text{std::istreambuf_iterator<char>(file), {}};
  const auto* octets = reinterpret_cast<const std::uint8_t*>(text.data());
  if (text.size() < 24) throw std::runtime_error(path + ": not a capture");
  const std::uint32_t magic = load_be32(octets);
  const bool swapped = magic == 0xd4c3b2a1 || magic == 0x4d3cb2a1;
  const bool nanoseconds = magic == 0xa1b23c4d || magic == 0x4d3cb2a1;
  if (!swapped && magic != 0xa1b2c3d4 && magic != 0xa1b23c4d)
    throw std::runtime_error(path + ": not a pcap file");
  const auto word = [&](std::size_t at) {
    const std::uint32_t v = load_be32(octets + at);
    return swapped ? __builtin_bswap32(v) : v;
  };
  Capture capture;
  capture.link_type = word(20) & 0xffff;
  for (std::size_t at = 24; at != text.size();) {
    if (text.size() - at < 16) throw std::runtime_error(path + ": cut short");
    const std::size_t size = word(at + 8);
    const Nanoseconds fraction = word(at + 4);
    if (text.size() - at - 16 < size) throw std::runtime_error(path + ": cut short");
    capture.frames.push_back({word(at) * kSecond + fraction * (nanoseconds ? 1 : 1000),
                              Frame(octets + at + 16, octets + at + 16 + size)});
    at += 16 + size;
  }
  return capture;
}

}  // namespace sluice::test
