#include "control/policy/match_list.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory_resource>
#include <system_error>

#include "dataplane/mime/url.h"

namespace sluice::control {
namespace {

using lists::Kind;

constexpr std::string_view kBlank = " \t\r\v\f";

std::string_view trimmed(std::string_view line) {
  const std::size_t begin = line.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return line.substr(begin, line.find_last_not_of(kBlank) - begin + 1);
}

std::string_view without_comment(std::string_view line) {
  for (std::size_t at = line.find('#'); at != std::string_view::npos; at = line.find('#', at + 1)) {
    if (at == 0 || kBlank.find(line[at - 1]) != std::string_view::npos) return line.substr(0, at);
  }
  return line;
}

bool is_plain_host(std::string_view host) {
  return std::ranges::all_of(host, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
  });
}

bool all_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

class Parser {
 public:
  Parser(MatchList& list, MatchKind kind) : list_(list), kind_(kind) {}

  void line(std::string_view whole) {
    const std::string_view text = trimmed(without_comment(whole));
    if (text.empty()) return;
    line_ = text;
    if (text.size() > kMaxMatchListLine) return fault("longer than any entry");
    switch (kind_) {
      case MatchKind::url:
        return url(text);
      case MatchKind::address:
        return address(text);
      case MatchKind::hash:
        return hash(text);
      case MatchKind::file_name:
        return file_name(text);
    }
  }

 private:
  void fault(const std::string& reason) {
    ++list_.fault_count;
    if (list_.faults.size() >= kMaxMatchListFaults) return;
    list_.faults.push_back({list_.lines, "'" + std::string(line_.substr(0, 60)) +
                                             (line_.size() > 60 ? "...': " : "': ") + reason});
  }

  void add(Kind kind, std::string_view text) {
    if (text.size() > lists::kMaxKey) return fault("longer than any entry");
    const auto size = static_cast<std::uint16_t>(text.size());
    const std::size_t at = list_.octets.size();
    list_.octets.resize(at + 3 + text.size());
    std::memcpy(&list_.octets[at], &size, sizeof size);
    list_.octets[at + 2] = static_cast<std::uint8_t>(kind);
    std::memcpy(&list_.octets[at + 3], text.data(), text.size());
    ++list_.entries;
  }

  // The domain as the dataplane compares it, or a fault and nothing. `single`: one label is fine.
  bool domain(std::string_view text, bool single, std::pmr::string& out) {
    if (text.ends_with('.')) text.remove_suffix(1);
    if (is_plain_host(text)) {
      out = text;
    } else {
      out = mime::host_of("http://" + std::string(text), &memory_).name;
    }
    if (out.empty() || out.size() > 253) return fault("is no domain"), false;
    if (out.front() == '[') return true;  // an IPv6 address
    std::size_t labels = 0;
    for (std::string_view rest = out; ++labels;) {
      const std::string_view label = rest.substr(0, rest.find('.'));
      if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-' ||
          !is_plain_host(label)) {
        return fault("is no domain: '" + std::string(label.substr(0, 40)) + "' is no label"), false;
      }
      if (label.size() == rest.size()) break;
      rest.remove_prefix(label.size() + 1);
    }
    if (labels == 1 && !single) {
      return fault("has one label: it would hold for every domain below it; write =" +
                   std::string(out) + " for that host alone"),
             false;
    }
    return true;
  }

  static bool is_literal(std::string_view host) {
    return host.starts_with('[') || all_digits(host.substr(host.rfind('.') + 1));
  }

  static std::string_view below(std::string_view text) {
    if (text.starts_with("*.")) return text.substr(2);
    if (text.starts_with('.')) return text.substr(1);
    return text;
  }

  void url(std::string_view text) {
    if (text.find_first_of(kBlank) != std::string_view::npos) {
      return fault("has a blank inside; one entry a line");
    }
    if (text.starts_with('=')) {
      if (domain(text.substr(1), true, host_)) add(Kind::host, host_);
      return;
    }
    const bool scheme = text.find("://") != std::string_view::npos;
    const std::size_t authority = scheme ? text.find("://") + 3 : 0;
    const bool path = text.find_first_of("/?", authority) != std::string_view::npos;
    if (!path) {
      std::string_view name = text.substr(authority);
      name = name.substr(0, name.starts_with('[') ? name.size() : name.find(':'));
      if (!domain(below(name), false, host_)) return;
      return add(is_literal(host_) ? Kind::host : Kind::host_tree, host_);
    }
    if (text.starts_with('/') || text.starts_with('.') || text.find('*') < authority) {
      return fault("is neither a domain nor a URL");
    }
    std::string whole(text);
    if (!scheme) whole.insert(0, "http://");
    const mime::Host host = mime::host_of(whole, &memory_);
    if (!domain(host.name, true, host_)) return;
    lists::normal_url(whole, host_, normal_);
    add(Kind::url, normal_);
  }

  void address(std::string_view text) {
    if (text.find_first_of(kBlank) != std::string_view::npos) {
      return fault("has a blank inside; one entry a line");
    }
    if (text.starts_with('<') && text.ends_with('>')) text = text.substr(1, text.size() - 2);
    const std::size_t at = text.rfind('@');
    const bool whole = at != std::string_view::npos && at > 0;
    const std::string_view local = whole ? text.substr(0, at) : std::string_view{};
    std::string_view name = at == std::string_view::npos ? text : text.substr(at + 1);
    if (whole && local.size() > 64) return fault("the part before @ is longer than 64 octets");
    const Kind kind = whole ? Kind::address : at == 0 ? Kind::domain : Kind::domain_tree;
    if (kind == Kind::domain_tree) name = below(name);
    // Sent with SMTPUTF8 a domain may stand as it is written here.
    const bool international = std::ranges::any_of(name, [](char c) { return (c & 0x80) != 0; });
    if (!domain(name, kind != Kind::domain_tree, host_)) return;
    for (int form = 0; form < (international ? 2 : 1); ++form) {
      normal_ = local;
      if (whole) normal_ += '@';
      normal_ += form == 0 ? std::string_view(host_) : name;
      std::ranges::transform(normal_, normal_.begin(), lists::lower);
      add(kind, normal_);
      if (form > 0) --list_.entries;
    }
  }

  void hash(std::string_view text) {
    text = text.substr(0, text.find_first_of(" \t,"));
    if (text.size() != 32 && text.size() != 64) {
      return fault("has " + std::to_string(text.size()) +
                   " characters: an MD5 has 32 hexadecimal digits, a SHA-256 64" +
                   (text.size() == 40 ? " (SHA-1 is not looked up)" : ""));
    }
    char octets[32];
    for (std::size_t i = 0; i < text.size(); i += 2) {
      const int high = digit(text[i]);
      const int low = digit(text[i + 1]);
      if (high < 0 || low < 0) return fault("a character is no hexadecimal digit");
      octets[i / 2] = static_cast<char>(high * 16 + low);
    }
    add(text.size() == 32 ? Kind::md5 : Kind::sha256, {octets, text.size() / 2});
  }

  static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = lists::lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  }

  void file_name(std::string_view text) {
    const bool suffix = text.starts_with("*.") || text.starts_with('.');
    std::string_view name = suffix ? below(text) : text;
    while (!name.empty() && (name.back() == '.' || name.back() == ' ')) name.remove_suffix(1);
    if (name.empty()) return fault("is no file name");
    if (name.find_first_of("*?/\\") != std::string_view::npos) {
      return fault("* stands only in *.EXT, and a name holds no ?, / or \\");
    }
    normal_ = name;
    std::ranges::transform(normal_, normal_.begin(), lists::lower);
    add(suffix ? Kind::suffix : Kind::name, normal_);
  }

  MatchList& list_;
  MatchKind kind_;
  std::string_view line_;
  std::pmr::unsynchronized_pool_resource memory_;
  std::pmr::string host_;
  std::pmr::string normal_;
};

std::string system_error(const std::filesystem::path& path, int error) {
  return path.string() + ": " + std::generic_category().message(error);
}

class File {
 public:
  explicit File(const std::filesystem::path& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

std::array<std::uint64_t, 6> identity_of(const struct stat& s) {
  const auto nanoseconds = [](const timespec& t) {
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(t.tv_nsec);
  };
  return {s.st_dev,
          s.st_ino,
          static_cast<std::uint64_t>(s.st_size),
          nanoseconds(s.st_mtim),
          nanoseconds(s.st_ctim),
          1};
}

}  // namespace

MatchList parse_match_list(std::string_view text, MatchKind kind) {
  MatchList list;
  list.octets.reserve(text.size() + text.size() / 4);
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  Parser parser(list, kind);
  while (!text.empty()) {
    ++list.lines;
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    parser.line(line);
  }
  list.octets.shrink_to_fit();
  return list;
}

Result<std::shared_ptr<const MatchList>> read_match_list(
    const std::filesystem::path& path, MatchKind kind, bool allow_empty,
    const std::shared_ptr<const MatchList>& before) {
  const File file(path);
  if (file.fd() < 0) return Error{system_error(path, errno)};
  struct stat status {};
  if (::fstat(file.fd(), &status) != 0) return Error{system_error(path, errno)};
  if (!S_ISREG(status.st_mode)) return Error{path.string() + ": is not a regular file"};
  const auto identity = identity_of(status);
  if (before && before->identity == identity) return before;
  if (static_cast<std::uint64_t>(status.st_size) > kMaxMatchListSize) {
    return Error{path.string() + ": longer than 1 GiB"};
  }
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::read(file.fd(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error{system_error(path, errno)};
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  if (::fstat(file.fd(), &status) != 0) return Error{system_error(path, errno)};
  if (done != text.size() || identity_of(status) != identity) {
    return Error{path.string() + ": changed while it was read"};
  }
  auto list = std::make_shared<MatchList>(parse_match_list(text, kind));
  list->identity = identity;
  if (list->entries == 0 && !allow_empty) {
    return Error{path.string() + ": holds no entry (" + std::to_string(list->fault_count) +
                 " bad lines" +
                 (list->faults.empty() ? "" : ", the first: " + list->faults.front().text) +
                 "); set allow-empty if that is meant"};
  }
  return std::shared_ptr<const MatchList>(std::move(list));
}

}  // namespace sluice::control
