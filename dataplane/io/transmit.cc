#include "dataplane/io/transmit.h"

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_spinlock.h>

#include "dataplane/net/headers.h"

namespace sluice::io {

using contract::Counter;
using contract::DropReason;

namespace {

unsigned vlan_tags(const rte_mbuf* frame) {
  const auto* octets = rte_pktmbuf_mtod(frame, const std::uint8_t*);
  unsigned tags = 0;
  std::size_t at = 12;
  while (tags < 3 && at + 2 <= frame->data_len) {
    if (!net::is_tag(load_be16(octets + at))) break;
    ++tags;
    at += 4;
  }
  return tags;
}

}  // namespace

struct TransmitQueue::Lock {
  rte_spinlock_t spin = RTE_SPINLOCK_INITIALIZER;
};

TransmitQueue::TransmitQueue(const Port& port, std::uint16_t queue, bool shared)
    : port_(port), queue_(queue), lock_(shared ? std::make_unique<Lock>() : nullptr) {}
TransmitQueue::~TransmitQueue() = default;

std::uint16_t TransmitQueue::send(rte_mbuf** frames, std::uint16_t count) {
  if (lock_ == nullptr) return rte_eth_tx_burst(port_.device(), queue_, frames, count);
  rte_spinlock_lock(&lock_->spin);
  const std::uint16_t sent = rte_eth_tx_burst(port_.device(), queue_, frames, count);
  rte_spinlock_unlock(&lock_->spin);
  return sent;
}

TransmitBuffer::TransmitBuffer(TransmitQueue& queue, contract::WorkerStatistics& statistics)
    : queue_(queue), statistics_(statistics) {}

TransmitBuffer::~TransmitBuffer() {
  for (std::uint16_t i = 0; i < count_; ++i) rte_pktmbuf_free(frames_[i]);
}

bool TransmitBuffer::push(rte_mbuf* frame, Sent as) {
  const Port& port = queue_.port();
  const bool long_frame = frame->nb_segs > 1 || frame->pkt_len > port.mtu() + 14;
  DropReason reason = DropReason::none;
  if (!port.up()) {
    reason = DropReason::peer_down;
  } else if (long_frame && !port.fits(frame->pkt_len, frame->nb_segs, vlan_tags(frame))) {
    reason = DropReason::oversize;
  }
  if (reason != DropReason::none) {
    statistics_.add(reason);
    rte_pktmbuf_free(frame);
    return false;
  }
  lengths_[count_] = frame->pkt_len;
  as_[count_] = as;
  frames_[count_++] = frame;
  if (count_ == kCapacity) flush();
  return true;
}

void TransmitBuffer::count(std::uint16_t taken) {
  std::uint64_t frames[3]{};
  std::uint64_t octets = 0;
  for (std::uint16_t i = 0; i < taken; ++i) {
    ++frames[static_cast<std::size_t>(as_[i])];
    if (as_[i] == Sent::forwarded) octets += lengths_[i];
  }
  const auto add = [&](Counter counter, std::uint64_t n) {
    if (n > 0) statistics_.add(counter, n);
  };
  add(Counter::frames_forwarded, frames[static_cast<std::size_t>(Sent::forwarded)]);
  add(Counter::bytes_forwarded, octets);
  add(Counter::frames_changed, frames[static_cast<std::size_t>(Sent::changed)]);
  add(Counter::frames_injected, frames[static_cast<std::size_t>(Sent::injected)]);
}

void TransmitBuffer::flush() {
  hurried_ = false;
  if (count_ == 0) return;
  std::uint16_t done = queue_.send(frames_, count_);
  if (done > 0) stalled_ = false;
  if (done < count_ && !stalled_) {
    const std::uint64_t wait = rte_get_tsc_hz() / (kSecond / kLongestWait);
    const std::uint64_t end = rte_rdtsc() + wait;
    while (done < count_ && rte_rdtsc() < end) {
      rte_pause();
      done = static_cast<std::uint16_t>(
          done + queue_.send(frames_ + done, static_cast<std::uint16_t>(count_ - done)));
    }
    stalled_ = done < count_;
  }
  sent_ += done;
  count(done);
  if (done < count_) {
    statistics_.add(DropReason::transmit_full, static_cast<std::uint64_t>(count_ - done));
    rte_pktmbuf_free_bulk(frames_ + done, static_cast<unsigned>(count_ - done));
  }
  count_ = 0;
}

}  // namespace sluice::io
