#include "dataplane/spam/address_list.h"

#include <array>
#include <cstring>

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

enum class Octet : std::uint8_t { other, blank, address, name };

// Of addresses and names that have no quirks; names may have all but `other`.
constexpr std::array<Octet, 256> kOctets = [] {
  std::array<Octet, 256> octets{};
  for (unsigned c = 0; c < 256; ++c) {
    const char octet = static_cast<char>(c);
    octets[c] = is_space(octet) ? Octet::blank : is_alnum(octet) ? Octet::address : Octet::other;
    if (c > 127) octets[c] = Octet::name;
  }
  for (const char c : std::string_view("!#$%&'*+-./=?^_`{|}~"))
    octets[static_cast<unsigned char>(c)] = Octet::address;
  return octets;
}();
Octet octet(char c) { return kOctets[static_cast<unsigned char>(c)]; }

// One address at the beginning of `rest` as nearly all are written: address, <address>,
// name <address>, "name" <address>, address (comment); with what ends it, which is taken off.
// False, and nothing is taken, when it is none of these.
bool read_plain(std::string_view& rest, std::pmr::memory_resource* memory, NamedAddress& out) {
  std::size_t at = 0;
  const auto skip_blanks = [&] {
    while (at < rest.size() && octet(rest[at]) == Octet::blank) ++at;
  };
  const auto mailbox = [&]() -> std::string_view {
    const std::size_t begin = at;
    const auto run = [&] {
      const std::size_t from = at;
      while (at < rest.size() && octet(rest[at]) == Octet::address) ++at;
      return at > from;
    };
    if (!run() || at >= rest.size() || rest[at] != '@') return {};
    ++at;
    return run() ? rest.substr(begin, at - begin) : std::string_view();
  };
  skip_blanks();
  if (at >= rest.size()) return false;
  NamedAddress found;
  const std::size_t begin = at;
  found.address = mailbox();
  const bool bare = !found.address.empty();
  if (bare) {
    skip_blanks();
    if (at < rest.size() && rest[at] == '(') {
      const std::size_t from = ++at;
      at = rest.find_first_of("()\\<\"", at);  // some of which mean more than a comment
      if (at == std::string_view::npos || rest[at] != ')') return false;
      found.name = rest.substr(from, at++ - from);
      found.has_name = true;
    }
  } else {
    at = begin;
    if (rest[at] == '"') {
      while (++at < rest.size() && rest[at] != '"' && rest[at] != '\\') {
      }
      if (at >= rest.size() || rest[at] != '"') return false;
      const std::size_t end = at++;
      skip_blanks();
      found.name = rest.substr(begin + 1, end - begin - 1);
      if (const std::size_t blanks = at - end - 1; blanks > 0) {  // they belong to the name
        char* name = static_cast<char*>(memory->allocate(found.name.size() + blanks, 1));
        std::memcpy(name, found.name.data(), found.name.size());
        std::memcpy(name + found.name.size(), rest.data() + end + 1, blanks);
        found.name = {name, found.name.size() + blanks};
      }
    } else {
      while (at < rest.size() && octet(rest[at]) != Octet::other) ++at;
      found.name = rest.substr(begin, at - begin);
    }
    if (at >= rest.size() || rest[at] != '<') return false;
    ++at;
    found.address = mailbox();
    if (found.address.empty() || at >= rest.size() || rest[at] != '>') return false;
    ++at;
    // Another '>' behind it would be part of it.
    if (at < rest.size() && octet(rest[at]) != Octet::blank &&
        !(rest[at] == ',' && (at + 1 == rest.size() || octet(rest[at + 1]) == Octet::blank)))
      return false;
    found.has_name = !found.name.empty() && found.name != found.address;
    if (!found.has_name) found.name = {};
  }
  skip_blanks();
  if (at < rest.size() && rest[at] != ',') return false;
  at = std::min(at + 1, rest.size());
  const std::size_t end = at;
  skip_blanks();
  if (at < rest.size() && rest[at] == '>') return false;  // the address would end there
  found.has_address = true;
  rest.remove_prefix(end);
  out = found;
  return true;
}

}  // namespace

void prepare_addresses() { tables(); }

void read_addresses(std::string_view raw, scan::RegexScratch& scratch,
                    std::pmr::vector<NamedAddress>& out) {
  const Tables& t = tables();
  const auto memory = out.get_allocator();
  const auto kept = [&](std::string_view s) -> std::string_view {
    char* copy = static_cast<char*>(memory.resource()->allocate(s.size(), 1));
    std::memcpy(copy, s.data(), s.size());
    return {copy, s.size()};
  };
  while (!raw.empty() && is_space(raw.back())) raw.remove_suffix(1);
  std::string_view rest = raw;
  if (has(raw, "\\\\")) {
    String text(memory);
    for (std::size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] == '\\' && i + 1 < raw.size() && raw[i + 1] == '\\') {
        ++i;
        continue;
      }
      text += raw[i];
    }
    rest = kept(text);
  }
  scan::Regex::Match m;
  if (rest.find(':') != std::string_view::npos && t.group.find(rest, scratch, &m)) {
    // The head of a group goes; its lazy tail matches nothing.
    String text(m.group(rest, 1), memory);
    text += rest.substr(m.end[0]);
    rest = kept(text);
  }
  String name(memory);
  String address(memory);
  while (out.size() < kMaxAddresses && !trim(rest).empty()) {
    NamedAddress added;
    if (read_plain(rest, memory.resource(), added)) {
      out.push_back(added);
      continue;
    }
    if (!t.one.find(rest, scratch, &m)) break;
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
    if (has_address) added.address = kept(first_mailbox(address));
    if (has_name) added.name = kept(name);
    added.has_address = has_address;
    added.has_name = has_name;
    out.push_back(added);
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
