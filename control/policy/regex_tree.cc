#include "control/policy/regex_tree.h"

#include <algorithm>
#include <cctype>

#include "dataplane/scan/confirmation.h"

namespace sluice::control {

using Set = std::bitset<256>;
using Pointer = RegexTree::NodePointer;

enum class NodeKind : std::uint8_t {
  set,
  any,
  opaque,
  zero_width,
  reference,
  sequence,
  choice,
  repeat,
  group
};

struct RegexTree::Node {
  NodeKind kind = NodeKind::sequence;
  Set set;
  std::string text;  // opaque and zero-width: as written; group: how it opens
  std::vector<Pointer> children;
  std::uint32_t least = 1;
  std::uint32_t most = 1;  // kNoBound
  std::string mode;        // "", "?" or "+"
};

namespace {

using Node = RegexTree::Node;
constexpr std::uint32_t kNoBound = UINT32_MAX;
constexpr std::uint64_t kMany = std::uint64_t{1} << 40;
// Repeats of one character up to this many stay counted when a regex is relaxed; of groups by their
// size.
constexpr std::uint32_t kMostCounted = 16;

Pointer make(Node node) { return std::make_shared<const Node>(std::move(node)); }

Set range(unsigned from, unsigned to) {
  Set set;
  for (unsigned c = from; c <= to; ++c) set.set(c);
  return set;
}

Set class_of(char escape) {
  Set set;
  switch (std::tolower(static_cast<unsigned char>(escape))) {
    case 'd':
      set = range('0', '9');
      break;
    case 'w':
      set = range('0', '9') | range('a', 'z') | range('A', 'Z');
      set.set('_');
      break;
    case 's':
      set = range(9, 13);
      set.set(' ');
      break;
    case 'h':
      set.set(' ');
      set.set('\t');
      set.set(0xa0);
      break;
    case 'v':
      set = range(10, 13);
      set.set(0x85);
      break;
    default:
      break;
  }
  return std::isupper(static_cast<unsigned char>(escape)) != 0 ? ~set : set;
}

std::optional<unsigned> simple_escape(char c) {
  switch (c) {
    case 'n':
      return 10;
    case 't':
      return 9;
    case 'r':
      return 13;
    case 'f':
      return 12;
    case 'e':
      return 27;
    case 'a':
      return 7;
    default:
      return std::nullopt;
  }
}

class TreeReader {
 public:
  TreeReader(std::string_view text, bool extended) : text_(text), extended_(extended) {}

  Pointer run() {
    Pointer root = choice();
    return failed_ || at_ != text_.size() ? nullptr : root;
  }
  bool references() const { return references_; }

 private:
  static constexpr int kMaxDepth = 100;

  bool end() const { return at_ >= text_.size(); }
  Pointer fail() {
    failed_ = true;
    at_ = text_.size();
    return make({});
  }

  void skip_extended() {
    while (extended_ && !end()) {
      if (std::isspace(static_cast<unsigned char>(text_[at_])) != 0) {
        ++at_;
      } else if (text_[at_] == '#') {
        while (!end() && text_[at_] != '\n') ++at_;
      } else {
        return;
      }
    }
  }

  Pointer choice() {
    if (++depth_ > kMaxDepth) return fail();
    Node node{.kind = NodeKind::choice};
    node.children.push_back(sequence());
    while (!end() && text_[at_] == '|') {
      ++at_;
      node.children.push_back(sequence());
    }
    --depth_;
    return node.children.size() == 1 ? node.children.front() : make(std::move(node));
  }

  Pointer sequence() {
    Node node{.kind = NodeKind::sequence};
    for (skip_extended(); !end() && text_[at_] != '|' && text_[at_] != ')'; skip_extended()) {
      Pointer atom = this->atom();
      if (failed_) return atom;
      node.children.push_back(quantified(std::move(atom)));
    }
    return make(std::move(node));
  }

  Pointer quantified(Pointer atom) {
    skip_extended();
    Node node{.kind = NodeKind::repeat};
    if (end()) return atom;
    const char c = text_[at_];
    if (c == '*' || c == '+' || c == '?') {
      ++at_;
      node.least = c == '+' ? 1 : 0;
      node.most = c == '?' ? 1 : kNoBound;
    } else if (c == '{') {
      std::size_t i = at_ + 1;
      const auto digits = [&](std::uint32_t& value) {
        const std::size_t begin = i;
        value = 0;
        while (i < text_.size() && std::isdigit(static_cast<unsigned char>(text_[i])) != 0) {
          value =
              std::min<std::uint32_t>(value * 10 + static_cast<unsigned>(text_[i++] - '0'), 100000);
        }
        return i > begin;
      };
      if (!digits(node.least)) return atom;  // a plain brace: read as the next atom
      node.most = node.least;
      if (i < text_.size() && text_[i] == ',') {
        ++i;
        if (!digits(node.most)) node.most = kNoBound;
      }
      if (i >= text_.size() || text_[i] != '}') return atom;
      at_ = i + 1;
    } else {
      return atom;
    }
    if (!end() && (text_[at_] == '?' || text_[at_] == '+')) node.mode = text_[at_++];
    node.children.push_back(std::move(atom));
    return quantified(make(std::move(node)));
  }

  Pointer literal(unsigned octet) {
    Node node{.kind = NodeKind::set};
    node.set.set(octet & 0xff);
    return make(std::move(node));
  }
  Pointer opaque(std::string text, NodeKind kind) {
    Node node{.kind = kind};
    node.text = std::move(text);
    return make(std::move(node));
  }

  Pointer atom() {
    const char c = text_[at_];
    if (c == '(') return group();
    if (c == '[') return bracket();
    if (c == '\\') return escape();
    ++at_;
    if (c == '.') return make({.kind = NodeKind::any});
    if (c == '^' || c == '$') return opaque(std::string(1, c), NodeKind::zero_width);
    if (c == '*' || c == '+' || c == '?') return fail();
    return literal(static_cast<unsigned char>(c));
  }

  Pointer group() {
    const std::size_t begin = at_;
    std::string_view rest = text_.substr(at_);
    if (rest.starts_with("(?#")) {
      const std::size_t close = rest.find(')');
      if (close == std::string_view::npos) return fail();
      at_ += close + 1;
      return make({.kind = NodeKind::sequence});
    }
    if (rest.starts_with("(*")) return fail();
    static constexpr std::string_view kLooks[] = {"(?=", "(?!", "(?<=", "(?<!"};
    for (const std::string_view look : kLooks) {
      if (!rest.starts_with(look)) continue;
      at_ += look.size();
      choice();
      if (end() || text_[at_] != ')') return fail();
      ++at_;
      return opaque(std::string(text_.substr(begin, at_ - begin)), NodeKind::zero_width);
    }
    Node node{.kind = NodeKind::group};
    if (rest.starts_with("(?")) {
      std::size_t i = 2;
      if (rest.starts_with("(?<") || rest.starts_with("(?'") || rest.starts_with("(?P<")) {
        const char close = rest[2] == '\'' ? '\'' : '>';
        i = rest.find(close, 3);
        if (i == std::string_view::npos) return fail();
        node.text = rest.substr(0, ++i);
      } else if (rest.starts_with("(?>") || rest.starts_with("(?|")) {
        node.text = rest.substr(0, 3);
        i = 3;
      } else {
        while (i < rest.size() && (std::isalpha(static_cast<unsigned char>(rest[i])) != 0 ||
                                   rest[i] == '-' || rest[i] == '^'))
          ++i;
        if (i >= rest.size() || (rest[i] != ':' && rest[i] != ')')) return fail();
        if (rest.substr(2, i - 2).find('x') != std::string_view::npos) return fail();
        if (rest[i] == ')') {  // flags from here on
          at_ += i + 1;
          return opaque(std::string(rest.substr(0, i + 1)), NodeKind::opaque);
        }
        node.text = rest.substr(0, ++i);
      }
      at_ += i;
    } else {
      node.text = "(";
      ++at_;
    }
    node.children.push_back(choice());
    if (end() || text_[at_] != ')') return fail();
    ++at_;
    return make(std::move(node));
  }

  // The octet of \x.. or an octal escape that begins at at_, which stands behind the backslash.
  std::optional<unsigned> number_escape() {
    if (text_[at_] == 'x') {
      std::size_t i = at_ + 1;
      const bool braces = i < text_.size() && text_[i] == '{';
      if (braces) ++i;
      unsigned value = 0;
      std::size_t digits = 0;
      while (i < text_.size() && digits < 2 &&
             std::isxdigit(static_cast<unsigned char>(text_[i])) != 0) {
        const char d = text_[i++];
        value = value * 16 + static_cast<unsigned>(d <= '9' ? d - '0' : (d | 32) - 'a' + 10);
        ++digits;
      }
      if (braces && (i >= text_.size() || text_[i] != '}')) return std::nullopt;
      at_ = braces ? i + 1 : i;
      return value;
    }
    unsigned value = 0;
    std::size_t digits = 0;
    while (!end() && digits < 3 && text_[at_] >= '0' && text_[at_] <= '7') {
      value = value * 8 + static_cast<unsigned>(text_[at_++] - '0');
      ++digits;
    }
    return digits == 0 || value > 255 ? std::nullopt : std::optional(value);
  }

  Pointer escape() {
    ++at_;
    if (end()) return fail();
    const char c = text_[at_];
    if (c == 'x' || c == '0' ||
        (c >= '1' && c <= '7' && at_ + 2 < text_.size() &&
         std::isdigit(static_cast<unsigned char>(text_[at_ + 1])) != 0 &&
         std::isdigit(static_cast<unsigned char>(text_[at_ + 2])) != 0)) {
      const auto value = number_escape();
      return value ? literal(*value) : fail();
    }
    if (c >= '1' && c <= '9') {
      references_ = true;
      ++at_;
      return opaque(std::string("\\") + c, NodeKind::reference);
    }
    if (std::string_view("dDwWsShHvV").find(c) != std::string_view::npos) {
      ++at_;
      Node node{.kind = NodeKind::set};
      node.set = class_of(c);
      return make(std::move(node));
    }
    if (std::string_view("bBAzZGK").find(c) != std::string_view::npos) {
      ++at_;
      return opaque(std::string("\\") + c, NodeKind::zero_width);
    }
    if (const auto octet = simple_escape(c)) {
      ++at_;
      return literal(*octet);
    }
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) return fail();  // \p, \Q, \k, \g, \R, \N
    ++at_;
    return literal(static_cast<unsigned char>(c));
  }

  Pointer bracket() {
    ++at_;
    bool negated = false;
    if (!end() && text_[at_] == '^') {
      negated = true;
      ++at_;
    }
    Set set;
    bool first = true;
    int from = -1;  // what may begin a range
    bool ranging = false;
    while (!end() && (text_[at_] != ']' || first)) {
      first = false;
      if (text_[at_] == '[' && at_ + 1 < text_.size() && text_[at_ + 1] == ':') {
        const std::size_t close = text_.find(":]", at_);
        if (close == std::string_view::npos) return fail();
        const auto posix = posix_class(text_.substr(at_ + 2, close - at_ - 2));
        if (!posix) return fail();
        set |= *posix;
        at_ = close + 2;
        from = -1;
        continue;
      }
      std::optional<unsigned> octet;
      if (text_[at_] == '\\') {
        if (++at_ >= text_.size()) return fail();
        const char c = text_[at_];
        if (c == 'x' || (c >= '0' && c <= '7')) {
          octet = number_escape();
          if (!octet) return fail();
        } else if (std::string_view("dDwWsShHvV").find(c) != std::string_view::npos) {
          ++at_;
          set |= class_of(c);
          if (ranging) set.set('-');
          ranging = false;
          from = -1;
          continue;
        } else if (c == 'b') {
          octet = 8;
          ++at_;
        } else if (const auto simple = simple_escape(c)) {
          octet = simple;
          ++at_;
        } else if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
          return fail();
        } else {
          octet = static_cast<unsigned char>(c);
          ++at_;
        }
      } else {
        octet = static_cast<unsigned char>(text_[at_++]);
        if (*octet == '-' && from >= 0 && !ranging && !end() && text_[at_] != ']') {
          ranging = true;
          continue;
        }
      }
      if (ranging) {
        if (static_cast<int>(*octet) < from) return fail();
        set |= range(static_cast<unsigned>(from), *octet);
        ranging = false;
        from = -1;
      } else {
        set.set(*octet);
        from = static_cast<int>(*octet);
      }
    }
    if (end()) return fail();
    ++at_;
    Node node{.kind = NodeKind::set};
    node.set = set;
    if (negated) {
      node.set = ~set;
      node.text = "^";
    }
    return make(std::move(node));
  }

  static std::optional<Set> posix_class(std::string_view name) {
    const bool negated = name.starts_with('^');
    if (negated) name.remove_prefix(1);
    int (*is)(int) = nullptr;
    if (name == "alpha") is = std::isalpha;
    if (name == "digit") is = std::isdigit;
    if (name == "alnum") is = std::isalnum;
    if (name == "space") is = std::isspace;
    if (name == "upper") is = std::isupper;
    if (name == "lower") is = std::islower;
    if (name == "punct") is = std::ispunct;
    if (name == "cntrl") is = std::iscntrl;
    if (name == "print") is = std::isprint;
    if (name == "graph") is = std::isgraph;
    if (name == "xdigit") is = std::isxdigit;
    if (is == nullptr) return std::nullopt;
    Set set;
    for (int c = 0; c < 128; ++c) {
      if (is(c) != 0) set.set(static_cast<std::size_t>(c));
    }
    return negated ? ~set : set;
  }

  std::string_view text_;
  bool extended_;
  bool failed_ = false;
  bool references_ = false;
  std::size_t at_ = 0;
  int depth_ = 0;
};

bool is_empty(const Node& node) { return node.kind == NodeKind::sequence && node.children.empty(); }

void put_octet(std::string& out, unsigned octet) {
  static constexpr char kHex[] = "0123456789abcdef";
  if (std::isalnum(static_cast<int>(octet)) != 0 && octet < 128) {
    out += static_cast<char>(octet);
    return;
  }
  out += "\\x";
  out += kHex[octet >> 4];
  out += kHex[octet & 15];
}

void put_set(std::string& out, const Set& set) {
  if (set.count() == 1) {
    for (unsigned c = 0; c < 256; ++c) {
      if (set.test(c)) put_octet(out, c);
    }
    return;
  }
  if (set.all()) {
    out += "[\\x00-\\xff]";
    return;
  }
  const bool negated = set.count() > 128;
  const Set members = negated ? ~set : set;
  out += negated ? "[^" : "[";
  for (unsigned c = 0; c < 256; ++c) {
    if (!members.test(c)) continue;
    unsigned last = c;
    while (last < 255 && members.test(last + 1)) ++last;
    put_octet(out, c);
    if (last > c + 1) out += '-';
    if (last > c) put_octet(out, last);
    c = last;
  }
  out += ']';
}

void put(std::string& out, const Node& node) {
  switch (node.kind) {
    case NodeKind::set:
      put_set(out, node.set);
      return;
    case NodeKind::any:
      out += '.';
      return;
    case NodeKind::opaque:
    case NodeKind::zero_width:
    case NodeKind::reference:
      out += node.text;
      return;
    case NodeKind::sequence:
      for (const Pointer& child : node.children) {
        const bool wraps = child->kind == NodeKind::choice;
        if (wraps) out += "(?:";
        put(out, *child);
        if (wraps) out += ')';
      }
      return;
    case NodeKind::choice:
      for (std::size_t i = 0; i < node.children.size(); ++i) {
        if (i > 0) out += '|';
        put(out, *node.children[i]);
      }
      return;
    case NodeKind::group:
      out += node.text;
      put(out, *node.children.front());
      out += ')';
      return;
    case NodeKind::repeat: {
      const Node& child = *node.children.front();
      const bool wraps = child.kind == NodeKind::sequence || child.kind == NodeKind::choice ||
                         child.kind == NodeKind::repeat || child.kind == NodeKind::zero_width;
      if (wraps) out += "(?:";
      put(out, child);
      if (wraps) out += ')';
      if (node.least == 0 && node.most == kNoBound) {
        out += '*';
      } else if (node.least == 1 && node.most == kNoBound) {
        out += '+';
      } else if (node.least == 0 && node.most == 1) {
        out += '?';
      } else {
        out += '{' + std::to_string(node.least);
        if (node.most != node.least) {
          out += ',';
          if (node.most != kNoBound) out += std::to_string(node.most);
        }
        out += '}';
      }
      out += node.mode;
      return;
    }
  }
}

std::uint64_t count(const Node& node) {
  std::uint64_t sum = 0;
  switch (node.kind) {
    case NodeKind::set:
    case NodeKind::any:
    case NodeKind::reference:
      return 1;
    case NodeKind::opaque:
      return 0;
    case NodeKind::zero_width:
      return node.text.size() > 2 ? node.text.size() : 0;
    case NodeKind::repeat: {
      const std::uint64_t of_one = count(*node.children.front());
      const std::uint64_t times =
          node.most == kNoBound ? std::max(node.least, 1u) : std::max(node.most, 1u);
      // A counted single character has a counter.
      if (of_one == 1 && times > 4) return 4 + times / 16;
      return std::min(of_one * times, kMany);
    }
    default:
      for (const Pointer& child : node.children) sum = std::min(sum + count(*child), kMany);
      return sum;
  }
}

// nullptr: cannot match.
Pointer to_ascii(const Pointer& pointer) {
  const Node& node = *pointer;
  switch (node.kind) {
    case NodeKind::set: {
      Node out = node;
      out.set &= range(0, 127);
      if (out.set.none()) return nullptr;
      // What was a complement stays one, to be printed as written.
      if (node.set.count() > 128) out.set = node.set;
      return make(std::move(out));
    }
    case NodeKind::sequence:
    case NodeKind::group: {
      Node out = node;
      out.children.clear();
      for (const Pointer& child : node.children) {
        Pointer changed = to_ascii(child);
        if (!changed) return nullptr;
        out.children.push_back(std::move(changed));
      }
      return make(std::move(out));
    }
    case NodeKind::choice: {
      Node out = node;
      out.children.clear();
      for (const Pointer& child : node.children) {
        if (Pointer changed = to_ascii(child)) out.children.push_back(std::move(changed));
      }
      if (out.children.empty()) return nullptr;
      return out.children.size() == 1 ? out.children.front() : make(std::move(out));
    }
    case NodeKind::repeat: {
      Node out = node;
      Pointer changed = to_ascii(node.children.front());
      if (!changed) return node.least == 0 ? make({.kind = NodeKind::sequence}) : nullptr;
      out.children.front() = std::move(changed);
      return make(std::move(out));
    }
    default:
      return pointer;
  }
}

Pointer to_relaxed(const Pointer& pointer) {
  const Node& node = *pointer;
  switch (node.kind) {
    case NodeKind::zero_width:
      // \b and \B Hyperscan can.
      return node.text == "\\b" || node.text == "\\B" ? pointer
                                                      : make({.kind = NodeKind::sequence});
    case NodeKind::reference: {
      Node any{.kind = NodeKind::set};
      any.set.set();
      Node repeat{.kind = NodeKind::repeat,
                  .children = {make(std::move(any))},
                  .least = 0,
                  .most = kNoBound};
      return make(std::move(repeat));
    }
    case NodeKind::repeat: {
      Node out = node;
      out.children.front() = to_relaxed(node.children.front());
      out.mode.clear();
      const std::uint64_t of_one = std::max<std::uint64_t>(count(*out.children.front()), 1);
      const std::uint64_t bound = of_one == 1 ? kMostCounted : of_one <= 8 ? 2 : 1;
      if (out.most != kNoBound && out.most > bound) out.most = kNoBound;
      if (out.least > bound) out.least = static_cast<std::uint32_t>(bound);
      if (is_empty(*out.children.front())) return out.children.front();
      return make(std::move(out));
    }
    case NodeKind::sequence:
    case NodeKind::choice:
    case NodeKind::group: {
      Node out = node;
      for (Pointer& child : out.children) child = to_relaxed(child);
      if (out.kind == NodeKind::group && (out.text == "(?>" || out.text.starts_with("(?<") ||
                                          out.text.starts_with("(?P") || out.text == "(")) {
        out.text = "(?:";
      }
      return make(std::move(out));
    }
    default:
      return pointer;
  }
}

// The beginning of what `node` matches, as far as `left` positions go; `whole`: nothing was cut.
Pointer to_truncated(const Pointer& pointer, std::uint64_t& left, bool& whole) {
  const Node& node = *pointer;
  const std::uint64_t size = count(node);
  if (size <= left) {
    left -= size;
    return pointer;
  }
  switch (node.kind) {
    case NodeKind::sequence: {
      Node out = node;
      out.children.clear();
      for (const Pointer& child : node.children) {
        out.children.push_back(to_truncated(child, left, whole));
        if (!whole) break;
      }
      return make(std::move(out));
    }
    case NodeKind::choice: {
      Node out = node;
      const std::uint64_t of_each = std::max<std::uint64_t>(left / node.children.size(), 3);
      for (Pointer& child : out.children) {
        std::uint64_t left_of_child = of_each;
        bool whole_child = true;
        child = to_truncated(child, left_of_child, whole_child);
        if (!whole_child) whole = false;
      }
      left = 0;
      return make(std::move(out));
    }
    case NodeKind::group: {
      Node out = node;
      out.children.front() = to_truncated(node.children.front(), left, whole);
      return make(std::move(out));
    }
    case NodeKind::repeat:
      whole = false;
      if (node.least == 0) return make({.kind = NodeKind::sequence});
      return to_truncated(node.children.front(), left, whole);
    default:
      whole = false;
      return make({.kind = NodeKind::sequence});
  }
}

bool is_plain(const Node& node) {
  if (node.kind == NodeKind::repeat) return count(*node.children.front()) <= 1 || node.most <= 1;
  return std::ranges::all_of(node.children, [](const Pointer& c) { return is_plain(*c); });
}

// The octets of a choice of short strings that go on with octets above 127 only: their first ones.
bool multi_octet(const Node& node, Set& first, bool& longer) {
  switch (node.kind) {
    case NodeKind::set:
      first |= node.set;
      return node.text.empty();
    case NodeKind::group:
      return multi_octet(*node.children.front(), first, longer);
    case NodeKind::choice:
      return std::ranges::all_of(node.children,
                                 [&](const Pointer& c) { return multi_octet(*c, first, longer); });
    case NodeKind::sequence: {
      if (node.children.empty() || node.children.size() > 4) return false;
      if (!multi_octet(*node.children.front(), first, longer)) return false;
      for (std::size_t i = 1; i < node.children.size(); ++i) {
        Set rest;
        if (!multi_octet(*node.children[i], rest, longer)) return false;
        if ((rest & range(0, 127)).any()) return false;
        longer = true;
      }
      return true;
    }
    default:
      return false;
  }
}

// The most octets that a node matches; kMany: no bound.
std::uint64_t longest(const Node& node) {
  switch (node.kind) {
    case NodeKind::set:
    case NodeKind::any:
      return 1;
    case NodeKind::opaque:
    case NodeKind::zero_width:
      return 0;
    case NodeKind::reference:
      return kMany;
    case NodeKind::repeat:
      return node.most == kNoBound ? kMany
                                   : std::min(longest(*node.children.front()) * node.most, kMany);
    case NodeKind::choice: {
      std::uint64_t most = 0;
      for (const Pointer& child : node.children) most = std::max(most, longest(*child));
      return most;
    }
    default: {
      std::uint64_t sum = 0;
      for (const Pointer& child : node.children) sum = std::min(sum + longest(*child), kMany);
      return sum;
    }
  }
}

// A long way of a choice: how it begins and how long it may be.
Pointer shortened(const Pointer& pointer) {
  constexpr std::size_t kKept = 2;
  constexpr std::uint64_t kLong = 6;
  const Node& node = *pointer;
  if (node.kind != NodeKind::sequence || count(node) <= kLong || node.children.size() <= kKept)
    return pointer;
  for (std::size_t i = 0; i < kKept; ++i) {
    if (node.children[i]->kind != NodeKind::set) return pointer;
  }
  std::uint64_t rest = 0;
  for (std::size_t i = kKept; i < node.children.size(); ++i) {
    rest = std::min(rest + longest(*node.children[i]), kMany);
  }
  Node out = node;
  out.children.resize(kKept);
  Node any{.kind = NodeKind::set};
  any.set.set();
  Node tail{.kind = NodeKind::repeat, .children = {make(std::move(any))}, .least = 0};
  tail.most = rest > 64 ? kNoBound : static_cast<std::uint32_t>(rest);
  out.children.push_back(make(std::move(tail)));
  return make(std::move(out));
}

Pointer to_collapsed(const Pointer& pointer) {
  const Node& node = *pointer;
  if (node.kind == NodeKind::choice || node.kind == NodeKind::group) {
    Set first;
    bool longer = false;
    if (multi_octet(node, first, longer) && longer) {
      Node head{.kind = NodeKind::set};
      head.set = first;
      Node high{.kind = NodeKind::set};
      high.set = range(128, 255);
      Node tail{
          .kind = NodeKind::repeat, .children = {make(std::move(high))}, .least = 0, .most = 3};
      Node both{.kind = NodeKind::sequence,
                .children = {make(std::move(head)), make(std::move(tail))}};
      return make({.kind = NodeKind::group, .text = "(?:", .children = {make(std::move(both))}});
    }
  }
  Node out = node;
  for (Pointer& child : out.children) child = to_collapsed(child);
  if (out.kind == NodeKind::choice && count(out) > 12) {
    for (Pointer& child : out.children) child = shortened(child);
  }
  return make(std::move(out));
}

}  // namespace

std::optional<RegexTree> RegexTree::read(std::string_view pattern, std::uint32_t options) {
  TreeReader reader(pattern, (options & scan::kRegexExtended) != 0);
  Pointer root = reader.run();
  if (!root) return std::nullopt;
  return RegexTree(std::move(root), reader.references());
}

std::optional<RegexTree> RegexTree::ascii() const {
  if (references_) return *this;
  Pointer root = to_ascii(root_);
  if (!root) return std::nullopt;
  return RegexTree(std::move(root), references_);
}

RegexTree RegexTree::relaxed() const { return RegexTree(to_relaxed(root_), false); }
RegexTree RegexTree::collapsed() const { return RegexTree(to_collapsed(root_), references_); }

RegexTree RegexTree::truncated(std::uint64_t positions) const {
  bool whole = true;
  return RegexTree(to_truncated(root_, positions, whole), references_);
}
bool RegexTree::plain() const { return is_plain(*root_); }

std::string RegexTree::text() const {
  std::string out;
  put(out, *root_);
  return out;
}

std::uint64_t RegexTree::positions() const { return count(*root_); }

}  // namespace sluice::control
