// Clauses of words (regex_words.h) in joined text (dataplane/scan/joined_text.h), for regexes of
// words that may be obfuscated: gaps between the letters, several characters for each.
#pragma once

#include <vector>

#include "control/policy/regex_words.h"

namespace sluice::control {

// The rarest clauses, rarest first, `most` at most; none when there is none that helps. In the
// joined form of all that the regex matches there is at least one word of each.
std::vector<RegexClause> joined_clauses(const RegexTree& tree, std::size_t most);

}  // namespace sluice::control
