#include "control/cli/capture_file.h"

#include <pcap/dlt.h>
#include <pcap/pcap.h>
#include <sys/socket.h>

#include <cstdio>

namespace sluice::control {
namespace {

constexpr int kSnapshotLength = 262144;

// Octets of the link header in front of the IP packet; Ethernet is parsed from its first octet.
std::size_t prefix_of(int link) {
  switch (link) {
    case DLT_LINUX_SLL:
      return 16;
    case DLT_LINUX_SLL2:
      return 20;
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
  return link_ == DLT_EN10MB ? net::LinkType::ethernet : net::LinkType::raw_ip;
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
  pcap_dump(reinterpret_cast<u_char*>(dumper_), &header, octets.data());
}

void CaptureWriter::write_own(std::uint64_t time, Bytes octets) {
  std::vector<std::uint8_t> frame(prefix_of(link_));
  const bool v6 = !octets.empty() && octets[0] >> 4 == 6;
  const std::uint16_t ether_type = v6 ? 0x86dd : 0x0800;
  switch (link_) {
    case DLT_LINUX_SLL:
      store_be16(frame.data() + 2, 1);  // ARPHRD_ETHER
      store_be16(frame.data() + 14, ether_type);
      break;
    case DLT_LINUX_SLL2:
      store_be16(frame.data(), ether_type);
      store_be16(frame.data() + 8, 1);
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
