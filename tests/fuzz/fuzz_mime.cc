// The MIME parser on any octets. The first octet chooses limits, the second the cuts; the rest is
// the message. Whatever it is: the same result for every cut, calls in order, every part ended,
// output and memory within bounds.
#include <cstdio>
#include <cstdlib>
#include <memory_resource>

#include "dataplane/mime/address.h"
#include "tests/unit/mime/recorder.h"

namespace {

using namespace sluice;
using mime::test::Recorder;

#define REQUIRE(condition)                                                 \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                        \
    }                                                                      \
  } while (false)

struct CountMailboxes final : mime::MailboxSink {
  std::size_t count = 0;
  void on_mailbox(const mime::Mailbox&) override { ++count; }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::uint8_t choice = data[0];
  const std::uint8_t cuts = data[1];
  const std::string_view message = as_text({data + 2, size - 2});

  mime::Limits limits;
  if (choice & 1) limits.depth = 3;
  if (choice & 2) limits.parts = 6;
  if (choice & 4) limits.urls = 3;
  if (choice & 8) limits.header_fields = 4;
  if (choice & 16) limits.field_octets = 64;
  if (choice & 32) limits.decoded_octets = limits.archive_octets = 512;
  if (choice & 64) limits.header_octets = 200;
  limits.hash_md5 = limits.hash_sha256 = (choice & 128) != 0;

  Recorder whole;
  mime::test::parse(whole, message, 0, limits);
  REQUIRE(!whole.faulty);
  std::size_t octets = 0;
  std::map<mime::PartNumber, std::size_t> urls;  // of each reading
  for (const auto& [number, p] : whole.parts) {
    REQUIRE(p.begun && p.ended);
    REQUIRE(number % mime::kAlternativeParts < limits.parts);
    REQUIRE(p.parent <= number);
    REQUIRE(p.alternative == mime::is_alternative(number));
    REQUIRE(!p.alternative || (p.decoded.empty() && p.text.empty()));
    REQUIRE(p.depth <= limits.depth + 1);
    octets += p.decoded.size() + p.text.size() + p.other.size();
    urls[number / mime::kAlternativeParts] += p.urls.size();
  }
  for (const auto& [reading, count] : urls) REQUIRE(count <= limits.urls);
  // Each octet is read by at most five readings at a time, in at most three encodings, as text and
  // as it is; uuencode makes 31 octets of one, character references and charsets three.
  REQUIRE(octets <= size * 1000 + 65536);

  Recorder again;
  mime::test::parse(again, message, cuts < 128 ? 1 + cuts : -static_cast<long>(cuts), limits);
  REQUIRE(again == whole);

  CountMailboxes mailboxes;
  mime::parse_addresses(message, 20, mailboxes, std::pmr::new_delete_resource());
  REQUIRE(mailboxes.count <= 20);
  return 0;
}
