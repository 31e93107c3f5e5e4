// Small requests to a worker from the other threads: flow snapshots, captures, and wire events that
// are to stand in its ring (a ring has one producer). The worker never waits: reading is one load
// when nothing is there. Senders take turns by a lock of their own. What does not fit is not sent:
// the sender is told.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "dataplane/base/bytes.h"
#include "dataplane/contract/control_channel.h"

namespace sluice::event {

struct Letter {
  enum class Kind : std::uint8_t { snapshot, wire, capture };
  Kind kind = Kind::wire;
  std::uint16_t wire = 0;      // index
  std::uint8_t side = 0xff;    // Side, or 0xff: of the wire as a whole
  std::uint32_t identity = 0;  // snapshot
  contract::ChannelCapture capture;
  std::array<char, 32> state{};    // wire: terminated
  std::array<char, 200> reason{};  // wire: terminated

  static Letter snapshot(std::uint32_t identity) {
    Letter letter;
    letter.kind = Kind::snapshot;
    letter.identity = identity;
    return letter;
  }
  static Letter capture_order(const contract::ChannelCapture& order) {
    Letter letter;
    letter.kind = Kind::capture;
    letter.capture = order;
    return letter;
  }
  static Letter wire_event(std::uint16_t wire, std::string_view state, std::string_view reason) {
    Letter letter;
    letter.wire = wire;
    letter.state[state.copy(letter.state.data(), letter.state.size() - 1)] = 0;
    letter.reason[reason.copy(letter.reason.data(), letter.reason.size() - 1)] = 0;
    return letter;
  }
};

class Mailbox {
 public:
  static constexpr std::size_t kCapacity = 64;

  // Any thread. False when the box is full.
  bool send(const Letter& letter) {
    const std::lock_guard hold(senders_);
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    if (head - tail_.load(std::memory_order_acquire) == kCapacity) return false;
    letters_[head % kCapacity] = letter;
    head_.store(head + 1, std::memory_order_release);
    return true;
  }
  bool empty() const {
    return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_relaxed);
  }
  // The worker's thread. False when there is none.
  bool receive(Letter& letter) {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (head_.load(std::memory_order_acquire) == tail) return false;
    letter = letters_[tail % kCapacity];
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

 private:
  std::mutex senders_;
  alignas(64) std::atomic<std::uint32_t> head_{0};
  alignas(64) std::atomic<std::uint32_t> tail_{0};
  std::array<Letter, kCapacity> letters_;
};

}  // namespace sluice::event
