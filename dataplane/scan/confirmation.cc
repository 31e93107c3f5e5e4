#define PCRE2_CODE_UNIT_WIDTH 8
#include "dataplane/scan/confirmation.h"

#include <pcre2.h>

#include <algorithm>
#include <bit>
#include <optional>
#include <utility>

namespace sluice::scan {
namespace {

// A set of positions 0..size within a window.
class PositionSet {
 public:
  void reset(std::size_t size) {
    size_ = size;
    words_.assign((size + 64) / 64, 0);
  }
  void add(std::size_t position) { words_[position / 64] |= std::uint64_t{1} << (position % 64); }
  // The least member that is not below `from`, or nothing.
  std::optional<std::size_t> next(std::size_t from) const {
    if (from > size_) return std::nullopt;
    std::size_t word = from / 64;
    std::uint64_t bits = words_[word] & (~std::uint64_t{0} << (from % 64));
    while (bits == 0) {
      if (++word == words_.size()) return std::nullopt;
      bits = words_[word];
    }
    return word * 64 + static_cast<std::size_t>(std::countr_zero(bits));
  }
  // Whether a member lies in low..high, both included; either may lie outside the window.
  bool any(std::int64_t low, std::int64_t high) const {
    if (high < 0 || low > high) return false;
    const auto found = next(static_cast<std::size_t>(std::max<std::int64_t>(low, 0)));
    return found && static_cast<std::int64_t>(*found) <= high;
  }

 private:
  std::size_t size_ = 0;
  std::vector<std::uint64_t> words_;
};

std::uint8_t lower(std::uint8_t c) {
  return c >= 'A' && c <= 'Z' ? static_cast<std::uint8_t>(c + 32) : c;
}

// Calls visit(start) for every occurrence, in order, until it returns false. Linear: the failure
// function of Knuth, Morris and Pratt was computed when the step was made.
template <typename Visit>
void occurrences(Bytes window, std::string_view needle, const std::vector<std::uint32_t>& failure,
                 bool nocase, Visit visit) {
  std::size_t matched = 0;
  for (std::size_t i = 0; i < window.size(); ++i) {
    const std::uint8_t c = nocase ? lower(window[i]) : window[i];
    while (matched > 0 &&
           (matched == needle.size() || static_cast<std::uint8_t>(needle[matched]) != c)) {
      matched = failure[matched - 1];
    }
    if (static_cast<std::uint8_t>(needle[matched]) == c) ++matched;
    if (matched == needle.size() && !visit(i + 1 - needle.size())) return;
  }
}

std::vector<std::uint32_t> failure_function(std::string_view needle) {
  std::vector<std::uint32_t> failure(needle.size(), 0);
  std::uint32_t k = 0;
  for (std::size_t i = 1; i < needle.size(); ++i) {
    while (k > 0 && needle[i] != needle[k]) k = failure[k - 1];
    if (needle[i] == needle[k]) ++k;
    failure[i] = k;
  }
  return failure;
}

struct Match {
  bool hit = false;
  std::size_t start = 0;
  std::size_t end = 0;
};

struct CodeDeleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};

}  // namespace

struct ConfirmScratch::Impl {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  PositionSet reachable;  // ends of the last positive step
  PositionSet next;
  PositionSet negated;  // starts of a negated literal
};

ConfirmScratch::ConfirmScratch() : impl_(std::make_unique<Impl>()) {
  if (impl_->context != nullptr) {
    pcre2_set_match_limit(impl_->context, kMatchLimit);
    pcre2_set_depth_limit(impl_->context, kMatchLimit);
    pcre2_set_heap_limit(impl_->context, 4096);  // KiB
  }
}

ConfirmScratch::~ConfirmScratch() {
  pcre2_match_data_free(impl_->data);
  pcre2_match_context_free(impl_->context);
}

struct Confirmation::Step {
  StepSpec spec;
  std::unique_ptr<pcre2_code, CodeDeleter> code;
  std::vector<std::uint32_t> failure;

  Match match(Bytes subject, std::size_t from, bool final, ConfirmScratch::Impl& work) const {
    static constexpr std::uint8_t kNothing = 0;
    const std::uint8_t* octets = subject.empty() ? &kNothing : subject.data();
    const std::uint32_t options = final ? 0u : PCRE2_NOTEOL;
    int found =
        pcre2_match(code.get(), octets, subject.size(), from, options, work.data, work.context);
    // Compiled it has a smaller stack.
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
      found = pcre2_match(code.get(), octets, subject.size(), from, options | PCRE2_NO_JIT,
                          work.data, work.context);
    if (found < 0) return {};  // no match, or over the limits
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(work.data);
    // \\K may set a start behind the end; the end is what counts.
    return {true, range[0], std::min(range[1], subject.size())};
  }
};

Confirmation::Confirmation(std::vector<Step> steps) : steps_(std::move(steps)) {}
Confirmation::~Confirmation() = default;

Result<std::unique_ptr<const Confirmation>> Confirmation::make(std::vector<StepSpec> specs,
                                                               bool compiled) {
  std::vector<Step> steps;
  for (StepSpec& spec : specs) {
    Step step;
    if (spec.is_regex) {
      std::uint32_t options = PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C;
      if (spec.options & kRegexCaseless) options |= PCRE2_CASELESS;
      if (spec.options & kRegexMultiline) options |= PCRE2_MULTILINE;
      if (spec.options & kRegexDotAll) options |= PCRE2_DOTALL;
      if (spec.options & kRegexExtended) options |= PCRE2_EXTENDED;
      if (spec.options & kRegexAnchored) options |= PCRE2_ANCHORED;
      if (spec.options & kRegexDollarEndOnly) options |= PCRE2_DOLLAR_ENDONLY;
      int code = 0;
      PCRE2_SIZE where = 0;
      step.code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(spec.regex.data()),
                                    spec.regex.size(), options, &code, &where, nullptr));
      if (!step.code) {
        PCRE2_UCHAR text[200] = {};
        pcre2_get_error_message(code, text, sizeof text);
        return Error{std::string(reinterpret_cast<const char*>(text)) + " at offset " +
                     std::to_string(where) + " of the regex"};
      }
      // Without it the interpreter runs.
      if (compiled) pcre2_jit_compile(step.code.get(), PCRE2_JIT_COMPLETE);
    } else {
      if (spec.literal.empty()) return Error{"a literal is empty"};
      if (spec.nocase) {
        for (char& c : spec.literal) c = static_cast<char>(lower(static_cast<std::uint8_t>(c)));
      }
      step.failure = failure_function(spec.literal);
    }
    step.spec = std::move(spec);
    steps.push_back(std::move(step));
  }
  if (steps.empty()) return Error{"a chain has no steps"};
  if (steps.front().spec.relative) return Error{"a chain begins with a relative step"};
  return std::unique_ptr<const Confirmation>(new Confirmation(std::move(steps)));
}

bool Confirmation::negates() const {
  return std::any_of(steps_.begin(), steps_.end(), [](const Step& s) { return s.spec.negated; });
}

bool Confirmation::holds(Bytes window, std::uint64_t base, bool final,
                         ConfirmScratch& scratch) const {
  ConfirmScratch::Impl& work = *scratch.impl_;
  if (work.data == nullptr || work.context == nullptr) return false;
  const auto size = static_cast<std::int64_t>(window.size());
  const auto start_of_item = -static_cast<std::int64_t>(base);
  work.reachable.reset(window.size());

  for (const Step& step : steps_) {
    const StepSpec& spec = step.spec;
    const auto length = static_cast<std::int64_t>(spec.literal.size());

    if (!spec.is_regex && spec.negated) {
      // Keeps the ends behind which the literal is absent. (Absolute ones are conditions of their
      // own and stand in no chain.)
      work.negated.reset(window.size());
      occurrences(window, spec.literal, step.failure, spec.nocase, [&](std::size_t start) {
        const bool counts = !spec.at_end || static_cast<std::int64_t>(start) + length == size;
        if (counts) work.negated.add(start);
        return true;
      });
      work.next.reset(window.size());
      bool any = false;
      for (auto end = work.reachable.next(0); end; end = work.reachable.next(*end + 1)) {
        const std::int64_t low = static_cast<std::int64_t>(*end) + spec.offset;
        const std::int64_t high = spec.length < 0 ? INT64_MAX : low + spec.length - length;
        if (!final && (spec.length < 0 || spec.at_end || high + length > size)) break;  // not known
        if (work.negated.any(low, std::min(high, size))) continue;
        work.next.add(*end);
        any = true;
      }
      if (!any) return false;
      std::swap(work.reachable, work.next);
      continue;
    }

    if (!spec.is_regex) {
      work.next.reset(window.size());
      bool any = false;
      occurrences(window, spec.literal, step.failure, spec.nocase, [&](std::size_t at) {
        const auto start = static_cast<std::int64_t>(at);
        const std::int64_t end = start + length;
        if (spec.at_end && (!final || end != size)) return true;
        bool fits;
        if (spec.relative) {
          // Ends e with e + offset <= start and end <= e + offset + length.
          const std::int64_t low = spec.length < 0 ? 0 : end - spec.offset - spec.length;
          fits = work.reachable.any(low, std::min(start - spec.offset, size));
        } else {
          const std::int64_t low = start_of_item + spec.offset;
          fits = start >= low && (spec.length < 0 || end <= low + spec.length);
        }
        if (fits) {
          work.next.add(static_cast<std::size_t>(end));
          any = true;
        }
        return true;
      });
      if (!any) return false;
      std::swap(work.reachable, work.next);
      continue;
    }

    // A regex. A negated one keeps the ends behind which it does not match, which only the end of
    // the item can tell.
    if (spec.negated && !final) return false;
    work.next.reset(window.size());
    bool any = false;
    int tries = kRegexTries;
    // An absolute regex may not match at the first octet of a window that is not the item's first:
    // anchors would hold there. The window before, which overlaps this one, has that match.
    std::optional<std::size_t> from =
        spec.relative ? work.reachable.next(0) : std::optional<std::size_t>(base == 0 ? 0 : 1);
    while (from && *from <= window.size() && tries-- > 0) {
      // A relative regex sees the octets behind the match as its whole subject.
      const std::size_t shift = spec.relative ? *from : 0;
      const Match match = step.match(window.subspan(shift), *from - shift, final, work);
      if (spec.negated && !match.hit) {
        work.next.add(*from);
        any = true;
      }
      if (!spec.negated && match.hit &&
          (final || shift + match.end + kLookAhead <= window.size())) {
        work.next.add(shift + match.end);
        any = true;
      }
      if (spec.relative) {
        from = work.reachable.next(*from + 1);
      } else {
        if (!match.hit) break;
        from = std::max(match.start, *from) + 1;
      }
    }
    if (!any) return false;
    std::swap(work.reachable, work.next);
  }
  return true;
}

}  // namespace sluice::scan
