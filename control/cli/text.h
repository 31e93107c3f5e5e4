// Text for terminals: tables, durations, sizes, and escaping of what strangers wrote. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"

namespace sluice::control {

// What a terminal may print: valid UTF-8 without control characters (C0, DEL, C1), bidirectional
// overrides and line separators; those, and octets that are not UTF-8, become \xHH or \u{H}. A
// hostile subject can then neither move the cursor nor forge a line (wire case E14).
std::string for_terminal(std::string_view text);

// Columns that a terminal uses for UTF-8 text, counting wide East Asian characters twice.
std::size_t display_width(std::string_view text);
// At most `columns` wide; what is cut ends in "~".
std::string cut_to(std::string_view text, std::size_t columns);

// Filled up with spaces to `width` columns.
std::string padded(std::string_view text, std::size_t width, bool right);
// Lines of at most `columns`, broken at spaces where there are, else behind signs such as @ and
// dots; what does not fit in `most_lines` ends in "~". Never empty.
std::vector<std::string> wrapped(std::string_view text, std::size_t columns,
                                 std::size_t most_lines);

// A table whose columns are as wide as what is in them, at most `width` in all: the flexible
// columns share what is left and their text wraps. Cells are escaped here.
class Table {
 public:
  struct Column {
    std::string title;
    bool right = false;     // numbers
    bool flexible = false;  // may wrap
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  std::string text(std::size_t width) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "30s", "10m", "1h", "2d", "1h30m", or a number of seconds: 1 s to ten years.
Result<std::uint64_t> parse_duration(std::string_view text);
std::string duration_text(std::uint64_t seconds);  // "1h30m"; at most two units
// "20/h", "1/m", "5/s", "100/d" or a number an hour: messages an hour, 1 to 1,000,000.
Result<std::uint32_t> parse_rate(std::string_view text);
std::string octets_text(std::uint64_t octets);  // "1.2 MB"
std::string count_text(std::uint64_t n);        // "12,345"

// Width of the terminal of standard output; 80 when there is none.
std::size_t terminal_width();

}  // namespace sluice::control
