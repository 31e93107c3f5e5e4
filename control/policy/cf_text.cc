#include "control/policy/cf_text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <iterator>
#include <optional>

#include "control/files/read_file.h"

namespace sluice::control {
namespace {

// The plugins whose rules we read, by the last part of their name. Rules that ask the network are
// among them: they are refused by name, not skipped.
constexpr std::string_view kPlugins[] = {"AskDNS",
                                         "BodyEval",
                                         "Check",
                                         "DKIM",
                                         "DMARC",
                                         "DNSEval",
                                         "FreeMail",
                                         "HTMLEval",
                                         "HTTPSMismatch",
                                         "HashBL",
                                         "HeaderEval",
                                         "ImageInfo",
                                         "MIMEEval",
                                         "MIMEHeader",
                                         "RelayEval",
                                         "ReplaceTags",
                                         "SPF",
                                         "URIDNSBL",
                                         "URIDetail",
                                         "URIEval",
                                         "VBounce",
                                         "WLBLEval",
                                         "WelcomeListSubject",
                                         "WhiteListSubject",
                                         "Dmarc",
                                         "Bayes",
                                         "Pyzor",
                                         "Razor2",
                                         "SpamCop",
                                         "AutoLearnThreshold"};

constexpr std::string_view kFeatures[] = {"Conf::feature_originating_ip_headers",
                                          "Conf::feature_dns_local_ports_permit_avoid",
                                          "Conf::feature_bayes_auto_learn_on_error",
                                          "Conf::feature_uri_host_listed",
                                          "Conf::feature_yesno_takes_args",
                                          "Conf::feature_bug6558_free",
                                          "Conf::feature_edns",
                                          "Conf::feature_dns_query_restriction",
                                          "Conf::feature_registryboundaries",
                                          "Conf::feature_geodb",
                                          "Conf::feature_dns_block_rule",
                                          "Conf::feature_compile_regexp",
                                          "Conf::feature_meta_rules_matching",
                                          "Conf::feature_subjprefix",
                                          "Conf::feature_bayes_stopwords",
                                          "Conf::feature_get_host",
                                          "Conf::feature_blocklist_welcomelist",
                                          "Conf::feature_welcomelist_blocklist",
                                          "Conf::compat_welcomelist_blocklist",
                                          "Conf::feature_header_address_parser",
                                          "Conf::feature_local_tests_only",
                                          "Conf::feature_header_first_last",
                                          "Conf::feature_header_match_many",
                                          "Conf::feature_capture_rules",
                                          "Conf::has_tflags_nosubject",
                                          "Conf::has_tflags_nolog",
                                          "Conf::perl_min_version_5010000",
                                          "Plugin::BodyEval::has_check_body_length",
                                          "Plugin::BodyEval::has_plaintext_body_sig_ratio",
                                          "Plugin::MIMEEval::has_check_abundant_unicode_ratio",
                                          "Plugin::MIMEEval::has_check_for_ascii_text_illegal",
                                          "Plugin::MIMEEval::has_check_qp_ratio",
                                          "Plugin::DKIM::has_arc",
                                          "Plugin::URIDNSBL::has_uridnsbl_for_a",
                                          "Plugin::URIDNSBL::has_tflags_domains_only",
                                          "Plugin::SPF::has_check_for_spf_errors"};

constexpr std::string_view kModule = "Mail::SpamAssassin::";

bool blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f'; }

std::string_view trim(std::string_view s) {
  while (!s.empty() && blank(s.front())) s.remove_prefix(1);
  while (!s.empty() && blank(s.back())) s.remove_suffix(1);
  return s;
}

std::string_view first_word(std::string_view s) {
  std::size_t end = 0;
  while (end < s.size() && !blank(s[end])) ++end;
  return s.substr(0, end);
}

bool known_plugin(std::string_view name) {
  constexpr std::string_view kPrefix = "Mail::SpamAssassin::Plugin::";
  return name.starts_with(kPrefix) &&
         std::ranges::find(kPlugins, name.substr(kPrefix.size())) != std::end(kPlugins);
}

bool known_feature(std::string_view name) {
  return name.starts_with(kModule) &&
         std::ranges::find(kFeatures, name.substr(kModule.size())) != std::end(kFeatures);
}

// An `if` expression: numbers, version, perl_version, local_tests_only, plugin(), can(), has(),
// comparison, !, &&, || and parentheses.
class Condition {
 public:
  explicit Condition(std::string_view text) : rest_(text) {}

  // Nothing when it cannot be read; error() says why.
  std::optional<bool> holds() {
    const double value = any();
    skip();
    if (error_.empty() && !rest_.empty()) fail("what stands behind it: " + std::string(rest_));
    if (!error_.empty()) return std::nullopt;
    return value != 0;
  }
  const std::string& error() const { return error_; }

 private:
  static constexpr int kMaxDepth = 32;

  double fail(const std::string& text) {
    if (error_.empty()) error_ = text;
    rest_ = {};
    return 0;
  }
  void skip() {
    while (!rest_.empty() && blank(rest_.front())) rest_.remove_prefix(1);
  }
  bool take(std::string_view token) {
    skip();
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }
  double any() {
    double value = all();
    while (take("||")) {
      const double other = all();
      value = value != 0 || other != 0;
    }
    return value;
  }
  double all() {
    double value = compared();
    while (take("&&")) {
      const double other = compared();
      value = value != 0 && other != 0;
    }
    return value;
  }
  double compared() {
    const double left = primary();
    if (take(">=")) return left >= primary();
    if (take("<=")) return left <= primary();
    if (take("==")) return left == primary();
    if (take("!=")) return left != primary();
    if (take(">")) return left > primary();
    if (take("<")) return left < primary();
    return left;
  }
  double primary() {
    if (++depth_ > kMaxDepth) return fail("it is nested too deep");
    const double value = primary_inside();
    --depth_;
    return value;
  }
  double primary_inside() {
    if (take("!")) return primary() == 0;
    if (take("(")) {
      const double value = any();
      if (!take(")")) return fail("a closing parenthesis is missing");
      return value;
    }
    skip();
    std::size_t size = 0;
    while (size < rest_.size() && (std::isalnum(static_cast<unsigned char>(rest_[size])) != 0 ||
                                   rest_[size] == '_' || rest_[size] == ':' || rest_[size] == '.'))
      ++size;
    const std::string word(rest_.substr(0, size));
    if (word.empty())
      return fail(rest_.empty() ? "it ends too early"
                                : "a word is expected at: " + std::string(rest_));
    rest_.remove_prefix(size);
    if (std::isdigit(static_cast<unsigned char>(word.front())) != 0) {
      char* end = nullptr;
      const double number = std::strtod(word.c_str(), &end);
      return *end == '\0' ? number : fail("'" + word + "' is no number");
    }
    if (word == "version") return kCfVersion;
    if (word == "perl_version") return kCfPerlVersion;
    if (word == "local_tests_only") return 1;
    if (word == "plugin" || word == "can" || word == "has") {
      if (!take("(")) return fail("'" + word + "' wants a name in parentheses");
      const std::size_t close = rest_.find(')');
      if (close == std::string_view::npos) return fail("a closing parenthesis is missing");
      const std::string_view name = trim(rest_.substr(0, close));
      rest_.remove_prefix(close + 1);
      if (name.empty()) return fail("'" + word + "' wants a name in parentheses");
      return word == "plugin" ? known_plugin(name) : known_feature(name);
    }
    return fail("'" + word + "' is not known");
  }

  std::string_view rest_;
  std::string error_;
  int depth_ = 0;
};

class Reader {
 public:
  explicit Reader(CfText& text) : text_(text) {}

  void file(const std::filesystem::path& path, std::string_view octets, unsigned depth) {
    const auto number = static_cast<std::uint32_t>(text_.files.size());
    text_.files.push_back(path.string());
    const std::size_t outer = blocks_.size();
    bool useless = false;  // require_version of another one
    std::uint32_t line_number = 0;
    while (!octets.empty() && !useless) {
      ++line_number;
      const std::size_t end = octets.find('\n');
      const std::string_view raw = octets.substr(0, end);
      octets.remove_prefix(end == std::string_view::npos ? octets.size() : end + 1);
      at_ = {number, line_number};
      if (raw.size() > kMaxCfLine) {
        fault("the line is longer than " + std::to_string(kMaxCfLine) + " octets: not read");
        continue;
      }
      line(path, raw, depth, outer, useless);
    }
    while (blocks_.size() > outer) {
      at_ = {number, blocks_.back().line};
      fault("this '" + blocks_.back().kind + "' has no endif in its file");
      blocks_.pop_back();
    }
  }

 private:
  struct Block {
    std::string kind;
    std::string condition;
    std::uint32_t line = 0;
    bool holds = true;
    bool has_else = false;
  };

  void fault(const std::string& text, bool fatal = true) {
    text_.faults.push_back({at_.file, at_.line, "", text, fatal});
  }

  bool in_force() const {
    return std::ranges::all_of(blocks_, [](const Block& b) { return b.holds; });
  }

  // A `#` begins a comment unless a backslash stands before it, which then vanishes.
  static std::string without_comment(std::string_view raw) {
    std::string out;
    out.reserve(raw.size());
    for (std::size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] == '#') {
        if (out.empty() || out.back() != '\\') break;
        out.back() = '#';
        continue;
      }
      out += raw[i];
    }
    return out;
  }

  void line(const std::filesystem::path& path, std::string_view raw, unsigned depth,
            std::size_t outer, bool& useless) {
    const std::string uncommented = without_comment(raw);
    std::string_view rest = trim(uncommented);
    if (rest.empty()) return;
    std::string key(first_word(rest));
    rest = trim(rest.substr(key.size()));
    for (char& c : key) {
      c = c == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    if (key == "lang") {  // English is what reports are made of
      const std::string_view language = first_word(rest);
      if (!std::string_view("en_US").starts_with(language)) return;
      rest = trim(rest.substr(language.size()));
      key = std::string(first_word(rest));
      rest = trim(rest.substr(key.size()));
    }
    if (key == "if" || key == "ifplugin") return begin(key, rest);
    if (key == "else" || key == "endif") return turn(key, rest, outer);
    if (!in_force()) {
      if (is_cf_rule_type(key)) {
        const auto block = std::ranges::find_if(blocks_, [](const Block& b) { return !b.holds; });
        text_.skipped.push_back(
            {at_.file, at_.line, std::string(first_word(rest)), block->condition});
      }
      return;
    }
    if (key == "include") return include(path, rest, depth);
    if (key == "require_version") {
      char* end = nullptr;
      const std::string value(rest);
      const double version = std::strtod(value.c_str(), &end);
      if (value == "@@VERSION@@" || (end != value.c_str() && version == kCfVersion)) return;
      fault("it is for version " + value +
            " of the language and we read 4.000001: this file is "
            "not used");
      useless = true;
      return;
    }
    text_.lines.push_back({at_.file, at_.line, std::move(key), std::string(rest)});
  }

  void begin(const std::string& key, std::string_view rest) {
    Block block{.kind = key, .condition = key + " " + std::string(rest), .line = at_.line};
    if (rest.empty()) {
      fault("'" + key + "' has no condition: its block is not used");
      block.holds = false;
    } else if (key == "ifplugin") {
      block.holds = known_plugin(first_word(rest));
    } else {
      Condition condition(rest);
      const auto holds = condition.holds();
      if (!holds) {
        fault("the condition cannot be read: " + condition.error() + ": its block is not used");
      }
      block.holds = holds.value_or(false);
    }
    blocks_.push_back(std::move(block));
  }

  void turn(const std::string& key, std::string_view rest, std::size_t outer) {
    if (!rest.empty()) return fault("'" + key + "' stands alone on its line");
    if (blocks_.size() <= outer) return fault("'" + key + "' without an if before it");
    if (key == "endif") {
      blocks_.pop_back();
      return;
    }
    Block& block = blocks_.back();
    if (block.has_else) return fault("a second 'else' of the same if");
    block.has_else = true;
    block.holds = !block.holds;
    block.condition = "else of " + block.condition;
  }

  void include(const std::filesystem::path& path, std::string_view rest, unsigned depth) {
    if (rest.empty()) return fault("'include' has no file name");
    if (depth >= kMaxCfIncludes)
      return fault("includes are nested too deep (a file includes itself?)");
    std::filesystem::path other(rest);
    if (other.is_relative()) other = path.parent_path() / other;
    const auto octets = read_file(other);
    if (!octets) return fault("an included file cannot be read: " + octets.error());
    const auto here = at_;
    file(other, *octets, depth + 1);
    at_ = here;
  }

  struct Place {
    std::uint32_t file = 0;
    std::uint32_t line = 0;
  };

  CfText& text_;
  std::vector<Block> blocks_;
  Place at_;
};

}  // namespace

bool is_cf_rule_type(std::string_view key) {
  static constexpr std::string_view kTypes[] = {"header", "body",       "rawbody", "full",
                                                "uri",    "mimeheader", "meta"};
  return std::ranges::find(kTypes, key) != std::end(kTypes);
}

void read_cf(const std::filesystem::path& path, std::string_view octets, CfText& text) {
  Reader(text).file(path, octets, 0);
}

}  // namespace sluice::control
