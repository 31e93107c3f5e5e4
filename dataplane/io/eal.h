// Starts DPDK's environment abstraction layer from options instead of its own command line. Once a
// process.
#pragma once

#include <string>
#include <vector>

#include "dataplane/base/result.h"

namespace sluice::io {

struct EalSettings {
  std::vector<unsigned> worker_cpus;  // one worker lcore is pinned to each; may repeat a CPU
  std::size_t memory_mib = 128;       // for packet buffers and rings
  bool huge_pages = false;
  std::vector<std::string> pci_devices;  // native ports; empty: the PCI bus is left alone
  bool verbose = false;
};

// CPUs that this process may run on, ascending.
std::vector<unsigned> allowed_cpus();

// 2 MiB pages that are free now, in MiB.
std::size_t free_huge_page_mib();

// The main lcore (0) floats over all allowed CPUs; lcore i + 1 is pinned to worker_cpus[i]. Nothing
// is left in the file system, nor in hugetlbfs after kill -9. The main thread, once.
Status start_eal(const EalSettings& settings);

}  // namespace sluice::io
