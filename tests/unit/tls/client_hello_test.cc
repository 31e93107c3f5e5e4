// ClientHellos built by hand for what no library sends, and real ones made by OpenSSL through
// memory BIOs; every cut gives the same result.
#include "dataplane/tls/client_hello.h"

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <memory>
#include <random>
#include <string>

namespace sluice::tls {
namespace {

using Octets = std::vector<std::uint8_t>;

void put16(Octets& o, std::size_t v) {
  o.push_back(static_cast<std::uint8_t>(v >> 8));
  o.push_back(static_cast<std::uint8_t>(v));
}
void append(Octets& o, const Octets& more) { o.insert(o.end(), more.begin(), more.end()); }

Octets extension(std::uint16_t type, const Octets& data) {
  Octets o;
  put16(o, type);
  put16(o, data.size());
  append(o, data);
  return o;
}
Octets server_name(const std::string& name) {
  Octets o;
  put16(o, name.size() + 3);
  o.push_back(0);
  put16(o, name.size());
  append(o, Octets(name.begin(), name.end()));
  return extension(0, o);
}
Octets numbers(const std::vector<std::uint16_t>& list) {
  Octets o;
  for (const std::uint16_t v : list) put16(o, v);
  return o;
}

// A ClientHello body.
Octets hello_body(const std::vector<std::uint16_t>& ciphers, const Octets& extensions) {
  Octets o{3, 3};
  o.resize(2 + 32, 0x55);
  o.push_back(0);
  put16(o, ciphers.size() * 2);
  append(o, numbers(ciphers));
  append(o, {1, 0});
  put16(o, extensions.size());
  append(o, extensions);
  return o;
}
Octets handshake(std::uint8_t type, const Octets& body) {
  Octets o{type, static_cast<std::uint8_t>(body.size() >> 16),
           static_cast<std::uint8_t>(body.size() >> 8), static_cast<std::uint8_t>(body.size())};
  append(o, body);
  return o;
}
// Records of at most `size` octets.
Octets records(const Octets& message, std::size_t size = 16384) {
  Octets o;
  for (std::size_t at = 0; at < message.size(); at += size) {
    const std::size_t n = std::min(size, message.size() - at);
    append(o, {22, 3, 1});
    put16(o, n);
    o.insert(o.end(), message.begin() + static_cast<std::ptrdiff_t>(at),
             message.begin() + static_cast<std::ptrdiff_t>(at + n));
  }
  return o;
}

Octets sample_extensions() {
  Octets e = extension(0x0a0a, {});  // GREASE
  append(e, server_name("mx.example.net"));
  append(e, extension(16, {0, 12, 2, 'h', '2', 8, 'h', 't', 't', 'p', '/', '1', '.', '1'}));
  append(e, extension(43, {7, 0x2a, 0x2a, 3, 4, 3, 3, 9}));  // odd octet at the end: ignored
  append(e, extension(13, {0, 4, 4, 3, 8, 4}));
  append(e, extension(23, {}));
  return e;
}

ClientHelloParser parse_in_pieces(const Octets& octets, std::size_t piece) {
  ClientHelloParser parser(std::pmr::new_delete_resource());
  for (std::size_t at = 0; at < octets.size(); at += piece)
    parser.client(Bytes(octets).subspan(at, std::min(piece, octets.size() - at)));
  return parser;
}

TEST(ClientHello, FieldsOfAHandMadeHello) {
  const Octets body = hello_body({0x1a1a, 0x1301, 0x1302, 0xc02f}, sample_extensions());
  ClientHello hello(std::pmr::new_delete_resource());
  ASSERT_TRUE(parse_client_hello(body, hello));
  EXPECT_EQ(hello.server_name, "mx.example.net");
  EXPECT_EQ(hello.version, 0x0304);
  ASSERT_EQ(hello.protocols.size(), 2u);
  EXPECT_EQ(hello.protocols[1], "http/1.1");
  // Counted without GREASE: 3 ciphers, 5 extensions; digests by sha256sum:
  // printf 1301,1302,c02f | sha256sum; printf '000d,0017,002b_0403,0804' | sha256sum
  EXPECT_EQ(hello.ja4, "t13d0305h2_40b44b994229_f9b7c94aa166");
}

TEST(ClientHello, AnyCutAndAnyRecordSizeIsTheSame) {
  const Octets message = handshake(1, hello_body({0x1301, 0xc02f}, sample_extensions()));
  const auto whole = parse_in_pieces(records(message), 100000);
  ASSERT_EQ(whole.client_progress(), Progress::done);
  for (const std::size_t record : {1u, 5u, 64u, 16384u})
    for (const std::size_t piece : {1u, 3u, 536u}) {
      const auto parser = parse_in_pieces(records(message, record), piece);
      EXPECT_EQ(parser.client_progress(), Progress::done) << record << ' ' << piece;
      EXPECT_EQ(parser.hello().ja4, whole.hello().ja4);
      EXPECT_EQ(parser.hello().server_name, "mx.example.net");
    }
}

TEST(ClientHello, EveryTruncationIsNoHelloAndNoFault) {
  const Octets body = hello_body({0x1301, 0xc02f}, sample_extensions());
  for (std::size_t n = 0; n < body.size(); ++n) {
    ClientHello hello(std::pmr::new_delete_resource());
    // A hello may end before its extensions (RFC 5246 7.4.1.2), nowhere else.
    const bool before_extensions = n == 2 + 32 + 1 + 2 + 4 + 2;
    EXPECT_EQ(parse_client_hello(Bytes(body).first(n), hello), before_extensions) << n;
  }
}

TEST(ClientHello, WhatIsNoTlsFails) {
  using namespace std::string_view_literals;
  for (const std::string_view text : {"EHLO client.test\r\n"sv, "\x80\x2e\x01\x03\x01"sv,
                                      "\x17\x03\x03\x00\x01x"sv, "\x16\x02\x00\x00\x05"sv}) {
    ClientHelloParser parser(std::pmr::new_delete_resource());
    EXPECT_EQ(parser.client(as_bytes(text)), Progress::failed) << text;
  }
}

TEST(ClientHello, WhatStandsBehindTheHelloIsNoFaultOfIt) {
  // In the same segment: junk, a record too long, a message that would pass the bound.
  const Octets hello = records(handshake(1, hello_body({0x1301}, sample_extensions())));
  const Octets tails[] = {{'M', 'A', 'I', 'L', ' '},
                          {22, 3, 1, 0xff, 0xff, 0},
                          records(handshake(1, Octets(60000, 0)))};
  for (const Octets& tail : tails) {
    Octets wire = hello;
    append(wire, tail);
    for (const std::size_t piece : {std::size_t{1}, std::size_t{100000}})
      EXPECT_EQ(parse_in_pieces(wire, piece).client_progress(), Progress::done) << piece;
  }
}

TEST(ClientHello, UnknownMessageBeforeTheHelloFailsInEveryCut) {
  Octets wire = records(handshake(0xff, {}));
  append(wire, records(handshake(1, hello_body({0x1301}, sample_extensions()))));
  for (const std::size_t piece : {std::size_t{1}, std::size_t{100000}})
    EXPECT_EQ(parse_in_pieces(wire, piece).client_progress(), Progress::failed) << piece;
}

TEST(ClientHello, EndlessHandshakeIsBounded) {
  ClientHelloParser parser(std::pmr::new_delete_resource());
  const Octets message = handshake(1, Octets(60000, 0));
  const Octets wire = records(message);
  EXPECT_EQ(parser.client(wire), Progress::failed);
}

TEST(ClientHello, RandomDamageNeverFaults) {
  const Octets good = records(handshake(1, hello_body({0x1301, 0xc02f}, sample_extensions())));
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    Octets bad = good;
    for (int k = 0; k < 3; ++k) bad[random() % bad.size()] = static_cast<std::uint8_t>(random());
    parse_in_pieces(bad, 1 + random() % 200);
  }
}

// --- OpenSSL -------------------------------------------------------------------------------------

struct Free {
  void operator()(SSL_CTX* p) const { SSL_CTX_free(p); }
  void operator()(SSL* p) const { SSL_free(p); }
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(X509* p) const { X509_free(p); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

Owned<X509> certificate(EVP_PKEY* key, bool named = true) {
  Owned<X509> x(X509_new());
  X509_set_version(x.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(x.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(x.get()), 3600);
  X509_set_pubkey(x.get(), key);
  X509_NAME* name = X509_get_subject_name(x.get());
  if (named)
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("mx.example.net"), -1, -1, 0);
  X509_set_issuer_name(x.get(), name);
  X509_EXTENSION* names = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name,
                                              "DNS:mx.example.net,DNS:mail.example.net");
  X509_add_ext(x.get(), names, -1);
  X509_EXTENSION_free(names);
  X509_sign(x.get(), key, EVP_sha256());
  return x;
}

std::string take(BIO* bio) {
  std::string s(BIO_ctrl_pending(bio), '\0');
  BIO_read(bio, s.data(), static_cast<int>(s.size()));
  return s;
}

// A handshake between two OpenSSL ends, each flight through the parser.
ClientHelloParser real_handshake(int version, std::size_t piece) {
  const Owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
  const Owned<X509> x = certificate(key.get());
  const Owned<SSL_CTX> contexts[2] = {Owned<SSL_CTX>(SSL_CTX_new(TLS_client_method())),
                                      Owned<SSL_CTX>(SSL_CTX_new(TLS_server_method()))};
  SSL_CTX_use_certificate(contexts[1].get(), x.get());
  SSL_CTX_use_PrivateKey(contexts[1].get(), key.get());
  for (const auto& c : contexts) SSL_CTX_set_max_proto_version(c.get(), version);
  const Owned<SSL> ends[2] = {Owned<SSL>(SSL_new(contexts[0].get())),
                              Owned<SSL>(SSL_new(contexts[1].get()))};
  BIO* out[2];
  BIO* in[2];
  for (int i = 0; i < 2; ++i) {
    in[i] = BIO_new(BIO_s_mem());
    out[i] = BIO_new(BIO_s_mem());
    SSL_set_bio(ends[i].get(), in[i], out[i]);
  }
  SSL_set_connect_state(ends[0].get());
  SSL_set_accept_state(ends[1].get());
  SSL_set_tlsext_host_name(ends[0].get(), "mx.example.net");
  const unsigned char protocols[] = "\x04smtp";
  SSL_set_alpn_protos(ends[0].get(), protocols, 5);
  ClientHelloParser parser(std::pmr::new_delete_resource());
  for (int round = 0; round < 4; ++round)
    for (int i = 0; i < 2; ++i) {
      SSL_do_handshake(ends[i].get());
      const std::string octets = take(out[i]);
      for (std::size_t at = 0; at < octets.size(); at += piece) {
        const Bytes b = as_bytes(std::string_view(octets).substr(at, piece));
        if (i == 0)
          parser.client(b);
        else
          parser.server(b);
      }
      BIO_write(in[1 - i], octets.data(), static_cast<int>(octets.size()));
    }
  EXPECT_TRUE(SSL_is_init_finished(ends[0].get()));
  return parser;
}

TEST(ClientHello, RealHandshakeOfTls12ShowsTheCertificatesNames) {
  for (const std::size_t piece : {std::size_t{1}, std::size_t{536}, std::size_t{100000}}) {
    const auto parser = real_handshake(TLS1_2_VERSION, piece);
    EXPECT_EQ(parser.client_progress(), Progress::done);
    EXPECT_EQ(parser.server_progress(), Progress::done);
    EXPECT_EQ(parser.hello().server_name, "mx.example.net");
    EXPECT_EQ(parser.negotiated_version(), 0x0303);
    ASSERT_EQ(parser.hello().protocols.size(), 1u);
    EXPECT_EQ(parser.hello().protocols[0], "smtp");
    ASSERT_EQ(parser.server_names().size(), 3u);
    EXPECT_EQ(parser.server_names()[0], "mx.example.net");
    EXPECT_EQ(parser.server_names()[1], "mx.example.net");
    EXPECT_EQ(parser.server_names()[2], "mail.example.net");
    EXPECT_EQ(parser.hello().ja4.substr(0, 4), "t12d");
    EXPECT_EQ(parser.hello().ja4.substr(8, 2), "sp");
  }
}

TEST(ClientHello, ACertificateWithoutACommonName) {
  const Owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
  const Owned<X509> x = certificate(key.get(), false);
  unsigned char* der = nullptr;
  const int size = i2d_X509(x.get(), &der);
  const auto names =
      certificate_names({der, static_cast<std::size_t>(size)}, std::pmr::new_delete_resource());
  OPENSSL_free(der);
  ASSERT_EQ(names.size(), 3u);
  EXPECT_EQ(names[0], "");
  EXPECT_EQ(names[1], "mx.example.net");
}

TEST(ClientHello, RealHandshakeOfTls13) {
  for (const std::size_t piece : {std::size_t{1}, std::size_t{100000}}) {
    const auto parser = real_handshake(TLS1_3_VERSION, piece);
    EXPECT_EQ(parser.client_progress(), Progress::done);
    EXPECT_EQ(parser.server_progress(), Progress::done);
    EXPECT_EQ(parser.negotiated_version(), 0x0304);
    EXPECT_TRUE(parser.server_names().empty());
    EXPECT_EQ(parser.hello().ja4.substr(0, 4), "t13d");
  }
}

}  // namespace
}  // namespace sluice::tls
