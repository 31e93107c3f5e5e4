// A small process beside the dataplane that tells the kernel's part of a death or a stop at once,
// instead of leaving it to the heartbeat's timeout.
//
// Theory. A timeout that never mistakes a slow scan or a busy core for death is tens of
// milliseconds long; a TCP sender that loses a window for so long waits for its retransmission
// timer, 200 ms and more. But death and SIGSTOP are facts, not guesses. Each worker holds a robust
// mutex in memory shared with the guardian: the kernel releases it, and wakes the guardian, as the
// first step of ending the thread, long before it has freed gigabytes of memory and come to the
// sockets. A stopped worker shows as such in /proc. In both cases the guardian writes "never" into
// the heartbeat slots, and XDP takes the failure policy from the next frame on. A worker that is
// alive but does not come round (a hang) is still left to the timeout.
//
// The guardian touches no packet, no socket and no map but the heartbeat page. When it dies, only
// speed is lost. A worker that goes on after a stop finds its slot empty and recovers as from a
// hang.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/base/result.h"
#include "xdp/loader/loader.h"

namespace sluice::app {

class Guardian {
 public:
  struct Page {
    xdp::Heartbeat heartbeat;
    std::uint32_t queues = 0;
  };

  // Forks the guardian. Before any other thread exists and before sockets are made; `pages` are the
  // heartbeat pages of all wires. It keeps off `worker_cpus` while it may run elsewhere.
  static Result<std::unique_ptr<Guardian>> start(unsigned workers, const std::vector<Page>& pages,
                                                 const std::vector<unsigned>& worker_cpus);
  ~Guardian();  // dismisses it
  Guardian(const Guardian&) = delete;
  Guardian& operator=(const Guardian&) = delete;

  // By each worker, on its own thread: from now on this thread is watched.
  void enter(unsigned worker);
  // By the same thread, before it ends in order.
  void leave(unsigned worker);
  pid_t process() const { return process_; }

 private:
  struct Watch;
  struct Memory;
  Guardian() = default;
  static void watch(Memory& memory, unsigned workers, const std::vector<Page>& pages, pid_t parent);

  Memory* memory_ = nullptr;
  unsigned workers_ = 0;
  pid_t process_ = -1;
};

}  // namespace sluice::app
