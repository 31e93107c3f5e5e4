// What a TLS session tells without being decrypted (RFC 8446 4.1.2, 5246 7.4, 6066 3, 7301): server
// name, versions, ALPN, JA4 client fingerprint (FoxIO, JA4 of the client only), and the names in a
// certificate that TLS 1.2 still shows. Incremental over any cut, bounded, linear; one thread.
//
//   record header ► record octets ► handshake header ► handshake body ► (hello read) done
#pragma once

#include <array>
#include <cstdint>
#include <memory_resource>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/bytes.h"

namespace sluice::tls {

enum class Progress : std::uint8_t { need_more, done, failed };

inline constexpr std::size_t kMaxClientHello = 16 * 1024;   // octets of the message
inline constexpr std::size_t kMaxServerFlight = 64 * 1024;  // of all messages together

// Joins handshake messages out of records, whatever the cuts. Stops at the first record that is no
// handshake (for the server: ChangeCipherSpec or application data end what is visible).
class HandshakeReader {
 public:
  HandshakeReader(std::size_t bound, std::pmr::memory_resource* memory)
      : octets_(memory), bound_(bound) {}
  // Takes octets of one direction. What stands before a fault can still be read.
  void feed(Bytes octets);
  // The next whole message; none until more octets come. The view lasts until feed().
  struct HandshakeMessage {
    std::uint8_t type = 0;
    Bytes body;
  };
  std::optional<HandshakeMessage> next();
  bool ended() const { return ended_; }    // a record of another kind came
  bool failed() const { return failed_; }  // octets that are no TLS records, or past the bound
  std::uint16_t record_version() const { return record_version_; }
  std::size_t buffered() const { return octets_.size() - read_; }

 private:
  std::pmr::vector<std::uint8_t> octets_;  // of handshake messages
  std::size_t bound_;
  std::size_t total_ = 0;
  std::size_t read_ = 0;
  std::uint16_t record_left_ = 0;
  std::uint16_t record_version_ = 0;
  std::uint8_t header_[5]{};
  std::uint8_t header_size_ = 0;
  bool ended_ = false;
  bool failed_ = false;
};

struct ClientHello {
  explicit ClientHello(std::pmr::memory_resource* memory)
      : server_name(memory), protocols(memory), ja4(memory) {}
  std::pmr::string server_name;                  // empty: no SNI
  std::uint16_t version = 0;                     // highest offered (GREASE left out)
  std::pmr::vector<std::pmr::string> protocols;  // ALPN, at most 16
  std::pmr::string ja4;                          // t13d1516h2_8daaf6152771_b186095e22b6
};

// Reads the body of a ClientHello. False when it is malformed; what was read so far stays.
bool parse_client_hello(Bytes body, ClientHello& hello);

// Names of the first certificate (DER): subject common name (empty where it has none), then the DNS
// names of the alternative names; at most 16. None when it cannot be read.
std::pmr::vector<std::pmr::string> certificate_names(Bytes der, std::pmr::memory_resource* memory);

// Both directions of a TLS session as it begins.
class ClientHelloParser {
 public:
  explicit ClientHelloParser(std::pmr::memory_resource* memory)
      : memory_(memory),
        client_(kMaxClientHello, memory),
        server_(kMaxServerFlight, memory),
        hello_(memory),
        names_(memory) {}

  // In stream order. After done or failed nothing more is read.
  Progress client(Bytes octets);
  Progress server(Bytes octets);

  const ClientHello& hello() const { return hello_; }
  // As negotiated; 0 until the ServerHello was seen.
  std::uint16_t negotiated_version() const { return negotiated_; }
  const std::pmr::vector<std::pmr::string>& server_names() const { return names_; }
  Progress client_progress() const { return client_progress_; }
  Progress server_progress() const { return server_progress_; }

 private:
  bool server_hello(Bytes body);
  std::pmr::memory_resource* memory_;
  HandshakeReader client_;
  HandshakeReader server_;
  ClientHello hello_;
  std::pmr::vector<std::pmr::string> names_;
  std::uint16_t negotiated_ = 0;
  Progress client_progress_ = Progress::need_more;
  Progress server_progress_ = Progress::need_more;
};

}  // namespace sluice::tls
