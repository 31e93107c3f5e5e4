#include "dataplane/event/shared_objects.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>

namespace sluice::event {

using contract::EventHeader;
using contract::WorkerStatistics;

Result<SharedMemory> SharedMemory::create(const char* name, std::size_t size) {
  SharedMemory memory;
  memory.descriptor_ = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (memory.descriptor_ < 0 || ftruncate(memory.descriptor_, static_cast<off_t>(size)) != 0 ||
      fcntl(memory.descriptor_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    return Error{std::string("no shared memory \"") + name + "\": " + std::strerror(errno)};
  }
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory.descriptor_, 0);
  if (data == MAP_FAILED) {
    return Error{std::string("cannot map \"") + name + "\": " + std::strerror(errno)};
  }
  memory.data_ = static_cast<std::uint8_t*>(data);
  memory.size_ = size;
  return memory;
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : descriptor_(other.descriptor_), data_(other.data_), size_(other.size_) {
  other.descriptor_ = -1;
  other.data_ = nullptr;
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) munmap(data_, size_);
  if (descriptor_ >= 0) close(descriptor_);
}

Result<StatisticsObject> StatisticsObject::create(unsigned workers) {
  const std::size_t size =
      sizeof(contract::StatisticsHeader) + std::size_t{workers} * sizeof(WorkerStatistics);
  Result<SharedMemory> memory = SharedMemory::create("sluice-statistics", size);
  if (!memory) return Error{memory.error()};
  auto* header = new (memory->data()) contract::StatisticsHeader;
  header->workers = workers;
  for (unsigned i = 0; i < workers; ++i) {
    new (memory->data() + sizeof *header + i * sizeof(WorkerStatistics)) WorkerStatistics;
  }
  return StatisticsObject(std::move(*memory));
}

WorkerStatistics& StatisticsObject::worker(unsigned index) const {
  return *std::launder(reinterpret_cast<WorkerStatistics*>(
      memory_.data() + sizeof(contract::StatisticsHeader) + index * sizeof(WorkerStatistics)));
}

bool RingSink::write(Bytes record) {
  ++sequence_;
  if (record.size() < sizeof(EventHeader) || record.size() > sizeof copy_) return false;
  std::memcpy(copy_, record.data(), record.size());
  std::memcpy(copy_ + offsetof(EventHeader, sequence), &sequence_, sizeof sequence_);
  std::size_t size = record.size();
  contract::EventType type;
  std::memcpy(&type, copy_ + offsetof(EventHeader, type), sizeof type);
  constexpr std::size_t kIdentityField = contract::kFieldHeaderSize + sizeof snapshot_identity_;
  if (type == contract::EventType::snapshot_end && size + kIdentityField <= sizeof copy_) {
    const auto tag = static_cast<std::uint16_t>(contract::Field::tx_id);
    const std::uint16_t length = sizeof snapshot_identity_;
    std::memcpy(copy_ + size, &tag, sizeof tag);
    std::memcpy(copy_ + size + 2, &length, sizeof length);
    std::memcpy(copy_ + size + 4, &snapshot_identity_, sizeof snapshot_identity_);
    size += kIdentityField;
    const auto stated = static_cast<std::uint32_t>(size);
    std::memcpy(copy_ + offsetof(EventHeader, size), &stated, sizeof stated);
  }
  return ring_.write({copy_, size});
}

Result<EventRings> EventRings::create(unsigned workers, std::uint64_t capacity) {
  if (!std::has_single_bit(capacity) || capacity < 65536) {
    return Error{"event rings of " + std::to_string(capacity) +
                 " octets: give a power of two, 65536 or more"};
  }
  Result<SharedMemory> memory = SharedMemory::create("sluice-events", stride(capacity) * workers);
  if (!memory) return Error{memory.error()};
  return EventRings(std::move(*memory), capacity);
}

}  // namespace sluice::event
