// The beginning of a TLS session on any octets. The first octet chooses the cuts, the next two say
// how many of the rest are the client's; what follows is the server's. Whatever it is: the same
// result for every cut, fields within their bounds, memory within its bound and given back. The
// same octets are also read as a ClientHello's body and as a certificate, so that the fuzzer does
// not have to get lengths right first.
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "dataplane/base/limited_resource.h"
#include "dataplane/tls/client_hello.h"

namespace {

using namespace sluice;
using tls::Progress;

#define REQUIRE(condition)                                                 \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                        \
    }                                                                      \
  } while (false)

// Both directions' messages, each once more while its buffer grows, and the fields.
constexpr std::size_t kMemory = 4 * (tls::kMaxClientHello + tls::kMaxServerFlight);

void check(const tls::ClientHello& hello) {
  REQUIRE(hello.server_name.size() <= 255);
  REQUIRE(hello.protocols.size() <= 16);
  for (const auto& protocol : hello.protocols) REQUIRE(protocol.size() <= 255);
  if (hello.ja4.empty()) return;
  // t13d1516h2_8daaf6152771_b186095e22b6
  REQUIRE(hello.ja4.size() == 36 && hello.ja4[0] == 't');
  REQUIRE(hello.ja4[10] == '_' && hello.ja4[23] == '_');
  REQUIRE(hello.ja4.find_first_not_of("0123456789abcdef_", 10) == std::string::npos);
}

void check(const std::pmr::vector<std::pmr::string>& names) {
  REQUIRE(names.size() <= 16);
  // Only the common name may be empty, and then another name stands behind it.
  for (std::size_t i = 0; i < names.size(); ++i)
    REQUIRE(names[i].size() <= 255 && (!names[i].empty() || (i == 0 && names.size() > 1)));
}

std::string play(Bytes client, Bytes server, unsigned cut) {
  LimitedResource memory(std::pmr::new_delete_resource(), kMemory);
  std::string result;
  {
    tls::ClientHelloParser parser(&memory);
    std::mt19937 random(cut);
    for (const bool from_client : {true, false}) {
      Bytes rest = from_client ? client : server;
      while (!rest.empty()) {
        const std::size_t n =
            cut == 0 ? rest.size() : std::min<std::size_t>(1 + random() % cut, rest.size());
        // A block of its own, so that a read beyond the chunk is seen.
        const std::vector<std::uint8_t> chunk(rest.begin(),
                                              rest.begin() + static_cast<std::ptrdiff_t>(n));
        const Progress before = from_client ? parser.client_progress() : parser.server_progress();
        const Progress now = from_client ? parser.client(chunk) : parser.server(chunk);
        REQUIRE(before == Progress::need_more || now == before);
        rest = rest.subspan(n);
      }
    }
    check(parser.hello());
    check(parser.server_names());
    REQUIRE(parser.client_progress() != Progress::done || !parser.hello().ja4.empty());
    result = std::to_string(static_cast<int>(parser.client_progress())) +
             std::to_string(static_cast<int>(parser.server_progress())) + ' ' +
             std::to_string(parser.negotiated_version()) + ' ' +
             std::to_string(parser.hello().version) + ' ' + std::string(parser.hello().ja4) + ' ' +
             std::string(parser.hello().server_name);
    for (const auto& protocol : parser.hello().protocols) result += '|' + std::string(protocol);
    for (const auto& name : parser.server_names()) result += '/' + std::string(name);
  }
  REQUIRE(memory.used() == 0);
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3 || size > 200'000) return 0;
  const Bytes rest(data + 3, size - 3);
  const Bytes client =
      rest.first(std::min(std::size_t{data[1]} | std::size_t{data[2]} << 8, rest.size()));
  const Bytes server = rest.subspan(client.size());
  const std::string whole = play(client, server, 0);
  const std::string cut = play(client, server, 1u + data[0]);
  if (whole != cut)
    std::fprintf(stderr, "--- whole\n%s\n--- cut\n%s\n", whole.c_str(), cut.c_str());
  REQUIRE(whole == cut);

  tls::ClientHello hello(std::pmr::new_delete_resource());
  tls::parse_client_hello(rest, hello);
  check(hello);
  check(tls::certificate_names(server, std::pmr::new_delete_resource()));
  return 0;
}
