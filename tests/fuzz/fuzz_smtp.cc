// An SMTP session on any octets. The first octet chooses modes and limits, the second the cuts; the
// rest is the dialogue: FE and FF begin a turn of the client and of the server, FD and an octet are
// a gap of that size. Whatever it is: the same transcript for every cut, calls in order, memory
// within its bound and given back.
#include <cstdio>
#include <cstdlib>

#include "tests/unit/smtp/recorder.h"

namespace {

using namespace sluice;
using namespace sluice::smtp::test;
using smtp::Limits;
using smtp::MessageVerdict;
using smtp::Session;

#define REQUIRE(condition)                                                 \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                        \
    }                                                                      \
  } while (false)

constexpr std::size_t kMemory = 256 << 10;

struct Result {
  Recorder recorder;
  std::size_t accepted = 0;
  std::size_t client_octets = 0;
};

void play(Result& result, Bytes dialogue, std::uint8_t choice, unsigned cut) {
  LimitedResource memory(std::pmr::new_delete_resource(), kMemory);
  Recorder& recorder = result.recorder;
  if (choice & 16) recorder.at_end = [](smtp::TransactionId) { return MessageVerdict::stop; };
  {
    Limits limits;
    if (choice & 1) limits.recipients = 2;
    if (choice & 2) limits.pending_commands = 8;
    if (choice & 32) limits.early_octets = 40;
    if (choice & 64) limits.transactions = 4;
    Session session(limits, recorder, &memory);
    if (choice & 4) session.set_midstream();
    if (choice & 8) session.set_one_sided(true);
    std::mt19937 random(cut);
    bool client = true;
    for (std::size_t at = 0; at < dialogue.size();) {
      if (dialogue[at] >= 0xfd) {
        if (dialogue[at] == 0xfd) {
          const std::uint64_t size = at + 1 < dialogue.size() ? dialogue[at + 1] : 1;
          if (client)
            session.client_gap(size);
          else
            session.server_gap(size);
          at += 2;
        } else {
          client = dialogue[at++] == 0xfe;
        }
        continue;
      }
      std::size_t n = 1;
      while (at + n < dialogue.size() && dialogue[at + n] < 0xfd &&
             (cut == 0 || n < 1 + random() % cut))
        ++n;
      const std::vector<std::uint8_t> piece(dialogue.begin() + static_cast<long>(at),
                                            dialogue.begin() + static_cast<long>(at + n));
      if (client) {
        const std::size_t accepted = session.client(piece);
        REQUIRE(accepted <= n);
        result.accepted += accepted;
        result.client_octets += n;
      } else {
        session.server(piece);
      }
      REQUIRE(session.memory_used() <= memory.used() + sizeof session);
      REQUIRE(session.replies_owed() <= 1u << 24);
      at += n;
    }
    session.finish();
  }
  REQUIRE(memory.used() == 0);
  if (!recorder.faults.empty()) std::fprintf(stderr, "%s", recorder.faults.c_str());
  REQUIRE(recorder.faults.empty());
  for (const auto& m : recorder.messages) REQUIRE(m.ended);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 100'000) return 0;
  const Bytes dialogue(data + 2, size - 2);
  Result whole;
  play(whole, dialogue, data[0], 0);
  Result cut;
  play(cut, dialogue, data[0], 1u + data[1] % 32);
  if (whole.recorder.transcript() != cut.recorder.transcript()) {
    const std::string both =
        "--- whole\n" + whole.recorder.transcript() + "--- cut\n" + cut.recorder.transcript();
    std::fwrite(both.data(), 1, both.size(), stderr);
  }
  REQUIRE(whole.recorder.transcript() == cut.recorder.transcript());
  // Cut or not: the octet that ends a stopped message is never accepted.
  REQUIRE((whole.accepted == whole.client_octets) == (cut.accepted == cut.client_octets));
  return 0;
}
