#include "control/cli/capture_file.h"

#include <pcap/dlt.h>
#include <pcap/pcap.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

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

bool is_raw(int link) {
  switch (link) {
    case DLT_RAW:
    case DLT_IPV4:
    case DLT_IPV6:
    case DLT_NULL:
    case DLT_LOOP:
      return true;
    default:
      return false;
  }
}

bool like_ethernet(int link) {
  return link == DLT_EN10MB || link == DLT_LINUX_SLL || link == DLT_LINUX_SLL2;
}

bool known(int link) { return is_raw(link) || like_ethernet(link); }

// Files number raw IP otherwise than libpcap does; the others of ours are alike.
constexpr int kLinkTypeRaw = 101;
int code_of(int link_type) { return link_type == kLinkTypeRaw ? DLT_RAW : link_type; }

constexpr int kSectionHeader = 0x0a;  // pcapng's first octet, which no pcap file has

void store(std::vector<std::uint8_t>& to, std::uint32_t number) {
  const std::size_t at = to.size();
  to.resize(at + sizeof number);
  std::memcpy(to.data() + at, &number, sizeof number);
}

// A block of pcapng, its lengths in front and behind.
void put_block(std::FILE* file, std::uint32_t type, std::vector<std::uint8_t> body) {
  body.resize((body.size() + 3) & ~std::size_t{3});
  std::vector<std::uint8_t> block;
  store(block, type);
  store(block, static_cast<std::uint32_t>(body.size() + 12));
  block.insert(block.end(), body.begin(), body.end());
  store(block, static_cast<std::uint32_t>(body.size() + 12));
  std::fwrite(block.data(), 1, block.size(), file);
}

}  // namespace

Result<std::unique_ptr<CaptureReader>> CaptureReader::open(const std::string& path) {
  char fault[PCAP_ERRBUF_SIZE] = "";
  std::unique_ptr<CaptureReader> reader(new CaptureReader);
  reader->path_ = path;
  std::FILE* const file = path == "-" ? stdin : std::fopen(path.c_str(), "rb");
  if (!file) return Error{path + ": " + std::strerror(errno)};
  reader->file_ = file;
  const int first = std::getc(file);
  if (std::ferror(file)) return Error{path + ": " + std::strerror(errno)};
  std::ungetc(first, file);
  if (first == kSectionHeader) {
    reader->blocks_ = std::make_unique<PcapngReader>(file);
    if (!reader->blocks_->begin()) {
      const std::string& what = reader->blocks_->fault();
      return Error{path + ": " + (what.empty() ? "no interface is described" : what)};
    }
    for (const int link : reader->blocks_->links()) reader->links_.push_back(code_of(link));
  } else {
    reader->handle_ =
        pcap_fopen_offline_with_tstamp_precision(file, PCAP_TSTAMP_PRECISION_NANO, fault);
    if (!reader->handle_) return Error{path + ": " + fault};
    reader->file_ = nullptr;  // closed with the handle
    reader->links_ = {pcap_datalink(reader->handle_)};
  }
  const auto& links = reader->links_;
  if (std::none_of(links.begin(), links.end(), known)) {
    const char* name = pcap_datalink_val_to_name(links.front());
    return Error{path + ": link type " + (name ? name : std::to_string(links.front())) +
                 " is not read (Ethernet, raw IP, Linux cooked v1/v2 and BSD null are)"};
  }
  reader->view_ = std::any_of(links.begin(), links.end(), like_ethernet) ? net::LinkType::ethernet
                                                                         : net::LinkType::raw_ip;
  return reader;
}

CaptureReader::~CaptureReader() {
  if (handle_) pcap_close(handle_);
  if (file_ && file_ != stdin) std::fclose(file_);
}

bool CaptureReader::read(CapturedFrame& frame) {
  if (blocks_) {
    const auto packet = blocks_->next();
    if (!packet) {
      if (!blocks_->fault().empty()) fault_ = path_ + ": " + blocks_->fault();
      return false;
    }
    frame.time = packet->time;
    frame.octets.assign(packet->octets.begin(), packet->octets.end());
    frame.link = code_of(packet->link);
    frame.original = packet->original;
    return true;
  }
  pcap_pkthdr* header = nullptr;
  const u_char* data = nullptr;
  const int status = pcap_next_ex(handle_, &header, &data);
  if (status != 1) {
    if (status != PCAP_ERROR_BREAK) fault_ = path_ + ": " + pcap_geterr(handle_);
    return false;
  }
  // With nanosecond precision tv_usec holds nanoseconds.
  frame.time = static_cast<std::uint64_t>(header->ts.tv_sec) * kSecond +
               static_cast<std::uint64_t>(header->ts.tv_usec);
  frame.octets.assign(data, data + header->caplen);
  frame.link = links_.front();
  frame.original = header->len;
  return true;
}

std::optional<CapturedFrame> CaptureReader::next() {
  CapturedFrame frame;
  if (!read(frame)) return std::nullopt;
  frame.cut = frame.octets.size() < frame.original;
  if (std::find(links_.begin(), links_.end(), frame.link) == links_.end()) {
    fault_ = path_ + ": an interface of another link type is described behind the first frame";
    return std::nullopt;
  }
  frame.readable = known(frame.link);
  if (!frame.readable) return frame;
  // Version 2 has its protocol in front.
  if (frame.link == DLT_LINUX_SLL2 && frame.octets.size() >= kSll2)
    std::rotate(frame.octets.begin(), frame.octets.begin() + 2, frame.octets.begin() + kSll2);
  frame.prefix = std::min<std::size_t>(prefix_of(frame.link), frame.octets.size());
  if (view_ == net::LinkType::ethernet && is_raw(frame.link)) {
    frame.made = kEthernet;
    const auto at = frame.octets.begin() + static_cast<std::ptrdiff_t>(frame.prefix);
    const bool v6 = at != frame.octets.end() && *at >> 4 == 6;
    std::uint8_t header[kEthernet]{};
    store_be16(header + kAddresses, v6 ? 0x86dd : 0x0800);
    frame.octets.insert(at, header, header + kEthernet);
  }
  return frame;
}

Result<std::unique_ptr<CaptureWriter>> CaptureWriter::open(const std::string& path,
                                                           const std::vector<int>& links) {
  std::unique_ptr<CaptureWriter> writer(new CaptureWriter);
  writer->path_ = path;
  writer->links_ = links;
  if (links.size() == 1) {
    writer->handle_ = pcap_open_dead_with_tstamp_precision(links.front(), kSnapshotLength,
                                                           PCAP_TSTAMP_PRECISION_NANO);
    writer->dumper_ = writer->handle_ ? pcap_dump_open(writer->handle_, path.c_str()) : nullptr;
    if (!writer->dumper_)
      return Error{writer->handle_ ? std::string(pcap_geterr(writer->handle_))
                                   : path + ": no memory"};
    return writer;
  }
  writer->blocks_ = path == "-" ? stdout : std::fopen(path.c_str(), "wb");
  if (!writer->blocks_) return Error{path + ": " + std::strerror(errno)};
  std::vector<std::uint8_t> body;
  for (const std::uint32_t number : {0x1a2b3c4du, 1u, 0xffffffffu, 0xffffffffu})
    store(body, number);
  put_block(writer->blocks_, 0x0a0d0d0a, body);
  for (const int link : links) {
    body.clear();
    // if_tsresol: nanoseconds.
    const auto type = static_cast<std::uint32_t>(link == DLT_RAW ? kLinkTypeRaw : link);
    for (const std::uint32_t number : {type, std::uint32_t{kSnapshotLength}, 1u << 16 | 9u, 9u, 0u})
      store(body, number);
    put_block(writer->blocks_, 1, body);
  }
  return writer;
}

CaptureWriter::~CaptureWriter() {
  if (dumper_) pcap_dump_close(dumper_);
  if (handle_) pcap_close(handle_);
  if (blocks_ && blocks_ != stdout) std::fclose(blocks_);
}

void CaptureWriter::put(std::uint64_t time, int link, Bytes octets, std::size_t original) {
  if (dumper_) {
    pcap_pkthdr header{};
    header.ts.tv_sec = static_cast<time_t>(time / kSecond);
    header.ts.tv_usec = static_cast<suseconds_t>(time % kSecond);
    header.caplen = static_cast<bpf_u_int32>(octets.size());
    header.len = static_cast<bpf_u_int32>(original);
    return pcap_dump(reinterpret_cast<u_char*>(dumper_), &header, octets.data());
  }
  std::vector<std::uint8_t> body;
  store(body,
        static_cast<std::uint32_t>(std::find(links_.begin(), links_.end(), link) - links_.begin()));
  store(body, static_cast<std::uint32_t>(time >> 32));
  store(body, static_cast<std::uint32_t>(time));
  store(body, static_cast<std::uint32_t>(octets.size()));
  store(body, static_cast<std::uint32_t>(original));
  body.insert(body.end(), octets.begin(), octets.end());
  put_block(blocks_, 6, std::move(body));
}

void CaptureWriter::write(std::uint64_t time, const CapturedFrame& frame, std::size_t size) {
  std::vector<std::uint8_t> octets(frame.octets.begin(),
                                   frame.octets.begin() + static_cast<std::ptrdiff_t>(size));
  const std::size_t gone = frame.octets.size() - size;
  if (frame.made > 0) {
    const auto at = octets.begin() + static_cast<std::ptrdiff_t>(frame.prefix);
    octets.erase(at, at + static_cast<std::ptrdiff_t>(std::min(frame.made, octets.size())));
  }
  if (frame.link == DLT_LINUX_SLL2 && octets.size() >= kSll2)
    std::rotate(octets.begin(), octets.begin() + kSll2 - 2, octets.begin() + kSll2);
  put(time, frame.link, octets, frame.original - std::min<std::size_t>(gone, frame.original));
}

void CaptureWriter::write_own(std::uint64_t time, Bytes octets) {
  int link = links_.front();
  if (links_.size() > 1) {
    // Where there are several, raw ones have got a header of zeros.
    const bool ours =
        octets.size() >= kEthernet && std::all_of(octets.begin(), octets.begin() + kAddresses,
                                                  [](std::uint8_t o) { return o == 0; });
    link = *std::find_if(links_.begin(), links_.end(), ours ? is_raw : like_ethernet);
    if (ours) octets = octets.subspan(kEthernet);
  }
  std::vector<std::uint8_t> frame(prefix_of(link));
  const bool v6 = !octets.empty() && octets[0] >> 4 == 6;
  switch (link) {
    // What stands in the place of Ethernet's addresses is the header of one direction.
    case DLT_LINUX_SLL:
    case DLT_LINUX_SLL2:
      if (octets.size() < kEthernet) return;
      frame.resize(frame.size() + kAddresses);
      store_be16(frame.data() + (link == DLT_LINUX_SLL ? 2 : 6), 1);  // ARPHRD_ETHER
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
  if (link == DLT_LINUX_SLL2 && frame.size() >= kSll2)
    std::rotate(frame.begin(), frame.begin() + kSll2 - 2, frame.begin() + kSll2);
  put(time, link, frame, frame.size());
}

Status CaptureWriter::close() {
  std::FILE* const file = dumper_ ? pcap_dump_file(dumper_) : blocks_;
  if (std::fflush(file) != 0 || std::ferror(file))
    return Error{path_ + ": cannot write the whole capture"};
  return ok();
}

}  // namespace sluice::control
