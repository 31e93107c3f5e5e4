// Captures that operators asked for: frames of one host's mail flows, as the dataplane copies them
// into its rings, to pcap files of bounded size. Each has a reason, an end, and stands in the audit
// log; its file (mode 0600) is removed a week later.
//
//   free --start--> running --time, size, stop, dataplane gone--> ended (its slot is free again)
//
// The loop's thread; files are written by an executor, and frames that come faster are left out and
// counted.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "control/identity/prefix.h"
#include "control/publish/executor.h"
#include "dataplane/contract/capture_record.h"
#include "dataplane/contract/control_channel.h"

namespace sluice::control {

struct CaptureRequest {
  Prefix host;
  bool full = false;          // payloads too
  std::uint64_t seconds = 0;  // 1..86400
  std::string reason;
  std::string who;
};

class Captures {
 public:
  // Tells the dataplane; false: it cannot be told now.
  using Tell = std::function<bool(const contract::ChannelCapture&)>;
  // Told of each end: what, for the audit log.
  using Ended = std::function<void(const std::string& what)>;
  Captures(std::filesystem::path folder, Executor& executor, Tell tell, Ended ended);

  // What was begun, as JSON, or why not.
  Result<nlohmann::json> start(const CaptureRequest& request);
  Result<nlohmann::json> stop(std::uint32_t identity);
  nlohmann::json list() const;
  // A captured_frame record.
  void frame(const contract::EventReader& reader);
  // Ends what is over, writes what waits, removes old files. Every second or so.
  void tick();
  // A dataplane that has come knows of none.
  void dataplane_connected();
  // Writes what waits. At the end of the process.
  void finish();

  static constexpr std::uint64_t kMostOctets = std::uint64_t{64} << 20;  // of one file
  static constexpr std::size_t kMostWaiting = std::size_t{4} << 20;      // octets not yet written
  static constexpr std::uint64_t kKeepSeconds = 7 * 86'400;

 private:
  struct Capture {
    std::uint32_t identity = 0;
    std::uint32_t slot = 0;
    CaptureRequest request;
    std::uint64_t started = 0;  // wall
    Nanoseconds until = 0;      // monotonic
    std::filesystem::path file;
    std::string buffer;
    std::size_t waiting = 0;  // handed to the executor, not yet written
    std::uint64_t frames = 0;
    std::uint64_t octets = 0;
    std::uint64_t left_out = 0;
    std::string end;  // why; empty: runs
    std::shared_ptr<std::string> error = std::make_shared<std::string>();
  };
  contract::ChannelCapture order_of(const Capture& capture) const;
  nlohmann::json json_of(const Capture& capture) const;
  void flush(Capture& capture);
  void end(Capture& capture, const std::string& why);
  void remove_old();

  std::filesystem::path folder_;
  Executor& executor_;
  Tell tell_;
  Ended ended_;
  std::deque<Capture> captures_;  // the latest last; addresses are stable while it only grows
  std::uint32_t next_identity_ = 0;
  Nanoseconds next_removal_ = 0;
};

}  // namespace sluice::control
