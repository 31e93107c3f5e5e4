// Sending: one queue of a port, and the buffer of one worker in front of it.
//
// Theory. Frames are gathered during a burst and sent together. A device that does not take them
// all gets a bounded wait, then the rest is dropped and counted (transmit_full); after a wait that
// was in vain the next flushes do not wait at all, until a frame is taken again. So a port that
// stands still costs the worker one bounded wait, and receiving goes on (case D09). Every frame
// given to push() is owned by the buffer and is either sent or freed, once; accordingly it is
// counted once, as forwarded, changed or injected when the device has taken it, else as dropped.
#pragma once

#include <cstdint>
#include <memory>

#include "dataplane/base/bytes.h"
#include "dataplane/contract/statistics.h"
#include "dataplane/io/port.h"

struct rte_mbuf;

namespace sluice::io {

// A transmit queue that several workers may use when a device has fewer queues than workers.
class TransmitQueue {
 public:
  TransmitQueue(const Port& port, std::uint16_t queue, bool shared);
  ~TransmitQueue();
  TransmitQueue(const TransmitQueue&) = delete;
  TransmitQueue& operator=(const TransmitQueue&) = delete;
  const Port& port() const { return port_; }
  // Frames taken by the device, from the first. Any thread when shared.
  std::uint16_t send(rte_mbuf** frames, std::uint16_t count);

 private:
  struct Lock;
  const Port& port_;
  std::uint16_t queue_;
  std::unique_ptr<Lock> lock_;  // nothing when one worker uses the queue
};

// What a frame that is sent counts as.
enum class Sent : std::uint8_t { forwarded, changed, injected };

class TransmitBuffer {
 public:
  static constexpr std::uint16_t kCapacity = 64;
  static constexpr Nanoseconds kLongestWait = 200 * kMicrosecond;

  TransmitBuffer(TransmitQueue& queue, contract::WorkerStatistics& statistics);
  ~TransmitBuffer();
  TransmitBuffer(const TransmitBuffer&) = delete;
  TransmitBuffer& operator=(const TransmitBuffer&) = delete;

  // Takes `frame`; false when it was dropped at once (port down, too long), counted and freed.
  bool push(rte_mbuf* frame, Sent as);
  // Sends what has been gathered. Lasts at most kLongestWait beyond the sending itself.
  void flush();
  bool empty() const { return count_ == 0; }
  // Gathered, and not sent.
  std::uint16_t waiting() const { return count_; }
  // One that is not to wait for others is among them.
  void hurry() { hurried_ = true; }
  bool hurried() const { return hurried_; }
  std::uint64_t sent() const { return sent_; }

 private:
  void count(std::uint16_t taken);

  TransmitQueue& queue_;
  contract::WorkerStatistics& statistics_;
  rte_mbuf* frames_[kCapacity];
  // Read before the device has them: then they are its own.
  std::uint32_t lengths_[kCapacity];
  Sent as_[kCapacity];
  std::uint16_t count_ = 0;
  bool hurried_ = false;
  bool stalled_ = false;
  std::uint64_t sent_ = 0;
};

}  // namespace sluice::io
