// Urgent data (RFC 6093, case C09). Receivers disagree about what the urgent octet is and whether
// it stands in the stream. The main reading keeps everything in line; the others are made here,
// each with some octets taken out, and given to be scanned around the places where they differ:
//   - without the octet before the urgent pointer (RFC 1122; what receivers without
//     SO_OOBINLINE do),
//   - without everything from the segment's start to the pointer,
//   - without the octet at the pointer (the reading of RFC 793's text).
#pragma once

#include <array>
#include <cstdint>
#include <memory_resource>

#include "dataplane/base/bytes.h"
#include "dataplane/base/direction.h"

namespace sluice::tcp {

class StreamSink;

class UrgentReadings {
 public:
  // `before` are the octets that precede the first segment to be read.
  UrgentReadings(Bytes before);

  // A segment with URG at stream offset `offset`, its urgent pointer as on the wire.
  void mark(std::uint64_t offset, std::uint16_t pointer);
  // Which readings leave out the octet at `offset` (bit i: reading i), and up to where, at most
  // `end`, the answer is the same. Of the readings that some TCP has, which is each that leaves out
  // one octet; the other one is for scanning alone.
  std::uint8_t left_out(std::uint64_t offset, std::uint64_t& end) const;
  // The next octets of the main reading, in order. Offers the other readings where they differ.
  void read(Direction direction, std::uint64_t offset, Bytes octets, StreamSink& sink,
            std::pmr::memory_resource* memory);

 private:
  static constexpr std::size_t kContext = 128;
  static constexpr std::size_t kRanges = 16;  // pending at once for each reading; more are ignored

  struct Range {
    std::uint64_t begin;
    std::uint64_t end;
  };
  struct Reading {
    std::array<Range, kRanges> ranges{};
    std::array<std::uint8_t, kContext> context{};  // the last octets of this reading
    std::uint8_t range_count = 0;
    std::uint8_t context_size = 0;
    std::uint16_t differs = 0;  // octets for which the context still holds a difference

    void take_out(std::uint64_t begin, std::uint64_t end);
    void remember(Bytes octets);
  };
  static constexpr std::size_t kReadings = 3;
  static constexpr std::size_t kBlock = 1;  // without everything up to the pointer
  std::array<Reading, kReadings> readings_;
};

}  // namespace sluice::tcp
