// The last events, as they were written, for `show` and `explain`: a bounded deque. Each has an
// identity of this process's run by which people refer to it.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

namespace sluice::control {

struct RecentEvent {
  std::uint64_t id = 0;
  std::uint64_t wall = 0;  // ns since the Unix epoch
  std::uint64_t flow = 0;  // 0: none
  std::string type;        // EVE event_type
  std::string line;        // the JSON object
};

class RecentEvents {
 public:
  explicit RecentEvents(std::size_t capacity) : capacity_(capacity) {}
  void set_capacity(std::size_t capacity) {
    capacity_ = capacity;
    trim();
  }
  // The identity that the next event will have.
  std::uint64_t next_id() const { return next_id_; }
  const RecentEvent& add(RecentEvent event) {
    event.id = next_id_++;
    octets_ += event.line.size();
    events_.push_back(std::move(event));
    trim();
    return events_.back();
  }
  // Oldest first.
  const std::deque<RecentEvent>& all() const { return events_; }
  const RecentEvent* find(std::uint64_t id) const {
    if (events_.empty() || id < events_.front().id || id > events_.back().id) return nullptr;
    return &events_[id - events_.front().id];
  }

 private:
  static constexpr std::size_t kMaxOctets = std::size_t{256} << 20;
  void trim() {
    while (events_.size() > 1 && (events_.size() > capacity_ || octets_ > kMaxOctets)) {
      octets_ -= events_.front().line.size();
      events_.pop_front();
    }
  }
  std::size_t capacity_;
  std::size_t octets_ = 0;
  std::uint64_t next_id_ = 1;
  std::deque<RecentEvent> events_;
};

}  // namespace sluice::control
