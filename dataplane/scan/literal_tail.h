// What follows a literal in a regex, `word\s+[a-z]{3,12}x`: once the literal was found, the rest is
// matched here and Hyperscan is not needed.
//
// Theory. The rest is a sequence of positions, each a set of octets that may be skipped (`?`, `*`)
// or repeat (`+`, `*`); counted repeats are written out. A set of reached positions is one 64-bit
// word, and an octet moves all of them at once: the extended Shift-And of Navarro and Raffinot
// (Flexible Pattern Matching in Strings, 2002, 4.2). So matches of all occurrences of the literal
// are followed together, exactly, wherever the stream is cut, in a constant number of instructions
// an octet, whatever the octets are; most are given up after a few.
//
// Immutable, any thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/base/bytes.h"

namespace sluice::scan {

class LiteralTail {
 public:
  static constexpr std::size_t kMostPositions = 62;

  struct Position {
    std::array<std::uint64_t, 4> octets{};  // bit c % 64 of word c / 64
    bool optional = false;
    bool repeats = false;

    friend bool operator==(const Position&, const Position&) = default;
  };
  // Precondition: at most kMostPositions.
  explicit LiteralTail(std::span<const Position> positions);

  // The positions that are reached: bit 0, the literal; bit i, the first i positions. 0: none.
  using State = std::uint64_t;
  // Right behind the literal.
  State begin() const { return begin_; }
  bool matched(State state) const { return (state & final_) != 0; }
  State step(State state, std::uint8_t octet) const {
    return skip(((state << 1) | (state & repeats_)) & masks_[classes_[octet]]);
  }
  // Steps over `octets` until nothing is reached or all is; `steps` is increased by their number.
  State run(State state, Bytes octets, std::uint64_t& steps) const;
  // Octets of its tables.
  std::size_t size() const { return sizeof *this + masks_.size() * sizeof masks_[0]; }

 private:
  // Adds the positions that may be skipped behind those reached.
  State skip(State state) const {
    const State ends = state | block_ends_;
    return state | (optional_ & (~(ends - block_begins_) ^ ends));
  }

  std::array<std::uint8_t, 256> classes_{};  // octets that are in the same sets
  std::vector<State> masks_;                 // by class: the positions whose set has them
  State optional_ = 0;
  State repeats_ = 0;
  State block_begins_ = 0;  // before each block of optional positions
  State block_ends_ = 0;    // the last of each
  State begin_ = 0;
  State final_ = 0;
};

}  // namespace sluice::scan
