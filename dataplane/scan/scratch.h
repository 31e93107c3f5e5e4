// Inside of Scratch: what all scans of one worker with one ruleset share.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/base/limited_resource.h"
#include "dataplane/scan/confirmation.h"
#include "dataplane/scan/regex_gate.h"
#include "dataplane/scan/ruleset.h"
#include "dataplane/scan/spam_judge.h"
#include "dataplane/scan/spam_scanner.h"
#include "dataplane/scan/spam_words.h"

struct hs_scratch;
struct hs_stream;

namespace sluice::scan {

// Streams are opened once and used again: opening one allocates its whole state. Those in use and
// those that wait are counted against the worker's memory, once there is an account.
class StreamPool {
 public:
  explicit StreamPool(const Ruleset& ruleset);
  ~StreamPool();
  StreamPool(const StreamPool&) = delete;
  StreamPool& operator=(const StreamPool&) = delete;

  // Opens streams ahead, so that the first messages find them; false when there is no memory.
  bool fill();
  // From now on streams are counted there; nullptr: no more. Those that do not fit are closed.
  void charge_to(LimitedResource* account);

  // A stream at its beginning, or nullptr when there is no memory.
  hs_stream* take(Buffer buffer);
  // Takes back a stream in any state.
  void give(Buffer buffer, hs_stream* stream);

 private:
  static constexpr std::size_t kStreamBuffers = 5;
  // What may wait, of each buffer.
  static constexpr std::size_t kMaxFree = 256;
  static constexpr std::size_t kMaxFreeOctets = std::size_t{2} << 20;
  static constexpr std::size_t kOpenedAhead = 32;

  struct Kind {
    hs_database* database = nullptr;
    std::size_t size = 0;  // octets of one stream
    std::vector<hs_stream*> free;
  };
  hs_stream* open(Kind& kind);
  void close(Kind& kind, hs_stream* stream);
  static std::size_t most_free(const Kind& kind);

  std::array<Kind, kStreamBuffers> kinds_;
  LimitedResource* account_ = nullptr;
  std::size_t opened_ = 0;  // octets of all streams that are open
};

// A literal was found whose pattern goes on behind it (literal_tail.h).
struct FollowedTail {
  std::uint32_t pattern;
  LiteralTail::State state;
};
struct BegunTail {
  std::uint32_t pattern;
  std::size_t end;  // of the literal, in the octets that are being scanned
};

struct Scratch::Impl {
  // Beyond these, hits are lost and the scan is incomplete: only octets made for it get there.
  static constexpr std::size_t kMostBegun = 16384;
  static constexpr std::size_t kMostFollowed = 1024;
  // Octets that are scanned for literals at one time.
  static constexpr std::size_t kPiece = 4096;

  explicit Impl(const Ruleset& rules) : ruleset(rules), pool(rules) {
    begun.reserve(kMostBegun);
    followed.reserve(kMostFollowed);
  }
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  const Ruleset& ruleset;
  hs_scratch* hyperscan = nullptr;
  ConfirmScratch confirm;
  SpamWordScratch spam_words;
  GateScratch gates;
  SpamWork spam_work;
  SpamJudgeScratch spam_judge;
  StreamPool pool;
  std::vector<BegunTail> begun;        // empty between scans
  std::vector<FollowedTail> followed;  // likewise
  // What was scanned last and what is scanned now, for literals across the two.
  alignas(64) std::array<std::uint8_t, LiteralSet::kLongest + kPiece + LiteralSet::kBehind> text{};
};

}  // namespace sluice::scan
