// All lists together as the lists section of a policy image (dataplane/lists/lists.h reads it).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "control/policy/match_list.h"
#include "dataplane/base/result.h"
#include "dataplane/lists/lists.h"

namespace sluice::control {

struct ListToCompile {
  lists::List list;  // as what a hit counts, and where it is looked up
  std::shared_ptr<const MatchList> entries;
};

// Immutable; shared by images. The same lists give the same octets.
struct CompiledLists {
  std::vector<std::uint8_t> image;        // empty: there are no lists
  std::array<std::uint8_t, 32> digest{};  // SHA-256 of `image`; zeros: there are none
  std::vector<lists::List> lists;
  std::vector<std::size_t> entries;  // by list, each once
};

// Slow (some tenths of a second for a million entries); any thread.
Result<std::shared_ptr<const CompiledLists>> compile_lists(const std::vector<ListToCompile>& lists);

std::shared_ptr<const CompiledLists> no_lists();

}  // namespace sluice::control
