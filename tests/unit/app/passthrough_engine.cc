// An engine that inspects nothing: every frame is forwarded as it came. The tests of the process
// link it in place of the real one, where what the ports and workers do is to be seen alone.
#include "dataplane/inspect/engine.h"

namespace sluice::inspect {

struct Engine::Impl {
  contract::WorkerStatistics& statistics;
  contract::EventSink& events;
  Output& output;
  std::uint16_t worker;
  std::uint32_t epoch = 0;
  std::uint32_t forgotten = 0;
};

Engine::Engine(const Settings& settings, contract::WorkerStatistics& statistics,
               contract::EventSink& events, Output& output, std::pmr::memory_resource*)
    : impl_(new Impl{statistics, events, output, settings.worker}) {}
Engine::~Engine() = default;

void Engine::set_policy(const policy::Policy& policy, std::shared_ptr<scan::Scratch>) {
  impl_->epoch = policy.epoch();
  impl_->statistics.add(contract::Counter::policy_adoptions);
}
bool Engine::release_rulesets_before(std::uint32_t) { return true; }
std::uint32_t Engine::oldest_epoch_in_use() const { return impl_->epoch; }

void Engine::process(std::span<Frame> burst, const Time&) {
  for (Frame& frame : burst) {
    impl_->statistics.add(contract::Counter::frames_received);
    impl_->statistics.add(contract::Counter::bytes_received, frame.octets.size());
    impl_->output.forward(frame, false);
  }
}
void Engine::tick(const Time&) {}
Nanoseconds Engine::next_timer() const { return UINT64_MAX; }

std::size_t Engine::snapshot(std::size_t, std::size_t, const Time& now) {
  contract::EventHeader header;
  header.type = contract::EventType::snapshot_end;
  header.wall_time = now.wall;
  header.worker = impl_->worker;
  contract::EventWriter writer;
  writer.begin(header);
  impl_->events.write(writer.finish());
  return 0;
}
void Engine::forget_streams() { ++impl_->forgotten; }
void Engine::inspect_message(Bytes, const Time&) {}
void Engine::finish(const Time&) {}
FlowEdges Engine::edges(const flow::FlowKey&) const { return {}; }
std::size_t Engine::flows() const { return 0; }
MemoryUse Engine::memory_use() const { return {}; }

}  // namespace sluice::inspect
