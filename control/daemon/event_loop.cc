#include "control/daemon/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace sluice::control {
namespace {

std::uint64_t read_clock(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * kSecond + static_cast<std::uint64_t>(t.tv_nsec);
}

}  // namespace

Nanoseconds monotonic_now() { return read_clock(CLOCK_MONOTONIC); }
std::uint64_t wall_now() { return read_clock(CLOCK_REALTIME); }

EventLoop::EventLoop()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  watch(wake_.get(), [this] {
    std::uint64_t count;
    [[maybe_unused]] const ssize_t n = ::read(wake_.get(), &count, sizeof count);
  });
}

void EventLoop::watch(int fd, std::function<void()> ready) {
  watched_[fd] = std::move(ready);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
}

void EventLoop::at(Nanoseconds at, std::function<void()> fire) {
  timers_.emplace(at, std::move(fire));
}

void EventLoop::every(Nanoseconds interval, std::function<void()> fire) {
  at(monotonic_now() + interval, [this, interval, fire = std::move(fire)]() mutable {
    fire();
    every(interval, std::move(fire));
  });
}

void EventLoop::post(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(work));
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(wake_.get(), &one, sizeof one);
}

void EventLoop::run_posted() {
  std::vector<std::function<void()>> work;
  {
    const std::lock_guard lock(mutex_);
    work.swap(posted_);
  }
  for (auto& w : work) w();
}

void EventLoop::run_timers() {
  const Nanoseconds now = monotonic_now();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    auto node = timers_.extract(timers_.begin());
    node.mapped()();
  }
}

void EventLoop::run() {
  while (!stopping_) turn(1000);
}

void EventLoop::turn(int longest) {
  epoll_event events[16];
  int wait = longest;
  if (!timers_.empty()) {
    const Nanoseconds now = monotonic_now();
    const Nanoseconds next = timers_.begin()->first;
    const Nanoseconds left = next > now ? next - now : 0;
    wait = static_cast<int>(std::min<Nanoseconds>((left + kMillisecond - 1) / kMillisecond,
                                                  static_cast<Nanoseconds>(longest)));
  }
  const int count = ::epoll_wait(epoll_.get(), events, 16, wait);
  for (int i = 0; i < count; ++i) {
    const auto found = watched_.find(events[i].data.fd);
    if (found != watched_.end()) found->second();
  }
  run_posted();
  run_timers();
}

JobThread::JobThread(EventLoop& loop) : loop_(loop) {
  thread_ = std::thread([this] { work_loop(); });
}

JobThread::~JobThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void JobThread::run(std::function<void()> work, std::function<void()> done) {
  {
    const std::lock_guard lock(mutex_);
    queue_.emplace_back(std::move(work), std::move(done));
  }
  wake_.notify_one();
}

std::size_t JobThread::waiting() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

void JobThread::work_loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    auto job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    if (job.first) job.first();
    job.first = nullptr;  // what it captured is freed here, not in the loop
    if (job.second) loop_.post(std::move(job.second));
    lock.lock();
  }
}

}  // namespace sluice::control
