#include "control/policy/linear_regex.h"

#include <algorithm>
#include <bitset>
#include <cctype>

#include "control/policy/regex_tree.h"
#include "dataplane/scan/confirmation.h"
#include "dataplane/scan/literals.h"

namespace sluice::control {
namespace {

using Set = std::bitset<256>;
using Position = scan::LiteralTail::Position;

constexpr std::size_t kMostLiterals = 8;  // of one regex

struct Place {
  Set octets;
  bool optional = false;
  bool repeats = false;
};

// Counted repeats are written out. Nothing when they are too many.
std::optional<std::vector<Place>> places_of(const std::vector<RegexTree::Run>& runs) {
  constexpr std::size_t kMost = scan::LiteralSet::kLongest + scan::LiteralTail::kMostPositions;
  std::vector<Place> places;
  for (const RegexTree::Run& run : runs) {
    const bool bounded = run.most != UINT32_MAX;
    if (std::uint64_t{bounded ? run.most : run.least} + places.size() > kMost) return std::nullopt;
    for (std::uint32_t i = 0; i < run.least; ++i)
      places.push_back({.octets = run.octets, .repeats = !bounded && i + 1 == run.least});
    if (bounded) {
      places.insert(places.end(), run.most - run.least, {.octets = run.octets, .optional = true});
    } else if (run.least == 0) {
      places.push_back({.octets = run.octets, .optional = true, .repeats = true});
    }
  }
  return places;
}

unsigned first_of(const Set& set) {
  unsigned c = 0;
  while (!set[c]) ++c;
  return c;
}

bool is_letter(unsigned c) { return c < 128 && std::isalpha(static_cast<int>(c)) != 0; }

// The letters and other octets that a place can be in a literal, in lower case when case is
// ignored.
std::vector<char> choices(const Set& set, bool nocase) {
  std::vector<char> octets;
  for (unsigned c = 0; c < 256; ++c) {
    if (set[c] && !(nocase && c >= 'A' && c <= 'Z')) octets.push_back(static_cast<char>(c));
  }
  return octets;
}

// Whether a literal that ignores case or does not can say just what the place is.
bool fits(const Set& set, bool nocase) {
  for (unsigned c = 'a'; c <= 'z'; ++c) {
    if (nocase && set[c] != set[c - 32]) return false;
  }
  return true;
}

Position position_of(const Place& place) {
  Position position{.optional = place.optional, .repeats = place.repeats};
  for (std::size_t c = 0; c < 256; ++c) {
    if (place.octets[c]) position.octets[c / 64] |= std::uint64_t{1} << c % 64;
  }
  return position;
}

// With literals of at least `shortest` octets.
std::optional<LinearRegex> with_literals(std::vector<Place> places, std::size_t shortest) {
  LinearRegex linear{.literals = {""}};
  // The first letter tells whether the literal ignores case.
  for (const Place& place : places) {
    const unsigned c = place.octets.any() ? first_of(place.octets) : 0;
    if (!is_letter(c)) continue;
    linear.nocase = place.octets.count() == 2 && place.octets[c | 32];
    break;
  }
  std::size_t at = 0;
  for (; at < places.size(); ++at) {
    Place& place = places[at];
    if (place.optional || place.octets.none() || !fits(place.octets, linear.nocase)) break;
    const std::vector<char> octets = choices(place.octets, linear.nocase);
    const std::size_t size = linear.literals.front().size();
    const bool enough = size >= shortest;
    if (size >= scan::LiteralSet::kLongest || (enough && (octets.size() > 1 || place.repeats)) ||
        linear.literals.size() * octets.size() > kMostLiterals)
      break;
    std::vector<std::string> longer;
    for (const std::string& literal : linear.literals) {
      for (const char c : octets) longer.push_back(literal + c);
    }
    linear.literals = std::move(longer);
    if (place.repeats) {
      place.optional = true;  // more of it is the tail's
      break;
    }
  }
  if (linear.literals.front().size() < shortest) return std::nullopt;
  if (places.size() - at > scan::LiteralTail::kMostPositions) return std::nullopt;
  for (; at < places.size(); ++at) linear.tail.push_back(position_of(places[at]));
  return linear;
}

}  // namespace

std::optional<LinearRegex> linear_regex(std::string_view regex, std::uint32_t options) {
  if (options & scan::kRegexAnchored) return std::nullopt;
  const auto tree = RegexTree::read(regex, options);
  if (!tree) return std::nullopt;
  const auto runs = tree->runs(options);
  if (!runs) return std::nullopt;
  const auto places = places_of(*runs);
  if (!places) return std::nullopt;
  if (auto found = with_literals(*places, scan::LiteralSet::kSampled)) return found;
  return with_literals(*places, scan::LiteralSet::kShortest);
}

}  // namespace sluice::control
