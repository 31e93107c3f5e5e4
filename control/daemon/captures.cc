#include "control/daemon/captures.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "control/daemon/event_loop.h"
#include "control/events/eve.h"
#include "control/publish/channel.h"

namespace sluice::control {
namespace {

using nlohmann::json;

// pcap with nanoseconds, in this machine's order of octets; link type Ethernet.
struct FileHeader {
  std::uint32_t magic = 0xa1b23c4d;
  std::uint16_t major = 2;
  std::uint16_t minor = 4;
  std::uint32_t zone = 0;
  std::uint32_t accuracy = 0;
  std::uint32_t snap_length = 65535;
  std::uint32_t link_type = 1;
};
static_assert(sizeof(FileHeader) == 24);
struct RecordHeader {
  std::uint32_t seconds = 0;
  std::uint32_t nanoseconds = 0;
  std::uint32_t captured = 0;
  std::uint32_t length = 0;
};
static_assert(sizeof(RecordHeader) == 16);

template <typename T>
void append(std::string& to, const T& value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string write_at_end(const std::filesystem::path& file, const std::string& octets) {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!fd) return file.string() + ": " + std::generic_category().message(errno);
  for (std::size_t done = 0; done < octets.size();) {
    const ssize_t n = ::write(fd.get(), octets.data() + done, octets.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return file.string() + ": " + std::generic_category().message(errno);
    done += static_cast<std::size_t>(n);
  }
  return {};
}

constexpr std::size_t kMostRemembered = 64;

}  // namespace

Captures::Captures(std::filesystem::path folder, Executor& executor, Tell tell, Ended ended)
    : folder_(std::move(folder)),
      executor_(executor),
      tell_(std::move(tell)),
      ended_(std::move(ended)),
      // Of another run of sluiced there may still be frames on their way.
      next_identity_(static_cast<std::uint32_t>(wall_now() / kSecond)) {}

contract::ChannelCapture Captures::order_of(const Capture& c) const {
  contract::ChannelCapture order;
  order.slot = c.slot;
  order.identity = c.identity;
  order.full = c.request.full ? 1 : 0;
  order.length = c.request.host.length;
  std::memcpy(order.prefix, c.request.host.address.octets.data(), 16);
  order.until = c.until;
  return order;
}

json Captures::json_of(const Capture& c) const {
  const Nanoseconds now = monotonic_now();
  json j = {{"id", c.identity},
            {"host", to_text(c.request.host)},
            {"content", c.request.full ? "full" : "headers"},
            {"reason", c.request.reason},
            {"who", c.request.who},
            {"started", eve_timestamp(c.started)},
            {"file", c.file.string()},
            {"frames", c.frames},
            {"bytes", c.octets},
            {"left_out", c.left_out},
            {"state", c.end.empty() ? "running" : "ended"}};
  if (c.end.empty()) {
    j["seconds_left"] = c.until > now ? (c.until - now + kSecond - 1) / kSecond : 0;
  } else {
    j["end"] = c.end;
  }
  return j;
}

Result<json> Captures::start(const CaptureRequest& request) {
  if (request.reason.empty()) return Error{"a capture needs a reason"};
  if (request.seconds < 1 || request.seconds > 86'400) {
    return Error{"a capture lasts from 1 second to 1 day"};
  }
  bool taken[contract::kCaptureSlots] = {};
  for (const Capture& c : captures_) {
    if (c.end.empty()) taken[c.slot] = true;
  }
  const auto* free = std::find(std::begin(taken), std::end(taken), false);
  if (free == std::end(taken)) {
    return Error{"as many captures run as can at once (" + std::to_string(contract::kCaptureSlots) +
                 "); stop one"};
  }
  Capture c;
  c.identity = ++next_identity_;
  c.slot = static_cast<std::uint32_t>(free - std::begin(taken));
  c.request = request;
  c.started = wall_now();
  c.until = monotonic_now() + request.seconds * kSecond;
  std::string name = to_text(request.host);
  std::replace(name.begin(), name.end(), '/', '_');
  std::replace(name.begin(), name.end(), ':', '-');
  c.file = folder_ / ("capture-" + std::to_string(c.identity) + "-" + name + ".pcap");
  append(c.buffer, FileHeader{});
  if (!tell_(order_of(c))) return Error{"no dataplane is connected"};
  while (captures_.size() >= kMostRemembered && !captures_.front().end.empty() &&
         captures_.front().waiting == 0) {
    captures_.pop_front();
  }
  captures_.push_back(std::move(c));
  flush(captures_.back());
  return json_of(captures_.back());
}

Result<json> Captures::stop(std::uint32_t identity) {
  for (Capture& c : captures_) {
    if (c.identity != identity || !c.end.empty()) continue;
    end(c, "stopped");
    return json_of(c);
  }
  return Error{"no capture " + std::to_string(identity) + " runs"};
}

json Captures::list() const {
  json all = json::array();
  for (auto c = captures_.rbegin(); c != captures_.rend(); ++c) all.push_back(json_of(*c));
  return {{"captures", std::move(all)}};
}

void Captures::frame(const contract::EventReader& record) {
  contract::EventReader reader = record;
  std::uint32_t identity = 0;
  std::uint32_t length = 0;
  Bytes octets;
  while (const auto item = reader.next()) {
    if (item->field == contract::kCaptureIdentity) {
      identity = static_cast<std::uint32_t>(item->number());
    } else if (item->field == contract::kFrameLength) {
      length = static_cast<std::uint32_t>(item->number());
    } else if (item->field == contract::kFrameOctets) {
      octets = item->value;
    }
  }
  for (auto c = captures_.rbegin(); c != captures_.rend(); ++c) {
    if (c->identity != identity) continue;
    if (!c->end.empty()) return;
    if (c->buffer.size() + c->waiting + octets.size() > kMostWaiting) {
      ++c->left_out;
      return;
    }
    const std::uint64_t wall = record.header().wall_time;
    append(c->buffer, RecordHeader{static_cast<std::uint32_t>(wall / kSecond),
                                   static_cast<std::uint32_t>(wall % kSecond),
                                   static_cast<std::uint32_t>(octets.size()),
                                   std::max(length, static_cast<std::uint32_t>(octets.size()))});
    c->buffer.append(reinterpret_cast<const char*>(octets.data()), octets.size());
    ++c->frames;
    c->octets += sizeof(RecordHeader) + octets.size();
    if (c->octets >= kMostOctets) end(*c, "its file is full");
    if (c->buffer.size() >= (std::size_t{256} << 10)) flush(*c);
    return;
  }
}

void Captures::flush(Capture& c) {
  if (c.buffer.empty()) return;
  const std::size_t size = c.buffer.size();
  c.waiting += size;
  executor_.run(
      [file = c.file, octets = std::exchange(c.buffer, {}), error = c.error] {
        std::error_code code;
        std::filesystem::create_directories(file.parent_path(), code);
        std::filesystem::permissions(file.parent_path(), std::filesystem::perms::owner_all, code);
        if (!error->empty()) return;  // a file with a gap would lie
        *error = write_at_end(file, octets);
      },
      [this, identity = c.identity, size] {
        for (Capture& other : captures_) {
          if (other.identity != identity) continue;
          other.waiting -= std::min(other.waiting, size);
          if (!other.error->empty() && other.end.empty()) end(other, *other.error);
        }
      });
}

void Captures::end(Capture& c, const std::string& why) {
  c.end = why;
  contract::ChannelCapture free;
  free.slot = c.slot;
  tell_(free);
  flush(c);
  ended_("capture " + std::to_string(c.identity) + " of " + to_text(c.request.host) +
         " ended: " + why + ", " + std::to_string(c.frames) + " frames in " + c.file.string());
}

void Captures::tick() {
  const Nanoseconds now = monotonic_now();
  for (Capture& c : captures_) {
    if (!c.end.empty()) continue;
    if (now >= c.until) {
      end(c, "its time is over");
    } else {
      flush(c);
    }
  }
  if (now >= next_removal_) {
    next_removal_ = now + 3600 * kSecond;
    remove_old();
  }
}

void Captures::remove_old() {
  executor_.run(
      [folder = folder_] {
        std::error_code code;
        const auto now = std::filesystem::file_time_type::clock::now();
        for (const auto& entry : std::filesystem::directory_iterator(folder, code)) {
          const std::string name = entry.path().filename().string();
          if (!name.starts_with("capture-") || entry.path().extension() != ".pcap") continue;
          const auto written = entry.last_write_time(code);
          if (code || now - written < std::chrono::seconds(kKeepSeconds)) continue;
          std::filesystem::remove(entry.path(), code);
        }
      },
      {});
}

void Captures::dataplane_connected() {
  bool taken[contract::kCaptureSlots] = {};
  for (const Capture& c : captures_) {
    if (!c.end.empty()) continue;
    taken[c.slot] = true;
    tell_(order_of(c));
  }
  // Also what an earlier sluiced asked for and nobody will end.
  for (std::uint32_t slot = 0; slot < contract::kCaptureSlots; ++slot) {
    if (taken[slot]) continue;
    contract::ChannelCapture free;
    free.slot = slot;
    tell_(free);
  }
}

void Captures::finish() {
  for (Capture& c : captures_) {
    if (c.end.empty()) end(c, "sluiced was stopped");
  }
}

}  // namespace sluice::control
