#include "dataplane/scan/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <optional>
#include <vector>

namespace sluice::scan {

namespace {

constexpr std::uint32_t kDepthLimit = 2000;
constexpr std::size_t kLeastStack = std::size_t{32} << 10;
constexpr std::size_t kMostStack = std::size_t{512} << 10;
// More than there are octets in a subject: sums of octets of a set and of octets beyond ASCII.
constexpr std::uint64_t kBeyond = std::uint64_t{1} << 32;

// How often it is there; nothing when there are octets above 127. Sums of a row fit an octet, so
// that the compiler's vectors have many of them.
std::optional<std::uint32_t> count_octet(std::string_view subject, unsigned char octet) {
  constexpr std::size_t kRow = 240;
  std::uint32_t all = 0;
  for (; !subject.empty(); subject.remove_prefix(std::min(subject.size(), kRow))) {
    unsigned char high = 0;
    unsigned char count = 0;
    for (const char c : subject.substr(0, kRow)) {
      const auto one = static_cast<unsigned char>(c);
      high |= one;
      count = static_cast<unsigned char>(count + (one == octet ? 1 : 0));
    }
    if (high >= 128) return std::nullopt;
    all += count;
  }
  return all;
}

}  // namespace

struct RegexScratch::Impl {
  Impl()
      : data(pcre2_match_data_create(Regex::kMaxGroups, nullptr)),
        context(pcre2_match_context_create(nullptr)) {
    if (context == nullptr) return;
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_depth_limit(context, kDepthLimit);
    // Without one the machine's stack is used as far as 32 KiB, which forms with many fields
    // outgrow.
    stack = pcre2_jit_stack_create(kLeastStack, kMostStack, nullptr);
    if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Impl() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  pcre2_match_data* data;
  pcre2_match_context* context;
  pcre2_jit_stack* stack = nullptr;
  std::uint32_t to = Regex::kNoLimit;  // the context's limit
};

RegexScratch::RegexScratch() : impl_(std::make_unique<Impl>()) {}
RegexScratch::~RegexScratch() = default;

struct Regex::Impl {
  ~Impl() { pcre2_code_free(code); }
  pcre2_code* code = nullptr;
  bool jit = false;
  std::vector<std::uint64_t> set;  // by octet: 1, or kBeyond above 127; empty: not a set
  int octet = -1;                  // of a set of one below 128
};

Regex::Regex(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::make(std::string_view pattern, std::uint32_t options) {
  std::uint32_t flags = 0;
  if (options & kRegexCaseless) flags |= PCRE2_CASELESS;
  if (options & kRegexMultiline) flags |= PCRE2_MULTILINE;
  if (options & kRegexDotAll) flags |= PCRE2_DOTALL;
  if (options & kRegexExtended) flags |= PCRE2_EXTENDED;
  if (options & kRegexAnchored) flags |= PCRE2_ANCHORED;
  if (options & kRegexDollarEndOnly) flags |= PCRE2_DOLLAR_ENDONLY;
  flags |= PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_USE_OFFSET_LIMIT;
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto impl = std::make_unique<Impl>();
  impl->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), flags,
                             &error, &offset, nullptr);
  if (impl->code == nullptr) {
    PCRE2_UCHAR text[160] = {};
    pcre2_get_error_message(error, text, sizeof text);
    return Error{std::string(reinterpret_cast<const char*>(text)) + " at its character " +
                 std::to_string(offset)};
  }
  std::uint32_t least = 0;
  pcre2_pattern_info(impl->code, PCRE2_INFO_MINLENGTH, &least);
  // Without it the interpreter runs.
  impl->jit = pcre2_jit_compile(impl->code, PCRE2_JIT_COMPLETE) == 0;
  // Many ways to match are much code.
  constexpr std::size_t kSimple = 4096;
  std::size_t code = 0;
  const bool known = impl->jit && pcre2_pattern_info(impl->code, PCRE2_INFO_JITSIZE, &code) == 0;
  Regex made(std::move(impl));
  made.least_ = least;
  if (known) made.weight_ += static_cast<std::uint32_t>(code / kSimple);
  return made;
}

bool Regex::find(std::string_view subject, RegexScratch& scratch, Match* match, std::size_t from,
                 std::uint32_t to) const {
  if (scratch.impl_->data == nullptr || scratch.impl_->context == nullptr ||
      from > subject.size() || subject.size() - from < least_)
    return false;
  if (scratch.impl_->to != to) {
    scratch.impl_->to = to;
    pcre2_set_offset_limit(scratch.impl_->context, to == kNoLimit ? PCRE2_UNSET : to);
  }
  const char* data = subject.empty() ? "" : subject.data();
  // The second says nothing about its arguments, which are in order: as UTF-8 nothing is read.
  const auto match_with = impl_->jit ? &pcre2_jit_match : &pcre2_match;
  const int groups = match_with(impl_->code, reinterpret_cast<PCRE2_SPTR>(data), subject.size(),
                                from, 0, scratch.impl_->data, scratch.impl_->context);
  if (groups < 0) return false;
  if (match != nullptr) {
    const PCRE2_SIZE* places = pcre2_get_ovector_pointer(scratch.impl_->data);
    const int known = groups == 0 ? kMaxGroups : std::min(groups, kMaxGroups);
    for (int i = 0; i < kMaxGroups; ++i) {
      match->begin[i] = i < known ? places[2 * i] : std::string_view::npos;
      match->end[i] = i < known ? places[2 * i + 1] : std::string_view::npos;
    }
  }
  return true;
}

void Regex::set_octets(std::span<const std::uint8_t> octets) {
  impl_->set.assign(256, 0);
  std::fill(impl_->set.begin() + 128, impl_->set.end(), kBeyond);
  for (const std::uint8_t octet : octets) {
    if (octet < 128) impl_->set[octet] = 1;
  }
  impl_->octet = octets.size() == 1 && octets.front() < 128 ? octets.front() : -1;
}

std::uint32_t Regex::count(std::string_view subject, RegexScratch& scratch, std::uint32_t most,
                           std::size_t from, std::uint32_t to) const {
  if (impl_->octet >= 0) {
    if (const auto all = count_octet(subject, static_cast<unsigned char>(impl_->octet)))
      return std::min(*all, most);
  } else if (!impl_->set.empty()) {
    const std::uint64_t* const set = impl_->set.data();
    std::uint64_t sum = 0;
    for (const char c : subject) sum += set[static_cast<unsigned char>(c)];
    if (sum < kBeyond) return static_cast<std::uint32_t>(std::min<std::uint64_t>(sum, most));
  }
  std::uint32_t found = 0;
  Match match;
  while (found < most && from <= subject.size() && find(subject, scratch, &match, from, to)) {
    ++found;
    from = match.end[0] > match.begin[0] ? match.end[0] : match.end[0] + 1;
    from = std::max(from, match.begin[0] + 1);
  }
  return found;
}

}  // namespace sluice::scan
