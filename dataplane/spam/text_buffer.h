// Text that grows at its end and can be written to before it is counted in: what std::string does
// only by filling it first.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory_resource>
#include <string_view>
#include <utility>

namespace sluice::spam {

class TextBuffer {
 public:
  explicit TextBuffer(std::pmr::memory_resource* memory) : memory_(memory) {}
  TextBuffer(TextBuffer&& other) noexcept { swap(other); }
  TextBuffer& operator=(TextBuffer&& other) noexcept {
    TextBuffer(std::move(other)).swap(*this);
    return *this;
  }
  TextBuffer(const TextBuffer&) = delete;
  TextBuffer& operator=(const TextBuffer&) = delete;
  ~TextBuffer() {
    if (data_ != nullptr) memory_->deallocate(data_, capacity_, 1);
  }

  std::string_view view() const { return {data_, size_}; }
  char* data() { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  char back() const { return data_[size_ - 1]; }
  // Where the next `octets` octets are to be written, at least; add() says how many were. Until
  // the next call.
  char* room(std::size_t octets) {
    if (capacity_ - size_ < octets) [[unlikely]]
      grow(octets);
    return data_ + size_;
  }
  void add(std::size_t octets) { size_ += octets; }
  void append(std::string_view text) {
    if (text.empty()) return;
    std::memcpy(room(text.size()), text.data(), text.size());
    size_ += text.size();
  }
  void push_back(char c) {
    *room(1) = c;
    ++size_;
  }
  // Keeps the first `size` octets.
  void cut(std::size_t size) { size_ = size; }
  // Takes out the octets [from, to).
  void erase(std::size_t from, std::size_t to) {
    std::memmove(data_ + from, data_ + to, size_ - to);
    size_ -= to - from;
  }

 private:
  void swap(TextBuffer& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }
  void grow(std::size_t octets) {
    const std::size_t capacity = std::max(size_ + octets, capacity_ * 2);
    char* const data = static_cast<char*>(memory_->allocate(capacity, 1));
    if (data_ != nullptr) {
      std::memcpy(data, data_, size_);
      memory_->deallocate(data_, capacity_, 1);
    }
    data_ = data;
    capacity_ = capacity;
  }

  std::pmr::memory_resource* memory_ = nullptr;
  char* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace sluice::spam
