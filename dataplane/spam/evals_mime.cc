// MIMEEval, BodyEval and ImageInfo.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <iterator>
#include <random>
#include <set>
#include <string_view>
#include <vector>

#include "dataplane/spam/evals.h"
#include "dataplane/spam/octets.h"

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
  const std::string_view what = a[0].text;
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
  const auto& fields = view.parts->header().fields();
  const auto field = std::ranges::find(fields, "content-type", &Field::lower_name);
  return field != fields.end() && equals_lower(field->value.substr(0, 9), "text/html");
}

double check_for_mime_html(const View& view, Arguments) {
  return header_is_html(view) || view.mime.html_count > 0;
}
double check_for_mime_html_only(const View& view, Arguments) {
  return header_is_html(view) || (view.mime.html_count > 0 && view.mime.text_count == 0);
}
double check_mime_multipart_ratio(const View& view, Arguments a) {
  const double ratio = multipart_ratio(view);
  return ratio >= a[0].number && ratio < a[1].number;
}
double check_msg_parse_flags(const View& view, Arguments a) {
  const std::string_view flag = a[0].text;
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
  if (view.mime.normal_characters == 0) return a[0].number <= 0;
  return static_cast<double>(view.mime.unicode_characters) /
             static_cast<double>(view.mime.normal_characters) >=
         a[0].number;
}
double no_locale(const View&, Arguments) { return 0; }  // all charsets are welcome

// Charsets in which letters look like capitals.
bool likely_capitals(std::string_view charset) {
  // Nearly all.
  if (equals_lower(charset, "utf-8") || equals_lower(charset, "us-ascii") ||
      equals_lower(charset.substr(0, charset.size() - std::min<std::size_t>(charset.size(), 1)),
                   "iso-8859-"))
    return false;
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

struct Letters {
  std::uint64_t upper = 0;
  std::uint64_t others = 0;  // other letters and digits
};

void count_letters(std::string_view text, Letters& letters) {
  std::size_t i = 0;
  for (; i + 16 <= text.size(); i += 16) {
    const char* const p = text.data() + i;
    letters.upper += static_cast<unsigned>(std::popcount(between16(p, 'A', 'Z')));
    letters.others +=
        static_cast<unsigned>(std::popcount(between16(p, 'a', 'z') | between16(p, '0', '9')));
  }
  for (; i < text.size(); ++i) {
    if (text[i] >= 'A' && text[i] <= 'Z') {
      ++letters.upper;
    } else if (is_alnum(text[i])) {
      ++letters.others;
    }
  }
}

// Percent of letters that are capitals; -1 when too little is known.
double uppercase_percent(const View& view) {
  for (const MessagePart& part : view.parts->parts()) {
    if (part.has_charset && likely_capitals(part.charset)) return -1;
  }
  std::uint64_t length = 0;
  Letters letters;
  for (std::size_t i = 0; i < view.body_ends.size(); ++i) {
    const std::string_view line = view.paragraph(i);
    if (trim(line).find_first_of(" \t\n") == std::string_view::npos) continue;
    if (looks_like_base64(line)) continue;
    const auto count = [&](std::string_view text) {
      count_letters(text, letters);
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
  }
  const std::uint64_t all = letters.upper + letters.others;
  if (length < 200 || all == 0) return -1;
  return 100.0 * static_cast<double>(letters.upper) / static_cast<double>(all);
}
double check_for_uppercase(const View& view, Arguments a) {
  auto& known = view.notes().uppercase;
  if (!known) known = uppercase_percent(view);
  return *known >= 0 && *known > a[0].number && *known <= a[1].number;
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
  if (a.size() > 1 && longest > a[1].number) return 0;
  return longest >= a[0].number;
}
double check_qp_ratio(const View& view, Arguments a) {
  const double ratio = view.mime.qp_octets == 0 ? 0
                                                : static_cast<double>(view.mime.qp_escapes) /
                                                      static_cast<double>(view.mime.qp_octets);
  return ratio >= a[0].number;
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

// What a text has of words, each once: a table in which a word stands at the first free place from
// that of its hash.
class Words {
 public:
  // Of texts of so many octets, two more for each text: a place is always free.
  explicit Words(std::size_t octets)
      : places_(std::bit_ceil(std::max<std::size_t>(octets / 2, 16))) {}

  // Whether it is new.
  bool add(std::string_view word, std::uint64_t hash) {
    Place& place = find(word, hash);
    if (place.word.data() != nullptr) return false;
    place = {.word = word, .hash = hash};
    ++size_;
    return true;
  }
  bool has(std::string_view word, std::uint64_t hash) const {
    return const_cast<Words*>(this)->find(word, hash).word.data() != nullptr;
  }
  std::size_t size() const { return size_; }

 private:
  struct Place {
    std::string_view word;
    std::uint64_t hash = 0;
  };
  Place& find(std::string_view word, std::uint64_t hash) {
    const std::size_t mask = places_.size() - 1;
    for (std::size_t at = hash >> 20 & mask;; at = (at + 1) & mask) {
      Place& place = places_[at];
      if (place.word.data() == nullptr || (place.hash == hash && place.word == word)) return place;
    }
  }
  std::vector<Place> places_;
  std::size_t size_ = 0;
};

template <typename Visit>
void for_each_word(std::string_view text, Visit visit) {
  static constexpr auto kOfWord =
      [] {  // 0: ends a word, 1: makes one, 2: is in one, 3: perhaps a blank
        std::array<std::uint8_t, 256> of{};
        for (unsigned c = 0; c < 256; ++c) {
          const char octet = static_cast<char>(c);
          of[c] = is_space(octet) ? 0 : is_word(octet) || c > 127 ? 1 : 2;
        }
        of[0xc2] = 3;
        return of;
      }();
  // Who sends the words shall not know where they stand in a table.
  static const std::uint64_t seed = std::random_device()();
  std::size_t i = 0;
  while (i < text.size()) {
    const std::size_t begin = i;
    bool word = false;
    std::uint64_t hash = seed;
    for (; i < text.size(); ++i) {
      const auto c = static_cast<unsigned char>(text[i]);
      const std::uint8_t of = kOfWord[c];
      if (of == 0 || (of == 3 && i + 1 < text.size() && text[i + 1] == '\xa0')) break;
      word = word || of != 2;
      hash = (hash ^ c) * 0x9fb21c651e98df25u;
      hash ^= hash >> 29;
    }
    if (word) visit(text.substr(begin, i - begin), hash);
    if (i < text.size()) i += is_space(text[i]) ? 1u : 2u;
  }
}

Difference alternative_difference(const View& view) {
  if (const auto& known = view.notes().alternatives)
    return {.percent = (*known)[0], .html = (*known)[1], .text = (*known)[2]};
  Difference result;
  const auto& parts = view.parts->parts();
  for (std::uint32_t i = 0; i < parts.size(); ++i) {
    if (parts[i].type != "multipart/alternative") continue;
    // Words of the text parts first, then which of the HTML parts are not among them.
    std::size_t octets[2] = {};
    bool image_only = false;
    for (const RenderedPart& rendered : view.rendered) {
      if (within(view, rendered.part, i)) octets[rendered.html ? 1 : 0] += rendered.text.size() + 2;
    }
    Words text(octets[0] + 2);
    Words html(octets[1] + 2);
    std::size_t left = 0;
    for (const bool of_html : {false, true}) {
      for (const RenderedPart& rendered : view.rendered) {
        if (rendered.html != of_html || !within(view, rendered.part, i)) continue;
        for_each_word(rendered.text, [&](std::string_view word, std::uint64_t hash) {
          if (!of_html) {
            text.add(word, hash);
          } else if (html.add(word, hash)) {
            left += text.has(word, hash) ? 0u : 1u;
          }
        });
        image_only = image_only || (of_html && html.size() == 0 && rendered.has_image);
      }
    }
    // An image counts as a word that no text has.
    const std::size_t image = image_only ? 1 : 0;
    if (html.size() + image == 0) continue;
    result.html = static_cast<double>(html.size() + image);
    result.text = static_cast<double>(text.size());
    result.percent =
        std::max(result.percent, static_cast<double>(left + image) / result.html * 100);
  }
  view.notes().alternatives = {result.percent, result.html, result.text};
  return result;
}

double multipart_alternative_difference(const View& view, Arguments a) {
  const double difference = alternative_difference(view).percent;
  const double least = a[0].number;
  return (least == 0 || difference > least) && (a[1].text == "undef" || difference <= a[1].number);
}
double multipart_alternative_difference_count(const View& view, Arguments a) {
  const Difference difference = alternative_difference(view);
  return difference.html > a[1].number && difference.text / difference.html > a[0].number;
}
double check_blank_line_ratio(const View& view, Arguments a) {
  const double least_lines = std::max(a.size() > 2 ? a[2].number : 1.0, 1.0);
  const double lines = static_cast<double>(view.decoded_lines);
  const double ratio =
      lines < least_lines ? -1 : 100 * static_cast<double>(view.blank_lines) / lines;
  const double least = a[0].number;
  return (least == 0 || ratio > least) && ratio <= a[1].number;
}
std::uint64_t count_blanks(std::string_view text) {
  std::uint64_t blanks = 0;
  std::size_t i = 0;
  for (; i + 16 <= text.size(); i += 16)
    blanks += static_cast<unsigned>(std::popcount(equal16(text.data() + i, ' ')));
  for (; i < text.size(); ++i) blanks += text[i] == ' ';
  return blanks;
}

double vertical_percent(const View& view) {
  double most = -1;
  for (std::size_t i = 0; i < view.body_ends.size(); ++i) {
    const std::string_view line = view.paragraph(i);
    if (line.size() <= 5) continue;
    const double blanks = static_cast<double>(count_blanks(line));
    const double others = static_cast<double>(line.size()) - blanks;
    most = std::max(most, blanks > others || others == 0 ? 100 : std::floor(100 * blanks / others));
  }
  return most;
}
double tvd_vertical_words(const View& view, Arguments a) {
  auto& known = view.notes().vertical;
  if (!known) known = vertical_percent(view);
  const double limit = a[1].number >= 100 ? 101 : a[1].number;
  return *known >= a[0].number && *known < limit;
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
  const double least = a[0].number;
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
  return static_cast<double>(view.parts->body_octets()) <= a[0].number;
}
double length_between(bool known, double length, Arguments a) {
  return known && length >= a[0].number && (a.size() < 2 || length <= a[1].number);
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
  return view.has_plain_body && ratio >= a[0].number && ratio <= (a.size() > 1 ? a[1].number : 1e6);
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
  const double n =
      static_cast<double>(std::count_if(view.images.begin(), view.images.end(),
                                        [&](const Image& i) { return of_type(i, a[0].text); }));
  return n >= a[1].number && (a.size() < 3 || n <= a[2].number);
}
double pixel_coverage(const View& view, Arguments a) {
  const double n = area(view, a[0].text);
  return n >= a[1].number && (a.size() < 3 || n <= a[2].number);
}
double image_size_exact(const View& view, Arguments a) {
  return std::any_of(view.images.begin(), view.images.end(), [&](const Image& i) {
    return of_type(i, a[0].text) && i.height == a[1].number && i.width == a[2].number &&
           i.height > 0 && i.width > 0;
  });
}
double image_size_range(const View& view, Arguments a) {
  return std::any_of(view.images.begin(), view.images.end(), [&](const Image& i) {
    return of_type(i, a[0].text) && i.height > 0 && i.width > 0 && i.height >= a[1].number &&
           i.width >= a[2].number && (a.size() < 4 || i.height <= a[3].number) &&
           (a.size() < 5 || i.width <= a[4].number);
  });
}
double image_named(const View& view, Arguments a) {
  return std::any_of(view.images.begin(), view.images.end(), [&](const Image& i) {
    return i.height > 0 && i.width > 0 && i.name == std::string_view(a[0].text);
  });
}
double image_to_text_ratio(const View& view, Arguments a) {
  const double pixels = area(view, a[0].text);
  if (pixels <= 0 || view.body.empty()) return 0;
  const double ratio = static_cast<double>(view.body.size()) / pixels;
  return ratio >= a[1].number && ratio < a[2].number;
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
