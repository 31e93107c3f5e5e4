// A whole file as octets. Any thread; blocks.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "dataplane/base/result.h"

namespace sluice::control {

// The octets of `path` (a pipe's too), or an error "PATH: reason": what the system says, or that
// there are more than `most`.
inline Result<std::string> read_file(const std::filesystem::path& path,
                                     std::size_t most = SIZE_MAX) {
  const auto failed = [&](const std::string& reason) {
    return Error{path.string() + ": " + reason};
  };
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"),
                                                             &std::fclose);
  if (!file) return failed(std::generic_category().message(errno));
  std::string octets;
  char buffer[65536];
  for (;;) {
    const std::size_t size = std::fread(buffer, 1, sizeof buffer, file.get());
    if (size > most - octets.size()) {
      return failed("longer than " + std::to_string(most) + " octets");
    }
    octets.append(buffer, size);
    if (size == sizeof buffer) continue;
    if (std::ferror(file.get()) != 0) return failed(std::generic_category().message(errno));
    return octets;
  }
}

}  // namespace sluice::control
