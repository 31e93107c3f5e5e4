#include "dataplane/scan/spam_lists.h"

#include <algorithm>
#include <cctype>

namespace sluice::scan {

bool glob_matches(std::string_view pattern, std::string_view text, bool labels) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || (pattern[p] == text[t] && pattern[p] != '*'))) {
      ++p;
      ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (star != std::string_view::npos && !(labels && text[star_text] == '.')) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

void SpamNameList::add(std::string_view word) {
  if (word.starts_with('!')) return;
  std::string name(word);
  std::ranges::transform(name, name.begin(), [](unsigned char c) {
    return static_cast<char>(c < 128 ? std::tolower(c) : c);
  });
  const auto plain = [](std::string_view s) {
    return s.find_first_of("*?@") == std::string_view::npos;
  };
  if (name.starts_with("*@*.") && plain(std::string_view(name).substr(4))) {
    subdomains_.insert(name.substr(4));
  } else if (name.starts_with("*@") && plain(std::string_view(name).substr(2))) {
    domains_.insert(name.substr(2));
  } else if (name.find_first_of("*?") == std::string::npos) {
    exact_.insert(std::move(name));
  } else {
    globs_.push_back(std::move(name));
  }
}

bool SpamNameList::has_domain_above(const Names& set, std::string_view host) {
  if (set.empty()) return false;
  for (std::size_t dot = host.find('.'); dot != std::string_view::npos; dot = host.find('.')) {
    host.remove_prefix(dot + 1);
    if (set.contains(host)) return true;
  }
  return false;
}

bool SpamNameList::has_address(std::string_view address) const {
  if (exact_.contains(address)) return true;
  if (const std::size_t at = address.rfind('@'); at != std::string_view::npos) {
    const std::string_view domain = address.substr(at + 1);
    if (domains_.contains(domain) || has_domain_above(subdomains_, domain)) return true;
  }
  return std::ranges::any_of(
      globs_, [&](const std::string& glob) { return glob_matches(glob, address, false); });
}

bool SpamNameList::has_host(std::string_view host) const {
  return exact_.contains(host) || has_domain_above(exact_, host);
}

}  // namespace sluice::scan
