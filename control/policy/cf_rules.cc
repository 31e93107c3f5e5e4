#include "control/policy/cf_rules.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <set>
#include <unordered_map>

#include "dataplane/scan/confirmation.h"

namespace sluice::control {
namespace {

bool blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f'; }

std::string_view trim(std::string_view s) {
  while (!s.empty() && blank(s.front())) s.remove_prefix(1);
  while (!s.empty() && blank(s.back())) s.remove_suffix(1);
  return s;
}

std::string_view take_word(std::string_view& s) {
  s = trim(s);
  std::size_t end = 0;
  while (end < s.size() && !blank(s[end])) ++end;
  const std::string_view word = s.substr(0, end);
  s = trim(s.substr(end));
  return word;
}

bool word_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

bool is_rule_name(std::string_view name) {
  return !name.empty() && name.size() <= 100 &&
         std::isdigit(static_cast<unsigned char>(name.front())) == 0 &&
         std::ranges::all_of(name, word_char);
}

// Settings that say how SpamAssassin itself works or reports: nothing for us.
constexpr std::string_view kIgnored[] = {"add_header",
                                         "adsp_override",
                                         "asn_lookup",
                                         "asn_prefix",
                                         "askdns",
                                         "bayes_auto_learn",
                                         "bayes_auto_learn_threshold_nonspam",
                                         "bayes_auto_learn_threshold_spam",
                                         "bayes_expiry_max_db_size",
                                         "bayes_ignore_header",
                                         "bayes_path",
                                         "bayes_file_mode",
                                         "bayes_min_ham_num",
                                         "bayes_min_spam_num",
                                         "clear_headers",
                                         "clear_originating_ip_headers",
                                         "clear_report_template",
                                         "clear_unsafe_report_template",
                                         "clear_util_rb",
                                         "dcc_home",
                                         "dns_available",
                                         "dns_block_rule",
                                         "dns_local_ports_avoid",
                                         "dns_local_ports_permit",
                                         "dns_query_restriction",
                                         "dns_server",
                                         "dns_options",
                                         "dns_test_interval",
                                         "enable_compat",
                                         "envelope_sender_header",
                                         "fns_check",
                                         "fns_ignore_dkim",
                                         "fns_ignore_headers",
                                         "fold_headers",
                                         "freemail_add_describe_email",
                                         "header_template",
                                         "internal_networks",
                                         "lock_method",
                                         "loadplugin",
                                         "tryplugin",
                                         "msa_networks",
                                         "normalize_charset",
                                         "ok_languages",
                                         "ok_locales",
                                         "pyzor_options",
                                         "razor_config",
                                         "redirector_pattern_ignore",
                                         "remove_header",
                                         "report",
                                         "report_charset",
                                         "report_contact",
                                         "report_hostname",
                                         "report_safe",
                                         "report_safe_copy_headers",
                                         "reuse",
                                         "rewrite_header",
                                         "rbl_timeout",
                                         "shortcircuit",
                                         "shortcircuit_spam_score",
                                         "shortcircuit_ham_score",
                                         "skip_rbl_checks",
                                         "skip_uribl_checks",
                                         "subjprefix",
                                         "test",
                                         "time_limit",
                                         "trusted_networks",
                                         "txrep_factor",
                                         "unsafe_report",
                                         "uridnsbl",
                                         "uridnsbl_skip_domain",
                                         "uridnssub",
                                         "uridnsbl_max_domains",
                                         "urifullnsrhsbl",
                                         "urifullnsrhssub",
                                         "urinsrhsbl",
                                         "urinsrhssub",
                                         "urirhsbl",
                                         "urirhssub",
                                         "uridnsbl_timeout",
                                         "url_shortener",
                                         "url_shortener_get",
                                         "use_auto_whitelist",
                                         "use_auto_welcomelist",
                                         "use_bayes",
                                         "use_bayes_rules",
                                         "use_dcc",
                                         "use_learner",
                                         "use_pyzor",
                                         "use_razor2",
                                         "use_txrep",
                                         "user_scores_dsn",
                                         "version_tag",
                                         "whitelist_bounce_relays_unused",
                                         "clear_trusted_networks",
                                         "clear_internal_networks",
                                         "clear_msa_networks",
                                         "allow_user_rules",
                                         "auto_learn",
                                         "body_part_scan_size",
                                         "rawbody_part_scan_size",
                                         "bayes_token_sources",
                                         "originating_ip_headers",
                                         "dkim_minimum_key_bits",
                                         "adsp_override_unused",
                                         "hashbl_ignore",
                                         "hashbl_acl_freemail",
                                         "hashbl_email_welcomelist",
                                         "check_hashbl_bodyre",
                                         "report_wrap_width",
                                         "score_set_unused",
                                         "parse_dkim_uris",
                                         "util_rb_unused",
                                         "uri_local_cc",
                                         "header_checks"};

// Settings whose words are looked up by evals.
constexpr std::string_view kLists[] = {"util_rb_tld",
                                       "util_rb_2tld",
                                       "util_rb_3tld",
                                       "freemail_domains",
                                       "freemail_whitelist",
                                       "freemail_welcomelist",
                                       "redirector_pattern",
                                       "enlist_uri_host",
                                       "delist_uri_host",
                                       "enlist_addrlist",
                                       "welcomelist_bounce_relays",
                                       "whitelist_bounce_relays",
                                       "blocklist_uri_host",
                                       "blacklist_uri_host",
                                       "welcomelist_uri_host",
                                       "whitelist_uri_host",
                                       "freemail_import_welcomelist_auth",
                                       "freemail_import_whitelist_auth",
                                       "freemail_import_def_welcomelist_auth",
                                       "freemail_import_def_whitelist_auth",
                                       "def_welcomelist_auth",
                                       "def_whitelist_auth",
                                       "def_welcomelist_from_dkim",
                                       "def_whitelist_from_dkim",
                                       "def_welcomelist_from_spf",
                                       "def_whitelist_from_spf",
                                       "def_welcomelist_from_rcvd",
                                       "def_whitelist_from_rcvd",
                                       "def_welcomelist_subject",
                                       "def_whitelist_subject",
                                       "welcomelist_subject",
                                       "whitelist_subject",
                                       "blocklist_subject",
                                       "blacklist_subject",
                                       "welcomelist_from",
                                       "whitelist_from",
                                       "welcomelist_auth",
                                       "whitelist_auth",
                                       "blocklist_from",
                                       "blacklist_from",
                                       "welcomelist_to",
                                       "whitelist_to",
                                       "unwelcomelist_from",
                                       "unwhitelist_from",
                                       "unwelcomelist_auth",
                                       "unwhitelist_auth",
                                       "more_spam_to",
                                       "all_spam_to",
                                       "blocklist_to",
                                       "blacklist_to"};

template <std::size_t N>
bool among(const std::string_view (&list)[N], std::string_view key) {
  return std::ranges::find(list, key) != std::end(list);
}

std::optional<double> number(std::string_view text) {
  const std::string copy(text);
  if (copy.empty() || std::isspace(static_cast<unsigned char>(copy.front())) != 0)
    return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(copy.c_str(), &end);
  if (*end != '\0' || !std::isfinite(value) || std::abs(value) > 1e6) return std::nullopt;
  return value;
}

// What a setting said of a rule, with where.
struct Said {
  std::string value;
  std::uint32_t file = 0;
  std::uint32_t line = 0;
};

class Collector {
 public:
  explicit Collector(const CfText& text) : text_(text) {}

  CfRules run() {
    for (const CfLine& line : text_.lines) {
      at_ = &line;
      take(line);
    }
    for (const std::string& name : order_) finish(name);
    complain();
    return std::move(out_);
  }

 private:
  void fault(const std::string& rule, const std::string& text, bool fatal = true) {
    out_.faults.push_back({at_->file, at_->number, rule, text, fatal});
  }

  void take(const CfLine& line) {
    std::string_view rest = line.value;
    if (is_cf_rule_type(line.key)) return define(line, rest);
    if (line.key == "score") return score(rest);
    if (line.key == "tflags" || line.key == "describe" || line.key == "priority") {
      const std::string name(take_word(rest));
      if (!is_rule_name(name)) return fault(name, "'" + line.key + "' wants the name of a rule");
      if (rest.empty()) return fault(name, "'" + line.key + "' says nothing of " + name);
      auto& table = line.key == "tflags"     ? flags_
                    : line.key == "describe" ? descriptions_
                                             : priorities_;
      table[name] = {std::string(rest), line.file, line.number};
      if (line.key == "priority" && !number(rest)) fault(name, "the priority is no number");
      return;
    }
    if (line.key == "required_score" || line.key == "required_hits") {
      out_.required_score = number(rest);
      if (!out_.required_score) fault("", "'" + line.key + "' wants a number");
      return;
    }
    if (line.key == "replace_rules") {
      while (!rest.empty()) {
        const std::string name(take_word(rest));
        replace_rules_.try_emplace(name, Said{"", line.file, line.number});
      }
      return;
    }
    if (line.key == "replace_start" || line.key == "replace_end") {
      if (rest.empty()) return fault("", "'" + line.key + "' has no value");
      (line.key == "replace_start" ? start_ : end_) = rest;
      return;
    }
    if (line.key == "replace_tag" || line.key == "replace_pre" || line.key == "replace_inter" ||
        line.key == "replace_post") {
      const std::string name(take_word(rest));
      if (name.empty() || rest.empty()) {
        return fault("", "'" + line.key + "' wants a name and what it stands for");
      }
      tags_[line.key][name] = rest;
      return;
    }
    if (among(kLists, line.key)) {
      if (rest.empty()) return fault("", "'" + line.key + "' has no value");
      auto& list = out_.lists[line.key];
      if (line.key == "redirector_pattern" || line.key.ends_with("_subject") ||
          line.key.starts_with("enlist") || line.key.starts_with("delist") ||
          line.key.ends_with("_rcvd") || line.key.find("_dkim") != std::string::npos) {
        list.emplace_back(rest);
        return;
      }
      while (!rest.empty()) {
        std::string word(take_word(rest));
        for (char& c : word) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        list.push_back(std::move(word));
      }
      return;
    }
    if (among(kIgnored, line.key) || line.key.starts_with("bayes_") ||
        line.key.starts_with("dcc_") || line.key.starts_with("pyzor_") ||
        line.key.starts_with("razor_") || line.key.starts_with("txrep_") ||
        line.key.starts_with("user_scores_") || line.key.starts_with("spf_") ||
        line.key.starts_with("dkim_") || line.key.starts_with("geodb_"))
      return;
    fault("", "the setting '" + line.key + "' is not known: the line is not used");
  }

  void score(std::string_view rest) {
    const std::string name(take_word(rest));
    if (!is_rule_name(name)) return fault(name, "'score' wants the name of a rule");
    std::vector<double> values;
    bool relative = false;
    while (!rest.empty()) {
      std::string_view word = take_word(rest);
      if (word.size() > 2 && word.front() == '(' && word.back() == ')') {
        relative = true;
        word = word.substr(1, word.size() - 2);
      }
      const auto value = number(word);
      if (!value) return fault(name, "the score '" + std::string(word) + "' is no number");
      values.push_back(*value);
    }
    if (values.size() != 1 && values.size() != 4) {
      return fault(name, "a score has one value or four, not " + std::to_string(values.size()));
    }
    // Set 0: no network, no learned database.
    auto& known = scores_[name];
    known = relative ? known.value_or(0) + values[0] : values[0];
    score_lines_[name] = {"", at_->file, at_->number};
  }

  void define(const CfLine& line, std::string_view rest) {
    CfRule rule;
    rule.name = take_word(rest);
    rule.file = line.file;
    rule.line = line.number;
    if (!is_rule_name(rule.name)) {
      return fault(rule.name,
                   rule.name.empty()
                       ? "'" + line.key + "' without the name of a rule"
                       : "a rule's name is made of letters, digits and underscores, does "
                         "not begin with a digit and has at most 100 characters");
    }
    if (rest.empty()) return fault(rule.name, "the rule says nothing after its name");
    const auto read = [&]() -> Status {
      if (line.key == "meta") {
        rule.kind = CfKind::meta;
        rule.expression = rest;
        return ok();
      }
      if (rest.starts_with("eval:")) return eval(rest.substr(5), rule);
      if (line.key == "header") return header(rest, rule);
      if (line.key == "mimeheader") return mime_header(rest, rule);
      rule.kind = line.key == "body"      ? CfKind::body
                  : line.key == "rawbody" ? CfKind::rawbody
                  : line.key == "full"    ? CfKind::full
                                          : CfKind::uri;
      return regex(rest, rule);
    }();
    if (!read) return fault(rule.name, read.error());
    const auto [at, added] = rules_.try_emplace(rule.name, rule);
    if (added) {
      order_.push_back(rule.name);
    } else {
      at->second = std::move(rule);
    }
  }

  static Status regex(std::string_view text, CfRule& rule) {
    auto read = read_perl_regex(text);
    if (!read) return Error{read.error()};
    rule.pattern = std::move(read->pattern);
    rule.options = read->options;
    return ok();
  }

  static Status header(std::string_view rest, CfRule& rule) {
    if (rest.starts_with("exists:")) {
      rule.kind = CfKind::exists;
      std::string_view name = rest.substr(7);
      if (name.ends_with(':')) name.remove_suffix(1);
      if (name.empty() ||
          !std::ranges::all_of(name, [](char c) { return word_char(c) || c == '.' || c == '-'; })) {
        return Error{"exists: wants the name of a header field"};
      }
      rule.selector = name;
      return ok();
    }
    rule.kind = CfKind::header;
    const std::size_t size = static_cast<std::size_t>(
        std::ranges::find_if_not(
            rest, [](char c) { return word_char(c) || c == '.' || c == '-' || c == ':'; }) -
        rest.begin());
    std::string_view selector = rest.substr(0, size);
    rest = trim(rest.substr(size));
    if (selector.ends_with(':')) selector.remove_suffix(1);
    if (selector.empty() || selector.front() == ':') {
      return Error{"a header test begins with the name of a header field"};
    }
    static constexpr std::string_view kModifiers[] = {"raw", "addr",  "name",  "host", "domain",
                                                      "ip",  "revip", "first", "last"};
    std::string_view modifiers = selector;
    for (std::size_t colon = modifiers.find(':'); colon != std::string_view::npos;
         colon = modifiers.find(':')) {
      modifiers.remove_prefix(colon + 1);
      const std::string_view modifier = modifiers.substr(0, modifiers.find(':'));
      if (!among(kModifiers, modifier)) {
        return Error{"':" + std::string(modifier) + "' is no modifier of a header field"};
      }
    }
    rule.selector = selector;
    if (!rest.starts_with("=~") && !rest.starts_with("!~")) {
      return Error{"=~ or !~ is expected behind the header field's name"};
    }
    rule.negated = rest.front() == '!';
    rest = trim(rest.substr(2));
    constexpr std::string_view kUnset = "[if-unset:";
    if (rest.ends_with(']')) {
      const std::size_t at = rest.rfind(kUnset);
      if (at != std::string_view::npos && at > 0 && blank(rest[at - 1])) {
        std::string_view value = rest.substr(at + kUnset.size());
        value.remove_suffix(1);
        rule.if_unset = std::string(trim(value));
        rest = trim(rest.substr(0, at));
      }
    }
    return regex(rest, rule);
  }

  static Status mime_header(std::string_view rest, CfRule& rule) {
    if (auto status = header(rest, rule); !status) return status;
    if (rule.kind == CfKind::exists) return Error{"exists: is not for mimeheader"};
    rule.kind = CfKind::mime_header;
    return ok();
  }

  static Status eval(std::string_view text, CfRule& rule) {
    rule.kind = CfKind::eval;
    const std::size_t open = text.find('(');
    text = trim(text);
    if (open == std::string_view::npos || open == 0 || !text.ends_with(')')) {
      return Error{"eval: wants a function with its arguments in parentheses"};
    }
    rule.function = trim(text.substr(0, open));
    if (!std::ranges::all_of(rule.function, word_char)) {
      return Error{"'" + rule.function + "' is no name of a function"};
    }
    std::string_view rest = trim(text.substr(open + 1, text.size() - open - 2));
    while (!rest.empty()) {
      std::string_view argument;
      if (rest.front() == '"' || rest.front() == '\'') {
        const std::size_t close = rest.find(rest.front(), 1);
        if (close == std::string_view::npos) return Error{"a quote is not closed in the arguments"};
        argument = rest.substr(1, close - 1);
        rest = trim(rest.substr(close + 1));
        if (!rest.empty() && rest.front() != ',')
          return Error{"a comma is missing between arguments"};
      } else {
        const std::size_t comma = rest.find(',');
        argument = trim(rest.substr(0, comma));
        rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma);
      }
      rule.arguments.emplace_back(argument);
      if (!rest.empty()) rest = trim(rest.substr(1));
    }
    return ok();
  }

  // A rule with everything that was said of it.
  void finish(const std::string& name) {
    CfRule& rule = rules_.at(name);
    const CfLine here{rule.file, rule.line, {}, {}};
    at_ = &here;
    rule.sub = name.starts_with("__");
    if (const auto said = flags_.find(name); said != flags_.end()) {
      std::string_view rest = said->second.value;
      bool nice = false;
      while (!rest.empty()) {
        const std::string_view flag = take_word(rest);
        if (flag == "multiple") rule.multiple = true;
        if (flag == "nosubject") rule.no_subject = true;
        if (flag == "net") rule.net = true;
        if (flag == "learn") rule.learn = true;
        if (flag == "nice") nice = true;
        if (flag.starts_with("maxhits=")) {
          const auto most = number(flag.substr(8));
          if (most && *most >= 1 && *most <= 65535)
            rule.max_hits = static_cast<std::uint32_t>(*most);
        }
      }
      if (!rule.sub) rule.score = name.starts_with("T_") ? 0.01 : 1.0;
      if (nice && !rule.sub) rule.score = -rule.score;
    } else if (!rule.sub && name.starts_with("T_")) {
      rule.score = 0.01;
    }
    if (const auto score = scores_.find(name); score != scores_.end() && score->second) {
      rule.score = *score->second;
    }
    if (const auto said = descriptions_.find(name); said != descriptions_.end()) {
      rule.description = said->second.value;
    }
    if (replace_rules_.contains(name) && !rule.pattern.empty()) replace(rule);
    out_.rules.push_back(rule);
    at_ = nullptr;
  }

  // Replace tags (SpamAssassin's ReplaceTags plugin): <A> in a regex stands for what replace_tag
  // says; <inter X>, <pre X> and <post X> for what comes between, before and behind the tags.
  void replace(CfRule& rule) {
    const auto value_of = [&](const std::string& table,
                              const std::string& name) -> const std::string* {
      const auto of = tags_.find(table);
      if (of == tags_.end()) return nullptr;
      const auto at = of->second.find(name);
      return at == of->second.end() ? nullptr : &at->second;
    };
    const auto take_special = [&](const std::string& word) {
      const std::string opening = start_ + word + " ";
      const std::size_t at = rule.pattern.find(opening);
      if (at == std::string::npos) return std::string();
      const std::size_t close = rule.pattern.find(end_, at + opening.size() + 1);
      if (close == std::string::npos) return std::string();
      std::string name = rule.pattern.substr(at + opening.size(), close - at - opening.size());
      rule.pattern.erase(at, close + end_.size() - at);
      return name;
    };
    constexpr std::size_t kMost = 262144;
    for (int pass = 0; pass < 6; ++pass) {
      const std::string* pre = value_of("replace_pre", take_special("pre"));
      const std::string* post = value_of("replace_post", take_special("post"));
      const std::string* inter = value_of("replace_inter", take_special("inter"));
      std::string out;
      bool again = false;
      std::string_view rest = rule.pattern;
      bool after_tag = false;
      while (!rest.empty()) {
        // The pieces are as a split at <...> gives them: a tag, or what stands between.
        const std::size_t open = rest.find('<');
        std::size_t close = std::string_view::npos;
        std::size_t begin = open;
        while (begin != std::string_view::npos) {
          close = rest.find_first_of("<>", begin + 1);
          if (close == std::string_view::npos) {
            begin = close;
            break;
          }
          if (rest[close] == '>' && close > begin + 1) break;
          begin = rest[close] == '<' ? close : rest.find('<', close);
        }
        if (begin == std::string_view::npos) {
          out += rest;
          break;
        }
        if (begin == 0 && after_tag && inter != nullptr) out += *inter;
        out += rest.substr(0, begin);
        const std::string tag(rest.substr(begin + 1, close - begin - 1));
        const std::string whole(rest.substr(begin, close + 1 - begin));
        const std::string* value =
            start_ == "<" && end_ == ">" ? value_of("replace_tag", tag) : nullptr;
        if (pre != nullptr) out += *pre;
        out += value != nullptr ? *value : whole;
        if (value != nullptr && value->find('<') != std::string::npos &&
            value->find('>') != std::string::npos) {
          again = true;
        }
        if (post != nullptr) out += *post;
        after_tag = true;
        rest.remove_prefix(close + 1);
        if (out.size() > kMost) break;
      }
      rule.pattern = std::move(out);
      if (rule.pattern.size() > kMost) {
        fault(rule.name, "with its tags replaced the regex has more than 262144 characters", false);
        return;
      }
      if (!again) return;
    }
  }

  // What was said of rules that are not there.
  void complain() {
    const auto of = [&](const std::map<std::string, Said>& table, const char* what) {
      for (const auto& [name, said] : table) {
        if (rules_.contains(name) || known_elsewhere(name)) continue;
        out_.faults.push_back({said.file, said.line, name,
                               std::string(what) + " of a rule that is not there", false});
      }
    };
    of(score_lines_, "the score");
    of(flags_, "tflags");
    of(replace_rules_, "replace_rules");
  }

  bool known_elsewhere(const std::string& name) {
    if (skipped_.empty()) {
      for (const CfSkipped& skipped : text_.skipped) skipped_.insert(skipped.rule);
      for (const CfFault& fault : out_.faults) skipped_.insert(fault.rule);
    }
    return skipped_.contains(name);
  }

  const CfText& text_;
  const CfLine* at_ = nullptr;
  CfRules out_;
  std::unordered_map<std::string, CfRule> rules_;
  std::vector<std::string> order_;
  std::unordered_map<std::string, std::optional<double>> scores_;
  std::map<std::string, Said> score_lines_;
  std::map<std::string, Said> flags_;
  std::map<std::string, Said> descriptions_;
  std::map<std::string, Said> priorities_;
  std::map<std::string, Said> replace_rules_;
  std::map<std::string, std::map<std::string, std::string>> tags_;
  std::set<std::string> skipped_;
  std::string start_ = "<";
  std::string end_ = ">";
};

}  // namespace

Result<PerlRegex> read_perl_regex(std::string_view text) {
  char open = '/';
  if (text.starts_with("/")) {
    text.remove_prefix(1);
  } else {
    const std::size_t prefix = text.starts_with("qr") ? 2 : text.starts_with("m") ? 1 : 0;
    if (prefix == 0 || text.size() <= prefix || word_char(text[prefix])) {
      return Error{"a regex stands between delimiters: /.../ or m{...}"};
    }
    open = text[prefix];
    if (open == '\\') return Error{"a backslash cannot delimit a regex"};
    text.remove_prefix(prefix + 1);
  }
  const char close = open == '{'   ? '}'
                     : open == '(' ? ')'
                     : open == '<' ? '>'
                     : open == '[' ? ']'
                                   : open;
  const std::size_t end = text.rfind(close);
  if (end == std::string_view::npos) {
    return Error{std::string("the regex is not closed: '") + close + "' is missing"};
  }
  PerlRegex regex;
  for (const char flag : text.substr(end + 1)) {
    switch (flag) {
      case 'i':
        regex.options |= scan::kRegexCaseless;
        break;
      case 'm':
        regex.options |= scan::kRegexMultiline;
        break;
      case 's':
        regex.options |= scan::kRegexDotAll;
        break;
      case 'x':
        regex.options |= scan::kRegexExtended;
        break;
      case 'a':
      case 'o':
      case 'g':
      case 'n':
      case 'p':
        if (flag == 'n') return Error{"the flag n of a regex is not supported"};
        break;
      default:
        return Error{std::string("'") + flag + "' is no flag of a regex"};
    }
  }
  regex.pattern = text.substr(0, end);
  if (regex.pattern.empty()) return Error{"the regex is empty: it would match everything"};
  if (close == open) {
    for (std::size_t i = 0; i < regex.pattern.size(); ++i) {
      if (regex.pattern[i] == '\\') {
        ++i;
      } else if (regex.pattern[i] == close) {
        return Error{std::string("the delimiter '") + close +
                     "' stands inside of the regex without a "
                     "backslash"};
      }
    }
  }
  if (regex.pattern.find("(?{") != std::string::npos ||
      regex.pattern.find("(??{") != std::string::npos) {
    return Error{"a regex with program code (?{ }) is not run"};
  }
  // {,n} is a quantifier to Perl and text to PCRE.
  for (std::size_t i = 0; (i = regex.pattern.find("{,", i)) != std::string::npos; i += 2) {
    std::size_t digits = i + 2;
    while (digits < regex.pattern.size() &&
           std::isdigit(static_cast<unsigned char>(regex.pattern[digits])))
      ++digits;
    if (digits > i + 2 && digits < regex.pattern.size() && regex.pattern[digits] == '}' &&
        (i == 0 || regex.pattern[i - 1] != '\\')) {
      regex.pattern.insert(i + 1, "0");
    }
  }
  return regex;
}

CfRules read_cf_rules(const CfText& text) { return Collector(text).run(); }

}  // namespace sluice::control
