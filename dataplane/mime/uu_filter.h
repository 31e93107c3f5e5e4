// Finds uuencoded files in plain text, as mail readers do: "begin MODE NAME", coded lines, "end".
// What is not such a file goes on as text; a "begin" line is one only when a coded line follows.
// Holds at most two lines.
#pragma once

#include <cstdint>
#include <memory_resource>
#include <string>
#include <string_view>

#include "dataplane/base/bytes.h"

namespace sluice::mime {

class UuFilterSink {
 public:
  virtual void on_uu_text(Bytes text) = 0;
  virtual void on_uu_begin(std::string_view name) = 0;
  virtual void on_uu_data(Bytes octets) = 0;
  virtual void on_uu_end() = 0;

 protected:
  ~UuFilterSink() = default;
};

class UuFilter {
 public:
  UuFilter(UuFilterSink& sink, std::pmr::memory_resource* memory) : sink_(sink), held_(memory) {}
  void feed(Bytes text);
  void finish();

 private:
  //  text -- "begin " at a line's start --> begin_line -- LF --> confirm -- coded line --> inside
  //  inside -- "end" or no coded line --> text; begin_line, confirm -- anything else --> text
  enum class State : std::uint8_t { line_start, in_line, begin_line, confirm, inside };
  bool push(char c);
  void line(bool complete);
  void release();
  void decode(std::string_view text);
  std::string_view second_line() const;

  UuFilterSink& sink_;
  State state_ = State::line_start;
  std::uint16_t first_size_ = 0;  // of the begin line, while the next is awaited
  std::pmr::string held_;         // at most 640 octets
};

}  // namespace sluice::mime
