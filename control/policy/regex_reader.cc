// Perl's regex language to nodes.
#include <algorithm>
#include <bitset>
#include <cctype>
#include <optional>

#include "control/policy/regex_node.h"

namespace sluice::control::regex {
namespace {

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

}  // namespace

Pointer read(std::string_view pattern, bool extended, bool& references) {
  TreeReader reader(pattern, extended);
  Pointer root = reader.run();
  references = reader.references();
  return root;
}

}  // namespace sluice::control::regex
