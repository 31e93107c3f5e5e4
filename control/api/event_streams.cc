#include "control/api/event_streams.h"

#include <condition_variable>
#include <deque>
#include <utility>

#include "control/api/http_values.h"

namespace sluice::control {

using restconf::Fault;

namespace {
constexpr std::size_t kMaxQueued = std::size_t{4} << 20;  // octets of events for one listener
constexpr std::size_t kMaxWritten = 65536;                // octets at once, about
constexpr auto kAlive =
    std::chrono::seconds(5);  // between comments: a client that went is found out
}  // namespace

struct EventStreams::Stream {
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::string> lines;
  std::size_t octets = 0;
  std::uint64_t lost = 0;
  bool closed = false;
  bool greeted = false;  // a first comment was sent: the client knows that it is heard
  std::string type;      // wanted event_type; empty: all

  void close() {
    const std::lock_guard lock(mutex);
    closed = true;
    wake.notify_all();
  }
  // Writes what there is, or waits for it. False: the stream ends.
  bool write(httplib::DataSink& sink) {
    std::string out;
    {
      std::unique_lock lock(mutex);
      if (!std::exchange(greeted, true)) return sink.write(": open\n\n", 8);
      wake.wait_for(lock, kAlive, [this] { return closed || !lines.empty(); });
      if (closed) {
        sink.done();
        return false;
      }
      if (lost > 0) out += ": " + std::to_string(std::exchange(lost, 0)) + " events lost\n\n";
      if (lines.empty()) out += ": alive\n\n";
      while (!lines.empty() && out.size() < kMaxWritten) {
        out += "data: " + lines.front() + "\n\n";
        octets -= lines.front().size();
        lines.pop_front();
      }
    }
    return sink.write(out.data(), out.size());
  }
};

EventStreams::EventStreams() = default;
EventStreams::~EventStreams() = default;

void EventStreams::forget_closed() {
  std::erase_if(streams_, [](const auto& s) {
    const std::lock_guard hold(s->mutex);
    return s->closed;
  });
}

void EventStreams::serve(const std::string& type, httplib::Response& response) {
  auto stream = std::make_shared<Stream>();
  stream->type = type;
  {
    const std::lock_guard lock(mutex_);
    forget_closed();
    if (closed_ || streams_.size() >= kMaxListeners) {
      return put(response,
                 Fault{503, "application", "resource-denied", "as many listen already as may", {}});
    }
    streams_.push_back(stream);
  }
  response.set_chunked_content_provider(
      "text/event-stream",
      [stream](std::size_t, httplib::DataSink& sink) { return stream->write(sink); },
      [stream](bool) { stream->close(); });
}

void EventStreams::publish(const nlohmann::json& event, const std::string& line) {
  const std::lock_guard lock(mutex_);
  forget_closed();
  for (const auto& s : streams_) {
    const std::lock_guard hold(s->mutex);
    if (!s->type.empty() && event.value("event_type", std::string{}) != s->type) continue;
    if (s->octets + line.size() > kMaxQueued) {
      ++s->lost;
      continue;
    }
    s->lines.push_back(line);
    s->octets += line.size();
    s->wake.notify_one();
  }
}

bool EventStreams::listeners() const {
  const std::lock_guard lock(mutex_);
  return !streams_.empty();
}

void EventStreams::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  for (const auto& s : streams_) s->close();
}

}  // namespace sluice::control
