// sluice-dataplane: the packet process. Exit status: 0 done, 1 it could not start or run, 2 wrong
// usage; the reason stands on standard error.
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <exception>

#include "dataplane/app/options.h"
#include "dataplane/app/process.h"

namespace {

int run(int argc, char** argv) {
  const sluice::app::ParsedCommand command = sluice::app::parse_command_line(argc, argv);
  if (command.exit_code >= 0) {
    std::fputs(command.text.c_str(), command.exit_code == 0 ? stdout : stderr);
    if (command.exit_code != 0) std::fputs("\n", stderr);
    return command.exit_code;
  }
  spdlog::set_default_logger(spdlog::stderr_color_mt("dataplane"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  if (command.options.verbose) spdlog::set_level(spdlog::level::debug);
  // Message bodies never go into a core dump.
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  sluice::app::Process process(command.options);
  const sluice::Status result = command.options.detach ? process.detach() : process.run();
  if (!result) {
    std::fprintf(stderr, "sluice-dataplane: %s\n", result.error().c_str());
    return 1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  int status = 1;
  try {
    status = run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sluice-dataplane: %s\n", error.what());
  }
  std::fflush(nullptr);
  // Without destructors of DPDK's plug-ins: the AF_XDP driver's would try to detach the program
  // that is to stay. The kernel closes the sockets.
  _exit(status);
}
