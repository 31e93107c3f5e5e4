#include "control/identity/prefix_list.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <tuple>

#include "control/identity/prefix.h"

namespace sluice::control {
namespace {

std::string_view trimmed(std::string_view line) {
  constexpr std::string_view kBlank = " \t\r\v\f";
  const std::size_t begin = line.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return line.substr(begin, line.find_last_not_of(kBlank) - begin + 1);
}

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

bool same(const struct stat& a, const struct stat& b) {
  return a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec &&
         a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

}  // namespace

PrefixList parse_prefix_list(std::string_view text, const PrefixListOptions& options) {
  PrefixList list;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  const auto fault = [&list](std::string_view line, const std::string& reason) {
    ++list.fault_count;
    if (list.faults.size() >= kMaxPrefixListFaults) return;
    list.faults.push_back({list.lines, "'" + std::string(line.substr(0, 40)) +
                                           (line.size() > 40 ? "...': " : "': ") + reason});
  };
  while (!text.empty()) {
    ++list.lines;
    const std::size_t end = text.find('\n');
    const std::string_view whole = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const std::string_view line = trimmed(whole.substr(0, whole.find_first_of("#;")));
    if (line.empty()) continue;
    if (line.size() > kMaxPrefixListLine) {
      fault(line, "longer than any prefix");
      continue;
    }
    const auto parsed = parse_prefix(line);
    if (!parsed) {
      fault(line, parsed.error());
      continue;
    }
    const Prefix& prefix = parsed->prefix;
    const bool everything = prefix.length == 0 || (is_v4(prefix) && prefix.length == 96);
    if (everything && !options.force) {
      fault(line, "holds every address; needs force");
      continue;
    }
    if (parsed->had_host_bits) ++list.masked;
    list.prefixes.push_back(prefix);
  }
  const auto key = [](const Prefix& p) { return std::tie(p.address, p.length); };
  std::sort(list.prefixes.begin(), list.prefixes.end(),
            [&key](const Prefix& a, const Prefix& b) { return key(a) < key(b); });
  const auto last =
      std::unique(list.prefixes.begin(), list.prefixes.end(),
                  [&key](const Prefix& a, const Prefix& b) { return key(a) == key(b); });
  list.duplicates = static_cast<std::size_t>(list.prefixes.end() - last);
  list.prefixes.erase(last, list.prefixes.end());
  return list;
}

Result<PrefixList> read_prefix_list(const std::filesystem::path& path,
                                    const PrefixListOptions& options) {
  const File file(path);
  if (file.fd() < 0) return Error{system_error(path, errno)};
  struct stat before {};
  if (::fstat(file.fd(), &before) != 0) return Error{system_error(path, errno)};
  if (!S_ISREG(before.st_mode)) return Error{path.string() + ": is not a regular file"};
  if (static_cast<std::uint64_t>(before.st_size) > kMaxPrefixListSize) {
    return Error{path.string() + ": longer than 1 GiB"};
  }
  std::string text(static_cast<std::size_t>(before.st_size), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::read(file.fd(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error{system_error(path, errno)};
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  struct stat after {};
  if (::fstat(file.fd(), &after) != 0) return Error{system_error(path, errno)};
  if (done != text.size() || !same(before, after)) {
    return Error{path.string() + ": changed while it was read"};
  }
  PrefixList list = parse_prefix_list(text, options);
  if (list.prefixes.empty() && !options.allow_empty) {
    return Error{path.string() + ": holds no prefix (" + std::to_string(list.fault_count) +
                 " bad lines); set allow-empty if that is meant"};
  }
  return list;
}

}  // namespace sluice::control
