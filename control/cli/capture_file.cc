#include "control/cli/capture_file.h"

#include <pcap/dlt.h>
#include <pcap/pcap.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>

namespace sluice::control {
namespace {

constexpr int kSnapshotLength = 262144;

constexpr std::size_t kSll = 16;
constexpr std::size_t kSll2 = 20;
// What a cooked header ends with, twelve octets and a protocol, is read as one of Ethernet: so what
// stands behind it (tags, which libpcap puts back there, MPLS, PPPoE) is seen as on the wire.
constexpr std::size_t kEthernet = 14;
constexpr std::size_t kAddresses = 12;

// Octets of the link header in front of what is parsed.
std::size_t prefix_of(int link) {
  switch (link) {
    case DLT_LINUX_SLL:
      return kSll - kEthernet;
    case DLT_LINUX_SLL2:
      return kSll2 - kEthernet;
    case DLT_NULL:
    case DLT_LOOP:
      return 4;
    default:
      return 0;
  }
}

bool known(int link) {
  switch (link) {
    case DLT_EN10MB:
    case DLT_RAW:
    case DLT_IPV4:
    case DLT_IPV6:
    case DLT_LINUX_SLL:
    case DLT_LINUX_SLL2:
    case DLT_NULL:
    case DLT_LOOP:
      return true;
    default:
      return false;
  }
}

}  // namespace

Result<std::unique_ptr<CaptureReader>> CaptureReader::open(const std::string& path) {
  char fault[PCAP_ERRBUF_SIZE] = "";
  std::unique_ptr<CaptureReader> reader(new CaptureReader);
  reader->path_ = path;
  reader->handle_ =
      pcap_open_offline_with_tstamp_precision(path.c_str(), PCAP_TSTAMP_PRECISION_NANO, fault);
  if (!reader->handle_) {
    const std::string text(fault);
    return Error{text.find(path) == std::string::npos ? path + ": " + text : text};
  }
  reader->link_ = pcap_datalink(reader->handle_);
  if (!known(reader->link_)) {
    const char* name = pcap_datalink_val_to_name(reader->link_);
    return Error{path + ": link type " + (name ? name : std::to_string(reader->link_)) +
                 " is not read (Ethernet, raw IP, Linux cooked v1/v2 and BSD null are)"};
  }
  return reader;
}

CaptureReader::~CaptureReader() {
  if (handle_) pcap_close(handle_);
}

net::LinkType CaptureReader::link() const {
  switch (link_) {
    case DLT_EN10MB:
    case DLT_LINUX_SLL:
    case DLT_LINUX_SLL2:
      return net::LinkType::ethernet;
    default:
      return net::LinkType::raw_ip;
  }
}

std::optional<CapturedFrame> CaptureReader::next() {
  pcap_pkthdr* header = nullptr;
  const u_char* data = nullptr;
  const int status = pcap_next_ex(handle_, &header, &data);
  if (status == PCAP_ERROR_BREAK) return std::nullopt;
  if (status != 1) {
    fault_ = path_ + ": " + pcap_geterr(handle_);
    return std::nullopt;
  }
  CapturedFrame frame;
  // With nanosecond precision tv_usec holds nanoseconds.
  frame.time = static_cast<std::uint64_t>(header->ts.tv_sec) * kSecond +
               static_cast<std::uint64_t>(header->ts.tv_usec);
  frame.octets.assign(data, data + header->caplen);
  // Version 2 has its protocol in front.
  if (link_ == DLT_LINUX_SLL2 && frame.octets.size() >= kSll2)
    std::rotate(frame.octets.begin(), frame.octets.begin() + 2, frame.octets.begin() + kSll2);
  frame.cut = header->caplen < header->len;
  frame.prefix = std::min<std::size_t>(prefix_of(link_), frame.octets.size());
  return frame;
}

Result<std::unique_ptr<CaptureWriter>> CaptureWriter::open(const std::string& path, int link_code) {
  std::unique_ptr<CaptureWriter> writer(new CaptureWriter);
  writer->path_ = path;
  writer->link_ = link_code;
  writer->handle_ =
      pcap_open_dead_with_tstamp_precision(link_code, kSnapshotLength, PCAP_TSTAMP_PRECISION_NANO);
  writer->dumper_ = writer->handle_ ? pcap_dump_open(writer->handle_, path.c_str()) : nullptr;
  if (!writer->dumper_)
    return Error{writer->handle_ ? std::string(pcap_geterr(writer->handle_))
                                 : path + ": no memory"};
  return writer;
}

CaptureWriter::~CaptureWriter() {
  if (dumper_) pcap_dump_close(dumper_);
  if (handle_) pcap_close(handle_);
}

void CaptureWriter::write(std::uint64_t time, Bytes octets) {
  pcap_pkthdr header{};
  header.ts.tv_sec = static_cast<time_t>(time / kSecond);
  header.ts.tv_usec = static_cast<suseconds_t>(time % kSecond);
  header.caplen = static_cast<bpf_u_int32>(octets.size());
  header.len = header.caplen;
  if (link_ != DLT_LINUX_SLL2 || octets.size() < kSll2)
    return pcap_dump(reinterpret_cast<u_char*>(dumper_), &header, octets.data());
  std::vector<std::uint8_t> frame(octets.begin(), octets.end());
  std::rotate(frame.begin(), frame.begin() + kSll2 - 2, frame.begin() + kSll2);
  pcap_dump(reinterpret_cast<u_char*>(dumper_), &header, frame.data());
}

void CaptureWriter::write_own(std::uint64_t time, Bytes octets) {
  std::vector<std::uint8_t> frame(prefix_of(link_));
  const bool v6 = !octets.empty() && octets[0] >> 4 == 6;
  switch (link_) {
    // What stands in the place of Ethernet's addresses is the header of one direction.
    case DLT_LINUX_SLL:
    case DLT_LINUX_SLL2:
      if (octets.size() < kEthernet) return;
      frame.resize(frame.size() + kAddresses);
      store_be16(frame.data() + (link_ == DLT_LINUX_SLL ? 2 : 6), 1);  // ARPHRD_ETHER
      octets = octets.subspan(kAddresses);
      break;
    case DLT_NULL: {
      const std::uint32_t family = v6 ? AF_INET6 : AF_INET;
      std::memcpy(frame.data(), &family, sizeof family);
      break;
    }
    case DLT_LOOP:
      store_be32(frame.data(), v6 ? AF_INET6 : AF_INET);
      break;
    default:
      break;
  }
  frame.insert(frame.end(), octets.begin(), octets.end());
  write(time, frame);
}

Status CaptureWriter::close() {
  if (pcap_dump_flush(dumper_) != 0 || std::ferror(pcap_dump_file(dumper_)))
    return Error{path_ + ": cannot write the whole capture"};
  return ok();
}

}  // namespace sluice::control
