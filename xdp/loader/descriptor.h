// File descriptors that close themselves, mappings that unmap themselves, and errno in words.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

#include "dataplane/base/result.h"

namespace sluice::xdp {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

// An array map of T, shared with the kernel.
template <typename T>
class MappedArray {
 public:
  MappedArray() = default;
  ~MappedArray() { reset(); }
  MappedArray(MappedArray&& other) noexcept
      : first_(std::exchange(other.first_, nullptr)), size_(other.size_) {}
  MappedArray& operator=(MappedArray&& other) noexcept {
    if (this != &other) {
      reset();
      first_ = std::exchange(other.first_, nullptr);
      size_ = other.size_;
    }
    return *this;
  }
  // Returns false, with errno, when the kernel refuses.
  bool map(int fd, std::size_t count) {
    reset();
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    size_ = (count * sizeof(T) + page - 1) / page * page;
    void* at = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    first_ = at == MAP_FAILED ? nullptr : static_cast<T*>(at);
    return first_ != nullptr;
  }
  T& operator[](std::size_t index) const { return first_[index]; }
  T* get() const { return first_; }
  std::size_t size_octets() const { return size_; }
  T* release() { return std::exchange(first_, nullptr); }

 private:
  void reset() {
    if (first_ != nullptr) munmap(first_, size_);
    first_ = nullptr;
  }
  T* first_ = nullptr;
  std::size_t size_ = 0;
};

inline std::string errno_text(int error) {
  char buffer[128];
  return strerror_r(error < 0 ? -error : error, buffer, sizeof buffer);  // GNU form
}

// "what: reason", of errno.
inline Error failure(const std::string& what) { return Error{what + ": " + errno_text(errno)}; }
inline Error failure(const std::string& what, int error) {
  return Error{what + ": " + errno_text(error)};
}

}  // namespace sluice::xdp
