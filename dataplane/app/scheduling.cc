#include "dataplane/app/scheduling.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "dataplane/base/bytes.h"

namespace sluice::app {

namespace {

// A late heartbeat costs the wire its inspection, a late worker every frame its time.
constexpr int kNice = -15;
// Since Linux 6.12 who asks for a shorter turn than the running thread's preempts it (EEVDF);
// before, no notice is taken of it. The kernel's least.
constexpr Nanoseconds kTurn = 100 * kMicrosecond;

// sched_setattr(2), for which glibc has no declaration before 2.41.
struct SchedulingAttributes {
  std::uint32_t size;
  std::uint32_t policy;
  std::uint64_t flags;
  std::int32_t nice;
  std::uint32_t priority;
  std::uint64_t runtime;
  std::uint64_t deadline;
  std::uint64_t period;
};

}  // namespace

bool own_cpus(std::vector<unsigned> worker_cpus, const std::vector<unsigned>& allowed) {
  std::ranges::sort(worker_cpus);
  return std::ranges::adjacent_find(worker_cpus) == worker_cpus.end() &&
         std::ranges::any_of(
             allowed, [&](unsigned cpu) { return !std::ranges::binary_search(worker_cpus, cpu); });
}

void favour_session() {
  if (getsid(0) != getpid()) return;
  const int file = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  [[maybe_unused]] const ssize_t written = write(file, "-15", 3);
  close(file);
}

void favour_worker() {
  const SchedulingAttributes wanted{.size = sizeof wanted,
                                    .policy = SCHED_OTHER,
                                    .flags = 0,
                                    .nice = kNice,
                                    .priority = 0,
                                    .runtime = kTurn,
                                    .deadline = 0,
                                    .period = 0};
  if (syscall(SYS_sched_setattr, 0, &wanted, 0) != 0)
    setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNice);
}

}  // namespace sluice::app
