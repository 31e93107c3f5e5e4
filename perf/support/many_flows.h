// The frames of one conversation made into those of many: other client addresses and ports.
#pragma once

#include "dataplane/base/checksum.h"
#include "tests/unit/support/packet_factory.h"

namespace sluice::perf {

// Handshake, greeting, EHLO and its reply.
inline void greet(test::Conversation& talk) {
  talk.open();
  talk.server("220 mx.provider.example ESMTP Postfix\r\n");
  talk.client("EHLO mail-out-17.customer.example\r\n");
  talk.server(
      "250-mx.provider.example\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n"
      "250-STARTTLS\r\n250-ENHANCEDSTATUSCODES\r\n250 CHUNKING\r\n");
}

// The same frame as of the flow of that number (below 2^32). `frame` is Ethernet, IPv4 without
// options, TCP. Checksums are not mended.
inline void readdress(test::Frame& frame, Direction direction, std::size_t flow) {
  const bool from_client = direction == Direction::to_server;
  std::uint8_t* address = frame.data() + (from_client ? 26 : 30);
  address[1] = static_cast<std::uint8_t>(flow >> 24);
  address[2] = static_cast<std::uint8_t>(flow >> 16);
  address[3] = static_cast<std::uint8_t>(flow >> 8);
  frame[from_client ? 35 : 37] = static_cast<std::uint8_t>(flow);
}

// Mends the checksums of such a frame.
inline void mend_checksums(test::Frame& frame) {
  std::uint8_t* ip = frame.data() + 14;
  std::uint8_t* tcp = ip + 20;
  ip[10] = ip[11] = tcp[16] = tcp[17] = 0;
  store_checksum(ip + 10, checksum_finish(checksum_add(ip, 20, 0)));
  const auto size = static_cast<std::uint16_t>(load_be16(ip + 2) - 20);
  std::uint64_t sum = checksum_add(ip + 12, 8, 0);
  sum = checksum_add16(6, checksum_add16(size, sum));
  store_checksum(tcp + 16, checksum_finish(checksum_add(tcp, size, sum)));
}

}  // namespace sluice::perf
