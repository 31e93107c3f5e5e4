#include "control/policy/rules_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <memory>
#include <system_error>

#include "control/files/read_file.h"

namespace sluice::control {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 4> kArchiveEnds{".tar.gz", ".tgz", ".tar.xz", ".tar"};

std::string system_error(const fs::path& path, int error) {
  return path.string() + ": " + std::generic_category().message(error);
}

// The name without the ending of an archive, or nothing.
std::string version_of(const fs::path& path) {
  const std::string name = path.filename().string();
  for (const std::string_view end : kArchiveEnds) {
    if (name.size() > end.size() && name.ends_with(end)) {
      return name.substr(0, name.size() - end.size());
    }
  }
  return {};
}

// Numbers by value, and before anything else by their length.
bool older(const std::string& a, const std::string& b) {
  const auto digits = [](const std::string& s) {
    return s.find_first_not_of("0123456789") == std::string::npos;
  };
  if (digits(a) && digits(b) && a.size() != b.size()) return a.size() < b.size();
  return a < b;
}

fs::path beside(const fs::path& archive, std::initializer_list<const char*> ends) {
  std::error_code error;
  for (const char* end : ends) {
    fs::path path = archive.string() + end;
    if (fs::is_regular_file(path, error)) return path;
  }
  return {};
}

// A file of our own that goes when it is no longer needed.
class TemporaryFile {
 public:
  TemporaryFile() {
    std::string name = (fs::temp_directory_path() / "sluice-keyring-XXXXXX").string();
    fd_ = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd_ >= 0) path_ = name;
  }
  ~TemporaryFile() {
    if (fd_ < 0) return;
    ::close(fd_);
    ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  bool write(std::string_view octets) const {
    return fd_ >= 0 &&
           ::write(fd_, octets.data(), octets.size()) == static_cast<ssize_t>(octets.size());
  }
  const std::string& path() const { return path_; }

 private:
  int fd_ = -1;
  std::string path_;
};

// The octets of ASCII armour (RFC 9580 6.2), or `text` itself when it is none.
Result<std::string> without_armour(const std::string& text, const std::string& name) {
  constexpr std::string_view kBegin = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
  const std::size_t begin = text.find(kBegin);
  if (begin == std::string::npos) return text;
  std::string out;
  std::string group;
  bool headers = true;
  std::size_t at = text.find('\n', begin);
  while (at != std::string::npos) {
    const std::size_t end = text.find('\n', at + 1);
    std::string_view line = std::string_view(text).substr(at + 1, end - at - 1);
    at = end;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("-----END")) {
      if (!group.empty()) break;
      return out;
    }
    if (headers) {
      headers = !line.empty();
      continue;
    }
    if (line.starts_with('=')) continue;  // the checksum
    for (const char c : line) {
      group += c;
      if (group.size() < 4) continue;
      unsigned char octets[4];
      if (EVP_DecodeBlock(octets, reinterpret_cast<const unsigned char*>(group.data()), 4) != 3) {
        return Error{name + ": the armour is damaged"};
      }
      const auto padding = static_cast<std::size_t>(std::ranges::count(group, '='));
      out.append(reinterpret_cast<const char*>(octets), 3 - std::min<std::size_t>(padding, 2));
      group.clear();
    }
  }
  return Error{name + ": the armour has no end"};
}

struct Ran {
  int status = -1;
  std::string output;
};

// Runs a program without a shell; its standard output and error together.
Result<Ran> run(std::vector<std::string> words) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Error{std::generic_category().message(errno)};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int failed =
      posix_spawnp(&child, words[0].c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (failed != 0) {
    ::close(ends[0]);
    return Error{words[0] + ": " + std::generic_category().message(failed) +
                 (failed == ENOENT ? " (Debian: apt-get install " + words[0] + ")" : "")};
  }
  Ran ran;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof buffer)) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    if (ran.output.size() < 65536) ran.output.append(buffer, static_cast<std::size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

struct FreeArchive {
  void operator()(archive* a) const { archive_read_free(a); }
};

// A plain name in the folder itself; "./" before it is fine. Empty: it is not.
std::string plain_name(std::string_view path) {
  while (path.starts_with("./")) path.remove_prefix(2);
  const bool plain = !path.empty() && path.size() <= 255 && path.front() != '.' &&
                     std::ranges::all_of(path, [](char c) {
                       return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                              (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-' ||
                              c == '+';
                     });
  return plain ? std::string(path) : std::string();
}

}  // namespace

Result<ChannelArchive> find_archive(const fs::path& path) {
  std::error_code error;
  ChannelArchive found;
  if (fs::is_directory(path, error)) {
    for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
      const std::string version = version_of(at->path());
      if (version.empty() || !at->is_regular_file()) continue;
      if (found.version.empty() || older(found.version, version)) {
        found.version = version;
        found.archive = at->path();
      }
    }
    if (error) return Error{path.string() + ": " + error.message()};
    if (found.version.empty()) {
      return Error{path.string() + ": no archive there (VERSION.tar.gz, as sa-update gets it)"};
    }
  } else {
    if (!fs::is_regular_file(path, error)) {
      return Error{path.string() + ": " + (error ? error.message() : "is no regular file")};
    }
    found.archive = path;
    found.version = version_of(path);
    if (found.version.empty()) {
      return Error{path.string() + ": an archive is named VERSION.tar.gz, .tgz, .tar.xz or .tar"};
    }
  }
  if (plain_name(found.version).empty()) {
    return Error{found.archive.string() + ": its name has characters that a version has not"};
  }
  found.signature = beside(found.archive, {".asc", ".sig", ".gpg"});
  found.checksum = beside(found.archive, {".sha512", ".sha256"});
  return found;
}

Status verify_signature(const ChannelArchive& archive, const fs::path& keyring) {
  auto keys = read_file(keyring, std::uint64_t{16} << 20);
  if (!keys) return Error{"keyring " + keys.error()};
  auto binary = without_armour(*keys, "keyring " + keyring.string());
  if (!binary) return Error{binary.error()};
  const TemporaryFile file;
  if (!file.write(*binary)) return Error{"the keyring cannot be written to a temporary file"};
  auto ran = run({"gpgv", "--status-fd", "1", "--keyring", file.path(), archive.signature.string(),
                  archive.archive.string()});
  if (!ran) return Error{ran.error()};
  // Both, so that neither an exit status nor a line of text alone decides.
  const bool valid = ran->output.find("[GNUPG:] VALIDSIG ") != std::string::npos;
  if (ran->status == 0 && valid) return ok();
  std::string said;
  for (std::size_t at = 0; at < ran->output.size();) {
    const std::size_t end = std::min(ran->output.find('\n', at), ran->output.size());
    const std::string line = ran->output.substr(at, end - at);
    if (line.starts_with("gpgv:")) said += (said.empty() ? "" : "; ") + line.substr(6);
    at = end + 1;
  }
  return Error{archive.archive.string() + ": the signature " + archive.signature.string() +
               " is not good: " + (said.empty() ? "gpgv gave no reason" : said)};
}

Status verify_checksum(const ChannelArchive& archive) {
  auto text = read_file(archive.checksum, 4096);
  if (!text) return Error{text.error()};
  const bool is512 = archive.checksum.extension() == ".sha512";
  const std::size_t digits = is512 ? 128 : 64;
  std::string expected = text->substr(0, text->find_first_of(" \t\r\n"));
  std::ranges::transform(expected, expected.begin(), [](char c) {
    return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c;
  });
  if (expected.size() != digits ||
      expected.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return Error{archive.checksum.string() + ": does not begin with " + std::to_string(digits) +
                 " hexadecimal digits"};
  }
  auto octets = read_file(archive.archive, std::uint64_t{1} << 30);
  if (!octets) return Error{octets.error()};
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(octets->data(), octets->size(), digest.data(), &size,
                 is512 ? EVP_sha512() : EVP_sha256(), nullptr) != 1) {
    return Error{"no SHA-2 in this libcrypto"};
  }
  static constexpr char kHex[] = "0123456789abcdef";
  std::string found;
  for (unsigned i = 0; i < size; ++i) {
    found += kHex[digest[i] >> 4];
    found += kHex[digest[i] & 15];
  }
  if (found == expected) return ok();
  return Error{archive.archive.string() + ": is damaged: its checksum is not that of " +
               archive.checksum.string()};
}

Result<std::vector<std::string>> unpack_archive(const fs::path& path, const fs::path& into) {
  const std::unique_ptr<archive, FreeArchive> reader(archive_read_new());
  if (!reader) return Error{"out of memory"};
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_filter_xz(reader.get());
  archive_read_support_format_tar(reader.get());
  const auto failed = [&](const std::string& what) { return Error{path.string() + ": " + what}; };
  const auto reason = [&] {
    const char* text = archive_error_string(reader.get());
    return std::string(text != nullptr ? text : "damaged");
  };
  if (archive_read_open_filename(reader.get(), path.c_str(), 65536) != ARCHIVE_OK) {
    return failed(reason());
  }
  std::vector<std::string> names;
  std::uint64_t total = 0;
  std::vector<char> buffer(65536);
  for (;;) {
    archive_entry* entry = nullptr;
    const int status = archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF) break;
    if (status != ARCHIVE_OK) return failed(reason());
    const char* raw = archive_entry_pathname(entry);
    const std::string shown = raw != nullptr ? raw : "";
    const auto type = archive_entry_filetype(entry);
    if (type == AE_IFDIR && (shown == "." || shown == "./")) continue;
    if (type != AE_IFREG || archive_entry_hardlink(entry) != nullptr) {
      return failed("'" + shown.substr(0, 200) + "' is no regular file; nothing is unpacked");
    }
    const std::string name = plain_name(shown);
    if (name.empty()) {
      return failed("'" + shown.substr(0, 200) + "' is no plain file name; nothing is unpacked");
    }
    if (names.size() == kMaxArchiveFiles) {
      return failed("holds more than " + std::to_string(kMaxArchiveFiles) + " files");
    }
    if (std::ranges::find(names, name) != names.end()) {
      return failed("holds '" + name + "' twice");
    }
    names.push_back(name);
    const fs::path target = into / name;
    const int fd =
        ::open(target.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) return Error{system_error(target, errno)};
    std::uint64_t size = 0;
    std::string error;
    for (;;) {
      const la_ssize_t n = archive_read_data(reader.get(), buffer.data(), buffer.size());
      if (n == 0) break;
      if (n < 0) {
        error = failed(reason()).text;
        break;
      }
      size += static_cast<std::uint64_t>(n);
      total += static_cast<std::uint64_t>(n);
      if (size > kMaxArchiveFile || total > kMaxArchiveSize) {
        error = failed("'" + name + "' makes it too large: at most " +
                       std::to_string(kMaxArchiveFile >> 20) + " MiB a file and " +
                       std::to_string(kMaxArchiveSize >> 20) + " MiB in all")
                    .text;
        break;
      }
      if (::write(fd, buffer.data(), static_cast<std::size_t>(n)) != n) {
        error = system_error(target, errno != 0 ? errno : ENOSPC);
        break;
      }
    }
    if (error.empty() && ::fsync(fd) != 0) error = system_error(target, errno);
    ::close(fd);
    if (!error.empty()) return Error{error};
  }
  if (names.empty()) return failed("holds no file");
  return names;
}

}  // namespace sluice::control
