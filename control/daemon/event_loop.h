// The loop of sluiced: epoll, timers, and work that other threads hand in. Everything that decides
// runs here, one thing after the other, so that nothing needs a lock.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "control/publish/channel.h"
#include "control/publish/executor.h"
#include "dataplane/base/bytes.h"

namespace sluice::control {

// CLOCK_MONOTONIC and CLOCK_REALTIME in ns.
Nanoseconds monotonic_now();
std::uint64_t wall_now();

class EventLoop {
 public:
  EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Calls `ready` while `fd` is readable. The descriptor stays the caller's.
  void watch(int fd, std::function<void()> ready);
  // Calls `fire` once, at `at` (monotonic) or a little later. Timers are few.
  void at(Nanoseconds at, std::function<void()> fire);
  // Calls `fire` every `interval`, for ever.
  void every(Nanoseconds interval, std::function<void()> fire);
  // From any thread: `work` runs in the loop.
  void post(std::function<void()> work);

  // Until stop(). The longest single wait is 1 s.
  void run();
  void stop() { stopping_ = true; }
  // Waits for at most `longest` ms and does what has come: one turn of run().
  void turn(int longest);

 private:
  void run_posted();
  void run_timers();

  UniqueFd epoll_;
  UniqueFd wake_;
  std::map<int, std::function<void()>> watched_;
  std::multimap<Nanoseconds, std::function<void()>> timers_;
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
  bool stopping_ = false;
};

// One thread that does work in order. What is queued when it is destroyed is still done.
class JobThread final : public Executor {
 public:
  explicit JobThread(EventLoop& loop);
  ~JobThread();
  JobThread(const JobThread&) = delete;
  JobThread& operator=(const JobThread&) = delete;
  void run(std::function<void()> work, std::function<void()> done) override;
  std::size_t waiting() const;

 private:
  void work_loop();
  EventLoop& loop_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::pair<std::function<void()>, std::function<void()>>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace sluice::control
