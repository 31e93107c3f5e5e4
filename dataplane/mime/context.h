// What all stages of one message share: the sink, the limits, and what has been used of them.
#pragma once

#include <array>
#include <memory_resource>

#include "dataplane/base/pmr_ptr.h"
#include "dataplane/mime/parser.h"

namespace sluice::mime {

// Of a whole message, all its readings included.
struct Shared {
  Shared(ParserSink& s, std::pmr::memory_resource* m) : sink(s), memory(*m) {}

  ParserSink& sink;
  std::pmr::memory_resource& memory;
  contract::AnomalySet raised;
  std::uint32_t alternatives = 0;  // other readings begun
  std::uint32_t alternatives_open = 0;
};

// Of one reading. Each has its own limits, so that what one finds never depends on how far the
// other is, and with it on the cuts.
struct Context {
  Context(const Limits& l, Shared& s, PartNumber first)
      : limits(l), shared(s), sink(s.sink), memory(s.memory), first_part(first) {}

  // Given to the sink at the end of the message, in the order of the list: what is found first
  // among several readings depends on the cuts.
  void raise(contract::Anomaly anomaly) { shared.raised.insert(anomaly); }
  // Takes octets from the budget of those that stand for more than was sent (uuencode, archives);
  // false when it is used up. A budget of its own: a chunk of the part that they come from has been
  // counted before, however large it is.
  bool spend_expanded(std::size_t size) {
    if (size > limits.decoded_octets - expanded) {
      expanded = limits.decoded_octets;
      raise(contract::Anomaly::limit);
      return false;
    }
    expanded += size;
    return true;
  }
  bool may_begin_part() {
    if (parts < limits.parts) return true;
    raise(contract::Anomaly::part_limit);
    return false;
  }
  PartNumber begin_part() { return first_part + parts++; }

  // Members of archives are counted apart: they run beside the parts of their reading.
  bool may_begin_member() {
    if (members < limits.parts) return true;
    raise(contract::Anomaly::part_limit);
    return false;
  }
  // A member begins, which it may.
  PartNumber begin_member(PartNumber archive, std::uint32_t archive_depth, std::string_view name) {
    Part part;
    part.number = kArchiveMember | (first_part + members++);
    part.parent = archive;
    part.depth = archive_depth + 1;
    part.type = "application";
    part.subtype = "octet-stream";
    part.name = name;
    part.attachment = true;
    part.alternative = true;
    sink.on_part_begin(part);
    return part.number;
  }
  // One of which there is a name and no octets. False: there are too many.
  bool tell_member_name(PartNumber archive, std::uint32_t archive_depth, std::string_view name) {
    if (!may_begin_member()) return false;
    PartEnd end;
    end.number = begin_member(archive, archive_depth, name);
    sink.on_part_end(end);
    return true;
  }

  // Octets inflated of archives at this depth.
  std::uint64_t& inflated_at(std::uint32_t level) {
    if (inflated == nullptr) inflated = make_pmr<Inflated>(&memory);
    return (*inflated)[level];
  }

  const Limits& limits;
  Shared& shared;
  ParserSink& sink;
  std::pmr::memory_resource& memory;
  const PartNumber first_part;
  std::uint32_t parts = 0;       // begun
  std::uint32_t members = 0;     // of archives, begun
  std::uint64_t archives = 0;    // octets of those that have ended, without what stands in them
  std::uint64_t inflatable = 0;  // at each depth, by what there is of archives so far
  std::uint64_t decoded = 0;     // octets of leaves taken
  std::uint64_t expanded = 0;    // octets that stand for more than was sent
  using Inflated = std::array<std::uint64_t, kArchiveDepth + 1>;
  PmrPtr<Inflated> inflated;  // of archives, by depth; once there is one
  std::uint32_t urls = 0;     // reported
};

}  // namespace sluice::mime
