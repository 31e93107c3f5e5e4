// What the parts of one worker's engine share: where events, counters and frames go, the policy in
// force, the time of the burst, and the frame in hand. One thread.
#pragma once

#include "dataplane/base/limited_resource.h"
#include "dataplane/inspect/engine.h"
#include "dataplane/inspect/host_limits.h"
#include "dataplane/inspect/rulesets.h"

namespace sluice::inspect {

struct Context {
  const Settings& settings;
  contract::WorkerStatistics& statistics;
  contract::EventSink& events;
  Output& output;
  LimitedResource* memory;

  const policy::Policy* policy = nullptr;
  Rulesets rulesets;
  HostLimits host_limits;
  Time now{};
  std::uint64_t frame_number = 0;  // of the frame in hand; 0: none
  Side side = Side::inside;        // on which it came in
  std::uint64_t sequence = 0;      // of the last event
  contract::EventWriter writer{};

  void count(contract::Counter c, std::uint64_t n = 1) { statistics.add(c, n); }
  bool enforcing(std::uint16_t wire) const {
    if (wire >= settings.wires.size()) return false;
    const policy::Wire* found = policy->wire(settings.wires[wire]);
    return found != nullptr && found->mode == policy::Mode::enforce;
  }
  // Completes the record in `writer` and hands it on.
  void emit() {
    count(events.write(writer.finish()) ? contract::Counter::events
                                        : contract::Counter::events_lost);
  }
};

}  // namespace sluice::inspect
