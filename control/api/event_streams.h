// Events for those who listen over HTTP, as server-sent events. Each listener has a queue of 4 MiB;
// what a slow one does not take is counted and told to it as a comment. serve() waits in the
// server's threads, publish() never does.
#pragma once

#include <httplib.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace sluice::control {

class EventStreams {
 public:
  static constexpr std::size_t kMaxListeners = 16;

  EventStreams();
  ~EventStreams();
  EventStreams(const EventStreams&) = delete;
  EventStreams& operator=(const EventStreams&) = delete;

  // Makes the answer a stream of events whose event_type is `type` (empty: all).
  void serve(const std::string& type, httplib::Response& response);
  // One event to all who want it; `event` is `line` parsed.
  void publish(const nlohmann::json& event, const std::string& line);
  bool listeners() const;
  // Ends every stream, and those that begin later.
  void close();

 private:
  struct Stream;
  void forget_closed();  // locked
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Stream>> streams_;
  bool closed_ = false;
};

}  // namespace sluice::control
