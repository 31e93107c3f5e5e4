#include "dataplane/lists/key.h"

#include <algorithm>

namespace sluice::lists {

void normal_url(std::string_view url, std::string_view host, std::pmr::string& out) {
  out.clear();
  if (host.empty()) return;
  // Readers take a backslash for a slash (URL Standard), and "www.x" for "http://www.x".
  const auto is_slash = [](char c) { return c == '/' || c == '\\'; };
  std::size_t authority = 0;
  const std::size_t colon = url.find(':');
  if (colon != std::string_view::npos && colon + 2 < url.size() && is_slash(url[colon + 1]) &&
      is_slash(url[colon + 2])) {
    authority = colon + 3;
    while (authority < url.size() && is_slash(url[authority])) ++authority;
  } else if (url.size() > 2 && is_slash(url[0]) && is_slash(url[1])) {
    authority = 2;
  }
  const std::size_t end = std::min(url.find_first_of("/\\?#", authority), url.size());
  std::string_view port = url.substr(authority, end - authority);
  port = port.substr(std::min(port.rfind(':'), port.size()));
  const bool digits = port.size() > 1 && port.find_first_not_of("0123456789", 1) == port.npos;
  std::string_view rest = url.substr(end);
  rest = rest.substr(0, rest.find('#'));
  out = host;
  if (digits && port != ":80" && port != ":443") out += port;
  if (rest.empty() || !is_slash(rest.front())) {
    out += '/';
  } else {
    out += '/';
    rest.remove_prefix(1);
  }
  out += rest;
  if (out.size() > kMaxKey) out.resize(kMaxKey);
}

}  // namespace sluice::lists
