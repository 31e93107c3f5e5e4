#include "dataplane/scan/scratch.h"

#include <hs_runtime.h>

#include <algorithm>

namespace sluice::scan {

StreamPool::StreamPool(const Ruleset& ruleset)
    : ruleset_(ruleset.weak_from_this()), identity_(ruleset.identity()) {
  for (std::size_t i = 0; i < kStreamBuffers; ++i) {
    databases_[i] = ruleset.database(static_cast<Buffer>(i)).compiled.get();
    free_[i].reserve(kMaxFree);
  }
}

StreamPool::~StreamPool() {
  // Without a callback closing only frees: the database may be gone already.
  for (auto& streams : free_) {
    for (hs_stream_t* stream : streams) hs_close_stream(stream, nullptr, nullptr, nullptr);
  }
}

hs_stream* StreamPool::take(Buffer buffer) {
  const auto i = static_cast<std::size_t>(buffer);
  if (!free_[i].empty()) {
    hs_stream* stream = free_[i].back();
    free_[i].pop_back();
    return stream;
  }
  hs_stream_t* stream = nullptr;
  if (hs_open_stream(databases_[i], 0, &stream) != HS_SUCCESS) return nullptr;
  return stream;
}

void StreamPool::give(Buffer buffer, hs_stream* stream) {
  auto& streams = free_[static_cast<std::size_t>(buffer)];
  if (streams.size() < kMaxFree &&
      hs_reset_stream(stream, 0, nullptr, nullptr, nullptr) == HS_SUCCESS) {
    streams.push_back(stream);
  } else {
    hs_close_stream(stream, nullptr, nullptr, nullptr);
  }
}

Scratch::Impl::~Impl() {
  pools.clear();
  hs_free_scratch(hyperscan);
}

StreamPool* Scratch::Impl::pool(const Ruleset& ruleset) {
  for (const auto& pool : pools) {
    if (pool->identity() == ruleset.identity()) return pool.get();
  }
  return nullptr;
}

Scratch::Scratch() : impl_(std::make_unique<Impl>()) {}
Scratch::~Scratch() = default;

Status Scratch::reserve(const Ruleset& ruleset) {
  std::erase_if(impl_->pools, [](const auto& pool) { return pool->dead(); });
  if (impl_->pool(ruleset) != nullptr) return ok();
  for (std::size_t i = 0; i < kBufferCount; ++i) {
    const Database& database = ruleset.database(static_cast<Buffer>(i));
    if (!database.compiled) continue;
    const hs_error_t error = hs_alloc_scratch(database.compiled.get(), &impl_->hyperscan);
    if (error != HS_SUCCESS) {
      return Error{"no scratch for the database of buffer " + std::string(kBufferNames[i]) +
                   (error == HS_SCRATCH_IN_USE ? ": a scan is using it" : ": out of memory")};
    }
  }
  impl_->pools.push_back(std::make_unique<StreamPool>(ruleset));
  return ok();
}

}  // namespace sluice::scan
