#include "dataplane/tls/client_hello.h"

// EVP allocates for each digest (OpenSSL 3.0), and two are made for every ClientHello.
#define OPENSSL_SUPPRESS_DEPRECATED

#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "dataplane/base/stack_memory.h"

namespace sluice::tls {
namespace {

constexpr std::uint8_t kHandshakeRecord = 22;
constexpr std::uint8_t kClientHelloType = 1;
constexpr std::uint8_t kServerHelloType = 2;
constexpr std::uint8_t kCertificateType = 11;
constexpr std::uint8_t kServerHelloDone = 14;
constexpr std::size_t kMaxRecord = (1 << 14) + 2048;
constexpr std::size_t kMaxNames = 16;
constexpr char kHex[] = "0123456789abcdef";

enum Extension : std::uint16_t { kServerName = 0, kSignatures = 13, kAlpn = 16, kVersions = 43 };

// RFC 8701: values that mean nothing, sent to keep receivers honest.
bool grease(std::uint16_t v) { return (v & 0x0f0f) == 0x0a0a && v >> 8 == (v & 0xff); }

// A bounded reader: a read beyond the end makes it bad and gives nothing.
class Cursor {
 public:
  explicit Cursor(Bytes b) : rest_(b) {}
  bool good() const { return good_; }
  bool empty() const { return rest_.empty(); }
  Bytes take(std::size_t n) {
    if (n > rest_.size()) {
      good_ = false;
      n = 0;
      rest_ = {};
    }
    const Bytes b = rest_.first(n);
    rest_ = rest_.subspan(n);
    return b;
  }
  std::uint8_t u8() {
    const Bytes b = take(1);
    return b.empty() ? std::uint8_t{0} : b[0];
  }
  std::uint16_t u16() {
    const Bytes b = take(2);
    return b.empty() ? std::uint16_t{0} : load_be16(b.data());
  }
  std::uint32_t u24() {
    const Bytes b = take(3);
    return b.empty() ? 0 : static_cast<std::uint32_t>(b[0] << 16 | b[1] << 8 | b[2]);
  }

 private:
  Bytes rest_;
  bool good_ = true;
};

std::string hex4(std::uint16_t v) {
  return {kHex[v >> 12], kHex[v >> 8 & 15], kHex[v >> 4 & 15], kHex[v & 15]};
}

std::pmr::string joined(const std::pmr::vector<std::uint16_t>& values) {
  std::pmr::string s(values.get_allocator());
  s.reserve(values.size() * 5);
  for (const std::uint16_t v : values) {
    if (!s.empty()) s += ',';
    s += hex4(v);
  }
  return s;
}

// The first twelve hexadecimal digits of the SHA-256, as JA4 uses it; zeros for nothing.
std::string short_digest(std::string_view text, bool nothing) {
  if (nothing) return "000000000000";
  std::uint8_t digest[SHA256_DIGEST_LENGTH];
  SHA256_CTX sha256;
  SHA256_Init(&sha256);
  SHA256_Update(&sha256, text.data(), text.size());
  SHA256_Final(digest, &sha256);
  std::string s;
  for (int i = 0; i < 6; ++i) {
    s += kHex[digest[i] >> 4];
    s += kHex[digest[i] & 15];
  }
  return s;
}

std::string_view version_code(std::uint16_t v) {
  switch (v) {
    case 0x0304:
      return "13";
    case 0x0303:
      return "12";
    case 0x0302:
      return "11";
    case 0x0301:
      return "10";
    case 0x0300:
      return "s3";
    case 0x0002:
      return "s2";
    default:
      return "00";
  }
}

std::string two_digits(std::size_t n) {
  n = std::min<std::size_t>(n, 99);
  return {static_cast<char>('0' + n / 10), static_cast<char>('0' + n % 10)};
}

bool alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// First and last character of the first protocol; of its hexadecimal form when they are not
// alphanumeric; "00" without ALPN.
std::string protocol_code(const std::pmr::vector<std::pmr::string>& protocols) {
  if (protocols.empty() || protocols[0].empty()) return "00";
  const auto& p = protocols[0];
  if (alphanumeric(p.front()) && alphanumeric(p.back())) return {p.front(), p.back()};
  const auto first = static_cast<std::uint8_t>(p.front());
  const auto last = static_cast<std::uint8_t>(p.back());
  return {kHex[first >> 4], kHex[last & 15]};
}

struct Fingerprint {
  explicit Fingerprint(std::pmr::memory_resource* memory)
      : ciphers(memory), extensions(memory), signatures(memory) {}
  std::pmr::vector<std::uint16_t> ciphers;
  std::pmr::vector<std::uint16_t> extensions;
  std::pmr::vector<std::uint16_t> signatures;
};

void put_ja4(ClientHello& hello, Fingerprint& f) {
  std::pmr::string s("t", f.ciphers.get_allocator());
  s += version_code(hello.version);
  s += std::count(f.extensions.begin(), f.extensions.end(), kServerName) ? 'd' : 'i';
  s += two_digits(f.ciphers.size());
  s += two_digits(f.extensions.size());
  s += protocol_code(hello.protocols);
  std::sort(f.ciphers.begin(), f.ciphers.end());
  std::erase_if(f.extensions, [](std::uint16_t e) { return e == kServerName || e == kAlpn; });
  std::sort(f.extensions.begin(), f.extensions.end());
  s += '_' + short_digest(joined(f.ciphers), f.ciphers.empty());
  std::pmr::string second = joined(f.extensions);
  if (!f.signatures.empty()) {
    second += '_';
    second += joined(f.signatures);
  }
  s += '_' + short_digest(second, f.extensions.empty() && f.signatures.empty());
  hello.ja4 = s;
}

void read_server_name(Bytes data, ClientHello& hello) {
  Cursor c(data);
  Cursor list(c.take(c.u16()));
  while (list.good() && !list.empty()) {
    const std::uint8_t type = list.u8();
    const Bytes name = list.take(list.u16());
    if (list.good() && type == 0 && hello.server_name.empty())
      hello.server_name = as_text(name.first(std::min<std::size_t>(name.size(), 255)));
  }
}

void read_protocols(Bytes data, ClientHello& hello) {
  Cursor c(data);
  Cursor list(c.take(c.u16()));
  while (list.good() && !list.empty() && hello.protocols.size() < kMaxNames) {
    const Bytes name = list.take(list.u8());
    if (list.good()) hello.protocols.emplace_back(as_text(name));
  }
}

void read_versions(Bytes data, ClientHello& hello) {
  Cursor c(data);
  Cursor list(c.take(c.u8()));
  std::uint16_t best = 0;
  while (list.good() && !list.empty()) {
    const std::uint16_t v = list.u16();
    if (!grease(v)) best = std::max(best, v);
  }
  if (best) hello.version = best;
}

}  // namespace

void HandshakeReader::feed(Bytes octets) {
  if (read_ > 0) {
    octets_.erase(octets_.begin(), octets_.begin() + static_cast<std::ptrdiff_t>(read_));
    read_ = 0;
  }
  while (!octets.empty() && !ended_ && !failed_) {
    if (record_left_ == 0) {
      const std::size_t n = std::min<std::size_t>(sizeof header_ - header_size_, octets.size());
      std::copy_n(octets.begin(), n, header_ + header_size_);
      header_size_ = static_cast<std::uint8_t>(header_size_ + n);
      octets = octets.subspan(n);
      if (header_size_ < sizeof header_) break;
      header_size_ = 0;
      if (header_[0] < 20 || header_[0] > 24 || header_[1] != 3) {
        failed_ = true;
        break;
      }
      if (header_[0] != kHandshakeRecord) {
        ended_ = true;
        break;
      }
      record_version_ = load_be16(header_ + 1);
      record_left_ = load_be16(header_ + 3);
      failed_ = record_left_ > kMaxRecord;
      continue;
    }
    const std::size_t n = std::min({std::size_t{record_left_}, octets.size(), bound_ - total_});
    failed_ = n == 0;
    total_ += n;
    octets_.insert(octets_.end(), octets.begin(), octets.begin() + static_cast<std::ptrdiff_t>(n));
    record_left_ = static_cast<std::uint16_t>(record_left_ - n);
    octets = octets.subspan(n);
  }
}

std::optional<HandshakeReader::HandshakeMessage> HandshakeReader::next() {
  const Bytes rest = Bytes(octets_).subspan(read_);
  if (rest.size() < 4) return std::nullopt;
  const std::size_t size = static_cast<std::size_t>(rest[1] << 16 | rest[2] << 8 | rest[3]);
  if (rest.size() - 4 < size) return std::nullopt;
  read_ += 4 + size;
  return HandshakeMessage{rest[0], rest.subspan(4, size)};
}

bool parse_client_hello(Bytes body, ClientHello& hello) {
  StackMemory<4096> memory(hello.ja4.get_allocator().resource());
  Fingerprint f(memory.get());
  Cursor c(body);
  hello.version = c.u16();
  c.take(32);      // random
  c.take(c.u8());  // session id
  Cursor ciphers(c.take(c.u16()));
  while (ciphers.good() && !ciphers.empty()) {
    const std::uint16_t v = ciphers.u16();
    if (ciphers.good() && !grease(v)) f.ciphers.push_back(v);
  }
  c.take(c.u8());  // compression methods
  bool good = c.good() && ciphers.good();
  if (good && !c.empty()) {
    Cursor extensions(c.take(c.u16()));
    while (extensions.good() && !extensions.empty()) {
      const std::uint16_t type = extensions.u16();
      const Bytes data = extensions.take(extensions.u16());
      if (!extensions.good()) break;
      if (grease(type)) continue;
      f.extensions.push_back(type);
      switch (type) {
        case kServerName:
          read_server_name(data, hello);
          break;
        case kAlpn:
          read_protocols(data, hello);
          break;
        case kVersions:
          read_versions(data, hello);
          break;
        case kSignatures: {
          Cursor s(data);
          Cursor list(s.take(s.u16()));
          while (list.good() && !list.empty()) {
            const std::uint16_t v = list.u16();
            if (list.good() && !grease(v)) f.signatures.push_back(v);
          }
          break;
        }
        default:
          break;
      }
    }
    good = c.good() && extensions.good();
  }
  if (good) put_ja4(hello, f);
  return good;
}

std::pmr::vector<std::pmr::string> certificate_names(Bytes der, std::pmr::memory_resource* memory) {
  std::pmr::vector<std::pmr::string> names(memory);
  const std::uint8_t* p = der.data();
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(
      d2i_X509(nullptr, &p, static_cast<long>(der.size())), &X509_free);
  if (!certificate) return names;
  const auto add = [&names](const ASN1_STRING* s) {
    const int size = ASN1_STRING_length(s);
    if (size <= 0 || names.size() >= kMaxNames) return;
    const std::string_view text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(s)),
                                static_cast<std::size_t>(std::min(size, 255)));
    names.emplace_back(text);
  };
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at >= 0) add(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
  if (names.empty()) names.emplace_back();
  auto* alternatives = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, nullptr, nullptr));
  if (alternatives) {
    for (int i = 0; i < sk_GENERAL_NAME_num(alternatives); ++i) {
      const GENERAL_NAME* name = sk_GENERAL_NAME_value(alternatives, i);
      if (name->type == GEN_DNS) add(name->d.dNSName);
    }
    GENERAL_NAMES_free(alternatives);
  }
  if (names.size() == 1 && names.front().empty()) names.clear();
  return names;
}

Progress ClientHelloParser::client(Bytes octets) {
  if (client_progress_ != Progress::need_more) return client_progress_;
  client_.feed(octets);
  const auto message = client_.next();
  if (!message) {
    const bool over = client_.ended() || client_.failed();
    return client_progress_ = over ? Progress::failed : Progress::need_more;
  }
  const bool good = message->type == kClientHelloType && parse_client_hello(message->body, hello_);
  return client_progress_ = good ? Progress::done : Progress::failed;
}

bool ClientHelloParser::server_hello(Bytes body) {
  Cursor c(body);
  negotiated_ = c.u16();
  c.take(32);
  c.take(c.u8());
  c.take(3);  // cipher suite, compression
  if (!c.good()) return false;
  if (c.empty()) return true;
  Cursor extensions(c.take(c.u16()));
  while (extensions.good() && !extensions.empty()) {
    const std::uint16_t type = extensions.u16();
    const Bytes data = extensions.take(extensions.u16());
    if (extensions.good() && type == kVersions && data.size() == 2)
      negotiated_ = load_be16(data.data());
  }
  return c.good() && extensions.good();
}

Progress ClientHelloParser::server(Bytes octets) {
  if (server_progress_ != Progress::need_more) return server_progress_;
  server_.feed(octets);
  while (const auto message = server_.next()) {
    if (message->type == kServerHelloType) {
      if (!server_hello(message->body)) return server_progress_ = Progress::failed;
    } else if (message->type == kCertificateType && names_.empty()) {
      Cursor c(message->body);
      Cursor list(c.take(c.u24()));
      names_ = certificate_names(list.take(list.u24()), memory_);
    } else if (message->type == kServerHelloDone) {
      return server_progress_ = Progress::done;
    }
  }
  if (server_.failed()) return server_progress_ = Progress::failed;
  if (server_.ended()) server_progress_ = negotiated_ ? Progress::done : Progress::failed;
  return server_progress_;
}

}  // namespace sluice::tls
