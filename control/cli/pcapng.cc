#include "control/cli/pcapng.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace sluice::control {
namespace {

constexpr std::uint32_t kSection = 0x0a0d0d0a;  // reads alike in both byte orders
constexpr std::uint32_t kInterface = 1;
constexpr std::uint32_t kOldPacket = 2;
constexpr std::uint32_t kSimplePacket = 3;
constexpr std::uint32_t kPacket = 6;
constexpr std::uint32_t kByteOrder = 0x1a2b3c4d;
constexpr std::uint32_t kLongest = 16u << 20;  // of a block, as in libpcap
constexpr std::uint16_t kResolution = 9;       // options of an interface
constexpr std::uint16_t kOffset = 14;
constexpr std::size_t kMostInterfaces = 65536;

// Units of 10^-n s, or with the top bit of 2^-n s.
std::uint64_t nanoseconds(std::uint64_t units, std::uint8_t resolution) {
  const unsigned n = resolution & 0x7f;
  if ((resolution & 0x80) != 0) {
    if (n > 63) return 0;
    const std::uint64_t seconds = units >> n;
    const auto rest =
        static_cast<double>(units - (seconds << n)) / static_cast<double>(std::uint64_t{1} << n);
    return seconds * kSecond + static_cast<std::uint64_t>(rest * static_cast<double>(kSecond));
  }
  std::uint64_t scaled = units;
  for (unsigned i = n; i < 9; ++i) scaled *= 10;
  for (unsigned i = 9; i < n; ++i) scaled /= 10;
  return scaled;
}

}  // namespace

std::uint16_t PcapngReader::u16(std::size_t at) const {
  std::uint16_t v = 0;
  std::memcpy(&v, body_.data() + at, sizeof v);
  return (std::endian::native == std::endian::big) != big_
             ? static_cast<std::uint16_t>(v << 8 | v >> 8)
             : v;
}

std::uint32_t PcapngReader::u32(std::size_t at) const {
  return big_ ? std::uint32_t{u16(at)} << 16 | u16(at + 2)
              : std::uint32_t{u16(at + 2)} << 16 | u16(at);
}

std::uint64_t PcapngReader::u64(std::size_t at) const {
  return big_ ? std::uint64_t{u32(at)} << 32 | u32(at + 4)
              : std::uint64_t{u32(at + 4)} << 32 | u32(at);
}

bool PcapngReader::fail(std::string text) {
  fault_ = std::move(text);
  return false;
}

// Type and length stand in body_; the byte-order magic behind them says how to read the length.
bool PcapngReader::read_section() {
  body_.resize(12);
  if (std::fread(body_.data() + 8, 1, 4, file_) != 4) return fail("a section header is cut short");
  big_ = false;
  if (u32(8) != kByteOrder) big_ = true;
  if (u32(8) != kByteOrder) return fail("a section header without byte-order magic");
  begun_ = true;
  interfaces_.clear();
  return true;
}

bool PcapngReader::read_rest(std::uint32_t length) {
  const std::size_t had = body_.size();
  if (length < 12 || length % 4 != 0 || length > kLongest || length < had + 4)
    return fail("a block of " + std::to_string(length) + " octets");
  body_.resize(length);
  if (std::fread(body_.data() + had, 1, length - had, file_) != length - had)
    return fail("the file is cut short in a block of " + std::to_string(length) + " octets");
  if (u32(length - 4) != length) return fail("the two lengths of a block differ");
  body_.erase(body_.begin(), body_.begin() + 8);
  body_.resize(length - 12);
  return true;
}

bool PcapngReader::read_block() {
  body_.resize(8);
  const std::size_t n = std::fread(body_.data(), 1, 8, file_);
  if (n == 0 && !std::ferror(file_)) return false;  // the end
  if (n != 8) return fail("the file is cut short in front of a block");
  type_ = u32(0);
  if (type_ == kSection) {
    if (!read_section()) return false;
  } else if (!begun_) {
    return fail("the file does not begin with a section header");
  }
  if (!read_rest(u32(4))) return false;
  if (type_ == kSection && body_.size() >= 8 && u16(4) != 1)
    return fail("a section of version " + std::to_string(u16(4)));
  if (type_ == kInterface) read_interface();
  return fault_.empty();
}

void PcapngReader::read_interface() {
  if (body_.size() < 8 || interfaces_.size() == kMostInterfaces) {
    fail("an interface that is too short, or too many of them");
    return;
  }
  Interface one{.link = u16(0), .snap = u32(4)};
  for (std::size_t at = 8; at + 4 <= body_.size();) {
    const std::uint16_t code = u16(at);
    const std::uint16_t size = u16(at + 2);
    at += 4;
    if (code == 0 || at + size > body_.size()) break;
    if (code == kResolution && size == 1) one.resolution = body_[at];
    if (code == kOffset && size == 8) one.offset_seconds = static_cast<std::int64_t>(u64(at));
    at += (size + 3u) & ~3u;
  }
  interfaces_.push_back(one);
  if (std::find(links_.begin(), links_.end(), one.link) == links_.end()) links_.push_back(one.link);
}

bool PcapngReader::is_packet() const {
  return type_ == kPacket || type_ == kSimplePacket || type_ == kOldPacket;
}

bool PcapngReader::begin() {
  while (!waiting_ && read_block()) waiting_ = is_packet();
  return !links_.empty();
}

std::optional<PcapngReader::Packet> PcapngReader::packet() {
  const bool simple = type_ == kSimplePacket;
  const std::size_t head = simple ? 4 : 20;
  if (body_.size() < head) {
    fail("a packet block of " + std::to_string(body_.size() + 12) + " octets");
    return std::nullopt;
  }
  const std::size_t number = simple ? 0 : type_ == kOldPacket ? u16(0) : u32(0);
  if (number >= interfaces_.size()) {
    fail("a packet of interface " + std::to_string(number) + ", which is not described");
    return std::nullopt;
  }
  const Interface& interface = interfaces_[number];
  Packet packet{.link = interface.link};
  std::size_t size = 0;
  if (simple) {
    packet.original = u32(0);
    size = std::min<std::size_t>(packet.original, body_.size() - head);
    if (interface.snap != 0) size = std::min<std::size_t>(size, interface.snap);
  } else {
    const std::uint64_t units = std::uint64_t{u32(4)} << 32 | u32(8);
    packet.time = nanoseconds(units, interface.resolution) +
                  static_cast<std::uint64_t>(interface.offset_seconds) * kSecond;
    size = u32(12);
    packet.original = u32(16);
    if (size > body_.size() - head) {
      fail("a packet longer than its block");
      return std::nullopt;
    }
  }
  packet.octets = Bytes(body_).subspan(head, size);
  return packet;
}

std::optional<PcapngReader::Packet> PcapngReader::next() {
  while (waiting_ || read_block()) {
    waiting_ = false;
    if (is_packet()) return packet();
  }
  return std::nullopt;
}

}  // namespace sluice::control
