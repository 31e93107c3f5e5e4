// FreeMail, and WLBLEval's lists of addresses and hosts.
#include <algorithm>
#include <string>

#include "dataplane/spam/evals.h"
#include "dataplane/spam/relays.h"

namespace sluice::spam {
namespace {

struct Tables {
  static constexpr std::uint32_t kNoCase = scan::kRegexCaseless;
  scan::Regex welcome = constant_regex(
      R"(^(?:abuse|support|sales|info|helpdesk|contact|kontakt|(?:post|host|domain)master|undisclosed.*|)"
      R"(request-[a-f0-9]{16}|bounced?-|)"
      R"([a-f0-9]{8}(?:\.[a-f0-9]{8}|-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12})|.+=.+=.+)\@)",
      kNoCase);
  scan::Regex bulk = constant_regex(
      R"((?:^(?:post|host|domain)master|^double-bounce|^(?:sentto|owner|return|(?:gr)?bounced?)-.+|)"
      R"(-(?:request|bounces?|admin|owner)|\b(?:do[._-t]?)?no[._-t]?repl(?:y|ies)|.+=.+)\@)",
      kNoCase);
  scan::Regex address = constant_regex(
      R"((?=.{0,64}\@)(?<![a-z0-9!#$%&'*+\/=?^_`{|}~-])([a-z0-9!#$%&'*+\/=?^_`{|}~-]+)"
      R"((?:\.[a-z0-9!#$%&'*+\/=?^_`{|}~-]+)*\@(?:[a-z0-9](?:[a-z0-9-]{0,59}[a-z0-9])?\.){1,4}[a-z0-9-]{2,}))"
      R"((?!(?:[a-z0-9-]|\.[a-z0-9])))",
      kNoCase);
  scan::Regex web_with_at = constant_regex(R"(<?https?://\S{0,255}(?:\@|%40)\S{0,255})", kNoCase);
  scan::Regex field_like =
      constant_regex(R"((?:>|\s{1,10}(?!(?:fa(?:x|csi)|tel|phone|e?-?mail))[a-z]{2,11}:))",
                     kNoCase | scan::kRegexAnchored);
};

const Tables& tables() {
  static const Tables tables;
  return tables;
}

constexpr std::size_t kMostKnown = 32;

bool look_up_freemail(const View& view, std::string_view address) {
  const std::size_t at = address.rfind('@');
  const std::string_view domain = at == std::string_view::npos ? address : address.substr(at + 1);
  const scan::SpamRules::Freemail& freemail = view.rules.freemail();
  // What most addresses are not first.
  if (!freemail.domains->contains(domain) &&
      (at == std::string_view::npos ||
       std::ranges::none_of(freemail.wildcards, [&](const std::string& pattern) {
         return scan::glob_matches(pattern, domain, true);
       })))
    return false;
  return std::ranges::none_of(freemail.others,
                              [&](const scan::SpamList* others) {
                                return others->contains(address) || others->contains(domain);
                              }) &&
         !view.find(tables().welcome, address);
}

// Several functions ask for the same addresses.
bool is_freemail(const View& view, std::string_view address) {
  if (address.empty()) return false;
  auto& known = view.notes().freemail;
  for (const auto& [name, free] : known) {
    if (name == address) return free;
  }
  const bool free = look_up_freemail(view, address);
  if (known.size() < kMostKnown) known.emplace_back(String(address, view.memory), free);
  return free;
}

Strings lower_values(const View& view, const Selector& selector) {
  Strings values(view.memory);
  for (const std::string_view value : view.values(selector)) lower(values.emplace_back(value));
  return values;
}

bool matches(const View& view, Arguments a, std::size_t index, std::string_view text) {
  if (a.size() <= index) return true;
  const scan::Regex* regex = a[index].regex;
  return regex != nullptr && view.find(*regex, text);
}

double check_freemail_from(const View& view, Arguments a) {
  for (const String& address : view.from_addresses()) {
    if (is_freemail(view, address) && matches(view, a, 0, address)) return 1;
  }
  return 0;
}
double check_freemail_header(const View& view, Arguments a) {
  String selector(a[0].text, view.memory);
  selector += ":addr";
  for (const String& address : lower_values(view, Selector(std::string_view(selector)))) {
    if (is_freemail(view, address) && matches(view, a, 1, address)) return 1;
  }
  return 0;
}

// Addresses of free mail in the text; `useful` is false when there are too many to mean something.
Strings read_body_freemails(const View& view, bool& useful) {
  constexpr std::size_t kMostAddresses = 5;
  constexpr std::size_t kMostFreemails = 3;
  Strings addresses(view.memory);
  const auto take = [&](std::string_view text) {
    String address(text, view.memory);
    lower(address);
    if (addresses.size() < 40 &&
        std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
      addresses.push_back(std::move(address));
    }
  };
  scan::Regex::Match m;
  const Tables& t = tables();
  for (const Uri& uri : view.uris.uris()) {
    if (!uri.in_a || uri.parsed || uri.raw.size() < 8 ||
        !equals_lower(std::string_view(uri.raw).substr(0, 7), "mailto:"))
      continue;
    const std::string_view rest = std::string_view(uri.raw).substr(7);
    if (view.find(t.address, rest, &m) && m.begin[0] == 0) take(m.group(rest, 1));
  }
  String text(view.memory);
  for (std::size_t i = 0; i < view.body_ends.size(); ++i) {
    const std::string_view paragraph = view.paragraph(i);
    if (paragraph.find('@') == std::string_view::npos) continue;
    text = paragraph;
    std::size_t from = 0;
    while (text.find("http", 0) != String::npos && from < text.size() &&
           view.find(t.web_with_at, text, &m, from)) {
      text.replace(m.begin[0], m.end[0] - m.begin[0], " ");
      from = m.begin[0] + 1;
    }
    // An address begins no more than so many octets before its '@', which is the next one.
    constexpr std::size_t kMostBefore = 64;
    from = 0;
    for (std::size_t at = text.find('@'); at != String::npos; at = text.find('@', from)) {
      if (!t.address.find(text, view.scratch, &m, std::max(from, at - std::min(at, kMostBefore)),
                          static_cast<std::uint32_t>(at))) {
        from = at + 1;
        continue;
      }
      const std::string_view address = m.group(text, 1);
      from = std::max(m.end[0], from + 1);
      const std::string_view domain = address.substr(address.rfind('.') + 1);
      if (!view.uris.domains().known_top(domain)) continue;
      // What looks like an address list or a quoted header field does not count.
      scan::Regex::Match tail;
      const bool link =
          m.begin[0] >= 7 && std::string_view(text).substr(m.begin[0] - 7, 7) == "mailto:";
      if (!link && view.find(t.field_like, std::string_view(text).substr(m.end[0]), &tail))
        continue;
      take(address);
    }
  }
  Strings found(view.memory);
  useful = addresses.size() < kMostAddresses;
  if (!useful) return found;
  for (const String& address : addresses) {
    if (is_freemail(view, address)) found.push_back(address);
  }
  useful = found.size() < kMostFreemails;
  return found;
}

const Strings& body_freemails(const View& view, bool& useful) {
  auto& known = view.notes().body_freemails;
  if (!known) known = read_body_freemails(view, view.notes().useful_freemails);
  useful = view.notes().useful_freemails;
  return *known;
}

bool other_freemail_answers(const View& view, std::string_view asked) {
  const Strings from = lower_values(view, "From:addr");
  const Strings reply = lower_values(view, "Reply-To:addr");
  const auto free = [&](const Strings& list) {
    return std::any_of(list.begin(), list.end(),
                       [&](const String& s) { return is_freemail(view, s); });
  };
  const bool from_free = free(from);
  const bool reply_free = free(reply);
  const bool shared = std::any_of(from.begin(), from.end(), [&](const String& s) {
    return std::find(reply.begin(), reply.end(), s) != reply.end();
  });
  if (from_free && reply_free && !shared) return true;
  if (asked == "replyto") {
    if (!reply_free) return false;
  } else if ((!reply.empty() && !reply_free) || !from_free) {
    return false;
  }
  bool useful = false;
  const Strings& body = body_freemails(view, useful);
  if (!useful) return false;
  const Strings& answers = asked == "replyto" || reply_free ? reply : from;
  for (const String& address : body) {
    for (const String& answer : answers) {
      if (address != answer) return true;
    }
  }
  return false;
}
double check_freemail_replyto(const View& view, Arguments a) {
  if (!other_freemail_answers(view, a[0].text)) return 0;
  const auto envelope = view.envelope_from();
  return !envelope || !view.find(tables().bulk, *envelope);
}

double check_from_in_list(const View& view, Arguments a) {
  return std::ranges::any_of(view.from_addresses(), [&](const String& address) {
    return a[0].addresses->has_address(address);
  });
}
double check_replyto_in_list(const View& view, Arguments a) {
  String address(view.get("Reply-To:addr"), view.memory);
  lower(address);
  return !address.empty() && a[0].addresses->has_address(address);
}

// The hosts of all URLs, each once.
const std::pmr::vector<std::string_view>& hosts(const View& view) {
  auto& known = view.notes().hosts;
  if (known) return *known;
  auto& found = known.emplace(view.memory);
  found.reserve(view.uris.uris().size());
  for (const Uri& uri : view.uris.uris()) {
    if (uri.raw.size() >= 7 && equals_lower(std::string_view(uri.raw).substr(0, 7), "mailto:"))
      continue;
    for (const String& host : uri.hosts) {
      // Of many, neighbours are often the same.
      if (found.size() < kMostKnown ? std::find(found.begin(), found.end(), host) == found.end()
                                    : found.back() != host)
        found.emplace_back(host);
    }
  }
  return found;
}

double host_listed(const View& view, const scan::SpamNameList& list) {
  return !list.empty() && std::ranges::any_of(hosts(view), [&](std::string_view host) {
    return list.has_host(host);
  });
}
double check_uri_host_listed(const View& view, Arguments a) {
  return host_listed(view, *a[0].hosts);
}
double check_uri_host_in_welcomelist(const View& view, Arguments) {
  return host_listed(view, view.rules.welcome_hosts());
}
double check_uri_host_in_blocklist(const View& view, Arguments) {
  return host_listed(view, view.rules.blocked_hosts());
}

constexpr NamedEval kEvals[] = {
    {"check_freemail_from", check_freemail_from},
    {"check_freemail_header", check_freemail_header},
    {"check_freemail_replyto", check_freemail_replyto},
    {"check_from_in_list", check_from_in_list},
    {"check_replyto_in_list", check_replyto_in_list},
    {"check_uri_host_listed", check_uri_host_listed},
    {"check_uri_host_in_welcomelist", check_uri_host_in_welcomelist},
    {"check_uri_host_in_whitelist", check_uri_host_in_welcomelist},
    {"check_uri_host_in_blocklist", check_uri_host_in_blocklist},
    {"check_uri_host_in_blacklist", check_uri_host_in_blocklist},
};

}  // namespace

std::span<const NamedEval> list_evals() { return kEvals; }
void prepare_list_evals() { tables(); }

}  // namespace sluice::spam
