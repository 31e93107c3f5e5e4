#include "dataplane/tcp/urgent.h"

#include <algorithm>
#include <new>
#include <vector>

#include "dataplane/tcp/connection.h"

namespace sluice::tcp {

UrgentReadings::UrgentReadings(Bytes before) {
  for (Reading& r : readings_) r.remember(before);
}

void UrgentReadings::Reading::take_out(std::uint64_t begin, std::uint64_t end) {
  for (std::size_t i = 0; i < range_count; ++i) {
    if (ranges[i].begin == begin && ranges[i].end == end) return;
  }
  if (range_count < kRanges) ranges[range_count++] = {begin, end};
}

void UrgentReadings::Reading::remember(Bytes octets) {
  if (octets.size() >= kContext) {
    std::copy(octets.end() - kContext, octets.end(), context.begin());
    context_size = kContext;
    return;
  }
  const std::size_t keep = std::min<std::size_t>(context_size, kContext - octets.size());
  std::copy(context.begin() + (context_size - keep), context.begin() + context_size,
            context.begin());
  std::copy(octets.begin(), octets.end(), context.begin() + static_cast<std::ptrdiff_t>(keep));
  context_size = static_cast<std::uint8_t>(keep + octets.size());
}

void UrgentReadings::mark(std::uint64_t offset, std::uint16_t pointer) {
  // Linux takes a pointer of 0 for the first octet.
  const std::uint64_t last = offset + (pointer == 0 ? 0 : pointer - 1u);
  readings_[0].take_out(last, last + 1);
  readings_[1].take_out(offset, last + 1);
  readings_[2].take_out(offset + pointer, offset + pointer + 1);
}

std::uint8_t UrgentReadings::left_out(std::uint64_t offset, std::uint64_t& end) const {
  std::uint8_t mask = 0;
  for (std::size_t i = 0; i < kReadings; ++i) {
    if (i == kBlock) continue;
    const Reading& r = readings_[i];
    for (std::size_t k = 0; k < r.range_count; ++k) {
      const Range& range = r.ranges[k];
      if (range.begin <= offset && offset < range.end) {
        mask = static_cast<std::uint8_t>(mask | 1u << i);
        end = std::min(end, range.end);
      } else if (range.begin > offset) {
        end = std::min(end, range.begin);
      }
    }
  }
  return mask;
}

void UrgentReadings::read(Direction direction, std::uint64_t offset, Bytes octets, StreamSink& sink,
                          std::pmr::memory_resource* memory) {
  const std::uint64_t end = offset + octets.size();
  for (Reading& r : readings_) {
    try {
      std::pmr::vector<std::uint8_t> text(memory);
      text.reserve(r.context_size + octets.size());
      text.insert(text.end(), r.context.begin(), r.context.begin() + r.context_size);
      const std::size_t context = text.size();
      bool taken_out = false;
      for (std::uint64_t at = offset; at < end;) {
        // The next octet to be left out, and up to where.
        std::uint64_t from = end;
        std::uint64_t to = end;
        for (std::size_t i = 0; i < r.range_count; ++i) {
          if (r.ranges[i].end <= at || r.ranges[i].begin >= end) continue;
          const std::uint64_t begin = std::max(r.ranges[i].begin, at);
          if (begin < from || (begin == from && r.ranges[i].end > to)) {
            from = begin;
            to = std::min(r.ranges[i].end, end);
          }
        }
        const Bytes piece = octets.subspan(at - offset, from - at);
        text.insert(text.end(), piece.begin(), piece.end());
        taken_out = taken_out || from < end;
        at = to;
      }
      const Bytes fresh = Bytes(text).subspan(context);
      if (taken_out) r.differs = kContext;
      if (r.differs > 0 && !fresh.empty()) {
        const std::uint64_t stands = offset - std::min<std::uint64_t>(offset, context);
        sink.on_alternative(direction, stands, text);
      }
      if (!taken_out) {
        r.differs =
            static_cast<std::uint16_t>(r.differs - std::min<std::size_t>(r.differs, octets.size()));
      }
      r.remember(fresh);
    } catch (const std::bad_alloc&) {
      r.context_size = 0;
    }
    const auto past = [end](const Range& range) { return range.end <= end; };
    const auto kept = std::remove_if(r.ranges.begin(), r.ranges.begin() + r.range_count, past);
    r.range_count = static_cast<std::uint8_t>(kept - r.ranges.begin());
  }
}

}  // namespace sluice::tcp
