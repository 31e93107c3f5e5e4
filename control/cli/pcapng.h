// Packets of a pcapng file (draft-ietf-opsawg-pcapng), block by block. libpcap reads none of whose
// interfaces differ in link type or snapshot length, or whose sections differ in byte order.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/bytes.h"

namespace sluice::control {

class PcapngReader {
 public:
  // `file` at the first octet of the file; not owned, and must outlive this.
  explicit PcapngReader(std::FILE* file) : file_(file) {}

  struct Packet {
    int link = 0;            // LINKTYPE_* of its interface
    std::uint64_t time = 0;  // ns since the Unix epoch; 0 where the block has none
    Bytes octets;            // until the next call
    std::uint32_t original = 0;
  };
  // Nothing at the end, or at a fault.
  std::optional<Packet> next();
  // What is wrong with the file; empty: nothing.
  const std::string& fault() const { return fault_; }
  // Link types of the interfaces described so far, each once.
  const std::vector<int>& links() const { return links_; }
  // Reads the interfaces that are described in front of the first packet. False: there are none.
  bool begin();

 private:
  struct Interface {
    int link = 0;
    std::uint32_t snap = 0;           // 0: no bound
    std::uint8_t resolution = 6;      // if_tsresol
    std::int64_t offset_seconds = 0;  // if_tsoffset
  };
  bool read_block();  // into type_ and body_
  bool read_section();
  bool read_rest(std::uint32_t length);
  void read_interface();
  bool is_packet() const;
  std::optional<Packet> packet();
  std::uint16_t u16(std::size_t at) const;
  std::uint32_t u32(std::size_t at) const;
  std::uint64_t u64(std::size_t at) const;
  bool fail(std::string text);

  std::FILE* file_;
  std::string fault_;
  std::vector<std::uint8_t> body_;  // of the block, without its lengths
  std::uint32_t type_ = 0;
  bool big_ = false;                   // byte order of the section
  bool begun_ = false;                 // the section header was read
  bool waiting_ = false;               // the block in hand was not looked at
  std::vector<Interface> interfaces_;  // of the section
  std::vector<int> links_;
};

}  // namespace sluice::control
