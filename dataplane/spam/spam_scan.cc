#include "dataplane/spam/spam_scan.h"

#include <cstring>
#include <limits>
#include <utility>

#include "dataplane/mime/find_octet.h"
#include "dataplane/spam/address_list.h"
#include "dataplane/spam/decode.h"
#include "dataplane/spam/evals.h"
#include "dataplane/spam/white_space.h"

namespace sluice::spam {
namespace {

constexpr std::size_t kMaxBody = 262144;  // kept of the paragraphs
constexpr std::size_t kMaxRaw = 262144;   // kept of decoded text
constexpr std::size_t kMaxRendered =
    50000;  // of one part's text is looked at (SpamAssassin's default)
constexpr std::size_t kMaxRenderedKept = 65536;  // of all parts, to compare alternatives
constexpr std::size_t kMaxLine = 2048;
// Of a header selector's value; some of SpamAssassin's regexes are quadratic in it, and 56 KiB of
// addresses in To took one of them 140 ms.
constexpr std::size_t kMaxValue = 32768;

// Octets of white space at the start of `s` as Perl's \s has it in Unicode text, or 0.
std::size_t white_space(std::string_view s) {
  const auto c = static_cast<unsigned char>(s[0]);
  if (c < 0x80) return is_space(s[0]) ? 1 : 0;
  if (c == 0xc2) return s.size() > 1 && (s[1] == '\x85' || s[1] == '\xa0') ? 2 : 0;
  if (s.size() < 3) return 0;
  if (c == 0xe1) return s.starts_with("\xe1\x9a\x80") ? 3 : 0;
  if (c == 0xe2) {
    const auto d = static_cast<unsigned char>(s[2]);
    if (s[1] == '\x80')
      return (d >= 0x80 && d <= 0x8a) || d == 0xa8 || d == 0xa9 || d == 0xaf ? 3 : 0;
    return s[1] == '\x81' && d == 0x9f ? 3 : 0;
  }
  if (c == 0xe3) return s.starts_with("\xe3\x80\x80") ? 3 : 0;
  return 0;
}

bool ends_nocase(std::string_view s, std::string_view suffix) {
  return s.size() >= suffix.size() && equals_lower(s.substr(s.size() - suffix.size()), suffix);
}

std::string_view effective_type(const MessagePart& part) {
  if (ends_nocase(part.name, ".html") || ends_nocase(part.name, ".htm") ||
      ends_nocase(part.name, ".shtml") || ends_nocase(part.name, ".shtm"))
    return "text/html";
  return part.type;
}

std::size_t cut_rendered(std::string_view text) {
  if (text.size() <= kMaxRendered) return text.size();
  for (const char c : {'\n', ' '}) {
    const std::size_t at = text.find(c, kMaxRendered);
    if (at != std::string_view::npos && at - kMaxRendered <= 1024) return at + 1;
  }
  return kMaxRendered;
}

// Of the lines that a rule asks for the shortest, or 0.
std::uint64_t least_line(const scan::SpamRules& rules) {
  std::uint64_t least = 0;
  for (const std::uint32_t test : rules.lines()) {
    const std::uint64_t octets = rules.tests()[test].max_hits;
    least = least == 0 ? octets : std::min(least, octets);
  }
  return least;
}

scan::Buffer buffer_of(const scan::SpamTest& test) {
  return test.selector != UINT32_MAX ? scan::Buffer::header : scan::Buffer::text;
}

}  // namespace

void prepare() {
  prepare_relays();
  prepare_addresses();
  prepare_uris();
  prepare_view();
  prepare_evals();
}

SpamScan::SpamScan(const scan::SpamRules& rules, scan::Scratch& scratch, const Options& options,
                   std::pmr::memory_resource* memory)
    : arena_(16384, memory),
      rules_(rules),
      scanner_(rules, scratch, options.times),
      options_(options),
      counts_(&arena_),
      view_(rules, scratch.regex(), options.flow, &arena_),
      parts_(*this, &arena_),
      longest_line_(least_line(rules)),
      hits_(&arena_),
      all_hits_(&arena_),
      texts_(&arena_),
      high_paragraphs_(&arena_),
      raw_pieces_(&arena_) {
  view_.parts = &parts_;
  view_.now = options.now;
}

SpamScan::~SpamScan() = default;

void SpamScan::feed(Bytes octets) {
  const scan::SpamTimer timer(options_.times, scan::SpamGroup::parts);
  longest_line_.feed({reinterpret_cast<const char*>(octets.data()), octets.size()});
  parts_.feed(octets);
}

void SpamScan::set_full(std::uint32_t test) { counts_[test] = 1; }

void SpamScan::finish() {
  if (finished_) return;
  finished_ = true;
  const scan::SpamTimer timer(options_.times, scan::SpamGroup::parts);
  parts_.finish();
  end_white_space();
  if (view_.body.size() > paragraph_) end_paragraph();
  {
    const scan::SpamTimer urls(options_.times, scan::SpamGroup::urls);
    for (const HtmlFacts& facts : view_.htmls) view_.uris.add_html(facts);
  }
  for (const std::uint32_t test : rules_.lines()) {
    if (longest_line_.octets() >= rules_.tests()[test].max_hits) counts_[test] = 1;
  }
  scan::SpamJudge judge(rules_, scanner_.judge_scratch(), options_.outbound, options_.everything);
  scanner_.begin();
  add_headers(judge);
  for (const MessagePart& part : parts_.parts()) add_mime_headers(part);
  add_text();
  for (const String& uri : view_.uris.forms()) scanner_.add(scan::SpamBuffer::uri, {.text = uri});
  scanner_.look();
  const scan::SpamTimer meta(options_.times, scan::SpamGroup::meta);
  if (!view_.htmls.empty()) judge.open(scan::SpamNeed::html);
  if (!view_.images.empty()) judge.open(scan::SpamNeed::images);
  open_tests(judge);
  judge.decide(*this);
  take_hits(judge);
}

// --- headers -------------------------------------------------------------------------------------

void SpamScan::on_message_header() {
  std::vector<std::string_view> received;
  std::vector<std::string_view> originating;
  for (const Field& field : parts_.header().fields()) {
    if (field.lower_name == "received") received.push_back(field.value);
  }
  static constexpr Selector kOriginating[] = {
      "x-yahoo-post-ip",   "x-originating-ip",
      "x-apparently-from", "x-senderip",
      "x-aol-ip",          "x-ms-exchange-crosstenant-originalattributedtenantconnectingip"};
  for (const Selector& of : kOriginating) {
    const Field* field = view_.lacks(of.field) ? nullptr : parts_.header().last(of.name);
    if (field != nullptr) originating.push_back(field->value);
  }
  {
    const scan::SpamTimer timer(options_.times, scan::SpamGroup::relays);
    read_relays(received, originating, view_.flow, view_.scratch, &arena_, view_.relays);
  }
  // The subject stands in front of the text.
  const Field* subject = parts_.header().last("subject");
  if (subject != nullptr) view_.body.append(subject->value);
  view_.body.push_back('\n');
  end_paragraph();
}

void SpamScan::add_headers(scan::SpamJudge& judge) {
  const scan::SpamTimer timer(options_.times, scan::SpamGroup::values);
  String value(&arena_);
  for (std::uint32_t s = 0; s < rules_.selectors().size(); ++s) {
    const scan::SpamBuffer buffer = rules_.buffer_of_selector(s);
    if (buffer == scan::SpamBuffer::mime_header) continue;
    const auto& tests = rules_.of_selector(s);
    std::optional<std::string_view> text;
    if (!view_.lacks(tests.field))
      text = view_.joined({rules_.selectors()[s], tests.field, tests.hash}, value);
    if (!text) {
      for (const std::uint32_t test : tests.missing) judge.set(test, 1);
      continue;
    }
    for (const std::uint32_t test : tests.there) judge.set(test, 1);
    if (text->empty()) {
      for (const std::uint32_t test : tests.empty) judge.set(test, 1);
      continue;
    }
    for (const std::uint32_t test : tests.negated) judge.set(test, 1);  // unless it is open
    if (!tests.looked_at) continue;
    if (buffer == scan::SpamBuffer::header) text = text->substr(0, kMaxValue);
    scanner_.add(buffer,
                 {.text = *text, .high = scanner_.takes_high(buffer, *text), .selector = s});
  }
}

void SpamScan::add_mime_headers(const MessagePart& part) {
  const scan::SpamTimer timer(options_.times, scan::SpamGroup::values);
  String value(&arena_);
  for (std::uint32_t s = 0; s < rules_.selectors().size(); ++s) {
    if (rules_.buffer_of_selector(s) != scan::SpamBuffer::mime_header) continue;
    std::string_view selector = rules_.selectors()[s];
    selector.remove_prefix(5);  // "mime:"
    const bool raw = selector.ends_with(":raw");
    if (raw) selector.remove_suffix(4);
    String name(selector, &arena_);
    lower(name);
    const Field* field = part.header.last(name);
    if (field == nullptr) {
      for (const std::uint32_t test : rules_.of_selector(s).missing) scanner_.hit(test);
      continue;
    }
    value = raw ? std::string_view(field->raw) : std::string_view(field->value);
    if (!raw) value += '\n';
    scanner_.add(scan::SpamBuffer::mime_header, {.text = value, .selector = s});
  }
}

// --- text ----------------------------------------------------------------------------------------

// Text of a part that is looked at when the message has ended.
std::string_view SpamScan::keep(TextBuffer& text) {
  return texts_.emplace_back(std::move(text)).view();
}

namespace {

// Typographic double quotes as plain ones: `utf8` itself where there are none, else in `out`.
std::string_view plain_quotes(std::string_view utf8, TextBuffer& out) {
  const char* from = utf8.data();
  const char* const end = from + utf8.size();
  for (const char* p = from; (p = mime::find_pair<'\xe2', '\x80'>(p, end)) != end; ++p) {
    if (end - p < 3 || (p[2] != '\x9c' && p[2] != '\x9d')) continue;
    out.append({from, p});
    out.push_back('"');
    from = p + 3;
  }
  if (from == utf8.data()) return utf8;
  out.append({from, end});
  return out.view();
}

}  // namespace

void SpamScan::on_leaf(std::uint32_t number, TextBuffer& raw) {
  const MessagePart& part = parts_.parts()[number];
  const std::string_view type = effective_type(part);
  // A blank line stands between the parts of the text, also between those without any.
  if (any_text_) body_text("\n");
  if (part.type.starts_with("image/")) return image(part, raw.view());
  const bool text = type.starts_with("text/") || part.type.starts_with("text/");
  const bool message = part.type.starts_with("message/");
  if (!text && !message) return;
  TextBuffer undone(&arena_);
  std::string_view decoded =
      decode_transfer(raw.view(), part.encoding, part.type.starts_with("text/") || message, undone);
  decoded = keep(undone.empty() ? raw : undone).substr(0, decoded.size());
  if (part.type != "text/calendar") raw_body(decoded);
  if (part.type == "text/plain" && !view_.has_plain_body) first_plain_body(decoded);
  if (type != "text/plain" && type != "text/html") return;
  const std::string_view charset =
      part.has_charset ? std::string_view(part.charset) : std::string_view("us-ascii");
  TextBuffer converted(&arena_);
  std::string_view utf8 = normalize(decoded, charset, false, converted);
  RenderedPart rendered{.part = number, .html = type == "text/html" && !decoded.empty()};
  if (rendered.html) {
    TextBuffer plain(&arena_);
    utf8 = plain_quotes(utf8, plain);
    HtmlFacts& facts = view_.htmls.emplace_back(&arena_);
    TextBuffer shown(&arena_);
    const scan::SpamTimer timer(options_.times, scan::SpamGroup::html);
    render_html(utf8, decoded.size(), shown, facts, &arena_);
    rendered.has_image = facts.tag("img") != nullptr;
    utf8 = keep(shown);
  } else if (!converted.empty()) {
    utf8 = keep(converted);
  }
  const std::string_view kept = utf8.substr(0, cut_rendered(utf8));
  body_text(kept);
  if (view_.mime.multipart_alternative || (part.type == "text/plain" && view_.rendered.empty())) {
    rendered.text = kept.substr(0, kMaxRenderedKept);
  }
  view_.rendered.push_back(rendered);
}

// How long it is without its signature.
void SpamScan::first_plain_body(std::string_view text) {
  static constexpr std::string_view kMark = "\n-- \n";
  view_.has_plain_body = true;
  view_.plain_body_length = text.size();
  const auto note = [&](std::size_t at) {
    const std::size_t end = at + kMark.size() - 2;
    if (text.size() - end <= 4) return;
    view_.plain_body_length = at;
    view_.plain_signature_length = text.size() - end;
  };
  if (text.starts_with(kMark.substr(1))) note(0);
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); (p = mime::find_pair<'\n', '-'>(p, end)) != end; ++p) {
    const auto at = static_cast<std::size_t>(p - text.data());
    if (text.substr(at).starts_with(kMark)) note(at + 1);
  }
}

// Decoded text in pieces of 2 to 4 KiB, cut at line ends where there are some.
void SpamScan::raw_body(std::string_view text) {
  const auto give = [&](std::string_view piece) {
    raw_piece(piece);
    // As split(/^/m, ..., -1) counts them.
    const LineCount count = count_lines(piece);
    view_.decoded_lines += count.lines;
    view_.blank_lines += count.blank;
  };
  if (text.size() <= kMaxLine) {
    give(text);
  } else {
    std::size_t begin = 0;
    while (text.size() - begin > 2 * kMaxLine) {
      std::size_t end = std::string_view::npos;
      for (const char c : {'\n', '>', ' '}) {
        end = text.substr(0, begin + 2 * kMaxLine).find(c, begin + kMaxLine);
        if (end != std::string_view::npos) break;
      }
      if (end == std::string_view::npos) end = begin + kMaxLine;
      give(text.substr(begin, end - begin + 1));
      begin = end + 1;
    }
    if (begin < text.size()) give(text.substr(begin));
  }
}

void SpamScan::raw_piece(std::string_view piece) {
  if (piece.empty()) return;
  const bool high = scanner_.takes_high(scan::SpamBuffer::raw_body, piece);
  if (raw_octets_ + piece.size() > kMaxRaw) {
    scanner_.scan(scan::SpamBuffer::raw_body, {.text = piece, .high = high}, counts_);
    return;
  }
  raw_octets_ += piece.size();
  raw_pieces_.push_back({piece, high});
}

// White space is joined: runs with two line ends or more end a paragraph, others are one blank.
void SpamScan::body_text(std::string_view text) {
  const scan::SpamTimer timer(options_.times, scan::SpamGroup::text);
  if (!text.empty()) any_text_ = true;
  while (!text.empty()) {
    text.remove_prefix(take_white(text));
    if (text.empty()) return;
    end_white_space();
    text.remove_prefix(take_black(text));
  }
}

// Takes what is before the next run of white space, or of more than one octet of it: at least the
// first octet, which is none. The octets of it.
std::size_t SpamScan::take_black(std::string_view text) {
  const char* p = text.data();
  const char* const end = p + text.size();
  char* const begin = view_.body.room(text.size() + kTextBlock);
  char* out = begin;
  *out++ = *p++;
  const auto room = static_cast<std::ptrdiff_t>(kTextBlock);
  while (end - p >= room) {
    const std::size_t size = take_block<true>(p, out);
    p += size;
    out += size;
    if (size + 1 < kTextBlock) break;
  }
  if (p < end && end - p < room) {
    const auto left = static_cast<std::size_t>(end - p);
    char rest[kTextBlock] = {};
    std::memcpy(rest, p, left);
    std::size_t size = std::min(take_block<true>(rest, out), left);
    if (size == left && is_space(rest[left - 1])) --size;  // what follows it is not known yet
    p += size;
    out += size;
  }
  view_.body.add(static_cast<std::size_t>(out - begin));
  return static_cast<std::size_t>(p - text.data());
}

// Counts the white space at the beginning of `text` in. The octets of it.
std::size_t SpamScan::take_white(std::string_view text) {
  std::size_t taken = 0;
  while (taken < text.size()) {
    const std::size_t size = white_space(text.substr(taken));
    if (size == 0) break;
    if (text[taken] == '\n') {
      ++white_.lines;
      white_.behind = false;
    } else {
      (white_.lines == 0 ? white_.before : white_.behind) = true;
    }
    ++white_.octets;
    taken += size;
  }
  return taken;
}

void SpamScan::end_white_space() {
  const White white = std::exchange(white_, {});
  if (white.octets == 0) return;
  TextBuffer& body = view_.body;
  if (white.lines < 2) return body.push_back(' ');
  if (white.before) body.push_back(' ');
  body.push_back('\n');
  end_paragraph();
  if (white.behind) body.push_back(' ');
}

// Paragraphs of more than 2 KiB are cut at a blank.
void SpamScan::end_paragraph() {
  const std::size_t end = view_.body.size();
  std::size_t at = paragraph_;
  while (end - at > kMaxLine) {
    const std::size_t blank = view_.body.view().substr(at).rfind(' ', kMaxLine);
    const std::size_t size = blank == std::string_view::npos ? kMaxLine : blank + 1;
    paragraph(at, at + size);
    at += size;
  }
  paragraph(at, end);
  view_.body.cut(paragraph_);
}

// One of the body's text [begin, end), where the one in progress stands or behind it.
void SpamScan::paragraph(std::size_t begin, std::size_t end) {
  const std::string_view text = view_.body.view().substr(begin, end - begin);
  const bool high = scanner_.takes_high(scan::SpamBuffer::body, text);
  {
    const scan::SpamTimer timer(options_.times, scan::SpamGroup::urls);
    view_.uris.add_text(text);
  }
  if (paragraph_ + text.size() > kMaxBody) {
    if (!text.empty()) scanner_.scan(scan::SpamBuffer::body, {.text = text, .high = high}, counts_);
    return;
  }
  // Others of the same paragraph may not have been kept.
  if (begin > paragraph_) std::memmove(view_.body.data() + paragraph_, text.data(), text.size());
  paragraph_ += text.size();
  view_.body_ends.push_back(paragraph_);
  high_paragraphs_.push_back(high);
}

// --- the end -------------------------------------------------------------------------------------

void SpamScan::add_text() {
  for (std::size_t i = 0; i < view_.body_ends.size(); ++i) {
    scanner_.add(scan::SpamBuffer::body,
                 {.text = view_.paragraph(i), .first = i == 0, .high = high_paragraphs_[i]});
  }
  for (const Piece& piece : raw_pieces_)
    scanner_.add(scan::SpamBuffer::raw_body, {.text = piece.text, .high = piece.high});
}

// What may hit is open, what was counted before is known.
void SpamScan::open_tests(scan::SpamJudge& judge) {
  constexpr double kMostCounted = std::numeric_limits<std::uint16_t>::max();
  counts_.for_each([&](std::uint32_t test, std::uint32_t count) { judge.set(test, count); });
  // Of parts, not of one field: none may have matched.
  for (std::uint32_t s = 0; s < rules_.selectors().size(); ++s) {
    if (rules_.buffer_of_selector(s) != scan::SpamBuffer::mime_header) continue;
    for (const std::uint32_t test : rules_.of_selector(s).negated) judge.set(test, 1);
  }
  for (const std::uint32_t index : scanner_.open()) {
    if ((rules_.flags(index) & scan::kTestMultiple) == 0) {
      if (!counts_.has(index)) judge.open(index, 0, 1);
      continue;
    }
    const double before = counts_.has(index) ? counts_[index] : 0;
    const std::uint32_t max_hits = rules_.tests()[index].max_hits;
    const double most = max_hits == 0 ? kMostCounted : max_hits;
    if (before < most) judge.open(index, before, most);
  }
}

std::uint32_t SpamScan::cost(std::uint32_t test) const {
  constexpr std::uint32_t kEvalCost = 300;
  return scanner_.is_open(test) ? scanner_.cost(test) : kEvalCost;
}

double SpamScan::answer(std::uint32_t index, std::uint32_t enough) {
  const scan::SpamCall* const call = rules_.call(index);
  if (call == nullptr) {
    const std::uint32_t count =
        scanner_.count(index, counts_.has(index) ? counts_[index] : 0, enough);
    return (rules_.flags(index) & scan::kTestNegated) != 0 ? count == 0 : count;
  }
  const scan::SpamTimer eval(options_.times, scan::SpamGroup::eval);
  const std::uint64_t begin = options_.times != nullptr ? options_.times->now() : 0;
  const double value = run_eval(view_, *call);
  if (options_.times != nullptr) options_.times->charge_test(index, options_.times->now() - begin);
  return value != 0;
}

void SpamScan::take_hits(const scan::SpamJudge& judge) {
  const auto tests = rules_.tests();
  std::int64_t score = 0;
  for (const std::uint32_t i : judge.hits()) {
    if (options_.everything) all_hits_.emplace_back(i, judge.value(i));
    if ((tests[i].flags & scan::kTestSub) != 0) continue;
    hits_.push_back({&tests[i].info, buffer_of(tests[i]), tests[i].score, true});
    score += tests[i].score;
  }
  score_ = static_cast<std::int32_t>(std::clamp<std::int64_t>(score, INT32_MIN, INT32_MAX));
}

}  // namespace sluice::spam
