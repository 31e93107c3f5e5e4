// What the kernel says about a network interface (in this process's network namespace).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "dataplane/base/result.h"

namespace sluice::io {

struct InterfaceState {
  int index = 0;
  bool up = false;  // administratively up and with carrier
  std::uint32_t mtu = 0;
};

// Asks the kernel; an error when there is no such interface.
Result<InterfaceState> interface_state(const std::string& name);
// Combined channels in use (1 where the device has none).
unsigned interface_queues(const std::string& name);
// Receive queues in use, combined or not. More than interface_queues(): some of them cannot be
// served by AF_XDP queue pairs, and what comes in there would pass uninspected (case D13).
unsigned interface_receive_queues(const std::string& name);
// True for devices without hardware behind them (veth, tap, bridge...).
bool interface_is_virtual(const std::string& name);

// Hears of link changes by rtnetlink. One thread; the descriptor is for poll().
class LinkWatch {
 public:
  static Result<LinkWatch> open();
  ~LinkWatch();
  LinkWatch(LinkWatch&& other) noexcept : descriptor_(other.descriptor_) { other.descriptor_ = -1; }
  LinkWatch& operator=(LinkWatch&&) = delete;
  int descriptor() const { return descriptor_; }
  // Reads what has come, without waiting; true when any link may have changed (also after an
  // overrun): ask interface_state() again.
  bool changed();

 private:
  explicit LinkWatch(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace sluice::io
