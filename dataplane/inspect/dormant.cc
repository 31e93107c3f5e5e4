#include "dataplane/inspect/dormant.h"

#include <array>
#include <cstring>
#include <new>

namespace sluice::inspect {

namespace {
constexpr std::size_t kMost = 4096;  // octets of one; what needs more stays awake
constexpr std::size_t kAlignment = 8;
}  // namespace

Dormant* Dormant::make(const Conversation& conversation, std::pmr::memory_resource* memory) {
  std::array<std::uint8_t, kMost> room;
  Packer packer(room);
  if (!conversation.pack(packer)) return nullptr;
  const Bytes packed = packer.result();
  try {
    void* place = memory->allocate(sizeof(Dormant) + packed.size(), kAlignment);
    auto* dormant = new (place) Dormant(static_cast<std::uint16_t>(packed.size()));
    std::memcpy(dormant->octets(), packed.data(), packed.size());
    return dormant;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void Dormant::destroy(Dormant* dormant, std::pmr::memory_resource* memory) {
  memory->deallocate(dormant, sizeof(Dormant) + dormant->size_, kAlignment);
}

Conversation* Dormant::wake(const flow::FlowKey& key, Context& context) const {
  Unpacker unpacker(packed());
  return std::pmr::polymorphic_allocator<>(context.memory)
      .new_object<Conversation>(key, context, unpacker);
}

std::uint64_t Dormant::flow_id() const { return Unpacker(packed()).get<PackedFlow>().flow_id; }

}  // namespace sluice::inspect
