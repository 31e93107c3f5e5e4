// RelayEval, and of HeaderEval what judges the Received fields of large providers.
#include <vector>

#include "dataplane/spam/evals.h"
#include "dataplane/spam/octets.h"
#include "dataplane/spam/relays.h"

namespace sluice::spam {
namespace {

struct Tables {
  static constexpr std::uint32_t kNoCase = scan::kRegexCaseless;
  scan::Regex ip = constant_regex("%I");
  scan::Regex hotmail_pickup =
      constant_regex(R"(from mail pickup service by hotmail\.com with Microsoft SMTPSVC;)");
  scan::Regex hotmail_1 =
      constant_regex(R"(from (?:\S*\.)?hotmail.com \(\S+\.hotmail(?:\.msn)?\.com[ \)])");
  scan::Regex outlook_1 = constant_regex(
      R"(from \S*\.outbound\.protection\.outlook\.com \(\S+\.outbound\.protection\.outlook\.com[ \)])");
  scan::Regex outlook_2 =
      constant_regex(R"(from \S*\.(?:eur|nam)prd\d+\.prod\.outlook\.com \(%I\))");
  scan::Regex hotmail_2 = constant_regex(R"(from \S*\.hotmail.com \(\[%I\][ \):])");
  scan::Regex hotmail_3 = constant_regex(R"(from \S+ by \S+\.hotmail(?:\.msn)?\.com with HTTP\;)");
  scan::Regex hotmail_4 = constant_regex(R"(from \[66\.218.\S+\] by \S+\.yahoo\.com)");
  scan::Regex hotmail_claim = constant_regex(R"((?:from |HELO |helo=)\S*hotmail\.com\b)");
  scan::Regex originator = constant_regex(R"(hotmail\.com|msonline\-outlook)");
  scan::Regex msn_group = constant_regex(R"(<(\S+)\@groups\.msn\.com>)", kNoCase);
  scan::Regex msn_pickup =
      constant_regex(R"(from mail pickup service by ((?:p\d\d\.)groups\.msn\.com)\b)");
  scan::Regex whowhere = constant_regex(R"(by \S*whowhere.com\;)");
  scan::Regex yahoo_trusted = constant_regex(R"( rdns=\S+\.yahoo\.com )");
  scan::Regex yahoo_untrusted = constant_regex(R"(^[^\]]+ rdns=\S+\.yahoo\.com )");
  scan::Regex yahoo_received = constant_regex(
      R"(by web\S+\.mail\S*\.yahoo\.com via HTTP|by sonic\S+\.consmr\.mail\S*\.yahoo\.com with HTTP|)"
      R"(by smtp\S+\.yahoo\.com with SMTP|)"
      R"(from \[%I\] by \S+\.(?:groups|scd|dcn)\.yahoo\.com with NNFMP|)"
      R"(by \w+\.\w+\.yahoo\.com \(\d+\.\d+\.\d+\/\d+\.\d+\.\d+\)(?: with ESMTP)? id \w+)");
  scan::Regex yahoo_bulk = constant_regex(R"(\bmailer\d+\.bulk\.scd\.yahoo\.com\b)");
  scan::Regex yahoo_reply = constant_regex(R"(\@reply\.yahoo\.com$)", kNoCase);
  scan::Regex juno_1 = constant_regex(R"(from.*\b(?:juno|untd)\.com.*[\[\(]%I[\]\)].*by)");
  scan::Regex juno_2 = constant_regex(R"( cookie\.(?:juno|untd)\.com )");
  scan::Regex juno_mail = constant_regex(R"(from.*\bmail\.com.*\[%I\].*by)");
  scan::Regex juno_web = constant_regex(R"(from (webmail\S+\.untd\.com) \(\1 \[%I\]\) by)");
  scan::Regex juno_mailer = constant_regex(R"(\bmail\.com)");
  scan::Regex juno_webmail = constant_regex(R"(^Webmail Version \d)");
  scan::Regex gmail_x =
      constant_regex(R"(by 10\.\S+ with SMTP id \S+|by 2002\:a\d\d\:\w+\:\S+ with SMTP id \S+)");
  scan::Regex gmail_r = constant_regex(R"(by smtp\.googlemail\.com with ESMTPSA id \S+)");
  scan::Regex dotcom = constant_regex(
      R"((?:\.|^)(lycos\.com|lycos\.co\.uk|hotmail\.com|localhost\.com|excite\.com|caramail\.com|)"
      R"(cs\.com|aol\.com|msn\.com|yahoo\.com|drizzle\.com)$)",
      kNoCase);
  scan::Regex numeric_helo = constant_regex(
      R"(\bhelo=((?:(?:1\d\d|2[0-4]\d|25[0-5]|[1-9]\d|\d)\.){3}(?:1\d\d|2[0-4]\d|25[0-5]|[1-9]\d|\d))(?=[\x00-\x20,;\[()<>]|\z))",
      kNoCase);
  scan::Regex domain_name = constant_regex(R"(^\w+(?:[\w.-]+\.)+\w+$)");
  scan::Regex domain_tail = constant_regex(R"(\S{3,}|ie|fr|de)");
};

const Tables& tables() {
  static const Tables tables;
  return tables;
}

// Whether the sender's address is of `domain` (lower case), or of what ends with it behind an octet
// that is in no word: \bdomain$
bool is_from(const View& view, std::string_view domain) {
  std::string_view from = view.get("From:addr");
  if (from.ends_with('\n')) from.remove_suffix(1);
  if (from.size() < domain.size()) return false;
  const std::size_t at = from.size() - domain.size();
  return equals_lower(from.substr(at), domain) && (at == 0 || !is_word(from[at - 1]));
}

bool msn_groups(const View& view) {
  const Tables& t = tables();
  const std::string_view to = view.get("To");
  scan::Regex::Match m;
  if (to.find('@') == std::string_view::npos || !contains_nocase(to, "@groups.msn.com>") ||
      !view.find(t.msn_group, to, &m))
    return false;
  const String list(m.group(to, 1), view.memory);
  const std::string_view path = view.get("Received");
  if (!view.find(t.msn_pickup, path, &m)) return false;
  const String server(m.group(path, 1), view.memory);
  const std::string_view id = view.get("Message-Id");
  if (list == "notifications") {
    const std::size_t at = id.find('@');
    return id.starts_with('<') && at != String::npos &&
           std::string_view(id).substr(at + 1).starts_with(server);
  }
  String wanted("<", view.memory);
  wanted += list;
  wanted += '-';
  if (!id.starts_with(wanted) || !has(id, "@groups.msn.com>")) return false;
  String bounce(list, view.memory);
  bounce += "-bounce@groups.msn.com";
  return has(view.get("EnvelopeFrom:addr"), bounce);
}

enum class Hotmail : std::uint8_t { fine, forged, none };

Hotmail hotmail(const View& view) {
  const Tables& t = tables();
  // Without it most cannot match.
  const bool named = std::ranges::any_of(view.parts->header().fields(), [](const Field& field) {
    return field.lower_name == "received" && has(field.value, "hotmail.com");
  });
  if ((named && view.find(t.hotmail_pickup, squeezed_received(view))) || msn_groups(view))
    return Hotmail::fine;
  const std::string_view origin = view.get("X-Originating-Ip");
  const bool ip = !origin.empty() && view.find(t.ip, origin);
  const std::string_view organization = view.get("X-OriginatorOrg");
  const bool originator = !organization.empty() && view.find(t.originator, organization);
  if (gated(view)) return Hotmail::fine;
  const std::string_view path =
      named || ip || originator ? squeezed_received(view) : std::string_view();
  if (ip && (view.find(t.hotmail_1, path) || view.find(t.hotmail_2, path) ||
             view.find(t.hotmail_3, path) || view.find(t.hotmail_4, path)))
    return Hotmail::fine;
  if (originator && (view.find(t.outlook_1, path) || view.find(t.outlook_2, path)))
    return Hotmail::fine;
  if (named && view.find(t.hotmail_claim, path)) return Hotmail::forged;
  return is_from(view, "hotmail.com") ? Hotmail::none : Hotmail::fine;
}

double check_for_forged_hotmail_received_headers(const View& view, Arguments) {
  return hotmail(view) == Hotmail::forged;
}
double check_for_no_hotmail_received_headers(const View& view, Arguments) {
  return hotmail(view) == Hotmail::none;
}
double check_for_msn_groups_headers(const View& view, Arguments) { return msn_groups(view); }

double check_for_forged_eudoramail_received_headers(const View& view, Arguments) {
  const Tables& t = tables();
  if (!is_from(view, "eudoramail.com")) return 0;
  const bool ip = view.find(t.ip, view.get("X-Sender-Ip"));
  return !gated(view) && !(ip && view.find(t.whowhere, squeezed_received(view)));
}

double check_for_forged_yahoo_received_headers(const View& view, Arguments) {
  const Tables& t = tables();
  if (!is_from(view, "yahoo.com")) return 0;
  const std::string_view from = view.get("From:addr");
  String path(view.get("Received"), view.memory);
  if (!view.get("Resent-From").empty() && !view.get("Resent-To").empty()) {
    const std::string_view other = view.get("X-Received");
    if (!other.empty()) path = other;
  }
  squeeze(path);
  if (gated(view) || view.find(t.yahoo_trusted, view.relays.trusted_text) ||
      view.find(t.yahoo_untrusted, view.relays.untrusted_text) || view.find(t.yahoo_received, path))
    return 0;
  return !(view.find(t.yahoo_bulk, path) && view.find(t.yahoo_reply, from));
}

double check_for_forged_juno_received_headers(const View& view, Arguments) {
  const Tables& t = tables();
  if (!is_from(view, "juno.com") || gated(view)) return 0;
  const std::string_view origin = view.get("X-Originating-IP");
  const std::string_view mailer = view.get("X-Mailer");
  const std::string_view path = view.get("Received");
  if (!origin.empty()) {
    return (!view.find(t.juno_1, path) && !view.find(t.juno_2, path)) || !has(mailer, "Juno ");
  }
  if (view.find(t.juno_mail, path)) {
    if (!view.find(t.juno_mailer, mailer)) return 1;
  } else if (view.find(t.juno_web, path)) {
    if (!view.find(t.juno_webmail, mailer)) return 1;
  } else {
    return 1;
  }
  return !view.find(t.ip, origin);
}

double check_for_forged_gmail_received_headers(const View& view, Arguments) {
  const Tables& t = tables();
  if (!is_from(view, "gmail.com")) return 0;
  if (view.find(t.gmail_x, view.get("X-Received")) || view.find(t.gmail_r, view.get("Received")))
    return 0;
  return !(view.get("X-Gm-Message-State").size() >= 60 &&
           view.get("X-Google-Smtp-Source").size() >= 60);
}

// --- relays ---

double helo_ip_mismatch(const View& view, Arguments) {
  for (const Relay& relay : view.relays.untrusted) {
    if (!is_ipv4_address(relay.helo) || is_private_address(relay.helo, view.scratch)) continue;
    const std::string_view net = std::string_view(relay.helo).substr(0, relay.helo.rfind('.') + 1);
    if (is_ipv4_address(relay.ip) && !is_private_address(relay.ip, view.scratch) &&
        relay.helo != relay.ip && !relay.ip.starts_with(net))
      return 1;
  }
  return 0;
}
double check_all_trusted(const View& view, Arguments) {
  return !view.relays.trusted.empty() && view.relays.untrusted.empty() &&
         view.relays.unparseable == 0;
}
double check_no_relays(const View& view, Arguments) {
  return view.relays.trusted.empty() && view.relays.untrusted.empty() &&
         view.relays.unparseable == 0;
}
double check_relays_unparseable(const View& view, Arguments) { return view.relays.unparseable > 0; }
double check_for_numeric_helo(const View& view, Arguments) {
  scan::Regex::Match m;
  const std::string_view text = view.relays.untrusted_text;
  return view.find(tables().numeric_helo, text, &m) &&
         !is_private_address(m.group(text, 1), view.scratch);
}
double check_for_sender_no_reverse(const View& view, Arguments) {
  if (view.relays.untrusted.empty()) return 0;
  const Relay& relay = view.relays.untrusted.back();
  return has(relay.rdns, ".") && !relay.ip_private;
}
double check_for_from_domain_in_received_headers(const View& view, Arguments a) {
  String domain(a[0].text, view.memory);
  lower(domain);
  String from(view.get("From:addr"), view.memory);
  lower(from);
  if (!has(from, domain)) return 0;
  bool found = false;
  for (const auto* list : {&view.relays.trusted, &view.relays.untrusted}) {
    for (const Relay& relay : *list) {
      found = found || (std::string_view(relay.rdns).ends_with(a[0].text) &&
                        std::string_view(relay.by).ends_with(a[0].text));
    }
  }
  return found == (a[1].text == "true");
}
double check_for_no_rdns_dotcom_helo(const View& view, Arguments) {
  const auto& relays = view.relays.untrusted;
  const auto last = std::find_if(relays.rbegin(), relays.rend(),
                                 [](const Relay& relay) { return !relay.ip_private; });
  return last != relays.rend() && last->no_reverse_dns && view.find(tables().dotcom, last->helo);
}

String to_domain(const View& view, std::string_view host) {
  String name(host, view.memory);
  lower(name);
  if (std::none_of(name.begin(), name.end(), is_alpha)) return name;
  std::vector<std::string_view> labels;
  std::string_view rest = name;
  while (true) {
    const std::size_t dot = rest.find('.');
    labels.push_back(rest.substr(0, dot));
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  const std::size_t keep = labels.size() > 1 && view.find(tables().domain_tail, labels.back()) ? 2
                           : labels.size() > 2                                                 ? 3
                                               : labels.size();
  String out(view.memory);
  for (std::size_t i = labels.size() - std::min(keep, labels.size()); i < labels.size(); ++i) {
    if (!out.empty()) out += '.';
    out += labels[i];
  }
  return out;
}

struct Forged {
  int from = 0;
  int helo = 0;
};

Forged forged(const View& view) {
  Forged result;
  const auto& relays = view.relays.untrusted;
  std::vector<String> from;
  for (const Relay& relay : relays) from.push_back(to_domain(view, relay.rdns));
  for (std::size_t i = 0; i < relays.size(); ++i) {
    const String by = to_domain(view, relays[i].by);
    if (!view.find(tables().domain_name, by)) continue;
    if ((from[i] == "localhost" || from[i] == "localhost.localdomain") &&
        relays[i].ip == "127.0.0.1")
      from[i].clear();
    const String helo = to_domain(view, relays[i].helo);
    if (is_ipv4_address(helo) && is_ipv4_address(relays[i].ip) && helo != relays[i].ip) {
      const auto class_b = [](std::string_view ip) {
        return ip.substr(0, ip.find('.', ip.find('.') + 1));
      };
      if (class_b(helo) != class_b(relays[i].ip) && !is_private_address(helo, view.scratch))
        ++result.helo;
    }
    if (i == 0) continue;
    const String& previous = from[i - 1];
    if (!previous.empty() && view.find(tables().domain_name, previous) && by != previous &&
        !(by == "msn.com" && previous == "hotmail.com"))
      ++result.from;
  }
  return result;
}
double check_for_forged_received_trail(const View& view, Arguments) {
  return forged(view).from > 1;
}
double check_for_forged_received_ip_helo(const View& view, Arguments) {
  return forged(view).helo > 0;
}

// --- bounces ---

double never(const View&, Arguments) { return 0; }  // no relays of ours are listed

constexpr NamedEval kEvals[] = {
    {"check_for_forged_hotmail_received_headers", check_for_forged_hotmail_received_headers},
    {"check_for_no_hotmail_received_headers", check_for_no_hotmail_received_headers},
    {"check_for_msn_groups_headers", check_for_msn_groups_headers},
    {"check_for_forged_eudoramail_received_headers", check_for_forged_eudoramail_received_headers},
    {"check_for_forged_yahoo_received_headers", check_for_forged_yahoo_received_headers},
    {"check_for_forged_juno_received_headers", check_for_forged_juno_received_headers},
    {"check_for_forged_gmail_received_headers", check_for_forged_gmail_received_headers},
    {"helo_ip_mismatch", helo_ip_mismatch},
    {"check_all_trusted", check_all_trusted},
    {"check_no_relays", check_no_relays},
    {"check_relays_unparseable", check_relays_unparseable},
    {"check_for_numeric_helo", check_for_numeric_helo},
    {"check_for_sender_no_reverse", check_for_sender_no_reverse},
    {"check_for_from_domain_in_received_headers", check_for_from_domain_in_received_headers},
    {"check_for_no_rdns_dotcom_helo", check_for_no_rdns_dotcom_helo},
    {"check_for_forged_received_trail", check_for_forged_received_trail},
    {"check_for_forged_received_ip_helo", check_for_forged_received_ip_helo},
    {"check_welcomelist_bounce_relays", never},
    {"check_whitelist_bounce_relays", never},
    {"have_any_bounce_relays", never},
};

}  // namespace

std::span<const NamedEval> received_evals() { return kEvals; }
void prepare_received_evals() { tables(); }

}  // namespace sluice::spam
