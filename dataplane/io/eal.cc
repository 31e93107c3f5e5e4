#include "dataplane/io/eal.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <sched.h>

#include <cstdio>
#include <cstring>
#include <fstream>

namespace sluice::io {

std::vector<unsigned> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<unsigned> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return {0};
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

std::size_t free_huge_page_mib() {
  std::ifstream in("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
  std::size_t pages = 0;
  in >> pages;
  return in ? pages * 2 : 0;
}

Status start_eal(const EalSettings& settings) {
  std::string main_cpus;
  for (const unsigned cpu : allowed_cpus()) {
    main_cpus += (main_cpus.empty() ? "" : ",") + std::to_string(cpu);
  }
  std::string lcores = "0@(" + main_cpus + ")";
  for (std::size_t i = 0; i < settings.worker_cpus.size(); ++i) {
    lcores += "," + std::to_string(i + 1) + "@" + std::to_string(settings.worker_cpus[i]);
  }
  std::vector<std::string> arguments{
      "sluice-dataplane",
      "--lcores=" + lcores,
      "--main-lcore=0",
      "--no-telemetry",
      "--no-shconf",
      "--iova-mode=va",
      "-m",
      std::to_string(settings.memory_mib),
      std::string("--log-level=") + (settings.verbose ? "info" : "warning")};
  if (settings.huge_pages) {
    arguments.emplace_back("--in-memory");
  } else {
    arguments.emplace_back("--no-huge");
  }
  if (settings.pci_devices.empty()) {
    arguments.emplace_back("--no-pci");
  } else {
    for (const std::string& device : settings.pci_devices) {
      arguments.emplace_back("-a");
      arguments.push_back(device);
    }
  }
  // EAL keeps the pointers: the strings live as long as the process.
  static std::vector<std::string> kept;
  static std::vector<char*> argv;
  kept = std::move(arguments);
  argv.clear();
  for (std::string& argument : kept) argv.push_back(argument.data());
  argv.push_back(nullptr);
  rte_openlog_stream(stderr);
  if (rte_eal_init(static_cast<int>(kept.size()), argv.data()) < 0) {
    std::string text = std::string("DPDK did not start: ") + rte_strerror(rte_errno);
    if (settings.huge_pages) {
      text += "; " + std::to_string(settings.memory_mib) + " MiB of huge pages are wanted and " +
              std::to_string(free_huge_page_mib()) + " are free: `echo " +
              std::to_string((settings.memory_mib + 1) / 2 + 8) +
              " > /proc/sys/vm/nr_hugepages`, or --hugepages off";
    }
    return Error{text};
  }
  return ok();
}

}  // namespace sluice::io
