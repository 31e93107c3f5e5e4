#include "control/cli/text.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace sluice::control {
namespace {

struct Decoded {
  std::uint32_t point = 0;
  std::size_t size = 0;  // 0: not UTF-8
};

// One character of RFC 3629 UTF-8 at the beginning of `s`.
Decoded decode(std::string_view s) {
  const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(s[i]); };
  const std::uint8_t first = at(0);
  if (first < 0x80) return {first, 1};
  std::size_t size = 0;
  std::uint32_t point = 0;
  std::uint32_t least = 0;
  if (first >= 0xc2 && first <= 0xdf) {
    size = 2;
    point = first & 0x1fu;
    least = 0x80;
  } else if ((first & 0xf0) == 0xe0) {
    size = 3;
    point = first & 0x0fu;
    least = 0x800;
  } else if (first >= 0xf0 && first <= 0xf4) {
    size = 4;
    point = first & 0x07u;
    least = 0x10000;
  } else {
    return {};
  }
  if (s.size() < size) return {};
  for (std::size_t i = 1; i < size; ++i) {
    if ((at(i) & 0xc0) != 0x80) return {};
    point = (point << 6) | (at(i) & 0x3fu);
  }
  if (point < least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return {};
  return {point, size};
}

bool dangerous(std::uint32_t p) {
  return p < 0x20 || p == 0x7f || (p >= 0x80 && p <= 0x9f) ||  // C0, DEL, C1
         p == 0x061c || p == 0x200e || p == 0x200f ||          // marks of direction
         (p >= 0x2028 && p <= 0x202e) || (p >= 0x2066 && p <= 0x2069) || p == 0xfeff;
}

std::size_t width_of(std::uint32_t p) {
  const bool combining = (p >= 0x300 && p <= 0x36f) || (p >= 0x200b && p <= 0x200d) ||
                         (p >= 0xfe00 && p <= 0xfe0f) || (p >= 0x20d0 && p <= 0x20ff);
  if (combining) return 0;
  const bool wide = (p >= 0x1100 && p <= 0x115f) || (p >= 0x2e80 && p <= 0xa4cf) ||
                    (p >= 0xac00 && p <= 0xd7a3) || (p >= 0xf900 && p <= 0xfaff) ||
                    (p >= 0xfe30 && p <= 0xfe6f) || (p >= 0xff00 && p <= 0xff60) ||
                    (p >= 0x1f300 && p <= 0x1faff) || (p >= 0x20000 && p <= 0x3fffd);
  return wide ? 2 : 1;
}

}  // namespace

std::string for_terminal(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  char escape[16];
  while (!text.empty()) {
    const Decoded d = decode(text);
    if (d.size == 0 || (d.size == 1 && dangerous(d.point))) {
      std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<std::uint8_t>(text.front()));
      out += escape;
    } else if (dangerous(d.point)) {
      std::snprintf(escape, sizeof escape, "\\u{%x}", d.point);
      out += escape;
    } else {
      out += text.substr(0, d.size);
    }
    text.remove_prefix(std::max<std::size_t>(d.size, 1));
  }
  return out;
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const Decoded d = decode(text);
    width += d.size == 0 ? 1 : width_of(d.point);
    text.remove_prefix(std::max<std::size_t>(d.size, 1));
  }
  return width;
}

std::string padded(std::string_view text, std::size_t width, bool right) {
  const std::size_t has = display_width(text);
  const std::string space(width > has ? width - has : 0, ' ');
  return right ? space + std::string(text) : std::string(text) + space;
}

std::string cut_to(std::string_view text, std::size_t columns) {
  if (display_width(text) <= columns) return std::string(text);
  std::string out;
  std::size_t width = 0;
  while (!text.empty()) {
    const Decoded d = decode(text);
    const std::size_t w = d.size == 0 ? 1 : width_of(d.point);
    if (width + w + 1 > columns) break;
    width += w;
    const std::size_t size = std::max<std::size_t>(d.size, 1);
    out += text.substr(0, size);
    text.remove_prefix(size);
  }
  return columns == 0 ? std::string{} : out + "~";
}

std::vector<std::string> wrapped(std::string_view text, std::size_t columns,
                                 std::size_t most_lines) {
  std::vector<std::string> lines;
  columns = std::max<std::size_t>(columns, 2);
  while (display_width(text) > columns && lines.size() + 1 < most_lines) {
    // The longest beginning that fits, and the best place in it to break: behind a space, or else
    // behind a sign at which addresses and names can be read on.
    std::size_t fits = 0;
    std::size_t space = 0;
    std::size_t sign = 0;
    for (std::size_t width = 0; fits < text.size();) {
      const Decoded d = decode(text.substr(fits));
      const std::size_t w = d.size == 0 ? 1 : width_of(d.point);
      if (width + w > columns) break;
      width += w;
      const char c = text[fits];
      fits += std::max<std::size_t>(d.size, 1);
      if (c == ' ') {
        space = fits;
      } else if (std::string_view("@,;/:-_.=>").find(c) != std::string_view::npos) {
        sign = fits;
      }
    }
    if (fits < text.size() && text[fits] == ' ') space = fits;
    const std::size_t half = fits / 2;
    const std::size_t cut = space > 0 ? space : sign > half ? sign : std::max<std::size_t>(fits, 1);
    std::string line(text.substr(0, cut));
    line.erase(line.find_last_not_of(' ') + 1);
    lines.push_back(std::move(line));
    text.remove_prefix(cut);
    while (text.starts_with(' ')) text.remove_prefix(1);
  }
  lines.push_back(cut_to(text, columns));
  return lines;
}

void Table::add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (std::string& c : cells) c = for_terminal(c);
  rows_.push_back(std::move(cells));
}

std::string Table::text(std::size_t width) const {
  constexpr std::size_t kGap = 2;
  constexpr std::size_t kLeast = 6;      // of a flexible column
  constexpr std::size_t kMostLines = 8;  // of one cell
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t w = display_width(columns_[i].title);
    for (const auto& row : rows_) w = std::max(w, display_width(row[i]));
    widths.push_back(w);
  }
  std::size_t total = kGap * (columns_.size() - 1);
  for (const std::size_t w : widths) total += w;
  // The widest flexible column gives way first.
  while (total > width) {
    std::size_t widest = columns_.size();
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (!columns_[i].flexible || widths[i] <= kLeast) continue;
      if (widest == columns_.size() || widths[i] > widths[widest]) widest = i;
    }
    if (widest == columns_.size()) break;
    --widths[widest];
    --total;
  }
  std::string out;
  const auto row_text = [&](const std::vector<std::string>& cells) {
    std::vector<std::vector<std::string>> parts;
    std::size_t lines = 1;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      parts.push_back(columns_[i].flexible ? wrapped(cells[i], widths[i], kMostLines)
                                           : std::vector{cut_to(cells[i], widths[i])});
      lines = std::max(lines, parts.back().size());
    }
    for (std::size_t n = 0; n < lines; ++n) {
      std::string text;
      for (std::size_t i = 0; i < columns_.size(); ++i) {
        if (i > 0) text += "  ";
        text +=
            padded(n < parts[i].size() ? parts[i][n] : std::string{}, widths[i], columns_[i].right);
      }
      text.erase(text.find_last_not_of(' ') + 1);
      out += text + "\n";
    }
  };
  std::vector<std::string> titles;
  for (const Column& c : columns_) titles.push_back(c.title);
  row_text(titles);
  for (const auto& row : rows_) row_text(row);
  return out;
}

Result<std::uint64_t> parse_duration(std::string_view text) {
  constexpr std::uint64_t kMost = 10ull * 366 * 86'400;
  const Error bad{"'" + for_terminal(text.substr(0, 40)) +
                  "' is no duration; write 30s, 10m, 1h, 2d or 1h30m"};
  if (text.empty()) return bad;
  std::uint64_t total = 0;
  std::uint64_t last_unit = UINT64_MAX;
  while (!text.empty()) {
    std::uint64_t value = 0;
    std::size_t digits = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
      value = value * 10 + static_cast<std::uint64_t>(text[digits] - '0');
      if (++digits > 10) return bad;
    }
    if (digits == 0) return bad;
    text.remove_prefix(digits);
    std::uint64_t unit = 1;
    if (text.empty()) {
      if (last_unit != UINT64_MAX) return bad;  // "1h30"
    } else {
      switch (text.front()) {
        case 's':
          unit = 1;
          break;
        case 'm':
          unit = 60;
          break;
        case 'h':
          unit = 3600;
          break;
        case 'd':
          unit = 86'400;
          break;
        case 'w':
          unit = 604'800;
          break;
        default:
          return bad;
      }
      text.remove_prefix(1);
    }
    if (unit >= last_unit) return bad;  // "30m1h"
    last_unit = unit;
    total += value * unit;
    if (total > kMost) return Error{"a duration is at most ten years"};
  }
  if (total == 0) return Error{"a duration is at least one second"};
  return total;
}

std::string duration_text(std::uint64_t seconds) {
  constexpr std::pair<std::uint64_t, char> kUnits[] = {
      {86'400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
  std::string out;
  int used = 0;
  for (const auto& [unit, letter] : kUnits) {
    if (seconds >= unit && used < 2) {
      out += std::to_string(seconds / unit) + letter;
      seconds %= unit;
      ++used;
    } else if (used == 1) {
      break;
    }
  }
  return out.empty() ? "0s" : out;
}

Result<std::uint32_t> parse_rate(std::string_view text) {
  const Error bad{"'" + for_terminal(text.substr(0, 40)) +
                  "' is no rate; write 20/h, 1/m or a number of messages an hour"};
  const std::size_t slash = text.find('/');
  const std::string_view digits = text.substr(0, slash);
  if (digits.empty() || digits.size() > 9 ||
      digits.find_first_not_of("0123456789") != std::string_view::npos) {
    return bad;
  }
  std::uint64_t value = std::strtoull(std::string(digits).c_str(), nullptr, 10);
  if (slash != std::string_view::npos) {
    const std::string_view unit = text.substr(slash + 1);
    if (unit == "h" || unit == "hour") {
    } else if (unit == "m" || unit == "min") {
      value *= 60;
    } else if (unit == "s" || unit == "sec") {
      value *= 3600;
    } else if (unit == "d" || unit == "day") {
      value = (value + 23) / 24;
    } else {
      return bad;
    }
  }
  if (value < 1 || value > 1'000'000) return Error{"a rate is from 1 to 1000000 messages an hour"};
  return static_cast<std::uint32_t>(value);
}

std::string octets_text(std::uint64_t octets) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  auto value = static_cast<double>(octets);
  std::size_t unit = 0;
  while (value >= 1000 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value,
                kUnits[unit]);
  return buffer;
}

std::string count_text(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::size_t terminal_width() {
  winsize size{};
  if (::isatty(STDOUT_FILENO) != 0 && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 &&
      size.ws_col >= 40) {
    return size.ws_col;
  }
  return 80;
}

}  // namespace sluice::control
