// Capture files: pcap (by libpcap) and pcapng in, pcap out, or pcapng where there are several link
// types. Every link type that we read becomes a view that net::parse understands (Ethernet, or an
// IP packet behind a header that we step over).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/cli/pcapng.h"
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
  std::size_t made = 0;    // octets behind it that the file has not: a header of Ethernet, where
                           // others of the file have one
  int link = 0;            // DLT_*
  bool readable = true;    // its link type is one that we read
  std::uint32_t original = 0;  // octets that it had on the wire, its link header included
  bool cut = false;            // the capture holds less of them
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
  net::LinkType link() const { return view_; }
  // Link types of the file, each once (DLT_*), as far as they are told in front of the first frame.
  const std::vector<int>& link_codes() const { return links_; }
  const std::string& path() const { return path_; }

 private:
  CaptureReader() = default;
  bool read(CapturedFrame& frame);  // its octets as the file has them
  std::string path_;
  std::string fault_;
  std::FILE* file_ = nullptr;
  pcap* handle_ = nullptr;                // pcap
  std::unique_ptr<PcapngReader> blocks_;  // pcapng
  std::vector<int> links_;
  net::LinkType view_{};
};

class CaptureWriter {
 public:
  // `links`: of CaptureReader::link_codes().
  static Result<std::unique_ptr<CaptureWriter>> open(const std::string& path,
                                                     const std::vector<int>& links);
  ~CaptureWriter();
  CaptureWriter(const CaptureWriter&) = delete;
  CaptureWriter& operator=(const CaptureWriter&) = delete;
  // `frame`, of which the first `size` octets are still there.
  void write(std::uint64_t time, const CapturedFrame& frame, std::size_t size);
  // A frame of ours, as the engine builds it from what it was given behind the prefix.
  void write_own(std::uint64_t time, Bytes octets);
  Status close();

 private:
  CaptureWriter() = default;
  void put(std::uint64_t time, int link, Bytes octets, std::size_t original);
  std::string path_;
  pcap* handle_ = nullptr;
  pcap_dumper* dumper_ = nullptr;
  std::FILE* blocks_ = nullptr;  // pcapng
  std::vector<int> links_;
};

}  // namespace sluice::control
