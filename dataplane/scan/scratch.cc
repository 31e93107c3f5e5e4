#include "dataplane/scan/scratch.h"

#include <hs_runtime.h>

#include <algorithm>

#include "dataplane/scan/spam_rules.h"

namespace sluice::scan {

StreamPool::StreamPool(const Ruleset& ruleset) {
  for (std::size_t i = 0; i < kStreamBuffers; ++i) {
    const Database& database = ruleset.database(static_cast<Buffer>(i));
    kinds_[i].database = database.compiled.get();
    kinds_[i].size = database.stream_size;
  }
}

StreamPool::~StreamPool() {
  for (Kind& kind : kinds_) {
    for (hs_stream_t* stream : kind.free) close(kind, stream);
  }
}

std::size_t StreamPool::most_free(const Kind& kind) {
  return std::min(kMaxFree, kMaxFreeOctets / std::max<std::size_t>(kind.size, 1));
}

bool StreamPool::fill() {
  for (Kind& kind : kinds_) {
    if (kind.database == nullptr) continue;
    kind.free.reserve(kMaxFree);
    const std::size_t wanted = std::min(kOpenedAhead, most_free(kind));
    while (kind.free.size() < wanted) {
      hs_stream_t* stream = open(kind);
      if (stream == nullptr) return false;
      kind.free.push_back(stream);
    }
  }
  return true;
}

void StreamPool::charge_to(LimitedResource* account) {
  if (account_ != nullptr) account_->refund(opened_);
  account_ = nullptr;
  for (Kind& kind : kinds_) {
    while (account != nullptr && opened_ > account->limit() - account->used() &&
           !kind.free.empty()) {
      close(kind, kind.free.back());
      kind.free.pop_back();
    }
  }
  if (account != nullptr && account->charge(opened_)) account_ = account;
}

hs_stream* StreamPool::open(Kind& kind) {
  if (account_ != nullptr && !account_->charge(kind.size)) return nullptr;
  hs_stream_t* stream = nullptr;
  if (hs_open_stream(kind.database, 0, &stream) != HS_SUCCESS) {
    if (account_ != nullptr) account_->refund(kind.size);
    return nullptr;
  }
  opened_ += kind.size;
  return stream;
}

void StreamPool::close(Kind& kind, hs_stream* stream) {
  // Without a callback closing only frees.
  hs_close_stream(stream, nullptr, nullptr, nullptr);
  opened_ -= kind.size;
  if (account_ != nullptr) account_->refund(kind.size);
}

hs_stream* StreamPool::take(Buffer buffer) {
  Kind& kind = kinds_[static_cast<std::size_t>(buffer)];
  if (kind.free.empty()) return open(kind);
  hs_stream* stream = kind.free.back();
  kind.free.pop_back();
  return stream;
}

void StreamPool::give(Buffer buffer, hs_stream* stream) {
  Kind& kind = kinds_[static_cast<std::size_t>(buffer)];
  if (kind.free.size() < most_free(kind) &&
      hs_reset_stream(stream, 0, nullptr, nullptr, nullptr) == HS_SUCCESS) {
    kind.free.push_back(stream);
  } else {
    close(kind, stream);
  }
}

Scratch::Impl::~Impl() { hs_free_scratch(hyperscan); }

Scratch::Scratch(const Ruleset& ruleset) : impl_(std::make_unique<Impl>(ruleset)) {}
Scratch::~Scratch() = default;

Result<std::shared_ptr<Scratch>> Scratch::make(const Ruleset& ruleset) {
  std::shared_ptr<Scratch> made(new Scratch(ruleset));
  for (std::size_t i = 0; i < kBufferCount; ++i) {
    const Database& database = ruleset.database(static_cast<Buffer>(i));
    if (!database.compiled) continue;
    if (hs_alloc_scratch(database.compiled.get(), &made->impl_->hyperscan) != HS_SUCCESS) {
      return Error{"no memory for the scratch of buffer " + std::string(kBufferNames[i])};
    }
  }
  if (const SpamRules* spam = ruleset.spam()) {
    made->impl_->spam_work.reserve(*spam);
    made->impl_->spam_judge.reserve(*spam);
    made->impl_->gates.reserve(spam->gates());
    for (std::size_t i = 0; i < kSpamBufferCount; ++i) {
      const SpamDatabase& database = spam->database(static_cast<SpamBuffer>(i));
      for (const SpamWords* words : {&database.words, &database.joined})
        made->impl_->spam_words.reserve(words->clauses());
      if (database.compiled &&
          hs_alloc_scratch(database.compiled.get(), &made->impl_->hyperscan) != HS_SUCCESS) {
        return Error{"no memory for the scratch of spam buffer " +
                     std::string(kSpamBufferNames[i])};
      }
    }
  }
  if (!made->impl_->pool.fill()) return Error{"no memory for streams"};
  return made;
}

const Ruleset& Scratch::ruleset() const { return impl_->ruleset; }
void Scratch::charge_to(LimitedResource* account) { impl_->pool.charge_to(account); }

}  // namespace sluice::scan
