// Control's end of the socket to the dataplane (dataplane/contract/control_channel.h).
//
// Theory. The dataplane may be absent, die, come back, or be another version; control goes on all
// the same and tries again every 200 ms. A connection counts as connected only after a Hello that
// makes sense has come with both of its descriptors; whatever the peer sends instead ends it with a
// reason. Nothing here blocks. The rings of a peer that went away are drained before they are
// unmapped, so that its last words are not lost.
//
//      idle --connect--> greeting --Hello--> connected --error, EOF--> idle
//                            \--bad Hello, 2 s--------------------------^
//
// One thread. Register fd() in an epoll loop; call ready() when it is readable, tick() at least
// every 200 ms.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/base/result.h"
#include "dataplane/contract/control_channel.h"
#include "dataplane/contract/event_ring.h"
#include "dataplane/contract/statistics.h"

namespace sluice::control {

// A file descriptor that closes itself.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  ~UniqueFd() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release();
  void reset();

 private:
  int fd_ = -1;
};

// A memfd that holds `octets` and can no longer change.
Result<UniqueFd> sealed_memfd(Bytes octets);

class DataplaneChannel {
 public:
  class Handler {
   public:
    // The channel is usable from here on: the Hello was good.
    virtual void dataplane_connected(const contract::ChannelHello& hello) = 0;
    virtual void dataplane_disconnected(const std::string& reason) = 0;
    virtual void policy_answered(const contract::ChannelPolicyAnswer& answer) = 0;
    virtual void wire_changed(const contract::ChannelWireState& state) = 0;
    virtual void dataplane_event(Bytes record) = 0;

   protected:
    ~Handler() = default;
  };

  // `handler` must outlive the channel.
  DataplaneChannel(std::string path, Handler& handler);
  ~DataplaneChannel();
  DataplaneChannel(const DataplaneChannel&) = delete;
  DataplaneChannel& operator=(const DataplaneChannel&) = delete;

  int fd() const { return epoll_.get(); }
  void ready(Nanoseconds now);
  // Connects when it is time to; ends a greeting or an answer that takes too long.
  void tick(Nanoseconds now);

  bool connected() const { return state_ == State::connected; }
  const contract::ChannelHello& hello() const { return hello_; }  // of the last good Hello

  // Hands an image over. One at a time: false while an answer is due, or when not connected. The
  // answer comes by policy_answered(); a dataplane that does not answer within 30 s is
  // disconnected.
  bool publish(std::uint32_t epoch, UniqueFd image, std::uint64_t size, Nanoseconds now);
  bool publishing() const { return publish_epoch_.has_value(); }
  // False when it cannot be asked now.
  bool request_snapshot(std::uint32_t identity);
  bool request_capture(const contract::ChannelCapture& order);

  // Gives up to `most` records of each worker to the handler; how many there were.
  std::size_t read_events(std::size_t most);
  // Records that the dataplane lost because a ring was full, and rings found corrupt, since start
  // of this process.
  std::uint64_t events_lost() const;
  std::uint64_t rings_corrupt() const;
  // Counters of the connected dataplane; empty when there is none.
  std::vector<const contract::WorkerStatistics*> statistics() const;

  std::uint64_t unknown_messages() const { return unknown_messages_; }
  const std::string& last_reason() const { return last_reason_; }

  static constexpr Nanoseconds kReconnectInterval = 200 * kMillisecond;
  static constexpr Nanoseconds kGreetingTimeout = 2 * kSecond;
  static constexpr Nanoseconds kAnswerTimeout = 30 * kSecond;

 private:
  enum class State { idle, greeting, connected };
  struct Mapping;
  struct Message;

  void try_connect(Nanoseconds now);
  void disconnect(const std::string& reason);
  bool receive();  // false: nothing more to read, or disconnected
  void handle(const Message& message);
  void handle_hello(const Message& message);
  void flush_publish();
  void watch_writable(bool on);
  void drain();

  std::string path_;
  Handler& handler_;
  UniqueFd epoll_;
  UniqueFd socket_;
  State state_ = State::idle;
  Nanoseconds next_attempt_ = 0;
  Nanoseconds greeting_deadline_ = 0;
  Nanoseconds answer_deadline_ = 0;
  contract::ChannelHello hello_;
  std::unique_ptr<Mapping> mapping_;
  std::optional<std::uint32_t> publish_epoch_;  // an answer is due
  UniqueFd pending_image_;                      // not yet sent
  std::uint64_t pending_size_ = 0;
  std::uint64_t lost_before_ = 0;     // of earlier connections
  std::uint64_t corrupt_before_ = 0;  // of earlier connections
  std::uint64_t unknown_messages_ = 0;
  std::string last_reason_ = "not yet connected";
};

}  // namespace sluice::control
