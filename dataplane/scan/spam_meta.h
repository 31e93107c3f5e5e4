// Programs of metas, made cheap at load: what is constant is computed, what decides soonest is
// asked first, and a meta is computed again only when something that it needs has changed.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "dataplane/scan/spam_rules.h"

namespace sluice::scan {

struct MetaPlan {
  // Checks (`need`, `unless`), each of which alone makes it 0, and the expression.
  std::vector<std::uint32_t> program;
  // When one of these changes it must be computed again.
  std::vector<std::uint32_t> watched;
};

struct MetaFacts {
  std::vector<double>& numbers;  // constants; those that folding makes are added
  std::span<const double> baseline;
  // How often a test is more than 0, about.
  std::function<double(std::uint32_t)> rate;
};

// `meta`: checked. Computed from tests in front of it, of which `facts.baseline` is known.
MetaPlan plan_meta(std::span<const std::uint32_t> meta, const MetaFacts& facts);

}  // namespace sluice::scan
