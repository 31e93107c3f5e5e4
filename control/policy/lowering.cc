#include "control/policy/lowering.h"

#include <hs_compile.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>

#include "control/policy/linear_regex.h"

namespace sluice::control {
namespace {

// Wider counted gaps make Hyperscan's stream states large; a confirmation is cheaper then.
constexpr std::int32_t kMaxGap = 512;

// An octet as Hyperscan and PCRE read it literally.
void escape(std::string& out, std::string_view octets) {
  static constexpr char kHex[] = "0123456789abcdef";
  for (const char c : octets) {
    const auto octet = static_cast<unsigned char>(c);
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (plain) {
      out += c;
    } else {
      out += "\\x";
      out += kHex[octet >> 4];
      out += kHex[octet & 15];
    }
  }
}

unsigned hyperscan_flags(std::uint32_t options) {
  unsigned flags = HS_FLAG_SINGLEMATCH;
  if (options & scan::kRegexCaseless) flags |= HS_FLAG_CASELESS;
  if (options & scan::kRegexMultiline) flags |= HS_FLAG_MULTILINE;
  if (options & scan::kRegexDotAll) flags |= HS_FLAG_DOTALL;
  return flags;
}

struct Expression {
  std::string error;  // empty: Hyperscan takes it
  unsigned min_width = 0;
};

Expression ask(const Pattern& pattern) {
  hs_expr_info_t* info = nullptr;
  hs_compile_error_t* error = nullptr;
  Expression answer;
  if (hs_expression_info(pattern.expression.c_str(), pattern.flags, &info, &error) != HS_SUCCESS) {
    answer.error = error != nullptr ? error->message : "out of memory";
    hs_free_compile_error(error);
    return answer;
  }
  answer.min_width = info->min_width;
  std::free(info);  // NOLINT(cppcoreguidelines-no-malloc): allocated by Hyperscan's malloc
  return answer;
}

// A walk over a regex that calls visit(position, in_class) for every character that is not escaped
// and escaped(character) for every escape outside of classes.
template <typename Visit, typename Escaped>
void walk(std::string_view regex, Visit visit, Escaped escaped) {
  bool in_class = false;
  std::size_t class_begin = 0;
  for (std::size_t i = 0; i < regex.size(); ++i) {
    const char c = regex[i];
    if (c == '\\' && i + 1 < regex.size()) {
      ++i;
      if (!in_class) escaped(regex[i]);
    } else if (in_class) {
      // A `]` right behind the opening bracket is a member.
      if (c == ']' && i > class_begin + 1 && !(i == class_begin + 2 && regex[i - 1] == '^')) {
        in_class = false;
      }
    } else if (c == '[') {
      in_class = true;
      class_begin = i;
    } else {
      visit(i);
    }
  }
}

// Whether what stands around a match matters to the regex: anchors, word borders, look-around.
bool sees_context(std::string_view regex) {
  bool sees = false;
  walk(
      regex,
      [&](std::size_t i) {
        if (regex[i] == '^' || regex[i] == '$') sees = true;
        if (regex[i] == '(' && regex.substr(i, 2) == "(?" && regex.substr(i, 3) != "(?:")
          sees = true;
        if (regex[i] == '(' && regex.substr(i, 2) == "(*") sees = true;
      },
      [&](char c) {
        if (std::string_view("AbBGzZKgk123456789").find(c) != std::string_view::npos) sees = true;
      });
  return sees;
}

bool uses(std::string_view regex, std::string_view escapes, char plain) {
  bool found = false;
  walk(
      regex, [&](std::size_t i) { found |= regex[i] == plain; },
      [&](char c) { found |= escapes.find(c) != std::string_view::npos; });
  return found;
}

// The regex with the flags that Hyperscan has no option for.
std::string hyperscan_regex(const Content& content) {
  std::string regex = content.octets;
  if (content.options & scan::kRegexExtended) regex = "(?x)" + regex + "\n";
  if (content.options & scan::kRegexAnchored) regex = "\\A(?:" + regex + ")";
  return regex;
}

// What of an exact regex can be found without Hyperscan.
void add_literals(Pattern& pattern, std::string_view regex, std::uint32_t options) {
  auto linear = linear_regex(regex, options);
  if (!linear) return;
  pattern.literals = std::move(linear->literals);
  pattern.nocase = linear->nocase;
  pattern.tail = std::move(linear->tail);
}

Pattern literal_pattern(const Content& content) {
  Pattern pattern;
  pattern.literal = true;
  pattern.flags = HS_FLAG_SINGLEMATCH | HS_FLAG_DOTALL;
  if (content.nocase) pattern.flags |= HS_FLAG_CASELESS;
  escape(pattern.expression, content.octets);
  pattern.literals = {content.octets};
  pattern.nocase = content.nocase;
  return pattern;
}

scan::StepSpec step_of(const Content& content) {
  scan::StepSpec step;
  step.is_regex = content.is_regex;
  (content.is_regex ? step.regex : step.literal) = content.octets;
  step.options = content.options;
  step.nocase = content.nocase;
  step.negated = content.negated;
  step.relative = content.relative;
  step.at_end = content.at_end;
  if (content.relative) {
    step.offset = content.distance.value_or(0);
    step.length = content.within.value_or(-1);
  } else {
    step.offset = content.offset.value_or(0);
    step.length = content.depth.value_or(-1);
  }
  return step;
}

using Chain = std::vector<Content>;

class Lowering {
 public:
  Lowering(const BufferContents& buffer, std::vector<std::string>& notes)
      : buffer_(buffer), notes_(notes) {}

  Result<std::vector<LoweredCondition>> run() {
    std::vector<LoweredCondition> conditions;
    for (const Chain& chain : chains()) {
      for (const Content& content : chain) {
        if (Status status = check_regex(content); !status) return Error{status.error()};
        // Only a distance before the item's start leaves less than the content's own octets.
        if (!content.is_regex && content.depth &&
            *content.depth < static_cast<std::int32_t>(content.octets.size())) {
          return Error{"within: the content cannot fit in what the distance leaves of it"};
        }
      }
      auto condition = chain.size() == 1 ? single(chain.front()) : combined(chain);
      if (!condition) return Error{condition.error()};
      conditions.push_back(std::move(*condition));
    }
    return conditions;
  }

 private:
  // Contents that are placed relative to each other, together. A relative content that follows no
  // positive one is relative to the start of the item.
  std::vector<Chain> chains() const {
    std::vector<Chain> chains;
    std::optional<std::size_t> current;  // the chain of the last positive content
    for (Content content : buffer_.contents) {
      if (content.relative && !current) {
        if (!content.is_regex) {
          content.offset = std::max(content.distance.value_or(0), 0);
          if (content.within) {
            content.depth = *content.within + std::min(content.distance.value_or(0), 0);
          }
        }
        content.distance.reset();
        content.within.reset();
        content.relative = false;
      }
      if (content.relative) {
        chains[*current].push_back(std::move(content));
        continue;
      }
      if (!content.negated) current = chains.size();
      chains.push_back({std::move(content)});
    }
    return chains;
  }

  static Status check_regex(const Content& content) {
    if (!content.is_regex) return ok();
    scan::StepSpec step;
    step.is_regex = true;
    step.regex = content.octets;
    step.options = content.options;
    std::vector<scan::StepSpec> steps;
    steps.push_back(std::move(step));
    const auto made = scan::Confirmation::make(std::move(steps));
    if (!made) return Error{"pcre: " + made.error()};
    return ok();
  }

  Result<LoweredCondition> single(const Content& content) {
    LoweredCondition condition;
    condition.negated = content.negated;
    if (content.is_regex) return single_regex(content, std::move(condition));
    condition.pattern = literal_pattern(content);
    if (content.at_end) {
      condition.pattern.expression += "\\z";
      condition.pattern.literals.clear();
    }
    const auto size = content.octets.size();
    const auto offset = static_cast<std::uint64_t>(content.offset.value_or(0));
    if (offset > 0 || content.depth) condition.pattern.literals.clear();
    if (offset > 0) condition.pattern.min_end = offset + size;
    if (content.depth) {
      condition.pattern.max_end = offset + static_cast<std::uint64_t>(*content.depth);
    }
    return condition;
  }

  Result<LoweredCondition> single_regex(const Content& content, LoweredCondition condition) {
    Pattern pattern;
    pattern.expression = hyperscan_regex(content);
    pattern.flags = hyperscan_flags(content.options);
    const bool exact =
        !(content.options & scan::kRegexDollarEndOnly) || !uses(content.octets, "", '$');
    Expression answer = ask(pattern);
    if (exact && answer.error.empty()) {
      if (answer.min_width == 0) return Error{matches_nothing()};
      add_literals(pattern, content.octets, content.options);
      condition.pattern = std::move(pattern);
      return condition;
    }
    Content positive = content;
    positive.negated = false;
    positive.relative = false;
    auto found = superset(content, {positive});
    if (!found) {
      return Error{found.error() + (answer.error.empty() ? "" : " (" + answer.error + ")")};
    }
    condition.pattern = std::move(*found);
    condition.confirmation.push_back(step_of(positive));
    if (Status status = check_confirmation(content); !status) return Error{status.error()};
    return condition;
  }

  static std::string matches_nothing() {
    return "pcre: it matches the empty string, so it would hit everything: make a part of it "
           "necessary";
  }

  Status check_confirmation(const Content& content) const {
    if (scan::is_stream(buffer_.buffer) && content.is_regex && uses(content.octets, "zZ", '\0')) {
      return Error{
          "pcre: \\z and \\Z together with what Hyperscan cannot match exactly are not supported "
          "on streams: use $"};
    }
    return ok();
  }

  // A pattern that hits whenever `chain` may hold: its longest literal or a superset of a regex.
  Result<Pattern> superset(const Content& regex, const Chain& chain) const {
    const Content* best = nullptr;
    for (const Content& content : chain) {
      if (content.is_regex || content.negated) continue;
      if (best == nullptr || content.octets.size() > best->octets.size()) best = &content;
    }
    if (best != nullptr) return literal_pattern(*best);
    Pattern pattern;
    pattern.expression = hyperscan_regex(regex);
    pattern.flags = hyperscan_flags(regex.options) | HS_FLAG_PREFILTER;
    const Expression answer = ask(pattern);
    if (answer.error.empty() && answer.min_width > 0) return pattern;
    // Another content of the rule must hit too: it can call the confirmation. Not on streams: it
    // may hit when the window that the regex matches in is gone.
    if (!regex.negated && !scan::is_stream(buffer_.buffer)) {
      for (const Content& content : buffer_.contents) {
        if (content.is_regex || content.negated) continue;
        if (best == nullptr || content.octets.size() > best->octets.size()) best = &content;
      }
    }
    if (best != nullptr) return literal_pattern(*best);
    if (!answer.error.empty()) {
      return Error{"pcre: Hyperscan cannot search for it: " + answer.error +
                   ": give the rule a content that must hit too"};
    }
    return Error{
        "pcre: no octets are certain to be in what it matches: give the rule a content that must "
        "hit too"};
  }

  Result<LoweredCondition> combined(const Chain& chain) {
    LoweredCondition condition;
    if (auto pattern = one_regex(chain)) {
      condition.pattern = std::move(*pattern);
      return condition;
    }
    auto found = superset(chain.front(), chain);
    if (!found) return Error{found.error()};
    condition.pattern = std::move(*found);
    bool unbounded = false;
    for (const Content& content : chain) {
      if (Status status = check_confirmation(content); !status) return Error{status.error()};
      scan::StepSpec step = step_of(content);
      if (content.relative && step.length < 0) {
        if (content.negated && scan::is_stream(buffer_.buffer)) {
          return Error{
              "content: a negated content behind another one needs a `within` on a stream: its "
              "end may never come"};
        }
        unbounded = true;
      }
      condition.confirmation.push_back(std::move(step));
    }
    if (unbounded && scan::is_stream(buffer_.buffer)) {
      notes_.push_back("its contents are found when they lie within " +
                       std::to_string(scan::kConfirmStride) +
                       " octets: Hyperscan cannot express their places");
    }
    return condition;
  }

  // The chain as one regex, when it can be said exactly and cheaply.
  std::optional<Pattern> one_regex(const Chain& chain) const {
    Pattern pattern;
    pattern.flags = HS_FLAG_SINGLEMATCH;
    std::int32_t gaps = 0;
    for (const Content& content : chain) {
      const auto size = static_cast<std::int32_t>(content.octets.size());
      if (content.negated) return std::nullopt;
      if (content.is_regex && sees_context(content.octets)) return std::nullopt;
      if (content.is_regex && (content.options & (scan::kRegexAnchored | scan::kRegexExtended))) {
        return std::nullopt;
      }
      const std::int32_t least =
          content.relative ? content.distance.value_or(0) : content.offset.value_or(0);
      if (least < 0) return std::nullopt;
      const std::optional<std::int32_t> room = content.relative ? content.within : content.depth;
      const bool anchored = !content.relative && (content.offset || content.depth);
      if (anchored) pattern.expression += "\\A";
      if (anchored || content.relative) {
        const std::int32_t most = room ? least + *room - size : -1;
        if (least > kMaxGap || most > kMaxGap) return std::nullopt;
        gaps += std::max(least, most);
        gap(pattern.expression, least, most);
      }
      if (content.is_regex) {
        pattern.expression += "(?";
        if (content.options & scan::kRegexCaseless) pattern.expression += 'i';
        if (content.options & scan::kRegexDotAll) pattern.expression += 's';
        pattern.expression += ':' + content.octets + ')';
      } else {
        pattern.expression += content.nocase ? "(?i:" : "(?:";
        escape(pattern.expression, content.octets);
        pattern.expression += ')';
      }
      if (content.at_end) pattern.expression += "\\z";
    }
    if (gaps > kMaxGap) return std::nullopt;
    const Expression answer = ask(pattern);
    if (!answer.error.empty() || answer.min_width == 0) return std::nullopt;
    add_literals(pattern, pattern.expression, 0);
    return pattern;
  }

  static void gap(std::string& out, std::int32_t least, std::int32_t most) {
    if (least == 0 && most == 0) return;
    out += "[\\x00-\\xff]";
    if (most < 0) {
      out += least == 0 ? "*" : "{" + std::to_string(least) + ",}";
    } else {
      out += "{" + std::to_string(least) + "," + std::to_string(most) + "}";
    }
  }

  const BufferContents& buffer_;
  std::vector<std::string>& notes_;
};

}  // namespace

Result<std::vector<LoweredCondition>> lower(const BufferContents& buffer,
                                            std::vector<std::string>& notes) {
  return Lowering(buffer, notes).run();
}

}  // namespace sluice::control
