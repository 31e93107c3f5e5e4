// sluiced: the control process. See controller.h.
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "control/daemon/controller.h"

#ifndef SLUICE_VERSION
#define SLUICE_VERSION "unknown"
#endif

namespace {

using namespace sluice::control;

int run(ControllerOptions options) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int s : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, s);
  // Before any thread is made, so that none of them takes a signal.
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  const UniqueFd signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));

  EventLoop loop;
  Controller controller(loop, std::move(options));
  loop.watch(signal_fd.get(), [&] {
    signalfd_siginfo info{};
    while (::read(signal_fd.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGHUP) {
        controller.reload("uid " + std::to_string(info.ssi_uid));
      } else {
        loop.stop();
      }
    }
  });
  if (const auto status = controller.start(); !status) {
    std::cerr << "sluiced: " << status.error() << "\n";
    return 1;
  }
  loop.run();
  spdlog::info("stopped; the wire goes on with the last policy");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"The control process of Sluice: configuration, rules, detection, actions, events."};
  app.set_version_flag("--version", std::string("sluiced ") + SLUICE_VERSION);
  ControllerOptions options;
  std::string level = "info";
  app.add_option("--config", options.config, "configuration file (RFC 7951 JSON)")
      ->capture_default_str();
  app.add_option("--dataplane-socket", options.dataplane_socket, "socket of sluice-dataplane")
      ->capture_default_str();
  app.add_option("--socket", options.socket,
                 "socket for sluicectl (default: api/socket of the configuration)");
  app.add_option("--state", options.state, "folder for what outlives the process")
      ->capture_default_str();
  app.add_option("--eve", options.eve,
                 "event log, - for standard output (default: events/file of the configuration)");
  std::string bpffs;
  app.add_option("--bpffs", bpffs, "where the wires are pinned (default: /sys/fs/bpf)");
  app.add_option("--log-level", level, "trace, debug, info, warning, error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  // Standard output may be the event log.
  auto logger = spdlog::stderr_color_mt("sluiced");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%f%z %n %l: %v");
  spdlog::set_default_logger(logger);
  spdlog::set_level(spdlog::level::from_str(level));
  options.open_kernel_wire = kernel_wires_of_loader(bpffs);
  return run(std::move(options));
}
