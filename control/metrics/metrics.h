// The counters of all parts in one place: summed, named, and written as the `stats` event and as
// Prometheus text (exposition format 0.0.4). Names: `sluice_<name>_total` for counters,
// `sluice_<name>` for gauges; base units; a `reason` label on every drop. Pure; any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/contract/statistics.h"

namespace sluice::control {

struct Metric {
  std::string name;  // with prefix and suffix
  std::string help;
  bool counter = true;  // false: gauge
  std::vector<std::pair<std::string, std::string>> labels;
  double value = 0;
};

// The dataplane's counters, summed over workers; gauges are summed too, but for `policy_epoch` (the
// lowest) and the heartbeat (the oldest, as an age in seconds at `now`).
std::vector<Metric> dataplane_metrics(const std::vector<const contract::WorkerStatistics*>& workers,
                                      std::uint64_t now);

// Metrics of one name must follow each other. Label values are escaped.
std::string prometheus_text(const std::vector<Metric>& metrics);

// The object of a `stats` event: name to number, or name to an object of label values to numbers
// ("value/value" where there are several labels).
nlohmann::json stats_object(const std::vector<Metric>& metrics);

}  // namespace sluice::control
