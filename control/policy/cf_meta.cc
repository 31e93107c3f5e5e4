#include "control/policy/cf_meta.h"

#include <cctype>
#include <cstdlib>

#include "dataplane/scan/spam_rules.h"

namespace sluice::control {
namespace {

using scan::MetaOperation;

class MetaReader {
 public:
  MetaReader(std::string_view text,
             const std::function<std::vector<std::string>(std::string_view)>& matching)
      : text_(text), matching_(matching) {}

  Result<MetaProgram> run() {
    choice();
    skip();
    if (error_.empty() && at_ < text_.size()) {
      fail("'" + std::string(text_.substr(at_, 10)) + "' is not expected");
    }
    if (!error_.empty()) return Error{error_};
    return std::move(program_);
  }

 private:
  static constexpr int kMaxDepth = 60;

  void fail(const std::string& text) {
    if (error_.empty())
      error_ = text + " (character " + std::to_string(at_ + 1) + " of the expression)";
    at_ = text_.size();
  }
  void skip() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  bool take(std::string_view token) {
    skip();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  void put(MetaOperation operation) {
    program_.words.push_back({static_cast<std::uint8_t>(operation), {}, 0});
  }

  // Perl's operators, loosest first.
  void choice() {
    disjunction();
    if (!take("?")) return;
    choice();
    if (!take(":")) return fail("':' is missing behind '?'");
    choice();
    put(MetaOperation::choose);
  }
  void disjunction() {
    conjunction();
    while (take("||")) {
      conjunction();
      put(MetaOperation::logical_or);
    }
  }
  void conjunction() {
    exclusive();
    while (take("&&")) {
      exclusive();
      put(MetaOperation::logical_and);
    }
  }
  void exclusive() {
    equality();
    while (take("^")) {
      equality();
      put(MetaOperation::exclusive_or);
    }
  }
  void equality() {
    relation();
    for (;;) {
      const auto operation = take("==")   ? MetaOperation::equal
                             : take("!=") ? MetaOperation::not_equal
                                          : MetaOperation::test;
      if (operation == MetaOperation::test) return;
      relation();
      put(operation);
    }
  }
  void relation() {
    sum();
    for (;;) {
      const auto operation = take(">=")   ? MetaOperation::greater_equal
                             : take("<=") ? MetaOperation::less_equal
                             : take(">")  ? MetaOperation::greater
                             : take("<")  ? MetaOperation::less
                                          : MetaOperation::test;
      if (operation == MetaOperation::test) return;
      sum();
      put(operation);
    }
  }
  void sum() {
    product();
    for (;;) {
      const auto operation = take("+")   ? MetaOperation::add
                             : take("-") ? MetaOperation::subtract
                                         : MetaOperation::test;
      if (operation == MetaOperation::test) return;
      product();
      put(operation);
    }
  }
  void product() {
    unary();
    for (;;) {
      const auto operation = take("*")   ? MetaOperation::multiply
                             : take("/") ? MetaOperation::divide
                                         : MetaOperation::test;
      if (operation == MetaOperation::test) return;
      unary();
      put(operation);
    }
  }
  void unary() {
    if (++depth_ > kMaxDepth) return fail("the expression is nested too deep");
    skip();
    const bool unequal = text_.substr(at_).starts_with("!=");
    if (!unequal && take("!")) {
      unary();
      put(MetaOperation::logical_not);
    } else if (take("-")) {
      unary();
      put(MetaOperation::negate);
    } else if (take("+")) {
      unary();
    } else {
      primary();
    }
    --depth_;
  }
  void primary() {
    if (take("(")) {
      skip();
      if (take(")")) return number(0);
      choice();
      if (!take(")")) fail("a closing parenthesis is missing");
      return;
    }
    skip();
    const std::size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 ||
                                  text_[at_] == '_' || text_[at_] == '.'))
      ++at_;
    const std::string word(text_.substr(begin, at_ - begin));
    if (word.empty()) {
      return fail(at_ < text_.size() ? std::string("'") + text_[at_] + "' is not expected"
                                     : "the expression ends too early");
    }
    if (std::isdigit(static_cast<unsigned char>(word.front())) != 0 || word.front() == '.') {
      char* end = nullptr;
      const double value = std::strtod(word.c_str(), &end);
      if (*end != '\0') return fail("'" + word + "' is no number");
      return number(value);
    }
    if (word.find('.') != std::string::npos) return fail("'" + word + "' is no name of a rule");
    if (word == "local_tests_only") return number(1);
    if (word == "rules_matching" && take("(")) {
      const std::size_t close = text_.find(')', at_);
      if (close == std::string_view::npos) return fail("a closing parenthesis is missing");
      std::string_view glob = text_.substr(at_, close - at_);
      while (!glob.empty() && glob.front() == ' ') glob.remove_prefix(1);
      while (!glob.empty() && glob.back() == ' ') glob.remove_suffix(1);
      at_ = close + 1;
      number(0);
      for (const std::string& name : matching_(glob)) {
        program_.words.push_back({static_cast<std::uint8_t>(MetaOperation::test), name, 0});
        put(MetaOperation::add);
      }
      return;
    }
    program_.words.push_back({static_cast<std::uint8_t>(MetaOperation::test), word, 0});
  }
  void number(double value) {
    program_.words.push_back({static_cast<std::uint8_t>(MetaOperation::number), {}, value});
  }

  std::string_view text_;
  const std::function<std::vector<std::string>(std::string_view)>& matching_;
  MetaProgram program_;
  std::string error_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Result<MetaProgram> read_meta(
    std::string_view expression,
    const std::function<std::vector<std::string>(std::string_view glob)>& matching) {
  return MetaReader(expression, matching).run();
}

}  // namespace sluice::control
