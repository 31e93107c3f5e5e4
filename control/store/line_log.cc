#include "control/store/line_log.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <system_error>
#include <utility>

namespace sluice::control {
namespace {

constexpr std::size_t kBatchOctets = 256 * 1024;
constexpr int kRetryMilliseconds = 200;  // a disk that is full

}  // namespace

LineLog::LineLog(LineLogOptions options)
    : options_(std::move(options)), stop_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  thread_ = std::thread([this] { run(); });
}

LineLog::~LineLog() {
  flush(2);
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(stop_fd_, &one, sizeof one);
  thread_.join();
  if (fd_ > STDERR_FILENO) ::close(fd_);
  if (stop_fd_ >= 0) ::close(stop_fd_);
}

bool LineLog::push(std::string line) {
  {
    const std::lock_guard lock(mutex_);
    if (queue_.size() >= options_.queue || queued_octets_ + line.size() > options_.queue_octets) {
      ++untold_;
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    queued_octets_ += line.size();
    queue_.push_back(std::move(line));
  }
  wake_.notify_one();
  return true;
}

std::size_t LineLog::waiting() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

std::string LineLog::error() const {
  const std::lock_guard lock(mutex_);
  return error_;
}

void LineLog::set_rotation(std::uint64_t rotate_size, unsigned rotate_keep) {
  const std::lock_guard lock(mutex_);
  options_.rotate_size = rotate_size;
  options_.rotate_keep = rotate_keep;
}

bool LineLog::flush(unsigned seconds) {
  std::unique_lock lock(mutex_);
  return idle_.wait_for(lock, std::chrono::seconds(seconds),
                        [this] { return queue_.empty() && !busy_; });
}

void LineLog::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;  // stopping, and all is written
    std::string batch;
    std::uint64_t lines = 0;
    while (!queue_.empty() && batch.size() < kBatchOctets) {
      queued_octets_ -= queue_.front().size();
      batch += queue_.front();
      batch += '\n';
      queue_.pop_front();
      ++lines;
    }
    busy_ = true;
    partial_ = 0;
    lock.unlock();
    while (!write_all(batch)) {
      lock.lock();
      if (stopping_) {
        dropped_.fetch_add(lines, std::memory_order_relaxed);
        return;
      }
      lock.unlock();
      pollfd stop{stop_fd_, POLLIN, 0};
      ::poll(&stop, 1, kRetryMilliseconds);
    }
    written_.fetch_add(lines, std::memory_order_relaxed);
    lock.lock();
    error_.clear();
    // Told once lines go through again and in the order of time: after those that were written.
    if (untold_ > 0 && options_.dropped_line) {
      std::string told = options_.dropped_line(std::exchange(untold_, 0));
      queued_octets_ += told.size();
      if (!told.empty()) queue_.push_back(std::move(told));
    }
    busy_ = false;
    if (queue_.empty()) idle_.notify_all();
  }
}

bool LineLog::write_all(const std::string& text) {
  while (partial_ < text.size()) {
    if ((fd_ < 0 || moved_away()) && !open_file()) return false;
    const ssize_t n = ::write(fd_, text.data() + partial_, text.size() - partial_);
    if (n > 0) {
      partial_ += static_cast<std::size_t>(n);
      size_ += static_cast<std::uint64_t>(n);
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    const int error = errno;
    if (n < 0 && error == EAGAIN) {  // a pipe whose reader stalls
      pollfd both[2] = {{fd_, POLLOUT, 0}, {stop_fd_, POLLIN, 0}};
      ::poll(both, 2, kRetryMilliseconds);
      if ((both[0].revents & POLLOUT) != 0) continue;
    }
    const std::lock_guard lock(mutex_);
    error_ = options_.file.string() + ": " + std::generic_category().message(error);
    return false;
  }
  // Whole lines only are in the file now: the place to rotate.
  std::uint64_t rotate_size;
  {
    const std::lock_guard lock(mutex_);
    rotate_size = options_.rotate_size;
  }
  if (rotate_size != 0 && size_ >= rotate_size && options_.file != "-") rotate();
  return true;
}

bool LineLog::open_file() {
  if (fd_ > STDERR_FILENO) ::close(fd_);
  fd_ = -1;
  if (options_.file == "-") {
    // A description of our own, so that O_NONBLOCK does not reach those who share it.
    fd_ = ::open("/proc/self/fd/1", O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC);
    if (fd_ < 0) fd_ = STDOUT_FILENO;  // a socket cannot be opened anew
    size_ = 0;
    return true;
  }
  std::error_code ignored;
  std::filesystem::create_directories(options_.file.parent_path(), ignored);
  // Non-blocking for the case that it is a pipe; 0640: events hold addresses of people.
  fd_ = ::open(options_.file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);
  if (fd_ < 0) {
    const int error = errno;
    const std::lock_guard lock(mutex_);
    error_ = options_.file.string() + ": " + std::generic_category().message(error);
    return false;
  }
  struct stat now {};
  size_ = ::fstat(fd_, &now) == 0 ? static_cast<std::uint64_t>(now.st_size) : 0;
  return true;
}

bool LineLog::moved_away() const {
  if (options_.file == "-" || partial_ != 0) return false;  // never in the middle of a batch
  struct stat ours {};
  struct stat theirs {};
  if (::fstat(fd_, &ours) != 0) return true;
  if (::stat(options_.file.c_str(), &theirs) != 0) return true;
  return ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev;
}

void LineLog::rotate() {
  unsigned keep;
  {
    const std::lock_guard lock(mutex_);
    keep = options_.rotate_keep;
  }
  const auto numbered = [this](unsigned n) {
    return std::filesystem::path(options_.file.string() + "." + std::to_string(n));
  };
  std::error_code ignored;
  std::filesystem::remove(numbered(keep), ignored);
  for (unsigned n = keep; n > 1; --n) {
    std::filesystem::rename(numbered(n - 1), numbered(n), ignored);
  }
  std::filesystem::rename(options_.file, numbered(1), ignored);
  if (fd_ > STDERR_FILENO) ::close(fd_);
  fd_ = -1;
}

}  // namespace sluice::control
