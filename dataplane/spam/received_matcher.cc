#include "dataplane/spam/received_matcher.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>

#include "dataplane/spam/received_forms.h"
#include "dataplane/spam/relays.h"
#include "dataplane/spam/text.h"

namespace sluice::spam {
namespace {

constexpr std::string_view kSpecial = "\\.^$*+?()[]{}|%";

bool repeats(char c) { return c == '?' || c == '*' || c == '{'; }

// Literals that each match of a pattern has.
std::vector<std::string> literals_of(std::string_view pattern) {
  std::vector<std::string> found(1);
  // Groups that may be left out, of alternatives, or looked ahead for, say nothing.
  const auto group_end = [&](std::size_t open) {
    int depth = 0;
    for (std::size_t i = open; i < pattern.size(); ++i) {
      if (pattern[i] == '\\') {
        ++i;
      } else if (pattern[i] == '[') {
        i = pattern.find(']', pattern[i + 1] == '^' ? i + 3 : i + 2);
      } else if (pattern[i] == '(') {
        ++depth;
      } else if (pattern[i] == ')' && --depth == 0) {
        return i;
      }
    }
    return pattern.size();
  };
  const auto cut = [&] {
    if (!found.back().empty()) found.emplace_back();
  };
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    char c = pattern[i];
    if (c == '|') return {};
    if (c == '(') {
      cut();
      const std::size_t end = group_end(i);
      const std::string_view inside = pattern.substr(i + 1, end - i - 1);
      const bool repeated = end + 1 < pattern.size() && repeats(pattern[end + 1]);
      if (repeated || inside.starts_with('?') || inside.find('|') != std::string_view::npos)
        i = end;
      continue;
    }
    if (c == '[') {
      cut();
      i = pattern.find(']', pattern[i + 1] == '^' ? i + 3 : i + 2);
      continue;
    }
    if (c == '{') {  // of what is no literal
      i = pattern.find('}', i);
      continue;
    }
    if (c == '\\' && i + 1 < pattern.size() && !is_alnum(pattern[i + 1])) {
      c = pattern[++i];
    } else if (kSpecial.find(c) != std::string_view::npos) {
      cut();
      if (c == '\\' || c == '%') ++i;
      continue;
    }
    if (i + 1 < pattern.size() && repeats(pattern[i + 1])) {
      cut();
    } else {
      found.back() += c;
    }
  }
  return found;
}

// The number at `at`, 0 to 255 without needless zeros, all its digits; npos when it is none.
std::size_t octet_end(std::string_view text, std::size_t at) {
  std::size_t end = at;
  unsigned value = 0;
  while (end < text.size() && is_digit(text[end]) && end - at < 4)
    value = value * 10 + static_cast<unsigned>(text[end++] - '0');
  const bool good = end > at && end - at < 4 && value < 256 && (text[at] != '0' || end - at == 1);
  return good ? end : std::string_view::npos;
}

// Where the IPv4 address at `at` ends, as %I has it; npos when none is there.
std::size_t ipv4_end(std::string_view text, std::size_t at) {
  if (at > 0 && (text[at - 1] == ':' || is_word(text[at - 1]))) return std::string_view::npos;
  for (int i = 0; i < 4; ++i) {
    if (i > 0) {
      if (at >= text.size() || text[at] != '.') return std::string_view::npos;
      ++at;
    }
    at = octet_end(text, at);
    if (at == std::string_view::npos) return at;
  }
  return at < text.size() && is_word(text[at]) ? std::string_view::npos : at;
}

// Whether what is at `at` may begin an IPv6 address.
bool may_be_ipv6(std::string_view text, std::size_t at) {
  const std::string_view rest = text.substr(at);
  if (rest.size() >= 5 && equals_lower(rest.substr(0, 5), "ipv6:")) return true;
  std::size_t digits = 0;
  while (
      digits < rest.size() && digits < 4 &&
      (is_digit(rest[digits]) || (to_lower(rest[digits]) >= 'a' && to_lower(rest[digits]) <= 'f')))
    ++digits;
  return digits < rest.size() && rest[digits] == ':';
}

}  // namespace

// --- three octets --------------------------------------------------------------------------------

void Trigrams::ask(std::string_view three, Bits& bits) {
  std::uint32_t octets = 0;
  std::memcpy(&octets, three.data(), 3);
  std::uint8_t& number = number_[slot(octets)];
  if (number == 0) {
    if (count_ + 1u >= kMost) return;
    number = ++count_;
  }
  bits[number / 64] |= std::uint64_t{1} << number % 64;
}

Trigrams::Bits Trigrams::of(std::string_view text) const {
  std::array<std::uint8_t, kMost> seen{};
  std::size_t i = 0;
  for (; i + 4 <= text.size(); ++i) {
    std::uint32_t octets = 0;
    std::memcpy(&octets, text.data() + i, 4);
    seen[number_[slot(octets)]] = 1;
  }
  if (i + 3 <= text.size()) {
    std::uint32_t octets = 0;
    std::memcpy(&octets, text.data() + i, 3);
    seen[number_[slot(octets)]] = 1;
  }
  // Eight octets of 0 or 1 become eight bits.
  Bits bits{};
  for (std::size_t n = 0; n < kMost; n += 8) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, seen.data() + n, 8);
    bits[n / 64] |= (eight * 0x0102040810204080u >> 56) << n % 64;
  }
  return bits;
}

// --- simple forms --------------------------------------------------------------------------------

std::optional<ReceivedMatcher::Simple> ReceivedMatcher::Simple::read(std::string_view pattern) {
  Simple simple;
  if (!pattern.starts_with('^') || !simple.parse(pattern.substr(1))) return std::nullopt;
  const auto any = std::count_if(simple.steps_.begin(), simple.steps_.end(), [](const Step& step) {
    return step.kind == Kind::any || step.kind == Kind::any_lazy;
  });
  if (any > 1) return std::nullopt;  // would be quadratic
  return simple;
}

bool ReceivedMatcher::Simple::parse(std::string_view pattern) {
  struct Known {
    std::string_view text;
    Kind kind;
    std::uint16_t least;
  };
  static constexpr Known kKnown[] = {
      {R"(\S+)", Kind::word, 1}, {R"(\S*)", Kind::word, 0}, {".*?", Kind::any_lazy, 0},
      {".*", Kind::any, 0},      {"%I", Kind::address, 0},
  };
  std::uint8_t groups = 0;
  for (std::size_t i = 0; i < pattern.size();) {
    std::string_view rest = pattern.substr(i);
    if (rest == "$") {
      steps_.push_back({.kind = Kind::end, .literal = {}});
      return true;
    }
    if (rest.starts_with("(?!") && rest.ends_with(')')) {
      const std::size_t place = steps_.size();
      steps_.push_back({.kind = Kind::not_here, .literal = {}});
      if (!parse(rest.substr(3, rest.size() - 4))) return false;
      steps_[place].least = static_cast<std::uint16_t>(steps_.size() - place - 1);
      return true;
    }
    const bool group = rest.starts_with('(');
    if (group) rest.remove_prefix(1);
    const auto* known = std::find_if(std::begin(kKnown), std::end(kKnown),
                                     [&](const Known& one) { return rest.starts_with(one.text); });
    if (known != std::end(kKnown)) {
      if (group && (!rest.substr(known->text.size()).starts_with(')') || groups + 1u >= kGroups))
        return false;
      if (group) ++groups;
      steps_.push_back({.kind = known->kind,
                        .group = group ? groups : std::uint8_t{0},
                        .least = known->least,
                        .literal = {}});
      i += known->text.size() + (group ? 2 : 0);
      continue;
    }
    if (group) return false;
    char c = rest.front();
    std::size_t size = 1;
    if (c == '\\' && rest.size() > 1 && !is_alnum(rest[1])) {
      c = rest[1];
      size = 2;
    } else if (kSpecial.find(c) != std::string_view::npos) {
      return false;
    }
    const char next = size < rest.size() ? rest[size] : '\0';
    if (next == '*' || next == '+' || next == '{') return false;
    if (next == '?') {
      steps_.push_back({.kind = Kind::maybe, .literal = std::string(1, c)});
      ++size;
    } else {
      if (steps_.empty() || steps_.back().kind != Kind::literal)
        steps_.push_back({.kind = Kind::literal, .literal = {}});
      steps_.back().literal += c;
    }
    i += size;
  }
  return true;
}

struct ReceivedMatcher::Simple::State {
  static constexpr std::uint32_t kMostTries = 16384;  // of a form; where mail is honest, hundreds
  std::string_view text;
  Groups& groups;
  bool unknown = false;
  std::uint32_t tries = 0;
};

ReceivedMatcher::Simple::Answer ReceivedMatcher::Simple::match(std::string_view text,
                                                               Groups& groups) const {
  State state{.text = text, .groups = groups};
  const bool matches = run(0, steps_.size(), 0, state);
  return state.unknown ? Answer::unknown : matches ? Answer::yes : Answer::no;
}

// The steps from `step` to `end` at `at`. One level of calls for each step that can match in
// several ways.
bool ReceivedMatcher::Simple::run(std::size_t step, std::size_t end, std::size_t at,
                                  State& state) const {
  const std::string_view text = state.text;
  for (; step < end; ++step) {
    const Step& s = steps_[step];
    // What follows begins with this octet, when that is known.
    const bool known = step + 1 < end && steps_[step + 1].kind == Kind::literal;
    const char next = known ? steps_[step + 1].literal.front() : '\0';
    const auto try_at = [&](std::size_t place) {
      state.unknown = state.unknown || ++state.tries > State::kMostTries;
      if (state.unknown) return true;
      if (known && (place == text.size() || text[place] != next)) return false;
      if (s.group != 0) state.groups[s.group] = text.substr(at, place - at);
      return run(step + 1, end, place, state) || state.unknown;
    };
    switch (s.kind) {
      case Kind::literal:
        if (text.size() - at < s.literal.size() ||
            std::memcmp(text.data() + at, s.literal.data(), s.literal.size()) != 0)
          return false;
        at += s.literal.size();
        break;
      case Kind::maybe:
        if (at < text.size() && text[at] == s.literal.front()) {
          if (run(step + 1, end, at + 1, state)) return true;
          if (state.unknown) return false;
        }
        break;
      case Kind::word: {
        const std::size_t last = std::min(text.find(' ', at), text.size());
        for (std::size_t place = last + 1; place-- > at + s.least;) {
          if (try_at(place)) return !state.unknown;
        }
        return false;
      }
      case Kind::any:
        for (std::size_t place = text.size() + 1; place-- > at;) {
          if (try_at(place)) return !state.unknown;
        }
        return false;
      case Kind::any_lazy:
        for (std::size_t place = at; place <= text.size(); ++place) {
          if (try_at(place)) return !state.unknown;
        }
        return false;
      case Kind::address: {
        const std::size_t after = ipv4_end(text, at);
        if (after == std::string_view::npos) {
          state.unknown = state.unknown || may_be_ipv6(text, at);
          return false;
        }
        if (s.group != 0) state.groups[s.group] = text.substr(at, after - at);
        at = after;
        break;
      }
      case Kind::end:
        if (at != text.size()) return false;
        break;
      case Kind::not_here:
        if (run(step + 1, step + 1 + s.least, at, state)) return false;
        step += s.least;
        break;
    }
  }
  return true;
}

// --- forms ---------------------------------------------------------------------------------------

ReceivedMatcher::Head::Head(std::string_view pattern) {
  if (!pattern.starts_with('^')) return;
  pattern.remove_prefix(1);
  for (const std::string_view word : {R"((\S+) )", R"(\S+ )"}) {
    if (!pattern.starts_with(word)) continue;
    second = true;
    pattern.remove_prefix(word.size());
    break;
  }
  int depth = 0;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\')
      ++i;
    else if (pattern[i] == '(')
      ++depth;
    else if (pattern[i] == ')')
      --depth;
    else if (pattern[i] == '|' && depth == 0)
      return;  // another way may begin otherwise
  }
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size() && !is_alnum(pattern[i + 1])) {
      c = pattern[++i];
    } else if (kSpecial.find(c) != std::string_view::npos) {
      return;
    }
    const char next = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    if (repeats(next)) return;
    literal += c;
  }
}

// `blank`: where the first one is, or npos.
bool ReceivedMatcher::Head::fits(std::string_view text, std::size_t blank) const {
  if (!second) return text.starts_with(literal);
  return blank != std::string_view::npos && text.substr(blank + 1).starts_with(literal);
}

ReceivedMatcher::ReceivedMatcher() {
  std::vector<std::vector<std::string>> threes;  // by form
  std::map<std::string, int> forms_with;
  for (const ReceivedForm& form : kReceivedForms) {
    forms_.push_back({form.guard, Head(form.pattern), Simple::read(form.pattern),
                      constant_regex(form.pattern), form.fields});
    std::vector<std::string> literals = literals_of(form.pattern);
    literals.emplace_back(form.guard);
    auto& of_form = threes.emplace_back();
    for (std::string& literal : literals) {
      for (char& c : literal) c = static_cast<char>(c | 0x20);
      for (std::size_t i = 0; i + 3 <= literal.size(); ++i) of_form.push_back(literal.substr(i, 3));
    }
    std::sort(of_form.begin(), of_form.end());
    of_form.erase(std::unique(of_form.begin(), of_form.end()), of_form.end());
    for (const std::string& three : of_form) ++forms_with[three];
  }
  constexpr std::size_t kOfOneForm = 3;
  for (auto& of_form : threes) {
    std::sort(of_form.begin(), of_form.end(), [&](const std::string& a, const std::string& b) {
      return forms_with[a] < forms_with[b];
    });
    Trigrams::Bits& needed = needed_.emplace_back();
    for (std::size_t i = 0; i < std::min(of_form.size(), kOfOneForm); ++i)
      trigrams_.ask(of_form[i], needed);
  }
}

const std::string_view* ReceivedMatcher::find(std::string_view text, const Trigrams::Bits& have,
                                              scan::RegexScratch& scratch, Groups& groups) const {
  const std::size_t blank = text.find(' ');
  for (std::size_t i = 0; i < forms_.size(); ++i) {
    if (!Trigrams::has_all(have, needed_[i])) continue;
    const Form& form = forms_[i];
    if (!form.head.fits(text, blank)) continue;
    if (!form.guard.empty() && !sluice::spam::has(text, form.guard)) continue;
    if (form.simple) {
      const Simple::Answer answer = form.simple->match(text, groups);
      if (answer == Simple::Answer::yes) return &form.fields;
      if (answer == Simple::Answer::no) continue;
    }
    scan::Regex::Match m;
    if (!form.regex.find(text, scratch, &m)) continue;
    for (std::size_t n = 1; n < kGroups; ++n) groups[n] = m.group(text, static_cast<int>(n));
    return &form.fields;
  }
  return nullptr;
}

}  // namespace sluice::spam
