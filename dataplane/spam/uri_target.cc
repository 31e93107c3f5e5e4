#include "dataplane/spam/uri_target.h"

namespace sluice::spam {
namespace {

struct Parts {
  std::string_view scheme;
  std::string_view authority;
  std::string_view path;
  std::string_view query;
  std::string_view fragment;
  bool has_scheme = false;
  bool has_authority = false;
  bool has_query = false;
  bool has_fragment = false;
};

Parts parse(std::string_view u) {
  Parts parts;
  const std::size_t colon = u.find_first_of(":/?#");
  if (colon != std::string_view::npos && colon > 0 && u[colon] == ':') {
    parts.has_scheme = true;
    parts.scheme = u.substr(0, colon);
    u.remove_prefix(colon + 1);
  }
  if (u.starts_with("//")) {
    parts.has_authority = true;
    const std::size_t end = std::min(u.find_first_of("/?#", 2), u.size());
    parts.authority = u.substr(2, end - 2);
    u.remove_prefix(end);
  }
  const std::size_t path = std::min(u.find_first_of("?#"), u.size());
  parts.path = u.substr(0, path);
  u.remove_prefix(path);
  if (u.starts_with('?')) {
    parts.has_query = true;
    const std::size_t end = std::min(u.find('#'), u.size());
    parts.query = u.substr(1, end - 1);
    u.remove_prefix(end);
  }
  if (u.starts_with('#')) {
    parts.has_fragment = true;
    parts.fragment = u.substr(1);
  }
  return parts;
}

// "." and ".." segments resolved.
void resolve_dots(std::string_view in, String& out) {
  const std::size_t begin = out.size();
  if (in.starts_with("../")) {
    in.remove_prefix(2);
  } else if (in.starts_with("./")) {
    in.remove_prefix(1);
  }
  while (!in.empty() && in != "0") {
    if (in == "/." || in.starts_with("/./")) {
      in = in.size() == 2 ? std::string_view("/") : in.substr(2);
      if (in == "/" && out.size() > begin && out.back() == '/') return;
    } else if (in == "/.." || in.starts_with("/../")) {
      in = in.size() == 3 ? std::string_view("/") : in.substr(3);
      const std::size_t slash = out.rfind('/');
      out.resize(slash != String::npos && slash >= begin ? slash : begin);
    } else {
      const std::size_t end = std::min(in.find('/', in.front() == '/' ? 1 : 0), in.size());
      out += in.substr(0, end);
      in.remove_prefix(end);
    }
  }
}

}  // namespace

void target_uri(std::string_view base_text, std::string_view reference, String& out) {
  if ((reference.starts_with("http://") || reference.starts_with("https://")) &&
      !has(reference, "/.")) {
    out += reference;  // says all itself
    return;
  }
  Parts r = parse(reference);
  const Parts base = parse(base_text);
  if (r.has_scheme && base.has_scheme && r.scheme == base.scheme) r.has_scheme = false;
  Parts t;
  String path(out.get_allocator());
  if (r.has_scheme || r.has_authority) {
    t.has_scheme = r.has_scheme ? true : base.has_scheme;
    t.scheme = r.has_scheme ? r.scheme : base.scheme;
    t.has_authority = r.has_authority;
    t.authority = r.authority;
    resolve_dots(r.path, path);
    t.has_query = r.has_query;
    t.query = r.query;
  } else {
    if (r.path.empty()) {
      path = base.path;
      t.has_query = r.has_query || base.has_query;
      t.query = r.has_query ? r.query : base.query;
    } else {
      if (r.path.starts_with('/')) {
        resolve_dots(r.path, path);
      } else {
        String merged(out.get_allocator());
        if (base.has_authority && base.path.empty()) {
          merged = "/";
        } else if (const std::size_t slash = base.path.rfind('/');
                   slash != std::string_view::npos) {
          merged = base.path.substr(0, slash + 1);
        }
        merged += r.path;
        resolve_dots(merged, path);
      }
      t.has_query = r.has_query;
      t.query = r.query;
    }
    t.has_authority = base.has_authority;
    t.authority = base.authority;
    t.has_scheme = base.has_scheme;
    t.scheme = base.scheme;
  }
  const auto starts_www = [](std::string_view host, std::string_view prefix) {
    if (host.size() < prefix.size() || !equals_lower(host.substr(0, prefix.size()), prefix))
      return false;
    std::size_t i = prefix.size();
    while (i < host.size() && is_digit(host[i])) ++i;
    return i < host.size() && host[i] == '.';
  };
  if (t.has_scheme && !t.scheme.empty()) {
    out += t.scheme;
    out += ':';
  } else if (t.has_authority) {
    if (starts_www(t.authority, "www")) {
      out += "http:";
    } else if (starts_www(t.authority, "ftp")) {
      out += "ftp:";
    }
  }
  if (t.has_authority) {
    out += "//";
    out += t.authority;
  }
  out += path;
  if (t.has_query) {
    out += '?';
    out += t.query;
  }
  if (r.has_fragment) {
    out += '#';
    out += r.fragment;
  }
}

}  // namespace sluice::spam
