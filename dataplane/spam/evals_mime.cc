// MIMEEval, BodyEval and ImageInfo.
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <iterator>
#include <set>
#include <string_view>
#include <vector>

#include "dataplane/spam/evals.h"

namespace sluice::spam {
namespace {

double multipart_ratio(const View& view) {
  if (!view.mime.multipart_alternative) return 1;
  // The last text and the last HTML part that are no attachments.
  const auto& parts = view.parts->parts();
  double text = -1;
  double html = -1;
  bool after = false;
  std::size_t begin = parts.size();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].type == "multipart/alternative" && !after) {
      after = true;
      begin = i;
    }
  }
  for (std::size_t i = parts.size(); i-- > 0;) {
    const MessagePart& part = parts[i];
    if (!part.leaf || sluice::spam::has(part.disposition, "attachment")) continue;
    const double octets = i < begin ? 0 : static_cast<double>(part.raw_octets);
    if (html < 0 && part.type == "text/html") {
      html = octets;
    } else if (text < 0 && part.type == "text/plain") {
      text = octets;
    }
    if (text >= 0 && html >= 0) break;
  }
  return text >= 0 && html > 0 ? text / html : 1;
}

double check_for_mime(const View& view, Arguments a) {
  const std::string_view what = a[0];
  const MimeFacts& mime = view.mime;
  if (what == "mime_base64_count") return static_cast<double>(mime.base64_count);
  if (what == "mime_base64_encoded_text") return mime.base64_encoded_text;
  if (what == "mime_body_html_count") return static_cast<double>(mime.html_count);
  if (what == "mime_body_text_count") return static_cast<double>(mime.text_count);
  if (what == "mime_missing_boundary") return view.parts->missing_boundary();
  if (what == "mime_multipart_alternative") return mime.multipart_alternative;
  if (what == "mime_multipart_ratio") return multipart_ratio(view);
  if (what == "mime_qp_count") {
    return static_cast<double>(mime.qp_octets != 0 ? mime.qp_escapes : mime.qp_count);
  }
  if (what == "mime_qp_long_line") return mime.qp_long_line;
  if (what == "mime_qp_ratio") return mime.qp_octets != 0 && mime.qp_escapes != 0;
  if (what == "mime_ascii_text_illegal") return static_cast<double>(mime.ascii_text_illegal);
  if (what == "mime_attachment") return static_cast<double>(mime.attachments);
  if (what == "mime_bad_iso_charset") return mime.bad_iso_charset;
  return 0;
}

bool header_is_html(const View& view) {
  const std::string_view type = view.get("Content-Type");
  return type.size() >= 9 && equals_lower(std::string_view(type).substr(0, 9), "text/html");
}

double check_for_mime_html(const View& view, Arguments) {
  return header_is_html(view) || view.mime.html_count > 0;
}
double check_for_mime_html_only(const View& view, Arguments) {
  return header_is_html(view) || (view.mime.html_count > 0 && view.mime.text_count == 0);
}
double check_mime_multipart_ratio(const View& view, Arguments a) {
  const double ratio = multipart_ratio(view);
  return ratio >= number_of(a[0]) && ratio < number_of(a[1]);
}
double check_msg_parse_flags(const View& view, Arguments a) {
  const std::string_view flag = a[0];
  if (flag == "missing_mime_head_body_separator")
    return view.parts->missing_mime_head_body_separator();
  if (flag == "missing_mime_headers") return view.parts->missing_mime_headers();
  if (flag == "mime_epilogue_exists") return view.parts->mime_epilogue_exists();
  if (flag == "missing_head_body_separator") return view.parts->missing_head_body_separator();
  if (flag == "truncated_headers" || flag == "truncated_header")
    return view.parts->truncated_header();
  if (flag == "mimepart_limit_exceeded") return view.parts->part_limit_exceeded();
  return 0;
}
double check_for_ascii_text_illegal(const View& view, Arguments) {
  return view.mime.ascii_text_illegal > 0;
}
double check_abundant_unicode_ratio(const View& view, Arguments a) {
  if (view.mime.normal_characters == 0) return number_of(a[0]) <= 0;
  return static_cast<double>(view.mime.unicode_characters) /
             static_cast<double>(view.mime.normal_characters) >=
         number_of(a[0]);
}
double no_locale(const View&, Arguments) { return 0; }  // all charsets are welcome

// Charsets in which letters look like capitals.
bool likely_capitals(std::string_view charset) {
  for (const std::string_view part : {"koi", "jp", "jis", "euc", "gb", "big5", "isoir", "cp1251",
                                      "windows-1251", "georgianps", "pt154", "tis"}) {
    if (contains_nocase(charset, part)) return true;
  }
  return false;
}

// Two runs of base64 in a line of text.
bool looks_like_base64(std::string_view line) {
  std::size_t at = 0;
  for (int runs = 0; runs < 2; ++runs) {
    const std::size_t begin = at;
    while (at < line.size() &&
           (is_alnum(line[at]) || line[at] == '+' || line[at] == '/' || line[at] == '='))
      ++at;
    if (at - begin < 60 || at - begin > 76 || at >= line.size() || line[at] != ' ') return false;
    ++at;
  }
  return true;
}

// By octet: what it adds to the count of capitals (upper half) and of other letters and digits.
constexpr std::array<std::uint64_t, 256> letter_counts() {
  std::array<std::uint64_t, 256> counts{};
  for (std::size_t c = 'a'; c <= 'z'; ++c) {
    counts[c] = 1;
    counts[c - 32] = std::uint64_t{1} << 32;
  }
  for (std::size_t c = '0'; c <= '9'; ++c) counts[c] = 1;
  return counts;
}

// Percent of letters that are capitals; -1 when too little is known.
double uppercase_percent(const View& view) {
  for (const MessagePart& part : view.parts->parts()) {
    if (part.has_charset && likely_capitals(part.charset)) return -1;
  }
  std::uint64_t length = 0;
  std::uint64_t lower_letters = 0;
  std::uint64_t upper_letters = 0;
  for (std::size_t i = 0; i < view.body_ends.size(); ++i) {
    const std::string_view line = view.paragraph(i);
    if (trim(line).find_first_of(" \t\n") == std::string_view::npos) continue;
    if (looks_like_base64(line)) continue;
    static constexpr auto kCounts = letter_counts();
    std::uint64_t counts = 0;
    const auto count = [&](std::string_view text) {
      for (const char c : text) counts += kCounts[static_cast<unsigned char>(c)];
      length += text.size();
    };
    // Kanji do not count, from one escape sequence to the other.
    std::string_view rest = line;
    while (!rest.empty()) {
      const std::size_t kanji = rest.find("\x1b$B");
      count(rest.substr(0, kanji));
      if (kanji == std::string_view::npos) break;
      const std::size_t end = rest.find("\x1b(B", kanji);
      if (end == std::string_view::npos) break;
      rest.remove_prefix(end);
    }
    lower_letters += counts & UINT32_MAX;
    upper_letters += counts >> 32;
  }
  if (length < 200 || upper_letters + lower_letters == 0) return -1;
  return 100.0 * static_cast<double>(upper_letters) /
         static_cast<double>(upper_letters + lower_letters);
}
double check_for_uppercase(const View& view, Arguments a) {
  auto& known = view.notes().uppercase;
  if (!known) known = uppercase_percent(view);
  return *known >= 0 && *known > number_of(a[0]) && *known <= number_of(a[1]);
}

double check_ma_non_text(const View& view, Arguments) {
  const auto& parts = view.parts->parts();
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const MessagePart& part = parts[i];
    if (!part.leaf || parts[part.parent].type != "multipart/alternative" || part.parent == i)
      continue;
    if (part.type != "multipart/related" && part.type != "application/rtf" &&
        !part.type.starts_with("text/"))
      return 1;
  }
  return 0;
}

double check_base64_length(const View& view, Arguments a) {
  std::uint32_t longest = 0;
  for (const MessagePart& part : view.parts->parts()) {
    if (part.leaf && part.encoding == "base64" && part.type != "application/ics") {
      longest = std::max(longest, part.longest_line);
    }
  }
  if (a.size() > 1 && longest > number_of(a[1])) return 0;
  return longest >= number_of(a[0]);
}
double check_qp_ratio(const View& view, Arguments a) {
  const double ratio = view.mime.qp_octets == 0 ? 0
                                                : static_cast<double>(view.mime.qp_escapes) /
                                                      static_cast<double>(view.mime.qp_octets);
  return ratio >= number_of(a[0]);
}

// --- text ---

struct Difference {
  double percent = 0;
  double html = 0;
  double text = 0;
};

bool within(const View& view, std::uint32_t part, std::uint32_t container) {
  const auto& parts = view.parts->parts();
  for (int depth = 0; depth < 64; ++depth) {
    if (part == container) return true;
    if (part == 0 || parts[part].parent == part) return false;
    part = parts[part].parent;
  }
  return false;
}

using Words = std::vector<std::string_view>;

void words(std::string_view text, Words& out) {
  std::size_t i = 0;
  while (i < text.size()) {
    while (i < text.size() && (is_space(text[i]) || text.substr(i).starts_with("\xc2\xa0"))) {
      i += is_space(text[i]) ? 1 : 2;
    }
    const std::size_t begin = i;
    while (i < text.size() && !is_space(text[i]) && !text.substr(i).starts_with("\xc2\xa0")) ++i;
    const std::string_view word = text.substr(begin, i - begin);
    if (std::any_of(word.begin(), word.end(), [](char c) { return is_word(c) || (c & 0x80) != 0; }))
      out.push_back(word);
  }
}

// In order, each once.
void make_set(Words& words) {
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
}

Difference alternative_difference(const View& view) {
  if (const auto& known = view.notes().alternatives)
    return {.percent = (*known)[0], .html = (*known)[1], .text = (*known)[2]};
  Difference result;
  const auto& parts = view.parts->parts();
  for (std::uint32_t i = 0; i < parts.size(); ++i) {
    if (parts[i].type != "multipart/alternative") continue;
    Words html;
    Words text;
    for (const RenderedPart& rendered : view.rendered) {
      if (!within(view, rendered.part, i)) continue;
      words(rendered.text, rendered.html ? html : text);
      if (rendered.html && html.empty() && rendered.has_image) html.emplace_back("\n");
    }
    if (html.empty()) continue;
    make_set(html);
    make_set(text);
    result.html = static_cast<double>(html.size());
    result.text = static_cast<double>(text.size());
    const auto left = std::count_if(html.begin(), html.end(), [&](std::string_view w) {
      return !std::binary_search(text.begin(), text.end(), w);
    });
    result.percent = std::max(result.percent, static_cast<double>(left) / result.html * 100);
  }
  view.notes().alternatives = {result.percent, result.html, result.text};
  return result;
}

double multipart_alternative_difference(const View& view, Arguments a) {
  const double difference = alternative_difference(view).percent;
  const double least = number_of(a[0]);
  return (least == 0 || difference > least) && (a[1] == "undef" || difference <= number_of(a[1]));
}
double multipart_alternative_difference_count(const View& view, Arguments a) {
  const Difference difference = alternative_difference(view);
  return difference.html > number_of(a[1]) && difference.text / difference.html > number_of(a[0]);
}
double check_blank_line_ratio(const View& view, Arguments a) {
  const double least_lines = std::max(a.size() > 2 ? number_of(a[2]) : 1.0, 1.0);
  const double lines = static_cast<double>(view.decoded_lines);
  const double ratio =
      lines < least_lines ? -1 : 100 * static_cast<double>(view.blank_lines) / lines;
  const double least = number_of(a[0]);
  return (least == 0 || ratio > least) && ratio <= number_of(a[1]);
}
double tvd_vertical_words(const View& view, Arguments a) {
  double most = -1;
  for (std::size_t i = 0; i < view.body_ends.size(); ++i) {
    const std::string_view line = view.paragraph(i);
    if (line.size() <= 5) continue;
    const double blanks = static_cast<double>(std::count(line.begin(), line.end(), ' '));
    const double others = static_cast<double>(line.size()) - blanks;
    most = std::max(most, blanks > others || others == 0 ? 100 : std::floor(100 * blanks / others));
  }
  const double limit = number_of(a[1]) >= 100 ? 101 : number_of(a[1]);
  return most >= number_of(a[0]) && most < limit;
}

double check_stock_info(const View& view, Arguments a) {
  static constexpr std::string_view kWords[] = {"tradedate", "tradingdate"};
  static constexpr std::string_view kEnds[] = {"company",
                                               "companyname",
                                               "symbol",
                                               "sym",
                                               "stk",
                                               "stck",
                                               "stock",
                                               "target",
                                               "ticker",
                                               "openingp",
                                               "openingprice",
                                               "currentp",
                                               "currentprice",
                                               "projected",
                                               "position",
                                               "expectations",
                                               "weekhigh",
                                               "weekshigh",
                                               "marketperformance",
                                               "yeartarget",
                                               "weektarget",
                                               "monthtarget",
                                               "daytarget",
                                               "pricetarget",
                                               "yearestimate",
                                               "sector",
                                               "recommendation",
                                               "rating"};
  const double least = number_of(a[0]);
  if (least == 0) return 1;
  std::set<std::string_view> hits;
  for (const RenderedPart& rendered : view.rendered) {
    if (rendered.html || view.parts->parts()[rendered.part].type != "text/plain") continue;
    std::string_view text = rendered.text;
    while (!text.empty()) {
      const std::size_t end = text.find('\n');
      std::string_view line = text.substr(0, end);
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
      const std::size_t colon = line.find(':');
      if (colon == std::string_view::npos || colon < 3 || colon > 40) continue;
      if (trim(line.substr(colon + 1)).empty()) continue;
      std::string letters;
      for (const char c : line.substr(0, colon)) {
        if (is_alpha(c)) letters += to_lower(c);
      }
      for (const std::string_view word : kWords) {
        if (letters == word) hits.insert(word);
      }
      for (const std::string_view word : kEnds) {
        if (letters.ends_with(word)) hits.insert(word);
      }
    }
    break;
  }
  return static_cast<double>(hits.size()) >= least;
}
double check_body_length(const View& view, Arguments a) {
  return static_cast<double>(view.parts->body_octets()) <= number_of(a[0]);
}
double length_between(bool known, double length, Arguments a) {
  return known && length >= number_of(a[0]) && (a.size() < 2 || length <= number_of(a[1]));
}
double plaintext_body_length(const View& view, Arguments a) {
  return length_between(view.has_plain_body, static_cast<double>(view.plain_body_length), a);
}
double plaintext_sig_length(const View& view, Arguments a) {
  return length_between(view.has_plain_body, static_cast<double>(view.plain_signature_length), a);
}
double plaintext_body_sig_ratio(const View& view, Arguments a) {
  const double ratio = view.plain_signature_length == 0
                           ? 1e6
                           : static_cast<double>(view.plain_body_length) /
                                 static_cast<double>(view.plain_signature_length);
  return view.has_plain_body && ratio >= number_of(a[0]) &&
         ratio <= (a.size() > 1 ? number_of(a[1]) : 1e6);
}

// --- images ---

bool of_type(const Image& image, std::string_view type) {
  return type == "all" || (type == "gif" && image.type == Image::Type::gif) ||
         (type == "png" && image.type == Image::Type::png) ||
         (type == "jpeg" && image.type == Image::Type::jpeg);
}
double area(const View& view, std::string_view type) {
  double sum = 0;
  for (const Image& image : view.images) {
    if (of_type(image, type)) sum += static_cast<double>(image.width) * image.height;
  }
  return sum;
}
double image_count(const View& view, Arguments a) {
  const double n = static_cast<double>(std::count_if(
      view.images.begin(), view.images.end(), [&](const Image& i) { return of_type(i, a[0]); }));
  return n >= number_of(a[1]) && (a.size() < 3 || n <= number_of(a[2]));
}
double pixel_coverage(const View& view, Arguments a) {
  const double n = area(view, a[0]);
  return n >= number_of(a[1]) && (a.size() < 3 || n <= number_of(a[2]));
}
double image_size_exact(const View& view, Arguments a) {
  return std::any_of(view.images.begin(), view.images.end(), [&](const Image& i) {
    return of_type(i, a[0]) && i.height == number_of(a[1]) && i.width == number_of(a[2]) &&
           i.height > 0 && i.width > 0;
  });
}
double image_size_range(const View& view, Arguments a) {
  return std::any_of(view.images.begin(), view.images.end(), [&](const Image& i) {
    return of_type(i, a[0]) && i.height > 0 && i.width > 0 && i.height >= number_of(a[1]) &&
           i.width >= number_of(a[2]) && (a.size() < 4 || i.height <= number_of(a[3])) &&
           (a.size() < 5 || i.width <= number_of(a[4]));
  });
}
double image_named(const View& view, Arguments a) {
  return std::any_of(view.images.begin(), view.images.end(), [&](const Image& i) {
    return i.height > 0 && i.width > 0 && i.name == std::string_view(a[0]);
  });
}
double image_to_text_ratio(const View& view, Arguments a) {
  const double pixels = area(view, a[0]);
  if (pixels <= 0 || view.body.empty()) return 0;
  const double ratio = static_cast<double>(view.body.size()) / pixels;
  return ratio >= number_of(a[1]) && ratio < number_of(a[2]);
}

constexpr NamedEval kEvals[] = {
    {"check_for_mime", check_for_mime},
    {"check_for_mime_html", check_for_mime_html},
    {"check_for_mime_html_only", check_for_mime_html_only},
    {"check_mime_multipart_ratio", check_mime_multipart_ratio},
    {"check_msg_parse_flags", check_msg_parse_flags},
    {"check_for_ascii_text_illegal", check_for_ascii_text_illegal},
    {"check_abundant_unicode_ratio", check_abundant_unicode_ratio},
    {"check_for_faraway_charset", no_locale},
    {"check_for_uppercase", check_for_uppercase},
    {"check_ma_non_text", check_ma_non_text},
    {"check_base64_length", check_base64_length},
    {"check_qp_ratio", check_qp_ratio},
    {"multipart_alternative_difference", multipart_alternative_difference},
    {"multipart_alternative_difference_count", multipart_alternative_difference_count},
    {"check_blank_line_ratio", check_blank_line_ratio},
    {"tvd_vertical_words", tvd_vertical_words},
    {"check_stock_info", check_stock_info},
    {"check_body_length", check_body_length},
    {"plaintext_body_length", plaintext_body_length},
    {"plaintext_sig_length", plaintext_sig_length},
    {"plaintext_body_sig_ratio", plaintext_body_sig_ratio},
    {"image_count", image_count},
    {"pixel_coverage", pixel_coverage},
    {"image_size_exact", image_size_exact},
    {"image_size_range", image_size_range},
    {"image_named", image_named},
    {"image_to_text_ratio", image_to_text_ratio},
};

}  // namespace

std::span<const NamedEval> mime_evals() { return kEvals; }

}  // namespace sluice::spam
