#include "control/policy/rule_text.h"

#include <array>
#include <cctype>

namespace sluice::control {
namespace {

constexpr std::string_view kBlanks = " \t\r\f\v";

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

// The next blank-separated word of `rest`; a list in brackets is one word.
std::string_view next_word(std::string_view& rest) {
  rest = trim(rest);
  int brackets = 0;
  std::size_t i = 0;
  for (; i < rest.size(); ++i) {
    const char c = rest[i];
    if (c == '[') ++brackets;
    if (c == ']') --brackets;
    if (brackets <= 0 && kBlanks.find(c) != std::string_view::npos) break;
  }
  const std::string_view word = rest.substr(0, i);
  rest.remove_prefix(i);
  return word;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The position of the `;` that ends an option, or npos. Quotes protect; so does a backslash.
std::size_t option_end(std::string_view text, bool& open_quote) {
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (text[i] == ';' && !quoted) {
      return i;
    }
  }
  open_quote = quoted;
  return std::string_view::npos;
}

Result<std::string_view> inner(std::string_view value) {
  if (value.size() < 2 || value.front() != '"' || value.back() != '"') {
    return Error{"the value must stand in double quotes"};
  }
  return value.substr(1, value.size() - 2);
}

}  // namespace

std::vector<RuleLine> rule_lines(std::string_view file) {
  std::vector<RuleLine> lines;
  if (file.substr(0, 3) == "\xef\xbb\xbf") file.remove_prefix(3);
  std::uint32_t number = 0;
  bool joining = false;
  while (!file.empty()) {
    const std::size_t end = file.find('\n');
    std::string_view line = file.substr(0, end);
    file.remove_prefix(end == std::string_view::npos ? file.size() : end + 1);
    ++number;
    line = trim(line);
    const bool continues = !line.empty() && line.back() == '\\';
    if (continues) line.remove_suffix(1);
    if (joining) {
      lines.back().text += line;
    } else if (!line.empty() && line.front() != '#') {
      lines.push_back({number, std::string(line)});
    } else {
      // A comment's continuation is not a comment: the next line stands for itself.
      continue;
    }
    joining = continues;
  }
  return lines;
}

Result<RuleText> parse_rule_text(std::string_view line) {
  if (line.size() > kMaxRuleLine) {
    return Error{"the rule has " + std::to_string(line.size()) + " octets: at most " +
                 std::to_string(kMaxRuleLine) + " are read; split it into several rules"};
  }
  if (line.find('\0') != std::string_view::npos) {
    return Error{"the line holds a NUL octet: write it as |00| inside a content"};
  }
  const std::size_t open = line.find('(');
  if (open == std::string_view::npos) {
    return Error{"there are no options: a rule ends with its options in round brackets"};
  }
  std::string_view header = line.substr(0, open);
  RuleText rule;
  const std::array<std::string*, 7> words{&rule.action,          &rule.protocol,  &rule.source,
                                          &rule.source_port,     &rule.direction, &rule.destination,
                                          &rule.destination_port};
  std::size_t count = 0;
  for (std::string_view word = next_word(header); !word.empty(); word = next_word(header)) {
    if (count < words.size()) *words[count] = word;
    ++count;
  }
  if (count != words.size()) {
    return Error{"the header has " + std::to_string(count) +
                 " words before the bracket: write `ACTION PROTOCOL ADDRESS PORT -> ADDRESS "
                 "PORT`, for example `alert smtp any any -> any any`"};
  }

  const std::string_view tail = trim(line.substr(open + 1));
  std::string_view rest = tail;
  for (;;) {
    rest = trim(rest);
    if (rest.empty()) return Error{"the closing bracket of the options is missing"};
    if (rest.front() == ')') {
      if (!trim(rest.substr(1)).empty()) {
        return Error{"there is text behind the closing bracket: " +
                     std::string(trim(rest.substr(1)).substr(0, 40))};
      }
      return rule;
    }
    bool open_quote = false;
    const std::size_t end = option_end(rest, open_quote);
    if (end == std::string_view::npos) {
      if (open_quote) {
        return Error{"a double quote is not closed, in: " + std::string(rest.substr(0, 40))};
      }
      return Error{"a `;` is missing behind: " + std::string(rest.substr(0, 40))};
    }
    const std::string_view option = trim(rest.substr(0, end));
    rest.remove_prefix(end + 1);
    if (option.empty()) continue;
    const std::size_t colon = option.find(':');
    RuleOption parsed;
    parsed.name = trim(option.substr(0, colon));
    if (colon != std::string_view::npos) {
      parsed.has_value = true;
      parsed.value = trim(option.substr(colon + 1));
    }
    rule.options.push_back(std::move(parsed));
  }
}

std::string guess_sid(std::string_view line) {
  const std::size_t at = line.find("sid:");
  if (at == std::string_view::npos) return {};
  std::string digits;
  for (const char c : trim(line.substr(at + 4))) {
    if (std::isdigit(static_cast<unsigned char>(c)) == 0) break;
    digits += c;
  }
  return digits;
}

Result<std::string> unquote(std::string_view value) {
  auto text = inner(value);
  if (!text) return Error{text.error()};
  std::string out;
  for (std::size_t i = 0; i < text->size(); ++i) {
    char c = (*text)[i];
    if (c == '\\' && i + 1 < text->size()) {
      const char escaped = (*text)[i + 1];
      if (escaped == '"' || escaped == '\\' || escaped == ';' || escaped == ':') {
        c = escaped;
        ++i;
      }
    }
    out += c;
  }
  return out;
}

Result<std::string> unquote_content(std::string_view value) {
  auto text = inner(value);
  if (!text) return Error{text.error()};
  std::string out;
  bool hex = false;
  int high = -1;
  for (std::size_t i = 0; i < text->size(); ++i) {
    const char c = (*text)[i];
    if (c == '|') {
      if (hex && high >= 0) {
        return Error{
            "a hexadecimal octet between the bars has one digit: write two, as in |0d 0a|"};
      }
      hex = !hex;
      continue;
    }
    if (hex) {
      if (c == ' ' || c == '\t') continue;
      const int digit = hex_value(c);
      if (digit < 0) {
        return Error{std::string("`") + c +
                     "` between the bars is not a hexadecimal digit: write two digits for each "
                     "octet, as in |0d 0a|, and |7c| for a bar itself"};
      }
      if (high < 0) {
        high = digit;
      } else {
        out += static_cast<char>(high * 16 + digit);
        high = -1;
      }
      continue;
    }
    if (c == '"') return Error{"a double quote inside a content is written \\\" or |22|"};
    if (c == '\\') {
      const char next = i + 1 < text->size() ? (*text)[i + 1] : '\0';
      if (next != '"' && next != '\\' && next != ';' && next != ':') {
        return Error{
            "a backslash inside a content stands only before \" ; : or \\: write |5c| for "
            "a backslash"};
      }
      out += next;
      ++i;
      continue;
    }
    out += c;
  }
  if (hex) return Error{"the second bar of a hexadecimal part is missing: write |0d 0a|"};
  return out;
}

}  // namespace sluice::control
