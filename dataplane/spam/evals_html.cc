// HTMLEval, URIEval and HTTPSMismatch.
#include <charconv>

#include "dataplane/spam/evals.h"
#include "dataplane/spam/relays.h"
#include "dataplane/spam/white_space.h"

namespace sluice::spam {
namespace {

// A fact of HTML by the name that rules use; false when it is not known there.
bool fact(const HtmlFacts& html, std::string_view name, double& value) {
  if (name == "length") {
    value = static_cast<double>(html.length);
  } else if (name == "html_length") {
    value = static_cast<double>(html.html_length);
  } else if (name == "non_space_len") {
    value = static_cast<double>(html.non_space_len);
  } else if (name == "ratio") {
    value = html.ratio;
    return html.has_ratio;
  } else if (name == "min_size") {
    value = html.min_size;
  } else if (name == "max_size") {
    value = html.max_size;
  } else if (name == "image_area") {
    value = html.image_area;
  } else if (name == "closed_extra_ratio") {
    value = html.all_tags == 0 ? 0 : static_cast<double>(html.closed_extra) / html.all_tags;
    return html.all_tags != 0;
  } else if (name == "bad_tag_ratio") {
    value =
        html.all_tags == 0 ? 0 : static_cast<double>(html.all_tags - html.elements) / html.all_tags;
    return html.all_tags != 0 && html.elements != 0;
  } else if (name == "non_element_ratio") {
    value = html.tags_seen == 0
                ? 0
                : static_cast<double>(html.tags_seen - html.elements_seen) / html.tags_seen;
    return html.tags_seen != 0 && html.elements_seen != 0;
  } else if (name == "obfuscation_ratio") {
    value = html.all_tags == 0 ? 0 : static_cast<double>(html.obfuscation) / html.all_tags;
    return html.all_tags != 0 && html.obfuscation != 0;
  } else if (name == "backhair_count") {
    value = html.backhair;
    return html.has_backhair;
  } else if (name == "html") {
    value = 1;
  } else if (name == "font_low_contrast") {
    value = html.font_low_contrast;
  } else if (name == "font_invalid_color") {
    value = html.font_invalid_color;
  } else if (name == "font_face_bad") {
    value = html.font_face_bad;
  } else if (name == "embeds") {
    value = html.embeds;
  } else if (name == "form_action_mailto") {
    value = html.form_action_mailto;
  } else {
    return false;
  }
  return true;
}

// "> 0", "!= 0", "== 1".
bool compare(double value, std::string_view expression) {
  expression = trim(expression);
  std::size_t size = 0;
  while (size < expression.size() &&
         std::string_view("<>=!").find(expression[size]) != std::string_view::npos)
    ++size;
  const std::string_view operation = expression.substr(0, size);
  const double other = scan::perl_number(trim(expression.substr(size)));
  if (operation == ">") return value > other;
  if (operation == ">=") return value >= other;
  if (operation == "<") return value < other;
  if (operation == "<=") return value <= other;
  if (operation == "==") return value == other;
  if (operation == "!=") return value != other;
  return false;
}

template <typename Test>
double any(const View& view, Test test) {
  return std::any_of(view.htmls.begin(), view.htmls.end(), test);
}

double html_tag_balance(const View& view, Arguments a) {
  return any(view, [&](const HtmlFacts& html) {
    const HtmlFacts::Tag* tag = html.tag(a[0].text);
    return tag != nullptr && compare(tag->inside, a[1].text);
  });
}
double html_image_only(const View& view, Arguments a) {
  return any(view, [&](const HtmlFacts& html) {
    const auto length = static_cast<double>(html.length);
    return html.tag("img") != nullptr && length > a[0].number && length <= a[1].number;
  });
}
double html_image_ratio(const View& view, Arguments a) {
  return any(view, [&](const HtmlFacts& html) {
    if (html.image_area <= 0) return false;
    const double ratio = static_cast<double>(html.non_space_len) / html.image_area;
    return ratio > a[0].number && ratio <= a[1].number;
  });
}
double never(const View&, Arguments) { return 0; }
double html_tag_exists(const View& view, Arguments a) {
  return any(view, [&](const HtmlFacts& html) { return html.tag(a[0].text) != nullptr; });
}
double html_test(const View& view, Arguments a) {
  return any(view, [&](const HtmlFacts& html) {
    double value = 0;
    return fact(html, a[0].text, value) && value != 0;
  });
}
double html_eval(const View& view, Arguments a) {
  return any(view, [&](const HtmlFacts& html) {
    double value = 0;
    return fact(html, a[0].text, value) && compare(value, a[1].text);
  });
}
const Strings* texts(const HtmlFacts& html, std::string_view name) {
  if (name == "title") return &html.titles;
  if (name == "anchor") return &html.anchors;
  if (name == "script") return &html.scripts;
  if (name == "comment") return &html.comments;
  return nullptr;
}
double text_match(const View& view, Arguments a, bool matches) {
  bool wanted = false;
  for (const HtmlFacts& html : view.htmls) {
    const Strings* list = texts(html, a[0].text);
    wanted = wanted || (list != nullptr && !list->empty());
  }
  if (!wanted) return 0;
  const scan::Regex* regex = a[1].regex;
  if (regex == nullptr) return 0;
  return any(view, [&](const HtmlFacts& html) {
    const Strings* list = texts(html, a[0].text);
    return list != nullptr && std::any_of(list->begin(), list->end(), [&](const String& text) {
             return view.find(*regex, text) == matches;
           });
  });
}
double html_text_match(const View& view, Arguments a) { return text_match(view, a, true); }
double html_text_not_match(const View& view, Arguments a) { return text_match(view, a, false); }
double html_title_subject_ratio(const View& view, Arguments a) {
  const std::string_view subject = view.get("Subject");
  if (subject.empty()) return 0;
  return any(view, [&](const HtmlFacts& html) {
    double most = 0;
    for (const String& title : html.titles) {
      most = std::max(
          most, static_cast<double>(count_characters(title)) / static_cast<double>(subject.size()));
    }
    return most > a[0].number;
  });
}
double html_range(const View& view, Arguments a) {
  return any(view, [&](const HtmlFacts& html) {
    double value = 0;
    if (!fact(html, a[0].text, value)) return false;
    if (a.size() < 3 || a[2].text == "inf") return value > a[1].number;
    return value > a[1].number && value <= a[2].number;
  });
}
double check_iframe_src(const View& view, Arguments) {
  return any(view, [](const HtmlFacts& html) {
    return std::any_of(html.links.begin(), html.links.end(),
                       [](const HtmlLink& link) { return link.in_iframe; });
  });
}

// --- URLs ---

double check_uri_truncated(const View& view, Arguments) { return view.uris.truncated(); }

bool starts(std::string_view s, std::string_view prefix) {
  return s.size() >= prefix.size() && equals_lower(s.substr(0, prefix.size()), prefix);
}

// The host of a web address, or empty. `numeric`: it is four numbers.
std::string_view web_host(std::string_view uri, bool& numeric) {
  std::size_t at = starts(uri, "https:") ? 6 : starts(uri, "http:") ? 5 : 0;
  if (at == 0) return {};
  while (at < uri.size() && uri[at] == '/') ++at;
  std::string_view rest = uri.substr(at);
  rest = rest.substr(0, rest.find_first_of("/?#"));
  if (const std::size_t user = rest.rfind('@'); user != std::string_view::npos)
    rest.remove_prefix(user + 1);
  rest = rest.substr(0, rest.find(':'));
  numeric = is_ipv4_address(rest);
  return rest;
}

double check_https_ip_mismatch(const View& view, Arguments) {
  for (const HtmlFacts& html : view.htmls) {
    for (const HtmlLink& link : html.links) {
      bool numeric = false;
      web_host(link.uri, numeric);
      if (!numeric) continue;
      for (const String& anchor : link.anchors) {
        bool same = false;
        if (starts(anchor, "https:")) web_host(anchor, same);
        if (!same && contains_nocase(anchor, "https:")) return 1;
      }
    }
  }
  return 0;
}

double check_https_http_mismatch(const View& view, Arguments a) {
  const auto is_secure = [](const String& anchor) { return has(anchor, "https://"); };
  const bool any_secure = any(view, [&](const HtmlFacts& html) {
                            return std::ranges::any_of(html.links, [&](const HtmlLink& link) {
                              return std::ranges::any_of(link.anchors, is_secure);
                            });
                          }) != 0;
  if (!any_secure) return 0;
  const double least = a.empty() || a[0].number == 0 ? 1 : a[0].number;
  String host(view.memory);
  String domain(view.memory);
  String other(view.memory);
  for (const HtmlFacts& html : view.htmls) {
    double anchors = 0;
    bool hit = false;
    for (const HtmlLink& link : html.links) {
      if (link.anchors.empty()) continue;
      bool numeric = false;
      if (web_host(link.uri, numeric).empty() || numeric) continue;
      if (!view.uris.domains().of_uri(link.uri, host, domain)) continue;
      ++anchors;
      if (a.size() > 1 && anchors >= a[1].number) break;
      for (const String& anchor : link.anchors) {
        const std::size_t at = anchor.find("https://");
        if (at == String::npos) continue;
        bool anchor_numeric = false;
        const std::string_view target =
            web_host(std::string_view(anchor).substr(at), anchor_numeric);
        if (anchor_numeric || target.find('.') == std::string_view::npos) continue;
        String uri("https://", view.memory);
        uri += target;
        if (!view.uris.domains().of_uri(uri, host, other)) continue;
        if (other != domain) hit = true;
      }
    }
    if (hit && anchors >= least && (a.size() < 2 || anchors < a[1].number)) return 1;
  }
  return 0;
}

constexpr NamedEval kEvals[] = {
    {"html_tag_balance", html_tag_balance},
    {"html_image_only", html_image_only},
    {"html_image_ratio", html_image_ratio},
    {"html_charset_faraway", never},
    {"html_tag_exists", html_tag_exists},
    {"html_test", html_test},
    {"html_eval", html_eval},
    {"html_text_match", html_text_match},
    {"html_title_subject_ratio", html_title_subject_ratio},
    {"html_text_not_match", html_text_not_match},
    {"html_range", html_range},
    {"check_iframe_src", check_iframe_src},
    {"check_uri_truncated", check_uri_truncated},
    {"check_https_ip_mismatch", check_https_ip_mismatch},
    {"check_https_http_mismatch", check_https_http_mismatch},
};

}  // namespace

std::span<const NamedEval> html_evals() { return kEvals; }

}  // namespace sluice::spam
