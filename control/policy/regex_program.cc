#include "control/policy/regex_program.h"

#include <algorithm>
#include <map>

#include "control/policy/regex_node.h"
#include "dataplane/scan/confirmation.h"
#include "dataplane/scan/regex_gate.h"

namespace sluice::control {

namespace {

using regex::Flags;
using regex::kNoBound;
using regex::Node;
using regex::Pointer;
using regex::Set;
using scan::GateOperation;

// Counts of a repeat up to these are kept; beyond, fewer states say nearly the same.
constexpr std::uint32_t kMostLeast = 40;
constexpr std::uint32_t kMostMost = 16;
// Of a group of more instructions than this only what must be there is counted.
constexpr std::size_t kSmallGroup = 8;

// What mail looks like.
constexpr std::string_view kProse =
    "Hello John, thank you for your message of last week. I have read the report that you sent "
    "and\n"
    "would like to talk about it: please give me a call at (555) 123-4567 or write to me at the\n"
    "address below. The meeting with the company is on Monday, 12 August 2002 at 10:30, and your\n"
    "name is on the list. On 8/5/02, at 9:15 AM, Mary Smith wrote: >> We'll be there - see you! "
    "You\n"
    "can get the full details, free of charge, at http://www.example.com/news/today.html?id=1234.\n"
    "Best regards, Bob (Linux user) ------------- email: bob@example.com, phone: 555-1234\n";
constexpr std::string_view kRaw =
    "<html><head><title>News</title></head><body bgcolor=\"#ffffff\">\n<table width=\"600\"><tr>\n"
    "<td align=\"center\"><font face=\"Arial\" size=\"2\"><a "
    "href=\"http://www.example.com/index.html?"
    "id=12345&amp;u=abc\">Click to read the news</a></font><br>\n<p style=\"color: #333\">Dear "
    "reader,"
    " this week we have more for you.</p></td></tr></table>\n";
constexpr std::string_view kHeader =
    "from mail.example.com (mail.example.com [192.0.2.25]) by mx.example.org (Postfix) with ESMTP "
    "id\n"
    "1A2B3C4D5E for <user@example.org>; Mon, 12 Aug 2002 11:26:05 -0400 (EDT)\nFrom: John Smith "
    "<john"
    "@example.com>\nTo: user@example.org\nSubject: Re: [list] Meeting about the new "
    "report\nMessage-ID:"
    " <20020812112605.A12345@mail.example.com>\nX-Mailer: Example 5.50.4522.1200\n";
constexpr std::string_view kUri =
    "http://www.example.com/news/2002/08/index.html?id=1234567&user=john.smith&page=2";

class Writer {
 public:
  bool write(const Node& root, Flags flags) {
    add(root, flags);
    emit(GateOperation::accept);
    return !failed_ && program_.words.size() <= 2 * scan::kMostGateInstructions;
  }
  RegexProgram take() { return std::move(program_); }

 private:
  std::uint32_t here() const { return static_cast<std::uint32_t>(program_.words.size() / 2); }

  // It goes on with the instruction behind it.
  std::uint32_t emit(GateOperation operation, std::uint32_t operand = 0) {
    const std::uint32_t at = here();
    if (at >= scan::kMostGateInstructions) {
      failed_ = true;
      return at - 1;
    }
    program_.words.push_back(scan::gate_word(operation, operand));
    program_.words.push_back(operation == GateOperation::accept ? at : at + 1);
    return at;
  }
  // Where a split goes beside what is behind it.
  void aim(std::uint32_t split, std::uint32_t target) {
    program_.words[2 * split] = scan::gate_word(GateOperation::split, target);
  }

  void octets(const Set& set) {
    const auto [at, added] =
        numbers_.try_emplace(set.to_string(), static_cast<std::uint32_t>(numbers_.size()));
    if (added) {
      for (std::size_t i = 0; i < scan::kGateSetOctets; ++i) {
        std::uint8_t bits = 0;
        for (std::size_t bit = 0; bit < 8; ++bit) {
          if (set.test(i * 8 + bit)) bits = static_cast<std::uint8_t>(bits | 1u << bit);
        }
        program_.sets.push_back(bits);
      }
    }
    emit(GateOperation::octets, at->second);
  }

  void any_number_of(const Node& node, const Flags& flags) {
    const std::uint32_t split = emit(GateOperation::split);
    add(node, flags);
    jump_back(split);
  }
  // A split back to `split` would fall through too; the loop's way out is the first one's.
  void jump_back(std::uint32_t split) {
    const std::uint32_t back = emit(GateOperation::split);
    if (failed_) return;
    aim(back, split);
    program_.words[2 * back + 1] = split;
    aim(split, here());
  }

  void zero_width(const Node& node, const Flags& flags) {
    if (node.text == "^") {
      emit(flags.multiline ? GateOperation::line_begins : GateOperation::text_begins);
    } else if (node.text == "\\A") {
      emit(GateOperation::text_begins);
    } else if (node.text == "$" || node.text == "\\Z") {
      emit(GateOperation::ends);
    } else if (node.text == "\\z") {
      emit(GateOperation::text_ends);
    } else if (node.text == "\\b") {
      emit(GateOperation::word_edge);
    } else if (node.text == "\\B") {
      emit(GateOperation::no_word_edge);
    }
  }

  void choice(const Node& node, const Flags& flags) {
    std::vector<std::uint32_t> ends;
    for (std::size_t i = 0; i < node.children.size() && !failed_; ++i) {
      if (i + 1 == node.children.size()) {
        add(*node.children[i], flags);
        break;
      }
      const std::uint32_t split = emit(GateOperation::split);
      add(*node.children[i], flags);
      ends.push_back(emit(GateOperation::split));
      if (!failed_) aim(split, here());
    }
    if (failed_) return;
    for (const std::uint32_t end : ends) {
      aim(end, here());
      program_.words[2 * end + 1] = here();
    }
  }

  void repeat(const Node& node, const Flags& flags) {
    const Node& child = *node.children.front();
    const std::uint32_t least = std::min(node.least, kMostLeast);
    const std::uint32_t begin = here();
    for (std::uint32_t i = 0; i < least && !failed_; ++i) add(child, flags);
    std::uint32_t most = node.most;
    const std::size_t size = least > 0 ? (here() - begin) / least : size_of(child, flags);
    if (most != kNoBound &&
        (most > kMostMost || least != node.least || (size > kSmallGroup && most > least + 1)))
      most = kNoBound;
    if (most == kNoBound) return any_number_of(child, flags);
    std::vector<std::uint32_t> ways_out;
    for (std::uint32_t i = least; i < most && !failed_; ++i) {
      ways_out.push_back(emit(GateOperation::split));
      add(child, flags);
    }
    if (failed_) return;
    for (const std::uint32_t out : ways_out) aim(out, here());
  }

  // Instructions of a node.
  static std::size_t size_of(const Node& node, const Flags& flags) {
    Writer one;
    one.add(node, flags);
    return one.failed_ ? scan::kMostGateInstructions : one.here();
  }

  void add(const Node& node, Flags flags) {
    if (failed_) return;
    switch (node.kind) {
      case NodeKind::set:
        return octets(flags.caseless ? regex::ignoring_case(node) : node.set);
      case NodeKind::any: {
        Set any;
        any.set();
        if (!flags.dot_all) any.reset('\n');
        return octets(any);
      }
      case NodeKind::zero_width:
        return zero_width(node, flags);
      case NodeKind::reference: {
        Node any{.kind = NodeKind::set};
        any.set.set();
        return any_number_of(any, flags);
      }
      case NodeKind::sequence:
        for (const Pointer& child : node.children) add(*child, flags);
        return;
      case NodeKind::choice:
        return choice(node, flags);
      case NodeKind::group:
        if (node.text != "(?>" && !regex::group_flags(node.text, flags)) {
          failed_ = true;
          return;
        }
        return add(*node.children.front(), flags);
      case NodeKind::repeat:
        return repeat(node, flags);
      default:
        failed_ = true;
        return;
    }
  }

  RegexProgram program_;
  std::map<std::string, std::uint32_t> numbers_;
  bool failed_ = false;
};

bool is_word(std::string_view text, std::size_t at) {
  return at < text.size() &&
         (std::isalnum(static_cast<unsigned char>(text[at])) != 0 || text[at] == '_');
}

// Instructions that a backtracking matcher looks at to find no match in a text, about: of each
// place until it is found that none begins there, or one does.
class Backtracking {
 public:
  Backtracking(const RegexProgram& program, std::string_view text)
      : program_(program), text_(text) {}

  std::size_t run() {
    std::size_t steps = 0;
    for (std::size_t at = 0; at < text_.size(); ++at) {
      const std::size_t of_place = from(at);
      if (of_place > kLooked) steps += of_place;
    }
    return steps;
  }

 private:
  static constexpr std::size_t kMost = 100;  // of a place: PCRE2 knows more than this does
  // A first octet that does not fit is found with many places at once.
  static constexpr std::size_t kLooked = 2;

  std::size_t from(std::size_t begin) {
    std::size_t steps = 0;
    bool octets = false;
    stack_.assign(1, {0, begin});
    while (!stack_.empty() && steps < kMost) {
      auto [at, place] = stack_.back();
      stack_.pop_back();
      for (bool goes_on = true; goes_on && steps < kMost;) {
        const std::uint32_t word = program_.words[2 * at];
        const std::uint32_t operand = word & 0xffffff;
        const auto operation = static_cast<GateOperation>(word >> 24);
        ++steps;
        at = program_.words[2 * at + 1];
        if (operation == GateOperation::accept) return steps;
        if (operation == GateOperation::split) {
          stack_.emplace_back(operand, place);
        } else if (operation == GateOperation::octets) {
          goes_on = place < text_.size() && has(operand, text_[place]);
          octets |= goes_on;
          ++place;
        } else {
          goes_on = holds(operation, place);
        }
      }
    }
    return octets ? steps : 0;
  }
  bool has(std::uint32_t set, char c) const {
    const auto octet = static_cast<unsigned char>(c);
    return (program_.sets[set * scan::kGateSetOctets + octet / 8] >> (octet % 8) & 1) != 0;
  }
  bool holds(GateOperation operation, std::size_t at) const {
    const bool edge = is_word(text_, at) != (at > 0 && is_word(text_, at - 1));
    switch (operation) {
      case GateOperation::text_begins:
        return at == 0;
      case GateOperation::line_begins:
        return at == 0 || text_[at - 1] == '\n';
      case GateOperation::word_edge:
        return edge;
      case GateOperation::no_word_edge:
        return !edge;
      default:
        return at == text_.size() || text_[at] == '\n';
    }
  }

  const RegexProgram& program_;
  std::string_view text_;
  std::vector<std::pair<std::uint32_t, std::size_t>> stack_;
};

}  // namespace

std::optional<RegexProgram> regex_program(const RegexTree& tree, std::uint32_t options) {
  Flags flags;
  flags.caseless = (options & scan::kRegexCaseless) != 0;
  flags.dot_all = (options & scan::kRegexDotAll) != 0;
  flags.multiline = (options & scan::kRegexMultiline) != 0;
  Writer writer;
  if (!writer.write(*tree.root(), flags)) return std::nullopt;
  return writer.take();
}

std::uint32_t backtracking_cost(const RegexProgram& program, scan::SpamBuffer buffer,
                                const std::vector<RegexClause>& clauses) {
  constexpr std::size_t kMostOfClause = 6;
  std::string text;
  switch (buffer) {
    case scan::SpamBuffer::body:
      text = kProse;
      std::ranges::replace(text, '\n', ' ');
      break;
    case scan::SpamBuffer::raw_body:
      text = std::string(kProse) + std::string(kRaw);
      break;
    case scan::SpamBuffer::uri:
      text = kUri;
      break;
    default:
      text = kHeader;
      break;
  }
  for (const RegexClause& clause : clauses) {
    for (std::size_t i = 0; i < std::min(clause.words.size(), kMostOfClause); ++i) {
      text += clause.words[i].octets;
      text += ' ';
    }
  }
  const std::size_t steps = Backtracking(program, text).run();
  return static_cast<std::uint32_t>(steps * 100 / text.size());
}

}  // namespace sluice::control
