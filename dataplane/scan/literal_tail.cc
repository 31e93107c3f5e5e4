#include "dataplane/scan/literal_tail.h"

#include <map>

namespace sluice::scan {

LiteralTail::LiteralTail(std::span<const Position> positions)
    : final_(State{1} << positions.size()) {
  std::array<State, 256> by_octet{};
  bool in_block = false;
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const Position& position = positions[i];
    const State bit = State{2} << i;
    for (std::size_t c = 0; c < by_octet.size(); ++c) {
      if (position.octets[c / 64] >> c % 64 & 1) by_octet[c] |= bit;
    }
    if (position.repeats) repeats_ |= bit;
    if (position.optional) {
      optional_ |= bit;
      if (!in_block) block_begins_ |= bit >> 1;
    } else if (in_block) {
      block_ends_ |= bit >> 1;
    }
    in_block = position.optional;
  }
  if (in_block) block_ends_ |= final_;
  std::map<State, std::uint8_t> classes;
  for (std::size_t c = 0; c < by_octet.size(); ++c) {
    const auto [at, added] =
        classes.try_emplace(by_octet[c], static_cast<std::uint8_t>(masks_.size()));
    if (added) masks_.push_back(by_octet[c]);
    classes_[c] = at->second;
  }
  begin_ = skip(1);
}

LiteralTail::State LiteralTail::run(State state, Bytes octets, std::uint64_t& steps) const {
  std::size_t i = 0;
  while (i < octets.size() && state != 0 && !matched(state)) state = step(state, octets[i++]);
  steps += i;
  return state;
}

}  // namespace sluice::scan
