// Capture files by libpcap: pcap and pcapng in, pcap out. Every link type that we read becomes a
// view that net::parse understands (Ethernet, or an IP packet behind a header that we step over).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/base/result.h"
#include "dataplane/net/packet.h"

struct pcap;
struct pcap_dumper;

namespace sluice::control {

struct CapturedFrame {
  std::uint64_t time = 0;  // ns since the Unix epoch
  // From the link header on. Of Linux cooked v2 with its protocol at the end of the header, where
  // version 1 and Ethernet have it; CaptureWriter puts it back.
  std::vector<std::uint8_t> octets;
  std::size_t prefix = 0;  // octets of the link header in front of what is parsed
  bool cut = false;        // the capture holds less of the frame than was on the wire
};

class CaptureReader {
 public:
  // "-" is standard input. The error says why the file cannot be read.
  static Result<std::unique_ptr<CaptureReader>> open(const std::string& path);
  ~CaptureReader();
  CaptureReader(const CaptureReader&) = delete;
  CaptureReader& operator=(const CaptureReader&) = delete;

  // The next frame, or nothing at the end; then truncated() tells whether the file was cut short.
  std::optional<CapturedFrame> next();
  bool truncated() const { return !fault_.empty(); }
  const std::string& fault() const { return fault_; }
  net::LinkType link() const;
  int link_code() const { return link_; }  // DLT_*
  const std::string& path() const { return path_; }

 private:
  CaptureReader() = default;
  std::string path_;
  std::string fault_;
  pcap* handle_ = nullptr;
  int link_ = 0;
};

class CaptureWriter {
 public:
  static Result<std::unique_ptr<CaptureWriter>> open(const std::string& path, int link_code);
  ~CaptureWriter();
  CaptureWriter(const CaptureWriter&) = delete;
  CaptureWriter& operator=(const CaptureWriter&) = delete;
  // `octets` as CapturedFrame has them.
  void write(std::uint64_t time, Bytes octets);
  // A frame of ours, as the engine builds it from what it was given behind the prefix.
  void write_own(std::uint64_t time, Bytes octets);
  Status close();

 private:
  CaptureWriter() = default;
  std::string path_;
  pcap* handle_ = nullptr;
  pcap_dumper* dumper_ = nullptr;
  int link_ = 0;
};

}  // namespace sluice::control
