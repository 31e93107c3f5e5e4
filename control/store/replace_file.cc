#include "control/store/replace_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace sluice::control {
namespace {

Status failure(const std::filesystem::path& path, int error) {
  return Error{path.string() + ": " + std::generic_category().message(error)};
}

std::filesystem::path beside(const std::filesystem::path& path) { return path.string() + ".new"; }

// Writes and synchronises `contents` into a new file.
Status write_new(const std::filesystem::path& path, std::string_view contents, mode_t mode) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
  if (fd < 0) return failure(path, errno);
  int error = ::fchmod(fd, mode) == 0 ? 0 : errno;
  while (error == 0 && !contents.empty()) {
    const ssize_t n = ::write(fd, contents.data(), contents.size());
    if (n >= 0) {
      contents.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  if (error == 0 && ::fsync(fd) != 0) error = errno;
  if (::close(fd) != 0 && error == 0) error = errno;
  return error == 0 ? ok() : failure(path, error);
}

}  // namespace

Status write_beside(const std::filesystem::path& path, std::string_view contents) {
  struct stat old {};
  const mode_t mode = ::stat(path.c_str(), &old) == 0 ? (old.st_mode & 0777) : 0640;
  Status s = write_new(beside(path), contents, mode);
  if (!s) discard_beside(path);
  return s;
}

Status move_into_place(const std::filesystem::path& path) {
  if (::rename(beside(path).c_str(), path.c_str()) != 0) {
    const int error = errno;
    discard_beside(path);
    return failure(path, error);
  }
  return synchronise_folder(path.has_parent_path() ? path.parent_path() : ".");
}

void discard_beside(const std::filesystem::path& path) { ::unlink(beside(path).c_str()); }

Status synchronise_folder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return failure(folder, errno);
  const int error = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  return error == 0 ? ok() : failure(folder, error);
}

Status replace_file(const std::filesystem::path& path, std::string_view contents) {
  if (auto s = write_beside(path, contents); !s) return s;
  return move_into_place(path);
}

}  // namespace sluice::control
