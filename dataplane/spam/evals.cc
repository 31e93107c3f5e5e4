#include "dataplane/spam/evals.h"

#include <charconv>
#include <cstdlib>
#include <vector>

#include "dataplane/scan/spam_evals.h"

namespace sluice::spam {
namespace {

std::vector<EvalFunction> table() {
  std::vector<EvalFunction> functions(scan::kSpamEvalCount, nullptr);
  for (const auto evals :
       {header_evals(), received_evals(), mime_evals(), html_evals(), list_evals()}) {
    for (const NamedEval& eval : evals) {
      const std::uint32_t index = scan::find_spam_eval(eval.name);
      if (index < functions.size()) functions[index] = eval.function;
    }
  }
  return functions;
}

const std::vector<EvalFunction>& functions() {
  static const std::vector<EvalFunction> functions = table();
  return functions;
}

// Days from 1970-01-01 to a date of the Gregorian calendar.
std::int64_t days(int year, int month, int day) {
  year -= month <= 2;
  const int era = year / 400;
  const int of_era = year - era * 400;
  const int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  const int day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
  return static_cast<std::int64_t>(era) * 146097 + day_of_era - 719468;
}

constexpr std::string_view kMonths[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                        "jul", "aug", "sep", "oct", "nov", "dec"};

struct Zone {
  std::string_view name;
  int offset;  // hhmm
};
constexpr Zone kZones[] = {
    {"GMT", 0},     {"UTC", 0},     {"UT", 0},      {"EST", -500},  {"EDT", -400},  {"CST", -600},
    {"CDT", -500},  {"MST", -700},  {"MDT", -600},  {"PST", -800},  {"PDT", -700},  {"HST", -1000},
    {"AKST", -900}, {"AKDT", -800}, {"HADT", -900}, {"WET", 0},     {"WEST", 100},  {"CET", 100},
    {"CEST", 200},  {"EET", 200},   {"EEST", 300},  {"MSK", 300},   {"MSD", 400},   {"JST", 900},
    {"KST", 900},   {"BST", 100},   {"IST", 200},   {"AST", -400},  {"ADT", -300},  {"NST", -330},
    {"NDT", -230},  {"MET", 100},   {"MEST", 200},  {"NZST", 1200}, {"NZDT", 1300}, {"CCT", 800},
    {"HKT", 800},   {"SGT", 800}};

}  // namespace

namespace {

struct Date {
  int year = -1;
  int month = 0;
  int day = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  int zone = 0;  // hhmm
};

int month_of(std::string_view word) {
  if (word.size() != 3) return 0;
  for (int m = 0; m < 12; ++m) {
    if (equals_lower(word, kMonths[m])) return m + 1;
  }
  return 0;
}

// As nearly all are written: [Mon, ]2 Sep 2002 12:34:56 +0100, a blank each, and anything behind.
bool read_usual_date(std::string_view text, Date& date) {
  const auto take = [&](char c) {
    if (!text.starts_with(c)) return false;
    text.remove_prefix(1);
    return true;
  };
  const auto number = [&](std::size_t least, std::size_t most, int& value) {
    std::size_t digits = 0;
    value = 0;
    for (; digits < most && digits < text.size() && is_digit(text[digits]); ++digits)
      value = value * 10 + (text[digits] - '0');
    text.remove_prefix(digits);
    return digits >= least;
  };
  take(' ');
  if (text.size() > 5 && is_alpha(text[0])) {
    if (!is_alpha(text[1]) || !is_alpha(text[2]) || text[3] != ',') return false;
    text.remove_prefix(4);
    if (!take(' ')) return false;
  }
  if (!number(1, 2, date.day) || !take(' ')) return false;
  date.month = month_of(text.substr(0, 3));
  if (date.month == 0) return false;
  text.remove_prefix(3);
  if (!take(' ') || !number(4, 4, date.year) || !take(' ') || !number(1, 2, date.hour) ||
      !take(':') || !number(2, 2, date.minute) || !take(':') || !number(2, 2, date.second) ||
      !take(' '))
    return false;
  const bool west = text.starts_with('-');
  if (!west && !text.starts_with('+')) return false;
  text.remove_prefix(1);
  if (!number(4, 4, date.zone) || (!text.empty() && !is_space(text.front()) && text.front() != ','))
    return false;
  if (west) date.zone = -date.zone;
  return true;
}

std::int64_t seconds_of(Date date) {
  date.hour = std::min(date.hour, 23);
  date.minute = std::min(date.minute, 59);
  date.second = std::min(date.second, 59);
  static constexpr int kDays[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (date.day > kDays[date.month - 1]) {
    date.day = 1;
    if (++date.month > 12) {
      date.month = 1;
      ++date.year;
    }
  }
  date.year = std::clamp(date.year, 1970, 2037);
  const std::int64_t seconds = days(date.year, date.month, date.day) * 86400 + date.hour * 3600 +
                               date.minute * 60 + date.second;
  return std::max<std::int64_t>(seconds - (date.zone / 100 * 60 + date.zone % 100) * 60, 0);
}

bool read_any_date(std::string_view text, Date& date) {
  // Words; commas are blanks.
  constexpr std::size_t kMostOctets = 512;
  text = text.substr(0, kMostOctets);
  struct Word {
    std::uint16_t begin;
    std::uint16_t size;
  };
  Word found[kMostOctets / 2];  // NOLINT(modernize-avoid-c-arrays): nothing is set before
  std::size_t count = 0;
  const auto blank = [](char c) { return is_space(c) || c == ','; };
  for (std::size_t i = 0; i < text.size();) {
    while (i < text.size() && blank(text[i])) ++i;
    const std::size_t begin = i;
    while (i < text.size() && !blank(text[i])) ++i;
    if (i > begin)
      found[count++] = {static_cast<std::uint16_t>(begin), static_cast<std::uint16_t>(i - begin)};
  }
  const auto word_at = [&](std::size_t i) { return text.substr(found[i].begin, found[i].size); };
  const auto number = [](std::string_view word, std::size_t least, std::size_t most, int& value) {
    if (word.size() < least || word.size() > most ||
        !std::all_of(word.begin(), word.end(), is_digit))
      return false;
    std::from_chars(word.data(), word.data() + word.size(), value);
    return true;
  };
  auto& [year, month, day, hour, minute, second, zone] = date;
  std::size_t year_digits = 0;
  for (const std::size_t least : {4u, 2u}) {  // four digits of year first
    for (std::size_t i = 0; i + 2 < count && year < 0; ++i) {
      const int m = is_digit(word_at(i).front()) ? month_of(word_at(i + 1)) : 0;
      int d = 0;
      int y = 0;
      if (m != 0 && number(word_at(i), 1, 9, d) &&
          number(word_at(i + 2), least, least == 4 ? 4 : 3, y)) {
        day = d;
        month = m;
        year = y;
        year_digits = word_at(i + 2).size();
      }
    }
    if (least == 4) {  // Mon dd hh:mm:ss yyyy
      for (std::size_t i = 0; i + 3 < count && year < 0; ++i) {
        const int m = month_of(word_at(i));
        int d = 0;
        int y = 0;
        if (m != 0 && number(word_at(i + 1), 1, 9, d) && has(word_at(i + 2), ":") &&
            number(word_at(i + 3), 4, 4, y)) {
          day = d;
          month = m;
          year = y;
          year_digits = 4;
        }
      }
    }
  }
  if (year < 0) return false;
  if (year_digits == 2 && year < 50) {
    year += 2000;
  } else if (year_digits != 4) {
    year += 1900;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::string_view word = word_at(i);
    const std::size_t colon = word.find(':');
    if (colon == std::string_view::npos || colon == 0 || colon > 2) continue;
    const std::size_t second_colon = word.find(':', colon + 1);
    int h = 0;
    int m = 0;
    int s = 0;
    const std::string_view minutes =
        word.substr(colon + 1, second_colon == std::string_view::npos ? second_colon
                                                                      : second_colon - colon - 1);
    if (!number(word.substr(0, colon), 1, 2, h) || !number(minutes, 2, 2, m)) continue;
    if (second_colon != std::string_view::npos && !number(word.substr(second_colon + 1), 2, 2, s))
      continue;
    hour = h;
    minute = m;
    second = s;
    break;
  }
  bool numeric = false;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string_view word = word_at(i);
    int value = 0;
    if (word.size() == 5 && (word[0] == '+' || word[0] == '-') &&
        number(word.substr(1), 4, 4, value)) {
      zone = word[0] == '-' ? -value : value;
      numeric = true;
      break;
    }
  }
  for (std::size_t i = 0; i < count && !numeric; ++i) {
    std::string_view word = word_at(i);
    while (!word.empty() && !is_alpha(word.front())) word.remove_prefix(1);
    while (!word.empty() && !is_alpha(word.back())) word.remove_suffix(1);
    for (const Zone& known : kZones) {
      if (word == known.name) {
        zone = known.offset;
        numeric = true;
        break;
      }
    }
  }
  return true;
}

}  // namespace

bool read_date(std::string_view text, std::int64_t& seconds) {
  Date date;
  if (!read_usual_date(text, date)) {
    date = {};
    if (!read_any_date(text, date)) return false;
  }
  seconds = seconds_of(date);
  return true;
}

double run_eval(const View& view, const scan::SpamCall& call) {
  const EvalFunction function = functions()[call.eval];
  return function == nullptr ? 0 : function(view, call.arguments);
}

void prepare_evals() {
  functions();
  prepare_header_evals();
  prepare_received_evals();
  prepare_list_evals();
}

}  // namespace sluice::spam
