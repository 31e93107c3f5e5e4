// A flow that has been idle for a while: its conversation packed into some hundred octets, which
// hang on its table entry in the conversation's place until it says something again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory_resource>

#include "dataplane/flow/flow_table.h"
#include "dataplane/inspect/conversation.h"

namespace sluice::inspect {

class Dormant {
 public:
  // Packs the entry's conversation, and puts what it made of it into its place; the conversation is
  // then to be deleted. Null when it cannot be packed, or memory is refused.
  static Dormant* make(const Conversation& conversation, std::pmr::memory_resource* memory);
  static void destroy(Dormant* dormant, std::pmr::memory_resource* memory);
  // The conversation as it was; std::bad_alloc when memory is refused.
  Conversation* wake(const flow::FlowKey& key, Context& context) const;
  std::uint64_t flow_id() const;
  // What is known of its stream is stale: to be forgotten when it wakes.
  void forget_stream() { forgets_ = true; }
  bool forgets() const { return forgets_; }
  std::size_t memory_used() const { return sizeof *this + size_; }

  // What an entry's state pointer is: the lowest bit tells.
  static void* state_of(Dormant* dormant) { return reinterpret_cast<std::byte*>(dormant) + 1; }
  static Dormant* in(const flow::Entry& entry) {
    void* const state = entry.state();
    if ((reinterpret_cast<std::uintptr_t>(state) & 1) == 0) return nullptr;
    return reinterpret_cast<Dormant*>(static_cast<std::byte*>(state) - 1);
  }

 private:
  explicit Dormant(std::uint16_t size) : size_(size) {}
  std::uint8_t* octets() { return reinterpret_cast<std::uint8_t*>(this + 1); }
  Bytes packed() const { return {reinterpret_cast<const std::uint8_t*>(this + 1), size_}; }

  std::uint16_t size_;
  bool forgets_ = false;
};

// The conversation of an entry that is not dormant, or nullptr.
inline Conversation* awake(const flow::Entry& entry) {
  return Dormant::in(entry) != nullptr ? nullptr : entry.state_as<Conversation>();
}

}  // namespace sluice::inspect
