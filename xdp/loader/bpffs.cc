#include "xdp/loader/bpffs.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "xdp/contract/steer.h"
#include "xdp/loader/loader.h"

namespace sluice::xdp {

std::string bpffs_base(const std::string& base) {
  if (!base.empty()) return base;
  const char* from_environment = std::getenv("SLUICE_BPFFS");
  if (from_environment != nullptr && *from_environment != 0) return from_environment;
  return "/sys/fs/bpf";
}

std::string layout_folder(const std::string& base) {
  return base + "/sluice/v" + std::to_string(STEER_LAYOUT);
}

std::string wire_folder(const std::string& base, const std::string& wire) {
  return layout_folder(base) + "/" + wire;
}

namespace {

bool is_bpffs(const std::string& path) {
  struct statfs info {};
  return statfs(path.c_str(), &info) == 0 && info.f_type == BPF_FS_MAGIC;
}

std::string mount_namespace(const char* process) {
  std::error_code error;
  return std::filesystem::read_symlink(std::string("/proc/") + process + "/ns/mnt", error);
}

}  // namespace

Status ensure_bpffs(const std::string& base, bool explicit_base) {
  if (is_bpffs(base)) return ok();
  const std::string first = mount_namespace("1");
  if (!explicit_base && !first.empty() && first != mount_namespace("self"))
    return Error{base +
                 " is no bpffs in this mount namespace; `ip netns exec` hides it: use "
                 "`nsenter --net=/run/netns/NAME`, or name another place with SLUICE_BPFFS"};
  std::error_code error;
  std::filesystem::create_directories(base, error);
  if (mount("bpf", base.c_str(), "bpf", 0, "mode=0700") != 0)
    return failure("cannot mount bpffs at " + base);
  return ok();
}

Status make_folders(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return Error{"cannot make " + folder + ": " + error.message()};
  return ok();
}

Result<Descriptor> lock_folder(const std::string& folder) {
  Descriptor held(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!held) return failure("cannot open " + folder);
  while (flock(held.get(), LOCK_EX) != 0)
    if (errno != EINTR) return failure("cannot lock " + folder);
  // The holder before us may have removed the folder, and another may have made a new one.
  struct stat mine {};
  struct stat now {};
  if (fstat(held.get(), &mine) != 0 || stat(folder.c_str(), &now) != 0 ||
      mine.st_ino != now.st_ino || mine.st_dev != now.st_dev)
    return Error{folder + " was removed by another process"};
  return held;
}

std::vector<std::string> list_folder(const std::string& folder) {
  std::vector<std::string> names;
  DIR* opened = opendir(folder.c_str());
  if (opened == nullptr) return names;
  while (const dirent* entry = readdir(opened)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(opened);
  std::sort(names.begin(), names.end());
  return names;
}

bool is_wire_name(const std::string& name) {
  if (name.empty() || name.size() >= STEER_MAX_NAME) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

}  // namespace sluice::xdp
