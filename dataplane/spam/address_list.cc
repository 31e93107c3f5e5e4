#include "dataplane/spam/address_list.h"

#include "dataplane/spam/relays.h"

namespace sluice::spam {
namespace {

struct Tables {
  static constexpr std::uint32_t kFlags = scan::kRegexCaseless | scan::kRegexDotAll;
  scan::Regex group = constant_regex(R"(^[^"()<>]+:\s*(.*?)\s*(?:;.*)?)", scan::kRegexDotAll);
  scan::Regex one = constant_regex(
      R"re(^\s*(?:(?:((?:"(?:|(?:[^"\\]++|\\.)*+)"|[^",;<]++)+)\s*)?<\s*([^>\@]*\S+|\s*)\s*>)re"
      R"re((?:\s*<\s*(?:(?:"(?:|(?:[^"\\]++|\\.)*+)")?\S+|\s*)\s*>)*|)re"
      R"re((?:(%M)|((?:"(?:|(?:[^"\\]++|\\.)*+)"|[^",;<]++)+))))re"
      R"re((?:\s*\(((?:|(?:[^()\\]++|\\.)*+))\))?\s*(?:[,;]|\z))re",
      kFlags);
  scan::Regex mailbox = constant_regex("^%M$", scan::kRegexCaseless);
  scan::Regex angle = constant_regex("<(%M)>", kFlags);
  scan::Regex piece = constant_regex(R"re((?:"(|(?:[^"\\]++|\\.)*+)"|([^"]++)))re", kFlags);
  scan::Regex comment = constant_regex(R"(\((?:|(?:[^()\\]++|\\.)*+)\))", scan::kRegexDotAll);
};

const Tables& tables() {
  static const Tables tables;
  return tables;
}

void remove_comments(String& s, scan::RegexScratch& scratch) {
  scan::Regex::Match m;
  std::size_t from = 0;
  while (from <= s.size() && s.find('(', from) != String::npos &&
         tables().comment.find(s, scratch, &m, from)) {
    s.erase(m.begin[0], m.end[0] - m.begin[0]);
    from = m.begin[0];
  }
}

bool plausible(std::string_view address) {
  return !address.starts_with("\"\"@") && std::count(address.begin(), address.end(), '"') != 1;
}

// Up to a second '@'.
std::string_view first_mailbox(std::string_view address) {
  const std::size_t at = address.find('@');
  if (at == std::string_view::npos) return address;
  return address.substr(0, address.find('@', at + 1));
}

}  // namespace

void prepare_addresses() { tables(); }

void read_addresses(std::string_view raw, scan::RegexScratch& scratch,
                    std::pmr::vector<NamedAddress>& out) {
  const Tables& t = tables();
  const auto memory = out.get_allocator();
  while (!raw.empty() && is_space(raw.back())) raw.remove_suffix(1);
  String text(memory);
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] == '\\' && i + 1 < raw.size() && raw[i + 1] == '\\') {
      ++i;
      continue;
    }
    text += raw[i];
  }
  scan::Regex::Match m;
  if (text.find(':') != String::npos && t.group.find(text, scratch, &m)) {
    // The head of a group goes; its lazy tail matches nothing.
    const String kept(m.group(text, 1), memory);
    text.replace(0, m.end[0], kept);
  }
  std::string_view rest = text;
  String name(memory);
  String address(memory);
  while (out.size() < kMaxAddresses && !trim(rest).empty() && t.one.find(rest, scratch, &m)) {
    NamedAddress& added = out.emplace_back();
    const bool angle = m.has(2);
    bool has_name = m.has(1) || m.has(4);
    name = m.has(1) ? m.group(rest, 1) : m.group(rest, 4);
    bool has_address = m.has(2) || m.has(3);
    address = m.has(2) ? m.group(rest, 2) : m.group(rest, 3);
    const bool has_comment = m.has(5);
    const std::string_view comment = m.group(rest, 5);
    const std::size_t end = m.end[0];
    if (angle) {
      remove_comments(address, scratch);
      if (!t.mailbox.find(address, scratch)) has_address = false;
    }
    if (has_address && !plausible(address)) has_address = false;
    if (has_name) {
      String joined(memory);
      scan::Regex::Match p;
      std::size_t from = 0;
      while (from < name.size() && t.piece.find(name, scratch, &p, from)) {
        if (p.has(1)) {
          const std::string_view quoted = p.group(name, 1);
          for (std::size_t i = 0; i < quoted.size(); ++i) {
            if (quoted[i] == '\\' && i + 1 < quoted.size()) ++i;
            joined += quoted[i];
          }
        } else {
          String plain(p.group(name, 2), memory);
          remove_comments(plain, scratch);
          joined += plain;
        }
        from = std::max(p.end[0], from + 1);
      }
      name = joined;
      if (!has_address && t.mailbox.find(name, scratch) && plausible(name) &&
          name.find('.', name.find('@')) != String::npos) {
        has_address = true;
        has_name = false;
        address = name;
      } else if ((has_address && name == address) || name.empty()) {
        has_name = false;
      }
    }
    if (!has_name && has_comment) {
      has_name = true;
      name = comment;
    }
    if (has_address) added.address = first_mailbox(address);
    if (has_name) added.name = name;
    added.has_address = has_address;
    added.has_name = has_name;
    rest.remove_prefix(end);
    if (end == 0) break;
  }
  // Something that did not parse, with an address in angle brackets.
  std::size_t from = 0;
  if (rest.find('@') == std::string_view::npos) return;
  while (out.size() < kMaxAddresses && from < rest.size() &&
         t.angle.find(rest, scratch, &m, from)) {
    const std::string_view found = m.group(rest, 1);
    from = m.end[0];
    if (!plausible(found)) continue;
    NamedAddress& added = out.emplace_back();
    added.address = first_mailbox(found);
    added.has_address = true;
  }
}

}  // namespace sluice::spam
