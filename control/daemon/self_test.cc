// Whether everything works.
#include <algorithm>

#include "control/daemon/controller.h"
#include "control/daemon/request_values.h"
#include "control/identity/prefix.h"

namespace sluice::control {

using nlohmann::json;

namespace {

// Collects what was checked.
struct Checks {
  json all = json::array();
  bool good = true;
  void operator()(const std::string& name, bool pass, const std::string& detail) {
    good = good && pass;
    all.push_back({{"check", name}, {"pass", pass}, {"detail", detail}});
  }
  // Something to know that is neither good nor bad.
  void note(const std::string& name, const std::string& detail) {
    all.push_back({{"check", name}, {"pass", true}, {"note", true}, {"detail", detail}});
  }
};

std::uint64_t received(const KernelState& state, const char* side) {
  for (const KernelCounter& c : state.counters) {
    if (c.kind == "total" && c.side == side) return c.frames;
  }
  return 0;
}

constexpr Nanoseconds kWatched = 1500 * kMillisecond;  // longer than the counters are read apart

}  // namespace

// A wire is looked at twice, a moment apart, and frames of ours are tried in between.
void Controller::test_wire(ClientId client, const std::string& wire, const json& arguments) {
  const auto configured = std::find_if(config_->wires.begin(), config_->wires.end(),
                                       [&](const WireConfig& w) { return w.name == wire; });
  if (configured == config_->wires.end()) {
    return fail(client, "'" + wire.substr(0, 40) + "': no such wire");
  }
  struct Before {
    std::vector<std::uint64_t> beats;
    std::vector<std::uint64_t> loops;
    KernelState kernel;
    std::vector<KernelProbe> probes;
  };
  auto before = std::make_shared<Before>();
  for (const auto* w : channel_->statistics()) {
    before->beats.push_back(w->read(contract::Gauge::heartbeat_nanoseconds));
    before->loops.push_back(w->read(contract::Counter::loops));
  }
  if (const auto k = kernel_->states().find(wire); k != kernel_->states().end()) {
    before->kernel = k->second;
  }
  const auto count = static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(arguments.value("probes", std::uint64_t{3}), 1, 1000));
  kernel_->probe(wire, config_->mail_ports.front(), count,
                 [before](const std::vector<KernelProbe>& probes) { before->probes = probes; });
  loop_.at(monotonic_now() + kWatched, [this, client, wire, before, count] {
    Checks check;
    const auto found = kernel_->states().find(wire);
    const KernelState state = found == kernel_->states().end() ? KernelState{} : found->second;
    check("in the kernel", state.open,
          state.open            ? "maps open, " + std::to_string(state.entries) + " list entries"
          : state.error.empty() ? "not looked at yet"
                                : state.error);
    if (state.open) {
      for (std::size_t side = 0; side < 2; ++side) {
        const KernelPort& p = state.ports[side];
        const std::string name = (side == 0 ? "inside port " : "outside port ") + p.name;
        check(name, p.attached && p.up && p.carrier,
              (p.attached ? "program attached (" + std::string(p.xdp()) + ")"
                          : std::string("program not attached")) +
                  (p.up ? ", up" : ", down") + (p.carrier ? ", carrier" : ", no carrier") +
                  ", MTU " + std::to_string(p.mtu));
      }
      check("heartbeat", state.alive && !state.bypass,
            state.bypass  ? "operator bypass: mail is not inspected"
            : state.alive ? "fresh on every queue"
                          : "stale: mail goes by the failure policy");
    }
    const auto workers = channel_->statistics();
    check("dataplane connected", channel_->connected(),
          channel_->connected() ? "process " + std::to_string(channel_->hello().process)
                                : channel_->last_reason());
    for (std::size_t i = 0; i < workers.size() && i < before->beats.size(); ++i) {
      const bool beats =
          workers[i]->read(contract::Gauge::heartbeat_nanoseconds) > before->beats[i];
      const std::uint64_t loops = workers[i]->read(contract::Counter::loops) - before->loops[i];
      check("worker " + std::to_string(i), beats && loops > 0,
            std::string(beats ? "beats" : "does not beat") + ", " + std::to_string(loops) +
                " loops in 1.5 s");
    }
    if (before->probes.empty()) {
      check.note("probe", "not possible: the wire is not open");
    }
    for (const KernelProbe& p : before->probes) {
      const std::string name = "probe " + p.side + ", " + p.what;
      if (!p.error.empty()) {
        check.note(name, "not possible: " + p.error);
      } else {
        check(name, p.good,
              p.decision + ", " + std::to_string(count) + " times, " +
                  std::to_string(p.nanoseconds) + " ns each");
      }
    }
    for (const char* side : {"inside", "outside"}) {
      const std::uint64_t frames = received(state, side) - received(before->kernel, side);
      check.note(std::string("traffic ") + side,
                 frames == 0 ? "no frame in 1.5 s" : std::to_string(frames) + " frames in 1.5 s");
    }
    succeed(client, {{"good", check.good}, {"wire", wire}, {"checks", std::move(check.all)}});
  });
}

json Controller::self_test() const {
  Checks check;
  const Nanoseconds now = monotonic_now();
  check("dataplane connected", channel_->connected(),
        channel_->connected() ? "process " + std::to_string(channel_->hello().process)
                              : channel_->last_reason());
  if (channel_->connected()) {
    std::uint64_t oldest = UINT64_MAX;
    for (const auto* w : channel_->statistics()) {
      oldest = std::min(oldest, w->read(contract::Gauge::heartbeat_nanoseconds));
    }
    const double age = oldest > now ? 0 : static_cast<double>(now - oldest) / 1e9;
    char text[64];
    std::snprintf(text, sizeof text, "oldest heartbeat %.3f s ago", age);
    check("workers alive", age < 1.0, text);
    check("policy in force",
          publisher_->idle() && publisher_->adopted_epoch() != 0 &&
              publisher_->last_refusal().empty(),
          publisher_->last_refusal().empty()
              ? "epoch " + std::to_string(publisher_->adopted_epoch())
              : publisher_->last_refusal());
  }
  for (const WireConfig& w : config_->wires) {
    const auto kernel = kernel_->states().find(w.name);
    const bool open = kernel != kernel_->states().end() && kernel->second.open;
    check("wire " + w.name + " in the kernel", open,
          open ? std::to_string(kernel->second.entries) + " list entries"
          : kernel != kernel_->states().end() ? kernel->second.error
                                              : "not looked at yet");
    if (open) {
      const KernelState& k = kernel->second;
      const bool ports = k.ports[0].attached && k.ports[1].attached && k.ports[0].up &&
                         k.ports[1].up && k.ports[0].carrier && k.ports[1].carrier;
      check("wire " + w.name + " ports", ports,
            k.ports[0].name + (k.ports[0].carrier ? " up, " : " down, ") + k.ports[1].name +
                (k.ports[1].carrier ? " up" : " down"));
      check("wire " + w.name + " inspected", k.alive && !k.bypass,
            k.bypass  ? "operator bypass"
            : k.alive ? "heartbeats fresh"
                      : "heartbeats stale");
    }
  }
  check("events not lost", channel_->events_lost() == 0 && (!log_ || log_->dropped() == 0),
        std::to_string(channel_->events_lost()) + " in rings, " +
            std::to_string(log_ ? log_->dropped() : 0) + " at the disk");
  const std::string log_error = log_ ? log_->error() : std::string{};
  check("event log writable", log_error.empty(), log_error.empty() ? "ok" : log_error);
  check("state writable", store_errors_ == 0, store_error_.empty() ? "ok" : store_error_);
  check("rules", rules_->refused == 0,
        std::to_string(rules_->rules.size()) + " in force, " + std::to_string(rules_->refused) +
            " refused");
  for (const auto& [name, state] : list_states_) {
    check("prefix list " + name, state.error.empty() && state.fault_count == 0,
          state.error.empty() ? std::to_string(state.prefixes) + " prefixes, " +
                                    std::to_string(state.fault_count) + " bad lines"
                              : state.error);
  }
  for (const LoadedList& l : match_lists_.lists) {
    const std::size_t bad = l.list ? l.list->fault_count : 0;
    check("match list " + l.configured.name(), l.error.empty() && bad == 0,
          l.error.empty() ? std::to_string(l.list ? l.list->entries : 0) + " entries, " +
                                std::to_string(bad) + " bad lines"
                          : l.error);
  }
  if (config_->http.enabled) {
    check("HTTP API", http_ && http_error_.empty(),
          http_error_.empty()
              ? config_->http.address + " port " + std::to_string(config_->http.port)
              : http_error_);
  }
  check("messages kept", journal_error_.empty() && journal_dropped_ == 0,
        !journal_error_.empty() ? journal_error_
                                : std::to_string(journal_dropped_) + " not written down");
  return {{"good", check.good}, {"checks", std::move(check.all)}};
}

}  // namespace sluice::control
