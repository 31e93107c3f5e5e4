// Copies of frames of chosen hosts' mail flows, into the worker's event ring (sluicectl "request
// capture"). Nothing waits for them: a copy is made only while the ring is less than half full,
// what does not fit is counted. Without an order the cost is one load a burst.
//
// What is copied is frames that reach the dataplane, as they came in, and those that it writes
// itself; mail that the kernel stops (a blocked host) or that passes by it is not seen. Unless the
// order says `full`, a frame is cut behind its TCP header: no octet of a conversation is in the
// file.
//
// The worker's thread only.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/base/bytes.h"
#include "dataplane/base/direction.h"
#include "dataplane/contract/capture_record.h"
#include "dataplane/contract/control_channel.h"
#include "dataplane/event/shared_objects.h"
#include "dataplane/inspect/engine.h"

namespace sluice::app {

class CaptureTap {
 public:
  CaptureTap(event::RingSink& sink, std::uint16_t worker) : sink_(sink), worker_(worker) {}
  // Fills or frees a slot; an order for a slot that there is not is ignored.
  void order(const contract::ChannelCapture& order);
  bool active() const { return used_ != 0; }
  // `frame` begins at its Ethernet header and came in on `side`.
  void see(Bytes frame, std::uint16_t wire, Side side, const inspect::Time& now);
  std::uint64_t left_out() const { return left_out_; }

 private:
  event::RingSink& sink_;
  std::uint16_t worker_;
  std::array<contract::ChannelCapture, contract::kCaptureSlots> slots_{};  // identity 0: free
  unsigned used_ = 0;
  std::uint64_t left_out_ = 0;  // frames for which the ring had no room
  contract::EventWriter writer_;
};

}  // namespace sluice::app
