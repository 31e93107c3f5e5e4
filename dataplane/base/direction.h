// The two senses in which the core speaks of direction. They are different things and have
// different types: a Side is a port of the wire, a Direction is a half of a TCP connection.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice {

// The port of a wire on which a frame came in.
enum class Side : std::uint8_t { inside = 0, outside = 1 };
constexpr Side opposite(Side s) { return s == Side::inside ? Side::outside : Side::inside; }

// A half of a connection. The client (initiator) is the one who opened it, or, when the opening was
// not seen, the one who does not use a mail port or does not speak in SMTP replies.
enum class Direction : std::uint8_t { to_server = 0, to_client = 1 };
constexpr Direction opposite(Direction d) {
  return d == Direction::to_server ? Direction::to_client : Direction::to_server;
}
constexpr std::size_t index(Direction d) { return static_cast<std::size_t>(d); }

}  // namespace sluice
