// Inside of Scratch: what all scans of one worker share.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/scan/confirmation.h"
#include "dataplane/scan/ruleset.h"

struct hs_scratch;
struct hs_stream;

namespace sluice::scan {

// Streams are opened once and used again: opening one allocates its whole state.
class StreamPool {
 public:
  explicit StreamPool(const Ruleset& ruleset);
  ~StreamPool();
  StreamPool(const StreamPool&) = delete;
  StreamPool& operator=(const StreamPool&) = delete;

  // A stream at its beginning, or nullptr when there is no memory.
  hs_stream* take(Buffer buffer);
  // Takes back a stream in any state.
  void give(Buffer buffer, hs_stream* stream);

  std::uint64_t identity() const { return identity_; }
  bool dead() const { return ruleset_.expired(); }

 private:
  static constexpr std::size_t kStreamBuffers = 5;
  static constexpr std::size_t kMaxFree = 256;  // of each buffer

  std::weak_ptr<const Ruleset> ruleset_;
  std::uint64_t identity_;
  std::array<hs_database*, kStreamBuffers> databases_{};
  std::array<std::vector<hs_stream*>, kStreamBuffers> free_;
};

struct Scratch::Impl {
  Impl() = default;
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // The pool of a ruleset that was reserved for, or nullptr.
  StreamPool* pool(const Ruleset& ruleset);

  hs_scratch* hyperscan = nullptr;
  ConfirmScratch confirm;
  std::vector<std::unique_ptr<StreamPool>> pools;
};

}  // namespace sluice::scan
