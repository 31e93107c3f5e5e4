#include "control/policy/suricata.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <limits>
#include <string_view>
#include <unordered_map>

#include "control/policy/classification.h"
#include "dataplane/scan/confirmation.h"

namespace sluice::control {
namespace {

using scan::Buffer;

constexpr std::int32_t kMaxPosition = 65535;  // as in Suricata
constexpr std::size_t kMaxContents = 32;      // of one buffer of a rule: one bit each

// Buffers that a rule names; the last four are ours, for what Suricata has no name for.
const std::unordered_map<std::string_view, Buffer>& sticky_buffers() {
  static const std::unordered_map<std::string_view, Buffer> kBuffers{
      {"pkt_data", Buffer::stream},
      {"file_data", Buffer::decoded},
      {"file.data", Buffer::decoded},
      {"smtp.helo", Buffer::helo},
      {"smtp.mail_from", Buffer::mail_from},
      {"smtp.rcpt_to", Buffer::rcpt_to},
      {"email.from", Buffer::from},
      {"email.to", Buffer::to},
      {"email.cc", Buffer::cc},
      {"email.subject", Buffer::subject},
      {"email.date", Buffer::date},
      {"email.message_id", Buffer::message_id},
      {"email.x_mailer", Buffer::x_mailer},
      {"email.received", Buffer::received},
      {"email.url", Buffer::url},
      {"file.name", Buffer::name},
      {"sluice.text", Buffer::text},
      {"sluice.raw", Buffer::raw},
      {"sluice.header", Buffer::header},
      {"sluice.stream", Buffer::stream}};
  return kBuffers;
}

// Keywords of Suricata that a mail rule may hold and that are not supported, with what to do.
const std::unordered_map<std::string_view, std::string_view>& refused_keywords() {
  static constexpr std::string_view kHash =
      "only filesha256 and filemd5 are looked up; use one of them or a content on file.data";
  static constexpr std::string_view kState =
      "rules cannot remember anything between packets or flows; remove it";
  static constexpr std::string_view kRate =
      "rates belong to the detection settings, not to rules; remove it";
  static constexpr std::string_view kNumber =
      "numbers in the data cannot be compared; use a content or a pcre";
  static const std::unordered_map<std::string_view, std::string_view> kRefused{
      {"filesha1", kHash},
      {"filemagic", "use fileext, or a content with startswith on file.data"},
      {"filesize", "sizes of attachments are not compared by rules; remove it"},
      {"filestore", "attachments are not stored; remove it"},
      {"email.body_md5", kHash},
      {"flowbits", kState},
      {"flowint", kState},
      {"xbits", kState},
      {"hostbits", kState},
      {"threshold", kRate},
      {"detection_filter", kRate},
      {"isdataat", "use `within`, `depth` or `endswith`"},
      {"bsize", "lengths of buffers are not compared; use a pcre such as /^.{3,10}$/"},
      {"dsize", "segments have no meaning in a stream; remove it"},
      {"byte_test", kNumber},
      {"byte_jump", kNumber},
      {"byte_extract", kNumber},
      {"byte_math", kNumber},
      {"noalert", "a rule that says nothing has no use; remove the keyword or the rule"},
      {"tag", "packets are not recorded by rules; remove it"},
      {"lua", "scripts do not run in the path; write a content or a pcre"},
      {"rawbytes", "every content is compared with the octets of its buffer; remove it"},
      {"replace", "octets on the wire are never rewritten; use the action reject"},
      {"uricontent", "this is not HTTP: use email.url and content"}};
  return kRefused;
}

Result<std::int64_t> number(std::string_view text, std::int64_t least, std::int64_t most) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value < least ||
      value > most) {
    return Error{"`" + std::string(text) + "` is not a whole number from " + std::to_string(least) +
                 " to " + std::to_string(most)};
  }
  return value;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    std::string_view part = text.substr(0, end);
    while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
    while (!part.empty() && part.back() == ' ') part.remove_suffix(1);
    parts.push_back(part);
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

class Reader {
 public:
  Reader(const RuleText& text, std::vector<std::string>& notes) : text_(text), notes_(notes) {}

  Result<SourceRule> read() {
    if (Status status = header(); !status) return Error{status.error()};
    for (const RuleOption& one : text_.options) {
      if (Status status = option(one); !status) return Error{one.name + ": " + status.error()};
    }
    if (Status status = complete(); !status) return Error{status.error()};
    return std::move(rule_);
  }

 private:
  Status header() {
    static const std::unordered_map<std::string_view, scan::RuleAction> kActions{
        {"alert", scan::RuleAction::alert},
        {"pass", scan::RuleAction::pass},
        {"tempfail", scan::RuleAction::tempfail},
        {"reject", scan::RuleAction::reject},
        {"drop", scan::RuleAction::drop}};
    const auto action = kActions.find(text_.action);
    if (action == kActions.end()) {
      return Error{"action `" + text_.action +
                   "` is not one of alert, pass, tempfail, reject, drop" +
                   (text_.action.starts_with("reject") ? ": write reject" : "")};
    }
    rule_.info.action = action->second;
    if (text_.protocol != "smtp" && text_.protocol != "tcp") {
      return Error{"protocol `" + text_.protocol + "` is not mail: write smtp"};
    }
    for (const std::string* address : {&text_.source, &text_.destination}) {
      if (*address != "any" && *address != "$HOME_NET" && *address != "$EXTERNAL_NET") {
        return Error{"address `" + *address +
                     "`: rules hold for all hosts, write any; groups and host lists say for whom"};
      }
      if (*address != "any") {
        notes_.push_back("address " + *address + " is read as any");
      }
    }
    if (text_.source_port != "any") {
      return Error{"source port `" + text_.source_port + "`: write any"};
    }
    if (text_.destination_port != "any") {
      if (!ports(text_.destination_port)) {
        return Error{"port `" + text_.destination_port +
                     "` is not any, a port number, a range or a list of these: write any"};
      }
      notes_.push_back("port " + text_.destination_port +
                       " is read as any: mail ports are those of the configuration");
    }
    if (text_.direction != "->") {
      return Error{"direction `" + text_.direction + "`: what clients send is looked at, write ->"};
    }
    return ok();
  }

  static bool ports(std::string_view text) {
    if (text == "$SMTP_PORTS") return true;
    if (text.size() > 2 && text.front() == '[' && text.back() == ']') {
      text = text.substr(1, text.size() - 2);
    }
    const auto port = [](std::string_view one) { return bool(number(one, 0, 65535)); };
    return std::ranges::all_of(split(text, ','), [&](std::string_view part) {
      const auto ends = split(part, ':');
      return ends.size() == 1   ? port(ends[0])
             : ends.size() == 2 ? (ends[0].empty() || port(ends[0])) &&
                                      (ends[1].empty() || port(ends[1])) && part.size() > 1
                                : false;
    });
  }

  Status option(const RuleOption& one) {
    using Handler = Status (Reader::*)(const RuleOption&);
    static const std::unordered_map<std::string_view, Handler> kHandlers{
        {"msg", &Reader::msg},
        {"sid", &Reader::sid},
        {"rev", &Reader::rev},
        {"gid", &Reader::gid},
        {"classtype", &Reader::classtype},
        {"priority", &Reader::priority},
        {"metadata", &Reader::metadata},
        {"reference", &Reader::nothing},
        {"target", &Reader::nothing},
        {"flow", &Reader::flow},
        {"content", &Reader::content},
        {"pcre", &Reader::pcre},
        {"nocase", &Reader::nocase},
        {"fast_pattern", &Reader::modifier_without_meaning},
        {"depth", &Reader::depth},
        {"offset", &Reader::offset},
        {"distance", &Reader::distance},
        {"within", &Reader::within},
        {"startswith", &Reader::startswith},
        {"endswith", &Reader::endswith},
        {"filename", &Reader::filename},
        {"fileext", &Reader::fileext},
        {"filesha256", &Reader::file_hash},
        {"filemd5", &Reader::file_hash}};
    if (const auto handler = kHandlers.find(one.name); handler != kHandlers.end()) {
      return (this->*handler->second)(one);
    }
    if (const auto buffer = sticky_buffers().find(one.name); buffer != sticky_buffers().end()) {
      if (one.has_value) {
        return Error{"takes no value: the contents behind it are looked for in this buffer"};
      }
      buffer_ = buffer->second;
      last_.reset();
      return ok();
    }
    if (const auto refused = refused_keywords().find(one.name);
        refused != refused_keywords().end()) {
      return Error{"not supported: " + std::string(refused->second)};
    }
    return Error{"unknown keyword"};
  }

  Status file_hash(const RuleOption& one) {
    if (!rule_.hash_list.empty()) return Error{"a rule looks into one list: write a rule for each"};
    std::string_view file = one.value;
    if (file.starts_with('!')) {
      return Error{"not supported with `!`: a file that is on no list is no sign of anything"};
    }
    if (file.size() > 1 && file.front() == '"' && file.back() == '"') {
      file = file.substr(1, file.size() - 2);
    }
    if (file.empty()) return Error{"the name of a file of hashes is wanted, one a line"};
    rule_.hash_list = file;
    return ok();
  }
  Status msg(const RuleOption& one) {
    auto text = unquote(one.value);
    if (!text) return Error{text.error()};
    rule_.info.message = std::move(*text);
    return ok();
  }
  Status id(const RuleOption& one, std::uint32_t& target, std::int64_t least) {
    auto value = number(one.value, least, std::numeric_limits<std::uint32_t>::max());
    if (!value) return Error{value.error()};
    target = static_cast<std::uint32_t>(*value);
    return ok();
  }
  Status sid(const RuleOption& one) {
    if (rule_.info.sid != 0) return Error{"given twice: a rule has one number"};
    return id(one, rule_.info.sid, 1);
  }
  Status rev(const RuleOption& one) { return id(one, rule_.info.revision, 0); }
  Status gid(const RuleOption& one) { return id(one, rule_.info.gid, 1); }

  Status classtype(const RuleOption& one) {
    if (const Classification* known = find_classification(one.value)) {
      rule_.info.category = known->category;
      if (!priority_given_) rule_.info.severity = known->severity;
    } else {
      rule_.info.category = one.value;
      notes_.push_back("classtype " + one.value +
                       " is not known: its name is the category and the severity is " +
                       std::to_string(rule_.info.severity));
    }
    return ok();
  }
  Status priority(const RuleOption& one) {
    auto value = number(one.value, 1, 255);
    if (!value) return Error{value.error()};
    rule_.info.severity = static_cast<std::uint8_t>(*value);
    priority_given_ = true;
    return ok();
  }

  // `metadata: key value, key value`; sluice_score is the only key that means something to us.
  Status metadata(const RuleOption& one) {
    for (const std::string_view pair : split(one.value, ',')) {
      const std::size_t blank = pair.find(' ');
      if (pair.substr(0, blank) != "sluice_score") continue;
      const std::string_view text = blank == std::string_view::npos
                                        ? std::string_view()
                                        : split(pair.substr(blank), ' ').back();
      double score = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), score);
      if (text.empty() || error != std::errc() || end != text.data() + text.size() ||
          !(std::abs(score) <= 10000)) {
        return Error{"sluice_score `" + std::string(text) +
                     "` is not a number from -10000 to 10000, such as 5.0"};
      }
      rule_.info.score = static_cast<std::int32_t>(std::lround(score * 100));
    }
    return ok();
  }
  Status nothing(const RuleOption&) { return ok(); }

  Status flow(const RuleOption& one) {
    for (const std::string_view word : split(one.value, ',')) {
      if (word == "to_client" || word == "from_server") {
        return Error{"`" + std::string(word) +
                     "`: only what clients send is scanned, write to_server"};
      }
      static constexpr std::string_view kKnown[] = {"to_server",   "from_client", "established",
                                                    "only_stream", "stateless",   "no_frag"};
      if (std::ranges::find(kKnown, word) == std::end(kKnown)) {
        return Error{"`" + std::string(word) + "` is not supported: write to_server,established"};
      }
    }
    return ok();
  }

  Status add(Buffer buffer, Content content) {
    auto at = std::ranges::find(rule_.buffers, buffer, &BufferContents::buffer);
    if (at == rule_.buffers.end()) {
      rule_.buffers.push_back({buffer, {}});
      at = rule_.buffers.end() - 1;
    }
    if (at->contents.size() == kMaxContents) {
      return Error{"a rule may hold " + std::to_string(kMaxContents) +
                   " contents for one buffer: join some of them in a pcre"};
    }
    at->contents.push_back(std::move(content));
    return ok();
  }

  static bool negated(std::string_view& value) {
    if (value.empty() || value.front() != '!') return false;
    value.remove_prefix(1);
    while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    return true;
  }

  Status literal(const RuleOption& one, Content& content) {
    std::string_view value = one.value;
    content.negated = negated(value);
    auto octets = unquote_content(value);
    if (!octets) return Error{octets.error()};
    if (octets->empty()) return Error{"is empty: it would hit everything; remove it"};
    content.octets = std::move(*octets);
    return ok();
  }

  Status content(const RuleOption& one) {
    Content content;
    if (Status status = literal(one, content); !status) return status;
    if (Status status = add(buffer_, std::move(content)); !status) return status;
    last_ = buffer_;
    return ok();
  }

  // A part of the file name, in any case (Suricata's `filename` and `fileext`).
  Status filename(const RuleOption& one) {
    Content content;
    if (Status status = literal(one, content); !status) return status;
    content.nocase = true;
    last_.reset();
    return add(Buffer::name, std::move(content));
  }
  Status fileext(const RuleOption& one) {
    Content content;
    if (Status status = literal(one, content); !status) return status;
    if (content.octets.front() != '.') content.octets.insert(content.octets.begin(), '.');
    content.nocase = true;
    content.at_end = true;
    last_.reset();
    return add(Buffer::name, std::move(content));
  }

  Status pcre(const RuleOption& one) {
    std::string_view value = one.value;
    Content content;
    content.is_regex = true;
    content.negated = negated(value);
    if (value.size() < 2 || value.front() != '"' || value.back() != '"') {
      return Error{"the value must stand in double quotes, as in \"/spam[0-9]+/i\""};
    }
    value = value.substr(1, value.size() - 2);
    const std::size_t end = value.rfind('/');
    if (value.empty() || value.front() != '/' || end == 0) {
      return Error{"the regex must stand between slashes, as in \"/spam[0-9]+/i\""};
    }
    for (const char flag : value.substr(end + 1)) {
      switch (flag) {
        case 'i':
          content.options |= scan::kRegexCaseless;
          break;
        case 'm':
          content.options |= scan::kRegexMultiline;
          break;
        case 's':
          content.options |= scan::kRegexDotAll;
          break;
        case 'x':
          content.options |= scan::kRegexExtended;
          break;
        case 'A':
          content.options |= scan::kRegexAnchored;
          break;
        case 'E':
          content.options |= scan::kRegexDollarEndOnly;
          break;
        case 'R':
          content.relative = true;
          break;
        case 'G':
          break;  // which of several matches is found does not matter
        case 'O':
          break;
        default:
          return Error{std::string("flag `") + flag +
                       "` is not supported: i m s x A E G R are; name a buffer with its keyword"};
      }
    }
    content.octets = value.substr(1, end - 1);
    if (content.octets.empty()) return Error{"the regex is empty: it would hit everything"};
    last_.reset();
    return add(buffer_, std::move(content));
  }

  // The content that a modifier is about.
  Content* last() {
    if (!last_) return nullptr;
    return &std::ranges::find(rule_.buffers, *last_, &BufferContents::buffer)->contents.back();
  }
  static Status no_content() { return Error{"there is no content before it"}; }

  Status nocase(const RuleOption&) {
    Content* content = last();
    if (content == nullptr) return no_content();
    content->nocase = true;
    return ok();
  }
  Status modifier_without_meaning(const RuleOption&) {
    return last() == nullptr ? no_content() : ok();
  }
  Status position(const RuleOption& one, std::optional<std::int32_t> Content::*member,
                  std::int32_t least) {
    Content* content = last();
    if (content == nullptr) return no_content();
    if (content->*member) return Error{"given twice for one content"};
    auto value = number(one.value, least, kMaxPosition);
    if (!value) return Error{value.error()};
    content->*member = static_cast<std::int32_t>(*value);
    return ok();
  }
  Status depth(const RuleOption& one) { return position(one, &Content::depth, 1); }
  Status offset(const RuleOption& one) { return position(one, &Content::offset, 0); }
  Status distance(const RuleOption& one) {
    return position(one, &Content::distance, -kMaxPosition);
  }
  Status within(const RuleOption& one) { return position(one, &Content::within, 1); }
  Status startswith(const RuleOption&) {
    Content* content = last();
    if (content == nullptr) return no_content();
    content->at_start = true;
    return ok();
  }
  Status endswith(const RuleOption&) {
    Content* content = last();
    if (content == nullptr) return no_content();
    content->at_end = true;
    return ok();
  }

  // What only the whole rule can tell.
  Status complete() {
    if (rule_.info.sid == 0) return Error{"sid: missing: every rule has a number"};
    rule_.info.name = std::to_string(rule_.info.sid);
    if (!rule_.hash_list.empty()) {
      if (rule_.buffers.empty()) return ok();
      return Error{"filesha256 and filemd5 stand without contents: a hash says all of a file"};
    }
    if (rule_.buffers.empty()) {
      return Error{"the rule looks for nothing: give it a content or a pcre"};
    }
    for (BufferContents& buffer : rule_.buffers) {
      for (Content& content : buffer.contents) {
        if (Status status = positions(content); !status) return status;
      }
    }
    return ok();
  }

  static Status positions(Content& content) {
    const auto size = static_cast<std::int32_t>(content.octets.size());
    if (content.distance || content.within) content.relative = true;
    if (content.relative && (content.depth || content.offset || content.at_start)) {
      return Error{
          "content: distance and within cannot stand beside depth, offset or startswith: one "
          "content has one place to be counted from"};
    }
    if (content.at_start) {
      if (content.depth || content.offset) {
        return Error{"startswith: cannot stand beside depth or offset: remove one"};
      }
      content.offset = 0;
      content.depth = size;
    }
    if (content.is_regex) return ok();
    if (content.depth && *content.depth < size) {
      return Error{"depth: " + std::to_string(*content.depth) + " is shorter than the content (" +
                   std::to_string(size) + " octets): it could never hit"};
    }
    if (content.within && *content.within < size) {
      return Error{"within: " + std::to_string(*content.within) + " is shorter than the content (" +
                   std::to_string(size) + " octets): it could never hit"};
    }
    return ok();
  }

  const RuleText& text_;
  std::vector<std::string>& notes_;
  SourceRule rule_;
  Buffer buffer_ = Buffer::stream;
  std::optional<Buffer> last_;  // buffer of the content that modifiers are about
  bool priority_given_ = false;
};

}  // namespace

Result<SourceRule> read_suricata_rule(const RuleText& text, std::vector<std::string>& notes) {
  return Reader(text, notes).read();
}

}  // namespace sluice::control
