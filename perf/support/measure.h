// What benches measure with: CPU time of the process, the CPU's event counters where the machine
// has them (guests often have none), and the frequency of its time-stamp counter.
#pragma once

#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

namespace sluice::perf {

inline double seconds_of(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}
inline double cpu_seconds() { return seconds_of(CLOCK_PROCESS_CPUTIME_ID); }

// Ticks of the time-stamp counter in a second; 0 where there is none.
inline double tsc_hertz() {
#ifdef __x86_64__
  const double begin = seconds_of(CLOCK_MONOTONIC);
  const std::uint64_t first = __builtin_ia32_rdtsc();
  double now = begin;
  while (now - begin < 0.02) now = seconds_of(CLOCK_MONOTONIC);
  return static_cast<double>(__builtin_ia32_rdtsc() - first) / (now - begin);
#else
  return 0;
#endif
}

// Repetitions of one measurement.
struct Rounds {
  std::vector<double> seconds;
  void add(double s) { seconds.insert(std::ranges::upper_bound(seconds, s), s); }
  double median() const { return seconds[seconds.size() / 2]; }
  double spread_percent() const {
    return median() > 0 ? (seconds.back() - seconds.front()) / median() * 100 : 0;
  }
};

// One event counter of this thread in user space, or nothing where the machine has none.
class EventCounter {
 public:
  explicit EventCounter(std::uint64_t event) {
    perf_event_attr attributes{};
    attributes.size = sizeof attributes;
    attributes.type = PERF_TYPE_HARDWARE;
    attributes.config = event;
    attributes.exclude_kernel = 1;
    attributes.exclude_hv = 1;
    fd_ = static_cast<int>(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0));
  }
  ~EventCounter() {
    if (fd_ >= 0) close(fd_);
  }
  EventCounter(const EventCounter&) = delete;
  EventCounter& operator=(const EventCounter&) = delete;

  bool available() const { return fd_ >= 0; }
  std::uint64_t read() const {
    std::uint64_t value = 0;
    return fd_ >= 0 && ::read(fd_, &value, sizeof value) == sizeof value ? value : 0;
  }

 private:
  int fd_;
};

// Instructions, cycles and cache misses since start(); null in the report for what is not counted.
class EventCounters {
 public:
  void start() { first_ = now(); }
  void stop() {
    const Values last = now();
    for (std::size_t i = 0; i < std::size(total_); ++i) total_[i] += last[i] - first_[i];
  }
  // Per each of `count`.
  nlohmann::ordered_json per(double count) const {
    nlohmann::ordered_json report;
    const char* const names[] = {"instructions", "cycles", "cache_misses"};
    for (std::size_t i = 0; i < std::size(names); ++i) {
      report[names[i]] = nullptr;
      if (counters_[i].available() && count > 0)
        report[names[i]] = static_cast<double>(total_[i]) / count;
    }
    return report;
  }

 private:
  using Values = std::array<std::uint64_t, 3>;
  Values now() const { return {counters_[0].read(), counters_[1].read(), counters_[2].read()}; }

  EventCounter counters_[3]{EventCounter(PERF_COUNT_HW_INSTRUCTIONS),
                            EventCounter(PERF_COUNT_HW_CPU_CYCLES),
                            EventCounter(PERF_COUNT_HW_CACHE_MISSES)};
  Values first_{};
  Values total_{};
};

}  // namespace sluice::perf
