// Lines to a file (or standard output) that never make their writer wait (wire case E14): a bounded
// queue, and a thread that writes. When the disk is full or the reader of a pipe stalls, the queue
// fills, further lines are counted as dropped, and the count is told as soon as lines go through
// again, by the line that `dropped_line` makes of it.
//
// The file is rotated by size: NAME, NAME.1 (latest) .. NAME.N. A file that someone else renames or
// removes (logrotate) is opened anew within a second. push() may be called by any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace sluice::control {

struct LineLogOptions {
  std::filesystem::path file;     // "-": standard output
  std::uint64_t rotate_size = 0;  // octets; 0: never
  unsigned rotate_keep = 5;
  std::size_t queue = 65'536;                        // lines
  std::size_t queue_octets = std::size_t{64} << 20;  // octets of lines that wait
  // Makes the line that tells of `n` lines lost; empty: none is written.
  std::function<std::string(std::uint64_t n)> dropped_line;
};

class LineLog {
 public:
  explicit LineLog(LineLogOptions options);
  // Writes what still waits, for two seconds at most.
  ~LineLog();
  LineLog(const LineLog&) = delete;
  LineLog& operator=(const LineLog&) = delete;

  // `line` without its end. Never blocks; false when it was dropped.
  bool push(std::string line);
  // Lines dropped since start, told or not; lines written; the last error, empty when none.
  std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }
  std::uint64_t written() const { return written_.load(std::memory_order_relaxed); }
  std::size_t waiting() const;
  std::string error() const;
  // Takes effect before the next write.
  void set_rotation(std::uint64_t rotate_size, unsigned rotate_keep);
  // Blocks until all that was pushed before is written, dropped by a failing disk, or `seconds`
  // have passed; false then. For tests and the end of the process.
  bool flush(unsigned seconds);

 private:
  void run();
  bool write_all(const std::string& text);  // false: nothing could be written; try later
  bool open_file();
  void rotate();
  bool moved_away() const;

  LineLogOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::deque<std::string> queue_;
  std::size_t queued_octets_ = 0;
  std::uint64_t untold_ = 0;  // dropped, not yet told
  bool stopping_ = false;
  bool busy_ = false;
  std::string error_;
  std::atomic<std::uint64_t> dropped_{0};
  std::atomic<std::uint64_t> written_{0};
  int fd_ = -1;
  int stop_fd_ = -1;  // eventfd: ends a wait for a stalled reader
  std::uint64_t size_ = 0;
  std::size_t partial_ = 0;  // octets of the batch already written
  std::thread thread_;
};

}  // namespace sluice::control
