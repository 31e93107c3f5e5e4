#include "dataplane/app/guardian.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>
#include <string>

namespace sluice::app {

namespace {

constexpr unsigned kMostWorkers = 64;
// Between looks at /proc: while frames flow (workers beat all the time), and while workers sleep.
constexpr long kLookBusy = static_cast<long>(kMillisecond);
constexpr long kLookIdle = 10 * static_cast<long>(kMillisecond);
constexpr Nanoseconds kFresh = kMillisecond;  // a younger beat needs no look

// The state letter of a thread (proc(5)), or 0.
char thread_state(int descriptor) {
  char text[256];
  const ssize_t size = pread(descriptor, text, sizeof text - 1, 0);
  if (size <= 0) return 0;
  text[size] = 0;
  // The name may hold anything, also parentheses: the last one ends it.
  const char* end = std::strrchr(text, ')');
  return end != nullptr && end[1] == ' ' ? end[2] : '\0';
}

// A look would take a worker's core from it, and the scheduler then gives it to whoever else waits,
// for a tick: on a shared core a tenth of all frames waited a millisecond (perf/wire, latency).
void keep_off(const std::vector<unsigned>& cpus) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  for (const unsigned cpu : cpus) CPU_CLR(cpu, &allowed);
  if (CPU_COUNT(&allowed) > 0) sched_setaffinity(0, sizeof allowed, &allowed);
}

bool is_stopped(char state) { return state == 'T' || state == 't'; }

}  // namespace

struct alignas(64) Guardian::Watch {
  pthread_mutex_t alive;         // robust, shared, held by the worker
  std::atomic<pid_t> thread{0};  // 0: not watched
};

struct Guardian::Memory {
  std::atomic<bool> dismissed{false};
  Watch watches[kMostWorkers];
};

Result<std::unique_ptr<Guardian>> Guardian::start(unsigned workers, const std::vector<Page>& pages,
                                                  const std::vector<unsigned>& worker_cpus) {
  void* memory =
      mmap(nullptr, sizeof(Memory), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || workers > kMostWorkers) {
    return Error{std::string("no memory shared with the guardian: ") + std::strerror(errno)};
  }
  std::unique_ptr<Guardian> guardian(new Guardian);
  guardian->memory_ = new (memory) Memory;
  guardian->workers_ = workers;
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  for (Watch& watch : guardian->memory_->watches) pthread_mutex_init(&watch.alive, &attributes);
  pthread_mutexattr_destroy(&attributes);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) return Error{std::string("no guardian process: ") + std::strerror(errno)};
  if (child == 0) {
    keep_off(worker_cpus);
    watch(*guardian->memory_, workers, pages, parent);
    _exit(0);
  }
  guardian->process_ = child;
  return guardian;
}

Guardian::~Guardian() {
  if (process_ > 0) {
    memory_->dismissed.store(true, std::memory_order_release);
    int status = 0;
    while (waitpid(process_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  if (memory_ != nullptr) munmap(memory_, sizeof(Memory));
}

void Guardian::enter(unsigned worker) {
  Watch& watch = memory_->watches[worker];
  pthread_mutex_lock(&watch.alive);
  watch.thread.store(static_cast<pid_t>(syscall(SYS_gettid)), std::memory_order_release);
}

void Guardian::leave(unsigned worker) {
  Watch& watch = memory_->watches[worker];
  watch.thread.store(0, std::memory_order_release);
  pthread_mutex_unlock(&watch.alive);
}

// The guardian's life.
void Guardian::watch(Memory& memory, unsigned workers, const std::vector<Page>& pages,
                     pid_t parent) {
  prctl(PR_SET_NAME, "sluice-guardian");
  std::signal(SIGINT, SIG_IGN);  // a terminal sends it to both; the dataplane stops in order
  // Nothing of the dataplane's may be kept open by us.
  close_range(3, ~0u, 0);
  // So that busy cores do not delay the one thing we are for. We hardly run.
  sched_param priority{};
  priority.sched_priority = 1;
  sched_setscheduler(0, SCHED_FIFO, &priority);
  mlockall(MCL_CURRENT);

  int states[kMostWorkers];
  std::memset(states, -1, sizeof states);
  bool silenced = false;
  long look = kLookIdle;
  const auto silence = [&] {
    for (const Page& page : pages) {
      for (std::uint32_t queue = 0; queue < page.queues; ++queue) {
        const_cast<xdp::Heartbeat&>(page.heartbeat).stop(queue);
      }
    }
    silenced = true;
  };
  const auto newest_beat = [&] {
    Nanoseconds newest = 0;
    for (const Page& page : pages) {
      for (std::uint32_t queue = 0; queue < page.queues; ++queue) {
        newest = std::max(newest, page.heartbeat.last(queue));
      }
    }
    return newest;
  };
  while (!memory.dismissed.load(std::memory_order_acquire)) {
    bool dead = false;
    bool stopped = false;
    bool watched = false;
    for (unsigned i = 0; i < workers; ++i) {
      Watch& watch = memory.watches[i];
      const pid_t thread = watch.thread.load(std::memory_order_acquire);
      if (thread == 0) continue;
      int result;
      if (!watched) {
        // Woken by the kernel when the worker's thread ends; else for a look.
        watched = true;
        timespec until{};
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += look;
        if (until.tv_nsec >= static_cast<long>(kSecond)) {
          until.tv_nsec -= static_cast<long>(kSecond);
          ++until.tv_sec;
        }
        result = pthread_mutex_clocklock(&watch.alive, CLOCK_MONOTONIC, &until);
      } else {
        result = pthread_mutex_trylock(&watch.alive);
      }
      if (result == EOWNERDEAD) {
        dead = true;
      } else if (result == 0) {
        pthread_mutex_unlock(&watch.alive);  // left in order between our load and our lock
      } else {
        const bool fresh = xdp::Heartbeat::now() - newest_beat() < kFresh;
        look = fresh ? kLookBusy : kLookIdle;
        if (fresh && !silenced) continue;
        if (states[i] < 0) {
          const std::string path =
              "/proc/" + std::to_string(parent) + "/task/" + std::to_string(thread) + "/stat";
          states[i] = open(path.c_str(), O_RDONLY | O_CLOEXEC);
        }
        stopped = stopped || (states[i] >= 0 && is_stopped(thread_state(states[i])));
      }
    }
    if (!watched) {
      const timespec pause{0, look};
      nanosleep(&pause, nullptr);
    }
    if (dead || getppid() != parent) {
      silence();
      return;
    }
    if (stopped && !silenced) silence();
    if (!stopped) silenced = false;
  }
}

}  // namespace sluice::app
