// A unique_ptr whose object lives in a memory resource, so that it is counted and bounded there.
#pragma once

#include <memory>
#include <memory_resource>
#include <utility>

namespace sluice {

template <typename T>
struct PmrDelete {
  std::pmr::memory_resource* memory = nullptr;
  void operator()(T* object) const {
    std::pmr::polymorphic_allocator<>(memory).delete_object(object);
  }
};

template <typename T>
using PmrPtr = std::unique_ptr<T, PmrDelete<T>>;

// std::bad_alloc when `memory` refuses. `memory` must outlive the object.
template <typename T, typename... Arguments>
PmrPtr<T> make_pmr(std::pmr::memory_resource* memory, Arguments&&... arguments) {
  return PmrPtr<T>(std::pmr::polymorphic_allocator<>(memory).new_object<T>(
                       std::forward<Arguments>(arguments)...),
                   PmrDelete<T>{memory});
}

}  // namespace sluice
