#include "control/metrics/metrics.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace sluice::control {
namespace {

std::string number_text(double value) {
  char buffer[64];
  if (std::floor(value) == value && std::abs(value) < 9e15) {
    std::snprintf(buffer, sizeof buffer, "%.0f", value);
  } else {
    std::snprintf(buffer, sizeof buffer, "%.9g", value);
  }
  return buffer;
}

std::string escaped(const std::string& text, bool quotes) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quotes) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
  return out;
}

nlohmann::json number_json(double value) {
  if (std::floor(value) == value && value >= 0 && value < 9e15) {
    return static_cast<std::uint64_t>(value);
  }
  return value;
}

}  // namespace

std::vector<Metric> dataplane_metrics(const std::vector<const contract::WorkerStatistics*>& workers,
                                      std::uint64_t now) {
  std::vector<Metric> all;
  const auto sum = [&workers](auto&& read) {
    std::uint64_t total = 0;
    for (const auto* w : workers) total += read(*w);
    return static_cast<double>(total);
  };
  for (std::size_t i = 0; i < std::size(contract::kCounters); ++i) {
    all.push_back({"sluice_" + std::string(contract::kCounters[i].name) + "_total",
                   std::string(contract::kCounters[i].description),
                   true,
                   {},
                   sum([i](const auto& w) { return w.counters[i].read(); })});
  }
  for (std::size_t i = 0; i < std::size(contract::kGauges); ++i) {
    const auto gauge = static_cast<contract::Gauge>(i);
    Metric m{"sluice_" + std::string(contract::kGauges[i].name),
             std::string(contract::kGauges[i].description),
             false,
             {},
             sum([i](const auto& w) { return w.gauges[i].read(); })};
    if (gauge == contract::Gauge::policy_epoch || gauge == contract::Gauge::heartbeat_nanoseconds) {
      std::uint64_t least = workers.empty() ? 0 : UINT64_MAX;
      for (const auto* w : workers) least = std::min(least, w->gauges[i].read());
      m.value = static_cast<double>(least);
      if (gauge == contract::Gauge::heartbeat_nanoseconds) {
        m.name = "sluice_heartbeat_age_seconds";
        m.help = "time since the oldest heartbeat of a worker";
        m.value = least == 0 || least > now ? 0 : static_cast<double>(now - least) / 1e9;
      }
    }
    all.push_back(std::move(m));
  }
  for (std::size_t i = 1; i < contract::kDropReasonCount; ++i) {
    all.push_back({"sluice_frames_dropped_total",
                   "frames that the dataplane did not forward",
                   true,
                   {{"reason", std::string(contract::kDropReasons[i].name)}},
                   sum([i](const auto& w) { return w.drops[i].read(); })});
  }
  for (std::size_t i = 0; i < contract::kAnomalyCount; ++i) {
    all.push_back({"sluice_anomalies_total",
                   "abnormal conditions, once per flow and kind",
                   true,
                   {{"event", std::string(contract::kAnomalies[i].name)}},
                   sum([i](const auto& w) { return w.anomalies[i].read(); })});
  }
  all.push_back({"sluice_workers",
                 "workers of the dataplane",
                 false,
                 {},
                 static_cast<double>(workers.size())});
  return all;
}

std::string prometheus_text(const std::vector<Metric>& metrics) {
  std::string out;
  const std::string* last = nullptr;
  for (const Metric& m : metrics) {
    if (last == nullptr || *last != m.name) {
      out += "# HELP " + m.name + " " + escaped(m.help, false) + "\n";
      out += "# TYPE " + m.name + (m.counter ? " counter\n" : " gauge\n");
      last = &m.name;
    }
    out += m.name;
    if (!m.labels.empty()) {
      out += '{';
      for (std::size_t i = 0; i < m.labels.size(); ++i) {
        if (i > 0) out += ',';
        out += m.labels[i].first + "=\"" + escaped(m.labels[i].second, true) + "\"";
      }
      out += '}';
    }
    out += " " + number_text(m.value) + "\n";
  }
  return out;
}

nlohmann::json stats_object(const std::vector<Metric>& metrics) {
  nlohmann::json object = nlohmann::json::object();
  for (const Metric& m : metrics) {
    if (m.labels.empty()) {
      object[m.name] = number_json(m.value);
      continue;
    }
    if (m.value == 0) continue;  // hundreds of kinds, most of them never seen
    std::string key;
    for (const auto& [name, value] : m.labels) key += (key.empty() ? "" : "/") + value;
    object[m.name][key] = number_json(m.value);
  }
  return object;
}

}  // namespace sluice::control
