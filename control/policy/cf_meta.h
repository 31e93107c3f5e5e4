// The expressions of SpamAssassin's metas: Perl's operators over rule names and numbers, as a
// program for scan::SpamRules.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"

namespace sluice::control {

struct MetaProgram {
  struct Word {
    std::uint8_t operation = 0;  // scan::MetaOperation
    std::string test;            // of `test`
    double number = 0;           // of `number`
  };
  std::vector<Word> words;
};

// `rules_matching(GLOB)` becomes the sum of the rules whose names `matching` gives. The error says
// what is wrong and where in the expression.
Result<MetaProgram> read_meta(
    std::string_view expression,
    const std::function<std::vector<std::string>(std::string_view glob)>& matching);

}  // namespace sluice::control
