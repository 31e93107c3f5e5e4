// HeaderEval.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "dataplane/spam/decode.h"
#include "dataplane/spam/evals.h"
#include "dataplane/spam/octets.h"
#include "dataplane/spam/relays.h"

namespace sluice::spam {
namespace {

struct Tables {
  static constexpr std::uint32_t kNoCase = scan::kRegexCaseless;
  scan::Regex aol_relay = constant_regex(R"( rly-[a-z][a-z]\d\d\.)", kNoCase);
  scan::Regex aol_via =
      constant_regex(R"(/AOL-\d+\.\d+\.\d+\)|ESMTP id (?:RELAY|MAILRELAY|MAILIN))");
  scan::Regex ezmlm = constant_regex(R"(^contact \S+\@\S+\; run by ezmlm$)", scan::kRegexMultiline);
  scan::Regex ezmlm_to = constant_regex(R"(^mailing list \S+\@\S+)", scan::kRegexMultiline);
  scan::Regex qmail =
      constant_regex(R"(qmail \d+ invoked (?:from network|by .{3,20})\); \d+ ... \d+)");
  scan::Regex local_received = constant_regex(
      R"(\bfrom (?:localhost\s|(?:\S+ ){1,2}\S*\b127\.0\.0\.1\b)|qmail \d+ invoked by uid \d+)");
  scan::Regex fetchmail = constant_regex(R"(\bby localhost with \w+ \(fetchmail-[\d.]+)");
  scan::Regex reply_prefix =
      constant_regex(R"(^(?:(?:Re|Fwd|Fw|Aw|Antwort|WG|SV|VB|VS|VL):\s*)+)", kNoCase);
  scan::Regex capital_charset = constant_regex(
      R"(=\?[-_a-z0-9]*(?:koi|jp|jis|euc|gb|big5|isoir|cp1251|windows-1251|georgianps|pt154|tis)[-_a-z0-9]*\?)",
      kNoCase);
  scan::Regex outlook_id =
      constant_regex(R"(^<[0-9a-f]{4}([0-9a-f]{8})\$[0-9a-f]{8}\$[0-9a-f]{8}\@)");
  scan::Regex last_received_date = constant_regex(R"((\s.?\d+ \S\S\S \d+ \d+:\d+:\d+ \S+).*?$)");
  scan::Regex unsubscribe =
      constant_regex(R"(<mailto:(?:leave-\S+|\S+-unsubscribe)\@\S+>$)", kNoCase);
  scan::Regex template_field = constant_regex(R"(%[A-Z][A-Z_-])");
  scan::Regex template_exempt = constant_regex(
      R"(^(?:X-VMS-To|X-UIDL|X-Face|To|Cc|From|Subject|References|In-Reply-To|(?:X-|Resent-|X-Original-)?Message-Id):)",
      kNoCase);
  scan::Regex name_id = constant_regex(R"(<[A-Z]{28}\.([^>]+?)>)");
  scan::Regex gw05 = constant_regex(
      R"(\nfrom\s(\S+)\sby\s(\S+)\swith\sESMTP\;\s+\S\S\S,\s+\d+\s+\S\S\S\s+\d{4}\s+\d\d:\d\d:\d\d\s+[-+]*\d{4}\n$)");
  scan::Regex srs = constant_regex(R"(^SRS\d[=+-])", kNoCase);
};

const Tables& tables() {
  static const Tables tables;
  return tables;
}

double check_for_fake_aol_relay_in_rcvd(const View& view, Arguments) {
  const std::string_view received = squeezed_received(view);
  return view.find(tables().aol_relay, received) && !view.find(tables().aol_via, received);
}
double never(const View&, Arguments) { return 0; }

// Only what one sees, blanks and ends of lines.
bool is_printable(std::string_view text) {
  std::size_t i = 0;
  for (; i + 16 <= text.size(); i += 16) {
    const char* const p = text.data() + i;
    if ((between16(p, ' ', '~') | equal16(p, '\n') | equal16(p, '\t')) != 0xffff) return false;
  }
  return std::ranges::all_of(
      text.substr(i), [](char c) { return (c >= ' ' && c <= '~') || c == '\n' || c == '\t'; });
}

double check_illegal_chars(const View& view, Arguments a) {
  String selector(a[0].text, view.memory);
  if (!selector.ends_with(":raw")) selector += ":raw";
  const std::string_view text = view.get(Selector(std::string_view(selector)));
  if (trim(text).empty() || (a[2].number > 0 && is_printable(text))) return 0;
  std::size_t controls = 0;
  std::size_t high = 0;
  std::size_t exempt = 0;
  for (const char ch : text) {
    const auto c = static_cast<unsigned char>(ch);
    if (c <= 8 || c == 11 || c == 12 || (c >= 14 && c <= 31)) ++controls;
    if (c >= 127) ++high;
    if (c == 0xa2 || c == 0xa3 || c == 0xae) ++exempt;
  }
  if (has_high(text) && is_valid_utf8(text) && controls == 0) return 0;
  std::size_t illegal = controls + high;
  if (illegal > 0 && equals_lower(selector, "subject:raw") && exempt == 1) --illegal;
  return static_cast<double>(illegal) / static_cast<double>(text.size()) >= a[1].number &&
         static_cast<double>(illegal) >= a[2].number;
}

double gated_through(const View& view, Arguments) { return gated(view); }

double check_for_matching_env_and_hdr_from(const View& view, Arguments) {
  std::string_view envelope = view.get("EnvelopeFrom:addr");
  std::string_view from = view.get("From:addr");
  return equals_nocase(envelope, from);
}

Texts recipients(const View& view) {
  Texts inputs(view.values("ToCc:addr"), view.memory);
  if (inputs.size() < 5) {
    const Texts& hidden = view.values("Bcc:addr");
    inputs.insert(inputs.end(), hidden.begin(), hidden.end());
  }
  Texts addresses(view.memory);
  std::string_view previous;
  for (const std::string_view current : inputs) {
    if (equals_nocase(current, previous)) continue;
    addresses.push_back(current);
    previous = current;
    if (addresses.size() == 256) break;
  }
  return addresses;
}
// Fewer recipients say nothing to those who ask; some may be no different ones.
bool has_recipients(const View& view, std::size_t least) {
  std::size_t count = view.values("ToCc:addr").size();
  if (count < least) count += view.values("Bcc:addr").size();
  return count >= least;
}
double sorted_recipients(const View& view, Arguments) {
  if (!has_recipients(view, 7)) return 0;
  const Texts addresses = recipients(view);
  return addresses.size() >= 7 && std::is_sorted(addresses.begin(), addresses.end());
}
double similar_recipients(const View& view, Arguments a) {
  double similar = 0;
  const Texts addresses = has_recipients(view, 5) ? recipients(view) : Texts(view.memory);
  if (addresses.size() >= 5) {
    const auto host = [](std::string_view s) {
      const std::size_t at = s.find('@');
      return at == std::string_view::npos ? std::string_view() : s.substr(at + 1);
    };
    std::size_t hits = 0;
    std::size_t pairs = 0;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
      for (std::size_t j = i + 1; j < addresses.size(); ++j) {
        const std::string_view x = addresses[i];
        const std::string_view y = addresses[j];
        if (x.substr(0, 2) == y.substr(0, 2)) ++hits;
        if (host(x).substr(0, 2) == host(y).substr(0, 2) && host(x) != host(y)) ++hits;
        ++pairs;
      }
    }
    similar = static_cast<double>(hits) / static_cast<double>(pairs);
  }
  return (a[0].text == "undef" || similar >= a[0].number) &&
         (a[1].text == "undef" || similar < a[1].number);
}

double check_for_missing_to_header(const View& view, Arguments) {
  std::string_view to = view.get("To");
  if (to.empty()) to = view.get("Apparently-To");
  return to.empty();
}
double check_for_forged_gw05_received_headers(const View& view, Arguments) {
  const std::string_view received = view.get("Received");
  scan::Regex::Match m;
  return view.find(tables().gw05, received, &m) &&
         m.group(received, 2).find('.') == std::string_view::npos;
}

// How far the Date field is from what the Received fields say, in seconds.
double date_difference(const View& view) {
  std::int64_t date = 0;
  bool known = false;
  for (const std::string_view name : {"resent-date", "date"}) {
    for (const Field& field : view.parts->header().fields()) {
      if (field.lower_name != name) continue;
      known = !field.value.empty() && read_date(field.value, date);
      if (known) break;
    }
    if (known) break;
  }
  if (!known) return 0;
  std::vector<std::string_view> received;
  for (const Field& field : view.parts->header().fields()) {
    if (field.lower_name == "received" && !trim(field.value).empty())
      received.push_back(field.value);
  }
  std::size_t skip = 0;
  const auto local = [&](std::string_view field) {
    return (sluice::spam::has(field, "from localhost") || sluice::spam::has(field, "127.0.0.1") ||
            sluice::spam::has(field, "invoked by uid")) &&
           view.find(tables().local_received, field);
  };
  const auto fetched = [&](std::string_view field) {
    return sluice::spam::has(field, "(fetchmail-") && view.find(tables().fetchmail, field);
  };
  if (!received.empty() && local(received[0])) {
    skip = received.size() > 1 && fetched(received[1]) ? 2 : 0;
  } else if (!received.empty() && fetched(received[0])) {
    skip = 1;
  }
  std::vector<double> differences;
  for (std::size_t i = skip; i < received.size(); ++i) {
    std::int64_t time = 0;
    const std::string_view written = date_in(received[i]);
    if (!written.empty() && read_date(written, time))
      differences.push_back(static_cast<double>(date - time));
  }
  if (differences.empty()) return 0;
  // The last one equal to the date came of the sender's own machine.
  if (differences.size() > 1 && differences.back() == 0) differences.pop_back();
  return *std::min_element(differences.begin(), differences.end(),
                           [](double a, double b) { return std::abs(a) < std::abs(b); });
}
double check_for_shifted_date(const View& view, Arguments a) {
  auto& known = view.notes().date_difference;
  if (!known) known = date_difference(view);
  const double difference = *known;
  return (a[0].text == "undef" || difference >= 3600 * a[0].number) &&
         (a[1].text == "undef" || difference < 3600 * a[1].number);
}

double subject_is_all_caps(const View& view, Arguments) {
  const std::string_view whole = view.get("Subject");
  std::string_view subject = trim(whole);
  // What a prefix leaves begins behind a colon.
  const std::string_view left = subject.substr(subject.rfind(':') + 1);
  if (std::ranges::any_of(left, [](char c) { return c >= 'a' && c <= 'z'; })) return 0;
  scan::Regex::Match m;
  if (view.find(tables().reply_prefix, subject, &m)) subject.remove_prefix(m.end[0]);
  if (subject.size() < 10 || subject.find_first_of(" \t\n\r\f\v") == std::string_view::npos)
    return 0;
  bool letters = false;
  for (const char c : subject) {
    if (c >= 'a' && c <= 'z') return 0;
    letters |= c >= 'A' && c <= 'Z';
  }
  return letters && !view.find(tables().capital_charset, view.get("Subject:raw"));
}

bool word_border(std::string_view text, std::size_t at) {
  const bool before = at > 0 && is_word(text[at - 1]);
  const bool after = at < text.size() && is_word(text[at]);
  return before != after;
}

double check_for_to_in_subject(const View& view, Arguments a) {
  const std::string_view full = view.get("To:addr");
  if (full.empty()) return 0;
  const std::string_view subject = view.get("Subject");
  std::string_view s = subject;
  const auto lower_of = [&](std::string_view t) {
    String l(t, view.memory);
    lower(l);
    return l;
  };
  if (a[0].text == "address") {
    const String text = lower_of(s);
    const String wanted = lower_of(full);
    for (std::size_t at = text.find(wanted); at != String::npos; at = text.find(wanted, at + 1)) {
      if (word_border(text, at) && word_border(text, at + wanted.size())) return 1;
    }
    return 0;
  }
  if (a[0].text != "user") return 0;
  const std::string_view user = std::string_view(full).substr(0, full.find('@'));
  if (s.ends_with('\n')) s.remove_suffix(1);
  const auto same = [](std::string_view x, std::string_view y) { return equals_nocase(x, y); };
  // re: [word] user
  for (const std::string_view prefix : {"re:", "fw:"}) {
    if (s.size() < prefix.size() || !equals_lower(s.substr(0, 3), prefix)) continue;
    std::string_view rest = s.substr(3);
    while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
    if (same(rest, user)) return 1;
    std::size_t word = 0;
    while (word < rest.size() && is_word(rest[word])) ++word;
    std::size_t blanks = word;
    while (blanks < rest.size() && is_space(rest[blanks])) ++blanks;
    if (word > 0 && blanks > word && same(rest.substr(blanks), user)) return 1;
  }
  if (s.starts_with(user)) {
    std::string_view rest = s.substr(user.size());
    while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
    if (!rest.empty() && std::string_view(",:;!?-").find(rest.front()) != std::string_view::npos &&
        (rest.size() == 1 || is_space(rest[1])))
      return 1;
  }
  if (same(s, user)) return 1;
  if (s.starts_with(',')) {
    std::string_view rest = s.substr(1);
    while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
    if (rest.size() == user.size() + 1 && same(rest.substr(0, user.size()), user) &&
        std::string_view(",:;!?-").find(rest.back()) != std::string_view::npos)
      return 1;
  }
  return 0;
}

double check_outlook_message_id(const View& view, Arguments) {
  const std::string_view id = view.get("MESSAGEID");
  scan::Regex::Match m;
  if (!id.starts_with('<') || id.size() < 14 || id[13] != '$' ||
      !view.find(tables().outlook_id, id, &m))
    return 0;
  const String token(m.group(id, 1), view.memory);
  const double stamp = static_cast<double>(std::strtoull(token.c_str(), nullptr, 16));
  const auto expected = [](std::int64_t time) {
    return std::trunc(static_cast<double>(time) * 0.0023283064365387 + 27111902.8329849);
  };
  std::int64_t time = 0;
  if (!read_date(view.get("Date"), time)) time = 0;
  if (std::abs(stamp - expected(time)) < 250) return 0;
  const std::string_view received = view.get("Received");
  time = 0;
  if (view.find(tables().last_received_date, received, &m)) read_date(m.group(received, 1), time);
  return std::abs(stamp - expected(time)) >= 250;
}

double check_messageid_not_usable(const View& view, Arguments) {
  if (view.find(tables().unsubscribe, view.get("List-Unsubscribe")) || gated(view)) return 1;
  const std::string_view received = view.get("Received");
  return sluice::spam::has(received, "/CWT/DCE)") ||
         sluice::spam::has(received, "iPlanet Messaging Server");
}

double check_header_count_range(const View& view, Arguments a) {
  String name(a[0].text, view.memory);
  lower(name);
  std::vector<std::string_view> different;
  for (const Field& field : view.parts->header().fields()) {
    if (field.lower_name != name) continue;
    if (std::find(different.begin(), different.end(), std::string_view(field.value)) ==
        different.end()) {
      different.push_back(field.value);
    }
  }
  const auto n = static_cast<double>(different.size());
  return n >= a[1].number && n <= a[2].number;
}

double check_unresolved_template(const View& view, Arguments) {
  String line(view.memory);
  for (const Field& field : view.parts->header().fields()) {
    if (field.value.find('%') == String::npos) continue;
    line = field.name;
    line += ": ";
    line += field.value;
    if (view.find(tables().template_field, line) && !view.find(tables().template_exempt, line))
      return 1;
  }
  return 0;
}

double check_ratware_name_id(const View& view, Arguments) {
  const std::string_view id = view.get("MESSAGEID");
  scan::Regex::Match m;
  if (!view.find(tables().name_id, id, &m)) return 0;
  String wanted("<", view.memory);
  wanted += m.group(id, 1);
  wanted += '>';
  const std::string_view from = view.get("From");
  const std::size_t at = from.find(wanted);
  if (at == String::npos) return 0;
  const std::string_view name = trim(std::string_view(from).substr(0, at));
  return name.size() > 2 && name.ends_with('"') && name.find('"') != name.size() - 1;
}

double check_ratware_envelope_from(const View& view, Arguments) {
  const std::string_view to = view.get("To:addr");
  const std::string_view from = view.get("EnvelopeFrom:addr");
  if (from.empty() || to.empty()) return 0;
  const std::size_t at = to.find('@');
  if (at == String::npos || at == 0) return 0;
  String text(from, view.memory);
  lower(text);
  String user(std::string_view(to).substr(0, at), view.memory);
  lower(user);
  user += '@';
  if (!sluice::spam::has(text, user) || view.find(tables().srs, from)) return 0;
  String host(std::string_view(to).substr(at + 1), view.memory);
  lower(host);
  const std::string_view domain = view.uris.domains().registered(host);
  if (!view.uris.domains().valid(domain)) return 0;
  for (std::size_t i = text.find(domain); i != String::npos; i = text.find(domain, i + 1)) {
    if (word_border(text, i) && std::string_view(text)
                                    .substr(std::min(i + domain.size() + 1, text.size()))
                                    .starts_with(user))
      return 1;
  }
  return 0;
}

double check_equal_from_domains(const View& view, Arguments) {
  const auto second_level = [](std::string_view address) {
    const std::size_t at = address.rfind('@');
    std::string_view domain =
        at == std::string_view::npos ? std::string_view() : address.substr(at + 1);
    const std::size_t last = domain.rfind('.');
    if (last == std::string_view::npos || last == 0) return domain;
    const std::size_t before = domain.rfind('.', last - 1);
    return before == std::string_view::npos || before == 0 ? domain : domain.substr(before + 1);
  };
  const std::string_view from = view.get("From:addr");
  const std::string_view envelope = view.get("EnvelopeFrom:addr");
  const std::string_view a = second_level(from);
  const std::string_view b = second_level(envelope);
  return !a.empty() && !b.empty() && !equals_nocase(a, b);
}

bool is_gated(const View& view) {
  if (view.has("Mailing-List") && view.find(tables().ezmlm, view.get("Mailing-List")) &&
      view.find(tables().ezmlm_to, view.get("Delivered-To")) &&
      view.find(tables().qmail, view.get("Received")))
    return true;
  if (!view.has("Received")) return true;
  const std::string_view received = view.get("Received");
  const std::size_t at = received.find("from groups.msn.com (");
  return at != String::npos && received.find(".msn.com ", at) != String::npos;
}

constexpr NamedEval kEvals[] = {
    {"check_for_fake_aol_relay_in_rcvd", check_for_fake_aol_relay_in_rcvd},
    {"check_for_faraway_charset_in_headers", never},
    {"check_for_unique_subject_id", never},
    {"check_illegal_chars", check_illegal_chars},
    {"check_for_matching_env_and_hdr_from", check_for_matching_env_and_hdr_from},
    {"sorted_recipients", sorted_recipients},
    {"similar_recipients", similar_recipients},
    {"check_for_missing_to_header", check_for_missing_to_header},
    {"check_for_forged_gw05_received_headers", check_for_forged_gw05_received_headers},
    {"check_for_shifted_date", check_for_shifted_date},
    {"subject_is_all_caps", subject_is_all_caps},
    {"check_for_to_in_subject", check_for_to_in_subject},
    {"check_outlook_message_id", check_outlook_message_id},
    {"check_messageid_not_usable", check_messageid_not_usable},
    {"check_header_count_range", check_header_count_range},
    {"check_unresolved_template", check_unresolved_template},
    {"check_ratware_name_id", check_ratware_name_id},
    {"check_ratware_envelope_from", check_ratware_envelope_from},
    {"gated_through_received_hdr_remover", gated_through},
    {"check_equal_from_domains", check_equal_from_domains},
};

}  // namespace

bool gated(const View& view) {
  auto& known = view.notes().gated;
  if (!known) known = is_gated(view);
  return *known;
}

std::string_view squeezed_received(const View& view) {
  auto& known = view.notes().received;
  if (!known) {
    known.emplace(view.get("Received"), view.memory);
    squeeze(*known);
  }
  return *known;
}

std::string_view date_in(std::string_view field) {
  const auto at = [&](std::size_t i) { return i < field.size() ? field[i] : '\0'; };
  // Digits and the octet behind them, from `i` on; npos: they are not there.
  const auto number = [&](std::size_t i, char behind) {
    const std::size_t begin = i;
    while (is_digit(at(i))) ++i;
    return i > begin && at(i) == behind ? i + 1 : std::string_view::npos;
  };
  const auto rest = [&](std::size_t i) {
    i = number(i, ' ');
    if (i == std::string_view::npos || i + 3 >= field.size() || at(i + 3) != ' ') return i = 0;
    if (is_space(at(i)) || is_space(at(i + 1)) || is_space(at(i + 2))) return i = 0;
    i += 4;
    for (const char behind : {' ', ':', ':', ' '}) {
      i = number(i, behind);
      if (i == std::string_view::npos) return i = 0;
    }
    const std::size_t zone = i;
    while (i < field.size() && !is_space(field[i])) ++i;
    return i > zone ? i : 0;
  };
  // Of the date that begins with the blank there, or 0.
  const auto end_from = [&](std::size_t blank) {
    std::size_t end = 0;
    if (is_digit(at(blank + 2)) && at(blank + 1) != '\n') end = rest(blank + 2);
    if (end == 0 && is_digit(at(blank + 1))) end = rest(blank + 1);
    return end;
  };
  std::size_t blank = 0;
  for (; blank + 18 <= field.size(); blank += 16) {
    const char* const p = field.data() + blank;
    std::uint32_t places = (equal16(p, ' ') | between16(p, '\t', '\r')) &
                           (between16(p + 1, '0', '9') | between16(p + 2, '0', '9'));
    for (; places != 0; places &= places - 1) {
      const std::size_t place = blank + static_cast<std::size_t>(std::countr_zero(places));
      if (const std::size_t end = end_from(place)) return field.substr(place, end - place);
    }
  }
  for (; blank + 2 < field.size(); ++blank) {
    if (!is_space(field[blank])) continue;
    if (const std::size_t end = end_from(blank)) return field.substr(blank, end - blank);
  }
  return {};
}

std::span<const NamedEval> header_evals() { return kEvals; }
void prepare_header_evals() { tables(); }

}  // namespace sluice::spam
